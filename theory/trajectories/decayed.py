"""Implicit trajectories: the balanced mode under weight decay, the unbalanced mode without it (5.2 and 5.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

low, high, middle, root, square = sp.symbols("p_- p_+ p_c r c", real=True)

# -- weight decay, balanced -----------------------------------------------------------------------------------------------


def _log(argument: Any) -> Any:
    """Return ln|argument| as a formula whose derivative is rational on both sides of zero."""
    return sp.log(argument**2) / 2


GROWTH = p * (cross * p - variance * p**2 - eta)
BELOW_TIME = (
    -(_log(p) / (low * high) - _log(p - low) / (low * (high - low)) + _log(p - high) / (high * (high - low))) / variance
)
AT_TIME = -(_log(p) - _log(p - middle)) / (middle**2 * variance) + 1 / (middle * variance * (p - middle))
QUADRATIC = variance * p**2 - cross * p + eta
ABOVE_TIME = -(_log(p) - sp.log(QUADRATIC) / 2 + cross / root * sp.atan((2 * variance * p - cross) / root)) / eta

ROOTS = Assumption(
    "roots", r"$p_-$ and $p_+$ are the equilibria: $\eta = \sigma p_- p_+$", Equation(eta, variance * low * high)
)
SUM = Assumption("sum-of-roots", r"and $\lambda = \sigma (p_- + p_+)$", Equation(cross, variance * (low + high)))


def _between(rng: random.Random, size: int) -> Instance:
    """Draw a point off the equilibria, with a rational square root r of 4ησ − λ² for another decay."""
    draw = Draw(rng)
    sigma, small, gap, at, imaginary = (draw.positive() for _ in range(5))
    large = small + gap
    if at in {small, large, (small + large) / 2}:
        at = large + 1
    scalars = {
        variance: sigma,
        low: small,
        high: large,
        middle: (small + large) / 2,
        cross: sigma * (small + large),
        eta: sigma * small * large,
        p: at,
        root: imaginary,
    }
    return Instance({}, {}, scalars)


DECAYED = Theorem(
    name="decayed-trajectory",
    title="The time of a balanced mode under weight decay, below, at and above the threshold",
    chapter=5,
    statement=(
        r"The balanced mode $\dot p = p(\lambda p - \sigma p^2 - \eta)$, $p = \sqrt\alpha w$, reaches $p$ from $p_0$ in the time $T(p)"
        r" - T(p_0)$ as long as no equilibrium lies between. Below the threshold, with equilibria $p_\pm$: $T = -\frac1\sigma"
        r" [\frac{\ln \lvert p \rvert}{p_- p_+} - \frac{\ln \lvert p - p_- \rvert}{p_-(p_+ - p_-)} + \frac{\ln \lvert p - p_+"
        r" \rvert}{p_+(p_+ - p_-)}]$. At it, $p_c = \lambda/(2\sigma)$: $T = -\frac{1}{\sigma p_c^2} \ln \lvert \frac{p}{p - p_c}"
        r" \rvert + \frac{1}{\sigma p_c (p - p_c)}$, so that the double root is approached like $1/t$. Above it, with $r^2 ="
        r" 4\eta\sigma - \lambda^2$: $T = -\frac1\eta [\ln \lvert p \rvert - \frac12 \ln(\sigma p^2 - \lambda p + \eta) +"
        r" \frac{\lambda}{r} \arctan \frac{2\sigma p - \lambda}{r}]$. On each interval between equilibria the velocity has one sign, so $T$"
        r" can be inverted. Above the threshold $|p| \le |p_0| e^{-(\eta - \eta_c) t}$, $\eta_c = \lambda^2/(4\sigma)$."
    ),
    assumptions=(ROOTS, SUM),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(BELOW_TIME, p), 1 / GROWTH),
            r"$\dot p = -\sigma p (p - p_-)(p - p_+)$: partial fractions.",
            uses=("roots", "sum-of-roots"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(AT_TIME, p), 1 / (-variance * p * (p - middle) ** 2)),
            r"At the threshold the roots meet; the double root leaves a rational term.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(ABOVE_TIME, p).doit().subs(eta, (root**2 + cross**2) / (4 * variance)),
                (1 / GROWTH).subs(eta, (root**2 + cross**2) / (4 * variance)),
            ),
            r"Above it the quadratic has no real root: $4\sigma(\sigma p^2 - \lambda p + \eta) = (2\sigma p - \lambda)^2 + r^2$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    sp.Implies(p < 0, GROWTH > 0),
                    sp.Implies(sp.And(p > 0, p < low), GROWTH < 0),
                    sp.Implies(sp.And(p > low, p < high), GROWTH > 0),
                    sp.Implies(p > high, GROWTH < 0),
                ),
                given=(variance > 0, low > 0, high > low),
            ),
            r"Between equilibria the velocity has one sign, so that $T$ is monotone there and can be inverted.",
            uses=("roots", "sum-of-roots"),
            conclusion=True,
        ),
        Step(
            Implication(4 * variance * p * GROWTH <= -(p**2) * (4 * eta * variance - cross**2), given=(variance > 0,)),
            r"$\lambda p - \sigma p^2 \le \lambda^2/(4\sigma)$: above the threshold $\eta_c = \lambda^2/(4\sigma)$ every mode"
            r" decays at least at the rate $\eta - \eta_c$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "logarithms-exchanged",
            "exchange",
            r"exchange the last two logarithms",
            ScalarIdentity(
                sp.Derivative(
                    -(
                        _log(p) / (low * high)
                        - _log(p - high) / (low * (high - low))
                        + _log(p - low) / (high * (high - low))
                    )
                    / variance,
                    p,
                ),
                1 / GROWTH,
            ),
            uses=("roots", "sum-of-roots"),
        ),
        FalseSibling(
            "logarithms-only-at-threshold",
            "omission",
            "leave out the rational term at the threshold",
            ScalarIdentity(
                sp.Derivative(AT_TIME - 1 / (middle * variance * (p - middle)), p),
                1 / (-variance * p * (p - middle) ** 2),
            ),
        ),
        FalseSibling(
            "arctangent",
            "sign",
            "subtract the arctangent",
            ScalarIdentity(
                sp.Derivative(ABOVE_TIME + 2 * cross / (root * eta) * sp.atan((2 * variance * p - cross) / root), p)
                .doit()
                .subs(eta, (root**2 + cross**2) / (4 * variance)),
                (1 / GROWTH).subs(eta, (root**2 + cross**2) / (4 * variance)),
            ),
        ),
    ),
    witnesses=(
        Witness("roots", Instance({}, {}, {variance: 1, low: 1, high: 2, middle: 1, cross: 3, eta: 1, p: 3, root: 1})),
        Witness(
            "sum-of-roots", Instance({}, {}, {variance: 1, low: 1, high: 2, middle: 1, cross: 4, eta: 2, p: 3, root: 1})
        ),
    ),
    instances=_between,
    sources=(Source("ours"), Source("tian2021", "(16)", "the equation")),
    belief="With weight decay the trajectories can only be integrated.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "lo, hi = np.sort(np.roots([1, -0.8, 0.1])); T = lambda p: -(np.log(p) / (lo * hi)\n"
        "    - np.log(abs(p - lo)) / (lo * (hi - lo)) + np.log(abs(p - hi)) / (hi * (hi - lo)))\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)), weight_decay=0.1)\n"
        "assert np.isclose(jepa.solve(0.3 * np.eye(1), 0.3 * np.eye(1), [0.0, T(0.5) - T(0.3)]).predictor[-1, 0, 0], 0.5)"
    ),
)

# -- unbalanced, no decay -------------------------------------------------------------------------------------------------

FREE = (p**2 - square) * (cross - variance * p)
POSITIVE_TIME = (
    _log(p - root) / (2 * root * (cross - variance * root))
    - _log(p + root) / (2 * root * (cross + variance * root))
    - variance * _log(cross - variance * p) / (cross**2 - variance**2 * root**2)
)
ZERO_TIME = -1 / (cross * p) + variance / cross**2 * (_log(p) - _log(cross - variance * p))
NEGATIVE_TIME = (
    variance * sp.log(p**2 + root**2) / 2 + cross / root * sp.atan(p / root) - variance * _log(cross - variance * p)
) / (cross**2 + variance**2 * root**2)
IMBALANCE = Assumption(
    "imbalance", r"$\alpha w^2 = p^2 - c$ with the conserved $c$", Inequality(sp.Eq(alpha * w**2, p**2 - square))
)


def _free(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    while True:
        sigma, both, at, gap, weight = (draw.positive() for _ in range(5))
        if at != gap and both != sigma * at and both != sigma * gap:
            break
    rate = abs(at * at - gap * gap) / (weight * weight)
    constant = gap * gap if at > gap else 2 * at * at - gap * gap
    scalars = {variance: sigma, cross: both, p: at, root: gap, square: constant, alpha: rate, w: weight}
    return Instance({}, {}, scalars)


UNBALANCED = Theorem(
    name="unbalanced-trajectory",
    title="The time of an unbalanced mode, for every sign of its conserved imbalance",
    chapter=5,
    statement=(
        r"Without decay $c = p^2 - \alpha w^2$ is conserved and $\dot p = (p^2 - c)(\lambda - \sigma p)$, so that $p$ is reached in"
        r" the time $T(p) - T(p_0)$ with, for $c = r^2 > 0$, $T = \frac{\ln \lvert p - r \rvert}{2r(\lambda - \sigma r)} - \frac{\ln"
        r" \lvert p + r \rvert}{2r(\lambda + \sigma r)} - \frac{\sigma \ln \lvert \lambda - \sigma p \rvert}{\lambda^2 - \sigma^2"
        r" r^2}$; for $c = 0$, $T = -\frac{1}{\lambda p} + \frac{\sigma}{\lambda^2} \ln \lvert \frac{p}{\lambda - \sigma p} \rvert$;"
        r" for $c = -r^2 < 0$, $T = [\frac\sigma2 \ln(p^2 + r^2) + \frac\lambda r \arctan \frac pr - \sigma \ln \lvert \lambda -"
        r" \sigma p \rvert]/(\lambda^2 + \sigma^2 r^2)$. The encoder follows from $\alpha w^2 = p^2 - c$."
    ),
    assumptions=(IMBALANCE,),
    proof=(
        Step(
            Implication(
                sp.Eq(alpha * w**2 * (cross - variance * p), FREE),
            ),
            r"Eliminate the encoder from the predictor's equation $\dot p = \alpha w^2 (\lambda - \sigma p)$.",
            uses=("imbalance",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(POSITIVE_TIME, p), 1 / FREE.subs(square, root**2)),
            r"Three simple poles, at $r$, $-r$ and $\rho$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(ZERO_TIME, p), 1 / FREE.subs(square, 0)),
            r"The balanced mode: a double pole at zero.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(NEGATIVE_TIME, p), 1 / FREE.subs(square, -(root**2))),
            r"One real pole: the mode passes $p = 0$ without stopping.",
            conclusion=True,
        ),
        Step(
            ModeRate(
                p**2 - alpha * w**2,
                {p: alpha * w**2 * (cross - variance * p), w: p * (cross - variance * p) * w},
                sp.S.Zero,
            ),
            r"That $c$ is conserved.",
        ),
        Step(
            Implication(FREE * (cross - variance * p) > 0, given=(alpha > 0, sp.Ne(w, 0), sp.Ne(cross, variance * p))),
            r"While the encoder lives the predictor moves towards $\rho$ monotonically ($\sigma > 0$), so $T$ can be inverted.",
            uses=("imbalance",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "arctangent-for-every-sign",
            "quantifier",
            r"use the formula of negative $c$ for positive $c$",
            ScalarIdentity(sp.Derivative(NEGATIVE_TIME, p), 1 / FREE.subs(square, root**2)),
        ),
        FalseSibling(
            "poles-exchanged",
            "sign",
            r"exchange the signs of $r$ in the denominators",
            ScalarIdentity(
                sp.Derivative(
                    _log(p - root) / (2 * root * (cross + variance * root))
                    - _log(p + root) / (2 * root * (cross - variance * root))
                    - variance * _log(cross - variance * p) / (cross**2 - variance**2 * root**2),
                    p,
                ),
                1 / FREE.subs(square, root**2),
            ),
        ),
        FalseSibling(
            "half-the-logarithm",
            "constant",
            r"halve the logarithm at $c = 0$",
            ScalarIdentity(
                sp.Derivative(-1 / (cross * p) + variance / (2 * cross**2) * (_log(p) - _log(cross - variance * p)), p),
                1 / FREE.subs(square, 0),
            ),
        ),
    ),
    witnesses=(
        Witness("imbalance", Instance({}, {}, {variance: 1, cross: 3, p: 1, root: 2, square: 0, alpha: 2, w: 1})),
    ),
    instances=_free,
    sources=(Source("ours"), Source("tian2021", "(14)", "the invariant")),
    belief="Only balanced initialisations can be solved.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "r = 0.4; T = lambda p: (np.log(p * p + r * r) / 2 + 0.8 / r * np.arctan(p / r) - np.log(abs(0.8 - p))) / (0.64 + r * r)\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)))\n"
        "path = jepa.solve(np.sqrt(0.3**2 + r * r) * np.eye(1), -0.3 * np.eye(1), [0.0, T(0.5) - T(-0.3)])\n"
        "assert np.isclose(path.predictor[-1, 0, 0], 0.5)"
    ),
)

THEOREMS = (DECAYED, UNBALANCED)
