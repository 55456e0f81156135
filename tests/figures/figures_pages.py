"""Figures drawn once for all tests, and what is printed on them."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from jepalign.figures import figure
from jepalign.figures.publication import FigureData


@cache
def data_of(name: str) -> FigureData:
    return figure(name).compute()


@cache
def drawn(name: str, venue: str) -> Figure:
    page = figure(name).draw(data_of(name), venue=venue)
    # 200 dots per inch: a point is 2.8 pixels, so that a tolerance of one pixel is a third of a point.
    page.set_dpi(200)
    FigureCanvasAgg(page).draw()
    return page


def texts(page: Figure) -> Iterator[tuple[str, Bbox]]:
    """Yield every piece of text that is printed, with its box in pixels."""
    found: list[Text] = list(page.texts)
    for axes in page.axes:
        found += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_visible()]
            found.append(axis.get_offset_text())
        if (legend := axes.get_legend()) is not None:
            found += legend.get_texts()
    for text in found:
        if text.get_visible() and text.get_text().strip():
            # A leading blank keeps a label at a distance from its curve; it prints nothing.
            yield text.get_text(), text.get_window_extent()


def artists(page: Figure) -> dict[str, Artist]:
    children = (child for axes in page.axes for child in axes.get_children())
    return {str(child.get_gid()): child for child in children if child.get_gid() is not None}


def crosses(line: Line2D, box: Bbox, axes: Axes) -> bool:
    vertices = line.get_transform().transform(np.column_stack(line.get_data(orig=False)).astype(float))
    if line.get_linestyle() != "None" and len(vertices) > 1:
        # Two points draw a line across all axes, more a curve: either way no step is longer than a letter is wide.
        steps = np.linspace(0, 1, 400 if len(vertices) == 2 else 20)[:, None, None]
        vertices = ((1 - steps) * vertices[:-1] + steps * vertices[1:]).reshape(-1, 2)
    shown = within(axes.bbox, vertices) | np.array(not line.get_clip_on())
    return bool(np.any(within(box, vertices) & shown))


def within(box: Bbox, points: np.ndarray) -> np.ndarray:
    return np.asarray(((points > box.min) & (points < box.max)).all(axis=1))
