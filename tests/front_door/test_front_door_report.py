"""The report: complete, self-contained, readable without seeing, and the same bytes every time."""

import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pypdf import PdfReader

from jepalign import deep_section, digits_section, measurements
from jepalign.article import FEATURED
from jepalign.figures import FIGURES
from jepalign.forecast_section import WAYS, forecast_table
from jepalign.linear_models import DICTIONARY
from jepalign.theory.catalogue import NAMES, find

VOID = {"meta", "img", "br", "hr", "link", "input", "mspace", "mprescripts", "none"}


class Page(HTMLParser):
    """Collects what the tests ask about, and fails on unbalanced elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if (name := dict(attrs).get("id")) is not None:
            self.ids.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _write(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jepalign", "report", "--out", str(directory)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"wrote {directory / 'index.html'}" in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    _write(directory)
    return directory


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_everything_is_written(folder: Path) -> None:
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "csv", "tex")}
    assert names == {"index.html", "report.pdf", "derivations.tex"} | figures


def test_the_page_needs_no_script_and_no_network(page: Page, folder: Path) -> None:
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "a":
            address = attributes.get("href") or ""
            beside = address.startswith("figures/") and (folder / address).is_file()
            assert beside or address.startswith(("#", "https://arxiv.org/abs/", "https://doi.org/"))
            continue
        for name in ("src", "href", "srcset", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_the_page_loads_nothing_by_style(folder: Path) -> None:
    styles = re.findall(r"<style[^>]*>(.*?)</style>", (folder / "index.html").read_text(encoding="utf-8"), re.DOTALL)
    assert styles
    for style in styles:
        assert "@import" not in style
        assert all(address.strip("'\" ").startswith("data:") for address in re.findall(r"url\(([^)]*)\)", style))


def test_every_result_and_every_figure_is_on_the_page(page: Page) -> None:
    for name in NAMES:
        assert f"thm-{name}" in page.ids
    for name in FIGURES:
        assert f"fig-{name}" in page.ids
    assert len(page.ids) == len(set(page.ids))
    targets = [
        (a.get("href") or "")[1:] for tag, a in page.tags if tag == "a" and (a.get("href") or "").startswith("#")
    ]
    assert targets
    assert set(targets) <= set(page.ids)


def test_a_run_that_was_lost_at_once_is_in_the_table() -> None:
    lost = {"error": None, "verdict": "fails", "criterion": "c", "architecture": "relu (diverged)"}
    row = deep_section._group_row("x: y", [lost])  # pyright: ignore[reportPrivateUsage]
    assert row[-2:] == ("0/1", "diverged")
    some = deep_section._group_row("x: y", [lost, lost | {"error": 0.5, "verdict": "holds"}])  # pyright: ignore[reportPrivateUsage]
    assert some[-2:] == ("1/2", "0.5")


def test_pictures_say_what_they_show(page: Page) -> None:
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == len(FIGURES)
    assert all(len(attributes.get("alt") or "") > 60 for attributes in pictures)


def test_it_reads_as_an_article(page: Page) -> None:
    sections = (
        "question answer proved said collapse learning hybrids masks guarantees digits deep solvers limits verified"
    )
    at = [page.ids.index(name) for name in sections.split()]
    assert at == sorted(at)
    assert set(FEATURED) <= set(FIGURES)
    for figure, results in FEATURED.items():
        # A figure stands between its results and the next heading or figure.
        place = page.ids.index(f"fig-{figure}")
        before = page.ids[:place][::-1]
        near = before[: next(i for i, name in enumerate(before) if name.startswith("fig-") or name in sections.split())]
        for result in results:
            assert f"thm-{result}" in near
            assert f"proof-{result}" in page.ids
    assert {f"fig-{name}" for name in FIGURES} <= set(page.ids[: page.ids.index("verified")])


def test_measured_figures_name_their_files(folder: Path, page: Page) -> None:
    text = " ".join(" ".join(page.words).split())
    for name in ("power", "escape"):
        made = measurements.load(name).provenance
        assert f"{name}.npz , made by {made['command']} , seed {made['seed']}" in text
        assert str(made["commit"])[:10] in text


def test_formulas_are_mathml(page: Page) -> None:
    assert sum(tag == "math" for tag, _ in page.tags) > 300
    text = " ".join(page.words)
    assert not re.search(r"\\(frac|operatorname|top|Phi|alpha)\b", text)


def test_the_pdf_carries_everything_with_embedded_fonts(folder: Path) -> None:
    reader = PdfReader(folder / "report.pdf")
    text = " ".join(p.extract_text() for p in reader.pages)
    count = len(NAMES) + sum(find(name).kind == "belief" for name in NAMES)  # a belief is followed by its repair
    assert all(re.search(rf"(Theorem|Belief|Repair) {i}\b", text) for i in range(1, count + 1))
    for sheet in reader.pages:
        for font in sheet["/Resources"]["/Font"].values():  # pyright: ignore[reportGeneralTypeIssues, reportIndexIssue, reportAttributeAccessIssue, reportOptionalSubscript]
            descendant = font.get_object()["/DescendantFonts"][0].get_object()
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(descendant["/FontDescriptor"])


def test_the_latex_is_complete(folder: Path) -> None:
    text = (folder / "derivations.tex").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"\\label{{thm-{name}}}" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.isascii() or not re.search(r"[^\x00-\x7f\u00a0-\u017f]", text)


def test_two_runs_write_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def digests(directory: Path) -> dict[str, str]:
        files = sorted(p for p in directory.rglob("*") if p.is_file())
        return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    _write(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(folder)


@pytest.mark.parametrize("name", DICTIONARY)
@pytest.mark.parametrize("correlation", [1e-6, 0.3, 0.999])
def test_variance_at_rest_solves_its_equation(name: str, correlation: float) -> None:
    entry = DICTIONARY[name]
    s = digits_section.variance_at_rest(entry, correlation)
    if name == "no-predictor":
        assert s == 0
        return
    # brentq stops at a relative 1e-14 in s, and |s g'(s)| ≤ 2 on every entry's branch up to ρ < 1.
    assert abs(float(entry.spectrum(s)) - correlation) <= 1e-13


def test_digits_come_to_rest_where_the_dictionary_says() -> None:
    found = digits_section.digits_findings()
    assert found.samples == 1797
    assert np.all(np.diff(found.correlations) <= 0)
    # The flow is integrated to a relative 1e-10 per step; a minimum forgets earlier errors, so that a hundred of them bound it.
    assert all(found.relative_error(name) < 1e-8 for name in DICTIONARY)
    assert found.negatives < 1e-13
    assert abs(found.power / found.alignment - 1) < 1e-13


def test_the_table_of_forecasts_is_what_the_experiment_judged() -> None:
    measured = measurements.load("forecast")
    rows = {row["experiment"].partition(": ")[2]: row for row in measured.rows}
    table = {row[0]: [float(value) for value in row[1:]] for row in forecast_table(measured).rows}
    names = {
        "static": "static threshold",
        "moving": "flow on features that move",
        "fitted": "threshold and flow, fitted",
    }
    others = [table[WAYS[name]] for name in ("rankme", "effective_rank", "extrapolation", "trivial")]
    for at, part in enumerate(("2%", "5%", "10%")):
        for name, words in names.items():
            area, error = table[WAYS[name]][at], table[WAYS[name]][3 + at]
            # Three and two digits are printed.
            assert area == pytest.approx(rows[f"survival, {words} at {part}"]["observed"], abs=5.1e-4)
            assert error == pytest.approx(rows[f"surviving rank, {words} at {part}"]["observed"], abs=5.1e-3)
        least = min(row[3 + at] for row in others)
        assert least == pytest.approx(rows[f"surviving rank, static threshold at {part}"]["predicted"], abs=5.1e-3)
