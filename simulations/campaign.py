"""Several experiments and seeds as the shards of one sweep, over processes or over the workers of a cluster."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jepalign.errors import InputError
from jepalign.measurements import Measurement, save
from jepalign.simulations import find, run
from jepalign.simulations.sweeps import read_shard, run_sweep
from jepalign.storage import output_directory

TABLE = "table"  # a shard's rows, criterion and provenance, as JSON beside the arrays


def shard(settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return one experiment at one seed as plain arrays; ``settings`` are name, device, scale and seed."""
    found = run(settings["name"], device=settings["device"], scale=settings["scale"], seed=settings["seed"])
    table = {"rows": found.rows, "criterion": found.criterion, "provenance": found.provenance}
    return {TABLE: np.array(json.dumps(table)), **found.arrays}


def run_campaign(
    names: Sequence[str],
    seeds: Sequence[int],
    directory: str | os.PathLike[str],
    *,
    device: str = "cpu",
    scale: str = "quick",
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[tuple[Measurement, tuple[Path, Path]], ...]:
    """Run every experiment at every seed, each as a shard, and save what they measured.

    What is done when the campaign is stopped, or a worker dies, is kept in ``directory``/shards until the last shard is
    there: the same call then goes on.

    Parameters
    ----------
    names : sequence of str
        Keys of :data:`jepalign.simulations.EXPERIMENTS`.
    seeds : sequence of int
        With one, files are written to ``directory``; with several, to ``directory``/seed-SEED.
    directory : path
        Made if need be.
    device, scale : str
        As for :func:`jepalign.simulations.run`; the device is a worker's.
    jobs, scheduler, progress
        As for :func:`jepalign.simulations.sweeps.run_sweep`.

    Returns
    -------
    tuple of (Measurement, (Path, Path))
        With the files that hold it, experiments in the order given and seeds inside.

    Raises
    ------
    InputError
        For an unknown experiment, no seed, a negative or repeated one, or what ``run_sweep`` refuses.
    RuntimeError
        After all others are done, if an experiment raised or workers kept dying.
    """
    for name in names:
        find(name)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError("seeds", list(seeds), "must be one or more different numbers, none negative")
    folder = output_directory(directory, "directory")
    pairs = [(name, seed) for name in names for seed in seeds]
    settings = [{"name": name, "device": device, "scale": scale, "seed": seed} for name, seed in pairs]
    shards = folder / "shards"
    paths = run_sweep("campaign", shard, settings, shards, jobs=jobs, scheduler=scheduler, progress=progress)
    found: list[tuple[Measurement, tuple[Path, Path]]] = []
    for path, (name, seed) in zip(paths, pairs, strict=True):
        arrays = read_shard(path).arrays
        table = json.loads(arrays.pop(TABLE).item())
        measurement = Measurement(name=name, arrays=arrays, **table)
        place = folder if len(seeds) == 1 else folder / f"seed-{seed}"
        found.append((measurement, save(measurement, place)))
    # Kept any longer, they would answer for code that has changed since.
    shutil.rmtree(shards)
    return tuple(found)
