"""Spectral and log-determinant uniformity as the explicit term of a hybrid (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, eta, s, variance, w

X, kappa, ratio, angle, other, width, bracket = sp.symbols("X kappa e c c' m h", real=True)
"""X = ασw²/η, κ = λ²/(ησ), e = η/α; c a cosine and m the scale of a cubic's roots; h = 1 − κX/(1+X)²."""

NEEDED = 1 - kappa * X / (1 + X) ** 2  # γφ/η at rest
NEEDED_TOP = (1 + X) ** 2 - kappa * X  # its numerator
equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns


def _positive(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    letters = (X, kappa, ratio, variance, eta, alpha, w, s)
    return Instance({}, {}, {letter: draw.positive() for letter in letters})


# -- spectral -------------------------------------------------------------------------------------------------------------

SPECTRAL_SLOPE = ratio * (1 + X) ** 3 - kappa * (1 - X + 2 * ratio * X**2)
SPECTRAL_TURN = sp.expand(sp.diff(SPECTRAL_SLOPE, X))


def _spectral(rng: random.Random, size: int) -> Instance:
    """Draw a stationary point: X < 1, e < 1/X, and κ from the slope's equation."""
    draw = Draw(rng)
    at = 1 / (1 + draw.positive())
    scale = 1 / (at * (1 + draw.positive()))
    strength = scale * (1 + at) ** 3 / (1 - at + 2 * scale * at * at)
    return _positive(rng, size).with_(scalars={X: at, ratio: scale, kappa: strength})


INSIDE = Assumption("repelling-range", r"the term still repels, $s < 1$: $eX < 1$", Inequality(ratio * X < 1))
WANTED = Assumption(
    "weight-not-negative", r"the weight is not negative: $(1+X)^2 \ge \kappa X$", Inequality(NEEDED_TOP >= 0)
)

SPECTRAL_HYBRID = Theorem(
    name="spectral-hybrid",
    title="A spectral term rescues at the weight at which it repels, and leaves no window",
    chapter=4,
    statement=(
        r"The spectral uniformity $-\frac14(s-1)^2$ exerts $\phi(s) = \sigma(1 - s)$, so that $\gamma_{\mathrm{repel}} ="
        r" \eta/\sigma$. With $e = \eta/\alpha$, $s = eX$, the curve $\Gamma = \frac{\eta}{\sigma} [1 - \kappa X/(1+X)^2]/(1 - eX)$"
        r" has the slope of $T(X) = e(1+X)^3 - \kappa (1 - X + 2eX^2)$, and where $\Gamma \ge 0$ and $s < 1$ every zero of $T$ is a"
        r" minimum. So $\Gamma$ has no local maximum at any weight $\gamma \ge 0$: beyond $\gamma_{\mathrm{repel}}$ only the large"
        r" state is stable, $\gamma_{\mathrm{rescue}} = \gamma_{\mathrm{repel}}$: if the origin is supercritical, $e > \kappa$, the"
        r" mode grows continuously. (Where $\Gamma < 0$ there can be maxima; no weight reaches them. With $\lVert \Phi - I \rVert^2$"
        r" as the spectral loss has it both thresholds are a quarter of this.)"
    ),
    assumptions=(INSIDE, WANTED),
    proof=(
        Step(
            ScalarIdentity(-sp.diff(-(-((variance * w**2 - 1) ** 2) / 4), w), variance * (1 - variance * w**2) * w),
            r"The force of $-\frac14 (s - 1)^2$, maximised, with $s = \sigma w^2$.",
        ),
        Step(
            ScalarIdentity(sp.diff(NEEDED / (1 - ratio * X), X) * (1 + X) ** 3 * (1 - ratio * X) ** 2, SPECTRAL_SLOPE),
            r"Differentiate $\Gamma$ and multiply by positive factors.",
            conclusion=True,
        ),
        Step(
            Implication(X <= 1, given=(X > 0, ratio > 0, kappa > 0, equation(SPECTRAL_SLOPE, 0))),
            r"At a zero of $T$, $\Gamma \ge 0$ requires $eX(1 - X) \le 1 - X$; with $eX < 1$ this says $X \le 1$.",
            uses=("repelling-range", "weight-not-negative"),
            conclusion=True,
        ),
        Step(
            Implication(SPECTRAL_TURN > 0, given=(X > 0, ratio > 0, kappa > 0, equation(SPECTRAL_SLOPE, 0))),
            r"And there $T' \propto (1 - eX)(4 - 2X) > 0$: the slope changes from falling to rising.",
            uses=("repelling-range", "weight-not-negative"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "at-any-weight",
            "quantifier",
            "claim it at negative weights as well",
            Implication(SPECTRAL_TURN > 0, given=(X > 0, ratio > 0, kappa > 0, equation(SPECTRAL_SLOPE, 0))),
            uses=("repelling-range",),
        ),
        FalseSibling(
            "maximum",
            "sign",
            "claim that the zeros are maxima",
            Implication(SPECTRAL_TURN < 0, given=(X > 0, ratio > 0, kappa > 0, equation(SPECTRAL_SLOPE, 0))),
            uses=("repelling-range", "weight-not-negative"),
        ),
        FalseSibling(
            "half-the-last-term",
            "constant",
            r"write $eX^2$ for $2eX^2$",
            ScalarIdentity(
                sp.diff(NEEDED / (1 - ratio * X), X) * (1 + X) ** 3 * (1 - ratio * X) ** 2,
                ratio * (1 + X) ** 3 - kappa * (1 - X + ratio * X**2),
            ),
        ),
    ),
    witnesses=(
        Witness(
            "repelling-range", Instance({}, {}, {X: 2, ratio: 1, kappa: sp.Rational(27, 7), s: 1, variance: 1, w: 1})
        ),
        Witness(
            "weight-not-negative",
            Instance({}, {}, {X: 3, ratio: sp.Rational(1, 6), kappa: sp.Rational(32, 3), s: 1, variance: 1, w: 1}),
        ),
    ),
    instances=_spectral,
    sources=(Source("ours"), Source("haochen2021", "", "the spectral loss")),
    belief="Any explicit term has a range of weights in which modes are stuck small.",
    example=(
        "import numpy as np\n"
        "X = np.linspace(1e-4, 9, 20000); e, kappa = 0.1, 6.4\n"
        "curve = (1 - kappa * X / (1 + X) ** 2) / (1 - e * X); slope = np.diff(curve); usable = (curve[1:-1] > 0)\n"
        "assert not np.any(usable & (slope[:-1] > 0) & (slope[1:] < 0))"
    ),
)

# -- log-determinant ------------------------------------------------------------------------------------------------------

CUBIC = (1 + X) ** 3 - 2 * kappa * X
STATIONARY = Assumption("fold", r"$X$ is a stationary point: $(1+X)^3 = 2\kappa X$", Inequality(equation(CUBIC, 0)))


def _folded(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    at = draw.positive()
    scale = 1 + draw.positive()
    cosine = draw.number() / 4
    scalars = {X: at, kappa: (1 + at) ** 3 / (2 * at), bracket: (1 - at) / 2, width: scale, angle: cosine}
    return _positive(rng, size).with_(scalars=scalars)


LOG_DET_HYBRID = Theorem(
    name="log-det-hybrid",
    title="A log-determinant repels at every weight and rescues at a fold in closed form",
    chapter=4,
    statement=(
        r"The log-determinant exerts $\gamma/w$, $\phi = \sigma/s$, so that $\gamma_{\mathrm{repel}} = 0$: no mode is lost. The"
        r" curve $\Gamma = \frac{\eta^2}{\alpha\sigma} X [1 - \kappa X/(1+X)^2]$ is stationary where $(1+X)^3 = 2\kappa X$, which has"
        r" solutions iff $\kappa \ge 27/8$. The one with $X < \frac12$ is the maximum, $X = 2\sqrt{2\kappa/3} \cos(\frac13"
        r" \arccos(-\frac32 \sqrt{3/(2\kappa)}) - \frac{2\pi}{3}) - 1$, and there $\gamma_{\mathrm{rescue}} ="
        r" \frac{\eta^2}{\alpha\sigma} \frac{X(1-X)}{2}$: the weight $\eta^2/(8\alpha\sigma)$ rescues every mode, whatever its"
        r" correlation. For $\kappa \le 27/8$ the mode grows continuously with the weight."
    ),
    assumptions=(STATIONARY,),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(X * NEEDED, X), (CUBIC) / (1 + X) ** 3),
            r"Differentiate the curve.",
            conclusion=True,
        ),
        Step(
            Implication(8 * kappa >= 27, given=(X > 0,)),
            r"$(1+X)^3/(2X)$ is least at $X = 1/2$.",
            uses=("fold",),
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent(sp.diff(CUBIC, X) < 0, 2 * X < 1), given=(X > 0,)),
            r"Insert $\kappa$ from the fold into the derivative of the slope: it is a maximum iff $X < \frac12$.",
            uses=("fold",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(equation(2 * bracket, 1 - X), 4 * X * bracket <= sp.Rational(1, 2)),
                given=(X > 0, equation(bracket * (1 + X) ** 2, NEEDED_TOP)),
            ),
            r"At the fold the bracket is $h = 1 - (1+X)/2$, and $X(1-X) \le \frac14$.",
            uses=("fold",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                CUBIC.subs({X: 2 * width * angle - 1, kappa: 3 * width**2 / 2}),
                2 * width**3 * ((4 * angle**3 - 3 * angle) + 3 / (2 * width)),
            ),
            r"With $m = \sqrt{2\kappa/3}$ and $X = 2mc - 1$ the cubic is $\cos 3\theta = -3/(2m)$ for $c = \cos\theta$, as $\cos"
            r" 3\theta = 4c^3 - 3c$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(X > 0, 2 * X <= 1),
                given=(
                    2 * width >= 3,
                    angle > 0,
                    2 * angle <= 1,
                    equation(2 * width * (4 * angle**3 - 3 * angle), -3),
                    equation(X, 2 * width * angle - 1),
                    equation(2 * kappa, 3 * width**2),
                ),
            ),
            r"$\frac13\arccos(\cdot)$ lies between $\pi/6$ and $\pi/3$, so that less $2\pi/3$ its cosine lies between $0$ and $1/2$:"
            r" the root with $0 < X \le 1/2$, the maximum.",
        ),
        Step(
            Implication(
                equation(angle, other),
                given=(
                    angle > 0,
                    2 * angle <= 1,
                    other > 0,
                    2 * other <= 1,
                    equation(4 * angle**3 - 3 * angle, 4 * other**3 - 3 * other),
                ),
            ),
            r"There is no other cosine in that range with the same $\cos 3\theta$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "four",
            "constant",
            r"claim $\kappa \ge 4$ at every fold",
            Implication(kappa >= 4, given=(X > 0,)),
            uses=("fold",),
        ),
        FalseSibling(
            "hinge-cubic",
            "exchange",
            r"exchange the cubic for the hinge's",
            ScalarIdentity(sp.Derivative(X * NEEDED, X), ((1 + X) ** 3 - kappa * X * (3 - X)) / (1 + X) ** 3),
        ),
        FalseSibling(
            "sign-of-the-cosine",
            "sign",
            r"write $\cos 3\theta = 3/(2m)$",
            ScalarIdentity(
                CUBIC.subs({X: 2 * width * angle - 1, kappa: 3 * width**2 / 2}),
                2 * width**3 * ((4 * angle**3 - 3 * angle) - 3 / (2 * width)),
            ),
        ),
    ),
    witnesses=(Witness("fold", Instance({}, {}, {X: 1, kappa: 1, bracket: sp.Rational(3, 4), width: 1, angle: 0})),),
    instances=_folded,
    sources=(Source("ours"), Source("mikulasch2026", "", "log-determinants as distribution matching")),
    belief="A log-determinant keeps all modes large because it keeps all modes.",
    example=(
        "import numpy as np\n"
        "kappa = 5.0; X = 2 * np.sqrt(2 * kappa / 3) * np.cos(np.arccos(-1.5 * np.sqrt(1.5 / kappa)) / 3 - 2 * np.pi / 3) - 1\n"
        "x = np.linspace(0, 1, 100_001); curve = x * (1 - kappa * x / (1 + x) ** 2)\n"
        "assert np.isclose(curve.max(), X * (1 - X) / 2) and np.isclose((1 + X) ** 3, 2 * kappa * X)"
    ),
)

THEOREMS = (SPECTRAL_HYBRID, LOG_DET_HYBRID)
