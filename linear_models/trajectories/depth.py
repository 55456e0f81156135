"""Deep linear encoders (5.4): u̇ = uᵐ(λ − σuᵏ) for the weight u of every layer, w = u^L; m = 2L, k = 1 or, decoding, m = L, k = L+1.

In x = σuᵏ/|λ| and y = (u₀/u)ᵏ, with s = (m−1)/k, time is an integral of yˢ over 1 ∓ x that `outward` and `inward` give without
cancellation, as a sum of powers and Lerch's series. Newton's method inverts it in powers of y, where time is convex, and
close to the equilibrium in the logarithm of the distance, where it is monotone too.
"""

from collections.abc import Callable
from operator import index
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.modal import (
    WEIGHT,
    common_shape,
    cross_covariances,
    elementwise,
    masked,
    moments,
    sized,
    variances,
)
from jepalign.linear_models.trajectories.balanced import undecayed
from jepalign.linear_models.trajectories.lerch import lerch
from jepalign.linear_models.trajectories.logistic import logistic_square

Array = NDArray[np.float64]

_STEPS = 60
_LATE = 1e100  # beyond such clocks the start does not matter, only that the clock is late


class Powers(NamedTuple):
    """The exponents of u̇ = uᵐ(λ − σuᵏ), q = m − 1, and w = u^depth."""

    depth: int
    q: int
    k: int

    @property
    def s(self) -> float:
        """The power of y in time."""
        return self.q / self.k


def power(base: Array, numerator: int, denominator: int) -> Array:
    """Return base^(numerator/denominator), with the rounding of the exponent put back."""
    exponent = numerator / denominator
    high, low = float(exponent).as_integer_ratio()
    rest = (numerator * low - high * denominator) / (low * denominator)
    value = base**exponent
    return value if rest == 0 else np.where((base > 0) & (base < np.inf), value * (1 + rest * np.log(base)), value)


def outward(powers: Powers, x0: Array, drop: Array, gap0: Array, gap: Array) -> Array:
    """Return ∫ yˢ/(y − x₀) dy from y = e^drop to 1, for gap₀ = 1 − x₀ and gap = 1 − x₀/y; x₀ may be negative."""
    s, k = powers.s, powers.k
    count = powers.q if k == 1 else 1
    total, factor = np.zeros_like(drop), np.ones_like(drop)
    for j in range(count + 1):
        a = s - j if k > 1 else float(powers.q - j)
        total = total + factor * (-drop if a == 0 else -np.expm1(a * drop) / a)
        factor = factor * x0
    # Now factor = x₀^(count+1); the last exponent is −r.
    if k == 1:
        return total + factor / np.where(x0 == 0, 1.0, x0) * np.log(gap0 / gap)
    r = 1 - s
    rest = np.exp(-(1 + r) * drop) * lerch(1 + r, -np.log(gap)) - lerch(1 + r, -np.log(gap0))
    return total + factor * rest


def inward(powers: Powers, y_power: Array, log_gap0: Array, log_gap: Array) -> Array:
    """Return ∫ yˢ/(1 − y/x₀) dy from 1 to y, given y^{s+1} and ln(1 − 1/x₀), ln(1 − y/x₀); x₀ may be negative."""
    a = powers.s + 1
    return y_power * lerch(a, -log_gap) - lerch(a, -log_gap0)


def _clock(times: Array, weight: Array, variance: Array, k: int) -> Array:
    """Return kσw²t, which overflows only if it must."""
    root = weight * np.sqrt(k * variance) * np.sqrt(times)
    return root * root


def _rising(clock: Array, x0: Array, weight: Array, end: Array, powers: Powers) -> Array:
    """Return w from a start below the equilibrium, x₀ < 1."""
    s, depth, q, k = powers.s, powers.depth, powers.q, powers.k
    far = max(0.5, s / (1 + s))
    middle = np.maximum(x0, far)
    gap0 = 1 - x0
    drop_far = np.log(x0 / middle)
    needed = outward(powers, x0, drop_far, gap0, 1 - middle)
    low = np.exp(s * drop_far)
    near = clock < needed
    # Time is convex in Y = yˢ: Newton's method from below.
    y = np.clip(1 - s * gap0 * clock, low, 1.0)
    for _ in range(_STEPS):
        drop = np.log(y) / s
        gap = 1 - np.minimum(x0 * np.exp(-drop), far)
        step = (outward(powers, x0, drop, gap0, gap) - clock) * s * gap
        y = np.where(near, np.clip(y + step, low, 1.0), 1.0)
        if (np.abs(step) <= 1e-9 * y)[near].all():
            break
    early = weight * power(y, -depth, q)
    # From there on it is concave in ζ = ln(x/(1−x)).
    left = np.where(near, 0.0, np.minimum((clock - needed) / low, 800.0 * 3**s if s < 500 else 1e300))
    left = np.where(np.isnan(left), 0.0, left)
    gap_m = 1 - middle
    zeta = np.log(middle / gap_m)
    for _ in range(_STEPS):
        drop = np.log(middle) + np.log1p(np.exp(-zeta))
        gap = 1 / (1 + np.exp(zeta))
        step = (left - outward(powers, middle, drop, gap_m, gap)) * np.exp(-s * drop)
        zeta = np.minimum(zeta + step, 690.0)
        if (np.abs(step) <= 1e-9 * (1 + np.abs(zeta))).all():
            break
    drop = np.log(middle) + np.log1p(np.exp(-zeta))
    late = np.where(x0 >= far, weight * np.exp(-depth / k * drop), end * np.exp(-depth / k * np.log1p(np.exp(-zeta))))
    late = np.where(zeta > 40, end, late)
    return np.where(near, early, late)


def _falling(clock: Array, x0: Array, weight: Array, end: Array, powers: Powers) -> Array:
    """Return w from a start above the equilibrium, x₀ > 1; the clock is kσw₀²t."""
    s, depth, k = powers.s, powers.depth, powers.k
    far = max(0.5, s / (1 + s))
    v0 = 1 / x0
    middle = np.maximum(v0, far)
    log_gap0 = np.log1p(-v0)
    y_far = (middle / v0) ** (s + 1)
    needed = inward(powers, y_far, log_gap0, np.log1p(-middle))
    near = clock < needed
    y = np.where(near, np.minimum(1 + (s + 1) * (1 - v0) * clock, y_far), 1.0)
    for _ in range(_STEPS):
        log_gap = np.log1p(-np.minimum(v0 * y ** (1 / (s + 1)), far))
        step = (inward(powers, y, log_gap0, log_gap) - clock) * (s + 1) * np.exp(log_gap)
        y = np.where(near, np.clip(y - step, 1.0, y_far), 1.0)
        if (np.abs(step) <= 1e-9 * y)[near].all():
            break
    early = weight / np.sqrt(y)
    left = np.where(near, 0.0, np.minimum((clock - needed) / y_far, 1e300))
    log_gap_m = np.log1p(-middle)
    zeta = np.minimum(-log_gap_m + left * middle, 46.0)
    for _ in range(_STEPS):
        ratio = -np.expm1(-zeta) / middle
        step = (inward(powers, ratio ** (s + 1), log_gap_m, -zeta) - left) * middle / ratio**s
        zeta = np.clip(zeta - step, -log_gap_m, 46.0)
        if (np.abs(step) <= 1e-9 * zeta).all():
            break
    v = -np.expm1(-zeta)
    late = np.where(v0 >= far, weight * (middle / v) ** (depth / k), end * v ** (-depth / k))
    return np.where(near, early, np.where(zeta > 40, end, late))


def _dying(times: Array, weight: Array, attraction: Array, variance: Array, powers: Powers) -> Array:
    """Return w for λ < 0, which ends at 0."""
    s, depth, q, k = powers.s, powers.depth, powers.q, powers.k
    x_far = 0.5
    u0 = power(weight, 1, depth)
    x0 = variance / attraction * u0**k
    middle = np.minimum(1 / x_far, np.maximum(1 / x0, 1 / x_far))  # of v = 1/x
    v0 = 1 / x0
    inside = v0 < middle
    v = np.minimum(v0, middle)
    clock = _clock(times, weight, variance, k)
    log_gap0 = np.log1p(v)
    y_far = (middle / v) ** (s + 1)
    needed = np.where(inside, inward(powers, y_far, log_gap0, np.log1p(middle)), 0.0)
    near = inside & (clock < needed)
    y = np.where(near, np.clip(1 + (s + 1) * (1 + v) * clock, 1.0, y_far), 1.0)
    for _ in range(_STEPS):
        log_gap = np.log1p(np.minimum(v * y ** (1 / (s + 1)), middle))
        step = (inward(powers, y, log_gap0, log_gap) - clock) * (s + 1) * np.exp(log_gap)
        y = np.where(near, np.clip(y - step, 1.0, y_far), 1.0)
        if (np.abs(step) <= 1e-9 * y)[near].all():
            break
    early = weight / np.sqrt(y)
    # From x = ½ on, in the clock k|λ|u^q t of the start or of x = ½.
    x = np.minimum(x0, x_far)
    start = np.where(inside, power(x_far * attraction / variance, depth, k), weight)
    direct = k * attraction * power(weight, q, depth) * times
    left = np.where(inside, np.maximum(clock - needed, 0.0) / y_far / x_far, direct)
    late = left > _LATE
    # Long after, as if it had started at the clock 1e20.
    scale = 1e20 / (k * attraction)
    start = np.where(late, power(scale, depth, q) * power(times, -depth, q), start)
    x = np.where(late, variance / attraction * (power(scale, k, q) * power(times, -k, q)), x)
    left = np.where(late, 1e20, np.where(near, 0.0, left))
    z = 1 + s * (1 + x) * left
    for _ in range(_STEPS):
        drop = np.log(z) / s
        gap = 1 + x * np.exp(-drop)
        step = (-outward(powers, -x, drop, 1 + x, gap) - left) * s * gap
        z = np.maximum(z - step, 1.0)
        if (np.abs(step) <= 1e-9 * z).all():
            break
    return np.where(near, early, start * power(z, -depth, q))


def _formula(depth: int, q: int, k: int) -> Callable[..., tuple[Array]]:
    powers = Powers(depth, q, k)

    def mode(times: Array, weight: Array, cross: Array, variance: Array) -> tuple[Array]:
        attraction = np.abs(cross)
        end = power(attraction / variance, depth, k)
        result = weight / np.hypot(1, weight * np.sqrt(2 * depth * variance) * np.sqrt(times))  # λ = 0
        moving = (weight > 0) & (times > 0) & (times < np.inf) & (cross != 0)
        x0 = variance * power(np.where(moving, weight, 1.0), k, depth) / np.where(cross == 0, 1.0, attraction)

        def rising(t: Array, w: Array, a: Array, v: Array, x: Array, e: Array) -> tuple[Array]:
            return (_rising(k * (power(w, q, depth) * a) * t, x, w, e, powers),)

        def falling(t: Array, w: Array, a: Array, v: Array, x: Array, e: Array) -> tuple[Array]:
            # A start that is forgotten is replaced by a later one.
            clock = _clock(t, w, v, k)
            late = np.maximum(1e10 / np.sqrt(k * v) / np.sqrt(t), e * power(np.full_like(e, 2.0), depth, k))
            later = np.where((clock > _LATE) & (late < w), late, w)
            at = np.where(later == w, x, v * power(later, k, depth) / a)
            return (_falling(_clock(t, later, v, k), at, later, e, powers),)

        def dying(t: Array, w: Array, a: Array, v: Array, x: Array, e: Array) -> tuple[Array]:
            clock = _clock(t, w, v, k)
            late = np.maximum(1e10 / np.sqrt(k * v) / np.sqrt(t), e)
            later = np.where((clock > _LATE) & (late < w) & (x > 1), late, w)
            return (_dying(t, later, a, v, powers),)

        for where, formula in (
            (moving & (cross > 0) & (x0 < 1), rising),
            (moving & (cross > 0) & (x0 > 1), falling),
            (moving & (cross < 0), dying),
        ):
            (found,) = masked(where, formula, 1, times, weight, attraction, variance, x0, end)
            result = np.where(where, found, result)
        result = np.where((times == np.inf) & (cross != 0), np.where(cross > 0, end, 0.0), result)
        still = (times == 0) | (weight == 0) | ((cross > 0) & (x0 == 1) & (times < np.inf) & moving)
        return (np.where(still, weight, result),)

    return mode


def checked_depth(depth: SupportsIndex) -> int:
    """Return a depth as an integer at least 1, or raise ``InputError``."""
    try:
        number = index(depth)
    except TypeError as problem:
        raise InputError("depth", repr(depth), "must be an integer") from problem
    if number < 1:
        raise InputError("depth", number, "must be at least 1")
    return number


def _checked(times: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike) -> tuple[Array, ...]:
    t, w = moments(times), sized("weight", weight, WEIGHT, signed=False)
    a, s = cross_covariances(cross), variances(variance)
    common_shape(times=t, weight=w, cross=a, variance=s)
    return t, w, a, s


def deep_jepa(
    times: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike, *, depth: SupportsIndex
) -> Array:
    """Return the encoder's weight w = u^L of a balanced mode of a deep linear JEPA, u̇ = u^{2L}(λ − σu).

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖PWx − sg(Wy)‖², W the product of the layers; ∞ gives the limit.
    weight : array_like
        w₀ ≥ 0, the encoder's weight at time 0: 0 or between 1e-150 and 1e150. All layers and the predictor have its L-th root.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    depth : int
        L ≥ 1, the number of layers of the encoder.

    Returns
    -------
    ndarray
        w(t), of the shape the arguments broadcast to; ∞ or 0 where it leaves the range of floating point.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Littwin et al. 2024 have the flow, in L times this time; its solution at every depth is ours. The end is (λ/σ)^L.
    Cost: a few steps of Newton's method an element, of 2L exponentials each.
    """
    number = checked_depth(depth)
    t, w, a, s = _checked(times, weight, cross, variance)
    if number == 1:
        return undecayed(t, w, a, s, np.ones(()))
    return elementwise(_formula(number, 2 * number - 1, 1), 1, t, w, a, s)[0]


def masked_autoencoder(
    times: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike, *, depth: SupportsIndex
) -> Array:
    """Return the encoder's weight w = u^L of a balanced mode of a deep linear masked autoencoder, u̇ = u^L(λ − σu^{L+1}).

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖VWx − y‖², W the product of the layers; ∞ gives the limit.
    weight : array_like
        w₀ ≥ 0, the encoder's weight at time 0: 0 or between 1e-150 and 1e150. All layers and the decoder have its L-th root.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    depth : int
        L ≥ 1, the number of layers of the encoder.

    Returns
    -------
    ndarray
        w(t), of the shape the arguments broadcast to; 0 where it sinks below the range of floating point.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Littwin et al. 2024 have the flow, in L times this time; its solution by Lerch's series is ours. The end is (λ/σ)^{L/(L+1)}.
    Cost: a few steps of Newton's method an element, of one table look-up and a few exponentials each.
    """
    number = checked_depth(depth)
    t, w, a, s = _checked(times, weight, cross, variance)
    if number == 1:
        return logistic_square(t, w, a, np.sqrt(s))
    return elementwise(_formula(number, number - 1, number + 1), 1, t, w, a, s)[0]
