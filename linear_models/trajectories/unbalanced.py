"""The unbalanced mode of a JEPA without weight decay, ẇ = pw(λ − σp), ṗ = αw²(λ − σp), where c = p² − αw² is conserved (5.3).

So ṗ = (p² − c)(λ − σp). For c > 0 its rests ±√c and e = λ/σ are real: the flow of `cubic`. For c < 0 only e is, and
p − e follows `cubic`; a start close to 0 beside e is first brought to e/2 in the clock y = ∫(λ − σp)dt, in
which p' = p² − c and p = √−c tan(√−c y + const): so small weights keep their digits.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.modal import (
    common_shape,
    cross_covariances,
    elementwise,
    masked,
    moments,
    rates,
    variances,
    weights,
)
from jepalign.linear_models.trajectories.balanced import undecayed
from jepalign.linear_models.trajectories.bottleneck import through
from jepalign.linear_models.trajectories.cubic import inner, outer, prepared

Array = NDArray[np.float64]

_STILL, _LEVEL, _ABOVE, _BELOW, _BETWEEN, _ROUND = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0
_STEPS = 40
_FAINT = 1e-130  # an encoder this small beside its predictor moves linearly and leaves the predictor alone


def _outside(
    times: Array, kind: Array, rate: Array, a: Array, b: Array, start: Array, h0: Array, base: Array, s0: Array,
    span: Array, radius: Array, freely: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Return √αw and p for a start above all rests or below them."""
    h, shrunk, half = outer(times, rate, a, b, start, h0, base, s0)
    near = span / h  # distance to the rest in the middle
    root = np.sqrt(shrunk) * half  # the square root of 1−ah
    to_end = near * root * root  # distance to the rest approached
    below = kind == _BELOW
    # Below, the end is −k, and p−k is its distance more 2k. Above, the middle or the end is k.
    free = freely == 1
    p = np.where(below, -radius - to_end, radius + np.where(free, near, to_end))
    w = np.where(
        below | ~free,
        np.sqrt(near) * root * np.sqrt(to_end + 2 * radius),
        np.sqrt(near) * np.sqrt(near + 2 * radius),
    )
    return w, p


def _inside(
    times: Array, rate: Array, a: Array, b: Array, start: Array, span: Array, radius: Array
) -> tuple[Array, Array]:
    """Return √αw and p for a start between √c and λ/σ."""
    now = start * np.exp(inner(times, rate, a, b, start))
    near = span * a / (1 + now)
    return np.sqrt(near) * np.sqrt(near + 2 * radius), radius + near


def _swing(y: Array, w: Array, p: Array, radius: Array) -> tuple[Array, Array, Array]:
    """Return G, and the weights w/G and p after the clock y."""
    angle = radius * y
    sinc = np.where(angle == 0, 1.0, np.sin(angle) / np.where(angle == 0, 1.0, angle))
    g = np.cos(angle) - p * y * sinc
    return g, w / g, (p * np.cos(angle) + radius * angle * sinc) / g


def _clock(p0: Array, p: Array, w0: Array, w: Array, y: Array, end: Array) -> Array:
    """Return (e² − c)σt."""
    return end * y - np.log1p((p0 - p) / (end - p0)) + np.log(w / w0)


def _round(times: Array, w0: Array, p0: Array, end: Array, radius: Array, variance: Array) -> tuple[Array, Array]:
    """Return √αw and p for c = −radius² < 0."""
    square = np.hypot(end, radius)
    speed = variance * square * square
    # A start that is small beside e is brought to e/2 first.
    small = np.abs(p0) < end / 4
    p_stop = np.where(small, end / 2, p0)
    w_stop = np.where(small, np.hypot(end / 2, radius), w0)
    y_stop = np.arctan2(radius * (p_stop - p0), radius * radius + p_stop * p0) / radius
    needed = np.where(small, _clock(p0, p_stop, w0, w_stop, y_stop, np.where(small, end, 1e300)) / speed, 0.0)
    first = small & (times < needed)
    x0 = p_stop - end
    sine, cosine = radius / square, -np.sign(x0) * end / square
    left = np.maximum(times - needed, 0.0)
    x = through(left, speed, cosine, np.where(sine == 0, 1e-300, sine), square / np.abs(x0), np.sign(x0) * square)
    p = np.where(x0 == 0, end, end + np.where(x0 == 0, 0.0, x))
    w = np.hypot(p, radius)
    if first.any():
        t, a, b, e, k, v = (value[first] for value in (times, w0, p0, end, radius, speed))
        y = np.minimum(v * t / e, y_stop[first])
        for _ in range(_STEPS):
            _, now_w, now_p = _swing(y, a, b, k)
            step = (_clock(b, now_p, a, now_w, y, e) - v * t) * (e - now_p) / (e * e + k * k)
            y = np.clip(y - step, 0.0, y_stop[first])
            if (np.abs(step) <= 1e-9 * y).all():
                break
        _, w[first], p[first] = _swing(y, a, b, k)
    return w, p


def _mode(
    times: Array, w0: Array, p0: Array, kind: Array, end: Array, radius: Array, variance: Array, rate: Array, a: Array,
    b: Array, start: Array, h0: Array, base: Array, s0: Array, span: Array, freely: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Return √α|w| and p for e ≥ 0."""
    w, p = w0.copy(), p0.copy()
    outside = (kind == _ABOVE) | (kind == _BELOW)
    for where, (new_w, new_p) in (
        (outside, masked(outside, _outside, 2, times, kind, rate, a, b, start, h0, base, s0, span, radius, freely)),
        (kind == _BETWEEN, masked(kind == _BETWEEN, _inside, 2, times, rate, a, b, start, span, radius)),
        (kind == _ROUND, masked(kind == _ROUND, _round, 2, times, w0, p0, end, radius, variance)),
    ):
        w, p = np.where(where, new_w, w), np.where(where, new_p, p)
    return np.where(times == 0, w0, w), np.where(times == 0, p0, p)


def unbalanced_jepa(
    times: ArrayLike,
    weight: ArrayLike,
    predictor: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    predictor_rate: ArrayLike = 1.0,
) -> tuple[Array, Array]:
    """Return weights of encoder and predictor of a mode of a JEPA, ẇ = p(λ − σp)w, ṗ = α(λ − σp)w².

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖PWx − sg(Wy)‖²; ∞ gives the limit.
    weight, predictor : array_like
        w₀ and p₀, the weights at time 0, of either sign: 0 or between 1e-150 and 1e150 in size.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    predictor_rate : array_like
        α, the predictor's learning rate relative to the encoder's, between 1e-30 and 1e30.

    Returns
    -------
    weight, predictor : ndarray
        w(t) and p(t), of the shape the arguments broadcast to.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Tian, Chen & Ganguli 2021 have the conserved c = p² − αw²; the solution by quadrature and its inversion are ours. Cost: a few
    steps of Newton's or Halley's method an element; c = 0 as for `balanced_jepa`.
    """
    t, w, p = moments(times), weights("weight", weight), weights("predictor", predictor)
    lam, sig = cross_covariances(cross), variances(variance)
    alpha = rates("predictor_rate", predictor_rate, zero=False)
    common_shape(times=t, weight=w, predictor=p, cross=lam, variance=sig, predictor_rate=alpha)
    w, p, lam, sig, alpha = np.broadcast_arrays(w, p, lam, sig, alpha)
    with np.errstate(all="ignore"):
        speed = np.sqrt(alpha)
        sign = np.where(lam < 0, -1.0, 1.0)
        end = np.abs(lam) / sig
        q0, p0 = speed * np.abs(w), sign * p
        size = np.abs(p0)
        faint = (q0 > 0) & (q0 < _FAINT * size)
        growth = p0 * (np.abs(lam) - sig * p0)
        grows = faint & (growth > 0)
        linear = np.where(grows, np.log(_FAINT * size / q0) / growth, np.where(faint, np.inf, 0.0))
        q0 = np.where(grows, _FAINT * size, q0)
        radius = np.sqrt(np.abs(size - q0)) * np.sqrt(size + q0)
        to_radius = q0 * (q0 / (size + radius))  # |p| − √c
        level = size == q0
        # e − √c, through the start where both are close to it.
        close = (np.abs(end - p0) < size / 8) & (to_radius < size / 8)
        gap = np.where(close, (end - p0) + to_radius, end - radius)
        free = gap >= 0  # the rest in the middle is √c, else e
        middle, top = np.where(free, radius, end), np.where(free, end, radius)
        span = top + radius
        kind = np.select(
            [(w == 0), level, size < q0, p0 < 0, free & (p0 < end), p0 == end],
            [_STILL, _LEVEL, _ROUND, _BELOW, _BETWEEN, _STILL],
            _ABOVE,
        )
        # Distances of the start from the rests, over the span.
        below = kind == _BELOW
        to_middle = np.where(below, size + middle, np.where(free, to_radius, p0 - end)) / span
        to_top = np.where(free, p0 - end, to_radius) / span
        a = np.where(below, radius + middle, np.abs(gap)) / span
        b = np.where(below, np.abs(gap), radius + middle) / span
        h0 = 1 / to_middle
        base = np.where(below, to_radius / span, to_top) * h0
        base = np.where((kind == _ABOVE) | below, base, 0.5)
        start, s0 = prepared(a, b, h0, base)
        start = np.where(kind == _BETWEEN, -to_top * h0, start)
        rate = sig * span * span
        left = np.where(t <= linear, 0.0, t - linear) if faint.any() else t
    q, found = elementwise(
        _mode, 2, left, q0, p0, kind, end, radius, sig, rate, a, b, start, h0, base, s0, span, np.where(free, 1.0, 0.0)
    )
    encoder = np.where(left == 0, w, np.copysign(q / speed, w))
    predictor_now = np.where(left == 0, p, sign * found)
    if faint.any():
        with np.errstate(all="ignore"):
            half = np.exp(np.where(growth == 0, 0.0, growth * t) / 2)
            encoder = np.where(faint & (t <= linear), w * half * half, encoder)
    ends = (t == np.inf) & ((kind == _ROUND) | (kind == _BETWEEN) | (free & (kind == _ABOVE)))
    predictor_now = np.where(ends, sign * end, predictor_now)
    flat = (kind == _LEVEL) & (w != 0)
    if flat.any():
        turn = np.where(p * w < 0, -1.0, 1.0)
        balanced = turn * undecayed(t, turn * w, lam, sig, alpha)
        encoder = np.where(flat, balanced, encoder)
        predictor_now = np.where(flat, np.where(t == 0, p, turn * speed * balanced), predictor_now)
    stays = kind == _STILL
    return np.where(stays, w, encoder), np.where(stays, p, predictor_now)
