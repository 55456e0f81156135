"""The files of every figure say what they should, and are the same bytes wherever they are made."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from figures_pages import data_of
from pypdf import PdfReader
from pypdf.generic import ContentStream

from jepalign.errors import InputError
from jepalign.figures import FIGURES, export
from jepalign.figures.publication import FigureData


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
    assert set(made["inputs"]) == {path.name for path in data_of(name).inputs}
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
