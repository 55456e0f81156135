"""Closed forms of the modes' trajectories (chapter 5), one function an objective; all broadcast like NumPy's ufuncs.

A mode is a direction that the data and the weights share. ``weight`` is the encoder's weight on it at time 0, ``cross`` is λ, the
cross-covariance of the two views, ``variance`` is σ; times are raw gradient-flow time, of the losses as chapter 1 to 5 state them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.balanced import undecayed
from jepalign.linear_models.decayed import decayed
from jepalign.linear_models.logistic import barlow_twins, spectral_contrastive
from jepalign.linear_models.modal import common_shape, cross_covariances, moments, rates, variances, weights
from jepalign.linear_models.unbalanced import unbalanced_jepa

__all__ = ["balanced_jepa", "barlow_twins", "spectral_contrastive", "unbalanced_jepa"]

Array = NDArray[np.float64]


def balanced_jepa(
    times: ArrayLike,
    weight: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    predictor_rate: ArrayLike = 1.0,
    weight_decay: ArrayLike = 0.0,
) -> Array:
    """Return the encoder's weight of a balanced mode of a JEPA, ẇ = p(λ − σp)w − ηw with p = √α w.

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖PWx − sg(Wy)‖²; ∞ gives the limit.
    weight : array_like
        w₀, the encoder's weight at time 0: 0 or between 1e-150 and 1e150 in size. Its sign is the predictor's.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    predictor_rate : array_like
        α, the predictor's learning rate relative to the encoder's, between 1e-30 and 1e30.
    weight_decay : array_like
        η, 0 or between 1e-30 and 1e30.

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
    The flow is that of Tian, Chen & Ganguli 2021; its solution by the Wright function and both real branches of Lambert's W
    (η = 0), and by two logarithms (η > 0), is ours. A start at an equilibrium, as the given numbers have it exactly, stays.
    Cost: a table look-up and one or two elementary functions an element for η = 0, a few steps of Newton's or Halley's method
    for η > 0.
    """
    t, w, a, s = moments(times), weights("weight", weight), cross_covariances(cross), variances(variance)
    rate, decay = rates("predictor_rate", predictor_rate, zero=False), rates("weight_decay", weight_decay, zero=True)
    common_shape(times=t, weight=w, cross=a, variance=s, predictor_rate=rate, weight_decay=decay)
    if not decay.any():
        return undecayed(t, w, a, s, rate + decay)
    if decay.all():
        return decayed(t, w, a, s, rate, decay)
    with_decay = decayed(t, w, a, s, rate, np.where(decay == 0, 1.0, decay))
    return np.where(decay == 0, undecayed(t, w, a, s, rate), with_decay)
