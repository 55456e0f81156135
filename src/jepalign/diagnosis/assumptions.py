"""How far a record is from what the theorems assume, and so how much a forecast from it is worth."""

import math
from dataclasses import dataclass

import numpy as np

from jepalign.diagnosis.evidence import Basis, Evidence, PredictorSource
from jepalign.diagnosis.moments import Moments
from jepalign.diagnosis.reading import PredictorReading
from jepalign.diagnosis.settings import FlowRates, Settings
from jepalign.diagnosis.stored import Array
from jepalign.linear_models import balance
from jepalign.linear_models.departures import departures

LINEAR, LAST, STAYING, RESTING = "linear predictor", "linear last layer", "features stay", "at rest"


@dataclass(frozen=True)
class Assumption:
    """One assumption and the distance from it.

    Attributes
    ----------
    name : str
        Its name.
    distance : float
        0 where it holds; at most 1 unless said otherwise.
    bound : float
        Beyond it, the results that need it are readings, not predictions. A tenth in a ratio of norms moves a margin by as much.
    words : str
        What is measured, and which results need it.
    """

    name: str
    distance: float
    bound: float
    words: str

    @property
    def holds(self) -> bool:
        """Whether the distance is within the bound."""
        return self.distance <= self.bound


def assumptions(
    evidence: Evidence, before: Evidence | None, settings: Settings, rates: FlowRates, reading: PredictorReading
) -> tuple[Assumption, ...]:
    """Return the distances of a record from the theorems' assumptions, those that can be told; ``before`` is the record before it."""
    mean = settings.bias
    # Moments of a window and the weights at its end differ by what these moved in it: about half of what they did since the window before.
    moved = 0.0
    if evidence.blocks is None and before is not None and before.embeddings.width == evidence.embeddings.width:
        moved = _change(evidence.embeddings, before.embeddings, mean=mean) / 2
    from_views = departures(evidence.embeddings.views(mean=mean))
    found = [
        Assumption(
            "equal variance",
            from_views.variance,
            0.1,
            "‖Φ−Φ̄‖/(‖Φ‖+‖Φ̄‖): ρ as a correlation, power identity without asymmetry",
        ),
        Assumption(
            "symmetric cross",
            from_views.asymmetry,
            0.1,
            "‖K−Kᵀ‖/2‖K‖: modes, thresholds; the force split holds without",
        ),
        Assumption("commuting", from_views.commutation, 0.1, "‖ΦK−KΦ‖/√2‖Φ‖‖K‖: modes that do not couple, thresholds"),
    ]
    if evidence.predictor_source is not PredictorSource.OPTIMAL:
        words = "share of ‖P‖² off the embedding's axes: P = g(Φ), the dictionary, thresholds"
        found.append(Assumption("aligned predictor", 1 - reading.aligned, 0.1, words))
    if evidence.unexplained is not None:
        words = (
            "share of the prediction that the matrix leaves: a linear predictor without bias, at rest in the window; everything but the"
            " power identity's form"
        )
        # A recorder adds the correction up only where the predictor is a linear layer: what is left is what it moved.
        bound = 0.01 if evidence.correction is None or evidence.blocks is not None else max(0.01, moved**2)
        found.append(Assumption(LINEAR, evidence.unexplained, bound, words))
    if evidence.encoder is not None and evidence.predictor_source is not PredictorSource.OPTIMAL:
        W, P = evidence.encoder, evidence.predictor
        defect = balance(W, P, predictor_rate=rates.predictor_rate)
        size = _norm(W @ W.T) + _norm(P.T @ P) / rates.predictor_rate
        words = (
            "‖WWᵀ−PᵀP/α‖ over the sum of both norms: static thresholds and basins; a forecast by the flow needs none"
        )
        found.append(Assumption("balance", _norm(defect) / size if size else 0.0, 0.1, words))
    if evidence.encoder is not None and evidence.features is not None:
        layers = evidence.encoder, evidence.encoder if evidence.target_encoder is None else evidence.target_encoder
        below, own = evidence.features.about(mean=mean), evidence.embeddings.about(mean=mean)
        parts = [(own[i], layers[i] @ below[i] @ layers[i].T) for i in range(2)]
        words = (
            "‖Φ−WΣWᵀ‖/(‖Φ‖+‖WΣWᵀ‖), either view: that the embedding is encoder times features, with no bias or norm after it, nor"
            " motion in the window"
        )
        found.append(Assumption(LAST, max(_apart(a, b) for a, b in parts), max(0.01, moved), words))
    if evidence.encoder is not None and evidence.target_encoder is not None:
        lag = _apart(evidence.target_encoder, evidence.encoder)
        found.append(
            Assumption(
                "target near", lag, 0.1, "‖V−W‖/(‖V‖+‖W‖): V = W in thresholds; a forecast by the flow follows V"
            )
        )
    if rates.decay and rates.predictor_decay is not None:
        apart = abs(rates.predictor_decay - rates.decay) / (rates.predictor_decay + rates.decay)
        found.append(
            Assumption("equal decay", apart, 0.1, "|η_P−η|/(η_P+η): balance and basins; rests p± and η_c hold without")
        )
    if not mean:
        found.append(
            Assumption(
                "zero mean",
                evidence.embeddings.mean_share,
                0.1,
                "‖E z‖²/E‖z‖²: the mean acts as a mode with ρ near 1, and is not counted",
            )
        )
    if evidence.embeddings.fourth is not None:
        heavy = abs(evidence.embeddings.fourth - 1) / (evidence.embeddings.fourth + 1)
        found.append(
            Assumption(
                "Gaussian",
                heavy,
                0.1,
                "E‖·‖⁴ against a Gaussian's, as difference over sum: InfoNCE entries, SIGReg; thresholds need it not",
            )
        )
    found += _moved(evidence, before, mean=mean)
    return tuple(found)


def _moved(evidence: Evidence, before: Evidence | None, *, mean: bool) -> list[Assumption]:
    """Return how far embeddings and features have moved since the record before."""
    if before is None or before.embeddings.width != evidence.embeddings.width:
        return []
    words = "‖Φ−Φ'‖/(‖Φ‖+‖Φ'‖) since the record before: what is read from embeddings alone holds at rest"
    now, then = evidence.embeddings, before.embeddings
    found = [Assumption(RESTING, _change(now, then, mean=mean), max(0.02, _noise(now, then)), words)]
    mine, theirs = evidence.features, before.features
    if mine is not None and theirs is not None and mine.width == theirs.width:
        words = "the same of the features' moments: a forecast by the flow takes them to stay, if layers below are not known"
        found.append(Assumption(STAYING, _change(mine, theirs, mean=mean), max(0.1, _noise(mine, theirs)), words))
    return found


def _change(now: Moments, then: Moments, *, mean: bool) -> float:
    pairs = list(zip(now.about(mean=mean), then.about(mean=mean), strict=True))
    return max(_apart(a, b) for a, b in pairs)


def _noise(now: Moments, then: Moments) -> float:
    """Return twice what the sampling of both records does to ``_change`` if nothing moves, for Gaussian rows."""
    square = sum((float(np.trace(each.context)) ** 2 + _norm(each.context) ** 2) / each.count for each in (now, then))
    return 2 * math.sqrt(square) / ((_norm(now.context) + _norm(then.context)) or 1.0)


def _apart(first: Array, second: Array) -> float:
    """Return the distance of two matrices over the sum of their norms, 0 if both are 0."""
    return _norm(first - second) / ((_norm(first) + _norm(second)) or 1.0)


def trust(
    found: tuple[Assumption, ...],
    evidence: Evidence,
    settings: Settings,
    *,
    by_flow: bool,
    moved: bool,
    affine: bool,
) -> str:
    """Return how much a forecast is worth, in words that name what it rests on.

    ``by_flow`` if the measured flow was integrated, ``moved`` if layers below moved the features in it, ``affine`` if by their
    biases too.
    """
    basis = evidence.basis
    distances = {each.name: each for each in found}
    # The Gaussian shape enters no threshold; the measured flow needs neither shared directions nor balance.
    staying = set[str]() if moved else {STAYING}
    needed = {LINEAR, LAST, *staying} if by_flow else set(distances) - {"Gaussian", STAYING, RESTING}
    broken = [each.name for each in found if each.name in needed and not each.holds]
    if settings.optimizer == "adam":
        return "low: Adam's flow is not the theory's"
    if np.array_equal(evidence.predictor, np.eye(len(evidence.predictor))):
        return "low: the predictor is the identity, and if it does not learn, nothing repels and every dimension collapses (4.1)"
    if basis is Basis.REST:
        resting = distances.get(RESTING)
        if resting is None:
            return "low: it assumes that the run is at rest, which one record does not tell"
        if not resting.holds:
            return "low: it assumes that the run is at rest, and it is not"
    if {LINEAR, LAST} & set(broken) or len(broken) > 2:
        return f"low: off by more than their bounds are {', '.join(broken)}"
    doubts = [
        f'"{name}" is off by {distances[name].distance:.2g}, more than {distances[name].bound:g}' for name in broken
    ]
    if basis is Basis.BALANCE:
        doubts.append("w is inferred")
    if moved:
        doubts.append(f"layers below are taken for {'affine' if affine else 'linear'} ones")
    elif by_flow and evidence.below != ():
        doubts.append("features are taken to stay, and layers below, if they are trained, move them")
    return f"moderate: {', '.join(doubts)}" if doubts else "high: what it needs is within its bounds"


def _norm(value: Array) -> float:
    return float(np.linalg.norm(value))
