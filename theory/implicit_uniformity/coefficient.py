"""The weight that a JEPA gives its implicit uniformity, as the schematic loss would have it (2.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, correlation, cross, p, s, variance, w

effective, explicit, pole = sp.symbols(r"lambda_eff gamma r", real=True)
COEFFICIENT = (1 - p) * (variance * (1 + p) - cross) / ((1 - s) * variance)
BALANCED_S = variance * p**2 / alpha
equation: Any = sp.Eq  # SymPy's annotations do not let others take what Eq returns

BALANCED = Assumption(
    "balanced",
    r"the mode is balanced: $s = \sigma w^2 = \sigma p^2/\alpha$",
    Inequality(equation(alpha * s, variance * p**2)),
)
REGRESSION = Assumption("regression", r"$\lambda = \rho\sigma$", Equation(cross, correlation * variance))
POLE = Assumption(
    "pole",
    r"$r > 0$ is where the embedding has unit variance, $\sigma r^2 = \alpha$",
    Inequality(sp.And(pole > 0, equation(variance * pole**2, alpha))),
)


def _balanced(rng: random.Random, size: int) -> Instance:
    """Draw a balanced mode between the pole and one."""
    draw = Draw(rng)
    sigma, at, rho = draw.positive(), draw.positive() + 1, 1 / (1 + draw.positive())
    between = (1 + at) / 2
    rate = sigma * at * at
    scalars = {
        variance: sigma,
        alpha: rate,
        pole: at,
        correlation: rho,
        cross: rho * sigma,
        p: between,
        s: sigma * between * between / rate,
        w: between,
        explicit: draw.positive(),
    }
    return Instance({}, {}, scalars)


def _at(**changes: Any) -> Instance:
    values: dict[str, Any] = {
        "p": sp.Rational(3, 2),
        "s": sp.Rational(9, 16),
        "rho": sp.Rational(1, 2),
        "lambda": sp.Rational(1, 2),
        **changes,
    }
    scalars = {variance: 1, alpha: 4, pole: values.get("r", 2), correlation: values["rho"], cross: values["lambda"]}
    return Instance({}, {}, {**scalars, p: values["p"], s: values["s"], w: 1, explicit: 1})


NEGATIVE = (1 - p) * (variance * (1 + p) - cross) * (1 - s)

EFFECTIVE_COEFFICIENT = Theorem(
    name="effective-coefficient",
    title="The coefficient of the implicit uniformity is a function of the mode, with a pole",
    chapter=2,
    statement=(
        r"Write a JEPA mode's force as attraction minus weighted repulsion, $(\lambda - \sigma) w + \lambda_{\mathrm{eff}} (1 - s)"
        r" \sigma w$ with $s = \sigma w^2$. Then $\lambda_{\mathrm{eff}} = (1 - p)(\sigma(1+p) - \lambda)/((1 - s)\sigma)$: not a"
        r" constant. On the balanced manifold it tends to $1 - \rho$ as $w \to 0$, exactly the coefficient at which an explicit"
        r" contrastive mode is marginal; at the equilibrium $p = \rho$ it is $\alpha(1 - \rho)/(\alpha - \rho^2\sigma)$; it has a"
        r" pole at $p = \sqrt{\alpha/\sigma}$ and is negative strictly between the pole and $1$ (for $p > \rho - 1$). If $\sigma ="
        r" \alpha$ there is no pole, and $\lambda_{\mathrm{eff}} = 1 - \rho/(1 + p)$."
    ),
    assumptions=(BALANCED, REGRESSION, POLE),
    proof=(
        Step(
            ScalarIdentity(
                p * (cross - p * variance) * w, (cross - variance) * w + COEFFICIENT * (1 - s) * variance * w
            ),
            r"Both sides are linear in the coefficient: solve. This needs no balance.",
        ),
        Step(
            ScalarIdentity(COEFFICIENT.subs({p: 0, s: 0}), 1 - correlation),
            r"At $w = 0$ a balanced mode has $p = s = 0$.",
            uses=("regression",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                (cross - variance) * w + explicit * variance * w, (explicit - (1 - correlation)) * variance * w
            ),
            r"An explicit coefficient $\gamma$ gives the mode near $s = 0$ the rate $(\gamma - (1 - \rho))\sigma$: marginal at the"
            r" same value.",
            uses=("regression",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                COEFFICIENT.subs(s, BALANCED_S).subs(p, correlation),
                alpha * (1 - correlation) / (alpha - correlation**2 * variance),
            ),
            r"Put $p = \rho$ and $s = \sigma\rho^2/\alpha$.",
            uses=("regression",),
            conclusion=True,
        ),
        Step(
            Implication(
                NEGATIVE < 0,
                given=(
                    variance > 0,
                    alpha > 0,
                    p > correlation - 1,
                    p > 0,
                    sp.Or(sp.And(p > pole, p < 1), sp.And(p < pole, p > 1)),
                ),
            ),
            r"$1 - s$ changes sign at the pole and $1 - p$ at one; the remaining factor is $\sigma(1 + p - \rho) > 0$.",
            uses=("balanced", "regression", "pole"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(COEFFICIENT.subs(s, p**2), 1 - correlation / (1 + p)),
            r"For $\sigma = \alpha$, $s = p^2$: the factor $1 - p$ cancels.",
            uses=("regression",),
        ),
    ),
    siblings=(
        FalseSibling(
            "constant-coefficient",
            "quantifier",
            r"claim the small-mode value $1 - \rho$ at the equilibrium as well",
            ScalarIdentity(COEFFICIENT.subs(s, BALANCED_S).subs(p, correlation), 1 - correlation),
            uses=("regression",),
        ),
        FalseSibling(
            "positive-between",
            "sign",
            "claim a positive coefficient between the pole and one",
            Implication(
                NEGATIVE > 0,
                given=(variance > 0, alpha > 0, p > correlation - 1, p > 0, sp.And(p < pole, p > 1)),
            ),
            uses=("balanced", "regression", "pole"),
        ),
        FalseSibling(
            "pole-inverted",
            "exchange",
            r"exchange $\alpha$ and $\sigma$ in the value at the equilibrium",
            ScalarIdentity(
                COEFFICIENT.subs(s, BALANCED_S).subs(p, correlation),
                variance * (1 - correlation) / (variance - correlation**2 * alpha),
            ),
            uses=("regression",),
        ),
    ),
    witnesses=(
        Witness("balanced", _at(s=2)),
        Witness("regression", _at(**{"lambda": 1})),
        Witness("pole", _at(p=3, s=sp.Rational(9, 4), r=4)),
    ),
    instances=_balanced,
    sources=(Source("ours"), Source("mo2024", "", "the schematic form is often attributed to it and is not there")),
    belief="JEPA is a contrastive loss with some fixed, unknown weight of the repulsion.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import effective_coefficient\n"
        "w = np.array([1e-6, 0.6]); found = effective_coefficient(w, w, 0.6, 1.0)  # balanced, alpha = sigma = 1\n"
        "assert np.allclose(found, 1 - 0.6 / (1 + w))"
    ),
)

THEOREMS = (EFFECTIVE_COEFFICIENT,)
