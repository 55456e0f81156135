"""Verifying many results at once, in this process or in several."""

from collections.abc import Callable, Sequence
from typing import Any

from jepalign.errors import InputError
from jepalign.theory.catalogue import find
from jepalign.theory.proof import Report, examples, verify

Progress = Callable[[int, int, str], None]


def verify_named(name: str, seed: int = 0) -> Report:
    """Verify one result of the catalogue by name (theorems themselves do not travel between processes)."""
    return verify(find(name), seed=seed)


def verify_all(names: Sequence[str], *, jobs: int = 1, seed: int = 0, progress: Progress | None = None) -> list[Report]:
    """Verify the named results and return their reports in the given order.

    Parameters
    ----------
    names : sequence of str
        Names of results of the catalogue.
    jobs : int
        Number of processes, at least 1. Each pays about a second of imports, so that one is best for a few results.
    seed : int
        Seeds the random instances.
    progress : callable, optional
        Called with (done, total, name) as results come in.

    Raises
    ------
    InputError
        If ``jobs`` is not positive or a name is unknown.
    """
    if jobs < 1:
        raise InputError("jobs", jobs, "must be at least 1")
    for name in names:
        find(name)
    reports: list[Report] = []

    def collect(results: Any) -> list[Report]:
        for done, report in enumerate(results, start=1):
            reports.append(report)
            if progress is not None:
                progress(done, len(names), report.name)
        return reports

    if jobs == 1 or len(names) == 1:
        return collect(verify_named(name, seed) for name in names)
    from joblib import Parallel, delayed

    work = (delayed(verify_named)(name, seed) for name in names)
    return collect(Parallel(n_jobs=jobs, return_as="generator")(work))


def run_examples(name: str, count: int, seed: int) -> dict[str, Any]:
    """Draw ``count`` admissible instances of a result and evaluate every conclusion exactly."""
    return {"name": name, **examples(find(name), count, seed)}


def as_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Return plain data: {"theorems": [...]}, one entry per report with its steps, siblings, witnesses and sources."""
    return {"theorems": [report.as_dict() for report in reports]}


METHOD_NAMES = {
    "symbolic": "symbolically, for all shapes",
    "per-mode": "symbolically, per mode",
    "smt": "by z3 over the reals",
    "ball": "by ball arithmetic",
    "cited": "cited",
}


def count_methods(reports: Sequence[Report]) -> dict[str, int]:
    """Return how many steps were established by which method, strongest first; methods that do not occur are left out."""
    counts = {method: sum(step.method == method for r in reports for step in r.steps) for method in METHOD_NAMES}
    return {method: count for method, count in counts.items() if count}


def summary(reports: Sequence[Report]) -> str:
    """Say in one line what stands and what does not."""
    proved = sum(r.verdict == "proved" for r in reports)
    cited = sum(r.verdict == "proved-with-citations" for r in reports)
    beliefs = sum(r.verdict == "refuted" and r.kind == "belief" for r in reports)
    siblings = [s for r in reports for s in r.siblings]
    necessity = [n for r in reports for n in r.necessity]
    failing = [r.name for r in reports if not r.stands]
    line = (
        f"{len(reports)} results: {proved} proved, {cited} proved with citations, "
        f"{beliefs} common beliefs refuted and repaired; "
        f"{sum(s.refused for s in siblings)} of {len(siblings)} false siblings refused; "
        f"{sum(not n.problem for n in necessity)} of {len(necessity)} assumptions shown necessary"
    )
    return line + (f"; NOT standing: {', '.join(failing)}" if failing else "")
