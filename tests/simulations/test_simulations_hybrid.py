"""Pieces of the experiment on hybrids: data, the step by hand, thresholds read off a sweep, and rows."""

import numpy as np
import pytest
import torch

from jepalign.linear_models import Hybrid, LinearJEPA, ViewPair
from jepalign.linear_models.collapse.rescue import rescue_weight
from jepalign.linear_models.uniformity import Spectral
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.ensembles.explicit import explicit_uniformity
from jepalign.simulations.hybrid import (
    CROSS,
    HINGE,
    TERMS,
    VARIANCE,
    crossing,
    ends,
    first_rest,
    gaussian_views,
    strengths_of,
)
from jepalign.simulations.hybrid_deep import DECAY, LEADING, START, deep_repel, passing, pushed, repulsion
from jepalign.simulations.hybrid_rows import BEYOND, rest_rows, shared_rows, threshold_rows
from jepalign.simulations.hybrid_shared import aligned_growth
from jepalign.simulations.mode_strengths import exact_modes
from jepalign.simulations.results import numpy

CPU = torch.device("cpu")
MODES = exact_modes(CROSS / VARIANCE, VARIANCE, seed=0, device=CPU)


def test_views_of_one_gaussian_dimension() -> None:
    views = gaussian_views(0.6, 0.8, CPU)
    x, y = numpy(views.x)[:, 0], numpy(views.y)[:, 0]
    assert np.mean(x * x) == pytest.approx(0.8, rel=1e-12)
    assert np.mean(y * y) == pytest.approx(0.8, rel=1e-12)
    assert np.mean(x * y) == pytest.approx(0.6, rel=1e-12)


def test_a_step_is_that_of_the_linear_hybrid() -> None:
    encoder, predictor = MLP((3, 2), "linear", seed=1), linear_predictor(2, seed=2)
    W, P = numpy(encoder.last.weight).copy(), numpy(predictor.weight).copy()
    Sigma, C = (MODES.basis.T @ np.diag(part) @ MODES.basis for part in (VARIANCE, CROSS))
    model = Hybrid(LinearJEPA(ViewPair.from_covariances(Sigma, Sigma, C), weight_decay=DECAY), HINGE, 0.3)
    pushed(encoder, predictor, MODES.x, MODES.y, HINGE, 0.3, DECAY, count=1, step=0.1)
    np.testing.assert_allclose(numpy(encoder.last.weight), W + 0.1 * model.forces(W, P).total, atol=1e-12)


def test_rests_are_zeros_of_the_flow_of_a_mode() -> None:
    for name, term in TERMS.items():
        gammas = strengths_of(name, 5)
        for lam, s in zip(CROSS, VARIANCE, strict=True):
            w = first_rest(lam, s, gammas, term)
            alive = w > 0
            p = lam * w**2 / (s * w**2 + DECAY)
            push = s * gammas * term.coefficient(np.where(alive, s * w**2, 1.0))
            velocity = p * (lam - s * p) * w - DECAY * w + push * w
            assert np.abs(velocity[alive]).max(initial=0) < 1e-9
            threshold = rescue_weight(lam, s, DECAY, uniformity=term).repel
            assert np.array_equal(alive, gammas > threshold)


def test_modes_end_where_they_rest() -> None:
    gammas = np.array([0.02, 0.06])
    views = gaussian_views(CROSS[0], VARIANCE[0], CPU)
    found = ends([views], "spectral", gammas, 30.0)[0, :, 0]
    assert found[0] < START  # below the threshold 0.04 it stays collapsed
    assert found[1] == pytest.approx(first_rest(CROSS[0], VARIANCE[0], gammas, Spectral())[1], rel=1e-4)


def test_a_collapsed_network_is_repelled_at_the_threshold_of_its_features() -> None:
    seen, told, other, corrected = deep_repel("tanh", HINGE, 48, 1, CPU)
    assert seen.shape == told.shape == (LEADING,)
    assert (np.abs(seen / told - 1) < 0.15).all()
    assert (np.abs(other / corrected - 1) < 0.02).all()


def test_sigreg_does_not_repel_the_mean_of_rectified_features() -> None:
    seen, told, other, corrected = deep_repel("relu", TERMS["SIGReg"], 48, 1, CPU)
    assert np.isinf(seen[0])
    assert np.isfinite(told).all()
    assert (np.abs(other / corrected - 1) < 0.02).all()


def test_repulsion_is_the_force_on_a_collapsed_layer() -> None:
    h = np.random.default_rng(0).standard_normal((40, 3)) + np.array([2.0, 0.5, 0.0])
    W = torch.tensor([[1e-5, 2e-5, -1e-5], [0.0, 1e-5, 3e-5]], dtype=torch.float64, requires_grad=True)
    directions = torch.eye(2, dtype=torch.float64)
    for name, term in TERMS.items():
        if name == "log-det":
            continue  # its force on a collapsed layer is not bounded
        value = explicit_uniformity(torch.as_tensor(h) @ W.T, term, directions)
        (gradient,) = torch.autograd.grad(value, W)
        told = numpy(W) @ repulsion(h, term)
        np.testing.assert_allclose(-numpy(gradient), told, atol=1e-4 * np.abs(told).max())


def test_where_rates_pass_zero() -> None:
    gammas = np.array([1.0, 2.0, 4.0])
    assert passing(gammas, np.array([-1.0, 1.0, 3.0])) == pytest.approx(1.5)
    assert passing(gammas, np.array([1.0, 2.0, 3.0])) == 0
    assert np.isinf(passing(gammas, np.array([-3.0, -2.0, -1.0])))


def test_a_collapsed_mode_enters_the_row_of_one_that_has_grown() -> None:
    # The second rests at w with the predictor p; the first, at 0, enters its row at the rate p(λ − σp) − η + γσ(1 − s).
    gamma, term = 0.03, Spectral()
    cross, variance = CROSS[:2], VARIANCE[:2]
    w = first_rest(cross[1], variance[1], np.array([gamma]), term)[0]
    p = cross[1] * w**2 / (variance[1] * w**2 + DECAY)
    rate = p * (cross[0] - variance[0] * p) - DECAY + gamma * variance[0] * (1 - variance[1] * w**2)
    assert rate > 0
    assert aligned_growth(cross, variance, DECAY, term, gamma, np.array([0.0, w])) == pytest.approx(rate, rel=1e-6)
    assert aligned_growth(cross, variance, DECAY, term, 0.01, np.zeros(2)) < 0


def test_rows_of_shared_encoders_and_of_thresholds_that_are_one() -> None:
    run = {
        "strength": np.array([1.0, 4.0]),
        "rest_predicted": np.array([[0.0], [0.8]]),
        "shared_rest": np.array([[0.0], [0.5]]),
        "aligned_growth": np.array([-0.1, 0.2]),
        "repel_predicted": np.array([2.0]),
        "rescue_predicted": np.array([2.0]),
        "repel": np.array([2.1]),
        "rescue": np.array([np.inf]),
    }
    assert shared_rows("x", run, 1000.0)["verdict"] == "holds"
    assert shared_rows("x", run | {"aligned_growth": np.array([-0.1, -0.2])}, 1000.0)["verdict"] == "fails"
    rows = threshold_rows("x", run)
    assert [row["verdict"] for row in rows[:2]] == ["holds", "fails"]
    assert "which is the repel one" in rows[1]["experiment"]
    assert rows[1]["observed"] == BEYOND


def test_thresholds_of_a_sweep() -> None:
    gammas = np.array([1.0, 4.0, 16.0])
    beyond = np.array([[False, True, False], [True, True, False], [True, True, False]])
    np.testing.assert_array_equal(crossing(gammas, beyond), [2.0, 0.0, np.inf])


def test_rows_leave_out_what_is_near_a_threshold() -> None:
    run = {
        "strength": np.array([1.0, 2.1, 4.0]),
        "rest_predicted": np.array([[0.0], [0.5], [0.8]]),
        "repel_predicted": np.array([2.0]),
        "rescue_predicted": np.array([2.0]),
        "rest": np.array([[1e-4], [0.0], [0.801]]),
        "shared_rest": np.array([[1e-4], [0.5], [0.4]]),
    }
    assert [row["verdict"] for row in rest_rows("x", run)] == ["holds", "fails"]
    run["shared_rest"] = np.full((3, 1), np.nan)
    assert len(rest_rows("x", run)) == 1
