"""Flows with three rests, ṙ = −r(r−μ)(r−1) in a unit of time: from any side, by two logarithms.

With ν = 1−μ and h = 1/(r − μ), time is E(h) = −ln|1−νh|/ν − ln|1+μh|/μ, and h → −h exchanges μ and ν. So two equations serve: from
outside towards an end (`outer`: 0 < ah < 1, where (a, b) is (ν, μ) above 1 and (μ, ν) below 0), and from the middle towards an end
(`inner`: ah > 1). Rests that meet, a = 0 or b = 0, need no case of their own.
"""

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.modal import select
from jepalign.linear_models.trajectories.blocks import refined
from jepalign.linear_models.trajectories.lambert import quadratic_remainder
from jepalign.linear_models.trajectories.wright import wright

Array = NDArray[np.float64]

_SMALL = 0.5  # energies below which E(h) would cancel
_TINY = 1e-290


def _slope(x: Array) -> Array:
    """Return ln(1+x)/x, 1 at 0."""
    fine = np.abs(x) > 1e-290
    safe = np.where(fine, x, 1.0)
    return np.where(fine, np.log1p(safe) / safe, 1.0)


def _arc(a: Array, s: Array) -> Array:
    """Return h = (1 − e^{−as})/a."""
    x = a * s
    if x.size and x.min() > _TINY:
        np.negative(x, out=x)
        np.expm1(x, out=x)
        x /= -a
        return x
    fine = x > _TINY
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
    clock = rate * times
    np.minimum(clock, 1e300, out=clock)
    if start.size and start.min() > 1e-140:
        clock += start * start / 2
        z = np.sqrt(2 * clock)
    else:
        z = np.hypot(start, np.sqrt(2 * clock))
        clock = z * z / 2
    small = clock < _SMALL
    if not small.any():
        return _high(z, clock, a, b)
    if small.all():
        return _low(z, a, b)
    s = _high(z, clock, a, b)
    s[small] = _low(z[small], *(np.broadcast_to(value, z.shape)[small] for value in (a, b)))
    return s


def _high(z: Array, energy: Array, a: Array, b: Array) -> Array:
    """Return s for energies ½z² from ½ on: two steps of Halley's method on s − ln(1+bh)/b, from a guess right to 2%."""
    s = energy * ((1 + b) / 3)
    s += z
    fine = bool(min(a.min(initial=1), b.min(initial=1)) > _TINY)
    for step in range(3):
        lost = a * s
        if fine:
            np.negative(lost, out=lost)
            np.expm1(lost, out=lost)  # −ah
            h = lost * (-1 / a)
        else:
            h = _arc(a, s)
            lost = -a * h
        x = b * h
        logarithm = np.log1p(x) if fine else h * _slope(x)
        if fine:
            logarithm *= 1 / b
        if not step:
            s = np.add(energy, logarithm, out=logarithm)
            continue
        residual = s - energy
        residual -= logarithm
        lost += 1
        lost *= residual
        lost /= h
        lost /= h
        lost *= -0.5
        lost += 1
        x += 1
        residual *= x
        residual /= h
        residual /= lost
        s -= residual
    return s


def _low(z: Array, a: Array, b: Array) -> Array:
    """Return s for energies ½z² up to ½, from its series in z."""
    s = z * ((a - b) / 270)
    s += (1 - a * b) / 36
    s *= z
    s += (1 + b) / 6
    s *= z
    s += 1
    s *= z
    return refined(_rise, s, z, a, b)


def _rise(s: Array, z: Array, a: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Take a step of Halley's method for √(2E) = z."""
    h = _arc(a, s)
    height = _height(a, b, h, s)
    root = h * height
    short = z - root
    bend = ((1 - a * h) * height * height - 1) / root
    step = short * height * (1 + b * h) / (1 + short * bend / 2)
    return s + step, np.abs(step) > 1e-6 * s


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
    """Return h, √base or 1, and √((1−ah)/base) or √(1−ah): the last two square and multiply to 1−ah without underflow.

    The arguments may still have to be broadcast.
    """
    late = a * s0 > 1
    if not late.any():
        s = _risen(times, rate, a, b, start)
        h = _arc(a, s)
        s *= a
        s *= -0.5
        return h, np.ones(late.shape), np.exp(s, out=s)
    times, rate, a, b, start, h0, base, s0, late = np.broadcast_arrays(times, rate, a, b, start, h0, base, s0, late)
    s, delta = np.ones(times.shape), np.zeros(times.shape)
    select(~late, _risen, s, times, rate, a, b, start)
    select(late, _grown, delta, times, rate, a, b, h0, base)
    h = np.where(late, h0 + base * _arc(a, delta), _arc(a, s))
    return h, np.where(late, base, 1.0), np.exp(-a * np.where(late, delta, s) / 2)
