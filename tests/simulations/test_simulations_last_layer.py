"""The frozen flow of the last layer: a network whose backbone does not move follows it."""

import numpy as np
import pytest
import torch

from jepalign.errors import InputError
from jepalign.linear_models.forecast.flow import solve
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.last_layer import last_layer, rates_below
from jepalign.simulations.training import JEPA, Rates


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_network_with_frozen_features_follows_the_forecast(ema: float | None) -> None:
    views = digit_views(device=torch.device("cpu"), seed=0)
    encoder, predictor = MLP((64, 32, 6), "tanh", seed=0), linear_predictor(6, seed=1)
    x, y = both_orders(views.x, views.y)
    measured = last_layer(encoder, predictor, x, y)
    rates = Rates(step=0.02, weight_decay=0.05, ema=ema)
    encoder.backbone.requires_grad_(False)
    backbone = [p.clone() for p in encoder.backbone.parameters()]
    jepa = JEPA(encoder, predictor, rates)
    decayed = jepa.optimizer.param_groups[0]
    decayed["params"] = [encoder.last.weight]
    path = solve(measured, rates.settings, [2.0, 4.0])
    for _ in range(100):
        jepa.step(x, y)
    assert all(torch.equal(a, b) for a, b in zip(backbone, encoder.backbone.parameters(), strict=True))
    # Descent with steps ε follows the flow up to ε/2 · t · (rates of order one).
    W, P = encoder.last.weight.detach().numpy(), predictor.weight.detach().numpy()
    size = np.abs(measured.encoder).max()
    assert np.abs(path.encoder[0] - W).max() < 0.02 * size
    assert np.abs(path.predictor[0] - P).max() < 0.02
    assert np.abs(path.encoder[0] - measured.encoder).max() > 0.1 * size


def test_layers_below_are_those_of_a_plain_perceptron_and_of_nothing_else() -> None:
    encoder = MLP((5, 4, 3, 2), "gelu", seed=0)
    first, second = (encoder.backbone.get_parameter(f"{i}.weight").detach() for i in (0, 2))
    assert rates_below(encoder.backbone) == pytest.approx(
        (5 / first.square().sum().item(), 4 / second.square().sum().item())
    )
    assert rates_below(MLP((5, 2), "linear", seed=0).backbone) == ()
    linear = torch.nn.Linear(5, 4)
    assert rates_below(linear) == ()
    assert rates_below(torch.nn.Sequential(linear, torch.nn.LayerNorm(4))) == ()


def test_biases_move_the_mean_feature_at_their_rates() -> None:
    encoder = MLP((5, 4, 3, 2), "gelu", seed=0)
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = last_layer(encoder, linear_predictor(2, seed=0), x, x)
    for rate, name in zip(found.biases, ("0.bias", "2.bias"), strict=True):
        bias, total = encoder.backbone.get_parameter(name), 0.0
        for entry in range(len(bias)):
            moved = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    bias[entry] += step
                    moved.append(encoder.backbone(x).mean(0))
                    bias[entry] -= step
            total += ((moved[0] - moved[1]) / 2e-5).square().sum().item()
        # Central differences err by 1e-10 of third derivatives of order one, and by 1e-11 of rounding.
        assert rate == pytest.approx(total / 3, rel=1e-7)
    assert last_layer(MLP((5, 4, 2), "tanh", seed=0, hidden_bias=False), linear_predictor(2, seed=0), x, x).biases == ()
    assert found.means is not None
    assert found.means[0] == pytest.approx(encoder.backbone(x).mean(0).detach().numpy())


def test_only_an_encoder_with_a_backbone_and_a_last_layer_is_measured() -> None:
    with pytest.raises(InputError, match="backbone"):
        last_layer(torch.nn.Linear(3, 2), linear_predictor(2, seed=0), torch.ones(4, 3), torch.ones(4, 3))
