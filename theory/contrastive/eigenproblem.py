"""One eigenproblem, different scales: what the methods select, and how large they make it (result 1.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Implication, ScalarIdentity
from jepalign.theory.contrastive.infonce import tau
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, StopGradient, SymmetricSymbol, identity, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, Phi, Sigma_x, W, correlation, cross, d, k, variance, w

C: Any = SymmetricSymbol("C", d)
Lam: Any = SymmetricSymbol(r"\Lambda", k)
N: Any = sp.MatrixSymbol("N", k, k)
u: Any = sp.MatrixSymbol("u", k, 1)
root, magnitude, inverse, weight = sp.symbols("a ell v t", real=True)
kept = sp.Symbol(r"\lambda_+", real=True)
spectral, dotted, euclidean, white, twins, learnt = sp.symbols("t_S t_D t_E t_C t_B w_J", real=True)

K: Any = Named("K", W * C * W.T)
SPECTRAL_LOSS = -2 * tr(K) + tr(Phi * Phi)
LAGRANGIAN = -2 * tr(K) + 2 * tr(Lam * (Phi - identity(k)))
PREDICTION_LOSS = tr(P * Phi * P.T) / 2 - tr(P * W * C * StopGradient(W).T)

CRITICAL = Assumption(
    "critical",
    r"$W$ is critical, which for each of the methods means $W C = N W \Sigma$ with its own $N$",
    Equation(W * C, N * W * Sigma_x),
)
LEFT_EIGENVECTOR = Assumption(
    "left-eigenvector", r"$N^{\top} u = \rho u$: a direction of the embedding", Equation(N.T * u, correlation * u)
)
POSITIVE_VARIANCE = Assumption("positive-variance", r"$\sigma > 0$ on the mode", Inequality(variance > 0))


def _least(loss: Any, at: Any, letter: Any = weight) -> Any:
    """Return: ``loss`` is larger at every other admissible value of its letter."""
    return sp.And(at >= 0, sp.Implies(sp.Ne(letter, at), loss > loss.subs(letter, at)))


CLIPPED: tuple[Any, ...] = (kept >= 0, kept >= cross, sp.Eq(kept * (kept - cross), 0))
ADMISSIBLE: tuple[Any, ...] = (weight >= 0, tau > 0)

SPECTRAL_MODE = -2 * cross * weight + variance**2 * weight**2
DOTTED_MODE = -2 * tau * cross * weight + variance**2 * weight**2  # times 2τ²
TWINS_MODE = (cross * weight - 1) ** 2
JEPA_MODE = -4 * root * magnitude * w**3 + 3 * root**2 * variance * w**4  # times 12
EUCLIDEAN_SLOPE = (
    2 * (1 - correlation) * (tau + variance * weight) ** 2 - tau * (tau + variance * weight) - tau**2
)  # positive factor dropped, see euclidean-infonce

SPECTRAL_SCALE: tuple[Any, ...] = (*ADMISSIBLE, *CLIPPED, sp.Eq(variance**2 * spectral, kept))
DOTTED_SCALE: tuple[Any, ...] = (*ADMISSIBLE, *CLIPPED, sp.Eq(variance**2 * dotted, tau * kept))
EUCLIDEAN_SCALE: tuple[Any, ...] = (
    *ADMISSIBLE,
    inverse > 0,
    inverse < 1,
    sp.Eq(inverse**2 + inverse, 2 * (1 - correlation)),
    sp.Eq(variance * euclidean * inverse, tau * (1 - inverse)),
)
TWINS_SCALE: tuple[Any, ...] = (*ADMISSIBLE, cross > 0, sp.Eq(cross * twins, 1))
SIDE: tuple[Any, ...] = (w >= 0, root > 0, magnitude >= 0, sp.Eq(magnitude**2, cross**2))
WHITENED_LOSS: Any = sp.Eq(2 * (variance - variance * correlation) * white, 2 * (1 - correlation))
LEARNT_SCALE: Any = sp.Eq(root**2 * variance**2 * learnt**2, cross**2)
JEPA_SCALE: tuple[Any, ...] = (*SIDE, sp.Eq(root * variance * learnt, magnitude))


def _critical(rng: random.Random, size: int) -> Instance:
    """Draw a square W and W C = N W Σ with a rational eigenvector u, from Φ = G = HHᵀ and K = HODOᵀHᵀ, O orthogonal."""
    draw = Draw(rng)
    rows = rng.randint(1, size)
    half, encoder = draw.invertible(rows), draw.invertible(rows)
    basis, values = draw.orthogonal(rows), [draw.number() for _ in range(rows)]
    gram = half * half.transpose()
    spread = matrix([[values[i] if i == q else 0 for q in range(rows)] for i in range(rows)])
    joint = half * basis * spread * basis.transpose() * half.transpose()
    back = encoder.inv()
    operator = joint * gram.inv()
    matrices = {
        W: encoder,
        Sigma_x: back * gram * back.transpose(),
        C: back * joint * back.transpose(),
        N: operator,
        P: draw.matrix(rows, rows),
        Lam: draw.symmetric(rows),
        u: (half.inv().transpose()) * matrix([[basis[i, 0]] for i in range(rows)]),
    }
    return Instance({k: rows, d: rows}, matrices, {correlation: values[0]})


def _sampled(rng: random.Random, size: int) -> Instance:
    """Add the letters of one mode; its correlation is that of the matrices where they are not needed together."""
    draw = Draw(rng)
    found = _critical(rng, size)
    part, sigma, temperature, scale = (draw.positive() for _ in range(4))
    small = part / (part + draw.positive())
    rho = 1 - (small + small**2) / 2
    lam = rho * sigma
    if size == 1:  # W = w and C = ρΣ: one predictable mode
        unit = eye(1)
        found = Instance(
            {k: 1, d: 1},
            {W: unit, Sigma_x: unit, C: unit * rho, N: unit * rho, P: unit, Lam: unit, u: unit},
            {correlation: rho},
        )
    elif size % 2 == 0:
        lam = -lam
    clipped = max(lam, 0 * lam)
    return found.with_(
        scalars={
            variance: sigma,
            cross: lam,
            kept: clipped,
            magnitude: abs(lam),
            tau: temperature,
            root: scale,
            weight: draw.positive(),
            w: draw.positive(),
            inverse: small,
            spectral: clipped / sigma**2,
            dotted: temperature * clipped / sigma**2,
            euclidean: temperature * (1 / small - 1) / sigma,
            white: 1 / sigma,
            twins: 1 / lam,
            learnt: abs(lam) / (scale * sigma),
        }
    )


def _one(critical: int, rho: int, sigma: int) -> Instance:
    """Return W = Σ = N = 1 with C as given, and a mode whose only weight of note is the JEPA's."""
    letters = {letter: eye(1) for letter in (W, Sigma_x, N, P, Lam, u)} | {C: matrix([[critical]])}
    scalars = {correlation: rho, variance: sigma, cross: 1, magnitude: 1, root: 1, w: 1, learnt: sp.Rational(1, sigma)}
    return Instance({k: 1, d: 1}, letters, scalars)


ONE_EIGENPROBLEM = Theorem(
    name="one-eigenproblem",
    title="Contrastive losses, whitened alignment and the JEPA select by one eigenproblem and differ in scale",
    chapter=1,
    statement=(
        r"Let $\Sigma_x = \Sigma_y = \Sigma \succ 0$ and $C$ be symmetric. Critical points of the spectral contrastive loss,"
        r" of InfoNCE with dot products or Euclidean similarity (Gaussian views), of whitened alignment (CCA), and the"
        r" equilibria of a JEPA with $V = W$, invertible $P$ and no weight decay satisfy $W C = N W \Sigma$. The row space of"
        r" a $W$ of full rank is therefore spanned by solutions of the one problem $C v = \rho \Sigma v$."
        r" On an aligned mode the unique global minimum is at $w^2 = \max(\lambda, 0)/\sigma^2$ for SCL,"
        r" $\tau$ times that for dot products, $\tau(1/v - 1)/\sigma$ for Euclidean InfoNCE ($0 < \rho < 1$, $v^2 + v = 2(1 - \rho)$),"
        r" $1/\sigma$ under whitening,"
        r" and for a balanced JEPA, on each side of the origin on which $p$ has the sign of $\lambda$, at"
        r" $\lambda^2/(\alpha\sigma^2)$. The Barlow Twins loss in the form $(\lambda w^2 - 1)^2$ of [@simon2023] has it"
        r" at $1/\lambda$ where $\lambda > 0$. Of those without a constraint only the JEPA keeps modes with $\lambda < 0$."
    ),
    assumptions=(CRITICAL, LEFT_EIGENVECTOR, POSITIVE_VARIANCE),
    proof=(
        Step(
            Gradient(SPECTRAL_LOSS, W, 4 * (W * C - Phi * W * Sigma_x), named=r"L_{\mathrm{SCL}}"),
            r"Spectral contrastive: $N = \Phi$. Dot-product InfoNCE is the same at $W/\sqrt{\tau}$ (`gaussian-infonce`), so"
            r" $N = \Phi/\tau$; Euclidean InfoNCE has $N = I - \frac12 R - \frac12 R^2$ with $R = (I + \Phi/\tau)^{-1}$"
            r" (`euclidean-infonce`).",
            conclusion=True,
        ),
        Step(
            Gradient(LAGRANGIAN, W, 4 * (W * C - Lam * W * Sigma_x), named=r"\mathcal{L}_{\mathrm{CCA}}"),
            r"Whitened alignment, $\min \mathbb{E}\lVert z - z^{+} \rVert^2$ subject to $\Phi = I$, that is $\max"
            r" \operatorname{tr} K$: $N = \Lambda$, the symmetric multiplier of"
            r" $-2 \operatorname{tr} K + 2 \operatorname{tr} \Lambda(\Phi - I)$.",
            conclusion=True,
        ),
        Step(
            Gradient(PREDICTION_LOSS, W, P.T * (W * C - P * W * Sigma_x), named=r"L_{\mathrm{JEPA}}"),
            r"The JEPA: with $P$ invertible the force vanishes where $W C = P W \Sigma$, so $N = P$.",
            conclusion=True,
        ),
        Step(
            Equality(N * Phi, K),
            r"Multiply by $W^{\top}$. $K$ and $\Phi$ are symmetric, so for $W$ of full rank $N = K \Phi^{-1}$ is similar to the"
            r" symmetric $\Phi^{-1/2} K \Phi^{-1/2}$ and $\mathbb{R}^k$ has a basis of eigenvectors $u$ of $N^{\top}$, also where"
            r" $N$ itself is not symmetric.",
            uses=("critical",),
            conclusion=True,
        ),
        Step(
            Equality(C * W.T * u, correlation * Sigma_x * W.T * u),
            r"Transpose the equation and apply it to $u$: the direction $v = W^{\top} u$ that the embedding reads solves"
            r" the eigenproblem. The $v$ of a basis span the row space.",
            uses=("critical", "left-eigenvector"),
            conclusion=True,
        ),
        Step(
            Implication(_least(SPECTRAL_MODE, spectral), SPECTRAL_SCALE),
            r"Now the scales, with $t = w^2 \ge 0$, $\lambda_+ = \max(\lambda, 0)$, and the minima $t_S$ and so on."
            r" $L_{\mathrm{SCL}} = -2\lambda t + \sigma^2 t^2$ is a parabola with vertex $\lambda/\sigma^2$, cut off at the origin.",
            uses=("positive-variance",),
            conclusion=True,
        ),
        Step(
            Implication(_least(DOTTED_MODE, dotted), DOTTED_SCALE),
            r"$2\tau^2 L_{\mathrm{NCE}} = -2\tau\lambda t + \sigma^2 t^2$: the vertex moves by the factor $\tau$.",
            uses=("positive-variance",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(euclidean > 0, sp.Implies(sp.Ne(weight, euclidean), (weight - euclidean) * EUCLIDEAN_SLOPE > 0)),
                EUCLIDEAN_SCALE,
            ),
            r"Euclidean InfoNCE: its derivative in $t$ has this sign, negative before the optimum and positive after.",
            uses=("positive-variance",),
            conclusion=True,
        ),
        Step(
            Implication(
                sp.And(white > 0, WHITENED_LOSS),
                (sp.Eq(variance * white, 1),),
            ),
            r"Whitening leaves one weight, and the alignment loss $2(1 - \rho)$ that decides between modes.",
            uses=("positive-variance",),
            conclusion=True,
        ),
        Step(
            ScalarIdentity(sp.Derivative(JEPA_MODE / 12, w), -root * w * (magnitude - root * w * variance) * w),
            r"The balanced mode with $|p| = a|w|$, $a = \sqrt{\alpha}$, on the side where $p$ has the sign of $\lambda$, and"
            r" $\ell = |\lambda|$: the force $p(\lambda - p\sigma)w$ has the potential $-\frac{a\ell}{3} w^3 + \frac{a^2\sigma}{4}"
            r" w^4$.",
            conclusion=True,
        ),
        Step(
            Implication(sp.And(_least(JEPA_MODE, learnt, w), LEARNT_SCALE), JEPA_SCALE),
            r"It is least at $w = \ell/(a\sigma)$, that is $w^2 = \lambda^2/(\alpha\sigma^2)$ and $p = \rho$.",
            uses=("positive-variance",),
            conclusion=True,
        ),
        Step(
            Implication(_least(TWINS_MODE, twins), TWINS_SCALE),
            r"Barlow Twins: a square that vanishes at $t = 1/\lambda$ alone. The variance does not enter.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "negative-correlations",
            "quantifier",
            r"claim $w^2 = |\lambda|/\sigma^2$ for SCL at every sign of $\lambda$",
            Implication(
                _least(SPECTRAL_MODE, spectral),
                (*ADMISSIBLE, magnitude >= 0, sp.Eq(magnitude**2, cross**2), sp.Eq(variance**2 * spectral, magnitude)),
            ),
            uses=("positive-variance",),
        ),
        FalseSibling(
            "squared-temperature",
            "constant",
            r"scale $w^2$ by $\tau^2$",
            Implication(
                _least(DOTTED_MODE, dotted), (*ADMISSIBLE, *CLIPPED, sp.Eq(variance**2 * dotted, tau**2 * kept))
            ),
            uses=("positive-variance",),
        ),
        FalseSibling(
            "same-scale",
            "exchange",
            r"give the JEPA the weight of SCL, $\alpha\sigma^2 w^2 = |\lambda|$",
            Implication(
                _least(JEPA_MODE, learnt, w), (*SIDE, learnt >= 0, sp.Eq(root**2 * variance**2 * learnt**2, magnitude))
            ),
            uses=("positive-variance",),
        ),
        FalseSibling(
            "embedding-direction",
            "exchange",
            r"take $u$ for an eigenvector of $N$ instead of $N^{\top}$, that is, read $W^{\top} N u$ for $W^{\top} N^{\top} u$",
            Equality(C * W.T * u, Sigma_x * W.T * N * u),
            uses=("critical", "left-eigenvector"),
        ),
        FalseSibling(
            "cross-covariance-alone",
            "omission",
            r"drop $\Sigma$ from the eigenproblem",
            Equality(C * W.T * u, correlation * W.T * u),
            uses=("critical", "left-eigenvector"),
        ),
    ),
    witnesses=(
        Witness("critical", _one(2, 1, 1)),
        Witness("left-eigenvector", _one(1, 2, 1)),
        Witness("positive-variance", _one(1, 1, -1)),
    ),
    instances=_sampled,
    sources=(
        Source("ours", "", "the comparison, the scales of InfoNCE and of the balanced JEPA"),
        Source("hotelling1936", "", "the eigenproblem"),
        Source("tian2021", "Appendix D, equation 103", "the JEPA's fixed points"),
        Source("haochen2021", "Section 3", "SCL"),
        Source("simon2023", "Proposition 4.1", "Barlow Twins from an aligned start"),
    ),
    belief="A different loss learns different features.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(2 * np.eye(1), 2 * np.eye(1), 1.2 * np.eye(1))\n"
        "path = LinearJEPA(views, predictor_rate=0.5).solve(np.eye(1), np.sqrt(0.5) * np.eye(1), times=[0.0, 60.0])\n"
        "assert np.isclose(path.encoder[1, 0, 0] ** 2, 1.2**2 / (0.5 * 2**2))"
    ),
)

THEOREMS = (ONE_EIGENPROBLEM,)
