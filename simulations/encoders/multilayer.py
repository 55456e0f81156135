"""Encoders with a bias-free linear last layer, z = W h(x), initialised from a generator of their own."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from jepalign.errors import InputError
from jepalign.simulations.data import PairedViews

# Widths from the 64 pixels of a digit to the embedding.
LINEAR, DEEP = (64, 16), (64, 128, 64, 16)
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
}
# Factor that keeps the second moment of a Gaussian pre-activation (He et al. 2015 for ReLU; the others to two digits).
GAINS = {"linear": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "gelu": 1.53, "silu": 1.68, "elu": 1.25}


class MLP(nn.Module):
    """A multilayer perceptron whose last layer is linear and has no bias, as 3.1 and 2.4 ask for.

    Parameters
    ----------
    widths : sequence of int
        Input, hidden and embedding widths, (d, ..., h, k). Two widths make a linear encoder.
    activation : str
        A name in ``ACTIVATIONS``, after every hidden layer.
    seed : int
        Seeds this encoder's own generator; the global one is neither read nor advanced.
    hidden_bias : bool
        Whether hidden layers have biases (0 at first). Without them a ReLU network is homogeneous in every layer.

    Attributes
    ----------
    backbone : nn.Module
        x ↦ h(x), (n, d) → (n, h).
    last : nn.Linear
        h ↦ Wh; ``last.weight`` is W, (k, h).

    Raises
    ------
    InputError
        For an unknown activation or fewer than two widths.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str,
        *,
        seed: int,
        hidden_bias: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError("activation", activation, f"must be one of {', '.join(ACTIVATIONS)}")
        if len(widths) < 2 or min(widths) < 1:
            raise InputError("widths", tuple(widths), "must be at least an input and an embedding width, all positive")
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths[:-1]):
            layers.append(linear(inputs, outputs, generator, gain=GAINS[activation], bias=hidden_bias))
            layers.append(ACTIVATIONS[activation]())
        self.backbone = nn.Sequential(*layers)
        self.last = linear(widths[-2], widths[-1], generator)
        self.architecture = f"{activation} {'-'.join(map(str, widths))}" + ("" if hidden_bias else ", no biases")
        self.to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings z of ``x``, (n, d) → (n, k)."""
        return self.last(self.backbone(x))


def linear(
    inputs: int, outputs: int, generator: torch.Generator, *, gain: float = 1.0, bias: bool = False
) -> nn.Linear:
    """Return a float64 linear layer with independent N(0, gain²/inputs) weights and, if asked for, biases of 0."""
    # PyTorch's own initialisation would draw from the global generator.
    layer = cast("nn.Linear", skip_init(nn.Linear, inputs, outputs, bias=bias, dtype=torch.float64))
    with torch.no_grad():
        layer.weight.normal_(0.0, gain / math.sqrt(inputs), generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def linear_predictor(width: int, *, seed: int, device: torch.device | None = None) -> nn.Linear:
    """Return a bias-free linear predictor ẑ = Pz with P random, (width, width)."""
    return linear(width, width, torch.Generator().manual_seed(seed)).to(device)


@torch.no_grad()
def scale_embedding(encoder: nn.Module, x: Tensor, second_moment: float) -> None:
    """Scale the last layer, ``encoder.last``, so that the mean eigenvalue tr Φ/k of the embedding second moment on ``x`` is as given."""
    z = encoder(x)
    cast("nn.Linear", encoder.last).weight.mul_(torch.sqrt(second_moment / z.square().mean()))


def digit_encoder(
    widths: Sequence[int], activation: str, views: PairedViews, seed: int, *, hidden_bias: bool = True
) -> MLP:
    """Return a fresh encoder whose embeddings of all views have a mean eigenvalue tr Φ/k of 0.1.

    Spectral contrastive's spectrum ends below 1, and ReLU features give most of tr Φ to one direction: from a larger
    start plain descent overshoots there.
    """
    encoder = MLP(widths, activation, seed=seed, hidden_bias=hidden_bias, device=views.x.device)
    scale_embedding(encoder, torch.cat((views.x, views.y)), 0.1)
    return encoder
