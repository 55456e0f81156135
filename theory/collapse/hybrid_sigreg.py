"""SIGReg's statistic as the explicit term of a hybrid (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, s, variance, w

equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns
fifth, time = sp.symbols("q t", real=True)

theta = sp.Symbol("theta", real=True)
first, second = sp.symbols("A B", real=True)
STATISTIC = sp.sqrt(sp.pi) * (
    (s + theta) ** sp.Rational(-1, 2)
    - 2 * ((s + 1) / 2 + theta) ** sp.Rational(-1, 2)
    + (1 + theta) ** sp.Rational(-1, 2)
)
INTEGRAND = (sp.exp(-s * time**2 / 2) - sp.exp(-(time**2) / 2)) ** 2 * sp.exp(-theta * time**2)
GAUSSIANS = (
    sp.exp(-(s + theta) * time**2) - 2 * sp.exp(-((s + 1) / 2 + theta) * time**2) + sp.exp(-(1 + theta) * time**2)
)
SIGREG = variance * sp.sqrt(sp.pi) * ((s + theta) ** sp.Rational(-3, 2) - ((s + 1) / 2 + theta) ** sp.Rational(-3, 2))
SIGREG_SLOPE = (
    variance
    * sp.sqrt(sp.pi)
    * (3 * ((s + 1) / 2 + theta) ** sp.Rational(-5, 2) / 4 - 3 * (s + theta) ** sp.Rational(-5, 2) / 2)
)
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
        r" (1+\theta)^{-1/2}]$. Its force on a mode has $\phi(s) = \sigma\sqrt\pi [(s+\theta)^{-3/2} - (\frac{s+1}{2} +"
        r" \theta)^{-3/2}]$: positive iff $s < 1$, zero at $s = 1$ and decreasing up to $s = [q^2 + 2(q^2 - 1)\theta]/(2 - q^2)$, $q ="
        r" 2^{1/5}$, which is $1.94 + 0.94\,\theta$; from there it weakens towards zero: what is far too large is hardly pulled back. So"
        r" $\gamma_{\mathrm{repel}} = \eta/\{\sigma\sqrt\pi [\theta^{-3/2} - (\frac12 + \theta)^{-3/2}]\}$, which"
        r" tends to $0$ with $\theta$, and the origin is supercritical as soon as $3\sigma\eta^2 \ge 2\theta\alpha\lambda^2$, since"
        r" $\lvert \phi' \rvert/\phi > \frac{3}{2(s + \theta)}$ below the target."
    ),
    assumptions=(ROOTS, BELOW_ONE),
    proof=(
        Step(
            ScalarIdentity(INTEGRAND, GAUSSIANS),
            r"Characteristic functions $e^{-st^2/2}$ and $e^{-t^2/2}$; expand the square.",
        ),
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
            ScalarIdentity(sp.Derivative(SIGREG, s), SIGREG_SLOPE),
            r"The slope of $\phi$ is $\frac34 B^{-5} - \frac32 A^{-5}$ up to positive factors.",
            conclusion=True,
        ),
        Step(
            Implication(2 * second**5 > first**5, given=(s + theta > 0,)),
            r"Below the target it is negative since $2B^5 > A^5$.",
            uses=("roots", "below-one"),
            conclusion=True,
        ),
        Step(
            Implication(
                2 * second**5 - first**5 > 2 * second**2 * (second**3 - first**3),
                given=(s + theta > 0,),
            ),
            r"Multiplied by $\frac34 A^{-5} B^{-5}$ this says $-\phi' > \frac{3}{2A^2} \phi$: what branches off at $s = 0$ is decided.",
            uses=("roots", "below-one"),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(sp.Equivalent(second < first, s > 1), sp.Equivalent(equation(second, first), equation(s, 1))),
                given=(s + theta > 0,),
            ),
            r"At the target the force is zero, and above it negative.",
            uses=("roots",),
        ),
        Step(
            Implication(
                sp.Equivalent(first**5 > 2 * second**5, first > fifth * second),
                given=(equation(fifth**5, 2), fifth > 0),
            ),
            r"The slope is positive iff $A > qB$, $q = 2^{1/5}$,",
            uses=("roots",),
        ),
        Step(
            Implication(
                sp.Equivalent(first > fifth * second, s * (2 - fifth**2) > fifth**2 + 2 * (fifth**2 - 1) * theta),
                given=(equation(fifth**5, 2), fifth > 0),
            ),
            r"that is $s + \theta > q^2 (\frac{s+1}{2} + \theta)$.",
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

THEOREMS = (SIGREG_HYBRID,)
