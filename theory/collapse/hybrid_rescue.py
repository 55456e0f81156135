"""The weight at which an explicit force leaves no small modes (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication
from jepalign.theory.collapse.hybrids import gamma, ratio
from jepalign.theory.exact import Instance, rational
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, eta

equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns

at = sp.Symbol("X", real=True)
X_a, X_b, phi_a, phi_b, v_a, v_b, v_one = sp.symbols("X_a X_b phi_a phi_b v_a v_b v_1", real=True)
"""Two places of the mode: X, φ, and the encoder's relative velocity there with its predictor at rest; that at X = 1."""


def _velocity(place: Any, explicit: Any) -> Any:
    """Return (1 + X)² times the relative velocity γφ − η[1 − κX/(1+X)²]."""
    return gamma * explicit * (1 + place) ** 2 - eta * ((1 + place) ** 2 - ratio * place)


_PLACES = (
    eta > 0,
    ratio > 0,
    X_b > X_a,
    equation(v_a * (1 + X_a) ** 2, _velocity(X_a, phi_a)),
    equation(v_b * (1 + X_b) ** 2, _velocity(X_b, phi_b)),
)
_MIDDLE = (eta > 0, gamma * phi_a > 0, equation(4 * v_one, _velocity(1, phi_a)))

WEAKENS = Assumption(
    "weakens",
    r"the explicit force is not stronger at the larger place, $\phi_b \le \phi_a$",
    Inequality(phi_b <= phi_a),
)
HALF = Assumption("beyond-half", r"the smaller place is at $X_a \ge 1$, which is $p \ge \rho/2$", Inequality(X_a >= 1))
WEIGHT = Assumption("weight-not-negative", r"the weight is not negative, $\gamma \ge 0$", Inequality(gamma >= 0))


def _two_places(numbers: tuple[Any, Any, Any], places: tuple[Any, Any], forces: tuple[Any, Any]) -> Instance:
    """Return the instance with these η, κ, γ, the velocities at both places, and that at X = 1."""
    decay, strength, weight = map(rational, numbers)
    first, second, strong, weak = map(rational, (*places, *forces))

    def velocity(x: Any, phi: Any) -> Any:
        return weight * phi - decay * (1 - strength * x / (1 + x) ** 2)

    scalars: dict[Any, Any] = {
        eta: decay,
        ratio: strength,
        gamma: weight,
        X_a: first,
        X_b: second,
        phi_a: strong,
        phi_b: weak,
        v_a: velocity(first, strong),
        v_b: velocity(second, weak),
        v_one: velocity(rational(1), strong),
        at: sp.Rational(2, 5),
    }
    return Instance({}, {}, scalars)


def _beyond(rng: random.Random, size: int) -> Instance:
    """Draw places beyond one; the force repels, or attracts at the second or at both, by turns."""
    draw = Draw(rng)
    first, weak = 1 + 2 * draw.positive() * (size - 1), draw.number()
    numbers = (draw.positive(), draw.positive() + (4 if size % 2 else 0), draw.positive())
    strong = abs(weak) + draw.positive() if size % 2 else weak + draw.positive()
    return _two_places(numbers, (first, first + draw.positive()), (strong, weak))


RESCUE_THRESHOLD = Theorem(
    name="rescue-threshold",
    title="From half the regression coefficient on a hybrid has one state: what rescues a mode is a maximum before that",
    chapter=4,
    statement=(
        r"Let $\phi$ be decreasing, of whichever sign, and $\gamma \ge 0$. From $X = 1$ on, which is $p = \rho/2$ and the place of the"
        r" saddle-node without explicit term, the relative velocity $\gamma\phi - \eta[1 - \kappa X/(1+X)^2]$ falls: each weight has"
        r" at most one state there, and it is stable. So $\Gamma$ can fall only at $X < 1$. Let $\phi$ be positive up to $X = 1$ (for a"
        r" target variance of one: $\eta < \alpha$), and $\gamma_{\mathrm{rescue}}$ the largest value from which $\Gamma$ falls, but at"
        r" least $\gamma_{\mathrm{repel}}$: beyond it one state is left besides the unstable origin (if"
        r" $\phi$ tends to zero; else perhaps none). If $\kappa \ge 4$, that is $\eta \le"
        r" \eta_c$, the velocity at $X = 1$ is positive at every weight, so that $\gamma_{\mathrm{rescue}} = \max_{X \le 1} \Gamma$:"
        r" beyond it the only stable state has $p > \rho/2$; at any smaller weight something smaller is stable too. Modes are stuck small"
        r" but not collapsed in the window $\gamma_{\mathrm{repel}} < \gamma < \gamma_{\mathrm{rescue}}$, which exists iff $\Gamma$ falls"
        r" from a value above $\gamma_{\mathrm{repel}}$. For $\kappa \ge 4$ a supercritical origin suffices for that, but is not"
        r" necessary: with $\phi \propto 1/(1 + 36 X^2)$ and $\kappa = 4$ the curve starts downwards and still passes $1.2\,"
        r" \gamma_{\mathrm{repel}}$ at $X = 2/5$. (The comparison of places is proved; that continuous curves take intermediate values"
        r" is used in prose.)"
    ),
    assumptions=(WEAKENS, HALF, WEIGHT),
    proof=(
        Step(
            Implication(v_b < v_a, given=_PLACES),
            r"Beyond $X = 1$ the bracket $1 - \kappa X/(1+X)^2$ grows and the explicit force does not: two states of one weight, $v_a ="
            r" v_b = 0$, are impossible.",
            uses=("weakens", "beyond-half", "weight-not-negative"),
            conclusion=True,
        ),
        Step(
            Implication(v_one > 0, given=(*_MIDDLE, ratio >= 4)),
            r"At $X = 1$ the bracket is $1 - \kappa/4$: the mode moves on, so beyond there is exactly one state, and $\Gamma \le 0$ here.",
            conclusion=True,
        ),
        Step(
            Implication(
                (1 - at) ** 2 * (1 + 36 * at**2) < (1 + at) ** 2,
                given=(at > 0, 10 * at <= 1),
            ),
            r"The example, in units of $\gamma_{\mathrm{repel}}$: with $1 - 4X/(1+X)^2 = (1-X)^2/(1+X)^2$ it begins by falling below one,",
        ),
        Step(
            Implication(
                5 * (1 - at) ** 2 * (1 + 36 * at**2) > 6 * (1 + at) ** 2,
                given=(equation(at, sp.Rational(2, 5)),),
            ),
            r"and still exceeds $6/5$ at $X = 2/5$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "from-the-start",
            "quantifier",
            r"claim it from $X = 0$ on",
            Implication(v_b < v_a, given=(*_PLACES, X_a >= 0)),
            uses=("weakens", "weight-not-negative"),
        ),
        FalseSibling(
            "at-any-weight",
            "omission",
            "claim it at negative weights as well",
            Implication(v_b < v_a, given=_PLACES),
            uses=("weakens", "beyond-half"),
        ),
        FalseSibling(
            "twice-the-threshold",
            "constant",
            r"claim the velocity at $X = 1$ for $\eta \le 2\eta_c$, $\kappa \ge 2$",
            Implication(v_one > 0, given=(*_MIDDLE, ratio >= 2)),
        ),
    ),
    witnesses=(
        Witness("weakens", _two_places((1, 2, 1), (1, 2), (1, 10))),
        Witness("beyond-half", _two_places((1, 4, 1), (sp.Rational(1, 4), sp.Rational(1, 2)), (1, 1))),
        Witness("weight-not-negative", _two_places((1, 1, -1), (1, 2), (10, 1))),
    ),
    instances=_beyond,
    sources=(Source("ours"),),
    belief="A mode that has left the origin under an explicit term has been rescued.",
    example=(
        "import numpy as np\n"
        "X = np.linspace(0, 8, 80_001); phi = 1 / (1 + 36 * X**2)\n"
        "curve = (1 - 4 * X / (1 + X) ** 2) / phi  # in units of the weight at which the origin turns unstable\n"
        "assert curve[1] < curve[0] and curve[X <= 1].max() > 1.2 and np.all(np.diff(curve[X >= 1]) > 0)"
    ),
)

THEOREMS = (RESCUE_THRESHOLD,)
