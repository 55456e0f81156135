"""One row with the optimal predictor: Oja's flow in a clock of its own (result 5.8)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, ModeRate, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, logdet, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, d, k

row: Any = sp.MatrixSymbol("w", 1, d)
C: Any = SymmetricSymbol("C", d)
E: Any = sp.MatrixSymbol("E", d, d)
W0: Any = sp.MatrixSymbol("W_0", k, d)
kappa = sp.Symbol("kappa", real=True)
PROJECTOR: Any = Named(r"\Pi", row.T * row)
FORCE: Any = kappa * (row * C - kappa * row)
FLOW: Any = {row: FORCE}
SOLVED: Any = E.T * W0.T * (W0 * E * E.T * W0.T).I * W0 * E
VOLUME: Any = W0 * E * E.T * W0.T

ratio, ratio0 = sp.symbols("x x_0", real=True)
rates: Any = sp.symbols("lambda_1:4", real=True)
parts: Any = sp.symbols("w_1:4", real=True)
KAPPA2: Any = (rates[0] + rates[1] * ratio) / (1 + ratio)
TIME: Any = (
    sp.log(ratio / ratio0) / rates[0]
    - (rates[1] - rates[0])
    / (rates[0] * rates[1])
    * sp.log((rates[0] + rates[1] * ratio) / (rates[0] + rates[1] * ratio0))
) / (2 * (rates[1] - rates[0]))

UNIT = Assumption("unit", r"$w w^{\top} = 1$", Equation(row * row.T, identity(1)))
RAYLEIGH = Assumption(
    "rayleigh-quotient",
    r"$\kappa = w C w^{\top}$, the optimal predictor of a unit row on white inputs",
    Equation(row * C * row.T, kappa * identity(1)),
)


def _oja(projector: Any) -> Any:
    return C * projector + projector * C - 2 * projector * C * projector


def divided_difference(values: Any, nodes: Any) -> Any:
    """Return the divided difference of the given values at the given nodes."""
    return sp.Add(
        *(
            value / sp.Mul(*(node - other for other in nodes if other is not node))
            for value, node in zip(values, nodes, strict=True)
        )
    )


def _rows(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    columns, many = size + 1, rng.randint(1, size)
    weight, cross = draw.orthonormal_rows(1, columns), draw.symmetric(columns)
    begin = draw.matrix(many, columns)
    quotient = (weight * cross * weight.transpose())[0, 0]
    scalars = {kappa: quotient} | {letter: draw.number() for letter in (*parts, ratio, ratio0)}
    scalars |= dict(zip(rates, rng.sample([-3, -2, -1, 1, 2, 3], 3), strict=True))
    values = {row: weight, C: cross, E: draw.matrix(columns, columns), W0: begin}
    return Instance({k: many, d: columns}, values, scalars)


def _row(weight: list[int], quotient: int) -> Instance:
    values = {row: matrix([weight]), C: matrix([[1, 1], [1, 0]])}
    return Instance({k: 1, d: 2}, values, {kappa: quotient})


OJA = Theorem(
    name="oja-flow",
    title="One row with the optimal predictor follows Oja's flow, forwards or backwards",
    chapter=5,
    statement=(
        r"For $k = 1$, on white inputs, $|w| = 1$, with the optimal predictor $\kappa = w C w^{\top}$: $\dot w = \kappa(w C -"
        r" \kappa w)$ is Oja's flow [@oja1982] in the clock $d\tau = \kappa\,dt$, which runs backwards where $\kappa < 0$. Hence"
        r" $w(\tau) = w_0 e^{C\tau}/|w_0 e^{C\tau}|$ (the projector on the rows solves Oja's equation for any $k$), with time the"
        r" quadrature $t = \int d\tau/\kappa$, $\kappa = \frac12 \frac{d}{d\tau} \ln |w_0 e^{C\tau}|^2$, elementary in two"
        r" dimensions. $\kappa^2$ never falls, so $\kappa$ keeps its sign and $\tau \to \pm\infty$: a start with $\kappa > 0$ ends"
        r" at the most positive eigenvalue it sees, one with $\kappa < 0$ at the most negative, whatever their sizes."
        r" In $d$ dimensions $d - 2$ divided differences of $\ln w_i$ at the eigenvalues are conserved."
    ),
    assumptions=(UNIT, RAYLEIGH),
    proof=(
        Step(
            Rate(row * row.T, FLOW, sp.ZeroMatrix(1, 1)),
            r"The length stays: $w \dot w^{\top} = \kappa(\kappa - \kappa) = 0$.",
            uses=("unit", "rayleigh-quotient"),
            conclusion=True,
        ),
        Step(
            Rate(PROJECTOR, FLOW, kappa * _oja(PROJECTOR), named=r"\Pi"),
            r"The projector moves by Oja's equation, times $\kappa$: a change of clock.",
            uses=("rayleigh-quotient",),
            conclusion=True,
        ),
        Step(
            Rate(SOLVED, {E: E * C}, _oja(SOLVED), named=r"\Pi"),
            r"In that clock the projector on the rows of $W_0 E$, $E = e^{C\tau}$, solves it, for any number of rows. Only"
            r" $\frac{d}{d\tau} E = E C$ is used.",
            conclusion=True,
        ),
        Step(
            AfterStep(SOLVED, {E: identity(d)}, W0.T * (W0 * W0.T).I * W0, named=r"\Pi"),
            r"It starts at the projector on the rows of $W_0$.",
        ),
        Step(
            Rate(logdet(VOLUME), {E: E * C}, 2 * tr(C * SOLVED)),
            r"For one row the right-hand side is $2\kappa$: the clock needs one quadrature.",
            conclusion=True,
        ),
        Step(
            Rate(tr(row * C * row.T), FLOW, 2 * kappa * squared_norm(row * C - kappa * row), named=r"\kappa"),
            r"In time $\kappa$ moves away from zero, on whichever side it is; so $|\kappa|$ is bounded below by its start and"
            r" $\tau$ runs to $\pm\infty$, where $e^{C\tau}$ selects an extreme eigenvalue.",
            uses=("unit", "rayleigh-quotient"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(TIME, ratio) * 2 * (rates[1] - rates[0]) * KAPPA2 * ratio, sp.S.One),
            r"In two dimensions $x = (w_2/w_1)^2$ obeys $\dot x = 2(\lambda_2 - \lambda_1)\kappa x$ with $\kappa = (\lambda_1 +"
            r" \lambda_2 x)/(1 + x)$; this is the time it takes.",
        ),
        Step(
            ModeRate(
                divided_difference([sp.log(part) for part in parts], rates),
                {part: kappa * (rate - kappa) * part for part, rate in zip(parts, rates, strict=True)},
                sp.S.Zero,
            ),
            r"Along an eigenvector of $C$, $\ln w_i$ moves linearly in $\lambda_i$, and the second divided difference of a linear"
            r" function vanishes: one conserved quantity for every three eigenvalues, $d - 2$ of them independent.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "same-clock",
            "omission",
            r"claim Oja's flow in the time of training",
            Rate(PROJECTOR, FLOW, _oja(PROJECTOR)),
            uses=("unit", "rayleigh-quotient"),
        ),
        FalseSibling(
            "largest-magnitude",
            "quantifier",
            r"claim that $\kappa$ itself always grows, towards the largest eigenvalue",
            Rate(
                tr(row * C * row.T),
                FLOW,
                2 * squared_norm(row * C - kappa * row),
            ),
            uses=("unit", "rayleigh-quotient"),
        ),
        FalseSibling(
            "pull-without-the-two",
            "constant",
            r"subtract $\Pi C \Pi$ once",
            Rate(SOLVED, {E: E * C}, C * SOLVED + SOLVED * C - SOLVED * C * SOLVED),
        ),
        FalseSibling(
            "descending-quotient",
            "sign",
            r"claim that $\kappa$ moves towards zero",
            Rate(tr(row * C * row.T), FLOW, -2 * kappa * squared_norm(row * C - kappa * row)),
            uses=("unit", "rayleigh-quotient"),
        ),
    ),
    witnesses=(
        Witness("unit", _row([2, 0], 4)),
        Witness("rayleigh-quotient", _row([1, 0], 2)),
    ),
    instances=_rows,
    sources=(
        Source("oja1982", "", "the flow of one row"),
        Source("tang2023", "", "self-prediction with the optimal predictor"),
        Source("ours", "", "the clock, its sign, the conserved quantities"),
    ),
    belief="A row trained by self-prediction finds the eigenvalue of largest magnitude.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "C = np.diag([0.9, 0.3, -0.8]); model = LinearJEPA(ViewPair.from_covariances(np.eye(3), np.eye(3), C), predictor_rate=np.inf)\n"
        "ends = [model.solve([w], None, [0.0, 90.0]).encoder[1, 0] ** 2 for w in ([0.6, 0.0, 0.8], [0.8, 0.0, 0.6])]\n"
        "assert np.allclose(ends, [[0, 0, 1], [1, 0, 0]], atol=1e-6)"
    ),
)

THEOREMS = (OJA,)
