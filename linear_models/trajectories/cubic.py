"""Flows with three rests, ṙ = −r(r−μ)(r−1) in a unit of time: from any side, by two logarithms.

With ν = 1−μ and h = 1/(r − μ), time is E(h) = −ln|1−νh|/ν − ln|1+μh|/μ, and h → −h exchanges μ and ν. So two equations serve: from
outside towards an end (`outer`: 0 < ah < 1, where (a, b) is (ν, μ) above 1 and (μ, ν) below 0), and from the middle towards an end
(`inner`: ah > 1). Rests that meet, a = 0 or b = 0, need no case of their own.
"""

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.modal import select
from jepalign.linear_models.trajectories.blocks import refined
from jepalign.linear_models.trajectories.lambert import quadratic_remainder, ratio
from jepalign.linear_models.trajectories.wright import wright

Array = NDArray[np.float64]


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


def _risen(times: Array, rate: Array, a: Array, b: Array, start: Array) -> Array:
    """Return s = −ln(1−ah)/a, where 0 < ah < 1 and E(h) = ½start² + rate · t."""
    clock = np.minimum(rate * times, 1e300)
    z = np.hypot(start, np.sqrt(2 * clock))
    energy = z * z / 2
    # Between the solutions for b = 0 and b = 1.
    capped = np.minimum(z, 64.0)
    least, most = energy + capped * ratio(capped), z * ratio(-z)
    return refined(_rise, least + b * (most - least), z, a, b)


def _rise(s: Array, z: Array, a: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
    h = _arc(a, s)
    root = h * _height(a, b, h, s)
    step = (z - root) * root * (1 + b * h) / h
    s = np.maximum(s + step, s / 8)
    return s, np.abs(step) > 1e-9 * s


def _grown(times: Array, rate: Array, a: Array, b: Array, h0: Array, base: Array) -> Array:
    """Return the increment δ of s when h₀ is near 1/a: δ − ln(1 + bg/(1+bh₀))/b = rate · t, g = h − h₀."""
    clock = np.minimum(rate * times, 1e300)
    return refined(_grow, clock.copy(), clock, a, b, h0, base)


def _grow(delta: Array, clock: Array, a: Array, b: Array, h0: Array, base: Array) -> tuple[Array, NDArray[np.bool_]]:
    g = base * _arc(a, delta)
    share = g / (1 + b * h0)
    step = (delta - share * _slope(b * share) - clock) * (1 + b * (h0 + g)) / (h0 + g)
    delta = np.maximum(delta - step, clock)
    return delta, np.abs(step) > 1e-9 * delta


def inner(times: Array, rate: Array, a: Array, b: Array, start: Array) -> Array:
    """Return δ = ζ − ζ₀ ≤ 0 for ah = 1 + e^ζ: the solution of ζ + (a/b) ln(1 + be^ζ) = ζ₀ + (a/b) ln(1 + be^ζ₀) − a · rate · t."""
    clock = a * np.minimum(rate * times, 1e300)
    log, log_a, log_b = np.log(start), np.log(a), np.log(np.maximum(b, 1e-300))
    level = (log + a * start * _slope(b * start)) - clock
    # The guess: Wright's function while be^ζ is small, else a straight line with its first correction.
    line = b * level
    line -= a * log_b
    bent = line > -log_b
    delta = line
    if bent.any():
        delta = line + log_b
        np.negative(delta, out=delta)
        np.minimum(delta, 700, out=delta)
        np.log1p(np.exp(delta, out=delta), out=delta)
        delta *= -a
        delta += line
    if not bent.all():
        level += log_a
        omega = wright(level)
        small = level - omega  # ln(ω/a), without cancellation while ω is small
        small -= log_a
        large = level > 0
        if large.any():
            np.log(omega / a, out=small, where=large)
        delta = np.where(bent, delta, small)
    delta -= log
    np.minimum(delta, 0.0, out=delta)
    np.maximum(delta, -1e300, out=delta)
    foot = 1 + b * start
    share = np.where(b > 1e-100, a / np.maximum(b, 1e-100), 0.0)  # 0: the logarithm is its argument
    return refined(_sink, delta, clock, a, b, start, foot, share)


def _sink(
    delta: Array, clock: Array, a: Array, b: Array, start: Array, foot: Array, share: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Take a step of Halley's method for δ + (a/b) ln((1 + be^ζ)/(1 + be^ζ₀)) + clock = 0."""
    now = np.exp(delta)
    now *= start
    top = b * now
    top += 1
    change = np.expm1(delta)
    change *= start / foot
    x = b * change
    logarithm = np.log1p(x)
    far = x < -0.5
    if far.any():
        np.log(top / foot, out=logarithm, where=far)
    logarithm *= share
    if not share.all():
        np.copyto(logarithm, a * change, where=share == 0)
    logarithm += delta
    logarithm += clock  # now the residual
    below = now + 1
    logarithm *= top
    logarithm /= below  # Newton's step
    below *= top
    now *= a
    now /= below
    now *= logarithm
    now *= -0.5
    now += 1
    np.maximum(now, 0.25, out=now)
    logarithm /= now
    delta = delta - logarithm
    np.minimum(delta, 0.0, out=delta)
    np.abs(logarithm, out=logarithm)
    np.subtract(1, delta, out=x)
    x *= 1e-6
    return delta, logarithm > x


def prepared(a: Array, b: Array, h0: Array, base: Array) -> tuple[Array, Array]:
    """Return √(2E(h₀)) and s₀ = −ln(1−ah₀)/a, given ``base`` = 1−ah₀ to its last digit."""
    x = np.minimum(a * h0, 0.75)
    s0 = np.where(a * h0 < 0.5, h0 * _slope(-x), -np.log(base) / np.maximum(a, 1e-300))
    return h0 * _height(a, b, h0, s0), s0


def outer(
    times: Array, rate: Array, a: Array, b: Array, start: Array, h0: Array, base: Array, s0: Array
) -> tuple[Array, Array, Array]:
    """Return h, √base or 1, and √((1−ah)/base) or √(1−ah): the last two square and multiply to 1−ah without underflow."""
    late = a * s0 > 1
    s, delta = np.ones_like(times), np.zeros_like(times)
    select(~late, _risen, s, times, rate, a, b, start)
    select(late, _grown, delta, times, rate, a, b, h0, base)
    h = np.where(late, h0 + base * _arc(a, delta), _arc(a, s))
    return h, np.where(late, base, 1.0), np.exp(-a * np.where(late, delta, s) / 2)
