"""Where a sign decides an outcome: differences of products, and distances to the roots of a quadratic, in twice the precision."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    """Return x + y rounded, and its rounding error (Knuth)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def two_product(x: Array, y: Array) -> tuple[Array, Array]:
    """Return xy rounded, and its rounding error (Dekker, Veltkamp), for factors between 1e-140 and 1e290."""
    product = x * y
    high_x, high_y = x * 134217729.0, y * 134217729.0
    high_x, high_y = high_x - (high_x - x), high_y - (high_y - y)
    low_x, low_y = x - high_x, y - high_y
    return product, low_x * low_y - (((product - high_x * high_y) - low_x * high_y) - high_x * low_y)


def difference_of_products(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Return ab − cd, right to rounding and in sign."""
    first, first_rest = two_product(a, b)
    second, second_rest = two_product(c, d)
    total, rest = two_sum(first, -second)
    return total + (rest + (first_rest - second_rest))


def _refined_root(square: Array) -> tuple[Array, Array]:
    root = np.sqrt(square)
    product, rest = two_product(root, root)
    return root, ((square - product) - rest) / (2 * root)


def distances(
    weight: Array, rate: Array, cross: Array, variance: Array, decay: Array, root: Array, discriminant: Array
) -> tuple[Array, Array]:
    """Return p − p₋ and p − p₊ for p = √rate · weight, where p∓ are the roots of σp² − λp + η and ``root`` is √(λ² − 4ησ).

    The larger distance is (2σp − λ ± root)/(2σ) without cancellation, the smaller follows from the value of the quadratic.
    """
    speed, speed_rest = _refined_root(rate)
    p, p_rest = two_product(speed, weight)
    p_rest = p_rest + speed_rest * weight
    product, product_rest = two_product(2 * variance, p)
    middle, middle_rest = two_sum(product, -cross)
    middle_rest = middle_rest + (product_rest + 2 * variance * p_rest)
    above = middle + middle_rest > 0
    larger = (np.abs(middle + middle_rest) + root) / (2 * variance)
    # σp² − λp + η = p(σp − λ) + η
    factor, factor_rest = two_sum(product / 2, -cross)
    factor_rest = factor_rest + (product_rest / 2 + variance * p_rest)
    value, value_rest = two_product(p, factor)
    value_rest = value_rest + (p * factor_rest + p_rest * factor)
    total, total_rest = two_sum(value, decay)
    quadratic = total + (total_rest + value_rest)
    far = np.abs(middle) > 2 * cross
    smaller = np.where(far, (np.abs(middle) - root) / (2 * variance), quadratic / (variance * larger))
    smaller = np.where(discriminant == 0, larger, smaller)
    return np.where(above, larger, -smaller), np.where(above, smaller, -larger)
