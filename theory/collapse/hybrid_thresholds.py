"""Where an explicit force makes collapse unstable, and what appears there (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.collapse.hybrids import FLOW, force, gamma, hybrid_mode, ratio
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

at_zero, relative, curvature, scaled, growth = sp.symbols("phi_0 ell phi_2 X x", real=True)
"""φ(0), −φ'(0)/φ(0), a second-order coefficient of φ; X = ασw²/η; an eigenvalue."""

_SIGNS = (alpha > 0, variance > 0, eta > 0)
REPELS = Assumption(
    "repels-at-zero", r"the explicit force repels at the origin, $\phi_0 = \phi(0) > 0$", Inequality(at_zero > 0)
)
_FIELD = sp.Matrix([FLOW[w].subs(force, at_zero), FLOW[p]])
_ORIGIN: Any = _FIELD.jacobian(sp.Matrix([w, p])).subs({w: 0, p: 0})
CHARACTERISTIC: Any = (growth * sp.eye(2) - _ORIGIN).det()


def _origin(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    extra = {
        at_zero: draw.positive(),
        relative: draw.positive(),
        curvature: draw.number(),
        scaled: draw.positive(),
        growth: draw.number(),
    }
    return hybrid_mode(rng, size).with_(scalars=extra)


_REPELLED: dict[Any, Any] = {
    alpha: 1,
    variance: 1,
    cross: 1,
    eta: 1,
    gamma: -2,
    at_zero: -1,
    relative: 2,
    curvature: 0,
    ratio: 1,
    scaled: 1,
    growth: 0,
    w: 1,
    p: 1,
}

REPEL_THRESHOLD = Theorem(
    name="repel-threshold",
    title="The weight at which an explicit term makes collapse unstable ignores what can be predicted",
    chapter=4,
    statement=(
        r"The origin of the hybrid has the eigenvalues $\gamma\phi(0) - \eta$ and $-\eta$: it is unstable iff $\gamma >"
        r" \gamma_{\mathrm{repel}} = \eta/\phi(0)$, whatever the mode's correlation $\lambda$ and the predictor's rate $\alpha$."
    ),
    assumptions=(REPELS,),
    proof=(
        Step(
            ScalarIdentity(CHARACTERISTIC, (growth - (gamma * at_zero - eta)) * (growth + eta)),
            r"At the origin the prediction force has no linear part: it is of third order in $w$ on the slow manifold.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(gamma * at_zero - eta > 0, gamma * at_zero**2 > eta * at_zero),
                given=_SIGNS,
            ),
            r"Divide by $\phi(0) > 0$.",
            uses=("repels-at-zero",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "correlation-in-the-threshold",
            "exchange",
            r"let the mode's own force help: rate $\gamma\phi(0) + \lambda - \eta$ at the origin",
            ScalarIdentity(CHARACTERISTIC, (growth - (gamma * at_zero + cross - eta)) * (growth + eta)),
        ),
        FalseSibling(
            "attracting-term",
            "omission",
            "divide without asking for the sign of the force",
            Implication(
                sp.Equivalent(gamma * at_zero - eta > 0, gamma * at_zero**2 > eta * at_zero),
                given=_SIGNS,
            ),
        ),
        FalseSibling(
            "twice-the-decay",
            "constant",
            r"let the predictor decay at $2\eta$",
            ScalarIdentity(CHARACTERISTIC, (growth - (gamma * at_zero - eta)) * (growth + 2 * eta)),
        ),
    ),
    witnesses=(Witness("repels-at-zero", Instance({}, {}, _REPELLED)),),
    instances=_origin,
    sources=(Source("ours"),),
    belief="The better a mode can be predicted, the less explicit uniformity it needs to leave collapse.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "field = lambda gamma, lam: lambda s: {'w': (s['p'] * (lam - s['p']) - 0.2 + gamma * (1 - s['w']**2)) * s['w'],\n"
        "    'p': s['w']**2 * (lam - s['p']) - 0.2 * s['p']}\n"
        "end = lambda *a: integrate(field(*a), {'w': 0.001 * np.ones(()), 'p': np.zeros(())}, [0.0, 1500.0]).states['w'][-1]\n"
        "assert all(end(0.19, lam) < 1e-3 and end(0.21, lam) > 0.05 for lam in (0.1, 0.9))"
    ),
)

# -- what appears at the origin -------------------------------------------------------------------------------------------

_SMALL = eta * scaled / alpha  # s at X
PHI_NEAR_ZERO: Any = at_zero * (1 - relative * _SMALL) + curvature * _SMALL**2
GAMMA_NEAR_ZERO: Any = eta * (1 - cross**2 / (eta * variance) * scaled / (1 + scaled) ** 2) / PHI_NEAR_ZERO
RISE: Any = scaled * (
    eta**2 * relative / alpha
    - cross**2 / variance / (1 + scaled) ** 2
    - eta**3 * curvature * scaled / (alpha**2 * at_zero)
)
SLOPE: Any = eta / at_zero * (eta * relative / alpha - cross**2 / (eta * variance))
_SLOW = {p: alpha * cross * w**2 / eta, force: at_zero * (1 - relative * variance * w**2)}
ON_SLOW_MANIFOLD: Any = FLOW[w].subs(_SLOW)
CUBIC_COEFFICIENT: Any = alpha * cross**2 / eta - gamma * at_zero * variance * relative
_FIFTH = -variance * (alpha * cross / eta) ** 2 * w**5


HYBRID_BIFURCATION = Theorem(
    name="hybrid-bifurcation",
    title="Small modes appear at the origin iff the explicit force weakens faster than the implicit one grows",
    chapter=4,
    statement=(
        r"For a decreasing force let $\ell = \lvert \phi'(0) \rvert/\phi(0)$. In $X = \alpha\sigma w^2/\eta$ the weight curve is"
        r" $\Gamma = \gamma_{\mathrm{repel}} + \frac{\eta}{\phi(0)} [\frac{\eta\ell}{\alpha} - \frac{\lambda^2}{\eta\sigma}] X +"
        r" O(X^2)$, and on the slow manifold $p = \alpha\lambda w^2/\eta + O(w^4)$ the mode obeys $\dot w = (\gamma\phi(0) - \eta)"
        r" w + [\frac{\alpha\lambda^2}{\eta} - \gamma\phi(0)\sigma\ell] w^3 + O(w^5)$. So beyond $\gamma_{\mathrm{repel}}$ small"
        r" stable modes branch off (supercritically) iff $\ell > \alpha\lambda^2/(\sigma\eta^2)$; for $\ell <"
        r" \alpha\lambda^2/(\sigma\eta^2)$ the branch is unstable, lies before $\gamma_{\mathrm{repel}}$, and the mode jumps."
    ),
    assumptions=(REPELS,),
    proof=(
        Step(
            ScalarIdentity(PHI_NEAR_ZERO * (GAMMA_NEAR_ZERO - eta / at_zero), RISE),
            r"$\phi\,(\Gamma - \gamma_{\mathrm{repel}})$, with $\phi(s) = \phi_0 (1 - \ell s) + \phi_2 s^2 + \dots$ and $s = \eta"
            r" X/\alpha$. Divided by $\phi X$ it tends to the slope of $\Gamma$ at $X = 0$; the second order does not enter.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(
                    (eta**2 * relative * variance - alpha * cross**2) * at_zero > 0,
                    relative * variance * eta**2 > alpha * cross**2,
                ),
                given=_SIGNS,
            ),
            r"The sign of that slope, multiplied by $\alpha\sigma\phi_0^2 > 0$, where the force repels.",
            uses=("repels-at-zero",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                ON_SLOW_MANIFOLD,
                (gamma * at_zero - eta) * w + CUBIC_COEFFICIENT * w**3 + _FIFTH,
            ),
            "The same from the flow: insert the slow manifold into the encoder's equation.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                CUBIC_COEFFICIENT.subs(gamma, eta / at_zero),
                -alpha * variance * at_zero / eta * SLOPE,
            ),
            r"At $\gamma_{\mathrm{repel}}$ the two agree: the cubic term brakes exactly where the curve rises.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half-the-weakening",
            "constant",
            r"halve the part of $\ell$",
            ScalarIdentity(
                PHI_NEAR_ZERO * (GAMMA_NEAR_ZERO - eta / at_zero), RISE - scaled * eta**2 * relative / (2 * alpha)
            ),
        ),
        FalseSibling(
            "always-supercritical",
            "quantifier",
            "claim a rising branch for every decreasing force",
            Implication(relative * variance * eta**2 > alpha * cross**2, given=(*_SIGNS, relative > 0)),
            uses=("repels-at-zero",),
        ),
        FalseSibling(
            "implicit-force-brakes",
            "sign",
            "let the implicit force brake at third order as well",
            ScalarIdentity(
                ON_SLOW_MANIFOLD,
                (gamma * at_zero - eta) * w
                - (alpha * cross**2 / eta + gamma * at_zero * variance * relative) * w**3
                + _FIFTH,
            ),
        ),
    ),
    witnesses=(Witness("repels-at-zero", Instance({}, {}, _REPELLED)),),
    instances=_origin,
    sources=(Source("ours"),),
    belief="Just beyond its threshold an explicit term produces small modes.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "field = lambda lam: lambda s: {'w': (s['p'] * (lam - s['p']) - 0.1 + 0.101 * (1 - s['w']**2)) * s['w'],\n"
        "    'p': s['w']**2 * (lam - s['p']) - 0.1 * s['p']}  # l = 1 against (lam/0.1)**2\n"
        "end = lambda lam: integrate(field(lam), {'w': 0.01 * np.ones(()), 'p': np.zeros(())}, [0.0, 9000.0]).states['w'][-1]\n"
        "assert 0.05 < end(0.05) < 0.2 and end(0.9) > 0.7"
    ),
)

THEOREMS = (REPEL_THRESHOLD, HYBRID_BIFURCATION)
