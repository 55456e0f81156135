"""The signature law: what a JEPA with the optimal predictor keeps when directions are anticorrelated (6.1)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Dominates, Implication, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol
from jepalign.theory.guarantees.competition import A, C, M, U, directions, others
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, W, d, k

Lambda: Any = SymmetricSymbol(r"\Lambda", k)
congruence: Any = sp.MatrixSymbol("X", k, k)
learnt, other = sp.symbols("lambda_i lambda_j", real=True)

K: Any = Named("K", W * C * W.T)
FLOW: Any = K * (W * C - K * W)
GROWTH: Any = Named("N", W * C * C * W.T - W * C * W.T * W * C * W.T)

ORTHONORMAL = Assumption(
    "orthonormal",
    r"the encoder starts with orthonormal rows, $W W^{\top} = I$, which the optimal predictor conserves",
    Equation(W * W.T, sp.Identity(k)),
)
EIGENVECTORS = Assumption(
    "at-rest",
    r"$W$ is an equilibrium, $W C = \Lambda W$: its rows span an invariant subspace of $C$",
    Equation(W * C, Lambda * W),
)
ORTHOGONAL = Assumption(
    "orthogonal",
    r"the other directions are orthogonal to it, $W U^{\top} = 0$",
    Equation(W * U.T, sp.ZeroMatrix(k, others)),
)
CROSS = Assumption("invariant-cross", r"and invariant: $U C = M U$", Equation(U * C, M * U))


def _orthonormal(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows = rng.randint(1, size)
    columns = rows + rng.randint(0, size)
    values = {
        W: draw.orthonormal_rows(rows, columns),
        C: draw.symmetric(columns),
        congruence: draw.invertible(rows),
    }
    return Instance({k: rows, d: columns}, values)


CONSERVED_SIGNATURE = Theorem(
    name="conserved-signature",
    title="With the optimal predictor the signature of the predictor is conserved",
    chapter=6,
    statement=(
        r"Let $\Sigma = I$, $C$ symmetric of any signs, $V = W$, $W W^{\top} = I$ and the predictor optimal, so that $P = K ="
        r" W C W^{\top}$ and $\dot W = K (W C - K W)$. Then $\dot K = N K + K N$ with $N = W C (I - W^{\top} W) C W^{\top}"
        r" \succeq 0$. So $K(t) = X K(0) X^{\top}$ with $\dot X = N X$: the numbers of positive, zero and negative eigenvalues of"
        r" the predictor never change. $X$ is invertible at all times since $N$ is bounded."
    ),
    assumptions=(ORTHONORMAL,),
    proof=(
        Step(
            Rate(K, {W: FLOW}, GROWTH * K + K * GROWTH, named="K"),
            r"$\dot K = \dot W C W^{\top} + W C \dot W^{\top}$, and $\dot W C W^{\top} = K (W C^2 W^{\top} - K^2) = K N$.",
            uses=(),
            conclusion=True,
        ),
        Step(
            Dominates(GROWTH, sp.ZeroMatrix(k, k), W * C * (sp.Identity(d) - W.T * W)),
            r"$I - W^{\top} W$ is a projection, so $N$ is the Gram matrix of $W C (I - W^{\top} W)$: the part of $W C$ that"
            r" leaves the learnt directions.",
            uses=("orthonormal",),
            conclusion=True,
        ),
        Step(
            Rate(
                congruence.I * K * congruence.I.T,
                {W: FLOW, congruence: GROWTH * congruence},
                sp.ZeroMatrix(k, k),
                named=r"X^{-1} K X^{-\top}",
            ),
            r"Along $\dot X = N X$ the matrix $X^{-1} K X^{-\top}$ stands still: $K$ moves by congruence.",
            conclusion=True,
        ),
        Step(
            Cited(
                r"\operatorname{inertia}(X K X^{\top}) = \operatorname{inertia}(K)\quad\text{for invertible } X",
                "horn2013, Theorem 4.5.8",
            ),
            "Sylvester's law of inertia [@horn2013, Theorem 4.5.8].",
        ),
    ),
    siblings=(
        FalseSibling(
            "spectrum-conserved",
            "quantifier",
            "claim that the eigenvalues themselves are conserved, not only their signs",
            Rate(K, {W: FLOW}, sp.ZeroMatrix(k, k)),
            uses=("orthonormal",),
        ),
        FalseSibling(
            "commutator",
            "sign",
            r"write $N K - K N$, a rotation, for $N K + K N$",
            Rate(K, {W: FLOW}, GROWTH * K - K * GROWTH),
            uses=("orthonormal",),
        ),
        FalseSibling(
            "residual-form",
            "omission",
            r"claim it of the residual form $\dot W = W C - K W$",
            Rate(K, {W: W * C - K * W}, GROWTH * K + K * GROWTH),
            uses=("orthonormal",),
        ),
    ),
    witnesses=(
        Witness(
            "orthonormal",
            Instance({k: 1, d: 2}, {W: matrix([[2, 1]]), C: matrix([[1, 0], [0, 1]]), congruence: eye(1)}),
        ),
    ),
    instances=_orthonormal,
    sources=(
        Source("ours"),
        Source("tang2023", "", "the flow"),
        Source("horn2013", "Theorem 4.5.8", "Sylvester's law"),
    ),
    belief="Training decides how many directions a JEPA predicts with positive sign.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.9, 0.5, -0.4, -0.8]); W = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 2)))[0].T\n"
        "path = LinearJEPA(ViewPair.from_covariances(np.eye(4), np.eye(4), C), predictor_rate=np.inf).solve(W, None, [0.0, 20.0])\n"
        "signs = [np.sum(np.linalg.eigvalsh(w @ C @ w.T) > 0) for w in path.encoder]\n"
        "assert signs[0] == signs[-1]"
    ),
)


def _at_rest(rng: random.Random, size: int) -> Instance:
    """Draw two complementary invariant subspaces with orthonormal bases."""
    draw = Draw(rng)
    instance = directions(rng, size)
    rows, rest = instance.matrices[W].nrows(), instance.matrices[U].nrows()
    whole = draw.orthogonal(rows + rest)
    first = matrix([list(row) for row in whole.tolist()[:rows]])
    second = matrix([list(row) for row in whole.tolist()[rows:]])
    on_first, on_second = draw.symmetric(rows), draw.symmetric(rest)
    cross = first.transpose() * on_first * first + second.transpose() * on_second * second
    values = {W: first, U: second, A: instance.matrices[A], C: cross, Lambda: on_first, M: on_second}
    return Instance(instance.sizes, values, {learnt: draw.number(), other: draw.number()})


def _plane(**changes: Any) -> Instance:
    values: dict[str, Any] = {
        "W": matrix([[1, 0]]),
        "U": matrix([[0, 1]]),
        "A": eye(1),
        "C": matrix([[1, 0], [0, 2]]),
        "Lambda": eye(1),
        "M": matrix([[2]]),
        **changes,
    }
    letters = {"W": W, "U": U, "A": A, "C": C, "Lambda": Lambda, "M": M}
    return Instance({k: 1, others: 1, d: 2}, {letters[name]: value for name, value in values.items()})


STABLE = other * learnt - learnt**2 < 0

SIGNATURE_LAW = Theorem(
    name="signature-law",
    title="The attractors of a JEPA: the largest positive and the most negative correlations, in numbers fixed at the start",
    chapter=6,
    statement=(
        r"In the same setting, at an equilibrium $W C = \Lambda W$ a perturbation towards other eigendirections,"
        r" $\delta W = A U$, obeys $\dot A = \Lambda (A M - \Lambda A)$: in modes at the rate $\lambda_i (\lambda_j - \lambda_i)$."
        r" A set of $k$ eigendirections is therefore stable iff every positive $\lambda_i$ in it exceeds all outside and every"
        r" negative one lies below all outside: it consists of the $a$ largest and the $k - a$ smallest eigenvalues. As the"
        r" signature is conserved, $a$ is the number of positive eigenvalues of the predictor at the start: there are up to $k + 1$"
        r" attractors, and the start chooses. That almost every start with given $a$ reaches its attractor is argued (an ascent"
        r" of $\frac14 \lVert W C W^{\top} \rVert^2$ whose other equilibria are unstable), not proved here."
    ),
    assumptions=(ORTHONORMAL, EIGENVECTORS, ORTHOGONAL, CROSS),
    proof=(
        Step(
            Rate(FLOW, {W: A * U}, Lambda * (A * M - Lambda * A) * U, named=r"\dot W"),
            r"To first order the predictor does not change: $\delta K = A U C W^{\top} + W C U^{\top} A^{\top} = 0$. What remains is"
            r" $K (A U C - K A U)$ with $K = \Lambda$.",
            uses=("orthonormal", "at-rest", "orthogonal", "invariant-cross"),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(STABLE, sp.Or(sp.And(learnt > 0, other < learnt), sp.And(learnt < 0, other > learnt)))
            ),
            r"The sign of $\lambda_i(\lambda_j - \lambda_i)$, for one learnt and one other eigenvalue.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "ranks-by-magnitude",
            "exchange",
            r"claim that the direction of larger $|\lambda|$ wins",
            Implication(sp.Equivalent(STABLE, learnt**2 > other**2)),
        ),
        FalseSibling(
            "largest-only",
            "quantifier",
            r"claim $\lambda_j < \lambda_i$ for every stable pair, as for contrast",
            Implication(sp.Equivalent(STABLE, other < learnt)),
        ),
        FalseSibling(
            "without-predictor",
            "omission",
            r"leave out the predictor in front: $\dot A = A M - \Lambda A$",
            Rate(FLOW, {W: A * U}, (A * M - Lambda * A) * U),
            uses=("orthonormal", "at-rest", "orthogonal", "invariant-cross"),
        ),
        FalseSibling(
            "sides-exchanged",
            "exchange",
            r"multiply by $\Lambda$ from the right",
            Rate(FLOW, {W: A * U}, (A * M * M - Lambda * A * M) * U),
            uses=("orthonormal", "at-rest", "orthogonal", "invariant-cross"),
        ),
    ),
    witnesses=(
        Witness("orthonormal", _plane(W=matrix([[2, 0]]))),
        Witness("at-rest", _plane(Lambda=matrix([[3]]))),
        Witness("orthogonal", _plane(U=matrix([[1, 0]]), M=eye(1), W=matrix([[1, 0]]))),
        Witness("invariant-cross", _plane(M=matrix([[3]]))),
    ),
    instances=_at_rest,
    sources=(Source("ours"), Source("tang2023", "", "the flow and its ascent, for symmetric transitions")),
    belief="A JEPA ranks directions by the strength of their correlation.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "model = LinearJEPA(ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.3, 0.1, -0.9])), predictor_rate=np.inf)\n"
        "start = np.array([[0.6, 0.8, 0.0]]) + [[0, 0, 0.1]]; start /= np.linalg.norm(start)\n"
        "end = model.solve(start, None, [0.0, 3000.0]).encoder[-1]\n"
        "assert abs(end[0, 0]) > 0.999  # not the direction of largest magnitude"
    ),
)

THEOREMS = (CONSERVED_SIGNATURE, SIGNATURE_LAW)
