"""World models: stationary covariances against the linear system that defines them, and views of successive states."""

import random
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples
from sympy import lambdify

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, SpectralContrastive
from jepalign.linear_models.masking.rollout import (
    invariant_encoder,
    rollout_error,
    rotation_modes,
    rotation_views,
)
from jepalign.linear_models.masking.world_model import stationary_covariance
from jepalign.linear_models.views import ViewPair
from jepalign.theory import setting as theory
from jepalign.theory.catalogue import find
from jepalign.theory.masking import rotation as theory_rotation
from jepalign.theory.masking import world_model as theory_world


def exact_array(value: Any) -> np.ndarray:
    """Return an exact matrix in float64."""
    rows = [[int(value[i, j].p) / int(value[i, j].q) for j in range(value.ncols())] for i in range(value.nrows())]
    return np.array(rows)


def reference(F: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Solve (I − F⊗F) vec Σ = vec Q in 50 digits."""
    with mp.workdps(50):
        n = len(F)
        left = mp.eye(n * n)
        for i, j, k, m in np.ndindex(n, n, n, n):
            left[i * n + j, k * n + m] -= mp.mpf(F[i, k]) * mp.mpf(F[j, m])
        found = mp.lu_solve(left, mp.matrix(Q.ravel().tolist()))
        return np.array([float(value) for value in found]).reshape(n, n)


@given(st.integers(0, 2**32), st.integers(1, 4), st.floats(0, 0.999), st.booleans())
@examples(25)
def test_stationary_covariance_solves_its_equation(seed: int, size: int, radius: float, singular: bool) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(size, size))
    F = drawn * (radius / np.abs(np.linalg.eigvals(drawn)).max())
    root = rng.normal(size=(size, 1 if singular else size))
    Q = root @ root.T
    found = stationary_covariance(F, Q)
    expected = reference(F, Q)
    # Rounding of F moves Σ by at most twice ‖F‖‖Σ‖ times the norm of the inverse of the linear system.
    inverse = np.linalg.norm(np.linalg.inv(np.eye(size**2) - np.kron(F, F)), 2)
    bound = 20 * size**2 * np.finfo(float).eps * (1 + np.linalg.norm(F) ** 2) * inverse
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
    assert np.linalg.eigvalsh(found)[0] >= -1e-13 * size * np.abs(found).max()


def test_rotation_has_views_that_no_symmetric_model_sees() -> None:
    turn = np.array([[0.0, -0.8], [0.8, 0.0]])
    views = ViewPair.next_state(turn, 0.36 * np.eye(2))
    assert np.allclose(views.context, np.eye(2), rtol=0, atol=1e-15)
    assert np.allclose(views.cross, turn, rtol=0, atol=1e-15)  # FΣ, not ΣF transposed
    assert np.allclose(views.cross + views.cross.T, 0, atol=1e-15)
    assert np.allclose(views.correlations(), 0.8)


def test_actions_drive_the_state() -> None:
    F, B = np.diag([0.5, 0.0]), np.array([[1.0], [2.0]])
    views = ViewPair.next_state(F, np.eye(2), B)
    assert np.allclose(views.context, [[8 / 3, 2], [2, 5]], rtol=1e-15)
    assert np.allclose(views.cross, F @ views.context, rtol=1e-15)


@pytest.mark.parametrize(
    ("F", "Q", "B", "argument"),
    [
        (np.eye(2), np.eye(2), None, "dynamics"),
        (np.ones((1, 2)), np.eye(2), None, "dynamics"),
        (np.zeros((2, 2)), -np.eye(2), None, "noise"),
        (np.zeros((2, 2)), np.eye(3), None, "noise"),
        (np.zeros((2, 2)), np.eye(2), np.ones((3, 1)), "actions"),
    ],
)
def test_bad_dynamics_are_refused(F: np.ndarray, Q: np.ndarray, B: np.ndarray | None, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        ViewPair.next_state(F, Q, B)
    assert caught.value.argument == argument


# -- rollouts -------------------------------------------------------------------------------------------------------------


def stable(rng: np.random.Generator, size: int, radius: float = 0.9) -> np.ndarray:
    drawn = rng.normal(size=(size, size))
    return drawn * (radius / np.abs(np.linalg.eigvals(drawn)).max())


def simulated(W: np.ndarray, P: np.ndarray, F: np.ndarray, Q: np.ndarray, steps: int) -> np.ndarray:
    """Carry the joint covariance of the state and the rolled embedding on, step by step, and read off the error's."""
    d, k = len(F), len(W)
    state = stationary_covariance(F, Q)
    joint = np.vstack((np.eye(d), W)) @ state @ np.vstack((np.eye(d), W)).T
    both = np.block([[F, np.zeros((d, k))], [np.zeros((k, d)), P]])
    driving = np.block([[Q, np.zeros((d, k))], [np.zeros((k, d)), np.zeros((k, k))]])
    read = np.hstack((W, -np.eye(k)))
    found = [read @ joint @ read.T]
    for _ in range(steps):
        joint = both @ joint @ both.T + driving
        found.append(read @ joint @ read.T)
    return np.array(found)


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 5))
@examples(30)
def test_rollout_error_is_that_of_the_joint_system(seed: int, size: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    F, W, P = stable(rng, size), rng.normal(size=(width, size)), stable(rng, width, 0.8)
    root = rng.normal(size=(size, size))
    found = rollout_error(W, P, F, root @ root.T, 12)
    expected = simulated(W, P, F, root @ root.T, 12)
    scale = np.abs(expected).max() + np.trace(W @ stationary_covariance(F, root @ root.T) @ W.T)
    grown = max(1.0, *(np.linalg.norm(np.linalg.matrix_power(A, n), 2) for A in (F, P) for n in range(13)))
    # The joint covariance takes differences of terms as large as the embedding's variance, carried on by both powers.
    assert np.abs(found.avoidable + found.unavoidable - expected).max() <= 1e-13 * scale * grown**2
    for n in (0, 1, 5, 12):
        direct = W @ np.linalg.matrix_power(F, n) - np.linalg.matrix_power(P, n) @ W
        assert np.abs(found.bias[n] - direct).max() <= 1e-12 * grown**2 * np.abs(W).max()


@pytest.mark.parametrize("seed", range(8))
def test_a_surviving_subspace_has_no_bias(seed: int) -> None:
    # The theorem draws W, P and F with WF = PW exactly; scaled to be stable they stay so.
    drawn = find("rollout-error").instances(random.Random(seed), 3)
    W, P, F = (exact_array(drawn.matrices[symbol]) for symbol in (theory.W, theory.P, theory_world.F))
    scale = 0.9 / np.abs(np.linalg.eigvals(F)).max()
    found = rollout_error(W, scale * P, scale * F, np.eye(len(F)), 10)
    norms = np.linalg.norm(W, 2) * max(np.linalg.norm(np.linalg.matrix_power(scale * F, n), 2) for n in range(11))
    assert np.abs(found.bias).max() <= 1e-12 * norms * max(1.0, np.linalg.norm(scale * P, 2) ** 10)
    # e′ = Pe + Wξ, as the theorem has it; the transposed predictor (its false sibling) carries it elsewhere.
    carried = np.zeros((len(W), len(W)))
    for n in range(10):
        carried = scale**2 * P @ carried @ P.T + W @ W.T
        assert np.abs(carried - found.unavoidable[n + 1]).max() <= 1e-11 * np.abs(carried).max()


def test_the_transposed_predictor_is_something_else() -> None:
    F = np.array([[0.5, 0.9], [0.0, 0.3]])
    kept, wrong = (rollout_error(np.eye(2), P, F, np.eye(2), 4) for P in (F, F.T))
    assert np.array_equal(kept.bias, np.zeros((5, 2, 2)))
    missed = (F - F.T) @ stationary_covariance(F, np.eye(2)) @ (F - F.T).T
    assert np.allclose(wrong.avoidable[1], missed, rtol=1e-14)
    assert np.trace(missed) > 0.5
    assert np.array_equal(kept.unavoidable, wrong.unavoidable)
    # With an identity encoder and the true dynamics, the error of many steps is the variance of the state.
    far = rollout_error(np.eye(2), F, F, np.eye(2), 80)
    assert np.allclose(far.unavoidable[-1], stationary_covariance(F, np.eye(2)), rtol=1e-14)


@given(st.integers(0, 2**32), st.integers(2, 7))
@examples(30)
def test_invariant_encoders_keep_the_slowest_modes(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    F = stable(rng, size)
    values = np.linalg.eigvals(F)
    moduli = np.sort(np.abs(values))[::-1]
    for width in range(1, size + 1):
        if width < size and moduli[width - 1] - moduli[width] < 1e-3:
            continue
        W, P = invariant_encoder(F, width)
        assert np.allclose(W @ W.T, np.eye(width), atol=1e-13)
        assert np.abs(W @ F - P @ W).max() <= 1e-13 * size * np.linalg.norm(F)
        kept = np.sort(np.abs(np.linalg.eigvals(P)))[::-1]
        # Eigenvalues of a matrix that is not normal: rounding grows by the condition of its eigenvectors.
        bound = 1e-13 * np.linalg.cond(np.linalg.eig(F)[1]) * np.linalg.norm(F)
        assert np.abs(kept - moduli[:width]).max() <= bound


def test_actions_that_are_known_add_nothing_and_unknown_ones_do() -> None:
    rng = np.random.default_rng(2)
    F, B = stable(rng, 4), rng.normal(size=(4, 2))
    W, P = np.eye(4), F
    Q = 0.1 * np.eye(4)
    known = rollout_error(W, P, F, Q, 6, actions=B, action_predictor=B)
    unknown = rollout_error(W, P, F, Q, 6, actions=B, action_predictor=np.zeros((4, 2)))
    assert np.array_equal(known.avoidable, np.zeros((7, 4, 4)))
    # To ignore an action is to take it for noise.
    noise = rollout_error(W, P, F, Q + B @ B.T, 6)
    total = unknown.avoidable + unknown.unavoidable
    assert np.allclose(total, noise.unavoidable, rtol=1e-12, atol=1e-13)
    wrong = 1.5 * B
    half = rollout_error(W, P, F, Q, 6, actions=B, action_predictor=wrong)
    assert np.allclose(half.avoidable, unknown.avoidable / 4, rtol=1e-12, atol=1e-14)


# -- rotations ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.3, np.pi / 2, 2.5])
def test_prediction_keeps_a_turning_plane_whatever_the_angle(angle: float) -> None:
    gamma = 0.8
    found, views = rotation_modes(gamma, angle), rotation_views(gamma, angle)
    assert np.allclose(views.cross, ViewPair.next_state(views.cross, (1 - gamma**2) * np.eye(2)).cross, atol=1e-15)
    seen = np.linalg.eigvalsh((views.cross + views.cross.T) / 2)
    assert np.allclose(seen, found.contrast, rtol=0, atol=1e-16)
    for factor in (0.9, 1.1):
        jepa = LinearJEPA(views, weight_decay=factor * float(found.threshold))
        end = jepa.solve(2 * np.eye(2), views.cross, [0.0, 800.0]).encoder[-1]
        assert (np.linalg.norm(end) > 0.1) == (factor < 1)
    contrast = SpectralContrastive(views, weight_decay=0.05).solve(np.eye(2), [0.0, 400.0]).encoder[-1]
    assert (np.linalg.norm(contrast) > 0.1) == (found.contrast > 0.05)


def test_rotations_are_those_of_the_theorem() -> None:
    assert find("rotation-modes").chapter == 7
    gamma, theta, p, s = 0.7, 1.1, 0.4, 1.0
    strength = gamma**2
    letters = [theory_rotation.along, theory_rotation.across]
    assert lambdify(letters, theory_rotation.STRENGTH)(gamma * np.cos(theta), gamma * np.sin(theta)) == pytest.approx(
        4 * rotation_modes(gamma, theta).threshold
    )
    views = rotation_views(gamma, theta)
    W = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    P = p * W @ views.cross @ W.T
    force = P.T @ (W @ views.cross - P @ W)
    assert np.allclose(force, p * (1 - p) * strength * s * W, rtol=0, atol=1e-15)
    # False sibling: the force without the sine.
    assert np.abs(force - p * (1 - p) * (gamma * np.cos(theta)) ** 2 * W).max() > 1e-2
    for lag in (1, 2, 3):
        found = rotation_modes(gamma, theta, lag=lag)
        power = np.linalg.matrix_power(views.cross, lag)
        assert np.allclose(power, rotation_views(gamma, theta, lag=lag).cross, rtol=0, atol=1e-15)
        assert np.allclose(np.trace(power) / 2, found.contrast, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: rollout_error(np.eye(2), np.eye(2), np.eye(2), np.eye(2), 3), "dynamics"),
        (lambda: rollout_error(np.eye(3), np.eye(3), np.zeros((2, 2)), np.eye(2), 3), "encoder"),
        (lambda: rollout_error(np.eye(2), np.eye(3), np.zeros((2, 2)), np.eye(2), 3), "predictor"),
        (lambda: rollout_error(np.eye(2), np.eye(2), np.zeros((2, 2)), -np.eye(2), 3), "noise"),
        (lambda: rollout_error(np.eye(2), np.eye(2), np.zeros((2, 2)), np.eye(2), 0), "steps"),
        (
            lambda: rollout_error(np.eye(2), np.eye(2), np.zeros((2, 2)), np.eye(2), 1, actions=np.eye(2)),
            "action_predictor",
        ),
        (lambda: invariant_encoder(0.5 * np.eye(2), 1), "width"),
        (lambda: invariant_encoder(np.array([[0.0, -0.5], [0.5, 0.0]]), 1), "width"),
        (lambda: invariant_encoder(np.eye(2), 3), "width"),
        (lambda: rotation_modes(1.5, 0.0), "shrinkage"),
        (lambda: rotation_modes([0.5, 0.5], [0.0, 0.0, 0.0]), "angle"),
        (lambda: rotation_views(0.5, 0.0, lag=0), "lag"),
    ],
)
def test_bad_world_models_are_refused(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.argument == argument
