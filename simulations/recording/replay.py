"""A plain stack put to a few of its inputs again: the rates at which its biases move the mean of a last layer's inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn import functional

from jepalign.simulations.recording.below import LARGEST, Function, Stack, Training

Array = NDArray[np.float64]

# Rows of a call, and units of the features, that a mean is taken over at most: a forward pass of ROWS · UNITS rows in all.
ROWS, UNITS = 64, 64
# Features in bfloat16 are off by 2⁻⁸ a layer; those of another function, by more than this.
ROUNDING = 2.0**-5


def some(rows: Tensor) -> Tensor:
    """Return at most ``ROWS`` rows of an array (n, ..., d), at equal distances and one by one."""
    flat = rows.reshape(-1, rows.shape[-1])
    return flat[:: -(-len(flat) // ROWS) or 1]


@dataclass(frozen=True, eq=False)
class Replay:
    """The layers of a stack, to be called again as they are now, without a module's call, hook or gradient.

    Attributes
    ----------
    layers : tuple of nn.Linear
        First to last.
    functions : tuple of tuple of callable
        Behind each of them.
    """

    layers: tuple[nn.Linear, ...]
    functions: tuple[tuple[Function, ...], ...]

    @property
    def precision(self) -> torch.dtype:
        """In which it is called: float64 if the layers are, else float32."""
        return torch.float64 if self.layers[0].weight.dtype == torch.float64 else torch.float32

    def features(self, inputs: Tensor, shifts: Sequence[Tensor] | None = None) -> Tensor:
        """Return what the layers make of the first one's inputs, (n, d) → (n, h), with ``shifts`` added to their biases."""
        precision = self.precision
        h = inputs.to(precision)
        for index, (layer, functions) in enumerate(zip(self.layers, self.functions, strict=True)):
            bias = None if layer.bias is None else layer.bias.detach().to(precision)  # pyright: ignore[reportUnnecessaryComparison]
            h = functional.linear(h, layer.weight.detach().to(precision), bias)
            h = h if shifts is None else h + shifts[index]
            for function in functions:
                h = function(h)
        return h

    @torch.no_grad()
    def gives(self, inputs: Tensor, features: Tensor) -> bool:
        """Return whether these features, (n, h), are what the layers make of the inputs, to the rounding of any precision."""
        with torch.autocast(inputs.device.type, enabled=False):
            found = self.features(inputs)
        return found.shape == features.shape and bool((found - features).norm() <= ROUNDING * found.norm())

    def slopes(self, inputs: Tensor) -> list[Tensor]:
        """Return ∂E h_i/∂b_l of at most ``UNITS`` of the h features, at equal distances, for every layer l, (units, outputs) each."""
        stride = -(-self.layers[-1].out_features // UNITS)
        shifts = tuple(layer.weight.new_zeros(layer.out_features, dtype=self.precision) for layer in self.layers)

        def mean(own: tuple[Tensor, ...]) -> Tensor:
            return self.features(inputs, own).mean(0)[::stride]

        # An autocast region around the caller would round the products again.
        with torch.autocast(inputs.device.type, enabled=False):
            return list(jacrev(mean)(shifts))  # pyright: ignore[reportArgumentType]


def replay(stack: Stack, encoder: nn.Module) -> Replay | None:
    """Return the layers of a stack as modules of its encoder; None if it has none, or a weight is not that of a linear one."""
    owners = {id(part.weight): part for part in encoder.modules() if isinstance(part, nn.Linear)}
    layers = [owners.get(id(weight)) for weight in stack.weights or ()]
    found = tuple(layer for layer in layers if layer is not None)
    if not found or len(found) < len(layers) or len(stack.functions) < len(layers):
        return None
    return Replay(found, stack.functions)


def rates_of_biases(
    stack: Replay | None, inputs: Tensor | None, last: Tensor, training: Training
) -> tuple[Array | None, str]:
    """Return ν = ‖∂E h/∂b‖²/h of the bias of every layer of a stack whose weight is trained, (m,), or None and why there are none.

    Parameters
    ----------
    stack : Replay or None
        The layers, if they can be called again.
    inputs : Tensor of shape (n, d) or None
        Rows that the first of them was given; the mean over more than ``UNITS`` features h is one over some.
    last : Tensor
        The weight of the last layer, as which biases must be trained.
    training : Training
        A bias that it does not move, or that is missing, has the rate 0.

    Notes
    -----
    See :class:`jepalign.linear_models.forecast.LastLayer`. Sampling adds to ν the variance of ∂h/∂b over rows by their number.
    """
    if stack is None or inputs is None or not len(inputs):
        return None, "inputs of the layers below, or the functions between them, were not seen"
    moved: list[float] = []
    for layer, slope in zip(stack.layers, stack.slopes(inputs), strict=True):
        bias: Tensor | None = getattr(layer, "bias", None)
        still = bias is None or not training.moves(bias)
        if bias is not None and not still and not training.alike(bias, last):
            return None, "biases below are trained at another learning rate or weight decay than the last layer"
        if training.moves(layer.weight):
            moved.append(0.0 if still else float(slope.double().square().sum(1).mean()))
    found = np.array(moved)
    if not (found <= LARGEST).all():
        return None, "derivatives of the last layer's inputs by biases are not finite"
    return found, ""
