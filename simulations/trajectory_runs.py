"""The trainings that chapter 5 is held against: aligned modes, random starts, and deep encoders, with what is told of each."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from jepalign.linear_models import LinearJEPA, ViewPair
from jepalign.linear_models.forecast.flow import solve
from jepalign.linear_models.trajectories.arrival import deep_jepa_time, masked_autoencoder_time
from jepalign.linear_models.trajectories.balanced import balanced_jepa
from jepalign.linear_models.trajectories.depth import deep_jepa, masked_autoencoder
from jepalign.linear_models.trajectories.gram import spectral_contrastive_gram
from jepalign.linear_models.trajectories.logistic import barlow_twins, spectral_contrastive
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder, linear_predictor
from jepalign.simulations.last_layer import last_layer
from jepalign.simulations.mode_strengths import (
    Modes,
    aligned_encoder,
    balanced_predictor,
    jepa_path,
    loss_path,
    passing,
    product,
    random_encoder,
    reconstruction,
    strengths,
)
from jepalign.simulations.results import numpy
from jepalign.simulations.training import JEPA, Rates, train
from jepalign.simulations.view_losses import VIEW_LOSSES

RECORDS = 241
STEP = 0.02
COARSE = 0.05  # of JEPAs of three layers and more, which are slow, and of encoders that are not exact anyway
FINE = 0.008  # of deep autoencoders, which are fast

# Closed forms in raw flow time of the loss that is descended; ¼ of the contrastive losses slows them fourfold.
Closed = Callable[[np.ndarray, Modes, np.ndarray], np.ndarray]


def closed(kind: str, depth: int) -> Closed:
    """Return (times (T, 1), modes, starts (d,)) ↦ w (T, d) of an objective."""
    if kind == "JEPA":
        return lambda t, modes, w: deep_jepa(t, w, modes.cross, modes.variance, depth=depth)
    if kind == "autoencoder":
        return lambda t, modes, w: masked_autoencoder(t, w, modes.cross, modes.variance, depth=depth)
    if kind == "spectral contrastive":
        return lambda t, modes, w: spectral_contrastive(t / 4, w, modes.cross, modes.variance)
    return lambda t, modes, w: barlow_twins(t / 4, w, modes.cross)


def rest(kind: str, depth: int, modes: Modes) -> np.ndarray:
    """Return the strength of every mode at rest, (d,)."""
    correlation = modes.cross / modes.variance
    if kind == "JEPA":
        return correlation**depth
    if kind == "autoencoder":
        return correlation ** (depth / (depth + 1))
    return np.sqrt(modes.cross) / modes.variance if kind == "spectral contrastive" else 1 / np.sqrt(modes.cross)


def span(kind: str, depth: int, modes: Modes, start: np.ndarray) -> float:
    """Return a time by which the slowest mode has come to 95% of its rest, or nearly."""
    level = 0.95 * rest(kind, depth, modes)
    if kind == "JEPA":
        return float(deep_jepa_time(level, start, modes.cross, modes.variance, depth=depth).max())
    if kind == "autoencoder":
        return float(masked_autoencoder_time(level, start, modes.cross, modes.variance, depth=depth).max())
    # w² is logistic, at the rate 2λ of a quarter of the loss.
    return float((np.log(np.square(level / start)) / (2 * modes.cross)).max() + 4 / modes.cross.min())


def descended(
    kind: str, encoder: MLP, decoder: nn.Linear, modes: Modes, step: float, moments: np.ndarray
) -> np.ndarray:
    """Train ``encoder`` by an objective, with ``decoder`` for its predictor or decoder if it has one; return its path, (T, k, d)."""
    if kind == "JEPA":
        return jepa_path(encoder, decoder, modes, step=step, moments=moments)
    if kind == "autoencoder":
        return loss_path(encoder, reconstruction, modes, step=step, moments=moments, decoder=decoder)
    return loss_path(encoder, VIEW_LOSSES[kind], modes, step=step, moments=moments)


def decoding(encoder: MLP, modes: Modes, size: float) -> nn.Linear:
    """Return the decoder whose modes are ``size`` in the eigenvectors of the views, balanced with aligned layers of that size."""
    found = linear_predictor(len(modes.cross), seed=0, device=modes.x.device)
    with torch.no_grad():
        found.weight.copy_(torch.as_tensor(size * modes.basis.T, device=modes.x.device))
    return found


def moments_of(span: float, step: float) -> np.ndarray:
    """Return the steps at which a run of a flow time is recorded."""
    return np.linspace(0, int(np.ceil(span / step)), RECORDS).round().astype(int)


def step_of(kind: str, depth: int) -> float:
    """Return the step of a run, whose distance from the flow is of its order."""
    if depth <= 2:
        return STEP
    return COARSE if kind == "JEPA" else FINE


def aligned_run(kind: str, depth: int, modes: Modes, layer: float) -> dict[str, np.ndarray]:
    """Train one objective from aligned modes, every layer at ``layer``, and return the arrays of its run."""
    start = np.full(len(modes.cross), layer**depth)
    encoder = aligned_encoder(modes, depth, layer)
    decoder = balanced_predictor(encoder) if kind == "JEPA" else decoding(encoder, modes, layer)
    step = step_of(kind, depth)
    moments = moments_of(span(kind, depth, modes, start), step)
    time, end = moments * step, rest(kind, depth, modes)
    observed = strengths(descended(kind, encoder, decoder, modes, step, moments), modes)
    predicted = closed(kind, depth)(time[:, None], modes, start)
    return {
        "time": time,
        "observed": observed,
        "predicted": predicted,
        "half": passing(time, observed, end / 2),
        "half_predicted": passing(time, predicted, end / 2),
    }


def random_starts(modes: Modes, white: Modes, small: float, seeds: int, seed: int) -> dict[str, np.ndarray]:
    """Train linear encoders of one layer from small random starts; return the arrays that begin with ``random_``."""
    keys = ("time", "observed", "predicted", "exact")
    found: dict[str, list[list[np.ndarray]]] = {key: [] for key in keys}
    for kind, own in (("JEPA", modes), ("spectral contrastive", white)):
        runs: list[tuple[np.ndarray, ...]] = []
        for index in range(seeds):
            encoder = random_encoder(own, 1, small, 100 * seed + index, gaussian=True)
            predictor, W = balanced_predictor(encoder), product(encoder)
            start = np.linalg.norm(W @ own.basis.T, axis=0)
            P = numpy(predictor.weight).copy()
            moments = moments_of(span(kind, 1, own, start), STEP)
            time = moments * STEP
            path = descended(kind, encoder, predictor, own, STEP, moments)
            Sigma, C = (own.basis.T @ np.diag(part) @ own.basis for part in (own.variance, own.cross))
            if kind == "JEPA":
                exact = strengths(LinearJEPA(ViewPair.from_covariances(Sigma, Sigma, C)).solve(W, P, time).encoder, own)
            else:
                gram = spectral_contrastive_gram(time / 4, W, C)
                exact = np.sqrt(np.einsum("ij,tjk,ik->ti", own.basis, gram, own.basis))
            runs.append((time, strengths(path, own), closed(kind, 1)(time[:, None], own, start), exact))
        for key, values in zip(keys, zip(*runs, strict=True), strict=True):
            found[key].append(list(values))
    return {f"random_{key}": np.array(values) for key, values in found.items()}


def order_run(kind: str, depth: int, modes: Modes, layer: float, seeds: int, seed: int) -> dict[str, np.ndarray]:
    """Train deep linear encoders from orthogonal starts; return when modes pass half of their rest, told and seen."""
    start = np.full(len(modes.cross), layer**depth)
    end = rest(kind, depth, modes)
    step = step_of(kind, depth)
    moments = moments_of(2 * span(kind, depth, modes, start), step)
    clock = deep_jepa_time if kind == "JEPA" else masked_autoencoder_time
    told = clock(end / 2, start, modes.cross, modes.variance, depth=depth)
    half: list[np.ndarray] = []
    for index in range(seeds):
        encoder = random_encoder(modes, depth, layer, 100 * seed + index)
        decoder = balanced_predictor(encoder)
        if kind == "autoencoder":
            decoder = random_encoder(modes, 1, layer, 100 * seed + 50 + index).last
        path = descended(kind, encoder, decoder, modes, step, moments)
        seen = strengths(path, modes)
        half.append(passing(moments * step, seen, end / 2) if np.isfinite(seen).all() else np.full(len(end), np.nan))
    # A mode that is not learnt in the time comes last.
    tau = [kendalltau(told, np.minimum(seen, 1e300))[0] if not np.isnan(seen).any() else np.nan for seen in half]
    return {"order_half": np.array(half), "order_predicted": told, "order_tau": np.array(tau, dtype=float)}


def deep_run(activation: str, flow_time: float, pairs: int, seed: int, device: torch.device) -> dict[str, np.ndarray]:
    """Train a deep encoder of digits as a JEPA from a balanced last layer; return the arrays that begin with ``deep_``."""
    views = digit_views(device=device, seed=seed)
    x, y = both_orders(views.x[:pairs], views.y[:pairs])
    encoder = digit_encoder(DEEP, activation, views, seed)
    predictor = balanced_predictor(encoder)
    layer = last_layer(encoder, predictor, x, y)
    rates = Rates(step=COARSE)
    moments = moments_of(flow_time, COARSE)
    time = moments * COARSE
    cross, axes = np.linalg.eigh((layer.views.cross + layer.views.cross.T) / 2)
    variance = np.einsum("ij,jk,ki->i", axes.T, layer.views.context, axes)
    kept = variance > 1e-9 * variance.max()  # a feature that does not vary carries nothing
    starts = np.linalg.norm(layer.encoder @ axes, axis=0)[kept]
    told = balanced_jepa(time[:, None], np.maximum(starts, 1e-30), cross[kept], variance[kept])
    frozen = solve(layer, rates.settings, time).encoder
    frozen = np.einsum("tij,tij->t", frozen @ layer.views.context, frozen)
    observed, drift = np.full(len(time), np.nan), np.full(len(time), np.nan)

    def look(step: int, _x: Tensor, _y: Tensor) -> None:
        for index in np.flatnonzero(moments == step):
            with torch.no_grad():
                features = encoder.backbone(x)
                observed[index] = float(encoder.last(features).square().sum(1).mean())
            moment = numpy(features.T @ features / len(features))
            drift[index] = np.linalg.norm(moment - layer.views.context) / np.linalg.norm(layer.views.context)

    train(JEPA(encoder, predictor, rates), ((x, y) for _ in range(int(moments[-1]) + 1)), before=look)
    return {
        "deep_time": time,
        "deep_observed": observed,
        "deep_closed": np.square(told) @ variance[kept],
        "deep_frozen": frozen,
        "feature_drift": drift,
    }
