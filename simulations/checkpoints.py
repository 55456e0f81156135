"""Tensors saved by PyTorch, read in blocks of rows and without unpickling anything but tensors."""

import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepalign.errors import InputError
from jepalign.simulations.results import numpy


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of a checkpoint, left in its file.

    Attributes
    ----------
    name : str
        What the file calls it.
    tensor : Tensor
        Mapped into memory, on the CPU.
    """

    name: str
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.tensor.shape)

    @property
    def kind(self) -> str:
        """Its type, such as float16."""
        return str(self.tensor.dtype).removeprefix("torch.")

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Yield the tensor as float64 arrays of ``rows`` rows, from its first row to its last."""
        if not self.tensor.ndim:
            yield numpy(self.tensor.to(torch.float64)).reshape(1)
            return
        for part in self.tensor.split(rows):
            yield numpy(part.to(torch.float64))


def tensors(path: str, names: frozenset[str]) -> dict[str, StoredTensor]:
    """Return the tensors of a ``torch.save`` file, a dictionary by name, that are among ``names``.

    Raises
    ------
    InputError
        If the file holds anything but tensors in plain containers (its pickle is then not run), is damaged, is not a
        dictionary, or holds something of these names that is no dense tensor of real numbers.
    """
    if not zipfile.is_zipfile(path):
        raise InputError("file", path, "must be written by torch.save of version 1.6 or later")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as problem:
        raise InputError("file", path, "must hold tensors only: what else a pickle does is not run") from problem
    if not isinstance(found, dict):
        raise InputError("file", path, f"must hold a dictionary of tensors, and holds a {type(found).__name__}")
    chosen: dict[str, StoredTensor] = {}
    for name in names & {key for key in found if isinstance(key, str)}:
        value = found[name]
        if isinstance(value, int | float):
            value = torch.tensor(value)
        if (
            not isinstance(value, Tensor)
            or value.layout is not torch.strided
            or value.is_complex()
            or value.is_quantized
        ):
            raise InputError(name, type(value).__name__, "must be a dense tensor of real numbers")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            # One number can stand for any shape by a stride of 0; reading it would never end.
            raise InputError(name, f"tensor of shape {tuple(value.shape)}", "must be contiguous, not expanded")
        chosen[name] = StoredTensor(name, value.detach())
    return chosen
