"""Near-collapsed starts of encoders of digits, balanced and not, and what the flow on their features foretells (4.5)."""

import math

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from jepalign.linear_models.forecast import LastLayer
from jepalign.simulations.data import PairedViews, both_orders
from jepalign.simulations.encoders import MLP
from jepalign.simulations.last_layer import last_layer

COMPONENTS, WIDTH = 32, 8
KINDS = ("JEPA, balanced", "JEPA, default predictor", "spectral contrastive")


def network(hidden: tuple[int, ...], activation: str, seed: int) -> MLP:
    """Return an encoder of the whitened components, with the given hidden widths."""
    return MLP((COMPONENTS, *hidden, WIDTH), activation, seed=seed)


def whitened(views: PairedViews, pairs: int) -> tuple[Tensor, Tensor]:
    """Return the first pairs of views in both orders, in their leading principal components, each of second moment 1."""
    # With Σ = 1 and C symmetric on the very sample that is trained on, the modes of a linear encoder are exactly those of the theory.
    x, y = both_orders(views.x[:pairs], views.y[:pairs])
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    project = vectors[:, -COMPONENTS:] / values[-COMPONENTS:].sqrt()
    return x @ project, y @ project


def near_collapse(
    encoder: MLP, predictor: nn.Linear, kind: str, start: float, views: tuple[Tensor, Tensor]
) -> tuple[LastLayer, float]:
    """Put an encoder and its predictor at a start, in place; return what they are and the weight w∞ of the leading mode at rest."""
    modes = last_layer(encoder, predictor, *views).modes()
    lam, sigma = float(modes.cross[0]), float(modes.variance[0])
    rest = math.sqrt(max(lam, 0)) / sigma if kind == KINDS[2] else abs(lam) / sigma
    with torch.no_grad():
        weight = encoder.last.weight
        weight.mul_(start * rest / torch.linalg.matrix_norm(weight, 2))
        if kind == KINDS[0]:
            values, vectors = torch.linalg.eigh(weight @ weight.T)
            predictor.weight.copy_((vectors * values.clamp(min=0).sqrt()) @ vectors.T)
    return last_layer(encoder, predictor, *views), rest


def forecast(layer: LastLayer, kind: str, rest: float) -> float:
    """Return the time at which the flow on the features as they are escapes; ∞ if it comes to rest below, or has not in 1e5.

    The time of unbalanced and contrastive starts is logarithmic in their size: what has not escaped by 2000 has come to rest.
    """
    # Only one moment is wanted of hundreds of flows: an event of a Runge–Kutta solver is far faster than a whole path.
    W, P = layer.encoder, layer.predictor
    k, C, moment = len(W), (layer.views.cross + layer.views.cross.T) / 2, layer.views.context
    contrastive = kind == KINDS[2]

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        weight = state[: W.size].reshape(W.shape)
        if contrastive:
            return (weight @ C - (weight @ moment @ weight.T) @ weight @ moment).ravel()
        predictor = state[W.size :].reshape(k, k)
        residual = weight @ C - predictor @ weight @ moment
        return np.concatenate(((predictor.T @ residual).ravel(), (residual @ weight.T).ravel()))

    def beyond(_: float, state: np.ndarray) -> float:
        return float(np.linalg.norm(state[: W.size].reshape(W.shape), 2)) - rest / 2

    beyond.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    first = W.ravel() if contrastive else np.concatenate((W.ravel(), P.ravel()))
    end = 1e5 if kind == KINDS[0] else 2e3
    found = solve_ivp(velocity, (0.0, end), first, rtol=1e-6, atol=1e-10, events=beyond)
    return float(found.t[-1]) if found.status == 1 else math.inf


def crossing(times: np.ndarray, size: np.ndarray, level: float) -> float:
    """Return when ``size`` first passes ``level``, linear in its logarithm between ``times``; ∞ if never."""
    above = np.flatnonzero(size >= level)
    if len(above) == 0:
        return math.inf
    i = above[0]
    if i == 0:
        return float(times[0])
    before, after = np.log(size[i - 1 : i + 1])
    return float(times[i - 1] + (times[i] - times[i - 1]) * (math.log(level) - before) / (after - before))


def linear_rate(layer: LastLayer) -> float:
    """Return the largest growth rate of W in Ẇ = PᵀWC − PᵀPWΣ with P held: escape off balance takes log(1/ε) over it."""
    P, C = layer.predictor, (layer.views.cross + layer.views.cross.T) / 2
    field = np.kron(P.T, C) - np.kron(
        P.T @ P, layer.views.context
    )  # on rows of W one after the other; C and Σ symmetric
    return float(np.linalg.eigvals(field).real.max())


def step_size(layer: LastLayer, kind: str, start: float) -> float:
    """Return ε of descent: small against the fastest rate, and near balanced collapse, where all is slow, larger."""
    top = float(np.linalg.eigvalsh(layer.views.context)[-1])
    return (min(1.0, 0.05 * (0.1 / start) ** 0.65) if kind == KINDS[0] else (0.1 if kind == KINDS[1] else 0.05)) / top
