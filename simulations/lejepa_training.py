"""LeJEPA as published, for a stack of encoders at once: alignment of two views and SIGReg of each, whole gradients, plain descent."""

from collections.abc import Iterable

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from jepalign.simulations.data import both_orders
from jepalign.simulations.ensembles.explicit import slicing_directions
from jepalign.simulations.ensembles.optimizers import State
from jepalign.simulations.ensembles.stacks import mapped

# 17 frequencies from −5 to 5, of which the positive ones count twice: half at the end, and nothing at 0.
FREQUENCIES = 0.625 * np.arange(1, 9)
RULE = 1.25 * np.exp(-np.square(FREQUENCIES) / 2) * np.append(np.ones(7), 0.5)


def statistic(projections: Tensor) -> Tensor:
    """Return the Epps–Pulley statistic of every column of (..., n, m), (..., m), by the published rule and without the factor n."""
    total = torch.zeros_like(projections[..., 0, :])
    for frequency, weight in zip(FREQUENCIES, RULE, strict=True):
        phases = float(frequency) * projections
        gap = torch.cos(phases).mean(-2) - float(np.exp(-(frequency**2) / 2))
        total = total + float(weight) * (gap.square() + torch.sin(phases).mean(-2).square())
    return total


def lejepa_losses(z: Tensor, z_plus: Tensor, gammas: Tensor, directions: Tensor) -> Tensor:
    """Return ¼E‖z − z⁺‖² + γk·SIGReg for every member, (A,): the published loss over 1 − λ with the γ of 4.6.

    Parameters
    ----------
    z, z_plus : Tensor of shape (A, n, k)
        Embeddings of the two views, gradients through both. The statistic is that of each view, averaged over views and directions.
    gammas : Tensor of shape (A,)
        γ.
    directions : Tensor of shape (m, k)
        Unit vectors.
    """
    alignment = (z - z_plus).square().sum(2).mean(1) / 4
    tests = [statistic(part @ directions.T).mean(1) for part in (z, z_plus)]
    return alignment + gammas * z.shape[2] * (tests[0] + tests[1]) / 2


def train_lejepa(
    network: nn.Module,
    state: State,
    gammas: np.ndarray,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    step: float,
    decay: float = 0.0,
    slices: int | Tensor = 16,
) -> State:
    """Return the parameters of A encoders after plain descent on their losses; what diverges is not finite.

    Parameters
    ----------
    network, state
        Architecture and stacked parameters, as :func:`jepalign.simulations.ensembles.stacks.stacked` gives them.
    gammas : ndarray of shape (A,)
        γ.
    batches : iterable of pairs of Tensor
        The two views, (n, d) for all or (A, n, d) for each.
    step, decay : float
        ε and η.
    slices : int or Tensor of shape (m, k)
        How many directions to draw anew for every step, or which to use.
    """
    first = next(iter(state.values()))
    strength = torch.as_tensor(gammas, dtype=first.dtype, device=first.device)
    for count, (x, y) in enumerate(batches):
        own = {name: value.detach().requires_grad_() for name, value in state.items()}
        z, z_plus = (mapped(network, own, part, shared=part.ndim == 2) for part in (x, y))
        axes = slices
        if isinstance(axes, int):
            axes = slicing_directions(count, axes, z.shape[2], dtype=z.dtype, device=z.device)
        slopes = torch.autograd.grad(lejepa_losses(z, z_plus, strength, axes).sum(), list(own.values()))
        with torch.no_grad():
            pairs = zip(own.items(), slopes, strict=True)
            state = {name: (1 - step * decay) * value.detach() - step * slope for (name, value), slope in pairs}
    return state


def needs(h: Tensor, h_plus: Tensor, decay: float = 0.0) -> np.ndarray:
    """Return q = 1 − ρ + η/σ of centred features of two views, (n, d) each: generalised eigenvalues of Σ − C + ηI against Σ, ascending.

    Directions in which features do not move by a part in 1e9 of the largest variance are left out.
    """
    first, other = (part.numpy(force=True).astype(np.float64) for part in both_orders(h, h_plus))
    first, other = first - first.mean(0), other - other.mean(0)
    context, cross = first.T @ first / len(first), other.T @ first / len(first)
    variance, axes = np.linalg.eigh(context)
    kept = variance > 1e-9 * variance[-1]
    axes, variance = axes[:, kept], variance[kept]
    gap = axes.T @ (context - (cross + cross.T) / 2) @ axes + decay * np.eye(kept.sum())
    return scipy.linalg.eigh(gap, np.diag(variance), eigvals_only=True)


def spectrum(z: Tensor, z_plus: Tensor) -> np.ndarray:
    """Return the eigenvalues of the covariance of embeddings of both views, (n, k) each, descending."""
    both = torch.cat((z, z_plus)).numpy(force=True).astype(np.float64)
    return np.linalg.eigvalsh(np.cov(both.T, bias=True).reshape(both.shape[1], both.shape[1]))[::-1]
