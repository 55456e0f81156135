"""The log-determinant of the covariance of a batch."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.losses.batch import LossGradient, centred, choice, pair

Array = NDArray[np.float64]


def log_det(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    epsilon: float = 0.0,
    convention: Literal["population", "sample"] = "population",
) -> LossGradient:
    """Return −½ ln det(V + εI), averaged over the two views, V the covariance of a view.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views, n at least 2. The views do not interact.
    epsilon : float
        ε ≥ 0. With 0 the covariance must have full rank, so that n must exceed k.
    convention : {"population", "sample"}
        Whether V is divided by n or by n − 1.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k).

    Raises
    ------
    InputError
        If an argument is malformed, or ε = 0 and a covariance is singular to rounding.

    Notes
    -----
    The explicit term of Ozsoy et al. 2022 (CorInfoMax). Its limit for large n and ε = 0 is the mean over the views of
    :class:`jepalign.linear_models.uniformity.LogDet`. From singular values of the batch: forming V would square the condition number.
    Cost O(nk min(n, k)).
    """
    first, second = pair(z1, z2)
    eps = rate("epsilon", epsilon)
    choice("convention", convention, ("population", "sample"))
    divisor = len(first) - (convention == "sample")
    value1, gradient1 = _half("z1", first, divisor, eps)
    value2, gradient2 = _half("z2", second, divisor, eps)
    return LossGradient((value1 + value2) / 2, gradient1 / 2, gradient2 / 2)


def _half(name: str, z: Array, divisor: int, eps: float) -> tuple[float, Array]:
    n, k = z.shape
    left, values, right = np.linalg.svd(centred(z) / np.sqrt(divisor), full_matrices=False)
    if eps == 0 and (n <= k or values[-1] <= max(n, k) * np.finfo(np.float64).eps * max(values[0], 1e-150)):
        raise InputError(name, f"batch of shape {z.shape}", "must have a covariance of full rank, for epsilon = 0")
    if eps == 0:
        return -float(np.log(values).sum()), -(left / values) @ right / np.sqrt(divisor)
    shifted = np.square(values) + eps
    beyond = max(0, k - len(values))
    return (
        -float(np.log(shifted).sum() + beyond * np.log(eps)) / 2,
        -(left * (values / shifted)) @ right / np.sqrt(divisor),
    )
