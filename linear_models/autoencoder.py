"""A linear masked autoencoder: encoder and decoder that predict the target view itself, not its embedding (5.4)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.alignment import aligned_modes
from jepalign.linear_models.checks import matrix, rate
from jepalign.linear_models.closed_forms import ClosedForm, solve
from jepalign.linear_models.flow import Law, Path, State, integrate
from jepalign.linear_models.objectives import Forces, encoder_matrix
from jepalign.linear_models.rest import ModeEquilibria, inverse_root, leading
from jepalign.linear_models.trajectories.logistic import logistic_square
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MaskedAutoencoder:
    """The loss ½E‖DWx − y‖² of a linear encoder W, (k, d), and decoder D, (d, k), and its gradient flow.

    Ẇ = Dᵀ(Σ_yx − DWΣ_x) − ηW,  Ḋ = α(Σ_yx − DWΣ_x)Wᵀ − ηD.

    Nothing is held fixed: y is data, so there is no stop-gradient and nothing to collapse to but W = 0, D = 0.

    Attributes
    ----------
    views : ViewPair
        Any views: x what is seen, y what is hidden.
    decoder_rate : float
        α > 0, finite.
    weight_decay : float
        η ≥ 0, on encoder and decoder. Losses are without it.

    Raises
    ------
    InputError
        If a rate is out of range.

    Notes
    -----
    Littwin et al. 2024, with one encoder layer; two-layer linear networks: Saxe, McClelland & Ganguli 2014. A balanced aligned mode,
    D-weight √αw, is logistic in w² at rate 2(√α|λ| − η). Cost of a gradient O(kd²).
    """

    views: ViewPair
    decoder_rate: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        rate("decoder_rate", self.decoder_rate, positive=True)
        rate("weight_decay", self.weight_decay)

    def loss(self, encoder: ArrayLike, decoder: ArrayLike) -> float:
        """Return ½E‖DWx − y‖², without weight decay, for W of shape (k, d) and D of shape (d, k)."""
        W, D = self._arguments(encoder, decoder)
        # Half the square of a norm, not a difference of traces, which rounding could make negative.
        return float(np.square(np.hstack((D @ W, -np.eye(len(D)))) @ self.views.joint_root).sum() / 2)

    def gradient(self, encoder: ArrayLike, decoder: ArrayLike) -> tuple[Array, Array]:
        """Return the gradient of the loss with respect to W, (k, d), and D, (d, k)."""
        W, D = self._arguments(encoder, decoder)
        residual = self._residual(W, D)
        return -D.T @ residual, -residual @ W.T

    def forces(self, encoder: ArrayLike, decoder: ArrayLike) -> Forces:
        """Return the parts of Ẇ, (k, d) each: attraction DᵀΣ_yx, explicit repulsion −DᵀDWΣ_x and decay −ηW."""
        W, D = self._arguments(encoder, decoder)
        return Forces(
            attraction=D.T @ self.views.cross,
            implicit_repulsion=np.zeros_like(W),
            explicit_repulsion=-D.T @ D @ W @ self.views.context,
            decay=-self.weight_decay * W,
        )

    def energy(self, encoder: ArrayLike, decoder: ArrayLike) -> float:
        """Return L + ½η(‖W‖² + ‖D‖²/α), which the flow never raises."""
        W, D = self._arguments(encoder, decoder)
        squares = float(np.square(W).sum() + np.square(D).sum() / self.decoder_rate)
        return self.loss(W, D) + self.weight_decay / 2 * squares

    def solve(
        self,
        encoder: ArrayLike,
        decoder: ArrayLike,
        times: ArrayLike,
        *,
        method: str = "auto",
        rtol: float = 1e-10,
        atol: float = 1e-12,
    ) -> Path:
        """Solve the flow.

        Parameters
        ----------
        encoder, decoder : array_like of shapes (k, d) and (d, k)
            W and D at time 0.
        times : array_like of shape (T,)
            Increasing, the first at least 0; the last may be ∞ for the closed form.
        method : str
            "auto": the closed form of balanced aligned modes where the data fulfil it, else DOP853; "closed": that or an error; or the
            name of an integrator (:func:`jepalign.linear_models.flow.integrate`).
        rtol, atol : float
            Bounds of the local error of an integrator's step, relative and absolute.

        Returns
        -------
        Path
            With ``states["encoder"]``, (T, k, d), and ``states["decoder"]``, (T, d, k). Its drift is that of WWᵀ − DᵀD/α.

        Raises
        ------
        InputError
            If an argument is malformed, or the closed form does not hold and ``method`` is "closed".
        """
        W, D = self._arguments(encoder, decoder)
        start = {"encoder": W, "decoder": D}
        laws = {"balance": Law(lambda state: self._balance(state["encoder"], state["decoder"]), 2 * self.weight_decay)}

        def velocity(state: State) -> State:
            W, D, eta = state["encoder"], state["decoder"], self.weight_decay
            residual = self._residual(W, D)
            return {"encoder": D.T @ residual - eta * W, "decoder": self.decoder_rate * residual @ W.T - eta * D}

        def integrator(name: str) -> Path:
            return integrate(velocity, start, times, method=name, rtol=rtol, atol=atol, conserved=laws)

        return solve(self._forms(W, D), integrator, times, start=start, method=method, laws=laws)

    def optimum(self, width: int) -> tuple[Array, Array]:
        """Return a global minimum without weight decay among k = ``width`` dimensions: W, (k, d), and D, (d, k), balanced.

        DW is the regression Σ_yxΣ_x⁻¹ cut to the k largest singular values of Σ_yxΣ_x^{−1/2}; the factors are
        chosen with WWᵀ = DᵀD/α. AW with an invertible A, and DA⁻¹, are as good.

        Raises
        ------
        InputError
            If ``width`` is not between 1 and the rank of Σ_x.
        """
        left, values, right, inverse = self._regression()
        leading(values, right.T, width)
        # The balanced factors of a product are those of its singular values.
        product = (left[:, :width] * values[:width]) @ right[:width] @ inverse
        outer, size, inner = np.linalg.svd(product)
        halves = np.sqrt(size[:width])
        fourth = self.decoder_rate**0.25
        return halves[:, None] * inner[:width] / fourth, outer[:, :width] * halves * fourth

    def minimum(self, width: int) -> float:
        """Return the least loss among k = ``width`` dimensions, ½(tr Σ_y − Σ_{i≤k} v_i²), v the singular values of Σ_yxΣ_x^{−1/2}."""
        return self.loss(*self.optimum(width))

    def equilibria(self) -> ModeEquilibria:
        """Return the balanced equilibria of each mode of aligned views, (d, 2): w = 0 and w² = (√α|λ| − η)/(ασ).

        The decoder's weight is √αw with the sign of λ: also modes with λ < 0 survive. With weight decay every equilibrium is balanced;
        without it, any weights whose product is ρ = λ/σ are at rest, and these are what a balanced start reaches.

        Raises
        ------
        InputError
            If the views are not aligned (:meth:`ViewPair.modes`).
        """
        modes = self.views.modes()
        alpha = self.decoder_rate
        surplus = np.sqrt(alpha) * np.abs(modes.cross) - self.weight_decay
        present = (surplus > 0) & (modes.variance > 0)
        square = np.where(present, surplus / alpha / np.where(present, modes.variance, 1.0), 0.0)
        weight = np.stack((np.zeros_like(square), np.sqrt(square)), axis=1)
        mask = np.stack((np.zeros_like(present), ~present), axis=1)
        return ModeEquilibria(modes, np.ma.masked_array(weight, mask=mask), np.stack((~present, present), axis=1))

    def collapse_threshold(self) -> Array:
        """Return the critical weight decay √α|λ| of each mode, (d,), in the order of ``views.modes()``; raises as that does."""
        return np.sqrt(self.decoder_rate) * np.abs(self.views.modes().cross)

    def _forms(self, W: Array, D: Array) -> Iterator[ClosedForm]:
        """Yield the balanced aligned modes: ẇ = (√αλ − η)w − ασw³, λ with the sign of w times the decoder's weight."""
        modes, alpha = aligned_modes(self.views, W), self.decoder_rate
        weight = modes.weights["encoder"]
        decoder = np.einsum("dr,dk,kr->r", modes.directions, D, modes.axes)
        side = np.where(weight * decoder < 0, -1.0, 1.0)
        ideal = (modes.directions * (np.sqrt(alpha) * side * weight)) @ modes.axes.T
        size = max(float(np.abs(D).max()), np.sqrt(alpha) * float(np.abs(W).max()))
        departures = {**modes.departures, "balance": float(np.abs(D - ideal).max()) / size if size > 0 else 0.0}

        def states(times: Array) -> dict[str, Array]:
            growth = np.sqrt(alpha) * side * modes.cross - self.weight_decay
            found = logistic_square(times[:, None], weight, growth, np.sqrt(alpha * np.maximum(modes.variance, 0.0)))
            outer = (modes.directions * (np.sqrt(alpha) * side * found)[:, None, :]) @ modes.axes.T
            return {"encoder": modes.matrix(found), "decoder": outer}

        yield ClosedForm("balanced modes of an autoencoder (5.4, one layer)", departures, states)

    def _balance(self, W: Array, D: Array) -> Array:
        return W @ W.T - D.T @ D / self.decoder_rate

    def _residual(self, W: Array, D: Array) -> Array:
        return self.views.cross - D @ (W @ self.views.context)

    def _regression(self) -> tuple[Array, Array, Array, Array]:
        """Return the singular value decomposition of Σ_yxR, and Rᵀ, for a root with RᵀΣ_xR = I, which serves as Σ_x^{−1/2}."""
        root = inverse_root(self.views.context)
        left, values, right = np.linalg.svd(self.views.cross @ root, full_matrices=False)
        return left, values, right, root.T

    def _arguments(self, encoder: ArrayLike, decoder: ArrayLike) -> tuple[Array, Array]:
        W = encoder_matrix(self.views, "encoder", encoder)
        D = matrix("decoder", decoder)
        if D.shape != W.shape[::-1]:
            raise InputError("decoder", f"array of shape {D.shape}", f"must have the shape {W.shape[::-1]}")
        return W, D
