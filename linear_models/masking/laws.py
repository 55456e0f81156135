"""Random masks over tokens, through the two moments that second-order views need: E m and E mmᵀ."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import count as integer
from jepalign.linear_models.checks import matrix, rate, real

Array = NDArray[np.float64]

# Moments of a mask lie in [0, 1]: beyond this they are wrong rather than rounded.
ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class MaskLaw:
    """A random mask m in {0, 1}ⁿ (1 is visible) given by its moments. Ours.

    Attributes
    ----------
    mean : ndarray of shape (n,)
        E m, the probability that a token is visible. Read-only.
    second : ndarray of shape (n, n)
        E mmᵀ, the probability that both of two tokens are visible. Read-only.

    Raises
    ------
    InputError
        If the moments are not finite, are outside [0, 1], disagree on the diagonal (m² = m), or if their covariance
        E mmᵀ − E m E mᵀ is not symmetric and positive semidefinite, beyond rounding of 1e-10.
    """

    mean: Array
    second: Array

    def __post_init__(self) -> None:
        mean = real("mean", self.mean).copy()
        if mean.ndim != 1 or mean.size == 0:
            raise InputError("mean", f"array of shape {mean.shape}", "must be a vector with at least one token")
        second = matrix("second", self.second, (len(mean), len(mean))).copy()
        for name, value in (("mean", mean), ("second", second)):
            if value.min() < -ROUNDING or value.max() > 1 + ROUNDING:
                raise InputError(name, "array with an entry outside [0, 1]", "must hold probabilities")
        if np.abs(np.diag(second) - mean).max() > ROUNDING:
            raise InputError("second", "matrix with another diagonal than the mean", "must have the mean as diagonal")
        if np.abs(second - second.T).max() > ROUNDING:
            raise InputError("second", "matrix that is not symmetric", "must be symmetric")
        if np.linalg.eigvalsh(second - np.outer(mean, mean))[0] < -ROUNDING * len(mean):
            raise InputError("second", "matrix below the square of the mean", "must be the moment of some mask")
        for name, value in (("mean", mean), ("second", second)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @classmethod
    def from_masks(cls, masks: ArrayLike) -> "MaskLaw":
        """Return the law that draws each row of ``masks``, (k, n) of zeros and ones, with equal probability."""
        drawn = matrix("masks", masks)
        if not np.isin(drawn, (0.0, 1.0)).all():
            raise InputError("masks", "array with other entries than 0 and 1", "must be masks")
        return cls(drawn.mean(axis=0), drawn.T @ drawn / len(drawn))


@dataclass(frozen=True)
class IndependentMasks:
    """Each of ``count`` tokens is visible with probability ``visible``, independently of the others.

    Raises
    ------
    InputError
        If ``count`` is not a positive integer or ``visible`` is not in [0, 1].
    """

    count: int
    visible: float

    def __post_init__(self) -> None:
        integer("count", self.count)
        if rate("visible", self.visible) > 1:
            raise InputError("visible", self.visible, "must be at most 1")

    @cached_property
    def mean(self) -> Array:
        """E m, (n,)."""
        return np.full(self.count, float(self.visible))

    @cached_property
    def second(self) -> Array:
        """E mmᵀ, (n, n): q on the diagonal and q² beside it."""
        q = float(self.visible)
        return np.full((self.count, self.count), q * q) + (q - q * q) * np.eye(self.count)


@dataclass(frozen=True)
class MultiBlockMasks:
    """Hide ``blocks`` blocks of ``length`` tokens, placed independently and uniformly; they may overlap.

    The context is what no block hides, as in I-JEPA (Assran et al. 2023) on a line of tokens. Two tokens are both
    visible if every block misses both, so that E mmᵀ is the ``blocks``-th power, entrywise, of that of one block.
    On a circle a block starts at any token; on a line only where it fits. Cost n³ for n tokens.

    Raises
    ------
    InputError
        If a number is not a positive integer or ``length`` exceeds ``count``.
    """

    count: int
    length: int
    blocks: int
    circular: bool = True

    def __post_init__(self) -> None:
        integer("count", self.count)
        integer("blocks", self.blocks)
        if integer("length", self.length) > self.count:
            raise InputError("length", self.length, f"must be at most the number of tokens, {self.count}")

    @cached_property
    def mean(self) -> Array:
        """E m, (n,)."""
        return np.diag(self.second).copy()

    @cached_property
    def second(self) -> Array:
        """E mmᵀ, (n, n)."""
        starts = np.arange(self.count if self.circular else self.count - self.length + 1)
        offset = (np.arange(self.count) - starts[:, None]) % self.count
        visible = (offset >= self.length).astype(float)
        return (visible.T @ visible / len(starts)) ** self.blocks  # counts before the division are exact


@dataclass(frozen=True)
class BlockMask(MultiBlockMasks):
    """Hide one block of ``length`` of ``count`` tokens, placed uniformly; all other tokens are visible.

    Raises as ``MultiBlockMasks`` does.
    """

    blocks: int = field(default=1, init=False)


def exponential_tokens(count: int, correlation: float, *, circular: bool = False) -> Array:
    """Return the covariance of ``count`` tokens of variance 1 with exponential correlation, (n, n).

    Entries are r^|i−j| on a line and (r^k + r^(n−k))/(1 + rⁿ) with k = |i−j| on a circle; r = 0 gives
    independent tokens.

    Raises
    ------
    InputError
        If ``count`` is not a positive integer or ``correlation`` is not in [0, 1).
    """
    n, r = integer("count", count), rate("correlation", correlation)
    if r >= 1:
        raise InputError("correlation", r, "must be below 1")
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    with np.errstate(under="ignore"):
        line = r**distance
        return (line + r ** (n - distance)) / (1 + r**n) if circular else line


Masks: TypeAlias = MaskLaw | IndependentMasks | MultiBlockMasks
