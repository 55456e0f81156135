"""How far views and weights are from sharing their directions, and their modes where they do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]

# A closed form is used up to this relative departure from its assumptions: what rounding leaves of data made to fulfil them.
TOLERANCE = 1e-12
# Weights smaller than this, relative to the largest, are what rounding makes of 0.
_ROUNDING = 100 * np.finfo(float).eps
# Weights of a generic combination of commuting matrices, whose eigenvectors are shared by all of them.
_GENERIC = (1.0, 0.6180339887, 0.4142135623, 0.3027756377, 0.2360679775)


@dataclass(frozen=True, eq=False)
class AlignedModes:
    """Views and weights in the basis of directions that they share: W = U diag(w) Qᵀ, P = U diag(p) Uᵀ + ….

    Attributes
    ----------
    directions : ndarray of shape (d, r)
        Q: the directions in the input on which a weight is not 0; r at most the smaller of k and d.
    axes : ndarray of shape (k, r)
        U: for each direction the axis of the embedding that it is mapped to.
    variance, cross : ndarray of shape (r,)
        σ and λ.
    weights : mapping of str to ndarray of shape (r,)
        The modes of "encoder" (w ≥ 0 where there is no target), and of "predictor" and "target" if they were given.
    complement : ndarray of shape (k, k)
        What the predictor does on the axes that no direction is mapped to; 0 without a predictor.
    departures : mapping of str to float
        "commutation": the largest entry of Σ_x and Σ_yx outside the modes, relative to the largest of each; "alignment": the same of
        the weights. Both are 0 up to rounding where modes decouple.
    """

    directions: Array
    axes: Array
    variance: Array
    cross: Array
    weights: Mapping[str, Array]
    complement: Array
    departures: Mapping[str, float]

    def matrix(self, weights: Array) -> Array:
        """Return U diag(w) Qᵀ, (..., k, d), for weights (..., r)."""
        return (self.axes * weights[..., None, :]) @ self.directions.T

    def square(self, weights: Array) -> Array:
        """Return U diag(p) Uᵀ, (..., k, k), for weights (..., r)."""
        return (self.axes * weights[..., None, :]) @ self.axes.T


def aligned_modes(
    views: ViewPair, encoder: Array, predictor: Array | None = None, target: Array | None = None
) -> AlignedModes:
    """Return the modes that views and weights share, and how far they are from sharing them; cost O((k + d)³).

    Parameters
    ----------
    views : ViewPair
        With Σ_x and Σ_yx of shape (d, d).
    encoder, predictor, target : ndarray of shapes (k, d), (k, k), (k, d)
        W, P and V, checked already.
    """
    C = (views.cross + views.cross.T) / 2
    grams = [encoder.T @ encoder]
    if predictor is not None:
        pulled = encoder.T @ predictor @ encoder
        grams.append((pulled + pulled.T) / 2)
    if target is not None:
        grams.append(target.T @ target)
    parts = [views.context, C, *grams]
    # eigh is as good as its argument's rounding: parts that differ much in size are brought to one size first.
    mixed = sum(weight * _unit(part) for weight, part in zip(_GENERIC, parts, strict=False))
    directions = np.linalg.eigh(mixed)[1]
    variance, cross = directions.T @ views.context @ directions, directions.T @ C @ directions
    commutation = max(_outside(variance), _outside(cross), _size(views.cross - C) / max(_size(views.cross), 1e-300))
    matrices = {"encoder": encoder} | ({} if target is None else {"target": target})
    columns = {name: value @ directions for name, value in matrices.items()}
    sizes = {name: np.linalg.norm(value, axis=0) for name, value in columns.items()}
    # The axis of a direction is where the larger of encoder and target, relative to all of each, maps it.
    relative = {name: value / max(value.max(), 1e-300) for name, value in sizes.items()}
    largest = np.max(list(relative.values()), axis=0)
    kept = np.sort(np.argsort(-largest, kind="stable")[: len(encoder)])
    kept = kept[largest[kept] > _ROUNDING]
    leading = columns["encoder"][:, kept].copy()
    length = sizes["encoder"][kept].copy()
    if target is not None:
        other = relative["target"][kept] > relative["encoder"][kept]
        leading[:, other], length[other] = columns["target"][:, kept][:, other], sizes["target"][kept][other]
    axes = leading / length
    weights = {name: np.einsum("kr,kr->r", axes, value[:, kept]) for name, value in columns.items()}
    nothing = np.zeros((len(encoder), len(encoder)))
    found = AlignedModes(
        directions[:, kept], axes, np.diag(variance)[kept], np.diag(cross)[kept], weights, nothing, departures={}
    )
    misfits = [_size(axes.T @ axes - np.eye(len(kept)))]
    misfits += [
        _size(found.matrix(weights[name]) - value) / max(_size(value), 1e-300) for name, value in matrices.items()
    ]
    complement = nothing
    if predictor is not None:
        outside = np.eye(len(encoder)) - axes @ axes.T
        complement = outside @ predictor @ outside
        complement[np.abs(complement) <= 8 * np.finfo(float).eps * len(encoder) * _size(predictor)] = 0.0
        weights["predictor"] = np.einsum("kr,kl,lr->r", axes, predictor, axes)
        rest = predictor - found.square(weights["predictor"]) - complement
        misfits.append(_size(rest) / max(_size(predictor), 1e-300))
    departures = {"commutation": float(commutation), "alignment": float(max(misfits))}
    return replace(found, complement=complement, departures=departures)


def _size(value: Array) -> float:
    return float(np.abs(value).max(initial=0.0))


def _unit(value: Array) -> Array:
    size = _size(value)
    return value / size if size > 0 else value


def _outside(value: Array) -> float:
    """Return the largest entry beside the diagonal, relative to the largest of all."""
    size = _size(value)
    return _size(value - np.diag(np.diag(value))) / size if size > 0 else 0.0
