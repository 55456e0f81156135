"""What is predicted decides the sign: the target sees everything, or only what the context does not (7.1)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Implication
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, identity, tr
from jepalign.theory.masking.hadamard import (
    ENTRY,
    INDEPENDENT,
    TOKEN_E,
    TOKEN_F,
    basis_vector,
    diagonal,
    e,
    f,
    mask,
    mu,
    nu,
    sample,
    tokens,
)
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, d, m

expected: Any = SymmetricSymbol(r"\bar{D}", d)
"""The mean of the mask."""

visible = sp.Symbol("q", real=True)
mix = sp.Symbol("t", real=True)
spread_e, spread_f, common = sp.symbols("s_e s_f s_ef", real=True)
ONE: Any = identity(d)
PROBE: Any = e + mix * f

EQUALLY_VISIBLE = Assumption(
    "equally-visible",
    r"all tokens are visible with one probability, $\mathbb{E}\, D = q I$, as under i.i.d. masks and a block on a"
    r" circle",
    Equation(expected, visible * ONE),
)
A_RATE = Assumption("a-rate", r"$q$ is a probability: $q \ge 0$", Inequality(visible >= 0))
HIDES = Assumption(
    "hides",
    r"a token is visible or hidden, not dimmed: $\mu^2 = \mu$ and $\nu^2 = \nu$",
    Inequality(sp.Eq(mu**2, mu) & sp.Eq(nu**2, nu)),
)
CORRELATED = Assumption("correlated", r"the two tokens are correlated: $s_{ef} \ne 0$", Inequality(sp.Ne(common, 0)))


def _hidden(rng: random.Random, size: int) -> Instance:
    """Draw tokens and a mask of zeros and ones, of which exactly one of e and f is visible, except at size 1."""
    draw = Draw(rng)
    total = size + 1
    data = draw.matrix(total, total + 1)
    covariance = data * data.transpose() / (total + 1)
    seen = [rng.randint(0, 1) for _ in range(total)]
    i, j = rng.sample(range(total), 2)
    seen[j] = 1 - seen[i] if size > 1 else seen[i]
    rate = 1 / (1 + draw.positive())
    values = {
        tokens: covariance,
        sample: data,
        mask: diagonal(seen),
        expected: eye(total) * rate,
        e: basis_vector(total, i),
        f: basis_vector(total, j),
    }
    scalars = {
        mu: seen[i],
        nu: seen[j],
        mix: draw.positive(),
        visible: rate,
        spread_e: covariance[i, i],
        spread_f: covariance[j, j],
        common: covariance[i, j] or 1,
    }
    return Instance({d: total, m: total + 1}, values, scalars)


def _pair(
    seen: tuple[Any, Any], scalars: dict[Any, Any] | None = None, data: list[list[Any]] | None = None
) -> Instance:
    """Return two tokens with unit variances and covariance ½, the first e, the second f."""
    factor = matrix(data or [[1, 1, 0], [1, 0, 1]])
    covariance = matrix([["2/3", "1/3"], ["1/3", "2/3"]])
    rate: Any = (scalars or {}).get(visible, "1/2")
    values = {
        tokens: covariance,
        sample: factor,
        mask: matrix([[seen[0], 0], [0, seen[1]]]),
        expected: matrix([[rate, 0], [0, rate]]),
        e: matrix([[1], [0]]),
        f: matrix([[0], [1]]),
    }
    numbers = {
        mu: seen[0],
        nu: seen[1],
        mix: 1,
        visible: "1/2",
        spread_e: "2/3",
        spread_f: "2/3",
        common: "1/3",
        **(scalars or {}),
    }
    return Instance({d: 2, m: 3}, values, numbers)


OUTPUT_MASKED = Theorem(
    name="output-masked",
    title="A target that sees everything: the cross-covariance is semidefinite, nothing is anticorrelated",
    chapter=7,
    statement=(
        r"Let the target encoder see all tokens, $y = u$, the context encoder the visible ones, $x = D u$ (as where"
        r" the target network's output is masked, not its input). Then $\Sigma_y = S$ and $\Sigma_{yx} = S\,"
        r" \mathbb{E}\, D$: *columns*, that is tokens of the context, are weighted by how often they are visible. If"
        r" all are equally visible, $C = q S \succeq 0$: $\lambda \ge 0$ in every mode, and what is proved for $C"
        r" \succeq 0$ applies wherever its condition on $\Sigma_x$ does."
    ),
    assumptions=(INDEPENDENT, TOKEN_F, EQUALLY_VISIBLE, A_RATE),
    proof=(
        Step(
            Equality(sample * (mask * sample).T / m, tokens * mask),
            r"Given the mask, $\mathbb{E}\, u (D u)^{\top} = S D$; over masks, $D$ becomes its mean.",
            uses=("independent",),
            conclusion=True,
        ),
        Step(
            Equality(e.T * tokens * mask * f, nu * ENTRY),
            r"The column of token $f$ is multiplied by its visibility.",
            uses=("token-f",),
            conclusion=True,
        ),
        Step(
            Equality(tokens * expected, visible * tokens),
            r"A mean mask $q I$ scales the covariance.",
            uses=("equally-visible",),
            conclusion=True,
        ),
        Step(
            Dominates(tokens * expected, sp.ZeroMatrix(d, d), sp.sqrt(visible) / sp.sqrt(m) * sample),
            r"$q S = \frac{q}{m} U U^{\top}$ is a Gram matrix.",
            uses=("equally-visible", "independent", "a-rate"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "rows",
            "exchange",
            r"weight rows instead of columns, $\Sigma_{yx} = D S$",
            Equality(sample * (mask * sample).T / m, mask * tokens),
            uses=("independent",),
        ),
        FalseSibling(
            "masked-twice",
            "omission",
            "take the target's tokens to be masked as well",
            Equality(sample * (mask * sample).T / m, mask * tokens * mask),
            uses=("independent",),
        ),
        FalseSibling(
            "more-than-the-tokens",
            "constant",
            r"claim $C \succeq S$ instead of $C \succeq 0$",
            Dominates(tokens * expected, tokens, sp.sqrt(visible) / sp.sqrt(m) * sample),
            uses=("equally-visible", "independent", "a-rate"),
        ),
    ),
    witnesses=(
        Witness("independent", _pair((1, 0), data=[[1, 0, 0], [0, 1, 0]])),
        Witness("token-f", _pair((1, 1), {nu: 0})),
        Witness(
            "equally-visible",
            _pair((1, 0)).with_({expected: matrix([["1/2", 0], [0, 0]])}),
        ),
        Witness("a-rate", _pair((1, 0), {visible: -1})),
    ),
    instances=_hidden,
    sources=(Source("ours"), Source("assran2023", "Section 3", "the target encoder sees the whole image")),
    belief="Masking always makes the two views anticorrelated somewhere.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); S = np.array([[2, 1], [1, 1]]); u = np.linalg.cholesky(S) @ rng.normal(size=(2, 200_000))\n"
        "x = u * (rng.random(u.shape) < [[0.9], [0.3]])\n"
        "assert np.allclose(u @ x.T / 200_000, S * [0.9, 0.3], atol=0.02)"
    ),
)

HELD_OUT: Any = (ONE - mask) * tokens * mask
ON_PROBE: Any = mu * (1 - mu) * spread_e + mix * (mu + nu - 2 * mu * nu) * common + mix**2 * nu * (1 - nu) * spread_f

INPUT_MASKED = Theorem(
    name="input-masked",
    title="A target that sees only what is hidden: every diagonal entry vanishes, and the cross-covariance is indefinite",
    chapter=7,
    statement=(
        r"Let the target see exactly the hidden tokens, $y = (I - D) u$, and the context the visible ones, $x = D u$."
        r" Then $\Sigma_{yx} = \mathbb{E}[(1 - m) m^{\top}] \circ S$, and every *diagonal* entry is 0, so that"
        r" $\operatorname{tr} \Sigma_{yx} = 0$. Along $v = e + t f$ the form of $\Sigma_{yx}$ is $t\, \mathbb{E}(\mu -"
        r" \nu)^2\, s_{ef}$, with the probability that exactly one of the two tokens is visible: it takes both signs"
        r" as soon as a single correlated pair is ever separated. So the symmetric part of $C$ is never semidefinite,"
        r" unless it is 0: some modes are anticorrelated."
    ),
    assumptions=(INDEPENDENT, TOKEN_E, TOKEN_F, HIDES, CORRELATED),
    proof=(
        Step(
            Equality(((ONE - mask) * sample) * (mask * sample).T / m, HELD_OUT),
            "Given the mask, both views are linear images of the tokens.",
            uses=("independent",),
            conclusion=True,
        ),
        Step(
            Equality(e.T * HELD_OUT * f, (1 - mu) * nu * ENTRY),
            r"An entry is weighted by: hidden in the target's index, visible in the context's.",
            uses=("token-e", "token-f"),
            conclusion=True,
        ),
        Step(
            Equality(
                tr(PROBE.T * HELD_OUT * PROBE),
                mu * (1 - mu) * tr(e.T * tokens * e)
                + mix * (mu + nu - 2 * mu * nu) * tr(ENTRY)
                + mix**2 * nu * (1 - nu) * tr(f.T * tokens * f),
            ),
            r"Expand along $v = e + t f$; $S$ is symmetric.",
            uses=("token-e", "token-f"),
            conclusion=True,
        ),
        Step(
            Implication(sp.Eq(ON_PROBE, mix * (mu - nu) ** 2 * common)),
            r"No token is hidden and visible at once, so that the squares of $e$ and $f$ drop out: $\mu(1 - \mu) = 0$."
            r" With $s_{ef} = e^{\top} S f$ what remains is $t s_{ef}$ if exactly one is visible, else 0; the mean"
            r" over masks is linear.",
            uses=("hides",),
            conclusion=True,
        ),
        Step(
            Implication(
                ON_PROBE * ON_PROBE.subs(mix, -mix) < 0,
                given=(sp.Ne(mu, nu), sp.Ne(mix, 0)),
            ),
            r"$t$ and $-t$ give opposite signs.",
            uses=("hides", "correlated"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "visible-in-the-target",
            "exchange",
            "exchange hidden and visible in an entry",
            Equality(e.T * HELD_OUT * f, mu * (1 - nu) * ENTRY),
            uses=("token-e", "token-f"),
        ),
        FalseSibling(
            "semidefinite",
            "sign",
            r"claim that the form is nowhere negative",
            Implication(ON_PROBE >= 0),
            uses=("hides", "correlated"),
        ),
        FalseSibling(
            "dimmed",
            "omission",
            "claim it for masks that dim",
            Implication(sp.Eq(ON_PROBE, mix * (mu - nu) ** 2 * common)),
        ),
        FalseSibling(
            "half",
            "constant",
            "count each separated pair twice",
            Implication(sp.Eq(ON_PROBE, 2 * mix * (mu - nu) ** 2 * common)),
            uses=("hides",),
        ),
    ),
    witnesses=(
        Witness("independent", _pair((1, 0), data=[[1, 0, 0], [0, 1, 0]])),
        Witness("token-e", _pair((1, 0), {mu: 0})),
        Witness("token-f", _pair((0, 0), {nu: 1})),
        Witness("hides", _pair(("1/2", 1), {mu: "1/2"})),
        Witness("correlated", _pair((1, 0), {common: 0})),
    ),
    instances=_hidden,
    sources=(Source("ours"),),
    belief="Predicting hidden tokens from visible ones makes the two views positively correlated.",
    example=(
        "import numpy as np\n"
        "n, q, r = 12, 0.4, 0.8; S = r ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))\n"
        "C = q * (1 - q) * (S - np.eye(n))  # i.i.d. masks: hidden times visible, 0 on the diagonal\n"
        "values = np.linalg.eigvalsh(C)\n"
        "assert np.trace(C) == 0 and values[0] < 0 < values[-1] and np.sum(values < 0) > n / 2"
    ),
)

THEOREMS = (OUTPUT_MASKED, INPUT_MASKED)
