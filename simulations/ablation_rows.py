"""Rows of the ablation experiment: what collapses and what survives, and how fast, against 4.1 and the flow on frozen features."""

import numpy as np

from jepalign.simulations.corners import CORNERS
from jepalign.simulations.results import REFUSAL, Row, Series, row

CRITERIA = {
    "collapse": "without predictor, and with one but no stop-gradient, at most 1% of tr Φ is left in every run; error over that",
    "survive": "in every other corner at least 5% of tr Φ is left in every run; error is 5% over the least",
    "decay": "decay rate of ln tr Φ/2 over the second half, by that of the flow on features at the start: median 1 to 15%; error in these",
    "half": (
        "the same for the last layer's part of the decay, by the flow on the features measured at half the run, in every"
        " collapsing corner"
    ),
    "control": "the same with a frozen backbone and fixed views, by its flow, to 5% in every collapsing corner; error is the worst over 5%",
    "modes": "decay rate of the mode of largest λ over the second half, by 4.1's in λ and σ, is 1 to 5%; error in these",
}


def median_series(seen: np.ndarray, expected: np.ndarray, tolerance: float) -> Series:
    """Return rates of runs (C, S) beside predicted ones: per corner, the median of their quotients against 1."""
    quotient = np.median(seen / expected, axis=1)
    return Series(np.median(expected, axis=1), np.median(seen, axis=1), np.abs(quotient - 1) / tolerance)


def cube_rows(name: str, which: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one architecture on one kind of views."""
    place = f"{name}, {which}"
    lives = np.array([corner.survives for corner in CORNERS.values()])
    left = run["left"]
    rows = [
        row(
            "ablation: collapse",
            place,
            Series(0 * left[~lives], left[~lives], left[~lives] / 0.01),
            criterion=CRITERIA["collapse"],
        ),
        row(
            "ablation: survival",
            place,
            Series(run["flow_left"][lives], left[lives], 0.05 / left[lives]),
            criterion=CRITERIA["survive"],
        ),
    ]
    start = median_series(run["rate"], run["from_start"], 0.15)
    for c, corner in enumerate(CORNERS):
        if not lives[c]:
            series = Series(*(part[c : c + 1] for part in start))
            rows.append(
                row(
                    "ablation: decay by features at the start",
                    f"{place}; {corner}",
                    series,
                    criterion=CRITERIA["decay"],
                )
            )
    half = median_series(run["last_layer"][~lives], run["from_half"][~lives], 0.15)
    rows.append(row("ablation: last layer's decay by features at half", place, half, criterion=CRITERIA["half"]))
    return rows


def control_rows(name: str, kind: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of the frozen backbone: its flow, 4.1's rates of a mode, and a false rate."""
    place = f"{name}, frozen backbone, fixed views"
    dies = np.array([not corner.survives for corner in CORNERS.values()])
    rows = [
        row(
            "ablation: decay, frozen backbone",
            place,
            median_series(run["rate"][dies], run["flow"][dies], 0.05),
            criterion=CRITERIA["control"],
        )
    ]
    if kind == "linear":
        bare = np.array([not corner.predictor for corner in CORNERS.values()])
        series = median_series(run["mode"][bare], run["formula"][bare], 0.05)
        rows.append(row("ablation: slowest mode by 4.1", place, series, criterion=CRITERIA["modes"]))
    # Without stop-gradient a mode decays at 2(σ − λ), with it at σ − λ: each by the other's flow.
    false = median_series(run["rate"][:1], run["flow"][1:2], 0.05)
    refused = Series(false.predicted, false.observed, false.error / 4 * REFUSAL)
    text = "a false version put to the same test: its rates miss by at least 20%"
    rows.append(
        row("ablation: control, no stop-gradient as if with it", place, refused, criterion=text, at_least=REFUSAL)
    )
    return rows
