"""Deep linear encoders against their flows in high precision, an integrator and the laws they obey."""

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import deep as oracle
from linear_models_precision import error_per_condition
from linear_models_strategies import examples
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.trajectories.balanced import balanced_jepa
from jepalign.linear_models.trajectories.depth import deep_jepa, masked_autoencoder
from jepalign.linear_models.trajectories.lerch import lerch

TOLERANCE = 1e-14  # relative, per unit of the problem's own condition number
FORMS = {
    "deep_jepa": (deep_jepa, lambda n: (2 * n, 1)),
    "masked_autoencoder": (masked_autoencoder, lambda n: (n, n + 1)),
}


def sizes(decades: float) -> st.SearchStrategy[float]:
    return st.floats(-decades, decades).map(lambda x: 10.0**x)


def signed(decades: float) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from([-1.0, 1.0]), sizes(decades)).map(math.prod)


@pytest.mark.parametrize("depth", [2, 3, 5])
@given(st.one_of(sizes(300), sizes(8)), st.one_of(sizes(150), sizes(4)), st.one_of(signed(6), st.just(0.0)), sizes(6))
@examples(60)
def test_the_deep_jepa_over_the_whole_range(depth: int, t: float, w: float, cross: float, variance: float) -> None:
    found = float(deep_jepa(t, w, cross, variance, depth=depth))
    assert error_per_condition(found, oracle("deep_jepa", depth), t, w, cross, variance) < TOLERANCE


@pytest.mark.parametrize("kind", FORMS)
@given(sizes(3), sizes(2), signed(2), sizes(2))
@examples(25)
def test_while_it_moves(kind: str, clock: float, place: float, cross: float, variance: float) -> None:
    depth = 2
    m, k = FORMS[kind][1](depth)
    rest = (abs(cross) / variance) ** (1 / k)
    u = rest * place
    t = clock / (abs(cross) * u ** (m - 1) * (1 + place**k))
    found = float(FORMS[kind][0](t, u**depth, cross, variance, depth=depth))
    assert error_per_condition(found, oracle(kind, depth), t, u**depth, cross, variance) < TOLERANCE


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", FORMS)
def test_it_is_what_an_integrator_finds(kind: str, depth: int) -> None:
    m, k = FORMS[kind][1](depth)
    rng = np.random.default_rng(depth)
    w, cross, variance = 10 ** rng.uniform(-1, 0.6, 40), rng.uniform(-0.5, 2, 40), 10 ** rng.uniform(-0.5, 0.5, 40)
    cross[:3] = 0
    times = [0.01, 0.3, 3.0, 30.0]
    for t in times:
        done = solve_ivp(
            lambda _, u: u**m * (cross - variance * u**k),
            (0, t),
            w ** (1 / depth),
            method="LSODA",
            rtol=1e-11,
            atol=1e-14,
        )
        # The integrator's own error: 1e-11 a step, some 1e3 steps, L times in the power; a mode below 1e-6 is noise.
        assert np.allclose(
            FORMS[kind][0](t, w, cross, variance, depth=depth), done.y[:, -1] ** depth, rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize("kind", FORMS)
@given(st.integers(1, 8), sizes(150), st.one_of(signed(6), st.just(0.0)), sizes(6))
@examples(100)
def test_limits_are_exact(kind: str, depth: int, w: float, cross: float, variance: float) -> None:
    start, end = FORMS[kind][0]([0.0, np.inf], w, cross, variance, depth=depth)
    assert start == w
    k = FORMS[kind][1](depth)[1]
    expected = (cross / variance) ** (depth / k) if cross > 0 else 0
    assert end == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("kind", FORMS)
def test_restart_equilibrium_and_origin(kind: str) -> None:
    solve = FORMS[kind][0]
    rng = np.random.default_rng(2)
    w, cross = 10 ** rng.uniform(-0.7, 0.7, 300), rng.uniform(-1, 1, 300)
    first, second = rng.uniform(0, 5, (2, 300))
    for depth in (1, 2, 4):
        again = solve(second, solve(first, w, cross, 1.3, depth=depth), cross, 1.3, depth=depth)
        assert np.allclose(again, solve(first + second, w, cross, 1.3, depth=depth), rtol=1e-11, atol=0)
        assert np.array_equal(solve([0.0, 1.0, np.inf], 1.0, 2.0, 2.0, depth=depth), np.ones(3))
        assert np.array_equal(solve([0.0, 1.0, np.inf], 0.0, 2.0, 2.0, depth=depth), np.zeros(3))


def test_depth_one_is_the_balanced_mode() -> None:
    t, w = np.geomspace(1e-2, 1e3, 50), 0.2
    assert np.array_equal(deep_jepa(t, w, 0.7, 1.1, depth=1), balanced_jepa(t, w, 0.7, 1.1))
    found = masked_autoencoder(t, w, 0.7, 1.1, depth=1)
    logistic = np.sqrt(0.7 / 1.1 / (1 + (0.7 / 1.1 / w**2 - 1) * np.exp(-2 * 0.7 * t)))
    assert np.allclose(found, logistic, rtol=1e-13)


def test_extremes_are_numbers() -> None:
    corner = np.array([1e-150, 1.0, 1e150])
    t, w, a, s = np.meshgrid([0, 1e-300, 1.0, 1e300, np.inf], corner, [-1e30, -1e-30, 0, 1e-30, 1e30], [1e-30, 1, 1e30])
    for depth in (1, 2, 7, 100):
        for solve, _ in FORMS.values():
            found = solve(t, w, a, s, depth=depth)
            assert not np.isnan(found).any()
            assert (found >= 0).all()


@pytest.mark.parametrize("a", [1 / 3, 1.5, 4.0, 200.0])
def test_lerchs_series(a: float) -> None:
    places = np.array([-1.09, -0.3, 0.0, 0.2, 0.69, 1.7, 4.0, 12.0, 35.0, 47.9, 60.0])
    with mp.workdps(40):
        for place, found in zip(places, lerch(a, places), strict=True):
            x = 1 - mp.exp(-mp.mpf(place))
            assert (
                abs(found / (mp.hyp2f1(1, a, mp.mpf(a) + 1, x) / a) - 1) < 5e-15
            )  # 18 products and a sum, each to 1e-16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": -1.0}, "weight = -1.0: must be at least 0"),
        ({"depth": 0}, "depth = 0: must be at least 1"),
        ({"depth": 1.5}, "depth = 1.5: must be an integer"),
        ({"times": -1.0}, "times = -1.0"),
        ({"cross": np.nan}, "cross = nan"),
        ({"variance": 0.0}, "variance = 0.0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_leaves_the_domain_is_an_error(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"times": 1.0, "weight": 1.0, "cross": 1.0, "variance": 1.0, "depth": 2, **change}
    for solve, _ in FORMS.values():
        with pytest.raises(InputError, match=message):
            solve(**given)
