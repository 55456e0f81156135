"""What the figure of masks shows is true: its fields against the views' eigenproblems, and the measurement that it is given."""

from typing import Literal

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures import masking as shown
from jepalign.figures.masking import TARGETS, Masks, poisson_blocks
from jepalign.figures.publication import FigureData
from jepalign.linear_models.masking.laws import BlockMask, MaskLaw, exponential_tokens
from jepalign.linear_models.masking.spectrum import mask_spectrum, rank_map
from jepalign.measurements import Measurement, save


@pytest.fixture(scope="module")
def data() -> FigureData:
    return Masks().compute()


@pytest.mark.parametrize("target", ["output", "input"])
def test_the_field_over_ratios_is_that_of_the_views(target: Literal["output", "input"], data: FigureData) -> None:
    field = data[f"{target} ratio/share"]
    n = shown.TOKENS
    S = exponential_tokens(n, shown.CORRELATION, circular=True)
    for index in range(0, len(field.x), 29):
        ratio, length = field.x[index], int(field.y[index])
        # Two tokens are both visible if no block starts where it hides one of them: of n places, so many.
        starts = np.arange(n)
        hit = [len({(place - shift) % n for shift in range(length) for place in (0, int(d))}) for d in starts]
        first = (1 - ratio) ** (np.array(hit) / length)
        law = MaskLaw(np.full(n, 1 - ratio), first[(starts - starts[:, None]) % n])
        views = mask_spectrum(S, law, target)
        assert views.aligned
        # A mode within rounding of its threshold may fall on either side.
        clear = np.abs(views.threshold / shown.DECAY - 1) > 1e-9
        least, most = (views.threshold[clear] > shown.DECAY).sum(), (~clear).sum()
        assert least <= round(field.extra["value"][index] * n) <= least + most


def test_poisson_blocks_have_the_moments_of_drawn_masks() -> None:
    count, length, ratio, draws = 7, 3, 0.6, 40_000
    generator = np.random.default_rng(0)
    number = generator.poisson(-np.log(1 - ratio) * count / length, draws)
    visible = np.ones((draws, count))
    for block in range(int(number.max())):
        starts = generator.integers(count, size=draws)
        hidden = (np.arange(count) - starts[:, None]) % count < length
        visible[(number > block)[:, None] & hidden] = 0
    row = poisson_blocks(count, length, ratio)
    # A mean of 40,000 zeros and ones is off by at most 0.5/200 in one standard deviation; five of them for 7 entries.
    assert np.abs((visible.T @ visible / draws)[0] - row).max() <= 5 * 0.5 / 200
    assert row[0] == pytest.approx(1 - ratio, rel=1e-14)


@pytest.mark.parametrize("target", ["output", "input"])
def test_the_field_over_decays_is_that_of_the_views(target: Literal["output", "input"], data: FigureData) -> None:
    count = shown.MEASURED_TOKENS
    field = data[f"{target} decay/share"]
    S = exponential_tokens(count, shown.MEASURED_CORRELATION, circular=True)
    told = rank_map(S, [BlockMask(count, length) for length in range(1, count)], shown.DECAYS, target)
    assert np.array_equal((field.extra["value"] * count).round().reshape(len(shown.DECAYS), count - 1), told.T)


def invented() -> Measurement:
    """Return a measurement of the shape that the experiment writes, one rank of the ring and one bound passed."""
    ring = np.array([[[3.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])
    seen = ring.copy()
    seen[0, 0, 0] = 4.0
    deep = np.array([1.0, 2.0, 1.0, 2.0]).reshape(2, 2, 1, 1, 1)
    arrays = {
        "target": np.array(TARGETS),
        "length": np.array([1.0, 2.0]),
        "weight_decay": np.array([0.1, 0.2]),
        "ring_rank": seen,
        "ring_predicted": ring,
        "line_rank": ring + np.array([0.0, 1.0]),
        "line_bound": ring + 0.5,
        "image_rank": np.full((2, 1, 2), 2.0),
        "image_bound": np.full((2, 1, 2), 8.0),
        "deep_rank": deep,
        "deep_start": deep + 2,
        "deep_end": deep - 0.5,
    }
    return Measurement("masks", arrays, [], "", {})


def test_the_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    measurement = invented()
    save(measurement, str(tmp_path))
    data = Masks(str(tmp_path)).compute()
    arrays = measurement.arrays
    for t, target in enumerate(TARGETS):
        points = {
            (x, y): round(value * shown.MEASURED_TOKENS)
            for series in data.panel(f"{target} decay")[1:]
            for x, y, value in zip(series.x, series.y, series.extra["value"], strict=True)
        }
        assert points == {
            (length, decay): arrays["ring_rank"][t, b, e]
            for b, length in enumerate(arrays["length"])
            for e, decay in enumerate(arrays["weight_decay"])
        }
        for name, told, seen in (
            ("line of tokens", "line_bound", "line_rank"),
            ("digits", "image_bound", "image_rank"),
        ):
            series = data[f"{target} told/{name}"]
            assert np.array_equal(series.x, arrays[told][t].ravel())
            assert np.array_equal(series.y, arrays[seen][t].ravel())
        assert np.array_equal(data[f"{target} told/deep, before"].x, arrays["deep_start"][:, t].ravel())
    numbers = [data.numbers[key] for key in ("ring", "ring wrong", "bound", "bound passed", "before", "after", "width")]
    assert numbers == [8.0, 1.0, 12.0, 4.0, 2.0, 0.5, 4.0]
    assert data.numbers["image share"] == 0.25


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate masks"):
        Masks(str(tmp_path)).compute()
