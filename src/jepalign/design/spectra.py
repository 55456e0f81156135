"""The data that settings are designed for: modes λ and σ, from numbers, a file or embeddings."""

import csv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.collapse import coupled_modes
from jepalign.linear_models.masking.spectrum import spectrum
from jepalign.linear_models.modal import cross_covariances, variances

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spectra:
    """Modes of the data, one by one.

    Attributes
    ----------
    cross, variance : ndarray of shape (d,)
        λ and σ > 0, eigenvalues of Σ_yx and Σ_x, ordered by the critical weight decay λ²/(4σ), descending.
    source : str
        Where they come from, in words.
    bound : ndarray of shape (d,) or None
        Of data whose modes are coupled (Σ_x and Σ_yx do not commute) the eigenvalues of Σ_yxΣ_x⁻¹Σ_yxᵀ/4, descending, which bound the
        rank; λ and σ are then those of ``coupled_modes``, an estimate. None: aligned.
    views : ViewPair or None
        The data of coupled modes.

    Raises
    ------
    InputError
        If λ and σ are not two equally long lists of numbers in range.
    """

    cross: Array
    variance: Array
    source: str = "given numbers"
    bound: Array | None = None
    views: ViewPair | None = None

    def __post_init__(self) -> None:
        cross, variance = cross_covariances(self.cross), variances(self.variance)
        if cross.ndim != 1 or cross.shape != variance.shape or not cross.size:
            raise InputError(
                "cross",
                f"{np.size(cross)} values beside {np.size(variance)}",
                "must be as many as of variance, in one list",
            )
        order = np.argsort(-np.abs(cross) / variance * np.abs(cross), kind="stable")
        object.__setattr__(self, "cross", cross[order])
        object.__setattr__(self, "variance", variance[order])

    @property
    def correlation(self) -> Array:
        """ρ = λ/σ, (d,)."""
        return self.cross / self.variance

    @classmethod
    def from_text(cls, variance: str, cross: str) -> Self:
        """Return the modes of two lists of numbers, separated by commas."""
        return cls(_numbers("cross", cross.split(",")), _numbers("variance", variance.split(",")))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return the modes in a file: arrays, or columns, ``variance`` and ``cross`` of an .npz or .csv.

        Raises
        ------
        InputError
            If there is no such file, it is of another kind, damaged, or lacks a column.
        """
        if path.suffix == ".npz":
            found: Mapping[str, ArrayLike] = _arrays("spectra", path, ("variance", "cross"))
        elif path.suffix == ".csv":
            found = _columns(path, ("variance", "cross"))
        else:
            raise InputError("spectra", str(path), "must be an .npz or .csv file")
        return cls(np.asarray(found["cross"]), np.asarray(found["variance"]), f"{path.name}")

    @classmethod
    def from_views(cls, path: Path) -> Self:
        """Return the modes of an .npz with ``context`` and ``target`` (n, d), rows of two views; every pair in both orders.

        Raises
        ------
        InputError
            If there is no such file, it lacks an array, or the views are not paired samples.
        """
        arrays = _arrays("views", path, ("context", "target"))
        views = ViewPair.from_samples(arrays["context"], arrays["target"], symmetrize=True)
        return cls.from_pair(views, f"{path.name}, {len(arrays['context'])} pairs in both orders")

    @classmethod
    def from_pair(cls, views: ViewPair, source: str) -> Self:
        """Return the modes of any views; raises ``InputError`` if nothing varies, or nothing predicts."""
        found = spectrum(views)
        if found.aligned and found.variance.size:
            return cls(np.real(found.cross).astype(float), found.variance, source)
        modes = coupled_modes(views)
        if not modes.variance.size:
            raise InputError("views", source, "must have variance that is predicted")
        return cls(modes.cross, modes.variance, source, found.threshold, views)

    def largest_bound(self, rank: int) -> float | None:
        """Return what no equilibrium of this rank can exceed in weight decay, for coupled modes; None for aligned ones."""
        if self.bound is None:
            return None
        leading = self.bound[:rank]
        return float(np.exp(np.log(leading).mean())) if len(leading) == rank and leading[-1] > 0 else 0.0


def _numbers(name: str, texts: list[str]) -> Array:
    found: list[float] = []
    for text in texts:
        try:
            found.append(float(text))
        except ValueError as problem:
            raise InputError(name, repr(text.strip()), "must be numbers, separated by commas") from problem
    return np.array(found)


def _arrays(argument: str, path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    if not path.is_file():
        raise InputError(argument, str(path), "must be a file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            present: dict[str, Any] = {name: stored[name] for name in names if name in stored.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as problem:
        raise InputError(argument, str(path), "must be an .npz file of plain arrays") from problem
    for name in names:
        if name not in present:
            raise InputError(argument, str(path), f"must have an array {name}")
    return present


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = list(reader)
            header = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError("spectra", str(path), "must be a readable .csv file") from problem
    for name in names:
        if name not in header:
            raise InputError("spectra", str(path), f"must have a column {name}")
    return {name: _numbers(name, [row[name] or "" for row in rows]) for name in names}
