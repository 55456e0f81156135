"""What the figure of hybrids shows: thresholds and rests of a mode with an explicit term, told and measured."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from jepalign.figures.publication import Series
from jepalign.figures.style import Evidence
from jepalign.linear_models.collapse.rescue import rescue_weight
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge
from jepalign.measurements import Measurement


class Term(NamedTuple):
    """One explicit term of the measurement.

    Attributes
    ----------
    uniformity : Uniformity
        What is compared: of VICReg its hinge, as its covariance term exerts nothing along aligned modes.
    scale : float
        The weight of that in one unit of the measured term.
    role, marker, title : str
        How it is drawn, and called in print.
    """

    uniformity: Uniformity
    scale: float
    role: str
    marker: str
    title: str


WIDE, NARROW = 1e-2, 1e-4
"""ε of the experiment's hinge, and as published for VICReg."""

TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "spectral": Term(Spectral(), 1.0, "spectral-contrastive", "D", "spectral"),
        "variance hinge": Term(VarianceHinge(WIDE), 1.0, "vicreg", "o", f"hinge, {WIDE:g}"),
        "VICReg": Term(VarianceHinge(NARROW), 25.0, "vicreg", "s", f"hinge, {NARROW:g}"),
        "log-det": Term(LogDet(), 1.0, "log-det", "^", "log-det"),
        "SIGReg": Term(SIGReg(), 1.0, "sigreg", "v", "SIGReg"),
    }
)
DEEP = ("spectral", "variance hinge", "SIGReg")
PUBLISHED = {"C-JEPA": VarianceHinge(NARROW), "LeJEPA": SIGReg()}
KAPPA = (1.0, 300.0)
WINDOW = (0.04, 0.4)
"""Weight decay at the start and at the end of C-JEPA's training (Mo & Tong 2024, Appendix C)."""

WITHIN = 0.15
"""The experiment's own criterion for thresholds of deep encoders."""


def thresholds(measured: Measurement) -> list[Series]:
    """Return both thresholds of every term over κ, in units of η/σ at the measured η/α, and the measured ones.

    In these units they depend on κ and η/α alone.
    """
    arrays = measured.arrays
    decay = float(arrays["weight_decay"])
    kappa = np.geomspace(*KAPPA, 400)
    series: list[Series] = []
    for name, term in TERMS.items():
        both = rescue_weight(np.sqrt(kappa * decay), 1.0, decay, uniformity=term.uniformity)
        repel, rescue = both.repel / decay, both.rescue / decay
        if repel.all():
            series.append(Series("thresholds", f"{name}, repel", Evidence.PROVED, kappa, repel))
        apart = rescue > repel * (1 + 1e-9)
        if apart.any():
            proved = isinstance(term.uniformity, LogDet)
            evidence = Evidence.PROVED if proved else Evidence.COMPUTED
            series.append(Series("thresholds", f"{name}, rescue", evidence, kappa[apart], rescue[apart]))
    own = arrays["cross"] ** 2 / (decay * arrays["variance"])
    for index, name in enumerate(arrays["term"]):
        unit = TERMS[name].scale * arrays["variance"] / decay
        for kind in ("repel", "rescue"):
            seen = arrays[kind][index]
            within = (seen > 0) & np.isfinite(seen) & (arrays[f"{kind}_predicted"][index] > 0)
            if not within.any():
                continue
            sweep = arrays["strength"][index]
            after = np.searchsorted(sweep, seen[within])
            extent = {"low": sweep[after - 1] * unit[within], "high": sweep[after] * unit[within]}
            x, y = own[within], (seen * unit)[within]
            series.append(Series("thresholds", f"{name}, measured {kind}", Evidence.MEASURED, x, y, extent))
    return series


def rests(measured: Measurement) -> list[Series]:
    """Return the weight curve γ = Γ(w) of every term in the first measured mode, and where that came to rest.

    A piece of the curve is stable where Γ rises.
    """
    arrays = measured.arrays
    decay, cross, variance = (
        float(part) for part in (arrays["weight_decay"], arrays["cross"][0], arrays["variance"][0])
    )
    w = np.geomspace(1e-4, 2.0, 1200)
    X = variance * w**2 / decay
    needed = 1 - cross**2 / (decay * variance) * X / (1 + X) ** 2
    series: list[Series] = []
    for index, name in enumerate(arrays["term"]):
        term = TERMS[name]
        push = term.uniformity.coefficient(variance * w**2)
        inside = (needed > 0) & (push > 0)
        gamma = np.where(inside, needed / np.where(push > 0, push, 1.0), np.nan)
        rising = np.diff(gamma) > 0
        # Every piece ends at the point at which the next begins.
        for piece, (start, stop) in enumerate(runs(inside[:-1] & inside[1:], rising)):
            stable = "stable" if rising[start] else "unstable"
            part = slice(start, stop + 1)
            series.append(Series("rests", f"{name}, {stable} {piece}", Evidence.PROVED, gamma[part], w[part]))
        x = arrays["strength"][index] * term.scale * variance / decay
        series.append(Series("rests", f"{name}, measured", Evidence.MEASURED, x, arrays["rest"][index, :, 0]))
    return series


def runs(inside: np.ndarray, rising: np.ndarray) -> list[tuple[int, int]]:
    """Return [start, stop) of every longest run of steps that are inside and all of one direction."""
    found: list[tuple[int, int]] = []
    start = 0
    for place in range(1, len(inside) + 1):
        if place == len(inside) or inside[place] != inside[start] or (inside[place] and rising[place] != rising[start]):
            if inside[start]:
                found.append((start, place))
            start = place
    return found


def deep(measured: Measurement) -> list[Series]:
    """Return measured over predicted repel thresholds of deep encoders, by the features' moment and with more known of them."""
    arrays = measured.arrays
    series = [Series("deep", "as predicted", Evidence.PROVED, np.array([0.7, 900.0]), np.ones(2))]
    for term in DEEP:
        index = list(arrays["deep_term"]).index(term)
        for name, told, seen in (
            (term, "deep_predicted", "deep_repel"),
            (f"{term}, mean and motion known", "deep_corrected", "deep_other"),
        ):
            x, y = (arrays[key][:, index].ravel() for key in (told, seen))
            within = (y > 0) & np.isfinite(y)
            series.append(Series("deep", name, Evidence.MEASURED, x[within], (y / x)[within]))
    return series


def published(measured: Measurement) -> list[Series]:
    """Return published weights over both thresholds of the first mode, over weight decay, and which measured modes grew."""
    arrays = measured.arrays
    cross, variance = (float(arrays[key][0]) for key in ("cross", "variance"))
    decay = np.geomspace(6e-4, 7, 300)
    series: list[Series] = []
    for index, (name, uniformity) in enumerate(PUBLISHED.items()):
        both = rescue_weight(cross, variance, decay, uniformity=uniformity)
        gamma = float(arrays["published"][index])
        series.append(Series("published", f"{name}, repel", Evidence.PROVED, decay, gamma / both.repel))
        apart = both.rescue > both.repel * (1 + 1e-9)
        if apart.any():
            series.append(
                Series("published", f"{name}, rescue", Evidence.COMPUTED, decay[apart], gamma / both.rescue[apart])
            )
        ratio, grew = arrays["published_ratio"][index, :, 0], arrays["published_grown"][index] == 1
        at = np.broadcast_to(arrays["published_decay"][:, None], ratio.shape)
        for end, which in (("grew", grew), ("did not", ~grew)):
            series.append(Series("published", f"{name}, {end}", Evidence.MEASURED, at[which], ratio[which]))
    return series


def summary(measured: Measurement) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    decay, variance = float(arrays["weight_decay"]), arrays["variance"]
    numbers = {
        "decay": decay,
        "variance": float(variance[0]),
        "kappa": float(arrays["cross"][0] ** 2 / decay / variance[0]),
    }
    told, seen = arrays["rest_predicted"][:, :, 0], arrays["rest"][:, :, 0]
    limits = [arrays[f"{kind}_predicted"][:, None, 0] for kind in ("repel", "rescue")]
    clear = np.all([np.abs(arrays["strength"] - limit) >= 0.1 * limit for limit in limits], axis=0) & (told > 0)
    numbers["rest"] = float(np.abs(seen[clear] / told[clear] - 1).max())
    for key, predicted, observed in (
        ("deep", "deep_predicted", "deep_repel"),
        ("deep known", "deep_corrected", "deep_other"),
    ):
        numbers[f"{key} within"] = float((np.abs(arrays[observed] / arrays[predicted] - 1) <= WITHIN).sum())
    numbers["deep"] = float(arrays["deep_repel"].size)
    numbers["deep none"] = float(np.isinf(arrays["deep_repel"]).sum())
    numbers |= {name: float(gamma) for name, gamma in zip(PUBLISHED, arrays["published"], strict=True)}
    ends = rescue_weight(arrays["cross"][0], variance[0], np.array(WINDOW), uniformity=PUBLISHED["C-JEPA"]).repel
    for key, repel in zip(("low", "high"), ends, strict=True):
        numbers[f"C-JEPA, {key}"] = numbers["C-JEPA"] / float(repel)
    return numbers
