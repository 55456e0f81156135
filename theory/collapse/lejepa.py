"""LeJEPA: alignment and an explicit uniformity alone, without predictor, stop-gradient or averaged target (after 4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.collapse.hybrid_thresholds import REPELS, at_zero
from jepalign.theory.collapse.hybrids import POTENTIAL, first, gamma, second, target
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, correlation, cross, eta, variance, w

trade, batch, dimension, several = sp.symbols("tau n k V", real=True)
"""Published trade-off of prediction (1 − τ) and SIGReg (τ), batch size, dimensions, global views of a sample."""

PAIR = (
    variance * w**2 - 2 * cross * w * target + variance * target**2
) / 2  # ½E‖z − z⁺‖² with the other view's weight apart
ALIGNMENT: Any = PAIR.subs(target, w) / 2
LOSS: Any = ALIGNMENT + eta * w**2 / 2 + gamma * POTENTIAL
NEED = variance - cross + eta
FORCE = -2 * variance * (first + 2 * second * variance * w**2)  # φ(s) = −2σU'(s)
WEAKENING = -4 * variance * second  # φ'(s)
FIELD = -NEED * w + gamma * FORCE * w
SPREAD = variance * w**2 - (variance + (several - 1) * cross) * w**2 / several
PUBLISHED = (1 - trade) * SPREAD + trade * batch / dimension * POTENTIAL

BELOW = Assumption("below-one", r"the views are correlated below one, $\lambda < \sigma$", Inequality(cross < variance))
_SIGNS = (variance > 0, eta >= 0)


def _mode(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    sigma = draw.positive()
    both = sigma - draw.positive()
    scalars = {
        variance: sigma,
        cross: both,
        correlation: both / sigma,
        eta: draw.positive(),
        w: draw.positive(),
        target: draw.number(),
        gamma: draw.positive(),
        at_zero: draw.positive(),
        first: draw.number(),
        second: draw.number(),
        trade: 1 / (1 + draw.positive()),
        batch: draw.positive(),
        dimension: draw.positive(),
        several: 1 + draw.positive(),
    }
    return Instance({}, {}, scalars)


def _one(**changes: Any) -> Instance:
    letters = {
        "sigma": variance,
        "lambda_": cross,
        "rho": correlation,
        "eta": eta,
        "w": w,
        "v": target,
        "gamma": gamma,
        "phi": at_zero,
        "first": first,
        "second": second,
        "n": batch,
        "k": dimension,
    }
    values = dict.fromkeys(letters, 1) | changes
    scalars = {letter: values[name] for name, letter in letters.items()}
    return Instance({}, {}, scalars | {trade: sp.Rational(1, 2), several: 2})


LEJEPA_THRESHOLD = Theorem(
    name="lejepa-threshold",
    title="Without a predictor an explicit term has to overcome alignment, and keeps modes by their correlation",
    chapter=4,
    statement=(
        r"LeJEPA [@balestriero2025] has no predictor, no stop-gradient and no averaged target. Between exchangeable views"
        r" $\frac14 \mathbb{E} \lVert z - z^+ \rVert^2 = \frac12 (\sigma - \lambda) w^2$ in a mode, so that with weight decay"
        r" and $\gamma U$ the flow is the gradient of a loss, $\dot w = -(\sigma - \lambda + \eta) w + \gamma\phi(s) w$; the"
        r" field is that of a stop-gradient without predictor. It rests where $\gamma\phi(s) = \sigma - \lambda + \eta$, stably"
        r" iff $\phi'(s) < 0$ (for $\gamma > 0$), and collapse is unstable iff $\gamma > (\sigma - \lambda + \eta)/\phi(0)$. For"
        r" $\lambda < \sigma$ this is more than the $\eta/\phi(0)$ of a JEPA's hybrid, whose prediction force has no linear part"
        r" at the origin. With $\phi(0) = \sigma c$ and $\eta = 0$ it reads $\gamma c > 1 - \rho$: the correlation alone"
        r" decides, no variance. The published loss $(1 - \tau)$ times the mean of $\lVert z_v - \bar z \rVert^2$ over $V$ views"
        r" plus $\tau n/k$ times $U$ is a multiple of this one with $\gamma = \frac{\tau n}{(1 - \tau) k} \frac{V}{2(V - 1)}$."
    ),
    assumptions=(REPELS, BELOW),
    proof=(
        Step(
            ScalarIdentity(-sp.Derivative(LOSS, w), FIELD),
            r"$\mathbb{E} z^2 = \mathbb{E} (z^+)^2 = \sigma w^2$ and $\mathbb{E} z z^+ = \lambda w^2$; $U$ to second order in $s ="
            r" \sigma w^2$, $\phi = -2\sigma U'$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(-sp.diff(PAIR, w).subs(target, w) - eta * w, FIELD.subs(gamma, 0)),
            r"A stop-gradient halves the gradient of $\frac12 \mathbb{E} \lVert z - z^+ \rVert^2$, which is twice the alignment.",
        ),
        Step(
            ScalarIdentity(sp.Derivative(FIELD, w), -NEED + gamma * FORCE + 2 * variance * w**2 * gamma * WEAKENING),
            r"At a rest $w \ne 0$ the first two terms cancel.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent(gamma * at_zero - NEED > 0, gamma * at_zero**2 > NEED * at_zero), given=_SIGNS),
            r"At the origin the rate is $\gamma\phi(0) - (\sigma - \lambda + \eta)$; divide by $\phi(0) > 0$.",
            uses=("repels-at-zero",),
            conclusion=True,
        ),
        Step(
            Implication(sp.Implies(gamma * at_zero > NEED, gamma * at_zero > eta), given=_SIGNS),
            r"What repels here repels in a JEPA's hybrid.",
            uses=("below-one",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(
                    gamma * at_zero * variance > variance - correlation * variance, gamma * at_zero > 1 - correlation
                ),
                given=(variance > 0,),
            ),
            r"Without decay the variance divides out.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                PUBLISHED / ((1 - trade) * 2 * (1 - 1 / several)),
                ALIGNMENT + trade * batch / ((1 - trade) * dimension) * several / (2 * (several - 1)) * POTENTIAL,
            ),
            r"The mean of $V$ views has the second moment $(\sigma + (V - 1)\lambda) w^2/V$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "threshold-of-the-hybrid",
            "exchange",
            r"put the threshold where a JEPA's hybrid has it, $\gamma\phi(0) > \eta$",
            Implication(sp.Equivalent(gamma * at_zero - NEED > 0, gamma * at_zero > eta), given=_SIGNS),
            uses=("repels-at-zero", "below-one"),
        ),
        FalseSibling(
            "correlation-against",
            "sign",
            r"let the correlation add to what has to be overcome",
            ScalarIdentity(-sp.Derivative(LOSS, w), -(variance + cross + eta) * w + gamma * FORCE * w),
        ),
        FalseSibling(
            "without-the-half",
            "constant",
            r"take the whole gradient of $\frac12 \mathbb{E} \lVert z - z^+ \rVert^2$ for that with a stop-gradient",
            ScalarIdentity(-sp.Derivative(LOSS + ALIGNMENT, w), FIELD),
        ),
        FalseSibling(
            "views-counted",
            "constant",
            r"forget that views spread about their own mean: $V$ for $V - 1$",
            ScalarIdentity(
                PUBLISHED / ((1 - trade) * 2 * (1 - 1 / several)),
                ALIGNMENT + trade * batch / ((1 - trade) * dimension) / 2 * POTENTIAL,
            ),
        ),
    ),
    witnesses=(
        Witness("repels-at-zero", _one(sigma=2, rho=sp.Rational(1, 2), eta=sp.Rational(1, 2), gamma=-2, phi=-1)),
        Witness("below-one", _one(lambda_=2, rho=2, eta=2, phi=sp.Rational(3, 2))),
    ),
    instances=_mode,
    sources=(
        Source("ours", "", "the flow, its thresholds and the map of the weights"),
        Source("balestriero2025", "", "the loss, (5) to (7)"),
    ),
    belief="LeJEPA's regulariser repels collapse at the weight at which it does beside a predictor.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.collapse import lejepa_threshold, rescue_weight\n"
        "from jepalign.linear_models.uniformity import SIGReg\n"
        "alone = lejepa_threshold([0.9, 0.5], 1.0, 0.01, uniformity=SIGReg())\n"
        "beside = rescue_weight([0.9, 0.5], 1.0, 0.01, uniformity=SIGReg()).repel\n"
        "assert np.allclose(alone / beside, [(0.1 + 0.01) / 0.01, (0.5 + 0.01) / 0.01])"
    ),
)

THEOREMS = (LEJEPA_THRESHOLD,)
