"""Criteria and rows of the Gaussianity experiment: what is held to what, fixed before the run."""

import numpy as np

from jepalign.simulations.results import REFUSAL, Row, Series, row

CORRELATIONS, WIDTH = np.array([0.9, 0.85, 0.8, 0.75, 0.5, 0.4]), 4
ENCODERS = ("linear, one latent each", "linear, latents mixed", "tanh 6-32-4")
# s/τ: the mean variance of the embedding's coordinates over the temperature.
RATIOS = np.array([0.1, 0.2, 0.3, 0.4, 0.7, 1.0])
AGREE, SMALL = 4, 3  # how many of the ratios the tests of agreement, of the leading order, take
TEMPERATURES = np.array([2.0, 1.0, 0.5, 0.2, 0.1])
SPHERES = (4, 16)
ERRORS, PRECISION, LEADING, ORDER = 5.0, 0.02, 0.25, 0.3
CLOSE = 0.1

CRITERIA = {
    "loss": f"for s/τ ≤ {RATIOS[AGREE - 1]:g}, |InfoNCE − ½ spectral| ≤ {ERRORS:g} standard errors, which are at most {PRECISION:g} of the"
    " repulsion; negatives extrapolated to infinity; error is the larger ratio",
    "gradient": f"for s/τ ≤ {RATIOS[AGREE - 1]:g}, the mean difference of the gradients over all parameters ≤ {ERRORS:g} standard errors"
    " in norm; error is the ratio",
    "cumulants": f"for s/τ ≤ {RATIOS[SMALL - 1]:g}, |gap − E(κ₃/6 + κ₄/24)| ≤ {LEADING:g} |gap| + {ERRORS:g} standard errors;"
    " error is the ratio",
    "order": f"the gap over the repulsion grows as (s/τ)²: slope between s/τ = {RATIOS[0]:g} and {RATIOS[SMALL - 1]:g} within {ORDER:g}"
    f" plus {ERRORS:g} standard errors; error is the ratio",
    "closed form": f"|observed − predicted| ≤ {ERRORS:g} standard errors at every temperature; error is the ratio",
    "half spectral": f"at every temperature or record the gap is at most {CLOSE:g} of the repulsion; error is the ratio",
    "temperature": "|L(z; τ) − L(z/√τ; 1)| ≤ 1e-12 |L|; error is the ratio",
}


def latent_rows(latents: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one law of the latents: agreement, the leading order of the gap, the Gaussian kernel, and a control."""
    rows: list[Row] = []
    for i, encoder in enumerate(ENCODERS):
        place = f"{encoder}; {latents} latents"
        gap, error, fourth, repulsion = (run[key][i] for key in ("gap", "gap_error", "fourth", "repulsion"))
        few = slice(AGREE)

        def agreement(claimed: np.ndarray, observed: np.ndarray, errors: np.ndarray, size: np.ndarray) -> Series:
            ratio = np.maximum(np.abs(observed - claimed) / (ERRORS * errors), errors / (PRECISION * size))
            return Series(claimed, observed, ratio)

        loss = agreement(repulsion[few], (repulsion + gap)[few], error[few], repulsion[few])
        slope = Series(
            np.zeros(AGREE),
            run["gradient_gap"][i][few],
            run["gradient_gap"][i][few] / (ERRORS * run["gradient_error"][i][few]),
        )
        rows += [
            row("gaussianity: InfoNCE is ½ spectral, loss", place, loss, criterion=CRITERIA["loss"]),
            row("gaussianity: InfoNCE is ½ spectral, gradient", place, slope, criterion=CRITERIA["gradient"]),
        ]
        if latents == "gaussian" and encoder.startswith("linear"):
            whole = agreement(2 * repulsion[few], (repulsion + gap)[few], error[few], repulsion[few])
            rows.append(refused("gaussianity: control, the whole spectral loss", place, whole))
            continue
        near = slice(SMALL)
        bound = LEADING * np.abs(gap[near]) + ERRORS * error[near]
        leading = Series(fourth[near], gap[near], np.abs(gap - fourth)[near] / bound)
        rows.append(row("gaussianity: gap is the fourth cumulant's", place, leading, criterion=CRITERIA["cumulants"]))
        turned = Series(-fourth[near], gap[near], np.abs(gap + fourth)[near] / bound)
        rows.append(refused("gaussianity: control, fourth cumulant of the other sign", place, turned, most=2.0))
        part = np.abs(gap / repulsion)
        grown = np.log(part[SMALL - 1] / part[0]) / np.log(RATIOS[SMALL - 1] / RATIOS[0])
        noise = np.hypot(error[0] / gap[0], error[SMALL - 1] / gap[SMALL - 1]) / np.log(RATIOS[SMALL - 1] / RATIOS[0])
        order = Series(np.array([2.0]), np.array([grown]), np.array([abs(grown - 2) / (ORDER + ERRORS * noise)]))
        rows.append(row("gaussianity: order of the gap", place, order, criterion=CRITERIA["order"]))
    seen, expected, errors = (run[f"kernel_{key}"] for key in ("observed", "predicted", "error"))
    kernel = Series(expected, seen, np.abs(seen - expected) / (ERRORS * errors))
    place = f"{ENCODERS[0]}; {latents} latents"
    rows.append(row("gaussianity: Gaussian kernel's closed form", place, kernel, criterion=CRITERIA["closed form"]))
    if latents == "gaussian":
        few = run["negatives"] >= run["negatives"][0] // 8
        bias, leading = run["bias"][few], run["bias_predicted"][few]
        series = Series(leading, bias, np.abs(bias / leading - 1) / LEADING)
        criterion = f"at s/τ = 0.3, within {LEADING:g} of −(det(I − 2Φ²/τ²)^(−1/2) − 1)/(2m); error is the ratio"
        rows.append(row("gaussianity: finite number of negatives", place, series, criterion=criterion))
    return rows


def refused(name: str, place: str, series: Series, *, most: float = 10.0) -> Row:
    """Return the row of a control, whose worst record must miss the claim's bound ``most``-fold."""
    criterion = f"a false version put to the same test must miss its bound {most:g}-fold; error is {REFUSAL:g} there"
    return row(name, place, series._replace(error=series.error / most * REFUSAL), criterion=criterion, at_least=REFUSAL)


def sphere_rows(run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of unit-length embeddings and of the temperature."""
    rows: list[Row] = []
    for i, k in enumerate(SPHERES):
        place = f"linear {k}-{k}, unit length; gaussian latents"
        seen, expected, half = (run[f"sphere_{key}"][i] for key in ("observed", "predicted", "half_spectral"))
        ratio = np.abs(seen - expected) / (ERRORS * run["sphere_error"][i])
        exact = Series(expected, seen, ratio)
        rows.append(row("gaussianity: closed form on the sphere", place, exact, criterion=CRITERIA["closed form"]))
        spectral = Series(half, seen, np.abs(half / seen - 1) / CLOSE)
        name = "gaussianity: InfoNCE is ½ spectral, cosine"
        rows.append(row(name, place, spectral, criterion=CRITERIA["half spectral"]))
    dot, normalised = run["temperature_gap"]
    series = Series(np.zeros(1), np.array([dot]), np.array([dot / 1e-12]))
    criterion = CRITERIA["temperature"]
    rows.append(row("gaussianity: temperature is the encoder's scale", "dot product", series, criterion=criterion))
    series = Series(np.zeros(1), np.array([normalised]), np.array([normalised / 1e-12]))
    rows.append(refused("gaussianity: control, temperature is the encoder's scale", "cosine", series))
    return rows


def digits_rows(run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of the training on digits: agreement over training, and whether cumulants explain the gap."""
    gap, corrected, repulsion = (run[f"digits_{key}"] for key in ("gap", "cumulants", "repulsion"))
    place = "tanh 64-128-64-16; digits, trained with InfoNCE"
    plain = Series(repulsion - gap, repulsion, np.abs(gap / repulsion) / CLOSE)
    late = Series(corrected, gap, np.abs(gap - corrected) / (LEADING * np.abs(gap)))
    criterion = f"in every record |gap − E(κ₁ − κ₁²/2 + κ₃/6 + κ₄/24)| ≤ {LEADING:g} |gap|; error is the ratio"
    return [
        row("gaussianity: InfoNCE is ½ spectral, over training", place, plain, criterion=CRITERIA["half spectral"]),
        row("gaussianity: gap is the cumulants', over training", place, late, criterion=criterion),
    ]
