"""The unbalanced mode against its flow in high precision, for every sign of c = p² − αw², and the laws it obeys."""

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import unbalanced as both
from linear_models_precision import error_per_condition
from linear_models_strategies import examples
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.trajectories import balanced_jepa, unbalanced_jepa

TOLERANCE = 1e-14  # relative, per unit of the problem's own condition number


def part(index: int) -> Callable[..., Any]:
    return lambda *given: both(*given)[index]


def sizes(decades: float) -> st.SearchStrategy[float]:
    return st.floats(-decades, decades).map(lambda x: 10.0**x)


def signed(decades: float) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from([-1.0, 1.0]), sizes(decades)).map(math.prod)


def check(t: float, w: float, p: float, cross: float, variance: float, rate: float) -> None:
    with mp.workdps(60):
        if mp.mpf(p) ** 2 == rate * mp.mpf(w) ** 2:
            return  # balanced: another test
    encoder, predictor = unbalanced_jepa(t, w, p, cross, variance, predictor_rate=rate)
    assert error_per_condition(float(predictor), part(1), t, w, p, cross, variance, rate) < TOLERANCE
    if abs(float(encoder)) > 1e-40 * min(abs(w), abs(w * w / p)):  # else the oracle would need more digits
        assert error_per_condition(float(encoder), part(0), t, w, p, cross, variance, rate) < TOLERANCE


@given(st.one_of(signed(150), signed(4)), st.one_of(signed(150), signed(4)), signed(6), sizes(6), sizes(6), sizes(6))
@examples(80)
def test_it_solves_the_flow_over_the_whole_range(
    w: float, p: float, cross: float, variance: float, rate: float, clock: float
) -> None:
    # Times from far below to far above those in which the larger weight moves.
    speed = variance * max(rate * w * w, p * p, (cross / variance) ** 2)
    check(clock / speed, w, p, cross, variance, rate)


@given(signed(6), st.sampled_from([-1.0, 1.0]), st.floats(-15, 1), signed(6), sizes(6), sizes(6), sizes(4))
@examples(150)
def test_around_balance(
    height: float, side: float, distance: float, cross: float, variance: float, rate: float, clock: float
) -> None:
    w = height * cross / variance / math.sqrt(rate)
    p = height * cross / variance * (1 + side * 10.0**distance)
    if p != 0:
        check(clock * variance / cross**2, w, p, cross, variance, rate)


@given(signed(2), signed(2), signed(6), sizes(6), sizes(6), sizes(3))
@examples(150)
def test_while_it_moves(w: float, p: float, cross: float, variance: float, rate: float, clock: float) -> None:
    e = cross / variance
    check(clock * variance / cross**2, w * e / math.sqrt(rate), p * e, cross, variance, rate)


def test_near_the_rests() -> None:
    # λ = σ = α = 1: e = 1. Starts beside e, beside p = ±√c (w small), and e beside √c, which degenerates.
    for w in (1e-140, 1e-9, 0.5, 3.0):
        for p in (np.nextafter(1, 0), 1.0, np.nextafter(1, 2), 0.999, 1.001, -1.0, 0.3, 1e-120, -1e-120):
            for t in (1e-3, 1.0, 30.0, 1000.0):
                found = unbalanced_jepa(t, w, p, 1.0, 1.0)
                assert np.all(np.isfinite(found))
                if p == 1:
                    assert found == (w, p)
                else:
                    check(t, w, float(p), 1.0, 1.0, 1.0)


def test_no_imbalance_is_the_balanced_mode() -> None:
    t = np.linspace(0, 20, 50)
    for sign in (1, -1):
        w, p = unbalanced_jepa(t, 0.1, sign * 0.2, sign * 0.7, 1.3, predictor_rate=4.0)
        assert np.array_equal(w, balanced_jepa(t, 0.1, 0.7, 1.3, predictor_rate=4.0))
        assert np.allclose(p, sign * 2 * w, rtol=1e-15)
        for beside in (1 - 1e-12, 1 + 1e-12):
            near, _ = unbalanced_jepa(t, 0.1, sign * 0.2 * beside, sign * 0.7, 1.3, predictor_rate=4.0)
            assert np.allclose(near, w, rtol=1e-9)


def test_limits_are_exact() -> None:
    rng = np.random.default_rng(4)
    w, p, cross = rng.normal(size=(3, 500))
    (w0, w1), (p0, p1) = unbalanced_jepa(np.array([0.0, np.inf])[:, None], w, p, cross, 0.6, predictor_rate=2.0)
    assert np.array_equal(w0, w)
    assert np.array_equal(p0, p)
    c, e = p**2 - 2 * w**2, cross / 0.6
    k = np.sqrt(np.maximum(c, 0))
    alive = (c < 0) | ((np.sign(p) == np.sign(e)) & (np.abs(e) > k))
    assert np.array_equal(p1[alive], e[alive])
    assert np.allclose(p1[~alive], (np.sign(p) * k)[~alive], rtol=1e-13)
    assert np.allclose(w1, np.where(alive, np.sign(w) * np.sqrt(np.where(alive, e**2 - c, 0) / 2), 0), rtol=1e-12)


def test_conservation_restart_and_signs() -> None:
    rng = np.random.default_rng(5)
    w, p, cross = rng.normal(size=(3, 800))
    first, second = rng.uniform(0, 5, (2, 800))

    def solve(t: Any, w: Any, p: Any, sign: float = 1.0) -> Any:
        return unbalanced_jepa(t, w, p, sign * cross, 0.8, predictor_rate=0.5)

    halfway = solve(first, w, p)
    assert np.allclose(halfway[1] ** 2 - 0.5 * halfway[0] ** 2, p**2 - 0.5 * w**2, rtol=0, atol=1e-13)
    assert np.allclose(solve(second, *halfway), solve(first + second, w, p), rtol=1e-9, atol=1e-300)
    assert np.array_equal(solve(first, -w, p), (-halfway[0], halfway[1]))
    assert np.array_equal(solve(first, w, -p, -1.0), (halfway[0], -halfway[1]))


def test_it_is_what_an_integrator_finds() -> None:
    w, p = np.array([0.3, 2.0, -0.4, 0.7, 0.1, 0.3]), np.array([0.1, -0.5, 0.8, -0.6, 0.0, 0.9])
    cross = np.array([1.0, 0.5, 0.8, 0.6, -1.0, 0.0])

    def field(_: float, x: Any) -> Any:
        w, p = x.reshape(2, 6)
        force = cross - 1.3 * p
        return np.concatenate([p * w * force, 0.7 * w * w * force])

    done = solve_ivp(field, (0, 6), np.concatenate([w, p]), rtol=1e-12, atol=1e-14).y[:, -1].reshape(2, 6)
    assert np.allclose(unbalanced_jepa(6, w, p, cross, 1.3, predictor_rate=0.7), done, rtol=1e-9)


def test_shapes_and_domain() -> None:
    w, p = unbalanced_jepa(np.linspace(0, 1, 5), np.ones((3, 1)), 0.5, 1.0, 1.0)
    assert w.shape == p.shape == (3, 5)
    w, p = unbalanced_jepa(3.0, 0.0, 0.5, 1.0, 1.0)
    assert (w, p) == (0.0, 0.5)
    with pytest.raises(InputError, match="predictor = inf"):
        unbalanced_jepa(1.0, 1.0, np.inf, 1.0, 1.0)
