"""A diagnosis as one page to read offline, with its figures beside it."""

import math
import re
from pathlib import Path

import numpy as np

from jepalign import document as doc
from jepalign.diagnosis import pictures
from jepalign.diagnosis.diagnosis import Diagnosis
from jepalign.diagnosis.modes import State
from jepalign.diagnosis.text import (
    HEADER,
    PAST_HEADER,
    REMEDY_HEADER,
    cells,
    explained,
    facts,
    past_rows,
    remedy_rows,
    shown,
    together,
)
from jepalign.pages import write_html
from jepalign.storage import written_whole


def write_page(found: Diagnosis, folder: Path) -> list[Path]:
    """Write diagnosis.html, its figures as PDF and PNG, and dimensions.npz to a folder that exists; return the paths.

    dimensions.npz has the numbers of every dimension and its axis in the embedding, a column of ``axes``, (k, m): project on these to see
    what a dimension holds.
    """
    drawn = {"dimensions": pictures.dimensions(found), "predictor": pictures.predictor(found)}
    if any(0 < each.weight < math.inf for each in found.remedies.terms):
        drawn["keeping"] = pictures.keeping(found)
    files = {name: pictures.save(page, folder, name) for name, page in drawn.items()}
    document = doc.Document(
        title=f"Diagnosis of {_literal(found.source)}",
        authors=(),
        abstract=_literal(found.verdict),
        blocks=tuple(_blocks(found, files)),
        references=(),
    )
    page = write_html(document, folder / "diagnosis.html")
    return [page, *(path for pair in files.values() for path in pair), _arrays(found, folder / "dimensions.npz")]


def _arrays(found: Diagnosis, path: Path) -> Path:
    table = found.table
    numbers = {"axes": table.axes, "predictor": table.predictor, "weight": table.weight, **table.values.items()}
    with written_whole(path) as temporary:
        np.savez(temporary, allow_pickle=False, state=np.array([each.value for each in table.states]), **numbers)
    return path


def _blocks(found: Diagnosis, files: dict[str, tuple[Path, Path]]) -> list[doc.Block]:
    step = "" if found.step is None else f" Step {found.step}."
    blocks: list[doc.Block] = [
        doc.Paragraph(_literal(f"Trust: {found.trust}.{step}")),
        doc.Heading(1, "What is known", "known"),
        doc.Paragraph(_literal(found.table.basis.sentence)),
        doc.ItemList(tuple(map(_literal, facts(found)))),
        doc.Heading(1, "Dimension by dimension, each taken alone", "dimensions"),
        *(doc.Paragraph(_literal(line)) for line in together(found)),
        doc.Picture(
            *files["dimensions"],
            caption="The variance of every dimension of the embedding and, where the weight decay is known, its margin: a dimension whose"
            " margin is below 1 decays from everywhere. Marks say what becomes of a dimension taken alone; lines are 95 % intervals from"
            " the sampling of rows.",
            alt="Variances and margins of the dimensions in descending order, marked by what becomes of them.",
            label="figure-dimensions",
        ),
        _table(
            HEADER,
            cells(found.table, shown(found.table)),
            "Dimensions, each taken alone, ± half of a 95 % interval.",
            "table-dimensions",
        ),
        doc.ItemList(
            tuple(_literal(f"{each.value}: {each.sentence}") for each in State if found.table.counted(each).size)
        ),
        doc.Heading(1, "The predictor", "predictor"),
        doc.Picture(
            *files["predictor"],
            caption="The predictor along the axes of the embedding, the correlations of the views there, and the entries of the dictionary"
            " that are nearest, at their best temperature: a predictor that is a function of the embedding covariance implements a"
            " uniformity (`jepalign explain dictionary`).",
            alt="The predictor's diagonal against the embedding's variances, with two curves of the dictionary.",
            label="figure-predictor",
        ),
        _table(
            ("entry", "distance", "temperature"),
            [(each.label, f"{each.distance:.0%}", f"{each.scale:.3g}") for each in found.reading.likenesses],
            "Root mean square of what the entry leaves of the predictor.",
            "table-predictor",
        ),
        doc.Heading(1, "What would keep them", "remedies"),
        *_remedies(found, files),
        doc.Heading(1, "How far this is from the theorems", "assumptions"),
        _table(
            ("assumption", "distance", "", "what it is, and what needs it"),
            [
                (each.name, f"{each.distance:.2g}", "holds" if each.holds else "off", each.words)
                for each in found.assumptions
            ],
            "Distances from what the theorems assume, 0 where they hold.",
            "table-assumptions",
        ),
        doc.ItemList(tuple(map(_literal, found.rates.remarks))),
    ]
    if found.past:
        blocks += [
            doc.Heading(1, "The run so far", "run"),
            _table(PAST_HEADER, past_rows(found), "The records in order of step.", "table-run"),
        ]
    return blocks


def _remedies(found: Diagnosis, files: dict[str, tuple[Path, Path]]) -> list[doc.Block]:
    remedies = found.remedies
    if not remedies.terms:
        return [doc.Paragraph(_literal(f"No remedy is computed: {remedies.why_none}."))]
    blocks: list[doc.Block] = [_table(REMEDY_HEADER, remedy_rows(found), explained(found), "table-remedies")]
    if "keeping" in files:
        blocks.append(
            doc.Picture(
                *files["keeping"],
                caption="The weight of each term that holds so many of the endangered dimensions, the cheapest first.",
                alt="Weights of explicit terms, rising with the number of dimensions that they keep.",
                label="figure-keeping",
            )
        )
    return blocks


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], caption: str, label: str) -> doc.Table:
    cleaned = tuple(tuple(map(_literal, row)) for row in rows)
    return doc.Table(tuple(map(_literal, header)), cleaned, _literal(caption), label)


def _literal(text: str) -> str:
    """Return a text that the markup leaves as it is; file names may hold any of its signs."""
    return re.sub(r"[$`*]|\[(?=[@#])", "", text).replace("η_c", r"$\eta_c$").replace("Φ_jj", r"$\Phi_{jj}$")
