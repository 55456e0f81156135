"""Chapter 1, decorrelation: alignment of whitened embeddings, which is canonical correlation analysis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.objectives import Forces, symmetric
from jepalign.linear_models.rest import ModeEquilibria, Separable, generalised_directions, leading

Array = NDArray[np.float64]

# How far WΣWᵀ may be from I.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class WhitenedAlignment(Separable):
    """Alignment E‖z − z⁺‖² = 2 tr W(Σ − C)Wᵀ under WΣWᵀ = I, with the mean Σ of Σ_x and Σ_y, and its flow.

    The flow is that of the raw gradient projected onto the constraint, Ẇ = F − NWΣ with F = −∇L − ηW and the symmetric N that
    keeps WΣWᵀ: N(WΣ²Wᵀ) + (WΣ²Wᵀ)N = FΣWᵀ + WΣFᵀ. C is the symmetric part of Σ_yx.

    Attributes
    ----------
    views : ViewPair
        Any views. For Σ_x = Σ_y and symmetric Σ_yx this is canonical correlation analysis with one encoder for both views.
    weight_decay : float
        η ≥ 0. The loss is without it; the constraint keeps decay from collapsing a mode.

    Notes
    -----
    Hotelling 1936; as the population form of whitening methods: Ermolov et al. 2021. The flow is ours. Cost O(kd² + d³).
    """

    def loss(self, encoder: ArrayLike) -> float:
        """Return E‖z − z⁺‖² for whitened W of shape (k, d).

        Raises
        ------
        InputError
            If WΣWᵀ is off I by more than 1e-7; ``whiten`` makes an encoder that is not.
        """
        W = self._whitened(encoder)
        return float(np.square(np.hstack((W, -W)) @ self.views.joint_root).sum())

    def forces(self, encoder: ArrayLike) -> Forces:
        """Return attraction −4W(Σ − C), explicit repulsion, that of the constraint, and decay, each (k, d).

        Decay is projected onto the constraint by itself. Raises as ``loss`` does.
        """
        return self._parts(self._whitened(encoder))

    def whiten(self, encoder: ArrayLike) -> Array:
        """Return (WΣWᵀ)^{−1/2}W, (k, d), the whitened encoder with the row space of W.

        Raises
        ------
        InputError
            If WΣWᵀ is singular up to rounding.
        """
        W = self._encoder(encoder)
        moment = W @ self._mean() @ W.T
        values, vectors = np.linalg.eigh((moment + moment.T) / 2)
        if values[0] <= len(values) * W.shape[1] * np.finfo(float).eps * values[-1]:
            raise InputError(
                "encoder", f"matrix of shape {W.shape}", "must give embeddings of full rank to be whitened"
            )
        return (vectors / np.sqrt(values)) @ vectors.T @ W

    def optimum(self, width: int) -> Array:
        """Return a global minimum among whitened encoders of ``width`` k rows, (k, d): the k directions of largest ρ, WΣWᵀ = I.

        Raises
        ------
        InputError
            If ``width`` is not between 1 and the rank of Σ.
        """
        return leading(*generalised_directions(self._mean(), self.views.cross), width)[1].T

    def equilibria(self, width: int | None = None) -> ModeEquilibria:
        """Return the one weight 1/√σ that the constraint leaves to each mode, (d, 1), masked without variance.

        Raises
        ------
        InputError
            If the views have different covariances or are not aligned.
        """
        found = super().equilibria(width)
        return ModeEquilibria(found.modes, found.weight[:, 1:], found.stable[:, 1:])

    def _mean(self) -> Array:
        return (self.views.context + self.views.target) / 2

    def _whitened(self, encoder: ArrayLike) -> Array:
        W = self._encoder(encoder)
        gap = np.abs(W @ self._mean() @ W.T - np.eye(len(W))).max()
        if gap > TOLERANCE:
            raise InputError("encoder", f"matrix with WΣWᵀ off I by {gap:.3g}", "must be whitened")
        return W

    def _velocity(self, W: Array) -> Array:
        return self._parts(W).total

    def _parts(self, W: Array) -> Forces:
        mean = self._mean()
        pushed = W @ mean
        values, vectors = np.linalg.eigh(pushed @ pushed.T)

        def constraint(force: Array) -> Array:
            """Return −NWΣ for this force."""
            right = vectors.T @ (force @ pushed.T) @ vectors
            multiplier = (right + right.T) / np.add.outer(values, values)
            return -vectors @ multiplier @ vectors.T @ pushed

        attraction, decay = -4 * (pushed - W @ symmetric(self.views.cross)), -self.weight_decay * W
        return Forces(
            attraction=attraction,
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=constraint(attraction),
            decay=decay + constraint(decay),
        )

    def _growth(self, cross: Array, variance: Array, width: int) -> Array:
        return np.where(variance > 0, np.inf, 0.0)

    def _square(self, cross: Array, variance: Array, decay: float, width: int) -> Array:
        return np.where(variance > 0, 1 / variance, 0.0)
