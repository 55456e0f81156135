"""Covariances of few samples, shrunk towards a multiple of the identity by a named estimator."""

from typing import Literal, TypeAlias

import numpy as np

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, rate
from jepalign.linear_models.moments import Array, Covariances, PairMoments

Estimator: TypeAlias = Literal["ledoit-wolf", "oas"]

# Variances whose squares, summed over any sample that fits into memory, stay inside the range of float64.
SMALLEST, LARGEST = 1e-70, 1e70


def ledoit_wolf(covariance: Array, fourth: float, samples: int) -> float:
    """Return the amount a in [0, 1] of the shrunk covariance (1−a)S + a (tr S/p) I of Ledoit & Wolf 2004.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        S, the mean of zzᵀ over the samples.
    fourth : float
        The mean of ‖z‖⁴ over the samples.
    samples : int
        n.

    Raises
    ------
    InputError
        If ``samples`` is not a positive integer or ``fourth`` is not a number at least 0.
    """
    return _ledoit_wolf(*_summary(covariance), len(covariance), rate("fourth", fourth), count("samples", samples))


def oas(covariance: Array, samples: int) -> float:
    """Return the amount a in [0, 1] of oracle approximating shrinkage, (1−a)S + a (tr S/p) I (Chen et al. 2010).

    As scikit-learn does, we leave out the two terms 2/p of their equation 23, which are small for many dimensions.

    Parameters
    ----------
    covariance : ndarray of shape (p, p)
        S, the mean of zzᵀ over the samples.
    samples : int
        n.

    Raises
    ------
    InputError
        If ``samples`` is not a positive integer.
    """
    return _oas(*_summary(covariance), len(covariance), count("samples", samples))


def shrunk(
    moments: PairMoments, estimator: Estimator | None, *, symmetrize: bool = False, center: bool = True
) -> Covariances:
    """Return second moments shrunk by an estimator, both views together, so that they stay those of some pair.

    The estimator sees the joint covariance of (x, y), of p = 2d dimensions: Σ_yx shrinks with the variances, and views
    without exchangeability get one common target. Both estimators take samples for independent. With ``symmetrize`` they
    see 2n rows, of which each pair gives two: the amount is then smaller than n pairs deserve.

    Ledoit & Wolf's amount needs the mean of ‖(x, y)‖⁴, which the moments keep in the same pass.

    Parameters
    ----------
    moments : PairMoments
        What is known of the samples.
    estimator : "ledoit-wolf", "oas" or None
        Ledoit & Wolf 2004, Chen, Wiesel, Eldar & Hero 2010, or no shrinkage.
    symmetrize, center : bool
        As in ``PairMoments.covariances``.

    Raises
    ------
    InputError
        If the estimator is none of these, with fewer than 2 pairs, or if the mean variance is not 0 and not between
        1e-70 and 1e70, whose squares would leave the range of float64.
    """
    found = moments.covariances(symmetrize=symmetrize, center=center)
    if estimator is None:
        return found
    if estimator not in ("ledoit-wolf", "oas"):
        raise InputError("shrinkage", repr(estimator), "must be 'ledoit-wolf', 'oas' or None")
    p, n = 2 * moments.dimension, moments.count * (2 if symmetrize else 1)
    mean = float(np.trace(found.context) + np.trace(found.target)) / p
    if mean == 0:
        return found
    if not SMALLEST <= mean <= LARGEST:
        raise InputError("x", f"samples of variance {mean:.3g}", f"must have one in [{SMALLEST}, {LARGEST}] to shrink")
    square = float(np.sum(found.context**2) + np.sum(found.target**2) + 2 * np.sum(found.cross**2))
    if estimator == "oas":
        amount = _oas(mean, square, p, n)
    else:
        amount = _ledoit_wolf(mean, square, p, moments.fourth(symmetrize=symmetrize, center=center), n)
    context, target, cross = ((1 - amount) * part for part in found)
    ridge = amount * mean * np.eye(moments.dimension)
    return Covariances(context + ridge, target + ridge, cross)


def _summary(covariance: Array) -> tuple[float, float]:
    """Return the mean variance and the squared norm."""
    return float(np.trace(covariance)) / len(covariance), float(np.sum(covariance**2))


def _ledoit_wolf(mean: float, square: float, p: int, fourth: float, n: int) -> float:
    # How far S is from the multiple of I, and how far it is from its own expectation, which cannot be further.
    distance = square - p * mean**2
    error = min((fourth - square) / n, distance)
    return 0.0 if error <= 0 else error / distance


def _oas(mean: float, square: float, p: int, n: int) -> float:
    above, below = square + (p * mean) ** 2, (n + 1) * (square - p * mean**2)
    return 1.0 if above >= below else above / below
