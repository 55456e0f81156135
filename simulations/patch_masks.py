"""Which patches of an image a masked JEPA shows and which it asks for: several target blocks and one context block."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jepalign.errors import InputError


@dataclass(frozen=True)
class PatchMasks:
    """One draw for a batch: every image has the same numbers of visible and of hidden patches.

    Attributes
    ----------
    visible : Tensor of integers, (n, t)
        The patches that the context encoder sees, ascending.
    hidden : Tensor of integers, (n, blocks, u)
        The patches of each target block, row by row.
    """

    visible: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class BlockSampler:
    """I-JEPA's masks (Assran et al. 2023, section 3): target blocks, and a context block without them.

    One size of target block and one of context block are drawn for a batch, their places for every image. Where images differ in how
    many context patches are left, all keep as many as the poorest, drawn at random.

    Attributes
    ----------
    grid : int
        Patches along a side.
    blocks : int
        Number of target blocks, which may overlap.
    target_scale, target_aspect, context_scale : pair of float
        Ranges of a target block's share of the image and of its height by its width, and of the context block's share (a square).
    least : int
        Fewest context patches; places are drawn anew below it.

    Raises
    ------
    InputError
        If a range is empty or outside of what an image holds.
    """

    grid: int
    blocks: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    least: int = 4

    def __post_init__(self) -> None:
        for name, (low, high), top in (
            ("target_scale", self.target_scale, 1.0),
            ("target_aspect", self.target_aspect, math.inf),
            ("context_scale", self.context_scale, 1.0),
        ):
            if not 0 < low <= high <= top:
                raise InputError(name, (low, high), f"must be a range between 0 and {top:g}")
        if self.grid < 2 or self.blocks < 1 or not 1 <= self.least < self.grid**2:
            raise InputError("grid", self.grid, "must be at least 2, with at least one block and one context patch")

    def draw(self, count: int, generator: torch.Generator) -> PatchMasks:
        """Return masks for ``count`` images, drawn on the CPU from ``generator``.

        Raises
        ------
        InputError
            If a hundred draws leave some image with fewer context patches than ``least``.
        """

        def uniform(span: tuple[float, float]) -> float:
            return span[0] + (span[1] - span[0]) * torch.rand((), generator=generator).item()

        for _ in range(100):
            area, aspect = uniform(self.target_scale) * self.grid**2, uniform(self.target_aspect)
            height, width = (self._side(math.sqrt(area * f)) for f in (aspect, 1 / aspect))
            side = self._side(math.sqrt(uniform(self.context_scale)) * self.grid)
            hidden = self._rectangles(count * self.blocks, height, width, generator).reshape(count, self.blocks, -1)
            context = self._rectangles(count, side, side, generator)
            shown = torch.zeros(count, self.grid**2, dtype=torch.bool).scatter_(
                1, context, torch.ones_like(context, dtype=torch.bool)
            )
            shown.scatter_(1, hidden.flatten(1), torch.zeros_like(hidden.flatten(1), dtype=torch.bool))
            kept = int(shown.sum(1).min())
            if kept >= self.least:
                break
        else:
            raise InputError("least", self.least, "leaves no room for the target blocks")
        # Of the patches shown, ``kept`` at random: those with the largest draws.
        chance = torch.rand(count, self.grid**2, generator=generator).masked_fill_(~shown, -1.0)
        return PatchMasks(chance.topk(kept, dim=1).indices.sort(dim=1).values, hidden)

    def _side(self, length: float) -> int:
        return min(max(round(length), 1), self.grid)

    def _rectangles(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Return the patches of rectangles at random places, (count, height · width)."""
        top, left = (
            torch.randint(0, self.grid - size + 1, (count, 1), generator=generator) for size in (height, width)
        )
        rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
        return (top + rows) * self.grid + left + columns
