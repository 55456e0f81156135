"""One row with the optimal predictor against an integrator, the quadrature of its clock, and its limits."""

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples, orthogonal
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.trajectories.stiefel import optimal_predictor_direction

Array = Any


def drawn(seed: int, d: int, *, diagonal: bool = False) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    w, c = rng.normal(size=d), rng.uniform(-1, 1, d)
    turn = np.eye(d) if diagonal else orthogonal(rng, d)
    cross = turn * c @ turn.T
    return w / np.linalg.norm(w), (cross + cross.T) / 2


@given(st.integers(0, 2**32), st.integers(1, 8))
@examples(40)
def test_the_flow(seed: int, d: int) -> None:
    w, cross = drawn(seed, d)

    def field(_: float, x: Array) -> Array:
        kappa = x @ cross @ x
        return kappa * (cross @ x - kappa * x)

    times = [0.5, 4.0, 20.0]
    found = optimal_predictor_direction(times, w, cross)
    path = solve_ivp(field, (0, 20.0), w, "DOP853", t_eval=times, rtol=2.3e-14, atol=1e-15, max_step=0.1)
    # Both are as exact as the problem allows, whose errors grow near κ = 0, where the flow lingers.
    sensitive = 1 + 1 / abs(w @ cross @ w)
    assert np.abs(found - path.y.T).max() < 1e-12 * sensitive
    assert np.allclose(np.linalg.norm(found, axis=1), 1, rtol=0, atol=1e-15 * (2 + d))


@given(st.integers(0, 2**32), st.integers(2, 6), st.floats(-3, 2))
@examples(12)
def test_the_time_that_the_clock_takes(seed: int, d: int, logarithm: float) -> None:
    # The ratio of two components tells τ; the quadrature of 1/κ up to it must give t back.
    w, cross = drawn(seed, d, diagonal=True)
    c, t = np.diag(cross), 10**logarithm
    found = optimal_predictor_direction(t, w, cross)[0]
    sign = np.sign(w @ cross @ w)
    order = np.argsort(sign * c)
    high, low = order[-1], order[-2]
    if abs(found[low]) < 1e-200 or c[high] == c[low]:
        return
    with mp.workdps(30):
        tau = mp.log(mp.mpf(found[high]) * w[low] / (mp.mpf(found[low]) * w[high])) / (mp.mpf(c[high]) - c[low])

        def slowness(x: Any) -> Any:
            shares = [mp.mpf(a) ** 2 * mp.exp(2 * mp.mpf(b) * x) for a, b in zip(w, c, strict=True)]
            return mp.fsum(shares) / mp.fdot(shares, map(mp.mpf, c))

        passed: Any = mp.quad(slowness, mp.linspace(0, tau, 24))
    gap, kappa = c[high] - c[low], abs(w @ cross @ w)
    gap = abs(gap)
    # Rounding of the ratio moves τ by a few units over the gap, and t by that over κ.
    assert float(abs(passed - t)) < 1e-14 * (t + 1 / (gap * kappa) + 1 / kappa**2)


def test_in_two_dimensions_the_time_is_elementary() -> None:
    one, two, start = 0.9, 0.2, np.array([0.3, np.sqrt(1 - 0.09)])
    for t in (1e-3, 1.0, 10.0, 60.0):
        found = optimal_predictor_direction(t, start, np.diag([one, two]))[0]
        x, x0 = (found[1] / found[0]) ** 2, (start[1] / start[0]) ** 2
        passed = np.log(x / x0) / one - (two - one) / (one * two) * np.log((one + two * x) / (one + two * x0))
        assert passed / (2 * (two - one)) == pytest.approx(t, rel=1e-13, abs=1e-14)


def test_limits_and_the_two_signs() -> None:
    cross = np.diag([0.9, 0.3, -0.8])
    for start, end in (([0.6, 0.0, 0.8], [0, 0, 1]), ([0.8, 0.0, -0.6], [1, 0, 0]), ([0.0, -1.0, 0.0], [0, -1, 0])):
        found = optimal_predictor_direction([0.0, np.inf, 1e300, 200.0], start, cross)
        assert np.allclose(found[0], start, rtol=0, atol=2e-16)
        assert np.array_equal(found[1], end)
        assert np.array_equal(found[2], end)
        assert np.allclose(found[3], end, atol=1e-12)
    turned = optimal_predictor_direction([0.7, 5.0], [[0.6, 0.0, 0.8]], cross)
    same = optimal_predictor_direction([0.7, 5.0], [0.6, 0.0, 0.8], -cross)
    assert np.allclose(turned, same, rtol=0, atol=1e-15)
    both = optimal_predictor_direction(np.inf, [0.6, 0.48, 0.64], np.diag([0.5, 0.5, 0.1]))[0]
    assert np.allclose(both, np.array([0.6, 0.48, 0.0]) / np.hypot(0.6, 0.48), atol=1e-15)


def test_where_the_predictor_vanishes_the_row_rests() -> None:
    found = optimal_predictor_direction([0.0, 3.0, np.inf], np.array([1.0, 1.0]) / np.sqrt(2), np.diag([1.0, -1.0]))
    assert np.array_equal(found, np.full((3, 2), found[0, 0]))
    near = np.array([np.sqrt(0.5 + 1e-9), np.sqrt(0.5 - 1e-9)])
    assert np.allclose(optimal_predictor_direction(np.inf, near, np.diag([1.0, -1.0])), [[1, 0]])


def test_restart_equivariance_and_the_wrong_clock() -> None:
    w, cross = drawn(7, 5)
    turn = orthogonal(np.random.default_rng(1), 5)
    whole = optimal_predictor_direction([1.5, 4.0], w, cross)
    assert np.allclose(optimal_predictor_direction(2.5, whole[0], cross)[0], whole[1], atol=1e-13)
    rotated = turn @ cross @ turn.T
    found = optimal_predictor_direction([1.5, 4.0], w @ turn.T, (rotated + rotated.T) / 2)
    assert np.allclose(found, whole @ turn.T, atol=1e-13)
    # In the time of training it is not Oja's flow: that is the false sibling of the theorem.
    values, axes = np.linalg.eigh(cross)
    oja = (w @ axes * np.exp(values * 1.5)) @ axes.T
    assert np.abs(oja / np.linalg.norm(oja) - whole[0]).max() > 1e-2


def test_what_leaves_the_domain_is_an_error() -> None:
    with pytest.raises(InputError, match="norm 1"):
        optimal_predictor_direction(1.0, [1.0, 1.0], np.eye(2))
    with pytest.raises(InputError, match="one row"):
        optimal_predictor_direction(1.0, np.eye(2), np.eye(2))
    with pytest.raises(InputError, match="symmetric"):
        optimal_predictor_direction(1.0, [1.0, 0.0], [[1, 0.1], [0, 1]])
    with pytest.raises(InputError, match="times"):
        optimal_predictor_direction(-1.0, [1.0, 0.0], np.eye(2))
