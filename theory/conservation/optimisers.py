"""Optimisers other than gradient flow: what momentum and Adam do to the balance (result 3.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Equality, Implication, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, matrix, rational
from jepalign.theory.expressions import Named
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Q, R, W, alpha, d, epsilon, eta, k, p, w

mu, predictor_momentum, predictor_decay = sp.symbols("mu mu_P eta_P", real=True)
encoder_velocity: Any = sp.MatrixSymbol("U_-", k, d)
predictor_velocity: Any = sp.MatrixSymbol("T_-", k, k)

# One step of heavy ball: the velocity remembers, the weights follow.
ENCODER_STEP: Any = Named("U", mu * encoder_velocity + epsilon * (Q.T * R - eta * W))
PREDICTOR_STEP: Any = Named(
    "T", predictor_momentum * predictor_velocity + epsilon * (alpha * R * W.T - predictor_decay * P)
)
BALANCE: Any = W * W.T - P.T * P / alpha
BEFORE: Any = (W - encoder_velocity) * (W - encoder_velocity).T - (P - predictor_velocity).T * (
    P - predictor_velocity
) / alpha
NOW: Any = ENCODER_STEP * ENCODER_STEP.T - PREDICTOR_STEP.T * PREDICTOR_STEP / alpha
PAST: Any = encoder_velocity * encoder_velocity.T - predictor_velocity.T * predictor_velocity / alpha
UPDATE = {W: W + ENCODER_STEP, P: P + PREDICTOR_STEP}
SHOWN = r"\left(W W^{\top} - \frac{1}{\alpha} P^{\top} P\right)"

THROUGH = Assumption(
    "through-predictor", "the force reaches the encoder through the predictor itself, $Q = P$", Equation(Q, P)
)
SAME_MOMENTUM = Assumption(
    "same-momentum", r"both layers have the momentum $\mu_P = \mu$", Equation(predictor_momentum, mu)
)
SAME_DECAY = Assumption(
    "same-decay", r"both decay at one rate in the flow's time, $\eta_P = \eta$", Equation(predictor_decay, eta)
)
USES = ("through-predictor", "same-momentum", "same-decay")

# The second-order flow μẄ + Ẇ = force: the velocities are letters that move.
swift: Any = sp.MatrixSymbol(r"\dot{W}", k, d)
swift_predictor: Any = sp.MatrixSymbol(r"\dot{P}", k, k)
HEAVY_BALL: Any = {
    W: swift,
    P: swift_predictor,
    swift: (Q.T * R - eta * W - swift) / mu,
    swift_predictor: (alpha * R * W.T - predictor_decay * P - swift_predictor) / predictor_momentum,
}
VELOCITY: Any = W * swift.T + swift * W.T - (P.T * swift_predictor + swift_predictor.T * P) / alpha
KINETIC: Any = swift * swift.T - swift_predictor.T * swift_predictor / alpha
ACCELERATION: Any = (2 * mu * KINETIC - VELOCITY - 2 * eta * BALANCE) / mu


def _training(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    decay, momentum, predictor = draw.positive(), draw.positive(), draw.matrix(rows, rows)
    return Instance(
        {k: rows, d: columns},
        {
            **{letter: draw.matrix(rows, columns) for letter in (W, R, encoder_velocity, swift)},
            **{letter: draw.matrix(rows, rows) for letter in (predictor_velocity, swift_predictor)},
            P: predictor,
            Q: predictor,
        },
        {
            alpha: draw.positive(),
            epsilon: draw.positive(),
            eta: decay,
            predictor_decay: decay,
            mu: momentum,
            predictor_momentum: momentum,
        },
    )


def _one_mode(feedback: int = 2, momentum: int = 1, decay: int = 1) -> Instance:
    values = {W: 1, P: 2, Q: feedback, R: 1, encoder_velocity: 1, predictor_velocity: 1, swift: 1, swift_predictor: 2}
    scalars = {alpha: 1, epsilon: 1, eta: 1, predictor_decay: decay, mu: 1, predictor_momentum: momentum}
    return Instance({k: 1, d: 1}, {letter: matrix([[value]]) for letter, value in values.items()}, scalars)


def _after(change: Any) -> AfterStep:
    return AfterStep(BALANCE, UPDATE, BALANCE + change, named=SHOWN)


MOMENTUM = Theorem(
    name="momentum-drift",
    title="Momentum drives the balance by the imbalance of its velocities",
    chapter=3,
    statement=(
        r"Heavy ball with momentum $\mu$ makes the steps $U = \mu U_- + \varepsilon(P^{\top} R - \eta W)$ of the encoder and"
        r" $T = \mu T_- + \varepsilon(\alpha R W^{\top} - \eta P)$ of the predictor, $U_-$ and $T_-$ being the steps before."
        r" With $B = W W^{\top} - P^{\top} P/\alpha$ and $D = U U^{\top} - T^{\top} T/\alpha$, exactly and for any loss on the"
        r" prediction, $B_+ - B = \mu(B - B_-) + D + \mu D_- - 2\varepsilon\eta B$. At $\mu = 0$ this is the drift of one"
        r" gradient step; else it has its own memory, but no force enters it: each $D$ counts $(1+\mu)/(1-\mu)$ times in the"
        r" long run. In continuous time $\mu\ddot W + \dot W = P^{\top} R - \eta W$, $\mu\ddot P + \dot P ="
        r" \alpha R W^{\top} - \eta P$, and $\mu\ddot B + \dot B + 2\eta B = 2\mu(\dot W \dot W^{\top} -"
        r" \dot P^{\top} \dot P/\alpha)$: balance obeys a damped oscillator, driven by how unequally the layers move. It is"
        r" not conserved."
    ),
    assumptions=(THROUGH, SAME_MOMENTUM, SAME_DECAY),
    proof=(
        Step(
            _after(
                W * ENCODER_STEP.T + ENCODER_STEP * W.T - (P.T * PREDICTOR_STEP + PREDICTOR_STEP.T * P) / alpha + NOW
            ),
            "Multiply out one step: a part linear in the velocities, and their squares.",
        ),
        Step(
            Equality(
                W * ENCODER_STEP.T + ENCODER_STEP * W.T - (P.T * PREDICTOR_STEP + PREDICTOR_STEP.T * P) / alpha,
                mu * (BALANCE - BEFORE + PAST) - 2 * epsilon * eta * BALANCE,
            ),
            r"In the linear part the forces cancel, as they do in the flow. What remains is $\mu$ times the linear part of the"
            r" step before, seen from its end point; and decay.",
            uses=USES,
        ),
        Step(
            _after(mu * (BALANCE - BEFORE) + NOW + mu * PAST - 2 * epsilon * eta * BALANCE),
            r"Together: a recursion for $B$ with the squares of the steps for its source.",
            uses=USES,
            conclusion=True,
        ),
        Step(
            Rate(BALANCE, HEAVY_BALL, VELOCITY, named="B"),
            r"In continuous time name the velocity of $B$.",
        ),
        Step(
            Rate(VELOCITY, HEAVY_BALL, ACCELERATION, named=r"\dot B"),
            r"Differentiate again and insert $\ddot W$, $\ddot P$. The forces cancel once more; the products of velocities"
            r" remain, and they do not cancel.",
            uses=USES,
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "momentum-conserves-balance",
            "omission",
            r"claim that in heavy ball's flow $B$ relaxes without a source",
            Rate(VELOCITY, HEAVY_BALL, (-VELOCITY - 2 * eta * BALANCE) / mu),
            uses=USES,
        ),
        FalseSibling(
            "drift-of-gradient-descent",
            "omission",
            r"claim the drift of one gradient step with the velocities in place of the gradients",
            _after(NOW - 2 * epsilon * eta * BALANCE),
            uses=USES,
        ),
        FalseSibling(
            "past-squares-forgotten",
            "constant",
            r"count the squares of the step before with $\mu$ zero",
            _after(mu * (BALANCE - BEFORE) + NOW - 2 * epsilon * eta * BALANCE),
            uses=USES,
        ),
        FalseSibling(
            "sign-of-the-memory",
            "sign",
            r"let the last change of $B$ be undone, not repeated",
            _after(-mu * (BALANCE - BEFORE) + NOW + mu * PAST - 2 * epsilon * eta * BALANCE),
            uses=USES,
        ),
    ),
    witnesses=(
        Witness("through-predictor", _one_mode(feedback=1)),
        Witness("same-momentum", _one_mode(momentum=2)),
        Witness("same-decay", _one_mode(decay=0)),
    ),
    instances=_training,
    sources=(Source("ours"),),
    belief="Momentum only rescales time, so it conserves what gradient flow conserves.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); W, U = rng.normal(size=(2, 2, 4)); P, T = rng.normal(size=(2, 2, 2)); mu, step = 0.9, 0.1\n"
        "B, D = (lambda W, P: W @ W.T - P.T @ P), (lambda U, T: U @ U.T - T.T @ T)\n"
        "before, last = B(W - U, P - T), D(U, T); R = rng.normal(size=(2, 4)); now = B(W, P)\n"
        "U, T = mu * U + step * P.T @ R, mu * T + step * R @ W.T\n"
        "assert np.allclose(B(W + U, P + T) - now, mu * (now - before) + D(U, T) + mu * last)"
    ),
)

# -- Adam -----------------------------------------------------------------------------------------------------------------

residual, encoder_scale, predictor_scale = sp.symbols("r a c", real=True)
encoder_move, predictor_move = sp.symbols("u v", real=True)
change: Any = (w + encoder_move) ** 2 - (p + predictor_move) ** 2 - (w**2 - p**2)
MOVES = {encoder_move: epsilon * p * residual / encoder_scale, predictor_move: epsilon * w * residual / predictor_scale}
equal: Any = sp.Eq
STEP_OF_ADAM: Any = (
    epsilon > 0,
    equal(encoder_scale * encoder_move, epsilon * p * residual),
    equal(predictor_scale * predictor_move, epsilon * w * residual),
)

FIRST_STEP = Assumption(
    "first-step",
    r"each coordinate is divided by the size of its own present gradient, $a = |pr| > 0$ and $c = |wr| > 0$, as in the first"
    r" step of Adam (with its $\epsilon$ zero) and in sign descent",
    Inequality(
        sp.And(
            equal(encoder_scale**2, (p * residual) ** 2),
            equal(predictor_scale**2, (w * residual) ** 2),
            encoder_scale > 0,
            predictor_scale > 0,
        )
    ),
)
SAME_SIGN = Assumption("same-sign", r"$wp > 0$ (else flip the sign of one of them throughout)", Inequality(w * p > 0))
ADAM_USES = ("first-step", "same-sign")


def _adam(rng: random.Random, _size: int) -> Instance:
    draw = Draw(rng)
    sign, force = rng.choice([-1, 1]), draw.positive() * rng.choice([-1, 1])
    return _mode_of_adam(draw.positive() * sign, draw.positive() * sign, force, step=draw.positive())


def _mode_of_adam(weight: Any, predictor: Any, force: Any, scales: Any = None, step: Any = 1) -> Instance:
    first, second = scales or (abs(predictor * force), abs(weight * force))
    values = {w: weight, p: predictor, residual: force, epsilon: step, encoder_scale: first, predictor_scale: second}
    moves = {
        encoder_move: rational(step * predictor * force) / first,
        predictor_move: rational(step * weight * force) / second,
    }
    return Instance(scalars=values | moves)


ADAM = Theorem(
    name="adam-drift",
    title="Adam breaks the balance at first order and keeps another",
    chapter=3,
    statement=(
        r"One mode at $\alpha = 1$, loss gradient $r = -\partial L/\partial (pw)$. Steps $u = \varepsilon p r/a$ of the encoder and"
        r" $v = \varepsilon w r/c$ of the predictor change $w^2 - p^2$ by $2\varepsilon w p r (1/a - 1/c) + \varepsilon^2 r^2"
        r" (p^2/a^2 - w^2/c^2)$: the first order vanishes only if both layers are scaled alike. The first step of Adam"
        r" [@kingma2015, Algorithm 1] scales each by its own gradient. Then $u = v = \pm\varepsilon$, the balance moves by"
        r" exactly $2u(w - p)$, and what is conserved, without any error of order $\varepsilon^2$, is $w - p$."
    ),
    assumptions=(FIRST_STEP, SAME_SIGN),
    proof=(
        Step(
            ScalarIdentity(
                change.subs(MOVES),
                2 * epsilon * w * p * residual * (1 / encoder_scale - 1 / predictor_scale)
                + epsilon**2 * residual**2 * (p**2 / encoder_scale**2 - w**2 / predictor_scale**2),
            ),
            "Multiply out the two squares.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(equal(encoder_move, predictor_move), equal(encoder_move**2, epsilon**2)), given=STEP_OF_ADAM
            ),
            r"Both gradients, $pr$ and $wr$, have one sign, and their sizes have been divided out: so $w - p$ stays.",
            uses=ADAM_USES,
            conclusion=True,
        ),
        Step(
            Implication(equal(change, 2 * encoder_move * (w - p)), given=STEP_OF_ADAM),
            r"With $u = v$ the squares cancel: $(w+u)^2 - (p+u)^2 = w^2 - p^2 + 2u(w-p)$.",
            uses=ADAM_USES,
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "adam-conserves-balance",
            "omission",
            r"claim that $w^2 - p^2$ stays",
            Implication(equal(change, 0), given=STEP_OF_ADAM),
            uses=ADAM_USES,
        ),
        FalseSibling(
            "second-order-only",
            "constant",
            r"claim that it moves by at most $\varepsilon^2$, as in a gradient step",
            Implication(change**2 <= epsilon**4, given=STEP_OF_ADAM),
            uses=ADAM_USES,
        ),
        FalseSibling(
            "sum-conserved",
            "sign",
            r"claim that $w + p$ stays",
            Implication(equal(encoder_move, -predictor_move), given=STEP_OF_ADAM),
            uses=ADAM_USES,
        ),
        FalseSibling(
            "any-signs",
            "quantifier",
            r"claim that $w - p$ stays whatever the signs",
            Implication(equal(encoder_move, predictor_move), given=STEP_OF_ADAM),
            uses=("first-step",),
        ),
    ),
    witnesses=(
        # Plain gradient descent, a = c = 1.
        Witness("first-step", _mode_of_adam(1, 2, 1, scales=(1, 1))),
        Witness("same-sign", _mode_of_adam(1, -2, 1)),
    ),
    instances=_adam,
    sources=(Source("ours"), Source("kingma2015", "Algorithm 1", "the optimiser")),
    belief="An adaptive optimiser disturbs the balance only as much as its step size is large, like gradient descent.",
    example=(
        "import numpy as np\n"
        "w, p, rate, m, v = 0.5, 0.2, 1e-3, np.zeros(2), np.zeros(2)\n"
        "for t in range(1, 101):\n"
        "    g = -(0.9 - p) * w * np.array([p, w]); m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2\n"
        "    w, p = (w, p) - rate * (m / (1 - 0.9**t)) / np.sqrt(v / (1 - 0.999**t))\n"
        "assert abs((w - p) - 0.3) < 0.01 and abs((w**2 - p**2) - 0.21) > 0.05"
    ),
)

THEOREMS = (MOMENTUM, ADAM)
