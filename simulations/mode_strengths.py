"""Linear encoders in aligned modes and from random starts, trained step by step, and how strong each mode is over time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.simulations.data import both_orders
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.results import numpy
from jepalign.simulations.training import JEPA, Rates, train


@dataclass(frozen=True)
class Modes:
    """A batch in both orders whose moments are exact: Σ = Bᵀ diag(σ) B and C = Bᵀ diag(λ) B.

    Attributes
    ----------
    x, y : Tensor of shape (8d, d)
        The batch.
    basis : ndarray of shape (d, d)
        B, eigenvectors in rows.
    cross, variance : ndarray of shape (d,)
        λ and σ.
    """

    x: Tensor
    y: Tensor
    basis: np.ndarray
    cross: np.ndarray
    variance: np.ndarray


def exact_modes(correlation: np.ndarray, variance: np.ndarray, *, seed: int, device: torch.device) -> Modes:
    """Return views with these canonical correlations and variances, in random axes; moments are exact to rounding."""
    d = len(correlation)
    rng = np.random.default_rng(seed)
    design = np.linalg.qr(rng.standard_normal((4 * d, 2 * d)))[0] * np.sqrt(4 * d)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    first = design[:, :d]
    second = correlation * first + np.sqrt(1 - correlation**2) * design[:, d:]
    views = (torch.as_tensor((part * np.sqrt(variance)) @ basis, device=device) for part in (first, second))
    return Modes(*both_orders(*views), basis, correlation * variance, variance)


def layers_of(encoder: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of an encoder, first to last."""
    return [module for module in encoder.modules() if isinstance(module, nn.Linear)]


def product(encoder: nn.Module) -> np.ndarray:
    """Return the matrix that a deep linear encoder is, on memory of its own."""
    first, *others = layers_of(encoder)
    matrix = first.weight.detach().clone()
    for layer in others:
        matrix = layer.weight.detach() @ matrix
    return numpy(matrix)


def aligned_encoder(modes: Modes, depth: int, layer: float) -> MLP:
    """Return a deep linear encoder in aligned modes: every layer is ``layer`` in every mode."""
    d = len(modes.cross)
    encoder = MLP((d,) * (depth + 1), "linear", seed=0, hidden_bias=False, device=modes.x.device)
    with torch.no_grad():
        for place, part in enumerate(layers_of(encoder)):
            first = torch.as_tensor(modes.basis, device=modes.x.device) if place == 0 else torch.eye(d).to(part.weight)
            part.weight.copy_(layer * first)
    return encoder


def random_encoder(modes: Modes, depth: int, size: float, seed: int, *, gaussian: bool = False) -> MLP:
    """Return a deep linear encoder whose layers are ``size`` times independent random orthogonal or N(0, 1/d) matrices."""
    d = len(modes.cross)
    rng = np.random.default_rng(seed)
    encoder = MLP((d,) * (depth + 1), "linear", seed=seed, hidden_bias=False, device=modes.x.device)
    with torch.no_grad():
        for part in layers_of(encoder):
            drawn = rng.standard_normal((d, d))
            matrix = drawn / np.sqrt(d) if gaussian else np.linalg.qr(drawn)[0]
            part.weight.copy_(torch.as_tensor(size * matrix))
    return encoder


def balanced_predictor(encoder: MLP) -> nn.Linear:
    """Return the predictor (WWᵀ)^½ of the last layer's weight W, which balances it at equal rates."""
    weight = encoder.last.weight.detach()
    values, vectors = torch.linalg.eigh(weight @ weight.T)
    predictor = linear_predictor(len(weight), seed=0, device=weight.device)
    with torch.no_grad():
        predictor.weight.copy_((vectors * values.clamp(min=0).sqrt()) @ vectors.T)
    return predictor


def repeated(modes: Modes, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the whole batch ``steps`` times."""
    return ((modes.x, modes.y) for _ in range(steps))


def jepa_path(encoder: MLP, predictor: nn.Linear, modes: Modes, *, step: float, moments: np.ndarray) -> np.ndarray:
    """Train a JEPA in place; return the encoder's matrix before the steps ``moments``, ascending, (T, k, d)."""
    found: list[np.ndarray] = []
    wanted = set(moments.tolist())

    def look(done: int, _x: Tensor, _y: Tensor) -> None:
        if done in wanted:
            found.append(product(encoder))

    train(JEPA(encoder, predictor, Rates(step=step)), repeated(modes, int(moments[-1]) + 1), before=look)
    return _filled(found, encoder, len(moments))


def loss_path(
    encoder: MLP,
    loss: Callable[[Tensor, Tensor], Tensor],
    modes: Modes,
    *,
    step: float,
    moments: np.ndarray,
    decoder: nn.Linear | None = None,
) -> np.ndarray:
    """Train by plain descent on ``loss`` of embeddings (decoded: of reconstructions and targets); return as `jepa_path`."""
    parameters = [*encoder.parameters(), *([] if decoder is None else decoder.parameters())]
    optimizer = torch.optim.SGD(parameters, lr=step)
    found: list[np.ndarray] = []
    wanted = set(moments.tolist())
    for done in range(int(moments[-1]) + 1):
        if done in wanted:
            found.append(product(encoder))
        z = encoder(modes.x)
        value = loss(z, encoder(modes.y)) if decoder is None else loss(decoder(z), modes.y)
        if not torch.isfinite(value):
            break
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return _filled(found, encoder, len(moments))


def _filled(found: list[np.ndarray], encoder: MLP, count: int) -> np.ndarray:
    """Stack the matrices, NaN after a divergence."""
    path = np.full((count, *product(encoder).shape), np.nan)
    if found:
        path[: len(found)] = found
    return path


def reconstruction(guess: Tensor, target: Tensor) -> Tensor:
    """Return ½E‖guess − target‖², the loss of a masked autoencoder."""
    return (guess - target).square().sum(1).mean() / 2


def strengths(path: np.ndarray, modes: Modes) -> np.ndarray:
    """Return ‖Wv‖ for every eigenvector v in every matrix of a path, (T, d)."""
    return np.linalg.norm(path @ modes.basis.T, axis=1)


def passing(times: np.ndarray, strength: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return when each column of ``strength``, (T, d), first passes its ``level``, linear in its logarithm; ∞ if never."""
    found = np.full(strength.shape[1], np.inf)
    for mode in range(strength.shape[1]):
        above = np.flatnonzero(strength[:, mode] >= level[mode])
        if len(above) == 0:
            continue
        i = int(above[0])
        if i == 0:
            found[mode] = times[0]
            continue
        before, after = np.log(strength[i - 1 : i + 1, mode])
        share = (np.log(level[mode]) - before) / (after - before)
        found[mode] = times[i - 1] + share * (times[i] - times[i - 1])
    return found
