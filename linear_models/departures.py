"""How far views are from what theorems assume of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Departures:
    """Relative distances of views from the assumptions of theorems, each in [0, 1] and 0 where the assumption holds.

    Norms are Frobenius'; where both sides of a comparison are 0 the distance is 0. All but ``identity_variance`` are
    the same in other units and in other orthonormal axes of both views together. Ours.

    Attributes
    ----------
    variance : float
        ‖Σ_x − Σ_y‖/(‖Σ_x‖ + ‖Σ_y‖): views of unequal covariance. With ``asymmetry`` the distance from exchangeability.
    asymmetry : float
        ‖Σ_yx − Σ_yxᵀ‖/(2‖Σ_yx‖), 1 where Σ_yx is antisymmetric: time has a direction, or a mask treats tokens unequally.
    commutation : float
        ‖Σ_xC − CΣ_x‖/(√2‖Σ_x‖‖C‖) with C = (Σ_yx + Σ_yxᵀ)/2, at most 1 by Böttcher & Wenzel 2008. With ``asymmetry``
        the distance from views that have modes (:meth:`ViewPair.modes`).
    identity_variance : float
        ‖Σ_x − I‖/(‖Σ_x‖ + ‖I‖): data that are not white, in the units given.
    """

    variance: float
    asymmetry: float
    commutation: float
    identity_variance: float


def departures(views: ViewPair) -> Departures:
    """Return how far views are from exchangeability, from aligned modes and from unit variance. Cost O(d³).

    Parameters
    ----------
    views : ViewPair
        Any views; nothing is raised.
    """
    context, target, cross = (part / _scale(views.joint) for part in (views.context, views.target, views.cross))
    symmetric, skew = (cross + cross.T) / 2, (cross - cross.T) / 2
    unit = np.eye(views.dimension)
    largest = max(1.0, _scale(views.context))
    return Departures(
        _ratio(context - target, _norm(context) + _norm(target)),
        _ratio(skew, _norm(cross)),
        _commutation(context, symmetric),
        _ratio(views.context / largest - unit / largest, _norm(views.context / largest) + _norm(unit / largest)),
    )


def _commutation(first: Array, second: Array) -> float:
    first, second = first / _scale(first), second / _scale(second)
    product = first @ second
    return _ratio(product - product.T, np.sqrt(2) * _norm(first) * _norm(second))


def _scale(value: Array) -> float:
    """Return the largest entry, 1 if there is none: squares of what is divided by it stay in range."""
    return float(np.abs(value).max()) or 1.0


def _norm(value: Array) -> float:
    return float(np.linalg.norm(value))


def _ratio(difference: Array, size: float) -> float:
    return min(_norm(difference) / size, 1.0) if size > 0 else 0.0
