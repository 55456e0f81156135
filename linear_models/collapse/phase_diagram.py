"""Phase diagrams of a linear JEPA over weight decay, predictor rate, EMA rate and mask ratio, as xarray datasets (4.3, 4.4)."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.collapse.thresholds import critical_weight_decay, equilibria, growth, surviving_rank
from jepalign.linear_models.modal import cross_covariances, rates, variances
from jepalign.linear_models.views import Modes, ViewPair
from jepalign.storage import output_directory, provenance, written_whole

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
Views = ViewPair | Modes

CHUNK = 2**18  # of (weight decay, mode) pairs that are computed, and stored, at once
AXES = ("mask_ratio", "weight_decay", "predictor_rate", "ema_rate")
VARIABLES = {
    "surviving_rank": (("mask_ratio", "weight_decay"), "modes with λ² > 4ησ, at most the width"),
    "margin": (("mask_ratio", "weight_decay", "mode"), "η_c/η, above 1 where a mode can survive"),
    "predictor": (("mask_ratio", "weight_decay", "mode"), "p₊, 0 where the mode collapses"),
    "weight": (("mask_ratio", "weight_decay", "predictor_rate", "mode"), "w₊ = p₊/√α, 0 where the mode collapses"),
    "slowest_rate": (("mask_ratio", "weight_decay", "ema_rate"), "rate of the slowest return, per unit of flow time"),
}


def phase_diagram(
    views: Views | Sequence[Views] | Callable[[float], Views],
    *,
    weight_decay: ArrayLike,
    predictor_rate: ArrayLike = 1.0,
    ema_rate: ArrayLike = np.inf,
    mask_ratio: ArrayLike | None = None,
    width: int | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> "xr.Dataset":
    """Return what survives, how large, and how slowly it is reached, over named axes.

    Parameters
    ----------
    views : ViewPair or Modes, or a sequence of them, or a callable
        Aligned views of d modes. With ``mask_ratio``: one for each ratio, or what makes them from a ratio.
    weight_decay, predictor_rate, ema_rate : array_like of shape () or (n,)
        η ≥ 0, α > 0 and β > 0 (∞: no EMA). A number becomes a coordinate without an axis.
    mask_ratio : array_like of shape (r,), optional
        Ratios, between 0 and 1.
    width : int, optional
        The embedding's dimension, which bounds ``surviving_rank``; modes are otherwise taken one by one.
    directory : path, optional
        A folder: every chunk is stored there when it is done, and an interrupted call goes on where it ended. The
        diagram replaces its chunks in the end, as phase-HASH.nc (NetCDF 3); the hash is that of all arguments, so that a
        repeated call reads what is there, and other diagrams may share the folder.
    progress : callable, optional
        Called with the number of chunks done and their total after each.

    Returns
    -------
    xarray.Dataset
        ``surviving_rank`` (mask_ratio, weight_decay); ``margin`` η_c/η and ``predictor`` p₊ (mask_ratio, weight_decay,
        mode); ``weight`` p₊/√α (…, predictor_rate, mode); ``slowest_rate`` (mask_ratio, weight_decay, ema_rate): the
        smallest |eigenvalue| over all modes at rest, those that die at 0 included; without decay imbalance is conserved,
        and left out. Modes are in descending order of λ,
        with ``cross`` and ``variance`` as variables. Attributes say where it comes from, in JSON.

    Raises
    ------
    InputError
        If an axis is not one, a rate out of range, views are not aligned or differ in dimension, or the directory is
        none.

    Notes
    -----
    Ours. Near a surviving state imbalance returns at 2η and a balanced deviation at r = 2βp₊Δ/(S + √((2σp₊² − β)² +
    4βλp₊)), Δ = √(λ² − 4ησ), S = 2σp₊² + β, which is p₊Δ without EMA; no rate depends on α. Cost O(points), memory that
    of the result and one chunk: a million (mode, weight decay) pairs take a fraction of a second.
    """
    import xarray as xr

    axes = {
        "weight_decay": rates("weight_decay", weight_decay, zero=True),
        "predictor_rate": rates("predictor_rate", predictor_rate, zero=False),
        "ema_rate": _ema(ema_rate),
    }
    ratios, modes = _modes(views, mask_ratio)
    if ratios is not None:
        axes["mask_ratio"] = ratios
    for name, values in axes.items():
        if values.ndim > 1 or values.size == 0:
            raise InputError(name, f"array of shape {values.shape}", "must be a number or one axis")
    cross, variance = (np.array([getattr(mode, name) for mode in modes]) for name in ("cross", "variance"))
    grid = {name: np.atleast_1d(axes[name]) if name in axes else np.zeros(1) for name in AXES}
    folder = None if directory is None else output_directory(directory, "directory")
    key = _key(grid, cross, variance, width)
    whole = None if folder is None else folder / f"phase-{key}.nc"
    if whole is not None and (stored := _read(whole, key)) is not None:
        return stored

    sizes = {name: values.size for name, values in grid.items()} | {"mode": cross.shape[1]}
    arrays = {
        name: np.empty([sizes[dim] for dim in dims], dtype=np.int32 if name == "surviving_rank" else np.float64)
        for name, (dims, _) in VARIABLES.items()
    }
    chunks = list(_chunks(sizes))
    files: list[Path] = []
    for index, (row, part) in enumerate(chunks):
        file = None if folder is None else folder / f"phase-{key}-{index:06d}.nc"
        found = None if file is None else _read(file, key)
        if found is None:
            decay = grid["weight_decay"][part]
            values = _values(cross[row], variance[row], decay, grid["predictor_rate"], grid["ema_rate"], width)
            if file is not None:
                chunk = xr.Dataset({k: (VARIABLES[k][0][1:], v) for k, v in values.items()}, attrs={"key": key})
                _write(file, chunk)
        else:
            values = {name: found[name].to_numpy() for name in VARIABLES}
        for name, value in values.items():
            arrays[name][row, part] = value
        if file is not None:
            files.append(file)
        if progress is not None:
            progress(index + 1, len(chunks))

    data = xr.Dataset(
        {name: (dims, arrays[name], {"long_name": VARIABLES[name][1]}) for name, (dims, _) in VARIABLES.items()}
        | {"cross": (("mask_ratio", "mode"), cross), "variance": (("mask_ratio", "mode"), variance)},
        coords=grid | {"mode": np.arange(cross.shape[1], dtype=np.int32)},
        attrs={
            "title": "Surviving modes of a linear JEPA",
            "key": key,
            "provenance": json.dumps(dict(provenance("phase_diagram", 0, "cpu", ("numpy", "scipy", "xarray")))),
        },
    )
    if ratios is None:
        data = data.isel(mask_ratio=0, drop=True)
    data = data.squeeze([name for name, values in axes.items() if values.ndim == 0])
    if whole is not None:
        _write(whole, data)
        for file in files:
            file.unlink(missing_ok=True)
    return data


def _ema(value: ArrayLike) -> Array:
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise InputError("ema_rate", type(value).__name__, "must be an array of real numbers") from problem
    rates("ema_rate", np.where(values == np.inf, 1.0, values), zero=False)
    return values


def _modes(
    views: Views | Sequence[Views] | Callable[[float], Views], mask_ratio: ArrayLike | None
) -> tuple[Array | None, list[Modes]]:
    """Return the ratios, if there is such an axis, and the modes for each."""
    single = isinstance(views, ViewPair | Modes)
    if mask_ratio is None:
        if not single:
            raise InputError("mask_ratio", None, "must be given for views that depend on it")
        return None, [_of(views)]
    try:
        ratios = np.asarray(mask_ratio, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise InputError("mask_ratio", type(mask_ratio).__name__, "must be an array of real numbers") from problem
    if ratios.ndim != 1 or not ratios.size or not ((ratios >= 0) & (ratios <= 1)).all():
        raise InputError("mask_ratio", f"array of shape {ratios.shape}", "must be one axis of numbers between 0 and 1")
    if single:
        raise InputError("views", type(views).__name__, "must be a sequence or a callable beside mask_ratio")
    made = [views(float(ratio)) for ratio in ratios] if callable(views) else list(views)
    if len(made) != ratios.size:
        raise InputError("views", f"{len(made)} views", f"must be one for each of {ratios.size} mask ratios")
    modes = [_of(each) for each in made]
    if len({mode.cross.size for mode in modes}) != 1:
        raise InputError("views", "views of several dimensions", "must have one dimension")
    return ratios, modes


def _of(views: Views) -> Modes:
    if isinstance(views, ViewPair):
        return views.modes()
    cross, variance = cross_covariances(views.cross), variances(views.variance)
    if cross.ndim != 1 or cross.shape != variance.shape or not cross.size:
        raise InputError("views", f"modes of shape {cross.shape}", "must have one axis of λ and of σ")
    return Modes(cross, variance, views.directions)


def _key(grid: dict[str, Array], cross: Array, variance: Array, width: int | None) -> str:
    digest = hashlib.sha256(f"1 {width} {CHUNK}".encode())
    for values in (*(grid[name] for name in AXES), cross, variance):
        digest.update(str(values.shape).encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def _chunks(sizes: dict[str, int]) -> Iterator[tuple[int, slice]]:
    wide = max(1, CHUNK // sizes["mode"])
    for row in range(sizes["mask_ratio"]):
        for first in range(0, sizes["weight_decay"], wide):
            yield row, slice(first, first + wide)


def _values(
    cross: Array, variance: Array, decay: Array, rate: Array, ema: Array, width: int | None
) -> dict[str, NDArray[Any]]:
    eta = decay[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.where(cross == 0, 0.0, critical_weight_decay(cross, variance) / eta)
    balanced = -np.ma.filled(growth(cross, variance, eta)[..., 2], 0.0)  # |p₊|Δ, 0 where nothing survives
    predictor = np.where(balanced > 0, np.ma.filled(equilibria(cross, variance, eta)[..., 2], 0.0), 0.0)
    slowest = np.empty((decay.size, ema.size))
    for index, beta in enumerate(ema):
        slowest[:, index] = _slowest(cross, variance, eta, predictor, balanced, float(beta)).min(axis=-1)
    return {
        "surviving_rank": surviving_rank(cross, variance, decay, width=width).astype(np.int32),
        "margin": margin,
        "predictor": predictor,
        "weight": predictor[:, None, :] / np.sqrt(rate)[:, None],
        "slowest_rate": slowest,
    }


def _slowest(cross: Array, variance: Array, eta: Array, p: Array, balanced: Array, beta: float) -> Array:
    """Return the smallest rate of each mode at rest; without decay imbalance is conserved and does not count."""
    twice = 2 * variance * p * p
    if beta < np.inf:
        balanced = 2 * beta * balanced / (twice + beta + np.sqrt((twice - beta) ** 2 + 4 * beta * (cross * p)))
    alive = np.where(eta > 0, np.minimum(2 * eta, balanced), balanced)
    return np.where(p != 0, alive, np.minimum(eta, beta))


def _write(path: Path, data: "xr.Dataset") -> None:
    with written_whole(path) as temporary:
        data.to_netcdf(temporary, engine="scipy")


def _read(path: Path, key: str) -> "xr.Dataset | None":
    """Return what was stored under the key, or None if nothing is there or it cannot be read."""
    import xarray as xr

    if not path.is_file():
        return None
    try:
        data = xr.load_dataset(path, engine="scipy")
    except (OSError, ValueError, TypeError, KeyError, IndexError, AssertionError, EOFError):
        return None  # damaged: computed again
    return data if data.attrs.get("key") == key and set(VARIABLES) <= set(data.data_vars) else None
