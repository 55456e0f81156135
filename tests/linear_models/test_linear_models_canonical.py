"""Canonical correlations against fifty digits, with their signs, and how far views are from the assumptions of theorems."""

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from linear_models_strategies import Drawn, drawn_views, examples, make_views, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models.canonical import canonical_pairs, signed_correlations
from jepalign.linear_models.departures import Departures, departures
from jepalign.linear_models.views import ViewPair

EPS = np.finfo(float).eps


def reference(views: ViewPair, *, signed: bool) -> np.ndarray:
    """Whiten by Cholesky factors in 50 digits, from the float64 covariances as they are."""
    with mp.workdps(50):
        first, second, cross = (mp.matrix(part.tolist()) for part in (views.context, views.target, views.cross))
        lower: list[Any] = [mp.cholesky(part) for part in (first, second)]
        whitened: Any = mp.inverse(lower[1]) * cross * mp.inverse(lower[0]).T
        values: Any = mp.eigsy((whitened + whitened.T) / 2, True) if signed else mp.svd_r(whitened, compute_uv=False)
        return np.sort([float(value) for value in values])[::-1]


def condition(views: ViewPair) -> float:
    """The larger condition of the two covariances in units of standard deviations."""
    found: list[float] = []
    for value in (views.context, views.target):
        units = np.sqrt(np.diag(value))
        found.append(float(np.linalg.cond(value / np.outer(units, units))))
    return max(found)


@pytest.mark.parametrize("exchangeable", [True, False])
@pytest.mark.parametrize(("dimension", "size"), [(1, 1.0), (3, 1e2), (7, 1e5), (12, 1e8)])
def test_correlations_are_those_of_fifty_digits(dimension: int, size: float, exchangeable: bool) -> None:
    for seed in range(3):
        views = make_views(seed, dimension, size, exchangeable=exchangeable).views
        # Eigenvectors and -values are exact for covariances moved by about √d·eps of their largest eigenvalue. Each moves
        # the whitened cross-covariance, of norm at most 1, by half of that times the condition on either side.
        bound = 4 * np.sqrt(dimension) * EPS * condition(views)
        assert np.abs(views.correlations() - reference(views, signed=False)).max() <= bound
        if exchangeable:
            assert np.abs(signed_correlations(views) - reference(views, signed=True)).max() <= bound


def test_units_of_the_columns_cost_nothing() -> None:
    # Condition 1e24 as given, below 1e3 in units of standard deviations.
    drawn = make_views(1, 5, 10.0, exchangeable=False).views
    units = 10.0 ** np.array([-6, -3, 0, 3, 6])
    scaled = ViewPair(*(part * np.outer(units, units) for part in (drawn.context, drawn.target, drawn.cross)))
    assert np.abs(scaled.correlations() - drawn.correlations()).max() <= 50 * EPS * condition(drawn)


@given(drawn_views(dimensions=(1, 12), conditions=(0, 8)))
@examples(60)
def test_pairs_satisfy_their_definition(drawn: Drawn) -> None:
    views, d = drawn.views, drawn.views.dimension
    found = canonical_pairs(views)
    # a and b have norms up to the root of the condition: their products with Σ lose as much as it.
    bound = 20 * d * EPS * drawn.condition
    for moment, left, right, expected in (
        (views.context, found.context, found.context, np.eye(d)),
        (views.target, found.target, found.target, np.eye(d)),
        (views.cross, found.target, found.context, np.diag(found.correlation)),
    ):
        assert np.abs(left.T @ moment @ right - expected).max() <= bound
    assert np.all(np.diff(found.correlation) <= 0)


@given(drawn_views(exchangeable=True))
@examples(40)
def test_signs_are_kept(drawn: Drawn) -> None:
    tolerance = 50 * drawn.views.dimension * drawn.condition * EPS
    signed = signed_correlations(drawn.views)
    assert np.allclose(signed, np.sort(drawn.correlations)[::-1], rtol=0, atol=tolerance)
    assert np.allclose(np.sort(np.abs(signed))[::-1], drawn.views.correlations(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", range(6))
def test_directions_without_variance_are_left_out(seed: int) -> None:
    # x and y live in 2 and 3 of 5 dimensions, whose other directions hold nothing but rounding.
    rng = np.random.default_rng(seed)
    small = make_views(seed, 3, 10.0, exchangeable=False).views
    first, second = orthogonal(rng, 5)[:, :2], orthogonal(rng, 5)[:, :3]
    cross = small.cross[:, :2]
    views = ViewPair(
        first @ small.context[:2, :2] @ first.T, second @ small.target @ second.T, second @ cross @ first.T
    )
    found = canonical_pairs(views)
    assert found.correlation.shape == (2,)
    assert found.context.shape == found.target.shape == (5, 2)
    inside = ViewPair(
        np.block([[small.context[:2, :2], np.zeros((2, 1))], [np.zeros((1, 2)), np.eye(1)]]),
        small.target,
        np.hstack((cross, np.zeros((3, 1)))),
    )
    expected = np.append(inside.correlations()[:2], np.zeros(3))
    # A condition of 10 within the span, in units that the other directions have a share in.
    assert np.abs(views.correlations() - expected).max() <= 1e4 * EPS
    assert np.all(views.correlations()[2:] == 0)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_signed_correlations_of_singular_views(rank: int) -> None:
    rng = np.random.default_rng(rank)
    axes = orthogonal(rng, 4)[:, :rank]
    rho = np.linspace(-0.9, 0.6, rank)
    scale = rng.uniform(0.5, 2, size=rank)
    views = ViewPair(axes * scale @ axes.T, axes * scale @ axes.T, axes * (scale * rho) @ axes.T)
    expected = np.sort(np.append(rho, np.zeros(4 - rank)))[::-1]
    assert np.abs(signed_correlations(views) - expected).max() <= 1e-13
    assert np.abs(views.correlations() - np.sort(np.abs(expected))[::-1]).max() <= 1e-13


def test_signs_need_exchangeable_views() -> None:
    with pytest.raises(InputError, match="exchangeable"):
        signed_correlations(ViewPair(np.eye(2), 2 * np.eye(2), np.eye(2) / 2))


def test_whitening_both_sides_by_the_context_is_something_else() -> None:
    views = make_views(0, 4, 100.0, exchangeable=False).views
    root = np.linalg.inv(np.linalg.cholesky(views.context))
    sibling = np.linalg.svd(root @ views.cross @ root.T, compute_uv=False)
    assert np.abs(sibling - views.correlations()).max() > 1e-2


# -- departures -----------------------------------------------------------------------------------------------------------


def aligned(seed: int, dimension: int) -> ViewPair:
    """Return exchangeable views that have modes."""
    rng = np.random.default_rng(seed)
    axes = orthogonal(rng, dimension)
    variance = rng.uniform(0.5, 2, size=dimension)
    context = axes * variance @ axes.T
    return ViewPair(context, context, axes * (variance * rng.uniform(-0.9, 0.9, size=dimension)) @ axes.T)


@pytest.mark.parametrize("seed", range(5))
def test_views_that_satisfy_an_assumption_depart_by_nothing(seed: int) -> None:
    d = 1 + seed
    found = departures(aligned(seed, d))
    assert found.variance == 0
    assert found.asymmetry <= 10 * EPS
    assert found.commutation <= 10 * d * EPS  # a product of two matrices that commute but for rounding
    cross = aligned(seed, d).cross / 2
    assert departures(ViewPair(np.eye(d), np.eye(d), cross)).identity_variance == 0
    assert departures(ViewPair(np.eye(d), np.eye(d), cross)).commutation <= EPS
    assert departures(ViewPair(*np.zeros((3, d, d)))) == Departures(0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 0.1])
def test_departures_are_first_order_in_what_is_added(epsilon: float) -> None:
    views = ViewPair(np.diag([1.0, 2.0]), np.diag([1.0, 2.0]), np.diag([0.5, 0.1]))
    flip, turn = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [-1.0, 0.0]])
    mixed = departures(ViewPair(views.context, views.target, views.cross + epsilon * flip))
    size = np.sqrt(0.26 + 2 * epsilon**2)
    # [diag(1, 2), εF] has two entries ±ε, and ‖diag(1, 2)‖ = √5.
    assert mixed.commutation == pytest.approx(np.sqrt(2) * epsilon / (np.sqrt(2) * np.sqrt(5) * size), rel=1e-9)
    assert mixed.asymmetry == 0
    turned = departures(ViewPair(views.context, views.target, views.cross + epsilon * turn))
    assert turned.asymmetry == pytest.approx(np.sqrt(2) * epsilon / size, rel=1e-9)
    assert turned.commutation == 0
    wide = departures(ViewPair(views.context, (1 + epsilon) * views.target, views.cross))
    assert wide.variance == pytest.approx(epsilon / (2 + epsilon), rel=1e-9)
    white = departures(ViewPair((1 + epsilon) * np.eye(2), np.eye(2), 0 * np.eye(2)))
    assert white.identity_variance == pytest.approx(epsilon / (2 + epsilon), rel=1e-9)


@given(drawn_views())
@examples(40)
def test_departures_are_relative(drawn: Drawn) -> None:
    views, d = drawn.views, drawn.views.dimension
    found = departures(views)
    axes = orthogonal(drawn.rng, d)
    turned = departures(ViewPair(*(axes @ part @ axes.T for part in (views.context, views.target, views.cross))))
    for one, other in zip(vars(found).values(), vars(turned).values(), strict=True):
        assert 0 <= one <= 1
        assert abs(one - other) <= 100 * d * EPS
    for unit in (2.0**-600, 2.0**600):
        scaled = departures(ViewPair(*(unit * part for part in (views.context, views.target, views.cross))))
        assert (scaled.variance, scaled.asymmetry) == pytest.approx((found.variance, found.asymmetry), abs=1e-15)
        assert scaled.commutation == pytest.approx(found.commutation, abs=1e-14)
        assert scaled.identity_variance == pytest.approx(1.0, abs=1e-15)
    assert views.exchangeable == (max(found.variance, found.asymmetry) < 1e-9)


def test_time_that_turns_is_as_far_from_symmetric_as_can_be() -> None:
    turn = np.array([[0.0, -0.5], [0.5, 0.0]])
    assert departures(ViewPair(np.eye(2), np.eye(2), turn)).asymmetry == 1
