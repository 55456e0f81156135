"""The linear masked autoencoder: loss and gradient against 50 digits, its optimum, its balance, and its closed form."""

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_references import matrix_of, mp_gradient
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, MaskedAutoencoder, Status, ViewPair

SMALL = drawn_views(dimensions=(1, 3), conditions=(0.0, 3.0))
MILD = drawn_views(dimensions=(1, 5), conditions=(0.0, 1.0))


def start(drawn: Drawn, size: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    k, d = drawn.width(), drawn.views.dimension
    return size * drawn.rng.normal(size=(k, d)), size * drawn.rng.uniform(-1, 1, size=(d, k))


@given(drawn=SMALL)
@examples(15)
def test_loss_and_gradient_against_fifty_digits(drawn: Drawn) -> None:
    objective, (W, D) = MaskedAutoencoder(drawn.views), start(drawn)
    x, y, yx = (matrix_of(part) for part in (drawn.views.context, drawn.views.target, drawn.views.cross))

    def loss(encoder: Any, decoder: Any) -> Any:
        B = decoder * encoder
        total = B * x * B.T - 2 * B * yx.T + y
        return sum(total[i, i] for i in range(total.rows)) / 2

    with mp.workdps(50):
        value = float(loss(matrix_of(W), matrix_of(D)))
    size = 1 + np.square(W).sum() * np.square(D).sum()
    # The root of the joint covariance is right to 1e-8 of it at rank-deficient views, which counts squared.
    assert abs(objective.loss(W, D) - value) <= 1e-13 * size
    encoder, decoder = objective.gradient(W, D)
    assert np.abs(encoder - mp_gradient(lambda at: loss(at, matrix_of(D)), W)).max() <= 1e-13 * size
    assert np.abs(decoder - mp_gradient(lambda at: loss(matrix_of(W), at), D)).max() <= 1e-13 * size
    parts = MaskedAutoencoder(drawn.views, weight_decay=0.3).forces(W, D)
    np.testing.assert_allclose(parts.total, -encoder - 0.3 * W, atol=1e-13 * size)
    assert np.abs(2 * encoder + parts.attraction + parts.explicit_repulsion).max() > 1e-9


@given(drawn=drawn_views(dimensions=(1, 6), conditions=(0.0, 4.0)), alpha=st.floats(0.1, 10.0))
@examples(20)
def test_optimum_is_reduced_rank_regression(drawn: Drawn, alpha: float) -> None:
    objective, k, condition = MaskedAutoencoder(drawn.views, alpha), drawn.width(), drawn.condition
    W, D = objective.optimum(k)
    gradients = objective.gradient(W, D)
    # ‖W‖ and ‖D‖ are at most condition^{1/4}·(10/1)^{1/4} each.
    assert max(np.abs(part).max() for part in gradients) <= 1e-12 * condition
    assert np.abs(W @ W.T - D.T @ D / alpha).max() <= 1e-12 * condition
    best = objective.minimum(k)
    values = np.linalg.eigvalsh(drawn.views.cross @ np.linalg.inv(drawn.views.context) @ drawn.views.cross.T)[::-1]
    assert abs(best - (np.trace(drawn.views.target) - values[:k].sum()) / 2) <= 1e-12 * condition
    for size in (1e-3, 0.1, 2.0):
        moved = W + size * drawn.rng.normal(size=W.shape), D + size * drawn.rng.normal(size=D.shape)
        assert objective.loss(*moved) >= best - 1e-12 * condition
    mix = drawn.rng.normal(size=(k, k)) * 0.2 + np.eye(k)
    assert objective.loss(mix @ W, D @ np.linalg.inv(mix)) == pytest.approx(
        best, abs=1e-12 * condition * np.linalg.cond(mix) ** 2
    )


@given(drawn=MILD, decay=st.sampled_from([0.0, 0.1]), alpha=st.sampled_from([1.0, 3.0]))
@examples(12)
def test_flow_obeys_its_laws(drawn: Drawn, decay: float, alpha: float) -> None:
    objective, (W, D) = MaskedAutoencoder(drawn.views, alpha, decay), start(drawn)
    path = objective.solve(W, D, np.linspace(0, 2, 9), method="DOP853")
    assert path.status is Status.FINISHED
    decoder = path.states["decoder"]
    assert np.array_equal(path.encoder[0], W)
    assert np.array_equal(decoder[0], D)
    assert path.drift["balance"] < 1e-8
    energy = np.array([objective.energy(*pair) for pair in zip(path.encoder, decoder, strict=True)])
    assert (np.diff(energy) < 1e-13 * max(1, energy[0])).all()
    again = objective.solve(path.encoder[4], decoder[4], [1.0], method="DOP853")
    np.testing.assert_allclose(again.encoder[0], path.encoder[8], atol=1e-8)
    np.testing.assert_allclose(again.states["decoder"][0], decoder[8], atol=1e-8)
    early = objective.solve(W, D, [1e-5], method="DOP853")
    gradients = objective.gradient(W, D)
    np.testing.assert_allclose((early.encoder[0] - W) * 1e5, -gradients[0] - decay * W, atol=2e-3)
    np.testing.assert_allclose((early.states["decoder"][0] - D) * 1e5, -alpha * gradients[1] - decay * D, atol=2e-3)
    turn, inner = orthogonal(drawn.rng, len(D)), orthogonal(drawn.rng, len(W))
    parts = (drawn.views.context, drawn.views.target, drawn.views.cross)
    turned = MaskedAutoencoder(ViewPair.from_covariances(*(turn @ p @ turn.T for p in parts)), alpha, decay)
    other = turned.solve(inner @ W @ turn.T, turn @ D @ inner.T, [2.0], method="DOP853")
    np.testing.assert_allclose(other.encoder[0], inner @ path.encoder[8] @ turn.T, atol=1e-7)


@given(
    seed=st.integers(0, 2**32),
    alpha=st.sampled_from([1.0, 0.5, 4.0]),
    decay=st.sampled_from([0.0, 0.2]),
    width=st.integers(1, 4),
)
@examples(15)
def test_closed_form_is_the_integrator(seed: int, alpha: float, decay: float, width: int) -> None:
    rng = np.random.default_rng(seed)
    axes, inner = orthogonal(rng, 4), orthogonal(rng, width)
    variance, rho = rng.uniform(0.3, 1.5, size=4), rng.uniform(-0.9, 0.9, size=4)
    cov = axes * variance @ axes.T
    views = ViewPair.from_covariances(cov, cov, axes * (variance * rho) @ axes.T)
    weight, side = rng.uniform(0.05, 1.0, size=width), rng.choice([-1.0, 1.0], size=width)
    W = (inner * weight) @ axes[:, :width].T
    D = np.sqrt(alpha) * (axes[:, :width] * (side * weight)) @ inner.T
    objective, times = MaskedAutoencoder(views, alpha, decay), [0.0, 0.3, 1.0, 4.0]
    closed = objective.solve(W, D, times, method="closed")
    assert closed.method.startswith("closed form")
    integrated = objective.solve(W, D, times, method="DOP853", rtol=1e-12, atol=1e-14)
    # Side −1 on a mode of positive λ is an unstable direction: errors of 1e-12 grow by e^{2·4·3} at most in cancelling ones.
    np.testing.assert_allclose(closed.encoder, integrated.encoder, atol=1e-7)
    np.testing.assert_allclose(closed.states["decoder"], integrated.states["decoder"], atol=1e-7)
    end = objective.solve(W, D, [np.inf])
    found = np.diag(axes[:, :width].T @ end.encoder[0].T @ inner)
    rest = np.maximum(np.sqrt(alpha) * side * variance[:width] * rho[:width] - decay, 0) / (alpha * variance[:width])
    np.testing.assert_allclose(found, np.sqrt(rest), atol=1e-12)
    broken = objective.solve(W, 1.1 * D, [1.0])
    assert broken.method.startswith("DOP853")
    assert broken.departures["balance"] == pytest.approx(0.1 / 1.1, rel=1e-3) or alpha != 1.0
    with pytest.raises(InputError, match="balance"):
        objective.solve(W, 1.1 * D, [1.0], method="closed")


def test_equilibria_are_at_rest_and_modes_of_either_sign_survive() -> None:
    variance, cross = np.array([1.0, 2.0, 0.5, 1.0]), np.array([0.7, -1.5, 0.02, -0.1])
    views = ViewPair.from_covariances(np.diag(variance), np.diag(variance), np.diag(cross))
    objective = MaskedAutoencoder(views, 2.0, 0.1)
    found, threshold = objective.equilibria(), objective.collapse_threshold()
    np.testing.assert_allclose(threshold, np.sqrt(2) * np.abs(found.modes.cross), rtol=1e-14)
    assert np.array_equal(found.stable[:, 1], threshold > 0.1)
    assert np.array_equal(found.stable[:, 0], threshold <= 0.1)
    for i, direction in enumerate(found.modes.directions.T):
        weight = found.weight[i, 1]
        if weight is np.ma.masked:
            continue
        decoder = np.sqrt(2) * weight * np.sign(found.modes.cross[i])
        W, D = weight * direction[None], decoder * direction[:, None]
        gradients = objective.gradient(W, D)
        assert np.abs(gradients[0] + 0.1 * W).max() < 1e-14
        assert np.abs(2 * gradients[1] + 0.1 * D).max() < 1e-14
        start_W, start_D = 1.3 * W, 0.8 * D
        end = objective.solve(start_W, start_D, [300.0], method="DOP853")
        np.testing.assert_allclose(end.encoder[0], W, atol=1e-7)


def test_time_is_ordered_by_covariance_alone_unlike_a_jepa() -> None:
    # Littwin et al. 2024: equal λ, unequal σ. The autoencoder learns both at once up to a bounded delay, from however small a start.
    variance, cross = np.array([1.0, 3.0]), np.array([0.8, 0.8])
    views = ViewPair.from_covariances(np.diag(variance), np.diag(variance), np.diag(cross))
    delays: dict[str, list[float]] = {"autoencoder": [], "jepa": []}
    for small in (1e-2, 1e-4):
        W = small * np.eye(2)
        slow, fast = np.linspace(0, 2 / small, 20001), np.linspace(0, 30, 3001)  # steps of at most 1 and of 0.01
        paths = {
            "jepa": LinearJEPA(views).solve(W, W, slow, method="closed"),
            "autoencoder": MaskedAutoencoder(views).solve(W, W, fast, method="closed"),
        }
        for name, path in paths.items():
            reached = [path.times[np.argmax(path.encoder[:, i, i] > 0.1)] for i in range(2)]
            delays[name].append(reached[1] - reached[0])
    assert abs(delays["autoencoder"][1] - delays["autoencoder"][0]) <= 0.03
    # (σ₂ − σ)/λ² per e-fold of the start: 3.1 · ln 100.
    assert delays["jepa"][1] - delays["jepa"][0] == pytest.approx(2 / 0.64 * np.log(100), abs=3)


def test_refusals() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), 0.5 * np.eye(2))
    objective = MaskedAutoencoder(views)
    for W, D in (([[1.0]], [[1.0], [1.0]]), ([[1.0, 0.0]], [[1.0, 0.0]]), ([[1.0, np.nan]], [[1.0], [1.0]])):
        with pytest.raises(InputError):
            objective.loss(W, D)
    for problem in ({"decoder_rate": 0.0}, {"decoder_rate": np.inf}, {"weight_decay": -0.1}):
        with pytest.raises(InputError):
            MaskedAutoencoder(views, **problem)
    with pytest.raises(InputError, match="width"):
        objective.optimum(3)
    still = objective.solve(np.zeros((1, 2)), np.zeros((2, 1)), [1.0, np.inf])
    assert not still.encoder.any()
