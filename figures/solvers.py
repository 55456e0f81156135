"""What the closed forms cost beside integrators: work against precision, and seconds by size (chapter 5)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import FAINT, Evidence
from jepalign.measurements import Measurement

COMMAND = "make bench"
CLOSED = "closed form"
MARKERS = {
    CLOSED: "*",
    "DOP853": "o",
    "LSODA": "s",
    "BDF": "v",
    "Radau": "^",
    "diffrax Tsit5": "x",
    "diffrax Dopri8": "+",
}
SIZES = {"modes": (r"modes $\times$ times", "modes at 200 times"), "gram": ("dimension $d$", "Gram matrix at one time")}
"""Axis label and title by task."""

WORST = 1e2
"""Where an integration without a finite or smaller error is drawn."""


class Solvers(FromMeasurements):
    """True error against seconds of closed forms and integrators, and how seconds grow with the size of a problem.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "solvers"

    def compute(self) -> FigureData:
        """Read the measurement.

        Raises
        ------
        InputError
            If it is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("solvers", command=COMMAND)
        series = (*work(measured), *growth(measured))
        return FigureData(series, summary(measured), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the three problems above, the two tasks that grow below."""
        with style.sheet(venue, 3.9, axes) as page:
            problems = list(dict.fromkeys(series.panel for series in data.series if series.panel not in SIZES))
            grid = page.add_gridspec(2, len(problems), height_ratios=(1.15, 1))
            first: Axes | None = None
            for column, problem in enumerate(problems):
                axes = page.add_subplot(grid[0, column], sharey=first)
                draw_work(axes, data, problem)
                if first is None:
                    first = axes
                    axes.set_ylabel("largest relative error")
                else:
                    axes.set_ylabel(" ")
                    axes.tick_params(labelleft=False)
            for column, task in enumerate(SIZES):
                draw_growth(page.add_subplot(grid[1, column]), data, task)
            lines = {line.get_label(): line for axes in page.axes for line in axes.lines}
            named = [lines[name] for name in MARKERS if name in lines]
            legend = page.axes[-1].legend(
                handles=named, loc="center left", bbox_to_anchor=(1.35, 0.45), handletextpad=0.2
            )
            legend.set_in_layout(False)  # it stands in the free place of the grid
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        problems = [key.removeprefix("ratio, ") for key in numbers if key.startswith("ratio, ")]
        ratios = ", ".join(f"${number(numbers[f'ratio, {problem}'], 2)}$ ({problem})" for problem in problems)
        return (
            r"What the closed forms cost. Above: the largest relative error over all modes and times against seconds of one "
            r"processor, of every setting that was tried, for modes of like $\lambda$ at many times and at one, and for modes over "
            r"decades of $\lambda$. Stars: the closed forms, proved, their error computed against fifty "
            r"digits at a sample; other markers: integrators of the same flow at falling tolerances, all modes in one call, "
            r"their error computed against the closed form. Seconds are measured. At the line, "
            rf"$10^{{{np.log10(numbers['accuracy']):.0f}}}$, the quickest integrator that is right takes this many times the "
            rf"seconds of the closed form: {ratios}; of ${numbers['integrators']:.0f}$ integrators on a problem "
            rf"${numbers['short']:.0f}$ did not get there in the time allowed. Below: seconds by size, each integrator at "
            r"its cheapest tolerance that is right at the line, of balanced modes and of the Gram matrix of spectral "
            rf"contrast. The closed forms grow with exponents ${number(numbers['exponent, modes'], 2)}$ and "
            rf"${number(numbers['exponent, gram'], 2)}$. Of the ${numbers['bounds']:.0f}$ bounds set for speed, accuracy and "
            rf"growth ${numbers['held']:.0f}$ hold."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Three panels of error against seconds on logarithmic axes: a star for the closed form lies at rounding error "
            "and to the left of all integrators, whose error falls as they take longer. Two panels of seconds against size: "
            "the closed form rises in proportion to modes times times and lies below the integrators throughout, also "
            "for the Gram matrix."
        )


def work(measured: Measurement) -> list[Series]:
    """Return error against seconds by problem and method, integrations that failed at the top."""
    arrays = measured.arrays
    found: list[Series] = []
    for problem in dict.fromkeys(arrays["work_problem"].tolist()):
        for method in dict.fromkeys(arrays["work_method"][arrays["work_problem"] == problem].tolist()):
            at = (arrays["work_problem"] == problem) & (arrays["work_method"] == method)
            error, seconds = arrays["work_error"][at], arrays["work_seconds"][at]
            extra = {"error": error, "setting": arrays["work_setting"][at]}
            found.append(Series(problem, method, Evidence.MEASURED, seconds, np.minimum(error, WORST), extra))
    return found


def growth(measured: Measurement) -> list[Series]:
    """Return seconds against size by task and solver."""
    arrays = measured.arrays
    found: list[Series] = []
    for task in SIZES:
        for solver in dict.fromkeys(arrays["size_solver"][arrays["size_task"] == task].tolist()):
            at = (arrays["size_task"] == task) & (arrays["size_solver"] == solver)
            found.append(Series(task, solver, Evidence.MEASURED, arrays["size"][at], arrays["size_seconds"][at]))
    return found


def summary(measured: Measurement) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    accuracy = float(arrays["accuracy"])
    numbers = {"accuracy": accuracy, "integrators": 0.0, "short": 0.0}
    for problem in dict.fromkeys(arrays["work_problem"].tolist()):
        here = arrays["work_problem"] == problem
        closed = here & (arrays["work_method"] == CLOSED)
        right = here & (arrays["work_method"] != CLOSED) & (arrays["work_error"] <= accuracy)
        numbers[f"ratio, {problem}"] = float(arrays["work_seconds"][right].min() / arrays["work_seconds"][closed].min())
        tried, there = (set(arrays["work_method"][chosen].tolist()) for chosen in (here & ~closed, right))
        numbers["integrators"] += len(tried)
        numbers["short"] += len(tried - there)
    for task in SIZES:
        at = (arrays["size_task"] == task) & (arrays["size_solver"] == CLOSED)
        size, seconds = np.log(arrays["size"][at]), np.log(arrays["size_seconds"][at])
        numbers[f"exponent, {task}"] = float(np.polyfit(size, seconds, 1)[0])
    held = sum(row["verdict"] == "holds" for row in measured.rows)
    return numbers | {"bounds": float(len(measured.rows)), "held": float(held)}


def draw_points(axes: Axes, series: Series) -> None:
    """Draw what one solver took."""
    ours = series.name == CLOSED
    size = 7.0 if ours else 3.5
    role = "jepa" if ours else "no-predictor"
    fill = style.INK if ours else "none"
    marker = MARKERS[series.name]
    plot(
        axes,
        series,
        role,
        marker=marker,
        markersize=size,
        markerfacecolor=fill,
        label=series.name,
        zorder=3 if ours else 2,
    )


def draw_work(axes: Axes, data: FigureData, problem: str) -> None:
    """Draw the work and precision of one problem."""
    axes.set(xscale="log", yscale="log", xlabel="seconds", title=problem)
    axes.axhline(data.numbers["accuracy"], color=FAINT, lw=0.6)
    for series in data.panel(problem):
        draw_points(axes, series)
    axes.set_yticks((1e-15, 1e-10, 1e-5))
    axes.minorticks_off()
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())


def draw_growth(axes: Axes, data: FigureData, task: str) -> None:
    """Draw the seconds of one task by its size."""
    label, title = SIZES[task]
    axes.set(xscale="log", yscale="log", xlabel=label, title=title, ylabel="seconds" if task == "modes" else " ")
    for series in data.panel(task):
        draw_points(axes, series)
    if task == "gram":
        sizes = np.unique(np.concatenate([series.x for series in data.panel(task)]))
        axes.set_xticks(sizes[::2], [f"{size:.0f}" for size in sizes[::2]])
    axes.minorticks_off()
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())
