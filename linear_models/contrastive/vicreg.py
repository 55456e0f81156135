"""Chapter 1, decorrelation: VICReg of a linear encoder, in each of the three normalisations in use."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.objectives import Forces, symmetric
from jepalign.linear_models.rest import Separable

Array = NDArray[np.float64]

# Invariance, variance and covariance of k dimensions: multiples of E‖z − z⁺‖², of the sums of both views' hinges and
# of the sums of both views' squared covariances.
CONVENTIONS = {
    "paper": lambda k: (1.0, 1 / k, 1 / k),
    "lightly": lambda k: (1 / k, 0.5 / k, 1 / k),
    "solo-learn": lambda k: (1 / k, 1 / k, 1 / k),
}


@dataclass(frozen=True)
class VICReg(Separable):
    """VICReg: invariance, a hinge on the standard deviation of every dimension, and its covariances with the others.

    L = a E‖z − z⁺‖² + b Σ_views Σ_j max(0, 1 − √(Φ_jj + ε)) + c Σ_views Σ_{i≠j} Φ_ij², views x and y, Φ = WΣWᵀ. The name of a
    convention says what a, b and c are of the published weights:

    - "paper" (Bardes, Ponce & LeCun 2022): a = invariance, b = variance/k, c = covariance/k;
    - "lightly", also the code of the authors: a = invariance/k, b = variance/(2k), c = covariance/k;
    - "solo-learn": a = invariance/k, b = variance/k, c = covariance/k.

    The loss depends on the axes of the embedding: turning it is no symmetry.

    Attributes
    ----------
    views : ViewPair
        Any views.
    weight_decay : float
        η ≥ 0. The loss is without it.
    invariance, variance, covariance : float
        The weights, at least 0.
    epsilon : float
        ε, at least 0 and below 1. With 0 forces need an embedding that varies in every dimension.
    convention : {"paper", "lightly", "solo-learn"}
        The normalisation.

    Raises
    ------
    InputError
        If a number is out of range or the convention unknown.

    Notes
    -----
    Variances are those of the population, to which the samples' n − 1 tends. Where a hinge closes the gradient jumps and the flow
    slides along the edge: an integrator then needs many steps, or ends with ``Status.STEP_LIMIT``. Cost O(kd² + k²d).
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    epsilon: float = 1e-4
    convention: Literal["paper", "lightly", "solo-learn"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("invariance", "variance", "covariance", "epsilon"):
            rate(name, getattr(self, name))
        if self.epsilon >= 1:
            raise InputError("epsilon", self.epsilon, "must be below 1")
        if self.convention not in CONVENTIONS:
            raise InputError("convention", repr(self.convention), f"must be one of {', '.join(CONVENTIONS)}")

    def loss(self, encoder: ArrayLike) -> float:
        """Return L(W) for W of shape (k, d)."""
        W = self._encoder(encoder)
        a, b, c = self._coefficients(len(W))
        # A squared norm, not a difference of traces, which rounding could make negative.
        value = a * np.square(np.hstack((W, -W)) @ self.views.joint_root).sum()
        for moment in (self.views.context, self.views.target):
            phi = W @ moment @ W.T
            deviation = np.sqrt(np.maximum(np.diag(phi), 0.0) + self.epsilon)
            value += b * np.maximum(0.0, 1 - deviation).sum() + c * np.square(_beside(phi)).sum()
        return float(value)

    def forces(self, encoder: ArrayLike) -> Forces:
        """Return attraction −2aW(Σ_x + Σ_y − 2C), explicit repulsion, that of hinges and covariances, and decay, each (k, d).

        On the edge of a hinge, √(Φ_jj + ε) = 1, its force is taken to be 0.

        Raises
        ------
        InputError
            If ε = 0 and a dimension of an embedding does not vary.
        """
        W = self._encoder(encoder)
        parts = self._parts(W)
        if not np.isfinite(parts.explicit_repulsion).all():
            raise InputError("encoder", f"matrix of shape {W.shape}", "must give embeddings that vary, for epsilon = 0")
        return parts

    def _velocity(self, W: Array) -> Array:
        return self._parts(W).total

    def _parts(self, W: Array) -> Forces:
        a, b, c = self._coefficients(len(W))
        views = self.views
        repulsion = np.zeros_like(W)
        for moment in (views.context, views.target):
            pushed = W @ moment
            phi = pushed @ W.T
            shifted = np.maximum(np.diag(phi), 0.0) + self.epsilon
            with np.errstate(all="ignore"):
                hinge = np.where(shifted < 1, b / np.sqrt(shifted), 0.0) if b > 0 else np.zeros(len(W))
                repulsion += hinge[:, None] * pushed - 4 * c * _beside(phi) @ pushed
        return Forces(
            attraction=-2 * a * W @ (views.context + views.target - 2 * symmetric(views.cross)),
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=repulsion,
            decay=-self.weight_decay * W,
        )

    def optimum(self, width: int) -> Array:
        """Return the best encoder of ``width`` k rows, (k, d), among those whose rows are k directions of Cv = ρΣv each.

        The k directions of largest ρ with embedding variances s = min(b/(2a(1−ρ)), 1)² − ε, 0 where that is negative; for ρ = 1 one
        of many. It is not the minimum over all encoders: at the published weights rows can gain by sharing a direction of
        large ρ, as long as the covariances that this costs are cheaper than a direction of small ρ. Raises as for every objective.
        """
        return super().optimum(width)

    def _coefficients(self, k: int) -> tuple[float, float, float]:
        a, b, c = CONVENTIONS[self.convention](k)
        return a * self.invariance, b * self.variance, c * self.covariance

    def _growth(self, cross: Array, variance: Array, width: int) -> Array:
        a, b, _ = self._coefficients(width)
        with np.errstate(all="ignore"):
            push = b * variance / np.sqrt(self.epsilon) if b > 0 else np.zeros_like(variance)
            push = np.where(variance > 0, 2 * push, 0.0)
        return push - 4 * a * np.maximum(variance - cross, 0.0)

    def _square(self, cross: Array, variance: Array, decay: float, width: int) -> Array:
        a, b, _ = self._coefficients(width)
        deviation = np.minimum(2 * b * variance / (4 * a * np.maximum(variance - cross, 0.0) + decay), 1.0)
        deviation = np.where(variance > 0, deviation, 0.0) if b > 0 else np.zeros_like(variance)
        return np.maximum(deviation * deviation - self.epsilon, 0.0) / np.where(variance > 0, variance, 1.0)


def _beside(value: Array) -> Array:
    return value - np.diag(np.diag(value))
