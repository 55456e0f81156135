"""Rigorous enclosures of scalar expressions by ball arithmetic (python-flint's arb).

A ball that lies wholly on one side of zero proves a strict inequality; a ball that contains zero proves nothing, so an
equality is never proved here, only refuted, or confirmed to within a stated distance.
"""

from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import flint
import sympy as sp
from flint import acb, arb, ctx

from jepalign.theory.special import LambertLower, LambertUpper, WrightOmega

BITS = 212  # sixty-four decimal digits: enough that the cancellations met here never hide a sign
BISECTIONS = 4_000


class NotEnclosedError(ValueError):
    """An expression has no enclosure here (an unknown function, a letter without value, a division by zero)."""


class Sign(Enum):
    """What is known of the sign of an expression over a box."""

    POSITIVE = "positive"
    NOT_POSITIVE = "not positive somewhere"
    UNKNOWN = "unknown"


@contextmanager
def _precision() -> Generator[None, None, None]:
    before = ctx.prec
    ctx.prec = BITS
    try:
        yield
    finally:
        ctx.prec = before


def exact(value: Any) -> Any:
    """Return a rational number as a ball of radius at most one rounding."""
    number: Any = value if isinstance(value, flint.fmpq) else sp.Rational(value)
    return arb(flint.fmpq(int(number.p), int(number.q)))


def _between(low: Any, high: Any) -> Any:
    return exact(low).union(exact(high))


def _evaluate(node: Any, at: Mapping[sp.Symbol, Any]) -> Any:
    """Evaluate in complex balls (integrands must be analytic functions of a complex ball)."""

    def inner(i: int = 0) -> Any:
        return _evaluate(node.args[i], at)

    match node:
        case sp.Rational():
            return acb(exact(node))
        case sp.Symbol():
            if node not in at:
                raise NotEnclosedError(f"{node} has no value")
            return at[node]
        case sp.Add():
            return sum((_evaluate(part, at) for part in node.args), acb(0))
        case sp.Mul():
            product = acb(1)
            for part in node.args:
                product *= _evaluate(part, at)
            return product
        case sp.exp():
            return inner().exp()
        case sp.Pow():
            base, exponent = node.args
            ball = _evaluate(base, at)
            if exponent.is_Integer:
                return ball ** int(exponent)
            if exponent == sp.Rational(1, 2):
                return ball.sqrt()
            return ball ** _evaluate(exponent, at)
        case sp.log():
            return inner().log()
        case sp.LambertW():
            branch: Any = node.args[1] if len(node.args) > 1 else 0
            return inner().lambertw(int(branch))
        case WrightOmega():
            return _on_the_real_line(inner()).exp().lambertw(0)
        case LambertUpper():
            return _on_the_real_line(inner()).lambertw(0)
        case LambertLower():
            return _on_the_real_line(inner()).lambertw(-1)
        case sp.Abs():
            return acb(abs(inner().real))
        case _ if node == sp.pi:
            return acb(arb.pi())
        case sp.Integral():
            return _integral(node, at)
        case _:
            raise NotEnclosedError(f"{type(node).__name__} has no enclosure: {node}")


def _on_the_real_line(ball: Any) -> Any:
    if ball.imag != 0:
        raise NotEnclosedError("the branch is chosen on the real line only")
    return ball


def _integral(node: Any, at: Mapping[sp.Symbol, Any]) -> Any:
    (variable, low, high), *others = node.limits
    if others:
        raise NotEnclosedError("only single definite integrals")
    integrand = node.function
    return acb.integral(
        lambda x, _analytic: _evaluate(integrand, {**at, variable: x}),
        _evaluate(low, at),
        _evaluate(high, at),
        rel_tol=arb(2) ** (-BITS // 2),
        abs_tol=arb(2) ** (-BITS // 2),
    )


def enclosure(expression: Any, at: Mapping[sp.Symbol, Any]) -> Any:
    """Return a real ball containing the value of ``expression`` at exact rational points (one ``arb``)."""
    with _precision():
        ball = _evaluate(sp.sympify(expression), {letter: acb(exact(value)) for letter, value in at.items()})
        return _real(ball)


def _real(ball: Any) -> Any:
    if not ball.is_finite():
        raise NotEnclosedError("the enclosure is not finite")
    if not ball.imag.contains(0):
        raise NotEnclosedError("the value is not real")
    return ball.real


def sign_over(expression: Any, box: Mapping[sp.Symbol, tuple[Any, Any]]) -> tuple[Sign, str]:
    """Decide whether ``expression`` is positive on a whole box of closed rational intervals.

    The box is halved along its widest side, larger parts first, until each part has a ball of one sign. A part whose
    midpoint is provably not positive refutes the claim, with that point.
    """
    target = sp.sympify(expression)
    pending = deque([{letter: (sp.Rational(low), sp.Rational(high)) for letter, (low, high) in box.items()}])
    with _precision():
        for _ in range(BISECTIONS):
            if not pending:
                return Sign.POSITIVE, ""
            part = pending.popleft()
            middle = {letter: (low + high) / 2 for letter, (low, high) in part.items()}
            try:
                point = _real(_evaluate(target, {letter: acb(exact(value)) for letter, value in middle.items()}))
                if point <= 0:
                    where = ", ".join(f"{letter} = {value}" for letter, value in middle.items())
                    return Sign.NOT_POSITIVE, f"{where}: {point.str(12)}"
                if _real(_evaluate(target, {letter: acb(_between(*ends)) for letter, ends in part.items()})) > 0:
                    continue
            except NotEnclosedError:
                pass  # a smaller part may have a finite enclosure
            widest = max(part, key=lambda letter: part[letter][1] - part[letter][0], default=None)
            if widest is None or part[widest][0] == part[widest][1]:
                return Sign.UNKNOWN, "a ball around zero that no subdivision can shrink"
            low, high = part[widest]
            pending += [{**part, widest: (low, middle[widest])}, {**part, widest: (middle[widest], high)}]
    return Sign.UNKNOWN, f"not decided by {BISECTIONS} subdivisions"


def version() -> str:
    """Return python-flint's version."""
    return flint.__version__
