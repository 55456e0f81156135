"""The optimal predictor one dimension short of all: the missing direction moves linearly (result 5.8)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, ModeRate, Rate
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, logdet
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, d
from jepalign.theory.trajectories.double_bracket import bracket
from jepalign.theory.trajectories.oja import divided_difference

C: Any = SymmetricSymbol("C", d)
y: Any = sp.MatrixSymbol("y", d, 1)
y0: Any = sp.MatrixSymbol("y_0", d, 1)
E: Any = sp.MatrixSymbol("E", d, d)
kappa = sp.Symbol("kappa", real=True)
rates: Any = sp.symbols("lambda_1:5", real=True)
parts: Any = sp.symbols("y_1:5", real=True)

MISSING: Any = Named(r"\bar{\Pi}", y * (y.T * y).I * y.T)
PI: Any = Named(r"\Pi", identity(d) - y * (y.T * y).I * y.T)
FLOW: Any = {y: kappa * C * y - C * C * y}
BRACKET: Any = bracket(PI, bracket(PI, C * PI * C))

RAYLEIGH = Assumption("rayleigh-quotient", r"$\kappa = y^{\top} C y/|y|^2$", Equation(y.T * C * y, kappa * y.T * y))
EXPONENTIAL = Assumption("exponential", r"$y = E y_0$ with $E = e^{T C - t C^2}$", Equation(y, E * y0))


def _normal(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    columns = size + 1
    normal, cross, start = draw.matrix(columns, 1), draw.symmetric(columns), draw.invertible(columns)
    quotient = (normal.transpose() * cross * normal)[0, 0] / (normal.transpose() * normal)[0, 0]
    values = {y: normal, C: cross, E: start, y0: start.inv() * normal}
    scalars = {kappa: quotient} | {part: draw.positive() for part in parts}
    scalars |= dict(zip(rates, rng.sample([-4, -3, -2, -1, 1, 2, 3, 4], 4), strict=True))
    return Instance({d: columns}, values, scalars)


def _plane(quotient: int, start: list[list[int]]) -> Instance:
    values = {y: matrix([[1], [0]]), C: matrix([[1, 1], [1, 0]]), E: eye(2), y0: matrix(start)}
    return Instance({d: 2}, values, {kappa: quotient})


def _conserved(count: int) -> ModeRate:
    flow = {part: (kappa * rate - rate**2) * part for part, rate in zip(parts, rates, strict=True)}
    return ModeRate(divided_difference([sp.log(part) for part in parts[:count]], rates[:count]), flow, sp.S.Zero)


HYPERPLANE = Theorem(
    name="double-bracket-hyperplane",
    title="One dimension short of all, the flow of the optimal predictor is one scalar equation",
    chapter=5,
    statement=(
        r"Let $k = d - 1$ in the flow of the optimal predictor on white inputs, and let $y$ span the direction that the encoder"
        r" does not see, $\Pi = I - y y^{\top}/|y|^2$. With $\kappa = y^{\top} C y/|y|^2$ the double bracket $\dot\Pi = [\Pi,"
        r" [\Pi, C \Pi C]]$ is $\dot y = \kappa C y - C^2 y$, up to the length of $y$: linear but for one scalar. Hence"
        r" $y(t) = e^{T C - t C^2} y_0$ in closed form, with a single unknown function, $\dot T = \kappa = \frac12"
        r" \frac{\partial}{\partial T} \ln |e^{T C - t C^2} y_0|^2$. In the eigenbasis of $C$ the third divided differences of"
        r" $\ln y_i$ at the eigenvalues are conserved, $d - 3$ independent ones; the second ones are not."
    ),
    assumptions=(RAYLEIGH, EXPONENTIAL),
    proof=(
        Step(
            Rate(MISSING, FLOW, -BRACKET, named=r"\bar{\Pi}"),
            r"The velocity of a projector on a moving line, with $y^{\top} C y = \kappa |y|^2$; that of $\Pi$ is its negative.",
            uses=("rayleigh-quotient",),
            conclusion=True,
        ),
        Step(
            Rate(E * y0, {E: kappa * C * E - C * C * E}, kappa * C * y - C * C * y, named="y"),
            r"$E = e^{TC - tC^2}$ moves by $\dot T C E - C^2 E$, with $\dot T = \kappa$: $y = E y_0$ solves the linear equation.",
            uses=("exponential",),
            conclusion=True,
        ),
        Step(
            Rate(logdet(y.T * y), {y: C * y}, 2 * kappa, named=r"\ln |y|^2"),
            r"Moving $T$ alone moves $y$ by $C y$, and $\ln |y|^2$ by $2\kappa$.",
            uses=("rayleigh-quotient",),
            conclusion=True,
        ),
        Step(
            Equality(MISSING * MISSING, MISSING),
            "What moves is a projector.",
        ),
        Step(
            _conserved(4),
            r"$\ln y_i$ moves as a quadratic polynomial in $\lambda_i$, whose third divided difference vanishes; so does that"
            r" of a constant, the length.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "ascending",
            "sign",
            r"let the missing direction grow with $C^2$, as the seen ones do",
            Rate(MISSING, {y: C * C * y - kappa * C * y}, -BRACKET),
            uses=("rayleigh-quotient",),
        ),
        FalseSibling(
            "power-iteration",
            "omission",
            r"leave out the scalar, $\dot y = -C^2 y$",
            Rate(MISSING, {y: -C * C * y}, -BRACKET),
            uses=("rayleigh-quotient",),
        ),
        FalseSibling(
            "twice-the-clock",
            "constant",
            r"take $2\kappa$ for $\kappa$, as the gradient of $(y^{\top} C y)^2$ might suggest",
            Rate(MISSING, {y: 2 * kappa * C * y - C * C * y}, -BRACKET),
            uses=("rayleigh-quotient",),
        ),
        FalseSibling(
            "second-differences",
            "quantifier",
            r"claim the second divided differences conserved, as for one row",
            _conserved(3),
        ),
    ),
    witnesses=(
        Witness("rayleigh-quotient", _plane(3, [[1], [0]])),
        Witness("exponential", _plane(1, [[0], [1]])),
    ),
    instances=_normal,
    sources=(Source("ours"),),
    belief="The one dimension that an almost complete encoder leaves out is found by power iteration on the inverse of C².",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "c = np.array([0.9, 0.5, -0.3, -0.8]); W = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 3)))[0].T\n"
        "path = LinearJEPA(ViewPair.from_covariances(np.eye(4), np.eye(4), np.diag(c)), predictor_rate=np.inf).solve(W, None, [0, 1, 5])\n"
        "y = np.array([np.linalg.svd(w)[2][-1] for w in path.encoder]); weights = [1 / np.prod((x - c)[x != c]) for x in c]\n"
        "assert np.ptp(np.log(np.abs(y)) @ weights) < 1e-6"
    ),
)

THEOREMS = (HYPERPLANE,)
