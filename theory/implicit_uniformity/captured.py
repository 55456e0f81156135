"""What any predictor does to the directions an encoder attends to: a Lyapunov function for the subspace (after 2.7)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Rate
from jepalign.theory.exact import Instance, eye, matrix, rational
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, W, d, eta, k

C: Any = SymmetricSymbol("C", d)
root: Any = sp.MatrixSymbol("F", k, k)
turn: Any = sp.MatrixSymbol("A", k, k)

GRAM: Any = Named(r"\Phi", W * W.T)
CROSS: Any = Named("K", W * C * W.T)
LEAVING: Any = Named("E", W * C * (identity(d) - W.T * GRAM.I * W))
CAPTURED: Any = tr(CROSS * GRAM.I)
FLOW: Any = {W: P.T * (W * C - P * W * Sigma_x) - eta * W}

WHITENED = Assumption("whitened", r"the context inputs are white, $\Sigma_x = I$", Equation(Sigma_x, identity(d)))
ACCRETIVE = Assumption(
    "forward",
    r"the predictor points forward: $P\Phi^{-1} + \Phi^{-1}P^{\top} = F F^{\top} \succeq 0$, that is $P = (\frac12 F F^{\top} + A"
    r" - A^{\top})\Phi$ with some $A$",
    Equation(P, (root * root.T / 2 + turn - turn.T) * GRAM),
)


def _forward(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    while True:
        rows, columns = draw.sizes(size)
        encoder = draw.matrix(rows, columns)
        gram = encoder * encoder.transpose()
        if gram.det() != 0:
            break
    factor, rotation = draw.matrix(rows, rows), draw.matrix(rows, rows)
    forward = factor * factor.transpose() * rational("1/2") + rotation - rotation.transpose()
    values = {
        W: encoder,
        P: forward * gram,
        root: factor,
        turn: rotation,
        C: draw.symmetric(columns),
        Sigma_x: eye(columns),
    }
    return Instance({k: rows, d: columns}, values, {eta: draw.number()})


def _positive(_rng: random.Random, _size: int) -> Instance:
    """Return a positive semidefinite predictor that pushes against what it would capture."""
    push = matrix([[1], [-1]])
    values = {
        W: matrix([[1, 0, 0], [0, 2, 0]]),
        P: push * push.transpose(),
        C: matrix([[0, 0, 1], [0, 0, 1], [1, 1, 0]]),
        Sigma_x: eye(3),
    }
    return Instance({k: 2, d: 3}, values, {eta: 0})


def _row(predictor: int, variance: int = 1) -> Instance:
    """Return one direction between two inputs of correlations 1 and 0; the variance is the second one's."""
    values = {
        W: matrix([[1, 1]]),
        P: matrix([[predictor]]),
        root: matrix([[1]]),
        turn: matrix([[0]]),
        C: matrix([[1, 0], [0, 0]]),
        Sigma_x: matrix([[1, 0], [0, variance]]),
    }
    return Instance({k: 1, d: 2}, values, {eta: 0})


CAPTURED_CORRELATION = Theorem(
    name="captured-correlation",
    title="The correlation that an encoder captures grows under every forward predictor, balanced or not",
    chapter=2,
    statement=(
        r"Let $\Sigma_x = I$, $C$ symmetric of any signs, $V = W$ of full row rank, and let the predictor be *any* matrix at"
        r" *any* time: learnt or set, off balance, not symmetric, with any weight decay. With $\Phi = W W^{\top}$ and $K = W C"
        r" W^{\top}$ the captured correlation $\kappa = \operatorname{tr} K\Phi^{-1}$, the trace of $C$ on the subspace that"
        r" the rows of $W$ span, obeys $\dot\kappa = 2 \operatorname{tr} \Phi^{-1} P^{\top} E E^{\top}$ with $E = W C (I -"
        r" W^{\top}\Phi^{-1} W)$, the part of $W C$ outside the subspace. Of the force only the attraction turns the subspace."
        r" So $\kappa$ is a Lyapunov function while $P\Phi^{-1} + \Phi^{-1}P^{\top} \succeq 0$: always for $P = g(\Phi)$ with"
        r" $g \ge 0$, every entry of the dictionary whose predictor is not negative, and for $k = 1$ while $p \ge 0$. Where"
        r" that matrix is definite, $\kappa$ rests exactly on the invariant subspaces of $C$, and its maximum is the sum of the"
        r" $k$ largest *signed* correlations [@fan1949]. It is more than $P \succeq 0$, and a learnt predictor with $k > 1$"
        r" need not satisfy it off balance."
    ),
    assumptions=(WHITENED, ACCRETIVE),
    proof=(
        Step(
            Rate(CAPTURED, {W: -P.T * P * W - eta * W}, sp.S.Zero, named=r"\kappa"),
            r"Repulsion and decay act within the subspace, on the left of $W$; $\kappa$ does not see them.",
            conclusion=True,
        ),
        Step(
            Rate(CAPTURED, FLOW, 2 * tr(GRAM.I * P.T * LEAVING * LEAVING.T), named=r"\kappa"),
            r"The attraction $P^{\top} W C$ turns the subspace by what it has outside. $I - W^{\top}\Phi^{-1} W$ is a"
            r" projection, so that"
            r" $W C (I - W^{\top}\Phi^{-1} W) C W^{\top} = E E^{\top}$.",
            uses=("whitened",),
            conclusion=True,
        ),
        Step(
            Equality(
                2 * tr(GRAM.I * P.T * LEAVING * LEAVING.T),
                squared_norm(root.T * LEAVING),
            ),
            r"Half of $F F^{\top}$ comes from each of $P\Phi^{-1}$ and its transpose; the rotation $A - A^{\top}$ drops out"
            r" against the"
            r" symmetric $E E^{\top}$.",
            uses=("forward",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "positive-predictor",
            "quantifier",
            r"claim that $P \succeq 0$ is enough",
            Dominates(
                2 * tr(GRAM.I * P.T * LEAVING * LEAVING.T),
                sp.S.Zero,
                LEAVING,
            ),
            instances=_positive,
        ),
        FalseSibling(
            "half-the-rate",
            "constant",
            "forget that both sides of $K$ turn",
            Rate(CAPTURED, FLOW, tr(GRAM.I * P.T * LEAVING * LEAVING.T)),
            uses=("whitened",),
        ),
        FalseSibling(
            "transposed-predictor",
            "exchange",
            r"take $P$ for $P^{\top}$",
            Rate(CAPTURED, FLOW, 2 * tr(GRAM.I * P * LEAVING * LEAVING.T)),
            uses=("whitened",),
        ),
        FalseSibling(
            "falls",
            "sign",
            "claim that the captured correlation falls",
            Equality(2 * tr(GRAM.I * P.T * LEAVING * LEAVING.T), -squared_norm(root.T * LEAVING)),
            uses=("forward",),
        ),
    ),
    witnesses=(
        # The second input varies more, and the repulsion turns the direction too.
        Witness("whitened", _row(1, variance=2)),
        Witness("forward", _row(-1)),
    ),
    instances=_forward,
    sources=(
        Source("ours"),
        Source("tang2023", "", "the optimal predictor on orthonormal rows, another trace"),
        Source("oja1982", "", "the case of one direction"),
        Source("fan1949", "", "the maximum of the trace"),
    ),
    belief="Off balance the learnt directions are an accident of initialisation.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "rng = np.random.default_rng(0); C = np.diag([0.9, 0.4, -0.2, -0.7]); W = rng.normal(size=(2, 4)); A ="
        " rng.normal(size=(2, 2))\n"
        "P = lambda W: (np.eye(2) + A - A.T) @ W @ W.T  # not symmetric, not learnt\n"
        "path = integrate(lambda s: {'W': P(s['W']).T @ (s['W'] @ C - P(s['W']) @ s['W'])}, {'W': W}, np.linspace(0, 20, 50))\n"
        "assert np.all(np.diff([np.trace(W @ C @ np.linalg.pinv(W)) for W in path.states['W']]) > -1e-9)"
    ),
)

THEOREMS = (CAPTURED_CORRELATION,)
