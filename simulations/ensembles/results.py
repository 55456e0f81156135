"""What an ensemble shows while it trains, and what it leaves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.errors import InputError
from jepalign.simulations.ensembles.optimizers import State
from jepalign.simulations.ensembles.settings import Members
from jepalign.simulations.ensembles.stacks import mapped
from jepalign.simulations.training import Status


@dataclass(frozen=True)
class Snapshot:
    """The members still in training at one moment, A of them; for functions that record statistics.

    Training goes on in the same memory: a tensor that is to outlive the call must be cloned.

    Attributes
    ----------
    step : int
        Steps made.
    index : ndarray of int, shape (A,)
        Which members these are.
    encoder, predictor, target : dict of str to Tensor
        Stacked parameters, (A, ...); ``predictor`` is empty unless it is learnt, ``target`` empty without EMA.
    weight : Tensor of shape (A, k, h)
        W, the last layers.
    network : nn.Module
        The architecture; its own parameters are of no account.
    """

    step: int
    index: np.ndarray
    encoder: Mapping[str, Tensor]
    predictor: Mapping[str, Tensor]
    target: Mapping[str, Tensor]
    weight: Tensor
    network: nn.Module = field(repr=False)

    def embeddings(self, x: Tensor) -> Tensor:
        """Return the embeddings of the same ``x``, (n, d), by every encoder, (A, n, k)."""
        return mapped(self.network, self.encoder, x.to(self.weight), shared=True)


Record = Callable[[Snapshot], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Ensemble:
    """What became of M networks. Of a diverged member the last state within bounds is kept, and it is never left out.

    Attributes
    ----------
    members : Members
        Their constants.
    status : tuple of Status
        ``DIVERGED`` if a loss was not finite or a parameter NaN or larger than ``LOST``, else ``FINISHED``.
    steps : ndarray of int, shape (M,)
        Completed steps; the step at which a member diverged is undone and not counted.
    losses : ndarray of shape (M, T)
        Before every completed step; NaN after a divergence.
    encoder, predictor, target : dict of str to Tensor
        Last parameters, (M, ...), on the CPU; empty where there are none.
    records : dict of str to ndarray
        What ``record`` returned, (M, R, ...); NaN after a divergence.
    """

    members: Members
    status: tuple[Status, ...]
    steps: np.ndarray
    losses: np.ndarray
    encoder: State
    predictor: State
    target: State
    records: dict[str, np.ndarray]

    @property
    def diverged(self) -> int:
        """How many members diverged."""
        return sum(status == Status.DIVERGED for status in self.status)


class Results:
    """Arrays of all members, filled chunk by chunk."""

    def __init__(self, members: int, steps: int, moments: int) -> None:
        self.steps = np.zeros(members, dtype=np.int64)
        self.losses = np.full((members, steps), np.nan)
        self.states: tuple[State, State, State] = ({}, {}, {})
        self.records: dict[str, np.ndarray] = {}
        self.moments = moments

    @torch.no_grad()
    def keep(self, record: Record, snapshot: Snapshot, moment: int) -> None:
        """Write what ``record`` makes of a snapshot at the moment of that number."""
        if len(snapshot.index) == 0:
            return
        for name, value in record(snapshot).items():
            if len(value) != len(snapshot.index):
                raise InputError("record", name, f"must have a first axis of length {len(snapshot.index)}")
            shape = (len(self.steps), self.moments, *value.shape[1:])
            self.records.setdefault(name, np.full(shape, np.nan))[snapshot.index, moment] = value.cpu().numpy()

    def add(self, index: np.ndarray, final: tuple[State, State, State]) -> None:
        """Write the last states of the members ``index``."""
        for mine, theirs in zip(self.states, final, strict=True):
            for name, value in theirs.items():
                mine.setdefault(name, value.new_zeros((len(self.steps), *value.shape[1:])))[index] = value
