"""Arguments of the per-mode closed forms: the domain they state, and how they broadcast."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError

Array = NDArray[np.float64]

WEIGHT = 1e150  # sizes of weights: 0, or between its inverse and it
RATE = 1e30  # sizes of cross-covariances, variances, rates and decays
CHUNK = 16384  # larger temporaries cost page faults


def _real(name: str, value: ArrayLike) -> Array:
    """Return a copy of real numbers, of which some may be no number: who checks ranges sees them too."""
    try:
        found = np.asarray(value)
    except ValueError as problem:
        raise InputError(name, type(value).__name__, "must be an array of real numbers") from problem
    if found.dtype.kind not in "fiub":
        raise InputError(name, f"array of {found.dtype}", "must hold real numbers")
    return np.array(found, dtype=np.float64)


def _extremes(values: Array) -> tuple[float, float]:
    """Return the least and the greatest number: nan where any is nan or there is none, so that no range holds them."""
    if values.size == 1:  # a reduction costs twenty times as much
        return (number := values.item()), number
    if not values.size:
        return np.nan, np.nan
    return float(values.min()), float(values.max())


def _refuse_nan(name: str, values: Array) -> None:
    if np.isnan(values).any():
        raise InputError(name, "nan", "must be numbers")


def moments(times: ArrayLike) -> Array:
    """Return times, each at least 0 and possibly ∞, or raise ``InputError``."""
    values = _real("times", times)
    least = values.item() if values.size == 1 else values.min(initial=np.inf)
    if not least >= 0:
        _refuse_nan("times", values)
        raise InputError("times", float(least), "must be at least 0")
    return values


def sized(name: str, value: ArrayLike, bound: float, *, signed: bool = True, zero: bool = True) -> Array:
    """Return numbers that are 0 or between 1/bound and bound in size, or raise ``InputError``."""
    values = _real(name, value)
    low, high = _extremes(values)
    if 1 / bound <= low and high <= bound:
        return values
    if signed and -bound <= low and high <= -1 / bound:
        return values
    if zero and low == high == 0:
        return values
    _refuse_nan(name, values)
    size = np.abs(values)
    fine = (size <= bound) & (size >= 1 / bound)
    if zero:
        fine |= values == 0
    if not signed:
        fine &= values >= 0
    if not fine.all():
        kind = "" if signed else "positive, " if not zero else "at least 0, "
        empty = "0 or " if zero else ""
        worst = float(values[~fine].flat[0])
        raise InputError(name, worst, f"must be {kind}{empty}between {1 / bound:g} and {bound:g} in size")
    return values


def weights(name: str, value: ArrayLike) -> Array:
    """Return weights of either sign."""
    return sized(name, value, WEIGHT)


def cross_covariances(value: ArrayLike) -> Array:
    """Return values of ``cross`` of either sign."""
    return sized("cross", value, RATE)


def variances(value: ArrayLike) -> Array:
    """Return positive values of ``variance``."""
    return sized("variance", value, RATE, signed=False, zero=False)


def rates(name: str, value: ArrayLike, *, zero: bool) -> Array:
    """Return rates, positive or, where ``zero``, possibly 0."""
    return sized(name, value, RATE, signed=False, zero=zero)


def common_shape(**given: Array) -> tuple[int, ...]:
    """Return the shape all arguments broadcast to, or raise ``InputError``."""
    try:
        return np.broadcast(*given.values()).shape  # a fifth of what np.broadcast_shapes takes
    except ValueError as problem:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
        raise InputError("shapes", shapes, "must broadcast together") from problem


def select(where: NDArray[np.bool_], formula: Callable[..., Array], into: Array, *given: NDArray[Any]) -> None:
    """Write ``formula`` of the selected elements of ``given`` into ``into``; all of them without a copy."""
    if where.all():
        into[...] = formula(*given)
    elif where.any():
        into[where] = formula(*(np.broadcast_to(value, into.shape)[where] for value in given))


def elementwise(formula: Callable[..., tuple[Array, ...]], count: int, *given: Array) -> tuple[Array, ...]:
    """Return ``count`` arrays that ``formula`` makes of the broadcast arguments, in chunks that stay in the cache.

    ``formula`` gets vectors of one length and must not change them.
    """
    shape = np.broadcast_shapes(*(value.shape for value in given))
    results = tuple(np.empty(shape) for _ in range(count))
    flags = [["readonly"]] * len(given) + [["writeonly"]] * count
    with np.errstate(all="ignore"):  # what overflows or underflows in a branch not taken is overwritten
        chunks = np.nditer(
            (*given, *results),
            flags=["external_loop", "buffered", "zerosize_ok", "delay_bufalloc"],
            op_flags=flags,  # type: ignore[arg-type]
            buffersize=CHUNK,
            order="C",
        )
        with chunks:
            chunks.reset()
            if not all(shape):
                return results
            for operands in chunks:
                values = formula(*operands[: len(given)])
                for target, value in zip(operands[len(given) :], values, strict=True):
                    target[...] = value
    return results


def masked(
    where: NDArray[np.bool_], formula: Callable[..., tuple[Array, ...]], count: int, *given: Array
) -> tuple[Array, ...]:
    """Return what ``formula`` makes of the selected elements, with ones elsewhere."""
    if where.all():
        return formula(*given)
    results = tuple(np.ones(where.shape) for _ in range(count))
    if where.any():
        for target, value in zip(results, formula(*(value[where] for value in given)), strict=True):
            target[where] = value
    return results
