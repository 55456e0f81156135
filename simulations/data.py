"""Two views of every digit as tensors, in batches whose order depends on a seed only."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jepalign.datasets import digits, two_views
from jepalign.errors import InputError


@dataclass(frozen=True)
class PairedViews:
    """Two views of the same n samples.

    Attributes
    ----------
    x, y : Tensor of shape (n, d)
        Row i of both comes from sample i.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape != self.y.shape:
            raise InputError("y", tuple(self.y.shape), f"must be (n, d), the shape {tuple(self.x.shape)} of x")

    def batches(self, size: int, steps: int, *, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``steps`` batches of ``size`` pairs: epochs without replacement, each in its own order.

        The order is drawn on the CPU from a generator of its own, so that it is the same on every device. A last batch
        that an epoch cannot fill is left out, as its second moments would be of another sample size.

        Raises
        ------
        InputError
            If a batch is larger than the data or empty.
        """
        samples = len(self.x)
        if not 1 <= size <= samples:
            raise InputError("size", size, f"must be between 1 and the number of samples, {samples}")
        generator = torch.Generator().manual_seed(seed)
        yielded = 0
        while yielded < steps:
            order = torch.randperm(samples, generator=generator).to(self.x.device)
            for indices in order.split(size):
                if len(indices) < size or yielded == steps:
                    break
                yielded += 1
                yield self.x[indices], self.y[indices]


def digit_views(*, device: torch.device, seed: int, noise: float = 0.1, mask: float = 0.25) -> PairedViews:
    """Return two noisy, masked views of the 1797 scikit-learn digits, float64 (:func:`jepalign.datasets.two_views`)."""
    x, y = two_views(digits().images, noise=noise, mask=mask, seed=seed)
    return PairedViews(*(torch.as_tensor(view, dtype=torch.float64, device=device) for view in (x, y)))


def both_orders(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetrise a batch: every pair (x, y) beside (y, x), so that K = E z⁺zᵀ is symmetric and both views share Φ."""
    return torch.cat((x, y)), torch.cat((y, x))


def other_view(z: Tensor) -> Tensor:
    """Return, for the rows of a batch in both orders, the rows of the other view: its two halves exchanged."""
    first, second = z.chunk(2)
    return torch.cat((second, first))
