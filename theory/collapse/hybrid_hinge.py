"""VICReg's hinge as the explicit term of a hybrid, and the weights that were published for it (4.6)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, alpha, cross, eta, s, variance, w

X, kappa, offset, root, gamma, averaged, bracket = sp.symbols(r"X kappa e r gamma N h", real=True)
"""X = ασw²/η, κ = λ²/(ησ), e = εα/η; √13; weight γ and the number N it is divided by; h = 1 − κX/(1+X)²."""

equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns

CURVE = sp.sqrt(s + offset) * (1 - kappa * s / (1 + s) ** 2)  # in X; the claims below write s for it
SLOPE_AT = (1 + X) ** 3 - kappa * (X * (3 - X) + 2 * offset * (1 - X))
SLOPE = SLOPE_AT.subs(offset, 0)
FOLD = Assumption(
    "fold",
    r"$X$ is a stationary point of the weight curve for $\varepsilon \to 0$: $(1+X)^3 = \kappa X (3 - X)$",
    Inequality(equation(SLOPE, 0)),
)
_POSITIVE = (X > 0, kappa > 0)
_BRACKET = equation(bracket * (1 + X) ** 2, (1 + X) ** 2 - kappa * X)


def _hinge(rng: random.Random, size: int) -> Instance:
    """Draw a stationary point, on either side of 4 − √13 = 0.39 by turns."""
    draw = Draw(rng)
    at = draw.positive() / 12 if size % 2 else 3 / (1 + draw.positive())
    strength = (1 + at) ** 3 / (at * (3 - at))
    deviation = draw.positive()
    scalars = {
        X: at,
        kappa: strength,
        bracket: 1 - strength * at / (1 + at) ** 2,
        s: deviation * deviation,
        offset: 3 * deviation * deviation,
        variance: draw.positive(),
        w: draw.positive(),
    }
    return Instance({}, {}, scalars)


def _at(x: int, strength: int) -> Instance:
    value = 1 - sp.Rational(strength * x, (1 + x) ** 2)
    return Instance({}, {}, {X: x, kappa: strength, bracket: value, s: 1, offset: 3, variance: 1, w: 1})


VICREG_HYBRID = Theorem(
    name="vicreg-hinge-hybrid",
    title="VICReg's hinge repels collapse at once and rescues at a fold",
    chapter=4,
    statement=(
        r"The hinge $\max(0, 1 - \sqrt{s + \varepsilon})$ exerts $\phi(s) = \sigma/\sqrt{s + \varepsilon}$ up to $s = 1 -"
        r" \varepsilon$ and nothing beyond. So $\gamma_{\mathrm{repel}} = \eta\sqrt\varepsilon/\sigma$, and with $e ="
        r" \varepsilon\alpha/\eta$ the curve $\Gamma = \eta \sqrt{\eta/(\alpha\sigma^2)}\, \sqrt{X + e}\, [1 - \kappa X/(1+X)^2]$ has"
        r" the slope of $(1+X)^3 - \kappa [X(3 - X) + 2e(1 - X)]$: the origin is supercritical iff $2\kappa e < 1$, that is"
        r" $2\varepsilon\alpha\lambda^2 < \sigma\eta^2$, and otherwise there is no window of small modes. For $\varepsilon \to 0$ it"
        r" always is, and a stationary point needs $9\kappa^2 + 140\kappa \ge 432$, that is $\kappa \ge"
        r" \frac{26\sqrt{13} - 70}{9} = 2.638\dots$; it is the maximum iff $X < 4 -"
        r" \sqrt{13}$, and there $\gamma_{\mathrm{rescue}} = \eta \sqrt{\eta/(\alpha\sigma^2)} \cdot 2\sqrt{X} (1 - X)/(3 - X)$, at"
        r" most $\sqrt{(94 - 26\sqrt{13})/3} = 0.2919\dots$ times the first factors however small $\eta$. This presumes $s < 1$ there,"
        r" which $2\eta \le 5\alpha$ ensures; otherwise the hinge holds the mode at $s = 1$. Smaller $\kappa$: $\Gamma$ rises"
        r" throughout."
    ),
    assumptions=(FOLD,),
    proof=(
        Step(
            ScalarIdentity(
                -sp.Derivative(1 - sp.sqrt(variance * w**2 + offset), w),
                variance / sp.sqrt(variance * w**2 + offset) * w,
            ),
            r"The force of the hinge where it is on ($\varepsilon$ written $e$).",
        ),
        Step(
            ScalarIdentity(
                2 * sp.sqrt(s + offset) * sp.Derivative(CURVE, s),
                SLOPE_AT.subs(X, s) / (1 + s) ** 3,
            ),
            r"Differentiate $\sqrt{X + e}\,[1 - \kappa X/(1+X)^2]$ (here with $s$ for $X$). At $X = 0$ the numerator is $1 -"
            r" 2\kappa e$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.diff(SLOPE_AT, X) > 0,
                given=(*_POSITIVE, offset > 0, 2 * kappa * offset >= 1, equation(SLOPE_AT, 0)),
            ),
            r"If it is not positive there, each stationary point is a minimum: as a cubic in $X$ the numerator has one positive root.",
        ),
        Step(
            Implication(sp.And(9 * kappa**2 + 140 * kappa >= 432, X < 3), given=_POSITIVE),
            r"$(1+X)^3/(X(3-X))$ is least at $X = 4 - \sqrt{13}$, where it is the positive root of $9\kappa^2 + 140\kappa = 432$.",
            uses=("fold",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(equation(SLOPE, 0), equation(9 * kappa**2 + 140 * kappa, 432)),
                given=(equation(root**2, 13), root > 0, equation(X, 4 - root), equation(9 * kappa, 26 * root - 70)),
            ),
            "The bound is attained.",
        ),
        Step(
            Implication(
                SLOPE < 0, given=(equation(root**2, 13), root > 0, equation(X, 4 - root), 9 * kappa > 26 * root - 70)
            ),
            r"Above it the curve, which rises from $X = 0$, falls at $X = 4 - \sqrt{13}$: it has turned before.",
        ),
        Step(
            Implication(sp.Equivalent(sp.diff(SLOPE, X) < 0, X**2 - 8 * X + 3 > 0), given=_POSITIVE),
            r"Insert $\kappa$ from the fold into the derivative of the slope: as $X < 3$, it is a maximum iff $X < 4 - \sqrt{13}$, and"
            r" there is one such point since between two maxima there is a minimum.",
            uses=("fold",),
            conclusion=True,
        ),
        Step(
            Implication(equation(bracket * (3 - X), 2 * (1 - X)), given=(*_POSITIVE, _BRACKET)),
            r"At the fold the bracket is rational in $X$ alone: $h = 1 - (1+X)/(3-X)$.",
            uses=("fold",),
            conclusion=True,
        ),
        Step(
            Implication(
                (94 - 26 * root) * (3 - X) ** 2 >= 12 * X * (1 - X) ** 2,
                given=(equation(root**2, 13), root > 0, X > 0, 4 - root >= X),
            ),
            r"The square of $2\sqrt X (1-X)/(3-X)$ grows up to $X = 4 - \sqrt{13}$.",
        ),
        Step(
            Implication(eta * X < alpha, given=(eta > 0, 2 * eta <= 5 * alpha, X > 0, X < 1, X**2 - 8 * X + 3 >= 0)),
            r"$s = \eta X/\alpha$, and $X \le 4 - \sqrt{13} < \frac25$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "fold-for-every-mode",
            "quantifier",
            r"claim the bound for every $\kappa > 2$, fold or not",
            Implication(9 * kappa**2 + 140 * kappa >= 432, given=(X > 0, kappa > 2)),
        ),
        FalseSibling(
            "four-instead-of-three",
            "constant",
            r"write $\kappa X(4 - X)$",
            ScalarIdentity(
                2 * sp.sqrt(s + offset) * sp.Derivative(CURVE, s),
                ((1 + s) ** 3 - kappa * (s * (4 - s) + 2 * offset * (1 - s))) / (1 + s) ** 3,
            ),
        ),
        FalseSibling(
            "larger-root",
            "exchange",
            r"take the maximum beyond $4 - \sqrt{13}$",
            Implication(sp.Equivalent(sp.diff(SLOPE, X) < 0, X**2 - 8 * X + 3 < 0), given=_POSITIVE),
            uses=("fold",),
        ),
        FalseSibling(
            "offset-helps",
            "sign",
            r"let $\varepsilon$ add to the slope",
            ScalarIdentity(
                2 * sp.sqrt(s + offset) * sp.Derivative(CURVE, s),
                ((1 + s) ** 3 - kappa * (s * (3 - s) - 2 * offset * (1 - s))) / (1 + s) ** 3,
            ),
        ),
    ),
    witnesses=(Witness("fold", _at(1, 1)),),
    instances=_hinge,
    sources=(Source("ours"), Source("bardes2022", "", "the hinge")),
    belief="VICReg's variance term fixes every standard deviation at one.",
    example=(
        "import numpy as np\n"
        "X = np.linspace(1e-3, 2.999, 100_000); kappa = (1 + X) ** 3 / (X * (3 - X))\n"
        "assert np.isclose(kappa.min(), (26 * np.sqrt(13) - 70) / 9) and np.isclose(X[kappa.argmin()], 4 - np.sqrt(13), atol=1e-3)\n"
        "rescue = lambda x: 2 * np.sqrt(x) * (1 - x) / (3 - x)  # in units of eta sqrt(eta / alpha) / sigma\n"
        "curve = lambda x, kappa: np.sqrt(x) * (1 - kappa * x / (1 + x) ** 2)\n"
        "at = X[10_000]; assert np.isclose(curve(X[X < 0.4], kappa[10_000]).max(), rescue(at))"
    ),
)

# -- the published weights ------------------------------------------------------------------------------------------------

INVARIANCE = 2 * (variance - cross) * w**2  # E(z − z⁺)² of a mode
AT_ORIGIN = 100 * variance - 4 * (variance - cross)  # φ(0) of hinge and invariance, √ε = 1/100
_PUBLISHED = (variance > 0, eta > 0, averaged > 0, equation(40 * averaged * gamma, 1))
CORRELATION = Assumption(
    "correlation",
    r"the views are exchangeable, $\lvert \lambda \rvert \le \sigma$",
    Inequality(cross**2 <= variance**2),
)
POSITIVE_VARIANCE = Assumption("variance", r"the mode has variance, $\sigma > 0$", Inequality(variance > 0))


def _published(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    sigma, number, at, rate = draw.positive(), draw.positive(), draw.positive() / 12, draw.positive()
    # Decays that are repelled, undecided and not repelled by turns; α so large that the mode is rescued.
    decay = sigma / number * (draw.positive() / 2 if size != 2 else 3)
    return Instance(
        {},
        {},
        {
            variance: sigma,
            cross: sigma * draw.number() / 4,
            averaged: number,
            gamma: 1 / (40 * number),
            eta: decay,
            alpha: rate + 137 * number**2 * decay**3 / sigma**2,
            X: at,
            w: draw.positive(),
        },
    )


C_JEPA_WEIGHTS = Theorem(
    name="c-jepa-weights",
    title="What C-JEPA's published weights repel and rescue",
    chapter=4,
    statement=(
        r"C-JEPA [@mo2024, Appendix C] adds $0.001\, (25\, L_{\mathrm{sim}} + 25\, L_{\mathrm{std}} + 1\, L_{\mathrm{cov}})$; VICReg's"
        r" hinge has $\varepsilon = 10^{-4}$ [@bardes2022]. Against $\frac12\mathbb{E}\lVert PWx - \operatorname{sg}(Vy) \rVert^2$ a"
        r" mode sees the weight $\gamma = 1/(40N)$: $N = 1$ if nothing is averaged, $N = 2d$ if the hinge is averaged over $d$"
        r" dimensions and the prediction loss has no $\frac12$. On aligned modes covariances exert nothing, hinge and invariance"
        r" $\phi(s) = \sigma/\sqrt{s + \varepsilon} - 4(\sigma - \lambda)$. So the origin is unstable iff $10 N\eta < 24\sigma +"
        r" \lambda$: surely for $N\eta < 2.3\,\sigma$, never from $2.5\,\sigma$ on; the invariance term costs at most a twelfth. The"
        r" hinge alone ($\varepsilon \to 0$, $s < 1$) rescues as soon as $137\, N^2\eta^3 \le \alpha\sigma^2$, and origin"
        r" and rescue leave a window of small modes for $\eta \le \eta_c$ if $\sigma\eta^2 > \alpha\lambda^2/5000$ and $\gamma$ lies"
        r" between the two. Nothing of this is in the source, which has no threshold."
    ),
    assumptions=(CORRELATION, POSITIVE_VARIANCE),
    proof=(
        Step(
            ScalarIdentity(
                -sp.Derivative(1 - sp.sqrt(variance * w**2 + sp.Rational(1, 10**4)) + INVARIANCE, w),
                (variance / sp.sqrt(variance * w**2 + sp.Rational(1, 10**4)) - 4 * (variance - cross)) * w,
            ),
            r"Hinge and invariance, both with the weight $25 \cdot 0.001 = 1/40$ per $N$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.Equivalent(gamma * AT_ORIGIN > eta, 10 * averaged * eta < 24 * variance + cross), given=_PUBLISHED
            ),
            r"$\gamma > \eta/\phi(0)$ with $\phi(0) = 100\sigma - 4(\sigma - \lambda)$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(
                    sp.Implies(10 * averaged * eta < 23 * variance, 10 * averaged * eta < 24 * variance + cross),
                    sp.Implies(10 * averaged * eta < 24 * variance + cross, 10 * averaged * eta < 25 * variance),
                    11 * 100 * variance <= 12 * AT_ORIGIN,
                ),
            ),
            r"$-\sigma \le \lambda \le \sigma$.",
            uses=("correlation", "variance"),
            conclusion=True,
        ),
        Step(
            Implication(
                gamma**2 * alpha * variance**2 * (3 - X) ** 2 >= 4 * X * (1 - X) ** 2 * eta**3,
                given=(*_PUBLISHED, alpha > 0, X > 0, X < 1, 137 * averaged**2 * eta**3 <= alpha * variance**2),
            ),
            r"$\gamma \ge \gamma_{\mathrm{rescue}} = \eta\sqrt{\eta/(\alpha\sigma^2)} \cdot 2\sqrt X (1-X)/(3-X)$ wherever the fold is:"
            r" $1600 \cdot 4X(1-X)^2/(3-X)^2 < 137$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "invariance-helps",
            "sign",
            "let the invariance term repel",
            Implication(
                sp.Equivalent(gamma * AT_ORIGIN > eta, 10 * averaged * eta < 26 * variance - cross), given=_PUBLISHED
            ),
        ),
        FalseSibling(
            "weight-not-averaged",
            "omission",
            r"forget $N$",
            Implication(sp.Equivalent(gamma * AT_ORIGIN > eta, 10 * eta < 24 * variance + cross), given=_PUBLISHED),
        ),
        FalseSibling(
            "rescue-is-repulsion",
            "exchange",
            "claim that what is repelled is rescued",
            Implication(
                gamma**2 * alpha * variance**2 * (3 - X) ** 2 >= 4 * X * (1 - X) ** 2 * eta**3,
                given=(*_PUBLISHED, alpha > 0, X > 0, X < 1, 10 * averaged * eta < 23 * variance),
            ),
        ),
        FalseSibling(
            "hundred-and-thirty",
            "constant",
            "write 130 for 137",
            Implication(
                gamma**2 * alpha * variance**2 * (3 - X) ** 2 >= 4 * X * (1 - X) ** 2 * eta**3,
                given=(*_PUBLISHED, alpha > 0, X > 0, X < 1, 130 * averaged**2 * eta**3 <= alpha * variance**2),
            ),
        ),
    ),
    witnesses=(
        Witness(
            "correlation",
            Instance(
                {}, {}, {variance: 1, cross: -10, averaged: 1, gamma: sp.Rational(1, 40), eta: 2, alpha: 1, X: 1, w: 1}
            ),
        ),
        Witness(
            "variance",
            Instance(
                {}, {}, {variance: -1, cross: 0, averaged: 1, gamma: sp.Rational(1, 40), eta: 1, alpha: 1, X: 1, w: 1}
            ),
        ),
    ),
    instances=_published,
    sources=(
        Source("ours", "", "all inequalities"),
        Source("mo2024", "Appendix C", "the weights"),
        Source("bardes2022", "", "hinge and epsilon"),
    ),
    belief="A weight of one thousandth is too small to matter.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "field = lambda eta: lambda s: {'w': (s['p'] * (0.5 - s['p']) - eta) * s['w']\n"
        "    + (1 / np.sqrt(s['w']**2 + 1e-4) - 4 * 0.5) * s['w'] / 40, 'p': s['w']**2 * (0.5 - s['p']) - eta * s['p']}\n"
        "end = lambda eta: integrate(field(eta), {'w': 1e-3 * np.ones(()), 'p': np.zeros(())}, [0.0, 900.0]).states['w'][-1]\n"
        "assert end(2.43) > 1e-3 and end(2.46) < 1e-6  # 10 eta against 24 + 0.5"
    ),
)

THEOREMS = (VICREG_HYBRID, C_JEPA_WEIGHTS)
