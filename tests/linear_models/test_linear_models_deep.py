"""Deep linear encoders: their gradients, their laws, and the closed form of balanced layers against an integrator."""

from typing import Literal

import numpy as np
import pytest
from linear_models_strategies import orthogonal

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, ViewPair
from jepalign.linear_models.deep import DeepEncoder

Objective = Literal["jepa", "autoencoder"]
BOTH = pytest.mark.parametrize("objective", ["jepa", "autoencoder"])


def views(rng: np.random.Generator, d: int) -> tuple[ViewPair, np.ndarray]:
    Q = orthogonal(rng, d)
    sigma, rho = rng.uniform(0.5, 1.5, d), rng.uniform(0.2, 0.9, d)
    context, cross = (Q * sigma) @ Q.T, (Q * sigma * rho) @ Q.T
    return ViewPair.from_covariances((context + context.T) / 2, (context + context.T) / 2, (cross + cross.T) / 2), Q


@BOTH
def test_velocity_is_the_negative_gradient(objective: Objective) -> None:
    rng = np.random.default_rng(0)
    data, _ = views(rng, 4)
    deep = DeepEncoder(data, objective)
    layers = [rng.normal(size=shape) / 2 for shape in ((5, 4), (3, 5), (2, 3))]
    P = rng.normal(size=(2, 2) if objective == "jepa" else (4, 2))
    velocities, predicted = deep.velocity(layers, P)
    h, W0 = 1e-5, layers[2] @ layers[1] @ layers[0]

    def loss(changed: list[np.ndarray], predictor: np.ndarray) -> float:
        if objective == "autoencoder":
            return deep.loss(changed, predictor)
        # The target is held fixed: the loss of a JEPA whose target encoder is another one.
        return LinearJEPA(data, ema_rate=0.0).loss(changed[2] @ changed[1] @ changed[0], predictor, W0)

    for index, velocity in enumerate([*velocities, predicted]):
        parts = [*layers, P]
        for place in np.ndindex(velocity.shape):
            step = np.zeros_like(velocity)
            step[place] = h
            ends = [[part + sign * step if j == index else part for j, part in enumerate(parts)] for sign in (1, -1)]
            slope = (loss(ends[0][:3], ends[0][3]) - loss(ends[1][:3], ends[1][3])) / (2 * h)
            assert velocity[place] == pytest.approx(-slope, abs=1e-8)


def test_one_layer_is_the_linear_jepa() -> None:
    rng = np.random.default_rng(1)
    data, _ = views(rng, 3)
    W, P = rng.normal(size=(2, 3)) / 2, rng.normal(size=(2, 2)) / 2
    one = DeepEncoder(data, predictor_rate=2.0, weight_decay=0.01).solve([W], P, [3.0])
    other = LinearJEPA(data, predictor_rate=2.0, weight_decay=0.01).solve(W, P, [3.0])
    assert np.allclose(one.encoder, other.encoder, atol=1e-8)
    assert list(one.drift) == ["balance of layer 1"]


@BOTH
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_balanced_layers_follow_the_closed_form(objective: Objective, depth: int) -> None:
    rng = np.random.default_rng(depth)
    d, k = 5, 3
    data, Q = views(rng, d)
    turns = [Q[:, :k]] + [orthogonal(rng, k) for _ in range(depth)]
    u = rng.uniform(0.6, 0.9, k)
    layers = [(turns[i + 1] * u) @ turns[i].T for i in range(depth)]
    P = ((turns[-1] if objective == "jepa" else Q[:, :k]) * u) @ turns[-1].T
    deep, times = DeepEncoder(data, objective), np.array([0.0, 1.0, 5.0, 20.0])
    closed = deep.solve(layers, P, times)
    assert closed.method == f"closed form: balanced modes of {depth} layers (5.4)"
    numeric = deep.solve(layers, P, times, method="DOP853", rtol=1e-12)
    # Along each layer a step errs by 1e-12, and modes approach their ends.
    assert np.abs(closed.encoder - numeric.encoder).max() < 1e-9
    assert np.abs(closed.predictor - numeric.predictor).max() < 1e-9
    assert max(numeric.drift.values()) < 1e-10
    rest = deep.solve(layers, P, [np.inf]).encoder[0]
    modes = np.sort(np.linalg.svd(rest, compute_uv=False))
    rho = np.einsum("dk,de,ek->k", Q, data.cross, Q)[:k] / np.einsum("dk,de,ek->k", Q, data.context, Q)[:k]
    power = depth if objective == "jepa" else depth / (depth + 1)
    assert np.allclose(modes, np.sort(rho**power), rtol=1e-13)


def test_what_is_not_balanced_is_integrated() -> None:
    rng = np.random.default_rng(2)
    data, Q = views(rng, 3)
    first, second = 0.5 * Q.T, 0.5 * np.eye(3)
    for P, reason in ((0.6 * np.eye(3), "balance"), (np.diag([0.5, 0.5, -0.5]), "positive predictor")):
        path = DeepEncoder(data).solve([first, second], P, [1.0])
        assert "DOP853" in path.method
        assert f"{reason} (off by" in path.method
        assert path.states["layer 2"].shape == (1, 3, 3)


def test_bad_input() -> None:
    data, _ = views(np.random.default_rng(3), 3)
    with pytest.raises(InputError, match=r"layers\[1\]"):
        DeepEncoder(data).solve([np.eye(3), np.eye(2)], np.eye(2), [1.0])
    with pytest.raises(InputError, match="at least one"):
        DeepEncoder(data).loss([], np.eye(2))
    with pytest.raises(InputError, match="objective"):
        DeepEncoder(data, "mae")  # type: ignore[arg-type]
