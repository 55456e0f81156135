"""The formats of a record: .npz, .npy, .safetensors and .pt files, opened without running anything that is in them."""

import json
import os
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from jepalign.diagnosis.stored import RawArray, Stored
from jepalign.errors import InputError

ENDINGS = (".npz", ".safetensors", ".pt")
HEADER = 2**24  # bytes of a safetensors header, at most
LINE = 2**14  # bytes of a .npy header, at most
# Deflated embeddings shrink by a factor of some ten at best; an archive made to exhaust its reader, by up to a thousand.
LARGE, RATIO = 2**26, 100

_SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
}


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Turn whatever a damaged file makes its parser raise into one ``InputError`` that names the file."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as problem:
        raise InputError("file", path.name, "must fit into the memory that there is, or be read in rows") from problem
    # Parsers of files that somebody has tampered with raise nearly everything: zlib.error, struct.error, KeyError, ...
    except Exception as problem:
        what = " ".join(str(problem).split())[:160] or type(problem).__name__
        raise InputError("file", path.name, f"must be a whole {path.suffix or 'file'} ({what})") from problem


def arrays(path: Path, names: frozenset[str]) -> Mapping[str, Stored]:
    """Return those arrays of a file, or of a folder of .npy files, that are among ``names``; numbers are read later.

    Raises
    ------
    InputError
        For another format, and for a file that is damaged, pickled, encrypted, or claims to hold more than it does.
    """
    with reading(path):
        if path.is_dir():
            # A pipe of such a name would be waited for.
            return {file.stem: _npy(file) for file in path.glob("*.npy") if file.stem in names and file.is_file()}
        openers: Mapping[str, Callable[[Path, frozenset[str]], Mapping[str, Stored]]] = {
            ".npz": _npz,
            ".safetensors": _safetensors,
            ".pt": _checkpoint,
        }
        if path.suffix not in openers:
            raise InputError("file", path.name, f"must end in .npy or {', '.join(ENDINGS)}")
        return openers[path.suffix](path, names)


def _npy(path: Path) -> Stored:
    with path.open("rb") as stream:
        found = _described(path.stem, stream, lambda: path.open("rb"))
    _check_size(found, path.stat().st_size - found.start)
    return found


def _npz(path: Path, names: frozenset[str]) -> Mapping[str, Stored]:
    found: dict[str, Stored] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name not in names or name == entry.filename:
                continue
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(
                    name, f"compression {entry.compress_type}", "must be stored or deflated, as NumPy does"
                )
            if entry.file_size > LARGE and entry.file_size > RATIO * entry.compress_size:
                size = f"{entry.file_size} bytes packed into {entry.compress_size}"
                raise InputError(name, size, f"must not shrink by more than a factor of {RATIO}")
            with archive.open(entry) as stream:
                array = _described(name, stream, _member(path, entry.filename))
            _check_size(array, entry.file_size - array.start)
            found[name] = array
    return found


def _member(path: Path, member: str) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def opened() -> Generator[IO[bytes], None, None]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            yield stream

    return opened


def _described(name: str, stream: IO[bytes], opener: Callable[[], AbstractContextManager[IO[bytes]]]) -> RawArray:
    """Return the array that a .npy header describes, at the beginning of a stream."""
    layout: Any = np.lib.format
    version = layout.read_magic(stream)
    readers = {(1, 0): layout.read_array_header_1_0, (2, 0): layout.read_array_header_2_0}
    if version not in readers:
        raise InputError(name, f".npy version {version}", "must be 1.0 or 2.0")
    shape, columns_first, dtype = readers[version](stream, max_header_size=LINE)
    if dtype.hasobject:
        raise InputError(name, "pickled objects", "must be numbers: a pickle can run code and is never opened")
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise InputError(name, f"array of {dtype}", "must hold real numbers of at most 64 bits")
    if columns_first and len(shape) > 1:
        raise InputError(
            name, "array in column order", "must be in row order (numpy.ascontiguousarray) to be read once"
        )
    return RawArray(name, tuple(map(int, shape)), dtype.name, dtype.byteorder.replace("|", "="), opener, stream.tell())


def _check_size(array: RawArray, there: int) -> None:
    if min(array.shape, default=1) < 0 or array.size != there:
        value = f"array of shape {array.shape} and {array.kind} in {there} bytes"
        raise InputError(array.name, value, f"must take {array.size} bytes: the file is damaged or cut off")


def _safetensors(path: Path, names: frozenset[str]) -> Mapping[str, Stored]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER, size - 8):
            raise InputError("file", path.name, f"must have a header of 2 to {HEADER} bytes, and claims {length}")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise InputError("file", path.name, "must describe its arrays by name")
    found: dict[str, Stored] = {}
    for name in names & set(header):
        entry = header[name]
        kind, shape, (begin, end) = _SAFETENSORS.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
        if kind is None:
            raise InputError(name, f"array of {entry['dtype']}", f"must be one of {', '.join(_SAFETENSORS)}")
        if not all(type(part) is int and part >= 0 for part in (*shape, begin, end)):
            raise InputError(
                name, f"array of shape {shape}", "must have sizes and offsets that are integers, at least 0"
            )
        array = RawArray(name, tuple(shape), kind, "<", lambda: path.open("rb"), 8 + length + begin)
        _check_size(array, min(end, size - 8 - length) - begin)
        found[name] = array
    return found


def _checkpoint(path: Path, names: frozenset[str]) -> Mapping[str, Stored]:
    try:
        from jepalign.simulations.checkpoints import tensors
    except ImportError as problem:
        raise InputError("file", path.name, "needs PyTorch to be read (pip install 'jepalign[torch]')") from problem
    return tensors(os.fspath(path), names)
