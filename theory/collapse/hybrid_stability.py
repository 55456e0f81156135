"""Which equilibria of a hybrid mode are stable (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
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
from jepalign.theory.setting import alpha, cross, eta, p, variance, w

moving, base = sp.symbols("u w_0", real=True)
NEEDED = eta - RESTING * (cross - variance * RESTING)  # γφ at rest
_NEARBY = force + slope * variance * (moving**2 - w**2)  # φ at a neighbouring weight
_FIELD = sp.Matrix([FLOW[w].subs(force, _NEARBY.subs(w, base)), FLOW[p]]).subs(w, moving).subs(base, w)
JACOBIAN: Any = _FIELD.jacobian(sp.Matrix([moving, p])).subs(moving, w)
GAMMA_SLOPE: Any = sp.diff(NEEDED.subs(w, moving) / _NEARBY, moving).subs(moving, w)  # Γ'(w)
TRACE = 2 * gamma * variance * w**2 * slope - alpha * variance * w**2 - eta
real, imaginary, trace, determinant = sp.symbols("x y T D", real=True)
AT_REST = Assumption("at-rest", r"the encoder is at rest, $\gamma = \Gamma(w)$", Equation(gamma, NEEDED / force))
DECREASING = Assumption(
    "decreasing", r"the force decreases with the variance, $\varphi'(s) \le 0$", Inequality(slope <= 0)
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
        r"At an equilibrium $w > 0$ of the hybrid the Jacobian of $(w, p)$ has the determinant $w\varphi\, (\alpha\sigma w^2 + \eta)\,"
        r" \Gamma'(w)$ and the trace $2\gamma\sigma w^2 \varphi' - \alpha\sigma w^2 - \eta$, negative for decreasing $\varphi$ and"
        r" $\gamma \ge 0$. Where $\varphi > 0$ it is therefore stable iff $\Gamma'(w) > 0$ and a saddle where $\Gamma' < 0$; where"
        r" $\varphi < 0$ the other way round. Only a force that grows with the variance, $2\gamma\sigma w^2 \varphi' >"
        r" \alpha\sigma w^2 + \eta$, can destabilise a rising branch, by an oscillation."
    ),
    assumptions=(PREDICTOR_AT_REST, AT_REST, DECREASING),
    proof=(
        Step(
            ScalarIdentity(JACOBIAN.det(), w * force * (alpha * variance * w**2 + eta) * GAMMA_SLOPE),
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
            ScalarIdentity(JACOBIAN.det(), -w * force * (alpha * variance * w**2 + eta) * GAMMA_SLOPE),
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
            ScalarIdentity(JACOBIAN.det(), w * force * alpha * variance * w**2 * GAMMA_SLOPE),
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

THEOREMS = (HYBRID_STABILITY,)
