"""The rows of the experiment on LeJEPA, and their criteria."""

import numpy as np

from jepalign.simulations.hybrid_rows import held, refused
from jepalign.simulations.results import REFUSAL, Row, Series, row

REST = (
    "away from the threshold by 10% or more every mode alone ends at the variance that γc(s) = q gives, to 3% of the target 1, or below the"
    " start where that is 0; error is the worst miss over that"
)
WITHIN = "every mode leaves collapse at the weight (σ − λ + η)/φ(0) to 15%, on a grid of weights; error is the worst over that"
SHARED = (
    "from a random start, on new directions at every step, the variance of every mode is the told one to 10% of the largest or of the"
    " target 1; error is the worst miss over that"
)
PUBLISHED = "the same for the published trade-off 0.05, without and with the batch size that multiplies the statistic"
COLLAPSED = (
    "along leading directions, in every seed, the weight at which a collapsed last layer stands still is the told one to 15%; error in"
    " these; 1e6 stands for none"
)
DEEP = "at every weight and seed the variances of the embedding are the told ones to 20% of the largest or of the target 1; error in these"
RANK = "at every weight and seed as many variances are above 0.1 as are told, to one; error is the worst difference over 1.5"
FALSE = "a false version put to the same test: its worst miss ≥ 50%"
CRITERIA = {
    "rests": REST,
    "thresholds": WITHIN,
    "shared": SHARED,
    "published": PUBLISHED,
    "collapsed": COLLAPSED,
    "deep": DEEP,
    "rank": RANK,
    "control": FALSE,
}
START = 1e-6  # s of modes alone at the start is at most 1.4 times it
VISIBLE = 0.1


def alone_rows(run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of modes alone."""
    seen, told, gammas = run["rest"], run["rest_predicted"], run["strength"]
    clear = np.abs(gammas / run["repel_predicted"] - 1) >= 0.1
    dead = told == 0
    miss = np.where(dead, np.where(seen < 1.4 * START, 0.0, 2.0), np.abs(seen - told) / 0.03)
    series = Series(told, seen, np.where(clear | np.isnan(seen), miss, 0.0))
    place = "linear, LeJEPA, each mode alone"
    rows = [
        row("lejepa: rests", place, series, criterion=REST),
        row("lejepa: repel threshold", place, held(run["repel"], run["repel_predicted"]), criterion=WITHIN),
    ]
    false = {"the threshold of a JEPA's hybrid": "repel_jepa", "the correlation forgotten": "repel_blind"}
    rows += [refused(f"lejepa: control, {text}", place, run["repel"], run[key]) for text, key in false.items()]
    return rows


def spectra(seen: np.ndarray, told: np.ndarray, tolerance: float) -> Series:
    """Return variances, the last axis, against told ones, in units of ``tolerance`` times the largest told or 1."""
    scale = tolerance * np.maximum(told.max(-1, keepdims=True), 1.0)
    return Series(told, seen, np.abs(seen - told) / scale)


def shared_rows(run: dict[str, np.ndarray], samples: int) -> list[Row]:
    """Return the rows of modes that share an embedding; the last two weights are published ones."""
    seen, told = run["shared"], run["shared_predicted"]
    place = f"linear {seen.shape[1]}-8, LeJEPA, random start"
    low, high = run["shared_strength"][-2:]
    rows = [
        row("lejepa: variance of every mode", place, spectra(seen[:-2], told[:-2], 0.1), criterion=SHARED),
        row(
            f"lejepa: published weight, γ = {low:.2g} without and {high:.2g} with a batch of {samples}",
            place,
            spectra(seen[-2:], told[-2:], 0.1),
            criterion=PUBLISHED,
        ),
    ]
    for text, key in (("every mode as if alone", "shared_alone"), ("modes chosen by λ", "shared_by_cross")):
        series = spectra(seen[:-2], run[key][:-2], 0.5)
        false = series._replace(error=series.error * REFUSAL)
        rows.append(row(f"lejepa: control, {text}", place, false, criterion=FALSE, at_least=REFUSAL))
    return rows


def collapsed_rows(place: str, found: np.ndarray) -> list[Row]:
    """Return the rows of collapsed encoders; ``found`` is (5, S, 3), as ``collapsed`` returns them."""
    seen, told, other, known, hybrid = found
    where = f"{place}, collapsed; LeJEPA"
    return [
        row("lejepa: repel threshold", where, held(seen, told), criterion=COLLAPSED),
        row("lejepa: repel threshold, features' mean known", where, held(other, known), criterion=COLLAPSED),
        refused("lejepa: control, the threshold of a JEPA's hybrid", where, other, hybrid),
    ]


def ranks(seen: np.ndarray, told: np.ndarray) -> Series:
    """Return how many variances are visible against how many should be, to one."""
    count, expected = ((part > VISIBLE).sum(-1).astype(float) for part in (seen, told))
    count[np.isnan(seen).any(-1)] = np.nan
    return Series(expected, count, np.abs(count - expected) / 1.5)


def deep_rows(place: str, run: dict[str, np.ndarray], pairs: int) -> list[Row]:
    """Return the rows of trained encoders, and of last layers trained on features that stay; the last weight is the published one."""
    where = f"{place}, LeJEPA, fresh views in batches of {pairs}"
    seen, start, end, frozen = (run[key] for key in ("deep", "deep_start", "deep_end", "frozen"))
    rows: list[Row] = []
    for text, found, told in (
        ("features at the end", seen, end),
        ("features at the start", seen, start),
        ("frozen features", frozen, start),
    ):
        rows.append(row(f"lejepa: variances by {text}", where, spectra(found, told, 0.2), criterion=DEEP))
        rows.append(row(f"lejepa: rank by {text}", where, ranks(found, told), criterion=RANK))
    return rows
