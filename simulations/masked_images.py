"""Training of a masked JEPA on images, as in I-JEPA and C-JEPA, and what its encoder is worth to a linear probe."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jepalign.errors import InputError
from jepalign.simulations.encoders import PatchPredictor, VisionTransformer
from jepalign.simulations.patch_masks import BlockSampler, PatchMasks
from jepalign.simulations.training import Status

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Architecture:
    """Sizes of the encoder and of the predictor; the default is that of I-JEPA cut to small images."""

    side: int = 32
    patch: int = 4
    width: int = 192
    depth: int = 6
    heads: int = 3
    predictor_width: int = 96
    predictor_depth: int = 3


@dataclass(frozen=True)
class Schedule:
    """How a masked JEPA is trained.

    Attributes
    ----------
    steps, batch : int
        Number of updates, images in each.
    learning_rate : float
        AdamW's, after a warm-up of a tenth of the steps, decaying as a cosine to a hundredth of it.
    weight_decay : float
        AdamW's, of matrices; decoupled, so that a matrix shrinks by learning rate × weight decay a step.
    momentum : float
        Of the target encoder at the start, rising linearly to 1.
    vicreg : float
        β: weight of 25 × invariance + 25 × variance + covariance on embeddings averaged over patches; 0: I-JEPA, 0.001: C-JEPA as
        published (Mo & Tong 2024, appendix C).
    normalize_targets : bool
        Whether targets pass a layer norm without parameters, as in I-JEPA's code; the theory's rows are without.
    """

    steps: int
    batch: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    momentum: float = 0.996
    vicreg: float = 0.0
    normalize_targets: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise InputError("steps", (self.steps, self.batch), "must be at least 1, with at least 2 images a batch")
        if not 0 <= self.momentum <= 1:
            raise InputError("momentum", self.momentum, "must be between 0 and 1")

    @property
    def retained(self) -> float:
        """By what factor decay alone shrinks a matrix over the whole training, to first order in a step."""
        rates = sum(warm_cosine(step, self.steps) for step in range(self.steps))
        return math.exp(-self.learning_rate * self.weight_decay * rates)


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes
    ----------
    encoder : VisionTransformer
        The target encoder, the one that is used afterwards.
    status : Status
        Whether every loss was finite.
    step : ndarray of shape (R,)
        Updates made before each record.
    records : dict of str to ndarray of shape (R,)
        "loss", ½E‖ẑ − z̄‖² per dimension; "alignment", ½E‖z − z̄‖² of embeddings averaged over patches; "uniformity", Wang and
        Isola's log E e^{−2‖z−z′‖²} of these on the unit sphere; "effective rank", of their covariance (Roy & Vetterli 2007); "variance",
        their mean variance; "power", E⟨z, −∂L/∂z⟩: the rate at which the prediction loss alone would expand the context embeddings.
    """

    encoder: VisionTransformer
    status: Status
    step: np.ndarray
    records: dict[str, np.ndarray]


@dataclass(frozen=True)
class Moment:
    """A masked JEPA before one of its updates, for whoever measures it; nothing in it may be changed.

    Attributes
    ----------
    step : int
        Updates made.
    encoder, target : VisionTransformer
        Online and target encoder.
    predictor : PatchPredictor
        Predictor of the hidden patches.
    images : Tensor of shape (n, side²)
        The batch of this update.
    masks : PatchMasks
        Its masks, on the device of the images.
    normalize_targets : bool
        Whether targets pass a layer norm.
    scale : float
        Root mean square of the gradients of the last layer's weight over the past updates, as AdamW divides by: the median over its
        entries; NaN before the first update.
    """

    step: int
    encoder: VisionTransformer
    target: VisionTransformer
    predictor: PatchPredictor
    images: Tensor
    masks: PatchMasks
    normalize_targets: bool
    scale: float


def train_masked(
    images: Tensor,
    architecture: Architecture,
    schedule: Schedule,
    *,
    seed: int,
    records: int = 12,
    look: Callable[[Moment], None] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train an encoder by predicting target blocks from a context block.

    Parameters
    ----------
    images : Tensor of shape (n, side²)
        Grey levels, on the device to train on.
    architecture, schedule
        Sizes and settings.
    seed : int
        Seeds weights, order of images and masks.
    records : int
        How often to measure, evenly over the steps.
    look : callable, optional
        Called with the moment of every record, before its update.
    progress : callable, optional
        Called with (steps done, steps in all, message).
    """
    device = images.device
    a, s = architecture, schedule
    encoder = VisionTransformer(a.side, a.patch, a.width, a.depth, a.heads, seed=seed).to(device)
    predictor = PatchPredictor(a.width, encoder.grid, a.predictor_width, a.predictor_depth, a.heads, seed=seed + 1).to(
        device
    )
    target = copy.deepcopy(encoder).requires_grad_(False)
    parameters = [*encoder.parameters(), *predictor.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": s.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=s.learning_rate)
    sampler = BlockSampler(encoder.grid)
    generator = torch.Generator().manual_seed(seed + 2)
    moments = np.unique(np.linspace(0, s.steps - 1, records).round().astype(int))
    found: list[dict[str, float]] = []
    status = Status.FINISHED
    for step in range(s.steps):
        chosen = torch.randint(0, len(images), (s.batch,), generator=generator).to(device)
        masks = sampler.draw(s.batch, generator)
        visible, hidden = masks.visible.to(device), masks.hidden.to(device)
        x = images[chosen]
        with torch.no_grad():
            whole = target(x)
            if s.normalize_targets:
                whole = functional.layer_norm(whole, (a.width,))
        z = encoder(x, visible)
        z.retain_grad()
        blocks, size = hidden.shape[1:]
        repeated = [part.repeat_interleave(blocks, dim=0) for part in (z, visible)]
        predicted = predictor(repeated[0], repeated[1], hidden.flatten(0, 1)).reshape(s.batch, blocks * size, a.width)
        wanted = whole.gather(1, hidden.flatten(1)[..., None].expand(-1, -1, a.width))
        prediction = (predicted - wanted).square().mean() / 2
        pooled, pooled_target = z.mean(1), whole.mean(1)
        explicit = vicreg_terms(pooled, pooled_target) if s.vicreg else torch.zeros((), device=device)
        loss = prediction + s.vicreg * explicit
        if not torch.isfinite(loss):
            status = Status.DIVERGED
            break
        optimizer.zero_grad()
        if step in moments:
            (force,) = torch.autograd.grad(prediction, z, retain_graph=True)
            found.append(_record(prediction, pooled.detach(), pooled_target, -(force * z).sum().item()))
            if look is not None:
                scale = _gradient_scale(optimizer, encoder.last.weight)
                shown = PatchMasks(visible, hidden)
                look(Moment(step, encoder, target, predictor, x, shown, s.normalize_targets, scale))
        loss.backward()
        rate = s.learning_rate * warm_cosine(step, s.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        momentum = s.momentum + (1 - s.momentum) * step / s.steps
        with torch.no_grad():
            for mine, online in zip(target.parameters(), encoder.parameters(), strict=True):
                mine.lerp_(online, 1 - momentum)
        if progress is not None:
            progress(step + 1, s.steps, "")
    series = {name: np.array([entry[name] for entry in found]) for name in (found[0] if found else {})}
    return Trained(target, status, moments[: len(found)], series)


def vicreg_terms(z: Tensor, other: Tensor) -> Tensor:
    """Return 25 × invariance to ``other`` + 25 × variance + covariance of embeddings (n, k), as C-JEPA has them on the context."""
    centred = z - z.mean(0)
    variance = centred.square().sum(0) / (len(z) - 1)
    hinge = (1 - torch.sqrt(variance + 1e-4)).clamp_min(0).mean()
    covariance = centred.T @ centred / (len(z) - 1)
    outside = covariance.square().sum() - covariance.diagonal().square().sum()
    return 25 * (z - other.detach()).square().mean() + 25 * hinge + outside / z.shape[1]


@torch.no_grad()
def embed(encoder: VisionTransformer, images: Tensor, *, batch: int = 500) -> Tensor:
    """Return embeddings averaged over all patches of whole images, (n, width)."""
    return torch.cat([encoder(part).mean(1) for part in images.split(batch)])


def _record(loss: Tensor, z: Tensor, target: Tensor, power: float) -> dict[str, float]:
    spectrum = torch.linalg.svdvals(z - z.mean(0)).square()
    share = spectrum / spectrum.sum()
    rank = torch.exp(-(share * torch.log(share.clamp_min(1e-30))).sum())
    unit = functional.normalize(z, dim=1)
    return {
        "loss": loss.item(),
        "alignment": (z - target).square().sum(1).mean().item() / 2,
        "uniformity": torch.log(torch.exp(-2 * torch.pdist(unit).square()).mean()).item(),
        "effective rank": rank.item(),
        "variance": (spectrum.sum() / len(z) / z.shape[1]).item(),
        "power": power,
    }


def _gradient_scale(optimizer: torch.optim.AdamW, weight: Tensor) -> float:
    state = optimizer.state[weight]
    if not state:
        return math.nan
    unbiased = 1 - optimizer.param_groups[0]["betas"][1] ** float(state["step"])
    return (state["exp_avg_sq"] / unbiased).sqrt().median().item()


def warm_cosine(step: int, steps: int) -> float:
    """Return the factor of the learning rate at ``step``: linear over the first tenth, then a cosine down to a hundredth."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
