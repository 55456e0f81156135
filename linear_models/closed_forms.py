"""Which solutions in closed form an objective has for given data, and how far the data are from what each of them assumes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.alignment import TOLERANCE, AlignedModes, aligned_modes
from jepalign.linear_models.conservation import balance
from jepalign.linear_models.dictionary import SpectralPredictor
from jepalign.linear_models.flow import Law, Path, State, Status, drifts, increasing_times
from jepalign.linear_models.trajectories import (
    balanced_jepa,
    ema_without_predictor_matrices,
    optimal_predictor_direction,
    power_predictor,
    unbalanced_jepa,
)
from jepalign.linear_models.trajectories.logistic import logistic_square
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


class JEPA(Protocol):
    """What a closed form needs to know of a :class:`jepalign.linear_models.jepa.LinearJEPA`."""

    @property
    def views(self) -> ViewPair: ...  # noqa: D102
    @property
    def predictor_rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def ema_rate(self) -> float | None: ...  # noqa: D102
    @property
    def predictor(self) -> SpectralPredictor | None: ...  # noqa: D102
    @property
    def force(self) -> Literal["byol", "residual"]: ...  # noqa: D102
    @property
    def leak(self) -> float: ...  # noqa: D102
    @property
    def learnt(self) -> bool: ...  # noqa: D102
    @property
    def lagging(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A solution in closed form, with what it assumes of the data.

    Attributes
    ----------
    name : str
        In words, with the number of the result.
    departures : mapping of str to float
        For each assumption, how far views and start are from it, relative; 0 if it holds.
    states : callable
        From times (T,), the last possibly ∞, to the parts of the state, (T, ...) each.
    """

    name: str
    departures: Mapping[str, float]
    states: Callable[[Array], dict[str, Array]]

    @property
    def holds(self) -> bool:
        """Whether the data fulfil all assumptions up to rounding."""
        return all(value <= TOLERANCE for value in self.departures.values())

    @property
    def broken(self) -> str:
        """The assumptions that do not hold, in words with their measures."""
        return ", ".join(f"{name} (off by {value:.2g})" for name, value in self.departures.items() if value > TOLERANCE)


def solve(
    forms: Iterable[ClosedForm],
    integrator: Callable[[str], Path],
    times: ArrayLike,
    *,
    start: State,
    method: str,
    laws: Mapping[str, Law] | None = None,
) -> Path:
    """Return the path by the first closed form that holds or, if none does, by integration.

    Parameters
    ----------
    forms : iterable of ClosedForm
        The strongest first.
    integrator : callable
        From the name of an integrator to a path.
    times : array_like of shape (T,)
        Increasing, the first at least 0; the last may be ∞ for a closed form.
    start : mapping of str to ndarray
        The parts of the state at time 0.
    method : str
        "auto", "closed" or the name of an integrator.
    laws : mapping of str to Law, optional
        Whose drift the path reports.

    Raises
    ------
    InputError
        If the times are not increasing, or ``method`` is "closed" and no closed form holds.
    """
    nearest: ClosedForm | None = None
    ends = increasing_times(times, infinite=True)
    if method not in ("auto", "closed"):
        return integrator(method)
    for form in forms:
        if nearest is None or max(form.departures.values(), default=0) < max(nearest.departures.values(), default=0):
            nearest = form
        if not form.holds:
            continue
        try:
            states = form.states(ends)
        except InputError:
            continue  # outside the range over which the closed form is accurate
        if all(np.isfinite(value).all() for value in states.values()):
            if ends[0] == 0:
                for part, value in start.items():
                    states[part][0] = value  # exactly
            drift = drifts(laws or {}, start, ends, states)
            name = f"closed form: {form.name}"
            return Path(ends, states, Status.FINISHED, name, drift, departures=form.departures)
    if nearest is None:
        why = "no closed form is known"
    else:
        why = f"{nearest.name} would need {nearest.broken or 'weights and rates in range'}"
    if method == "closed":
        raise InputError("method", "'closed'", f"needs data that fulfil its assumptions: {why}")
    path = integrator("DOP853")
    departures = {} if nearest is None else nearest.departures
    return replace(path, method=f"{path.method} ({why})", departures=departures)


def decay(times: Array, rate: float) -> Array:
    """Return e^{−ηt}, (T,), which is 1 for η = 0 also at ∞."""
    return np.exp(-rate * times) if rate > 0 else np.ones_like(times)


def logistic_modes(
    views: ViewPair,
    encoder: Array,
    growth: Callable[[Array, Array], Array],
    root: Callable[[Array, Array], Array],
    name: str,
) -> ClosedForm:
    """Return the closed form of an encoder whose aligned modes obey ẇ = aw − b²w³, a and b ≥ 0 functions of λ and σ."""
    modes = aligned_modes(views, encoder)

    def states(times: Array) -> dict[str, Array]:
        a, b = growth(modes.cross, modes.variance), root(modes.cross, modes.variance)
        return {"encoder": modes.matrix(logistic_square(times[:, None], modes.weights["encoder"], a, b))}

    return ClosedForm(f"{name}, aligned modes", modes.departures, states)


def jepa_forms(jepa: JEPA, W: Array, P: Array, V: Array) -> Iterator[ClosedForm]:
    """Yield the closed forms of a JEPA from the state (W, P, V), the strongest first."""
    if jepa.leak:
        return
    if jepa.predictor is not None and jepa.predictor.name == "no-predictor":
        yield ClosedForm("linear flow without a predictor (5.7)", {}, lambda times: _linear(jepa, W, V, times))
    if jepa.lagging or (jepa.predictor is not None and jepa.predictor.name not in _POWERS):
        return
    modes = aligned_modes(jepa.views, W, P if jepa.learnt else None)
    if not jepa.learnt:
        yield from _determined(jepa, modes, W, P)
    elif jepa.force == "residual":
        if jepa.weight_decay == 0:
            yield ClosedForm(
                "residual force, aligned modes", modes.departures, lambda times: _residual(jepa, modes, times)
            )
    elif jepa.weight_decay == 0:
        yield ClosedForm("unbalanced modes (5.3)", modes.departures, lambda times: _unbalanced(jepa, modes, times))
    else:
        gap = balance(W, P, predictor_rate=jepa.predictor_rate)
        size = np.abs(W @ W.T).max() + np.abs(P.T @ P).max() / jepa.predictor_rate
        departures = {**modes.departures, "balance": float(np.abs(gap).max() / size) if size > 0 else 0.0}
        yield ClosedForm(
            "balanced modes with weight decay (5.2)", departures, lambda times: _balanced(jepa, modes, times)
        )


def _linear(jepa: JEPA, W: Array, V: Array, times: Array) -> dict[str, Array]:
    covariances = jepa.views.context, jepa.views.cross
    rate = jepa.ema_rate if jepa.lagging else None
    encoder, target = ema_without_predictor_matrices(
        times, W, V, *covariances, ema_rate=rate, weight_decay=jepa.weight_decay
    )
    return {"encoder": encoder} | ({"target": target} if jepa.lagging else {})


def _live(modes: AlignedModes) -> NDArray[np.bool_]:
    """Return which modes the data see: in the others, without variance, nothing pulls or pushes."""
    return modes.variance > len(modes.variance) * np.finfo(float).eps * max(modes.variance.max(initial=0.0), 1e-300)


def _parts(jepa: JEPA, modes: AlignedModes, times: Array, w: Array, p: Array) -> dict[str, Array]:
    faded = decay(times, jepa.weight_decay)[:, None]
    live = _live(modes)
    w = np.where(live, w, modes.weights["encoder"] * faded)
    p = np.where(live, p, modes.weights["predictor"] * faded)
    complement = modes.complement * faded[..., None]
    return {"encoder": modes.matrix(w), "predictor": modes.square(p) + complement}


def _unbalanced(jepa: JEPA, modes: AlignedModes, times: Array) -> dict[str, Array]:
    w, p = unbalanced_jepa(
        times[:, None],
        modes.weights["encoder"],
        modes.weights["predictor"],
        modes.cross,
        np.where(_live(modes), modes.variance, 1.0),
        predictor_rate=jepa.predictor_rate,
    )
    return _parts(jepa, modes, times, w, p)


def _balanced(jepa: JEPA, modes: AlignedModes, times: Array) -> dict[str, Array]:
    start, side = modes.weights["encoder"], np.sign(modes.weights["predictor"])
    # The closed form gives the encoder's weight the predictor's sign.
    found = balanced_jepa(
        times[:, None],
        start * side,
        modes.cross,
        np.where(_live(modes), modes.variance, 1.0),
        predictor_rate=jepa.predictor_rate,
        weight_decay=jepa.weight_decay,
    )
    return _parts(jepa, modes, times, found * side, np.sqrt(jepa.predictor_rate) * found)


def _residual(jepa: JEPA, modes: AlignedModes, times: Array) -> dict[str, Array]:
    """Ẇ = (λ − σp)w and ṗ = α(λ − σp)w² conserve p − αw²/2 = c, so that w² is logistic: ours."""
    alpha, w, p = jepa.predictor_rate, modes.weights["encoder"], modes.weights["predictor"]
    c = p - alpha * w * w / 2
    found = logistic_square(times[:, None], w, modes.cross - modes.variance * c, np.sqrt(alpha * modes.variance / 2))
    return _parts(jepa, modes, times, found, c + alpha * found * found / 2)


def _direction(jepa: JEPA, W: Array) -> ClosedForm:
    """Return Oja's flow of a single row of unit length in its own clock (5.8)."""
    size = float(np.linalg.norm(W))
    C = (jepa.views.cross + jepa.views.cross.T) / 2
    departures = {
        "identity variance": float(np.abs(jepa.views.context - np.eye(W.shape[1])).max()),
        "symmetry": float(np.abs(jepa.views.cross - C).max()),
        "unit length": abs(size - 1),
        "weight decay": jepa.weight_decay,
    }

    def states(times: Array) -> dict[str, Array]:
        return {"encoder": optimal_predictor_direction(times, W[0] / size, C)[:, None, :]}

    return ClosedForm("optimal predictor of one row (5.8)", departures, states)


def implicit_forms(
    views: ViewPair, W: Array, predictor: str, weight_decay: float, force: Literal["byol", "residual"] = "residual"
) -> Iterator[ClosedForm]:
    """Yield the closed form of a predictor that is a power of the embedding covariance (5.9), if the entry of this name is one."""
    if (exponent := _POWERS.get(predictor)) is None:
        return
    modes = aligned_modes(views, W)

    def states(times: Array) -> dict[str, Array]:
        live = _live(modes)
        start, variance = modes.weights["encoder"], np.where(live, modes.variance, 1.0)
        w = power_predictor(
            times[:, None], start, modes.cross, variance, exponent=exponent, weight_decay=weight_decay, force=force
        )
        return {"encoder": modes.matrix(np.where(live, w, start * decay(times, weight_decay)[:, None]))}

    yield ClosedForm(f"predictor Φ^{exponent:g}, aligned modes (5.9)", modes.departures, states)


# Entries of the dictionary that are a power of the embedding covariance.
_POWERS = {"spectral-contrastive": 1.0, "directpred": 0.5}


def _determined(jepa: JEPA, modes: AlignedModes, W: Array, P: Array) -> Iterator[ClosedForm]:
    if jepa.predictor is None:

        def faded(times: Array) -> dict[str, Array]:
            return {
                "encoder": W * decay(times, jepa.weight_decay)[:, None, None],
                "predictor": np.repeat(P[None], len(times), axis=0),
            }

        yield ClosedForm("optimal predictor, aligned modes, which stand still but for decay", modes.departures, faded)
        if len(W) == 1:
            yield _direction(jepa, W)
    else:
        yield from implicit_forms(jepa.views, W, jepa.predictor.name, jepa.weight_decay, jepa.force)
