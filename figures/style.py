"""The look of every figure: venues, colours, kinds of evidence.

A venue fixes widths and type sizes as its style file has them; a role (an objective, a term of the force) has one
colour in every figure; a kind of evidence has one line style. Nothing here touches Matplotlib's global state.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure, SubFigure

from jepalign.errors import InputError
from jepalign.figures import nearest

HOST = ("backend", "interactive", "toolbar")
"""Beginnings of the settings that belong to the program around a figure."""


@dataclass(frozen=True)
class Venue:
    """Widths and type of one venue.

    Attributes
    ----------
    name, title : str
        As on the command line, and as printed.
    text, column : float
        Widths of the text block and of a column, inches; equal where there is one column.
    body : float
        Size of the body type, points.
    family, math : str
        ``font.family`` and ``mathtext.fontset``: what Matplotlib ships that is nearest to the venue's typeface.
    """

    name: str
    title: str
    text: float
    column: float
    body: float
    family: str
    math: str

    @property
    def label(self) -> float:
        r"""Size of axis labels and of anything with a sub- or superscript: LaTeX's ``\small``, points.

        Mathtext sets scripts at 0.7 of the size, so that this keeps them at 6 points and more.
        """
        return self.body - 1.0

    @property
    def note(self) -> float:
        r"""Size of tick labels and notes without scripts: LaTeX's ``\footnotesize``, points."""
        return self.body - 2.0


# From neurips_2025.sty, icml2025.sty (two columns in 6.75, 0.25 apart), iclr2025_conference.sty, tmlr.sty, and
# jmlr2e.sty with the 11pt of its sample. The first three set Times, TMLR Latin Modern, JMLR Computer Modern.
VENUES: Mapping[str, Venue] = MappingProxyType(
    {
        venue.name: venue
        for venue in (
            Venue("neurips", "NeurIPS", 5.5, 5.5, 10.0, "STIXGeneral", "stix"),
            Venue("icml", "ICML", 6.75, 3.25, 10.0, "STIXGeneral", "stix"),
            Venue("iclr", "ICLR", 5.5, 5.5, 10.0, "STIXGeneral", "stix"),
            Venue("tmlr", "TMLR", 6.5, 6.5, 10.0, "cmr10", "cm"),
            Venue("jmlr", "JMLR", 6.0, 6.0, 11.0, "cmr10", "cm"),
        )
    }
)


class Evidence(Enum):
    """How a plotted thing is known; the value is its line style (measured things are markers without a line)."""

    PROVED = "-"
    COMPUTED = (0, (4.0, 1.6))
    MEASURED = "none"


# One colour per objective and per term of the force, through the whole set. Roles that share axes differ by 10 or more
# in lightness, to be told apart in grey, and by 15 or more in CIELAB to normal eyes and with each of three simulated
# deficiencies; every colour has a contrast of 3 or more on white. The tests compute all of this.
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "attraction": "#0B64AD",
        "repulsion": "#D55E00",
        "jepa": "#000000",
        "spectral-contrastive": "#3B0A80",
        "log-det": "#8E0E14",
        "gaussian-infonce": "#0F6D47",
        "no-predictor": "#787878",
        "directpred": "#C98500",
        "barlow-twins": "#584500",
        "vicreg": "#A65EA5",
        "whitened": "#5992FF",
        "sigreg": "#24A677",
        "autoencoder": "#B77837",
        "ema": "#693159",
    }
)
DENSITY = "cividis"
"""The colour map of dense fields: rising in lightness throughout, and the same to normal and colour-blind eyes."""

INK, FAINT = "#000000", "#5F5F5F"
REPULSION_TINT, REVERSED_TINT = "#FBEADF", "#F2D3BE"
COLLAPSE_TINT = "#E9E9E9"
"""The ground of what collapses."""


def venue_named(name: str) -> Venue:
    """Return the venue ``name``; raise ``InputError`` with the nearest known one if there is none."""
    if name not in VENUES:
        raise InputError("venue", name, f"must be one of {', '.join(VENUES)}; the nearest is {nearest(name, VENUES)}")
    return VENUES[name]


def settings(of: Venue) -> dict[Any, Any]:
    """Return Matplotlib's complete settings for a venue: its defaults, not the user's own, and ours over them."""
    defaults = {key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if not key.startswith(HOST)}
    ours = {
        "font.family": [of.family],
        "mathtext.fontset": of.math,
        "font.size": of.note,
        "axes.labelsize": of.label,
        "axes.titlesize": of.label,
        "axes.titlelocation": "left",
        "axes.titlepad": 4.0,
        "axes.labelpad": 2.0,
        "xtick.labelsize": of.note,
        "ytick.labelsize": of.note,
        "legend.fontsize": of.note,
        "legend.frameon": False,
        "axes.formatter.use_mathtext": True,
        "axes.unicode_minus": False,  # cmr10 has no such glyph; mathtext sets a true minus anyway
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "xtick.major.pad": 2.5,
        "ytick.major.pad": 2.5,
        "lines.linewidth": 1.3,
        "lines.markersize": 3.5,
        "lines.solid_capstyle": "round",
        "hatch.linewidth": 0.4,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.hashsalt": "jepalign",
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.02,
        "figure.constrained_layout.h_pad": 0.02,
    }
    return {**defaults, **ours}


@contextmanager
def venue(name: str) -> Generator[Venue, None, None]:
    """Make Matplotlib draw for the venue ``name`` inside the ``with`` block; after it the settings are as before.

    Examples
    --------
    >>> with venue("icml") as icml:
    ...     icml.column, icml.label
    (3.25, 9.0)
    """
    found = venue_named(name)
    with mpl.rc_context(settings(found)):
        yield found


class Page(Figure):
    """A Matplotlib figure of exactly a venue's width that keeps the venue's style wherever it is drawn or saved.

    Parameters
    ----------
    venue : str
        A key of ``VENUES``.
    height : float
        Inches where the body type is 10 points; taller in proportion for larger type, so that labels keep their room.
    column : bool
        One column wide instead of the text block.
    """

    def __init__(self, venue: str, height: float, *, column: bool = False) -> None:
        self.venue = venue_named(venue)
        with mpl.rc_context(settings(self.venue)):
            width = self.venue.column if column else self.venue.text
            super().__init__(figsize=(width, height * self.venue.body / 10))

    def draw(self, renderer: RendererBase) -> None:
        """Draw under the venue's settings: Matplotlib makes ticks, and parses text, only now."""
        with mpl.rc_context(settings(self.venue)):
            super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Save under the venue's settings, which decide how fonts are embedded."""
        # Matplotlib's Computer Modern has odd dates in its header, of which fontTools would warn each time.
        logger = logging.getLogger("fontTools.ttLib.tables._h_e_a_d")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with mpl.rc_context(settings(self.venue)):
                super().savefig(*arguments, **options)
        finally:
            logger.setLevel(level)


@contextmanager
def sheet(venue_name: str, height: float, axes: Axes | None = None) -> Generator[Page | SubFigure, None, None]:
    """Yield what a figure draws on: a page of a venue under its settings, or the place of ``axes`` under the settings in force.

    Parameters
    ----------
    venue_name : str
        A key of ``VENUES``.
    height : float
        Of the page, as ``Page`` has it.
    axes : Axes, optional
        Somebody's own, made by ``subplots`` or from a grid; they are taken out of their figure, and what is drawn fills
        their place.

    Raises
    ------
    InputError
        For an unknown venue, or axes that are placed by hand.
    """
    if axes is None:
        with venue(venue_name):
            yield Page(venue_name, height)
        return
    venue_named(venue_name)
    place, owner = axes.get_subplotspec(), axes.get_figure(root=False)
    if place is None or owner is None:
        raise InputError("axes", axes.get_label() or "axes", "must have been made by subplots or from a grid")
    axes.remove()
    yield owner.add_subfigure(place)


def whole(page: Page | SubFigure) -> Figure:
    """Return the figure that something was drawn on, or in a part of."""
    return page if isinstance(page, Figure) else page.get_figure(root=True)
