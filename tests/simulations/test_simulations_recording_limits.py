"""What a recorder can know of a model, what it says where it cannot, and what it refuses."""

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jepalign.diagnosis.settings import Settings
from jepalign.errors import InputError
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.recording import Recorder
from jepalign.simulations.recording.settings import KNOWN


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 6, generator=generator)
    return x, x + 0.5 * torch.randn(16, 6, generator=generator)


def once(encoder: nn.Module, predictor: nn.Module | None = None, **options: Any) -> Recorder:
    """Record one step of a model with a target of its own, whose weights have moved by the time that it is told."""
    target = copy.deepcopy(encoder)
    options = {"every": 1, "window": 1, **options}
    recorder = Recorder(encoder, predictor, target=target, **options)
    x, y = batch()
    z = encoder(x)
    target(y)
    if predictor is not None:
        predictor(z)
    with torch.no_grad():
        for module in (encoder, target, *([] if predictor is None else [predictor])):
            for parameter in module.parameters():
                parameter.add_(1.0)
    recorder.step()
    return recorder


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.reshape(-1, 2, 3)).mean(1)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.never = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4)), "it goes on after its last linear layer"),
        (Residual(), "it goes on after its last linear layer"),
        (Pooled(), "it goes on after its last linear layer"),
        (nn.Sequential(nn.Linear(6, 4), nn.ReLU()), "it goes on after its last linear layer"),
        (Unused(), "inputs of its last layer were not seen"),
    ],
    ids=["layer-norm", "residual", "pooled", "activation", "unused"],
)
def test_an_encoder_that_does_not_end_in_its_last_linear_layer_gives_embeddings_alone(
    encoder: nn.Module, reason: str, tmp_path: Path
) -> None:
    recorder = once(encoder, out=tmp_path)
    assert recorder.measures == f"embeddings of the encoder: {reason}"
    assert json.loads((tmp_path / "run.json").read_text())["note"]["measures"] == recorder.measures
    (file,) = tmp_path.glob("*.npz")
    stored = np.load(file)
    assert {"context_moment", "target_moment", "cross_moment", "count"} <= stored.keys()
    assert not {"encoder", "target_encoder", "features_context_moment", "features_target_moment"} & stored.keys()
    last = next(layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    with pytest.raises(InputError, match="must be the layer whose output is the embedding"):
        once(
            encoder,
            last=[layer for layer in encoder.modules() if isinstance(layer, nn.Linear)][-1]
            if reason[0] == "i"
            else last,
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_last_layer_is_known_by_what_it_gives_in_every_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 512), nn.ReLU(), nn.Linear(512, 4))
    target = copy.deepcopy(encoder)
    recorder = Recorder(encoder, target=target, every=1, window=1)
    if dtype is torch.bfloat16:
        with torch.autocast("cpu", dtype=dtype):
            encoder(batch()[0])
            target(batch()[1])
    else:
        encoder.to(dtype)(batch()[0].to(dtype))
        target.to(dtype)(batch()[1].to(dtype))
    record = recorder.step()
    assert record is not None
    assert recorder.measures.startswith("last layer")
    # An affine layer is known too; the reader takes moments about the mean then.
    assert recorder.settings["bias"] is True
    assert record.weights["encoder"].shape == (4, 512)


def test_a_predictor_that_is_not_linear_has_no_matrix_and_the_least_squares_power() -> None:
    encoder = MLP((6, 8, 4), "relu", seed=1).float()
    found = {
        name: once(encoder, predictor).latest
        for name, predictor in {
            "mlp": nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4)),
            "affine": nn.Linear(4, 4),
            "linear": linear_predictor(4, seed=2).float(),
        }.items()
    }
    mlp, affine, linear = (found[name] for name in ("mlp", "affine", "linear"))
    assert mlp is not None
    assert affine is not None
    assert linear is not None
    assert (mlp.power_predictor, affine.power_predictor, linear.power_predictor) == (
        "least-squares",
        "predictor",
        "predictor",
    )
    assert "predictor" not in mlp.weights
    assert mlp.implicit_uniformity_power == mlp.moments.alignment + mlp.moments.asymmetry
    # The derivative of an affine predictor is its matrix: the bias is in the residual and not in Jz.
    arrays, P = affine.moments.arrays, affine.weights["predictor"] - 1
    bias = arrays["prediction_mean"] - P @ arrays["context_mean"]
    K, phi = arrays["cross_moment"], arrays["context_moment"]
    expected = np.trace(P.T @ (K - P @ phi)) - bias @ P @ arrays["context_mean"]
    # Predictions come in float32.
    assert affine.moments.correction == pytest.approx(expected, rel=1e-6)
    assert abs(bias @ P @ arrays["context_mean"]) > 1e-3 * abs(expected)


def test_settings_are_read_from_the_optimisers_and_from_the_user(tmp_path: Path) -> None:
    encoder, predictor = MLP((6, 8, 4), "relu", seed=1).float(), linear_predictor(4, seed=2).float()
    target = copy.deepcopy(encoder)
    groups = [
        {"params": encoder.parameters(), "lr": 0.1, "weight_decay": 0.02},
        {"params": predictor.parameters(), "lr": 0.3, "weight_decay": 0.05},
    ]
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, 1.0, total_iters=3)
    stated = {"ema_momentum": 0.99, "steps": 400, "loss": "half"}
    recorder = Recorder(
        encoder, predictor, target=target, every=1, window=2, out=tmp_path, optimizer=optimizer, settings=stated
    )
    squares = torch.zeros(4, 8)
    for step in range(8):
        x, y = batch(step)
        loss = (predictor(encoder(x)) - target(y).detach()).square().sum(1).mean() / 2
        optimizer.zero_grad()
        loss.backward()
        squares = 0.999 * squares + 0.001 * encoder.last.weight.grad.square()  # pyright: ignore[reportOptionalMemberAccess]
        optimizer.step()
        schedule.step()
        recorder.step()
    found = json.loads((tmp_path / "run.json").read_text())
    note = found.pop("note")
    rms = found.pop("gradient_rms")
    # Adam keeps float32.
    assert rms == pytest.approx(float(squares.mean() / (1 - 0.999**8)) ** 0.5, rel=1e-5)
    assert found == stated | {
        "learning_rate": pytest.approx(0.1),
        "weight_decay": 0.02,
        "predictor_learning_rate": pytest.approx(0.3),
        "predictor_weight_decay": 0.05,
        "optimizer": "adam",
        "decoupled": True,
        "batch_size": 16,
        "bias": False,
    }
    assert note["every"] == 1
    assert note["optimizers"] == ["AdamW"]
    # The rate at the peak: a schedule that ends at 0 does not hide it.
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    x, y = batch()
    predictor(encoder(x))
    target(y)
    recorder.step()
    recorder.close()
    assert json.loads((tmp_path / "run.json").read_text())["learning_rate"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9), {"optimizer": "sgd", "momentum": 0.9, "decoupled": False}),
        (lambda p: torch.optim.Adam(p, lr=0.5), {"optimizer": "adam", "decoupled": False}),
        (lambda p: torch.optim.Adam(p, lr=0.5, decoupled_weight_decay=True), {"optimizer": "adam", "decoupled": True}),
        # Any other is taken for what Adam is to the theory: no gradient flow.
        (lambda p: torch.optim.Adagrad(p, lr=0.5), {"optimizer": "adam", "decoupled": False}),
    ],
    ids=["sgd", "adam", "decoupled", "another"],
)
def test_the_method_is_told_where_the_theory_knows_it(optimizer: Any, expected: dict[str, Any]) -> None:
    encoder = MLP((6, 8, 4), "relu", seed=1).float()
    recorder = once(encoder, optimizer=[optimizer(encoder.parameters())])
    found = recorder.settings
    assert found["learning_rate"] == 0.5
    assert {name: found[name] for name in ("optimizer", "momentum", "decoupled") if name in found} == expected


def test_the_reader_knows_every_setting() -> None:
    assert set(KNOWN) == {field.name for field in fields(Settings)}


def test_a_run_goes_on_in_its_folder_and_another_does_not_enter(tmp_path: Path) -> None:
    encoder = MLP((6, 8, 4), "relu", seed=1).float()
    once(encoder, out=tmp_path)
    with pytest.raises(InputError, match=r"out = .*: must hold no record after step 0, and has moments-00000001.npz"):
        once(encoder, out=tmp_path)
    recorder = once(encoder, out=tmp_path, start=1)
    assert [path.name for path in sorted(tmp_path.glob("*.npz"))] == ["moments-00000001.npz", "moments-00000002.npz"]
    assert recorder.steps == 2


def test_a_context_writes_at_its_end_and_not_after_a_failure(tmp_path: Path) -> None:
    encoder, (x, y) = MLP((6, 8, 4), "relu", seed=1).float(), batch()
    target = copy.deepcopy(encoder)
    with Recorder(encoder, target=target, out=tmp_path / "whole") as recorder:
        encoder(x)
        target(y)
        recorder.step()
    assert recorder.latest is not None
    assert len(list((tmp_path / "whole").glob("*.npz"))) == 1
    failed = Recorder(encoder, target=target, out=tmp_path / "failed")

    def lost() -> None:
        with failed:
            encoder(x)
            target(y)
            failed.step()
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        lost()
    assert not list((tmp_path / "failed").iterdir())
    assert not encoder._forward_hooks  # pyright: ignore[reportPrivateUsage]


def test_bad_input_is_refused_in_a_line() -> None:
    encoder, (x, y) = MLP((6, 8, 4), "relu", seed=1).float(), batch()
    narrow = MLP((6, 3), "linear", seed=1).float()
    with pytest.raises(InputError, match=r"encoder = Sequential: must contain a linear layer \(or features=False"):
        Recorder(nn.Sequential(nn.Conv1d(1, 1, 1)))
    wrong: dict[str, Any] = {"every": 0, "window": 0, "rows": 0, "start": -1, "precision": torch.float16}
    for name, value in wrong.items():
        options: dict[str, Any] = {name: value}
        with pytest.raises(InputError, match=name):
            Recorder(encoder, **options)
    with pytest.raises(InputError, match="settings = learning_rat: must be of batch_size"):
        Recorder(encoder, settings={"learning_rat": 0.1})

    def refused(message: str, *calls: tuple[nn.Module, Tensor], **options: Any) -> None:
        recorder = Recorder(encoder, every=1, **options)
        for module, value in calls:
            module(value)
        with pytest.raises(InputError, match=message):
            recorder.step()
        recorder.detach()

    other, predictor = copy.deepcopy(encoder), linear_predictor(4, seed=2).float()
    refused("encoder = no call", target=other)
    refused("target = no call", (encoder, x), target=other)
    refused(
        r"target = embeddings \(9, 4\): must be those of the context, \(16, 4\)",
        (encoder, x),
        (other, y[:9]),
        target=other,
    )
    refused(r"target = embeddings \(16, 3\)", (encoder, x), (narrow, y), target=narrow)
    refused("pairs = 2 calls of the encoder, 1 of the target", (encoder, x), (encoder, x), (other, y), target=other)
    refused(
        r"pairs = \[\(0, 1\)\]: must be of 1 encoder and 1 target calls",
        (encoder, x),
        (other, y),
        target=other,
        pairs=[(0, 1)],
    )
    refused(
        "predictor = 0 calls in a step: must be one for each of 1 pairs",
        (encoder, x),
        (other, y),
        target=other,
        predictor=predictor,
    )
    wide = nn.Linear(4, 5)
    refused(
        r"predictor = predictions \(16, 5\)", (encoder, x), (other, y), (wide, torch.zeros(16, 4)),
        target=other, predictor=wide,
    )  # fmt: skip


def test_embeddings_are_read_out_of_what_a_module_gives() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = MLP((6, 8, 4), "relu", seed=1).float()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"tokens": self.inner(x)}

    encoder, x = Wrapped(), batch()[0]
    with pytest.raises(InputError, match="read = dict: must pick a tensor"):
        once(Wrapped())
    for read, message in (
        (lambda out: out["tokens"][0], "read = torch.float32 of shape"),
        (lambda out: 1.0, "read = float"),
    ):
        with pytest.raises(InputError, match=message):
            once(Wrapped(), read=read)
    found = once(encoder, read=lambda out: out["tokens"]).latest
    assert found is not None
    with torch.no_grad():
        z = Wrapped()(x)["tokens"].double()
    assert found.moments.arrays["context_moment"] == pytest.approx((z.T @ z / 16).numpy(), abs=1e-13)
