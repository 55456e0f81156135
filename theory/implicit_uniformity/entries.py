"""The lines of the dictionary, each proved for the explicit functional itself (2.0).

The general theorem names a functional only through an antiderivative; here each objective is written as its authors
write it (pairs of samples, log-determinants, Schatten norms) and differentiated for symbolic shapes.
"""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Implication, Positive, Rate, ScalarIdentity
from jepalign.theory.contrastive.duality import batch
from jepalign.theory.exact import Instance, NotExactError, matrix, value_of
from jepalign.theory.expressions import StopGradient, SymmetricSymbol, identity, logdet, squared_norm, tr
from jepalign.theory.implicit_uniformity.dictionary import PAIRED, SYMMETRISED, gain
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import (
    Draw,
    T,
    Z,
    batch_K,
    batch_Phi,
    correlation,
    k,
    m,
    s,
)

x, y = sp.symbols("x y", real=True)
one: Any = identity(k)
shifted = (one + batch_Phi).I

ONE_WAY = Instance({k: 1, m: 2}, {Z: matrix([[1, 2]]), T: matrix([[0, 1], [0, 0]])})  # one order of the pair only


def _defined(rng: random.Random, size: int) -> Instance:
    """Draw a batch whose Φ is invertible (more samples than dimensions, in general position)."""
    while True:
        instance = batch(rng, size)
        try:
            value_of(batch_Phi.I, instance)
        except NotExactError:
            continue
        return instance.with_(scalars={s: Draw(rng).positive()})


def _with_spectrum(rng: random.Random, size: int) -> Instance:
    """Draw such a batch, one eigenvalue s below one with its g = 1 − 1/s, and a positive correlation."""
    draw = Draw(rng)
    eigenvalue = draw.positive() / 5
    scalars = {s: eigenvalue, gain: 1 - 1 / eigenvalue, correlation: draw.positive()}
    return _defined(rng, size).with_(scalars=scalars)


def _with_scalar(rng: random.Random, size: int) -> Instance:
    return batch(rng, size).with_(scalars={s: Draw(rng).positive(), x: Draw(rng).number(), y: Draw(rng).number()})


def _spectrum(antiderivative: sp.Expr, predictor: sp.Expr) -> Step:
    return Step(
        ScalarIdentity(sp.Derivative(antiderivative, s), predictor),
        r"On a single eigenvalue: $G' = g$.",
        conclusion=True,
    )


NEGATIVES = (squared_norm(Z.T * Z) / m**2 - 2 * tr(batch_K)) / 4

SPECTRAL_CONTRASTIVE = Theorem(
    name="spectral-contrastive-entry",
    title="P = Φ is the spectral contrastive loss, negatives included",
    chapter=2,
    statement=(
        r"With the predictor $P = \Phi$ the residual force, in which no negatives occur, is the negative gradient of"
        r" $\frac14 L_{\mathrm{SCL}} = \frac14 \left(-2\,\mathbb{E}\, z^{\top} z^{+} + \frac{1}{m^2} \sum_{i,j} (z_i^{\top} z_j)^2"
        r" \right)$ [@haochen2021], in which every sample is repelled by every other; $u(s) = \frac12 (s-1)^2 - \frac12$."
    ),
    assumptions=(SYMMETRISED,),
    proof=(
        Step(
            Gradient(NEGATIVES, Z, (Z * T - batch_Phi * Z) / m, named=r"\frac{1}{4} L_{\mathrm{SCL}}"),
            r"The negatives contribute $-\frac{1}{m^2} Z Z^{\top} Z = -\frac{1}{m} \Phi Z$: the prediction of a predictor equal"
            r" to the batch's second moment.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        _spectrum(s**2 / 2, s),
        Step(
            ScalarIdentity(s**2 / 2 - s, (s - 1) ** 2 / 2 - sp.Rational(1, 2)),
            r"$u = G - s$, with its minimum at the whitened $s = 1$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "half-the-loss",
            "constant",
            r"claim $\frac12 L_{\mathrm{SCL}}$",
            Gradient(2 * NEGATIVES, Z, (Z * T - batch_Phi * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "squared-predictor",
            "exchange",
            r"exchange $P = \Phi$ for $P = \Phi^2$",
            Gradient(NEGATIVES, Z, (Z * T - batch_Phi * batch_Phi * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "byol-form",
            "exchange",
            r"claim the same for the preconditioned force $P(z^{+} - Pz)$",
            Gradient(NEGATIVES, Z, batch_Phi * (Z * T - batch_Phi * Z) / m),
            uses=("symmetrised",),
        ),
    ),
    witnesses=(Witness("symmetrised", ONE_WAY),),
    instances=_with_scalar,
    sources=(
        Source("ours", "", "as a potential"),
        Source("haochen2021", "", "the loss"),
        Source("tao2022", "", "its gradient"),
    ),
    belief="A method without negatives cannot compute the gradient of a loss made of negatives.",
    example=(
        "from jepalign.linear_models import DICTIONARY\n"
        "entry = DICTIONARY['spectral-contrastive']\n"
        "assert entry.spectrum(0.3) == 0.3 and entry.uniformity(1.0) == -0.5"
    ),
)

INFONCE = (tr(batch_Phi - batch_K) - logdet(one + batch_Phi) / 2 - tr(batch_Phi * shifted) / 2) / 2
INFONCE_SPECTRUM = 1 - 1 / (2 * (1 + s)) - 1 / (2 * (1 + s) ** 2)
GAUSSIAN_INTEGRAL = sp.Integral(sp.exp(-((x - y) ** 2) / 2 - y**2 / (2 * s)), (y, -60, 60)) / sp.sqrt(2 * sp.pi * s)
GAUSSIAN_CLOSED = sp.exp(-(x**2) / (2 * (1 + s))) / sp.sqrt(1 + s)

GAUSSIAN_INFONCE = Theorem(
    name="gaussian-infonce-entry",
    title="The predictor of Gaussian InfoNCE",
    chapter=2,
    statement=(
        r"For Gaussian embeddings and the similarity $-\frac12 \lVert u - v \rVert^2$, InfoNCE with infinitely many negatives is"
        r" $L_{\mathrm{NCE}} = \operatorname{tr}(\Phi - K) - \frac12 \log\det(I + \Phi) - \frac12 \operatorname{tr}"
        r" \Phi (I + \Phi)^{-1}$. The residual force of the predictor"
        r" $P = I - \frac12 (I + \Phi)^{-1} - \frac12 (I + \Phi)^{-2}$ is the negative gradient of $\frac12 L_{\mathrm{NCE}}$."
        r" $P$ lies between $0$ and $I$: it repels at every scale, less and less."
    ),
    assumptions=(SYMMETRISED,),
    proof=(
        Step(
            ScalarIdentity(
                (x - y) ** 2 / 2 + y**2 / (2 * s),
                (1 + s) / (2 * s) * (y - s * x / (1 + s)) ** 2 + x**2 / (2 * (1 + s)),
            ),
            r"The negatives. In the eigenbasis of $\Phi$ a Gaussian negative $y$ of variance $s$ enters one coordinate at a"
            r" time; completing the square leaves $\mathbb{E}_y e^{-(x-y)^2/2} = (1+s)^{-1/2} e^{-x^2/(2(1+s))}$, and the mean"
            r" of its logarithm over $x$ is $-\frac12 \log(1+s) - \frac12 s/(1+s)$.",
        ),
        Step(
            Positive(
                sp.Rational(1, 10**30) - sp.Abs(GAUSSIAN_INTEGRAL - GAUSSIAN_CLOSED),
                {s: (sp.Rational(3, 4), sp.Rational(3, 4)), x: (sp.Rational(5, 4), sp.Rational(5, 4))},
            ),
            "The same integral by validated quadrature at one point, independently of the algebra.",
        ),
        Step(
            Gradient(
                INFONCE,
                Z,
                (Z * T - (one - shifted / 2 - shifted * shifted / 2) * Z) / m,
                named=r"\frac{1}{2} L_{\mathrm{NCE}}",
            ),
            r"$d \log\det(I + \Phi) = \operatorname{tr} (I+\Phi)^{-1} d\Phi$, and $\Phi (I+\Phi)^{-1} = I - (I+\Phi)^{-1}$ has"
            r" the differential $(I+\Phi)^{-1} d\Phi\, (I+\Phi)^{-1}$.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        _spectrum(s - sp.log(1 + s) / 2 - s / (2 * (1 + s)), INFONCE_SPECTRUM),
        Step(
            ScalarIdentity(INFONCE_SPECTRUM, s * (2 * s + 3) / (2 * (1 + s) ** 2)),
            r"$g$ is a quotient of positive terms.",
        ),
        Step(
            ScalarIdentity(1 - INFONCE_SPECTRUM, (s + 2) / (2 * (1 + s) ** 2)),
            r"So is $1 - g$: $0 < g < 1$ for every $s > 0$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "full-loss",
            "constant",
            r"claim the gradient of $L_{\mathrm{NCE}}$ instead of half of it",
            Gradient(2 * INFONCE, Z, (Z * T - (one - shifted / 2 - shifted * shifted / 2) * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "one-resolvent",
            "omission",
            r"drop the square: $P = I - (I+\Phi)^{-1}$",
            Gradient(INFONCE, Z, (Z * T - (one - shifted) * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "sign-of-the-square",
            "sign",
            r"$g = 1 - \frac12 (1+s)^{-1} + \frac12 (1+s)^{-2}$",
            ScalarIdentity(
                sp.Derivative(s - sp.log(1 + s) / 2 - s / (2 * (1 + s)), s),
                1 - 1 / (2 * (1 + s)) + 1 / (2 * (1 + s) ** 2),
            ),
        ),
    ),
    witnesses=(Witness("symmetrised", ONE_WAY),),
    instances=_with_scalar,
    sources=(Source("ours"), Source("wang2020", "Theorem 1", "the limit of infinitely many negatives")),
    belief="InfoNCE needs its denominator.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import DICTIONARY\n"
        "entry = DICTIONARY['gaussian-infonce']; rho = 0.6\n"
        "v = (np.sqrt(9 - 8 * rho) - 1) / 2  # the optimum of the loss is s = 1/v - 1\n"
        "assert np.isclose(entry.spectrum(1 / v - 1), rho)"
    ),
)

LOG_DET = Theorem(
    name="log-det-entry",
    title="The log-determinant and its predictor, which changes sign",
    chapter=2,
    statement=(
        r"For invertible $\Phi$ and the predictor $P = I - \Phi^{-1}$ the residual force is the negative gradient of"
        r" $\frac12 \operatorname{tr}(\Phi - K) - \frac12 \log\det\Phi$, the uniformity of log-det methods"
        r" [@mikulasch2026; @bardes2022 is a relative with a hinge]. Below $s = 1$ this predictor is negative: there the"
        r" preconditioned (BYOL) force points inward although the residual form points outward."
    ),
    assumptions=(SYMMETRISED,),
    proof=(
        Step(
            Gradient(
                (tr(batch_Phi - batch_K) - logdet(batch_Phi)) / 2,
                Z,
                (Z * T - (one - batch_Phi.I) * Z) / m,
                named=r"\left[\frac{1}{2} \operatorname{tr}(\Phi - K) - \frac{1}{2} \log\det\Phi\right]",
            ),
            r"$d \log\det\Phi = \operatorname{tr} \Phi^{-1} d\Phi$.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        _spectrum(s - sp.log(s), 1 - 1 / s),
        Step(
            Implication(
                sp.And(correlation - gain > 0, gain * (correlation - gain) < 0),
                given=(sp.Eq(gain * s, s - 1), s > 0, s < 1, correlation > 0),
            ),
            r"Below $s = 1$, with $g = 1 - 1/s$: the residual form pushes a mode of positive correlation outward, the"
            r" preconditioned one inward.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "sign-of-uniformity",
            "sign",
            r"add $\frac12\log\det\Phi$ instead of subtracting it",
            Gradient((tr(batch_Phi - batch_K) + logdet(batch_Phi)) / 2, Z, (Z * T - (one - batch_Phi.I) * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "byol-form-repels",
            "quantifier",
            r"claim that the preconditioned force points outward below $s = 1$ as well",
            Implication(
                gain * (correlation - gain) > 0,
                given=(sp.Eq(gain * s, s - 1), s > 0, s < 1, correlation > 0),
            ),
        ),
        FalseSibling(
            "whole-log-det",
            "constant",
            r"drop the factor $\frac12$ of the log-determinant",
            Gradient(tr(batch_Phi - batch_K) / 2 - logdet(batch_Phi), Z, (Z * T - (one - batch_Phi.I) * Z) / m),
            uses=("symmetrised",),
        ),
    ),
    witnesses=(Witness("symmetrised", ONE_WAY),),
    instances=_with_spectrum,
    sources=(Source("ours"), Source("mikulasch2026", "", "VICReg's form as a log-determinant")),
    belief="If a functional repels, so does every training scheme built on its predictor.",
    example=(
        "from jepalign.linear_models import DICTIONARY\n"
        "entry = DICTIONARY['log-det']\n"
        "assert entry.spectrum(0.5) < 0 < entry.spectrum(2.0)"
    ),
)

square_root: Any = SymmetricSymbol("B", k)
square_root_rate: Any = SymmetricSymbol(r"\dot{B}", k)
ROOT = Assumption(
    "square-root",
    r"the predictor is the positive square root, $B^2 = \Phi$",
    Equation(square_root * square_root, batch_Phi),
)


def _rooted(rng: random.Random, size: int) -> Instance:
    """Draw Φ with a rational square root: Z = √m·B·(orthonormal rows), with m a square."""
    draw = Draw(rng)
    rows = rng.randint(1, min(size, 2))
    root = draw.positive_definite(rows)
    embeddings = root * draw.orthonormal_rows(rows, 4) * 2
    values = {Z: embeddings, T: draw.pairing(2), square_root: root, square_root_rate: draw.symmetric(rows)}
    return Instance({k: rows, m: 4}, values, {s: draw.positive()})


DIRECTPRED = Theorem(
    name="directpred-entry",
    title="DirectPred implements a Schatten-3 norm",
    chapter=2,
    statement=(
        r"The predictor $P = \Phi^{1/2}$ of DirectPred [@tian2021, (18)] implements the functional"
        r" $-\frac12 \operatorname{tr} K + \frac13 \operatorname{tr} \Phi^{3/2}$: alignment with a Schatten-3 norm of the"
        r" embeddings, $\operatorname{tr}\Phi^{3/2} = m^{-3/2} \lVert Z \rVert_{S_3}^3$. It repels below $s = 1$ and contracts"
        r" above."
    ),
    assumptions=(SYMMETRISED, ROOT),
    proof=(
        Step(
            Rate(
                tr(square_root * square_root * square_root) / 3,
                {square_root: square_root_rate},
                tr(square_root * (square_root_rate * square_root + square_root * square_root_rate)) / 2,
            ),
            r"With $B^2 = \Phi$ the bracket is $\dot\Phi$, so that $\frac{d}{dt} \frac13 \operatorname{tr} \Phi^{3/2} ="
            r" \frac12 \operatorname{tr} \Phi^{1/2} \dot\Phi$: the lemma for the square root, without appeal to it.",
            conclusion=True,
        ),
        Step(
            Gradient(
                tr(StopGradient(square_root) * batch_Phi) / 2 - tr(batch_K) / 2,
                Z,
                (Z * T - square_root * Z) / m,
            ),
            r"Hence the gradient is that of $\frac12 \operatorname{tr} B\Phi - \frac12 \operatorname{tr} K$ at frozen $B$.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        Step(
            Equality(
                squared_norm(square_root * Z - Z * T),
                tr(Z.T * batch_Phi * Z) - 2 * tr(Z * T * Z.T * square_root) + tr(Z * T * T.T * Z.T),
            ),
            r"The squared residual contains the predictor only as $B^2 = \Phi$ and in the cross term.",
            uses=("square-root", "symmetrised"),
            conclusion=True,
        ),
        _spectrum(sp.Rational(2, 3) * s ** sp.Rational(3, 2), sp.sqrt(s)),
    ),
    siblings=(
        FalseSibling(
            "one-half-of-the-trace",
            "constant",
            r"weigh $\operatorname{tr} \Phi^{3/2}$ with $\frac12$ instead of $\frac13$",
            Rate(
                tr(square_root * square_root * square_root) / 2,
                {square_root: square_root_rate},
                tr(square_root * (square_root_rate * square_root + square_root * square_root_rate)) / 2,
            ),
        ),
        FalseSibling(
            "schatten-two",
            "exchange",
            r"take $\frac12 \operatorname{tr} \Phi$, a Schatten-2 norm, for the potential of the square root",
            Gradient(tr(batch_Phi) / 2 - tr(batch_K) / 2, Z, (Z * T - square_root * Z) / m),
            uses=("symmetrised",),
        ),
    ),
    witnesses=(
        Witness(
            "symmetrised",
            Instance(
                {k: 1, m: 2},
                {
                    Z: matrix([[1, 1]]),
                    T: matrix([[0, 1], [0, 0]]),
                    square_root: matrix([[1]]),
                    square_root_rate: matrix([[1]]),
                },
            ),
        ),
        Witness(
            "square-root",
            Instance(
                {k: 1, m: 2},
                {
                    Z: matrix([[1, 1]]),
                    T: matrix([[0, 1], [1, 0]]),
                    square_root: matrix([[2]]),
                    square_root_rate: matrix([[1]]),
                },
            ),
        ),
    ),
    instances=_rooted,
    sources=(
        Source("ours", "", "the potential"),
        Source("tian2021", "(18)", "the predictor"),
        Source("wang2021", "", "powers"),
    ),
    belief="DirectPred whitens: its fixed point is a covariance of ones.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import DICTIONARY\n"
        "entry = DICTIONARY['directpred']; z = np.random.default_rng(0).normal(size=(64, 5))\n"
        "schatten = np.sum(np.linalg.svd(z / 8, compute_uv=False) ** 3)\n"
        "assert np.isclose(entry.trace_antiderivative(z.T @ z / 64), 2 / 3 * schatten)"
    ),
)

NO_PREDICTOR = Theorem(
    name="no-predictor-entry",
    title="Without a predictor there is alignment and nothing else",
    chapter=2,
    statement=(
        r"For $P = I$ the functional is $\frac12 \operatorname{tr}(\Phi - K) = \frac14 \mathbb{E} \lVert z - z^{+} \rVert^2$:"
        r" $u = 0$. Its only minimum is collapse of every direction in which partners differ; the stop-gradient alone does not"
        r" change that."
    ),
    assumptions=(SYMMETRISED, PAIRED),
    proof=(
        Step(
            Gradient(tr(batch_Phi - batch_K) / 2, Z, (Z * T - Z) / m),
            "The residual without predictor.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        Step(
            Equality(tr(batch_Phi - batch_K) / 2, squared_norm(Z - Z * T) / (4 * m)),
            "It is the gradient of alignment.",
            uses=("paired",),
            conclusion=True,
        ),
        Step(
            Rate(squared_norm(Z), {Z: Z * T - Z}, -squared_norm(Z - Z * T)),
            r"The embeddings' second moment never grows, and falls while any pair differs.",
            uses=("symmetrised", "paired"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "spread-survives",
            "omission",
            "claim that the second moment is conserved",
            Rate(squared_norm(Z), {Z: Z * T - Z}, sp.S.Zero),
            uses=("symmetrised", "paired"),
        ),
        FalseSibling(
            "half-alignment",
            "constant",
            r"claim $\frac12 \mathbb{E}\lVert z - z^{+} \rVert^2$",
            Equality(tr(batch_Phi - batch_K) / 2, squared_norm(Z - Z * T) / (2 * m)),
            uses=("paired",),
        ),
    ),
    witnesses=(
        Witness("symmetrised", Instance({k: 1, m: 2}, {Z: matrix([[1, 2]]), T: matrix([[0, 1], [-1, 0]])})),
        Witness("paired", Instance({k: 1, m: 2}, {Z: matrix([[1, 2]]), T: matrix([[0, 2], [2, 0]])})),
    ),
    instances=batch,
    sources=(Source("tian2021", "Theorem 2"), Source("wang2020", "", "alignment")),
    belief="Stop-gradient alone prevents collapse.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import DICTIONARY\n"
        "assert np.all(DICTIONARY['no-predictor'].uniformity(np.linspace(0, 5)) == 0)"
    ),
)

THEOREMS = (SPECTRAL_CONTRASTIVE, GAUSSIAN_INFONCE, LOG_DET, DIRECTPRED, NO_PREDICTOR)
