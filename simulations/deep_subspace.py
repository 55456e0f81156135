"""Deep encoders trained with several objectives on the same views: what their embeddings share on held-out data."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from torch import Tensor, nn

from jepalign.datasets import digits
from jepalign.simulations.data import PairedViews, both_orders, digit_views
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder, linear_predictor, scale_embedding
from jepalign.simulations.results import numpy
from jepalign.simulations.subspace_rows import LATENT_OBJECTIVES, OBJECTIVES
from jepalign.simulations.training import JEPA, LOST, Rates, train
from jepalign.simulations.view_losses import descend

TRAINING = 1347  # of 1797 digits, three quarters
# At twice this step Barlow Twins in covariance form diverges on ReLU features, whose mean is one large direction.
STEP, PREDICTOR, BATCH = 0.05, 2.0, 256
LONGER = 6  # a JEPA leaves a small start more slowly (4.5), and gets so many times the steps


def repeated(x: Tensor, y: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the whole batch ``steps`` times."""
    for _ in range(steps):
        yield x, y


def signed_predictor(encoder: MLP, positive: int, rate: float) -> nn.Linear:
    """Return a balanced linear predictor, PᵀP = αWWᵀ, with so many positive eigenvalues and the others negative."""
    values, vectors = torch.linalg.eigh(encoder.last.weight.detach() @ encoder.last.weight.detach().T)
    signs = torch.where(torch.arange(len(values), device=values.device) < len(values) - positive, -1.0, 1.0)
    predictor = linear_predictor(len(values), seed=0, device=values.device)
    with torch.no_grad():
        predictor.weight.copy_(vectors * (signs * (rate * values).sqrt()) @ vectors.T)
    return predictor


def trained(encoder: MLP, objective: str, batches: Iterator[tuple[Tensor, Tensor]], positive: int) -> MLP:
    """Train ``encoder`` in place on batches in both orders, a JEPA with so many positive modes of its predictor at first."""
    if objective.startswith("JEPA"):
        predictor = signed_predictor(encoder, positive, PREDICTOR)
        train(JEPA(encoder, predictor, Rates(step=STEP, predictor=PREDICTOR)), batches)
    else:
        descend(encoder, objective, batches, STEP)
    return encoder


def deep_run(activation: str, steps: int, seed: int, device: torch.device) -> dict[str, np.ndarray]:
    """Train one encoder of digits with each objective, from one start; NaN for what a diverged one leaves.

    Returns
    -------
    dict
        ``canonical``, ``accuracy``, ``kept``, ``features``, ``silent``, ``pixels`` and ``shuffled``, as
        :func:`jepalign.simulations.subspace.subspace` has them.
    """
    views, labels = digit_views(device=device, seed=seed), digits().labels
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(labels)), device=device)
    seen, new = order[:TRAINING], order[TRAINING:]
    chosen = PairedViews(views.x[seen], views.y[seen])
    embeddings: list[tuple[np.ndarray, np.ndarray]] = []
    kept: list[float] = []
    features: list[tuple[float, float]] = []
    for objective in (*OBJECTIVES, "untrained"):
        encoder = digit_encoder(DEEP, activation, views, seed)
        first_moment = feature_moment(encoder, views.x[seen])[0]
        if objective != "untrained":
            count = steps * (LONGER if objective.startswith("JEPA") else 1)
            batches = (both_orders(x, y) for x, y in chosen.batches(BATCH, count, seed=seed))
            trained(encoder, objective, batches, DEEP[-1])
        with torch.no_grad():
            embeddings.append((numpy(encoder(views.x[seen])), numpy(encoder(views.x[new]))))
            kept.append(kept_share(encoder, *both_orders(chosen.x, chosen.y)))
        last_moment, silent = feature_moment(encoder, views.x[seen])
        features.append((last_moment / first_moment, silent))
    old, fresh = numpy(seen), numpy(new)
    first, second = embeddings[0]
    shuffled = np.random.default_rng(seed).permutation(len(second))
    return {
        "canonical": np.array([[canonical(*one, *two) for two in embeddings] for one in embeddings]),
        "shuffled": np.array(canonical(first, second, embeddings[1][0], embeddings[1][1][shuffled])),
        "accuracy": np.array([accuracy(*one, labels[old], labels[fresh]) for one in embeddings]),
        "pixels": np.array(accuracy(numpy(views.x[seen]), numpy(views.x[new]), labels[old], labels[fresh])),
        "kept": np.array(kept),
        "features": np.array(features)[:, 0],
        "silent": np.array(features)[:, 1],
    }


@torch.no_grad()
def feature_moment(encoder: MLP, x: Tensor) -> tuple[float, float]:
    """Return E‖h − Eh‖² of the last layer's inputs, NaN if lost, and the share of them that are 0 for every sample."""
    h = encoder.backbone(x)
    if lost(numpy(h)):
        return np.nan, np.nan
    return (h - h.mean(dim=0)).square().sum(dim=1).mean().item(), (h == 0).all(dim=0).double().mean().item()


def lost(*embeddings: np.ndarray) -> bool:
    """Return whether an encoder that diverged has left embeddings that are not finite or past all measure."""
    return not all((np.abs(z) <= LOST).all() for z in embeddings)


def directions(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of embeddings and the map that whitens them; directions below a millionth of the largest variance are left out."""
    mean = z.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(z.T, bias=True))
    kept = values > 1e-6 * values[-1]
    return mean, vectors[:, kept] / np.sqrt(values[kept])


def canonical(first: np.ndarray, first_new: np.ndarray, second: np.ndarray, second_new: np.ndarray) -> float:
    """Return the mean square canonical correlation on new data, over k directions that training data have chosen."""
    if lost(first, first_new, second, second_new):
        return np.nan
    (mean, white), (other_mean, other_white) = directions(first), directions(second)
    one, two = (first - mean) @ white, (second - other_mean) @ other_white
    left, _, right = np.linalg.svd(one.T @ two, full_matrices=False)
    a, b = (first_new - mean) @ white @ left, (second_new - other_mean) @ other_white @ right.T
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    squares = np.square((a * b).sum(axis=0)) / np.square(a).sum(axis=0) / np.square(b).sum(axis=0)
    return float(squares.sum() / first.shape[1])


def accuracy(z: np.ndarray, new: np.ndarray, labels: np.ndarray, new_labels: np.ndarray) -> float:
    """Return the accuracy on new data of a linear classifier fitted by least squares to standardised embeddings."""
    if lost(z, new):
        return np.nan
    mean, deviation = z.mean(axis=0), np.maximum(z.std(axis=0), 1e-12)
    probe = RidgeClassifier(alpha=1.0).fit((z - mean) / deviation, labels)
    return float(probe.score((new - mean) / deviation, new_labels))


@torch.no_grad()
def kept_share(encoder: MLP, x: Tensor, y: Tensor) -> float:
    """Return Σρ² of the embedding over that of the k leading canonical directions of the last layer's inputs."""
    features, others = (numpy(encoder.backbone(part)) for part in (x, y))
    W = numpy(encoder.last.weight)
    best = correlations(features, others)
    return float(np.square(correlations(features @ W.T, others @ W.T)).sum() / np.square(best[: len(W)]).sum())


def correlations(z: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return canonical correlations of a batch in both orders with their signs, descending."""
    if lost(z, other):
        return np.full(z.shape[1], np.nan)
    mean, white = directions(z)
    one, two = (z - mean) @ white, (other - mean) @ white
    cross = two.T @ one / len(one)
    return np.linalg.eigvalsh((cross + cross.T) / 2)[::-1]


def deep_latents(
    x: Tensor, y: Tensor, fresh: tuple[np.ndarray, np.ndarray], steps: int, seed: int
) -> dict[str, np.ndarray]:
    """Train tanh encoders of views of latents; return R² of every latent, and of products of two, from held-out embeddings.

    For Gaussian views the products u_iu_j and u_i² − 1 are canonical too, with the correlation ρ_iρ_j: positive for two anticorrelated.
    """
    inputs, latents = fresh
    half = len(inputs) // 2
    pairs = [(i, j) for i in range(latents.shape[1]) for j in range(i + 1)]
    products = np.stack([latents[:, i] * latents[:, j] for i, j in pairs], axis=1)
    targets = np.concatenate((latents, products - products.mean(axis=0)), axis=1)
    found = np.empty((len(LATENT_OBJECTIVES), targets.shape[1]))
    chosen = PairedViews(x, y)
    for index, objective in enumerate(LATENT_OBJECTIVES):
        encoder = MLP((x.shape[1], 64, 4), "tanh", seed=seed, device=x.device)
        scale_embedding(encoder, x, 0.1)
        count = steps * (LONGER if objective.startswith("JEPA") else 1)
        batches = (both_orders(*pair) for pair in chosen.batches(BATCH, count, seed=seed))
        trained(encoder, objective, batches, 2 if "both signs" in objective else 4)
        with torch.no_grad():
            z = numpy(encoder(torch.as_tensor(inputs, device=x.device)))
        if lost(z):
            found[index] = np.nan
            continue
        z = np.concatenate((z, np.ones((len(z), 1))), axis=1)
        residual = targets[half:] - z[half:] @ np.linalg.lstsq(z[:half], targets[:half], rcond=None)[0]
        found[index] = 1 - np.square(residual).mean(axis=0) / targets[half:].var(axis=0)
    count = latents.shape[1]
    return {
        "deep_latents": found[:, :count],
        "deep_products": found[:, count:],
        "deep_products_of": np.array(pairs),
    }
