"""A vision transformer that sees some patches of an image, and a predictor of the others, as in I-JEPA (Assran et al. 2023)."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jepalign.errors import InputError


def sincos_positions(side: int, width: int) -> Tensor:
    """Return fixed sine and cosine codes of the places on a side × side grid, (side², width); ``width`` a multiple of 4."""
    quarter = width // 4
    frequency = 1 / 10000 ** (torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = [place.reshape(-1, 1) * frequency for place in (row, column)]
    return torch.cat([f(phase) for phase in phases for f in (torch.sin, torch.cos)], dim=1)


class Block(nn.Module):
    """Self-attention and a perceptron of four times the width, each after a layer norm and beside an identity.

    Parameters
    ----------
    width, heads : int
        Of the tokens, and how many heads share it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after the block, (n, t, width)."""
        n, t, width = x.shape
        joint = self.joint(self.norm_attention(x)).reshape(n, t, 3, self.heads, width // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.perceptron(self.norm_perceptron(x))


class VisionTransformer(nn.Module):
    """Patches, fixed positions, blocks, a layer norm and a linear layer without bias, the W of the theory.

    Parameters
    ----------
    side, patch : int
        Images of side² pixels in patches of patch²; ``side`` a multiple of ``patch``.
    width, depth, heads : int
        Of the tokens, number of blocks and of heads.
    seed : int
        Seeds this encoder's own generator.

    Attributes
    ----------
    last : nn.Linear
        The last layer; ``last.weight`` is W, (width, width).
    grid : int
        Patches along a side.

    Raises
    ------
    InputError
        If the sizes do not divide.
    """

    def __init__(
        self, side: int = 32, patch: int = 4, width: int = 192, depth: int = 6, heads: int = 3, *, seed: int
    ) -> None:
        super().__init__()
        if side % patch:
            raise InputError("patch", patch, f"must divide the side {side}")
        _check_width(width, heads)
        self.grid, self.patch, self.width = side // patch, patch, width
        self.embed = nn.Linear(patch * patch, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, width, bias=False)
        self.register_buffer("positions", sincos_positions(self.grid, width))
        initialise(self, seed)
        self.architecture = f"ViT {side}x{side}/{patch}, {width} wide, {depth} layers, {heads} heads"

    def patches(self, x: Tensor) -> Tensor:
        """Return the patches of images (n, side²) or (n, side, side), (n, grid², patch²), row by row."""
        n, g, p = len(x), self.grid, self.patch
        return x.reshape(n, g, p, g, p).transpose(2, 3).reshape(n, g * g, p * p)

    def features(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the inputs h of the last layer, (n, t, width), of the patches ``visible``, (n, t) integers; None: all."""
        tokens = self.embed(self.patches(x)) + cast("Tensor", self.positions)
        if visible is not None:
            tokens = tokens.gather(1, visible[..., None].expand(-1, -1, self.width))
        return self.norm(self.blocks(tokens))

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the embeddings of the patches, (n, t, width)."""
        return self.last(self.features(x, visible))


class PooledTransformer(VisionTransformer):
    """A vision transformer that sees the whole image and embeds it once: W times the mean of its patches' features."""

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the embeddings of images, (n, width)."""
        return self.last(self.features(x, visible).mean(1))


class PatchPredictor(nn.Module):
    """Predicts the embeddings of hidden patches from those of visible ones and from the places of both.

    Parameters
    ----------
    encoder_width : int
        Of the embeddings.
    grid : int
        Patches along a side of the image.
    width, depth, heads : int
        Of the predictor's tokens, number of blocks and of heads.
    seed : int
        Seeds this predictor's own generator.
    """

    def __init__(
        self, encoder_width: int, grid: int, width: int = 96, depth: int = 3, heads: int = 3, *, seed: int
    ) -> None:
        super().__init__()
        _check_width(width, heads)
        self.width = width
        self.enter, self.leave = nn.Linear(encoder_width, width), nn.Linear(width, encoder_width)
        self.hidden = nn.Parameter(torch.zeros(width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sincos_positions(grid, width))
        initialise(self, seed)

    def forward(self, z: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return predictions of the patches ``hidden``, (n, u, encoder_width).

        Parameters
        ----------
        z : Tensor of shape (n, t, encoder_width)
            Embeddings of the visible patches.
        visible, hidden : Tensor of integers of shapes (n, t), (n, u)
            Which patches these are.
        """
        positions = cast("Tensor", self.positions)
        seen = self.enter(z) + positions[visible]
        asked = self.hidden + positions[hidden]
        found = self.blocks(torch.cat((seen, asked), dim=1))
        return self.leave(self.norm(found[:, seen.shape[1] :]))


def initialise(module: nn.Module, seed: int) -> None:
    """Draw every matrix and vector of positions anew: N(0, 0.02²) cut at two standard deviations; biases 0, norms 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)
                if parameter.ndim == 2:
                    # At least half of 1/√fan-in: 0.02 is meant for wider layers.
                    parameter.mul_(max(1.0, 1 / math.sqrt(parameter.shape[1]) / 0.02 / 2))


def _check_width(width: int, heads: int) -> None:
    if width % 4 or width % heads:
        raise InputError("width", width, f"must be a multiple of 4 and of the {heads} heads")
