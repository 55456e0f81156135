"""What the figure of trajectories shows: closed forms of chapter 5, integrations of the same flows, and trained encoders."""

import numpy as np

from jepalign.figures.publication import Series
from jepalign.figures.style import Evidence
from jepalign.linear_models.deep import DeepEncoder
from jepalign.linear_models.trajectories import critical_time, deep_jepa, masked_autoencoder
from jepalign.linear_models.views import ViewPair
from jepalign.measurements import Measurement

JEPA, AUTOENCODER = "JEPA", "autoencoder"
ALIGNED = {"JEPA 1": (JEPA, 1), "JEPA 3": (JEPA, 3), "autoencoder 3": (AUTOENCODER, 3)}
"""Panels of aligned modes: objective and number of layers."""

DEEP = {"tanh": "tanh MLP", "relu": "ReLU MLP", "gelu": "GELU MLP"}
ROLES = {JEPA: "jepa", AUTOENCODER: "autoencoder"}
SHIFTS = {JEPA: 0.16, AUTOENCODER: 0.32}
"""How far to the right of their depth, in layers, orthogonal starts are drawn."""


def run_of(measured: Measurement, kind: str, depth: int) -> int:
    """Return the index of the aligned run of an objective and a depth."""
    arrays = measured.arrays
    return int(np.flatnonzero((arrays["run"] == kind) & (arrays["depth"] == depth))[0])


def levels(measured: Measurement, kind: str, depth: int) -> np.ndarray:
    """Return the weight of every mode at rest, (d,)."""
    rho = measured.arrays["cross"] / measured.arrays["variance"]
    return rho ** (depth if kind == JEPA else depth / (depth + 1))


def named(measured: Measurement, mode: int) -> str:
    """Return a mode's name in the data."""
    arrays = measured.arrays
    rho = arrays["cross"] / arrays["variance"]
    size = "larger" if rho[mode] == rho[arrays["cross"] == arrays["cross"][mode]].max() else "smaller"
    return f"cross {arrays['cross'][mode]:g}, {size} correlation"


def aligned(measured: Measurement) -> list[Series]:
    """Return strengths of aligned modes over time as shares of their rest: closed form, measured, and integrated at half time."""
    arrays = measured.arrays
    cross, variance = arrays["cross"], arrays["variance"]
    series: list[Series] = []
    for panel, (kind, depth) in ALIGNED.items():
        run = run_of(measured, kind, depth)
        time, start = arrays["time"][run], arrays["predicted"][run, 0]
        rest, form = levels(measured, kind, depth), deep_jepa if kind == JEPA else masked_autoencoder
        fine = np.linspace(0, time[-1], 301)
        told = form(fine[:, None], start, cross, variance, depth=depth) / rest
        when, reached = integrated(measured, kind, depth)
        for mode in range(len(cross)):
            name = named(measured, mode)
            series.append(Series(panel, f"{name}, closed form", Evidence.PROVED, fine, told[:, mode]))
            share = arrays["observed"][run, ::20, mode] / rest[mode]
            series.append(Series(panel, name, Evidence.MEASURED, time[::20], share))
            points = when[mode : mode + 1], reached[mode : mode + 1] / rest[mode]
            series.append(Series(panel, f"{name}, integrated", Evidence.COMPUTED, *points))
    return series


def integrated(measured: Measurement, kind: str, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return when each mode passes half of its rest by the closed form, and its weight then by integrating all layers, (d,) each."""
    arrays = measured.arrays
    cross, variance = arrays["cross"], arrays["variance"]
    start = arrays["predicted"][run_of(measured, kind, depth), 0]
    half = critical_time(cross, variance, start, depth=depth, objective="jepa" if kind == JEPA else "autoencoder")
    views = ViewPair.from_covariances(np.diag(variance), np.diag(variance), np.diag(cross))
    layers, order = np.diag(start ** (1 / depth)), np.argsort(half, kind="stable")
    path = DeepEncoder(views, "jepa" if kind == JEPA else "autoencoder").solve(
        [layers] * depth, layers, half[order], method="DOP853", rtol=1e-8, atol=1e-10
    )
    weights = np.empty(len(half))
    weights[order] = path.states["encoder"][np.arange(len(half)), order, order]
    return half, weights


def pair_ratios(measured: Measurement, half: np.ndarray) -> np.ndarray:
    """Return, for modes of one λ, the times to half (..., d) of the smaller ρ over those of the larger, (..., number of λ)."""
    cross, variance = measured.arrays["cross"], measured.arrays["variance"]
    found: list[np.ndarray] = []
    for value in np.unique(cross)[::-1]:
        low, high = np.flatnonzero(cross == value)[np.argsort(cross[cross == value] / variance[cross == value])]
        with np.errstate(invalid="ignore"):
            found.append(half[..., low] / half[..., high])
    return np.stack(found, axis=-1)


def order(measured: Measurement) -> list[Series]:
    """Return over depth how much later the mode of smaller ρ passes its half: by closed form, aligned, and from orthogonal starts.

    Means over λ with ranges over λ and, from orthogonal starts, seeds; where a mode does not come to its half there is no ratio.
    """
    arrays = measured.arrays
    series: list[Series] = []
    for kind in (JEPA, AUTOENCODER):
        depths = np.unique(arrays["depth"][arrays["run"] == kind])
        runs = [run_of(measured, kind, int(depth)) for depth in depths]
        objective = "jepa" if kind == JEPA else "autoencoder"
        told = [
            critical_time(
                arrays["cross"], arrays["variance"], arrays["predicted"][run, 0], depth=int(depth), objective=objective
            )
            for run, depth in zip(runs, depths, strict=True)
        ]
        exact = pair_ratios(measured, np.array(told))
        series.append(Series("order", f"{kind}, exact", Evidence.PROVED, depths, exact.mean(1)))
        series.append(spread(f"{kind}, aligned", depths, list(pair_ratios(measured, arrays["half"][runs])), 0.0))
        which = np.flatnonzero(arrays["order_objective"] == kind)
        seen = [finite(pair_ratios(measured, arrays["order_half"][run])) for run in which]
        series.append(spread(f"{kind}, orthogonal starts", arrays["order_depth"][which], seen, SHIFTS[kind]))
    return series


def finite(ratios: np.ndarray) -> np.ndarray:
    """Return the ratios of which both times are finite."""
    return ratios[np.isfinite(ratios) & (ratios > 0)]


def spread(name: str, depths: np.ndarray, ratios: list[np.ndarray], shift: float) -> Series:
    """Return means and ranges of the ratios of every depth, drawn ``shift`` to the right."""
    low, mean, high = (np.array([of(part) for part in ratios]) for of in (np.min, np.mean, np.max))
    return Series("order", name, Evidence.MEASURED, depths + shift, mean, {"low": low, "high": high, "depth": depths})


def random_starts(measured: Measurement) -> list[Series]:
    """Return tr Φ of one-layer JEPAs from random starts over time, means over starts: closed forms, whole flow, and measured with ranges.

    Each start was followed for a time of its own; between records there is a straight line.
    """
    arrays = measured.arrays
    which = 0  # JEPA; the other is the spectral contrastive loss
    spans = arrays["random_time"][which]
    time = np.linspace(0, spans[:, -1].min(), 241)

    def total(key: str) -> np.ndarray:
        sums = np.square(arrays[f"random_{key}"][which]) @ arrays["variance"]
        return np.array([np.interp(time, own, part) for own, part in zip(spans, sums, strict=True)])

    seen = total("observed")[:, ::20]
    return [
        Series("random", "closed forms", Evidence.PROVED, time, total("predicted").mean(0)),
        Series("random", "whole flow", Evidence.COMPUTED, time, total("exact").mean(0)),
        Series(
            "random", "measured", Evidence.MEASURED, time[::20], seen.mean(0), {"low": seen.min(0), "high": seen.max(0)}
        ),
    ]


def deep(measured: Measurement) -> list[Series]:
    """Return tr Φ of deep encoders over time: closed forms and flow on the features at the start, and measured."""
    arrays = measured.arrays
    series: list[Series] = []
    for panel in DEEP:
        run = [str(name).startswith(panel) for name in arrays["architecture"]].index(True)
        time = arrays["deep_time"][run]
        series += [
            Series(panel, "closed forms", Evidence.PROVED, time, arrays["deep_closed"][run]),
            Series(panel, "whole flow", Evidence.COMPUTED, time, arrays["deep_frozen"][run]),
            Series(panel, "measured", Evidence.MEASURED, time[::20], arrays["deep_observed"][run, ::20]),
        ]
    return series


def summary(measured: Measurement, series: list[Series]) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    by_run = zip(arrays["run"], arrays["depth"], arrays["observed"], arrays["predicted"], strict=True)
    miss = [
        float((np.abs(observed - predicted) / levels(measured, str(kind), int(depth))).max())
        for kind, depth, observed, predicted in by_run
        if kind in (JEPA, AUTOENCODER)
    ]
    half = np.array([float(part.y[0]) for part in series if part.name.endswith("integrated")])
    numbers = {
        "miss": max(miss),
        "integrated": float(np.abs(half / 0.5 - 1).max()),
        "starts": float(arrays["order_half"].shape[1]),
        "unlearnt": float(np.isinf(arrays["order_half"]).sum()),
        "random starts": float(arrays["random_time"].shape[1]),
    }
    rho = arrays["cross"] / arrays["variance"]
    numbers |= {"larger": float(rho.max()), "smaller": float(rho.min())}
    exact, observed = (arrays[f"random_{key}"][0] for key in ("exact", "observed"))
    rest = np.linalg.norm(levels(measured, JEPA, 1))
    numbers["flow"] = float((np.linalg.norm(observed - exact, axis=2) / rest).max())
    for kind in (JEPA, AUTOENCODER):
        numbers[f"tau, {kind}"] = float(arrays["order_tau"][arrays["order_objective"] == kind].min())
    for panel in DEEP:
        run = [str(name).startswith(panel) for name in arrays["architecture"]].index(True)
        seen = arrays["deep_observed"][run]
        numbers[f"{panel}, drift"] = float(arrays["feature_drift"][run].max())
        for key in ("closed", "frozen"):
            off = np.abs(seen - arrays[f"deep_{key}"][run]).mean() / seen.max()
            numbers[f"{panel}, {key}"] = float(off)
    return numbers
