"""InfoNCE and the spectral contrastive loss: against 50 digits, quadrature, the proved formulas, and where they rest."""

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
from jepalign.linear_models import InfoNCE, SpectralContrastive, Status, ViewPair
from jepalign.linear_models.rest import Separable
from jepalign.theory.contrastive import euclidean, infonce
from jepalign.theory.setting import correlation, s

Array = np.ndarray
KERNELS = pytest.mark.parametrize("kernel", ["dot", "gaussian"])
SMALL = drawn_views(dimensions=(1, 3), conditions=(0.0, 3.0))
EQUAL = drawn_views(dimensions=(1, 6), conditions=(0.0, 4.0), exchangeable=True)


def printed(kernel: str, views: ViewPair, tau: Any) -> Any:
    """Return the loss as it is printed, in mpmath, as a function of the encoder."""
    x, y, yx = (matrix_of(part) for part in (views.context, views.target, views.cross))

    def trace(value: Any) -> Any:
        return sum(value[i, i] for i in range(value.rows))

    def loss(W: Any) -> Any:
        phi_x, phi_y, K = W * x * W.T, W * y * W.T, W * yx * W.T
        if kernel == "dot":
            return -trace(K) / tau + trace(phi_x * phi_y) / (2 * tau**2)
        one = mp.eye(W.rows)
        spread = (trace(phi_x) + trace(phi_y) - 2 * trace(K)) / (2 * tau)
        return spread - mp.log(mp.det(one + phi_y / tau)) / 2 - trace(mp.inverse(tau * one + phi_y) * phi_x) / 2

    return loss


@KERNELS
@given(drawn=SMALL, tau=st.floats(0.05, 20.0), scale=st.floats(-4, 2))
@examples(12)
def test_loss_and_gradient_against_fifty_digits(kernel: Any, drawn: Drawn, tau: float, scale: float) -> None:
    objective = InfoNCE(drawn.views, temperature=tau, kernel=kernel)
    W = drawn.rng.normal(size=(drawn.width(), drawn.views.dimension)) * 10.0**scale
    loss = printed(kernel, drawn.views, mp.mpf(tau))
    with mp.workdps(50):
        value = float(loss(matrix_of(W)))
    gradient = mp_gradient(loss, W)
    # Terms of the loss are at most of size ‖W‖²/τ and its square; sums of tens of products, and (I + Φ)⁻¹ of norm 1.
    size = np.square(W).sum() / tau
    assert abs(objective.loss(W) - value) <= 1e-13 * (size + size**2) + 1e-15
    slope = np.linalg.norm(W) / tau * (1 + size)
    found = objective.gradient(W)
    assert np.abs(found - gradient).max() <= 1e-13 * slope
    parts = objective.forces(W)
    np.testing.assert_allclose(parts.total, -found, atol=1e-15 * slope)
    if np.abs(gradient).max() > 1e-9 * slope:
        assert np.abs(2 * parts.attraction + parts.explicit_repulsion + gradient).max() > 1e-13 * slope


@KERNELS
def test_loss_is_the_expectation_over_gaussian_views(kernel: Any) -> None:
    # The negatives' mean by quadrature in one dimension, never by the formula: an even trapezoid over ±12 deviations is
    # exact to rounding for Gaussians.
    variance_x, variance_y, cross, tau, w = 0.7, 1.3, 0.5, 0.8, 0.9
    views = ViewPair.from_covariances([[variance_x]], [[variance_y]], [[cross]])
    grid = np.linspace(-12, 12, 2001)
    weights = np.exp(-(grid**2) / 2)
    weights /= weights.sum()
    x, y = w * np.sqrt(variance_x) * grid, w * np.sqrt(variance_y) * grid
    if kernel == "dot":
        similarity, positives = np.outer(x, y) / tau, w * w * cross / tau
    else:
        similarity = -(np.subtract.outer(x, y) ** 2) / (2 * tau)
        positives = -w * w * (variance_x + variance_y - 2 * cross) / (2 * tau)
    expected = -positives + weights @ np.log(np.exp(similarity) @ weights)
    found = InfoNCE(views, temperature=tau, kernel=kernel).loss([[w]])
    assert found == pytest.approx(expected, rel=1e-11)
    if kernel == "gaussian":  # negatives from the context view are another loss
        swapped = ViewPair.from_covariances([[variance_y]], [[variance_x]], [[cross]])
        assert abs(InfoNCE(swapped, temperature=tau, kernel=kernel).loss([[w]]) - expected) > 1e-3


@given(drawn=drawn_views(), tau=st.floats(0.01, 100.0))
@examples(20)
def test_dot_products_are_half_the_spectral_loss_of_a_rescaled_encoder(drawn: Drawn, tau: float) -> None:
    W = drawn.rng.normal(size=(drawn.width(), drawn.views.dimension))
    found = InfoNCE(drawn.views, temperature=tau).loss(W)
    spectral = SpectralContrastive(drawn.views).loss(W / np.sqrt(tau))
    size = np.square(W).sum() / tau
    assert abs(found - spectral / 2) <= 1e-13 * (size + size**2)
    if abs(spectral) > 1e-6:
        assert abs(found - spectral) > 1e-10 * (size + size**2)  # without the half


@given(rho=st.floats(-0.99, 0.999), tau=st.floats(0.05, 20.0), weight=st.floats(0.01, 10.0))
@examples(40)
def test_euclidean_loss_is_the_theorems(rho: float, tau: float, weight: float) -> None:
    formula: Any = sp.lambdify((infonce.tau, s, correlation, euclidean.ratio), euclidean.LOSS, "mpmath")
    expected = float(formula(mp.mpf(tau), mp.mpf(weight) ** 2, mp.mpf(rho), mp.mpf(1)))
    views = ViewPair.from_covariances([[1.0]], [[1.0]], [[rho]])
    found = InfoNCE(views, temperature=tau, kernel="gaussian").loss([[weight]])
    assert abs(found - expected) <= 1e-14 * (1 + weight**2 / tau)


OBJECTIVES: dict[str, Any] = {
    "spectral": SpectralContrastive,
    "dot": lambda v, eta: InfoNCE(v, eta, temperature=0.6),
    "gaussian": lambda v, eta: InfoNCE(v, eta, temperature=0.6, kernel="gaussian"),
}
NAMED = pytest.mark.parametrize("name", OBJECTIVES)


def per_mode(name: str, rho: Array) -> Array:
    """Return the optimal embedding variance as it is printed."""
    v = (np.sqrt(9 - 8 * rho) - 1) / 2
    optimal = {"spectral": rho, "dot": 0.6 * rho, "gaussian": 0.6 * (1 / v - 1)}[name]
    return np.where(rho > 0, optimal, 0.0)


@NAMED
@given(drawn=EQUAL)
@examples(15)
def test_optimum_is_critical_and_no_perturbation_improves_it(name: str, drawn: Drawn) -> None:
    objective: Separable = OBJECTIVES[name](drawn.views, 0.0)
    k = drawn.width()
    W = objective.optimum(k)
    condition = drawn.condition
    # The directions are of size √condition, and good to rounding times the condition.
    assert np.abs(objective.gradient(W)).max() <= 1e-12 * condition
    rho = np.sort(drawn.correlations)[::-1][:k]
    phi = W @ drawn.views.context @ W.T
    # An error δ of ρ counts δ·4/v²·… in the Gaussian kernel's optimum, at most 100 at ρ = 0.95.
    assert np.abs(phi - np.diag(per_mode(name, rho))).max() <= 1e-12 * condition
    best = objective.minimum(k)
    if name == "spectral":
        assert abs(best + np.square(np.maximum(rho, 0)).sum()) <= 1e-12 * condition
    for size in (1e-3, 0.1, 3.0):
        step = drawn.rng.normal(size=W.shape) * size
        assert objective.loss(W + step) >= best - 1e-12 * condition
    turned = orthogonal(drawn.rng, k) @ W
    assert objective.loss(turned) == pytest.approx(best, abs=1e-11 * condition)


def aligned(rng: np.random.Generator, d: int) -> ViewPair:
    axes, variance = orthogonal(rng, d), rng.uniform(0.3, 2.0, size=d)
    cross = variance * rng.uniform(-0.9, 0.9, size=d)
    cov = axes * variance @ axes.T
    return ViewPair.from_covariances(cov, cov, (axes * cross) @ axes.T)


@NAMED
@pytest.mark.parametrize("seed", range(6))
def test_equilibria_are_at_rest_and_stable_as_said(name: str, seed: int) -> None:
    views = aligned(np.random.default_rng(seed), 5)
    objective: Separable = OBJECTIVES[name](views, 0.2)
    found, threshold = objective.equilibria(), objective.collapse_threshold()
    factor = {"spectral": 4, "dot": 2 / 0.6, "gaussian": 2 / 0.6}[name]
    np.testing.assert_allclose(threshold, np.maximum(factor * found.modes.cross, 0), rtol=1e-13)
    assert np.array_equal(~np.ma.getmaskarray(found.weight)[:, 1], threshold > 0.2)
    assert not (np.ma.getmaskarray(found.weight) & found.stable).any()
    for i, direction in enumerate(found.modes.directions.T):
        for j, weight in enumerate(found.weight[i]):
            if weight is np.ma.masked:
                continue
            assert np.abs(objective.forces(weight * direction[None]).total).max() <= 1e-13
            for offset in (-1e-4, 1e-4):
                velocity = objective.forces((weight + offset) * direction[None]).total[0] @ direction
                assert (velocity * offset < 0) == found.stable[i, j]


@NAMED
def test_at_the_threshold_a_mode_collapses_and_just_below_it_lives(name: str) -> None:
    views = ViewPair.from_covariances(np.diag([1.0, 2.0]), np.diag([1.0, 2.0]), np.diag([0.8, -0.5]))
    critical = float(OBJECTIVES[name](views, 0.0).collapse_threshold()[0])
    for factor, lives in ((1 - 1e-9, True), (1.0, False), (1 + 1e-9, False)):
        found = OBJECTIVES[name](views, critical * factor).equilibria()
        assert bool(found.weight.mask[0, 1]) is not lives
        assert found.stable[0].tolist() == [not lives, lives]
        assert found.stable[1].tolist() == [True, False]


@NAMED
@pytest.mark.parametrize("seed", range(3))
def test_flow_descends_to_the_equilibria(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = aligned(rng, 3)
    objective: Separable = OBJECTIVES[name](views, 0.1)
    path = objective.solve(0.3 * rng.normal(size=(3, 3)), np.linspace(0, 400, 30), rtol=1e-11)
    assert path.status is Status.FINISHED
    energy = np.array([objective.energy(W) for W in path.encoder])
    assert (np.diff(energy) < 1e-13).all()
    W, modes = path.encoder[-1], objective.equilibria()
    # Slower than e^{−400·0.05} only modes within 0.05 of their threshold.
    if np.abs(objective.collapse_threshold() - 0.1).min() > 0.05:
        weights = np.ma.filled(modes.weight[:, 1], 0.0)
        gram = (modes.modes.directions * weights**2) @ modes.modes.directions.T
        np.testing.assert_allclose(W.T @ W, gram, atol=1e-6)


def test_what_has_no_optimum_says_so() -> None:
    unequal = ViewPair.from_covariances([[1.0]], [[2.0]], [[0.5]])
    one = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([1.0, 0.5]))
    for objective in (SpectralContrastive(unequal), InfoNCE(unequal)):
        for refused in (lambda o=objective: o.optimum(1), objective.equilibria, objective.collapse_threshold):
            with pytest.raises(InputError, match="equal for context and target"):
                refused()
    with pytest.raises(InputError, match="below 1 for an optimum"):
        InfoNCE(one, kernel="gaussian").optimum(1)
    endless = InfoNCE(one, kernel="gaussian").equilibria()
    assert endless.weight.mask.tolist() == [[False, True], [False, False]]
    for width in (0, 3, 1.5, True):
        with pytest.raises(InputError, match="width"):
            SpectralContrastive(one).optimum(width)  # type: ignore[arg-type]
    for problem in ({"temperature": 0.0}, {"temperature": np.inf}, {"kernel": "cosine"}, {"weight_decay": -1.0}):
        with pytest.raises(InputError):
            InfoNCE(one, **problem)  # type: ignore[arg-type]


def test_directions_without_variance_are_left_out() -> None:
    views = ViewPair.from_covariances(np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), np.diag([0.6, 0.0]))
    objective = SpectralContrastive(views)
    np.testing.assert_allclose(np.abs(objective.optimum(1)), [[np.sqrt(0.6), 0.0]], rtol=1e-14)
    with pytest.raises(InputError, match="at most 1"):
        objective.optimum(2)
    assert objective.equilibria().weight.mask.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("name", ["spectral", "dot"])
@pytest.mark.parametrize("seed", range(4))
def test_aligned_modes_are_solved_in_closed_form(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = aligned(rng, 4)
    objective: Separable = OBJECTIVES[name](views, 0.2)
    directions = objective.equilibria().modes.directions
    W = orthogonal(rng, 3) * rng.uniform(0.01, 1, size=3) @ directions[:, [0, 2, 3]].T
    times = [0.0, 0.2, 1.0, 3.0]
    closed = objective.solve(W, times)
    assert closed.method.startswith("closed form")
    np.testing.assert_allclose(closed.encoder, objective.solve(W, times, method="DOP853").encoder, atol=1e-8)
    end = objective.solve(W, [np.inf]).encoder[0]
    weights = np.ma.filled(objective.equilibria().weight[:, 1], 0.0)[[0, 2, 3]]
    np.testing.assert_allclose(np.linalg.norm(end @ directions[:, [0, 2, 3]], axis=0), weights, atol=1e-12)
    unequal = ViewPair.from_covariances(views.context, 1.1 * views.target, views.cross)
    assert OBJECTIVES[name](unequal, 0.2).solve(W, [1.0]).departures["equal covariances"] == pytest.approx(0.1 / 1.1)
    assert OBJECTIVES[name](unequal, 0.2).solve(W, [1.0]).method.startswith("DOP853")


@NAMED
@given(
    size=st.floats(-12, 12),
    rho=st.floats(1e-9, 1, exclude_max=True),
    decay=st.floats(0, 1),
    small=st.booleans(),
    tau=st.floats(-6, 6),
)
@examples(60)
def test_weights_at_rest_against_fifty_digits(
    name: str, size: float, rho: float, decay: float, small: bool, tau: float
) -> None:
    variance, temperature = 10.0**size, 10.0**tau
    cross = rho * variance
    critical = 4 * cross if name == "spectral" else 2 * cross / temperature
    eta = critical * (decay * 1e-6 if small else decay)
    views = ViewPair.from_covariances([[variance]], [[variance]], [[cross]])
    built: dict[str, Separable] = {
        "spectral": SpectralContrastive(views, eta),
        "dot": InfoNCE(views, eta, temperature),
        "gaussian": InfoNCE(views, eta, temperature, "gaussian"),
    }
    weight = built[name].equilibria().weight[0, 1]
    with mp.workdps(50):
        sigma, lam, t, e = (mp.mpf(value) for value in (variance, cross, temperature, eta))
        if name == "spectral":
            square = (lam - e / 4) / sigma**2
        elif name == "dot":
            square = t * (lam - e * t / 2) / sigma**2
        else:
            v = (mp.sqrt(9 - 8 * lam / sigma + 4 * e * t / sigma) - 1) / 2
            square = t * (1 / v - 1) / sigma
        # The difference of λ and decay multiplies its rounding; everything else is a few operations on positive numbers.
        product = e if name == "spectral" else e * t
        doubled = (4 if name == "spectral" else 2) * lam
        condition = float((doubled + product) / abs(doubled - product)) if doubled != product else np.inf
        if weight is np.ma.masked:
            assert square <= 0 or condition > 1e15
        elif square > 0:
            assert abs(weight / mp.sqrt(square) - 1) <= 2e-15 * condition
