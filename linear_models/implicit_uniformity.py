"""Chapter 2, the map: predictors and the uniformity they implement, and the numbers of a JEPA's implicit repulsion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, real

Array = NDArray[np.float64]
Spectral = Callable[[ArrayLike], Array]


@dataclass(frozen=True)
class SpectralPredictor:
    """One entry of the dictionary (2.0): a predictor P = g(Φ) and the uniformity functional that it implements.

    The residual force z⁺ − Pz is the negative gradient of U_g = −½ tr K + ½ tr G(Φ) = ½ tr(Φ − K) + ½ tr u(Φ) on a
    symmetrised batch: alignment, and uniformity with g = G' = 1 + u'.

    Attributes
    ----------
    name : str
        Its key in ``DICTIONARY``.
    label : str
        Its name in print.
    spectrum, antiderivative, uniformity : callable
        g, G and u = G − s, on arrays s ≥ 0 of any shape; ``InputError`` for negative s or NaN.
    functional : str
        The objective 2U_g, or what is known by that name, in words.

    Notes
    -----
    Ours. Per mode, without the potential: Halvagal, Laborieux & Zenke 2023; as gradients at a fixed covariance: Tao
    et al. 2021 (UniGrad).
    """

    name: str
    label: str
    spectrum: Spectral
    antiderivative: Spectral
    uniformity: Spectral
    functional: str

    def matrix(self, moment: ArrayLike) -> Array:
        """Return P = g(Φ), (k, k), for a positive semidefinite ``moment`` Φ, (k, k).

        Raises
        ------
        InputError
            If Φ is not a finite, symmetric, positive semidefinite matrix (beyond rounding), or g is infinite at one of
            its eigenvalues (log-det at a singular Φ).
        """
        values, vectors = _spectral_form(moment)
        spectrum = self.spectrum(values)
        if not np.isfinite(spectrum).all():
            raise InputError(
                "moment", f"matrix with the eigenvalue {values[0]:.3g}", f"must be positive definite for {self.name}"
            )
        return (vectors * spectrum) @ vectors.T

    def trace_antiderivative(self, moment: ArrayLike) -> float:
        """Return tr G(Φ) for a positive semidefinite ``moment`` Φ, (k, k); infinite for log-det at a singular Φ.

        Raises
        ------
        InputError
            If Φ is not a finite, symmetric, positive semidefinite matrix (beyond rounding).
        """
        return float(self.antiderivative(_spectral_form(moment)[0]).sum())


def _spectral_form(moment: ArrayLike) -> tuple[Array, Array]:
    """Return eigenvalues (ascending, not negative) and eigenvectors of a covariance."""
    phi = matrix("moment", moment)
    if phi.shape[0] != phi.shape[1]:
        raise InputError("moment", f"array of shape {phi.shape}", "must be square")
    # Rounding of a k × k product of moments: k units of the largest entry, with room for a few such products.
    tolerance = 64 * len(phi) * np.finfo(float).eps * np.abs(phi).max()
    if (defect := np.abs(phi - phi.T).max()) > tolerance:
        raise InputError("moment", f"matrix with an asymmetry of {defect:.3g}", "must be symmetric")
    values, vectors = np.linalg.eigh((phi + phi.T) / 2)
    if values[0] < -tolerance:
        raise InputError("moment", f"matrix with the eigenvalue {values[0]:.3g}", "must be positive semidefinite")
    return np.maximum(values, 0.0), vectors


def _variance(s: ArrayLike) -> Array:
    values = np.asarray(s, dtype=np.float64)
    if not np.all(values >= 0):
        raise InputError("s", "array with a negative number or NaN", "must be at least 0")
    return values


def _infonce_spectrum(s: ArrayLike) -> Array:
    s = _variance(s)
    # 1 − ½(1+s)⁻¹ − ½(1+s)⁻² as a product of positive terms: the sum would lose s ≪ 1 to cancellation.
    return s / (1 + s) * ((s + 1.5) / (1 + s))


def _infonce_antiderivative(s: ArrayLike) -> Array:
    s = _variance(s)
    # ½(s − ln(1+s)) + ½s²/(1+s), both positive.
    return _excess_of_logarithm(s) / 2 + s / (1 + s) * (s / 2)


def _infonce_uniformity(s: ArrayLike) -> Array:
    s = _variance(s)
    return -(np.log1p(s) + s / (1 + s)) / 2


def _excess_of_logarithm(s: Array) -> Array:
    """Return s − ln(1+s), (about s²/2 for small s) to a few units of rounding.

    With y = s/(2+s), ln(1+s) = 2 artanh y and s − 2y = sy, so that s − ln(1+s) = sy − 2(artanh y − y), where the second
    term is less than a ninth of the first for s < 1/2 and is summed as a series.
    """
    small = np.minimum(s, 0.5)
    y = small / (2 + small)
    square = y * y
    series = np.zeros_like(y)
    # y ≤ 1/5: the first term left out is 5⁻²⁶/29 of y³, below the rounding of the first term kept.
    for power in range(27, 1, -2):
        series = series * square + 1 / power
    near = small * y - 2 * y * square * series
    return np.where(s < 0.5, near, s - np.log1p(s))


def _log_det_spectrum(s: ArrayLike) -> Array:
    s = _variance(s)
    with np.errstate(divide="ignore"):  # −∞ at s = 0 is the value, not an accident
        return (s - 1) / s  # not 1 − 1/s: the difference s − 1 is exact near 1


def _log_det_uniformity(s: ArrayLike) -> Array:
    with np.errstate(divide="ignore"):
        return -np.log(_variance(s))


def _directpred_uniformity(s: ArrayLike) -> Array:
    s = _variance(s)
    # ⅔s^{3/2} − s = s(4s − 9)/(6√s + 9): the zero at 9/4 is kept exactly.
    return s * ((4 * s - 9) / (6 * np.sqrt(s) + 9))


SPECTRAL_CONTRASTIVE = SpectralPredictor(
    name="spectral-contrastive",
    label="spectral contrastive",
    spectrum=lambda s: _variance(s) * 1.0,
    antiderivative=lambda s: _variance(s) ** 2 / 2,
    uniformity=lambda s: _variance(s) * ((_variance(s) - 2) / 2),
    functional="half the spectral contrastive loss (HaoChen et al. 2021)",
)
GAUSSIAN_INFONCE = SpectralPredictor(
    name="gaussian-infonce",
    label="Gaussian InfoNCE",
    spectrum=_infonce_spectrum,
    antiderivative=_infonce_antiderivative,
    uniformity=_infonce_uniformity,
    functional="InfoNCE of Gaussian embeddings with the similarity −½‖u − v‖² and infinitely many negatives",
)
LOG_DET = SpectralPredictor(
    name="log-det",
    label="log-det",
    spectrum=_log_det_spectrum,
    antiderivative=lambda s: _variance(s) + _log_det_uniformity(s),
    uniformity=_log_det_uniformity,
    functional="alignment minus log det Φ, the barrier that VICReg-like and log-det methods use",
)
DIRECTPRED = SpectralPredictor(
    name="directpred",
    label="DirectPred",
    spectrum=lambda s: np.sqrt(_variance(s)),
    antiderivative=lambda s: _variance(s) * np.sqrt(_variance(s)) * (2 / 3),
    uniformity=_directpred_uniformity,
    functional="two thirds of the cubed Schatten-3 norm of the embeddings minus tr K (predictor: Tian et al. 2021)",
)
NO_PREDICTOR = SpectralPredictor(
    name="no-predictor",
    label="no predictor",
    spectrum=lambda s: np.ones_like(_variance(s)),
    antiderivative=lambda s: _variance(s) * 1.0,
    uniformity=lambda s: np.zeros_like(_variance(s)),
    functional="alignment ½E‖z − z⁺‖² alone, no uniformity: collapse",
)

DICTIONARY: Mapping[str, SpectralPredictor] = MappingProxyType(
    {entry.name: entry for entry in (SPECTRAL_CONTRASTIVE, GAUSSIAN_INFONCE, LOG_DET, DIRECTPRED, NO_PREDICTOR)}
)


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
    return np.linalg.lstsq(z, z_plus, rcond=None)[0].T
