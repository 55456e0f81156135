"""The time at which a mode reaches a level, in closed form, and the order in which modes are learnt (5.4 to 5.6).

All flows here are u̇ = c uᵐ(λ − σuᵏ), whose time is the integral that `depth` inverts. Times are raw gradient-flow time; Littwin et
al. 2024 print L times it.
"""

from typing import Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.modal import WEIGHT, common_shape, cross_covariances, sized, variances
from jepalign.linear_models.trajectories.depth import Powers, checked_depth, outward, power
from jepalign.linear_models.trajectories.lerch import lerch

Array = NDArray[np.float64]
Objective = Literal["jepa", "autoencoder"]


def _logistic(level: Array, weight: Array, cross: Array, variance: Array) -> Array:
    """Return the time of u̇ = λu − σu³, for a level between the start and the limit."""
    size = np.where(cross == 0, 1.0, np.abs(cross))
    root = np.sqrt(variance) / np.sqrt(size)
    x0, x = (root * weight) ** 2, (root * level) ** 2
    v0, v = (1 / (root * weight)) ** 2, (1 / (root * level)) ** 2
    grown = 2 * np.log(level / weight)
    rising = grown + np.log1p((x - x0) / (1 - x))
    falling = np.log1p((v - v0) / (1 - v))
    dying = np.where(v < 1e290, np.log1p((v - v0) / (1 + v0)), -2 * np.log(root * level) - np.log1p(v0))
    dying = np.where(v0 < 1e290, dying, -grown)
    found = np.where(cross < 0, dying, np.where(x < 1, rising, falling)) / (2 * size)
    # So far above the rest that it does not matter.
    alone = ((1 / level - 1 / weight) / np.sqrt(2 * variance)) * ((1 / level + 1 / weight) / np.sqrt(2 * variance))
    return np.where(v < 1e-100, alone, found)


def _passed(level: Array, weight: Array, cross: Array, variance: Array, powers: Powers) -> Array:
    """Return the time of u̇ = uᵐ(λ − σuᵏ), m > 1, for a level between the start and the limit."""
    depth, q, k, a = powers.depth, powers.q, powers.k, powers.s + 1
    size = np.abs(cross)
    drop = k / depth * np.log(weight / level)  # ln y
    x0, x = (variance * power(w, k, depth) / size for w in (weight, level))
    rising = outward(powers, x0, drop, 1 - x0, 1 - x) / (k * power(weight, q, depth) * size)

    def series(w: Array, log_gap: Array) -> Array:
        return lerch(a, -log_gap) / (k * variance * w) / w

    falling = series(level, np.log1p(-1 / x)) - series(weight, np.log1p(-1 / x0))
    # λ < 0: in the series while x > ½, in powers from there on.
    half = power(size / (2 * variance), depth, k)
    turn = np.clip(half, level, weight)
    x1 = variance * power(turn, k, depth) / size
    early = series(turn, np.log1p(1 / x1)) - series(weight, np.log1p(1 / x0))
    back = k / depth * np.log(level / turn)
    late = outward(powers, -x, back, 1 + x, 1 + x1) / (k * power(level, q, depth) * size)
    dying = np.where(weight > turn, early, 0.0) + np.where(turn > level, late, 0.0)
    return np.where(cross < 0, dying, np.where(x0 < 1, rising, falling))


def _time(level: Array, weight: Array, cross: Array, variance: Array, powers: Powers) -> Array:
    with np.errstate(all="ignore"):
        level, weight, cross, variance = np.broadcast_arrays(level, weight, cross, variance)
        end = np.where(cross > 0, power(np.abs(cross) / variance, powers.depth, powers.k), 0.0)
        up = (weight > 0) & (level > weight) & (level < end)
        down = (level < weight) & (level > end)
        moved = up | down
        at = np.where(moved, level, 2.0).ravel()
        start, lam, sig = (np.where(moved, x, 1.0).ravel() for x in (weight, cross, variance))
        found = _logistic(at, start, lam, sig) if powers.q == 0 else _passed(at, start, lam, sig, powers)
        neutral = (1 / at - 1 / start) * (1 / at + 1 / start) / (2 * powers.depth * sig)
        found = np.maximum(np.where(lam == 0, neutral, found), 0.0).reshape(level.shape)
        return np.where(level == weight, 0.0, np.where(moved & ~np.isnan(found), found, np.inf))


def _checked(
    level: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike, *, signed: bool = False
) -> tuple[Array, ...]:
    goal, w = sized("level", level, WEIGHT, signed=signed), sized("weight", weight, WEIGHT, signed=signed)
    a, s = cross_covariances(cross), variances(variance)
    common_shape(level=goal, weight=w, cross=a, variance=s)
    return goal, w, a, s


def _contrastive(goal: Array, weight: Array, cross: Array, variance: Array) -> Array:
    """Return the time of ẇ = 4(λw − σw³), which is odd in w."""
    times = _time(np.abs(goal), np.abs(weight), cross, variance, Powers(1, 0, 2)) / 4
    return np.where((goal < 0) == (weight < 0), times, np.inf)


def _powers(objective: str, depth: SupportsIndex) -> Powers:
    number = checked_depth(depth)
    if objective == "jepa":
        return Powers(number, 2 * number - 1, 1)
    if objective == "autoencoder":
        return Powers(number, number - 1, number + 1)
    raise InputError("objective", repr(objective), 'must be "jepa" or "autoencoder"')


def deep_jepa_time(
    level: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike, *, depth: SupportsIndex
) -> Array:
    """Return the time at which `deep_jepa` reaches a level; depth 1 is the balanced JEPA with equal rates and no decay.

    Parameters
    ----------
    level : array_like
        The weight to be reached: 0 or between 1e-150 and 1e150.
    weight, cross, variance : array_like
        w₀ ≥ 0, λ and σ as for `deep_jepa`.
    depth : int
        L ≥ 1, the number of layers of the encoder.

    Returns
    -------
    ndarray
        Raw gradient-flow time, of the shape the arguments broadcast to: 0 at the start, ∞ where the level is never reached.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Littwin et al. 2024 give the first terms, in L times this time; the exact time is ours.
    """
    goal, w, a, s = _checked(level, weight, cross, variance)
    return _time(goal, w, a, s, _powers("jepa", depth))


def masked_autoencoder_time(
    level: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike, *, depth: SupportsIndex
) -> Array:
    """Return the time at which `masked_autoencoder` reaches a level; arguments and result as for `deep_jepa_time`.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    Littwin et al. 2024 give the first term, in L times this time; the exact time is ours.
    """
    goal, w, a, s = _checked(level, weight, cross, variance)
    return _time(goal, w, a, s, _powers("autoencoder", depth))


def spectral_contrastive_time(level: ArrayLike, weight: ArrayLike, cross: ArrayLike, variance: ArrayLike) -> Array:
    """Return the time at which `spectral_contrastive` reaches a level.

    Parameters
    ----------
    level : array_like
        The weight to be reached, of either sign: 0 or between 1e-150 and 1e150 in size.
    weight, cross, variance : array_like
        w₀, λ and σ as for `spectral_contrastive`.

    Returns
    -------
    ndarray
        Raw gradient-flow time, of the shape the arguments broadcast to: 0 at the start, ∞ where the level is never reached.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    The inverse of the logistic square of HaoChen, Wei, Gaidon & Ma 2021's loss.
    """
    goal, w, a, s = _checked(level, weight, cross, variance, signed=True)
    return _contrastive(goal, w, a, s * s)


def barlow_twins_time(level: ArrayLike, weight: ArrayLike, cross: ArrayLike) -> Array:
    """Return the time at which `barlow_twins` reaches a level; arguments and result as for `spectral_contrastive_time`.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    The inverse of the flow of Simon et al. 2023; see `step_time` for their steps.
    """
    goal, w, a, _ = _checked(level, weight, cross, 1.0, signed=True)
    return _contrastive(goal, w, a, a * a)


def step_time(cross: ArrayLike, weight: ArrayLike) -> Array:
    """Return the time τ of the step in which `barlow_twins` learns a mode: w² is then half its end 1/λ.

    Parameters
    ----------
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    weight : array_like
        w₀, the encoder's weight at time 0, of either sign: 0 or between 1e-150 and 1e150 in size.

    Returns
    -------
    ndarray
        τ in raw gradient-flow time of ‖C − I‖²_F: 0 from half the end on, ∞ for a mode that is never learnt.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    τ = ln(1/(λw₀²) − 1)/(8λ). Simon et al. 2023 print −ln(λw₀²)/(8λ), which is later by −ln(1 − λw₀²)/(8λ): nothing for a small start.
    """
    a, w = cross_covariances(cross), sized("weight", weight, WEIGHT)
    common_shape(cross=a, weight=w)
    with np.errstate(all="ignore"):
        root = np.sqrt(np.maximum(a, 0.0)) * np.abs(w)
        x = root * root
        early = -2 * np.log(root) + np.log1p(-x)
        odds = np.where(x < 0.25, early, np.log1p(np.maximum((1 - 2 * x) / x, 0.0)))
        return np.where(root > 0, odds / (8 * a), np.inf)


def critical_time(
    cross: ArrayLike,
    variance: ArrayLike,
    weight: ArrayLike,
    *,
    depth: SupportsIndex,
    objective: Objective = "jepa",
    fraction: ArrayLike = 0.5,
) -> Array:
    """Return the exact time at which a mode of a deep linear encoder reaches a fraction of its equilibrium.

    Parameters
    ----------
    cross, variance, weight : array_like
        λ, σ and w₀ as for `deep_jepa`.
    depth : int
        L ≥ 1, the number of layers of the encoder.
    objective : str
        "jepa", with the equilibrium (λ/σ)^L, or "autoencoder", with (λ/σ)^{L/(L+1)}.
    fraction : array_like
        Between 0 and 1, of the equilibrium.

    Returns
    -------
    ndarray
        Raw gradient-flow time, of the shape the arguments broadcast to: 0 for a start at the level or above it, ∞ for a mode that is
        never learnt, λ ≤ 0 or w₀ = 0.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast.

    Notes
    -----
    For w₀ → 0 and ρ = λ/σ, Littwin et al. 2024 (theorem 4.5) give L times it: (L/λ) Σ 1/(n ρ^{2L−n−1} w₀^{n/L}), n from 1 to 2L−1, up to
    Θ(ln w₀) for the JEPA, and L/((L−1)λ w₀^{(L−1)/L}) up to Θ(1) for an autoencoder of L > 1. The exact time is ours.
    """
    powers = _powers(objective, depth)
    part = sized("fraction", fraction, 1e300, signed=False, zero=False)
    if (part >= 1).any():
        raise InputError("fraction", float(part.max()), "must be between 0 and 1")
    w, a, s = sized("weight", weight, WEIGHT, signed=False), cross_covariances(cross), variances(variance)
    common_shape(cross=a, variance=s, weight=w, fraction=part)
    with np.errstate(all="ignore"):
        level = part * power(np.maximum(a, 0.0) / s, powers.depth, powers.k)
    return np.where(a > 0, np.where(w >= level, 0.0, _time(level, w, a, s, powers)), np.inf)


def learning_order(
    cross: ArrayLike,
    variance: ArrayLike,
    weight: ArrayLike,
    *,
    depth: SupportsIndex,
    objective: Objective = "jepa",
    fraction: float = 0.5,
) -> NDArray[np.intp]:
    """Return the indices of modes in the order in which they reach a fraction of their equilibria, by the exact times.

    Parameters
    ----------
    cross, variance, weight : array_like
        λ, σ and w₀ ≥ 0 of the modes, which broadcast to one dimension; each start is below its level.
    depth : int
        L ≥ 1, the number of layers of the encoder.
    objective : str
        "jepa" or "autoencoder".
    fraction : float
        Between 0 and 1, of the equilibrium.

    Returns
    -------
    ndarray
        Indices, the first learnt first; modes that start above their level come first, those that never arrive last.

    Raises
    ------
    InputError
        If an argument leaves its range or the shapes do not broadcast to one dimension.

    Notes
    -----
    Littwin et al. 2024: a JEPA learns by λ and then by λ/σ, an autoencoder by λ alone, to leading order in a small start.
    """
    times = critical_time(cross, variance, weight, depth=depth, objective=objective, fraction=fraction)
    if times.ndim != 1:
        raise InputError("shapes", times.shape, "must broadcast to one dimension")
    return np.argsort(times, kind="stable")
