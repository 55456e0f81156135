"""Claims as data: each kind is a value that can be printed, checked for all cases, and evaluated in one case.

What is printed is what is checked, and a false sibling is nothing but another value of the same kind: it goes through
the same checker, which has to refuse it with a counterexample. ``check`` answers proved, refuted or unknown; only
"proved" counts. ``failure`` evaluates the claim exactly at one instance and says by how much it fails there, or None.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, cast

import sympy as sp
from flint import fmpq_mat
from sympy.matrices.expressions.matexpr import MatrixExpr

from jepalign.theory import balls, smt
from jepalign.theory.calculus import Rule, canonical, differential, equal, gradient, normal, substitute
from jepalign.theory.exact import (
    Evaluator,
    Instance,
    NotExactError,
    Sampler,
    available,
    gradient_at,
    is_positive_semidefinite,
    largest_entry,
    matrix_text,
    value_of,
)
from jepalign.theory.expressions import tr
from jepalign.theory.printing import latex

SEARCH_SIZES = (1, 1, 1, 2, 2, 3)  # small counterexamples first
SEARCH_DRAWS = 6


class Method(StrEnum):
    """How a claim was established, strongest first."""

    SYMBOLIC = "symbolic"  # for all shapes
    PER_MODE = "per-mode"  # for all parameters of one mode
    SMT = "smt"
    BALL = "ball"
    CITED = "cited"


class Outcome(StrEnum):
    """What a checker can say."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """A checker's answer, the program that gave it, and the counterexample or the reason for not knowing."""

    outcome: Outcome
    method: Method
    tool: str
    version: str
    detail: str = ""


@dataclass(frozen=True)
class Context:
    """What a step may use: equations as rewriting rules, inequalities as hypotheses, and where to look for counterexamples."""

    rules: tuple[Rule, ...] = ()
    hypotheses: tuple[Any, ...] = ()
    values: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict[sp.Symbol, sp.Expr])  # scalar equations, solved
    instances: Sampler | None = None
    seed: int = 0

    def equal(self, left: Any, right: Any) -> bool:
        """Decide an equality for symbolic shapes under the step's rules."""
        return equal(left, right, self.rules, self.values)


class Claim(ABC):
    """A statement with a checker."""

    method: ClassVar[Method]

    @abstractmethod
    def check(self, context: Context) -> Finding:
        """Prove or refute the claim for all cases, or admit not to know."""

    @abstractmethod
    def failure(self, instance: Instance) -> str | None:
        """Return None if the claim holds at this instance, else by how much it fails, as text."""

    @abstractmethod
    def latex(self) -> str:
        """Return the claim as one LaTeX formula."""

    def _finding(self, outcome: Outcome, detail: str = "") -> Finding:
        return Finding(outcome, self.method, f"SymPy {sp.__version__}, jepalign calculus", sp.__version__, detail)


def search(claim: Claim, context: Context) -> str | None:
    """Look for an admissible instance at which a claim fails; return it with the amount, or None."""
    if context.instances is None:
        return None
    rng = random.Random(context.seed)  # noqa: S311 (instances, not secrets)
    for size in SEARCH_SIZES:
        for _ in range(SEARCH_DRAWS):
            instance = context.instances(rng, size)
            try:
                amount = claim.failure(instance)
            except NotExactError:
                continue
            if amount is not None:
                return f"{amount} at {instance}"
    return None


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


@dataclass(frozen=True, eq=False)
class Dominates(_MatrixClaim):
    """larger ⪰ smaller in Loewner order, because the difference is the Gram matrix factor·factorᵀ.

    With 1 × 1 sides written as traces it is an ordinary inequality, and ``factor`` any matrix whose squared norm is the
    difference.
    """

    larger: Any
    smaller: Any
    factor: Any

    def _decide(self, context: Context) -> bool:
        square = self.factor * self.factor.T
        difference = normal(self.larger).minus(normal(self.smaller))
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


def _vanishes(expression: sp.Expr) -> bool:
    # cancel may leave a sum of opposite constants standing (SymPy 1.14); expand adds them up.
    return sp.expand(sp.cancel(expression)) == 0


class _ScalarClaim(Claim):
    """Shared by the claims that are rational identities in the parameters of one mode."""

    method = Method.PER_MODE

    @abstractmethod
    def residuals(self) -> list[sp.Expr]:
        """Return the expressions that must vanish identically."""

    def check(self, context: Context) -> Finding:
        values: Any = context.values
        if all(_vanishes(r.subs(values)) for r in self.residuals()):
            return self._finding(Outcome.PROVED)
        found = search(self, context)
        if found is not None:
            return self._finding(Outcome.REFUTED, found)
        return self._finding(Outcome.UNKNOWN, "does not cancel, and no counterexample found")

    def failure(self, instance: Instance) -> str | None:
        """Evaluate the residuals: exactly if they are rational, else in balls, which must exclude zero to count."""
        for residual in self.residuals():
            if residual.free_symbols - set(instance.scalars):
                missing = ", ".join(sorted(map(str, residual.free_symbols - set(instance.scalars))))
                raise NotExactError(f"no value for {missing}")
            try:
                amount = abs(value_of(residual, instance))
                if amount != 0:
                    return f"the sides differ by {amount}"
            except NotExactError:
                try:
                    ball = balls.enclosure(residual, cast("dict[sp.Symbol, Any]", instance.scalars))
                except balls.NotEnclosedError as problem:
                    raise NotExactError(str(problem)) from problem
                if not ball.contains(0):
                    return f"the sides differ by {abs(ball).str(8)}"
        return None


@dataclass(frozen=True, eq=False)
class ScalarIdentity(_ScalarClaim):
    """left = right for all values of the letters; derivatives written as ``sympy.Derivative`` are carried out."""

    left: sp.Expr
    right: sp.Expr

    def residuals(self) -> list[sp.Expr]:
        """Return left − right."""
        return [(self.left - self.right).doit()]

    def latex(self) -> str:
        return f"{latex(self.left)} = {latex(self.right)}"


@dataclass(frozen=True, eq=False)
class SolvesODE(_ScalarClaim):
    """A formula solves an initial value problem: residual and initial condition vanish for all parameters."""

    solution: sp.Expr
    unknown: sp.Symbol
    time: sp.Symbol
    field: sp.Expr  # the right-hand side, in ``unknown``
    start: sp.Expr  # the value at time 0

    def residuals(self) -> list[sp.Expr]:
        """Return the defect of the equation and of the initial condition."""
        defect = sp.diff(self.solution, self.time) - self.field.subs(self.unknown, self.solution)
        return [defect, self.solution.subs(self.time, 0) - self.start]

    def latex(self) -> str:
        name, t = latex(self.unknown), latex(self.time)
        return (
            rf"\dot{{{name}}} = {latex(self.field)}, \quad {name}(0) = {latex(self.start)}"
            rf" \quad\Longrightarrow\quad {name}({t}) = {latex(self.solution)}"
        )


@dataclass(frozen=True, eq=False)
class Implication(Claim):
    """A polynomial claim over the reals (z3): the step's hypotheses and ``given`` together imply ``conclusion``.

    ``given`` holds definitions and ranges that belong to the claim rather than to the theorem. That all of them can hold
    at once is checked first.
    """

    conclusion: Any
    given: tuple[Any, ...] = ()
    method = Method.SMT

    def check(self, context: Context) -> Finding:
        answer = smt.decide((*context.hypotheses, *self.given), self.conclusion)
        outcome = {"proved": Outcome.PROVED, "refuted": Outcome.REFUTED}.get(answer.status, Outcome.UNKNOWN)
        return Finding(outcome, self.method, "z3", smt.version(), answer.model)

    def failure(self, instance: Instance) -> str | None:
        """Evaluate in exact arithmetic; where ``given`` does not hold nothing is claimed."""
        if any(formula_failure(condition, instance) is not None for condition in self.given):
            return None
        return formula_failure(self.conclusion, instance)

    def latex(self) -> str:
        conclusion = latex(self.conclusion)
        if not self.given:
            return conclusion
        given = r", \; ".join(map(latex, self.given))
        return rf"{given} \quad\Longrightarrow\quad {conclusion}"


def formula_failure(formula: Any, instance: Instance) -> str | None:
    """Evaluate a comparison or connective at an instance; return None if it is true, else its failing comparisons."""

    def truth(node: Any) -> bool:
        left: Any = getattr(node, "lhs", None)
        match node:
            case sp.logic.boolalg.BooleanAtom():
                return bool(node)
            case sp.core.relational.Relational():
                gap = value_of(left - node.rhs, instance)
                return bool(_COMPARE[type(node)](gap))
            case sp.And():
                return all(truth(part) for part in node.args)
            case sp.Or():
                return any(truth(part) for part in node.args)
            case sp.Not():
                return not truth(node.args[0])
            case sp.Implies():
                return not truth(node.args[0]) or truth(node.args[1])
            case sp.Equivalent():
                return len({truth(part) for part in node.args}) == 1
            case _:
                raise NotExactError(f"{node} is not a comparison")

    if truth(formula):
        return None
    atoms = sorted(formula.atoms(sp.core.relational.Relational), key=str)
    values = [f"{a.lhs} − ({a.rhs}) = {value_of(a.lhs - a.rhs, instance)}" for a in atoms]
    return "false: " + "; ".join(values)


_COMPARE: Mapping[type, Any] = {
    sp.Equality: lambda gap: gap == 0,
    sp.Unequality: lambda gap: gap != 0,
    sp.StrictGreaterThan: lambda gap: gap > 0,
    sp.GreaterThan: lambda gap: gap >= 0,
    sp.StrictLessThan: lambda gap: gap < 0,
    sp.LessThan: lambda gap: gap <= 0,
}


@dataclass(frozen=True, eq=False)
class Positive(Claim):
    """expression > 0 on a closed box of rational intervals (a point is an interval of width 0), by ball arithmetic."""

    expression: sp.Expr
    box: Mapping[sp.Symbol, tuple[Any, Any]]
    method = Method.BALL

    def check(self, context: Context) -> Finding:
        sign, detail = balls.sign_over(self.expression, self.box)
        outcome = {balls.Sign.POSITIVE: Outcome.PROVED, balls.Sign.NOT_POSITIVE: Outcome.REFUTED}
        return Finding(outcome.get(sign, Outcome.UNKNOWN), self.method, "python-flint", balls.version(), detail)

    def failure(self, instance: Instance) -> str | None:
        """Enclose the expression at the instance's scalars; a ball that contains positive numbers is no failure."""
        try:
            ball = balls.enclosure(self.expression, cast("dict[sp.Symbol, Any]", instance.scalars))
        except balls.NotEnclosedError as problem:
            raise NotExactError(str(problem)) from problem
        return f"the value is {ball.str(8)}" if ball <= 0 else None

    def latex(self) -> str:
        ranges = [
            rf"{latex(letter)} = {latex(sp.Rational(low))}"
            if low == high
            else rf"{latex(letter)} \in [{latex(sp.Rational(low))}, {latex(sp.Rational(high))}]"
            for letter, (low, high) in self.box.items()
        ]
        return rf"{latex(self.expression)} > 0 \quad\text{{for}}\quad {', '.join(ranges)}"


@dataclass(frozen=True, eq=False)
class Cited(Claim):
    """A theorem of somebody else, taken on trust; it is counted as such in every table."""

    formula: str  # LaTeX
    source: str  # key of the bibliography and locator
    method = Method.CITED

    def check(self, context: Context) -> Finding:
        return Finding(Outcome.PROVED, self.method, self.source, "")

    def failure(self, instance: Instance) -> str | None:
        """Nothing is evaluated."""
        raise NotExactError("a cited theorem is not evaluated")

    def latex(self) -> str:
        return self.formula
