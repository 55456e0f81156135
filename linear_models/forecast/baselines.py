"""What a practitioner would forecast collapse by without a theory: effective ranks, and extrapolations of what was recorded."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate, real
from jepalign.linear_models.views import ROUNDING

Array = NDArray[np.float64]

# What keeps RankMe finite (Garrido et al. 2023).
EPSILON = 1e-7
# Logarithms are extrapolated at most so far: eigenvalues that grew may not leave what a float holds.
FAR = 60.0


def effective_rank(eigenvalues: ArrayLike) -> Array:
    """Return exp of the entropy of normalised eigenvalues of a second moment, (..., k) → (...) (Roy & Vetterli 2007); 0 if all are 0.

    Raises ``InputError`` if an entry is negative.
    """
    values = _spectrum("eigenvalues", eigenvalues)
    total = values.sum(axis=-1, keepdims=True)
    share = values / np.where(total > 0, total, 1.0)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def rankme(eigenvalues: ArrayLike) -> Array:
    """Return RankMe of an embedding from the eigenvalues of its second moment, (..., k) → (...); 0 if all are 0.

    It is exp of the entropy of the normalised *singular* values of the embedding, so of the roots of the eigenvalues, with 1e-7 added to
    each share (Garrido et al. 2023). Raises ``InputError`` if an entry is negative.
    """
    values = np.sqrt(_spectrum("eigenvalues", eigenvalues))
    total = values.sum(axis=-1, keepdims=True)
    share = values / np.where(total > 0, total, 1.0) + EPSILON
    entropy = -(share * np.log(share)).sum(axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def extrapolated_rank(before: ArrayLike, now: ArrayLike, elapsed: float, time: float, *, width: int) -> Array:
    """Return a rank extrapolated along a straight line from two records, ``elapsed`` apart, kept between 0 and ``width``, (...).

    Raises ``InputError`` if ``elapsed`` is not positive or ``time``, from now, is negative.
    """
    first, second = real("before", before), real("now", now)
    slope = (second - first) / rate("elapsed", elapsed, positive=True)
    return np.clip(second + slope * rate("time", time), 0.0, float(width))


def extrapolated_eigenvalues(before: ArrayLike, now: ArrayLike, elapsed: float, time: float) -> Array:
    """Return each eigenvalue extrapolated along a straight line of its logarithm from two records, (..., k).

    Parameters
    ----------
    before, now : array_like of shape (..., k)
        Eigenvalues in one order, ``elapsed`` apart.
    elapsed, time : float
        Between the records, and from now.

    Raises
    ------
    InputError
        If an eigenvalue is negative, ``elapsed`` is not positive or ``time`` is negative.
    """
    tiny = np.finfo(float).tiny
    first, second = (np.log(np.maximum(_spectrum(*named), tiny)) for named in (("before", before), ("now", now)))
    slope = (second - first) / rate("elapsed", elapsed, positive=True)
    return np.exp(second + np.clip(slope * rate("time", time), -FAR, FAR))


def _spectrum(name: str, value: ArrayLike) -> Array:
    values = real(name, value)
    if values.ndim == 0:
        raise InputError(name, "number", "must have an axis of eigenvalues")
    # An eigenvalue solver leaves zeros of either sign, of rounding of the largest eigenvalue.
    if values.size and values.min() < -ROUNDING * np.abs(values).max():
        raise InputError(name, float(values.min()), "must not be negative")
    return np.maximum(values, 0.0)
