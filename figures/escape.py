"""Times to leave collapse (4.5), log–log: ~1/ε for a balanced JEPA, ~log 1/ε for a contrastive loss, linear and deep."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, Evidence
from jepalign.measurements import Measurement

# By the kind of start in the measurement: name in print, colour, marker.
KINDS = {
    "JEPA, balanced": ("JEPA, balanced", "jepa", "o"),
    "JEPA, default predictor": ("JEPA, random", "repulsion", "s"),
    "spectral contrastive": ("contrastive", "spectral-contrastive", "D"),
}
PANELS = {"linear": "linear encoder", "tanh": "tanh MLP", "relu": "ReLU MLP"}
ALIGNED = "aligned"


class Escape(FromMeasurements):
    """Escape times of aligned modes against their closed forms, and of linear and deep encoders against frozen features.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "escape"

    def compute(self) -> FigureData:
        """Read the measurement.

        Raises
        ------
        InputError
            If it is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("escape")
        return FigureData(tuple(series_of(measured)), summary(measured), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw aligned modes and three encoders side by side on the same logarithmic axes."""
        with style.sheet(venue, 2.3, axes) as page:
            panels = [ALIGNED, *PANELS]
            grid = page.add_gridspec(1, len(panels))
            first: Axes | None = None
            for column, panel in enumerate(panels):
                axes = page.add_subplot(grid[0, column], sharey=first)
                draw_panel(axes, data, panel)
                if first is None:
                    first = axes
                    axes.set_ylabel("time to escape")
                else:
                    axes.set_ylabel(" ")
                    axes.tick_params(labelleft=False)
                if panel == panels[-1]:
                    name_curves(axes)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        balanced, random, contrastive = (f"${number(numbers[f'slope, {kind}'], 2)}$" for kind in KINDS)
        return (
            r"The time to leave collapse, in units of gradient flow, against the size $\varepsilon$ of the start "
            r"relative to the weight at rest. Left: the leading mode of a linear encoder in aligned modes; lines: the closed "
            rf"forms, proved; markers: measured, at most ${number(100 * numbers['closed'], 2)}\%$ away in any mode. Others: "
            r"linear, tanh and ReLU encoders of digits from random starts; markers: measured, means over seeds with "
            r"the least and the greatest; dashed: computed, by the flow of the last layer on the features at the start. "
            r"A balanced JEPA takes $\sim 1/\varepsilon$ "
            rf"(slope of the logarithms {balanced}, mean of the three encoders), a contrastive loss "
            rf"$\sim \log 1/\varepsilon$ (slope {contrastive}), and so does a JEPA whose predictor starts at random (slope "
            rf"{random}), which leads ${numbers['stay']:.0f}$ of ${numbers['starts']:.0f}$ starts to a weaker mode, where they "
            r"rest; these are left out."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Four panels on logarithmic axes: time to escape against the size of the start. In each the balanced JEPA rises "
            "along a line of slope minus one as the start shrinks, while the contrastive loss and the JEPA with a random "
            "predictor hardly rise; measured markers lie on the predicted lines."
        )


def series_of(measured: Measurement) -> list[Series]:
    """Return what is predicted and measured in every panel."""
    arrays = measured.arrays
    start = arrays["start"]
    found: list[Series] = []
    for index, kind in enumerate(("JEPA, balanced", "spectral contrastive")):
        name = KINDS[kind][0]
        told, seen = arrays["mode_predicted"][index, :, 0], arrays["mode_time"][index, :, 0]
        found.append(Series(ALIGNED, f"{name}, predicted", Evidence.PROVED, start, told))
        found.append(Series(ALIGNED, name, Evidence.MEASURED, start, seen))
    for panel in PANELS:
        for kind, (name, _, _) in KINDS.items():
            run = int(
                np.flatnonzero(
                    (arrays["kind"] == kind) & np.array([str(a).startswith(panel) for a in arrays["architecture"]])
                )[0]
            )
            through = arrays["escaped"][run] == 1
            told, seen = (arrays[key][run][:, through].mean(1) for key in ("forecast", "time"))
            low, high = (of(arrays["time"][run][:, through], axis=1) for of in (np.min, np.max))
            found.append(Series(panel, f"{name}, predicted", Evidence.COMPUTED, start, told))
            found.append(Series(panel, name, Evidence.MEASURED, start, seen, {"low": low, "high": high}))
    return found


def summary(measured: Measurement) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    numbers = {f"slope, {kind}": float(arrays["slope"][arrays["kind"] == kind].mean()) for kind in KINDS}
    random = arrays["kind"] == "JEPA, default predictor"
    return numbers | {
        "closed": float(np.abs(arrays["mode_time"] / arrays["mode_predicted"] - 1).max()),
        "stay": float((arrays["escaped"][random] == 0).sum()),
        "starts": float(arrays["escaped"][random].size),
    }


def draw_panel(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw one panel on logarithmic axes, the start shrinking to the right."""
    axes.set(xscale="log", yscale="log", xlabel=r"start $\varepsilon$")
    axes.set_title("aligned modes" if panel == ALIGNED else PANELS[panel])
    for name, role, marker in KINDS.values():
        for series in data.panel(panel):
            if series.name == f"{name}, predicted":
                plot(axes, series, role, linewidth=0.9)
            elif series.name == name:
                plot(axes, series, role, marker=marker)
    axes.set(xlim=(0.2, 5e-4), ylim=(0.1, 3e4), xticks=(1e-1, 1e-2, 1e-3))
    axes.minorticks_off()
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())


def name_curves(axes: Axes) -> None:
    """Write above the curves of a panel what they are, each in its colour."""
    for kind, place in zip(KINDS, (0.98, 0.89, 0.80), strict=True):
        name, role, _ = KINDS[kind]
        axes.text(0.04, place, name, color=COLOURS[role], transform=axes.transAxes, va="top")
