"""Dimension by dimension: λ, σ, ρ, w and p, the margin of each, and who survives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from jepalign.diagnosis.evidence import Basis, Evidence, PredictorSource
from jepalign.diagnosis.moments import Moments
from jepalign.diagnosis.settings import FlowRates
from jepalign.diagnosis.spread import Readings, Spread, interval, readings, spread
from jepalign.diagnosis.stored import Array

GONE = 1e-6  # of the largest variance: what is below is rounding and noise of what has collapsed


class State(Enum):
    """What becomes of a dimension that is alone; together dimensions compete and turn, and the flow tells how many are left."""

    SURVIVING = "surviving"
    ABOVE = "above its edge"
    BELOW = "below its edge"
    LOST = "lost"
    UNSETTLED = "unsettled"
    GONE = "gone"
    MEAN = "mean"
    UNKNOWN = "unknown"

    @property
    def sentence(self) -> str:
        """What it means."""
        return {
            State.SURVIVING: "η < η_c and p ≥ λ/2σ: alone it survives (from embeddings alone: s > η/α)",
            State.ABOVE: "η < η_c and p₋ < p < λ/2σ: alone it survives, with the edge of its basin near",
            State.BELOW: "η < η_c and p < p₋: it could survive, but starts within the basin of collapse",
            State.LOST: "η > η_c: it decays from everywhere",
            State.UNSETTLED: "s < η/α, where nothing rests: it grows or falls, and embeddings alone do not tell which",
            State.GONE: "no variance is left, and no more can be said of it",
            State.MEAN: "mostly the mean, which carries no information; not counted",
            State.UNKNOWN: "the weight decay is not known",
        }[self]


ALIVE = (State.SURVIVING, State.ABOVE)


@dataclass(frozen=True, eq=False)
class Quantities:
    """What is told of each dimension; arrays of shape (..., m), NaN where it cannot be.

    Attributes
    ----------
    embedding : ndarray
        s = w²σ, the embedding's variance.
    correlation : ndarray
        ρ = λ/√(σσ̄), with its sign.
    variance, cross : ndarray
        σ and λ.
    margin : ndarray
        η_c/η with η_c = λ²/(4σ); ∞ without decay.
    """

    embedding: Array
    correlation: Array
    variance: Array
    cross: Array
    margin: Array

    def items(self) -> Mapping[str, Array]:
        """Return the quantities by name."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class ModeTable:
    """Dimensions in order of variance, or of η_c where features are known; arrays of shape (m,).

    Attributes
    ----------
    basis : Basis
        What they rest on. With ``FEATURES`` a dimension is one of the k eigenvectors of the features' cross-moment with the largest η_c,
        otherwise a principal axis of the embedding.
    values : Quantities
        Of the record, with the bias of sorting taken off.
    drawn : Quantities
        Of 1000 replicates, (1000, m), likewise.
    predictor : ndarray
        p = u·Pu along the dimension's axis u in the embedding.
    weight, target_weight : ndarray
        w and v, measured or inferred.
    states : tuple of State
        What becomes of each.
    axes : ndarray of shape (k, m)
        u, one per column.
    uncertainty : Spread
        Of what was read: moments of embeddings, or of features.
    """

    basis: Basis
    values: Quantities
    drawn: Quantities
    predictor: Array
    weight: Array
    target_weight: Array
    states: tuple[State, ...]
    axes: Array
    uncertainty: Spread

    @property
    def width(self) -> int:
        """How many dimensions there are."""
        return len(self.states)

    def counted(self, *states: State) -> NDArray[np.intp]:
        """Return the places of the dimensions in one of these states."""
        return np.array([i for i, state in enumerate(self.states) if state in states], dtype=np.intp)

    def intervals(self) -> Mapping[str, tuple[Array, Array]]:
        """Return 95 % intervals of the quantities by name."""
        return {name: interval(value) for name, value in self.drawn.items().items()}


def mode_table(evidence: Evidence, rates: FlowRates, *, bias: bool, seed: int = 0) -> ModeTable:
    """Return the dimensions of a record.

    Parameters
    ----------
    evidence : Evidence
        The record.
    rates : FlowRates
        Its settings.
    bias : bool
        Whether moments are taken about the mean.
    seed : int
        Of the replicates.
    """
    if evidence.encoder is not None and evidence.features is not None:
        return _of_features(evidence, evidence.features, evidence.encoder, rates, bias=bias, seed=seed)
    moments = evidence.embeddings
    context, target, _ = moments.about(mean=bias)
    values, axes = np.linalg.eigh((context + target) / 2)
    axes = axes[:, np.argsort(-values, kind="stable")]
    here = readings(moments, axes, mean=bias)
    every = np.arange(moments.width)
    found = spread(moments, evidence.blocks, axes, of="variance", kept=every, mean=bias, seed=seed)
    p = np.einsum("ki,kl,li->i", axes, evidence.predictor, axes)
    w, v = _weights(evidence, rates, axes, here, p)
    both = here.less(found.bias), found.replicates
    told, drawn = (_from_embedding(part, w, v, rates, evidence.basis) for part in both)
    if evidence.basis is Basis.REST and rates.decay and math.isfinite(rates.rest_rate):
        # No rest has so little variance: w, and with it λ, σ and the margin, would be those of a rest that is none.
        moving = ~(rates.rest_rate * told.embedding > rates.decay)
        for hidden in (w, v, *(part for each in (told, drawn) for part in (each.variance, each.cross, each.margin))):
            hidden[..., moving] = np.nan
    size = (here.context + here.target) / 2
    mean = np.zeros(len(size), dtype=bool) if bias else _mostly_mean(moments, axes, size)
    states = _states(evidence, told, p, w, rates, mean, size <= GONE * size[0])
    return ModeTable(evidence.basis, told, drawn, p, w, v, states, axes, found)


def _of_features(
    evidence: Evidence, moments: Moments, W: Array, rates: FlowRates, *, bias: bool, seed: int
) -> ModeTable:
    cross = moments.about(mean=bias)[2]
    axes = np.linalg.eigh((cross + cross.T) / 2)[1]
    every = readings(moments, axes, mean=bias)
    critical = np.divide(every.cross**2, 4 * every.context, out=np.zeros_like(every.cross), where=every.context > 0)
    kept = np.argsort(-critical, kind="stable")[: len(W)]
    found = spread(moments, evidence.feature_blocks, axes, of="cross", kept=kept, mean=bias, seed=seed)
    along = W @ axes[:, kept]
    w = np.linalg.norm(along, axis=0)
    u = along / np.where(w > 0, w, 1.0)
    v = (
        w
        if evidence.target_encoder is None
        else np.abs(np.einsum("ki,ki->i", u, evidence.target_encoder @ axes[:, kept]))
    )
    p = np.einsum("ki,kl,li->i", u, evidence.predictor, u)
    here = Readings(every.context[kept], every.target[kept], every.cross[kept])
    told, drawn = (_from_features(part, w, rates) for part in (here.less(found.bias), found.replicates))
    size = (here.context + here.target) / 2
    mean = np.zeros(len(size), dtype=bool) if bias else _mostly_mean(moments, axes[:, kept], size)
    gone = size <= GONE**2 * float(np.trace(moments.context))
    states = _states(evidence, told, p, w, rates, mean, gone)
    return ModeTable(Basis.FEATURES, told, drawn, p, w, v, states, u, found)


def _mostly_mean(moments: Moments, axes: Array, size: Array) -> NDArray[np.bool_]:
    """Return along which axes more than half of E(u·z)² + E(u·z̄)² is that of the means."""
    return (moments.context_mean @ axes) ** 2 + (moments.target_mean @ axes) ** 2 > size


def _weights(evidence: Evidence, rates: FlowRates, axes: Array, here: Readings, p: Array) -> tuple[Array, Array]:
    """Return w and v along principal axes of the embedding, by the best that there is."""
    # Without V the target's weight is what makes λ = ρσ, which is w where the target is the encoder itself.
    lag = np.sqrt(_ratio(np.maximum(here.target, 0.0), np.maximum(here.context, 0.0)))
    if evidence.encoder is not None:
        w = np.linalg.norm(evidence.encoder.T @ axes, axis=0)
        if evidence.target_encoder is not None:
            return w, np.linalg.norm(evidence.target_encoder.T @ axes, axis=0)
        return w, w * lag
    if evidence.basis is Basis.BALANCE:
        w = np.abs(p) / math.sqrt(rates.rest_rate)
    elif rates.decay is None or not math.isfinite(rates.rest_rate):
        w = np.full_like(p, np.nan)
    elif rates.decay:
        # At rest ρ = p(1 + 1/x), x = αs/η, and w = p/√α.
        x = rates.rest_rate * here.context / rates.decay
        w = np.abs(here.correlation) * x / (1 + x) / math.sqrt(rates.rest_rate)
    else:
        w = np.abs(here.correlation) / math.sqrt(rates.predictor_rate)
    return w, w * lag


def _from_embedding(read: Readings, w: Array, v: Array, rates: FlowRates, basis: Basis) -> Quantities:
    """Return what readings of the embedding say of modes: σ = s/w² and λ = κ/(wv)."""
    s, eta = read.context, rates.decay
    if basis is Basis.REST and eta and math.isfinite(rates.rest_rate):
        # w itself follows from s and ρ; the identity leaves nothing of ρ in the margin.
        x = rates.rest_rate * s / eta
        margin = np.divide((1 + x) ** 2, 4 * x, out=np.full_like(x, np.inf), where=(x > 0) & np.isfinite(x))
    else:
        margin = _margin(read.cross**2, 4 * s * v**2, eta)
    full = np.broadcast_to(w, s.shape), np.broadcast_to(w * v, s.shape)
    return Quantities(s, read.correlation, _ratio(s, full[0] ** 2), _ratio(read.cross, full[1]), margin)


def _from_features(read: Readings, w: Array, rates: FlowRates) -> Quantities:
    """Return what readings of the features say of modes: they are σ and λ."""
    margin = _margin(read.cross**2, 4 * read.context, rates.decay)
    return Quantities(w**2 * read.context, read.correlation, read.context, read.cross, margin)


def _margin(square: Array, by: Array, decay: float | None) -> Array:
    """Return λ²/(4ση) from λ² and 4σ, both times anything."""
    if decay is None:
        return np.full_like(square, np.nan)
    return _ratio(square, decay * by) if decay else np.where(square > 0, np.inf, 0.0)


def _ratio(value: Array, by: Array) -> Array:
    return np.divide(value, by, out=np.full_like(value, np.nan), where=(by > 0) & np.isfinite(by))


def _states(
    evidence: Evidence,
    told: Quantities,
    p: Array,
    w: Array,
    rates: FlowRates,
    mean: NDArray[np.bool_],
    gone: NDArray[np.bool_],
) -> tuple[State, ...]:
    """Return what becomes of each dimension.

    A mode's place in its basin is read at (p on the side of λ + √α w)/2, the part of (w, p) that imbalance does not feed; α is that of the
    balance at rest. Exact for balanced modes, for which both are p; without a predictor the mode is taken for one.
    """
    root = (
        np.sqrt(np.maximum(1 - _ratio(np.ones_like(told.margin), told.margin), 0.0)) if rates.decay else np.ones_like(p)
    )
    ratio = _ratio(np.abs(told.cross), told.variance)
    reach = math.sqrt(min(rates.rest_rate, 1e300)) * w
    if evidence.predictor_source is not PredictorSource.OPTIMAL:
        reach = (np.sign(told.cross) * p + reach) / 2
    found: list[State] = []
    for i in range(len(p)):
        if mean[i]:
            state = State.MEAN
        elif gone[i]:
            state = State.GONE
        elif rates.decay is None:
            state = State.UNKNOWN
        elif not math.isfinite(rates.rest_rate):
            state = State.LOST
        elif evidence.basis is Basis.REST:
            # With x = αs/η a rest at x < 1 would be p₋, which nothing stays at.
            here = told.correlation[i] != 0 and rates.rest_rate * told.embedding[i] > rates.decay
            state = State.SURVIVING if here else State.UNSETTLED
        elif not told.margin[i] > 1:
            state = State.LOST
        elif not reach[i] > ratio[i] * (1 - root[i]) / 2:
            state = State.BELOW
        else:
            state = State.SURVIVING if reach[i] >= ratio[i] / 2 or not rates.decay else State.ABOVE
        found.append(state)
    return tuple(found)
