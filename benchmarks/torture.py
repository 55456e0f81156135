"""Every trajectory against 50-digit arithmetic, at random arguments over its whole range and beside every edge of it.

Writes build/bench/torture.md; the exit status is 1 if an error exceeds 1e-14 of the problem's own condition number, or if there is a NaN
or a warning. ``--cases`` sets how many cases a function gets.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "linear_models"))

from linear_models_torture import BOUND, SUBJECTS, Result, torture  # noqa: E402  # pyright: ignore[reportMissingImports]

OUT = Path("build/bench/torture.md")
COLUMNS = ("function", "cases", "worst error / condition", "NaN", "warnings", "without an answer", "bound")


def cells(name: str, found: Result) -> tuple[str, ...]:
    """Return one row of the table as text."""
    verdict = f"≤ {BOUND:g} {'holds' if found.holds else 'EXCEEDED'}"
    counts = (found.nans, found.warned, len(found.unheld))
    return name, str(found.cases), f"{found.worst:.2g}", *map(str, counts), verdict


def main() -> int:
    """Run every function, print and write the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="cases a function (default 2000; some minutes)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console(stderr=True)
    results: dict[str, Result] = {}
    with Progress(*Progress.get_default_columns(), TimeRemainingColumn(), console=console) as progress:
        for name in SUBJECTS:
            task = progress.add_task(name, total=max(1, int(SUBJECTS[name].share * given.cases)))
            results[name] = torture(name, given.cases, given.seed, lambda task=task: progress.advance(task))
    table = Table(*COLUMNS)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for name, found in results.items():
        row = cells(name, found)
        table.add_row(*row)
        lines.append("| " + " | ".join(row) + " |")
        if not found.holds:
            console.print(f"{name}: worst at {found.where}; no answer of the oracle at {found.unheld[:3]}")
    Console(width=120).print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(f"wrote {OUT}")
    return 0 if all(found.holds for found in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
