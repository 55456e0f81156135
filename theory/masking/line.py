"""A correlated sequence with ends, and why one hidden block is not enough in a long one (7.2)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq

from jepalign.theory.claims import Dominates, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import identity
from jepalign.theory.masking.hadamard import diagonal, mask, tokens
from jepalign.theory.proof import (
    Assumption,
    Equation,
    FalseSibling,
    Inequality,
    Semidefinite,
    Source,
    Step,
    Theorem,
    Witness,
)
from jepalign.theory.setting import Draw, cross, d, eta, variance

decay, cosine, before, here, after, outside, first, second = sp.symbols("r c v_- v v_+ v_0 v_1 v_2", real=True)

SCALE: Any = 1 - 2 * decay * cosine + decay**2
THETA: Any = (1 - decay**2) / SCALE

WAVE = Assumption(
    "wave",
    r"the mode is a wave, $v_{j+1} + v_{j-1} = 2 v_j \cos\varphi$ at every token",
    Equation(after, 2 * cosine * here - before),
)
WAVE_AT_END = Assumption(
    "wave-at-the-end",
    r"the first token included: $v_2 + v_0 = 2 v_1 \cos\varphi$",
    Equation(second, 2 * cosine * first - outside),
)
END = Assumption(
    "end",
    r"and beyond the end, where there is no token, it continues with $v_0 = r v_1$",
    Equation(outside, decay * first),
)


def _waves(rng: random.Random, _size: int) -> Instance:
    draw = Draw(rng)
    r, c = fmpq(rng.randint(1, 4), 5), fmpq(rng.randint(-4, 4), 5)
    previous, now, start = draw.number(), draw.positive(), draw.positive()
    scalars = {
        decay: r,
        cosine: c,
        before: previous,
        here: now,
        after: 2 * c * now - previous,
        outside: r * start,
        first: start,
        second: 2 * c * start - r * start,
    }
    return Instance(scalars=scalars)


def _fixed(rng: random.Random, size: int) -> Instance:
    """Let the wave vanish beyond the end."""
    instance = _waves(rng, size)
    return instance.with_(scalars={outside: 0, second: 2 * instance.scalars[cosine] * instance.scalars[first]})


def _still(**changes: Any) -> Instance:
    """Return r = ½, cos φ = 0 and v = 1 after 1, some letters changed."""
    letters = {"after": after, "second": second, "outside": outside}
    scalars = {decay: "1/2", cosine: 0, before: 1, here: 1, after: -1, outside: "1/2", first: 1, second: "-1/2"}
    return Instance(scalars=scalars | {letters[name]: value for name, value in changes.items()})


LINE_MODES = Theorem(
    name="masked-line",
    title="The modes of a correlated sequence with ends, masked or not",
    chapter=7,
    statement=(
        r"Let $n$ tokens on a line have correlation $r^{|i - j|}$. A wave of frequency $\varphi$ that continues beyond"
        r" both ends with $v_0 = r v_1$ and $v_{n+1} = r v_n$ is a mode, with $\theta = (1 - r^2)/(1 - 2r\cos\varphi +"
        r" r^2)$, the formula of the circle; only the frequencies differ. Under i.i.d. masks these remain the modes,"
        r" and $\lambda$, $\sigma$, $\rho$ and $\eta_c$ are those of masks that treat all pairs alike. A hidden block"
        r" on a line has no such modes: $\Sigma_{yx}$ is not symmetric, and what survives are left-invariant subspaces"
        r" of $S \bar D \Sigma_x^{-1}$, with either convention."
    ),
    assumptions=(WAVE, WAVE_AT_END, END),
    proof=(
        Step(
            ScalarIdentity((here - decay * after) / SCALE - decay * (before - decay * here) / SCALE, here),
            r"$a_i = \sum_{j \le i} r^{i-j} v_j$ obeys $a_i = r a_{i-1} + v_i$, and so does $(v_i - r v_{i+1})/(1 -"
            r" 2r\cos\varphi + r^2)$.",
            uses=("wave",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity((first - decay * second) / SCALE - first, decay * (outside - decay * first) / SCALE),
            r"At the first token the second expression differs from $a_1 = v_1$ by this,",
            uses=("wave-at-the-end",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(decay * (outside - decay * first) / SCALE, sp.Integer(0)),
            r"which vanishes by how the wave ends. By induction the two agree everywhere. From the other end $\sum_{j"
            r" \ge i} r^{j-i} v_j = (v_i - r v_{i-1})/(1 - 2r\cos\varphi + r^2)$ in the same way.",
            uses=("end",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity((here - decay * after) / SCALE + (here - decay * before) / SCALE - here, THETA * here),
            r"The two sums count $v_i$ twice: $S v = \theta v$.",
            uses=("wave",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "counted-twice",
            "omission",
            r"leave $v_i$ counted twice",
            ScalarIdentity((here - decay * after) / SCALE + (here - decay * before) / SCALE, THETA * here),
            uses=("wave",),
        ),
        FalseSibling(
            "fixed-ends",
            "quantifier",
            r"claim it for waves that end in any way",
            ScalarIdentity((first - decay * second) / SCALE - first, sp.Integer(0)),
            uses=("wave-at-the-end",),
            instances=_fixed,
        ),
        FalseSibling(
            "numerator",
            "sign",
            r"write $1 + r^2$ in the numerator",
            ScalarIdentity(
                (here - decay * after) / SCALE + (here - decay * before) / SCALE - here,
                (1 + decay**2) / SCALE * here,
            ),
            uses=("wave",),
        ),
    ),
    witnesses=(
        Witness("wave", _still(after=0)),
        Witness("wave-at-the-end", _still(second=0)),
        Witness("end", _still(outside=0, second=0)),
    ),
    instances=_waves,
    sources=(Source("ours", "", "the modes are classical, those of Kac, Murdock and Szegő"),),
    belief="A sequence with ends has the sines and cosines of the circle as modes.",
    example=(
        "import numpy as np\n"
        "n, r = 7, 0.6; S = r ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))); theta, modes = np.linalg.eigh(S)\n"
        "cosine = (1 + r**2 - (1 - r**2) / theta) / (2 * r); v = modes.T\n"
        "assert np.allclose(v[:, 2:] + v[:, :-2], 2 * cosine[:, None] * v[:, 1:-1])\n"
        "assert np.allclose(r * v[:, 0] + v[:, 1], 2 * cosine * v[:, 0])"
    ),
)

# -- long sequences -------------------------------------------------------------------------------------------------------

root: Any = sp.MatrixSymbol("L", d, d)
floor, coupling, count, visible = sp.symbols("theta_0 kappa n q", real=True)

HIDES = Assumption("hides", r"the mask hides or shows: $D^2 = D$", Equation(mask * mask, mask))
FLOOR = Assumption(
    "floor",
    r"no mode of the tokens has a variance below $\theta_0$: $S \succeq \theta_0 I$",
    Semidefinite(tokens - floor * identity(d), root, (tokens, root * root.T + floor * identity(d))),
)
COUPLED = Assumption(
    "coupled-at-the-ends",
    r"the hidden targets couple as one block does, $n|\lambda| \le \kappa$ (for exponential correlation $\kappa ="
    r" 2r/(1 - r)^2$)",
    Inequality(count**2 * cross**2 <= coupling**2),
)


def _long(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    half, low = draw.matrix(size, size), draw.positive()
    shared, total, rate = draw.positive(), fmpq(rng.randint(2, 9)), 1 / (1 + draw.positive())
    spread = low * rate + draw.positive()
    values = {
        root: half,
        tokens: half * half.transpose() + eye(size) * low,
        mask: diagonal([rng.randint(0, 1) for _ in range(size)]),
    }
    scalars = {
        floor: low,
        coupling: shared * total,
        count: total,
        cross: shared,
        visible: rate,
        variance: spread,
        eta: shared**2 / (4 * spread) / draw.positive() if size > 1 else shared**2 / (4 * spread),
    }
    return Instance({d: size}, values, scalars)


def _one(scalars: dict[Any, Any] | None = None, **changes: Any) -> Instance:
    letters = {"S": tokens, "D": mask, "L": root}
    values: dict[Any, Any] = {tokens: eye(1), mask: eye(1), root: matrix([[0]])}
    values |= {letters[name]: matrix([[value]]) for name, value in changes.items()}
    numbers = {floor: 1, coupling: 1, count: 1, cross: 1, visible: 1, variance: 1, eta: "1/4"}
    return Instance({d: 1}, values, {**numbers, **(scalars or {})})


_ALIVE = (eta > 0, visible > 0, floor > 0, variance >= floor * visible, cross**2 >= 4 * eta * variance)

LONG_SEQUENCES = Theorem(
    name="masked-long-sequence",
    title="In a long sequence one hidden block keeps no mode alive",
    chapter=7,
    statement=(
        r"If no mode of the tokens has less variance than $\theta_0$, then $\Sigma_x \succeq \theta_0\, \mathbb{E}\,"
        r" D$ for every mask: hiding tokens never empties a direction of the context. So $\sigma \ge \theta_0 q$ where"
        r" all tokens are visible with probability $q$. With hidden targets and one block, $n|\lambda| \le \kappa$ for"
        r" every mode; a mode can then be at rest away from 0, $\lambda^2 \ge 4\eta\sigma$, only if $n^2 \le"
        r" \kappa^2/(4\eta q\theta_0)$: for longer sequences none is, whatever the length of the block. Under i.i.d."
        r" masks $\lambda$ and $\sigma$ depend on $n$ through $\theta$ alone."
    ),
    assumptions=(HIDES, FLOOR, COUPLED),
    proof=(
        Step(
            Dominates(mask * tokens * mask, floor * mask, mask * root),
            r"$D S D - \theta_0 D = D (S - \theta_0 I) D$, as $D^2 = D$; take the mean over masks.",
            uses=("hides", "floor"),
            conclusion=True,
        ),
        Step(
            Implication(4 * eta * visible * floor * count**2 <= coupling**2, given=_ALIVE),
            r"$4\eta\theta_0 q\, n^2 \le 4\eta\sigma n^2 \le \lambda^2 n^2 \le \kappa^2$.",
            uses=("coupled-at-the-ends",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "floor-everywhere",
            "exchange",
            r"claim $\Sigma_x \succeq \theta_0 I$",
            Dominates(mask * tokens * mask, floor * identity(d), mask * root),
            uses=("hides", "floor"),
        ),
        FalseSibling(
            "twice-as-early",
            "constant",
            r"claim $8\eta$ for $4\eta$",
            Implication(8 * eta * visible * floor * count**2 <= coupling**2, given=_ALIVE),
            uses=("coupled-at-the-ends",),
        ),
        FalseSibling(
            "any-mask",
            "omission",
            "claim it for masks that couple everywhere",
            Implication(4 * eta * visible * floor * count**2 <= coupling**2, given=_ALIVE),
        ),
    ),
    witnesses=(
        Witness("hides", _one(D="1/2")),
        Witness("floor", _one(S="1/2")),
        Witness("coupled-at-the-ends", _one({count: 2})),
    ),
    instances=_long,
    sources=(Source("ours"),),
    belief="One large hidden block is the hardest target, so it keeps the most dimensions alive.",
    example=(
        "import numpy as np\n"
        "r, eta, alive = 0.7, 0.02, []\n"
        "for n in (16, 64, 256):\n"
        "    t = np.arange(n); s = (r**t + r ** (n - t)) / (1 + r**n); o = np.clip(n // 2 - t, 0, n) + np.clip(t - n // 2, 0, n)\n"
        "    coupling, seen = (np.fft.fft(x * s).real / n for x in (n // 2 - o, o)); alive.append(np.sum(coupling**2 > 4 * eta * seen))\n"
        "assert alive[0] > 0 and alive[2] == 0"
    ),
)

THEOREMS = (LINE_MODES, LONG_SEQUENCES)
