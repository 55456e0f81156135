"""Modes whose predictor is set from the embedding covariance, p = sᵃ with s = σw² (5.9): balanced or logistic in another clock."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.modal import (
    WEIGHT,
    common_shape,
    cross_covariances,
    moments,
    rates,
    sized,
    variances,
    weights,
)
from jepalign.linear_models.trajectories.balanced import balanced_jepa
from jepalign.linear_models.trajectories.logistic import logistic_square

Array = NDArray[np.float64]


def power_predictor(
    times: ArrayLike,
    weight: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    exponent: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    force: Literal["byol", "residual"] = "byol",
) -> Array:
    """Return the encoder's weight of a mode whose predictor is p = sᵃ at all times, s = σw².

    The force is BYOL's, ẇ = p(λ − σp)w − ηw, or the residual one, ẇ = (λ − σp)w − ηw.

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of the encoder; ∞ gives the limit.
    weight : array_like
        w₀, the encoder's weight at time 0, of either sign: 0 or between 1e-150 and 1e150 in size, and such that sᵃ is too.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    exponent : array_like
        a, between 0.01 and 100: ½ is DirectPred, 1 DirectCopy.
    weight_decay : array_like
        η, 0 or between 1e-30 and 1e30.
    force : str
        "byol", or "residual", which leaves the predictor's factor out.

    Returns
    -------
    ndarray
        w(t), of the shape the arguments broadcast to.

    Raises
    ------
    InputError
        If an argument leaves its range, the shapes do not broadcast or ``force`` is neither name.

    Notes
    -----
    DirectPred: Tian, Chen & Ganguli 2021; DirectCopy: Wang, Chen, Du & Tian 2021; the residual form is IsoLoss, Halvagal,
    Laborieux & Zenke 2023. With BYOL's force p is the balanced mode in the clock 2at; with the residual one p is logistic at the rate
    2a(λ − η) with the end λ/σ − η/σ: ours. Cost: that of `balanced_jepa` or `spectral_contrastive` and two powers.
    """
    if force not in ("byol", "residual"):
        raise InputError("force", repr(force), 'must be "byol" or "residual"')
    t, w, lam, sig = moments(times), weights("weight", weight), cross_covariances(cross), variances(variance)
    a, decay = (
        sized("exponent", exponent, 100.0, signed=False, zero=False),
        rates("weight_decay", weight_decay, zero=True),
    )
    common_shape(times=t, weight=w, cross=lam, variance=sig, exponent=a, weight_decay=decay)
    t, w, lam, sig, a, decay = np.broadcast_arrays(t, w, lam, sig, a, decay)
    with np.errstate(all="ignore"):
        root = np.abs(w) * np.sqrt(sig)
        start = (root**a) ** 2
        fine = (w == 0) | ((start >= 1 / WEIGHT) & (start <= WEIGHT))
        if not fine.all():
            worst = float(start[~fine].flat[0])
            raise InputError("weight", worst, f"must give a predictor (σw²)^a between {1 / WEIGHT:g} and {WEIGHT:g}")
        if force == "byol":
            # Only the ratio of p to its start matters, so that w₀ is kept to its last digit.
            found = balanced_jepa(2 * a * t, start, lam, sig, weight_decay=decay)
            growth = np.sqrt(found / np.where(w == 0, 1.0, start))
        else:
            half = root**a
            found = logistic_square(t, half, a * (lam - decay), np.sqrt(a * sig))
            growth = found / np.where(w == 0, 1.0, half)
        return np.where(w == 0, 0.0, w * growth ** (1 / a))
