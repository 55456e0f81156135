"""What an averaged target is to the map: friction, and a change of the metric (2.8 and 2.9)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Equality, Gradient, Implication, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SpectralFunction, SymmetricSymbol, squared_norm, tr
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
from jepalign.theory.setting import Draw, P, Sigma_x, Sigma_yx, V, W, cross, d, k, p, w

beta, v, rate = sp.symbols("beta v u", real=True)
V_rate: Any = sp.MatrixSymbol(r"\dot{V}", k, d)

AVERAGED = Assumption(
    "averaged",
    r"the target is a running average of the encoder, $\dot V = \beta (W - V)$",
    Equation(V_rate, beta * (W - V)),
)
MOVING = Assumption("moving", r"it follows at some rate, $\beta > 0$", Inequality(beta > 0))

WITH: Any = P.T * (V * Sigma_yx - P * W * Sigma_x)
WITHOUT: Any = P.T * (W * Sigma_yx - P * W * Sigma_x)


def _averaged(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, target, pull = draw.matrix(rows, columns), draw.matrix(rows, columns), draw.positive()
    values = {
        W: encoder,
        V: target,
        V_rate: (encoder - target) * pull,
        P: draw.matrix(rows, rows),
        Sigma_x: draw.positive_definite(columns),
        Sigma_yx: draw.matrix(columns, columns),
    }
    weight, average, at, both = draw.positive(), draw.number(), draw.positive(), draw.positive()
    scalars = {beta: pull, w: weight, v: average, p: at, cross: both, rate: pull * (weight - average)}
    return Instance({k: rows, d: columns}, values, scalars)


_ONE: dict[Any, Any] = dict.fromkeys((W, V, V_rate, P, Sigma_x, Sigma_yx), eye(1))

EMA_FRICTION = Theorem(
    name="ema-friction",
    title="An averaged target is friction",
    chapter=2,
    statement=(
        r"Replacing the encoder by its average in the attraction, $P^{\top} W \Sigma_{yx} \to P^{\top} V \Sigma_{yx}$, adds the"
        r" force $-\beta^{-1} P^{\top} \dot V \Sigma_{yx}$: proportional to the average's velocity, zero at every equilibrium and"
        r" small for fast averages. Where a mode's prediction attracts, $p\lambda > 0$, and it is growing, $\dot v > 0$, this force"
        r" holds it back; where it shrinks, it holds it up. It is a friction of the motion and no force of its own."
    ),
    assumptions=(AVERAGED, MOVING),
    proof=(
        Step(
            Equality(WITH, WITHOUT - P.T * V_rate * Sigma_yx / beta),
            r"$V = W - \beta^{-1} \dot V$.",
            uses=("averaged",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(p * cross * (v - w) < 0, rate > 0), given=(p * cross > 0, sp.Eq(rate, beta * (w - v)))
            ),
            r"In one mode the added force is $p\lambda (v - w) = -p\lambda \dot v/\beta$: its sign is opposite to that of the"
            r" average's velocity.",
            uses=("moving",),
            conclusion=True,
        ),
        Step(
            Implication(sp.Eq(p * cross * (v - w), 0), given=(sp.Eq(beta * (w - v), 0),)),
            "Where the average rests it is zero.",
            uses=("moving",),
        ),
    ),
    siblings=(
        FalseSibling(
            "drive",
            "sign",
            "add the velocity instead of subtracting it",
            Equality(WITH, WITHOUT + P.T * V_rate * Sigma_yx / beta),
            uses=("averaged",),
        ),
        FalseSibling(
            "always-outward",
            "quantifier",
            "claim that the added force always points away from collapse",
            Implication(p * cross * (v - w) * w >= 0, given=(p * cross > 0,)),
            uses=("moving",),
        ),
        FalseSibling(
            "rate-forgotten",
            "constant",
            r"leave out $\beta^{-1}$",
            Equality(WITH, WITHOUT - P.T * V_rate * Sigma_yx),
            uses=("averaged",),
        ),
    ),
    witnesses=(
        Witness("averaged", Instance({k: 1, d: 1}, _ONE, {beta: 1, w: 1, v: 0, p: 1, cross: 1, rate: 1})),
        Witness(
            "moving",
            Instance({k: 1, d: 1}, {**_ONE, V_rate: matrix([[0]])}, {beta: -1, w: 1, v: 0, p: 1, cross: 1, rate: -1}),
        ),
    ),
    instances=_averaged,
    sources=(Source("ours"), Source("tian2021", "Section 3.2", "EMA slows early growth")),
    belief="The averaged target pulls embeddings apart.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); W, V = rng.normal(size=(2, 3, 5)); P = rng.normal(size=(3, 3)); C = rng.normal(size=(5, 5))\n"
        "beta = 0.1; V_rate = beta * (W - V)\n"
        "assert np.allclose(P.T @ V @ C, P.T @ W @ C - P.T @ V_rate @ C / beta)"
    ),
)

# -- the metric -----------------------------------------------------------------------------------------------------------

C: Any = SymmetricSymbol("C", d)
shared: Any = sp.MatrixSymbol("L", d, d)
half: Any = sp.MatrixSymbol("H", k, k)
Phi: Any = Named(r"\Phi", W * Sigma_x * W.T)
G: Any = SpectralFunction("g", Phi)
POTENTIAL: Any = tr(SpectralFunction("g", Phi, -1)) / 2 - tr(W * C * V.T) + tr(V * C * V.T) / 2
RESIDUAL: Any = V * C - G * W * Sigma_x

REPELLING = Assumption(
    "nonnegative-predictor",
    r"the predictor $P = g(\Phi)$ is positive semidefinite: $g \ge 0$",
    Semidefinite(G, half, (G, half * half.T)),
)
DEFINITE = Assumption(
    "positive-cross",
    r"the cross-covariance is positive: $C \succeq 0$ (and invertible)",
    Semidefinite(C, shared, (C, shared * shared.T)),
)


def _spectral(rng: random.Random, size: int) -> Instance:
    """Draw a g whose value at Φ has a rational root: proportional to s for one embedding dimension, constant for several."""
    draw = Draw(rng)
    if size == 1:
        rows, columns = 1, rng.randint(1, 2)
    else:
        rows, columns = draw.sizes(size)
    root, constant, linear = draw.invertible(columns), draw.positive(), draw.positive()
    encoder, covariance = draw.matrix(rows, columns), draw.positive_definite(columns)
    value = encoder * covariance * encoder.transpose()
    if rows == 1:
        # g(s) = r²·s/s₀ at the embedding's variance s₀ is r².
        spectrum = (0, constant * constant / value[0, 0]) if value[0, 0] != 0 else (constant * constant,)
    else:
        spectrum = (constant * constant,)
    values = {
        W: encoder,
        V: draw.matrix(rows, columns),
        Sigma_x: covariance,
        C: root * root.transpose(),
        shared: root,
        half: eye(rows) * constant,
    }
    return Instance({k: rows, d: columns}, values, {beta: draw.positive(), w: linear}, {"g": spectrum})


_PLAIN: dict[Any, Any] = {W: eye(1), V: matrix([[2]]), Sigma_x: eye(1), C: eye(1), shared: eye(1), half: eye(1)}

EMA_METRIC = Theorem(
    name="ema-metric",
    title="An averaged target changes the metric of the descent, not its landscape",
    chapter=2,
    statement=(
        r"Let $P = g(\Phi) \succeq 0$, $G' = g$, no weight decay, $C \succ 0$. The function $U(W, V) = \frac12 \operatorname{tr}"
        r" G(\Phi) - \operatorname{tr} W C V^{\top} + \frac12 \operatorname{tr} V C V^{\top}$ contains no $\beta$, and the JEPA with"
        r" averaged target is $\dot W = -P\, \nabla_W U$, $\dot V = -\beta\, \nabla_V U\, C^{-1}$: a descent of $U$, with $\dot U ="
        r" -\lVert H^{\top} (V C - P W \Sigma) \rVert^2 - \beta \lVert (W - V) L \rVert^2$, $P = H H^{\top}$, $C = L L^{\top}$. So"
        r" equilibria do not depend on $\beta$, nor does, where $P \succ 0$, the number of unstable directions at each: the"
        r" linearisation is a positive definite matrix times the Hessian. The residual form is the same without $P$. For"
        r" indefinite $C$ the metric is not one, and only the per-mode statement is claimed."
    ),
    assumptions=(REPELLING, DEFINITE),
    proof=(
        Step(
            Gradient(POTENTIAL, W, RESIDUAL, named="U"),
            r"$\nabla_W \frac12 \operatorname{tr} G(W \Sigma W^{\top}) = g(\Phi) W \Sigma$ by the rule of the dictionary.",
            conclusion=True,
        ),
        Step(
            Gradient(POTENTIAL, V, (W - V) * C, named="U"),
            r"In $V$ the function is quadratic. So $\beta (W - V) = -\beta \nabla_V U\, C^{-1}$: the average descends too, in the"
            r" metric of $C$.",
            conclusion=True,
        ),
        Step(
            Rate(
                POTENTIAL,
                {W: G * RESIDUAL, V: beta * (W - V)},
                -squared_norm(half.T * RESIDUAL) - beta * squared_norm((W - V) * shared),
                named="U",
            ),
            r"$\dot U = \langle \nabla_W U, \dot W \rangle + \langle \nabla_V U, \dot V \rangle$, each minus a square.",
            uses=("nonnegative-predictor", "positive-cross"),
            conclusion=True,
        ),
        Step(
            Cited(
                r"M \succ 0 \quad\Longrightarrow\quad M \nabla^2 U \text{ has as many eigenvalues of each sign as } \nabla^2 U",
                "horn2013, Theorem 4.5.8",
            ),
            r"$M H$ is similar to $M^{1/2} H M^{1/2}$, to which Sylvester's law [@horn2013, Theorem 4.5.8] applies; here $M ="
            r" \operatorname{diag}(P, \beta C^{-1})$ as operators.",
        ),
    ),
    siblings=(
        FalseSibling(
            "average-ascends",
            "sign",
            r"claim that the average's part of $U$ grows",
            Rate(
                POTENTIAL,
                {W: G * RESIDUAL, V: beta * (W - V)},
                -squared_norm(half.T * RESIDUAL) + beta * squared_norm((W - V) * shared),
            ),
            uses=("nonnegative-predictor", "positive-cross"),
        ),
        FalseSibling(
            "whole-antiderivative",
            "constant",
            r"take $\operatorname{tr} G(\Phi)$ without the half",
            Gradient(POTENTIAL + tr(SpectralFunction("g", Phi, -1)) / 2, W, RESIDUAL),
        ),
        FalseSibling(
            "target-of-the-encoder",
            "exchange",
            r"exchange $V$ for $W$ in the residual",
            Gradient(POTENTIAL, W, W * C - G * W * Sigma_x),
        ),
    ),
    witnesses=(
        # g = −1: the preconditioned flow climbs.
        Witness("nonnegative-predictor", Instance({k: 1, d: 1}, _PLAIN, {beta: 1, w: 1}, {"g": (-1,)})),
        Witness(
            "positive-cross",
            Instance({k: 1, d: 1}, {**_PLAIN, C: matrix([[-1]])}, {beta: 1, w: 1}, {"g": (1,)}),
        ),
    ),
    instances=_spectral,
    sources=(
        Source("ours"),
        Source("horn2013", "Theorem 4.5.8", "inertia"),
        Source("tian2021", "Section 3", "EMA, decoupled modes"),
    ),
    belief="The rate of the EMA decides which solution a JEPA finds.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "C = np.diag([0.9, 0.5, 0.2]); start = np.random.default_rng(0).normal(size=(2, 3)) / 2  # Sigma = I, P = Phi\n"
        "f = lambda b: lambda s: {'W': (g := s['W'] @ s['W'].T) @ (s['V'] @ C - g @ s['W']), 'V': b * (s['W'] - s['V'])}\n"
        "ends = [integrate(f(b), {'W': start, 'V': start}, [0.0, 200.0]).states['W'][-1] for b in (0.3, 3.0)]\n"
        "assert np.allclose(ends[0].T @ ends[0], ends[1].T @ ends[1], atol=1e-2)"
    ),
)

THEOREMS = (EMA_FRICTION, EMA_METRIC)
