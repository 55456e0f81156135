"""Elementwise formulas in blocks that stay in the cache, with numbers that belong to a mode kept once a mode."""

import math
import threading
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.modal import elementwise

Array = NDArray[np.float64]

BLOCK = 32768  # elements: half a dozen such vectors fit the second-level cache, and calls cost little beside them
LITTLE = 4096  # elements that a fresh array holds without page faults
SHORTEST = 48  # a shorter last axis costs more in NumPy's outer loop than copying every argument does
STEPS = 40  # of an iteration at most; all converge in fewer than ten
_KEPT = threading.local()


def vectors(shape: tuple[int, ...], count: int) -> tuple[NDArray[np.int64], list[Array]]:
    """Return uninitialised integers and ``count`` ≤ 4 arrays of a shape: for a block always the same memory of the thread.

    They are for one function to work in, and nothing returned may share them: the next caller gets them again.
    """
    size = math.prod(shape)
    if size <= LITTLE:
        return np.empty(shape, dtype=np.int64), list(np.empty((count, *shape)))
    if size > BLOCK:
        return np.empty(shape, dtype=np.int64), [np.empty(shape) for _ in range(count)]
    if not hasattr(_KEPT, "memory"):
        _KEPT.memory = np.empty(BLOCK, dtype=np.int64), np.empty((4, BLOCK))
    whole, numbers = _KEPT.memory
    return whole[:size].reshape(shape), [row[:size].reshape(shape) for row in numbers[:count]]


def _slices(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Return slices of at most ``BLOCK`` elements, or of one row, that cover the shape in order."""
    inner, axis = 1, len(shape)
    while axis and inner * shape[axis - 1] <= BLOCK:
        axis -= 1
        inner *= shape[axis]
    whole = (slice(None),) * (len(shape) - axis)
    if not axis:
        yield whole
        return
    step = max(1, BLOCK // inner)
    for place in product(*(range(size) for size in shape[: axis - 1])):
        for first in range(0, shape[axis - 1], step):
            yield (*(slice(index, index + 1) for index in place), slice(first, first + step), *whole)


def _folded(value: Array, axes: int) -> Array:
    """Return a view of the same number of axes as the result, of length 1 where all entries are one number in memory."""
    view = value.reshape((1,) * (axes - value.ndim) + value.shape)
    return view[tuple(slice(0, 1) if step == 0 else slice(None) for step in view.strides)]


def blockwise(formula: Callable[..., tuple[Array, ...]], count: int, *given: Array) -> tuple[Array, ...]:
    """Return ``count`` arrays that ``formula`` makes of the broadcast arguments.

    As ``elementwise``, but ``formula`` gets arrays that still have to be broadcast: what depends on the mode alone is
    computed once a mode. It must not change them. Floating-point warnings are the caller's to turn off.
    """
    shape = np.broadcast(*given).shape
    size = math.prod(shape)
    if 0 < size <= BLOCK and {value.size for value in given} <= {1, size}:  # nothing has to be broadcast
        found = formula(*[value.reshape(-1) for value in given])
        return tuple([value.reshape(shape) for value in found])
    if not shape or not all(shape) or (len(shape) > 1 and shape[-1] < SHORTEST):
        return elementwise(formula, count, *given)
    folded = tuple(_folded(value, len(shape)) for value in given)
    results = tuple(np.empty(shape) for _ in range(count))
    for block in _slices(shape):
        parts = (
            value[tuple(slice(None) if size == 1 else part for size, part in zip(value.shape, block, strict=True))]
            for value in folded
        )
        for target, value in zip(results, formula(*parts), strict=True):
            target[block] = value
    return results


def refined(step: Callable[..., tuple[Array, NDArray[np.bool_]]], value: Array, *given: Array) -> Array:
    """Return ``value`` after steps of an iteration, ``step`` → (new value, what is not yet right), until all is right.

    The other arguments broadcast to ``value``. Once less than half is left, only that is computed.
    """
    for _ in range(STEPS):
        value, left = step(value, *given)
        count = int(np.count_nonzero(left))
        if not count:
            break
        if 2 * count < left.size:
            parts = (np.broadcast_to(other, value.shape)[left] for other in given)
            value[left] = refined(step, value[left], *parts)
            break
    return value
