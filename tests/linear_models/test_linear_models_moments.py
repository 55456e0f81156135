"""Moments in batches: against all samples at once in exact arithmetic, however they are split."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.moments import PairMoments


def exact(samples: np.ndarray) -> np.ndarray:
    rows = np.array([[Fraction(float(value)) for value in row] for row in samples], dtype=object)
    rows = rows - rows.sum(axis=0) / len(rows)
    return (rows.T @ rows / len(rows)).astype(float)


@given(st.integers(0, 2**32), st.lists(st.integers(1, 20), min_size=2, max_size=5), st.sampled_from([0.0, 1.0, 1e6]))
@examples(25)
def test_batches_and_merges_are_exact(seed: int, sizes: list[int], offset: float) -> None:
    rng = np.random.default_rng(seed)
    samples = offset + rng.normal(size=(sum(sizes), 4))
    expected = exact(samples)
    parts = np.split(samples, np.cumsum(sizes)[:-1])
    streamed, merged = PairMoments(2), PairMoments(2)
    for part in parts:
        streamed.update(part[:, :2], part[:, 2:])
        merged.merge(PairMoments(2).update(part[:, :2], part[:, 2:]))
    for found in (streamed, merged):
        assert found.count == len(samples)
        # Sums of at most 100 products around the origin, which is a few standard deviations from the mean.
        assert np.abs(found.views().joint - expected).max() <= 1e-12 * np.abs(expected).max()


def test_bad_batches_are_refused() -> None:
    moments = PairMoments(2)
    for x, y, argument in (
        (np.ones((3, 1)), np.ones((3, 1)), "x"),
        (np.ones((3, 2)), np.ones((2, 2)), "y"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "x"),
    ):
        with pytest.raises(InputError) as caught:
            moments.update(x, y)
        assert caught.value.argument == argument
    with pytest.raises(InputError, match="at least 2"):
        moments.update(np.ones((1, 2)), np.ones((1, 2))).views()
    with pytest.raises(InputError, match="other"):
        moments.merge(PairMoments(3))
