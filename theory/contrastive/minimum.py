"""The minimum of the spectral contrastive loss of a linear encoder (result 1.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Equality, Gradient, Implication
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Phi, Sigma_x, W, correlation, d, k, s

C: Any = SymmetricSymbol("C", d)
H: Any = SymmetricSymbol("H", d)
U: Any = sp.MatrixSymbol("U", d, k)
D: Any = SymmetricSymbol("D", k)
Lam: Any = SymmetricSymbol(r"\Lambda", k)
kept = sp.Symbol(r"\rho_+", real=True)

M: Any = Named("M", H * W.T * W * H)
A: Any = Named("A", H.I * C * H.I)
LOSS = -2 * tr(W * C * W.T) + tr(Phi * Phi)
FORCE: Any = 4 * (W * C - Phi * W * Sigma_x)
ENCODER: Any = D * U.T  # W at the minimum

ROOT = Assumption("root", r"$H = \Sigma^{1/2}$: symmetric, $H^2 = \Sigma$", Equation(H * H, Sigma_x))
ORTHONORMAL = Assumption(
    "normalised",
    r"the columns of $U$ are normalised by $\Sigma$: $U^{\top}\Sigma U = I$",
    Equation(U.T * Sigma_x * U, sp.Identity(k)),
)
EIGENVECTORS = Assumption(
    "eigenvectors", r"they are generalised eigenvectors: $C U = \Sigma U \Lambda$", Equation(C * U, Sigma_x * U * Lam)
)
POSITIVE_PART = Assumption(
    "positive-part",
    r"$D$ is diagonal and $D^2 = \Lambda_+$, the positive part: $D\Lambda = D^3$",
    Equation(D * Lam, D * D * D),
)
ENCODED = Assumption("optimal-encoder", r"$W = D U^{\top}$", Equation(W, ENCODER))
VARIANCE = Assumption("variance", r"$s \ge 0$: embedding variances are not negative", Inequality(s >= 0))
CLIPPED: tuple[Any, ...] = (kept >= 0, kept >= correlation, sp.Eq(kept * (kept - correlation), 0))


def _diagonal(entries: list[Any]) -> Any:
    return matrix(
        [[entry if row == column else 0 for column in range(len(entries))] for row, entry in enumerate(entries)]
    )


def _solved(rng: random.Random, size: int) -> Instance:
    """Draw Σ = H², an orthonormal basis, and correlations that are rational squares where they are positive."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    half = draw.invertible(columns)
    root, basis = half + half.transpose(), draw.orthogonal(columns)
    if root.det() == 0:
        return _solved(rng, size)
    weights = [draw.positive() * rng.randint(0, 1) for _ in range(columns)]
    correlations = [weight**2 if weight != 0 else -abs(draw.number()) for weight in weights]
    chosen = matrix([[basis[i, q] for q in range(rows)] for i in range(columns)])
    encoder = _diagonal(weights[:rows]) * (root.inv() * chosen).transpose()
    matrices = {
        H: root,
        Sigma_x: root * root,
        C: root * basis * _diagonal(correlations) * basis.transpose() * root,
        U: root.inv() * chosen,
        Lam: _diagonal(correlations[:rows]),
        D: _diagonal(weights[:rows]),
        W: encoder,
    }
    rho = draw.number()
    scalars = {correlation: rho, kept: max(rho, 0 * rho), s: abs(draw.number())}
    return Instance({k: rows, d: columns}, matrices, scalars)


def _one(covariance: int, cross: int, root: int, vector: int, rho: int, weight: int, encoder: int) -> Instance:
    entries = zip((Sigma_x, C, H, U, Lam, D, W), (covariance, cross, root, vector, rho, weight, encoder), strict=True)
    letters = {letter: matrix([[value]]) for letter, value in entries}
    return Instance({k: 1, d: 1}, letters, {correlation: 1, kept: 1, s: 1})


SPECTRAL_MINIMUM = Theorem(
    name="spectral-minimum",
    title="The minimum of the spectral contrastive loss is a low-rank approximation",
    chapter=1,
    statement=(
        r"Let $\Sigma_x = \Sigma_y = \Sigma \succ 0$, $C$ symmetric, $A = \Sigma^{-1/2} C \Sigma^{-1/2}$ with eigenvalues"
        r" $\rho_1 \ge \rho_2 \ge \dots$, and $M = \Sigma^{1/2} W^{\top} W \Sigma^{1/2}$. The spectral contrastive loss of a"
        r" linear encoder is $L = \lVert M - A \rVert^2 - \lVert A \rVert^2$: a least-squares approximation of $A$ by a positive"
        r" semidefinite matrix of rank at most $k$ [@haochen2021]. Its minimum is $-\sum_{i \le k} \max(\rho_i, 0)^2$,"
        r" attained at $W = \operatorname{diag}(\max(\rho, 0)^{1/2})\, Q_k^{\top} \Sigma^{-1/2}$, written here"
        r" $W = D U^{\top}$ with $U = \Sigma^{-1/2} Q_k$ and $D^2 = \Lambda_+$, and at $O W$ for orthogonal $O$."
    ),
    assumptions=(ROOT, ORTHONORMAL, EIGENVECTORS, POSITIVE_PART, ENCODED, VARIANCE),
    proof=(
        Step(
            Equality(LOSS, squared_norm(M - A) - squared_norm(A)),
            r"Complete the square: $\operatorname{tr} M^2 = \operatorname{tr} \Phi^2$ and $\operatorname{tr} M A = \operatorname{tr}"
            r" W C W^{\top}$, for any encoder.",
            uses=("root",),
            conclusion=True,
        ),
        Step(
            Equality(LOSS, -squared_norm(D * D)),
            r"The value at $W = D U^{\top}$: there $\Phi = D^2$ and $W C W^{\top} = D \Lambda D = D^4$.",
            uses=("optimal-encoder", "normalised", "eigenvectors", "positive-part"),
            conclusion=True,
        ),
        Step(
            Equality(W * C, Phi * W * Sigma_x),
            r"It is critical: both sides are $D^3 U^{\top} \Sigma$.",
            uses=("optimal-encoder", "eigenvectors", "normalised", "positive-part"),
            conclusion=True,
        ),
        Step(
            Gradient(LOSS, W, FORCE, named="L"),
            r"The equation of the last step is $\nabla L = 0$.",
        ),
        Step(
            Cited(
                r"\operatorname{tr} M A \le \sum_{i \le k} s_i \rho_i \quad\text{for } s_1 \ge \dots \ge s_k \ge 0"
                r" \text{ the nonzero eigenvalues of } M",
                "mirsky1975, the trace inequality of von Neumann",
            ),
            r"The lower bound needs one inequality that is not proved here. With it"
            r" $L \ge \sum_{i \le k} (s_i^2 - 2 s_i \rho_i)$.",
        ),
        Step(
            Implication(s**2 - 2 * s * correlation >= -(kept**2), CLIPPED),
            r"One summand: $(s - \rho)^2 - \rho^2$ with $s \ge 0$ is at least $-\max(\rho, 0)^2$; the sum of these is the value at"
            r" $D U^{\top}$.",
            uses=("variance",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "indefinite-approximation",
            "quantifier",
            r"let negative correlations pay as well: $s^2 - 2 s\rho$ reaches $-\rho^2$ for every $\rho$",
            Implication(sp.Eq((s**2 - 2 * s * correlation).subs(s, kept), -(correlation**2)), CLIPPED),
        ),
        FalseSibling(
            "plus-the-norm",
            "sign",
            r"add $\lVert A \rVert^2$ instead of subtracting it",
            Equality(LOSS, squared_norm(M - A) + squared_norm(A)),
            uses=("root",),
        ),
        FalseSibling(
            "first-power",
            "constant",
            r"claim the value $-\sum_i \max(\rho_i, 0)$",
            Equality(LOSS, -squared_norm(D)),
            uses=("optimal-encoder", "normalised", "eigenvectors", "positive-part"),
        ),
        FalseSibling(
            "weights-are-correlations",
            "exchange",
            r"exchange $\Lambda_+^{1/2}$ for $\Lambda_+$ in the encoder",
            Equality(D * D * U.T * C, D * D * U.T * Sigma_x * U * D * D * D * D * U.T * Sigma_x),
            uses=("normalised", "eigenvectors", "positive-part"),
        ),
        FalseSibling(
            "no-variance",
            "omission",
            r"forget that a variance is not negative",
            Implication(s**2 - 2 * s * correlation >= -(kept**2), CLIPPED),
        ),
    ),
    witnesses=(
        Witness("root", _one(1, 1, 2, 1, 1, 1, 1)),
        Witness("normalised", _one(1, 1, 1, 2, 1, 1, 2)),
        Witness("eigenvectors", _one(1, 1, 1, 1, 4, 2, 2)),
        Witness("positive-part", _one(1, 1, 1, 1, 1, 2, 2)),
        Witness("optimal-encoder", _one(1, 1, 1, 1, 1, 1, 2)),
        Witness(
            "variance",
            _one(1, 1, 1, 1, 1, 1, 1).with_(scalars={correlation: -1, kept: 0, s: -1}),
        ),
    ),
    instances=_solved,
    sources=(
        Source("haochen2021", "Section 3", "matrix factorisation and its minimum"),
        Source("mirsky1975", "", "the trace inequality behind the bound"),
        Source("balestriero2022", "", "contrastive losses as spectral embeddings"),
    ),
    belief="A contrastive loss learns the k directions with the largest squared correlation.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.8, 0.4, -0.9]))\n"
        "W = np.diag(np.sqrt([0.8, 0.4, 0.0]))\n"
        "assert np.isclose(SpectralContrastive(views).loss(W), -(0.8**2) - 0.4**2)\n"
        "assert np.allclose(SpectralContrastive(views).forces(W).total, 0)"
    ),
)

THEOREMS = (SPECTRAL_MINIMUM,)
