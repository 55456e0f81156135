"""Hybrids (4.6): which weight of an explicit uniformity repels collapse, and which rescues a mode, against trained encoders.

Linear encoders start near collapse in aligned modes and are trained at every weight of a sweep; where they end, mode by mode, is held
against the rests of the theory, and the weights at which that changes against its two thresholds. Collapsed deep encoders are pushed for
a short while, and asked at which weight their leading modes no longer shrink.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.special import ndtri
from torch import nn

from jepalign.linear_models.collapse.rescue import c_jepa_strength, hybrid_equilibria, rescue_weight
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge, VICReg
from jepalign.measurements import Measurement
from jepalign.simulations.data import both_orders
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.ensembles import Members, Method, train_ensemble
from jepalign.simulations.hybrid_deep import DECAY, LEADING, START, WIDTHS, deep_repel, pushed
from jepalign.simulations.hybrid_rows import (
    CRITERIA,
    deep_rows,
    published_rows,
    rest_rows,
    shared_rows,
    threshold_rows,
)
from jepalign.simulations.hybrid_shared import aligned_growth
from jepalign.simulations.mode_strengths import Modes, aligned_encoder, exact_modes
from jepalign.simulations.results import Row, check_scale, counter, measured, numpy, stated
from jepalign.simulations.training import Progress, Status, device_named

# κ = λ²/(ησ) from 5 to 20: beyond the fold of every term, so that modes can be stuck small.
CROSS = np.array([0.9, 0.75, 0.6])
VARIANCE = np.array([1.0, 1.4, 0.8])
HINGE = VarianceHinge(1e-2)
# VICReg is as published. Its ε leaves small modes stuck here, that of the wider hinge does not; nor do the spectral term and SIGReg, whose
# two thresholds are one.
TERMS: dict[str, Uniformity] = {
    "spectral": Spectral(),
    "variance hinge": HINGE,
    "VICReg": VICReg(),
    "log-det": LogDet(),
    "SIGReg": SIGReg(),
}
DEEP_TERMS = ("spectral", "variance hinge", "SIGReg")


@dataclass(frozen=True)
class HybridPlan:
    """One scale: weights in a sweep of each term, time as a multiple of 1/η, terms, activations, seeds and pairs of deep encoders."""

    weights: int
    span: float
    terms: tuple[str, ...]
    activations: tuple[str, ...]
    seeds: int
    pairs: int


SCALES = {
    "quick": HybridPlan(9, 60.0, ("variance hinge",), ("tanh",), seeds=1, pairs=64),
    "paper": HybridPlan(25, 60.0, tuple(TERMS), ("tanh", "relu", "gelu"), seeds=3, pairs=128),
}


def hybrid(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure what weights of explicit uniformity do to modes near collapse, against 4.6.

    Returns
    -------
    Measurement
        Linear encoders, by ``term`` (Q,), of m modes with ``cross``, ``variance`` (m,) at one weight decay, over G weights
        ``strength`` (Q, G): ``rest`` and ``rest_predicted`` (Q, G, m), |w| at the end of an encoder of that mode alone and
        the first stable rest above the start, ``shared_rest`` in one encoder of all modes, whose aligned state would be left at
        the rate ``aligned_growth`` (Q, G); ``repel``, ``rescue`` and what
        theory has for both, ``repel_predicted``, ``rescue_predicted`` (Q, m). Deep encoders of digits, by ``architecture``
        (A,) and ``deep_term`` (D,): ``deep_repel`` and ``deep_predicted`` (A, D, S, 3) along leading axes of their
        moment, ``deep_other`` and ``deep_corrected`` where the features' mean and motion are known.
        Published weights: ``published`` (2,), C-JEPA's and LeJEPA's γ, over the repel and rescue thresholds of the modes at
        ``published_decay`` (E,), ``published_ratio`` (2, E, 2, m); ``published_grown`` (2, E, m), 1 where the weight made a
        mode grow. NaN after a divergence, 0 or ∞ for a threshold outside the sweep.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    modes = exact_modes(CROSS / VARIANCE, VARIANCE, seed=seed, device=where)
    decays = np.array([1e-3, 1e-2, 0.04, 0.4, 4.0])
    deep_terms = [name for name in plan.terms if name in DEEP_TERMS]
    total = len(plan.terms) + 1 + len(plan.activations) * len(deep_terms) * plan.seeds
    tell = counter(progress, total)
    rows: list[Row] = []
    found: list[dict[str, np.ndarray]] = []
    for name in plan.terms:
        tell(f"linear, JEPA + γ·{name}")
        found.append(sweep(name, modes, plan, where))
    for name, run in zip(plan.terms, found, strict=True):
        rows += rest_rows(name, run)
        if not np.isnan(run["shared_rest"]).all():
            rows.append(shared_rows(name, run, plan.span / DECAY))
        rows += threshold_rows(name, run)
    tell("published weights")
    placed = published(modes, decays, plan.span, where)
    rows += published_rows(placed)
    deep = np.full((4, len(plan.activations), len(deep_terms), plan.seeds, LEADING), np.nan)
    for a, activation in enumerate(plan.activations):
        for t, name in enumerate(deep_terms):
            for s in range(plan.seeds):
                tell(f"{activation} encoder of digits, {name}")
                deep[:, a, t, s] = deep_repel(activation, TERMS[name], plan.pairs, 100 * seed + s, where)
        rows += deep_rows(f"{activation} {'-'.join(map(str, WIDTHS))}", deep_terms, deep[:, a])
    tell("done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]} | placed
    arrays |= {
        "term": np.array(plan.terms),
        "deep_term": np.array(deep_terms),
        "architecture": np.array([f"{a} {'-'.join(map(str, WIDTHS))}" for a in plan.activations]),
        "deep_repel": deep[0],
        "deep_predicted": deep[1],
        "deep_other": deep[2],
        "deep_corrected": deep[3],
        "cross": CROSS,
        "variance": VARIANCE,
        "weight_decay": np.array(DECAY),
    }
    return measured("hybrid", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


def gaussian_views(cross: float, variance: float, device: torch.device) -> Modes:
    """Return views of one dimension on quantiles of a Gaussian, with exact second moments."""
    grids = [ndtri((np.arange(count) + 0.5) / count) for count in (24, 4)]
    x, other = (part.ravel() for part in np.meshgrid(*grids))
    x, other = (part * np.sqrt(variance / np.square(part).mean()) for part in (x, other))
    rho = cross / variance
    views = (torch.as_tensor(part[:, None], device=device) for part in (x, rho * x + np.sqrt(1 - rho**2) * other))
    return Modes(*both_orders(*views), np.eye(1), np.array([cross]), np.array([variance]))


def strengths_of(name: str, count: int) -> np.ndarray:
    """Return the weights of a sweep, from below the least threshold to above the largest, evenly in their logarithm."""
    both = rescue_weight(CROSS, VARIANCE, DECAY, uniformity=TERMS[name])
    if name == "log-det":
        return np.geomspace(both.rescue.min() / 5, 2 * both.rescue.max(), count)
    return np.geomspace(both.repel.min() / 1.5, 1.6 * both.rescue.max(), count)


def sweep(name: str, modes: Modes, plan: HybridPlan, device: torch.device) -> dict[str, np.ndarray]:
    """Train linear encoders from a start near collapse at every weight of one term; return its arrays of :func:`hybrid`."""
    gammas = strengths_of(name, plan.weights)
    predicted = np.array([first_rest(lam, s, gammas, TERMS[name]) for lam, s in zip(CROSS, VARIANCE, strict=True)]).T
    # Each mode in an encoder of its own: in one encoder a mode that has grown may take the row of another (6.3).
    parts = [gaussian_views(lam, s, device) for lam, s in zip(CROSS, VARIANCE, strict=True)]
    seen = ends(parts, name, gammas, plan.span)[:, :, 0].T
    # SIGReg averages over directions, which is a sum over principal ones in one dimension alone.
    lone = name == "SIGReg"
    shared = np.full(seen.shape, np.nan) if lone else ends([modes], name, gammas, plan.span)[0]
    growth = np.full(len(gammas), np.nan)
    if not lone:
        pairs = zip(gammas, predicted, strict=True)
        growth = np.array([aligned_growth(CROSS, VARIANCE, DECAY, TERMS[name], float(g), w) for g, w in pairs])
    both = rescue_weight(CROSS, VARIANCE, DECAY, uniformity=TERMS[name])
    # The large state is beyond X = 1, p beyond half of λ/σ.
    large = np.square(seen) * VARIANCE > DECAY
    return {
        "strength": gammas,
        "rest": seen,
        "shared_rest": shared,
        "rest_predicted": predicted,
        "aligned_growth": growth,
        "repel": crossing(gammas, seen > START),
        "rescue": crossing(gammas, large),
        "repel_predicted": both.repel,
        "rescue_predicted": both.rescue,
    }


def first_rest(cross: float, variance: float, gammas: np.ndarray, term: Uniformity) -> np.ndarray:
    """Return the rest that a start just above 0 comes to at every weight, (G,): 0 where that is stable."""
    found = np.zeros(len(gammas))
    for index, gamma in enumerate(gammas):
        rests = hybrid_equilibria(cross, variance, DECAY, uniformity=term, strength=gamma)
        weights, stable = rests.weight.compressed(), rests.stable.compressed()
        found[index] = weights[np.flatnonzero(stable)[0]] if stable.any() else np.nan
    return found


def ends(parts: Sequence[Modes], name: str, gammas: np.ndarray, span: float) -> np.ndarray:
    """Train from aligned modes at ``START`` for a time of span/η, on each of the data at every weight; return |w| at the end.

    Of Q data with m modes each, (Q, G, m).
    """
    m = len(parts[0].cross)
    # Log-det's force γ/w would leap from a smaller start, or with a longer step, over the small state.
    step, first = (0.2, 3e-3) if name == "log-det" else (0.8, START)
    count = int(span / DECAY / step)
    which = np.repeat(np.arange(len(parts)), len(gammas))

    def prepare(member: int, encoder: nn.Module, predictor: nn.Module | None) -> None:
        assert isinstance(encoder, MLP)
        assert isinstance(predictor, nn.Linear)
        with torch.no_grad():
            encoder.last.weight.copy_(aligned_encoder(parts[which[member]], 1, first).last.weight)
            predictor.weight.copy_(first * torch.eye(m).to(predictor.weight))

    ensemble = train_ensemble(
        Members(
            seed=0 * which,
            step=step,
            weight_decay=DECAY,
            explicit_strength=np.tile(gammas, len(parts)),
            batch_seed=which,
        ),
        lambda own: MLP((m, m), "linear", seed=own),
        lambda own: ((parts[own].x, parts[own].y) for _ in range(count)),
        steps=count,
        method=Method(explicit=TERMS[name], slices=1),
        prepare=prepare,
        record=lambda snapshot: {"weight": snapshot.weight},
        record_steps=[count],
        device=parts[0].x.device,
    )
    path = ensemble.records["weight"][:, 0]
    lost = np.array([status == Status.DIVERGED for status in ensemble.status])
    bases = np.array([part.basis.T for part in parts]).repeat(len(gammas), axis=0)
    found = np.where(lost[:, None], np.nan, np.linalg.norm(path @ bases, axis=1))
    return found.reshape(len(parts), len(gammas), m)


def crossing(gammas: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Return for every column of ``beyond`` (G, m) the weight between the last False and the first True, 0 or ∞ at an end."""
    found = np.empty(beyond.shape[1])
    for mode in range(beyond.shape[1]):
        first = np.flatnonzero(beyond[:, mode])
        if len(first) == 0:
            found[mode] = np.inf
        elif first[0] == 0:
            found[mode] = 0.0
        else:
            found[mode] = np.sqrt(gammas[first[0] - 1] * gammas[first[0]])
    return found


def published(modes: Modes, decays: np.ndarray, span: float, device: torch.device) -> dict[str, np.ndarray]:
    """Place C-JEPA's and LeJEPA's published weights among the thresholds, and try them; arrays of :func:`hybrid`.

    C-JEPA: 0.001·25 of VICReg's hinge, ε = 1e-4. LeJEPA: λ = 0.05 of SIGReg against 1 − λ of the prediction loss, per sample; the batch
    size that multiplies the published statistic is left out, and it is tried beside a predictor and a target without gradient, which LeJEPA
    does not have; without them it is :mod:`jepalign.simulations.lejepa`. The weight decays are C-JEPA's range, 0.04 to 0.4, two below it,
    and one at which neither weight repels.
    """
    terms, gammas = (VarianceHinge(1e-4), SIGReg()), np.array([c_jepa_strength(), 0.05 / 0.95])
    ratio = np.empty((2, len(decays), 2, len(CROSS)))
    for index, term in enumerate(terms):
        for e, decay in enumerate(decays):
            ratio[index, e] = gammas[index] / np.array(rescue_weight(CROSS, VARIANCE, decay, uniformity=term))
    grown = np.empty((2, len(decays), len(CROSS)))
    for (index, term), (e, decay) in product(enumerate(terms), enumerate(decays)):
        encoder = aligned_encoder(modes, 1, START)
        predictor = linear_predictor(len(CROSS), seed=0, device=device)
        with torch.no_grad():
            predictor.weight.copy_(START * torch.eye(len(CROSS)).to(predictor.weight))
        pushed(encoder, predictor, modes.x, modes.y, term, gammas[index], float(decay), count=int(2 * span))
        grown[index, e] = np.linalg.norm(numpy(encoder.last.weight) @ modes.basis.T, axis=0) > START
    return {"published": gammas, "published_decay": decays, "published_ratio": ratio, "published_grown": grown}
