"""The spectral contrastive loss descends by a Riccati equation, solved for any start (result 5.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import AfterStep, Dominates, Equality, Gradient, Rate, SolvesODE
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Sigma_x, W, cross, d, k, variance

C: Any = SymmetricSymbol("C", d)
W0: Any = sp.MatrixSymbol("W_0", k, d)
E: Any = sp.MatrixSymbol("E", d, d)
Q: Any = SymmetricSymbol("Q", d)
S: Any = SymmetricSymbol("S", k)
time, square, square0 = sp.symbols("t x x_0", real=True)

LOSS: Any = tr(W * Sigma_x * W.T * W * Sigma_x * W.T) - 2 * tr(W * C * W.T)
DESCENT: Any = 4 * (W * C - W * W.T * W)
GROWTH: Any = Named("A", 4 * C)
GRAM: Any = Named("M", W.T * W)
EXPONENTIAL: Any = {E: E * GROWTH, Q: E * E.T}


def _growth(constant: int = 8) -> Any:
    """Return the matrix that divides the free exponential growth."""
    return identity(k) + constant * W0 * Q * W0.T


def _gram(constant: int = 8) -> Any:
    return E.T * W0.T * _growth(constant).I * W0 * E


def _riccati(gram: Any) -> Any:
    return GROWTH * gram + gram * GROWTH - 8 * gram * gram


LOGISTIC = cross * square0 * sp.exp(8 * cross * time)
SATURATION = cross + variance**2 * square0 * (sp.exp(8 * cross * time) - 1)

WHITENED = Assumption(
    "whitened",
    r"the inputs are white, $\Sigma_x = I$ (exchangeable views, $C$ symmetric)",
    Equation(Sigma_x, identity(d)),
)
ROOT = Assumption(
    "square-root",
    r"$S$ is a symmetric square root of $(I + 8 W Q W^{\top})^{-1}$",
    Equation(S * S, (identity(k) + 8 * W * Q * W.T).I),
)


def _contrastive(rng: random.Random, size: int) -> Instance:
    """Draw Q so that I + 8WQWᵀ is the square of a rational matrix, and a start at which the inverse exists."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    while True:
        encoder, start, root = draw.matrix(rows, columns), draw.matrix(rows, columns), draw.symmetric(rows)
        if (encoder * encoder.transpose()).det() == 0 or root.det() == 0:
            continue
        right = encoder.transpose() * (encoder * encoder.transpose()).inv()
        integral = right * ((root * root).inv() - eye(rows)) * right.transpose() * matrix([["1/8"]])[0, 0]
        if (eye(rows) + start * integral * start.transpose() * 8).det() != 0:
            break
    values = {W: encoder, W0: start, S: root, Q: integral, E: draw.matrix(columns, columns)}
    values |= {Sigma_x: eye(columns), C: draw.symmetric(columns)}
    scalars = {cross: draw.positive(), variance: draw.positive(), square0: draw.positive(), time: draw.positive() / 4}
    return Instance({k: rows, d: columns}, values, scalars)


def _one(variance_value: int, root: str) -> Instance:
    values = {W: "1", W0: "1", Q: "3/8", S: root, E: "1", C: "1", Sigma_x: str(variance_value)}
    return Instance({k: 1, d: 1}, {letter: matrix([[x]]) for letter, x in values.items()})


RICCATI = Theorem(
    name="spectral-contrastive-riccati",
    title="The spectral contrastive descent in closed form, from any start",
    chapter=5,
    statement=(
        r"On white inputs the gradient flow of $L_{\mathrm{SCL}} = \operatorname{tr} \Phi^2 - 2 \operatorname{tr} W C W^{\top}$"
        r" is $\dot W = 4(W C - W W^{\top} W)$, and $M = W^{\top} W$, which is $W$ up to a rotation of the embedding, solves the"
        r" Riccati equation $\dot M = A M + M A - 8 M^2$ with $A = 4C$. For any $W_0$ of any rank, with $E = e^{At}$ and"
        r" $Q = \int_0^t e^{2As} ds$, $M(t) = E W_0^{\top} [I + 8 W_0 Q W_0^{\top}]^{-1} W_0 E$. As the equation is"
        r" autonomous, repeated steps $W \leftarrow (I + 8 W Q_h W^{\top})^{-1/2} W e^{Ah}$ of any length $h$ are exact too,"
        r" and stay so in floating point, where the formula itself loses the slow modes once $e^{2At}$ spans all digits."
        r" One mode of any variance is logistic in $w^2$ at rate $8\lambda$, with limit $\lambda/\sigma^2$."
    ),
    assumptions=(WHITENED, ROOT),
    proof=(
        Step(
            Gradient(LOSS, W, DESCENT, named=r"L_{\mathrm{SCL}}"),
            "Differentiate the two traces.",
            uses=("whitened",),
            conclusion=True,
        ),
        Step(
            Rate(GRAM, {W: DESCENT}, _riccati(GRAM), named="M"),
            "The product rule; the right-hand side depends on $W$ through $M$ alone.",
            conclusion=True,
        ),
        Step(
            Dominates(identity(k) + W0 * E * E.T * W0.T, identity(k), W0 * E),
            r"$Q$ adds up Gram matrices: what is inverted grows from $I$ and never becomes singular.",
        ),
        Step(
            Rate(_gram(), EXPONENTIAL, _riccati(_gram()), named="M"),
            r"The outer factors, $\dot E = E A$, give the linear terms, the inverse with $\dot Q = E E^{\top}$ the square. Only"
            r" these two rules of the letters are used.",
            conclusion=True,
        ),
        Step(
            AfterStep(_gram(), {E: identity(d), Q: sp.ZeroMatrix(d, d)}, W0.T * W0, named="M"),
            r"At $t = 0$, with $E = I$ and $Q = 0$, it is the start.",
        ),
        Step(
            Equality((S * W * E).T * (S * W * E), E.T * W.T * (identity(k) + 8 * W * Q * W.T).I * W * E),
            r"The step $W \leftarrow S W E$ has the Gram matrix of the formula with $W$ for $W_0$.",
            uses=("square-root",),
            conclusion=True,
        ),
        Step(
            SolvesODE(LOGISTIC / SATURATION, square, time, 8 * square * (cross - variance**2 * square), square0),
            r"On one mode, $x = w^2$ with $\dot w = 4(\lambda w - \sigma^2 w^3)$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "four-for-eight",
            "constant",
            r"divide by $I + 4 W_0 Q W_0^{\top}$",
            Rate(_gram(4), EXPONENTIAL, _riccati(_gram(4))),
        ),
        FalseSibling(
            "growing-denominator",
            "sign",
            r"divide by $I - 8 W_0 Q W_0^{\top}$",
            Rate(_gram(-8), EXPONENTIAL, _riccati(_gram(-8))),
        ),
        FalseSibling(
            "single-rate",
            "exchange",
            r"integrate $e^{As}$ for $e^{2As}$: $\dot Q = \frac12 (E + E^{\top})$",
            Rate(_gram(), {E: E * GROWTH, Q: (E + E.T) / 2}, _riccati(_gram())),
        ),
        FalseSibling(
            "any-covariance",
            "quantifier",
            r"claim the same descent on inputs of any covariance",
            Gradient(LOSS, W, DESCENT),
            instances=lambda _rng, _size: _one(2, "1/2"),
        ),
        FalseSibling(
            "rate-of-the-weight",
            "constant",
            r"claim the logistic rate $4\lambda$ for $w^2$",
            SolvesODE(
                (LOGISTIC / SATURATION).subs(time, time / 2),
                square,
                time,
                8 * square * (cross - variance**2 * square),
                square0,
            ),
        ),
    ),
    witnesses=(
        Witness("whitened", _one(2, "1/2")),
        Witness("square-root", _one(1, "1")),
    ),
    instances=_contrastive,
    sources=(Source("ours"), Source("haochen2021", "", "the loss")),
    belief="A matrix gradient flow has a closed form only if weights and data share their directions at the start.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import SpectralContrastive, ViewPair\n"
        "c, t, W = np.array([0.9, 0.6, -0.3]), 0.7, np.array([[0.5, 0.2, 0.4], [0.1, 0.3, -0.6]])\n"
        "G = SpectralContrastive(ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag(c))).solve(W, [0.0, t]).encoder[1]\n"
        "E, Q = np.diag(np.exp(4 * c * t)), np.diag(np.expm1(8 * c * t) / (8 * c))\n"
        "assert np.allclose(G.T @ G, E @ W.T @ np.linalg.inv(np.eye(2) + 8 * W @ Q @ W.T) @ W @ E)"
    ),
)

THEOREMS = (RICCATI,)
