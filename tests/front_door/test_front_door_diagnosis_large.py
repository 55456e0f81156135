"""What a diagnosis stands: files that do not fit into memory, and files damaged at random."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_a_record_is_read_in_memory_that_does_not_grow_with_it(tmp_path: Path) -> None:
    """0.4 GB of single precision, 0.8 GB in double, within a gigabyte of addresses, of which the libraries take a third."""
    command = [sys.executable, str(BENCHMARKS / "large_files.py"), "200000", "256", "1", str(tmp_path / "large")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.split(",")[-1].split()[0])
    assert peak < 0.6


@pytest.mark.slow
def test_damaged_files_are_diagnosed_or_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "damaged_files.py"), "100", "0"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    refused, diagnosed = int(done.stdout.split()[0]), int(done.stdout.split()[4])
    assert refused > 50
    assert diagnosed > 0
