"""Seconds that people wait for: imports, help, verification. Printed, never asserted: machines differ."""

import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

RUNS = 5
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import jepalign": ["-c", "import jepalign"],
    "jepalign --help": ["-m", "jepalign", "--help"],
    "import jepalign.theory.catalogue": ["-c", "import jepalign.theory.catalogue"],
    "import jepalign.linear_models": ["-c", "import jepalign.linear_models"],
    "jepalign verify dictionary": ["-m", "jepalign", "verify", "dictionary"],
    "jepalign verify": ["-m", "jepalign", "verify"],
    "jepalign verify --jobs 2": ["-m", "jepalign", "verify", "--jobs", "2"],
    "jepalign explain dictionary": ["-m", "jepalign", "explain", "dictionary"],
}


def seconds(arguments: list[str]) -> list[float]:
    """Return the wall-clock times of a command, the first (cold) run left out."""
    times: list[float] = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return times[1:]


def main() -> None:
    """Print a table of the median and the range over warm runs."""
    table = Table("command", "median s", "least s", "most s", box=None)
    for name, arguments in COMMANDS.items():
        times = seconds(arguments)
        table.add_row(name, f"{statistics.median(times):.3f}", f"{min(times):.3f}", f"{max(times):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
