"""What an explicit uniformity term rescues: hybrids JEPA + γU, one mode at a time (4.6).

A hybrid's mode is ẇ = p(λ − σp)w − ηw + γφ(s)w, ṗ = α(λ − σp)w² − ηp, with s = σw² and φ/σ the term's coefficient c(s).
With X = ασw²/η, κ = λ²/(ησ) and e = η/α, so that s = eX, it rests at w ≠ 0 where γ = Γ = (η/σ) B/c(eX), B = 1 −
κX/(1+X)², and the predictor is p = (λ/σ) X/(1+X).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.modal import common_shape, cross_covariances, elementwise, rates, variances
from jepalign.linear_models.uniformity import LogDet, Spectral, Uniformity, VICReg

Array = NDArray[np.float64]

_PER_DECADE = 24  # of a grid in X; all scales of a term and of B are of order one in log X
_BATCH = 128  # modes on a grid at once
_HALVINGS = 60


class Rescue(NamedTuple):
    """Two weights γ of an explicit term, arrays of one shape.

    Attributes
    ----------
    repel : ndarray
        Beyond it the collapsed state is unstable; ∞ where the term does not repel at s = 0.
    rescue : ndarray
        Beyond it no small state is left; at least ``repel``, and equal where the mode grows continuously with γ.
    """

    repel: Array
    rescue: Array


class HybridEquilibria(NamedTuple):
    """Every rest of a hybrid's mode with w ≥ 0, masked arrays of shape (..., m) in ascending order of w.

    Attributes
    ----------
    weight, predictor : masked array
        w and p. The first is the origin.
    stable : masked array of bool
        Whether both eigenvalues of the flow are negative there. A mode held at the kink of a hinge is stable.
    """

    weight: np.ma.MaskedArray
    predictor: np.ma.MaskedArray
    stable: np.ma.MaskedArray


def rescue_weight(
    cross: ArrayLike,
    variance: ArrayLike,
    weight_decay: ArrayLike,
    *,
    uniformity: Uniformity,
    predictor_rate: ArrayLike = 1.0,
) -> Rescue:
    """Return the weights of an explicit term that make collapse unstable, and that leave no small state (4.6).

    Parameters
    ----------
    cross, variance, weight_decay : array_like
        λ of either sign, σ > 0 and η ≥ 0; they broadcast. 0 or between 1e-30 and 1e30 in size.
    uniformity : Uniformity
        The term; its coefficient must not grow up to the target variance.
    predictor_rate : array_like
        α > 0.

    Returns
    -------
    Rescue
        ``repel`` = η/φ(0), and ``rescue``: the largest local maximum of Γ at X < 1 (p below half of λ/σ) while the term
        repels, where it exceeds ``repel``. A hinge that ends before such a maximum holds the mode at its target, and
        the two weights are equal. Without decay both are 0.

    Raises
    ------
    InputError
        If an argument leaves its range, shapes do not broadcast, or ``uniformity`` is not one.

    Notes
    -----
    Ours. The maximum solves a convex cubic for hinge and log-det, found by a monotone Newton iteration for any ε; there is
    none for the spectral term. For SIGReg, and terms of your own, Γ′ is scanned at 24 points per decade of X over 24
    decades, and each change of sign is bisected: a maximum and a minimum closer than 10 % would be missed, and differ
    by less than 1e-3 in Γ. Cost O(modes): about 1 µs each for the former, 20 µs for the latter.
    """
    attraction, sigma, decay = (
        cross_covariances(cross),
        variances(variance),
        rates("weight_decay", weight_decay, zero=True),
    )
    alpha = rates("predictor_rate", predictor_rate, zero=False)
    common_shape(cross=attraction, variance=sigma, weight_decay=decay, predictor_rate=alpha)
    _check(uniformity)

    def formula(lam: Array, sig: Array, eta: Array, speed: Array) -> tuple[Array, Array]:
        return _both(np.abs(lam), sig, eta, speed, uniformity)

    repel, rescue = elementwise(formula, 2, attraction, sigma, decay, alpha)
    return Rescue(repel, rescue)


def c_jepa_strength(averaged: int = 1) -> float:
    """Return C-JEPA's published weight 0.001 · 25 of VICReg's hinge, divided by what the hinge is averaged over (4.6).

    With ``averaged`` = 1 it is the γ of a ``VarianceHinge`` beside ½E‖PWx − sg(Vy)‖²; where the hinge is averaged over d
    dimensions and the prediction loss has no ½, ``averaged`` is 2d. Mo & Tong 2024, Appendix C: 0.001 and (25, 25, 1)
    for invariance, variance and covariance. ``InputError`` unless ``averaged`` is positive.
    """
    return 0.025 / rate("averaged", averaged, positive=True)


def _check(uniformity: Uniformity) -> None:
    if not isinstance(uniformity, Uniformity):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError("uniformity", type(uniformity).__name__, "must be a Uniformity")


def _both(lam: Array, sigma: Array, eta: Array, alpha: Array, term: Uniformity) -> tuple[Array, Array]:
    unit, e = eta / sigma, eta / alpha
    kappa = np.where(eta > 0, lam / np.where(eta > 0, eta, 1.0) * lam / sigma, 0.0)
    start = float(term.coefficient(0.0))
    repel = unit / start if start > 0 else np.where(eta > 0, np.inf, 0.0)
    if start <= 0 or isinstance(term, Spectral):
        return repel, repel
    if isinstance(term, LogDet):
        peak = unit * e * _cubic_peak(kappa, 2 * np.ones_like(kappa), 0.0 * kappa, 0.0 * kappa, kappa >= 27 / 8)
    elif isinstance(term, VICReg):
        offset = np.where(eta > 0, term.epsilon / np.where(eta > 0, e, 1.0), 0.0)
        X, found = _first_root(kappa, 3 * np.ones_like(kappa), np.ones_like(kappa), offset)
        found &= (X < 1) & (e * X + term.epsilon < 1)
        peak = np.where(found, unit / term.variance * np.sqrt(e * X + term.epsilon) * _needed(X, kappa), 0.0)
    else:
        peak = _scanned(kappa, e, term) * unit
    return repel, np.maximum(repel, np.where(eta > 0, peak, 0.0))


def _needed(X: Array, kappa: Array) -> Array:
    """Return B, what the implicit force leaves of the decay."""
    return 1 - kappa * (X / (1 + X) / (1 + X))


def _first_root(kappa: Array, a: Array, b: Array, offset: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the smallest X > 0 with (1+X)³ = κ[X(a − bX) + 2·offset(1 − X)], and whether there is one.

    The difference is convex: Newton's method from X = 0, where it is positive, approaches the root from the left.
    """
    x = np.zeros_like(kappa)
    found = 2 * kappa * offset < 1
    for _ in range(64):
        value = (1 + x) ** 3 - kappa * (x * (a - b * x) + 2 * offset * (1 - x))
        slope = 3 * (1 + x) ** 2 - kappa * (a - 2 * b * x - 2 * offset)
        found &= slope < 0
        x = np.where(found & (value > 0), x - value / np.where(slope < 0, slope, -1.0), x)
    return x, found


def _cubic_peak(kappa: Array, a: Array, b: Array, offset: Array, exists: NDArray[np.bool_]) -> Array:
    x, _ = _first_root(np.where(exists, kappa, 4.0), a, b, offset)
    x = np.minimum(x, 0.5)  # at κ = 27/8 the root is double, and rounding may overshoot
    return np.where(exists, x * _needed(x, kappa), 0.0)


def _bisect(sign: Callable[[Array], NDArray[np.bool_]], low: Array, high: Array) -> Array:
    """Return ln X where ``sign`` changes from True at ``low`` to False at ``high``."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        here = sign(middle)
        low, high = np.where(here, middle, low), np.where(here, high, middle)
    return (low + high) / 2


def _scanned(kappa: Array, e: Array, term: Uniformity) -> Array:
    """Return the largest local maximum of B/c(eX) at X < 1 where c > 0; 0 where there is none."""
    best = np.zeros_like(kappa)
    grid = np.linspace(-24, 0, 24 * _PER_DECADE + 1) * np.log(10)

    def rising(logs: Array, k: Array, scale: Array) -> NDArray[np.bool_]:
        X = np.exp(logs)
        s = scale * X
        c = term.coefficient(s)
        weakening = -s * term.slope(s) / np.where(c > 0, c, 1.0)
        # Γ′ times positive factors: (1+X)[(1+X)² − κX] m − κX(1 − X) with m = −d ln c/d ln s; beyond the target, rising
        return (c <= 0) | ((1 + X) * ((1 + X) ** 2 - k * X) * weakening > k * X * (1 - X))

    for first in range(0, kappa.size, _BATCH):
        k, scale = kappa[first : first + _BATCH], e[first : first + _BATCH]
        up = rising(grid[None, :], k[:, None], scale[:, None])
        mode, place = np.nonzero(up[:, :-1] & ~up[:, 1:])
        if not mode.size:
            continue
        own, size = k[mode], scale[mode]
        logs = _bisect(lambda y, own=own, size=size: rising(y, own, size), grid[place], grid[place + 1])
        X = np.exp(logs)
        c = term.coefficient(size * X)
        value = np.where(c > 0, _needed(X, own) / np.where(c > 0, c, 1.0), 0.0)
        np.maximum.at(best, first + mode, value)
    return best


def hybrid_equilibria(
    cross: ArrayLike,
    variance: ArrayLike,
    weight_decay: ArrayLike,
    *,
    uniformity: Uniformity,
    strength: ArrayLike,
    predictor_rate: ArrayLike = 1.0,
) -> HybridEquilibria:
    """Return every rest w ≥ 0 of a hybrid's mode, with its predictor and its stability (4.6).

    Parameters
    ----------
    cross, variance, weight_decay : array_like
        λ of either sign, σ > 0 and η > 0; they broadcast. Between 1e-30 and 1e30 in size, or λ = 0.
    uniformity : Uniformity
        The term.
    strength : array_like
        γ ≥ 0.
    predictor_rate : array_like
        α > 0.

    Returns
    -------
    HybridEquilibria
        m is the largest number of rests of one mode. With log-det the origin is no rest, but the limit of an infinite
        force; it is listed as unstable.

    Raises
    ------
    InputError
        If an argument leaves its range, shapes do not broadcast, or ``uniformity`` is not one.

    Notes
    -----
    Ours. The relative velocity and its derivative are scanned at 24 points per decade of w², their zeros bisected, so
    that the two rests of a fold are told apart however close. Cost about 5 ms per mode.
    """
    lam, sigma, eta = cross_covariances(cross), variances(variance), rates("weight_decay", weight_decay, zero=False)
    gamma, alpha = rates("strength", strength, zero=True), rates("predictor_rate", predictor_rate, zero=False)
    shape = common_shape(cross=lam, variance=sigma, weight_decay=eta, strength=gamma, predictor_rate=alpha)
    _check(uniformity)
    lam, sigma, eta, gamma, alpha = (np.broadcast_to(value, shape).ravel() for value in (lam, sigma, eta, gamma, alpha))
    with np.errstate(all="ignore"):
        found = [
            _rests(*(float(value[i]) for value in (lam, sigma, eta, gamma, alpha)), uniformity) for i in range(lam.size)
        ]
    count = max((len(places) for places, _ in found), default=0) + 1
    # Zeros under the mask: what lies there still passes through the square root.
    x: Any = np.ma.masked_array(np.zeros((lam.size, count)), mask=True)
    stable: Any = np.ma.masked_array(np.zeros((lam.size, count), dtype=np.bool_), mask=True)
    for row, (places, steady) in enumerate(found):
        x[row, : len(places)], stable[row, : len(places)] = places, steady
    x, stable = x[:, :-1], stable[:, :-1]
    weight = np.sqrt(x * (eta / alpha / sigma)[:, None])
    predictor = (lam / sigma)[:, None] * (x / (1 + x))
    return HybridEquilibria(*(part.reshape(*shape, count - 1) for part in (weight, predictor, stable)))


def _rests(
    lam: float, sigma: float, eta: float, gamma: float, alpha: float, term: Uniformity
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the X of one mode's rests, ascending, and whether they are stable."""
    kappa, e, pull = lam / eta * lam / sigma, eta / alpha, gamma / eta * sigma

    def velocity(logs: Array) -> Array:
        X = np.exp(logs)
        push = pull * term.coefficient(e * X) if pull else 0.0
        return push - _needed(X, np.asarray(kappa))

    def slope(logs: Array) -> Array:
        X = np.exp(logs)
        push = pull * e * term.slope(e * X) if pull else 0.0
        return push + kappa * (1 - X) / (1 + X) ** 3

    top = np.log(4 * max(kappa, 1 / e, 1.0))
    bottom = -24 * np.log(10) - max(np.log(max(kappa, 1.0)), np.log(max(e, 1.0)))
    grid = np.linspace(bottom, top, int((top - bottom) / np.log(10) * _PER_DECADE) + 2)
    rising = slope(grid) > 0
    turns = np.nonzero(rising[:-1] != rising[1:])[0]
    falls = rising[turns]
    extremes = _bisect(lambda y: (slope(y) > 0) == falls, grid[turns], grid[turns + 1])
    grid = np.sort(np.concatenate((grid, extremes)))
    out = velocity(grid) > 0
    crossings = np.nonzero(out[:-1] != out[1:])[0]
    down = out[crossings]
    X = np.exp(_bisect(lambda y: (velocity(y) > 0) == down, grid[crossings], grid[crossings + 1]))
    trace = 2 * pull * e * X * term.slope(e * X) - X - 1 if pull else -X - 1
    start = float(term.coefficient(0.0)) if pull else 0.0
    return np.concatenate(([0.0], X)), np.concatenate(([pull * start < 1], down & (trace < 0)))
