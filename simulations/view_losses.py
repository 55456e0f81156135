"""Joint-embedding objectives other than the JEPA's as losses of two batches of embeddings, for automatic differentiation.

Every function takes ``z`` and ``z_plus`` of shape (n, k), a batch in both orders (:func:`jepalign.simulations.data.both_orders`). Values
are those of :mod:`jepalign.linear_models.losses`, which has gradients of its own, up to the factors that are stated.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from jepalign.simulations.objectives import Objective, second_moment


def spectral(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return ¼L_SCL with all embeddings for negatives, from second moments: ‖Φ‖² = E(z·z′)² (1.1)."""
    return (second_moment(z).square().sum() - 2 * (z * z_plus).sum(dim=1).mean()) / 4


def dot_infonce(z: Tensor, z_plus: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return half of InfoNCE with dot products: of every first view against its second and all second views of the batch.

    Halved, it is ¼L_SCL at temperature 1 and to second order.
    """
    first, second = z.chunk(2)[0], z_plus.chunk(2)[0]
    logits = first @ second.T / temperature
    return (torch.logsumexp(logits, dim=1) - logits.diagonal()).mean() / 2


def covariance_twins(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return ¼‖K − I‖² with K = E z⁺zᵀ: Barlow Twins in the form that is solved (Simon et al. 2023)."""
    cross = z_plus.T @ z / len(z)
    return (cross - torch.eye(len(cross), dtype=z.dtype, device=z.device)).square().sum() / 4


def barlow_twins(z: Tensor, z_plus: Tensor, *, off_diagonal: float = 0.005) -> Tensor:
    """Return Σ_i(1 − R_ii)² + μΣ_{i≠j}R_ij² of the cross-correlation R (Zbontar et al. 2021)."""
    first, second = ((part - part.mean(dim=0)) / part.std(dim=0, correction=0) for part in (z, z_plus))
    distance = first.T @ second / len(z) - torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    square = distance.square()
    return off_diagonal * square.sum() + (1 - off_diagonal) * square.diagonal().sum()


def vicreg(
    z: Tensor, z_plus: Tensor, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Return VICReg (Bardes, Ponce & LeCun 2022) in the normalisation of the authors' code, times k."""
    value = invariance * (z - z_plus).square().sum(dim=1).mean()
    for part in (z, z_plus):
        apart = part - part.mean(dim=0)
        moment = apart.T @ apart / (len(part) - 1)
        diagonal = moment.diagonal()
        value = value + variance / 2 * torch.relu(1 - torch.sqrt(diagonal + 1e-4)).sum()
        value = value + covariance * (moment.square().sum() - diagonal.square().sum())
    return value


# By name, with factors that make a gradient step of one size serve all of them.
VIEW_LOSSES: Mapping[str, Objective] = MappingProxyType(
    {
        "spectral contrastive": spectral,
        "InfoNCE": dot_infonce,
        "Barlow Twins, covariance form": covariance_twins,
        "VICReg, equal weights": lambda z, other: vicreg(z, other, invariance=1.0, variance=2.0, covariance=1.0) / 4,
        "Barlow Twins, published": partial(barlow_twins),
        "VICReg, published weights": lambda z, other: vicreg(z, other) / 50,
    }
)


def descend(
    encoder: nn.Module, objective: str, batches: Iterable[tuple[Tensor, Tensor]], step: float, decay: float = 0.0
) -> None:
    """Train ``encoder`` in place on one of ``VIEW_LOSSES`` by plain gradient descent; a diverged one is left as it is."""
    optimizer = torch.optim.SGD(encoder.parameters(), lr=step, weight_decay=decay)
    for x, y in batches:
        z, z_plus = encoder(torch.cat((x, y))).chunk(2)
        loss = VIEW_LOSSES[objective](z, z_plus)
        if not torch.isfinite(loss):
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
