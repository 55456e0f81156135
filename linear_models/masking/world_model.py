"""World models: the covariance of a stationary linear state."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix

Array = NDArray[np.float64]

# Each doubling squares the dynamics: 64 of them pass every spectral radius that float64 tells from 1.
DOUBLINGS = 64


def stationary_covariance(dynamics: ArrayLike, noise: ArrayLike) -> Array:
    """Return the covariance Σ = FΣFᵀ + Q of the stationary state x′ = Fx + ξ, (d, d), symmetric.

    The sum of FⁿQFⁿᵀ over n is doubled (Smith 1968), which only adds positive semidefinite terms: the result is
    positive semidefinite up to rounding, also for singular noise. Cost d³ log(1/(1 − radius)).

    Parameters
    ----------
    dynamics : array_like of shape (d, d)
        F, of spectral radius below 1.
    noise : array_like of shape (d, d)
        Q = Cov ξ of everything that drives the state, positive semidefinite.

    Raises
    ------
    InputError
        If a matrix is not finite or has the wrong shape, if ``noise`` is not symmetric or has a negative eigenvalue, if
        the spectral radius of ``dynamics`` is not below 1, or if the covariance leaves the range of float64.
    """
    F = matrix("dynamics", dynamics)
    if F.shape[0] != F.shape[1]:
        raise InputError("dynamics", f"array of shape {F.shape}", "must be square")
    Q = matrix("noise", noise, F.shape)
    size = np.abs(Q).max()
    if np.abs(Q - Q.T).max() > 1e-10 * size or np.linalg.eigvalsh((Q + Q.T) / 2)[0] < -1e-10 * len(Q) * size:
        raise InputError("noise", "matrix that is no covariance", "must be symmetric and positive semidefinite")
    radius = float(np.abs(np.linalg.eigvals(F)).max())
    if radius >= 1:
        raise InputError("dynamics", f"matrix of spectral radius {radius:.6g}", "must have a spectral radius below 1")
    total, power = (Q + Q.T) / 2, F
    with np.errstate(all="ignore"):
        for _ in range(DOUBLINGS):
            step = power @ total @ power.T
            total = total + (step + step.T) / 2
            if not np.isfinite(total).all():
                break
            if np.abs(step).max() <= 1e-18 * np.abs(total).max():
                return total
            power = power @ power
    raise InputError("dynamics", f"matrix of spectral radius {radius:.17g}", "is too close to instability for float64")
