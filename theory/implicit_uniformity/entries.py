"""The lines of the dictionary, each proved for the explicit functional itself (2.0).

The general theorem names a functional only through an antiderivative; here each objective is written as its authors
write it (pairs of samples, log-determinants, Schatten norms) and differentiated for symbolic shapes.
"""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Implication, Positive, Rate, ScalarIdentity
from jepalign.theory.contrastive import batch
from jepalign.theory.exact import Instance, NotExactError, eye, matrix, value_of
from jepalign.theory.expressions import StopGradient, SymmetricSymbol, identity, logdet, squared_norm, tr
from jepalign.theory.implicit_uniformity.dictionary import PAIRED, SYMMETRISED, gain
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import (
    Draw,
    P,
    Phi,
    Sigma_x,
    Sigma_yx,
    T,
    W,
    Z,
    alpha,
    batch_K,
    batch_Phi,
    correlation,
    d,
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
            r"claim $\frac12 L_{\mathrm{SCL}}$",
            Gradient(2 * NEGATIVES, Z, (Z * T - batch_Phi * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "squared-predictor",
            r"exchange $P = \Phi$ for $P = \Phi^2$",
            Gradient(NEGATIVES, Z, (Z * T - batch_Phi * batch_Phi * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "byol-form",
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
            r"claim the gradient of $L_{\mathrm{NCE}}$ instead of half of it",
            Gradient(2 * INFONCE, Z, (Z * T - (one - shifted / 2 - shifted * shifted / 2) * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "one-resolvent",
            r"drop the square: $P = I - (I+\Phi)^{-1}$",
            Gradient(INFONCE, Z, (Z * T - (one - shifted) * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "sign-of-the-square",
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
            r"add $\frac12\log\det\Phi$ instead of subtracting it",
            Gradient((tr(batch_Phi - batch_K) + logdet(batch_Phi)) / 2, Z, (Z * T - (one - batch_Phi.I) * Z) / m),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "byol-form-repels",
            r"claim that the preconditioned force points outward below $s = 1$ as well",
            Implication(
                gain * (correlation - gain) > 0,
                given=(sp.Eq(gain * s, s - 1), s > 0, s < 1, correlation > 0),
            ),
        ),
        FalseSibling(
            "whole-log-det",
            r"drop the factor $\frac12$ of the log-determinant",
            Gradient(tr(batch_Phi - batch_K) / 2 - logdet(batch_Phi), Z, (Z * T - (one - batch_Phi.I) * Z) / m),
            uses=("symmetrised",),
        ),
    ),
    witnesses=(Witness("symmetrised", ONE_WAY),),
    instances=_defined,
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
            r"weigh $\operatorname{tr} \Phi^{3/2}$ with $\frac12$ instead of $\frac13$",
            Rate(
                tr(square_root * square_root * square_root) / 2,
                {square_root: square_root_rate},
                tr(square_root * (square_root_rate * square_root + square_root * square_root_rate)) / 2,
            ),
        ),
        FalseSibling(
            "schatten-two",
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
            "claim that the second moment is conserved",
            Rate(squared_norm(Z), {Z: Z * T - Z}, sp.S.Zero),
            uses=("symmetrised", "paired"),
        ),
        FalseSibling(
            "half-alignment",
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

BALANCED = Assumption("balanced", r"$P^{\top} P = \alpha W W^{\top}$", Equation(P.T * P, alpha * W * W.T))
WHITENED = Assumption("whitened", r"the context inputs are white, $\Sigma_x = I$", Equation(Sigma_x, identity(d)))
SYMMETRIC_PREDICTOR = Assumption("symmetric-predictor", r"$P^{\top} = P$", Equation(P.T, P))


def _learnt(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    root, predictor = draw.positive(), draw.symmetric(rows)
    encoder = predictor * draw.orthonormal_rows(rows, columns) * (1 / root)
    values = {W: encoder, P: predictor, Sigma_x: eye(columns), Sigma_yx: draw.matrix(columns, columns)}
    return Instance({k: rows, d: columns}, values, {alpha: root * root})


LEARNT = Theorem(
    name="learnt-predictor-entry",
    title="The learnt, balanced predictor is the square root of the embedding covariance",
    chapter=2,
    statement=(
        r"On white inputs a balanced symmetric predictor satisfies $P^2 = \alpha\Phi$; if it is positive semidefinite,"
        r" $P = g(\Phi)$ with $g = \sqrt{\alpha s}$. Its repulsive *term* is $\alpha$ times that of the spectral contrastive"
        r" loss, its whole *force* $P$ times the residual of the DirectPred entry (up to $\alpha$)."
    ),
    assumptions=(BALANCED, WHITENED, SYMMETRIC_PREDICTOR),
    proof=(
        Step(
            Equality(P.T * P, alpha * Phi),
            r"Balance, with $\Phi = W W^{\top}$ on white inputs.",
            uses=("balanced", "whitened"),
        ),
        Step(
            Equality(squared_norm(P), alpha * tr(Phi)),
            r"In the trace: the predictor's squared norm is $\alpha$ times the embeddings' variance.",
            uses=("balanced", "whitened"),
            conclusion=True,
        ),
        Step(
            Equality(P * P * W * Sigma_x, alpha * W * W.T * W),
            r"With $P^{\top} = P$: $P^2 = \alpha\Phi$, and the repulsive term is the contrastive one. The positive root is unique.",
            uses=("balanced", "whitened", "symmetric-predictor"),
            conclusion=True,
        ),
        Step(
            Equality(P.T * W * Sigma_yx - P.T * P * W * Sigma_x, P * (W * Sigma_yx - P * W * Sigma_x)),
            r"The force is the predictor times the residual.",
            uses=("symmetric-predictor",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "predictor-is-the-covariance",
            r"claim $P = \alpha\Phi$ of the repulsive term, $P^2 W = \alpha^2 \Phi^2 W$",
            Equality(P * P * W * Sigma_x, alpha**2 * W * W.T * W * W.T * W),
            uses=("whitened",),
        ),
        FalseSibling(
            "force-without-predictor",
            "claim the residual itself for the force",
            Equality(P.T * W * Sigma_yx - P.T * P * W * Sigma_x, W * Sigma_yx - P * W * Sigma_x),
            uses=("symmetric-predictor",),
        ),
    ),
    witnesses=(
        Witness(
            "balanced",
            Instance(
                {k: 1, d: 1},
                {W: matrix([[1]]), P: matrix([[2]]), Sigma_x: eye(1), Sigma_yx: matrix([[1]])},
                {alpha: 1},
            ),
        ),
        Witness(
            "whitened",
            Instance(
                {k: 1, d: 1},
                {W: matrix([[1]]), P: matrix([[1]]), Sigma_x: matrix([[2]]), Sigma_yx: matrix([[1]])},
                {alpha: 1},
            ),
        ),
        Witness(
            "symmetric-predictor",
            Instance(
                {k: 2, d: 2},
                {W: eye(2), P: matrix([[0, 1], [-1, 0]]), Sigma_x: eye(2), Sigma_yx: eye(2)},
                {alpha: 1},
            ),
        ),
    ),
    instances=_learnt,
    sources=(Source("ours"), Source("tian2021", "Theorem 1, Theorem 3", "balance and alignment of eigenspaces")),
    belief="The learnt predictor is the covariance of the embeddings.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, 0.6]))\n"
        "path = LinearJEPA(views).solve(0.5 * np.eye(2), 0.5 * np.eye(2), times=[0.0, 20.0])\n"
        "assert np.allclose(path.predictor[1] @ path.predictor[1], path.encoder[1] @ path.encoder[1].T)"
    ),
)

start = sp.Symbol("s_0", real=True)
lam, sig = sp.symbols("lambda sigma", real=True)
ESCAPE_TIME = (
    (1 / start - 1 / s) / lam + sig / lam**2 * sp.log(s * (lam - sig * start) / (start * (lam - sig * s)))
) / 2
INSIDE = Assumption(
    "below-the-optimum",
    r"$0 < s_0 < s < \rho$: the mode has grown and is still below its optimum",
    Inequality(sp.And(start > 0, s > start, sig * s < lam)),
)
POSITIVE_VARIANCE = Assumption("positive-variance", r"$\sigma > 0$", Inequality(sig > 0))


def _growing(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    variance, low = draw.positive(), draw.positive()
    high = low + draw.positive()
    return Instance(scalars={sig: variance, start: low, s: high, lam: variance * high + draw.positive()})


ORIGIN = Theorem(
    name="preconditioned-origin",
    title="The preconditioning makes the repelling origin of the contrastive loss sticky",
    chapter=2,
    statement=(
        r"One mode with $P = \Phi$, embedding variance $s = \sigma w^2$. Residual form ($\frac14$ of the spectral contrastive"
        r" descent): $\dot s = 2s(\lambda - \sigma s)$, leaving $s_0$ in time logarithmic in $1/s_0$. JEPA form:"
        r" $\dot s = 2s^2(\lambda - \sigma s)$, leaving in time at least $(1/s_0 - 1/s)/(2\lambda) \sim \varepsilon^{-2}$ for"
        r" $w_0 = \varepsilon$: where $g(0) = 0$ the same field, preconditioned, no longer repels to first order."
    ),
    assumptions=(INSIDE, POSITIVE_VARIANCE),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(ESCAPE_TIME, s) * 2 * s**2 * (lam - sig * s), sp.S.One),
            r"The time $t(s) = \frac12 \left[\frac{1}{\lambda}\left(\frac1{s_0} - \frac1s\right) + \frac{\sigma}{\lambda^2}"
            r" \ln\frac{s(\lambda - \sigma s_0)}{s_0(\lambda - \sigma s)}\right]$ to reach $s$ from $s_0$ inverts the JEPA form.",
        ),
        Step(
            Implication(s * (lam - sig * start) > start * (lam - sig * s)),
            "The argument of the logarithm exceeds one, so that the algebraic term is a lower bound for the time.",
            uses=("below-the-optimum", "positive-variance"),
            conclusion=True,
        ),
        Step(
            Implication(2 * s * (lam - sig * s) > 0),
            "The residual form grows at once, at a rate proportional to the mode itself.",
            uses=("below-the-optimum", "positive-variance"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(sp.log(s * (lam - sig * start) / (start * (lam - sig * s))) / (2 * lam), s)
                * 2
                * s
                * (lam - sig * s),
                sp.S.One,
            ),
            "Its time is the logarithm alone.",
        ),
    ),
    siblings=(
        FalseSibling(
            "first-power",
            r"claim the same time for $\dot s = 2s(\lambda - \sigma s)$",
            ScalarIdentity(sp.Derivative(ESCAPE_TIME, s) * 2 * s * (lam - sig * s), sp.S.One),
        ),
        FalseSibling(
            "upper-bound",
            "claim the opposite sign of the logarithm",
            Implication(s * (lam - sig * start) < start * (lam - sig * s)),
            uses=("below-the-optimum", "positive-variance"),
        ),
    ),
    witnesses=(
        Witness("below-the-optimum", Instance(scalars={sig: 1, start: 2, s: 3, lam: 1})),
        Witness("positive-variance", Instance(scalars={sig: -2, start: 1, s: 2, lam: -3})),
    ),
    instances=_growing,
    sources=(Source("ours"),),
    belief="If two methods share a potential they share its dynamics.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair, DICTIONARY\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)); start = 0.1 * np.eye(1)\n"
        "byol, residual = (LinearJEPA(views, predictor=DICTIONARY['spectral-contrastive'], force=f) for f in ('byol', 'residual'))\n"
        "assert byol.solve(start, None, [0.0, 9.0]).encoder[1] < 0.2 < residual.solve(start, None, [0.0, 9.0]).encoder[1]"
    ),
)

THEOREMS = (SPECTRAL_CONTRASTIVE, GAUSSIAN_INFONCE, LOG_DET, DIRECTPRED, NO_PREDICTOR, LEARNT, ORIGIN)
