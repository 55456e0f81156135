"""Pieces of the experiment on trajectories against definitions, integrators and the closed forms' own limits."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from jepalign.simulations.mode_strengths import (
    aligned_encoder,
    balanced_predictor,
    exact_modes,
    jepa_path,
    passing,
    product,
    random_encoder,
    strengths,
)
from jepalign.simulations.results import numpy
from jepalign.simulations.trajectories import CORRELATION, CROSS, inversions
from jepalign.simulations.trajectory_runs import RECORDS, aligned_run, closed, order_run, random_starts, rest, span

MODES = exact_modes(CORRELATION, CROSS / CORRELATION, seed=3, device=torch.device("cpu"))


def test_moments_of_the_views_are_exact() -> None:
    x, y = numpy(MODES.x), numpy(MODES.y)
    rotated = MODES.basis @ x.T @ x @ MODES.basis.T / len(x), MODES.basis @ y.T @ x @ MODES.basis.T / len(x)
    np.testing.assert_allclose(rotated[0], np.diag(CROSS / CORRELATION), atol=1e-14)
    np.testing.assert_allclose(rotated[1], np.diag(CROSS), atol=1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_starts_are_what_they_say(depth: int) -> None:
    aligned = product(aligned_encoder(MODES, depth, 0.3))
    np.testing.assert_allclose(aligned @ MODES.basis.T, 0.3**depth * np.eye(len(CROSS)), atol=1e-15)
    random = random_encoder(MODES, depth, 0.3, seed=1)
    np.testing.assert_allclose(strengths(product(random)[None], MODES)[0], 0.3**depth, rtol=1e-13)
    predictor, W = numpy(balanced_predictor(random).weight), numpy(random.last.weight)
    np.testing.assert_allclose(predictor.T @ predictor, W @ W.T, atol=1e-15)


def test_a_recorded_path_is_not_what_training_writes_over() -> None:
    encoder = random_encoder(MODES, 1, 0.2, seed=1)
    first = product(encoder)
    path = jepa_path(encoder, balanced_predictor(encoder), MODES, step=0.05, moments=np.array([0, 3, 20]))
    np.testing.assert_array_equal(path[0], first)
    assert np.abs(path[2] - path[1]).max() > 1e-3
    # One plain step by hand: ΔW = ε Pᵀ(WC − PWΣ).
    again = random_encoder(MODES, 1, 0.2, seed=1)
    W, P = product(again), numpy(balanced_predictor(again).weight).copy()
    x, y = numpy(MODES.x), numpy(MODES.y)
    force = P.T @ (W @ (y.T @ x) - P @ W @ (x.T @ x)) / len(x)
    stepped = jepa_path(again, balanced_predictor(again), MODES, step=0.05, moments=np.array([1]))
    np.testing.assert_allclose(stepped[0], W + 0.05 * force, atol=1e-14)


@pytest.mark.parametrize("kind", ["JEPA", "autoencoder", "spectral contrastive", "Barlow Twins, covariance form"])
def test_closed_forms_solve_the_flow_that_is_descended(kind: str) -> None:
    white = exact_modes(CORRELATION * 0.9, np.ones(6), seed=0, device=torch.device("cpu"))
    modes = white if kind.startswith("Barlow") else MODES
    lam, s = modes.cross, modes.variance
    # Layer and predictor alike: u; of the losses, a quarter of each for contrastive ones.
    fields = {
        "JEPA": lambda _, u: u**2 * (lam - s * u),
        "autoencoder": lambda _, u: u * (lam - s * u**2),
        "spectral contrastive": lambda _, u: u * (lam - s**2 * u**2),
        "Barlow Twins, covariance form": lambda _, u: lam * u * (1 - lam * u**2),
    }
    start = np.full(6, 0.1)
    times = np.array([0.5, 2.0, 6.0])
    found = solve_ivp(fields[kind], (0, 6.0), start, t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853").y.T
    np.testing.assert_allclose(closed(kind, 1)(times[:, None], modes, start), found, rtol=1e-8)
    late = closed(kind, 1)(np.array([[1e4]]), modes, start)[0]
    np.testing.assert_allclose(late, rest(kind, 1, modes), rtol=1e-6)
    told = closed(kind, 1)(np.array([[span(kind, 1, modes, start)]]), modes, start)[0]
    assert (told >= 0.9 * rest(kind, 1, modes)).all()


def test_smaller_steps_come_closer_to_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """First order in the step, as plain descent is: the distance is not one of another law."""
    misses: list[float] = []
    for step in (0.04, 0.02):
        monkeypatch.setattr("jepalign.simulations.trajectory_runs.STEP", step)
        run = aligned_run("JEPA", 1, MODES, 0.2)
        misses.append(np.abs(run["observed"] - run["predicted"]).max())
    assert 1.8 < misses[0] / misses[1] < 2.2
    assert run["time"].shape == (RECORDS,)
    np.testing.assert_allclose(run["half"], run["half_predicted"], rtol=0.02)


def test_random_starts_follow_the_flow_of_the_whole_matrix() -> None:
    white = exact_modes(CORRELATION * 0.9, np.ones(6), seed=0, device=torch.device("cpu"))
    found = random_starts(MODES, white, 0.1, 1, 5)
    assert np.abs(found["random_observed"] - found["random_exact"]).max() < 0.02
    # Aligned forms are another matter: modes that are coupled are not told by them.
    assert np.abs(found["random_observed"] - found["random_predicted"]).max() > 0.1


def test_the_order_is_by_cross_covariance_and_then_correlation() -> None:
    run = order_run("JEPA", 2, MODES, 0.3, 2, 0)
    assert run["order_half"].shape == (2, 6)
    assert inversions(run["order_predicted"], np.argsort(run["order_predicted"])) == 0
    assert inversions(np.array([1.0, 2.0, 3.0]), np.array([2, 1, 0])) == 3
    assert inversions(np.array([1.0, 1.0, 3.0]), np.array([1, 0, 2])) == 0


def test_passing_times() -> None:
    times = np.array([0.0, 1.0, 2.0])
    strength = np.array([[1.0, 1.0, 5.0], [np.e, 1.0, 5.0], [np.e**2, 1.0, 5.0]])
    np.testing.assert_allclose(passing(times, strength, np.array([np.e**1.5, 2.0, 4.0])), [1.5, np.inf, 0.0])
