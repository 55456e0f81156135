"""Modes whose square is logistic: the spectral contrastive loss (5.5) and Barlow Twins (5.6)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.modal import common_shape, cross_covariances, elementwise, moments, variances, weights

Array = NDArray[np.float64]


def _mode(times: Array, weight: Array, growth: Array, repulsion: Array, balance: Array, limit: Array) -> tuple[Array]:
    exponent = np.abs(growth) * times
    exponent = np.where(growth == 0, 0.0, exponent)
    # The root of 2b∫e^(−2|a|s)ds: while the exponent is small, of 2bt.
    spread = balance * np.sqrt(-np.expm1(-2 * exponent))
    early = exponent < 1e-20
    if early.any():
        spread[early] = (repulsion * np.sqrt(times))[early]
        spread[(repulsion == 0) & early] = 0.0
    half = np.exp(-exponent / 2)
    grows = growth > 0
    crowding = np.where(weight == 0, 0.0, weight * spread)
    bottom = np.hypot(np.where(grows, half * half, 1.0), crowding)
    result = weight * np.where(grows, 1.0, half) * np.where(grows, 1.0, half) / bottom
    rest = (times == np.inf) & grows & (weight != 0)
    if rest.any():
        result[rest] = np.copysign(limit, weight)[rest]
    nought = weight == 0
    if nought.any():
        result[nought] = weight[nought]
    return (result,)


def logistic_square(times: Array, weight: Array, growth: Array, root: Array) -> Array:
    """Return the solution of ẇ = aw − b²w³, a = ``growth`` of either sign, b = ``root`` ≥ 0."""
    with np.errstate(all="ignore"):
        balance = np.where(growth == 0, 0.0, root / np.sqrt(np.abs(growth)))
        limit = np.where(growth > 0, np.sqrt(np.abs(growth)) / root, 0.0)
        repulsion = np.sqrt(2.0) * root
    return elementwise(_mode, 1, times, weight, growth, repulsion, balance, limit)[0]


def spectral_contrastive(times: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike) -> Array:
    """Return a mode's weight under the gradient flow of the spectral contrastive loss, ẇ = 4λw − 4σ²w³.

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = −2 E z·z⁺ + E(z·z⁻)²; ∞ gives the limit.
    weight : array_like
        w₀, the encoder's weight at time 0, of either sign: 0 or between 1e-150 and 1e150 in size.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.

    Returns
    -------
    ndarray
        w(t), of the shape the arguments broadcast to.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    w² is logistic at the rate 8λ with the end λ/σ² (HaoChen, Wei, Gaidon & Ma 2021 for the loss); written as
    w₀/√(e^{−8λt} + σ²w₀²(1−e^{−8λt})/λ), no term cancels. Cost: two exponentials an element.
    """
    t, w, a, s = moments(times), weights("weight", weight), cross_covariances(cross), variances(variance)
    common_shape(times=t, weight=w, cross=a, variance=s)
    return logistic_square(t, w, 4 * a, 2 * s)


def barlow_twins(times: ArrayLike, weight: ArrayLike, cross: ArrayLike) -> Array:
    """Return a mode's weight under the gradient flow of Barlow Twins, ẇ = 4λw(1 − λw²).

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ‖WCWᵀ − I‖²_F; ∞ gives the limit.
    weight : array_like
        w₀, the encoder's weight at time 0, of either sign: 0 or between 1e-150 and 1e150 in size.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.

    Returns
    -------
    ndarray
        w(t), of the shape the arguments broadcast to.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Simon et al. 2023: w² is logistic at the rate 8λ with the end 1/λ; a mode with λ < 0 dies. Cost: two exponentials an
    element.
    """
    t, w, a = moments(times), weights("weight", weight), cross_covariances(cross)
    common_shape(times=t, weight=w, cross=a)
    return logistic_square(t, w, 4 * a, 2 * np.abs(a))
