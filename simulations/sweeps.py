"""Sweeps of independent shards over processes of this machine or workers of a Dask cluster; what is done stays done."""

import contextlib
import hashlib
import importlib.util
import json
import os
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from jepalign.errors import InputError
from jepalign.measurements import DAMAGE
from jepalign.storage import output_directory, provenance, written_whole

Settings = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]
Function = Callable[[Settings], Arrays]
Progress = Callable[[int, int, str], None]
# Name of the text beside the arrays of a shard.
ORIGIN = "origin"
CONNECT = 30.0  # seconds to wait for a scheduler
# A shard's number, and its arrays or the text of the error that it raised.
Outcome = tuple[int, dict[str, np.ndarray] | str]


@dataclass(frozen=True)
class Shard:
    """One shard as its file holds it.

    Attributes
    ----------
    settings : dict
        What the function was given.
    arrays : dict of str to ndarray
        What it returned.
    digest : str
        SHA-256 of the sweep's name, the function's and the settings, in hexadecimal.
    provenance : dict
        Versions, commit and date (:func:`jepalign.storage.provenance`).
    """

    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]
    digest: str
    provenance: dict[str, Any]


def run_sweep(
    name: str,
    function: Function,
    shards: Sequence[Settings],
    directory: str | os.PathLike[str],
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    retries: int = 3,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Compute every shard that has no file yet, and return the files NAME-00000.npz, ... of all, in order.

    A file is written whole as soon as its shard is done, by this process: workers need no common file system. A stopped
    sweep goes on when it is called again. A worker that dies takes nothing with it, its shards are computed elsewhere;
    on one machine those that its fellows were at are computed again, too. Results do not depend on where and in what
    order shards are computed, if the function depends on its settings alone.

    Parameters
    ----------
    name : str
        A plain file name.
    function : callable
        Settings → arrays by name (identifiers), no objects. Must be importable by workers: defined in a module.
    shards : sequence of dict
        Settings, plain JSON; seeds belong here.
    directory : path
        Made if need be.
    jobs : int
        Processes on this machine (loky); 1 computes in this process, which no dying worker is then hidden from.
    scheduler : str, optional
        Address of a Dask scheduler, "tcp://HOST:PORT"; its workers compute instead, and ``jobs`` is not read.
    retries : int
        How many times shards are handed out again after workers died with them.
    command : str
        For the provenance: the command line that computes this sweep again.
    progress : callable, optional
        Called with (shards done, in all, message with the time left) once at the start and after every shard.

    Returns
    -------
    tuple of Path
        To be read by :func:`read_shard`.

    Raises
    ------
    InputError
        If an argument is out of its range, settings are not JSON, a file in ``directory`` belongs to another sweep,
        function or settings, ``distributed`` is not installed or no scheduler answers.
    RuntimeError
        After all other shards, if the function raised for some or workers kept dying; with the first error in full.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError("name", repr(name), "must be a plain file name")
    for argument, value, least in (("jobs", jobs, 1), ("retries", retries, 0)):
        if value < least:
            raise InputError(argument, value, f"must be at least {least}")
    folder = output_directory(directory, "directory")
    digests = [_digest(name, function, index, settings) for index, settings in enumerate(shards)]
    paths = [folder / f"{name}-{index:05d}.npz" for index in range(len(shards))]
    missing = [index for index, path in enumerate(paths) if not _present(path, digests[index])]
    origin = dict(provenance(command, 0, "workers", ("numpy", "scipy", "torch", "joblib", "distributed")))
    del origin["seed"], origin["device"]  # both are in the settings

    started, total = time.monotonic(), len(shards)
    done = found = total - len(missing)
    failures: dict[int, str] = {}
    if progress is not None:
        progress(done, total, f"{found} found" if found else "")
    with _workers(function, jobs, scheduler) as compute:
        for _ in range(retries + 1):
            with contextlib.closing(compute([(index, shards[index]) for index in missing])) as outcomes:
                for index, outcome in outcomes:
                    if isinstance(outcome, str):
                        failures[index] = outcome
                    else:
                        _write(paths[index], shards[index], outcome, digests[index], origin)
                    missing.remove(index)
                    done += 1
                    if progress is not None:
                        left = (time.monotonic() - started) / (done - found) * (total - done)
                        lost = f", {len(failures)} failed" if failures else ""
                        progress(done, total, f"{left:.0f} s left{lost}")
            if not missing:
                break
    if failures:
        first = min(failures)
        raise RuntimeError(
            f"{len(failures)} of {total} shards failed, the first is {shards[first]}:\n{failures[first]}"
        )
    if missing:
        raise RuntimeError(f"workers died with {len(missing)} of {total} shards {retries + 1} times: {missing[:8]}")
    return tuple(paths)


def read_shard(path: str | os.PathLike[str]) -> Shard:
    """Return the shard in a file of :func:`run_sweep`; ``InputError`` if it is not one or is damaged."""
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        origin = json.loads(arrays.pop(ORIGIN).item())
        return Shard(origin["settings"], arrays, origin["digest"], origin["provenance"])
    except DAMAGE as problem:
        raise InputError("path", str(path), f"must be a shard of a sweep ({type(problem).__name__})") from problem


def _digest(name: str, function: Function, index: int, settings: Settings) -> str:
    try:
        plain = json.dumps(dict(settings), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise InputError(f"shards[{index}]", settings, f"must be plain JSON ({problem})") from problem
    # A callable without a name of its own, such as a partial, has settings that the digest would not see.
    where = getattr(function, "__module__", None), getattr(function, "__qualname__", "<")
    if where[0] is None or "<" in where[1]:
        raise InputError("function", function, "must be a function defined in a module, so that workers can import it")
    return hashlib.sha256(json.dumps([name, *where, plain]).encode()).hexdigest()


def _present(path: Path, digest: str) -> bool:
    """Return whether the shard is there and whole; one of another configuration is refused, never overwritten."""
    if not path.exists():
        return False
    try:
        shard = read_shard(path)
    except InputError:
        return False
    if shard.digest != digest:
        raise InputError("directory", str(path), "must not hold shards of another sweep, function or settings")
    return True


def _write(path: Path, settings: Settings, arrays: Arrays, digest: str, origin: Settings) -> None:
    text = json.dumps({"settings": dict(settings), "digest": digest, "provenance": origin}, sort_keys=True)
    with written_whole(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **{ORIGIN: np.array(text), **arrays})


def _attempt(function: Function, index: int, settings: Settings) -> Outcome:
    """Compute one shard in a worker; an error comes back as text, as not every error survives the journey."""
    try:
        arrays = {key: np.asarray(value) for key, value in function(settings).items()}
        for key, value in arrays.items():
            if not key.isidentifier() or key in (ORIGIN, "file", "allow_pickle") or value.dtype.hasobject:
                raise InputError("function", key, "must return arrays of numbers or text, named by identifiers")
    except Exception:
        return index, traceback.format_exc()
    return index, arrays


Compute = Callable[[list[tuple[int, Settings]]], Generator[Outcome, None, None]]


@contextmanager
def _workers(function: Function, jobs: int, scheduler: str | None) -> Generator[Compute, None, None]:
    """Yield what computes shards and yields outcomes as they come; of shards lost with a worker it yields nothing."""
    if scheduler is None:

        def local(shards: list[tuple[int, Settings]]) -> Generator[Outcome, None, None]:
            calls = (delayed(_attempt)(function, index, settings) for index, settings in shards)
            pool = Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered", batch_size=cast("str", 1))
            running = cast("Generator[Outcome, None, None]", pool(calls))
            try:
                with contextlib.suppress(TerminatedWorkerError):
                    for outcome in running:  # noqa: UP028 (yield from would close it before the warning is silenced)
                        yield outcome
            finally:
                # A sweep stopped half-way is what its caller asked for; joblib would warn of unused work.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    running.close()

        yield local
        return
    if importlib.util.find_spec("distributed") is None:
        raise InputError("scheduler", scheduler, "needs Dask's distributed: pip install 'jepalign[cluster]'")
    from distributed import Client, as_completed

    try:
        client = Client(scheduler, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as problem:
        raise InputError("scheduler", scheduler, "must be the address of a running Dask scheduler") from problem

    def remote(shards: list[tuple[int, Settings]]) -> Generator[Outcome, None, None]:
        # Not pure: a shard handed out again is a new task.
        futures = [client.submit(_attempt, function, index, settings, pure=False) for index, settings in shards]
        for future in as_completed(futures, loop=client.loop):
            if future.status == "finished":
                yield future.result()

    with client:
        yield remote
