"""Rows of the experiment on I-JEPA and C-JEPA: the power identity, what was learnt, surviving dimensions, where the explicit term helps."""

from collections.abc import Mapping

import numpy as np

from jepalign.simulations.results import REFUSAL, REFUSED, Row, Series, row

Arrays = Mapping[str, np.ndarray]
# Of what is added up, in float64.
ROUNDING = 1e-10
# Share of the dimensions by which a count may be wrong, and beyond which a loss is one that must be repaired.
SHARE = 1 / 8
# Accuracy below which a difference is none, whatever its error.
POINT = 0.01
MISSED = "a false version put to the same test must miss its bound; error is in units of the bound over 1000"
CRITERIA = {
    "power": f"in every record |observed − predicted| ≤ {ROUNDING:g} of the squares added up; error is the worst ratio",
    "power control": REFUSED,
    "learnt": (
        "the probe's mean error rate over seeds plus two standard errors of the difference is at most that of the baseline;"
        " error is their ratio"
    ),
    "dimensions": (
        f"mean over seeds of |predicted − kept singular values of the last layer| ≤ {SHARE:g} of its width, predicted at half"
        " of the training; error is the ratio"
    ),
    "needed": (
        f"where without the explicit term more than {SHARE:g} of the width is predicted lost, the encoder trained with it has a mean"
        " error rate that, plus two standard errors of the difference, is at most that without; error is their ratio"
    ),
    "only there": (
        f"elsewhere |difference of mean accuracies| ≤ {POINT:g} or two standard errors of it, if more; error is the ratio"
    ),
    "own coordinate": (
        "mean over seeds of the coordinates that share the first principal direction of the embedding, 1/Σv⁴, ≤ 2; error is"
        " the ratio"
    ),
    "rank": (
        "mean over seeds of the embedding's effective rank at the start, over that of its lowest until half of the training, ≤ 2;"
        " error is the ratio over 2"
    ),
    "control": MISSED,
}


def i_jepa_rows(name: str, arrays: Arrays) -> list[Row]:
    """Return the rows of :func:`jepalign.simulations.i_jepa.i_jepa` from its arrays."""
    rows: list[Row] = []
    for variant, label in ((0, name), (1, f"{name}; targets normalised")):
        chosen = arrays["layer_norm"] == variant
        part = {key: values[chosen] if values.shape[:1] == chosen.shape else values for key, values in arrays.items()}
        rows += [*power_rows(label, part), *learnt_rows(label, part)]
        # The theory's rows are without layer norm: with it, its prediction is put to the same test as a variant.
        for decay in np.unique(part["weight_decay"]):
            rows += decay_rows(f"{label}; weight decay {decay:g}", part, decay)
    return rows


def power_rows(label: str, arrays: Arrays) -> list[Row]:
    """Return the identity 2.4 in every record of every run, and a control."""
    observed, predicted = arrays["observed"], arrays["predicted"]
    tolerance = ROUNDING * arrays["size"]

    def held(expected: np.ndarray) -> Series:
        return Series(expected, observed, np.abs(observed - expected) / tolerance)

    return [
        row("i-jepa: implicit power", label, held(predicted), criterion=CRITERIA["power"]),
        row(
            "i-jepa: control, implicit power with alignment counted twice",
            label,
            held(predicted + arrays["alignment"]),
            criterion=REFUSED,
            at_least=REFUSAL,
        ),
    ]


def learnt_rows(label: str, arrays: Arrays) -> list[Row]:
    """Return what the encoders under the weak decay are worth beside a random one, as many principal components, and raw pixels."""
    weak = arrays["weight_decay"] == arrays["weight_decay"].min()
    rows: list[Row] = []
    for objective in np.unique(arrays["objective"]):
        accuracy = arrays["accuracy"][weak & (arrays["objective"] == objective)]
        for baseline, key in (
            ("a random encoder", "random"),
            ("as many principal components", "principal"),
            ("raw pixels", "pixels"),
        ):
            rows.append(
                row(
                    f"i-jepa: {objective} is worth more than {baseline}",
                    label,
                    better(accuracy, np.broadcast_to(arrays[key], accuracy.shape)),
                    criterion=CRITERIA["learnt"],
                )
            )
    return rows


def decay_rows(label: str, arrays: Arrays, decay: float) -> list[Row]:
    """Return, for one weight decay, the surviving dimensions with and without the explicit term, and whether it helps."""
    chosen = arrays["weight_decay"] == decay
    runs = {name: chosen & (arrays["objective"] == name) for name in ("I-JEPA", "C-JEPA")}
    half, width = arrays["step"].size // 2, arrays["singular"].shape[1]
    bound = SHARE * width
    kept = {name: arrays["kept"][which] for name, which in runs.items()}
    rows: list[Row] = []
    for name, which in runs.items():
        predicted = arrays[f"predicted_{name[0]}"][which, half]
        off = np.abs(predicted - kept[name]).mean() / bound
        series = one(predicted.mean(), kept[name].mean(), off)
        rows.append(row(f"i-jepa: surviving dimensions, {name}", label, series, criterion=CRITERIA["dimensions"]))
        # Frozen features are what the count of the last layer supposes; a rank lost in them it cannot tell.
        rank = arrays["training_effective_rank"][which, : half + 1]
        start, lowest = rank[:, 0].mean(), rank.min(1).mean()
        title = f"i-jepa: assumption, features that stay: no effective rank is lost in them, {name}"
        rows.append(row(title, label, one(start, lowest, start / lowest / 2), criterion=CRITERIA["rank"]))
    held = arrays["predicted_held"][runs["C-JEPA"], half]
    off = np.abs(held - kept["C-JEPA"]).mean() / bound
    series = one(held.mean(), kept["C-JEPA"].mean(), off)
    title = "i-jepa: surviving dimensions, C-JEPA, the hinge as measured variances hold it"
    rows.append(row(title, label, series, criterion=CRITERIA["dimensions"]))
    spread = arrays["participation"][runs["C-JEPA"]].mean()
    title = "i-jepa: assumption, a mode has a coordinate of its own, C-JEPA"
    rows.append(row(title, label, one(1.0, spread, spread / 2), criterion=CRITERIA["own coordinate"]))
    lost = width - arrays["predicted_I"][runs["I-JEPA"], half].mean()
    needed = bool(lost > bound)
    if needed:
        false = one(width, kept["I-JEPA"].mean(), REFUSAL * (width - kept["I-JEPA"]).mean() / bound)
        title = "i-jepa: control, no dimension is lost, I-JEPA"
        rows.append(row(title, label, false, criterion=CRITERIA["control"], at_least=REFUSAL))
    for key, probe in (("accuracy", "linear probe"), ("noisy_accuracy", "linear probe under noise")):
        rows += helping_rows(f"{label}; {probe}", needed, *(arrays[key][runs[name]] for name in ("C-JEPA", "I-JEPA")))
    return rows


def helping_rows(label: str, needed: bool, explicit: np.ndarray, plain: np.ndarray) -> list[Row]:
    """Return whether the explicit term helps if it is needed, or else changes nothing, and the opposite as a control; accuracies (S,)."""
    claims = {
        "the explicit term helps, as it must": better(explicit, plain),
        "the explicit term changes nothing, as none is needed": same(explicit, plain),
    }
    (claim, series), (other, false) = list(claims.items())[:: 1 if needed else -1]
    criterion = CRITERIA["needed" if needed else "only there"]
    refused = false._replace(error=REFUSAL * false.error)
    control = f"i-jepa: control, {other.split(',')[0]}"
    return [
        row(f"i-jepa: {claim}", label, series, criterion=criterion),
        row(control, label, refused, criterion=CRITERIA["control"], at_least=REFUSAL),
    ]


def better(accuracy: np.ndarray, baseline: np.ndarray) -> Series:
    """Return one record whose error is at most 1 iff ``accuracy``, (S,), is above ``baseline``, (S,), by two standard errors."""
    rate = 1 - accuracy.mean() + 2 * standard_error(accuracy - baseline)
    return one(baseline.mean(), accuracy.mean(), rate / (1 - baseline.mean()))


def same(accuracy: np.ndarray, baseline: np.ndarray) -> Series:
    """Return one record whose error is at most 1 iff ``accuracy`` and ``baseline`` differ by at most a point or two standard errors."""
    bound = max(POINT, 2 * standard_error(accuracy - baseline))
    return one(baseline.mean(), accuracy.mean(), abs((accuracy - baseline).mean()) / bound)


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean over seeds."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def one(predicted: float, observed: float, error: float) -> Series:
    """Return a series of one record."""
    return Series(*(np.array([value]) for value in (predicted, observed, error)))
