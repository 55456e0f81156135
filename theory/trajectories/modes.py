"""Why one mode is enough: weights aligned with the data stay aligned, and every mode moves by itself (chapter 5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, ScalarIdentity
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import StopGradient, SymmetricSymbol, identity, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Sigma_x, Sigma_yx, alpha, cross, d, eta, k, p, variance, w

r = sp.Symbol("r", integer=True, positive=True)
v = sp.Symbol("v", real=True)
A: Any = sp.MatrixSymbol("A", k, r)
B: Any = sp.MatrixSymbol("B", d, r)
S: Any = SymmetricSymbol("S", r)
L: Any = SymmetricSymbol(r"\Lambda", r)
D_w: Any = SymmetricSymbol("D_w", r)
D_v: Any = SymmetricSymbol("D_v", r)
D_p: Any = SymmetricSymbol("D_p", r)
W: Any = sp.MatrixSymbol("W", k, d)
P: Any = sp.MatrixSymbol("P", k, k)
V: Any = sp.MatrixSymbol("V", k, d)

LOSS: Any = tr(P * W * Sigma_x * W.T * P.T) / 2 - tr(P * W * Sigma_yx.T * StopGradient(V).T)
FORCE: Any = P.T * (V * Sigma_yx - P * W * Sigma_x)
ALIGNED: Any = {W: A * D_w * B.T, V: A * D_v * B.T, P: A * D_p * A.T}
RESIDUAL: Any = D_v * L - D_p * D_w * S


def _aligned(expression: Any) -> Any:
    return expression.subs(ALIGNED)


LEFT = Assumption("left-frame", r"the columns of $A$ are orthonormal, $A^{\top} A = I$", Equation(A.T * A, identity(r)))
RIGHT = Assumption(
    "right-frame", r"the columns of $B$ are orthonormal, $B^{\top} B = I$", Equation(B.T * B, identity(r))
)
CONTEXT = Assumption(
    "context-modes",
    r"they are eigenvectors of the context's covariance, $B^{\top} \Sigma_x = S B^{\top}$",
    Equation(B.T * Sigma_x, S * B.T),
)
CROSS = Assumption(
    "cross-modes",
    r"and left eigenvectors of the cross-covariance, $B^{\top} \Sigma_{yx} = \Lambda B^{\top}$",
    Equation(B.T * Sigma_yx, L * B.T),
)


def _diagonal(entries: list[Any]) -> Any:
    size = len(entries)
    return matrix([[entries[i] if i == j else 0 for j in range(size)] for i in range(size)])


def frames(rng: random.Random, size: int) -> Instance:
    """Draw weights in the first r directions of an orthogonal frame in which both covariances are diagonal."""
    draw = Draw(rng)
    rank = rng.randint(1, size)
    rows, columns = rank + rng.randint(0, 1), rank + rng.randint(0, 2)
    left, right = draw.orthogonal(rows), draw.orthogonal(columns)
    spread = [draw.positive() for _ in range(columns)]
    shared = [draw.number() for _ in range(columns)]
    weights = {letter: _diagonal([draw.number() for _ in range(rank)]) for letter in (D_w, D_v, D_p)}
    frame_a = matrix([[left[i, j] for j in range(rank)] for i in range(rows)])
    frame_b = matrix([[right[i, j] for j in range(rank)] for i in range(columns)])
    values = weights | {A: frame_a, B: frame_b, S: _diagonal(spread[:rank]), L: _diagonal(shared[:rank])}
    values |= {
        Sigma_x: right * _diagonal(spread) * right.transpose(),
        Sigma_yx: right * _diagonal(shared) * right.transpose(),
        W: frame_a * weights[D_w] * frame_b.transpose(),
        V: frame_a * weights[D_v] * frame_b.transpose(),
        P: frame_a * weights[D_p] * frame_a.transpose(),
    }
    root, weight = draw.positive(), draw.number()
    scalars = {alpha: root * root, eta: draw.positive(), w: weight, p: root * weight, v: weight}
    return Instance({k: rows, d: columns, r: rank}, values, scalars | {variance: spread[0], cross: shared[0]})


def _numbers(**changes: int) -> Instance:
    letters: dict[str, Any] = {
        "A": A, "B": B, "S": S, "L": L, "D_w": D_w, "D_v": D_v, "D_p": D_p, "x": Sigma_x, "yx": Sigma_yx
    }  # fmt: skip
    values = {
        letter: matrix([[changes.get(name, 1 + (name == "x") + (name == "S"))]]) for name, letter in letters.items()
    }
    scalars = {alpha: 1, eta: 1, w: 1, p: 1, v: 1, variance: 2, cross: 1}
    return Instance({k: 1, d: 1, r: 1}, values, scalars)


MODES = Theorem(
    name="aligned-modes",
    title="Aligned weights stay aligned, and the flow is one planar system per mode",
    chapter=5,
    statement=(
        r"If encoder, target and predictor are $W = A D_w B^{\top}$, $V = A D_v B^{\top}$, $P = A D_p A^{\top}$ in frames of"
        r" which $B$ spans eigenvectors of the data, with values $S = \operatorname{diag} \sigma_i$ and $\Lambda ="
        r" \operatorname{diag} \lambda_i$, then the flow of the JEPA loss moves only $D_w, D_v, D_p$. If these are diagonal"
        r" they stay so, and mode by mode $\dot w = p(\lambda v - \sigma p w) - \eta w$, $\dot p = \alpha w(\lambda v - \sigma"
        r" p w) - \eta p$, $\dot v = \beta(w - v)$. For $v = w$, on balance $p = \sqrt{\alpha} w$, this is $\dot w = a w^2 - b"
        r" w^3 - \eta w$ with $a = \sqrt{\alpha}\lambda$, $b = \alpha\sigma$: the sign of $w$ is the predictor's."
    ),
    assumptions=(LEFT, RIGHT, CONTEXT, CROSS),
    proof=(
        Step(
            Gradient(LOSS, W, FORCE, named="L"),
            r"The force of $\frac12 \mathbb{E}\lVert P W x - \operatorname{sg}(V y) \rVert^2$, up to a constant $L$, on the encoder.",
        ),
        Step(
            Gradient(LOSS, P, (V * Sigma_yx - P * W * Sigma_x) * W.T, named="L"),
            r"And on the predictor (times $\alpha$ it is its velocity).",
        ),
        Step(
            Equality(_aligned(FORCE), A * (D_p * RESIDUAL) * B.T),
            r"Each factor moves through the frames: $B^{\top}$ takes $\Sigma_x$ and $\Sigma_{yx}$ to $S$ and $\Lambda$, and"
            r" $A^{\top} A = I$. The encoder's velocity has the encoder's frames.",
            uses=("left-frame", "right-frame", "context-modes", "cross-modes"),
            conclusion=True,
        ),
        Step(
            Equality(_aligned((V * Sigma_yx - P * W * Sigma_x) * W.T), A * (RESIDUAL * D_w) * A.T),
            r"The predictor's velocity likewise. Decay and $\dot V = \beta(W - V)$ keep the frames anyway; products of diagonal"
            r" matrices are diagonal, so the modes of $D_w, D_v, D_p$ do not mix.",
            uses=("left-frame", "right-frame", "context-modes", "cross-modes"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (p * (cross * v - variance * p * w)).subs({p: sp.sqrt(alpha) * w, v: w}),
                sp.sqrt(alpha) * cross * w**2 - alpha * variance * w**3,
            ),
            r"On balance, with $V = W$: the mode of chapter 4.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "predictor-for-encoder",
            "exchange",
            "multiply the predictor's residual by the predictor in place of the encoder",
            Equality(_aligned((V * Sigma_yx - P * W * Sigma_x) * W.T), A * (RESIDUAL * D_p) * A.T),
            uses=("left-frame", "right-frame", "context-modes", "cross-modes"),
        ),
        FalseSibling(
            "one-predictor-factor",
            "omission",
            "forget that the force passes through the predictor",
            Equality(_aligned(FORCE), A * RESIDUAL * B.T),
            uses=("left-frame", "right-frame", "context-modes", "cross-modes"),
        ),
        FalseSibling(
            "repulsion-of-the-target",
            "sign",
            "add the repulsion to the attraction",
            Equality(_aligned(FORCE), A * (D_p * (D_v * L + D_p * D_w * S)) * B.T),
            uses=("left-frame", "right-frame", "context-modes", "cross-modes"),
        ),
    ),
    witnesses=(
        Witness("left-frame", _numbers(A=2)),
        Witness("right-frame", _numbers(B=2)),
        Witness("context-modes", _numbers(S=1)),
        Witness("cross-modes", _numbers(L=3)),
    ),
    instances=frames,
    sources=(
        Source("tian2021", "Section 3", "decoupled modes with an aligned predictor"),
        Source("ours", "", "general frames, covariances and target"),
    ),
    belief="Modes decouple because the encoder's rows are eigenvectors; the predictor's frame does not matter.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, -0.5]))\n"
        "path = LinearJEPA(views).solve(np.diag([0.3, 0.2]), np.diag([0.5, -0.6]), times=[0.0, 4.0])\n"
        "assert abs(path.encoder[1][0, 1]) < 1e-12 and abs(path.predictor[1][1, 0]) < 1e-12"
    ),
)

THEOREMS = (MODES,)
