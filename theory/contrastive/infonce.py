"""InfoNCE with dot products, for Gaussian negatives: the spectral contrastive loss of a rescaled encoder (result 1.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Positive, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Sigma_x, Sigma_y, Sigma_yx, V, W, Z, batch_Phi, d, k, m, s

x, y, tau, excess = sp.symbols("x y tau kappa", real=True)

Phi_x: Any = Named(r"\Phi_x", W * Sigma_x * W.T)
Phi_y: Any = Named(r"\Phi_y", W * Sigma_y * W.T)
DOT_PRODUCT = -tr(W * Sigma_yx * W.T) / tau + tr(Phi_x * Phi_y) / (2 * tau**2) + excess


def spectral_loss(encoder: Any) -> Any:
    """Return −2 E z·z⁺ + E(z·z⁻)² of a linear encoder: anchors are context views, z⁺ and z⁻ target views."""
    positives, negatives = encoder * Sigma_yx * encoder.T, encoder * Sigma_x * encoder.T * encoder * Sigma_y * encoder.T
    return -2 * tr(positives) + tr(negatives)


GAUSSIAN = Assumption(
    "gaussian-negatives",
    r"the negatives are Gaussian: their cumulants beyond the second, whose contribution to the mean of the logarithm is"
    r" called $\kappa$, vanish, $\kappa = 0$ (for Laplace negatives $\kappa > 0$). The anchors may have any distribution",
    Equation(excess, sp.S.Zero),
)
RESCALED = Assumption("rescaled", r"$V = W/\sqrt{\tau}$", Equation(V, W / sp.sqrt(tau)))

POINT: Any = {letter: (sp.Rational(value),) * 2 for letter, value in ((s, "3/4"), (x, "5/4"), (tau, "1/2"))}
INTEGRAL = sp.Integral(sp.exp(x * y / tau - y**2 / (2 * s)), (y, -60, 60)) / sp.sqrt(2 * sp.pi * s)


def _views(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    context, target, both = draw.moments(columns)
    root, encoder = draw.positive(), draw.matrix(rows, columns)
    matrices = {W: encoder, V: encoder / root, Sigma_x: context, Sigma_y: target, Sigma_yx: both}
    return Instance({k: rows, d: columns}, matrices, {tau: root * root, excess: 0})


def _one(encoder: int, rescaled: int, temperature: int, kappa: int) -> Instance:
    moments = {Sigma_x: eye(1), Sigma_y: eye(1), Sigma_yx: eye(1)}
    return Instance(
        {k: 1, d: 1}, {W: matrix([[encoder]]), V: matrix([[rescaled]]), **moments}, {tau: temperature, excess: kappa}
    )


FORCE: Any = W * (Sigma_yx + Sigma_yx.T) / tau - (Phi_y * W * Sigma_x + Phi_x * W * Sigma_y) / tau**2

GAUSSIAN_INFONCE = Theorem(
    name="gaussian-infonce",
    title="Gaussian InfoNCE is the spectral contrastive loss, and temperature the encoder's scale",
    chapter=1,
    statement=(
        r"Let a linear encoder $W$ see anchors $x$ of any distribution and independent negatives $y^{-} \sim N(0, \Sigma_y)$,"
        r" infinitely many of them. InfoNCE with dot products and temperature $\tau > 0$,"
        r" $L_{\mathrm{NCE}} = -\frac1\tau \mathbb{E}\, z^{\top} z^{+} + \mathbb{E}_x \ln \mathbb{E}_{y^{-}}"
        r" e^{z^{\top} z^{-}/\tau}$, is $-\frac1\tau \operatorname{tr} K + \frac{1}{2\tau^2} \operatorname{tr} \Phi_x \Phi_y"
        r" = \frac12 L_{\mathrm{SCL}}(W/\sqrt{\tau})$: a temperature does to the encoder what multiplying it by a number does,"
        r" and nothing else. $\Phi_x = W \Sigma_x W^{\top}$ and $\Phi_y = W \Sigma_y W^{\top}$ need not be equal."
        r" The limit of infinitely many negatives is the one of [@wang2020, Theorem 1]; it is where the theorem starts."
    ),
    assumptions=(GAUSSIAN, RESCALED),
    proof=(
        Step(
            ScalarIdentity(y**2 / (2 * s) - x * y / tau, (y - s * x / tau) ** 2 / (2 * s) - s * x**2 / (2 * tau**2)),
            r"Fix an anchor and turn to the eigenbasis of $\Phi_y$, in which the coordinates $y$ of a Gaussian negative are"
            r" independent, with variances $s$. Completing the square makes the integrand a shifted Gaussian density, so that"
            r" $\mathbb{E}_y e^{xy/\tau} = e^{s x^2/(2\tau^2)}$ (a coordinate with $s = 0$ contributes the factor one). Over all"
            r" coordinates the logarithm is $z^{\top} \Phi_y z/(2\tau^2)$.",
        ),
        Step(
            Positive(
                sp.Rational(1, 10**30) - sp.Abs(INTEGRAL - sp.exp(s * x**2 / (2 * tau**2))),
                POINT,
            ),
            "The same integral by validated quadrature at one point, independently of the algebra.",
        ),
        Step(
            Equality(tr(Z.T * Phi_y * Z) / m, tr(batch_Phi * Phi_y)),
            r"The mean of a quadratic form over anchors, written for a sample $Z$ with second moment $Z Z^{\top}/m$: only the"
            r" anchors' second moment enters, so the mean is $\operatorname{tr} \Phi_x \Phi_y/(2\tau^2)$.",
        ),
        Step(
            Equality(DOT_PRODUCT, spectral_loss(V) / 2),
            r"The negatives of $L_{\mathrm{SCL}}$ are $\mathbb{E}(z^{\top} z^{-})^2 = \operatorname{tr} \Phi_x \Phi_y$. Every factor"
            r" $W$ of the positives' two and the negatives' four brings its $\tau^{-1/2}$.",
            uses=("gaussian-negatives", "rescaled"),
            conclusion=True,
        ),
        Step(
            Gradient(DOT_PRODUCT, W, FORCE, named=r"L_{\mathrm{NCE}}"),
            r"The attraction is divided by $\tau$ and the repulsion by $\tau^2$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "whole-loss",
            "constant",
            r"claim $L_{\mathrm{NCE}} = L_{\mathrm{SCL}}(W/\sqrt{\tau})$ without the half",
            Equality(DOT_PRODUCT, spectral_loss(V)),
            uses=("gaussian-negatives", "rescaled"),
        ),
        FalseSibling(
            "temperature-of-the-encoder",
            "exchange",
            r"divide the encoder by $\tau$ instead of $\sqrt{\tau}$",
            Equality(DOT_PRODUCT, spectral_loss(W / tau) / 2),
            uses=("gaussian-negatives",),
        ),
        FalseSibling(
            "temperature-as-a-factor",
            "omission",
            r"leave the encoder alone and divide the loss by $\tau$",
            Equality(DOT_PRODUCT, spectral_loss(W) / (2 * tau)),
            uses=("gaussian-negatives",),
        ),
        FalseSibling(
            "pulling-negatives",
            "sign",
            "let the negatives attract in the gradient",
            Gradient(
                DOT_PRODUCT, W, W * (Sigma_yx + Sigma_yx.T) / tau + (Phi_y * W * Sigma_x + Phi_x * W * Sigma_y) / tau**2
            ),
        ),
    ),
    witnesses=(
        Witness("gaussian-negatives", _one(1, 1, 1, 1)),
        Witness("rescaled", _one(1, 1, 4, 0)),
    ),
    instances=_views,
    sources=(
        Source("ours", "", "for any anchors and unequal covariances"),
        Source("oord2018", "", "InfoNCE"),
        Source("wang2020", "Theorem 1", "the limit of infinitely many negatives"),
        Source("haochen2021", "", "the spectral contrastive loss"),
    ),
    belief="The temperature of InfoNCE decides how hard the hard negatives are, which no linear rescaling can imitate.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.8, 0.4]))\n"
        "W, tau = np.array([[0.5, 0.2]]), 0.25; phi, cross = W @ W.T, W @ views.cross @ W.T\n"
        "infonce = -np.trace(cross) / tau + np.trace(phi @ phi) / (2 * tau**2)\n"
        "assert np.isclose(infonce, SpectralContrastive(views).loss(W / np.sqrt(tau)) / 2)"
    ),
)

THEOREMS = (GAUSSIAN_INFONCE,)
