"""The system of the world-model experiment, its criteria and its rows."""

import numpy as np

from jepalign.linear_models.masking.rollout import rotation_modes
from jepalign.simulations.results import REFUSAL, Row, Series, row

# Slow and fast planes that hardly turn, and as many that turn by more than a right angle.
SHRINKAGE = np.array([0.95, 0.9, 0.75, 0.7, 0.5])
ANGLE = np.array([0.3, 2.2, 2.8, 0.8, 1.2])
EDGE = 0.1
SETTINGS = ("V = W", "EMA target", "actions given")
# Whose rollouts: the predictor of a JEPA starts at random, or at the identity, on the side of planes that hardly turn.
ROLLED = ("JEPA", "JEPA, predictor from the identity", "contrastive twin")
SURVIVE = "at every weight decay 10% or more from each threshold the rank is that of the planes told; error is 2 for each that is not"
ROLLOUT = "at every horizon the mean square error of simulated rollouts is the formula's to four standard errors; error in these"
AVOID = (
    "what a better predictor of the same encoder would avoid is at most 2% of the error at every horizon, in the median "
    "start; error is the worst over 2%"
)
LOSES = "held-out R² of planes turning beyond a right angle is at least 0.5 above the twin's, in the mean; error is 0.5 over the difference"
BELOW = "at the last horizon the JEPA's rollout error is below its twin's, in the median start; error is their ratio"
FALSE = "a false version put to the same test: at least one case is wrong"
WIDTH = 2 * len(ANGLE)  # of deep embeddings: room for every plane


def survival_rows(
    decays: np.ndarray, ranks: np.ndarray, told: np.ndarray, twin: np.ndarray, contrasted: np.ndarray
) -> list[Row]:
    """Return the rows of linear world models and of their twin over weight decay."""
    modes = rotation_modes(SHRINKAGE, ANGLE)

    def errors(expected: np.ndarray, seen: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        clear = (np.abs(thresholds[:, None] / decays - 1) >= EDGE).all(0)
        return np.where(np.isnan(seen), np.nan, 2.0 * (clear & (seen != expected)))

    rows: list[Row] = []
    for setting, seen in zip(SETTINGS, ranks, strict=True):
        series = Series(told, seen, errors(told, seen, modes.threshold))
        rows.append(row("world-model: surviving planes", f"linear, {setting}", series, criterion=SURVIVE))
    series = Series(contrasted, twin, errors(contrasted, twin, modes.contrast))
    rows.append(row("world-model: surviving planes", "linear, contrastive twin", series, criterion=SURVIVE))
    misses = errors(contrasted, ranks[0], modes.threshold).sum(keepdims=True) * REFUSAL
    series = Series(contrasted.sum(keepdims=True), ranks[0].sum(keepdims=True), misses)
    name = "world-model: control, the twin's planes"
    rows.append(row(name, f"linear, {SETTINGS[0]}", series, criterion=FALSE, at_least=REFUSAL))
    return rows


def rollout_rows(rolled: list[dict[str, np.ndarray]]) -> list[Row]:
    """Return the rows of rollouts: the formula against simulation, and what each encoder leaves avoidable."""
    rows: list[Row] = []
    for kind, run in zip(ROLLED, rolled, strict=True):
        seen, told = run["rollout"][:, 1:], run["rollout_predicted"][:, 1:]
        share = run["avoidable"][:, 1:] / told
        resting = int((share.max(1) <= 0.02).sum())
        place = f"linear, four dimensions, {kind}"
        series = Series(told, seen, np.abs(seen - told) / (4 * run["rollout_error"][:, 1:]))
        rows.append(row("world-model: rollout error", place, series, criterion=ROLLOUT))
        worst = np.median(share.max(1), keepdims=True)
        series = Series(0 * worst, worst, worst / 0.02)
        name = "world-model: avoidable share of the rollout error"
        rows.append(row(name, f"{place}; {resting} of {len(share)} starts whole planes", series, criterion=AVOID))
    twin = np.median(rolled[2]["rollout"][:, -1], keepdims=True)
    for kind, run in zip(ROLLED[:2], rolled, strict=False):
        own = np.median(run["rollout"][:, -1], keepdims=True)
        place = f"linear, four dimensions, {kind} against the twin"
        rows.append(
            row("world-model: rollout error at the horizon", place, Series(twin, own, own / twin), criterion=BELOW)
        )
    return rows


def deep_rows(activation: str, recovered: np.ndarray) -> list[Row]:
    """Return the row of deep encoders: the planes that turn beyond a right angle, against the twin."""
    turning = np.cos(ANGLE) < 0
    seen = recovered[0][:, turning].mean(keepdims=True)
    twin = recovered[1][:, turning].mean(keepdims=True)
    ahead = np.maximum(seen - twin, 1e-6)
    place = f"{activation} {2 * len(ANGLE)}-64-{WIDTH}, cubic readings"
    return [row("world-model: planes that turn back", place, Series(twin, seen, 0.5 / ahead), criterion=LOSES)]
