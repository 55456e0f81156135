"""How far a forecast may be off: the batch that its moments came from, and features that moved between two records.

Sampling is told by a bootstrap of sufficient statistics, drift by what the forecast of the same end was a record ago. Errors of the
flow itself, of its step and of its taking layers for linear ones, are in neither: runs whose end is known tell them, as what their
ends lie beyond the interval (conformal prediction; Romano, Patterson & Candès 2019), or as the signed errors of their ranks, which
lean one way (:func:`conformal`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, rate, real
from jepalign.linear_models.forecast.layer import LastLayer
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]

# Of products that are integers but for rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Interval:
    """A range of each eigenvalue, and of the rank.

    Attributes
    ----------
    low, high : ndarray of shape (..., k)
        Eigenvalues, descending as the forecast's.
    sampling, drift : ndarray of shape (..., k)
        The two parts, standard deviation and difference, in units of the natural logarithm.
    """

    low: Array
    high: Array
    sampling: Array
    drift: Array

    def ranks(self, floor: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the smallest and largest rank, (...), of eigenvalues above ``floor``, (...)."""
        cut = real("floor", floor)[..., None]
        return (self.low > cut).sum(axis=-1), (self.high > cut).sum(axis=-1)


def interval(
    eigenvalues: ArrayLike,
    replicates: ArrayLike | None = None,
    earlier: ArrayLike | None = None,
    *,
    floor: float,
    level: float = 0.9,
    beyond: float = 0.0,
) -> Interval:
    """Return eigenvalues · e^{±(z√(s² + δ²) + b)}: s of their logarithm over replicates, δ from the forecast of an earlier record.

    Parameters
    ----------
    eigenvalues : array_like of shape (..., k)
        The forecast.
    replicates : array_like of shape (R, ..., k), optional
        Forecasts from resampled moments, R at least 2; None: sampling is left out.
    earlier : array_like of shape (..., k), optional
        The forecast of the same end from an earlier record, with its own remaining time; None: drift is left out.
    floor : float
        Eigenvalues below are taken for this: how dead a dimension is does not widen anything.
    level : float
        Between 0 and 1; z is the normal quantile of this two-sided level.
    beyond : float
        b ≥ 0, from :func:`beyond` of runs whose end is known.

    Raises
    ------
    InputError
        If a shape does not fit, there is one replicate, or a number is out of its range.
    """
    found = real("eigenvalues", eigenvalues)
    if not 0 < rate("level", level) < 1:
        raise InputError("level", level, "must be between 0 and 1")
    least = rate("floor", floor, positive=True)
    centre = np.log(np.maximum(found, least))
    sampling, drift = np.zeros_like(centre), np.zeros_like(centre)
    if replicates is not None:
        drawn = real("replicates", replicates)
        if drawn.ndim != found.ndim + 1 or drawn.shape[1:] != found.shape or len(drawn) < 2:
            raise InputError(
                "replicates", f"array of shape {drawn.shape}", f"must be (R, *{found.shape}), R at least 2"
            )
        sampling = np.log(np.maximum(drawn, least)).std(axis=0, ddof=1)
    if earlier is not None:
        before = real("earlier", earlier)
        if before.shape != found.shape:
            raise InputError("earlier", f"array of shape {before.shape}", f"must have the shape {found.shape}")
        drift = np.abs(centre - np.log(np.maximum(before, least)))
    width = norm.ppf((1 + level) / 2) * np.sqrt(sampling**2 + drift**2) + rate("beyond", beyond)
    return Interval(np.exp(centre - width), np.exp(centre + width), sampling, drift)


def beyond(found: Interval, ends: ArrayLike, *, floor: float, level: float = 0.9) -> float:
    """Return by how much, in natural logarithms, the intervals of runs must be widened to hold the share ``level`` of their known ends.

    ``ends`` are (..., k) as the intervals' own, and taken for ``floor`` where below it. 0 if they hold as many. Raises ``InputError``
    if shapes differ or a number is out of its range.
    """
    observed = real("ends", ends)
    if observed.shape != found.low.shape:
        raise InputError("ends", f"array of shape {observed.shape}", f"must have the shape {found.low.shape}")
    if not 0 < rate("level", level) < 1:
        raise InputError("level", level, "must be between 0 and 1")
    end = np.log(np.maximum(observed, rate("floor", floor, positive=True)))
    outside = np.maximum(np.log(found.low) - end, end - np.log(found.high))
    # The finite-sample quantile: of n, the ⌈(n+1)·level⌉-th smallest, or the largest there is.
    n = outside.size
    place = min(math.ceil((n + 1) * level), n) - 1
    return max(float(np.sort(outside, axis=None)[place]), 0.0)


def conformal(errors: ArrayLike, *, level: float = 0.9) -> tuple[float, float]:
    """Return bounds on the error of a new run from those of n runs whose end is known: split conformal prediction with signed errors.

    With a = (1 − level)/2 they are the ⌊(n+1)a⌋-th smallest and the ⌈(n+1)(1−a)⌉-th smallest, −∞ and ∞ where n is too small for one. If
    the new error and the known ones are exchangeable, it lies between the bounds, ends included, with a probability of at least ``level``,
    and beyond either with at most a: the rank of one of n + 1 exchangeable numbers is uniform, and ties only help (Vovk, Gammerman &
    Shafer 2005). Nothing is promised for a run that is not like the known ones, nor for one run given what it is.

    Parameters
    ----------
    errors : array_like
        What came less what was told, with its sign; n ≥ 1 of any shape, in units in which runs can be compared, for ranks as shares of k.
    level : float
        Between 0 and 1.

    Raises
    ------
    InputError
        If there is no error, one is not finite, or the level is out of its range.
    """
    ordered = np.sort(real("errors", errors), axis=None)
    if not ordered.size:
        raise InputError("errors", "none", "must be at least 1")
    if not 0 < rate("level", level) < 1:
        raise InputError("level", level, "must be between 0 and 1")
    n = ordered.size
    # (n+1)·a may be an integer that rounding has moved off; its neighbour would be a place too far.
    below = math.floor((n + 1) * (1 - level) / 2 + ROUNDING * n)
    return float(ordered[below - 1]) if below else -math.inf, float(ordered[n - below]) if below else math.inf


def rank_range(told: ArrayLike, bounds: tuple[float, float], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smallest and largest rank, (...), of told ranks (...) whose error is within ``bounds``, as shares of the ``width`` k.

    Ends are rounded outwards and kept between 0 and k. Raises ``InputError`` if the width is not a positive integer.
    """
    size = count("width", width)
    centre = real("told", told)
    low, high = (centre + bound * size for bound in bounds)
    # A share of k times k may miss its integer by rounding.
    least, most = np.floor(low + ROUNDING * size), np.ceil(high - ROUNDING * size)
    return np.clip(least, 0, size).astype(np.int64), np.clip(most, 0, size).astype(np.int64)


def resampled(layer: LastLayer, blocks: Sequence[ViewPair], replicates: int, *, seed: int) -> tuple[LastLayer, ...]:
    """Return the layer with the moments of blocks of its batch drawn anew, with replacement.

    Parameters
    ----------
    layer : LastLayer
        The measurement.
    blocks : sequence of ViewPair
        The features' moments on equal parts of the batch, at least 2: what is kept of the samples.
    replicates : int
        How many to draw.
    seed : int
        Of the draws.

    Raises
    ------
    InputError
        If there is one block, one of another dimension, or no replicate.
    """
    if len(blocks) < 2:
        raise InputError("blocks", len(blocks), "must be at least 2")
    if any(block.dimension != layer.views.dimension for block in blocks):
        raise InputError("blocks", "a block of another dimension", "must be moments of the layer's features")
    weights = block_weights(len(blocks), replicates, seed=seed)
    parts = [np.array([getattr(block, name) for block in blocks]) for name in ("context", "target", "cross")]
    return tuple(
        replace(layer, views=ViewPair.from_covariances(*(np.tensordot(own, part, 1) for part in parts)))
        for own in weights
    )


def block_weights(blocks: int, replicates: int, *, seed: int) -> Array:
    """Return the shares of blocks in draws with replacement, (replicates, blocks), rows of sum 1."""
    rng = np.random.default_rng(seed)
    size = count("blocks", blocks, least=2)
    return rng.multinomial(size, np.full(size, 1 / size), size=count("replicates", replicates)) / size
