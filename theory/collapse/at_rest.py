"""What embeddings alone tell of a mode's margin: nothing before rest, and at rest all of it by their variance (4.3)."""

import random

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.collapse.threshold import BALANCED, GROWTH
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, correlation, cross, eta, p, s, variance, w

critical = sp.symbols("c", real=True)

AT_REST = Assumption(
    "at-rest",
    r"the mode rests at $w \ne 0$: $p(\lambda - \sigma p) = \eta$",
    Equation(eta, p * (cross - variance * p)),
)

RATIO = alpha * w**2 * variance / eta
MARGIN = cross**2 / (4 * variance * eta)
SLOPE = sp.diff(GROWTH, p)
# Balance without a quotient, for z3.
_BALANCED = (variance > 0, sp.Ne(w, 0), sp.Eq(alpha * w**2, p**2))


def _resting(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    at, weight, sigma, decay = draw.positive(), draw.positive(), draw.positive(), draw.positive()
    at = at if rng.random() < 0.5 else -at
    scalars = {
        p: at,
        w: weight,
        variance: sigma,
        eta: decay,
        cross: sigma * at + decay / at,
        alpha: at * at / (weight * weight),
    }
    return Instance({}, {}, scalars)


VARIANCE_AT_REST = Theorem(
    name="variance-at-rest",
    title="At rest a mode's variance tells its margin, and no survivor has less than the weight decay over the predictor's rate",
    chapter=4,
    statement=(
        r"Let a balanced mode rest at $w \ne 0$ under weight decay $\eta > 0$, and let $x = \alpha s/\eta$ with $s = w^2 \sigma$ its"
        r" variance in the embedding. Then $\eta_c/\eta = (1+x)^2/(4x)$ with $\eta_c = \lambda^2/(4\sigma)$, and $p = \rho x/(1+x)$:"
        r" neither $\lambda$ nor $\sigma$ is needed. The ratio is at least $1$, so that a mode beyond its threshold is never seen at"
        r" rest, and the rest is stable iff $x > 1$: survivors have $s > \eta/\alpha$."
    ),
    assumptions=(BALANCED, AT_REST),
    proof=(
        Step(
            ScalarIdentity(MARGIN, (1 + RATIO) ** 2 / (4 * RATIO)),
            r"Balance makes $x = \sigma p^2/\eta$, rest $x = \sigma p/(\lambda - \sigma p)$ and $1 + x = \lambda/(\lambda - \sigma p)$.",
            uses=("balanced", "at-rest"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(p, cross / variance * RATIO / (1 + RATIO)),
            r"Likewise $x/(1+x) = \sigma p/\lambda$.",
            uses=("balanced", "at-rest"),
            conclusion=True,
        ),
        Step(
            Implication(cross**2 >= 4 * eta * variance, given=(variance > 0,)),
            r"$\lambda^2 - 4\eta\sigma = (\lambda - 2\sigma p)^2$ at rest.",
            uses=("at-rest",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(SLOPE, eta * (1 - RATIO)),
            r"The slope of the balanced mode's field is $2\lambda p - 3\sigma p^2 - \eta$, at rest $\eta - \sigma p^2$.",
            uses=("balanced", "at-rest"),
        ),
        Step(
            Implication(sp.Equivalent(SLOPE < 0, alpha * w**2 * variance > eta), given=_BALANCED),
            r"It is negative iff $x > 1$.",
            uses=("at-rest",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half",
            "constant",
            r"claim $(1+x)^2/(2x)$",
            ScalarIdentity(MARGIN, (1 + RATIO) ** 2 / (2 * RATIO)),
            uses=("balanced", "at-rest"),
        ),
        FalseSibling(
            "difference",
            "sign",
            r"claim $(1-x)^2/(4x)$",
            ScalarIdentity(MARGIN, (1 - RATIO) ** 2 / (4 * RATIO)),
            uses=("balanced", "at-rest"),
        ),
        FalseSibling(
            "rate-forgotten",
            "omission",
            r"let $x = s/\eta$, without the predictor's rate",
            ScalarIdentity(MARGIN, ((1 + RATIO) ** 2 / (4 * RATIO)).subs(alpha, 1)),
            uses=("balanced", "at-rest"),
        ),
        FalseSibling(
            "small-survive",
            "exchange",
            r"claim stability for $x < 1$",
            Implication(sp.Equivalent(SLOPE < 0, alpha * w**2 * variance < eta), given=_BALANCED),
            uses=("at-rest",),
        ),
        FalseSibling(
            "every-rest",
            "quantifier",
            r"claim $s > \eta/\alpha$ of every rest, stable or not",
            Implication(alpha * w**2 * variance > eta, given=_BALANCED),
            uses=("at-rest",),
        ),
    ),
    witnesses=(
        Witness("balanced", Instance({}, {}, {cross: 3, variance: 1, p: 1, eta: 2, w: 1, alpha: 2})),
        Witness("at-rest", Instance({}, {}, {cross: 3, variance: 1, p: 1, eta: 1, w: 1, alpha: 1})),
    ),
    instances=_resting,
    sources=(Source("ours"), Source("tian2021", "(16)", "the rest itself, at unit cross-covariance")),
    belief="How near a surviving dimension is to collapse cannot be told without the data's covariances.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.collapse import critical_weight_decay, equilibria\n"
        "cross, variance, eta, alpha = 0.9, 1.2, 0.1, 2.0\n"
        "edge, top = equilibria(cross, variance, eta, predictor_rate=alpha)[1:]; x = alpha * top**2 * variance / eta\n"
        "assert np.isclose((1 + x) ** 2 / (4 * x), critical_weight_decay(cross, variance) / eta)\n"
        "assert x > 1 > alpha * edge**2 * variance / eta"
    ),
)

# -- before rest ----------------------------------------------------------------------------------------------------------

READ = Assumption(
    "read",
    r"the embedding has the mode's variance, $s = w^2 \sigma$",
    Equation(s, w**2 * variance),
)
CHOSEN = Assumption(
    "chosen",
    r"$\sigma = 4c/\rho^2$ for a wanted $c$, and any correlation $\rho \ne 0$",
    Equation(variance, 4 * critical / correlation**2),
)


def _chosen(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    wanted, weight = draw.positive(), draw.positive()
    rho = draw.positive() if rng.random() < 0.5 else -draw.positive()
    sigma = 4 * wanted / (rho * rho)
    scalars = {critical: wanted, correlation: rho, variance: sigma, w: weight, s: weight * weight * sigma}
    at = draw.positive()
    return Instance({}, {}, {**scalars, p: at, alpha: at * at / (weight * weight)})


EMBEDDINGS_ALONE = Theorem(
    name="embeddings-alone",
    title="Before rest embeddings alone do not tell whether a mode survives; with a balanced predictor they do",
    chapter=4,
    statement=(
        r"Embeddings tell a mode's variance $s = w^2 \sigma$ and its correlation $\rho = \lambda/\sigma$. For every $s > 0$,"
        r" $\rho \ne 0$ and $c > 0$ there is a mode with this $s$ and this $\rho$ whose threshold $\eta_c = \lambda^2/(4\sigma)$ is $c$:"
        r" that of $\sigma = 4c/\rho^2$ and $w^2 = s\rho^2/(4c)$. So neither threshold nor survival follows from them."
        r" If the mode is balanced its predictor tells the weight, and $\eta_c = \alpha s \rho^2/(4p^2)$."
    ),
    assumptions=(READ, CHOSEN, BALANCED),
    proof=(
        Step(
            ScalarIdentity((correlation * variance) ** 2 / (4 * variance), critical),
            r"$\lambda = \rho\sigma$, so that $\eta_c = \rho^2\sigma/4$, which takes every value $c > 0$ as $\sigma$ does.",
            uses=("chosen",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(s * correlation**2 / (4 * critical), w**2),
            r"A mode of this variance $\sigma$ has the embedding variance $s$ iff its weight is $w^2 = s/\sigma$.",
            uses=("read", "chosen"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(alpha * s * correlation**2 / (4 * p**2), critical),
            r"Balance, $\alpha w^2 = p^2$, gives the weight away: $\sigma = s/w^2 = \alpha s/p^2$.",
            uses=("read", "chosen", "balanced"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "threshold-from-variance",
            "exchange",
            r"claim $\eta_c = \rho^2 s/4$, the embedding's variance for the input's",
            ScalarIdentity(correlation**2 * s / 4, critical),
            uses=("read", "chosen"),
        ),
        FalseSibling(
            "half",
            "constant",
            r"claim $\eta_c = \alpha s \rho^2/(2p^2)$",
            ScalarIdentity(alpha * s * correlation**2 / (2 * p**2), critical),
            uses=("read", "chosen", "balanced"),
        ),
        FalseSibling(
            "rate-forgotten",
            "omission",
            r"claim $\eta_c = s \rho^2/(4p^2)$, without the predictor's rate",
            ScalarIdentity(s * correlation**2 / (4 * p**2), critical),
            uses=("read", "chosen", "balanced"),
        ),
    ),
    witnesses=(
        Witness("read", Instance({}, {}, {critical: 1, correlation: 1, variance: 4, w: 1, s: 1, p: 1, alpha: 1})),
        Witness("chosen", Instance({}, {}, {critical: 1, correlation: 1, variance: 1, w: 1, s: 1, p: 1, alpha: 1})),
        Witness("balanced", Instance({}, {}, {critical: 1, correlation: 1, variance: 4, w: 1, s: 4, p: 1, alpha: 2})),
    ),
    instances=_chosen,
    sources=(Source("ours"),),
    belief="The spectrum of the embeddings, watched during training, tells which dimensions will collapse.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "s, rho, eta = 0.3, 0.8, 0.05  # of both modes\n"
        "jepa = lambda v: LinearJEPA(ViewPair.from_covariances([[v]], [[v]], [[rho * v]]), weight_decay=eta)\n"
        "end = lambda v: jepa(v).solve(*[[[np.sqrt(s / v)]]] * 2, [0.0, 2000.0]).predictor[-1]\n"
        "assert end(2.0) > 0.5 and abs(end(0.2)) < 1e-6"
    ),
)

THEOREMS = (VARIANCE_AT_REST, EMBEDDINGS_ALONE)
