"""Barlow Twins: both losses and their gradients against 50 digits, what their minima are, and where modes rest."""

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_references import matrix_of, mp_gradient
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models import BarlowTwins, Status, ViewPair

FORMS = pytest.mark.parametrize("form", ["simon", "published"])
SMALL = drawn_views(dimensions=(1, 3), conditions=(0.0, 2.0))
ALIGNED = ViewPair.from_covariances(np.diag([1.0, 2.0, 0.5]), np.diag([1.0, 2.0, 0.5]), np.diag([0.6, 1.5, -0.2]))


def printed(form: str, views: ViewPair, off_diagonal: float) -> Any:
    """Return the loss as it is printed, in mpmath."""
    x, y, yx = (matrix_of(part) for part in (views.context, views.target, views.cross))

    def loss(W: Any) -> Any:
        K, total = W * yx * W.T, mp.mpf(0)
        phi_x, phi_y = W * x * W.T, W * y * W.T
        for i in range(W.rows):
            for j in range(W.rows):
                if form == "simon":
                    total += ((K[i, j] + K[j, i]) / 2 - (i == j)) ** 2
                else:
                    R = K[i, j] / mp.sqrt(phi_y[i, i] * phi_x[j, j])
                    total += (1 - R) ** 2 if i == j else off_diagonal * R**2
        return total

    return loss


@FORMS
@given(drawn=SMALL, off_diagonal=st.floats(0.0, 2.0))
@examples(12)
def test_loss_and_gradient_against_fifty_digits(form: Any, drawn: Drawn, off_diagonal: float) -> None:
    objective = BarlowTwins(drawn.views, form=form, off_diagonal=off_diagonal)
    W = drawn.rng.normal(size=(drawn.width(), drawn.views.dimension))
    loss = printed(form, drawn.views, off_diagonal)
    with mp.workdps(50):
        value = float(loss(matrix_of(W)))
    # Correlations are quotients whose error is rounding times the condition of Σ; a covariance's is ‖W‖² roundings.
    size = (1 + np.square(W).sum()) ** 2 * (drawn.condition if form == "published" else 1.0)
    assert abs(objective.loss(W) - value) <= 1e-14 * size
    gradient, found = mp_gradient(loss, W), objective.gradient(W)
    assert np.abs(found - gradient).max() <= 1e-13 * size * np.sqrt(drawn.condition)
    parts = objective.forces(W)
    np.testing.assert_allclose(parts.attraction + parts.explicit_repulsion, -found, atol=1e-14 * size)
    assert np.abs(parts.attraction + 2 * parts.explicit_repulsion + gradient).max() > 1e-9 or len(W) == 1


@given(drawn=drawn_views(dimensions=(1, 6), conditions=(0.0, 3.0)))
@examples(15)
def test_optimum_is_one_of_many_with_the_loss_zero_where_covariances_are_positive(drawn: Drawn) -> None:
    objective, k = BarlowTwins(drawn.views), drawn.width()
    W = objective.optimum(k)
    values = np.linalg.eigvalsh((drawn.views.cross + drawn.views.cross.T) / 2)[::-1][:k]
    # 1/√λ multiplies roundings of C by 1/λ.
    error = 1e-13 / np.abs(values[values > 0]).min(initial=1.0)
    missing = int((values <= 0).sum())
    best = objective.minimum(k)
    assert abs(best - missing) <= error
    assert np.abs(objective.gradient(W)).max() <= error * (1 + np.abs(W).max())
    assert abs(objective.loss(orthogonal(drawn.rng, k) @ W) - best) <= error
    for size in (1e-2, 1.0):
        assert objective.loss(W + drawn.rng.normal(size=W.shape) * size) >= best - error
    if not missing:
        # Another row space with the same loss, if there is another positive direction: no selection.
        rest = drawn.rng.normal(size=(k, k)) * 0.3 + np.eye(k)
        other = rest @ W
        gram = other @ drawn.views.cross @ other.T
        lower = np.linalg.cholesky((gram + gram.T) / 2)
        assert objective.loss(np.linalg.solve(lower, other)) <= error * np.linalg.cond(rest) ** 2


def test_equilibria_and_threshold() -> None:
    objective = BarlowTwins(ALIGNED, weight_decay=0.4)
    found = objective.equilibria()
    np.testing.assert_allclose(found.modes.cross, [1.5, 0.6, -0.2])
    np.testing.assert_allclose(objective.collapse_threshold(), [6.0, 2.4, 0.0], rtol=1e-14)
    np.testing.assert_allclose(
        found.weight[:2, 1].filled(0), np.sqrt((1 - 0.1 / np.array([1.5, 0.6])) / [1.5, 0.6]), rtol=1e-14
    )
    assert found.stable.tolist() == [[False, True], [False, True], [True, False]]
    for i in range(2):
        W = found.weight[i, 1] * found.modes.directions[:, i][None]
        assert np.abs(objective.forces(W).total).max() < 1e-14
    assert np.ma.getmaskarray(BarlowTwins(ALIGNED, 2.4).equilibria().weight)[1, 1]
    free = BarlowTwins(ALIGNED).equilibria()
    np.testing.assert_allclose(free.weight[:2, 1].filled(0) ** 2, 1 / np.array([1.5, 0.6]), rtol=1e-14)


def test_learns_modes_one_by_one_at_rate_eight_lambda() -> None:
    # Simon et al. 2023: w² is logistic from w₀² to 1/λ at rate 8λ.
    w0, times = 1e-3, np.linspace(0, 6, 13)
    path = BarlowTwins(ALIGNED).solve(w0 * np.eye(3), times, method="DOP853")
    closed = BarlowTwins(ALIGNED).solve(w0 * np.eye(3), times, method="closed")
    np.testing.assert_allclose(closed.encoder, path.encoder, atol=1e-8)
    for i, lam in enumerate((0.6, 1.5)):
        expected = 1 / (lam + (1 / w0**2 - lam) * np.exp(-8 * lam * times))
        np.testing.assert_allclose(path.encoder[:, i, i] ** 2, expected, rtol=1e-7)
        assert np.abs(path.encoder[:, i, i] ** 2 - 1 / (lam + (1 / w0**2 - lam) * np.exp(-4 * lam * times))).max() > 0.1


@given(drawn=SMALL)
@examples(10)
def test_published_form_does_not_see_the_scale_of_a_row_and_its_flow_descends(drawn: Drawn) -> None:
    objective = BarlowTwins(drawn.views, form="published", off_diagonal=0.3)
    W = drawn.rng.normal(size=(drawn.width(), drawn.views.dimension))
    scale = np.exp(drawn.rng.normal(size=(len(W), 1)) * 5)
    assert objective.loss(scale * W) == pytest.approx(objective.loss(W), rel=1e-10 * drawn.condition)
    # Euler: the gradient of what has no scale is orthogonal to every row; so rows only grow.
    gradient = objective.gradient(W)
    assert np.abs((gradient * W).sum(axis=1)).max() <= 1e-11 * drawn.condition * (1 + np.abs(gradient * W).max())
    path = objective.solve(W, np.linspace(0, 2, 9))
    assert path.status is Status.FINISHED
    losses = np.array([objective.loss(V) for V in path.encoder])
    assert (np.diff(losses) < 1e-11 * drawn.condition).all()
    again = objective.solve(path.encoder[4], [1.0])
    np.testing.assert_allclose(again.encoder[0], path.encoder[8], atol=1e-6)


def test_published_default_is_the_papers_and_vanishes_for_perfect_views() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.eye(2))
    objective = BarlowTwins(views, form="published")
    assert objective.off_diagonal == 0.005
    assert objective.loss(np.eye(2) * 7) == pytest.approx(0.0, abs=1e-30)
    # Both rows the same: two off-diagonal correlations of 1.
    assert objective.loss([[1.0, 0.0], [2.0, 0.0]]) == pytest.approx(0.01, rel=1e-14)


def test_refusals() -> None:
    published = BarlowTwins(ALIGNED, form="published")
    for refused in (lambda: published.optimum(1), published.equilibria, published.collapse_threshold):
        with pytest.raises(InputError, match="closed form"):
            refused()
    with pytest.raises(InputError, match="vary in every dimension"):
        published.loss([[0.0, 0.0, 0.0]])
    with pytest.raises(InputError, match="vary in every dimension"):
        published.solve([[0.0, 0.0, 0.0]], [1.0])
    for problem in ({"form": "zbontar"}, {"off_diagonal": -1.0}, {"off_diagonal": np.nan}):
        with pytest.raises(InputError):
            BarlowTwins(ALIGNED, **problem)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="width"):
        BarlowTwins(ALIGNED).optimum(4)


def test_closed_form_needs_no_alignment_with_the_covariance() -> None:
    rng = np.random.default_rng(5)
    axes, values = orthogonal(rng, 4), np.array([0.9, 0.3, -0.2, 0.05])
    mixed = rng.normal(size=(4, 4))
    views = ViewPair.from_covariances(mixed @ mixed.T + 2 * np.eye(4), 3 * np.eye(4), axes * values @ axes.T)
    W = orthogonal(rng, 2) * [0.3, 0.02] @ axes[:, [0, 1]].T
    objective, times = BarlowTwins(views, 0.1), [0.0, 1.0, 5.0]
    closed = objective.solve(W, times, method="closed")
    np.testing.assert_allclose(closed.encoder, objective.solve(W, times, method="DOP853").encoder, atol=1e-8)
    end = objective.solve(W, [np.inf]).encoder[0]
    expected = (1 - 0.1 / (4 * values[:2])) / values[:2]
    np.testing.assert_allclose(np.linalg.svd(end, compute_uv=False) ** 2, np.sort(expected)[::-1], rtol=1e-12)
    with pytest.raises(InputError, match="alignment"):
        objective.solve(W + 0.1, times, method="closed")
    with pytest.raises(InputError, match="no closed form is known"):
        BarlowTwins(views, form="published").solve(W, times, method="closed")
