"""The weight at which an explicit force leaves no small modes (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.collapse.hybrids import ratio
from jepalign.theory.exact import Instance, rational
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, eta

equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns

at = sp.Symbol("X", real=True)
X_a, X_b, phi_a, phi_b, gamma_a, gamma_b, gamma_one = sp.symbols(
    r"X_a X_b \varphi_a \varphi_b \Gamma_a \Gamma_b \Gamma_1", real=True
)
"""Two points of the curve: X, φ and Γ at each; Γ at X = 1."""


def _needed(at: Any) -> Any:
    return (1 + at) ** 2 - ratio * at


_CURVE = (
    eta > 0,
    ratio > 0,
    X_b > X_a,
    phi_a > 0,
    equation(gamma_a * phi_a * (1 + X_a) ** 2, eta * _needed(X_a)),
    equation(gamma_b * phi_b * (1 + X_b) ** 2, eta * _needed(X_b)),
)
_MIDDLE = (eta > 0, ratio >= 4, phi_a > 0, equation(4 * gamma_one * phi_a, eta * _needed(1)))

STILL_REPELS = Assumption(
    "still-repels", r"the explicit force repels at the second point, $\varphi_b > 0$", Inequality(phi_b > 0)
)
WEAKENS = Assumption(
    "weakens", r"it has not become stronger there, $\varphi_b \le \varphi_a$", Inequality(phi_b <= phi_a)
)
HALF = Assumption("beyond-half", r"at the first point $X_a \ge 1$, which is $p \ge \rho/2$", Inequality(X_a >= 1))
WEIGHT = Assumption(
    "weight-not-negative", r"the weight there is not negative, $\Gamma_a \ge 0$", Inequality(gamma_a >= 0)
)


def _two_points(eta_: Any, kappa_: Any, places: tuple[Any, Any], forces: tuple[Any, Any]) -> Instance:
    """Return the instance with these values, and the curve at both points and at X = 1."""
    decay, strength = rational(eta_), rational(kappa_)

    def curve(x: Any, phi: Any) -> Any:
        return decay * (1 - strength * x / (1 + x) ** 2) / phi

    first, second, strong, weak = map(rational, (*places, *forces))
    scalars: dict[Any, Any] = {
        eta: decay,
        ratio: strength,
        X_a: first,
        X_b: second,
        phi_a: strong,
        phi_b: weak,
        gamma_a: curve(first, strong),
        gamma_b: curve(second, weak),
        gamma_one: curve(rational(1), strong),
        at: sp.Rational(2, 5),
    }
    return Instance({}, {}, scalars)


def _rising(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    first, weak = 1 + 2 * draw.positive() * (size - 1), draw.positive()
    # κ ≤ (1 + X)²/X keeps Γ_a ≥ 0; it is 4 at X = 1.
    strength = 4 + ((1 + first) ** 2 / first - 4) / (1 + draw.positive())
    return _two_points(draw.positive(), strength, (first, first + draw.positive()), (weak + draw.positive(), weak))


BUMP: Any = (1 - 4 * at / (1 + at) ** 2) * (1 + 36 * at**2)

RESCUE_THRESHOLD = Theorem(
    name="rescue-threshold",
    title="From half the regression coefficient on a hybrid has no folds: what rescues a mode is a maximum before that",
    chapter=4,
    statement=(
        r"Let $\varphi$ be decreasing, and positive up to $X = 1$ (for a target variance of one: $\eta < \alpha$). From $X = 1$ on,"
        r" which is $p = \rho/2$ and the place of the saddle-node without explicit term,"
        r" $\Gamma$ rises wherever it is not negative and the force repels: each such state is stable, and a weight has at most one of"
        r" them. So $\Gamma$ can fall only at $X < 1$, and beyond $\gamma_{\mathrm{rescue}}$, the largest value from which $\Gamma$ ever"
        r" falls, but at least $\gamma_{\mathrm{repel}}$, one stable state is left. If $\kappa \ge 4$, that is $\eta \le \eta_c$, then"
        r" $\Gamma \le 0$ at $X = 1$ and $\gamma_{\mathrm{rescue}} = \max_{X \le 1} \Gamma$: beyond it all that is stable has $p >"
        r" \rho/2$; at any smaller weight something smaller is stable too. Modes are stuck small but not collapsed in the window"
        r" $\gamma_{\mathrm{repel}} < \gamma < \gamma_{\mathrm{rescue}}$, which exists iff $\Gamma$ falls from a value above"
        r" $\gamma_{\mathrm{repel}}$. For $\kappa \ge 4$ a supercritical origin suffices for that, but is not necessary: with $\varphi"
        r" \propto 1/(1 + 36 X^2)$ and $\kappa = 4$ the curve starts downwards and still passes $1.2\, \gamma_{\mathrm{repel}}$ at $X ="
        r" 2/5$. (The comparison of points is proved; that continuous curves take intermediate values is used in prose.)"
    ),
    assumptions=(STILL_REPELS, WEAKENS, HALF, WEIGHT),
    proof=(
        Step(
            Implication(gamma_b > gamma_a, given=_CURVE),
            r"Beyond $X = 1$ the bracket $1 - \kappa X/(1+X)^2$ grows and the force by which it is divided does not.",
            uses=("still-repels", "weakens", "beyond-half", "weight-not-negative"),
            conclusion=True,
        ),
        Step(
            Implication(gamma_one <= 0, given=_MIDDLE),
            r"At $X = 1$ the bracket is $1 - \kappa/4$: a curve that is positive at $X = 0$ has come down.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.diff(BUMP, at).subs(at, 0), sp.Integer(-4)),
            r"The example, in units of $\gamma_{\mathrm{repel}}$: it begins at one and falls,",
        ),
        Step(
            Implication(
                5 * (1 - at) ** 2 * (1 + 36 * at**2) > 6 * (1 + at) ** 2,
                given=(equation(at, sp.Rational(2, 5)),),
            ),
            r"and still exceeds $6/5$ at $X = 2/5$, since $1 - 4X/(1+X)^2 = (1-X)^2/(1+X)^2$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "rises-from-the-start",
            "quantifier",
            r"claim it from $X = 0$ on",
            Implication(gamma_b > gamma_a, given=(*_CURVE, X_a >= 0)),
            uses=("still-repels", "weakens", "weight-not-negative"),
        ),
        FalseSibling(
            "at-any-weight",
            "omission",
            "claim it at negative weights as well",
            Implication(gamma_b > gamma_a, given=_CURVE),
            uses=("still-repels", "weakens", "beyond-half"),
        ),
        FalseSibling(
            "twice-the-threshold",
            "constant",
            r"claim $\Gamma \le 0$ at $X = 1$ for $\eta \le 2\eta_c$, $\kappa \ge 2$",
            Implication(gamma_one <= 0, given=(eta > 0, ratio >= 2, *_MIDDLE[2:])),
        ),
    ),
    witnesses=(
        Witness("still-repels", _two_points(1, 4, (1, 2), (1, -1))),
        Witness("weakens", _two_points(1, 2, (1, 2), (1, 10))),
        Witness("beyond-half", _two_points(1, 4, (sp.Rational(1, 4), sp.Rational(1, 2)), (1, 1))),
        Witness("weight-not-negative", _two_points(1, 8, (1, 2), (10, 1))),
    ),
    instances=_rising,
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
