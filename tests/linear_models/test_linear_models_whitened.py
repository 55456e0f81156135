"""Whitened alignment: its minimum is CCA's, and its flow stays whitened and goes there."""

import numpy as np
import pytest
from hypothesis import given
from linear_models_strategies import Drawn, drawn_views, examples

from jepalign.errors import InputError
from jepalign.linear_models import Status, ViewPair, WhitenedAlignment

ANY = drawn_views(dimensions=(1, 6), conditions=(0.0, 4.0))
MILD = drawn_views(dimensions=(2, 5), conditions=(0.0, 0.7))


def start(drawn: Drawn, objective: WhitenedAlignment) -> np.ndarray:
    return objective.whiten(drawn.rng.normal(size=(drawn.width(), drawn.views.dimension)))


@given(drawn=ANY)
@examples(25)
def test_optimum_is_cca_and_no_whitened_encoder_does_better(drawn: Drawn) -> None:
    objective, k, condition = WhitenedAlignment(drawn.views), drawn.width(), drawn.condition
    W, best = objective.optimum(k), objective.minimum(k)
    mean = (drawn.views.context + drawn.views.target) / 2
    assert np.abs(W @ mean @ W.T - np.eye(k)).max() <= 1e-13 * condition
    if drawn.views.exchangeable:
        rho = np.sort(drawn.correlations)[::-1][:k]
        assert abs(best - 2 * (1 - rho).sum()) <= 1e-13 * condition
        assert abs(best - (1 - rho).sum()) > 1e-3
    parts = objective.forces(W)
    assert np.abs(parts.total).max() <= 1e-12 * condition
    for size in (1e-3, 0.1, 10.0):
        other = objective.whiten(W + size * drawn.rng.normal(size=W.shape))
        assert objective.loss(other) >= best - 1e-12 * condition


@given(drawn=ANY)
@examples(15)
def test_force_is_the_projected_gradient(drawn: Drawn) -> None:
    objective = WhitenedAlignment(drawn.views, 0.3)
    W = start(drawn, objective)
    mean = (drawn.views.context + drawn.views.target) / 2
    parts = objective.forces(W)
    pushed, size = W @ mean, np.linalg.norm(W)
    for moved in (parts.attraction + parts.explicit_repulsion, parts.decay):
        # tangent to the constraint
        assert np.abs(moved @ pushed.T + pushed @ moved.T).max() <= 1e-12 * size**2 * np.sqrt(drawn.condition)
    # and what is taken away is normal to it: MWΣ with a symmetric M.
    normal = parts.explicit_repulsion
    multiplier = normal @ np.linalg.pinv(pushed)
    assert np.abs(multiplier - multiplier.T).max() <= 1e-10 * drawn.condition * size
    C = (drawn.views.cross + drawn.views.cross.T) / 2
    assert np.allclose(parts.attraction, -4 * W @ (mean - C), atol=1e-13 * size)


@given(drawn=MILD)
@examples(8)
def test_flow_stays_whitened_descends_and_ends_at_the_optimum(drawn: Drawn) -> None:
    objective = WhitenedAlignment(drawn.views)
    W, mean = start(drawn, objective), (drawn.views.context + drawn.views.target) / 2
    path = objective.solve(W, np.linspace(0, 40, 21), rtol=1e-11)
    assert path.status is Status.FINISHED
    for at in path.encoder:
        # The field keeps WΣWᵀ, an integrator to the sum of its local errors.
        assert np.abs(at @ mean @ at.T - np.eye(len(W))).max() < 1e-8
    losses = np.array([objective.loss(at) for at in path.encoder])
    assert (np.diff(losses) < 1e-9).all()
    assert losses[-1] >= objective.minimum(len(W)) - 1e-9
    rate = np.square(objective.forces(W).total).sum()
    early = objective.solve(W, [1e-5]).encoder[0]
    assert (objective.loss(W) - objective.loss(early)) * 1e5 == pytest.approx(rate, rel=0.01, abs=1e-6)


def test_finds_the_leading_direction_and_forgets_decay() -> None:
    views = ViewPair.from_covariances(np.diag([1.0, 4.0]), np.diag([1.0, 4.0]), np.diag([0.9, 2.0]))
    for decay in (0.0, 0.5):
        objective = WhitenedAlignment(views, decay)
        found = objective.solve(objective.whiten([[0.3, 1.0]]), [60.0]).encoder[0]
        # By ρ = 0.9 and 0.5, not by λ = 0.9 and 2; decay of ½η‖W‖² prefers the other, shorter one, less than that.
        np.testing.assert_allclose(np.abs(found), [[1.0, 0.0]], atol=1e-6)
    rest = WhitenedAlignment(views, 0.5).equilibria()
    np.testing.assert_allclose(rest.weight.filled(0), [[0.5], [1.0]])
    assert rest.stable.all()
    assert np.isinf(WhitenedAlignment(views, 0.5).collapse_threshold()).all()


def test_refusals() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), 0.5 * np.eye(2))
    objective = WhitenedAlignment(views)
    for refused in (objective.loss, objective.forces, lambda W: objective.solve(W, [1.0])):
        with pytest.raises(InputError, match="must be whitened"):
            refused([[1.0, 1.0]])
    for singular in ([[0.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], np.ones((3, 2))):
        with pytest.raises(InputError, match="full rank"):
            objective.whiten(singular)
    with pytest.raises(InputError, match="width"):
        objective.optimum(3)
    flat = WhitenedAlignment(ViewPair.from_covariances(np.diag([1.0, 0.0]), np.diag([1.0, 0.0]), np.diag([0.5, 0.0])))
    assert flat.optimum(1).shape == (1, 2)
    with pytest.raises(InputError, match="at most 1"):
        flat.optimum(2)
    assert np.ma.getmaskarray(flat.equilibria().weight).tolist() == [[False], [True]]
