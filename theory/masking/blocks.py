"""Hidden blocks of tokens: one among exchangeable tokens, many at random places of a correlated sequence (7.1, 7.2)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw

phase, end, count, block, level = sp.symbols("omega Omega n b c", real=True)
"""e^{iφ} and its b-th power (in rational identities, which hold for complex values), tokens, hidden tokens, correlation."""

cosine, end_cosine, kernel = sp.symbols("C C_b F_b", real=True)


def _triangle(ratio: Any, power: Any) -> Any:
    """Return Σ_{0<t<b} (b − t) ratioᵗ, power = ratioᵇ."""
    return ratio * (block * (1 - ratio) - 1 + power) / (1 - ratio) ** 2


FEJER: Any = (1 - end) * (1 - 1 / end) / ((1 - phase) * (1 - 1 / phase))
HIDDEN: Any = (block * (1 - level) - (1 - level) * block - level * kernel) / count

RELATED = Assumption("positively-correlated", r"tokens are positively correlated: $c > 0$", Inequality(level > 0))
_MODE = (cosine < 1, end_cosine <= 1, sp.Eq(kernel * (1 - cosine), 1 - end_cosine))


def _exchangeable(rng: random.Random, size: int) -> Instance:
    """Draw the mode φ = π of an even circle, where the kernel is 1 or 0."""
    total, hidden = 2 * size + 2, rng.randint(1, size + 1)
    sign = (-1) ** hidden
    scalars = {
        phase: -1,
        end: sign,
        count: total,
        block: hidden,
        level: fmpq(rng.randint(1, 5), 6),
        cosine: -1,
        end_cosine: sign,
        kernel: fmpq(1 - sign, 2),
    }
    return Instance(scalars=scalars)


ONE_BLOCK = Theorem(
    name="masked-block-exchangeable",
    title="One hidden block of exchangeable tokens: every mode but the mean is anticorrelated",
    chapter=7,
    statement=(
        r"Let $n$ tokens on a circle have variance 1 and one correlation $c > 0$, and hide a block of $b < n$ at a"
        r" random place. With hidden targets the mean of the tokens has $\lambda = c\, b(n - b)/n$; at every other"
        r" frequency $\lambda = -\frac{c}{n} F_b \le 0$ and $\sigma = (1 - c)(1 - b/n) + \frac{c}{n} F_b$, with"
        r" Fejér's kernel $F_b = \frac{1 - \cos b\varphi}{1 - \cos \varphi}$. A contrastive loss keeps the mean alone."
        r" A JEPA keeps the modes with $\lambda^2 > 4\eta\sigma$ (4.3), but never those of a whole number of periods"
        r" in the block."
    ),
    assumptions=(RELATED,),
    proof=(
        Step(
            ScalarIdentity(block + _triangle(phase, end) + _triangle(1 / phase, 1 / end), FEJER),
            r"Of the $n$ places of the block, $o_t$ hide both of two tokens at distance $t$, and $\sum_t o_t"
            r" e^{it\varphi} = b + A_b(\omega) + A_b(1/\omega)$ with $A_b(z) = \sum_{0<t<b} (b - t) z^t$ (closed as in"
            r" the correlated case). This is $|1 + \omega + \dots + \omega^{b-1}|^2$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(FEJER * (2 - phase - 1 / phase), 2 - end - 1 / end),
            r"With $\omega + 1/\omega = 2\cos\varphi$ it is $(1 - \cos b\varphi)/(1 - \cos\varphi)$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(HIDDEN, -level * kernel / count),
            r"Off the mean $\theta = 1 - c$, and the overlaps weigh $S = (1 - c) I + c\, 1 1^{\top}$: $O = (1 - c) b +"
            r" c F_b$. So $\lambda = (b\theta - O)/n$.",
            conclusion=True,
        ),
        Step(
            Implication(-level * kernel <= 0, given=_MODE),
            r"The kernel is a square, and not negative.",
            uses=("positively-correlated",),
            conclusion=True,
        ),
        Step(
            Implication(level * block * (count - block) > 0, given=(block > 0, block < count)),
            r"On the mean $\theta = 1 + (n - 1)c$ and $O = b(1 - c) + c b^2$, as $\sum_t o_t = b^2$.",
            uses=("positively-correlated",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "kernel-without-square",
            "omission",
            r"leave out one of the two sums",
            ScalarIdentity(block + _triangle(phase, end), FEJER),
        ),
        FalseSibling(
            "positive",
            "sign",
            "claim a positive correlation off the mean",
            Implication(-level * kernel > 0, given=_MODE),
            uses=("positively-correlated",),
        ),
        FalseSibling(
            "any-correlation",
            "quantifier",
            "claim it for every correlation",
            Implication(-level * kernel <= 0, given=_MODE),
        ),
    ),
    witnesses=(
        Witness(
            "positively-correlated",
            Instance(
                scalars={
                    phase: -1,
                    end: -1,
                    count: 4,
                    block: 1,
                    level: "-1/6",
                    cosine: -1,
                    end_cosine: -1,
                    kernel: 1,
                }
            ),
        ),
    ),
    instances=_exchangeable,
    sources=(Source("ours"),),
    belief="Tokens that are all positively correlated give views that are positively correlated.",
    example=(
        "import numpy as np\n"
        "n, b, c = 12, 4, 0.5; S = c + (1 - c) * np.eye(n); m = np.array([np.roll(np.arange(n) >= b, i) for i in range(n)])\n"
        "values = np.linalg.eigvalsh((~m).astype(float).T @ m / n * S)\n"
        "assert np.isclose(values[-1], c * b * (n - b) / n) and np.all(values[:-1] < 1e-12)\n"
        "assert np.sum(np.abs(values) < 1e-12) == 3  # three frequencies with whole periods in the block"
    ),
)

# -- many blocks ----------------------------------------------------------------------------------------------------------

z, mirror, power, mirror_power, partial = sp.symbols("z z' Z Z' Y", real=True)
full, coupling = sp.symbols("lambda_f lambda_h", real=True)
gap, visible, decay, reach, shorter, excess = sp.symbols("g q r B y epsilon", real=True)
"""No block starts at a token with probability g; q = gᵇ; r; (gr)ᵇ; γ^(min(t, 2b)) and what is missing to γ^(2 min(t, b))."""


def _half(ratio: Any, ratio_power: Any) -> Any:
    """Return Σ_{t≥1} (1 − g^{min(t,b)}) ratioᵗ."""
    inside = gap * ratio * (1 - visible * ratio_power) / (1 - gap * ratio)
    return ratio / (1 - ratio) - inside - visible * ratio_power * ratio / (1 - ratio)


def _closed(ratio: Any, ratio_power: Any) -> Any:
    return ratio * (1 - gap) * (1 - visible * ratio_power) / ((1 - ratio) * (1 - gap * ratio))


THETA: Any = (1 - z * mirror) / ((1 - z) * (1 - mirror))
_UNIT = (decay > 0, decay < 1, gap >= 0, gap <= 1, reach >= 0, reach <= 1)
_AT_ONE = {gap: visible, power: z, mirror_power: mirror}


def _sequence(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    r, g, length = fmpq(rng.randint(1, 4), 5), 1 / (1 + draw.positive()), rng.randint(1, size + 1)
    ratio = r * rng.choice((-1, 1))
    total = draw.positive()
    scalars = {
        z: ratio,
        mirror: ratio,
        power: ratio**length,
        mirror_power: ratio**length,
        partial: (g * ratio) ** rng.randint(0, 3),
        gap: g,
        visible: g**length,
        decay: r,
        reach: (g * r) ** length,
        shorter: g ** rng.randint(0, 2),
        excess: g ** rng.randint(0, 2),
        full: total + draw.positive(),
        coupling: total,
    }
    return Instance(scalars=scalars)


MANY_BLOCKS = Theorem(
    name="masked-blocks",
    title="At one ratio, longer hidden blocks couple the views less: in proportion to their number",
    chapter=7,
    statement=(
        r"Take a stationary sequence with correlation $r^{|t|}$ and let a hidden block of length $b$ start at each"
        r" token with probability $1 - g$, independently; blocks may overlap. A token is visible with probability $q ="
        r" g^b$, two at distance $t$ with probability $g^{b + \min(t, b)}$. At the frequency $\varphi$, with $z = r"
        r" e^{i\varphi}$, hidden targets have $\lambda = 2q \operatorname{Re} \frac{(1 - g) z (1 - q z^b)}{(1 - z)(1 -"
        r" g z)}$, full ones $q\theta$, and $\sigma$ is the difference; $b = 1$ are i.i.d. masks. With hidden targets"
        r" $|\lambda| \le 2 q r (1 - g)/(1 - r)^2$, in proportion to the number of blocks; doubling $b$ at one $q$"
        r" weakens every entry of $\Sigma_{yx}$, and with them $\sum_\varphi \lambda^2$. Single modes may gain: i.i.d."
        r" masks lose those with $\theta = 1$. With full targets the threshold of a mode moves the way its hidden"
        r" $\lambda$ does."
    ),
    assumptions=(),
    proof=(
        Step(
            ScalarIdentity((1 - partial) / (1 - gap * z) + partial, (1 - partial * gap * z) / (1 - gap * z)),
            r"$\sum_{t<j} (gz)^t = (1 - (gz)^j)/(1 - gz)$ by induction, here with $Y = (gz)^j$; as $|z| < 1$ the sums"
            r" to infinity follow.",
        ),
        Step(
            ScalarIdentity(_half(z, power), _closed(z, power)),
            r"Hidden and visible at distance $t$: $q - g^{b + \min(t,b)} = q(1 - g^{\min(t,b)})$. The sum over $t \ge"
            r" 1$ has a part up to $b$, geometric in $gz$, and a rest, geometric in $z$ with the factor $g^b = q$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                visible * (_closed(z, power) + _closed(mirror, mirror_power)).subs(_AT_ONE),
                visible * (1 - visible) * (THETA - 1),
            ),
            r"$\lambda$ is $q$ times this sum and its conjugate. For $b = 1$, where $g = q$, it is that of i.i.d."
            r" masks.",
            conclusion=True,
        ),
        Step(
            Implication(
                decay * (1 - gap) * (1 - reach) * (1 - decay) <= decay * (1 - gap) * (1 - gap * decay),
                given=_UNIT,
            ),
            r"All entries are nonnegative, so that $|\lambda|$ is at most its value at $\varphi = 0$, where $z = r$;"
            r" and $1 - (gr)^b \le 1$, $1 - gr \ge 1 - r$.",
            conclusion=True,
        ),
        Step(
            Implication(
                1 - shorter <= 1 - shorter * excess,
                given=(shorter >= 0, shorter <= 1, excess >= 0, excess <= 1),
            ),
            r"Blocks twice as long at the same $q = g^b = \gamma^{2b}$ start with probability $1 - \gamma$. An entry"
            r" had $1 - \gamma^{2\min(t, b)}$ and has $1 - \gamma^{\min(t, 2b)}$; and $\min(t, 2b) \le 2\min(t, b)$."
            r" Here $y = \gamma^{\min(t, 2b)}$. By Parseval the squares of the entries add up to those of $\lambda$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(full**2 / (4 * (full - coupling)), coupling),
                full**2 / (4 * (full - coupling) ** 2),
            ),
            r"With full targets $\eta_c = \lambda_f^2/(4\sigma)$ with $\lambda_f = q\theta$, and $\sigma = \lambda_f -"
            r" \lambda_h$ with the hidden $\lambda_h$: the slope in $\lambda_h$ is positive.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "visible-once",
            "omission",
            r"let the rest of the sum lack its factor $g^b$",
            ScalarIdentity(_half(z, power) + visible * power * z / (1 - z) - power * z / (1 - z), _closed(z, power)),
        ),
        FalseSibling(
            "longer-is-stronger",
            "sign",
            "claim that longer blocks strengthen the entries",
            Implication(
                1 - shorter >= 1 - shorter * excess,
                given=(shorter >= 0, shorter <= 1, excess >= 0, excess <= 1),
            ),
        ),
        FalseSibling(
            "half-the-bound",
            "constant",
            "claim half the bound",
            Implication(
                2 * decay * (1 - gap) * (1 - reach) * (1 - decay) <= decay * (1 - gap) * (1 - gap * decay),
                given=_UNIT,
            ),
        ),
    ),
    witnesses=(),
    instances=_sequence,
    sources=(Source("ours"), Source("assran2023", "Section 3", "several blocks at random places")),
    belief="Predicting large blocks keeps more dimensions alive than predicting scattered tokens.",
    example=(
        "import numpy as np\n"
        "n, q, r = 400, 0.5, 0.7; t = np.minimum(np.arange(n), n - np.arange(n)); s = r**t\n"
        "power = [np.sum(np.fft.fft(q * (1 - q ** (np.minimum(t, b) / b)) * s).real ** 2) for b in (1, 2, 4, 8)]\n"
        "g, b = q**0.25, 4; z = r * np.exp(2j * np.pi * np.arange(n) / n); found = np.fft.fft(q * (1 - g ** np.minimum(t, b)) * s).real\n"
        "assert np.all(np.diff(power) < 0)\n"
        "assert np.allclose(found, 2 * q * np.real((1 - g) * z * (1 - q * z**b) / ((1 - z) * (1 - g * z))))"
    ),
)

THEOREMS = (ONE_BLOCK, MANY_BLOCKS)
