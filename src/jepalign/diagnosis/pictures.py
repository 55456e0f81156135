"""The figures of a diagnosis: dimensions with their margins, the predictor in the dictionary, and what keeping dimensions takes."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jepalign.diagnosis.diagnosis import Diagnosis
from jepalign.diagnosis.modes import State
from jepalign.diagnosis.stored import Array
from jepalign.figures import style
from jepalign.figures.style import COLOURS, FAINT, INK, Page
from jepalign.linear_models import DICTIONARY
from jepalign.storage import written_whole

WIDTH = 4.6  # inches; on a phone's 350 pixels its type is then 9 pixels high
VENUE = "neurips"
COLOUR = {
    State.SURVIVING: COLOURS["attraction"],
    State.ABOVE: COLOURS["attraction"],
    State.BELOW: COLOURS["directpred"],
    State.UNSETTLED: COLOURS["directpred"],
    State.LOST: COLOURS["repulsion"],
    State.GONE: COLOURS["repulsion"],
    State.MEAN: COLOURS["no-predictor"],
    State.UNKNOWN: COLOURS["no-predictor"],
}
MARKER = {
    State.SURVIVING: "o",
    State.ABOVE: "o",
    State.BELOW: "s",
    State.UNSETTLED: "s",
    State.LOST: "x",
    State.GONE: "x",
}
TERM_COLOUR = {
    "spectral": "spectral-contrastive",
    "vicreg": "gaussian-infonce",
    "log-det": "log-det",
    "sigreg": "directpred",
}
TERM_LINE = {"spectral": "-", "vicreg": "--", "log-det": "-.", "sigreg": ":"}


def dimensions(found: Diagnosis) -> Page:
    """Draw every dimension's embedding variance, and below it its margin η_c/η, with 95 % intervals."""
    table = found.table
    bounds = table.intervals()
    margins = bool(np.isfinite(table.values.margin).any())
    with style.venue(VENUE):
        page = _page(3.6 if margins else 2.0)
        grid = page.add_gridspec(2 if margins else 1, 1)
        top = page.add_subplot(grid[0, 0])
        _scatter(top, found, table.values.embedding, *bounds["embedding"])
        top.set_ylabel("variance $s$")
        last = top
        if margins:
            last = page.add_subplot(grid[1, 0], sharex=top)
            _scatter(last, found, table.values.margin, *bounds["margin"])
            last.axhline(1.0, color=INK, linewidth=0.8)
            last.set_ylabel(r"margin $\eta_c/\eta$")
            top.tick_params(labelbottom=False)
        last.set_xlabel("dimension")
        last.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = top.get_legend_handles_labels()
        top.legend(handles, labels, title="taken alone", loc="upper right", handletextpad=0.2)
    return page


def _scatter(axes: Axes, found: Diagnosis, values: Array, low: Array, high: Array) -> None:
    axes.set_yscale("log")
    place = np.arange(1, len(values) + 1)
    # What has fallen below rounding, or has no number, is not drawn; intervals end at the axis.
    shown = np.isfinite(values) & (values > 0)
    for state in State:
        mine = shown & np.array([each is state for each in found.table.states])
        if not mine.any():
            continue
        colour = COLOUR[state]
        floor = values[mine] / 100
        axes.vlines(place[mine], np.maximum(low[mine], floor), high[mine], color=colour, linewidth=0.9)
        marker = MARKER.get(state, "d")
        filled: dict[str, Any] = {} if marker == "x" else {"markerfacecolor": "white"}
        axes.plot(place[mine], values[mine], marker, color=colour, markersize=3.5, label=state.value, **filled)


def predictor(found: Diagnosis) -> Page:
    """Draw the predictor's spectrum against the embedding's, with the nearest entries of the dictionary."""
    reading = found.reading
    with style.venue(VENUE):
        page = _page(2.3)
        axes = page.add_subplot()
        s = np.geomspace(reading.variance.min(), reading.variance.max(), 200)
        for each, line in zip(reading.likenesses[:2], ("-", "--"), strict=True):
            entry = DICTIONARY[each.name]
            axes.plot(s, entry.spectrum(s / each.scale), line, color=COLOURS[each.name], label=each.label)
        axes.plot(reading.variance, reading.correlation, "+", color=FAINT, label=r"correlation $\rho$", markersize=4.5)
        axes.plot(reading.variance, reading.predictor, "o", color=INK, markerfacecolor="white", label="predictor $p$")
        axes.set_xscale("log")
        # An entry that leaves the measured range, as log-det does, would flatten everything else.
        both = np.concatenate((reading.predictor, reading.correlation, [0.0]))
        room = 0.15 * (both.max() - both.min() or 1.0)
        axes.set_ylim(both.min() - room, both.max() + room)
        axes.set_xlabel("variance $s$")
        axes.set_ylabel("$p$")
        axes.legend(loc="best", handletextpad=0.4)
    return page


def keeping(found: Diagnosis) -> Page:
    """Draw the weight of each explicit term that holds the first 1, 2, … of the endangered dimensions."""
    remedies = found.remedies
    with style.venue(VENUE):
        page = _page(2.2)
        axes = page.add_subplot()
        kept = np.arange(1, len(remedies.endangered) + 1)
        for each in remedies.terms:
            weight = np.maximum.accumulate(np.sort(each.hold)) * found.rates.scale
            shown = np.isfinite(weight) & (weight > 0)
            colour = COLOURS[TERM_COLOUR[each.name]]
            mark = "." if len(kept) == 1 else ""
            axes.plot(kept[shown], weight[shown], TERM_LINE[each.name] + mark, color=colour, label=each.name)
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("endangered dimensions kept")
        axes.set_ylabel(r"weight $\gamma$")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return page


def _page(height: float) -> Page:
    page = Page(VENUE, height)
    page.set_size_inches(WIDTH, height)
    return page


def save(page: Page, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as NAME.pdf and NAME.png and return the paths."""
    paths = folder / f"{name}.pdf", folder / f"{name}.png"
    with written_whole(paths[0]) as pdf, written_whole(paths[1]) as png:
        page.savefig(pdf, format="pdf", metadata={"Title": name, "CreationDate": None})
        page.savefig(png, format="png", dpi=300, metadata={"Software": None, "Title": name})
    return paths
