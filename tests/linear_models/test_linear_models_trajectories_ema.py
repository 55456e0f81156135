"""Encoder and averaged target without a predictor against a 2×2 exponential in high precision, and an integrator."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import averaged as oracle
from linear_models_precision import error_per_condition
from linear_models_strategies import Drawn, drawn_views, examples

from jepalign.errors import InputError
from jepalign.linear_models.flow import integrate
from jepalign.linear_models.trajectories.ema import ema_without_predictor, ema_without_predictor_matrices

TOLERANCE = 1e-14


def signed(decades: float) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from([-1.0, 1.0]), st.floats(-decades, decades).map(lambda x: 10.0**x)).map(math.prod)


POSITIVE = signed(6).map(abs)
WEIGHTS = st.one_of(signed(100), signed(2))
SHARE = st.one_of(st.floats(-1, 1), signed(6).map(lambda x: math.copysign(min(abs(x), 1 / abs(x)), x)))


def hold(t: float, w: float, v: float, cross: float, variance: float, lag: float, decay: float) -> None:
    found = ema_without_predictor(t, w, v, cross, variance, ema_rate=lag, weight_decay=decay)
    for which in (0, 1):
        error = error_per_condition(float(found[which]), oracle(which), t, w, v, cross, variance, lag, decay)
        assert error < TOLERANCE


@given(signed(4).map(abs), WEIGHTS, WEIGHTS, SHARE, POSITIVE, POSITIVE, st.one_of(st.just(0.0), POSITIVE))
@examples(200)
def test_modes_with_any_rates(
    clock: float, w: float, v: float, share: float, variance: float, lag: float, decay: float
) -> None:
    if abs(share) < 1e-20:
        share = 0.0
    hold(clock / (variance + lag), w, v, share * variance, variance, lag, decay)


@given(st.floats(-2, 2.5), signed(1), signed(1), signed(16), st.floats(0.05, 0.95), st.booleans())
@examples(200)
def test_near_a_double_rate(logarithm: float, w: float, v: float, off: float, lag: float, exact: bool) -> None:
    # (σ − β)² + 4βλ = 0 at λ = −(σ − β)²/4β.
    cross = -((1 - lag) ** 2) / (4 * lag) * (1 + (0 if exact else min(abs(off), 0.5) * math.copysign(1, off)))
    hold(10**logarithm, w, v, cross, 1.0, lag, 0.0)


def test_an_exact_double_rate() -> None:
    # σ = 1, β = 1/4, λ = −9/16: both rates are 5/8.
    w, v = ema_without_predictor(3.0, 2.0, -1.0, -9 / 16, 1.0, ema_rate=0.25)
    for found, start, velocity in ((w, 2.0, 9 / 16 - 2), (v, -1.0, 0.75)):
        assert found == pytest.approx((start + (velocity + 5 / 8 * start) * 3) * math.exp(-15 / 8), rel=1e-15)


def test_limits() -> None:
    t = [0.0, np.inf]
    for cross in (0.5, -0.5, -30.0, 0.0):
        w, v = ema_without_predictor(t, 3.0, -2.0, cross, 1.0, ema_rate=0.7)
        assert (w[0], v[0], w[1], v[1]) == (3, -2, 0, 0)
    w, v = ema_without_predictor(t, 3.0, -2.0, 1.0, 1.0, ema_rate=0.5)
    assert (w[1], v[1]) == pytest.approx(((0.5 * 3 - 2) / 1.5,) * 2, rel=1e-15)
    w, v = ema_without_predictor(t, 3.0, -2.0, 0.5, 1.0, ema_rate=0)
    assert (w[1], v[1]) == pytest.approx((-1, -2), rel=1e-15)
    assert np.array_equal(ema_without_predictor(t, 0.0, 0.0, 2.0, 1.0, ema_rate=1), np.zeros((2, 2)))


def test_restart_and_growth() -> None:
    rng = np.random.default_rng(2)
    w, v = rng.normal(size=(2, 300))
    cross, variance, lag = rng.uniform(-3, 1.5, 300), rng.uniform(0.5, 2, 300), rng.uniform(0.1, 3, 300)
    half = ema_without_predictor(0.4, w, v, cross, variance, ema_rate=lag, weight_decay=0.1)
    whole = ema_without_predictor(1.1, w, v, cross, variance, ema_rate=lag, weight_decay=0.1)
    again = ema_without_predictor(0.7, *half, cross, variance, ema_rate=lag, weight_decay=0.1)
    assert np.allclose(again, whole, rtol=1e-12, atol=1e-14)
    assert ema_without_predictor(50.0, 1.0, 1.0, 2.0, 1.0, ema_rate=1.0)[0] > 1e8


@given(drawn_views(dimensions=(1, 5), conditions=(0.0, 2.0)), st.floats(0.0, 3.0), st.floats(0.05, 3.0))
@examples(20)
def test_matrices_against_the_integrator(drawn: Drawn, t: float, lag: float) -> None:
    views, k = drawn.views, drawn.width()
    W, V = drawn.rng.normal(size=(2, k, views.dimension))
    found = ema_without_predictor_matrices([t, 0.0], W, V, views.context, views.cross, ema_rate=lag, weight_decay=0.1)
    path = integrate(
        lambda s: {
            "W": s["V"] @ views.cross - s["W"] @ views.context - 0.1 * s["W"],
            "V": lag * (s["W"] - s["V"]),
        },
        {"W": W, "V": V},
        [0.0, t] if t else [0.0],
        rtol=1e-12,
    )
    for mine, theirs, start in ((found[0], path.states["W"], W), (found[1], path.states["V"], V)):
        assert np.allclose(mine[0], theirs[-1], rtol=0, atol=1e-10)
        assert np.array_equal(mine[1], start)


def test_matrices_are_the_modes_of_aligned_data_and_defective_fields_are_exact() -> None:
    cross, variance = np.array([0.8, -0.5, -9 / 16]), np.array([1.0, 0.7, 1.0])
    times = np.array([0.0, 0.5, 4.0, 0.5])
    W, V = np.diag([1.0, -2.0, 2.0]), np.diag([0.3, 1.0, -1.0])
    found = ema_without_predictor_matrices(times, W, V, np.diag(variance), np.diag(cross), ema_rate=0.25)
    modes = ema_without_predictor(times[:, None], np.diag(W), np.diag(V), cross, variance, ema_rate=0.25)
    for mine, theirs in zip(found, modes, strict=True):
        assert np.allclose(np.diagonal(mine, axis1=1, axis2=2), theirs, rtol=1e-13, atol=1e-15)
    alone, same = ema_without_predictor_matrices(
        times, W, V, np.diag(variance), np.diag(cross), ema_rate=None, weight_decay=0.2
    )
    expected = np.diag(W) * np.exp((cross - variance - 0.2) * times[:, None])
    assert np.allclose(np.diagonal(alone, axis1=1, axis2=2), expected, rtol=1e-13)
    assert np.array_equal(alone, same)


def test_what_leaves_the_domain_is_an_error() -> None:
    with pytest.raises(InputError, match="times = inf"):
        ema_without_predictor(np.inf, 1.0, 1.0, 2.0, 1.0, ema_rate=1.0)
    with pytest.raises(InputError, match="ema_rate = -1"):
        ema_without_predictor(1.0, 1.0, 1.0, 0.5, 1.0, ema_rate=-1.0)
    with pytest.raises(InputError, match="times"):
        ema_without_predictor_matrices([-1.0], [[1.0]], [[1.0]], [[1.0]], [[1.0]], ema_rate=1.0)
    with pytest.raises(InputError, match="times"):
        ema_without_predictor_matrices([1e6], [[1.0]], [[1.0]], [[1.0]], [[2.0]], ema_rate=1.0)
