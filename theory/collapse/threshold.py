"""The saddle-node at which a balanced mode is lost (4.3), and its matrix form without alignment."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality, Implication, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, W, alpha, cross, d, eta, k, p, variance, w

low, high = sp.symbols("p_- p_+", real=True)

GROWTH = p * (cross * p - variance * p**2 - eta)
FACTORED = -variance * p * (p - low) * (p - high)
_ROOTS = {cross: variance * (low + high), eta: variance * low * high}

BALANCED = Assumption(
    "balanced",
    r"the mode is balanced, $\alpha w^2 = p^2$ (weight decay makes every mode so)",
    Equation(alpha, p**2 / w**2),
)


def _balanced(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    small, large, sigma, weight, at = (draw.positive() for _ in range(5))
    small, large = min(small, large), max(small, large) + draw.positive()
    scalars = {
        low: small,
        high: large,
        variance: sigma,
        cross: sigma * (small + large),
        eta: sigma * small * large,
        p: at,
        w: weight,
        alpha: at * at / (weight * weight),
    }
    # Half of the draws lie below the threshold, where the roots are letters without a task.
    return Instance({}, {}, scalars if rng.random() < 0.5 else {**scalars, eta: sigma * (small + large) ** 2 / 2})


_ORDERED = (variance > 0, low > 0, high > low, p > 0)
_AT_ROOTS = (sp.Eq(cross, variance * (low + high)), sp.Eq(eta, variance * low * high))

COLLAPSE_THRESHOLD = Theorem(
    name="collapse-threshold",
    title="A balanced mode is lost in a saddle-node at one quarter of its cross-covariance squared over its variance",
    chapter=4,
    statement=(
        r"A balanced JEPA mode ($V = W$) obeys $\dot p = p(\lambda p - \sigma p^2 - \eta)$, $w = p/\sqrt\alpha$. Besides $0$ it"
        r" rests at the roots $p_\pm = (\lambda \pm \sqrt{\lambda^2 - 4\eta\sigma})/(2\sigma)$. Above $\eta_c = \lambda^2/(4\sigma)$"
        r" there are none and every mode decays. Below it, for $\lambda > 0$, $p_+$ and $0$ attract and $p_-$ repels: the mode"
        r" survives iff $p(0) > p_-$. At $\eta_c$ it survives iff $p(0) \ge \lambda/(2\sigma)$. For $\lambda < 0$ the same holds of"
        r" $-p$. Per mode this is [@tian2021, (16)] at any $\lambda$ and $\sigma$."
    ),
    assumptions=(BALANCED,),
    proof=(
        Step(
            ScalarIdentity(alpha * w**2 * (cross - variance * p) - eta * p, GROWTH),
            r"Put $\alpha w^2 = p^2$ into the predictor's equation; the encoder's is the same equation, over $\sqrt\alpha$.",
            uses=("balanced",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(GROWTH.subs(_ROOTS), FACTORED),
            r"With $\sigma(p_- + p_+) = \lambda$ and $\sigma p_- p_+ = \eta$ the field is a product.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    sp.Equivalent(GROWTH > 0, sp.And(p > low, p < high)),
                    sp.Equivalent(GROWTH < 0, sp.Or(p < low, p > high)),
                ),
                given=(*_ORDERED, *_AT_ROOTS),
            ),
            r"On a line the sign of the field decides: for $p > 0$ it points up exactly between the roots, so that $p$ runs to $p_+$"
            r" from above $p_-$ and to $0$ from below it.",
            conclusion=True,
        ),
        Step(
            Implication(p * GROWTH < 0, given=(variance > 0, sp.Ne(p, 0), cross**2 < 4 * eta * variance)),
            r"Beyond $\eta_c$ the quadratic $\sigma p^2 - \lambda p + \eta$ is positive everywhere: $p^2$ decreases.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                GROWTH.subs(eta, cross**2 / (4 * variance)), -variance * p * (p - cross / (2 * variance)) ** 2
            ),
            r"At $\eta_c$ the roots meet at $\lambda/(2\sigma)$, which attracts from above and lets go below.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(FACTORED, p).doit().subs(p, high), -variance * high * (high - low)),
            r"The slope at $p_+$ is negative,",
        ),
        Step(
            ScalarIdentity(sp.Derivative(FACTORED, p).doit().subs(p, low), variance * low * (high - low)),
            r"at $p_-$ positive, and at $0$ it is $-\eta$.",
        ),
        Step(
            ScalarIdentity(GROWTH.subs({p: -p, cross: -cross}, simultaneous=True), -GROWTH),
            r"Exchanging the signs of $p$ and $\lambda$ reverses the field with $p$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "from-anywhere",
            "quantifier",
            "claim survival from every positive start below threshold",
            Implication(GROWTH > 0, given=(*_ORDERED, *_AT_ROOTS, p < high)),
        ),
        FalseSibling(
            "half-instead-of-quarter",
            "constant",
            r"claim the threshold $\lambda^2/(2\sigma)$: decay only for $\lambda^2 < 2\eta\sigma$ and rest below",
            Implication(
                sp.Implies(cross**2 > 2 * eta * variance, cross**2 > 4 * eta * variance), given=(variance > 0,)
            ),
        ),
        FalseSibling(
            "roots-exchanged",
            "exchange",
            r"let the smaller root attract",
            ScalarIdentity(sp.Derivative(FACTORED, p).doit().subs(p, low), -variance * low * (high - low)),
        ),
        FalseSibling(
            "decay-shrinks",
            "sign",
            r"claim growth of $p^2$ beyond the threshold",
            Implication(p * GROWTH > 0, given=(variance > 0, sp.Ne(p, 0), cross**2 < 4 * eta * variance)),
        ),
    ),
    witnesses=(
        Witness(
            "balanced",
            Instance({}, {}, {low: 1, high: 2, variance: 1, cross: 3, eta: 2, p: 1, w: 1, alpha: 2}),
        ),
    ),
    instances=_balanced,
    sources=(
        Source("tian2021", "(16)", "unit cross-covariance"),
        Source("ponce2025", "", "one dimension, equilibria and stability"),
        Source("ours", "", "the critical case, both signs"),
    ),
    belief="Weight decay shrinks weak dimensions gradually.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)); lost = 0.8**2 / 4\n"
        "end = lambda eta, p: LinearJEPA(views, weight_decay=eta).solve(p * np.eye(1), p * np.eye(1), [0.0, 3000.0]).predictor[-1, 0, 0]\n"
        "assert end(0.9 * lost, 0.5) > 0.4 and end(1.1 * lost, 0.5) < 1e-3 and end(0.9 * lost, 0.2) < 1e-3"
    ),
)

# -- the matrix form ------------------------------------------------------------------------------------------------------

root_rate, root_decay = sp.symbols("a g", real=True, nonzero=True)
"""Square roots of the predictor's rate α and of the weight decay η."""

B: Any = SymmetricSymbol("B", d)
C: Any = SymmetricSymbol("C", d)
half: Any = sp.MatrixSymbol("H", d, d)
slack: Any = sp.MatrixSymbol("F", d, d)
vector: Any = sp.MatrixSymbol("x", d, 1)
one: Any = sp.Identity(d)
FORCE: Any = W * (root_rate * B * C - root_rate**2 * B * B - root_decay**2 * one)
singular, eigenvalue = sp.symbols("b lambda", real=True)

POLAR = Assumption("polar", r"$B = (W^{\top} W)^{1/2}$: its square is $B^2 = W^{\top} W$", Equation(W.T * W, B * B))
AT_REST = Assumption(
    "at-rest",
    r"$W$ is at rest: $W B C = \sqrt\alpha\, W B^2 + (\eta/\sqrt\alpha)\, W$",
    Equation(W * B * C, root_rate * W * B * B + root_decay**2 / root_rate * W),
)


def _polar(draw: Draw, rows: int, columns: int) -> tuple[Any, Any, Any]:
    """Return W, B and a root H of B, for B of rank ``rows``: B = QᵀhhᵀQ and W = O hhᵀ Q with orthonormal rows in Q."""
    rotation, frame, root = draw.orthogonal(rows), draw.orthonormal_rows(rows, columns), draw.matrix(rows, rows)
    padded = fmpq_mat(columns, columns)
    lifted = frame.transpose() * root
    for i in range(columns):
        for j in range(rows):
            padded[i, j] = lifted[i, j]
    return rotation * root * root.transpose() * frame, padded * padded.transpose(), padded


def _decaying(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, modulus, root = _polar(draw, rows, columns)
    gap, decay = draw.matrix(columns, columns), draw.positive()
    values = {
        W: encoder,
        B: modulus,
        half: root,
        slack: gap,
        C: eye(columns) * (2 * decay) - gap * gap.transpose(),
        vector: draw.matrix(columns, 1),
    }
    return Instance({k: rows, d: columns}, values, {root_rate: draw.positive(), root_decay: decay})


NONNEGATIVE = Assumption(
    "positive-root", r"$B$ is the positive root, $B \succeq 0$", Semidefinite(B, half, (B, half * half.T))
)
BELOW = Assumption(
    "below-threshold",
    r"every correlation lies below the threshold: $2\sqrt\eta\, I - C \succeq 0$",
    Semidefinite(2 * root_decay * one - C, slack, (C, 2 * root_decay * one - slack * slack.T)),
)

_UNIT = Instance({k: 1, d: 1}, dict.fromkeys((W, B, half, slack, C, vector), eye(1)), {root_rate: 1, root_decay: 1})

TOTAL_COLLAPSE = Theorem(
    name="total-collapse",
    title="If no correlation exceeds twice the root of the weight decay, everything collapses from everywhere",
    chapter=4,
    statement=(
        r"Write $a = \sqrt\alpha$ and $g = \sqrt\eta$."
        r" Let $\Sigma = I$, $C$ symmetric, $V = W$, and the predictor balanced,"
        r" $P = \sqrt\alpha (W W^{\top})^{1/2}$; no"
        r" alignment is assumed. With $B = (W^{\top} W)^{1/2}$ the flow is $\dot W = W (\sqrt\alpha B C - \alpha B^2 - \eta I)$."
        r" If $C \preceq 2\sqrt\eta\, I$, then $\frac{d}{dt} \frac12 \lVert W \rVert^2 = -\lVert (\sqrt\alpha B - \sqrt\eta I) B \rVert^2 -"
        r" \sqrt\alpha \lVert F^{\top} B H \rVert^2$ with $F F^{\top} = 2\sqrt\eta\, I - C$ and $H H^{\top} = B$: it decreases,"
        r" strictly if $\lambda_{\max}(C) < 2\sqrt\eta$ and $W \ne 0$."
    ),
    assumptions=(POLAR, NONNEGATIVE, BELOW),
    proof=(
        Step(
            Rate(
                squared_norm(W) / 2,
                {W: FORCE},
                -squared_norm((root_rate * B - root_decay * one) * B) - root_rate * squared_norm(slack.T * B * half),
            ),
            r"$\operatorname{tr} W^{\top} \dot W = \operatorname{tr} (\sqrt\alpha B^3 C - \alpha B^4 - \eta B^2)$. Replace $C$ by"
            r" $2\sqrt\eta\, I - F F^{\top}$; the part without $F$ is the square, and $\operatorname{tr} B^3 F F^{\top} = \lVert"
            r" F^{\top} B H \rVert^2$. Were both zero, $F F^{\top} \succ 0$ would give $B H = 0$.",
            uses=("polar", "positive-root", "below-threshold"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "threshold-of-the-square",
            "omission",
            "leave the square out",
            Rate(squared_norm(W) / 2, {W: FORCE}, -root_rate * squared_norm(slack.T * B * half)),
            uses=("polar", "positive-root", "below-threshold"),
        ),
        FalseSibling(
            "other-sign",
            "sign",
            r"replace $\sqrt\alpha B - \sqrt\eta I$ by $\sqrt\alpha B + \sqrt\eta I$",
            Rate(
                squared_norm(W) / 2,
                {W: FORCE},
                -squared_norm((root_rate * B + root_decay * one) * B) - root_rate * squared_norm(slack.T * B * half),
            ),
            uses=("polar", "positive-root", "below-threshold"),
        ),
        FalseSibling(
            "quarter",
            "constant",
            r"weigh the second square twice",
            Rate(
                squared_norm(W) / 2,
                {W: FORCE},
                -squared_norm((root_rate * B - root_decay * one) * B)
                - 2 * root_rate * squared_norm(slack.T * B * half),
            ),
            uses=("polar", "positive-root", "below-threshold"),
        ),
    ),
    witnesses=(
        Witness(
            "polar",
            _UNIT.with_({W: matrix([[2]])}),
        ),
        Witness("positive-root", _UNIT.with_({W: eye(1), B: matrix([[-1]])})),
        Witness("below-threshold", _UNIT.with_({W: eye(1), C: matrix([[3]])})),
    ),
    instances=_decaying,
    sources=(Source("ours"),),
    belief="Without aligned encoder and data nothing can be said about collapse.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.55, 0.4, -0.9]); W = np.random.default_rng(0).normal(size=(2, 3)); U, S, _ = np.linalg.svd(W)\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(3), np.eye(3), C), weight_decay=0.1)  # 2 sqrt(0.1) = 0.63\n"
        "assert np.linalg.norm(jepa.solve(W, U @ np.diag(S) @ U.T, [0.0, 400.0]).encoder[-1]) < 1e-3"
    ),
)


def _resting(rng: random.Random, size: int) -> Instance:
    """Draw W = OB at rest: B with rational spectrum in C's eigenbasis, each λ = √α b + η/(√α b)."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    rate, decay = draw.positive(), draw.positive()
    basis = draw.orthogonal(columns)
    sizes = [draw.positive() if i < rows else 0 for i in range(columns)]
    crosses = [rate * b + decay * decay / (rate * b) if b else draw.number() for b in sizes]
    spread = fmpq_mat([[sizes[i] if i == j else 0 for j in range(columns)] for i in range(columns)])
    both = fmpq_mat([[crosses[i] if i == j else 0 for j in range(columns)] for i in range(columns)])
    frame = fmpq_mat([list(row) for row in (spread * basis).tolist()[:rows]])
    scalars = {root_rate: rate, root_decay: decay, singular: sizes[0], eigenvalue: crosses[0]}
    values = {
        W: draw.orthogonal(rows) * frame,
        B: basis.transpose() * spread * basis,
        C: basis.transpose() * both * basis,
    }
    return Instance({k: rows, d: columns}, values, scalars)


MATRIX_THRESHOLD = Theorem(
    name="matrix-threshold",
    title="At rest the encoder is aligned, and keeps at most the correlations above twice the root of the weight decay",
    chapter=4,
    statement=(
        r"In the same setting, with any $W$: if $W$ is at rest, then $W^{\top} W\, B C$ is symmetric, so that $C$ commutes with"
        r" $B^3$, hence with $B = (W^{\top} W)^{1/2}$: alignment is a conclusion. On a common eigenvector with $b > 0$ the mode's"
        r" quadratic $\alpha b^2 - \sqrt\alpha \lambda b + \eta = 0$ holds, which needs $\lambda \ge 2\sqrt\eta$: the rank at rest"
        r" is at most the number of eigenvalues of $C$ that do, and at most $k$. A start with $U(W(0)) < 0$, where $U$ is the"
        r" potential of this flow, cannot reach $W = 0$, where $U = 0$."
    ),
    assumptions=(POLAR, AT_REST),
    proof=(
        Step(
            Equality(W.T * W * B * C, C * B * W.T * W),
            r"Multiply the condition of rest by $W^{\top}$: the right side, $\sqrt\alpha W^{\top} W B^2 + (\eta/\sqrt\alpha)"
            r" W^{\top} W$, is a polynomial in $B$ and symmetric, so the left side is. As $W^{\top} W = B^2$, it is $B^3 C$; what"
            r" commutes with $B^3$ commutes with its root $B$.",
            uses=("at-rest", "polar"),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(eigenvalue >= 2 * root_decay, eigenvalue**2 >= 4 * root_decay**2),
                given=(
                    singular > 0,
                    root_rate > 0,
                    root_decay > 0,
                    sp.Eq(root_rate**2 * singular**2 - root_rate * eigenvalue * singular + root_decay**2, 0),
                ),
            ),
            r"For a common eigenvector, $\lambda = \sqrt\alpha b + \eta/(\sqrt\alpha b) \ge 2\sqrt\eta$: the mean of a number and its"
            r" reciprocal.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "commutes-always",
            "omission",
            "claim it of every encoder, at rest or not",
            Equality(W.T * W * B * C, C * B * W.T * W),
            uses=("polar",),
            instances=_decaying,
        ),
        FalseSibling(
            "largest-in-magnitude",
            "sign",
            r"claim that $\lambda \le -2\sqrt\eta$ is kept",
            Implication(
                eigenvalue <= -2 * root_decay,
                given=(
                    singular > 0,
                    root_rate > 0,
                    root_decay > 0,
                    sp.Eq(root_rate**2 * singular**2 - root_rate * eigenvalue * singular + root_decay**2, 0),
                ),
            ),
        ),
        FalseSibling(
            "strict",
            "quantifier",
            "claim the strict inequality",
            Implication(
                eigenvalue > 2 * root_decay,
                given=(
                    singular > 0,
                    root_rate > 0,
                    root_decay > 0,
                    sp.Eq(root_rate**2 * singular**2 - root_rate * eigenvalue * singular + root_decay**2, 0),
                ),
            ),
        ),
    ),
    witnesses=(
        # B is not the root of WᵀW, and need not commute with it: W B C = W B² + W with W = (1, 0; 1, 1).
        Witness(
            "polar",
            Instance(
                {k: 2, d: 2},
                {W: matrix([[1, 0], [1, 1]]), B: matrix([[1, 0], [0, 2]]), C: matrix([[2, 0], [0, "5/2"]])},
                {root_rate: 1, root_decay: 1, singular: 1, eigenvalue: 2},
            ),
        ),
        Witness(
            "at-rest",
            Instance(
                {k: 2, d: 2},
                {W: matrix([[1, 0], [0, 2]]), B: matrix([[1, 0], [0, 2]]), C: matrix([[0, 1], [1, 0]])},
                {root_rate: 1, root_decay: 1, singular: 1, eigenvalue: 2},
            ),
        ),
    ),
    instances=_resting,
    sources=(Source("ours"), Source("tian2021", "Theorem 3", "alignment as a limit, for symmetric predictors")),
    belief="Alignment of encoder and data must be assumed to predict the surviving rank.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.9, 0.7, 0.5]); W = 0.8 * np.random.default_rng(1).normal(size=(3, 3)); U, S, _ = np.linalg.svd(W)\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(3), np.eye(3), C), weight_decay=0.1)\n"
        "end = jepa.solve(W, U @ np.diag(S) @ U.T, [0.0, 2000.0]).encoder[-1]; gram = end.T @ end\n"
        "assert np.abs(gram @ C - C @ gram).max() < 1e-8 and np.linalg.matrix_rank(gram, tol=1e-6) <= 2"
    ),
)

THEOREMS = (COLLAPSE_THRESHOLD, TOTAL_COLLAPSE, MATRIX_THRESHOLD)
