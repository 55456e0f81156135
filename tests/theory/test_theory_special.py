"""The Wright function and Lambert's W: rules that hold in balls, and that stop at the border of their branch."""

from typing import Any

import pytest
import sympy as sp

from jepalign.theory import balls
from jepalign.theory.printing import latex
from jepalign.theory.special import LambertLower, LambertUpper, WrightOmega

x: Any = sp.Symbol("x", real=True)
y: Any = sp.Symbol("y", real=True)
ABOVE, BELOW = sp.exp(y) - 1, -1 - sp.exp(y)


def test_the_branches_undo_their_defining_expressions() -> None:
    assert WrightOmega(sp.exp(y) + y) == sp.exp(y)
    assert LambertUpper(ABOVE * sp.exp(ABOVE)) == ABOVE
    assert LambertLower(BELOW * sp.exp(BELOW)) == BELOW


@pytest.mark.parametrize(
    "expression",
    [
        WrightOmega(x + sp.log(x)),  # x may be negative
        WrightOmega(sp.exp(y) + 2 * y),
        LambertUpper(x * sp.exp(x)),  # x may be below −1
        LambertUpper(BELOW * sp.exp(BELOW)),
        LambertLower(ABOVE * sp.exp(ABOVE)),
        LambertUpper(2 * ABOVE * sp.exp(ABOVE)),
    ],
    ids=str,
)
def test_nothing_is_undone_where_the_branch_is_not_evident(expression: Any) -> None:
    assert isinstance(expression, (WrightOmega, LambertUpper, LambertLower))


@pytest.mark.parametrize("function", [WrightOmega, LambertUpper, LambertLower])
@pytest.mark.parametrize("at", ["-1/3", "-1/100"])
def test_the_enclosures_obey_the_rules(function: Any, at: str) -> None:
    value: Any = function(x)
    equation: Any = value + sp.log(value) - x if function is WrightOmega else value * sp.exp(value) - x
    residual = balls.enclosure(equation, {x: at})
    assert residual.contains(0)
    assert residual.rad() < 1e-50
    step = sp.Rational(1, 10**12)
    above: Any = function(x + step)
    below: Any = function(x - step)
    quotient = (above - below) / (2 * step)
    assert abs(balls.enclosure(quotient - sp.diff(value, x), {x: at})) < 1e-15


@pytest.mark.parametrize("at", ["-200", "0", "7/3", "1000", "10000000"])
def test_the_wright_function_is_enclosed_far_out(at: str) -> None:
    assert balls.enclosure(WrightOmega(x) + sp.log(WrightOmega(x)) - x, {x: at}).contains(0)


def test_the_lower_branch_lies_below_the_upper() -> None:
    at = {x: sp.Rational(-1, 4)}
    assert balls.enclosure(LambertLower(x), at) < -1 < balls.enclosure(LambertUpper(x), at)


@pytest.mark.parametrize("expression", [LambertLower(x), LambertUpper(-x), WrightOmega(sp.sqrt(-x))], ids=str)
def test_off_the_real_branch_there_is_no_enclosure(expression: Any) -> None:
    with pytest.raises(balls.NotEnclosedError):
        balls.enclosure(expression, {x: 2})


def test_they_are_printed_as_the_field_writes_them() -> None:
    assert [latex(f(x)) for f in (WrightOmega, LambertUpper, LambertLower)] == [
        r"\omega\left(x\right)",
        r"W_{0}\left(x\right)",
        r"W_{-1}\left(x\right)",
    ]
