"""How far moments along the axes of a spectrum are uncertain: a bootstrap of blocks of rows, and the bias of sorting.

The axes u are the eigenvectors of an estimate M̂, of ½(E zzᵀ + E z̄z̄ᵀ) or of the symmetric part of E z̄zᵀ, and what is read along
them is û·Q̂û for Q = E zzᵀ, E z̄z̄ᵀ or E z̄zᵀ. Replicates are read along the same axes, so that a mode is its direction in all of
them and not its rank. To second order in Δ = M̂ − M, the reading of axis i is off its true value by

    Σ_j [2 Cov(Δ_Q,ij, Δ_ij)/(m_i − m_j) + (q_j − q_i) Var(Δ_ij)/(m_i − m_j)²];

for Q = M this is Σ_j Var(Δ_ij)/(m_i − m_j), by which sorted eigenvalues spread out (Lawley 1956 for Gaussian rows).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jepalign.diagnosis.gathering import RowBlocks
from jepalign.diagnosis.moments import Moments
from jepalign.diagnosis.stored import Array

REPLICATES = 1000


@dataclass(frozen=True, eq=False)
class Readings:
    """E(u·z)², E(u·z̄)² and E(u·z)(u·z̄) along axes u, arrays of shape (..., k)."""

    context: Array
    target: Array
    cross: Array

    @property
    def correlation(self) -> Array:
        """The correlation of both views along each axis; 0 where there is no variance."""
        product = np.sqrt(np.maximum(self.context, 0.0)) * np.sqrt(np.maximum(self.target, 0.0))
        return np.clip(np.divide(self.cross, product, out=np.zeros_like(product), where=product > 0), -1.0, 1.0)

    def less(self, bias: "Readings") -> "Readings":
        """Return these readings with a bias taken off; variances stay at least a hundredth of themselves."""
        context, target = (
            np.maximum(mine - theirs, mine / 100)
            for mine, theirs in ((self.context, bias.context), (self.target, bias.target))
        )
        return Readings(context, target, self.cross - bias.cross)


@dataclass(frozen=True, eq=False)
class Spread:
    """The uncertainty of readings along axes.

    Attributes
    ----------
    replicates : Readings
        Of shape (1000, m), the bias taken off.
    bias : Readings
        Of shape (m,), what sorting adds to each reading; 0 if rows are fewer than 2k, where it cannot be told.
    turn : ndarray of shape (m,)
        Expected squared sine of the angle between an axis and the true one, at most 1.
    rows : bool
        Whether this rests on rows, and not on the assumption that they are independent and Gaussian.
    """

    replicates: Readings
    bias: Readings
    turn: Array
    rows: bool


def readings(moments: Moments, axes: Array, *, mean: bool) -> Readings:
    """Return the readings of moments, about the mean or about 0, along the columns of ``axes``, (k, m)."""
    return Readings(*(np.einsum("ki,kl,li->i", axes, part, axes, optimize=True) for part in moments.about(mean=mean)))


def spread(
    moments: Moments,
    blocks: RowBlocks | None,
    axes: Array,
    *,
    of: Literal["variance", "cross"],
    kept: NDArray[np.intp],
    mean: bool,
    seed: int = 0,
) -> Spread:
    """Return the uncertainty of readings along some of the eigenvectors of a moment.

    Parameters
    ----------
    moments : Moments
        Of all rows.
    blocks : RowBlocks or None
        Of blocks of rows; None where rows are not known: they are then taken to be independent and Gaussian.
    axes : ndarray of shape (k, k)
        Orthonormal eigenvectors, one per column.
    of : {"variance", "cross"}
        Of ½(E zzᵀ + E z̄z̄ᵀ), or of the symmetric part of E z̄zᵀ.
    kept : ndarray of int, shape (m,)
        Places of the axes that are asked for.
    mean : bool
        Whether readings are about the mean.
    seed : int
        Of the replicates.

    Notes
    -----
    Cost O(Bk²m) for B blocks. Replicates of few blocks are too narrow by √(1 − 1/B), and are widened by as much.
    """
    here = readings(moments, axes, mean=mean)
    random = np.random.default_rng(seed)
    if blocks is None:
        shared, drawn = _gaussian(here, moments.count, kept, of, random)
    else:
        shared, drawn = _drawn(moments, blocks, axes, kept, of, mean, random)
    for part in shared:
        part[kept, np.arange(len(kept))] = 0.0
    size = (here.context + here.target) / 2 if of == "variance" else here.cross
    variance = (shared[0] + shared[1]) / 2 if of == "variance" else shared[2]
    gaps = size[None, kept] - size[:, None]
    # Gaps below the noise have been opened by sorting itself; they count as what the noise opens.
    wide = np.maximum(gaps**2, variance)
    inverse = np.divide(gaps, wide, out=np.zeros_like(gaps), where=wide > 0)
    bias = Readings(
        *(
            (2 * part * inverse + (value[:, None] - value[None, kept]) * variance * inverse**2).sum(axis=0)
            for part, value in zip(shared, (here.context, here.target, here.cross), strict=True)
        )
    )
    if moments.count < 2 * moments.width:
        # With fewer rows than dimensions there are more terms of second order than the first order can bear.
        bias = Readings(*(np.zeros(len(kept)) for _ in range(3)))
    turn = np.minimum((variance * inverse**2).sum(axis=0), 1.0)
    return Spread(drawn.less(bias), bias, turn, blocks is not None)


def interval(values: Array) -> tuple[Array, Array]:
    """Return the 2.5 % and 97.5 % points of replicates, (1000, ...); some of them may be infinite."""
    ordered = np.sort(values, axis=0)
    last = len(ordered) - 1
    return ordered[int(0.025 * last)], ordered[last - int(0.025 * last)]


def _drawn(
    moments: Moments,
    blocks: RowBlocks,
    axes: Array,
    kept: NDArray[np.intp],
    of: str,
    mean: bool,
    random: np.random.Generator,
) -> tuple[tuple[Array, Array, Array], Readings]:
    """Return the covariances of Δ_ij with those of the three readings' matrices, (k, m), and replicates of the readings."""
    chosen = axes[:, kept]
    whole = [axes.T @ part @ chosen for part in moments.about(mean=mean)]
    centre = [np.einsum("ki,ki->i", chosen, part @ chosen) for part in moments.about(mean=mean)]
    share = blocks.count / blocks.count.sum()
    inflation = len(share) / (len(share) - 1) if len(share) > 1 else 1.0
    origins = (moments.context_mean, moments.target_mean) if mean else (np.zeros(moments.width),) * 2
    first, second = (blocks.context_mean - origins[0]) @ axes, (blocks.target_mean - origins[1]) @ axes
    shared = tuple(np.zeros(whole[0].shape) for _ in range(3))
    diagonals = np.empty((3, len(share), len(kept)))
    for b, portion in enumerate(share):
        x, y = first[b], second[b]
        inside = [part[b].astype(np.float64) for part in (blocks.context, blocks.target, blocks.cross)]
        inside[2] = (inside[2] + inside[2].T) / 2
        parts = [axes.T @ (part @ chosen) for part in inside]
        parts[0] += np.outer(x, x[kept])
        parts[1] += np.outer(y, y[kept])
        parts[2] += (np.outer(y, x[kept]) + np.outer(x, y[kept])) / 2
        diagonals[:, b] = [part[kept, np.arange(len(kept))] for part in parts]
        off = [part - total for part, total in zip(parts, whole, strict=True)]
        leading = (off[0] + off[1]) / 2 if of == "variance" else off[2]
        for k, part in enumerate(off):
            shared[k][...] += portion**2 * inflation * leading * part
    weights = random.multinomial(len(share), np.full(len(share), 1 / len(share)), REPLICATES) * share
    weights /= weights.sum(axis=1, keepdims=True)
    drawn = [weights @ part for part in diagonals]
    if mean:
        # The mean of a replicate is its own.
        moved = weights @ first[:, kept], weights @ second[:, kept]
        drawn = [drawn[0] - moved[0] ** 2, drawn[1] - moved[1] ** 2, drawn[2] - moved[0] * moved[1]]
    wider = [at + np.sqrt(inflation) * (part - at) for part, at in zip(drawn, centre, strict=True)]
    found = Readings(np.maximum(wider[0], 0.0), np.maximum(wider[1], 0.0), wider[2])
    return (shared[0], shared[1], shared[2]), found


def _gaussian(
    here: Readings, count: int, kept: NDArray[np.intp], of: str, random: np.random.Generator
) -> tuple[tuple[Array, Array, Array], Readings]:
    """Return the same for independent Gaussian rows whose axes are uncorrelated with each other."""
    s, t, c = here.context, here.target, here.cross

    def product(first: Array, second: Array) -> Array:
        return np.outer(first, second[kept]) / count

    # E[(x_i x_j)²] = s_i s_j, E[x_i x_j y_i y_j] = c_i c_j, E[y_i x_j x_i x_j] = c_i s_j, and so on; products of means vanish.
    both, crossed = product(c, c), product(t, s) + product(s, t)
    with_context, with_target = product(c, s) + product(s, c), product(c, t) + product(t, c)
    if of == "variance":
        shared = (product(s, s) + both) / 2, (product(t, t) + both) / 2, (with_context + with_target) / 4
    else:
        shared = with_context / 2, with_target / 2, (crossed + 2 * both) / 4
    # Rounding leaves variances that are none on either side of 0.
    s, t, c = np.maximum(s[kept], 0.0), np.maximum(t[kept], 0.0), c[kept]
    # Bartlett's factor of a 2 × 2 Wishart matrix of count degrees of freedom.
    a = np.sqrt(random.chisquare(count, (REPLICATES, len(s))) / count)
    b = random.normal(size=a.shape) / np.sqrt(count)
    d = np.sqrt(random.chisquare(count - 1, a.shape) / count)
    slope = np.divide(c, np.sqrt(s), out=np.zeros_like(s), where=s > 0)
    rest = np.sqrt(np.maximum(t - slope**2, 0.0))
    second = slope * a + rest * b
    return shared, Readings(s * a**2, second**2 + (rest * d) ** 2, np.sqrt(s) * a * second)
