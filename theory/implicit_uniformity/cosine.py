"""What a cosine loss is in the dictionary: alignment at constant uniformity (after 2.0)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Gradient, Rate
from jepalign.theory.contrastive.duality import batch
from jepalign.theory.exact import Instance, eye, matrix, value_of
from jepalign.theory.expressions import StopGradient, squared_norm, tr
from jepalign.theory.implicit_uniformity.dictionary import SYMMETRISED, G, g, root
from jepalign.theory.proof import Assumption, FalseSibling, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, T, Z, batch_K, batch_Phi, k, m

overlap, length = sp.symbols("b a", real=True)
predictor: Any = StopGradient(g)

PARTNERS: Any = Z * T
SQUARE: Any = tr(Z.T * g * g * Z)
OVERLAP: Any = tr(PARTNERS.T * g * Z)
ISO: Any = SQUARE * PARTNERS - OVERLAP * (g * Z)
JEPA: Any = SQUARE * (g * PARTNERS) - OVERLAP * (g * g * Z)

SELF: Any = tr(Z.T * g * Z)
CUBE: Any = tr(Z.T * g * g * g * Z)
EQUALISER: Any = SQUARE * (g * Z) - SELF * (g * g * Z)

REPELLING = Assumption(
    "nonnegative-predictor",
    r"$g \ge 0$ on the spectrum of $\Phi$, so that $P = F F^{\top}$",
    Semidefinite(g, root, (g, root * root.T)),
)


def _batch(rng: random.Random, size: int) -> Instance:
    """Draw a batch and g = q² with its root at Φ."""
    draw = Draw(rng)
    instance = batch(rng, size)
    rows, (constant, linear) = instance.matrices[Z].nrows(), (draw.positive(), draw.number())
    factor = eye(rows) * constant + value_of(batch_Phi, instance) * linear
    scalars = {overlap: draw.positive(), length: draw.positive()}
    spectrum = (constant * constant, 2 * constant * linear, linear * linear)
    return Instance(instance.sizes, {**instance.matrices, root: factor}, scalars, {"g": spectrum})


def _pair(partner: list[list[int]], spectrum: tuple[int, ...], factor: list[list[int]]) -> Instance:
    """Return two embeddings in the plane, of unequal length."""
    values = {Z: matrix([[2, 0], [0, 1]]), T: matrix(partner), root: matrix(factor)}
    return Instance({k: 2, m: 2}, values, {overlap: 1, length: 1}, {"g": spectrum})


COSINE_CONSTRAINT = Theorem(
    name="cosine-constraint",
    title="A cosine loss keeps the uniformity constant and climbs alignment on its level set",
    chapter=2,
    statement=(
        r"Let $P = g(\Phi)$, $G' = g$, and take the cosine of a whole batch (or of one sample), $L = -\langle PZ,"
        r" \operatorname{sg}(Z^{+})\rangle / (\lVert PZ \rVert \lVert Z^{+} \rVert)$ with $Z^{+} = ZT$ the partners, $a ="
        r" \lVert PZ \rVert^2$, $b = \langle PZ, Z^{+} \rangle > 0$. Up to a positive factor its force is $P(a Z^{+} - b PZ)$."
        r" *Residual form* (IsoLoss), $\dot Z = a Z^{+} - b PZ$: this is the force of the dictionary's functional $-\frac12"
        r" \operatorname{tr} K + \frac{\mu}{2} \operatorname{tr} G(\Phi)$ in which $\mu = b/a$ is not a constant but the"
        r" Lagrange multiplier that keeps $\operatorname{tr} G(\Phi)$ as it is; so it is the gradient ascent of alignment"
        r" $\frac12 \operatorname{tr} K$ on a level set of the uniformity. *JEPA form* $\dot Z = P(a Z^{+} - b PZ)$: the"
        r" multiplier keeps the variance $\operatorname{tr}\Phi$ instead. Without augmentation, $Z^{+} = Z$ and $g \ge 0$, that"
        r" form is the equaliser $\lambda_m (a - b\lambda_m)$ of [@halvagal2023], and it descends $\operatorname{tr} G(\Phi)$"
        r" at constant variance, whose minimum is for increasing $g$ at $\Phi \propto I$ (by convexity). A cosine loss has the"
        r" uniformity of its Euclidean sister, at a scale fixed by the start. With one cosine for each sample every sample has"
        r" its own $\mu$, and we know no common potential."
    ),
    assumptions=(SYMMETRISED, REPELLING),
    proof=(
        Step(
            Gradient(
                -tr(StopGradient(PARTNERS).T * predictor * Z) / overlap
                + tr(Z.T * predictor * predictor * Z) / (2 * length),
                Z,
                g * PARTNERS / overlap - g * g * Z / length,
                named=r"(-\ln\cos)",
            ),
            r"The force of $-\ln\cos = -\ln b + \frac12 \ln a$ at frozen predictor and target, where $1/b$ and $1/a$ are values:"
            r" $\frac{1}{ab} P (a Z^{+} - b P Z)$.",
            conclusion=True,
        ),
        Step(
            Gradient(tr(batch_K) / 2, Z, -PARTNERS / m, named=r"\left[\frac12 \operatorname{tr} K\right]"),
            r"$Z^{+}$ is the gradient of alignment.",
            uses=("symmetrised",),
        ),
        Step(
            Gradient(tr(G) / 2, Z, -g * Z / m, named=r"\left[\frac12 \operatorname{tr} G(\Phi)\right]"),
            r"$PZ$ is that of the uniformity. So $Z^{+} - \frac{b}{a} PZ$ is the one gradient without its part along the other:"
            r" the projection to the level set.",
            conclusion=True,
        ),
        Step(
            Rate(tr(G), {Z: ISO}, sp.S.Zero, named=r"\left[\text{residual form: } \operatorname{tr} G(\Phi)\right]"),
            r"Indeed in residual form $\langle PZ, aZ^{+} - b PZ\rangle = ab - ba$.",
            conclusion=True,
        ),
        Step(
            Rate(
                tr(batch_K) / 2,
                {Z: ISO},
                (SQUARE * squared_norm(PARTNERS) - OVERLAP**2) / m,
                named=r"\left[\text{residual form: } \frac12 \operatorname{tr} K\right]",
            ),
            r"Alignment grows there by $a \lVert Z^{+} \rVert^2 - b^2$ (over $m$).",
            uses=("symmetrised",),
            conclusion=True,
        ),
        Step(
            Equality(SQUARE * (SQUARE * squared_norm(PARTNERS) - OVERLAP**2), squared_norm(ISO)),
            r"That is $\lVert \dot Z \rVert^2/a$: the rate of a gradient ascent, zero only where alignment is critical at its"
            r" uniformity.",
            conclusion=True,
        ),
        Step(
            Rate(squared_norm(Z), {Z: JEPA}, sp.S.Zero, named=r"\left[\text{JEPA form: } \lVert Z \rVert^2\right]"),
            r"With the factor $P$ the pairing is $\langle Z, P(aZ^{+} - bPZ) \rangle = ab - ba$: the variance stays. (A cosine does"
            r" not see the length of its argument.)",
            conclusion=True,
        ),
        Step(
            Rate(
                tr(G) / 2,
                {Z: EQUALISER},
                (SQUARE**2 - SELF * CUBE) / m,
                named=r"\left[Z^{+} = Z\text{, JEPA form: } \frac12 \operatorname{tr} G(\Phi)\right]",
            ),
            r"Without augmentation, $b = \langle PZ, Z \rangle$, the JEPA form moves the uniformity by this.",
            conclusion=True,
        ),
        Step(
            Equality(
                SELF * (SELF * CUBE - SQUARE**2),
                squared_norm(SELF * (root.T * g * Z) - SQUARE * (root.T * Z)),
            ),
            r"Cauchy and Schwarz, between $F^{\top} Z$ and $F^{\top} P Z$, give the sign: it falls unless $F^{\top} P Z$ is"
            r" proportional to $F^{\top} Z$, that is, unless the eigenvalues of $P$ that are not zero are equal.",
            uses=("nonnegative-predictor",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "forms-exchanged",
            "exchange",
            r"claim that the JEPA form keeps the uniformity",
            Rate(tr(G), {Z: JEPA}, sp.S.Zero),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "multiplier-one",
            "constant",
            r"take $\mu = 1$ as for the Euclidean loss",
            Rate(tr(G), {Z: PARTNERS - g * Z}, sp.S.Zero),
            uses=("symmetrised",),
        ),
        FalseSibling(
            "alignment-falls",
            "sign",
            "claim that alignment falls",
            Equality(SQUARE * (SQUARE * squared_norm(PARTNERS) - OVERLAP**2), -squared_norm(ISO)),
        ),
        FalseSibling(
            "equalises-nothing",
            "omission",
            "claim that without augmentation nothing moves",
            Rate(tr(G) / 2, {Z: EQUALISER}, sp.S.Zero),
        ),
    ),
    witnesses=(
        Witness("symmetrised", _pair([[0, 1], [0, 0]], (1,), [[1, 0], [0, 1]])),
        Witness("nonnegative-predictor", _pair([[0, 1], [1, 0]], (-1, 0, 1), [[1, 0], [0, 1]])),
    ),
    instances=_batch,
    sources=(
        Source("ours", "", "the multiplier, the level sets, the descent"),
        Source("halvagal2023", "", "the equaliser in eigenmodes, and IsoLoss"),
    ),
    belief="A cosine loss has no uniformity of its own, or one of another kind than the Euclidean loss.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); Z = rng.normal(size=(3, 8)); partners = Z[:, [1, 0, 3, 2, 5, 4, 7, 6]]\n"
        "G = lambda Z: np.sum((Z @ Z.T / 8) ** 2) / 2; P = Z @ Z.T / 8  # g(s) = s\n"
        "slope = lambda D: (G(Z + 1e-5 * D) - G(Z - 1e-5 * D)) / 2e-5\n"
        "multiplier = np.sum(P @ Z * partners) / np.sum((P @ Z) ** 2)\n"
        "assert abs(slope(partners - multiplier * P @ Z)) < 1e-8 < 1e-3 < abs(slope(partners - P @ Z))"
    ),
)

THEOREMS = (COSINE_CONSTRAINT,)
