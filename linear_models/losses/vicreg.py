"""VICReg of a batch, in each of the normalisations in use."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.checks import rate
from jepalign.linear_models.contrastive.vicreg import CONVENTIONS as POPULATION
from jepalign.linear_models.losses.batch import LossGradient, centred, choice, pair, varies

Array = NDArray[np.float64]

CONVENTIONS = {**POPULATION, "official": POPULATION["lightly"]}


def vicreg(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    epsilon: float = 1e-4,
    convention: Literal["paper", "official", "lightly", "solo-learn"] = "paper",
) -> LossGradient:
    """Return a (1/n) Σ‖z1_i − z2_i‖² + b Σ_views Σ_j max(0, 1 − √(V_jj + ε)) + c Σ_views Σ_{i≠j} V_ij².

    V is the covariance of a view, over n − 1 in every convention. The name of the convention says what a, b and c are:

    - "paper" (Bardes, Ponce & LeCun 2022, its equations): a = invariance, b = variance/k, c = covariance/k;
    - "official", the code of the authors, and "lightly": a = invariance/k, b = variance/(2k), c = covariance/k;
    - "solo-learn": a = invariance/k, b = variance/k, c = covariance/k.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views; row i of both is sample i, n at least 2.
    invariance, variance, covariance : float
        The weights, at least 0.
    epsilon : float
        ε ≥ 0, within the root.
    convention : {"paper", "official", "lightly", "solo-learn"}
        The normalisation.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k). On the edge of a hinge, √(V_jj + ε) = 1, its gradient is taken to be 0.

    Raises
    ------
    InputError
        If an argument is malformed or out of range, or ε = 0 and a dimension does not vary.

    Notes
    -----
    Its limit for large n is :class:`jepalign.linear_models.VICReg` with the same convention. Cost O(nk²).
    """
    first, second = pair(z1, z2)
    weights = rate("invariance", invariance), rate("variance", variance), rate("covariance", covariance)
    eps = rate("epsilon", epsilon)
    choice("convention", convention, CONVENTIONS)
    n, k = first.shape
    a, b, c = (weight * share for weight, share in zip(weights, CONVENTIONS[convention](k), strict=True))
    apart = first - second
    value = a * float(np.square(apart).sum()) / n
    gradients = [2 * a / n * apart, -2 * a / n * apart]
    for index, (name, z) in enumerate((("z1", first), ("z2", second))):
        deviations = centred(z)
        if eps == 0:
            varies(name, z, deviations)
        moment = deviations.T @ deviations / (n - 1)
        root = np.sqrt(np.diag(moment) + eps)
        np.fill_diagonal(moment, 0.0)
        value += b * float(np.maximum(0.0, 1 - root).sum()) + c * float(np.square(moment).sum())
        # The root may be 0 only where the squares of all deviations vanished.
        hinge = np.where(root < 1, b / np.maximum(root, np.finfo(np.float64).tiny), 0.0)
        gradients[index] += (4 * c * deviations @ moment - hinge * deviations) / (n - 1)
    return LossGradient(value, gradients[0], gradients[1])
