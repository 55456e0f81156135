"""Second moments of pairs that arrive in batches, so that the samples never sit in memory together."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, matrix, real

Array = NDArray[np.float64]

# Numbers of one chunk in float64, 2 MiB: it stays in cache, and its product with itself is still a matrix product.
CHUNK = 2**18


class Covariances(NamedTuple):
    """The second moments of x and y, each (d, d).

    Attributes
    ----------
    context, target : ndarray of shape (d, d)
        Σ_x and Σ_y, symmetric.
    cross : ndarray of shape (d, d)
        Σ_yx: rows belong to the target.
    """

    context: Array
    target: Array
    cross: Array


class PairMoments:
    """Mergeable co-moments of pairs (x, y) of dimension d (Chan, Golub & LeVeque 1983).

    Means are kept relative to the first sample, so that a mean far above the standard deviation costs no digits.
    Memory is 4d² numbers, and a chunk of the samples.

    Parameters
    ----------
    dimension : int
        d, at least 1.

    Raises
    ------
    InputError
        If ``dimension`` is not a positive integer.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = count("dimension", dimension)
        self.count = 0
        self._origin: Array = np.zeros(2 * dimension)
        self._mean: Array = np.zeros(2 * dimension)
        self._comoment: Array = np.zeros((2 * dimension, 2 * dimension))
        # Sums of ‖z‖²z and ‖z‖⁴ over the deviations z from the mean: with them the second can be moved elsewhere.
        self._third: Array = np.zeros(2 * dimension)
        self._fourth = 0.0

    def update(self, x: ArrayLike, y: ArrayLike) -> Self:
        """Add a batch of pairs and return self.

        Arrays, memory maps among them, are read in chunks: no float64 copy of a whole one is made.

        Parameters
        ----------
        x, y : array_like of shape (n, d)
            Row i of both is one pair.

        Raises
        ------
        InputError
            If the batch is not finite or not paired; nothing of it is then added.
        """
        first = table("x", x)
        if first.shape[1] != self.dimension:
            raise InputError("x", f"array of shape {first.shape}", f"must have {self.dimension} columns")
        second = table("y", y, first.shape)
        width = 2 * self.dimension
        rows = max(width, CHUNK // width)
        found = PairMoments(self.dimension)
        for start in range(0, len(first), rows):
            parts = slice(start, start + rows)
            batch = np.hstack((matrix("x", first[parts]), matrix("y", second[parts])))
            # The chunk's own first sample: shifting by a near one is exact, and the merge keeps the difference.
            origin = batch[0].copy()
            batch -= origin
            mean = batch.mean(axis=0)
            batch -= mean
            with np.errstate(all="ignore"):  # only shrinkage needs these, and checks their range
                lengths = np.einsum("ij,ij->i", batch, batch)
                third, fourth = lengths @ batch, float(lengths @ lengths)
            found._add(len(batch), origin, mean, batch.T @ batch, third, fourth)
        return self.merge(found)

    def merge(self, other: "PairMoments") -> Self:
        """Add all pairs of ``other`` and return self; raise ``InputError`` if its dimension differs."""
        if other.dimension != self.dimension:
            raise InputError("other", other.dimension, f"must have the dimension {self.dimension}")
        if other.count:
            self._add(other.count, other._origin, other._mean, other._comoment, other._third, other._fourth)
        return self

    def means(self) -> tuple[Array, Array]:
        """Return the means of x and of y so far, (d,) each; raise ``InputError`` if there are no pairs."""
        if not self.count:
            raise InputError("count", self.count, "must be at least 1")
        mean = self._origin + self._mean
        return mean[: self.dimension], mean[self.dimension :]

    def covariances(self, *, symmetrize: bool = False, center: bool = True) -> Covariances:
        """Return the second moments so far, as means over n (no correction for the estimated mean).

        Parameters
        ----------
        symmetrize : bool
            Use every pair in both orders, (x, y) and (y, x).
        center : bool
            About the mean of each view; with ``symmetrize`` about that of both together. Otherwise about 0.

        Raises
        ------
        InputError
            With fewer than 2 pairs.
        """
        if self.count < 2:
            raise InputError("count", self.count, "must be at least 2 samples")
        d = self.dimension
        joint = (self._comoment + self._comoment.T) / (2 * self.count)
        offset = self._offset(symmetrize=symmetrize, center=center)
        joint += np.outer(offset, offset)
        context, target, cross = joint[:d, :d], joint[d:, d:], joint[d:, :d]
        if symmetrize:
            context, cross = (context + target) / 2, (cross + cross.T) / 2
            target = context
        return Covariances(context, target, cross)

    def fourth(self, *, symmetrize: bool = False, center: bool = True) -> float:
        """Return the mean of ‖(x, y)‖⁴, about the point that ``covariances`` takes with the same options.

        Raises ``InputError`` with fewer than 2 pairs. Infinite or 0 where fourth powers leave the range of float64.
        """
        if self.count < 2:
            raise InputError("count", self.count, "must be at least 2 samples")
        step = -self._offset(symmetrize=symmetrize, center=center)
        return self._moved(step)[1] / self.count

    def _offset(self, *, symmetrize: bool, center: bool) -> Array:
        """Return the mean of (x, y) as seen from the point about which moments are asked for, (2d,)."""
        d = self.dimension
        if not center:
            return self._origin + self._mean
        if not symmetrize:
            return np.zeros(2 * d)
        half = ((self._origin[:d] - self._origin[d:]) + (self._mean[:d] - self._mean[d:])) / 2
        return np.concatenate((half, -half))

    def _add(self, size: int, origin: Array, mean: Array, comoment: Array, third: Array, fourth: float) -> None:
        if not self.count:
            self.count, self._origin, self._mean, self._comoment = size, origin.copy(), mean.copy(), comoment.copy()
            self._third, self._fourth = third.copy(), fourth
            return
        total = self.count + size
        step = (origin - self._origin) + (mean - self._mean)
        mine = self._moved(step * (size / total))
        theirs = _moved(size, comoment, third, fourth, step * (-self.count / total))
        self._third, self._fourth = mine[0] + theirs[0], mine[1] + theirs[1]
        self._comoment += comoment
        self._comoment += np.outer(step, step) * (self.count * size / total)
        self._mean = self._mean + step * (size / total)
        self.count = total

    def _moved(self, step: Array) -> tuple[Array, float]:
        return _moved(self.count, self._comoment, self._third, self._fourth, step)


def _moved(size: int, comoment: Array, third: Array, fourth: float, step: Array) -> tuple[Array, float]:
    """Return the sums of ‖z−s‖²(z−s) and ‖z−s‖⁴ from those at s = 0, where z has the mean 0."""
    with np.errstate(all="ignore"):
        image, length, trace = comoment @ step, float(step @ step), float(np.trace(comoment))
        moved = third - trace * step - 2 * image - size * length * step
        power = fourth - 4 * float(step @ third) + 2 * length * trace + 4 * float(step @ image) + size * length**2
        return moved, power


def table(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
    """Return a matrix of real numbers, of ``shape`` if given, without a copy of an array; raise as ``matrix`` does.

    Whether the numbers are finite is left to whoever reads them, chunk by chunk.
    """
    found: NDArray[np.generic] = value if isinstance(value, np.ndarray) else real(name, value)
    fits = found.ndim == 2 and found.size > 0 and shape in (None, found.shape)
    return found if fits and found.dtype.kind in "fiub" else matrix(name, found, shape)


def gathered(x: ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]], y: ArrayLike | None = None) -> PairMoments:
    """Return the moments of two arrays of samples, (n, d), or without ``y`` of an iterable of batches (x, y).

    Raises
    ------
    InputError
        If the samples are not paired, not finite or fewer than two, or an array comes without its partner.
    """
    if y is not None:
        first = table("x", cast(ArrayLike, x))
        second = table("y", y, first.shape)
        if len(first) < 2:
            raise InputError("x", f"array of shape {first.shape}", "must have at least 2 samples")
        return PairMoments(first.shape[1]).update(first, second)
    if isinstance(x, np.ndarray) or not isinstance(x, Iterable):
        raise InputError("y", "None", "must be given unless x is an iterable of pairs of arrays")
    moments: PairMoments | None = None
    for batch in cast(Iterable[Any], x):
        try:
            first, second = batch
        except (TypeError, ValueError) as problem:
            raise InputError("x", type(batch).__name__, "must be a pair (x, y) of arrays in every batch") from problem
        first = table("x", first)
        moments = moments or PairMoments(first.shape[1])
        moments.update(first, second)
    if moments is None or moments.count < 2:
        raise InputError("x", f"{moments.count if moments else 0} samples", "must have at least 2 samples")
    return moments
