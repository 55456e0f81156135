"""What `solve` chooses: closed forms on aligned data, equal to the integrator and obeying its laws, and integration elsewhere."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from linear_models_catalogue import Array, State, at, solve, velocity
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal, spectrum

from jepalign.errors import InputError
from jepalign.linear_models import DICTIONARY, ImplicitUniformity, LinearJEPA, Status, ViewPair
from jepalign.linear_models.alignment import TOLERANCE, aligned_modes
from jepalign.linear_models.objectives import Descent

Objective = LinearJEPA | Descent
DECAY = 0.03
RESIDUAL = "residual"

# With "balanced" starts where the closed form asks for them.
CLOSED: dict[str, tuple[Callable[[ViewPair], Objective], bool]] = {
    "JEPA": (LinearJEPA, False),
    "JEPA with a fast predictor": (lambda v: LinearJEPA(v, predictor_rate=4.0), False),
    "JEPA with decay": (lambda v: LinearJEPA(v, predictor_rate=2.0, weight_decay=DECAY), True),
    "JEPA, residual form": (lambda v: LinearJEPA(v, predictor_rate=3.0, force=RESIDUAL), False),
    "JEPA, optimal predictor, decay": (lambda v: LinearJEPA(v, predictor_rate=np.inf, weight_decay=DECAY), False),
    "JEPA, P = Φ, decay": (
        lambda v: LinearJEPA(v, predictor=DICTIONARY["spectral-contrastive"], weight_decay=DECAY),
        False,
    ),
    "JEPA, P = √Φ": (lambda v: LinearJEPA(v, predictor=DICTIONARY["directpred"]), False),
    "JEPA, P = √Φ, residual form": (lambda v: LinearJEPA(v, predictor=DICTIONARY["directpred"], force=RESIDUAL), False),
    "U of spectral contrastive": (
        lambda v: ImplicitUniformity(v, DECAY, predictor=DICTIONARY["spectral-contrastive"]),
        False,
    ),
}
EVERY_CLOSED = pytest.mark.parametrize("name", CLOSED)


def aligned(drawn: Drawn, *, balanced: bool, rate: float) -> tuple[ViewPair, State]:
    """Return aligned views of the drawn dimension and condition number, and an aligned start."""
    rng, d, k = drawn.rng, drawn.views.dimension, drawn.width()
    sigma = spectrum(rng, d, drawn.condition)
    Q, U = orthogonal(rng, d), orthogonal(rng, k)
    cross = (Q * (sigma * drawn.correlations)) @ Q.T
    context = (Q * sigma) @ Q.T
    views = ViewPair.from_covariances((context + context.T) / 2, (context + context.T) / 2, (cross + cross.T) / 2)
    w = rng.uniform(0.5, 1, size=k)
    p = np.sqrt(rate) * w if balanced else rng.uniform(-1, 1, size=k)
    p = p * np.where(rng.uniform(size=k) < 0.3, -1, 1)
    return views, {"encoder": (U * w) @ Q[:, rng.permutation(d)[:k]].T, "predictor": (U * p) @ U.T}


def problem(name: str, drawn: Drawn) -> tuple[Objective, State]:
    build, balanced = CLOSED[name]
    rate = getattr(build(drawn.views), "predictor_rate", 1.0)
    views, start = aligned(drawn, balanced=balanced, rate=rate)
    objective = build(views)
    if not (isinstance(objective, LinearJEPA) and objective.learnt):
        del start["predictor"]
    return objective, start


DRAWN = drawn_views(dimensions=(1, 12), conditions=(0.0, 1.5), exchangeable=True)


@EVERY_CLOSED
@given(DRAWN)
@examples(12)
def test_closed_form_is_what_an_integrator_finds(name: str, drawn: Drawn) -> None:
    objective, start = problem(name, drawn)
    times = np.array([0.0, 0.3, 1.0, 4.0])
    path = solve(objective, start, times)
    assert path.method.startswith("closed form: ")
    assert path.evaluations == 0
    assert max(path.departures.values()) <= TOLERANCE
    arguments = [start["encoder"]] + ([start.get("predictor")] if isinstance(objective, LinearJEPA) else [])
    integrated = objective.solve(*arguments, times, method="DOP853", rtol=1e-11)  # type: ignore[arg-type]
    assert "DOP853" in integrated.method
    for part in start:
        # Steps err by 1e-11; trajectories that part do so at a rate of at most 4 over these times.
        assert np.abs(path.states[part] - integrated.states[part]).max() < 1e-8
    assert all(drift < 1e-11 for drift in path.drift.values())


@EVERY_CLOSED
@given(DRAWN)
@examples(6)
def test_the_limit_is_at_rest(name: str, drawn: Drawn) -> None:
    objective, start = problem(name, drawn)
    path = solve(objective, start, [0.0, 5.0, np.inf])
    assert path.status is Status.FINISHED
    assert all(np.array_equal(path.states[part][0], value) for part, value in start.items())
    end = at(path, 2, start)
    if not end["encoder"].any():
        return  # 0 is at rest
    found = velocity(objective, end)
    # Eigenvectors are known to rounding, and weights stay below ten.
    assert all(np.abs(value).max() < 1e-11 for value in found.values())


@EVERY_CLOSED
@given(DRAWN)
@examples(6)
def test_restart_is_exact(name: str, drawn: Drawn) -> None:
    objective, start = problem(name, drawn)
    whole = solve(objective, start, [1.5, 4.0])
    second = solve(objective, at(whole, 0, start), [2.5])
    # A restart finds its directions anew; small weights of one mode beside large ones of another may hide them.
    if not second.method.startswith("closed form"):
        assert max(second.departures.values()) > TOLERANCE
    for part in start:
        assert np.abs(second.states[part][0] - whole.states[part][1]).max() < 1e-8


@given(drawn_views(dimensions=(2, 8), conditions=(0.3, 1.0), exchangeable=False))
@examples(10)
def test_other_data_are_integrated_and_the_reason_is_told(drawn: Drawn) -> None:
    W = drawn.rng.normal(size=(drawn.width(), drawn.views.dimension)) / 4
    P = np.eye(len(W))
    path = LinearJEPA(drawn.views).solve(W, P, [1.0])
    assert "DOP853" in path.method
    assert "commutation (off by" in path.method
    assert path.departures["commutation"] > TOLERANCE
    with pytest.raises(InputError, match="needs data that fulfil its assumptions"):
        LinearJEPA(drawn.views).solve(W, P, [1.0], method="closed")


def test_what_breaks_an_assumption_is_measured() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, 0.4]))
    jepa = LinearJEPA(views, weight_decay=0.05)
    start = np.diag([0.5, 0.3])
    for tilt in (0.0, 1e-6, 0.1):
        W = start @ np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        path = jepa.solve(W, start, [1.0])
        assert path.method.startswith("closed form") is (tilt == 0)
        assert (path.departures["alignment"] > tilt / 10) is (tilt > 0)
    path = jepa.solve(start, 1.1 * start, [1.0])
    assert path.departures["balance"] == pytest.approx((1.21 - 1) * 0.25 / (0.25 + 0.25 * 1.21))
    assert "balance (off by 0.095)" in path.method
    with pytest.raises(InputError, match="times"):
        jepa.solve(start, 1.1 * start, [1.0, np.inf])


def test_modes_put_together_are_the_matrices() -> None:
    rng = np.random.default_rng(3)
    Q, U = orthogonal(rng, 5), orthogonal(rng, 3)
    sigma, rho = np.array([1, 1, 0.5, 0.5, 0.2]), np.array([0.5, 0.5, -0.3, 0.2, 0.9])
    views = ViewPair.from_covariances((Q * sigma) @ Q.T, (Q * sigma) @ Q.T, (Q * sigma * rho) @ Q.T)
    # A mode of repeated λ and σ is what the encoder makes it; the third axis of the embedding has no direction.
    w, p, v = np.array([0.7, 0.2]), np.array([0.3, -0.4]), np.array([0.1, 0.6])
    W, V = (U[:, :2] * w) @ Q[:, [0, 2]].T, (U[:, :2] * v) @ Q[:, [0, 2]].T
    P = (U[:, :2] * p) @ U[:, :2].T + 0.8 * np.outer(U[:, 2], U[:, 2])
    modes = aligned_modes(views, W, P, V)
    assert max(modes.departures.values()) < 1e-14
    weights = modes.weights
    assert np.allclose(modes.matrix(weights["encoder"]), W, atol=1e-15)
    assert np.allclose(modes.matrix(weights["target"]), V, atol=1e-15)
    assert np.allclose(modes.square(weights["predictor"]) + modes.complement, P, atol=1e-15)
    order = np.argsort(modes.cross)
    assert np.allclose(modes.cross[order], [-0.15, 0.5])
    assert np.allclose(weights["predictor"][order], [-0.4, 0.3])


def test_a_leak_shrinks_what_the_stop_gradient_keeps() -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, 0.6]))
    W, P = np.diag([0.5, 0.5]), np.diag([0.8, 0.7])
    shut = LinearJEPA(views).solve(W, P, [300.0])
    assert np.abs(shut.encoder[0]).max() > 0.5
    for leak in (0.01, 1.0):
        path = LinearJEPA(views, leak=leak).solve(W, P, [0.0, 6000.0], method="LSODA")
        assert np.abs(path.encoder[1]).max() < 1e-3
    # Without any stop-gradient the force is that of the loss as a function of W: a difference quotient.
    open_, h = LinearJEPA(views, leak=1.0), 1e-6
    slope = np.empty((2, 2))
    for index in np.ndindex(2, 2):
        step = np.zeros((2, 2))
        step[index] = h
        slope[index] = (open_.loss(W + step, P) - open_.loss(W - step, P)) / (2 * h)
    assert np.allclose(open_.forces(W, P).total, -slope, atol=1e-9)
    with pytest.raises(InputError, match="leak"):
        LinearJEPA(views, leak=1.5)


def test_a_target_that_is_trained_and_pulled_survives_where_4_1_says() -> None:
    rho, beta = 0.8, 0.5
    views = ViewPair.from_covariances([[1.0]], [[1.0]], [[rho]])
    path = LinearJEPA(views, ema_rate=beta, leak=1.0).solve([[0.6]], [[0.5]], [400.0])
    assert path.encoder[0, 0, 0] > 0.1
    assert path.predictor[0, 0, 0] == pytest.approx(rho * beta / (beta + 1 - rho**2), rel=1e-7)


def test_residual_form_conserves_predictor_less_half_the_square() -> None:
    rng = np.random.default_rng(5)
    cross = np.diag([0.8, 0.5, -0.3]) + 0.05 * np.ones((3, 3))
    views = ViewPair.from_covariances(np.diag([1.0, 1.2, 0.9]), np.eye(3), (cross + cross.T) / 2)
    W, P = rng.normal(size=(2, 3)) / 3, rng.normal(size=(2, 2)) / 2
    path = LinearJEPA(views, predictor_rate=2.0, force=RESIDUAL).solve(W, P, [0.0, 2.0])
    kept: list[Array] = [p + p.T - 2 * w @ w.T for w, p in zip(path.encoder, path.predictor, strict=True)]
    assert np.abs(kept[1] - kept[0]).max() < 1e-8
    assert np.abs(path.predictor[1] - P).max() > 0.1


@pytest.mark.parametrize("ema_rate", [None, 0.7])
@given(drawn_views(dimensions=(1, 8), conditions=(0.0, 3.0)))
@examples(10)
def test_without_a_predictor_every_flow_is_linear(ema_rate: float | None, drawn: Drawn) -> None:
    jepa = LinearJEPA(drawn.views, predictor=DICTIONARY["no-predictor"], ema_rate=ema_rate, weight_decay=DECAY)
    W, V = drawn.rng.normal(size=(2, drawn.width(), drawn.views.dimension))
    start = (W, None, [0.5, 3.0], None if ema_rate is None else V)
    path, integrated = jepa.solve(*start), jepa.solve(*start, method="DOP853", rtol=1e-11)
    assert path.method == "closed form: linear flow without a predictor (5.7)"
    assert np.abs(path.encoder - integrated.encoder).max() < 1e-9 * np.abs(W).max()
    assert np.abs(path.target - integrated.target).max() < 1e-9 * max(np.abs(W).max(), np.abs(V).max())


def test_one_row_with_the_optimal_predictor_follows_oja() -> None:
    rng = np.random.default_rng(6)
    Q = orthogonal(rng, 4)
    views = ViewPair.from_covariances(np.eye(4), np.eye(4), (Q * [0.8, 0.5, -0.2, -0.6]) @ Q.T)
    W = rng.normal(size=(1, 4))
    jepa, times = LinearJEPA(views, predictor_rate=np.inf), [0.0, 1.0, 6.0]
    unit = W / np.linalg.norm(W)
    path, integrated = (jepa.solve(unit, None, times, method=method) for method in ("auto", "DOP853"))
    assert path.method == "closed form: optimal predictor of one row (5.8)"
    assert np.abs(path.encoder - integrated.encoder).max() < 1e-8
    assert "DOP853" in jepa.solve(W, None, times).method


def test_equilibria_of_a_jepa_are_where_its_flow_ends() -> None:
    views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.3, -0.6]))
    jepa = LinearJEPA(views, predictor_rate=2.0, weight_decay=0.05)
    found = jepa.equilibria()
    assert np.allclose(jepa.collapse_threshold(), found.modes.cross**2 / 4)
    # λ² > 4ησ = 0.2 for 0.9 and −0.6 alone.
    assert np.ma.getmaskarray(found.weight)[:, 2].tolist() == [False, True, False]
    assert found.stable[:, 0].all()
    assert not found.stable[:, 1].any()
    for mode, sign in ((0, 1), (2, -1)):
        for start, expected in ((1.01, found.weight[mode, 2]), (0.99, 0.0)):
            w = abs(start * found.weight[mode, 1])
            direction = found.modes.directions[:, mode : mode + 1].T
            end = jepa.solve(w * direction, [[sign * np.sqrt(2) * w]], [np.inf]).encoder[0]
            assert np.linalg.norm(end) == pytest.approx(abs(expected), rel=1e-12)
    with pytest.raises(InputError, match="learnt"):
        LinearJEPA(views, predictor_rate=np.inf).equilibria()
