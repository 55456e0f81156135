"""What the losses of Barlow Twins and VICReg select by themselves (result 1.5)."""

import random
from typing import Any

import sympy as sp

from jepalign.theory.claims import Dominates, Equality, Gradient, Implication, ScalarIdentity
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, identity, squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Inequality, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, W, correlation, d, k

C: Any = SymmetricSymbol("C", d)
G: Any = sp.MatrixSymbol("G", k, k)
K: Any = Named("K", W * C * W.T)
TWINS: Any = squared_norm(K - identity(k))
REACHED: Any = G.I * W
REACHED_K: Any = REACHED * C * REACHED.T

FACTOR = Assumption(
    "positive-cross-covariance", r"$W C W^{\top} = G G^{\top}$ with invertible $G$", Equation(W * C * W.T, G * G.T)
)


def _positive_cross(rng: random.Random, size: int) -> Instance:
    """Draw W and C with W C Wᵀ = G Gᵀ: C = A S Aᵀ whose first k × k block of S is that Gram matrix, W the first rows of A⁻¹."""
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    half, basis, other = draw.invertible(rows), draw.invertible(columns), draw.symmetric(columns)
    gram = half * half.transpose()
    entries = [[gram[i, q] if max(i, q) < rows else other[i, q] for q in range(columns)] for i in range(columns)]
    inverse = basis.inv()
    encoder = matrix([[inverse[i, q] for q in range(columns)] for i in range(rows)])
    return Instance({k: rows, d: columns}, {W: encoder, C: basis * matrix(entries) * basis.transpose(), G: half})


BARLOW_TWINS = Theorem(
    name="barlow-twins-selects-nothing",
    title="Every subspace on which the cross-covariance is positive is a global minimum of Barlow Twins",
    chapter=1,
    statement=(
        r"The Barlow Twins loss of a linear encoder in the form of [@simon2023], $L = \lVert W C W^{\top} - I \rVert^2$, is"
        r" zero exactly where $W C W^{\top} = I$. If $W C W^{\top} = G G^{\top}$ with an invertible $G$, that is, if $C$ is"
        r" positive definite on the row space of $W$, then $G^{-1} W$, which has the same row space, is such a point. The loss"
        r" therefore prefers no direction to another: the top eigenvectors of $C$ that gradient descent finds from a small"
        r" start [@simon2023] are the choice of the start, not of the loss. $\Sigma$ does not enter."
    ),
    assumptions=(FACTOR,),
    proof=(
        Step(
            Dominates(TWINS, sp.S.Zero, K - identity(k)),
            r"The loss is a squared norm.",
            conclusion=True,
        ),
        Step(
            Equality(REACHED_K, identity(k)),
            r"$G^{-1} W C W^{\top} G^{-\top} = G^{-1} G G^{\top} G^{-\top}$.",
            uses=("positive-cross-covariance",),
            conclusion=True,
        ),
        Step(
            Gradient(TWINS, W, -4 * (K - identity(k)) * W * C, named="L"),
            r"The force has the row space of $W C$ and vanishes with $K - I$.",
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "without-the-root",
            "exchange",
            r"normalise by $G^{-\top}$ for $G^{-1}$",
            Equality(G.T.I * W * C * W.T * G.I, identity(k)),
            uses=("positive-cross-covariance",),
        ),
        FalseSibling(
            "half-the-force",
            "constant",
            "claim half the force",
            Gradient(TWINS, W, -2 * (K - identity(k)) * W * C),
        ),
        FalseSibling(
            "every-encoder",
            "quantifier",
            r"claim that $W$ itself is such a point",
            Equality(K, identity(k)),
            uses=("positive-cross-covariance",),
        ),
    ),
    witnesses=(
        # No factor exists where the cross-covariance is negative: whatever G, the value is not one.
        Witness("positive-cross-covariance", Instance({k: 1, d: 1}, {W: eye(1), C: matrix([[-1]]), G: eye(1)})),
    ),
    instances=_positive_cross,
    sources=(
        Source("simon2023", "Section 4", "the loss; the minima that small starts reach"),
        Source("zbontar2021", "", "Barlow Twins"),
        Source("ours", "", "all its minima"),
    ),
    belief="Barlow Twins learns the top eigenvectors because they minimise its loss.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); C = np.diag([0.9, 0.6, 0.3, 0.1])\n"
        "W = rng.normal(size=(2, 4)); W = np.linalg.solve(np.linalg.cholesky(W @ C @ W.T), W)\n"
        "assert np.allclose(W @ C @ W.T, np.eye(2))"
    ),
)

# -- VICReg ---------------------------------------------------------------------------------------------------------------

pull, push, target, floor = sp.symbols("a b gamma e", real=True)
deviation, best = sp.symbols("y y_0", real=True)
INVARIANCE = 2 * pull * (1 - correlation) * (deviation**2 - floor**2)


def _mode_loss(at: Any, hinge: Any) -> Any:
    return INVARIANCE.subs(deviation, at) + push * hinge


REDUNDANCY = Assumption("not-redundant", r"$\rho < 1$: the two views differ", Inequality(correlation < 1))
ATTRACTION = Assumption("attraction", r"the invariance term has a positive weight, $a > 0$", Inequality(pull > 0))
RANGE: tuple[Any, ...] = (push > 0, floor >= 0, target > floor, deviation >= floor)
SLOPE_AT = 4 * pull * (1 - correlation)  # the slope of the invariance term in y is SLOPE_AT · y


def _best(at: Any) -> Any:
    """Return: the loss with the hinge at ``at`` (inside the hinge) is below that of any other y, on either side of γ."""
    least = _mode_loss(at, target - at)
    inside: Any = least < _mode_loss(deviation, target - deviation)
    beyond: Any = least < INVARIANCE
    elsewhere: Any = sp.Ne(deviation, at)
    return sp.And(
        sp.Implies(sp.And(elsewhere, deviation <= target), inside),
        sp.Implies(sp.And(elsewhere, deviation > target), beyond),
    )


WHITENED: tuple[Any, ...] = (*RANGE, SLOPE_AT * target <= push)
SHRUNKEN: tuple[Any, ...] = (*RANGE, SLOPE_AT * target > push, SLOPE_AT * floor < push, sp.Eq(SLOPE_AT * best, push))
DEAD: tuple[Any, ...] = (*RANGE, SLOPE_AT * floor >= push)


def _regimes(rng: random.Random, size: int) -> Instance:
    """Draw a mode in each of the three regimes in turn."""
    draw = Draw(rng)
    attraction, distance, low = draw.positive(), draw.positive(), draw.positive()
    slope = 4 * attraction * distance
    high = low + draw.positive()
    optimum = {1: high + draw.positive(), 2: (low + high) / 2}.get(size % 3, low * draw.positive() / 4)
    values = {pull: attraction, push: slope * optimum, target: high, floor: low, deviation: low + draw.positive()}
    return Instance(scalars={**values, best: optimum, correlation: 1 - distance})


def _one(attraction: int, rho: int, repulsion: int) -> Instance:
    return Instance(
        scalars={pull: attraction, correlation: rho, push: repulsion, target: 2, floor: 1, deviation: 3, best: 1}
    )


VICREG_OPTIMUM = Theorem(
    name="vicreg-optimum",
    title="VICReg whitens the modes above a correlation and shrinks the others",
    chapter=1,
    statement=(
        r"An aligned mode under VICReg [@bardes2022]: $L = 2a(1-\rho)s + b \max(0, \gamma - \sqrt{s + \epsilon})$ with embedding"
        r" variance $s = w^2\sigma$, $a > 0$ the weight of $\mathbb{E}\lVert z - z^{+} \rVert^2$ and $b > 0$ that of the hinge,"
        r" both views together; the covariance term is zero. With $y = \sqrt{s + \epsilon}$, $e = \sqrt{\epsilon} < \gamma$,"
        r" its unique global minimum is $y = \gamma$, that is $s = \gamma^2 - \epsilon$, if"
        r" $1 - \rho \le \frac{b}{4a\gamma}$; $y = \frac{b}{4a(1-\rho)}$, that is $s = \left(\frac{b}{4a(1-\rho)}\right)^2"
        r" - \epsilon$, while this lies between $e$ and $\gamma$; and $s = 0$ if $1 - \rho \ge \frac{b}{4a\sqrt{\epsilon}}$."
        r" The hinge is no whitening constraint: only modes beyond a correlation reach $\gamma$, and the scale of the others"
        r" tells their $\rho$. Nor does it select by sign: for small $\epsilon$ every mode with $\rho < 1$ survives. That encoders"
        r" which are not aligned do no better is not claimed."
    ),
    assumptions=(REDUNDANCY, ATTRACTION),
    proof=(
        Step(
            ScalarIdentity(sp.Derivative(INVARIANCE - push * deviation, deviation), SLOPE_AT * deviation - push),
            r"In $y$ the invariance term is $2a(1-\rho)(y^2 - \epsilon)$, strictly convex because $\rho < 1$, and the hinge is"
            r" $\gamma - y$ up to $\gamma$ and zero beyond. Inside the hinge the slope is $4a(1-\rho)y - b$; beyond, it is"
            r" positive.",
        ),
        Step(
            Implication(_best(target), WHITENED),
            r"If the slope is still not positive at $\gamma$, the minimum is the corner there.",
            uses=("not-redundant", "attraction"),
            conclusion=True,
        ),
        Step(
            Implication(sp.And(best > floor, best < target, _best(best)), SHRUNKEN),
            r"If it changes sign before, the minimum is where it does: a weaker correlation leaves a smaller embedding.",
            uses=("not-redundant", "attraction"),
            conclusion=True,
        ),
        Step(
            Implication(_best(floor), DEAD),
            r"If it is positive already at $y = e$, where $s = 0$, the mode is dropped. $\epsilon$, meant for numerical"
            r" safety, decides which.",
            uses=("not-redundant", "attraction"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "hinge-whitens",
            "quantifier",
            r"claim $y = \gamma$ in every regime",
            Implication(_best(target), RANGE),
            uses=("not-redundant", "attraction"),
        ),
        FalseSibling(
            "half-the-slope",
            "constant",
            r"claim $y = \frac{b}{2a(1-\rho)}$",
            Implication(
                _best(best), (*RANGE, best > floor, best < target, sp.Eq(2 * pull * (1 - correlation) * best, push))
            ),
            uses=("not-redundant", "attraction"),
        ),
        FalseSibling(
            "other-correlation",
            "sign",
            r"exchange $1 - \rho$ for $1 + \rho$",
            Implication(
                _best(best),
                (
                    *RANGE,
                    best > floor,
                    best < target,
                    correlation > -1,
                    sp.Eq(4 * pull * (1 + correlation) * best, push),
                ),
            ),
            uses=("not-redundant", "attraction"),
        ),
    ),
    witnesses=(
        # With ρ = 1, and all the more beyond, nothing stops a mode from growing past γ: the minimum is not unique.
        Witness("not-redundant", _one(1, 1, 1)),
        Witness("attraction", _one(-1, 0, 1)),
    ),
    instances=_regimes,
    sources=(
        Source("bardes2022", "Section 4.1", "the loss"),
        Source("ours", "", "its optimum on a mode"),
    ),
    belief="VICReg whitens its embeddings.",
    example=(
        "import numpy as np\n"
        "a, b, gamma, eps = 25.0, 50.0, 1.0, 1e-4; s = np.linspace(0, 2, 200001)\n"
        "def optimum(rho):\n"
        "    return s[np.argmin(2 * a * (1 - rho) * s + b * np.maximum(0, gamma - np.sqrt(s + eps)))]\n"
        "assert np.isclose(optimum(0.8), 1 - eps, atol=1e-4)\n"
        "assert np.isclose(optimum(0.0), (b / (4 * a)) ** 2 - eps, atol=1e-4)"
    ),
)

THEOREMS = (BARLOW_TWINS, VICREG_OPTIMUM)
