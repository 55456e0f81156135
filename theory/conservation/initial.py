"""A predictor that starts at zero cannot let the encoder collapse faster than weight decay does (result 3.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Dominates, Equality, Rate, SolvesODE
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, R, W, alpha, d, epsilon, eta, k

W0: Any = sp.MatrixSymbol("W_0", k, d)
P0: Any = sp.MatrixSymbol("P_0", k, k)
elapsed, imbalance, first = sp.symbols("t b b_0", real=True)
faded = sp.Symbol("q", real=True)

BALANCE_LAW = Assumption(
    "balance-law",
    r"the imbalance has moved from time $0$ to time $t$ as the balance law says, with $q = e^{-2\eta t}$: both layers are"
    r" linear and adjacent and decay at the same rate",
    Equation(W * W.T, P.T * P / alpha + faded * W0 * W0.T - faded * P0.T * P0 / alpha),
)
ZERO_START = Assumption("zero-start", r"the predictor starts at $P_0 = 0$", Equation(P0, sp.ZeroMatrix(k, k)))
LEARNS = Assumption("predictor-learns-downhill", r"$\alpha > 0$", Inequality(alpha > 0))

_FLOW: Any = {W: P.T * R - eta * W, P: alpha * R * W.T - eta * P}
_STEP: Any = {
    W: (1 - epsilon * eta) * W + epsilon * P.T * R,
    P: (1 - epsilon * eta) * P + epsilon * alpha * R * W.T,
}
_BALANCE: Any = W * W.T - P.T * P / alpha


def _trained(rng: random.Random, size: int) -> Instance:
    """Draw a state that balance allows: WWᵀ = qW₀W₀ᵀ + PᵀP/α, by W = [√q·W₀, Pᵀ/√α] up to a rotation of the inputs."""
    draw = Draw(rng)
    rows = rng.randint(1, size)
    root, rate = draw.positive(), draw.positive()
    root = root / (root + draw.positive())
    begin, predictor = draw.matrix(rows, size), draw.matrix(rows, rows)
    columns = size + rows
    wide = [[*old, *([0] * rows)] for old in begin.tolist()]
    grown = zip(begin.tolist(), predictor.transpose().tolist(), strict=True)
    both = matrix([[root * x for x in old] + [y / rate for y in new] for old, new in grown])
    return Instance(
        {k: rows, d: columns},
        {
            W0: matrix(wide) * draw.orthogonal(columns),
            P0: matrix([[0] * rows] * rows),
            W: both * draw.orthogonal(columns),
            P: predictor,
            R: draw.matrix(rows, columns),
        },
        {alpha: rate * rate, faded: root * root, eta: draw.positive(), epsilon: draw.positive()},
    )


def _mode(encoder: object, predictor: object, begin: object, predictor_begin: object, rate: object = 1) -> Instance:
    values = {W: encoder, P: predictor, W0: begin, P0: predictor_begin, R: 1}
    scalars = {alpha: rate, faded: "1/4", eta: 1, epsilon: 1}
    return Instance({k: 1, d: 1}, {letter: matrix([[value]]) for letter, value in values.items()}, scalars)


ZERO_INIT = Theorem(
    name="zero-init-predictor",
    title="A predictor that starts at zero keeps every direction of the encoder",
    chapter=3,
    statement=(
        r"Let $W$ be the last, linear layer of any backbone and $P$ a linear predictor on it, trained at rate $\alpha > 0$"
        r" with any data, any target and any loss on the prediction, and let $P(0) = 0$. Then"
        r" $W W^{\top}(t) \succeq e^{-2\eta t}\, W W^{\top}(0)$ at every time: the excess is exactly $P^{\top} P/\alpha$, so the"
        r" last layer has at least its first rank, and without weight decay its smallest singular value never falls below the"
        r" first one. In a discrete step of size $\varepsilon$ the imbalance may fall short of $(1-\varepsilon\eta)^2$ times"
        r" the old one by at most $\varepsilon^2 \alpha W R^{\top} R W^{\top}$, with $R = -\partial L/\partial(PW)$."
    ),
    assumptions=(BALANCE_LAW, ZERO_START, LEARNS),
    proof=(
        Step(
            Rate(_BALANCE, _FLOW, -2 * eta * _BALANCE),
            "The imbalance moves by weight decay alone (the balance law); the force cancels.",
        ),
        Step(
            SolvesODE(first * sp.exp(-2 * eta * elapsed), imbalance, elapsed, -2 * eta * imbalance, first),
            r"Entry by entry it is its first value times $q = e^{-2\eta t}$.",
        ),
        Step(
            Equality(W * W.T - faded * W0 * W0.T, P.T * P / alpha),
            r"At the start the imbalance is $W_0 W_0^{\top}$, because the predictor is zero. Solve for the encoder.",
            uses=("balance-law", "zero-start"),
            name="excess",
            conclusion=True,
        ),
        Step(
            Dominates(W * W.T, faded * W0 * W0.T, P.T / sp.sqrt(alpha)),
            r"The excess is a Gram matrix, whatever the predictor has learnt.",
            uses=("balance-law", "zero-start", "predictor-learns-downhill"),
            conclusion=True,
        ),
        Step(
            AfterStep(
                _BALANCE,
                _STEP,
                (1 - epsilon * eta) ** 2 * _BALANCE
                + epsilon**2 * P.T * R * R.T * P
                - epsilon**2 * alpha * W * R.T * R * W.T,
                named=r"\left(W W^{\top} - \frac{1}{\alpha} P^{\top} P\right)",
            ),
            r"In discrete time the encoder's squared step adds a positive semidefinite matrix and the predictor's subtracts"
            r" one: only the latter can spoil the bound, at second order in the step.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "any-start",
            "quantifier",
            "claim the bound for a predictor that starts anywhere",
            Dominates(W * W.T, faded * W0 * W0.T, P.T / sp.sqrt(alpha)),
            uses=("balance-law", "predictor-learns-downhill"),
            instances=lambda _rng, _size: _mode(0, "3/8", 1, "5/4"),
        ),
        FalseSibling(
            "nothing-is-lost",
            "omission",
            "claim the bound without the factor of weight decay",
            Dominates(W * W.T, W0 * W0.T, P.T / sp.sqrt(alpha)),
            uses=("balance-law", "zero-start", "predictor-learns-downhill"),
        ),
        FalseSibling(
            "encoder-cannot-grow",
            "sign",
            "claim the opposite order",
            Dominates(faded * W0 * W0.T, W * W.T, P.T / sp.sqrt(alpha)),
            uses=("balance-law", "zero-start", "predictor-learns-downhill"),
        ),
        FalseSibling(
            "other-side",
            "exchange",
            r"claim the excess $P P^{\top}/\alpha$",
            Equality(W * W.T - faded * W0 * W0.T, P * P.T / alpha),
            uses=("balance-law", "zero-start"),
        ),
    ),
    witnesses=(
        # A normalisation between the layers: the encoder vanishes while the predictor stays at zero.
        Witness("balance-law", _mode(0, 0, 1, 0)),
        # A predictor that starts larger than the encoder: the balance law allows w = 0.
        Witness("zero-start", _mode(0, "3/8", 1, "5/4")),
        # A predictor trained uphill, α = −1: w² = q − p² < q.
        Witness("predictor-learns-downhill", _mode(0, "1/2", 1, 0, -1)),
    ),
    instances=_trained,
    sources=(Source("ours"), Source("tian2021", "Theorem 1", "the balance law of a linear encoder")),
    belief="A predictor must be initialised away from zero, or the encoder collapses before it has learnt anything.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.6, -0.3]))\n"
        "W = np.array([[0.8, 0.1, 0.3], [0.2, 0.7, 0.5]])\n"
        "path = LinearJEPA(views, weight_decay=0.1).solve(W, np.zeros((2, 2)), times=[0.0, 4.0])\n"
        "E = path.encoder[1]; assert np.linalg.eigvalsh(E @ E.T - np.exp(-2 * 0.1 * 4) * W @ W.T).min() > -1e-9"
    ),
)

THEOREMS = (ZERO_INIT,)
