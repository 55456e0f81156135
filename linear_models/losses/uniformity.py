"""Uniformity of a batch: the logarithm of its mean Gaussian potential."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from jepalign.linear_models.losses.batch import (
    LossGradient,
    blocks,
    choice,
    factor,
    pair,
    through_unit_rows,
    unit_rows,
)

Array = NDArray[np.float64]


def uniformity(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    sharpness: float = 2.0,
    normalize: bool = True,
    convention: Literal["others", "all"] = "others",
) -> LossGradient:
    """Return ln of the mean of e^{−t‖z_i − z_j‖²} over the pairs within a view, averaged over the two views.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views, n at least 2. The views do not interact.
    sharpness : float
        t, between 1e-30 and 1e30.
    normalize : bool
        Divide every row by its length first, as the paper does.
    convention : {"others", "all"}
        "others": pairs i ≠ j, as the authors' code. "all": i = j too, divided by n²; never below −ln n.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k).

    Raises
    ------
    InputError
        If an argument is malformed or out of range, or a row to be normalised vanishes.

    Notes
    -----
    Wang & Isola 2020, section 4.1.2, and their code. Of Gaussian embeddings that are not normalised the limit is −½ ln det(I + 4tΦ).
    Cost O(n²k), in blocks of rows, twice.
    """
    first, second = pair(z1, z2)
    t = factor("sharpness", sharpness)
    choice("convention", convention, ("others", "all"))
    value1, gradient1 = _potential("z1", first, t, normalize, convention == "others")
    value2, gradient2 = _potential("z2", second, t, normalize, convention == "others")
    return LossGradient((value1 + value2) / 2, gradient1 / 2, gradient2 / 2)


def _potential(name: str, z: Array, t: float, normalize: bool, others: bool) -> tuple[float, Array]:
    n = len(z)
    points, lengths = unit_rows(name, z) if normalize else (z, None)
    # Distances ignore a common shift; the differences in the gradient are then of small numbers.
    shifted = points - points.mean(axis=0)
    parts = [_logarithm(exponents) for exponents in (_exponents(shifted, rows, t, others) for rows in blocks(n, n))]
    total = float(np.logaddexp.reduce(np.array(parts)))
    gradient = np.empty_like(shifted)
    with np.errstate(under="ignore"):
        for rows in blocks(n, n):
            weights = np.exp(_exponents(shifted, rows, t, others) - total)
            gradient[rows] = -4 * t * (weights.sum(axis=1)[:, None] * shifted[rows] - weights @ shifted)
    if lengths is not None:
        gradient = through_unit_rows(gradient, points, lengths)
    return total - float(np.log(n) + np.log(n - 1 if others else n)), gradient


def _exponents(points: Array, rows: slice, t: float, others: bool) -> Array:
    exponents = np.asarray(-t * cdist(points[rows], points, "sqeuclidean"), dtype=np.float64)
    if others:
        exponents[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = -np.inf
    return exponents


def _logarithm(exponents: Array) -> float:
    largest = float(exponents.max())
    with np.errstate(under="ignore"):
        return largest + float(np.log(np.exp(exponents - largest).sum()))
