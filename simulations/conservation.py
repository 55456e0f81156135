"""Balance (3.1), the Gram law (3.2) and their exact discrete drift (3.3) on deep encoders of digits.

Between two steps of size ε, WWᵀ − PᵀP/α is multiplied by (1 − εη)² and moves by ε²(PᵀRRᵀP − αWRᵀRWᵀ), R = ∂L/∂(PW);
under the least-squares predictor WWᵀ alone is, and moves by ε²GGᵀ, G = ∂L/∂W. The first holds for any backbone, target
and loss on the prediction, batch by batch; nothing in it is fitted, so only rounding may separate it from what happens.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from jepalign.measurements import Measurement
from jepalign.simulations.data import PairedViews, digit_views
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder, linear_predictor
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
}


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the Huber loss summed over dimensions, averaged over the batch: some other loss on the prediction."""
    return smooth_l1_loss(prediction, target.detach(), reduction="sum", beta=0.5) / len(prediction)


@dataclass(frozen=True)
class Case:
    """One run: a backbone, the constants, the law it is held to, and what is false about it, if anything.

    Attributes
    ----------
    law : str
        "balance" (learnt predictor) or "Gram" (least-squares predictor unless ``false``).
    false : str
        Empty, or one of "decay η on the predictor", "no drift", "decay left out", "learnt predictor".
    """

    activation: str
    rates: Rates
    law: str = "balance"
    loss: Loss = prediction_loss
    false: str = ""

    @property
    def architecture(self) -> str:
        """Backbone, target, loss and constants in words."""
        target = "V = W" if self.rates.ema is None else f"EMA β = {self.rates.ema:g}"
        loss = "" if self.loss is prediction_loss else f", {self.loss.__name__} loss"
        alpha = f"α = {self.rates.predictor:g}, " if self.law == "balance" else ""
        name = MLP(DEEP, self.activation, seed=0).architecture
        return f"{name}; {target}, {alpha}η = {self.rates.weight_decay:g}{loss}"


SIMSIAM = Rates(step=0.05, predictor=2.5, weight_decay=0.02)
EMA = Rates(step=0.05, predictor=2.5, weight_decay=0.02, ema=0.5)
FREE = Rates(step=0.05, predictor=0.4, weight_decay=0.0)
FALSE = {
    "decay η on the predictor": "balance",
    "decay left out": "balance",
    "no drift": "balance",
    "learnt predictor": "Gram",
}


def cases(activations: tuple[str, ...]) -> list[Case]:
    """Return every run of the experiment for these backbones; the controls and the other loss on the first alone."""
    found = [Case(a, rates) for a in activations for rates in (SIMSIAM, EMA, FREE)]
    found += [Case(a, rates, law="Gram") for a in activations for rates in (SIMSIAM, EMA)]
    found.append(Case(activations[0], EMA, loss=huber))
    return found + [Case(activations[0], SIMSIAM, law=law, false=false) for false, law in FALSE.items()]


@dataclass(frozen=True)
class ConservationPlan:
    """One scale of the experiment: backbones, steps of each run, pairs per batch."""

    activations: tuple[str, ...]
    steps: int
    batch: int = 128


SCALES = {
    "quick": ConservationPlan(("tanh",), steps=40),
    "paper": ConservationPlan(("tanh", "relu", "gelu"), steps=120),
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
        start times (1 − εη)²ᵗ. NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views = digit_views(device=where, seed=seed)
    todo = cases(plan.activations)
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
    if case.law == "balance":
        return 4 * UNIT * (weight + size**2 / case.rates.predictor)
    lengths, targets = seen.embedding.norm(dim=1), seen.target.norm(dim=1)
    terms = len(lengths) * UNIT * ((targets + size * lengths) * lengths).mean().item()
    return 4 * UNIT * weight + 2 * case.rates.step * size * terms


def conservation_run(case: Case, views: PairedViews, plan: ConservationPlan, seed: int) -> dict[str, np.ndarray]:
    """Train one JEPA and return the per-step arrays of :func:`conservation`."""
    encoder = digit_encoder(DEEP, case.activation, views, seed)
    least_squares = case.law == "Gram" and case.false != "learnt predictor"
    predictor = None if least_squares else linear_predictor(DEEP[-1], seed=seed + 1, device=views.x.device)
    decay = case.rates.weight_decay if case.false == "decay η on the predictor" else None
    jepa = JEPA(encoder, predictor, case.rates, loss=case.loss, predictor_decay=decay)
    probe = Probe(encoder, jepa.predictor, target=jepa.target)
    retained = 1.0 if case.false == "decay left out" else case.rates.retained
    keys = ("predicted", "observed", "error", "bound", "run_error", "run_bound", "path", "quantity", "defect")
    found = {key: np.full(plan.steps, np.nan) for key in keys}

    def quantity() -> np.ndarray:
        return numpy(probe.gram() if case.law == "Gram" else probe.balance(case.rates.predictor))

    start = path = before = quantity()
    coming, bound, accumulated = np.zeros_like(start), 0.0, 0.0

    def look(_step: int, x: Tensor, y: Tensor) -> None:
        nonlocal before, coming, bound
        jepa.fit_predictor(x, y)
        before = quantity()
        seen = probe.observe(x, y, loss=case.loss)
        drift = probe.gram_drift if case.law == "Gram" else probe.balance_drift
        coming = numpy(drift(seen, case.rates)) * (case.false != "no drift")
        bound = rounding_bound(case, seen, probe.matrix)

    def measure(step: int) -> None:
        nonlocal path, accumulated
        now = quantity()
        observed = now - retained * before
        path = retained * path + coming
        accumulated = retained * accumulated + bound
        values = (coming, observed, observed - coming, bound, now - path, accumulated, path, now)
        for key, value in zip(keys, (*values, now - retained ** (step + 1) * start), strict=True):
            found[key][step] = np.linalg.norm(value)

    train(jepa, views.batches(plan.batch, plan.steps, seed=seed), before=look, after=measure)
    return found


def conservation_rows(case: Case, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one run: each step, the whole run, and for a false version its refusal."""
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
