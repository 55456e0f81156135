"""The Wright function ω(x), the solution of ω + ln ω = x: the inverse through which balanced trajectories are written.

A table gives the node nearest to x, its tangent a guess that is right to 2e-6, and one step of third order on
ln(ω/ω₀) + ω − ω₀ = r the rest; beyond the table an asymptotic series gives the guess. Measured against 60 digits, wherever
the result is a normal number, the error is at most 2 units of the last place. Cost: one exponential and one table look-up an element.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError

Array = NDArray[np.float64]

_LOW, _HIGH, _PER_UNIT = -38, 64, 256
_HUGE = 1e16  # beyond, ω = x − ln x to rounding
_CHUNK = 32768  # elements: what a chunk touches stays in the second-level cache, and calls cost little beside it


@cache
def _table() -> tuple[Array, Array]:
    """Return ω and its derivative ω/(1+ω) at the nodes."""
    nodes = np.arange(_LOW * _PER_UNIT, _HIGH * _PER_UNIT + 1) / _PER_UNIT
    value = np.where(nodes < 1, np.exp(np.minimum(nodes, 1.0)), np.maximum(nodes, 1.0))
    for _ in range(60):  # Newton's method in ln ω
        step = (nodes - value - np.log(value)) / (1 + value)
        value = value * np.exp(np.clip(step, -1, 1))
    return value, value / (1 + value)


def _chunk(x: Array) -> Array:
    values, derivatives = _table()
    lowest, highest = x.min(), x.max()
    inside = x if lowest >= _LOW and highest <= _HIGH else np.clip(x, _LOW, _HIGH)
    place = inside * _PER_UNIT
    node = np.rint(place)
    place -= node
    index = node.astype(np.int32)
    index -= _LOW * _PER_UNIT
    guess = derivatives.take(index)
    guess *= place
    guess *= 1 / _PER_UNIT
    guess += values.take(index)
    if highest > _HIGH:
        far = x > _HIGH
        guess[far] = _asymptotic(x[far])
    # r = x − ω₀ − ln ω₀ = ln(exp(x − ω₀)/ω₀), with the rounding of x − ω₀ put back.
    shifted = x - guess
    residual = x - shifted
    residual -= guess
    excess = np.exp(shifted, out=shifted)
    excess /= guess
    excess -= 1
    residual += excess
    excess *= excess
    excess *= 0.5
    residual -= excess
    # ω = ω₀(1 + δ), ln(1 + δ) + ω₀δ = r: δ = r/(1 + ω₀) + r²/(2(1 + ω₀)³) + O(r³).
    slope = guess + 1
    np.divide(1, slope, out=slope)
    residual *= slope
    slope *= residual
    slope *= 0.5
    slope += 1
    residual *= slope
    residual *= guess
    residual += guess
    if lowest < _LOW + 1:
        small = x < _LOW + 1
        residual[small] = np.exp(x[small])  # ω = eˣ(1 − eˣ + …), and eˣ is below half a unit of rounding
    if highest > _HUGE:
        huge = x > _HUGE
        residual[huge] = _unbounded(x[huge])
    return residual


def _asymptotic(x: Array) -> Array:
    """Return x − L + L/x + … to third order in 1/x, L = ln x."""
    bounded = np.minimum(x, 1e300)
    log, inverse = np.log(bounded), 1 / bounded
    series = 1 + inverse * ((log - 2) / 2 + inverse * ((2 * log - 9) * log + 6) / 6)
    return bounded - log + log * inverse * series


def _unbounded(x: Array) -> Array:
    finite = np.isfinite(x)
    return np.where(finite, x - np.log(np.where(finite, x, 1.0)), x)


def wright(x: ArrayLike) -> Array:
    """Return ω(x), the positive solution of ω + ln ω = x, elementwise.

    Parameters
    ----------
    x : array_like
        Real numbers of any size; −∞ gives 0 and ∞ gives ∞.

    Returns
    -------
    ndarray
        Of the shape of ``x``, float64.

    Raises
    ------
    InputError
        If an argument is not a number.

    Notes
    -----
    Corless & Jeffrey (2002) define it as W(eˣ) with Lambert's W and give its properties; this way of computing it is ours.
    """
    given = np.asarray(x, dtype=np.float64)
    if np.isnan(given).any():
        raise InputError("x", "nan", "must be numbers")
    flat = given.ravel()
    result = np.empty_like(flat)
    with np.errstate(all="ignore"):  # what overflows or underflows in a branch not taken is overwritten
        for start in range(0, flat.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            result[part] = _chunk(flat[part])
    return result.reshape(given.shape)
