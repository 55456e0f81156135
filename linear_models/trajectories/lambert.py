"""The inverse functions of balanced trajectories: Lambert's W of arguments of either sign, in forms that lose no digit.

1/(1 + W(eˣ)) from a table and the derivatives that its own differential equation gives (`share`). And both real branches for
negative arguments as one smooth function, the solution v(z) of −ln(1−v) − v = z²/2 with the sign of z: 1−v = −W(−e^{−1−z²/2}), by W₀
for z > 0 and W₋₁ for z < 0; v is analytic in z across 0, where the branches meet, so a table of Taylor polynomials of v/z serves both.
Measured against 50 digits the relative error of either is at most 1e-15.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from jepalign.linear_models.trajectories.blocks import vectors
from jepalign.linear_models.trajectories.wright import wright

Array = NDArray[np.float64]

ARRIVED = 16.0  # from z = 9 on v = 1 to rounding, and v/z times this power of two is exactly 1
_LOW, _HIGH, _PER_UNIT, _TERMS = -32, int(ARRIVED), 256, 5
_FIRST, _LAST, _STEP = -38, 64, 1 / 256  # the table of `share`
_SHIFT = 1.5 * 2.0**52  # a number plus this has its nearest integer in its last bits
_BITS = int(np.float64(_SHIFT).view(np.int64))
_INNER = 0.5  # nodes closer to 0 than this take their polynomial from the series at 0


def quadratic_remainder(y: Array) -> Array:
    """Return (y − ln(1+y))/y² for y > −1, without cancellation: ½ at 0, never increasing."""
    small = np.abs(y) < 0.3
    some, every = small.any(), small.all()
    if not some:
        return (1 - np.log1p(y) / y) / y
    # ln(1+y) = 2 artanh r with r = y/(2+y); the terms that cancel are taken away by hand.
    r = y / (2 + y) if every else np.where(small, y / (2 + y), 0.0)
    square = r * r
    tail = square * (1 / 25)
    for order in range(23, 3, -2):
        tail += 1 / order
        tail *= square
    tail += 1 / 3
    rest = 1 - r
    tail *= r
    tail *= rest
    tail = 1 - tail
    tail *= rest
    tail *= 0.5
    if every:
        return tail
    other = np.where(small, 1.0, y)
    return np.where(small, tail, (1 - np.log1p(other) / other) / other)


def root_of_twice(v: Array) -> Array:
    """Return z with the sign of v and z²/2 = −ln(1−v) − v, for v < 1."""
    return v * np.sqrt(2 * quadratic_remainder(-v))


@cache
def _series(terms: int) -> Array:
    """Return the power series of v/z at 0, from vv' = z(1−v)."""
    c = np.zeros(terms + 2)
    c[1] = 1.0
    for n in range(2, terms + 2):
        # The coefficient of zⁿ: Σ k c_k c_{n+1−k} = −c_{n−1}, of which the ends give (n+1) c_n.
        inner = sum((n + 1 - k) * c[k] * c[n + 1 - k] for k in range(2, n))
        c[n] = (-c[n - 1] - inner) / (n + 1)
    return c[1:]


@cache
def _table() -> Array:
    """Return the Taylor coefficients of v/z in steps at the nodes, of shape (terms, nodes)."""
    z = np.arange(_LOW * _PER_UNIT, _HIGH * _PER_UNIT + 1) / _PER_UNIT
    far = np.where(np.abs(z) < _INNER, 1.0, z)
    half = far * far / 2
    # u − ln u = 1 + z²/2 by Newton's method in ln u for u < 1 and in u for u > 1.
    log = np.where(far > 0, -1 - half, np.log(2 + half))
    for _ in range(80):
        u = np.exp(log)
        residual = (u - 1 - log) - half
        step = np.where(far > 0, residual / (u - 1), residual / (u - 1))
        log = log - np.clip(step, -1, 1)
    c = np.zeros((_TERMS, z.size))
    c[0] = -np.expm1(log)
    for n in range(_TERMS - 1):  # vv' = z(1−v) at a node: c₀(n+1)c_{n+1} = [z(1−v)]_n − Σ k c_k c_{n+1−k}
        right = -far * c[n] + (far if n == 0 else 0.0) - (c[n - 1] if n else 0.0) + (1.0 if n == 1 else 0.0)
        inner = sum(((n + 1 - k) * c[k] * c[n + 1 - k] for k in range(1, n + 1)), np.zeros_like(z))
        c[n + 1] = (right - inner) / ((n + 1) * c[0])
    g = np.zeros_like(c)
    for n in range(_TERMS):
        g[n] = (c[n] - (g[n - 1] if n else 0.0)) / far
    series = _series(40)
    near = np.abs(z) < _INNER
    shifted = np.zeros((_TERMS, int(near.sum())))
    for coefficient in series[::-1]:  # synthetic division, all orders at once
        for n in range(_TERMS - 1, 0, -1):
            shifted[n] = shifted[n] * z[near] + shifted[n - 1]
        shifted[0] = shifted[0] * z[near] + coefficient
    g[:, near] = shifted
    return np.ascontiguousarray(g / float(_PER_UNIT) ** np.arange(_TERMS)[:, None])


def _within(x: Array, lowest: float, highest: float, first: float, last: float) -> Array:
    """Return the numbers held between two others, given their extremes; np.clip takes five times as long."""
    if lowest < first:
        x = np.maximum(x, first)
    return np.minimum(x, last) if highest > last else x


def _nearest(x: Array, per_unit: float, first: int, rows: int) -> tuple[NDArray[np.int64], Array, list[Array]]:
    """Return the places of the nodes nearest to x in a table from ``first`` on, the distances in steps, and other vectors."""
    index, (distance, node, *others) = vectors(x.shape, rows + 2)
    np.multiply(x, per_unit, out=distance)
    np.add(distance, _SHIFT, out=node)
    np.subtract(node.view(np.int64), _BITS + first * int(per_unit), out=index)
    node -= _SHIFT
    distance -= node
    return index, distance, [node, *others]


def ratio(z: Array) -> Array:
    """Return v(z)/z for any z, also ±∞ (where it is 0 and −∞)."""
    lowest, highest = (z.min(), z.max()) if z.size else (0, 0)
    inside = _within(z, lowest, highest, _LOW, _HIGH)
    index, place, (term,) = _nearest(inside, _PER_UNIT, _LOW, 0)
    g = _table()
    found = g[_TERMS - 1].take(index, mode="clip")
    for n in range(_TERMS - 2, -1, -1):
        found *= place
        found += g[n].take(index, out=term, mode="clip")
    if highest > _HIGH:
        high = z > _HIGH
        found[high] = 1 / z[high]
    if lowest < _LOW:
        low = z < _LOW
        found[low] = _far(z[low])
    return found


def _far(z: Array) -> Array:
    """Return v/z for z < −32 by u = 1−v, u − ln u = x = 1 + z²/2: asymptotic series, then a step of Newton's method."""
    bounded = np.maximum(z, -1e150)
    x = 1 + bounded * bounded / 2
    log = np.log(x)
    u = x + log + log / x * (1 + (2 - log) / (2 * x))
    u = u - ((u - x) - np.log(u)) / (1 - 1 / u)
    return np.where(z < -1e150, -z / 2, (1 - u) / bounded)


@cache
def _shares() -> Array:
    nodes = np.arange(_FIRST / _STEP, _LAST / _STEP + 1) * _STEP
    return 1 / (1 + wright(nodes))


def share(x: Array) -> Array:
    """Return q = 1/(1 + ω(x)) for the Wright function ω + ln ω = x: the falling solution of dq/dx = −q²(1−q).

    From the nearest node, d before it: 1/q, whose derivative is 1−q, by four terms of its Taylor series in d.
    """
    lowest, highest = (x.min(), x.max()) if x.size else (0, 0)
    if lowest > _LAST:
        return _far_share(x)
    # Before the first node q is 1 to rounding, and its polynomial too, however far away.
    inside = _within(x, lowest, highest, -1e9, _LAST)
    index, s, (q, term) = _nearest(inside, 1 / _STEP, _FIRST, 1)
    _shares().take(index, out=q, mode="clip")
    s *= _STEP
    s *= q
    # With s = qd: 1/q becomes 1/q · (1 + s(1−q)(1 + sq(1/2 − s((1/3 − q/2) − s(1/4 − 5q/6 + 5q²/8)))))
    found = q * (5 / 8)
    found -= 5 / 6
    found *= q
    found += 1 / 4
    found *= s
    np.multiply(q, 0.5, out=term)
    found += term
    found -= 1 / 3
    found *= s
    found += 0.5
    found *= s
    found *= q
    found += 1
    found *= s
    np.subtract(1, q, out=term)
    found *= term
    found += 1
    np.divide(q, found, out=found)
    if highest > _LAST:
        far = x > _LAST
        found[far] = _far_share(x[far])
    return found


def _far_share(x: Array) -> Array:
    """Return 1/(1 + ω) for x > 64: ω by its asymptotic series, then a step of Newton's method in ln ω."""
    bounded = np.minimum(x, 1e300)
    log, inverse = np.log(bounded), 1 / bounded
    omega = bounded - log + log * inverse * (1 + inverse * ((log - 2) / 2 + inverse * ((2 * log - 9) * log + 6) / 6))
    residual = (bounded - omega) - np.log(omega)
    omega += residual * omega / (1 + omega)
    return np.where(x == np.inf, 0.0, 1 / (1 + omega))
