"""A figure as a function of data, and how it becomes four files: what it shows, what it says, and how it was made."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jepalign.figures.style import COLOURS, DENSITY, Evidence, venue_named
from jepalign.measurements import Measurement, load
from jepalign.storage import output_directory, versions, written_whole

PNG_DOTS_PER_INCH = 300


@dataclass(frozen=True, eq=False)
class Series:
    """One thing that is plotted.

    Attributes
    ----------
    panel, name : str
        Together unique in a figure; the artist that shows it has ``gid`` "panel/name".
    evidence : Evidence
        How it is known.
    x, y : ndarray of shape (n,)
        What is plotted.
    extra : mapping of str to ndarray of shape (n,)
        Further columns of the data file. ``low`` and ``high`` are an interval of y, which is drawn; ``value`` is what a
        field has at the points (x, y) of its grid.
    """

    panel: str
    name: str
    evidence: Evidence
    x: np.ndarray
    y: np.ndarray
    extra: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])

    @property
    def gid(self) -> str:
        """The id of the artist that shows it."""
        return f"{self.panel}/{self.name}"

    @property
    def interval(self) -> str:
        """The id of the artist that shows the interval of y."""
        return f"{self.gid}, interval"


@dataclass(frozen=True, eq=False)
class FigureData:
    """All that a figure shows: its series, the numbers its caption quotes, and the files it was read from."""

    series: tuple[Series, ...]
    numbers: Mapping[str, float]
    inputs: tuple[Traversable, ...] = ()

    def __getitem__(self, gid: str) -> Series:
        """Return the series "panel/name"."""
        return next(series for series in self.series if series.gid == gid)

    def panel(self, panel: str) -> list[Series]:
        """Return the series of one panel, in order."""
        return [series for series in self.series if series.panel == panel]

    def table(self) -> str:
        """Return everything plotted as CSV in long form, every number in its shortest exact form."""
        extras = list(dict.fromkeys(key for series in self.series for key in series.extra))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["panel", "series", "evidence", "x", "y", *extras])
        for series in self.series:
            blank = np.full(len(series.x), "")
            columns = [series.x, series.y, *(series.extra.get(key, blank) for key in extras)]
            for values in zip(*(np.asarray(column).tolist() for column in columns), strict=True):
                writer.writerow([series.panel, series.name, series.evidence.name.lower(), *values])
        return text.getvalue()


class PublicationFigure(Protocol):
    """A figure as a function of data."""

    name: str

    def compute(self) -> FigureData:
        """Compute or read all that is shown; ``InputError`` names the command that makes a missing file."""
        ...

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw it on a page of a venue, or in place of somebody's own ``axes`` and in their style; return the figure.

        ``InputError`` for an unknown venue, or axes that were not made by ``subplots`` or from a grid.
        """
        ...

    def caption(self, data: FigureData) -> str:
        """Return the caption in LaTeX: what is predicted and what is measured, every number computed."""
        ...

    def alt(self, data: FigureData) -> str:
        """Return a plain sentence or two for those who cannot see it."""
        ...


class FromMeasurements:
    """What figures share that read stored measurements.

    Parameters
    ----------
    measurements : path, optional
        Where NAME.npz and NAME.json lie; by default, in the package.
    """

    def __init__(self, measurements: str | PathLike[str] | None = None) -> None:
        self.measurements = None if measurements is None else Path(measurements)

    @property
    def folder(self) -> Traversable:
        """Where the measurements lie."""
        return self.measurements or resources.files("jepalign.simulations") / "measurements"

    def read(self, name: str, *, command: str | None = None) -> tuple[Measurement, tuple[Traversable, ...]]:
        """Return a measurement and its two files; ``InputError`` names the command that makes a missing one."""
        measured = load(name, self.measurements, command=command)
        return measured, (self.folder / f"{name}.npz", self.folder / f"{name}.json")


def plot(axes: Axes, series: Series, role: str, **options: Any) -> Line2D:
    """Draw a series, its colour by role and its line by evidence; ``options`` are those of ``Axes.plot``.

    If it has an interval of y, that is drawn too: as bars through markers, as a band around a line.
    """
    chosen: dict[str, Any] = {"color": COLOURS[role], "linestyle": series.evidence.value, "gid": series.gid}
    if series.evidence is Evidence.MEASURED:
        chosen |= {"marker": "o", "markeredgewidth": 0.7, "markerfacecolor": "none"}
    (line,) = axes.plot(series.x, series.y, **{**chosen, **options})
    if {"low", "high"} <= set(series.extra):
        ends = series.extra["low"], series.extra["high"]
        colour, order = line.get_color(), line.get_zorder() - 0.1
        if line.get_linestyle() == "None":
            axes.vlines(series.x, *ends, colors=colour, linewidth=0.7, zorder=order, gid=series.interval)
        else:
            axes.fill_between(series.x, *ends, color=colour, alpha=0.15, lw=0, zorder=order, gid=series.interval)
    return line


def density(axes: Axes, series: Series, **options: Any) -> QuadMesh:
    """Draw the ``value`` of a series over its grid of points, x varying fastest, as coloured cells; it is rasterised.

    ``options`` are those of ``Axes.pcolormesh``. On logarithmic axes set the scale first.
    """
    x, y = np.unique(series.x), np.unique(series.y)
    values = series.extra["value"].reshape(len(y), len(x))
    edges = (_edges(x, axes.get_xscale() == "log"), _edges(y, axes.get_yscale() == "log"))
    chosen: dict[str, Any] = {"cmap": DENSITY, "rasterized": True, "gid": series.gid}
    return axes.pcolormesh(*edges, values, **{**chosen, **options})


def _edges(centres: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Return the n + 1 edges of n cells around increasing centres, halfway between neighbours on the axis."""
    placed = np.log(centres) if logarithmic else centres
    inner = (placed[1:] + placed[:-1]) / 2
    edges = np.concatenate(([2 * placed[0] - inner[0]], inner, [2 * placed[-1] - inner[-1]]))
    return np.exp(edges) if logarithmic else edges


def number(value: float, digits: int = 3) -> str:
    r"""Return ``value`` to so many significant digits for LaTeX's mathematics, such as ``1.2\times 10^{-5}``."""
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    if -3 <= int(exponent) < digits + 2:
        return f"{value:.{max(digits - 1 - int(exponent), 0)}f}"
    return rf"{mantissa}\times 10^{{{int(exponent)}}}"


def export(
    figure: PublicationFigure,
    out: str | PathLike[str],
    venue: str = "neurips",
    *,
    data: FigureData | None = None,
    command: str | None = None,
) -> list[Path]:
    """Leave NAME.pdf, NAME.png, NAME.csv (what is plotted) and NAME.tex (the caption) in ``out``: all four or none.

    ``data`` is what the figure's ``compute`` returned, where that is at hand; ``command`` is what made them, if not
    ``jepalign figures``. The same data, versions and venue give the same bytes. PDF and PNG record how they were made, the
    PDF as keywords.

    Raises
    ------
    InputError
        For an unknown venue, an ``out`` that is a file or cannot be written to, or data that are missing.
    """
    spec = venue_named(venue)
    directory = output_directory(out)
    data = figure.compute() if data is None else data
    drawn = figure.draw(data, venue=venue)
    made = {
        "command": command or f"jepalign figures {figure.name} --venue {spec.name} --out DIR",
        "versions": versions("jepalign", "matplotlib", "numpy", "scipy", "scikit-learn"),
        "inputs": {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in data.inputs},
    }
    record = json.dumps(made, sort_keys=True)
    tex = f"% {record}\n\\caption{{{figure.caption(data)}}}\n\\label{{fig:{figure.name}}}\n"
    paths = [directory / f"{figure.name}.{ending}" for ending in ("pdf", "png", "csv", "tex")]
    with ExitStack() as stack:
        pdf, png, table, text = (stack.enter_context(written_whole(path)) for path in paths)
        # Matplotlib would put the time into the PDF; the PNG's Software entry repeats the version without need.
        description = {"Title": figure.name, "Subject": figure.alt(data), "Keywords": record}
        drawn.savefig(pdf, format="pdf", dpi=PNG_DOTS_PER_INCH, metadata={**description, "CreationDate": None})
        drawn.savefig(
            png,
            format="png",
            dpi=PNG_DOTS_PER_INCH,
            metadata={"Software": None, "Title": figure.name, "Comment": record},
        )
        table.write_text(data.table(), encoding="utf-8", newline="\n")
        text.write_text(tex, encoding="utf-8", newline="\n")
    return paths
