"""Chapter 1, the contrastive side: the spectral contrastive loss of a linear encoder."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.closed_forms import ClosedForm, logistic_modes
from jepalign.linear_models.objectives import Forces, symmetric
from jepalign.linear_models.rest import Separable, covariance_gap

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpectralContrastive(Separable):
    """The spectral contrastive loss L = −2 E z·z⁺ + E(z·z⁻)² and its descent Ẇ = −∇L − ηW.

    z = Wx and z⁺ = Wy are the embeddings of the two views, z⁻ that of the target view of another sample, so that
    L = −2 tr WΣ_yxWᵀ + tr WΣ_xWᵀWΣ_yWᵀ. Only the symmetric part of Σ_yx is seen.

    Attributes
    ----------
    views : ViewPair
        Any views.
    weight_decay : float
        η ≥ 0. The loss is without it.

    Notes
    -----
    HaoChen, Wei, Gaidon & Ma 2021; time is that of the raw gradient: a mode is logistic in w² at rate 8λ. For
    Σ_x = Σ_y the minimum is −Σ_{i≤k} max(ρ_i, 0)² (1.5), and a mode survives a weight decay below 4λ.
    """

    def loss(self, encoder: ArrayLike) -> float:
        """Return L(W) for W of shape (k, d)."""
        W = self._encoder(encoder)
        views = self.views
        positives = np.sum(W @ views.cross * W)
        negatives = np.sum((W @ views.context @ W.T) * (W @ views.target @ W.T))
        return float(negatives - 2 * positives)

    def forces(self, encoder: ArrayLike) -> Forces:
        """Return attraction 4WC, C the symmetric part of Σ_yx, explicit repulsion −2(Φ_xWΣ_y + Φ_yWΣ_x) and decay."""
        W = self._encoder(encoder)
        views = self.views
        context, target = W @ views.context, W @ views.target
        return Forces(
            attraction=4 * W @ symmetric(views.cross),
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=-2 * (context @ W.T @ target + target @ W.T @ context),
            decay=-self.weight_decay * W,
        )

    def closed_forms(self, encoder: ArrayLike) -> Iterable[ClosedForm]:
        """Return the logistic modes of aligned views (5.5)."""
        W, eta = self._encoder(encoder), self.weight_decay
        form = logistic_modes(
            self.views, W, lambda cross, _: 4 * cross - eta, lambda _, variance: 2 * variance, "spectral contrastive"
        )
        return (replace(form, departures={**form.departures, "equal covariances": covariance_gap(self.views)}),)

    def _growth(self, cross: Array, variance: Array, width: int) -> Array:
        return 4 * cross

    def _square(self, cross: Array, variance: Array, decay: float, width: int) -> Array:
        surplus = cross - decay / 4
        return np.where(surplus > 0, surplus / variance / variance, 0.0)
