"""Closed forms of the modes' trajectories (chapter 5), one function an objective; all broadcast like NumPy's ufuncs.

A mode is a direction that the data and the weights share. ``weight`` is the encoder's weight on it at time 0, ``cross`` is λ, the
cross-covariance of the two views, ``variance`` is σ; times are raw gradient-flow time, of the losses as chapter 1 to 5 state them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.balanced import undecayed
from jepalign.linear_models.logistic import barlow_twins, spectral_contrastive
from jepalign.linear_models.modal import common_shape, cross_covariances, moments, rates, variances, weights

__all__ = ["balanced_jepa", "barlow_twins", "spectral_contrastive"]

Array = NDArray[np.float64]


def balanced_jepa(
    times: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike, *, predictor_rate: ArrayLike = 1.0
) -> Array:
    """Return a balanced mode's weight, ẇ = p(λ − σp)w with p = √α w."""
    t, w, a, s = moments(times), weights("weight", weight), cross_covariances(cross), variances(variance)
    rate = rates("predictor_rate", predictor_rate, zero=False)
    common_shape(times=t, weight=w, cross=a, variance=s, predictor_rate=rate)
    return undecayed(t, w, a, s, rate)
