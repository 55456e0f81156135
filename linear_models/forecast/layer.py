"""A measured last layer: encoder, predictor and target of a training at one moment, and the moments of its input features.

With the features h of both views as inputs, a deep encoder's last layer W, its predictor P and the target's last layer V obey the
linear flow of the theory as long as the features stay: their second moments are all that it needs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate
from jepalign.linear_models.collapse.thresholds import critical_weight_decay
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]

# Moments of features below this share of the largest are rounding: as λ they count as 0, as σ as this much.
NOTHING = 1e-12


class LayerModes(NamedTuple):
    """What the last layer does along the eigenvectors of its features' cross-moment, by η_c, descending.

    Where C = (Σ_yx + Σ_yxᵀ)/2 and Σ_x do not commute this is a reading along unit eigenvectors v of C: λ its eigenvalues, σ = v·Σ_x v.

    Attributes
    ----------
    cross, variance : ndarray of shape (h,)
        λ and σ.
    directions : ndarray of shape (h, h)
        v, one per column.
    weight : ndarray of shape (h,)
        w = |Wv|, never negative.
    predictor : ndarray of shape (h,)
        p = u·Pu along u = Wv/w, and 0 where w is.
    """

    cross: Array
    variance: Array
    directions: Array
    weight: Array
    predictor: Array


@dataclass(frozen=True, eq=False)
class LastLayer:
    """Last layer, predictor and target layer of an encoder, and the second moments of the features below.

    Attributes
    ----------
    views : ViewPair
        Σ_x, Σ_y and Σ_yx of the features, (h, h), not centred: second moments are what the flow sees. Features of the context are the
        encoder's, those of the target the target encoder's.
    encoder : ndarray of shape (k, h)
        W.
    predictor : ndarray of shape (k, k)
        P.
    target : ndarray of shape (k, h), optional
        V; None: W itself, as without a target encoder.
    below : tuple of float
        κ_l of the layers that make the features, from the first to the last: the rate, relative to W's, at which each turns them, see
        :func:`layer_rate`. Empty: nothing is known of them, and features can only be taken to stay.
    biases : tuple of float
        ν_l of the same layers: the rate, relative to W's, at which the bias of each moves the features' mean, ‖∂E h/∂b_l‖²/h over the
        entries of ∂E h/∂b_l, (h, outputs); 0 without a bias. Empty: the layers are taken to have none.
    means : tuple of two ndarray of shape (h,), optional
        E h of the context's and of the target's features, which biases need.

    Raises
    ------
    InputError
        If an array is not finite or of another shape, a rate is negative, or biases come without means or in another number than
        ``below``.

    Notes
    -----
    A step of a layer with weight and bias changes a unit of h(x) by the force at x′ times δ(x)·δ(x′)(⟨u, u′⟩ + 1), u being the layer's
    inputs and δ the unit's gradient by the layer's outputs. The first summand is κ⟨h, h′⟩ in :func:`layer_rate`; the second is the bias's,
    here its mean over samples and units. For a linear layer right below W it is ν = 1 exactly. The first dies with the features and the
    second does not, so that without it the mean of features, often the last dimension to live, is told to die too early. Ours.
    """

    views: ViewPair
    encoder: Array
    predictor: Array
    target: Array | None = None
    below: tuple[float, ...] = ()
    biases: tuple[float, ...] = ()
    means: tuple[Array, Array] | None = None

    def __post_init__(self) -> None:
        W = matrix("encoder", self.encoder)
        if W.shape[1] != self.views.dimension:
            raise InputError("encoder", f"array of shape {W.shape}", f"must have {self.views.dimension} columns")
        object.__setattr__(self, "encoder", W)
        object.__setattr__(self, "predictor", matrix("predictor", self.predictor, (len(W), len(W))))
        if self.target is not None:
            object.__setattr__(self, "target", matrix("target", self.target, W.shape))
        object.__setattr__(self, "below", tuple(rate("below", value) for value in self.below))
        object.__setattr__(self, "biases", tuple(rate("biases", value) for value in self.biases))
        if self.biases and (self.means is None or len(self.biases) != len(self.below)):
            raise InputError(
                "biases", len(self.biases), f"must be {len(self.below)}, one per rate below, and need means"
            )
        if self.means is not None:
            first, second = (matrix("means", [part], (1, self.views.dimension))[0] for part in self.means)
            object.__setattr__(self, "means", (first, second))

    @property
    def width(self) -> int:
        """The embedding's dimension k."""
        return len(self.encoder)

    @property
    def leading(self) -> Array:
        """V, (k, h): the target, which is W itself without one."""
        return self.encoder if self.target is None else self.target

    def with_constant(self) -> tuple[Array, Array]:
        """Return Σ_x and Σ_yx of the features and a constant 1 behind them, (h + 1, h + 1), on which biases act.

        Raises ``InputError`` if the means are not known.
        """
        if self.means is None:
            raise InputError("means", None, "must be known")
        own, ahead = self.means
        one = np.ones((1, 1))
        context = np.block([[self.views.context, own[:, None]], [own[None], one]])
        return context, np.block([[self.views.cross, ahead[:, None]], [own[None], one]])

    def embedding(self) -> Array:
        """Return the embedding's second moment WΣ_xWᵀ, (k, k)."""
        return self.encoder @ self.views.context @ self.encoder.T

    def eigenvalues(self) -> Array:
        """Return the eigenvalues of the embedding's second moment, (k,), descending."""
        half = np.linalg.svd(self.encoder @ self.views.context_root, compute_uv=False)
        found = np.zeros(self.width)
        found[: len(half)] = half**2
        return found

    def modes(self) -> LayerModes:
        """Return λ, σ, w and p of the features' modes, by η_c = λ²/(4σ)."""
        C = (self.views.cross + self.views.cross.T) / 2
        cross, axes = np.linalg.eigh(C)
        variance = np.einsum("ji,jk,ki->i", axes, self.views.context, axes)
        least = NOTHING * max(float(np.abs(self.views.context).max()), np.finfo(float).tiny / NOTHING**2)
        cross = np.where(np.abs(cross) > least, cross, 0.0)
        variance = np.maximum(variance, least)
        order = np.argsort(-critical_weight_decay(cross, variance), kind="stable")
        along = self.encoder @ axes
        weight = np.linalg.norm(along, axis=0)
        unit = along / np.where(weight > 0, weight, 1.0)
        predictor = np.einsum("ji,jk,ki->i", unit, self.predictor, unit)
        return LayerModes(cross[order], variance[order], axes[:, order], weight[order], predictor[order])


def layer_rate(weight: ArrayLike) -> float:
    """Return κ = inputs/‖θ‖², the rate at which a layer below with the weight θ, (outputs, inputs), moves its features.

    A linear layer T behind θ, I at first, moves features h = θx under κ times its own gradient as θ under its own moves them: exactly if
    the columns of θ are orthogonal and of one length, θᵀθ = I/κ, and on average for independent entries. For then the kernels are one: a
    step of θ changes h(x) by the force at x′ times ⟨x, x′⟩, a step of T by κ⟨h, h′⟩. A nonlinearity between is taken to enter
    both alike.

    Raises
    ------
    InputError
        If the weight is 0 or not a finite matrix.

    Notes
    -----
    Ours: a closure, no theorem but in that case. At m layers the changes of all are taken at the features behind them.
    """
    theta = matrix("weight", weight)
    size = float(np.square(theta).sum())
    if size == 0:
        raise InputError("weight", "matrix of zeros", "must not be zero")
    return theta.shape[1] / size
