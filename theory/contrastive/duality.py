"""The contrastive side: what the map of chapter 2 maps to (results 1.1 and 1.2)."""

import random
from typing import Any

from jepalign.theory.claims import Equality
from jepalign.theory.exact import Instance, matrix
from jepalign.theory.expressions import identity, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, T, Z, batch_K, batch_Phi, k, m


def batch(rng: random.Random, size: int) -> Instance:
    """Draw embeddings of a symmetrised batch: Z (k × m) and the pairing T."""
    draw = Draw(rng)
    rows = rng.randint(1, size)
    return Instance({k: rows, m: 2 * size}, {Z: draw.matrix(rows, 2 * size), T: draw.pairing(size)})


PAIRED = Assumption(
    "paired",
    r"every embedding of the batch is the partner of exactly one other, of the same encoder: $T T^{\top} = I$",
    Equation(T * T.T, identity(m)),
)

# A target twice as long as the context's embedding, as from a second encoder: every view still has one partner.
UNPAIRED = Instance({k: 1, m: 2}, {Z: matrix([[1, 2]]), T: matrix([[0, 2], [2, 0]])})

SPECTRAL_LOSS: Any = -2 * tr(batch_K) + squared_norm(Z.T * Z) / m**2

DUALITY = Theorem(
    name="duality",
    title="Repelling samples and decorrelating dimensions are one penalty",
    chapter=1,
    statement=(
        r"For a batch of embeddings $Z \in \mathbb{R}^{k \times m}$ with second moment $\Phi = Z Z^{\top}/m$, the mean"
        r" squared dot product over all ordered pairs of samples equals the squared Frobenius norm of $\Phi$:"
        r" $\frac{1}{m^2} \sum_{i,j} (z_i^{\top} z_j)^2 = \operatorname{tr} \Phi^2$."
        r" [@garrido2022, Theorem 3.3] state it with the diagonals removed."
    ),
    assumptions=(),
    proof=(
        Step(
            Equality(squared_norm(Z.T * Z) / m**2, tr(batch_Phi * batch_Phi)),
            r"The left side sums the squared entries of the Gram matrix $Z^{\top} Z$. Rotating the factor $Z$ around the"
            r" trace turns $\operatorname{tr} Z^{\top} Z Z^{\top} Z$ into $\operatorname{tr} Z Z^{\top} Z Z^{\top}$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "first-power-of-m",
            "constant",
            "divide the sum over pairs by $m$ instead of $m^2$",
            Equality(squared_norm(Z.T * Z) / m, tr(batch_Phi * batch_Phi)),
        ),
        FalseSibling(
            "square-of-trace",
            "exchange",
            r"replace $\operatorname{tr} \Phi^2$ by $(\operatorname{tr} \Phi)^2$",
            Equality(squared_norm(Z.T * Z) / m**2, tr(batch_Phi) ** 2),
        ),
    ),
    witnesses=(),
    instances=batch,
    sources=(Source("garrido2022", "Theorem 3.3"),),
    belief="Contrastive methods need negatives and decorrelation methods do something else.",
    example=(
        "import numpy as np\n"
        "z = np.random.default_rng(0).normal(size=(100, 8))\n"
        "pairs = np.mean((z @ z.T) ** 2)\n"
        "moment = np.linalg.norm(z.T @ z / len(z)) ** 2\n"
        "assert np.isclose(pairs, moment)"
    ),
)

SPECTRAL_SPLIT = Theorem(
    name="spectral-split",
    title="The spectral contrastive loss is alignment plus uniformity, without remainder",
    chapter=1,
    statement=(
        r"On a batch whose pairs come from one encoder, the spectral contrastive loss of [@haochen2021],"
        r" $L_{\mathrm{SCL}} = -2\,\mathbb{E}\, z^{\top} z^{+} + \mathbb{E}\,(z^{\top} z^{-})^2$, equals"
        r" $\mathbb{E} \lVert z - z^{+} \rVert^2 + \lVert \Phi - I \rVert^2 - k$."
    ),
    assumptions=(PAIRED,),
    proof=(
        Step(
            Equality(
                SPECTRAL_LOSS,
                squared_norm(Z - Z * T) / m + squared_norm(batch_Phi - identity(k)) - k,
            ),
            r"Expand both squares. The pairing preserves the norm, so $\lVert Z - ZT \rVert^2/m = 2 \operatorname{tr}\Phi -"
            r" 2 \operatorname{tr} K$; the term $2\operatorname{tr}\Phi$ cancels against the cross term of"
            r" $\lVert \Phi - I \rVert^2 = \operatorname{tr}\Phi^2 - 2\operatorname{tr}\Phi + k$; the negatives are"
            r" $\operatorname{tr}\Phi^2$ by duality.",
            uses=("paired",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "half-alignment",
            "constant",
            "halve the alignment term",
            Equality(SPECTRAL_LOSS, squared_norm(Z - Z * T) / (2 * m) + squared_norm(batch_Phi - identity(k)) - k),
            uses=("paired",),
        ),
        FalseSibling(
            "constant-of-other-sign",
            "sign",
            "add $k$ instead of subtracting it",
            Equality(SPECTRAL_LOSS, squared_norm(Z - Z * T) / m + squared_norm(batch_Phi - identity(k)) + k),
            uses=("paired",),
        ),
    ),
    witnesses=(Witness("paired", UNPAIRED),),
    instances=batch,
    sources=(
        Source("haochen2021", "Section 3", "the loss"),
        Source("wang2020", "Theorem 1", "the two terms, on the sphere"),
    ),
    belief="Alignment minus uniformity is a metaphor for what contrastive losses do.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0)\n"
        "z, zp = rng.normal(size=(2, 50, 4)); a, b = np.vstack([z, zp]), np.vstack([zp, z])\n"
        "loss = -2 * np.mean(np.sum(a * b, 1)) + np.mean((a @ a.T) ** 2)\n"
        "assert np.isclose(loss, np.mean(np.sum((a - b) ** 2, 1)) + np.linalg.norm(a.T @ a / 100 - np.eye(4)) ** 2 - 4)"
    ),
)

THEOREMS = (DUALITY, SPECTRAL_SPLIT)
