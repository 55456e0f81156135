"""The duality of the two sides with the diagonals removed (1.1)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Z, k, m

sample: Any = sp.MatrixSymbol("e", m, 1)
other: Any = sp.MatrixSymbol("f", m, 1)
remaining: Any = SymmetricSymbol("N", m)
"""The Gram matrix with some of its diagonal entries already removed."""

length = sp.Symbol("s", real=True)
rows, columns = sp.symbols("r_4 c_4", real=True)
"""Σ‖row‖⁴ and Σ‖column‖⁴ of Z."""

REMOVED: Any = remaining - length * sample * sample.T

UNIT = Assumption("unit", r"$e$ is a basis vector: $e^{\top} e = 1$", Equation(sample.T * sample, identity(1)))
OTHER = Assumption("other", r"$f$ is another one: $e^{\top} f = 0$", Equation(sample.T * other, sp.ZeroMatrix(1, 1)))
LENGTH = Assumption(
    "length",
    r"$s$ is the squared length of the sample: $e^{\top} Z^{\top} Z e = s$",
    Equation(sample.T * Z.T * Z * sample, length * identity(1)),
)
UNTOUCHED = Assumption(
    "untouched",
    r"its diagonal entry has not been removed before: $e^{\top} N e = s$",
    Equation(sample.T * remaining * sample, length * identity(1)),
)


def _gram(rng: random.Random, size: int) -> Instance:
    """Draw a batch and remove some diagonal entries of its Gram matrix, not that of e."""
    draw = Draw(rng)
    dimension, samples = rng.randint(1, size), size + 1
    batch = draw.matrix(dimension, samples)
    gram = batch.transpose() * batch
    chosen, another = rng.sample(range(samples), 2)
    left = fmpq_mat(gram.tolist())
    for i in range(samples):
        if i != chosen and rng.random() < 1 / 2:
            left[i, i] = 0

    def basis(index: int) -> Any:
        return fmpq_mat(samples, 1, [int(i == index) for i in range(samples)])

    both = batch * batch.transpose()
    scalars = {
        length: gram[chosen, chosen],
        rows: sum((both[i, i] ** 2 for i in range(dimension)), start=gram[0, 0] * 0),
        columns: sum((gram[i, i] ** 2 for i in range(samples)), start=gram[0, 0] * 0),
    }
    values = {Z: batch, remaining: left, sample: basis(chosen), other: basis(another)}
    return Instance({k: dimension, m: samples}, values, scalars)


def _two(**changes: Any) -> Instance:
    """Return two samples of length one, with scalar product ½ and nothing removed, some letters changed."""
    letters = {"e": sample, "f": other, "N": remaining, "Z": Z}
    values = {
        Z: matrix([[1, 0], [0, 1]]),
        remaining: eye(2),
        sample: matrix([[1], [0]]),
        other: matrix([[0], [1]]),
        **{letters[name]: value for name, value in changes.items() if name in letters},
    }
    return Instance({k: 2, m: 2}, values, {length: changes.get("s", 1), rows: 2, columns: 2})


DUALITY_OFF_DIAGONAL = Theorem(
    name="duality-off-diagonal",
    title="Without the diagonals the two penalties differ by the fourth powers of the lengths",
    chapter=1,
    statement=(
        r"For $Z \in \mathbb{R}^{k \times m}$ with samples as columns let $L_c$ be the sum of the squared scalar products of"
        r" different samples, $L_{nc}$ that of different dimensions (the squared off-diagonal entries of $Z^{\top} Z$ and of $Z"
        r" Z^{\top}$). Then $L_{nc} + \sum_{\text{rows}} \lVert \cdot \rVert^4 = L_c + \sum_{\text{columns}} \lVert \cdot \rVert^4$"
        r" [@garrido2022, Theorem 3.3]. Below, $r_4$ and $c_4$ are the two sums."
    ),
    assumptions=(UNIT, OTHER, LENGTH, UNTOUCHED),
    proof=(
        Step(
            Equality(squared_norm(REMOVED), squared_norm(remaining) - tr(sample.T * Z.T * Z * sample) ** 2),
            r"Remove one entry of the diagonal, $N - s\, e e^{\top}$: the squared norm falls by $2s \cdot s - s^2 = s^2$, the fourth"
            r" power of the sample's length.",
            uses=("unit", "length", "untouched"),
            conclusion=True,
        ),
        Step(
            Equality(sample.T * REMOVED * sample, sp.ZeroMatrix(1, 1)),
            r"That entry is gone,",
            uses=("unit", "untouched"),
            conclusion=True,
        ),
        Step(
            Equality(other.T * REMOVED * other, other.T * remaining * other),
            r"the others of the diagonal are as before,",
            uses=("other",),
            conclusion=True,
        ),
        Step(
            Equality(sample.T * REMOVED * other, sample.T * remaining * other),
            r"and so is everything off it. By induction $L_c = \lVert Z^{\top} Z \rVert^2 - c_4$; the same with $Z^{\top}$ in place of"
            r" $Z$ gives $L_{nc} = \lVert Z Z^{\top} \rVert^2 - r_4$.",
            uses=("other",),
            conclusion=True,
        ),
        Step(
            Equality((squared_norm(Z * Z.T) - rows) + rows, (squared_norm(Z.T * Z) - columns) + columns),
            r"The two norms agree: rotate a factor around the trace.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "lengths-exchanged",
            "exchange",
            r"add the columns to $L_{nc}$ and the rows to $L_c$",
            Equality((squared_norm(Z * Z.T) - rows) + columns, (squared_norm(Z.T * Z) - columns) + rows),
        ),
        FalseSibling(
            "without-lengths",
            "omission",
            r"claim $L_{nc} = L_c$",
            Equality(squared_norm(Z * Z.T) - rows, squared_norm(Z.T * Z) - columns),
        ),
        FalseSibling(
            "twice",
            "constant",
            "forget that the removed entry has a square of its own",
            Equality(squared_norm(REMOVED), squared_norm(remaining) - 2 * tr(sample.T * Z.T * Z * sample) ** 2),
            uses=("unit", "length", "untouched"),
        ),
    ),
    witnesses=(
        Witness("unit", _two(e=matrix([[2], [0]]), s=4, N=eye(2))),
        Witness("other", _two(f=matrix([[1], [1]]))),
        Witness("length", _two(Z=matrix([[2, 0], [0, 1]]))),
        Witness("untouched", _two(N=matrix([[0, 0], [0, 1]]))),
    ),
    instances=_gram,
    sources=(Source("garrido2022", "Theorem 3.3"),),
    belief="Sample-contrastive and dimension-contrastive penalties are equal, off-diagonal entry for off-diagonal entry.",
    example=(
        "import numpy as np\n"
        "Z = np.random.default_rng(0).normal(size=(4, 9))\n"
        "off = lambda G: np.sum(G**2) - np.sum(np.diag(G) ** 2)\n"
        "rows, columns = np.sum(np.sum(Z**2, 1) ** 2), np.sum(np.sum(Z**2, 0) ** 2)\n"
        "assert np.isclose(off(Z @ Z.T) + rows, off(Z.T @ Z) + columns)"
    ),
)

THEOREMS = (DUALITY_OFF_DIAGONAL,)
