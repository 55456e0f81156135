"""Where a JEPA mode collapses: the critical weight decay, the equilibria beside 0, the basin's edge, and who wins (4.3, 6.3)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.exact import difference_of_products, distances, two_product
from jepalign.linear_models.modal import (
    common_shape,
    cross_covariances,
    elementwise,
    rates,
    variances,
    weights,
)
from jepalign.linear_models.views import ROUNDING, ViewPair

Array = NDArray[np.float64]
Masked = np.ma.MaskedArray

_FAR = 1e100  # larger than every p₊ and 1/p₋: weights beyond compare alike


def critical_weight_decay(cross: ArrayLike, variance: ArrayLike) -> Array:
    """Return η_c = λ²/(4σ), below which a balanced mode can survive and above which it dies from everywhere (4.3).

    Parameters
    ----------
    cross, variance : array_like
        λ, of either sign, and σ > 0; they broadcast. 0 or between 1e-30 and 1e30 in size.

    Raises
    ------
    InputError
        If an argument leaves its range or shapes do not broadcast.

    Notes
    -----
    At ‖Σ‖ = 1 the threshold of Tian, Chen & Ganguli 2021 (their η < τ²/4(1 + σ²)); for σ ≠ 1 and matrices ours.
    """
    attraction, sigma = cross_covariances(cross), variances(variance)
    common_shape(cross=attraction, variance=sigma)
    return np.asarray(attraction / sigma * attraction / 4)


def surviving_rank(
    cross: ArrayLike, variance: ArrayLike, weight_decay: ArrayLike, *, width: int | None = None
) -> NDArray[np.int64]:
    """Return how many modes survive weight decay: #{i: λ_i² > 4ησ_i}, but at most ``width`` (4.3).

    Parameters
    ----------
    cross, variance : array_like of shape (..., d)
        λ and σ > 0, modes along the last axis; 0 or between 1e-30 and 1e30 in size.
    weight_decay : array_like of shape (...)
        η ≥ 0; it broadcasts with the leading axes.
    width : int, optional
        The embedding's dimension k ≥ 1.

    Returns
    -------
    ndarray of int, shape (...)
        An upper bound on the rank; attained when each such mode starts beyond p₋ on the side of its λ. The comparison
        is decided exactly for the given floats; at equality a mode counts as lost.

    Raises
    ------
    InputError
        If an argument leaves its range or shapes do not broadcast.

    Notes
    -----
    Ours; one mode at a time, Tian, Chen & Ganguli 2021. Cost O(modes).
    """
    attraction, sigma = cross_covariances(cross), variances(variance)
    decay = rates("weight_decay", weight_decay, zero=True)[..., None]
    shape = common_shape(cross=attraction, variance=sigma, weight_decay=decay)
    if width is not None and (isinstance(width, bool) or width != int(width) or width < 1):
        raise InputError("width", width, "must be an integer, at least 1")
    if not attraction.ndim and not sigma.ndim:
        raise InputError("cross", "number", "must have an axis of modes")
    alive = np.broadcast_to(difference_of_products(attraction, attraction, 4 * decay, sigma) > 0, shape)
    rank = alive.sum(axis=-1, dtype=np.int64)
    return np.asarray(rank if width is None else np.minimum(rank, int(width)))


def _roots(cross: Array, variance: Array, decay: Array) -> tuple[Array, Array, Array, Array]:
    """Return p₋, p₊ and √(λ² − 4ησ) of |λ|, and 1 where they exist."""
    attraction = np.abs(cross)
    discriminant = difference_of_products(attraction, attraction, 4 * decay, variance)
    real = (discriminant >= 0) & (cross != 0)
    root = np.sqrt(np.where(real, discriminant, 0.0))
    double = np.where(real, attraction + root, 1.0)
    return 2 * decay / double, double / (2 * variance), root, real.astype(float)


def _stack(parts: tuple[Array, ...], exists: Array) -> Masked:
    """Return a masked array (..., 3) of values at 0, p₋ and p₊."""
    mask = np.zeros((*exists.shape, 3), dtype=bool)
    mask[..., 1:] = (exists == 0)[..., None]
    return np.ma.MaskedArray(np.where(mask, 0.0, np.stack(parts, axis=-1)), mask=mask)


def _checked(
    cross: ArrayLike, variance: ArrayLike, decay: ArrayLike, speed: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    given = cross_covariances(cross), variances(variance), rates("weight_decay", decay, zero=True)
    alpha = rates("predictor_rate", speed, zero=False)
    common_shape(cross=given[0], variance=given[1], weight_decay=given[2], predictor_rate=alpha)
    return (*given, alpha)


def equilibria(
    cross: ArrayLike, variance: ArrayLike, weight_decay: ArrayLike, *, predictor_rate: ArrayLike = 1.0
) -> Masked:
    """Return the encoder weights at which a balanced mode rests: 0, w₋ and w₊ = p∓/√α, p∓ = (λ ∓ √(λ² − 4ησ))/(2σ).

    Parameters
    ----------
    cross, variance, weight_decay : array_like
        λ of either sign, σ > 0 and η ≥ 0; they broadcast. 0 or between 1e-30 and 1e30 in size.
    predictor_rate : array_like
        α > 0. The rests of the predictor, √α times the weights, do not depend on it.

    Returns
    -------
    masked array of shape (..., 3)
        In the order 0, the edge of the basin, the surviving state; masked where λ² < 4ησ or λ = 0. For λ < 0 both have
        the other sign. With η = 0 the edge is 0 itself. Each is right to a few units of rounding, also next to the
        threshold, where both meet.

    Raises
    ------
    InputError
        If an argument leaves its range or shapes do not broadcast.

    Notes
    -----
    A saddle-node at η_c (4.3); ours in this generality, after Tian, Chen & Ganguli 2021. See ``growth`` for stability.
    """

    def rests(attraction: Array, sigma: Array, decay: Array, alpha: Array) -> tuple[Array, ...]:
        low, high, _, real = _roots(attraction, sigma, decay)
        speed = np.where(attraction < 0, -1.0, 1.0) / np.sqrt(alpha)
        return low * speed, high * speed, real

    low, high, real = elementwise(rests, 3, *_checked(cross, variance, weight_decay, predictor_rate))
    return _stack((np.zeros_like(low), low, high), real)


def growth(cross: ArrayLike, variance: ArrayLike, weight_decay: ArrayLike) -> Masked:
    """Return the rates at which a balanced deviation from each of the ``equilibria`` grows: negative where it is stable.

    Masked array of shape (..., 3), per unit of raw gradient-flow time, masked and broadcast as ``equilibria``: −η,
    p₋√(λ² − 4ησ) and −p₊√(λ² − 4ησ), for any α and β. Imbalance decays at 2η besides. At the threshold the rate of both
    is 0: the state holds against larger weights and yields to smaller ones. With η = 0 the origin, of rate 0, is left
    algebraically. Raises ``InputError`` as ``equilibria`` does.
    """

    def rate_of(attraction: Array, sigma: Array, decay: Array) -> tuple[Array, ...]:
        low, high, root, real = _roots(attraction, sigma, decay)
        return -decay + 0 * root, np.abs(low) * root, -high * root, real

    given = _checked(cross, variance, weight_decay, 1.0)[:3]
    origin, edge, top, real = elementwise(rate_of, 4, *given)
    return _stack((origin, edge, top), real)


def basin_edge(
    cross: ArrayLike, variance: ArrayLike, weight_decay: ArrayLike, *, predictor_rate: ArrayLike = 1.0
) -> Array:
    """Return w₋, beyond which a balanced start survives; −∞ or ∞, on the side of λ, where none does.

    Arguments, shapes and errors are those of ``equilibria``. A start on the edge stays there, which is to survive only
    at the threshold, where it is the surviving state.
    """
    found = equilibria(cross, variance, weight_decay, predictor_rate=predictor_rate)
    side = np.where(np.broadcast_to(np.asarray(cross) < 0, found.shape[:-1]), -np.inf, np.inf)
    return np.where(np.ma.getmaskarray(found)[..., 1], side, found.data[..., 1])


def survives(
    weight: ArrayLike,
    predictor: ArrayLike | None,
    cross: ArrayLike,
    variance: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    *,
    predictor_rate: ArrayLike = 1.0,
) -> NDArray[np.bool_]:
    """Return whether a mode with the target V(0) = W(0) does not collapse (4.3).

    Parameters
    ----------
    weight : array_like
        w(0), 0 or between 1e-150 and 1e150 in size.
    predictor : array_like or None
        p(0), of the same sizes; None for a balanced start, p = √α w, decided in twice the precision.
    cross, variance, weight_decay, predictor_rate : array_like
        λ, σ > 0, η ≥ 0 and α > 0; everything broadcasts. 0 or between 1e-30 and 1e30 in size.

    Returns
    -------
    ndarray of bool
        Balanced: λ² > 4ησ and p beyond p₋ on the side of λ; at equality p = λ/(2σ) and beyond. Off balance, η = 0: with
        c = p² − αw², whether c < 0, or c < ρ² and pλ > 0.

    Raises
    ------
    InputError
        If an argument leaves its range, shapes do not broadcast, or a predictor is given beside a weight decay: off
        balance the edge has no closed form.

    Notes
    -----
    Ours. The same for every EMA rate, but for a predictor beside a decay (4.4).
    """
    attraction, sigma, decay, alpha = _checked(cross, variance, weight_decay, predictor_rate)
    w = weights("weight", weight)
    given = {"cross": attraction, "variance": sigma, "weight_decay": decay, "predictor_rate": alpha, "weight": w}
    if predictor is None:
        common_shape(**given)
        return elementwise(_balanced, 1, w, attraction, sigma, decay, alpha)[0] > 0
    p = weights("predictor", predictor)
    common_shape(**given, predictor=p)
    if (decay > 0).any():
        raise InputError("predictor", "given", "must be None with weight decay: off balance, integrate")
    return elementwise(_unbalanced, 1, w, p, attraction, sigma, alpha)[0] > 0


def _balanced(w: Array, cross: Array, sigma: Array, decay: Array, alpha: Array) -> tuple[Array]:
    attraction, side = np.abs(cross), np.where(cross < 0, -1.0, 1.0)
    discriminant = difference_of_products(attraction, attraction, 4 * decay, sigma)
    root = np.sqrt(np.maximum(discriminant, 0.0))
    start = side * np.sign(w) * np.clip(np.abs(w), 1 / _FAR, _FAR)
    beyond = distances(start, alpha, attraction, sigma, decay, root, discriminant)[0]
    held = np.where(discriminant > 0, beyond > 0, (discriminant == 0) & (beyond >= 0))
    return ((held & (cross != 0) & (start > 0)).astype(float),)


def _unbalanced(w: Array, p: Array, cross: Array, sigma: Array, alpha: Array) -> tuple[Array]:
    # In units of the larger of |p| and √α|w|, a power of 2; c = p² − αw² in twice the precision.
    larger = np.maximum(np.sqrt(alpha) * np.abs(w), np.abs(p))
    unit = np.exp2(-np.floor(np.log2(np.maximum(larger, 1e-300))))
    w, p, rho = w * unit, p * unit, np.abs(cross) / sigma * unit
    product, rest = two_product(alpha, w)
    c = difference_of_products(p, p, product, w) - rest * w
    aligned = np.sign(p) * np.sign(cross) > 0
    alive = (w != 0) & (cross != 0) & ((c < 0) | (aligned & ((c == 0) | (c < rho * rho))))
    return (alive.astype(float),)


def competition(cross: ArrayLike, variance: ArrayLike, weight_decay: float) -> np.ma.MaskedArray:
    """Return which surviving direction, once learnt alone, stays against which other one (6.3).

    Parameters
    ----------
    cross, variance : array_like of shape (d,)
        λ and σ > 0 of aligned modes.
    weight_decay : float
        η ≥ 0.

    Returns
    -------
    masked array of bool, shape (d, d)
        Entry (i, j): direction i at its p₊ᵢ is stable against an admixture of j: p₊ᵢ > p₊ⱼ, p₊ᵢ < p₋ⱼ, or j has no
        equilibria on that side. Masked on the diagonal and in rows of modes that do not survive.

    Raises
    ------
    InputError
        If an argument leaves its range or shapes differ.

    Notes
    -----
    Ours; with k < d and η > 0 the weaker correlation can win for good: (σ, λ) = (4, 1.56) and (1, 0.9) at η = 0.15.
    Cost O(d²).
    """
    attraction, sigma, decay, _ = _checked(cross, variance, rate("weight_decay", weight_decay), 1.0)
    if attraction.ndim != 1 or attraction.shape != sigma.shape:
        raise InputError("cross", f"array of shape {attraction.shape}", "must be one axis of modes, as variance")
    low, high, root, real = _roots(attraction, sigma, decay)
    alive = (real > 0) & (root > 0)
    held, other = high[:, None], np.sign(attraction)[:, None] == np.sign(attraction)[None, :]
    stable = ~other | (real == 0)[None, :] | (held > high[None, :]) | (held < low[None, :])
    return np.ma.MaskedArray(stable, mask=~alive[:, None] | np.eye(len(attraction), dtype=bool))


def rank_bound(views: ViewPair, weight_decay: float) -> int:
    """Return #{i: λ_i ≥ 2√η}, which no equilibrium exceeds in rank, aligned or not, for white views (4.3).

    For Σ_x = I, symmetric Σ_yx with eigenvalues λ_i, V = W and P = √α(WWᵀ)^{1/2}; 0 means total collapse from every
    start. Eigenvalues within rounding of 2√η count.

    Raises
    ------
    InputError
        If Σ_x is not the identity or Σ_yx not symmetric, up to rounding, or the decay is negative or not finite.

    Notes
    -----
    Ours. Cost O(d³).
    """
    decay, C = rate("weight_decay", weight_decay), views.cross
    if np.abs(views.context - np.eye(views.dimension)).max() > ROUNDING:
        raise InputError("views", "a context whose covariance is not the identity", "must be white")
    if np.abs(C - C.T).max() > ROUNDING:
        raise InputError("views", "a cross-covariance that is not symmetric", "must be exchangeable")
    values = np.linalg.eigvalsh((C + C.T) / 2)
    return int(np.count_nonzero(values >= 2 * np.sqrt(decay) - ROUNDING))
