"""Closed forms against integrators at the same true accuracy: ratios within one run, on one thread.

Every opponent carries all modes in one call, in its best coordinates, at the cheapest tolerance that reaches the accuracy at every
output time; its error is measured against the closed form, which is itself held to 50-digit arithmetic first. Writes the
measurement that the figure "solvers" shows, and solvers.md; the exit status is 1 if a bound is missed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mpmath as mp
import numpy as np
from gram import gram
from integrators import Measured, Problem, against_integrators
from measure import ACCURACY, UNBOUNDED, Array, Row, at_least, at_most, on_one_thread, seconds, shown
from numpy._core._multiarray_umath import __cpu_features__ as features  # type: ignore[import-not-found]
from rich.console import Console
from rich.table import Table
from scaling import Sized, growth
from scipy.special import wrightomega

from jepalign.linear_models.trajectories import balanced_jepa
from jepalign.linear_models.trajectories.wright import wright
from jepalign.measurements import Measurement, save
from jepalign.storage import provenance, write_text

HEADER = ("what", "ours", "against", "ratio", "bound", "")
CRITERION = "observed, the ratio of seconds of one processor or the figure itself, keeps the bound; error is its miss in units of the bound"
SIMD = bool(features["AVX512F"] and features.get("AVX512_SKX", False))


def ulps(x: Array, found: Array) -> float:
    """Return the largest error of ω(x) in units of the last place."""
    worst = 0.0
    with mp.workdps(50):
        for value, result in zip(x, found, strict=True):
            argument = mp.mpf(float(value))
            if value < -30:
                exact = mp.exp(argument) * (1 - mp.exp(argument))
            else:  # Newton's method, since e^x may overflow
                exact = mp.mpf(float(result))
                for _ in range(4):
                    exact -= (exact + mp.log(exact) - argument) * exact / (1 + exact)
            worst = max(worst, float(abs(mp.mpf(float(result)) - exact) / mp.mpf(float(np.spacing(result)))))
    return worst


def elements() -> list[Row]:
    """Return the rows per element: the Wright function, and modes in units of np.exp."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-30, 60, 200_000)
    ours, theirs = seconds(lambda: wright(x), lambda: wrightomega(x), repeats=25)
    rows = [
        Row(
            "Wright function, an element",
            shown(ours / x.size),
            f"scipy.special.wrightomega {shown(theirs / x.size)}",
            theirs / ours,
            *at_least(theirs / ours, 2.0),
        )
    ]
    sample = np.concatenate([rng.uniform(-700, 100, 1000), 10 ** rng.uniform(-12, 300, 500), rng.uniform(-3, 3, 1500)])
    for name, function, bound in (("ours", wright, 6.0), ("scipy", wrightomega, np.inf)):
        off = ulps(sample, function(sample))
        held = at_most(off, bound, " ulp") if bound < np.inf else UNBOUNDED
        rows.append(Row(f"Wright function, {name}", f"{off:.2f} ulp", "", off, *held))
    cross, times = rng.uniform(0.2, 1, (1000, 1)), np.linspace(0, 200, 200)
    exponents = -rng.uniform(0, 5, (1000, 200))
    cases = {
        "η = 0, rising from 0.1": (0.1, 0.0), "η = 0, rising from 0.01": (0.01, 0.0), "η = 0, falling from 3": (3.0, 0.0),
        "η = 0, dying from −0.1": (-0.1, 0.0), "η = 0.001, rising from 0.1": (0.1, 0.001),
        "η = 0.001, falling from 3": (3.0, 0.001), "η = 0.001, dying from −0.1": (-0.1, 0.001), "η = 0.3, dying from 0.1": (0.1, 0.3),
    }  # fmt: skip
    calls = [lambda w=w, e=e: balanced_jepa(times, w, cross, 1.0, weight_decay=e) for w, e in cases.values()]
    base, *took = seconds(lambda: np.exp(exponents), *calls, repeats=25)
    limits = (18.0, 120.0) if SIMD else (6.0, 60.0)
    for (what, (_, decay)), value in zip(cases.items(), took, strict=True):
        name, against = f"balanced_jepa, an element, {what}", f"np.exp {shown(base / 2e5)}"
        rows.append(Row(name, shown(value / 2e5), against, value / base, *at_most(value / base, limits[decay > 0])))
    return rows


def stored(rows: Sequence[Row], panels: Mapping[str, Mapping[str, Measured]], sizes: Sequence[Sized]) -> Measurement:
    """Return everything that was measured; the bounds are its rows."""
    work = [
        (title, name, *point) for title, tried in panels.items() for name, found in tried.items() for point in found
    ]
    problem, method, off, took, setting = zip(*work, strict=True)
    task, solver, size, second = zip(*sizes, strict=True)
    arrays = {
        "work_problem": np.array(problem),
        "work_method": np.array(method),
        "work_error": np.array(off),
        "work_seconds": np.array(took),
        "work_setting": np.array(setting),
        "size_task": np.array(task),
        "size_solver": np.array(solver),
        "size": np.array(size),
        "size_seconds": np.array(second),
        "accuracy": np.array(ACCURACY),
        "table": np.array([row.cells for row in rows]),
    }
    bounded = [
        {
            "experiment": "solvers",
            "architecture": row.what,
            "predicted": None,
            "observed": row.ratio,
            "error": row.miss,
            "criterion": row.bound,
            "verdict": "holds" if row.miss <= 1 else "fails",
            "file": "solvers.npz",
        }
        for row in rows
        if row.miss is not None
    ]
    origin = provenance("make bench", 0, "cpu", ("numpy", "scipy", "diffrax", "jax"))
    return Measurement("solvers", arrays, bounded, CRITERION, {**origin, "avx512": SIMD})


def main() -> int:
    """Measure, print and write everything; return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="a directory (default: build/bench)")
    out = parser.parse_args().out
    on_one_thread()
    rng = np.random.default_rng(4)
    similar = rng.uniform(0.2, 1, 1000)
    many = Problem(similar, 0.1, np.linspace(1, 200, 200))
    rows = elements()
    panels: dict[str, dict[str, Measured]] = {}
    once_only = Problem(similar, 0.1, np.array([200.0]))
    spread = Problem(np.logspace(-4, 2, 200), 1e-3, np.logspace(-2, 8, 50))
    easy, stiff = ("DOP853", "LSODA"), ("LSODA", "BDF", "Radau")
    for title, what, problem, methods, bound in (
        ("similar modes, 200 times", "similar modes: 1000 modes × 200 times to 200", many, easy, 4.0),
        ("similar modes, one time", "similar modes: 1000 modes at t = 200", once_only, easy, 100.0),
        ("spread modes", "spread modes: 200 over 6 decades of λ × 50 times to 1e8", spread, stiff, 250.0),
    ):
        more, panels[title] = against_integrators(what, problem, methods, bound)
        rows += more
    rows += gram()
    grown, sizes = growth()
    rows += grown
    measurement = stored(rows, panels, sizes)
    table = Table(*HEADER, box=None)
    lines = ["| " + " | ".join(HEADER) + " |", "| " + " | ".join("---" for _ in HEADER) + " |"]
    for row in rows:
        table.add_row(*row.cells)
        lines.append("| " + " | ".join(row.cells) + " |")
    Console(width=190).print(table)
    save(measurement, out)
    write_text(out / "solvers.md", "\n".join(lines) + "\n")
    return int(any(row["verdict"] == "fails" for row in measurement.rows))


if __name__ == "__main__":
    sys.exit(main())
