"""Chapter 1, decorrelation: Barlow Twins of a linear encoder, in the form that is solved and in the published one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.closed_forms import ClosedForm, logistic_modes
from jepalign.linear_models.objectives import Forces, symmetric
from jepalign.linear_models.rest import Separable, leading
from jepalign.linear_models.views import Modes, ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BarlowTwins(Separable):
    """Barlow Twins: the cross-correlation of two embeddings is drawn to the identity.

    - "simon": L = ‖WCWᵀ − I‖²_F with the symmetric part C of Σ_yx, a covariance, not normalised (Simon et al. 2023);
    - "published": L = Σ_i (1 − R_ii)² + μ Σ_{i≠j} R_ij² with the cross-correlation R_ij = K_ij/√(Φ_y,ii Φ_x,jj), K = WΣ_yxWᵀ
      (Zbontar et al. 2021). It does not see the scale of a row of W, nor, with weight decay, does a row come to rest.

    Attributes
    ----------
    views : ViewPair
        Any views.
    weight_decay : float
        η ≥ 0. The loss is without it.
    form : {"simon", "published"}
        Which loss.
    off_diagonal : float
        μ ≥ 0, of the published form alone: 0.005 in the paper, 0.0051 in its code (called λ there).

    Raises
    ------
    InputError
        If the form is unknown or μ negative or not finite.

    Notes
    -----
    Time is that of the raw gradient: an aligned mode of "simon" is logistic in w² at rate 8λ. Cost O(kd² + k²d).
    """

    form: Literal["simon", "published"] = "simon"
    off_diagonal: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("simon", "published"):
            raise InputError("form", repr(self.form), "must be 'simon' or 'published'")
        rate("off_diagonal", self.off_diagonal)

    def loss(self, encoder: ArrayLike) -> float:
        """Return L(W) for W of shape (k, d); the published form needs every dimension of both embeddings to vary."""
        W = self._encoder(encoder)
        if self.form == "simon":
            return float(np.square(W @ symmetric(self.views.cross) @ W.T - np.eye(len(W))).sum())
        correlation = self._correlation(W)[0]
        weights = self._weights(len(W))
        return float((weights * np.square(correlation - np.eye(len(W)))).sum())

    def forces(self, encoder: ArrayLike) -> Forces:
        """Return attraction, explicit repulsion and decay, each (k, d).

        "simon": 4WC and −4KWC. "published": attraction is what the covariances K_ii of the diagonal contribute, repulsion what the
        variances and the covariances beside the diagonal do.

        Raises
        ------
        InputError
            In the published form also if a dimension of an embedding does not vary.
        """
        W = self._encoder(encoder)
        if self.form == "simon":
            pulled = W @ symmetric(self.views.cross)
            attraction, repulsion = 4 * pulled, -4 * (pulled @ W.T) @ pulled
        else:
            attraction, repulsion = self._published(W)
        return Forces(
            attraction=attraction,
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=repulsion,
            decay=-self.weight_decay * W,
        )

    def closed_forms(self, encoder: ArrayLike) -> Iterable[ClosedForm]:
        """Return the logistic modes of "simon" (5.6), for C and W that share directions; the published form has none."""
        W, eta = self._encoder(encoder), self.weight_decay
        if self.form != "simon":
            return ()
        # The loss sees C alone: views with these moments have the same flow and modes whatever Σ_x is.
        scale = float(np.abs(self.views.cross).max()) or 1.0
        C, one = symmetric(self.views.cross), self.views.dimension * scale * np.eye(self.views.dimension)
        alone = ViewPair.from_covariances(one, one, C)
        return (
            logistic_modes(
                alone, W, lambda cross, _: 4 * cross - eta, lambda cross, _: 2 * np.abs(cross), "Barlow Twins (5.6)"
            ),
        )

    def optimum(self, width: int) -> Array:
        """Return a global minimum of the loss without weight decay among encoders of ``width`` k rows, (k, d).

        W = diag(max(λ, 0)^{−1/2})Q_kᵀ with the largest eigenvalues λ of C, rows of 0 where they are not positive. It is one of many:
        every W with WCWᵀ = I has the loss 0, and the loss prefers no direction to another (1.5).

        Raises
        ------
        InputError
            If ``width`` is not between 1 and d, or in the published form, for which no optimum is known.
        """
        self._solved()
        values, vectors = np.linalg.eigh(symmetric(self.views.cross))
        kept, directions = leading(values[::-1], vectors[:, ::-1], width)
        # What is positive only by rounding is no direction of positive covariance.
        positive = kept > len(values) * np.finfo(float).eps * np.abs(values).max()
        return np.where(positive, 1 / np.sqrt(np.where(positive, kept, 1.0)), 0.0)[:, None] * directions.T

    def _correlation(self, W: Array) -> tuple[Array, Array, Array]:
        """Return the cross-correlation and the variances of target and context embeddings."""
        views = self.views
        target = ((W @ views.target) * W).sum(axis=1)
        context = ((W @ views.context) * W).sum(axis=1)
        if not (target > 0).all() or not (context > 0).all():
            raise InputError(
                "encoder", f"matrix of shape {W.shape}", "must give embeddings that vary in every dimension"
            )
        with np.errstate(all="ignore"):
            found = W @ views.cross @ W.T / np.sqrt(target)[:, None] / np.sqrt(context)
        return found, target, context

    def _weights(self, size: int) -> Array:
        return np.where(np.eye(size, dtype=bool), 1.0, self.off_diagonal)

    def _published(self, W: Array) -> tuple[Array, Array]:
        views = self.views
        correlation, target, context = self._correlation(W)
        slopes = 2 * self._weights(len(W)) * (correlation - np.eye(len(W)))
        outer = slopes / np.sqrt(target)[:, None] / np.sqrt(context)
        diagonal = np.diag(np.diag(outer))
        beside = outer - diagonal
        attraction = -2 * diagonal @ W @ symmetric(views.cross)
        by_rows, by_columns = (slopes * correlation).sum(axis=1), (slopes * correlation).sum(axis=0)
        repulsion = -beside @ W @ views.cross.T - beside.T @ W @ views.cross
        repulsion += (by_rows / target)[:, None] * (W @ views.target)
        repulsion += (by_columns / context)[:, None] * (W @ views.context)
        return attraction, repulsion

    def _velocity(self, W: Array) -> Array:
        try:
            return super()._velocity(W)
        except InputError:  # an embedding that no longer varies: the flow ends there
            return np.full_like(W, np.nan)

    def _solved(self) -> None:
        if self.form != "simon":
            raise InputError("form", repr(self.form), "has no optimum or equilibria in closed form; 'simon' has")

    def _modes(self) -> Modes:
        self._solved()
        return self.views.modes()

    def _growth(self, cross: Array, variance: Array, width: int) -> Array:
        return 4 * cross

    def _square(self, cross: Array, variance: Array, decay: float, width: int) -> Array:
        surplus = cross - decay / 4
        return np.where(surplus > 0, surplus / cross / cross, 0.0)
