"""The report: an article on one page that needs no network, the same as a PDF, the derivations, every figure."""

from collections.abc import Callable
from pathlib import Path

from jepalign import document as doc
from jepalign.article import report_document
from jepalign.deep_section import every_measurement, origin
from jepalign.derivations import derivation_document
from jepalign.digits_section import digits_findings
from jepalign.figures import FIGURES, figure
from jepalign.latex import render_latex
from jepalign.pages import write_html, write_pdf
from jepalign.storage import write_text
from jepalign.theory.catalogue import NAMES
from jepalign.verification import Progress, verify_all


def figure_blocks(
    directory: Path, venue: str, progress: Callable[[int, str], None]
) -> tuple[dict[str, doc.Picture], list[Path]]:
    """Draw every figure into ``directory``; return them with captions, descriptions and origins, and the paths written."""
    from jepalign.figures.publication import export

    pictures: dict[str, doc.Picture] = {}
    paths: list[Path] = []
    for done, name in enumerate(FIGURES):
        progress(done, name)
        drawn = figure(name)
        data = drawn.compute()
        paths += export(drawn, directory, venue, data=data)
        measured = origin([path.name for path in data.inputs])
        pictures[name] = doc.Picture(
            pdf=directory / f"{name}.pdf",
            png=directory / f"{name}.png",
            caption=drawn.caption(data),
            alt=drawn.alt(data),
            label=f"fig-{name}",
            origin=f"Drawn by `jepalign figures {name}`. {measured}".strip(),
            files=tuple(f"{directory.name}/{name}.{ending}" for ending in ("pdf", "csv", "tex")),
        )
    return pictures, paths


def write_report(directory: Path, *, venue: str = "neurips", progress: Progress | None = None) -> list[Path]:
    """Verify, draw, compute and write everything to ``directory``; return the paths written.

    ``index.html`` is the page, ``report.pdf`` the same in print, ``derivations.tex`` the derivations to paste, ``figures/`` each
    figure as PDF and PNG with its data and its caption. Raises ``InputError`` for an unknown venue or a missing measurement,
    before anything is written.
    """
    from jepalign.figures.style import venue_named

    total = len(FIGURES) + len(NAMES) + 3

    def tell(done: int, message: str) -> None:
        if progress is not None:
            progress(done, total, message)

    venue_named(venue)
    found = every_measurement()
    pictures, paths = figure_blocks(directory / "figures", venue, lambda done, name: tell(done, f"figure {name}"))
    reports = verify_all(NAMES, progress=lambda done, _total, name: tell(len(FIGURES) + done, name))
    tell(total - 3, "linear encoders on digits")
    document = report_document(reports, pictures, digits_findings(), found)
    tell(total - 2, "typesetting")
    page, pdf, tex = (directory / name for name in ("index.html", "report.pdf", "derivations.tex"))
    latex = render_latex(derivation_document(reports))  # before anything is written: it refuses what it cannot spell
    write_html(document, page)
    tell(total - 1, "typesetting the PDF")
    write_pdf(document, pdf)
    write_text(tex, latex)
    tell(total, "done")
    return [page, pdf, tex, *paths]
