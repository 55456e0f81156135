"""VICReg in its three normalisations: losses and gradients against 50 digits and samples, its optimum and its edges."""

from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from linear_models_references import matrix_of, mp_gradient
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models import Status, VICReg, ViewPair
from jepalign.linear_models.uniformity import VICReg as Terms

CONVENTIONS = ("paper", "lightly", "solo-learn")
NAMED = pytest.mark.parametrize("convention", CONVENTIONS)
SMALL = drawn_views(dimensions=(1, 3), conditions=(0.0, 3.0))


def of_samples(convention: str, x: np.ndarray, y: np.ndarray, epsilon: float) -> float:
    """Return the loss of a batch, loop by loop as each source has it, but with variances over n."""
    n, k = x.shape
    total = sum((x[i, j] - y[i, j]) ** 2 for i in range(n) for j in range(k))
    invariance = total / n if convention == "paper" else total / (n * k)
    variance = covariance = 0.0
    for z in (x, y):
        hinges = [max(0.0, 1 - np.sqrt(np.mean(z[:, j] ** 2) - np.mean(z[:, j]) ** 2 + epsilon)) for j in range(k)]
        variance += sum(hinges) / k / (2 if convention == "lightly" else 1)
        centred = z - z.mean(axis=0)
        matrix = centred.T @ centred / n
        covariance += sum(matrix[i, j] ** 2 for i in range(k) for j in range(k) if i != j) / k
    return 25 * invariance + 25 * variance + covariance


@NAMED
def test_loss_is_that_of_a_batch(convention: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4))
    y = x + rng.normal(size=(40, 4))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    W = rng.normal(size=(3, 4)) * 0.2
    found = {c: VICReg(ViewPair.from_samples(x, y), convention=c).loss(W) for c in CONVENTIONS}
    expected = of_samples(convention, x @ W.T, y @ W.T, 1e-4)
    assert found[convention] == pytest.approx(expected, rel=1e-12)
    assert all(abs(found[other] - expected) > 0.1 for other in CONVENTIONS if other != convention)


def printed(views: ViewPair, coefficients: tuple[float, float, float], epsilon: float) -> Any:
    x, y, yx = (matrix_of(part) for part in (views.context, views.target, views.cross))
    a, b, c = (mp.mpf(value) for value in coefficients)

    def loss(W: Any) -> Any:
        K, total = W * yx * W.T, mp.mpf(0)
        for moment in (x, y):
            phi = W * moment * W.T
            for i in range(W.rows):
                total += a * (phi[i, i] - K[i, i]) + b * max(mp.mpf(0), 1 - mp.sqrt(phi[i, i] + mp.mpf(epsilon)))
                total += c * sum(phi[i, j] ** 2 for j in range(W.rows) if j != i)
        return total

    return loss


@NAMED
@given(drawn=SMALL, scale=st.floats(-3, 1))
@examples(10)
def test_loss_and_gradient_against_fifty_digits(convention: Any, drawn: Drawn, scale: float) -> None:
    k = drawn.width()
    objective = VICReg(drawn.views, 0.0, 3.0, 5.0, 0.7, 1e-3, convention)
    W = drawn.rng.normal(size=(k, drawn.views.dimension)) * 10.0**scale
    first, half = (1, 1) if convention == "paper" else ((k, 2) if convention == "lightly" else (k, 1))
    loss = printed(drawn.views, (3.0 / first, 5.0 / half / k, 0.7 / k), 1e-3)
    with mp.workdps(50):
        value = float(loss(matrix_of(W)))
    # Hinges have slopes up to 5/√ε = 160.
    size = np.square(W).sum()
    assert abs(objective.loss(W) - value) <= 1e-13 * (10 + 6 * size + size**2)
    gradient, found = mp_gradient(loss, W), objective.gradient(W)
    assert np.abs(found - gradient).max() <= 1e-13 * np.sqrt(size) * (200 + size)
    parts = objective.forces(W)
    np.testing.assert_allclose(parts.total, -found, atol=1e-13 * np.sqrt(size) * (200 + size))


@given(drawn=drawn_views(dimensions=(1, 5), conditions=(0.0, 2.0), exchangeable=True))
@examples(15)
def test_explicit_part_is_the_uniformity_of_hybrids(drawn: Drawn) -> None:
    # Both views' terms, each averaged over k: twice the sum of one embedding's, over k.
    k = drawn.width()
    W = drawn.rng.normal(size=(k, drawn.views.dimension)) * 0.5
    phi = W @ drawn.views.context @ W.T
    expected = -2 * (2 / k) * Terms(25.0, 1.0, 1e-4).gradient((phi + phi.T) / 2) @ W @ drawn.views.context
    np.testing.assert_allclose(VICReg(drawn.views).forces(W).explicit_repulsion, expected, rtol=1e-9, atol=1e-9)


def best_variance(rho: np.ndarray, a: float, b: float, epsilon: float) -> np.ndarray:
    """Return the theorem's optimum (γ = 1), b both views together."""
    return np.maximum(np.minimum(b / (4 * a * (1 - rho)), 1) ** 2 - epsilon, 0)


@NAMED
@given(drawn=drawn_views(dimensions=(1, 5), conditions=(0.0, 3.0), exchangeable=True))
@examples(10)
def test_optimum_is_best_among_directions_of_the_eigenproblem(convention: Any, drawn: Drawn) -> None:
    k = drawn.width()
    objective = VICReg(drawn.views, convention=convention)
    W, rho = objective.optimum(k), np.sort(drawn.correlations)[::-1][:k]
    a, b = {"paper": (25, 50 / k), "lightly": (25 / k, 25 / k), "solo-learn": (25 / k, 50 / k)}[convention]
    phi = W @ drawn.views.context @ W.T
    expected = best_variance(rho, a, b, 1e-4)
    assert np.abs(phi - np.diag(expected)).max() <= 1e-11 * drawn.condition
    inside = (expected > 0) & (expected + 1e-4 < 1 - 1e-9)
    gradient = objective.gradient(W)
    assert np.abs(gradient[inside]).max(initial=0.0) <= 1e-9 * drawn.condition
    best = objective.minimum(k)
    for factor in (0.0, 0.5, 0.99, 1.01, 2.0):
        for row in range(k):
            other = W.copy()
            other[row] *= factor
            assert objective.loss(other) >= best - 1e-11 * drawn.condition
    assert (
        abs(best - (2 * a * (1 - rho) * expected + b * (1 - np.sqrt(expected + 1e-4))).sum()) <= 1e-11 * drawn.condition
    )


def test_at_the_published_weights_rows_gain_by_sharing_a_direction() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, -0.9]))
    objective = VICReg(views)
    shared = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert objective.loss(shared) < objective.minimum(2) - 10
    # A covariance weight that makes sharing dear takes this away.
    dear = VICReg(views, covariance=100.0)
    assert dear.loss(shared) > dear.minimum(2)


def test_mode_is_the_theorems() -> None:
    # L = 2a(1−ρ)s + b max(0, 1 − √(s+ε)) of the theorem, b both views together.
    s, rho = sp.symbols("s rho")
    formula = sp.lambdify((s, rho), 2 * 25 * (1 - rho) * s + 50 * sp.Max(0, 1 - sp.sqrt(s + 1e-4)))
    for value, correlation in ((0.3, 0.5), (1.7, -0.3), (0.0, 0.2)):
        views = ViewPair.from_covariances([[1.0]], [[1.0]], [[correlation]])
        assert VICReg(views).loss([[np.sqrt(value)]]) == pytest.approx(float(formula(value, correlation)), rel=1e-13)


@NAMED
@pytest.mark.parametrize("decay", [0.0, 5.0, 400.0])
def test_equilibria_are_at_rest_or_on_the_edge_and_stable_as_said(convention: Any, decay: float) -> None:
    rng = np.random.default_rng(3)
    variance, rho = np.array([1.0, 0.4, 2.0, 0.7]), np.array([0.98, 0.6, -0.7, 0.1])
    axes = orthogonal(rng, 4)
    cov, cross = axes * variance @ axes.T, axes * (variance * rho) @ axes.T
    objective = VICReg(ViewPair.from_covariances(cov, cov, cross), decay, epsilon=1e-2, convention=convention)
    found, threshold = objective.equilibria(width=1), objective.collapse_threshold(width=1)
    assert np.array_equal(~np.ma.getmaskarray(found.weight)[:, 1], threshold > decay)
    for i, direction in enumerate(found.modes.directions.T):
        for j in range(2):
            if (weight := found.weight[i, j]) is np.ma.masked:
                continue
            ends = [
                objective.forces((weight + offset) * direction[None]).total[0] @ direction for offset in (-1e-6, 1e-6)
            ]
            assert (ends[0] > 0 > ends[1]) == found.stable[i, j]
            edge = weight**2 * found.modes.variance[i] == pytest.approx(0.99, rel=1e-12)
            if not edge:
                assert np.abs(objective.forces(weight * direction[None]).total).max() < 1e-11
    assert not np.array_equal(objective.collapse_threshold(), threshold)  # averages over k = 4 push less


def test_flow_restarts_and_descends_away_from_the_edge() -> None:
    rng = np.random.default_rng(1)
    views = ViewPair.additive_noise(np.diag([1.0, 0.5, 0.2]), 0.7 * np.eye(3))
    objective = VICReg(views, 0.1, 1.0, 1.0, 1.0, 1e-2)
    W = 0.3 * rng.normal(size=(3, 3))
    path = objective.solve(W, [1.0, 2.0, 3.0])
    assert path.status is Status.FINISHED
    np.testing.assert_allclose(objective.solve(path.encoder[0], [1.0]).encoder[0], path.encoder[1], atol=1e-8)
    energy = [objective.energy(at) for at in (W, *path.encoder)]
    assert all(later < sooner for sooner, later in pairwise(energy))
    step = objective.solve(path.encoder[0], [1e-5]).encoder[0]
    np.testing.assert_allclose((step - path.encoder[0]) * 1e5, objective.forces(path.encoder[0]).total, atol=1e-3)
    axes = orthogonal(rng, 3)
    turned = ViewPair.from_covariances(*(axes @ part @ axes.T for part in (views.context, views.target, views.cross)))
    other = VICReg(turned, 0.1, 1.0, 1.0, 1.0, 1e-2).solve(W @ axes.T, [1.0])
    np.testing.assert_allclose(other.encoder[0], path.encoder[0] @ axes.T, atol=1e-8)


def test_refusals() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), 0.5 * np.eye(2))
    for problem in (
        {"convention": "solo"},
        {"epsilon": 1.0},
        {"epsilon": -1e-9},
        {"invariance": -1.0},
        {"covariance": np.inf},
        {"variance": np.nan},
    ):
        with pytest.raises(InputError):
            VICReg(views, **problem)  # type: ignore[arg-type]
    bare = VICReg(views, epsilon=0.0)
    assert bare.loss(np.zeros((1, 2))) == 50
    with pytest.raises(InputError, match="vary"):
        bare.forces(np.zeros((1, 2)))
    assert np.isinf(bare.collapse_threshold()).all()
    assert not VICReg(views, variance=0.0).equilibria().stable[:, 1].any()
