"""When masked views have a symmetric cross-covariance, and how the two conventions for the target are one problem (7.1)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq, fmpq_mat

from jepalign.theory.claims import Equality, Implication
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.masking.conventions import EQUALLY_VISIBLE, HELD_OUT, ONE, expected, visible
from jepalign.theory.masking.hadamard import (
    ENTRY,
    TOKEN_E,
    TOKEN_F,
    basis_vector,
    diagonal,
    e,
    f,
    mask,
    mu,
    nu,
    tokens,
)
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Sigma_x, V, W, cross, d, k, variance

often_e, often_f, entry = sp.symbols("q_e q_f s_ef", real=True)

CORRELATED = Assumption("correlated", r"the two tokens are correlated: $s_{ef} \ne 0$", Inequality(sp.Ne(entry, 0)))


def _laws(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    total = size + 1
    covariance = draw.positive_definite(total)
    seen = [rng.randint(0, 1) for _ in range(total)]
    i, j = rng.sample(range(total), 2)
    rate = 1 / (1 + draw.positive())
    values = {
        tokens: covariance,
        mask: diagonal(seen),
        expected: eye(total) * rate,
        e: basis_vector(total, i),
        f: basis_vector(total, j),
    }
    first = draw.positive()
    scalars = {
        mu: seen[i],
        nu: seen[j],
        visible: rate,
        often_e: first,
        often_f: first if size == 1 else first + draw.positive(),
        entry: covariance[i, j] or 1,
    }
    return Instance({d: total}, values, scalars)


def _on_a_line(rng: random.Random, size: int) -> Instance:
    """Give the mean of the mask for a hidden block of two tokens, at any of its places on a line of three or more."""
    instance = _laws(rng, max(size, 2))
    total = instance.sizes[d]
    places = total - 1
    seen = [1 - fmpq(min(2, i + 1, total - i), places) for i in range(total)]
    return instance.with_({expected: diagonal(seen)})


def _pair(mean: Any, **scalars: Any) -> Instance:
    values = {
        tokens: matrix([[2, 1], [1, 2]]),
        mask: matrix([[1, 0], [0, 0]]),
        expected: mean,
        e: matrix([[1], [0]]),
        f: matrix([[0], [1]]),
    }
    letters = {"mu": mu, "nu": nu, "entry": entry, "often_e": often_e, "often_f": often_f}
    numbers: dict[Any, Any] = {mu: 1, nu: 0, visible: "1/2", often_e: 1, often_f: 1, entry: 1}
    return Instance({d: 2}, values, {**numbers, **{letters[name]: value for name, value in scalars.items()}})


HALF: Any = matrix([["1/2", 0], [0, "1/2"]])

MASK_SYMMETRY = Theorem(
    name="mask-symmetry",
    title="Masked views have a symmetric cross-covariance iff correlated tokens are equally often visible",
    chapter=7,
    statement=(
        r"For either convention, $\Sigma_{yx} - \Sigma_{yx}^{\top} = S \bar D - \bar D S$ with the mean mask $\bar D ="
        r" \mathbb{E}\, D$; its entry at two tokens is $(q_f - q_e) s_{ef}$. So $\Sigma_{yx}$ is symmetric iff"
        r" correlated tokens are visible equally often, and for a covariance without zeros iff all are: i.i.d. masks"
        r" and a block on a circle are, as every token is covered from equally many places; a block on a line is not,"
        r" as its ends are covered less."
    ),
    assumptions=(TOKEN_E, TOKEN_F, EQUALLY_VISIBLE, CORRELATED),
    proof=(
        Step(
            Equality(HELD_OUT - HELD_OUT.T, tokens * mask - mask * tokens),
            r"With hidden targets $\Sigma_{yx}$ is the mean of $(I - D) S D = S D - D S D$, and $D S D$ is symmetric;"
            r" with full targets it is the mean of $S D$. The difference is linear in the mask.",
            conclusion=True,
        ),
        Step(
            Equality(e.T * (tokens * mask - mask * tokens) * f, (nu - mu) * ENTRY),
            r"Entry by entry; its mean is $(q_f - q_e) s_{ef}$.",
            uses=("token-e", "token-f"),
            conclusion=True,
        ),
        Step(
            Equality(tokens * expected - expected * tokens, sp.ZeroMatrix(d, d)),
            "A multiple of the identity commutes.",
            uses=("equally-visible",),
            conclusion=True,
        ),
        Step(
            Implication(sp.Eq(often_e, often_f), given=(sp.Eq((often_f - often_e) * entry, 0),)),
            r"Conversely, if the entry vanishes and the tokens are correlated, they are equally often visible.",
            uses=("correlated",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "block-on-a-line",
            "quantifier",
            "claim symmetry for a hidden block at a random place on a line",
            Equality(tokens * expected - expected * tokens, sp.ZeroMatrix(d, d)),
            instances=_on_a_line,
        ),
        FalseSibling(
            "rows-and-columns",
            "sign",
            "exchange the two probabilities",
            Equality(e.T * (tokens * mask - mask * tokens) * f, (mu - nu) * ENTRY),
            uses=("token-e", "token-f"),
        ),
        FalseSibling(
            "any-tokens",
            "omission",
            "claim the converse for uncorrelated tokens too",
            Implication(sp.Eq(often_e, often_f), given=(sp.Eq((often_f - often_e) * entry, 0),)),
        ),
    ),
    witnesses=(
        Witness("token-e", _pair(HALF, mu=2)),
        Witness("token-f", _pair(HALF, nu=2)),
        Witness("equally-visible", _pair(matrix([["1/2", 0], [0, 1]]))),
        Witness("correlated", _pair(HALF, entry=0, often_f=2)),
    ),
    instances=_laws,
    sources=(Source("ours"),),
    belief="Context and target blocks are drawn alike, so their cross-covariance is symmetric.",
    example=(
        "import numpy as np\n"
        "n, b = 8, 3; S = 0.7 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))\n"
        "line = [1 - ((np.arange(n) >= i) & (np.arange(n) < i + b)) for i in range(n - b + 1)]\n"
        "circle = [np.roll(line[0], i) for i in range(n)]\n"
        "C = [np.mean([(1 - m)[:, None] * S * m for m in masks], 0) for masks in (line, circle)]\n"
        "assert not np.allclose(C[0], C[0].T, atol=0.1) and np.allclose(C[1], C[1].T)"
    ),
)

# -- one problem ----------------------------------------------------------------------------------------------------------

whole: Any = sp.MatrixSymbol(r"\Sigma_{yx}", d, d)
"""The cross-covariance with full targets."""

HIDDEN: Any = whole - Sigma_x
ONE_ENCODER = Assumption("one-encoder", r"the target encoder is the context's: $V = W$", Equation(V, W))


def _views(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    covariance = draw.positive_definite(columns)
    seen = diagonal([rng.randint(0, 1) for _ in range(columns)])
    encoder = fmpq_mat(draw.invertible(columns).tolist()[:rows])
    values = {
        W: encoder,
        V: encoder,
        P: draw.matrix(rows, rows),
        Sigma_x: draw.positive_definite(columns),
        whole: draw.matrix(columns, columns),
        tokens: covariance,
        mask: seen,
    }
    return Instance({k: rows, d: columns}, values, {cross: draw.positive(), variance: draw.positive()})


def _two_encoders(rng: random.Random, size: int) -> Instance:
    instance = _views(rng, size)
    return instance.with_({V: Draw(rng).matrix(instance.sizes[k], instance.sizes[d])})


_SCALAR: dict[Any, Any] = {**dict.fromkeys((W, V, P, Sigma_x, whole, tokens), eye(1)), mask: fmpq_mat(1, 1)}

MASK_CONVENTIONS = Theorem(
    name="mask-conventions",
    title="Predicting what is hidden is predicting everything, less what was seen",
    chapter=7,
    statement=(
        r"With full targets the views have $\Sigma_{yx}$, with hidden ones $\Sigma_{yx} - \Sigma_x$, for every law of"
        r" the mask, as $(I - D)u = u - x$. With $V = W$ the residual of the second with predictor $P$ is the residual"
        r" of the first with predictor $P + I$: optimal predictors differ by the identity, the equilibria without"
        r" decay lie in the same subspaces, and mode by mode $\lambda$ becomes $\lambda - \sigma$, $\rho$ becomes"
        r" $\rho - 1$. What survives differs: a mode has the larger threshold $\lambda^2/(4\sigma)$ with hidden"
        r" targets iff $\rho < \frac12$, and then it is anticorrelated there."
    ),
    assumptions=(ONE_ENCODER,),
    proof=(
        Step(
            Equality((ONE - mask) * tokens * mask, tokens * mask - mask * tokens * mask),
            r"For each mask $(I - D) S D = S D - D S D$; the means are $\Sigma_{yx}$ with full targets and $\Sigma_x$.",
            conclusion=True,
        ),
        Step(
            Equality(V * HIDDEN - P * W * Sigma_x, W * whole - (P + sp.Identity(k)) * W * Sigma_x),
            r"$V = W$ lets $-V \Sigma_x$ join $-P W \Sigma_x$.",
            uses=("one-encoder",),
            conclusion=True,
        ),
        Step(
            Equality(
                V * HIDDEN * W.T * (W * Sigma_x * W.T).I,
                W * whole * W.T * (W * Sigma_x * W.T).I - sp.Identity(k),
            ),
            r"So the optimal predictors $V \Sigma_{yx} W^{\top} (W \Sigma_x W^{\top})^{-1}$ differ by $I$.",
            uses=("one-encoder",),
            conclusion=True,
        ),
        Step(
            Equality(HIDDEN * Sigma_x.I, whole * Sigma_x.I - ONE),
            r"And $\Sigma_{yx} \Sigma_x^{-1}$ changes by $I$: its left-invariant subspaces, where the equilibria"
            r" without decay lie, are the same for both.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent((cross - variance) ** 2 > cross**2, 2 * cross < variance), given=(variance > 0,)),
            r"The threshold $\eta_c$ is the square of the cross-covariance over $4\sigma$, and $(\lambda - \sigma)^2 -"
            r" \lambda^2 = \sigma(\sigma - 2\lambda)$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Implies(2 * cross < variance, cross - variance < 0),
                given=(variance > 0,),
            ),
            r"A mode that gains is anticorrelated with hidden targets: a JEPA can keep it, contrast cannot.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "other-way",
            "sign",
            r"claim predictor $P - I$",
            Equality(V * HIDDEN - P * W * Sigma_x, W * whole - (P - sp.Identity(k)) * W * Sigma_x),
            uses=("one-encoder",),
        ),
        FalseSibling(
            "any-target-encoder",
            "omission",
            r"claim it for a target encoder of its own",
            Equality(V * HIDDEN - P * W * Sigma_x, V * whole - (P + sp.Identity(k)) * W * Sigma_x),
            instances=_two_encoders,
        ),
        FalseSibling(
            "one",
            "constant",
            r"let hidden targets gain whenever $\rho < 1$",
            Implication(sp.Equivalent((cross - variance) ** 2 > cross**2, cross < variance), given=(variance > 0,)),
        ),
    ),
    witnesses=(
        Witness(
            "one-encoder",
            Instance({k: 1, d: 1}, {**_SCALAR, V: matrix([[2]]), whole: matrix([[3]])}, {cross: 1, variance: 1}),
        ),
    ),
    instances=_views,
    sources=(Source("ours"),),
    belief="Whether the target is masked at its input or at its output is a detail of the implementation.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); S = np.cov(rng.normal(size=(5, 50))); D = rng.random((400, 5)) < 0.6\n"
        "seen = np.mean([d[:, None] * S * d for d in D], 0); full = np.mean([S * d for d in D], 0)\n"
        "hidden = np.mean([~d[:, None] * S * d for d in D], 0); W = rng.normal(size=(3, 5)); inverse = np.linalg.inv(W @ seen @ W.T)\n"
        "assert np.allclose(W @ hidden @ W.T @ inverse, W @ full @ W.T @ inverse - np.eye(3))"
    ),
)

THEOREMS = (MASK_SYMMETRY, MASK_CONVENTIONS)
