"""The balanced mode with weight decay against its flow in high precision, on every interval, at and around the threshold."""

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import decayed as oracle
from linear_models_precision import error_per_condition
from linear_models_strategies import examples
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.trajectories import balanced_jepa

TOLERANCE = 1e-14  # relative, per unit of the problem's own condition number


def sizes(decades: float) -> st.SearchStrategy[float]:
    return st.floats(-decades, decades).map(lambda x: 10.0**x)


def signed(decades: float) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from([-1.0, 1.0]), sizes(decades)).map(math.prod)


# 4ησ/λ²: below the threshold by any amount, just below and just above it, above it.
PRESSURES = st.one_of(
    st.floats(-12, 0).map(lambda x: 10.0**x),
    st.floats(-14, -1).map(lambda x: 1 - 10.0**x),
    st.floats(-14, -1).map(lambda x: 1 + 10.0**x),
    st.floats(0, 6).map(lambda x: 10.0**x),
)


@given(
    st.one_of(sizes(300), sizes(8)), st.one_of(signed(150), signed(4)), st.one_of(signed(6), st.just(0.0)), sizes(6),
    sizes(6), sizes(6),
)  # fmt: skip
@examples(150)
def test_it_solves_the_flow_over_the_whole_range(
    t: float, w: float, cross: float, variance: float, rate: float, decay: float
) -> None:
    found = float(balanced_jepa(t, w, cross, variance, predictor_rate=rate, weight_decay=decay))
    assert error_per_condition(found, oracle, t, w, cross, variance, rate, decay) < TOLERANCE


@given(PRESSURES, sizes(3), st.integers(0, 5), st.floats(-15, 1), signed(6), sizes(6), sizes(6))
@examples(250)
def test_around_every_equilibrium_and_the_threshold(
    pressure: float, clock: float, place: int, distance: float, cross: float, variance: float, rate: float
) -> None:
    decay = pressure * cross**2 / (4 * variance)
    root = math.sqrt(max(0.0, 1 - pressure))
    top, saddle = (1 + root) * cross / (2 * variance), 2 * decay / (cross * (1 + root))
    w = [top, saddle, (top + saddle) / 2, -saddle, -top, saddle / 2][place] / math.sqrt(rate)
    w *= 1 + 10.0**distance * (1 if place % 2 else -1)
    if w == 0:
        return
    t = clock / (cross**2 / variance * (max(root, 1e-4) if place < 3 else 1))
    found = float(balanced_jepa(t, w, cross, variance, predictor_rate=rate, weight_decay=decay))
    assert error_per_condition(found, oracle, t, w, cross, variance, rate, decay) < TOLERANCE


@pytest.mark.parametrize("start", [2.5, 1 + 1e-9, 1 - 1e-9, 0.5, 1e-120, -1e-120, -0.7, -1e100])
@pytest.mark.parametrize("t", [1e-6, 1.0, 40.0, 1e6])
def test_at_the_threshold(start: float, t: float) -> None:
    # λ = 2, σ = η = 1: the double equilibrium is 1. Condition numbers are infinite here; the arguments are exact.
    for sign in (1.0, -1.0):
        found = float(balanced_jepa(t, sign * start, 2.0 * sign, 1.0, weight_decay=1.0))
        with mp.workdps(60):
            exact = oracle(*map(mp.mpf, (t, sign * start, 2.0 * sign, 1.0, 1.0, 1.0)))
            # At worst time, and the start's distance from 1, are known to rounding.
            field = exact * (1 - abs(exact)) ** 2
            field_at_start = mp.mpf(start) * (1 - abs(mp.mpf(start))) ** 2
            cond = 1 + abs(t * field / exact) + abs(field / field_at_start * start / exact)
            if abs(exact) > 1e-300:
                assert abs(mp.mpf(found) / exact - 1) < TOLERANCE * cond


# From above, from within and from beyond 0; dying, and past the threshold from either side of the bottleneck and within it.
PATHS = [(3.0, 0.01), (1.3, 0.01), (0.3, 0.01), (-0.1, 0.01), (-30.0, 0.01), (0.004, 0.01), (0.1, 0.6), (0.5, 0.6),
         (3.0, 0.6), (-0.2, 0.6), (0.9, 0.3), (1e-3, 0.3), (20.0, 0.26)]  # fmt: skip


@pytest.mark.parametrize(("start", "decay"), PATHS)
def test_a_path_is_right_at_early_and_late_times_alike(start: float, decay: float) -> None:
    times = np.concatenate([[0.0], np.logspace(-7, 2.5, 190)])
    cross = np.array([[1.0], [0.97]])
    path = balanced_jepa(times, start, cross, 1.0, weight_decay=decay)
    for row, mode in zip(path, cross[:, 0], strict=True):
        alone = [float(balanced_jepa(t, start, mode, 1.0, weight_decay=decay)) for t in times]
        assert np.allclose(row, alone, rtol=1e-14, atol=0)
    for t, found in zip(times[5::11], path[0, 5::11], strict=True):
        assert error_per_condition(float(found), oracle, float(t), start, 1.0, 1.0, 1.0, decay) < TOLERANCE


def test_starts_at_an_equilibrium_stay_and_their_neighbours_take_sides() -> None:
    # λ = 3, σ = 1, η = 2: 0, 1 (unstable) and 2, all of them exact; α = 4 halves them.
    times = np.array([0.0, 1e-300, 1.0, 100.0, 1e300, np.inf])
    for rate in (1.0, 4.0):
        scale = np.sqrt(rate)
        for rest in (0.0, 1.0, 2.0):
            path = balanced_jepa(times, rest / scale, 3.0, 1.0, predictor_rate=rate, weight_decay=2.0)
            assert np.array_equal(path, np.full(6, rest / scale))
        near = np.array([np.nextafter(1, 0), np.nextafter(1, 2)])[:, None] / scale
        ends = balanced_jepa(times[3:], near, 3.0, 1.0, predictor_rate=rate, weight_decay=2.0)
        assert np.all(np.abs(ends[0]) < 1e-50)
        assert np.array_equal(ends[1], np.full(3, 2 / scale))


def test_the_unstable_equilibrium_is_told_from_its_floating_neighbours() -> None:
    # p₋ is irrational: which side of it a start lies on is decided in twice the precision.
    rng = np.random.default_rng(11)
    for _ in range(200):
        cross, variance = rng.uniform(0.5, 2, 2)
        decay = rng.uniform(0, 0.25) * cross**2 / variance
        with mp.workdps(50):
            exact = 2 * mp.mpf(decay) / (cross + mp.sqrt(mp.mpf(cross) ** 2 - 4 * mp.mpf(decay) * variance))
        nearest = float(exact)
        for start in (np.nextafter(nearest, 0), nearest, np.nextafter(nearest, 9)):
            end = float(balanced_jepa(np.inf, start, cross, variance, weight_decay=decay))
            assert (end > 0) == (mp.mpf(float(start)) > exact)


def test_the_side_of_the_threshold_is_exact() -> None:
    # λ² − 4ησ is a few times 2⁻¹⁰⁵ here, and 0 in the middle: its rounded value is 0 in all three cases.
    cross = 2 * (1 + 2.0**-52)
    decay, variance = 1 + 2.0**-52, 1 + 2.0**-52
    assert balanced_jepa(np.inf, 5.0, cross, variance, weight_decay=decay) == cross / (2 * variance)
    assert balanced_jepa(np.inf, 5.0, cross, 1 + 2.0**-51, weight_decay=1.0) > 0  # 4(1+u)² − 4(1+2u) = 4u²
    assert balanced_jepa(np.inf, 5.0, 2.0, 1 + 2.0**-52, weight_decay=1 - 2.0**-53) == 0  # (1+2v)(1−v) = 1 + v − 2v²


def test_limits_restart_and_signs() -> None:
    rng = np.random.default_rng(5)
    w, cross = rng.normal(size=(2, 600))
    decay = 10.0 ** rng.uniform(-3, 0, 600)
    first, second = rng.uniform(0, 5, (2, 600))

    def solve(t: Any, x: Any, sign: float = 1.0) -> Any:
        return balanced_jepa(t, x, sign * cross, 0.8, weight_decay=decay)

    assert np.array_equal(solve(0.0, w), w)
    assert np.allclose(solve(second, solve(first, w)), solve(first + second, w), rtol=1e-9, atol=0)
    assert np.array_equal(solve(first, -w, -1.0), -solve(first, w))
    alive = (cross**2 > 3.2 * decay) & (w * cross > 0)
    root = np.sqrt(np.maximum(cross**2 - 3.2 * decay, 0))
    alive &= np.abs(w) > (np.abs(cross) - root) / 1.6
    assert np.allclose(solve(np.inf, w), np.where(alive, np.sign(cross) * (np.abs(cross) + root) / 1.6, 0), rtol=1e-15)


def test_little_decay_is_none() -> None:
    rng = np.random.default_rng(2)
    w, cross = rng.normal(size=(2, 300))
    assert np.allclose(
        balanced_jepa(3.0, w, cross, 0.8, weight_decay=1e-25), balanced_jepa(3.0, w, cross, 0.8), rtol=1e-12
    )
    mixed = balanced_jepa(3.0, 0.4, 1.0, 0.8, weight_decay=[0.0, 0.1])
    assert mixed[0] == balanced_jepa(3.0, 0.4, 1.0, 0.8)
    assert mixed[1] == balanced_jepa(3.0, 0.4, 1.0, 0.8, weight_decay=0.1)


def test_it_is_what_an_integrator_finds() -> None:
    w, cross = np.array([0.3, 2.0, -0.4, 0.7, 0.1, 0.05]), np.array([1.0, 0.5, 0.8, -0.6, 0.0, 1.0])
    for decay in (0.01, 0.1, 0.5):

        def field(_: float, x: Any, decay: float = decay) -> Any:
            p = np.sqrt(0.7) * x
            return p * x * (cross - 1.3 * p) - decay * x

        done = solve_ivp(field, (0, 9), w, rtol=1e-12, atol=1e-14)
        found = balanced_jepa(9, w, cross, 1.3, predictor_rate=0.7, weight_decay=decay)
        assert np.allclose(found, done.y[:, -1], rtol=1e-8)


def test_what_leaves_the_domain_is_an_error() -> None:
    with pytest.raises(InputError, match=r"weight_decay = -1\.0: must be at least 0, 0 or between"):
        balanced_jepa(1.0, 1.0, 1.0, 1.0, weight_decay=-1.0)
    with pytest.raises(InputError, match="weight_decay = nan"):
        balanced_jepa(1.0, 1.0, 1.0, 1.0, weight_decay=np.nan)
