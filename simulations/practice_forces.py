"""Forces that a practice of the dictionary follows on a batch, and what they average to over all batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.linear_models.dictionary import DICTIONARY, SpectralPredictor
from jepalign.simulations.data import PairedViews, both_orders, other_view
from jepalign.simulations.encoders import MLP
from jepalign.simulations.objectives import (
    EXPLICIT,
    alignment,
    prediction_loss,
    residual_loss,
    second_moment,
    spectral_matrix,
)
from jepalign.simulations.view_losses import spectral

TRAINING, BATCH = 1280, 128  # ten whole batches, of 1797 pairs
AVERAGE = 0.05  # the share of the newest batch in the moving average of Φ


@dataclass(frozen=True)
class Practice:
    """How one network is trained.

    Attributes
    ----------
    form : str
        "explicit" (descends U_g), "residual" (z⁺ − Pz), "BYOL" (Pᵀ(z⁺ − Pz)) or "InfoNCE" (of the batch, by sampled negatives).
    batches, target : bool
        Whether of mini-batches, and with an EMA target encoder.
    average : float
        Share of the newest batch in the moving average of Φ; 1: its own Φ alone.
    temperature : float
        τ; for a predictor P = g(Φ/τ), which is what U_g of z/√τ asks for.
    step : float
        Gradient steps, relative to the others'.
    longer : int
        How many times the plan's steps.
    """

    form: str
    batches: bool = True
    average: float = 1.0
    target: bool = False
    temperature: float = 1.0
    step: float = 1.0
    longer: int = 1

    @property
    def lag(self) -> int:
        """By how many steps the moving average is behind a Φ that moves steadily."""
        return round((1 - self.average) / self.average)


def sampled_infonce(z: Tensor, z_plus: Tensor, *, kernel: str, temperature: float) -> Tensor:
    """Return τ/2 times InfoNCE of a batch in both orders, every first view against all second views and the reverse.

    With the dot product for similarity ("dot"), or −½‖u − v‖² ("gaussian"), over τ. As negatives grow in number, at τ = 1, it is ½ of
    1.3's form for Gaussian embeddings, and ¼L_SCL to second order in z.
    """
    first, second = z.chunk(2)[0], z_plus.chunk(2)[0]
    similarity = first @ second.T
    if kernel == "gaussian":
        similarity = similarity - (first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)) / 2
    logits = similarity / temperature
    negatives = (torch.logsumexp(logits, dim=1) + torch.logsumexp(logits, dim=0)) / 2
    return temperature * (negatives - logits.diagonal()).mean() / 2


def explicit(name: str, z: Tensor, z_plus: Tensor, temperature: float) -> Tensor:
    """Return τU_g(z/√τ), whose gradient is g(Φ/τ)z − z⁺ by row, over n."""
    # Of all pairs the mean over all negatives is taken as ‖Φ‖², which is the same and does not grow with n².
    objective = spectral if name == "spectral-contrastive" and len(z) > 2 * BATCH else EXPLICIT[name]
    return temperature * objective(z / temperature**0.5, z_plus / temperature**0.5)


def loss_of(how: Practice, name: str, z: Tensor, target: Tensor, P: Tensor) -> Tensor:
    """Return the loss whose gradient a practice follows, given embeddings of a batch, those of the other views, and P."""
    if how.form == "explicit":
        return explicit(name, z, target, how.temperature)
    if how.form == "InfoNCE":
        kernel = "gaussian" if name == "gaussian-infonce" else "dot"
        return sampled_infonce(z, target, kernel=kernel, temperature=how.temperature)
    return residual_loss(z, target, P) if how.form == "residual" else prediction_loss(z @ P.T, target)


def flat(loss: Tensor, encoder: nn.Module, *, retain: bool = False) -> Tensor:
    """Return the gradient of a loss in all parameters as one vector."""
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, list(encoder.parameters()), retain_graph=retain)]
    )


def cosine(one: Tensor, two: Tensor) -> float:
    """Return the cosine of two vectors, unrounded near 1: 1 − ½‖a − b‖² of the unit vectors."""
    return 1 - (one / one.norm() - two / two.norm()).square().sum().item() / 2


def predictor(name: str, moment: Tensor, temperature: float = 1.0) -> Tensor:
    """Return P = g(Φ/τ)."""
    return spectral_matrix(DICTIONARY[name], moment / temperature)


def partition(views: PairedViews) -> Iterator[Tensor]:
    """Yield the first views and then the second, in both orders, of consecutive batches that make up all pairs."""
    for x, y in zip(views.x.split(BATCH), views.y.split(BATCH), strict=True):
        yield both_orders(x, y)[0]


def look(
    encoder: MLP,
    slow: nn.Module,
    views: PairedViews,
    name: str,
    how: Practice,
    average: Tensor,
    before: Tensor | None,
) -> dict[str, float]:
    """Return what a record tells of the whole data: the mean of the updates over all batches against U_g's gradient.

    Predicted for BYOL's form is the gradient at the embeddings times P = g(Φ), through the network: the explicit objective's alone. The
    correction is, for a moving average, its lag and the target as they are, with P = g of Φ so many steps ``before``; for spectral
    contrastive's batches the bias of their own Φ; for InfoNCE as many negatives as there are pairs.
    """
    whole = both_orders(views.x, views.y)[0]
    z = encoder(whole)
    moment = second_moment(z.detach())
    target = other_view(z) if slow is encoder else other_view(slow(whole))
    objective = explicit(name, z, other_view(z), how.temperature)
    gradient = flat(objective, encoder, retain=True)
    predicted, corrected = gradient, None
    if how.form == "BYOL":
        (at_embedding,) = torch.autograd.grad(objective, z, retain_graph=True)
        scaled = at_embedding @ predictor(name, moment, how.temperature)
        predicted = flat((z * scaled).sum(), encoder, retain=True)
    if how.lag > 0:
        if before is not None:
            lagged = predictor(name, before, how.temperature)
            corrected = flat(loss_of(how, name, z, target, lagged), encoder, retain=True)
        current = predictor(name, average, how.temperature)
        update = flat(loss_of(how, name, z, target, current), encoder, retain=True)
    elif how.batches:
        update = torch.zeros_like(gradient)
        for contexts in partition(views):
            part = encoder(contexts)
            own = predictor(name, second_moment(part.detach()), how.temperature)
            update += flat(loss_of(how, name, part, other_view(part), own), encoder)
        if how.form == "InfoNCE":
            corrected = flat(loss_of(how, name, z, target, moment), encoder, retain=True)
        elif name == "spectral-contrastive":
            corrected = gradient + flat(own_surplus(z), encoder, retain=True)
    else:
        update = flat(loss_of(how, name, z, target, predictor(name, moment, how.temperature)), encoder, retain=True)
    found = {
        "cosine": cosine(update, gradient),
        "cosine_predicted": cosine(predicted, gradient),
        "cosine_corrected": np.nan if corrected is None else cosine(corrected, gradient),
        "followed": cosine(update, predicted),
        "moment": moment.trace().item(),
    }
    if how.lag > 0 and before is not None:
        with torch.no_grad():
            squares = [(second_moment(encoder(part)) - moment).square().sum() for part in partition(views)]
        noise = torch.stack(squares).mean().item() * how.average / (2 - how.average)
        lag = (moment - before).square().sum().item()
        found["average_error"] = ((average - moment).norm() / moment.norm()).item()
        found["average_predicted"] = (noise + lag) ** 0.5 / moment.norm().item()
    return found


def own_surplus(z: Tensor) -> Tensor:
    """Return what ¼‖Φ_B‖² of batches drawn without replacement has on average beyond ¼‖Φ‖²: of order 1/B.

    E‖Φ_B‖² = ‖Φ‖² + (N − B)/(B(N − 1)) (E‖M‖² − ‖Φ‖²), with M = ½(zzᵀ + z⁺z⁺ᵀ) of one pair.
    """
    first, second = z.chunk(2)
    pair = (first.square().sum(1) ** 2 + second.square().sum(1) ** 2 + 2 * (first * second).sum(1) ** 2) / 4
    pairs = len(first)
    return (pair.mean() - second_moment(z).square().sum()) * (pairs - BATCH) / (BATCH * (pairs - 1)) / 4


def sharpness(encoder: MLP, views: PairedViews, name: str, iterations: int) -> float:
    """Return the largest curvature of U_g on all pairs, from below, by power iteration.

    With h the step times a mode's curvature, its distance δ from rest and the moving average's, u, make a step
    u ← (1 − a)u + ahδ, δ ← δ − u: of determinant 1 − a whatever h, hence stable for h < 4/a − 2, but ringing for all h > a/4 or so
    (exactly, (1 − √(1−a))²/a), with 2/a steps to damp it, where Φ of the batch itself damps by 1 − h a step.
    """
    whole = both_orders(views.x, views.y)[0]
    z = encoder(whole)
    parameters = list(encoder.parameters())
    parts = torch.autograd.grad(explicit(name, z, other_view(z), 1.0), parameters, create_graph=True)
    gradient = torch.cat([part.flatten() for part in parts])
    vector = torch.randn(len(gradient), generator=torch.Generator().manual_seed(0), dtype=z.dtype).to(z.device)
    for _ in range(iterations):
        vector = flat(gradient @ (vector / vector.norm()), encoder, retain=True)
    return vector.norm().item()


def ringing(share: float) -> float:
    """Return the h above which a mode rings with a moving average of this share (:func:`sharpness`)."""
    return (1 - (1 - share) ** 0.5) ** 2 / share


def averages(encoder: MLP, views: PairedViews, name: str, partitions: int, seed: int) -> dict[str, np.ndarray]:
    """Return what batches average to at a point: the whole gradient with P held, in both orders only, and 1/B off it with their own Φ."""
    whole = both_orders(views.x, views.y)[0]
    z = encoder(whole)
    held = predictor(name, second_moment(z.detach()))
    gradient = flat(explicit(name, z, other_view(z), 1.0), encoder, retain=True)

    def mean_force(entry: SpectralPredictor | None, *, orders: bool = True) -> Tensor:
        parts = []
        for contexts in partition(views):
            part = encoder(contexts)
            target = other_view(part)
            if not orders:
                part, target = part.chunk(2)[0], target.chunk(2)[0]
            P = held if entry is None else spectral_matrix(entry, second_moment(z.detach()))
            parts.append(flat(residual_loss(part, target, P), encoder))
        return torch.stack(parts).mean(dim=0)

    def distance(force: Tensor) -> np.ndarray:
        return np.array(((force - gradient).norm() / gradient.norm()).item())

    wrong = DICTIONARY["directpred"]
    found = {
        "held_difference": distance(mean_force(None)),
        "one_order_difference": distance(mean_force(None, orders=False)),
        "wrong_difference": distance(mean_force(wrong)),
        "alignment_cosine": np.array(cosine(gradient, flat(alignment(z, other_view(z)), encoder, retain=True))),
        "bias": np.array(np.nan),
        "bias_predicted": np.array(np.nan),
    }
    if name != "spectral-contrastive":
        return found
    predicted = flat(own_surplus(z), encoder)
    total = torch.zeros_like(predicted)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(partitions):
        order = torch.randperm(TRAINING, generator=generator).to(views.x.device)
        for contexts in partition(PairedViews(views.x[order], views.y[order])):
            part = encoder(contexts)
            # The force is affine in P: what the batch's own Φ adds to that of P held, which averages to the whole gradient.
            P = predictor(name, second_moment(part.detach())) - held
            total += flat(residual_loss(part, torch.zeros_like(part), P), encoder)
    seen = total / (partitions * (TRAINING // BATCH))
    found["bias"] = np.array((seen @ predicted / predicted.norm() / gradient.norm()).item())
    found["bias_predicted"] = np.array((predicted.norm() / gradient.norm()).item())
    return found
