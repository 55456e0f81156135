"""The rows of the experiment on hybrids, and their criteria."""

import numpy as np

from jepalign.simulations.results import REFUSAL, Row, Series, row

REST = (
    "away from thresholds by 10% or more, every mode ends within 3% of the rest that theory has above the start, or below the start where "
    "that is 0; error is the worst miss over 3%"
)
WITHIN = "in every mode the weight at which it changes is the threshold to 15%, on a grid of weights; error is the worst over that"
DEEP = "in leading directions, in every seed, the weight at which growth passes 0 is the repel threshold to 15%; error in these"
PUBLISHED = "every mode that the published weight repels grows, and no other; error is 2 for each that does not"
FALSE = "a false version put to the same test: its worst miss ≥ 50%"
CRITERIA = {"rests": REST, "thresholds": WITHIN, "deep": DEEP, "published": PUBLISHED, "control": FALSE}
START = 1e-3


def rest_rows(name: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one term's rests over the sweep, of modes alone and of modes that share an encoder."""
    gammas, told = run["strength"][:, None], run["rest_predicted"]
    clear = np.ones(told.shape, dtype=bool)
    for threshold in (run["repel_predicted"], run["rescue_predicted"]):
        with np.errstate(divide="ignore"):
            clear &= np.abs(gammas / threshold - 1) >= 0.1
    dead = told == 0
    rows: list[Row] = []
    for key, which in (("rest", "each mode alone"), ("shared_rest", "modes that share an encoder")):
        seen = run[key]
        if np.isnan(seen).all():
            continue
        miss = np.where(dead, np.where(seen < START, 0.0, 2.0), np.abs(seen / np.where(dead, 1.0, told) - 1) / 0.03)
        series = Series(told, seen, np.where(clear | np.isnan(seen), miss, 0.0))
        rows.append(row(f"hybrid: rests, {which}", f"linear, JEPA + γ·{name}", series, criterion=REST))
    return rows


def threshold_rows(name: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one term's thresholds, and of the rule 'γ = η' that knows neither term nor variance."""
    place = f"linear, JEPA + γ·{name}"
    rows: list[Row] = []
    kinds = ("repel", "rescue")
    for kind in kinds:
        seen, told = run[kind], run[f"{kind}_predicted"]
        if not told.all():
            continue  # log-det repels at any weight
        rows.append(
            row(
                f"hybrid: {kind} threshold", place, Series(told, seen, np.abs(seen / told - 1) / 0.15), criterion=WITHIN
            )
        )
    seen, other = run["rescue"], np.roll(run["rescue_predicted"], 1) * 2
    false = np.abs(seen / other - 1).max(keepdims=True) / 0.5 * REFUSAL
    series = Series(other[:1], seen[:1], false)
    rows.append(
        row("hybrid: control, twice another mode's threshold", place, series, criterion=FALSE, at_least=REFUSAL)
    )
    return rows


def published_rows(placed: dict[str, np.ndarray]) -> list[Row]:
    """Return the row of C-JEPA's published weight on modes near collapse, with where it stands."""
    ratio, grown = placed["published_ratio"][0, :, 0], placed["published_grown"]
    told = (ratio > 1).astype(float)
    span = f"{ratio.min():.2g} to {ratio.max():.2g} times the repel threshold"
    place = f"linear, JEPA + C-JEPA's hinge, {span}"
    series = Series(told, grown, 2.0 * (told != grown))
    return [row("hybrid: C-JEPA's published weight", place, series, criterion=PUBLISHED)]


def deep_rows(place: str, terms: list[str], deep: np.ndarray) -> list[Row]:
    """Return the rows of collapsed deep encoders, for every term; ``deep`` is (2, D, S, 3), seen and told."""
    rows: list[Row] = []
    for index, name in enumerate(terms):
        seen, told = deep[:, index]
        where = f"{place}, collapsed; JEPA + γ·{name}"
        rows.append(
            row("hybrid: repel threshold", where, Series(told, seen, np.abs(seen / told - 1) / 0.15), criterion=DEEP)
        )
        false = np.abs(seen / told[..., ::-1] - 1).max(keepdims=True)[:1, :1] / 0.5 * REFUSAL
        series = Series(told[:1, -1:], seen[:1, :1], false)
        control = "hybrid: control, directions in reverse"
        rows.append(row(control, where, series, criterion=FALSE, at_least=REFUSAL))
    return rows
