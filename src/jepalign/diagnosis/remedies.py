"""The least explicit uniformity, or the weight decay, that keeps the dimensions which a run is about to lose (4.6)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from jepalign.diagnosis.evidence import Basis, Evidence
from jepalign.diagnosis.modes import ALIVE, ModeTable, State
from jepalign.diagnosis.settings import FlowRates
from jepalign.diagnosis.stored import Array
from jepalign.linear_models.collapse import equilibria, hybrid_equilibria, rescue_weight
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge, VICReg

TERMS: Mapping[str, tuple[str, Uniformity]] = MappingProxyType(
    {
        "spectral": ("γ·¼‖Φ − I‖²", Spectral()),
        "vicreg": ("γ·Σ max(0, 1 − √(Φ_jj + 1e-4))", VarianceHinge()),
        "log-det": ("−γ·½ log det Φ", LogDet()),
        "sigreg": ("γ·Epps–Pulley statistic, θ = ½", SIGReg()),
    }
)
DIRECTIONS = 1024  # random ones, for what SIGReg sees of an embedding
TINY = 1e-29  # λ, σ and γ below this, or above its inverse, are beyond the range of the closed forms
COSTED = 24  # surviving dimensions whose new rest is computed: evenly spaced, the extremes among them


@dataclass(frozen=True, eq=False)
class Remedy:
    """One explicit term at the least weight that holds every endangered dimension.

    Attributes
    ----------
    name, formula : str
        The term, added to ½E‖ẑ − sg(z̄)‖².
    repel, rescue, hold : ndarray of shape (m,)
        Weights γ for each endangered dimension: beyond the first collapse is unstable, beyond the second no small state is left, beyond
        the third the dimension rests above s = η/α, as every survivor of a JEPA alone does. ∞ where the term cannot.
    repel_now : float
        The largest γ beyond which an endangered dimension grows from nothing in the embedding as it lies now, for the term as published:
        VICReg's hinge sees the variances of coordinates and SIGReg those of random directions, and a lost dimension that is oblique
        to them hides behind the others. The other weights are for dimensions along what the term sees. ∞ where it does not repel.
    weight : float
        The recommended γ in the theory's units: the largest of the third.
    as_trained : float
        γ times the scale of the loss as trained, to be added to that.
    cost : (float, float)
        Least and greatest relative change of a surviving dimension's variance s at rest: 0.1 is a tenth more. NaN without survivors.
    """

    name: str
    formula: str
    repel: Array
    rescue: Array
    hold: Array
    repel_now: float
    weight: float
    as_trained: float
    cost: tuple[float, float]

    @property
    def sees(self) -> bool:
        """Whether the recommended weight repels every endangered dimension in the embedding as it lies now."""
        return self.repel_now <= self.weight * (1 + 1e-9)


@dataclass(frozen=True, eq=False)
class Remedies:
    """What would keep the endangered dimensions.

    Attributes
    ----------
    endangered : ndarray of int, shape (m,)
        Places of the dimensions that are lost or below their edge although their views are correlated beyond chance.
    terms : tuple of Remedy
        Explicit terms, in order of ``TERMS``.
    weight_decay : float or None
        η below which every endangered dimension could survive: the least η_c. It keeps those beyond their edge only.
    why_none : str
        Why there are none, empty otherwise.
    """

    endangered: np.ndarray
    terms: tuple[Remedy, ...]
    weight_decay: float | None
    why_none: str


def remedies(evidence: Evidence, table: ModeTable, rates: FlowRates, *, together: int = 0) -> Remedies:
    """Return remedies for the dimensions of a record.

    Parameters
    ----------
    evidence : Evidence
        The record.
    table : ModeTable
        Its dimensions.
    rates : FlowRates
        Its settings.
    together : int
        How many more dimensions the flow loses than would be lost if each were alone; there is no remedy for these.
    """
    nobody = np.array([], dtype=np.intp)
    if rates.decay is None:
        return Remedies(nobody, (), None, "the weight decay is not known")
    if rates.decay == 0:
        return Remedies(nobody, (), None, "without weight decay no threshold is passed")
    if not math.isfinite(rates.rest_rate):
        return Remedies(
            nobody, (), None, "give the predictor the encoder's weight decay: without its own, every dimension decays"
        )
    if table.basis is Basis.REST:
        return Remedies(
            nobody, (), None, "embeddings alone do not tell λ and σ of what is not at rest: save predictor or encoder"
        )
    low, high = table.intervals()["correlation"]
    beyond_chance = (low > 0) | (high < 0)
    told = table.values
    known = np.isfinite(told.variance) & (told.variance > 0) & np.isfinite(told.cross)
    places = [i for i in table.counted(State.LOST, State.BELOW) if beyond_chance[i] and known[i]]
    endangered = np.array(places, dtype=np.intp)
    if not places:
        none = "no dimension that is correlated beyond chance is about to be lost"
        if together > 0:
            none = (
                "weights are those that hold a dimension alone, and alone none that is correlated beyond chance would be lost; none is"
                f" known for the {together} that the flow takes: try a smaller weight decay"
            )
        return Remedies(nobody, (), None, none)
    cross, variance = np.clip(np.abs(told.cross), TINY, 1 / TINY), np.clip(told.variance, TINY, 1 / TINY)
    survivors = table.counted(*ALIVE)
    shown = (
        survivors[np.unique(np.linspace(0, len(survivors) - 1, COSTED).astype(int))] if len(survivors) else survivors
    )
    found: list[Remedy] = []
    for name, (formula, term) in TERMS.items():
        repel, rescue = rescue_weight(
            cross[endangered], variance[endangered], rates.decay, uniformity=term, predictor_rate=rates.rest_rate
        )
        hold = np.maximum(rescue, _holding(cross[endangered], variance[endangered], rates, term))
        weight = float(hold.max())
        cost = _cost(cross[shown], variance[shown], rates, term, weight)
        push = _push(term, evidence.embeddings.context, table.axes[:, endangered])
        needed = np.where(push > 0, rates.decay / variance[endangered] / np.where(push > 0, push, 1.0), np.inf)
        now = float(np.maximum(needed, repel).max())
        found.append(Remedy(name, formula, repel, rescue, hold, now, weight, weight * rates.scale, cost))
    least = float((cross[endangered] ** 2 / variance[endangered]).min()) / 4
    return Remedies(endangered, tuple(found), least, "")


def _holding(cross: Array, variance: Array, rates: FlowRates, term: Uniformity) -> Array:
    """Return Γ at X = ασw²/η = 1, (η/σ)(1 − η_c/η)/c(η/α): of all weights the least with that rest (4.6), at least 0.

    Beyond it and ``rescue``, the largest Γ of smaller X, no rest below X = 1 is left.
    """
    decay = rates.decay or 0.0
    push = float(term.coefficient(decay / rates.rest_rate))
    missing = np.maximum(decay - cross * (cross / variance) / 4, 0.0) / variance
    return missing / push if push > 0 else np.where(missing > 0, np.inf, 0.0)


def _push(term: Uniformity, moment: Array, axes: Array) -> Array:
    """Return the coefficient −2u·Gu that a small mode along each axis u, (k, m), feels in an embedding, G = ∂U/∂Φ at Φ = ``moment``.

    The mode's own variance is left out of Φ as far as the term sees it: for terms of eigenvalues it is their coefficient at 0.
    """
    if isinstance(term, SIGReg):
        # The sum over principal directions is k times the average over all directions that is published.
        width = len(moment)
        directions = np.random.default_rng(0).normal(size=(DIRECTIONS, width))
        slope = width * term.sliced(moment, directions)[1]
    elif isinstance(term, VICReg):
        slope = term.gradient(moment)
    else:
        return np.full(axes.shape[1], float(term.coefficient(0.0)))
    return -2 * np.einsum("ki,kl,li->i", axes, slope, axes)


def _cost(cross: Array, variance: Array, rates: FlowRates, term: Uniformity, weight: float) -> tuple[float, float]:
    """Return the least and the greatest relative change in the variance of modes at their largest rest."""
    if not len(cross) or not weight <= 1 / TINY:
        return math.nan, math.nan
    rests = hybrid_equilibria(
        cross,
        variance,
        rates.decay or 0.0,
        uniformity=term,
        strength=weight if weight >= TINY else 0.0,
        predictor_rate=rates.rest_rate,
    )
    unstable = np.ma.getmaskarray(rests.weight) | ~rests.stable.filled(False)
    after = np.where(unstable, 0.0, rests.weight.filled(0.0)).max(axis=1)
    before = equilibria(cross, variance, rates.decay or 0.0, predictor_rate=rates.rest_rate)[..., 2].filled(0.0)
    change = (after[before > 0] / before[before > 0]) ** 2 - 1
    return (float(change.min()), float(change.max())) if len(change) else (math.nan, math.nan)
