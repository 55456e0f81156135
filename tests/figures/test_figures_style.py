"""The style: venues as their style files have them, colours for every eye and in grey, no global state."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures import style
from jepalign.figures.publication import FigureData, Series, density, number, plot
from jepalign.figures.style import COLOURS, VENUES, Evidence, Page

# Roles that share axes somewhere in the set.
TOGETHER = [
    ("attraction", "repulsion", "jepa"),
    ("attraction", "repulsion", "spectral-contrastive"),
    ("spectral-contrastive", "gaussian-infonce", "log-det", "directpred", "no-predictor"),
    ("jepa", "spectral-contrastive"),
    ("jepa", "no-predictor"),
    ("jepa", "directpred"),
    ("jepa", "spectral-contrastive", "gaussian-infonce", "barlow-twins", "vicreg", "whitened"),
    ("jepa", "spectral-contrastive", "log-det", "vicreg", "sigreg"),
    ("jepa", "autoencoder"),
    ("jepa", "attraction", "repulsion", "spectral-contrastive", "ema"),
]

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(
    ("name", "text", "column", "body"),
    [
        # \textwidth; the column; the body type: see the sources named in style.py.
        ("neurips", 5.5, 5.5, 10),
        ("icml", 6.75, (6.75 - 0.25) / 2, 10),
        ("iclr", 5.5, 5.5, 10),
        ("tmlr", 6.5, 6.5, 10),
        ("jmlr", 6.0, 6.0, 11),
    ],
)
def test_venues_are_those_of_the_style_files(name: str, text: float, column: float, body: float) -> None:
    venue = VENUES[name]
    assert (venue.text, venue.column, venue.body) == (text, column, body)
    for width, narrow in ((text, False), (column, True)):
        assert Page(name, 2.0, column=narrow).get_size_inches().tolist() == [width, 2.0 * body / 10]


@pytest.mark.parametrize("venue", VENUES.values(), ids=VENUES)
def test_no_type_is_below_six_points(venue: style.Venue) -> None:
    # Mathtext's scripts are 0.7 of their base, and scripts are allowed at the label size only.
    assert venue.note >= 6
    assert 0.7 * venue.label >= 6


def test_every_colour_stands_out_on_white() -> None:
    for colour in COLOURS.values():
        luminance = TO_XYZ[1] @ linear(colour)
        # 3 is the Web Content Accessibility Guidelines' least contrast for graphical objects.
        assert 1.05 / (luminance + 0.05) >= 3


# Parallel test processes must see one order, which a set of texts does not have.
PAIRS = sorted({pair for group in TOGETHER for pair in itertools.combinations(group, 2)})


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_roles_that_meet_differ_in_grey_and_to_every_eye(first: str, second: str) -> None:
    a, b = linear(COLOURS[first]), linear(COLOURS[second])
    # Ten of the hundred steps of lightness are seen at a glance between thin lines; CIELAB distance 15 between colours.
    assert abs(lab(a)[0] - lab(b)[0]) >= 10
    for matrix in VISIONS.values():
        assert np.linalg.norm(lab(matrix @ a) - lab(matrix @ b)) >= 15


def test_every_kind_of_evidence_has_its_own_line() -> None:
    assert len({repr(kind.value) for kind in Evidence}) == len(Evidence)


@pytest.mark.parametrize("name", VENUES)
def test_the_context_leaves_matplotlib_as_it_was(name: str) -> None:
    before = dict(mpl.rcParams)
    with style.venue(name) as venue:
        assert mpl.rcParams["axes.labelsize"] == venue.label
        assert dict(mpl.rcParams) != before
    assert dict(mpl.rcParams) == before
    with pytest.raises(RuntimeError, match="inside"), style.venue(name):
        raise RuntimeError("inside")
    assert dict(mpl.rcParams) == before


def test_a_page_does_not_follow_the_users_settings() -> None:
    def ticks() -> set[float | str]:
        with style.venue("icml"):
            page = Page("icml", 2.0)
            page.subplots().plot([0, 1], [0, 1])
        page.draw_without_rendering()  # outside, where Matplotlib makes the ticks
        return {label.get_fontsize() for label in page.axes[0].get_xticklabels()}

    with mpl.rc_context({"xtick.labelsize": 31, "font.size": 40}):
        assert ticks() == {VENUES["icml"].note}


@pytest.mark.parametrize("wrong", ["neurip", "NeurIPS", "", "icml2025"])
def test_an_unknown_venue_is_refused_with_the_nearest(wrong: str) -> None:
    with pytest.raises(InputError, match=f"venue = {wrong}: must be one of neurips, icml, .*; the nearest"):
        style.venue_named(wrong)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.5, 3, "0.500"),
        (-0.26, 1, "-0.3"),
        (12.3456, 3, "12.3"),
        (1234.4, 3, "1234"),
        (-0.0012345, 3, "-0.00123"),
        (1.24e-5, 2, r"1.2\times 10^{-5}"),
        (9.996, 3, "10.0"),
        (6.02e23, 3, r"6.02\times 10^{23}"),
        (0.0, 2, "0.0"),
    ],
)
def test_numbers_in_captions(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_the_table_is_exact_and_in_long_form() -> None:
    third = np.array([1 / 3, 2.5e-301])
    data = FigureData(
        (
            Series("a", "one", Evidence.PROVED, np.array([0.0, 0.1]), third),
            Series("b", "two", Evidence.MEASURED, third, -third, {"run": np.array(["x", "y, z"])}),
        ),
        {},
    )
    lines = data.table().splitlines()
    assert lines[0] == "panel,series,evidence,x,y,run"
    assert lines[1] == f"a,one,proved,0.0,{1 / 3!r},"
    assert lines[4] == 'b,two,measured,2.5e-301,-2.5e-301,"y, z"'
    assert data["b/two"].x is third
    assert [series.name for series in data.panel("a")] == ["one"]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_density_has_its_cells_around_its_points(logarithmic: bool) -> None:
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.5])
    grid = [part.ravel() for part in np.meshgrid(x, y)]
    series = Series("a", "field", Evidence.COMPUTED, grid[0], grid[1], {"value": np.arange(6.0)})
    with style.venue("icml"):
        page = Page("icml", 2.0)
        axes = page.subplots()
        if logarithmic:
            axes.set_xscale("log")
        mesh = density(axes, series)
    corners = np.asarray(mesh.get_coordinates())
    middle = 2**0.5 if logarithmic else 1.5
    assert corners[0, 1, 0] == pytest.approx(middle, rel=1e-15)
    assert corners[:, 0, 1].tolist() == [0.0, 1.0, 2.0]
    assert np.asarray(mesh.get_array()).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_intervals_are_bars_through_markers_and_bands_around_lines() -> None:
    x, y = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    ends = {"low": y - 0.5, "high": y + 1.0}
    with style.venue("icml"):
        axes = Page("icml", 2.0).subplots()
        for kind in (Evidence.MEASURED, Evidence.COMPUTED):
            plot(axes, Series("a", kind.name, kind, x, y, ends), "jepa")
    bars, band = (part for part in axes.collections if str(part.get_gid()).endswith(", interval"))
    assert [np.asarray(path.vertices)[:, 1].tolist() for path in bars.get_paths()] == [[1.5, 3.0], [2.5, 4.0]]
    (path,) = band.get_paths()
    assert set(map(tuple, np.asarray(path.vertices).tolist())) == {(0, 1.5), (0, 3.0), (1, 2.5), (1, 4.0)}
