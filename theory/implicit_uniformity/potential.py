"""Whether a JEPA descends a function: jointly never, on the balanced manifold in a metric of its own (2.7)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Implication, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import StopGradient, SymmetricSymbol, squared_norm, tr
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
from jepalign.theory.setting import Draw, W, alpha, cross, d, eta, k, p, variance, w

encoder_metric, mixed_metric, predictor_metric = sp.symbols("m_1 m_2 m_3", real=True)

ENCODER = p * (cross - p * variance) * w
PREDICTOR = alpha * w**2 * (cross - p * variance)
CURL = sp.expand(
    sp.diff(encoder_metric * ENCODER + mixed_metric * PREDICTOR, p)
    - sp.diff(mixed_metric * ENCODER + predictor_metric * PREDICTOR, w)
)

CORRELATED = Assumption("correlated", r"the mode is correlated, $\lambda \ne 0$", Inequality(sp.Ne(cross, 0)))


def _metric(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    letters = (encoder_metric, mixed_metric, predictor_metric, w, p)
    values = {letter: draw.number() for letter in letters}
    if size == 2:  # the only metric without a curl
        values = dict.fromkeys(letters, 0) | {w: draw.number(), p: draw.number()}
    return Instance({}, {}, {**values, cross: draw.positive(), variance: draw.positive(), alpha: draw.positive()})


_NO_CURL = tuple(
    sp.Eq(CURL.subs(point, simultaneous=True), 0)
    for point in ({w: 1, p: 0}, {w: -1, p: 0}, {w: 1, p: 1}, {w: 2, p: 0}, {w: 2, p: 1})
)

NO_POTENTIAL = Theorem(
    name="no-potential",
    title="Encoder and predictor together descend no function, in any constant metric",
    chapter=2,
    statement=(
        r"The field of a JEPA mode, $\dot w = p(\lambda - \sigma p) w$, $\dot p = \alpha w^2 (\lambda - \sigma p)$, is a gradient in a"
        r" constant metric $M$ iff the curl of $M(\dot w, \dot p)$ vanishes. In the metric of the learning rates, $M ="
        r" \operatorname{diag}(1, 1/\alpha)$, it is $-\lambda w$. For $\lambda \ne 0$ it vanishes identically in no symmetric $M$ but"
        r" zero. [@ponce2025] show that the field is no gradient; here in every constant metric."
    ),
    assumptions=(CORRELATED,),
    proof=(
        Step(
            ScalarIdentity(CURL.subs({encoder_metric: 1, mixed_metric: 0, predictor_metric: 1 / alpha}), -cross * w),
            r"Differentiate: $\partial_p \dot w = (\lambda - 2\sigma p) w$ and $\partial_w \dot p/\alpha = 2w(\lambda - \sigma p)$.",
            conclusion=True,
        ),
        Step(
            Implication(
                encoder_metric**2 + mixed_metric**2 + predictor_metric**2 <= 0,
                given=(variance > 0, alpha > 0, *_NO_CURL),
            ),
            r"The curl of a general $M$ is a polynomial in $w$ and $p$. That it vanishes at five points already leaves only $M = 0$.",
            uses=("correlated",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "uncorrelated-too",
            "omission",
            "claim it of uncorrelated modes, which only decay",
            Implication(
                encoder_metric**2 + mixed_metric**2 + predictor_metric**2 <= 0,
                given=(variance > 0, alpha > 0, *_NO_CURL[:2]),
            ),
        ),
        FalseSibling(
            "curl-sign",
            "sign",
            r"claim the curl $+\lambda w$",
            ScalarIdentity(CURL.subs({encoder_metric: 1, mixed_metric: 0, predictor_metric: 1 / alpha}), cross * w),
        ),
        FalseSibling(
            "twice-the-metric",
            "constant",
            r"claim that $M = \operatorname{diag}(2, 1/\alpha)$, which balances the linear part, has no curl",
            ScalarIdentity(CURL.subs({encoder_metric: 2, mixed_metric: 0, predictor_metric: 1 / alpha}), sp.S.Zero),
        ),
    ),
    witnesses=(
        Witness(
            "correlated",
            Instance(
                {},
                {},
                {encoder_metric: 1, mixed_metric: 0, predictor_metric: 1, alpha: 1, cross: 0, variance: 1, w: 1, p: 1},
            ),
        ),
    ),
    instances=_metric,
    sources=(Source("ponce2025", "", "no potential"), Source("ours", "", "no constant metric")),
    belief="Gradient descent on both layers descends something.",
    example=(
        "import sympy as sp\n"
        "w, p, lam, sigma = sp.symbols('w p lambda sigma')\n"
        "encoder, predictor = p * (lam - p * sigma) * w, w**2 * (lam - p * sigma)\n"
        "assert sp.expand(sp.diff(encoder, p) - sp.diff(predictor, w)) == -lam * w"
    ),
)

# -- one encoder direction: where the balanced field is a Euclidean gradient ------------------------------------------------

column: Any = sp.MatrixSymbol("w", d, 1)
length: Any = SymmetricSymbol("n", 1)
along: Any = sp.MatrixSymbol("h", d, 1)
across: Any = sp.MatrixSymbol("g", d, 1)
C: Any = SymmetricSymbol("C", d)
root_rate = sp.Symbol("a", real=True)

FIELD: Any = root_rate * C * column * length - root_rate**2 * column * column.T * column


def _speed(direction: Any) -> Any:
    """Return the rate of n = |w| along a direction, wᵀh/n, as a symmetric 1 × 1 matrix."""
    return (length.I * column.T * direction + direction.T * column * length.I) / 2


def _derivative(direction: Any) -> Any:
    return root_rate * (C * direction * length + C * column * _speed(direction)) - root_rate**2 * (
        direction * column.T * column + column * direction.T * column + column * column.T * direction
    )


ASYMMETRY: Any = tr(across.T * _derivative(along)) - tr(along.T * _derivative(across))


def _one_direction(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    values = {
        column: draw.matrix(size, 1),
        along: draw.matrix(size, 1),
        across: draw.matrix(size, 1),
        length: matrix([[draw.positive()]]),
        C: draw.symmetric(size),
    }
    return Instance({d: size}, values, {root_rate: draw.positive()})


EUCLIDEAN = Theorem(
    name="no-euclidean-potential",
    title="On the balanced manifold the encoder's flow is a Euclidean gradient only where encoder and data commute",
    chapter=2,
    statement=(
        r"Let $k = 1$, $\Sigma = I$, $a = \sqrt\alpha$, and the predictor balanced, $p = a\lvert w \rvert$: $\dot w = a\lvert w"
        r" \rvert C w - \alpha \lvert w \rvert^2 w$. The Jacobian $J$ has the antisymmetric part $J - J^{\top} = \frac{a}{\lvert w"
        r" \rvert} (C w w^{\top} - w w^{\top} C)$: zero exactly where $w$ is an eigenvector of $C$. So there is no potential in the"
        r" ordinary sense, also there where no mode is mixed with another."
    ),
    assumptions=(),
    proof=(
        Step(
            Rate(FIELD, {column: along, length: _speed(along)}, _derivative(along), named=r"\dot w"),
            r"Differentiate along $h$; the length $n = \lvert w \rvert$ moves with $n^{-1} w^{\top} h$.",
            conclusion=True,
        ),
        Step(
            Equality(
                ASYMMETRY,
                root_rate * (tr(across.T * C * column * _speed(along)) - tr(along.T * C * column * _speed(across))),
            ),
            r"$g^{\top} J h - h^{\top} J g$: everything else is symmetric in $g$ and $h$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "gradient-after-all",
            "omission",
            "claim a symmetric Jacobian",
            Equality(ASYMMETRY, sp.S.Zero),
        ),
        FalseSibling(
            "other-sign",
            "sign",
            "exchange the two terms",
            Equality(
                ASYMMETRY,
                root_rate * (tr(along.T * C * column * _speed(across)) - tr(across.T * C * column * _speed(along))),
            ),
        ),
        FalseSibling(
            "twice",
            "constant",
            "double the antisymmetric part",
            Equality(
                ASYMMETRY,
                2 * root_rate * (tr(across.T * C * column * _speed(along)) - tr(along.T * C * column * _speed(across))),
            ),
        ),
    ),
    witnesses=(),
    instances=_one_direction,
    sources=(Source("ours"),),
    belief="Slaving the predictor to the encoder turns self-prediction into gradient descent.",
    example=(
        "import numpy as np\n"
        "C = np.diag([0.9, 0.3]); w = np.array([1.0, 1.0]); f = lambda w: np.linalg.norm(w) * C @ w - (w @ w) * w\n"
        "J = np.stack([(f(w + e) - f(w - e)) / 2e-5 for e in 1e-5 * np.eye(2)], axis=1)\n"
        "expected = (C @ np.outer(w, w) - np.outer(w, w) @ C) / np.sqrt(2)\n"
        "assert np.allclose(J - J.T, expected, atol=1e-8)"
    ),
)

# -- the potential in its own metric --------------------------------------------------------------------------------------

B: Any = SymmetricSymbol("B", k)
B_rate: Any = SymmetricSymbol(r"\dot{B}", k)
half: Any = sp.MatrixSymbol("H", k, k)
CHANGE: Any = B_rate * B + B * B_rate
SLOPE: Any = -root_rate * W * C + root_rate**2 * B * W + eta * B.I * W

ROOT = Assumption(
    "balanced",
    r"the predictor is $P = aB$ with $B = (W W^{\top})^{1/2}$, $a = \sqrt\alpha$: $B^2 = W W^{\top}$",
    Equation(W * W.T, B * B),
)
POSITIVE = Assumption("positive", r"$B$ is the positive root: $B \succeq 0$", Semidefinite(B, half, (B, half * half.T)))


def _rooted(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    factor = draw.invertible(rows)
    root = factor * factor.transpose()
    values = {
        W: root * draw.orthonormal_rows(rows, columns),
        B: root,
        B_rate: draw.symmetric(rows),
        half: factor,
        C: draw.symmetric(columns),
    }
    return Instance({k: rows, d: columns}, values, {root_rate: draw.positive(), eta: draw.positive()})


_ONE: dict[Any, Any] = {W: matrix([[1]]), B: eye(1), B_rate: eye(1), half: eye(1), C: eye(1)}

SCHATTEN = Theorem(
    name="schatten-potential",
    title="A balanced JEPA descends alignment with a Schatten-3 repulsion, and weight decay is a nuclear norm",
    chapter=2,
    statement=(
        r"Let $\Sigma = I$, $C$ symmetric, $V = W$, and $P = \sqrt\alpha\, B$ with $B = (W W^{\top})^{1/2}$, for any $W$ of full row"
        r" rank. With $a = \sqrt\alpha$ and $U = -\frac{a}{2} \operatorname{tr} W C W^{\top} + \frac{\alpha}{3} \operatorname{tr} B^3"
        r" + \eta \operatorname{tr} B$ the flow is $\dot W = a B W C - \alpha W W^{\top} W - \eta W = -B \nabla U$: a preconditioned"
        r" descent, $\dot U = -\lVert H^{\top} \nabla U \rVert^2$ with $H H^{\top} = B$. Here $\operatorname{tr} B^3 = \lVert W"
        r" \rVert_{S_3}^3$ is the implicit uniformity and $\operatorname{tr} B = \lVert W \rVert_{*}$ is what weight decay becomes."
        r" Encoder and data need not be aligned."
    ),
    assumptions=(ROOT, POSITIVE),
    proof=(
        Step(
            Rate(tr(B * B * B) / 3, {B: B_rate}, tr(B * CHANGE) / 2),
            r"$\dot B B + B \dot B = \frac{d}{dt} W W^{\top}$, so that $\frac{d}{dt} \frac13 \operatorname{tr} B^3 = \frac12"
            r" \operatorname{tr} B \frac{d}{dt} W W^{\top}$,",
            conclusion=True,
        ),
        Step(
            Rate(tr(B), {B: B_rate}, tr(B.I * CHANGE) / 2),
            r"and $\frac{d}{dt} \operatorname{tr} B = \frac12 \operatorname{tr} B^{-1} \frac{d}{dt} W W^{\top}$: no eigenvector is"
            r" differentiated.",
            conclusion=True,
        ),
        Step(
            Gradient(
                -root_rate * tr(W * C * W.T) / 2
                + root_rate**2 * tr(StopGradient(B) * W * W.T) / 2
                + eta * tr(StopGradient(B.I) * W * W.T) / 2,
                W,
                -SLOPE,
            ),
            r"Hence $\nabla U$ is the gradient at frozen $B$ and $B^{-1}$.",
            conclusion=True,
        ),
        Step(
            Equality(
                -B * SLOPE,
                root_rate * B * W * C - root_rate**2 * W * W.T * W - eta * W,
            ),
            r"Multiply by $B$; $B^2 W = W W^{\top} W$ restores the repulsion and $B B^{-1} W = W$ the decay.",
            uses=("balanced",),
            conclusion=True,
        ),
        Step(
            Equality(tr(SLOPE.T * (-B * SLOPE)), -squared_norm(half.T * SLOPE)),
            r"Along the flow $\dot U = \langle \nabla U, \dot W \rangle$ is minus a square.",
            uses=("positive",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half-of-the-cube",
            "constant",
            r"weigh $\operatorname{tr} B^3$ with $\frac12$",
            Rate(tr(B * B * B) / 2, {B: B_rate}, tr(B * CHANGE) / 2),
        ),
        FalseSibling(
            "frobenius-decay",
            "exchange",
            r"let weight decay be the Frobenius norm $\frac{\eta}{2} \lVert W \rVert^2$ of the potential",
            Equality(
                -B * (-root_rate * W * C + root_rate**2 * B * W + eta * W),
                root_rate * B * W * C - root_rate**2 * W * W.T * W - eta * W,
            ),
            uses=("balanced",),
        ),
        FalseSibling(
            "ascent",
            "sign",
            "claim that the potential grows",
            Equality(tr(SLOPE.T * (-B * SLOPE)), squared_norm(half.T * SLOPE)),
            uses=("positive",),
        ),
        FalseSibling(
            "euclidean-descent",
            "omission",
            "leave out the preconditioner",
            Equality(-SLOPE, root_rate * B * W * C - root_rate**2 * W * W.T * W - eta * W),
            uses=("balanced",),
        ),
    ),
    witnesses=(
        Witness("balanced", Instance({k: 1, d: 1}, {**_ONE, W: matrix([[2]])}, {root_rate: 1, eta: 1})),
        Witness(
            "positive",
            Instance({k: 1, d: 1}, {**_ONE, B: matrix([[-1]]), C: matrix([[3]])}, {root_rate: 1, eta: 1}),
        ),
    ),
    instances=_rooted,
    sources=(Source("ours"), Source("tian2021", "Appendix D", "an energy of one mode at a fixed target")),
    belief="What a JEPA minimises, if anything, is its prediction loss.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.9, 0.6, 0.3]); W = np.random.default_rng(0).normal(size=(2, 3)); u, s, _ = np.linalg.svd(W)\n"
        "path = LinearJEPA(ViewPair.from_covariances(np.eye(3), np.eye(3), C)).solve(W, u @ np.diag(s) @ u.T, np.linspace(0, 20, 30))\n"
        "U = [-np.trace(w @ C @ w.T) / 2 + np.sum(np.linalg.svd(w)[1] ** 3) / 3 for w in path.encoder]\n"
        "assert np.all(np.diff(U) < 1e-9)"
    ),
)

THEOREMS = (NO_POTENTIAL, EUCLIDEAN, SCHATTEN)
