"""The balance law with biases: the encoder's joins the encoder, the predictor's is free (result 3.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Gradient, Rate
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Q, W, X, Z, alpha, d, epsilon, eta, k, m

bias: Any = sp.MatrixSymbol("b", k, 1)
predictor_bias: Any = sp.MatrixSymbol("c", k, 1)
one: Any = sp.MatrixSymbol("j", m, 1)
pull: Any = sp.MatrixSymbol("F", k, m)
predictor_decay, bias_decay = sp.symbols(r"\eta_P \eta_b", real=True)

EMBEDDINGS: Any = W * X + bias * one.T
PREDICTION: Any = P * EMBEDDINGS + predictor_bias * one.T
LINEARISED: Any = -tr(pull.T * PREDICTION)
ENCODER: Any = W * W.T + bias * bias.T
BALANCE: Any = ENCODER - P.T * P / alpha
SHOWN = r"\left(W W^{\top} + b b^{\top} - \frac{1}{\alpha} P^{\top} P\right)"

THROUGH = Assumption(
    "through-predictor", "the force reaches the encoder through the predictor itself, $Q = P$", Equation(Q, P)
)
ADJACENT = Assumption(
    "adjacent",
    r"the predictor reads and is trained on the encoder's present output, $Z = W X + b j^{\top}$: no normalisation"
    r" in between, no update before the other",
    Equation(Z, EMBEDDINGS),
)
SAME_DECAY = Assumption("same-decay", r"weights decay at one rate, $\eta_P = \eta$", Equation(predictor_decay, eta))
BIAS_DECAY = Assumption(
    "bias-decays", r"the encoder's bias decays with them, $\eta_b = \eta$", Equation(bias_decay, eta)
)
ALL = (THROUGH, ADJACENT, SAME_DECAY, BIAS_DECAY)
USES = tuple(a.name for a in ALL)

FORCES: Any = {W: Q.T * pull * X.T, bias: Q.T * pull * one, P: alpha * pull * Z.T, predictor_bias: pull * one}
DECAYS: Any = {W: eta, bias: bias_decay, P: predictor_decay, predictor_bias: sp.S.Zero}
FLOW: Any = {letter: force - DECAYS[letter] * letter for letter, force in FORCES.items()}
STEPPED: Any = {letter: letter + epsilon * velocity for letter, velocity in FLOW.items()}
DRIFT: Any = P.T * pull * (X.T * X + one * one.T) * pull.T * P - alpha * EMBEDDINGS * pull.T * pull * EMBEDDINGS.T


def _training(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, offset, predictor = draw.matrix(rows, columns), draw.matrix(rows, 1), draw.matrix(rows, rows)
    samples, ones = draw.matrix(columns, size + 1), matrix([[1]] * (size + 1))
    decay = draw.positive()
    return Instance(
        {k: rows, d: columns, m: size + 1},
        {
            W: encoder,
            bias: offset,
            P: predictor,
            Q: predictor,
            X: samples,
            one: ones,
            Z: encoder * samples + offset * ones.transpose(),
            pull: draw.matrix(rows, size + 1),
            predictor_bias: draw.matrix(rows, 1),
        },
        {alpha: draw.positive(), eta: decay, predictor_decay: decay, bias_decay: decay, epsilon: draw.positive()},
    )


def _sample(feedback: int = 1, seen: int = 2, decays: tuple[int, int, int] = (0, 0, 0)) -> Instance:
    """Return one sample of one mode, everything 1 unless said: the embedding is 1·1 + 1 = 2."""
    values = {W: 1, bias: 1, P: 1, Q: feedback, X: 1, one: 1, Z: seen, pull: 1, predictor_bias: 1}
    scalars = dict(zip((eta, predictor_decay, bias_decay), decays, strict=True)) | {alpha: 1, epsilon: 1}
    return Instance({k: 1, d: 1, m: 1}, {letter: matrix([[value]]) for letter, value in values.items()}, scalars)


def _rate(quantity: Any) -> Rate:
    return Rate(quantity, FLOW, -2 * eta * quantity)


BIASED_BALANCE = Theorem(
    name="balance-with-bias",
    title="An encoder bias joins the balance law, a predictor bias is free of it",
    chapter=3,
    statement=(
        r"Let the last layer of any backbone be $W h + b$ and the predictor $P z + c$, and let $F$ hold, sample by sample, the"
        r" descent direction $-\partial L/\partial \hat z$ of any loss on the predictions $\hat Z = P Z + c j^{\top}$,"
        r" with $Z = W X + b j^{\top}$ for inputs $X$ of that layer and"
        r" $j$ the vector of ones. If $W$, $b$ and $P$ decay at one rate $\eta$ and"
        r" $P$ learns at $\alpha$ times the rate of $W$ and $b$, then $W W^{\top} + b b^{\top} - P^{\top} P/\alpha$ decays as"
        r" $e^{-2\eta t}$; one simultaneous step of size $\varepsilon$ multiplies it by $(1-\varepsilon\eta)^2$ and adds"
        r" $\varepsilon^2 \left(P^{\top} F (X^{\top} X + j j^{\top}) F^{\top} P - \alpha Z F^{\top} F Z^{\top}"
        r" \right)$. The bias $c$ enters neither, at whatever rate it learns or decays. Without $b b^{\top}$ the law is false."
    ),
    assumptions=ALL,
    proof=(
        Step(
            Gradient(LINEARISED, W, P.T * pull * X.T, named="L"),
            r"To first order the loss falls by $\operatorname{tr} F^{\top} \delta\hat Z$; read off the force on each layer.",
        ),
        Step(
            Gradient(LINEARISED, bias, P.T * pull * one, named="L"), "The bias is a weight on the constant input one."
        ),
        Step(
            Gradient(LINEARISED, P, pull * EMBEDDINGS.T, named="L"),
            "The predictor's force meets the embedding, bias included.",
        ),
        Step(Gradient(LINEARISED, predictor_bias, pull * one, named="L"), "Its bias is pushed by the mean residual."),
        Step(
            Rate(
                ENCODER,
                {letter: force.subs(Q, P) for letter, force in FORCES.items() if letter in (W, bias)},
                P.T * pull * EMBEDDINGS.T + EMBEDDINGS * pull.T * P,
            ),
            r"Weights and bias together gain $P^{\top} F Z^{\top}$ and its transpose, which is what $P^{\top} P/\alpha$ gains.",
        ),
        Step(
            _rate(BALANCE),
            r"The forces cancel, the decay remains; $c$ does not occur.",
            uses=USES,
            conclusion=True,
        ),
        Step(
            AfterStep(BALANCE, STEPPED, (1 - epsilon * eta) ** 2 * BALANCE + epsilon**2 * DRIFT, named=SHOWN),
            r"In a discrete step the squares of the three steps are left over.",
            uses=USES,
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "bias-forgotten",
            "omission",
            r"claim the law of $W W^{\top} - P^{\top} P/\alpha$ for an encoder with a bias",
            _rate(W * W.T - P.T * P / alpha),
            uses=USES,
        ),
        FalseSibling(
            "both-biases",
            "quantifier",
            r"let the predictor's bias join the predictor",
            _rate(BALANCE - predictor_bias * predictor_bias.T / alpha),
            uses=USES,
        ),
        FalseSibling(
            "bias-with-the-predictor",
            "sign",
            r"count the encoder's bias on the predictor's side",
            _rate(W * W.T - bias * bias.T - P.T * P / alpha),
            uses=USES,
        ),
        FalseSibling(
            "drift-without-the-constant-input",
            "omission",
            r"keep the drift of a layer without bias, $X^{\top} X$ for $X^{\top} X + j j^{\top}$",
            AfterStep(
                BALANCE,
                STEPPED,
                (1 - epsilon * eta) ** 2 * BALANCE
                + epsilon**2 * (P.T * pull * X.T * X * pull.T * P - alpha * EMBEDDINGS * pull.T * pull * EMBEDDINGS.T),
            ),
            uses=USES,
        ),
    ),
    witnesses=(
        Witness("through-predictor", _sample(feedback=2)),
        # The predictor reads a centred embedding, 0 instead of 2: a normalisation in between.
        Witness("adjacent", _sample(seen=0)),
        Witness("same-decay", _sample(decays=(1, 0, 1))),
        # Biases exempt from weight decay, as most training scripts have it.
        Witness("bias-decays", _sample(decays=(1, 1, 0))),
    ),
    instances=_training,
    sources=(
        Source("ours"),
        Source("tian2021", "Theorem 1", "linear encoder and predictor without biases, squared loss"),
    ),
    belief="Biases are harmless for the balance of encoder and predictor, because they carry no direction.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.conservation import balance, discrete_drift\n"
        "rng = np.random.default_rng(0); W, P, F = rng.normal(size=(3, 5)), rng.normal(size=(3, 3)), rng.normal(size=(3, 7))\n"
        "X = np.vstack([rng.normal(size=(4, 7)), np.ones(7)]); R = F @ X.T  # the bias is the last column of W\n"
        "after = balance(W + 0.1 * P.T @ R, P + 0.2 * F @ (W @ X).T, predictor_rate=2.0)\n"
        "assert np.allclose(after - balance(W, P, predictor_rate=2.0), discrete_drift(W, P, R, 0.1, predictor_rate=2.0))"
    ),
)

THEOREMS = (BIASED_BALANCE,)
