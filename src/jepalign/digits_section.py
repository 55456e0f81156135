"""The report's section on the digits: linear encoders on real data against the dictionary."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import brentq

from jepalign import document as doc
from jepalign.datasets import digits, two_views
from jepalign.linear_models import DICTIONARY, LinearJEPA, SpectralContrastive, SpectralPredictor, ViewPair, power_gap

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
