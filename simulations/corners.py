"""The corners of the ablation cube {predictor, stop-gradient, EMA} (4.1): how each trains, its flow on frozen features, its rates."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from jepalign.simulations.ensembles.optimizers import State
from jepalign.simulations.ensembles.stacks import mapped


@dataclass(frozen=True)
class Corner:
    """One corner.

    Attributes
    ----------
    predictor : bool
        Whether a linear predictor is learnt; else ẑ = z.
    target : str
        "gradient": V = W and the gradient passes. "stop": V = W and it is stopped. "ema": V follows W. The two readings of EMA without
        stop-gradient: "average", V follows and the gradient passes through the average into W; "trained", V descends and follows.
    """

    predictor: bool
    target: str

    @property
    def lagging(self) -> bool:
        """Whether the target has parameters of its own."""
        return self.target in ("ema", "average", "trained")

    @property
    def survives(self) -> bool:
        """Whether 4.1 lets anything live: only with a predictor, and not where the whole gradient passes into W."""
        return self.predictor and self.target != "gradient"


TARGETS = {
    "gradient": "no stop-gradient",
    "stop": "stop-gradient",
    "ema": "stop-gradient, EMA",
    "average": "EMA, gradient through the average",
    "trained": "EMA, target trained and pulled",
}
CORNERS = {
    f"{'predictor' if predictor else 'no predictor'}, {text}": Corner(predictor, target)
    for predictor in (False, True)
    for target, text in TARGETS.items()
}


def slow_rate(corner: Corner, lam: np.ndarray, sigma: np.ndarray, beta: float) -> np.ndarray:
    """Return the slowest rate at which modes of this corner collapse by 4.1; for survivors that of the same target without predictor."""
    if corner.target == "gradient":
        return sigma - lam**2 / sigma if corner.predictor else 2 * (sigma - lam)
    if corner.target in ("ema", "average"):
        # For λ < 0 the two rates may be complex; their real part counts.
        return (sigma + beta - np.sqrt(np.maximum((sigma - beta) ** 2 + 4 * beta * lam, 0.0))) / 2
    return sigma - lam


@dataclass(frozen=True)
class Moments:
    """Last layers W, V, P of one network and the second moments of its features: E hhᵀ, E h̄h̄ᵀ and E h̄hᵀ."""

    weight: np.ndarray
    target: np.ndarray
    predictor: np.ndarray
    context: np.ndarray
    other: np.ndarray
    cross: np.ndarray

    def variance(self, weight: np.ndarray | None = None) -> float:
        """Return tr WΦ_hWᵀ, with this W or another."""
        W = self.weight if weight is None else weight
        return float(np.sum((W @ self.context) * W))

    def flow(self, corner: Corner, times: np.ndarray, *, beta: float) -> np.ndarray:
        """Return W at ``times`` by the flow of the corner on features as they are, (T, k, h); α = 1, η = 0."""
        k, size, shape = len(self.weight), self.weight.size, self.weight.shape

        def velocity(_: float, state: np.ndarray) -> np.ndarray:
            W = state[:size].reshape(shape)
            V = state[size : 2 * size].reshape(shape) if corner.lagging else W
            P = state[2 * size :].reshape(k, k)
            R = V @ self.cross - P @ W @ self.context
            back = P @ W @ self.cross.T - V @ self.other if corner.target in ("gradient", "trained") else 0.0
            own = P.T @ R + (back if corner.target == "gradient" else 0.0)
            pull = beta * (W - V) + (back if corner.target == "trained" else 0.0) if corner.lagging else 0 * W
            learnt = R @ W.T if corner.predictor else 0 * P
            return np.concatenate((own.ravel(), pull.ravel(), learnt.ravel()))

        start = np.concatenate((self.weight.ravel(), self.target.ravel(), self.predictor.ravel()))
        # The embedding decays through decades: an absolute tolerance far below where it ends.
        found = solve_ivp(velocity, (0.0, float(times[-1])), start, t_eval=times, rtol=1e-6, atol=1e-10)
        return found.y[:size].T.reshape(-1, *shape)


class Cube:
    """Networks of one corner, all of one architecture, trained at once by plain descent on ½E‖PWx − Vy‖²."""

    def __init__(
        self, corner: Corner, network: nn.Module, state: State, predictor: Tensor, *, step: float, beta: float
    ) -> None:
        self.corner, self.network, self.step_size, self.beta = corner, network, step, beta
        self.encoder = {name: value.clone() for name, value in state.items()}
        self.target = {name: value.clone() for name, value in state.items()}
        eye = torch.eye(predictor.shape[1], dtype=predictor.dtype, device=predictor.device)
        self.predictor = predictor.clone() if corner.predictor else eye.expand_as(predictor).clone()

    def step(self, x: Tensor, y: Tensor) -> None:
        """Make one simultaneous step; views (n, d), or (S, n, d) for each network its own."""
        kind, h, pull = self.corner.target, self.step_size, self.step_size * self.beta
        own = {name: value.requires_grad_() for name, value in self.encoder.items()}
        P = self.predictor.requires_grad_(self.corner.predictor)
        other = {"gradient": own, "stop": {n: v.detach() for n, v in own.items()}, "ema": self.target}.get(kind)
        if kind == "average":
            other = {name: torch.lerp(value, own[name], pull) for name, value in self.target.items()}
        elif kind == "trained":
            other = {name: value.requires_grad_() for name, value in self.target.items()}
        assert other is not None
        shared = x.ndim == 2
        prediction = mapped(self.network, own, x, shared=shared) @ P.mT
        value = (prediction - mapped(self.network, other, y, shared=shared)).square().sum(2).mean(1).sum() / 2
        leaves = [
            *own.values(),
            *([P] if self.corner.predictor else []),
            *(other.values() if kind == "trained" else []),
        ]
        slopes = iter(torch.autograd.grad(value, leaves))
        with torch.no_grad():
            self.encoder = {name: leaf.detach() - h * next(slopes) for name, leaf in own.items()}
            self.predictor = P.detach() - h * next(slopes) if self.corner.predictor else P.detach()
            if kind == "trained":
                self.target = {name: leaf.detach() - h * next(slopes) for name, leaf in self.target.items()}
            if self.corner.lagging:
                self.target = {n: torch.lerp(v, self.encoder[n], pull) for n, v in self.target.items()}

    @torch.no_grad()
    def moments(self, x: Tensor, y: Tensor) -> list[Moments]:
        """Measure every network on views, (n, d) or (S, n, d)."""
        backbone = self.network.backbone
        assert isinstance(backbone, nn.Module)
        targets = self.target if self.corner.lagging else self.encoder
        found = []
        for s in range(len(self.predictor)):
            h, other = (
                torch.func.functional_call(
                    backbone,
                    {n.removeprefix("backbone."): v[s] for n, v in state.items() if n.startswith("backbone.")},
                    (part if part.ndim == 2 else part[s],),
                ).numpy(force=True)
                for state, part in ((self.encoder, x), (targets, y))
            )
            W, V, P = (
                part[s].numpy(force=True)
                for part in (self.encoder["last.weight"], targets["last.weight"], self.predictor)
            )
            n = len(h)
            found.append(Moments(W, V, P, h.T @ h / n, other.T @ other / n, other.T @ h / n))
        return found


def horizon(corner: Corner, first: list[Moments], beta: float, left: float, most: float = math.inf) -> float:
    """Return the longest time, over networks, at which only the share ``left`` of tr Φ remains if modes decay at 4.1's slow rates.

    It is lengthened until the flow of the corner, without predictor if it lets modes live, has at most the share ``most`` left:
    modes of λ and σ that have no common axes decay more slowly than 4.1's.
    """
    dying = replace(corner, predictor=False) if corner.survives else corner
    longest = 0.0
    for state in first:
        lam, axes = np.linalg.eigh((state.cross + state.cross.T) / 2)
        sigma = np.einsum("ji,jk,ki->i", axes, state.context, axes)
        alive = sigma > 1e-9 * sigma.max()
        lam, sigma, axes = lam[alive], sigma[alive], axes[:, alive]
        share = sigma * np.square(state.weight @ axes).sum(0)
        rate = np.maximum(slow_rate(corner, np.minimum(lam, sigma), sigma, beta), 0)
        low, high = 0.0, math.log(1 / left) / (2 * max(float(rate.min()), 1e-6))
        for _ in range(60):
            middle = (low + high) / 2
            more = float((share * np.exp(-2 * rate * middle)).sum() / share.sum()) > left
            low, high = (middle, high) if more else (low, middle)
        bare = state if corner.predictor == dying.predictor else replace(state, predictor=np.eye(len(state.weight)))
        for _ in range(20):
            if (
                most == math.inf
                or bare.variance(bare.flow(dying, np.array([high]), beta=beta)[0]) <= most * bare.variance()
            ):
                break
            high *= 1.2
        longest = max(longest, high)
    return longest
