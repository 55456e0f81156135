"""A JEPA mode with an explicit uniformity force: balance and equilibria (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import ModeRate, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Q, R, W, alpha, cross, d, eta, k, p, variance, w

gamma, force, slope, ratio = sp.symbols(r"gamma phi \phi' kappa", real=True)
"""Weight γ of the explicit term; φ(s) and φ'(s) at the mode's variance; κ = λ²/(ησ)."""

target, first, second = sp.symbols("v U_1 U_2", real=True)
explicit: Any = sp.MatrixSymbol("F", k, d)

FLOW: Any = {
    w: p * (cross - variance * p) * w - eta * w + gamma * force * w,
    p: alpha * w**2 * (cross - variance * p) - eta * p,
}
RESTING = alpha * cross * w**2 / (alpha * variance * w**2 + eta)
X_OF_W = alpha * variance * w**2 / eta
KAPPA = cross**2 / (eta * variance)
BALANCE = w**2 - p**2 / alpha
IMBALANCE: Any = W * W.T - P.T * P / alpha

PREDICTOR_AT_REST = Assumption(
    "predictor-at-rest",
    r"the predictor is at rest: $p = \alpha\lambda w^2/(\alpha\sigma w^2 + \eta)$",
    Equation(p, RESTING),
)


def hybrid_mode(rng: random.Random, size: int) -> Instance:
    """Draw a mode with its predictor at rest and a repelling, weakening explicit force."""
    draw = Draw(rng)
    rate, sigma, both, decay, weight = (draw.positive() for _ in range(5))
    scalars = {
        alpha: rate,
        variance: sigma,
        cross: both,
        eta: decay,
        w: weight,
        p: rate * both * weight * weight / (rate * sigma * weight * weight + decay),
        gamma: draw.positive(),
        force: draw.positive(),
        slope: -draw.positive(),
        ratio: both * both / (decay * sigma),
    }
    return Instance({}, {}, scalars)


def one_mode(**changes: Any) -> Instance:
    """Return a mode with all letters 1 but φ' = −1 and p = 1/2, at rest without explicit force, with some changed."""
    values: dict[str, Any] = {
        "alpha": 1,
        "sigma": 1,
        "lambda": 1,
        "eta": 1,
        "w": 1,
        "gamma": 1,
        "phi": 1,
        "slope": -1,
        **changes,
    }
    letters = (alpha, variance, cross, eta, w, gamma, force, slope)
    scalars = dict(zip(letters, list(values.values())[:8], strict=True))
    return Instance({}, {}, {**scalars, p: values.get("p", sp.Rational(1, 2))})


# -- the loss, its flow, and balance --------------------------------------------------------------------------------------

POTENTIAL = first * variance * w**2 + second * (variance * w**2) ** 2  # U(s) to second order
LOSS = (variance * p**2 * w**2 - 2 * cross * p * target * w) / 2 + eta * (w**2 + p**2 / alpha) / 2 + gamma * POTENTIAL
BY_POTENTIAL = -2 * variance * (first + 2 * second * variance * w**2)  # −2σU'(s)

THROUGH_PREDICTOR = Assumption(
    "through-predictor",
    r"the prediction force reaches the encoder through the predictor itself, $Q = P$",
    Equation(Q, P),
)


def _training(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    predictor = draw.matrix(rows, rows)
    matrices = {
        W: draw.matrix(rows, columns),
        P: predictor,
        Q: predictor,
        R: draw.matrix(rows, columns),
        explicit: draw.matrix(rows, columns),
    }
    mode = hybrid_mode(rng, size).with_(
        scalars={target: draw.number(), first: draw.number(), second: draw.number(), p: draw.number()}
    )
    return Instance({k: rows, d: columns}, matrices, mode.scalars)


HYBRID_BALANCE = Theorem(
    name="hybrid-balance",
    title="An explicit term breaks balance, by exactly its own power",
    chapter=4,
    statement=(
        r"Add an explicit force $\gamma F$ to the encoder, $\dot W = P^{\top} R - \eta W + \gamma F$ and $\dot P = \alpha R W^{\top} -"
        r" \eta P$, for any loss on the prediction, any backbone and any $F$. The imbalance then no longer only decays: it gains"
        r" $\gamma(F W^{\top} + W F^{\top})$. For a mode of the loss $\frac12 \mathbb{E}(p w x - \operatorname{sg}(v y))^2 + \gamma U(s)"
        r" + \frac\eta2 (w^2 + p^2/\alpha)$, $s = \sigma w^2$, the force is $\gamma\phi(s) w$ with $\phi = -2\sigma U'(s)$, and"
        r" $w^2 - p^2/\alpha$ gains $2\gamma\phi(s) w^2$."
    ),
    assumptions=(THROUGH_PREDICTOR,),
    proof=(
        Step(
            ScalarIdentity(
                -sp.Derivative(LOSS, w), p * (cross * target - variance * p * w) - eta * w + gamma * BY_POTENTIAL * w
            ),
            r"The encoder's force at frozen target $v$, with $U = U_1 s + U_2 s^2$; orders beyond go alike. Then $v = w$.",
        ),
        Step(
            ScalarIdentity(-alpha * sp.Derivative(LOSS, p), alpha * w * (cross * target - variance * p * w) - eta * p),
            r"The predictor learns at $\alpha$ times the encoder's rate and does not see $U$.",
        ),
        Step(
            Rate(
                IMBALANCE,
                {W: Q.T * R - eta * W + gamma * explicit, P: alpha * R * W.T - eta * P},
                -2 * eta * IMBALANCE + gamma * (explicit * W.T + W * explicit.T),
            ),
            "The prediction force cancels in the difference as ever; the explicit one acts on the encoder alone.",
            uses=("through-predictor",),
            conclusion=True,
        ),
        Step(
            ModeRate(BALANCE, FLOW, -2 * eta * BALANCE + 2 * gamma * force * w**2),
            "One mode of it.",
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
            "gain-counted-once",
            "constant",
            r"claim a gain of $\gamma\phi w^2$",
            ModeRate(BALANCE, FLOW, -2 * eta * BALANCE + gamma * force * w**2),
        ),
        FalseSibling(
            "predictor-repelled",
            "sign",
            "let the explicit term feed the predictor's side",
            Rate(
                IMBALANCE,
                {W: Q.T * R - eta * W + gamma * explicit, P: alpha * R * W.T - eta * P},
                -2 * eta * IMBALANCE - gamma * (explicit * W.T + W * explicit.T),
            ),
            uses=("through-predictor",),
        ),
    ),
    witnesses=(
        Witness(
            "through-predictor",
            Instance(
                {k: 1, d: 1},
                {
                    letter: matrix([[entry]])
                    for letter, entry in zip((W, P, Q, R, explicit), (1, 1, 2, 1, 1), strict=True)
                },
                {alpha: 1, eta: 1, gamma: 1},
            ),
        ),
    ),
    instances=_training,
    sources=(Source("ours"), Source("tian2021", "Theorem 1", "the law without explicit term")),
    belief="Balance is a property of the architecture, so a regulariser leaves it alone.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "f = lambda s: {'w': s['p'] * (0.8 - s['p']) * s['w'] - 0.1 * s['w'] + 0.05 * (1 - s['w']**2) * s['w'],\n"
        "    'p': s['w']**2 * (0.8 - s['p']) - 0.1 * s['p']}\n"
        "end = integrate(f, {'w': 0.9 * np.ones(()), 'p': 0.5 * np.ones(())}, [0.0, 900.0]).states; w, p = end['w'][-1], end['p'][-1]\n"
        "assert np.isclose(0.1 * (w**2 - p**2), 0.05 * (1 - w**2) * w**2) and w**2 - p**2 > 0.01  # gain meets decay"
    ),
)

# -- equilibria -----------------------------------------------------------------------------------------------------------

HYBRID_EQUILIBRIA = Theorem(
    name="hybrid-equilibria",
    title="The weight of an explicit term is a function of where the mode rests",
    chapter=4,
    statement=(
        r"Add an explicit uniformity force $\gamma\phi(s) w$, $s = \sigma w^2$, to the encoder of a JEPA mode with $V = W$. At rest"
        r" $p = \alpha\lambda w^2/(\alpha\sigma w^2 + \eta)$, which is balanced only where $\gamma\phi = 0$, and with $X ="
        r" \alpha\sigma w^2/\eta$ and $\kappa = \lambda^2/(\eta\sigma) = 4\eta_c/\eta$ the encoder rests at $w \ne 0$ iff $\gamma ="
        r" \Gamma(w) = \eta [1 - \kappa X/(1+X)^2]/\phi(\sigma w^2)$. The bracket is what the implicit force leaves of the decay;"
        r" in $p = \rho X/(1+X)$ it is $1 - p(\lambda - \sigma p)/\eta$."
    ),
    assumptions=(PREDICTOR_AT_REST,),
    proof=(
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
            r"So the encoder's velocity is $w\phi\,(\gamma - \Gamma(w))$.",
            uses=("predictor-at-rest",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(FLOW[w] * w - FLOW[p] * p / alpha, (gamma * force - eta) * w**2 + eta * p**2 / alpha),
            r"Half the rate of the imbalance: at rest $\eta(w^2 - p^2/\alpha) = \gamma\phi w^2$, so that it vanishes only with"
            r" the explicit force.",
        ),
    ),
    siblings=(
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
        FalseSibling(
            "balanced-predictor",
            "exchange",
            r"insert the balanced predictor $p^2 = \alpha w^2$, $X = p^2\sigma/\eta$, instead of the resting one",
            ScalarIdentity(
                FLOW[w],
                w
                * force
                * (gamma - eta * (1 - KAPPA * (variance * p**2 / eta) / (1 + variance * p**2 / eta) ** 2) / force),
            ),
            uses=("predictor-at-rest",),
        ),
    ),
    witnesses=(Witness("predictor-at-rest", one_mode(p=1)),),
    instances=hybrid_mode,
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

THEOREMS = (HYBRID_BALANCE, HYBRID_EQUILIBRIA)
