"""Logistic modes: Barlow Twins and the spectral contrastive loss (5.5 per mode, 5.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, ModeRate, ScalarIdentity, SolvesODE
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import SymmetricSymbol, identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Sigma_x, W, cross, d, k, variance, w
from jepalign.theory.trajectories.modes import CONTEXT, LEFT, RIGHT, A, B, D_w, L, S, frames, r

time, square, start = sp.symbols("t y y_0", real=True)
C: Any = SymmetricSymbol("C", d)
ALIGNED: Any = A * D_w * B.T
FRAMES = ("left-frame", "right-frame", "shared-modes")
SHARED = Assumption(
    "shared-modes",
    r"they are eigenvectors of the cross-covariance, $B^{\top} C = \Lambda B^{\top}$",
    Equation(B.T * C, L * B.T),
)

BARLOW: Any = squared_norm(W * C * W.T - sp.Identity(k))
BARLOW_FIELD = 4 * cross * w * (1 - cross * w**2)
CONTRAST: Any = tr(W * Sigma_x * W.T * W * Sigma_x * W.T) - 2 * tr(W * C * W.T)
CONTRAST_FIELD = 4 * (cross * w - variance**2 * w**3)
BARLOW_PATH = 1 / (cross * (1 + (1 / (cross * start) - 1) * sp.exp(-8 * cross * time)))
LEVEL = cross / variance**2
CONTRAST_PATH = LEVEL / (1 + (LEVEL / start - 1) * sp.exp(-8 * cross * time))
HALF_TIME = sp.log(1 / (cross * start) - 1) / (8 * cross)


def _mode(rng: random.Random, size: int) -> Instance:
    draw, aligned = Draw(rng), frames(rng, size)
    left, right = (aligned.matrices[letter] for letter in (A, B))
    # A symmetric matrix with the eigenvectors B, beside any other on the rest of the space.
    outside = (
        matrix([[int(i == j) for j in range(right.nrows())] for i in range(right.nrows())]) - right * right.transpose()
    )
    shared = right * aligned.matrices[L] * right.transpose() + outside * draw.symmetric(right.nrows()) * outside
    both = draw.positive()
    scalars = {
        cross: both,
        variance: draw.positive(),
        w: draw.number(),
        start: 1 / (both * (1 + draw.positive())),
        time: draw.positive(),
        square: draw.positive(),
    }
    return aligned.with_({C: shared, W: draw.matrix(left.nrows(), right.nrows())}, scalars)


def _numbers(**changes: int) -> Instance:
    names = {"A": A, "B": B, "S": S, "L": L}
    values = {letter: matrix([[1]]) for letter in (A, B, D_w, W, C, L)}
    values |= {S: matrix([[2]]), Sigma_x: matrix([[2]])}
    values |= {names[name]: matrix([[value]]) for name, value in changes.items()}
    return Instance({k: 1, d: 1, r: 1}, values, {})


BARLOW_TRAJECTORY = Theorem(
    name="barlow-trajectory",
    title="Barlow Twins learns in logistic steps at times that the start decides",
    chapter=5,
    statement=(
        r"Barlow Twins in the form of [@simon2023], $\lVert W C W^{\top} - I \rVert^2$, descends by $-4 (W C W^{\top} - I) W C$. An"
        r" aligned mode, $W = A D_w B^{\top}$ in frames of which $B$ spans eigenvectors of $C$,"
        r" has $\dot w = 4\lambda w(1 - \lambda w^2)$, so that $w^2$ is logistic at the rate $8\lambda$ and ends at"
        r" $1/\lambda$. From"
        r" $\lambda w_0^2 < 1$ half of it is reached at $\tau = \ln(1/(\lambda w_0^2) - 1)/(8\lambda)$: from one small start the modes are"
        r" learnt one after another, by $\lambda$."
    ),
    assumptions=(LEFT, RIGHT, SHARED),
    proof=(
        Step(
            Gradient(BARLOW, W, -4 * (W * C * W.T - sp.Identity(k)) * W * C, named="L"),
            "The gradient, for any encoder.",
            conclusion=True,
        ),
        Step(
            Equality(
                -4 * (ALIGNED * C * ALIGNED.T - identity(k)) * ALIGNED * C,
                4 * A * (D_w * L - D_w * L * D_w * D_w * L) * B.T,
            ),
            r"For $W = A D_w B^{\top}$ with frames $A$ and $B$ it has the encoder's frames, so that a diagonal $D_w$ stays"
            r" diagonal and each entry moves by itself.",
            uses=FRAMES,
            conclusion=True,
        ),
        Step(
            ModeRate(w**2, {w: BARLOW_FIELD}, 8 * cross * w**2 * (1 - cross * w**2), named="w^2"),
            "One such entry.",
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
    witnesses=(
        Witness("left-frame", _numbers(A=2)),
        Witness("right-frame", _numbers(B=2)),
        Witness("shared-modes", _numbers(L=3)),
    ),
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
        r"An aligned mode of the spectral contrastive loss, $W = A D_w B^{\top}$ with eigenvectors $B$ of both covariances,"
        r" $\dot w = 4(\lambda w - \sigma^2 w^3)$, has logistic $w^2$ at the rate"
        r" $8\lambda$, with the end $\lambda/\sigma^2$, for either sign of"
        r" $\lambda \ne 0$: for $\lambda < 0$ the same formula is its decay. For $\lambda = 0$ it dies algebraically, $w^2 = w_0^2/(1 +"
        r" 8\sigma^2 w_0^2 t)$."
    ),
    assumptions=(LEFT, RIGHT, SHARED, CONTEXT),
    proof=(
        Step(
            Gradient(CONTRAST, W, 4 * (W * C - W * Sigma_x * W.T * W * Sigma_x), named=r"L_{\mathrm{SCL}}"),
            r"The gradient of $\operatorname{tr} \Phi^2 - 2 \operatorname{tr} W C W^{\top}$, for any covariance.",
            conclusion=True,
        ),
        Step(
            Equality(
                4 * (ALIGNED * C - ALIGNED * Sigma_x * ALIGNED.T * ALIGNED * Sigma_x),
                4 * A * (D_w * L - D_w * S * D_w * D_w * S) * B.T,
            ),
            r"On aligned weights it has the encoder's frames: each entry of a diagonal $D_w$ moves by itself.",
            uses=(*FRAMES, "context-modes"),
            conclusion=True,
        ),
        Step(
            ModeRate(w**2, {w: CONTRAST_FIELD}, 8 * cross * w**2 * (1 - variance**2 * w**2 / cross), named="w^2"),
            r"Multiply by $2w$.",
            conclusion=True,
        ),
        Step(
            SolvesODE(CONTRAST_PATH, square, time, 8 * (cross * square - variance**2 * square**2), start),
            "The logistic function, for either sign.",
            conclusion=True,
        ),
        Step(
            SolvesODE(start / (1 + 8 * variance**2 * start * time), square, time, -8 * variance**2 * square**2, start),
            r"Its limit without correlation.",
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
    witnesses=(
        Witness("left-frame", _numbers(A=2)),
        Witness("right-frame", _numbers(B=2)),
        Witness("shared-modes", _numbers(L=3)),
        Witness("context-modes", _numbers(S=3)),
    ),
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
