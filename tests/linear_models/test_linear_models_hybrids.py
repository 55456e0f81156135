"""Hybrids: force against the derivative of the loss, laws of trajectories, and the thresholds of 4.6 seen in the flow."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal, with_singular_values

from jepalign.errors import InputError
from jepalign.linear_models import DICTIONARY, Hybrid, LinearJEPA, Status, ViewPair
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, VarianceHinge, VICReg

TERMS = {
    term.__class__.__name__: term for term in (Spectral(), LogDet(), SIGReg(), VarianceHinge(1e-2), VICReg(1, 1, 1e-2))
}
NAMED = pytest.mark.parametrize("name", TERMS)
JEPAS: dict[str, Any] = {
    "learnt": lambda v: LinearJEPA(v, predictor_rate=2.0, weight_decay=0.05),
    "ema": lambda v: LinearJEPA(v, weight_decay=0.05, ema_rate=0.5, leak=0.3),
    "optimal": lambda v: LinearJEPA(v, predictor_rate=np.inf),
    "spectral": lambda v: LinearJEPA(v, predictor=DICTIONARY["spectral-contrastive"]),
}
KINDS = pytest.mark.parametrize("kind", JEPAS)
MILD = drawn_views(dimensions=(1, 4), conditions=(0.0, 1.0))


def start(drawn: Drawn, jepa: LinearJEPA) -> dict[str, Any]:
    rng, k, d = drawn.rng, drawn.width(), drawn.views.dimension
    found: dict[str, Any] = {"encoder": with_singular_values(rng, rng.uniform(0.3, 0.6, size=k), d), "predictor": None}
    if jepa.learnt:
        found["predictor"] = 0.5 * rng.normal(size=(k, k))
    found["target"] = 0.5 * rng.normal(size=(k, d)) if jepa.lagging else None
    return found


@NAMED
@KINDS
@given(drawn=MILD)
@examples(3)
def test_explicit_force_is_the_derivative_of_the_loss(name: str, kind: str, drawn: Drawn) -> None:
    jepa = JEPAS[kind](drawn.views)
    hybrid, state = Hybrid(jepa, TERMS[name], 0.7), start(drawn, jepa)
    W, phi_size = state["encoder"], 1e3
    parts, bare = hybrid.forces(*state.values()), jepa.forces(*state.values())
    for part in ("attraction", "implicit_repulsion", "decay"):
        assert np.array_equal(getattr(parts, part), getattr(bare, part))
    step = drawn.rng.normal(size=W.shape)
    step /= np.linalg.norm(step)
    h = 1e-5
    ends = [TERMS[name].value((W + s * step) @ drawn.views.context @ (W + s * step).T) for s in (h, -h)]
    change = 0.7 * (ends[0] - ends[1]) / (2 * h)
    # h²/6 of a third derivative, at most (1/√s)³ with s ≥ 0.009, and rounding of 1e-14/h.
    assert abs(change + (parts.explicit_repulsion * step).sum()) < 1e-10 * phi_size
    if abs(change) > 1e-5:
        assert abs(change + 2 * (parts.explicit_repulsion * step).sum()) > 1e-6
    expected = jepa.loss(*state.values()) + 0.7 * TERMS[name].value(W @ drawn.views.context @ W.T)
    assert hybrid.loss(*state.values()) == pytest.approx(expected, rel=1e-12)


@NAMED
@KINDS
@given(drawn=MILD)
@examples(2)
def test_laws_of_trajectories(name: str, kind: str, drawn: Drawn) -> None:
    jepa = JEPAS[kind](drawn.views)
    hybrid, state = Hybrid(jepa, TERMS[name], 0.1), start(drawn, jepa)
    W, P, V = state.values()
    path = hybrid.solve(W, P, [0.0, 0.5, 1.0], V)
    assert path.status is Status.FINISHED
    assert not path.drift
    assert "no closed form is known" in path.method
    assert np.array_equal(path.encoder[0], W)
    assert path.predictor.shape == (3, len(W), len(W))
    middle: tuple[Any, ...] = (
        path.encoder[1],
        path.predictor[1] if jepa.learnt else None,
        path.target[1] if jepa.lagging else None,
    )
    again = hybrid.solve(middle[0], middle[1], [0.5], middle[2])
    for part in ("encoder", "predictor", "target"):
        np.testing.assert_allclose(again.states[part][0], path.states[part][2], atol=1e-7)
    # The equation: fourth-order differences, δ⁴/30 of a fifth derivative.
    near = hybrid.solve(W, P, 0.5 + 2e-3 * np.arange(-2, 3), V).states
    slopes = {part: (x[0] - 8 * x[1] + 8 * x[3] - x[4]) / 0.024 for part, x in near.items()}
    np.testing.assert_allclose(slopes["encoder"], hybrid.forces(*middle).total, atol=1e-5)
    if jepa.learnt:
        expected = -jepa.predictor_rate * jepa.gradient(*middle).predictor - 0.05 * middle[1]
        np.testing.assert_allclose(slopes["predictor"], expected, atol=1e-5)
    if jepa.lagging:
        expected = 0.5 * (middle[0] - middle[2]) + jepa.leaked(*middle)
        np.testing.assert_allclose(slopes["target"], expected, atol=1e-5)
    turn = orthogonal(drawn.rng, drawn.views.dimension)
    turned = ViewPair.from_covariances(
        *(turn @ p @ turn.T for p in (drawn.views.context, drawn.views.target, drawn.views.cross))
    )
    other = Hybrid(JEPAS[kind](turned), TERMS[name], 0.1)
    moved = other.solve(W @ turn.T, P, [1.0], None if V is None else V @ turn.T)
    np.testing.assert_allclose(moved.encoder[0], path.encoder[2] @ turn.T, atol=1e-7)


@pytest.mark.parametrize("name", ["Spectral", "SIGReg", "VarianceHinge", "VICReg"])
def test_origin_repels_beyond_the_threshold_and_attracts_before_it(name: str) -> None:
    sigma, lam, eta = 0.8, 0.3, 0.2
    views = ViewPair.from_covariances([[sigma]], [[sigma]], [[lam]])
    repel = eta / (sigma * float(TERMS[name].coefficient(0.0)))
    for factor, grows in ((0.9, False), (1.1, True)):
        hybrid = Hybrid(LinearJEPA(views, weight_decay=eta), TERMS[name], factor * repel)
        path = hybrid.solve([[1e-6]], [[1e-6]], [20.0])
        assert (path.encoder[0, 0, 0] > 1e-6) == grows
        rate = np.log(path.encoder[0, 0, 0] / 1e-6) / 20
        assert rate == pytest.approx(eta * (factor - 1), abs=1e-6)


def test_equilibrium_is_where_the_strength_is_gamma_of_w() -> None:
    # γ = η[1 − κX/(1+X)²]/φ, X = ασw²/η and κ = λ²/(ησ), φ = σ · coefficient: the large branch with spectral uniformity.
    sigma, lam, eta, gamma = 0.8, 0.5, 0.05, 0.02
    views = ViewPair.from_covariances([[sigma]], [[sigma]], [[lam]])
    hybrid = Hybrid(LinearJEPA(views, weight_decay=eta), Spectral(), gamma)
    path = hybrid.solve([[0.9]], [[0.6]], [2000.0], method="LSODA")
    w, p = path.encoder[0, 0, 0], path.predictor[0, 0, 0]
    X, kappa = sigma * w * w / eta, lam**2 / (eta * sigma)
    assert w > 0.3
    assert p == pytest.approx(lam * w * w / (sigma * w * w + eta), rel=1e-8)
    phi = sigma * float(Spectral().coefficient(sigma * w * w))
    assert eta * (1 - kappa * X / (1 + X) ** 2) / phi == pytest.approx(gamma, rel=1e-6)


def test_strength_zero_is_the_jepa_with_its_closed_forms() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.8, 0.4]))
    jepa, W = LinearJEPA(views), 0.3 * np.eye(2)
    found, expected = Hybrid(jepa, LogDet(), 0.0).solve(W, W, [0.0, 3.0]), jepa.solve(W, W, [0.0, 3.0])
    assert found.method == expected.method
    assert np.array_equal(found.encoder, expected.encoder)
    assert Hybrid(jepa, LogDet(), 0.0).loss(np.zeros((2, 2)), W) == jepa.loss(np.zeros((2, 2)), W)


def test_refusals_and_singularities() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), 0.5 * np.eye(2))
    jepa, W = LinearJEPA(views), np.eye(2)
    with pytest.raises(InputError, match="definite"):
        Hybrid(jepa, LogDet(), 1.0).solve(np.diag([1.0, 0.0]), W, [1.0])
    assert Hybrid(jepa, LogDet(), 1.0).loss(np.diag([1.0, 0.0]), W) == np.inf
    with pytest.raises(InputError, match="closed form"):
        Hybrid(jepa, Spectral(), 1.0).solve(W, W, [1.0], method="closed")
    for problem in (
        (jepa, Spectral(), -1.0),
        (jepa, Spectral(), np.inf),
        (jepa, "spectral", 1.0),
        (views, Spectral(), 1.0),
    ):
        with pytest.raises(InputError):
            Hybrid(*problem)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be given"):
        Hybrid(jepa, Spectral(), 1.0).solve(W, None, [1.0])
