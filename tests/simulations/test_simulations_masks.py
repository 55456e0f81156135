"""Pieces of the experiment on masks: moments that are a law's, ranks of modes that are known, and rows."""

import numpy as np
import pytest
import torch

from jepalign.linear_models import ViewPair
from jepalign.linear_models.collapse.thresholds import critical_weight_decay
from jepalign.linear_models.masking.laws import BlockMask, exponential_tokens
from jepalign.simulations.masks import (
    CORRELATION,
    SCALES,
    TARGETS,
    TOKENS,
    Target,
    block_patterns,
    bound_rows,
    deep_run,
    image_run,
    surviving_ranks,
    token_views,
    with_moments,
    wrong,
)
from jepalign.simulations.results import numpy

CPU = torch.device("cpu")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("circular", [True, False])
def test_views_of_tokens_have_the_moments_of_the_law(target: Target, circular: bool) -> None:
    x, y = (
        numpy(part) for part in token_views(block_patterns(3, circular=circular), target, circular=circular, device=CPU)
    )
    S = exponential_tokens(TOKENS, CORRELATION, circular=circular)
    # The law by its own formula, not from the patterns.
    law = ViewPair.masked(S, BlockMask(TOKENS, 3, circular), target)
    n = len(x)
    np.testing.assert_allclose(x.T @ x / n, law.context, atol=1e-14)
    np.testing.assert_allclose(y.T @ y / n, law.target, atol=1e-14)
    np.testing.assert_allclose(y.T @ x / n, law.cross, atol=1e-14)


def test_a_small_sample_has_the_moments_of_a_large_one() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(500, 5)) * [3, 1, 1, 0.1, 0]
    views = ViewPair.from_samples(x, np.tanh(x) + 0.1 * rng.normal(size=x.shape), center=False)
    first, second = (numpy(part) for part in with_moments(views, CPU))
    n = len(first)
    for left, right, expected in (
        (first, first, views.context),
        (second, second, views.target),
        (second, first, views.cross),
    ):
        np.testing.assert_allclose(left.T @ right / n, expected, atol=1e-12)


def test_ranks_of_known_modes_of_both_signs() -> None:
    lam, s = np.array([0.9, -0.8, 0.5, -0.2]), np.ones(4)
    joint = np.block([[np.diag(s), np.diag(lam)], [np.diag(lam), np.diag(s)]])
    draw = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 8)))[0] * np.sqrt(32)
    sample = draw @ np.linalg.cholesky(joint).T
    x, y = (torch.as_tensor(part.copy()) for part in (sample[:, :4], sample[:, 4:]))
    decays = np.array([0.04, 0.1, 0.18, 0.3])
    expected = (critical_weight_decay(lam, s)[:, None] > decays).sum(0)
    assert expected.tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(surviving_ranks(x, y, decays, 20.0), expected)
    # A contrastive encoder keeps what is correlated beyond the decay, and nothing of negative sign.
    np.testing.assert_array_equal(surviving_ranks(x, y, decays, 20.0, contrastive=True), [2, 2, 2, 2])


def test_masked_images_keep_no_more_than_the_bound() -> None:
    plan = SCALES["quick"]
    for target in TARGETS:
        rank, bound, off = image_run(target, 0.7, plan, 0, CPU)
        assert (rank <= bound).all()
        assert off < 0.2  # 480 masked images of 60: some 1/√8 of the share of a pixel's own variance


def test_deep_ranks_are_told_by_the_features_at_the_end() -> None:
    seen, start, end = deep_run("tanh", "output", 4, np.array([0.3]), 15.0, 0, CPU)
    assert seen == end
    assert start > end


def test_cases_that_are_wrong_near_a_threshold_or_lost() -> None:
    told, seen = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 4.0, np.nan])
    found = wrong(told, seen, np.array([True, True, False, True]))
    np.testing.assert_array_equal(found[:3], [0, 2, 0])
    assert np.isnan(found[3])
    rows = bound_rows("x", np.array([[[2.0]], [[1.0]]]), np.array([[[1.0]], [[1.0]]]))
    assert [row["verdict"] for row in rows] == ["fails", "holds"]
