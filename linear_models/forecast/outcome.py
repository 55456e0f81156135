"""The forecast of collapse: which dimensions of an embedding survive to the end of a run, told from a moment of it (4.3)."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.checks import rate
from jepalign.linear_models.collapse.rescue import hybrid_equilibria
from jepalign.linear_models.collapse.thresholds import critical_weight_decay, equilibria
from jepalign.linear_models.flow import Status
from jepalign.linear_models.forecast.flow import solve
from jepalign.linear_models.forecast.layer import LastLayer, LayerModes
from jepalign.linear_models.forecast.settings import RunSettings

Array = NDArray[np.float64]

# A dimension is alive while its eigenvalue is above this share of the largest one at the moment of the forecast.
ALIVE = 1e-3


class ModeState(StrEnum):
    """Where a mode stands under the static theory of single, balanced modes (4.3)."""

    SURVIVING = "surviving"  # η < η_c, and p ≥ λ/(2σ): it would survive under any decay below η_c
    ABOVE = "bistable, above its basin edge"  # η < η_c and p₋ < p < λ/(2σ): survives, but for the decay that there is
    BELOW = "bistable, below its basin edge"  # η < η_c and p ≤ p₋: it can survive, and falls back to 0 from where it is
    LOST = "lost"  # η ≥ η_c


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is told of the end of a run. Eigenvalues are those of the embedding's second moment, not centred, descending.

    Attributes
    ----------
    layer : LastLayer
        The measurement.
    settings : RunSettings
        The constants.
    time : float
        T, the flow time that was left.
    floor : float
        The eigenvalue above which a dimension is alive.
    modes : LayerModes
        λ, σ, direction, w and p of every mode of the features, (h,), by η_c.
    critical, margin : ndarray of shape (h,)
        η_c = λ²/(4σ) and η_c/η; infinite without decay.
    state : tuple of ModeState, of length h
        Each mode's place, read along it at (|p| on the side of λ + √α w)/2, the part of (w, p) that imbalance does not feed. Exact for
        aligned, balanced modes with V = W and without an explicit term; elsewhere the flow decides.
    now : ndarray of shape (k,)
        Eigenvalues now.
    static : ndarray of shape (k,)
        At rest, σp₊²/α of the strongest modes with η < η_c and 0 for the others: where they start is not asked. With an explicit term its
        largest stable rests (4.6).
    flow : ndarray of shape (k,)
        At the end, by integrating the measured last layer's flow on features that stay; NaN if that did not reach the end.
    moving : ndarray of shape (k,) or None
        The same with features moved by the layers below (``layer.below``), each taken for a linear one, or for an affine one where
        the rates of biases are known too (``layer.biases``); None if nothing is known of them.
    status : Status
        How the integrations ended: if they differ, the worse.
    """

    layer: LastLayer
    settings: RunSettings
    time: float
    floor: float
    modes: LayerModes
    critical: Array
    margin: Array
    state: tuple[ModeState, ...]
    now: Array
    static: Array
    flow: Array
    moving: Array | None
    status: Status

    @property
    def rank_now(self) -> int:
        """How many dimensions are alive now."""
        return int((self.now > self.floor).sum())

    @property
    def static_rank(self) -> int:
        """How many modes the static threshold lets survive, at most k."""
        return int((self.static > 0).sum())

    @property
    def rank(self) -> int | None:
        """How many dimensions are alive at the end by the measured flow on features that stay; None if it did not reach the end."""
        return self._alive(self.flow)

    @property
    def moving_rank(self) -> int | None:
        """The same with features that move; None if nothing is known of the layers below either."""
        return None if self.moving is None else self._alive(self.moving)

    def _alive(self, values: Array) -> int | None:
        return None if np.isnan(values).any() else int((values > self.floor).sum())


def forecast(
    layer: LastLayer, settings: RunSettings, time: float, *, floor: float | None = None, evaluations: int = 200_000
) -> Forecast:
    """Tell the end of a run from a moment of it, statically and by integrating the measured flow.

    Features that stay are a fiction in a deep network: they move, and weight decay on the layers below shrinks them, so that the static
    threshold and the flow on features that stay count too many early in a training. With the rates of the layers below a third forecast
    lets them move (``jepalign simulate forecast`` says how much better it is).

    Parameters
    ----------
    layer : LastLayer
        Measured now.
    settings : RunSettings
        Constants of the run, in flow time; see :meth:`RunSettings.from_descent`, also for what AdamW's are.
    time : float
        T ≥ 0, the flow time left: the remaining steps' learning rates, summed.
    floor : float, optional
        The eigenvalue above which a dimension counts as alive; None: 1e-3 of the largest one now.
    evaluations : int
        Of the velocity in each integration, at most; one that needs more does not reach the end.

    Raises
    ------
    InputError
        If the time or floor is negative or not finite.

    Notes
    -----
    The flow is Tian, Chen & Ganguli's (2021) on measured moments; its use as a forecast and the moving features are ours. Cost of a time
    unit is O(kh²), with m layers below O(mh³), a few times the largest curvature.
    """
    rate("time", time)
    modes = layer.modes()
    critical = critical_weight_decay(modes.cross, modes.variance)
    now = layer.eigenvalues()
    least = ALIVE * float(now[0]) if floor is None else rate("floor", floor)
    flow, status = _end(layer, settings, time, evaluations, moving=False)
    moving = None
    if layer.below:
        moving, other = _end(layer, settings, time, evaluations, moving=True)
        status = other if status is Status.FINISHED else status
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.where(settings.weight_decay > 0, critical / settings.weight_decay, np.inf)
    return Forecast(
        layer=layer,
        settings=settings,
        time=float(time),
        floor=least,
        modes=modes,
        critical=critical,
        margin=margin,
        state=mode_states(modes, settings),
        now=now,
        static=static_eigenvalues(modes, settings, layer.width),
        flow=flow,
        moving=moving,
        status=status,
    )


def _end(
    layer: LastLayer, settings: RunSettings, time: float, evaluations: int, *, moving: bool
) -> tuple[Array, Status]:
    found = solve(layer, settings, [time], moving=moving, evaluations=evaluations)
    if found.status is not Status.FINISHED:
        return np.full(layer.width, np.nan), found.status
    encoder = found.encoder[-1]
    if encoder.shape[1] == layer.views.dimension:
        return LastLayer(layer.views, encoder, found.predictor[-1]).eigenvalues(), found.status
    moment = encoder @ layer.with_constant()[0] @ encoder.T
    return np.maximum(np.linalg.eigvalsh((moment + moment.T) / 2)[::-1], 0.0), found.status


def static_eigenvalues(modes: LayerModes, settings: RunSettings, width: int) -> Array:
    """Return the eigenvalues σw² of the ``width`` strongest modes where they can rest above 0, and 0 for the others, descending."""
    cross, variance = modes.cross[:width], modes.variance[:width]
    eta, alpha = settings.weight_decay, settings.predictor_rate
    if settings.uniformity is not None and settings.strength and eta > 0:
        rests = hybrid_equilibria(
            cross, variance, eta, uniformity=settings.uniformity, strength=settings.strength, predictor_rate=alpha
        )
        weight = np.where(rests.stable.filled(False), rests.weight.filled(0.0), 0.0).max(axis=-1)
    else:
        # The predictor's own decay moves the weight at rest, not the predictor's, nor the threshold: αw²η = p²η_P.
        unequal = settings.decay_of_predictor / eta if eta > 0 else 1.0
        weight = equilibria(cross, variance, eta, predictor_rate=alpha).filled(0.0)[..., 2] * np.sqrt(unequal)
    found = np.zeros(width)
    found[: len(cross)] = variance * weight**2
    return np.sort(found)[::-1]


def mode_states(modes: LayerModes, settings: RunSettings) -> tuple[ModeState, ...]:
    """Return every mode's state from its λ, σ, w and p; see :class:`Forecast`."""
    eta, alpha = settings.weight_decay, settings.predictor_rate
    rests = equilibria(modes.cross, modes.variance, eta)  # of the predictor: α = 1
    alive = ~np.ma.getmaskarray(rests)[:, 2] & (critical_weight_decay(modes.cross, modes.variance) > eta)
    edge = np.abs(rests.filled(0.0)[:, 1])
    middle = np.abs(modes.cross) / (2 * modes.variance)
    place = (np.sign(modes.cross) * modes.predictor + np.sqrt(alpha) * modes.weight) / 2
    states = np.select(
        [~alive, place <= edge, place < middle],
        [ModeState.LOST, ModeState.BELOW, ModeState.ABOVE],
        ModeState.SURVIVING,
    )
    return tuple(ModeState(state) for state in states)
