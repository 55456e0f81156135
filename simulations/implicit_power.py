"""The power identity (2.4) on linear and deep encoders of digits.

tr(F_uWᵀ) as it acts on the last layer and on the embeddings, for any predictor and target, against ½E‖z − z̄‖² and the
terms that correct it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.measurements import Measurement
from jepalign.simulations.backbones import BACKBONES, EMBEDDING
from jepalign.simulations.data import PairedViews, both_orders, digit_views
from jepalign.simulations.encoders import DEEP, LINEAR, MLP, digit_encoder, linear, linear_predictor, scale_embedding
from jepalign.simulations.probe import Observation, Probe
from jepalign.simulations.results import REFUSAL, REFUSED, Row, Series, check_scale, measured, row, stated
from jepalign.simulations.rounding import SLOPES, gradient_bounds, last_layer_bound, linear_layers
from jepalign.simulations.training import JEPA, Progress, Rates, device_named, train


@dataclass(frozen=True)
class PowerPlan:
    """One scale of the power experiment.

    Attributes
    ----------
    encoders : tuple
        Perceptrons as (widths, activation), in every setting with every linear predictor.
    backbones : tuple of str
        Keys of ``BACKBONES``, with both assumptions broken and a linear and a nonlinear predictor.
    steps, records : int
        Training steps and records of each run.
    """

    encoders: tuple[tuple[tuple[int, ...], str], ...]
    backbones: tuple[str, ...]
    steps: int
    records: int
    batch: int = 128


SCALES = {
    "quick": PowerPlan(
        ((LINEAR, "linear"), (DEEP, "tanh"), (DEEP, "relu")), ("batch-normalised",), steps=20, records=5
    ),
    "paper": PowerPlan(
        ((LINEAR, "linear"), (DEEP, "tanh"), (DEEP, "relu"), (DEEP, "gelu")),
        ("deep linear", "gelu", "convolutional", "batch-normalised", "transformer"),
        steps=120,
        records=41,
    ),
}
# The two settings of 2.4: its assumptions met, and both of them broken (one order of the views, a target that lags).
SETTINGS = {
    "both orders": Rates(step=0.1, weight_decay=0.02),
    "one order, EMA target": Rates(step=0.1, weight_decay=0.02, ema=0.5),
}
BROKEN = "one order, EMA target"
HALVED = Rates(step=0.05, weight_decay=0.02, ema=0.5)  # at twice the step a transformer diverges
PREDICTORS = ("learnt", "least squares")
NONLINEAR = "nonlinear"
# What a run records of each row, beside the powers on the first layer.
KEYS = ("observed", "predicted", "alignment", "correction", "asymmetry", "embedding")
CRITERION = "in every record |observed − predicted| ≤ rounding bound; error is the worst ratio of the two, ≤ 1"


def power(*, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None) -> Measurement:
    """Measure the power identity 2.4 on digits along whole trainings of linear and deep encoders.

    Hidden layers of the ReLU encoder have no biases, so that by Euler's theorem each of its layers has the power of the
    last.

    Returns
    -------
    Measurement
        With Q runs and R records: ``architecture``, ``predictor``, ``setting`` (Q,), ``step`` (R,); all others (Q, R):
        ``observed``, tr(F_uWᵀ) from gradients on the last layer; ``predicted``, the sum of ``alignment``,
        ``correction`` and ``asymmetry``; ``embedding``, the power of the gradient that the whole encoder receives at
        its output; ``bound``, the rounding bound of observed − predicted; ``first_layer`` and ``first_bound``, the
        power on the first weight matrix and its bound. For B backbones, one order of the views and a lagging target,
        ``backbone_architecture`` and ``backbone_predictor`` (B,) and the same quantities but for the first layer's as
        ``backbone_observed`` and so on, (B, R). NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views = digit_views(device=where, seed=seed)
    cases = [(*encoder, which, setting) for encoder in plan.encoders for which in PREDICTORS for setting in SETTINGS]
    others = [(name, which) for name in plan.backbones for which in (PREDICTORS[0], NONLINEAR)]
    total = len(cases) + len(others)
    found: list[dict[str, np.ndarray]] = []
    labels: list[tuple[str, str, str]] = []
    beside: list[dict[str, np.ndarray]] = []
    rows: list[Row] = []
    records = np.unique(np.linspace(0, plan.steps - 1, plan.records).round().astype(int))
    for done, (widths, activation, which, setting) in enumerate(cases):
        encoder = digit_encoder(widths, activation, views, seed, hidden_bias=activation != "relu")
        labels.append((encoder.architecture, which, setting))
        if progress is not None:
            progress(done, total, ", ".join(labels[-1]))
        run = power_run(
            encoder, views, learnt=which == "learnt", setting=setting, batch=plan.batch, records=records, seed=seed
        )
        found.append(run)
        rows += power_rows(labels[-1], activation, run)
    below: list[tuple[str, str, str]] = []
    for done, (name, which) in enumerate(others, start=len(cases)):
        backbone = BACKBONES[name](seed).to(where)
        below.append((str(backbone.architecture), which, BROKEN))
        if progress is not None:
            progress(done, total, ", ".join(below[-1]))
        beside.append(backbone_run(backbone, views, which=which, batch=plan.batch, records=records, seed=seed))
        rows += backbone_rows(below[-1], beside[-1])
    if progress is not None:
        progress(total, total, "done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    for key, values in zip(("architecture", "predictor", "setting"), zip(*labels, strict=True), strict=True):
        arrays[key] = np.array(values)
    arrays |= {f"backbone_{key}": np.array([run[key] for run in beside]) for key in beside[0]}
    for key, values in zip(("architecture", "predictor"), zip(*below, strict=True), strict=False):
        arrays[f"backbone_{key}"] = np.array(values)
    arrays["step"] = records
    return measured(
        "power", arrays, rows, stated({"power": CRITERION, "control": REFUSED}), device=where, scale=scale, seed=seed
    )


def power_run(
    encoder: MLP, views: PairedViews, *, learnt: bool, setting: str, batch: int, records: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Train one JEPA, ``encoder`` in place, and return the per-record arrays of :func:`power`."""
    width = encoder.last.out_features
    predictor = linear_predictor(width, seed=seed + 1, device=views.x.device) if learnt else None
    jepa = JEPA(encoder, predictor, SETTINGS[setting])
    probe = Probe(encoder, jepa.predictor, target=jepa.target)
    keys = (*KEYS, "first_layer")
    found = {key: np.full(len(records), np.nan) for key in (*keys, "bound", "first_bound")}
    first = linear_layers(encoder)[0]

    def look(step: int, x: Tensor, y: Tensor) -> None:
        for index in np.flatnonzero(records == step):
            jepa.fit_predictor(x, y)
            seen, powers = probe.observe(x, y), probe.layer_powers(x, y)
            values = (seen.power, seen.predicted_power, seen.alignment, seen.correction, seen.asymmetry)
            layer = next(name for name, value in encoder.named_parameters() if value is first.weight)
            for key, value in zip(keys, (*values, powers["embedding"], powers[layer]), strict=True):
                found[key][index] = value
            bounds = gradient_bounds(encoder, x, power_sizes(seen, probe.matrix))
            found["bound"][index] = bounds[-1] * encoder.last.weight.norm().item()
            found["first_bound"][index] = bounds[0] * first.weight.norm().item()

    batches = views.batches(batch, int(records[-1]) + 1, seed=seed)
    if setting == "both orders":
        batches = (both_orders(x, y) for x, y in batches)
    train(jepa, batches, before=look)
    return found


def nonlinear_predictor(width: int, *, seed: int, device: torch.device) -> nn.Sequential:
    """Return z ↦ B·GELU(Az + a) + b with twice the width between, the weights random and the biases 0."""
    generator = torch.Generator().manual_seed(seed)
    layers = linear(width, 2 * width, generator, bias=True), linear(2 * width, width, generator, bias=True)
    return nn.Sequential(layers[0], nn.GELU(), layers[1]).to(device)


def backbone_run(
    encoder: nn.Module, views: PairedViews, *, which: str, batch: int, records: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Train one JEPA, ``encoder`` in place, in the setting that breaks both assumptions; return the arrays of :func:`power`."""
    scale_embedding(encoder, torch.cat((views.x, views.y)), 0.1)
    make = nonlinear_predictor if which == NONLINEAR else linear_predictor
    jepa = JEPA(encoder, make(EMBEDDING, seed=seed + 1, device=views.x.device), HALVED)
    probe = Probe(encoder, jepa.predictor, target=jepa.target)
    found = {key: np.full(len(records), np.nan) for key in (*KEYS, "value", "bound")}

    def look(step: int, x: Tensor, y: Tensor) -> None:
        for index in np.flatnonzero(records == step):
            seen, powers = probe.observe(x, y), probe.layer_powers(x, y)
            values = (seen.power, seen.predicted_power, seen.alignment, seen.correction, seen.asymmetry)
            for key, value in zip(KEYS, (*values, powers["embedding"]), strict=True):
                found[key][index] = value
            # What the correction would be if the derivative of the predictor along z were its value.
            found["value"][index] = (seen.prediction * (seen.target - seen.prediction)).sum(1).mean().item()
            layers = [module for module in jepa.predictor.modules() if isinstance(module, nn.Linear)]
            # The predictor stretches by at most the product of its layers' norms and of the slopes between them.
            size = torch.stack([layer.weight.detach().norm() for layer in layers]).prod() * SLOPES[nn.GELU]
            targets, predictions = seen.target.norm(dim=1), seen.prediction.norm(dim=1)
            sizes = ((1 + size) * targets + size * predictions + seen.embedding.norm(dim=1)) / len(targets)
            widths = sum(sum(layer.weight.shape) for layer in layers)
            found["bound"][index] = last_layer_bound(seen.weight, seen.features, sizes, widths)

    train(jepa, views.batches(batch, int(records[-1]) + 1, seed=seed), before=look)
    return found


def power_sizes(seen: Observation, predictor: Tensor) -> Tensor:
    """Return the absolute size of the terms of F_u at each embedding, (n,): (1 + ‖P‖)‖z̄‖ + (1 + ‖P‖²)‖z‖ over n."""
    size = predictor.norm()
    targets, embeddings = seen.target.norm(dim=1), seen.embedding.norm(dim=1)
    return ((1 + size) * targets + (1 + size**2) * embeddings) / len(targets)


def power_rows(labels: tuple[str, str, str], activation: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one run: the identity at the last layer and the embeddings, special cases, controls."""
    architecture, which, setting = labels
    observed, predicted, bound = run["observed"], run["predicted"], run["bound"]
    claims = {"last layer": (predicted, observed, bound), "embeddings": (predicted, run["embedding"], bound)}
    false = {"alignment counted twice": (predicted + run["alignment"], observed, bound)}
    if setting == "both orders":
        if which == "least squares":
            claims["equals the alignment loss"] = (run["alignment"], observed, bound)
    else:
        false["asymmetry of the views left out"] = (predicted - run["asymmetry"], observed, bound)
    if activation == "relu":
        claims["first layer"] = (predicted, run["first_layer"], run["first_bound"])
    elif activation != "linear":
        false["first layer, not homogeneous"] = (predicted, run["first_layer"], run["first_bound"])
    return _rows(f"{architecture}; {which} predictor, {setting}", claims, false)


def backbone_rows(labels: tuple[str, str, str], run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one backbone: the identity at the last layer and the embeddings, controls."""
    architecture, which, setting = labels
    observed, predicted, bound = run["observed"], run["predicted"], run["bound"]
    claims = {"last layer": (predicted, observed, bound), "embeddings": (predicted, run["embedding"], bound)}
    false = {"correction left out": (predicted - run["correction"], observed, bound)}
    if which == NONLINEAR:
        # Right for a linear predictor, whose derivative along z is its value.
        other = predicted - run["correction"] + run["value"]
        false["derivative of the predictor taken for its value"] = (other, observed, bound)
    return _rows(f"{architecture}; {which} predictor, {setting}", claims, false)


Claims = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # predicted, observed and bound, by name


def _rows(place: str, claims: Claims, false: Claims) -> list[Row]:
    def held(expected: np.ndarray, seen: np.ndarray, tolerance: np.ndarray) -> Series:
        return Series(expected, seen, np.abs(seen - expected) / tolerance)

    rows = [row(f"power: {name}", place, held(*values), criterion=CRITERION) for name, values in claims.items()]
    for name, values in false.items():
        series = held(*values)
        rows.append(row(f"power: control, {name}", place, series, criterion=REFUSED, at_least=REFUSAL))
    return rows
