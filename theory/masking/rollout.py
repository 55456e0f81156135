"""Rollouts of a world model: no bias from a surviving subspace, and what bias there is otherwise (7.4)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named
from jepalign.theory.masking.world_model import F
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, W, X, d, eta, k, m

past: Any = sp.MatrixSymbol("F_n", d, d)
rolled: Any = sp.MatrixSymbol("P_n", k, k)
noise: Any = sp.MatrixSymbol(r"\Xi", d, m)
prediction: Any = sp.MatrixSymbol("Z", k, m)

ROLLOUT: Any = Named("e", W * X - prediction)

INVARIANT = Assumption(
    "at-rest",
    r"the model is at rest without decay, so that its rows span a left-invariant subspace: $W F = P W$",
    Equation(W * F, P * W),
)
INDUCTION = Assumption(
    "n-steps", r"after $n$ steps, $W F^n = P^n W$ (for $n = 0$ it is trivial)", Equation(W * past, rolled * W)
)
FRESH = Assumption(
    "fresh-noise",
    r"what drives the next step is uncorrelated with the error so far: $\mathbb{E}\, \xi e^{\top} = 0$",
    Equation(noise * X.T * W.T, noise * prediction.T),
)


def _invariant(rng: random.Random, size: int) -> Instance:
    """Draw F with a left-invariant subspace, F = T⁻¹(A 0; B C)T, and the rows of W from the first rows of T."""
    draw = Draw(rng)
    rows, rest = rng.randint(1, size), rng.randint(1, size)
    total, samples = rows + rest, 4
    basis = draw.invertible(total)
    block = draw.matrix(total, total)
    for i in range(rows):
        for j in range(rows, total):
            block[i, j] = 0
    encoder = fmpq_mat([list(row) for row in basis.tolist()[:rows]])
    predictor = fmpq_mat([[block[i, j] for j in range(rows)] for i in range(rows)])
    dynamics = basis.inv() * block * basis
    power, rolled_power = dynamics * dynamics, predictor * predictor
    states = fmpq_mat(total, samples, [draw.number() if j % 2 else 0 for _ in range(total) for j in range(samples)])
    guesses = fmpq_mat(rows, samples, [draw.number() if j % 2 else 0 for _ in range(rows) for j in range(samples)])
    driven = fmpq_mat(total, samples, [0 if j % 2 else draw.number() for _ in range(total) for j in range(samples)])
    values = {W: encoder, P: predictor, F: dynamics, past: power, rolled: rolled_power}
    return Instance({k: rows, d: total, m: samples}, {**values, X: states, prediction: guesses, noise: driven})


_PLAIN: dict[Any, Any] = {
    **dict.fromkeys((W, P, F, past, rolled), eye(1)),
    X: matrix([[1, 0]]),
    prediction: matrix([[0, 0]]),
    noise: matrix([[0, 1]]),
}


def _plain(**changes: Any) -> Instance:
    names = {"P": P, "F": F, "past": past, "noise": noise}
    return Instance({k: 1, d: 1, m: 2}, {**_PLAIN, **{names[name]: value for name, value in changes.items()}})


ROLLOUT_ERROR = Theorem(
    name="rollout-error",
    title="A rollout from a surviving subspace has no bias; its error is what the noise has brought since",
    chapter=7,
    statement=(
        r"At rest without decay ($V = W$, $\Sigma$ invertible) $W F = P W$. Then $W F^n = P^n W$ for every $n$: the"
        r" $n$-step rollout $P^n W x$ is the exact conditional mean of $W x_{t+n}$, for rotations and for any other"
        r" modes that survived. The error obeys $e_{n+1} = P e_n + W \xi$ and its covariance $\mathcal{E}_{n+1} = P"
        r" \mathcal{E}_n P^{\top} + W \Sigma_\xi W^{\top}$. Otherwise the bias $B_n = W F^n - P^n W$ obeys $B_{n+1} ="
        r" P B_n + (W F - P W) F^n$; with weight decay the defect is $W F - P W = \eta P^{-\top} W \Sigma^{-1}$."
    ),
    assumptions=(INVARIANT, INDUCTION, FRESH),
    proof=(
        Step(
            Equality(W * F * past, P * rolled * W),
            r"Induction over $n$: $W F F^n = P W F^n = P P^n W$.",
            uses=("at-rest", "n-steps"),
            conclusion=True,
        ),
        Step(
            Equality(W * (F * X + noise) - P * prediction, P * ROLLOUT + W * noise),
            r"One more step of the world and of the rollout: the error is carried on by $P$, and the noise is added.",
            uses=("at-rest",),
            conclusion=True,
        ),
        Step(
            Equality(
                (P * ROLLOUT + W * noise) * (P * ROLLOUT + W * noise).T / m,
                P * ROLLOUT * ROLLOUT.T * P.T / m + W * noise * noise.T * W.T / m,
            ),
            "Without correlation the covariances add.",
            uses=("fresh-noise",),
            conclusion=True,
        ),
        Step(
            Equality(
                W * F * past - P * rolled * W,
                P * (W * past - rolled * W) + (W * F - P * W) * past,
            ),
            r"For any $W$ and $P$ the bias $B_n = W F^n - P^n W$ obeys $B_{n+1} = P B_n + (W F - P W) F^n$, and so is"
            r" a sum in which the defect meets $n - 1$ factors $P$ and $F$: $\lVert B_n \rVert \le \lVert W F - P W"
            r" \rVert \sum_{j<n} \lVert P \rVert^{n-1-j} \lVert F \rVert^j$.",
            conclusion=True,
        ),
        Step(
            Equality(
                P.T * (P.T.I * (eta * W * Sigma_x.I)) * Sigma_x,
                eta * W,
            ),
            r"With decay, rest means $P^{\top} (W F - P W) \Sigma = \eta W$, which this defect solves.",
        ),
    ),
    siblings=(
        FalseSibling(
            "powers-exchanged",
            "exchange",
            r"roll out twice: claim $P P^n W = P^n W F^n$",
            Equality(P * rolled * W, rolled * W * past),
            uses=("at-rest", "n-steps"),
        ),
        FalseSibling(
            "noise-not-embedded",
            "omission",
            r"forget that the noise is embedded and propagated: $\mathcal{E}_{n+1} = P \mathcal{E}_n P^{\top}$",
            Equality(
                (P * ROLLOUT + W * noise) * (P * ROLLOUT + W * noise).T / m,
                P * ROLLOUT * ROLLOUT.T * P.T / m,
            ),
            uses=("fresh-noise",),
        ),
        FalseSibling(
            "predictor-transposed",
            "exchange",
            r"propagate the covariance with $P^{\top}$ on the left",
            Equality(
                (P * ROLLOUT + W * noise) * (P * ROLLOUT + W * noise).T / m,
                P.T * ROLLOUT * ROLLOUT.T * P / m + W * noise * noise.T * W.T / m,
            ),
            uses=("fresh-noise",),
        ),
        FalseSibling(
            "sign-of-the-noise",
            "sign",
            "subtract the noise",
            Equality(W * (F * X + noise) - P * prediction, P * ROLLOUT - W * noise),
            uses=("at-rest",),
        ),
    ),
    witnesses=(
        Witness("at-rest", _plain(P=matrix([[2]]))),
        Witness("n-steps", _plain(past=matrix([[2]]))),
        Witness("fresh-noise", _plain(noise=matrix([[1, 1]]))),
    ),
    instances=_invariant,
    sources=(Source("ours"), Source("tang2023", "", "invariant subspaces of self-prediction")),
    belief="A latent world model's rollout drifts because its latent space is not the state space.",
    example=(
        "import numpy as np\n"
        "turn = 0.95 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]]); F = np.block([[turn, np.zeros((2,"
        " 1))], [1, 2, 0.3]])\n"
        "W = np.random.default_rng(0).normal(size=(2, 2)) @ np.eye(2, 3); P = W @ F @ np.linalg.pinv(W)\n"
        "assert np.allclose(W @ np.linalg.matrix_power(F, 20), np.linalg.matrix_power(P, 20) @ W)"
    ),
)

THEOREMS = (ROLLOUT_ERROR,)
