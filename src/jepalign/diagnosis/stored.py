"""Arrays that lie in files, read from the front in blocks of rows: they need not fit into memory."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from jepalign.errors import InputError

Array = NDArray[np.float64]

BLOCK = 2**20  # numbers of a block in float64: 8 MiB
WHOLE = 2**27  # numbers of an array that is read at once: 1 GiB


class Stored(Protocol):
    """An array in a file.

    Attributes
    ----------
    name : str
        What the file calls it.
    shape : tuple of int
        Its shape.
    kind : str
        Its type of number in the file, such as float16.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102

    def blocks(self, rows: int) -> Iterator[Array]:
        """Yield the array in float64 from its first row to its last, ``rows`` at a time."""
        ...


@dataclass(frozen=True, eq=False)
class RawArray:
    """Numbers that lie in a file one behind the other, in rows.

    Attributes
    ----------
    name, shape, kind :
        As in ``Stored``; kinds are NumPy's, and bfloat16.
    order : {"<", ">", "="}
        Which byte comes first.
    open : callable
        Opens a stream for a ``with`` block.
    start : int
        Bytes before the first number.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    order: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    start: int

    @property
    def size(self) -> int:
        """How many bytes the numbers take."""
        return math.prod(self.shape) * (2 if self.kind == "bfloat16" else np.dtype(self.kind).itemsize)

    def blocks(self, rows: int) -> Iterator[Array]:
        """Yield the array in float64, ``rows`` rows at a time; ``InputError`` if the file ends before it does."""
        count = self.shape[0] if self.shape else 1
        width = math.prod(self.shape[1:])
        item = self.size // max(count * width, 1)
        with self.open() as stream:
            stream.seek(self.start)
            for first in range(0, count, rows):
                taken = min(rows, count - first)
                data = _exactly(stream, taken * width * item, self.name)
                yield self._numbers(data).reshape(taken, *self.shape[1:])

    def _numbers(self, data: bytes) -> Array:
        with np.errstate(invalid="ignore"):  # signalling NaNs are counted later
            if self.kind == "bfloat16":
                high = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
                return high.view(np.float32).astype(np.float64)
            # NumPy's own names of byte orders are signs.
            return np.frombuffer(data, dtype=self.order + np.dtype(self.kind).str[1:]).astype(np.float64)


def whole(stored: Stored) -> Array:
    """Return a stored array at once, of its shape; ``InputError`` if it has more than 2²⁷ numbers."""
    if math.prod(stored.shape) > WHOLE:
        raise InputError(stored.name, f"array of shape {stored.shape}", f"must have at most {WHOLE} numbers")
    if not stored.shape:
        return next(iter(stored.blocks(1))).reshape(())
    parts = list(stored.blocks(max(stored.shape[0], 1)))
    return parts[0] if parts else np.zeros(stored.shape)


def _exactly(stream: IO[bytes], size: int, name: str) -> bytes:
    parts: list[bytes] = []
    left = size
    while left:
        part = stream.read(left)
        if not part:
            raise InputError(name, f"{left} bytes missing", "must be whole in its file")
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
