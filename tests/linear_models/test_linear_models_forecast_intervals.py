"""Intervals of a forecast: resampled moments against multinomial counts, coverage where the law of the error is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.forecast import LastLayer
from jepalign.linear_models.forecast.intervals import beyond, block_weights, interval, resampled


def blocks(seed: int, count: int, h: int = 3) -> tuple[LastLayer, list[ViewPair]]:
    rng = np.random.default_rng(seed)
    pairs = [(rng.normal(size=(20, h)), rng.normal(size=(20, h))) for _ in range(count)]
    parts = [ViewPair.from_samples(*pair, center=False) for pair in pairs]
    whole = ViewPair.from_samples(*(np.concatenate(side) for side in zip(*pairs, strict=True)), center=False)
    return LastLayer(whole, rng.normal(size=(2, h)), rng.normal(size=(2, 2)), below=(0.5,)), parts


def test_weights_are_shares_of_draws_with_replacement() -> None:
    weights = block_weights(5, 20_000, seed=0)
    assert weights.sum(1) == pytest.approx(1)
    assert np.array_equal(np.unique(np.round(5 * weights)), np.arange(6))
    # Multinomial: mean 1/B, variance (1/B)(1 − 1/B)/B, covariance −1/B³; four standard errors of 20,000 draws.
    covariance = np.cov(weights.T)
    assert weights.mean(0) == pytest.approx(0.2, abs=4 * np.sqrt(0.032 / 20_000))
    assert np.diag(covariance) == pytest.approx(0.032, rel=0.06)
    assert covariance[~np.eye(5, dtype=bool)] == pytest.approx(-0.008, rel=0.2)


@given(st.integers(0, 10**6), st.integers(2, 6))
@examples(10)
def test_resampled_moments_are_those_of_the_blocks_drawn_and_the_mean_of_all_is_the_batch(
    seed: int, count: int
) -> None:
    layer, parts = blocks(seed, count)
    drawn = resampled(layer, parts, 4, seed=seed)
    for own, shares in zip(drawn, block_weights(count, 4, seed=seed), strict=True):
        expected = sum(share * part.cross for share, part in zip(shares, parts, strict=True))
        assert own.views.cross == pytest.approx(expected)
        assert own.encoder is layer.encoder or np.array_equal(own.encoder, layer.encoder)
        assert own.below == layer.below
    assert np.mean([part.context for part in parts], axis=0) == pytest.approx(layer.views.context)


def test_an_interval_covers_as_often_as_it_says_where_errors_are_log_normal() -> None:
    rng = np.random.default_rng(1)
    truth, s = 0.7, 0.3
    told = truth * np.exp(s * rng.normal(size=(4000, 1)))
    replicates = told * np.exp(s * rng.normal(size=(200, 4000, 1)))
    found = interval(told, replicates, floor=1e-6)
    share = ((found.low <= truth) & (truth <= found.high)).mean()
    # Binomial with 4000 trials: 0.005 a standard error; and 200 replicates tell s to 5%, half a percent of coverage.
    assert share == pytest.approx(0.9, abs=0.02)
    assert found.drift.max() == 0
    halved = interval(told, replicates, floor=1e-6, level=0.5)
    assert ((halved.low <= truth) & (truth <= halved.high)).mean() == pytest.approx(0.5, abs=0.035)


def test_drift_is_what_a_record_ago_was_told_and_the_dead_widen_nothing() -> None:
    found = interval([2.0, 1e-9, 0.0], None, [1.0, 1e-30, 0.0], floor=1e-3)
    assert found.drift == pytest.approx([np.log(2), 0.0, 0.0])
    z = 1.6448536269514722
    assert found.high == pytest.approx([2 * 2**z, 1e-3, 1e-3])
    assert found.low == pytest.approx([2 / 2**z, 1e-3, 1e-3])
    assert [int(rank) for rank in found.ranks(1.0)] == [0, 1]
    both = interval([2.0], [[1.0], [4.0]], [1.0], floor=1e-3)
    assert np.log(both.high / 2) == pytest.approx(z * np.hypot(np.log(4) / np.sqrt(2), np.log(2)))


def test_what_known_ends_lie_beyond_widens_intervals_to_cover_new_ones() -> None:
    rng = np.random.default_rng(2)

    def runs(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # The error has a part that neither sampling nor drift knows.
        told = np.exp(rng.normal(size=(count, 4)))
        return told, told * np.exp(0.1 * rng.normal(size=told.shape)), told * np.exp(0.8 * rng.normal(size=told.shape))

    told, before, end = runs(500)
    plain = interval(told, None, before, floor=1e-6)
    more = beyond(plain, end, floor=1e-6)
    assert ((plain.low <= end) & (end <= plain.high)).mean() < 0.3
    again, earlier, ends = runs(500)
    wide = interval(again, None, earlier, floor=1e-6, beyond=more)
    # 2000 known and 2000 new ends: two standard errors of 0.007 each.
    assert ((wide.low <= ends) & (ends <= wide.high)).mean() == pytest.approx(0.9, abs=0.02)
    assert beyond(wide, again, floor=1e-6) == 0  # the centre lies in every interval
    known = interval(told, None, before, floor=1e-6, beyond=more)
    assert ((known.low <= end) & (end <= known.high)).mean() >= 0.9


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: interval([1.0], [[1.0]], floor=1e-3), "replicates"),
        (lambda: interval([1.0], [[1.0, 2.0], [1.0, 2.0]], floor=1e-3), "replicates"),
        (lambda: interval([1.0], None, [1.0, 2.0], floor=1e-3), "earlier"),
        (lambda: interval([1.0], floor=0.0), "floor"),
        (lambda: interval([1.0], floor=1e-3, level=1.0), "level"),
        (lambda: interval([1.0], floor=1e-3, beyond=-1.0), "beyond"),
        (lambda: beyond(interval([1.0], floor=1e-3), [1.0, 2.0], floor=1e-3), "ends"),
        (lambda: beyond(interval([1.0], floor=1e-3), [1.0], floor=1e-3, level=0.0), "level"),
        (lambda: resampled(*blocks(0, 1), 3, seed=0), "blocks"),
        (lambda: resampled(blocks(0, 2)[0], blocks(0, 2, 4)[1], 3, seed=0), "blocks"),
        (lambda: resampled(*blocks(0, 2), 0, seed=0), "replicates"),
    ],
)
def test_bad_input_is_refused_by_name(make, argument: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=f"^{argument} "):
        make()
