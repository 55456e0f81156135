"""Barlow Twins of a batch, in the normalisations of the paper and of the codes."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.checks import rate
from jepalign.linear_models.losses.batch import LossGradient, centred, choice, pair, varies

Array = NDArray[np.float64]

# What is taken from n in the divisor of a variance, and ε within the root of the deviation. Products are divided by n.
CONVENTIONS = {"paper": (0, 0.0), "algorithm": (1, 0.0), "official": (0, 1e-5), "lightly": (0, 1e-5)}


def barlow_twins(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    off_diagonal: float = 0.005,
    convention: Literal["paper", "algorithm", "official", "lightly"] = "paper",
) -> LossGradient:
    """Return Σ_i (1 − R_ii)² + μ Σ_{i≠j} R_ij² for the cross-correlation R of two batches.

    R_ij = (1/n) Σ_b (z1_bi − mean)(z2_bj − mean)/(s1_i s2_j); sums over dimensions, no halves.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views; row i of both is sample i, n at least 2.
    off_diagonal : float
        μ ≥ 0: 0.005 in the paper and in lightly, 0.0051 in the authors' code (λ there).
    convention : {"paper", "algorithm", "official", "lightly"}
        The deviation s. "paper" (its equation 2): variances over n, |R_ij| ≤ 1. "algorithm" (its Algorithm 1): variances over n − 1, so
        that R_ii stays below 1 − 1/n. "official" and "lightly": batch normalisation, √(variance over n + 1e-5).

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k).

    Raises
    ------
    InputError
        If an argument is malformed, or a dimension does not vary where there is no ε.

    Notes
    -----
    Zbontar, Jing, Misra, LeCun & Deny 2021. Its limit for large n is the "published" form of
    :class:`jepalign.linear_models.BarlowTwins`. Cost O(nk²).
    """
    first, second = pair(z1, z2)
    mu = rate("off_diagonal", off_diagonal)
    choice("convention", convention, CONVENTIONS)
    less, epsilon = CONVENTIONS[convention]
    n, k = first.shape
    unit1, deviation1 = _standardised("z1", first, n - less, epsilon)
    unit2, deviation2 = _standardised("z2", second, n - less, epsilon)
    correlation = unit1.T @ unit2 / n
    weights = np.full((k, k), mu)
    np.fill_diagonal(weights, 1.0)
    distance = correlation - np.eye(k)
    slope = 2 / n * weights * distance
    return LossGradient(
        float((weights * np.square(distance)).sum()),
        _through(unit2 @ slope.T, unit1, deviation1, n - less),
        _through(unit1 @ slope, unit2, deviation2, n - less),
    )


def _standardised(name: str, values: Array, divisor: int, epsilon: float) -> tuple[Array, Array]:
    deviations = centred(values)
    if epsilon == 0:
        varies(name, values, deviations)
        # In units of the largest: squares of small numbers would vanish.
        largest = np.abs(deviations).max(axis=0)
        scale = largest * np.sqrt(np.square(deviations / largest).sum(axis=0) / divisor)
    else:
        scale = np.sqrt(np.square(deviations).sum(axis=0) / divisor + epsilon)
    return deviations / scale, scale


def _through(gradient: Array, units: Array, scale: Array, divisor: int) -> Array:
    """Return the gradient with respect to the batch, given that with respect to its standardised columns."""
    # Its columns have mean 0 as those of the other batch do: nothing is left of the mean's own gradient.
    return (gradient - units * ((gradient * units).sum(axis=0) / divisor)) / scale
