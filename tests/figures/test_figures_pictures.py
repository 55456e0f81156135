"""Every figure looks as it did, stands out on its ground, and can be put into somebody's own."""

import dataclasses
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
import pytest
from figures_baseline import distance, picture, stored
from figures_pages import artists, data_of, drawn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from jepalign.errors import InputError
from jepalign.figures import FIGURES, figure, style

# Another serif typeface, whose wider tick labels move the axes by a pixel or two, displaces up to 0.31 of the ink; what
# is drawn an eighth of the width beside its place displaces more.
TOLERANCE = 0.32


@pytest.mark.parametrize("name", FIGURES)
def test_it_looks_as_it_did(name: str) -> None:
    now, then = picture(figure(name).draw(data_of(name))), stored(name)
    assert now.shape == then.shape
    assert distance(now, then) <= TOLERANCE
    assert distance(np.roll(now, now.shape[1] // 8, axis=1), then) > TOLERANCE, "the comparison sees nothing"


@pytest.mark.parametrize("name", ["escape", "power"])
def test_another_typeface_looks_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = dataclasses.replace(style.VENUES["neurips"], family="DejaVu Serif", math="dejavuserif")
    monkeypatch.setattr(style, "VENUES", MappingProxyType({**style.VENUES, "neurips": changed}))
    assert 0 < distance(picture(figure(name).draw(data_of(name))), stored(name)) <= TOLERANCE


def luminance(colour: object) -> float:
    """Return the relative luminance of a colour (Web Content Accessibility Guidelines)."""
    channels = np.array(to_rgb(colour))  # type: ignore[arg-type]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("name", FIGURES)
def test_text_stands_out_on_white(name: str) -> None:
    for axes in drawn(name, "neurips").axes:
        for text in [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]:
            if text.get_text().strip():
                # Labels repeat the colour of their curve, for which 3 is asked; what is read alone has ink's 21 or 6.5.
                assert 1.05 / (luminance(text.get_color()) + 0.05) >= 3, text.get_text()


@pytest.mark.parametrize("name", ["dictionary", "escape", "lens"])
def test_it_goes_into_somebodys_own_figure(name: str) -> None:
    with mpl.rc_context({"font.size": 7, "axes.labelsize": 7}):
        own = Figure(figsize=(12, 5), layout="constrained")
        mine, place = own.subplots(1, 2)
        (line,) = mine.plot([0, 1], [1, 0])
        found = figure(name).draw(data_of(name), axes=place)
        own.draw_without_rendering()
    assert found is own
    assert place not in own.axes
    assert list(mine.lines) == [line]
    shown = {series.gid for series in data_of(name).series if series.name != "flow"}
    assert shown <= set(artists(own))
    others = [axes for axes in own.axes if axes is not mine]
    assert others
    assert {axes.xaxis.label.get_fontsize() for axes in others} == {7}
    middle = own.bbox.width / 2
    assert all(axes.get_position().x0 >= 0 and axes.bbox.x0 > middle * 0.9 for axes in others)


def test_axes_that_are_placed_by_hand_are_refused() -> None:
    own = Figure()
    with pytest.raises(InputError, match="must have been made by subplots or from a grid"):
        figure("escape").draw(data_of("escape"), axes=own.add_axes((0.1, 0.1, 0.8, 0.8)))
    assert len(own.axes) == 1
