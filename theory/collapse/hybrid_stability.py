"""Which equilibria of a hybrid mode are stable, and that every mode ends at one (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Implication, ScalarIdentity
from jepalign.theory.collapse.hybrids import (
    FLOW,
    PREDICTOR_AT_REST,
    RESTING,
    force,
    gamma,
    hybrid_mode,
    one_mode,
    slope,
)
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, p, variance, w

moving, base = sp.symbols("u w_0", real=True)
NEEDED = eta - RESTING * (cross - variance * RESTING)  # γφ at rest
_NEARBY = force + slope * variance * (moving**2 - w**2)  # φ at a neighbouring weight
_FIELD = sp.Matrix([FLOW[w].subs(force, _NEARBY.subs(w, base)), FLOW[p]]).subs(w, moving).subs(base, w)
JACOBIAN: Any = _FIELD.jacobian(sp.Matrix([moving, p])).subs(moving, w)
GAMMA_SLOPE: Any = sp.Derivative(NEEDED, w) - 2 * gamma * variance * w * slope  # φΓ'(w)
_QUOTIENT: Any = sp.diff(NEEDED.subs(w, moving) / _NEARBY, moving)
NEARBY_SLOPE: Any = _QUOTIENT.subs(moving, w)  # Γ'(w)
DETERMINANT: Any = JACOBIAN[0, 0] * JACOBIAN[1, 1] - JACOBIAN[0, 1] * JACOBIAN[1, 0]
TRACE = 2 * gamma * variance * w**2 * slope - alpha * variance * w**2 - eta
real, imaginary, trace, determinant = sp.symbols("x y T D", real=True)
AT_REST = Assumption("at-rest", r"the encoder is at rest, $\gamma = \Gamma(w)$", Equation(gamma, NEEDED / force))
DECREASING = Assumption(
    "decreasing", r"the force decreases with the variance, $\phi'(s) \le 0$", Inequality(slope <= 0)
)


def _resting(rng: random.Random, size: int) -> Instance:
    instance = hybrid_mode(rng, size)
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
        r"At an equilibrium $w > 0$ of the hybrid the Jacobian of $(w, p)$ has the determinant $w\phi\, (\alpha\sigma w^2 + \eta)\,"
        r" \Gamma'(w)$ and the trace $2\gamma\sigma w^2 \phi' - \alpha\sigma w^2 - \eta$, negative for decreasing $\phi$ and"
        r" $\gamma \ge 0$. Where $\phi > 0$ it is therefore stable iff $\Gamma'(w) > 0$ and a saddle where $\Gamma' < 0$; where"
        r" $\phi < 0$ the other way round. Only a force that grows with the variance, $2\gamma\sigma w^2 \phi' >"
        r" \alpha\sigma w^2 + \eta$, can destabilise a rising branch, by an oscillation."
    ),
    assumptions=(PREDICTOR_AT_REST, AT_REST, DECREASING),
    proof=(
        Step(
            ScalarIdentity(NEARBY_SLOPE, GAMMA_SLOPE / force),
            r"Differentiate $\Gamma$, with $\phi$ to first order at the neighbouring weight $u$.",
            uses=("at-rest",),
        ),
        Step(
            ScalarIdentity(DETERMINANT, w * (alpha * variance * w**2 + eta) * GAMMA_SLOPE),
            r"Eliminate $p$ and $\gamma$ by rest. The predictor's rest follows the encoder with $\frac{dp}{dw} = 2\alpha w (\lambda -"
            r" \sigma p)/(\alpha\sigma w^2 + \eta)$, which is how the Schur complement of the Jacobian becomes $\Gamma'$.",
            uses=("predictor-at-rest", "at-rest"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(JACOBIAN.trace(), TRACE),
            r"The encoder's own rate vanishes at rest; what remains is the change of its force, and the predictor's decay.",
            uses=("predictor-at-rest", "at-rest"),
            conclusion=True,
        ),
        Step(
            Implication(TRACE < 0, given=(alpha > 0, variance > 0, eta > 0, gamma >= 0)),
            "No term of the trace is positive.",
            uses=("decreasing",),
            conclusion=True,
        ),
        Step(
            Implication(
                real < 0,
                given=(
                    trace < 0,
                    determinant > 0,
                    sp.Eq(real**2 - imaginary**2 - trace * real + determinant, 0),
                    sp.Eq((2 * real - trace) * imaginary, 0),
                ),
            ),
            r"An eigenvalue $x + iy$ of a matrix with $T < 0 < D$ has $x < 0$; with $D < 0$ the eigenvalues are real and of opposite"
            r" sign.",
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
            Implication(TRACE < 0, given=(alpha > 0, variance > 0, eta > 0, gamma >= 0)),
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
        Witness("predictor-at-rest", one_mode(p=0, gamma=sp.Rational(3, 4))),
        Witness("at-rest", one_mode()),
        Witness("decreasing", one_mode(gamma=sp.Rational(3, 4), slope=2)),
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

# -- no oscillations ------------------------------------------------------------------------------------------------------

power, edge = sp.symbols("m M", real=True)
_DENSITY: Any = _FIELD / moving
DIVERGENCE: Any = (sp.diff(_DENSITY[0], moving) + sp.diff(_DENSITY[1], p)).subs(moving, w)
BALANCE_NUMERATOR = alpha * w**2 - p**2
LIMITED = Assumption(
    "limited-power",
    r"the explicit force has limited power, $\gamma\phi(\sigma w^2) w^2 \le m$ (as every decreasing force has that vanishes at"
    r" some variance, and the log-determinant)",
    Inequality(gamma * force * w**2 <= power),
)


def _moving(rng: random.Random, size: int) -> Instance:
    """Draw a mode anywhere, more often with an imbalance beyond m/η than not."""
    draw = Draw(rng)
    values = dict(hybrid_mode(rng, size).scalars)
    limit = values[gamma] * values[force] * values[w] ** 2 + (draw.positive() if size == 2 else 0)
    # With η large enough the imbalance exceeds m/η if w² > p²/α.
    values[p] = 0 * values[p] if size == 1 else draw.number()
    values[eta] = limit / values[w] ** 2 + draw.positive()
    extra = {power: limit, edge: max(0, values[cross] / values[variance]) + draw.positive()}
    return Instance({}, {}, {**values, **extra})


HYBRID_REST = Theorem(
    name="hybrid-comes-to-rest",
    title="A hybrid with a weakening force does not oscillate: beyond the rescuing weight every mode is rescued",
    chapter=4,
    statement=(
        r"Let $\phi$ be smooth and decreasing with $\gamma\phi(\sigma w^2) w^2 \le m$, and $\gamma \ge 0$. In $w > 0$ the flow of a"
        r" hybrid, divided by $w$, has a negative divergence: there is neither a cycle nor a loop of connecting trajectories. The"
        r" imbalance cannot grow beyond $m/\eta$, nor $p$ leave the interval that reaches from $0$ and $\rho$ to its start. So every"
        r" mode comes to rest, balanced or not at the start (where equilibria are isolated); and where only one stable state is left,"
        r" beyond $\gamma_{\mathrm{rescue}}$, every mode with $w \ne 0$ ends there, however small. (The origin is then a saddle whose"
        r" stable set is $w = 0$.)"
    ),
    assumptions=(DECREASING, LIMITED),
    proof=(
        Step(
            ScalarIdentity(DIVERGENCE, TRACE / w),
            r"The divergence of $(\dot w, \dot p)/w$. The factor $1/w$ removes the encoder's own rate, which has either sign; what is"
            r" left is the trace at an equilibrium, everywhere.",
            conclusion=True,
        ),
        Step(
            Implication(TRACE < 0, given=(alpha > 0, variance > 0, eta > 0, gamma >= 0)),
            "No term is positive.",
            uses=("decreasing",),
            conclusion=True,
        ),
        Step(
            Implication(
                -eta * BALANCE_NUMERATOR + alpha * gamma * force * w**2 <= 0,
                given=(alpha > 0, eta * BALANCE_NUMERATOR >= alpha * power),
            ),
            r"Where the imbalance is at least $m/\eta$ its rate, here times $\alpha/2$, is not positive: so with $p$ also $w$ is"
            r" bounded.",
            uses=("limited-power",),
            conclusion=True,
        ),
        Step(
            Implication(
                alpha * w**2 * (cross - variance * edge) - eta * edge <= 0,
                given=(edge >= 0, variance * edge >= cross, alpha > 0, eta > 0),
            ),
            r"At $p = M \ge \max(0, \rho)$ the predictor does not grow; by the symmetry $(p, \lambda) \to (-p, -\lambda)$ it does not"
            r" fall at a $p \le \min(0, \rho)$.",
            conclusion=True,
        ),
        Step(
            Cited(
                r"\operatorname{div}(B f) < 0 \text{ on a simply connected region of the plane} \;\Longrightarrow\; \text{no cycle of }"
                r" \dot x = f(x) \text{ lies in it; bounded trajectories approach an equilibrium, a cycle or a graphic}",
                "perko2001",
            ),
            r"Dulac's criterion and Poincaré-Bendixson [@perko2001, Sections 3.7 and 3.9]; Green's theorem excludes graphics as it"
            r" excludes cycles. None passes through the origin, whose stable set is either $w = 0$ or all that is near.",
        ),
    ),
    siblings=(
        FalseSibling(
            "any-force",
            "omission",
            "claim it for every force",
            Implication(TRACE < 0, given=(alpha > 0, variance > 0, eta > 0, gamma >= 0)),
        ),
        FalseSibling(
            "without-the-factor",
            "exchange",
            r"claim the divergence of the flow itself, times $1/w$",
            ScalarIdentity((JACOBIAN.trace()) / w, TRACE / w),
        ),
        FalseSibling(
            "half-the-power",
            "constant",
            r"claim that the imbalance does not grow beyond $m/(2\eta)$",
            Implication(
                -eta * BALANCE_NUMERATOR + alpha * gamma * force * w**2 <= 0,
                given=(alpha > 0, 2 * eta * BALANCE_NUMERATOR >= alpha * power),
            ),
            uses=("limited-power",),
        ),
    ),
    witnesses=(
        Witness("decreasing", one_mode(slope=2).with_(scalars={power: 1, edge: 2})),
        Witness("limited-power", one_mode(p=0, gamma=2).with_(scalars={power: 1, edge: 2})),
    ),
    instances=_moving,
    sources=(Source("ours"), Source("perko2001", "Sections 3.7 and 3.9", "no cycles, and what is left then")),
    belief="Two forces that pull a mode to two different sizes can keep it oscillating.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "f = lambda s: {'w': (s['p'] * (0.8 - s['p']) - 0.1 + 0.11 * (1 - s['w']**2)) * s['w'],\n"
        "    'p': s['w']**2 * (0.8 - s['p']) - 0.1 * s['p']}\n"
        "end = integrate(f, {'w': np.array([1e-3, 0.3, 3.0]), 'p': np.array([-1.0, 0.0, 2.0])}, [0.0, 4000.0]).states['w'][-1]\n"
        "assert np.ptp(end) < 1e-6 and end[0] > 0.8"
    ),
)

THEOREMS = (HYBRID_STABILITY, HYBRID_REST)
