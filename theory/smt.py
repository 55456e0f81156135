"""Polynomial claims over the reals, decided by z3, independently of SymPy's algebra.

SymPy formulas are only a notation here: they are translated node by node. A claim is proved if hypotheses and negated
conclusion are unsatisfiable *and* the hypotheses alone are satisfiable (else every conclusion would follow); refuted if
z3 returns a model; otherwise unknown, and unknown is never success. The resource limit counts z3's own steps, not
seconds, so the answer does not depend on the machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import sympy as sp
import z3

from jepalign.theory.exact import plain_text

RESOURCES = 20_000_000  # z3's deterministic step count; the claims here need less than a hundredth of it


class NotPolynomialError(ValueError):
    """A formula contains something other than polynomials in real letters, comparisons and connectives."""


def _term(node: Any, within: Any) -> Any:
    match node:
        case sp.Rational():
            return z3.RealVal(f"{node.p}/{node.q}", within)
        case sp.Symbol():
            return z3.Real(str(node), within)
        case sp.Add():
            return reduce(lambda a, b: a + b, [_term(part, within) for part in node.args])
        case sp.Mul():
            return reduce(lambda a, b: a * b, [_term(part, within) for part in node.args])
        case sp.Pow() if node.exp.is_Integer and int(node.exp) > 0:
            base = _term(node.base, within)
            return reduce(lambda a, b: a * b, [base] * int(node.exp))
        case _:
            raise NotPolynomialError(f"{node}: multiply out quotients and name radicals before asking z3")


def formula(node: Any, within: Any) -> Any:
    """Translate a SymPy comparison or connective of polynomials to a context of z3. Raises ``NotPolynomialError``."""
    match node:
        case sp.logic.boolalg.BooleanTrue():
            return z3.BoolVal(True, within)
        case sp.logic.boolalg.BooleanFalse():
            return z3.BoolVal(False, within)
        case sp.Equality():
            return _term(node.lhs, within) == _term(node.rhs, within)
        case sp.Unequality():
            return _term(node.lhs, within) != _term(node.rhs, within)
        case sp.StrictGreaterThan():
            return _term(node.lhs, within) > _term(node.rhs, within)
        case sp.GreaterThan():
            return _term(node.lhs, within) >= _term(node.rhs, within)
        case sp.StrictLessThan():
            return _term(node.lhs, within) < _term(node.rhs, within)
        case sp.LessThan():
            return _term(node.lhs, within) <= _term(node.rhs, within)
        case sp.And():
            return z3.And(*(formula(part, within) for part in node.args))
        case sp.Or():
            return z3.Or(*(formula(part, within) for part in node.args))
        case sp.Not():
            return z3.Not(formula(node.args[0], within))
        case sp.Implies():
            return z3.Implies(formula(node.args[0], within), formula(node.args[1], within))
        case sp.Equivalent():
            first, *others = (formula(part, within) for part in node.args)
            return z3.And(*(first == other for other in others))
        case _:
            raise NotPolynomialError(f"{node} is not a comparison of polynomials")


@dataclass(frozen=True)
class Answer:
    """z3's answer: ``status`` is "proved", "refuted", "vacuous" or "unknown"; ``model`` describes a counterexample."""

    status: str
    model: str = ""


def _solver(formulas: Sequence[Any], within: Any) -> Any:
    solver = z3.Solver(ctx=within)
    solver.set("rlimit", RESOURCES)
    solver.set("random_seed", 0)
    solver.add(*formulas)
    return solver


def _model_text(solver: Any) -> str:
    model = solver.model()
    letters = (name for name in model.decls() if name.arity() == 0)
    return ", ".join(f"{plain_text(name.name())} = {model[name]}" for name in sorted(letters, key=str))


def decide(hypotheses: Sequence[Any], conclusion: Any) -> Answer:
    """Decide whether the hypotheses imply the conclusion for all real values of the letters.

    z3 knows letters by name: ``NotPolynomialError`` is raised if two different letters share one.
    """
    letters: set[Any] = set().union(*(sp.sympify(f).free_symbols for f in (*hypotheses, conclusion)))
    if len({str(letter) for letter in letters}) < len(letters):
        raise NotPolynomialError(f"two of {sorted(map(str, letters))} share a name")
    # A context of its own: what z3 answers must not depend on what it was asked before.
    within = z3.Context()
    given = [formula(h, within) for h in hypotheses]
    satisfiable = _solver(given, within).check()
    if satisfiable == z3.unsat:
        return Answer("vacuous", "the hypotheses contradict each other")
    if satisfiable != z3.sat:
        return Answer("unknown", "z3 could not tell whether the hypotheses can hold")
    solver = _solver([*given, z3.Not(formula(conclusion, within))], within)
    outcome = solver.check()
    if outcome == z3.unsat:
        return Answer("proved")
    if outcome == z3.sat:
        return Answer("refuted", _model_text(solver))
    return Answer("unknown", f"z3: {solver.reason_unknown()}")


def version() -> str:
    """Return z3's version."""
    return z3.get_version_string()
