"""Deep linear encoders W = W_L ⋯ W_1 of a JEPA or a masked autoencoder (5.4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.alignment import aligned_modes
from jepalign.linear_models.checks import matrix, rate
from jepalign.linear_models.closed_forms import ClosedForm, solve
from jepalign.linear_models.flow import Law, Path, State, integrate
from jepalign.linear_models.trajectories import deep_jepa, masked_autoencoder
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DeepEncoder:
    """A linear encoder of several layers with one linear layer on top, and its gradient flow.

    With W = W_L ⋯ W_1 the loss is ½E‖PWx − sg(Wy)‖² for a JEPA (P a predictor) and ½E‖PWx − y‖² for a masked autoencoder (P a decoder).
    Each layer descends it, with weight decay η: Ẇ_l = (PW_L⋯W_{l+1})ᵀR(W_{l−1}⋯W_1)ᵀ − ηW_l and Ṗ = αRWᵀ − ηP, where
    R = WΣ_yx − PWΣ_x or Σ_yx − PWΣ_x.

    Attributes
    ----------
    views : ViewPair
        The data.
    objective : {"jepa", "autoencoder"}
        What is predicted: the embedding of the target, without gradient, or the target itself.
    predictor_rate : float
        α, positive and finite.
    weight_decay : float
        η ≥ 0.

    Raises
    ------
    InputError
        If a rate is out of range or the objective is unknown.

    Notes
    -----
    Littwin et al. 2024, whose time is L times the raw gradient-flow time used here.
    """

    views: ViewPair
    objective: Literal["jepa", "autoencoder"] = "jepa"
    predictor_rate: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.objective not in ("jepa", "autoencoder"):
            raise InputError("objective", repr(self.objective), "must be 'jepa' or 'autoencoder'")
        rate("predictor_rate", self.predictor_rate, positive=True)
        rate("weight_decay", self.weight_decay)

    def loss(self, layers: Sequence[ArrayLike], predictor: ArrayLike) -> float:
        """Return ½E‖PWx − Wy‖² or ½E‖PWx − y‖², without weight decay.

        Parameters
        ----------
        layers : sequence of array_like
            W_1 of shape (h, d), ..., W_L of shape (k, h′), the first applied first.
        predictor : array_like
            P, (k, k) for a JEPA, (d, k) for a masked autoencoder.

        Raises
        ------
        InputError
            If the shapes do not chain or an entry is not finite.
        """
        weights, P = self._arguments(layers, predictor)
        W = _product(weights)
        target = W if self.objective == "jepa" else np.eye(self.views.dimension)
        return float(np.square(np.hstack((P @ W, -target)) @ self.views.joint_root).sum() / 2)

    def velocity(self, layers: Sequence[ArrayLike], predictor: ArrayLike) -> tuple[list[Array], Array]:
        """Return the time derivatives of layers and predictor, with the shapes of both; arguments as for :meth:`loss`."""
        weights, P = self._arguments(layers, predictor)
        return self._velocity(weights, P)

    def solve(
        self,
        layers: Sequence[ArrayLike],
        predictor: ArrayLike,
        times: ArrayLike,
        *,
        method: str = "auto",
        rtol: float = 1e-10,
        atol: float = 1e-12,
    ) -> Path:
        """Solve the flow.

        Parameters
        ----------
        layers : sequence of array_like
            W_1, ..., W_L at time 0, as for :meth:`loss`.
        predictor : array_like
            P at time 0.
        times : array_like of shape (T,)
            Increasing, the first at least 0; the last may be ∞ for a closed form.
        method : str
            "auto", "closed" or the name of an integrator, as for :meth:`jepalign.linear_models.LinearJEPA.solve`.
        rtol, atol : float
            Bounds of the local error of an integrator's step, relative and absolute.

        Returns
        -------
        Path
            With the product ``encoder`` and the ``predictor`` at the times; integrated, also with "layer 1", .... Its drift is that
            of W_lW_lᵀ − W_{l+1}ᵀW_{l+1} and of W_LW_Lᵀ − PᵀP/α.

        Raises
        ------
        InputError
            If an argument is malformed, or no closed form holds and ``method`` is "closed".
        """
        weights, P = self._arguments(layers, predictor)
        names = [f"layer {index + 1}" for index in range(len(weights))]
        start = dict(zip(names, weights, strict=True)) | {"predictor": P}

        def field(state: State) -> State:
            velocities, predicted = self._velocity([state[name] for name in names], state["predictor"])
            return dict(zip(names, velocities, strict=True)) | {"predictor": predicted}

        def integrator(name: str) -> Path:
            path = integrate(field, start, times, method=name, rtol=rtol, atol=atol, conserved=self._laws(names))
            product = _product([path.states[part] for part in names])
            return replace(path, states={**path.states, "encoder": product})

        whole = {"encoder": _product(weights), "predictor": P}
        return solve(self._closed_forms(weights, P), integrator, times, start=whole, method=method)

    def _closed_forms(self, weights: list[Array], P: Array) -> Iterator[ClosedForm]:
        if self.weight_decay or self.predictor_rate != 1:
            return
        W, depth = _product(weights), len(weights)
        jepa = self.objective == "jepa"
        modes = aligned_modes(self.views, W, P if jepa else None)
        # Balanced layers turn the singular values of each into the same u, of which a mode of the product is the power.
        above = [*weights[1:], P]
        gaps = [
            np.abs(low @ low.T - high.T @ high).max() / max(np.square(low).sum(), np.square(high).sum(), 1e-300)
            for low, high in zip(weights, above, strict=True)
        ]
        u = modes.weights["encoder"] ** (1 / depth)
        axes = modes.axes if jepa else modes.directions
        reached = (axes * u) @ modes.axes.T
        misfit = np.abs(reached - P).max() / max(np.abs(P).max(), 1e-300)
        departures = {**modes.departures, "balance": float(max(gaps)), "positive predictor": float(misfit)}
        formula = deep_jepa if jepa else masked_autoencoder

        def states(times: Array) -> dict[str, Array]:
            w = formula(times[:, None], modes.weights["encoder"], modes.cross, modes.variance, depth=depth)
            p = w ** (1 / depth)
            return {"encoder": modes.matrix(w), "predictor": (axes * p[:, None, :]) @ modes.axes.T}

        yield ClosedForm(f"balanced modes of {depth} layers (5.4)", departures, states)

    def _laws(self, names: list[str]) -> dict[str, Law]:
        def gap(low: str, high: str, alpha: float) -> Law:
            return Law(
                lambda state: state[low] @ state[low].T - state[high].T @ state[high] / alpha, 2 * self.weight_decay
            )

        laws = {f"balance of {low}": gap(low, high, 1.0) for low, high in pairwise(names)}
        return laws | {f"balance of {names[-1]}": gap(names[-1], "predictor", self.predictor_rate)}

    def _velocity(self, weights: list[Array], P: Array) -> tuple[list[Array], Array]:
        W, eta = _product(weights), self.weight_decay
        target = W @ self.views.cross if self.objective == "jepa" else self.views.cross
        R = target - P @ W @ self.views.context
        below = [np.eye(weights[0].shape[1])]
        for layer in weights[:-1]:
            below.append(layer @ below[-1])
        found: list[Array] = []
        pulled = P.T @ R
        for layer, under in zip(weights[::-1], below[::-1], strict=True):
            found.append(pulled @ under.T - eta * layer)
            pulled = layer.T @ pulled
        return found[::-1], self.predictor_rate * R @ W.T - eta * P

    def _arguments(self, layers: Sequence[ArrayLike], predictor: ArrayLike) -> tuple[list[Array], Array]:
        if len(layers) == 0:
            raise InputError("layers", "no layer", "must be at least one")
        weights: list[Array] = []
        width = self.views.dimension
        for index, value in enumerate(layers):
            layer = matrix(f"layers[{index}]", value)
            if layer.shape[1] != width:
                raise InputError(f"layers[{index}]", f"array of shape {layer.shape}", f"must have {width} columns")
            weights.append(layer)
            width = len(layer)
        rows = width if self.objective == "jepa" else self.views.dimension
        return weights, matrix("predictor", predictor, (rows, width))


def _product(weights: list[Array]) -> Array:
    """Return W_L ⋯ W_1, also of stacks of matrices."""
    found = weights[0]
    for layer in weights[1:]:
        found = layer @ found
    return found
