"""Sweeps stop, go on, and lose nothing when workers die."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.simulations.sweeps import read_shard, run_sweep

PATIENCE = 40.0  # seconds for what takes two on an idle machine


def squares(settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    (Path(settings["log"]) / f"{settings['n']}-{time.monotonic_ns()}").touch()
    if settings.get("fail"):
        raise ValueError(f"no square of {settings['n']}")
    return {"square": np.array(settings["n"] ** 2), "word": np.array(["a", "b"])}


def waiting(settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All shards but the first end only once they are released."""
    log, number = Path(settings["log"]), settings["n"]
    (log / f"{number}-{os.getpid()}").touch()
    until = time.monotonic() + PATIENCE
    while number > 0 and not (log / "released").exists() and time.monotonic() < until:
        time.sleep(0.02)
    return {"square": np.array(number**2), "process": np.array(os.getpid())}


def objects(_settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {"x": np.array([None])}


def shards(log: Path, count: int = 4) -> list[dict[str, Any]]:
    log.mkdir(exist_ok=True)
    return [{"n": n, "log": str(log)} for n in range(count)]


def wait(what: str, pattern: str, where: Path) -> Path:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := sorted(where.glob(pattern)):
            return found[0]
        time.sleep(0.02)
    raise TimeoutError(what)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stopped_sweep_goes_on_where_it_was(tmp_path: Path, jobs: int) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    said: list[tuple[int, int, str]] = []

    def stop(done: int, total: int, message: str) -> None:
        said.append((done, total, message))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep("squares", squares, shards(log), out, jobs=jobs, progress=stop)
    assert said[0] == (0, 4, "")
    assert said[1][:2] == (1, 4)
    assert said[1][2].endswith("s left")
    written = sorted(out.iterdir())
    assert len(written) == 2  # nothing but two whole files
    times = [path.stat().st_mtime_ns for path in written]
    written_squares = {read_shard(path).settings["n"] for path in written}

    for path in log.iterdir():
        path.unlink()
    paths = run_sweep("squares", squares, shards(log), out, jobs=jobs)
    assert {int(path.name.split("-")[0]) for path in log.iterdir()} == set(range(4)) - written_squares
    assert [path.stat().st_mtime_ns for path in written] == times
    found = [read_shard(path) for path in paths]
    assert [int(shard.arrays["square"]) for shard in found] == [0, 1, 4, 9]
    assert found[3].settings == shards(log)[3]
    assert found[0].arrays["word"].tolist() == ["a", "b"]
    assert "numpy" in found[0].provenance["versions"]


def test_damaged_files_are_computed_again_and_those_of_others_refused(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    paths = run_sweep("squares", squares, shards(log), out)
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    with pytest.raises(InputError, match="must be a shard"):
        read_shard(paths[1])
    assert run_sweep("squares", squares, shards(log), out) == paths
    assert read_shard(paths[1]).arrays["square"] == 1
    before = {path: path.read_bytes() for path in paths}
    with pytest.raises(InputError, match="another sweep, function or settings"):
        run_sweep("squares", squares, [{"n": 7, "log": str(log)}], out)
    with pytest.raises(InputError, match="another sweep, function or settings"):
        run_sweep("squares", waiting, shards(log), out)
    assert {path: path.read_bytes() for path in paths} == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_shard_that_fails_does_not_stop_the_others(tmp_path: Path, jobs: int) -> None:
    todo = shards(tmp_path / "log")
    todo[1]["fail"] = True
    with pytest.raises(RuntimeError, match=r"1 of 4 shards failed[\s\S]*no square of 1"):
        run_sweep("squares", squares, todo, tmp_path / "out", jobs=jobs)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"squares-0000{n}.npz" for n in (0, 2, 3)]


def kill_one_at_work(log: Path) -> int:
    """Kill a process in the middle of a shard, then let shards end; return its number."""
    started = wait("a shard at work", "[1-9]-*", log)
    process = int(started.name.split("-")[1])
    os.kill(process, signal.SIGKILL)
    (log / "released").touch()
    return process


def swept_with_a_kill(tmp_path: Path, **where: Any) -> None:
    log, killed = tmp_path / "log", list[int]()

    def progress(done: int, _total: int, _message: str) -> None:
        if done == 1:
            killed.append(kill_one_at_work(log))

    paths = run_sweep("waiting", waiting, shards(log, 6), tmp_path / "out", progress=progress, **where)
    found = [read_shard(path) for path in paths]
    assert [int(shard.arrays["square"]) for shard in found] == [0, 1, 4, 9, 16, 25]
    # What the dead process was at, somebody else has computed.
    lost = {int(path.name.split("-")[0]) for path in log.glob(f"*-{killed[0]}")} - {0}
    assert lost
    assert all(int(found[number].arrays["process"]) != killed[0] for number in lost)


def test_nothing_is_lost_when_a_local_worker_is_killed(tmp_path: Path) -> None:
    swept_with_a_kill(tmp_path, jobs=2)


@contextmanager
def cluster(folder: Path) -> Generator[str, None, None]:
    """Start a Dask scheduler and two worker processes without nannies; yield the scheduler's address."""
    contact = folder / "scheduler.json"
    places = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    dask = [sys.executable, "-m", "dask"]
    arguments = [
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"],
        *[["worker", "--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]] * 2,
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for each in arguments:
            command = [*dask, *each, "--scheduler-file", str(contact)]
            quiet = subprocess.DEVNULL
            processes.append(subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet))
            wait("the scheduler", contact.name, folder)
        until = time.monotonic() + PATIENCE
        while True:  # the file may still be half-written
            try:
                address = json.loads(contact.read_text())["address"]
                break
            except ValueError:
                assert time.monotonic() < until
                time.sleep(0.02)
        yield address
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def test_nothing_is_lost_when_a_worker_of_a_dask_cluster_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with cluster(tmp_path) as address:
        swept_with_a_kill(tmp_path, scheduler=address)


def test_bad_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = shards(tmp_path / "log")

    def refused(**changes: Any) -> str:
        given: dict[str, Any] = {"name": "squares", "function": squares, "shards": todo, "directory": tmp_path / "out"}
        with pytest.raises(InputError) as found:
            run_sweep(**(given | changes))
        return found.value.argument

    assert refused(name="a/b") == "name"
    assert refused(name="") == "name"
    assert refused(jobs=0) == "jobs"
    assert refused(retries=-1) == "retries"
    assert refused(shards=[{"n": np.float64}]) == "shards[0]"
    assert refused(shards=[{"n": float("nan")}]) == "shards[0]"
    assert refused(function=functools.partial(squares)) == "function"
    assert refused(scheduler="nowhere") == "scheduler"
    with pytest.raises(RuntimeError, match="must return arrays"):
        run_sweep("objects", objects, [{}], tmp_path / "objects")
    monkeypatch.setattr("jepalign.simulations.sweeps.CONNECT", 0.5)
    assert refused(scheduler="tcp://127.0.0.1:1") == "scheduler"
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert refused(scheduler="tcp://127.0.0.1:1") == "scheduler"
