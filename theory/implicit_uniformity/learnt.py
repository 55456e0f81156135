"""What a trained predictor makes of the dictionary: the learnt square root, and the origin under preconditioning (2.0)."""

import random

import sympy as sp

from jepalign.theory.claims import Equality, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Phi, Sigma_x, Sigma_yx, W, alpha, d, k, s

BALANCED = Assumption("balanced", r"$P^{\top} P = \alpha W W^{\top}$", Equation(P.T * P, alpha * W * W.T))
WHITENED = Assumption("whitened", r"the context inputs are white, $\Sigma_x = I$", Equation(Sigma_x, identity(d)))
SYMMETRIC_PREDICTOR = Assumption("symmetric-predictor", r"$P^{\top} = P$", Equation(P.T, P))


def _learnt(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    root, predictor = draw.positive(), draw.symmetric(rows)
    encoder = predictor * draw.orthonormal_rows(rows, columns) * (1 / root)
    values = {W: encoder, P: predictor, Sigma_x: eye(columns), Sigma_yx: draw.matrix(columns, columns)}
    return Instance({k: rows, d: columns}, values, {alpha: root * root})


LEARNT = Theorem(
    name="learnt-predictor-entry",
    title="The learnt, balanced predictor is the square root of the embedding covariance",
    chapter=2,
    statement=(
        r"On white inputs a balanced symmetric predictor satisfies $P^2 = \alpha\Phi$; if it is positive semidefinite,"
        r" $P = g(\Phi)$ with $g = \sqrt{\alpha s}$. Its repulsive *term* is $\alpha$ times that of the spectral contrastive"
        r" loss, its whole *force* $P$ times the residual of the DirectPred entry (up to $\alpha$)."
    ),
    assumptions=(BALANCED, WHITENED, SYMMETRIC_PREDICTOR),
    proof=(
        Step(
            Equality(P.T * P, alpha * Phi),
            r"Balance, with $\Phi = W W^{\top}$ on white inputs.",
            uses=("balanced", "whitened"),
        ),
        Step(
            Equality(squared_norm(P), alpha * tr(Phi)),
            r"In the trace: the predictor's squared norm is $\alpha$ times the embeddings' variance.",
            uses=("balanced", "whitened"),
            conclusion=True,
        ),
        Step(
            Equality(P * P * W * Sigma_x, alpha * W * W.T * W),
            r"With $P^{\top} = P$: $P^2 = \alpha\Phi$, and the repulsive term is the contrastive one. The positive root is unique.",
            uses=("balanced", "whitened", "symmetric-predictor"),
            conclusion=True,
        ),
        Step(
            Equality(P.T * W * Sigma_yx - P.T * P * W * Sigma_x, P * (W * Sigma_yx - P * W * Sigma_x)),
            r"The force is the predictor times the residual.",
            uses=("symmetric-predictor",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "predictor-is-the-covariance",
            "exchange",
            r"claim $P = \alpha\Phi$ of the repulsive term, $P^2 W = \alpha^2 \Phi^2 W$",
            Equality(P * P * W * Sigma_x, alpha**2 * W * W.T * W * W.T * W),
            uses=("whitened",),
        ),
        FalseSibling(
            "force-without-predictor",
            "omission",
            "claim the residual itself for the force",
            Equality(P.T * W * Sigma_yx - P.T * P * W * Sigma_x, W * Sigma_yx - P * W * Sigma_x),
            uses=("symmetric-predictor",),
        ),
    ),
    witnesses=(
        Witness(
            "balanced",
            Instance(
                {k: 1, d: 1},
                {W: matrix([[1]]), P: matrix([[2]]), Sigma_x: eye(1), Sigma_yx: matrix([[1]])},
                {alpha: 1},
            ),
        ),
        Witness(
            "whitened",
            Instance(
                {k: 1, d: 1},
                {W: matrix([[1]]), P: matrix([[1]]), Sigma_x: matrix([[2]]), Sigma_yx: matrix([[1]])},
                {alpha: 1},
            ),
        ),
        Witness(
            "symmetric-predictor",
            Instance(
                {k: 2, d: 2},
                {W: eye(2), P: matrix([[0, 1], [-1, 0]]), Sigma_x: eye(2), Sigma_yx: eye(2)},
                {alpha: 1},
            ),
        ),
    ),
    instances=_learnt,
    sources=(Source("ours"), Source("tian2021", "Theorem 1, Theorem 3", "balance and alignment of eigenspaces")),
    belief="The learnt predictor is the covariance of the embeddings.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, 0.6]))\n"
        "path = LinearJEPA(views).solve(0.5 * np.eye(2), 0.5 * np.eye(2), times=[0.0, 20.0])\n"
        "assert np.allclose(path.predictor[1] @ path.predictor[1], path.encoder[1] @ path.encoder[1].T)"
    ),
)

start = sp.Symbol("s_0", real=True)
lam, sig = sp.symbols("lambda sigma", real=True)
ESCAPE_TIME = (
    (1 / start - 1 / s) / lam + sig / lam**2 * sp.log(s * (lam - sig * start) / (start * (lam - sig * s)))
) / 2
INSIDE = Assumption(
    "below-the-optimum",
    r"$0 < s_0 < s < \rho$: the mode has grown and is still below its optimum",
    Inequality(sp.And(start > 0, s > start, sig * s < lam)),
)
POSITIVE_VARIANCE = Assumption("positive-variance", r"$\sigma > 0$", Inequality(sig > 0))


def _growing(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    variance, low = draw.positive(), draw.positive()
    high = low + draw.positive()
    return Instance(scalars={sig: variance, start: low, s: high, lam: variance * high + draw.positive()})


ORIGIN = Theorem(
    name="preconditioned-origin",
    title="The preconditioning makes the repelling origin of the contrastive loss sticky",
    chapter=2,
    statement=(
        r"One mode with $P = \Phi$, embedding variance $s = \sigma w^2$. Residual form ($\frac14$ of the spectral contrastive"
        r" descent): $\dot s = 2s(\lambda - \sigma s)$, leaving $s_0$ in time logarithmic in $1/s_0$. JEPA form:"
        r" $\dot s = 2s^2(\lambda - \sigma s)$, leaving in time at least $(1/s_0 - 1/s)/(2\lambda) \sim \varepsilon^{-2}$ for"
        r" $w_0 = \varepsilon$: where $g(0) = 0$ the same field, preconditioned, no longer repels to first order."
    ),
    assumptions=(INSIDE, POSITIVE_VARIANCE),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(ESCAPE_TIME, s) * 2 * s**2 * (lam - sig * s), sp.S.One),
            r"The time $t(s) = \frac12 \left[\frac{1}{\lambda}\left(\frac1{s_0} - \frac1s\right) + \frac{\sigma}{\lambda^2}"
            r" \ln\frac{s(\lambda - \sigma s_0)}{s_0(\lambda - \sigma s)}\right]$ to reach $s$ from $s_0$ inverts the JEPA form.",
        ),
        Step(
            Implication(s * (lam - sig * start) > start * (lam - sig * s)),
            "The argument of the logarithm exceeds one, so that the algebraic term is a lower bound for the time.",
            uses=("below-the-optimum", "positive-variance"),
            conclusion=True,
        ),
        Step(
            Implication(2 * s * (lam - sig * s) > 0),
            "The residual form grows at once, at a rate proportional to the mode itself.",
            uses=("below-the-optimum", "positive-variance"),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(
                sp.Derivative(sp.log(s * (lam - sig * start) / (start * (lam - sig * s))) / (2 * lam), s)
                * 2
                * s
                * (lam - sig * s),
                sp.S.One,
            ),
            "Its time is the logarithm alone.",
        ),
    ),
    siblings=(
        FalseSibling(
            "first-power",
            "constant",
            r"claim the same time for $\dot s = 2s(\lambda - \sigma s)$",
            ScalarIdentity(sp.Derivative(ESCAPE_TIME, s) * 2 * s * (lam - sig * s), sp.S.One),
        ),
        FalseSibling(
            "upper-bound",
            "sign",
            "claim the opposite sign of the logarithm",
            Implication(s * (lam - sig * start) < start * (lam - sig * s)),
            uses=("below-the-optimum", "positive-variance"),
        ),
    ),
    witnesses=(
        Witness("below-the-optimum", Instance(scalars={sig: 1, start: 2, s: 3, lam: 1})),
        Witness("positive-variance", Instance(scalars={sig: -2, start: 1, s: 2, lam: -3})),
    ),
    instances=_growing,
    sources=(Source("ours"),),
    belief="If two methods share a potential they share its dynamics.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair, DICTIONARY\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1)); start = 0.1 * np.eye(1)\n"
        "byol, residual = (LinearJEPA(views, predictor=DICTIONARY['spectral-contrastive'], force=f) for f in ('byol', 'residual'))\n"
        "assert byol.solve(start, None, [0.0, 9.0]).encoder[1] < 0.2 < residual.solve(start, None, [0.0, 9.0]).encoder[1]"
    ),
)

THEOREMS = (LEARNT, ORIGIN)
