"""Rows of the phase experiment: how well survival per dimension and surviving rank were predicted."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.simulations.results import REFUSAL, Row, Series, row

MOMENTS = ("at initialisation", "at a tenth", "at half")
METHODS = {"threshold": "static threshold", "forecast": "last-layer flow"}
# Around the predicted boundary, decades of the score in which calibration asks for nothing.
BAND = {"threshold": 0.15, "forecast": 0.5}
AUROC, RANK, BETA = 0.9, 1.6, 0.5
CRITERIA = {
    "survival": (
        f"AUROC over members and dimensions ≥ {AUROC} and above each trivial score, −log η and −dimension index; error is"
        " 1 − AUROC over the smaller of the two allowances"
    ),
    "extrapolation": (
        "AUROC of the last-layer flow above that of log-linear extrapolation of every eigenvalue from two"
        " earlier records; error is the ratio of what is missing from 1"
    ),
    "fitted": (
        "AUROC above that of the logistic regression of survival on −log η and dimension index fitted to these very"
        " outcomes, as no prediction could be; error is the ratio of what is missing from 1"
    ),
    "rank": f"mean |predicted − surviving rank| over members ≤ {RANK} of 16 dimensions; error is the ratio",
    "calibration": (
        "of dimensions predicted to survive (to die) by more than half a decade of eigenvalue, or 0.15 decades of η, at"
        " least 90% do; error is the larger share of exceptions over 0.1"
    ),
    "frozen": "the same surviving rank for every β in every setting; error is 1 per setting that differs",
    "EMA": f"mean over settings of (largest − smallest surviving rank over β) ≤ {BETA} of 16 dimensions; error is the ratio",
    "repair": (
        "mean |observed − predicted| over pairs of β of the difference of surviving ranks at most half of the mean"
        " |observed| difference, where that one fails; error is the ratio over 0.5"
    ),
    "control": "a false version put to the same test must miss its bound; error is in units of the bound over 1000",
}


def auroc(survived: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve over all members and dimensions; 0.5 where only one class is there, NaN scores left out."""
    truth, value = survived.ravel(), score.ravel()
    told = np.isfinite(truth) & np.isfinite(value)
    if not told.any() or len(np.unique(truth[told])) < 2:
        return 0.5
    return float(roc_auc_score(truth[told], value[told]))


def trivial_scores(survived: np.ndarray, decay: np.ndarray) -> dict[str, float]:
    """Return the AUROC of −log η, of −index, and of the logistic regression on both that was fitted to these very outcomes."""
    eta = np.broadcast_to(-np.log(decay)[:, None], survived.shape)
    index = np.broadcast_to(-np.arange(survived.shape[1], dtype=float), survived.shape)
    told = np.isfinite(survived)
    found = {"−log η": auroc(survived, eta), "−index": auroc(survived, index), "both, fitted": 0.5}
    if len(np.unique(survived[told])) == 2:
        inputs = np.stack((eta[told], index[told]), 1)
        fitted = LogisticRegression(C=1e6, max_iter=1000).fit(inputs, survived[told])
        found["both, fitted"] = auroc(survived[told], fitted.decision_function(inputs))
    return found


def exceptions(survived: np.ndarray, score: np.ndarray, band: float) -> tuple[float, float]:
    """Return the shares that survive of those predicted to die, and die of those predicted to survive, by more than ``band``."""
    dead, alive = survived[score < -band], survived[score > band]
    return float(dead.mean()) if dead.size else 0.0, float(1 - alive.mean()) if alive.size else 0.0


def one(predicted: float, observed: float, error: float) -> Series:
    """Return a series of one record."""
    return Series(*(np.array([value]) for value in (predicted, observed, error)))


def phase_rows(name: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one architecture from the arrays of :func:`jepalign.simulations.phase.phase_run`."""
    fine = run["diverged"] == 0
    lost = "" if fine.all() else f" ({(~fine).sum()} of {len(fine)} diverged, left out of the scores)"
    if fine.sum() < 2:
        return [row("phase: survival", name, one(np.nan, np.nan, np.nan), criterion=CRITERIA["survival"])]
    name += lost
    alive, decay = run["survived"][fine], run["weight_decay"][fine]
    trivial = trivial_scores(alive, decay)
    best = max(trivial["−log η"], trivial["−index"])
    run["trivial"] = np.array(list(trivial.values()))
    rows: list[Row] = []
    shared = {key: np.zeros(3) for key in METHODS}
    ranks = alive.sum(1)
    for method, words in METHODS.items():
        for at, moment in enumerate(MOMENTS):
            score = run[method][fine][:, at]
            found = shared[method][at] = auroc(alive, score)
            bound = max(AUROC, best)
            rows.append(survival_row(f"phase: survival, {words} {moment}", name, found, bound))
            off = float(np.abs((score > 0).sum(1) - ranks).mean())
            expected = float((score > 0).sum(1).mean())
            series = one(expected, float(ranks.mean()), off / RANK)
            rows.append(row(f"phase: surviving rank, {words} {moment}", name, series, criterion=CRITERIA["rank"]))
            wrong = max(exceptions(alive, score, BAND[method]))
            series = one(0.0, wrong, wrong / 0.1)
            rows.append(row(f"phase: calibration, {words} {moment}", name, series, criterion=CRITERIA["calibration"]))
        found, bound = shared[method][1], trivial["both, fitted"]
        series = one(bound, found, ratio(1 - found, 1 - bound))
        label = f"phase: {words} at a tenth against −log η and index fitted to the outcomes"
        rows.append(row(label, name, series, criterion=CRITERIA["fitted"]))
    run["auroc"] = np.stack([shared["threshold"], shared["forecast"]])
    simple = [auroc(alive, run["extrapolation"][fine][:, at]) for at in (1, 2)]
    run["auroc_extrapolation"] = np.array(simple)
    for at in (1, 2):
        series = one(simple[at - 1], shared["forecast"][at], ratio(1 - shared["forecast"][at], 1 - simple[at - 1]))
        label = f"phase: last-layer flow against extrapolation {MOMENTS[at]}"
        rows.append(row(label, name, series, criterion=CRITERIA["extrapolation"]))
    # The flow of the member with the mirrored rank of weight decay knows the dimension but not the boundary.
    order = np.argsort(decay, kind="stable")
    strangers = np.empty_like(run["forecast"][fine][:, 1])
    strangers[order] = run["forecast"][fine][order[::-1], 1]
    false = auroc(alive, strangers)
    error = (1 - false) / (1 - max(AUROC, best)) * REFUSAL
    series = one(AUROC, false, error)
    label = "phase: control, survival forecast for the member of mirrored weight decay"
    rows.append(row(label, name, series, criterion=CRITERIA["control"], at_least=REFUSAL))
    return rows + ema_rows(name, run)


def ratio(value: float, bound: float) -> float:
    """Return value/bound, with 0/0 taken as 0 and the bound at least 1e-9."""
    return value / max(bound, 1e-9) if value > 0 else 0.0


def survival_row(label: str, name: str, found: float, bound: float) -> Row:
    """Return the row of an AUROC against its bound."""
    return row(label, name, one(bound, found, ratio(1 - found, 1 - bound)), criterion=CRITERIA["survival"])


def ema_rows(name: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows on β: on frozen features, in training, and whether the shift of λ and σ explains the difference."""
    betas = len(np.unique(run["ema_rate"]))

    def by_setting(values: np.ndarray) -> np.ndarray:
        groups = values.reshape(-1, betas)
        return groups[np.isfinite(groups).all(1)]

    def spread(values: np.ndarray) -> np.ndarray:
        return np.ptp(by_setting(values), axis=1)

    missing = np.where(run["diverged"] == 1, np.nan, 0.0)
    ranks = run["survived"].sum(1) + missing
    eta = run["weight_decay"][:, None]
    at_end = (critical_weight_decay(run["cross"][:, -1], run["variance"][:, -1]) > eta).sum(1) + missing
    forecast = [(run["forecast"][:, at] > 0).sum(1) + missing for at in range(3)]
    run["rank"], run["rank_threshold_end"] = ranks, at_end
    frozen, unled = spread(run["rank_aligned"]), spread(run["rank_unled"])
    rows = []
    series = one(0.0, float(frozen.mean()), float((frozen > 0).sum()))
    label = "phase: EMA rate on frozen features, aligned and balanced start"
    rows.append(row(label, name, series, criterion=CRITERIA["frozen"]))
    halved = spread(run["rank_aligned_half"])
    series = one(0.0, float(halved.mean()), float((halved > 0).sum()))
    rows.append(row(f"{label}, steps half as long", name, series, criterion=CRITERIA["frozen"]))
    series = one(0.0, float(unled.mean()), float((unled > 0).sum()) * REFUSAL)
    label = "phase: control, EMA rate on frozen features, target starts at 0"
    rows.append(row(label, name, series, criterion=CRITERIA["control"], at_least=REFUSAL))
    trained = (
        ("frozen features, balanced start", run["rank_balanced"]),
        ("frozen features, start as trained", forecast[0]),
        ("training", ranks),
        ("training with steps half as long", run["rank_half"]),
    )
    for words, value in trained:
        seen = float(spread(value).mean())
        rows.append(row(f"phase: EMA rate, {words}", name, one(0.0, seen, seen / BETA), criterion=CRITERIA["EMA"]))
    explanations = {
        "λ and σ at the end": at_end,
        "last-layer flow at initialisation": forecast[0],
        "last-layer flow at a tenth": forecast[1],
        "last-layer flow at half": forecast[2],
    }
    halves = {"λ and σ at the end": run["rank_half_threshold"], "last-layer flow at half": run["rank_half_forecast"]}
    told = [(ranks, words, value) for words, value in explanations.items()]
    told += [(run["rank_half"], f"{words}, steps half as long", value) for words, value in halves.items()]
    for seen, words, value in told:
        observed, expected = (differences(by_setting(part)) for part in (seen, value))
        size, off = (float(np.abs(part).mean()) for part in (observed, expected - observed))
        series = one(float(np.abs(expected).mean()), size, ratio(off, 0.5 * size) if size > 0 else off)
        rows.append(
            row(f"phase: EMA rate, difference explained by {words}", name, series, criterion=CRITERIA["repair"])
        )
    return rows


def differences(groups: np.ndarray) -> np.ndarray:
    """Return differences between all pairs of columns, (groups · pairs,)."""
    first, second = np.triu_indices(groups.shape[1], 1)
    return (groups[:, first] - groups[:, second]).ravel()
