"""How far two correct float64 computations of one quantity may differ: the tolerances of every experiment.

First-order bounds in the unit roundoff u = 2⁻⁵³ (Higham 2002, chapter 3): a sum of N products, in any order, is off by
at most Nu times the sum of their absolute values. They are rigorous to first order and generous, since roundings
mostly cancel; a wrong coefficient exceeds them by many orders of magnitude, which is what makes them a test.
"""

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.linear_models.dictionary import SpectralPredictor
from jepalign.simulations.encoders import MLP

UNIT = 2.0**-53
# sup |φ'| of the activations: tanh, ReLU, ELU and the identity do not stretch; GELU's slope peaks at 1.1289 (x = √2), SiLU's at 1.0998.
SLOPES: dict[type[nn.Module], float] = {
    nn.Tanh: 1.0,
    nn.ReLU: 1.0,
    nn.ELU: 1.0,
    nn.Identity: 1.0,
    nn.GELU: 1.13,
    nn.SiLU: 1.1,
}


def linear_layers(encoder: MLP) -> list[nn.Linear]:
    """Return the linear layers of an MLP, first to last."""
    return [module for module in encoder.modules() if isinstance(module, nn.Linear)]


def spectral_size(entry: SpectralPredictor, eigenvalues: Tensor) -> float:
    """Return ‖P‖_F + √k s_max max|g'|: P = g(Φ) and what an error of one unit in Φ makes of it.

    The derivative of a matrix function at a symmetric matrix has the divided differences of g as its entries in the
    eigenbasis, each at most max|g'| over the spectrum (Higham 2008, 3.12); g' is taken by central differences.
    """
    values = np.maximum(eigenvalues.detach().cpu().numpy(), np.finfo(float).tiny)
    width = 1e-4
    upper, lower = entry.spectrum(values * (1 + width)), entry.spectrum(values * (1 - width))
    slope = np.abs(upper - lower) / (2 * width * values)
    size = np.linalg.norm(entry.spectrum(values)) + np.sqrt(len(values)) * values.max() * slope.max()
    return float(size)


def cotangent_sizes(z: Tensor, z_plus: Tensor, predictor_size: float) -> Tensor:
    """Return (‖z⁺ᵢ‖ + (1 + p)‖zᵢ‖)/n, (n,): the absolute size of the terms in row i of a gradient at the embeddings."""
    return (z_plus.norm(dim=1) + (1 + predictor_size) * z.norm(dim=1)).detach() / len(z)


def last_layer_bound(weight: Tensor, features: Tensor, cotangents: Tensor, widths: int) -> float:
    """Return how far two computations of tr(GWᵀ) may differ, G the gradient at the last layer's weight W (k, h).

    Row i of ``cotangents`` (n,) is the absolute size of the gradient at embedding i, which a chain of sums of ``widths``
    products in all leads to; ``features`` are the h of the batch, (n, h). Both computations start from the same z = Wh.
    """
    terms = len(features) + weight.shape[0] + weight.shape[1] + widths
    return 2 * terms * UNIT * (cotangents * features.norm(dim=1)).sum().item() * weight.norm().item()


@torch.no_grad()
def gradient_bounds(encoder: MLP, x: Tensor, cotangents: Tensor) -> list[float]:
    """Return, for each linear layer, how far two computations of its gradient may differ, in the Frobenius norm.

    Row i of ``cotangents`` (n,) is the absolute size of the gradient at embedding i. It reaches layer l through the
    later layers, each stretching by at most ‖W‖_F sup|φ'|, and multiplies the layer's input; every entry is then a
    chain of sums of n + Σ widths products, on each of the two sides.
    """
    layers = linear_layers(encoder)
    sizes: list[Tensor] = []
    slopes: list[float] = []
    signal = x
    for module in [*encoder.backbone, encoder.last]:
        if isinstance(module, nn.Linear):
            has_bias = getattr(module, "bias", None) is not None
            sizes.append(torch.sqrt(signal.square().sum(1) + float(has_bias)))
        else:
            slopes.append(SLOPES[type(module)])
        signal = module(signal)
    terms = len(x) + x.shape[1] + sum(layer.out_features for layer in layers)
    bounds: list[float] = []
    stretch = 1.0
    for layer, size, slope in zip(reversed(layers), reversed(sizes), [*reversed(slopes), 1.0], strict=True):
        bounds.append(2 * terms * UNIT * stretch * (cotangents * size).sum().item())
        stretch *= layer.weight.norm().item() * slope
    return bounds[::-1]
