"""The thresholds of collapse, solved for the settings: how much decay a mode bears, and what explicit term holds it (4.3, 4.6)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.canonical import whitening
from jepalign.linear_models.collapse.rescue import rescue_weight
from jepalign.linear_models.collapse.thresholds import critical_weight_decay, equilibria
from jepalign.linear_models.modal import common_shape, cross_covariances, elementwise, rates, variances, weights
from jepalign.linear_models.uniformity import Uniformity
from jepalign.linear_models.views import Modes, ViewPair

Array = NDArray[np.float64]


def largest_weight_decay(
    cross: ArrayLike, variance: ArrayLike, weight: ArrayLike | None = None, *, predictor_rate: ArrayLike = 1.0
) -> Array:
    """Return the weight decay below which a mode survives from a balanced start, and at and above which it does not.

    Parameters
    ----------
    cross, variance : array_like
        λ of either sign and σ > 0; everything broadcasts. 0 or between 1e-30 and 1e30 in size.
    weight : array_like, optional
        |w(0)|, with p(0) = √α|w(0)| on the side of λ; 0 or up to 1e150. None: as large as need be.
    predictor_rate : array_like
        α > 0.

    Returns
    -------
    ndarray
        η_c = λ²/(4σ) if p(0) ≥ |λ|/(2σ); else p(0)(|λ| − σp(0)), where p₋ has come to p(0). From p(0) beyond |λ|/(2σ) a mode holds at
        η_c itself, too; a count of survivors leaves it out (``surviving_rank``).

    Raises
    ------
    InputError
        If an argument leaves its range or shapes do not broadcast.

    Notes
    -----
    Ours. p₋, the root of σp² − |λ|p + η, rises with η from 0 to |λ|/(2σ) at η_c.
    """
    if weight is None:
        limit = critical_weight_decay(cross, variance)
        return np.asarray(limit + 0 * rates("predictor_rate", predictor_rate, zero=False))
    lam, sigma = cross_covariances(cross), variances(variance)
    w, alpha = weights("weight", weight), rates("predictor_rate", predictor_rate, zero=False)
    common_shape(cross=lam, variance=sigma, weight=w, predictor_rate=alpha)

    def formula(attraction: Array, sig: Array, start: Array, speed: Array) -> tuple[Array]:
        size = np.abs(attraction)
        p = np.minimum(np.sqrt(speed) * np.abs(start), size / sig / 2)
        return (p * (size - sig * p),)

    return elementwise(formula, 1, lam, sigma, w, alpha)[0]


def holding_weight(
    cross: ArrayLike,
    variance: ArrayLike,
    weight_decay: ArrayLike,
    *,
    uniformity: Uniformity,
    predictor_rate: ArrayLike = 1.0,
) -> Array:
    """Return the weight of an explicit term beyond which every stable state of a mode is one that a JEPA would keep: p ≥ λ/(2σ).

    Parameters
    ----------
    cross, variance, weight_decay, uniformity, predictor_rate
        As for ``rescue_weight``.

    Returns
    -------
    ndarray
        The largest of ``rescue`` and (η − η_c)/(σ c(η/α)), c the term's coefficient and η_c = λ²/(4σ). ∞ where the term does not repel
        any more at s = η/α or, below η_c, at the basin's edge s = σp₋²/α, and so holds the mode where it aims, or pulls it there. Rises
        with η, where ``rescue`` falls as a mode's small state merges with the large one.

    Raises
    ------
    InputError
        As ``rescue_weight`` does.

    Notes
    -----
    Ours. A JEPA's survivors have p ≥ λ/(2σ) and s ≥ η/α, both X = αs/η ≥ 1 in the letters of ``rescue_weight``: beyond the largest Γ(X)
    with X ≤ 1 nothing rests below. That is a local maximum, an end at 0 or the end Γ(1), or infinite where c → 0 before B = 0.
    """
    rescue = rescue_weight(cross, variance, weight_decay, uniformity=uniformity, predictor_rate=predictor_rate).rescue
    sigma, eta, alpha = (np.asarray(value, dtype=np.float64) for value in (variance, weight_decay, predictor_rate))
    missing = np.maximum(eta - critical_weight_decay(cross, sigma), 0.0)
    edge = np.abs(np.ma.filled(equilibria(cross, sigma, eta)[..., 1], np.inf))  # p₋
    least = np.minimum(eta, sigma * np.square(edge)) / alpha
    push = sigma * uniformity.coefficient(least)
    with np.errstate(divide="ignore", invalid="ignore"):
        held = np.where(missing > 0, missing / push, 0.0)
    never = (push <= 0) | (uniformity.coefficient(eta / alpha) < 0)
    return np.maximum(rescue, np.where(never & (eta > 0), np.inf, held))


def coupled_modes(views: ViewPair) -> Modes:
    """Return what stands for modes where Σ_x and Σ_yx do not commute: λ = uᵀΣ_yxu and σ = uᵀΣ_xu along u with Σ_yxΣ_x⁻¹Σ_yxᵀu = 4θu.

    θ bounds the rank (``MaskSpectrum.threshold``), and λ²/(4σ) ≤ θ, with equality where the views are aligned. The directions, one per
    column in descending order of θ, are orthonormal; those without variance, or which nothing predicts, are left out.

    Notes
    -----
    Ours, an estimate. In exchangeable views integrated to the threshold, of 3 to 64 dimensions, λ²/(4σ) was off it by 8 % at most and
    mostly by 2 %, where the modes of Cv = ρΣv fell short by up to a half; where Σ_yx is not symmetric it was off by up to a third.
    Cost O(d³).
    """
    units, inverse = whitening(views.context)
    left, values, _ = np.linalg.svd(views.cross @ (inverse / units[:, None]), full_matrices=False)
    left = left[:, values > 1e-12 * values.max(initial=0.0)]
    cross, variance = (np.einsum("ji,jk,ki->i", left, part, left) for part in (views.cross, views.context))
    return Modes(cross, variance, left)
