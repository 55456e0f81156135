"""Publication figures, drawn from predictions and stored measurements; no torch needed.

Importing this package imports neither NumPy nor Matplotlib; drawing does.
"""

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from jepalign.errors import InputError

if TYPE_CHECKING:
    from jepalign.figures.publication import PublicationFigure

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "lens": "jepalign.figures.lens:Lens",
        "dictionary": "jepalign.figures.dictionary:Dictionary",
        "map": "jepalign.figures.implicit_uniformity:Map",
        "power": "jepalign.figures.implicit_power:Power",
        "ablation": "jepalign.figures.ablation:Ablation",
        "collapse": "jepalign.figures.collapse:Collapse",
        "escape": "jepalign.figures.escape:Escape",
        "trajectories": "jepalign.figures.trajectories:Trajectories",
        "hybrids": "jepalign.figures.hybrids:Hybrids",
        "masks": "jepalign.figures.masking:Masks",
        "world-model": "jepalign.figures.world_model:WorldModel",
        "eigenproblem": "jepalign.figures.eigenproblem:Eigenproblem",
        "guarantees": "jepalign.figures.guarantees:Guarantees",
        "deep": "jepalign.figures.deep:Deep",
        "solvers": "jepalign.figures.solvers:Solvers",
    }
)
"""Every figure by name, in the order of the story, as "module:class"."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the one of ``known`` that looks most like ``name``."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def figure(name: str) -> "PublicationFigure":
    """Return the figure ``name``, with its methods ``compute``, ``draw``, ``caption`` and ``alt``.

    Raises
    ------
    InputError
        For an unknown name; the nearest is suggested.
    """
    if name not in FIGURES:
        raise InputError("name", name, f"must be one of {', '.join(FIGURES)}; the nearest is {nearest(name, FIGURES)}")
    module, attribute = FIGURES[name].split(":")
    return getattr(importlib.import_module(module), attribute)()


def export(
    names: str | Iterable[str],
    out: str | PathLike[str],
    venue: str = "neurips",
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Write figures as NAME.pdf, NAME.png, NAME.csv and NAME.tex and return the paths.

    Parameters
    ----------
    names : str or iterable of str
        Keys of ``FIGURES``; none at all means every figure.
    out : path
        A directory, made if need be.
    venue : str
        A key of ``jepalign.figures.style.VENUES``: neurips, icml, iclr, tmlr or jmlr.
    progress : callable, optional
        Called with (figures done, figures in all, message).

    Raises
    ------
    InputError
        For an unknown name or venue (before anything is written), an ``out`` that is a file, or missing data.
    """
    from jepalign.figures import publication, style

    wanted = [names] if isinstance(names, str) else list(names) or list(FIGURES)
    found = [figure(name) for name in wanted]
    style.venue_named(venue)
    written: list[Path] = []
    for done, each in enumerate(found):
        if progress is not None:
            progress(done, len(found), each.name)
        written += publication.export(each, out, venue)
    if progress is not None:
        progress(len(found), len(found), "done")
    return written
