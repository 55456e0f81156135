"""With weight decay and an averaged target at once: what a mode descends while its predictor is the heavier part (4.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns
v, beta, drive = sp.symbols("v beta r", real=True)

IMBALANCE = p**2 - alpha * w**2
RESIDUAL = cross * v - variance * p * w
FLOW: Any = {w: p * RESIDUAL - eta * w, p: alpha * w * RESIDUAL - eta * p, v: beta * (w - v)}
ENERGY = variance * p**3 / (3 * alpha) - cross * w * v + cross * v**2 / 2 + eta * p / alpha
FALL = (
    -((p * RESIDUAL - eta * w) ** 2) / p
    - eta / alpha * IMBALANCE * (variance * p + eta / p)
    - beta * cross * (w - v) ** 2
)
HEAVY = Assumption(
    "heavy-predictor",
    r"the predictor is at least the balanced one, $c = p^2 - \alpha w^2 \ge 0$",
    Inequality(IMBALANCE >= 0),
)
FORWARD = Assumption("forward", r"it has the sign of $\lambda$: $p > 0$", Inequality(p > 0))
POSITIVE = Assumption("positive", r"the mode is positively correlated, $\lambda > 0$", Inequality(cross > 0))
CONSTANTS = (alpha > 0, beta > 0, eta > 0, variance > 0, equation(drive, RESIDUAL))
AT_REST = sp.And(equation(p * drive, eta * w), equation(p**2, alpha * w**2), equation(v, w))
CLEARED = (
    -alpha * (p * drive - eta * w) ** 2
    - eta * IMBALANCE * (variance * p**2 + eta)
    - alpha * beta * cross * p * (w - v) ** 2
)


def _heavy(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    scalars: dict[Any, Any] = {letter: draw.positive() for letter in (alpha, beta, eta, variance, cross, p)}
    scalars |= {w: draw.number(), v: draw.number()}
    while scalars[alpha] * scalars[w] ** 2 > scalars[p] ** 2:
        scalars[w] /= 2
    return _driven(scalars)


def _driven(scalars: dict[Any, Any]) -> Instance:
    return Instance(
        {}, {}, {**scalars, drive: scalars[cross] * scalars[v] - scalars[variance] * scalars[p] * scalars[w]}
    )


def _at(**changes: Any) -> Instance:
    values: dict[str, Any] = {"w": 1, "v": 1, "p": 1, "lambda": 1, "eta": 1, **changes}
    letters = {w: values["w"], v: values["v"], p: values["p"], cross: values["lambda"], eta: values["eta"]}
    return _driven({alpha: 1, beta: 1, variance: 1, **letters})


ALL = ("heavy-predictor", "forward", "positive")

DECAYED_TARGET = Theorem(
    name="decayed-target-descends",
    title="With decay and an averaged target a mode descends a function while the predictor is the heavier part",
    chapter=4,
    statement=(
        r"Let $\lambda, \eta, \beta > 0$, and let the predictor of a mode be positive and at least balanced, $c = p^2 - \alpha"
        r" w^2 \ge 0$: training keeps it so, as $\dot c = -2\eta c$. Then $U = \frac{\sigma}{3\alpha} p^3 - \lambda w v +"
        r" \frac{\lambda}{2} v^2 + \frac{\eta}{\alpha} p$, which contains no $\beta$, falls except at the equilibria, $v = w$,"
        r" $\alpha w^2 = p^2$, $\sigma p^2 - \lambda p + \eta = 0$, or collapse. In particular a balanced mode with decay and"
        r" any averaged target descends a function, and does not oscillate. For $c < 0$ this function can grow, and we know"
        r" none."
    ),
    assumptions=(HEAVY, FORWARD, POSITIVE),
    proof=(
        Step(
            ModeRate(IMBALANCE, FLOW, -2 * eta * IMBALANCE, named="c", with_flow=True),
            r"The imbalance decays whatever the target does, and keeps its sign. For $c \ge 0$ a positive $p$ can only vanish"
            r" together with $w$.",
            conclusion=True,
        ),
        Step(
            ModeRate(ENERGY, FLOW, FALL, named="U"),
            r"To the function without decay the predictor's own size is added: the nuclear norm of the balanced potential,"
            r" $\frac{\eta}{\alpha} p = \frac{\eta}{\sqrt\alpha} \lvert w \rvert$ there. With $\frac{1}{\alpha} p^2 = w^2 +"
            r" \frac{1}{\alpha} c$ the rest is a square and what multiplies $c$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(FALL * p * alpha, CLEARED.subs(drive, RESIDUAL)),
            r"Multiply by $\alpha p > 0$.",
        ),
        Step(
            Implication(sp.Or(CLEARED < 0, AT_REST), given=CONSTANTS),
            r"No term is positive for $c \ge 0$. All vanish only where $c = 0$, $v = w$ and $p(\lambda v - \sigma p w) = \eta w$,"
            r" and there all three velocities do.",
            uses=ALL,
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (p * (cross * w - variance * p * w) - eta * w),
                -w * (variance * p**2 - cross * p + eta),
            ),
            r"With $v = w$ that is collapse or the quadratic.",
        ),
    ),
    siblings=(
        FalseSibling(
            "light-predictor",
            "quantifier",
            r"claim it for every imbalance",
            Implication(sp.Or(CLEARED < 0, AT_REST), given=CONSTANTS),
            uses=("forward", "positive"),
        ),
        FalseSibling(
            "without-the-norm",
            "omission",
            r"leave $\frac{\eta}{\alpha} p$ out",
            ModeRate(ENERGY - eta * p / alpha, FLOW, FALL),
        ),
        FalseSibling(
            "imbalance-sign",
            "sign",
            r"let the term with $c$ have the other sign",
            ModeRate(ENERGY, FLOW, FALL + 2 * eta / alpha * IMBALANCE * (variance * p + eta / p)),
        ),
        FalseSibling(
            "half-the-norm",
            "constant",
            r"add $\frac{\eta}{2\alpha} p$",
            ModeRate(ENERGY - eta * p / (2 * alpha), FLOW, FALL),
        ),
    ),
    witnesses=(
        # Predictor half as heavy as balance, at its own balance of forces.
        Witness("heavy-predictor", _at(p=sp.Rational(1, 2), v=sp.Rational(3, 2))),
        Witness("forward", _at(p=-1, v=-2)),
        Witness(
            "positive",
            _at(**{"lambda": -1, "v": 3, "w": sp.Rational(-1, 4), "p": sp.Rational(1, 4), "eta": sp.Rational(1, 4)}),
        ),
    ),
    instances=_heavy,
    sources=(Source("ours"), Source("tian2021", "Section 3", "the mode's flow")),
    belief="Decay and an averaged target together can make a mode oscillate.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "R = lambda s: 0.9 * s['v'] - s['p'] * s['w']; one = np.ones(1)\n"
        "f = lambda s: {'w': s['p'] * R(s) - 0.1 * s['w'], 'p': s['w'] * R(s) - 0.1 * s['p'], 'v': 0.2 * (s['w'] - s['v'])}\n"
        "s = integrate(f, {'w': 0.6 * one, 'p': one, 'v': 0.1 * one}, np.linspace(0, 80, 200)).states\n"
        "assert np.all(np.diff((s['p']**3 / 3 - 0.9 * s['w'] * s['v'] + 0.45 * s['v']**2 + 0.1 * s['p'])[:, 0]) < 1e-12)"
    ),
)

THEOREMS = (DECAYED_TARGET,)
