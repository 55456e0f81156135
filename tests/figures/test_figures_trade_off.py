"""The figure of a design: it shows its data, reads off the answer, and nothing overlaps or is cut off."""

import itertools
from functools import cache

import numpy as np
import pytest
from figures_pages import artists, texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from jepalign.figures.publication import FigureData
from jepalign.figures.style import VENUES, Evidence
from jepalign.figures.trade_off import NEEDED, PAID, RANK, MaskCurve, TradeOff
from jepalign.linear_models.masking.stationary import circular_modes, independent_modes
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, VarianceHinge

CROSS, VARIANCE = np.array([0.9, -0.8, 0.7, 0.5, 0.4, 0.3, 0.1]), np.array([1.0, 2.0, 1.0, 1.0, 0.8, 1.0, 0.5])
EIGENVALUES = np.array([3.0, 1.5, 0.8, 0.5, 0.2])


def terms() -> TradeOff:
    explicit = {"spectral": Spectral(), "vicreg": VarianceHinge(), "log-det": LogDet(), "sigreg": SIGReg()}
    return TradeOff(CROSS, VARIANCE, 4, 0.02, 2.0, terms=explicit)


def masks() -> TradeOff:
    ratios = np.linspace(0.01, 0.99, 99)
    modes = independent_modes(EIGENVALUES, ratios, "input")
    blocks = circular_modes(8, 0.6, np.arange(1, 8), target="input")

    def limit(cross: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return np.sort(cross**2 / (4 * variance), axis=1)[:, -2]

    curves = (
        MaskCurve("independent tokens", "attraction", ratios, limit(modes.cross, modes.variance)),
        MaskCurve("one block", "repulsion", blocks.ratio, limit(blocks.cross, blocks.variance), discrete=True),
    )
    some = {f"{r:.0%} hidden": (modes.cross[i], modes.variance[i]) for i, r in ((24, 0.25), (74, 0.75))}
    return TradeOff(modes.cross[49], modes.variance[49], 2, 0.01, masks=curves, masked=some)


MADE = {"terms": terms, "masks": masks}


@cache
def drawn(kind: str, venue: str) -> tuple[FigureData, Figure]:
    figure = MADE[kind]()
    data = figure.compute()
    page = figure.draw(data, venue=venue)
    page.set_dpi(200)
    FigureCanvasAgg(page).draw()
    return data, page


@pytest.mark.parametrize("kind", MADE)
def test_what_is_drawn_is_what_is_computed(kind: str) -> None:
    data, page = drawn(kind, "neurips")
    shown = artists(page)
    for series in data.series:
        line = shown[series.gid]
        assert isinstance(line, Line2D)
        assert np.array_equal(np.asarray(line.get_xdata()), series.x)
        assert np.array_equal(np.asarray(line.get_ydata()), series.y)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("venue", VENUES)
def test_text_is_whole_and_apart(kind: str, venue: str) -> None:
    _, page = drawn(kind, venue)
    for text, box in texts(page):
        assert page.bbox.x0 - 0.5 <= box.x0 <= box.x1 <= page.bbox.x1 + 0.5, text
        assert page.bbox.y0 - 0.5 <= box.y0 <= box.y1 <= page.bbox.y1 + 0.5, text
    for (one, a), (two, b) in itertools.combinations(texts(page), 2):
        overlap = Bbox.intersection(a, b)
        assert overlap is None or min(overlap.width, overlap.height) <= 1, (one, two)


def test_ranks_fall_with_decay_and_pass_the_wanted_one_at_the_answer() -> None:
    data, _ = drawn("terms", "neurips")
    first, *others = data.panel(RANK)
    largest = data.numbers["largest"]
    assert largest == np.sort(CROSS**2 / (4 * VARIANCE))[-4]
    assert (first.y[first.x < largest] >= 4).all()
    assert (first.y[first.x > largest] < 4).all()
    assert len(others) == 3
    for series in (first, *others):
        assert (np.diff(series.y) <= 0).all()
    for series in data.panel(NEEDED):
        assert (np.diff(series.y) > -1e-12 * series.y[1:]).all()
        assert series.evidence is (Evidence.COMPUTED if series.name == "sigreg" else Evidence.PROVED)


def test_the_price_is_a_quarter_of_the_variance_at_a_modes_own_threshold() -> None:
    """One mode: at η_c it has p = ρ/2, hence s at a quarter and 2ρp − p² at three quarters."""
    figure = TradeOff(np.array([0.8]), np.array([1.0]), 1, 0.1, terms={"spectral": Spectral()})
    data = figure.compute()
    for series, left in zip(data.panel(PAID), (0.25, 0.75), strict=True):
        before = series.y[series.x < data.numbers["largest"]][-1]
        assert before == pytest.approx(left, abs=1e-4)  # 1e-9 below the threshold, from which p₊ rises as a root
        assert (series.y[series.x > data.numbers["largest"]] == 0).all()


@pytest.mark.parametrize("kind", MADE)
def test_caption_and_description_have_the_numbers(kind: str) -> None:
    figure = MADE[kind]()
    data = figure.compute()
    for text in (figure.caption(data), figure.alt(data)):
        assert str(figure.rank) in text
        assert "nan" not in text
    assert "Estimates" not in figure.caption(data)
