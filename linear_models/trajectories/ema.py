"""A moving-average target without a predictor, a linear flow: per mode and for any covariances (5.7)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate, real
from jepalign.linear_models.modal import (
    common_shape,
    cross_covariances,
    elementwise,
    masked,
    moments,
    rates,
    variances,
    weights,
)

Array = NDArray[np.float64]

# Eigenvectors of a larger condition number would cost more digits than scaling and squaring.
WELL_CONDITIONED = 100.0


def _product(rate: Array, times: Array) -> Array:
    """Return rate·t, 0 for a rate 0 at t = ∞."""
    return np.where(rate == 0, 0.0, rate * times)


def _combine(
    scale: Array, same: Array, spread: Array, gap: Array, other: Array, w: Array, v: Array, cross: Array, lag: Array
) -> tuple[Array, Array]:
    """Return scale²·(same·w + spread·(gap·w + λv)) and the target's counterpart."""
    encoder = same * w + spread * (gap * w + cross * v)
    target = same * v + spread * (other * v + lag * w)
    return scale * (scale * encoder), scale * (scale * target)


def _real(
    t: Array, w: Array, v: Array, cross: Array, lag: Array, half: Array, root: Array, slow: Array
) -> tuple[Array, Array]:
    """Return both weights where the rates mean ± root are real."""
    passed = np.exp(-2 * _product(root, t))
    span = 2 * _product(root, t)
    spread = np.where(span < 1e-300, t, -np.expm1(-span) / (2 * np.where(root == 0, 1.0, root)))
    # root ∓ half, whichever cancels from the product (root − half)(root + half) = βλ.
    larger = root + np.abs(half)
    smaller = np.where(larger == 0, 0.0, lag * cross / np.where(larger == 0, 1.0, larger))
    gap, other = np.where(half > 0, smaller, larger), np.where(half > 0, larger, smaller)
    scale = np.exp(-_product(slow, t) / 2)
    return _combine(scale, passed, spread, gap, other, w, v, cross, lag)


def _oscillating(
    t: Array, w: Array, v: Array, cross: Array, lag: Array, half: Array, root: Array, mean: Array
) -> tuple[Array, Array]:
    """Return both weights where the rates mean ± i·root are complex."""
    scale = np.exp(-mean * t / 2)
    t = np.where(scale == 0, 0.0, t)  # of a mode that is dead the phase does not matter
    return _combine(scale, np.cos(root * t), np.sin(root * t) / root, -half, half, w, v, cross, lag)


def _mode(t: Array, w: Array, v: Array, cross: Array, decay: Array, lag: Array) -> tuple[Array, Array]:
    mean, half = decay / 2 + lag / 2, decay / 2 - lag / 2
    square = half * half + lag * cross
    root = np.sqrt(np.abs(square))
    slow = lag * (decay - cross) / (mean + root)
    complex_rates = square < 0
    given = (t, w, v, cross, lag, half, root)
    found = masked(~complex_rates, _real, 2, *given, slow)
    turning = masked(complex_rates, _oscillating, 2, *given, mean)
    still = (t == 0) | ((w == 0) & (v == 0))
    encoder, target = (np.where(complex_rates, b, a) for a, b in zip(found, turning, strict=True))
    return np.where(still, w, encoder), np.where(still, v, target)


def ema_without_predictor(
    times: ArrayLike,
    weight: ArrayLike,
    target: ArrayLike,
    cross: ArrayLike,
    variance: ArrayLike,
    *,
    ema_rate: ArrayLike,
    weight_decay: ArrayLike = 0.0,
) -> tuple[Array, Array]:
    """Return a mode's weight and its target's without a predictor, ẇ = λv − (σ + η)w, v̇ = β(w − v).

    Parameters
    ----------
    times : array_like
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖Wx − sg(Vy)‖²; ∞ gives the limit.
    weight : array_like
        w₀, the encoder's weight at time 0, of either sign: 0 or between 1e-150 and 1e150 in size.
    target : array_like
        v₀, the target encoder's weight at time 0, likewise.
    cross : array_like
        λ, the mode's cross-covariance, of either sign: 0 or between 1e-30 and 1e30 in size.
    variance : array_like
        σ, the mode's variance, between 1e-30 and 1e30.
    ema_rate : array_like
        β, the rate at which the target follows, 0 (a frozen target) or between 1e-30 and 1e30.
    weight_decay : array_like
        η, 0 or between 1e-30 and 1e30.

    Returns
    -------
    tuple of two ndarray
        w(t) and v(t), of the shape the arguments broadcast to.

    Raises
    ------
    InputError
        If an argument leaves its range, the shapes do not broadcast, or a mode with λ > σ + η has grown beyond
        floating point at one of the times (at t = ∞ it always has).

    Notes
    -----
    Ours; an elementary 2×2 exponential. The rates are ½[σ + η + β ± √((σ + η − β)² + 4βλ)]; the solution is written in the
    slower one, which is β(σ + η − λ) over the faster, and in divided differences, so that it passes smoothly through a
    double rate. A mode with complex rates (λ very negative) oscillates. Cost: three elementary functions an element.
    """
    t, w, v = moments(times), weights("weight", weight), weights("target", target)
    a, s, lag = cross_covariances(cross), variances(variance), rates("ema_rate", ema_rate, zero=True)
    decay = rates("weight_decay", weight_decay, zero=True)
    common_shape(times=t, weight=w, target=v, cross=a, variance=s, ema_rate=lag, weight_decay=decay)
    encoder, lagging = elementwise(_mode, 2, t, w, v, a, s + decay, lag)
    lost = ~(np.isfinite(encoder) & np.isfinite(lagging))
    if lost.any():
        worst = float(np.broadcast_to(t, lost.shape)[lost].min())
        raise InputError("times", worst, "must be earlier: a mode with cross > variance + weight_decay has overflowed")
    return encoder, lagging


def _exponential_rows(times: Array, start: Array, field: Array) -> Array:
    """Return S e^{Kt} for every time, shape (T, k, n)."""
    with np.errstate(all="ignore"):
        values, vectors = np.linalg.eig(field)
        if np.linalg.cond(vectors) <= WELL_CONDITIONED:
            modes = start @ vectors
            factors = np.exp(times[:, None] * values)
            rows = (modes * factors[:, None, :]) @ np.linalg.inv(vectors)
            found = np.ascontiguousarray(rows.real)
        else:
            found = np.empty((len(times), *start.shape))
            known, place = np.unique(times, return_inverse=True)
            for index, t in enumerate(known):
                found[place == index] = start @ expm(field * t)
    found[times == 0] = start
    if not np.isfinite(found).all():
        worst = float(times[~np.isfinite(found).all(axis=(1, 2))].min())
        raise InputError("times", worst, "must be earlier: the encoder has overflowed")
    return found


def ema_without_predictor_matrices(
    times: ArrayLike,
    encoder: ArrayLike,
    target: ArrayLike,
    context: ArrayLike,
    cross: ArrayLike,
    *,
    ema_rate: float | None,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Return encoder and target without a predictor, Ẇ = VΣ_yx − WΣ_x − ηW, V̇ = β(W − V), for any covariances.

    Parameters
    ----------
    times : array_like of shape (T,)
        Finite times t ≥ 0 in raw gradient-flow time, in any order.
    encoder, target : array_like of shape (k, d)
        W and V at time 0.
    context : array_like of shape (d, d)
        Σ_x.
    cross : array_like of shape (d, d)
        Σ_yx = E y xᵀ, rows target.
    ema_rate : float or None
        β ≥ 0; None for a target that is the encoder itself: then Ẇ = W(Σ_yx − Σ_x − ηI), and ``target`` is not used.
    weight_decay : float
        η ≥ 0.

    Returns
    -------
    tuple of two ndarray of shape (T, k, d)
        W(t) and V(t).

    Raises
    ------
    InputError
        If a shape or a number is wrong, or the encoder has grown beyond floating point at one of the times.

    Notes
    -----
    Ours: one exponential of size 2d (d for None). Errors are a few units of rounding of the state, times the condition
    number of the exponential. Cost: one eigendecomposition and T products where the eigenvectors are well conditioned, an
    exponential for each different time otherwise.
    """
    moments_ = np.atleast_1d(real("times", times))
    if moments_.ndim != 1 or (moments_ < 0).any():
        raise InputError("times", f"array of shape {moments_.shape}", "must be one row of times, each at least 0")
    W = matrix("encoder", encoder)
    k, d = W.shape
    sigma, both = matrix("context", context, (d, d)), matrix("cross", cross, (d, d))
    decayed = sigma + rate("weight_decay", weight_decay) * np.eye(d)
    if ema_rate is None:
        alone = _exponential_rows(moments_, W, both - decayed)
        return alone, alone.copy()
    V = matrix("target", target, (k, d))
    lag = rate("ema_rate", ema_rate) * np.eye(d)
    rows = _exponential_rows(moments_, np.hstack([W, V]), np.block([[-decayed, lag], [both, -lag]]))
    return rows[:, :, :d].copy(), rows[:, :, d:].copy()
