"""The callback in Lightning's loop: it records what a plain loop does, sees no validation, and changes nothing."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jepalign.errors import InputError
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.lightning import RecorderCallback
from jepalign.simulations.recording import Recorder

pytestmark = [
    # Lightning's own: a deprecated function of PyTorch that it calls, and advice on speed.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:GPU available but not used"),
]

BATCH = 8


def data(seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    y = x + 0.5 * torch.randn(40, 6, generator=generator, dtype=torch.float64)
    return TensorDataset(x, y, torch.rand(40, generator=generator) < 0.7)


class Module(LightningModule):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.student = nn.ModuleDict({"backbone": MLP((6, 8, 4), "relu", seed=1)})
        self.predictor = linear_predictor(4, seed=2)
        self.teacher = copy.deepcopy(self.student["backbone"]).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)

    def loss(self, batch: list[Tensor]) -> Tensor:
        x, y, _ = batch
        return (self.predictor(self.student["backbone"](self.dropout(x))) - self.teacher(y)).square().sum(1).mean() / 2

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        follow(self.teacher, self.student)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([*self.student.parameters(), *self.predictor.parameters()], lr=0.05, weight_decay=1e-2)


def follow(target: nn.Module, encoder: nn.Module) -> None:
    with torch.no_grad():
        for mine, online in zip(target.parameters(), encoder.parameters(), strict=True):
            mine.lerp_(online, 0.1)


def fit(
    folder: Path,
    *callbacks: RecorderCallback,
    module: Module | None = None,
    epochs: int = 2,
    logger: Any = False,
    **options: Any,
) -> Module:
    seed_everything(3, verbose=False)
    module = module or Module()
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=logger,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, DataLoader(data(0), BATCH), DataLoader(data(1), BATCH), **options)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module


def callback(**options: Any) -> RecorderCallback:
    return RecorderCallback("student.backbone", "predictor", "teacher", every=3, window=2, **options)


def test_training_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    bare, seen = (fit(tmp_path, *callbacks, module=Module(dropout=0.2)) for callbacks in ((), (callback(),)))
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), seen.parameters(), strict=True))
    assert not seen.teacher._forward_hooks  # pyright: ignore[reportPrivateUsage]


def test_it_records_what_a_plain_loop_does(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="log", version=0, flush_logs_every_n_steps=1)
    recorder = callback(out=tmp_path / "run", mask=lambda batch: batch[2], settings={"ema_momentum": 0.9})
    fit(tmp_path, recorder, logger=logger)

    plain = Module()
    optimizer = plain.configure_optimizers()
    own = Recorder(
        plain.student["backbone"], plain.predictor, target=plain.teacher, every=3, window=2, out=tmp_path / "plain",
        optimizer=optimizer, settings={"ema_momentum": 0.9, "steps": 10},
    )  # fmt: skip
    with own:
        for _ in range(2):
            for batch in DataLoader(data(0), BATCH):
                optimizer.zero_grad()
                plain.loss(batch).backward()
                optimizer.step()
                own.step(mask=batch[2])
                # Lightning asks its callbacks before the module.
                follow(plain.teacher, plain.student)
    names = [path.name for path in sorted((tmp_path / "plain").iterdir())]
    assert names == ["moments-00000004.npz", "moments-00000010.npz", "run.json"]
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == names
    for name in names[:2]:
        ours, theirs = np.load(tmp_path / "plain" / name), np.load(tmp_path / "run" / name)
        assert ours.keys() == theirs.keys()
        # The same operations in the same order. That no validation is seen is in here, and that the mask is.
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    assert (tmp_path / "plain" / "run.json").read_text() == (tmp_path / "run" / "run.json").read_text()
    assert len(np.load(tmp_path / "run" / names[0])["below"]) == 1
    assert "jepalign/effective_rank" in (tmp_path / "log" / "version_0" / "metrics.csv").read_text()


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    first = callback(out=tmp_path / "run")
    fit(tmp_path / "state", first, epochs=1)
    second = callback(out=tmp_path / "run")
    fit(tmp_path / "again", second, epochs=2, ckpt_path=tmp_path / "state" / "end.ckpt", weights_only=True)
    assert second.recorder is not None
    assert second.recorder.steps == 10
    assert [path.stem for path in sorted((tmp_path / "run").glob("*.npz"))] == [
        "moments-00000004", "moments-00000010",
    ]  # fmt: skip


def test_a_name_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"target = tutor: must name a part of Module"):
        fit(tmp_path / "none", RecorderCallback("student.backbone", "predictor", "tutor"))


def test_layers_below_are_named_as_parts_are(tmp_path: Path) -> None:
    for number, (below, rates) in enumerate(((["student.backbone.backbone.0"], 1), ((), 0), (None, None))):
        fit(tmp_path, callback(out=tmp_path / f"{number}", below=below), epochs=1)
        with np.load(tmp_path / f"{number}" / "moments-00000004.npz") as arrays:
            assert (len(arrays["below"]) if "below" in arrays else None) == rates
    with pytest.raises(InputError, match=r"below = student.none: must name a part of Module"):
        fit(tmp_path, callback(below=["student.none"]))


def test_after_a_failure_nothing_is_watched(tmp_path: Path) -> None:
    class Failing(Module):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            if batch_idx == 3:
                raise RuntimeError("lost")
            return super().training_step(batch, batch_idx)

    module = Failing()
    with pytest.raises(RuntimeError, match="lost"):
        fit(tmp_path, callback(out=tmp_path / "run"), module=module)
    assert not module.student["backbone"]._forward_hooks  # pyright: ignore[reportPrivateUsage]
    assert not list((tmp_path / "run").iterdir())
