"""The balanced mode without decay: the Wright function below the equilibrium, Lambert's branches elsewhere (result 5.1)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity, SolvesODE
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, variance, w
from jepalign.theory.special import LambertLower, LambertUpper, WrightOmega

time, y, w0, u, u0 = sp.symbols("t y w_0 u u_0", real=True)
root, omega, power, growth = sp.symbols("c omega E g", real=True)

FIELD: Any = sp.sqrt(alpha) * cross * w**2 - alpha * variance * w**3
LIMIT: Any = cross / (sp.sqrt(alpha) * variance)
RATE: Any = cross**2 / variance
GAP: Any = LIMIT / w - 1
NONZERO: Any = sp.Ne(w, 0)
# In z3's letters: c = √α.
VELOCITY = root * cross * w**2 - root**2 * variance * w**3
POSITIVE = (root > 0, variance > 0)


START: Any = sp.exp(y) + y


omega_of: Any = WrightOmega  # a class of functions is not callable to the type checker


def _wright(rate: Any = RATE, start: Any = START) -> Any:
    return LIMIT / (1 + omega_of(start - rate * time))


def _lambert(branch: Any, start: Any, rate: Any = RATE) -> Any:
    return LIMIT / (1 + branch(start * sp.exp(start - rate * time)))


UPPER, LOWER = sp.exp(y) - 1, -1 - sp.exp(y)
CLOCK = variance / cross**2 * (u0 - u + sp.log(u0**2 / u**2) / 2)
FADING = w0 / sp.sqrt(1 + 2 * alpha * variance * w0**2 * time)

unequal: Any = sp.Ne
BELOW = Assumption(
    "below",
    r"the start lies between zero and the equilibrium, $0 < w/w_* < 1$",
    Inequality(sp.And(unequal(w, 0), root * variance * w * cross > (root * variance * w) ** 2)),
)


def _below(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    scale, spread, share, value = draw.positive(), draw.positive(), draw.positive(), draw.positive()
    shared = draw.positive() * rng.choice((-1, 1))
    rise = 1 + value + draw.positive()
    scalars = {
        alpha: scale * scale,
        root: scale,
        variance: spread,
        cross: shared,
        w: shared / (scale * spread) * share / (1 + share),
        y: draw.number(),
        time: draw.positive(),
        omega: value,
        growth: rise,
        power: value * rise,
        u: value,
        u0: value + draw.positive(),
    }
    return Instance(scalars=scalars)


TRAJECTORY = Theorem(
    name="balanced-trajectory",
    title="A balanced mode grows by the Wright function",
    chapter=5,
    statement=(
        r"A balanced mode without decay ($p = \sqrt{\alpha} w$, aligned modes), $\dot w = \sqrt{\alpha}\lambda w^2 -"
        r" \alpha\sigma w^3$, has the equilibrium $w_* = \rho/\sqrt{\alpha}$, $\rho = \lambda/\sigma$. The relative gap $u ="
        r" w_*/w - 1$ obeys $\dot u = -\lambda\rho\, u/(1+u)$, so that from any start with $0 < w_0/w_* < 1$, whatever the"
        r" sign of $\lambda$, $w(t) = w_*/[1 + \omega(u_0 + \ln u_0 - \lambda\rho t)]$ for all times, where $\omega$ is the"
        r" Wright function, $\omega + \ln \omega = x$ [@corless2002]. With $y = \ln u_0$ every such start is $w_0 ="
        r" w_*/(1 + e^y)$. The learning rate $\alpha$ of the predictor scales the weight and not its clock, which runs at"
        r" $\lambda\rho$. The mode grows towards $w_*$ and, at the end, exponentially: $1 - w/w_* < e^{x(t)}$, $x(t) = u_0 +"
        r" \ln u_0 - \lambda\rho t$. In the letters $a = \sqrt{\alpha}\lambda$, $b = \alpha\sigma$, $q = a/w - b = bu$:"
        r" $q(t) = b\,\omega((q_0 + b \ln q_0 - a^2 t)/b - \ln b)$."
    ),
    assumptions=(BELOW,),
    proof=(
        Step(
            ModeRate(GAP, {w: FIELD}, -RATE * GAP * w / LIMIT, named="u"),
            r"Differentiate $u = w_*/w - 1$; $w/w_* = 1/(1+u)$. Both $\sqrt{\alpha}$ cancel.",
            conclusion=True,
        ),
        Step(
            ModeRate(u + sp.log(u**2) / 2, {u: -RATE * u / (1 + u)}, -RATE),
            r"So $u + \ln |u|$ falls at the constant rate $\lambda\rho$.",
        ),
        Step(
            ScalarIdentity(sp.Derivative(WrightOmega(y) + sp.log(WrightOmega(y)) - y, y), sp.S.Zero),
            r"The rule $\omega' = \omega/(1+\omega)$, the only one used, is that of the inverse of $u + \ln u$, which maps"
            r" $u > 0$ increasingly onto all real numbers.",
        ),
        Step(
            SolvesODE(_wright(), w, time, FIELD, LIMIT / (1 + sp.exp(y))),
            r"Hence $u(t) = \omega(u_0 + \ln u_0 - \lambda\rho t)$ with $u_0 = e^y$; substitute.",
            conclusion=True,
        ),
        Step(
            Implication(w * VELOCITY > 0, given=POSITIVE),
            r"Between zero and $w_*$ the weight's size grows ($c = \sqrt{\alpha}$).",
            uses=("below",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(omega < power * (1 + omega), omega < power),
                given=(omega > 0, growth >= 1 + omega, sp.Eq(power, omega * growth)),
            ),
            r"The defining equation says $\omega e^\omega = E$ with $E = e^x$; as $g = e^\omega \ge 1 + \omega$, $1 - w/w_* ="
            r" \omega/(1+\omega) < E$, which tends to zero as $x(t) \to -\infty$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "rate-of-the-covariance",
            "exchange",
            r"let the clock run at $\lambda$ in place of $\lambda\rho$",
            SolvesODE(_wright(rate=cross), w, time, FIELD, LIMIT / (1 + sp.exp(y))),
        ),
        FalseSibling(
            "clock-backwards",
            "sign",
            r"add $\lambda\rho t$",
            SolvesODE(_wright(rate=-RATE), w, time, FIELD, LIMIT / (1 + sp.exp(y))),
        ),
        FalseSibling(
            "logit-alone",
            "omission",
            r"start from $\ln u_0$, as a logistic curve would",
            SolvesODE(_wright(start=y), w, time, FIELD, LIMIT / (1 + sp.exp(y))),
        ),
        FalseSibling(
            "clock-of-the-predictor",
            "constant",
            r"let the clock run at $\alpha\lambda\rho$",
            SolvesODE(_wright(rate=alpha * RATE), w, time, FIELD, LIMIT / (1 + sp.exp(y))),
        ),
        FalseSibling(
            "always-growing",
            "quantifier",
            r"claim growth from any start on the side of $\lambda$",
            Implication(w * VELOCITY > 0, given=(*POSITIVE, cross * w > 0)),
        ),
    ),
    witnesses=(Witness("below", Instance(scalars={root: 1, alpha: 1, variance: 1, cross: 1, w: 2, y: 0, time: 1})),),
    instances=_below,
    sources=(
        Source("ours", "", "the closed form"),
        Source("tian2021", "Section 3", "the mode, for unit cross-covariance"),
        Source("corless2002", "", "the Wright function"),
    ),
    belief="A balanced JEPA mode grows along a logistic curve, at a rate set by the predictor's learning rate.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(2 * np.eye(1), 2 * np.eye(1), np.eye(1))  # sigma 2, lambda 1, rho 1/2\n"
        "w = LinearJEPA(views).solve(0.1 * np.eye(1), 0.1 * np.eye(1), [0.0, 9.0]).encoder[:, 0, 0]\n"
        "u = 0.5 / w - 1  # u + ln u falls by lambda * rho * t\n"
        "assert np.isclose(u[0] + np.log(u[0]) - 9.0 / 2, u[1] + np.log(u[1]))"
    ),
)


def _anywhere(rng: random.Random, size: int) -> Instance:
    drawn = _below(rng, size)
    draw = Draw(rng)
    weight = draw.positive() * rng.choice((-1, 1))
    # The second of three draws is on the other side for certain.
    shared = drawn.scalars[cross] if size != 2 else -weight * draw.positive()
    level = draw.positive() * rng.choice((-1, 1)) / 2
    values = {cross: shared, w: weight, w0: weight, y: level, u: -draw.positive(), u0: -draw.positive()}
    return drawn.with_(scalars=values)


OPPOSED = cross * w < 0

BRANCHES = Theorem(
    name="balanced-trajectory-above",
    title="Everywhere else a balanced mode follows one of Lambert's branches",
    chapter=5,
    statement=(
        r"The gap $u = w_*/w - 1$ of a balanced mode without decay satisfies $u e^u = u_0 e^{u_0 - \lambda\rho t}$; which"
        r" branch of Lambert's $W$ solves this depends on $u_0$ alone. For $u_0 > -1$, that is $w_0$ on the side of"
        r" $\lambda$, below the equilibrium or beyond it: $w(t) = w_*/[1 + W_0(u_0 e^{u_0 - \lambda\rho t})]$ for $t \ge 0$."
        r" For $u_0 < -1$, that is $w_0$ on the other side, the same with $W_{-1}$: such a mode dies, but only"
        r" algebraically, $|w| \le 1/(1/|w_0| + \sqrt{\alpha}|\lambda| t)$. Without correlation, $\lambda = 0$, $w = w_0/"
        r"\sqrt{1 + 2\alpha\sigma w_0^2 t}$. On either branch the time taken is $\frac{1}{\lambda\rho} [u_0 - u + \ln"
        r" (u_0/u)]$. The starts are written $u_0 = e^y - 1$ and $u_0 = -1 - e^y$ with $y = \ln|w_*/w_0|$."
    ),
    assumptions=(),
    proof=(
        Step(
            ModeRate(u * sp.exp(u), {u: -RATE * u / (1 + u)}, -RATE * u * sp.exp(u)),
            r"By the equation of the gap, $u e^u$ decays exponentially.",
            conclusion=True,
        ),
        Step(
            SolvesODE(_lambert(LambertUpper, UPPER), w, time, FIELD, LIMIT * sp.exp(-y)),
            r"$W_0$ is the inverse of $u e^u$ on $u > -1$. The argument stays in its domain $(-1/e, \infty)$ for $t \ge 0$.",
            conclusion=True,
        ),
        Step(
            SolvesODE(_lambert(LambertLower, LOWER), w, time, FIELD, -LIMIT * sp.exp(-y)),
            r"$W_{-1}$ is the inverse on $u < -1$; the argument rises from $(-1/e, 0)$ to zero, where $W_{-1} \to -\infty$.",
            conclusion=True,
        ),
        Step(
            SolvesODE(FADING, w, time, FIELD.subs(cross, 0), w0),
            r"Without correlation $w^{-2}$ grows linearly.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(CLOCK, u) * (-RATE * u / (1 + u)), sp.S.One),
            r"The time as a function of the gap, on any branch.",
            conclusion=True,
        ),
        Step(
            ModeRate(1 / w, {w: FIELD}, alpha * variance * w - sp.sqrt(alpha) * cross),
            r"The reciprocal of the weight moves by this.",
        ),
        Step(
            Implication(
                sp.And(
                    sp.Implies(w > 0, root**2 * variance * w - root * cross > -root * cross),
                    sp.Implies(w < 0, root**2 * variance * w - root * cross < -root * cross),
                    w * VELOCITY < 0,
                ),
                given=(*POSITIVE, OPPOSED),
            ),
            r"On the other side both terms have the sign of $w$: $1/|w|$ grows at least at the rate $\sqrt{\alpha}|\lambda|$.",
            conclusion=True,
        ),
        Step(
            Implication(w * VELOCITY < 0, given=(*POSITIVE, cross * w > 0, root * variance * w**2 > cross * w)),
            r"Beyond the equilibrium the weight shrinks, towards it.",
        ),
    ),
    siblings=(
        FalseSibling(
            "upper-branch-everywhere",
            "exchange",
            r"use $W_0$ on the other side too",
            SolvesODE(_lambert(LambertUpper, LOWER), w, time, FIELD, -LIMIT * sp.exp(-y)),
        ),
        FalseSibling(
            "lower-branch-beyond",
            "exchange",
            r"use $W_{-1}$ for starts beyond the equilibrium",
            SolvesODE(_lambert(LambertLower, UPPER), w, time, FIELD, LIMIT * sp.exp(-y)),
            instances=lambda rng, size: _anywhere(rng, size).with_(scalars={y: sp.Rational(-1, 2)}),
        ),
        FalseSibling(
            "half-the-clock",
            "constant",
            r"halve the time",
            ScalarIdentity(sp.Derivative(CLOCK / 2, u) * (-RATE * u / (1 + u)), sp.S.One),
        ),
        FalseSibling(
            "uncorrelated-growth",
            "sign",
            r"let the square root shrink",
            SolvesODE(FADING.subs(time, -time), w, time, FIELD.subs(cross, 0), w0),
            instances=lambda rng, size: _anywhere(rng, size).with_(scalars={time: sp.Rational(1, 1000)}),
        ),
        FalseSibling(
            "other-side-recovers",
            "quantifier",
            r"claim that a mode grows from either side of zero",
            Implication(
                w * VELOCITY > 0, given=(*POSITIVE, sp.Ne(cross * w, 0), (root * variance * w) ** 2 < cross**2)
            ),
        ),
    ),
    witnesses=(),
    instances=_anywhere,
    sources=(Source("ours"), Source("corless2002", "", "branches")),
    belief="From the wrong side of zero a mode dies exponentially, as it would by weight decay.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), -0.5 * np.eye(1))  # anticorrelated views\n"
        "w = LinearJEPA(views).solve(np.eye(1), np.eye(1), [0.0, 20.0, 40.0]).encoder[:, 0, 0]\n"
        "u = -0.5 / w - 1\n"
        "assert np.allclose(u * np.exp(u + 0.25 * np.array([0.0, 20.0, 40.0])), u[0] * np.exp(u[0])) and w[2] > 0.02"
    ),
)

THEOREMS = (TRAJECTORY, BRANCHES)
