"""What no loss of differences and no prediction loss determines: the mean of the embedding (result 4.8)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Gradient
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, V, W, X, Y, d, k, m

bias: Any = sp.MatrixSymbol("b", k, 1)
target_bias: Any = sp.MatrixSymbol(r"\bar{b}", k, 1)
predictor_bias: Any = sp.MatrixSymbol("c", k, 1)
shift: Any = sp.MatrixSymbol("u", k, 1)
target_shift: Any = sp.MatrixSymbol(r"\bar{u}", k, 1)
predictor_shift: Any = sp.MatrixSymbol("v", k, 1)
one: Any = sp.MatrixSymbol("j", m, 1)
differences: Any = sp.MatrixSymbol(r"\Delta", m, m)
rate = sp.Symbol("beta", real=True)

EMBEDDINGS: Any = W * X + bias * one.T
TARGETS: Any = V * Y + target_bias * one.T
RESIDUALS: Any = P * EMBEDDINGS + predictor_bias * one.T - TARGETS
GAUGE: Any = {
    bias: bias + shift,
    target_bias: target_bias + target_shift,
    predictor_bias: predictor_bias + predictor_shift,
}
SHIFTED: Any = {bias: bias + shift, target_bias: target_bias + shift}

SAME_SHIFT = Assumption("same-shift", r"encoder and target move together, $\bar u = u$", Equation(target_shift, shift))
COMPENSATED = Assumption(
    "compensated", r"the predictor's bias makes up for it, $v = u - P u$", Equation(predictor_shift, shift - P * shift)
)
DIFFERENCES = Assumption(
    "differences",
    r"the columns of $\Delta$ add up to zero, $j^{\top}\Delta = 0$: $Z\Delta$ holds differences of embeddings",
    Equation(one.T * differences, sp.ZeroMatrix(1, m)),
)


def shifted(rng: random.Random, size: int) -> Instance:
    """Draw encoders, a predictor, biases and a compensated shift of them."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    samples = size + 1
    move, predictor = draw.matrix(rows, 1), draw.matrix(rows, rows)
    pairs = draw.matrix(samples, samples)
    average = matrix([[sum(column) / samples for column in pairs.transpose().tolist()]] * samples)
    return Instance(
        {k: rows, d: columns, m: samples},
        {
            W: draw.matrix(rows, columns),
            V: draw.matrix(rows, columns),
            P: predictor,
            X: draw.matrix(columns, samples),
            Y: draw.matrix(columns, samples),
            one: matrix([[1]] * samples),
            **{letter: draw.matrix(rows, 1) for letter in (bias, target_bias, predictor_bias)},
            shift: move,
            target_shift: move,
            predictor_shift: move - predictor * move,
            differences: pairs - average,
        },
        {rate: draw.positive()},
    )


def _one_sample(target: int, predictor: int, difference: int) -> Instance:
    """Return one sample at P = 2 and u = 1, for which v = −1 compensates."""
    values = {W: 1, V: 1, P: 2, X: 1, Y: 1, one: 1, bias: 1, target_bias: 1, predictor_bias: 1, shift: 1}
    values |= {target_shift: target, predictor_shift: predictor, differences: difference}
    return Instance({k: 1, d: 1, m: 1}, {letter: matrix([[x]]) for letter, x in values.items()}, {rate: 1})


MEAN_GAUGE = Theorem(
    name="mean-gauge",
    title="Nothing in the loss determines the mean of the embedding",
    chapter=4,
    statement=(
        r"Let encoder, target and predictor have biases: $Z = W X + b j^{\top}$, $\bar Z = V Y + \bar b j^{\top}$,"
        r" $\hat Z = P Z + c j^{\top}$ ($j$ the vector of ones). For every $u$ the change $(b, \bar b, c) \to"
        r" (b + u, \bar b + u, c + u - P u)$ leaves every single residual $\hat Z - \bar Z$ as it was, so any loss on the"
        r" prediction and its gradient; $Z - \bar Z$, so any invariance term; $Z\Delta$ for all differences of embeddings, so"
        r" variances, covariances and distances; and the velocity of a moving average of the bias. The loss fixes $c$ alone:"
        r" at its stationary point in $c$ the mean residual vanishes, $c = \bar\mu - P\mu$, and $c = (I - P)\mu$ if both"
        r" views have the mean $\mu$. Centring or a decay of the biases is what chooses $\mu$."
    ),
    assumptions=(SAME_SHIFT, COMPENSATED, DIFFERENCES),
    proof=(
        Step(
            AfterStep(RESIDUALS, GAUGE, RESIDUALS, named=r"\left(\hat Z - \bar Z\right)"),
            r"The prediction moves by $P u + v = u$, and so does its target.",
            uses=("same-shift", "compensated"),
            conclusion=True,
        ),
        Step(
            AfterStep(EMBEDDINGS - TARGETS, GAUGE, EMBEDDINGS - TARGETS, named=r"\left(Z - \bar Z\right)"),
            "Both encoders move alike.",
            uses=("same-shift",),
            conclusion=True,
        ),
        Step(
            AfterStep(EMBEDDINGS * differences, GAUGE, W * X * differences, named=r"\left(Z \Delta\right)"),
            r"A common shift drops out of differences, and with it the bias itself.",
            uses=("differences",),
            conclusion=True,
        ),
        Step(
            AfterStep(rate * (bias - target_bias), GAUGE, rate * (bias - target_bias), named=r"\dot{\bar b}"),
            r"The moving average follows $b - \bar b$.",
            uses=("same-shift",),
            conclusion=True,
        ),
        Step(
            Gradient(
                squared_norm(RESIDUALS) / 2,
                predictor_bias,
                TARGETS * one - P * EMBEDDINGS * one - predictor_bias * one.T * one,
            ),
            r"The gradient in $c$ is the sum of the residuals. Divided by their number, $j^{\top} j$, it vanishes where"
            r" $c = \bar\mu - P\mu$: one equation, for $c$, at whatever $\mu$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "sign-of-the-compensation",
            "sign",
            r"let the predictor's bias move by $P u - u$",
            AfterStep(RESIDUALS, GAUGE | {predictor_bias: predictor_bias - predictor_shift}, RESIDUALS),
            uses=("same-shift", "compensated"),
        ),
        FalseSibling(
            "no-compensation",
            "omission",
            r"leave the predictor's bias where it is",
            AfterStep(RESIDUALS, SHIFTED, RESIDUALS),
        ),
        FalseSibling(
            "transposed-predictor",
            "exchange",
            r"compensate by $u - P^{\top} u$",
            AfterStep(RESIDUALS, SHIFTED | {predictor_bias: predictor_bias + shift - P.T * shift}, RESIDUALS),
        ),
        FalseSibling(
            "second-moments",
            "quantifier",
            r"claim invariance of the second moments about zero as well",
            AfterStep(EMBEDDINGS * EMBEDDINGS.T, GAUGE, EMBEDDINGS * EMBEDDINGS.T),
            uses=("same-shift", "compensated"),
        ),
    ),
    witnesses=(
        Witness("same-shift", _one_sample(target=0, predictor=-1, difference=0)),
        Witness("compensated", _one_sample(target=1, predictor=0, difference=0)),
        Witness("differences", _one_sample(target=1, predictor=-1, difference=1)),
    ),
    instances=shifted,
    sources=(Source("ours"),),
    belief="Training centres the embedding.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); x, y = rng.normal(size=(2, 4, 9)); W, V = rng.normal(size=(2, 3, 4))\n"
        "P, (b, t, c, u) = rng.normal(size=(3, 3)), rng.normal(size=(4, 3, 1))\n"
        "residual = lambda b, t, c: P @ (W @ x + b) + c - V @ y - t\n"
        "assert np.allclose(residual(b + u, t + u, c + u - P @ u), residual(b, t, c))"
    ),
)

THEOREMS = (MEAN_GAUGE,)
