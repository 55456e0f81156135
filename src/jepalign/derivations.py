"""Theorems as documents: each a box with its assumptions, its proof folded out, and the evidence beside it."""

from collections.abc import Collection, Sequence
from pathlib import Path

from jepalign import document as doc
from jepalign.linebreaks import broken
from jepalign.storage import write_text
from jepalign.theory.catalogue import find
from jepalign.theory.literature import LITERATURE
from jepalign.theory.proof import Report, Step, StepReport, Theorem
from jepalign.verification import METHOD_NAMES, Progress, count_methods, summary, verify_all

CHAPTERS = {
    1: "Alignment and uniformity",
    2: "The map: implicit uniformity",
    3: "Conservation",
    4: "Collapse",
    5: "Trajectories in closed form",
    6: "Guarantees that carry over",
    7: "Masks and world models",
    8: "What is commonly said, and is wrong",
}

_HOW = {
    "symbolic": "for all shapes",
    "per-mode": "for all parameters",
    "smt": "by z3",
    "ball": "by ball arithmetic",
    "cited": "cited",
}


def references() -> tuple[doc.Reference, ...]:
    """Return the bibliography."""
    return tuple(doc.Reference(p.key, p.authors, p.year, p.title, p.venue, p.identifier) for p in LITERATURE.values())


def theorem_blocks(theorem: Theorem, report: Report) -> list[doc.Block]:
    """Return the statement, the proof and the evidence of one result; before a repair, the belief and its refutation."""
    return [*statement_blocks(theorem, report), *proof_blocks(theorem, report)]


def statement_blocks(theorem: Theorem, report: Report) -> list[doc.Block]:
    """Return the statement of one result; before a repair, the belief and its refutation."""
    before: list[doc.Block] = []
    name, title, text, label = "Theorem", theorem.title, theorem.statement, f"thm-{theorem.name}"
    if theorem.kind == "belief":
        before = _belief_blocks(theorem, report)
        name, title, text, label = "Repair", f"instead of: {theorem.title}", theorem.repair, f"repair-{theorem.name}"
    inside: list[doc.Block] = [doc.Paragraph(text)]
    if theorem.assumptions:
        inside.append(doc.ItemList(tuple(f"*{a.name}*: {a.statement}" for a in theorem.assumptions)))
    conclusions = [step for step in theorem.proof if step.conclusion]
    inside += [
        doc.Equation(broken(step.claim.latex()), label=_label(theorem, step), numbered=True) for step in conclusions
    ]
    return [*before, doc.Statement(name, title, label, tuple(inside))]


def proof_blocks(theorem: Theorem, report: Report) -> list[doc.Block]:
    """Return the proof of one result, what was refused beside it, and where it stands in the literature."""
    return [doc.Proof(tuple(_proof_steps(theorem, report))), *_evidence(theorem, report), _origin(theorem)]


def _belief_blocks(theorem: Theorem, report: Report) -> list[doc.Block]:
    said: list[doc.Block] = [doc.Paragraph(theorem.statement)]
    for step in theorem.said:
        said += [doc.Paragraph(step.reason), doc.Equation(broken(step.claim.latex()))]
    rows = tuple(
        (f"$ {step.claim.latex()} $", f"refuted: {_shortened(s.counterexample)}" if s.refuted else "NOT REFUTED")
        for step, s in zip(theorem.said, report.said, strict=True)
    )
    statement = doc.Statement("Belief", theorem.title, f"thm-{theorem.name}", tuple(said))
    return [statement, doc.Table(("as it is said", "what the checker found"), rows, "", f"tab-said-{theorem.name}")]


def _label(theorem: Theorem, step: Step) -> str:
    return f"eq-{theorem.name}-{theorem.proof.index(step)}"


def _proof_steps(theorem: Theorem, report: Report) -> list[doc.Block]:
    blocks: list[doc.Block] = []
    for step, checked in zip(theorem.proof, report.steps, strict=True):
        target = f" This is [#{_label(theorem, step)}]." if step.conclusion else ""
        blocks.append(doc.Paragraph(f"{step.reason}{target} *{_established(step, checked)}*"))
        if not step.conclusion:
            blocks.append(doc.Equation(broken(step.claim.latex())))
    return blocks


def _established(step: Step, checked: StepReport) -> str:
    how = f"Proved {_HOW[checked.method]}" if checked.outcome == "proved" else f"NOT PROVED ({checked.outcome})"
    if checked.method == "cited":
        how = "Cited"
    uses = f", using {', '.join(step.uses)}" if step.uses else ""
    return f"({how}{uses}.)"


def _evidence(theorem: Theorem, report: Report) -> list[doc.Block]:
    rows = [(f"false sibling: {s.change}", _counterexample(s.refused, s.counterexample)) for s in report.siblings]
    rows += [(f"without *{n.assumption}*", _witness(n.amount, n.problem, n.instance)) for n in report.necessity]
    return [doc.Table(("what was changed", "what the checker found"), tuple(rows), "", f"tab-{theorem.name}")]


def _shortened(text: str, limit: int = 150) -> str:
    """Cut a long instance (the JSON has it whole) and protect it from being read as markup."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"`{text}`"


def _counterexample(refused: bool, found: str) -> str:
    return f"refused: {_shortened(found)}" if refused else f"NOT REFUSED: {_shortened(found)}"


def _witness(amount: str, problem: str, instance: str) -> str:
    return f"necessary: {_shortened(f'{amount} at {instance}')}" if not problem else f"NOT SHOWN: {_shortened(problem)}"


def _origin(theorem: Theorem) -> doc.Block:
    parts: list[str] = []
    for source in theorem.sources:
        name = (
            "ours, as far as we know"
            if source.key == "ours"
            else f"[@{source.key}{', ' + source.locator if source.locator else ''}]"
        )
        parts.append(name + (f" ({source.note})" if source.note else ""))
    return doc.Paragraph(f"*Source:* {'; '.join(parts)}. *Nearest false belief:* {theorem.belief}")


def verification_table(reports: Sequence[Report]) -> doc.Table:
    """Return the table of all results: verdict, methods, siblings, necessity."""
    rows = [
        (
            f"[#thm-{r.name}] {r.name}",
            r.verdict if r.stands else f"DOES NOT STAND ({r.verdict})",
            ", ".join(f"{count} {method}" for method, count in count_methods([r]).items()),
            f"{sum(s.refused for s in r.siblings)}/{len(r.siblings)}",
            f"{sum(not n.problem for n in r.necessity)}/{len(r.assumptions)}",
            str(r.exact_evaluations),
        )
        for r in reports
    ]
    header = ("result", "verdict", "steps by method", "siblings refused", "assumptions necessary", "exact evaluations")
    return doc.Table(
        header, tuple(rows), "Every result as it was verified when this document was made.", "tab-verification"
    )


def trusted_base(reports: Sequence[Report]) -> doc.Paragraph:
    """Say which programs the proofs rest on, and how many steps on each method."""
    tools = sorted(
        {
            f"{s.tool} {s.version}" if s.tool in {"z3", "python-flint"} else s.tool
            for r in reports
            for s in r.steps
            if s.method != "cited"
        }
    )
    counts = "; ".join(f"{count} {METHOD_NAMES[method]}" for method, count in count_methods(reports).items())
    return doc.Paragraph(f"Steps: {counts}. Programs trusted: {', '.join(tools)}. {summary(reports).capitalize()}.")


def chapter_blocks(reports: Sequence[Report], elsewhere: Collection[str] = ()) -> list[doc.Block]:
    """Return the derivations chapter by chapter; of results whose statement stands ``elsewhere``, the proof under a heading."""
    blocks: list[doc.Block] = []
    chapter = 0
    for report in reports:
        theorem = find(report.name)
        if theorem.chapter != chapter:
            chapter = theorem.chapter
            blocks.append(doc.Heading(1, CHAPTERS[chapter], f"chapter-{chapter}"))
        if report.name in elsewhere:
            blocks.append(doc.Heading(2, f"Proof of [#thm-{report.name}]", f"proof-{report.name}"))
            blocks += proof_blocks(theorem, report)
        else:
            blocks += theorem_blocks(theorem, report)
    return blocks


def derivation_document(reports: Sequence[Report]) -> doc.Document:
    """Return the derivations of the reported results as one document."""
    blocks: list[doc.Block] = [
        doc.Heading(1, "What was verified", "verified"),
        trusted_base(reports),
        verification_table(reports),
        *chapter_blocks(reports),
    ]
    return doc.Document(
        title="Implicit uniformity in joint-embedding prediction: derivations",
        authors=("jepalign",),
        abstract=(
            "Every result is proved by a checker, its false siblings are refused by the same checker with a counterexample, and"
            " each assumption is shown necessary by an exact instance in which all others hold."
        ),
        blocks=tuple(blocks),
        references=references(),
    )


def write_derivations(names: Sequence[str], directory: Path, *, progress: Progress | None = None) -> list[Path]:
    """Verify the named results and write ``derivations.tex`` (to paste), ``.html`` and ``.pdf`` to ``directory``.

    Returns the paths written. Raises ``InputError`` for an unknown name.
    """
    from jepalign.latex import render_latex
    from jepalign.pages import write_html, write_pdf

    reports = verify_all(names, progress=progress)
    document = derivation_document(reports)
    paths = [directory / f"derivations.{suffix}" for suffix in ("tex", "html", "pdf")]
    write_text(paths[0], render_latex(document))
    write_html(document, paths[1])
    write_pdf(document, paths[2])
    return paths
