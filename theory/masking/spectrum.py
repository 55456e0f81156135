"""Modes under masks that treat all pairs of tokens alike, and the ratio that keeps the most of them alive (7.1, 7.2)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq, fmpq_mat

from jepalign.theory.claims import Equality, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import identity
from jepalign.theory.masking.conventions import visible
from jepalign.theory.masking.hadamard import ENTRY, basis_vector, diagonal, e, f, mask, tokens
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import d

pair, theta = sp.symbols("pi theta", real=True)
"""The probability that two given tokens are both visible, and the variance of a mode of the tokens."""

direction: Any = sp.MatrixSymbol("u", d, 1)
ONE: Any = identity(d)
SEEN: Any = pair * tokens + (visible - pair) * ONE

UNIT_VARIANCE = Assumption(
    "unit-variance", r"every token has variance 1: $e^{\top} S e = 1$", Equation(e.T * tokens * e, identity(1))
)
UNIT_VECTOR = Assumption("unit-vector", r"$e$ is a unit vector", Equation(e.T * e, identity(1)))
DIFFERENT = Assumption(
    "different", r"$e$ and $f$ are different tokens: $e^{\top} f = 0$", Equation(e.T * f, 0 * identity(1))
)
MODE = Assumption(
    "mode", r"$u$ is a mode of the tokens: $S u = \theta u$", Equation(tokens * direction, theta * direction)
)
HIDES = Assumption("hides", r"the mask hides or shows: $D^2 = D$", Equation(mask * mask, mask))
PARTLY = Assumption(
    "partly",
    r"tokens are visible sometimes and hidden sometimes: $0 < q < 1$",
    Inequality((visible > 0) & (visible < 1)),
)
ALIVE = Assumption("positive-variance", r"the mode is there: $\theta > 0$", Inequality(theta > 0))

SLOPE: Any = 1 - 3 * visible - 2 * (theta - 1) * visible**2
HIDDEN_THRESHOLD: Any = visible * (1 - visible) ** 2 * (theta - 1) ** 2 / (4 * (1 + visible * (theta - 1)))
FULL_THRESHOLD: Any = visible * theta**2 / (4 * (1 + visible * (theta - 1)))


def _exchangeable(rng: random.Random, size: int) -> Instance:
    """Draw tokens of one correlation c, a mode of them, and a rate on each side of what is claimed."""
    total = size + 1
    level = fmpq(rng.randint(1, 3), 4)
    covariance = fmpq_mat(total, total, [1 if i == j else level for i in range(total) for j in range(total)])
    contrast = size != 3
    mode = basis_vector(total, 0) - basis_vector(total, 1) if contrast else fmpq_mat(total, 1, [1] * total)
    rate = {1: fmpq(2, 3), 2: fmpq(1, 4)}.get(size, fmpq(2, 5))
    i, j = rng.sample(range(total), 2)
    values = {
        tokens: covariance,
        mask: diagonal([rng.randint(0, 1) for _ in range(total)]),
        e: basis_vector(total, i),
        f: basis_vector(total, j),
        direction: mode,
    }
    numbers = {
        visible: rate,
        pair: rate * fmpq(rng.randint(0, 3), 4),
        theta: 1 - level if contrast else 1 + (total - 1) * level,
    }
    return Instance({d: total}, values, numbers)


def _pair(scalars: dict[Any, Any] | None = None, **changes: Any) -> Instance:
    values = {
        tokens: matrix([[1, "1/2"], ["1/2", 1]]),
        mask: matrix([[1, 0], [0, 0]]),
        e: matrix([[1], [0]]),
        f: matrix([[0], [1]]),
        direction: matrix([[1], [1]]),
    }
    letters = {"S": tokens, "D": mask, "e": e, "f": f, "u": direction}
    values |= {letters[name]: value for name, value in changes.items()}
    return Instance({d: 2}, values, {visible: "1/2", pair: "1/4", theta: "3/2", **(scalars or {})})


MASKED_SPECTRUM = Theorem(
    name="masked-spectrum-iid",
    title="Masks that treat all pairs alike keep the modes; with hidden targets, hide at least half",
    chapter=7,
    statement=(
        r"Let tokens have unit variance, each be visible with probability $q$ and every two with probability $\pi$"
        r" ($q^2$ for i.i.d. masks, $a(a-1)/(n(n-1))$ for $a$ random tokens of $n$). Then $\Sigma_x = \pi S + (q -"
        r" \pi) I$ has the modes of $S$, with $\sigma = \pi\theta + q - \pi$; full targets have $\lambda = q\theta$,"
        r" hidden ones $\lambda = (q - \pi)(\theta - 1)$. For i.i.d. masks $\eta_c = \lambda^2/(4\sigma)$ is, with"
        r" full targets, $q\theta^2/(4(1 + q(\theta - 1)))$, which grows with $q$: to mask costs modes. With hidden"
        r" targets it is $q(1-q)^2(\theta-1)^2/(4(1 + q(\theta - 1)))$, largest where $2(\theta - 1)q^2 + 3q = 1$:"
        r" below $\frac13$ for modes with $\theta > 1$, between $\frac13$ and $\frac12$ for those with $\theta < 1$."
        r" Above $q = \frac12$ every mode loses. Anticorrelated with hidden targets are the modes with $\theta < 1$:"
        r" all but one for tokens of one positive correlation, one alone for tokens of one negative correlation."
        r" I.i.d. tokens ($S = I$) have $\Sigma_x = \Sigma_{yx} = \mathbb{E}\, D$ with full targets and $\Sigma_{yx} ="
        r" 0$ with hidden ones, under any mask."
    ),
    assumptions=(UNIT_VARIANCE, UNIT_VECTOR, DIFFERENT, MODE, HIDES, PARTLY, ALIVE),
    proof=(
        Step(
            Equality(e.T * SEEN * e, visible * e.T * tokens * e),
            r"On the diagonal $\mathbb{E}\, \mu^2 = q$, and $\pi S + (q - \pi) I$ has $\pi + q - \pi$ there.",
            uses=("unit-variance", "unit-vector"),
            conclusion=True,
        ),
        Step(
            Equality(e.T * SEEN * f, pair * ENTRY),
            r"Off it, $\mathbb{E}\, \mu\nu = \pi$, and $I$ has nothing there. So this is $\mathbb{E}[m m^{\top}] \circ"
            r" S$.",
            uses=("different",),
            conclusion=True,
        ),
        Step(
            Equality(SEEN * direction, (pair * theta + visible - pair) * direction),
            r"$\Sigma_x$ is a polynomial in $S$.",
            uses=("mode",),
            conclusion=True,
        ),
        Step(
            Equality((visible * tokens - SEEN) * direction, (visible - pair) * (theta - 1) * direction),
            r"With full targets $\Sigma_{yx} = q S$; with hidden ones it is less by $\Sigma_x$.",
            uses=("mode",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(FULL_THRESHOLD, visible), theta**2 / (4 * (1 + visible * (theta - 1)) ** 2)),
            r"With full targets and $\pi = q^2$ the threshold has a positive slope in $q$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(HIDDEN_THRESHOLD, visible),
                (theta - 1) ** 2 * (1 - visible) * SLOPE / (4 * (1 + visible * (theta - 1)) ** 2),
            ),
            r"With hidden targets the slope has the sign of $1 - 3q - 2(\theta - 1)q^2$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    sp.Implies(visible >= sp.Rational(1, 2), SLOPE < 0),
                    sp.Implies(sp.And(theta > 1, visible >= sp.Rational(1, 3)), SLOPE < 0),
                    sp.Implies(sp.And(theta < 1, visible <= sp.Rational(1, 3)), SLOPE > 0),
                ),
            ),
            r"At $q = \frac12$ it is $-\theta/2$, at $q = \frac13$ it is $-\frac29(\theta - 1)$.",
            uses=("partly", "positive-variance"),
            conclusion=True,
        ),
        Step(
            Equality((ONE - mask) * ONE * mask, 0 * ONE),
            r"For i.i.d. tokens $S = I$, and hidden and visible tokens have nothing in common.",
            uses=("hides",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "variance-of-hidden",
            "exchange",
            r"exchange $q - \pi$ for $1 - q$ on the diagonal",
            Equality(e.T * (pair * tokens + (1 - visible) * ONE) * e, visible * e.T * tokens * e),
            uses=("unit-variance", "unit-vector"),
        ),
        FalseSibling(
            "a-third",
            "quantifier",
            r"claim that above $q = \frac13$ every mode loses",
            Implication(sp.Implies(visible >= sp.Rational(1, 3), SLOPE < 0)),
            uses=("partly", "positive-variance"),
        ),
        FalseSibling(
            "sign-of-the-slope",
            "sign",
            r"claim that the weak modes gain above $q = \frac12$",
            Implication(sp.Implies(sp.And(theta < 1, visible >= sp.Rational(1, 2)), SLOPE > 0)),
            uses=("partly", "positive-variance"),
        ),
        FalseSibling(
            "unshifted",
            "constant",
            r"take $\theta$ in place of $\theta - 1$ in the hidden cross-covariance",
            Equality((visible * tokens - SEEN) * direction, (visible - pair) * theta * direction),
            uses=("mode",),
        ),
    ),
    witnesses=(
        Witness("unit-variance", _pair(S=matrix([[2, 1], [1, 2]]), scalars={theta: 3})),
        Witness(
            "unit-vector",
            _pair(S=matrix([["1/4", "1/8"], ["1/8", "1/4"]]), e=matrix([[2], [0]]), scalars={theta: "3/8"}),
        ),
        Witness("different", _pair(f=matrix([[1], [0]]))),
        Witness("mode", _pair({theta: 1})),
        Witness("hides", _pair(D=matrix([["1/2", 0], [0, 0]]))),
        Witness(
            "partly",
            _pair({visible: 2, theta: "1/4"}, S=matrix([[1, "3/4"], ["3/4", 1]]), u=matrix([[1], [-1]])),
        ),
        Witness("positive-variance", _pair({theta: "-1/2", visible: "1/2"}, S=matrix([[1, "-3/2"], ["-3/2", 1]]))),
    ),
    instances=_exchangeable,
    sources=(Source("ours"),),
    belief="The more the context sees, the more dimensions survive.",
    example=(
        "import numpy as np\n"
        "q = np.linspace(0.01, 0.99, 981)\n"
        "best = [q[np.argmax(q * (1 - q) ** 2 / (1 + q * (theta - 1)))] for theta in (0.01, 0.5, 1, 4, 50)]\n"
        "assert np.all(np.diff(best) < 0) and best[0] < 0.5 and abs(best[2] - 1 / 3) < 1e-3 and best[4] < 0.1"
    ),
)

THEOREMS = (MASKED_SPECTRUM,)
