"""The optimal predictor on white inputs: a gradient ascent on orthonormal frames (result 5.8)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, W, d, k

C: Any = sp.MatrixSymbol("C", d, d)
CROSS: Any = Named("K", W * C * W.T)
VALUE: Any = tr(CROSS.T * CROSS) / 4
ASCENT: Any = Named("G", CROSS * W * C)
FLOW: Any = {W: P.T * (W * C - P * W * Sigma_x)}
FORCE: Any = CROSS * (W * C - CROSS * W)

WHITENED = Assumption("whitened", r"the inputs are white, $\Sigma_x = I$", Equation(Sigma_x, identity(d)))
SYMMETRIC = Assumption("symmetric", r"$C^{\top} = C$ (exchangeable views)", Equation(C.T, C))
ORTHONORMAL = Assumption("orthonormal", r"$W W^{\top} = I$", Equation(W * W.T, identity(k)))
OPTIMAL = Assumption(
    "optimal-predictor",
    r"the predictor is optimal at every instant, which on an orthonormal $W$ is $P = W C W^{\top}$",
    Equation(P, W * C * W.T),
)
ALL = (WHITENED, SYMMETRIC, ORTHONORMAL, OPTIMAL)
USES = tuple(a.name for a in ALL)


def frames(rng: random.Random, size: int) -> Instance:
    """Draw an orthonormal W, a symmetric C and the optimal predictor."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, both = draw.orthonormal_rows(rows, columns), draw.symmetric(columns)
    values = {W: encoder, C: both, P: encoder * both * encoder.transpose(), Sigma_x: eye(columns)}
    return Instance({k: rows, d: columns}, values)


def _row(weight: list[Any], cross: list[list[Any]], predictor: Any, variance: list[list[Any]]) -> Instance:
    values = {W: matrix([weight]), C: matrix(cross), P: matrix([[predictor]]), Sigma_x: matrix(variance)}
    return Instance({k: 1, d: 2}, values)


UNIT, TILTED = [[1, 0], [0, 1]], [[1, 1], [1, 0]]

STIEFEL = Theorem(
    name="stiefel-flow",
    title="With the optimal predictor the flow climbs the squared cross-covariance on orthonormal frames",
    chapter=5,
    statement=(
        r"On white inputs, with $C$ symmetric, $V = W$, no decay and the optimal predictor, orthonormal rows stay orthonormal,"
        r" and $\dot W = K(W C - K W)$, $K = W C W^{\top}$, is the Riemannian gradient ascent of $f = \frac14 \lVert W C W^{\top}"
        r" \rVert_F^2$ on the Stiefel manifold, in the Euclidean metric of $W$ and in the canonical metric at once. Hence"
        r" $\dot f = \lVert \dot W \rVert^2$, and the flow rests exactly at the critical points of $f$: as its velocity shows,"
        r" the frames made of a $C$-invariant part and a part on which $K$ vanishes. [@tang2023] prove that $f$ does not"
        r" decrease; that it is a gradient, and in which metrics, is ours."
    ),
    assumptions=ALL,
    proof=(
        Step(
            Gradient(-VALUE, W, ASCENT, named=r"\left(-f\right)"),
            r"$df = \frac12 \operatorname{tr} K\,dK = \operatorname{tr} C W^{\top} K\,dW$ for a symmetric $C$.",
            uses=("symmetric",),
            conclusion=True,
        ),
        Step(
            Rate(W, FLOW, FORCE),
            "Insert the optimal predictor; on white inputs no other covariance is left.",
            uses=("symmetric", "whitened", "optimal-predictor"),
            conclusion=True,
        ),
        Step(
            Rate(W * W.T, FLOW, sp.ZeroMatrix(k, k)),
            r"The flow is tangent: $\dot W W^{\top} = K(K - K) = 0$.",
            uses=USES,
            conclusion=True,
        ),
        Step(
            Equality(FORCE, ASCENT - (ASCENT * W.T + W * ASCENT.T) * W / 2),
            r"In the metric $\lVert dW \rVert^2$ the gradient is $G = \nabla f$ less its normal part"
            r" $\operatorname{sym}(G W^{\top}) W$, and $G W^{\top} = K^2$.",
            uses=("symmetric", "orthonormal"),
            conclusion=True,
        ),
        Step(
            Equality(FORCE, ASCENT - W * ASCENT.T * W),
            r"In the canonical metric it is $G - W G^{\top} W$: the same, because $G W^{\top}$ is symmetric.",
            uses=("symmetric", "orthonormal"),
            conclusion=True,
        ),
        Step(
            Rate(VALUE, FLOW, squared_norm(FORCE), named="f"),
            "A gradient flow climbs at the rate of its own squared speed.",
            uses=USES,
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "descent",
            "sign",
            "claim that the flow descends",
            Rate(VALUE, FLOW, -squared_norm(FORCE)),
            uses=USES,
        ),
        FalseSibling(
            "square-not-quartered",
            "constant",
            r"claim the gradient of $\frac12 \lVert W C W^{\top} \rVert^2$",
            Gradient(-2 * VALUE, W, ASCENT),
            uses=("symmetric",),
        ),
        FalseSibling(
            "trace-of-the-cross-covariance",
            "exchange",
            r"claim the ascent of $\frac12 \operatorname{tr} W C W^{\top}$, whose gradient is $W C$, as in Oja's flow",
            Equality(FORCE, W * C - W * C * W.T * W),
            uses=("symmetric", "orthonormal"),
        ),
        FalseSibling(
            "euclidean-gradient",
            "omission",
            "claim the gradient without its normal part taken off",
            Equality(FORCE, ASCENT),
            uses=("symmetric", "orthonormal"),
        ),
    ),
    witnesses=(
        Witness("whitened", _row([1, 0], TILTED, 1, [[2, 0], [0, 2]])),
        Witness("symmetric", _row([1, 0], [[1, 1], [0, 0]], 1, UNIT)),
        # A frame that is not orthonormal, with the predictor of one that is: its length moves.
        Witness("orthonormal", _row([2, 0], TILTED, 4, UNIT)),
        Witness("optimal-predictor", _row([1, 0], TILTED, 2, UNIT)),
    ),
    instances=frames,
    sources=(
        Source("tang2023", "", r"the conserved frame and a non-decreasing f"),
        Source("ours", "", "the Riemannian gradient, in both metrics"),
    ),
    belief="The optimal predictor turns self-prediction into principal component analysis.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.9, -0.7, 0.5, 0.2]); W = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 2)))[0].T\n"
        "path = LinearJEPA(ViewPair.from_covariances(np.eye(4), np.eye(4), C), predictor_rate=np.inf).solve(W, None, [0, 1, 2, 3])\n"
        "f = [np.linalg.norm(w @ C @ w.T) ** 2 / 4 for w in path.encoder]\n"
        "assert np.all(np.diff(f) > 0) and np.allclose(path.encoder @ path.encoder.swapaxes(1, 2), np.eye(2))"
    ),
)
THEOREMS = (STIEFEL,)
