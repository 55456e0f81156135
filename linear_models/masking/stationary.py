"""Modes of masked tokens in closed form: any tokens of one variance under independent masks, and tokens on a circle under blocks (7.2).

Both for all masks at once, where ``mask_spectrum`` makes and decomposes covariances for each: O(n) and O(n log n) a mask.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, real
from jepalign.linear_models.masking.laws import exponential_tokens

Array = NDArray[np.float64]


class MaskedModes(NamedTuple):
    """Modes under each of m masks, arrays of shape (m, n) in the same order for all masks.

    Attributes
    ----------
    ratio : ndarray of shape (m,)
        The expected share of hidden tokens.
    cross, variance : ndarray of shape (m, n)
        λ and σ.
    """

    ratio: Array
    cross: Array
    variance: Array


def independent_modes(
    eigenvalues: ArrayLike, ratio: ArrayLike, target: Literal["output", "input"] = "output"
) -> MaskedModes:
    """Return the modes of tokens of variance 1, each hidden with a probability, independently.

    Parameters
    ----------
    eigenvalues : array_like of shape (n,)
        Of the covariance S of the tokens, whose diagonal is 1.
    ratio : array_like of shape (m,)
        r, the probability of being hidden, above 0 and below 1.
    target : "output" or "input"
        Whether the target encoder sees all tokens or the hidden ones: λ = qs, or q(1−q)(s−1), with q = 1 − r; σ = q²s + q(1−q).

    Raises
    ------
    InputError
        If an eigenvalue is negative, a ratio out of range or ``target`` neither.
    """
    s, hidden = real("eigenvalues", eigenvalues), np.atleast_1d(real("ratio", ratio))
    if (s < 0).any():
        raise InputError("eigenvalues", float(s.min()), "must be at least 0")
    if not ((hidden > 0) & (hidden < 1)).all():
        raise InputError("ratio", f"numbers from {hidden.min()} to {hidden.max()}", "must be above 0 and below 1")
    q, r = 1 - hidden[:, None], hidden[:, None]
    return MaskedModes(hidden, q * s if _output(target) else q * r * (s - 1), q * (q * s + r))


def circular_modes(
    tokens: int,
    correlation: float,
    lengths: ArrayLike,
    *,
    blocks: int = 1,
    target: Literal["output", "input"] = "output",
) -> MaskedModes:
    """Return the modes of tokens with exponential correlation on a circle, hidden by blocks at uniform places.

    Parameters
    ----------
    tokens, correlation : int, float
        n and r, as in ``exponential_tokens``.
    lengths : array_like of int, shape (m,)
        The length b of a block, from 1 to n − 1.
    blocks : int
        How many blocks, independent of each other.
    target : "output" or "input"
        Whether the target encoder sees all tokens or the hidden ones.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    Two tokens at distance k are both visible with probability (1 − (2b − o)/n)^blocks, o = max(0, b−k) + max(0, b−n+k): Σ_x, Σ_yx are
    circulant, and their eigenvalues Fourier transforms of a row.
    """
    row = exponential_tokens(tokens, correlation, circular=True)[0]
    long = np.atleast_1d(np.asarray(lengths))
    if long.dtype.kind not in "iu" or long.ndim != 1 or not ((long >= 1) & (long < tokens)).all():
        raise InputError("lengths", f"{long.tolist()}"[:80], f"must be integers from 1 to {tokens - 1}")
    b, k = long[:, None], np.arange(tokens)
    overlap = np.maximum(0, b - k) + np.maximum(0, b - tokens + k)
    both = ((tokens - 2 * b + overlap) / tokens) ** count("blocks", blocks)
    visible = both[:, :1]
    cross = visible * row if _output(target) else (visible - both) * row
    return MaskedModes(1 - visible[:, 0], *(_eigenvalues(part) for part in (cross, both * row)))


def _eigenvalues(rows: Array) -> Array:
    """Return the eigenvalues of symmetric circulant matrices from a row of each; what is rounding of 0 is 0."""
    found = np.fft.fft(rows, axis=1).real
    rounding = 4 * np.finfo(float).eps * np.abs(rows).sum(axis=1, keepdims=True)
    return np.where(np.abs(found) > rounding, found, 0.0)


def _output(target: str) -> bool:
    if target not in ("output", "input"):
        raise InputError("target", repr(target), "must be 'output' or 'input'")
    return target == "output"
