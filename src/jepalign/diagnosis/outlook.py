"""How many dimensions are left at the end: by the flow of the measured last layer where it is known, by thresholds otherwise."""

import math
from dataclasses import dataclass

import numpy as np

from jepalign.diagnosis.evidence import Basis, Evidence, PredictorSource
from jepalign.diagnosis.modes import ALIVE as HELD
from jepalign.diagnosis.modes import ModeTable, State
from jepalign.diagnosis.precedents import Precedent, Way, between, precedent
from jepalign.diagnosis.settings import FlowRates, Settings
from jepalign.diagnosis.spread import interval
from jepalign.diagnosis.stored import Array
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
        95 % interval from the sampling of rows alone, for features that do what they are taken to.
    words : str
        How it was told.
    static : int
        By thresholds and basins of single modes.
    now : int or None
        Alive now by the measure of the flow; None if it was not integrated.
    staying : int or None
        By the flow on features that stay; None if it was not integrated.
    flow : Forecast or None
        The integrated flow.
    precedent : Precedent or None
        The interval by the errors that the method made in other trainings; None where no such errors are known.
    why_none : str
        Why there are none; empty otherwise.
    """

    rank: int
    low: int
    high: int
    words: str
    static: int
    now: int | None
    staying: int | None
    flow: Forecast | None
    precedent: Precedent | None
    why_none: str

    @property
    def by_flow(self) -> bool:
        """Whether the rank is that of the integrated flow."""
        return self.flow is not None and self.flow.rank is not None

    @property
    def moved(self) -> bool:
        """Whether features moved in it."""
        return self.by_flow and self.flow is not None and self.flow.moving_rank is not None

    @property
    def affine(self) -> bool:
        """Whether biases of the layers below moved their mean in it."""
        return self.moved and self.flow is not None and bool(self.flow.layer.biases)

    @property
    def told(self) -> Array | None:
        """Eigenvalues of the embedding's second moment at the end, descending, (k,); None if nothing was integrated."""
        if self.flow is None or not self.by_flow:
            return None
        return self.flow.moving if self.moved else self.flow.flow

    @property
    def intervals(self) -> str:
        """Both intervals in words, neither of which is in the other."""
        model = (
            f"the method's own errors are not known: {self.why_none}"
            if self.precedent is None
            else self.precedent.words
        )
        return f"95 % from the sampling of rows alone: {between(self.low, self.high)}; {model}"


def outlook(
    evidence: Evidence,
    table: ModeTable,
    settings: Settings,
    rates: FlowRates,
    step: int | None,
    why_not_below: str = "",
) -> Outlook:
    """Return the surviving rank of a record; ``why_not_below`` is what the recorder says on rates of layers below that are missing."""
    if rates.decay is None:
        size = table.values.embedding
        alive = [i for i in table.counted(State.UNKNOWN) if size[i] > ALIVE * size[table.counted(State.UNKNOWN)[0]]]
        words = f"dimensions with more than {ALIVE:g} of the largest variance now"
        return Outlook(
            len(alive), len(alive), len(alive), words, len(alive), None, None, None, None, "nothing is forecast"
        )
    static = len(table.counted(*HELD))
    drawn = _drawn(table, rates)
    low, high = (int(np.round(part)) for part in interval(drawn))
    found, stays = _flow(evidence, settings, rates, step)
    width = len(table.states)
    if found is None or found.rank is None:
        rested = "every dimension with s > η/α, if the run is at rest"
        words = rested if table.basis is Basis.REST else "thresholds and basins of single modes (4.3)"
        if table.basis is Basis.FEATURES:
            words += (
                ", as the flow was not integrated: it lacks a predictor, or its fastest mode asks for too many steps"
            )
        told, why = _precedent(static, width, "static", table, settings, rates, step)
        return Outlook(static, min(low, static), max(high, static), words, static, None, None, found, told, why)
    moved = found.moving_rank
    now, staying, rank = (
        max(each - len(table.counted(State.MEAN)), 0)
        for each in (found.rank_now, found.rank, found.rank if moved is None else moved)
    )
    count, biases = len(found.layer.below), bool(found.layer.biases)
    features = f"features that {_layers(count)} below move{'s' if count == 1 else ''}"
    if biases:
        features += f", taken for {'an affine one' if count == 1 else 'affine ones'}"
    if moved is None:
        features = f"features that stay, as {stays or why_not_below or 'rates of the layers below were not recorded'}"
        if evidence.below == ():
            features = "features that stay, as nothing below is trained"
    words = f"the measured last layer's flow, integrated over {found.time:.3g} of flow time"
    if _left(settings, rates, step) is None:
        words += f", {HORIZON:g}/η as the steps left are not known,"
    words += f" with {features}; alive is an eigenvalue of its second moment above {found.floor:.2g}"
    shift = rank - static
    # With nothing below that could move, features that stay are all there is to know.
    way: Way = "affine" if biases else "moving"
    if moved is None:
        way = "flow" if evidence.below != () else "moving"
    told, why = _precedent(rank, width, way, table, settings, rates, step)
    low, high = max(min(low + shift, rank), 0), min(max(high + shift, rank), width)
    return Outlook(rank, low, high, words, static, now, staying, found, told, why)


def _layers(count: int) -> str:
    return "the layer" if count == 1 else f"the {count} layers"


def _precedent(
    rank: int, width: int, way: Way, table: ModeTable, settings: Settings, rates: FlowRates, step: int | None
) -> tuple[Precedent | None, str]:
    """Return the interval by other trainings, or None and why these are not like this one."""
    if settings.optimizer == "adam":
        return None, "those that were measured are of gradient descent, not of Adam"
    if table.basis is not Basis.FEATURES:
        return None, "they were measured with the last layer and its inputs, which are not all here"
    if not rates.decay or not math.isfinite(rates.rest_rate):
        return None, "those that were measured decayed, encoder and predictor alike"
    fraction = None if settings.steps is None or step is None else step / settings.steps
    if fraction is not None and fraction >= 1:
        return None, "the run is over"
    found = precedent(rank, width, way, fraction)
    return found, "" if found else "the measurement of forecasts is not there"


def _left(settings: Settings, rates: FlowRates, step: int | None) -> float | None:
    """Return the flow time that is left, or None if that is not known."""
    if settings.steps is None or step is None or rates.step is None:
        return None
    return max(settings.steps - step, 0) * rates.step


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


def _flow(evidence: Evidence, settings: Settings, rates: FlowRates, step: int | None) -> tuple[Forecast | None, str]:
    """Return the integrated flow, and why features stay in it although the rates of layers below are known."""
    features = evidence.features
    if evidence.encoder is None or features is None or evidence.predictor_source is PredictorSource.OPTIMAL:
        return None, ""
    if rates.decay is None:
        return None, ""
    lagging = settings.ema_momentum is not None and rates.ema_rate is not None
    time = _left(settings, rates, step)
    if time is None:
        if not rates.decay:
            return None, ""
        time = HORIZON / rates.decay
    views = features.views(mean=settings.bias)
    width, height = evidence.encoder.shape
    # At rest p is near ρ and αw² near p²: the curvature σ(p² + αw²) is at most about 2σ.
    fastest = max(2 * float(np.linalg.eigvalsh(views.context)[-1]), rates.ema_rate or 0.0)
    evaluations = 4 * time * fastest
    alone, below, stays = width * height * (width + height), evidence.below or (), ""
    products = alone + 4 * len(below) * height**3
    if evaluations * products > WORK:
        products, below = alone, ()
        stays = f"moving them by {_layers(len(evidence.below or ()))} below asks for too many steps"
    if not evaluations <= EVALUATIONS or evaluations * products > WORK:
        return None, ""
    # Moments about the mean know nothing of what biases move.
    biases = (evidence.biases or ()) if below and not settings.bias else ()
    biases = biases if any(biases) else ()
    layer = LastLayer(
        views,
        evidence.encoder,
        evidence.predictor,
        evidence.target_encoder if lagging else None,
        below,
        biases,
        (features.context_mean, features.target_mean) if biases else None,
    )
    run = RunSettings(
        weight_decay=rates.decay,
        predictor_rate=rates.predictor_rate,
        ema_rate=rates.ema_rate if lagging else None,
        predictor_decay=rates.predictor_decay,
    )
    # Features that move may be stiffer than they are now.
    found = forecast(layer, run, time, evaluations=max(min(EVALUATIONS, int(WORK / products)), 100))
    if below and found.moving_rank is None:
        stays = f"moving them by {_layers(len(below))} below did not reach the end in {EVALUATIONS} steps at most"
    return found, stays
