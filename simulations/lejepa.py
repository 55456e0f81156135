"""LeJEPA (after 4.6): alignment and SIGReg without predictor, stop-gradient or averaged target, against its thresholds and spectra.

Linear encoders of single modes and of many, trained as published, are held against the rests of the theory; what is told wrongly by the
threshold of a JEPA's hybrid, or by modes taken alone, has to be refused. Tanh and ReLU encoders of digits are held against what the
features under the last layer tell, collapsed and over whole trainings, and with features frozen.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import scipy.linalg
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from jepalign.linear_models.collapse import (
    lejepa_rest,
    lejepa_spectrum,
    lejepa_strength,
    lejepa_threshold,
    rescue_weight,
)
from jepalign.linear_models.uniformity import SIGReg
from jepalign.measurements import Measurement
from jepalign.simulations.ablation import Views
from jepalign.simulations.data import both_orders
from jepalign.simulations.encoders import MLP, scale_embedding
from jepalign.simulations.ensembles.stacks import stacked
from jepalign.simulations.hybrid import crossing
from jepalign.simulations.hybrid_deep import features, passing, repulsion
from jepalign.simulations.lejepa_rows import CRITERIA, alone_rows, collapsed_rows, deep_rows, shared_rows
from jepalign.simulations.lejepa_training import needs, spectrum, train_lejepa
from jepalign.simulations.results import Row, check_scale, counter, measured, numpy, stated
from jepalign.simulations.training import Progress, device_named

TERM = SIGReg()
# Modes alone: q = 1 − ρ + η/σ from 0.14 to 0.49.
CROSS, VARIANCE, DECAY = np.array([0.9, 0.75, 0.6]), np.array([1.0, 1.4, 0.8]), 0.04
# Modes that share an embedding: neither the variances nor λ are in the order of ρ.
RHO = np.linspace(0.95, -0.15, 12)
SIGMA = np.array([0.5, 2.0, 0.7, 1.5, 1.0, 0.4, 1.8, 0.6, 1.2, 0.9, 2.2, 0.8])
WIDTH, HIDDEN, INPUTS = 8, (64, 32), 24
START, LEADING, PUSHES = 1e-3, 3, 10


@dataclass(frozen=True)
class LejepaPlan:
    """One scale: weights of modes alone and together, samples and steps of the latter; deep encoders, their seeds, weights, steps."""

    weights: int
    together: tuple[float, ...]
    samples: int
    steps: int
    activations: tuple[str, ...]
    seeds: int
    strengths: tuple[float, ...]
    deep_steps: int
    pairs: int
    measured: int


SCALES = {
    "quick": LejepaPlan(7, (0.2,), 128, 500, ("tanh",), 1, (0.3,), 300, 64, 400),
    "paper": LejepaPlan(
        13, (0.1, 0.2, 0.3, 0.45, 0.7, 1.0), 256, 1000, ("tanh", "relu"), 2, (0.03, 0.1, 0.3), 1000, 96, 1500
    ),
}


def lejepa(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Train LeJEPA on modes alone, on modes that share an embedding, and on digits, at weights γ about the thresholds.

    Returns
    -------
    Measurement
        Modes alone, m with ``cross``, ``variance`` at ``weight_decay``, over G weights ``strength`` (G, m): ``rest`` and
        ``rest_predicted`` (G, m), s = σw² at the end; ``repel``, ``repel_predicted``, ``repel_jepa`` and ``repel_blind`` (m,), the
        threshold as seen, as told, of a JEPA's hybrid and with the correlation forgotten. Many modes, ``rho``, ``sigma`` (d,), in one
        embedding, over Q weights ``shared_strength``, the last two the published trade-off without and with the batch size:
        ``shared``, ``shared_predicted``, ``shared_alone`` and ``shared_by_cross`` (Q, d), the variance of every mode as seen, as told,
        by modes alone, and as told if λ decided. Deep encoders of digits, by ``architecture`` (A,) and S seeds: collapsed,
        ``collapsed`` (A, 5, S, 3), thresholds along leading directions by second moments, seen and told, with the mean known,
        seen and told, and of a JEPA's hybrid; trained, over ``deep_strength`` (E,), the last the published one: ``deep``,
        ``deep_start``, ``deep_end``, ``frozen`` (A, S, E, k), variances of the embedding, as told by the features at the start and at
        the end, and of a last layer trained on the former; ``deep_mean`` (A, S, E), ‖E z‖². NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    tell = counter(progress, 2 + 2 * len(plan.activations) * plan.seeds)
    tell("linear, every mode alone")
    arrays = modes_alone(plan, where)
    rows: list[Row] = alone_rows(arrays)
    tell("linear, modes that share an embedding")
    together = modes_together(plan, seed, where)
    rows += shared_rows(together, plan.samples)
    arrays |= together
    found: list[dict[str, np.ndarray]] = []
    names: list[str] = []
    for activation in plan.activations:
        runs: list[dict[str, np.ndarray]] = []
        for s in range(plan.seeds):
            tell(f"{activation} encoder of digits, collapsed")
            own = 100 * seed + s
            data = Views(plan, activation, seed=own, device=where)
            thresholds = collapsed(network(activation, own, where), *halves(data.fixed))
            tell(f"{activation} encoder of digits, trained")
            runs.append(trained(plan, network(activation, own, where), data) | {"collapsed": thresholds})
        names.append(network(activation, seed, where).architecture)
        run = {key: np.array([part[key] for part in runs]) for key in runs[0]}
        run["collapsed"] = run["collapsed"].swapaxes(0, 1)
        rows += collapsed_rows(names[-1], run["collapsed"]) + deep_rows(names[-1], run, plan.pairs)
        found.append(run)
    tell("done")
    arrays |= {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays |= {"architecture": np.array(names), "deep_strength": deep_strengths(plan)}
    return measured("lejepa", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


def network(activation: str, seed: int, device: torch.device) -> MLP:
    """Return a fresh encoder of digits."""
    return MLP((INPUTS, *HIDDEN, WIDTH), activation, seed=seed, device=device)


def modes_alone(plan: LejepaPlan, device: torch.device) -> dict[str, np.ndarray]:
    """Train an encoder of one dimension on each mode at weights about its threshold; return its arrays of :func:`lejepa`."""
    told = lejepa_threshold(CROSS, VARIANCE, DECAY, uniformity=TERM)
    gammas = np.geomspace(told / 2, 2 * told, plan.weights)
    views = np.stack([gaussian_points(lam / s, s) for lam, s in zip(CROSS, VARIANCE, strict=True)], axis=1)
    x, y = (torch.as_tensor(part[..., None], device=device) for part in views)
    members = torch.arange(len(CROSS), device=device).repeat(plan.weights)
    trial, state = stacked("modes", [MLP((1, 1), "linear", seed=0, device=device) for _ in members], x.dtype, device)
    state = {name: torch.full_like(value, START) for name, value in state.items()}
    # At the first weight beyond its threshold, 1.12 times it, the slowest mode grows at 0.12·qσ = 0.017: to its rest in 320.
    step = 0.5
    batch = x[members], y[members]
    axis = torch.ones((1, 1), dtype=x.dtype, device=device)
    end = train_lejepa(trial, state, gammas.ravel(), (batch for _ in range(1000)), step=step, decay=DECAY, slices=axis)
    rest = np.square(numpy(end["last.weight"]).reshape(plan.weights, -1)) * VARIANCE
    return {
        "cross": CROSS,
        "variance": VARIANCE,
        "weight_decay": np.array(DECAY),
        "strength": gammas,
        "rest": rest,
        "rest_predicted": lejepa_rest(CROSS, VARIANCE, DECAY, uniformity=TERM, strength=gammas),
        "repel": np.array([crossing(g, r[:, None] > START**2)[0] for g, r in zip(gammas.T, rest.T, strict=True)]),
        "repel_predicted": told,
        "repel_jepa": rescue_weight(CROSS, VARIANCE, DECAY, uniformity=TERM).repel,
        "repel_blind": lejepa_threshold(0 * CROSS, VARIANCE, DECAY, uniformity=TERM),
    }


def gaussian_points(rho: float, variance: float, count: int = 256) -> np.ndarray:
    """Return two views of one Gaussian dimension, (2, count), on a lattice, with exact second moments.

    Both coordinates of the lattice are quantiles, ``count`` different ones: the kurtosis is 2.9, that of a grid of as many points 2.6.
    """
    place = np.arange(count) + 0.5
    first, other = ndtri(place / count), ndtri(place * (np.sqrt(5) - 1) / 2 % 1)
    first = first / np.sqrt(np.square(first).mean())
    other = other - first * (first * other).mean()
    other = other / np.sqrt(np.square(other).mean())
    return np.sqrt(variance) * np.stack((first, rho * first + np.sqrt(1 - rho**2) * other))


def gaussian_batches(samples: int, steps: int, seed: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield fresh Gaussian views of the modes that share an embedding, (samples, d) each."""
    generator = torch.Generator().manual_seed(seed)
    rho, sigma = torch.as_tensor(RHO), torch.as_tensor(SIGMA)
    for _ in range(steps):
        first, noise = torch.randn(2, samples, len(RHO), generator=generator, dtype=torch.float64)
        second = rho * first + (1 - rho.square()).sqrt() * noise
        yield (first * sigma.sqrt()).to(device), (second * sigma.sqrt()).to(device)


def modes_together(plan: LejepaPlan, seed: int, device: torch.device) -> dict[str, np.ndarray]:
    """Train encoders of many modes from one random start, on new directions at every step; return arrays of :func:`lejepa`."""
    published = [lejepa_strength(width=WIDTH, batch=n) for n in (1, plan.samples)]
    gammas = np.array([*plan.together, *published])
    encoder = MLP((len(RHO), WIDTH), "linear", seed=seed, device=device)
    trial, state = stacked("modes", [encoder] * len(gammas), torch.float64, device)
    state = {name: value / 5 for name, value in state.items()}
    batches = gaussian_batches(plan.samples, plan.steps, seed + 1, device)
    weights = numpy(train_lejepa(trial, state, gammas, batches, step=0.1)["last.weight"])
    told = np.array([lejepa_spectrum(1 - RHO, float(gamma), width=WIDTH) for gamma in gammas])
    ranked = np.empty_like(told)
    ranked[:, np.argsort(-RHO * SIGMA)] = told
    return {
        "rho": RHO,
        "sigma": SIGMA,
        "shared_strength": gammas,
        "shared": np.square(weights).sum(1) * SIGMA,
        "shared_predicted": told,
        "shared_alone": lejepa_rest(RHO, 1.0, uniformity=TERM, strength=gammas[:, None]),
        "shared_by_cross": ranked,
    }


def halves(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the two views of a batch in both orders, each once."""
    return batch[0].chunk(2)[0], batch[1].chunk(2)[0]


def collapsed(encoder: MLP, x: Tensor, y: Tensor) -> np.ndarray:
    """Return the weights at which a collapsed encoder is no longer drawn in along leading directions, (5, 3).

    The encoder collapses under alignment alone for a while, its last layer is scaled down to ``START``, and it is pushed by a few steps at
    weights about the thresholds. A collapsed last layer W over features of moments Σ, C and mean μ obeys Ẇ = W(γR − A), with
    A = Σ − C + ηI and R = c(0)Σ − bμμᵀ: where Av = Rv·γ_v, Wv stands still at γ = γ_v. The rate is that of Wv along WAv. The five: along
    such v with μ left out, as seen and as told; with it, as seen and as told, and what a JEPA's hybrid would have there, with A = ηI.
    """
    with torch.no_grad():
        top = float(torch.linalg.eigvalsh(encoder.backbone(x).T @ encoder.backbone(x) / len(x))[-1])
    trial, state = stacked("encoder", [encoder], x.dtype, x.device)
    state = train_lejepa(trial, state, np.zeros(1), ((x, y) for _ in range(100)), step=0.25 / top, decay=DECAY)
    encoder.load_state_dict({name: value[0] for name, value in state.items()})
    with torch.no_grad():
        encoder.last.weight.mul_(START / torch.linalg.matrix_norm(encoder.last.weight, 2))
    h, other = both_orders(*(torch.as_tensor(features(encoder, part)) for part in (x, y)))
    h, other = numpy(h), numpy(other)
    context, cross = h.T @ h / len(h), other.T @ h / len(h)
    attraction = context - cross + DECAY * np.eye(len(context))
    found: list[np.ndarray] = []
    told, axes = np.empty(LEADING), np.empty((len(context), LEADING))
    for push in (float(TERM.coefficient(0.0)) * context, repulsion(h, TERM)):
        inverse, axes = scipy.linalg.eigh(push, attraction)
        told, axes = 1 / inverse[::-1][:LEADING], axes[:, ::-1][:, :LEADING]
        gammas = np.geomspace(told.min() / 3, 3 * told.max(), 9)
        trial, state = stacked("encoder", [encoder] * len(gammas), x.dtype, x.device)
        directions = torch.eye(WIDTH, dtype=x.dtype, device=x.device)
        batches = ((x, y) for _ in range(PUSHES))
        end = train_lejepa(trial, state, gammas, batches, step=0.02, decay=DECAY, slices=directions)
        W = numpy(encoder.last.weight)
        along = W @ attraction @ axes
        moved = (numpy(end["last.weight"]) - W) @ axes
        rates = np.einsum("gki,ki->gi", moved, along) / np.square(along).sum(0)
        found += [np.array([passing(gammas, rate) for rate in rates.T]), told]
    # The axes have v·Av = 1: v·Rv is the inverse of what is told.
    return np.array([*found, DECAY * np.square(axes).sum(0) * told])


def deep_strengths(plan: LejepaPlan) -> np.ndarray:
    """Return γ of the deep encoders: the plan's, and the published trade-off with the batch size."""
    return np.array([*plan.strengths, lejepa_strength(width=WIDTH, batch=plan.pairs)])


def trained(plan: LejepaPlan, encoder: MLP, data: Views) -> dict[str, np.ndarray]:
    """Train one encoder at every weight on fresh views, and a last layer alone on its features as they are; arrays of :func:`lejepa`."""
    gammas, (x, y) = deep_strengths(plan), halves(data.sample)
    scale_embedding(encoder, x, 0.1)
    with torch.no_grad():
        h, other = encoder.backbone(x), encoder.backbone(y)
        step = 0.25 / float(torch.linalg.eigvalsh(h.T @ h / len(h))[-1])
    first = needs(h, other)
    head = MLP((HIDDEN[-1], WIDTH), "linear", seed=0, device=x.device)
    head.load_state_dict({"last.weight": encoder.last.weight})

    def fresh() -> Iterator[tuple[Tensor, Tensor]]:
        return (halves(batch) for batch in islice(data.batches(fresh=True), plan.deep_steps))

    def run(network: MLP, batches: Iterable[tuple[Tensor, Tensor]]) -> list[dict[str, Tensor]]:
        trial, state = stacked("encoder", [network] * len(gammas), x.dtype, x.device)
        end = train_lejepa(trial, state, gammas, batches, step=step)
        return [{name: value[index] for name, value in end.items()} for index in range(len(gammas))]

    def told(need: np.ndarray, gamma: float) -> np.ndarray:
        return np.sort(lejepa_spectrum(np.maximum(need, 0.0), gamma, width=WIDTH)[:WIDTH])[::-1]

    keys = ("deep", "deep_start", "deep_end", "frozen")
    found = {key: np.full((len(gammas), WIDTH), np.nan) for key in keys} | {"deep_mean": np.full(len(gammas), np.nan)}
    ends = run(head, ((encoder.backbone(x).detach(), encoder.backbone(y).detach()) for x, y in fresh()))
    for index, state in enumerate(ends):
        head.load_state_dict(state)
        found["frozen"][index] = embedded(head, h, other)
    for index, (gamma, state) in enumerate(zip(gammas, run(encoder, fresh()), strict=True)):
        encoder.load_state_dict(state)
        found["deep_start"][index] = told(first, float(gamma))
        if all(bool(value.isfinite().all()) for value in state.values()):
            with torch.no_grad():
                found["deep"][index] = embedded(encoder, x, y)
                found["deep_end"][index] = told(needs(encoder.backbone(x), encoder.backbone(y)), float(gamma))
                found["deep_mean"][index] = encoder(x).mean(0).square().sum().item()
    return found


@torch.no_grad()
def embedded(encoder: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    """Return the variances of an encoder's embeddings of two views along principal directions, (k,); NaN after a divergence."""
    z, z_plus = encoder(x), encoder(y)
    fine = bool(z.isfinite().all() & z_plus.isfinite().all())
    return spectrum(z, z_plus) if fine else np.full(WIDTH, np.nan)
