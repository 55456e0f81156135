"""Arguments turned into arrays and numbers, or refused in one line."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError

Array = NDArray[np.float64]


def real(name: str, value: ArrayLike) -> Array:
    """Return ``value`` as a float64 array, or raise ``InputError`` if it is not numeric, complex or not finite."""
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "fiub":
            raise InputError(name, f"array of {found.dtype}", "must hold real numbers")
        values = found.astype(np.float64)
    except (TypeError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(name, type(value).__name__, "must be an array of real numbers") from problem
    if not np.isfinite(values).all():
        raise InputError(name, "array with NaN or infinity", "must be finite")
    return values


def matrix(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> Array:
    """Return ``value`` as a finite, non-empty float64 matrix, of ``shape`` if given, or raise ``InputError``."""
    values = real(name, value)
    if values.ndim != 2 or values.size == 0:
        raise InputError(name, f"array of shape {values.shape}", "must be a matrix with at least one row and column")
    if shape is not None and values.shape != shape:
        raise InputError(name, f"array of shape {values.shape}", f"must have the shape {shape}")
    return values


def rate(name: str, value: float, *, positive: bool = False, infinite: bool = False) -> float:
    """Return a number at least 0 as a float (∞ only if ``infinite``, 0 unless ``positive``) or raise ``InputError``."""
    try:
        number = float(value)
    except (TypeError, ValueError) as problem:
        raise InputError(name, repr(value), "must be a number") from problem
    if not number >= 0 or (positive and number == 0):
        raise InputError(name, number, f"must be {'above' if positive else 'at least'} 0")
    if number == np.inf and not infinite:
        raise InputError(name, number, "must be finite")
    return number


def count(name: str, value: int, *, least: int = 1) -> int:
    """Return an integer at least ``least``, or raise ``InputError``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(name, repr(value), f"must be an integer, at least {least}")
    return int(value)
