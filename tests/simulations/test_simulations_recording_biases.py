"""Rates of the biases below a last layer: recorded as the mean features' derivatives, where a plain stack can be called again."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jepalign.simulations.encoders import MLP
from jepalign.simulations.last_layer import rates_of_biases
from jepalign.simulations.recording import Recorder


def inputs(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.3


def seen(encoder: nn.Module, x: Tensor, *, mask: Tensor | None = None, optimizer: Any = None) -> Recorder:
    """Record a step, whose weights move after the encoder was called."""
    target = copy.deepcopy(encoder)
    recorder = Recorder(encoder, target=target, every=1, window=1, optimizer=optimizer)
    encoder(x)
    with torch.no_grad():
        target(x + 0.1)
        for parameter in encoder.parameters():
            parameter.mul_(1.5).add_(0.01)
    recorder.step(mask=mask)
    return recorder


def recorded(recorder: Recorder) -> Any:
    assert recorder.latest is not None
    return recorder.latest.weights.get("biases")


def expected(backbone: nn.Module, x: Tensor) -> Any:
    return rates_of_biases(backbone, dict(backbone.named_parameters()), x).detach().numpy()


def stack(*between: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Return a stack of layers with these functions behind, as its backbone and a last layer."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for function in between:
        layers += [nn.Linear(6, 6, dtype=dtype), function]
    return nn.Sequential(nn.Sequential(*layers), nn.Linear(6, 4, bias=False, dtype=dtype))


class Called(nn.Module):
    """A function that no module of torch stands for."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardtanh(torch.sin(x), -0.4, 0.7).view(x.shape)


@pytest.mark.parametrize(
    "encoder",
    [
        MLP((6, 9, 7, 4), "tanh", seed=1),
        MLP((6, 9, 8, 7, 4), "relu", seed=1),
        stack(nn.GELU("tanh"), nn.LeakyReLU(0.3), nn.SELU()),
        stack(nn.Softplus(2.0, 1.0), nn.CELU(0.5), nn.ELU(0.7)),
        stack(Called(), nn.Identity(), nn.LogSigmoid()),
    ],
    ids=["tanh", "relu", "gelu-leaky-selu", "softplus-celu-elu", "called"],
)
def test_they_are_the_derivatives_of_the_mean_feature_at_the_records_step(encoder: Any) -> None:
    x = inputs(40, 6)
    recorder = seen(encoder, x)
    backbone = encoder.backbone if isinstance(encoder, MLP) else encoder[0]
    # Both are double, and a few hundred roundings apart.
    assert recorded(recorder) == pytest.approx(expected(backbone, x), rel=1e-12)
    assert recorder.why_not_biases is None


def test_of_many_rows_some_are_taken_and_padding_is_not() -> None:
    encoder = MLP((6, 9, 7, 4), "tanh", seed=1)
    x = inputs(50, 6, 6)
    assert recorded(seen(encoder, x)) == pytest.approx(expected(encoder.backbone, x.reshape(300, 6)[::5]), rel=1e-12)
    mask = torch.rand(50, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    x[~mask] = 1e3
    counted = x.reshape(300, 6)[::5][mask.reshape(300)[::5]]
    assert recorded(seen(encoder, x, mask=mask)) == pytest.approx(expected(encoder.backbone, counted), rel=1e-12)
    # Of 130 features every third is derived.
    wide, some = MLP((6, 130, 4), "tanh", seed=1), inputs(40, 6)
    found = recorded(seen(wide, some))
    slopes = 1 - wide.backbone(some).detach().square()
    assert found == pytest.approx([slopes.mean(0)[::3].square().mean().item()], rel=1e-12)


def test_mixed_precision_is_told_as_well() -> None:
    encoder, x = stack(nn.ReLU(), nn.Tanh(), dtype=torch.float32), inputs(40, 6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorder = seen(encoder, x)
    # The inputs are kept before they are rounded; single precision is left.
    assert recorded(recorder) == pytest.approx(expected(encoder[0], x), rel=1e-5)


def test_biases_that_stay_or_are_missing_have_the_rate_0() -> None:
    encoder: Any = stack(nn.ReLU(), nn.Tanh(), nn.ReLU())
    first, second, third = (encoder[0][index] for index in (0, 2, 4))
    first.bias.requires_grad_(False)
    second.bias = None
    x = inputs(40, 6)
    found = recorded(seen(encoder, x))
    assert found[:2].tolist() == [0.0, 0.0]
    assert found[2] == pytest.approx(expected(encoder[0], x)[2], rel=1e-12)
    # A whole layer that stays has no rate at all, and is passed all the same.
    some = torch.optim.SGD([second.weight, third.weight, encoder[1].weight], lr=0.1)
    assert recorded(seen(encoder, x, optimizer=some)).tolist() == [0.0, 0.0]


def test_biases_that_are_trained_otherwise_have_none_and_it_is_said() -> None:
    encoder = stack(nn.ReLU(), nn.Tanh())
    matrices = [value for name, value in encoder.named_parameters() if name.endswith("weight")]
    biases = [value for name, value in encoder.named_parameters() if name.endswith("bias")]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
    recorder = seen(encoder, inputs(40, 6), optimizer=torch.optim.SGD(groups, lr=0.1))
    assert recorded(recorder) is None
    assert recorder.latest is not None
    assert recorder.latest.weights["below"].shape == (2,)
    assert recorder.why_not_below is None
    assert "learning rate or weight decay" in str(recorder.why_not_biases)


def test_what_does_not_give_the_features_again_has_none() -> None:
    class Weight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.last = nn.Parameter(torch.randn(6, 6)), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(functional.linear(x, self.weight)))

    for encoder in (Weight(), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4))):
        diverged = isinstance(encoder, nn.Sequential)
        if diverged:
            nn.init.constant_(encoder[0].bias, np.nan)  # pyright: ignore[reportArgumentType]
        recorder = seen(encoder, inputs(40, 6, dtype=torch.float32))
        assert recorded(recorder) is None
        assert recorder.why_not_biases is not None
