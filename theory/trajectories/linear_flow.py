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
beta, gap, time, encoder, target, w0, v0 = sp.symbols("beta delta t w v w_0 v_0", real=True)

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
ROOT = Assumption(
    "discriminant",
    r"$\lambda = (\delta^2 - (\sigma + \eta - \beta)^2)/(4\beta)$, that is $\delta = \sqrt{(\sigma+\eta-\beta)^2 + 4\beta\lambda}$",
    Equation(cross, (gap**2 - (variance + eta - beta) ** 2) / (4 * beta)),
)

fast_rate, slow_rate = ((variance + eta + beta + sign * gap) / 2 for sign in (1, -1))


def _field(predictor: Any) -> Any:
    residual = SOLUTION[V] * Sigma_yx - predictor * SOLUTION[W] * Sigma_x
    return predictor.T * residual - eta * SOLUTION[W]


def _two_rates(start: Any, velocity: Any, sign: int = 1) -> Any:
    """Return the sum of the two exponentials with the given value and velocity at time 0."""
    fast, slow = -(velocity + slow_rate * start) / gap, (velocity + fast_rate * start) / gap
    return fast * sp.exp(-fast_rate * time) + sign * slow * sp.exp(-slow_rate * time)


W_RATE, V_RATE = cross * v0 - (variance + eta) * w0, beta * (w0 - v0)
W_PATH, V_PATH = _two_rates(w0, W_RATE), _two_rates(v0, V_RATE)
# δ = 0: both rates are r = (σ+η+β)/2, and λ is what the vanishing discriminant makes it.
DOUBLE, CRITICAL = (variance + eta + beta) / 2, -((variance + eta - beta) ** 2) / (4 * beta)


def _double(start: Any, velocity: Any) -> Any:
    return (start + (velocity + DOUBLE * start) * time) * sp.exp(-DOUBLE * time)


def _lagging(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    context, _, both = draw.moments(columns)
    values = {letter: draw.matrix(columns, columns) for letter in F.values()}
    values |= {W0: draw.matrix(rows, columns), V0: draw.matrix(rows, columns), P: eye(rows)}
    spread, decay, follow, root = draw.positive(), draw.positive(), draw.positive(), draw.positive()
    scalars = {
        variance: spread,
        eta: decay,
        beta: follow,
        gap: root,
        cross: (root * root - (spread + decay - follow) ** 2) / (4 * follow),
        w0: draw.number(),
        v0: draw.number(),
        time: draw.positive(),
    }
    return Instance({k: rows, d: columns}, values | {Sigma_x: context, Sigma_yx: both}, scalars)


def _mode(predictor: int = 1, discriminant: int = 2) -> Instance:
    """Return σ = β = λ = 1, η = 0, for which δ = 2."""
    values = {W0: 1, V0: 2, P: predictor, Sigma_x: 1, Sigma_yx: 1} | dict.fromkeys(F.values(), 1)
    scalars = {variance: 1, eta: 0, beta: 1, cross: 1, gap: discriminant, w0: 1, v0: 2, time: 1}
    return Instance({k: 1, d: 1}, {letter: matrix([[x]]) for letter, x in values.items()}, scalars)


LAG = Theorem(
    name="ema-without-predictor",
    title="With an averaged target and no predictor the flow is linear, and solved",
    chapter=5,
    statement=(
        r"Without a predictor $\dot W = V \Sigma_{yx} - W \Sigma_x - \eta W$, $\dot V = \beta(W - V)$ is linear:"
        r" $[W \; V](t) = [W_0 \; V_0]\, F$ with one exponential $F = \exp t\begin{pmatrix} -\Sigma_x - \eta I & \beta I \\"
        r" \Sigma_{yx} & -\beta I \end{pmatrix}$ of size $2d$, for any covariances and any starts. One mode is a sum of two"
        r" exponentials, with rates $r_\pm = \frac12 [\sigma + \eta + \beta \pm \delta]$, $\delta ="
        r" \sqrt{(\sigma + \eta - \beta)^2 + 4\beta\lambda}$ (imaginary, and the mode oscillates, where $\lambda$ is very"
        r" negative; with a linear factor where $\delta = 0$): $w = [(\dot w_0 + r_+ w_0) e^{-r_- t} - (\dot w_0 + r_- w_0)"
        r" e^{-r_+ t}]/\delta$, and $v$ likewise. For $\beta, \sigma + \eta > 0$ it dies if and only if $\lambda < \sigma + \eta$."
        r" A target that lags only slows this: $r_- < \beta$, and $r_- < \sigma + \eta - \lambda$, the rate without lag, for $\lambda > 0$."
    ),
    assumptions=(NO_PREDICTOR, ROOT),
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
            r"On one mode the two rates add up to $\sigma + \eta + \beta$ and multiply to $\beta(\sigma + \eta - \lambda)$; the"
            r" two exponentials with the right value and velocity at $t = 0$ solve the equation of $w$",
            uses=("discriminant",),
            conclusion=True,
        ),
        Step(
            SolvesODE(V_PATH, target, time, beta * (W_PATH - target), v0),
            r"and that of $v$.",
            uses=("discriminant",),
            conclusion=True,
        ),
        Step(
            SolvesODE(
                _double(w0, W_RATE.subs(cross, CRITICAL)),
                encoder,
                time,
                CRITICAL * _double(v0, V_RATE) - (variance + eta) * encoder,
                w0,
            ),
            r"Where $\delta = 0$ both rates are one, and a linear factor takes the place of the second exponential.",
        ),
        Step(
            Implication(
                sp.Equivalent(slow_rate > 0, cross < variance + eta),
                given=(
                    beta > 0,
                    variance + eta > 0,
                    gap >= 0,
                    sp.Eq(gap**2, (variance + eta - beta) ** 2 + 4 * beta * cross),
                ),
            ),
            r"Both rates are positive if and only if their product is. (An imaginary $\delta$ needs $\lambda < 0$ and leaves"
            r" the real part $\frac12(\sigma + \eta + \beta) > 0$.)",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(slow_rate < variance + eta - cross, slow_rate < beta),
                given=(
                    beta > 0,
                    cross > 0,
                    cross < variance + eta,
                    gap >= 0,
                    sp.Eq(gap**2, (variance + eta - beta) ** 2 + 4 * beta * cross),
                ),
            ),
            r"The characteristic polynomial is negative at $\sigma + \eta - \lambda$ and at $\beta$, so both lie between the"
            r" rates.",
        ),
    ),
    siblings=(
        FalseSibling(
            "rates-exchanged",
            "exchange",
            "exchange the two rates in the exponents",
            SolvesODE(
                (W_RATE + fast_rate * w0) / gap * sp.exp(-fast_rate * time)
                - (W_RATE + slow_rate * w0) / gap * sp.exp(-slow_rate * time),
                encoder,
                time,
                cross * V_PATH - (variance + eta) * encoder,
                w0,
            ),
            uses=("discriminant",),
        ),
        FalseSibling(
            "sum-of-the-exponentials",
            "sign",
            "add the fast exponential instead of subtracting it",
            SolvesODE(_two_rates(w0, W_RATE, sign=-1), encoder, time, cross * V_PATH - (variance + eta) * encoder, w0),
            uses=("discriminant",),
        ),
        FalseSibling(
            "instant-target",
            "omission",
            r"claim of the target that it is where the encoder is, $\dot v = 0$",
            SolvesODE(V_PATH, target, time, sp.S.Zero, v0),
            uses=("discriminant",),
        ),
        FalseSibling(
            "lag-hastens",
            "sign",
            r"claim that the lag makes the mode die faster than $\sigma + \eta - \lambda$",
            Implication(
                slow_rate > variance + eta - cross,
                given=(beta > 0, cross > 0, gap >= 0, sp.Eq(gap**2, (variance + eta - beta) ** 2 + 4 * beta * cross)),
            ),
        ),
        FalseSibling(
            "survives-by-lag",
            "quantifier",
            r"claim that a slow enough target keeps a mode with $\lambda < \sigma + \eta$ alive",
            Implication(
                slow_rate <= 0,
                given=(
                    beta > 0,
                    beta < variance + eta - cross,
                    gap >= 0,
                    sp.Eq(gap**2, (variance + eta - beta) ** 2 + 4 * beta * cross),
                ),
            ),
        ),
    ),
    witnesses=(
        Witness("no-predictor", _mode(predictor=2)),
        Witness("discriminant", _mode(discriminant=1)),
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
