"""Rows of the forecast experiment: every way of telling the end of a training, judged on architectures that none was fitted to."""

from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression

from jepalign.simulations.forecast_runs import MEASURED, SAMPLED
from jepalign.simulations.phase_rows import auroc, one, ratio
from jepalign.simulations.results import REFUSAL, Row, row

Arrays = Mapping[str, np.ndarray]

# The theory's ways, and those of a practitioner without it.
THEORY = {
    "static": "static threshold",
    "flow": "flow on features that stay",
    "moving": "flow on features that move",
    "affine": "flow on features that move, by biases too",
    "fitted": "threshold and flow, fitted",
}
OTHERS = {
    "extrapolation": "log-linear extrapolation",
    "rankme": "RankMe",
    "effective_rank": "extrapolated effective rank",
    "trivial": "−log η and dimension index, fitted",
}
# Ways of telling a rank whose errors make an interval of it: the flow, and those without a theory.
RANKS = ("affine", "moving", *OTHERS)
# Decades beyond which an eigenvalue says no more to the fit.
FAR = 3.0
CALIBRATED, COVERED, LEVEL = 0.1, 0.9, 0.9
CRITERIA = {
    "survival": (
        "on unseen architectures, AUROC over members and dimensions at least that of each of RankMe, extrapolated effective rank,"
        " log-linear extrapolation of every eigenvalue, −log η, −index, and the regression on these two fitted to the other"
        " architectures; error is 1 − AUROC over that of the best of them"
    ),
    "rank": (
        "on unseen architectures, mean |told − surviving rank| over members at most that of each of the four that tell a rank; error is the"
        " ratio to the best of them"
    ),
    "calibration": (
        f"on unseen architectures, mean |told probability − observed share| over ten bins, weighted by their counts, ≤ {CALIBRATED}; error"
        " is the ratio"
    ),
    "drift": (
        "mean over members of |told − observed| change of log₁₀ of the features' second moment to the end ≤ half of the mean observed"
        " change; error is the ratio over 0.5"
    ),
    "coverage": (
        f"of intervals of level {LEVEL} on unseen architectures at least {COVERED} hold what came; error is the share missed over"
        f" {1 - COVERED:g}"
    ),
    "width": (
        "on unseen architectures, mean width of the conformal interval of the rank at most that of those made in the same way from each of"
        " the four that tell a rank without the theory; error is the ratio to the narrowest of them"
    ),
    "control": (
        "a false version must miss at least twice as much of the AUROC as the true one; error is the ratio over 2, in thousandths"
    ),
}


def features(run: Arrays, at: int, names: tuple[str, ...]) -> np.ndarray:
    """Return the regression's inputs of every dimension, (M·k, inputs), in decades or indices."""
    shape = run["survived"].shape
    known = {
        "decay": np.broadcast_to(-np.log10(run["weight_decay"])[:, None], shape),
        "index": np.broadcast_to(-np.arange(shape[1], dtype=float), shape),
    }
    parts = [known[name] if name in known else np.clip(run[name][:, at], -FAR, FAR) for name in names]
    return np.stack([part.ravel() for part in parts], 1)


def fit(runs: list[Arrays], at: int, names: tuple[str, ...]) -> LogisticRegression | None:
    """Return the logistic regression of survival on these inputs; None where only one outcome is there."""
    inputs = np.concatenate([features(run, at, names) for run in runs])
    outcome = np.concatenate([run["survived"].ravel() for run in runs])
    told = np.isfinite(outcome)
    if len(np.unique(outcome[told])) < 2:
        return None
    return LogisticRegression(C=1e3, max_iter=5000).fit(inputs[told], outcome[told])


def add_fitted(runs: list[dict[str, np.ndarray]], fitted: list[Arrays]) -> None:
    """Write into every run the log-odds (M, 3, k) of the regressions on ``fitted``: ``fitted`` on the theory, ``trivial`` without it."""
    for name, inputs in (("fitted", ("static", "affine")), ("trivial", ("decay", "index"))):
        models = [fit(fitted, at, inputs) for at in range(len(MEASURED))]
        for run in runs:
            odds = np.full(run["static"].shape, np.nan)
            fine = run["diverged"] == 0
            for at, model in enumerate(models):
                own = {key: run[key][fine] for key in ("survived", "weight_decay", "static", "affine")}
                if model is None:
                    odds[fine, at] = 0.0
                elif fine.any():
                    odds[fine, at] = model.decision_function(features(own, at, inputs)).reshape(odds[fine, at].shape)
            run[name] = odds


def scores(run: Arrays, name: str, at: int) -> np.ndarray:
    """Return a score of every dimension, (M, k), positive where survival is told; of a rank it is how far below the rank an index is."""
    if name in ("rankme", "effective_rank"):
        return run[name][:, at, None] - np.arange(run["survived"].shape[1]) - 0.5
    return run[name][:, at]


def told_rank(run: Arrays, name: str, at: int) -> np.ndarray:
    """Return the rank that a method tells, (M,)."""
    return run[name][:, at] if name in ("rankme", "effective_rank") else (run[name][:, at] > 0).sum(1).astype(float)


def judged(run: Arrays) -> dict[str, np.ndarray]:
    """Return ``auroc_NAME`` and ``rank_error_NAME``, (3,), of every way, and the AUROCs of −log η and −index, of one set of members."""
    alive = run["survived"]
    found: dict[str, np.ndarray] = {}
    moments = range(len(MEASURED))
    for name in (*THEORY, *OTHERS):
        found[f"auroc_{name}"] = np.array([auroc(alive, scores(run, name, at)) for at in moments])
        found[f"rank_error_{name}"] = np.array(
            [np.abs(told_rank(run, name, at) - alive.sum(1)).mean() for at in moments]
        )
    known = features(run, 0, ("decay", "index"))
    for index, name in enumerate(("decay", "index")):
        found[f"auroc_{name}"] = np.array(auroc(alive.ravel(), known[:, index]))
    return found


def pooled(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the members of several architectures that did not diverge, one after the other."""
    fine = [run["diverged"] == 0 for run in runs]
    return {name: np.concatenate([run[name][own] for run, own in zip(runs, fine, strict=True)]) for name in runs[0]}


def reliability(survived: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean |told probability − observed share| over ten bins of probability, weighted by their counts."""
    bins = np.minimum((probability * 10).astype(int), 9).ravel()
    p, y = probability.ravel(), survived.ravel()
    gaps = [abs(p[bins == i].mean() - y[bins == i].mean()) * (bins == i).mean() for i in range(10) if (bins == i).any()]
    return float(sum(gaps))


def forecast_rows(name: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of the members of unseen architectures, pooled under ``name``."""
    rows: list[Row] = []
    alive = run["survived"]
    seen = judged(run)
    trivial = max(float(seen["auroc_decay"]), float(seen["auroc_index"]))
    for at, fraction in enumerate(MEASURED):
        best = max(trivial, *(float(seen[f"auroc_{other}"][at]) for other in OTHERS))
        least = min(float(seen[f"rank_error_{other}"][at]) for other in OTHERS)
        for method, words in THEORY.items():
            found = float(seen[f"auroc_{method}"][at])
            label = f"forecast: survival, {words} at {fraction:.0%}"
            series = one(best, found, ratio(1 - found, 1 - best))
            rows.append(row(label, name, series, criterion=CRITERIA["survival"]))
            off = float(seen[f"rank_error_{method}"][at])
            label = f"forecast: surviving rank, {words} at {fraction:.0%}"
            rows.append(row(label, name, one(least, off, ratio(off, least)), criterion=CRITERIA["rank"]))
        gap = reliability(alive, 1 / (1 + np.exp(-run["fitted"][:, at])))
        label = f"forecast: calibration, {THEORY['fitted']} at {fraction:.0%}"
        rows.append(row(label, name, one(0.0, gap, gap / CALIBRATED), criterion=CRITERIA["calibration"]))
        observed, told = run["grown"][:, at], run["grown_told"][:, at]
        size, off = float(np.abs(observed).mean()), float(np.abs(told - observed).mean())
        label = f"forecast: growth of features told at {fraction:.0%}"
        series = one(float(told.mean()), float(observed.mean()), ratio(off, 0.5 * size))
        rows.append(row(label, name, series, criterion=CRITERIA["drift"]))
    rows += coverage_rows(name, run) + rank_rows(name, run)
    # The flow of the member with the mirrored rank of weight decay knows the dimension but not the boundary.
    order = np.argsort(run["weight_decay"], kind="stable")
    strangers = np.empty_like(run["affine"][:, 1])
    strangers[order] = run["affine"][order[::-1], 1]
    found, best = auroc(alive, strangers), float(seen["auroc_affine"][1])
    series = one(best, found, ratio(1 - found, 2 * (1 - best)) * REFUSAL)
    label = "forecast: control, survival told by the member of mirrored weight decay"
    rows.append(row(label, name, series, criterion=CRITERIA["control"], at_least=REFUSAL))
    return rows


def coverage_rows(name: str, run: Arrays) -> list[Row]:
    """Return the rows on the intervals: of eigenvalues and of the rank."""
    rows: list[Row] = []
    for part, low, high in (
        ("drift alone", "low_drift", "high_drift"),
        ("sampling alone", "low_sampling", "high_sampling"),
        ("sampling and drift", "low", "high"),
        ("drift, widened on other architectures", "low_widened", "high_widened"),
    ):
        there = np.isfinite(run[low]).all(1)
        least, most, end = run[low][there], run[high][there], run["end"][there]
        # An eigenvalue far below the floor is as dead as one at the interval's own floor.
        inside = (np.maximum(end, -FAR) >= least) & (np.maximum(end, -FAR) <= most)
        rank = (end > 0).sum(1)
        ranks = (rank >= (least > 0).sum(1)) & (rank <= (most > 0).sum(1))
        for words, hit in (("eigenvalues", inside), ("rank", ranks)):
            share = float(hit.mean()) if hit.size else np.nan
            label = f"forecast: interval of the {words} from {part} at {MEASURED[SAMPLED]:.0%}"
            rows.append(
                row(label, name, one(LEVEL, share, (1 - share) / (1 - COVERED)), criterion=CRITERIA["coverage"])
            )
    return rows


def rank_rows(name: str, run: Arrays) -> list[Row]:
    """Return the rows on the rank's conformal intervals at every fraction: how many ends they hold, and how wide they are."""
    rows: list[Row] = []
    rank = run["survived"].sum(1)
    for at, fraction in enumerate(MEASURED):
        low, high = run["rank_low_affine"][:, at], run["rank_high_affine"][:, at]
        share = float(((low <= rank) & (rank <= high)).mean()) if rank.size else np.nan
        label = f"forecast: interval of the rank, conformal on other architectures at {fraction:.0%}"
        rows.append(row(label, name, one(LEVEL, share, (1 - share) / (1 - COVERED)), criterion=CRITERIA["coverage"]))
        widths = {each: float((run[f"rank_high_{each}"] - run[f"rank_low_{each}"])[:, at].mean()) for each in RANKS}
        own, least = widths["affine"], min(widths[each] for each in OTHERS)
        label = f"forecast: width of the interval of the rank, conformal at {fraction:.0%}"
        rows.append(row(label, name, one(least, own, ratio(own, least)), criterion=CRITERIA["width"]))
    return rows
