"""The dictionary (2.0) on deep encoders of digits.

A network pushed by the residual z⁺ − Pz with P = g(Φ), which sees no negatives, against the gradient of the explicit
objective U_g, which knows no predictor: the same gradient in every layer, hence the same training.
"""

from dataclasses import dataclass

import numpy as np
import torch

from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.measurements import Measurement
from jepalign.simulations.data import PairedViews, digit_views
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder
from jepalign.simulations.forms import compare_forms, train_forms
from jepalign.simulations.objectives import EXPLICIT
from jepalign.simulations.probe import effective_rank
from jepalign.simulations.results import REFUSAL, REFUSED, Row, Series, check_scale, measured, row, stated
from jepalign.simulations.training import Progress, device_named


@dataclass(frozen=True)
class DictionaryPlan:
    """One scale of the dictionary experiment: hidden activations, gradient steps and their size, pairs per batch."""

    activations: tuple[str, ...]
    steps: int
    step_size: float = 0.15
    batch: int = 128
    records: int = 6


SCALES = {
    "quick": DictionaryPlan(("tanh",), steps=40),
    "paper": DictionaryPlan(("tanh", "relu", "gelu"), steps=160),
}
# Fixed before the first run at paper scale. The two forms round differently in every operation, the twin in the order
# of its sums over the batch alone: a hundredfold leaves room for that, and none for a wrong coefficient.
TWIN_FACTOR = 100.0
COLLAPSED = 0.1
CRITERIA = {
    "gradient": "in every layer and record |observed − predicted| ≤ rounding bound; error is the ratio of the two, ≤ 1",
    "BYOL form": "at every embedding P times the explicit gradient to within the rounding bound; error ≤ 1",
    "training": f"distance between the trainings ≤ {TWIN_FACTOR:g} × that of a twin with reordered batches; error ≤ 1",
    "variance kept": f"below {COLLAPSED:g} of the start without a predictor, above with every other; error ≤ 1",
}


def dictionary(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure the dictionary 2.0 on digits: every entry and layer over training, both forms trained side by side.

    Returns
    -------
    Measurement
        With B architectures, E entries, R records and L layers (first to last), ``architecture`` (B,), ``entry`` (E,),
        ``step`` (R,) and what :func:`jepalign.simulations.forms.train_forms` returns, stacked to (B, E, ...);
        ``variance`` and ``effective_rank`` (B, E, 2, R) of the embeddings of all views under the residual form and
        under U_g.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views = digit_views(device=where, seed=seed)
    records = np.unique(np.linspace(0, plan.steps, plan.records).round().astype(int))
    cases = [(activation, name) for activation in plan.activations for name in EXPLICIT]
    found: list[dict[str, np.ndarray]] = []
    architectures: list[str] = []
    rows: list[Row] = []
    for done, (activation, name) in enumerate(cases):
        start = digit_encoder(DEEP, activation, views, seed)
        if progress is not None:
            progress(done, len(cases), f"{start.architecture}, {name}")
        if start.architecture not in architectures:
            architectures.append(start.architecture)
            rows += [dictionary_control(start, views, plan, false) for false in ("another predictor", "one order")]
        run = train_forms(start, views, name, step_size=plan.step_size, batch=plan.batch, records=records, seed=seed)
        moments = torch.as_tensor(np.nan_to_num(run["covariance"]))
        lost = np.isnan(run["travelled"])
        run["variance"] = np.trace(run["covariance"], axis1=-2, axis2=-1)
        ranks = [[effective_rank(moment) for moment in form] for form in moments]
        run["effective_rank"] = np.where(lost, np.nan, ranks)
        found.append(run)
        rows += dictionary_rows(start.architecture, name, run)
    if progress is not None:
        progress(len(cases), len(cases), "done")
    grid = (len(architectures), len(EXPLICIT))
    arrays = {key: np.array([run[key] for run in found]).reshape(*grid, *found[0][key].shape) for key in found[0]}
    arrays |= {"architecture": np.array(architectures), "entry": np.array(list(EXPLICIT)), "step": records}
    return measured(
        "dictionary", arrays, rows, stated(CRITERIA | {"control": REFUSED}), device=where, scale=scale, seed=seed
    )


def dictionary_rows(architecture: str, name: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the four rows of one entry on one architecture."""
    seen = ("predicted", "observed", "error")
    straying = run["separation"] / np.maximum(TWIN_FACTOR * run["twin_separation"], np.finfo(float).tiny)
    residual, explicit = run["variance"] / run["variance"][:, :1]
    kept = residual / COLLAPSED if name == "no-predictor" else COLLAPSED / residual
    claims = {
        "gradient": Series(*(run[key][:, :-1] for key in seen)),
        "BYOL form": Series(*(run[key][:, -1] for key in seen)),
        "training": Series(run["travelled"][1], run["travelled"][0], straying),
        "variance kept": Series(explicit[-1:], residual[-1:], kept[-1:]),
    }
    return [
        row(f"dictionary: {name}, {what}", architecture, series, criterion=CRITERIA[what])
        for what, series in claims.items()
    ]


def dictionary_control(start: MLP, views: PairedViews, plan: DictionaryPlan, false: str) -> Row:
    """Return the row of a false version of spectral contrastive's entry: DirectPred's g, or a batch in one order."""
    x, y = next(views.batches(plan.batch, 1, seed=0))
    if false == "another predictor":
        seen = compare_forms(start, x, y, "spectral-contrastive", predictor=DICTIONARY["directpred"])
    else:
        seen = compare_forms(start, x, y, "spectral-contrastive", symmetric=False)
    series = Series(seen.predicted[:-1], seen.observed[:-1], seen.error[:-1])
    name = f"dictionary: control, {false}"
    return row(name, start.architecture, series, criterion=REFUSED, at_least=REFUSAL)
