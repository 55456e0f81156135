"""Away from balance, without decay: what decides survival is the sign and size of one constant (4.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

target, imbalance, root = sp.symbols("v c r", real=True)

CONSERVED = Assumption(
    "imbalance", r"$c = p^2 - \alpha w^2$ names the conserved imbalance", Equation(imbalance, p**2 - alpha * w**2)
)
UNDECAYED = Assumption("undecayed", r"there is no weight decay, $\eta = 0$", Equation(eta, sp.S.Zero))
POSITIVE = Assumption("positive", r"the mode is positively correlated, $\lambda > 0$", Inequality(cross > 0))

FLOW: Any = {
    p: alpha * w * (cross * target - variance * p * w) - eta * p,
    w: p * (cross * target - variance * p * w) - eta * w,
}
GROWTH = (p**2 - imbalance) * (cross - variance * p)


def _free(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rate, at, weight, sigma = draw.positive(), draw.number(), draw.positive(), draw.positive()
    constant = at * at - rate * weight * weight
    scalars = {
        alpha: rate,
        p: at,
        w: weight,
        variance: sigma,
        cross: draw.positive(),
        target: draw.number(),
        imbalance: constant,
        eta: 0,
        root: abs(at) / 2,
    }
    # c is a square when w² = (p² − r²)/α; draw it so in half the cases.
    if at != 0 and rng.random() < 0.6:
        scalars[alpha] = 3 * at * at / (4 * weight * weight)
        scalars[imbalance] = at * at / 4
    return Instance({}, {}, scalars)


_SIGNS = (variance > 0, alpha > 0)
_SQUARE = (*_SIGNS, root >= 0, sp.Eq(imbalance, root**2))

OFF_BALANCE = Theorem(
    name="off-balance-basin",
    title="Off balance a mode survives iff its conserved imbalance is negative, or small with a positive predictor",
    chapter=4,
    statement=(
        r"Without decay $c = p^2 - \alpha w^2$ is conserved for any target, EMA or not. With $V = W$, $\dot p = (p^2 - c)(\lambda -"
        r" \sigma p)$. For $\lambda > 0$, $\rho = \lambda/\sigma$, a mode with $w(0) \ne 0$ survives iff $c < 0$, or $0 \le c <"
        r" \rho^2$ and $p(0) > 0$, and then $w_\infty^2 = (\rho^2 - c)/\alpha$. For $c < 0$ it cannot even come near collapse:"
        r" $\alpha w^2 \ge -c$ at all times, whatever the target. The level does not depend on the EMA's rate; nor does, by a"
        r" result of its own, the basin."
    ),
    assumptions=(CONSERVED, UNDECAYED, POSITIVE),
    proof=(
        Step(
            ModeRate(p**2 - alpha * w**2, FLOW, sp.S.Zero),
            r"Both rates are $2\alpha w p (\lambda v - \sigma p w)$: the target $v$ enters both alike.",
            uses=("undecayed",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (alpha * w * (cross * w - variance * p * w) - eta * p),
                (p**2 - (p**2 - alpha * w**2)) * (cross - variance * p),
            ),
            r"With $v = w$ the predictor obeys an equation of its own, $\alpha w^2 = p^2 - c$.",
            uses=("undecayed",),
            conclusion=True,
        ),
        Step(
            Implication(alpha * w**2 >= -imbalance, given=_SIGNS),
            r"$\alpha w^2 = p^2 - c \ge -c$.",
            uses=("imbalance",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    sp.Equivalent(GROWTH > 0, variance * p < cross), sp.Equivalent(GROWTH < 0, variance * p > cross)
                ),
                given=(*_SIGNS, imbalance < 0),
            ),
            r"For $c < 0$ the factor $p^2 - c$ is positive: from everywhere $p$ runs to $\rho$.",
        ),
        Step(
            Implication(
                sp.And(
                    sp.Equivalent(GROWTH > 0, variance * p < cross), sp.Equivalent(GROWTH < 0, variance * p > cross)
                ),
                given=(*_SQUARE, p > root),
            ),
            r"For $c = r^2$ and $p > r$ likewise: $p$ runs to $\rho$ if $\rho > r$, and down to $r$, where $w = 0$, if not.",
            uses=("positive",),
        ),
        Step(
            Implication(GROWTH > 0, given=(*_SQUARE, p < -root)),
            r"For $p < -r$ it rises to $-r$, where $w = 0$ again: a predictor of the wrong sign cannot cross $w = 0$.",
            uses=("positive",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (p**2 - imbalance).subs(p, cross / variance) / alpha, ((cross / variance) ** 2 - imbalance) / alpha
            ),
            r"At $p = \rho$ what is left for the encoder is $\alpha w^2 = \rho^2 - c$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "other-sign-of-the-constant",
            "sign",
            r"claim conservation of $p^2 + \alpha w^2$",
            ModeRate(p**2 + alpha * w**2, FLOW, sp.S.Zero),
            uses=("undecayed",),
        ),
        FalseSibling(
            "any-predictor-sign",
            "quantifier",
            r"claim that $p$ runs to $\rho$ from every $p$ with $p^2 > c$",
            Implication(sp.Equivalent(GROWTH > 0, variance * p < cross), given=(*_SIGNS,)),
            uses=("positive",),
        ),
        FalseSibling(
            "rate-forgotten",
            "constant",
            r"leave $\alpha$ out of the constant",
            ModeRate(p**2 - w**2, FLOW, sp.S.Zero),
            uses=("undecayed",),
        ),
    ),
    witnesses=(
        Witness(
            "imbalance",
            Instance({}, {}, {alpha: 1, p: 0, w: 1, variance: 1, cross: 1, target: 0, imbalance: -2, eta: 0, root: 0}),
        ),
        Witness(
            "undecayed",
            Instance({}, {}, {alpha: 1, p: 2, w: 1, variance: 1, cross: 1, target: 1, imbalance: 3, eta: 1, root: 0}),
        ),
        Witness(
            "positive",
            Instance({}, {}, {alpha: 3, p: -2, w: 1, variance: 1, cross: -3, target: 0, imbalance: 1, eta: 0, root: 1}),
        ),
    ),
    instances=_free,
    sources=(
        Source("tian2021", "(14)", "the invariant; its sign is misprinted there"),
        Source("ours", "", "the basin"),
    ),
    belief="A predictor that starts large helps a small encoder to survive.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1))); one = np.eye(1)\n"
        "end = lambda w, p: jepa.solve(w * one, p * one, [0.0, 4000.0]).encoder[-1, 0, 0]\n"
        "assert np.isclose(end(0.5, -0.3) ** 2, 0.64 + 0.16) and abs(end(0.5, 1.2)) < 1e-3 and abs(end(0.2, -0.5)) < 1e-3"
    ),
)

THEOREMS = (OFF_BALANCE,)
