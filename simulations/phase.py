"""Collapse over weight decay, predictor rate and EMA rate: which embedding dimensions of deep encoders survive (4.3, 4.4).

From the λ and σ of the features and from W, P, V, measured at initialisation, at a tenth and at half of a training, survival at its
end is predicted by the static threshold λ² > 4ησ and by integrating the last layer's flow on the features as they are. Both
are put beside scores that know no theory. Dimensions are matched by order: the i-th largest η_c = λ²/(4σ) of the
features and the i-th largest eigenvalue of the embedding's second moment, now, predicted, and at the end.
Every training is repeated with steps half as long: what β moves at one step and not at the other, no flow could tell.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.measurements import Measurement
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import LINEAR, MLP, digit_encoder
from jepalign.simulations.ensembles import Members, Snapshot, train_ensemble
from jepalign.simulations.phase_layers import TINY, Layers, aligned, balanced, frozen, members_at, shorter
from jepalign.simulations.phase_rows import CRITERIA, phase_rows
from jepalign.simulations.results import Row, check_scale, measured, stated
from jepalign.simulations.training import Progress, device_named

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
    linger : int
        The same of single modes: near η_c one lingers where its equilibria vanished, the longer the slower β.
    weakest : int
        η is log-uniform between 0.3 times η_c of that mode of the features at initialisation and the largest; below,
        nothing would die in the time there is.
    """

    encoders: tuple[Mlp, ...]
    settings: int
    samples: int
    steps: int
    rest: int
    linger: int
    weakest: int


SCALES = {
    "quick": PhasePlan(((SHALLOW, "tanh"),), settings=6, samples=64, steps=500, rest=1500, linger=5000, weakest=8),
    "paper": PhasePlan(
        ((LINEAR, "linear"), (SHALLOW, "tanh"), (SHALLOW, "relu")),
        settings=16,
        samples=128,
        steps=2500,
        rest=4000,
        linger=20000,
        weakest=12,
    ),
}


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


def backbone_features(network: nn.Module, state: dict[str, Tensor], batch: Tensor) -> Tensor:
    """Return the inputs of the last layers of many MLPs with stacked parameters on one batch, (n, d) → (A, n, h)."""
    assert isinstance(network, MLP)
    own = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    if not own:  # a linear encoder has the pixels as features
        return batch.expand(len(state["last.weight"]), *batch.shape)
    return vmap(lambda part: functional_call(network.backbone, part, (batch,)))(own)


def recorder(x: Tensor, y: Tensor) -> Callable[[Snapshot], dict[str, Tensor]]:
    """Return a function that records the second moments of the features of a batch, and W, P, V."""

    def record(snapshot: Snapshot) -> dict[str, Tensor]:
        h, ahead = (
            backbone_features(snapshot.network, dict(state), part.to(snapshot.weight)).double()
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
        With Q architectures, M members (settings by β, β fastest), records at R fractions of the training and k
        dimensions: ``architecture`` (Q,), ``fraction`` (R,), ``measured``, the three fractions at which is predicted;
        ``weight_decay``, ``predictor_rate``, ``ema_rate``, ``diverged`` (Q, M); ``moment``, eigenvalues of the
        embedding's second moment, and ``cross`` and ``variance``, λ and σ of the features' k strongest modes, by η_c
        (Q, M, R, k); ``survived`` (Q, M, k). By measured fraction, scores positive where survival is predicted (Q, M, 3, k): ``threshold``,
        log₁₀(η_c/η), ``forecast``, log₁₀(s/cut) of the flow on the features frozen there, and ``extrapolation``, that
        of each eigenvalue's logarithm, NaN at the start. On the features of the start, the rank that survives from a
        balanced W, ``rank_balanced``, of aligned modes, ``rank_aligned``, and of these with V = 0, ``rank_unled`` (Q,
        M), and ``rank_aligned_half`` with steps half as long; ``stiffness``, ε times the largest curvature of the
        aligned modes, above 2 where they are beyond a flow (Q, M). ``rank`` and ``rank_threshold_end``, the surviving
        rank and the threshold's with λ and σ of the end (Q, M); of trainings with steps half as long ``rank_half``,
        by the flow from half of it ``rank_half_forecast``, and by the threshold at its end ``rank_half_threshold``
        (Q, M). AUROCs: ``auroc`` (Q, 2, 3) of threshold and forecast, ``auroc_extrapolation`` (Q, 2), ``trivial`` (Q,
        3) of −log η, −index, and the logistic regression on both fitted to these outcomes. NaN after a divergence.

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

    def trained_at(own: Members, steps: int, record_steps: list[int], before: int) -> tuple[np.ndarray, list[Layers]]:
        def batches(_seed: int) -> Iterator[tuple[Tensor, Tensor]]:
            return ((x, y) for _ in range(steps))

        trained = train_ensemble(
            own,
            lambda drawn: digit_encoder(*encoder, views, drawn),
            batches,
            steps=steps,
            record=recorder(x, y),
            record_steps=record_steps,
            dtype=torch.float32,
            device=where,
            progress=lambda made, _of, message: progress(before + made, 3 * plan.steps, message),
        )
        fine = trained.steps == steps
        found = trained.records.items()
        return fine, [
            Layers(**{name: torch.as_tensor(values[fine, i]).to(where) for name, values in found})
            for i in range(len(record_steps))
        ]

    fine, layers = trained_at(members, plan.steps, moments, 0)
    kept = members_at(members, fine)
    width, count = first.last.out_features, len(members)

    def spread(values: np.ndarray, told: np.ndarray = fine) -> np.ndarray:
        full = np.full((count, *values.shape[1:]), np.nan)
        full[told] = values
        return full

    moment = np.stack([part.moments() for part in layers], 1)
    lam, sigma = (np.stack(parts, 1)[..., :width] for parts in zip(*(part.modes() for part in layers), strict=True))
    critical = critical_weight_decay(lam, sigma)
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

    def mode_rank(part: Layers, times: int = 1) -> np.ndarray:
        ends = frozen(part, shorter(modes, times), times * plan.linger).moments().reshape(-1, width)
        return (ends > threshold).sum(1).astype(float)

    arrays = {
        "moment": moment,
        "cross": lam,
        "variance": sigma,
        "survived": (moment[:, -1] > threshold).astype(float),
        "threshold": np.log10(np.maximum(critical[:, list(MEASURED)], TINY) / eta),
        "forecast": np.log10(forecast / cut),
        "extrapolation": np.log10(extrapolation / cut),
        "rank_aligned": mode_rank(start),
        "rank_aligned_half": mode_rank(start, 2),
        "stiffness": STEP * start.curvature(modes).reshape(-1, width).max(1),
        "rank_balanced": (frozen(balanced(layers[0], kept), kept, plan.rest).moments() > threshold)
        .sum(1)
        .astype(float),
        "rank_unled": mode_rank(unled),
    }
    run = {name: spread(values) for name, values in arrays.items()}
    run |= {name: members.array(name) for name in ("weight_decay", "predictor_rate", "ema_rate")}
    run["diverged"] = (~fine).astype(int)
    half, parts = trained_at(shorter(members, 2), 2 * plan.steps, [0, plan.steps, 2 * plan.steps], plan.steps)
    left = ALIVE * parts[0].moments()[:, :1]
    ahead_half = frozen(parts[1], shorter(members_at(members, half), 2), plan.steps)
    for name, values in (
        ("rank_half", parts[2].moments() > left),
        ("rank_half_forecast", ahead_half.moments() > left),
        ("rank_half_threshold", parts[2].critical()[:, :width] > members.array("weight_decay")[half, None]),
    ):
        run[name] = spread(values.sum(1).astype(float), half)
    return first.architecture, run
