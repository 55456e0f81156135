"""Blocks of hidden tokens in a correlated sequence: every mode in closed form (7.2)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness

z, mirror, count, block = sp.symbols("z z' n b", real=True)
"""r e^{iφ} and its conjugate (identities in them are rational, so they hold for complex values), tokens, hidden tokens."""

wrap, power, mirror_power, partial, turn = sp.symbols("N Z Z' Y omega_n", real=True)
"""rⁿ, the b-th powers of z and of its conjugate, a j-th power, and e^{inφ}."""

inner, mirror_inner, edge, mirror_edge = sp.symbols("a a' h h'", real=True)
"""(z − N)/(1 − z) and z(1 − z^b)(1 − z^(n−b))/(1 − z)², and the same with the conjugate of z."""

left_reach, right_reach, decay = sp.symbols("B B' r", real=True)
"""r^b, r^(n−b) and r."""

ON_THE_CIRCLE = Assumption(
    "on-the-circle",
    r"the mode is one of a circle of $n$ tokens, $e^{i n \varphi} = 1$, so that $z^n = r^n = N$",
    Equation(turn, sp.Integer(1)),
)


def _geometric(ratio: Any, end: Any) -> Any:
    """Return Σ_{i<j} ratioⁱ, end = ratioʲ."""
    return (1 - end) / (1 - ratio)


def _triangle(ratio: Any, end: Any, length: Any) -> Any:
    """Return Σ_{0<t<b} (b − t) ratioᵗ, end = ratioᵇ."""
    return ratio * (length * (1 - ratio) - 1 + end) / (1 - ratio) ** 2


def _inverse_triangle(ratio: Any, end: Any, length: Any) -> Any:
    """Return the same sum at 1/ratio."""
    return (ratio * (1 - end) / end - length * (1 - ratio)) / (1 - ratio) ** 2


THETA: Any = (1 - wrap) * (1 - z * mirror) / ((1 + wrap) * (1 - z) * (1 - mirror))


def _inner(ratio: Any) -> Any:
    """Return (1 + N)(θ − 1), the half that belongs to this ratio."""
    return (ratio - wrap) / (1 - ratio)


def _edge(ratio: Any, end: Any) -> Any:
    return ratio * (1 - end) * (1 - wrap * turn / end) / (1 - ratio) ** 2


VARIANCE: Any = 1 + (inner + mirror_inner) / (1 + wrap)
OVERLAP: Any = block + (block * inner - edge + block * mirror_inner - mirror_edge) / (1 + wrap)
HIDDEN: Any = (edge + mirror_edge) / (count * (1 + wrap))
FLAT: Any = 2 * decay * (1 - left_reach) * (1 - right_reach)
FLAT_SCALE: Any = (1 + left_reach * right_reach) * (1 - decay) ** 2


def _circle(rng: random.Random, size: int) -> Instance:
    """Draw the mode φ = π (φ = 0 at odd sizes) of a circle of n tokens, with its powers."""
    r = fmpq(rng.randint(1, 4), 5)
    turn_by = -1 if size % 2 == 0 else 1
    total, hidden, steps = 2 * size + 2, rng.randint(1, size + 1), rng.randint(0, 3)
    ratio = r * turn_by
    scalars = {
        z: ratio,
        mirror: ratio,
        count: total,
        block: hidden,
        wrap: r**total,
        power: ratio**hidden,
        mirror_power: ratio**hidden,
        partial: ratio**steps,
        turn: 1,
        left_reach: r**hidden,
        right_reach: r ** (total - hidden),
        decay: r,
    }
    half = (
        (ratio - r**total) / (1 - ratio),
        ratio * (1 - ratio**hidden) * (1 - ratio ** (total - hidden)) / (1 - ratio) ** 2,
    )
    scalars |= {inner: half[0], mirror_inner: half[0], edge: half[1], mirror_edge: half[1]}
    return Instance(scalars=scalars)


_HALF: dict[Any, Any] = {
    z: "1/2",
    mirror: "1/2",
    count: 4,
    block: 1,
    wrap: "1/16",
    power: "1/2",
    mirror_power: "1/2",
    partial: "1/2",
    turn: 1,
    left_reach: "1/2",
    right_reach: "1/8",
    decay: "1/2",
    inner: "7/8",
    mirror_inner: "7/8",
    edge: "7/8",
    mirror_edge: "7/8",
}
_RANGES = (decay > 0, decay < 1, left_reach >= 0, left_reach <= 1, right_reach >= 0, right_reach <= 1)

MASKED_CORRELATION = Theorem(
    name="masked-correlation",
    title="Hiding one block of a correlated sequence couples the views at the block's two ends only",
    chapter=7,
    statement=(
        r"Take $n$ tokens on a circle with correlation $(r^t + r^{n-t})/(1 + r^n)$ at distance $t$, $0 < r < 1$, and"
        r" hide a block of $b$ tokens at a random place. All second moments are circulant. At the frequency $\varphi$,"
        r" with $z = r e^{i\varphi}$, the tokens have $\theta = \frac{1 - r^n}{1 + r^n} \cdot \frac{1 - r^2}{1 -"
        r" 2r\cos\varphi + r^2}$. With hidden targets $\lambda = \frac{2}{n(1 + r^n)} \operatorname{Re} \frac{z(1 -"
        r" z^b)(1 - z^{n-b})}{(1 - z)^2}$, with full ones $\lambda = (1 - b/n)\theta$; $\sigma$ is their difference;"
        r" $\rho = \lambda/\sigma$ and $\eta_c = \lambda^2/(4\sigma)$ follow. With hidden targets $|\lambda| \le"
        r" 2r/(n(1-r)^2)$ at every frequency and for every length of the block, where i.i.d. masks have $q(1 -"
        r" q)|\theta - 1|$ whatever $n$: as sequences grow, one block keeps no mode alive at a fixed decay, scattered"
        r" patches do."
    ),
    assumptions=(ON_THE_CIRCLE,),
    proof=(
        Step(
            ScalarIdentity(_geometric(z, partial) + partial, _geometric(z, partial * z)),
            r"$\sum_{i<j} z^i = (1 - z^j)/(1 - z)$ by induction over $j$, here with $Y = z^j$. Rational identities"
            r" hold for complex $z$ as for real.",
        ),
        Step(
            ScalarIdentity((_geometric(z, wrap * turn) + mirror * _geometric(mirror, wrap / turn)) / (1 + wrap), THETA),
            r"The eigenvalue of a circulant matrix is $\sum_t s_t e^{it\varphi}$. The part with $r^t$ is a geometric"
            r" sum in $z$, the part with $r^{n-t}$ one in $\bar z = r e^{-i\varphi}$ (here $z'$), run backwards; both"
            r" close because $z^n = r^n$.",
            uses=("on-the-circle",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                _triangle(z, partial * z, block + 1) - _triangle(z, partial, block), z * _geometric(z, partial)
            ),
            r"$A_b(z) = \sum_{0<t<b} (b - t) z^t = z\,(b(1 - z) - 1 + z^b)/(1 - z)^2$ by induction over $b$: $A_{b+1}"
            r" - A_b = \sum_{t=1}^{b} z^t$, with $Y = z^b$, and $A_1 = 0$.",
        ),
        Step(
            ScalarIdentity(_triangle(z, z, sp.Integer(1)), sp.Integer(0)),
            r"The start of the induction.",
        ),
        Step(
            ScalarIdentity(_inverse_triangle(z, power, block), _triangle(1 / z, 1 / power, block)),
            r"The same sum at $1/z$.",
        ),
        Step(
            ScalarIdentity(1 + (_inner(z) + _inner(mirror)) / (1 + wrap), THETA),
            r"The same eigenvalue as a sum over the two ratios: $\theta = 1 + (a + a')/(1 + N)$ with $a = (z - N)/(1 -"
            r" z)$ and $a'$ likewise with $\bar z$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                block * _inner(z) - _triangle(z, power, block) - wrap * _inverse_triangle(z, power, block),
                _edge(z, power),
            ),
            r"Of the $n$ places of the block, $o_t = (b - t)^+ + (b - n + t)^+$ hide both of two tokens at distance $t"
            r" > 0$ ($o_0 = b$). So $O = \sum_t o_t s_t e^{it\varphi}$ is $b$ and four sums $A_b$ over $1 + N$: at $z$"
            r" and $\bar z$ and, with weight $N$, at their inverses. The two of $z$ are $b a - h$ with $h = z(1 -"
            r" z^b)(1 - z^{n-b})/(1 - z)^2$, as $N z^{-b} = z^{n-b}$.",
            uses=("on-the-circle",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity((block * VARIANCE - OVERLAP) / count, HIDDEN),
            r"$b - o_t$ places hide only the first of the two: $\lambda = \frac1n \sum_t (b - o_t) s_t e^{it\varphi} ="
            r" (b\theta - O)/n$, and the terms with the factor $b$ cancel. $h$ and $h'$ are conjugate: their sum is $2"
            r" \operatorname{Re} h$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(((count - 2 * block) * VARIANCE + OVERLAP) / count, (1 - block / count) * VARIANCE - HIDDEN),
            r"Both of two tokens are visible from $n - 2b + o_t$ places: this is $\sigma$, the difference of the two"
            r" $\lambda$.",
            conclusion=True,
        ),
        Step(
            Implication(2 * decay * FLAT_SCALE >= FLAT * (1 - decay) ** 2, given=_RANGES),
            r"All $(b - o_t) s_t$ are nonnegative, so $|\lambda|$ is at most its value at $\varphi = 0$, which is"
            r" $\frac{2r(1 - r^b)(1 - r^{n-b})}{n(1 + r^n)(1 - r)^2}$; and $(1 - B)(1 - B') \le 1 + BB'$ for $B = r^b$"
            r" and $B' = r^{n-b}$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "one-end",
            "omission",
            r"count one end of the block: leave out $1 - z^{n-b}$",
            ScalarIdentity(
                block * _inner(z) - _triangle(z, power, block) - wrap * _inverse_triangle(z, power, block),
                z * (1 - power) / (1 - z) ** 2,
            ),
            uses=("on-the-circle",),
        ),
        FalseSibling(
            "other-sign",
            "sign",
            r"exchange hidden and common places: $\lambda = (O - b\theta)/n$",
            ScalarIdentity((OVERLAP - block * VARIANCE) / count, HIDDEN),
        ),
        FalseSibling(
            "twice-the-block",
            "constant",
            r"let two tokens both be visible from $n - b + o_t$ places",
            ScalarIdentity(((count - block) * VARIANCE + OVERLAP) / count, (1 - block / count) * VARIANCE - HIDDEN),
        ),
        FalseSibling(
            "half-the-bound",
            "quantifier",
            r"claim half the bound for all lengths of the block",
            Implication(decay * FLAT_SCALE >= FLAT * (1 - decay) ** 2, given=_RANGES),
        ),
    ),
    witnesses=(Witness("on-the-circle", Instance(scalars={**_HALF, turn: 2})),),
    instances=_circle,
    sources=(Source("ours"),),
    belief="A larger hidden block makes prediction harder, so it teaches the encoder more dimensions.",
    example=(
        "import numpy as np\n"
        "n, b, r = 16, 5, 0.8; t = np.arange(n); s = (r**t + r ** (n - t)) / (1 + r**n); z = r * np.exp(2j * np.pi * t / n)\n"
        "m = np.array([np.roll(np.r_[np.zeros(b), np.ones(n - b)], i) for i in t])\n"
        "hidden = np.fft.fft(((1 - m).T @ m / n)[0] * s).real\n"
        "formula = 2 * np.real(z * (1 - z**b) * (1 - z ** (n - b)) / (1 - z) ** 2) / (n * (1 + r**n))\n"
        "assert np.allclose(hidden, formula) and np.abs(hidden).max() < 2 * r / (n * (1 - r) ** 2)"
    ),
)

THEOREMS = (MASKED_CORRELATION,)
