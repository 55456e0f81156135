"""Claims about matrices, decided for symbolic shapes by the calculus."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp
from flint import fmpq_mat
from sympy.matrices.expressions.matexpr import MatrixExpr

from jepalign.theory import smt
from jepalign.theory.calculus import canonical, differential, gradient, normal, substitute
from jepalign.theory.checking import Claim, Context, Finding, Method, Outcome, search
from jepalign.theory.exact import (
    Evaluator,
    Instance,
    available,
    gradient_at,
    is_positive_semidefinite,
    largest_entry,
    matrix_text,
    value_of,
)
from jepalign.theory.expressions import tr
from jepalign.theory.printing import latex


class _MatrixClaim(Claim):
    """Shared by the claims that the calculus decides for symbolic shapes."""

    method = Method.SYMBOLIC

    def check(self, context: Context) -> Finding:
        if self._decide(context):
            return self._finding(Outcome.PROVED)
        found = search(self, context)
        if found is not None:
            return self._finding(Outcome.REFUTED, found)
        return self._finding(Outcome.UNKNOWN, "not equal by the listed rules, and no counterexample found")

    @abstractmethod
    def _decide(self, context: Context) -> bool: ...


def _difference(left: Any, right: Any) -> str | None:
    amount = largest_entry(left - right)
    return None if amount == 0 else f"the sides differ by {amount}"


@dataclass(frozen=True, eq=False)
class Equality(_MatrixClaim):
    """left = right, for scalar (trace) or matrix expressions of symbolic shape."""

    left: Any
    right: Any

    def _decide(self, context: Context) -> bool:
        return context.equal(self.left, self.right)

    def failure(self, instance: Instance) -> str | None:
        """Compare both sides in exact arithmetic."""
        return _difference(value_of(self.left, instance), value_of(self.right, instance))

    def latex(self) -> str:
        return f"{latex(self.left)} = {latex(self.right)}"


@dataclass(frozen=True, eq=False)
class Gradient(_MatrixClaim):
    """−∇f = descent: the force a loss exerts on a matrix, stop-gradients held fixed.

    ``named`` replaces the loss by a name in print (``L``); the loss itself is then defined in the statement.
    """

    function: Any
    variable: sp.MatrixSymbol
    descent: Any
    named: str = ""

    def _decide(self, context: Context) -> bool:
        return context.equal(gradient(self.function, self.variable).scaled(sp.S.NegativeOne), self.descent)

    def failure(self, instance: Instance) -> str | None:
        """Differentiate entry by entry with dual numbers."""
        force = -gradient_at(self.function, self.variable, instance)
        return _difference(force, value_of(self.descent, instance))

    def latex(self) -> str:
        shown = self.named or rf"\left[{latex(self.function)}\right]"
        return rf"-\nabla_{{{latex(self.variable)}}} {shown} = {latex(self.descent)}"


@dataclass(frozen=True, eq=False)
class Rate(_MatrixClaim):
    """d/dt quantity = rate, when each letter of ``flow`` moves with the given velocity."""

    quantity: Any
    flow: Mapping[sp.MatrixSymbol, Any]
    rate: Any
    named: str = ""

    def _decide(self, context: Context) -> bool:
        directions = {letter: canonical(velocity) for letter, velocity in self.flow.items()}
        return context.equal(differential(canonical(self.quantity), directions), self.rate)

    def failure(self, instance: Instance) -> str | None:
        """Evaluate the velocities, then differentiate with dual numbers."""
        directions = {letter: value_of(velocity, instance) for letter, velocity in self.flow.items()}
        change = available(Evaluator(instance, directions)(self.quantity).change)
        return _difference(change, value_of(self.rate, instance))

    def latex(self) -> str:
        shown = self.named or rf"\left({latex(self.quantity)}\right)"
        return rf"\frac{{d}}{{dt}} {shown} = {latex(self.rate)}"


@dataclass(frozen=True, eq=False)
class AfterStep(_MatrixClaim):
    """The value of ``quantity`` after one simultaneous update of its letters."""

    quantity: Any
    update: Mapping[sp.MatrixSymbol, Any]
    value: Any
    named: str = ""

    def _decide(self, context: Context) -> bool:
        images = {letter: normal(new) for letter, new in self.update.items()}
        return context.equal(substitute(canonical(self.quantity), images), self.value)

    def failure(self, instance: Instance) -> str | None:
        """Perform the step in exact arithmetic."""
        stepped = instance.with_({letter: value_of(new, instance) for letter, new in self.update.items()})
        return _difference(value_of(self.quantity, stepped), value_of(self.value, instance))

    def latex(self) -> str:
        shown = self.named or rf"\left({latex(self.quantity)}\right)"
        return rf"{shown}^{{+}} = {latex(self.value)}"


def _is_real(coefficient: Any, context: Context) -> bool:
    """Whether a coefficient is real for all real letters that satisfy the inequalities: no √ of what may be negative."""
    match coefficient:
        case sp.Add() | sp.Mul():
            return all(_is_real(part, context) for part in coefficient.args)
        case sp.Pow():
            base, exponent = coefficient.args
            return _is_real(base, context) and (exponent.is_Integer or _is_nonnegative(base, context))
        case _:
            return isinstance(coefficient, (sp.Symbol, sp.Rational))


def _is_nonnegative(expression: Any, context: Context) -> bool:
    if expression.is_nonnegative:
        return True
    numerator, denominator = sp.fraction(sp.together(expression))
    try:
        return smt.decide(context.hypotheses, numerator * denominator >= 0).status == "proved"
    except smt.NotPolynomialError:
        return False


@dataclass(frozen=True, eq=False)
class Dominates(_MatrixClaim):
    """larger ⪰ smaller in Loewner order, because the difference is the Gram matrix factor·factorᵀ.

    With 1 × 1 sides written as traces it is an ordinary inequality, and ``factor`` any matrix whose squared norm is the
    difference. The factor must be real: √x enters only where x ≥ 0 is declared or follows from the step's inequalities.
    """

    larger: Any
    smaller: Any
    factor: Any

    def _decide(self, context: Context) -> bool:
        square = self.factor * self.factor.T
        difference = normal(self.larger).minus(normal(self.smaller))
        if not all(_is_real(c, context) for c in normal(self.factor).terms.values()):
            return False
        return context.equal(difference, tr(square) if difference.rows is None else square)

    def failure(self, instance: Instance) -> str | None:
        """Decide the order exactly, by elimination; the factor is not looked at."""
        gap = value_of(self.larger, instance) - value_of(self.smaller, instance)
        if not isinstance(gap, fmpq_mat):
            return None if gap >= 0 else f"the difference is {gap}"
        if gap != gap.transpose():
            return f"the difference is not symmetric, by {largest_entry(gap - gap.transpose())}"
        return (
            None if is_positive_semidefinite(gap) else f"the difference {matrix_text(gap)} is not positive semidefinite"
        )

    def latex(self) -> str:
        order = r"\succeq" if isinstance(self.larger, MatrixExpr) else r"\ge"
        return rf"{latex(self.larger)} {order} {latex(self.smaller)}"
