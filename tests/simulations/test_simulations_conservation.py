"""The exact discrete drift (3.3) of one step, for backbones, losses and targets that no experiment fixes."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from jepalign.linear_models.conservation import discrete_drift
from jepalign.simulations import backbones, conservation
from jepalign.simulations.conservation import (
    EMA,
    FREE,
    SCALES,
    SIMSIAM,
    Case,
    ConservationPlan,
    cases,
    conservation_rows,
    conservation_run,
    huber,
)
from jepalign.simulations.data import digit_views
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.objectives import prediction_loss
from jepalign.simulations.probe import Observation, Probe
from jepalign.simulations.rounding import UNIT
from jepalign.simulations.training import JEPA, Rates

Drift = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


class Convolutional(nn.Module):
    """A small convolutional backbone with batch-norm below a bare linear last layer, on 8 × 8 images."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
        self.backbone = layers.double()
        self.last = nn.Linear(5, 4, bias=False).double()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0.0, 0.4, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.backbone(x.reshape(-1, 1, 8, 8)))


def cosine_loss(prediction: Tensor, target: Tensor) -> Tensor:
    return -nn.functional.cosine_similarity(prediction, target.detach(), dim=1).mean()


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: MLP((64, 4), "linear", seed=0),
    "relu": lambda: MLP((64, 9, 4), "relu", seed=0),
    "convolutional": Convolutional,
}
LOSSES = {"squared": prediction_loss, "huber": huber, "cosine": cosine_loss}


def step_of(backbone: str, loss: str, rates: Rates) -> tuple[Observation, Tensor, Tensor, float]:
    """Make one step on a batch of 24 random images; return what was seen before it, P, the change, and the scale."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 24, 64, generator=generator, dtype=torch.float64)
    predictor = linear_predictor(4, seed=3)
    jepa = JEPA(BACKBONES[backbone](), predictor, rates, loss=LOSSES[loss])
    probe = Probe(jepa.encoder, predictor, target=jepa.target)
    seen = probe.observe(x, y, loss=jepa.loss)
    matrix, before = probe.matrix.clone(), probe.balance(rates.predictor)
    jepa.step(x, y)
    scale = probe.last.weight.square().sum() + predictor.weight.square().sum() / rates.predictor
    return seen, matrix, probe.balance(rates.predictor) - rates.retained * before, scale.item()


def true_drift(W: Tensor, P: Tensor, R: Tensor, step: float, alpha: float) -> Tensor:
    return step**2 * (P.T @ R @ R.T @ P - alpha * W @ R.T @ R @ W.T)


@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("loss", list(LOSSES))
@settings(max_examples=6, deadline=None)
@given(
    rates=st.builds(
        Rates, st.floats(0.02, 0.1), st.floats(0.2, 5), st.floats(0, 0.5), st.one_of(st.none(), st.floats(0, 10))
    )
)
def test_the_drift_of_any_step_is_predicted_to_rounding(backbone: str, loss: str, rates: Rates) -> None:
    """The criterion of the experiment, 4u(‖W‖² + ‖P‖²/α), for weights, losses and constants that it does not use."""
    seen, matrix, change, scale = step_of(backbone, loss, rates)
    weight, residual = seen.weight.numpy(), seen.residual.numpy()
    predicted = discrete_drift(weight, matrix.numpy(), residual, rates.step, predictor_rate=rates.predictor)
    assert np.linalg.norm(change.numpy() - predicted) <= 4 * UNIT * scale


FALSE_DRIFTS: dict[str, Drift] = {
    "P transposed": lambda W, P, R, e, a: e**2 * (P @ R @ R.T @ P.T - a * W @ R.T @ R @ W.T),
    "R transposed": lambda W, P, R, e, a: e**2 * (P.T @ R @ R.T @ P - a * R @ W.T @ W @ R.T),
    "first order": lambda W, P, R, e, a: e * (P.T @ R @ R.T @ P - a * W @ R.T @ R @ W.T),
    "α divided": lambda W, P, R, e, a: e**2 * (P.T @ R @ R.T @ P - W @ R.T @ R @ W.T / a),
    "a sum": lambda W, P, R, e, a: e**2 * (P.T @ R @ R.T @ P + a * W @ R.T @ R @ W.T),
    "none": lambda W, P, R, e, a: torch.zeros_like(P),
}


@pytest.mark.parametrize("name", list(FALSE_DRIFTS))
def test_a_drift_with_something_changed_is_refused(name: str) -> None:
    """By at least a million times the criterion: the drift is resolved, not lost in rounding."""
    for backbone in BACKBONES:
        seen, matrix, change, scale = step_of(backbone, "squared", Rates(0.05, 2.5, 0.02, 0.5))
        predicted = FALSE_DRIFTS[name](seen.weight, matrix, seen.residual, 0.05, 2.5)
        assert (change - predicted).norm().item() > 1e6 * 4 * UNIT * scale
        right = true_drift(seen.weight, matrix, seen.residual, 0.05, 2.5)
        assert (change - right).norm().item() <= 4 * UNIT * scale


def test_updates_that_are_not_simultaneous_break_the_drift() -> None:
    """P updated from the new W: the cross terms no longer cancel."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 24, 64, generator=generator, dtype=torch.float64)
    rates = Rates(0.05, 2.5)
    encoder, predictor = MLP((64, 9, 4), "relu", seed=0), linear_predictor(4, seed=3)
    probe = Probe(encoder, predictor)
    seen, matrix, before = probe.observe(x, y), probe.matrix.clone(), probe.balance(2.5)
    with torch.no_grad():
        encoder.last.weight.sub_(0.05 * matrix.T @ seen.residual)
        predictor.weight.sub_(2.5 * 0.05 * seen.residual @ encoder.last.weight.T)
    change = probe.balance(2.5) - before
    scale = (encoder.last.weight.square().sum() + predictor.weight.square().sum() / 2.5).item()
    assert (change - true_drift(seen.weight, matrix, seen.residual, rates.step, 2.5)).norm() > 1e6 * 4 * UNIT * scale


def test_momentum_breaks_the_drift() -> None:
    """3.4: the law is plain gradient descent's. The first step has no momentum yet and keeps it, the second not."""
    generator = torch.Generator().manual_seed(1)
    encoder, predictor = MLP((64, 9, 4), "relu", seed=0), linear_predictor(4, seed=3)
    jepa = JEPA(encoder, predictor, Rates(0.05, 2.5))
    for group in jepa.optimizer.param_groups:
        group["momentum"] = 0.9
    probe = Probe(encoder, predictor)
    errors: list[float] = []
    for _ in range(2):
        x, y = torch.randn(2, 24, 64, generator=generator, dtype=torch.float64)
        seen, matrix, before = probe.observe(x, y), probe.matrix.clone(), probe.balance(2.5)
        jepa.step(x, y)
        predicted = true_drift(seen.weight, matrix, seen.residual, 0.05, 2.5)
        scale = (encoder.last.weight.square().sum() + predictor.weight.square().sum() / 2.5).item()
        errors.append((probe.balance(2.5) - before - predicted).norm().item() / (4 * UNIT * scale))
    assert errors[0] <= 1
    assert errors[1] > 1e6


def test_at_paper_scale_every_backbone_meets_every_law_and_every_control() -> None:
    plan = SCALES["paper"]
    assert set(plan.backbones) == set(backbones.BACKBONES)
    todo = cases(plan.backbones)
    for backbone in plan.backbones:
        held = {(case.law, case.rates) for case in todo if case.backbone == backbone and not case.false}
        assert {("balance", SIMSIAM), ("balance", EMA), ("balance", FREE), (conservation.ZERO, SIMSIAM)} <= held
        assert ({("Gram", SIMSIAM), ("Gram", EMA)} <= held) is (backbone != "transformer")
    assert {case.false for case in todo} == {"", *conservation.FALSE}
    assert all(case.rates.predictor != 1 for case in todo)


def test_a_diverged_run_fails_and_keeps_its_rows() -> None:
    views = digit_views(device=torch.device("cpu"), seed=0)
    plan = ConservationPlan(("relu",), steps=30)
    case = Case("relu", Rates(step=5.0, predictor=2.5))
    run = conservation_run(case, views, plan, seed=0)
    assert np.isfinite(run["error"][0])
    assert np.isnan(run["error"][-1])
    rows = conservation_rows(case, run)
    assert [row["verdict"] for row in rows] == ["fails", "fails"]
    assert all(row["architecture"].endswith("(diverged)") for row in rows)
    assert all(row["error"] is not None for row in rows)


def test_the_target_encoder_is_irrelevant_to_the_law() -> None:
    """3.1 "whatever V does": a target that is another network altogether."""
    rates = Rates(0.05, 2.5, 0.02, 0.5)
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 24, 64, generator=generator, dtype=torch.float64)
    encoder, predictor = MLP((64, 9, 4), "relu", seed=0), linear_predictor(4, seed=3)
    jepa = JEPA(encoder, predictor, rates)
    jepa.target.load_state_dict(copy.deepcopy(MLP((64, 9, 4), "relu", seed=99)).state_dict())
    probe = Probe(encoder, predictor, target=jepa.target)
    seen, matrix, before = probe.observe(x, y), probe.matrix.clone(), probe.balance(2.5)
    jepa.step(x, y)
    scale = (encoder.last.weight.square().sum() + predictor.weight.square().sum() / 2.5).item()
    change = probe.balance(2.5) - rates.retained * before
    assert (change - true_drift(seen.weight, matrix, seen.residual, 0.05, 2.5)).norm() <= 4 * UNIT * scale
