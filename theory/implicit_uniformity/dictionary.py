"""The dictionary: a predictor that is a function of the embedding covariance is the derivative of a uniformity (2.0)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Dominates, Equality, Gradient, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix, rational
from jepalign.theory.expressions import Named, SpectralFunction, StopGradient, SymmetricSymbol, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import (
    Draw,
    P,
    T,
    W,
    X,
    Z,
    batch_K,
    batch_Phi,
    correlation,
    d,
    k,
    m,
    variance,
    w,
)

# -- the lemma: d tr G(S) = tr g(S) dS ----------------------------------------------------------------------------------

S: Any = SymmetricSymbol("S", k)
dS: Any = SymmetricSymbol(r"\dot{S}", k)
power_m: Any = SymmetricSymbol("A", k)  # Sᵐ
power_n: Any = SymmetricSymbol("B", k)  # Sⁿ
d_power_n: Any = SymmetricSymbol(r"\dot{B}", k)


def _powers(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    base, direction = draw.symmetric(size), draw.symmetric(size)
    low, high = rng.randint(0, 2), rng.randint(1, 3)
    moved = sum((base**i * direction * base ** (high - 1 - i) for i in range(high)), 0 * eye(size))
    values = {S: base, dS: direction, power_m: base**low, power_n: base**high, d_power_n: moved}
    return Instance({k: size}, values, spectra={"g": draw.polynomial()})


TRACE_DERIVATIVE = Theorem(
    name="trace-derivative",
    title="The trace of a function of a symmetric matrix differentiates like the function",
    chapter=2,
    statement=(
        r"For $G' = g$ and symmetric $S$: $\frac{d}{dt} \operatorname{tr} G(S) = \operatorname{tr} g(S)\, \dot S$, whether or not"
        r" $S$ and $\dot S$ commute. For polynomials this is proved below for every degree; for continuously differentiable"
        r" $G$ it is [@lewis1996, Theorem 1.1]."
    ),
    assumptions=(),
    proof=(
        Step(
            Rate(tr(StopGradient(power_m) * S), {S: dS}, tr(power_m * dS)),
            r"Induction on $n$ for the claim $\operatorname{tr} S^m \frac{d}{dt} S^n = n \operatorname{tr} S^{m+n-1} \dot S$"
            r" with all $m$ at once. For $n = 1$ there is nothing to move but $S$ itself.",
        ),
        Step(
            Rate(
                tr(StopGradient(power_m) * (S * power_n)),
                {S: dS, power_n: d_power_n},
                tr(power_m * power_n * dS) + tr(power_m * S * d_power_n),
            ),
            r"Step from $n$ to $n+1$, with $A = S^m$, $B = S^n$: the product rule on $S \cdot S^n$, and a transposition under"
            r" the trace. The first term is $\operatorname{tr} S^{m+n} \dot S$; the second is the claim for $m+1$ and $n$, that"
            r" is $n$ times the same.",
            conclusion=True,
        ),
        Step(
            Rate(
                tr(SpectralFunction("g", S, -1)),
                {S: dS},
                tr(SpectralFunction("g", S) * dS),
            ),
            r"The claim with $m = 0$, divided by $n$ and added up over the terms of a polynomial. Polynomials are dense in"
            r" the continuously differentiable functions on an interval that holds the spectrum; the calculus uses the"
            r" result as a rule from here on.",
            conclusion=True,
        ),
        Step(
            Cited(
                r"\frac{d}{dt} \operatorname{tr} G(S) = \operatorname{tr} g(S)\, \dot S \quad\text{for } G \in C^1",
                "lewis1996, Theorem 1.1",
            ),
            "The passage from polynomials to continuously differentiable functions.",
        ),
    ),
    siblings=(
        FalseSibling(
            "scalar-rule-without-trace",
            "omission",
            r"claim $\frac{d}{dt} S^2 = 2 S \dot S$ without the trace",
            Rate(S * S, {S: dS}, 2 * S * dS),
        ),
        FalseSibling(
            "missing-factor",
            "constant",
            r"claim $\frac{d}{dt} \operatorname{tr} G(S) = 2 \operatorname{tr} g(S)\, \dot S$",
            Rate(tr(SpectralFunction("g", S, -1)), {S: dS}, 2 * tr(SpectralFunction("g", S) * dS)),
        ),
    ),
    witnesses=(),
    instances=_powers,
    sources=(Source("lewis1996", "Theorem 1.1"),),
    belief="A matrix function differentiates like the scalar one, trace or no trace.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); S, D = (a + a.T for a in rng.normal(size=(2, 4, 4)))\n"
        "trace = lambda t: np.sum(np.exp(np.linalg.eigvalsh(S + t * D)))\n"
        "values, vectors = np.linalg.eigh(S)\n"
        "assert np.isclose((trace(1e-5) - trace(-1e-5)) / 2e-5, np.trace(vectors * np.exp(values) @ vectors.T @ D))"
    ),
)

# -- the dictionary -----------------------------------------------------------------------------------------------------

g: Any = SpectralFunction("g", batch_Phi)
G: Any = SpectralFunction("g", batch_Phi, -1)
root: Any = sp.MatrixSymbol("F", k, k)
gain = sp.Symbol("g", real=True)
FUNCTIONAL = (tr(G) - tr(batch_K)) / 2
RESIDUAL = (Z * T - g * Z) / m

linear_Phi: Any = Named(r"\Phi", W * X * X.T * W.T / m)
linear_g: Any = SpectralFunction("g", linear_Phi)
Sigma: Any = Named(r"\Sigma", X * X.T / m)
C: Any = Named("C", X * T * X.T / m)
LINEAR_FUNCTIONAL = (tr(SpectralFunction("g", linear_Phi, -1)) - tr(W * C * W.T)) / 2

SYMMETRISED = Assumption(
    "symmetrised",
    r"the batch contains both orders of every pair: $T^{\top} = T$",
    Equation(T.T, T),
)
PAIRED = Assumption(
    "paired",
    r"every embedding is the partner of exactly one other, of the same encoder: $T T^{\top} = I$",
    Equation(T * T.T, sp.Identity(m)),
)
NONNEGATIVE = Assumption(
    "nonnegative-predictor",
    r"$g \ge 0$ on the spectrum of $\Phi$, so that $P = F F^{\top}$ (only for the last conclusion)",
    Semidefinite(g, root, (g, root * root.T)),
)
SPECTRAL = Assumption(
    "spectral-predictor",
    r"the predictor is the spectral function $P = g(\Phi)$ of the batch's own second moment",
    Equation(P, g),
)


def squares(draw: Draw) -> tuple[object, ...]:
    """Draw a polynomial g that is a square, hence nonnegative."""
    a, b = draw.number(), draw.number()
    return (a * a, 2 * a * b, b * b)


def _batch(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, inputs, coefficients = draw.matrix(rows, columns), draw.matrix(columns, 2 * size), squares(draw)
    embeddings = encoder * inputs
    moment = embeddings * embeddings.transpose() / (2 * size)
    predictor = coefficients[0] * eye(rows) + coefficients[1] * moment + coefficients[2] * moment * moment
    return Instance(
        {k: rows, d: columns, m: 2 * size},
        {W: encoder, X: inputs, Z: embeddings, T: draw.pairing(size), P: predictor},
        {correlation: draw.number(), variance: draw.positive(), w: draw.number(), gain: draw.number()},
        {"g": coefficients},
    )


def _pair(pairing: list[list[int]], polynomial: tuple[int, ...], predictor: object) -> Instance:
    return Instance(
        {k: 1, d: 1, m: 2},
        {
            W: matrix([[1]]),
            X: matrix([[1, 2]]),
            Z: matrix([[1, 2]]),
            T: matrix(pairing),
            P: matrix([[predictor]]),
        },
        spectra={"g": tuple(rational(c) for c in polynomial)},
    )


def _any_predictor(rng: random.Random, size: int) -> Instance:
    instance = _batch(rng, size)
    rows = instance.sizes[k]
    return instance.with_({P: Draw(rng).matrix(rows, rows)})


def _signed(rng: random.Random, size: int) -> Instance:
    instance = _batch(rng, size)
    return Instance(instance.sizes, instance.matrices, instance.scalars, {"g": Draw(rng).polynomial(1)})


DICTIONARY = Theorem(
    name="dictionary",
    title="The predictor's deviation from the identity is the derivative of the uniformity functional",
    chapter=2,
    statement=(
        r"Let $Z \in \mathbb{R}^{k \times m}$ be the embeddings of a symmetrised batch under *any* encoder, $Z T$ their"
        r" partners, $\Phi = Z Z^{\top}/m$ and $K = Z T Z^{\top}/m$. Let the predictor be a spectral function of $\Phi$,"
        r" $P = g(\Phi)$, and $G' = g$. The residual $z^{+} - P z$ that a JEPA computes, *without negatives*, is the negative"
        r" gradient of $U_g = -\frac12 \operatorname{tr} K + \frac12 \operatorname{tr} G(\Phi)"
        r" = \frac14 \mathbb{E}\lVert z - z^{+} \rVert^2 + \frac12 \operatorname{tr} u(\Phi)$, alignment plus a uniformity $u$"
        r" with $g = 1 + u'$: it repels where $g < 1$ and contracts where $g > 1$. The force of a JEPA or BYOL,"
        r" $P^{\top}(z^{+} - P z)$, is the same field preconditioned by $P$, and descends $U_g$ if $g \ge 0$. Read backwards:"
        r" $g = 1 + u'$ is the predictor that implements a wanted uniformity without negatives; at an optimum of a mode"
        r" $g(s) = \rho$."
    ),
    assumptions=(SYMMETRISED, PAIRED, SPECTRAL, NONNEGATIVE),
    proof=(
        Step(
            Cited(
                r"\frac{d}{dt} \operatorname{tr} G(\Phi) = \operatorname{tr} g(\Phi)\, \dot\Phi",
                "trace-derivative; beyond polynomials lewis1996, Theorem 1.1",
            ),
            "The lemma: only the trace of the function is differentiated, so that nothing needs to commute.",
        ),
        Step(
            Gradient(FUNCTIONAL, Z, (Z * T - P * Z) / m, named="U_g"),
            r"With $\dot\Phi = (\dot Z Z^{\top} + Z \dot Z^{\top})/m$ the lemma gives $\nabla_Z \frac12 \operatorname{tr} G(\Phi) ="
            r" g(\Phi) Z/m$, and $\nabla_Z \frac12 \operatorname{tr} K = Z (T + T^{\top})/(2m) = Z T/m$ because both orders of a pair"
            r" are in the batch. Column by column this is $(z^{+} - P z)/m$: the residual. The chain rule carries it through"
            r" any encoder.",
            uses=("symmetrised", "spectral-predictor"),
            conclusion=True,
        ),
        Step(
            Equality(FUNCTIONAL, squared_norm(Z - Z * T) / (4 * m) + (tr(G) - tr(batch_Phi)) / 2),
            r"Add and subtract $\frac12 \operatorname{tr} \Phi$: pairs of one encoder have"
            r" $\mathbb{E}\lVert z - z^{+} \rVert^2 = 2 \operatorname{tr}(\Phi - K)$. What is left is $u = G - s$, so"
            r" $u' = g - 1$: uniformity is what the predictor lacks of the identity.",
            uses=("paired",),
            conclusion=True,
        ),
        Step(
            Gradient(LINEAR_FUNCTIONAL, W, W * C - linear_g * W * Sigma, named="U_g"),
            r"For a linear encoder, $Z = W X$: with $\Sigma = X X^{\top}/m$ and $C = X T X^{\top}/m$ of any spectrum.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        Step(
            Equality(P.T * W * C - P.T * P * W * Sigma, P * (W * C - P * W * Sigma)),
            r"The force of a JEPA is $P^{\top}$ times the residual, and $P = g(\Phi)$ is symmetric.",
            uses=("spectral-predictor",),
        ),
        Step(
            Rate(
                FUNCTIONAL,
                {Z: g * RESIDUAL},
                -tr(RESIDUAL.T * g * RESIDUAL),
                named="U_g",
            ),
            r"Along $\dot z = P(z^{+} - P z)/m$ the functional changes by minus a quadratic form in $P$.",
            uses=("symmetrised",),
        ),
        Step(
            Dominates(tr(RESIDUAL.T * g * RESIDUAL), sp.S.Zero, root.T * RESIDUAL),
            r"If $g \ge 0$ the form is a square and the preconditioned flow descends. Where $g < 0$ it climbs: the BYOL form"
            r" destroys modes that the residual form keeps.",
            uses=("nonnegative-predictor",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(w * (correlation * variance - gain * variance), variance * w * (correlation - gain)),
            r"Per mode the residual is $w(\lambda - g\sigma)$ with $\lambda = \rho\sigma$: at rest, $g(s) = \rho$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "whole-instead-of-half",
            "constant",
            r"write $\operatorname{tr} G(\Phi)$ without the factor $\frac12$",
            Gradient(tr(G) - tr(batch_K) / 2, Z, RESIDUAL),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "predictor-as-potential",
            "exchange",
            r"take $\operatorname{tr} g(\Phi)$ itself for the functional: $\nabla \frac12 \operatorname{tr}\Phi^2 = \Phi Z/m$ with $g = s$",
            Gradient((tr(batch_Phi * batch_Phi) - tr(batch_K)) / 2, Z, (Z * T - batch_Phi * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "byol-force-is-the-gradient",
            "exchange",
            r"claim the gradient of $U_g$ for the preconditioned force $P^{\top}(z^{+} - P z)$",
            Gradient(FUNCTIONAL, Z, g * RESIDUAL),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "any-predictor",
            "quantifier",
            r"claim the functional $\frac12 \operatorname{tr} P\Phi - \frac12 \operatorname{tr} K$ for a frozen predictor of any"
            r" form, symmetric or not",
            Gradient((tr(StopGradient(P) * batch_Phi) - tr(batch_K)) / 2, Z, (Z * T - P * Z) / m),
            uses=("symmetrised",),
            instances=_any_predictor,
        ),
        FalseSibling(
            "alignment-at-half",
            "constant",
            r"take $\frac12$ for the weight of alignment, as in the usual loss, instead of $\frac14$",
            Equality(FUNCTIONAL, squared_norm(Z - Z * T) / (2 * m) + (tr(G) - tr(batch_Phi)) / 2),
            uses=("paired",),
        ),
        FalseSibling(
            "descent-always",
            "quantifier",
            r"claim descent of the preconditioned flow for every $g$, negative or not",
            Dominates(tr(RESIDUAL.T * g * RESIDUAL), sp.S.Zero, root.T * RESIDUAL),
            instances=_signed,
        ),
    ),
    witnesses=(
        Witness("symmetrised", _pair([[0, 1], [-1, 0]], (1,), 1)),
        Witness("paired", _pair([[0, 2], [2, 0]], (1,), 1)),
        Witness("spectral-predictor", _pair([[0, 1], [1, 0]], (1,), 2)),
        Witness("nonnegative-predictor", _pair([[0, 1], [1, 0]], (-1,), -1)),
    ),
    instances=_batch,
    sources=(
        Source("ours"),
        Source("tao2022", "", "the gradient of asymmetric methods as positives and negatives, at a fixed covariance"),
        Source("halvagal2023", "", "the residual and the preconditioned form per mode, without a potential"),
        Source("guo2025", "", "the spectral contrastive loss in a form without negatives"),
        Source("mikulasch2026", "(54), (58)", "implicit repulsion of the stop-gradient"),
    ),
    belief="Without negatives there is no uniformity term.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import DICTIONARY\n"
        "z = np.random.default_rng(0).normal(size=(100, 4)); partner = np.roll(z, 50, axis=0)\n"
        "residual = partner - z @ DICTIONARY['spectral-contrastive'].matrix(z.T @ z / 100)\n"
        "negatives = partner - (z @ z.T) @ z / 100  # every sample repelled by every other\n"
        "assert np.allclose(residual, negatives)"
    ),
)


THEOREMS = (TRACE_DERIVATIVE, DICTIONARY)
