"""The report: one page that carries the question, the proofs, real data and deep encoders, and needs no network."""

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import brentq

from jepalign import document as doc
from jepalign import measurements
from jepalign.datasets import digits, two_views
from jepalign.derivations import chapter_blocks, derivation_document, references, trusted_base, verification_table
from jepalign.figures import FIGURES, export, figure
from jepalign.latex import render_latex
from jepalign.linear_models import DICTIONARY, LinearJEPA, SpectralContrastive, SpectralPredictor, ViewPair, power_gap
from jepalign.pages import write_html, write_pdf
from jepalign.simulations import EXPERIMENTS
from jepalign.storage import write_text
from jepalign.theory.catalogue import NAMES
from jepalign.theory.proof import Report
from jepalign.verification import Progress, verify_all

NOISE, MASK, SEED = 0.1, 0.25, 0
WIDTH = 8  # embedding dimensions of the linear encoders on digits
HORIZON = 20_000.0  # flow time: long after the slowest of the eight modes has come to rest

FORMULAS = {
    "spectral-contrastive": (r"$s$", r"$\frac12 (s-1)^2 - \frac12$"),
    "gaussian-infonce": (
        r"$1 - \frac12 (1+s)^{-1} - \frac12 (1+s)^{-2}$",
        r"$-\frac12 \log(1+s) - \frac12 \frac{s}{1+s}$",
    ),
    "log-det": (r"$1 - 1/s$", r"$-\log s$"),
    "directpred": (r"$\sqrt{s}$", r"$\frac23 s^{3/2} - s$"),
    "no-predictor": (r"$1$", r"$0$"),
}


@dataclass(frozen=True)
class DigitsFindings:
    """What linear encoders do on the digits.

    Attributes
    ----------
    samples, pixels : numbers of images and of pixels.
    correlations : (WIDTH,) leading canonical correlations of the two views.
    predicted, reached : dictionary entry -> (WIDTH,) embedding variances at rest: the root of g(s) = ρ, and the end of the
        gradient flow.
    negatives : largest entry of the difference between the residual force of P = Φ and a quarter of the contrastive
        descent at a random encoder, relative to the largest entry of the latter.
    power, alignment : the two sides of the power identity at that encoder with the least-squares predictor.
    """

    samples: int
    pixels: int
    correlations: np.ndarray
    predicted: dict[str, np.ndarray]
    reached: dict[str, np.ndarray]
    negatives: float
    power: float
    alignment: float

    def relative_error(self, entry: str) -> float:
        """Return the largest |reached − predicted| over the modes, in units of the largest prediction (1 if that is 0)."""
        predicted = self.predicted[entry]
        return float(np.max(np.abs(self.reached[entry] - predicted)) / (np.max(predicted) or 1.0))


def variance_at_rest(entry: SpectralPredictor, correlation: float) -> float:
    """Solve g(s) = ρ for the embedding variance of a mode at rest, 0 where every s > 0 has g(s) > ρ."""

    def gap(s: float) -> float:
        return float(entry.spectrum(s)) - correlation

    # In the logarithm of s, so that small variances are as accurate as large ones.
    least, most = -690.0, 14.0
    if gap(math.exp(least)) >= 0:
        return 0.0
    root = brentq(lambda logarithm: gap(math.exp(logarithm)), least, most, xtol=1e-15, rtol=np.float64(1e-15))
    return math.exp(cast("float", root))


def digits_findings() -> DigitsFindings:
    """Estimate covariances from two views of every digit and hold linear encoders against the dictionary.

    The encoders start as a random rotation of the eight leading canonical directions, so that rest is reached in the time
    of these modes and not in that of the competition with the ninth.
    """
    images = digits().images
    x, y = two_views(images, noise=NOISE, mask=MASK, seed=SEED)
    views = ViewPair.from_samples(x, y, symmetrize=True)
    correlations, directions = eigh(views.cross, views.context)
    leading, basis = correlations[::-1][:WIDTH], directions[:, ::-1][:, :WIDTH]
    rng = np.random.default_rng(SEED)
    rotation = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    start = 0.5 * rotation @ basis.T
    predicted, reached = {}, {}
    for name, entry in DICTIONARY.items():
        path = LinearJEPA(views, predictor=entry, force="residual").solve(start, None, [0.0, HORIZON], method="LSODA")
        moment = path.encoder[-1] @ views.context @ path.encoder[-1].T
        reached[name] = np.linalg.eigvalsh(moment)[::-1]
        predicted[name] = np.sort([variance_at_rest(entry, float(rho)) for rho in leading])[::-1]
    encoder = rng.normal(size=(WIDTH, images.shape[1])) / 8
    descent = -SpectralContrastive(views).gradient(encoder) / 4
    residual = LinearJEPA(views, predictor=DICTIONARY["spectral-contrastive"], force="residual").forces(encoder).total
    power = power_gap(x @ encoder.T, y @ encoder.T, symmetrize=True)
    return DigitsFindings(
        samples=len(images),
        pixels=images.shape[1],
        correlations=leading,
        predicted=predicted,
        reached=reached,
        negatives=float(np.max(np.abs(residual - descent)) / np.max(np.abs(descent))),
        power=power.power,
        alignment=power.alignment,
    )


def digits_blocks(found: DigitsFindings) -> list[doc.Block]:
    """Return the section on the digits."""
    rows = [
        (
            entry.label,
            *FORMULAS[name],
            f"{found.predicted[name][0]:.4f}, {found.predicted[name][-1]:.4f}",
            f"{found.reached[name][0]:.4f}, {found.reached[name][-1]:.4f}",
            f"{found.relative_error(name):.1e}",
        )
        for name, entry in DICTIONARY.items()
    ]
    header = (
        "objective",
        "predictor $g(s)$",
        "uniformity $u(s)$",
        r"predicted $g(s) = \rho$",
        "reached by the flow",
        "error",
    )
    caption = (
        f"Embedding variances at rest of a linear encoder with {WIDTH} dimensions on the digits, largest and smallest of the"
        r" eight: predicted by $g(s) = \rho$, and reached by the residual flow, in which no negatives occur. The error is the"
        " largest over the eight modes, relative to the largest prediction."
    )
    return [
        doc.Heading(1, "On real data", "digits"),
        doc.Paragraph(
            f"Two views of each of {found.samples} handwritten digits ({found.pixels} pixels): every pixel is masked with"
            f" probability {MASK} and carries Gaussian noise of standard deviation {NOISE}, independently in the two views. The"
            f" covariances $\\Sigma$ and $C$ are estimated from the symmetrised sample. Its leading canonical correlations are"
            f" {', '.join(f'{c:.3f}' for c in found.correlations)}."
        ),
        doc.Paragraph(
            r"At a random encoder the residual force of the predictor $P = \Phi$ and a quarter of the spectral contrastive descent,"
            f" computed from explicit negatives, differ by {found.negatives:.1e} of the latter ([#thm-spectral-contrastive-entry])."
            f" The implicit repulsion has the power {found.power:.6f} and the alignment loss is {found.alignment:.6f}: their"
            f" ratio differs from one by {abs(found.power / found.alignment - 1):.1e} ([#thm-power-identity])."
        ),
        doc.Table(header, tuple(rows), caption, "tab-digits"),
    ]


def deep_blocks() -> list[doc.Block]:
    """Return the section on deep encoders, from the stored measurements."""
    found = [measurements.load(name) for name in EXPERIMENTS]
    rows = [_group_row(name, group) for measured in found for name, group in _by_experiment(measured.rows)]
    every = [row for measured in found for row in measured.rows]
    held = sum(row["verdict"] == "holds" for row in every)
    blocks: list[doc.Block] = [
        doc.Heading(1, "On deep encoders", "deep"),
        doc.Paragraph(
            "Encoders from linear to vision transformers, on digits, on Fashion-MNIST and on data of known spectra."
            f" {held} of {len(every)} criteria hold; every criterion was fixed before the run. An error is the"
            " deviation in units of its bound: a criterion holds up to 1. Controls are false versions put to the same test, and"
            " have to exceed it by a factor of 1000. `jepalign simulate --summary` lists every row."
        ),
    ]
    blocks += [doc.Paragraph(f"*{m.name}* {_provenance(m.provenance)}") for m in found]
    header = ("experiment", "criterion", "networks", "held", "error (least to largest)")
    blocks.append(
        doc.Table(header, tuple(rows), "Deep encoders against the predictions, from stored measurements.", "tab-deep")
    )
    return blocks


def _by_experiment(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Group rows by experiment, in order of first appearance."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row["experiment"]), []).append(row)
    return list(groups.items())


def _group_row(name: str, group: list[dict[str, Any]]) -> tuple[str, ...]:
    errors = [float(row["error"]) for row in group if row["error"] is not None]  # a run lost at once has none
    if not errors:
        told = "diverged"
    elif len(errors) == 1:
        told = f"{errors[0]:.2g}"
    else:
        told = f"{min(errors):.2g} to {max(errors):.2g}"
    held = sum(row["verdict"] == "holds" for row in group)
    return (
        _escaped(name),
        _escaped(str(group[0]["criterion"])),
        str(len({row["architecture"] for row in group})),
        f"{held}/{len(group)}",
        told,
    )


def _escaped(text: str) -> str:
    """Protect a stored text from being read as markup."""
    return text if not set(text) & set("$*[`") else f"`{text}`"


def _provenance(made: dict[str, Any]) -> str:
    versions = made.get("versions", {})
    torch = versions.get("torch")
    commit = str(made.get("commit") or "unknown")[:10]
    return (
        f"(Made by `{made.get('command')}`, seed {made.get('seed')}, on {made.get('device')}"
        + (f", PyTorch {torch}" if torch else "")
        + f", commit {commit}{', with uncommitted changes' if made.get('dirty') else ''}, {made.get('date')}.)"
    )


def figure_block(name: str, directory: Path) -> doc.Picture:
    """Return a drawn figure with its caption and a description for those who cannot see it."""
    drawn = figure(name)
    data = drawn.compute()
    return doc.Picture(
        pdf=directory / f"{name}.pdf",
        png=directory / f"{name}.png",
        caption=drawn.caption(data),
        alt=drawn.alt(data),
        label=f"fig-{name}",
    )


def report_document(reports: Sequence[Report], drawn: dict[str, doc.Picture], found: DigitsFindings) -> doc.Document:
    """Return the whole report."""
    blocks: list[doc.Block] = [
        doc.Heading(1, "The question", "question"),
        doc.Paragraph(
            "A joint-embedding predictive architecture is trained on positive pairs alone: a predictor maps the embedding of a"
            " visible context to the embedding of a hidden target, through which no gradient flows. A contrastive method pulls"
            " positives together and pushes negatives apart. The first does not collapse although nothing in its loss"
            " forbids it [@tian2021]. Is it a different mechanism, or the same one without its name? The two terms of"
            " [@wang2020], alignment and uniformity, are where to look."
        ),
        doc.Heading(1, "The answer", "answer"),
        doc.Paragraph(
            r"The prediction loss is alignment. The predictor, with the stop-gradient, is uniformity: if $P = g(\Phi)$ is a function"
            r" of the embedding covariance, the residual $z^{+} - Pz$ is minus the gradient of alignment plus"
            r" $\frac12 \operatorname{tr} u(\Phi)$ with $u' = g - 1$ ([#thm-dictionary]). What a predictor lacks of the identity is the"
            r" derivative of a uniformity functional. $P = \Phi$ gives the spectral contrastive loss, negatives and all"
            r" ([#thm-spectral-contrastive-entry]); other functions give Gaussian InfoNCE, the log-determinant, a Schatten norm"
            r" ([#fig-dictionary])."
        ),
        drawn["dictionary"],
        doc.Paragraph(
            r"Three things are weaker than with explicit negatives. A JEPA follows the field preconditioned by $P$, which descends"
            r" the functional only where $g \ge 0$ and turns a repelling origin into a sticky one"
            r" ([#thm-preconditioned-origin]). A learnt predictor is the square root of the covariance, not the covariance"
            r" ([#thm-learnt-predictor-entry]): its repulsive term is that of negatives on white inputs exactly"
            r" ([#thm-repulsion-equivalence]), on others up to the condition number ([#thm-repulsion-sandwich]). And a mode is"
            r" repelled only while its predictor shrinks it ([#thm-sign], [#fig-map])."
        ),
        drawn["map"],
        doc.Paragraph(
            r"How strongly a JEPA repels can be measured in any training loop: with the optimal predictor the power of the implicit"
            r" repulsion equals the alignment loss ([#thm-power-identity]), with any other it differs by a term that is known"
            r" ([#thm-power-identity-any-predictor], [#fig-power])."
        ),
        drawn["power"],
        doc.Paragraph(
            r"What is weaker shows where a network starts near collapse. Negatives push with a force in proportion to the weight, a"
            r" balanced predictor with one in proportion to its square: the one leaves in logarithmic time, the other takes as long as"
            r" the start is small ([#thm-escape-time], [#fig-escape])."
        ),
        drawn["escape"],
        *digits_blocks(found),
        *deep_blocks(),
        doc.Heading(1, "What was verified", "verified"),
        trusted_base(reports),
        verification_table(reports),
        *chapter_blocks(reports),
        doc.Heading(1, "Limits", "limits"),
        doc.Paragraph(
            "The dictionary is an identity between forces at one batch; what mini-batches, moving averages of the covariance and a"
            " lagging target leave of it is measured ([#tab-deep], *practice*) and not proved. The"
            " statements about modes assume that encoder, predictor and"
            " covariances share their eigenvectors. Everything marked as ours is new as far as we know; prior statements that we"
            " missed will be credited."
        ),
    ]
    return doc.Document(
        title="One mechanism or two? Joint-embedding prediction and contrastive learning",
        authors=(f"jepalign {importlib.metadata.version('jepalign')}",),
        abstract=(
            "A predictor that is a function of the embedding covariance implements a uniformity term, without negatives. The"
            " statement is proved for any encoder and any data, held against linear encoders on handwritten digits, and measured on"
            " deep ones. Every false statement nearby is refused by the machinery that accepts the true one."
        ),
        blocks=tuple(blocks),
        references=references(),
    )


def write_report(directory: Path, *, venue: str = "neurips", progress: Progress | None = None) -> list[Path]:
    """Verify, draw, compute and write everything to ``directory``; return the paths written.

    ``index.html`` is the page; ``derivations.pdf`` and ``derivations.tex`` hold the derivations; ``figures/`` each figure as
    PDF and PNG with its data and its caption. Raises ``InputError`` for an unknown venue or a missing measurement, before
    anything is written.
    """
    total = len(NAMES) + 6

    def tell(done: int, message: str) -> None:
        if progress is not None:
            progress(done, total, message)

    for name in EXPERIMENTS:
        measurements.load(name)
    paths = export([], directory / "figures", venue, progress=lambda d, _t, m: tell(d, f"figure {m}"))
    reports = verify_all(NAMES, progress=lambda done, _total, name: tell(3 + done, name))
    tell(len(NAMES) + 3, "linear encoders on digits")
    drawn = {name: figure_block(name, directory / "figures") for name in FIGURES}
    document = report_document(reports, drawn, digits_findings())
    derivations = derivation_document(reports)
    tell(len(NAMES) + 4, "typesetting")
    page, pdf, tex = (directory / name for name in ("index.html", "derivations.pdf", "derivations.tex"))
    latex = render_latex(derivations)  # before anything is written: it refuses what it cannot spell
    write_html(document, page)
    tell(len(NAMES) + 5, "typesetting the PDF")
    write_pdf(derivations, pdf)
    write_text(tex, latex)
    tell(total, "done")
    return [page, pdf, tex, *paths]
