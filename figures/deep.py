"""Theory against deep encoders: every row of every committed measurement, its error in units of the bound set before the run."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.errors import InputError
from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, plot
from jepalign.figures.style import Evidence
from jepalign.measurements import Measurement, load

ORDER = (
    *(
        "dictionary",
        "practice",
        "conservation",
        "power",
        "wiener",
        "ablation",
        "trajectories",
        "escape",
        "phase",
        "forecast",
    ),
    *("hybrid", "masks", "world-model", "subspace", "gaussianity", "i-jepa"),
)
"""Experiments in the order of the story; any further ones follow."""

# Column in print, by the first word of an architecture.
COLUMN_OF = {"linear": "linear", "tanh": "tanh, GELU", "gelu": "tanh, GELU", "relu": "ReLU"}
OTHER, FALSE = "other", "false versions"
COLUMNS = (*dict.fromkeys(COLUMN_OF.values()), OTHER, FALSE)

LEAST, MOST, NOWHERE = 1e-4, 1e8, 2e7
"""The errors at the ends of the axes of claims, and where a run that left no number is drawn."""
LEAST_FALSE, MOST_FALSE, REFUSAL = 1e-1, 1e17, 1e3
FEWEST = 4
"""Lines of a strip at least: its name has to fit."""

MARKS = {"holds": ("jepa", "o", 2.4), "fails": ("repulsion", "x", 3.0), "no number": ("repulsion", ">", 2.8)}
"""Colour, marker and its size by outcome."""

BAND = "#F1F1F1"


@dataclass(frozen=True)
class Claim:
    """One row of a measurement: what is shown of it."""

    experiment: str
    name: str
    architecture: str
    error: float
    holds: bool

    @property
    def false(self) -> bool:
        """Whether it is a false version, to be refused."""
        return self.name.startswith("control")

    @property
    def family(self) -> str:
        """What it claims, without the particulars: it has one line in its strip."""
        return self.name.split(",")[1 if self.false else 0].strip()

    @property
    def column(self) -> str:
        """Where it is drawn."""
        first = self.architecture.split()[0].strip(",;")
        return FALSE if self.false else COLUMN_OF.get(first, OTHER)

    @property
    def outcome(self) -> str:
        """The name of its series."""
        if np.isnan(self.error):
            return "no number"
        return "holds" if self.holds else "fails"

    @property
    def place(self) -> float:
        """Where its error is drawn: on the axis, or at an end of it."""
        if np.isnan(self.error):
            return NOWHERE
        low, high = (LEAST_FALSE, MOST_FALSE) if self.false else (LEAST, MOST)
        return min(max(self.error, low), high)


class Deep(FromMeasurements):
    """Every prediction that was put to trained networks, by experiment, claim and architecture.

    The measurements are read from ``measurements``, by default the package's.
    """

    name = "deep"

    def compute(self) -> FigureData:
        """Read every measurement that an experiment made.

        Raises
        ------
        InputError
            If there is none; the message names the command that makes them.
        """
        names = experiments(self.folder)
        claims = [claim for name in names for claim in claims_of(load(name, self.measurements))]
        lines, _ = layout(claims)
        series = [
            shown(column, outcome, group, lines)
            for column in COLUMNS
            for outcome in ("holds", "fails", "no number")
            if (group := [each for each in claims if (each.column, each.outcome) == (column, outcome)])
        ]
        inputs = tuple(self.folder / f"{name}.{ending}" for name in names for ending in ("npz", "json"))
        return FigureData(tuple(series), summary(claims), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw a column for each kind of encoder and one for the false versions, a strip for each experiment."""
        claims = claims_in(data)
        _, strips = layout(claims)
        columns = [column for column in COLUMNS if data.panel(column)]
        with style.sheet(venue, 4.6, axes) as page:
            grid = page.add_gridspec(1, len(columns), wspace=0.04)
            for index, column in enumerate(columns):
                axes = page.add_subplot(grid[0, index])
                draw_column(axes, data, column)
                for first, last in list(strips.values())[::2]:
                    axes.axhspan(first - 0.5, last + 0.5, color=BAND, lw=0, zorder=0)
                axes.set(ylim=(max(last for _, last in strips.values()) + 0.5, -0.5), yticks=[])
                axes.set_ylabel(
                    "experiment, and claims that hold" if index == 0 else " ", labelpad=None if index == 0 else -14
                )
                if index == 0 or column == FALSE:
                    counts = counted(claims, false=column == FALSE)
                    axes.set_yticks([(first + last) / 2 for first, last in strips.values()])
                    axes.set_yticklabels([beside(experiment, counts, named=index == 0) for experiment in strips])
                    if index > 0:
                        axes.yaxis.tick_right()
                    axes.tick_params(axis="y", length=0)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        parts = ", ".join(
            f"${numbers[f'{column}, hold']:.0f}$ of ${numbers[column]:.0f}$ ({column})"
            for column in COLUMNS
            if column != FALSE and numbers[column]
        )
        return (
            r"Theory against trained encoders: every row of all committed measurements, nothing left out. Predictions are "
            r"proved or computed, errors are measured, in units of the bound that was set before the run: "
            r"left of the line a claim holds (circles), right of it it fails (crosses). A strip is an experiment, a line in it "
            r"a claim, a column a kind of encoder (other: convolutional networks, vision transformers, and what needs no "
            rf"encoder). At the left edge: errors of $10^{{{np.log10(LEAST):.0f}}}$ and less, which may be zero. Triangles: "
            rf"${numbers['no number']:.0f}$ rows of runs that diverged or ended without a number; they fail. Of "
            rf"${numbers['claims']:.0f}$ claims ${numbers['hold']:.0f}$ hold: {parts}. Last column: "
            rf"${numbers[FALSE]:.0f}$ false versions put to the same tests, in units in which "
            rf"$10^{{{np.log10(REFUSAL):.0f}}}$ is a refusal; ${numbers[f'{FALSE}, hold']:.0f}$ are refused. "
            r"Numbers beside the strips: claims that hold of all, and on the right false versions that are refused of all."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        numbers = data.numbers
        return (
            "Points for every claim tested on trained encoders, in strips by experiment and columns by architecture, on "
            f"logarithmic axes of the error over its bound: {numbers['hold']:.0f} of {numbers['claims']:.0f} lie at or below "
            f"1. In a last column {numbers[f'{FALSE}, hold']:.0f} of {numbers[FALSE]:.0f} false versions lie beyond the "
            "refusal at 1000."
        )


def experiments(folder: Traversable) -> list[str]:
    """Return the measurements in a folder that experiments made, in the order of the story."""
    found = [path for path in folder.iterdir() if path.name.endswith(".json")] if folder.is_dir() else []
    made = [
        path.name.removesuffix(".json")
        for path in found
        if str(json.loads(path.read_text(encoding="utf-8"))["provenance"]["command"]).startswith("jepalign simulate")
    ]
    if not made:
        raise InputError("measurements", str(folder), "holds no experiment's; make them with: make simulate")
    return sorted(made, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def claims_of(measured: Measurement) -> list[Claim]:
    """Return the rows of a measurement."""
    return [
        Claim(
            measured.name,
            str(row["experiment"]).removeprefix(f"{measured.name}: "),
            str(row["architecture"]),
            np.nan if row["error"] is None else float(row["error"]),
            row["verdict"] == "holds",
        )
        for row in measured.rows
    ]


def claims_in(data: FigureData) -> list[Claim]:
    """Return what the series of a figure show."""
    keys = ("experiment", "claim", "architecture", "error", "holds")
    found = [
        Claim(str(a), str(b), str(c), float(d), bool(e))
        for series in data.series
        for a, b, c, d, e in zip(*(series.extra[key] for key in keys), strict=True)
    ]
    order = {name: index for index, name in enumerate(ORDER)}
    return sorted(found, key=lambda each: (order.get(each.experiment, len(order)), each.experiment))


Lines = dict[tuple[str, bool, str], float]


def layout(claims: Iterable[Claim]) -> tuple[Lines, dict[str, tuple[float, float]]]:
    """Return the line of every experiment's family of claims or false versions, and the ends of its strip, downwards."""
    families: dict[str, tuple[set[str], set[str]]] = {}
    for claim in claims:
        families.setdefault(claim.experiment, (set(), set()))[claim.false].add(claim.family)
    lines: Lines = {}
    strips: dict[str, tuple[float, float]] = {}
    top = 0.0
    for experiment, groups in families.items():
        height = max(FEWEST, len(groups[False]))
        for false, group in enumerate(groups):
            step = (height - 1) / (len(group) + 1)
            for index, family in enumerate(sorted(group), 1):
                lines[experiment, bool(false), family] = top + step * index
        strips[experiment] = (top, top + height - 1)
        top += height
    return lines, strips


def shown(column: str, outcome: str, group: list[Claim], lines: Lines) -> Series:
    """Return the series of one outcome in one column."""
    extra = {
        "experiment": np.array([each.experiment for each in group]),
        "claim": np.array([each.name for each in group]),
        "architecture": np.array([each.architecture for each in group]),
        "error": np.array([each.error for each in group]),
        "holds": np.array([each.holds for each in group]),
    }
    x = np.array([each.place for each in group])
    y = np.array([lines[each.experiment, each.false, each.family] for each in group])
    return Series(column, outcome, Evidence.MEASURED, x, y, extra)


def summary(claims: list[Claim]) -> dict[str, float]:
    """Return the counts that the caption quotes."""
    of = Counter(claim.column for claim in claims)
    hold = Counter(claim.column for claim in claims if claim.holds)
    numbers = {column: float(of[column]) for column in COLUMNS}
    numbers |= {f"{column}, hold": float(hold[column]) for column in COLUMNS}
    return numbers | {
        "claims": float(sum(of.values()) - of[FALSE]),
        "hold": float(sum(hold.values()) - hold[FALSE]),
        "no number": float(sum(np.isnan(claim.error) for claim in claims)),
    }


def counted(claims: list[Claim], *, false: bool) -> dict[str, tuple[int, int]]:
    """Return how many claims, or false versions, of each experiment hold, and how many there are."""
    chosen = [claim for claim in claims if claim.false == false]
    of, hold = (
        Counter(claim.experiment for claim in chosen),
        Counter(claim.experiment for claim in chosen if claim.holds),
    )
    return {experiment: (hold[experiment], of[experiment]) for experiment in of}


def beside(experiment: str, counts: dict[str, tuple[int, int]], *, named: bool) -> str:
    """Return what is printed beside a strip."""
    hold, of = counts.get(experiment, (0, 0))
    return f"{experiment} {hold}/{of}" if named else f"{hold}/{of}" if of else ""


def draw_column(axes: Axes, data: FigureData, column: str) -> None:
    """Draw the points of one column, and the line that parts those that hold."""
    false = column == FALSE
    axes.set(xscale="log", title=column, xlabel="error" if false else "error / bound")
    axes.axvline(REFUSAL if false else 1.0, color=style.INK, lw=0.7, zorder=1)
    for series in data.panel(column):
        role, marker, size = MARKS[series.name]
        plot(axes, series, role, marker=marker, markersize=size, markeredgewidth=0.55, clip_on=False)
    axes.set_xlim(*((LEAST_FALSE, MOST_FALSE) if false else (LEAST, MOST)))
    ticks = (
        {REFUSAL: "$10^3$", 1e9: "$10^9$", 1e15: "$10^{15}$"}
        if false
        else {LEAST: "$10^{-4}$", 1.0: "$1$", 1e4: "$10^4$"}
    )
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", labelsize=axes.xaxis.label.get_fontsize())
