"""The balanced mode of a JEPA with weight decay, ṗ = p²(λ − σp) − ηp with p = √α w (5.2).

Let p₋ < p₊ be the equilibria beside 0, r = p/p₊, μ = p₋/p₊ and ν = 1−μ. With h = 1/(r − μ) the three logarithms of time are
two, E(h) = −ln|1−νh|/ν − ln|1+μh|/μ, which grows at the rate σp₊², and h → −h exchanges μ and ν. So two equations serve every
start, above p₊ and below 0 (`_outer`), and between p₋ and p₊ and between 0 and p₋ (`_inner`); the threshold is ν = 0 in both.
Beyond the threshold, where 0 is the only equilibrium, see `jepalign.linear_models.bottleneck`.
"""

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.bottleneck import through
from jepalign.linear_models.exact import difference_of_products, distances
from jepalign.linear_models.lambert import quadratic_remainder, ratio
from jepalign.linear_models.logistic import logistic_square
from jepalign.linear_models.modal import elementwise, select
from jepalign.linear_models.wright import wright

Array = NDArray[np.float64]

_ABOVE, _BELOW_NOUGHT, _BETWEEN, _DYING, _BEYOND, _STILL = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0
_STEPS = 40


def _slope(x: Array) -> Array:
    """Return ln(1+x)/x, 1 at 0."""
    fine = np.abs(x) > 1e-290
    safe = np.where(fine, x, 1.0)
    return np.where(fine, np.log1p(safe) / safe, 1.0)


def _arc(a: Array, s: Array) -> Array:
    """Return h = (1 − e^{−as})/a."""
    x = a * s
    fine = x > 1e-290
    safe = np.where(fine, x, 1.0)
    return s * np.where(fine, -np.expm1(-safe) / safe, 1.0)


def _height(a: Array, b: Array, h: Array, s: Array) -> Array:
    """Return √(2E)/h: E = s − ln(1+bh)/b, where it would cancel by the remainders of both logarithms."""
    x = a * h
    near = x < 0.5
    remainder = quadratic_remainder(np.where(near, -x, 0.0))
    first = np.where(near, a * remainder, (s - h) / (h * h))
    return np.sqrt(2 * (first + b * quadratic_remainder(b * h)))


def _outer(times: Array, rate: Array, a: Array, b: Array, start: Array) -> Array:
    """Return s = −ln(1−ah)/a, where 0 < ah < 1 and E(h) = ½start² + rate · t."""
    clock = np.minimum(rate * times, 1e300)
    z = np.hypot(start, np.sqrt(2 * clock))
    energy = z * z / 2
    # Between the solutions for b = 0 and b = 1.
    capped = np.minimum(z, 64.0)
    least, most = energy + capped * ratio(capped), z * ratio(-z)
    s = least + b * (most - least)
    for _ in range(_STEPS):
        h = _arc(a, s)
        root = h * _height(a, b, h, s)
        step = (z - root) * root * (1 + b * h) / h
        s = np.maximum(s + step, s / 8)
        if (np.abs(step) <= 1e-9 * s).all():
            break
    return s


def _grown(times: Array, rate: Array, a: Array, b: Array, h0: Array, base: Array) -> Array:
    """Return the increment δ of s when h₀ is near 1/a: δ − ln(1 + bg/(1+bh₀))/b = rate · t, g = h − h₀."""
    clock = np.minimum(rate * times, 1e300)
    step = delta = clock
    for _ in range(_STEPS):
        g = base * _arc(a, delta)
        share = g / (1 + b * h0)
        step = (delta - share * _slope(b * share) - clock) * (1 + b * (h0 + g)) / (h0 + g)
        delta = np.maximum(delta - step, clock)
        if (np.abs(step) <= 1e-9 * delta).all():
            break
    return delta


def _inner(times: Array, rate: Array, a: Array, b: Array, start: Array) -> Array:
    """Return δ = ζ − ζ₀ ≤ 0 for ah = 1 + e^ζ: the solution of ζ + (a/b) ln(1 + be^ζ) = ζ₀ + (a/b) ln(1 + be^ζ₀) − a · rate · t."""
    clock = a * np.minimum(rate * times, 1e300)
    log = np.log(start)
    level = log + a * start * _slope(b * start) - clock
    # The guess: Wright's function while be^ζ is small, else a straight line with its first correction.
    omega = wright(level + np.log(a))
    small = np.where(level + np.log(a) > 0, np.log(omega / a), level - omega)
    log_b = np.log(np.maximum(b, 1e-300))
    line = b * level - a * log_b
    large = line - a * np.log1p(np.exp(np.minimum(-line - log_b, 700)))
    delta = np.minimum(np.where(line + log_b > 0, large, small) - log, 0.0)
    delta = np.maximum(delta, -1e300)
    for _ in range(_STEPS):
        now = start * np.exp(delta)
        change = start * np.expm1(delta) / (1 + b * start)
        x = b * change
        logarithm = np.where(x < -0.5, np.log((1 + b * now) / (1 + b * start)) / x, _slope(np.maximum(x, -0.5)))
        residual = delta + a * change * logarithm + clock
        step = residual * (1 + b * now) / (1 + now)
        bend = a * now / ((1 + b * now) * (1 + now))
        step = step / np.maximum(1 - step * bend / 2, 0.25)
        delta = np.minimum(delta - step, 0.0)
        if (np.abs(step) <= 1e-6 * (1 + np.abs(delta))).all():
            break
    return delta


def _mode(
    times: Array, weight: Array, kind: Array, rate: Array, a: Array, b: Array,
    start: Array, h0: Array, base: Array, s0: Array, foot: Array, scale: Array,
) -> tuple[Array]:  # fmt: skip
    result = np.empty_like(times)
    outer = (kind == _ABOVE) | (kind == _BELOW_NOUGHT)
    if outer.any():
        late = outer & (a * s0 > 1)
        s = np.ones_like(times)
        delta = np.zeros_like(times)
        select(outer & ~late, _outer, s, times, rate, a, b, start)
        select(late, _grown, delta, times, rate, a, b, h0, base)
        h = np.where(late, h0 + base * _arc(a, delta), _arc(a, s))
        half = np.exp(-a * np.where(late, delta, s) / 2)
        dying = -scale * np.where(late, base, 1.0) * half / h * half
        result = np.where(kind == _ABOVE, foot + scale / h, dying)
    inner = (kind == _BETWEEN) | (kind == _DYING)
    if inner.any():
        delta = np.zeros_like(times)
        select(inner, _inner, delta, times, rate, a, b, start)
        half = np.exp(delta / 2)
        now = start * half * half
        dying = scale * a * start * half / (1 + now) * half
        result = np.where(inner, np.where(kind == _BETWEEN, foot + scale * a / (1 + now), dying), result)
    select(kind == _BEYOND, through, result, times, rate, a, b, start, scale)
    still = (times == 0) | (kind == _STILL)
    if still.any():
        result[still] = weight[still]
    ended = (times == np.inf) & (kind != _STILL)
    if ended.any():
        up = (kind == _ABOVE) | (kind == _BETWEEN)
        result[ended] = np.where(up, scale, 0.0)[ended]
    return (result,)


def decayed(times: Array, weight: Array, cross: Array, variance: Array, predictor_rate: Array, decay: Array) -> Array:
    """Return w(t) of the balanced mode with weight decay η > 0, for checked arguments that broadcast."""
    with np.errstate(all="ignore"):
        weight, cross, variance, predictor_rate, decay = np.broadcast_arrays(
            weight, cross, variance, predictor_rate, decay
        )
        speed = np.sqrt(predictor_rate)
        sign = np.where(cross < 0, -1.0, 1.0)
        attraction = np.abs(cross)
        discriminant = difference_of_products(attraction, attraction, 4 * decay, variance)
        real = (discriminant >= 0) & (cross != 0)
        root = np.sqrt(np.where(real, discriminant, 0.0))
        double = attraction + root
        top, saddle = double / (2 * variance), 2 * decay / double
        mu, nu = saddle / top, 2 * root / double
        to_saddle, to_top = distances(sign * weight, predictor_rate, attraction, variance, decay, root, discriminant)
        to_saddle, to_top = to_saddle / top, to_top / top  # r − μ, r − 1
        r = sign * speed * weight / top
        kind = np.select(
            [weight == 0, ~real, r < 0, to_saddle < 0, (to_saddle > 0) & (to_top < 0), to_top > 0],
            [_STILL, _BEYOND, _BELOW_NOUGHT, _DYING, _BETWEEN, _ABOVE],
            _STILL,
        )
        swapped = (kind == _BELOW_NOUGHT) | (kind == _DYING)
        a, b = np.where(swapped, mu, nu), np.where(swapped, nu, mu)
        h0 = 1 / np.abs(to_saddle)
        base = np.where(swapped, -r, to_top) * h0  # 1 − ah₀
        base = np.where((kind == _ABOVE) | (kind == _BELOW_NOUGHT), base, 0.5)
        x = np.minimum(a * h0, 0.75)
        s0 = np.where(a * h0 < 0.5, h0 * _slope(-x), -np.log(base) / np.maximum(a, 1e-300))
        outer = (kind == _ABOVE) | (kind == _BELOW_NOUGHT)
        start = np.where(outer, h0 * _height(a, b, h0, s0), np.where(swapped, r, -to_top) * h0)
        foot, scale = sign * saddle / speed, sign * top / speed
        # Beyond the threshold: `rate` is η, a = κ, b = √(1−κ²), and the start is 1/Y.
        beyond = kind == _BEYOND
        natural = np.sqrt(decay / variance)
        rate = np.where(beyond, decay, variance * top * top)
        geometric = np.sqrt(decay * variance)
        side = np.where(weight * sign < 0, -1.0, 1.0)
        a = np.where(beyond, side * attraction / (2 * geometric), a)
        b = np.where(beyond, np.sqrt(np.maximum(-discriminant, 0)) / (2 * geometric), b)
        start = np.where(beyond, natural / (speed * np.abs(weight)), start)
        scale = np.where(beyond, np.sign(weight) * natural / speed, scale)
        neutral = cross == 0
    result = elementwise(_mode, 1, times, weight, kind, rate, a, b, start, h0, base, s0, foot, scale)[0]
    if neutral.any():
        damped = logistic_square(times, weight, -decay, np.sqrt(predictor_rate * variance))
        result = np.where(neutral, damped, result)
    return result
