"""Second moments of pairs that arrive in batches, so that the samples never sit in memory together."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, matrix
from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]


class PairMoments:
    """Mergeable co-moments of pairs (x, y) of dimension d (Chan, Golub & LeVeque 1983).

    Means are kept relative to the first sample, so that a mean far above the standard deviation costs no digits.
    Memory is 4d² numbers.

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

    def update(self, x: ArrayLike, y: ArrayLike) -> Self:
        """Add a batch of pairs, both (n, d), and return self; raise ``InputError`` if it is not finite or paired."""
        first = matrix("x", x)
        if first.shape[1] != self.dimension:
            raise InputError("x", f"array of shape {first.shape}", f"must have {self.dimension} columns")
        batch = np.hstack((first, matrix("y", y, first.shape)))
        origin = self._origin if self.count else batch[0].copy()
        batch -= origin
        mean = batch.mean(axis=0)
        batch -= mean
        self._add(len(batch), origin, mean, batch.T @ batch)
        return self

    def merge(self, other: "PairMoments") -> Self:
        """Add all pairs of ``other`` and return self; raise ``InputError`` if its dimension differs."""
        if other.dimension != self.dimension:
            raise InputError("other", other.dimension, f"must have the dimension {self.dimension}")
        if other.count:
            self._add(other.count, other._origin, other._mean, other._comoment)
        return self

    def views(self) -> ViewPair:
        """Return the centred views, as means over n; raise ``InputError`` with fewer than 2 pairs."""
        if self.count < 2:
            raise InputError("count", self.count, "must be at least 2 samples")
        d = self.dimension
        joint = (self._comoment + self._comoment.T) / (2 * self.count)
        return ViewPair(joint[:d, :d], joint[d:, d:], joint[d:, :d])

    def _add(self, size: int, origin: Array, mean: Array, comoment: Array) -> None:
        if not self.count:
            self.count, self._origin, self._mean, self._comoment = size, origin.copy(), mean.copy(), comoment.copy()
            return
        total = self.count + size
        step = (origin - self._origin) + (mean - self._mean)
        self._comoment = self._comoment + comoment + np.outer(step, step) * (self.count * size / total)
        self._mean = self._mean + step * (size / total)
        self.count = total
