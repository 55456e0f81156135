"""Stacks of equal modules and of their batches, and the predictors that a batch determines."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from jepalign.errors import InputError
from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.simulations.ensembles.optimizers import State

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


def least_squares_predictors(z: Tensor, target: Tensor) -> Tensor:
    """Return for every member the P that minimises Σ‖target − Pz‖², (A, k, k), from (A, n, k), by QR factorisation.

    Not finite where embeddings do not span all k axes.
    """
    q, r = torch.linalg.qr(z)
    return torch.linalg.solve_triangular(r, q.mT @ target, upper=True).mT


def spectral_predictors(entry: str, z: Tensor) -> Tensor:
    """Return P = g(Φ) for every member, (A, k, k), from embeddings (A, n, k); ``entry`` names g in the dictionary.

    NaN where the embeddings are not finite, infinite where g is.
    """
    moment = z.mT @ z / z.shape[1]
    finite = moment.isfinite().all(-1).all(-1)
    eye = torch.eye(z.shape[2], dtype=z.dtype, device=z.device)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], moment, eye))
    spectrum = DICTIONARY[entry].spectrum(values.clamp(min=0).cpu().numpy())
    matrix = (vectors * torch.as_tensor(spectrum, dtype=z.dtype, device=z.device)[:, None]) @ vectors.mT
    return torch.where(finite[:, None, None], matrix, math.nan)


def mapped(network: nn.Module, parameters: Mapping[str, Tensor], x: Tensor, *, shared: bool) -> Tensor:
    """Return every member's output for ``x``, the same for all members or one for each, (A, n, ...)."""

    def one(own: dict[str, Tensor], batch: Tensor) -> Tensor:
        return functional_call(network, own, (batch,))

    return vmap(one, in_dims=(0, None if shared else 0))(dict(parameters), x)


def last_name(encoder: nn.Module) -> str:
    """Return the name of the last layer's weight; raise ``InputError`` if it is not linear without bias."""
    layers = [(name, module) for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    if not layers or getattr(layers[-1][1], "bias", None) is not None:
        raise InputError("build", type(encoder).__name__, "must end in a linear layer without bias")
    return f"{layers[-1][0]}.weight" if layers[-1][0] else "weight"


def stacked(
    argument: str, modules: list[nn.Module], dtype: torch.dtype, device: torch.device | None
) -> tuple[nn.Module, State]:
    """Return the architecture without storage, and the stacked parameters of equal modules."""
    if any(True for module in modules for _ in module.buffers()):
        raise InputError(argument, type(modules[0]).__name__, "must have no buffers (no running statistics)")
    shapes = {tuple((name, value.shape) for name, value in module.named_parameters()) for module in modules}
    if len(shapes) > 1:
        raise InputError(argument, type(modules[0]).__name__, "must give every member the same architecture")
    parameters, _ = stack_module_state(modules)
    stacked = {name: value.detach().to(dtype=dtype, device=device) for name, value in parameters.items()}
    return copy.deepcopy(modules[0]).to("meta"), stacked


def paired(batches: Batches, seeds: np.ndarray, steps: int, *, shared: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches, stacked over the seeds of the members unless all members share them."""
    streams = {seed: islice(batches(int(seed)), steps) for seed in (seeds[:1] if shared else np.unique(seeds))}
    for step in range(steps):
        found: dict[Any, tuple[Tensor, Tensor]] = {}
        for seed, stream in streams.items():
            pair = next(stream, None)
            if pair is None:
                raise InputError("batches", step, f"must yield at least {steps} batches")
            found[seed] = pair
        if shared:
            yield found[seeds[0]]
        else:
            yield torch.stack([found[seed][0] for seed in seeds]), torch.stack([found[seed][1] for seed in seeds])


def member_bytes(encoder: nn.Module, batch: tuple[Tensor, Tensor] | None, dtype: torch.dtype, slices: int) -> int:
    """Estimate what one member needs: parameters with gradients and optimiser states, and activations, also of ``slices`` projections."""
    outputs = 0

    def count(_module: nn.Module, _arguments: Any, output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    hooks = [m.register_forward_hook(count) for m in encoder.modules() if not list(m.children())]
    if batch is not None:
        with torch.no_grad():
            encoder(batch[0].to(next(encoder.parameters())))
    for hook in hooks:
        hook.remove()
    parameters = sum(value.numel() for value in encoder.parameters())
    outputs += 60 * slices * (0 if batch is None else len(batch[0]))
    return dtype.itemsize * (8 * parameters + 4 * outputs)
