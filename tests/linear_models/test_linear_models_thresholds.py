"""Thresholds and equilibria of a JEPA mode: against fifty digits, against the theory, and against the flow itself."""

from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples, orthogonal
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, ViewPair
from jepalign.linear_models.collapse import (
    basin_edge,
    critical_weight_decay,
    equilibria,
    growth,
    rank_bound,
    survives,
    surviving_rank,
)
from jepalign.linear_models.trajectories.balanced import balanced_jepa

UNIT = 2.0**-53
SIZES = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)
SIGNS = st.sampled_from([-1.0, 1.0])
# η in units of η_c: anywhere, next to the threshold on both sides, at it.
FRACTIONS = st.one_of(
    st.floats(-11, 0.5).map(lambda exponent: 10.0**exponent),
    st.integers(-40, 40).map(lambda steps: 1 + steps * 2.0**-52),
    st.just(0.0),
)


def _exact(cross: float, variance: float, decay: float, rate: float) -> tuple[Any, Any, Any]:
    """Return the discriminant and both encoder weights, from the definition in 60 digits."""
    lam, sigma, eta, alpha = map(mp.mpf, (cross, variance, decay, rate))
    square = lam * lam - 4 * eta * sigma
    if square < 0:
        return square, None, None
    roots = sorted(((lam + sign * mp.sqrt(square)) / (2 * sigma) for sign in (-1, 1)), key=abs)
    return square, roots[0] / mp.sqrt(alpha), roots[1] / mp.sqrt(alpha)


@given(size=SIZES, sign=SIGNS, sigma=SIZES, fraction=FRACTIONS, alpha=SIZES)
@examples(400)
def test_equilibria_and_rates_are_right_to_rounding(
    size: float, sign: float, sigma: float, fraction: float, alpha: float
) -> None:
    cross = sign * size
    critical = float(critical_weight_decay(cross, sigma))
    decay = fraction * critical
    with mp.workdps(60):
        assert abs(critical / (mp.mpf(cross) ** 2 / sigma / 4) - 1) <= 3 * UNIT
        square, low, high = _exact(cross, sigma, decay, alpha)
        found, rates = equilibria(cross, sigma, decay, predictor_rate=alpha), growth(cross, sigma, decay)
        assert int(surviving_rank([cross], [sigma], decay)) == (square > 0)
        assert (found[1] is np.ma.masked) == (found[2] is np.ma.masked) == (square < 0)
        assert found[0] == 0
        assert rates[0] == -decay
        if square < 0:
            return
        # The discriminant is right to 2 units, its root to 2, sums of positive terms and quotients add one each: below 8.
        for value, exact in ((found[1], low), (found[2], high)):
            assert abs(mp.mpf(float(value)) - exact) <= 8 * UNIT * abs(exact)
        root = mp.sqrt(square)
        for value, exact in ((rates[1], abs(low)), (rates[2], -abs(high))):
            growing = exact * mp.sqrt(mp.mpf(alpha)) * root
            assert abs(mp.mpf(float(value)) - growing) <= 12 * UNIT * abs(growing)
        # Vieta: the product of the predictors is η/σ; a wrong constant in the threshold would break it.
        assert float(found[1]) * float(found[2]) * alpha * sigma == pytest.approx(decay, rel=32 * UNIT)


@given(size=SIZES, sign=SIGNS, sigma=SIZES, fraction=FRACTIONS, alpha=SIZES, step=st.integers(-6, 6))
@examples(300)
def test_a_start_survives_exactly_beyond_the_edge(
    size: float, sign: float, sigma: float, fraction: float, alpha: float, step: int
) -> None:
    cross = sign * size
    decay = fraction * float(critical_weight_decay(cross, sigma))
    edge = float(basin_edge(cross, sigma, decay, predictor_rate=alpha))
    with mp.workdps(80):
        square, low, _ = _exact(cross, sigma, decay, alpha)
        if square < 0:
            assert edge == sign * np.inf
            assert not survives([1e-150, 1.0, -1.0, 1e150], None, cross, sigma, decay, predictor_rate=alpha).any()
            return
        start = edge
        for _ in range(abs(step)):
            start = np.nextafter(start, sign * np.inf * np.sign(step))
        if 0 < abs(start) < 1e-150:
            start = sign * 1e-150
        beyond = sign * (mp.mpf(float(start)) - low)
        expected = beyond > 0 or (square == 0 and beyond == 0)
        # p = √α w is not a number of float64: the decision is in twice the precision.
        if abs(beyond) > mp.mpf(2) ** -95 * abs(low) or square == 0:
            assert bool(survives(start, None, cross, sigma, decay, predictor_rate=alpha)) == expected
    assert not survives(-start, None, cross, sigma, decay, predictor_rate=alpha)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 0.999])
def test_the_flow_agrees_on_both_sides_of_the_edge(sign: float, fraction: float) -> None:
    cross, sigma, alpha = sign * 0.7, 1.3, 2.0
    decay = fraction * float(critical_weight_decay(cross, sigma))
    zero, edge, top = equilibria(cross, sigma, decay, predictor_rate=alpha)

    def field(_: float, y: Any) -> Any:
        w, p = y
        return [p * (cross - sigma * p) * w - decay * w, alpha * (cross - sigma * p) * w * w - decay * p]

    # √(1 − 0.999) slows both rests down by 30: to a few hundred time constants of 1e3.
    for start in (edge + 1e-3 * (top - edge), edge - 1e-3 * (top - edge)):
        lives = bool(survives(start, None, cross, sigma, decay, predictor_rate=alpha))
        end = solve_ivp(field, (0, 4e4), [start, np.sqrt(alpha) * start], method="LSODA", rtol=1e-10, atol=1e-13).y[
            0, -1
        ]
        assert end == pytest.approx(top if lives else zero, abs=1e-4)
        known = balanced_jepa(4e4, start, cross, sigma, predictor_rate=alpha, weight_decay=decay)
        assert float(known) == pytest.approx(end, abs=1e-4)
        assert lives == (sign * start > sign * edge)


@pytest.mark.parametrize("seed", range(12))
def test_the_flow_off_balance_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cross, sigma, alpha = rng.uniform(-0.9, 0.9), rng.uniform(0.5, 2), rng.uniform(0.5, 2)
    w, p = rng.uniform(-1, 1, size=2)
    rho, c = cross / sigma, p * p - alpha * w * w

    def field(_: float, y: Any) -> Any:
        return [y[1] * (cross - sigma * y[1]) * y[0], alpha * (cross - sigma * y[1]) * y[0] ** 2]

    end = solve_ivp(field, (0, 3e4), [w, p], method="LSODA", rtol=1e-10, atol=1e-14).y[0, -1]
    assert bool(survives(w, p, cross, sigma, predictor_rate=alpha)) == (abs(end) > 1e-3)
    if survives(w, p, cross, sigma, predictor_rate=alpha):
        assert end**2 == pytest.approx((rho**2 - c) / alpha, rel=1e-6)


@given(w=st.floats(-149, 149), p=st.floats(-149, 149), size=SIZES, sigma=SIZES, alpha=SIZES, turned=SIGNS, side=SIGNS)
@examples(300)
def test_off_balance_is_the_law(
    w: float, p: float, size: float, sigma: float, alpha: float, turned: float, side: float
) -> None:
    weight, predictor, cross = 10.0**w, turned * 10.0**p, side * size
    with mp.workdps(700):
        c = mp.mpf(predictor) ** 2 - mp.mpf(alpha) * mp.mpf(weight) ** 2
        rho = mp.mpf(cross) / mp.mpf(sigma)
        margin = abs(c - rho**2) / (rho**2 + abs(c))
        expected = c < 0 or (c < rho**2 and predictor * cross > 0)
    if margin > 1e-14:
        assert bool(survives(weight, predictor, cross, sigma, predictor_rate=alpha)) == expected
    assert not survives(0.0, predictor, cross, sigma, predictor_rate=alpha)


def test_exactly_balanced_starts_off_the_law_of_signs() -> None:
    # c = 0 exactly (α = 4): the sign of pλ decides; one unit of rounding of p either way puts it on either side.
    w, p = np.array([0.5, 0.5, 1e150 / 2, 1e-140]), np.array([1.0, -1.0, 1e150, 2e-140])
    assert survives(w, p, 0.5, 1.0, predictor_rate=4.0).tolist() == [True, False, True, True]
    assert survives(0.5, np.nextafter(-1.0, 0), 0.5, 1.0, predictor_rate=4.0)
    assert not survives(0.5, np.nextafter(-1.0, -2), 0.5, 1.0, predictor_rate=4.0)
    # Just above c = ρ² it dies: (p, w) = (5, 4), c = 9 against ρ = 3.
    assert survives(4.0, 5.0, [3.0, np.nextafter(3, 4)], 1.0).tolist() == [False, True]


def test_the_linear_jepa_keeps_the_surviving_rank() -> None:
    rng = np.random.default_rng(5)
    axes = orthogonal(rng, 5)
    sigma, cross = np.array([1.0, 2.0, 0.5, 1.0, 1.5]), np.array([0.9, 1.1, 0.4, 0.5, 0.2])
    context = axes * sigma @ axes.T
    views = ViewPair.from_covariances(context, context, axes * cross @ axes.T)
    decay = 0.1  # η_c = 0.2025, 0.15125, 0.08, 0.0625, 0.0067
    path = LinearJEPA(views, weight_decay=decay).solve(axes.T, np.eye(5), np.array([0.0, 300.0]))
    assert np.linalg.matrix_rank(path.encoder[-1], tol=1e-6) == surviving_rank(cross, sigma, decay) == 2
    np.testing.assert_allclose(np.diag(path.encoder[-1] @ axes)[:2], equilibria(cross, sigma, decay)[:2, 2], rtol=1e-6)


def test_arrays_broadcast_and_width_bounds() -> None:
    cross, sigma = np.array([[0.9, 0.5, 0.0], [-0.9, 0.9, 0.9]]), np.ones(3)
    assert surviving_rank(cross, sigma, [0.05, 0.1]).tolist() == [2, 3]
    assert surviving_rank(cross, sigma, np.array([[0.0], [0.3]])).tolist() == [[2, 3], [0, 0]]
    assert surviving_rank(cross, sigma, 0.05, width=1).tolist() == [1, 1]
    assert equilibria(cross, sigma, 0.1).shape == growth(cross, sigma, 0.1).shape == (2, 3, 3)
    assert np.ma.getmaskarray(equilibria(0.0, 1.0, 0.0)).tolist() == [False, True, True]
    assert equilibria(0.5, 1.0, 0.0).tolist() == [0.0, 0.0, 0.5]
    assert equilibria(np.empty((0,)), 1.0, 0.0).shape == (0, 3)
    # At equality, exact in float64, a mode is lost, and its two equilibria have met.
    assert int(surviving_rank([1.0], [1.0], 0.25)) == 0
    assert equilibria(1.0, 1.0, 0.25).tolist() == [0.0, 0.5, 0.5]
    assert growth(1.0, 1.0, 0.25).tolist() == [-0.25, 0.0, 0.0]


@pytest.mark.parametrize("seed", range(4))
def test_the_matrix_bound_holds_off_alignment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes, eye = orthogonal(rng, 4), np.eye(4)
    cross = axes * np.array([0.9, 0.6, 0.3, -0.9]) @ axes.T
    views, decay = ViewPair.from_covariances(eye, eye, (cross + cross.T) / 2), 0.05  # 2√η = 0.447
    assert rank_bound(views, decay) == 2
    assert rank_bound(views, 0.21) == 0
    start = rng.normal(size=(4, 4)) / 2
    values, vectors = np.linalg.eigh(start @ start.T)
    path = LinearJEPA(views, weight_decay=decay).solve(start, vectors * np.sqrt(values) @ vectors.T, [0.0, 600.0])
    assert np.linalg.matrix_rank(path.encoder[-1], tol=1e-4) <= 2


def test_equilibria_put_the_theory_to_rest() -> None:
    from jepalign.theory import setting

    p, lam, sigma, eta = setting.p, setting.cross, setting.variance, setting.eta
    law: Any = sp.lambdify((p, lam, sigma, eta), p**2 * (lam - sigma * p) - eta * p)
    cross, variance = np.random.default_rng(1).uniform(0.5, 2, size=(2, 50))
    decay = 0.6 * critical_weight_decay(cross, variance)
    rests = equilibria(cross, variance, decay, predictor_rate=1.0)
    for index in range(3):
        np.testing.assert_allclose(law(rests[:, index].data, cross, variance, decay), 0, atol=1e-14)
    false = cross**2 / (2 * variance)  # η_c with the wrong constant
    assert np.ma.getmaskarray(equilibria(cross, variance, 0.9 * false))[:, 2].all()


def test_what_has_no_meaning_is_refused() -> None:
    views = ViewPair.from_covariances(2 * np.eye(2), 2 * np.eye(2), np.eye(2))
    for wrong in (
        lambda: critical_weight_decay(1.0, 0.0),
        lambda: critical_weight_decay(np.nan, 1.0),
        lambda: equilibria(1.0, 1.0, -0.1),
        lambda: equilibria(1.0, 1.0, 0.1, predictor_rate=0.0),
        lambda: surviving_rank([1.0], [1.0], 0.1, width=0),
        lambda: surviving_rank(1.0, 1.0, 0.1),
        lambda: survives(1.0, 1.0, 0.5, 1.0, 0.1),
        lambda: survives(1e200, None, 0.5, 1.0, 0.1),
        lambda: rank_bound(views, 0.1),
        lambda: rank_bound(ViewPair.from_covariances(np.eye(2), np.eye(2), [[0, 0.5], [0, 0]]), 0.1),
    ):
        with pytest.raises(InputError):
            wrong()
