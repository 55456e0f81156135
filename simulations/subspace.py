"""What five joint-embedding objectives learn from the same views: subspaces, linear probes, anticorrelated modes (6.1, 6.2, 4.7).

Where views have the identity for a covariance, the prediction for linear encoders is exact: the k leading eigenvectors of C, of those
on the sides where the JEPA's predictor starts. For deep encoders, whose features differ, the comparison is a measured one.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepalign.datasets import latent_views
from jepalign.linear_models.guarantees import probe_risk, subspace_angles
from jepalign.measurements import Measurement
from jepalign.simulations.data import both_orders
from jepalign.simulations.deep_subspace import deep_latents, deep_run, repeated, signed_predictor
from jepalign.simulations.encoders import MLP, linear_predictor, scale_embedding
from jepalign.simulations.probe import effective_rank
from jepalign.simulations.results import Row, check_scale, measured, numpy, stated
from jepalign.simulations.subspace_rows import (
    CRITERIA,
    LATENT_OBJECTIVES,
    OBJECTIVES,
    decay_rows,
    deep_rows,
    latent_rows,
    linear_rows,
    probe_rows,
    signature_rows,
)
from jepalign.simulations.training import JEPA, Progress, Rates, device_named, train
from jepalign.simulations.view_losses import VIEW_LOSSES, descend


@dataclass(frozen=True)
class SubspacePlan:
    """One scale: samples and steps of linear encoders, starts and weight decays they are tried with, activations and steps of deep ones."""

    samples: int
    steps: int
    starts: int
    decays: tuple[float, ...]
    activations: tuple[str, ...]
    deep_steps: int
    longer: int = 5  # times the steps for the published weights, with which decorrelation is weak, and slow


SCALES = {
    "quick": SubspacePlan(
        400, steps=100, starts=2, decays=(0.06, 0.17), activations=("tanh",), deep_steps=20, longer=2
    ),
    "paper": SubspacePlan(
        samples=1000,
        steps=1200,
        starts=16,
        decays=(0.01, 0.03, 0.06, 0.1, 0.13, 0.17, 0.19, 0.25),
        activations=("tanh", "relu"),
        deep_steps=1200,
    ),
}
DIMENSION, WIDTH = 10, 4
POSITIVE = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2])
INDEFINITE = np.array([0.9, 0.8, 0.7, 0.6, 0.2, -0.3, -0.75, -0.85])
STEP, PREDICTOR = 0.25, 2.0


def subspace(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure what JEPA, spectral contrastive, InfoNCE, Barlow Twins and VICReg encoders learn from the same views.

    Returns
    -------
    Measurement
        Linear encoders, for the ``views`` (V,) and each ``objective`` (M,): ``spectrum`` (V, d), eigenvalues of C, descending; ``angle``
        (V, M), the largest principal angle to the leading subspace; ``energy`` (V, M, d), the share of each eigenvector of C in the row
        space; ``pairwise`` (V, M, M), largest angles between objectives; ``risk`` (V, M) of linear probes for all latents and
        ``risk_predicted`` (V,); ``effective_rank`` (V, M) of the embedding; ``loss`` (V, 2, M − 1), reached and within the leading
        subspace (with InfoNCE at W = the axes), of all objectives but the JEPA; ``wrong_angle``, ``large_start_angle`` (V,) of controls.
        Latents: ``latent_risk`` (M, m) on samples held out, ``latent_risk_predicted`` (m,). Signature law: ``inertia``,
        ``signature_angle``, ``other_angle`` (S,), and from starts whose rows are not orthonormal the same with ``random_``;
        ``both_signs_angle``, ``both_signs_contrastive_angle`` (1,), ``both_signs_energy`` (d,).
        Weight decay, over ``weight_decay`` (E,) and ``decay_spectrum`` (d,): ``jepa_moment``, ``jepa_predicted``, ``spectral_moment``,
        ``spectral_predicted`` (E, d), w² by mode. Deep encoders of digits, by ``architecture`` (A,) and ``deep_objective`` (D,), the last
        untrained: ``canonical`` (A, D, D), mean square canonical correlation on digits held out; ``shuffled`` (A,), JEPA against digits in
        another order; ``accuracy`` (A, D) of a linear probe and ``pixels`` (A,) of one on pixels; ``kept`` (A, D), the share of Σρ² of its
        features' leading directions that the embedding keeps; ``features`` (A, D), their variance over that at the start, and ``silent``
        (A, D), the share of them that are 0 for every digit. Tanh encoders of latents with ``latent_correlation`` (m,), by
        ``latent_objective`` (L,): ``deep_latents`` (L, m), R² on samples held out, and ``deep_products`` (L, Q) of the products
        ``deep_products_of`` (Q, 2).

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    stages = ["positive", "indefinite", "signature", "decay", "deep latents", *plan.activations]

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(stages), stages[done] if done < len(stages) else "done")

    tell(0)
    rows: list[Row] = []
    linear: list[dict[str, np.ndarray]] = []
    for done, (name, correlations) in enumerate((("positive", POSITIVE), ("indefinite", INDEFINITE))):
        views = whitened(correlations, plan.samples, seed, where)
        linear.append(linear_run(views, plan, seed))
        rows += linear_rows(name, linear[-1])
        tell(done + 1)
    arrays = {key: np.array([run[key] for run in linear]) for key in linear[0] if key != "encoders"}
    probed = held_out_risk(linear[0]["encoders"], whitened(POSITIVE, plan.samples, seed, where))
    rows += probe_rows(probed)
    signature = signature_run(plan, seed, where, orthonormal=True)
    signature |= {f"random_{key}": value for key, value in signature_run(plan, seed, where, orthonormal=False).items()}
    signature |= both_signs_run(whitened(INDEFINITE, plan.samples, seed, where), plan.steps, seed)
    rows += signature_rows(signature)
    tell(3)
    decayed = decay_run(plan, seed, where)
    rows += decay_rows(decayed)
    tell(4)
    views = whitened(INDEFINITE, plan.samples, seed, where)
    # One order of the views: batches put both side by side again.
    first, second = views.x[: plan.samples], views.y[: plan.samples]
    nonlinear = deep_latents(first, second, (views.fresh, views.fresh_latents), plan.deep_steps, seed)
    rows += latent_rows(nonlinear, INDEFINITE)
    tell(5)
    deep: list[dict[str, np.ndarray]] = []
    for done, activation in enumerate(plan.activations):
        deep.append(deep_run(activation, plan.deep_steps, seed, where))
        rows += deep_rows(f"{activation} 64-128-64-16", deep[-1])
        tell(6 + done)
    arrays |= {key: np.array([run[key] for run in deep]) for key in deep[0]}
    labels = {
        "views": np.array(["positive", "indefinite"]),
        "objective": np.array(OBJECTIVES),
        "deep_objective": np.array([*OBJECTIVES, "untrained"]),
        "latent_correlation": INDEFINITE,
        "latent_objective": np.array(LATENT_OBJECTIVES),
        "architecture": np.array(plan.activations),
    }
    arrays |= labels | probed | signature | decayed | nonlinear
    return measured("subspace", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


class Latents(NamedTuple):
    """Views of latents, a batch in both orders with the identity for its second moment, and samples held out.

    Attributes
    ----------
    x, y : Tensor of shape (2n, d)
        The batch.
    latents : ndarray of shape (2n, m)
        Its latents, centred.
    fresh : ndarray of shape (n', d)
        Views of other samples, whitened as the batch is.
    fresh_latents : ndarray of shape (n', m)
        Their latents.
    """

    x: Tensor
    y: Tensor
    latents: np.ndarray
    fresh: np.ndarray
    fresh_latents: np.ndarray


def whitened(correlations: np.ndarray, samples: int, seed: int, device: torch.device) -> Latents:
    """Return latent views whose second moment is the identity exactly, and ten times as many samples held out."""
    found = latent_views(11 * samples, DIMENSION, correlations, seed=seed)
    x, y = both_orders(*(torch.as_tensor(part[:samples], device=device) for part in (found.x, found.y)))
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    whitener = vectors / values.sqrt() @ vectors.T
    latents = found.latents[:samples] - found.latents[:samples].mean(axis=0)
    fresh = found.x[samples:] @ numpy(whitener)
    return Latents(x @ whitener, y @ whitener, np.concatenate((latents, latents)), fresh, found.latents[samples:])


def eigenbasis(x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, descending, and eigenvectors, in rows, of C = E yxᵀ of a batch in both orders."""
    cross = numpy(y.T @ x / len(x))
    values, vectors = np.linalg.eigh((cross + cross.T) / 2)
    return values[::-1], vectors[:, ::-1].T


def start(x: Tensor, width: int, size: float, seed: int) -> MLP:
    """Return a fresh linear encoder with a mean embedding variance as given."""
    encoder = MLP((x.shape[1], width), "linear", seed=seed, device=x.device)
    scale_embedding(encoder, x, size)
    return encoder


def linear_run(views: Latents, plan: SubspacePlan, seed: int) -> dict[str, np.ndarray]:
    """Return what :func:`subspace` tells of linear encoders on one pair of views, and the encoders (M, k, d)."""
    x, y, steps = views.x, views.y, plan.steps
    spectrum, basis = eigenbasis(x, y)
    leading = basis[:WIDTH]
    encoder = start(x, WIDTH, 0.1, seed)
    jepa = JEPA(encoder, signed_predictor(encoder, WIDTH, PREDICTOR), Rates(step=STEP, predictor=PREDICTOR))
    train(jepa, repeated(x, y, 4 * steps))
    encoders = [numpy(encoder.last.weight)]
    losses: list[list[float]] = []
    for name in VIEW_LOSSES:
        # Barlow Twins in covariance form has no preference but that of a small start.
        encoder = start(x, WIDTH, 1e-6 if "covariance form" in name else 0.1, seed)
        count = plan.longer * steps if "published" in name else steps
        descend(encoder, name, repeated(x, y, count), 2 * STEP)
        encoders.append(numpy(encoder.last.weight))
        # The leading subspace is invariant under descent: from inside it, the least loss that it has to offer in these axes.
        inside = start(x, WIDTH, 0.1, seed)
        with torch.no_grad():
            inside.last.weight.copy_(torch.as_tensor(leading.copy(), device=x.device))
        if name != "InfoNCE":
            descend(inside, name, repeated(x, y, count), 2 * STEP)
        losses.append([VIEW_LOSSES[name](part(x), part(y)).item() for part in (encoder, inside)])
    large = start(x, WIDTH, 0.1, seed)
    descend(large, "Barlow Twins, covariance form", repeated(x, y, steps), 2 * STEP)
    shared, second = views.latents.T @ numpy(x) / len(x), np.square(views.latents).mean(axis=0)
    identity = np.eye(DIMENSION)
    risks = [probe_risk(W, identity, shared, second).embedding.sum() for W in (*encoders, leading)]
    rows = [np.linalg.svd(W, full_matrices=False)[2] for W in encoders]
    return {
        "encoders": np.array(encoders),
        "spectrum": spectrum,
        "angle": np.array([subspace_angles(W, leading).max() for W in encoders]),
        "energy": np.array([np.square(basis @ V.T).sum(axis=1) for V in rows]),
        "pairwise": np.array([[subspace_angles(W, V).max() for V in encoders] for W in encoders]),
        "risk": np.array(risks[:-1]),
        "risk_predicted": np.array(risks[-1]),
        "effective_rank": np.array([effective_rank(torch.as_tensor(W @ W.T)) for W in encoders]),
        "loss": np.array(losses).T,
        "large_start_angle": np.array(subspace_angles(numpy(large.last.weight), leading).max()),
        "wrong_angle": np.array(subspace_angles(encoders[0], basis[1 : WIDTH + 1]).max()),
    }


def both_signs_run(views: Latents, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Train a JEPA whose predictor starts positive on two leading modes and negative on the two most negative (4.7)."""
    x, y = views.x, views.y
    basis = eigenbasis(x, y)[1]
    split = basis[basis_rows(WIDTH // 2)]
    encoder, predictor = start(x, WIDTH, 0.01, seed), linear_predictor(WIDTH, seed=0, device=x.device)
    signs = np.repeat([1.0, -1.0], WIDTH // 2)
    with torch.no_grad():
        encoder.last.weight.add_(0.4 * torch.as_tensor(split.copy(), device=x.device))
        predictor.weight.copy_(0.4 * PREDICTOR**0.5 * torch.diag(torch.as_tensor(signs, device=x.device)))
    train(JEPA(encoder, predictor, Rates(step=STEP, predictor=PREDICTOR)), repeated(x, y, 4 * steps))
    W = numpy(encoder.last.weight)
    return {
        "both_signs_angle": np.array([subspace_angles(W, split).max()]),
        "both_signs_contrastive_angle": np.array([subspace_angles(W, basis[:WIDTH]).max()]),
        "both_signs_energy": np.square(basis @ np.linalg.svd(W, full_matrices=False)[2].T).sum(axis=1),
    }


def held_out_risk(encoders: np.ndarray, views: Latents) -> dict[str, np.ndarray]:
    """Return the risk of linear probes for every latent, fitted on one half of the samples held out and tested on the other; and 6.2's."""
    half = len(views.fresh) // 2
    found = np.empty((len(encoders), len(POSITIVE)))
    for index, W in enumerate(encoders):
        z = views.fresh @ W.T
        fitted = np.linalg.lstsq(z[:half], views.fresh_latents[:half], rcond=None)[0]
        found[index] = np.square(views.fresh_latents[half:] - z[half:] @ fitted).mean(axis=0)
    kept = np.arange(len(POSITIVE)) < WIDTH
    return {"latent_risk": found, "latent_risk_predicted": np.where(kept, 1 - POSITIVE, 1.0)}


def signature_run(plan: SubspacePlan, seed: int, device: torch.device, *, orthonormal: bool) -> dict[str, np.ndarray]:
    """Train JEPAs with the least-squares predictor from random starts; the subspace has as many positive modes as K(0) (6.1).

    The law asks for a start with orthonormal rows, which such a JEPA keeps.
    """
    views = whitened(INDEFINITE, plan.samples, seed, device)
    spectrum, basis = eigenbasis(views.x, views.y)
    # Only moments matter to a linear encoder's full-batch flow; a small sample with exactly these makes it cheap.
    x, y = exact_sample(spectrum, basis, device)
    inertia, angles, others = [], [], []
    for index in range(plan.starts):
        encoder = start(x, WIDTH, 1.0, 1000 * seed + index)
        if orthonormal:
            with torch.no_grad():
                left, _, right = torch.linalg.svd(encoder.last.weight, full_matrices=False)
                encoder.last.weight.copy_(left @ right)
        first = numpy(encoder.last.weight) @ basis.T
        inertia.append(int((np.linalg.eigvalsh(first * spectrum @ first.T) > 0).sum()))
        # Some starts lie near a saddle, where other subspaces are left slowly.
        train(JEPA(encoder, None, Rates(step=STEP)), repeated(x, y, max(800, 4 * plan.steps)))
        W = numpy(encoder.last.weight)
        angle = [float(subspace_angles(W, basis[basis_rows(positive)]).max()) for positive in range(WIDTH + 1)]
        angles.append(angle.pop(inertia[-1]))
        others.append(min(angle))
    return {"inertia": np.array(inertia), "signature_angle": np.array(angles), "other_angle": np.array(others)}


def basis_rows(positive: int) -> np.ndarray:
    """Return the indices of the leading ``positive`` eigenvalues, in descending order, and of the last, WIDTH in all."""
    return np.r_[:positive, DIMENSION - (WIDTH - positive) : DIMENSION]


def decay_run(plan: SubspacePlan, seed: int, device: torch.device) -> dict[str, np.ndarray]:
    """Train JEPAs and spectral contrastive encoders of full width over weight decays, from balanced starts on the side of every λ.

    The start is W = I in C's eigenbasis with off-diagonal noise, so that modes are aligned only nearly.
    """
    views = whitened(INDEFINITE, plan.samples, seed, device)
    spectrum, basis = eigenbasis(views.x, views.y)
    noise = 0.02 * np.random.default_rng(seed).standard_normal((DIMENSION, DIMENSION))
    first = torch.as_tensor((np.eye(DIMENSION) + noise) @ basis, device=device)
    found: dict[str, list[np.ndarray]] = {"jepa_moment": [], "spectral_moment": []}
    steps = 8 * plan.steps
    x, y = exact_sample(spectrum, basis, device)
    for decay in plan.decays:
        encoder = MLP((DIMENSION, DIMENSION), "linear", seed=seed, device=device)
        predictor = linear_predictor(DIMENSION, seed=seed, device=device)
        with torch.no_grad():
            encoder.last.weight.copy_(first)
            predictor.weight.copy_(torch.diag(torch.as_tensor(np.sign(spectrum), device=device)))
        train(JEPA(encoder, predictor, Rates(step=STEP, weight_decay=float(decay))), repeated(x, y, steps))
        found["jepa_moment"].append(np.square(numpy(encoder.last.weight) @ basis.T).sum(axis=0))
        with torch.no_grad():
            encoder.last.weight.copy_(first)
        descend(encoder, "spectral contrastive", repeated(x, y, steps), STEP, float(decay))
        found["spectral_moment"].append(np.square(numpy(encoder.last.weight) @ basis.T).sum(axis=0))
    decays = np.array(plan.decays)
    root = np.sqrt(np.maximum(spectrum**2 - 4 * decays[:, None], 0.0))
    alive = spectrum**2 > 4 * decays[:, None]
    # α = 1 and σ = 1: w² = p₊²; ¼L_SCL's mode rests at w² = λ − η.
    return {
        "weight_decay": decays,
        **{key: np.array(value) for key, value in found.items()},
        "jepa_predicted": np.where(alive, np.square((np.abs(spectrum) + root) / 2), 0.0),
        "spectral_predicted": np.maximum(spectrum - decays[:, None], 0.0),
        "decay_spectrum": spectrum,
    }


def exact_sample(spectrum: np.ndarray, basis: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a batch in both orders of 4d pairs with Σ = I and C of these eigenvalues and eigenvectors, to rounding."""
    d = len(spectrum)
    design = np.linalg.qr(np.random.default_rng(0).standard_normal((2 * d, 2 * d)))[0] * np.sqrt(2 * d)
    x = design[:, :d]
    y = spectrum * x + np.sqrt(1 - spectrum**2) * design[:, d:]
    return both_orders(*(torch.as_tensor(part @ basis, device=device) for part in (x, y)))
