"""InfoNCE with Euclidean similarity, for Gaussian views: its optimum, mode by mode and at every temperature (result 1.3)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Cited, Gradient, Implication, ScalarIdentity
from jepalign.theory.contrastive.infonce import tau, x, y
from jepalign.theory.exact import Instance, eye
from jepalign.theory.expressions import identity, logdet, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, Phi, Sigma_x, Sigma_yx, W, correlation, d, k, s

root, inverse, optimum, ratio = sp.symbols("r v s_0 kappa", real=True)

resolvent: Any = (identity(k) + Phi).I
MATRIX_LOSS = (
    tr(W * (Sigma_x - Sigma_yx) * W.T) - logdet(identity(k) + Phi) / 2 - tr(Phi * resolvent) / 2
)  # one temperature, τ = 1
MATRIX_FORCE: Any = W * (Sigma_yx + Sigma_yx.T) - (2 * identity(k) - resolvent - resolvent * resolvent) * W * Sigma_x

LOSS = ((1 + ratio) / 2 - correlation) * s / tau - sp.log(1 + ratio * s / tau) / 2 - s / tau / (1 + ratio * s / tau) / 2
SLOPE = (1 + ratio - 2 * correlation) * (tau + ratio * s) ** 2 - ratio * tau * (tau + ratio * s) - tau**2

SAME_MARGINALS = Assumption(
    "same-marginals",
    r"the target's embedding has the variance of the context's, $\sigma_y = \sigma_x$, that is $\kappa = \sigma_y/\sigma_x = 1$",
    Equation(ratio, sp.S.One),
)

POSITIVE: tuple[Any, ...] = (tau > 0, s >= 0)
RADICAL: tuple[Any, ...] = (
    sp.Eq(root**2, 9 - 8 * correlation),
    root >= 0,
    sp.Eq(2 * inverse, root - 1),
    sp.Eq(inverse * optimum, tau * (1 - inverse)),
)
PREDICTABLE: tuple[Any, ...] = (correlation > 0, correlation < 1)


def _sides(where: Any, slope: Any) -> Any:
    """Return: the slope is negative before ``where`` and positive beyond it."""
    return sp.And(sp.Implies(s < where, slope < 0), sp.Implies(s > where, slope > 0))


MINIMUM = sp.And(optimum > 0, _sides(optimum, SLOPE))


def _mode(rng: random.Random, size: int) -> Instance:
    """Draw a linear encoder with two views of equal covariance, and a mode: predictable, not positive, or redundant."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    context, _, both = draw.moments(columns)
    matrices = {W: draw.matrix(rows, columns), Sigma_x: context, Sigma_yx: both}
    scalars: dict[Any, Any] = {tau: draw.positive(), s: draw.positive(), ratio: 1}
    match size % 3:
        case 1:
            part = draw.positive()
            small = part / (part + draw.positive())
            scalars |= {correlation: 1 - (small + small**2) / 2, inverse: small, root: 2 * small + 1}
            scalars[optimum] = scalars[tau] * (1 / small - 1)
        case 2:
            scalars[correlation] = 1 - draw.positive() * 3
        case _:
            scalars[correlation] = 1 + rng.randint(0, 1) * draw.positive()
    return Instance({k: rows, d: columns}, matrices, scalars)


# ρ = 5/8 has v = 1/2, and the optimum 1; if the target's embedding varies twice as much the slope is positive before that.
WIDER_TARGET = Instance(
    {k: 1, d: 1},
    {letter: eye(1) for letter in (W, Sigma_x, Sigma_yx)},
    {tau: 1, s: "1/2", ratio: 2, correlation: "5/8", inverse: "1/2", root: 2, optimum: 1},
)

EUCLIDEAN_INFONCE = Theorem(
    name="euclidean-infonce",
    title="Euclidean InfoNCE keeps every predictable mode, the redundant ones without bound",
    chapter=1,
    statement=(
        r"Gaussian views of equal covariance $\Sigma$, a linear encoder, the similarity $-\lVert u - v \rVert^2/(2\tau)$ and"
        r" infinitely many negatives. At $\tau = 1$ the loss is $L = \operatorname{tr} W(\Sigma - \Sigma_{yx})W^{\top}"
        r" - \frac12 \ln\det(I + \Phi) - \frac12 \operatorname{tr} \Phi(I+\Phi)^{-1}$; another $\tau$ replaces $W$ by"
        r" $W/\sqrt{\tau}$. On a mode of canonical correlation $\rho$ with embedding variance $s = w^2\sigma \ge 0$ it has one"
        r" minimum, which is global: $s = \tau(1/v - 1)$ with $v = \frac12(\sqrt{9 - 8\rho} - 1)$ if $0 < \rho < 1$, and"
        r" $s = 0$ if $\rho \le 0$. For $\rho \ge 1$ there is none: the loss falls without end. With $k$ dimensions the global"
        r" minimum keeps the $k$ largest $\rho_i$."
    ),
    assumptions=(SAME_MARGINALS,),
    proof=(
        Step(
            ScalarIdentity(
                (x - y) ** 2 / (2 * tau) + y**2 / (2 * s),
                (tau + s) / (2 * tau * s) * (y - s * x / (tau + s)) ** 2 + x**2 / (2 * (tau + s)),
            ),
            r"The negatives, one coordinate of the eigenbasis of $\Phi$ at a time: completing the square leaves"
            r" $\mathbb{E}_y e^{-(x-y)^2/(2\tau)} = (1 + s/\tau)^{-1/2} e^{-x^2/(2(\tau + s))}$, and the mean of its logarithm"
            r" over $x$ is $-\frac12 \ln(1 + s/\tau) - \frac12 s/(\tau + s)$ (`gaussian-infonce-entry`, with a temperature).",
        ),
        Step(
            Gradient(MATRIX_LOSS, W, MATRIX_FORCE, named="L"),
            r"$d\ln\det(I + \Phi) = \operatorname{tr}(I+\Phi)^{-1}d\Phi$ and $\Phi(I+\Phi)^{-1} = I - (I+\Phi)^{-1}$. A"
            r" critical point therefore satisfies $W\Sigma_{yx} = N W\Sigma$ for symmetric $\Sigma_{yx}$ and a symmetric $N$.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(LOSS, s) * 2 * tau * (tau + ratio * s) ** 2, SLOPE),
            r"The derivative of the loss of one mode, times a positive factor. The targets' variance is $\kappa s$.",
        ),
        Step(
            ScalarIdentity(
                SLOPE.subs({ratio: 1, correlation: 1 - (inverse + inverse**2) / 2}),
                (inverse * (tau + s) - tau) * ((1 + inverse) * (tau + s) + tau),
            ),
            r"$v$ is the positive root of $v^2 + v = 2(1 - \rho)$. The slope has the factor $v(\tau + s) - \tau$, which"
            r" vanishes at $s = \tau(1/v - 1)$, and a positive one.",
        ),
        Step(
            Implication(MINIMUM, (*POSITIVE, *PREDICTABLE, *RADICAL)),
            r"For $0 < \rho < 1$ one has $0 < v < 1$, so the zero is positive, and the loss falls before it and rises beyond.",
            uses=("same-marginals",),
            conclusion=True,
        ),
        Step(
            Implication(_sides(sp.S.Zero, SLOPE), (*POSITIVE, correlation <= 0)),
            r"For $\rho \le 0$ the loss rises from the start: the mode is dropped.",
            uses=("same-marginals",),
            conclusion=True,
        ),
        Step(
            Implication(SLOPE < 0, (*POSITIVE, correlation >= 1)),
            r"For $\rho \ge 1$ ($\rho = 1$ is the most that equal covariances allow) it falls for ever, as $-\frac12 \ln s$.",
            uses=("same-marginals",),
            conclusion=True,
        ),
        Step(
            Cited(
                r"\operatorname{tr} A M \le \sum_i \rho_i s_i \quad\text{for symmetric } A, M \text{ with decreasing"
                r" eigenvalues } \rho_i \text{ and } s_i",
                "mirsky1975, the trace inequality of von Neumann",
            ),
            r"With $A = \Sigma^{-1/2}\Sigma_{yx}\Sigma^{-1/2}$ and $M = \Sigma^{1/2}W^{\top}W\Sigma^{1/2}$, whose nonzero"
            r" eigenvalues are those of $\Phi$, $\operatorname{tr} K = \operatorname{tr} A M$. The rest of the loss depends on"
            r" the $s_i$ alone, so it is at least the sum of its modes, at most $k$ of them; the loss of a mode falls with"
            r" $\rho$, so the largest are kept. This reduction is argued; the modes are proved.",
        ),
    ),
    siblings=(
        FalseSibling(
            "linear-temperature",
            "constant",
            r"scale the optimum by $\tau^2$",
            Implication(
                MINIMUM, (*POSITIVE, *PREDICTABLE, *RADICAL[:3], sp.Eq(inverse * optimum, tau**2 * (1 - inverse)))
            ),
            uses=("same-marginals",),
        ),
        FalseSibling(
            "other-root",
            "sign",
            r"$v = \frac12(\sqrt{9 - 8\rho} + 1)$",
            Implication(MINIMUM, (*POSITIVE, *PREDICTABLE, *RADICAL[:2], sp.Eq(2 * inverse, root + 1), RADICAL[3])),
            uses=("same-marginals",),
        ),
        FalseSibling(
            "spectral-optimum",
            "exchange",
            r"exchange the optimum for the $\tau\rho$ of dot products",
            Implication(MINIMUM, (*POSITIVE, *PREDICTABLE, sp.Eq(optimum, tau * correlation))),
            uses=("same-marginals",),
        ),
        FalseSibling(
            "unpredictable-mode",
            "quantifier",
            r"claim a positive optimum for $\rho = 0$ as well",
            Implication(MINIMUM, (*POSITIVE, correlation >= 0, correlation < 1, *RADICAL)),
            uses=("same-marginals",),
        ),
        FalseSibling(
            "mean-of-the-square",
            "omission",
            r"forget the mean over $x$, that is the term $-\frac12\operatorname{tr}\Phi(I+\Phi)^{-1}$",
            Gradient(MATRIX_LOSS + tr(Phi * resolvent) / 2, W, MATRIX_FORCE),
        ),
    ),
    witnesses=(Witness("same-marginals", WIDER_TARGET),),
    instances=_mode,
    sources=(
        Source("ours", "", "the optimum and its temperature"),
        Source("jing2021", "", "the loss, for finitely many negatives"),
        Source("wang2020", "Theorem 1", "the limit of infinitely many negatives"),
    ),
    belief="Every InfoNCE has the optimum of the spectral contrastive loss.",
    example=(
        "import numpy as np\n"
        "rho, tau = 5 / 8, 0.3; v = (np.sqrt(9 - 8 * rho) - 1) / 2; s = np.linspace(0, 3, 3001)\n"
        "loss = (1 - rho) * s / tau - np.log1p(s / tau) / 2 - s / (tau + s) / 2\n"
        "assert np.isclose(s[np.argmin(loss)], tau * (1 / v - 1), atol=1e-3)"
    ),
)

THEOREMS = (EUCLIDEAN_INFONCE,)
