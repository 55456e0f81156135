"""Theorems as values, and what it takes for one to stand.

A theorem has a name, a statement, assumptions, a proof (steps, each a claim with its reason and the assumptions it
uses), false siblings, and for every assumption a witness that it is necessary. :func:`verify` runs all of it:

* every step goes through its checker;
* random admissible instances satisfy every assumption exactly, and every conclusion is evaluated and holds on them
  exactly: a second, independent evaluation, and a guard against a checker that proves too much;
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

    It enters proofs through a factor: ``solved`` = (left, right) is the equation matrix = ``factor``·``factor``ᵀ solved
    for one product, to be read as a rewriting rule. At construction it is checked that the factor is a square letter of
    its own, which exists for every semidefinite matrix, and that ``solved`` says no more than that equation.
    """

    matrix: Any
    factor: Any
    solved: tuple[Any, Any]

    def __post_init__(self) -> None:
        square = self.matrix.shape
        if not isinstance(self.factor, sp.MatrixSymbol) or self.factor.shape != square or self.matrix.has(self.factor):
            raise InputError("factor", self.factor, f"must be a {square[0]} × {square[1]} letter not in the matrix")
        left, right = self.solved
        excess = self.matrix - self.factor * self.factor.T
        if not (equal(left - right, excess) or equal(right - left, excess)):
            raise InputError(
                "solved", self.solved, "must be the equation matrix = factor · factorᵀ solved for one product"
            )

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

    ``kind`` says what sort of slip it is: a sign, a constant, an exchanged symbol, a quantifier (a claim for more cases than
    are true), an omission (of a term or of an assumption). ``instances`` overrides the theorem's own where the change is a
    dropped assumption.
    """

    name: str
    kind: Literal["sign", "constant", "exchange", "quantifier", "omission"]
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

    An entry of kind "belief" states what is commonly said: ``statement`` says it in words, ``said`` as claims, every one of
    which must be refuted; ``repair`` says in words what holds instead, and ``proof`` proves that.
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
    said: tuple[Step, ...] = ()
    repair: str = ""

    def __post_init__(self) -> None:
        if {bool(self.said), bool(self.repair)} != {self.kind == "belief"}:
            raise InputError("kind", self.kind, "a belief, and nothing else, has claims as they are said and a repair")

    def context(
        self, uses: tuple[str, ...], instances: Sampler | None = None, seed: int = 0, before: int | None = None
    ) -> Context:
        """Turn the named assumptions and earlier steps into rules and hypotheses. Raises ``InputError`` for other names.

        ``before`` is the position of the step that uses them: neither it nor what follows may be among them.
        """
        rules: list[Rule] = []
        hypotheses: list[Any] = []
        values: dict[sp.Symbol, sp.Expr] = {}
        known: dict[str, Any] = {a.name: a.condition for a in self.assumptions}
        known |= {s.name: s.claim for s in self.proof[:before] if s.name}
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
    kind: str
    change: str
    claim: str
    refused: bool
    counterexample: str


@dataclass(frozen=True)
class SaidReport:
    """A claim of a belief as it was judged; ``refuted`` only with a counterexample."""

    claim: str
    refuted: bool
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
    said: tuple[SaidReport, ...] = field(default=())
    problems: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    @property
    def stands(self) -> bool:
        """Whether the theorem is proved (the belief refuted), siblings refused, witnesses hold, and nothing went wrong."""
        return (
            self.verdict in ({"refuted"} if self.kind == "belief" else {"proved", "proved-with-citations"})
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
    findings = [
        step.claim.check(theorem.context(step.uses, seed=seed, before=position))
        for position, step in enumerate(theorem.proof)
    ]
    evaluated, problems = _evaluate_on_instances(theorem, seed)
    if not _conclusions(theorem):
        problems.append("no step of the proof is a conclusion")
    if not theorem.siblings:
        problems.append("there is no false sibling")
    problems += [
        f"assumption {a.name} has no witness" for a in theorem.assumptions if not _has_witness(theorem, a.name)
    ]
    said = tuple(_hear(theorem, step, seed) for step in theorem.said)
    verdict = _verdict(findings)
    if theorem.kind == "belief":
        problems += [f"the repair is {verdict}"] if not verdict.startswith("proved") else []
        verdict = "refuted" if all(s.refuted for s in said) else "unknown"
    return Report(
        name=theorem.name,
        title=theorem.title,
        chapter=theorem.chapter,
        kind=theorem.kind,
        statement=theorem.statement,
        assumptions=tuple(a.name for a in theorem.assumptions),
        verdict=verdict,
        steps=tuple(
            StepReport(step.claim.latex(), f.method, f.tool, f.version, f.outcome, f.detail)
            for step, f in zip(theorem.proof, findings, strict=True)
        ),
        siblings=tuple(_judge(theorem, sibling, seed) for sibling in theorem.siblings),
        necessity=tuple(_examine(theorem, witness) for witness in theorem.witnesses),
        sources=tuple(" ".join(filter(None, (s.key, s.locator))) for s in theorem.sources),
        exact_evaluations=evaluated,
        said=said,
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
    silent = _conclusions(theorem)
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
            silent = [other for other in silent if other is not claim]
            if failed is not None:
                problems.append(f"{claim.latex()} fails at an admissible instance: {failed} at {instance}")
    problems += [f"{claim.latex()} is evaluated at no instance" for claim in silent]
    return evaluated, problems


def _conclusions(theorem: Theorem) -> list[Claim]:
    return [step.claim for step in theorem.proof if step.conclusion]


def _judge(theorem: Theorem, sibling: FalseSibling, seed: int) -> SiblingReport:
    finding = sibling.claim.check(theorem.context(sibling.uses, sibling.instances, seed))
    refused = finding.outcome is Outcome.REFUTED and bool(finding.detail)
    return SiblingReport(sibling.name, sibling.kind, sibling.change, sibling.claim.latex(), refused, finding.detail)


def _hear(theorem: Theorem, step: Step, seed: int) -> SaidReport:
    finding = step.claim.check(theorem.context(step.uses, seed=seed))
    return SaidReport(step.claim.latex(), finding.outcome is Outcome.REFUTED and bool(finding.detail), finding.detail)


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
