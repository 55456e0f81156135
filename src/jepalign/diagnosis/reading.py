"""The predictor read by the dictionary (2.0): which function of the embedding's spectrum it is, and whose uniformity that makes it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from jepalign.diagnosis.evidence import Evidence
from jepalign.diagnosis.spread import readings
from jepalign.diagnosis.stored import Array
from jepalign.linear_models import DICTIONARY, SpectralPredictor

GONE = 1e-6  # of the largest variance: what is below is rounding and noise
_GRID = np.linspace(-12.0, 12.0, 97)  # of ln τ around the scale of the spectrum


@dataclass(frozen=True)
class Likeness:
    """How well an entry of the dictionary tells the predictor.

    Attributes
    ----------
    name, label : str
        The entry.
    distance : float
        Root mean square of p − g(s/τ) over that of p, over the dimensions that are left.
    scale : float
        τ, the best; embeddings that are √τ times the entry's: nothing but a temperature (1.3).
    """

    name: str
    label: str
    distance: float
    scale: float


@dataclass(frozen=True, eq=False)
class PredictorReading:
    """What the predictor is as a function of the spectrum.

    Attributes
    ----------
    likenesses : tuple of Likeness
        Nearest first.
    aligned : float
        Share of ‖P‖² that is diagonal in the embedding's principal axes: 1 where P is a function of Φ and its modes' signs.
    to_correlation : float
        Root mean square of p − ρ over that of ρ: 0 for the least-squares predictor of exchangeable views.
    variance, predictor, correlation : ndarray of shape (r,)
        s, p and ρ along the axes that were read, ascending in s.
    """

    likenesses: tuple[Likeness, ...]
    aligned: float
    to_correlation: float
    variance: Array
    predictor: Array
    correlation: Array

    @property
    def nearest(self) -> Likeness:
        """The entry that tells the predictor best."""
        return self.likenesses[0]


def read_predictor(evidence: Evidence, *, bias: bool) -> PredictorReading:
    """Return the reading of a record's predictor along the principal axes of its embedding, those with no variance left out."""
    context, target, _ = evidence.embeddings.about(mean=bias)
    values, axes = np.linalg.eigh((context + target) / 2)
    diagonal = np.einsum("ki,kl,li->i", axes, evidence.predictor, axes)
    size = float(np.sum(evidence.predictor**2))
    aligned = float(np.sum(diagonal**2)) / size if size else 1.0
    here = readings(evidence.embeddings, axes, mean=bias)
    kept = (values > GONE * values[-1]) & (here.context > 0)
    s, p, rho = here.context[kept], diagonal[kept], here.correlation[kept]
    found = sorted((_likeness(entry, s, p) for entry in DICTIONARY.values()), key=lambda likeness: likeness.distance)
    return PredictorReading(tuple(found), min(aligned, 1.0), _distance(p, rho), s, p, rho)


def _likeness(entry: SpectralPredictor, s: Array, p: Array) -> Likeness:
    if entry.name == "no-predictor":
        return Likeness(entry.name, entry.label, _distance(np.ones_like(p), p), 1.0)
    unit = np.log(np.median(s))

    def distance(log_scale: float) -> float:
        return _distance(entry.spectrum(s / np.exp(unit + log_scale)), p)

    start = min(_GRID, key=distance)
    best: Any = minimize_scalar(
        distance, bounds=(start - 0.25, start + 0.25), method="bounded", options={"xatol": 1e-6}
    )
    return Likeness(entry.name, entry.label, float(best.fun), float(np.exp(unit + best.x)))


def _distance(found: Array, wanted: Array) -> float:
    size = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(found - wanted)) / size if size else float(np.linalg.norm(found))
