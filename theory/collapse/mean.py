"""What a predictor without a bias does to the mean of the embedding (result 4.8)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Equality, Implication
from jepalign.theory.collapse.gauge import EMBEDDINGS, SHIFTED, TARGETS, one, shift, shifted
from jepalign.theory.exact import Instance, Sampler, eye, matrix
from jepalign.theory.expressions import identity
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, k, p, w

mean: Any = sp.MatrixSymbol("n", k, 1)
miss: Any = sp.MatrixSymbol("g", k, 1)
inverse: Any = sp.MatrixSymbol("M", k, k)
resolvent: Any = sp.MatrixSymbol("N", k, k)

UNBIASED: Any = P * EMBEDDINGS - TARGETS

NO_BIAS = Assumption(
    "no-predictor-bias",
    r"the predictor has no bias: with one mean $n$ of embeddings and targets it misses by $g = n - P n$ on average",
    Equation(miss, mean - P * mean),
)
AT_REST = Assumption(
    "at-rest",
    r"the encoder's bias is at rest, $P^{\top} g = 0$ (and the target's, following it, too)",
    Equation(P.T * miss, sp.ZeroMatrix(k, 1)),
)
LIVING = Assumption(
    "living-predictor", r"$P$ is invertible: $M P^{\top} = I$ for some $M$", Equation(inverse * P.T, identity(k))
)
RESOLVENT = Assumption(
    "resolvent",
    r"$I - P$ is invertible: $N (I - P) = I$ for some $N$",
    Equation(resolvent * P, resolvent - identity(k)),
)


def _without_bias(rng: random.Random, size: int) -> Instance:
    drawn = shifted(rng, size)
    rows, draw = drawn.sizes[k], Draw(rng)
    while True:
        predictor = draw.invertible(rows)
        if (eye(rows) - predictor).det() != 0:
            break
    none = matrix([[0]] * rows)
    return drawn.with_(
        {
            P: predictor,
            inverse: predictor.transpose().inv(),
            resolvent: (eye(rows) - predictor).inv(),
            mean: none,
            miss: none,
        },
        {p: "1/3", w: draw.number()},
    )


def _with(predictor: int) -> Sampler:
    """Draw instances at P = 0 or P = 1, at rest with any mean."""

    def draw(rng: random.Random, size: int) -> Instance:
        drawn = _without_bias(rng, size)
        rows = drawn.sizes[k]
        average = Draw(rng).matrix(rows, 1)
        return drawn.with_({P: eye(rows) * predictor, mean: average, miss: average * (1 - predictor)})

    return draw


def _moving(rng: random.Random, size: int) -> Instance:
    drawn = _without_bias(rng, size)
    average = Draw(rng).matrix(drawn.sizes[k], 1)
    return drawn.with_({mean: average, miss: average - drawn.matrices[P] * average})


def _one_mean(average: str, missed: str, predictor: str, inverses: tuple[str, str]) -> Instance:
    values = {mean: average, miss: missed, P: predictor, inverse: inverses[0], resolvent: inverses[1]}
    return Instance({k: 1}, {letter: matrix([[x]]) for letter, x in values.items()})


CENTRED = Theorem(
    name="mean-without-predictor-bias",
    title="Without a bias in the predictor a mean of zero alone is at rest, but for dead and perfect directions, and it repels",
    chapter=4,
    statement=(
        r"Let the predictor have no bias and embeddings and targets one mean $n$. Where the encoder's bias is at rest, $n = 0$"
        r" if $P$ and $I - P$ are invertible. And only then: shifting both means by $u$ moves every residual by $P u - u$ and"
        r" the sum of the forces on the encoder's bias by $j^{\top} j\, P^{\top}(P u - u)$. Along a $u$ with $P u = u$ no"
        r" residual notices, as with a predictor bias; along a $u$ with $P^{\top}(P u - u) = 0$, as where $P$ is dead,"
        r" the loss notices but nothing moves. Such a $u \ne 0$ exists if and only if $P$ or $I - P$ is singular. Rest is not"
        r" attraction: on a direction with $0 < p < 1$ the force $p(1-p)n$ drives the mean away from zero, for the constant is"
        r" a perfectly predictable input, and a learning predictor ends at $P n = n$."
    ),
    assumptions=(NO_BIAS, AT_REST, LIVING, RESOLVENT),
    proof=(
        Step(
            Equality(miss, inverse * P.T * miss),
            r"Where $P$ is invertible the force $P^{\top} g$ hides nothing.",
            uses=("living-predictor",),
            name="visible",
        ),
        Step(
            Equality(miss, sp.ZeroMatrix(k, 1)),
            "So the average miss is zero at rest.",
            uses=("at-rest", "visible"),
            name="hit",
            conclusion=True,
        ),
        Step(
            Equality(mean, resolvent * miss),
            r"$N g = N (I - P) n = n$: the miss determines the mean.",
            uses=("no-predictor-bias", "resolvent"),
            name="recovered",
            conclusion=True,
        ),
        Step(Equality(mean, sp.ZeroMatrix(k, 1)), "Together.", uses=("hit", "recovered"), conclusion=True),
        Step(
            AfterStep(UNBIASED, SHIFTED, UNBIASED + (P * shift - shift) * one.T, named=r"\left(P Z - \bar Z\right)"),
            r"Conversely, a common shift enters the residuals through $P u - u$ alone,",
            conclusion=True,
        ),
        Step(
            AfterStep(
                P.T * UNBIASED * one,
                SHIFTED,
                P.T * UNBIASED * one + P.T * (P * shift - shift) * one.T * one,
                named=r"\left(P^{\top} (P Z - \bar Z) j\right)",
            ),
            r"and the force on the bias through $P^{\top}(P u - u)$, whose matrix $P^{\top}(P - I)$ is singular if and only if"
            r" one of its factors is.",
            conclusion=True,
        ),
        Step(
            Implication(w * (p * (1 - p) * w) > 0, given=(p > 0, p < 1, sp.Ne(w, 0))),
            r"On a direction of a symmetric predictor the force $P^{\top} g$ on the mean $n = w$ is $p(1-p)w$. (That the"
            r" predictor ends at $P n = n$ is the optimal predictor of a constant input; not more is claimed.)",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "perfect-predictor",
            "quantifier",
            r"drop the condition on $I - P$",
            Equality(mean, sp.ZeroMatrix(k, 1)),
            uses=("no-predictor-bias", "at-rest", "living-predictor"),
            instances=_with(1),
        ),
        FalseSibling(
            "dead-predictor",
            "omission",
            r"drop the condition on $P$: ask only that $I - P$ be invertible",
            Equality(mean, sp.ZeroMatrix(k, 1)),
            uses=("no-predictor-bias", "at-rest", "resolvent"),
            instances=_with(0),
        ),
        FalseSibling(
            "sign-of-the-miss",
            "sign",
            r"claim $n = -N g$",
            Equality(mean, -resolvent * miss),
            uses=("no-predictor-bias", "resolvent"),
            instances=_moving,
        ),
        FalseSibling(
            "free-along-the-kernel-of-the-predictor",
            "exchange",
            r"claim that the residuals move by $P u$, so that they do not notice the kernel of $P$",
            AfterStep(UNBIASED, SHIFTED, UNBIASED + P * shift * one.T),
        ),
    ),
    witnesses=(
        # A predictor bias of ½: g = n − Pn − c = 1 − ½ − ½.
        Witness("no-predictor-bias", _one_mean("1", "0", "1/2", ("2", "2"))),
        # Before training: the bias still moves.
        Witness("at-rest", _one_mean("1", "1/2", "1/2", ("2", "2"))),
        Witness("living-predictor", _one_mean("1", "1", "0", ("0", "1"))),
        Witness("resolvent", _one_mean("1", "0", "1", ("1", "0"))),
    ),
    instances=_without_bias,
    sources=(Source("ours"),),
    belief="Without a bias in the predictor training centres the embedding.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "P = np.diag([0.5, 1.0, 0.0])  # living, perfect, dead\n"
        "path = integrate(lambda s: {'b': P.T @ (s['b'] - P @ s['b'])}, {'b': np.ones(3)}, np.array([0.0, 4.0]))\n"
        "assert np.allclose(path.states['b'][1], [np.exp(0.25 * 4), 1.0, 1.0])"
    ),
)

THEOREMS = (CENTRED,)
