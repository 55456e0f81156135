"""Chapter 2, the map: the dictionary of predictors, and the numbers of a JEPA's implicit repulsion."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, real
from jepalign.linear_models.dictionary import DICTIONARY, SpectralPredictor

Array = NDArray[np.float64]

__all__ = [
    "DICTIONARY",
    "ModeForces",
    "PowerGap",
    "SpectralPredictor",
    "effective_coefficient",
    "mode_forces",
    "power_gap",
]


class ModeForces(NamedTuple):
    """The forces on the weight w of one mode of a JEPA with V = W, arrays of one shape.

    Attributes
    ----------
    attraction : ndarray
        pλw, the term of the positive pair.
    repulsion : ndarray
        −p²σw, the term that equals explicit negatives on balanced modes (2.2).
    surplus : ndarray
        F_u = w(1−p)(σ(1+p) − λ), what the predictor adds to plain alignment (λ−σ)w (2.3): attraction + repulsion is
        (λ−σ)w + surplus.
    power : ndarray
        w·F_u, the mode's implicit repulsive power (2.4).
    """

    attraction: Array
    repulsion: Array
    surplus: Array
    power: Array

    @property
    def total(self) -> Array:
        """The force p(λ − pσ)w."""
        return self.attraction + self.repulsion


def mode_forces(weight: ArrayLike, predictor: ArrayLike, cross: ArrayLike, variance: ArrayLike) -> ModeForces:
    """Return attraction, repulsion, surplus and power of modes (2.1, 2.3, 2.4).

    Parameters
    ----------
    weight, predictor, cross, variance : array_like
        w, p, λ and σ, broadcast against each other.

    Raises
    ------
    InputError
        If an argument is not finite, or σ is negative.
    """
    w, p, lam, sigma = _modes(weight, predictor, cross, variance)
    surplus = w * (1 - p) * (sigma * (1 + p) - lam)
    return ModeForces(p * lam * w, -p * p * sigma * w, surplus, w * surplus)


def effective_coefficient(weight: ArrayLike, predictor: ArrayLike, cross: ArrayLike, variance: ArrayLike) -> Array:
    """Return λ_eff = (1−p)(σ(1+p) − λ)/((1−s)σ), s = w²σ: explicit uniformity's weight with a JEPA's force (2.6).

    It makes W(C−Σ) + λ_eff(I−Φ)WΣ the JEPA's force on the mode. On a balanced mode it tends to 1 − ρ as w → 0.

    Parameters
    ----------
    weight, predictor, cross, variance : array_like
        w, p, λ and σ > 0, broadcast against each other.

    Returns
    -------
    ndarray
        ±∞ at the pole s = 1; NaN where the surplus force vanishes there too, as every coefficient then has it.

    Raises
    ------
    InputError
        If an argument is not finite, or σ is not positive.

    Notes
    -----
    Ours.
    """
    w, p, lam, sigma = _modes(weight, predictor, cross, variance)
    if not (sigma > 0).all():
        raise InputError("variance", float(sigma.min()), "must be above 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        return (1 - p) * (sigma * (1 + p) - lam) / ((1 - w * w * sigma) * sigma)


def _modes(
    weight: ArrayLike, predictor: ArrayLike, cross: ArrayLike, variance: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    given = {"weight": weight, "predictor": predictor, "cross": cross, "variance": variance}
    arrays = {name: real(name, value) for name, value in given.items()}
    try:
        w, p, lam, sigma = np.broadcast_arrays(*arrays.values())
    except ValueError as problem:
        shapes = ", ".join(str(value.shape) for value in arrays.values())
        raise InputError("weight, predictor, cross, variance", f"shapes {shapes}", "must broadcast") from problem
    if (sigma < 0).any():
        raise InputError("variance", float(sigma.min()), "must be at least 0")
    return w, p, lam, sigma


@dataclass(frozen=True)
class PowerGap:
    """The power identity 2.4 on a batch: power = alignment + correction + asymmetry, exactly.

    Attributes
    ----------
    power : float
        tr F_uWᵀ, computed from the forces: the power of what predictor and stop-gradient add to plain alignment.
    alignment : float
        ½E‖z − z⁺‖².
    correction : float
        tr Pᵀ(K − PΦ) with K = E z⁺zᵀ and Φ = E zzᵀ; 0 for the least-squares predictor.
    asymmetry : float
        ½(E‖z‖² − E‖z⁺‖²); 0 on a symmetrised batch.
    gap : float
        power less the other three: rounding only, if all is well.
    """

    power: float
    alignment: float
    correction: float
    asymmetry: float
    gap: float


def power_gap(
    z: ArrayLike, z_plus: ArrayLike, predictor: ArrayLike | None = None, *, symmetrize: bool = False
) -> PowerGap:
    """Return both sides of the power identity 2.4 for the embeddings of any encoder.

    Parameters
    ----------
    z, z_plus : array_like of shape (n, k)
        Embeddings of the context and target views, pair by pair; not centred here.
    predictor : array_like of shape (k, k), optional
        P, so that the prediction is Pz; None: the least-squares predictor of the batch.
    symmetrize : bool
        Use every pair in both orders.

    Raises
    ------
    InputError
        If the embeddings are not paired, not finite, or the predictor has another shape; without a predictor also if
        the batch has fewer samples than dimensions.

    Notes
    -----
    Ours. tr F_uWᵀ = E z·(Pᵀ(z⁺ − Pz) − (z⁺ − z)), whatever backbone lies below the last layer W.
    """
    first = matrix("z", z)
    second = matrix("z_plus", z_plus, first.shape)
    if symmetrize:
        first, second = np.concatenate((first, second)), np.concatenate((second, first))
    samples, width = first.shape
    P = _least_squares(first, second) if predictor is None else matrix("predictor", predictor, (width, width))
    force = (second - first @ P.T) @ P - (second - first)
    power = float((first * force).sum(axis=1).mean())
    alignment = float(np.square(first - second).sum(axis=1).mean() / 2)
    moment, crossed = first.T @ first / samples, second.T @ first / samples
    correction = float((P * (crossed - P @ moment)).sum())
    asymmetry = float((np.square(first).sum() - np.square(second).sum()) / (2 * samples))
    return PowerGap(power, alignment, correction, asymmetry, power - (alignment + correction + asymmetry))


def _least_squares(z: Array, z_plus: Array) -> Array:
    """Return the predictor P with the least E‖z⁺ − Pz‖², (k, k), the smallest of them if z does not span."""
    if z.shape[0] < z.shape[1]:
        raise InputError("z", f"array of shape {z.shape}", "must have at least as many samples as dimensions")
    return np.asarray(np.linalg.lstsq(z, z_plus, rcond=None)[0].T, dtype=np.float64)
