"""A JEPA mode with an explicit uniformity force: equilibria, stability, the two thresholds (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ModeRate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

gamma, force, slope, at_zero, slope_at_zero, curvature, scaled, ratio = sp.symbols(
    r"gamma f f' f_0 f_1 f_2 X kappa", real=True
)
"""Weight γ of the explicit term; φ(s) and φ'(s) at the mode's variance; φ(0), −φ'(0); X = ασw²/η, κ = λ²/(ησ)."""

FLOW: Any = {
    w: p * (cross - variance * p) * w - eta * w + gamma * force * w,
    p: alpha * w**2 * (cross - variance * p) - eta * p,
}
RESTING = alpha * cross * w**2 / (alpha * variance * w**2 + eta)
X_OF_W = alpha * variance * w**2 / eta
KAPPA = cross**2 / (eta * variance)

PREDICTOR_AT_REST = Assumption(
    "predictor-at-rest",
    r"the predictor is at rest: $p = \alpha\lambda w^2/(\alpha\sigma w^2 + \eta)$",
    Equation(p, RESTING),
)


def _hybrid(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rate, sigma, both, decay, weight = (draw.positive() for _ in range(5))
    at = rate * both * weight * weight / (rate * sigma * weight * weight + decay)
    scalars = {
        alpha: rate,
        variance: sigma,
        cross: both,
        eta: decay,
        w: weight,
        p: at,
        gamma: draw.positive(),
        force: draw.positive(),
        slope: -draw.positive(),
        scaled: rate * sigma * weight * weight / decay,
        ratio: both * both / (decay * sigma),
        at_zero: draw.positive(),
        slope_at_zero: draw.positive(),
        curvature: draw.number(),
    }
    return Instance({}, {}, scalars)


def _one(**changes: Any) -> Instance:
    values: dict[str, Any] = {
        "alpha": 1,
        "sigma": 1,
        "lambda": 1,
        "eta": 1,
        "w": 1,
        "gamma": 1,
        "f": 1,
        "slope": -1,
        **changes,
    }
    letters = (alpha, variance, cross, eta, w, gamma, force, slope)
    scalars = dict(zip(letters, list(values.values())[:8], strict=True))
    return Instance({}, {}, {**scalars, p: values.get("p", sp.Rational(1, 2))})


BALANCE = w**2 - p**2 / alpha

HYBRID_EQUILIBRIA = Theorem(
    name="hybrid-equilibria",
    title="An explicit term breaks balance, and its weight is a function of where the mode rests",
    chapter=4,
    statement=(
        r"Add an explicit uniformity force $\gamma\varphi(s) w$, $s = \sigma w^2$, to the encoder of a JEPA mode with $V = W$. The"
        r" imbalance $w^2 - p^2/\alpha$ then decays at $2\eta$ and gains $2\gamma\varphi w^2$. At rest $p ="
        r" \alpha\lambda w^2/(\alpha\sigma w^2 + \eta)$, and with $X = \alpha\sigma w^2/\eta$ and $\kappa = \lambda^2/(\eta\sigma) ="
        r" 4\eta_c/\eta$ the encoder rests at $w \ne 0$ iff $\gamma = \Gamma(w) = \eta [1 - \kappa X/(1+X)^2]/\varphi(\sigma w^2)$."
    ),
    assumptions=(PREDICTOR_AT_REST,),
    proof=(
        Step(
            ModeRate(BALANCE, FLOW, -2 * eta * BALANCE + 2 * gamma * force * w**2),
            "The prediction force cancels in the difference as ever; the explicit one acts on the encoder alone.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(alpha * w**2 * (cross - variance * RESTING) - eta * RESTING, sp.S.Zero),
            "The predictor's equation is linear in $p$.",
        ),
        Step(
            ScalarIdentity(p * (cross - variance * p), eta * KAPPA * X_OF_W / (1 + X_OF_W) ** 2),
            r"At rest $\lambda - \sigma p = \lambda/(1 + X)$ and $\sigma p = \lambda X/(1 + X)$.",
            uses=("predictor-at-rest",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                FLOW[w],
                w * force * (gamma - eta * (1 - KAPPA * X_OF_W / (1 + X_OF_W) ** 2) / force),
            ),
            r"So the encoder's velocity is $w\varphi\,(\gamma - \Gamma(w))$.",
            uses=("predictor-at-rest",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "balance-survives",
            "omission",
            "claim the balance law unchanged",
            ModeRate(BALANCE, FLOW, -2 * eta * BALANCE),
        ),
        FalseSibling(
            "first-power",
            "constant",
            r"write $(1 + X)$ for $(1 + X)^2$",
            ScalarIdentity(p * (cross - variance * p), eta * KAPPA * X_OF_W / (1 + X_OF_W)),
            uses=("predictor-at-rest",),
        ),
        FalseSibling(
            "implicit-force-attracts",
            "sign",
            r"let the implicit force enter $\Gamma$ with the other sign",
            ScalarIdentity(FLOW[w], w * force * (gamma - eta * (1 + KAPPA * X_OF_W / (1 + X_OF_W) ** 2) / force)),
            uses=("predictor-at-rest",),
        ),
    ),
    witnesses=(Witness("predictor-at-rest", _one(p=1)),),
    instances=_hybrid,
    sources=(Source("ours"), Source("mo2024", "Appendix C", "a hybrid: JEPA and VICReg")),
    belief="An explicit regulariser adds its strength to the implicit one.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "f = lambda s: {'w': s['p'] * (0.8 - s['p']) * s['w'] - 0.1 * s['w'] + 0.05 * (1 - s['w']**2) * s['w'],\n"
        "    'p': s['w']**2 * (0.8 - s['p']) - 0.1 * s['p']}\n"
        "w = integrate(f, {'w': 0.9 * np.ones(()), 'p': 0.5 * np.ones(())}, [0.0, 900.0]).states['w'][-1]; X = w**2 / 0.1\n"
        "assert np.isclose(0.05, 0.1 * (1 - 6.4 * X / (1 + X) ** 2) / (1 - w**2))"
    ),
)

_SIGNS = (alpha > 0, variance > 0, eta > 0)
REPELS = Assumption(
    "repels-at-zero", r"the explicit force repels at the origin, $\varphi(0) > 0$", Inequality(at_zero > 0)
)
GAMMA_NEAR_ZERO = (
    eta
    * (1 - ratio * scaled / (1 + scaled) ** 2)
    / (at_zero - slope_at_zero * (eta * scaled / alpha) + curvature * (eta * scaled / alpha) ** 2)
)
SLOPE_AT_ZERO: Any = sp.diff(GAMMA_NEAR_ZERO, scaled).subs(scaled, 0)
_ORIGIN: Any = sp.Matrix([FLOW[w].subs(force, at_zero), FLOW[p]]).jacobian(sp.Matrix([w, p])).subs({w: 0, p: 0})
growth = sp.Symbol("x", real=True)

REPEL_THRESHOLD = Theorem(
    name="repel-threshold",
    title="The weight at which an explicit term makes collapse unstable, and what appears there",
    chapter=4,
    statement=(
        r"The origin of the hybrid is unstable iff $\gamma > \gamma_{\mathrm{repel}} = \eta/\varphi(0)$, whatever the mode's"
        r" correlation. For decreasing $\varphi$ the branch that leaves $w = 0$ there rises ($\Gamma' > 0$: small stable modes, a"
        r" supercritical bifurcation) iff $\lvert \varphi'(0) \rvert/\varphi(0) > \alpha\lambda^2/(\sigma\eta^2)$; otherwise it falls,"
        r" and the mode jumps to the large state."
    ),
    assumptions=(REPELS,),
    proof=(
        Step(
            ScalarIdentity((growth * sp.eye(2) - _ORIGIN).det(), (growth - (gamma * at_zero - eta)) * (growth + eta)),
            r"At the origin the prediction force has no linear part; the encoder's rate is $\gamma\varphi(0) - \eta$.",
            conclusion=True,
        ),
        Step(
            Implication(sp.Equivalent(gamma * at_zero - eta > 0, gamma * at_zero**2 > eta * at_zero), given=_SIGNS),
            r"Divide by $\varphi(0) > 0$.",
            uses=("repels-at-zero",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                SLOPE_AT_ZERO,
                eta * (slope_at_zero * eta / alpha - ratio * at_zero) / at_zero**2,
            ),
            r"With $\varphi(s) = f_0 - f_1 s + f_2 s^2 + \dots$ and $s = \eta X/\alpha$, the slope of $\Gamma$ in $X$ at zero.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(
                    slope_at_zero * eta - ratio * at_zero * alpha > 0,
                    slope_at_zero * variance * eta**2 > alpha * cross**2 * at_zero,
                ),
                given=(*_SIGNS, sp.Eq(ratio * eta * variance, cross**2)),
            ),
            r"Its sign, in the parameters of the mode.",
        ),
    ),
    siblings=(
        FalseSibling(
            "correlation-in-the-threshold",
            "exchange",
            r"let the mode's own force help: rate $\gamma\varphi(0) + \lambda - \eta$ at the origin",
            ScalarIdentity(
                (growth * sp.eye(2) - _ORIGIN).det(), (growth - (gamma * at_zero + cross - eta)) * (growth + eta)
            ),
            instances=lambda rng, size: _hybrid(rng, size).with_(scalars={growth: Draw(rng).number()}),
        ),
        FalseSibling(
            "curvature-decides",
            "constant",
            r"double the part of $\varphi'(0)$",
            ScalarIdentity(
                SLOPE_AT_ZERO,
                eta * (2 * slope_at_zero * eta / alpha - ratio * at_zero) / at_zero**2,
            ),
        ),
        FalseSibling(
            "always-supercritical",
            "quantifier",
            "claim a rising branch for every decreasing force",
            Implication(
                slope_at_zero * variance * eta**2 > alpha * cross**2 * at_zero, given=(*_SIGNS, slope_at_zero > 0)
            ),
            uses=("repels-at-zero",),
        ),
    ),
    witnesses=(
        Witness(
            "repels-at-zero",
            Instance(
                {},
                {},
                {
                    alpha: 1,
                    variance: 1,
                    cross: 1,
                    eta: 1,
                    gamma: -2,
                    at_zero: -1,
                    slope_at_zero: 1,
                    curvature: 0,
                    ratio: 1,
                    scaled: 1,
                    growth: 0,
                    w: 1,
                    p: 1,
                },
            ),
        ),
    ),
    instances=lambda rng, size: _hybrid(rng, size).with_(scalars={growth: Draw(rng).number()}),
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

# -- stability of the other equilibria ------------------------------------------------------------------------------------

NEEDED = eta - RESTING * (cross - variance * RESTING)  # γφ at rest
GAMMA_SLOPE = sp.Derivative(NEEDED, w) - 2 * gamma * variance * w * slope  # φ·Γ'(w)
_ENCODER_SLOPE = p * (cross - variance * p) - eta + gamma * force + 2 * gamma * variance * w**2 * slope
DETERMINANT = -_ENCODER_SLOPE * (alpha * variance * w**2 + eta) - 2 * alpha * w**2 * (cross - variance * p) * (
    cross - 2 * variance * p
)
TRACE = 2 * gamma * variance * w**2 * slope - alpha * variance * w**2 - eta
AT_REST = Assumption("at-rest", r"the encoder is at rest, $\gamma = \Gamma(w)$", Equation(gamma, NEEDED / force))
DECREASING = Assumption(
    "decreasing", r"the force decreases with the variance, $\varphi'(s) \le 0$", Inequality(slope <= 0)
)


def _resting(rng: random.Random, size: int) -> Instance:
    instance = _hybrid(rng, size)
    values = dict(instance.scalars)
    at, sigma = values[p], values[variance]
    needed = values[eta] - at * (values[cross] - sigma * at)
    if needed < 0:
        return _resting(rng, size)
    return instance.with_(scalars={gamma: needed / values[force]})


HYBRID_STABILITY = Theorem(
    name="hybrid-stability",
    title="A mode of a hybrid is stable exactly where its weight curve rises",
    chapter=4,
    statement=(
        r"At an equilibrium $w > 0$ of the hybrid the Jacobian of $(w, p)$ has the determinant $w\varphi\, (\alpha\sigma w^2 + \eta)\,"
        r" \Gamma'(w)$, and for decreasing $\varphi$, $\gamma \ge 0$, a negative trace: where $\varphi > 0$ it is stable iff $\Gamma'(w)"
        r" > 0$. A local maximum of $\Gamma$ on the branch that leaves $w = 0$ is therefore where small modes cease to exist and"
        r" only the large state remains: $\gamma_{\mathrm{rescue}}$."
    ),
    assumptions=(PREDICTOR_AT_REST, AT_REST, DECREASING),
    proof=(
        Step(
            ScalarIdentity(
                DETERMINANT,
                w * (alpha * variance * w**2 + eta) * GAMMA_SLOPE,
            ),
            r"Eliminate $p$ and $\gamma$ by rest. Along the predictor's rest $p' = 2\alpha w(\lambda - \sigma p)/(\alpha\sigma w^2 +"
            r" \eta)$, which is how $\varphi\Gamma' = \frac{d}{dw}(\gamma\varphi) - \gamma\varphi' \cdot 2\sigma w$ meets the determinant.",
            uses=("predictor-at-rest", "at-rest"),
            conclusion=True,
        ),
        Step(
            Implication(TRACE < 0, given=(*_SIGNS, gamma >= 0)),
            "No term of the trace is positive.",
            uses=("decreasing",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "falling-branch",
            "sign",
            "claim stability where the curve falls",
            ScalarIdentity(DETERMINANT, -w * (alpha * variance * w**2 + eta) * GAMMA_SLOPE),
            uses=("predictor-at-rest", "at-rest"),
        ),
        FalseSibling(
            "any-force",
            "omission",
            "claim the negative trace for every force",
            Implication(TRACE < 0, given=(*_SIGNS, gamma >= 0)),
        ),
        FalseSibling(
            "without-decay",
            "constant",
            r"leave $\eta$ out of the factor",
            ScalarIdentity(DETERMINANT, w * alpha * variance * w**2 * GAMMA_SLOPE),
            uses=("predictor-at-rest", "at-rest"),
        ),
    ),
    witnesses=(
        Witness("predictor-at-rest", _one(p=0, gamma=sp.Rational(3, 4))),
        Witness("at-rest", _one()),
        Witness("decreasing", _one(gamma=sp.Rational(3, 4), slope=2)),
    ),
    instances=_resting,
    sources=(Source("ours"),),
    belief="More explicit uniformity always means larger modes.",
    example=(
        "import numpy as np\n"
        "w = np.linspace(0.01, 1.2, 1000); eta, lam = 0.05, 0.3; X = w**2 / eta; kappa = lam**2 / eta\n"
        "curve = eta * (1 - kappa * X / (1 + X) ** 2) * w  # the hinge of VICReg for small epsilon: phi = 1/w\n"
        "assert kappa < 2.638 and np.all(np.diff(curve) > 0)  # no fold: modes grow continuously with the weight"
    ),
)

THEOREMS = (HYBRID_EQUILIBRIA, REPEL_THRESHOLD, HYBRID_STABILITY)
