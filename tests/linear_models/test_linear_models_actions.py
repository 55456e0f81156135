"""World models that see actions: least squares against its normal equations, and what the encoder learns from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.masking.actions import ControlledSystem
from jepalign.linear_models.masking.rollout import rollout_error
from jepalign.linear_models.views import ViewPair
from jepalign.theory.catalogue import find


def controlled(seed: int, size: int, acts: int, *, feedback: float = 0.3) -> ControlledSystem:
    rng = np.random.default_rng(seed)
    drawn, B = rng.normal(size=(size, size)), 0.3 * rng.normal(size=(size, acts))
    F = drawn * (0.5 / np.abs(np.linalg.eigvals(drawn)).max())
    policy = feedback * rng.normal(size=(acts, size))
    while np.abs(np.linalg.eigvals(F + B @ policy)).max() > 0.95:
        policy /= 2
    roots = rng.normal(size=(size, size)), rng.normal(size=(acts, acts))
    return ControlledSystem(F, B, roots[0] @ roots[0].T, policy, roots[1] @ roots[1].T)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 3), st.integers(1, 6))
@examples(40)
def test_predictors_leave_an_error_that_nothing_seen_explains(seed: int, size: int, acts: int, width: int) -> None:
    system = controlled(seed, size, acts)
    W = np.random.default_rng(seed + 1).normal(size=(width, size))
    P, N = system.predictor(W)
    # The normal equations, in the joint covariance of (x, ν); wider encoders than states have several solutions.
    both = np.block([[system.state, np.zeros((size, acts))], [np.zeros((acts, size)), system.exploration]])
    taken = np.hstack((system.policy, np.eye(acts)))
    now = np.hstack((W, np.zeros((width, acts))))
    error = W @ np.hstack((system.dynamics, np.zeros((size, acts)))) + W @ system.actions @ taken - P @ now - N @ taken
    scale = np.abs(both).max() * (1 + np.linalg.norm(W)) ** 2 * (1 + np.linalg.norm(P) + np.linalg.norm(N))
    for seen in (now, taken):
        assert np.abs(error @ both @ seen.T).max() <= 1e-12 * scale * (1 + np.linalg.norm(taken))


@pytest.mark.parametrize("seed", range(6))
def test_an_encoder_of_the_state_finds_dynamics_and_actions(seed: int) -> None:
    system = controlled(seed, 4, 2)
    found = system.predictor(np.eye(4))
    # Regression on (x, a) by a covariance of this condition.
    seen = np.vstack((np.eye(4), system.policy))
    moment = seen @ system.state @ seen.T
    moment[4:, 4:] += system.exploration
    bound = 1e-14 * np.linalg.cond(moment)
    assert np.abs(found.state - system.dynamics).max() <= bound
    assert np.abs(found.action - system.actions).max() <= bound
    # False sibling: the closed loop in place of the dynamics.
    loop = system.dynamics + system.actions @ system.policy
    assert np.abs(found.state - loop).max() > 1e-2


@pytest.mark.parametrize("seed", range(6))
def test_the_residual_is_that_of_the_theorem(seed: int) -> None:
    assert find("world-model-modes").chapter == 7
    system, rng = controlled(seed, 3, 2), np.random.default_rng(seed)
    W, P = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    state, mixed = system.state, system.state @ system.policy.T
    taken = system.policy @ mixed + system.exploration
    # Its symbols in turn, with the part on the actions optimal for a predictor P that is not.
    future_action = system.dynamics @ mixed + system.actions @ taken
    N = np.linalg.solve(taken, (W @ future_action - P @ W @ mixed).T).T
    residual = W @ (system.dynamics @ state + system.actions @ mixed.T) - P @ W @ state - N @ mixed.T
    views = system.views(actions=True)
    assert np.allclose(residual, W @ views.cross - P @ W @ views.context, rtol=0, atol=1e-11)
    # False sibling: the covariance that does not know the action.
    assert np.abs(residual - (W @ system.dynamics - P @ W) @ state).max() > 1e-2
    given = state - mixed @ np.linalg.inv(taken) @ mixed.T
    assert np.allclose(system.given_actions, given, rtol=0, atol=1e-11)


def test_actions_change_modes_only_where_they_follow_the_state() -> None:
    free = controlled(3, 3, 2, feedback=0.0)
    seen, unseen = free.views(actions=True), free.views(actions=False)
    assert np.allclose(seen.context, unseen.context, rtol=0, atol=1e-13)
    assert np.allclose(seen.cross, unseen.cross, rtol=0, atol=1e-13)
    expected = ViewPair.next_state(free.dynamics, free.noise + free.actions @ free.exploration @ free.actions.T)
    assert np.allclose(unseen.joint, expected.joint, rtol=0, atol=1e-13)
    # A policy that cancels the dynamics leaves nothing to predict to those who do not see it.
    F = np.diag([0.8, 0.5])
    cancel = ControlledSystem(F, np.eye(2), np.eye(2), -F, 0.1 * np.eye(2))
    assert np.array_equal(cancel.views(actions=False).cross, np.zeros((2, 2)))
    assert np.linalg.eigvalsh(cancel.views(actions=True).cross).min() > 0.05
    # Without exploration the action says all about the state, and nothing is left to learn from.
    certain = ControlledSystem(F, np.eye(2), np.eye(2), -F, np.zeros((2, 2)))
    assert np.abs(certain.views(actions=True).context).max() <= 1e-15


@pytest.mark.parametrize("seed", range(5))
def test_errors_with_actions_are_those_of_the_joint_system(seed: int) -> None:
    rng, d, k = np.random.default_rng(seed), 3, 2
    system = controlled(seed, d, 2, feedback=0.0)
    W, P, N = rng.normal(size=(k, d)), 0.3 * rng.normal(size=(k, k)), rng.normal(size=(k, 2))
    found = rollout_error(W, P, system.dynamics, system.noise, 6, actions=system.actions, action_predictor=N)
    # The state and the rolled embedding together, driven by the same actions; only the state is driven by the noise.
    white = ControlledSystem(system.dynamics, system.actions, system.noise, system.policy, np.eye(2))
    start, both = np.vstack((np.eye(d), W)), np.vstack((system.actions, N))
    joint, read = start @ white.state @ start.T, np.hstack((W, -np.eye(k)))
    step = np.block([[system.dynamics, np.zeros((d, k))], [np.zeros((k, d)), P]])
    for n in range(1, 7):
        joint = step @ joint @ step.T + both @ both.T
        joint[:d, :d] += system.noise
        error = read @ joint @ read.T
        assert np.abs(found.avoidable[n] + found.unavoidable[n] - error).max() <= 1e-12 * np.abs(joint).max()


def test_controlled_rollouts_have_no_bias_with_the_predictor_by_least_squares() -> None:
    F, B = np.diag([0.9, 0.4]), np.array([[1.0], [0.5]])
    system = ControlledSystem(F, B, np.eye(2), np.zeros((1, 2)), np.eye(1))
    W = np.eye(2)[:1]
    P, N = system.predictor(W)
    found = rollout_error(W, P, F, np.eye(2), 20, actions=B, action_predictor=N)
    assert np.abs(found.avoidable).max() <= 1e-26
    # An embedding that mixes modes is not left-invariant: its best single step is biased later.
    mixed = np.array([[1.0, 1.0]])
    best = system.predictor(mixed)
    found = rollout_error(mixed, best.state, F, np.eye(2), 20, actions=B, action_predictor=best.action)
    assert found.avoidable.max() > 1e-2


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"dynamics": np.ones((2, 3))}, "dynamics"),
        ({"dynamics": np.eye(2)}, "dynamics"),
        ({"actions": np.ones((3, 1))}, "actions"),
        ({"policy": np.ones((2, 2))}, "policy"),
        ({"noise": -np.eye(2)}, "noise"),
        ({"exploration": -np.eye(1)}, "exploration"),
    ],
)
def test_bad_systems_are_refused(change: dict[str, np.ndarray], argument: str) -> None:
    good = {
        "dynamics": np.eye(2) / 2,
        "actions": np.ones((2, 1)),
        "noise": np.eye(2),
        "policy": np.zeros((1, 2)),
        "exploration": np.eye(1),
    }
    with pytest.raises(InputError) as caught:
        ControlledSystem(**(good | change))
    assert caught.value.argument == argument
    with pytest.raises(InputError, match="encoder"):
        ControlledSystem(**good).predictor(np.ones((1, 3)))
