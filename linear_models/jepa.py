"""A linear joint-embedding predictive architecture: its loss, its forces in parts and its flow."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate
from jepalign.linear_models.closed_forms import jepa_forms, solve
from jepalign.linear_models.collapse.thresholds import critical_weight_decay
from jepalign.linear_models.conservation import balance
from jepalign.linear_models.dictionary import SpectralPredictor
from jepalign.linear_models.flow import Law, Path, State, integrate
from jepalign.linear_models.implicit_uniformity import PowerGap
from jepalign.linear_models.objectives import Forces, check_defined, check_entry, encoder_matrix, spectral_predictor
from jepalign.linear_models.rest import ModeEquilibria, jepa_equilibria
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


class Gradient(NamedTuple):
    """The gradient of the prediction loss with the target held fixed, without weight decay.

    Attributes
    ----------
    encoder : ndarray of shape (k, d)
        −Pᵀ(VΣ_yx − PWΣ_x).
    predictor : ndarray of shape (k, k)
        −(VΣ_yx − PWΣ_x)Wᵀ.
    """

    encoder: Array
    predictor: Array


@dataclass(frozen=True)
class LinearJEPA:
    """The JEPA ½E‖PWx − sg(Vy)‖² with linear encoder W, target encoder V and predictor P, and its gradient flow.

    Ẇ = Pᵀ(VΣ_yx − PWΣ_x) − ηW,  Ṗ = α(VΣ_yx − PWΣ_x)Wᵀ − ηP,  V̇ = β(W − V).

    Attributes
    ----------
    views : ViewPair
        The data.
    predictor_rate : float
        α > 0. Infinite: the optimal predictor P* = VΣ_yxWᵀ(WΣ_xWᵀ)⁻¹ at every instant; W needs full row rank on Σ_x.
    weight_decay : float
        η ≥ 0, on encoder and predictor. Losses are without it.
    ema_rate : float, optional
        β ≥ 0, the rate at which the target encoder follows. None (or infinite): V = W, as in SimSiam. 0: V stays.
    predictor : SpectralPredictor, optional
        g, for P = g(WΣ_xWᵀ) at every instant instead of a learnt predictor: the dictionary (2.0).
    force : {"byol", "residual"}
        "byol": Ẇ as above. "residual": without the factor Pᵀ (IsoLoss of Halvagal, Laborieux & Zenke 2023).
    leak : float
        κ between 0 and 1, the part of the target's gradient that passes: 0 with the stop-gradient, 1 without. With V = W the encoder
        gains κ(PWΣ_xy − VΣ_y) (3.7); a target encoder of its own is trained by that and pulled by its average.

    Raises
    ------
    InputError
        If a rate is out of range, the form of the force is unknown, or a predictor is no entry or fixed and given a rate.

    Notes
    -----
    The flow is Tian, Chen & Ganguli's (2021), with raw gradient-flow time and general covariances.
    """

    views: ViewPair
    predictor_rate: float = 1.0
    weight_decay: float = 0.0
    ema_rate: float | None = None
    predictor: SpectralPredictor | None = None
    force: Literal["byol", "residual"] = "byol"
    leak: float = 0.0

    def __post_init__(self) -> None:
        rate("predictor_rate", self.predictor_rate, positive=True, infinite=True)
        rate("weight_decay", self.weight_decay)
        if self.ema_rate is not None:
            rate("ema_rate", self.ema_rate, infinite=True)
        if self.predictor is not None:
            check_entry(self.predictor)
            if self.predictor_rate != 1:
                raise InputError("predictor_rate", self.predictor_rate, "has no meaning for a predictor not learnt")
        if self.force not in ("byol", "residual"):
            raise InputError("force", repr(self.force), "must be 'byol' or 'residual'")
        if rate("leak", self.leak) > 1:
            raise InputError("leak", self.leak, "must be at most 1, all of the target's gradient")

    @property
    def learnt(self) -> bool:
        """Whether the predictor has dynamics of its own."""
        return self.predictor is None and self.predictor_rate < np.inf

    @property
    def lagging(self) -> bool:
        """Whether the target encoder has dynamics of its own."""
        return self.ema_rate is not None and self.ema_rate < np.inf

    def loss(self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None) -> float:
        """Return ½E‖PWx − Vy‖², without weight decay.

        Parameters
        ----------
        encoder : array_like of shape (k, d)
            W.
        predictor : array_like of shape (k, k), optional
            P. None only where the model determines it: the optimal or the spectral predictor.
        target : array_like of shape (k, d), optional
            V; None: W.

        Raises
        ------
        InputError
            If a shape is wrong, an entry not finite, or the predictor missing, given where it is determined, or not
            defined at this encoder (embeddings without full rank: the optimal predictor, log-det).
        """
        W, P, V = self._arguments(encoder, predictor, target)
        # Half the square of a norm, not a difference of traces, which rounding could make negative.
        return float(np.square(np.hstack((P @ W, -V)) @ self.views.joint_root).sum() / 2)

    def gradient(
        self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None
    ) -> Gradient:
        """Return the gradient of the loss with V held fixed; arguments and errors as for :meth:`loss`.

        P is held fixed in the encoder's part, also where the model determines it from W. What leaks through the target is not in it:
        see :meth:`leaked`.
        """
        W, P, V = self._arguments(encoder, predictor, target)
        R = self._residual(W, P, V)
        return Gradient(-P.T @ R, -R @ W.T)

    def leaked(self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None) -> Array:
        """Return κ(PWΣ_xy − VΣ_y), (k, d), the force of the gradient that passes through the target; as for :meth:`loss`."""
        return self._leaked(*self._arguments(encoder, predictor, target))

    def forces(self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None) -> Forces:
        """Return the parts of Ẇ (2.1); arguments and errors as for :meth:`loss`.

        Attraction PᵀVΣ_yx, implicit repulsion −PᵀPWΣ_x and decay −ηW; without the factor Pᵀ in the residual form. With V = W a leak
        adds κPWΣ_xy to the attraction and takes κVΣ_y from the repulsion.
        """
        W, P, V = self._arguments(encoder, predictor, target)
        feedback = P.T if self.force == "byol" else np.eye(len(P))
        leak = 0.0 if self.lagging else self.leak
        return Forces(
            attraction=feedback @ V @ self.views.cross + leak * P @ W @ self.views.cross.T,
            implicit_repulsion=-feedback @ P @ W @ self.views.context - leak * V @ self.views.target,
            explicit_repulsion=np.zeros_like(W),
            decay=-self.weight_decay * W,
        )

    def power(
        self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None
    ) -> PowerGap:
        """Return the power identity 2.4 of the BYOL force in expectation; arguments and errors as for :meth:`loss`.

        F_u is the force less plain alignment's VΣ_yx − WΣ_x, both without decay.
        """
        W, P, V = self._arguments(encoder, predictor, target)
        views = self.views
        surplus = P.T @ self._residual(W, P, V) - (V @ views.cross - W @ views.context)
        power = float((surplus * W).sum())
        phi = W @ views.context @ W.T
        alignment = float(np.square(np.hstack((W, -V)) @ views.joint_root).sum() / 2)
        correction = float((P * (V @ views.cross @ W.T - P @ phi)).sum())
        asymmetry = float(np.trace(phi) - np.trace(V @ views.target @ V.T)) / 2
        return PowerGap(power, alignment, correction, asymmetry, power - (alignment + correction + asymmetry))

    def optimal_predictor(self, encoder: ArrayLike, target: ArrayLike | None = None) -> Array:
        """Return P* = VΣ_yxWᵀ(WΣ_xWᵀ)⁻¹, (k, k).

        Raises
        ------
        InputError
            If WΣ_xWᵀ is singular up to rounding, or an argument is malformed.
        """
        W = encoder_matrix(self.views, "encoder", encoder)
        V = W if target is None else self._target(target, W)
        check_full_rank(self.views, W)
        return _least_squares(self.views, W, V)

    def solve(
        self,
        encoder: ArrayLike,
        predictor: ArrayLike | None,
        times: ArrayLike,
        target: ArrayLike | None = None,
        *,
        method: str = "auto",
        rtol: float = 1e-10,
        atol: float = 1e-12,
    ) -> Path:
        """Solve the flow.

        Parameters
        ----------
        encoder : array_like of shape (k, d)
            W at time 0.
        predictor : array_like of shape (k, k) or None
            P at time 0; None where the model determines it: the optimal or the spectral predictor.
        times : array_like of shape (T,)
            Increasing, the first at least 0; the last may be ∞ for a closed form.
        target : array_like of shape (k, d), optional
            V at time 0, if the target encoder lags; None: W.
        method : str
            "auto": the strongest closed form whose assumptions the data fulfil, else DOP853; "closed": that or an error; or the name
            of an integrator (:func:`jepalign.linear_models.flow.integrate`).
        rtol, atol : float
            Bounds of the local error of an integrator's step, relative and absolute.

        Returns
        -------
        Path
            With ``encoder``, ``predictor`` and ``target`` at the times, whichever of them have dynamics of their own. Its ``method``
            says what was used and why, its ``departures`` how far the data are from the closed form's assumptions. Its drift is that
            of the balance (3.1) for a learnt predictor in the BYOL form and of the Gram matrix WWᵀ (3.2) for the optimal one.

        Raises
        ------
        InputError
            If an argument is malformed or given where the model determines it, the predictor is not defined at the start, or no
            closed form holds and ``method`` is "closed".
        """
        W, P, V = self._arguments(encoder, predictor, target)
        start = {"encoder": W} | ({"predictor": P} if self.learnt else {}) | ({"target": V} if self.lagging else {})
        laws = self._laws()

        def integrator(name: str) -> Path:
            return integrate(self._field, start, times, method=name, rtol=rtol, atol=atol, conserved=laws)

        path = solve(jepa_forms(self, W, P, V), integrator, times, start=start, method=method, laws=laws)
        states = dict(path.states)
        states.setdefault("target", states["encoder"])
        if "predictor" not in states:
            determined = [self._determined(*pair) for pair in zip(states["encoder"], states["target"], strict=True)]
            states["predictor"] = np.array(determined).reshape(-1, *P.shape)
        return replace(path, states=states)

    def equilibria(self) -> ModeEquilibria:
        """Return the balanced equilibria of each mode of aligned views and their stability, whatever the EMA rate (4.3, 4.4).

        Raises
        ------
        InputError
            If the views are not aligned or have a direction without variance, or the predictor is not learnt in the BYOL form.
        """
        self._balanced()
        return jepa_equilibria(self.views, self.predictor_rate, self.weight_decay)

    def collapse_threshold(self) -> Array:
        """Return the critical weight decay λ²/(4σ) of each mode, (d,), in the order of ``views.modes()``; raises as that above."""
        self._balanced()
        modes = self.views.modes()
        return critical_weight_decay(modes.cross, modes.variance)

    def _balanced(self) -> None:
        if not self.learnt or self.force != "byol" or self.leak:
            raise InputError("predictor", "not learnt, or with another force", "must be learnt for balanced equilibria")

    def _field(self, state: State) -> State:
        W = state["encoder"]
        V = state["target"] if self.lagging else W
        P = state["predictor"] if self.learnt else self._determined(W, V)
        R, eta = self._residual(W, P, V), self.weight_decay
        velocity = {"encoder": (P.T @ R if self.force == "byol" else R) - eta * W}
        if self.learnt:
            velocity["predictor"] = self.predictor_rate * R @ W.T - eta * P
        leaked = self._leaked(W, P, V) if self.leak else 0.0
        if self.lagging:
            assert self.ema_rate is not None
            velocity["target"] = self.ema_rate * (W - V) + leaked
        else:
            velocity["encoder"] += leaked
        return velocity

    def _laws(self) -> dict[str, Law]:
        """Return what is conserved up to decay: the balance by the factor Pᵀ, the Gram matrix by the optimal P."""
        if self.leak and not self.lagging:
            return {}
        if self.learnt and self.force == "byol":
            alpha = self.predictor_rate
            law = Law(
                lambda state: balance(state["encoder"], state["predictor"], predictor_rate=alpha), 2 * self.weight_decay
            )
            return {"balance": law}
        if self.predictor is None and not self.learnt:
            return {"gram": Law(lambda state: state["encoder"] @ state["encoder"].T, 2 * self.weight_decay)}
        return {}

    def _leaked(self, W: Array, P: Array, V: Array) -> Array:
        return self.leak * (P @ W @ self.views.cross.T - V @ self.views.target)

    def _residual(self, W: Array, P: Array, V: Array) -> Array:
        return V @ self.views.cross - P @ W @ self.views.context

    def _determined(self, W: Array, V: Array) -> Array:
        if self.predictor is not None:
            return spectral_predictor(self.views, W, self.predictor)
        return _least_squares(self.views, W, V)

    def _target(self, target: ArrayLike, W: Array) -> Array:
        V = encoder_matrix(self.views, "target", target)
        if V.shape != W.shape:
            raise InputError("target", f"array of shape {V.shape}", f"must have the shape {W.shape} of the encoder")
        if not self.lagging and not np.array_equal(V, W):
            raise InputError("target", "another encoder", "must be the encoder itself unless ema_rate is finite")
        return V

    def _arguments(
        self, encoder: ArrayLike, predictor: ArrayLike | None, target: ArrayLike | None
    ) -> tuple[Array, Array, Array]:
        W = encoder_matrix(self.views, "encoder", encoder)
        V = W if target is None else self._target(target, W)
        if self.learnt:
            if predictor is None:
                raise InputError("predictor", None, "must be given, as this JEPA learns it")
            return W, matrix("predictor", predictor, (len(W), len(W))), V
        if predictor is not None:
            raise InputError("predictor", "a matrix", "must be None: this JEPA determines it from the encoder")
        if self.predictor is None:
            check_full_rank(self.views, W)
        else:
            check_defined(self.views, W, self.predictor)
        return W, self._determined(W, V), V


def check_full_rank(views: ViewPair, W: Array) -> None:
    """Raise ``InputError`` unless WΣ_xWᵀ is invertible in float64."""
    singular = np.linalg.svd(W @ views.context_root, compute_uv=False)
    if len(W) > views.dimension or singular[-1] <= len(W) * np.finfo(float).eps * singular[0]:
        raise InputError(
            "encoder", f"matrix of shape {W.shape}", "must give embeddings of full rank for the optimal predictor"
        )


def _least_squares(views: ViewPair, W: Array, V: Array) -> Array:
    """Return VΣ_yxWᵀ(WΣ_xWᵀ)⁻¹ from a QR factor of WΣ_x^{1/2}, so that Φ = RᵀR is never formed."""
    factor = np.linalg.qr((W @ views.context_root).T, mode="r")
    half = solve_triangular(factor, (V @ views.cross @ W.T).T, trans=1, check_finite=False)
    return np.asarray(solve_triangular(factor, half, check_finite=False).T, dtype=np.float64)
