"""A small convolutional encoder of square grey images."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from jepalign.errors import InputError
from jepalign.simulations.encoders.multilayer import ACTIVATIONS, GAINS, linear


class Convolutional(nn.Module):
    """Convolutions of stride 2 over a square image, then a linear layer without bias.

    Parameters
    ----------
    side : int
        Images have side² pixels, given row by row; halved by every convolution, rounding up.
    channels : sequence of int
        Of the convolutions, 3 × 3 with zero padding.
    embedding : int
        k.
    activation : str
        A name in ``ACTIVATIONS``, after every convolution.
    seed : int
        Seeds this encoder's own generator.
    normalize : bool
        A batch normalisation after every convolution.
    dtype : torch.dtype
        Of the weights.

    Attributes
    ----------
    backbone : nn.Module
        x ↦ h(x), (n, side²) → (n, h).
    last : nn.Linear
        h ↦ Wh; ``last.weight`` is W, (k, h).

    Raises
    ------
    InputError
        For an unknown activation, no channels or a side that is not positive.
    """

    def __init__(
        self,
        side: int,
        channels: tuple[int, ...],
        embedding: int,
        activation: str,
        *,
        seed: int,
        normalize: bool = False,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError("activation", activation, f"must be one of {', '.join(ACTIVATIONS)}")
        if side < 1 or not channels or min(*channels, embedding) < 1:
            raise InputError("channels", channels, "must be at least one, all positive, and side and embedding too")
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
        inputs, size = 1, side
        for outputs in channels:
            layer = cast("nn.Conv2d", skip_init(nn.Conv2d, inputs, outputs, 3, stride=2, padding=1, dtype=dtype))
            with torch.no_grad():
                layer.weight.normal_(0.0, GAINS[activation] / math.sqrt(9 * inputs), generator=generator)
                assert layer.bias is not None
                layer.bias.zero_()
            layers.append(layer)
            if normalize:
                layers.append(nn.BatchNorm2d(outputs, dtype=dtype))
            layers.append(ACTIVATIONS[activation]())
            inputs, size = outputs, (size + 1) // 2
        layers.append(nn.Flatten())
        self.backbone = nn.Sequential(*layers)
        self.last = linear(inputs * size * size, embedding, generator).to(dtype)
        norm = ", batch-normalised" if normalize else ""
        self.architecture = f"convolutional {activation} {side}x{side}-{'-'.join(map(str, channels))}-{embedding}{norm}"
        self.to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings z of ``x``, (n, side²) → (n, k)."""
        return self.last(self.backbone(x))
