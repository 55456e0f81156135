"""Hybrids: a JEPA with an explicit force of uniformity on its encoder (4.6), as C-JEPA and its relatives have it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.closed_forms import ClosedForm, solve
from jepalign.linear_models.flow import Path, State, integrate
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.objectives import Forces, encoder_matrix, spectral_predictor
from jepalign.linear_models.uniformity import Uniformity
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hybrid:
    """A linear JEPA whose encoder also descends γU(Φ), Φ = WΣ_xWᵀ: Ẇ = (that of the JEPA) − 2γ (∂U/∂Φ) WΣ_x.

    Predictor and target encoder move as in the JEPA. The explicit force breaks the balance (3.1), so that no quantity is conserved;
    which strength repels the origin and which rescues a mode is :func:`jepalign.linear_models.collapse.rescue_weight`.

    Attributes
    ----------
    jepa : LinearJEPA
        With everything that it may have: decay, EMA, a spectral predictor, a leak.
    uniformity : Uniformity
        U of :mod:`jepalign.linear_models.uniformity`: ``Spectral``, ``VarianceHinge``, ``VICReg``, ``SIGReg`` or ``LogDet``.
    strength : float
        γ ≥ 0.

    Raises
    ------
    InputError
        If the first two are something else, or the strength is negative or not finite.

    Notes
    -----
    Mo & Tong 2024 (C-JEPA) with VICReg, γ = 0.001; Balestriero & LeCun 2025 (LeJEPA) with SIGReg and no predictor. Where a hinge closes
    the force jumps: see :class:`jepalign.linear_models.VICReg`. Cost of a force O(kd² + k³).
    """

    jepa: LinearJEPA
    uniformity: Uniformity
    strength: float

    def __post_init__(self) -> None:
        if not isinstance(self.jepa, LinearJEPA):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("jepa", type(self.jepa).__name__, "must be a LinearJEPA")
        if not isinstance(self.uniformity, Uniformity):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("uniformity", type(self.uniformity).__name__, "must be a Uniformity")
        rate("strength", self.strength)

    @property
    def views(self) -> ViewPair:
        """The data."""
        return self.jepa.views

    @property
    def weight_decay(self) -> float:
        """The JEPA's weight decay η."""
        return self.jepa.weight_decay

    def loss(self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None) -> float:
        """Return ½E‖PWx − Vy‖² + γU(Φ); arguments and errors as for :meth:`LinearJEPA.loss`. Infinite where U is."""
        found = self.jepa.loss(encoder, predictor, target)
        return found + self.strength * self.uniformity.value(self._moment(encoder)) if self.strength else found

    def forces(self, encoder: ArrayLike, predictor: ArrayLike | None = None, target: ArrayLike | None = None) -> Forces:
        """Return the parts of Ẇ, (k, d) each: those of the JEPA with the explicit repulsion −2γ(∂U/∂Φ)WΣ_x.

        Arguments and errors as for :meth:`LinearJEPA.forces`; ``InputError`` also where U has no gradient.
        """
        parts = self.jepa.forces(encoder, predictor, target)
        if not self.strength:
            return parts
        W = encoder_matrix(self.views, "encoder", encoder)
        slope = self.uniformity.gradient(self._moment(W))
        return replace(parts, explicit_repulsion=-2 * self.strength * slope @ W @ self.views.context)

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
        """Solve the flow by integration, as no closed form is known; arguments, result and errors as for :meth:`LinearJEPA.solve`.

        With γ = 0 this is the JEPA's own solution. A hybrid has no conserved quantity, so the path has no drift.
        """
        jepa = self.jepa
        if not self.strength:
            return jepa.solve(encoder, predictor, times, target, method=method, rtol=rtol, atol=atol)
        self.forces(encoder, predictor, target)
        W = encoder_matrix(self.views, "encoder", encoder)
        start: dict[str, Array] = {"encoder": W}
        if jepa.learnt:
            start["predictor"] = np.asarray(predictor, dtype=np.float64)
        if jepa.lagging:
            start["target"] = W if target is None else encoder_matrix(self.views, "target", target)

        def integrator(name: str) -> Path:
            return integrate(self._field, start, times, method=name, rtol=rtol, atol=atol)

        none: Iterable[ClosedForm] = ()
        path = solve(none, integrator, times, start=start, method=method)
        states = dict(path.states)
        states.setdefault("target", states["encoder"])
        if "predictor" not in states:
            determined = [self._determined(*pair) for pair in zip(states["encoder"], states["target"], strict=True)]
            states["predictor"] = np.array(determined).reshape(-1, len(W), len(W))
        return replace(path, states=states)

    def _field(self, state: State) -> State:
        jepa, W = self.jepa, state["encoder"]
        P, V = state.get("predictor"), state.get("target")
        try:
            velocity = {"encoder": self.forces(W, P, V).total}
            if P is not None:
                velocity["predictor"] = -jepa.predictor_rate * jepa.gradient(W, P, V).predictor - jepa.weight_decay * P
            if V is not None:
                assert jepa.ema_rate is not None
                velocity["target"] = jepa.ema_rate * (W - V) + jepa.leaked(W, P, V)
        except InputError as problem:
            # A flow that runs into a singularity ends with a status, not an error.
            raise np.linalg.LinAlgError(str(problem)) from problem
        return velocity

    def _determined(self, W: Array, V: Array) -> Array:
        if self.jepa.predictor is not None:
            return spectral_predictor(self.views, W, self.jepa.predictor)
        return self.jepa.optimal_predictor(W, V if self.jepa.lagging else None)

    def _moment(self, encoder: ArrayLike) -> Array:
        W = encoder_matrix(self.views, "encoder", encoder)
        half = W @ self.views.context_root
        return half @ half.T
