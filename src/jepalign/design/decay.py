"""How much weight decay a wanted rank bears, from which start, and what the survivors pay (4.3, 6.2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepalign.design.spectra import Spectra
from jepalign.errors import InputError
from jepalign.linear_models.checks import count, rate
from jepalign.linear_models.collapse import competition, equilibria, growth, largest_weight_decay

Array = NDArray[np.float64]

SHARE = 0.5
"""The share of the largest weight decay at which the rest is told if none is given: at it a mode rests at 85 % of ρ and more."""


@dataclass(frozen=True, eq=False)
class DecayDesign:
    """Settings that keep ``rank`` dimensions, and what becomes of each mode at ``weight_decay``.

    Attributes
    ----------
    spectra : Spectra
        The data.
    rank : int
        K, the dimensions wanted.
    predictor_rate : float
        α.
    start : float or None
        |w(0)| of every mode, with a balanced predictor, or None: as large as need be.
    width : int or None
        The embedding's dimension k, or None: no fewer than modes.
    largest : float
        The weight decay below which K dimensions survive, and at and above which fewer do.
    weight_decay : float
        η at which all that follows is told.
    limit : ndarray of shape (d,)
        The same for each mode by itself: λ²/(4σ), or less from the start given.
    alive : ndarray of bool, shape (d,)
        Whether η is below it.
    least_start : float or None
        The start |w(0)| beyond which K dimensions survive η with this α: the K-th smallest w₋; None if no start does.
    least_rate : float or None
        The α beyond which they survive η from the start given; None without a start, or if no α does.
    edge, variance, predictor : ndarray of shape (d,)
        w₋ = p₋/√α, the embedding variance s = σp₊²/α and p₊ at rest; NaN where η is at least λ²/(4σ).
    undecayed : ndarray of shape (d,)
        s at η = 0, λ²/(ασ).
    excess : ndarray of shape (d,)
        (ρ − p₊)²: what decay adds to the prediction loss, per unit of ½s; NaN as before.
    rate : ndarray of shape (d,)
        The slower of the two rates of return to rest, per unit of flow time; NaN as before.
    rivals : tuple of (int, int)
        With fewer dimensions than survivors: (j, i), where mode j, not among the first K, once learnt holds its place against i among
        them (6.3).
    """

    spectra: Spectra
    rank: int
    predictor_rate: float
    start: float | None
    width: int | None
    largest: float
    weight_decay: float
    limit: Array
    alive: NDArray[np.bool_]
    least_start: float | None
    least_rate: float | None
    edge: Array
    variance: Array
    predictor: Array
    undecayed: Array
    excess: Array
    rate: Array
    rivals: tuple[tuple[int, int], ...]

    @property
    def wanted(self) -> NDArray[np.int64]:
        """The K modes that bear the most, by index."""
        return np.argsort(-self.limit, kind="stable")[: self.rank]

    @property
    def surviving(self) -> int:
        """How many dimensions survive η from this start, at most the width."""
        alive = int(self.alive.sum())
        return alive if self.width is None else min(alive, self.width)

    @property
    def strongest_lost(self) -> float:
        """The largest |ρ| of a mode that η takes: what a linear probe can lose, per ‖θ‖², where both views have one covariance (6.2)."""
        return float(np.abs(self.spectra.correlation[~self.alive]).max(initial=0.0))

    @property
    def variance_kept(self) -> float:
        """The share of the embedding variance at η = 0 of the wanted modes that is left, those lost included."""
        kept = np.where(self.alive, self.variance, 0.0)[self.wanted].sum()
        return float(kept / self.undecayed[self.wanted].sum())


def decay_design(
    spectra: Spectra,
    rank: int,
    *,
    weight_decay: float | None = None,
    predictor_rate: float = 1.0,
    start: float | None = None,
    width: int | None = None,
) -> DecayDesign:
    """Return the settings of a JEPA with a learnt predictor that keep ``rank`` dimensions alive.

    Parameters
    ----------
    spectra : Spectra
        The data.
    rank : int
        K, at most the number of modes with λ ≠ 0.
    weight_decay : float, optional
        η ≥ 0 at which to tell the rest; by default half of the largest.
    predictor_rate : float
        α > 0, the predictor's learning rate relative to the encoder's.
    start : float, optional
        |w(0)| > 0 of every mode, the predictor being balanced, p(0) = √α|w(0)| on the side of λ.
    width : int, optional
        The embedding's dimension, at least K.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Notes
    -----
    Ours, closed forms throughout. Thresholds do not depend on α; the start they ask for goes as 1/√α, variances at rest as 1/α.
    """
    alpha = rate("predictor_rate", predictor_rate, positive=True)
    wanted, cross, sigma = count("rank", rank), spectra.cross, spectra.variance
    if wanted > (most := int(np.count_nonzero(cross))):
        raise InputError("rank", wanted, f"must be at most {most}, the number of modes with a cross-covariance")
    if width is not None and count("width", width) < wanted:
        raise InputError("width", width, f"must be at least the rank, {wanted}")
    if start is not None:
        start = rate("start", start, positive=True)
    limit = largest_weight_decay(cross, sigma, start, predictor_rate=alpha)
    largest = float(np.sort(limit)[-wanted])
    eta = SHARE * largest if weight_decay is None else rate("weight_decay", weight_decay)
    rests = np.ma.filled(equilibria(cross, sigma, eta, predictor_rate=alpha), np.nan)
    rests[largest_weight_decay(cross, sigma) <= eta] = np.nan
    edge, weight = np.abs(rests[:, 1]), np.abs(rests[:, 2])
    predictor = np.sign(cross) * np.sqrt(alpha) * weight
    with np.errstate(invalid="ignore"):
        balanced = -np.ma.filled(growth(cross, sigma, eta)[:, 2], np.nan)
        slower = np.where(np.isnan(weight), np.nan, np.minimum(2 * eta, balanced) if eta > 0 else balanced)
    edges = np.sort(edge[~np.isnan(edge)])
    least_start = float(edges[wanted - 1]) if len(edges) >= wanted else None
    alive = limit > eta
    first = np.argsort(-limit, kind="stable")[:wanted]
    return DecayDesign(
        spectra,
        wanted,
        alpha,
        start,
        width,
        largest,
        eta,
        limit,
        alive,
        least_start,
        None if start is None or least_start is None else alpha * (least_start / start) ** 2,
        edge,
        sigma * weight**2,
        predictor,
        cross / sigma * cross / alpha,
        (spectra.correlation - predictor) ** 2,
        slower,
        _rivals(spectra, eta, first, alive, width),
    )


def _rivals(
    spectra: Spectra, eta: float, first: NDArray[np.int64], alive: NDArray[np.bool_], width: int | None
) -> tuple[tuple[int, int], ...]:
    """Return which modes beside the first can keep one of them out for good, for want of dimensions."""
    if width is None or width >= int(alive.sum()):
        return ()
    held = np.ma.filled(competition(spectra.cross, spectra.variance, eta), False)
    others = np.setdiff1d(np.flatnonzero(alive), first)
    return tuple((int(j), int(i)) for j in others for i in first if alive[i] and held[j, i])
