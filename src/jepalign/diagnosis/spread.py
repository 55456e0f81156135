"""How far moments along the axes of an embedding are uncertain: a bootstrap of blocks of rows, and the bias of sorting.

The axes u are the eigenvectors of an estimate Φ̂, and what is read along them is û·Q̂û for Q = E zzᵀ, E z̄z̄ᵀ or E z̄zᵀ. Replicates are
read along the same axes, so that a mode is its direction in all of them and not its rank. To second order in Δ = Φ̂ − Φ, the
reading of axis i is off its true value by

    Σ_j [2 Cov(Δ_Q,ij, Δ_ij)/(s_i − s_j) + (q_j − q_i) Var(Δ_ij)/(s_i − s_j)²],

for Q = Φ this is Σ_j Var(Δ_ij)/(s_i − s_j), by which sorted eigenvalues spread out (Lawley 1956 for Gaussian rows).
"""

from dataclasses import dataclass

import numpy as np

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
        Of shape (1000, k), the bias taken off.
    bias : Readings
        Of shape (k,), what sorting adds to each reading.
    turn : ndarray of shape (k,)
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


def spread(moments: Moments, blocks: RowBlocks | None, axes: Array, *, mean: bool, seed: int = 0) -> Spread:
    """Return the uncertainty of readings along axes, (k, k) orthonormal eigenvectors of ½(E zzᵀ + E z̄z̄ᵀ).

    Parameters
    ----------
    moments : Moments
        Of all rows.
    blocks : RowBlocks or None
        Of blocks of rows; None where rows are not known: they are then taken to be independent and Gaussian.
    axes : ndarray of shape (k, k)
        One axis per column.
    mean : bool
        Whether readings are about the mean.
    seed : int
        Of the replicates.

    Notes
    -----
    Cost O(Bk³) for B blocks. Replicates of few blocks are too narrow by √(1 − 1/B), and are widened by as much.
    """
    here = readings(moments, axes, mean=mean)
    random = np.random.default_rng(seed)
    variance, shared, drawn = (
        _gaussian(here, moments.count, random) if blocks is None else _drawn(moments, blocks, axes, here, mean, random)
    )
    gaps = (size := (here.context + here.target) / 2)[:, None] - size[None, :]
    # Gaps below the noise have been opened by sorting itself; they count as what the noise opens.
    wide = np.maximum(gaps**2, variance)
    inverse = np.divide(gaps, wide, out=np.zeros_like(gaps), where=wide > 0)
    bias = Readings(
        *(
            (2 * part * inverse + (value[None, :] - value[:, None]) * variance * inverse**2).sum(axis=1)
            for part, value in zip(shared, (here.context, here.target, here.cross), strict=True)
        )
    )
    turn = np.minimum((variance * inverse**2).sum(axis=1), 1.0)
    return Spread(drawn.less(bias), bias, turn, blocks is not None)


def interval(values: Array) -> tuple[Array, Array]:
    """Return the 2.5 % and 97.5 % points of replicates, (1000, ...)."""
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return low, high


def _drawn(
    moments: Moments, blocks: RowBlocks, axes: Array, here: Readings, mean: bool, random: np.random.Generator
) -> tuple[Array, tuple[Array, Array, Array], Readings]:
    """Return the variance of axes' moments, their covariances with the three readings' matrices, (k, k), and replicates."""
    rotated = [axes.T @ part @ axes for part in moments.about(mean=mean)]
    share = blocks.count / blocks.count.sum()
    count, width = len(share), axes.shape[1]
    inflation = count / (count - 1) if count > 1 else 1.0
    origins = (moments.context_mean, moments.target_mean) if mean else (np.zeros(moments.width),) * 2
    first, second = (blocks.context_mean - origins[0]) @ axes, (blocks.target_mean - origins[1]) @ axes
    variance = np.zeros((width, width))
    shared = tuple(np.zeros((width, width)) for _ in range(3))
    diagonals = np.empty((3, count, width))
    for b in range(count):
        x, y = first[b], second[b]
        parts = [axes.T @ part[b].astype(np.float64) @ axes for part in (blocks.context, blocks.target, blocks.cross)]
        parts = [parts[0] + np.outer(x, x), parts[1] + np.outer(y, y), parts[2] + np.outer(y, x)]
        diagonals[:, b] = [np.diag(part) for part in parts]
        off = [part - whole for part, whole in zip(parts, rotated, strict=True)]
        both, off[2] = (off[0] + off[1]) / 2, (off[2] + off[2].T) / 2
        weight = share[b] ** 2 * inflation
        variance += weight * both**2
        for total, part in zip(shared, off, strict=True):
            total += weight * both * part
    np.fill_diagonal(variance, 0.0)
    for total in shared:
        np.fill_diagonal(total, 0.0)
    weights = random.multinomial(count, np.full(count, 1 / count), REPLICATES) * share
    weights /= weights.sum(axis=1, keepdims=True)
    drawn = [weights @ part for part in diagonals]
    if mean:
        # The mean of a replicate is its own.
        moved = weights @ first, weights @ second
        drawn = [drawn[0] - moved[0] ** 2, drawn[1] - moved[1] ** 2, drawn[2] - moved[0] * moved[1]]
    centres = here.context, here.target, here.cross
    wider = [
        centre + np.sqrt(inflation) * (part - centre) for part, centre in zip(drawn, centres, strict=True)
    ]
    return variance, (shared[0], shared[1], shared[2]), _definite(Readings(*wider))


def _definite(drawn: Readings) -> Readings:
    return Readings(np.maximum(drawn.context, 0.0), np.maximum(drawn.target, 0.0), drawn.cross)


def _gaussian(
    here: Readings, count: int, random: np.random.Generator
) -> tuple[Array, tuple[Array, Array, Array], Readings]:
    """Return the same for independent Gaussian rows whose axes are uncorrelated with each other."""
    s, t, c = here.context, here.target, here.cross

    def outer(first: Array, second: Array) -> Array:
        found = np.outer(first, second)
        np.fill_diagonal(found, 0.0)
        return found

    # E[(x_i x_j)²] = s_i s_j, E[x_i x_j y_i y_j] = c_i c_j, E[y_i x_j x_i x_j] = c_i s_j, and so on; products of means vanish.
    both, contexts, targets = outer(c, c), outer(s, s), outer(t, t)
    mixed = outer(c, s) + outer(s, c), outer(c, t) + outer(t, c)
    variance = (contexts + targets + 2 * both) / (4 * count)
    shared = (contexts + both) / (2 * count), (targets + both) / (2 * count), (mixed[0] + mixed[1]) / (4 * count)
    # Bartlett's factor of a 2 × 2 Wishart matrix of count degrees of freedom.
    a = np.sqrt(random.chisquare(count, (REPLICATES, len(s))) / count)
    b = random.normal(size=a.shape) / np.sqrt(count)
    d = np.sqrt(random.chisquare(count - 1, a.shape) / count)
    slope = np.divide(c, np.sqrt(s), out=np.zeros_like(s), where=s > 0)
    rest = np.sqrt(np.maximum(t - slope**2, 0.0))
    second = slope * a + rest * b
    return variance, shared, Readings(s * a**2, second**2 + (rest * d) ** 2, np.sqrt(s) * a * second)
