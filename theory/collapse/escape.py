"""Near the origin: conditional repulsion against unconditional, and the time it takes to leave (4.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

root_rate, start, floor = sp.symbols("a w_0 r", real=True)
"""√α, the size at which a mode starts, and a lower bound of its predictor."""

SIZE = alpha * w**2 + p**2
FLOW: Any = {w: p * (cross - variance * p) * w - eta * w, p: alpha * w**2 * (cross - variance * p) - eta * p}
SHRINKING = 4 * alpha * w**2 * p * (cross - variance * p) - 2 * eta * SIZE
CONTRAST = 4 * (cross * w - variance**2 * w**3) - eta * w
_SIGNS = (variance > 0, alpha > 0)

DECAYED = Assumption("decayed", r"there is weight decay, $\eta > 0$", Inequality(eta > 0))
NEAR = Assumption(
    "near",
    r"the mode is near collapse: $4\lambda^2 (\alpha w^2 + p^2) < \eta^2$",
    Inequality(4 * cross**2 * SIZE < eta**2),
)


def _near(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    decay, rate, sigma = draw.positive(), draw.positive(), draw.positive()
    both = decay * (1 + draw.positive())
    small = decay / (8 * both * (1 + rate))
    scalars = {
        eta: decay,
        alpha: rate,
        variance: sigma,
        cross: both,
        w: small * rng.choice((-1, 1)) / (1 + sigma),
        p: small * rng.choice((-1, 1)),
    }
    return Instance({}, {}, scalars)


CONDITIONAL = Theorem(
    name="origin-conditional",
    title="With weight decay collapse attracts every JEPA mode, and repels contrastive ones",
    chapter=4,
    statement=(
        r"With $\eta > 0$ the origin attracts a JEPA mode, balanced or not, whatever $\lambda$: inside the disc $\alpha w^2 + p^2 <"
        r" \eta^2/(4\lambda^2)$ this size decreases strictly, so the disc is part of the basin of collapse. A contrastive mode near"
        r" the origin grows whenever $4\lambda > \eta$: as long as $4\sigma^2 w^2 < 4\lambda - \eta$. This is the exact sense in"
        r" which the implicit uniformity is weaker: its repulsion is conditional on not having collapsed."
    ),
    assumptions=(DECAYED, NEAR),
    proof=(
        Step(
            ModeRate(SIZE, FLOW, SHRINKING),
            r"The prediction force moves encoder and predictor by $2\alpha w^2 p (\lambda - \sigma p)$ each; the rest is decay.",
        ),
        Step(
            Implication(alpha * w**2 <= SIZE, given=(alpha > 0,)),
            "Each part is at most the whole.",
        ),
        Step(
            Implication(
                2 * cross * p < eta,
                given=(alpha > 0,),
            ),
            r"In the disc $4\lambda^2 p^2 < \eta^2$.",
            uses=("decayed", "near"),
        ),
        Step(
            Implication(
                SHRINKING < 0,
                given=(*_SIGNS, 2 * cross * p < eta, SIZE > 0),
            ),
            r"So $4\alpha w^2 p\lambda < 2\eta\alpha w^2$, the term with $\sigma$ is not positive, and the decay wins.",
            uses=("decayed",),
            conclusion=True,
        ),
        Step(
            Implication(
                w * CONTRAST > 0,
                given=(variance > 0, sp.Ne(w, 0), 4 * variance**2 * w**2 < 4 * cross - eta),
            ),
            r"$w\dot w = w^2 (4\lambda - \eta - 4\sigma^2 w^2)$ for the spectral contrastive loss.",
            conclusion=True,
        ),
        Step(
            Implication(SHRINKING < 0, given=(*_SIGNS, sp.Ne(w, 0))),
            "In the disc, all of it together.",
            uses=("decayed", "near"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "from-everywhere",
            "quantifier",
            "claim that the size decreases everywhere, not only in the disc",
            Implication(SHRINKING < 0, given=(*_SIGNS, sp.Ne(w, 0))),
            uses=("decayed",),
        ),
        FalseSibling(
            "contrast-attracted",
            "sign",
            "claim that the contrastive mode shrinks too",
            Implication(
                w * CONTRAST < 0,
                given=(variance > 0, sp.Ne(w, 0), 4 * variance**2 * w**2 < 4 * cross - eta),
            ),
        ),
        FalseSibling(
            "disc-four-times-as-wide",
            "constant",
            r"claim it in the disc $\lambda^2(\alpha w^2 + p^2) < 4\eta^2$",
            Implication(SHRINKING < 0, given=(*_SIGNS, sp.Ne(w, 0), cross**2 * SIZE < 4 * eta**2)),
            uses=("decayed",),
        ),
    ),
    witnesses=(
        Witness(
            "decayed",
            Instance({}, {}, {eta: -1, alpha: 1, variance: 1, cross: 1, w: sp.Rational(1, 8), p: sp.Rational(1, 8)}),
        ),
        Witness(
            "near",
            Instance(
                {},
                {},
                {eta: sp.Rational(1, 8), alpha: 1, variance: 1, cross: 1, w: sp.Rational(1, 2), p: sp.Rational(1, 2)},
            ),
        ),
    ),
    instances=_near,
    sources=(Source("ours"), Source("tian2021", "Section 3", "the stable origin on the balanced line")),
    belief="Since it has not collapsed so far, a JEPA repels collapse.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.9 * np.eye(1)); near = 0.01 * np.eye(1)\n"
        "jepa = LinearJEPA(views, weight_decay=0.05).solve(near, near, [0.0, 400.0]).encoder[-1, 0, 0]\n"
        "contrast = SpectralContrastive(views, weight_decay=0.05).solve(near, [0.0, 400.0]).encoder[-1, 0, 0]\n"
        "assert abs(jepa) < 1e-6 and contrast > 0.9"
    ),
)

# -- times ----------------------------------------------------------------------------------------------------------------

BALANCED_FIELD = root_rate * cross * w**2 - root_rate**2 * variance * w**3
CONTRAST_FIELD = 4 * (cross * w - variance**2 * w**3)
_A, _B = root_rate * cross, root_rate**2 * variance
BALANCED_TIME = (1 / start - 1 / w) / _A + _B / _A**2 * (sp.log(w / (_A - _B * w)) - sp.log(start / (_A - _B * start)))
CONTRAST_TIME = (sp.log(w**2 / (cross - variance**2 * w**2)) - sp.log(start**2 / (cross - variance**2 * start**2))) / (
    8 * cross
)

HALF_WAY = Assumption(
    "half-way",
    r"the mode is at most half way, $2\sqrt\alpha\,\sigma w \le \lambda$",
    Inequality(2 * root_rate * variance * w <= cross),
)


def _half_way(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rate, sigma, both = draw.positive(), draw.positive(), draw.positive()
    weight = both / (2 * rate * sigma * (1 + draw.positive()))
    scalars = {root_rate: rate, alpha: rate * rate, variance: sigma, cross: both, w: weight, start: weight / 2}
    return Instance({}, {}, {**scalars, p: both / (4 * sigma), floor: both / (8 * sigma)})


_RATE = (root_rate > 0, variance > 0, w > 0)

ESCAPE_TIME = Theorem(
    name="escape-time",
    title="Leaving collapse takes a balanced JEPA a time inverse to the distance, contrast its logarithm",
    chapter=4,
    statement=(
        r"Without decay a balanced JEPA mode with $\lambda > 0$ obeys $\dot w = a\lambda w^2 - a^2\sigma w^3$ with $a ="
        r" \sqrt\alpha$, and reaches $w$ from $w_0$ in the time $\frac{1}{a\lambda}(\frac{1}{w_0} - \frac{1}{w})$ plus a logarithm;"
        r" half way to its equilibrium that is between one and two times $\frac{1}{a\lambda}(\frac{1}{w_0} - \frac1w)$. The"
        r" contrastive mode takes $\frac{1}{8\lambda} \ln(w_0^{-2})$ plus a constant. An unbalanced JEPA mode escapes like contrast:"
        r" as long as $r \le p \le \lambda/(2\sigma)$ with $r > 0$ its encoder grows at least at the rate $r\lambda/2$, to first"
        r" order at $p(0)(\lambda - \sigma p(0))$. Balance, which weight decay enforces, is what makes the origin sticky."
    ),
    assumptions=(HALF_WAY,),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(BALANCED_TIME, w), 1 / BALANCED_FIELD),
            r"Partial fractions of $1/(a\lambda w^2 - a^2\sigma w^3)$; the time is zero at $w = w_0$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(CONTRAST_TIME, w), 1 / CONTRAST_FIELD),
            r"The same for $4(\lambda w - \sigma^2 w^3)$: only a logarithm appears.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(root_rate * cross * w**2 >= BALANCED_FIELD, root_rate * cross * w**2 <= 2 * BALANCED_FIELD),
                given=_RATE,
            ),
            r"Up to half way the cubic term takes away at most half of the quadratic one, so that the time is between"
            r" $\int dw/(a\lambda w^2)$ and twice that.",
            uses=("half-way",),
            conclusion=True,
        ),
        Step(
            ModeRate(sp.log(w), {w: p * (cross - variance * p) * w}, p * (cross - variance * p), named=r"\log w"),
            r"Off balance the relative growth of the encoder depends on the predictor alone.",
        ),
        Step(
            Implication(
                2 * p * (cross - variance * p) >= floor * cross,
                given=(variance > 0, floor > 0, p >= floor, 2 * variance * p <= cross),
            ),
            r"For $r \le p \le \lambda/(2\sigma)$ it is at least $r\lambda/2$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "logarithm-only",
            "omission",
            "leave out the algebraic part of the time",
            ScalarIdentity(sp.Derivative(BALANCED_TIME - (1 / start - 1 / w) / _A, w), 1 / BALANCED_FIELD),
        ),
        FalseSibling(
            "four-lambda",
            "constant",
            r"divide the contrastive logarithm of squares by $4\lambda$",
            ScalarIdentity(sp.Derivative(2 * CONTRAST_TIME, w), 1 / CONTRAST_FIELD),
        ),
        FalseSibling(
            "all-the-way",
            "quantifier",
            "claim the factor two all the way to the equilibrium",
            Implication(root_rate * cross * w**2 <= 2 * BALANCED_FIELD, given=_RATE),
        ),
        FalseSibling(
            "sign-of-the-logarithm",
            "sign",
            "subtract the logarithm",
            ScalarIdentity(sp.Derivative(2 * (1 / start - 1 / w) / _A - BALANCED_TIME, w), 1 / BALANCED_FIELD),
        ),
    ),
    witnesses=(
        Witness(
            "half-way",
            Instance(
                {},
                {},
                {
                    root_rate: 1,
                    alpha: 1,
                    variance: 1,
                    cross: 1,
                    w: 2,
                    start: sp.Rational(1, 4),
                    p: sp.Rational(1, 4),
                    floor: sp.Rational(1, 4),
                },
            ),
        ),
    ),
    instances=_half_way,
    sources=(
        Source("littwin2024", "Theorem 4.5", "critical times from small balanced starts"),
        Source("simon2023", "", "contrastive times"),
        Source("ours", "", "the comparison and the unbalanced case"),
    ),
    belief="A small initialisation delays prediction and contrast alike.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)))\n"
        "t = (1 / 0.01 - 1 / 0.4) / 0.8 + (np.log(0.4 / 0.4) - np.log(0.01 / 0.79)) / 0.64  # a = 1, from 0.01 to half way\n"
        "assert np.isclose(jepa.solve(0.01 * np.eye(1), 0.01 * np.eye(1), [0.0, t]).encoder[-1, 0, 0], 0.4, rtol=1e-6)"
    ),
)

THEOREMS = (CONDITIONAL, ESCAPE_TIME)
