"""Rows and files of measurements, in the form that tables and figures read."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepalign.errors import InputError
from jepalign.measurements import Measurement
from jepalign.storage import provenance

Row = dict[str, Any]
# A false version must miss by this factor the very bound that the true one is held to.
REFUSAL = 1e3
REFUSED = f"a false version put to the same test, to be refused: error ≥ {REFUSAL:g}"


class Series(NamedTuple):
    """The records of one run on one claim, arrays of one shape; NaN where a diverged run has none.

    ``error`` is in units of its tolerance.
    """

    predicted: np.ndarray
    observed: np.ndarray
    error: np.ndarray


def row(experiment: str, architecture: str, series: Series, *, criterion: str, at_least: float | None = None) -> Row:
    """Return one row of the summary table, for the record with the largest error.

    Parameters
    ----------
    experiment, architecture, criterion : str
        In words.
    series : Series
        If some of it is missing, the row tells the worst that was recorded, says that the run diverged, and fails.
    at_least : float, optional
        The error that a false version must reach for its row to hold; None: the row holds if no error exceeds 1.

    Returns
    -------
    dict
        With the keys of :data:`jepalign.measurements.COLUMNS`; ``file`` is filled in by :func:`measured`.
    """
    missing = np.isnan(series.error)
    lost = bool(missing.any())
    found = None if missing.all() else int(np.nanargmax(series.error))
    worst = {name: None if found is None else float(part.flat[found]) for name, part in series._asdict().items()}
    most = worst["error"]
    holds = not lost and most is not None and (most <= 1 if at_least is None else most >= at_least)
    return {
        "experiment": experiment,
        "architecture": architecture + (" (diverged)" if lost else ""),
        **worst,
        "criterion": criterion,
        "verdict": "holds" if holds else "fails",
        "file": "",
    }


def stated(criteria: Mapping[str, str]) -> str:
    """Return criteria by name as one text."""
    return "; ".join(f"{name}: {text}" for name, text in criteria.items())


def check_scale(scale: str, scales: Mapping[str, object]) -> None:
    """Raise ``InputError`` unless ``scale`` is one of the names in ``scales``."""
    if scale not in scales:
        raise InputError("scale", scale, f"must be one of {', '.join(scales)}")


def counter(progress: Callable[[int, int, str], None] | None, total: int) -> Callable[[str], None]:
    """Return what tells ``progress``, before each of ``total`` parts and once at the end, how many are done and what comes."""
    done = count()

    def tell(message: str) -> None:
        if progress is not None:
            progress(next(done), total, message)

    return tell


def numpy(values: Tensor) -> np.ndarray:
    """Return a tensor as an array on the host."""
    return values.detach().cpu().numpy()


def measured(
    name: str,
    arrays: dict[str, np.ndarray],
    rows: Sequence[Row],
    criterion: str,
    *,
    device: torch.device,
    scale: str,
    seed: int,
) -> Measurement:
    """Return the measurement with its provenance: the command, seed, device, versions and commit."""
    command = f"jepalign simulate {name} --scale {scale} --out DIR"
    if seed != 0:
        command += f" --seed {seed}"
    if device.type == "cuda":
        command += " --device cuda"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    origin = provenance(command, seed, where, ("numpy", "scipy", "scikit-learn", "torch"))
    filed = [{**entry, "file": f"{name}.npz"} for entry in rows]
    return Measurement(name=name, arrays=arrays, rows=filed, criterion=criterion, provenance=dict(origin))
