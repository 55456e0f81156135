"""Shrinkage: against scikit-learn on the joint sample, in one pass or many, and what it does to views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples
from sklearn.covariance import ledoit_wolf as public_ledoit_wolf  # pyright: ignore
from sklearn.covariance import oas as public_oas  # pyright: ignore

from jepalign.errors import InputError
from jepalign.linear_models.moments import PairMoments
from jepalign.linear_models.shrinkage import Estimator, ledoit_wolf, oas
from jepalign.linear_models.views import ViewPair

ESTIMATORS: tuple[Estimator, ...] = ("ledoit-wolf", "oas")
PUBLIC = {"ledoit-wolf": public_ledoit_wolf, "oas": public_oas}


def joint_sample(x: np.ndarray, y: np.ndarray, *, symmetrize: bool) -> np.ndarray:
    return np.hstack((np.vstack((x, y)), np.vstack((y, x)))) if symmetrize else np.hstack((x, y))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 60), st.booleans(), st.booleans())
@examples(40)
def test_shrinkage_is_that_of_scikit_learn(
    estimator: Estimator, seed: int, d: int, n: int, symmetrize: bool, center: bool
) -> None:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(2 * d, 2 * d))
    x, y = np.split(rng.standard_t(5, size=(n, 2 * d)) @ mix + rng.normal(size=2 * d), 2, axis=1)
    rows = joint_sample(x, y, symmetrize=symmetrize)
    expected = PUBLIC[estimator](rows, assume_centered=not center)[0]
    views = ViewPair.from_samples(x, y, symmetrize=symmetrize, center=center, shrinkage=estimator)
    assert np.abs(views.joint - expected).max() <= 1e-12 * np.abs(expected).max()
    cuts = sorted(rng.integers(0, n + 1, size=2))
    batches = [(x[a:b], y[a:b]) for a, b in zip([0, *cuts], [*cuts, n], strict=True) if a < b]
    streamed = ViewPair.from_samples(batches, symmetrize=symmetrize, center=center, shrinkage=estimator)
    assert np.abs(streamed.joint - expected).max() <= 1e-12 * np.abs(expected).max()
    assert views.exchangeable or not symmetrize


def test_fourth_moments_move_with_the_mean() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.exponential(size=(2, 30, 3)) ** 2
    parts = np.hstack((x, y))
    moments = PairMoments(3).update(x[:7], y[:7]).merge(PairMoments(3).update(x[7:], y[7:]))
    for center in (True, False):
        z = parts - parts.mean(axis=0) * center
        assert moments.fourth(center=center) == pytest.approx(np.mean(np.sum(z**2, axis=1) ** 2), rel=1e-13)
    # A mean of 1e6 standard deviations costs no digits beyond those of the samples.
    far = PairMoments(3).update(x[:7] + 1e6, y[:7] - 1e6).update(x[7:] + 1e6, y[7:] - 1e6)
    assert far.fourth() == pytest.approx(moments.fourth(), rel=1e-8)


def test_amounts_alone() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20, 4)) * np.arange(1, 5)
    S = rows.T @ rows / 20
    fourth = float(np.mean(np.sum(rows**2, axis=1) ** 2))
    assert ledoit_wolf(S, fourth, 20) == pytest.approx(public_ledoit_wolf(rows, assume_centered=True)[1], rel=1e-12)
    assert oas(S, 20) == pytest.approx(public_oas(rows, assume_centered=True)[1], rel=1e-12)
    # False siblings: n − 1 for n, and oas with n for n + 1.
    assert abs(ledoit_wolf(S, fourth, 19) / ledoit_wolf(S, fourth, 20) - 1) > 1e-3
    assert abs(oas(S, 19) / oas(S, 20) - 1) > 1e-3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_few_samples_in_many_dimensions_become_positive_definite(estimator: Estimator) -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 5, 20))
    plain, views = ViewPair.from_samples(x, y), ViewPair.from_samples(x, y, shrinkage=estimator)
    assert np.linalg.eigvalsh(plain.joint)[0] < 1e-12
    assert np.linalg.eigvalsh(views.joint)[0] > 0.1
    assert np.trace(views.joint) == pytest.approx(np.trace(plain.joint), rel=1e-13)
    # Five independent samples of 20 dimensions look perfectly correlated until they are shrunk.
    assert plain.correlations()[0] > 0.999
    assert views.correlations()[0] < 0.9


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_many_samples_hardly_shrink(estimator: Estimator) -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 100_000, 2)) * [1.0, 2.0]
    plain, views = ViewPair.from_samples(x, y), ViewPair.from_samples(x, y, shrinkage=estimator)
    assert 0 < np.abs(plain.joint - views.joint).max() < 1e-3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_units_and_limits(estimator: Estimator) -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 12, 3))
    views = ViewPair.from_samples(x, y, shrinkage=estimator)
    for unit in (2.0**-110, 2.0**110):
        scaled = ViewPair.from_samples(unit * x, unit * y, shrinkage=estimator)
        assert np.array_equal(scaled.joint, unit**2 * views.joint)
    constant = ViewPair.from_samples(np.ones((4, 2)), np.ones((4, 2)), shrinkage=estimator)
    assert np.array_equal(constant.joint, np.zeros((4, 4)))
    for unit in (1e-60, 1e60):
        with pytest.raises(InputError, match="variance"):
            ViewPair.from_samples(unit * x, unit * y, shrinkage=estimator)


def test_unknown_estimators_are_refused() -> None:
    x = np.random.default_rng(5).normal(size=(5, 2))
    with pytest.raises(InputError, match="shrinkage"):
        ViewPair.from_samples(x, x, shrinkage="ridge")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="samples"):
        oas(np.eye(2), 0)
