"""The repulsion of a JEPA as explicit negatives: exactly on white inputs, between bounds on others (2.2)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Gradient
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import StopGradient, identity, squared_norm, tr
from jepalign.theory.implicit_uniformity.learnt import BALANCED, WHITENED
from jepalign.theory.proof import (
    Assumption,
    Equation,
    FalseSibling,
    Inequality,
    Semidefinite,
    Source,
    Step,
    Theorem,
    Witness,
)
from jepalign.theory.setting import (
    Draw,
    K,
    P,
    Phi,
    Sigma_x,
    Sigma_yx,
    V,
    W,
    alpha,
    d,
    k,
)

z: Any = sp.MatrixSymbol("z", k, 1)
SHARED = Assumption("shared-encoder", r"the target encoder is the encoder, $V = W$ (SimSiam)", Equation(V, W))
SYMMETRIC_CROSS = Assumption(
    "symmetric-cross-covariance", r"$\Sigma_{yx}^{\top} = \Sigma_{yx}$", Equation(Sigma_yx.T, Sigma_yx)
)
NEGATIVES: Any = alpha * tr(Phi * Phi) / 4
CONTRASTIVE = (tr(Phi * Phi) - 2 * tr(K)) / 4


def _balanced(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, predictor, rate = draw.balanced(rows, columns)
    values = {W: encoder, V: encoder, P: predictor, Sigma_x: eye(columns), Sigma_yx: draw.symmetric(columns)}
    return Instance({k: rows, d: columns}, values, {alpha: rate})


def _mode(encoder: int, target: int, predictor: int, variance_x: int) -> Instance:
    values = {W: encoder, V: target, P: predictor, Sigma_x: variance_x, Sigma_yx: 1}
    return Instance({k: 1, d: 1}, {letter: matrix([[entry]]) for letter, entry in values.items()}, {alpha: 1})


REPULSION_EQUIVALENCE = Theorem(
    name="repulsion-equivalence",
    title="On white inputs the repulsion is that of explicit negatives, exactly",
    chapter=2,
    statement=(
        r"Let $P^{\top} P = \alpha W W^{\top}$ and $\Sigma_x = I$. Then the repulsive term of the JEPA is the gradient of explicit"
        r" negatives, $-P^{\top} P W \Sigma_x = -\frac{\alpha}{4} \nabla_W \mathbb{E} (z^{\top} z')^2$ with independent $z, z'$. With"
        r" one encoder for both views the two forces are $P^{\top} W \Sigma_{yx} - \alpha W W^{\top} W$ and, for a quarter of the"
        r" spectral contrastive loss, $W \Sigma_{yx} - W W^{\top} W$: only the attraction differs, by the factor $P^{\top}$."
    ),
    assumptions=(BALANCED, WHITENED, SHARED, SYMMETRIC_CROSS),
    proof=(
        Step(
            Gradient(
                NEGATIVES,
                W,
                -P.T * P * W * Sigma_x,
                named=r"\frac{\alpha}{4} \mathbb{E} (z^{\top} z')^{2}",
            ),
            r"By duality the negatives are $\operatorname{tr}\Phi^2$, with gradient $4 \Phi W \Sigma_x = 4 W W^{\top} W$ on white"
            r" inputs; balance turns $\alpha W W^{\top}$ into $P^{\top} P$.",
            uses=("balanced", "whitened"),
            conclusion=True,
        ),
        Step(
            Equality(
                P.T * V * Sigma_yx - P.T * P * W * Sigma_x,
                P.T * W * Sigma_yx - alpha * W * W.T * W,
            ),
            "The whole force of the JEPA.",
            uses=("balanced", "whitened", "shared-encoder"),
            conclusion=True,
        ),
        Step(
            Gradient(CONTRASTIVE, W, W * Sigma_yx - W * W.T * W, named=r"\frac{1}{4} L_{\mathrm{SCL}}"),
            "The whole force of the spectral contrastive loss, which sees only the symmetric part of the cross-covariance.",
            uses=("whitened", "symmetric-cross-covariance"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half-of-the-negatives",
            "constant",
            r"take $\frac{\alpha}{2}$ instead of $\frac{\alpha}{4}$",
            Gradient(2 * NEGATIVES, W, -P.T * P * W * Sigma_x),
            uses=("balanced", "whitened"),
        ),
        FalseSibling(
            "other-side",
            "exchange",
            r"exchange $P^{\top} P$ for $P P^{\top}$",
            Gradient(NEGATIVES, W, -P * P.T * W * Sigma_x),
            uses=("balanced", "whitened"),
        ),
        FalseSibling(
            "equal-attraction",
            "quantifier",
            "claim equality of the whole forces",
            Equality(P.T * W * Sigma_yx - P.T * P * W, W * Sigma_yx - alpha * W * W.T * W),
            uses=("balanced", "whitened"),
        ),
    ),
    witnesses=(
        Witness("balanced", _mode(1, 1, 2, 1)),
        Witness("whitened", _mode(1, 1, 1, 2)),
        Witness("shared-encoder", _mode(1, 2, 1, 1)),
        Witness(
            "symmetric-cross-covariance",
            Instance(
                {k: 2, d: 2},
                {W: eye(2), V: eye(2), P: eye(2), Sigma_x: eye(2), Sigma_yx: matrix([[0, 1], [-1, 0]])},
                {alpha: 1},
            ),
        ),
    ),
    instances=_balanced,
    sources=(
        Source("ours"),
        Source("tao2022", "", "the predictor's quadratic form as a repulsion from past samples"),
        Source("tian2021", "Theorem 1", "balance"),
    ),
    belief="The implicit repulsion of a JEPA is a loose analogy to negatives.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.5, 0.2]))\n"
        "P = np.array([[0.8, 0.1], [0.1, 0.5]]); W = P @ np.eye(2, 3)\n"
        "implicit = LinearJEPA(views).forces(W, P, W).implicit_repulsion\n"
        "assert np.allclose(implicit, SpectralContrastive(views).forces(W).explicit_repulsion / 4)"
    ),
)

low, high = sp.symbols(r"\sigma_{\min} \sigma_{\max}", real=True)
above: Any = sp.MatrixSymbol("E", d, d)
below: Any = sp.MatrixSymbol("F", d, d)


def _bounded(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    encoder, predictor, rate = draw.balanced(rows, columns)
    least, gap = draw.positive(), draw.matrix(columns, columns)
    inner = gap * gap.transpose()
    covariance = eye(columns) * least + inner
    trace = sum((inner[i, i] for i in range(columns)), draw.positive())
    return Instance(
        {k: rows, d: columns},
        {W: encoder, P: predictor, Sigma_x: covariance, z: draw.matrix(rows, 1)},
        {alpha: rate, low: least, high: least + trace},
    )


BOUNDS = (
    Assumption(
        "largest-variance",
        r"$\Sigma_x \preceq \sigma_{\max} I$ with $\sigma_{\max} I - \Sigma_x = E E^{\top}$",
        Semidefinite(high * identity(d) - Sigma_x, above, (Sigma_x, high * identity(d) - above * above.T)),
    ),
    Assumption(
        "smallest-variance",
        r"$\Sigma_x \succeq \sigma_{\min} I$ with $\Sigma_x - \sigma_{\min} I = F F^{\top}$",
        Semidefinite(Sigma_x - low * identity(d), below, (Sigma_x, low * identity(d) + below * below.T)),
    ),
    Assumption(
        "positive-rates",
        r"$\alpha \ge 0$, $\sigma_{\max} > 0$ and $\sigma_{\min} > 0$",
        Inequality(sp.And(alpha >= 0, low > 0, high > 0)),
    ),
)


def _bounded_mode(predictor: int, context: object, least: object, most: object, rate: object = 1) -> Instance:
    values = {W: 1, P: predictor, Sigma_x: context, z: 1}
    return Instance(
        {k: 1, d: 1},
        {letter: matrix([[entry]]) for letter, entry in values.items()},
        {alpha: rate, low: least, high: most},
    )


REPULSION_SANDWICH = Theorem(
    name="repulsion-sandwich",
    title="On any inputs the repulsion is that of negatives up to the condition number, and exactly that of white ones",
    chapter=2,
    statement=(
        r"Let $P^{\top} P = \alpha W W^{\top}$ and $\sigma_{\min} I \preceq \Sigma_x \preceq \sigma_{\max} I$. In Loewner order"
        r" $\frac{\alpha}{\sigma_{\max}} \Phi \preceq P^{\top} P \preceq \frac{\alpha}{\sigma_{\min}} \Phi$. And exactly, for every"
        r" $\Sigma_x$, the repulsive term is $-\frac{\alpha}{2} \nabla_W \mathbb{E} (z^{\top} \operatorname{sg} z')^2$ with"
        r" $z' = W \xi$ for white $\xi$: negatives drawn from white inputs. Sample by sample,"
        r" $\lVert P z \rVert^2 = \alpha \mathbb{E}_{\xi} (z^{\top} W \xi)^2$: the length of a prediction is the squared dot product with"
        r" every such embedding."
    ),
    assumptions=(BALANCED, *BOUNDS),
    proof=(
        Step(
            Gradient(
                alpha * tr(Phi * StopGradient(W) * StopGradient(W).T) / 2,
                W,
                -P.T * P * W * Sigma_x,
                named=r"\frac{\alpha}{2} \mathbb{E} (z^{\top} \operatorname{sg} z')^{2}",
            ),
            r"With white negatives $\mathbb{E} z' z'^{\top} = W W^{\top}$, frozen; the remaining quadratic form in $W$ has twice"
            r" $\alpha W W^{\top} W \Sigma_x/2$ for its gradient.",
            uses=("balanced",),
            conclusion=True,
        ),
        Step(
            Dominates(P.T * P, alpha / high * Phi, sp.sqrt(alpha / high) * W * above),
            r"$\alpha W W^{\top} - \frac{\alpha}{\sigma_{\max}} W \Sigma_x W^{\top} = \frac{\alpha}{\sigma_{\max}} (W E)(W E)^{\top}$.",
            uses=("balanced", "largest-variance", "positive-rates"),
            conclusion=True,
        ),
        Step(
            Dominates(alpha / low * Phi, P.T * P, sp.sqrt(alpha / low) * W * below),
            r"$\frac{\alpha}{\sigma_{\min}} W \Sigma_x W^{\top} - \alpha W W^{\top} = \frac{\alpha}{\sigma_{\min}} (W F)(W F)^{\top}$.",
            uses=("balanced", "smallest-variance", "positive-rates"),
            conclusion=True,
        ),
        Step(
            Equality(squared_norm(P * z), alpha * squared_norm(W.T * z)),
            r"$\mathbb{E}_{\xi} (z^{\top} W \xi)^2 = z^{\top} W W^{\top} z$.",
            uses=("balanced",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "bounds-exchanged",
            "exchange",
            r"exchange $\sigma_{\min}$ and $\sigma_{\max}$",
            Dominates(P.T * P, alpha / low * Phi, sp.sqrt(alpha / low) * W * below),
            uses=("balanced", "smallest-variance"),
        ),
        FalseSibling(
            "moving-negatives",
            "quantifier",
            "let the gradient reach the negatives and keep the factor",
            Gradient(alpha * tr(Phi * W * W.T) / 2, W, -P.T * P * W * Sigma_x),
            uses=("balanced",),
        ),
        FalseSibling(
            "own-negatives",
            "exchange",
            "draw the negatives from the data instead of white inputs",
            Gradient(alpha * tr(Phi * StopGradient(Phi)) / 2, W, -P.T * P * W * Sigma_x),
            uses=("balanced",),
        ),
    ),
    witnesses=(
        Witness("balanced", _bounded_mode(2, 2, 1, 3)),
        Witness("largest-variance", _bounded_mode(1, 2, 1, 1)),
        Witness("smallest-variance", _bounded_mode(1, 2, 3, 4)),
        Witness("positive-rates", _bounded_mode(1, 1, -1, 2)),
    ),
    instances=_bounded,
    sources=(Source("ours"), Source("tao2022")),
    belief="The equivalence with negatives needs whitened inputs.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); W = rng.normal(size=(3, 5)); z = rng.normal(size=3)\n"
        "P = np.linalg.cholesky(W @ W.T).T  # balanced, alpha = 1\n"
        "negatives = rng.normal(size=(200_000, 5)) @ W.T\n"
        "assert np.isclose(np.sum((P @ z) ** 2), np.mean((negatives @ z) ** 2), rtol=0.02)"
    ),
)

THEOREMS = (REPULSION_EQUIVALENCE, REPULSION_SANDWICH)
