"""The reference integrator: any flow of named matrices, by SciPy, with a result that says how it ended."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate, real

Array = NDArray[np.float64]
State = Mapping[str, Array]
Field = Callable[[State], State]

METHODS = ("DOP853", "LSODA")
# Beyond this a state is taken to have diverged; the cubes in the fields still fit into float64.
LARGEST = 1e90
# An integration that fails after growing by this factor has diverged in finite time; otherwise the field is singular.
GROWTH = 1e8


class Status(Enum):
    """How an integration ended."""

    FINISHED = "reached the last time"
    DIVERGED = "the state grew without bound or the field stopped being finite"
    STEP_LIMIT = "the field became singular (the step shrank to rounding) or the evaluations ran out"


@dataclass(frozen=True)
class Law:
    """A quantity q of the state that decays as e^{−rt}: conserved if r = 0.

    Attributes
    ----------
    quantity : callable
        From a state to an array.
    decay : float
        r.
    """

    quantity: Callable[[State], Array]
    decay: float = 0.0


@dataclass(frozen=True, eq=False)
class Path:
    """The solution of a flow.

    Attributes
    ----------
    times : ndarray of shape (T,)
        The times asked for, in gradient-flow time; cut before the first that was not reached.
    states : mapping of str to ndarray of shape (T, ...)
        Each part of the state at these times, all of it finite.
    status : Status
        How the integration ended.
    method : str
        Which closed form, or which integrator with which tolerances.
    drift : mapping of str to float
        For each law of the flow, how far its quantity strayed from it: the largest entry of |q(t) − e^{−rt}q(0)|.
    evaluations : int
        How often the field was evaluated; 0 for a closed form.
    departures : mapping of str to float
        How far data and start are from the assumptions of the closed form that was used or came nearest: relative, 0 where one holds.
    """

    times: Array
    states: Mapping[str, Array]
    status: Status
    method: str
    drift: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluations: int = 0
    departures: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", MappingProxyType(dict(self.states)))
        object.__setattr__(self, "drift", MappingProxyType(dict(self.drift)))
        object.__setattr__(self, "departures", MappingProxyType(dict(self.departures)))

    def __reduce__(self) -> tuple[type["Path"], tuple[Any, ...]]:
        # Read-only views of dictionaries cannot be pickled or copied; the dictionaries can.
        states, drift, departures = dict(self.states), dict(self.drift), dict(self.departures)
        return type(self), (self.times, states, self.status, self.method, drift, self.evaluations, departures)

    @property
    def encoder(self) -> Array:
        """W at the times, (T, k, d)."""
        return self._part("encoder")

    @property
    def predictor(self) -> Array:
        """P at the times, (T, k, k)."""
        return self._part("predictor")

    @property
    def target(self) -> Array:
        """The target encoder V at the times, (T, k, d)."""
        return self._part("target")

    def _part(self, name: str) -> Array:
        if name not in self.states:
            raise AttributeError(f"this flow has no {name}: its parts are {', '.join(self.states)}")
        return self.states[name]


class _StoppedError(Exception):
    """Ends an integration from inside the field."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.value)


def integrate(
    field: Field,
    start: Mapping[str, ArrayLike],
    times: ArrayLike,
    *,
    method: str = "DOP853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
    conserved: Mapping[str, Law] | None = None,
    max_evaluations: int = 200_000,
) -> Path:
    """Integrate an autonomous flow from time 0 and return its states at ``times``.

    Every time is the end of a step, not a value interpolated inside one.

    Parameters
    ----------
    field : callable
        From a state, a mapping of names to arrays, to its time derivative with the same names and shapes.
    start : mapping of str to array_like
        The state at time 0.
    times : array_like of shape (T,)
        Increasing, the first at least 0.
    method : {"DOP853", "LSODA"}
        Explicit Runge–Kutta of order 8 (Hairer, Nørsett & Wanner 1993), or LSODA (Petzold 1983), which switches between
        Adams and BDF formulas and serves stiff flows.
    rtol, atol : float
        Bounds of the local error of a step, relative and absolute; rtol at least 100 units of rounding.
    conserved : mapping of str to Law, optional
        Laws whose drift the result reports.
    max_evaluations : int
        How often the field may be evaluated before giving up.

    Returns
    -------
    Path
        Its status says whether the last time was reached; if not, times and states end with the last that was.

    Raises
    ------
    InputError
        If the times are not increasing from at least 0, the start is not finite, or the method or a tolerance is
        refused.
    """
    ends = increasing_times(times)
    if method not in METHODS:
        raise InputError("method", repr(method), f"must be one of {', '.join(METHODS)}")
    if not 100 * np.finfo(float).eps <= rtol < 1:
        raise InputError("rtol", rtol, "must be at least 100 units of rounding, 2.2e-14, and below 1")
    rate("atol", atol, positive=True)
    parts = {name: real(name, value) for name, value in start.items()}
    layout = _Layout.of(parts)
    evaluations = 0

    def derivative(_: float, flat: Array) -> Array:
        nonlocal evaluations
        evaluations += 1
        if evaluations > max_evaluations:
            raise _StoppedError(Status.STEP_LIMIT)
        if np.isfinite(flat).all() and np.abs(flat).max(initial=0.0) < LARGEST:
            try:
                found = layout.flat(field(layout.parts(flat)))
            except np.linalg.LinAlgError:
                found = np.full_like(flat, np.nan)
        else:
            found = np.full_like(flat, np.nan)
        if method == "LSODA" and not np.isfinite(found).all():
            # Its error test lets NaN pass; DOP853 retries with a smaller step.
            raise _StoppedError(Status.DIVERGED)
        return found

    flat, now = layout.flat(parts), 0.0
    reached: list[Array] = []
    status = Status.FINISHED
    largest = max(1.0, np.abs(flat).max(initial=0.0))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lsoda", category=UserWarning)  # the status says it
        for end in ends:
            if end > now:
                try:
                    if not np.isfinite(derivative(now, flat)).all():
                        # Nothing to choose a step by; SciPy would look for one forever.
                        raise _StoppedError(Status.DIVERGED)
                    done = solve_ivp(derivative, (now, end), flat, method=method, rtol=rtol, atol=atol)
                except _StoppedError as stop:
                    status = stop.status
                    break
                flat = done.y[:, -1]
                if done.status != 0 or not np.isfinite(flat).all():
                    grown = not np.isfinite(flat).all() or np.abs(flat).max() > GROWTH * largest
                    status = Status.DIVERGED if grown else Status.STEP_LIMIT
                    break
                now = float(end)
            reached.append(flat)
    states = layout.stacked(np.array(reached).reshape(len(reached), flat.size))
    kept = ends[: len(reached)]
    return Path(
        times=kept,
        states=states,
        status=status,
        method=f"{method}, rtol {rtol:g}, atol {atol:g}",
        drift=drifts(conserved or {}, parts, kept, states),
        evaluations=evaluations,
    )


def increasing_times(times: ArrayLike, *, infinite: bool = False) -> Array:
    """Return ``times`` as an array (T,), or raise ``InputError`` unless they increase from at least 0, to ∞ if ``infinite``."""
    values = np.asarray(times)
    if infinite and values.dtype.kind == "f" and values.ndim == 1 and values.size and values[-1] == np.inf:
        values = np.append(real("times", values[:-1]), np.inf)
    else:
        values = real("times", times)
    if values.ndim != 1 or values.size == 0:
        raise InputError("times", f"array of shape {values.shape}", "must be a sequence of at least one time")
    if values[0] < 0:
        raise InputError("times", values[0], "must be at least 0, the time of the start")
    if (np.diff(values) <= 0).any():
        index = int(np.argmax(np.diff(values) <= 0))
        raise InputError("times", f"{values[index]} before {values[index + 1]}", "must increase")
    return values


def drifts(laws: Mapping[str, Law], start: State, times: Array, states: State) -> dict[str, float]:
    """Return, for each law, the largest entry of |q(t) − e^{−rt}q(0)| along a path."""
    found: dict[str, float] = {}
    for name, law in laws.items():
        initial = law.quantity(start)
        worst = 0.0
        for index, time in enumerate(times):
            value = law.quantity({part: values[index] for part, values in states.items()})
            left = np.exp(-law.decay * time) if law.decay else 1.0  # also at ∞
            worst = max(worst, float(np.abs(value - left * initial).max()))
        found[name] = worst
    return found


@dataclass(frozen=True)
class _Layout:
    """How named arrays lie in one vector."""

    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, parts: State) -> "_Layout":
        return cls({name: value.shape for name, value in parts.items()})

    def flat(self, parts: State) -> Array:
        return np.concatenate([np.ravel(parts[name]) for name in self.shapes])

    def parts(self, flat: Array) -> dict[str, Array]:
        return {name: value[0] for name, value in self.stacked(flat[None]).items()}

    def stacked(self, rows: Array) -> dict[str, Array]:
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        pieces = np.split(rows, np.cumsum(sizes)[:-1], axis=1) if rows.size else [rows] * len(sizes)
        named = zip(self.shapes.items(), pieces, strict=True)
        return {name: piece.reshape(len(rows), *shape) for (name, shape), piece in named}
