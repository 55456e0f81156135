"""Claims about one mode: rational identities and solutions of differential equations, polynomial claims, enclosures."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import sympy as sp

from jepalign.theory import balls, smt
from jepalign.theory.checking import Claim, Context, Finding, Method, Outcome, search
from jepalign.theory.exact import Instance, NotExactError, rational, value_of
from jepalign.theory.printing import latex


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
class ModeRate(_ScalarClaim):
    """d/dt quantity = rate for scalar letters that move with the velocities of ``flow``, which are printed if wanted."""

    quantity: sp.Expr
    flow: Mapping[sp.Symbol, sp.Expr]
    rate: sp.Expr
    named: str = ""
    with_flow: bool = False

    def residuals(self) -> list[sp.Expr]:
        """Return the chain rule's sum, less the rate."""
        moved = [sp.diff(self.quantity, letter) * velocity for letter, velocity in self.flow.items()]
        return [sp.Add(*moved) - self.rate]

    def latex(self) -> str:
        shown = self.named or rf"\left({latex(self.quantity)}\right)"
        claim = rf"\frac{{d}}{{dt}} {shown} = {latex(self.rate)}"
        moves = [rf"\dot{{{latex(letter)}}} = {latex(velocity)}" for letter, velocity in self.flow.items()]
        return rf"{claim} \quad\text{{for}}\quad {', '.join(moves)}" if self.with_flow else claim


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
        """Evaluate in exact arithmetic. Where ``given`` does not hold nothing is claimed: ``NotExactError``."""
        if any(formula_failure(condition, instance) is not None for condition in self.given):
            raise NotExactError("the claim does not speak of this instance")
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
        """Enclose the expression at the instance's scalars; a ball that contains positive numbers is no failure.

        Outside the box nothing is claimed: ``NotExactError``.
        """
        for letter, (low, high) in self.box.items():
            if letter not in instance.scalars or not rational(low) <= rational(instance.scalars[letter]) <= rational(
                high
            ):
                raise NotExactError(f"{letter} lies outside the box")
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
