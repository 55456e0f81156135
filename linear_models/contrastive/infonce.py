"""Chapter 1, the contrastive side: InfoNCE of a linear encoder for Gaussian views and infinitely many negatives."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.closed_forms import ClosedForm, logistic_modes
from jepalign.linear_models.objectives import Forces, symmetric
from jepalign.linear_models.rest import Separable, covariance_gap

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InfoNCE(Separable):
    """InfoNCE, L = −E s(z, z⁺) + E_x ln E_y⁻ e^{s(z, z⁻)}, of Gaussian views in the limit of infinitely many negatives.

    z = Wx is the anchor, z⁺ = Wy its positive, z⁻ the target view of another sample. In closed form, with Φ_x = WΣ_xWᵀ,
    Φ_y = WΣ_yWᵀ and K = WΣ_yxWᵀ, for any Σ_x, Σ_y, Σ_yx:

    - dot products, s = z·z′/τ: L = −tr K/τ + tr Φ_xΦ_y/(2τ²) = ½ L_SCL(W/√τ);
    - Gaussian kernel, s = −‖z − z′‖²/(2τ): L = E‖z − z⁺‖²/(2τ) − ½ ln det(I + Φ_y/τ) − ½ tr (τI + Φ_y)⁻¹Φ_x.

    Attributes
    ----------
    views : ViewPair
        Second moments of jointly Gaussian views (with dot products only the negatives need be Gaussian).
    weight_decay : float
        η ≥ 0. The loss is without it.
    temperature : float
        τ > 0.
    kernel : {"dot", "gaussian"}
        The similarity.

    Raises
    ------
    InputError
        If a number is out of range or the kernel unknown.

    Notes
    -----
    Loss: van den Oord, Li & Vinyals 2018; the limit: Wang & Isola 2020, Theorem 1, less the logarithm of the number of
    negatives. Closed forms: ours (1.3); the Gaussian kernel's for Σ_x ≠ Σ_y by the same completed square, E_y e^{−‖z−Wy‖²/(2τ)}
    = det(I + Φ_y/τ)^{−1/2} e^{−zᵀ(τI + Φ_y)⁻¹z/2}. Cost O(kd² + k³).
    """

    temperature: float = 1.0
    kernel: Literal["dot", "gaussian"] = "dot"

    def __post_init__(self) -> None:
        super().__post_init__()
        rate("temperature", self.temperature, positive=True)
        if self.kernel not in ("dot", "gaussian"):
            raise InputError("kernel", repr(self.kernel), "must be 'dot' or 'gaussian'")

    def loss(self, encoder: ArrayLike) -> float:
        """Return L(W) for W of shape (k, d)."""
        # In units of √τ, in which the temperature is 1.
        W = self._encoder(encoder) / np.sqrt(self.temperature)
        views = self.views
        context, target = W @ views.context @ W.T, W @ views.target @ W.T
        if self.kernel == "dot":
            return float((context * target).sum() / 2 - (W @ views.cross * W).sum())
        shifted = np.eye(len(W)) + target
        # Half the square of a norm, not a difference of traces.
        alignment = np.square(np.hstack((W, -W)) @ views.joint_root).sum()
        return float(alignment - np.linalg.slogdet(shifted)[1] - np.trace(np.linalg.solve(shifted, context))) / 2

    def forces(self, encoder: ArrayLike) -> Forces:
        """Return attraction, the positives' force, explicit repulsion, the negatives', and decay, each (k, d).

        Dot products: 2WC/τ and −(Φ_xWΣ_y + Φ_yWΣ_x)/τ². Gaussian kernel, with R = (τI + Φ_y)⁻¹: W(2C − Σ_x − Σ_y)/τ and
        RW(Σ_x + Σ_y) − RΦ_xRWΣ_y. C is the symmetric part of Σ_yx.
        """
        W = self._encoder(encoder)
        views, root = self.views, np.sqrt(self.temperature)
        U = W / root
        attraction = 2 * U @ symmetric(views.cross) / root
        context, target = U @ views.context, U @ views.target
        if self.kernel == "dot":
            repulsion = -(context @ U.T @ target + target @ U.T @ context) / root
        else:
            attraction = attraction - (context + target) / root
            shifted = np.eye(len(W)) + target @ U.T
            inner = context + target - context @ U.T @ np.linalg.solve(shifted, target)
            repulsion = np.linalg.solve(shifted, inner) / root
        return Forces(
            attraction=attraction,
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=repulsion,
            decay=-self.weight_decay * W,
        )

    def closed_forms(self, encoder: ArrayLike) -> Iterable[ClosedForm]:
        """Return the logistic modes of dot products on aligned views (1.3 and 5.5); the Gaussian kernel has none."""
        W, eta, tau = self._encoder(encoder), self.weight_decay, self.temperature
        if self.kernel != "dot":
            return ()
        form = logistic_modes(
            self.views,
            W,
            lambda cross, _: 2 * cross / tau - eta,
            lambda _, variance: np.sqrt(2) * variance / tau,
            "InfoNCE",
        )
        return (replace(form, departures={**form.departures, "equal covariances": covariance_gap(self.views)}),)

    def _growth(self, cross: Array, variance: Array, width: int) -> Array:
        return 2 * cross / self.temperature

    def _square(self, cross: Array, variance: Array, decay: float, width: int) -> Array:
        tau = self.temperature
        surplus = np.maximum(2 * cross - decay * tau, 0.0)  # nothing cancels but data
        if self.kernel == "dot":
            return np.where(surplus > 0, tau * surplus / 2 / variance / variance, 0.0)
        # v = 1/(1 + s/τ) solves v² + v = q, and (1 − v)(2 + v) = 2 − q.
        q = (2 * np.maximum(variance - cross, 0.0) + decay * tau) / variance
        v = 2 * q / (1 + np.sqrt(1 + 4 * q))
        return np.where(surplus > 0, tau * surplus / variance / variance / ((2 + v) * v), 0.0)
