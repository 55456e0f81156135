"""The uniformity of Gaussian embeddings: closed form, monotonicity, and its minimum at fixed power (result 1.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Positive, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, logdet, tr
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, k, s

t, x, level = sp.symbols("t x c", real=True)
j: Any = sp.Symbol("j", integer=True, positive=True)

S: Any = SymmetricSymbol(r"\Phi", k)
E: Any = SymmetricSymbol("E", k)
F: Any = sp.MatrixSymbol("F", k, j)
Y: Any = sp.MatrixSymbol("Y", k, k)

KERNEL: Any = identity(k) + 4 * t * S
resolvent: Any = Named("R", KERNEL.I)
UNIFORMITY = -logdet(KERNEL) / 2
ISOTROPIC: Any = (1 + 4 * t * level) * identity(k)
TRACELESS: Any = E - tr(E) / k * identity(k)

ADMISSIBLE = Assumption(
    "covariance",
    r"$I + 4t\Phi \succeq 0$, as for every covariance $\Phi$ and $t \ge 0$",
    Semidefinite(KERNEL, Y, (Y * Y.T, KERNEL)),
)
REPELLING = Assumption("repelling", r"the kernel decays with distance, $t > 0$", Inequality(t > 0))

INTEGRAL = sp.Integral(sp.exp(-t * x**2 - x**2 / (4 * s)), (x, -40, 40)) / sp.sqrt(4 * sp.pi * s)
POINT: Any = {letter: (sp.Rational(value),) * 2 for letter, value in ((s, "3/4"), (t, "2"))}


def _embeddings(rng: random.Random, size: int) -> Instance:
    """Draw an invertible I + 4tΦ as a Gram matrix, which makes Φ definite or slightly indefinite."""
    draw = Draw(rng)
    rows, columns = rng.randint(1, size), rng.randint(1, size)
    half, rate = draw.invertible(rows), draw.positive()
    gram = half * half.transpose()
    covariance = (gram - eye(rows)) / (4 * rate)
    matrices = {S: covariance, Y: half, E: draw.symmetric(rows), F: draw.matrix(rows, columns)}
    return Instance({k: rows, j: columns}, matrices, {t: rate, level: draw.positive()})


def _one(covariance: str, rate: str) -> Instance:
    letters = {S: matrix([[covariance]]), Y: eye(1), E: eye(1), F: eye(1)}
    return Instance({k: 1, j: 1}, letters, {t: rate, level: 1})


GAUSSIAN_UNIFORMITY = Theorem(
    name="gaussian-uniformity",
    title="The uniformity of Gaussian embeddings falls with their covariance and is least where it is isotropic",
    chapter=1,
    statement=(
        r"For independent Gaussian embeddings $z, z' \sim N(0, \Phi)$ and $t > 0$ the uniformity of [@wang2020],"
        r" $U(\Phi) = \ln \mathbb{E}\, e^{-t \lVert z - z' \rVert^2}$, is $-\frac12 \ln\det(I + 4t\Phi)$. It decreases"
        r" in Loewner order: along $\dot\Phi = F F^{\top}$ it falls at the rate $2t \operatorname{tr} F^{\top} R F$ with"
        r" $R = (I + 4t\Phi)^{-1}$, and strictly unless $F = 0$. It is strictly convex, so that at fixed $\operatorname{tr} \Phi$"
        r" it is least exactly at $\Phi = \frac{\operatorname{tr}\Phi}{k} I$, with the value"
        r" $-\frac{k}{2} \ln(1 + \frac{4t}{k} \operatorname{tr}\Phi)$."
    ),
    assumptions=(ADMISSIBLE, REPELLING),
    proof=(
        Step(
            ScalarIdentity(t * x**2 + x**2 / (4 * s), (1 + 4 * t * s) / (4 * s) * x**2),
            r"$z - z'$ is Gaussian with covariance $2\Phi$. On a coordinate of the eigenbasis, of variance $2s$, the integrand is"
            r" a Gaussian density of variance $2s/(1 + 4ts)$ times $(1 + 4ts)^{-1/2}$, so that $\mathbb{E}\, e^{-tx^2} ="
            r" (1 + 4ts)^{-1/2}$ (also for $s = 0$). The product over the coordinates is $\det(I + 4t\Phi)^{-1/2}$.",
        ),
        Step(
            Positive(sp.Rational(1, 10**30) - sp.Abs(INTEGRAL - 1 / sp.sqrt(1 + 4 * t * s)), POINT),
            "The same integral by validated quadrature at one point, independently of the algebra.",
        ),
        Step(
            Rate(UNIFORMITY, {S: F * F.T}, -2 * t * tr(F.T * resolvent * F), named=r"U"),
            r"$d \ln\det N = \operatorname{tr} N^{-1} dN$. A larger covariance is reached along the segment, whose direction is a"
            r" Gram matrix.",
            conclusion=True,
        ),
        Step(
            Dominates(2 * t * tr(F.T * resolvent * F), sp.S.Zero, sp.sqrt(2 * t) * F.T * resolvent * Y),
            r"$R = R (I + 4t\Phi) R$, and $I + 4t\Phi = Y Y^{\top}$. As $R$ and $Y$ are invertible, the norm of $F^{\top} R Y$"
            r" vanishes only with $F$.",
            uses=("covariance", "repelling"),
            conclusion=True,
        ),
        Step(
            Rate(
                -2 * t * tr(resolvent * E),
                {S: E},
                8 * t**2 * tr(resolvent * E * resolvent * E),
                named=r"\left(-2t \operatorname{tr} R E\right)",
            ),
            r"Along any straight line, $\dot\Phi = E$, the first derivative of $U$ is $-2t \operatorname{tr} R E$. This is the"
            r" second.",
            conclusion=True,
        ),
        Step(
            Dominates(
                8 * t**2 * tr(resolvent * E * resolvent * E),
                sp.S.Zero,
                sp.sqrt(8) * t * Y.T * resolvent * E * resolvent * Y,
            ),
            r"It is a squared norm, which vanishes only with $E$: $U$ is strictly convex.",
            uses=("covariance",),
            conclusion=True,
        ),
        Step(
            Equality(tr(ISOTROPIC.I * TRACELESS), sp.S.Zero),
            r"At $\Phi = cI$ the first derivative vanishes in every direction without trace, $E - \frac1k \operatorname{tr}(E)\, I$."
            r" A strictly convex function with a vanishing derivative at one point of the segment to $\Phi$ is larger"
            r" everywhere else on it.",
            conclusion=True,
        ),
        Step(
            Equality(-logdet(ISOTROPIC) / 2, -k * sp.log(1 + 4 * t * level) / 2),
            r"The value there, with $c = \operatorname{tr}(\Phi)/k$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "one-embedding",
            "constant",
            r"forget that the difference of two has the covariance $2\Phi$: $-\frac12\ln\det(I + 2t\Phi)$ falls at the same rate",
            Rate(-logdet(identity(k) + 2 * t * S) / 2, {S: F * F.T}, -2 * t * tr(F.T * resolvent * F)),
        ),
        FalseSibling(
            "rising",
            "sign",
            "claim that uniformity rises with the covariance",
            Dominates(-2 * t * tr(F.T * resolvent * F), sp.S.Zero, sp.sqrt(2 * t) * F.T * resolvent * Y),
            uses=("covariance", "repelling"),
        ),
        FalseSibling(
            "one-resolvent",
            "omission",
            r"drop one resolvent of the second derivative",
            Rate(-2 * t * tr(resolvent * E), {S: E}, 8 * t**2 * tr(resolvent * E * E)),
        ),
        FalseSibling(
            "every-covariance",
            "quantifier",
            r"claim that the derivative vanishes in the directions without trace at every $\Phi$",
            Equality(tr(resolvent * TRACELESS), sp.S.Zero),
        ),
    ),
    witnesses=(Witness("covariance", _one("-1", "1")), Witness("repelling", _one("1", "-1/8"))),
    instances=_embeddings,
    sources=(
        Source("wang2020", "Section 4", "the functional, on the sphere"),
        Source("ours", "", "the closed form for Gaussian embeddings and its convexity"),
    ),
    belief="The uniformity loss needs the sphere: without normalisation only its scale matters.",
    example=(
        "import numpy as np\n"
        "phi, t = np.diag([1.5, 0.5]), 2.0\n"
        "z, w = np.random.default_rng(0).normal(size=(2, 200000, 2)) @ np.sqrt(phi)\n"
        "sampled = np.log(np.mean(np.exp(-t * np.sum((z - w) ** 2, 1))))\n"
        "assert np.isclose(sampled, -np.log(np.linalg.det(np.eye(2) + 4 * t * phi)) / 2, atol=0.03)\n"
        "assert sampled > -np.log(1 + 4 * t)"
    ),
)

THEOREMS = (GAUSSIAN_UNIFORMITY,)
