"""The Wright function, certified in ball arithmetic: ω + ln ω − x changes sign within a few units of the last place."""

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import lambertw

from jepalign.errors import InputError
from jepalign.linear_models.trajectories.wright import wright

UNITS = 4  # bound; the worst of a million random arguments was 1.6


def certified(x: float, value: float, units: int = UNITS) -> bool:
    """Whether the solution lies within ``units`` units of the last place of ``value``: ω + ln ω − x increases in ω."""
    spacing = float(np.spacing(value))
    before, ctx.prec = ctx.prec, 160
    try:
        ends = [arb(value) + sign * units * arb(spacing) for sign in (-1, 1)]
        low, high = (end + end.log() - arb(x) for end in ends)
        return bool(low < 0) and bool(high > 0)
    finally:
        ctx.prec = before


RANGES = {
    "around one": (-3.0, 5.0),
    "the table": (-38.0, 64.0),
    "the table's ends": (-38.5, -36.5),
    "its other end": (63.5, 64.5),
    "small": (-700.0, -38.0),
    "large": (64.0, 1e6),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_solution_lies_within_a_few_units(name: str) -> None:
    x = np.random.default_rng(7).uniform(*RANGES[name], 3000)
    values = wright(x)
    assert all(certified(a, b) for a, b in zip(x.tolist(), values.tolist(), strict=True))


def test_a_wrong_value_is_not_certified() -> None:
    value = float(wright(2.0))
    assert certified(2.0, value)
    assert not certified(2.0, value * (1 + 20 * np.finfo(float).eps))
    assert not certified(2.0, value * (1 - 20 * np.finfo(float).eps))


@given(st.floats(-700, 1e308))
@settings(max_examples=300, deadline=None)
def test_any_argument(x: float) -> None:
    assert certified(x, float(wright(x)))


def test_limits_are_exact() -> None:
    values = wright([-np.inf, -800.0, 1.0, np.inf, 1e308, np.finfo(float).max])
    assert values[0] == 0
    assert values[1] == 0  # e^−800 underflows
    assert values[2] == 1
    assert values[3] == np.inf
    assert np.all(np.isfinite(values[4:]))


def test_it_is_lamberts_function_of_the_exponential() -> None:
    # Lambert's W of SciPy is right to some 1e-14 here; the exponential costs |x| units more.
    x = np.linspace(-20, 20, 401)
    assert np.allclose(wright(x), lambertw(np.exp(x)).real, rtol=1e-13)


def test_shapes_pass_through() -> None:
    assert wright(0.0).shape == ()
    assert wright(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    x = np.random.default_rng(0).normal(size=(7, 11_000)) * 30  # more than one chunk
    assert np.array_equal(wright(x)[3, ::7], wright(x[3, ::7]))
    assert np.array_equal(wright(x[::-1, ::2]), wright(x)[::-1, ::2])


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(InputError, match="x = nan: must be numbers"):
        wright([0.0, np.nan])
