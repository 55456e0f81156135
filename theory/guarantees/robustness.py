"""How far a learnt subspace moves when the assumptions hold only nearly (6.3)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, d, k

rest = sp.Symbol("q", integer=True, positive=True)
operator: Any = SymmetricSymbol("A", d)
error: Any = SymmetricSymbol("E", d)
kept: Any = sp.MatrixSymbol("X", d, k)
dropped: Any = sp.MatrixSymbol("Y", d, rest)
kept_values: Any = SymmetricSymbol(r"\Lambda", k)
dropped_values: Any = SymmetricSymbol("M", rest)
above: Any = sp.MatrixSymbol("L", k, k)
below: Any = sp.MatrixSymbol("F", rest, rest)
level, gap = sp.symbols("ell delta", real=True)

sines: Any = Named("S", dropped.T * kept)
driven: Any = dropped.T * error * kept

INVARIANT = Assumption(
    "invariant",
    r"the columns of $X$ span an invariant subspace: $A X = X \Lambda$",
    Equation(kept * kept_values, operator * kept),
)
PERTURBED = Assumption(
    "perturbed",
    r"those of $Y$ span one of the perturbed operator: $(A + E) Y = Y M$",
    Equation(operator * dropped, dropped * dropped_values - error * dropped),
)
ABOVE = Assumption(
    "above",
    r"the kept eigenvalues lie above a level: $\Lambda - \ell I \succeq 0$",
    Semidefinite(kept_values - level * sp.Identity(k), above, (kept_values, level * sp.Identity(k) + above * above.T)),
)
BELOW = Assumption(
    "below",
    r"the dropped ones of the perturbed operator below it by the gap: $(\ell - \delta) I - M \succeq 0$",
    Semidefinite(
        (level - gap) * sp.Identity(rest) - dropped_values,
        below,
        (dropped_values, (level - gap) * sp.Identity(rest) - below * below.T),
    ),
)
ORTHONORMAL_KEPT = Assumption(
    "orthonormal-kept", r"$X$ has orthonormal columns, $X^{\top} X = I$", Equation(kept.T * kept, sp.Identity(k))
)
ORTHONORMAL_DROPPED = Assumption(
    "orthonormal-dropped",
    r"$Y$ has orthonormal columns, $Y^{\top} Y = I$",
    Equation(dropped.T * dropped, sp.Identity(rest)),
)


def _diagonal(entries: list[Any]) -> Any:
    return fmpq_mat([[x if i == j else 0 for j in range(len(entries))] for i, x in enumerate(entries)])


def _columns(basis: Any, start: int, stop: int) -> Any:
    return fmpq_mat([list(row) for row in basis.transpose().tolist()[start:stop]]).transpose()


def _pair(before: Any, after: Any, values: tuple[list[Any], list[Any]], split: tuple[int, int], at: Any) -> Instance:
    """Build A and A + E from their eigenvectors (columns) and eigenvalues; the level, the gap and the two roots are ``at``."""
    rows, others = split
    size = before.nrows()
    first = before * _diagonal(values[0]) * before.transpose()
    second = after * _diagonal(values[1]) * after.transpose()
    kept_roots, dropped_roots, ell, delta = at
    letters = {
        operator: first,
        error: second - first,
        kept: _columns(before, 0, rows),
        dropped: _columns(after, size - others, size),
        kept_values: _diagonal(values[0][:rows]),
        dropped_values: _diagonal(values[1][size - others :]),
        above: _diagonal(kept_roots),
        below: _diagonal(dropped_roots),
    }
    return Instance({k: rows, rest: others, d: size}, letters, {level: ell, gap: delta})


def _operators(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, others = rng.randint(1, size), rng.randint(1, size)
    total = rows + others
    ell, delta = draw.number(), draw.positive()
    kept_roots, dropped_roots = [draw.number() for _ in range(rows)], [draw.number() for _ in range(others)]
    values = (
        [ell + root * root for root in kept_roots] + [draw.number() for _ in range(others)],
        [draw.number() for _ in range(rows)] + [ell - delta - root * root for root in dropped_roots],
    )
    at = (kept_roots, dropped_roots, ell, delta)
    return _pair(draw.orthogonal(total), draw.orthogonal(total), values, (rows, others), at)


_TURNED = matrix([["3/5", "-4/5"], ["4/5", "3/5"]])


def _plane(scalars: dict[Any, Any] | None = None, **changes: Any) -> Instance:
    """Return eigenvalues 2 and 0, turned by an angle of sine 4/5, with level 1 and gap 1, and some values changed."""
    first, second = matrix([[2, 0], [0, 0]]), _TURNED * matrix([[2, 0], [0, 0]]) * _TURNED.transpose()
    values = {
        operator: first,
        error: second - first,
        kept: matrix([[1], [0]]),
        dropped: matrix([["-4/5"], ["3/5"]]),
        kept_values: matrix([[2]]),
        dropped_values: matrix([[0]]),
        above: matrix([[1]]),
        below: matrix([[0]]),
    }
    names = {"operator": operator, "error": error, "kept": kept, "dropped": dropped}
    names |= {"kept_values": kept_values, "dropped_values": dropped_values}
    values |= {names[name]: value for name, value in changes.items()}
    return Instance({k: 1, rest: 1, d: 2}, values, {level: 1, gap: 1, **(scalars or {})})


SQUARES: Any = squared_norm(driven + gap * sines) + 2 * gap * (
    squared_norm(sines * above) + squared_norm(below.T * sines)
)

SIN_THETA = Theorem(
    name="sin-theta",
    title="A learnt subspace turns by at most the error over the gap",
    chapter=6,
    statement=(
        r"Let $X$ span the kept eigendirections of a symmetric operator $A$, with eigenvalues at least $\ell$, and let $Y$ span"
        r" the dropped eigendirections of $A + E$, with eigenvalues at most $\ell - \delta$, $\delta > 0$. The singular values of"
        r" $S = Y^{\top} X$ are the sines of the angles by which the subspace turned, and $\delta \lVert S \rVert \le \lVert"
        r" Y^{\top} E X \rVert \le \lVert E \rVert$ in the Frobenius norm [@davis1970]. The first inequality has the remainder"
        r" $\lVert Y^{\top} E X + \delta S \rVert^2 + 2\delta (\lVert S L \rVert^2 + \lVert F^{\top} S \rVert^2)$ in the squares."
        r" With $A = \Sigma^{-1/2} C \Sigma^{-1/2}$ and $A + E = C$ it says how far $\Sigma \ne I$ turns what a JEPA learns;"
        r" imbalance and misalignment enter through the $E$ that they cause."
    ),
    assumptions=(INVARIANT, PERTURBED, ABOVE, BELOW, ORTHONORMAL_KEPT, ORTHONORMAL_DROPPED),
    proof=(
        Step(
            Equality(dropped.T * kept * kept_values, dropped_values * dropped.T * kept - driven),
            r"Read $Y^{\top} A X$ twice: $A X = X \Lambda$ from the right, $Y^{\top} A = M Y^{\top} - Y^{\top} E$ from the left.",
            uses=("invariant", "perturbed"),
            conclusion=True,
        ),
        Step(
            Equality(driven, dropped_values * dropped.T * kept - dropped.T * kept * kept_values),
            r"So $S$ solves a Sylvester equation with the projected error on its right.",
            uses=("invariant", "perturbed"),
            name="sylvester",
        ),
        Step(
            Equality(squared_norm(driven), gap**2 * squared_norm(sines) + SQUARES),
            r"Contract with $S$: $-\operatorname{tr} S^{\top} Y^{\top} E X = \operatorname{tr} (S \Lambda S^{\top} - S^{\top} M S)"
            r" = \delta \lVert S \rVert^2 + \lVert S L \rVert^2 + \lVert F^{\top} S \rVert^2$, and complete the square.",
            uses=("sylvester", "above", "below"),
            conclusion=True,
        ),
        Step(
            Equality(
                squared_norm(error),
                squared_norm(driven)
                + squared_norm(error - error * kept * kept.T)
                + squared_norm(error * kept - dropped * dropped.T * error * kept),
            ),
            r"Projections shorten: what $Y^{\top} E X$ leaves out of $E$ are two more squares.",
            uses=("orthonormal-kept", "orthonormal-dropped"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "sign-of-the-error",
            "sign",
            "let the error enter with the other sign",
            Equality(dropped.T * kept * kept_values, dropped_values * dropped.T * kept + driven),
            uses=("invariant", "perturbed"),
        ),
        FalseSibling(
            "half-gap",
            "constant",
            r"weigh the last two squares with $\delta$ instead of $2\delta$",
            Equality(
                squared_norm(driven),
                gap**2 * squared_norm(sines)
                + squared_norm(driven + gap * sines)
                + gap * (squared_norm(sines * above) + squared_norm(below.T * sines)),
            ),
            uses=("sylvester", "above", "below"),
        ),
        FalseSibling(
            "sharp",
            "omission",
            "claim equality in the bound",
            Equality(squared_norm(driven), gap**2 * squared_norm(sines)),
            uses=("sylvester", "above", "below"),
        ),
    ),
    witnesses=(
        Witness("invariant", _plane(kept_values=matrix([[3]]), operator=matrix([[2, 0], [0, 0]]))),
        Witness("perturbed", _plane(dropped_values=matrix([["-1"]]))),
        Witness("above", _plane({level: 3, gap: 3})),
        Witness("below", _plane({level: 2, gap: 3})),
        Witness("orthonormal-kept", _plane(kept=matrix([[2], [0]]))),
        Witness("orthonormal-dropped", _plane(dropped=matrix([["-8/5"], ["6/5"]]))),
    ),
    instances=_operators,
    sources=(
        Source("davis1970", "sin-theta theorem"),
        Source("ours", "", "the remainder as squares, and the application to $\\Sigma \\neq I$"),
    ),
    belief="A guarantee proved for whitened inputs says nothing about real ones.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); A = np.diag([3.0, 2.5, 0.5, 0.1]); E = 0.1 * rng.normal(size=(4, 4)); E += E.T\n"
        "X, (values, Y) = np.eye(4)[:, :2], np.linalg.eigh(A + E)\n"
        "S, gap = Y[:, :2].T @ X, 2.5 - values[1]\n"
        "assert gap * np.linalg.norm(S) <= np.linalg.norm(Y[:, :2].T @ E @ X) <= np.linalg.norm(E)"
    ),
)

THEOREMS = (SIN_THETA,)
