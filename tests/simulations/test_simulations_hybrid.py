"""Pieces of the experiment on hybrids: data, the step by hand, thresholds read off a sweep, and rows."""

import numpy as np
import pytest
import torch

from jepalign.linear_models import Hybrid, LinearJEPA, ViewPair
from jepalign.linear_models.collapse.rescue import rescue_weight
from jepalign.linear_models.uniformity import Spectral
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.hybrid import (
    CROSS,
    DECAY,
    HINGE,
    LEADING,
    START,
    TERMS,
    VARIANCE,
    crossing,
    deep_repel,
    ends,
    first_rest,
    gaussian_views,
    pushed,
    strengths_of,
)
from jepalign.simulations.hybrid_rows import rest_rows
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
    found = ends(views, "spectral", gammas, 30.0)[:, 0]
    assert found[0] < START  # below the threshold 0.04 it stays collapsed
    assert found[1] == pytest.approx(first_rest(CROSS[0], VARIANCE[0], gammas, Spectral())[1], rel=1e-4)


def test_a_collapsed_network_is_repelled_at_the_threshold_of_its_features() -> None:
    seen, told = deep_repel("tanh", HINGE, 48, 1, CPU)
    assert seen.shape == told.shape == (LEADING,)
    assert (np.abs(seen / told - 1) < 0.15).all()


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
