"""Chapter 6, guarantees: what a linear probe loses, and how far perturbed data turn what is learnt."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix
from jepalign.linear_models.views import ViewPair, covariance

Array = NDArray[np.float64]


class ProbeRisk(NamedTuple):
    """What is left of one or several labels y after the best linear prediction, arrays of shape (m,).

    Attributes
    ----------
    embedding : ndarray
        min E(y − b·Wx)² over b: the risk of a linear probe on the embedding.
    view : ndarray
        min E(y − b·x)² over b: the risk of a linear probe on all of x, which no embedding goes below.
    """

    embedding: Array
    view: Array

    @property
    def excess(self) -> Array:
        """What the embedding loses, (m,), at least 0 up to rounding."""
        return self.embedding - self.view


def probe_risk(encoder: ArrayLike, context: ArrayLike, labels: ArrayLike, variances: ArrayLike) -> ProbeRisk:
    """Return the risk of linear probes for centred labels, from second moments alone.

    Parameters
    ----------
    encoder : array_like of shape (k, d)
        W; only its row space matters.
    context : array_like of shape (d, d)
        Σ_x.
    labels : array_like of shape (m, d)
        E yxᵀ, one label y a row. For x = Gu + n with white u and the label θ·u this is (Gθ)ᵀ.
    variances : array_like of shape (m,)
        E y², in the setting above ‖θ‖².

    Raises
    ------
    InputError
        If a shape is wrong, Σ_x is no covariance, or a label covaries with x more than its variance allows.

    Notes
    -----
    For embeddings of the first k canonical directions of two views of u, with E uuᵀ = I, the risk is
    Σ_{i≤k}(1−ρ_i)θ̃_i² + Σ_{i>k}θ̃_i², and the excess at most ρ_{k+1}‖θ‖² (6.2, ours; HaoChen et al. 2021 bound the error by
    eigenvalues of a graph). Cost O(d³).
    """
    W = matrix("encoder", encoder)
    d = W.shape[1]
    sigma = covariance("context", matrix("context", context, (d, d)))
    Y = matrix("labels", labels)
    if Y.shape[1] != d:
        raise InputError("labels", f"array of shape {Y.shape}", f"must have {d} columns, one per input dimension")
    second = matrix("variances", np.atleast_2d(np.asarray(variances)), (1, len(Y)))[0]
    # Of a root of Σ, so that no product of small eigenvalues is formed.
    values, vectors = np.linalg.eigh(sigma)
    kept = values > d * np.finfo(float).eps * values[-1]
    whitener = vectors[:, kept] / np.sqrt(values[kept])
    white = Y @ whitener
    explained = np.square(white).sum(axis=1)
    if (explained > second * (1 + 1e-9)).any():
        index = int(np.argmax(explained - second))
        value = f"row {index} explaining {explained[index]:.6g} of {second[index]:.6g}"
        raise InputError("labels", value, "must not covary with x more than the label's variance allows")
    root = vectors[:, kept] * np.sqrt(values[kept])
    axes = scipy.linalg.orth((W @ root).T)
    return ProbeRisk(second - np.square(white @ axes).sum(axis=1), second - explained)


def subspace_angles(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the principal angles between the row spaces of two encoders, (min rank,), descending, in radians.

    Parameters
    ----------
    first, second : array_like of shapes (k, d), (l, d)
        W and W′: what a linear probe can read off either is its row space.

    Raises
    ------
    InputError
        If the encoders differ in their number of columns or are not finite.
    """
    A, B = matrix("first", first), matrix("second", second)
    if A.shape[1] != B.shape[1]:
        raise InputError("second", f"array of shape {B.shape}", f"must have {A.shape[1]} columns, as the first")
    return np.asarray(scipy.linalg.subspace_angles(A.T, B.T))


class SubspaceBound(NamedTuple):
    """How far a perturbation turns the leading eigenspace of a symmetric matrix.

    Attributes
    ----------
    sine : float
        ‖sin ∠‖, in the Frobenius norm, between the spaces.
    bound : float
        ‖E‖/gap in the Frobenius norm; ∞ where the gap is not positive.
    gap : float
        The least eigenvalue kept without the perturbation less the largest one left out with it.
    """

    sine: float
    bound: float
    gap: float


def subspace_bound(operator: ArrayLike, perturbed: ArrayLike, width: int) -> SubspaceBound:
    """Return the angle between the leading eigenspaces of A and A + E, and what Davis & Kahan (1970, sin θ) say of it.

    Parameters
    ----------
    operator, perturbed : array_like of shape (d, d)
        A and A + E, symmetric. With A = Σ^{−1/2}CΣ^{−1/2} and A + E = C the effect of Σ ≠ I (:func:`whitened_cross`).
    width : int
        k, how many eigenvectors are kept, between 1 and d − 1.

    Raises
    ------
    InputError
        If a matrix is not symmetric or the width is out of range.
    """
    A, B = _symmetric("operator", operator), _symmetric("perturbed", perturbed)
    if A.shape != B.shape:
        raise InputError("perturbed", f"array of shape {B.shape}", f"must have the shape {A.shape}")
    if not 1 <= width < len(A):
        raise InputError("width", width, f"must be between 1 and {len(A) - 1}")
    (values, vectors), (others, turned) = np.linalg.eigh(A), np.linalg.eigh(B)
    gap = float(values[-width] - others[-width - 1])
    sine = float(np.linalg.norm(turned[:, :-width].T @ vectors[:, -width:]))
    return SubspaceBound(sine, float(np.linalg.norm(B - A)) / gap if gap > 0 else np.inf, gap)


def whitened_cross(views: ViewPair) -> Array:
    """Return Σ_x^{−1/2}CΣ_x^{−1/2}, (d, d), C the symmetric part of Σ_yx: its leading eigenspace is what is learnt (1.5).

    Raises
    ------
    InputError
        If Σ_x is singular.
    """
    values, vectors = np.linalg.eigh(views.context)
    if values[0] <= len(values) * np.finfo(float).eps * values[-1]:
        raise InputError("views", f"views with the variance {values[0]:.3g} in some direction", "must have full rank")
    root = vectors / np.sqrt(values) @ vectors.T
    found = root @ ((views.cross + views.cross.T) / 2) @ root
    return (found + found.T) / 2


def _symmetric(name: str, value: ArrayLike) -> Array:
    """Return ``value`` as a symmetric matrix, or raise ``InputError``."""
    found = matrix(name, value)
    if found.shape[0] != found.shape[1]:
        raise InputError(name, f"array of shape {found.shape}", "must be square")
    if np.abs(found - found.T).max() > 1e-10 * np.abs(found).max():
        raise InputError(name, "matrix that is not symmetric", "must be symmetric")
    return (found + found.T) / 2
