"""Explicit uniformity on the embeddings of a batch, as losses that PyTorch differentiates."""

import math

import torch
from torch import Tensor

from jepalign.errors import InputError
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VICReg

# The trapezoidal rule converges geometrically for the statistic. With this spacing it is exact to float64 rounding while
# projections of a batch lie within 2π/SPACING − 12√θ of each other; beyond t = REACH the integrand is below 1e-16.
SPACING, REACH = 0.125, 6.1


def explicit_uniformity(z: Tensor, term: Uniformity, directions: Tensor | None = None) -> Tensor:
    """Return U of embeddings ``z``, (n, k): what :mod:`jepalign.linear_models.uniformity` has as a function of Φ = E zzᵀ.

    Parameters
    ----------
    z : Tensor of shape (n, k)
        Not centred. Differentiable; may be mapped over with ``torch.func.vmap``.
    term : Uniformity
        Spectral, log-det, VICReg or its variance hinge, or SIGReg.
    directions : Tensor of shape (m, k), optional
        SIGReg's unit vectors, which only it needs.

    Returns
    -------
    Tensor
        A number. SIGReg is the Epps–Pulley statistic of the batch itself, not of a Gaussian with its moments, averaged
        over the directions and multiplied by k (Balestriero & LeCun 2025 multiply by n and not by k).

    Raises
    ------
    InputError
        For another functional, or SIGReg without directions.
    """
    if isinstance(term, SIGReg):
        if directions is None:
            raise InputError("directions", None, "must be given for SIGReg")
        return z.shape[-1] * epps_pulley(z @ directions.T, term.theta).mean()
    moment = z.T @ z / len(z)
    diagonal = moment.diagonal()
    if isinstance(term, Spectral):
        return (moment - torch.eye(len(moment), dtype=z.dtype, device=z.device)).square().sum() / 4
    if isinstance(term, LogDet):
        return -torch.linalg.slogdet(moment).logabsdet / 2
    if isinstance(term, VICReg):
        hinge = torch.relu(1 - torch.sqrt(diagonal + term.epsilon)).sum()
        return term.variance * hinge + term.covariance * (moment.square().sum() - diagonal.square().sum())
    raise InputError("term", type(term).__name__, "must be Spectral, LogDet, VICReg, VarianceHinge or SIGReg")


def epps_pulley(projections: Tensor, theta: float) -> Tensor:
    """Return ∫|φ(t) − e^{−t²/2}|² e^{−θt²} dt, (m,), with φ the empirical characteristic function of every column, (n, m).

    By the trapezoidal rule on the whole line; costs O(nm) times about fifty. ``InputError`` for θ below 1/4, where the
    integrand decays too slowly for the nodes.
    """
    if theta < 0.25:
        raise InputError("theta", theta, "must be at least 0.25")
    spread = math.sqrt(theta)
    nodes = torch.arange(0, REACH, SPACING * spread, dtype=projections.dtype, device=projections.device) / spread
    phases = projections[None] * nodes[:, None, None]
    gap = torch.cos(phases).mean(1) - torch.exp(-nodes.square() / 2)[:, None]
    square = gap.square() + torch.sin(phases).mean(1).square()
    # At t = 0 the integrand vanishes, and it is even: twice the sum over positive nodes.
    return 2 * SPACING * (square * torch.exp(-theta * nodes.square())[:, None]).sum(0)


def slicing_directions(step: int, count: int, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``count`` random unit vectors, (count, width), a function of ``step`` alone on every device."""
    generator = torch.Generator().manual_seed(step)
    drawn = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return (drawn / drawn.norm(dim=1, keepdim=True)).to(dtype=dtype, device=device)
