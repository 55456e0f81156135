"""The trainings that the forecast is held against, each measured early and told to its end in every way there is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import pad

from jepalign.linear_models.forecast.baselines import (
    effective_rank,
    extrapolated_eigenvalues,
    extrapolated_rank,
    rankme,
)
from jepalign.linear_models.forecast.intervals import block_weights
from jepalign.simulations.data import PairedViews, both_orders, digit_views
from jepalign.simulations.encoders import MLP, digit_encoder
from jepalign.simulations.ensembles import Members, Snapshot, train_ensemble
from jepalign.simulations.last_layer import rates_of_biases
from jepalign.simulations.phase import ALIVE, Mlp, backbone_features, recorder
from jepalign.simulations.phase_layers import TINY, Layers, frozen, members_at, with_constant
from jepalign.simulations.results import numpy
from jepalign.simulations.training import Progress

# Fractions of a training at which is told, each after a record at half of it, which extrapolations need as well.
MEASURED = (0.02, 0.05, 0.1)
# The one at which the batch is resampled.
SAMPLED = 1


@dataclass(frozen=True)
class ForecastPlan:
    """One scale.

    Attributes
    ----------
    fitted, held : tuple of (widths, activation)
        Architectures on which constants may be fitted, and those on which everything is judged.
    members : int
        Trainings of each, with settings of their own.
    batch : int
        Pairs of views of a digit in both orders: mini-batches of the training.
    measured : int
        Pairs that the moments come from.
    steps : int
        Of every training; their length is a setting.
    blocks, sampled, replicates : int
        Parts of the measured batch, of how many members of an architecture they are resampled, and how often.
    """

    fitted: tuple[Mlp, ...]
    held: tuple[Mlp, ...]
    members: int
    batch: int
    measured: int
    steps: int
    blocks: int
    sampled: int
    replicates: int


def random_settings(critical: np.ndarray, plan: ForecastPlan, seed: int) -> Members:
    """Return settings drawn at random, log-uniform each; ``critical`` is η_c of the features at initialisation, descending.

    η lies between 0.07 of that of the mode halfway down the embedding's dimensions and a quarter of that of the second mode (the
    first is the mean of features), so that about half of the dimensions die. ε is in [0.2, 0.4], α in [0.7, 4], and the target's
    momentum between 0 and 0.99.
    """
    rng = np.random.default_rng(seed)

    def drawn(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(math.log(low), math.log(high), plan.members))

    step = drawn(0.2, 0.4)
    return Members(
        seed=seed + 10 * np.arange(plan.members),
        step=step,
        weight_decay=drawn(0.07 * critical[len(critical) // 2 - 1], critical[1] / 4),
        predictor_rate=drawn(0.7, 4.0),
        ema_rate=drawn(0.01, 1.0) / step,
    )


@dataclass
class Watch:
    """Records last layers on a batch in both orders, the rates of the layers below, and of some members the moments of blocks.

    Attributes
    ----------
    x, y : Tensor
        The batch.
    every : Tensor
        All views, on which the end is judged.
    plan : ForecastPlan
        Which members' blocks to keep.
    at : int
        The step at which.
    blocks : dict
        Member → Σ_x and Σ_yx of each block, with a constant 1 behind the features, (B, h + 1, h + 1).
    """

    x: Tensor
    y: Tensor
    every: Tensor
    plan: ForecastPlan
    at: int
    blocks: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict[int, tuple[Tensor, Tensor]])

    def __call__(self, snapshot: Snapshot) -> dict[str, Tensor]:
        """Return what the forecasts need: the last layers, the rates below, and the embedding's second moment on all views.

        Σ_x and Σ_yx of the features, their means ``mean`` and ``ahead`` (A, h), W, P, V, and κ and ν of the layers below, ``below``
        and ``biases`` (A, m).
        """
        found = recorder(self.x, self.y)(snapshot)
        for name, state, part in (("mean", snapshot.encoder, self.x), ("ahead", snapshot.target, self.y)):
            found[name] = backbone_features(snapshot.network, dict(state), part.to(snapshot.weight)).double().mean(1)
        weights = [v for name, v in snapshot.encoder.items() if name.startswith("backbone.") and v.ndim == 3]
        rates = [part.shape[2] / part.square().sum((1, 2)) for part in weights]
        found["below"] = torch.stack(rates, 1) if rates else snapshot.weight.new_zeros(len(snapshot.weight), 0)
        found["biases"] = self._biases(snapshot) if rates else found["below"]
        z = snapshot.embeddings(self.every).double()
        found["moment"] = z.mT @ z / z.shape[1]
        if snapshot.step == self.at:
            chosen = np.flatnonzero(snapshot.index < self.plan.sampled)
            h, ahead = (
                self._blocks(backbone_features(snapshot.network, dict(state), part.to(snapshot.weight)).double())
                for state, part in ((snapshot.encoder, self.x), (snapshot.target, self.y))
            )
            for local in chosen:
                own, other = h[local], ahead[local]
                size = own.shape[1]
                self.blocks[int(snapshot.index[local])] = (own.mT @ own / size, other.mT @ own / size)
        return found

    def _biases(self, snapshot: Snapshot) -> Tensor:
        assert isinstance(snapshot.network, MLP)
        backbone, x = snapshot.network.backbone, self.x.to(snapshot.weight)
        state = {
            name.removeprefix("backbone."): value
            for name, value in snapshot.encoder.items()
            if name.startswith("backbone.")
        }
        # One member after the other: the Jacobians of all of them would not fit into caches.
        return vmap(lambda own: rates_of_biases(backbone, own, x), chunk_size=1)(state)

    def _blocks(self, features: Tensor) -> Tensor:
        """Return (A, B, n/B, h + 1): both orders of a pair in one block, and a constant 1 behind the features."""
        members, rows, width = features.shape
        split = pad(features, (0, 1), value=1.0)
        split = split.reshape(members, 2, self.plan.blocks, rows // 2 // self.plan.blocks, width + 1)
        return split.transpose(1, 2).reshape(members, self.plan.blocks, -1, width + 1)


def forecast_run(
    encoder: Mlp, plan: ForecastPlan, seed: int, where: torch.device, progress: Progress
) -> tuple[str, dict[str, np.ndarray]]:
    """Train one architecture under random settings; return its name and its arrays of :func:`jepalign.simulations.forecast.forecast`."""
    views = digit_views(device=where, seed=seed)
    x, y = both_orders(views.x[: plan.measured], views.y[: plan.measured])
    first = digit_encoder(*encoder, views, seed)
    with torch.no_grad():
        h, ahead = first.backbone(x), first.backbone(y)
        none = first.last.weight[None]
        start = Layers(h.mT[None] @ h / len(x), ahead.mT[None] @ h / len(x), none, none, none)
    width = first.last.out_features
    members = random_settings(start.critical()[0, :width], plan, seed)
    told = [round(fraction * plan.steps) for fraction in MEASURED]
    records = sorted({0, *told, *(step // 2 for step in told), plan.steps})
    watch = Watch(x, y, torch.cat((views.x, views.y)), plan, told[SAMPLED])
    trained = train_ensemble(
        members,
        lambda drawn: digit_encoder(*encoder, views, drawn),
        lambda _seed: mini_batches(views, plan, seed),
        steps=plan.steps,
        record=watch,
        record_steps=records,
        dtype=torch.float32,
        device=where,
        progress=progress,
    )
    fine = trained.steps == plan.steps
    kept = members_at(members, fine)
    layers = {
        step: Layers(
            *(
                torch.as_tensor(trained.records[name][fine, i]).to(where)
                for name in ("context", "cross", "weight", "predictor", "target")
            )
        )
        for i, step in enumerate(records)
    }
    below, biases, mean, ahead_mean = (
        {step: torch.as_tensor(trained.records[name][fine, i]).to(where) for i, step in enumerate(records)}
        for name in ("below", "biases", "mean", "ahead")
    )
    moment = {step: layers[step].moments() for step in records}
    floor = ALIVE * moment[0][:, :1]
    end = np.linalg.eigvalsh(trained.records["moment"][fine, -1])[:, ::-1]
    arrays: dict[str, np.ndarray] = {
        "floor": floor[:, 0],
        "survived": (end > floor).astype(float),
        "end": decades(end, floor),
        "grown": np.log10(trace(layers[plan.steps])[:, None] / np.stack([trace(layers[step]) for step in told], 1)),
    }
    # Where nothing lies below, no bias does either.
    affine = {
        step: with_constant(layers[step], mean[step], ahead_mean[step]) if below[step].shape[1] else layers[step]
        for step in told
    }
    parts: dict[str, list[np.ndarray]] = {}

    def add(name: str, values: np.ndarray) -> None:
        parts.setdefault(name, []).append(values)

    for step in told:
        left, own, before = plan.steps - step, layers[step], step // 2
        moved = frozen(own, kept, left, below=list(below[step].T))
        add("static", np.log10(np.maximum(own.critical()[:, :width], TINY) / kept.array("weight_decay")[:, None]))
        add("flow", decades(frozen(own, kept, left).moments(), floor))
        add("moving", decades(moved.moments(), floor))
        biased = frozen(affine[step], kept, left, below=list(below[step].T), biases=list(biases[step].T))
        add("affine", decades(biased.moments(), floor))
        # A constant 1 adds 1 to the trace.
        one = affine[step].context.shape[-1] - own.context.shape[-1]
        add("grown_told", np.log10((trace(biased) - one) / trace(own)))
        pair, elapsed = (moment[before], moment[step]), step - before
        add("extrapolation", decades(extrapolated_eigenvalues(*pair, elapsed, left), floor))
        add("rankme", rankme(moment[step]))
        ranks = [effective_rank(part) for part in pair]
        add("effective_rank", extrapolated_rank(ranks[0], ranks[1], elapsed, left, width=width))
    arrays |= {name: np.stack(values, 1) for name, values in parts.items()}
    chosen = np.flatnonzero(fine)[np.flatnonzero(fine) < plan.sampled]
    resampled = np.full((len(members), plan.replicates, width), np.nan)
    if len(chosen):
        at = np.searchsorted(np.flatnonzero(fine), chosen)
        rates = below[watch.at], biases[watch.at]
        resampled[chosen] = drawn_again(affine[watch.at], rates, kept, at, watch, chosen, plan, seed, floor)

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full((len(members), *values.shape[1:]), np.nan)
        full[fine] = values
        return full

    run = {name: spread(values) for name, values in arrays.items()}
    run["resampled"] = resampled
    run |= {name: members.array(name) for name in ("weight_decay", "predictor_rate", "ema_rate", "step")}
    run["diverged"] = (~fine).astype(int)
    return first.architecture, run


def mini_batches(views: PairedViews, plan: ForecastPlan, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mini-batches of a training, in both orders."""
    return (both_orders(*pair) for pair in views.batches(plan.batch, plan.steps, seed=seed))


def drawn_again(
    layers: Layers,
    rates: tuple[Tensor, Tensor],
    kept: Members,
    at: np.ndarray,
    watch: Watch,
    chosen: np.ndarray,
    plan: ForecastPlan,
    seed: int,
    floor: np.ndarray,
) -> np.ndarray:
    """Return what the forecast with biases tells from blocks of members drawn with replacement, (members, replicates, k), in decades."""
    weights = torch.as_tensor(block_weights(plan.blocks, plan.replicates, seed=seed)).to(layers.context)
    moments = [torch.stack([watch.blocks[int(member)][i] for member in chosen]).to(layers.context) for i in (0, 1)]
    mask = np.zeros(len(kept), dtype=bool)
    mask[at] = True
    local = torch.as_tensor(at)
    found: list[np.ndarray] = []
    size = layers.context.shape[-1]
    for own in weights:
        context, cross = (torch.einsum("b,mbij->mij", own, part)[:, :size, :size] for part in moments)
        again = Layers(context, cross, layers.weight[local], layers.predictor[local], layers.target[local])
        left = plan.steps - watch.at
        below, biases = (list(part[local].T) for part in rates)
        end = frozen(again, members_at(kept, mask), left, below=below, biases=biases)
        found.append(decades(end.moments(), floor[at]))
    return np.stack(found, 1)


def decades(values: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Return log₁₀ of eigenvalues over the floor, positive where alive."""
    return np.log10(np.maximum(values, TINY) / floor)


def trace(layers: Layers) -> np.ndarray:
    """Return the trace of the features' second moment, (M,)."""
    return numpy(torch.einsum("mii->m", layers.context).clamp(min=TINY))
