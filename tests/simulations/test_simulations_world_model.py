"""Pieces of the experiment on world models: moments, the descent by hand, rollouts and planes that are known."""

import dataclasses

import numpy as np
import pytest
import torch

from jepalign.linear_models import ViewPair
from jepalign.simulations.encoders import MLP, ActionPredictor
from jepalign.simulations.results import numpy
from jepalign.simulations.world_model import SCALES, recovery, rollouts, surviving, surviving_twin
from jepalign.simulations.world_rows import ANGLE, ROLLED, SHRINKAGE, deep_rows, rollout_rows, survival_rows
from jepalign.simulations.world_training import contrast, descend, pairs, planes

CPU = torch.device("cpu")
SYSTEM = planes()
SHORT = dataclasses.replace(SCALES["quick"], rest_steps=300, samples=300, deep_steps=0)


def test_the_stationary_state_is_white_and_pairs_have_its_moments() -> None:
    driven = SYSTEM.noise + SYSTEM.actions @ SYSTEM.actions.T
    law = ViewPair.next_state(SYSTEM.dynamics, SYSTEM.noise, SYSTEM.actions)
    np.testing.assert_allclose(law.context, np.eye(10), atol=1e-12)
    np.testing.assert_allclose(SYSTEM.dynamics @ SYSTEM.dynamics.T + driven, np.eye(10), atol=1e-15)
    x, y, actions = (numpy(part) for part in pairs(SYSTEM, CPU))
    n = len(x)
    for left, right, expected in (
        (x, x, np.eye(10)), (y, y, np.eye(10)), (y, x, law.cross), (y, actions, SYSTEM.actions), (actions, x, np.zeros((3, 10))),
    ):  # fmt: skip
        np.testing.assert_allclose(left.T @ right / n, expected, atol=1e-12)
    values = np.linalg.eigvals(SYSTEM.dynamics)
    np.testing.assert_allclose(np.sort(np.abs(values))[::2], np.sort(SHRINKAGE), rtol=1e-12)


def test_one_step_by_hand() -> None:
    x, y, actions = pairs(SYSTEM, CPU)
    encoder, predictor = MLP((10, 4), "linear", seed=1), ActionPredictor(4, 3, seed=2)
    W, P = numpy(encoder.last.weight).copy(), numpy(predictor.state.weight).copy()
    assert descend(encoder, predictor, x, y, actions, step=0.1, count=1, decay=0.2)
    # Σ_x = I, Σ_yx = F, actions independent of the state: their part starts at 0 and takes WB.
    residual = W @ SYSTEM.dynamics - P @ W
    np.testing.assert_allclose(numpy(encoder.last.weight), W + 0.1 * (P.T @ residual - 0.2 * W), atol=1e-12)
    np.testing.assert_allclose(numpy(predictor.state.weight), P + 0.1 * (residual @ W.T - 0.2 * P), atol=1e-12)
    assert predictor.action is not None
    np.testing.assert_allclose(numpy(predictor.action.weight), 0.1 * W @ SYSTEM.actions, atol=1e-12)


def test_the_twin_by_hand_and_a_target_that_lags() -> None:
    x, y, _ = pairs(SYSTEM, CPU)
    encoder = MLP((10, 4), "linear", seed=1)
    W = numpy(encoder.last.weight).copy()
    C = (SYSTEM.dynamics + SYSTEM.dynamics.T) / 2
    assert contrast(encoder, x, y, step=0.1, count=1)
    np.testing.assert_allclose(numpy(encoder.last.weight), W + 0.1 * (W @ C - W @ W.T @ W), atol=1e-12)
    moved = []
    for ema in (None, 0.0):
        other, predictor = MLP((10, 4), "linear", seed=1), ActionPredictor(4, seed=2)
        assert descend(other, predictor, x, y, None, step=0.1, count=2, ema=ema)
        moved.append(numpy(other.last.weight).copy())
    assert np.abs(moved[0] - moved[1]).max() > 1e-4  # the second step sees another target
    assert not contrast(MLP((10, 4), "linear", seed=1), x, y, step=50.0, count=40)


def test_planes_that_survive() -> None:
    # Thresholds ρ²/4: 0.226, 0.203, 0.141, 0.123, 0.063; the twin's ρ cos θ: 0.908, −0.53, −0.71, 0.49, 0.18.
    assert surviving(SYSTEM, "V = W", 0.17, 150.0, CPU) == 4
    assert surviving_twin(SYSTEM, 0.3, 100.0, CPU) == 4


@pytest.mark.parametrize("kind", ROLLED)
def test_rollouts_by_simulation_and_by_the_formula(kind: str) -> None:
    run = rollouts(kind, SHORT, 2, CPU)
    assert run["rollout"][0] == 0
    assert (np.abs(run["rollout"] - run["rollout_predicted"])[1:] < 5 * run["rollout_error"][1:]).all()
    assert (run["avoidable"] <= run["rollout_predicted"] + 1e-12).all()
    assert run["planes"].sum() == pytest.approx(1)


def test_an_untrained_encoder_has_what_training_starts_from() -> None:
    found, ranks = recovery("tanh", SHORT, 0, CPU)
    assert found.shape == (3, len(ANGLE))
    assert (found <= 1).all()
    assert (ranks > 1).all()
    np.testing.assert_array_equal(found, np.tile(found[2], (3, 1)))


def test_rows() -> None:
    decays = np.array([0.1, 0.3])
    told, twin = np.array([8.0, 0.0]), np.array([6.0, 4.0])
    rows = survival_rows(decays, np.array([told, told, [8.0, np.nan]]), told, twin, twin)
    assert [row["verdict"] for row in rows] == ["holds", "holds", "fails", "holds", "holds"]
    near = survival_rows(np.array([0.2031, 0.3]), np.tile([9.0, 0.0], (3, 1)), told, twin, twin)
    assert near[0]["verdict"] == "holds"  # too near the second threshold to count
    runs = [rollouts(kind, SHORT, 2, CPU) for kind in ROLLED]
    rows = rollout_rows([{key: value[None] for key, value in run.items()} for run in runs])
    assert len(rows) == 8
    seen = np.zeros((3, 2, len(ANGLE)))
    seen[0] = 0.9
    assert deep_rows("tanh", seen)[0]["verdict"] == "holds"
    seen[1] = 0.8
    assert deep_rows("tanh", seen)[0]["verdict"] == "fails"
