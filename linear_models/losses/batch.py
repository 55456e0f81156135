"""What the sampled losses share: a value with its gradient, checked pairs of embeddings, and rows of unit length."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate

Array = NDArray[np.float64]

SIZE = 1e60  # of an entry at most, so that fourth powers summed over a batch stay finite
SCALE = 1e30  # of a temperature or another factor: between its inverse and it
ELEMENTS = 2**20  # of the largest temporary: 8 MB


class LossGradient(NamedTuple):
    """A loss of two batches of embeddings with its gradient.

    Attributes
    ----------
    value : float
        The loss.
    first, second : ndarray of shape (n, k)
        Its gradients with respect to z1 and to z2.
    """

    value: float
    first: Array
    second: Array


def pair(z1: ArrayLike, z2: ArrayLike, *, names: tuple[str, str] = ("z1", "z2"), least: int = 2) -> tuple[Array, Array]:
    """Return two batches of embeddings of one shape (n, k), n at least ``least``, or raise ``InputError``.

    Entries must not exceed 1e60 in size.
    """
    first = matrix(names[0], z1)
    second = matrix(names[1], z2, first.shape)
    if len(first) < least:
        raise InputError(names[0], f"array of shape {first.shape}", f"must have at least {least} samples")
    for name, values in zip(names, (first, second), strict=True):
        if np.abs(values).max() > SIZE:
            raise InputError(name, float(np.abs(values).max()), f"must not exceed {SIZE:g} in size")
    return first, second


def factor(name: str, value: float) -> float:
    """Return a number between 1e-30 and 1e30, or raise ``InputError``."""
    number = rate(name, value, positive=True)
    if not 1 / SCALE <= number <= SCALE:
        raise InputError(name, number, f"must be between {1 / SCALE:g} and {SCALE:g}")
    return number


def choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``InputError`` unless ``value`` is one of the choices."""
    known = tuple(choices)
    if value not in known:
        raise InputError(name, repr(value), f"must be one of {', '.join(known)}")


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of ``rows`` such that a block times ``columns`` stays a small array."""
    step = max(1, ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def unit_rows(name: str, values: Array) -> tuple[Array, Array]:
    """Return rows divided by their lengths and the lengths, (n, 1); a row shorter than 1e-60 raises ``InputError``."""
    largest = np.abs(values).max(axis=1, keepdims=True)
    if largest.min() < 1 / SIZE:
        raise InputError(name, f"row of size {largest.min():.3g}", f"must have rows of length at least {1 / SIZE:g}")
    # Divided twice: the squares of small entries would vanish.
    scaled = values / largest
    length = np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
    return scaled / length, largest * length


def through_unit_rows(gradient: Array, units: Array, lengths: Array) -> Array:
    """Return the gradient with respect to rows, given that with respect to the rows of unit length."""
    return (gradient - units * (gradient * units).sum(axis=1, keepdims=True)) / lengths


def centred(values: Array) -> Array:
    """Return the columns less their means.

    The mean is removed twice: the first leaves the rounding of the mean itself, large if the mean is.
    """
    once = values - values.mean(axis=0)
    return once - once.mean(axis=0)


def varies(name: str, values: Array, deviations: Array) -> None:
    """Raise ``InputError`` if a centred column is rounding of a constant one."""
    bound = 4 * np.finfo(np.float64).eps * np.abs(values).max(axis=0)
    still = np.flatnonzero(np.abs(deviations).max(axis=0) <= bound)
    if len(still):
        raise InputError(name, f"constant dimension {still[0]}", "must vary in every dimension")
