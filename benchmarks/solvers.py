"""Closed forms against integrators at the same true accuracy: ratios within one run, on one thread.

Every opponent carries all modes in one call, in its best coordinates, at the cheapest tolerance that reaches the accuracy at every
output time; its error is measured against the closed form, which is itself held to 50-digit arithmetic first. Writes
build/bench/solvers.md, work_precision.pdf and work_precision.png; the exit status is 1 if a ratio misses its bound.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import mpmath as mp
import numpy as np
from integrators import Measured, Problem, against_integrators
from measure import ACCURACY, REPEATS, TOLERANCES, Array, Row, on_one_thread, once, seconds, shown
from numpy._core._multiarray_umath import __cpu_features__ as features  # type: ignore[import-not-found]
from rich.console import Console
from rich.table import Table
from scipy.integrate import solve_ivp
from scipy.special import wrightomega

from jepalign.linear_models.collapse import equilibria
from jepalign.linear_models.trajectories import balanced_jepa, spectral_contrastive_gram
from jepalign.linear_models.trajectories.wright import wright

OUT = Path("build/bench")
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
            "≥ 2",
            theirs / ours >= 2,
        )
    ]
    sample = np.concatenate([rng.uniform(-700, 100, 1000), 10 ** rng.uniform(-12, 300, 500), rng.uniform(-3, 3, 1500)])
    for name, function, bound in (("ours", wright, 6.0), ("scipy", wrightomega, np.inf)):
        off = ulps(sample, function(sample))
        rows.append(
            Row(
                f"Wright function, {name}",
                f"{off:.2f} ulp",
                "",
                off,
                f"≤ {bound:g} ulp" if bound < np.inf else "",
                off <= bound if bound < np.inf else None,
            )
        )
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
        limit = limits[decay > 0]
        rows.append(
            Row(
                f"balanced_jepa, an element, {what}",
                shown(value / 2e5),
                f"np.exp {shown(base / 2e5)}",
                value / base,
                f"≤ {limit:g}",
                value / base <= limit,
            )
        )
    return rows


def gram() -> list[Row]:
    """Return the rows of the Gram matrix: against DOP853 in C's eigenbasis, at many times and at one."""
    rng = np.random.default_rng(2)
    d, k = 256, 32
    values = rng.uniform(-0.2, 1.5, d)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    cross = (axes * values) @ axes.T
    cross = (cross + cross.T) / 2
    values, axes = np.linalg.eigh(cross)
    start = 0.01 * rng.normal(size=(k, d))

    def opponent(times: Array, rtol: float) -> Array:
        def field(_: float, x: Array) -> Array:
            w = x.reshape(k, d)
            return (4 * (w * values - (w @ w.T) @ w)).ravel()

        done = solve_ivp(
            field, (0, times[-1]), (start @ axes).ravel(), method="DOP853", t_eval=times, rtol=rtol, atol=rtol * 1e-2
        )
        turned = done.y.T.reshape(-1, k, d) @ axes.T
        return turned.swapaxes(1, 2) @ turned

    rows: list[Row] = []
    for times, bound in ((np.linspace(0.5, 50, 100), 5.0), (np.array([50.0]), 30.0)):
        exact = spectral_contrastive_gram(times, start, cross)
        (ours,) = seconds(lambda t=times: spectral_contrastive_gram(t, start, cross), repeats=5)
        best, setting = np.inf, "never right to 1e-10"
        for rtol in TOLERANCES:
            took, found = once(lambda t=times, r=rtol: opponent(t, float(r)))
            off = float(np.max(np.abs(found - exact).max(axis=(1, 2)) / np.abs(exact).max(axis=(1, 2))))
            if off <= ACCURACY:
                best = min(took, *(once(lambda t=times, r=rtol: opponent(t, float(r)))[0] for _ in range(2)))
                setting = f"{shown(best)} (rtol {rtol:.1g})"
                break
        what = f"Gram matrix, d = {d}, k = {k}, {len(times)} time{'s' if len(times) > 1 else ''} to 50"
        rows.append(
            Row(
                what,
                shown(ours),
                f"DOP853 in the eigenbasis {setting}",
                best / ours,
                f"≥ {bound:g}",
                best / ours >= bound,
            )
        )
    return rows


def fitted(sizes: Sequence[float], took: Sequence[float]) -> float:
    """Return the exponent of a power law through the measurements."""
    return float(np.polyfit(np.log(sizes), np.log(took), 1)[0])


def growth() -> list[Row]:
    """Return the rows of the cost as sizes grow."""
    rng = np.random.default_rng(3)
    sizes = [10**4, 10**5, 10**6, 10**7, 10**8]
    took: list[float] = []
    for size in sizes:
        times = np.linspace(0.1, 200, min(1000, size // 100))
        cross = rng.uniform(0.2, 1, (size // len(times), 1))
        took += seconds(lambda c=cross, t=times: balanced_jepa(t, 0.1, c, 1.0), repeats=3 if size > 10**6 else REPEATS)
    exponent = fitted(sizes, took)
    rows = [
        Row(
            "balanced_jepa, modes × times from 1e4 to 1e8: exponent",
            f"{exponent:.3f}",
            "",
            exponent,
            "1.0 ± 0.1",
            abs(exponent - 1) <= 0.1,
        )
    ]
    sizes, took = [64, 128, 256, 512, 1024], []
    for d in sizes:
        cross = np.diag(rng.uniform(-0.2, 1.5, d)) + 1e-3
        start = 0.01 * rng.normal(size=(32, d))
        took += seconds(lambda c=cross, s=start: spectral_contrastive_gram([50.0], s, c), repeats=3)
    exponent = fitted(sizes, took)
    rows.append(
        Row(
            "Gram matrix at one time, d from 64 to 1024: exponent",
            f"{exponent:.2f}",
            "",
            exponent,
            "≤ 3",
            exponent <= 3,
        )
    )
    cross, decay = np.linspace(-1, 1, 1000)[:, None], np.linspace(0, 0.5, 1000)
    (once_,) = seconds(lambda: equilibria(cross, 1.0, decay), repeats=3)
    rows.append(Row("equilibria at 1000 × 1000 values of (λ, η)", shown(once_), "", once_, "≤ 1 s", once_ <= 1))
    return rows


def figure(panels: dict[str, dict[str, Measured]]) -> None:
    """Draw the true error against the time of every setting that was tried."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.4), squeeze=False, layout="constrained")
    for ax, (title, tried) in zip(axes[0], panels.items(), strict=True):
        for index, (name, points) in enumerate(tried.items()):
            finite = [(off, took) for off, took, _ in points if np.isfinite(off)]
            if finite:
                ours = name == "closed form"
                ax.loglog(
                    *zip(*finite, strict=True),
                    "*" if ours else "os^vDP"[index % 6],
                    ms=12 if ours else 4,
                    color="k" if ours else f"C{index}",
                    label=name,
                )
        ax.axvline(ACCURACY, color="0.7", lw=0.8, zorder=0)
        ax.set(title=title, xlabel="largest relative error", ylabel="seconds")
        ax.legend(fontsize=7)
    for suffix in ("pdf", "png"):
        drawn.savefig(
            OUT / f"work_precision.{suffix}", dpi=160, metadata={"CreationDate": None} if suffix == "pdf" else None
        )
    plt.close(drawn)


def main() -> int:
    """Measure, print and write everything; return 1 if a bound is missed."""
    on_one_thread()
    OUT.mkdir(parents=True, exist_ok=True)
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
    rows += gram() + growth()
    table = Table("what", "ours", "against", "ratio", "bound", "", box=None)
    lines = ["| what | ours | against | ratio | bound | |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        ratio = "" if not np.isfinite(row.ratio) or not row.other else f"{row.ratio:.3g}"
        verdict = {True: "holds", False: "MISSED", None: ""}[row.holds]
        table.add_row(row.what, row.ours, row.other, ratio, row.bound, verdict)
        lines.append(f"| {row.what} | {row.ours} | {row.other} | {ratio} | {row.bound} | {verdict} |")
    Console(width=190).print(table)
    (OUT / "solvers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figure(panels)
    return int(any(row.holds is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
