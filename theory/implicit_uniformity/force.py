"""The force of a JEPA: attraction minus repulsion, and the sign of the repulsion on a mode (2.1, 2.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Gradient, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import StopGradient, tr
from jepalign.theory.proof import (
    Assumption,
    Equation,
    FalseSibling,
    Inequality,
    Source,
    Step,
    Theorem,
    Witness,
)
from jepalign.theory.setting import (
    Draw,
    P,
    Phi,
    Sigma_x,
    Sigma_y,
    Sigma_yx,
    V,
    W,
    correlation,
    cross,
    d,
    k,
    p,
    variance,
    w,
)

leak = sp.Symbol("kappa", real=True)

# The target's value is V; a leak κ lets that fraction of the gradient through to the encoder.
TARGET = StopGradient(V) + leak * (W - StopGradient(W))
LOSS = (tr(P * W * Sigma_x * W.T * P.T) - 2 * tr(P * W * Sigma_yx.T * TARGET.T) + tr(TARGET * Sigma_y * TARGET.T)) / 2
FROZEN_PENALTY: Any = tr(StopGradient(P).T * StopGradient(P) * Phi) / 2

STOP_GRADIENT = Assumption(
    "stop-gradient",
    r"no gradient reaches the encoder through the target: of the leaking target"
    r" $\operatorname{sg}(V) + \kappa (W - \operatorname{sg}(W))$ the leak vanishes, $\kappa = 0$",
    Equation(leak, sp.S.Zero),
)


def _general(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    context, target, both = draw.moments(columns)
    return Instance(
        {k: rows, d: columns},
        {
            W: draw.matrix(rows, columns),
            V: draw.matrix(rows, columns),
            P: draw.matrix(rows, rows),
            Sigma_x: context,
            Sigma_y: target,
            Sigma_yx: both,
        },
        {leak: 0},
    )


FORCE_SPLIT = Theorem(
    name="force-split",
    title="The JEPA force is an attraction minus a repulsion",
    chapter=2,
    statement=(
        r"For the JEPA loss $L = \frac12 \mathbb{E}\lVert P W x - \operatorname{sg}(V y) \rVert^2$ with any covariances and any"
        r" target encoder, $-\nabla_W L = P^{\top} V \Sigma_{yx} - P^{\top} P W \Sigma_x$. The second term is"
        r" $-\nabla_W \frac12 \operatorname{tr}(P^{\top} P \Phi)$ at frozen $P$, a quadratic penalty on the embedding covariance with a"
        r" positive semidefinite weight. [@tian2021, Lemma 1] give the flow."
    ),
    assumptions=(STOP_GRADIENT,),
    proof=(
        Step(
            Gradient(LOSS, W, P.T * V * Sigma_yx - P.T * P * W * Sigma_x, named="L"),
            r"Expand the square. The first term gives $P^{\top} P W \Sigma_x$, the cross term $-P^{\top} V \Sigma_{yx}$; the third"
            r" has no gradient.",
            uses=("stop-gradient",),
            conclusion=True,
        ),
        Step(
            Gradient(FROZEN_PENALTY, W, -P.T * P * W * Sigma_x),
            r"The repulsion is the gradient of the penalty with $P$ held fixed, as it is within one step of training.",
            conclusion=True,
        ),
        Step(
            Dominates(P.T * P, sp.ZeroMatrix(k, k), P.T),
            "The weight is a Gram matrix.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "predictor-not-transposed",
            "exchange",
            r"exchange $P^{\top}$ for $P$ in the attraction",
            Gradient(LOSS, W, P * V * Sigma_yx - P.T * P * W * Sigma_x),
            uses=("stop-gradient",),
        ),
        FalseSibling(
            "covariance-of-the-target",
            "exchange",
            r"exchange $\Sigma_x$ for $\Sigma_y$ in the repulsion",
            Gradient(LOSS, W, P.T * V * Sigma_yx - P.T * P * W * Sigma_y),
            uses=("stop-gradient",),
        ),
        FalseSibling(
            "thawed-predictor",
            "quantifier",
            r"let $P = \Phi$ move with $W$ in the penalty and keep its gradient",
            Gradient(tr(Phi * Phi * Phi) / 2, W, -Phi * Phi * W * Sigma_x),
        ),
        FalseSibling(
            "whole-penalty",
            "constant",
            r"drop the factor $\frac12$ of the penalty",
            Gradient(2 * FROZEN_PENALTY, W, -P.T * P * W * Sigma_x),
        ),
    ),
    witnesses=(
        Witness(
            "stop-gradient",
            Instance(
                {k: 1, d: 1},
                {letter: matrix([[1]]) for letter in (W, V, Sigma_x, Sigma_y, Sigma_yx)} | {P: matrix([[2]])},
                {leak: 1},
            ),
        ),
    ),
    instances=_general,
    sources=(Source("tian2021", "Lemma 1"),),
    belief="A loss of positive pairs alone contains attraction alone.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.8, 0.4]))\n"
        "W, P = np.array([[0.5, 0.1]]), np.array([[0.7]])\n"
        "forces = LinearJEPA(views).forces(W, P, W)\n"
        "assert np.allclose(forces.implicit_repulsion, -P.T @ P @ W)"
    ),
)

# -- 2.3 ------------------------------------------------------------------------------------------------------------------

SURPLUS = w * (1 - p) * (variance * (1 + p) - cross)
MODE = (
    Assumption("present", r"the mode is present, $w \ne 0$", Inequality(sp.Ne(w, 0))),
    Assumption("positive-variance", r"$\sigma > 0$", Inequality(variance > 0)),
    Assumption("regression-coefficient", r"$\lambda = \rho\sigma$", Equation(cross, correlation * variance)),
    Assumption("not-too-negative", r"$p > \rho - 1$", Inequality(p > correlation - 1)),
)


def _modes(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    spread, rho = draw.positive(), draw.number()
    weight = draw.positive() * rng.choice([-1, 1])
    values = {w: weight, variance: spread, correlation: rho, cross: rho * spread, p: rho - 1 + draw.positive()}
    return Instance(scalars=values)


def _one(weight: int, predictor: int, rho: int, lam: int, sigma: int) -> Instance:
    return Instance(scalars={w: weight, p: predictor, correlation: rho, cross: lam, variance: sigma})


SIGN = Theorem(
    name="sign",
    title="A predictor repels because it shrinks",
    chapter=2,
    statement=(
        r"Against plain alignment with stop-gradient (force $(\lambda - \sigma) w$ on a mode) the predictor adds the surplus force"
        r" $F_u = w (1-p)(\sigma(1+p) - \lambda)$. For $p > \rho - 1$ it expands the mode if and only if $p < 1$. The optimal"
        r" $p = \rho$ therefore expands whenever $\rho < 1$, and balances alignment exactly."
    ),
    assumptions=MODE,
    proof=(
        Step(
            ScalarIdentity(p * (cross - p * variance) * w - (cross - variance) * w, SURPLUS),
            r"Subtract the alignment force from the force $p(\lambda - p\sigma) w$ and factor.",
        ),
        Step(
            Implication(sp.Equivalent(w * SURPLUS > 0, p < 1)),
            r"$\sigma(1+p) - \lambda = \sigma(1 + p - \rho)$ is positive, so that the sign is that of $1-p$.",
            uses=("present", "positive-variance", "regression-coefficient", "not-too-negative"),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(w * SURPLUS.subs(p, correlation) > 0, correlation < 1),
            ),
            r"The optimal predictor $p = \rho$ satisfies $p > \rho - 1$.",
            uses=("present", "positive-variance", "regression-coefficient"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(SURPLUS.subs(p, cross / variance), -(cross - variance) * w),
            "At the optimal predictor the surplus force is minus the alignment force.",
        ),
    ),
    siblings=(
        FalseSibling(
            "other-side-of-one",
            "sign",
            r"claim expansion for $p > 1$",
            Implication(sp.Equivalent(w * SURPLUS > 0, p > 1)),
            uses=("present", "positive-variance", "regression-coefficient", "not-too-negative"),
        ),
        FalseSibling(
            "every-predictor",
            "quantifier",
            r"claim expansion for all $p < 1$, however negative",
            Implication(sp.Equivalent(w * SURPLUS > 0, p < 1)),
            uses=("present", "positive-variance", "regression-coefficient"),
        ),
        FalseSibling(
            "closed-range",
            "quantifier",
            r"claim expansion at $p = 1$ as well",
            Implication(sp.Equivalent(w * SURPLUS > 0, p <= 1)),
            uses=("present", "positive-variance", "regression-coefficient", "not-too-negative"),
        ),
    ),
    witnesses=(
        Witness("present", _one(0, 0, 0, 0, 1)),
        Witness("positive-variance", _one(1, 0, 0, 0, -1)),
        Witness("regression-coefficient", _one(1, 0, 0, 5, 1)),
        Witness("not-too-negative", _one(1, -2, 0, 0, 1)),
    ),
    instances=_modes,
    sources=(Source("ours"), Source("halvagal2023", "", r"the factor 1 − p for σ = λ")),
    belief="The predictor repels because it is hard to optimise.",
    example=(
        "from jepalign.linear_models import mode_forces\n"
        "shrinking, stretching = (mode_forces(0.5, p, 0.6, 1.0).surplus for p in (0.6, 1.2))\n"
        "assert shrinking > 0 > stretching"
    ),
)

THEOREMS = (FORCE_SPLIT, SIGN)
