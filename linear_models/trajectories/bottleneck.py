"""The balanced mode beyond the threshold of weight decay, λ² < 4ησ: 0 is the only equilibrium, and time is long near √(η/σ) (5.2).

For Y = √(η/σ)/p and κ = cos ψ = λ/(2√(ησ)) the flow is Ẏ = η(1 − 2κY + Y²)/Y, so ηt = J(Y) − J(Y₀) with
J = ½ ln(1 − 2κY + Y²) + φ cot ψ, where φ is the angle of 1 − e^{−iψ}Y: in the triangle with sides 1 and Y that enclose ψ, φ is opposite
Y and e = π − ψ − φ opposite 1, so that Y = sin φ / sin e. φ or e gives a first solution, J the last digits.
"""

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.modal import select
from jepalign.linear_models.trajectories.blocks import refined
from jepalign.linear_models.trajectories.wright import wright

Array = NDArray[np.float64]

_SERIES = 29  # terms, for Y up to a quarter
_SMALL = 0.2  # √(2J) up to which Y is below a quarter
_STEPS = 40
_FAR = 2.0  # from this Y on the bottleneck lies behind


def _root_ratio(y: Array, cosine: Array) -> Array:
    """Return √(2J)/Y by J = Σ UₙYⁿ⁺²/(n+2), U the Chebyshev polynomials of the second kind, for Y up to a quarter."""
    before, now = np.zeros_like(y), np.ones_like(y)
    power, total = np.ones_like(y), np.zeros_like(y)
    for n in range(_SERIES):
        total = total + 2 / (n + 2) * now * power
        power = power * y
        before, now = now, 2 * cosine * now - before
    return np.sqrt(total)


def _quadratic(y: Array, versine: Array) -> Array:
    return (1 - y) ** 2 + 2 * versine * y


def _time(log: Array, versine: Array, sine: Array, cotangent: Array) -> Array:
    """Return J(Y) from ln Y, for Y from a quarter on."""
    y, inverse = np.exp(np.minimum(log, 0)), np.exp(-np.maximum(log, 0))
    angle = np.arctan2(sine * y, np.where(log < 0, (1 - y) + versine * y, (inverse - 1) + versine))
    return np.maximum(log, 0) + np.log(_quadratic(y * inverse, versine)) / 2 + cotangent * angle


def _time_between(first: Array, log: Array, versine: Array, sine: Array, cotangent: Array) -> Array:
    """Return J(first · e^log) − J(first) without cancellation, for ``first`` from a half on."""
    i, j = 1 / first, np.exp(-log) / first
    angle = np.arctan2(sine * (i - j), (1 - i) * (1 - j) + versine * (i + j))
    return log + np.log(_quadratic(j, versine) / _quadratic(i, versine)) / 2 + cotangent * angle


def _early(total: Array, psi: Array, cotangent: Array, sine: Array) -> Array:
    """Return φ ≤ (π − ψ)/2 from J, by Newton's method for ln J in ln φ."""
    z = np.sqrt(2 * total)
    slow = np.where(cotangent > 0, total / np.maximum(cotangent, 1e-300), np.inf)
    end = (np.pi - psi) / 2
    phi = np.minimum(np.minimum(sine * z, slow + sine), end)
    for _ in range(_STEPS):
        now = np.log(sine / np.sin(phi + psi)) + phi * cotangent
        slope = phi * np.sin(phi) / (sine * np.sin(phi + psi))
        step = np.clip(now * np.log(total / now) / slope, -1, 1)
        step = np.where(now > 0, step, 0.0)
        phi = np.minimum(phi * np.exp(step), end)
        if (np.abs(step) < 1e-5).all():
            break
    return phi


def _late(level: Array, psi: Array, cotangent: Array) -> Array:
    """Return ln e for e ≤ (π − ψ)/2 from −ln sin e − e cot ψ = ``level``, by Newton's method in ln e."""
    positive = np.maximum(cotangent, 1e-9)
    end = np.log((np.pi - psi) / 2)
    x = np.log(positive) - level
    log = np.where(cotangent > 1e-9, np.where(x < -30, -level, np.log(wright(x) / positive)), -level)
    log = np.minimum(log, end)
    for _ in range(_STEPS):
        e = np.exp(np.maximum(log, -600))
        quotient = np.sin(e) / e
        now = -np.log(quotient) - log - e * cotangent
        slope = -np.cos(e) / quotient - e * cotangent
        step = np.clip((level - now) / slope, -1, 1)
        log = np.minimum(log + step, end)
        if (np.abs(step) < 1e-5).all():
            break
    return log


def _short(z: Array, cosine: Array) -> Array:
    """Return Y ≤ ¼ from z = √(2J)."""
    y = z * (1 - cosine * 2 / 3 * z / 2)
    for _ in range(8):
        root = y * _root_ratio(y, cosine)
        step = (z - root) * root * (1 - 2 * cosine * y + y * y) / y
        y = y + step
        if (np.abs(step) <= 1e-9 * y).all():
            break
    return y


def _long(
    clock: Array, total: Array, start: Array, cosine: Array, sine: Array, versine: Array, from_nought: NDArray[np.bool_]
) -> Array:
    """Return ln Y and the start it is relative to: ln(Y/Y₀), or ln Y where ``from_nought``."""
    cotangent, psi = cosine / sine, np.arctan2(sine, cosine)
    middle = np.log(2 * versine) / 2 + cotangent * (np.pi - psi) / 2  # J(1)
    known = np.where(start < 1, total, 0.0)
    e_start = np.arctan2(sine, start - cosine)
    level = np.where(
        start < 1,
        known - np.log(sine) - (np.pi - psi) * cotangent,
        clock - np.log(np.sin(e_start)) - e_start * cotangent,
    )
    early = (start < 1) & (total < middle)
    log = np.empty_like(clock)
    phi = np.full_like(clock, 0.1)
    select(early, _early, phi, np.maximum(total, 1e-30), psi, cotangent, sine)
    log_e = np.zeros_like(clock)
    select(~early, _late, log_e, level, psi, cotangent)
    e = np.exp(np.maximum(log_e, -600))
    log = np.where(
        early,
        np.log(np.sin(phi) / np.sin(phi + psi)),
        np.log(np.sin(e + psi)) - log_e - np.log(np.sin(e) / e),
    )
    base = np.where(from_nought, 0.0, np.log(start))
    log = np.where(from_nought, log, np.maximum(log - base, 0.0))
    reference = np.where(from_nought, 1.0, start)
    for _ in range(_STEPS):
        inverse = np.exp(-log) / reference
        residual = np.where(
            from_nought,
            _time(log, versine, sine, cotangent) - total,
            _time_between(reference, log, versine, sine, cotangent) - clock,
        )
        step = np.clip(residual * _quadratic(inverse, versine), -1, 1)
        log = log - step
        if (np.abs(step) <= 1e-9 * (1 + np.abs(log))).all():
            break
    return log


def _away(clock: Array, start: Array, cosine: Array, sine: Array, versine: Array) -> Array:
    """Return ln(Y/Y₀) for Y₀ from 2 on, by Halley's method: beyond the bottleneck time is nearly ln Y."""
    first = 1 / start
    cotangent = cosine / sine
    begin = _quadratic(first, versine)
    passed = clock + (np.log(begin) / 2 - cotangent * np.arctan2(sine * first, 1 - cosine * first))
    log = clock * begin  # time as it passes at the start, or in the end
    if (cosine > 0).all():
        np.maximum(log, passed, out=log)
    else:
        log = np.where(cosine > 0, np.maximum(log, passed), np.maximum(np.minimum(log, passed), clock))
    return refined(_further, log, clock, first, cosine, versine, sine, cotangent, begin)


def _further(
    log: Array, clock: Array, first: Array, cosine: Array, versine: Array, sine: Array, cotangent: Array, begin: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Take a step of Halley's method for J(Y) − J(Y₀) = ``clock`` in ln(Y/Y₀), in 1/Y ≤ 1/Y₀ ≤ ½."""
    now = np.exp(-log)
    now *= first
    angle = now + first
    angle *= versine
    angle += (1 - now) * (1 - first)
    passed = first - now
    passed *= sine
    passed /= angle
    passed = np.arctan(passed, out=passed)
    passed *= cotangent
    quadratic = 1 - now
    quadratic *= quadratic
    quadratic += (2 * versine) * now
    residual = np.log(quadratic / begin)
    residual *= 0.5
    residual += passed
    residual += log
    residual -= clock
    bend = now - cosine
    bend *= now
    bend *= residual
    np.subtract(1, bend, out=bend)
    residual *= quadratic
    residual /= bend
    log = log - residual
    np.abs(residual, out=residual)
    return log, residual > 1e-6


def _around(
    clock: Array, start: Array, risen: Array, cosine: Array, sine: Array, versine: Array, scale: Array
) -> Array:
    """Return ``scale``/Y before Y = 2; ``risen`` is √(2J(Y₀))."""
    z = np.hypot(risen, np.sqrt(2 * clock))
    from_nought = start < 0.5
    short = from_nought & (z < _SMALL)
    y, log = np.ones_like(z), np.zeros_like(z)
    select(short, _short, y, z, cosine)
    select(~short, _long, log, clock, z * z / 2, start, cosine, sine, versine, from_nought)
    return _divided(scale, np.where(short, y, np.where(from_nought, 1.0, start)), log)


def _divided(scale: Array, reference: Array, log: Array) -> Array:
    """Return ``scale``/(reference · e^log), where the exponential may overflow; ``log`` is used up."""
    log *= -0.5
    half = np.exp(log, out=log)
    result = scale / reference * half
    result *= half
    return result


def through(times: Array, rate: Array, cosine: Array, sine: Array, start: Array, scale: Array) -> Array:
    """Return ``scale``/Y(t), where Y starts at ``start`` and ``rate`` is η; the arguments may still have to be broadcast."""
    clock = rate * times
    np.minimum(clock, 1e20, out=clock)
    versine = np.where(cosine > 0, sine * sine / (1 + np.abs(cosine)), 1 - cosine)
    if (start >= _FAR).all():
        return _divided(scale, start, _away(clock, start, cosine, sine, versine))
    cotangent, before = cosine / sine, np.minimum(start, 0.25)
    first = _time(np.log(np.maximum(start, 0.25)), versine, sine, cotangent)
    risen = np.where(start < 0.25, before * _root_ratio(before, cosine), np.sqrt(2 * first))  # √(2J(Y₀))
    middle = np.minimum(np.maximum(start, 0.5), _FAR)
    wait = np.where(
        start < 0.5,
        _time(np.full_like(start, np.log(_FAR)), versine, sine, cotangent) - risen * risen / 2,
        _time_between(middle, np.log(_FAR / middle), versine, sine, cotangent),
    )  # until Y = 2
    wait = np.where(start < _FAR, wait, 0.0)
    waits = clock < wait
    if waits.all():
        result = np.empty(waits.shape)
    else:
        reference = np.maximum(start, _FAR)
        left = np.maximum(clock - wait, 0.0)
        result = _divided(scale, reference, _away(left, reference, cosine, sine, versine))
    select(waits, _around, result, clock, start, risen, cosine, sine, versine, scale)
    return result
