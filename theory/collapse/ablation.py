"""Which parts of a JEPA collapse without which others: predictor, stop-gradient, averaged target (4.1)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Gradient, Implication, Rate, ScalarIdentity
from jepalign.theory.exact import Instance
from jepalign.theory.expressions import Named, squared_norm
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, W, X, Y, alpha, correlation, cross, d, eta, k, m, p, variance, w

v, beta, slow, root = sp.symbols("v beta r q", real=True)

ERROR: Any = Named("E", P * W * X - W * Y)
LOSS: Any = squared_norm(P * W * X - W * Y) / (2 * m)
DESCENT: Any = -(P.T * ERROR * X.T - ERROR * Y.T) / m


def _batches(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    values = {
        W: draw.matrix(rows, columns),
        P: draw.matrix(rows, rows),
        X: draw.matrix(columns, size + 1),
        Y: draw.matrix(columns, size + 1),
    }
    return Instance({k: rows, d: columns, m: size + 1}, values)


NO_STOP_GRADIENT = Theorem(
    name="no-stop-gradient-collapses",
    title="Without a stop-gradient the encoder shrinks by the loss itself, whatever the predictor",
    chapter=4,
    statement=(
        r"Train the encoder through both branches of $L = \frac12 \mathbb{E} \lVert P W x - W y \rVert^2$, with any predictor $P$,"
        r" trained or not. Then $\frac{d}{dt} \lVert W \rVert^2 = -4L$: as long as anything is left to predict, the encoder"
        r" shrinks. For any data, and any linear layer on any backbone with these features. [@tian2021, Theorem 2] bound the decay"
        r" for augmentations of one input; the identity needs nothing of them."
    ),
    assumptions=(),
    proof=(
        Step(
            Gradient(LOSS, W, DESCENT, named="L"),
            "The gradient has a part through the context and a part through the target.",
            conclusion=True,
        ),
        Step(
            Rate(squared_norm(W), {W: DESCENT}, -2 * squared_norm(P * W * X - W * Y) / m, named=r"\lVert W \rVert^2"),
            r"$L$ is a quadratic form in $W$, so by Euler $\langle W, \nabla L \rangle = 2L$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half",
            "constant",
            r"claim the rate $-2L$",
            Rate(squared_norm(W), {W: DESCENT}, -squared_norm(P * W * X - W * Y) / m),
        ),
        FalseSibling(
            "with-stop-gradient",
            "omission",
            "stop the gradient of the target and keep the rate",
            Rate(squared_norm(W), {W: -P.T * ERROR * X.T / m}, -2 * squared_norm(P * W * X - W * Y) / m),
        ),
        FalseSibling(
            "target-pulls-back",
            "sign",
            "let the target's branch enter with the other sign",
            Gradient(LOSS, W, -(P.T * ERROR * X.T + ERROR * Y.T) / m),
        ),
    ),
    witnesses=(),
    instances=_batches,
    sources=(Source("ours", "", "the identity"), Source("tian2021", "Theorem 2", "exponential decay")),
    belief="A good predictor can replace the stop-gradient.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); W = rng.normal(size=(2, 4)); P = rng.normal(size=(2, 2)); x, y = rng.normal(size=(2, 4, 50))\n"
        "E = P @ W @ x - W @ y; dW = -(P.T @ E @ x.T - E @ y.T) / 50\n"
        "assert np.isclose(2 * np.sum(W * dW), -2 * np.sum(E**2) / 50)"
    ),
)

MODE_LOSS = (p**2 * w**2 * variance - 2 * p * w * v * cross + v**2 * variance) / 2
BELOW_ONE = Assumption(
    "correlation-below-one",
    r"the two views of the mode differ: $\sigma_x = \sigma_y = \sigma$ and $\lambda^2 < \sigma^2$",
    Inequality(cross**2 < variance**2),
)
_SIGNS = (variance > 0, beta > 0, eta >= 0)


def _mode(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    sigma, rate, decay = draw.positive(), draw.positive(), draw.positive()
    # A rational slow rate r of the averaged target: choose r < σ − λ and solve r² − (σ+η+β)r + β(σ+η−λ) = 0 for λ.
    found = min(sigma, rate) / (2 + draw.positive())
    both = (found * found - (sigma + decay + rate) * found) / rate + sigma + decay
    scalars = {
        variance: sigma,
        cross: both,
        correlation: both / sigma,
        w: draw.number(),
        v: draw.number(),
        p: draw.number(),
        beta: rate,
        eta: decay,
        slow: found,
        alpha: draw.positive(),
    }
    if w in scalars and (scalars[w] == 0 or both * both >= sigma * sigma):
        return _mode(rng, size)
    return Instance({}, {}, scalars)


NONE_FIELD = -2 * (variance - cross) * w
UNSTOPPED_FIELD = -w * variance * ((p - correlation) ** 2 + 1 - correlation**2)
STOPPED_FIELD = -(variance - cross) * w
AVERAGED: Any = sp.Matrix([[-(variance + eta), cross], [beta, -beta]])
CHARACTERISTIC = slow**2 - (variance + eta + beta) * slow + beta * (variance + eta - cross)

ABLATION_CUBE = Theorem(
    name="ablation-cube",
    title="Predictor and stop-gradient together, and nothing less, keep a mode alive",
    chapter=4,
    statement=(
        r"One mode, $\sigma_x = \sigma_y = \sigma$, $|\rho| < 1$, loss $\frac12 \mathbb{E} (p w x - v y)^2$. *Nothing*: $\dot w = -2"
        r" (\sigma - \lambda) w$. *Predictor without stop-gradient*: $\dot w = -w\sigma [(p - \rho)^2 + 1 - \rho^2]$."
        r" *Stop-gradient alone*: $\dot w = -(\sigma - \lambda) w$. *Stop-gradient and EMA* (with decay $\eta$): every rate of the"
        r" pair $(w, v)$ is positive, and the slow one is $r = \frac12 [\sigma + \eta + \beta - \sqrt{(\sigma + \eta - \beta)^2 +"
        r" 4\beta\lambda}]$. All of these collapse. *Predictor and stop-gradient*, with or without EMA: rest at $p = \rho$ with any"
        r" $w \ne 0$. In the flow, a gradient *through* the average reaches $v$ only and changes nothing of the fourth."
    ),
    assumptions=(BELOW_ONE,),
    proof=(
        Step(
            ScalarIdentity(-sp.diff(MODE_LOSS.subs({v: w, p: 1}), w), NONE_FIELD),
            "Neither predictor nor stop-gradient: both branches move.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(-sp.diff(MODE_LOSS.subs(v, w), w).subs(cross, correlation * variance), UNSTOPPED_FIELD),
            r"A predictor, gradients through both branches: complete the square in $p$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(-sp.diff(MODE_LOSS.subs(p, 1), w).subs(v, w), STOPPED_FIELD),
            "The stop-gradient without a predictor: the target is held while differentiating.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(w * NONE_FIELD < 0, w * STOPPED_FIELD < 0),
                given=(*_SIGNS, sp.Ne(w, 0)),
            ),
            r"The first and third shrink since $\lambda < \sigma$,",
            uses=("correlation-below-one",),
            conclusion=True,
        ),
        Step(
            Implication(
                w * UNSTOPPED_FIELD < 0,
                given=(*_SIGNS, sp.Ne(w, 0), sp.Eq(cross, correlation * variance)),
            ),
            r"the second since $\rho^2 < 1$, for every $p$.",
            uses=("correlation-below-one",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity((AVERAGED + slow * sp.eye(2)).det(), CHARACTERISTIC),
            r"Stop-gradient and EMA: $\dot w = \lambda v - (\sigma+\eta) w$, $\dot v = \beta (w - v)$. A rate $r$ of decay solves"
            r" the characteristic equation.",
        ),
        Step(
            Implication(slow > 0, given=(*_SIGNS, sp.Eq(CHARACTERISTIC, 0))),
            r"Its coefficients are $\sigma + \eta + \beta > 0$ and $\beta(\sigma + \eta - \lambda) > 0$: real rates are positive"
            r" (complex ones, for $\lambda < 0$, have the real part $(\sigma + \eta + \beta)/2$).",
            uses=("correlation-below-one",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                CHARACTERISTIC.subs(slow, (variance + eta + beta - root) / 2),
                (root**2 - (variance + eta - beta) ** 2 - 4 * beta * cross) / 4,
            ),
            r"With $q^2 = (\sigma + \eta - \beta)^2 + 4\beta\lambda$ the roots are $\frac12 (\sigma + \eta + \beta \mp q)$.",
        ),
        Step(
            ScalarIdentity(p * (cross * w - p * variance * w).subs(p, cross / variance), sp.S.Zero),
            r"Predictor and stop-gradient: at $p = \rho$ both forces vanish, whatever $w = v$.",
        ),
    ),
    siblings=(
        FalseSibling(
            "stop-gradient-doubles",
            "constant",
            "claim that the stop-gradient leaves the speed of collapse as it is",
            ScalarIdentity(-sp.diff(MODE_LOSS.subs(p, 1), w).subs(v, w), NONE_FIELD),
        ),
        FalseSibling(
            "predictor-saves",
            "quantifier",
            r"claim that without stop-gradient the optimal predictor $p = \rho$ keeps the mode",
            Implication(
                w * UNSTOPPED_FIELD >= 0,
                given=(*_SIGNS, sp.Eq(p, correlation), sp.Eq(cross, correlation * variance)),
            ),
            uses=("correlation-below-one",),
        ),
        FalseSibling(
            "ema-saves",
            "sign",
            "claim that with an averaged target some rate is not positive",
            Implication(slow <= 0, given=(*_SIGNS, sp.Eq(CHARACTERISTIC, 0))),
            uses=("correlation-below-one",),
        ),
        FalseSibling(
            "variance-of-the-error",
            "exchange",
            r"exchange $1 - \rho^2$ for $1 - \rho$",
            ScalarIdentity(
                -sp.diff(MODE_LOSS.subs(v, w), w).subs(cross, correlation * variance),
                -w * variance * ((p - correlation) ** 2 + 1 - correlation),
            ),
        ),
    ),
    witnesses=(
        Witness(
            "correlation-below-one",
            Instance(
                {}, {}, {variance: 1, cross: 1, correlation: 1, w: 1, v: 1, p: 1, beta: 1, eta: 0, slow: 0, alpha: 1}
            ),
        ),
    ),
    instances=_mode,
    sources=(
        Source("tian2021", "Theorem 2", "two corners, for augmentations"),
        Source("ours", "", "all corners with their rates"),
    ),
    belief="Of predictor, stop-gradient and EMA any two suffice.",
    example=(
        "import numpy as np\n"
        "sigma, lam, eta, beta = 1.0, 0.8, 0.0, 0.05\n"
        "rates = -np.linalg.eigvals([[-(sigma + eta), lam], [beta, -beta]])\n"
        "slow = (sigma + eta + beta - np.sqrt((sigma + eta - beta) ** 2 + 4 * beta * lam)) / 2\n"
        "assert np.isclose(rates.min(), slow) and slow > 0"
    ),
)

PULLED_ENCODER = p * (cross * v - p * variance * w)
PULLED_TARGET = p * w * cross - v * variance + beta * (w - v)
_PULLED: Any = sp.Matrix([[-variance, cross], [cross + beta, -variance - beta]])
OPTIMUM = correlation * beta / (beta + variance * (1 - correlation**2))


def _pulled(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    sigma, rate, rho, weight = draw.positive(), draw.positive(), 1 / (1 + draw.positive()), draw.number() + 5
    at = rho * rate / (rate + sigma * (1 - rho * rho))
    scalars = {
        variance: sigma,
        beta: rate,
        correlation: rho,
        cross: rho * sigma,
        w: weight,
        p: at,
        v: at * weight / rho,
        alpha: draw.positive(),
    }
    return Instance({}, {}, scalars)


REGRESSION = Assumption(
    "regression",
    r"$\rho = \lambda/\sigma$ is the mode's correlation, not zero",
    Inequality(sp.Eq(cross, correlation * variance)),
)

TRAINED_TARGET = Theorem(
    name="trained-target",
    title="A target that is trained and pulled towards the encoder collapses without a predictor and survives with one",
    chapter=4,
    statement=(
        r"Let the target's weight be trained on the same loss and pulled to the encoder's: $\dot v = p w \lambda - v\sigma + \beta (w"
        r" - v)$. Without a predictor ($p = 1$) the pair decays at the rates $\sigma - \lambda$ and $\sigma + \lambda + \beta$. With"
        r" one it rests with $w \ne 0$ exactly at $p^* = \rho\beta/(\beta + \sigma(1 - \rho^2))$, $v = p^* w/\rho$: smaller than the"
        r" optimal predictor $\rho$, and vanishing with the pull."
    ),
    assumptions=(REGRESSION,),
    proof=(
        Step(
            ScalarIdentity(
                (_PULLED + slow * sp.eye(2)).det(), (slow - (variance - cross)) * (slow - (variance + cross + beta))
            ),
            r"Without a predictor the pair is linear; its characteristic polynomial factors.",
        ),
        Step(
            Implication(
                sp.Eq(p * (beta + variance * (1 - correlation**2)), correlation * beta),
                given=(
                    variance > 0,
                    beta > 0,
                    correlation > 0,
                    sp.Eq(PULLED_ENCODER, 0),
                    sp.Eq(PULLED_TARGET, 0),
                    sp.Ne(w, 0),
                    sp.Ne(p, 0),
                ),
            ),
            r"At rest $\lambda v = p\sigma w$, so $v = pw/\rho$; put it into the target's equation and divide by $w$.",
            uses=("regression",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(p > 0, p < correlation),
                given=(
                    variance > 0,
                    beta > 0,
                    correlation > 0,
                    correlation < 1,
                    sp.Eq(p * (beta + variance * (1 - correlation**2)), correlation * beta),
                ),
            ),
            r"The denominator exceeds $\beta$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "optimal-predictor",
            "exchange",
            r"claim rest at the optimal predictor $p = \rho$",
            Implication(
                sp.Eq(p, correlation),
                given=(
                    variance > 0,
                    beta > 0,
                    correlation > 0,
                    sp.Eq(PULLED_ENCODER, 0),
                    sp.Eq(PULLED_TARGET, 0),
                    sp.Ne(w, 0),
                    sp.Ne(p, 0),
                ),
            ),
            uses=("regression",),
        ),
        FalseSibling(
            "grows-without-predictor",
            "sign",
            r"claim the rate $\lambda - \sigma$ without a predictor",
            ScalarIdentity(
                (_PULLED + slow * sp.eye(2)).det(), (slow + (variance - cross)) * (slow - (variance + cross + beta))
            ),
            instances=_mode,
        ),
        FalseSibling(
            "unpulled",
            "omission",
            "leave the pull out of the denominator",
            Implication(
                sp.Eq(p * variance * (1 - correlation**2), correlation * beta),
                given=(
                    variance > 0,
                    beta > 0,
                    correlation > 0,
                    sp.Eq(PULLED_ENCODER, 0),
                    sp.Eq(PULLED_TARGET, 0),
                    sp.Ne(w, 0),
                    sp.Ne(p, 0),
                ),
            ),
            uses=("regression",),
        ),
    ),
    witnesses=(
        Witness(
            "regression",
            Instance(
                {},
                {},
                {
                    variance: 1,
                    beta: 1,
                    cross: sp.Rational(1, 2),
                    correlation: 1,
                    w: 1,
                    p: sp.Rational(2, 7),
                    v: sp.Rational(4, 7),
                    alpha: 1,
                },
            ),
        ),
    ),
    instances=_pulled,
    sources=(Source("ours"),),
    belief="EMA without stop-gradient is one method.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models.flow import integrate\n"
        "f = lambda s: {'w': s['p'] * (0.8 * s['v'] - s['p'] * s['w']), 'p': s['w'] * (0.8 * s['v'] - s['p'] * s['w']),\n"
        "    'v': 0.8 * s['p'] * s['w'] - s['v'] + 0.5 * (s['w'] - s['v'])}\n"
        "end = integrate(f, {'w': np.ones(()), 'p': 0.5 * np.ones(()), 'v': np.ones(())}, [0.0, 400.0]).states\n"
        "assert np.isclose(end['p'][-1], 0.8 * 0.5 / (0.5 + 1 - 0.64)) and end['w'][-1] > 0.5"
    ),
)

THEOREMS = (NO_STOP_GRADIENT, ABLATION_CUBE, TRAINED_TARGET)
