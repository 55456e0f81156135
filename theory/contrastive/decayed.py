"""What weight decay does to the JEPA's eigenproblem: it becomes quadratic, and the residual's size is exact (result 1.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Equality, Implication
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, P, R, Sigma_x, Sigma_yx, W, alpha, correlation, d, eta, k, p

surd: Any = sp.Symbol("r", real=True)
u: Any = sp.MatrixSymbol("u", k, 1)

ENCODER_AT_REST = Assumption("encoder-at-rest", r"$P^{\top} R = \eta W$", Equation(P.T * R, eta * W))
PREDICTOR_AT_REST = Assumption("predictor-at-rest", r"$\alpha R W^{\top} = \eta P$", Equation(R * W.T, eta * P / alpha))
SQUARED_LOSS = Assumption(
    "squared-loss",
    r"the residual is that of a linear JEPA with $V = W$: $R = W \Sigma_{yx} - P W \Sigma_x$",
    Equation(W * Sigma_yx, R + P * W * Sigma_x),
)
SYMMETRIC = Assumption("symmetric-predictor", r"$P = P^{\top}$", Equation(P.T, P))
EIGENVECTOR = Assumption("eigenvector", r"$P u = p u$", Equation(P * u, p * u))
MODE = ("squared-loss", "encoder-at-rest", "symmetric-predictor", "eigenvector")

DIRECTION: Any = W.T * u  # v, what the embedding's direction u reads of the input
QUADRATIC: Any = p**2 * Sigma_x * DIRECTION + eta * DIRECTION


_COMPONENTS: tuple[Any, ...] = (
    sp.Eq(4 * 8 + 2 * (1 + surd), 10 * correlation * 8),
    sp.Eq(2 * 8 + 9 * (1 + surd), 20 * correlation * (1 + surd)),
    sp.Ne(1 + surd, 8),
)
CANONICAL = sp.And(*_COMPONENTS)


def _rest(
    encoder: Any, predictor: Any, residual: Any, covariance: Any, direction: Any, scalars: dict[Any, Any]
) -> Instance:
    """Choose Σ_yx so that the residual is the given one: W needs full rank."""
    target = residual + predictor * encoder * covariance
    cross = encoder.transpose() * (encoder * encoder.transpose()).inv() * target
    letters = {W: encoder, P: predictor, R: residual, Sigma_x: covariance, Sigma_yx: cross, u: direction}
    return Instance({k: encoder.nrows(), d: encoder.ncols()}, letters, scalars)


def _equilibrium(rng: random.Random, size: int) -> Instance:
    """Draw a symmetric invertible P with a rational eigenvector, W = PQ/√α with orthonormal rows Q, and R = ηP⁻¹W."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    basis, root, decay = draw.orthogonal(rows), draw.positive(), draw.positive()
    values = [draw.positive() * rng.choice([-1, 1]) for _ in range(rows)]
    spread = matrix([[values[i] if i == q else 0 for q in range(rows)] for i in range(rows)])
    rotation = draw.orthonormal_rows(rows, columns)
    predictor = basis * spread * basis.transpose()
    return _rest(
        predictor * rotation / root,
        predictor,
        rotation * (decay / root),
        draw.positive_definite(columns),
        matrix([[basis[i, 0]] for i in range(rows)]),
        {alpha: root**2, eta: decay, p: values[0], correlation: draw.number()},
    )


def _one(encoder: str, residual: str, rate: int, eigenvalue: int) -> Instance:
    scalars = {alpha: rate, eta: 1, p: eigenvalue, correlation: 1}
    return _rest(matrix([[encoder]]), eye(1), matrix([[residual]]), eye(1), eye(1), scalars)


ASKEW = matrix([[1, 1], [0, 2]])  # a predictor that is not symmetric; with α = η = 1, W = Pᵀ and R = I

JEPA_LEAVES = Theorem(
    name="jepa-leaves-eigenproblem",
    title="Weight decay makes the JEPA's eigenproblem quadratic, and its residual a multiple of an isometry",
    chapter=1,
    statement=(
        r"Let a linear head $W$ of any backbone and a linear predictor $P$ rest under any loss on the prediction, with"
        r" $R = -\partial L/\partial(PW)$ and weight decay $\eta > 0$: $P^{\top} R = \eta W$, $\alpha R W^{\top} = \eta P$. Then"
        r" $R R^{\top} P = \frac{\eta^2}{\alpha} P$: wherever $P$ is invertible all singular values of $R$ are"
        r" $\eta/\sqrt{\alpha}$. For a linear JEPA this says by how much it leaves the eigenproblem of the contrastive methods:"
        r" $\lVert W \Sigma_{yx} - P W \Sigma_x \rVert = \sqrt{k/\alpha}\, \eta$ for invertible $P$, whatever the data."
        r" With symmetric $P$ and $P u = p u$ the direction $v = W^{\top} u$ solves the *quadratic* problem"
        r" $(p^2 \Sigma_x - p\, \Sigma_{yx}^{\top} + \eta I)\, v = 0$. For $p \neq 0$ and $v \neq 0$ it also solves"
        r" $\Sigma_{yx}^{\top} v = \rho \Sigma_x v$ for some $\rho$ only if $v$ is an eigenvector of $\Sigma_x$ as well. It need"
        r" not be: $\Sigma_x = \operatorname{diag}(1, 2)$, $\Sigma_{yx} = \frac{1}{10}"
        r" \begin{pmatrix} 4 & 2 \\ 2 & 9 \end{pmatrix}$, $\alpha = \frac18$, $\eta = \frac{1}{20}$ has the equilibrium"
        r" $W = (1, 1)$, $P = \frac12$, and the eigenproblem the solutions $v = (8, 1 \pm \sqrt{33})$."
    ),
    assumptions=(ENCODER_AT_REST, PREDICTOR_AT_REST, SQUARED_LOSS, SYMMETRIC, EIGENVECTOR),
    proof=(
        Step(
            Equality(
                eta * (alpha * W * W.T - P.T * P),
                alpha * (eta * W - P.T * R) * W.T - P.T * (eta * P - alpha * R * W.T),
            ),
            r"An identity for any matrices. At rest both brackets on the right vanish, so an equilibrium with $\eta > 0$ is"
            r" balanced, $P^{\top} P = \alpha W W^{\top}$.",
            conclusion=True,
        ),
        Step(
            Equality(R * R.T * P, eta**2 / alpha * P),
            r"$R (R^{\top} P) = \eta R W^{\top} = \frac{\eta^2}{\alpha} P$: first the encoder is at rest, then the predictor."
            r" An invertible $P$ cancels.",
            uses=("encoder-at-rest", "predictor-at-rest"),
            conclusion=True,
        ),
        Step(
            Equality(Sigma_yx.T * W.T * P * u, QUADRATIC),
            r"Transpose $W \Sigma_{yx} = R + P W \Sigma_x$ and apply it to $P u$: $R^{\top} P u = \eta W^{\top} u$ and"
            r" $W^{\top} P^{\top} P u = p^2 W^{\top} u$. The left side is $p\, \Sigma_{yx}^{\top} v$.",
            uses=MODE,
            conclusion=True,
        ),
        Step(
            Equality(
                Sigma_yx.T * W.T * P * u - correlation * p * Sigma_x * DIRECTION,
                p * (p - correlation) * Sigma_x * DIRECTION + eta * DIRECTION,
            ),
            r"The left side is $p$ times the defect of $v$ in the linear problem with eigenvalue $\rho$. It vanishes only where"
            r" $p(\rho - p)\, \Sigma_x v = \eta v$; as $\eta v \ne 0$, $v$ is then an eigenvector of $\Sigma_x$, and by the same"
            r" equation of $\Sigma_{yx}^{\top}$. At $\eta = 0$ it vanishes for $\rho = p$.",
            uses=MODE,
            conclusion=True,
        ),
        Step(
            Implication(CANONICAL, (sp.Eq(surd**2, 33), sp.Eq(40 * correlation, 17 + surd))),
            r"The instance. $W \Sigma_{yx} = (\frac{6}{10}, \frac{11}{10})$ and $P W \Sigma_x = (\frac12, 1)$ leave $R ="
            r" (\frac1{10}, \frac1{10})$, so $PR = \frac{1}{20} W$ and $\frac18 R W^{\top} = \frac{1}{20} P$. With $r ="
            r" \pm\sqrt{33}$ and $\rho = (17 + r)/40$ the two components of $\Sigma_{yx} v = \rho \Sigma_x v$ hold for $v ="
            r" (8, 1 + r)$, which $(1, 1)$ is no multiple of.",
        ),
    ),
    siblings=(
        FalseSibling(
            "linear-eigenproblem",
            "omission",
            r"forget the decay: $\Sigma_{yx}^{\top} v = p\, \Sigma_x v$",
            Equality(Sigma_yx.T * W.T * P * u, p**2 * Sigma_x * DIRECTION),
            uses=MODE,
        ),
        FalseSibling(
            "decay-of-the-other-sign",
            "sign",
            r"claim $(p^2 \Sigma_x - p\, \Sigma_{yx}^{\top} - \eta I) v = 0$",
            Equality(Sigma_yx.T * W.T * P * u, p**2 * Sigma_x * DIRECTION - eta * DIRECTION),
            uses=MODE,
        ),
        FalseSibling(
            "learning-rate-forgotten",
            "constant",
            r"claim the singular value $\eta$, without $\alpha$",
            Equality(R * R.T * P, eta**2 * P),
            uses=("encoder-at-rest", "predictor-at-rest"),
        ),
        FalseSibling(
            "decay-by-the-covariance",
            "exchange",
            r"let the decay act through $\Sigma_x$",
            Equality(Sigma_yx.T * W.T * P * u, p**2 * Sigma_x * DIRECTION + eta * Sigma_x * DIRECTION),
            uses=MODE,
        ),
    ),
    witnesses=(
        Witness("encoder-at-rest", _one("2", "1/2", 1, 1)),
        Witness("predictor-at-rest", _one("1", "1", 2, 1)),
        Witness("squared-loss", _one("1", "1", 1, 1).with_({Sigma_yx: matrix([[5]])})),
        Witness(
            "symmetric-predictor",
            _rest(
                ASKEW.transpose(), ASKEW, eye(2), eye(2), matrix([[1], [0]]), {alpha: 1, eta: 1, p: 1, correlation: 1}
            ),
        ),
        Witness("eigenvector", _one("1", "1", 1, 2)),
    ),
    instances=_equilibrium,
    sources=(
        Source("ours"),
        Source("tian2021", "Theorem 1 and Appendix D, equation 103", "balance; the fixed points without decay"),
    ),
    belief="A JEPA with weight decay learns shrunken canonical directions.",
    example=(
        "import numpy as np\n"
        "from jepalign.linear_models import LinearJEPA, ViewPair\n"
        "sigma, cross = np.diag([1.0, 2.0]), np.array([[0.4, 0.2], [0.2, 0.9]])\n"
        "jepa = LinearJEPA(ViewPair.from_covariances(sigma, sigma, cross), predictor_rate=1 / 8, weight_decay=1 / 20)\n"
        "path = jepa.solve(np.array([[1.1, 0.9]]), np.array([[0.5]]), times=[0.0, 2000.0])\n"
        "assert np.allclose(path.encoder[1], [[1.0, 1.0]], atol=1e-4) and np.allclose(path.predictor[1], 0.5, atol=1e-4)"
    ),
)

THEOREMS = (JEPA_LEAVES,)
