"""The two sides of the dictionary as losses of embeddings: a force without negatives, and explicit objectives.

Every function takes embeddings of a batch in both orders, ``z`` and ``z_plus`` of shape (n, k) with the two views of a
pair in the same row (:func:`jepalign.simulations.data.both_orders`). Moments are not centred.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from jepalign.linear_models.dictionary import SpectralPredictor

Objective = Callable[[Tensor, Tensor], Tensor]


def second_moment(z: Tensor) -> Tensor:
    """Return Φ = E zzᵀ, (k, k)."""
    return z.T @ z / len(z)


def spectral_matrix(entry: SpectralPredictor, moment: Tensor) -> Tensor:
    """Return P = g(Φ), (k, k), without gradient, on the device of ``moment``."""
    return torch.as_tensor(entry.matrix(moment.detach().cpu().numpy()), dtype=moment.dtype, device=moment.device)


def prediction_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the JEPA loss ½E‖ẑ − sg(z̄)‖²; no gradient reaches ``target``."""
    return (prediction - target.detach()).square().sum(1).mean() / 2


def residual_loss(z: Tensor, z_plus: Tensor, predictor: Tensor) -> Tensor:
    """Return a loss whose gradient with respect to row i of ``z`` is −(z⁺ᵢ − Pzᵢ)/n: the residual force, no negatives.

    This is IsoLoss (Halvagal, Laborieux & Zenke 2023) up to its value: the residual is held fixed and points the way.
    """
    residual = (z_plus - z @ predictor.T).detach()
    return -(z * residual).sum(1).mean()


def spectral_contrastive(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return ¼L_SCL = ¼[E(z·z')² − 2E z·z⁺] (HaoChen et al. 2021), the negatives z' being all n embeddings.

    The expectation is that of the empirical distribution, a V-statistic: an embedding is among its own negatives.
    Leaving it out changes the loss by a term of order 1/n.
    """
    negatives = (z @ z.T).square().mean()
    positives = (z * z_plus).sum(1).mean()
    return (negatives - 2 * positives) / 4


def gaussian_infonce(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return half of InfoNCE with similarity −½‖u−v‖² for Gaussian embeddings with these second moments (1.3)."""
    moment = second_moment(z)
    noisy = torch.eye(len(moment), dtype=z.dtype, device=z.device) + moment
    spread = torch.linalg.slogdet(noisy).logabsdet + torch.linalg.solve(noisy, moment).trace()
    return alignment(z, z_plus) - spread / 4


def log_det(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return alignment − ½ log det Φ, without the ridge that practice adds; Φ must be invertible."""
    return alignment(z, z_plus) - torch.linalg.slogdet(second_moment(z)).logabsdet / 2


def schatten_three(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return ⅓‖Z/√n‖³ − ½E z·z⁺ in the Schatten-3 norm, from singular values: what DirectPred descends."""
    singular = torch.linalg.svdvals(z / len(z) ** 0.5)
    return singular.pow(3).sum() / 3 - (z * z_plus).sum(1).mean() / 2


def alignment(z: Tensor, z_plus: Tensor) -> Tensor:
    """Return ¼E‖z − z⁺‖²."""
    return (z - z_plus).square().sum(1).mean() / 4


# The explicit objective U_g of every entry of the dictionary, by the entry's name: none of them knows g or a predictor.
EXPLICIT: Mapping[str, Objective] = MappingProxyType(
    {
        "spectral-contrastive": spectral_contrastive,
        "gaussian-infonce": gaussian_infonce,
        "log-det": log_det,
        "directpred": schatten_three,
        "no-predictor": alignment,
    }
)
