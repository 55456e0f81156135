"""The thresholds of four explicit terms: spectral, VICReg's hinge, log-determinant, SIGReg (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, eta, s, variance, w

X, kappa, ratio, gamma, root, angle, width = sp.symbols("X kappa e gamma r c m", real=True)
"""X = ασw²/η, κ = λ²/(ησ), e = η/α; γ the explicit weight; c a cosine and m the scale of a cubic's roots."""

NEEDED = 1 - kappa * X / (1 + X) ** 2  # γφ/η at rest
NEEDED_TOP = (1 + X) ** 2 - kappa * X  # its numerator
equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns


def _positive(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    letters = (X, kappa, ratio, gamma, variance, eta, alpha, w, s, root)
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
        r"The spectral uniformity $-\frac14(s-1)^2$ exerts $\varphi(s) = \sigma(1 - s)$, so that $\gamma_{\mathrm{repel}} ="
        r" \eta/\sigma$. With $e = \eta/\alpha$, $s = eX$, the curve $\Gamma = \frac{\eta}{\sigma} [1 - \kappa X/(1+X)^2]/(1 - eX)$"
        r" has the slope of $T(X) = e(1+X)^3 - \kappa (1 - X + 2eX^2)$, and where $\Gamma \ge 0$ and $s < 1$ every zero of $T$ is a"
        r" minimum. So $\Gamma$ has no local maximum at any weight $\gamma \ge 0$: beyond $\gamma_{\mathrm{repel}}$ only the large"
        r" state is stable, $\gamma_{\mathrm{rescue}} = \gamma_{\mathrm{repel}}$. (Where $\Gamma < 0$ there can be maxima; no weight"
        r" reaches them.)"
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

# -- VICReg's hinge -------------------------------------------------------------------------------------------------------

STANDARD = sp.sqrt(s)
HINGE_SLOPE = (1 + X) ** 3 - kappa * X * (3 - X)
LEAST = (26 * root - 70) / 9


def _hinge(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    at = 3 / (1 + draw.positive())
    strength = (1 + at) ** 3 / (at * (3 - at))
    deviation = draw.positive()
    return _positive(rng, size).with_(
        scalars={X: at, kappa: strength, s: deviation * deviation, root: sp.Rational(18, 5)}
    )


SQUARE_ROOT = Assumption(
    "root",
    r"$r$ is a lower bound of $\sqrt{13}$: $r \ge 0$, $r^2 \le 13$",
    Inequality(sp.And(root >= 0, root**2 <= 13)),
)
FOLD = Assumption(
    "fold",
    r"$X$ is a stationary point of the weight curve: $(1+X)^3 = \kappa X (3 - X)$",
    Inequality(equation(HINGE_SLOPE, 0)),
)

VICREG_HYBRID = Theorem(
    name="vicreg-hinge-hybrid",
    title="VICReg's hinge repels collapse at once and rescues at a fold",
    chapter=4,
    statement=(
        r"The hinge $\max(0, 1 - \sqrt{s + \varepsilon})$ exerts $\varphi(s) = \sigma/\sqrt{s + \varepsilon}$ up to $s = 1 -"
        r" \varepsilon$ and nothing beyond. So $\gamma_{\mathrm{repel}} = \eta\sqrt\varepsilon/\sigma$: with $\varepsilon = 10^{-4}$ and"
        r" the weight $0.025$ of [@mo2024] it repels every mode with $\eta < 2.5\,\sigma$ (per dimension, before their averages). For"
        r" $\varepsilon \to 0$ the curve is $\Gamma = \eta \sqrt{\eta/(\alpha\sigma^2)}\, \sqrt{X} [1 - \kappa X/(1+X)^2]$ and"
        r" stationary where $(1+X)^3 = \kappa X(3 - X)$, which has a solution iff $\kappa \ge \frac{26\sqrt{13} - 70}{9} = 2.638\dots$:"
        r" above, $\gamma_{\mathrm{rescue}} = \Gamma$ at the smallest; below, $\Gamma$ rises throughout."
    ),
    assumptions=(SQUARE_ROOT, FOLD),
    proof=(
        Step(
            ScalarIdentity(
                -sp.diff(1 - sp.sqrt(variance * w**2 + ratio), w), variance / sp.sqrt(variance * w**2 + ratio) * w
            ),
            r"The force of the hinge where it is on ($\varepsilon$ written $e$).",
        ),
        Step(
            ScalarIdentity(
                2 * STANDARD * sp.Derivative(STANDARD * (1 - kappa * s / (1 + s) ** 2), s),
                HINGE_SLOPE.subs(X, s) / (1 + s) ** 3,
            ),
            r"Differentiate $\sqrt{X}[1 - \kappa X/(1+X)^2]$ (here with $s$ for $X$).",
            conclusion=True,
        ),
        Step(
            Implication(sp.And(9 * kappa >= 26 * root - 70, X < 3), given=(X > 0, kappa > 0)),
            r"$(1+X)^3/(X(3-X))$ is least at $X = 4 - \sqrt{13}$, where it is $(26\sqrt{13} - 70)/9$.",
            uses=("root", "fold"),
            conclusion=True,
        ),
        Step(
            Implication(
                equation(HINGE_SLOPE, 0),
                given=(equation(root**2, 13), root > 0, equation(X, 4 - root), equation(9 * kappa, 26 * root - 70)),
            ),
            "The bound is attained.",
        ),
        Step(
            Implication(
                100 * gamma * variance > eta,
                given=(variance > 0, equation(gamma, sp.Rational(1, 40)), 2 * eta < 5 * variance),
            ),
            r"$\gamma > \eta\sqrt\varepsilon/\sigma$ for the published numbers, $\sqrt\varepsilon = 1/100$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "fold-for-every-mode",
            "quantifier",
            r"claim the fold for every $\kappa > 2$",
            Implication(9 * kappa >= 26 * root - 70, given=(X > 0, kappa > 2)),
            uses=("root",),
        ),
        FalseSibling(
            "four-instead-of-three",
            "constant",
            r"write $\kappa X(4 - X)$",
            ScalarIdentity(
                2 * STANDARD * sp.Derivative(STANDARD * (1 - kappa * s / (1 + s) ** 2), s),
                ((1 + s) ** 3 - kappa * s * (4 - s)) / (1 + s) ** 3,
            ),
        ),
        FalseSibling(
            "rising",
            "sign",
            r"write $\kappa X(X - 3)$",
            ScalarIdentity(
                2 * STANDARD * sp.Derivative(STANDARD * (1 - kappa * s / (1 + s) ** 2), s),
                ((1 + s) ** 3 - kappa * s * (s - 3)) / (1 + s) ** 3,
            ),
        ),
    ),
    witnesses=(
        Witness("root", Instance({}, {}, {X: 1, kappa: 4, root: 5, s: 1})),
        Witness("fold", Instance({}, {}, {X: 1, kappa: 1, root: sp.Rational(18, 5), s: 1})),
    ),
    instances=_hinge,
    sources=(Source("ours"), Source("bardes2022", "", "the hinge"), Source("mo2024", "Appendix C", "the weights")),
    belief="VICReg's variance term fixes every standard deviation at one.",
    example=(
        "import numpy as np\n"
        "X = np.linspace(1e-3, 2.999, 100_000); kappa = (1 + X) ** 3 / (X * (3 - X))\n"
        "assert np.isclose(kappa.min(), (26 * np.sqrt(13) - 70) / 9) and np.isclose(X[kappa.argmin()], 4 - np.sqrt(13), atol=1e-3)"
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
    scalars = {X: at, kappa: (1 + at) ** 3 / (2 * at), width: scale, angle: cosine}
    return _positive(rng, size).with_(scalars=scalars)


LOG_DET_HYBRID = Theorem(
    name="log-det-hybrid",
    title="A log-determinant repels at every weight and rescues at a fold in closed form",
    chapter=4,
    statement=(
        r"The log-determinant exerts $\gamma/w$, $\varphi = \sigma/s$, so that $\gamma_{\mathrm{repel}} = 0$: no mode is lost. The"
        r" curve $\Gamma = \frac{\eta^2}{\alpha\sigma} X [1 - \kappa X/(1+X)^2]$ is stationary where $(1+X)^3 = 2\kappa X$, which has"
        r" solutions iff $\kappa \ge 27/8$; the smaller is $X = 2\sqrt{2\kappa/3} \cos(\frac13 \arccos(-\frac32 \sqrt{3/(2\kappa)}) -"
        r" \frac{2\pi}{3}) - 1 \le \frac12$, and $\gamma_{\mathrm{rescue}}$ is $\Gamma$ there. Below, the mode grows continuously with"
        r" the weight."
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
            ScalarIdentity(sp.Derivative(X * NEEDED, X), HINGE_SLOPE / (1 + X) ** 3),
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
    witnesses=(Witness("fold", Instance({}, {}, {X: 1, kappa: 1, width: 1, angle: 0})),),
    instances=_folded,
    sources=(Source("ours"), Source("mikulasch2026", "", "log-determinants as distribution matching")),
    belief="A log-determinant keeps all modes large because it keeps all modes.",
    example=(
        "import numpy as np\n"
        "kappa = 5.0; X = 2 * np.sqrt(2 * kappa / 3) * np.cos(np.arccos(-1.5 * np.sqrt(1.5 / kappa)) / 3 - 2 * np.pi / 3) - 1\n"
        "assert 0 < X <= 0.5 and np.isclose((1 + X) ** 3, 2 * kappa * X)"
    ),
)

# -- SIGReg ---------------------------------------------------------------------------------------------------------------

theta = sp.Symbol("theta", real=True)
first, second = sp.symbols("A B", real=True)
STATISTIC = sp.sqrt(sp.pi) * (
    (s + theta) ** sp.Rational(-1, 2)
    - 2 * ((s + 1) / 2 + theta) ** sp.Rational(-1, 2)
    + (1 + theta) ** sp.Rational(-1, 2)
)
SIGREG = variance * sp.sqrt(sp.pi) * ((s + theta) ** sp.Rational(-3, 2) - ((s + 1) / 2 + theta) ** sp.Rational(-3, 2))
ROOTS = Assumption(
    "roots",
    r"$A = \sqrt{s + \theta}$ and $B = \sqrt{(s+1)/2 + \theta}$, both positive",
    Inequality(sp.And(equation(first**2, s + theta), equation(second**2, (s + 1) / 2 + theta), first > 0, second > 0)),
)
BELOW_ONE = Assumption("below-one", r"the variance is below its target, $s < 1$", Inequality(s < 1))


def _sigreg(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    # A² = s + θ and B² = (s+1)/2 + θ, so B² − A² = (1 − s)/2: choose A < B and θ.
    small = draw.positive()
    gap = 1 / (2 + 4 * small + draw.positive())
    large = small + gap
    value = 1 - 2 * (large * large - small * small)
    scalars = {
        first: small,
        second: large,
        s: value,
        theta: small * small - value,
        variance: draw.positive(),
        w: draw.positive(),
    }
    if value <= 0:
        return _sigreg(rng, size)
    return Instance({}, {}, scalars)


_ABOVE_ONE: dict[Any, Any] = {
    first: sp.Rational(3, 2),
    second: sp.Rational(4, 3),
    s: sp.Rational(35, 18),
    theta: sp.Rational(11, 36),
    variance: 1,
    w: 1,
}

SIGREG_HYBRID = Theorem(
    name="sigreg-hybrid",
    title="SIGReg repels below its target variance, decreasingly, and attracts above it",
    chapter=4,
    statement=(
        r"Against a standard normal the Epps-Pulley statistic of a centred Gaussian of variance $s$ with weight $e^{-\theta t^2}$ is"
        r" $\int (e^{-st^2/2} - e^{-t^2/2})^2 e^{-\theta t^2} dt = \sqrt\pi [(s+\theta)^{-1/2} - 2(\frac{s+1}{2} + \theta)^{-1/2} +"
        r" (1+\theta)^{-1/2}]$. Its force on a mode has $\varphi(s) = \sigma\sqrt\pi [(s+\theta)^{-3/2} - (\frac{s+1}{2} +"
        r" \theta)^{-3/2}]$: positive iff $s < 1$, and decreasing there. So $\gamma_{\mathrm{repel}} = \eta/\{\sigma\sqrt\pi"
        r" [\theta^{-3/2} - (\frac12 + \theta)^{-3/2}]\}$. Beyond some $s > 1$ the force grows again towards zero."
    ),
    assumptions=(ROOTS, BELOW_ONE),
    proof=(
        Step(
            ScalarIdentity(-sp.Derivative(STATISTIC, s) * 2 * variance * w, SIGREG * w),
            r"Three Gaussian integrals $\int e^{-at^2} dt = \sqrt{\pi/a}$; then the chain rule through $s = \sigma w^2$.",
            conclusion=True,
        ),
        Step(
            Implication(sp.And(second > first, second**3 > first**3), given=(s + theta > 0,)),
            r"$B^2 - A^2 = (1 - s)/2 > 0$, so $A^{-3} > B^{-3}$: the force repels.",
            uses=("roots", "below-one"),
            conclusion=True,
        ),
        Step(
            Implication(2 * second**5 > first**5, given=(s + theta > 0,)),
            r"Its slope is $-\frac32 A^{-5} + \frac34 B^{-5}$ up to positive factors: negative since $2B^5 > A^5$.",
            uses=("roots", "below-one"),
            conclusion=True,
        ),
        Step(
            Implication(second < first, given=(s > 1, s + theta > 0)),
            r"Above the target the same difference is negative.",
            uses=("roots",),
        ),
    ),
    siblings=(
        FalseSibling(
            "always-repels",
            "quantifier",
            "claim repulsion at every variance",
            Implication(second > first, given=(s + theta > 0,)),
            uses=("roots",),
        ),
        FalseSibling(
            "half-the-force",
            "constant",
            "forget the two of the chain rule",
            ScalarIdentity(-sp.Derivative(STATISTIC, s) * variance * w, SIGREG * w),
        ),
        FalseSibling(
            "cross-term",
            "exchange",
            r"take $s + 1 + \theta$ in the mixed integral",
            ScalarIdentity(
                -sp.Derivative(STATISTIC, s) * 2 * variance * w,
                variance
                * sp.sqrt(sp.pi)
                * ((s + theta) ** sp.Rational(-3, 2) - (s + 1 + theta) ** sp.Rational(-3, 2))
                * w,
            ),
        ),
    ),
    witnesses=(
        Witness("roots", Instance({}, {}, {first: 2, second: 1, s: sp.Rational(1, 2), theta: 1, variance: 1, w: 1})),
        Witness("below-one", Instance({}, {}, _ABOVE_ONE)),
    ),
    instances=_sigreg,
    sources=(
        Source("ours", "", "the force and its thresholds"),
        Source("epps1983", "", "the statistic"),
        Source("balestriero2025", "", "as a regulariser"),
    ),
    belief="A test of Gaussianity pushes every direction to unit variance with equal force.",
    example=(
        "import numpy as np\n"
        "t = np.linspace(-40, 40, 400_001); s, theta = 0.3, 0.5\n"
        "integral = np.sum((np.exp(-s * t**2 / 2) - np.exp(-(t**2) / 2)) ** 2 * np.exp(-theta * t**2)) * (t[1] - t[0])\n"
        "closed = np.sqrt(np.pi) * ((s + theta) ** -0.5 - 2 * ((s + 1) / 2 + theta) ** -0.5 + (1 + theta) ** -0.5)\n"
        "assert np.isclose(integral, closed)"
    ),
)

THEOREMS = (SPECTRAL_HYBRID, VICREG_HYBRID, LOG_DET_HYBRID, SIGREG_HYBRID)
