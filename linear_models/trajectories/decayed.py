"""The balanced mode of a JEPA with weight decay, ṗ = p²(λ − σp) − ηp with p = √α w (5.2).

Let p₋ < p₊ be the rests beside 0: r = p/p₊ follows the flow with three rests of `cubic` with μ = p₋/p₊, in the
unit of time 1/(σp₊²); at the threshold ν = 0. Beyond it 0 is the only rest, see `bottleneck`.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.exact import difference_of_products, distances
from jepalign.linear_models.modal import select
from jepalign.linear_models.trajectories.blocks import blockwise
from jepalign.linear_models.trajectories.bottleneck import through
from jepalign.linear_models.trajectories.cubic import inner, outer, prepared
from jepalign.linear_models.trajectories.logistic import logistic_square

Array = NDArray[np.float64]

_ABOVE, _BELOW_NOUGHT, _BETWEEN, _DYING, _BEYOND, _STILL = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0


def _inside(
    survives: bool, times: Array, rate: Array, a: Array, b: Array, start: Array, foot: Array, scale: Array
) -> Array:
    """Return w for a start between 0 and an end, or between the saddle and the end."""
    delta = inner(times, rate, a, b, start)
    delta *= 0.5
    half = np.exp(delta, out=delta)
    now = half * half
    now *= start
    now += 1
    if survives:
        np.divide(scale * a, now, out=now)
        now += foot
        return now
    np.divide(half, now, out=now)
    now *= scale * a * start
    now *= half
    return now


def _outside(
    above: bool, times: Array, rate: Array, a: Array, b: Array, start: Array, h0: Array, base: Array, s0: Array,
    foot: Array, scale: Array,
) -> Array:  # fmt: skip
    """Return w for a start above all rests, or below them."""
    h, base, half = outer(times, rate, a, b, start, h0, base, s0)
    if above:
        np.divide(scale, h, out=h)
        h += foot
        return h
    np.divide(half, h, out=h)
    h *= -scale * base
    h *= half
    return h


def _mode(
    times: Array, weight: Array, kind: Array, rate: Array, a: Array, b: Array,
    start: Array, h0: Array, base: Array, s0: Array, foot: Array, scale: Array,
) -> tuple[Array]:  # fmt: skip
    given = times, weight, kind, rate, a, b, start, h0, base, s0, foot, scale
    alike = bool(kind.min() == kind.max())
    if not alike:  # modes of several kinds are told apart element by element
        times, weight, kind, rate, a, b, start, h0, base, s0, foot, scale = given = np.broadcast_arrays(*given)
    inner_given = times, rate, a, b, start, foot, scale
    outer_given = times, rate, a, b, start, h0, base, s0, foot, scale
    formulas: dict[float, tuple[Callable[..., Array], tuple[Array, ...]]] = {
        _ABOVE: (partial(_outside, True), outer_given),
        _BELOW_NOUGHT: (partial(_outside, False), outer_given),
        _BETWEEN: (partial(_inside, True), inner_given),
        _DYING: (partial(_inside, False), inner_given),
        _BEYOND: (through, (times, rate, a, b, start, scale)),
    }
    if alike and (one := float(kind.flat[0])) in formulas:
        formula, chosen = formulas[one]
        result = formula(*chosen)
    else:
        result = np.empty(np.broadcast_shapes(*(value.shape for value in given)))
        for which, (formula, chosen) in formulas.items():
            select(kind == which, formula, result, *chosen)
    np.copyto(result, weight, where=(times == 0) | (kind == _STILL))
    ended = times == np.inf
    if ended.any():
        up = (kind == _ABOVE) | (kind == _BETWEEN)
        np.copyto(result, np.where(up, scale, 0.0), where=ended & (kind != _STILL))
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
        height, s0 = prepared(a, b, h0, base)
        outside = (kind == _ABOVE) | (kind == _BELOW_NOUGHT)
        start = np.where(outside, height, np.where(swapped, r, -to_top) * h0)
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
        result = blockwise(_mode, 1, times, weight, kind, rate, a, b, start, h0, base, s0, foot, scale)[0]
    if neutral.any():
        damped = logistic_square(times, weight, -decay, np.sqrt(predictor_rate * variance))
        result = np.where(neutral, damped, result)
    return result
