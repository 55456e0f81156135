"""Which masks of stationary tokens keep a wanted rank (7.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

from jepalign.design.spectra import Spectra
from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.checks import count, rate
from jepalign.linear_models.masking.laws import MultiBlockMasks, exponential_tokens
from jepalign.linear_models.masking.spectrum import mask_spectrum
from jepalign.linear_models.masking.stationary import MaskedModes, circular_modes, independent_modes

Array = NDArray[np.float64]
Target = Literal["output", "input"]

RATIOS = np.linspace(0.001, 0.999, 999)
"""Ratios of independent masks that are looked at, before the best and the ends of ranges are refined."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of variance 1 with exponential correlation, and what the target encoder sees of them.

    Attributes
    ----------
    count : int
        n ≥ 2.
    correlation : float
        r of neighbours, from 0 to below 1.
    target : "output" or "input"
        All tokens (I-JEPA), or the hidden ones.
    circular : bool
        On a circle; otherwise on a line.

    Raises
    ------
    InputError
        If one of them is out of its range.
    """

    count: int
    correlation: float
    target: Target = "output"
    circular: bool = True

    def __post_init__(self) -> None:
        count("tokens", self.count, least=2)
        if rate("token_correlation", self.correlation) >= 1:
            raise InputError("token_correlation", self.correlation, "must be below 1")
        if self.target not in ("output", "input"):
            raise InputError("target", repr(self.target), "must be 'output' or 'input'")

    def independent(self, ratio: float) -> Spectra:
        """Return the modes where each token is hidden with the probability ``ratio``, above 0 and below 1, independently."""
        if not 0 < ratio < 1:
            raise InputError("mask_ratio", ratio, "must be above 0 and below 1")
        modes = independent_modes(self.eigenvalues(), [ratio], self.target)
        return Spectra(modes.cross[0], modes.variance[0], f"{self}, {ratio:.3g} of them hidden independently")

    def blocks(self, length: int, blocks: int) -> Spectra:
        """Return the modes where so many blocks of so many tokens are hidden; coupled on a line."""
        if not 1 <= count("block_length", length) < self.count:
            raise InputError("block_length", length, f"must be below the number of tokens, {self.count}")
        named = f"{self}, {count('blocks', blocks)} block{'s' * (blocks > 1)} of {length} hidden"
        if self.circular:
            modes = circular_modes(self.count, self.correlation, [length], blocks=blocks, target=self.target)
            return Spectra(modes.cross[0], modes.variance[0], named)
        masks = MultiBlockMasks(self.count, length, blocks, circular=False)
        return Spectra.from_pair(
            ViewPair.masked(exponential_tokens(self.count, self.correlation), masks, self.target), named
        )

    def eigenvalues(self) -> Array:
        """Return the eigenvalues of the covariance, (n,)."""
        tokens = exponential_tokens(self.count, self.correlation, circular=self.circular)
        return np.maximum(np.linalg.eigvalsh(tokens), 0.0)

    def __str__(self) -> str:
        place = "a circle" if self.circular else "a line"
        return f"{self.count} tokens on {place}, neighbours' correlation {self.correlation:g}, {self.target}-masked"


@dataclass(frozen=True, eq=False)
class MaskDesign:
    """One family of masks, by how much weight decay K dimensions bear under each.

    Attributes
    ----------
    tokens : Tokens
        What is masked.
    rank : int
        K.
    blocks : int or None
        How many blocks are hidden; None: tokens independently.
    ratio : ndarray of shape (m,)
        The expected share of hidden tokens, ascending.
    length : ndarray of int, shape (m,), or None
        The length of a block.
    limit : ndarray of shape (m,)
        The weight decay from which on fewer than K dimensions can survive; on a line a bound for blocks, which need not be attained.
    exact : bool
        Whether it is attained.
    best_ratio, best_limit : float
        Where the limit is largest, and that limit.
    best_length : int or None
        The block's length there.
    weight_decay : float or None
        η of the ranges.
    kept : tuple of (float, float)
        Ranges of the ratio, ends included for blocks, in which K dimensions can survive η.
    surviving : ndarray of int, shape (m,), or None
        How many dimensions can survive η under each mask; None without η.
    """

    tokens: Tokens
    rank: int
    blocks: int | None
    ratio: Array
    length: NDArray[np.int64] | None
    limit: Array
    exact: bool
    best_ratio: float
    best_limit: float
    best_length: int | None
    weight_decay: float | None
    kept: tuple[tuple[float, float], ...]
    surviving: NDArray[np.int64] | None

    @property
    def most(self) -> tuple[int, tuple[tuple[float, float], ...]]:
        """The most dimensions that can survive η under any of these masks, and the ranges of the ratio looked at where they do."""
        if self.surviving is None:
            return 0, ()
        most = int(self.surviving.max())
        return most, _runs(self.ratio, self.surviving == most)

    @property
    def family(self) -> str:
        """Its name in words."""
        if self.blocks is None:
            return "independent tokens"
        return "one block" if self.blocks == 1 else f"{self.blocks} blocks"

    @property
    def at_the_end(self) -> bool:
        """Whether hiding less is always better, so that the best mask is the least that was looked at."""
        return bool(self.best_limit <= self.limit[0])

    def best(self) -> Spectra:
        """Return the modes under the best mask."""
        if self.blocks is None or self.best_length is None:
            return self.tokens.independent(self.best_ratio)
        return self.tokens.blocks(self.best_length, self.blocks)


def mask_design(
    tokens: Tokens, rank: int, *, blocks: int | None = None, weight_decay: float | None = None
) -> MaskDesign:
    """Return which masks of a family keep ``rank`` dimensions: independent ones, or ``blocks`` blocks of one length.

    Parameters
    ----------
    tokens : Tokens
        What is masked.
    rank : int
        K, at most the number of tokens.
    blocks : int, optional
        How many blocks, independent of each other; None: tokens independently.
    weight_decay : float, optional
        η ≥ 0 for the ranges that keep K.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Notes
    -----
    Ours. With output-masked independent tokens each threshold, qs²/(4(1 + q(s−1))) with q the share visible, rises with q: nothing hidden
    is best. With input-masked ones mode by mode the best q is (√(9+8a) − 3)/(4a), a = s − 1: two thirds hidden where tokens are nearly
    white. Cost O(mn log n), but for blocks on a line O(n⁴).
    """
    wanted = count("rank", rank)
    if wanted > tokens.count:
        raise InputError("rank", wanted, f"must be at most the number of tokens, {tokens.count}")
    eta = None if weight_decay is None else rate("weight_decay", weight_decay)
    if blocks is None:
        eigenvalues = tokens.eigenvalues()

        def limit_at(ratios: Array) -> Array:
            return _thresholds(independent_modes(eigenvalues, ratios, tokens.target))[:, -wanted]

        thresholds = _thresholds(independent_modes(eigenvalues, RATIOS, tokens.target))
        limits = thresholds[:, -wanted]
        place = int(np.argmax(limits))
        best, value = float(RATIOS[place]), float(limits[place])
        if 0 < place < len(RATIOS) - 1:
            ends = float(RATIOS[place - 1]), float(RATIOS[place + 1])
            found: Any = minimize_scalar(lambda q: -limit_at(np.array([q]))[0], bounds=ends, method="bounded")
            if -found.fun > value:
                best, value = float(found.x), float(-found.fun)
        kept = () if eta is None else _ranges(lambda q: float(limit_at(np.array([q]))[0]), limits, eta)
        ranks = None if eta is None else (thresholds > eta).sum(axis=1)
        return MaskDesign(tokens, wanted, None, RATIOS, None, limits, True, best, value, None, eta, kept, ranks)
    number, lengths = count("blocks", blocks), np.arange(1, tokens.count)
    if tokens.circular:
        modes = circular_modes(tokens.count, tokens.correlation, lengths, blocks=number, target=tokens.target)
        thresholds = _thresholds(modes)
        ratios, limits = modes.ratio, thresholds[:, -wanted]
        ranks = None if eta is None else (thresholds > eta).sum(axis=1)
    else:
        covariance = exponential_tokens(tokens.count, tokens.correlation)
        laws = [MultiBlockMasks(tokens.count, int(b), number, circular=False) for b in lengths]
        ratios = np.array([1 - law.mean.mean() for law in laws])
        found = [mask_spectrum(covariance, law, tokens.target) for law in laws]
        limits = np.array([each.largest_weight_decay(wanted) for each in found])
        ranks = None if eta is None else np.array([int(each.surviving_rank(eta)) for each in found])
    place = int(np.argmax(limits))
    kept = () if eta is None else _runs(ratios, limits > eta)
    return MaskDesign(
        tokens,
        wanted,
        number,
        ratios,
        lengths,
        limits,
        tokens.circular,
        float(ratios[place]),
        float(limits[place]),
        int(lengths[place]),
        eta,
        kept,
        ranks,
    )


def _thresholds(modes: MaskedModes) -> Array:
    """Return λ²/(4σ) of all modes, ascending, for every mask."""
    return np.sort(modes.cross / modes.variance * modes.cross / 4, axis=1)


def _ranges(limit: Callable[[float], float], limits: Array, eta: float) -> tuple[tuple[float, float], ...]:
    """Return the ranges of the ratio in which the limit exceeds η, their ends to rounding; to the grid's ends at most."""
    found: list[tuple[float, float]] = []
    for low, high in _runs(np.arange(len(RATIOS)), limits > eta):
        ends: list[float] = []
        for inside, outside in ((int(low), int(low) - 1), (int(high), int(high) + 1)):
            if 0 <= outside < len(RATIOS) and limits[outside] < eta < limits[inside]:
                root: Any = brentq(lambda q: limit(q) - eta, *sorted((RATIOS[inside], RATIOS[outside])))
                ends.append(float(root))
            else:
                ends.append(float(RATIOS[inside]))
        found.append((ends[0], ends[1]))
    return tuple(found)


def _runs(values: NDArray[np.number], true: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Return the first and last value of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], true, [False])).astype(int)))
    return tuple((float(values[a]), float(values[b - 1])) for a, b in edges.reshape(-1, 2))
