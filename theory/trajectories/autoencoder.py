"""The autoencoder's time, and by how much two modes of equal cross-covariance are apart (result 5.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, cross, variance

u, v, optimum, depth = sp.symbols("u v g L", real=True)
"""A weight reached and one passed on the way, the weight at rest, the number of layers."""
inner, outer, rest, free, other = sp.symbols("x X y z sigma_2", real=True)
"""In polynomial letters: x = v^{L+1}, X = u^{L+1}, y a power stated where it is used; the variance of a second mode."""

FIELD: Any = u**depth * (cross - variance * u ** (depth + 1))


def _field(layers: int) -> Any:
    """Return the velocity at ``layers`` layers, by the weight at rest: λ = σ g^{L+1}."""
    return FIELD.subs({depth: layers, cross: variance * optimum ** (layers + 1)})


def _time(layers: int, unlimited: Any, saturation: Any) -> Any:
    """Return T: both parts are divided by λ."""
    return (unlimited + saturation) / (variance * optimum ** (layers + 1))


SHALLOW = _time(1, sp.log(u), -sp.log(optimum**2 - u**2) / 2)
THREE = u**2 + optimum * u + optimum**2
MIXED = (
    -sp.log(optimum - u) + sp.log(THREE) / 2 - sp.sqrt(3) * sp.atan((2 * u + optimum) / (sp.sqrt(3) * optimum))
) / (3 * optimum)
TWO_LAYERS = _time(2, -1 / u, MIXED)
THREE_LAYERS = _time(3, -1 / (2 * u**2), sp.log((optimum**2 + u**2) / (optimum**2 - u**2)) / (4 * optimum**2))
BOUND = Implication(
    variance * v * (cross - variance * outer) <= variance * v * (cross - variance * inner),
    given=(variance > 0, v > 0, inner > 0, outer >= inner, cross > variance * outer),
)


def _rising(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    limit, spread, layers = draw.positive(), draw.positive(), rng.randint(2, 4)
    at = limit * draw.rng.randint(1, 4) / 5
    second = spread + draw.positive()
    passed, reached = draw.positive(), draw.positive()
    scalars = {
        optimum: limit,
        u: at,
        v: at / 2,
        depth: layers,
        variance: spread,
        other: second,
        inner: passed,
        outer: passed + reached,
        rest: draw.positive(),
        free: at ** (layers - 1),
        cross: second * (passed + reached + at) + draw.positive() + size,
    }
    return Instance(scalars=scalars)


AUTOENCODER = Theorem(
    name="autoencoder-trajectory",
    title="The time of a deep autoencoder's mode",
    chapter=5,
    statement=(
        r"A mode of a masked autoencoder with $L$ balanced encoder layers, $\dot u = u^L(\lambda - \sigma u^{L+1})$, comes to"
        r" rest at $g = \rho^{1/(L+1)}$, $w_* = g^L = \rho^{L/(L+1)}$. It is reached from $u_0$ in the time $T(u) - T(u_0)$ with"
        r" $T = -\frac{1}{(L-1)\lambda u^{L-1}} + \frac{\sigma}{\lambda}\int_0^u \frac{v\,dv}{\lambda - \sigma v^{L+1}}$, $L >"
        r" 1$. The integral is elementary at every depth: with $\lambda = \sigma g^{L+1}$ it is, up to a constant,"
        r" $\frac1\sigma$ times $-\frac12 \ln(g^2 - u^2)$ for $L = 1$ (where the first term is $\frac1\lambda \ln u$),"
        r" $\frac{1}{3g}[-\ln(g - u) + \frac12 \ln(u^2 + gu + g^2) - \sqrt3 \arctan\frac{2u + g}{\sqrt3 g}]$ for $L = 2$,"
        r" $\frac{1}{4g^2} \ln\frac{g^2 + u^2}{g^2 - u^2}$ for $L = 3$. It adds at most $\frac{\sigma}{2\lambda}\, u^2/(\lambda -"
        r" \sigma u^{L+1})$, however small the start."
    ),
    assumptions=(),
    proof=(
        Step(
            ScalarIdentity(
                1 / (rest * (cross - variance * u * rest)),
                1 / (cross * rest) + variance / cross * u / (cross - variance * u * rest),
            ),
            r"One power splits off at any depth, $y = u^L$,",
            conclusion=True,
        ),
        Step(
            ModeRate(-1 / ((depth - 1) * cross * free), {free: (depth - 1) * free / u}, 1 / (cross * u * free)),
            r"which is the velocity's inverse without saturation, the derivative along $u$ of the first term ($z = u^{L-1}$).",
            conclusion=True,
        ),
        Step(
            BOUND,
            r"For $v \le u$ the other integrand is at most $\frac{\sigma}{\lambda}\, v/(\lambda - \sigma u^{L+1})$ ($x ="
            r" v^{L+1} \le X = u^{L+1}$, multiplied out): integrate over $v$.",
            conclusion=True,
        ),
        Step(ScalarIdentity(sp.Derivative(SHALLOW, u), 1 / _field(1)), r"The whole time for $L = 1$,", conclusion=True),
        Step(ScalarIdentity(sp.Derivative(TWO_LAYERS, u), 1 / _field(2)), r"for $L = 2$,", conclusion=True),
        Step(
            ScalarIdentity(sp.Derivative(THREE_LAYERS, u), 1 / _field(3)),
            r"and for $L = 3$; in general by partial fractions over the roots of $v^{L+1} = g^{L+1}$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "free-time-of-the-jepa",
            "exchange",
            r"split off $u^{-2L}$, as for a JEPA",
            ScalarIdentity(
                1 / (rest * (cross - variance * u * rest)),
                1 / (cross * rest**2) + variance / cross * u / (cross - variance * u * rest),
            ),
        ),
        FalseSibling(
            "arctangent",
            "sign",
            r"add the arctangent at two layers",
            ScalarIdentity(
                sp.Derivative(
                    TWO_LAYERS
                    + 2
                    * sp.sqrt(3)
                    * sp.atan((2 * u + optimum) / (sp.sqrt(3) * optimum))
                    / (3 * optimum * variance * optimum**3),
                    u,
                ),
                1 / _field(2),
            ),
        ),
        FalseSibling(
            "bound-without-saturation",
            "omission",
            r"bound the second integrand by $\sigma v/\lambda^2$",
            Implication(variance * v * cross <= variance * v * (cross - variance * inner), given=BOUND.given),
        ),
        FalseSibling(
            "half-a-logarithm",
            "constant",
            r"halve the logarithm at three layers",
            ScalarIdentity(
                sp.Derivative(
                    _time(
                        3,
                        -1 / (2 * u**2),
                        sp.log((optimum**2 + u**2) / (optimum**2 - u**2)) / (8 * optimum**2),
                    ),
                    u,
                ),
                1 / _field(3),
            ),
        ),
    ),
    witnesses=(),
    instances=_rising,
    sources=(
        Source("ours", "", "the time and its bound"),
        Source("littwin2024", "(8), Theorem 4.5", "the equation and the leading term; second-hand"),
    ),
    belief="The time of a reconstruction mode is set by its variance.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "g = 0.8 ** 0.25; T = lambda u: (-0.5 / u**2 + np.log((g**2 + u**2) / (g**2 - u**2)) / (4 * g**2)) / 0.8\n"
        "field = lambda s: {'u': s['u'] ** 3 * (0.8 - s['u'] ** 4)}\n"
        "end = integrate(field, {'u': np.asarray(0.1)}, [0.0, T(0.6) - T(0.1)]).states['u'][-1]\n"
        "assert np.isclose(end, 0.6)"
    ),
)

POSITIVE = Assumption("positive-weight", r"the weight is positive, $v > 0$", Inequality(v > 0))
STILL_RISING = Assumption(
    "second-rises",
    r"in the JEPA the second mode is still rising too, $\sigma_2 v < \lambda$",
    Inequality(other * v < cross),
)
LARGER = Assumption(
    "larger-variance", r"$\sigma_2 \ge \sigma > 0$", Inequality(sp.And(variance > 0, other >= variance))
)

# What the denominator of the delay multiplies, multiplied out.
JEPA_FLOOR = (other - variance) * v * (cross - variance * v) * (cross - other * v)


APART = Theorem(
    name="critical-times-apart",
    title="How far a correlation sets two modes apart in time: without bound in a JEPA, by a bound in an autoencoder",
    chapter=5,
    statement=(
        r"Two rising modes with equal $\lambda$ and variances $\sigma \le \sigma_2$, that is correlations $\rho \ge \rho_2$, start at"
        r" $u_0$. In a JEPA with $L$ balanced layers the second reaches $u$ later by at least $\frac{\sigma_2 - \sigma}{\lambda^2}"
        r" \int_{u_0}^u v^{1-2L} dv$, which is $\frac{\sigma_2 - \sigma}{\lambda^2} \ln\frac{u}{u_0}$ for one layer and"
        r" $\frac{\sigma_2 - \sigma}{(2L-2)\lambda^2}(u_0^{2-2L} - u^{2-2L})$ beyond: unbounded as $u_0 \to 0$. In an"
        r" autoencoder it is later, by at most $\frac{\sigma_2 - \sigma}{2}\, u^2/(\lambda - \sigma_2 u^{L+1})^2$ from any start,"
        r" as long as $\sigma_2 u^{L+1} < \lambda$."
    ),
    assumptions=(POSITIVE, STILL_RISING, LARGER),
    proof=(
        Step(
            ScalarIdentity(
                1 / (v * rest * (cross - other * v)) - 1 / (v * rest * (cross - variance * v)),
                (other - variance) * v / (v * rest * (cross - other * v) * (cross - variance * v)),
            ),
            r"The delay per step of the weight in a JEPA, with $y = v^{2L-1}$.",
            conclusion=True,
        ),
        Step(
            Implication((other - variance) * v * cross**2 >= JEPA_FLOOR),
            r"Both factors of the denominator are at most $\lambda$: the delay is at least $(\sigma_2 - \sigma)/(\lambda^2 y)$,"
            r" which integrates to the bound.",
            uses=("positive-weight", "second-rises", "larger-variance"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                1 / (cross - other * inner) - 1 / (cross - variance * inner),
                (other - variance) * inner / ((cross - other * inner) * (cross - variance * inner)),
            ),
            r"In an autoencoder, with $x = v^{L+1}$ and before the factor $v^{-L}$: the delay is $v(\sigma_2 - \sigma)/((\lambda -"
            r" \sigma_2 x)(\lambda - \sigma x))$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    (other - variance) * v * (cross - other * outer) ** 2
                    <= (other - variance) * v * (cross - other * inner) * (cross - variance * inner),
                    (other - variance) * v * (cross - other * inner) * (cross - variance * inner) >= 0,
                ),
                given=(inner > 0, outer >= inner, cross > other * outer),
            ),
            r"Both factors are at least $\lambda - \sigma_2 X$, $X = u^{L+1} \ge x$: the delay lies between zero and $v(\sigma_2 -"
            r" \sigma)/(\lambda - \sigma_2 X)^2$.",
            uses=("positive-weight", "larger-variance"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "larger-variance-first",
            "sign",
            "let the larger variance be ahead",
            Implication((other - variance) * v * cross**2 <= JEPA_FLOOR),
            uses=("positive-weight", "second-rises", "larger-variance"),
        ),
        FalseSibling(
            "delay-of-the-fields",
            "exchange",
            r"take the difference of the velocities, $(\sigma_2 - \sigma) v^2 y$, for the delay",
            ScalarIdentity(
                1 / (v * rest * (cross - other * v)) - 1 / (v * rest * (cross - variance * v)),
                (other - variance) * v**2 * rest,
            ),
        ),
        FalseSibling(
            "bound-at-the-start",
            "omission",
            r"bound the autoencoder's delay by $v(\sigma_2 - \sigma)/\lambda^2$, without saturation",
            Implication(
                (other - variance) * v * cross**2
                <= (other - variance) * v * (cross - other * inner) * (cross - variance * inner),
                given=(inner > 0, outer >= inner, cross > other * outer),
            ),
            uses=("positive-weight", "larger-variance"),
        ),
        FalseSibling(
            "any-two-variances",
            "quantifier",
            "claim the order for any two positive variances",
            Implication((other - variance) * v * cross**2 >= JEPA_FLOOR, given=(variance > 0, other > 0)),
            uses=("positive-weight", "second-rises"),
        ),
    ),
    witnesses=(
        # A weight of the wrong sign: the larger variance is ahead.
        Witness(
            "positive-weight",
            Instance(scalars={variance: 1, other: 2, v: -1, cross: 1, rest: 1, inner: "1/4", outer: "1/4"}),
        ),
        # Beyond both equilibria the modes fall, the larger variance first.
        Witness("second-rises", Instance(scalars={variance: 1, other: 2, v: 2, cross: 1, rest: 1, inner: 1, outer: 1})),
        Witness(
            "larger-variance",
            Instance(scalars={variance: 2, other: 1, v: 1, cross: 4, rest: 1, inner: 1, outer: 1}),
        ),
    ),
    instances=_rising,
    sources=(
        Source("ours", "", "both bounds"),
        Source("littwin2024", "Theorem 4.5", "the orders of the critical times; second-hand"),
    ),
    belief="A small initialisation makes every deep model prefer well-correlated features.",
    example=(
        "import numpy as np\n"
        "from scipy.integrate import quad\n"
        "jepa = lambda s, u0: quad(lambda v: 1 / (v**4 * (0.8 - s * v)), u0, 0.3)[0]; mae = lambda s, u0: quad(\n"
        "    lambda v: 1 / (v**2 * (0.8 - s * v**3)), u0, 0.3)[0]\n"
        "assert all(jepa(1.0, e) - jepa(0.9, e) > 0.1 / (2 * 0.64) * (e**-2 - 0.3**-2) for e in (0.1, 0.05))\n"
        "assert all(0 < mae(1.0, e) - mae(0.9, e) < 0.05 * 0.09 / (0.8 - 0.027) ** 2 for e in (0.1, 0.05))"
    ),
)

THEOREMS = (AUTOENCODER, APART)
