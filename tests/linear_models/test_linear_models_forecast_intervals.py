"""Intervals of a forecast: resampled moments against multinomial counts, coverage where the law of the error is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.forecast import LastLayer
from jepalign.linear_models.forecast.intervals import (
    beyond,
    block_weights,
    conformal,
    interval,
    rank_range,
    resampled,
)


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


def test_signed_errors_hold_a_new_one_as_often_as_is_promised_and_miss_it_alike_on_both_sides() -> None:
    rng = np.random.default_rng(3)
    n, draws = 39, 4000
    # Skewed: all of them on one side but a tenth.
    errors = rng.exponential(size=(draws, n + 1)) - 0.1
    bounds = np.array([conformal(known, level=0.9) for known in errors[:, :n]])
    new = errors[:, n]
    # (n+1)·0.05 = 2: beyond either side lie exactly 2 of 40, whatever the law; binomial with 4000 draws, 0.0034 a standard error.
    assert (new < bounds[:, 0]).mean() == pytest.approx(0.05, abs=0.012)
    assert (new > bounds[:, 1]).mean() == pytest.approx(0.05, abs=0.012)
    # False sibling: the quantiles of the sample itself hold 0.9·38/40 of them, four standard errors of 0.0047 too few.
    plain = np.quantile(errors[:, :n], (0.05, 0.95), axis=1)
    assert ((plain[0] <= new) & (new <= plain[1])).mean() < 0.9 - 0.02
    # Ranks tie, which only adds.
    ranks = np.round(2 * errors)
    tied = np.array([conformal(known, level=0.9) for known in ranks[:, :n]])
    assert ((tied[:, 0] <= ranks[:, n]) & (ranks[:, n] <= tied[:, 1])).mean() > 0.9


def test_places_of_the_bounds_and_what_too_few_runs_say() -> None:
    assert conformal(np.arange(1.0, 20.0), level=0.9) == (1.0, 19.0)  # 20·0.05 = 1, the ends of 19
    assert conformal(np.arange(1.0, 100.0), level=0.9) == (5.0, 95.0)  # 100·0.05 = 5, not 4 by rounding
    assert conformal(np.arange(1.0, 19.0), level=0.9) == (-np.inf, np.inf)
    assert conformal([0.0], level=0.5) == (-np.inf, np.inf)
    low, high = rank_range([0, 3, 8], (-0.25, 0.5), 8)
    assert (low.tolist(), high.tolist()) == ([0, 1, 6], [4, 7, 8])
    # Outwards: shares of another width need not be whole dimensions of this one; whole ones stay what they are.
    low, high = rank_range(4, (-1 / 16, 1 / 16), 8)
    assert (int(low), int(high)) == (3, 5)
    thirds = rank_range(np.arange(49), (-1 / 49, 1 / 49), 49)
    assert np.array_equal(thirds, [np.maximum(np.arange(49) - 1, 0), np.minimum(np.arange(49) + 1, 49)])
    assert [int(each) for each in rank_range(3, (-np.inf, np.inf), 5)] == [0, 5]


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
        (lambda: conformal([]), "errors"),
        (lambda: conformal([np.nan]), "errors"),
        (lambda: conformal([1.0], level=1.0), "level"),
        (lambda: rank_range([1.0], (0.0, 0.0), 0), "width"),
        (lambda: rank_range([np.nan], (0.0, 0.0), 1), "told"),
        (lambda: resampled(*blocks(0, 1), 3, seed=0), "blocks"),
        (lambda: resampled(blocks(0, 2)[0], blocks(0, 2, 4)[1], 3, seed=0), "blocks"),
        (lambda: resampled(*blocks(0, 2), 0, seed=0), "replicates"),
    ],
)
def test_bad_input_is_refused_by_name(make, argument: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=f"^{argument} "):
        make()
