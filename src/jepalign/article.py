"""The report as an article: the question, the map, what is proved, what is wrong, collapse, hybrids, networks, limits.

The results that a figure shows stand beside it; all others, and all proofs, follow in the appendix. No number is typed: each
is computed when the page is made, or read from a stored measurement that is named beside it.
"""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence

from jepalign import document as doc
from jepalign.deep_section import criteria_table, experiments_table, tally
from jepalign.derivations import (
    CHAPTERS,
    chapter_blocks,
    references,
    statement_blocks,
    trusted_base,
    verification_table,
)
from jepalign.digits_section import DigitsFindings, digits_blocks
from jepalign.forecast_section import forecast_table
from jepalign.measurements import Measurement
from jepalign.theory.catalogue import find
from jepalign.theory.proof import Report
from jepalign.verification import METHOD_NAMES, count_methods, summary

FEATURED = {
    "lens": ("origin-conditional",),
    "dictionary": ("dictionary",),
    "map": ("sign", "effective-coefficient"),
    "power": ("power-identity",),
    "ablation": ("ablation-cube",),
    "collapse": ("collapse-threshold",),
    "escape": ("escape-time",),
    "trajectories": ("deep-trajectory", "learning-order"),
    "hybrids": ("repel-threshold", "rescue-threshold"),
    "masks": ("mask-conventions",),
    "world-model": ("rotation-modes",),
    "eigenproblem": ("one-eigenproblem",),
    "guarantees": ("same-subspace", "linear-probe-risk", "sin-theta"),
}
"""The results that stand beside each figure."""

Shown = Callable[[str], list[doc.Block]]
"""From the name of a figure: the results that stand beside it, and the figure."""


def report_document(
    reports: Sequence[Report], drawn: Mapping[str, doc.Picture], digits: DigitsFindings, found: Sequence[Measurement]
) -> doc.Document:
    """Return the whole report.

    Parameters
    ----------
    reports : sequence of Report
        Of every result of the catalogue.
    drawn : mapping of str to Picture
        Every figure by name.
    digits : DigitsFindings
        What linear encoders did on the digits.
    found : sequence of Measurement
        Of every experiment.
    """
    by_name = {report.name: report for report in reports}

    def shown(name: str) -> list[doc.Block]:
        """Return the results that belong to a figure, and the figure."""
        beside: list[doc.Block] = []
        for result in FEATURED.get(name, ()):
            beside += statement_blocks(find(result), by_name[result])
            beside.append(doc.Paragraph(f"Proof, false siblings and necessity: [#proof-{result}]."))
        return [*beside, drawn[name]]

    featured = {result for results in FEATURED.values() for result in results}
    blocks: list[doc.Block] = [
        *question(),
        *lens(shown),
        *proved(reports),
        *commonly_said(reports),
        *collapse(shown),
        *trajectories(shown),
        *hybrids(shown),
        *masks(shown),
        *guarantees(shown),
        *digits_blocks(digits),
        *deep(shown, found),
        *solvers(shown),
        *limits(),
        doc.Heading(1, "Appendix: everything that was verified", "verified"),
        doc.Paragraph(
            "Every result with its proof, the false siblings that the same checker refuses, and an instance that shows each"
            " assumption necessary."
        ),
        trusted_base(reports),
        verification_table(reports),
        *chapter_blocks(reports, featured),
        doc.Heading(1, "Appendix: every criterion", "criteria"),
        criteria_table(found),
    ]
    return doc.Document(
        title="One mechanism or two? Joint-embedding prediction and contrastive learning",
        authors=(f"jepalign {importlib.metadata.version('jepalign')}",),
        abstract=(
            "A predictor that is a function of the embedding covariance implements a uniformity term, without negatives. The"
            " statement is proved for any encoder and any data, held against linear encoders on handwritten digits, and measured on"
            " deep ones. The implicit uniformity is conditional where the explicit one is not: collapse stays an attractor, and by"
            " how much is a number. An averaged target adds none. Every false statement nearby is refused by the machinery that"
            " accepts the true one."
        ),
        blocks=tuple(blocks),
        references=references(),
    )


def question() -> list[doc.Block]:
    """Ask."""
    return [
        doc.Heading(1, "The question", "question"),
        doc.Paragraph(
            "A joint-embedding predictive architecture is trained on positive pairs alone: a predictor maps the embedding of a"
            " visible context to the embedding of a hidden target, through which no gradient flows. A contrastive method pulls"
            " positives together and pushes negatives apart. The first does not collapse although nothing in its loss"
            " forbids it [@tian2021]. Is it a different mechanism, or the same one without its name? The two terms of"
            " [@wang2020], alignment and uniformity, are where to look."
        ),
        doc.Paragraph(
            r"Throughout, $x$ and $y$ are the two views of a sample, $\Sigma$ and $C$ their covariance and cross-covariance, $W$ the"
            r" encoder, $V$ the target encoder, $P$ the predictor, $\Phi = W \Sigma W^\top$ the covariance of the embedding. A mode is"
            r" a direction that these share, with variance $\sigma$, cross-covariance $\lambda$ and correlation"
            r" $\rho = \lambda / \sigma$; $\eta$ is the weight decay, $\alpha$ the predictor's rate relative to the encoder's,"
            r" $\beta$ the rate at which an averaged target follows."
        ),
    ]


def lens(shown: Shown) -> list[doc.Block]:
    """Answer: the two families under one lens, and the map between them."""
    return [
        doc.Heading(1, "One lens", "answer"),
        doc.Paragraph(
            r"The prediction loss is alignment. The predictor, with the stop-gradient, is uniformity: if $P = g(\Phi)$ is a function"
            r" of the embedding covariance, the residual $z^{+} - Pz$ is minus the gradient of alignment plus"
            r" $\frac12 \operatorname{tr} u(\Phi)$ with $u' = g - 1$ ([#thm-dictionary]). What a predictor lacks of the identity is the"
            r" derivative of a uniformity functional. What differs is seen at the origin: explicit negatives repel it; a JEPA's"
            r" repulsion vanishes there faster than the weight decay that pulls ([#thm-origin-conditional], [#fig-lens])."
        ),
        *shown("lens"),
        doc.Heading(2, "The dictionary", "the-dictionary"),
        doc.Paragraph(
            r"$P = \Phi$ gives the spectral contrastive loss, negatives and all ([#thm-spectral-contrastive-entry]); other functions"
            r" give Gaussian InfoNCE, the log-determinant, a Schatten norm ([#fig-dictionary]). Read backwards, it says which predictor"
            r" implements a wanted uniformity without negatives."
        ),
        *shown("dictionary"),
        doc.Heading(2, "What is weaker", "the-map"),
        doc.Paragraph(
            r"A JEPA follows the field preconditioned by $P$, which descends the functional only where $g \ge 0$ and turns a"
            r" repelling origin into a sticky one ([#thm-preconditioned-origin]). A learnt predictor is the square root of the"
            r" covariance, not the covariance ([#thm-learnt-predictor-entry]): its repulsive term is that of negatives on white inputs"
            r" exactly ([#thm-repulsion-equivalence]), on others up to the condition number ([#thm-repulsion-sandwich]). And a mode is"
            r" repelled only while its predictor shrinks it ([#thm-sign], [#fig-map])."
        ),
        *shown("map"),
        doc.Heading(2, "How strongly it repels", "the-power"),
        doc.Paragraph(
            r"The strength can be measured in any training loop: with the optimal predictor the power of the implicit repulsion equals"
            r" the alignment loss ([#thm-power-identity]), with any other it differs by a term that is known"
            r" ([#thm-power-identity-any-predictor], [#fig-power])."
        ),
        *shown("power"),
    ]


def proved(reports: Sequence[Report]) -> list[doc.Block]:
    """Count the results by chapter and by how they are proved."""
    rows: list[tuple[str, ...]] = []
    for chapter, title in CHAPTERS.items():
        rows.append(_counted(title, [r for r in reports if find(r.name).chapter == chapter]))
    rows.append(_counted("*All*", list(reports)))
    methods = tuple(METHOD_NAMES.values())
    header = ("chapter", "results that stand", *methods, "false siblings refused", "assumptions shown necessary")
    caption = (
        "What is proved, by chapter and by method: steps of proofs, as the checkers decided them when this page was made. A result"
        " stands if every step is proved or cited, every false sibling refused and every assumption shown necessary; a common"
        " belief stands if it is refuted and its repair proved. [#tab-verification] has every result."
    )
    return [
        doc.Heading(1, "What is proved", "proved"),
        doc.Paragraph(
            "A result is data: a statement, its assumptions, steps with a checker each. Matrix identities are decided for symbolic"
            " shapes by a calculus of our own, statements about a mode by exact algebra for all parameters, inequalities by an SMT"
            " solver, and what remains by ball arithmetic or by a theorem that is cited. The same machinery is handed statements with a"
            " sign, a constant, a quantifier or a term changed, and must refuse each with a counterexample; and for every assumption"
            f" there is an exact instance in which it alone fails and the conclusion with it. {summary(reports).capitalize()}."
        ),
        doc.Table(header, tuple(rows), caption, "tab-methods"),
    ]


def _counted(title: str, reports: Sequence[Report]) -> tuple[str, ...]:
    counts = count_methods(reports)
    siblings = [sibling for report in reports for sibling in report.siblings]
    needed = [witness for report in reports for witness in report.necessity]
    return (
        title,
        f"{sum(report.stands for report in reports)}/{len(reports)}",
        *(str(counts.get(method, 0)) for method in METHOD_NAMES),
        f"{sum(sibling.refused for sibling in siblings)}/{len(siblings)}",
        f"{sum(not witness.problem for witness in needed)}/{len(needed)}",
    )


def commonly_said(reports: Sequence[Report]) -> list[doc.Block]:
    """List the common beliefs, what refutes them and what is true instead."""
    rows: list[tuple[str, ...]] = []
    for report in reports:
        theorem = find(report.name)
        if theorem.kind == "belief":
            refuted = all(claim.refuted for claim in report.said)
            rows.append(
                (
                    f"[#thm-{report.name}] {theorem.title}.",
                    "refuted" if refuted else "NOT REFUTED",
                    f"[#repair-{report.name}] {theorem.repair}",
                )
            )
    caption = "What is commonly said and wrong: each as it is said, refuted by a counterexample, and repaired."
    return [
        doc.Heading(1, "What is commonly said, and is wrong", "said"),
        doc.Paragraph(
            "Some of what is repeated about these methods is false as it is said. Each such statement is put to the checkers that"
            " prove the others; the counterexample stands with its entry."
        ),
        doc.Table(("as it is said", "verdict", "what is true"), tuple(rows), caption, "tab-beliefs"),
    ]


def collapse(shown: Shown) -> list[doc.Block]:
    """Say what keeps a mode alive, until when, and how it leaves collapse."""
    return [
        doc.Heading(1, "Collapse", "collapse"),
        doc.Heading(2, "What keeps a mode alive", "corners"),
        doc.Paragraph(
            "Predictor, stop-gradient and averaged target can each be left out. Predictor and stop-gradient together, and nothing less,"
            " keep a mode alive ([#thm-ablation-cube]); an averaged target without a predictor only delays"
            " ([#thm-ema-only-delays]), and with one changes the metric of the descent and not its landscape"
            " ([#thm-ema-metric], [#fig-ablation])."
        ),
        *shown("ablation"),
        doc.Heading(2, "Until when", "threshold"),
        doc.Paragraph(
            r"A balanced mode is lost in a saddle-node at $\eta_c = \lambda^2 / (4\sigma)$: below it survives from a start beyond its"
            r" basin edge, and once lost it stays lost. A contrastive mode passes through a pitchfork instead, and comes back"
            r" ([#thm-collapse-threshold], [#fig-collapse])."
        ),
        *shown("collapse"),
        doc.Heading(2, "How long it takes to leave", "leaving"),
        doc.Paragraph(
            r"Negatives push with a force in proportion to the weight, a balanced predictor with one in proportion to its square: the"
            r" one leaves in logarithmic time, the other takes as long as the start is small ([#thm-escape-time], [#fig-escape])."
        ),
        *shown("escape"),
    ]


def trajectories(shown: Shown) -> list[doc.Block]:
    """Say how modes grow, and in which order."""
    return [
        doc.Heading(1, "How modes are learnt", "learning"),
        doc.Paragraph(
            "On aligned modes the flows have closed forms: the Wright function for a balanced JEPA, logistic curves for contrast, sums"
            " of powers and a logarithm at every depth. They tell the order in which features are learnt, in which a JEPA differs from"
            " an autoencoder ([#thm-learning-order], [#fig-trajectories])."
        ),
        *shown("trajectories"),
    ]


def hybrids(shown: Shown) -> list[doc.Block]:
    """Say how much explicit uniformity saves a mode."""
    return [
        doc.Heading(1, "Hybrids: how much explicit uniformity is enough", "hybrids"),
        doc.Paragraph(
            "Add an explicit term to a JEPA and two weights matter: one from which collapse is unstable, which ignores what can be"
            " predicted ([#thm-repel-threshold]), and one from which the only stable state left is the large one"
            " ([#thm-rescue-threshold]). For a spectral term they are one; a log-determinant repels at any weight; VICReg's hinge"
            " repels at once and rescues at a fold ([#thm-vicreg-hinge-hybrid]); the published weights of C-JEPA and LeJEPA have"
            " their places on the diagram ([#thm-c-jepa-weights], [#fig-hybrids]). LeJEPA itself has no predictor: its term has all of"
            " alignment to overcome, and keeps modes by their correlation alone ([#thm-lejepa-threshold])."
        ),
        *shown("hybrids"),
    ]


def masks(shown: Shown) -> list[doc.Block]:
    """Say what masks and time do to the modes."""
    return [
        doc.Heading(1, "Masks and world models", "masks"),
        doc.Paragraph(
            "A mask multiplies the covariance, entry by entry, by its own moments ([#thm-mask-moments]). Whether the target sees the"
            " whole input or only what is hidden decides the sign of the cross-covariance ([#thm-output-masked],"
            " [#thm-input-masked]), and with it what a contrastive loss on the same views would drop ([#fig-masks])."
        ),
        *shown("masks"),
        doc.Paragraph(
            "In a world model the target is the next state. What turns is kept by prediction, whose predictor learns the turn, and lost"
            " by contrast over time from a right angle on ([#thm-rotation-modes], [#fig-world-model])."
        ),
        *shown("world-model"),
    ]


def guarantees(shown: Shown) -> list[doc.Block]:
    """Say what carries over from contrastive learning."""
    return [
        doc.Heading(1, "What carries over", "guarantees"),
        doc.Paragraph(
            r"All these objectives select directions by one eigenproblem, $Cv = \rho \Sigma v$, and differ in scale"
            r" ([#thm-one-eigenproblem], [#fig-eigenproblem])."
        ),
        *shown("eigenproblem"),
        doc.Paragraph(
            "Where no direction is anticorrelated they keep the same subspace ([#thm-same-subspace]), so that a linear probe has the"
            " same risk ([#thm-linear-probe-risk]); data that are not exactly so turn it by at most the error over the gap"
            " ([#thm-sin-theta], [#fig-guarantees])."
        ),
        *shown("guarantees"),
    ]


def deep(shown: Shown, found: Sequence[Measurement]) -> list[doc.Block]:
    """Hold trained networks against the predictions."""
    held, count = tally(found)
    return [
        doc.Heading(1, "On deep encoders", "deep"),
        doc.Paragraph(
            "Encoders from linear to vision transformers, on digits, on Fashion-MNIST and on data of known spectra, trained and held"
            f" against what is proved for linear ones. {held} of {count} criteria hold;"
            " not all were blind to earlier runs, as [#tab-experiments] says. Identities hold to rounding in every step; what"
            " assumes features that stay fails where they move"
            " ([#fig-deep], [#tab-experiments], [#tab-deep])."
        ),
        *shown("deep"),
        experiments_table(found),
        doc.Heading(2, "Told early", "forecast"),
        doc.Paragraph(
            "A last layer, its predictor and the moments of its features, measured once, are enough to integrate the flow to the end."
            " Features do not stay: a step of a layer below moves them by a kernel of two parts, its weight's and its bias's. With each"
            " layer taken for an affine one, at rates that are measured, the end is told ahead of what is done without a theory,"
            " above all where an extrapolation has nothing to go by ([#tab-forecast])."
        ),
        forecast_table(next(measured for measured in found if measured.name == "forecast")),
    ]


def solvers(shown: Shown) -> list[doc.Block]:
    """Say what the closed forms cost."""
    return [
        doc.Heading(1, "What the solvers cost", "solvers"),
        doc.Paragraph(
            "Every closed form is evaluated over the whole range of floating point and held against an independent integrator and"
            " against high-precision arithmetic ([#fig-solvers])."
        ),
        *shown("solvers"),
    ]


def limits() -> list[doc.Block]:
    """Say what is not shown."""
    return [
        doc.Heading(1, "Limits", "limits"),
        doc.ItemList(
            (
                "The dictionary is an identity between forces at one batch; what mini-batches, moving averages of the covariance and"
                " a lagging target leave of it is measured ([#tab-deep], *practice*) and not proved.",
                "Statements about modes assume that encoder, predictor and covariances share their eigenvectors; where this is a"
                " conclusion and not an assumption ([#thm-matrix-threshold]) the data are white.",
                "Plain gradient descent is the theory's optimiser. Momentum and Adam obey other laws ([#thm-momentum-drift],"
                " [#thm-adam-drift]), and no threshold is proved for them.",
                "In trained networks the features below the last layer move. What is proved of modes assumes that they stay, and is"
                " wrong by as much as they do not; layers below taken for affine ones repair most of a forecast ([#tab-forecast]), least"
                " of all behind ReLU.",
                "The transformer was trained at the size that a CPU affords.",
                "Everything marked as ours is new as far as we know; prior statements that we missed will be credited.",
            )
        ),
    ]
