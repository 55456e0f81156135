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
from jepalign.linear_models.trajectories.lambert import ratio, root_of_twice, share

Array = NDArray[np.float64]

_HUGE = 1e290  # a time λ²t/σ beyond which only 1/t is left of a mode that dies


def _above(clock: Array, equilibrium: Array, start: Array) -> Array:
    """Return w for a start between 0 and the equilibrium, v > 1: u = v−1 has u + ln u = u₀ + ln u₀ − T. ``clock`` is used up."""
    weight = share(np.subtract(start, clock, out=clock))
    weight *= equilibrium
    return weight


def _below(clock: Array, equilibrium: Array, start: Array) -> Array:
    """Return w for v < 1, on either side of 0: −ln(1−v) − v = z²/2 grows by T. ``clock`` is used up."""
    z, size = clock, np.abs(start)
    if size.min(initial=1) > 1e-140 and size.max(initial=1) < 1e140:
        z += start * start / 2
        z *= 2
        np.sqrt(z, out=z)
    else:
        z *= 2
        np.hypot(start, np.sqrt(z, out=z), out=z)
    np.copysign(z, start, out=z)
    np.minimum(z, 64.0, out=z)  # v = 1 long before
    weight = ratio(z)
    weight *= z
    return np.divide(equilibrium, weight, out=weight)


def _neutral(times: Array, weight: Array, repulsion: Array) -> Array:
    """Return w for λ = 0: w₀/√(1 + 2ασw₀²t)."""
    return weight / np.hypot(1, weight * repulsion * np.sqrt(times))


def _mode(
    times: Array, weight: Array, equilibrium: Array, rate: Array, start: Array, side: Array, repulsion: Array
) -> tuple[Array]:
    given = times, weight, equilibrium, rate, start, side, repulsion
    clock = np.empty(np.broadcast_shapes(*(value.shape for value in given)))
    np.multiply(rate, times, out=clock)
    slowest, latest = float(rate.min()) * float(times.min()), float(rate.max()) * float(times.max())
    dying = (clock > _HUGE) & (start < 0) & (side == -1) if latest > _HUGE else None
    still = (times == 0) | (weight == 0) if not (times.all() and weight.all()) else None
    if slowest == 0 and not clock.all():
        still = (clock == 0) & (rate != 0) | (times == 0) | (weight == 0)
    alike = side.min() == side.max()
    if alike and side.flat[0] == 1:
        result = _above(clock, equilibrium, start)
    elif alike and side.flat[0] == -1:
        result = _below(clock, equilibrium, start)
    else:
        weight, times, equilibrium, rate, start, side, repulsion, clock = np.broadcast_arrays(
            weight, times, equilibrium, rate, start, side, repulsion, clock
        )
        result = np.empty(clock.shape)
        select(side == 1, _above, result, clock, equilibrium, start)
        select(side == -1, _below, result, clock, equilibrium, start)
        select(side == 0, _neutral, result, times, weight, repulsion)
    if dying is not None:
        np.copyto(result, -(equilibrium / rate) / times, where=dying)
    if still is not None:
        np.copyto(result, weight, where=still)
    return (result,)


def undecayed(times: Array, weight: Array, cross: Array, variance: Array, predictor_rate: Array) -> Array:
    """Return w(t) of the balanced mode without weight decay, for checked arguments that broadcast."""
    with np.errstate(all="ignore"):
        speed = np.sqrt(predictor_rate)
        equilibrium = cross / variance / speed
        v = equilibrium / weight
        above = (v > 1) & (cross != 0) & (weight != 0)
        excess = (equilibrium - weight) / weight
        if above.all():
            side, start = np.ones_like(v), excess + np.log(excess)
        else:
            v = np.where(weight == 0, 0.5, v)
            side = np.where(cross == 0, 0.0, np.where(above, 1.0, -1.0)) + 0 * weight
            excess = np.where(above, excess, 1.0)
            start = np.where(above, excess + np.log(excess), root_of_twice(np.where(above | (v > 1), 0.5, v)))
        rate = cross / variance * cross
        repulsion = speed * np.sqrt(2 * variance)
    return blockwise(_mode, 1, times, weight, equilibrium, rate, start, side, repulsion)[0]


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
    Cost: a table look-up and one or two elementary functions an element for η = 0, a few steps of Newton's or Halley's method
    for η > 0.
    """
    t, w, a, s = moments(times), weights("weight", weight), cross_covariances(cross), variances(variance)
    rate, decay = rates("predictor_rate", predictor_rate, zero=False), rates("weight_decay", weight_decay, zero=True)
    common_shape(times=t, weight=w, cross=a, variance=s, predictor_rate=rate, weight_decay=decay)
    if not decay.any():
        return undecayed(t, w, a, s, rate + decay)
    if decay.all():
        return decayed(t, w, a, s, rate, decay)
    with_decay = decayed(t, w, a, s, rate, np.where(decay == 0, 1.0, decay))
    return np.where(decay == 0, undecayed(t, w, a, s, rate), with_decay)
