"""Dynamics that turn: what prediction keeps and contrast over time loses (7.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Implication
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, identity
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, d, eta, p, s, w

F: Any = sp.MatrixSymbol("F", d, d)
quarter: Any = sp.MatrixSymbol("J", d, d)
frame: Any = sp.MatrixSymbol("Q", d, d)
along, across = sp.symbols("a b", real=True)
"""γ cos θ and γ sin θ of dynamics that turn by θ and shrink by γ."""

ONE: Any = identity(d)
STRENGTH: Any = along**2 + across**2
SPREAD: Any = Named(r"\Sigma", s * ONE)
DRIVE: Any = Named(r"\Sigma_\xi", (1 - STRENGTH) * s * ONE)
ENCODER: Any = w * frame
PREDICTOR: Any = p * frame * F * frame.T
RESIDUAL: Any = ENCODER * F * SPREAD - PREDICTOR * ENCODER * SPREAD

TURNS = Assumption(
    "turns",
    r"the dynamics turn and shrink, $F = aI + bJ$ with $a + ib = \gamma e^{i\theta}$",
    Equation(F, along * ONE + across * quarter),
)
SKEW = Assumption("skew", r"$J$ is antisymmetric: $J^{\top} = -J$", Equation(quarter.T, -quarter))
QUARTER = Assumption("quarter-turn", r"and a quarter turn: $J^2 = -I$", Equation(quarter * quarter, -ONE))
FRAME = Assumption(
    "frame",
    r"the encoder starts as a multiple of an orthogonal matrix, $W = wQ$, $Q^{\top} Q = I$",
    Equation(frame.T * frame, ONE),
)


def _turning(rng: random.Random, size: int) -> Instance:
    """Draw one plane or two with one turn, and a predictor at rest there."""
    draw = Draw(rng)
    planes = 1 + size // 3
    total = 2 * planes
    half = eye(total) * 0
    for plane in range(planes):
        half[2 * plane, 2 * plane + 1], half[2 * plane + 1, 2 * plane] = -1, 1
    basis = draw.orthogonal(total)
    turn = basis * half * basis.transpose()
    real, imaginary = (draw.number() / 6 for _ in range(2))
    level, strength = draw.positive(), 1 / (1 + draw.positive())
    scalars = {
        along: real,
        across: imaginary,
        s: level,
        w: draw.positive(),
        p: strength,
        eta: strength * (1 - strength) * (real**2 + imaginary**2) * level,
    }
    values = {
        F: eye(total) * real + turn * imaginary,
        quarter: turn,
        frame: draw.orthogonal(total),
    }
    return Instance({d: total}, values, scalars)


def _plane(**changes: Any) -> Instance:
    """Return F = J/2, a quarter turn, some letters changed."""
    letters = {"F": F, "J": quarter, "Q": frame}
    values = {
        F: matrix([[0, "-1/2"], ["1/2", 0]]),
        quarter: matrix([[0, -1], [1, 0]]),
        frame: eye(2),
        **{letters[name]: value for name, value in changes.items()},
    }
    return Instance({d: 2}, values, {along: 0, across: "1/2", s: 1, w: 1, p: "1/2", eta: "1/16"})


_REST = (eta > 0, s > 0, sp.Eq(p * (1 - p) * STRENGTH * s, eta))

ROTATION_MODES = Theorem(
    name="rotation-modes",
    title="A world model keeps what turns; contrast over time sees the cosine of the turn, and its sign changes with the lag",
    chapter=7,
    statement=(
        r"Let $x_{t+1} = F x_t + \xi$ turn by $\theta$ and shrink by $\gamma < 1$ in each plane, $F = aI + bJ$ with $a"
        r" + ib = \gamma e^{i\theta}$, and $\Sigma_\xi = (1 - \gamma^2) s I$. Then $\Sigma = s I$ is stationary. From"
        r" $W = wQ$ and $P = p\, Q F Q^{\top}$ the JEPA obeys $\dot w = p(1 - p)\gamma^2 s\, w - \eta w$, without the"
        r" angle, and rests only where $\gamma^2 s \ge 4\eta$: the mode $\lambda = \gamma s$, $\sigma = s$. A"
        r" time-contrastive loss on $(x_t, x_{t+1})$ sees $\gamma s \cos\theta$ and drops the plane from a quarter"
        r" turn per step on; on $(x_t, x_{t+2})$ it sees $(a^2 - b^2)s = \gamma^2 s \cos 2\theta$. It needs more than"
        r" four samples a turn; prediction does not."
    ),
    assumptions=(TURNS, SKEW, QUARTER, FRAME),
    proof=(
        Step(
            Equality(F * SPREAD * F.T + DRIVE, SPREAD),
            r"$F F^{\top} = (a^2 + b^2) I$, and the noise replaces what shrinks: both views have the covariance $sI$.",
            uses=("turns", "skew", "quarter-turn"),
            conclusion=True,
        ),
        Step(
            Equality(PREDICTOR.T * RESIDUAL, p * (1 - p) * STRENGTH * s * w * frame),
            r"$W F = w Q F$ and $P W = p w Q F$: the residual is $(1 - p) s w\, Q F$, and $P^{\top}$ turns it back.",
            uses=("turns", "skew", "quarter-turn", "frame"),
            conclusion=True,
        ),
        Step(
            Equality(RESIDUAL * ENCODER.T, (1 - p) * s * w**2 * frame * F * frame.T),
            r"The predictor's force is a multiple of $Q F Q^{\top}$, so that the form is kept.",
            uses=("frame",),
            conclusion=True,
        ),
        Step(
            Implication(STRENGTH * s >= 4 * eta, given=_REST),
            r"$p(1 - p) \le \frac14$.",
            conclusion=True,
        ),
        Step(
            Equality((F * SPREAD + SPREAD * F.T) / 2, along * SPREAD),
            r"Contrast sees the symmetric part of $\Sigma_{yx} = F \Sigma$, and $J$ has none.",
            uses=("turns", "skew"),
            conclusion=True,
        ),
        Step(
            Equality((F * F * SPREAD + SPREAD * F.T * F.T) / 2, (along**2 - across**2) * SPREAD),
            r"$F^2 = (a^2 - b^2) I + 2ab J$, the square of $a + ib$.",
            uses=("turns", "skew", "quarter-turn"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "strength-in-contrast",
            "exchange",
            r"let contrast see $\gamma^2$ at two steps, without the angle",
            Equality((F * F * SPREAD + SPREAD * F.T * F.T) / 2, STRENGTH * SPREAD),
            uses=("turns", "skew", "quarter-turn"),
        ),
        FalseSibling(
            "cosine-in-prediction",
            "omission",
            r"leave $b$ out of the JEPA's force",
            Equality(PREDICTOR.T * RESIDUAL, p * (1 - p) * along**2 * s * w * frame),
            uses=("turns", "skew", "quarter-turn", "frame"),
        ),
        FalseSibling(
            "twice-the-threshold",
            "constant",
            r"claim rest only where $\gamma^2 s \ge 8\eta$",
            Implication(STRENGTH * s >= 8 * eta, given=_REST),
        ),
        FalseSibling(
            "drive-added",
            "sign",
            r"drive with $(1 + \gamma^2) s$",
            Equality(F * SPREAD * F.T + (1 + STRENGTH) * s * ONE, SPREAD),
            uses=("turns", "skew", "quarter-turn"),
        ),
    ),
    witnesses=(
        Witness("turns", _plane(F=eye(2))),
        Witness("skew", _plane(J=matrix([[0, -2], ["1/2", 0]]), F=matrix([[0, -1], ["1/4", 0]]))),
        Witness("quarter-turn", _plane(J=matrix([[0, -2], [2, 0]]), F=matrix([[0, -1], [1, 0]]))),
        Witness("frame", _plane(Q=matrix([[1, 1], [0, 1]]))),
    ),
    instances=_turning,
    sources=(Source("ours"), Source("oord2018", "", "contrast over time")),
    belief="Whatever is predictable over time, contrast over time finds.",
    example=(
        "import numpy as np; from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair\n"
        "a = 1.7; F = 0.9 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])  # beyond a quarter turn\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), F); one = np.eye(2)\n"
        "kept = LinearJEPA(views, weight_decay=0.1).solve(one, F, [0.0, 200.0])\n"
        "lost = SpectralContrastive(views, weight_decay=0.1).solve(one, [0.0, 200.0])\n"
        "assert np.linalg.norm(kept.encoder[-1]) > 0.5 and np.linalg.norm(lost.encoder[-1]) < 1e-6"
    ),
)

THEOREMS = (ROTATION_MODES,)
