"""The balanced mode of a JEPA; without weight decay, ẇ = √α λw² − ασw³, by inverse functions (5.1)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.modal import (
    common_shape,
    cross_covariances,
    moments,
    rates,
    select,
    variances,
    weights,
)
from jepalign.linear_models.trajectories.blocks import blockwise
from jepalign.linear_models.trajectories.decayed import decayed
from jepalign.linear_models.trajectories.lambert import ARRIVED, ratio, root_of_twice, share

Array = NDArray[np.float64]

_HUGE = 1e290  # a time λ²t/σ beyond which only 1/t is left of a mode that dies


def _clock(times: Array, rate: Array, start: Array) -> tuple[Array, NDArray[np.bool_] | None]:
    """Return rate · t in the shape of the result, and where it is 0: nothing has moved there."""
    if rate.size == start.size:
        clock = rate * times
    else:  # modes that differ by their start alone
        clock = np.multiply(rate, times, out=np.empty(np.broadcast(rate, times, start).shape))
    return clock, None if clock.all() else clock == 0


def _above(clock: Array, equilibrium: Array, start: Array) -> Array:
    """Return w for a start between 0 and the equilibrium, v > 1: u = v−1 has u + ln u = u₀ + ln u₀ − T. ``clock`` is used up."""
    weight = share(np.subtract(start, clock, out=clock))
    weight *= equilibrium
    return weight


def _below(clock: Array, equilibrium: Array, start: Array) -> Array:
    """Return w for v < 1, on either side of 0: −ln(1−v) − v = z²/2 grows by T. ``clock`` is used up."""
    z, least, greatest = clock, start.min(initial=1), start.max(initial=-1)
    z *= 2
    if least > -1e140 and greatest < 1e140 and np.abs(start).min(initial=1) > 1e-140:
        z += start * start
        np.sqrt(z, out=z)
    else:
        np.hypot(start, np.sqrt(z, out=z), out=z)
    if least < 0:
        z *= np.copysign(1.0, start)
    if greatest > 0:
        np.minimum(z, ARRIVED, out=z)
    weight = ratio(z)
    weight *= z
    return np.divide(equilibrium, weight, out=weight)


def _neutral(times: Array, weight: Array, repulsion: Array) -> Array:
    """Return w for λ = 0: w₀/√(1 + 2ασw₀²t)."""
    return weight / np.hypot(1, weight * repulsion * np.sqrt(times))


def _rising(times: Array, weight: Array, equilibrium: Array, rate: Array, start: Array) -> tuple[Array]:
    clock, still = _clock(times, rate, start)
    result = _above(clock, equilibrium, start)
    if still is not None:
        np.copyto(result, weight, where=still)
    return (result,)


def _falling(times: Array, weight: Array, equilibrium: Array, rate: Array, start: Array) -> tuple[Array]:
    clock, still = _clock(times, rate, start)
    late = float(rate.max()) * float(times.max()) > _HUGE
    dying = (clock > _HUGE) & (start < 0) if late else None
    result = _below(clock, equilibrium, start)
    if dying is not None:
        np.copyto(result, -(equilibrium / rate) / times, where=dying)
    if still is not None:
        np.copyto(result, weight, where=still)
    return (result,)


def _mixed(
    times: Array, weight: Array, equilibrium: Array, rate: Array, start: Array, side: Array, repulsion: Array
) -> tuple[Array]:
    given = times, weight, equilibrium, rate, start
    for kind, alike in ((1, _rising), (-1, _falling)):
        if side.size and (side == kind).all() and weight.all():
            return alike(*given)
    times, weight, equilibrium, rate, start, side, repulsion = np.broadcast_arrays(*given, side, repulsion)
    clock, result = rate * times, np.empty(times.shape)
    dying = (clock > _HUGE) & (start < 0) & (side == -1)
    still = (clock == 0) & (rate != 0) | (times == 0) | (weight == 0)
    select(side == 1, _above, result, clock, equilibrium, start)
    select(side == -1, _below, result, clock, equilibrium, start)
    select(side == 0, _neutral, result, times, weight, repulsion)
    np.copyto(result, -(equilibrium / rate) / times, where=dying)
    np.copyto(result, weight, where=still)
    return (result,)


def undecayed(times: Array, weight: Array, cross: Array, variance: Array, predictor_rate: Array) -> Array:
    """Return w(t) of the balanced mode without weight decay, for checked arguments that broadcast."""
    with np.errstate(all="ignore"):  # what overflows or underflows in a branch not taken is overwritten
        speed = np.sqrt(predictor_rate)
        strength = cross / variance
        equilibrium = strength / speed
        excess = np.asarray((equilibrium - weight) / weight)  # v − 1
        rate = np.asarray(strength * cross)
        if excess.size and excess.min() > 0 and (weight.item() if weight.size == 1 else weight.all()):
            start = np.asarray(np.log(excess))
            start += excess
            return blockwise(_rising, 1, times, weight, equilibrium, rate, start)[0]
        v = equilibrium / weight
        above = (v > 1) & (cross != 0) & (weight != 0)
        v = np.where(weight == 0, 0.5, v)
        side = np.where(cross == 0, 0.0, np.where(above, 1.0, -1.0)) + 0 * weight
        excess = np.where(above, excess, 1.0)
        start = np.where(above, excess + np.log(excess), root_of_twice(np.where(above | (v > 1), 0.5, v)))
        repulsion = speed * np.sqrt(2 * variance)
        return blockwise(_mixed, 1, times, weight, equilibrium, rate, start, side, repulsion)[0]


def balanced_jepa(
    times: ArrayLike,
    weight: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    predictor_rate: ArrayLike = 1.0,
    weight_decay: ArrayLike = 0.0,
) -> Array:
    """Return the encoder's weight of a balanced mode of a JEPA, ẇ = p(λ − σp)w − ηw with p = √α w.

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖PWx − sg(Wy)‖²; ∞ gives the limit.
    weight : array_like
        w₀, the encoder's weight at time 0: 0 or between 1e-150 and 1e150 in size. Its sign is the predictor's.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    predictor_rate : array_like
        α, the predictor's learning rate relative to the encoder's, between 1e-30 and 1e30.
    weight_decay : array_like
        η, 0 or between 1e-30 and 1e30.

    Returns
    -------
    ndarray
        w(t), of the shape the arguments broadcast to.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    The flow is that of Tian, Chen & Ganguli 2021; its solution by the Wright function and both real branches of Lambert's W
    (η = 0), and by two logarithms (η > 0), is ours. A start at an equilibrium, as the given numbers have it exactly, stays.
    Cost: a table look-up and a square root at most an element for η = 0, a few steps of Halley's method for η > 0.
    """
    t, w, a, s = moments(times), weights("weight", weight), cross_covariances(cross), variances(variance)
    rate, decay = rates("predictor_rate", predictor_rate, zero=False), rates("weight_decay", weight_decay, zero=True)
    common_shape(times=t, weight=w, cross=a, variance=s, predictor_rate=rate, weight_decay=decay)
    if decay.ndim == 0 and not decay.item():
        return undecayed(t, w, a, s, rate)
    if not decay.any():
        return undecayed(t, w, a, s, rate + decay)  # the shape of decay belongs to the result's
    if decay.all():
        return decayed(t, w, a, s, rate, decay)
    with_decay = decayed(t, w, a, s, rate, np.where(decay == 0, 1.0, decay))
    return np.where(decay == 0, undecayed(t, w, a, s, rate), with_decay)
