"""Theorems as values, and what it takes for one to stand.

A theorem has a name, a statement, assumptions, a proof (steps, each a claim with its reason and the assumptions it
uses), false siblings, and for every assumption a witness that it is necessary. :func:`verify` runs all of it:

* every step goes through its checker;
* random admissible instances satisfy every assumption exactly, and every conclusion holds on them exactly: a second,
  independent evaluation, and a guard against a checker that proves too much;
* every false sibling goes through the checker of the claim it imitates and must come back refuted, with a counterexample;
* every witness satisfies all other assumptions, breaks its own, and makes a conclusion fail by the printed amount.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import sympy as sp

from jepalign.errors import InputError
from jepalign.theory.calculus import Rule, completed, equal, rules_of
from jepalign.theory.claims import Claim, Context, Equality, Finding, Outcome, formula_failure, search
from jepalign.theory.exact import Instance, NotExactError, Sampler, is_positive_semidefinite, largest_entry, value_of
from jepalign.theory.printing import latex

EXACT_SIZES = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Equation:
    """The assumption left = right, matrices or scalars. The left side must be one product: it is the rewriting rule."""

    left: Any
    right: Any

    def failure(self, instance: Instance) -> str | None:
        """Return None if the equation holds exactly at the instance, else the largest deviation."""
        amount = largest_entry(value_of(self.left, instance) - value_of(self.right, instance))
        return None if amount == 0 else f"the sides differ by {amount}"

    def latex(self) -> str:
        """Return the equation."""
        return f"{latex(self.left)} = {latex(self.right)}"


@dataclass(frozen=True, eq=False)
class Semidefinite:
    """The assumption that a symmetric matrix expression is positive semidefinite.

    It enters proofs through a factor: ``solved`` = (left, right) is a rewriting rule that turns the matrix into
    ``factor``·``factor``ᵀ (checked at construction).
    """

    matrix: Any
    factor: Any
    solved: tuple[Any, Any]

    def __post_init__(self) -> None:
        if not equal(self.matrix, self.factor * self.factor.T, rules_of(*self.solved)):
            raise InputError("solved", self.solved, "must turn the matrix into factor · factorᵀ")

    def failure(self, instance: Instance) -> str | None:
        """Decide exactly, by elimination."""
        value = value_of(self.matrix, instance)
        return None if is_positive_semidefinite(value) else "not positive semidefinite"

    def latex(self) -> str:
        """Return the condition."""
        return rf"{latex(self.matrix)} \succeq 0"


@dataclass(frozen=True, eq=False)
class Inequality:
    """The assumption that a scalar comparison, or a connective of comparisons, holds."""

    formula: Any

    def failure(self, instance: Instance) -> str | None:
        """Evaluate exactly."""
        return formula_failure(self.formula, instance)

    def latex(self) -> str:
        """Return the comparison."""
        return latex(self.formula)


@dataclass(frozen=True, eq=False)
class Assumption:
    """A named condition of a theorem. ``statement`` is prose with $mathematics$; the condition is what is checked."""

    name: str
    statement: str
    condition: Equation | Semidefinite | Inequality


@dataclass(frozen=True, eq=False)
class Step:
    """One line of a proof. ``uses`` names assumptions, or earlier equalities by their step's name."""

    claim: Claim
    reason: str
    uses: tuple[str, ...] = ()
    name: str = ""
    conclusion: bool = False


@dataclass(frozen=True, eq=False)
class FalseSibling:
    """A near miss of a claim. ``change`` says what was changed; the same checker must refuse it.

    ``instances`` overrides the theorem's own where the change is a dropped assumption.
    """

    name: str
    change: str
    claim: Claim
    uses: tuple[str, ...] = ()
    instances: Sampler | None = None


@dataclass(frozen=True, eq=False)
class Witness:
    """An exact instance in which every assumption but one holds, and a conclusion fails."""

    assumption: str
    instance: Instance


@dataclass(frozen=True)
class Source:
    """Where a result stands in the literature; key "ours" for what is new here as far as we know."""

    key: str
    locator: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Theorem:
    """A result.

    ``instances`` draws random admissible instances; ``belief`` is the nearest false belief, in prose; ``example`` is runnable
    Python that a reader can paste.
    """

    name: str
    title: str
    chapter: int
    statement: str
    assumptions: tuple[Assumption, ...]
    proof: tuple[Step, ...]
    siblings: tuple[FalseSibling, ...]
    witnesses: tuple[Witness, ...]
    instances: Sampler
    sources: tuple[Source, ...]
    belief: str
    example: str
    kind: Literal["theorem", "belief"] = "theorem"

    def assumption(self, name: str) -> Assumption:
        """Return the assumption of that name."""
        return next(a for a in self.assumptions if a.name == name)

    def context(self, uses: tuple[str, ...], instances: Sampler | None = None, seed: int = 0) -> Context:
        """Turn the named assumptions and earlier steps into rules and hypotheses. Raises ``InputError`` for other names."""
        rules: list[Rule] = []
        hypotheses: list[Any] = []
        values: dict[sp.Symbol, sp.Expr] = {}
        known: dict[str, Any] = {a.name: a.condition for a in self.assumptions}
        known |= {s.name: s.claim for s in self.proof if s.name}
        for name in uses:
            condition = known.get(name)
            match condition:
                case Inequality():
                    hypotheses.append(condition.formula)
                case Equation() | Equality() if isinstance(condition.left, sp.Symbol):
                    values[condition.left] = condition.right
                    hypotheses.append(sp.Eq(condition.left, condition.right))
                case Equation() | Equality():
                    rules += rules_of(condition.left, condition.right)
                case Semidefinite():
                    rules += rules_of(*condition.solved)
                case _:
                    raise InputError("uses", name, f"is neither an assumption nor an earlier equality of {self.name}")
        return Context(completed(rules), tuple(hypotheses), values, instances or self.instances, seed)


@dataclass(frozen=True)
class StepReport:
    """A step as it was checked."""

    claim: str
    method: str
    tool: str
    version: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class SiblingReport:
    """A false sibling as it was judged; ``refused`` only if refuted with a counterexample."""

    name: str
    change: str
    claim: str
    refused: bool
    counterexample: str


@dataclass(frozen=True)
class NecessityReport:
    """A witness as it was verified; ``amount`` is empty if it does not show what it should."""

    assumption: str
    instance: str
    amount: str
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """Everything :func:`verify` found out about one theorem."""

    name: str
    title: str
    chapter: int
    kind: str
    statement: str
    assumptions: tuple[str, ...]
    verdict: str  # proved, proved-with-citations, refuted, unknown
    steps: tuple[StepReport, ...]
    siblings: tuple[SiblingReport, ...]
    necessity: tuple[NecessityReport, ...]
    sources: tuple[str, ...]
    exact_evaluations: int
    problems: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    @property
    def stands(self) -> bool:
        """Whether the theorem is proved, all siblings are refused, all witnesses hold and nothing else went wrong."""
        return (
            self.verdict in {"proved", "proved-with-citations"}
            and all(s.refused for s in self.siblings)
            and all(not n.problem for n in self.necessity)
            and not self.problems
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def verify(theorem: Theorem, *, seed: int = 0) -> Report:
    """Check a theorem: proof, exact instances, false siblings, necessity of every assumption."""
    started = time.perf_counter()
    findings = [step.claim.check(theorem.context(step.uses, seed=seed)) for step in theorem.proof]
    evaluated, problems = _evaluate_on_instances(theorem, seed)
    problems += [
        f"assumption {a.name} has no witness" for a in theorem.assumptions if not _has_witness(theorem, a.name)
    ]
    return Report(
        name=theorem.name,
        title=theorem.title,
        chapter=theorem.chapter,
        kind=theorem.kind,
        statement=theorem.statement,
        assumptions=tuple(a.name for a in theorem.assumptions),
        verdict=_verdict(findings),
        steps=tuple(
            StepReport(step.claim.latex(), f.method, f.tool, f.version, f.outcome, f.detail)
            for step, f in zip(theorem.proof, findings, strict=True)
        ),
        siblings=tuple(_judge(theorem, sibling, seed) for sibling in theorem.siblings),
        necessity=tuple(_examine(theorem, witness) for witness in theorem.witnesses),
        sources=tuple(" ".join(filter(None, (s.key, s.locator))) for s in theorem.sources),
        exact_evaluations=evaluated,
        problems=tuple(problems),
        seconds=time.perf_counter() - started,
    )


def _verdict(findings: list[Finding]) -> str:
    outcomes = {f.outcome for f in findings}
    if not findings or Outcome.UNKNOWN in outcomes:
        return "unknown" if Outcome.REFUTED not in outcomes else "refuted"
    if Outcome.REFUTED in outcomes:
        return "refuted"
    return "proved-with-citations" if any(f.method == "cited" for f in findings) else "proved"


def _has_witness(theorem: Theorem, assumption: str) -> bool:
    return any(w.assumption == assumption for w in theorem.witnesses)


def _evaluate_on_instances(theorem: Theorem, seed: int) -> tuple[int, list[str]]:
    rng = random.Random(seed)  # noqa: S311
    evaluated, problems = 0, list[str]()
    for size in EXACT_SIZES:
        instance = theorem.instances(rng, size)
        for assumption in theorem.assumptions:
            failed = assumption.condition.failure(instance)
            if failed is not None:
                problems.append(f"an instance drawn as admissible breaks {assumption.name}: {failed} at {instance}")
        for claim in _conclusions(theorem):
            try:
                failed = claim.failure(instance)
            except NotExactError:
                continue
            evaluated += 1
            if failed is not None:
                problems.append(f"{claim.latex()} fails at an admissible instance: {failed} at {instance}")
    return evaluated, problems


def _conclusions(theorem: Theorem) -> list[Claim]:
    return [step.claim for step in theorem.proof if step.conclusion]


def _judge(theorem: Theorem, sibling: FalseSibling, seed: int) -> SiblingReport:
    finding = sibling.claim.check(theorem.context(sibling.uses, sibling.instances, seed))
    refused = finding.outcome is Outcome.REFUTED and bool(finding.detail)
    return SiblingReport(sibling.name, sibling.change, sibling.claim.latex(), refused, finding.detail)


def _examine(theorem: Theorem, witness: Witness) -> NecessityReport:
    where = str(witness.instance)
    for assumption in theorem.assumptions:
        failed = assumption.condition.failure(witness.instance)
        if assumption.name == witness.assumption and failed is None:
            return NecessityReport(witness.assumption, where, "", "the instance does not break the assumption")
        if assumption.name != witness.assumption and failed is not None:
            return NecessityReport(witness.assumption, where, "", f"the instance also breaks {assumption.name}")
    for claim in _conclusions(theorem):
        try:
            failed = claim.failure(witness.instance)
        except NotExactError:
            continue
        if failed is not None:
            return NecessityReport(witness.assumption, where, failed)
    return NecessityReport(
        witness.assumption, where, "", "every conclusion still holds: the assumption may not be needed"
    )


def examples(theorem: Theorem, count: int, seed: int = 0) -> Mapping[str, Any]:
    """Draw ``count`` admissible instances of growing size and evaluate every conclusion exactly.

    Returns the number evaluated and the first failure with the smallest instance found, or None.
    """
    if count < 1:
        raise InputError("count", count, "at least one instance is needed")
    rng = random.Random(seed)  # noqa: S311
    evaluated = 0
    for index in range(count):
        instance = theorem.instances(rng, 1 + index % 6)
        for claim in _conclusions(theorem):
            try:
                failed = claim.failure(instance)
            except NotExactError:
                continue
            evaluated += 1
            if failed is not None:
                smallest = search(claim, Context(instances=theorem.instances, seed=seed))
                return {"evaluated": evaluated, "failure": smallest or f"{failed} at {instance}"}
    return {"evaluated": evaluated, "failure": None}
