"""Chapter 2, the dictionary: predictors and the uniformity they implement (2.0)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix

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
        g, G and u = G − s, on arrays s ≥ 0 of any shape; ``InputError`` for negative s, infinity or NaN.
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


def _spectral(formula: Callable[[Array], Array]) -> Spectral:
    """Make a function of checked arrays s ≥ 0 from a formula: a number for a number, ±∞ beyond the range of float64."""

    @wraps(formula)
    def function(s: ArrayLike) -> Array:
        values = np.asarray(s, dtype=np.float64)
        if not np.all((values >= 0) & (values < np.inf)):
            raise InputError("s", "array with a negative number, infinity or NaN", "must be finite and at least 0")
        with np.errstate(divide="ignore", over="ignore"):  # log-det at 0, and values too large, are infinite
            return np.asarray(formula(values))[()]

    return function


@_spectral
def _zero(s: Array) -> Array:
    return np.zeros_like(s)


@_spectral
def _one(s: Array) -> Array:
    return np.ones_like(s)


@_spectral
def _identity(s: Array) -> Array:
    return s.copy()


@_spectral
def _half_square(s: Array) -> Array:
    return s * (s / 2)


@_spectral
def _contrastive_uniformity(s: Array) -> Array:
    return s * ((s - 2) / 2)


@_spectral
def _infonce_spectrum(s: Array) -> Array:
    # 1 − ½(1+s)⁻¹ − ½(1+s)⁻² as a product of positive terms: the sum would lose s ≪ 1 to cancellation.
    return s / (1 + s) * ((s + 1.5) / (1 + s))


@_spectral
def _infonce_antiderivative(s: Array) -> Array:
    # ½(s − ln(1+s)) + ½s²/(1+s), both positive.
    return _excess_of_logarithm(s) / 2 + s / (1 + s) * (s / 2)


@_spectral
def _infonce_uniformity(s: Array) -> Array:
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


@_spectral
def _log_det_spectrum(s: Array) -> Array:
    return (s - 1) / s  # not 1 − 1/s: the difference s − 1 is exact near 1


@_spectral
def _log_det_antiderivative(s: Array) -> Array:
    return s - np.log(s)


@_spectral
def _log_det_uniformity(s: Array) -> Array:
    return -np.log(s)


@_spectral
def _schatten(s: Array) -> Array:
    return s * (np.sqrt(s) * (2 / 3))


@_spectral
def _schatten_uniformity(s: Array) -> Array:
    # ⅔s^{3/2} − s = s(4s − 9)/(6√s + 9): the zero at 9/4 is kept exactly.
    return s * ((4 * s - 9) / (6 * np.sqrt(s) + 9))


@_spectral
def _root(s: Array) -> Array:
    return np.sqrt(s)


SPECTRAL_CONTRASTIVE = SpectralPredictor(
    name="spectral-contrastive",
    label="spectral contrastive",
    spectrum=_identity,
    antiderivative=_half_square,
    uniformity=_contrastive_uniformity,
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
    antiderivative=_log_det_antiderivative,
    uniformity=_log_det_uniformity,
    functional="alignment minus log det Φ, the barrier that VICReg-like and log-det methods use",
)
DIRECTPRED = SpectralPredictor(
    name="directpred",
    label="DirectPred",
    spectrum=_root,
    antiderivative=_schatten,
    uniformity=_schatten_uniformity,
    functional="two thirds of the cubed Schatten-3 norm of the embeddings minus tr K (predictor: Tian et al. 2021)",
)
NO_PREDICTOR = SpectralPredictor(
    name="no-predictor",
    label="no predictor",
    spectrum=_one,
    antiderivative=_identity,
    uniformity=_zero,
    functional="alignment ½E‖z − z⁺‖² alone, no uniformity: collapse",
)

DICTIONARY: Mapping[str, SpectralPredictor] = MappingProxyType(
    {entry.name: entry for entry in (SPECTRAL_CONTRASTIVE, GAUSSIAN_INFONCE, LOG_DET, DIRECTPRED, NO_PREDICTOR)}
)
