"""What an averaged target does: collapse later without a predictor, and nothing to equilibria with one (4.2, 4.4)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Implication, Rate, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import SymmetricSymbol, squared_norm, tr
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Sigma_x, V, W, cross, d, eta, k, p, variance, w

v, beta = sp.symbols("v beta", real=True)

# -- without a predictor: a Lyapunov function -----------------------------------------------------------------------------

C: Any = SymmetricSymbol("C", d)
shared: Any = sp.MatrixSymbol("L", d, d)
private: Any = sp.MatrixSymbol("F", d, d)

FLOW: Any = {W: V * C - W * Sigma_x - eta * W, V: beta * (W - V)}
ENERGY: Any = beta * squared_norm(W) / 2 + tr(V * C * V.T) / 2
LOSS: Any = squared_norm((W - V) * shared) + squared_norm(W * private) + eta * squared_norm(W)

SEMIDEFINITE = Assumption(
    "semidefinite-cross",
    r"the cross-view covariance is positive semidefinite: $C \succeq 0$",
    Semidefinite(C, shared, (C, shared * shared.T)),
)
DOMINATED = Assumption(
    "dominated",
    r"the views share one covariance $\Sigma$, so that $\Sigma - C \succeq 0$",
    Semidefinite(Sigma_x - C, private, (Sigma_x, C + private * private.T)),
)


def exchangeable(rng: random.Random, size: int) -> Instance:
    """Draw C = LLᵀ, Σ = C + FFᵀ, two encoders, and the scalars of a mode."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    root, rest = draw.matrix(columns, columns), draw.matrix(columns, columns)
    both = root * root.transpose()
    values = {
        W: draw.matrix(rows, columns),
        V: draw.matrix(rows, columns),
        C: both,
        Sigma_x: both + rest * rest.transpose(),
        shared: root,
        private: rest,
    }
    letters = (w, v, p, cross, variance)
    scalars = {letter: draw.number() for letter in letters} | {beta: draw.positive(), eta: draw.positive()}
    return Instance({k: rows, d: columns}, values, scalars)


def one_mode(cross_value: int, variance_value: int, root: int, rest: int) -> Instance:
    """Return a single mode with W = V = 1 and the given covariances and roots."""
    values = {
        W: eye(1),
        V: eye(1),
        C: matrix([[cross_value]]),
        Sigma_x: matrix([[variance_value]]),
        shared: matrix([[root]]),
        private: matrix([[rest]]),
    }
    return Instance({k: 1, d: 1}, values, {beta: 1, eta: 1, w: 1, v: 1, p: 1, cross: 1, variance: 1})


EMA_LYAPUNOV = Theorem(
    name="ema-lyapunov",
    title="An averaged target without a predictor has a Lyapunov function, and collapses in every dimension",
    chapter=4,
    statement=(
        r"Let $P = I$, $\Sigma_x = \Sigma_y = \Sigma$ and $C \succeq 0$. Along $\dot W = V C - W \Sigma - \eta W$, $\dot V = \beta"
        r" (W - V)$ the function $\frac{\beta}{2} \lVert W \rVert^2 + \frac12 \operatorname{tr} V C V^{\top}$ decreases at the rate"
        r" $\beta [\operatorname{tr} (W - V) C (W - V)^{\top} + \operatorname{tr} W (\Sigma - C) W^{\top} + \eta \lVert W \rVert^2]$."
        r" If $\Sigma - C + \eta I \succ 0$ it stands still only where $W = 0$ and $V C = 0$, and as $\dot V = \beta (W - V)$ the"
        r" only such motion ends at zero: everything collapses, whatever $\beta$."
    ),
    assumptions=(SEMIDEFINITE, DOMINATED),
    proof=(
        Step(
            Rate(
                ENERGY,
                FLOW,
                -beta * (tr((W - V) * C * (W - V).T) + tr(W * (Sigma_x - C) * W.T) + eta * squared_norm(W)),
                named="U",
            ),
            r"In $\dot U = \beta \operatorname{tr} W^{\top} \dot W + \operatorname{tr} C V^{\top} \dot V$ the mixed terms complete two"
            r" squares.",
            conclusion=True,
        ),
        Step(
            Rate(ENERGY, FLOW, -beta * LOSS, named="U"),
            r"With $C = L L^{\top}$ and $\Sigma - C = F F^{\top}$ the rate is minus a sum of squares.",
            uses=("semidefinite-cross", "dominated"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "grows",
            "sign",
            "claim that it grows at that rate",
            Rate(ENERGY, FLOW, beta * LOSS),
            uses=("semidefinite-cross", "dominated"),
        ),
        FalseSibling(
            "unweighted",
            "omission",
            r"leave out the weight $\beta$ of $\lVert W \rVert^2$",
            Rate(squared_norm(W) / 2 + tr(V * C * V.T) / 2, FLOW, -beta * LOSS),
            uses=("semidefinite-cross", "dominated"),
        ),
        FalseSibling(
            "twice-the-decay",
            "constant",
            r"count the weight decay twice",
            Rate(ENERGY, FLOW, -beta * (LOSS + eta * squared_norm(W))),
            uses=("semidefinite-cross", "dominated"),
        ),
    ),
    witnesses=(
        # C = −1 has no root; the letter L then stands for anything, and the squares no longer add up.
        Witness("semidefinite-cross", one_mode(-1, 1, 1, 1)),
        # Σ_x < C, as for a target view twice as long (y = 2x): the loss changes sign.
        Witness("dominated", one_mode(4, 1, 2, 1)),
    ),
    instances=exchangeable,
    sources=(Source("ours"),),
    belief="A slowly moving target is a source of repulsion.",
    example=(
        "import numpy as np\n"
        "from scipy.linalg import expm\n"
        "S, C, beta = np.eye(2), np.diag([0.9, 0.4]), 0.1\n"
        "flow = np.block([[-S, C], [beta * np.eye(2), -beta * np.eye(2)]])  # acts on a row of (W, V), transposed\n"
        "start = np.array([1.0, 1.0, 2.0, -1.0]); energy = lambda z: beta * z[:2] @ z[:2] + z[2:] @ C @ z[2:]\n"
        "assert all(energy(expm(flow * t) @ start) > energy(expm(flow * (t + 1)) @ start) for t in range(5))"
    ),
)

# -- without a predictor: every eigenvalue, and how late -------------------------------------------------------------------

real, imaginary, real_cross, imaginary_cross, own = sp.symbols("x y c_1 c_2 a", real=True)
REAL_PART = (real + own) * (real + beta) - imaginary**2 - beta * real_cross
IMAGINARY_PART = imaginary * (2 * real + own + beta) - beta * imaginary_cross

MOVING = Assumption("moving", r"the target follows, $\beta > 0$", Inequality(beta > 0))
CONTRACTIVE = Assumption(
    "contractive",
    r"the views have one covariance and differ in every direction: $\lvert c \rvert < a$ for $a = u^{*}(\Sigma + \eta I)u$, $c ="
    r" u^{*} C u$ (canonical correlations below one, or $\eta > 0$)",
    Inequality(sp.And(own > 0, real_cross**2 + imaginary_cross**2 < own**2)),
)


def _eigenvalues(rng: random.Random, size: int) -> Instance:
    """Draw an eigenvalue μ = x + iy of the flow and solve for c; keep it if |c| < a."""
    draw = Draw(rng)
    while True:
        x, y, a, rate = -draw.positive(), draw.number(), draw.positive() + 1, draw.positive()
        first = ((x + a) * (x + rate) - y * y) / rate
        second = y * (2 * x + a + rate) / rate
        if first * first + second * second < a * a:
            scalars = {real: x, imaginary: y, own: a, beta: rate, real_cross: first, imaginary_cross: second}
            return Instance({}, {}, scalars)


_EIGENVALUE = (sp.Eq(REAL_PART, 0), sp.Eq(IMAGINARY_PART, 0))
_FIRST, _SECOND = (real + own) ** 2 + imaginary**2, (real + beta) ** 2 + imaginary**2

EMA_ALONE = Theorem(
    name="ema-alone-collapses",
    title="Without a predictor an averaged target collapses in every dimension, for any cross-covariance",
    chapter=4,
    statement=(
        r"Let $P = I$, $\Sigma_x = \Sigma_y = \Sigma$, and $C$ any cross-covariance, definite or not, symmetric or not, with canonical"
        r" correlations below one (or $\eta > 0$). An eigenvalue $\mu$ of the flow with unit eigenvector $u$ satisfies $(\mu +"
        r" \beta)(\mu + a) = \beta c$, $a = u^{*} (\Sigma + \eta I) u$, $c = u^{*} C u$, and $\lvert c \rvert < a$ forces"
        r" $\operatorname{Re} \mu < 0$. Not so for $\Sigma_x \ne \Sigma_y$: with $y = 2x$, $c = 2a$ and the encoder grows."
    ),
    assumptions=(MOVING, CONTRACTIVE),
    proof=(
        Step(
            ScalarIdentity(
                sp.expand(
                    (real + sp.I * imaginary + beta) * (real + sp.I * imaginary + own)
                    - beta * (real_cross + sp.I * imaginary_cross)
                ),
                sp.expand(REAL_PART + sp.I * IMAGINARY_PART),
            ),
            r"From $\mu w = v C - w(\Sigma + \eta I)$ and $\mu v = \beta (w - v)$: $v = \beta w/(\mu + \beta)$, and the product with"
            r" $w^{*}/\lVert w \rVert^2$ is the equation. Its real and imaginary part, for $\mu = x + iy$, $c = c_1 + ic_2$.",
        ),
        Step(
            ScalarIdentity(
                (REAL_PART + beta * real_cross) ** 2 + (IMAGINARY_PART + beta * imaginary_cross) ** 2, _FIRST * _SECOND
            ),
            r"The squared modulus of $(\mu + \beta)(\mu + a)$ is a product. If $x \ge 0$, its factors are at least $a^2$ and"
            r" $\beta^2$, and it could not be $\beta^2 \lvert c \rvert^2 < \beta^2 a^2$.",
        ),
        Step(
            Implication(real < 0, given=_EIGENVALUE),
            "The same from the two equations, by a program that knows nothing of this argument.",
            uses=("moving", "contractive"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "faster-than-the-average",
            "quantifier",
            r"claim $\operatorname{Re}\mu < -\beta$ for every eigenvalue",
            Implication(real < -beta, given=_EIGENVALUE),
            uses=("moving", "contractive"),
        ),
        FalseSibling(
            "real-part-of-c-only",
            "omission",
            r"ask only $c_1 < a$, as for symmetric $C$, of every cross-covariance",
            Implication(real < 0, given=(*_EIGENVALUE, own > 0, real_cross < own)),
            uses=("moving",),
        ),
        FalseSibling(
            "grows",
            "sign",
            "claim growth",
            Implication(real > 0, given=_EIGENVALUE),
            uses=("moving", "contractive"),
        ),
    ),
    witnesses=(
        # β = −1 is a target that runs away: (μ − 1)(μ + 1) = −c has the root μ = 1 for c = 0.
        Witness(
            "moving", Instance({}, {}, {real: 1, imaginary: 0, own: 1, beta: -1, real_cross: 0, imaginary_cross: 0})
        ),
        # A target view four times as long, y = 4x: (μ + 1)(μ + 1) = 4 has the root μ = 1.
        Witness(
            "contractive", Instance({}, {}, {real: 1, imaginary: 0, own: 1, beta: 1, real_cross: 4, imaginary_cross: 0})
        ),
    ),
    instances=_eigenvalues,
    sources=(Source("ours"),),
    belief="An averaged target prevents collapse if it moves slowly enough.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); Q = np.linalg.qr(rng.normal(size=(4, 4)))[0]; C = 0.95 * Q  # not symmetric\n"
        "for beta in (1e-3, 0.1, 10.0):\n"
        "    flow = np.block([[-np.eye(4), C.T], [beta * np.eye(4), -beta * np.eye(4)]])\n"
        "    assert np.linalg.eigvals(flow).real.max() < 0"
    ),
)

slow, total = sp.symbols("r s", real=True)
equation: Any = sp.Eq  # SymPy's annotations do not let And take what Eq returns
CHARACTERISTIC = slow**2 - (total + beta) * slow + beta * (total - cross)
CORRELATED = Assumption(
    "correlated",
    r"the mode is positively correlated, $0 \le \lambda < s$ with $s = \sigma + \eta$",
    Inequality(sp.And(cross >= 0, cross < total)),
)
SMALLER = Assumption(
    "slow-root",
    r"$r$ is the smaller root of $r^2 - (s + \beta) r + \beta (s - \lambda) = 0$",
    Inequality(sp.And(equation(CHARACTERISTIC, 0), 2 * slow <= total + beta)),
)


def _slow(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    while True:
        whole, rate = draw.positive(), draw.positive()
        found = whole / (1 + draw.positive())
        both = (found * found - (whole + rate) * found) / rate + whole
        if 0 <= both < whole and 2 * found <= whole + rate:
            return Instance({}, {}, {total: whole, beta: rate, slow: found, cross: both})


EMA_DELAYS = Theorem(
    name="ema-only-delays",
    title="A slower average delays the collapse in proportion, and never prevents it",
    chapter=4,
    statement=(
        r"Without a predictor the slow rate $r$ of a mode with $0 \le \lambda < s = \sigma + \eta$ lies between $\beta (s -"
        r" \lambda)/(s + \beta)$ and $\beta (s - \lambda)/\max(s, \beta)$. So $r/\beta \to 1 - \lambda/s$ as $\beta \to 0$ (at $\eta ="
        r" 0$: $r \approx \beta (1 - \rho)$), $r \to s - \lambda$, the rate without an average, as $\beta \to \infty$, and $r$"
        r" increases with $\beta$ in between."
    ),
    assumptions=(MOVING, CORRELATED, SMALLER),
    proof=(
        Step(
            Implication(sp.And(slow * (total + beta) >= beta * (total - cross), slow > 0)),
            r"From the equation, $r(s + \beta) = \beta(s - \lambda) + r^2$.",
            uses=("moving", "correlated", "slow-root"),
            conclusion=True,
        ),
        Step(
            Implication(sp.And(slow * total <= beta * (total - cross), slow <= total - cross)),
            r"The other root is at least $\max(s, \beta)$, and the product of the roots is $\beta (s - \lambda)$.",
            uses=("moving", "correlated", "slow-root"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.diff(CHARACTERISTIC, beta)
                + sp.diff(CHARACTERISTIC, slow) * (total - cross - slow) / (total + beta - 2 * slow),
                sp.S.Zero,
            ),
            r"Differentiating the equation, $\frac{dr}{d\beta} = (s - \lambda - r)/(s + \beta - 2r)$, and neither term is negative.",
        ),
    ),
    siblings=(
        FalseSibling(
            "first-order-is-a-lower-bound",
            "sign",
            r"claim $r s \ge \beta (s - \lambda)$",
            Implication(slow * total >= beta * (total - cross)),
            uses=("moving", "correlated", "slow-root"),
        ),
        FalseSibling(
            "either-root",
            "quantifier",
            "claim the bound of both roots",
            Implication(slow * total <= beta * (total - cross), given=(sp.Eq(CHARACTERISTIC, 0),)),
            uses=("moving", "correlated"),
        ),
        FalseSibling(
            "half-the-average",
            "constant",
            r"claim $2 r s \le \beta (s - \lambda)$",
            Implication(2 * slow * total <= beta * (total - cross)),
            uses=("moving", "correlated", "slow-root"),
        ),
    ),
    witnesses=(
        Witness("moving", Instance({}, {}, {total: 1, beta: -1, slow: -1, cross: 0})),
        Witness("correlated", Instance({}, {}, {total: 1, beta: 1, slow: -1, cross: 4})),
        Witness("slow-root", Instance({}, {}, {total: 1, beta: 2, slow: 2, cross: 0})),
    ),
    instances=_slow,
    sources=(Source("ours"),),
    belief="Below some rate the average is slow enough to prevent collapse.",
    example=(
        "import numpy as np\n"
        "slow = lambda beta: (1 + beta - np.sqrt((1 - beta) ** 2 + 4 * beta * 0.8)) / 2\n"
        "assert np.isclose(slow(1e-6) / 1e-6, 0.2, rtol=1e-4) and np.isclose(slow(1e6), 0.2, rtol=1e-4)"
    ),
)

THEOREMS = (EMA_LYAPUNOV, EMA_ALONE, EMA_DELAYS)
