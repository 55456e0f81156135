"""Said of masks: that they make joint-embedding prediction contrastive-like."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Implication
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, squared_norm, tr
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
from jepalign.theory.setting import Draw, cross, d, eta, variance

tokens: Any = SymmetricSymbol("S", d)
root: Any = sp.MatrixSymbol("L", d, d)
mask: Any = SymmetricSymbol("D", d)
combined_root: Any = sp.MatrixSymbol("B", d, d)
visible = sp.Symbol("q", real=True)

MASK = Assumption(
    "mask", r"$D = \operatorname{diag}(m)$ of a mask of zeros and ones: $D^2 = D$", Equation(mask * mask, mask)
)
COVARIANCE = Assumption(
    "covariance",
    r"$S$ is the covariance of the tokens: $S \succeq 0$",
    Semidefinite(tokens, root, (tokens, root * root.T)),
)
VISIBLE = Assumption("visible-rate", r"$q$ is the rate of visible tokens: $q \ge 0$", Inequality(visible >= 0))


def _masked(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    half = draw.matrix(size, size)
    chosen = [rng.randint(0, 1) for _ in range(size)]
    values = {
        root: half,
        tokens: half * half.transpose(),
        mask: matrix([[chosen[i] if i == j else 0 for j in range(size)] for i in range(size)]),
        combined_root: matrix([[0] * size for _ in range(size)]),
    }
    scalars = {
        visible: 1 / (1 + draw.positive()) ** 2,
        cross: draw.number(),
        variance: draw.positive(),
        eta: draw.positive(),
    }
    return Instance({d: size}, values, scalars)


def _one(tokens_value: int, mask_value: int, rate: int) -> Instance:
    values = {
        tokens: matrix([[tokens_value]]),
        root: eye(1),
        mask: matrix([[mask_value]]),
        combined_root: matrix([[0]]),
    }
    return Instance({d: 1}, values, {visible: rate})


ONE: Any = sp.Identity(d)

MASKING_IS_CONTRASTIVE = Theorem(
    name="masking-is-contrastive",
    title="Masking makes a JEPA contrastive-like",
    chapter=8,
    statement=(
        r"Hidden and visible parts of one input are said to play the roles of negatives, so that a masked JEPA would keep what a"
        r" contrastive loss on the same masked views keeps."
    ),
    said=(
        Step(
            Implication(4 * cross > eta, given=(variance > 0, eta > 0, cross**2 > 4 * eta * variance)),
            r"On masked views a mode that the JEPA keeps ($\lambda^2 > 4\eta\sigma$) the spectral contrastive loss keeps too"
            r" ($4\lambda > \eta$).",
        ),
        Step(
            Dominates((ONE - mask) * tokens * mask + mask * tokens * (ONE - mask), sp.ZeroMatrix(d, d), root),
            r"Hidden and visible tokens are positively related in every direction: the cross-covariance of the two parts,"
            r" symmetrised, is positive semidefinite.",
            uses=("mask", "covariance"),
        ),
    ),
    repair=(
        r"It depends on what is masked on the target side. *Input-masked* targets $y = (1-m) \circ u$: $\Sigma_{yx} ="
        r" \mathbb{E}\,(I - D) S D$ has trace zero, whatever the masks and the tokens; unless it vanishes it has negative"
        r" directions, which the JEPA can keep and a contrastive loss on the same views drops. *Output-masked* targets (I-JEPA), $y"
        r" = u$, with independent masks: $\Sigma_{yx} = q S \succeq 0$; no direction is anticorrelated, and on this count prediction"
        r" and contrast agree."
    ),
    assumptions=(MASK, COVARIANCE, VISIBLE),
    proof=(
        Step(
            Equality(tr((ONE - mask) * tokens * mask), sp.S.Zero),
            r"$\operatorname{tr} (I - D) S D = \operatorname{tr} S (D - D^2)$: no token is hidden and visible at once. The"
            r" expectation over masks keeps a zero trace zero.",
            uses=("mask",),
            conclusion=True,
        ),
        Step(
            Equality(tr(combined_root * combined_root.T), squared_norm(combined_root)),
            r"A positive semidefinite $C = B B^{\top}$ has trace $\lVert B \rVert^2$: with trace zero it is zero. So a cross-"
            r"covariance of trace zero is indefinite or nothing.",
        ),
        Step(
            Dominates(visible * tokens, sp.ZeroMatrix(d, d), sp.sqrt(visible) * root),
            r"With the whole input as target and each token visible at rate $q$ independently, $\mathbb{E}\, u (D u)^{\top} = S\,"
            r" \mathbb{E} D = q S$.",
            uses=("covariance", "visible-rate"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "trace-of-the-visible",
            "omission",
            r"forget that the target is masked: $\operatorname{tr} S D = 0$",
            Equality(tr(tokens * mask), sp.S.Zero),
            uses=("mask",),
        ),
        FalseSibling(
            "vanishes-altogether",
            "quantifier",
            "claim that the cross-covariance itself vanishes, not only its trace",
            Equality((ONE - mask) * tokens * mask, sp.ZeroMatrix(d, d)),
            uses=("mask",),
        ),
        FalseSibling(
            "anticorrelated",
            "sign",
            r"claim that output-masked targets are anticorrelated with the context: $-qS \succeq 0$",
            Dominates(-visible * tokens, sp.ZeroMatrix(d, d), sp.sqrt(visible) * root),
            uses=("covariance", "visible-rate"),
        ),
    ),
    witnesses=(
        # A soft mask of one half: the token is half hidden and half visible.
        Witness("mask", Instance({d: 1}, {**_one(1, 1, 1).matrices, mask: matrix([["1/2"]])}, {visible: 1})),
        Witness("covariance", _one(-1, 1, 1)),
        Witness("visible-rate", _one(1, 1, -1)),
    ),
    instances=_masked,
    sources=(Source("ours"), Source("assran2023", "", "masks the output of the target encoder")),
    kind="belief",
    belief="Whether a JEPA masks pixels or embeddings of the target is an implementation detail.",
    example=(
        "import numpy as np\n"
        "S = 0.5 + 0.5 * np.eye(4); masks = np.random.default_rng(0).integers(0, 2, (500, 4)).astype(float)\n"
        "hidden = np.mean([np.outer(1 - m, m) for m in masks], 0) * S  # input-masked targets\n"
        "assert abs(np.trace(hidden)) < 1e-12 and np.linalg.eigvalsh(hidden + hidden.T)[0] < -0.1"
    ),
)

THEOREMS = (MASKING_IS_CONTRASTIVE,)
