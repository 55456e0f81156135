"""Oracles in high precision: one-dimensional flows followed by their time function, and the condition number of a result."""

from collections.abc import Callable
from typing import Any

import mpmath as mp

UNIT = mp.mpf(2) ** -53
SMALLEST = 1e-300  # below it results lose digits to gradual underflow


def follow(time_of: Callable[[Any], Any], field: Callable[[Any], Any], start: Any, limit: Any, time: Any) -> Any:
    """Return x with time_of(x) − time_of(start) = time, for x between ``start`` and the ``limit`` of the flow ẋ = field(x).

    The unknown is y = ln(|x − start| / |x − limit|), which runs over all reals; Newton's method, guarded by bisection.
    """
    if time == 0 or start == limit:
        return start
    origin = time_of(start)

    def place(y: Any) -> Any:
        s = mp.exp(y)
        return (start + s * limit) / (1 + s)

    low, high = mp.mpf(-3000), mp.mpf(3000)
    if time_of(place(high)) - origin < time:
        return place(high)
    y = mp.mpf(0)
    for _ in range(400):
        x = place(y)
        passed = time_of(x) - origin
        if passed > time:
            high = y
        else:
            low = y
        # Newton's method on the logarithm of time, with dx/dy = (x − start)(limit − x)/(limit − start).
        slope = (x - start) * (limit - x) / (limit - start) / field(x) if field(x) else mp.mpf(0)
        step = passed * mp.log(passed / time) / slope if passed > 0 and slope > 0 and passed < mp.inf else mp.inf
        new = y - step
        if not low < new < high:
            new = (low + high) / 2
        if abs(new - y) < mp.mpf(10) ** (-42):
            return place(new)
        y = new
    raise AssertionError("no convergence")


def condition(solve: Callable[..., Any], given: tuple[Any, ...], value: Any) -> Any:
    """Return 1 + Σ |∂ ln value / ∂ ln argument|, by differences of relative size 1e-25 (the oracle has 40 digits)."""
    step = mp.mpf(10) ** -25
    total = mp.mpf(1)
    for index, argument in enumerate(given):
        moved = list(given)
        moved[index] = mp.mpf(argument) * (1 + step)
        total += abs((solve(*moved) - value) / (step * value))
    return total


def error_per_condition(found: float, solve: Callable[..., Any], *given: float) -> float:
    """Return the relative error of ``found`` divided by the condition number of the problem; 0 where both underflow."""
    with mp.workdps(60):
        exact = solve(*map(mp.mpf, given))
        if abs(exact) < SMALLEST:
            assert abs(found - float(exact)) < 1e-299
            return 0.0
        error = abs(mp.mpf(found) / exact - 1)
        if error < 8 * UNIT:
            return float(error)  # no condition number is below 1
        return float(error / condition(solve, tuple(map(mp.mpf, given)), exact))
