"""Deep linear encoders: the force on one layer, the balance of neighbours, and what is left of a mode (5.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import StopGradient, SymmetricSymbol, identity, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, R, Sigma_x, Sigma_yx, V, cross, d, eta, k, variance
from jepalign.theory.trajectories.modes import CONTEXT, CROSS, LEFT, RIGHT, A, B, D_p, D_v, L, S, r

outer, middle, inner = sp.symbols("n_2 n_1 n_0", integer=True, positive=True)
above, below = sp.symbols("i j", integer=True, nonnegative=True)
u = sp.Symbol("u", real=True)
"""A layer's weight; i layers lie above it and j below, L = i + j + 1."""

Top: Any = sp.MatrixSymbol("T", k, outer)
G: Any = sp.MatrixSymbol("G", outer, middle)
H: Any = sp.MatrixSymbol("H", middle, inner)
Bottom: Any = sp.MatrixSymbol("F", inner, d)
Decoder: Any = sp.MatrixSymbol("Q", d, k)
M: Any = sp.MatrixSymbol("M", outer, r)
N: Any = sp.MatrixSymbol("N", middle, r)
D_a: Any = SymmetricSymbol("D_a", r)
D_b: Any = SymmetricSymbol("D_b", r)
D_g: Any = SymmetricSymbol("D_g", r)

ENCODER: Any = Top * G * H * Bottom
LATENT: Any = tr(P * ENCODER * Sigma_x * ENCODER.T * P.T) / 2 - tr(P * ENCODER * Sigma_yx.T * StopGradient(V).T)
RECONSTRUCTION: Any = tr(Decoder * ENCODER * Sigma_x * ENCODER.T * Decoder.T) / 2 - tr(Decoder * ENCODER * Sigma_yx.T)
LATENT_FORCE: Any = Top.T * P.T * (V * Sigma_yx - P * ENCODER * Sigma_x) * Bottom.T * H.T
DECODED_FORCE: Any = Top.T * Decoder.T * (Sigma_yx - Decoder * ENCODER * Sigma_x) * Bottom.T * H.T

# The layers move by a residual R of any loss, passed through the predictor P and whatever lies between.
FLOW: Any = {
    G: Top.T * P.T * R * Bottom.T * H.T - eta * G,
    H: G.T * Top.T * P.T * R * Bottom.T - eta * H,
}
BALANCE: Any = G.T * G - H * H.T

UPPER: Any = A * D_a * M.T
LOWER: Any = N * D_b * B.T
ONE_LAYER: Any = UPPER * M * D_g * N.T * LOWER
ALIGNED_FORCE: Any = (
    UPPER.T * (A * D_p * A.T).T * (A * D_v * B.T * Sigma_yx - A * D_p * A.T * ONE_LAYER * Sigma_x) * LOWER.T
)
LEFT_OVER: Any = D_v * L - D_p * D_a * D_g * D_b * S
FRAMES = ("left-frame", "right-frame", "context-modes", "cross-modes", "frame-above", "frame-below")

MEETS_ABOVE = Assumption(
    "frame-above", r"the layers above continue the layer's frame, $M^{\top} M = I$", Equation(M.T * M, identity(r))
)
MEETS_BELOW = Assumption("frame-below", r"and so do those below, $N^{\top} N = I$", Equation(N.T * N, identity(r)))


def _velocity(power: Any) -> Any:
    """Return the velocity of a layer at u, with the product of the other layers and the predictor at u."""
    encoder = u ** (above + below + 1)
    return u**above * u * (cross * power - variance * u * encoder) * u**below


JEPA_MODE: Any = _velocity(u ** (above + below + 1))
DECODER_MODE: Any = _velocity(sp.S.One)


def _diagonal(entries: list[Any]) -> Any:
    size = len(entries)
    return matrix([[entries[i] if i == j else 0 for j in range(size)] for i in range(size)])


def _deep(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rank = rng.randint(1, size)
    rows, columns, widths = (
        rank + rng.randint(0, 1),
        rank + rng.randint(0, 1),
        [rank + rng.randint(0, 1) for _ in "abc"],
    )
    right = draw.orthogonal(columns)
    spread, shared = ([f() for _ in range(columns)] for f in (draw.positive, draw.number))

    def frame(height: int, whole: Any = None) -> Any:
        full = draw.orthogonal(height) if whole is None else whole
        return matrix([[full[i, j] for j in range(rank)] for i in range(height)])

    values = {letter: _diagonal([draw.number() for _ in range(rank)]) for letter in (D_a, D_b, D_g, D_p, D_v)}
    values |= {A: frame(rows), B: frame(columns, right), M: frame(widths[0]), N: frame(widths[1])}
    values |= {S: _diagonal(spread[:rank]), L: _diagonal(shared[:rank])}
    values |= {Sigma_x: right * _diagonal(spread) * right.transpose()}
    values |= {Sigma_yx: right * _diagonal(shared) * right.transpose()}
    values |= {Top: draw.matrix(rows, widths[0]), G: draw.matrix(widths[0], widths[1])}
    values |= {H: draw.matrix(widths[1], widths[2]), Bottom: draw.matrix(widths[2], columns)}
    values |= {P: draw.matrix(rows, rows), R: draw.matrix(rows, columns), V: draw.matrix(rows, columns)}
    values |= {Decoder: draw.matrix(columns, rows)}
    scalars = {eta: draw.positive(), cross: draw.number(), variance: draw.positive(), u: draw.positive()}
    scalars |= {above: rng.randint(0, 3), below: rng.randint(0, 3)}
    return Instance(
        {k: rows, d: columns, r: rank, outer: widths[0], middle: widths[1], inner: widths[2]}, values, scalars
    )


def _numbers(**changes: int) -> Instance:
    names = {"A": A, "B": B, "M": M, "N": N, "S": S, "L": L}
    letters = (*names.values(), D_a, D_b, D_g, D_p, D_v, Sigma_x, Sigma_yx, Top, G, H, Bottom, P, R, V, Decoder)
    values = {letter: matrix([[2 if letter in {S, Sigma_x} else 1]]) for letter in letters}
    values |= {names[name]: matrix([[value]]) for name, value in changes.items()}
    return Instance(dict.fromkeys((k, d, r, outer, middle, inner), 1), values, {eta: 1})


LAYERS = Theorem(
    name="deep-layers",
    title="Neighbouring layers of a deep linear encoder stay balanced, and an aligned mode has one weight",
    chapter=5,
    statement=(
        r"Let an encoder be a product of linear layers, $W = T G H F$ with neighbours $G$ and $H$, under a linear predictor or"
        r" decoder $P$. For *any* loss on the prediction, $R$ its residual force, $\dot G = T^{\top} P^{\top} R F^{\top}"
        r" H^{\top} - \eta G$ and $\dot H = G^{\top} T^{\top} P^{\top} R F^{\top} - \eta H$, so that $G^{\top} G - H H^{\top}$"
        r" decays as $e^{-2\eta t}$. Latent prediction has $R = V \Sigma_{yx} - P W \Sigma_x$, reconstruction $R = \Sigma_{yx} -"
        r" P W \Sigma_x$. If all frames meet, the flow moves only the diagonals; and a mode in which all $L$ layers and the"
        r" predictor have the weight $u$ keeps this, with $\dot u = u^{2L}(\lambda - \sigma u)$ for the JEPA ($V = W$) and"
        r" $\dot u = u^{L}(\lambda - \sigma u^{L+1})$ for the autoencoder, without decay and wherever in the stack the layer is."
    ),
    assumptions=(LEFT, RIGHT, CONTEXT, CROSS, MEETS_ABOVE, MEETS_BELOW),
    proof=(
        Step(
            Gradient(LATENT, G, LATENT_FORCE, named=r"L_{\mathrm{JEPA}}"),
            r"The chain rule through the layers above, $T$, and below, $H F$, for $\frac12 \mathbb{E}\lVert P W x -"
            r" \operatorname{sg}(V y) \rVert^2$ up to a constant,",
            conclusion=True,
        ),
        Step(
            Gradient(RECONSTRUCTION, G, DECODED_FORCE, named=r"L_{\mathrm{MAE}}"),
            r"and for $\frac12 \mathbb{E}\lVert Q W x - y \rVert^2$ with a decoder $Q$.",
            conclusion=True,
        ),
        Step(
            Rate(BALANCE, FLOW, -2 * eta * BALANCE),
            r"$G^{\top} \dot G$ and $\dot H H^{\top}$ are the same matrix $G^{\top} T^{\top} P^{\top} R F^{\top} H^{\top}$, for"
            r" every $R$; the decay remains.",
            conclusion=True,
        ),
        Step(
            Equality(ALIGNED_FORCE, M * (D_a * D_p * LEFT_OVER * D_b) * N.T),
            r"With layer $M D_g N^{\top}$, layers above $A D_a M^{\top}$ and below $N D_b B^{\top}$ the frames cancel pairwise: the"
            r" velocity has the layer's own frames, and a product of diagonal matrices between.",
            uses=FRAMES,
            conclusion=True,
        ),
        Step(
            ScalarIdentity(JEPA_MODE, u ** (2 * (above + below + 1)) * (cross - variance * u)),
            r"One entry, with $i$ layers above and $j$ below at $u$, $L = i + j + 1$, and $v = u^L$: the same for every $i$ and"
            r" $j$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(DECODER_MODE, u ** (above + below + 1) * (cross - variance * u ** (above + below + 2))),
            r"For the autoencoder the target is the input's mode itself, $v = 1$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "norms-of-the-grams",
            "exchange",
            r"claim the law for the difference of the squared norms of the Gram matrices",
            Rate(
                tr(G * G.T * G * G.T) - tr(H * H.T * H * H.T),
                FLOW,
                -4 * eta * (tr(G * G.T * G * G.T) - tr(H * H.T * H * H.T)),
            ),
        ),
        FalseSibling(
            "sum-of-grams",
            "sign",
            r"claim that the sum $G^{\top} G + H H^{\top}$ decays",
            Rate(G.T * G + H * H.T, FLOW, -2 * eta * (G.T * G + H * H.T)),
        ),
        FalseSibling(
            "layers-above-forgotten",
            "omission",
            r"leave the layers above out of the force",
            Equality(ALIGNED_FORCE, M * (D_p * LEFT_OVER * D_b) * N.T),
            uses=FRAMES,
        ),
        FalseSibling(
            "one-power-fewer",
            "constant",
            r"claim $\dot u = u^{2L-1}(\lambda - \sigma u)$",
            ScalarIdentity(JEPA_MODE, u ** (2 * (above + below) + 1) * (cross - variance * u)),
        ),
        FalseSibling(
            "decoder-of-the-latent",
            "exchange",
            r"claim the JEPA's repulsion for the autoencoder, $\dot u = u^L(\lambda - \sigma u)$",
            ScalarIdentity(DECODER_MODE, u ** (above + below + 1) * (cross - variance * u)),
        ),
    ),
    witnesses=(
        Witness("left-frame", _numbers(A=2)),
        Witness("right-frame", _numbers(B=2)),
        Witness("context-modes", _numbers(S=1)),
        Witness("cross-modes", _numbers(L=3)),
        Witness("frame-above", _numbers(M=2)),
        Witness("frame-below", _numbers(N=2)),
    ),
    instances=_deep,
    sources=(
        Source("littwin2024", "(7), (8)", "the two modes, from a balanced start, with L times this clock; second-hand"),
        Source("tian2021", "Theorem 1", "balance of encoder and predictor"),
        Source("ours", "", "frames and covariances as general as here"),
    ),
    belief="Layers near the input learn a mode later than layers near the output.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); G, H = rng.normal(size=(3, 4)), rng.normal(size=(4, 2)); B = G.T @ G - H @ H.T\n"
        "for _ in range(2000):  # any residual, here that of least squares on white inputs\n"
        "    R = np.eye(3, 2) - G @ H\n"
        "    G, H = G + 1e-4 * R @ H.T, H + 1e-4 * G.T @ R\n"
        "assert np.allclose(G.T @ G - H @ H.T, B, atol=1e-2)"
    ),
)

THEOREMS = (LAYERS,)
