"""Away from balance, without decay, an averaged target decides nothing about survival (4.3 and 4.4 together)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Implication, ModeRate
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns
v, beta, imbalance = sp.symbols("v beta c", real=True)

RESIDUAL = cross * v - variance * p * w
FLOW: Any = {w: p * RESIDUAL - eta * w, p: alpha * w * RESIDUAL - eta * p, v: beta * (w - v)}
OUTER = variance * p**3 / (3 * alpha) - cross * w * v + cross * v**2 / 2
OUTER_FALL = -p * RESIDUAL**2 - beta * cross * (w - v) ** 2
INNER = cross * v**2 / 2 - beta * p / alpha
INNER_FALL = -beta * cross * v**2 + beta * variance * p * w**2

UNDECAYED = Assumption("undecayed", r"there is no weight decay, $\eta = 0$", Equation(eta, sp.S.Zero))
POSITIVE = Assumption("positive", r"the mode is positively correlated, $\lambda > 0$", Inequality(cross > 0))
SAME_SIDE = Assumption(
    "same-side",
    r"encoder and target start on the same side, $w, v \ge 0$, and not both at zero (as from $v(0) = w(0) > 0$)",
    Inequality(sp.And(w >= 0, v >= 0, w + v > 0)),
)
CONSTANTS = (alpha > 0, beta > 0, variance > 0)


def _averaged(rng: random.Random, size: int) -> Instance:
    """Draw a mode: at first with a predictor below ρ, then with one of the wrong sign, then any."""
    draw = Draw(rng)
    scalars: dict[Any, Any] = {letter: draw.positive() for letter in (alpha, beta, variance, cross, w, v)}
    below = scalars[cross] / scalars[variance] / (1 + draw.positive())
    scalars[p] = below if size == 1 else -draw.positive() if size == 2 else draw.number()
    scalars |= {eta: 0, imbalance: scalars[p] ** 2 - scalars[alpha] * scalars[w] ** 2}
    return Instance({}, {}, scalars)


def _at(**changes: Any) -> Instance:
    values: dict[str, Any] = {"w": 1, "v": 2, "p": 1, "lambda": 2, "eta": 0, **changes}
    letters = {w: values["w"], v: values["v"], p: values["p"], cross: values["lambda"], eta: values["eta"]}
    scalars = {alpha: 1, beta: 1, variance: 1, imbalance: values["p"] ** 2 - values["w"] ** 2}
    return Instance({}, {}, {**scalars, **letters})


OFF_BALANCE_TARGET = Theorem(
    name="off-balance-target",
    title="Off balance an averaged target does not move the basin either",
    chapter=4,
    statement=(
        r"Without decay, for $\lambda > 0$, $\rho = \lambda/\sigma$, $w(0), v(0) \ge 0$ not both zero, and every rate $\beta >"
        r" 0$ of the average, let $c = p(0)^2 - \alpha w(0)^2$. The mode survives iff $c < 0$, or $0 \le c < \rho^2$ and $p(0)"
        r" > 0$, and then $w, v \to \sqrt{(\rho^2 - c)/\alpha}$, $p \to \rho$: the basin and the level of the JEPA without an"
        r" average. While $p \ge 0$ the mode descends $U = \frac{\sigma}{3\alpha} p^3 - \lambda w v + \frac{\lambda}{2} v^2$,"
        r" while $p \le 0$ it descends $\frac{\lambda}{2} v^2 - \frac{\beta}{\alpha} p$."
    ),
    assumptions=(UNDECAYED, POSITIVE, SAME_SIDE),
    proof=(
        Step(
            ModeRate(p**2 - alpha * w**2, FLOW, sp.S.Zero, named="c"),
            r"The imbalance is conserved, whatever the target does.",
            uses=("undecayed",),
            conclusion=True,
        ),
        Step(
            ModeRate(OUTER, FLOW, OUTER_FALL, named="U"),
            r"The function of the symmetric predictor, for one mode. It falls while $p > 0$.",
            uses=("undecayed",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(p * cross * v >= 0, alpha * w * cross * v >= 0, beta * w >= 0),
                given=(*CONSTANTS, p >= 0),
            ),
            r"On the faces $w = 0$, $p = 0$, $v = 0$ of the octant $w, p, v \ge 0$ these are the velocities of $w$, $p$ and"
            r" $v$: the"
            r" octant is never left.",
            uses=("positive", "same-side"),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Or(OUTER_FALL < 0, sp.And(equation(v, w), equation(w * (cross - variance * p), 0))),
                given=(*CONSTANTS, p > 0),
            ),
            r"With $p > 0$ the function rests only at equilibria: collapse, or $p = \rho$.",
            uses=("positive",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    sp.Implies(v >= w, p * RESIDUAL > 0),
                    sp.Implies(v <= w, beta * (w - v) >= 0),
                ),
                given=(*CONSTANTS, p > 0, variance * p < cross),
            ),
            r"While $0 < p < \rho$ the smaller of $w$ and $v$ does not fall: if it is $w$, its velocity is positive, and if"
            r" it is $v$"
            r" it is drawn to $w$. Near collapse $p$ is near $\sqrt c$. So for $c < \rho^2$ collapse is not approached from"
            r" $p > 0$.",
            uses=("positive", "same-side"),
            conclusion=True,
        ),
        Step(
            Implication(
                equation(w, 0),
                given=(
                    *CONSTANTS,
                    equation(imbalance, p**2 - alpha * w**2),
                    equation(variance * p, cross),
                    variance**2 * imbalance >= cross**2,
                ),
            ),
            r"For $c \ge \rho^2$ there is nothing but collapse to end at.",
            uses=("positive",),
        ),
        Step(
            ModeRate(INNER, FLOW, INNER_FALL),
            r"For $p < 0$ another function: it bounds $v$ and $\lvert p \rvert$, hence $w$.",
            uses=("undecayed",),
            conclusion=True,
        ),
        Step(
            Implication(sp.Or(INNER_FALL < 0, sp.And(equation(v, 0), equation(w, 0))), given=(*CONSTANTS, p < 0)),
            r"It falls until $w = v = 0$. For $c \ge 0$ a negative $p$ keeps its sign ($p^2 \ge c$, and $c = p = 0$ is a point of"
            r" rest of $w$ and $p$), so that the mode collapses. For $c < 0$ there is no such point, as $\alpha w^2 \ge -c$:"
            r" $p$ must"
            r" become positive, which at $p = 0$, $v > 0$ it does for good, and the first function takes over.",
            uses=("positive",),
            conclusion=True,
        ),
        Step(
            Cited(
                r"\dot U \le 0 \quad\Longrightarrow\quad \text{bounded trajectories approach the largest invariant set on which"
                r" } U \text{ rests}",
                "lasalle1960",
            ),
            r"LaSalle's principle [@lasalle1960]. Trajectories are bounded: with $\alpha w^2 = p^2 - c$ the cube outgrows $U -"
            r" \frac{\sigma}{3\alpha} p^3 = \frac{\lambda}{2} (v - w)^2 - \frac{\lambda}{2} w^2$. On $p = 0$, where $U$ may rest as"
            r" well, $v = w > 0$ is not invariant, since $\dot p = \alpha\lambda w v > 0$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "inner-function-everywhere",
            "quantifier",
            r"claim that the second function falls for every $p$",
            Implication(INNER_FALL <= 0, given=CONSTANTS),
            uses=("positive",),
        ),
        FalseSibling(
            "outer-function-everywhere",
            "omission",
            r"claim that the first function falls for negative $p$ too",
            Implication(OUTER_FALL <= 0, given=CONSTANTS),
            uses=("positive",),
        ),
        FalseSibling(
            "sign-of-the-predictor",
            "sign",
            r"add $\frac{\beta}{\alpha} p$ instead of subtracting it",
            ModeRate(cross * v**2 / 2 + beta * p / alpha, FLOW, INNER_FALL),
            uses=("undecayed",),
        ),
        FalseSibling(
            "encoder-grows",
            "exchange",
            r"claim that below $\rho$ the encoder itself grows, wherever the average is",
            Implication(p * RESIDUAL >= 0, given=(*CONSTANTS, p > 0, variance * p < cross)),
            uses=("positive", "same-side"),
        ),
    ),
    witnesses=(
        Witness("undecayed", _at(eta=1)),
        Witness("positive", _at(**{"lambda": -2})),
        # A target on the other side draws the encoder through zero.
        Witness("same-side", _at(w=0, v=-1)),
    ),
    instances=_averaged,
    sources=(
        Source("ours"),
        Source("tian2021", "(14)", "the invariant; its sign is misprinted there"),
        Source("lasalle1960", "", "convergence"),
    ),
    belief="A slower target gives a small or unbalanced encoder more time to be saved.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)), ema_rate=0.3); one = np.eye(1)\n"
        "end = lambda w, p: jepa.solve(w * one, p * one, [0.0, 4000.0]).encoder[-1, 0, 0]\n"
        "assert np.isclose(end(0.5, -0.3) ** 2, 0.64 + 0.16) and abs(end(0.5, 1.2)) < 1e-3 and abs(end(0.2, -0.5)) < 1e-3"
    ),
)

THEOREMS = (OFF_BALANCE_TARGET,)
