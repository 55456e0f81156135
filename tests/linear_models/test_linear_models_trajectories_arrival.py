"""Times to reach a level against the trajectories that they invert, and against the order that theory states."""

from typing import Any

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.linear_models.trajectories.arrival import (
    barlow_twins_time,
    deep_jepa_time,
    learning_order,
    masked_autoencoder_time,
    spectral_contrastive_time,
)
from jepalign.linear_models.trajectories.depth import deep_jepa, masked_autoencoder
from jepalign.linear_models.trajectories.logistic import barlow_twins, spectral_contrastive

PAIRS = {"jepa": (deep_jepa, deep_jepa_time), "autoencoder": (masked_autoencoder, masked_autoencoder_time)}


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", PAIRS)
def test_the_trajectory_is_at_the_level_then(kind: str, depth: int) -> None:
    solve, time = PAIRS[kind]
    rng = np.random.default_rng(depth)
    n = 2000
    w, s = 10 ** rng.uniform(-3, 3, n), 10 ** rng.uniform(-2, 2, n)
    cross = 10 ** rng.uniform(-2, 2, n) * rng.choice([-1, 0, 1, 1], n)
    end = np.where(cross > 0, (np.abs(cross) / s) ** (depth if kind == "jepa" else depth / (depth + 1)), 1e-3 * w)
    # A layer starts within a factor 2 of a rest: from far below, w(t) leaps and no digit of it follows from t.
    w = np.where(cross > 0, end * 2 ** rng.uniform(-depth, depth, n), w)
    level = w * (end / w) ** rng.uniform(0.01, 0.95, n)
    t = time(level, w, cross, s, depth=depth)
    assert np.isfinite(t).all()
    # The level moves by d ln w/d ln t for a relative error of t: found from a neighbour in time.
    slope = np.abs(np.log(solve(t * 1.000001, w, cross, s, depth=depth) / solve(t, w, cross, s, depth=depth))) * 1e6
    error = np.abs(np.log(solve(t, w, cross, s, depth=depth) / level))
    assert (error < 1e-13 * (1 + depth + slope)).all()


@pytest.mark.parametrize("kind", PAIRS)
def test_start_limit_and_beyond(kind: str) -> None:
    time = PAIRS[kind][1]
    for depth in (1, 2, 5):
        assert np.array_equal(
            time([0.5, 2.0, 0.2, 1.0, 0.0], 0.5, 3.0, 3.0, depth=depth), [0, np.inf, np.inf, np.inf, np.inf]
        )
        assert np.array_equal(time([0.0, 1.0], 0.0, 3.0, 3.0, depth=depth), [0, np.inf])
        assert np.isfinite(time(1e-3, 0.5, [-1.0, 0.0], 3.0, depth=depth)).all()


def test_the_order_of_littwin() -> None:
    # Equal λ: the JEPA learns the larger ρ first. A larger λ comes first in both.
    cross, variance = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.6, 1.2])
    for kind in PAIRS:
        found = learning_order(cross, variance, 1e-6, depth=2, objective=kind)  # type: ignore[arg-type]
        assert found[0] == 2
    assert list(learning_order(cross, variance, 1e-6, depth=2)) == [2, 1, 0]
    assert list(learning_order([-1.0, 0.5], 1.0, 1e-3, depth=3)) == [1, 0]


def test_the_first_terms_of_littwin() -> None:
    # Raw time: their sum over L; what it leaves out is of the order of ln ε against ε^{-3/2}.
    cross, rho, start, depth = 0.7, 0.6, 1e-8, 2
    terms = sum(1 / (n * rho ** (2 * depth - n - 1) * start ** (n / depth)) for n in range(1, 2 * depth)) / cross
    found = float(deep_jepa_time(0.9 * rho**depth, start, cross, cross / rho, depth=depth))
    assert found == pytest.approx(terms, rel=1e-9)


@pytest.mark.parametrize(
    "change", [{"level": -1.0}, {"weight": -1.0}, {"depth": 0}, {"cross": np.nan}, {"variance": 0.0}]
)
def test_what_leaves_the_domain_is_an_error(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"level": 1.0, "weight": 1.0, "cross": 1.0, "variance": 1.0, "depth": 2, **change}
    with pytest.raises(InputError, match=next(iter(change))):
        deep_jepa_time(**given)
    with pytest.raises(InputError, match="objective"):
        learning_order([1.0], 1.0, 0.1, depth=1, objective="other")  # type: ignore[arg-type]


def test_contrastive_times_and_the_steps_of_simon() -> None:
    rng = np.random.default_rng(8)
    w, cross, s = 10 ** rng.uniform(-1, 1, 500), rng.uniform(-1, 1, 500), rng.uniform(0.5, 2, 500)
    t = rng.uniform(0.1, 1, 500)
    # At 8λt < 8 and a start within 1/1000 of the end, a rounding of the level moves the time by some 1e6 roundings.
    assert np.allclose(spectral_contrastive_time(spectral_contrastive(t, w, cross, s), w, cross, s), t, rtol=1e-9)
    assert np.allclose(barlow_twins_time(barlow_twins(t, w, cross), w, cross), t, rtol=1e-9)
    step = barlow_twins_time(np.sqrt(0.5 / 0.3), 1e-3, 0.3)
    assert step == pytest.approx(np.log(1 / (0.3 * 1e-6) - 1) / (8 * 0.3), rel=1e-14)
    assert barlow_twins_time([1e-3, 2.0], 1e-3, 0.0)[1] == np.inf
