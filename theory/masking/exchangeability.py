"""Two views of unequal covariance: regression above one, and what the spectral loss repels by (7.1)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, matrix, matrix_trace
from jepalign.theory.expressions import Named, squared_norm, tr
from jepalign.theory.proof import Assumption, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, W, X, Y, correlation, cross, d, eta, k, m, variance, w

context: Any = sp.MatrixSymbol("x", 1, m)
target: Any = sp.MatrixSymbol("y", 1, m)
"""One coordinate of the two views, over a batch."""

target_variance, slope = sp.symbols("sigma_y t", real=True)
theta, visible = sp.symbols("theta q", real=True)

ERROR: Any = target_variance - 2 * slope * cross + slope**2 * variance

JOINT = Assumption(
    "joint",
    r"both views belong to one distribution, in which no regression has a negative error: $\sigma_y - 2 t \lambda +"
    r" t^2 \sigma_x \ge 0$",
    Inequality(ERROR >= 0),
)
MASKED = Assumption("masked", r"i.i.d. masks hide some tokens: $0 < q < 1$", Inequality((visible > 0) & (visible < 1)))


def _coordinates(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    samples = size + 1
    seen = draw.matrix(1, samples)
    answer = seen * 2 if size == 1 else draw.matrix(1, samples)
    spread = matrix_trace(seen * seen.transpose()) / samples
    shared = matrix_trace(answer * seen.transpose()) / samples
    mode, rate = draw.positive(), 1 / (1 + draw.positive())
    scalars = {
        variance: spread,
        target_variance: matrix_trace(answer * answer.transpose()) / samples,
        cross: shared,
        slope: shared / spread,
        theta: mode,
        visible: rate,
        correlation: mode / (1 + rate * (mode - 1)),
        eta: spread / 2,
        w: draw.positive(),
    }
    return Instance({m: samples}, {context: seen, target: answer}, scalars)


_TWICE: dict[Any, Any] = {
    variance: 1,
    target_variance: 4,
    cross: 2,
    slope: 2,
    theta: 2,
    visible: "1/2",
    correlation: "4/3",
    eta: "1/2",
    w: 1,
}


def _twice(**changes: Any) -> Instance:
    """Return y = 2x, some numbers changed."""
    letters = {"target_variance": target_variance, "visible": visible, "correlation": correlation}
    scalars = {**_TWICE, **{letters[name]: value for name, value in changes.items()}}
    return Instance({m: 1}, {context: matrix([[1]]), target: matrix([[2]])}, scalars)


_REGRESSION = (sp.Eq(slope * variance, cross), variance > 0)

REGRESSION_ABOVE_ONE = Theorem(
    name="regression-above-one",
    title="Between unequal views ρ is a regression coefficient and may exceed 1",
    chapter=7,
    statement=(
        r"For a mode with variances $\sigma_x, \sigma_y$ and cross-covariance $\lambda$, $\lambda^2 \le \sigma_x"
        r" \sigma_y$ is all that holds: $\rho = \lambda/\sigma_x$ obeys $\rho^2 \le \sigma_y/\sigma_x$, so $|\rho| \le"
        r" 1$ where $\sigma_y \le \sigma_x$. Under i.i.d. masks with full targets $\rho = \theta/(1 + q(\theta - 1))$:"
        r" above 1 exactly for $\theta > 1$, and below $1/q$. Where $\rho > 1$ and $\eta < \lambda - \sigma_x$, plain"
        r" alignment with stop-gradient and without predictor does not collapse: it diverges."
    ),
    assumptions=(JOINT, MASKED),
    proof=(
        Step(
            Equality(
                squared_norm(target - slope * context) / m,
                tr(target * target.T) / m
                - 2 * slope * tr(target * context.T) / m
                + slope**2 * tr(context * context.T) / m,
            ),
            r"The mean squared error of predicting $y$ by $t x$.",
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(cross**2 <= variance * target_variance, slope**2 * variance <= target_variance),
                given=_REGRESSION,
            ),
            r"At the regression $t = \lambda/\sigma_x$ the error is $\sigma_y - \lambda^2/\sigma_x$, and it is not"
            r" negative.",
            uses=("joint",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(sp.Equivalent(correlation > 1, theta > 1), correlation * visible < 1),
                given=(theta > 0, sp.Eq(correlation * (1 + visible * (theta - 1)), theta)),
            ),
            r"$\lambda = q\theta$ and $\sigma_x = q + q^2(\theta - 1)$; $\rho - 1 = (1 - q)(\theta - 1)/(1 + q(\theta"
            r" - 1))$.",
            uses=("masked",),
            conclusion=True,
        ),
        Step(
            Implication(
                w * ((cross - variance) * w - eta * w) > 0,
                given=(sp.Ne(w, 0), eta < cross - variance),
            ),
            r"Without predictor $\dot w = (\lambda - \sigma_x - \eta) w$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "at-most-one",
            "quantifier",
            r"claim $|\rho| \le 1$ for any two views",
            Implication(slope**2 <= 1, given=_REGRESSION),
            uses=("joint",),
        ),
        FalseSibling(
            "other-regression",
            "exchange",
            r"bound $\rho$ by the ratio turned over, $\rho^2 \le \sigma_x/\sigma_y$",
            Implication(slope**2 * target_variance <= variance, given=_REGRESSION),
            uses=("joint",),
        ),
        FalseSibling(
            "visible-or-not",
            "sign",
            r"claim $\rho < 1$ for the strong modes",
            Implication(
                sp.Equivalent(correlation < 1, theta > 1),
                given=(theta > 0, sp.Eq(correlation * (1 + visible * (theta - 1)), theta)),
            ),
            uses=("masked",),
        ),
    ),
    witnesses=(
        Witness("joint", _twice(target_variance=1)),
        Witness("masked", _twice(visible=1, correlation=1)),
    ),
    instances=_coordinates,
    sources=(Source("ours"),),
    belief="ρ is a correlation, so it lies between −1 and 1.",
    example=(
        "import numpy as np\n"
        "n, q = 10, 0.3; S = 0.9 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))); theta, modes = np.linalg.eigh(S)\n"
        "seen = q**2 * S + q * (1 - q) * np.eye(n)\n"
        "rho = np.diag(modes.T @ (q * S) @ modes) / np.diag(modes.T @ seen @ modes)\n"
        "assert np.all((rho > 1) == (theta > 1)) and 2 < rho.max() < 1 / q"
    ),
)

# -- the spectral loss between two covariances ----------------------------------------------------------------------------

Sx: Any = Named(r"\Sigma_x", X * X.T / m)
Sy: Any = Named(r"\Sigma_y", Y * Y.T / m)
Syx: Any = Named(r"\Sigma_{yx}", Y * X.T / m)
Sxy: Any = Named(r"\Sigma_{yx}^{\top}", X * Y.T / m)
Phi_x: Any = Named(r"\Phi_x", W * Sx * W.T)
Phi_y: Any = Named(r"\Phi_y", W * Sy * W.T)

LOSS: Any = -2 * tr(W * Y * X.T * W.T) / m + squared_norm((W * X).T * (W * Y)) / m**2
REPULSION: Any = tr(Phi_x * Phi_y)


def _views(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    values = {W: draw.matrix(rows, columns), X: draw.matrix(columns, size + 1), Y: draw.matrix(columns, size + 1)}
    scalars = {cross: draw.number(), variance: draw.positive(), target_variance: draw.positive(), w: draw.number()}
    return Instance({k: rows, d: columns, m: size + 1}, values, scalars)


SPECTRAL_TWO_COVARIANCES = Theorem(
    name="spectral-two-covariances",
    title="Between two views the spectral loss repels by the product of both covariances",
    chapter=7,
    statement=(
        r"With positives $(x, y)$, negatives $(x, y')$ and one encoder, $L_{\mathrm{SCL}} = -2 \operatorname{tr} W"
        r" \Sigma_{yx} W^{\top} + \operatorname{tr} \Phi_x \Phi_y$, $\Phi_x = W \Sigma_x W^{\top}$: the force is $2 W"
        r" (\Sigma_{yx} + \Sigma_{yx}^{\top}) - 2 (\Phi_x W \Sigma_y + \Phi_y W \Sigma_x)$. On a mode the optimum is"
        r" $w^2 = \max(\lambda, 0)/(\sigma_x \sigma_y)$, with loss $-\lambda^2/(\sigma_x \sigma_y)$, the squared"
        r" *canonical* correlation, which never exceeds 1. A symmetrised batch repels more, by $\frac14 \lVert \Phi_x"
        r" - \Phi_y \rVert^2$."
    ),
    assumptions=(),
    proof=(
        Step(
            Equality(LOSS, -2 * tr(W * Syx * W.T) + REPULSION),
            r"$\frac{1}{m^2} \sum_{i,j} (x_i^{\top} W^{\top} W y_j)^2 = \operatorname{tr} \Phi_x \Phi_y$: rotate under"
            r" the trace.",
            conclusion=True,
        ),
        Step(
            Gradient(LOSS, W, 2 * W * (Syx + Sxy) - 2 * (Phi_x * W * Sy + Phi_y * W * Sx), named=r"L_{\mathrm{SCL}}"),
            r"Every $W$ moves: two in the attraction, four in the repulsion.",
            conclusion=True,
        ),
        Step(
            Equality(tr((Phi_x + Phi_y) * (Phi_x + Phi_y)) / 4, REPULSION + squared_norm(Phi_x - Phi_y) / 4),
            r"A symmetrised batch has the second moment $(\Phi_x + \Phi_y)/2$ in both roles.",
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                -2 * cross * w**2 + variance * target_variance * w**4,
                variance * target_variance * (w**2 - cross / (variance * target_variance)) ** 2
                - cross**2 / (variance * target_variance),
            ),
            r"Complete the square; a negative $\lambda$ leaves $w = 0$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "context-alone",
            "exchange",
            r"repel by the context's covariance alone, $\operatorname{tr} \Phi_x^2$",
            Equality(LOSS, -2 * tr(W * Syx * W.T) + tr(Phi_x * Phi_x)),
        ),
        FalseSibling(
            "one-factor",
            "omission",
            r"differentiate one of the two covariances of the embedding",
            Gradient(LOSS, W, 2 * W * (Syx + Sxy) - 4 * Phi_x * W * Sy, named=r"L_{\mathrm{SCL}}"),
        ),
        FalseSibling(
            "symmetrised-less",
            "sign",
            r"claim that symmetrising reduces the repulsion",
            Equality(tr((Phi_x + Phi_y) * (Phi_x + Phi_y)) / 4, REPULSION - squared_norm(Phi_x - Phi_y) / 4),
        ),
    ),
    witnesses=(),
    instances=_views,
    sources=(
        Source("haochen2021", "Section 3", "the loss, for exchangeable views"),
        Source("ours", "", "unequal views"),
    ),
    belief="The spectral contrastive loss penalises the square of one embedding covariance, whichever views it is given.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); x, y = rng.normal(size=(2, 4, 30)); y = 2 * y + x; W = rng.normal(size=(3, 4))\n"
        "repulsion = np.mean(((W @ x).T @ (W @ y)) ** 2)\n"
        "phi, psi = W @ x @ x.T @ W.T / 30, W @ y @ y.T @ W.T / 30\n"
        "assert np.isclose(repulsion, np.trace(phi @ psi)) and not np.isclose(repulsion, np.trace(phi @ phi))"
    ),
)

THEOREMS = (REGRESSION_ABOVE_ONE, SPECTRAL_TWO_COVARIANCES)
