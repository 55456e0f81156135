"""The thresholds of collapse solved for the settings: what decay a start bears, and what explicit term holds a mode (4.3, 4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.collapse.hybrid_terms import NEEDED, X, kappa
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, cross, eta, p, variance

low = sp.Symbol("p_-", real=True)
first, second, push, weaker, best, gamma = sp.symbols("n n' c c' G gamma", real=True)
"""What is needed at two weight decays, the term's coefficient there, the largest weight at which there is a rest, and a weight."""
equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns

# -- the decay that a start bears ---------------------------------------------------------------------------------------------

BEARS = p * (cross - variance * p)
EDGE = (variance > 0, eta > 0, p > 0, low > 0, equation(variance * low**2 - cross * low + eta, 0))
SMALL_START = Assumption(
    "small-start", r"the start is in the lower half: $p \le \lambda/(2\sigma)$", Inequality(2 * variance * p <= cross)
)
SMALLER_ROOT = Assumption(
    "smaller-root", r"$p_-$ is the smaller root, $p_- \le \lambda/(2\sigma)$", Inequality(2 * variance * low <= cross)
)


def _edge(rng: random.Random, size: int) -> Instance:
    """Draw roots p₋ ≤ p₊ and a start of at most their mean."""
    draw = Draw(rng)
    root, curvature = draw.positive(), draw.positive()
    other = root + draw.positive()
    share = 1 / (1 + draw.positive())
    scalars = {
        low: root,
        variance: curvature,
        cross: curvature * (root + other),
        eta: curvature * root * other,
        p: share * (root + other) / 2,
    }
    return Instance({}, {}, scalars)


def _decides(bound: Any) -> Any:
    return sp.And(sp.Implies(eta < bound, p > low), sp.Implies(eta > bound, p < low))


START_BEARS = Theorem(
    name="decay-a-start-bears",
    title="The weight decay that a start bears is in closed form",
    chapter=4,
    statement=(
        r"Let a balanced mode start with the predictor $p > 0$, $\lambda > 0$. If $p \le \lambda/(2\sigma)$, it starts beyond the basin's"
        r" edge $p_-$, the smaller root of $\sigma p_-^2 - \lambda p_- + \eta = 0$, exactly while $\eta < p (\lambda - \sigma p)$; a start"
        r" beyond $\lambda/(2\sigma)$ bears every decay below $\eta_c = \lambda^2/(4\sigma)$, the largest value of this bound. With $p ="
        r" \sqrt\alpha\, w$ the predictor's rate enters through the start alone."
    ),
    assumptions=(SMALL_START, SMALLER_ROOT),
    proof=(
        Step(
            ScalarIdentity(cross**2 / (4 * variance) - BEARS, (cross - 2 * variance * p) ** 2 / (4 * variance)),
            r"The bound rises up to $p = \lambda/(2\sigma)$, where it is $\eta_c$.",
            conclusion=True,
        ),
        Step(
            Implication(_decides(BEARS), given=EDGE),
            r"$\eta = p_- (\lambda - \sigma p_-)$ is the bound at the edge; between $0$ and $\lambda/(2\sigma)$ it rises, so that it orders"
            r" the two as they are ordered.",
            uses=("small-start", "smaller-root"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "any-start",
            "quantifier",
            "claim it of every start",
            Implication(_decides(BEARS), given=EDGE),
            uses=("smaller-root",),
        ),
        FalseSibling(
            "twice-the-curvature",
            "constant",
            r"write $p (\lambda - 2\sigma p)$",
            Implication(_decides(p * (cross - 2 * variance * p)), given=EDGE),
            uses=("small-start", "smaller-root"),
        ),
        FalseSibling(
            "other-side",
            "sign",
            r"let the start survive above the bound",
            Implication(sp.Implies(eta > BEARS, p > low), given=EDGE),
            uses=("small-start", "smaller-root"),
        ),
    ),
    witnesses=(
        Witness("small-start", Instance({}, {}, {low: 1, variance: 1, cross: 3, eta: 2, p: sp.Rational(5, 2)})),
        Witness("smaller-root", Instance({}, {}, {low: 2, variance: 1, cross: 3, eta: 2, p: sp.Rational(6, 5)})),
    ),
    instances=_edge,
    sources=(Source("ours"), Source("tian2021", "(16)", "the roots")),
    belief="A smaller start can be made up for by training longer.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)); p = 0.1; bears = p * (0.8 - p)\n"
        "end = lambda eta: LinearJEPA(views, weight_decay=eta).solve(p * np.eye(1), p * np.eye(1), [0.0, 3000.0]).predictor[-1, 0, 0]\n"
        "assert end(0.98 * bears) > 0.4 and end(1.02 * bears) < 1e-3"
    ),
)

# -- the term that holds a mode ---------------------------------------------------------------------------------------------------

DECAYED = NEEDED.subs(kappa, cross**2 / (eta * variance)) * eta
POSITIVE = Assumption("positive", r"the mode is positively correlated, $\lambda > 0$", Inequality(cross > 0))
FALLING = Assumption(
    "falling", r"the term's coefficient does not grow with the variance, $c' \le c$", Inequality(weaker <= push)
)
LARGE = sp.And(sp.Implies(X >= 1, 2 * variance * p >= cross), sp.Implies(X < 1, 2 * variance * p < cross))
RISING: Any = first * weaker <= second * push
AT_REST = (variance > 0, X > 0, equation(variance * p * (1 + X), cross * X))
TWO_DECAYS = (weaker > 0, first > 0, second >= first)


def _held(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    scalars: dict[Any, Any] = {letter: draw.positive() for letter in (X, variance, cross, eta, first, weaker, gamma)}
    scalars |= {push: scalars[weaker] + draw.positive(), second: scalars[first] + draw.positive()}
    scalars[p] = scalars[cross] / scalars[variance] * scalars[X] / (1 + scalars[X])
    scalars[best] = scalars[first] / scalars[push] + draw.positive()
    scalars[gamma] = scalars[best] + draw.positive()
    return Instance({}, {}, scalars)


def _one(**changes: Any) -> Instance:
    values = {
        "X": 1,
        "sigma": 1,
        "lambda": 2,
        "eta": 1,
        "n": 1,
        "n'": 1,
        "c": 1,
        "c'": 1,
        "G": 1,
        "gamma": 2,
        **changes,
    }
    letters = (X, variance, cross, eta, first, second, push, weaker, best, gamma)
    scalars: dict[Any, Any] = {letter: sp.Rational(values[str(letter)]) for letter in letters}
    scalars[p] = scalars[cross] / scalars[variance] * scalars[X] / (1 + scalars[X])
    return Instance({}, {}, scalars)


HOLDING_WEIGHT = Theorem(
    name="holding-weight",
    title="Beyond one weight of an explicit term every state is one that a JEPA would keep, and that weight rises with decay",
    chapter=4,
    statement=(
        r"With $X = \alpha\sigma w^2/\eta$, a hybrid's mode rests where $\gamma\sigma c = n(X) = \eta - \frac{\lambda^2}{\sigma}"
        r" \frac{X}{(1+X)^2}$, $c$ the term's coefficient at $s = \eta X/\alpha$, with the predictor $p = (\lambda/\sigma)\,"
        r" X/(1+X)$. What the survivors of a JEPA have, $p \ge \lambda/(2\sigma)$, says $X \ge 1$, or $s \ge \eta/\alpha$. Let"
        r" $G$ be the largest $n/(\sigma c)$ at $X \le 1$, for a $c > 0$ that does not grow. Beyond $\gamma = G$ no rest is left at"
        r" $X \le 1$; and $G$ rises with $\eta$, while $\gamma_{\mathrm{rescue}}$, a local maximum, falls where a small state merges"
        r" with the large one. At the end $X = 1$ it is $(\eta - \eta_c)/(\sigma c)$."
    ),
    assumptions=(POSITIVE, FALLING),
    proof=(
        Step(
            Implication(LARGE, given=AT_REST),
            r"$X/(1+X) \ge \frac12$ says $X \ge 1$.",
            uses=("positive",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(DECAYED.subs(X, 1), eta - cross**2 / (4 * variance)),
            r"With $\kappa = \lambda^2/(\eta\sigma)$, at $X = 1$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(DECAYED, eta - cross**2 * X / (variance * (1 + X) ** 2)),
            r"At any $X$ what is needed has $\eta$ by itself, and rises with it at the rate one.",
            conclusion=True,
        ),
        Step(
            Implication(RISING, given=TWO_DECAYS),
            r"And $c$ at $s = \eta X/\alpha$ falls: so $n/c$ rises wherever it is positive, and with it the largest value.",
            uses=("falling",),
            conclusion=True,
        ),
        Step(
            Implication(gamma * push - first > 0, given=(push > 0, best * push >= first, gamma > best)),
            r"Beyond the largest $n/c$ the term exceeds what is needed, and $\dot w > 0$ on the predictor's nullcline.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half-the-threshold",
            "constant",
            r"write $\lambda^2/(2\sigma)$ at $X = 1$",
            ScalarIdentity(DECAYED.subs(X, 1), eta - cross**2 / (2 * variance)),
        ),
        FalseSibling(
            "falls-with-decay",
            "sign",
            "claim that the weight falls",
            Implication(first * weaker >= second * push, given=TWO_DECAYS),
            uses=("falling",),
        ),
        FalseSibling(
            "any-term",
            "quantifier",
            "claim that it rises for every term",
            Implication(RISING, given=TWO_DECAYS),
        ),
    ),
    witnesses=(
        Witness("positive", _one(X=2, **{"lambda": -1})),
        Witness("falling", _one(**{"c'": 2})),
    ),
    instances=_held,
    sources=(Source("ours"),),
    belief="A term that leaves no small state leaves a large one.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.collapse import holding_weight, rescue_weight\n"
        "from jepalign.linear_models.uniformity import LogDet\n"
        "eta = np.array([0.07, 0.08]); weights = rescue_weight(0.5, 1.0, eta, uniformity=LogDet()).rescue\n"
        "assert weights[0] > 0 == weights[1]  # the fold is gone, and so is the large state\n"
        "assert np.all(np.diff(holding_weight(0.5, 1.0, eta, uniformity=LogDet())) > 0)"
    ),
)

THEOREMS = (START_BEARS, HOLDING_WEIGHT)
