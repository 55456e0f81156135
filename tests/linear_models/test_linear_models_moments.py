"""Moments in batches: against all samples at once in exact arithmetic, however they are split."""

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.moments import PairMoments
from jepalign.linear_models.views import ViewPair


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
        assert np.abs(ViewPair.from_moments(found).joint - expected).max() <= 1e-12 * np.abs(expected).max()


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
        moments.update(np.ones((1, 2)), np.ones((1, 2))).covariances()
    with pytest.raises(InputError, match="other"):
        moments.merge(PairMoments(3))


def direct(x: np.ndarray, y: np.ndarray, *, symmetrize: bool, center: bool) -> np.ndarray:
    """Return the joint moments by their definition, in exact arithmetic."""
    d = x.shape[1]
    rows = np.hstack((np.vstack((x, y)), np.vstack((y, x)))) if symmetrize else np.hstack((x, y))
    if center:
        return exact(rows)
    terms = np.array([[Fraction(float(value)) for value in row] for row in rows], dtype=object)
    assert rows.shape[1] == 2 * d
    return (terms.T @ terms / len(terms)).astype(float)


@given(st.integers(0, 2**32), st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0, 1e6]))
@examples(30)
def test_samples_and_batches_have_the_moments_of_their_definition(
    seed: int, symmetrize: bool, center: bool, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y = offset * rng.normal(size=(1, 3)) + rng.normal(size=(2, 17, 3))
    expected = direct(x, y, symmetrize=symmetrize, center=center)
    batches = [(x[:1], y[:1]), (x[1:12], y[1:12]), (x[12:], y[12:])]
    found = [
        ViewPair.from_samples(x, y, symmetrize=symmetrize, center=center),
        ViewPair.from_samples(batches, symmetrize=symmetrize, center=center),
        ViewPair.from_samples(iter(batches), symmetrize=symmetrize, center=center),
    ]
    for views in found:
        # Differences from the first sample are rounded once, by eps of the samples: at a mean of 1e6 standard
        # deviations the samples themselves carry no more. Each is a product of such a difference with a deviation.
        rounding = 40 * np.finfo(float).eps * (1 if center else 1 + offset**2)
        assert np.abs(views.joint - expected).max() <= rounding * max(1.0, np.abs(expected).max())
        assert views.exchangeable or not symmetrize


def test_two_views_of_different_means_are_pooled() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 25, 2))
    y += 1e6
    joint = ViewPair.from_samples(x, y, symmetrize=True).joint
    expected = direct(x, y, symmetrize=True, center=True)
    assert np.abs(joint - expected).max() <= 1e-14 * np.abs(expected).max()
    # The pooled mean differs from each: without its part the moments would be those of one view.
    assert np.abs(ViewPair.from_samples(x, y).context).max() < 1e-9 * np.abs(expected).max()


def test_a_large_file_never_sits_in_memory(tmp_path: Path) -> None:
    n, d = 200_000, 32
    path = tmp_path / "samples.float32"
    rng = np.random.default_rng(5)
    samples = np.memmap(path, dtype=np.float32, mode="w+", shape=(n, 2 * d))
    for start in range(0, n, 10_000):
        samples[start : start + 10_000] = rng.normal(size=(10_000, 2 * d)) + 3
    samples.flush()
    stored = np.memmap(path, dtype=np.float32, mode="r", shape=(n, 2 * d))

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, n, 7_000):
            yield stored[start : start + 7_000, :d], stored[start : start + 7_000, d:]

    tracemalloc.start()
    try:
        whole = ViewPair.from_samples(stored[:, :d], stored[:, d:])
        streamed = ViewPair.from_samples(batches())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A few copies of one chunk of 2 MiB and of a 64 × 64 matrix; the samples in float64 would be 100 MiB.
    assert peak < 12 * 2**20
    expected = np.cov(np.asarray(stored, dtype=float).T, bias=True)
    for views in (whole, streamed):
        # Partial sums of at most 7000 rows, then one per chunk.
        assert np.allclose(views.joint, expected, rtol=0, atol=1e-12)


def test_a_refused_batch_leaves_no_trace() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 70_000, 2))
    moments = PairMoments(2).update(x[:10], y[:10])
    before = moments.covariances()
    y[-1] = np.nan  # in the second chunk: the first has been read already
    with pytest.raises(InputError, match="finite"):
        moments.update(x, y)
    assert moments.count == 10
    assert all(np.array_equal(a, b) for a, b in zip(before, moments.covariances(), strict=True))


@pytest.mark.parametrize(
    ("batches", "argument", "condition"),
    [
        ([], "x", "at least 2 samples"),
        ([(np.ones((1, 2)), np.ones((1, 2)))], "x", "at least 2 samples"),
        ([np.ones((3, 2))], "x", "pair"),
        ([1.0], "x", "pair"),
        ([(np.ones((3, 2)), np.ones((3, 3)))], "y", "(3, 2)"),
        ([(np.ones((3, 2)), np.ones((3, 2))), (np.ones((3, 1)), np.ones((3, 1)))], "x", "2 columns"),
        (np.ones((3, 2)), "y", "given"),
        (3.0, "y", "given"),
    ],
)
def test_bad_iterables_are_refused(batches: object, argument: str, condition: str) -> None:
    with pytest.raises(InputError) as caught:
        ViewPair.from_samples(batches)  # pyright: ignore[reportArgumentType]
    assert caught.value.argument == argument
    assert condition in caught.value.condition
