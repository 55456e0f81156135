"""Which directions win: stability of a set of learnt directions against the others, and what probes see (6.1, part of 6.3)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality, Implication, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, W, X, alpha, d, eta, k, m

others = sp.Symbol("q", integer=True, positive=True)
"""Number of directions that are not learnt."""

U: Any = sp.MatrixSymbol("U", others, d)
A: Any = sp.MatrixSymbol("A", k, others)
C: Any = SymmetricSymbol("C", d)
M: Any = sp.MatrixSymbol("M", others, others)
T: Any = sp.MatrixSymbol("T", others, others)
G: Any = sp.MatrixSymbol("G", k, k)
probe: Any = sp.MatrixSymbol("b", k, 1)
label: Any = sp.MatrixSymbol("t", m, 1)

predictor, learnt_cross, other_cross, other_variance = sp.symbols("p lambda_i lambda_j sigma_j", real=True)
low, high = sp.symbols("p_- p_+", real=True)

ENCODER: Any = P.T * (W * C - P * W * Sigma_x) - eta * W
PREDICTOR: Any = alpha * (W * C - P * W * Sigma_x) * W.T - eta * P
CONTRASTIVE: Any = 4 * (W * C - W * W.T * W)

ORTHOGONAL = Assumption(
    "orthogonal",
    r"the directions $U$ are orthogonal to those learnt: $W U^{\top} = 0$",
    Equation(W * U.T, sp.ZeroMatrix(k, others)),
)
CROSS = Assumption(
    "invariant-cross", r"$C$ maps the directions $U$ into themselves: $U C = M U$", Equation(U * C, M * U)
)
VARIANCE = Assumption("invariant-variance", r"so does $\Sigma$: $U \Sigma_x = T U$", Equation(U * Sigma_x, T * U))


def directions(rng: random.Random, size: int) -> Instance:
    """Draw an orthonormal basis, split into the rows of U and those spanned by W, and C and Σ that respect the split."""
    draw = Draw(rng)
    rows, rest = rng.randint(1, size), rng.randint(1, size)
    basis = draw.orthogonal(rows + rest)
    entries = basis.tolist()
    first, second = fmpq_mat(entries[:rows]), fmpq_mat(entries[rows:])
    on_first, on_second = draw.symmetric(rows), draw.symmetric(rest)
    spread_first, spread_second = draw.positive_definite(rows), draw.positive_definite(rest)
    values = {
        W: draw.invertible(rows) * first,
        U: second,
        A: draw.matrix(rows, rest),
        P: draw.matrix(rows, rows),
        C: first.transpose() * on_first * first + second.transpose() * on_second * second,
        M: on_second,
        Sigma_x: first.transpose() * spread_first * first + second.transpose() * spread_second * second,
        T: spread_second,
    }
    return Instance({k: rows, others: rest, d: rows + rest}, values, {eta: draw.positive(), alpha: draw.positive()})


def _rooted(rng: random.Random, size: int) -> Instance:
    """Add a learnt mode at rest and another whose equilibria are rational."""
    draw = Draw(rng)
    p, variance, small, large = (draw.positive() for _ in range(4))
    small, large = min(small, large), max(small, large)
    decay = variance * small * large
    scalars = {
        predictor: p,
        other_variance: variance,
        other_cross: variance * (small + large),
        low: small,
        high: large,
        eta: decay,
        learnt_cross: p + decay / p,
    }
    instance = directions(rng, size)
    return instance.with_(scalars={**instance.scalars, **scalars})


def _split(**changes: Any) -> Instance:
    """Return an instance with one learnt and one other direction in the plane, where all assumptions hold, and change it."""
    values = {
        W: matrix([[1, 0]]),
        U: matrix([[0, 1]]),
        A: eye(1),
        P: eye(1),
        C: matrix([[1, 0], [0, 2]]),
        M: matrix([[2]]),
        Sigma_x: eye(2),
        T: eye(1),
    }
    letters = {str(letter): letter for letter in values} | {"Sigma_x": Sigma_x}
    values |= {letters[name]: value for name, value in changes.items()}
    return Instance({k: 1, others: 1, d: 2}, values, {eta: 1, alpha: 1})


COMPETITION = Theorem(
    name="direction-competition",
    title="A learnt direction is stable against another by one scalar inequality",
    chapter=6,
    statement=(
        r"Let the rows of $W$ span directions of a JEPA ($V = W$, learnt predictor, any $\alpha$) and let the rows of $U$ be"
        r" orthogonal to them and invariant under $C$ and $\Sigma$. A first-order perturbation $\delta W = A U$ then moves by"
        r" itself: the predictor does not answer to it, and $\dot A = P^{\top} (A M - P A T) - \eta A$. In aligned modes:"
        r" direction $i$, with predictor $p$, is stable against direction $j$ iff $p(\lambda_j - p\sigma_j) < \eta$, that is,"
        r" iff $p > p_{+j}$ or $p < p_{-j}$, with $p_{\pm j}$ the equilibria of mode $j$ (always, where it has none)."
        r" With weight decay the direction of weaker correlation can therefore win for good."
    ),
    assumptions=(ORTHOGONAL, CROSS, VARIANCE),
    proof=(
        Step(
            Rate(ENCODER, {W: A * U}, (P.T * A * M - P.T * P * A * T - eta * A) * U, named=r"\dot W"),
            r"The encoder's field is linear in $W$ at fixed $P$; $C$ and $\Sigma$ pass through $U$.",
            uses=("invariant-cross", "invariant-variance"),
            conclusion=True,
        ),
        Step(
            Rate(PREDICTOR, {W: A * U}, sp.ZeroMatrix(k, k), named=r"\dot P"),
            r"Every term of the predictor's field pairs a direction of $U$ with one of $W$.",
            uses=("orthogonal", "invariant-cross", "invariant-variance"),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(
                    predictor * (other_cross - predictor * other_variance) < eta,
                    sp.Or(predictor > high, predictor < low),
                ),
                given=(
                    other_variance > 0,
                    low <= high,
                    sp.Eq(other_variance * (low + high), other_cross),
                    sp.Eq(other_variance * low * high, eta),
                ),
            ),
            r"For diagonal $P$, $M$, $T$ an entry of $A$ has the rate $p(\lambda_j - p\sigma_j) - \eta ="
            r" -\sigma_j (p - p_{-j})(p - p_{+j})$.",
            conclusion=True,
        ),
        Step(
            Implication(
                predictor * (other_cross - predictor * other_variance) < eta,
                given=(other_variance > 0, other_cross**2 < 4 * eta * other_variance),
            ),
            r"Beyond the saddle-node of mode $j$ the parabola has no roots: nothing can be lost to that mode.",
        ),
        Step(
            Implication(
                predictor * (sp.Rational(9, 10) - predictor) < sp.Rational(15, 100),
                given=(
                    sp.Eq(4 * predictor**2 - sp.Rational(39, 25) * predictor + sp.Rational(15, 100), 0),
                    predictor > sp.Rational(39, 200),
                ),
            ),
            r"An example: $(\sigma, \lambda) = (4, 1.56)$, of correlation $0.39$, at its equilibrium with $\eta = 0.15$ is stable"
            r" against $(1, 0.9)$, of correlation $0.9$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "stronger-correlation-wins",
            "quantifier",
            r"claim that a direction at rest is stable against every direction of smaller $\rho = \lambda/\sigma$ and no other",
            Implication(
                sp.Equivalent(
                    predictor * (other_cross - predictor * other_variance) < eta,
                    learnt_cross * other_variance > other_cross,
                ),
                given=(other_variance > 0, predictor > 0, eta > 0, sp.Eq(predictor * (learnt_cross - predictor), eta)),
            ),
        ),
        FalseSibling(
            "between-the-roots",
            "exchange",
            r"claim stability between $p_{-j}$ and $p_{+j}$",
            Implication(
                sp.Equivalent(
                    predictor * (other_cross - predictor * other_variance) < eta,
                    sp.And(predictor < high, predictor > low),
                ),
                given=(
                    other_variance > 0,
                    low <= high,
                    sp.Eq(other_variance * (low + high), other_cross),
                    sp.Eq(other_variance * low * high, eta),
                ),
            ),
        ),
        FalseSibling(
            "one-predictor",
            "omission",
            r"leave out one factor $P$ in front of the variance",
            Rate(ENCODER, {W: A * U}, (P.T * A * M - P.T * A * T - eta * A) * U),
            uses=("invariant-cross", "invariant-variance"),
        ),
    ),
    witnesses=(
        Witness("orthogonal", _split(W=matrix([[1, 1]]))),
        Witness("invariant-cross", _split(C=matrix([[1, 1], [1, 2]]))),
        Witness("invariant-variance", _split(Sigma_x=matrix([[2, 1], [1, 1]]))),
    ),
    instances=_rooted,
    sources=(Source("ours"), Source("ponce2025", "", "stability of equilibria at one dimension")),
    belief="A JEPA with weight decay keeps the directions of highest correlation.",
    example=(
        "import numpy as np\n"
        "roots = lambda s, l, eta: np.sort(np.roots([s, -l, eta]))\n"
        "weak, strong = roots(4, 1.56, 0.15), roots(1, 0.9, 0.15)\n"
        "assert weak[1] < strong[0]  # the weaker correlation, once learnt, is stable against the stronger"
    ),
)

AT_REST = Assumption(
    "at-rest",
    r"the learnt mode is at rest: $p(\lambda_i - p) = \eta$",
    Inequality(sp.Eq(predictor * (learnt_cross - predictor), eta)),
)
POSITIVE = Assumption(
    "positive",
    r"its predictor is positive, $p > 0$ (for $C \succeq 0$ every surviving mode's is)",
    Inequality(predictor > 0),
)


def _white(rng: random.Random, size: int) -> Instance:
    instance = directions(rng, size)
    draw = Draw(rng)
    p, decay = draw.positive(), draw.positive() * rng.randint(0, 1)
    rows, columns = instance.matrices[W].nrows(), instance.matrices[W].ncols()
    values = {
        G: draw.invertible(rows),
        X: draw.matrix(columns, 3),
        probe: draw.matrix(rows, 1),
        label: draw.matrix(3, 1),
    }
    scalars = {predictor: p, eta: decay, learnt_cross: p + decay / p, other_cross: draw.number()}
    sizes = {**instance.sizes, m: 3}
    return Instance(sizes, {**instance.matrices, **values}, {**instance.scalars, **scalars})


def _plane(scalars: dict[Any, Any], **changes: Any) -> Instance:
    whole = _split(**changes)
    values = {G: eye(1), X: matrix([[1], [2]]), probe: eye(1), label: eye(1)}
    return Instance({**whole.sizes, m: 1}, {**whole.matrices, **values}, scalars)


_RESTING: dict[Any, Any] = {predictor: 1, eta: 1, learnt_cross: 2, other_cross: 1}

SAME_SUBSPACE = Theorem(
    name="same-subspace",
    title="Where no direction is anticorrelated, prediction and contrast keep the same subspace",
    chapter=6,
    statement=(
        r"Let $\Sigma = I$ and $C$ symmetric. At an equilibrium of the spectral contrastive flow $\dot W = 4(W C - W W^{\top} W)$"
        r" a perturbation $\delta W = A U$ obeys $\dot A = 4 (A M - W W^{\top} A)$, in modes at the rate $4(\lambda_j -"
        r" \lambda_i)$. At an equilibrium of the JEPA flow with $p > 0$ the rate is $p(\lambda_j - \lambda_i)$, with or without"
        r" weight decay. The signs agree: both keep the $k$ largest eigenvalues, and as a linear probe depends on the row space"
        r" alone, every probe on the one has the risk of the best probe on the other."
    ),
    assumptions=(ORTHOGONAL, CROSS, AT_REST, POSITIVE),
    proof=(
        Step(
            Rate(CONTRASTIVE, {W: A * U}, 4 * (A * M - W * W.T * A) * U, named=r"\dot W_{\mathrm{SCL}}"),
            r"Of the three places of $W$ in $W W^{\top} W$ only the last meets no orthogonal partner. At the equilibrium"
            r" $W C = W W^{\top} W$, so that $W W^{\top}$ acts on row $i$ as $\lambda_i$.",
            uses=("orthogonal", "invariant-cross"),
            conclusion=True,
        ),
        Step(
            Implication(sp.Eq(predictor * (other_cross - predictor) - eta, predictor * (other_cross - learnt_cross))),
            r"The JEPA's rate, from the competition of directions at $\sigma = 1$: at rest the decay is what the mode's own"
            r" force balances.",
            uses=("at-rest",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(predictor * (other_cross - predictor) - eta < 0, 4 * (other_cross - learnt_cross) < 0)
            ),
            "A positive factor does not change the sign.",
            uses=("at-rest", "positive"),
            conclusion=True,
        ),
        Step(
            Equality(squared_norm(label.T - probe.T * (G * W) * X), squared_norm(label.T - (G.T * probe).T * W * X)),
            r"Two encoders with one row space differ by an invertible $G$. The probe $b$ on $G W x$ is the probe $G^{\top} b$ on"
            r" $W x$; as $b$ runs through all vectors, so does $G^{\top} b$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "any-sign",
            "quantifier",
            r"claim agreement for negative predictors as well",
            Implication(
                sp.Equivalent(predictor * (other_cross - predictor) - eta < 0, 4 * (other_cross - learnt_cross) < 0)
            ),
            uses=("at-rest",),
        ),
        FalseSibling(
            "same-rate",
            "constant",
            "claim that the rates agree, not only their signs",
            Implication(sp.Eq(predictor * (other_cross - predictor) - eta, 4 * (other_cross - learnt_cross))),
            uses=("at-rest", "positive"),
        ),
        FalseSibling(
            "gram-of-the-inputs",
            "exchange",
            r"use $W^{\top} W$ on the right in place of $W W^{\top}$ on the left",
            Rate(CONTRASTIVE, {W: A * U}, 4 * (A * M * U - A * U * W.T * W)),
            uses=("orthogonal", "invariant-cross"),
        ),
    ),
    witnesses=(
        Witness("orthogonal", _plane(_RESTING, W=matrix([[1, 1]]))),
        Witness("invariant-cross", _plane(_RESTING, C=matrix([[1, 1], [1, 2]]))),
        Witness("at-rest", _plane({**_RESTING, learnt_cross: 3})),
        Witness("positive", _plane({**_RESTING, predictor: -1, learnt_cross: -2})),
    ),
    instances=_white,
    sources=(
        Source("ours"),
        Source("haochen2021", "", "contrastive side"),
        Source("tian2021", "Appendix D", "equilibria"),
    ),
    belief="Prediction and contrast learn different subspaces because one has negatives and the other has none.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.6, 0.2])); start = np.eye(2, 3) + 0.1\n"
        "rows = [np.linalg.svd(f.encoder[-1])[2][:2] for f in (SpectralContrastive(views).solve(start, [0.0, 200.0]),\n"
        "    LinearJEPA(views).solve(start, np.eye(2), [0.0, 500.0]))]\n"
        "assert np.linalg.norm(rows[0].T @ rows[0] - rows[1].T @ rows[1]) < 1e-6"
    ),
)

THEOREMS = (COMPETITION, SAME_SUBSPACE)
