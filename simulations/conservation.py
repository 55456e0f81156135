"""Balance (3.1), the Gram law (3.2), their exact discrete drift (3.3) and what a zero start gains (3.6), on digits.

Between two steps of size ε, WWᵀ − PᵀP/α is multiplied by (1 − εη)² and moves by ε²(PᵀRRᵀP − αWRᵀRWᵀ), R = ∂L/∂(PW);
under the least-squares predictor WWᵀ alone is, and moves by ε²GGᵀ, G = ∂L/∂W. The first holds for any backbone, target
and loss on the prediction, batch by batch; nothing in it is fitted, so only rounding may separate it from what happens.
From P(0) = 0 the sum A of the decayed terms ε²αWRᵀRWᵀ bounds how far WWᵀ can fall below (1 − εη)²ᵗW(0)W(0)ᵀ: what is
left beside A is PᵀP/α and more squares.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from jepalign.measurements import Measurement
from jepalign.simulations.backbones import BACKBONES, EMBEDDING
from jepalign.simulations.data import PairedViews, digit_views
from jepalign.simulations.encoders import linear_predictor, scale_embedding
from jepalign.simulations.objectives import prediction_loss
from jepalign.simulations.probe import Observation, Probe
from jepalign.simulations.results import REFUSAL, REFUSED, Row, Series, check_scale, measured, numpy, row, stated
from jepalign.simulations.rounding import UNIT
from jepalign.simulations.training import JEPA, Loss, Progress, Rates, device_named, train

CRITERIA = {
    "balance, each step": "|observed − predicted| ≤ 4u(‖W‖² + ‖P‖²/α) in every step; error is the worst ratio, ≤ 1",
    "balance, whole run": "|observed − predicted| ≤ the decayed sum of those bounds over the run; error ≤ 1",
    "Gram, each step": "|observed − predicted| ≤ 4u‖W‖² + 2ε‖P‖Nu E(‖z̄‖ + ‖P‖‖z‖)‖z‖ in every step; error ≤ 1",
    "Gram, whole run": "|observed − predicted| ≤ the decayed sum of those bounds over the run; error ≤ 1",
    "zero-initialised predictor": "least eigenvalue of WWᵀ + A − (1 − εη)²ᵗW(0)W(0)ᵀ ≥ − the bound of balance over the "
    "run, in every step, where its prediction is 0 from below; error ≤ 1",
}
OPTIMIZERS: Mapping[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = MappingProxyType(
    {
        "momentum 0.9": partial(torch.optim.SGD, momentum=0.9),
        "AdamW": torch.optim.AdamW,
    }
)


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the Huber loss summed over dimensions, averaged over the batch: some other loss on the prediction."""
    return smooth_l1_loss(prediction, target.detach(), reduction="sum", beta=0.5) / len(prediction)


@dataclass(frozen=True)
class Case:
    """One run: a backbone, the constants, the law it is held to, and what is false about it, if anything.

    Attributes
    ----------
    backbone : str
        A key of ``BACKBONES``.
    law : str
        "balance" (learnt predictor), "Gram" (least-squares predictor unless ``false``) or "zero-initialised predictor".
    false : str
        Empty, or one of the keys of ``FALSE``.
    """

    backbone: str
    rates: Rates
    law: str = "balance"
    loss: Loss = prediction_loss
    false: str = ""

    @property
    def architecture(self) -> str:
        """Backbone, target, loss and constants in words."""
        target = "V = W" if self.rates.ema is None else f"EMA β = {self.rates.ema:g}"
        loss = "" if self.loss is prediction_loss else f", {self.loss.__name__} loss"
        alpha = "" if self.law == "Gram" else f"α = {self.rates.predictor:g}, "
        name = BACKBONES[self.backbone](0).architecture
        return f"{name}; {target}, {alpha}η = {self.rates.weight_decay:g}{loss}"


SIMSIAM = Rates(step=0.05, predictor=2.5, weight_decay=0.02)
EMA = Rates(step=0.05, predictor=2.5, weight_decay=0.02, ema=0.5)
FREE = Rates(step=0.05, predictor=0.4, weight_decay=0.0)
# Momentum of 0.9 makes ten steps of one, and AdamW steps by its learning rate whatever the gradient.
SMALLER = Rates(step=0.005, predictor=2.5, weight_decay=0.02)
ZERO = "zero-initialised predictor"
FALSE = {
    "decay η on the predictor": "balance",
    "decay left out": "balance",
    "no drift": "balance",
    "momentum 0.9": "balance",
    "AdamW": "balance",
    "learnt predictor": "Gram",
    "random predictor": ZERO,
}


def cases(backbones: tuple[str, ...]) -> list[Case]:
    """Return every run of the experiment for these backbones; the controls and the other loss on the first alone."""
    found = [Case(name, rates) for name in backbones for rates in (SIMSIAM, EMA, FREE)]
    # A transformer's features leave a layer norm with sum 0: its embeddings span k − 1 dimensions at first, and the
    # least-squares predictor is not unique.
    unique = [name for name in backbones if name != "transformer"]
    found += [Case(name, rates, law="Gram") for name in unique for rates in (SIMSIAM, EMA)]
    found += [Case(name, SIMSIAM, law=ZERO) for name in backbones]
    found.append(Case(backbones[0], EMA, loss=huber))
    return found + [
        Case(backbones[0], SMALLER if false in OPTIMIZERS else SIMSIAM, law=law, false=false)
        for false, law in FALSE.items()
    ]


@dataclass(frozen=True)
class ConservationPlan:
    """One scale of the experiment: backbones, steps of each run, pairs per batch."""

    backbones: tuple[str, ...]
    steps: int
    batch: int = 128


SCALES = {
    "quick": ConservationPlan(("tanh",), steps=40),
    "paper": ConservationPlan(("tanh", *(name for name in BACKBONES if name != "tanh")), steps=120),
}


def conservation(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure 3.1–3.3 on digits, step by step and over whole runs, with the false versions that must be refused.

    Returns
    -------
    Measurement
        With Q runs of T steps: ``architecture``, ``law``, ``false`` (Q,); in Frobenius norms, (Q, T), ``predicted``
        and ``observed``, the change of the quantity in a step beyond its decay, ``error``, their distance, and
        ``bound``; ``quantity`` and ``path``, what 3.1 or 3.2 conserves and its prediction from the start of the run,
        ``run_error``, their distance, and ``run_bound``; ``defect``, how far the quantity is from the flow's law, its
        start times (1 − εη)²ᵗ; ``lowest``, the least eigenvalue of WWᵀ + A − (1 − εη)²ᵗW(0)W(0)ᵀ, and ``slack``, the
        largest of A. NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views = digit_views(device=where, seed=seed)
    todo = cases(plan.backbones)
    found: list[dict[str, np.ndarray]] = []
    rows: list[Row] = []
    for done, case in enumerate(todo):
        if progress is not None:
            progress(done, len(todo), f"{case.law}, {case.architecture}")
        found.append(conservation_run(case, views, plan, seed))
        rows += conservation_rows(case, found[-1])
    if progress is not None:
        progress(len(todo), len(todo), "done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    for key in ("architecture", "law", "false"):
        arrays[key] = np.array([getattr(case, key) for case in todo])
    return measured(
        "conservation", arrays, rows, stated(CRITERIA | {"control": REFUSED}), device=where, scale=scale, seed=seed
    )


def rounding_bound(case: Case, seen: Observation, predictor: Tensor) -> float:
    """Return how far rounding may separate one step of the quantity from its prediction, in the Frobenius norm.

    Storing the new W rounds each entry by u relatively, which moves WWᵀ by at most 2u‖W‖²; likewise P. The other 2u are
    for the measurement of the quantity (inner products of h terms, whose roundings partly cancel) and for those of the
    gradient, which enter multiplied by ε. The Gram law also needs E(Pz − z̄)zᵀ = 0, which least squares meets to Nu
    times the absolute size of its terms, N being the rows of the batch; it enters as 2ε‖P‖ times that.
    """
    weight, size = seen.weight.square().sum().item(), predictor.norm().item()
    if case.law != "Gram":
        return 4 * UNIT * (weight + size**2 / case.rates.predictor)
    lengths, targets = seen.embedding.norm(dim=1), seen.target.norm(dim=1)
    terms = len(lengths) * UNIT * ((targets + size * lengths) * lengths).mean().item()
    return 4 * UNIT * weight + 2 * case.rates.step * size * terms


def conservation_run(case: Case, views: PairedViews, plan: ConservationPlan, seed: int) -> dict[str, np.ndarray]:
    """Train one JEPA and return the per-step arrays of :func:`conservation`."""
    encoder = BACKBONES[case.backbone](seed).to(views.x.device)
    scale_embedding(encoder, torch.cat((views.x, views.y)), 0.1)
    least_squares = case.law == "Gram" and case.false != "learnt predictor"
    predictor = None if least_squares else linear_predictor(EMBEDDING, seed=seed + 1, device=views.x.device)
    if predictor is not None and case.law == ZERO and not case.false:
        nn.init.zeros_(predictor.weight)
    decay = case.rates.weight_decay if case.false == "decay η on the predictor" else None
    descent = OPTIMIZERS.get(case.false, torch.optim.SGD)
    jepa = JEPA(encoder, predictor, case.rates, loss=case.loss, predictor_decay=decay, optimizer=descent)
    probe = Probe(encoder, jepa.predictor, target=jepa.target)
    retained = 1.0 if case.false == "decay left out" else case.rates.retained
    keys = ("predicted", "observed", "error", "bound", "run_error", "run_bound", "path", "quantity", "defect")
    found = {key: np.full(plan.steps, np.nan) for key in (*keys, "lowest", "slack")}

    def quantity() -> np.ndarray:
        return numpy(probe.gram() if case.law == "Gram" else probe.balance(case.rates.predictor))

    start = path = before = quantity()
    first = numpy(probe.gram())
    coming, bound, accumulated = np.zeros_like(start), 0.0, 0.0
    loss, slack = np.zeros_like(start), np.zeros_like(start)

    def look(_step: int, x: Tensor, y: Tensor) -> None:
        nonlocal before, coming, bound, loss
        jepa.fit_predictor(x, y)
        before = quantity()
        seen = probe.observe(x, y, loss=case.loss)
        drift = probe.gram_drift if case.law == "Gram" else probe.balance_drift
        coming = numpy(drift(seen, case.rates)) * (case.false != "no drift")
        moved = numpy(seen.weight @ seen.residual.T)
        loss = case.rates.step**2 * case.rates.predictor * moved @ moved.T
        bound = rounding_bound(case, seen, probe.matrix)

    def measure(step: int) -> None:
        nonlocal path, accumulated, slack
        now = quantity()
        observed = now - retained * before
        path = retained * path + coming
        accumulated = retained * accumulated + bound
        values = (coming, observed, observed - coming, bound, now - path, accumulated, path, now)
        for key, value in zip(keys, (*values, now - retained ** (step + 1) * start), strict=True):
            found[key][step] = np.linalg.norm(value)
        slack = retained * slack + loss
        above = numpy(probe.gram()) + slack - retained ** (step + 1) * first
        found["lowest"][step], found["slack"][step] = np.linalg.eigvalsh(above)[0], np.linalg.norm(slack, 2)

    train(jepa, views.batches(plan.batch, plan.steps, seed=seed), before=look, after=measure)
    return found


def conservation_rows(case: Case, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one run: each step, the whole run, and for a false version its refusal."""
    if case.law == ZERO:
        # An eigenvalue above 0 is no error; one below is, in units of rounding.
        below = np.maximum(-run["lowest"], 0.0)
        least = Series(np.zeros_like(below), run["lowest"], below / run["run_bound"])
        if not case.false:
            return [row(f"conservation: {ZERO}", case.architecture, least, criterion=CRITERIA[ZERO])]
        each = least
    else:
        each = Series(run["predicted"], run["observed"], run["error"] / run["bound"])
    if case.false:
        name = f"conservation: control, {case.false}"
        return [row(name, case.architecture, each, criterion=REFUSED, at_least=REFUSAL)]
    whole = Series(run["path"], run["quantity"], run["run_error"] / run["run_bound"])
    claims = {f"{case.law}, each step": each, f"{case.law}, whole run": whole}
    return [
        row(f"conservation: {name}", case.architecture, series, criterion=CRITERIA[name])
        for name, series in claims.items()
    ]
