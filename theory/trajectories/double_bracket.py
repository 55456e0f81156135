"""The optimal predictor with several rows: the double bracket, and what structure it has (result 5.8)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Dominates, Equality, Implication, ModeRate, Rate, ScalarIdentity, SolvesODE
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, logdet, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, W, d, k

C: Any = SymmetricSymbol("C", d)
S: Any = SymmetricSymbol("S", k)
K0: Any = SymmetricSymbol("K_0", k)
Psi: Any = sp.MatrixSymbol(r"\Psi", k, k)

K: Any = Named("K", W * C * W.T)
SECOND: Any = Named("K_2", W * C * C * W.T)
THIRD: Any = Named("K_3", W * C * C * C * W.T)
PI: Any = Named(r"\Pi", W.T * W)
FLOW: Any = {W: K * (W * C - K * W)}

ORTHONORMAL = Assumption("orthonormal", r"$W W^{\top} = I$", Equation(W * W.T, identity(k)))


def bracket(left: Any, right: Any) -> Any:
    """Return the commutator."""
    return left * right - right * left


def _frames(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    values = {W: draw.orthonormal_rows(rows, columns), C: draw.symmetric(columns), S: draw.symmetric(rows)}
    values |= {K0: draw.symmetric(rows), Psi: draw.matrix(rows, rows)}
    return Instance({k: rows, d: columns}, values)


DOUBLE_BRACKET = Theorem(
    name="double-bracket",
    title="The projector moves by a double bracket, and the signs of the cross-covariance are kept",
    chapter=5,
    statement=(
        r"With the optimal predictor on white inputs ($\dot W = K(W C - K W)$, $K = W C W^{\top}$, $C$ symmetric,"
        r" $W W^{\top} = I$) the projector $\Pi = W^{\top} W$ obeys $\dot\Pi = [\Pi, [\Pi, C \Pi C]]$: unlike in Oja's flow and in"
        r" the brackets of [@brockett1991] the inner matrix moves along. The cross-covariance obeys $\dot K = S K + K S$ with"
        r" $S = K_2 - K^2 \succeq 0$, $K_n = W C^n W^{\top}$: so $K(t) = \Psi K(0) \Psi^{\top}$ with an invertible $\Psi$, the"
        r" numbers of its positive, negative and zero eigenvalues are conserved, and $|\det K|$ never falls. The rate of $K_2$"
        r" contains $K_3$, and so on up to the number of distinct eigenvalues of $C$. For two of them, for $k = 1$ and for"
        r" $k = d - 1$ the flow is solved up to one quadrature or one scalar equation; for three or more and $1 < k < d - 1$ we"
        r" know no closed form."
    ),
    assumptions=(ORTHONORMAL,),
    proof=(
        Step(
            Rate(W.T * W, FLOW, bracket(PI, bracket(PI, C * PI * C)), named=r"\Pi"),
            r"Both sides are $\Pi X (I - \Pi) + (I - \Pi) X \Pi$ with $X = C \Pi C$.",
            uses=("orthonormal",),
            conclusion=True,
        ),
        Step(
            Rate(W * C * W.T, FLOW, (SECOND - K * K) * K + K * (SECOND - K * K), named="K"),
            r"$\dot W C W^{\top} = K(K_2 - K^2)$, and its transpose.",
            conclusion=True,
        ),
        Step(
            Dominates(SECOND, K * K, W * C * (identity(d) - W.T * W)),
            r"$S$ is the Gram matrix of $W C (I - \Pi)$, what leaves the span under $C$.",
            uses=("orthonormal",),
            conclusion=True,
        ),
        Step(
            Rate(Psi * K0 * Psi.T, {Psi: S * Psi}, S * (Psi * K0 * Psi.T) + (Psi * K0 * Psi.T) * S),
            r"With $\dot\Psi = S\Psi$, $\Psi(0) = I$, the congruent $\Psi K(0) \Psi^{\top}$ solves the same linear equation as $K$,"
            r" so they are equal, and $\Psi$ is invertible as the solution of a linear equation.",
            conclusion=True,
        ),
        Step(
            Cited(
                r"\operatorname{inertia}(\Psi K_0 \Psi^{\top}) = \operatorname{inertia}(K_0)",
                "horn2013, Theorem 4.5.8 (Sylvester's law of inertia)",
            ),
            r"Congruent symmetric matrices have equally many positive, negative and zero eigenvalues.",
        ),
        Step(
            Rate(logdet(W * C * W.T), FLOW, 2 * tr(SECOND - K * K), named=r"\ln |\det K|"),
            r"Where $K$ is invertible its determinant grows at rate $2 \operatorname{tr} S \ge 0$.",
            conclusion=True,
        ),
        Step(
            Rate(
                W * C * C * W.T,
                FLOW,
                K * (THIRD - K * SECOND) + (THIRD - SECOND * K) * K,
                named="K_2",
            ),
            r"The hierarchy of the $K_n$ is closed only by the minimal polynomial of $C$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "brockett",
            "exchange",
            r"take $C$ for $C \Pi C$, the double bracket of Brockett",
            Rate(W.T * W, FLOW, bracket(PI, bracket(PI, C))),
            uses=("orthonormal",),
        ),
        FalseSibling(
            "descending-bracket",
            "sign",
            "change the sign",
            Rate(W.T * W, FLOW, -bracket(PI, bracket(PI, C * PI * C))),
            uses=("orthonormal",),
        ),
        FalseSibling(
            "isospectral",
            "quantifier",
            r"claim that not only the inertia of $K$ is conserved, but its trace",
            Rate(tr(W * C * W.T), FLOW, sp.S.Zero),
            uses=("orthonormal",),
        ),
        FalseSibling(
            "one-sided",
            "omission",
            r"let $S$ act on one side only, $\dot K = 2 S K$",
            Rate(W * C * W.T, FLOW, 2 * (SECOND - K * K) * K),
            uses=("orthonormal",),
        ),
    ),
    witnesses=(Witness("orthonormal", Instance({k: 1, d: 2}, {W: matrix([[2, 0]]), C: matrix([[1, 1], [1, 0]])})),),
    instances=_frames,
    sources=(
        Source("ours"),
        Source("brockett1991", "", "double brackets with a constant inner matrix"),
        Source("tang2023", "", "the flow"),
    ),
    belief="The optimal predictor makes self-prediction an Oja flow of several rows.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.9, 0.4, -0.6, -0.8]); W = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 2)))[0].T\n"
        "path = LinearJEPA(ViewPair.from_covariances(np.eye(4), np.eye(4), C), predictor_rate=np.inf).solve(W, None, [0, 2, 4, 60])\n"
        "spectra = np.array([np.linalg.eigvalsh(w @ C @ w.T) for w in path.encoder])\n"
        "assert np.all(np.sign(spectra) == np.sign(spectra[0])) and np.all(np.diff(np.abs(spectra.prod(axis=1))) > 0)"
    ),
)

# -- two eigenvalues ------------------------------------------------------------------------------------------------------

upper, lower, mu, mu0, extent, square, square0, time = sp.symbols("lambda_1 lambda_2 mu mu_0 c x x_0 t", real=True)
MU_RATE = 2 * mu * (upper - mu) * (mu - lower)
ROSE, FELL = (mu - lower) / (mu0 - lower), (upper - mu) / (upper - mu0)
TIME = (
    -sp.log(mu) / (upper * lower)
    - sp.log(upper - mu) / (upper * (upper - lower))
    + sp.log(mu - lower) / (lower * (upper - lower))
) / 2
GROWN: Any = square0 * sp.exp(4 * extent**2 * time)

TWO = Assumption(
    "two-eigenvalues",
    r"$C$ has the eigenvalues $\lambda_1 > \lambda_2$ and no other, $(C - \lambda_1)(C - \lambda_2) = 0$",
    Equation(C * C, (upper + lower) * C - upper * lower * identity(d)),
)


def _component(value: Any) -> Any:
    """Return W(C − value·I): the part of W along the other eigenvalue, up to a factor."""
    return W * (C - value * identity(d))


def _two_valued(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size + 1)
    high, low = draw.positive(), -draw.positive() if rng.random() < 0.5 else draw.positive()
    high = low + high
    basis = draw.orthogonal(columns)
    many = rng.randint(0, columns)
    signs = matrix([[int(i == j and i < many) for j in range(columns)] for i in range(columns)])
    cross = basis * signs * basis.transpose() * (high - low)
    cross += matrix([[low * int(i == j) for j in range(columns)] for i in range(columns)])
    begin, now = draw.positive(), draw.positive()
    within = [low + (high - low) * share / (share + 1) for share in (begin, now)]
    scalars = {upper: high, lower: low, mu0: within[0], mu: within[1], extent: draw.positive()}
    scalars |= {square0: draw.positive(), time: draw.positive() / 9}
    return Instance({k: rows, d: columns}, {W: draw.orthonormal_rows(rows, columns), C: cross}, scalars)


def _one_row(weight: list[int], cross: list[list[int]]) -> Instance:
    return Instance({k: 1, d: 2}, {W: matrix([weight]), C: matrix(cross)}, {upper: 1, lower: -1})


USES = ("orthonormal", "two-eigenvalues")
_THREE = Instance(
    {k: 1, d: 3},
    {W: matrix([["2/3", "2/3", "1/3"]]), C: matrix([[2, 0, 0], [0, 1, 0], [0, 0, 0]])},
    {upper: 2, lower: 0},
)

TWO_EIGENVALUES = Theorem(
    name="double-bracket-two-eigenvalues",
    title="If C has two distinct eigenvalues, the flow of the optimal predictor is solved for any number of rows",
    chapter=5,
    statement=(
        r"In the flow of the optimal predictor let $C$ have two distinct eigenvalues $\lambda_1 > \lambda_2$, of any"
        r" multiplicities. Then $\dot K = 2 K(\lambda_1 - K)(K - \lambda_2)$: the eigenvectors of $K = W C W^{\top}$ stay, and each"
        r" eigenvalue moves by $\dot\mu = 2\mu(\lambda_1 - \mu)(\mu - \lambda_2)$, at an elementary time. In the eigenbasis of"
        r" $K(0)$ the row of $W$ that belongs to $\mu$ is $[\sqrt{(\mu - \lambda_2)/(\mu_0 - \lambda_2)}\, w_0 (C - \lambda_2) -"
        r" \sqrt{(\lambda_1 - \mu)/(\lambda_1 - \mu_0)}\, w_0 (C - \lambda_1)]/(\lambda_1 - \lambda_2)$. For eigenvalues $\pm c$"
        r" (as $C^2 = c^2 I$) $\mu^2$ is logistic at rate $4c^2$, and all is explicit in $t$."
    ),
    assumptions=(ORTHONORMAL, TWO),
    proof=(
        Step(
            Rate(
                W * C * W.T,
                FLOW,
                2 * K * (upper * identity(k) - K) * (K - lower * identity(k)),
                named="K",
            ),
            r"In $\dot K = S K + K S$ now $S = (\lambda_1 + \lambda_2) K - \lambda_1\lambda_2 - K^2 = (\lambda_1 - K)(K - \lambda_2)$"
            r" is a function of $K$ alone.",
            uses=USES,
            conclusion=True,
        ),
        Step(
            Rate(_component(lower), FLOW, K * (upper * identity(k) - K) * _component(lower)),
            r"The component of $W$ along the first eigenspace is multiplied by a function of $K$ from the left,",
            uses=("two-eigenvalues",),
            conclusion=True,
        ),
        Step(
            Rate(_component(upper), FLOW, K * (lower * identity(k) - K) * _component(upper)),
            "and so is the other.",
            uses=("two-eigenvalues",),
            conclusion=True,
        ),
        Step(
            Equality((upper - lower) * W, _component(lower) - _component(upper)),
            r"Together they are $W$.",
        ),
        Step(
            ModeRate(ROSE, {mu: MU_RATE}, 2 * mu * (upper - mu) * ROSE),
            r"On an eigenvector of $K$, which does not move, the squared factor of the first component grows like this ratio,",
            conclusion=True,
        ),
        Step(
            ModeRate(FELL, {mu: MU_RATE}, 2 * mu * (lower - mu) * FELL),
            "and the other's like that one: both are one at the start.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(TIME, mu) * MU_RATE, sp.S.One),
            r"The time is three logarithms, for $\lambda_1, \lambda_2 \ne 0$.",
        ),
        Step(
            SolvesODE(
                extent**2 * GROWN / (extent**2 - square0 + GROWN),
                square,
                time,
                4 * square * (extent**2 - square),
                square0,
            ),
            r"For $\lambda_1 = -\lambda_2 = c$, $x = \mu^2$ has $\dot x = 4x(c^2 - x)$, whose solution is explicit.",
            conclusion=True,
        ),
        Step(
            Implication(mu * MU_RATE > 0, given=(lower < mu, mu < upper, sp.Ne(mu, 0))),
            r"Every $\mu$ between the eigenvalues moves away from zero: to $\lambda_1$ from the positive side, to $\lambda_2 < 0$"
            r" from the negative.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "logistic-cross-covariance",
            "omission",
            r"claim that $K$ itself is logistic, $\dot K = 2(\lambda_1 - K)(K - \lambda_2)$",
            Rate(W * C * W.T, FLOW, 2 * (upper * identity(k) - K) * (K - lower * identity(k))),
            uses=USES,
        ),
        FalseSibling(
            "any-spectrum",
            "quantifier",
            r"claim $S = (\lambda_1 - K)(K - \lambda_2)$ for the extreme eigenvalues of any $C$",
            Rate(W * C * W.T, FLOW, 2 * K * (upper * identity(k) - K) * (K - lower * identity(k))),
            uses=("orthonormal",),
            instances=lambda _rng, _size: _THREE,
        ),
        FalseSibling(
            "rate-of-the-square",
            "constant",
            r"claim the rate $2c^2$ for $\mu^2$",
            SolvesODE(
                (extent**2 * GROWN / (extent**2 - square0 + GROWN)).subs(time, time / 2),
                square,
                time,
                4 * square * (extent**2 - square),
                square0,
            ),
        ),
        FalseSibling(
            "components-exchanged",
            "exchange",
            r"give each component the factor of the other",
            Rate(_component(lower), FLOW, K * (lower * identity(k) - K) * _component(lower)),
            uses=("two-eigenvalues",),
        ),
    ),
    witnesses=(
        Witness("orthonormal", _one_row([2, 1], [[0, 1], [1, 0]])),
        Witness("two-eigenvalues", _one_row([1, 0], [[1, 1], [1, 0]])),
    ),
    instances=_two_valued,
    sources=(Source("ours"),),
    belief="For more than one row the flow of the optimal predictor has no closed form.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C, t = 0.7 * np.diag([1.0, 1.0, -1.0, -1.0]), 1.3; W = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 2)))[0].T\n"
        "path = LinearJEPA(ViewPair.from_covariances(np.eye(4), np.eye(4), C), predictor_rate=np.inf).solve(W, None, [0.0, t])\n"
        "x, y = (np.linalg.eigvalsh(w @ C @ w.T) ** 2 / 0.49 for w in path.encoder); grown = x * np.exp(4 * 0.49 * t)\n"
        "assert np.allclose(y, grown / (1 - x + grown))"
    ),
)

THEOREMS = (DOUBLE_BRACKET, TWO_EIGENVALUES)
