r"""Masks act entry by entry: the second moments of masked tokens (7.1).

There is no entrywise product in the calculus, and none is needed: a mask is a diagonal matrix $D = \operatorname{diag}(m)$, a
token is a vector $e$ with $De = \mu e$, and an entry of a matrix $A$ is $e^{\top} A f$.
"""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, d, m

tokens: Any = SymmetricSymbol("S", d)
mask: Any = SymmetricSymbol("D", d)
other_mask: Any = SymmetricSymbol("D'", d)
sample: Any = sp.MatrixSymbol("U", d, m)
e: Any = sp.MatrixSymbol("e", d, 1)
f: Any = sp.MatrixSymbol("f", d, 1)
mu, nu = sp.symbols("mu nu", real=True)
"""What the mask does to the tokens e and f: 1 if visible, 0 if not, anything between if dimmed."""

so_far: Any = sp.MatrixSymbol("A", d, d)
moment = sp.Symbol("c", real=True)
probability = sp.Symbol(r"\pi", real=True)
other_mu, other_nu = sp.symbols("mu' nu'", real=True)

ENTRY: Any = e.T * tokens * f

TOKEN_E = Assumption("token-e", r"the mask multiplies token $e$: $D e = \mu e$", Equation(mask * e, mu * e))
TOKEN_F = Assumption("token-f", r"and token $f$: $D f = \nu f$", Equation(mask * f, nu * f))
INDEPENDENT = Assumption(
    "independent",
    r"the tokens do not depend on the mask: those seen under this mask have the covariance $S$ of all, $\frac{1}{m} U"
    r" U^{\top} = S$",
    Equation(sample * sample.T, m * tokens),
)
SO_FAR = Assumption(
    "law-so-far",
    r"the masks counted so far give $A = M \circ S$: at the entry of $e$ and $f$, $e^{\top} A f = c\, e^{\top} S f$"
    r" (for none, $A = 0$ and $c = 0$)",
    Equation(e.T * so_far * f, moment * ENTRY),
)


def basis_vector(size: int, index: int) -> Any:
    """Return a column of the identity."""
    return fmpq_mat(size, 1, [int(i == index) for i in range(size)])


def diagonal(entries: list[Any]) -> Any:
    """Return the diagonal matrix of these entries."""
    size = len(entries)
    return fmpq_mat(size, size, [entries[i] if i == j else 0 for i in range(size) for j in range(size)])


def masked(rng: random.Random, size: int) -> Instance:
    """Draw tokens, two masks, two tokens e and f, and a partial mixture of masks."""
    draw = Draw(rng)
    total = size + 1
    data = draw.matrix(total, total + 1)
    covariance = data * data.transpose() / (total + 1)
    first, second = [[draw.number() for _ in range(total)] for _ in range(2)]
    i, j = rng.randrange(total), rng.randrange(total)
    law = draw.symmetric(total)
    mixed = fmpq_mat(total, total, [law[a, b] * covariance[a, b] for a in range(total) for b in range(total)])
    values = {
        tokens: covariance,
        sample: data,
        mask: diagonal(first),
        other_mask: diagonal(second),
        so_far: mixed,
        e: basis_vector(total, i),
        f: basis_vector(total, j),
    }
    scalars = {
        mu: first[i],
        nu: first[j],
        other_mu: second[i],
        other_nu: second[j],
        moment: law[i, j],
        probability: draw.positive(),
    }
    return Instance({d: total, m: total + 1}, values, scalars)


def _one(scalars: dict[Any, int] | None = None, **matrices: int) -> Instance:
    values: dict[Any, Any] = dict.fromkeys((tokens, sample, mask, other_mask, so_far, e, f), eye(1))
    letters = {"S": tokens, "U": sample, "A": so_far}
    values |= {letters[name]: matrix([[value]]) for name, value in matrices.items()}
    numbers = dict.fromkeys((mu, nu, other_mu, other_nu, moment, probability), 1)
    return Instance({d: 1, m: 1}, values, {**numbers, **(scalars or {})})


MASK_MOMENTS = Theorem(
    name="mask-moments",
    title="Masking multiplies the covariance, entry by entry, by the moments of the mask",
    chapter=7,
    statement=(
        r"Tokens $u$ with covariance $S$ are seen through a random mask $m$, drawn without looking at them: $x = D u$,"
        r" $D = \operatorname{diag}(m)$. For every law of the mask with finitely many values, $\Sigma_x = \mathbb{E}[m"
        r" m^{\top}] \circ S$. If a token is visible only where two independent masks both show it, as outside the"
        r" union of several blocks, the moments of the two masks multiply: $\Sigma_x = \mathbb{E}[m m^{\top}] \circ"
        r" \mathbb{E}[m' m'^{\top}] \circ S$. Masks may also dim tokens instead of hiding them."
    ),
    assumptions=(INDEPENDENT, TOKEN_E, TOKEN_F, SO_FAR),
    proof=(
        Step(
            Equality((mask * sample) * (mask * sample).T / m, mask * tokens * mask),
            "Given the mask, the visible tokens are a linear image of all tokens.",
            uses=("independent",),
            conclusion=True,
        ),
        Step(
            Equality(e.T * mask * tokens * mask * f, mu * nu * ENTRY),
            r"An entry of $D S D$: each side of $S$ meets the mask once. This is $(m m^{\top}) \circ S$ for one mask.",
            uses=("token-e", "token-f"),
            conclusion=True,
        ),
        Step(
            Equality(e.T * (so_far + probability * mask * tokens * mask) * f, (moment + probability * mu * nu) * ENTRY),
            r"Add one more value of the mask, with its probability $\pi$: the entry's factor grows by $\pi \mu\nu$. By"
            r" induction it is $\mathbb{E}\, \mu\nu$ when all values are counted.",
            uses=("token-e", "token-f", "law-so-far"),
            conclusion=True,
        ),
        Step(
            Equality(e.T * mask * so_far * mask * f, moment * mu * nu * ENTRY),
            r"A second mask on tokens masked once, whose second moment is $A = M \circ S$: by independence the mean"
            r" over the second mask turns $c\, \mu\nu$ into $c\, \mathbb{E}\, \mu\nu$.",
            uses=("token-e", "token-f", "law-so-far"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "product-of-means",
            "exchange",
            r"let the mean of the products be the product of the means, $\mathbb{E}[m]\, \mathbb{E}[m]^{\top} \circ"
            r" S$, for a mask that is $D$ or $D'$ with probability ½ each",
            Equality(
                e.T * (mask * tokens * mask + other_mask * tokens * other_mask) * f / 2,
                (mu + other_mu) * (nu + other_nu) / 4 * ENTRY,
            ),
            uses=("token-e", "token-f"),
        ),
        FalseSibling(
            "masked-once",
            "omission",
            "mask only one side of the covariance",
            Equality(e.T * mask * tokens * mask * f, mu * ENTRY),
            uses=("token-e", "token-f"),
        ),
        FalseSibling(
            "moments-added",
            "exchange",
            "add the moments of two independent masks instead of multiplying them",
            Equality(e.T * mask * so_far * mask * f, (moment + mu * nu) * ENTRY),
            uses=("token-e", "token-f", "law-so-far"),
        ),
    ),
    witnesses=(
        Witness("independent", _one(U=2)),
        Witness("token-e", _one({mu: 0})),
        Witness("token-f", _one({nu: 0})),
        Witness("law-so-far", _one(A=2)),
    ),
    instances=masked,
    sources=(Source("ours"), Source("assran2023", "Section 3", "the masks")),
    belief="Masking is noise on the input, so it only adds to the diagonal of the covariance.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); root = rng.normal(size=(4, 4)); S = root @ root.T\n"
        "masks = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 1, 1]]); law = np.array([0.5, 0.2, 0.3])\n"
        "seen = sum(p * np.diag(m) @ S @ np.diag(m) for p, m in zip(law, masks))\n"
        "assert np.allclose(seen, (masks.T * law) @ masks * S)"
    ),
)

THEOREMS = (MASK_MOMENTS,)
