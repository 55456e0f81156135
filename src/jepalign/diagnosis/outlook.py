"""How many dimensions are left at the end: by the flow of the measured last layer where it is known, by thresholds otherwise."""

import math
from dataclasses import dataclass

import numpy as np

from jepalign.diagnosis.evidence import Basis, Evidence, PredictorSource
from jepalign.diagnosis.modes import ALIVE as HELD
from jepalign.diagnosis.modes import ModeTable, State
from jepalign.diagnosis.settings import FlowRates, Settings
from jepalign.diagnosis.spread import interval
from jepalign.linear_models.forecast import Forecast, LastLayer, RunSettings, forecast

HORIZON = 10.0  # times 1/η, where the number of steps left is not known: what nothing holds has fallen to e⁻¹⁰
ALIVE = 0.01  # of the largest variance: what counts as alive where nothing can be forecast
# An explicit step covers a few units of time over the largest curvature: evaluations of the flow, and multiplications of all of them.
EVALUATIONS, WORK = 50_000, 3e11


@dataclass(frozen=True, eq=False)
class Outlook:
    """The surviving rank and how it was told; the mean of the embedding is not counted.

    Attributes
    ----------
    rank : int
        Surviving dimensions.
    low, high : int
        95 % interval from the sampling of rows, for features that stay as they are.
    words : str
        How it was told.
    static : int
        By thresholds and basins of single modes.
    flow : Forecast or None
        The integrated flow.
    """

    rank: int
    low: int
    high: int
    words: str
    static: int
    flow: Forecast | None


def outlook(evidence: Evidence, table: ModeTable, settings: Settings, rates: FlowRates, step: int | None) -> Outlook:
    """Return the surviving rank of a record."""
    if rates.decay is None:
        size = table.values.embedding
        alive = [i for i in table.counted(State.UNKNOWN) if size[i] > ALIVE * size[table.counted(State.UNKNOWN)[0]]]
        words = f"dimensions with more than {ALIVE:g} of the largest variance now"
        return Outlook(len(alive), len(alive), len(alive), words, len(alive), None)
    static = len(table.counted(*HELD))
    drawn = _drawn(table, rates)
    low, high = (int(np.round(part)) for part in interval(drawn))
    found = _flow(evidence, settings, rates, step)
    if found is None or found.rank is None:
        rested = "every dimension with s > η/α, if the run is at rest"
        words = rested if table.basis is Basis.REST else "thresholds and basins of single modes (4.3)"
        if table.basis is Basis.FEATURES:
            words += (
                ", as the flow was not integrated: it lacks a predictor, or its fastest mode asks for too many steps"
            )
        return Outlook(static, min(low, static), max(high, static), words, static, found)
    moved = found.moving_rank
    rank = max((found.rank if moved is None else moved) - len(table.counted(State.MEAN)), 0)
    features = "features that stay" if moved is None else f"features that {len(evidence.below)} layers below move"
    words = f"the measured last layer's flow, integrated over {found.time:.3g} of flow time with {features}"
    words += f"; alive is an eigenvalue of its second moment above {found.floor:.2g}"
    shift = rank - static
    width = len(table.states)
    return Outlook(rank, max(min(low + shift, rank), 0), min(max(high + shift, rank), width), words, static, found)


def _drawn(table: ModeTable, rates: FlowRates) -> np.ndarray:
    """Return the static rank of each replicate: dimensions on the other side of their threshold change theirs."""
    if not math.isfinite(rates.rest_rate):
        return np.zeros(len(table.drawn.margin))
    candidates = table.counted(*HELD, State.LOST, State.BELOW, State.UNSETTLED)
    if table.basis is Basis.REST:
        if not rates.decay:
            return np.full(len(table.drawn.margin), len(table.counted(*HELD)))
        alive = rates.rest_rate * table.drawn.embedding[:, candidates] > rates.decay
        return alive.sum(axis=1)
    alive = table.drawn.margin[:, candidates] > 1
    # Below its edge a dimension falls whichever side of the threshold it is on.
    below = np.isin(candidates, table.counted(State.BELOW))
    return (alive & ~below).sum(axis=1)


def _flow(evidence: Evidence, settings: Settings, rates: FlowRates, step: int | None) -> Forecast | None:
    if evidence.encoder is None or evidence.features is None or evidence.predictor_source is PredictorSource.OPTIMAL:
        return None
    if rates.decay is None:
        return None
    lagging = settings.ema_momentum is not None and rates.ema_rate is not None
    if settings.steps is not None and step is not None and rates.step is not None:
        time = max(settings.steps - step, 0) * rates.step
    elif rates.decay:
        time = HORIZON / rates.decay
    else:
        return None
    views = evidence.features.views(mean=settings.bias)
    width, height = evidence.encoder.shape
    # At rest p is near ρ and αw² near p²: the curvature σ(p² + αw²) is at most about 2σ.
    fastest = max(2 * float(np.linalg.eigvalsh(views.context)[-1]), rates.ema_rate or 0.0)
    evaluations = 4 * time * fastest
    products = width * height * (width + height) + 4 * len(evidence.below) * height**3
    if not evaluations <= EVALUATIONS or evaluations * products > WORK:
        return None
    layer = LastLayer(
        views,
        evidence.encoder,
        evidence.predictor,
        evidence.target_encoder if lagging else None,
        evidence.below,
    )
    run = RunSettings(
        weight_decay=rates.decay,
        predictor_rate=rates.predictor_rate,
        ema_rate=rates.ema_rate if lagging else None,
        predictor_decay=rates.predictor_decay,
    )
    return forecast(layer, run, time)
