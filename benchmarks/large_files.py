"""Diagnose a record larger than the memory it may use: ``python benchmarks/large_files.py ROWS WIDTH GIGABYTES FOLDER``.

Writes the record to the folder, limits its own address space to so many gigabytes, diagnoses, and prints what it took. The tests do it with
200,000 rows of 256 dimensions in one gigabyte, ``make stress`` with a million of 1024.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

from jepalign.diagnosis import diagnose

CHUNK = 8192


def write(folder: Path, rows: int, width: int) -> None:
    """Write context.npy and target.npy, single precision, of which the first quarter of the dimensions correlates."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rho = np.where(np.arange(width) < width // 4, 0.9, 0.0).astype(np.float32)
    scale = (1 / np.sqrt(1 + np.arange(width))).astype(np.float32)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    with (folder / "context.npy").open("wb") as first, (folder / "target.npy").open("wb") as second:
        for stream in (first, second):
            np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, rows, CHUNK):
            shape = (min(CHUNK, rows - start), width)
            z = rng.standard_normal(shape, dtype=np.float32)
            other = rho * z + np.sqrt(1 - rho**2) * rng.standard_normal(shape, dtype=np.float32)
            first.write((z * scale).tobytes())
            second.write((other * scale).tobytes())


def peak_memory() -> float:
    """Return the most memory that this program has held at once, gigabytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # The kernel's maximum of resource usage begins with that of the program that started this one; this does not.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(rows: int, width: int, gigabytes: float, folder: Path) -> None:
    """Write, limit, diagnose, print."""
    write(folder, rows, width)
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    started = time.process_time()
    found = diagnose(folder, {"weight_decay": 1e-4})
    correlated = int((found.spectrum.correlations > 0.5).sum())
    assert correlated == width // 4, correlated
    peak = peak_memory()
    size = rows * width * 8 / 2**30
    print(f"{size:.2f} GB of files, {time.process_time() - started:.0f} s of the processor, {peak:.2f} GB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
