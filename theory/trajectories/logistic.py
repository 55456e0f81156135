"""Logistic modes: Barlow Twins and the spectral contrastive loss (5.5 per mode, 5.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Gradient, ModeRate, ScalarIdentity, SolvesODE
from jepalign.theory.exact import Instance
from jepalign.theory.expressions import SymmetricSymbol, squared_norm
from jepalign.theory.proof import FalseSibling, Source, Step, Theorem
from jepalign.theory.setting import Draw, W, cross, d, k, variance, w

time, square, start = sp.symbols("t y y_0", real=True)
C: Any = SymmetricSymbol("C", d)

BARLOW: Any = squared_norm(W * C * W.T - sp.Identity(k))
BARLOW_FIELD = 4 * cross * w * (1 - cross * w**2)
CONTRAST_FIELD = 4 * (cross * w - variance**2 * w**3)
BARLOW_PATH = 1 / (cross * (1 + (1 / (cross * start) - 1) * sp.exp(-8 * cross * time)))
LEVEL = cross / variance**2
CONTRAST_PATH = LEVEL / (1 + (LEVEL / start - 1) * sp.exp(-8 * cross * time))
HALF_TIME = sp.log(1 / (cross * start) - 1) / (8 * cross)


def _mode(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    both = draw.positive()
    values = {W: draw.matrix(rows, columns), C: draw.symmetric(columns)}
    scalars = {
        cross: both,
        variance: draw.positive(),
        w: draw.number(),
        start: 1 / (both * (1 + draw.positive())),
        time: draw.positive(),
        square: draw.positive(),
    }
    return Instance({k: rows, d: columns}, values, scalars)


BARLOW_TRAJECTORY = Theorem(
    name="barlow-trajectory",
    title="Barlow Twins learns in logistic steps at times that the start decides",
    chapter=5,
    statement=(
        r"Barlow Twins in the form of [@simon2023], $\lVert W C W^{\top} - I \rVert^2$, descends by $-4 (W C W^{\top} - I) W C$. An"
        r" aligned mode has $\dot w = 4\lambda w(1 - \lambda w^2)$, so that $w^2$ is logistic at the rate $8\lambda$ and ends at"
        r" $1/\lambda$. From"
        r" $\lambda w_0^2 < 1$ half of it is reached at $\tau = \ln(1/(\lambda w_0^2) - 1)/(8\lambda)$: from one small start the modes are"
        r" learnt one after another, by $\lambda$."
    ),
    assumptions=(),
    proof=(
        Step(
            Gradient(BARLOW, W, -4 * (W * C * W.T - sp.Identity(k)) * W * C, named="L"),
            "The gradient, for any encoder.",
            conclusion=True,
        ),
        Step(
            ModeRate(w**2, {w: BARLOW_FIELD}, 8 * cross * w**2 * (1 - cross * w**2), named="w^2"),
            "One aligned mode.",
            conclusion=True,
        ),
        Step(
            SolvesODE(BARLOW_PATH, square, time, 8 * cross * square * (1 - cross * square), start),
            "The logistic function.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(BARLOW_PATH.subs(time, HALF_TIME), 1 / (2 * cross)),
            r"Where the exponential cancels the start, half of the end is reached.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "rate-four",
            "constant",
            r"claim the rate $4\lambda$ of $w^2$",
            ModeRate(w**2, {w: BARLOW_FIELD}, 4 * cross * w**2 * (1 - cross * w**2)),
        ),
        FalseSibling(
            "other-side",
            "exchange",
            r"multiply by $W^{\top} W$ on the right",
            Gradient(BARLOW, W, -4 * W * C * (W.T * W - sp.Identity(d)) * C),
        ),
        FalseSibling(
            "ends-at-lambda",
            "sign",
            r"claim growth beyond the end: $\dot w = 4\lambda w(1 + \lambda w^2)$",
            ModeRate(w**2, {w: BARLOW_FIELD}, 8 * cross * w**2 * (1 + cross * w**2)),
        ),
    ),
    witnesses=(),
    instances=_mode,
    sources=(Source("simon2023", "Section 4", "aligned modes and steps"),),
    belief="Contrastive learning learns all features at once, slowly.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "tau = np.log(1 / (0.5 * 1e-4) - 1) / (8 * 0.5)\n"
        "end = integrate(lambda s: {'w': 4 * 0.5 * s['w'] * (1 - 0.5 * s['w'] ** 2)}, {'w': np.asarray(1e-2)}, [0.0, tau])\n"
        "assert np.isclose(end.states['w'][-1] ** 2, 1.0)"
    ),
)

CONTRAST_TRAJECTORY = Theorem(
    name="spectral-contrastive-trajectory",
    title="A mode of the spectral contrastive loss is logistic at any variance",
    chapter=5,
    statement=(
        r"An aligned mode of the spectral contrastive loss, $\dot w = 4(\lambda w - \sigma^2 w^3)$, has logistic $w^2$ at the rate"
        r" $8\lambda$, with the end $\lambda/\sigma^2$, for either sign of"
        r" $\lambda \ne 0$: for $\lambda < 0$ the same formula is its decay."
    ),
    assumptions=(),
    proof=(
        Step(
            ModeRate(w**2, {w: CONTRAST_FIELD}, 8 * cross * w**2 * (1 - variance**2 * w**2 / cross), named="w^2"),
            r"Multiply by $2w$.",
            conclusion=True,
        ),
        Step(
            SolvesODE(CONTRAST_PATH, square, time, 8 * (cross * square - variance**2 * square**2), start),
            "The logistic function.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "first-power-of-the-variance",
            "exchange",
            r"claim the end $\lambda/\sigma$",
            SolvesODE(
                CONTRAST_PATH.subs(variance**2, variance),
                square,
                time,
                8 * (cross * square - variance**2 * square**2),
                start,
            ),
        ),
        FalseSibling(
            "rate-of-the-weight",
            "constant",
            r"claim the rate $4\lambda$",
            SolvesODE(
                LEVEL / (1 + (LEVEL / start - 1) * sp.exp(-4 * cross * time)),
                square,
                time,
                8 * (cross * square - variance**2 * square**2),
                start,
            ),
        ),
        FalseSibling(
            "grows-backwards",
            "sign",
            r"let the exponential grow",
            SolvesODE(
                CONTRAST_PATH.subs(time, -time), square, time, 8 * (cross * square - variance**2 * square**2), start
            ),
        ),
    ),
    witnesses=(),
    instances=_mode,
    sources=(Source("ours"), Source("simon2023", "", "the same for Barlow Twins and others")),
    belief="Contrastive losses have no closed trajectories because of the negatives.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import SpectralContrastive, ViewPair\n"
        "model = SpectralContrastive(ViewPair.from_covariances(2 * np.eye(1), 2 * np.eye(1), 0.8 * np.eye(1)))\n"
        "end = model.solve(0.1 * np.eye(1), [0.0, 1.0]).encoder[-1, 0, 0] ** 2; level = 0.8 / 4\n"
        "assert np.isclose(end, level / (1 + (level / 0.01 - 1) * np.exp(-8 * 0.8)))"
    ),
)

THEOREMS = (BARLOW_TRAJECTORY, CONTRAST_TRAJECTORY)
