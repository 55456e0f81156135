"""With a predictor an averaged target moves neither equilibria nor stability nor, from V = W, the basin (4.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

v, beta, rate, root_rate = sp.symbols("v beta x a", real=True)
first, second, third = sp.symbols("a_2 a_1 a_0", real=True)

ENCODER = p * (cross * v - variance * p * w) - eta * w
PREDICTOR = alpha * w * (cross * v - variance * p * w) - eta * p
AVERAGE = beta * (w - v)
JACOBIAN: Any = sp.Matrix([ENCODER, PREDICTOR, AVERAGE]).jacobian(sp.Matrix([w, p, v]))
_REST = {v: w, eta: p * (cross - variance * p), alpha: p**2 / w**2}
_M, _U = p * cross, p * (cross - 2 * variance * p)
COEFFICIENTS = (2 * _M + beta, _M**2 - _U**2 + _M * beta, -beta * _U * (_U + _M))

MOVING = Assumption("moving", r"the target follows, $\beta > 0$", Inequality(beta > 0))
DECAYED = Assumption(
    "decayed",
    r"there is weight decay: $\eta = p(\lambda - \sigma p) > 0$ at rest",
    Inequality(p * (cross - variance * p) > 0),
)
POSITIVE = Assumption(
    "positive",
    r"the mode is positively correlated, with its predictor: $\lambda > 0$, $p > 0$",
    Inequality(sp.And(cross > 0, p > 0)),
)


def _resting(rng: random.Random, size: int) -> Instance:
    """Draw a mode at rest and the coefficients of its characteristic polynomial."""
    draw = Draw(rng)
    at, other, sigma, weight, pull = (draw.positive() for _ in range(5))
    both = sigma * (at + other)
    scalars = {p: at, variance: sigma, cross: both, w: weight, beta: pull, rate: draw.number()}
    m, u = at * both, at * (both - 2 * sigma * at)
    scalars |= {first: 2 * m + pull, second: m * m - u * u + m * pull, third: -pull * u * (u + m)}
    return Instance({}, {}, scalars)


_HURWITZ = sp.And(
    COEFFICIENTS[0] > 0, COEFFICIENTS[1] > 0, COEFFICIENTS[2] > 0, COEFFICIENTS[0] * COEFFICIENTS[1] > COEFFICIENTS[2]
)

EMA_STABILITY = Theorem(
    name="ema-stability",
    title="Equilibria and their stability do not depend on the rate of the average",
    chapter=4,
    statement=(
        r"At rest $v = w$ whatever $\beta$. Linearise encoder, predictor and average at a mode with $w \ne 0$ under weight decay"
        r" $\eta = p(\lambda - \sigma p)$, $\alpha w^2 = p^2$. With $m = p\lambda$ and $u = p(\lambda - 2\sigma p)$ the characteristic"
        r" polynomial is $x^3 + (2m + \beta) x^2 + (m^2 - u^2 + m\beta) x - \beta u (u + m)$, and by Routh and Hurwitz the mode is"
        r" stable iff $2\sigma p > \lambda$, for every $\alpha$, $\eta$ and $\beta$: $p_+$ is stable and $p_-$ is not, as without an"
        r" average. The origin attracts at the rates $\eta$, $\eta$ and $\beta$."
    ),
    assumptions=(MOVING, DECAYED, POSITIVE),
    proof=(
        Step(
            ScalarIdentity(
                (rate * sp.eye(3) - JACOBIAN.subs(_REST)).det(),
                rate**3 + COEFFICIENTS[0] * rate**2 + COEFFICIENTS[1] * rate + COEFFICIENTS[2],
            ),
            r"Put rest into the Jacobian, $\alpha w^2 = p^2$ and $\eta = p(\lambda - \sigma p)$, and expand.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent(_HURWITZ, 2 * variance * p > cross), given=(variance > 0,)),
            r"$u + m = 2\eta > 0$, so the last coefficient is positive iff $u < 0$; then $m > -u > 0$ and the other conditions hold"
            r" for every $\beta > 0$.",
            uses=("moving", "decayed", "positive"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (rate * sp.eye(3) - JACOBIAN.subs({w: 0, p: 0, v: 0})).det(), (rate + eta) ** 2 * (rate + beta)
            ),
            "At the origin the prediction force has no linear part.",
        ),
    ),
    siblings=(
        FalseSibling(
            "rate-in-the-threshold",
            "exchange",
            r"let the rate of the average enter: stable iff $2\sigma p > \lambda + \beta$",
            Implication(sp.Equivalent(_HURWITZ, 2 * variance * p > cross + beta), given=(variance > 0,)),
            uses=("moving", "decayed", "positive"),
        ),
        FalseSibling(
            "both-stable",
            "quantifier",
            "claim stability of every equilibrium",
            Implication(_HURWITZ, given=(variance > 0,)),
            uses=("moving", "decayed", "positive"),
        ),
        FalseSibling(
            "sign-of-the-last",
            "sign",
            "exchange the sign of the last coefficient",
            ScalarIdentity(
                (rate * sp.eye(3) - JACOBIAN.subs(_REST)).det(),
                rate**3 + COEFFICIENTS[0] * rate**2 + COEFFICIENTS[1] * rate - COEFFICIENTS[2],
            ),
        ),
    ),
    witnesses=(
        Witness("moving", Instance({}, {}, {p: 1, variance: 2, cross: 3, w: 1, beta: -1, rate: 1})),
        Witness("decayed", Instance({}, {}, {p: 2, variance: 1, cross: 1, w: 1, beta: 1, rate: 1})),
        Witness("positive", Instance({}, {}, {p: -1, variance: 2, cross: -3, w: 1, beta: 1, rate: 1})),
    ),
    instances=_resting,
    sources=(Source("ours"), Source("tian2021", "(16)", "at a fixed ratio of target to encoder")),
    belief="A slower target makes the learnt representation more stable.",
    example=(
        "import numpy as np\n"
        "lam, sigma, eta = 0.8, 1.0, 0.1; roots = np.roots([sigma, -lam, eta])\n"
        "J = lambda p, b: np.array([[-p * lam, p * (lam - 2 * p), p * lam], [p * (lam - 2 * p), -p * lam, p * lam], [b, 0, -b]])\n"
        "for b in (0.01, 1.0, 100.0):  # w = p\n"
        "    assert [np.linalg.eigvals(J(p, b)).real.max() < 0 for p in sorted(roots)] == [False, True]"
    ),
)

# -- the basin ------------------------------------------------------------------------------------------------------------

BALANCED_ENCODER = root_rate * w * (cross * v - root_rate * variance * w**2) - eta * w
ALONE = root_rate * cross * w**2 - root_rate**2 * variance * w**3 - eta * w

BALANCED = Assumption("balanced", r"the mode is balanced, $p = aw$ with $a = \sqrt\alpha$", Equation(p, root_rate * w))
STARTED_TOGETHER = Assumption("started-together", r"the average starts at the encoder, $v = w$", Equation(v, w))
CORRELATED = Assumption(
    "correlated", r"$\lambda > 0$ and $w > 0$ (else exchange both signs)", Inequality(sp.And(cross >= 0, w > 0))
)


def _together(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    weight, scale = draw.positive(), draw.positive()
    scalars = {w: weight, v: weight, root_rate: scale, p: scale * weight, alpha: scale * scale}
    return Instance(
        {},
        {},
        {**scalars, cross: draw.positive(), variance: draw.positive(), eta: draw.positive(), beta: draw.positive()},
    )


_EXAMPLE = {variance: 1, cross: 1, root_rate: 1, eta: sp.Rational(3, 16)}
_EXAMPLE_FIELD = w * (v - w**2 - sp.Rational(3, 16))
_EDGE = v - sp.Rational(1, 3) * (sp.Rational(3, 4) - w)

EMA_BASIN = Theorem(
    name="ema-basin",
    title="Started at the encoder, an average does not move the basin of a balanced mode; started at zero it does",
    chapter=4,
    statement=(
        r"A balanced mode stays balanced whatever its target, so that $(w, v)$ obeys $\dot w = a w (\lambda v - a\sigma w^2) -"
        r" \eta w$, $\dot v = \beta (w - v)$: for $\lambda, w > 0$ a cooperative system. From $v = w$ its first velocity is $\dot v ="
        r" 0$ and the $\dot w$ of the mode without an average. In a cooperative system a motion whose first velocity has a sign keeps"
        r" it: above $p_-$ the mode rises to $p_+$, below it falls to $0$, for every $\beta$. Not from $v = 0$: with $\sigma ="
        r" \lambda = \alpha = 1$, $\eta = 3/16$, $\beta = 1/20$ even the start $w = p_+ = 3/4$ collapses, held in by the region $v \le"
        r" \frac13 (\frac34 - w)$, $w \ge \frac{3}{16}$, from which it can only enter the square $w, v \le \frac{3}{16}$, and there $w$"
        r" decreases. (Off balance with $\eta > 0$ the average can move the boundary; not shown here.)"
    ),
    assumptions=(BALANCED, STARTED_TOGETHER, CORRELATED),
    proof=(
        Step(
            ModeRate(p**2 - alpha * w**2, {w: ENCODER, p: PREDICTOR}, -2 * eta * (p**2 - alpha * w**2)),
            "Balance is kept, whatever $v$ does.",
        ),
        Step(
            ScalarIdentity(ENCODER, BALANCED_ENCODER),
            r"On the balanced line the encoder's equation contains $w$ and $v$ only.",
            uses=("balanced",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(BALANCED_ENCODER, v), root_rate * cross * w),
            r"The encoder's velocity increases with $v$, at the rate $a\lambda w$, and the average's with $w$, at the rate $\beta$.",
        ),
        Step(
            Implication(
                sp.And(sp.expand(sp.diff(BALANCED_ENCODER, v)) >= 0, sp.diff(AVERAGE, w) > 0),
                given=(root_rate > 0, beta > 0),
            ),
            "So neither off-diagonal entry of the Jacobian is negative.",
            uses=("correlated",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(BALANCED_ENCODER, ALONE),
            r"From $v = w$ the first velocity of $w$ is that of the mode without an average; that of $v$ is zero.",
            uses=("started-together",),
            conclusion=True,
        ),
        Step(
            Cited(
                r"\dot z = f(z) \text{ cooperative}, \quad f(z(0)) \ge 0 \quad\Longrightarrow\quad \dot z(t) \ge 0",
                "smith1995, Proposition 3.2.1",
            ),
            r"Kamke's comparison theorem [@kamke1932] for systems without explicit time [@smith1995, Proposition 3.2.1]. A bounded"
            r" monotone motion converges, and to an equilibrium.",
        ),
        Step(
            Implication(
                sp.expand(sp.Rational(1, 20) * (w - v) + sp.Rational(1, 3) * _EXAMPLE_FIELD) < 0,
                given=(sp.Eq(_EDGE, 0), w >= sp.Rational(3, 16), w <= sp.Rational(3, 4)),
            ),
            r"The counterexample: on the slanted edge the flow points inward,",
        ),
        Step(
            Implication(
                sp.expand(_EXAMPLE_FIELD) < 0,
                given=(w > 0, w <= sp.Rational(3, 4), w >= sp.Rational(3, 16), _EDGE <= 0),
            ),
            r"within the region $w$ decreases, so that it reaches $3/16$, where $v \le 3/16$,",
        ),
        Step(
            Implication(
                sp.expand(_EXAMPLE_FIELD) < 0,
                given=(
                    w > 0,
                    w <= sp.Rational(3, 16),
                    v <= sp.Rational(3, 16),
                ),
            ),
            r"and in the square, whose upper edge $v = 3/16 \ge w$ lets nothing out, $w$ decreases everywhere.",
        ),
    ),
    siblings=(
        FalseSibling(
            "any-start-of-the-average",
            "omission",
            "claim the first velocity for every start of the average",
            ScalarIdentity(BALANCED_ENCODER, ALONE),
            instances=lambda rng, size: _together(rng, size).with_(scalars={v: Draw(rng).number()}),
        ),
        FalseSibling(
            "competitive",
            "sign",
            "claim that the encoder slows down as its average grows",
            Implication(sp.expand(sp.diff(BALANCED_ENCODER, v)) < 0, given=(root_rate > 0,)),
            uses=("correlated",),
        ),
        FalseSibling(
            "region-for-every-rate",
            "quantifier",
            r"claim the trapping region for $\beta = 1/2$ as well",
            Implication(
                sp.expand(sp.Rational(1, 2) * (w - v) + sp.Rational(1, 3) * _EXAMPLE_FIELD) < 0,
                given=(sp.Eq(_EDGE, 0), w >= sp.Rational(3, 16), w <= sp.Rational(3, 4)),
            ),
        ),
    ),
    witnesses=(
        Witness(
            "balanced",
            Instance({}, {}, {w: 1, v: 1, p: 2, root_rate: 1, alpha: 1, cross: 1, variance: 1, eta: 0, beta: 1}),
        ),
        Witness(
            "started-together",
            Instance({}, {}, {w: 1, v: 0, p: 1, root_rate: 1, alpha: 1, cross: 1, variance: 1, eta: 0, beta: 1}),
        ),
        Witness(
            "correlated",
            Instance({}, {}, {w: 1, v: 1, p: 1, root_rate: 1, alpha: 1, cross: -1, variance: 1, eta: 0, beta: 1}),
        ),
    ),
    instances=_together,
    sources=(
        Source("ours"),
        Source("kamke1932", "", "comparison"),
        Source("smith1995", "Proposition 3.2.1", "monotone motions"),
        Source("tian2021", "Section 3.2", "EMA at a prescribed ratio of target to encoder"),
    ),
    belief="EMA enlarges the basin of the solution that has not collapsed.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), np.eye(1)); start = 0.75 * np.eye(1)\n"
        "jepa = LinearJEPA(views, weight_decay=3 / 16, ema_rate=1 / 20)\n"
        "end = lambda target: jepa.solve(start, start, [0.0, 900.0], target=target).encoder[-1, 0, 0]\n"
        "assert np.isclose(end(start), 0.75) and abs(end(0 * start)) < 1e-6"
    ),
)

THEOREMS = (EMA_STABILITY, EMA_BASIN)
