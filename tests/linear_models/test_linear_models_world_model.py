"""World models: stationary covariances against the linear system that defines them, and views of successive states."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.masking.world_model import stationary_covariance
from jepalign.linear_models.views import ViewPair


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
