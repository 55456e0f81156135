"""The recorder as a callback of Lightning. Needs ``lightning``: pip install 'jepalign[examples]'."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from jepalign.errors import InputError
from jepalign.simulations.recording import Recorder
from jepalign.simulations.recording.pairing import Mask
from jepalign.simulations.recording.watched import Below


class RecorderCallback(Callback):
    """Record the training of a LightningModule by :class:`jepalign.simulations.recording.Recorder`.

    A step is a batch of the training loop; validation and testing are not seen. A run that is resumed from a checkpoint
    goes on counting where the checkpoint stood, with a new window.

    Parameters
    ----------
    encoder : str
        Name of the encoder in the module, as in "student.backbone".
    predictor, target : str, optional
        Names of predictor and target encoder; None: there is none.
    below : "found", sequence of str, or None
        As for ``Recorder``, layers by their names in the module.
    mask : callable, optional
        Gives the mask of a batch (``Recorder.step``).
    settings : mapping, optional
        As for ``Recorder``; ``steps`` is the trainer's estimate unless it is stated.
    **options
        What else ``Recorder`` takes: ``out``, ``every``, ``window``, ``pairs``, ``read`` ... A name that it does not take
        raises ``TypeError`` when training starts.

    Attributes
    ----------
    recorder : Recorder or None
        Of the training that runs or ran last.
    """

    def __init__(
        self,
        encoder: str,
        predictor: str | None = None,
        target: str | None = None,
        *,
        below: Sequence[str] | Literal["found"] | None = "found",
        mask: Callable[[Any], Mask] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.recorder: Recorder | None = None
        self._encoder, self._others = encoder, {"predictor": predictor, "target": target}
        self._below = below
        self._mask, self._settings, self._options = mask, dict(settings or {}), options
        self._start = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach; raises ``InputError`` if the module has no part of a name."""
        parts = {key: None if name is None else _part(pl_module, key, name) for key, name in self._others.items()}
        below: Below = None if self._below is None else "found"
        if self._below is not None and self._below != "found":
            below = [_part(pl_module, "below", name) for name in self._below]
        planned = trainer.estimated_stepping_batches
        settings = {"steps": int(planned)} if planned < float("inf") else {}
        self.recorder = Recorder(
            _part(pl_module, "encoder", self._encoder),
            optimizer=trainer.optimizers,
            settings=settings | self._settings,
            start=self._start,
            below=below,
            **parts,
            **self._options,
        )
        self.recorder.pause()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take notice of what the modules do in this batch."""
        if self.recorder is not None:
            self.recorder.resume()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make the recorder's step, and hand the numbers of a record to the trainer's logger."""
        if self.recorder is None:
            return
        mask = self._mask(batch) if self._mask is not None and self.recorder.due else None
        record = self.recorder.step(mask=mask)
        self.recorder.pause()
        if record is not None and trainer.logger is not None:
            metrics = {f"jepalign/{name}": value for name, value in record.summary().items()}
            trainer.logger.log_metrics(metrics, step=record.step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a record of what is left, and take the hooks off."""
        if self.recorder is not None:
            self.recorder.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the hooks off."""
        if self.recorder is not None:
            self.recorder.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps made."""
        return {"steps": self._start if self.recorder is None else self.recorder.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self._start = int(state_dict["steps"])


def _part(module: LightningModule, key: str, name: str) -> nn.Module:
    """Return the part of a module by its name."""
    try:
        return module.get_submodule(name)
    except AttributeError as problem:
        raise InputError(key, name, f"must name a part of {type(module).__name__}") from problem
