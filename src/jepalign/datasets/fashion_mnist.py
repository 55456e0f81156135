"""Fashion-MNIST from files on disk, in the IDX format of MNIST."""

import gzip
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepalign.errors import InputError

# Where Debian's package dataset-fashion-mnist puts it; the variable names another folder.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VARIABLE = "JEPALIGN_FASHION_MNIST"
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UNSIGNED_BYTE = 8
_LARGEST = 1 << 30  # bytes of one array; ten times all of Fashion-MNIST


@dataclass(frozen=True)
class FashionMNIST:
    """Images of clothes, 28 × 28.

    Attributes
    ----------
    images : ndarray of shape (n, 784), float32
        Grey levels, row by row, in [0, 1].
    labels : ndarray of shape (n,), int64
        The kind, 0 to 9.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def fashion_mnist(part: str = "train", path: str | Path | None = None) -> FashionMNIST:
    """Return a part of Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 60000 images to train, 10000 to test.

    Parameters
    ----------
    part : {"train", "test"}
        Which part.
    path : str or Path, optional
        The folder with the four IDX files, gzipped or not. Default: the environment variable ``JEPALIGN_FASHION_MNIST`` or, without
        it, where Debian's package ``dataset-fashion-mnist`` puts them. Nothing is downloaded.

    Raises
    ------
    InputError
        For another part, if a file is missing, or is not what its header says.
    """
    if part not in _FILES:
        raise InputError("part", repr(part), "must be 'train' or 'test'")
    folder = Path(path if path is not None else os.environ.get(VARIABLE, DEBIAN))
    images, labels = (_read_idx(_located(folder, name)) for name in _FILES[part])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        shapes = f"images of shape {images.shape} and labels of shape {labels.shape}"
        raise InputError("path", f"{folder}: {shapes}", "must be as many images as labels")
    return FashionMNIST(
        images=images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels=labels.astype(np.int64)
    )


def _located(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    hint = f"install Debian's dataset-fashion-mnist, or name a folder by {VARIABLE}"
    raise InputError("path", str(folder), f"must hold {name}.gz or {name} ({hint})")


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in an IDX file: two zero bytes, a type, the number of axes, their lengths, the data."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UNSIGNED_BYTE or not 1 <= head[3] <= 3:
                raise InputError("path", str(path), "must be an IDX file of unsigned bytes")
            lengths = file.read(4 * head[3])
            if len(lengths) < 4 * head[3]:
                raise InputError("path", str(path), "must be a whole IDX file: its header is cut off")
            shape = struct.unpack(f">{head[3]}I", lengths)
            size = int(np.prod(shape, dtype=object))
            if size > _LARGEST:
                raise InputError("path", f"{path}: an array of shape {shape}", f"must hold at most {_LARGEST} bytes")
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError("path", str(path), f"must be readable: {problem}") from problem
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data)}"
        raise InputError("path", f"{path}: {found} bytes of data", f"must have the {size} bytes of its header")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
