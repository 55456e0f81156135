"""Hybrids (4.6): the weights of explicit uniformity that repel collapse and that rescue a mode, and what published ones do."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.hybrid_series import (
    DEEP,
    KAPPA,
    NARROW,
    TERMS,
    WIDE,
    WINDOW,
    WITHIN,
    deep,
    published,
    rests,
    summary,
    thresholds,
)
from jepalign.figures.publication import FigureData, FromMeasurements, number, plot
from jepalign.figures.style import COLOURS, FAINT

STRENGTH = r"weight $\gamma\sigma/\eta$"


class Hybrids(FromMeasurements):
    """Thresholds over κ, rests over the weight of the term, collapsed deep encoders, and published weights.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "hybrids"

    def compute(self) -> FigureData:
        """Evaluate thresholds and rests, and read the measurement.

        Raises
        ------
        InputError
            If the measurement is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("hybrid")
        series = [*thresholds(measured), *rests(measured), *deep(measured), *published(measured)]
        return FigureData(tuple(series), summary(measured), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the four panels."""
        with style.sheet(venue, 4.4, axes) as page:
            (over_kappa, over_weight), (encoders, weights) = page.subplots(2, 2)
            draw_thresholds(over_kappa, data)
            draw_rests(over_weight, data)
            draw_deep(encoders, data)
            draw_published(weights, data)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        low, high = (number(value, 1) for value in WINDOW)
        held, known, none = (f"${numbers[key]:.0f}$" for key in ("deep within", "deep known within", "deep none"))
        return (
            r"What an explicit term $\gamma U$ adds to a JEPA's mode. Top left: the weight beyond which collapse is unstable "
            r"(repel) and the weight beyond which no small state is left (rescue), against $\kappa = \lambda^2/(\eta\sigma) = "
            rf"4\eta_c/\eta$, at $\eta/\alpha = {number(numbers['decay'], 1)}$; beyond $\kappa = 4$ a JEPA alone can keep the "
            r"mode. Solid: proved, repel thresholds and log-det's rescue threshold; dashed: computed, the hinge's rescue "
            rf"threshold at $\varepsilon = {NARROW:g}$: between it and the repel one the mode is stuck small. Log-det repels at "
            rf"every weight; for the spectral term, SIGReg and the hinge at $\varepsilon = {WIDE:g}$ both thresholds are one. "
            r"Markers: measured on trained linear encoders, circles repel, triangles rescue, bars the neighbouring weights of "
            rf"the sweep. Top right: where a mode that starts near collapse rests, $\kappa = {number(numbers['kappa'], 3)}$; "
            r"lines: proved, thin where unstable; markers: measured, away from thresholds at most "
            rf"${number(100 * numbers['rest'], 1)}\%$ from the line. Bottom left: repel thresholds of collapsed tanh, ReLU and "
            r"GELU encoders of digits, measured over predicted, in three directions of each seed; open: predicted by the "
            rf"features' moment, crosses: with their mean and motion known. Within ${number(100 * WITHIN, 2)}\%$ are {held} and "
            rf"{known} of ${numbers['deep']:.0f}$; {none} of the former, all SIGReg's, are beyond every weight tried and not "
            r"shown. Bottom right: the published weights over the repel threshold (solid) and over the rescue threshold "
            rf"(dashed), for $\sigma = {number(numbers['variance'], 2)}$: C-JEPA's ${number(numbers['C-JEPA'], 2)}$ of the hinge "
            rf"and LeJEPA's ${number(numbers['LeJEPA'], 2)}$ of SIGReg, without the batch size, beside a predictor that LeJEPA "
            r"does not have. Measured, three modes: circles grew, crosses did not. Tinted: C-JEPA's weight decays, "
            rf"${low}$ to ${high}$, where its term is ${number(numbers['C-JEPA, high'], 2)}$ to "
            rf"${number(numbers['C-JEPA, low'], 2)}$ times what repels."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Four panels on logarithmic axes. Thresholds of four explicit terms over kappa, flat lines for repelling collapse and "
            "falling curves for rescuing a mode, with measured markers on them. Rests of a mode over the weight of the term: "
            "hinge and log-det leave it small before it jumps, the others let it jump at once. Measured over predicted "
            "thresholds of deep encoders, near one but for SIGReg. Published weights over thresholds, falling with weight decay "
            "and crossing one."
        )


def draw_thresholds(axes: Axes, data: FigureData) -> None:
    """Draw both thresholds of every term over κ."""
    axes.set(
        xscale="log", yscale="log", xlim=KAPPA, ylim=(1.5e-4, 4), ylabel=STRENGTH, xlabel=r"$\kappa = 4\eta_c/\eta$"
    )
    axes.minorticks_off()
    label = axes.xaxis.label.get_fontsize()
    axes.tick_params(labelsize=label)
    for series in data.panel("thresholds"):
        role = TERMS[series.name.partition(",")[0]].role
        if series.name.endswith("measured repel"):
            plot(axes, series, role, marker="o", markersize=3.0)
        elif series.name.endswith("measured rescue"):
            plot(axes, series, role, marker="^", markersize=4.5)
        else:
            plot(axes, series, role, linewidth=1.0)
    axes.set_xticks((1, 4, 10, 100), ("1", "4", "10", "100"))
    for text, place, role in (
        ("spectral", (1.15, 1.25), "spectral-contrastive"),
        ("SIGReg", (1.15, 0.38), "sigreg"),
        (rf"hinge, $\varepsilon={WIDE:g}$", (1.15, 0.12), "vicreg"),
        (rf"hinge, $\varepsilon={NARROW:g}$", (24, 0.0052), "vicreg"),
        ("log-det, rescue", (1.15, 5.5e-4), "log-det"),
    ):
        axes.text(*place, text, color=COLOURS[role], size=label if "$" in text else None)


def draw_rests(axes: Axes, data: FigureData) -> None:
    """Draw where a mode that starts near collapse rests, over the weight of every term."""
    axes.set(xscale="log", xlabel=STRENGTH, ylabel="encoder weight at rest, $w$", xlim=(1e-4, 4))
    axes.set_yscale("symlog", linthresh=1e-3, linscale=0.6)
    axes.set(ylim=(-4e-4, 2.5), yticks=(0, 1e-3, 1e-2, 1e-1, 1))
    axes.minorticks_off()
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())
    for series in data.panel("rests"):
        term = TERMS[series.name.partition(",")[0]]
        if series.name.endswith("measured"):
            plot(axes, series, term.role, marker=term.marker, markersize=3.0, label=term.title)
        else:
            plot(axes, series, term.role, linewidth=0.5 if "unstable" in series.name else 1.2)
    below = (0.0, 0.03)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=below,
        handlelength=1.0,
        handletextpad=0.1,
        borderaxespad=0.0,
        labelspacing=0.25,
    )


def draw_deep(axes: Axes, data: FigureData) -> None:
    """Draw measured over predicted repel thresholds of collapsed deep encoders."""
    axes.set(
        xscale="log",
        xlabel=r"predicted repel weight $\gamma$",
        ylabel="measured / predicted",
        ylim=(0.8, 3.0),
        xlim=(0.7, 900),
    )
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=axes.xaxis.label.get_fontsize())
    plot(axes, data["deep/as predicted"], "jepa", linewidth=0.8)
    for term in DEEP:
        role, marker = TERMS[term].role, TERMS[term].marker
        plot(axes, data[f"deep/{term}"], role, marker=marker, markersize=3.0, label=term.removeprefix("variance "))
        plot(axes, data[f"deep/{term}, mean and motion known"], role, marker="x", markersize=3.0)
    axes.legend(loc="upper left", handlelength=1.0, handletextpad=0.1, borderaxespad=0.1, labelspacing=0.25)


def draw_published(axes: Axes, data: FigureData) -> None:
    """Draw the published weights over both thresholds, over weight decay."""
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"weight decay $\eta$",
        ylabel=r"published $\gamma$ / threshold",
        xlim=(5e-4, 8),
    )
    axes.set(ylim=(0.01, 2e4))
    axes.minorticks_off()
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())
    axes.axvspan(*WINDOW, color=style.REPULSION_TINT, lw=0)
    axes.axhline(1, color=FAINT, lw=0.6)
    for name, role in (("C-JEPA", "vicreg"), ("LeJEPA", "sigreg")):
        for series in data.panel("published"):
            if series.name in (f"{name}, repel", f"{name}, rescue"):
                plot(axes, series, role, linewidth=1.0)
        plot(axes, data[f"published/{name}, grew"], role, marker="o", markersize=3.0)
        plot(axes, data[f"published/{name}, did not"], role, marker="x", markersize=3.0)
    axes.text(1.5e-2, 900, "C-JEPA", color=COLOURS["vicreg"])
    axes.text(8e-4, 12, "LeJEPA", color=COLOURS["sigreg"])
