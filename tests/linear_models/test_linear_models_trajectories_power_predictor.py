"""Predictors set from the embedding covariance, against an integrator of the encoder's own flow and the laws they obey."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.trajectories.power_predictor import power_predictor

FORCES: tuple[Literal["byol", "residual"], ...] = ("byol", "residual")


def followed(t: float, w: Any, cross: Any, variance: Any, exponent: float, decay: float, force: str) -> Any:
    """Return w(t) by integrating ln|w|, in which a dying mode keeps its digits."""

    def field(_: float, y: Any) -> Any:
        p = (variance * np.exp(2 * y)) ** exponent
        return (p if force == "byol" else 1) * (cross - variance * p) - decay

    done = solve_ivp(field, (0, t), np.log(np.abs(w)), method="LSODA", rtol=1e-12, atol=1e-12)
    return np.sign(w) * np.exp(done.y[:, -1])


@pytest.mark.parametrize("decay", [0.0, 0.05, 1.5])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 0.3, 2.0])
@pytest.mark.parametrize("force", FORCES)
def test_it_is_what_an_integrator_finds(force: Literal["byol", "residual"], exponent: float, decay: float) -> None:
    rng = np.random.default_rng(4)
    w, cross, variance = rng.uniform(-2, 2, 50), rng.uniform(-0.5, 2, 50), rng.uniform(0.4, 2, 50)
    cross[:3] = 0
    for t in (1e-3, 0.4, 3.0, 20.0):
        found = power_predictor(t, w, cross, variance, exponent=exponent, weight_decay=decay, force=force)
        expected = followed(t, w, cross, variance, exponent, decay, force)
        # Some 1e3 steps of 1e-12 in a logarithm of at most 50.
        assert np.allclose(found, expected, rtol=1e-8, atol=0)


@given(
    st.floats(-20, 20), st.floats(-3, 3), st.booleans(), st.floats(-3, 3), st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.1]), st.sampled_from(FORCES),
)  # fmt: skip
@examples(150)
def test_limits(
    w_log: float, cross_log: float, negative: bool, variance_log: float, a: float, decay: float, force: Any
) -> None:
    w, cross, variance = 10**w_log, 10**cross_log * (-1 if negative else 1), 10**variance_log
    start, end = power_predictor([0.0, np.inf], w, cross, variance, exponent=a, weight_decay=decay, force=force)
    assert start == w
    if force == "residual":
        p = max(cross - decay, 0.0) / variance
    else:
        square = cross * cross - 4 * decay * variance
        root = np.sqrt(max(square, 0.0))
        alive = cross > 0 and square > 0 and (variance * w * w) ** a > 2 * decay / (cross + root)
        p = (cross + root) / (2 * variance) if alive else 0.0
    # The power 1/(2a) ≤ 2 of some roundings of the end, the start and their quotient.
    assert end == pytest.approx(np.sqrt(p ** (1 / a) / variance), rel=1e-13)


@pytest.mark.parametrize("force", FORCES)
def test_restart_sign_and_clock(force: Literal["byol", "residual"]) -> None:
    rng = np.random.default_rng(6)
    w, cross = rng.normal(size=(2, 300))
    first, second = rng.uniform(0, 4, (2, 300))

    def solve(t: Any, x: Any) -> Any:
        return power_predictor(t, x, cross, 1.2, exponent=0.7, weight_decay=0.03, force=force)

    assert np.allclose(solve(second, solve(first, w)), solve(first + second, w), rtol=1e-10, atol=0)
    assert np.array_equal(solve(first, -w), -solve(first, w))
    assert np.array_equal(solve(first, 0 * w), np.zeros(300))
    # p = s^a takes a quarter of the time where a is four times as large.
    p = (1.2 * w**2) ** 0.5
    other = power_predictor(first / 4, np.sqrt(p**0.5 / 1.2), cross, 1.2, exponent=2.0, force=force)
    same = power_predictor(first, w, cross, 1.2, exponent=0.5, force=force)
    assert np.allclose((1.2 * other**2) ** 2, np.sqrt(1.2) * np.abs(same), rtol=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"force": "other"}, "force = 'other': must be"),
        ({"exponent": 0.0}, "exponent = 0.0"),
        ({"weight": 1e140, "exponent": 2.0}, "must give a predictor"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_leaves_the_domain_is_an_error(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"times": 1.0, "weight": 1.0, "cross": 1.0, "variance": 1.0, "exponent": 1.0, **change}
    with pytest.raises(InputError, match=message):
        power_predictor(**given)
