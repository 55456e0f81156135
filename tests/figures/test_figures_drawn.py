"""Every figure at every venue: it shows its data, nothing overlaps or is cut off."""

import itertools
import re

import numpy as np
import pytest
from figures_pages import artists, crosses, data_of, drawn, texts
from matplotlib.artist import Artist
from matplotlib.collections import Collection, LineCollection, QuadMesh
from matplotlib.lines import Line2D
from matplotlib.quiver import Quiver
from matplotlib.transforms import Bbox

from jepalign.figures import FIGURES, figure
from jepalign.figures.publication import FigureData
from jepalign.figures.style import VENUES, Evidence

EVERY = [(name, venue) for name in FIGURES for venue in VENUES]


@pytest.mark.parametrize(("name", "venue"), EVERY)
def test_no_text_overlaps_another(name: str, venue: str) -> None:
    for (one, a), (two, b) in itertools.combinations(texts(drawn(name, venue)), 2):
        overlap = Bbox.intersection(a, b)
        assert overlap is None or min(overlap.width, overlap.height) <= 1, (one, two)


@pytest.mark.parametrize(("name", "venue"), EVERY)
def test_nothing_is_cut_off(name: str, venue: str) -> None:
    page = drawn(name, venue)
    for text, box in texts(page):
        assert page.bbox.x0 - 0.5 <= box.x0 <= box.x1 <= page.bbox.x1 + 0.5, text
        assert page.bbox.y0 - 0.5 <= box.y0 <= box.y1 <= page.bbox.y1 + 0.5, text
    assert len(list(texts(page))) > 20


@pytest.mark.parametrize("name", FIGURES)
def test_every_letter_is_in_every_typeface(name: str) -> None:
    # Computer Modern has other letters where Unicode has those beyond ASCII, and prints them without a warning.
    for text, _ in texts(drawn(name, "jmlr")):
        assert re.sub(r"\$[^$]*\$", "", text).isascii(), text


@pytest.mark.parametrize(("name", "venue"), EVERY)
def test_no_curve_runs_through_a_label(name: str, venue: str) -> None:
    page = drawn(name, venue)
    for axes in page.axes:
        for text in axes.texts:
            # Descenders and the box's own margin are not ink: two pixels are 0.7 points.
            box = text.get_window_extent().padded(-2)
            for line in axes.lines:
                assert not crosses(line, box, axes), (text.get_text(), line.get_gid())


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_drawn_is_what_is_stored(name: str) -> None:
    data, shown = data_of(name), artists(drawn(name, "neurips"))
    expected: set[str] = set()
    for series in data.series:
        if series.name == "flow":
            continue  # Matplotlib's streamlines carry no id
        expected.add(series.gid)
        artist = shown[series.gid]
        if isinstance(artist, Line2D):
            assert np.array_equal(np.asarray(artist.get_xdata()), series.x)
            assert np.array_equal(np.asarray(artist.get_ydata()), series.y)
            if {"low", "high"} <= set(series.extra):
                expected.add(series.interval)
                assert interval(shown[series.interval]) == set(
                    zip(*(part.tolist() for part in (series.x, series.extra["low"], series.extra["high"])), strict=True)
                )
        elif isinstance(artist, QuadMesh):
            assert np.array_equal(np.asarray(artist.get_array()).ravel(), series.extra["value"])
            centres = np.asarray(artist.get_coordinates())
            for axis, points in ((0, series.x), (1, series.y)):
                low, high = centres[:-1, :-1, axis], centres[1:, 1:, axis]
                assert ((low < points.reshape(low.shape)) & (points.reshape(low.shape) < high)).all()
        else:
            assert isinstance(artist, Quiver)
            assert np.array_equal(artist.XY, np.column_stack((series.x, series.y)))
            assert np.array_equal(artist.U, series.extra["force"])
            assert np.array_equal(artist.V, series.extra.get("force_up", np.zeros_like(series.y)))
    assert set(shown) == expected


def interval(artist: Artist) -> set[tuple[float, float, float]]:
    """Return (x, low, high) of every bar, or of every vertex of a band."""
    assert isinstance(artist, Collection)
    paths = [np.asarray(path.vertices) for path in artist.get_paths()]
    if isinstance(artist, LineCollection):
        return {(part[0, 0], part[0, 1], part[1, 1]) for part in paths}
    (band,) = paths
    return {(x, band[band[:, 0] == x, 1].min(), band[band[:, 0] == x, 1].max()) for x in np.unique(band[:, 0])}


@pytest.mark.parametrize("name", FIGURES)
def test_line_styles_say_how_a_thing_is_known(name: str) -> None:
    data, shown = data_of(name), artists(drawn(name, "neurips"))
    for series in data.series:
        artist = shown.get(series.gid)
        if isinstance(artist, Line2D) and artist.get_linestyle() != "None":
            assert artist.get_linestyle() == {Evidence.PROVED: "-", Evidence.COMPUTED: "--"}[series.evidence]
        if series.evidence is Evidence.MEASURED:
            assert isinstance(artist, Line2D)
            assert artist.get_linestyle() == "None"
            assert artist.get_marker() not in ("None", "", None)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labelled_and_hold_their_data(name: str) -> None:
    page = drawn(name, "neurips")
    for axes in page.axes:
        assert axes.get_ylabel()
        below = [other for other in page.axes if other.get_position().y1 < axes.get_position().y0]
        assert axes.get_xlabel() or below, "only axes above others may leave the label to them"
        for line in axes.lines:
            inside = [
                axes.bbox.padded(1).contains(*point) for point in line.get_transform().transform(line.get_xydata())
            ]
            assert any(inside), line.get_gid()


@pytest.mark.parametrize("name", FIGURES)
def test_captions_balance_and_quote_computed_numbers(name: str) -> None:
    data = data_of(name)
    caption, alt = figure(name).caption(data), figure(name).alt(data)
    assert caption.count("$") % 2 == 0
    depth = list(itertools.accumulate({"{": 1, "}": -1}.get(letter, 0) for letter in caption))
    assert min(depth) >= 0
    assert depth[-1] == 0
    for words in ("proved", "computed", "measured"):
        assert words in caption
    assert "nan" not in caption
    assert caption.isascii()
    assert not set(alt) & set("$\\{}")
    # Another set of numbers gives another caption: they are not typed.
    changed = FigureData(data.series, {key: value * 1.5 + 1 for key, value in data.numbers.items()}, data.inputs)
    assert figure(name).caption(changed) != caption
