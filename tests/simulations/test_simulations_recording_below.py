"""Rates of the layers below: recorded where an encoder is a plain stack, else it is said why not; and a forecast is better for them."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jepalign.diagnosis import as_json, diagnose
from jepalign.errors import InputError
from jepalign.linear_models.forecast import layer_rate
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.recording import Recorder


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.GELU(), nn.Linear(7, 4, bias=False))


def seen(encoder: nn.Module, *shape: int, optimizer: Any = None, grad: bool = False, **options: Any) -> Recorder:
    """Record a step of an encoder with a target of its own, whose weights move after it was called."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*(shape or (16, 6)), generator=generator).requires_grad_(grad)
    target, predictor = copy.deepcopy(encoder), nn.Linear(4, 4, bias=False)
    recorder = Recorder(encoder, predictor, target=target, every=1, window=1, optimizer=optimizer, **options)
    predictor(encoder(x))
    with torch.no_grad():
        target(x + 0.1 * torch.randn(x.shape, generator=generator))
        for parameter in encoder.parameters():
            parameter.mul_(1.5)
    recorder.step()
    return recorder


def recorded(recorder: Recorder) -> Any:
    assert recorder.latest is not None
    return recorder.latest.weights.get("below")


class Functional(nn.Module):
    """Activations without modules, layers registered out of order, and a view that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first = nn.Linear(8, 7), nn.Linear(6, 8)
        self.last = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.leaky_relu(self.first(x))
        return self.last(torch.tanh(self.second(h.view(h.shape))))


@pytest.mark.parametrize(
    ("build", "names", "options"),
    [
        (plain, ("0", "2"), {}),
        (plain, ("0", "2"), {"grad": True}),
        (lambda: MLP((6, 8, 4), "tanh", seed=0).float(), ("backbone.0",), {}),
        (lambda: MLP((6, 4), "linear", seed=0).float(), (), {}),
        (Functional, ("first", "second"), {}),
    ],
    ids=["modules", "inputs-with-gradients", "mlp", "linear", "functional"],
)
def test_a_plain_stack_has_the_rates_of_its_layers_at_the_records_step(
    build: Callable[[], nn.Module], names: Sequence[str], options: dict[str, Any]
) -> None:
    encoder = build()
    recorder = seen(encoder, **options)
    expected = [layer_rate(encoder.get_parameter(f"{name}.weight").detach().numpy()) for name in names]
    # Weights are single precision and the sum of their squares is not: a few hundred roundings of double.
    assert recorded(recorder) == pytest.approx(np.array(expected), rel=1e-12)
    assert recorder.why_not_below is None


def test_tokens_and_mixed_precision_are_a_plain_stack_as_well() -> None:
    tokens = seen(plain(), 3, 5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = seen(plain())
    for recorder in (tokens, mixed):
        assert recorded(recorder).shape == (2,), recorder.why_not_below


class Through(nn.Module):
    """Two layers with any function between."""

    def __init__(self, between: Callable[[nn.Linear, Tensor], Tensor], width: int = 6) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(width, 4)
        self.scale = nn.Parameter(torch.ones(6))
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first, x))


@pytest.mark.parametrize(
    ("encoder", "shape", "why"),
    [
        (Through(lambda first, x: x + first(x)), (), "Add"),
        (Through(lambda first, x: first(torch.tanh(first(x)))), (), "used twice"),
        (Through(lambda first, x: torch.cat([first(x), torch.tanh(first(x))], -1), 12), (), "Cat"),
        (Through(lambda first, x: first(x).mean(1)), (8, 5, 6), "Mean"),
        (Through(lambda first, x: first(x).flatten(1), 30), (8, 5, 6), "entry by entry"),
        (Through(lambda first, x: first(x) @ first(x).mT @ x), (8, 5, 6), "Bmm|View"),
        (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)), (), "NativeBatchNorm"),
        (nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)), (), "NativeLayerNorm"),
        (nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4)), (), "Mul|Dropout"),
        (nn.Sequential(nn.Linear(6, 8), nn.PReLU(), nn.Linear(8, 4)), (), "Prelu"),
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4)), (8, 1, 6), "Convolution"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.Linear(8, 4)), (), "product"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_the_closure_means_nothing_no_rate_is_recorded(
    encoder: nn.Module, shape: tuple[int, ...], why: str
) -> None:
    recorder = seen(encoder, *shape)
    assert recorder.measures.startswith("last layer"), recorder.measures
    assert recorded(recorder) is None
    assert recorder.why_not_below is not None
    assert any(word in recorder.why_not_below for word in why.split("|")), recorder.why_not_below


def test_only_layers_that_are_trained_as_the_last_one_is_have_rates() -> None:
    half = plain()
    half[0].requires_grad_(False)
    assert recorded(seen(half)).shape == (1,)
    # What is frozen is the inputs' affair, whatever it is.
    behind = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 4))
    for part in list(behind)[:3]:
        part.requires_grad_(False)
    assert recorded(seen(behind)).shape == (0,)
    left_out = plain()
    some = torch.optim.SGD([*left_out[2].parameters(), *left_out[4].parameters()], lr=0.1)
    assert recorded(seen(left_out, optimizer=some)).shape == (1,)
    groups = [{"params": left_out[0].parameters(), "lr": 0.2}, {"params": left_out[4].parameters()}]
    slower = seen(left_out, optimizer=torch.optim.SGD(groups, lr=0.1))
    assert recorded(slower) is None
    assert "learning rate" in str(slower.why_not_below)


def test_a_layer_that_is_zero_or_has_diverged_stops_no_training() -> None:
    for value in (0.0, np.inf):
        encoder = plain()
        nn.init.constant_(encoder[2].weight, value)  # pyright: ignore[reportArgumentType]
        recorder = seen(encoder)
        assert recorded(recorder) is None
        assert recorder.why_not_below is not None


def test_the_user_has_the_last_word() -> None:
    encoder = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 4))
    weight = encoder[0].weight
    assert isinstance(weight, Tensor)
    given = recorded(seen(encoder, 8, 1, 6, below=[encoder[0]]))
    assert given == pytest.approx([3 / weight.detach().square().sum().item()], rel=1e-5)
    assert recorded(seen(encoder, 8, 1, 6, below=())).shape == (0,)
    unwanted = seen(plain(), below=None)
    assert recorded(unwanted) is None
    assert unwanted.why_not_below == "they are not wanted"
    for wrong in ([nn.ReLU()], [nn.LayerNorm(3)], "all"):
        with pytest.raises(InputError, match=r"^below "):
            seen(plain(), below=wrong)


def test_a_diagnosis_says_why_features_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 4, bias=False))
    settings = {"weight_decay": 0.02, "learning_rate": 0.1, "steps": 100}
    seen(encoder, 64, 6, out=tmp_path, settings=settings)
    assert "NativeBatchNorm" in json.loads((tmp_path / "run.json").read_text())["note"]["why_not_below"]
    assert "features that stay, as NativeBatchNorm is neither" in diagnose(tmp_path).outlook.words


def test_rates_of_the_layers_below_tell_the_end_of_a_deep_run(tmp_path: Path) -> None:
    """A tanh encoder, recorded in its first tenth: features that stay tell two dimensions too many or more, those that move none or one."""
    from jepalign.datasets import digits, two_views
    from jepalign.simulations.training import JEPA, Rates

    x, y = (torch.tensor(view) for view in two_views(digits().images[:400], noise=0.3, mask=0.25, seed=0))
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    encoder, predictor = MLP((64, 32, 8), "tanh", seed=0), linear_predictor(8, seed=1)
    jepa = JEPA(encoder, predictor, Rates(step=0.2, weight_decay=0.006, ema=0.5))
    total, early = 2000, 200
    given = {"learning_rate": 0.2, "weight_decay": 0.006, "ema_momentum": 0.9, "steps": total}
    for step in range(total):
        if step == early - 1:
            with Recorder(
                encoder, predictor, target=jepa.target, out=tmp_path, every=1, window=1, start=step, settings=given
            ) as recorder:
                jepa.step(x, y)
                recorder.step()
        else:
            jepa.step(x, y)
    found = diagnose(tmp_path)
    with torch.no_grad():
        z = encoder(x).numpy()
    assert found.outlook.flow is not None
    # A diagnosis does not count the mean.
    alive = int((np.linalg.eigvalsh(np.cov(z.T)) > found.outlook.flow.floor).sum())
    told, staying = found.outlook.rank, found.outlook.staying
    assert found.outlook.moved
    assert staying is not None
    assert 0 < alive < 8
    assert abs(told - alive) <= 1 < staying - alive
    assert found.outlook.precedent is not None
    assert found.outlook.precedent.low <= alive <= found.outlook.precedent.high
    data = as_json(found)
    assert data["surviving_rank_errors"]["method"] == "affine"
    assert data["surviving_rank_errors"]["fraction"] == pytest.approx(0.1)
