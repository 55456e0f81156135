"""What every objective has in common: a force in parts, and descent of an explicit loss."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate
from jepalign.linear_models.closed_forms import ClosedForm, implicit_forms, solve
from jepalign.linear_models.dictionary import DICTIONARY, SpectralPredictor
from jepalign.linear_models.flow import Path, State, integrate
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Forces:
    """The velocity of an encoder in parts, each of shape (k, d).

    Attributes
    ----------
    attraction : ndarray
        What positive pairs contribute.
    implicit_repulsion : ndarray
        What predictor and stop-gradient contribute without negatives; it repels against plain alignment where it is
        weaker than −WΣ.
    explicit_repulsion : ndarray
        What an explicit term, negatives or a penalty, contributes.
    decay : ndarray
        −ηW.
    """

    attraction: Array
    implicit_repulsion: Array
    explicit_repulsion: Array
    decay: Array

    @property
    def total(self) -> Array:
        """Ẇ."""
        return self.attraction + self.implicit_repulsion + self.explicit_repulsion + self.decay


@dataclass(frozen=True)
class Descent(ABC):
    """Gradient descent Ẇ = −∇L(W) − ηW of an explicit loss of the encoder.

    Attributes
    ----------
    views : ViewPair
        The data.
    weight_decay : float
        η ≥ 0. The loss is without it.

    Raises
    ------
    InputError
        If the decay is negative or not finite.
    """

    views: ViewPair
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        rate("weight_decay", self.weight_decay)

    @abstractmethod
    def loss(self, encoder: ArrayLike) -> float:
        """Return L(W), without weight decay, for W of shape (k, d)."""

    @abstractmethod
    def forces(self, encoder: ArrayLike) -> Forces:
        """Return the parts of Ẇ, each (k, d); raise ``InputError`` where it is not defined."""

    def gradient(self, encoder: ArrayLike) -> Array:
        """Return ∇L(W), (k, d), without weight decay."""
        parts = self.forces(encoder)
        return -(parts.attraction + parts.implicit_repulsion + parts.explicit_repulsion)

    def energy(self, encoder: ArrayLike) -> float:
        """Return L(W) + ½η‖W‖², which the flow descends."""
        W = self._encoder(encoder)
        return self.loss(W) + self.weight_decay / 2 * float(np.square(W).sum())

    def solve(
        self,
        encoder: ArrayLike,
        times: ArrayLike,
        *,
        method: str = "auto",
        rtol: float = 1e-10,
        atol: float = 1e-12,
    ) -> Path:
        """Solve the flow from ``encoder``, (k, d), at time 0.

        Parameters
        ----------
        encoder : array_like of shape (k, d)
            W at time 0.
        times : array_like of shape (T,)
            Increasing, the first at least 0; the last may be ∞ for a closed form.
        method : str
            "auto": the strongest closed form whose assumptions the data fulfil, else DOP853; "closed": that or an error; or the name
            of an integrator (:func:`jepalign.linear_models.flow.integrate`).
        rtol, atol : float
            Bounds of the local error of an integrator's step, relative and absolute.

        Returns
        -------
        Path
            Its ``method`` says what was used and why, its ``departures`` how far the data are from the closed form's assumptions.

        Raises
        ------
        InputError
            If an argument is malformed, the flow is not defined at the start (:meth:`forces`), or no closed form holds and
            ``method`` is "closed".
        """
        W = self._encoder(encoder)
        self.forces(W)

        def velocity(state: State) -> State:
            return {"encoder": self._velocity(state["encoder"])}

        def integrator(name: str) -> Path:
            return integrate(velocity, {"encoder": W}, times, method=name, rtol=rtol, atol=atol)

        return solve(self.closed_forms(W), integrator, times, start={"encoder": W}, method=method)

    def closed_forms(self, encoder: ArrayLike) -> Iterable[ClosedForm]:
        """Return the solutions in closed form from ``encoder``, (k, d), the strongest first, whether or not the data fulfil them."""
        self._encoder(encoder)
        return ()

    def _velocity(self, W: Array) -> Array:
        """Return Ẇ unchecked: a flow that runs into a singularity ends with a status, not an error."""
        return self.forces(W).total

    def _encoder(self, encoder: ArrayLike) -> Array:
        return encoder_matrix(self.views, "encoder", encoder)


@dataclass(frozen=True)
class ImplicitUniformity(Descent):
    """The functional U_g(W) = −½ tr K + ½ tr G(Φ) that a spectral predictor g = G' implements (2.0), and its descent.

    Its negative gradient WC − g(Φ)WΣ is the residual form of the JEPA with P = g(Φ); the BYOL form is P times that.

    Attributes
    ----------
    views : ViewPair
        Exchangeable.
    weight_decay : float
        η ≥ 0.
    predictor : SpectralPredictor
        g, an entry of ``DICTIONARY`` or one's own; by keyword.

    Raises
    ------
    InputError
        If the views are not exchangeable, the decay is negative or not finite, or the predictor is no entry.

    Notes
    -----
    Ours.
    """

    predictor: SpectralPredictor = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entry(self.predictor)
        if not self.views.exchangeable:
            raise InputError("views", "views that are not exchangeable", "must be (estimate them with symmetrize=True)")

    def loss(self, encoder: ArrayLike) -> float:
        """Return U_g(W); infinite for log-det where Φ is singular."""
        W = self._encoder(encoder)
        variances = embedding_spectrum(self.views, W)[1]
        overlap = np.sum(W @ self.views.cross * W)
        return float(self.predictor.antiderivative(variances).sum() - overlap) / 2

    def forces(self, encoder: ArrayLike) -> Forces:
        """Return attraction WC, explicit repulsion −g(Φ)WΣ and decay, each (k, d).

        Raises
        ------
        InputError
            Also if g is infinite at Φ (log-det, an embedding without full rank).
        """
        W = self._encoder(encoder)
        check_defined(self.views, W, self.predictor)
        return self._parts(W)

    def closed_forms(self, encoder: ArrayLike) -> Iterable[ClosedForm]:
        """Return the logistic modes of a power of the embedding covariance, if the predictor is one (5.9)."""
        return implicit_forms(self.views, self._encoder(encoder), self.predictor.name, self.weight_decay)

    def _velocity(self, W: Array) -> Array:
        return self._parts(W).total

    def _parts(self, W: Array) -> Forces:
        P = spectral_predictor(self.views, W, self.predictor)
        return Forces(
            attraction=W @ symmetric(self.views.cross),
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=-P @ W @ self.views.context,
            decay=-self.weight_decay * W,
        )


def encoder_matrix(views: ViewPair, name: str, value: ArrayLike) -> Array:
    """Return ``value`` as an encoder (k, d) for these views, or raise ``InputError``."""
    W = matrix(name, value)
    if W.shape[1] != views.dimension:
        raise InputError(
            name, f"array of shape {W.shape}", f"must have {views.dimension} columns, one per input dimension"
        )
    return W


def symmetric(value: Array) -> Array:
    """Return the symmetric part."""
    return (value + value.T) / 2


def embedding_spectrum(views: ViewPair, W: Array) -> tuple[Array, Array]:
    """Return eigenvectors (k, k), one per column, and eigenvalues (k,) of Φ = WΣ_xWᵀ.

    By the singular values of WΣ_x^{1/2}: small eigenvalues keep their relative accuracy, which √s needs.
    """
    vectors, singular, _ = np.linalg.svd(W @ views.context_root)
    variances = np.zeros(len(W))
    variances[: len(singular)] = singular**2
    return vectors, variances


def spectral_predictor(views: ViewPair, W: Array, entry: SpectralPredictor) -> Array:
    """Return P = g(WΣ_xWᵀ), (k, k)."""
    vectors, variances = embedding_spectrum(views, W)
    return (vectors * entry.spectrum(variances)) @ vectors.T


def check_entry(predictor: object) -> None:
    """Raise ``InputError`` unless the argument is an entry of the dictionary or one's own, not only its name."""
    if not isinstance(predictor, SpectralPredictor):
        value = repr(predictor) if isinstance(predictor, str) else type(predictor).__name__
        raise InputError(
            "predictor", value, f"must be a SpectralPredictor: DICTIONARY[NAME], one of {', '.join(DICTIONARY)}"
        )


def check_defined(views: ViewPair, W: Array, entry: SpectralPredictor) -> None:
    """Raise ``InputError`` if g is infinite at the covariance of the embedding, or at rounding of a zero in it."""
    variances = embedding_spectrum(views, W)[1]
    # Singular values of WΣ^{1/2} are off by some units of rounding of the largest, per dimension.
    zero = (max(W.shape) * np.finfo(float).eps) ** 2 * variances.max()
    if not np.isfinite(entry.spectrum(np.where(variances <= zero, 0.0, variances))).all():
        raise InputError("encoder", f"matrix of shape {W.shape}", f"must give embeddings of full rank for {entry.name}")
