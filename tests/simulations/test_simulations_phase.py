"""Phase: pieces of the experiment against the last-layer flow, closed forms and plain counts; the quick run's controls."""

import functools

import numpy as np
import pytest
import torch

from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.linear_models.forecast import LastLayer
from jepalign.linear_models.forecast.flow import solve
from jepalign.measurements import Measurement
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import MLP, digit_encoder, linear_predictor
from jepalign.simulations.ensembles import Members
from jepalign.simulations.last_layer import last_layer
from jepalign.simulations.phase import EMA, phase
from jepalign.simulations.phase_layers import Layers, aligned, balanced, frozen, shorter
from jepalign.simulations.phase_rows import auroc, differences, exceptions, trivial_scores
from jepalign.simulations.training import JEPA, Rates, train


@functools.cache
def quick() -> Measurement:
    return phase()


def measured_layer() -> tuple[MLP, torch.nn.Linear, torch.Tensor, torch.Tensor, LastLayer]:
    views = digit_views(device=torch.device("cpu"), seed=0)
    x, y = both_orders(views.x[:64], views.y[:64])
    encoder, predictor = digit_encoder((64, 12, 4), "tanh", views, 0), linear_predictor(4, seed=1)
    return encoder, predictor, x, y, last_layer(encoder, predictor, x, y)


def stacked(layer: LastLayer) -> Layers:
    parts = (layer.views.context, layer.views.cross, layer.encoder, layer.predictor, layer.leading)
    return Layers(*(torch.tensor(part)[None] for part in parts))


def one_member(step: float, decay: float = 0.02, beta: float = 0.5) -> Members:
    return Members(seed=[0], step=step, weight_decay=decay, predictor_rate=2.0, ema_rate=beta)


def test_critical_decays_and_moments_are_those_of_the_measured_last_layer() -> None:
    *_, layer = measured_layer()
    found = stacked(layer)
    modes = layer.modes()
    expected = critical_weight_decay(modes.cross, modes.variance)
    assert np.allclose(found.critical()[0], expected, rtol=1e-9)
    for seen, known in zip(found.modes(), (modes.cross, modes.variance), strict=True):
        assert np.allclose(seen[0], known, rtol=1e-9)
    assert np.allclose(found.moments()[0], np.linalg.eigvalsh(layer.embedding())[::-1])


def test_frozen_training_tends_to_the_flow_and_equals_descent_on_frozen_features() -> None:
    encoder, predictor, x, y, layer = measured_layer()
    flow = solve(layer, Rates(step=0.1, predictor=2.0, weight_decay=0.02, ema=0.5).settings, [4.0])
    errors = []
    for step in (0.1, 0.05):
        found = frozen(stacked(layer), one_member(step), round(4 / step))
        errors.append(np.abs(found.weight[0].numpy() - flow.encoder[0]).max())
    assert errors[0] < 0.02
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)  # of first order
    encoder.backbone.requires_grad_(False)
    # A linear encoder on the features is the last layer on features that stay.
    h, ahead = encoder.backbone(x), encoder.backbone(y)
    last = MLP((12, 4), "linear", seed=0)
    last.last.load_state_dict(encoder.last.state_dict())
    jepa = JEPA(last, predictor, Rates(step=0.1, predictor=2.0, weight_decay=0.02, ema=0.5))
    train(jepa, [(h, ahead)] * 30)
    found = frozen(stacked(layer), one_member(0.1), 30)
    assert torch.allclose(found.weight[0], last.last.weight, atol=1e-12)
    assert torch.allclose(found.predictor[0], jepa.predictor.get_parameter("weight"), atol=1e-12)
    target = jepa.target
    assert isinstance(target, MLP)
    assert torch.allclose(found.target[0], target.last.weight, atol=1e-12)


def test_balanced_start() -> None:
    *_, layer = measured_layer()
    part = balanced(stacked(layer), one_member(0.1))
    assert torch.allclose(part.weight @ part.weight.mT, part.predictor.mT @ part.predictor / 2.0)
    assert torch.equal(part.weight, part.target)
    assert torch.equal(part.weight, stacked(layer).weight)


def test_aligned_modes_end_at_the_equilibria_of_the_theory_for_every_ema_rate() -> None:
    *_, layer = measured_layer()
    modes = layer.modes()
    cross, variance = modes.cross[:4], modes.variance[:4]
    critical = critical_weight_decay(cross, variance)
    decay = float(np.sqrt(critical[1] * critical[2]))
    start = aligned(stacked(layer), one_member(0.1))
    assert np.allclose(start.cross[:, 0, 0], cross)
    assert np.allclose(start.context[:, 0, 0], variance)
    w = np.linalg.norm(layer.encoder) / 2
    assert np.allclose(start.weight.flatten(), w)
    inside = np.maximum(cross**2 - 4 * decay * variance, 0)
    lower, upper = ((np.abs(cross) + sign * np.sqrt(inside)) / (2 * variance) for sign in (-1, 1))
    lives = (inside > 0) & (np.sqrt(2.0) * w > lower)
    expected = np.where(lives, variance * upper**2 / 2.0, 0)
    for beta in (5.0, 0.2):
        members = Members(seed=[0] * 4, step=0.2, weight_decay=decay, predictor_rate=2.0, ema_rate=beta)
        found = frozen(start, members, 20000).moments()[:, 0]
        assert np.allclose(found, expected, atol=1e-6)


def test_a_curvature_tells_the_longest_step_and_shorter_steps_make_a_training_again() -> None:
    # p²= αw² = 2: σ(p² + αw²) = 4σ; beyond ε = 2/(4σ) descent leaves the rest of λ/σ = pw, within it stays.
    part = [torch.tensor([[[value]]], dtype=torch.float64) for value in (1.5, 1.5 * 2**0.5, 1.0, 2**0.5, 1.0)]
    rest = Layers(*part)
    bound = 2 / rest.curvature(one_member(0.1))[0]
    assert bound == pytest.approx(2 / 6)
    moved = Layers(rest.context, rest.cross, rest.weight + 1e-3, rest.predictor, rest.target)
    far = [frozen(moved, one_member(f * bound, 0.0, 1e-9), 60, halvings=0) for f in (1.1, 0.9)]
    gaps = [float((part.predictor * part.weight - 2**0.5).abs()) for part in far]
    assert gaps[0] > 0.05
    assert gaps[1] < 1e-4
    again = shorter(one_member(0.4), 2)
    assert again.array("step").tolist() == [0.2]
    assert again.array("weight_decay").tolist() == [0.02]


def test_a_frozen_training_that_diverges_is_repeated_with_shorter_steps() -> None:
    *_, layer = measured_layer()
    once = frozen(stacked(layer), one_member(14.0, beta=0.05), 40, halvings=0)
    assert torch.equal(once.weight, stacked(layer).weight)  # lost at its only step, and kept as it was
    again = frozen(stacked(layer), one_member(14.0, beta=0.05), 40, halvings=6)
    assert torch.isfinite(again.weight).all()
    assert not torch.equal(again.weight, once.weight)
    # A member that is stable is not touched by its neighbour's halvings.
    both = Layers(*(torch.cat((part, part)) for part in vars(stacked(layer)).values()))
    members = Members(seed=[0, 0], step=[0.1, 14.0], weight_decay=0.02, predictor_rate=2.0, ema_rate=[0.5, 0.05])
    alone = frozen(stacked(layer), one_member(0.1), 40)
    assert torch.allclose(frozen(both, members, 40).weight[0], alone.weight[0], atol=1e-12)


def test_scores() -> None:
    survived = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert auroc(survived, np.array([[3.0, 2.0, -1.0], [2.0, -2.0, -3.0]])) == 1.0
    assert auroc(survived, -survived) == 0.0
    assert auroc(survived, np.zeros((2, 3))) == 0.5
    assert auroc(np.ones((2, 3)), survived) == 0.5  # one class alone
    # One of the nine pairs of a survivor and a dead dimension is in the wrong order.
    assert auroc(survived, np.array([[3.0, 0.5, -1.0], [2.0, 1.0, -3.0]])) == pytest.approx(8 / 9)
    lost = np.array([[1.0, np.nan, 0.0], [1.0, 0.0, 0.0]])
    assert auroc(lost, np.array([[1.0, -9.0, 0.0], [1.0, 0.0, np.nan]])) == 1.0
    scores = trivial_scores(survived, np.array([0.1, 0.4]))
    assert scores["−index"] == pytest.approx(8.5 / 9)  # one of nine pairs is a tie
    assert scores["both, fitted"] == 1.0
    score = np.array([[1.0, 0.2, 0.6], [-1.0, -1.0, 0.0]])
    assert exceptions(survived, score, 0.5) == (0.5, 0.5)
    assert exceptions(survived, 0 * score, 0.5) == (0.0, 0.0)


def test_differences_between_ema_rates_of_a_setting() -> None:
    assert differences(np.array([[5.0, 3.0, 1.0], [2.0, 2.0, 2.0]])).tolist() == [2.0, 4.0, 2.0, 0.0, 0.0, 0.0]


def test_quick_run() -> None:
    found = quick()
    assert found.arrays["diverged"].sum() == 0
    for key, values in found.arrays.items():
        if values.dtype.kind == "f" and key != "extrapolation":
            assert np.isfinite(values).all(), key
    assert np.isfinite(found.arrays["extrapolation"][:, :, 1:]).all()
    controls = [row for row in found.rows if "control" in row["experiment"]]
    assert len(controls) == 2
    assert all(row["verdict"] == "holds" for row in controls)
    held = {row["experiment"]: row["verdict"] for row in found.rows}
    assert held["phase: EMA rate on frozen features, aligned and balanced start"] == "holds"
    assert held["phase: survival, last-layer flow at half"] == "holds"
    # Both outcomes are there, so that the scores mean something.
    assert 0.02 < found.arrays["survived"].mean() < 0.98
    assert found.arrays["ema_rate"][0, : len(EMA)] == pytest.approx(EMA)
