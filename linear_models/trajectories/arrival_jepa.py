"""The time at which a JEPA's mode reaches a level: balanced with any weight decay, or unbalanced without (5.1 to 5.3).

Time is a sum of logarithms of distances from the rests. Where they would cancel, each is split into its argument and a remainder that
is positive; the arguments are put together by hand, and what is left is a sum of positive terms.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.exact import difference_of_products, distances
from jepalign.linear_models.modal import common_shape, cross_covariances, rates, variances, weights
from jepalign.linear_models.trajectories.lambert import quadratic_remainder

Array = NDArray[np.float64]

_SERIES = 29  # terms, for Y up to a quarter
_FAR = 1e-140  # of rest/weight: the rests do not matter, and squares would underflow
_FAINT = 1e-130  # of encoder/predictor, as in `unbalanced_jepa`
_STILL, _ABOVE, _BELOW_NOUGHT, _BETWEEN, _DYING, _BEYOND = range(6)


def _slope(x: Array) -> Array:
    """Return ln(1+x)/x, 1 at 0."""
    fine = np.abs(x) > 1e-290
    safe = np.where(fine, x, 1.0)
    return np.where(fine, np.log1p(safe) / safe, 1.0)


def _outer(a: Array, b: Array, h0: Array, gain: Array, base: Array, log: Array) -> Array:
    """Return E(h) − E(h₀) of `cubic`, 0 < ah < 1, h = h₀ + gain, as a sum of positive terms.

    ``base`` is 1−ah₀ and ``log`` the logarithm of (1−ah)/(1−ah₀), to their last digits.
    """
    p, q = gain / base, gain / (1 + b * h0)
    near = a * p < 0.5
    first = np.where(near, p * (a * p * quadratic_remainder(np.where(near, -a * p, 0.0))), -log / a - p)
    return p * (h0 / (1 + b * h0)) + first + q * (b * q * quadratic_remainder(b * q))


def _inner(a: Array, b: Array, gain: Array, start: Array, now: Array, log: Array) -> Array:
    """Return the time of `cubic.inner` from e^ζ = start to e^ζ = now, both terms positive.

    now is start·(1 + a·gain), and ``log`` the logarithm of now/start.
    """
    x = a * gain
    first = np.where(x < -0.5, log / a, gain * _slope(np.maximum(x, -0.5)))
    inverse, foot = 1 / start, 1 + b * start
    share = a * gain / (inverse + b)
    y = b * share
    # A start too close to the saddle for floating point has an infinite e^ζ.
    far = np.where(inverse > 0, np.log((1 + b * now) / foot), log + np.log((1 / now + b) / b))
    return -first - np.where(y < -0.5, far / b, share * _slope(np.maximum(y, -0.5)))


def _bottleneck(start: Array, stop: Array, gain: Array, cosine: Array, sine: Array) -> Array:
    """Return J(stop) − J(start) of `bottleneck`, stop = start · (1 + gain), without cancellation."""
    versine = np.where(cosine > 0, sine * sine / (1 + np.abs(cosine)), 1 - cosine)
    cotangent = cosine / np.where(sine == 0, 1e-300, sine)

    def quadratic(y: Array) -> Array:
        return (1 - y) ** 2 + 2 * versine * y

    def root(y: Array) -> Array:
        """Return √(2J): up to a quarter by J = Σ UₙYⁿ⁺²/(n+2), U the Chebyshev polynomials of the second kind."""
        near = np.minimum(y, 0.25)
        before, now, total = np.zeros_like(y), np.ones_like(y), np.zeros_like(y)
        for n in range(_SERIES):
            total = total + 2 / (n + 2) * now
            before, now = now * near * near, (2 * cosine * now * near) - before
        middle = np.maximum(y, 0.25)
        angle = np.arctan2(sine * middle, (1 - middle) + versine * middle)
        return np.where(y < 0.25, near * np.sqrt(total), np.sqrt(np.log(quadratic(middle)) + 2 * cotangent * angle))

    first, last = root(np.minimum(start, 0.5)), root(np.minimum(stop, 0.5))
    # From a half on, in the inverses.
    i, j = 1 / np.maximum(start, 0.5), 1 / np.maximum(stop, 0.5)
    angle = np.arctan2(sine * (i - j), (1 - i) * (1 - j) + versine * (i + j))
    gain = np.where(start < 0.5, np.maximum(2 * stop - 1, 0.0), gain)
    late = np.log1p(gain) + np.log(quadratic(j) / quadratic(i)) / 2 + cotangent * angle
    return (last - first) * (last + first) / 2 + late


def _alone(level: Array, weight: Array, repulsion: Array) -> Array:
    """Return the time of ẇ = −repulsion · w³."""
    root = np.sqrt(2 * repulsion)
    return ((weight - level) / weight / level / root) * ((1 / level + 1 / weight) / root)


def _undecayed(level: Array, weight: Array, cross: Array, variance: Array, rate: Array) -> Array:
    """Return the time without weight decay; v = rest/w has v̇ = −(λ²/σ)(v − 1)/v."""
    rest = cross / variance / np.sqrt(rate)
    v0, v = rest / weight, rest / level
    moved = (weight - level) / weight * v  # v − v₀
    rising = -moved + np.log1p(-moved / ((rest - level) / level))
    d = moved / ((weight - rest) / weight)  # over 1 − v₀
    log = np.log((level - rest) / (weight - rest) * (weight / level))
    left = np.where(d < 0.5, d * (d * quadratic_remainder(np.where(d < 0.5, -d, 0.0))), -log - d)
    clock = np.where(v0 > 1, rising, d * v0 + left)
    found = clock / (cross / variance * cross)
    found = np.where((cross == 0) | (np.abs(v) < _FAR), _alone(level, weight, rate * variance), found)
    end = np.where(v0 > 0, rest, 0.0)
    reached = np.where(v0 > 1, (level - weight) * (end - level) > 0, (weight - level) / weight > 0) & (weight != rest)
    reached &= (level / weight > 0) & ((v0 > 1) | (v0 <= 0) | (np.abs(level) > np.abs(rest)))
    return np.where(reached, found, np.inf)


def _decayed(level: Array, weight: Array, cross: Array, variance: Array, rate: Array, decay: Array) -> Array:
    """Return the time with weight decay η > 0; names as in `decayed`."""
    speed = np.sqrt(rate)
    sign = np.where(cross < 0, -1.0, 1.0)
    size = np.abs(cross)
    discriminant = difference_of_products(size, size, 4 * decay, variance)
    real = (discriminant >= 0) & (cross != 0)
    root = np.sqrt(np.where(real, discriminant, 0.0))
    double = size + root
    top = np.where(cross == 0, 1.0, double / (2 * variance))
    mu, nu = 2 * decay / np.where(cross == 0, 1.0, double) / top, 2 * root / double

    def placed(w: Array) -> tuple[Array, Array, Array, NDArray[np.intp]]:
        """Return r, r − μ, r − 1 and the side of a weight."""
        r = sign * speed * w / top
        to_saddle, to_top = distances(sign * w, rate, size, variance, decay, root, discriminant)
        sides = [w == 0, ~real, r < 0, to_saddle < 0, (to_saddle > 0) & (to_top < 0), to_top > 0]
        kinds = [_STILL, _BEYOND, _BELOW_NOUGHT, _DYING, _BETWEEN, _ABOVE]
        return r, to_saddle / top, to_top / top, np.select(sides, kinds, _STILL)

    r0, saddle0, top0, kind = placed(weight)
    r, saddle, to_top, goal = placed(level)
    swapped = (kind == _BELOW_NOUGHT) | (kind == _DYING)
    a, b = np.where(swapped, mu, nu), np.where(swapped, nu, mu)
    h0, h = 1 / np.abs(saddle0), 1 / np.abs(saddle)
    change = sign * speed * (weight - level) / top
    change = np.where(swapped, -change, change)  # of the distance from the saddle, that lost since the start
    end0, end = np.where(swapped, -r0, top0), np.where(swapped, -r, to_top)
    log = np.log((end / end0) * (saddle0 / saddle))  # of (1−ah)/(1−ah₀)
    rest = variance * top * top
    outside = _outer(a, b, h0, change * h * h0, end0 * h0, log) / rest
    outside = np.where(h < _FAR, _alone(level, weight, rate * variance), outside)
    end0, end = np.abs(end0), np.abs(end)
    inside = _inner(a, b, change * h / end0, end0 * h0, end * h, log) / rest
    geometric = np.sqrt(decay * variance)
    side = np.where(weight * sign < 0, -1.0, 1.0)
    sine = np.sqrt(np.maximum(-discriminant, 0)) / (2 * geometric)
    natural = np.sqrt(decay / variance) / speed
    y0 = natural / np.abs(weight)
    beyond = _bottleneck(y0, natural / np.abs(level), (weight - level) / level, side * size / (2 * geometric), sine)
    beyond = np.where(natural / np.abs(level) < _FAR, _alone(level, weight, rate * variance), beyond / decay)
    found = np.select([kind == _BEYOND, (kind == _BETWEEN) | (kind == _DYING)], [beyond, inside], outside)
    up = kind == _BETWEEN
    toward = np.where(up, np.abs(level) > np.abs(weight), np.abs(level) < np.abs(weight))
    return np.where((kind == goal) & (kind != _STILL) & (level / weight > 0) & toward, found, np.inf)


def balanced_jepa_time(
    level: ArrayLike,
    weight: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    predictor_rate: ArrayLike = 1.0,
    weight_decay: ArrayLike = 0.0,
) -> Array:
    """Return the time at which `balanced_jepa` reaches a level.

    Parameters
    ----------
    level : array_like
        The weight to be reached, of either sign: 0 or between 1e-150 and 1e150 in size.
    weight, cross, variance, predictor_rate, weight_decay : array_like
        w₀, λ, σ, α and η as for `balanced_jepa`.

    Returns
    -------
    ndarray
        Raw gradient-flow time, of the shape the arguments broadcast to: 0 at the start, ∞ where the level is never reached, as is
        an equilibrium from anywhere else.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    The flow is that of Tian, Chen & Ganguli 2021; the time is ours. Cost: some ten logarithms an element with weight decay, two
    without.
    """
    goal, w = weights("level", level), weights("weight", weight)
    lam, sig = cross_covariances(cross), variances(variance)
    rate, decay = rates("predictor_rate", predictor_rate, zero=False), rates("weight_decay", weight_decay, zero=True)
    common_shape(level=goal, weight=w, cross=lam, variance=sig, predictor_rate=rate, weight_decay=decay)
    goal, w, lam, sig, rate, decay = np.broadcast_arrays(goal, w, lam, sig, rate, decay)
    with np.errstate(all="ignore"):
        moving = (goal != w) & (goal != 0) & (w != 0)
        result = np.where(goal == w, 0.0, np.inf)
        for where, formula, more in (
            (moving & (decay == 0), _undecayed, ()),
            (moving & (decay != 0), _decayed, (decay,)),
        ):
            if where.any():
                given = (goal, w, lam, sig, rate, *more)
                result[where] = np.maximum(formula(*(value[where] for value in given)), 0.0)
    return result


def _between_rests(
    q: Array, p: Array, q0: Array, p0: Array, change: Array, end: Array, radius: Array, variance: Array
) -> Array:
    """Return the time from p₀ to p = p₀ + change for c ≥ 0, q = √α|w|, e ≥ 0; names as in `unbalanced_jepa`."""
    below = p0 < 0
    size0, size = np.abs(p0), np.abs(p)
    near0, near = q0 * (q0 / (size0 + radius)), q * (q / (size + radius))  # |p| − √c
    close = (np.abs(end - p0) < size0 / 8) & (near0 < size0 / 8)
    gap = np.where(close, (end - p0) + near0, end - radius)
    free = gap >= 0
    span = np.where(free, end, radius) + radius
    middle0 = np.where(below, size0 + np.minimum(end, radius), np.where(free, near0, p0 - end))
    middle = np.where(below, size + np.minimum(end, radius), np.where(free, near, p - end))
    log_near = 2 * np.log(q / q0) + np.log((size0 + radius) / (size + radius))
    to_end = ~below & free  # else the encoder dies
    top0, top = np.where(to_end, p0 - end, near0), np.where(to_end, p - end, near)
    log_middle = np.where(to_end, log_near, np.log(middle / middle0))
    log = np.where(to_end, np.log(np.abs(top / top0)), log_near) - log_middle
    a, b = np.abs(gap) / span, (radius + np.minimum(end, radius)) / span
    a, b = np.where(below, b, a), np.where(below, a, b)
    lost = np.where(below, change, -change)  # of the distance from the middle
    rate = variance * span * span
    h0, h = span / middle0, span / middle
    outside = _outer(a, b, h0, lost / middle * h0, top0 / middle0, log) / rate
    outside = np.where(h < _FAR, np.abs(_alone(p, p0, variance)), outside)
    start, now = np.abs(top0) / middle0, np.abs(top) / middle
    # a·gain·start is (p₀ − p) span a/(middle₀ middle), and top₀ is its distance times the middle's.
    inside = _inner(a, b, lost / middle * (span / np.abs(top0)), start, now, log) / rate
    return np.where(to_end & (p0 < end), inside, outside)


def _round(q: Array, p: Array, q0: Array, p0: Array, end: Array, radius: Array, variance: Array) -> Array:
    """Return the time from p₀ to p for c = −radius² < 0: close to 0 by the clock ∫dp/(p² − c), elsewhere by `_bottleneck`."""
    square = np.hypot(end, radius)
    rate = variance * square * square
    sine = radius / square

    def apart(x: Array, y: Array, change: Array) -> Array:
        """Return the time from p₀ = x to p = y = x + change, both on one side of e."""
        cosine = np.where(x > end, -1.0, 1.0) * end / square
        far0, far = np.abs(x - end), np.abs(y - end)
        found = _bottleneck(square / far0, square / far, np.abs(change) / far, cosine, sine) / rate
        return np.where(square / far < _FAR, np.abs(_alone(far, far0, variance)), found)

    # p rises through [−e/4, e/2] only there.
    first, last = np.clip(p0, -end / 4, end / 2), np.clip(p, -end / 4, end / 2)
    below = apart(np.minimum(p0, -end / 4), np.minimum(p, -end / 4), np.minimum(p, -end / 4) - np.minimum(p0, -end / 4))
    from_half, to_half = np.maximum(p0, end / 2), np.maximum(p, end / 2)
    above = apart(from_half, to_half, to_half - from_half)
    change = last - first
    q_first, q_last = np.where(first == p0, q0, np.hypot(first, radius)), np.where(last == p, q, np.hypot(last, radius))
    scale = np.maximum(radius, np.maximum(np.abs(first), np.abs(last)))
    leg = radius / scale
    angle = np.arctan2(leg * (change / scale), leg * leg + (last / scale) * (first / scale)) / radius
    grown = np.log1p(change * ((first + last) / (q_first + q_last)) / q_first)
    clock = (end * angle - np.log1p(-change / (end - first)) + grown) / rate
    return np.where(p0 > end, apart(p0, p, p - p0), below + np.where(change == 0, 0.0, clock) + above)


def _unbalanced(level: Array, weight: Array, predictor: Array, cross: Array, variance: Array, rate: Array) -> Array:
    """Return the time of a mode with c ≠ 0 and weights of one sign, 0 excluded."""
    speed = np.sqrt(rate)
    # λ = 0 leaves the sign free: p₀ > 0 then, so that p never rises to an end of 0.
    sign = np.where((cross < 0) | ((cross == 0) & (predictor < 0)), -1.0, 1.0)
    end = np.abs(cross) / variance
    q0, q, p0 = speed * np.abs(weight), speed * np.abs(level), sign * predictor
    size = np.abs(p0)
    radius = np.sqrt(np.abs(size - q0)) * np.sqrt(size + q0)
    real = size > q0
    # |p| at the level: p² = p₀² + α(ℓ² − w₀²).
    largest = np.maximum(np.maximum(q, q0), size)
    x, x0, y0 = q / largest, q0 / largest, size / largest
    gained = speed * (np.abs(level) - np.abs(weight)) / largest * (x + x0)
    square = np.where(
        real, 1.0, np.where(gained < 0, difference_of_products(y0, y0, -gained, np.ones_like(x)), y0 * y0 + gained)
    )
    there = np.where(real, np.hypot(q, radius), largest * np.sqrt(np.maximum(square, 0.0)))
    rises = p0 < end
    # The first of ±|p| on the way.
    p = np.where(rises & ((p0 < -there) | (p0 < 0) & real), -there, there)
    change = np.where(p * p0 > 0, gained * largest / ((p + p0) / largest), p - p0)
    ahead = np.where(rises, (change > 0) & (p < end), (change < 0) & (p > end))  # p may be p₀, rounded
    ahead &= (p0 != end) & (square >= 0)
    ahead &= ~real | (np.sign(p0) == np.sign(p))
    bounded = np.where(real, _between_rests(q, p, q0, p0, change, end, radius, variance), np.inf)
    found = np.where(real, bounded, _round(q, p, q0, p0, end, radius, variance))
    # An encoder this small leaves the predictor alone.
    faint = real & (np.maximum(q, q0) < _FAINT * size)
    growth = p0 * (np.abs(cross) - variance * p0)
    linear = np.log(level / weight) / growth
    return np.where(faint, np.where(linear > 0, linear, np.inf), np.where(ahead, found, np.inf))


def unbalanced_jepa_time(
    level: ArrayLike,
    weight: ArrayLike,
    predictor: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    predictor_rate: ArrayLike = 1.0,
) -> Array:
    """Return the time at which the encoder's weight in `unbalanced_jepa` first reaches a level.

    Parameters
    ----------
    level : array_like
        The encoder's weight to be reached, of either sign: 0 or between 1e-150 and 1e150 in size.
    weight, predictor, cross, variance, predictor_rate : array_like
        w₀, p₀, λ, σ and α as for `unbalanced_jepa`.

    Returns
    -------
    ndarray
        Raw gradient-flow time, of the shape the arguments broadcast to: 0 at the start, ∞ where the level is never reached.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Where the predictor starts with the wrong sign and the encoder is the larger, the encoder shrinks until the predictor is 0 and
    then grows: a level below the start is passed twice. By the conserved p² − αw² of Tian, Chen & Ganguli 2021; the time is ours.
    """
    goal, w, p = weights("level", level), weights("weight", weight), weights("predictor", predictor)
    lam, sig = cross_covariances(cross), variances(variance)
    rate = rates("predictor_rate", predictor_rate, zero=False)
    common_shape(level=goal, weight=w, predictor=p, cross=lam, variance=sig, predictor_rate=rate)
    goal, w, p, lam, sig, rate = np.broadcast_arrays(goal, w, p, lam, sig, rate)
    with np.errstate(all="ignore"):
        moving = (goal != w) & (goal != 0) & (w != 0) & ((goal > 0) == (w > 0))
        level_start = np.sqrt(rate) * np.abs(w) == np.abs(p)
        result = np.where(goal == w, 0.0, np.inf)
        one = moving & ~level_start
        if one.any():
            found = _unbalanced(*(value[one] for value in (goal, w, p, lam, sig, rate)))
            result[one] = np.where(np.isnan(found), np.inf, np.maximum(found, 0.0))
        two = moving & level_start
        if two.any():
            turn = np.where(p * w < 0, -1.0, 1.0)[two]
            result[two] = np.maximum(_undecayed(goal[two] * turn, w[two] * turn, lam[two], sig[two], rate[two]), 0.0)
    return result
