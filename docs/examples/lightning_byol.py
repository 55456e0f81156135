"""BYOL on handwritten digits, in Lightning, recorded by a callback: ``python lightning_byol.py FOLDER``.

Needs ``pip install 'jepalign[examples]'``. The last layer of the encoder is linear without bias, so that λ, σ and the
weight of every dimension are measured. ``jepalign diagnose FOLDER`` reads what is written.
"""

import copy
import sys
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jepalign.datasets import digits, two_views
from jepalign.simulations.lightning import RecorderCallback
from jepalign.simulations.recording import Record

MOMENTUM = 0.99


class BYOL(LightningModule):
    """Both views of a digit predict each other's target."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, width, bias=False)
        )
        self.predictor = nn.Linear(width, width, bias=False)
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return ½E‖ẑ − z̄‖² over both orders."""
        predictions = [self.predictor(self.encoder(view)) for view in batch]
        with torch.no_grad():
            targets = [self.target(view) for view in batch]
        errors = [
            (prediction - target).square().sum(1).mean() / 2
            for prediction, target in zip(predictions, reversed(targets), strict=True)
        ]
        return (errors[0] + errors[1]) / 2

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the target follow."""
        with torch.no_grad():
            for mine, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                mine.lerp_(online, 1 - MOMENTUM)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return plain gradient descent, with weight decay."""
        parameters = [*self.encoder.parameters(), *self.predictor.parameters()]
        return torch.optim.SGD(parameters, lr=0.05, weight_decay=1e-3)


def main(out: str, steps: int = 1000) -> Record:
    """Train, write records into the folder ``out``, and return the last one."""
    seed_everything(0, verbose=False)
    views = [torch.from_numpy(view).float() for view in two_views(digits().images, noise=0.1, mask=0.25, seed=0)]
    loader = DataLoader(TensorDataset(*views), batch_size=256, shuffle=True, drop_last=True)
    recorder = RecorderCallback(
        "encoder",
        "predictor",
        "target",
        out=out,
        # Both modules are called on x and then on y: the target of the one is the other's.
        pairs=((0, 1), (1, 0)),
        settings={"ema_momentum": MOMENTUM, "loss": "half"},
    )
    trainer = Trainer(
        max_steps=steps,
        callbacks=[recorder],
        accelerator="auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(BYOL(), loader)
    assert recorder.recorder is not None
    assert recorder.recorder.latest is not None
    return recorder.recorder.latest


if __name__ == "__main__":
    for name, value in main(sys.argv[1]).summary().items():
        print(f"{name:26} {value:.4g}")
