"""The forecast from a measured last layer: against the general solvers, exact modes, and plain counts; and its baselines."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models import Hybrid, LinearJEPA, Status, ViewPair, integrate
from jepalign.linear_models.collapse import critical_weight_decay, survives
from jepalign.linear_models.flow import State
from jepalign.linear_models.forecast import LastLayer, ModeState, RunSettings, forecast, layer_rate
from jepalign.linear_models.forecast.baselines import (
    effective_rank,
    extrapolated_eigenvalues,
    extrapolated_rank,
    rankme,
)
from jepalign.linear_models.forecast.flow import Matrices, descend, solve
from jepalign.linear_models.uniformity import Spectral


def drawn(seed: int, k: int = 3, h: int = 5, *, rank: int | None = None, leading: bool = False) -> LastLayer:
    """Return a random last layer on features of the given rank, with a target of its own if ``leading``."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(h if rank is None else rank, h)) / np.sqrt(h)
    u = rng.normal(size=(40, len(mixing)))
    x, y = ((u + 0.5 * rng.normal(size=u.shape)) @ mixing for _ in range(2))
    V = rng.normal(size=(k, h)) if leading else None
    views = ViewPair.from_samples(x, y, center=False)
    return LastLayer(views, rng.normal(size=(k, h)), rng.normal(size=(k, k)), V)


def aligned(cross: np.ndarray, variance: np.ndarray, weight: np.ndarray, predictor: np.ndarray, seed: int) -> LastLayer:
    """Return a last layer whose modes are aligned in random directions of features and embedding."""
    rng = np.random.default_rng(seed)
    d = len(cross)
    Q, U = (np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2))
    Sigma, C = ((Q * part) @ Q.T for part in (variance, cross))
    return LastLayer(ViewPair.from_covariances(Sigma, Sigma, C), (U * weight) @ Q.T, (U * predictor) @ U.T)


@given(st.integers(0, 10**6), st.sampled_from([None, 0.0, 0.3, 4.0]), st.sampled_from([0.0, 0.05, 0.3]))
@examples(12)
def test_the_flow_is_that_of_the_linear_theory(seed: int, beta: float | None, eta: float) -> None:
    layer = drawn(seed, rank=3 if seed % 2 else None, leading=beta is not None)
    settings = RunSettings(eta, 0.7, beta)
    found = solve(layer, settings, [0.5, 3.0])
    target = None if beta is None else layer.leading
    jepa = LinearJEPA(layer.views, predictor_rate=0.7, weight_decay=eta, ema_rate=beta)
    exact = jepa.solve(layer.encoder, layer.predictor, [0.5, 3.0], target, method="DOP853")
    assert found.status is Status.FINISHED
    # rtol 1e-5 a step, of some tens of steps on matrices of order one; directions without features included.
    for name in ("encoder", "predictor", "target"):
        assert np.abs(getattr(found, name) - getattr(exact, name)).max() < 1e-3, name


def test_an_explicit_term_acts_as_in_a_hybrid() -> None:
    layer = drawn(4)
    found = solve(layer, RunSettings(0.1, 2.0, 0.5, uniformity=Spectral(), strength=0.3), [2.0])
    jepa = LinearJEPA(layer.views, predictor_rate=2.0, weight_decay=0.1, ema_rate=0.5)
    exact = Hybrid(jepa, Spectral(), 0.3).solve(layer.encoder, layer.predictor, [2.0])
    plain = jepa.solve(layer.encoder, layer.predictor, [2.0])
    assert np.abs(found.encoder - exact.encoder).max() < 1e-3
    assert np.abs(plain.encoder - exact.encoder).max() > 0.05  # and it does act


def test_a_predictor_with_a_decay_of_its_own_rests_where_the_encoders_decay_has_it() -> None:
    # λ = 0.9, σ = 1: p₊ does not know the predictor's decay, and αw²η = p²η_P.
    layer = aligned(np.array([0.9]), np.ones(1), np.array([0.8]), np.array([0.8]), 0)
    settings = RunSettings(0.1, 2.0, predictor_decay=0.3)
    end = solve(layer, settings, [300.0])
    p = (0.9 + np.sqrt(0.81 - 0.4)) / 2
    assert end.predictor[-1, 0, 0] == pytest.approx(p, rel=1e-4)
    assert end.encoder[-1, 0, 0] ** 2 == pytest.approx(p**2 * 0.3 / (2 * 0.1), rel=1e-4)
    told = forecast(layer, settings, 300.0)
    assert told.static[0] == pytest.approx(told.flow[0], rel=1e-3)


@given(st.integers(0, 10**6))
@examples(20)
def test_states_of_aligned_balanced_modes_are_decided_as_their_survival_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.2, 2.0, 6)
    cross = variance * rng.uniform(-0.95, 0.95, 6)
    eta, alpha = float(np.exp(rng.uniform(-6, -1))), float(np.exp(rng.uniform(-1, 1)))
    weight = np.exp(rng.uniform(-4, 1, 6))
    side = np.where(cross < 0, -1.0, 1.0)
    layer = aligned(cross, variance, weight, side * np.sqrt(alpha) * weight, seed)
    told = forecast(layer, RunSettings(eta, alpha), 1.0)
    assert np.all(np.diff(told.critical) <= 0)
    order = np.argsort(-critical_weight_decay(cross, variance))
    expected = survives(side * weight, None, cross, variance, eta, predictor_rate=alpha)[order]
    alive = [state in (ModeState.SURVIVING, ModeState.ABOVE) for state in told.state]
    assert alive == list(expected)
    assert [state is ModeState.LOST for state in told.state] == list(told.margin <= 1)
    for state, i in zip(told.state, order, strict=True):
        if state is ModeState.SURVIVING:  # under any decay below its η_c
            assert survives(
                side[i] * weight[i],
                None,
                cross[i],
                variance[i],
                0.999 * critical_weight_decay(cross[i], variance[i]),
                predictor_rate=alpha,
            )


def test_static_threshold_and_flow_agree_on_modes_that_start_beyond_their_edge_and_part_where_they_do_not() -> None:
    cross, variance = np.array([0.9, 0.8, -0.7, 0.3, 0.85]), np.array([1.0, 1.0, 0.9, 1.0, 1.0])
    weight = np.array([0.8, 0.5, 0.6, 0.5, 0.01])
    layer = aligned(cross, variance, weight, np.sign(cross) * weight, 3)
    told = forecast(layer, RunSettings(0.05), 400.0)
    # The last starts below its basin's edge: the threshold counts it, the flow does not.
    assert (told.static_rank, told.rank, told.rank_now) == (4, 3, 4)
    assert told.state[1] is ModeState.BELOW
    assert told.static[[0, 2, 3]] == pytest.approx(told.flow[:3], rel=1e-3)
    assert told.status is Status.FINISHED
    assert told.now == pytest.approx(np.linalg.eigvalsh(layer.embedding())[::-1], abs=1e-12)
    lost = forecast(layer, RunSettings(0.3), 400.0)
    assert (lost.static_rank, lost.rank) == (0, 0)
    assert forecast(layer, RunSettings(0.05), 400.0, floor=0.79).rank == int((told.flow > 0.79).sum()) < 3


def test_many_layers_descend_as_one_and_tend_to_the_flow() -> None:
    layers = [drawn(seed, leading=True) for seed in (1, 2)]
    settings = RunSettings(0.05, 0.7, 0.5)
    stacks = [np.stack([getattr(part, name) for part in layers]) for name in ("encoder", "predictor", "leading")]
    stacks += [np.stack([getattr(part.views, name) for part in layers]) for name in ("context", "cross")]
    exact = [solve(part, settings, [1.0]).encoder[-1] for part in layers]
    errors = []
    for step in (0.01, 0.005):
        steps = round(1 / step)
        found = descend(
            Matrices(stacks[0], stacks[1], stacks[2]),
            *stacks[3:],
            steps=steps,
            step=step,
            rate=0.7,
            decay=0.05,
            follow=0.5 * step,
        ).encoder
        errors.append(np.abs(found - exact).max())
    assert errors[0] < 0.1
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)  # of first order


@pytest.mark.parametrize("beta", [None, 0.4])
@pytest.mark.parametrize("bias", [False, True])
def test_features_of_a_linear_layer_with_orthogonal_columns_move_as_it_moves_them(
    beta: float | None, bias: bool
) -> None:
    rng = np.random.default_rng(5)
    d, h, k, eta = 4, 6, 3, 0.05
    x, y = (rng.normal(0.7, 1.0, size=(50, d)) * np.linspace(1.5, 0.5, d) for _ in range(2))
    y = x + 0.5 * y
    theta = 1.3 * np.linalg.qr(rng.normal(size=(h, d)))[0]
    W, P = rng.normal(size=(k, h)) / 2, rng.normal(size=(k, k)) / 2
    features = ViewPair.from_samples(x @ theta.T, y @ theta.T, center=False)
    layer = LastLayer(features, W, P, below=(layer_rate(theta),))
    if bias:  # of rate 1, and a weight of the input 1
        layer = replace(layer, biases=(1.0,), means=(theta @ x.mean(0), theta @ y.mean(0)))
        theta = np.pad(theta, ((0, 0), (0, 1)))
        x, y = (np.pad(part, ((0, 0), (0, 1)), constant_values=1.0) for part in (x, y))
    views = ViewPair.from_samples(x, y, center=False)
    settings = RunSettings(eta, 0.8, beta)
    Sigma, C = views.context, views.cross

    # The whole network's flow, layer by layer, each with a target of its own.
    def field(state: State) -> State:
        W, P, A = (state[name] for name in ("W", "P", "A"))
        V, B = (W, A) if beta is None else (state["V"], state["B"])
        pull = P.T @ (V @ B @ C - P @ W @ A @ Sigma)
        found = {
            "W": pull @ A.T - eta * W,
            "P": 0.8 * (V @ B @ C - P @ W @ A @ Sigma) @ (W @ A).T - eta * P,
            "A": W.T @ pull - eta * A,
        }
        return found if beta is None else found | {"V": beta * (W - V), "B": beta * (A - B)}

    start = {"W": W, "P": P, "A": theta} | ({} if beta is None else {"V": W, "B": theta})
    whole = integrate(field, start, [8.0], rtol=1e-8).states
    encoder = whole["W"][-1] @ whole["A"][-1]
    exact = np.linalg.eigvalsh(encoder @ views.context @ encoder.T)[::-1]
    told = forecast(layer, settings, 8.0)
    assert told.moving is not None
    # 1e-5 a step, over some tens of steps.
    assert told.moving == pytest.approx(exact, rel=1e-3, abs=1e-4)
    assert np.abs(np.log(told.flow / exact)).max() > 0.3  # those that stay do not tell it
    if bias:  # nor do those without biases
        without = forecast(replace(layer, biases=()), settings, 8.0).moving
        assert without is not None
        assert np.abs(np.log(without / exact)).max() > 0.1


def test_layers_below_descend_as_they_flow_and_an_explicit_term_reaches_them() -> None:
    layer = replace(drawn(3), below=(0.5, 0.2))
    settings = RunSettings(0.1, 0.7, 2.0)
    exact = solve(layer, settings, [1.0], moving=True).encoder[-1]
    unit = np.eye(5)
    start = Matrices(layer.encoder, layer.predictor, layer.encoder, (unit, unit), (unit, unit))
    errors = []
    for step in (0.01, 0.005):
        end = descend(
            start,
            layer.views.context,
            layer.views.cross,
            steps=round(1 / step),
            step=step,
            rate=0.7,
            decay=0.1,
            follow=2.0 * step,
            below=layer.below,
        )
        errors.append(np.abs(end.acting - exact).max())
    assert errors[0] < 0.1
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)  # of first order
    # The explicit force is the gradient of γU along W and, at the rates κ, along each layer: by finite differences.
    term = replace(settings, uniformity=Spectral(), strength=0.3)
    tiny = 1e-7
    moved = [solve(layer, part, [tiny], moving=True).encoder[-1] for part in (term, settings)]
    W, Sigma = layer.encoder, layer.views.context
    pull = -0.6 * Spectral().gradient(W @ Sigma @ W.T) @ W @ Sigma
    expected = pull + 0.7 * W @ W.T @ pull
    assert (moved[0] - moved[1]) / tiny == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected).max())
    # With biases at the rates 0.3 and 0.6 it reaches what acts on the constant 1 as well, and all else as before.
    mean = np.linspace(0.1, 0.5, 5)
    affine = replace(layer, biases=(0.3, 0.6), means=(mean, mean))
    moved = [solve(affine, part, [tiny], moving=True).encoder[-1] for part in (term, settings)]
    through = 0.9 * W @ W.T @ (-0.6 * Spectral().gradient(W @ Sigma @ W.T)) @ W @ mean
    expected = np.column_stack([expected, through])
    assert (moved[0] - moved[1]) / tiny == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected).max())


def test_settings_of_descent_are_those_of_the_flow() -> None:
    settings, length = RunSettings.from_descent(
        learning_rate=0.02, weight_decay=0.1, predictor_learning_rate=0.06, ema_momentum=0.99, momentum=0.9
    )
    assert length == pytest.approx(0.2)
    assert settings.weight_decay == 0.1
    assert settings.predictor_rate == pytest.approx(3)
    assert settings.decay_of_predictor == pytest.approx(0.3)  # the same number at three times the rate
    assert settings.ema_rate == pytest.approx(0.05)
    equal, _ = RunSettings.from_descent(learning_rate=0.02, weight_decay=0.1)
    assert equal == RunSettings(0.1)
    # The steps themselves: heavy-ball momentum on a mode against the flow, whose distance is of the order of a step.
    layer = aligned(np.array([0.9]), np.ones(1), np.array([0.4]), np.array([0.3]), 0)
    slow, length = RunSettings.from_descent(
        learning_rate=1e-4, weight_decay=0.1, predictor_learning_rate=3e-4, momentum=0.9
    )
    w, p, speed = 0.4, 0.3, np.zeros(2)
    for _ in range(2000):
        residual = 0.9 * w - p * w
        gradient = np.array([-p * residual + 0.1 * w, -residual * w + 0.1 * p])
        speed = 0.9 * speed + gradient
        w, p = w - 1e-4 * speed[0], p - 3e-4 * speed[1]
    end = solve(layer, slow, [2000 * length])
    assert abs(end.encoder[-1, 0, 0]) == pytest.approx(w, rel=1e-2)
    assert abs(end.predictor[-1, 0, 0]) == pytest.approx(p, rel=1e-2)


def test_effective_ranks_and_extrapolations() -> None:
    assert effective_rank(np.ones((2, 5))) == pytest.approx([5.0, 5.0])
    assert effective_rank([1.0, 0.0, -1e-17]) == pytest.approx(1.0)  # a zero as an eigenvalue solver leaves it
    assert effective_rank(np.zeros(3)) == 0
    assert rankme(np.ones(5)) == pytest.approx(5.0, rel=1e-5)
    # Singular values 1 and 3: shares ¼ and ¾ in RankMe, 1/10 and 9/10 in the effective rank of the second moment.
    assert rankme([1.0, 9.0]) == pytest.approx(4 / 3**0.75, rel=1e-5)
    assert effective_rank([1.0, 9.0]) == pytest.approx(10 / 9**0.9)
    assert rankme(np.zeros(3)) == 0
    assert extrapolated_rank(6.0, 5.0, 2.0, 4.0, width=8) == pytest.approx(3.0)
    assert extrapolated_rank([6.0, 5.0], [5.0, 6.0], 1.0, 9.0, width=8) == pytest.approx([0.0, 8.0])
    t = np.array([1.0, 3.0, 10.0])[:, None]
    path = np.array([2.0, 0.5]) * np.exp(np.array([-0.3, 0.2]) * t)
    assert extrapolated_eigenvalues(path[0], path[1], 2.0, 7.0) == pytest.approx(path[2])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: LastLayer(drawn(0).views, np.ones((2, 4)), np.eye(2)), "encoder"),
        (lambda: LastLayer(drawn(0).views, np.ones((2, 5)), np.eye(3)), "predictor"),
        (lambda: LastLayer(drawn(0).views, np.ones((2, 5)), np.eye(2), np.ones((3, 5))), "target"),
        (lambda: replace(drawn(0), below=(-1.0,)), "below"),
        (lambda: replace(drawn(0), below=(1.0,), biases=(1.0,)), "biases"),
        (lambda: replace(drawn(0), biases=(1.0,), means=(np.ones(5), np.ones(5))), "biases"),
        (lambda: replace(drawn(0), means=(np.ones(4), np.ones(5))), "means"),
        (lambda: drawn(0).with_constant(), "means"),
        (lambda: layer_rate(np.zeros((2, 2))), "weight"),
        (lambda: RunSettings(-0.1), "weight_decay"),
        (lambda: RunSettings(0.1, 0.0), "predictor_rate"),
        (lambda: RunSettings(strength=1.0), "strength"),
        (lambda: RunSettings.from_descent(learning_rate=0.0), "learning_rate"),
        (lambda: RunSettings.from_descent(learning_rate=0.1, ema_momentum=1.5), "ema_momentum"),
        (lambda: RunSettings.from_descent(learning_rate=0.1, momentum=1.0), "momentum"),
        (lambda: forecast(drawn(0), RunSettings(), -1.0), "time"),
        (lambda: effective_rank([1.0, -1.0]), "eigenvalues"),
        (lambda: rankme(1.0), "eigenvalues"),
        (lambda: extrapolated_eigenvalues([1.0], [2.0], 0.0, 1.0), "elapsed"),
    ],
)
def test_bad_input_is_refused_by_name(make, argument: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=f"^{argument} "):
        make()
