"""The series Σ xⁱ/(a+i) = ∫₀¹ s^{a−1}/(1−xs) ds, Lerch's transcendent Φ(x, 1, a), for x from −2 to 1 and a > 0.

As a function of l = −ln(1−x) it is analytic for |Im l| < π whatever a is, so polynomials on pieces of length 1 serve for all.
"""

from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import digamma

Array = NDArray[np.float64]

_LOW, _HIGH = -2, 48  # of l; beyond, the series is l − γ − ψ(a)
_TERMS = 18
_STEP = 0.125  # of the trapezoidal rule in ln τ, s = e^−τ: its error is below e^(−2π·1.3/step)


@lru_cache(maxsize=64)
def _table(a: float) -> Array:
    """Return the coefficients of powers of l − centre, first index the power, second the piece."""
    inside = chebyshev.chebpts1(_TERMS) / 2
    l = (np.arange(_LOW, _HIGH) + 0.5)[:, None] + inside  # noqa: E741
    x, rest = -np.expm1(-l), np.exp(-l)
    tau = np.exp(_STEP * np.arange(np.floor((-_HIGH - 45 - np.log1p(a)) / _STEP), np.log(60 / a) / _STEP))
    weight = _STEP * tau * np.exp(-a * tau)
    values = np.empty_like(l)
    for piece, (near, left) in enumerate(zip(x, rest, strict=True)):
        below = near[:, None] * np.exp(-tau)
        above = left[:, None] - near[:, None] * np.expm1(-tau)
        values[piece] = (weight / np.where(near[:, None] < 0, 1 - below, above)).sum(axis=1)
    fitted = chebyshev.chebfit(2 * inside, values.T, _TERMS - 1)
    powers = np.array([chebyshev.cheb2poly(column) for column in fitted.T]).T
    return np.ascontiguousarray(powers * (2.0 ** np.arange(_TERMS))[:, None], dtype=np.float64)


def lerch(a: float, l: Array) -> Array:  # noqa: E741
    """Return Σ xⁱ/(a+i), i from 0, for l = −ln(1−x) from −ln 3 on."""
    inside = np.fmax(np.fmin(l, _HIGH - 0.5), _LOW + 0.5)  # also where l is no number, in a branch not taken
    piece = np.minimum((inside - _LOW).astype(np.int32), _HIGH - _LOW - 1)
    place = inside - (piece + (_LOW + 0.5))
    powers = _table(float(a))
    found = powers[_TERMS - 1].take(piece)
    for n in range(_TERMS - 2, -1, -1):
        found *= place
        found += powers[n].take(piece)
    far = l > _HIGH - 0.5
    if far.any():
        found[far] = l[far] - (np.euler_gamma + digamma(a))
    return found
