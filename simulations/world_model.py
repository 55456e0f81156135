"""Latent world models (7.4): which planes of a turning state survive, how far rollouts hold, and what a contrastive twin loses.

The state's planes turn by θ and shrink by ρ at every step. A JEPA that predicts the next embedding keeps a plane below the weight decay
ρ²/4 whatever its angle; a contrast between a state and the next sees ρ cos θ, and drops what turns by more than a right angle.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from jepalign.datasets import rotating_transitions
from jepalign.linear_models.forecast.baselines import effective_rank
from jepalign.linear_models.masking.rollout import rollout_error, rotation_modes
from jepalign.measurements import Measurement
from jepalign.simulations.encoders import MLP, ActionPredictor
from jepalign.simulations.results import check_scale, counter, measured, numpy, stated
from jepalign.simulations.training import Progress, device_named
from jepalign.simulations.world_rows import (
    ANGLE,
    AVOID,
    BELOW,
    FALSE,
    LOSES,
    ROLLED,
    ROLLOUT,
    SETTINGS,
    SHRINKAGE,
    SURVIVE,
    WIDTH,
    deep_rows,
    rollout_rows,
    survival_rows,
)
from jepalign.simulations.world_training import System, contrast, descend, pairs, planes

ALIVE = 0.02  # of a singular value of W, which starts at 1


@dataclass(frozen=True)
class WorldPlan:
    """One scale of the experiment.

    Attributes
    ----------
    decays, span : tuple of float, float
        Weight decays of the survival runs, and their time as a multiple of 1/η.
    starts, rest_steps, horizon : int
        Random starts that rollouts are from, steps to come to rest, and the longest rollout.
    samples : int
        Pairs of states of deep encoders, and sequences rolled out.
    activations, deep_steps, seeds : tuple of str, int, int
        Of deep encoders.
    """

    decays: tuple[float, ...]
    span: float
    starts: int
    rest_steps: int
    horizon: int
    samples: int
    activations: tuple[str, ...]
    deep_steps: int
    seeds: int


SCALES = {
    "quick": WorldPlan(
        (0.1, 0.3),
        15.0,
        starts=3,
        rest_steps=800,
        horizon=4,
        samples=500,
        activations=("tanh",),
        deep_steps=300,
        seeds=1,
    ),
    # Cut down for a CPU: few samples and seeds of deep encoders.
    "paper": WorldPlan(
        (0.03, 0.05, 0.08, 0.11, 0.14, 0.17, 0.19, 0.21, 0.25, 0.4),
        30.0,
        starts=10,
        rest_steps=4000,
        horizon=10,
        samples=1500,
        activations=("tanh", "relu"),
        deep_steps=2000,
        seeds=2,
    ),
}


def world_model(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Train latent world models of a turning system, and contrastive twins, and hold them against 7.4.

    Returns
    -------
    Measurement
        Of planes with ``shrinkage``, ``angle``, ``threshold`` ρ²/4 and ``contrast`` ρ cos θ (m,): ``rank`` and ``predicted``
        (3, E) over ``weight_decay`` (E,) for each ``setting``, ``twin_rank`` and ``twin_predicted`` (E,). Rollouts over 0…N
        steps of four dimensions, by ``rolled`` and S random starts: ``rollout`` and ``rollout_predicted``,
        ``rollout_error``, the standard error, ``avoidable`` (3, S, N + 1), and ``planes`` (3, S, m), the share of the encoder
        in every plane. Deep encoders of cubic readings, ``architecture`` (A,): held-out R² of every plane from the embedding
        of a JEPA, its twin and the encoder untrained, ``recovered`` (A, 3, S, m), and effective ranks ``deep_rank``
        (A, 3, S). NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    decays = np.array(plan.decays)
    total = (len(SETTINGS) + 1) * len(decays) + len(ROLLED) + len(plan.activations) * plan.seeds
    tell = counter(progress, total)
    modes = rotation_modes(SHRINKAGE, ANGLE)
    system = planes()
    ranks = np.full((len(SETTINGS), len(decays)), np.nan)
    for index, setting in enumerate(SETTINGS):
        for e, decay in enumerate(decays):
            tell(f"linear, {setting}, η = {decay:g}")
            ranks[index, e] = surviving(system, setting, float(decay), plan.span / decay, where)
    twin = np.full(len(decays), np.nan)
    for e, decay in enumerate(decays):
        tell(f"linear, contrastive twin, η = {decay:g}")
        twin[e] = surviving_twin(system, float(decay), plan.span / decay, where)
    told = 2.0 * (modes.threshold[:, None] > decays).sum(0)
    contrast = 2.0 * (modes.contrast[:, None] > decays).sum(0)
    rows = survival_rows(decays, ranks, told, twin, contrast)
    rolled = []
    for kind in ROLLED:
        tell(f"rollouts, {kind}")
        runs = [rollouts(kind, plan, 100 * seed + start, where) for start in range(plan.starts)]
        rolled.append({key: np.array([run[key] for run in runs]) for key in runs[0]})
    rows += rollout_rows(rolled)
    deep = np.full((len(plan.activations), 3, plan.seeds, len(ANGLE)), np.nan)
    deep_rank = np.full(deep.shape[:3], np.nan)
    for a, activation in enumerate(plan.activations):
        for s in range(plan.seeds):
            tell(f"{activation} encoder of cubic readings, seed {s}")
            deep[a, :, s], deep_rank[a, :, s] = recovery(activation, plan, 100 * seed + s, where)
        rows += deep_rows(activation, deep[a])
    tell("done")
    arrays = {
        "shrinkage": SHRINKAGE,
        "angle": ANGLE,
        "threshold": modes.threshold,
        "contrast": modes.contrast,
        "weight_decay": decays,
        "setting": np.array(SETTINGS),
        "rolled": np.array(ROLLED),
        "rank": ranks,
        "predicted": np.tile(told, (len(SETTINGS), 1)),
        "twin_rank": twin,
        "twin_predicted": contrast,
        "architecture": np.array([f"{a} {2 * len(ANGLE)}-64-{WIDTH}" for a in plan.activations]),
        "recovered": deep,
        "deep_rank": deep_rank,
    }
    arrays |= {key: np.array([part[key] for part in rolled]) for key in rolled[0]}
    criteria = {
        "survive": SURVIVE,
        "rollout": ROLLOUT,
        "avoidable": AVOID,
        "below": BELOW,
        "turning planes": LOSES,
        "control": FALSE,
    }
    return measured("world-model", arrays, rows, stated(criteria), device=where, scale=scale, seed=seed)


def surviving(system: System, setting: str, decay: float, span: float, device: torch.device) -> float:
    """Return the rank that a linear world model keeps, from planes that start whole and are predicted to turn; NaN if it diverged."""
    x, y, actions = pairs(system, device)
    d = x.shape[1]
    encoder = MLP((d, d), "linear", seed=0, device=device)
    given = actions if setting == "actions given" else None
    predictor = ActionPredictor(d, actions.shape[1] if given is not None else 0, seed=0, device=device)
    noise = 0.02 * np.random.default_rng(0).standard_normal((d, d))
    with torch.no_grad():
        encoder.last.weight.copy_(torch.as_tensor(np.eye(d) + noise))
        predictor.state.weight.copy_(torch.as_tensor(system.dynamics / np.repeat(SHRINKAGE, 2)))
    step, ema = 0.25, 0.5 if setting == "EMA target" else None
    fine = descend(encoder, predictor, x, y, given, step=step, count=int(span / step), decay=decay, ema=ema)
    return float((np.linalg.svd(numpy(encoder.last.weight), compute_uv=False) > ALIVE).sum()) if fine else np.nan


def surviving_twin(system: System, decay: float, span: float, device: torch.device) -> float:
    """Return the rank that a linear spectral contrastive encoder keeps; NaN if it diverged."""
    x, y, _ = pairs(system, device)
    d = x.shape[1]
    encoder = MLP((d, d), "linear", seed=0, device=device)
    noise = 0.02 * np.random.default_rng(0).standard_normal((d, d))
    with torch.no_grad():
        encoder.last.weight.copy_(torch.as_tensor(np.eye(d) + noise))
    fine = contrast(encoder, x, y, step=0.25, count=int(span / 0.25), decay=decay)
    return float((np.linalg.svd(numpy(encoder.last.weight), compute_uv=False) > ALIVE).sum()) if fine else np.nan


def rollouts(kind: str, plan: WorldPlan, seed: int, device: torch.device) -> dict[str, np.ndarray]:
    """Train four dimensions, roll them out on fresh sequences, and return errors seen and told, of embeddings of unit variance."""
    system = planes()
    x, y, _ = pairs(system, device)
    d, k = x.shape[1], 4
    encoder = MLP((d, k), "linear", seed=seed, device=device)
    predictor = ActionPredictor(k, seed=seed + 1, device=device)
    if kind == ROLLED[1]:
        nn.init.eye_(predictor.state.weight)
    if kind == ROLLED[2]:
        fine = contrast(encoder, x, y, step=0.2, count=plan.rest_steps)
    else:
        fine = descend(encoder, predictor, x, y, None, step=0.2, count=plan.rest_steps)
    keys = ("rollout", "rollout_predicted", "rollout_error", "avoidable")
    found = {key: np.full(plan.horizon + 1, np.nan) for key in keys} | {"planes": np.full(len(ANGLE), np.nan)}
    if not fine:
        return found
    weight = numpy(encoder.last.weight)
    W = weight * np.sqrt(k / np.square(weight).sum())
    found["planes"] = np.square(W).reshape(k, -1, 2).sum((0, 2)) / k
    # Both with the least-squares predictor of their own embedding: a JEPA's is that at rest.
    P = np.linalg.lstsq((W @ W.T).T, (W @ system.dynamics @ W.T).T, rcond=1e-6)[0].T
    driven = system.noise + system.actions @ system.actions.T
    told = rollout_error(W, P, system.dynamics, driven, plan.horizon)
    rng = np.random.default_rng(seed + 7)
    state = rng.standard_normal((plan.samples, d))
    z, root = state @ W.T, np.linalg.cholesky(driven)
    for n in range(plan.horizon + 1):
        squares = np.square(state @ W.T - z).sum(1)
        found["rollout"][n] = squares.mean()
        found["rollout_error"][n] = squares.std() / np.sqrt(plan.samples)
        state = state @ system.dynamics.T + rng.standard_normal(state.shape) @ root.T
        z = z @ P.T
    found["rollout_predicted"] = told.squared
    found["avoidable"] = np.trace(told.avoidable, axis1=1, axis2=2)
    return found


def recovery(activation: str, plan: WorldPlan, seed: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Train a JEPA and a twin on cubic readings; return held-out R² of every plane of (3, m), and effective ranks (3,); last untrained."""
    read, plain = (
        rotating_transitions(2 * plan.samples, SHRINKAGE, ANGLE, reading=reading, seed=seed)
        for reading in ("cubic", "linear")
    )
    # Planes of the state: the invariant subspaces of the dynamics, by its eigenvectors.
    values, vectors = np.linalg.eig(plain.dynamics)
    scale = read.state.std()
    x, y = (torch.as_tensor(part[: plan.samples] / scale, device=device) for part in (read.state, read.following))
    fresh = torch.as_tensor(read.state[plan.samples :] / scale, device=device)
    found, ranks = np.full((3, len(ANGLE)), np.nan), np.full(3, np.nan)
    for index, kind in enumerate(("JEPA", "twin", "untrained")):
        encoder = MLP((x.shape[1], 64, WIDTH), activation, seed=seed, device=device)
        predictor = ActionPredictor(WIDTH, seed=seed + 1, device=device)
        if kind == "JEPA":
            fine = descend(encoder, predictor, x, y, None, step=0.1, count=plan.deep_steps, ema=0.5)
        else:
            fine = kind == "untrained" or contrast(encoder, x, y, step=0.1, count=plan.deep_steps)
        if not fine:
            continue
        with torch.no_grad():
            z = numpy(encoder(fresh))
        ranks[index] = effective_rank(np.linalg.eigvalsh(z.T @ z / len(z)))
        z = np.concatenate((z, np.ones((len(z), 1))), axis=1)
        half = len(z) // 2
        for plane, (radius, angle) in enumerate(zip(SHRINKAGE, ANGLE, strict=True)):
            vector = vectors[:, int(np.argmin(np.abs(values - radius * np.exp(1j * angle))))]
            axes = np.linalg.qr(np.stack((np.real(vector), np.imag(vector)), axis=1))[0]
            latent = plain.state[plan.samples :] @ axes
            fitted = np.linalg.lstsq(z[:half], latent[:half], rcond=None)[0]
            residual = latent[half:] - z[half:] @ fitted
            found[index, plane] = 1 - np.square(residual).sum() / np.square(latent[half:] - latent[half:].mean(0)).sum()
    return found, ranks
