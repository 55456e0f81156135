"""Two objectives beside the dictionary: SIGReg, which has an entry, and cosine losses, which have none (after 2.0)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, k, s

equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns

# -- SIGReg ---------------------------------------------------------------------------------------------------------------

theta, strength, first, second = sp.symbols("theta c A B", real=True)
_NARROW, _MIXED = s + theta, (s + 1) / 2 + theta
STATISTIC = sp.sqrt(sp.pi) * (
    _NARROW ** sp.Rational(-1, 2) - 2 * _MIXED ** sp.Rational(-1, 2) + (1 + theta) ** sp.Rational(-1, 2)
)
SPECTRUM = 1 - strength * sp.sqrt(sp.pi) / 2 * (_NARROW ** sp.Rational(-3, 2) - _MIXED ** sp.Rational(-3, 2))

ROOTS = Assumption(
    "roots",
    r"$A = \sqrt{s + \theta}$ and $B = \sqrt{(s+1)/2 + \theta}$, both positive",
    Inequality(
        sp.And(equation(first**2, _NARROW), equation(second**2, _MIXED), first > 0, second > 0),
    ),
)


def _rooted(rng: random.Random, size: int) -> Instance:
    """Draw rational A and B: B² − A² = (1 − s)/2 and θ = A² − s."""
    draw = Draw(rng)
    while True:
        small, large = draw.positive(), draw.positive()
        value = 1 - 2 * (large * large - small * small)
        if 0 <= value < small * small:
            scalars = {first: small, second: large, s: value, theta: small * small - value, strength: draw.positive()}
            return Instance({}, {}, scalars)


SIGREG = Theorem(
    name="sigreg-entry",
    title="The predictor of SIGReg on the spectrum",
    chapter=2,
    statement=(
        r"Apply the Epps-Pulley statistic with weight $e^{-\theta t^2}$ to each principal direction of a Gaussian embedding, $u(s) = c"
        r" \sqrt\pi\, [(s+\theta)^{-1/2} - 2(\frac{s+1}{2} + \theta)^{-1/2} + (1+\theta)^{-1/2}]$. By the dictionary the predictor"
        r" $P = g(\Phi)$ with $g(s) = 1 - \frac{c\sqrt\pi}{2} [(s+\theta)^{-3/2} - (\frac{s+1}{2}+\theta)^{-3/2}]$ implements it"
        r" without negatives and without sampling: it repels exactly below unit variance and contracts above. SIGReg itself"
        r" [@balestriero2025] averages over random directions, which is another function of the same spectrum."
    ),
    assumptions=(ROOTS,),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(s + strength * STATISTIC, s), SPECTRUM),
            r"$g = 1 + u'$, and $G = s + u$ is what the dictionary asks for.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent(second**3 > first**3, s < 1)),
            r"$1 - g$ has the sign of $A^{-3} - B^{-3}$, and $B^2 - A^2 = (1 - s)/2$.",
            uses=("roots",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(SPECTRUM.subs(s, 1), sp.S.One),
            "At unit variance it does nothing.",
        ),
    ),
    siblings=(
        FalseSibling(
            "whole-derivative",
            "constant",
            "forget the half of the chain rule",
            ScalarIdentity(
                sp.Derivative(s + strength * STATISTIC, s),
                1 - strength * sp.sqrt(sp.pi) * (_NARROW ** sp.Rational(-3, 2) - _MIXED ** sp.Rational(-3, 2)),
            ),
        ),
        FalseSibling(
            "repels-everywhere",
            "quantifier",
            "claim repulsion at every variance",
            Implication(second**3 > first**3),
            uses=("roots",),
        ),
        FalseSibling(
            "contracts-below",
            "sign",
            "claim contraction below unit variance",
            ScalarIdentity(sp.Derivative(s + strength * STATISTIC, s), 2 - SPECTRUM),
        ),
    ),
    witnesses=(Witness("roots", Instance({}, {}, {first: 1, second: 2, s: 2, theta: 1, strength: 1})),),
    instances=_rooted,
    sources=(
        Source("ours"),
        Source("epps1983", "", "the statistic"),
        Source("balestriero2025", "", "as a regulariser"),
    ),
    belief="Making embeddings Gaussian takes samples of random projections.",
    example=(
        "import numpy as np\n"
        "g = lambda s, c=0.5, th=0.5: 1 - c * np.sqrt(np.pi) / 2 * ((s + th) ** -1.5 - ((s + 1) / 2 + th) ** -1.5)\n"
        "assert g(0.2) < 1 < g(3.0) and g(1.0) == 1"
    ),
)

# -- cosine ---------------------------------------------------------------------------------------------------------------

z: Any = sp.MatrixSymbol("z", k, 1)
target: Any = sp.MatrixSymbol(r"\bar{z}", k, 1)
D: Any = SymmetricSymbol("P", k)
overlap, length, eigenvalue = sp.symbols("b a lambda_m", real=True)

# a and b as 1 × 1 matrices, which stand to the right of the columns they multiply.
A: Any = z.T * D * D * z
B: Any = z.T * D * z
RESIDUAL: Any = z * A - D * z * B
MOVED: Any = z * (D * z).T - D * z * z.T

SAME = Assumption(
    "same-embedding",
    r"the target is the embedding itself, $\bar z = z$ (averaged over augmentations)",
    Equation(target, z),
)
REPELLING = Assumption(
    "positive-predictor", r"the mode's predictor eigenvalue is positive: $\lambda_m > 0$", Inequality(eigenvalue > 0)
)


def _embedding(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    value = draw.matrix(size, 1)
    scalars = {overlap: draw.positive(), length: draw.positive(), eigenvalue: draw.positive()}
    return Instance({k: size}, {z: value, target: value, D: draw.symmetric(size)}, scalars)


COSINE = Theorem(
    name="cosine-entry",
    title="A cosine loss equalises the predictor's eigenvalues and has no uniformity of its own scale",
    chapter=2,
    statement=(
        r"Let $L = -\cos(P z, \operatorname{sg} \bar z)$ with a symmetric predictor. With $a = \lVert P z \rVert^2$ and $b = (P z)^{\top}"
        r" \bar z$ its force is a positive multiple of $P\bar z/b - P^2 z/a$; for $\bar z = z$ of $F = a P z - b P^2 z$, $a = z^{\top}"
        r" P^2 z$, $b = z^{\top} P z$ [@halvagal2023]. It is orthogonal to"
        r" $z$: no embedding changes its length, so that this is no"
        r" force of the dictionary, whose residuals change it."
        r" In an eigenmode it points outward iff $\lambda_m < a/b$, the weighted mean of the eigenvalues:"
        r" they are made equal, at no particular value. Without the factor $P$ (IsoLoss) the length grows by $\frac12 \lVert z"
        r" (Pz)^{\top} - Pz\, z^{\top} \rVert^2$, zero only for equal eigenvalues."
    ),
    assumptions=(SAME, REPELLING),
    proof=(
        Step(
            Gradient(
                -tr(z.T * D * target) / overlap + tr(z.T * D * D * z) / (2 * length),
                z,
                D * target / overlap - D * D * z / length,
            ),
            r"The gradient of $-\ln \cos$ is that of $-\ln b + \frac12 \ln a$, in which $1/b$ and $1/a$ are values.",
            conclusion=True,
        ),
        Step(
            Equality(tr(z.T * (D * target * A - D * D * z * B)), sp.S.Zero),
            r"$z^{\top} F = ab - ba$.",
            uses=("same-embedding",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(eigenvalue * (length - overlap * eigenvalue) > 0, overlap * eigenvalue < length),
            ),
            r"In the eigenmode $m$ the force is $\lambda_m (a - b\lambda_m) z_m$.",
            uses=("positive-predictor",),
            conclusion=True,
        ),
        Step(
            Equality(tr(z.T * RESIDUAL), squared_norm(MOVED) / 2),
            r"Lagrange's identity: $a \lVert z \rVert^2 - b^2$ is half the squared norm of $z w^{\top} - w z^{\top}$, $w = P z$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "to-one",
            "exchange",
            r"claim growth for $\lambda_m < 1$, as for the Euclidean loss",
            Implication(sp.Equivalent(eigenvalue * (length - overlap * eigenvalue) > 0, eigenvalue < 1)),
            uses=("positive-predictor",),
        ),
        FalseSibling(
            "isoloss-conserves",
            "omission",
            "claim that the length is conserved without the factor as well",
            Equality(tr(z.T * RESIDUAL), sp.S.Zero),
        ),
        FalseSibling(
            "shrinks",
            "sign",
            "claim that IsoLoss shrinks the length",
            Equality(tr(z.T * RESIDUAL), -squared_norm(MOVED) / 2),
        ),
        FalseSibling(
            "whole-norm",
            "constant",
            "drop the half",
            Equality(tr(z.T * RESIDUAL), squared_norm(MOVED)),
        ),
    ),
    witnesses=(
        Witness(
            "same-embedding",
            Instance({k: 1}, {z: eye(1), target: matrix([[2]]), D: eye(1)}, {overlap: 1, length: 1, eigenvalue: 1}),
        ),
        Witness(
            "positive-predictor",
            Instance({k: 1}, {z: eye(1), target: eye(1), D: eye(1)}, {overlap: 1, length: 1, eigenvalue: -1}),
        ),
    ),
    instances=_embedding,
    sources=(
        Source("halvagal2023", "", "the force in eigenmodes"),
        Source("ours", "", "no entry in the dictionary; the growth of IsoLoss as a square"),
    ),
    belief="Normalising embeddings leaves the implicit uniformity as it is.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); z = rng.normal(size=4); P = np.diag([0.2, 0.5, 0.8, 1.1])\n"
        "a, b = z @ P @ P @ z, z @ P @ z; force = a * P @ z - b * P @ P @ z\n"
        "assert abs(force @ z) < 1e-12 and np.all((force * z > 0) == (np.diag(P) < a / b))"
    ),
)

THEOREMS = (SIGREG, COSINE)
