"""What a linear probe on the learnt directions can do (6.2)."""

import random
from typing import Any

import sympy as sp
from flint import fmpq_mat

from jepalign.theory.claims import Equality
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import Named, SymmetricSymbol, squared_norm
from jepalign.theory.proof import Assumption, Equation, FalseSibling, Semidefinite, Source, Step, Theorem, Witness
from jepalign.theory.setting import Draw, W, X, d, k, m

factors, rest = sp.symbols("r q", integer=True, positive=True)
"""Number of latent factors, and of canonical directions that are not learnt."""

latent: Any = sp.MatrixSymbol("U", factors, m)
weights: Any = sp.MatrixSymbol(r"\theta", factors, 1)
probe: Any = sp.MatrixSymbol("b", k, 1)
probe_rest: Any = sp.MatrixSymbol("b'", rest, 1)
W_rest: Any = sp.MatrixSymbol("W'", rest, d)
seen: Any = sp.MatrixSymbol("O", k, factors)
unseen: Any = sp.MatrixSymbol("O'", rest, factors)
strength: Any = SymmetricSymbol("D", k)
strength_rest: Any = SymmetricSymbol("D'", rest)
slack: Any = sp.MatrixSymbol("F", rest, rest)
bound = sp.Symbol(r"\rho_{k+1}", real=True)

on_seen: Any = Named(r"\tilde{\theta}", seen * weights)
on_unseen: Any = Named(r"\tilde{\theta}'", unseen * weights)

RISK: Any = squared_norm(weights.T * latent - probe.T * W * X) / m
FULL_RISK: Any = squared_norm(weights.T * latent - probe.T * W * X - probe_rest.T * W_rest * X) / m
KEPT: Any = squared_norm(on_seen) - squared_norm(strength * on_seen)
BEST: Any = KEPT + squared_norm(on_unseen)
FULL_BEST: Any = KEPT + squared_norm(on_unseen) - squared_norm(strength_rest * on_unseen)
EXCESS: Any = squared_norm(strength_rest * on_unseen)

WHITE_LATENT = Assumption(
    "white-latent",
    r"the latent factors are white: $\mathbb{E}\, u u^{\top} = I$",
    Equation(latent * latent.T, m * sp.Identity(factors)),
)
WHITE_EMBEDDING = Assumption(
    "white-embedding",
    r"the embedding is white, $W \Sigma_x W^{\top} = I$ (any probe on $z$ is one on its whitened form)",
    Equation(W * X * X.T * W.T, m * sp.Identity(k)),
)
CANONICAL = Assumption(
    "canonical",
    r"the learnt directions are canonical: $\mathbb{E}\, z u^{\top} = D O$ with $D^2$ the canonical correlations $\rho_1, \dots,"
    r" \rho_k$ of two views that share $u$, and $O$ the first rows of an orthogonal matrix",
    Equation(W * X * latent.T, m * strength * seen),
)
COMPLETE = Assumption(
    "complete",
    r"the directions $O$ and $O'$ together are all of them: $O^{\top} O + O'^{\top} O' = I$",
    Equation(unseen.T * unseen, sp.Identity(factors) - seen.T * seen),
)
REST_CANONICAL = Assumption(
    "rest-canonical",
    r"the same for the directions that were not learnt: $\mathbb{E}\, z' u^{\top} = D' O'$",
    Equation(W_rest * X * latent.T, m * strength_rest * unseen),
)
REST_WHITE = Assumption(
    "rest-white", r"their embedding $z' = W' x$ is white", Equation(W_rest * X * X.T * W_rest.T, m * sp.Identity(rest))
)
REST_ORTHOGONAL = Assumption(
    "rest-uncorrelated", r"and uncorrelated with $z$", Equation(W * X * X.T * W_rest.T, sp.ZeroMatrix(k, rest))
)
WEAKER = Assumption(
    "weaker",
    r"what was not learnt is correlated by at most $\rho_{k+1}$: $\rho_{k+1} I - D'^2 \succeq 0$",
    Semidefinite(
        bound * sp.Identity(rest) - strength_rest * strength_rest,
        slack,
        (strength_rest * strength_rest, bound * sp.Identity(rest) - slack * slack.T),
    ),
)

# Cosine and sine of angles with a rational tangent of the half angle: ρ = cos², and sin² is the noise.
_ANGLES = (("3/5", "4/5"), ("4/5", "3/5"), ("5/13", "12/13"), ("15/17", "8/17"))


def _rows(whole: Any, start: int, stop: int) -> Any:
    return fmpq_mat([list(row) for row in whole.tolist()[start:stop]])


def _world(strengths: list[tuple[Any, Any]], turn: Any, mixing: Any, learnt: int) -> Instance:
    """Build x = mixingᵀ(D·turn·u + √(1−D²)·noise) on samples that are exactly white, the first ``learnt`` directions known.

    ``turn`` holds the rows of O and O'.
    """
    total = len(strengths)
    root = next(s for s in range(2, 20) if s * s > 2 * total)  # a perfect square of samples, one of them to spare
    samples = root * root
    latents = fmpq_mat(total, samples, [root * int(i == j) for i in range(total) for j in range(samples)])
    noise = fmpq_mat(total, samples, [root * int(i + total == j) for i in range(total) for j in range(samples)])
    shared = matrix([[strengths[i][0] if i == j else 0 for j in range(total)] for i in range(total)])
    own = matrix([[strengths[i][1] if i == j else 0 for j in range(total)] for i in range(total)])
    values = {
        latent: latents,
        X: mixing.transpose() * (shared * turn * latents + own * noise),
        W: _rows(mixing, 0, learnt),
        W_rest: _rows(mixing, learnt, total),
        seen: _rows(turn, 0, learnt),
        unseen: _rows(turn, learnt, total),
        strength: fmpq_mat([[shared[i, j] for j in range(learnt)] for i in range(learnt)]),
        strength_rest: fmpq_mat([[shared[i, j] for j in range(learnt, total)] for i in range(learnt, total)]),
    }
    return Instance({k: learnt, rest: total - learnt, factors: total, d: total, m: samples}, values)


def _worlds(rng: random.Random, size: int) -> Instance:
    """Draw a world; what is not learnt has one strength, so that ρ_{k+1} I − D'² has a rational root."""
    draw = Draw(rng)
    first, second = rng.randint(1, size), rng.randint(1, size)
    total = first + second
    strengths = [rng.choice(_ANGLES) for _ in range(first)] + [rng.choice(_ANGLES)] * second
    world = _world(strengths, draw.orthogonal(total), draw.orthogonal(total), first)
    gap, common = draw.positive(), world.matrices[strength_rest][0, 0]
    values = {
        slack: eye(second) * gap,
        weights: draw.matrix(total, 1),
        probe: draw.matrix(first, 1),
        probe_rest: draw.matrix(second, 1),
    }
    return world.with_(values, {bound: common * common + gap * gap})


def _plain(scalars: dict[Any, Any] | None = None, **changes: Any) -> Instance:
    """Return a world of one learnt and one other direction, strengths 4/5 and 3/5, with some values changed."""
    world = _world([("4/5", "3/5"), ("3/5", "4/5")], eye(2), eye(2), 1)
    values = {
        slack: matrix([["4/5"]]),
        weights: matrix([[1], [1]]),
        probe: matrix([[1]]),
        probe_rest: matrix([[1]]),
    }
    names = {"latent": latent, "X": X, "W": W, "W_rest": W_rest, "seen": seen, "unseen": unseen, "D": strength}
    names |= {"D_rest": strength_rest, "weights": weights, "probe": probe}
    changed = {names[name]: value for name, value in changes.items()}
    return world.with_({**values, **changed}, scalars or {bound: 1})


def _samples(*rows: dict[int, Any]) -> Any:
    return matrix([[row.get(j, 0) for j in range(9)] for row in rows])


LINEAR_PROBE_RISK = Theorem(
    name="linear-probe-risk",
    title="The risk of a linear probe on the learnt directions",
    chapter=6,
    statement=(
        r"Let two views share a white latent $u$, and let $z = W x$ be white with $\mathbb{E}\, z u^{\top} = D O$, $D^2 ="
        r" \operatorname{diag}(\rho_1, \dots, \rho_k)$: the first $k$ canonical directions. For the label $\theta^{\top} u$ and"
        r" $\tilde\theta = O\theta$, $\tilde\theta' = O'\theta$, the risk of the probe $b$ is $\lVert b - D\tilde\theta \rVert^2 +"
        r" \sum_{i \le k} (1 - \rho_i) \tilde\theta_i^2 + \sum_{i > k} \tilde\theta_i^2$. The best probe is $b ="
        r" D\tilde\theta$. The best probe on all of $x$ gains exactly $\sum_{i>k} \rho_i \tilde\theta_i^2 \le \rho_{k+1}"
        r" \lVert \theta \rVert^2$. No distribution is assumed. [@haochen2021] bound the probe's error by a ratio of graph"
        r" eigenvalues; for linear encoders this is the error itself."
    ),
    assumptions=(
        WHITE_LATENT,
        WHITE_EMBEDDING,
        CANONICAL,
        COMPLETE,
        REST_WHITE,
        REST_CANONICAL,
        REST_ORTHOGONAL,
        WEAKER,
    ),
    proof=(
        Step(
            Equality(RISK, squared_norm(probe - strength * on_seen) + BEST),
            r"Expand the square. The three moments are $I$, $I$ and $D O$; complete the square in $b$ and split $\lVert \theta"
            r" \rVert^2$ into what the learnt directions see and what they do not.",
            uses=("white-latent", "white-embedding", "canonical", "complete"),
            conclusion=True,
        ),
        Step(
            Equality(
                FULL_RISK,
                squared_norm(probe - strength * on_seen)
                + squared_norm(probe_rest - strength_rest * on_unseen)
                + FULL_BEST,
            ),
            r"The same with all canonical directions: the probe on the rest separates, as $z'$ is white and uncorrelated with $z$.",
            uses=(
                "white-latent",
                "white-embedding",
                "canonical",
                "complete",
                "rest-white",
                "rest-canonical",
                "rest-uncorrelated",
            ),
            conclusion=True,
        ),
        Step(
            Equality(BEST - FULL_BEST, EXCESS),
            r"The difference of the two minima is $\lVert D' \tilde\theta' \rVert^2 = \sum_{i>k} \rho_i \tilde\theta_i^2$.",
        ),
        Step(
            Equality(
                bound * squared_norm(weights) - EXCESS,
                bound * squared_norm(on_seen) + squared_norm(slack.T * on_unseen),
            ),
            r"With $\rho_{k+1} I - D'^2 = F F^{\top}$ the bound exceeds it by a sum of squares (as $\rho_{k+1} \ge 0$).",
            uses=("complete", "weaker"),
            conclusion=True,
        ),
    ),
    siblings=(
        FalseSibling(
            "correlation-squared",
            "constant",
            r"explain $\rho_i^2$ instead of $\rho_i$ of each coordinate",
            Equality(
                RISK,
                squared_norm(probe - strength * on_seen)
                + squared_norm(on_seen)
                - squared_norm(strength * strength * on_seen)
                + squared_norm(on_unseen),
            ),
            uses=("white-latent", "white-embedding", "canonical", "complete"),
        ),
        FalseSibling(
            "unseen-explained",
            "omission",
            "leave out what the learnt directions do not see",
            Equality(RISK, squared_norm(probe - strength * on_seen) + KEPT),
            uses=("white-latent", "white-embedding", "canonical", "complete"),
        ),
        FalseSibling(
            "best-probe",
            "exchange",
            r"take $b = \tilde\theta$ for the best probe",
            Equality(RISK, squared_norm(probe - on_seen) + BEST),
            uses=("white-latent", "white-embedding", "canonical", "complete"),
        ),
        FalseSibling(
            "excess-of-the-seen",
            "sign",
            "claim that the larger set of directions has the larger risk",
            Equality(BEST - FULL_BEST, -EXCESS),
        ),
    ),
    witnesses=(
        Witness("white-latent", _plain(latent=_samples({0: 3}, {1: 3, 4: 3}))),
        Witness("white-embedding", _plain(X=_samples({0: "12/5", 2: "18/5"}, {1: "9/5", 3: "12/5"}))),
        Witness("canonical", _plain(D=matrix([["3/5"]]))),
        Witness("complete", _plain(unseen=matrix([[0, 2]]), D_rest=matrix([["3/10"]]))),
        Witness("rest-white", _plain(X=_samples({0: "12/5", 2: "9/5"}, {1: "9/5", 3: "18/5"}))),
        Witness("rest-canonical", _plain(D_rest=matrix([["-3/5"]]))),
        Witness("rest-uncorrelated", _plain(X=_samples({0: "12/5", 2: "9/5"}, {1: "9/5", 2: "12/5"}))),
        Witness("weaker", _plain({bound: "1/4"})),
    ),
    instances=_worlds,
    sources=(
        Source("ours", "", "as an identity with its excess"),
        Source("haochen2021", "", "bounds for the spectral contrastive loss"),
        Source("hotelling1936", "", "canonical correlations"),
    ),
    belief="What a linear probe loses to a narrow embedding can only be measured.",
    example=(
        "import numpy as np\n"
        "rng = np.random.default_rng(0); u, v = rng.normal(size=(2, 100_000, 3)); rho = np.array([0.8, 0.5, 0.2])\n"
        "z = np.sqrt(rho) * u + np.sqrt(1 - rho) * v; y = u @ [1.0, 2.0, 3.0]  # three canonical directions and a label\n"
        "b, *_ = np.linalg.lstsq(z[:, :2], y, rcond=None)\n"
        "assert np.isclose(np.mean((y - z[:, :2] @ b) ** 2), 0.2 * 1 + 0.5 * 4 + 9, rtol=0.02)"
    ),
)

THEOREMS = (LINEAR_PROBE_RISK,)
