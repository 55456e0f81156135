"""A function that a JEPA descends away from balance, with any target: if its predictor is symmetric (after 2.7 and 2.9)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, ModeRate, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, V, W, alpha, cross, d, k, p, variance, w

v, beta = sp.symbols("v beta", real=True)
C: Any = SymmetricSymbol("C", d)
half: Any = sp.MatrixSymbol("H", k, k)
shared: Any = sp.MatrixSymbol("L", d, d)
propagator: Any = sp.MatrixSymbol("X", k, k)
signless: Any = SymmetricSymbol("S", k)  # a symmetric predictor of any signs

RESIDUAL: Any = V * C - P * W * Sigma_x
TEACHING: Any = (RESIDUAL * W.T + W * RESIDUAL.T) / 2
ATTRACTION: Any = -tr(W * C * V.T) + tr(V * C * V.T) / 2
CUBE: Any = tr(P * P * P) / (3 * alpha)
ENERGY: Any = CUBE + ATTRACTION
FLOW: Any = {W: P.T * RESIDUAL, P: alpha * TEACHING, V: beta * (W - V)}
LOSS: Any = squared_norm(half.T * RESIDUAL) + beta * squared_norm((W - V) * shared)

OWN: Any = W * C - signless * W * Sigma_x
OWN_TEACHING: Any = (OWN * W.T + W * OWN.T) / 2
GAIN: Any = propagator.I * W * shared
TOWARDS: Any = V * C - signless * W * Sigma_x
MODE = variance * p**3 / (3 * alpha) - cross * w * v + cross * v**2 / 2
MODE_RESIDUAL = cross * v - variance * p * w
MODE_FLOW = {w: p * MODE_RESIDUAL, p: alpha * w * MODE_RESIDUAL, v: beta * (w - v)}

WHITENED = Assumption("whitened", r"the context inputs are white, $\Sigma_x = I$", Equation(Sigma_x, identity(d)))
POSITIVE = Assumption(
    "positive-predictor",
    r"the predictor is symmetric and positive semidefinite, $P = H H^{\top}$",
    Semidefinite(P, half, (P, half * half.T)),
)
DEFINITE = Assumption(
    "positive-cross",
    r"the cross-covariance is symmetric and positive semidefinite, $C = L L^{\top}$",
    Semidefinite(C, shared, (C, shared * shared.T)),
)
NAMES = ("whitened", "positive-predictor", "positive-cross")


def _symmetric(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    inner, outer = draw.matrix(rows, rows), draw.matrix(columns, columns)
    values = {
        W: draw.matrix(rows, columns),
        V: draw.matrix(rows, columns),
        P: inner * inner.transpose(),
        half: inner,
        C: outer * outer.transpose(),
        shared: outer,
        Sigma_x: eye(columns),
        propagator: draw.invertible(rows),
        signless: draw.symmetric(rows),
    }
    scalars = {letter: draw.number() for letter in (w, v, p, cross)}
    scalars |= {letter: draw.positive() for letter in (alpha, beta, variance)}
    return Instance({k: rows, d: columns}, values, scalars)


def _any_predictor(rng: random.Random, size: int) -> Instance:
    instance = _symmetric(rng, size + 1)
    rows = instance.matrices[W].nrows()
    return instance.with_({P: Draw(rng).matrix(rows, rows)})


def _one(**changes: Any) -> Instance:
    values: dict[str, Any] = {"P": 1, "C": 1, "Sigma": 1, "W": 1, "V": 2, **changes}
    matrices = {letter: eye(1) for letter in (half, shared, propagator, signless)}
    named = {"P": P, "C": C, "Sigma": Sigma_x, "W": W, "V": V}
    matrices |= {letter: matrix([[values[name]]]) for name, letter in named.items()}
    scalars = dict.fromkeys((alpha, beta, w, v, p, cross, variance), 1)
    return Instance({k: 1, d: 1}, matrices, scalars)


SYMMETRIC_PREDICTOR = Theorem(
    name="symmetric-predictor-lyapunov",
    title="With a symmetric predictor a JEPA descends a function: off balance, misaligned, with any averaged target",
    chapter=2,
    statement=(
        r"Let $\Sigma_x = I$, $C$ symmetric, no weight decay, and the predictor learnt among symmetric matrices: $\dot W = P"
        r" R$, $\dot P = \frac{\alpha}{2} (R W^{\top} + W R^{\top})$, $\dot V = \beta (W - V)$ with $R = V C - P W$. Neither"
        r" balance nor alignment is assumed, and $P$ is no function of $W$. Then $U = \frac{1}{3\alpha} \operatorname{tr} P^3 -"
        r" \operatorname{tr} W C V^{\top} + \frac12 \operatorname{tr} V C V^{\top}$ obeys $\dot U = -\operatorname{tr} R^{\top}"
        r" P R - \beta \operatorname{tr} (W - V) C (W - V)^{\top}$: it falls while $P \succeq 0$ and $C \succeq 0$. With $V ="
        r" W$ (where $\nabla_V U = 0$), and for $C \succeq 0$, a predictor that starts positive semidefinite stays so, and $U$"
        r" falls forever. In a single mode the predictor is a number, symmetric by itself: there the learnt JEPA with averaged"
        r" target, on inputs of any variance, descends $\frac{\sigma}{3\alpha} p^3 - \lambda w v + \frac{\lambda}{2} v^2$ while"
        r" $p \ge 0$ ($\lambda \ge 0$). On the balanced manifold $\frac{1}{3\alpha} \operatorname{tr} P^3$ is"
        r" $\frac{\sqrt\alpha}{3} \lVert W \rVert_{S_3}^3$, the repulsion of the Schatten potential. For a predictor that is"
        r" not symmetric the function fails, and we know none."
    ),
    assumptions=(WHITENED, POSITIVE, DEFINITE),
    proof=(
        Step(
            Gradient(ENERGY, W, V * C, named="U"),
            r"In the encoder $U$ is attraction alone: the repulsion is stored in the predictor.",
        ),
        Step(
            Rate(
                CUBE,
                {P: alpha * TEACHING},
                tr(P * P * RESIDUAL * W.T),
                named=r"\frac{1}{3\alpha} \operatorname{tr} P^3",
            ),
            r"The predictor learns along $R W^{\top}$, and $P^2$ is symmetric, so that the symmetric part does the same to"
            r" $\operatorname{tr} P^3$ as the whole. For a non-symmetric $P$ the gradient of $\operatorname{tr} P^3$ is"
            r" $3 (P^{\top})^2$, where $P^2$ would be needed; and no function has that gradient, since the derivative of $P^2$ is"
            r" not a symmetric map.",
            uses=("positive-predictor",),
            conclusion=True,
        ),
        Step(
            Equality(tr(P * P * RESIDUAL * W.T) - tr(P * RESIDUAL * C * V.T), -squared_norm(half.T * RESIDUAL)),
            r"What the predictor stores and what the encoder gains differ by $\operatorname{tr} P R (P W - V C)^{\top}$: by the"
            r" residual once more.",
            uses=("whitened", "positive-predictor"),
        ),
        Step(
            Rate(ENERGY, FLOW, -LOSS, named="U"),
            r"Add the average, which descends $U$ in the metric of $C$ as in the theorem on the averaged target.",
            uses=NAMES,
            conclusion=True,
        ),
        Step(
            Rate(
                propagator.I * signless * propagator.I.T,
                {signless: alpha * OWN_TEACHING, propagator: -alpha * W * W.T * propagator / 2},
                alpha * GAIN * GAIN.T,
                named=r"X^{-1} S X^{-\top}",
            ),
            r"Positivity, for $V = W$ and a symmetric predictor $S$ of whatever signs: seen through $\dot X = -\frac{\alpha}{2} W"
            r" W^{\top} X$, $X(0) = I$, it only gains, by a Gram matrix. So $S(t) \succeq X S(0) X^{\top}$, which is $\succeq 0$ if"
            r" $S(0)$ is.",
            uses=("whitened", "positive-cross"),
            conclusion=True,
        ),
        Step(
            Rate(
                tr(W * W.T) - tr(signless * signless) / alpha,
                {W: signless * TOWARDS, signless: alpha * (TOWARDS * W.T + W * TOWARDS.T) / 2},
                sp.S.Zero,
            ),
            r"Of the balance law the trace remains, for any target. It bounds $U$ below and the trajectories with it: $\lVert W"
            r" \rVert^2 = \frac{1}{\alpha} \lVert P \rVert^2 + c$, attraction is at least $-\frac12 \operatorname{tr} W C W^{\top}$,"
            r" quadratic in $W$, and $\operatorname{tr} P^3 \ge k^{-1/2} \lVert P \rVert^3$ for $P \succeq 0$.",
            conclusion=True,
        ),
        Step(
            ModeRate(MODE, MODE_FLOW, -p * MODE_RESIDUAL**2 - beta * cross * (w - v) ** 2, named="U", with_flow=True),
            r"The same in one mode, for free learning and any variance.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "any-predictor",
            "quantifier",
            "claim it of a predictor that is not symmetric and learns freely",
            Rate(
                ENERGY,
                {W: P.T * RESIDUAL, P: alpha * RESIDUAL * W.T, V: beta * (W - V)},
                -tr(RESIDUAL.T * P * RESIDUAL) - beta * tr((W - V) * C * (W - V).T),
            ),
            uses=("whitened",),
            instances=_any_predictor,
        ),
        FalseSibling(
            "half-the-cube",
            "constant",
            r"weigh $\operatorname{tr} P^3$ with $\frac{1}{2\alpha}$",
            Rate(ENERGY + CUBE / 2, FLOW, -LOSS),
            uses=NAMES,
        ),
        FalseSibling(
            "target-drives",
            "sign",
            "claim that the average feeds energy in",
            Rate(ENERGY, FLOW, -squared_norm(half.T * RESIDUAL) + beta * squared_norm((W - V) * shared)),
            uses=NAMES,
        ),
        FalseSibling(
            "balance-survives",
            "omission",
            r"claim that the whole balance $W W^{\top} - P^2/\alpha$ is conserved under symmetrised learning, not only its trace",
            Rate(W * W.T - P * P / alpha, FLOW, sp.ZeroMatrix(k, k)),
            uses=("positive-predictor",),
        ),
    ),
    witnesses=(
        Witness("whitened", _one(Sigma=3)),
        Witness("positive-predictor", _one(P=-1)),
        Witness("positive-cross", _one(C=-1)),
    ),
    instances=_symmetric,
    sources=(
        Source("ours"),
        Source("tian2021", "Section 3", "the symmetric predictor, as an assumption"),
        Source("ponce2025", "", "the free field is no gradient"),
    ),
    belief="Without balance a JEPA's training has no direction: nothing is descended.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "C = np.diag([0.9, 0.5, 0.2]); start = {'W': np.random.default_rng(0).normal(size=(2, 3)), 'P': np.diag([0.1, 2.0])}\n"
        "r = lambda s: s['W'] @ C - s['P'] @ s['W']; sym = lambda a: (a + a.T) / 2\n"
        "path = integrate(lambda s: {'W': s['P'] @ r(s), 'P': sym(r(s) @ s['W'].T)}, start, np.linspace(0, 9, 40)).states\n"
        "assert np.all(np.diff([np.trace(P @ P @ P) / 3 - np.trace(W @ C @ W.T) / 2 for W, P in zip(path['W'], path['P'])]) < 0)"
    ),
)

THEOREMS = (SYMMETRIC_PREDICTOR,)
