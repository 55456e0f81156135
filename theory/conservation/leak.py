"""A stop-gradient that leaks: a conserved quantity, and collapse at every leak (result 3.7)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Gradient, Implication, ModeRate, SolvesODE
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import StopGradient, tr
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import (
    Draw,
    P,
    Sigma_x,
    Sigma_y,
    Sigma_yx,
    W,
    alpha,
    correlation,
    cross,
    d,
    k,
    p,
    variance,
    w,
)

leak, target_variance = sp.symbols("kappa sigma_y", real=True)
w0, p0 = sp.symbols("w_0 p_0", real=True)
clock, shrunk, square = sp.symbols("T q x", real=True)

TARGET: Any = StopGradient(W) + leak * (W - StopGradient(W))
LOSS: Any = (
    tr(P * W * Sigma_x * W.T * P.T) - 2 * tr(P * W * Sigma_yx.T * TARGET.T) + tr(TARGET * Sigma_y * TARGET.T)
) / 2
FORCE: Any = P.T * (W * Sigma_yx - P * W * Sigma_x) + leak * (P * W * Sigma_yx.T - W * Sigma_y)

RHO = cross / variance
SHRINKING = variance * p**2 - (1 + leak) * cross * p + leak * target_variance
FLOW: Any = {w: -w * SHRINKING, p: alpha * w**2 * (cross - variance * p)}
ENERGY = alpha * w**2 - (p - leak * RHO) ** 2
DISSIPATION = 2 * leak * alpha * (target_variance - cross**2 / variance)

PREDICTED = RHO + (p0 - RHO) * sp.exp(-alpha * variance * clock)
WEIGHT = w0**2 + ((PREDICTED - leak * RHO) ** 2 - (p0 - leak * RHO) ** 2 - DISSIPATION * clock) / alpha
BUDGET = alpha * w0**2 + (1 - leak) ** 2 * correlation**2
RATE = 2 * leak * alpha * (target_variance - correlation * cross)
ENDS = (
    alpha > 0,
    variance > 0,
    sp.Eq(cross, correlation * variance),
    sp.And(shrunk >= 0, shrunk <= 1),
    sp.Eq(p, correlation + (p0 - correlation) * shrunk),
    sp.Eq(
        alpha * square, alpha * w0**2 + (p - leak * correlation) ** 2 - (p0 - leak * correlation) ** 2 - RATE * clock
    ),
    RATE * clock >= BUDGET,
)

LEAKS = Assumption(
    "leaks", r"a fraction $\kappa > 0$ of the target's gradient reaches the encoder", Inequality(leak > 0)
)
IMPERFECT = Assumption(
    "imperfect-correlation",
    r"the views are not perfectly correlated, $\lambda^2 < \sigma\sigma_y$ ($|\rho| < 1$ if $\sigma_y = \sigma$)",
    Inequality(cross**2 < variance * target_variance),
)


def _conserved(sign: int = 1, constant: Any = 2, ratio: Any = None) -> Any:
    """Return the conserved quantity, its logarithm written ½ ln(λ − σp)², good on both sides of p = ρ."""
    ratio = target_variance / variance if ratio is None else ratio
    logarithm = sp.log((cross - variance * p) ** 2) / 2
    return w**2 - p**2 / alpha - constant * leak / alpha * (-RHO * p + sign * (ratio - RHO**2) * logarithm)


def _leaking(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    context, target, both = draw.moments(columns)
    matrices = {
        W: draw.matrix(rows, columns),
        P: draw.matrix(rows, rows),
        Sigma_x: context,
        Sigma_y: target,
        Sigma_yx: both,
    }
    spread, rho, rate, fraction = draw.positive(), draw.number(), draw.positive(), draw.positive()
    begin, weight, share = draw.number(), draw.positive(), draw.positive()
    share = share / (share + draw.positive())
    second = rho * rho * spread + draw.positive()
    predictor = rho + (begin - rho) * share
    lost = 2 * fraction * rate * (second - rho * rho * spread)
    reading = (rate * weight * weight + (1 - fraction) ** 2 * rho * rho) / lost + draw.positive()
    change = (predictor - fraction * rho) ** 2 - (begin - fraction * rho) ** 2
    scalars = {
        w: draw.positive(),
        p: predictor,
        w0: weight,
        p0: begin,
        alpha: rate,
        leak: fraction,
        correlation: rho,
        cross: rho * spread,
        variance: spread,
        target_variance: second,
        shrunk: share,
        clock: reading,
        square: weight * weight + (change - lost * reading) / rate,
    }
    return Instance({k: rows, d: columns}, matrices, scalars)


def _mode(fraction: int, rho: int) -> Instance:
    values = {w: 1, p: 2, alpha: 1, leak: fraction, correlation: rho, cross: rho, variance: 1, target_variance: 1}
    entries = {W: 1, P: 2, Sigma_x: 1, Sigma_y: 1, Sigma_yx: rho}
    return Instance({k: 1, d: 1}, {letter: matrix([[entry]]) for letter, entry in entries.items()}, values)


DISSIPATES = Implication(
    2 * leak * alpha * (variance * target_variance - cross**2) * w**2 > 0,
    given=(alpha > 0, variance > 0, sp.Ne(w, 0)),
)

LEAKY = Theorem(
    name="leaky-stop-gradient",
    title="However little a stop-gradient leaks, the encoder collapses",
    chapter=3,
    statement=(
        r"Let the gradient through the target $V = W$ be scaled by $\kappa$ ($0$: stop-gradient, $1$: none) in the flow of"
        r" $\frac12 \mathbb{E}\lVert P W x - W y \rVert^2$ without decay. One mode then moves by $\dot w = -w(\sigma p^2 -"
        r" (1+\kappa)\lambda p + \kappa\sigma_y)$, $\dot p = \alpha w^2(\lambda - \sigma p)$, with $\sigma$, $\sigma_y$ the"
        r" views' variances and $\rho = \lambda/\sigma$, and conserves $w^2 - p^2/\alpha - \frac{2\kappa}{\alpha}"
        r" [-\rho p + (\sigma_y/\sigma - \rho^2) \ln|\lambda - \sigma p|]$. In the clock $T = \int w^2 dt$ it is solved in"
        r" closed form: $p = \rho + (p_0 - \rho) e^{-\alpha\sigma T}$ and $\alpha w^2 = \alpha w_0^2 + (p - \kappa\rho)^2 -"
        r" (p_0 - \kappa\rho)^2 - 2\kappa\alpha(\sigma_y - \rho\lambda) T$. If $\kappa > 0$ and the views are not perfectly"
        r" correlated, every mode collapses: $\int_0^\infty w^2 dt \le (\alpha w_0^2 + (1-\kappa)^2\rho^2) /"
        r" (2\kappa\alpha(\sigma_y - \rho\lambda))$ from any start, and the predictor stops short of $\rho$ unless it starts there."
    ),
    assumptions=(LEAKS, IMPERFECT),
    proof=(
        Step(
            Gradient(LOSS, W, FORCE, named="L"),
            r"The target is $\operatorname{sg}(W) + \kappa(W - \operatorname{sg}(W))$; on one mode of the covariances its"
            r" force, with $\dot P = \alpha(W \Sigma_{yx} - P W \Sigma_x) W^{\top}$, is the flow stated.",
            conclusion=True,
        ),
        Step(
            ModeRate(_conserved(), FLOW, sp.S.Zero),
            r"Divide: $d(w^2)/dp$ is a rational function of $p$, and this is its integral (the logarithm is"
            r" $\frac12 \ln (\lambda - \sigma p)^2$).",
            conclusion=True,
        ),
        Step(
            ModeRate(ENERGY, FLOW, -DISSIPATION * w**2),
            r"Without the logarithm: what stop-gradient conserves, shifted to $p - \kappa\rho$, is dissipated in proportion"
            r" to $w^2$.",
            conclusion=True,
        ),
        Step(
            DISSIPATES,
            r"The dissipation, times $\sigma$, is strictly positive while the mode lives.",
            uses=("leaks", "imperfect-correlation"),
            conclusion=True,
        ),
        Step(
            SolvesODE(PREDICTED, p, clock, alpha * (cross - variance * p), p0),
            r"With $dT = w^2 dt$ the predictor's equation is linear: it only ever approaches $\rho$.",
        ),
        Step(
            SolvesODE(WEIGHT, square, clock, -2 * SHRINKING.subs(p, PREDICTED), w0**2),
            r"The equation of $x = w^2$ then integrates.",
        ),
        Step(
            Implication(
                (p - leak * correlation) ** 2 <= (p0 - leak * correlation) ** 2 + (1 - leak) ** 2 * correlation**2,
                given=(sp.And(shrunk >= 0, shrunk <= 1), sp.Eq(p, correlation + (p0 - correlation) * shrunk)),
            ),
            r"The predictor stays between $p_0$ and $\rho$, so that a square of it is bounded.",
            conclusion=True,
        ),
        Step(
            Implication(square <= 0, given=ENDS),
            r"Hence $x(T)$ reaches zero at a finite reading of the clock, at the latest at the one stated. In time,"
            r" $\dot T = x(T) \ge 0$ and $T$ is bounded, so that $T$ converges, and its limit can only be the first zero of"
            r" $x$: $w \to 0$. As that reading is finite, $p \ne \rho$ in the limit unless $p_0 = \rho$.",
            uses=("leaks", "imperfect-correlation"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "sign-of-the-logarithm",
            "sign",
            "change the sign of the logarithm",
            ModeRate(_conserved(sign=-1), FLOW, sp.S.Zero),
        ),
        FalseSibling(
            "half-the-leak",
            "constant",
            r"take $\kappa/\alpha$ for $2\kappa/\alpha$",
            ModeRate(_conserved(constant=1), FLOW, sp.S.Zero),
        ),
        FalseSibling(
            "equal-variances-understood",
            "exchange",
            r"write $1 - \rho^2$ also where the views differ in variance",
            ModeRate(_conserved(ratio=sp.S.One), FLOW, sp.S.Zero),
        ),
        FalseSibling(
            "stop-gradient-too",
            "quantifier",
            r"claim the dissipation without asking for a leak",
            DISSIPATES,
            uses=("imperfect-correlation",),
        ),
        FalseSibling(
            "unshifted",
            "omission",
            r"claim that $\alpha w^2 - p^2$ itself is dissipated at that rate",
            ModeRate(alpha * w**2 - p**2, FLOW, -DISSIPATION * w**2),
        ),
    ),
    witnesses=(
        # The stop-gradient itself: nothing is dissipated, the mode survives.
        Witness("leaks", _mode(0, 0)),
        # y = x: at p = 1 the encoder feels no force, whatever leaks.
        Witness("imperfect-correlation", _mode(1, 1)),
    ),
    instances=_leaking,
    sources=(
        Source("ours"),
        Source("tian2021", "Theorem 2", r"$\kappa = 1$: no stop-gradient, every mode decays"),
    ),
    belief="A stop-gradient that lets a small part of the gradient through delays nothing but the optimum's last digits.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "lam, leak = 0.8, 0.05\n"
        "field = lambda s: {'w': -s['w'] * (s['p']**2 - (1 + leak) * lam * s['p'] + leak), 'p': s['w']**2 * (lam - s['p'])}\n"
        "path = integrate(field, {'w': np.ones((1, 1)), 'p': np.zeros((1, 1))}, np.array([0.0, 50.0, 500.0]))\n"
        "w = path.states['w'].ravel(); assert w[1] > 0.3 and w[2] < 1e-3"
    ),
)

THEOREMS = (LEAKY,)
