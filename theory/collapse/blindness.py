"""What contrast is blind to and prediction keeps: the sign and the phase of a correlation (4.7)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Implication, ModeRate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, k, p, variance, w

DECAYED = Assumption("decayed", r"there is weight decay, $\eta > 0$", Inequality(eta > 0))
NEGATIVE = Assumption("anticorrelated", r"the mode is anticorrelated: $\lambda < 0$", Inequality(cross < 0))
_SIGNS = (variance > 0, alpha > 0)


def _anticorrelated(rng: random.Random, size: int) -> Instance:
    """Draw a mode at rest at a negative root: σp² − λp + η = 0 with λ < 0."""
    draw = Draw(rng)
    first, second, sigma, weight = (draw.positive() for _ in range(4))
    scalars = {
        variance: sigma,
        cross: -sigma * (first + second),
        eta: sigma * first * second,
        p: -max(first, second),
        w: weight,
        alpha: max(first, second) ** 2 / (weight * weight),
    }
    return Instance({}, {}, scalars)


CONTRAST = 4 * (cross * w - variance**2 * w**3) - eta * w
MODE = p * (cross - variance * p) - eta

SIGN_BLINDNESS = Theorem(
    name="sign-blindness",
    title="Contrast drops anticorrelated directions, prediction keeps them",
    chapter=4,
    statement=(
        r"Under the spectral contrastive loss a mode with $\lambda < 0$ decays at every size: $w \dot w < 0$. A JEPA sees only"
        r" $\lambda^2$: exchanging $(\lambda, p)$ for $(-\lambda, -p)$ leaves its flow unchanged, so that a mode with $\lambda < 0$"
        r" rests at $w \ne 0$ iff $\lambda^2 \ge 4\eta\sigma$, with a negative predictor. Reaching it takes a predictor that"
        r" starts on the negative side, beyond the threshold there."
    ),
    assumptions=(NEGATIVE, DECAYED),
    proof=(
        Step(
            Implication(w * CONTRAST < 0, given=(*_SIGNS, sp.Ne(w, 0))),
            r"The attraction $4\lambda w^2$ has become a repulsion towards the origin; nothing in the contrastive force is of the"
            r" other sign.",
            uses=("anticorrelated", "decayed"),
            conclusion=True,
        ),
        Step(
            Implication(p < 0, given=(*_SIGNS, sp.Eq(MODE, 0))),
            r"At rest $p(\lambda - \sigma p) = \eta > 0$, and for $p \ge 0$ the left side is not positive.",
            uses=("anticorrelated", "decayed"),
            conclusion=True,
        ),
        Step(
            Implication(cross**2 >= 4 * eta * variance, given=(*_SIGNS, sp.Eq(MODE, 0))),
            "The quadratic has a real root.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(p < 0, MODE >= 0),
                given=(*_SIGNS, sp.Eq(2 * variance * p, cross), cross**2 >= 4 * eta * variance),
            ),
            r"Conversely, where $\lambda^2 \ge 4\eta\sigma$ the growth rate is not negative at $p = \lambda/(2\sigma) < 0$ and"
            r" negative at $p = 0$ and for large $-p$: there are roots on both sides of it.",
            uses=("anticorrelated", "decayed"),
        ),
        Step(
            ModeRate(
                p**2 - alpha * w**2,
                {p: alpha * w**2 * (cross - variance * p) - eta * p, w: MODE * w},
                -2 * eta * (p**2 - alpha * w**2),
            ),
            r"The mode is drawn to balance, as for every sign of $\lambda$: the law contains neither.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "contrast-keeps",
            "sign",
            "claim that the contrastive mode grows",
            Implication(w * CONTRAST > 0, given=(*_SIGNS, sp.Ne(w, 0))),
            uses=("anticorrelated", "decayed"),
        ),
        FalseSibling(
            "any-sign-of-the-correlation",
            "quantifier",
            "claim decay under contrast for every correlation",
            Implication(w * CONTRAST < 0, given=(*_SIGNS, sp.Ne(w, 0))),
            uses=("decayed",),
        ),
        FalseSibling(
            "half-the-threshold",
            "constant",
            r"claim $\lambda^2 \ge 8\eta\sigma$ of every mode at rest",
            Implication(cross**2 >= 8 * eta * variance, given=(*_SIGNS, sp.Eq(MODE, 0))),
            uses=("anticorrelated", "decayed"),
        ),
    ),
    witnesses=(
        Witness("anticorrelated", Instance({}, {}, {cross: 2, variance: 1, alpha: 1, eta: 1, w: 1, p: 1})),
        # Without decay a mode rests at p = 0 as well.
        Witness("decayed", Instance({}, {}, {cross: -1, variance: 1, alpha: 1, eta: 0, w: 1, p: 0})),
    ),
    instances=_anticorrelated,
    sources=(Source("ours"), Source("haochen2021", "", "the contrastive loss")),
    belief="A feature that contrast cannot learn, prediction cannot learn either.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), -0.9 * np.eye(1)); one = np.eye(1)\n"
        "kept = LinearJEPA(views, weight_decay=0.05).solve(one, -one, [0.0, 400.0]).encoder[-1, 0, 0]\n"
        "lost = SpectralContrastive(views, weight_decay=0.05).solve(one, [0.0, 400.0]).encoder[-1, 0, 0]\n"
        "assert kept > 0.5 and abs(lost) < 1e-6"
    ),
)

# -- phase ----------------------------------------------------------------------------------------------------------------

turn: Any = sp.MatrixSymbol("O", k, k)
frame: Any = sp.MatrixSymbol("Q", k, k)
learnt: Any = sp.MatrixSymbol("X", k, k)
cosine = sp.Symbol("c", real=True)
strength = sp.Symbol("rho", real=True)

ORTHOGONAL_TURN = Assumption(
    "rotation", r"$O$ is orthogonal: $O^{\top} O = I$", Equation(turn.T * turn, sp.Identity(k))
)
ORTHOGONAL_FRAME = Assumption(
    "frame",
    r"the encoder starts as a multiple of an orthogonal matrix, $W = wQ$, $Q^{\top} Q = I$",
    Equation(frame.T * frame, sp.Identity(k)),
)
ONE_ANGLE = Assumption(
    "one-angle",
    r"$O$ turns every direction by one angle of cosine $c$: $O^2 = 2cO - I$ (in the plane every rotation does)",
    Equation(turn * turn, 2 * cosine * turn - sp.Identity(k)),
)

C: Any = strength * turn
ENCODER: Any = w * frame
PREDICTOR: Any = p * frame * turn * frame.T
RESIDUAL: Any = ENCODER * C - PREDICTOR * ENCODER


def _rotations(rng: random.Random, size: int) -> Instance:
    """Draw rotations of the plane, or of two planes by one angle, with rational entries."""
    draw = Draw(rng)
    planes = 1 + size // 3
    a, b = rng.choice((("3/5", "4/5"), ("-5/13", "12/13"), ("0", "1"), ("-1", "0")))
    block = matrix([[a, f"-{b}"], [b, a]])
    whole = eye(2 * planes) * 0
    for plane in range(planes):
        for i in range(2):
            for j in range(2):
                whole[2 * plane + i, 2 * plane + j] = block[i, j]
    first, second, weight = draw.positive(), draw.positive(), draw.positive()
    values = {turn: whole, frame: draw.orthogonal(2 * planes), learnt: draw.matrix(2 * planes, 2 * planes)}
    scalars = {
        cosine: block[0, 0],
        strength: first + second,
        eta: first * second,
        p: first,
        w: weight,
        alpha: first * first / (weight * weight),
    }
    return Instance({k: 2 * planes}, values, scalars)


def _plane(**changes: Any) -> Instance:
    values: dict[str, Any] = {"turn": matrix([[0, -1], [1, 0]]), "frame": eye(2), "learnt": eye(2), **changes}
    letters = {turn: values["turn"], frame: values["frame"], learnt: values["learnt"]}
    scalars: dict[Any, Any] = {cosine: 0, strength: 2, eta: 1, p: 1, w: 1, alpha: 1}
    return Instance({k: 2}, letters, {**scalars, **values.get("scalars", {})})


PHASE_BLINDNESS = Theorem(
    name="phase-blindness",
    title="A JEPA keeps rotations at every angle, its predictor learning them; contrast sees the cosine",
    chapter=4,
    statement=(
        r"Let $\Sigma = I$ and $C = \rho O$ with a rotation $O$: $y$ is $x$ turned, and shrunk by noise. From $W = wQ$ and $P ="
        r" p\, Q O Q^{\top}$ with orthogonal $Q$ the JEPA stays of this form, and $(w, p)$ moves as a mode with $\lambda = \rho$,"
        r" $\sigma = 1$: it survives iff $\rho^2 \ge 4\eta$ (from beyond its threshold), for every angle, and its predictor is the"
        r" rotation. The spectral contrastive loss depends on $C$ through $(C + C^{\top})/2 = \rho \cos\theta\, I$ alone: from"
        r" $90^{\circ}$ on it drops the plane. (Stability against leaving the form is not claimed.)"
    ),
    assumptions=(ORTHOGONAL_TURN, ORTHOGONAL_FRAME, ONE_ANGLE),
    proof=(
        Step(
            Equality(PREDICTOR.T * RESIDUAL, p * (strength - p) * w * frame),
            r"$W C = w\rho\, Q O$ and $P W = w p\, Q O$: the residual is $w(\rho - p) Q O$, and $P^{\top}$ turns it back. So"
            r" $\dot w = p(\rho - p) w - \eta w$.",
            uses=("rotation", "frame"),
            conclusion=True,
        ),
        Step(
            Equality(RESIDUAL * ENCODER.T, w**2 * (strength - p) * frame * turn * frame.T),
            r"The predictor's force is a multiple of $Q O Q^{\top}$: $\dot p = \alpha w^2 (\rho - p) - \eta p$, the mode's"
            r" equation with no angle in it.",
            uses=("frame",),
            conclusion=True,
        ),
        Step(
            Equality(tr(learnt * C * learnt.T), tr(learnt * ((C + C.T) / 2) * learnt.T)),
            r"In the contrastive loss $C$ stands in $\operatorname{tr} X C X^{\top}$ only, which does not see its antisymmetric part.",
            conclusion=True,
        ),
        Step(
            Equality((C + C.T) / 2 * turn, strength * cosine * turn),
            r"And the symmetric part is $\rho c I$ (multiplied by $O$, which is invertible): not positive from a right angle on,"
            r" where every contrastive mode decays.",
            uses=("rotation", "one-angle"),
            conclusion=True,
        ),
        Step(
            Implication(
                strength**2 >= 4 * eta,
                given=(alpha > 0, eta > 0, sp.Eq(p * (strength - p), eta)),
            ),
            r"At rest with $w \ne 0$: $p(\rho - p) = \eta$, which needs $\rho^2 \ge 4\eta$, whatever the angle.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "cosine-in-the-force",
            "exchange",
            r"let the JEPA see the cosine as well: exchange $\rho$ for $\rho c$ in its force",
            Equality(PREDICTOR.T * RESIDUAL, p * (strength * cosine - p) * w * frame),
            uses=("rotation", "frame", "one-angle"),
        ),
        FalseSibling(
            "identity-predictor",
            "omission",
            r"keep the predictor a multiple of the identity, $P = pI$",
            Equality(p * (ENCODER * C - p * ENCODER), p * (strength - p) * w * frame),
            uses=("rotation", "frame"),
        ),
        FalseSibling(
            "antisymmetric-seen",
            "sign",
            r"claim that contrast sees $(C - C^{\top})/2$",
            Equality(tr(learnt * C * learnt.T), tr(learnt * ((C - C.T) / 2) * learnt.T)),
        ),
        FalseSibling(
            "threshold-without-four",
            "constant",
            r"claim the threshold $\rho^2 \ge 5\eta$",
            Implication(strength**2 >= 5 * eta, given=(alpha > 0, eta > 0, sp.Eq(p * (strength - p), eta))),
        ),
    ),
    witnesses=(
        Witness("rotation", _plane(turn=matrix([[0, -2], ["1/2", 0]]))),
        Witness("frame", _plane(frame=matrix([[1, 1], [0, 1]]))),
        Witness("one-angle", _plane(turn=matrix([[1, 0], [0, -1]]))),
    ),
    instances=_rotations,
    sources=(Source("ours"),),
    belief="A latent that only rotates carries no signal for self-supervision.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]])\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), 0.9 * turn)\n"
        "path = LinearJEPA(views, weight_decay=0.1).solve(0.8 * np.eye(2), 0.8 * turn, [0.0, 400.0])\n"
        "assert np.allclose(path.predictor[-1], (0.9 + np.sqrt(0.81 - 0.4)) / 2 * turn, atol=1e-6)  # past a right angle"
    ),
)

THEOREMS = (SIGN_BLINDNESS, PHASE_BLINDNESS)
