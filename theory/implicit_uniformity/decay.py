"""What weight decay adds to the potential of a JEPA whose predictor is a function of the covariance (after 2.7 and 2.9)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SpectralFunction, identity, squared_norm, tr
from jepalign.theory.implicit_uniformity.target import (
    DEFINITE,
    POTENTIAL,
    REPELLING,
    RESIDUAL,
    C,
    G,
    Phi,
    beta,
    half,
    shared,
)
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Sigma_x, V, W, alpha, d, eta, k, s

inverse: Any = SpectralFunction("h", Phi)
DECAYED: Any = POTENTIAL + eta * tr(SpectralFunction("h", Phi, -1)) / 2
SLOPE: Any = RESIDUAL - eta * inverse * W * Sigma_x
DRAWN: Any = beta * squared_norm((W - V) * shared)
VARIANCE_FLOW: Any = G * RESIDUAL - eta * W * Sigma_x
PLAIN: Any = POTENTIAL + eta * squared_norm(W) / 2

WHITENED = Assumption("whitened", r"the context inputs are white, $\Sigma_x = I$", Equation(Sigma_x, identity(d)))
INVERSE = Assumption(
    "inverse", r"the predictor is invertible, and $h(\Phi) = g(\Phi)^{-1}$", Equation(G * inverse, identity(k))
)


def _spectral(rng: random.Random, size: int) -> Instance:
    """Draw g = q² and, by interpolation on the spectrum of Φ, an h with h(Φ) = g(Φ)⁻¹."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, outer, start = draw.matrix(rows, columns), draw.matrix(columns, columns), draw.matrix(rows, 1)
    covariance, (constant, linear) = encoder * encoder.transpose(), (draw.positive(), draw.positive())
    root = eye(rows) * constant + covariance * linear
    powers = [covariance**n * start for n in range(rows)]
    krylov = matrix([[column[i, 0] for column in powers] for i in range(rows)])
    if krylov.det() == 0:
        return _spectral(rng, size)
    coefficients = krylov.inv() * (root * root).inv() * start
    values = {
        W: encoder,
        V: draw.matrix(rows, columns),
        Sigma_x: eye(columns),
        C: outer * outer.transpose(),
        shared: outer,
        half: root,
    }
    scalars = {eta: draw.positive(), beta: draw.positive(), s: draw.positive() ** 2, alpha: draw.positive() ** 2}
    spectra = {
        "g": (constant * constant, 2 * constant * linear, linear * linear),
        "h": tuple(coefficients[n, 0] for n in range(rows)),
    }
    return Instance({k: rows, d: columns}, values, scalars, spectra)


def _one(predictor: int = 1, reciprocal: int = 1, variance: int = 1, cross: int = 1) -> Instance:
    values = {
        W: eye(1),
        V: matrix([[3]]),
        Sigma_x: matrix([[variance]]),
        C: matrix([[cross]]),
        shared: eye(1),
        half: eye(1),
    }
    spectra = {"g": (predictor,), "h": (reciprocal,)}
    return Instance({k: 1, d: 1}, values, {eta: 1, beta: 1, s: 1, alpha: 1}, spectra)


DECAY_POTENTIAL = Theorem(
    name="decay-potential",
    title="Weight decay is the trace of a function of the covariance: a nuclear norm, or a log-determinant",
    chapter=2,
    statement=(
        r"Add weight decay to the JEPA with an averaged target and $P = g(\Phi)$, $C \succeq 0$. *Residual form*, any $g$ and"
        r" any $\Sigma$: the potential $U$ of the averaged target gains $\frac{\eta}{2} \lVert W \rVert^2$. *JEPA form*, $\Sigma"
        r" = I$ and $g > 0$: it gains $\frac{\eta}{2} \operatorname{tr} H(\Phi)$ with $H' = h = 1/g$, and $\dot W = P(VC - PW) -"
        r" \eta W = -P \nabla_W U_\eta$, $\dot V = -\beta \nabla_V U_\eta\, C^{-1}$. Both are descents, with the rates shown, in"
        r" potentials that do not contain $\beta$: with decay too an averaged target moves no equilibrium and, where $P \succ 0$"
        r" and $C \succ 0$, no Morse index. The preconditioner turns the one decay into another for every predictor: for $g ="
        r" \sqrt{\alpha s}$ into $\frac{\eta}{\sqrt\alpha} \lVert W \rVert_{*}$, the nuclear norm of the Schatten potential; for"
        r" $g = s$ into $\frac{\eta}{2} \log\det\Phi$, the barrier of log-det methods with its sign reversed, bottomless at"
        r" collapse. No $H$ makes it finite there unless $1/g$ is integrable at zero."
    ),
    assumptions=(WHITENED, INVERSE, REPELLING, DEFINITE),
    proof=(
        Step(
            Gradient(PLAIN, W, RESIDUAL - eta * W, named=r"\left[U + \frac{\eta}{2} \lVert W \rVert^2\right]"),
            r"Residual form: the force is a gradient as it stands, and decay adds its own.",
            conclusion=True,
        ),
        Step(
            Rate(
                PLAIN,
                {W: RESIDUAL - eta * W, V: beta * (W - V)},
                -squared_norm(RESIDUAL - eta * W) - DRAWN,
                named=r"\left[U + \frac{\eta}{2} \lVert W \rVert^2\right]",
            ),
            r"The average descends in $V$, where decay does not enter.",
            uses=("positive-cross",),
            conclusion=True,
        ),
        Step(
            Gradient(DECAYED, W, SLOPE, named=r"U_\eta"),
            r"JEPA form: $\nabla_W \frac12 \operatorname{tr} H(\Phi) = h(\Phi) W \Sigma$, by the rule that gives the dictionary.",
            conclusion=True,
        ),
        Step(
            Equality(G * SLOPE, VARIANCE_FLOW),
            r"The preconditioner $P = g(\Phi)$ takes $h(\Phi)$ back to $I$: what is left is $-\eta W \Sigma$, the decay of the"
            r" embeddings' variance.",
            uses=("inverse",),
            conclusion=True,
        ),
        Step(
            Equality(VARIANCE_FLOW, G * RESIDUAL - eta * W),
            r"On white inputs that is weight decay.",
            uses=("whitened",),
            conclusion=True,
        ),
        Step(
            Rate(
                DECAYED,
                {W: VARIANCE_FLOW, V: beta * (W - V)},
                -squared_norm(half.T * SLOPE) - DRAWN,
                named=r"U_\eta",
            ),
            r"So $\dot U_\eta$ is minus two squares, with $P = H H^{\top}$ and $C = L L^{\top}$.",
            uses=("inverse", "nonnegative-predictor", "positive-cross"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(2 * sp.sqrt(s) / sp.sqrt(alpha), s), 1 / (sp.sqrt(alpha) * sp.sqrt(s))),
            r"The learnt predictor, $g = \sqrt{\alpha s}$: $H = 2\sqrt s/\sqrt\alpha$, and $\sqrt s$ is a singular value of $W$.",
        ),
        Step(
            ScalarIdentity(sp.Derivative(sp.log(s), s) * s, sp.S.One),
            r"The spectral contrastive predictor, $g = s$: $H = \log s$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "same-decay-in-both-forms",
            "exchange",
            r"let $\frac{\eta}{2} \lVert W \rVert^2$ be the decay's potential in the JEPA form",
            Equality(G * (RESIDUAL - eta * W), G * RESIDUAL - eta * W),
            uses=("whitened",),
        ),
        FalseSibling(
            "any-covariance",
            "omission",
            r"claim the potential of weight decay in the JEPA form for any $\Sigma$",
            Equality(VARIANCE_FLOW, G * RESIDUAL - eta * W),
            uses=("inverse",),
            instances=lambda _rng, _size: _one(variance=2),
        ),
        FalseSibling(
            "whole-trace",
            "constant",
            r"drop the half: $\eta \operatorname{tr} H(\Phi)$",
            Gradient(DECAYED + eta * tr(SpectralFunction("h", Phi, -1)) / 2, W, SLOPE),
        ),
        FalseSibling(
            "decay-repels",
            "sign",
            r"claim that decay adds its square to $U_\eta$: an ascent",
            Rate(
                DECAYED,
                {W: VARIANCE_FLOW, V: beta * (W - V)},
                squared_norm(half.T * SLOPE) - DRAWN,
            ),
            uses=("inverse", "nonnegative-predictor", "positive-cross"),
        ),
    ),
    witnesses=(
        Witness("whitened", _one(variance=2)),
        Witness("inverse", _one(reciprocal=2)),
        Witness("nonnegative-predictor", _one(predictor=-1, reciprocal=-1)),
        Witness("positive-cross", _one(cross=-1)),
    ),
    instances=_spectral,
    sources=(Source("ours"),),
    belief="Weight decay is the same quadratic penalty with every predictor.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "C = np.diag([0.9, 0.5]); W = np.array([[0.8, 0.3], [-0.2, 0.7]]); G = lambda W: W @ W.T  # P = Phi\n"
        "f = lambda s: {'W': G(s['W']) @ (s['V'] @ C - G(s['W']) @ s['W']) - 0.02 * s['W'], 'V': 0.4 * (s['W'] - s['V'])}\n"
        "U = lambda W, V: np.sum(G(W)**2) / 4 - np.trace(W @ C @ V.T) + np.trace(V @ C @ V.T) / 2 + 0.01 *"
        " np.linalg.slogdet(G(W))[1]\n"
        "s = integrate(f, {'W': W, 'V': W}, np.linspace(0, 20, 50)).states; assert np.all(np.diff([*map(U, s['W'], s['V'])])"
        " < 1e-9)"
    ),
)

THEOREMS = (DECAY_POTENTIAL,)
