"""What a claim is: it can be printed, decided for all cases, and evaluated in one case."""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import sympy as sp

from jepalign.theory.calculus import Rule, equal
from jepalign.theory.exact import Instance, NotExactError, Sampler

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
