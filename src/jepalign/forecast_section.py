"""The report's table on the forecast of collapse: every way of telling a training's end early, on architectures nothing was fitted to."""

import numpy as np
from sklearn.metrics import roc_auc_score

from jepalign import document as doc
from jepalign.measurements import Measurement

WAYS = {
    "static": "threshold $\\lambda^2 = 4\\eta\\sigma$",
    "flow": "last layer's flow, features stay",
    "moving": "the same, weights below move them",
    "affine": "the same, biases below too",
    "fitted": "threshold and flow, fitted on others",
    "rankme": "RankMe",
    "effective_rank": "effective rank, extrapolated",
    "extrapolation": "every eigenvalue, log-linearly",
    "trivial": "$-\\log\\eta$ and index, fitted on others",
}
"""How the measurement calls a way of telling, and how it is called in print; the last four know no theory."""

RANKS = ("rankme", "effective_rank")
"""Ways that tell a rank alone: an index below it is told to survive the more surely the further it lies below."""


def forecast_table(measured: Measurement) -> doc.Table:
    """Return AUROC and mean rank error of every way at every fraction of a training, over the trainings that were held back."""
    arrays = measured.arrays
    fine = (arrays["held"] == 1)[:, None] & (arrays["diverged"] == 0)
    alive = arrays["survived"][fine] == 1
    percent = [f"{fraction:.0%}" for fraction in arrays["fraction"]]
    rows: list[tuple[str, ...]] = []
    for name, words in WAYS.items():
        told = arrays[name][fine].astype(float)
        scores = told[..., None] - np.arange(alive.shape[1]) - 0.5 if name in RANKS else told
        area = [float(roc_auc_score(alive.ravel(), scores[:, at].ravel())) for at in range(len(percent))]
        ranks = told if name in RANKS else (scores > 0).sum(axis=2)
        error = np.abs(ranks - alive.sum(axis=1)[:, None]).mean(axis=0)
        rows.append((words, *(f"{value:.3f}" for value in area), *(f"{value:.2f}" for value in error)))
    held = int((arrays["held"] == 1).sum())
    header = ("told by", *(f"AUROC at {part}" for part in percent), *(f"rank error at {part}" for part in percent))
    caption = (
        f"Which dimensions are alive at the end of a training, told at a share of it: {len(alive)} trainings of {held} architectures on"
        f" which nothing was fitted or chosen. The error is in dimensions of {alive.shape[1]}; the last four rows"
        f" know no theory. Trainings that diverged are left out ({int(arrays['diverged'][arrays['held'] == 1].sum())}). From"
        f" `{measured.name}.npz`."
    )
    return doc.Table(header, tuple(rows), caption, "tab-forecast")
