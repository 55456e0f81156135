"""Where encoders come to rest: the optimum of an objective whose modes decouple, and the equilibria of each mode."""

from abc import abstractmethod
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from jepalign.errors import InputError
from jepalign.linear_models.collapse.thresholds import equilibria, growth
from jepalign.linear_models.objectives import Descent
from jepalign.linear_models.views import ROUNDING, Modes, ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ModeEquilibria:
    """The equilibria of each mode of aligned views; −w is another one.

    Attributes
    ----------
    modes : Modes
        λ, σ and direction of each of the d modes.
    weight : masked array of shape (d, m)
        The encoder's weight w, masked where a mode has fewer equilibria than m. The first is the collapsed one, w = 0. At least 0
        but for a JEPA, where its sign is the predictor's.
    stable : ndarray of shape (d, m)
        Whether weights nearby stay nearby while the encoder stays on the mode; False where masked. Competition between
        modes for fewer dimensions than there are modes is not in it.
    """

    modes: Modes
    weight: "np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]"
    stable: NDArray[np.bool_]


def jepa_equilibria(views: ViewPair, predictor_rate: float, weight_decay: float) -> ModeEquilibria:
    """Return the balanced equilibria of each mode of a JEPA with a learnt predictor, (d, 3) each: 0, p₋/√α and p₊/√α (4.3).

    Raises
    ------
    InputError
        If the views are not aligned, or a direction has no variance.
    """
    modes = views.modes()
    if modes.variance.min() <= 0:
        raise InputError("views", "views with a direction without variance", "must have full rank")
    given = modes.cross, modes.variance, weight_decay
    rates = growth(*given)
    stable = np.asarray(rates.filled(0.0) < 0)
    return ModeEquilibria(modes, equilibria(*given, predictor_rate=predictor_rate), stable)


class Separable(Descent):
    """An objective that keeps aligned modes aligned: ẇ = (h(w²) − η)w with h falling, λ and σ its only parameters.

    For views with Σ_x = Σ_y it decouples, too, over the solutions of Cv = ρΣv, C the symmetric part of Σ_yx.
    """

    def optimum(self, width: int) -> Array:
        """Return a global minimum of the loss without weight decay among encoders of ``width`` k rows, (k, d).

        W = diag(√s) U_kᵀ with the k directions of largest ρ in Cv = ρΣv, UᵀΣU = I (1.5); OW with orthogonal O is as good.

        Raises
        ------
        InputError
            If the covariances of the views differ, ``width`` is not between 1 and their rank, or the loss falls for ever.
        """
        rho, directions = leading_directions(self.views, width)
        with np.errstate(all="ignore"):
            variances = self._square(rho, np.ones_like(rho), 0.0, width)
        if not np.isfinite(variances).all():
            raise InputError(
                "views", f"views with the correlation {rho.max():.3g}", "must have it below 1 for an optimum"
            )
        return np.sqrt(variances)[:, None] * directions.T

    def minimum(self, width: int) -> float:
        """Return the loss at ``optimum(width)``; raises as that does."""
        return self.loss(self.optimum(width))

    def equilibria(self, width: int | None = None) -> ModeEquilibria:
        """Return the equilibria of each mode with the weight decay of this objective, (d, 2) each: w = 0 and w > 0.

        Parameters
        ----------
        width : int, optional
            k, which only objectives need that average over the dimensions of the embedding (VICReg). None: d.

        Raises
        ------
        InputError
            If the views have different covariances or are not aligned (:meth:`ViewPair.modes`).
        """
        modes, width = self._modes(), self._width(width)
        with np.errstate(all="ignore"):
            square = self._square(modes.cross, modes.variance, self.weight_decay, width)
        present = (square > 0) & np.isfinite(square)
        weight = np.stack((np.zeros_like(square), np.sqrt(np.where(present, square, 0.0))), axis=1)
        gone = np.stack((np.zeros_like(present), ~present), axis=1)
        origin = self._growth(modes.cross, modes.variance, width) <= self.weight_decay
        return ModeEquilibria(modes, np.ma.masked_array(weight, mask=gone), np.stack((origin, present), axis=1))

    def collapse_threshold(self, width: int | None = None) -> Array:
        """Return the critical weight decay of each mode, (d,), in the order of ``views.modes()``.

        At and above it a mode has no equilibrium but 0, which attracts from everywhere; below it 0 repels. A threshold of
        0: the mode collapses without decay. ``width`` and errors are those of ``equilibria``.
        """
        modes = self._modes()
        return np.maximum(self._growth(modes.cross, modes.variance, self._width(width)), 0.0)

    @abstractmethod
    def _growth(self, cross: Array, variance: Array, width: int) -> Array:
        """Return h(0), the rate at which a small mode grows without decay."""

    @abstractmethod
    def _square(self, cross: Array, variance: Array, decay: float, width: int) -> Array:
        """Return w² > 0 with h(w²) = η, and 0 where there is none."""

    def _modes(self) -> Modes:
        check_equal_covariances(self.views)
        return self.views.modes()

    def _width(self, width: int | None) -> int:
        return self.views.dimension if width is None else count("width", width)


def covariance_gap(views: ViewPair) -> float:
    """Return the largest entry of Σ_x − Σ_y, relative to the largest of both."""
    largest = max(float(np.abs(views.context).max()), float(np.abs(views.target).max()))
    return float(np.abs(views.context - views.target).max()) / largest if largest > 0 else 0.0


def check_equal_covariances(views: ViewPair) -> None:
    """Raise ``InputError`` unless Σ_x = Σ_y, up to rounding."""
    if (gap := covariance_gap(views)) > ROUNDING:
        raise InputError("views", f"covariances that differ by {gap:.3g}", "must be equal for context and target")


def generalised_directions(moment: Array, cross: Array) -> tuple[Array, Array]:
    """Return ρ, descending, and U with UᵀΣU = I of Cv = ρΣv, (r,) and (d, r); directions without variance are left out."""
    root = inverse_root(moment)
    whitened = root.T @ ((cross + cross.T) / 2) @ root
    rho, axes = np.linalg.eigh((whitened + whitened.T) / 2)
    return np.clip(rho[::-1], -1.0, 1.0), root @ axes[:, ::-1]


def inverse_root(moment: Array) -> Array:
    """Return R, (d, r), with RᵀΣR = I for a covariance Σ of rank r, computed in units of standard deviations."""
    units = np.sqrt(np.where(np.diag(moment) > 0, np.diag(moment), 1.0))
    values, vectors = np.linalg.eigh(moment / np.outer(units, units))
    kept = values > len(values) * np.finfo(float).eps * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept]) / units[:, None]


def leading_directions(views: ViewPair, width: int) -> tuple[Array, Array]:
    """Return the ``width`` k largest ρ and their directions, (k,) and (d, k), for views with Σ_x = Σ_y."""
    check_equal_covariances(views)
    return leading(*generalised_directions(views.context, views.cross), width)


def count(name: str, value: object) -> int:
    """Return a positive integer, or raise ``InputError``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(name, repr(value), "must be a positive integer")
    return int(value)


def leading(values: Array, directions: Array, width: int) -> tuple[Array, Array]:
    """Return the first ``width`` of values and directions; raise ``InputError`` if there are fewer."""
    if count("width", width) > len(values):
        raise InputError("width", width, f"must be at most {len(values)}, the number of directions with variance")
    return values[:width], directions[:, :width]
