"""InfoNCE against half the spectral contrastive loss as embeddings leave Gaussianity (1.3).

With q = z·z′/τ for an anchor z and a negative z′, the repulsion of InfoNCE is E_z ln E_z′ e^q, and that of ½L_SCL(W/√τ) is ½E q²: the
second cumulant of q given z, where a Gaussian z′ has no others. What is left, the gap, is E_z of all higher cumulants,
κ₃/6 + κ₄/24 + …, for centred embeddings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln, ive
from torch import Tensor, nn

from jepalign.datasets import latent_views
from jepalign.linear_models import InfoNCE, ViewPair
from jepalign.measurements import Measurement
from jepalign.simulations.data import both_orders, digit_views, other_view
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder, scale_embedding
from jepalign.simulations.gaussianity_rows import (
    CORRELATIONS,
    CRITERIA,
    ENCODERS,
    RATIOS,
    SPHERES,
    TEMPERATURES,
    WIDTH,
    digits_rows,
    latent_rows,
    sphere_rows,
)
from jepalign.simulations.results import Row, check_scale, measured, numpy, stated
from jepalign.simulations.training import Progress, device_named


@dataclass(frozen=True)
class GaussianityPlan:
    """One scale: laws of the latents, replicates with so many anchors and negatives each, and steps on digits."""

    latents: tuple[str, ...]
    replicates: int
    anchors: int
    negatives: int
    steps: int


SCALES = {
    "quick": GaussianityPlan(("gaussian", "binary"), replicates=8, anchors=256, negatives=1024, steps=30),
    "paper": GaussianityPlan(
        ("gaussian", "uniform", "laplace", "binary"), replicates=24, anchors=512, negatives=4096, steps=600
    ),
}


def gaussianity(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure how far InfoNCE with sampled negatives is from half the spectral contrastive loss.

    Returns
    -------
    Measurement
        With A laws of the latents, B encoders and R ratios s/τ: ``latents`` (A,), ``encoder`` (B,), ``ratio`` (R,) and (A, B, R):
        ``gap`` of the losses, its standard error ``gap_error``, ``fourth`` = E(κ₃/6 + κ₄/24), ``repulsion`` ½E q², ``kurtosis`` E κ₄/E κ₂²
        of q given the anchor, ``gradient_gap`` and ``gradient_error`` over ``gradient_size``, ``cosine`` of the two gradients of the
        whole loss and ``repulsive_cosine`` of their repulsive parts. ``negatives`` (M,) and ``bias`` (A, M): the loss with so many
        negatives less its limit, at s/τ = 0.3; ``bias_predicted`` (M,) for Gaussian latents. Gaussian kernel, on the first encoder:
        ``kernel_observed``, ``kernel_error`` (A, R), ``kernel_predicted`` (R,). Unit-length embeddings of Gaussian latents, (S, T):
        ``sphere_observed``, ``sphere_error``, ``sphere_predicted``, ``sphere_half_spectral`` over ``sphere_width`` (S,) and ``temperature``
        (T,); ``temperature_gap`` (2,), |L(z; τ)/L(z/√τ; 1) − 1| for dot products and for cosines.
        Training on digits: ``digits_step`` and, by record, ``digits_gap``, ``digits_cumulants``, ``digits_repulsion``,
        ``digits_cosine``, ``digits_ratio``.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.

    Notes
    -----
    With Laplace latents e^q has no expectation once an anchor passes |z|√ρs/τ = √2, so that with infinitely many negatives InfoNCE is
    infinite at every scale; at the scales of the tests no such anchor is met, and the cumulants are an asymptotic expansion.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    total = len(plan.latents) + 2
    found: list[dict[str, np.ndarray]] = []
    rows: list[Row] = []
    for done, latents in enumerate(plan.latents):
        if progress is not None:
            progress(done, total, f"{latents} latents")
        found.append(latent_run(latents, plan, where, seed))
        rows += latent_rows(latents, found[-1])
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    for shared in ("negatives", "bias_predicted", "kernel_predicted"):
        arrays[shared] = arrays[shared][0]
    if progress is not None:
        progress(total - 2, total, "unit length")
    spheres = sphere_run(plan, where, seed)
    rows += sphere_rows(spheres)
    if progress is not None:
        progress(total - 1, total, "digits")
    trained = digits_run(plan.steps, where, seed)
    rows += digits_rows(trained)
    if progress is not None:
        progress(total, total, "done")
    labels = {"latents": np.array(plan.latents), "encoder": np.array(ENCODERS), "ratio": RATIOS}
    return measured(
        "gaussianity", arrays | labels | spheres | trained, rows, stated(CRITERIA), device=where, scale=scale, seed=seed
    )


def log_mean_exp(q: Tensor) -> Tensor:
    """Return ln of the mean of e^q over the negatives, the columns."""
    return torch.logsumexp(q, dim=1) - float(np.log(q.shape[1]))


def extrapolated(q: Tensor) -> Tensor:
    """Return :func:`log_mean_exp` for infinitely many negatives, up to the square of 1/m: twice that of all less the mean of halves."""
    halves = q.chunk(2, dim=1)
    return 2 * log_mean_exp(q) - sum(log_mean_exp(half) for half in halves) / 2


def cumulants(q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first four cumulants of q over the negatives, for each anchor."""
    first = q.mean(dim=1)
    apart = q - first[:, None]
    second = apart.square().mean(dim=1)
    return first, second, apart.pow(3).mean(dim=1), apart.pow(4).mean(dim=1) - 3 * second.square()


def spread(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over replicates, the first axis."""
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def latent_run(latents: str, plan: GaussianityPlan, device: torch.device, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays of :func:`gaussianity` for one law of the latents."""
    n, m, count = plan.anchors, plan.negatives, plan.replicates
    data = latent_views(count * (n + m), len(CORRELATIONS), CORRELATIONS, latents=latents, seed=seed)
    x, y = (torch.as_tensor(part, device=device).reshape(count, n + m, -1) for part in (data.x, data.y))
    shape = (len(ENCODERS), len(RATIOS))
    keys = ("gap", "gap_error", "fourth", "repulsion", "kurtosis", "gradient_gap", "gradient_error", "gradient_size")
    found = {key: np.full(shape, np.nan) for key in (*keys, "cosine", "repulsive_cosine")}
    for i, name in enumerate(ENCODERS):
        for j, ratio in enumerate(RATIOS):
            encoder = latent_encoder(name, data.x, data.latents, seed, device)
            scale_embedding(encoder, x.flatten(0, 1), float(ratio))
            for key, value in gap_run(encoder, x, y, n).items():
                found[key][i, j] = value
    encoder = latent_encoder(ENCODERS[0], data.x, data.latents, seed, device)
    scale_embedding(encoder, x.flatten(0, 1), 0.3)
    return found | bias_run(encoder, x, y, n) | kernel_run(encoder, x, y, n)


def latent_encoder(name: str, x: np.ndarray, latents: np.ndarray, seed: int, device: torch.device) -> MLP:
    """Return a fresh encoder: orthonormal rows that read one latent each, or mixtures of all, or a random tanh network."""
    d = len(CORRELATIONS)
    if name.startswith("tanh"):
        return MLP((d, 32, WIDTH), "tanh", seed=seed, device=device)
    left, _, right = np.linalg.svd(x.T @ latents)
    rows = right.T @ left.T
    if name.endswith("mixed"):
        rows = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0] @ rows
    encoder = MLP((d, WIDTH), "linear", seed=seed, device=device)
    with torch.no_grad():
        encoder.last.weight.copy_(torch.as_tensor(rows[:WIDTH], device=device))
    return encoder


def gap_run(encoder: nn.Module, x: Tensor, y: Tensor, anchors: int) -> dict[str, float]:
    """Return one entry of each (A, B, R) array: means over replicates, of embeddings with mean 0 in law at temperature 1."""
    parameters = list(encoder.parameters())
    values: list[list[float]] = []
    gradients: list[np.ndarray] = []
    for first, second in zip(x, y, strict=True):
        z = encoder(first[:anchors])
        q = z @ encoder(second[anchors:]).T
        _, two, three, four = cumulants(q.detach())
        # The mean of q is 0 in law; taken off, it takes most of the noise with it.
        exact, half = extrapolated(q).mean() - q.mean(), q.square().mean() / 2
        attraction = -(z * encoder(second[:anchors])).sum(dim=1).mean()
        fourth = (three / 6 + four / 24).mean()
        kurtosis = four.mean() / two.square().mean()
        values.append([part.item() for part in (exact - half, fourth, half, kurtosis)])
        gradients.append(
            np.array([numpy(flat_gradient(part, parameters)) for part in (exact, half, attraction)])  # (3, parameters)
        )
    stacked, slopes = np.array(values), np.array(gradients)
    mean = slopes.mean(axis=0)
    difference = slopes[:, 0] - slopes[:, 1]
    size = float(np.linalg.norm(mean[1]))
    return {
        "gap": float(stacked[:, 0].mean()),
        "gap_error": float(spread(stacked[:, 0])),
        **dict(zip(("fourth", "repulsion", "kurtosis"), stacked[:, 1:].mean(axis=0).tolist(), strict=True)),
        "gradient_gap": float(np.linalg.norm(difference.mean(axis=0))) / size,
        "gradient_error": float(np.linalg.norm(spread(difference))) / size,
        "gradient_size": size,
        "cosine": cosine(mean[0] + mean[2], mean[1] + mean[2]),
        "repulsive_cosine": cosine(mean[0], mean[1]),
    }


def flat_gradient(value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Return the gradient with respect to all parameters as one vector; the graph is kept."""
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, parameters, retain_graph=True)])


@torch.no_grad()
def bias_run(encoder: nn.Module, x: Tensor, y: Tensor, anchors: int) -> dict[str, np.ndarray]:
    """Return how far a finite number of negatives is from infinitely many, and the leading order of it for Gaussian embeddings.

    E ln (1/m)Σe^q = ln E e^q − Var e^q/(2m (E e^q)²) + …, and for a Gaussian q of variance v the ratio is e^v − 1; over Gaussian anchors
    E e^{zᵀΦz/τ²} = det(I − 2Φ²/τ²)^{−1/2}, infinite from s = τ/√2 on.
    """
    counts = (x.shape[1] - anchors) // 2 ** np.arange(6)
    found = np.zeros(len(counts))
    for first, second in zip(x, y, strict=True):
        q = encoder(first[:anchors]) @ encoder(second[anchors:]).T
        limit = extrapolated(q).mean().item()
        for index, count in enumerate(counts):
            parts = [log_mean_exp(part).mean().item() for part in q.split(int(count), dim=1)]
            found[index] += (np.mean(parts) - limit) / len(x)
    z = encoder(x.flatten(0, 1))
    values = np.linalg.eigvalsh(numpy(z.T @ z / len(z)))
    ratio = 1 / np.sqrt(np.prod(1 - 2 * values**2)) - 1
    return {"negatives": counts, "bias": found, "bias_predicted": -ratio / 2 / counts}


@torch.no_grad()
def kernel_run(encoder: MLP, x: Tensor, y: Tensor, anchors: int) -> dict[str, np.ndarray]:
    """Return InfoNCE with the similarity −‖z − z′‖²/(2τ), sampled, and its closed form for Gaussian views."""
    views = ViewPair.from_covariances(np.eye(len(CORRELATIONS)), np.eye(len(CORRELATIONS)), np.diag(CORRELATIONS))
    observed, errors, predicted = [], [], []
    for ratio in RATIOS:
        scale_embedding(encoder, x.flatten(0, 1), float(ratio))
        losses = []
        for first, second in zip(x, y, strict=True):
            z, positive = encoder(first[:anchors]), encoder(second[:anchors])
            q = -torch.cdist(z, encoder(second[anchors:])).square() / 2
            losses.append(((z - positive).square().sum(dim=1) / 2 + extrapolated(q)).mean().item())
        observed.append(np.mean(losses))
        errors.append(spread(np.array(losses)))
        W = np.sqrt(ratio) * np.eye(WIDTH, len(CORRELATIONS))
        predicted.append(InfoNCE(views, kernel="gaussian").loss(W))
    return {
        "kernel_observed": np.array(observed),
        "kernel_error": np.array(errors),
        "kernel_predicted": np.array(predicted),
    }


@torch.no_grad()
def sphere_run(plan: GaussianityPlan, device: torch.device, seed: int) -> dict[str, np.ndarray]:
    """Return the repulsion of unit-length embeddings, uniform on the sphere, and its closed form ln ₀F₁(k/2; 1/(4τ²))."""
    n, m, count = plan.anchors, plan.negatives, plan.replicates
    shape = (len(SPHERES), len(TEMPERATURES))
    found = {f"sphere_{key}": np.empty(shape) for key in ("observed", "error", "predicted", "half_spectral")}
    identity: list[float] = []
    for i, k in enumerate(SPHERES):
        data = latent_views(count * (n + m), k, np.full(k, 0.8), seed=seed)
        x, y = (torch.as_tensor(part, device=device).reshape(count, n + m, -1) for part in (data.x, data.y))
        for j, tau in enumerate(TEMPERATURES):
            values = []
            for first, second in zip(x, y, strict=True):
                z, negative = (nn.functional.normalize(part) for part in (first[:n], second[n:]))
                q = z @ negative.T / tau
                values.append((extrapolated(q).mean() - q.mean()).item())
            found["sphere_observed"][i, j], found["sphere_error"][i, j] = np.mean(values), spread(np.array(values))
            found["sphere_predicted"][i, j] = sphere_repulsion(k, float(tau))
            found["sphere_half_spectral"][i, j] = 1 / (2 * k * tau**2)
        if i == 0:
            identity = temperature_gaps(x[0, :n], y[0, n:])
    labels = {"sphere_width": np.array(SPHERES), "temperature": TEMPERATURES}
    return found | labels | {"temperature_gap": np.array(identity)}


def sphere_repulsion(width: int, tau: float) -> float:
    """Return ln E e^{z·z′/τ} for z′ uniform on the unit sphere in ``width`` dimensions: ln Γ(k/2)(2τ)^{k/2−1}I_{k/2−1}(1/τ)."""
    order = width / 2 - 1
    return float(gammaln(width / 2) + order * np.log(2 * tau) + np.log(ive(order, 1 / tau)) + 1 / tau)


def temperature_gaps(z: Tensor, negative: Tensor) -> list[float]:
    """Return |L(z; τ)/L(z/√τ; 1) − 1| of the repulsion, at worst over temperatures, for dot products and for cosines."""

    def unit(part: Tensor) -> Tensor:
        return nn.functional.normalize(part)

    def gap(form: Callable[[Tensor], Tensor]) -> float:
        worst = 0.0
        for tau in TEMPERATURES:
            with_tau = log_mean_exp(form(z) @ form(negative).T / tau).mean()
            scaled = log_mean_exp(form(z / tau**0.5) @ form(negative / tau**0.5).T).mean()
            worst = max(worst, abs(float(with_tau / scaled) - 1))
        return worst

    return [gap(lambda part: part), gap(unit)]


def digits_run(steps: int, device: torch.device, seed: int) -> dict[str, np.ndarray]:
    """Train a tanh network on digits with sampled InfoNCE at temperature 1 and record the gap over all pairs of digits."""
    views = digit_views(device=device, seed=seed)
    encoder = digit_encoder(DEEP, "tanh", views, seed)
    parameters = list(encoder.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    records = np.unique(np.linspace(0, steps, 7).round().astype(int))
    keys = ("gap", "cumulants", "repulsion", "cosine", "ratio")
    found = {f"digits_{key}": np.full(len(records), np.nan) for key in keys}
    subset = slice(None, None, 2)  # half of the digits are anchors, the others negatives

    def look(index: int) -> None:
        z, other = encoder(views.x[subset]), encoder(views.y[1::2])
        q = z @ other.T
        one, _, three, four = cumulants(q.detach())
        exact, half = log_mean_exp(q).mean(), q.square().mean() / 2
        attraction = -(z * encoder(views.y[subset])).sum(dim=1).mean()
        slopes = [numpy(flat_gradient(part + attraction, parameters)) for part in (exact, half)]
        corrected = (one - one.square() / 2 + three / 6 + four / 24).mean()
        values = (exact - half, corrected, exact, torch.tensor(cosine(*slopes)), z.square().mean())
        for key, value in zip(keys, values, strict=True):
            found[f"digits_{key}"][index] = value.item()

    batches = views.batches(256, steps, seed=seed)
    look(0)
    for step, (x, y) in enumerate(batches, start=1):
        z = encoder(both_orders(x, y)[0])
        positive = other_view(z)
        loss = -(z * positive).sum(dim=1).mean() + log_mean_exp(z @ positive.T).mean()
        if not torch.isfinite(loss):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for index in np.flatnonzero(records == step):
            look(int(index))
    return {"digits_step": records, **found}
