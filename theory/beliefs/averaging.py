"""Two things said of the EMA target: that it supplies uniformity, and that it is inadequate."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, Rate, ScalarIdentity
from jepalign.theory.collapse.ema import (
    DOMINATED,
    ENERGY,
    FLOW,
    LOSS,
    SEMIDEFINITE,
    beta,
    exchangeable,
    one_mode,
    v,
)
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

_RANGES = (cross > 0, cross < variance, beta > 0)

SUPPLIES_UNIFORMITY = Theorem(
    name="ema-supplies-uniformity",
    title="The EMA target supplies the uniformity",
    chapter=8,
    statement=(
        r"It is widely said that the EMA target encoder, together with the predictor, exerts the implicit repulsion that keeps a"
        r" JEPA from collapsing."
    ),
    said=(
        Step(
            Implication(p * cross * (v - w) * w >= 0, given=(p > 0, cross > 0)),
            r"The average $v$ in place of the weight $w$ adds a force that never contracts.",
        ),
        Step(
            Implication(
                beta * w * (cross * v - variance * w) + cross * v * beta * (w - v) >= 0,
                given=_RANGES,
            ),
            r"An average is enough to keep embeddings spread: without a predictor their size,"
            r" $\frac{\beta}{2} w^2 + \frac{\lambda}{2} v^2$, does not decrease.",
        ),
    ),
    repair=(
        r"The EMA adds the force $-\beta^{-1} P^{\top} \dot V \Sigma_{yx}$: friction, which vanishes at every equilibrium."
        r" Without a predictor, on views of one covariance with $C \succeq 0$, $\frac{\beta}{2} \lVert W \rVert^2 + \frac12"
        r" \operatorname{tr} V C V^{\top}$ decreases at the rate $\beta [\operatorname{tr} (W-V) C (W-V)^{\top} +"
        r" \operatorname{tr} W (\Sigma - C) W^{\top} + \eta \lVert W \rVert^2]$: every dimension collapses, later for small"
        r" $\beta$. What repels is the predictor."
    ),
    assumptions=(SEMIDEFINITE, DOMINATED),
    proof=(
        Step(
            ScalarIdentity(
                p * (cross * v - p * variance * w),
                p * (cross * w - p * variance * w) - p * cross / beta * (beta * (w - v)),
            ),
            r"The force with the average is the force without it, less $p\lambda/\beta$ times the velocity $\dot v = \beta (w -"
            r" v)$ of the average, which is zero where everything is at rest.",
            conclusion=True,
        ),
        Step(
            Rate(ENERGY, FLOW, -beta * LOSS, named="U"),
            r"With $P = I$, $C = L L^{\top}$ and $\Sigma - C = F F^{\top}$ the energy's loss is a sum of squares; it vanishes only"
            r" with $W = 0$ if $\Sigma - C + \eta I \succ 0$.",
            uses=("semidefinite-cross", "dominated"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "grows",
            "sign",
            "claim that the energy grows at that rate",
            Rate(ENERGY, FLOW, beta * LOSS),
            uses=("semidefinite-cross", "dominated"),
        ),
        FalseSibling(
            "unweighted",
            "omission",
            r"leave out the rate $\beta$: claim that the average does not delay",
            Rate(ENERGY, FLOW, -LOSS),
            uses=("semidefinite-cross", "dominated"),
        ),
        FalseSibling(
            "friction-with-the-weight",
            "exchange",
            r"let the friction act with $\dot w$'s sign: add it instead of subtracting it",
            ScalarIdentity(
                p * (cross * v - p * variance * w),
                p * (cross * w - p * variance * w) + p * cross / beta * (beta * (w - v)),
            ),
        ),
    ),
    witnesses=(
        # C = −1: no root; the letter L then stands for anything, and the squares no longer add up.
        Witness("semidefinite-cross", one_mode(-1, 1, 1, 1)),
        # Σ_x < C, as for a target view twice as long (y = 2x): the loss changes sign.
        Witness("dominated", one_mode(4, 1, 2, 1)),
    ),
    instances=exchangeable,
    sources=(
        Source("ours", "", "the Lyapunov function"),
        Source("tian2021", "Theorem 2", "no predictor, no average"),
        Source("mo2024", "", "uses the average's limit; proves nothing about it"),
    ),
    kind="belief",
    belief="The average of the weights is itself a negative sample.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "field = lambda state: {'w': 0.9 * state['v'] - state['w'], 'v': 0.01 * (state['w'] - state['v'])}\n"
        "path = integrate(field, {'w': np.ones(()), 'v': np.ones(())}, [0.0, 20000.0])\n"
        "assert abs(path.states['w'][-1]) < 1e-6  # it takes long, and it collapses"
    ),
)

MOVING = Assumption("moving-target", r"the target follows the encoder at some rate, $\beta > 0$", Inequality(beta > 0))

equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns
_REST = (
    equation(p * (cross * v - p * variance * w), eta * w),
    equation(alpha * w * (cross * v - p * variance * w), eta * p),
    equation(beta * (w - v), 0),
)
_SIGNS = (variance > 0, alpha > 0, eta > 0)


def _resting(rng: random.Random, size: int) -> Instance:
    """Draw a mode at rest: p a root of σp² − λp + η, α = (p/w)², v = w."""
    draw = Draw(rng)
    root, other, sigma, weight = (draw.positive() for _ in range(4))
    scalars = {
        p: root,
        w: weight,
        v: weight,
        variance: sigma,
        cross: sigma * (root + other),
        eta: sigma * root * other,
        alpha: root * root / (weight * weight),
        beta: draw.positive(),
    }
    return Instance({}, {}, scalars)


INADEQUATE = Theorem(
    name="ema-is-inadequate",
    title="The EMA is inadequate to prevent collapse, so JEPA needs an explicit term",
    chapter=8,
    statement=(
        r"[@mo2024] say that the EMA of I-JEPA is inadequate to prevent entire collapse and add a VICReg term; the paper proves"
        r" neither half. As a claim about a JEPA with predictor, stop-gradient and EMA under weight decay: nothing but $w = 0$ is"
        r" at rest."
    ),
    said=(
        Step(
            Implication(sp.Eq(w, 0), given=(*_REST, *_SIGNS, beta > 0, cross > 0)),
            r"An encoder mode at rest, with its predictor and its average, has collapsed.",
        ),
    ),
    repair=(
        r"The EMA is neither adequate nor inadequate: it does not enter. For every rate $\beta > 0$ a mode can rest at $w \ne 0$"
        r" iff $\lambda^2 \ge 4\eta\sigma$, and then rests where a JEPA without EMA does, at the roots of $\sigma p^2 - \lambda p +"
        r" \eta = 0$ with $\alpha w^2 = p^2$; the origin attracts at every $\beta$, its linearisation being"
        r" $\operatorname{diag}(-\eta, -\eta)$ and $\dot v = \beta (w - v)$. An explicit term is needed exactly for the modes with"
        r" $\lambda^2 < 4\eta\sigma$, and for those that start below the smaller root. Only a frozen target, $\beta = 0$, is"
        r" different: it can hold any mode."
    ),
    assumptions=(MOVING,),
    proof=(
        Step(
            Implication(
                sp.And(equation(v, w), equation(alpha * w**2, p**2), equation(variance * p**2 - cross * p + eta, 0)),
                given=(*_REST, *_SIGNS, sp.Ne(w, 0)),
            ),
            r"At rest the average has caught up; the two remaining equations, multiplied by $\alpha w$ and $p$, differ by"
            r" $\eta (\alpha w^2 - p^2)$: the mode is balanced, and dividing by it leaves a quadratic without $\beta$.",
            uses=("moving-target",),
            conclusion=True,
        ),
        Step(
            Implication(cross**2 >= 4 * eta * variance, given=(*_REST, *_SIGNS, sp.Ne(w, 0))),
            "A real root needs a discriminant that is not negative.",
            uses=("moving-target",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(*_REST),
                given=(
                    *_SIGNS,
                    equation(variance * p**2 - cross * p + eta, 0),
                    equation(alpha * w**2, p**2),
                    equation(v, w),
                ),
            ),
            "Conversely each root, with the weight that balances it, is at rest.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "threshold-with-ema",
            "exchange",
            r"let the rate of the average enter the threshold: $\lambda^2 \ge 4(\eta + \beta)\sigma$",
            Implication(cross**2 >= 4 * (eta + beta) * variance, given=(*_REST, *_SIGNS, sp.Ne(w, 0))),
            uses=("moving-target",),
        ),
        FalseSibling(
            "strict",
            "quantifier",
            "claim that a mode rests only strictly above the threshold",
            Implication(cross**2 > 4 * eta * variance, given=(*_REST, *_SIGNS, sp.Ne(w, 0))),
            uses=("moving-target",),
        ),
        FalseSibling(
            "frozen-too",
            "omission",
            r"claim the threshold for a frozen target as well",
            Implication(cross**2 >= 4 * eta * variance, given=(*_REST, *_SIGNS, sp.Ne(w, 0))),
        ),
    ),
    witnesses=(
        Witness(
            "moving-target",
            Instance({}, {}, {beta: 0, w: 1, v: 2, p: 1, cross: 1, variance: 1, eta: 1, alpha: 1}),
        ),
    ),
    instances=_resting,
    sources=(
        Source("mo2024", "Section 3", "as it is said"),
        Source("tian2021", "(16)", "the quadratic, at fixed target"),
        Source("ours", "", "every rate, and the frozen target"),
    ),
    kind="belief",
    belief="A slower target makes a JEPA safer.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1))\n"
        "ends = [LinearJEPA(views, weight_decay=0.1, ema_rate=b).solve(0.7 * np.eye(1), 0.7 * np.eye(1), [0.0, 900.0])\n"
        "    .encoder[-1, 0, 0] for b in (0.1, 1.0, 10.0)]\n"
        "assert np.allclose(ends, (0.8 + np.sqrt(0.64 - 0.4)) / 2, atol=1e-6)"
    ),
)

THEOREMS = (SUPPLIES_UNIFORMITY, INADEQUATE)
