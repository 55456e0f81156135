"""What the benchmarks share: one thread, the least of interleaved timings, and rows of a table with their bounds."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ACCURACY = 1e-10
TOLERANCES = 10.0 ** np.arange(-9.0, -13.6, -0.5)
REPEATS = 7
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def on_one_thread() -> None:
    """Begin this program anew with one thread, on one processor: libraries read these variables when they are loaded."""
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.environ.update(ONE_THREAD)
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, and the bound it has to keep.

    ``miss`` is how far it is from the bound, in units of it: the bound holds up to 1; None where there is none.
    """

    what: str
    ours: str
    other: str
    ratio: float
    bound: str = ""
    miss: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as printed."""
        ratio = f"{self.ratio:.3g}" if np.isfinite(self.ratio) and self.other else ""
        verdict = "" if self.miss is None else "holds" if self.miss <= 1 else "MISSED"
        return self.what, self.ours, self.other, ratio, self.bound, verdict


Bound = tuple[str, float | None]
UNBOUNDED: Bound = ("", None)


def at_least(value: float, bound: float) -> Bound:
    """Return a lower bound in words, and the miss of it."""
    return f"≥ {bound:g}", bound / value


def at_most(value: float, bound: float, unit: str = "") -> Bound:
    """Return an upper bound in words, and the miss of it."""
    return f"≤ {bound:g}{unit}", value / bound


def seconds(*calls: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Return the least times of calls that take turns, each repeated until a sample takes at least 2 ms.

    Seconds are this program's on the processor: what other programs take of it in between does not count.
    """
    counts: list[int] = []
    for call in calls:
        call()
        counts.append(max(1, int(2e-3 / max(once(call)[0], 1e-7))))
    least = [np.inf] * len(calls)
    for _ in range(repeats):
        for index, (call, count) in enumerate(zip(calls, counts, strict=True)):
            started = time.process_time()
            for _ in range(count):
                call()
            least[index] = min(least[index], (time.process_time() - started) / count)
    return least


def once(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of one call and its result."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def error(found: Array | None, exact: Array) -> float:
    """Return the largest relative error, ∞ where an integration failed."""
    if found is None or found.shape != exact.shape or not np.isfinite(found).all():
        return np.inf
    return float(np.max(np.abs(found / exact - 1)))


def shown(value: float) -> str:
    """Return seconds with a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
