"""What a run left behind: a record is one file (or a folder of .npy files), a run is a folder of records in order of step."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jepalign.diagnosis.formats import ENDINGS, arrays, reading
from jepalign.diagnosis.stored import Array, Stored, whole
from jepalign.errors import InputError

EMBEDDINGS = ("context", "target", "prediction")
FEATURES = ("context_features", "target_features")
WEIGHTS = ("predictor", "encoder", "target_encoder")
MEANS = ("count", "context_mean", "target_mean", "context_moment", "target_moment", "cross_moment")
FEATURE_MEANS = tuple(f"features_{name}" for name in MEANS[1:])
EXTRA_MEANS = (
    *("prediction_mean", "prediction_moment", "prediction_context_moment"),
    *("uniformity", "context_fourth", "correction"),
)
# inputs/‖θ‖² of the layers below the last, first to last, none if nothing is trained below: jepalign.linear_models.forecast.layer_rate.
BELOW = "below"
# ‖∂E h/∂b‖²/h of their biases, 0 for none: jepalign.linear_models.forecast.LastLayer.
BIASES = "biases"
NAMES = frozenset((*EMBEDDINGS, *FEATURES, *WEIGHTS, *MEANS, *FEATURE_MEANS, *EXTRA_MEANS, BELOW, BIASES, "step"))

WIDEST = (
    8192  # dimensions of an embedding or a feature: their moments, a few times (2k)² numbers, take ten gigabytes then
)
DEEPEST = 64  # layers below the last that a flow is integrated with


@dataclass(frozen=True, eq=False)
class Record:
    """The arrays of one step of a run, opened and not read.

    Attributes
    ----------
    path : Path
        The file or folder.
    arrays : mapping of str to Stored
        By name; those that are there.
    step : int or None
        The training step, from the array ``step`` or the last number in the file's name that is no part of a word.
    """

    path: Path
    arrays: Mapping[str, Stored]
    step: int | None

    @property
    def has_rows(self) -> bool:
        """Whether there are embeddings row by row, and not only their moments."""
        return "context" in self.arrays

    def rows(self, names: tuple[str, ...]) -> dict[str, Stored]:
        """Return the arrays of paired rows among ``names``."""
        return {name: self.arrays[name] for name in names if name in self.arrays}

    def read(self, name: str) -> Array:
        """Return a whole array, finite; ``InputError`` if it is not."""
        with reading(self.path):
            stored = self.arrays[name]
            found = whole(stored)
        if not _finite(found):
            raise InputError(name, f"{stored.kind} array with NaN or infinity", "must be finite")
        return found

    def number(self, name: str) -> float | None:
        """Return a single number, or None where it is missing or recorded as NaN: not known."""
        if name not in self.arrays:
            return None
        with reading(self.path):
            found = float(whole(self.arrays[name]).ravel()[0])
        return found if abs(found) < float("inf") else None


def open_record(path: Path) -> Record:
    """Open a file, or a folder of .npy files, as a record.

    Raises
    ------
    InputError
        If it cannot be read, embeddings or their moments are missing, or shapes contradict each other.
    """
    found = arrays(path, NAMES)
    if not ({"context", "target"} <= set(found) or set(MEANS) <= set(found)):
        if "context" in found or "target" in found:
            missing = "target" if "context" in found else "context"
            raise InputError("file", path.name, f"must hold {missing} beside the other view")
        raise InputError("file", path.name, f"must hold context and target, or the moments {', '.join(MEANS)}")
    _check_shapes(found)
    record = Record(path, found, None)
    return Record(path, found, _step(record))


def find_records(given: Path) -> list[Path]:
    """Return the records of a file or folder, which may be one: paths, in order of name.

    A .npy file stands for its folder. ``InputError`` if nothing is there, or nothing to read.
    """
    if not given.exists():
        raise InputError("file", str(given), "must exist")
    if given.is_file():
        if given.suffix == ".npy":
            return [given.parent]
        if given.suffix not in ENDINGS:
            raise InputError("file", given.name, f"must be a folder, or end in .npy or {', '.join(ENDINGS)}")
        return [given]
    if not given.is_dir():
        raise InputError("file", str(given), "must be an ordinary file or a folder")
    if _is_record(given):
        return [given]
    found = [path for path in sorted(given.iterdir()) if path.suffix in ENDINGS and path.is_file()]
    found += [path for path in sorted(given.iterdir()) if path.is_dir() and _is_record(path)]
    if not found:
        raise InputError("file", str(given), f"must hold .npy files or records that end in {', '.join(ENDINGS)}")
    return found


def open_run(given: Path) -> list[Record]:
    """Return the records of a file or folder in order of step; those without a step by name, before the others."""
    records = [open_record(path) for path in find_records(given)]
    return sorted(records, key=lambda record: (-1 if record.step is None else record.step, record.path.name))


def _is_record(folder: Path) -> bool:
    return (folder / "context.npy").is_file() or (folder / "context_moment.npy").is_file()


def _step(record: Record) -> int | None:
    if "step" in record.arrays:
        value = float(record.read("step").ravel()[0])
        if not (value >= 0 and value == int(value)):
            raise InputError("step", value, "must be an integer, at least 0")
        return int(value)
    # Not the 16 of vit16: a number of its own, or that of step100.
    numbers = re.findall(r"(?:(?<![A-Za-z0-9])|(?<=step))[0-9]{1,15}", record.path.stem)
    return int(numbers[-1]) if numbers else None


def _finite(values: Array) -> bool:
    return bool(abs(values).max(initial=0.0) < float("inf"))


def _check_shapes(found: Mapping[str, Stored]) -> None:
    """Refuse arrays whose shapes contradict each other; k and h are those of the first that says so."""
    rows: int | None = None
    sizes: dict[str, tuple[int, str]] = {}

    def same(letter: str, size: int, name: str) -> None:
        known, first = sizes.setdefault(letter, (size, name))
        if size != known:
            raise InputError(
                name, f"array of shape {found[name].shape}", f"must have the {letter} = {known} of {first}"
            )
        if not 1 <= size <= WIDEST:
            raise InputError(name, f"array of shape {found[name].shape}", f"must have 1 to {WIDEST} dimensions")

    for name in (*EMBEDDINGS, *FEATURES):
        if name not in found:
            continue
        shape = found[name].shape
        if len(shape) != 2:
            raise InputError(name, f"array of shape {shape}", "must have rows and columns: flatten tokens to rows")
        if rows is not None and shape[0] != rows:
            raise InputError(name, f"array of {shape[0]} rows", f"must be paired with the {rows} rows of context")
        if name in EMBEDDINGS or rows is not None:
            rows = shape[0]
        same("k" if name in EMBEDDINGS else "h", shape[1], name)
    if rows is not None and rows < 4:
        raise InputError("context", f"array of {rows} rows", "must have at least 4")
    if BELOW in found and (len(found[BELOW].shape) != 1 or found[BELOW].shape[0] > DEEPEST):
        raise InputError(BELOW, f"array of shape {found[BELOW].shape}", f"must be a row of at most {DEEPEST} numbers")
    if BIASES in found:
        layers = found[BELOW].shape if BELOW in found else None
        if layers is None or found[BIASES].shape != layers:
            condition = (
                "must stand beside below" if layers is None else f"must be {layers[0]} numbers, one for each of below"
            )
            raise InputError(BIASES, f"array of shape {found[BIASES].shape}", condition)
    shapes = {"predictor": "kk", "encoder": "kh", "target_encoder": "kh", "count": "", "uniformity": "", "step": ""}
    shapes |= {"context_fourth": "", "correction": ""}
    shapes |= {"prediction_mean": "k", "prediction_moment": "kk", "prediction_context_moment": "kk"}
    shapes |= {name: "k" if name.endswith("mean") else "kk" for name in MEANS[1:]}
    shapes |= {name: "h" if name.endswith("mean") else "hh" for name in FEATURE_MEANS}
    for name, letters in shapes.items():
        if name not in found:
            continue
        shape = found[name].shape
        if not letters and found[name].shape not in ((), (1,)):
            raise InputError(name, f"array of shape {shape}", "must be one number")
        if letters and len(shape) != len(letters):
            raise InputError(name, f"array of shape {shape}", f"must have {len(letters)} axes")
        for letter, size in zip(letters, shape, strict=False):
            same(letter, size, name)
