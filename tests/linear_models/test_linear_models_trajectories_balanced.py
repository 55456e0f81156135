"""The balanced mode against its flow in high precision and the laws it obeys."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import balanced as oracle
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


TIMES = st.one_of(sizes(300), sizes(8))
WEIGHTS = st.one_of(signed(150), signed(4))


@given(TIMES, WEIGHTS, st.one_of(signed(6), st.just(0.0)), sizes(6), sizes(6))
@examples(250)
def test_it_solves_the_flow_over_the_whole_range(
    t: float, w: float, cross: float, variance: float, rate: float
) -> None:
    found = float(balanced_jepa(t, w, cross, variance, predictor_rate=rate))
    assert error_per_condition(found, oracle, t, w, cross, variance, rate) < TOLERANCE


@given(sizes(4), st.floats(-17, 1), st.sampled_from([-1, 1]), signed(6), sizes(6))
@examples(150)
def test_near_the_equilibrium(clock: float, distance: float, side: int, cross: float, variance: float) -> None:
    w = cross / variance * (1 + side * 10.0**distance)
    t = clock * variance / cross**2
    if w != 0:
        found = float(balanced_jepa(t, w, cross, variance))
        assert error_per_condition(found, oracle, t, w, cross, variance, 1.0) < TOLERANCE


def test_an_equilibrium_stays_and_its_neighbours_approach_it() -> None:
    times = np.array([0.0, 1e-300, 1.0, 1e3, 1e300, np.inf])
    for rest in (2.0, -2.0):
        around = np.array([np.nextafter(rest, 0), rest, np.nextafter(rest, 9 * rest)])
        path = balanced_jepa(times, around[:, None], rest * 0.5, 0.5)
        assert np.array_equal(path[1], np.full(6, rest))
        assert np.array_equal(path[:, 0], around)
        assert np.array_equal(path[:, -1], np.full(3, rest))


@given(WEIGHTS, st.one_of(signed(6), st.just(0.0)), sizes(6), sizes(6))
@examples(200)
def test_limits_are_exact(w: float, cross: float, variance: float, rate: float) -> None:
    start, end = balanced_jepa([0.0, np.inf], w, cross, variance, predictor_rate=rate)
    assert start == w
    assert end == (cross / variance / np.sqrt(rate) if w * cross > 0 else 0)


@given(signed(140), signed(6), sizes(6), sizes(3), sizes(3))
@examples(200)
def test_signs_and_units(w: float, cross: float, variance: float, clock: float, unit: float) -> None:
    t = clock * variance / cross**2
    found = balanced_jepa(t, w, cross, variance)
    assert balanced_jepa(t, -w, -cross, variance) == -found
    # A predictor that learns four times as fast sees an encoder half as large: w√α has the field of α = 1.
    assert balanced_jepa(t, w / 2, cross, variance, predictor_rate=4.0) == pytest.approx(found / 2, rel=1e-13)
    # Times over 2ⁿ with λ and σ times 2ⁿ change nothing but the unit of time; exactly, since powers of two do not round.
    power = 2.0 ** round(math.log2(unit))
    assert balanced_jepa(t / power, w, cross * power, variance * power) == pytest.approx(found, rel=1e-13)


def test_it_restarts() -> None:
    rng = np.random.default_rng(3)
    w, cross = rng.normal(size=500) * 3, rng.normal(size=500)
    first, second = rng.uniform(0, 20, (2, 500))
    halfway = balanced_jepa(first, w, cross, 1.5)
    again = balanced_jepa(second, halfway, cross, 1.5)
    assert np.allclose(again, balanced_jepa(first + second, w, cross, 1.5), rtol=1e-11, atol=0)


def test_it_is_what_an_integrator_finds() -> None:
    w, cross = np.array([0.3, 2.0, -0.4, 0.7, 0.1]), np.array([1.0, 0.5, 0.8, -0.6, 0.0])
    done = solve_ivp(
        lambda _, x: x * np.sqrt(0.7) * x * (cross - 1.3 * np.sqrt(0.7) * x), (0, 9), w, rtol=1e-12, atol=1e-14
    )
    assert np.allclose(balanced_jepa(9, w, cross, 1.3, predictor_rate=0.7), done.y[:, -1], rtol=1e-9)


def test_it_broadcasts_and_a_loop_agrees() -> None:
    rng = np.random.default_rng(1)
    times, w, cross = np.linspace(0, 30, 301), rng.normal(size=(80, 1)), rng.normal(size=(80, 1))
    path = balanced_jepa(times, w, cross, 0.8)
    assert path.shape == (80, 301)
    assert path[7, 11] == balanced_jepa(times[11], w[7, 0], cross[7, 0], 0.8)
    assert balanced_jepa(1.0, 0.1, 1.0, 1.0).shape == ()
    assert balanced_jepa(np.zeros((0, 3)), 0.1, 1.0, 1.0).shape == (0, 3)
    assert np.array_equal(balanced_jepa(times, 0.0, 1.0, 1.0), np.zeros(301))


@pytest.mark.parametrize("decay", [0.0, 0.01, 2.0])
@pytest.mark.parametrize("name", ["weight", "cross", "variance", "predictor_rate"])
@pytest.mark.parametrize("values", [[0.1, 0.2, 0.3], [2.0, 3.0, 4.0], [0.1, 1.0, 4.0]], ids=["low", "high", "around"])
def test_any_one_argument_may_tell_modes_apart(name: str, values: list[float], decay: float) -> None:
    given: dict[str, Any] = {
        "weight": 0.7,
        "cross": 0.9,
        "variance": 0.8,
        "predictor_rate": 1.1,
        name: np.array(values),
    }
    times = np.linspace(0, 30, 100)
    for sign in (1.0, -1.0):
        given["weight"] = sign * given["weight"]
        for clock in (times, times[7:8], times[7]):
            shaped = {key: np.reshape(value, (-1, 1)) if key == name else value for key, value in given.items()}
            path = balanced_jepa(clock, **shaped, weight_decay=decay)
            for row, value in zip(path, values, strict=True):
                one = {**given, name: sign * value if name == "weight" else value}
                assert np.allclose(row, balanced_jepa(clock, **one, weight_decay=decay), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": -1.0}, "times = -1.0: must be at least 0"),
        ({"times": np.nan}, "times = nan"),
        ({"weight": 1e151}, "weight = 1e.151: must be 0 or between 1e-150 and 1e.150 in size"),
        ({"weight": np.inf}, "weight = inf"),
        ({"weight": 1j}, "weight = array of complex128: must hold real numbers"),
        ({"cross": 1e-31}, "cross = 1e-31: must be 0 or between 1e-30 and 1e.30"),
        ({"variance": 0.0}, "variance = 0.0: must be positive, between"),
        ({"variance": -1.0}, "variance = -1.0"),
        ({"predictor_rate": 0.0}, "predictor_rate = 0.0"),
        ({"times": [1.0, 2.0], "weight": [1.0, 2.0, 3.0]}, "must broadcast together"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_leaves_the_domain_is_an_error(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"times": 1.0, "weight": 1.0, "cross": 1.0, "variance": 1.0, **change}
    with pytest.raises(InputError, match=message):
        balanced_jepa(**given)
