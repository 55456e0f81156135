"""Stored measurements: arrays, and a table of rows that say what was predicted and what was observed."""

import json
import os
import zipfile
import zlib
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from jepalign.errors import InputError
from jepalign.storage import output_directory, write_json, written_whole

COLUMNS = ("experiment", "architecture", "predicted", "observed", "error", "criterion", "verdict", "file")
VERDICTS = ("holds", "fails")
# Arguments of numpy.savez that stand beside the arrays.
RESERVED = ("file", "allow_pickle")
# What reading a damaged archive or table can raise: NumPy, zipfile (encryption and unknown compression are
# RuntimeErrors), zlib, the operating system (a seek to nowhere) and json each have their own.
DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Measurement:
    """The result of one experiment.

    Attributes
    ----------
    name : str
        In kebab-case; the files are NAME.npz and NAME.json.
    arrays : dict of str to ndarray
        Plain arrays, numbers or text, no objects; the keys are identifiers.
    rows : list of dict
        One claim each, with the keys ``COLUMNS``; ``verdict`` is "holds" or "fails". A number may be None where a run
        left none.
    criterion : str
        What decides the verdicts, in words.
    provenance : dict
        Command, seed, device, date, versions and commit (:func:`jepalign.storage.provenance`).

    Raises
    ------
    InputError
        If the name is not a plain file name, an array is none or holds objects, a key is no identifier, or a row lacks
        a column or has another verdict.
    """

    name: str
    arrays: dict[str, np.ndarray]
    rows: list[dict[str, Any]]
    criterion: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name)
        for key, values in self.arrays.items():
            if not key.isidentifier() or key in RESERVED:
                raise InputError("arrays", repr(key), f"must be named by identifiers other than {', '.join(RESERVED)}")
            if not isinstance(values, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InputError(f"arrays[{key!r}]", type(values).__name__, "must be a NumPy array")
            if values.dtype.hasobject:
                raise InputError(f"arrays[{key!r}]", values.dtype, "must hold numbers or text, not Python objects")
        for index, row in enumerate(self.rows):
            if set(row) != set(COLUMNS):
                raise InputError(f"rows[{index}]", sorted(row), f"must have the columns {', '.join(COLUMNS)}")
            if row["verdict"] not in VERDICTS:
                raise InputError(
                    f"rows[{index}]['verdict']", repr(row["verdict"]), f"must be one of {', '.join(VERDICTS)}"
                )


def save(measurement: Measurement, directory: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write NAME.npz and NAME.json into ``directory``, both whole or neither, and return their paths.

    The archive holds no pickled objects. Numbers in JSON that are not finite are written as null.

    Raises
    ------
    InputError
        If ``directory`` is a file or cannot be written to, or rows or provenance hold what JSON has no type for.
    """
    parts = {
        "name": measurement.name,
        "rows": _plain("rows", measurement.rows),
        "criterion": measurement.criterion,
        "provenance": _plain("provenance", measurement.provenance),
    }
    folder = output_directory(directory, "directory")
    arrays, table = folder / f"{measurement.name}.npz", folder / f"{measurement.name}.json"
    with written_whole(arrays) as archive, written_whole(table) as text:
        np.savez_compressed(archive, allow_pickle=False, **measurement.arrays)
        write_json(text, parts)
    return arrays, table


class _Stored(dict[str, np.ndarray]):
    """Arrays of a file; one that an earlier version did not write yet is missing with the command that makes it."""

    def __init__(self, file: str, make: str, arrays: dict[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self._file, self._make = file, make

    def __missing__(self, key: str) -> np.ndarray:
        raise InputError(
            "name", self._file, f"has no array {key!r}: it is from another version; make it with: {self._make}"
        )


def load(name: str, directory: str | os.PathLike[str] | None = None, *, command: str | None = None) -> Measurement:
    """Read a measurement from ``directory``, by default from those that ship with the package.

    Parameters
    ----------
    name : str
        The files are NAME.npz and NAME.json.
    directory : path, optional
        Where they lie.
    command : str, optional
        What makes them, by default the experiment of this name.

    Raises
    ------
    InputError
        If it is not there; the message names the command that makes it. Also if its files cannot be read, and later for
        an array that is asked of it and that it does not have.
    """
    _check_name(name)
    make = command or f"jepalign simulate {name} --out DIR"
    folder: Traversable = files("jepalign.simulations") / "measurements" if directory is None else Path(directory)
    arrays_file, table_file = folder / f"{name}.npz", folder / f"{name}.json"
    for file in (arrays_file, table_file):
        if not file.is_file():
            where = str(folder) if directory is not None else "the measurements of the package"
            raise InputError("name", name, f"has no file {file.name} in {where}; make it with: {make}")
    try:
        with arrays_file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = _Stored(arrays_file.name, make, {key: archive[key] for key in archive.files})
        parts = json.loads(table_file.read_text(encoding="utf-8"))
        return Measurement(
            name=parts["name"],
            arrays=arrays,
            rows=parts["rows"],
            criterion=parts["criterion"],
            provenance=parts["provenance"],
        )
    except DAMAGE as problem:
        reason = " ".join(str(problem).split())
        raise InputError("name", name, f"has damaged files ({reason}); make them with: {make}") from problem


def _check_name(name: str) -> None:
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise InputError("name", repr(name), "must be letters, digits and hyphens")


def _plain(name: str, value: Any) -> Any:
    """Return ``value`` in JSON's types: NumPy scalars and arrays as Python's, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): _plain(f"{name}[{key!r}]", part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{name}[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(name, value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise InputError(name, type(value).__name__, "must be numbers, text, lists and dictionaries of them")
