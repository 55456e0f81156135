"""Collapse over weight decay, predictor rate and EMA rate: which embedding dimensions of deep encoders survive (4.3, 4.4).

From the λ and σ of the features and from W, P, V, measured at initialisation, at a tenth and at half of a training, survival at its
end is predicted by the static threshold λ² > 4ησ and by integrating the last layer's flow on the features as they are. Both
are put beside scores that know no theory. Dimensions are matched by order: the i-th largest η_c = λ²/(4σ) of the
features and the i-th largest eigenvalue of the embedding's second moment, now, predicted, and at the end.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.measurements import Measurement
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import LINEAR, MLP, digit_encoder
from jepalign.simulations.ensembles import Members, Snapshot, train_ensemble
from jepalign.simulations.phase_rows import CRITERIA, phase_rows
from jepalign.simulations.results import Row, check_scale, measured, numpy, stated
from jepalign.simulations.training import LOST, Progress, device_named

Mlp = tuple[tuple[int, ...], str]
SHALLOW = (64, 64, 16)
STEP = 0.4
# 1/ε: the target is the encoder itself after every step (momentum 0); the others lag by 10 and by 50 such steps.
EMA = (1 / STEP, 0.1 / STEP, 0.02 / STEP)
# Fractions of the training at which is recorded; predictions are made at MEASURED, extrapolations there from the record before.
RECORDS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
MEASURED = (0, 2, 4)
# A dimension survives if its eigenvalue ends above this share of the largest at the start. Alive, it is σp²/α or more than a
# third of that share for every α and σ here; dead, e^{−2ηT} and lower.
ALIVE = 1e-3
TINY = 1e-30
# Near η_c a mode lingers where its equilibria vanished, the longer the slower β; single modes are integrated until they left.
MODE_STEPS = 20000
# Moments of features below this are rounding: their λ is taken as 0.
NOTHING = 1e-12


@dataclass(frozen=True)
class PhasePlan:
    """One scale.

    Attributes
    ----------
    encoders : tuple of (widths, activation)
        Architectures.
    settings : int
        Random (η, α, seed), each trained with every β.
    samples : int
        Pairs of views of a digit, in both orders the batch of every step.
    steps : int
        Of length ε.
    rest : int
        Steps after which whole last layers on frozen features are taken to be at rest.
    weakest : int
        η is log-uniform between 0.3 times η_c of that mode of the features at initialisation and the largest; below,
        nothing would die in the time there is.
    """

    encoders: tuple[Mlp, ...]
    settings: int
    samples: int
    steps: int
    rest: int
    weakest: int


SCALES = {
    "quick": PhasePlan(((SHALLOW, "tanh"),), settings=6, samples=64, steps=500, rest=1500, weakest=8),
    "paper": PhasePlan(
        ((LINEAR, "linear"), (SHALLOW, "tanh"), (SHALLOW, "relu")),
        settings=16,
        samples=128,
        steps=2500,
        rest=4000,
        weakest=12,
    ),
}


@dataclass(frozen=True)
class Layers:
    """The last layers of M networks: second moments of the features, Σ and Σ_yx (M, h, h), and W, P, V."""

    context: Tensor
    cross: Tensor
    weight: Tensor
    predictor: Tensor
    target: Tensor

    def critical(self) -> np.ndarray:
        """Return η_c = λ²/(4σ), (M, h), descending, read as :meth:`jepalign.simulations.last_layer.LastLayer.spectrum` does."""
        values, vectors = torch.linalg.eigh((self.cross + self.cross.mT) / 2)
        variance = torch.einsum("mji,mjk,mki->mi", vectors, self.context, vectors).clamp(min=NOTHING)
        values = torch.where(values.abs() > NOTHING, values, torch.zeros_like(values))
        return -np.sort(-critical_weight_decay(numpy(values), numpy(variance)), axis=1)

    def moments(self) -> np.ndarray:
        """Return the eigenvalues of the embedding's second moment WΣWᵀ, (M, k), descending."""
        values = torch.linalg.eigvalsh(self.weight @ self.context @ self.weight.mT)
        return numpy(values.flip(1).clamp(min=TINY))


def frozen(layers: Layers, members: Members, steps: int, *, halvings: int = 4) -> Layers:
    """Train last layers by ``steps`` steps of descent on features that stay: the Euler steps of what ``LastLayer`` integrates.

    A member that diverges, as trainings whose features give way do not, is integrated anew with steps half as long, up
    to ``halvings`` times.
    """

    def column(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=layers.weight.dtype, device=layers.weight.device)[:, None, None]

    step, alpha, eta, beta = (
        column(members.array(name)) for name in ("step", "predictor_rate", "weight_decay", "ema_rate")
    )
    found = [part.clone() for part in (layers.weight, layers.predictor, layers.target)]
    left = torch.arange(len(members), device=layers.weight.device)
    for halving in range(halvings + 1):
        weight, predictor, target = (part[left] for part in (layers.weight, layers.predictor, layers.target))
        context, cross, rate = layers.context[left], layers.cross[left], alpha[left]
        length = step[left] / 2**halving
        kept, follow = 1 - length * eta[left], length * beta[left]
        for _ in range(steps * 2**halving):
            error = predictor @ weight @ context - target @ cross  # E (PWh − Vh⁺)hᵀ
            weight, predictor = (
                kept * weight - length * predictor.mT @ error,
                kept * predictor - length * rate * error @ weight.mT,
            )
            target = target + follow * (weight - target)
        parts = (weight, predictor, target)
        fine = torch.stack([part.flatten(1).abs().amax(1) <= LOST for part in parts]).all(0)
        for mine, part in zip(found, parts, strict=True):
            # What diverges at the shortest step as well is kept as it was.
            mine[left[fine]] = part[fine]
        left = left[~fine]
        if len(left) == 0:
            break
    return Layers(layers.context, layers.cross, found[0], found[1], found[2])


def balanced(layers: Layers, members: Members) -> Layers:
    """Return the same last layers with V = W and the balanced predictor P = √α(WWᵀ)^{1/2}."""
    values, vectors = torch.linalg.eigh(layers.weight @ layers.weight.mT)
    root = vectors @ torch.diag_embed(values.clamp(min=0).sqrt()) @ vectors.mT
    alpha = torch.tensor(members.array("predictor_rate")).to(root)[:, None, None]
    return Layers(layers.context, layers.cross, layers.weight, alpha.sqrt() * root, layers.weight)


def aligned(layers: Layers, members: Members) -> Layers:
    """Return the k strongest modes as 4.4 covers them, last layers of width 1, M·k of them: λ, σ as they are, balanced, V = W.

    w is the root mean square of the singular values of W.
    """
    values, axes = torch.linalg.eigh((layers.cross + layers.cross.mT) / 2)
    variance = torch.einsum("mji,mjk,mki->mi", axes, layers.context, axes)
    width = layers.weight.shape[1]
    order = (values.square() / variance).argsort(dim=1, descending=True)[:, :width]
    cross, context = (torch.take_along_dim(part, order, 1) for part in (values, variance))
    size = layers.weight.square().sum((1, 2)).div(width).sqrt()[:, None].expand_as(cross)
    alpha = torch.tensor(members.array("predictor_rate")).to(size)[:, None]
    parts = (context, cross, size, alpha.sqrt() * size * cross.sign(), size)
    return Layers(*(part.reshape(-1, 1, 1) for part in parts))


def random_members(critical: np.ndarray, plan: PhasePlan, seed: int) -> Members:
    """Return settings drawn at random, every one with each β in turn; ``critical`` is η_c of the features, descending."""
    rng = np.random.default_rng(seed)
    count, betas = plan.settings, len(EMA)
    low, high = np.log(0.3 * critical[plan.weakest - 1]), np.log(critical[0])
    decay, rate = np.exp(rng.uniform(low, high, count)), np.exp(rng.uniform(0.0, math.log(4.0), count))
    seeds = seed + 10 * np.arange(count)
    return Members(
        seed=np.repeat(seeds, betas),
        step=np.full(count * betas, STEP),
        weight_decay=np.repeat(decay, betas),
        predictor_rate=np.repeat(rate, betas),
        ema_rate=np.tile(EMA, count),
    )


def recorder(x: Tensor, y: Tensor) -> Callable[[Snapshot], dict[str, Tensor]]:
    """Return a function that records the second moments of the features of a batch, and W, P, V."""

    def features(network: MLP, state: dict[str, Tensor], batch: Tensor) -> Tensor:
        own = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
        if not own:  # a linear encoder has the pixels as features
            return batch.expand(len(state["last.weight"]), *batch.shape)
        return vmap(lambda part: functional_call(network.backbone, part, (batch,)))(own)

    def record(snapshot: Snapshot) -> dict[str, Tensor]:
        network = snapshot.network
        assert isinstance(network, MLP)
        h, ahead = (
            features(network, dict(state), part.to(snapshot.weight)).double()
            for state, part in ((snapshot.encoder, x), (snapshot.target, y))
        )
        return {
            "context": h.mT @ h / len(x),
            "cross": ahead.mT @ h / len(x),
            "weight": snapshot.weight,
            "predictor": snapshot.predictor["weight"],
            "target": snapshot.target["last.weight"],
        }

    return record


def phase(*, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None) -> Measurement:
    """Predict which embedding dimensions survive over (η, α, β) in linear and deep encoders of digits.

    Returns
    -------
    Measurement
        With Q architectures, M members (settings by β, β fastest), records at R fractions of the training and k dimensions:
        ``architecture`` (Q,), ``fraction`` (R,), ``measured``, the three fractions at which is predicted;
        ``weight_decay``, ``predictor_rate``, ``ema_rate``, ``diverged`` (Q, M); ``moment``, eigenvalues of the
        embedding's second moment, and ``critical``, η_c of the features' k strongest modes (Q, M, R, k); ``survived``
        (Q, M, k). By measured fraction, scores positive where survival is predicted (Q, M, 3, k): ``threshold``,
        log₁₀(η_c/η), ``forecast``, log₁₀(s/cut) of the flow on the features frozen there, and ``extrapolation``, that
        of each eigenvalue's logarithm, NaN at the start. On the features of the start, the rank that survives from a
        balanced W, ``rank_balanced``, of aligned modes, ``rank_aligned``, and of these with V = 0, ``rank_unled``
        (Q, M). ``rank`` and ``rank_threshold_end``, the surviving rank and the threshold's with λ and σ of the end
        (Q, M). AUROCs: ``auroc`` (Q, 2, 3) of threshold and forecast, ``auroc_extrapolation`` (Q, 2), ``trivial``
        (Q, 3) of −log η, −index, and the logistic regression on both fitted to these outcomes. NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    found: list[dict[str, np.ndarray]] = []
    rows: list[Row] = []
    names: list[str] = []
    total = len(plan.encoders)
    for done, encoder in enumerate(plan.encoders):

        def tell(made: int, of: int, _message: str, done: int = done, name: str = encoder[1]) -> None:
            if progress is not None:
                progress(done * of + made, total * of, name)

        name, run = phase_run(encoder, plan, seed, where, tell)
        names.append(name)
        found.append(run)
        rows += phase_rows(name, run)
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays = {key: value.astype(np.float32) if value.dtype.kind == "f" else value for key, value in arrays.items()}
    arrays |= {
        "architecture": np.array(names),
        "fraction": np.array(RECORDS),
        "measured": np.array([RECORDS[i] for i in MEASURED]),
    }
    return measured("phase", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


def phase_run(
    encoder: Mlp, plan: PhasePlan, seed: int, where: torch.device, progress: Progress
) -> tuple[str, dict[str, np.ndarray]]:
    """Train the ensemble of one architecture, and return its name and the arrays of :func:`phase`."""
    views = digit_views(device=where, seed=seed)
    x, y = both_orders(views.x[: plan.samples], views.y[: plan.samples])
    first = digit_encoder(*encoder, views, seed)
    with torch.no_grad():
        h, ahead = first.backbone(x), first.backbone(y)
        none = first.last.weight[None]
        start = Layers(h.mT[None] @ h / len(x), ahead.mT[None] @ h / len(x), none, none, none)
    members = random_members(start.critical()[0], plan, seed)
    moments = [round(fraction * plan.steps) for fraction in RECORDS]

    def batches(_seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x, y) for _ in range(plan.steps))

    trained = train_ensemble(
        members,
        lambda own: digit_encoder(*encoder, views, own),
        batches,
        steps=plan.steps,
        record=recorder(x, y),
        record_steps=moments,
        dtype=torch.float32,
        device=where,
        progress=progress,
    )
    fine = trained.steps == plan.steps
    kept = members_at(members, fine)
    width, count = first.last.out_features, len(members)
    layers = [
        Layers(**{name: torch.as_tensor(values[fine, i]).to(where) for name, values in trained.records.items()})
        for i in range(len(RECORDS))
    ]

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full((count, *values.shape[1:]), np.nan)
        full[fine] = values
        return full

    moment = np.stack([part.moments() for part in layers], 1)
    critical = np.stack([part.critical()[:, :width] for part in layers], 1)
    cut = ALIVE * moment[:, :1, :1]
    forecast = np.stack([frozen(layers[i], kept, plan.steps - moments[i]).moments() for i in MEASURED], 1)
    extrapolation = np.full_like(forecast, np.nan)
    for at, i in enumerate(MEASURED):
        if i > 0:
            slope = np.log(moment[:, i] / moment[:, i - 1]) / (moments[i] - moments[i - 1])
            # Eigenvalues that grew may not be extrapolated beyond what a float holds.
            ahead_log = np.log(moment[:, i]) + slope * (plan.steps - moments[i])
            extrapolation[:, at] = np.exp(np.clip(ahead_log, -60, 60))
    eta = kept.array("weight_decay")[:, None, None]
    threshold = cut[:, 0]
    start, modes = aligned(layers[0], kept), members_at(kept, np.repeat(np.arange(fine.sum()), width))
    unled = Layers(start.context, start.cross, start.weight, start.predictor, 0 * start.target)

    def mode_rank(part: Layers) -> np.ndarray:
        ends = frozen(part, modes, MODE_STEPS).moments().reshape(-1, width)
        return (ends > threshold).sum(1).astype(float)

    arrays = {
        "moment": moment,
        "critical": critical,
        "survived": (moment[:, -1] > threshold).astype(float),
        "threshold": np.log10(np.maximum(critical[:, list(MEASURED)], TINY) / eta),
        "forecast": np.log10(forecast / cut),
        "extrapolation": np.log10(extrapolation / cut),
        "rank_aligned": mode_rank(start),
        "rank_balanced": (frozen(balanced(layers[0], kept), kept, plan.rest).moments() > threshold)
        .sum(1)
        .astype(float),
        "rank_unled": mode_rank(unled),
    }
    run = {name: spread(values) for name, values in arrays.items()}
    run |= {name: members.array(name) for name in ("weight_decay", "predictor_rate", "ema_rate")}
    run["diverged"] = (~fine).astype(int)
    return first.architecture, run


def members_at(members: Members, chosen: np.ndarray) -> Members:
    """Return the members chosen by a mask."""
    names = ("seed", "step", "weight_decay", "predictor_rate", "ema_rate")
    return Members(**{name: members.array(name)[chosen] for name in names})
