"""Explicit uniformity: functionals U(Φ) of the embedding's second moment Φ = WΣ_xWᵀ that a hybrid adds to a JEPA (4.6).

They are losses. A hybrid with the weight γ adds γU(Φ), so that the encoder feels −γ∇_W U = −2γGWΣ_x with G = ∂U/∂Φ. A
mode of weight w, variance σ and embedding variance s = σw² feels γφ(s)w with φ(s) = −2σU′(s), and ``coefficient`` is
φ(s)/σ = −2U′(s). No factor is hidden: what is averaged over the k dimensions in the literature is a sum here.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate, real

Array = NDArray[np.float64]


class Uniformity(ABC):
    """An explicit uniformity U(Φ), as a loss on the second moment Φ of an embedding."""

    def coefficient(self, s: ArrayLike) -> Array:
        """Return φ(s)/σ = −2U′(s) for variances s ≥ 0 of an aligned mode: positive where it repels; same shape.

        Infinite at s = 0 where the force is not bounded there. ``InputError`` for a negative s, infinity or NaN.
        """
        with np.errstate(all="ignore"):
            return np.asarray(self._coefficient(_variances(s)))

    def slope(self, s: ArrayLike) -> Array:
        """Return the derivative of ``coefficient`` in s, same shape; raises as ``coefficient`` does."""
        with np.errstate(all="ignore"):
            return np.asarray(self._slope(_variances(s)))

    def mode_value(self, s: ArrayLike) -> Array:
        """Return what a mode of variance s ≥ 0 adds to U, same shape; raises as ``coefficient`` does."""
        with np.errstate(all="ignore"):
            return np.asarray(self._mode_value(_variances(s)))

    @abstractmethod
    def value(self, moment: ArrayLike) -> float:
        """Return U(Φ) for a positive semidefinite ``moment`` Φ, (k, k).

        Raises
        ------
        InputError
            If Φ is not a finite, symmetric, positive semidefinite matrix, beyond rounding.
        """

    @abstractmethod
    def gradient(self, moment: ArrayLike) -> Array:
        """Return G = ∂U/∂Φ, (k, k), symmetric, with dU = tr G dΦ; on aligned modes −2G_ii is ``coefficient``(Φ_ii).

        Raises
        ------
        InputError
            As ``value`` does, and where U has no gradient.
        """

    @abstractmethod
    def _coefficient(self, s: Array) -> Array: ...

    @abstractmethod
    def _slope(self, s: Array) -> Array: ...

    @abstractmethod
    def _mode_value(self, s: Array) -> Array: ...


class _SpectralSum(Uniformity):
    """A sum over the eigenvalues of Φ."""

    def value(self, moment: ArrayLike) -> float:
        return float(self.mode_value(np.maximum(np.linalg.eigvalsh(_moment(moment)), 0.0)).sum())

    def gradient(self, moment: ArrayLike) -> Array:
        values, vectors = np.linalg.eigh(_moment(moment))
        slopes = -self.coefficient(np.maximum(values, 0.0)) / 2
        if not np.isfinite(slopes).all():
            name = type(self).__name__
            raise InputError("moment", f"matrix with the eigenvalue {values[0]:.3g}", f"must be definite for {name}")
        product = (vectors * slopes) @ vectors.T
        return (product + product.T) / 2


@dataclass(frozen=True)
class Spectral(_SpectralSum):
    """Spectral uniformity U = ¼‖Φ − I‖²_F: the coefficient is 1 − s (HaoChen et al. 2021, with ‖Φ − I‖² four times it)."""

    def _coefficient(self, s: Array) -> Array:
        return 1 - s

    def _slope(self, s: Array) -> Array:
        return np.full_like(s, -1.0)

    def _mode_value(self, s: Array) -> Array:
        return (s - 1) ** 2 / 4


@dataclass(frozen=True)
class LogDet(_SpectralSum):
    """U = −½ log det Φ: the coefficient is 1/s, a force γ/w that no mode escapes (Ozsoy et al. 2022, CorInfoMax).

    At a singular Φ ``value`` is infinite and ``gradient`` raises.
    """

    def _coefficient(self, s: Array) -> Array:
        return 1 / s

    def _slope(self, s: Array) -> Array:
        return -1 / s / s

    def _mode_value(self, s: Array) -> Array:
        return -np.log(s) / 2


@dataclass(frozen=True)
class SIGReg(_SpectralSum):
    """SIGReg's Epps–Pulley statistic of each principal direction of a Gaussian embedding (Balestriero & LeCun 2025).

    U = Σ_i ∫ (e^{−s_it²/2} − e^{−t²/2})² e^{−θt²} dt over the eigenvalues s_i of Φ. The coefficient is
    √π[(s+θ)^{−3/2} − ((s+1)/2+θ)^{−3/2}].

    Attributes
    ----------
    theta : float
        θ ≥ 0 of the weight e^{−θt²}. The published weight is e^{−t²/2}, θ = ½, its integral the trapezoidal rule with
        17 points from −5 to 5; the statistic is then multiplied by the batch size, which belongs into γ here.

    Raises
    ------
    InputError
        If θ is negative or not finite.

    Notes
    -----
    The statistic as published is an average over random unit vectors a, of variances aᵀΦa: see ``sliced``. Both agree
    where Φ is a multiple of I, up to the factor k between a sum and an average.
    """

    theta: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "theta", rate("theta", self.theta))

    def sliced(self, moment: ArrayLike, directions: ArrayLike) -> tuple[float, Array]:
        """Return the average of the statistic over the unit vectors a (rows of ``directions``, (m, k)), and its gradient.

        The gradient (k, k) is the average of u′(aᵀΦa)aaᵀ, with −2u′ the coefficient. Rows are normalised. Raises
        ``InputError`` as ``value`` does, and for a row of zeros or of another length.
        """
        phi = _moment(moment)
        axes = matrix("directions", directions)
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        if axes.shape[1] != len(phi) or not lengths.all():
            raise InputError(
                "directions", f"array of shape {axes.shape}", f"must be non-zero rows of length {len(phi)}"
            )
        axes = axes / lengths
        variances = np.maximum(((axes @ phi) * axes).sum(axis=1), 0.0)
        gradient = (axes.T * (self.coefficient(variances) / -2)) @ axes / len(axes)
        return float(self.mode_value(variances).mean()), (gradient + gradient.T) / 2

    def _roots(self, s: Array) -> tuple[Array, Array, float]:
        return np.sqrt(s + self.theta), np.sqrt((s + 1) / 2 + self.theta), float(np.sqrt(1 + self.theta))

    def _coefficient(self, s: Array) -> Array:
        # A⁻³ − B⁻³ with B² − A² = (1 − s)/2: nothing cancels at s = 1.
        A, B, _ = self._roots(s)
        return np.sqrt(np.pi) * (1 - s) / 2 * (1 + A / B * (A / B) / (1 + A / B)) / (A * A * A) / (B * B)

    def _slope(self, s: Array) -> Array:
        A, B, _ = self._roots(s)
        return np.sqrt(np.pi) * (0.75 * B**-5 - 1.5 * A**-5)

    def _mode_value(self, s: Array) -> Array:
        # 1/A − 2/B + 1/C is of second order in 1 − s: B² is the mean of A² and C².
        A, B, C = self._roots(s)
        gap = (1 - s) / 2
        return 2 * np.sqrt(np.pi) * (gap / (A + B)) * (gap / (B + C)) * (1 / B + 1 / (A + C)) / (A * C)


@dataclass(frozen=True)
class VICReg(Uniformity):
    """VICReg's variance and covariance terms: U = a Σ_j max(0, 1 − √(Φ_jj + ε)) + b Σ_{i≠j} Φ_ij² (Bardes et al. 2022).

    Along an aligned mode covariances vanish and exert nothing: the coefficient is a/√(s + ε) for s < 1 − ε, 0 beyond.

    Attributes
    ----------
    variance, covariance : float
        a ≥ 0 and b ≥ 0, published as 25 and 1; there both terms are divided by k.
    epsilon : float
        ε, at least 0 and below 1.

    Raises
    ------
    InputError
        If one of them is out of its range.
    """

    variance: float = 25.0
    covariance: float = 1.0
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("variance", "covariance", "epsilon"):
            object.__setattr__(self, name, rate(name, getattr(self, name)))
        if self.epsilon >= 1:
            raise InputError("epsilon", self.epsilon, "must be below 1")

    def value(self, moment: ArrayLike) -> float:  # noqa: D102
        phi = _moment(moment)
        hinge = self.mode_value(np.maximum(np.diag(phi), 0.0)).sum()
        rest = phi - np.diag(np.diag(phi))
        return float(hinge + self.covariance * np.sum(rest * rest))

    def gradient(self, moment: ArrayLike) -> Array:  # noqa: D102
        phi = _moment(moment)
        slopes = -self.coefficient(np.maximum(np.diag(phi), 0.0)) / 2
        if not np.isfinite(slopes).all():
            raise InputError("moment", "matrix with the variance 0", "must have positive variances for epsilon = 0")
        return 2 * self.covariance * (phi - np.diag(np.diag(phi))) + np.diag(slopes)

    def _coefficient(self, s: Array) -> Array:
        return np.where(s + self.epsilon < 1, self.variance / np.sqrt(s + self.epsilon), 0.0)

    def _slope(self, s: Array) -> Array:
        return np.where(s + self.epsilon < 1, -self.variance / 2 / (s + self.epsilon) ** 1.5, 0.0)

    def _mode_value(self, s: Array) -> Array:
        # 1 − √(s + ε) without cancellation at s = 1 − ε
        gap = (1 - self.epsilon) - s
        return self.variance * np.maximum(0.0, gap / (1 + np.sqrt(s + self.epsilon)))


class VarianceHinge(VICReg):
    """VICReg's variance term alone: U = Σ_j max(0, 1 − √(Φ_jj + ε)), a coefficient of 1/√(s + ε) for s < 1 − ε.

    Raises
    ------
    InputError
        If ε is negative or not below 1.
    """

    def __init__(self, epsilon: float = 1e-4) -> None:
        super().__init__(variance=1.0, covariance=0.0, epsilon=epsilon)

    def __repr__(self) -> str:
        return f"VarianceHinge(epsilon={self.epsilon!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return VarianceHinge, (self.epsilon,)


def _variances(s: ArrayLike) -> Array:
    values = real("s", s)
    if (values < 0).any():
        raise InputError("s", float(values.min()), "must be at least 0")
    return values


def _moment(moment: ArrayLike) -> Array:
    """Return a covariance, (k, k), symmetrised; raise ``InputError`` if it is none, beyond the rounding of products."""
    phi = matrix("moment", moment)
    if phi.shape[0] != phi.shape[1]:
        raise InputError("moment", f"array of shape {phi.shape}", "must be square")
    tolerance = 64 * len(phi) * np.finfo(float).eps * np.abs(phi).max()
    if (defect := np.abs(phi - phi.T).max()) > tolerance:
        raise InputError("moment", f"matrix with an asymmetry of {defect:.3g}", "must be symmetric")
    symmetric = (phi + phi.T) / 2
    if (least := np.linalg.eigvalsh(symmetric)[0]) < -tolerance:
        raise InputError("moment", f"matrix with the eigenvalue {least:.3g}", "must be positive semidefinite")
    return symmetric
