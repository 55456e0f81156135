"""The dictionary (2.0) as a practitioner would train it, one departure from the exact form after another.

From all pairs at once to mini-batches, from their Φ to a moving average, from the residual force to BYOL's, from the encoder itself to
an EMA target; and on the other side from the explicit objective to InfoNCE of a batch, and to a temperature. What the theory says of
each: a batch has the identity for its own Φ; with a P that is held, batches average to the whole data's force exactly; BYOL's force
is the explicit gradient times P (2.7); an EMA target is friction (2.8) and moves no equilibrium (2.9); a temperature is a scale of z.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from jepalign.datasets import digits
from jepalign.measurements import Measurement
from jepalign.simulations.data import PairedViews, both_orders, digit_views, other_view
from jepalign.simulations.deep_subspace import accuracy, canonical, lost
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder
from jepalign.simulations.objectives import second_moment
from jepalign.simulations.practice_forces import (
    AVERAGE,
    BATCH,
    TRAINING,
    Practice,
    averages,
    cosine,
    explicit,
    flat,
    look,
    loss_of,
    predictor,
    sharpness,
)
from jepalign.simulations.practice_rows import CRITERIA, entry_rows
from jepalign.simulations.probe import covariance, effective_rank
from jepalign.simulations.results import Row, check_scale, measured, numpy, stated
from jepalign.simulations.training import Progress, device_named, within


@dataclass(frozen=True)
class PracticePlan:
    """One scale: cases as (entry, activation), steps and records of a training, random partitions for the bias, power iterations."""

    cases: tuple[tuple[str, str], ...]
    steps: int
    records: int
    partitions: int
    iterations: int = 4


SCALES = {
    "quick": PracticePlan((("spectral-contrastive", "tanh"),), steps=24, records=2, partitions=4),
    "paper": PracticePlan(
        (("spectral-contrastive", "tanh"), ("gaussian-infonce", "tanh"), ("spectral-contrastive", "gelu")),
        steps=800,
        records=6,
        partitions=40,
        iterations=20,
    ),
}
STEP, TARGET = 0.15, 0.02  # gradient step, and the share of the newest in the target encoder

PRACTICES = {
    "explicit": Practice("explicit", batches=False),
    "exact": Practice("residual", batches=False),
    "explicit, mini-batches": Practice("explicit"),
    "mini-batches": Practice("residual"),
    "moving average": Practice("residual", average=AVERAGE),
    "moving average, five times as fast": Practice("residual", average=5 * AVERAGE),
    "moving average, a fifth of the step": Practice("residual", average=AVERAGE, step=0.2, longer=5),
    "BYOL form": Practice("BYOL", average=AVERAGE),
    "EMA target": Practice("BYOL", average=AVERAGE, target=True),
    "EMA target, four times as long": Practice("BYOL", average=AVERAGE, target=True, longer=4),
    "sampled InfoNCE": Practice("InfoNCE"),
    "sampled InfoNCE, temperature 1/2": Practice("InfoNCE", temperature=0.5),
    "EMA target, temperature 1/2": Practice("BYOL", average=AVERAGE, target=True, temperature=0.5),
}


def practice(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure how much of the dictionary survives mini-batches, a moving average, BYOL's form, an EMA target and sampled negatives.

    Returns
    -------
    Measurement
        With A cases, Q practices, R records and k embedding axes: ``entry``, ``architecture`` (A,), ``practice`` (Q,); ``step`` (A, Q, R);
        ``cosine`` (A, Q, R), between what the training follows on average over all batches and the gradient of U_g on all pairs, over all
        parameters; ``cosine_predicted``, and ``cosine_corrected`` by what :func:`jepalign.simulations.practice_forces.look` measures, NaN
        without a correction; ``followed`` (A, Q, R), between it and its prediction; ``batch_cosine`` and ``batch_difference`` (A, Q, R),
        cosine and relative distance between the update on one batch and the gradient of U_g on that batch; ``average_error`` and
        ``average_predicted`` (A, Q, R), ‖Φ̄ − Φ‖ by ‖Φ‖, NaN where nothing is averaged; ``moment`` (A, Q, R), tr Φ. At the end, on digits
        held out: ``effective_rank``, ``accuracy`` (A, Q), ``canonical`` (A, Q, Q), mean square canonical correlation; ``sharpness`` (A,
        Q), h, the step times the largest curvature of U_g, NaN but for residual forces. Of the exact training's end: ``held_difference``,
        ``one_order_difference`` (A,), the force averaged over batches with P held against the gradient of U_g, relatively, from batches in
        both orders and in one; ``bias``, ``bias_predicted`` (A,) of a batch's own Φ, relative to the gradient, NaN but for spectral
        contrastive; ``wrong_difference`` (A,), another entry's P; ``alignment_cosine`` (A,) of the gradient with alignment's alone;
        ``shuffled`` (A,), ``canonical`` of the exact and the explicit training with the digits in another order.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views, labels = digit_views(device=where, seed=seed), digits().labels
    order = np.random.default_rng(seed).permutation(len(labels))
    seen, new = order[:TRAINING], order[TRAINING:]
    chosen = PairedViews(views.x[seen], views.y[seen])
    rows: list[Row] = []
    found: list[dict[str, np.ndarray]] = []
    labelled: list[tuple[str, str]] = []
    for case, (name, activation) in enumerate(plan.cases):
        start = digit_encoder(DEEP, activation, views, seed)
        labelled.append((name, start.architecture))
        runs: list[dict[str, np.ndarray]] = []
        ends: list[tuple[np.ndarray, np.ndarray]] = []
        exact: dict[str, np.ndarray] = {}
        for done, (label, how) in enumerate(PRACTICES.items()):
            if progress is not None:
                progress(
                    case * len(PRACTICES) + done, len(plan.cases) * len(PRACTICES), f"{activation}, {name}, {label}"
                )
            encoder = copy.deepcopy(start)
            runs.append(trained(encoder, chosen, name, how, plan, seed))
            with torch.no_grad():
                ends.append((numpy(encoder(views.x[seen])), numpy(encoder(views.x[new]))))
                rank = np.nan if lost(*ends[-1]) else effective_rank(covariance(encoder(views.x[new])))
                runs[-1]["effective_rank"] = np.array(rank)
            steep = how.form == "residual" and not lost(*ends[-1])
            found_sharpness = sharpness(encoder, chosen, name, plan.iterations) if steep else np.nan
            runs[-1]["sharpness"] = np.array(STEP * how.step * found_sharpness)
            runs[-1]["accuracy"] = np.array(accuracy(*ends[-1], labels[seen], labels[new]))
            if label == "exact":
                exact = averages(encoder, chosen, name, plan.partitions, seed)
        run = {key: np.array([part[key] for part in runs]) for key in runs[0]} | exact
        run["canonical"] = np.array([[canonical(*one, *two) for two in ends] for one in ends])
        shuffled = np.random.default_rng(seed).permutation(len(new))
        (first, second), (other, fresh) = ends[:2]
        run["shuffled"] = np.array(canonical(first, second, other, fresh[shuffled]))
        found.append(run)
        rows += entry_rows(labelled[-1], PRACTICES, run)
    if progress is not None:
        progress(len(plan.cases) * len(PRACTICES), len(plan.cases) * len(PRACTICES), "done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays |= {
        key: np.array(values)
        for key, values in zip(("entry", "architecture"), zip(*labelled, strict=True), strict=True)
    }
    arrays["practice"] = np.array(list(PRACTICES))
    return measured("practice", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


def trained(
    encoder: MLP, views: PairedViews, name: str, how: Practice, plan: PracticePlan, seed: int
) -> dict[str, np.ndarray]:
    """Train ``encoder`` in place as a practice says; return the per-record arrays of :func:`practice`, NaN after a divergence."""
    steps = plan.steps * how.longer
    records = np.linspace(0, steps - 1, plan.records).round().astype(int)
    keys = ("cosine", "cosine_predicted", "cosine_corrected", "followed", "batch_cosine", "batch_difference")
    keys += ("average_error", "average_predicted", "moment")
    found = {key: np.full(plan.records, np.nan) for key in keys}
    slow = copy.deepcopy(encoder).requires_grad_(False) if how.target else encoder
    whole, average, before = both_orders(views.x, views.y)[0], None, None
    for step, (x, y) in enumerate(views.batches(BATCH if how.batches else TRAINING, steps, seed=seed)):
        contexts = both_orders(x, y)[0]
        z = encoder(contexts)
        if not within(z):
            break
        moment = second_moment(z.detach())
        # The first batch's Φ makes the average at first.
        average = moment if average is None else torch.lerp(average, moment, how.average)
        P = predictor(name, average, how.temperature)
        target = other_view(z) if slow is encoder else other_view(slow(contexts))
        force = flat(loss_of(how, name, z, target, P), encoder, retain=True)
        if step + how.lag in records and how.lag > 0:
            with torch.no_grad():
                before = second_moment(encoder(whole))
        for index in np.flatnonzero(records == step):
            own = flat(explicit(name, z, other_view(z), how.temperature), encoder)
            found["batch_cosine"][index] = cosine(force, own)
            found["batch_difference"][index] = ((force - own).norm() / own.norm()).item()
            seen = look(encoder, slow, views, name, how, average, before)
            for key, value in seen.items():
                found[key][index] = value
        parameters = list(encoder.parameters())
        with torch.no_grad():
            for parameter, part in zip(parameters, force.split([p.numel() for p in parameters]), strict=True):
                parameter.sub_(STEP * how.step * part.view_as(parameter))
            if slow is not encoder:
                for mine, online in zip(slow.parameters(), parameters, strict=True):
                    mine.lerp_(online, TARGET)
    return found | {"step": records}
