"""Canonical correlations and directions of two views, also where their covariances are singular."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jepalign.errors import InputError

if TYPE_CHECKING:  # views report their correlations through this module
    from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]

# A direction with less variance than this many units of rounding per dimension, in units of standard deviations, is
# taken to have none: rounding of the moments alone gives a direction without variance about so much.
ROUNDINGS = 64


class CanonicalPairs(NamedTuple):
    """The pairs of directions (a, b) whose a·x and b·y have variance 1 and are correlated with nothing but each other.

    There are r of them, the smaller rank of the two covariances.

    Attributes
    ----------
    correlation : ndarray of shape (r,)
        Canonical correlations, descending, in [0, 1].
    context, target : ndarray of shape (d, r)
        The directions a and b, one per column: AᵀΣ_xA = BᵀΣ_yB = I and BᵀΣ_yxA = diag(correlation).
    """

    correlation: Array
    context: Array
    target: Array


def canonical_pairs(views: "ViewPair") -> CanonicalPairs:
    """Return the canonical correlations and directions of x and y (Hotelling 1936).

    Both covariances are brought to units of standard deviations, which changes no correlation, and factored by their
    eigenvectors; directions without variance are left out. The rounding of a covariance of condition κ in these units
    moves a correlation by up to about κ·1e-16, so that no solver that starts from covariances does better (from samples
    one can: Björck & Golub 1973). Columns of either side have no sign of their own; of equal correlations only the
    common span is determined. Cost O(d³).

    Parameters
    ----------
    views : ViewPair
        Any views; raises nothing of its own.
    """
    return pairs_of(views.context, views.target, views.cross)


def pairs_of(context: Array, target: Array, cross: Array) -> CanonicalPairs:
    """Return the canonical pairs of Σ_x, Σ_y and Σ_yx, each (d, d), as ``canonical_pairs`` does."""
    (first, inverse_x), (second, inverse_y) = (whitening(value) for value in (context, target))
    whitened = inverse_y.T @ (cross / np.outer(second, first)) @ inverse_x
    left, values, right = np.linalg.svd(whitened, full_matrices=False)
    a, b = inverse_x @ right.T / first[:, None], inverse_y @ left / second[:, None]
    return CanonicalPairs(np.minimum(values, 1.0), a, b)


def signed_correlations(views: "ViewPair") -> Array:
    """Return the correlations of exchangeable views with their signs, (d,), descending.

    They are the eigenvalues of Σ^{−1/2}CΣ^{−1/2}, in [−1, 1]; their absolute values are the canonical correlations.
    Directions without variance have 0. Rounding is that of ``canonical_pairs``. Cost O(d³).

    Raises
    ------
    InputError
        If the views are not exchangeable: their correlations have no sign then.
    """
    if not views.exchangeable:
        raise InputError("views", "views that are not exchangeable", "must be exchangeable for signed correlations")
    units, inverse = whitening(views.context)
    whitened = inverse.T @ (views.cross / np.outer(units, units)) @ inverse
    values = np.linalg.eigvalsh((whitened + whitened.T) / 2)
    padded = np.concatenate((values, np.zeros(views.dimension - len(values))))
    return np.sort(np.minimum(np.maximum(padded, -1.0), 1.0))[::-1]


def standard_deviations(variances: Array) -> Array:
    """Return standard deviations, and 1 where there is no variance."""
    return np.sqrt(np.where(variances > 0, variances, 1.0))


def whitening(covariance: Array) -> tuple[Array, Array]:
    """Return the standard deviations u, (d,), and Q, (d, r) of rank r, with QᵀΣQ = I for the covariance Σ/(uuᵀ)."""
    units = standard_deviations(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(units, units))
    kept = values > ROUNDINGS * len(units) * np.finfo(float).eps * values[-1]
    return units, vectors[:, kept] / np.sqrt(values[kept])
