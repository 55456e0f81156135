"""Views that are not exchangeable: contrast sees the symmetric part, prediction the invariant subspaces (7.3)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality, Gradient, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, Sigma_yx, W, X, Y, alpha, d, eta, k, m

other: Any = sp.MatrixSymbol("R", k, d)

AT_REST = Assumption(
    "at-rest",
    r"the residual vanishes: $W \Sigma_{yx} = P W \Sigma_x$",
    Equation(W * Sigma_yx, P * W * Sigma_x),
)
OPTIMAL = Assumption(
    "optimal-predictor",
    r"the predictor is optimal on the batch: $P W X X^{\top} W^{\top} = W Y X^{\top} W^{\top}$",
    Equation(P * W * X * X.T * W.T, W * Y * X.T * W.T),
)
EQUAL_SPREAD = Assumption(
    "equal-covariances",
    r"the two views have one covariance, $Y Y^{\top} = X X^{\top}$, though $\Sigma_{yx}$ need not be symmetric",
    Equation(Y * Y.T, X * X.T),
)

SYMMETRIC_PART: Any = (Sigma_yx + Sigma_yx.T) / 2
RESIDUAL: Any = Named(r"R", W * Sigma_yx - P * W * Sigma_x)
BALANCE: Any = W * W.T - P.T * P / alpha
FLOW: Any = {W: P.T * RESIDUAL - eta * W, P: alpha * RESIDUAL * W.T - eta * P}
SURPLUS: Any = tr((P.T * (W * Y - P * W * X) - (W * Y - W * X)) * (W * X).T) / m


def _resting(rng: random.Random, size: int) -> Instance:
    """Draw a left-invariant subspace of Σ_yx Σ_x⁻¹, its encoder and predictor; and a batch whose views differ by a rotation."""
    draw = Draw(rng)
    rows, rest = rng.randint(1, size), rng.randint(1, size)
    total = rows + rest
    basis, block = draw.invertible(total), draw.matrix(total, total)
    for i in range(rows):
        for j in range(rows, total):
            block[i, j] = 0
    spread = draw.positive_definite(total)
    encoder = fmpq_mat(basis.tolist()[:rows])
    inside = fmpq_mat([row[:rows] for row in block.tolist()[:rows]])
    values = {
        W: encoder,
        P: inside,
        Sigma_x: spread,
        Sigma_yx: basis.inv() * block * basis * spread,
    }
    return Instance({k: rows, d: total}, values, {alpha: draw.positive(), eta: draw.positive()})


def _turned(rng: random.Random, size: int) -> Instance:
    """Draw a batch Y = XO with an orthogonal O, so that the covariances agree, and its optimal predictor."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    samples = columns + 1
    encoder = fmpq_mat(draw.invertible(columns).tolist()[:rows])
    while True:
        first = draw.matrix(columns, samples)
        spread = encoder * first * first.transpose() * encoder.transpose()
        if spread.det() != 0:
            break
    second = first * draw.orthogonal(samples)
    predictor = encoder * second * first.transpose() * encoder.transpose() * spread.inv()
    return Instance({k: rows, d: columns, m: samples}, {W: encoder, P: predictor, X: first, Y: second})


def _anywhere(rng: random.Random, size: int) -> Instance:
    draw, instance = Draw(rng), _resting(rng, size)
    rows, columns = instance.sizes[k], instance.sizes[d]
    return instance.with_(
        {W: fmpq_mat(draw.invertible(columns).tolist()[:rows]), Sigma_yx: draw.matrix(columns, columns)}
    )


def _stretched(rng: random.Random, size: int) -> Instance:
    """Double the second view of a draw, and with it the optimal predictor."""
    instance = _turned(rng, size)
    return instance.with_({Y: instance.matrices[Y] * 2, P: instance.matrices[P] * 2})


_QUARTER: Any = matrix([[0, -1], [1, 0]])

NON_EXCHANGEABLE = Theorem(
    name="non-exchangeable",
    title="Contrast sees the symmetric part of the cross-covariance, prediction its invariant subspaces",
    chapter=7,
    statement=(
        r"Let $\Sigma_{yx}$ be any matrix, $V = W$. Every loss that sees the pair of views through $\mathbb{E}\,"
        r" z^{\top} z^{+} = \operatorname{tr} W \Sigma_{yx} W^{\top}$ depends on $(\Sigma_{yx} +"
        r" \Sigma_{yx}^{\top})/2$ alone. A JEPA at rest without decay, with invertible $P$, has $W \Sigma_{yx} = P W"
        r" \Sigma_x$: the rows of $W$ span a left-invariant subspace of $\Sigma_{yx} \Sigma_x^{-1}$, on which $P$ acts"
        r" as that matrix does, complex eigenvalues included; conversely every left-invariant subspace is at rest. As"
        r" they are survive the balance, Gram conservation, the split of the force and the repulsion of the"
        r" stop-gradient, which never asked for symmetry. What fails is what needs a potential: the rest points of the"
        r" symmetric part are others, and contrast and prediction no longer share their features."
    ),
    assumptions=(AT_REST,),
    proof=(
        Step(
            Gradient(
                -2 * tr(W * Sigma_yx * W.T),
                W,
                4 * W * SYMMETRIC_PART,
                named=r"\left(-2\,\mathbb{E}\, z^{\top} z^{+}\right)",
            ),
            r"A quadratic form does not see the antisymmetric part.",
            conclusion=True,
        ),
        Step(
            Equality(tr(W * (Sigma_yx - Sigma_yx.T) * W.T), sp.S.Zero),
            r"Nor does its value.",
            conclusion=True,
        ),
        Step(
            Equality(P.T.I * (P.T * RESIDUAL), W * Sigma_yx - P * W * Sigma_x),
            r"Rest without decay is $P^{\top} R = 0$ and $R W^{\top} = 0$; for invertible $P$ the first already says"
            r" $R = 0$.",
        ),
        Step(
            Equality(W * Sigma_yx * Sigma_x.I, P * W),
            r"So $W \Sigma_{yx} \Sigma_x^{-1} = P W$: the row space of $W$ is mapped into itself.",
            uses=("at-rest",),
            conclusion=True,
        ),
        Step(
            Equality(W * Sigma_yx * Sigma_x.I * Sigma_yx * Sigma_x.I, P * P * W),
            r"And so with every power.",
            uses=("at-rest",),
            conclusion=True,
        ),
        Step(
            Rate(BALANCE, FLOW, -2 * eta * BALANCE),
            r"The balance holds with any $\Sigma_{yx}$: both rates contain $P^{\top} R W^{\top}$ and its transpose.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "symmetrised-rest",
            "exchange",
            r"put the symmetric part into the JEPA's condition of rest",
            Equality(W * SYMMETRIC_PART * Sigma_x.I, P * W),
            uses=("at-rest",),
        ),
        FalseSibling(
            "contrast-sees-all",
            "omission",
            r"leave out the transpose in the contrastive force",
            Gradient(
                -2 * tr(W * Sigma_yx * W.T), W, 4 * W * Sigma_yx, named=r"\left(-2\,\mathbb{E}\, z^{\top} z^{+}\right)"
            ),
        ),
        FalseSibling(
            "right-invariant",
            "exchange",
            r"take right-invariant subspaces, $W (\Sigma_{yx} \Sigma_x^{-1})^{\top} = P W$",
            Equality(W * Sigma_x.I * Sigma_yx.T, P * W),
            uses=("at-rest",),
        ),
        FalseSibling(
            "of-every-encoder",
            "quantifier",
            "claim invariance for every encoder with its optimal predictor",
            Equality(
                W * Sigma_yx * Sigma_x.I,
                W * Sigma_yx * W.T * (W * Sigma_x * W.T).I * W,
            ),
            instances=_anywhere,
        ),
    ),
    witnesses=(
        Witness(
            "at-rest",
            Instance(
                {k: 1, d: 2},
                {W: matrix([[1, 0]]), P: eye(1), Sigma_x: eye(2), Sigma_yx: _QUARTER},
                {alpha: 1, eta: 1},
            ),
        ),
    ),
    instances=_resting,
    sources=(
        Source("ours"),
        Source("tang2023", "", "invariant subspaces of self-prediction"),
        Source("oord2018", "", "CPC"),
    ),
    belief="Prediction and contrast on the same pairs of views learn the same subspace.",
    example=(
        "import numpy as np\n"
        "C = np.zeros((3, 3)); C[:2, :2] = [[0, -0.9], [0.9, 0]]; C[2, 2] = 0.1; W = np.eye(2, 3)\n"
        "P = W @ C @ W.T\n"
        "assert np.allclose(W @ C, P @ W)  # at rest, on the plane that turns by 90 degrees\n"
        "assert np.allclose(np.linalg.eigvalsh((C + C.T) / 2), [0, 0, 0.1])  # contrast sees only the weak axis"
    ),
)

POWER_WITHOUT_SYMMETRY = Theorem(
    name="power-without-symmetry",
    title="The power identity needs equal covariances, not a symmetric cross-covariance",
    chapter=7,
    statement=(
        r"One encoder, views $x$ and $y$ of one covariance, any $\Sigma_{yx}$, the optimal predictor: the repulsive"
        r" power of the JEPA is the alignment loss, $\mathbb{E}\, F_u^{\top} z = \frac12 \mathbb{E} \lVert z - z^{+}"
        r" \rVert^2$, as between exchangeable views. A stationary sequence and its next state are such a pair."
    ),
    assumptions=(OPTIMAL, EQUAL_SPREAD),
    proof=(
        Step(
            Equality(
                SURPLUS,
                tr(P.T * (W * Y - P * W * X) * X.T * W.T) / m + tr(W * X * X.T * W.T) / m - tr(W * Y * X.T * W.T) / m,
            ),
            r"Expand the surplus force $P^{\top}(z^{+} - P z) - (z^{+} - z)$ against $z$.",
        ),
        Step(
            Equality(SURPLUS, squared_norm(W * X - W * Y) / (2 * m)),
            r"For the optimal predictor the first term vanishes; and $\mathbb{E} \lVert z - z^{+} \rVert^2 ="
            r" \operatorname{tr} \Phi_x + \operatorname{tr} \Phi_y - 2 \operatorname{tr} K$, where the first two"
            r" agree. The trace of $K$ sees no antisymmetric part.",
            uses=("optimal-predictor", "equal-covariances"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "whole",
            "constant",
            r"drop the factor $\frac12$",
            Equality(SURPLUS, squared_norm(W * X - W * Y) / m),
            uses=("optimal-predictor", "equal-covariances"),
        ),
        FalseSibling(
            "any-views",
            "omission",
            "claim it for views of unequal covariances",
            Equality(SURPLUS, squared_norm(W * X - W * Y) / (2 * m)),
            uses=("optimal-predictor",),
            instances=_stretched,
        ),
        FalseSibling(
            "attracts",
            "sign",
            "claim an attraction",
            Equality(SURPLUS, -squared_norm(W * X - W * Y) / (2 * m)),
            uses=("optimal-predictor", "equal-covariances"),
        ),
    ),
    witnesses=(
        Witness(
            "optimal-predictor",
            Instance({k: 1, d: 1, m: 1}, {W: eye(1), P: matrix([[2]]), X: eye(1), Y: matrix([[-1]])}),
        ),
        Witness(
            "equal-covariances",
            Instance({k: 1, d: 1, m: 1}, {W: eye(1), P: matrix([[2]]), X: eye(1), Y: matrix([[2]])}),
        ),
    ),
    instances=_turned,
    sources=(Source("ours"),),
    belief="Without exchangeable views the implicit repulsion no longer balances alignment.",
    example=(
        "import numpy as np\n"
        "turn = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]]); z = np.random.default_rng(0).normal(size=(2, 50))\n"
        "z = np.linalg.solve(np.linalg.cholesky(z @ z.T), z); plus = turn @ z; K = plus @ z.T  # white, turned by one radian\n"
        "power = np.sum((K.T @ (plus - K @ z) - (plus - z)) * z)\n"
        "assert np.isclose(power, np.sum((plus - z) ** 2) / 2) and not np.allclose(K, K.T)"
    ),
)

THEOREMS = (NON_EXCHANGEABLE, POWER_WITHOUT_SYMMETRY)
