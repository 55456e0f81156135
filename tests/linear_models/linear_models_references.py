"""Gradients to fifty digits from losses written down in mpmath, for tests of gradients written by hand."""

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np


def matrix_of(value: Any) -> Any:
    """Return an array as an mpmath matrix, exactly."""
    return mp.matrix(np.asarray(value, dtype=float).tolist())


def mp_gradient(loss: Callable[[Any], Any], at: Any) -> np.ndarray:
    """Return the gradient at a matrix by central differences with 60 digits and a step of 1e-20: right to 1e-38."""
    found = np.empty(np.shape(at))
    with mp.workdps(60):
        W, h = matrix_of(at), mp.mpf(10) ** -20
        for index in np.ndindex(*found.shape):
            values: list[Any] = []
            for sign in (1, -1):
                moved = W.copy()
                moved[index] += sign * h
                values.append(loss(moved))
            found[index] = float((values[0] - values[1]) / (2 * h))
    return found
