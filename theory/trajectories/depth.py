"""Deep linear encoders: one equation for all balanced layers, its time, and the order of learning (5.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, cross, variance, w

u, others, predictor, order, power, start, other_variance = sp.symbols("u y p m z u_0 sigma_2", real=True)
"""A layer's weight u, the product y = u^{L−1} of the other layers, an exponent m with z = u^{m−1}."""

LAYER = predictor * others * (cross - variance * predictor) * w
PREDICTOR = w**2 * (cross - variance * predictor)
DECODED_LAYER = predictor * others * (cross - variance * predictor * w)
DECODER = w * (cross - variance * predictor * w)

PRODUCT = Assumption(
    "product", r"the encoder is the product of its $L$ equal layers, $w = u \cdot u^{L-1}$", Equation(w, u * others)
)
BALANCED = Assumption("balanced", r"the predictor is balanced with every layer, $p = u$", Equation(predictor, u))


def _layers(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    at, depth, sigma, both = draw.positive(), rng.randint(1, 3), draw.positive(), draw.positive()
    if both == sigma * at:
        both += 1
    rest = at ** (depth - 1)
    scalars = {
        u: at,
        others: rest,
        predictor: at,
        w: at * rest,
        variance: sigma,
        cross: both,
        order: depth + 1,
        power: at**depth,
        start: at / 2,
        other_variance: sigma + draw.positive(),
    }
    if any(both == sigma * x for x in (at, at / 2)) or both in {sigma * at**n for n in range(5)}:
        return _layers(rng, size)
    return Instance({}, {}, scalars)


_ONE: dict[Any, Any] = {
    u: 2,
    others: 2,
    predictor: 2,
    w: 4,
    variance: 1,
    cross: 1,
    order: 2,
    power: 2,
    start: 1,
    other_variance: 2,
}


def time_of(depth: int) -> Any:
    """Return t(u) − t(u₀) for an encoder of ``depth`` layers."""
    last = 2 * depth - 1
    terms = [variance ** (last - n) * (start**-n - u**-n) / (n * cross ** (2 * depth - n)) for n in range(1, last + 1)]
    logarithm = sp.log(u / (cross - variance * u)) - sp.log(start / (cross - variance * start))
    return sp.Add(*terms) + variance**last / cross ** (2 * depth) * logarithm


DEEP = Theorem(
    name="deep-trajectory",
    title="All layers of a deep linear JEPA move as one, and the time has a closed form at every depth",
    chapter=5,
    statement=(
        r"Let the encoder have $L$ linear layers and the predictor one, all balanced at $u \ge 0$ ($\alpha = 1$, $V = W$, no decay),"
        r" $w = u^L$. Every layer and the predictor move by $\dot u = u^{2L} (\lambda - \sigma u)$, and $u$ is reached from $u_0$ in"
        r" the time $\sum_{n=1}^{2L-1} \frac{\sigma^{2L-1-n}}{n \lambda^{2L-n}} (u_0^{-n} - u^{-n}) +"
        r" \frac{\sigma^{2L-1}}{\lambda^{2L}} \ln \frac{u(\lambda - \sigma u_0)}{u_0(\lambda - \sigma u)}$; the end is $w_* ="
        r" \rho^L$. [@littwin2024] give the equation with $L$ times this clock and the leading terms."
    ),
    assumptions=(PRODUCT, BALANCED),
    proof=(
        Step(
            ScalarIdentity(LAYER, u**2 * others**2 * (cross - variance * u)),
            r"The chain rule gives a layer the factor $p$ and the product $y = u^{L-1}$ of the others; $u^2 y^2 = u^{2L}$.",
            uses=("product", "balanced"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(PREDICTOR, u**2 * others**2 * (cross - variance * u)),
            "The predictor's force is the same: balance is kept.",
            uses=("product", "balanced"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                1 / (u * power * (cross - variance * u)),
                1 / (cross * u * power) + variance / (cross * power * (cross - variance * u)),
            ),
            r"Induction over the exponent $m = 2L$ of $1/(u^m(\lambda - \sigma u))$, with $z = u^{m-1}$: one power splits off,",
            conclusion=True,
        ),
        Step(
            ModeRate(-1 / ((order - 1) * cross * power), {power: (order - 1) * power / u}, 1 / (cross * u * power)),
            r"and is the derivative of $-\frac{1}{(m-1)\lambda u^{m-1}}$: the next term of the sum. The base is $m = 1$, a"
            r" logarithm.",
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(sp.log(u / (cross - variance * u)) / cross, u), 1 / (u * (cross - variance * u))
            ),
            "The base.",
        ),
        *(
            Step(
                ScalarIdentity(sp.Derivative(time_of(depth), u), 1 / (u ** (2 * depth) * (cross - variance * u))),
                f"The whole formula once more, for $L = {depth}$.",
            )
            for depth in (1, 2, 3, 4)
        ),
    ),
    siblings=(
        FalseSibling(
            "one-power-fewer",
            "constant",
            r"claim $\dot u = u^{2L-1}(\lambda - \sigma u)$",
            ScalarIdentity(LAYER, u * others**2 * (cross - variance * u)),
            uses=("product", "balanced"),
        ),
        FalseSibling(
            "whole-clock",
            "exchange",
            r"let the repulsion see the whole encoder, $\lambda - \sigma u^L$",
            ScalarIdentity(LAYER, u**2 * others**2 * (cross - variance * u * others)),
            uses=("product", "balanced"),
        ),
        FalseSibling(
            "sign-of-the-rest",
            "sign",
            "subtract what remains after splitting off a power",
            ScalarIdentity(
                1 / (u * power * (cross - variance * u)),
                1 / (cross * u * power) - variance / (cross * power * (cross - variance * u)),
            ),
        ),
    ),
    witnesses=(
        Witness("product", Instance({}, {}, {**_ONE, w: 3})),
        Witness("balanced", Instance({}, {}, {**_ONE, predictor: 3})),
    ),
    instances=_layers,
    sources=(
        Source("littwin2024", "(7), (8), Theorem 4.5", "second-hand"),
        Source("ours", "", "the exact time at every depth"),
    ),
    belief="Depth changes only the speed of self-prediction.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "t = sum((0.1**-n - 0.4**-n) / (n * 0.8 ** (4 - n)) for n in (1, 2, 3)) + np.log(0.4 * 0.7 / (0.1 * 0.4)) / 0.8**4\n"
        "end = integrate(lambda s: {'u': s['u'] ** 4 * (0.8 - s['u'])}, {'u': np.asarray(0.1)}, [0.0, t]).states['u'][-1]\n"
        "assert np.isclose(end, 0.4)"
    ),
)

POSITIVE = Assumption(
    "rising", r"the mode is still rising, $0 < \sigma u < \lambda$", Inequality(sp.And(u > 0, variance * u < cross))
)
JEPA_FIELD = u**2 * others**2 * (cross - variance * u)
MAE_FIELD = u * others * (cross - variance * u * u * others)


def _rising(rng: random.Random, size: int) -> Instance:
    instance = _layers(rng, size)
    values = instance.scalars
    return instance.with_(scalars={cross: (values[variance] + values[other_variance]) * (1 + values[u]) ** 6})


LEARNING_ORDER = Theorem(
    name="learning-order",
    title="A JEPA learns by cross-covariance and then by correlation, an autoencoder by cross-covariance alone",
    chapter=5,
    statement=(
        r"A masked autoencoder of the same depth obeys $\dot u = u^L(\lambda - \sigma u^{L+1})$ and ends at $w_* = \rho^{L/(L+1)}$."
        r" The time that the variance adds, per step of $u$, to that of an unlimited mode is $\frac{\sigma}{\lambda u^{2L-1}(\lambda -"
        r" \sigma u)}$ for the JEPA, which is not integrable at $u = 0$: from a small start the correlation decides, without bound,"
        r" between modes of equal $\lambda$. For the autoencoder it is $\frac{\sigma u}{\lambda(\lambda - \sigma u^{L+1})}$, which is"
        r" bounded near zero: a small start forgets $\rho$. Of two rising modes with equal $\lambda$ the one of larger $\rho$ is the"
        r" faster in both. [@littwin2024] prove the order of critical times."
    ),
    assumptions=(PRODUCT, BALANCED, POSITIVE),
    proof=(
        Step(
            ScalarIdentity(DECODED_LAYER, MAE_FIELD),
            r"For $\frac12 E\lVert p w x - y \rVert^2$ a layer's force is $p y(\lambda - \sigma p w)$; $u \cdot u^{L-1} = u^L$.",
            uses=("product", "balanced"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(DECODER, MAE_FIELD),
            "The decoder's is the same.",
            uses=("product", "balanced"),
        ),
        Step(
            ScalarIdentity(
                1 / JEPA_FIELD - 1 / (cross * u**2 * others**2),
                variance / (cross * u * others**2 * (cross - variance * u)),
            ),
            r"What $\sigma$ adds to $dt/du = 1/\dot u$ in a JEPA: of order $u^{1-2L}$,",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                1 / MAE_FIELD - 1 / (cross * u * others), variance * u / (cross * (cross - variance * u**2 * others))
            ),
            r"and in an autoencoder: of order $u$.",
            conclusion=True,
        ),
        Step(
            Implication(
                u**2 * others**2 * (cross - variance * u) > u**2 * others**2 * (cross - other_variance * u),
                given=(others > 0, other_variance > variance),
            ),
            r"Equal $\lambda$ and larger variance, that is smaller $\rho$: slower at every $u$,",
            uses=("rising",),
            conclusion=True,
        ),
        Step(
            Implication(
                u * others * (cross - variance * u**2 * others) > u * others * (cross - other_variance * u**2 * others),
                given=(u > 0, others > 0, other_variance > variance),
            ),
            r"and so in an autoencoder: the time to any $u$ that both reach is longer.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "same-order",
            "exchange",
            "claim the bounded term for the JEPA",
            ScalarIdentity(
                1 / JEPA_FIELD - 1 / (cross * u**2 * others**2),
                variance * u / (cross * (cross - variance * u**2 * others)),
            ),
        ),
        FalseSibling(
            "larger-variance-first",
            "sign",
            "claim that the larger variance is learnt first",
            Implication(
                u**2 * others**2 * (cross - variance * u) < u**2 * others**2 * (cross - other_variance * u),
                given=(others > 0, other_variance > variance),
            ),
            uses=("rising",),
        ),
        FalseSibling(
            "decoder-without-encoder",
            "omission",
            r"claim $\dot u = u^L(\lambda - \sigma u)$ for the autoencoder",
            ScalarIdentity(DECODED_LAYER, u * others * (cross - variance * u)),
            uses=("product", "balanced"),
        ),
    ),
    witnesses=(
        Witness("product", Instance({}, {}, {**_ONE, w: 3, cross: 8})),
        Witness("balanced", Instance({}, {}, {**_ONE, predictor: 3, cross: 8})),
        Witness("rising", Instance({}, {}, {**_ONE, u: -1, others: 1, predictor: -1, w: -1, cross: 8})),
    ),
    instances=_rising,
    sources=(
        Source("littwin2024", "Theorem 4.5", "critical times; second-hand"),
        Source("ours", "", "the two identities"),
    ),
    belief="Latent prediction and reconstruction learn features in the same order.",
    example=(
        "import numpy as np\n"
        "from scipy.integrate import quad\n"
        "jepa = lambda s, u0: quad(lambda u: 1 / (u**4 * (0.8 - s * u)), u0, 0.3)[0]; mae = lambda s, u0: quad(\n"
        "    lambda u: 1 / (u**2 * (0.8 - s * u**3)), u0, 0.3)[0]\n"
        "gap = lambda f, u0: f(1.0, u0) - f(0.9, u0)\n"
        "assert gap(jepa, 0.01) > 50 * gap(jepa, 0.1) and gap(mae, 0.01) < 1.2 * gap(mae, 0.1)"
    ),
)


THEOREMS = (DEEP, LEARNING_ORDER)
