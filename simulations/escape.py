"""The time to leave a near-collapsed start: a JEPA's ~1/ε from balance against the ~log 1/ε of a contrastive loss (4.5).

Weights are in units of the weight w∞ at which the leading mode of the features at the start would rest, and a network has escaped when
its last layer's spectral norm passes w∞/2. Without weight decay a balanced JEPA leaves ε in ~1/ε; the spectral contrastive loss, and a
JEPA whose predictor starts at random and of order one, off balance, leave it in ~log 1/ε.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.linear_models.trajectories.arrival import deep_jepa_time, spectral_contrastive_time
from jepalign.linear_models.uniformity import Spectral
from jepalign.measurements import Measurement
from jepalign.simulations.data import digit_views
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.ensembles import Members, Method, train_ensemble
from jepalign.simulations.near_collapse import (
    KINDS,
    WIDTH,
    crossing,
    forecast,
    linear_rate,
    near_collapse,
    network,
    step_size,
    whitened,
)
from jepalign.simulations.results import REFUSAL, Row, Series, check_scale, measured, numpy, row, stated
from jepalign.simulations.training import Progress, Status, device_named


@dataclass(frozen=True)
class EscapePlan:
    """One scale: encoders as (hidden widths, activation), seeds of each, starts ε, pairs of views, factor on steps, bootstrap samples."""

    encoders: tuple[tuple[tuple[int, ...], str], ...]
    seeds: int
    starts: tuple[float, ...]
    pairs: int
    coarse: float = 1.0
    resamples: int = 2000
    most: int = 30_000  # steps


SCALES = {
    "quick": EscapePlan(
        (((), "linear"), ((24,), "tanh")), seeds=2, starts=(1e-1, 10**-1.5, 1e-2), pairs=32, coarse=2.5
    ),
    "paper": EscapePlan(
        (((), "linear"), ((48, 32), "tanh"), ((48, 32), "relu")),
        seeds=4,
        starts=(1e-1, 10**-1.5, 1e-2, 10**-2.5, 1e-3),
        pairs=64,
    ),
}
CONTRASTIVE = Method(predictor="none", explicit=Spectral())
POWER = "the 95% bootstrap interval over seeds of the slope of log time on log 1/ε lies within 0.1 of 1; error in these"
LOGARITHM = "the 95% bootstrap interval over seeds of the slope of log time on log 1/ε lies below 0.35; error is its upper end over that"
STRAIGHT = (
    "mean times against log 1/ε leave a straight line by at most 3% of their range, root mean square; error in these"
)
RATE = "the median over seeds of (slope of time on log 1/ε)·rate is 1 to 15%, rate the linearised flow's at the start; error in these"
FROZEN = "at every ε the median over seeds of time over that of the flow on the features at the start is 1 to 10%; error in these"
CLOSED = "in every mode and from every ε the time is the closed form's to 3%; error is the worst miss over 0.03"


def escape(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure how long linear and deep encoders of digits take to leave a near-collapsed start.

    Returns
    -------
    Measurement
        With Q architectures × kinds of start, E starts and S seeds: ``architecture``, ``kind`` (Q,), ``start`` (E,); ``time`` and
        ``forecast``, flow time to half of the leading mode's rest, observed and by the flow on the features at the start, ``censored``,
        1 where the run ended before and ``time`` is its length (Q, E, S); ``slope``, log–log, with ``interval`` (Q, 2); ``rate``, of
        the linearised flow at the smallest start (Q, S). For the linear encoder in aligned modes: ``mode_time`` and
        ``mode_predicted``, by :mod:`jepalign.linear_models.trajectories.arrival` (2, E, k), a JEPA's and the contrastive ones. NaN after
        a divergence. ``escaped`` (Q, S): 1 where a seed escapes from every start; the slopes are over these.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views = whitened(digit_views(device=where, seed=seed), plan.pairs)
    cases = [(*encoder, kind) for encoder in plan.encoders for kind in KINDS]
    rows: list[Row] = []
    found: list[dict[str, np.ndarray]] = []
    labels: list[tuple[str, str]] = []
    for done, (hidden, activation, kind) in enumerate(cases):
        trial = network(hidden, activation, 0)
        labels.append((trial.architecture, kind))
        if progress is not None:
            progress(done, len(cases) + 1, ", ".join(labels[-1]))
        run = escape_run(plan, hidden, activation, kind, views, seed=seed)
        run |= slopes(run["time"], run["censored"], np.array(plan.starts), plan.resamples, seed)
        found.append(run)
        rows += escape_rows(labels[-1], run, np.array(plan.starts))
    if progress is not None:
        progress(len(cases), len(cases) + 1, "closed forms of aligned modes")
    aligned = [aligned_run(plan, kind, views) for kind in (KINDS[0], KINDS[2])]
    rows += closed_rows(network((), "linear", 0).architecture, aligned)
    if progress is not None:
        progress(len(cases) + 1, len(cases) + 1, "done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays |= {
        key: np.array(values) for key, values in zip(("architecture", "kind"), zip(*labels, strict=True), strict=True)
    }
    arrays["start"] = np.array(plan.starts)
    for index, key in enumerate(("mode_time", "mode_predicted")):
        arrays[key] = np.array([part[index] for part in aligned])
    criteria = {
        "power": POWER,
        "logarithm": LOGARITHM,
        "straight": STRAIGHT,
        "rate": RATE,
        "frozen": FROZEN,
        "closed": CLOSED,
    }
    return measured("escape", arrays, rows, stated(criteria), device=where, scale=scale, seed=seed)


def escape_run(
    plan: EscapePlan,
    hidden: tuple[int, ...],
    activation: str,
    kind: str,
    views: tuple[Tensor, Tensor],
    *,
    seed: int,
) -> dict[str, np.ndarray]:
    """Train one architecture from one kind of start, and return ``time``, ``forecast``, ``censored`` (E, S) and ``rate`` (S,)."""
    shape = (len(plan.starts), plan.seeds)
    found = {key: np.full(shape, np.nan) for key in ("time", "forecast", "censored")}
    rate = np.full(plan.seeds, np.nan)
    seeds = seed * 1000 + 2 * np.arange(plan.seeds)  # a predictor's seed is its encoder's plus one
    for e, start in enumerate(plan.starts):
        rests, steps = np.empty(plan.seeds), np.empty(plan.seeds)
        for s, own in enumerate(seeds):
            encoder = network(hidden, activation, int(own))
            predictor = linear_predictor(WIDTH, seed=int(own) + 1)
            layer, rests[s] = near_collapse(encoder, predictor, kind, start, views)
            found["forecast"][e, s] = forecast(layer, kind, rests[s])
            steps[s] = plan.coarse * step_size(layer, kind, start)
            if e == len(plan.starts) - 1:
                rate[s] = layer.modes().cross.max() if kind == KINDS[2] else linear_rate(layer)
        known = np.where(np.isfinite(found["forecast"][e]), found["forecast"][e], 0.0)
        count = int(min(plan.most, 1.25 * (known / steps).max() + 50))

        def prepare(member: int, encoder: nn.Module, predictor: nn.Module | None, start: float = start) -> None:
            assert isinstance(encoder, MLP)
            given = predictor if isinstance(predictor, nn.Linear) else linear_predictor(WIDTH, seed=0)
            near_collapse(encoder, given, kind, start, views)

        lost, size, moments = trained(
            kind,
            lambda own: network(hidden, activation, own),
            Members(seed=seeds, step=steps, explicit_strength=1.0),
            count,
            views,
            prepare,
            lambda weight: torch.linalg.matrix_norm(weight, 2),
        )
        for s in range(plan.seeds):
            time = crossing(moments * steps[s], size[s], rests[s] / 2)
            if lost[s] and not math.isfinite(time):
                continue
            found["censored"][e, s] = not math.isfinite(time)
            found["time"][e, s] = min(time, count * steps[s])
    return found | {"rate": rate}


def trained(
    kind: str,
    build: Callable[[int], nn.Module],
    members: Members,
    count: int,
    views: tuple[Tensor, Tensor],
    prepare: Callable[[int, nn.Module, nn.Module | None], None],
    seen: Callable[[Tensor], Tensor],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train an ensemble; return who diverged (S,), what is ``seen`` of W (S, R, ...), and after how many steps (R,)."""
    moments = np.unique(np.linspace(0, count, 801).round().astype(int))
    ensemble = train_ensemble(
        members,
        build,
        lambda _: (views for _ in range(count)),
        steps=count,
        method=CONTRASTIVE if kind == KINDS[2] else Method(),
        prepare=prepare,
        record=lambda snapshot: {"seen": seen(snapshot.weight)},
        record_steps=[int(moment) for moment in moments],
        device=views[0].device,
    )
    lost = np.array([status == Status.DIVERGED for status in ensemble.status])
    return lost, ensemble.records["seen"], moments


def aligned_run(plan: EscapePlan, kind: str, views: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Train linear encoders that start in aligned modes; return observed and closed-form times to half of each mode's rest, (E, k)."""
    lam, vectors = torch.linalg.eigh(views[1].T @ views[0] / len(views[0]))
    rho, axes = numpy(lam)[::-1][:WIDTH].copy(), vectors.flip(1)[:, :WIDTH]
    rest = np.sqrt(rho) if kind == KINDS[2] else rho
    seen, predicted = np.full((2, len(plan.starts), WIDTH), np.nan)
    for e, start in enumerate(plan.starts):
        if kind == KINDS[2]:
            predicted[e] = 4 * spectral_contrastive_time(rest / 2, start * rest, rho, np.ones(WIDTH))
        else:
            predicted[e] = deep_jepa_time(rest / 2, start * rest, rho, np.ones(WIDTH), depth=1)
        step = plan.coarse * min(0.5, 0.02 * (0.1 / start) ** 0.65) if kind == KINDS[0] else plan.coarse * 0.015
        count = int(1.1 * predicted[e].max() / step) + 50

        def prepare(_: int, encoder: nn.Module, predictor: nn.Module | None, start: float = start) -> None:
            size = torch.as_tensor(start * rest)
            with torch.no_grad():
                encoder.last.weight.copy_(size[:, None] * axes.T)  # pyright: ignore
                if predictor is not None:
                    predictor.weight.copy_(size.diag())  # pyright: ignore

        members = Members(seed=[0], step=step, explicit_strength=1.0)
        _, (modes,), moments = trained(
            kind,
            lambda own: network((), "linear", own),
            members,
            count,
            views,
            prepare,
            lambda weight: torch.einsum("akd,dk->ak", weight, axes),
        )
        seen[e] = [crossing(moments * step, modes[:, i], rest[i] / 2) for i in range(WIDTH)]
    return seen, predicted


def slopes(
    time: np.ndarray, censored: np.ndarray, starts: np.ndarray, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return the mean over seeds of the slope of log time on log 1/ε, and its 95% bootstrap ``interval``.

    Over the seeds that escape from every start; a predictor that starts at random may lead the encoder to a weaker mode, where it
    rests. NaN with a divergence, or if none escapes.
    """
    decades = np.log(1 / starts)
    through = (censored != 1).all(0)
    own = np.full(time.shape[1], np.nan)
    if np.isfinite(time).all():
        own[through] = np.polyfit(decades, np.log(time[:, through]), 1)[0]
    chosen = own[through] if through.any() else own
    drawn = np.random.default_rng(seed).integers(0, len(chosen), (resamples, len(chosen)))
    interval = np.quantile(chosen[drawn].mean(1), (0.025, 0.975))
    return {"slope": chosen.mean(), "interval": interval, "escaped": through.astype(float)}


def escape_rows(labels: tuple[str, str], run: dict[str, np.ndarray], starts: np.ndarray) -> list[Row]:
    """Return the rows of one architecture and kind of start."""
    kind = labels[1]
    through = run["escaped"] == 1
    stayed = f", {(~through).sum()} of {len(through)} rest at a weaker mode" if not through.all() else ""
    place = ", ".join(labels) + stayed
    slope, (low, high) = np.array([run["slope"]]), run["interval"]
    to_one = np.array([max(abs(low - 1), abs(high - 1)) / 0.1])
    to_log = np.array([high / 0.35])
    frozen = (
        np.median((run["time"] / run["forecast"])[:, through], axis=1)
        if through.any()
        else np.full(len(starts), np.nan)
    )
    one = np.ones_like(frozen)
    rows = [
        row("escape: flow on frozen features", place, Series(one, frozen, np.abs(frozen - 1) / 0.1), criterion=FROZEN)
    ]
    if kind == KINDS[0]:
        rows.append(row("escape: time ~ 1/ε", place, Series(one[:1], slope, to_one), criterion=POWER))
        false = ("escape: control, time ~ log 1/ε", Series(0 * slope, slope, np.array([low / 0.35]) / 2 * REFUSAL))
        text = "a false version put to the same test: the lower end of its interval ≥ 0.7"
    else:
        decades = np.log(1 / starts)
        times = run["time"][:, through]
        mean = times.mean(1) if through.any() else np.full(len(starts), np.nan)
        line = np.full_like(mean, np.nan)
        steep = np.full(times.shape[1], np.nan)
        if through.any() and np.isfinite(times).all():
            line = np.polyval(np.polyfit(decades, mean, 1), decades)
            steep = np.polyfit(decades, times, 1)[0]
        bend = np.sqrt(np.square(mean - line).mean(keepdims=True)) / np.ptp(mean)
        product = np.array([np.median(steep * run["rate"][through]) if through.any() else np.nan])
        rows += [
            row("escape: time ~ log 1/ε", place, Series(0 * slope, slope, to_log), criterion=LOGARITHM),
            row("escape: straight in log 1/ε", place, Series(0 * bend, bend, bend / 0.03), criterion=STRAIGHT),
            row("escape: linearised rate", place, Series(one[:1], product, np.abs(product - 1) / 0.15), criterion=RATE),
        ]
        nearest = np.array([max(0.0, 1 - high)]) / 0.1
        false = ("escape: control, time ~ 1/ε", Series(one[:1], slope, nearest / 3 * REFUSAL))
        text = "a false version put to the same test: its interval at least 0.3 below 1"
    return [*rows, row(false[0], place, false[1], criterion=text, at_least=REFUSAL)]


def closed_rows(architecture: str, aligned: list[tuple[np.ndarray, np.ndarray]]) -> list[Row]:
    """Return the rows of aligned modes against closed forms, and a control: each objective's times for the other's."""
    rows = []
    for kind, (seen, predicted), (_, other) in zip((KINDS[0], KINDS[2]), aligned, aligned[::-1], strict=True):
        place = f"{architecture}, {kind}, aligned modes"
        error = np.abs(seen / predicted - 1) / 0.03
        rows.append(row("escape: closed-form time", place, Series(predicted, seen, error), criterion=CLOSED))
        miss = np.abs(seen / other - 1).max(keepdims=True)
        rows.append(
            row(
                "escape: control, the other objective's closed form",
                place,
                Series(other[-1:, :1], seen[-1:, :1], miss / 0.3 * REFUSAL),
                criterion="a false version put to the same test: its worst miss ≥ 30%",
                at_least=REFUSAL,
            )
        )
    return rows
