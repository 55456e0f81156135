"""What the implicit repulsion delivers: the power identity and the stop-gradient's share of it (2.4 and 2.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Gradient
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, StopGradient, squared_norm, tr
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, K, P, Phi, Sigma_x, Sigma_yx, T, W, X, Y, Z, Zbar, d, eta, k, m

moment: Any = Named(r"\Phi", Z * Z.T / m)
target_cross: Any = Named("K", Zbar * Z.T / m)
paired_cross: Any = Named("K", Z * T * Z.T / m)


def surplus_power(target: sp.MatrixExpr) -> sp.Expr:
    """Return tr(F_u Zᵀ) per sample: the JEPA force Pᵀ(z⁺ − Pz) less the alignment force z⁺ − z, contracted with z."""
    return tr((P.T * (target - P * Z) - (target - Z)) * Z.T) / m


CORRECTION: Any = tr(P.T * (target_cross - P * moment))
ALIGNMENT: Any = squared_norm(Z - Zbar) / (2 * m)
ASYMMETRY = (squared_norm(Z) - squared_norm(Zbar)) / (2 * m)


def _embeddings(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows = rng.randint(1, size)
    values = {Z: draw.matrix(rows, size + 1), Zbar: draw.matrix(rows, size + 1), P: draw.matrix(rows, rows)}
    return Instance({k: rows, m: size + 1}, values)


ANY_PREDICTOR = Theorem(
    name="power-identity-any-predictor",
    title="The power of the implicit repulsion, for any predictor and any target",
    chapter=2,
    statement=(
        r"For any embeddings $z$, any targets $\bar z$ and any linear predictor $P$, the surplus force"
        r" $F_u = P^{\top}(\bar z - P z) - (\bar z - z)$ has the power $\mathbb{E}\, F_u^{\top} z ="
        r" \frac12 \mathbb{E}\lVert z - \bar z \rVert^2 + \frac12 (\mathbb{E}\lVert z \rVert^2 - \mathbb{E}\lVert \bar z \rVert^2)"
        r" + \operatorname{tr} P^{\top}(K - P\Phi)$ with $K = \mathbb{E}\, \bar z z^{\top}$: alignment, an asymmetry between the"
        r" encoders, and a term that vanishes for the optimal predictor. No assumption on encoder, data or distribution."
    ),
    assumptions=(),
    proof=(
        Step(
            Equality(surplus_power(Zbar), CORRECTION - tr(target_cross) + tr(moment)),
            r"Take expectations: $\bar z z^{\top}$ becomes $K$ and $z z^{\top}$ becomes $\Phi$.",
        ),
        Step(
            Equality(tr(moment) - tr(target_cross), ALIGNMENT + ASYMMETRY),
            r"Expand $\lVert z - \bar z \rVert^2$.",
        ),
        Step(
            Equality(surplus_power(Zbar), ALIGNMENT + ASYMMETRY + CORRECTION),
            "Together.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "whole-alignment",
            "constant",
            r"drop the factor $\frac12$ of alignment",
            Equality(surplus_power(Zbar), 2 * ALIGNMENT + ASYMMETRY + CORRECTION),
        ),
        FalseSibling(
            "asymmetry-reversed",
            "sign",
            "exchange the two encoders in the asymmetry",
            Equality(surplus_power(Zbar), ALIGNMENT - ASYMMETRY + CORRECTION),
        ),
        FalseSibling(
            "correction-forgotten",
            "omission",
            "claim it without the last term for every predictor",
            Equality(surplus_power(Zbar), ALIGNMENT + ASYMMETRY),
        ),
        FalseSibling(
            "predictor-not-transposed",
            "exchange",
            r"write $P$ for $P^{\top}$ in the correction",
            Equality(surplus_power(Zbar), ALIGNMENT + ASYMMETRY + tr(P * (target_cross - P * moment))),
        ),
    ),
    witnesses=(),
    instances=_embeddings,
    sources=(Source("ours"),),
    belief="How strongly a JEPA repels cannot be measured without knowing its predictor's training.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import power_gap\n"
        "rng = np.random.default_rng(0); z, target = rng.normal(size=(2, 200, 6))\n"
        "found = power_gap(z, target, rng.normal(size=(6, 6)))\n"
        "assert abs(found.gap) < 1e-12 * (1 + abs(found.power))"
    ),
)

PAIRED = Assumption(
    "one-encoder",
    r"targets are the partners' embeddings under the same encoder, on a symmetrised batch: $\bar Z = Z T$, $T T^{\top} = I$",
    Equation(T * T.T, sp.Identity(m)),
)
OPTIMAL = Assumption(
    "optimal-predictor",
    r"the predictor is optimal: $P\Phi = K$ (least squares; for a nonlinear one, the conditional mean)",
    Equation(P * Z * Z.T, Z * T * Z.T),
)


def _optimal(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    while True:
        rows = rng.randint(1, size)
        embeddings, pairing = draw.matrix(rows, 2 * size), draw.pairing(size)
        gram = embeddings * embeddings.transpose()
        if gram.det() != 0:
            predictor = embeddings * pairing * embeddings.transpose() * gram.inv()
            return Instance({k: rows, m: 2 * size}, {Z: embeddings, T: pairing, P: predictor})


POWER_IDENTITY = Theorem(
    name="power-identity",
    title="The power of the implicit repulsion equals the alignment loss",
    chapter=2,
    statement=(
        r"On a symmetrised batch of one encoder (any encoder, any data, any distribution) with the optimal predictor,"
        r" $\operatorname{tr}(F_u W^{\top}) = \mathbb{E}\, F_u^{\top} z = \frac12 \mathbb{E}\lVert z - z^{+} \rVert^2$: what alignment"
        r" takes out of the embeddings, the predictor puts back."
    ),
    assumptions=(PAIRED, OPTIMAL),
    proof=(
        Step(
            Equality(tr(P.T * (paired_cross - P * moment)), sp.S.Zero),
            r"For the optimal predictor the residual is uncorrelated with the embedding.",
            uses=("optimal-predictor",),
        ),
        Step(
            Equality(squared_norm(Z * T), squared_norm(Z)),
            "Partners have the same second moment, so that there is no asymmetry.",
            uses=("one-encoder",),
        ),
        Step(
            Equality(surplus_power(Z * T), squared_norm(Z - Z * T) / (2 * m)),
            "The general identity with both.",
            uses=("one-encoder", "optimal-predictor"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "quarter",
            "constant",
            r"claim $\frac14 \mathbb{E}\lVert z - z^{+} \rVert^2$, the weight of alignment in the dictionary",
            Equality(surplus_power(Z * T), squared_norm(Z - Z * T) / (4 * m)),
            uses=("one-encoder", "optimal-predictor"),
        ),
        FalseSibling(
            "prediction-loss",
            "exchange",
            r"exchange the alignment loss for the prediction loss",
            Equality(surplus_power(Z * T), squared_norm(P * Z - Z * T) / (2 * m)),
            uses=("one-encoder", "optimal-predictor"),
        ),
        FalseSibling(
            "sign",
            "sign",
            "claim that the predictor contracts",
            Equality(surplus_power(Z * T), -squared_norm(Z - Z * T) / (2 * m)),
            uses=("one-encoder", "optimal-predictor"),
        ),
    ),
    witnesses=(
        # A target twice as long: P = 2·4/5 is optimal for it, but partners are no longer equally long.
        Witness(
            "one-encoder",
            Instance({k: 1, m: 2}, {Z: matrix([[1, 2]]), T: matrix([[0, 2], [2, 0]]), P: matrix([["8/5"]])}),
        ),
        Witness(
            "optimal-predictor",
            Instance({k: 1, m: 2}, {Z: matrix([[1, 2]]), T: matrix([[0, 1], [1, 0]]), P: matrix([["1/2"]])}),
        ),
    ),
    instances=_optimal,
    sources=(Source("ours"),),
    belief="Implicit uniformity is a tendency, not a quantity.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import power_gap\n"
        "rng = np.random.default_rng(0); z, z_plus = np.tanh(rng.normal(size=(2, 200, 6)))\n"
        "found = power_gap(z, z_plus, symmetrize=True)  # the least-squares predictor\n"
        "assert np.isclose(found.power, found.alignment)"
    ),
)

AT_REST = Assumption(
    "at-rest",
    r"the encoder is at rest under weight decay, $P^{\top}(W \Sigma_{yx} - P W \Sigma_x) = \eta W$",
    Equation(P.T * W * Sigma_yx, eta * W + P.T * P * W * Sigma_x),
)


def _at_rest(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows = rng.randint(1, size)
    encoder, predictor = draw.invertible(rows), draw.invertible(rows)
    covariance, decay = draw.positive_definite(rows), draw.positive()
    force = encoder * decay + predictor.transpose() * predictor * encoder * covariance
    both = (predictor.transpose() * encoder).inv() * force
    values = {W: encoder, P: predictor, Sigma_x: covariance, Sigma_yx: both}
    return Instance({k: rows, d: rows}, values, {eta: decay})


DECAYED_POWER = Theorem(
    name="decayed-power",
    title="At an equilibrium with weight decay the correction is the decay itself",
    chapter=2,
    statement=(
        r"If the encoder is at rest under weight decay $\eta$, with $V = W$, the last term of the power identity is"
        r" $\operatorname{tr} P^{\top}(K - P\Phi) = \eta \lVert W \rVert^2$: the implicit repulsion then carries alignment and decay."
    ),
    assumptions=(AT_REST,),
    proof=(
        Step(
            Equality(tr(P.T * (K - P * Phi)), eta * squared_norm(W)),
            r"Contract the condition of rest with $W^{\top}$.",
            uses=("at-rest",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "norm-of-the-embedding",
            "exchange",
            r"exchange $\lVert W \rVert^2$ for $\operatorname{tr}\Phi$",
            Equality(tr(P.T * (K - P * Phi)), eta * tr(Phi)),
            uses=("at-rest",),
        ),
        FalseSibling(
            "vanishes",
            "omission",
            "claim that the correction vanishes at every equilibrium",
            Equality(tr(P.T * (K - P * Phi)), sp.S.Zero),
            uses=("at-rest",),
        ),
    ),
    witnesses=(
        Witness(
            "at-rest",
            Instance(
                {k: 1, d: 1},
                {W: matrix([[1]]), P: matrix([[1]]), Sigma_x: matrix([[1]]), Sigma_yx: matrix([[1]])},
                {eta: 1},
            ),
        ),
    ),
    instances=_at_rest,
    sources=(Source("ours"),),
    belief="At equilibrium repulsion and alignment cancel.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "views = ViewPair.from_covariances(np.eye(1), np.eye(1), 0.8 * np.eye(1))\n"
        "path = LinearJEPA(views, weight_decay=0.05).solve(np.eye(1), np.eye(1), [0.0, 400.0])\n"
        "w, p = path.encoder[1, 0, 0], path.predictor[1, 0, 0]\n"
        "assert np.isclose(p * (0.8 * w**2 - p * w**2), 0.05 * w**2)"
    ),
)

# -- 2.5 ------------------------------------------------------------------------------------------------------------------


def _prediction_loss(target: sp.MatrixExpr) -> sp.Expr:
    return squared_norm(P * W * X - target * Y) / (2 * m)


RESIDUAL: Any = W * Y - P * W * X
NORMAL_EQUATION = Assumption(
    "optimal-predictor",
    r"the predictor is the least-squares one, $P \Phi = K$",
    Equation(P * W * X * X.T * W.T, W * Y * X.T * W.T),
)


def _regression(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    while True:
        rows, columns = draw.sizes(size)
        encoder, context, target = (
            draw.matrix(rows, columns),
            draw.matrix(columns, size + 2),
            draw.matrix(columns, size + 2),
        )
        embedded = encoder * context
        gram = embedded * embedded.transpose()
        if gram.det() != 0:
            predictor = encoder * target * embedded.transpose() * gram.inv()
            values = {W: encoder, X: context, Y: target, P: predictor}
            return Instance({k: rows, d: columns, m: size + 2}, values)


STOP_GRADIENT_REPULSION = Theorem(
    name="stop-gradient-repulsion",
    title="The stop-gradient repels by the variance that is not predicted",
    chapter=2,
    statement=(
        r"For a linear encoder that embeds both views, on samples $X, Y$, the stop-gradient changes the descent of the prediction"
        r" loss by $\mathbb{E} [(W y - P W x) y^{\top}]$; for exchangeable views this is $W \Sigma - P W C$. With the least-squares"
        r" predictor its contraction with $W^{\top}$ is the covariance of the residual, positive semidefinite: it pushes outward by"
        r" the variance that is not predicted. Linear case of [@mikulasch2026, (54)]."
    ),
    assumptions=(NORMAL_EQUATION,),
    proof=(
        Step(
            Gradient(
                _prediction_loss(StopGradient(W)) - _prediction_loss(W),
                W,
                RESIDUAL * Y.T / m,
                named=r"(L_{\mathrm{sg}} - L)",
            ),
            r"The two descents differ by the gradient through the target, which the stop-gradient removes. This holds for every"
            r" predictor.",
            conclusion=True,
        ),
        Step(
            Equality(RESIDUAL * (P * W * X).T / m, sp.ZeroMatrix(k, k)),
            "The residual of least squares is orthogonal to the prediction.",
            uses=("optimal-predictor",),
        ),
        Step(
            Equality(RESIDUAL * Y.T * W.T / m, RESIDUAL * RESIDUAL.T / m),
            r"So $W y$ may be replaced by the residual: the contraction is its covariance.",
            uses=("optimal-predictor",),
            conclusion=True,
        ),
        Step(
            Dominates(RESIDUAL * Y.T * W.T / m, sp.ZeroMatrix(k, k), RESIDUAL / sp.sqrt(m)),
            "A covariance is a Gram matrix.",
            uses=("optimal-predictor",),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "context-instead-of-target",
            "exchange",
            r"contract with $x$ instead of $y$",
            Gradient(_prediction_loss(StopGradient(W)) - _prediction_loss(W), W, RESIDUAL * X.T / m),
        ),
        FalseSibling(
            "sign",
            "sign",
            "claim that the stop-gradient contracts",
            Gradient(_prediction_loss(StopGradient(W)) - _prediction_loss(W), W, -RESIDUAL * Y.T / m),
        ),
        FalseSibling(
            "twice",
            "constant",
            "claim twice the residual covariance",
            Equality(RESIDUAL * Y.T * W.T / m, 2 * RESIDUAL * RESIDUAL.T / m),
            uses=("optimal-predictor",),
        ),
    ),
    witnesses=(
        Witness(
            "optimal-predictor",
            Instance(
                {k: 1, d: 1, m: 1},
                {W: eye(1), X: eye(1), Y: eye(1), P: matrix([[2]])},
            ),
        ),
    ),
    instances=_regression,
    sources=(
        Source("mikulasch2026", "(54), (58)", "general encoders, entropies"),
        Source("ours", "", "the linear identity"),
    ),
    belief="Stop-gradient is an implementation detail that saves a backward pass.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); x = rng.normal(size=(500, 4)); y = 0.6 * x + 0.8 * rng.normal(size=(500, 4))\n"
        "W = rng.normal(size=(2, 4)); a, b = x @ W.T, y @ W.T\n"
        "P = np.linalg.lstsq(a, b, rcond=None)[0].T; residual = b - a @ P.T\n"
        "assert np.allclose(residual.T @ y @ W.T / 500, residual.T @ residual / 500)"
    ),
)

THEOREMS = (ANY_PREDICTOR, POWER_IDENTITY, DECAYED_POWER, STOP_GRADIENT_REPULSION)
