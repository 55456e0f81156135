"""World models (7.4, 4.7): planes that turn, which a JEPA keeps whatever their angle and a contrast over time loses, and their rollouts."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.linear_models.contrastive.spectral import SpectralContrastive
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.masking.rollout import rotation_modes, rotation_views
from jepalign.measurements import Measurement

SHRINKAGE = 0.9
"""ρ of the plane whose thresholds are drawn over its angle."""

ANGLES = np.pi * np.array([0.08, 0.24, 0.4, 0.6, 0.76, 0.92])
NEAR, TIME, ALIVE = 0.1, 150.0, 0.02
"""Flows are computed this share below and above a threshold, for this time from W = I, and survive above this weight."""

ABSENT = 0.05
"""The weight decay of contrastive flows where every one is beyond the threshold."""

JEPA, TWIN = "JEPA", "contrastive"
SETTINGS = {"V = W": ("o", 2.6), "EMA target": ("s", 4.6), "actions given": ("D", 6.6)}
"""Markers of the measured settings, and their sizes: they meet in every point."""

ENCODERS = {JEPA: ("jepa", "o"), TWIN: ("spectral-contrastive", "D"), "untrained": ("no-predictor", "x")}
ROLLED = {
    "JEPA": ("JEPA", "jepa", "o", -0.17),
    "JEPA, predictor from the identity": ("JEPA from identity", "no-predictor", "s", 0.0),
    "contrastive twin": ("contrastive", "spectral-contrastive", "D", 0.17),
}
"""By the run in the measurement: name in print, colour, marker, and how far to the right, in steps, it is drawn."""


class WorldModel(FromMeasurements):
    """Which turning planes survive, in theory and in trained linear and deep encoders, and how far their rollouts hold.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "world-model"

    def compute(self) -> FigureData:
        """Evaluate the thresholds over the angle, solve flows on both sides of them, and read the measurement.

        Raises
        ------
        InputError
            If the measurement is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("world-model")
        series = [*thresholds(), *flows(), *planes(measured), *recovered(measured), *rollouts(measured)]
        return FigureData(tuple(series), summary(measured), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw thresholds and flows, surviving planes, deep encoders, and rollouts."""
        with style.sheet(venue, 3.9, axes) as page:
            (angle, rank), (deep, rollout) = page.subplots(2, 2)
            draw_angle(angle, data)
            draw_rank(rank, data)
            draw_deep(deep, data)
            draw_rollout(rollout, data)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        starts, samples = (f"${numbers[key]:.0f}$" for key in ("starts", "seeds"))
        jepa, twin = (f"${number(numbers[f'turning, {key}'], 2)}$" for key in (JEPA, TWIN))
        ends = ", ".join(f"${number(numbers[f'end, {key}'], 3)}$" for key in ROLLED)
        return (
            r"A JEPA keeps what turns, a contrast over time loses it. States turn in planes by $\theta$ a step and shrink by "
            r"$\rho$; the embedding of the next state is predicted, or contrasted. Top left: the weight decay below which a "
            rf"plane survives, $\rho = {number(SHRINKAGE, 1)}$; lines, proved: $\rho^2/4$ for a JEPA at every angle, "
            r"$\rho\cos\theta$ for $\frac{1}{4}$ of the spectral contrastive loss. Dots and crosses, computed: flows of the "
            rf"whole matrices that survive and that die, ${number(100 * NEAR, 2)}\%$ below and above the lines, and of the "
            r"contrastive loss beyond a right angle. Top right: dimensions that trained linear encoders of "
            rf"${numbers['planes']:.0f}$ planes keep, measured (open), with $V = W$, an EMA target and given actions; lines: "
            rf"proved. In ${numbers['wrong']:.0f}$ of ${numbers['cases']:.0f}$ cases the two differ, where a threshold is "
            rf"within ${number(100 * numbers['nearest'], 1)}\%$ of the decay. Bottom left: how well each plane is read from a "
            rf"tanh encoder of cubic readings, measured on held-out states, mean and range of {samples} seeds; planes beyond "
            rf"a right angle have a mean $R^2$ of {jepa} in a JEPA and of {twin} in its contrastive twin. "
            rf"${numbers['diverged']:.0f}$ trainings of ReLU encoders diverged and are not shown. Bottom right: the error of "
            rf"rollouts of four dimensions of unit variance, medians and ranges over {starts} starts, set beside one another; "
            r"lines: the formula, proved, for the trained encoders; open: measured. After "
            rf"${numbers['horizon']:.0f}$ steps the medians are {ends} for a JEPA, one whose predictor starts from the "
            r"identity, and the contrastive twin."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Four panels. The weight decay that a plane survives against its angle: flat for a JEPA, falling to zero at a right angle "
            "for a contrastive loss. The rank of trained linear encoders against weight decay, two staircases with measured markers on "
            "them. Held-out accuracy of five planes in deep encoders: high at every angle for a JEPA, none beyond a right angle for "
            "its twin. Rollout errors growing with the number of steps, alike for all three models at the end."
        )


def thresholds() -> list[Series]:
    """Return the weight decays below which a plane survives, over its angle."""
    angle = np.linspace(0, np.pi, 181)
    modes = rotation_modes(SHRINKAGE, angle)
    return [
        Series("angle", JEPA, Evidence.PROVED, angle, modes.threshold),
        Series("angle", TWIN, Evidence.PROVED, angle, np.maximum(modes.contrast, 0.0)),
    ]


def flows() -> list[Series]:
    """Return where flows of whole matrices survive and where they die, on both sides of the thresholds."""
    found: dict[str, list[tuple[float, float]]] = {
        f"{name} {end}": [] for name in (JEPA, TWIN) for end in ("kept", "lost")
    }
    for angle in ANGLES:
        views = rotation_views(SHRINKAGE, angle)
        modes = rotation_modes(SHRINKAGE, angle)
        for factor in (1 - NEAR, 1 + NEAR):
            decay = factor * float(modes.threshold)
            path = LinearJEPA(views, weight_decay=decay).solve(
                np.eye(2), views.cross / SHRINKAGE, [TIME], rtol=1e-7, atol=1e-9
            )
            found[f"{JEPA} {kept(path.encoder[-1])}"].append((angle, decay))
        contrast = float(modes.contrast)
        for decay in (contrast * (1 - NEAR), contrast * (1 + NEAR)) if contrast > 0 else (ABSENT,):
            # The loss is four times the one whose threshold is drawn; the flow is four times as fast.
            contrastive = SpectralContrastive(views, weight_decay=4 * decay)
            path = contrastive.solve(np.eye(2), [TIME / 4], rtol=1e-7, atol=1e-9)
            found[f"{TWIN} {kept(path.encoder[-1])}"].append((angle, decay))
    series: list[Series] = []
    for name, points in found.items():
        x, y = np.array(points).reshape(-1, 2).T
        series.append(Series("angle", name, Evidence.COMPUTED, x, y))
    return series


def kept(encoder: np.ndarray) -> str:
    """Return whether both dimensions of an encoder are kept or lost."""
    sizes = np.linalg.svd(encoder, compute_uv=False)
    return "kept" if sizes[-1] > ALIVE else "lost"


def planes(measured: Measurement) -> list[Series]:
    """Return the rank of linear encoders over weight decay, told for every decay and as measured."""
    arrays = measured.arrays
    decays = arrays["weight_decay"]
    low, high = decays.min() / 1.15, decays.max() * 1.15
    series: list[Series] = []
    for name, key in ((JEPA, "threshold"), (TWIN, "contrast")):
        steps = np.sort(arrays[key][(arrays[key] > low) & (arrays[key] < high)])
        above = 2.0 * (arrays[key][None, :] > np.append(low, steps)[:, None]).sum(1)
        x = np.concatenate(([low], np.repeat(steps, 2), [high]))
        series.append(Series("rank", f"{name}, told", Evidence.PROVED, x, np.repeat(above, 2)))
    for setting, rank in zip(arrays["setting"], arrays["rank"], strict=True):
        series.append(Series("rank", f"{JEPA}, {setting}", Evidence.MEASURED, decays, rank))
    series.append(Series("rank", TWIN, Evidence.MEASURED, decays, arrays["twin_rank"]))
    return series


def recovered(measured: Measurement) -> list[Series]:
    """Return held-out R² of every plane in deep encoders that did not diverge, mean and range over seeds."""
    arrays = measured.arrays
    series: list[Series] = []
    for index, name in enumerate(ENCODERS):
        runs = arrays["recovered"][tanh(measured), index]
        extent = {"low": runs.min(0), "high": runs.max(0)}
        series.append(Series("deep", name, Evidence.MEASURED, arrays["angle"], runs.mean(0), extent))
    return series


def tanh(measured: Measurement) -> int:
    """Return the index of the tanh encoder."""
    return [str(name).startswith("tanh") for name in measured.arrays["architecture"]].index(True)


def rollouts(measured: Measurement) -> list[Series]:
    """Return rollout errors over the number of steps, medians and ranges over starts, told and measured."""
    arrays = measured.arrays
    steps = np.arange(arrays["rollout"].shape[2], dtype=float)
    series: list[Series] = []
    for run, (name, _, _, shift) in zip(arrays["rolled"], ROLLED.values(), strict=True):
        which = list(arrays["rolled"]).index(run)
        told, seen = (arrays[key][which] for key in ("rollout_predicted", "rollout"))
        series.append(Series("rollout", f"{name}, told", Evidence.PROVED, steps, np.median(told, axis=0)))
        extent = {"low": seen.min(0), "high": seen.max(0), "steps": steps}
        series.append(Series("rollout", name, Evidence.MEASURED, steps + shift, np.median(seen, axis=0), extent))
    return series


def summary(measured: Measurement) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    wrong = np.vstack((arrays["rank"] != arrays["predicted"], (arrays["twin_rank"] != arrays["twin_predicted"])[None]))
    gaps = np.stack(
        [np.abs(arrays[key][:, None] / arrays["weight_decay"] - 1).min(0) for key in ("threshold", "contrast")]
    )
    gaps = np.vstack((np.tile(gaps[0], (len(arrays["rank"]), 1)), gaps[1:]))
    turning = np.cos(arrays["angle"]) < 0
    deep = arrays["recovered"]
    numbers = {
        "planes": float(len(arrays["angle"])),
        "cases": float(wrong.size),
        "wrong": float(wrong.sum()),
        "nearest": float(gaps[wrong].max()) if wrong.any() else 0.0,
        "seeds": float(deep.shape[2]),
        "diverged": float(np.isnan(deep).any(axis=3).sum()),
        "starts": float(arrays["rollout"].shape[1]),
        "horizon": float(arrays["rollout"].shape[2] - 1),
    }
    for index, name in enumerate((JEPA, TWIN)):
        numbers[f"turning, {name}"] = float(deep[tanh(measured), index][:, turning].mean())
    for which, run in enumerate(arrays["rolled"]):
        numbers[f"end, {run}"] = float(np.median(arrays["rollout"][which, :, -1]))
    return numbers


def draw_angle(axes: Axes, data: FigureData) -> None:
    """Draw the thresholds over the angle, and the flows on both sides of them."""
    axes.set(
        xlim=(0, np.pi),
        ylim=(0, 1.05),
        ylabel=r"weight decay $\eta$",
        xlabel=r"angle a step, $\theta$",
        yticks=(0, 0.5, 1),
    )
    right_angle(axes, 0.6)
    for name, role in ((JEPA, "jepa"), (TWIN, "spectral-contrastive")):
        plot(axes, data[f"angle/{name}"], role)
        plot(axes, data[f"angle/{name} kept"], role, linestyle="none", marker="o", markersize=3.0)
        plot(axes, data[f"angle/{name} lost"], role, linestyle="none", marker="x", markersize=3.5, clip_on=False)
    label = axes.xaxis.label.get_fontsize()
    axes.text(2.0, 0.28, r"JEPA, $\rho^2/4$", color=COLOURS["jepa"], size=label)
    axes.text(0.95, 0.72, r"contrastive, $\rho\cos\theta$", color=COLOURS["spectral-contrastive"], size=label)
    for text, angle, decay in (
        ("both", 0.5, 0.09),
        ("contrastive\nalone", 0.5, 0.42),
        ("JEPA alone", 2.36, 0.115),
        ("neither", 2.36, 0.55),
    ):
        axes.text(angle, decay, text, color=FAINT, ha="center", va="center")


def right_angle(axes: Axes, top: float = 1.0) -> None:
    """Mark the right angle on an axis of angles, up to a share ``top`` of its height, and label its ends."""
    axes.axvline(np.pi / 2, ymax=top, color=FAINT, lw=0.5, ls=(0, (1, 2)))
    axes.set_xticks((0, np.pi / 2, np.pi), ("0", r"$\pi/2$", r"$\pi$"))


def draw_rank(axes: Axes, data: FigureData) -> None:
    """Draw the two staircases of rank over weight decay, and the measured ranks."""
    axes.set(xscale="log", ylabel="rank", xlabel=r"weight decay $\eta$", yticks=(0, 2, 4, 6, 8, 10), ylim=(-0.6, 11))
    for name, role in ((JEPA, "jepa"), (TWIN, "spectral-contrastive")):
        plot(axes, data[f"rank/{name}, told"], role, linewidth=0.9)
    for setting, (marker, size) in SETTINGS.items():
        plot(axes, data[f"rank/{JEPA}, {setting}"], "jepa", marker=marker, markersize=size, label=f"JEPA, {setting}")
    plot(axes, data[f"rank/{TWIN}"], "spectral-contrastive", marker="^", markersize=4.0, label=TWIN)
    ends = data[f"rank/{JEPA}, told"].x
    axes.set(xlim=(ends[0], ends[-1]), xticks=(0.03, 0.1, 0.3))
    axes.set_xticklabels(("0.03", "0.1", "0.3"))
    axes.minorticks_off()
    axes.legend(loc="lower left", handletextpad=0.1, borderaxespad=0.0, labelspacing=0.35)


def draw_deep(axes: Axes, data: FigureData) -> None:
    """Draw how well each plane is read from deep encoders."""
    axes.set(
        xlim=(0, np.pi),
        ylim=(-0.12, 1.12),
        ylabel="held-out $R^2$ of a plane",
        xlabel=r"angle a step, $\theta$",
        yticks=(0, 0.5, 1),
    )
    right_angle(axes)
    axes.axhline(0, color=FAINT, lw=0.5)
    for name, (role, marker) in ENCODERS.items():
        plot(axes, data[f"deep/{name}"], role, marker=marker, markersize=4.0)
    for name, place, alignment in (
        (JEPA, (1.9, 1.03), "left"),
        (TWIN, (1.9, 0.08), "left"),
        ("untrained", (1.9, 0.5), "left"),
    ):
        axes.text(*place, name, color=COLOURS[ENCODERS[name][0]], ha=alignment)


def draw_rollout(axes: Axes, data: FigureData) -> None:
    """Draw rollout errors over the number of steps."""
    axes.set(xlabel="steps of the rollout", ylabel="mean square error", ylim=(0, 5.4), xlim=(0, 10.6))
    for name, role, marker, _ in ROLLED.values():
        plot(axes, data[f"rollout/{name}, told"], role, linewidth=0.9)
        plot(axes, data[f"rollout/{name}"], role, marker=marker, markersize=3.0, label=name)
    axes.legend(loc="upper left", handletextpad=0.1, borderaxespad=0.0, labelspacing=0.35)
