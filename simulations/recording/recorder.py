"""The recorder: it watches a training run and writes, window by window, what ``jepalign diagnose`` reads."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from jepalign.errors import InputError
from jepalign.linear_models.checks import count as integer
from jepalign.simulations.recording.pairing import Mask, Pair, Pairs, masks_of, rows_of
from jepalign.simulations.recording.records import Record, record_folder, write_run
from jepalign.simulations.recording.settings import check_settings, ends_in_bias, optimizer_settings
from jepalign.simulations.recording.sums import Sums
from jepalign.simulations.recording.watched import Below, Watched

# Rates that a schedule changes: the largest is the one that the run is described by.
PEAKS = ("learning_rate", "predictor_learning_rate")


class Recorder:
    """Record a joint-embedding training run, without a second pass and without changing it.

    Hooks keep what encoder, target and predictor give in every ``every``-th step; :meth:`step` adds it to sums of O(d²)
    numbers. After ``window`` observed steps the means over these are one record, and sums begin anew: records of
    disjoint windows are independent, their ``count`` is a number of rows, and features of long ago do not enter. A mean
    over a longer time is the mean of records; one that forgets gradually could not be taken apart again.

    Rows of an observed step are kept until :meth:`step`, which makes sums of them; of what the first layer below is given,
    64 at most are kept for the record. Nothing random is drawn, no gradient of the training is made, no buffer is touched;
    training is bit for bit the same with a recorder as without (under ``torch.compile`` an observed step is another graph,
    and the same to rounding). Attach before a compiled module is first called: its graph has the hooks of that time. A deep
    copy of a watched module is not watched.

    Parameters
    ----------
    encoder : nn.Module
        The online encoder; gives embeddings (n, ..., k), the axes between being counted as rows.
    predictor : nn.Module, optional
        None: no predictor, P = I.
    target : nn.Module, optional
        Target encoder. None: the encoder itself, called on both views of a step.
    out : str or Path, optional
        Folder for the records, ``moments-STEP.npz``, and the settings, ``run.json``. None: records are only returned.
    every : int
        Observe every so-manieth step, from the first.
    window : int
        Observed steps in a record. A covariance needs more rows than dimensions: ``window`` times the batch beyond k.
    pairs : sequence of (int, int), optional
        Which call of the encoder in a step belongs to which of the target, counted from 0; the predictor's calls are
        taken to be in the order of the pairs. None: one call of each; without a target both orders of two calls. A
        symmetrised BYOL step that calls both on x and then y has ((0, 1), (1, 0)). An empty sequence: no hooks, and
        :meth:`observe` is called instead.
    last : nn.Linear, optional
        Last layer of the encoder; by default the last linear module it registers, if its output is the embedding.
    features : bool
        Whether to keep the inputs of the last layers, (h, h); without, embeddings are all that is recorded.
    below : "found", sequence of nn.Module, or None
        Layers below the last one, whose rates κ = inputs/‖θ‖² a forecast moves the features with. "found": those that are trained, where
        the encoder is seen to be a plain stack, linear layers called one after the other with functions of each entry between, all at
        the learning rate and weight decay of the last; else none, as behind residual streams, attention, convolutions and
        normalisations κ stands for nothing. Modules, first to last: these, on your word; of a weight with more than two axes all but
        the first are inputs. An empty sequence: nothing below is trained, and features stay. None: not recorded. Of a stack that is
        found the rates ν of the biases are recorded as well, from 64 rows at most of the first pair's context in the last observed step.
    read : callable, optional
        Picks the embeddings, a tensor, out of what a module gives where that is something else.
    optimizer : Optimizer or iterable of them, optional
        Where learning rates and weight decays are read.
    settings : mapping, optional
        What the optimiser does not say or what wins over it: ``ema_momentum``, ``steps`` (all that are planned: a diagnosis
        forecasts their end), ``loss``, ``batch_size`` ...
    rows : int, optional
        At most so many rows of a pair, taken at equal distances. None: all.
    precision : torch.dtype
        In which rows are multiplied. float64 resolves the spectrum of collapsed embeddings, whatever reduced precision
        float32 products are allowed; float32 is faster on GPUs that are slow in float64.
    start : int
        Steps made before, in a run that goes on.
    group : ProcessGroup, optional
        Of a distributed training; None: the default one, if there is one. Sums are added over its processes when a
        record is made, so that all of them must call :meth:`step` equally often, and the first of them writes; rates of biases are
        those of its own rows.

    Raises
    ------
    InputError
        If the encoder has no linear layer and ``features`` are wanted, an argument is out of its range, a module of
        ``below`` has no weight, or ``out`` holds records of another run.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module | None = None,
        *,
        target: nn.Module | None = None,
        out: str | Path | None = None,
        every: int = 10,
        window: int = 10,
        pairs: Pairs | None = None,
        last: nn.Linear | None = None,
        features: bool = True,
        below: Below = "found",
        read: Callable[[Any], object] | None = None,
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        settings: Mapping[str, Any] | None = None,
        rows: int | None = None,
        precision: torch.dtype = torch.float64,
        start: int = 0,
        group: distributed.ProcessGroup | None = None,
    ) -> None:
        self.every, self.window = integer("every", every), integer("window", window)
        self.rows = None if rows is None else integer("rows", rows)
        self.steps = integer("start", start, least=0)
        if precision not in (torch.float32, torch.float64):
            raise InputError("precision", precision, "must be torch.float32 or torch.float64")
        self.precision, self.pairs, self.group = precision, pairs, group
        self.latest: Record | None = None
        self._given = check_settings(settings or {})
        self._optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer or [])
        self._batch: int | None = None
        self._known: dict[str, Any] = {}
        self._sums, self._observed, self._fresh, self._paused = Sums(precision), 0, False, False
        self._watched = Watched(encoder, predictor, target, last=last, features=features, read=read, below=below)
        self.out = None if out is None else record_folder(out, start)
        if pairs is None or len(pairs):
            self._watched.attach()
        self._arm()

    @property
    def measures(self) -> str:
        """What is recorded of the encoder: its last layer, or its embeddings alone and why; known after the first observed step."""
        return self._watched.measures

    @property
    def why_not_below(self) -> str | None:
        """Why the rates of the layers below the last one were not in the latest record; None if they were."""
        return self._watched.why_not_below

    @property
    def why_not_biases(self) -> str | None:
        """Why the rates of the biases of these layers were not in the latest record; None if they were, or there is no such layer."""
        return self._watched.why_not_biases

    @property
    def due(self) -> bool:
        """Whether the present step is to be observed."""
        return self.steps % self.every == 0

    def step(self, *, mask: Mask = None) -> Record | None:
        """Tell that a training step has been made; call it once a step, after the calls of the modules.

        Parameters
        ----------
        mask : Tensor of shape (n, ...) or sequence of them, optional
            Rows of an observed step count where it is not 0, in every pair or in each its own: padding does not.

        Returns
        -------
        Record or None
            The record, if this step completed one.

        Raises
        ------
        InputError
            In an observed step: if calls cannot be paired, shapes do not match, or ``last`` does not give the embedding.
        """
        try:
            if self._watched.on:
                self._add(self._watched.taken(self.pairs), mask)
        finally:
            self._watched.forget()
        self.steps += 1
        self._observed += self._fresh
        self._fresh = False
        record = self._write() if self._observed == self.window else None
        self._arm()
        return record

    def observe(
        self,
        context: Tensor,
        target: Tensor,
        prediction: Tensor | None = None,
        *,
        features: Tensor | None = None,
        target_features: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Add pairs that hooks cannot find, such as tokens picked out by position.

        For steps that are ``due``, before the optimiser moves the weights.

        Parameters
        ----------
        context, target, prediction : Tensor of shape (n, ..., k)
            Embeddings row by row.
        features, target_features : Tensor of shape (n, ..., h), optional
            Inputs of the last layers.
        mask : Tensor of shape (n, ...), optional
            Rows count where it is not 0.

        Raises
        ------
        InputError
            If shapes do not match, or a prediction is missing or not expected.
        """
        if (prediction is None) != (self._watched.predictor is None):
            raise InputError(
                "prediction", type(prediction).__name__, "must be given if, and only if, there is a predictor"
            )
        self._add([self._watched.given(context, target, prediction, features, target_features)], mask)

    def pause(self) -> None:
        """Take no notice of what modules do, as in a validation between two steps, until :meth:`resume`."""
        self._paused = True
        self._arm()

    def resume(self) -> None:
        """Take notice again."""
        self._paused = False
        self._arm()

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Take no notice of what modules do while the context lasts."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> Record | None:
        """Make a record of what is left, take the hooks off, and return the record; in all processes alike."""
        record = self._write() if self._observed or self._fresh else None
        self.detach()
        return record

    def detach(self) -> None:
        """Take the hooks off, and record nothing more."""
        self._watched.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Other processes may not fail: no collective then.
        if kind is None:
            self.close()
        else:
            self.detach()

    def _arm(self) -> None:
        self._watched.on = self.due and not self._paused

    def _add(self, pairs: Sequence[Pair], mask: Mask) -> None:
        """Add the pairs of one step."""
        masks = masks_of(mask, len(pairs))
        for pair, counted in zip(pairs, masks, strict=True):
            self._sums.add(rows_of(pair, counted, limit=self.rows))
        self._watched.remember(pairs[0], masks[0])
        self._fresh = True
        self._batch = len(pairs[0].context.embedding) * _processes(self.group)

    def _write(self) -> Record:
        moments = self._sums.moments(self.group)
        if moments.count == 0:
            raise InputError("mask", f"no row in {self._observed} observed steps", "must leave some")
        self._sums, self._observed, self._fresh = Sums(self.precision), 0, False
        weights = self._watched.weights(len(moments.arrays["context_mean"]), self._optimizers)
        record = Record.of(self.steps, moments, weights)
        self._learn_settings()
        if self.out is not None and _first_process(self.group):
            record.write(self.out)
            note = {
                "measures": self.measures,
                "why_not_below": self.why_not_below,
                "why_not_biases": self.why_not_biases,
                "every": self.every,
                "window": self.window,
                "pairs": self.pairs,
                "rows": self.rows,
                "precision": str(self.precision),
                "optimizers": [type(optimizer).__name__ for optimizer in self._optimizers],
            }
            write_run(self.out, self.settings, note)
        self.latest = record
        return record

    def _learn_settings(self) -> None:
        seen = self._watched
        weight = _last_matrix(seen.encoder) if seen.layer is None else seen.layer.weight
        predictor = None if seen.predictor is None else _last_matrix(seen.predictor)
        found = optimizer_settings(self._optimizers, weight, predictor)
        for name in PEAKS:
            if name in found:
                found[name] = max(found[name], self._known.get(name, 0.0))
        self._known |= found

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run as far as they are known, in the words of run.json; rates are the largest so far."""
        modules = [module for module in (self._watched.encoder, self._watched.predictor) if module is not None]
        # How many steps have been made is in every record; how many are planned only the user knows.
        found: dict[str, Any] = {"bias": any(ends_in_bias(module) for module in modules)}
        if self._batch is not None:
            found["batch_size"] = self._batch
        if self._watched.target is None:
            found["ema_momentum"] = None
        return found | self._known | self._given


def _last_matrix(module: nn.Module) -> Tensor | None:
    """Return the last parameter with two axes or more: what stands for the module among groups of parameters."""
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    return matrices[-1] if matrices else None


def _processes(group: distributed.ProcessGroup | None) -> int:
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size(group) if together else 1


def _first_process(group: distributed.ProcessGroup | None) -> bool:
    return _processes(group) == 1 or distributed.get_rank(group) == 0
