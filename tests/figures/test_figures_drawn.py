"""Every figure at every venue: it shows its data, nothing overlaps or is cut off, its files say what they should."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from pypdf import PdfReader
from pypdf.generic import ContentStream

from jepalign.errors import InputError
from jepalign.figures import FIGURES, export, figure
from jepalign.figures.publication import FigureData
from jepalign.figures.style import VENUES, Evidence, Page

EVERY = [(name, venue) for name in FIGURES for venue in VENUES]


@cache
def data_of(name: str) -> FigureData:
    return figure(name).compute()


@cache
def drawn(name: str, venue: str) -> Page:
    page = figure(name).draw(data_of(name), venue=venue)
    # 200 dots per inch: a point is 2.8 pixels, so that a tolerance of one pixel is a third of a point.
    page.set_dpi(200)
    FigureCanvasAgg(page).draw()
    return page


def texts(page: Page) -> Iterator[tuple[str, Bbox]]:
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


def artists(page: Page) -> dict[str, Line2D | Quiver]:
    children = (child for axes in page.axes for child in axes.get_children())
    return {str(child.get_gid()): child for child in children if child.get_gid() is not None}  # type: ignore[misc]


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


@pytest.mark.parametrize(("name", "venue"), EVERY)
def test_no_curve_runs_through_a_label(name: str, venue: str) -> None:
    page = drawn(name, venue)
    for axes in page.axes:
        for text in axes.texts:
            # Descenders and the box's own margin are not ink: two pixels are 0.7 points.
            box = text.get_window_extent().padded(-2)
            for line in axes.lines:
                assert not crosses(line, box, axes), (text.get_text(), line.get_gid())


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


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_drawn_is_what_is_stored(name: str) -> None:
    data, shown = data_of(name), artists(drawn(name, "neurips"))
    lines = {gid: artist for gid, artist in shown.items() if isinstance(artist, Line2D)}
    for series in data.series:
        if series.gid in lines:
            assert np.array_equal(np.asarray(lines[series.gid].get_xdata()), series.x)
            assert np.array_equal(np.asarray(lines[series.gid].get_ydata()), series.y)
        elif series.gid in shown:
            arrows = shown[series.gid]
            assert isinstance(arrows, Quiver)
            assert np.array_equal(arrows.XY, np.column_stack((series.x, series.y)))
            assert np.array_equal(arrows.U, series.extra["force"])
        else:
            assert series.gid == "plane/flow"  # Matplotlib's streamlines carry no id
    assert set(shown) == {series.gid for series in data.series} - {"plane/flow"}


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    calls: list[tuple[int, int, str]] = []
    before = dict(mpl.rcParams)
    paths = export([], out, "icml", progress=lambda *call: calls.append(call))
    assert dict(mpl.rcParams) == before
    assert [path.name for path in paths] == [
        f"{name}.{end}" for name in FIGURES for end in ("pdf", "png", "csv", "tex")
    ]
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in paths)
    assert calls == [(done, len(FIGURES), name) for done, name in enumerate([*FIGURES, "done"])]
    return out


@pytest.mark.parametrize("name", FIGURES)
def test_the_pdf_embeds_truetype_at_six_points_and_more(name: str, exported: Path) -> None:
    reader = PdfReader(exported / f"{name}.pdf")
    (page,) = reader.pages
    assert float(page.mediabox.width) == 6.75 * 72
    resources: Any = page["/Resources"]
    fonts: list[Any] = [font.get_object() for font in resources["/Font"].values()]
    assert fonts
    for font in fonts:
        descendant = font["/DescendantFonts"][0].get_object() if font["/Subtype"] == "/Type0" else font
        assert descendant["/Subtype"] in ("/CIDFontType2", "/TrueType")
        assert "/FontFile2" in descendant["/FontDescriptor"].get_object()
    operations = ContentStream(page.get_contents(), reader).operations
    assert min(float(operands[1]) for operands, operator in operations if operator == b"Tf") >= 6


@pytest.mark.parametrize("name", FIGURES)
def test_the_pdf_and_the_png_record_how_they_were_made(name: str, exported: Path) -> None:
    information = PdfReader(exported / f"{name}.pdf").metadata
    assert information is not None
    assert "/CreationDate" not in information
    made = json.loads(str(information["/Keywords"]))
    assert made["command"] == f"jepalign figures {name} --venue icml --out DIR"
    assert {"jepalign", "python", "matplotlib", "numpy"} <= set(made["versions"])
    measured = name in ("power", "escape")
    assert set(made["inputs"]) == ({f"{name}.npz", f"{name}.json"} if measured else set())
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in made["inputs"].values())
    png = (exported / f"{name}.png").read_bytes()
    assert json.dumps(made, sort_keys=True).encode() in png
    assert b"Software" not in png
    assert int.from_bytes(png[16:20], "big") == 6.75 * 300
    tex = (exported / f"{name}.tex").read_text()
    assert tex.endswith(f"\n\\label{{fig:{name}}}\n")
    assert json.loads(tex.splitlines()[0].removeprefix("% ")) == made


@pytest.mark.parametrize("name", FIGURES)
def test_the_table_holds_every_point_exactly(name: str, exported: Path) -> None:
    with (exported / f"{name}.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for series in data_of(name).series:
        mine = [row for row in rows if (row["panel"], row["series"]) == (series.panel, series.name)]
        assert np.array_equal([float(row["x"]) for row in mine], series.x)
        assert np.array_equal([float(row["y"]) for row in mine], series.y)
        assert {row["evidence"] for row in mine} == {series.evidence.name.lower()}
        for key, values in series.extra.items():
            assert [row[key] for row in mine] == [str(value) for value in values.tolist()]
    assert len(rows) == sum(len(series.x) for series in data_of(name).series)


def test_another_process_writes_the_same_bytes_without_pyplot_or_torch(exported: Path, tmp_path: Path) -> None:
    # Another hash seed, another directory, a user's own Matplotlib settings: none of it may show.
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 23\nlines.linewidth: 9\npdf.fonttype: 3\nsavefig.dpi: 40\nfigure.facecolor: red\n")
    out = tmp_path / "out"
    code = (
        "import sys; from jepalign.figures import export; export([], sys.argv[1], 'icml');"
        "assert not {'matplotlib.pyplot', 'torch', 'sympy'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "MATPLOTLIBRC": str(settings)}
    subprocess.run([sys.executable, "-c", code, str(out)], check=True, cwd=tmp_path, env=environment)
    for path in exported.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def test_bad_requests_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name = dictionnary: .*; the nearest is dictionary"):
        export(["map", "dictionnary"], tmp_path)
    with pytest.raises(InputError, match=r"venue = nips: .*; the nearest is neurips"):
        export("map", tmp_path, "nips")
    assert list(tmp_path.iterdir()) == []
    occupied = tmp_path / "file"
    occupied.touch()
    with pytest.raises(InputError, match=r"out = .*must be a directory"):
        export("map", occupied)
    assert list(tmp_path.iterdir()) == [occupied]


def test_a_failure_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FigureData) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr(FigureData, "table", fail)
    with pytest.raises(OSError, match="no space"):
        export("dictionary", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_no_plotting() -> None:
    code = "import sys, jepalign.figures; sys.exit(any(m in sys.modules for m in ('matplotlib', 'numpy', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
