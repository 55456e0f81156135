"""The embedding dimension by dimension: λ, σ, ρ, w and p on its principal axes, their margins, and who survives."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from jepalign.diagnosis.evidence import Basis, Evidence
from jepalign.diagnosis.settings import FlowRates
from jepalign.diagnosis.spread import Readings, Spread, readings, spread
from jepalign.diagnosis.stored import Array
from jepalign.linear_models import integrate
from jepalign.linear_models.collapse import survives

GONE = 1e-6  # of the largest variance: what is below is rounding and noise of what has collapsed
TOGETHER = 32  # modes in one integration: its implicit steps cost the cube of their number
SETTLED = 60.0  # times 1/η after which a mode has chosen its side; the slowest rate of all, −η, leaves e⁻⁶⁰


class State(Enum):
    """What becomes of a dimension."""

    SURVIVING = "surviving"
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
            State.SURVIVING: "η < η_c and beyond the edge of its basin (or, without its weight, s > η/α)",
            State.BELOW: "η < η_c, so that it could survive, but it starts within the basin of collapse",
            State.LOST: "η > η_c: it decays from everywhere",
            State.UNSETTLED: "s < η/α, where nothing rests: it is growing, or falling; embeddings alone do not tell which",
            State.GONE: "no variance is left; from embeddings nothing more can be said of it",
            State.MEAN: "mostly the mean of the embedding, which carries no information; not counted",
            State.UNKNOWN: "the weight decay is not known",
        }[self]


@dataclass(frozen=True, eq=False)
class ModeTable:
    """Readings along the principal axes of the embedding, by descending variance; arrays of shape (k,).

    Attributes
    ----------
    axes : ndarray of shape (k, k)
        One axis per column: eigenvectors of ½(E zzᵀ + E z̄z̄ᵀ).
    readings : Readings
        s = E(u·z)², s̄ = E(u·z̄)² and κ = E(u·z)(u·z̄).
    predictor : ndarray
        p = u·Pu.
    weight, target_weight : ndarray
        w and v: ‖Wᵀu‖ and ‖Vᵀu‖, or inferred; NaN where they cannot be.
    basis : Basis
        What they rest on.
    margin : ndarray
        η_c/η with η_c = λ²/(4σ); ∞ without decay, NaN if it is not known.
    states : tuple of State
        What becomes of each.
    uncertainty : Spread
        Of the readings.
    margins : ndarray of shape (1000, k)
        Replicates of the margin.
    """

    axes: Array
    readings: Readings
    predictor: Array
    weight: Array
    target_weight: Array
    basis: Basis
    margin: Array
    states: tuple[State, ...]
    uncertainty: Spread
    margins: Array

    @property
    def variance(self) -> Array:
        """σ = s/w²: the variance of what the last layer reads."""
        return _ratio(self.readings.context, self.weight**2)

    @property
    def cross(self) -> Array:
        """λ = κ/(wv)."""
        return _ratio(self.readings.cross, self.weight * self.target_weight)

    def counted(self, *states: State) -> NDArray[np.intp]:
        """Return the places of the dimensions in one of these states."""
        return np.array([i for i, state in enumerate(self.states) if state in states], dtype=np.intp)


def _ratio(value: Array, by: Array) -> Array:
    return np.divide(value, by, out=np.full_like(value, np.nan), where=(by > 0) & np.isfinite(by))


def mode_table(evidence: Evidence, rates: FlowRates, *, bias: bool, seed: int = 0) -> ModeTable:
    """Return the dimensions of a record's embedding.

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
    moments = evidence.embeddings
    context, target, _ = moments.about(mean=bias)
    values, axes = np.linalg.eigh((context + target) / 2)
    axes = axes[:, np.argsort(-values)]
    here = readings(moments, axes, mean=bias)
    uncertainty = spread(moments, evidence.blocks, axes, mean=bias, seed=seed)
    p = np.einsum("ki,kl,li->i", axes, evidence.predictor, axes)
    w, v = _weights(evidence, rates, axes, here, p)
    margin = _margin(here, w, v, rates, evidence.basis)
    margins = _margin(uncertainty.replicates, w, v, rates, evidence.basis)
    table = ModeTable(axes, here, p, w, v, evidence.basis, margin, (), uncertainty, margins)
    return ModeTable(**{**vars(table), "states": _states(table, evidence, rates, bias=bias)})


def _weights(evidence: Evidence, rates: FlowRates, axes: Array, here: Readings, p: Array) -> tuple[Array, Array]:
    """Return w and v along the axes, by the best that there is."""
    # Without V the target's weight is what makes λ = ρσ, which is w where the target is the encoder itself.
    lag = np.sqrt(_ratio(np.maximum(here.target, 0.0), np.maximum(here.context, 0.0)))
    if evidence.encoder is not None:
        w = np.linalg.norm(evidence.encoder.T @ axes, axis=0)
        if evidence.target_encoder is not None:
            return w, np.linalg.norm(evidence.target_encoder.T @ axes, axis=0)
        return w, w * lag
    if evidence.basis is Basis.BALANCE:
        w = np.abs(p) / np.sqrt(rates.rest_rate)
    elif rates.decay:
        # At rest ρ = p(1 + 1/x), x = αs/η, and w = p/√α.
        x = rates.rest_rate * here.context / rates.decay
        w = np.abs(here.correlation) * x / (1 + x) / np.sqrt(rates.rest_rate)
    elif rates.decay == 0:
        w = np.abs(here.correlation) / np.sqrt(rates.predictor_rate)
    else:
        w = np.full_like(p, np.nan)
    return w, w * lag


def _margin(here: Readings, w: Array, v: Array, rates: FlowRates, basis: Basis) -> Array:
    """Return η_c/η of readings, which may be replicates."""
    if rates.decay is None:
        return np.full_like(here.context, np.nan)
    if rates.decay == 0:
        return np.where(here.cross != 0, np.inf, 0.0)
    if basis is Basis.REST:
        x = rates.rest_rate * here.context / rates.decay
        return np.divide((1 + x) ** 2, 4 * x, out=np.full_like(x, np.inf), where=(x > 0) & np.isfinite(x))
    # λ²/(4ση) with σ = s/w² and λ = κ/(wv)
    return _ratio(here.cross**2, 4 * rates.decay * here.context * v**2)


def _states(table: ModeTable, evidence: Evidence, rates: FlowRates, *, bias: bool) -> tuple[State, ...]:
    here, decay = table.readings, rates.decay
    size = (here.context + here.target) / 2
    gone = size <= GONE * size[0]
    mean = np.zeros(len(size), dtype=bool)
    if not bias:
        both = (evidence.embeddings.context_mean @ table.axes) ** 2 + (evidence.embeddings.target_mean @ table.axes) ** 2
        mean = both > size  # more than half of E(u·z)² + E(u·z̄)²
    if decay is None:
        alive = lost = np.zeros(len(size), dtype=bool)
    elif decay and rates.predictor_decay == 0:
        alive, lost = np.zeros(len(size), dtype=bool), np.ones(len(size), dtype=bool)
    elif table.basis is Basis.REST:
        alive = (rates.rest_rate * here.context > decay) & (here.cross != 0)
        lost = np.zeros(len(size), dtype=bool)
    else:
        lost = ~(table.margin > 1)
        alive = ~lost & ~gone & _beyond(table, rates, ~lost & ~gone)
    found: list[State] = []
    for i in range(len(size)):
        if mean[i]:
            found.append(State.MEAN)
        elif gone[i]:
            found.append(State.GONE)
        elif decay is None:
            found.append(State.UNKNOWN)
        else:
            unheld = State.UNSETTLED if table.basis is Basis.REST else State.BELOW
            found.append(State.LOST if lost[i] else State.SURVIVING if alive[i] else unheld)
    return tuple(found)


def _beyond(table: ModeTable, rates: FlowRates, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the chosen modes, below their thresholds, lie outside the basin of collapse for V = W.

    Without decay the closed form decides. With it the mode (w, p) is integrated, as off balance its edge has none; in units of
    q = √α w it is q̇ = p(λ − σp)q − ηq, ṗ = (λ − σp)q² − η_P p.
    """
    beyond = np.zeros(len(chosen), dtype=bool)
    if not chosen.any() or rates.decay is None or rates.predictor_decay is None:
        return beyond
    cross, variance, w, p = (part[chosen] for part in (table.cross, table.variance, table.weight, table.predictor))
    if rates.decay == 0:
        beyond[chosen] = survives(w, p, cross, variance, 0.0, predictor_rate=rates.predictor_rate)
        return beyond
    # In units of ρ for p and q, and of 1/η for time, nothing is large or small but the margins themselves.
    rho, strength = cross / variance, cross**2 / variance / rates.decay
    # A start far outside falls towards 1 at once; the cut keeps the step there from being tiny.
    start = np.clip([np.sqrt(rates.predictor_rate) * w / np.abs(rho), p / rho], -10.0, 10.0)
    ratio = rates.predictor_decay / rates.decay
    end = [_ends(start[:, i : i + TOGETHER], strength[i : i + TOGETHER], ratio) for i in range(0, len(w), TOGETHER)]
    # Rests: b± = ½(1 ± √(1 − 4/strength)); half-way down from the lower one nothing rests but 0.
    beyond[chosen] = np.concatenate(end) > (1 - np.sqrt(np.maximum(1 - 4 / strength, 0.0))) / 4
    return beyond


def _ends(start: Array, strength: Array, ratio: float) -> Array:
    """Return p/ρ of modes at the time 60/η, from (q, p)/ρ at the start."""

    def field(state: Mapping[str, Array]) -> Mapping[str, Array]:
        a, b = state["weight"], state["predictor"]
        pull = strength * (1 - b)
        return {"weight": (pull * b - 1) * a, "predictor": pull * a * a - ratio * b}

    path = integrate(
        field, {"weight": start[0], "predictor": start[1]}, [SETTLED], method="LSODA", rtol=1e-6, atol=1e-12
    )
    return path.predictor[-1] if len(path.times) else np.zeros(start.shape[1])
