"""A moving-average target without a predictor: a linear flow, solved (result 5.7)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Implication, Rate, SolvesODE
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, identity
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, Sigma_yx, V, W, cross, d, eta, k, variance

W0: Any = sp.MatrixSymbol("W_0", k, d)
V0: Any = sp.MatrixSymbol("V_0", k, d)
F: dict[tuple[int, int], Any] = {(i, j): sp.MatrixSymbol(f"F_{{{i}{j}}}", d, d) for i in (1, 2) for j in (1, 2)}
beta, time, encoder, target, w0, v0 = sp.symbols("beta t w v w_0 v_0", real=True)
fast, slow, double = sp.symbols("r_+ r_- r", real=True)

SOLUTION: dict[Any, Any] = {
    W: Named("W", W0 * F[1, 1] + V0 * F[2, 1]),
    V: Named("V", W0 * F[1, 2] + V0 * F[2, 2]),
}
# Ḟ = FA with A = [−Σ_x − ηI, βI; Σ_yx, −βI], block by block.
EXPONENTIAL: Any = {
    F[i, j]: (-F[i, 1] * (Sigma_x + eta * identity(d)) + F[i, 2] * Sigma_yx, beta * (F[i, 1] - F[i, 2]))[j - 1]
    for i, j in F
}
START: Any = {F[1, 1]: identity(d), F[1, 2]: sp.ZeroMatrix(d, d), F[2, 1]: sp.ZeroMatrix(d, d), F[2, 2]: identity(d)}

NO_PREDICTOR = Assumption("no-predictor", "there is no predictor, $P = I$", Equation(P, identity(k)))
SUM = Assumption("sum-of-rates", r"$r_+ + r_- = \sigma + \eta + \beta$", Equation(variance, fast + slow - eta - beta))
PRODUCT = Assumption(
    "product-of-rates",
    r"$r_+ r_- = \beta(\sigma + \eta - \lambda)$, written without $\sigma$",
    Equation(cross, fast + slow - beta - fast * slow / beta),
)
MODE = ("sum-of-rates", "product-of-rates")
RATES = (
    beta > 0,
    fast >= slow,
    sp.Eq(fast + slow, variance + eta + beta),
    sp.Eq(fast * slow, beta * (variance + eta - cross)),
)


def _field(predictor: Any) -> Any:
    residual = SOLUTION[V] * Sigma_yx - predictor * SOLUTION[W] * Sigma_x
    return predictor.T * residual - eta * SOLUTION[W]


def _two_rates(start: Any, velocity: Any, sign: int = 1) -> Any:
    """Return the sum of the two exponentials with the given value and velocity at time 0."""
    lasting, passing = (velocity + fast * start), (velocity + slow * start)
    return (lasting * sp.exp(-slow * time) - sign * passing * sp.exp(-fast * time)) / (fast - slow)


def _one_rate(start: Any, velocity: Any) -> Any:
    return (start + (velocity + double * start) * time) * sp.exp(-double * time)


W_RATE, V_RATE = cross * v0 - (variance + eta) * w0, beta * (w0 - v0)
W_PATH, V_PATH = _two_rates(w0, W_RATE), _two_rates(v0, V_RATE)
# What λ and σ + η are where both rates are r.
CROSS, VARIANCE = 2 * double - beta - double**2 / beta, 2 * double - beta - eta


def _lagging(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    context, _, both = draw.moments(columns)
    values = {letter: draw.matrix(columns, columns) for letter in F.values()}
    values |= {W0: draw.matrix(rows, columns), V0: draw.matrix(rows, columns), P: eye(rows)}
    decay, follow, less, more = draw.positive(), draw.positive(), draw.positive(), draw.positive()
    more += less + decay + follow
    scalars = {
        variance: more + less - decay - follow,
        eta: decay,
        beta: follow,
        fast: more,
        slow: less,
        cross: more + less - follow - more * less / follow,
        w0: draw.number(),
        v0: draw.number(),
        time: draw.positive(),
    }
    return Instance({k: rows, d: columns}, values | {Sigma_x: context, Sigma_yx: both}, scalars)


def _mode(predictor: int = 1, variance_value: int = 2, cross_value: int = 0) -> Instance:
    """Return the mode σ = 2, λ = 0 at β = 1, η = 0, whose rates are 2 and 1, unless said."""
    values = {W0: 1, V0: 2, P: predictor, Sigma_x: 1, Sigma_yx: 1} | dict.fromkeys(F.values(), 1)
    scalars = {variance: variance_value, eta: 0, beta: 1, cross: cross_value, fast: 2, slow: 1, w0: 1, v0: 2, time: 1}
    return Instance({k: 1, d: 1}, {letter: matrix([[x]]) for letter, x in values.items()}, scalars)


LAG = Theorem(
    name="ema-without-predictor",
    title="With an averaged target and no predictor the flow is linear, and solved",
    chapter=5,
    statement=(
        r"Without a predictor $\dot W = V \Sigma_{yx} - W \Sigma_x - \eta W$, $\dot V = \beta(W - V)$ is linear:"
        r" $W = W_0 F_{11} + V_0 F_{21}$, $V = W_0 F_{12} + V_0 F_{22}$ with the blocks of one exponential $F = e^{At}$ of size"
        r" $2d$, $A_{11} = -\Sigma_x - \eta I$, $A_{12} = \beta I$, $A_{21} = \Sigma_{yx}$, $A_{22} = -\beta I$, for any"
        r" covariances and any starts. One mode is a sum of two exponentials with rates $r_\pm = \frac12 [\sigma + \eta +"
        r" \beta \pm \sqrt{(\sigma + \eta - \beta)^2 + 4\beta\lambda}]$: $w = [(\dot w_0 + r_+ w_0) e^{-r_- t} - (\dot w_0 + r_-"
        r" w_0) e^{-r_+ t}]/(r_+ - r_-)$, and $v$ likewise (complex rates, a mode that oscillates, need a very negative"
        r" $\lambda$; a double rate brings a factor linear in $t$). For $\beta, \sigma + \eta > 0$ it dies if and only if"
        r" $\lambda < \sigma + \eta$. A target that lags only slows this: for $\lambda > 0$ both $r_- < \beta$ and $r_- <"
        r" \sigma + \eta - \lambda$, the rate without lag."
    ),
    assumptions=(NO_PREDICTOR, SUM, PRODUCT),
    proof=(
        Step(
            Rate(SOLUTION[W], EXPONENTIAL, _field(P)),
            r"The first block column of $\dot F = F A$, multiplied by $[W_0 \; V_0]$ from the left.",
            uses=("no-predictor",),
            conclusion=True,
        ),
        Step(
            Rate(SOLUTION[V], EXPONENTIAL, beta * (SOLUTION[W] - SOLUTION[V])),
            "The second block column.",
            conclusion=True,
        ),
        Step(AfterStep(SOLUTION[W], START, W0, named="W"), r"At $t = 0$, where $F = I$, the start of the encoder,"),
        Step(AfterStep(SOLUTION[V], START, V0, named="V"), "and of the target."),
        Step(
            SolvesODE(W_PATH, encoder, time, cross * V_PATH - (variance + eta) * encoder, w0),
            r"On one mode the two exponentials with the right value and velocity at $t = 0$ solve the equation of $w$",
            uses=MODE,
            conclusion=True,
        ),
        Step(
            SolvesODE(V_PATH, target, time, beta * (W_PATH - target), v0),
            r"and that of $v$, because the rates are the roots of $(r - \sigma - \eta)(r - \beta) = \beta\lambda$.",
            uses=MODE,
            conclusion=True,
        ),
        Step(
            SolvesODE(
                _one_rate(w0, W_RATE).subs({cross: CROSS, variance: VARIANCE}),
                encoder,
                time,
                CROSS * _one_rate(v0, V_RATE) - (VARIANCE + eta) * encoder,
                w0,
            ),
            r"Where both rates are one $r$, $\sigma + \eta = 2r - \beta$ and $\lambda = 2r - \beta - r^2/\beta$, and a linear"
            r" factor takes the place of the second exponential.",
        ),
        Step(
            Implication(
                sp.Equivalent(slow > 0, cross < variance + eta),
                given=(*RATES, variance + eta > 0),
            ),
            r"Both rates are positive if and only if their product is. (Complex rates need $\lambda < 0$, and their real part"
            r" $\frac12(\sigma + \eta + \beta)$ is positive.)",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(slow < variance + eta - cross, slow < beta),
                given=(*RATES, cross > 0, cross < variance + eta),
            ),
            r"The polynomial $(r - \sigma - \eta)(r - \beta) - \beta\lambda$ is negative at $\sigma + \eta - \lambda$ and at"
            r" $\beta$, so both lie between its roots.",
        ),
    ),
    siblings=(
        FalseSibling(
            "rates-exchanged",
            "exchange",
            "exchange the two rates in the exponents",
            SolvesODE(
                ((W_RATE + fast * w0) * sp.exp(-fast * time) - (W_RATE + slow * w0) * sp.exp(-slow * time))
                / (fast - slow),
                encoder,
                time,
                cross * V_PATH - (variance + eta) * encoder,
                w0,
            ),
            uses=MODE,
        ),
        FalseSibling(
            "sum-of-the-exponentials",
            "sign",
            "add the fast exponential instead of subtracting it",
            SolvesODE(_two_rates(w0, W_RATE, sign=-1), encoder, time, cross * V_PATH - (variance + eta) * encoder, w0),
            uses=MODE,
        ),
        FalseSibling(
            "instant-target",
            "omission",
            r"claim that the target stays where it was, $\dot v = 0$",
            SolvesODE(V_PATH, target, time, sp.S.Zero, v0),
            uses=MODE,
        ),
        FalseSibling(
            "lag-hastens",
            "sign",
            r"claim that the lag makes the mode die faster than $\sigma + \eta - \lambda$",
            Implication(slow > variance + eta - cross, given=(*RATES, cross > 0, cross < variance + eta)),
        ),
        FalseSibling(
            "survives-by-lag",
            "quantifier",
            r"claim that a slow enough target keeps a mode with $\lambda < \sigma + \eta$ alive",
            Implication(slow <= 0, given=(*RATES, beta < variance + eta - cross)),
        ),
    ),
    witnesses=(
        Witness("no-predictor", _mode(predictor=2)),
        # The rates 1 and 2 of σ = 2, λ = 0 at β = 1, put to a mode of other variance or other cross-covariance.
        Witness("sum-of-rates", _mode(variance_value=1)),
        Witness("product-of-rates", _mode(cross_value=1)),
    ),
    instances=_lagging,
    sources=(Source("ours"),),
    belief="A target that lags behind the encoder needs a nonlinear analysis.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "lam, beta, w, v, t = 0.8, 0.3, 1.0, 0.2, 2.0\n"
        "path = integrate(lambda s: {'w': lam * s['v'] - s['w'], 'v': beta * (s['w'] - s['v'])}, {'w': w, 'v': v}, [0.0, t])\n"
        "gap = np.sqrt((1 - beta)**2 + 4 * beta * lam); fast, slow = (1 + beta + gap) / 2, (1 + beta - gap) / 2; rate = lam * v - w\n"
        "assert np.isclose(((rate + fast * w) * np.exp(-slow * t) - (rate + slow * w) * np.exp(-fast * t)) / gap, path.states['w'][1])"
    ),
)

THEOREMS = (LAG,)
