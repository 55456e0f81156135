"""SIGReg as it is computed, on projections: its predictor looks at all of the spectrum at once (after 2.0)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Gradient, Implication, ScalarIdentity
from jepalign.theory.contrastive.duality import batch
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import Named, SpectralFunction, tr
from jepalign.theory.implicit_uniformity.dictionary import SYMMETRISED
from jepalign.theory.implicit_uniformity.further import first, second, theta
from jepalign.theory.proof import FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, T, Z, batch_K, batch_Phi, k, m

equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns
own, total, seen, dimension = sp.symbols("s_i t q k", real=True)

direction: Any = sp.MatrixSymbol("a", k, 1)
other: Any = sp.MatrixSymbol("b", k, 1)


def _projected(axis: Any) -> Any:
    return Named(rf"v_{axis.name}", axis.T * batch_Phi * axis)


def _statistic(axis: Any) -> Any:
    return tr(SpectralFunction("f", _projected(axis), -1)) / 2


def _push(axis: Any) -> Any:
    return axis * SpectralFunction("f", _projected(axis)) * axis.T * Z


ALIGNMENT: Any = tr(batch_Phi - batch_K) / 2
SLICED: Any = ALIGNMENT + _statistic(direction) + _statistic(other)
FORCE: Any = (Z * T - Z - _push(direction) - _push(other)) / m

ROOTS = (equation(first**2, seen + theta), equation(second**2, (seen + 1) / 2 + theta), first > 0, second > 0)
WEIGHTED = equation(seen * (dimension + 2), 2 * own + total)
RANGES = (dimension >= 2, own > 0, total >= own, theta >= 0)
NARROW, MIXED = seen + theta, (seen + 1) / 2 + theta
REPULSION = NARROW ** sp.Rational(-3, 2) - MIXED ** sp.Rational(-3, 2)


def _sliced(rng: random.Random, size: int) -> Instance:
    """Draw a batch, two directions and f; and a direction of s_i > 1 in a spectrum of trace t whose mean q is below 1."""
    draw = Draw(rng)
    instance = batch(rng, size)
    rows = instance.matrices[Z].nrows()
    root, above = 1 + draw.positive(), 1 + 1 / (10 + draw.positive())
    larger = root + 1 / (10 * root + 10)
    mean = 1 - 2 * (larger * larger - root * root)
    scalars = {
        first: root,
        second: larger,
        seen: mean,
        theta: root * root - mean,
        own: above,
        total: mean * (10 + 2) - 2 * above,
        dimension: 10,
    }
    values = {**instance.matrices, direction: draw.matrix(rows, 1), other: draw.matrix(rows, 1)}
    return Instance(instance.sizes, values, scalars, {"f": draw.polynomial()})


SLICES = Theorem(
    name="sigreg-slices",
    title="SIGReg on projections repels a direction for the want of others",
    chapter=2,
    statement=(
        r"SIGReg [@balestriero2025] tests projections $a^{\top} z$. For a Gaussian embedding the test of one unit vector $a$"
        r" is a function $u(v_a)$ of the projection's variance $v_a = a^{\top}\Phi a$ (as in the entry of SIGReg), and $\frac12"
        r" \operatorname{tr}(\Phi - K) + \frac12 \sum_a u(v_a)$ has on a symmetrised batch the residual force of the predictor"
        r" $P = I + \sum_a u'(v_a)\, a a^{\top}$. Averaged over the sphere it commutes with $\Phi$, but is no function of it"
        r" eigenvalue by eigenvalue: on the $i$th principal direction it is $1 + \mathbb{E}_a u'(v_a) a_i^2$. It repels there"
        r" as soon as $2 (s_i - 1) < k - \operatorname{tr}\Phi$ (and no $s_j$ exceeds $2$): a direction that already has more"
        r" than unit variance is still pushed outward while the others lack twice its excess in total, which the entry"
        r" eigenvalue by eigenvalue does not do. The two agree where $\Phi = sI$, up to the factor $\frac1k$ between an average"
        r" over directions and a sum over eigenvalues. The moments of the sphere and Jensen's inequality are used without"
        r" proof."
    ),
    assumptions=(SYMMETRISED,),
    proof=(
        Step(
            Gradient(SLICED, Z, FORCE),
            r"$u(v_a)$ is the trace of a function of the $1 \times 1$ matrix $a^{\top}\Phi a$; with $f = u'$ the rule of the"
            r" dictionary"
            r" gives $\nabla_Z \frac12 u(v_a) = \frac1m a f(v_a) a^{\top} Z$. Two directions $a$, $b$ are shown; sums and averages"
            r" follow. Over the sphere, reflecting one coordinate in the eigenbasis of $\Phi$ changes no $v_a$ but the sign of"
            r" $a_i a_j$: off the diagonal nothing remains.",
            uses=("symmetrised",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(REPULSION, seen, 2),
                sp.Rational(15, 4) * (NARROW ** sp.Rational(-7, 2) - MIXED ** sp.Rational(-7, 2) / 4),
            ),
            r"The repulsion $-u'$ of a projection of variance $q$, up to a positive factor, and its second derivative.",
        ),
        Step(
            Implication(4 * second**7 > first**7, given=(*ROOTS, theta >= 0, seen >= 0, seen <= 2)),
            r"With $A^2 = q + \theta$, $B^2 = \frac{q+1}{2} + \theta$ it is positive for $q \le 2$, since there $4B^2 \ge"
            r" 3A^2$: the"
            r" repulsion is convex.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (3 * own + (total - own)) / (dimension + 2) - 1,
                (2 * (own - 1) - (dimension - total)) / (dimension + 2),
            ),
            r"On the sphere $\mathbb{E}\, a_i^2 a_j^2 = \frac{1 + 2\delta_{ij}}{k(k+2)}$, so that the mean of $v_a$ with the weight"
            r" $a_i^2$ is $\frac{3 s_i + \sum_{j \ne i} s_j}{k+2}$. By Jensen's inequality the weighted repulsion is at least"
            r" that at"
            r" this mean.",
        ),
        Step(
            Implication(second**3 > first**3, given=(*ROOTS, WEIGHTED, *RANGES, 2 * (own - 1) < dimension - total)),
            r"It is positive where the mean $q$ is below one: $-u'(q)$ has the sign of $A^{-3} - B^{-3}$, and $B^2 - A^2 ="
            r" \frac{1-q}{2}$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "unweighted",
            "omission",
            r"forget the projection: $P = I + \sum_a u'(v_a)$",
            Gradient(
                SLICED,
                Z,
                (
                    Z * T
                    - Z
                    - tr(SpectralFunction("f", _projected(direction))) * Z
                    - tr(SpectralFunction("f", _projected(other))) * Z
                )
                / m,
            ),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "threshold-at-one",
            "exchange",
            r"claim that a direction with $s_i > 1$ is drawn in whatever the others' variance",
            Implication(second**3 <= first**3, given=(*ROOTS, WEIGHTED, *RANGES, own > 1)),
        ),
        FalseSibling(
            "single-excess",
            "constant",
            r"claim repulsion for $s_i - 1 < k - \operatorname{tr}\Phi$",
            Implication(second**3 > first**3, given=(*ROOTS, WEIGHTED, *RANGES, own - 1 < dimension - total)),
        ),
        FalseSibling(
            "convex-everywhere",
            "quantifier",
            "claim convexity for every variance",
            Implication(4 * second**7 > first**7, given=(*ROOTS, theta >= 0, seen >= 0)),
        ),
        FalseSibling(
            "whole-statistic",
            "constant",
            r"drop the half of the statistic",
            Gradient(SLICED + _statistic(direction) + _statistic(other), Z, FORCE),
            uses=("symmetrised",),
        ),
    ),
    witnesses=(
        Witness(
            "symmetrised",
            Instance(
                {k: 1, m: 2},
                {Z: matrix([[1, 2]]), T: matrix([[0, 1], [0, 0]]), direction: matrix([[1]]), other: matrix([[1]])},
                {},
                {"f": (1,)},
            ),
        ),
    ),
    instances=_sliced,
    sources=(
        Source("ours"),
        Source("balestriero2025", "", "the average over directions"),
        Source("epps1983", "", "the statistic of one projection"),
    ),
    belief="SIGReg brings every principal direction to unit variance separately.",
    example=(
        "import numpy as np\n"
        "slope = lambda v: (((v + 1) / 2 + 0.5) ** -1.5 - (v + 0.5) ** -1.5) * np.sqrt(np.pi) / 2  # u' at theta = 1/2\n"
        "angle = np.linspace(0, 2 * np.pi, 4001)[1:]; share = np.cos(angle) ** 2\n"
        "P = lambda s, t: 1 + np.mean(slope(s * share + t * (1 - share)) * share)  # on the first direction of two\n"
        "assert P(1.2, 0.3) < 1 < P(1.2, 1.2)  # 2 * (1.2 - 1) < 2 - (1.2 + 0.3)"
    ),
)

THEOREMS = (SLICES,)
