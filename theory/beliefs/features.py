"""Said of what is learnt: that stop-gradient alone suffices, that a loss is minimised, that the features are the same."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Gradient, Implication, ModeRate, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import StopGradient, SymmetricSymbol, squared_norm, tr
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
from jepalign.theory.setting import Draw, Sigma_x, W, alpha, cross, d, eta, k, p, variance, w

C: Any = SymmetricSymbol("C", d)
private: Any = sp.MatrixSymbol("F", d, d)
root_rate = sp.Symbol("a", real=True)
"""The square root of the predictor's relative learning rate α."""

# -- stop-gradient alone --------------------------------------------------------------------------------------------------

DOMINATED = Assumption(
    "dominated",
    r"the views are exchangeable, so that $\Sigma - C \succeq 0$",
    Semidefinite(Sigma_x - C, private, (Sigma_x, C + private * private.T)),
)


def _loss(target: Any) -> Any:
    """½E‖Wx − target·y‖² in moments of exchangeable views."""
    return tr(W * Sigma_x * W.T) / 2 + tr(target * Sigma_x * target.T) / 2 - tr(target * C * W.T)


def _views(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    alike, rest = draw.matrix(columns, columns), draw.matrix(columns, columns)
    sums, differences = alike * alike.transpose(), rest * rest.transpose()  # Σ + C and Σ − C
    both = (sums - differences) / 2
    values = {W: draw.matrix(rows, columns), C: both, Sigma_x: both + differences, private: rest}
    return Instance({k: rows, d: columns}, values, {w: draw.number(), cross: draw.number(), variance: draw.number()})


STOP_GRADIENT_ALONE = Theorem(
    name="stop-gradient-prevents-collapse",
    title="Stop-gradient alone prevents collapse",
    chapter=8,
    statement=(
        r"The ablations of [@chen2021], in which removing the stop-gradient collapses the representation, are often shortened to:"
        r" the stop-gradient prevents collapse."
    ),
    said=(
        Step(
            Implication(2 * w * (cross - variance) * w >= 0, given=(variance > 0, cross**2 <= variance**2)),
            r"With the stop-gradient (and nothing else) a mode's $w^2$ does not decrease.",
        ),
    ),
    repair=(
        r"Without a predictor the stop-gradient only halves the speed of collapse: the flow is $\dot W = -W(\Sigma - C)$ with it and"
        r" $\dot W = -2 W (\Sigma - C)$ without it, and $\frac{d}{dt} \lVert W \rVert^2 = -2 \operatorname{tr} W (\Sigma - C)"
        r" W^{\top} \le 0$. It takes the predictor to turn the stopped gradient into a repulsion."
    ),
    assumptions=(DOMINATED,),
    proof=(
        Step(
            Gradient(_loss(StopGradient(W)), W, -W * (Sigma_x - C), named=r"L_{\mathrm{sg}}"),
            "The stopped target contributes attraction but not its own shrinking.",
            conclusion=True,
        ),
        Step(
            Gradient(_loss(W), W, -2 * W * (Sigma_x - C), named="L"),
            "Without the stop-gradient both encoders shrink: twice the same force.",
            conclusion=True,
        ),
        Step(
            Rate(squared_norm(W), {W: -W * (Sigma_x - C)}, -2 * squared_norm(W * private)),
            r"With $\Sigma - C = F F^{\top}$ the norm decreases by a square, to zero in every direction in which the two views"
            r" differ.",
            uses=("dominated",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "no-difference",
            "constant",
            "claim that the stop-gradient changes nothing",
            Gradient(_loss(StopGradient(W)), W, -2 * W * (Sigma_x - C)),
        ),
        FalseSibling(
            "repels",
            "sign",
            "claim that the norm grows by the square",
            Rate(squared_norm(W), {W: -W * (Sigma_x - C)}, 2 * squared_norm(W * private)),
            uses=("dominated",),
        ),
        FalseSibling(
            "only-attraction",
            "omission",
            "leave out the shrinking of the context encoder",
            Gradient(_loss(StopGradient(W)), W, W * C),
        ),
    ),
    witnesses=(
        Witness(
            "dominated",
            Instance({k: 1, d: 1}, {W: eye(1), C: matrix([[2]]), Sigma_x: matrix([[1]]), private: matrix([[1]])}),
        ),
    ),
    instances=_views,
    sources=(
        Source("chen2021", "Section 4.1", "the ablation"),
        Source("tian2021", "Theorem 2", "both halves of the repair"),
    ),
    kind="belief",
    belief="The stop-gradient creates the asymmetry, so the predictor is optional.",
    example=(
        "import numpy as np\n"
        "from scipy.linalg import expm\n"
        "S, C = np.eye(3), np.diag([0.9, 0.5, -0.2]); W = np.ones((2, 3))\n"
        "norms = [np.linalg.norm(W @ expm(-(S - C) * t)) for t in (0.0, 10.0, 100.0)]\n"
        "assert norms[0] > norms[1] > norms[2] and norms[2] < 1e-3"
    ),
)

# -- a loss is minimised --------------------------------------------------------------------------------------------------

ENCODER = p * (cross - p * variance) * w
PREDICTOR = alpha * w**2 * (cross - p * variance)
LOSS = w**2 * (p**2 * variance - 2 * p * cross + variance) / 2
BALANCED = Assumption(
    "balanced", r"the mode is balanced: $p = a w$ with $a = \sqrt{\alpha}$", Equation(p, root_rate * w)
)
ENERGY = -root_rate * cross * w**3 / 3 + root_rate**2 * variance * w**4 / 4 + eta * w**2 / 2


def _balanced(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rate, weight = draw.positive(), draw.number()
    scalars = {root_rate: rate, w: weight, p: rate * weight, cross: draw.number(), variance: draw.positive()}
    return Instance({}, {}, {**scalars, alpha: rate * rate, eta: draw.positive()})


def _unbalanced(rng: random.Random, size: int) -> Instance:
    return _balanced(rng, size).with_(scalars={p: Draw(rng).number()})


MINIMISES_A_LOSS = Theorem(
    name="jepa-minimises-a-loss",
    title="A JEPA minimises its prediction loss",
    chapter=8,
    statement=(
        r"A training curve of the prediction loss invites the reading that a JEPA descends it, or at least descends some function"
        r" of encoder and predictor."
    ),
    said=(
        Step(
            ScalarIdentity(sp.Derivative(ENCODER, p), sp.Derivative(PREDICTOR, w) / alpha),
            r"The field of encoder and predictor, in the metric of their learning rates, is a gradient: its curl vanishes.",
        ),
        Step(
            Implication(
                sp.expand(sp.diff(LOSS, w) * ENCODER + sp.diff(LOSS, p) * PREDICTOR) <= 0,
                given=(variance > 0, alpha > 0, cross > 0, cross < variance, p > 0, w > 0),
            ),
            r"Training never increases the prediction loss of a mode, $\frac12 w^2 (p^2\sigma - 2p\lambda + \sigma)$.",
        ),
    ),
    repair=(
        r"The curl is $-\lambda w$: the joint field is no gradient [@ponce2025]. But where the mode is balanced the encoder does"
        r" descend a function, $E(w) = -\frac{a\lambda}{3} w^3 + \frac{\alpha\sigma}{4} w^4 + \frac{\eta}{2} w^2$: its attraction is"
        r" cubic and its repulsion from the origin vanishes there, unlike any prediction loss or contrastive loss."
    ),
    assumptions=(BALANCED,),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(ENCODER, p) - sp.Derivative(PREDICTOR, w) / alpha, -cross * w),
            r"Differentiate the encoder's velocity by $p$ and the predictor's, over $\alpha$, by $w$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(ENCODER - eta * w, -sp.Derivative(ENERGY, w)),
            r"On the balanced line $p = aw$ the velocity is a function of $w$ alone, and its integral is $E$.",
            uses=("balanced",),
            conclusion=True,
        ),
        Step(
            ModeRate(ENERGY, {w: -sp.diff(ENERGY, w)}, -(sp.diff(ENERGY, w) ** 2), named="E"),
            r"So $E$ decreases at the rate $\dot w^2$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "curl-sign",
            "sign",
            r"claim the curl $\lambda w$",
            ScalarIdentity(sp.Derivative(ENCODER, p) - sp.Derivative(PREDICTOR, w) / alpha, cross * w),
        ),
        FalseSibling(
            "quadratic-attraction",
            "exchange",
            r"exchange the cubic attraction for the quadratic one of contrast",
            ScalarIdentity(
                ENCODER - eta * w, -sp.Derivative(ENERGY + root_rate * cross * w**3 / 3 - cross * w**2 / 2, w)
            ),
            uses=("balanced",),
        ),
        FalseSibling(
            "off-balance",
            "quantifier",
            "claim the potential without balance",
            ScalarIdentity(ENCODER - eta * w, -sp.Derivative(ENERGY, w)),
            instances=_unbalanced,
        ),
    ),
    witnesses=(
        Witness(
            "balanced",
            Instance({}, {}, {root_rate: 1, alpha: 1, w: 1, p: 2, cross: 1, variance: 1, eta: 0}),
        ),
    ),
    instances=_balanced,
    sources=(
        Source("ponce2025", "", "no function has the field as its gradient"),
        Source("tian2021", "Appendix D", "an energy for a fixed target"),
        Source("ours", "", "the potential on the balanced manifold"),
    ),
    kind="belief",
    belief="If the loss rises during training, something is broken.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1))\n"
        "path = LinearJEPA(views).solve(0.1 * np.eye(1), 0.1 * np.eye(1), np.linspace(0, 200, 50))\n"
        "w, p = path.encoder[:, 0, 0], path.predictor[:, 0, 0]; loss = w**2 * (p**2 - 1.6 * p + 1) / 2\n"
        "assert loss[-1] > loss[0]  # it rises, and all is well"
    ),
)

# -- the same features ----------------------------------------------------------------------------------------------------

PREDICTIVE = Assumption(
    "regression-at-most-one",
    r"the regression coefficient is at most one: $\lambda \le \sigma$",
    Inequality(cross <= variance),
)
POSITIVE = Assumption("positive", r"the mode is positively correlated: $\lambda > 0$", Inequality(cross > 0))
_SIGNS = (variance > 0, eta > 0)
equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns


def _surviving(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    sigma = draw.positive()
    rho = 1 / (1 + draw.positive())
    decay = sigma * rho * rho / (4 + draw.positive())
    return Instance({}, {}, {variance: sigma, cross: sigma * rho, eta: decay, alpha: draw.positive()})


SAME_FEATURES = Theorem(
    name="same-features",
    title="JEPA and contrastive learning learn the same features",
    chapter=8,
    statement=(
        r"From the common eigenproblem $C v = \rho \Sigma v$ it is concluded that prediction and contrast keep the same features."
    ),
    said=(
        Step(
            Implication(sp.Equivalent(cross**2 > 4 * eta * variance, 4 * cross > eta), given=_SIGNS),
            r"Under weight decay a mode survives in a JEPA ($\lambda^2 > 4\eta\sigma$) iff it survives under the spectral contrastive"
            r" loss ($4\lambda > \eta$).",
        ),
        Step(
            ScalarIdentity(cross**2 / (alpha * variance**2) * variance, cross / variance),
            r"Without decay it is embedded with the same variance.",
        ),
    ),
    repair=(
        r"Of positively correlated modes with $\rho \le 1$ contrast keeps all that a JEPA keeps, and more: $\lambda^2 > 4\eta\sigma$"
        r" implies $4\lambda > \eta$, not conversely. Of negatively correlated modes it keeps none, and a JEPA keeps those with"
        r" $\lambda^2 > 4\eta\sigma$ whose predictor starts beyond its threshold on the negative side. Where both keep a mode, the"
        r" variances are $\lambda^2/(\alpha\sigma)$ and $\lambda/\sigma$."
    ),
    assumptions=(POSITIVE, PREDICTIVE),
    proof=(
        Step(
            Implication(sp.Implies(cross**2 > 4 * eta * variance, 4 * cross > eta), given=_SIGNS),
            r"$4\eta\sigma < \lambda^2 \le \lambda\sigma$, so $\eta < \lambda/4$.",
            uses=("positive", "regression-at-most-one"),
            conclusion=True,
        ),
        Step(
            Implication(sp.Not(4 * cross > eta), given=(*_SIGNS, cross < 0)),
            "For a negative correlation the contrastive origin attracts.",
        ),
        Step(
            Implication(
                sp.And(equation(p * (cross - p * variance), eta), p < 0),
                given=(
                    sp.Eq(variance, 1),
                    sp.Eq(cross, -1),
                    sp.Eq(eta, sp.Rational(3, 16)),
                    sp.Eq(p, sp.Rational(-3, 4)),
                ),
            ),
            r"A JEPA mode with $\lambda = -1$, $\sigma = 1$, $\eta = 3/16$ rests at $p = -3/4$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "conversely",
            "quantifier",
            "claim the converse: a JEPA keeps all that contrast keeps",
            Implication(sp.Implies(4 * cross > eta, cross**2 > 4 * eta * variance), given=_SIGNS),
            uses=("positive", "regression-at-most-one"),
        ),
        FalseSibling(
            "threshold-of-the-other",
            "constant",
            r"claim the sharper $\lambda > 5\eta$ of every mode that a JEPA keeps",
            Implication(sp.Implies(cross**2 > 4 * eta * variance, cross > 5 * eta), given=_SIGNS),
            uses=("positive", "regression-at-most-one"),
        ),
        FalseSibling(
            "any-regression-coefficient",
            "omission",
            r"drop $\rho \le 1$",
            Implication(sp.Implies(cross**2 > 4 * eta * variance, 4 * cross > eta), given=_SIGNS),
            uses=("positive",),
        ),
    ),
    witnesses=(
        Witness("positive", Instance({}, {}, {variance: 1, cross: -1, eta: matrix([["1/8"]])[0, 0], alpha: 1})),
        Witness(
            "regression-at-most-one",
            Instance({}, {}, {variance: matrix([["1/100"]])[0, 0], cross: 1, eta: 4, alpha: 1}),
        ),
    ),
    instances=_surviving,
    sources=(
        Source("balestriero2022", "", "the common spectral form"),
        Source("ours", "", "the two thresholds, the sign, and the scales"),
    ),
    kind="belief",
    belief="What a method keeps is decided by its eigenproblem.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), -0.9 * np.eye(1)); one = np.eye(1)\n"
        "kept = LinearJEPA(views, weight_decay=0.05).solve(one, -one, [0.0, 500.0]).encoder[-1, 0, 0]\n"
        "lost = SpectralContrastive(views, weight_decay=0.05).solve(one, [0.0, 500.0]).encoder[-1, 0, 0]\n"
        "assert kept > 0.5 and abs(lost) < 1e-6"
    ),
)

THEOREMS = (STOP_GRADIENT_ALONE, MINIMISES_A_LOSS, SAME_FEATURES)
