"""Collapsed deep encoders under an explicit uniformity: the weight at which the leading directions of their features no longer shrink."""

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.linear_models.collapse.rescue import rescue_weight
from jepalign.linear_models.uniformity import SIGReg, Uniformity
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import MLP, digit_encoder, linear_predictor
from jepalign.simulations.ensembles.explicit import explicit_uniformity
from jepalign.simulations.last_layer import last_layer
from jepalign.simulations.objectives import prediction_loss
from jepalign.simulations.results import numpy
from jepalign.simulations.training import JEPA, Rates, train

DECAY = 0.04
START = 1e-3
WIDTHS = (64, 64, 32, 8)
LEADING = 3
STEPS = 20


def pushed(
    encoder: MLP,
    predictor: nn.Linear,
    x: Tensor,
    y: Tensor,
    term: Uniformity,
    gamma: float,
    decay: float,
    *,
    count: int,
    step: float = 0.05,
) -> None:
    """Make ``count`` plain steps of a hybrid, in place.

    SIGReg's directions are the axes of the embedding: over them the average of aaᵀ is that over the sphere.
    """
    optimizer = torch.optim.SGD([*encoder.parameters(), *predictor.parameters()], lr=step, weight_decay=decay)
    directions = torch.eye(encoder.last.out_features).to(encoder.last.weight) if isinstance(term, SIGReg) else None
    for _ in range(count):
        z = encoder(x)
        with torch.no_grad():
            target = encoder(y)
        loss = prediction_loss(predictor(z), target) + gamma * explicit_uniformity(z, term, directions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def deep_repel(activation: str, term: Uniformity, pairs: int, seed: int, device: torch.device) -> np.ndarray:
    """Return the weights at which the leading directions of a collapsed encoder no longer shrink, (4, 3).

    The encoder is trained with a weight decay that no mode survives, its last layer and predictor are scaled down to ``START``, and it is
    pushed at several weights for a time in which features hardly move; the threshold is where the rate of growth passes 0, ∞ or 0 where it
    does not within the sweep. The four: as seen, and as 4.6 tells it from the features' moment before the push, along leading axes of that
    moment; and the same along leading axes of :func:`repulsion`, which knows their mean, averaged over how they move during the push.
    """
    views = digit_views(device=device, seed=seed)
    x, y = both_orders(views.x[:pairs], views.y[:pairs])
    encoder = digit_encoder(WIDTHS, activation, views, seed)
    predictor = linear_predictor(WIDTHS[-1], seed=seed + 1, device=device)
    top = float(np.linalg.eigvalsh(last_layer(encoder, predictor, x, y).views.context)[-1])
    collapsing = Rates(step=min(0.05, 0.2 / top), weight_decay=0.3)
    train(JEPA(encoder, predictor, collapsing), ((x, y) for _ in range(int(6.0 / collapsing.step))))
    with torch.no_grad():
        # What is left of the last layer and its predictor, far below 1: collapse.
        encoder.last.weight.mul_(START / torch.linalg.matrix_norm(encoder.last.weight, 2))
        predictor.weight.mul_(START / torch.linalg.matrix_norm(predictor.weight, 2))
    sigma, axes = leading(last_layer(encoder, predictor, x, y).views.context)
    told = rescue_weight(np.zeros(LEADING), sigma, DECAY, uniformity=term).repel
    now = repulsion(features(encoder, x), term)
    others = leading(now)[1]
    step = min(0.05, 0.1 / top)
    gammas = np.geomspace(told.min() / 3, 3 * told.max(), 9)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    first = predictor.weight.detach().clone()
    both = np.concatenate((axes, others), axis=1)
    rates, later = np.empty((len(gammas), 2 * LEADING)), np.empty((len(gammas), LEADING))
    before = np.linalg.norm(numpy(encoder.last.weight) @ both, axis=0).copy()
    for index, gamma in enumerate(gammas):
        encoder.load_state_dict(state)
        with torch.no_grad():
            predictor.weight.copy_(first)
        pushed(encoder, predictor, x, y, term, float(gamma), DECAY, count=STEPS, step=step)
        rates[index] = np.log(np.linalg.norm(numpy(encoder.last.weight) @ both, axis=0) / before) / (STEPS * step)
        later[index] = along(repulsion(features(encoder, x), term), others)
    seen, seen_others = np.array([passing(gammas, rate) for rate in rates.T]).reshape(2, LEADING)
    # Of the push next to the threshold.
    nearest = np.abs(np.log(gammas[:, None] / np.clip(seen_others, gammas[0], gammas[-1]))).argmin(axis=0)
    average = (along(now, others) + later[nearest, np.arange(LEADING)]) / 2
    return np.array([seen, told, seen_others, DECAY / np.maximum(average, np.finfo(float).tiny)])


def leading(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues of a symmetric matrix, descending, and their axes in columns."""
    values, axes = np.linalg.eigh(matrix)
    return values[::-1][:LEADING], axes[:, ::-1][:, :LEADING]


def along(matrix: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return u·Mu of every column u."""
    return np.einsum("iu,ij,ju->u", axes, matrix, axes)


@torch.no_grad()
def features(encoder: MLP, x: Tensor) -> np.ndarray:
    """Return what the last layer sees, (n, h)."""
    return numpy(encoder.backbone(x)).astype(np.float64)


def repulsion(h: np.ndarray, term: Uniformity) -> np.ndarray:
    """Return M with the force γWM of a term on a collapsed last layer W over features ``h``, (n, d): c Σ − b μμᵀ, (d, d).

    c is the term's coefficient at 0, Σ the second moment and μ the mean. SIGReg's statistic has, to second order in z, ∫t²e^{−θt²}dt (E z)²
    beside what it has of E z²: it attracts the mean, b = √π θ^{−3/2}. The others see second moments alone, b = 0.
    """
    mean = h.mean(0)
    attraction = np.sqrt(np.pi) * term.theta**-1.5 if isinstance(term, SIGReg) else 0.0
    return float(term.coefficient(0.0)) * h.T @ h / len(h) - attraction * np.outer(mean, mean)


def passing(gammas: np.ndarray, rates: np.ndarray) -> float:
    """Return the weight at which rates, one for each of the ascending ``gammas``, first become positive; 0 or ∞ if before or never."""
    above = np.flatnonzero(rates > 0)
    if len(above) == 0:
        return np.inf
    if above[0] == 0:
        return 0.0
    pair = slice(above[0] - 1, above[0] + 1)
    return float(np.interp(0.0, rates[pair], gammas[pair]))
