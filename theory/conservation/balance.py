"""What training conserves: balance, the Gram matrix, and their exact drift in discrete steps (results 3.1 to 3.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Equality, Rate, SolvesODE
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Q, R, W, alpha, d, epsilon, eta, k

predictor_decay = sp.Symbol(r"\eta_P", real=True)
stale: Any = sp.MatrixSymbol(r"\tilde{W}", k, d)
time, initial, value = sp.symbols("t b_0 b", real=True)

BALANCE: Any = W * W.T - P.T * P / alpha
DRIFT: Any = P.T * R * R.T * P - alpha * W * R.T * R * W.T

THROUGH_PREDICTOR = Assumption(
    "through-predictor",
    r"the force reaches the encoder through the predictor itself, $Q = P$: both layers are linear, adjacent, without bias"
    r" or normalisation between them",
    Equation(Q, P),
)
SAME_DECAY = Assumption(
    "same-decay",
    r"encoder and predictor decay at the same rate in the flow's time, $\eta_P = \eta$ (an optimiser that runs the predictor"
    r" at learning rate $\alpha\varepsilon$ needs the decay $\eta/\alpha$ there)",
    Equation(predictor_decay, eta),
)
SIMULTANEOUS = Assumption(
    "simultaneous",
    r"both layers are updated from the same old values: the predictor's step uses $\tilde W = W$",
    Equation(stale, W),
)
OPTIMAL = Assumption(
    "optimal-predictor",
    r"the predictor is optimal: the loss is stationary in it, $R W^{\top} = 0$ (for the squared loss, least squares)",
    Equation(R * W.T, sp.ZeroMatrix(k, k)),
)

_FLOW: Any = {W: Q.T * R - eta * W, P: alpha * R * W.T - predictor_decay * P}
_STEP = {
    W: (1 - epsilon * eta) * W + epsilon * Q.T * R,
    P: (1 - epsilon * predictor_decay) * P + epsilon * alpha * R * stale.T,
}


def _training(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    decay, predictor = draw.positive(), draw.matrix(rows, rows)
    encoder = draw.matrix(rows, columns)
    return Instance(
        {k: rows, d: columns},
        {W: encoder, P: predictor, Q: predictor, R: draw.matrix(rows, columns), stale: encoder},
        {
            alpha: draw.positive(),
            eta: decay,
            predictor_decay: decay,
            epsilon: draw.positive(),
            initial: draw.number(),
        },
    )


def _optimal(rng: random.Random, size: int) -> Instance:
    """Draw a residual whose rows are orthogonal to those of W (with more inputs than dimensions, or R = 0)."""
    draw = Draw(rng)
    rows = rng.randint(1, size)
    encoder, residual = draw.matrix(rows, size + 1), draw.matrix(rows, size + 1)
    if rows == size + 1 or (encoder * encoder.transpose()).det() == 0:
        return _optimal(rng, size)
    gram = (encoder * encoder.transpose()).inv()
    residual = residual - residual * encoder.transpose() * gram * encoder
    scalars = {alpha: draw.positive(), eta: draw.positive(), epsilon: draw.positive(), initial: draw.number()}
    return Instance({k: rows, d: size + 1}, {W: encoder, Q: draw.matrix(rows, rows), R: residual}, scalars)


def _scalars(**changes: int) -> dict[sp.Symbol, object]:
    values = {"decay": 1, "predictor_decay": 1, **changes}
    return {alpha: 1, eta: values["decay"], predictor_decay: values["predictor_decay"], epsilon: 1}


def _one_mode(encoder: int, predictor: int, feedback: int, residual: int, stale_encoder: int) -> dict[object, object]:
    return {
        letter: matrix([[entry]])
        for letter, entry in zip(
            (W, P, Q, R, stale), (encoder, predictor, feedback, residual, stale_encoder), strict=True
        )
    }


BALANCE_LAW = Theorem(
    name="balance",
    title="Encoder and predictor stay balanced, or become so",
    chapter=3,
    statement=(
        r"Let $W$ be the last layer of an encoder, linear and without bias, $P$ a linear predictor, and"
        r" $R = -\partial L/\partial (PW)$ for *any* loss $L$ on the prediction, any backbone and any target encoder. Under"
        r" $\dot W = P^{\top} R - \eta W$ and $\dot P = \alpha R W^{\top} - \eta P$ the imbalance"
        r" $W W^{\top} - P^{\top} P/\alpha$ decays as $e^{-2\eta t}$ and is conserved for $\eta = 0$."
        r" [@tian2021, Theorem 1] state it for the squared loss of a linear encoder."
    ),
    assumptions=(THROUGH_PREDICTOR, SAME_DECAY),
    proof=(
        Step(
            Rate(W * W.T, {W: P.T * R - eta * W}, P.T * R * W.T + W * R.T * P - 2 * eta * W * W.T),
            "The encoder's Gram matrix moves by the force and shrinks by the decay.",
        ),
        Step(
            Rate(
                P.T * P / alpha,
                {P: alpha * R * W.T - eta * P},
                P.T * R * W.T + W * R.T * P - 2 * eta * P.T * P / alpha,
            ),
            r"The predictor's moves by the same matrix, because its force $R W^{\top}$ meets $P^{\top}$ where the encoder's"
            r" $P^{\top} R$ meets $W^{\top}$.",
        ),
        Step(
            Rate(BALANCE, _FLOW, -2 * eta * BALANCE),
            "In the difference the forces cancel and the decay remains. Neither the target nor what lies below $W$ enters.",
            uses=("through-predictor", "same-decay"),
            conclusion=True,
        ),
        Step(
            SolvesODE(initial * sp.exp(-2 * eta * time), value, time, -2 * eta * value, initial),
            "Every entry of the imbalance obeys this equation.",
        ),
    ),
    siblings=(
        FalseSibling(
            "sum-instead-of-difference",
            "sign",
            r"add $P^{\top} P/\alpha$ instead of subtracting it",
            Rate(W * W.T + P.T * P / alpha, _FLOW, -2 * eta * (W * W.T + P.T * P / alpha)),
            uses=("through-predictor", "same-decay"),
        ),
        FalseSibling(
            "other-side",
            "exchange",
            r"use $P P^{\top}$ in place of $P^{\top} P$",
            Rate(W * W.T - P * P.T / alpha, _FLOW, -2 * eta * (W * W.T - P * P.T / alpha)),
            uses=("through-predictor", "same-decay"),
        ),
        FalseSibling(
            "rate-without-the-two",
            "constant",
            r"decay at rate $\eta$ instead of $2\eta$",
            Rate(BALANCE, _FLOW, -eta * BALANCE),
            uses=("through-predictor", "same-decay"),
        ),
        FalseSibling(
            "learning-rate-forgotten",
            "omission",
            r"leave out $\alpha$ in the conserved quantity",
            Rate(W * W.T - P.T * P, _FLOW, -2 * eta * (W * W.T - P.T * P)),
            uses=("through-predictor", "same-decay"),
        ),
    ),
    witnesses=(
        # The residual form trains the encoder with Q = 1, not through P = 2.
        Witness("through-predictor", Instance({k: 1, d: 1}, _one_mode(1, 2, 1, 1, 1), _scalars())),
        # Decay on the encoder alone, the default of many training scripts for predictors excluded from decay.
        Witness("same-decay", Instance({k: 1, d: 1}, _one_mode(1, 2, 2, 1, 1), _scalars(predictor_decay=0))),
    ),
    instances=_training,
    sources=(Source("tian2021", "Theorem 1", "linear encoder, squared loss"), Source("ponce2025", "", "equilibria")),
    belief="Balance is a modelling assumption that real networks do not satisfy.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.6, 0.3]))\n"
        "path = LinearJEPA(views, weight_decay=0.02).solve(0.5 * np.eye(2, 3), 0.1 * np.eye(2), times=[0.0, 5.0])\n"
        "gap = lambda i: path.encoder[i] @ path.encoder[i].T - path.predictor[i].T @ path.predictor[i]\n"
        "assert np.allclose(gap(1), np.exp(-2 * 0.02 * 5) * gap(0))"
    ),
)

GRAM_CONSERVATION = Theorem(
    name="gram-conservation",
    title="With the optimal predictor the encoder's Gram matrix is conserved",
    chapter=3,
    statement=(
        r"If the predictor is optimal at every instant, so that $R W^{\top} = 0$, then under"
        r" $\dot W = Q^{\top} R - \eta W$ with any matrix $Q(t)$ ($Q = P$ for JEPA and BYOL, $Q = I$ for the residual form)"
        r" $\frac{d}{dt} W W^{\top} = -2\eta W W^{\top}$, whatever the target, the data and the backbone below $W$."
        r" Any $\eta > 0$ therefore sends $W$ to zero. One discrete step adds exactly $\varepsilon^2$ times the Gram matrix of"
        r" the gradient. [@tang2023] prove the case $\eta = 0$ for a linear encoder with $W W^{\top} = I$."
    ),
    assumptions=(OPTIMAL,),
    proof=(
        Step(
            Rate(W * W.T, {W: Q.T * R - eta * W}, -2 * eta * W * W.T),
            r"The force enters $\frac{d}{dt} W W^{\top}$ only through $Q^{\top} R W^{\top}$ and its transpose, which vanish.",
            uses=("optimal-predictor",),
            conclusion=True,
        ),
        Step(
            AfterStep(
                W * W.T,
                {W: (1 - epsilon * eta) * W + epsilon * Q.T * R},
                (1 - epsilon * eta) ** 2 * W * W.T + epsilon**2 * Q.T * R * R.T * Q,
                named=r"(W W^{\top})",
            ),
            "In a discrete step the cross terms vanish for the same reason; the square of the step remains.",
            uses=("optimal-predictor",),
            conclusion=True,
        ),
        Step(
            SolvesODE(initial * sp.exp(-2 * eta * time), value, time, -2 * eta * value, initial),
            r"Every entry of $W W^{\top}$ decays exponentially.",
        ),
    ),
    siblings=(
        FalseSibling(
            "other-gram-matrix",
            "exchange",
            r"claim it of $W^{\top} W$",
            Rate(W.T * W, {W: Q.T * R - eta * W}, -2 * eta * W.T * W),
            uses=("optimal-predictor",),
        ),
        FalseSibling(
            "exact-in-discrete-time",
            "omission",
            r"claim conservation of a discrete step without the $\varepsilon^2$ term",
            AfterStep(
                W * W.T,
                {W: (1 - epsilon * eta) * W + epsilon * Q.T * R},
                (1 - epsilon * eta) ** 2 * W * W.T,
            ),
            uses=("optimal-predictor",),
        ),
    ),
    witnesses=(Witness("optimal-predictor", Instance({k: 1, d: 1}, _one_mode(1, 1, 1, 1, 1), _scalars())),),
    instances=_optimal,
    sources=(
        Source("tang2023", "", "no decay, orthonormal start"),
        Source("ours", "", "any target, backbone and feedback"),
    ),
    belief="A perfectly trained predictor makes collapse more likely.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.6, 0.3]))\n"
        "start = np.array([[0.8, 0.1, 0.3], [0.2, 0.7, 0.5]])\n"
        "path = LinearJEPA(views, predictor_rate=np.inf).solve(start, None, times=[0.0, 3.0])\n"
        "assert np.allclose(path.encoder[1] @ path.encoder[1].T, start @ start.T)"
    ),
)

DISCRETE_DRIFT = Theorem(
    name="exact-discrete-drift",
    title="How far one gradient step moves the balance, exactly",
    chapter=3,
    statement=(
        r"One simultaneous gradient step of size $\varepsilon$ (predictor $\alpha\varepsilon$, weight decay $\eta$ in the"
        r" flow's time) first multiplies the imbalance $W W^{\top} - P^{\top} P/\alpha$ by $(1-\varepsilon\eta)^2$ and then adds"
        r" $\varepsilon^2 (P^{\top} R R^{\top} P - \alpha W R^{\top} R W^{\top})$, with $R$ the batch's own residual gradient:"
        r" it holds for every mini-batch, and tolerances of measurements come from here."
    ),
    assumptions=(THROUGH_PREDICTOR, SAME_DECAY, SIMULTANEOUS),
    proof=(
        Step(
            AfterStep(
                BALANCE,
                _STEP,
                (1 - epsilon * eta) ** 2 * BALANCE + epsilon**2 * DRIFT,
                named=r"\left(W W^{\top} - \frac{1}{\alpha} P^{\top} P\right)",
            ),
            r"Multiply out. The terms of order $\varepsilon$ cancel as in the flow, and with them the mixed terms"
            r" $\varepsilon^2\eta$; the squares of the two steps remain.",
            uses=("through-predictor", "same-decay", "simultaneous"),
            conclusion=True,
        ),
        Step(
            Equality(sp.Trace(DRIFT), sp.Trace(R.T * P * P.T * R) - alpha * sp.Trace(R * W.T * W * R.T)),
            r"In the trace the drift is $\varepsilon^2$ times the squared force on the encoder, less $\alpha$ times that on the"
            r" predictor: a layer that moves faster gains.",
        ),
    ),
    siblings=(
        FalseSibling(
            "no-drift",
            "omission",
            "claim that a discrete step conserves the balance exactly",
            AfterStep(BALANCE, _STEP, (1 - epsilon * eta) ** 2 * BALANCE),
            uses=("through-predictor", "same-decay", "simultaneous"),
        ),
        FalseSibling(
            "sign-of-drift",
            "sign",
            "exchange the two terms of the drift",
            AfterStep(BALANCE, _STEP, (1 - epsilon * eta) ** 2 * BALANCE - epsilon**2 * DRIFT),
            uses=("through-predictor", "same-decay", "simultaneous"),
        ),
        FalseSibling(
            "single-factor",
            "constant",
            r"multiply the old value by $1-\varepsilon\eta$ only once",
            AfterStep(BALANCE, _STEP, (1 - epsilon * eta) * BALANCE + epsilon**2 * DRIFT),
            uses=("through-predictor", "same-decay", "simultaneous"),
        ),
    ),
    witnesses=(
        Witness("through-predictor", Instance({k: 1, d: 1}, _one_mode(1, 2, 1, 1, 1), _scalars())),
        Witness("same-decay", Instance({k: 1, d: 1}, _one_mode(1, 2, 2, 1, 1), _scalars(predictor_decay=0))),
        # Alternating updates: the predictor's step sees the encoder after its own step, 0·1 + 2·1 = 2 instead of 1.
        Witness("simultaneous", Instance({k: 1, d: 1}, _one_mode(1, 2, 2, 1, 2), _scalars())),
    ),
    instances=_training,
    sources=(Source("ours"),),
    belief="Discretisation breaks the balance law by an amount that depends on the architecture.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.conservation import balance, discrete_drift\n"
        "rng = np.random.default_rng(0); W, R = rng.normal(size=(2, 3, 5)); P = rng.normal(size=(3, 3)); step = 0.1\n"
        "after = balance(W + step * P.T @ R, P + step * 2.0 * R @ W.T, predictor_rate=2.0)\n"
        "assert np.allclose(after - balance(W, P, predictor_rate=2.0), discrete_drift(W, P, R, step, predictor_rate=2.0))"
    ),
)

THEOREMS = (BALANCE_LAW, GRAM_CONSERVATION, DISCRETE_DRIFT)
