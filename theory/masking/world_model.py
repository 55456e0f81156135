"""World models: balance with actions, and what actions change about the modes (7.4)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality, Gradient, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, StopGradient, SymmetricSymbol, squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, V, W, X, Y, alpha, d, eta, k, m

actions = sp.Symbol("a", integer=True, positive=True)
"""Dimension of the actions."""

predictor_decay = sp.Symbol(r"\eta_P", real=True)
taken: Any = sp.MatrixSymbol("U", actions, m)
on_actions: Any = sp.MatrixSymbol("N", k, actions)

ERROR: Any = Named("E", V * Y - P * W * X - on_actions * taken)
LOSS: Any = squared_norm(P * W * X + on_actions * taken - StopGradient(V) * Y) / (2 * m)
BALANCE: Any = W * W.T - P.T * P / alpha
_FLOW: Any = {
    W: P.T * ERROR * X.T / m - eta * W,
    P: alpha * ERROR * X.T * W.T / m - predictor_decay * P,
    on_actions: alpha * ERROR * taken.T / m - predictor_decay * on_actions,
}

SAME_DECAY = Assumption(
    "same-decay",
    r"encoder and predictor decay at one rate in the flow's time, $\eta_P = \eta$",
    Equation(predictor_decay, eta),
)


def _batches(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    controls, samples = rng.randint(1, 2), size + 1
    decay = draw.positive()
    values = {
        W: draw.matrix(rows, columns),
        V: draw.matrix(rows, columns),
        P: draw.matrix(rows, rows),
        on_actions: draw.matrix(rows, controls),
        X: draw.matrix(columns, samples),
        Y: draw.matrix(columns, samples),
        taken: draw.matrix(controls, samples),
    }
    scalars = {alpha: draw.positive(), eta: decay, predictor_decay: decay}
    return Instance({k: rows, d: columns, m: samples, actions: controls}, values, scalars)


_ONE: dict[Any, Any] = dict.fromkeys((W, V, P, on_actions, X, Y, taken), eye(1))

WORLD_MODEL_BALANCE = Theorem(
    name="world-model-balance",
    title="Actions do not enter the balance of a world model",
    chapter=7,
    statement=(
        r"A latent world model predicts the next embedding $V y$ from embedding and action, $P W x + N u$, with stop-gradient."
        r" With $E = V y - P W x - N u$ the forces are $P^{\top} \mathbb{E}\, E x^{\top}$ on $W$ and $\mathbb{E}\, E x^{\top}"
        r" W^{\top}$ on $P$, and $\frac{d}{dt} (W W^{\top} - P^{\top} P/\alpha) = -2\eta (W W^{\top} - P^{\top} P/\alpha)$ with"
        r" $P$ the predictor's part on the embedding: whatever the actions, their part $N$, the dynamics and the target."
    ),
    assumptions=(SAME_DECAY,),
    proof=(
        Step(
            Gradient(LOSS, W, P.T * ERROR * X.T / m, named="L"),
            "The chain rule through the part of the predictor that sees the embedding.",
            conclusion=True,
        ),
        Step(
            Gradient(LOSS, P, ERROR * X.T * W.T / m, named="L"),
            "The same residual, seen from the predictor's side.",
            conclusion=True,
        ),
        Step(
            Rate(BALANCE, _FLOW, -2 * eta * BALANCE),
            r"Both rates contain $P^{\top} \mathbb{E}\, E x^{\top} W^{\top}$ and its transpose, and they cancel; $N$ moves, and"
            r" appears in neither term.",
            uses=("same-decay",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "whole-predictor",
            "exchange",
            r"balance the encoder against the whole predictor: $P P^{\top} + N N^{\top}$ in place of $P^{\top} P$",
            Rate(
                W * W.T - (P * P.T + on_actions * on_actions.T) / alpha,
                _FLOW,
                -2 * eta * (W * W.T - (P * P.T + on_actions * on_actions.T) / alpha),
            ),
            uses=("same-decay",),
        ),
        FalseSibling(
            "sum",
            "sign",
            r"add $P^{\top} P/\alpha$ instead of subtracting it",
            Rate(W * W.T + P.T * P / alpha, _FLOW, -2 * eta * (W * W.T + P.T * P / alpha)),
            uses=("same-decay",),
        ),
        FalseSibling(
            "actions-forgotten",
            "omission",
            "leave the actions out of the residual",
            Gradient(LOSS, W, P.T * (V * Y - P * W * X) * X.T / m),
        ),
    ),
    witnesses=(
        Witness(
            "same-decay",
            Instance(
                {k: 1, d: 1, m: 1, actions: 1}, {**_ONE, P: matrix([[2]])}, {alpha: 1, eta: 1, predictor_decay: 0}
            ),
        ),
    ),
    instances=_batches,
    sources=(Source("ours"), Source("tian2021", "Theorem 1", "without actions")),
    belief="Conditioning on actions breaks the symmetry between encoder and predictor.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); W, V = rng.normal(size=(2, 3, 5)); P = rng.normal(size=(3, 3)); N = rng.normal(size=(3, 2))\n"
        "x, y = rng.normal(size=(2, 5, 40)); u = rng.normal(size=(2, 40)); E = (V @ y - P @ W @ x - N @ u) / 40\n"
        "dW, dP = P.T @ E @ x.T, E @ x.T @ W.T\n"
        "rate = dW @ W.T + W @ dW.T - dP.T @ P - P.T @ dP\n"
        "assert np.abs(rate).max() < 1e-12"
    ),
)

# -- what actions change --------------------------------------------------------------------------------------------------

F: Any = sp.MatrixSymbol("F", d, d)
B: Any = sp.MatrixSymbol("B", d, actions)
Sigma_u: Any = SymmetricSymbol(r"\Sigma_u", actions)
Sigma_xu: Any = sp.MatrixSymbol(r"\Sigma_{xu}", d, actions)
noise_state: Any = sp.MatrixSymbol(r"\Xi_x", d, d)
noise_action: Any = sp.MatrixSymbol(r"\Xi_u", d, actions)
gain: Any = sp.MatrixSymbol("G", actions, d)

NEXT_STATE: Any = F * Sigma_x + B * Sigma_xu.T + noise_state
NEXT_ACTION: Any = F * Sigma_xu + B * Sigma_u + noise_action
GIVEN: Any = Named(r"\Sigma_{x|u}", Sigma_x - Sigma_xu * Sigma_u.I * Sigma_xu.T)
RESIDUAL: Any = V * NEXT_STATE - P * W * Sigma_x - on_actions * Sigma_xu.T

OPTIMAL_ON_ACTIONS = Assumption(
    "optimal-on-actions",
    r"the predictor's part on the actions is optimal for the rest, $N = (V \Sigma_{yu} - P W \Sigma_{xu}) \Sigma_u^{-1}$",
    Equation(on_actions, (V * NEXT_ACTION - P * W * Sigma_xu) * Sigma_u.I),
)
INNOVATION_STATE = Assumption(
    "innovation-state",
    r"what drives the state is uncorrelated with it: $\mathbb{E}\, \xi x^{\top} = 0$",
    Equation(noise_state, sp.ZeroMatrix(d, d)),
)
INNOVATION_ACTION = Assumption(
    "innovation-action",
    r"and with the action: $\mathbb{E}\, \xi u^{\top} = 0$",
    Equation(noise_action, sp.ZeroMatrix(d, actions)),
)


def _controlled(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    controls = rng.randint(1, 2)
    spread, mixed = draw.positive_definite(controls), draw.matrix(columns, controls)
    rest = draw.matrix(columns, columns)
    state = rest * rest.transpose() + mixed * spread.inv() * mixed.transpose()
    encoder, target, predictor = draw.matrix(rows, columns), draw.matrix(rows, columns), draw.matrix(rows, rows)
    dynamics, drive = draw.matrix(columns, columns), draw.matrix(columns, controls)
    optimal = (target * (dynamics * mixed + drive * spread) - predictor * encoder * mixed) * spread.inv()
    values = {
        W: encoder,
        V: target,
        P: predictor,
        F: dynamics,
        B: drive,
        Sigma_x: state,
        Sigma_u: spread,
        Sigma_xu: mixed,
        on_actions: optimal,
        noise_state: fmpq_mat(columns, columns),
        noise_action: fmpq_mat(columns, controls),
        gain: draw.matrix(controls, columns),
    }
    return Instance({k: rows, d: columns, actions: controls}, values)


def _untrained(rng: random.Random, size: int) -> Instance:
    instance = _controlled(rng, size)
    drawn = instance.matrices[on_actions]
    return instance.with_({on_actions: drawn + Draw(rng).matrix(drawn.nrows(), drawn.ncols())})


def _scalar(**changes: int) -> Instance:
    """Return one state, one action: F = B = 1, Σ_x = 2, Σ_u = Σ_xu = 1, W = V = P = 1, so that N = 1 is optimal."""
    values = {
        "F": 1,
        "B": 1,
        "S": 2,
        "U": 1,
        "XU": 1,
        "W": 1,
        "V": 1,
        "P": 1,
        "N": 1,
        "NX": 0,
        "NU": 0,
        "G": 1,
        **changes,
    }
    letters = (F, B, Sigma_x, Sigma_u, Sigma_xu, W, V, P, on_actions, noise_state, noise_action, gain)
    matrices = {letter: matrix([[value]]) for letter, value in zip(letters, values.values(), strict=True)}
    return Instance({k: 1, d: 1, actions: 1}, matrices)


ACTIONS_DECONFOUND = Theorem(
    name="world-model-modes",
    title="With actions a world model learns the dynamics, without them the closed loop",
    chapter=7,
    statement=(
        r"Let $y = F x + B u + \xi$ with $\xi$ uncorrelated with $x$ and $u$. If the predictor sees the action, and its part $N$ on"
        r" it is optimal, the residual that drives encoder and predictor is $(V F - P W) \Sigma_{x|u}$: the views behave as if"
        r" $\Sigma_{yx} = F \Sigma_{x|u}$ and $\Sigma_x = \Sigma_{x|u}$, the covariance of the state given the action. $B$"
        r" does not enter, the policy only through $\Sigma_{x|u}$, and for actions independent of the state $\Sigma_{x|u} ="
        r" \Sigma_x$: then actions explain part of the error and change no mode. Without actions the views are $\Sigma_{yx} = (F + B"
        r" G) \Sigma_x$ for a policy $\Sigma_{ux} = G \Sigma_x$: the modes of the closed loop survive or collapse, not those of the"
        r" dynamics, and under a policy with $F + B G = 0$ none. A contrastive loss on $(x, y)$ sees the symmetric part of the latter."
    ),
    assumptions=(OPTIMAL_ON_ACTIONS, INNOVATION_STATE, INNOVATION_ACTION),
    proof=(
        Step(
            Equality(RESIDUAL, (V * F - P * W) * GIVEN),
            r"Put the optimal $N$ into the residual $V \Sigma_{yx} - P W \Sigma_x - N \Sigma_{ux}$, with $\Sigma_{yx} = F \Sigma_x"
            r" + B \Sigma_{ux}$ and $\Sigma_{yu} = F \Sigma_{xu} + B \Sigma_u$: the two terms with $B$ cancel, and what remains of"
            r" the covariance is $\Sigma_{x|u} = \Sigma_x - \Sigma_{xu} \Sigma_u^{-1} \Sigma_{ux}$.",
            uses=("optimal-on-actions", "innovation-state", "innovation-action"),
            conclusion=True,
        ),
        Step(
            Equality(F * Sigma_x + B * gain * Sigma_x, (F + B * gain) * Sigma_x),
            r"Without actions a policy of gain $G$ closes the loop.",
        ),
    ),
    siblings=(
        FalseSibling(
            "unconditional",
            "exchange",
            r"exchange $\Sigma_{x|u}$ for $\Sigma_x$",
            Equality(RESIDUAL, (V * F - P * W) * Sigma_x),
            uses=("optimal-on-actions", "innovation-state", "innovation-action"),
        ),
        FalseSibling(
            "actions-untrained",
            "omission",
            "claim it for every predictor on the actions, not only the optimal one",
            Equality(RESIDUAL, (V * F - P * W) * GIVEN),
            uses=("innovation-state", "innovation-action"),
            instances=_untrained,
        ),
        FalseSibling(
            "closed-loop",
            "sign",
            r"claim that the predictor on actions subtracts the policy from the dynamics, $F - B \Sigma_{ux} \Sigma_x^{-1}$",
            Equality(RESIDUAL, (V * F - P * W) * GIVEN - V * B * Sigma_xu.T),
            uses=("optimal-on-actions", "innovation-state", "innovation-action"),
        ),
    ),
    witnesses=(
        Witness("optimal-on-actions", _scalar(N=0)),
        Witness("innovation-state", _scalar(NX=1)),
        Witness("innovation-action", _scalar(NU=1, N=2)),
    ),
    instances=_controlled,
    sources=(Source("ours"), Source("cui2026", "", "world models with explicit repulsion")),
    belief="Conditioning the predictor on actions drawn independently of the state changes which latent dimensions survive.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); x = rng.normal(size=200_000); u = -0.8 * x + 0.6 * rng.normal(size=x.size)\n"
        "y = 0.9 * x + 0.5 * u + 0.1 * rng.normal(size=x.size)  # F = 0.9, B = 0.5, a stabilising policy\n"
        "alone = x @ y / (x @ x); given = np.linalg.lstsq(np.stack([x, u], 1), y, rcond=None)[0][0]\n"
        "assert abs(alone - (0.9 - 0.5 * 0.8)) < 0.01 and abs(given - 0.9) < 0.01"
    ),
)

THEOREMS = (WORLD_MODEL_BALANCE, ACTIONS_DECONFOUND)
