"""Predictors that are set from the embedding covariance, p = s^a: one trajectory in clocks of their own (5.9)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, SolvesODE
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, cross, eta, p, s, variance, w
from jepalign.theory.special import LambertUpper

exponent, time, start, y, factor = sp.symbols("a t p_0 y c", real=True)
SET = sp.log(p) - exponent * sp.log(s) - sp.log(factor)
"""Zero where p = c s^a."""

BYOL = 2 * s * (p * (cross - variance * p) - eta)
RESIDUAL = 2 * s * (cross - variance * p - eta)
MODE = p * (p * (cross - variance * p) - eta)


def _set(rng: random.Random, size: int) -> Instance:
    """Draw integer powers, so that everything is rational."""
    draw = Draw(rng)
    power, value, scale = rng.randint(1, 3), draw.positive(), draw.positive()
    scalars = {
        exponent: power,
        factor: scale,
        p: scale * value**power,
        cross: draw.number(),
        variance: draw.positive(),
        eta: draw.positive(),
        w: draw.number(),
        s: value,
        time: draw.positive(),
        start: draw.positive(),
        y: draw.number(),
    }
    if scalars[cross] == scalars[eta]:
        return _set(rng, size)
    return Instance({}, {}, scalars)


_ONE: dict[Any, Any] = {
    exponent: 1,
    factor: 1,
    p: 2,
    cross: 3,
    variance: 1,
    eta: 1,
    w: 1,
    s: 2,
    time: 1,
    start: 1,
    y: 0,
}

CLOCK = Theorem(
    name="set-predictor-clock",
    title="DirectPred, DirectCopy and all powers between are one mode in different clocks",
    chapter=5,
    statement=(
        r"Let the predictor be set from the embedding covariance, $p = c s^a$ with $s = \sigma w^2$ and any constant $c > 0$"
        r" (DirectPred $a = \frac12$ [@tian2021], DirectCopy $a = 1$ [@wang2021]; $c$ absorbs every normalisation). Then $\dot p = 2a\,"
        r" p [p(\lambda - \sigma p) - \eta]$: the balanced mode in a clock that runs $2a$ times as fast. Equilibria, the critical weight"
        r" decay $\lambda^2/(4\sigma)$ and the basin $p > p_{-}$ depend on neither $a$ nor $c$; of the variance they ask $s >"
        r" (p_{-}/c)^{1/a}$."
    ),
    assumptions=(),
    proof=(
        Step(
            ModeRate(
                variance * w**2,
                {w: p * (cross - variance * p) * w - eta * w},
                2 * variance * w**2 * (p * (cross - variance * p) - eta),
                named="s",
            ),
            r"The encoder's mode moves $s = \sigma w^2$ at twice its relative rate.",
        ),
        Step(
            ModeRate(SET, {p: 2 * exponent * MODE, s: BYOL}, sp.S.Zero, with_flow=True),
            r"If $p$ moves by this equation and $s$ by the encoder's, $p = c s^a$ stays true: $\dot p/p = a \dot s/s$.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent(2 * exponent * MODE > 0, MODE > 0), given=(exponent > 0,)),
            r"A positive factor changes no sign: equilibria, thresholds and basins are those of $a = \frac12$, the balanced mode.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "single-clock",
            "constant",
            r"claim the clock $a$",
            ModeRate(SET, {p: exponent * MODE, s: BYOL}, sp.S.Zero, with_flow=True),
        ),
        FalseSibling(
            "residual-form",
            "exchange",
            "claim the same of the residual form",
            ModeRate(SET, {p: 2 * exponent * MODE, s: RESIDUAL}, sp.S.Zero, with_flow=True),
        ),
        FalseSibling(
            "any-exponent",
            "quantifier",
            "claim the same signs for every exponent, negative or not",
            Implication(sp.Equivalent(2 * exponent * MODE > 0, MODE > 0)),
        ),
    ),
    witnesses=(),
    instances=_set,
    sources=(
        Source("tian2021", "(18)", "DirectPred"),
        Source("wang2021", "", "DirectCopy"),
        Source("halvagal2023", "", "powers of the covariance"),
        Source("ours", "", "one field for all"),
    ),
    belief="The exponent of a set predictor tunes how strongly it resists collapse.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "f = lambda a: lambda s: {'s': 2 * s['s'] * ((q := s['s'] ** a) * (0.8 - q) - 0.1)}\n"
        "p = lambda a, t: integrate(f(a), {'s': np.asarray(0.5 ** (1 / a))}, [0.0, t]).states['s'][-1] ** a\n"
        "assert np.isclose(p(0.5, 4.0), p(1.0, 2.0)) and np.isclose(p(0.5, 4.0), p(2.0, 1.0))"
    ),
)

LIMIT = (cross - eta) / variance
LOGISTIC = LIMIT / (1 + (LIMIT / start - 1) * sp.exp(-2 * exponent * (cross - eta) * time))
AT_BALANCE = start / (1 + 2 * exponent * variance * start * time)
POSITIVE = Assumption("positive", r"the mode has variance, so that $p = c s^a > 0$", Inequality(p > 0))
VELOCITY = 2 * exponent * p * (cross - eta - variance * p)


def _iso(rng: random.Random, size: int) -> Instance:
    """Draw modes that survive and modes that do not, by turns."""
    instance, margin = _set(rng, size), Draw(rng).positive()
    decay = instance.scalars[eta]
    return instance.with_(scalars={cross: decay + margin if size % 2 else decay - margin})


ISOLOSS = Theorem(
    name="isoloss-logistic",
    title="In residual form a set predictor is logistic, and weight decay only lowers its level",
    chapter=5,
    statement=(
        r"In the residual form (IsoLoss, [@halvagal2023]) $\dot s = 2s(\lambda - \sigma p - \eta)$, so that $p = c s^a$ is logistic:"
        r" $\dot p = 2a\, p(\lambda - \eta - \sigma p)$, for $\lambda \ne \eta$ $p(t) = p_\infty/[1 + (p_\infty/p_0 - 1) e^{-2a(\lambda"
        r" - \eta)t}]$ with $p_\infty = \rho - \eta/\sigma$. A mode survives iff $\lambda > \eta$, from every start: no threshold in"
        r" $p$, unlike the BYOL form. At $\lambda = \eta$ it dies like $p_0/(1 + 2a\sigma p_0 t)$."
    ),
    assumptions=(POSITIVE,),
    proof=(
        Step(
            ModeRate(SET, {p: 2 * exponent * p * (cross - eta - variance * p), s: RESIDUAL}, sp.S.Zero, with_flow=True),
            r"Without the preconditioning factor $p$.",
            conclusion=True,
        ),
        Step(
            SolvesODE(LOGISTIC, p, time, 2 * exponent * p * (cross - eta - variance * p), start),
            "The logistic equation.",
            conclusion=True,
        ),
        Step(
            SolvesODE(AT_BALANCE, p, time, -2 * exponent * variance * p**2, start),
            r"The borderline $\lambda = \eta$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(VELOCITY > 0, variance * p < cross - eta),
                given=(exponent > 0, variance > 0),
            ),
            r"From every positive start $p$ moves towards $p_\infty$,",
            uses=("positive",),
            conclusion=True,
        ),
        Step(
            Implication(VELOCITY < 0, given=(exponent > 0, variance > 0, cross <= eta)),
            r"which is positive iff $\lambda > \eta$; otherwise $p$ only falls.",
            uses=("positive",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "rate-of-the-cross-covariance",
            "omission",
            r"forget that weight decay slows the approach: rate $2a\lambda$",
            SolvesODE(
                LIMIT / (1 + (LIMIT / start - 1) * sp.exp(-2 * exponent * cross * time)),
                p,
                time,
                2 * exponent * p * (cross - eta - variance * p),
                start,
            ),
        ),
        FalseSibling(
            "level",
            "sign",
            r"claim the level $\rho + \eta/\sigma$",
            ModeRate(SET, {p: 2 * exponent * p * (cross + eta - variance * p), s: RESIDUAL}, sp.S.Zero, with_flow=True),
        ),
        FalseSibling(
            "half-rate",
            "constant",
            r"claim the clock $a$",
            ModeRate(SET, {p: exponent * p * (cross - eta - variance * p), s: RESIDUAL}, sp.S.Zero, with_flow=True),
        ),
    ),
    witnesses=(Witness("positive", Instance({}, {}, {**_ONE, p: -2})),),
    instances=_iso,
    sources=(Source("halvagal2023", "", "IsoLoss"), Source("ours", "", "closed form with decay")),
    belief="IsoLoss is DirectPred with a different learning rate.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "end = integrate(lambda s: {'s': 2 * s['s'] * (0.8 - s['s'] - 0.3)}, {'s': np.asarray(0.01)}, [0.0, 3.0]).states['s'][-1]\n"
        "assert np.isclose(end, 0.5 / (1 + 49 * np.exp(-2 * 0.5 * 3.0)))"
    ),
)

GAP = sp.exp(y) - 1  # u₀ = 1/s₀ − 1 > −1
upper: Any = LambertUpper
LAMBERT = 1 / (1 + upper(GAP * sp.exp(GAP - 2 * time)))


def _unit(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    value = draw.positive()
    return Instance({}, {}, {s: value, y: draw.number(), time: draw.positive()})


DIRECTCOPY = Theorem(
    name="directcopy-lambert",
    title="DirectCopy on a perfectly predictable unit mode is Lambert's function",
    chapter=5,
    statement=(
        r"For $a = 1$, $\lambda = \sigma = 1$ and no decay, $\dot s = 2s^2(1 - s)$, and from any $s_0 > 0$, with $u_0 = 1/s_0 - 1 >"
        r" -1$, $s(t) = 1/(1 + W_0(u_0 e^{u_0 - 2t}))$ with the upper branch of Lambert's $W$: below and above the equilibrium"
        r" $s = 1$ alike. (Written with $u_0 = e^y - 1$.)"
    ),
    assumptions=(),
    proof=(
        Step(
            ModeRate(1 / s - 1, {s: 2 * s**2 * (1 - s)}, -2 * (1 - s), named="u"),
            r"The gap $u = 1/s - 1$ obeys $\dot u = -2u/(1+u)$, so that $u e^u$ decays at the rate $2$.",
            conclusion=True,
        ),
        Step(
            SolvesODE(LAMBERT, s, time, 2 * s**2 * (1 - s), sp.exp(-y)),
            r"Substitute, with $W_0' = W_0/(x(1 + W_0))$ and $W_0(u e^u) = u$ for $u > -1$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "slower",
            "constant",
            r"write $e^{u_0 - t}$",
            SolvesODE(1 / (1 + upper(GAP * sp.exp(GAP - time))), s, time, 2 * s**2 * (1 - s), sp.exp(-y)),
        ),
        FalseSibling(
            "first-power",
            "exchange",
            r"claim it of the logistic field $2s(1 - s)$",
            SolvesODE(LAMBERT, s, time, 2 * s * (1 - s), sp.exp(-y)),
        ),
        FalseSibling(
            "grows",
            "sign",
            r"claim that the gap grows",
            ModeRate(1 / s - 1, {s: 2 * s**2 * (1 - s)}, 2 * (1 - s)),
        ),
    ),
    witnesses=(),
    instances=_unit,
    sources=(Source("ours"), Source("wang2021", "", "DirectCopy"), Source("corless2002", "", "the function")),
    belief="Set predictors have no closed trajectories.",
    example=(
        "import numpy as np\n"
        "from scipy.special import lambertw\n"
        "from jepalign.linear_models.flow import integrate\n"
        "end = integrate(lambda z: {'s': 2 * z['s'] ** 2 * (1 - z['s'])}, {'s': np.asarray(0.1)}, [0.0, 6.0]).states['s'][-1]\n"
        "assert np.isclose(end, 1 / (1 + lambertw(9 * np.exp(9 - 12)).real))"
    ),
)

THEOREMS = (CLOCK, ISOLOSS, DIRECTCOPY)
