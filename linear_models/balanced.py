"""The balanced mode of a JEPA without weight decay, ẇ = √α λw² − ασw³, solved by inverse functions (5.1)."""

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.lambert import ratio, root_of_twice
from jepalign.linear_models.modal import elementwise, select
from jepalign.linear_models.wright import wright

Array = NDArray[np.float64]

_HUGE = 1e290  # a time λ²t/σ beyond which only 1/t is left of a mode that dies


def _above(clock: Array, equilibrium: Array, start: Array) -> Array:
    """Return w for a start between 0 and the equilibrium, v > 1: u = v−1 has u + ln u = u₀ + ln u₀ − T."""
    return equilibrium / (1 + wright(start - clock))


def _below(clock: Array, equilibrium: Array, start: Array, times: Array, rate: Array) -> Array:
    """Return w for v < 1, on either side of 0: −ln(1−v) − v = z²/2 grows by T."""
    z = np.copysign(np.hypot(start, np.sqrt(2 * clock)), start)
    z = np.minimum(z, 64.0)  # v = 1 long before
    weight = equilibrium / z / ratio(z)
    dying = (clock > _HUGE) & (start < 0)
    if dying.any():
        weight[dying] = -(equilibrium[dying] / rate[dying]) / times[dying]
    return weight


def _neutral(times: Array, weight: Array, repulsion: Array) -> Array:
    """Return w for λ = 0: w₀/√(1 + 2ασw₀²t)."""
    return weight / np.hypot(1, weight * repulsion * np.sqrt(times))


def _mode(
    times: Array, weight: Array, equilibrium: Array, rate: Array, start: Array, side: Array, repulsion: Array
) -> tuple[Array]:
    clock = rate * times
    result = np.empty_like(times)
    select(side == 1, _above, result, clock, equilibrium, start)
    select(side == -1, _below, result, clock, equilibrium, start, times, rate)
    select(side == 0, _neutral, result, times, weight, repulsion)
    still = (clock == 0) & (rate != 0) | (times == 0) | (weight == 0)
    if still.any():
        result[still] = weight[still]
    return (result,)


def undecayed(times: Array, weight: Array, cross: Array, variance: Array, predictor_rate: Array) -> Array:
    """Return w(t) of the balanced mode without weight decay, for checked arguments that broadcast."""
    with np.errstate(all="ignore"):
        speed = np.sqrt(predictor_rate)
        equilibrium = cross / variance / speed
        v = np.where(weight == 0, 0.5, equilibrium / np.where(weight == 0, 1.0, weight))
        excess = (equilibrium - weight) / weight
        above = v > 1
        side = np.where(cross == 0, 0.0, np.where(above, 1.0, -1.0)) + 0 * weight
        excess = np.where(above, excess, 1.0)
        start = np.where(above, excess + np.log(excess), root_of_twice(np.where(above, 0.5, v)))
        rate = cross / variance * cross
        repulsion = speed * np.sqrt(2 * variance)
    return elementwise(_mode, 1, times, weight, equilibrium, rate, start, side, repulsion)[0]
