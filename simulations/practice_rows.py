"""Criteria and rows of the dictionary in practice, fixed before the run."""

from collections.abc import Mapping

import numpy as np

from jepalign.simulations.practice_forces import Practice, ringing
from jepalign.simulations.results import REFUSAL, REFUSED, Row, Series, row
from jepalign.simulations.subspace_rows import one, refused

IDENTITY, COSINE, BIAS, LAGGING = 1e-9, 0.05, 0.1, 0.5
RANK, SHARED, ACCURACY = 0.1, 0.8, 0.03

CRITERIA = {
    "batch": f"the update on a batch is the gradient of U_g on that batch: ‖difference‖ ≤ {IDENTITY:g} ‖gradient‖ in all records; error"
    " is the ratio",
    "held": f"with P = g(Φ) of all pairs held, the mean of the updates over all batches is the gradient of U_g on all pairs: ‖difference‖ ≤"
    f" {IDENTITY:g} ‖gradient‖; error is the ratio",
    "bias": f"along its predicted direction the bias of a batch's own Φ within {BIAS:g} of the predicted size; error is the ratio",
    "average": f"‖Φ̄ − Φ‖ from the batches' spread and the lag within {LAGGING:g} of the observed, root mean square over records,"
    " relatively; error is the ratio",
    "cosine": f"cosine between the mean update over all batches and the gradient of U_g on all pairs within {COSINE:g} of the predicted in"
    " all records: 1 for the residual force and InfoNCE, for BYOL's that of the explicit gradient times P; error is the ratio",
    "ringing": "the moving average follows Φ as the prediction supposes: h, the step times the largest curvature of U_g at the end, below"
    " (1 − √(1−a))²/a, where a linear mode with a share a of the newest begins to ring; error is the ratio",
    "corrected": f"the same within {COSINE:g} of what is predicted from the lagged Φ and the target as measured, from the bias of batches'"
    " own Φ, or from all pairs as InfoNCE's negatives; error is the ratio",
    "rank": f"effective rank on held-out digits within {RANK:g} of the explicit training's, relatively; error is the ratio",
    "shared": f"mean square canonical correlation with the explicit training's embedding on held-out digits ≥ {SHARED:g}; error is the"
    " missing part by the allowed one",
    "accuracy": f"accuracy of a linear probe within {ACCURACY:g} of the explicit training's; error is the ratio",
}


def entry_rows(labels: tuple[str, str], practices: Mapping[str, Practice], run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one entry of the dictionary on one architecture."""
    entry, architecture = labels
    rows: list[Row] = []
    for index, (name, how) in enumerate(practices.items()):
        if name == "explicit":
            continue
        place = f"{architecture}, {entry}, {name}"
        if name in ("exact", "mini-batches"):
            off = run["batch_difference"][index]
            series = Series(0 * off, off, off / IDENTITY)
            rows.append(row("practice: the batch's own gradient", place, series, criterion=CRITERIA["batch"]))
        if not name.startswith("explicit"):
            expected, seen = run["cosine_predicted"][index], run["cosine"][index]
            series = Series(expected, seen, np.abs(seen - expected) / COSINE)
            rows.append(row("practice: direction of the mean update", place, series, criterion=CRITERIA["cosine"]))
            # The first record has no past, and a moving average no lag there.
            past = ~np.isnan(run["cosine_corrected"][index]) | np.isnan(seen)
            if past.any() and not np.isnan(run["cosine_corrected"][index]).all():
                expected, seen = run["cosine_corrected"][index][past], seen[past]
                series = Series(expected, seen, np.abs(seen - expected) / COSINE)
                rows.append(row("practice: direction, corrected", place, series, criterion=CRITERIA["corrected"]))
        if not np.isnan(run["average_error"][index]).all() and "temperature" not in name:
            expected, seen = (
                float(np.sqrt(np.nanmean(np.square(run[key][index])) + 0 * run["moment"][index].sum()))
                for key in ("average_predicted", "average_error")
            )
            series = one(expected, seen, abs(expected / seen - 1) / LAGGING)
            rows.append(row("practice: error of the moving average", place, series, criterion=CRITERIA["average"]))
        if how.form == "residual" and how.lag > 0:
            least, seen = ringing(how.average), float(run["sharpness"][index])
            series = one(least, seen, seen / least)
            rows.append(row("practice: moving average follows", place, series, criterion=CRITERIA["ringing"]))
        rows += end_rows(place, run, index)
    return rows + identity_rows(f"{architecture}, {entry}", run)


def end_rows(place: str, run: dict[str, np.ndarray], index: int) -> list[Row]:
    """Return the rows of where one practice ends, beside the explicit training, which comes first."""
    first, seen = (float(run["effective_rank"][at]) for at in (0, index))
    shared = float((run["canonical"][index, 0] + run["canonical"][0, index]) / 2)
    expected, found = (float(run["accuracy"][at]) for at in (0, index))
    claims = {
        "rank": ("effective rank at the end", one(first, seen, abs(seen / first - 1) / RANK)),
        "shared": ("subspace at the end", one(1, shared, (1 - shared) / (1 - SHARED))),
        "accuracy": ("accuracy of a linear probe", one(expected, found, abs(found - expected) / ACCURACY)),
    }
    return [row(f"practice: {what}", place, series, criterion=CRITERIA[key]) for key, (what, series) in claims.items()]


def identity_rows(place: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of the batches' average at the end of the exact training, and the controls."""
    held, half, wrong = (float(run[f"{key}_difference"]) for key in ("held", "one_order", "wrong"))
    rows = [
        row("practice: batches average to the whole", place, one(0, held, held / IDENTITY), criterion=CRITERIA["held"])
    ]
    if np.isfinite(run["bias_predicted"]):
        expected, seen = float(run["bias_predicted"]), float(run["bias"])
        series = one(expected, seen, abs(seen / expected - 1) / BIAS)
        rows.append(row("practice: bias of a batch's own moment", place, series, criterion=CRITERIA["bias"]))
    for name, off in (("one order", half), ("another entry's predictor", wrong)):
        series = one(0, off, off / IDENTITY)
        rows.append(row(f"practice: control, {name}", place, series, criterion=REFUSED, at_least=REFUSAL))
    aligned, shuffled = float(run["alignment_cosine"]), float(run["shuffled"])
    series = one(1, aligned, (1 - aligned) / COSINE)
    rows.append(refused("practice: control, direction of alignment alone", place, series, most=4.0))
    series = one(1, shuffled, (1 - shuffled) / (1 - SHARED))
    rows.append(refused("practice: control, digits shuffled", place, series, most=4.0))
    return rows
