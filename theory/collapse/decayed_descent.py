"""With weight decay a mode away from balance still descends a function, and comes to rest (beyond 4.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns
penalty, imbalance, slope, gap, edge = sp.symbols("kappa c f q M", real=True)

IMBALANCE = p**2 - alpha * w**2
GAP = cross - variance * p
SLOPE = p**2 * GAP - eta * p
FLOW: Any = {w: p * GAP * w - eta * w, p: alpha * w**2 * GAP - eta * p}
BALANCED_ENERGY = -cross * p**3 / 3 + variance * p**4 / 4 + eta * p**2 / 2
ENERGY = BALANCED_ENERGY + penalty * IMBALANCE**2
FALL = -((SLOPE - GAP * IMBALANCE / 2) ** 2) - (4 * eta * penalty - GAP**2 / 4) * IMBALANCE**2

PENALISED = Assumption(
    "penalised",
    r"the penalty is strong enough where the predictor is, $16 \eta\kappa > (\lambda - \sigma p)^2$",
    Inequality(16 * eta * penalty > GAP**2),
)
NAMED = (equation(imbalance, IMBALANCE), equation(gap, GAP), equation(slope, p**2 * gap - eta * p), penalty > 0)
RATE = -(slope**2) + slope * imbalance * gap - 4 * eta * penalty * imbalance**2
AT_REST = sp.And(equation(slope, 0), equation(imbalance, 0))


def _mode(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    scalars: dict[Any, Any] = {
        alpha: draw.positive(),
        eta: draw.positive(),
        variance: draw.positive(),
        cross: draw.number(),
    }
    scalars |= {w: draw.number(), p: draw.number()}
    return _named(scalars, margin=draw.positive(), beyond=draw.positive())


def _named(scalars: dict[Any, Any], margin: Any = None, beyond: Any = 1) -> Instance:
    """Complete a mode by the letters of the claims: M beyond zero and beyond ρ, and κ by a margin (or zero without one)."""
    difference = scalars[cross] - scalars[variance] * scalars[p]
    limit = max(0, scalars[cross] / scalars[variance]) + beyond
    scalars |= {
        imbalance: scalars[p] ** 2 - scalars[alpha] * scalars[w] ** 2,
        gap: difference,
        slope: scalars[p] ** 2 * difference - scalars[eta] * scalars[p],
        edge: limit,
        penalty: sp.Rational(1, 1000) if margin is None else difference**2 / (16 * scalars[eta]) + margin,
    }
    return Instance({}, {}, scalars)


_HALF, _QUARTER, _EIGHTH = sp.Rational(1, 2), sp.Rational(1, 4), sp.Rational(1, 8)

DECAYED_DESCENT = Theorem(
    name="decayed-mode-descends",
    title="With weight decay every mode descends a function, balanced or not, and comes to rest",
    chapter=4,
    statement=(
        r"Let $V = W$, $\eta > 0$, $\sigma, \alpha > 0$ and $\lambda$ of either sign, and let $c = p^2 - \alpha w^2$ be any"
        r" imbalance. On every interval of predictors with $(\lambda - \sigma p)^2 < 16\eta\kappa$ the flow of a mode descends"
        r" $U = -\frac{\lambda}{3} p^3 + \frac{\sigma}{4} p^4 + \frac{\eta}{2} p^2 + \kappa c^2$, the energy of the balanced"
        r" predictor and the squared imbalance, strictly but at equilibria. The interval that reaches from zero and $\rho$ to"
        r" the start is never left, so that some $\kappa$ serves for the whole trajectory. So no mode oscillates: each ends,"
        r" from everywhere, at collapse or at one of the balanced equilibria $\sigma p^2 - \lambda p + \eta = 0$, $\alpha w^2 ="
        r" p^2$. Which of them, off balance, $U$ does not say."
    ),
    assumptions=(PENALISED,),
    proof=(
        Step(
            ModeRate(IMBALANCE**2, FLOW, -4 * eta * IMBALANCE**2, named=r"c^2", with_flow=True),
            r"Weight decay removes the imbalance at the rate $2\eta$.",
        ),
        Step(
            ModeRate(
                BALANCED_ENERGY,
                FLOW,
                -(SLOPE**2) + SLOPE * IMBALANCE * GAP,
            ),
            r"With $\alpha w^2 = p^2 - c$ the predictor moves by $f - c(\lambda - \sigma p)$, $f = p^2(\lambda - \sigma p) - \eta p$ being"
            r" its balanced velocity, minus the slope of this energy.",
        ),
        Step(
            ModeRate(ENERGY, FLOW, FALL, named="U"),
            r"Add and complete the square.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Or(RATE < 0, AT_REST), given=NAMED),
            r"With $q = \lambda - \sigma p$ and $16\eta\kappa > q^2$ both squares count: $U$ rests only where $f = c = 0$.",
            uses=("penalised",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(SLOPE, -p * (variance * p**2 - cross * p + eta)),
            r"These are the balanced equilibria.",
        ),
        Step(
            Implication(
                alpha * w**2 * (cross - variance * edge) - eta * edge <= 0,
                given=(edge >= 0, variance * edge >= cross, alpha > 0, eta > 0),
            ),
            r"At a $p = M \ge \max(0, \rho)$ the predictor does not grow; by the symmetry $(p, \lambda) \to (-p, -\lambda)$ it does not"
            r" fall at a $p \le \min(0, \rho)$. So it stays between the extremes of $0$, $\rho$ and its start.",
            conclusion=True,
        ),
        Step(
            Cited(
                r"\dot U \le 0 \quad\Longrightarrow\quad \text{bounded trajectories approach the largest invariant set on which"
                r" } U \text{ rests}",
                "lasalle1960",
            ),
            r"LaSalle's principle [@lasalle1960]: $p$ stays in its interval and $c$ decays, so trajectories are bounded; the"
            r" equilibria are finitely many, so the limit is one of them.",
        ),
    ),
    siblings=(
        FalseSibling(
            "energy-alone",
            "omission",
            "claim that the balanced energy falls without the penalty",
            Implication(
                sp.Or(-(slope**2) + slope * imbalance * gap <= 0, AT_REST),
                given=(*NAMED, alpha > 0, eta > 0, variance > 0),
            ),
            uses=("penalised",),
        ),
        FalseSibling(
            "any-penalty",
            "quantifier",
            "claim it for every positive penalty",
            Implication(sp.Or(RATE < 0, AT_REST), given=(*NAMED, alpha > 0, eta > 0, variance > 0)),
        ),
        FalseSibling(
            "slower-imbalance",
            "constant",
            r"let the squared imbalance decay at the rate $2\eta$",
            ModeRate(IMBALANCE**2, FLOW, -2 * eta * IMBALANCE**2),
        ),
        FalseSibling(
            "cross-term-sign",
            "sign",
            "complete the square with the other sign",
            ModeRate(
                ENERGY,
                FLOW,
                -((SLOPE + GAP * IMBALANCE / 2) ** 2) - (4 * eta * penalty - GAP**2 / 4) * IMBALANCE**2,
            ),
        ),
    ),
    witnesses=(
        # A small balanced mode with a weak penalty: the imbalance feeds the energy.
        Witness(
            "penalised",
            _named({alpha: 1, eta: _EIGHTH, variance: 1, cross: 1, w: _QUARTER, p: _HALF}),
        ),
    ),
    instances=_mode,
    sources=(
        Source("ours"),
        Source("lasalle1960", "", "convergence"),
        Source("tian2021", "Section 3", "the mode's flow"),
    ),
    belief="Off balance nothing is known of a JEPA but that balance returns.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "f = lambda s: {'w': s['p'] * (0.9 - s['p']) * s['w'] - 0.1 * s['w'], 'p': s['w'] ** 2 * (0.9 - s['p']) - 0.1 * s['p']}\n"
        "s = integrate(f, {'w': np.array([1.5]), 'p': np.array([-0.8])}, np.linspace(0, 60, 200)).states; p, w = s['p'], s['w']\n"
        "U = -0.3 * p**3 + p**4 / 4 + 0.05 * p**2 + 1.9 * (p**2 - w**2) ** 2  # 16 * 0.1 * 1.9 > (0.9 + 0.8)**2\n"
        "assert np.all(np.diff(U[:, 0]) < 1e-12)"
    ),
)

THEOREMS = (DECAYED_DESCENT,)
