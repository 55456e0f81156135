"""How seconds grow with the size of a problem, ours beside integrators that are right to the same true accuracy."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from gram import GramProblem
from integrators import Problem, diffrax_calls
from measure import ACCURACY, REPEATS, TOLERANCES, Array, Row, at_most, error, once, seconds, shown

from jepalign.linear_models.collapse import equilibria
from jepalign.linear_models.trajectories import spectral_contrastive_gram

CLOSED = "closed form"
INTEGRATED = 5000
"""The most modes that integrators are given."""


class Sized(NamedTuple):
    """Seconds that a solver takes for one size of a task."""

    task: str
    solver: str
    size: int
    seconds: float


Solve = Callable[[float], Callable[[], Array | None]]


def opponents(problem: Problem) -> list[tuple[str, Solve]]:
    """Return integrators with their names, SciPy's in w and in ln w."""

    def scipy(method: str, *, logarithm: bool) -> Solve:
        return lambda rtol: lambda: problem.scipy(method, rtol, logarithm=logarithm, bounded=False)

    found = [(method, scipy(method, logarithm=log)) for method in ("DOP853", "LSODA") for log in (False, True)]
    return [*found, *diffrax_calls(problem).items()]


def cheapest(solve: Solve, exact: Array) -> float:
    """Return the least seconds at the first of the tolerances that is truly right to ``ACCURACY``, ∞ if none is."""
    for rtol in TOLERANCES:
        call = solve(float(rtol))
        call()  # compiles
        took, solution = once(call)
        if error(solution, exact) <= ACCURACY:
            return min(took, *(once(call)[0] for _ in range(2)))
    return np.inf


def modes() -> list[Sized]:
    """Return the seconds of similar modes at 200 times, by modes × times."""
    rng = np.random.default_rng(3)
    found: list[Sized] = []
    for count in (50, 500, 5000, 50_000, 500_000):
        problem = Problem(rng.uniform(0.2, 1, count), 0.1, np.linspace(1, 200, 200))
        size = count * len(problem.times)
        (ours,) = seconds(problem.closed, repeats=3 if size > 10**6 else REPEATS)
        found.append(Sized("modes", CLOSED, size, ours))
        if count > INTEGRATED:
            continue
        exact = problem.closed()
        best: dict[str, float] = {}
        for name, solve in opponents(problem):
            best[name] = min(best.get(name, np.inf), cheapest(solve, exact))
        found += [Sized("modes", name, size, took) for name, took in best.items() if np.isfinite(took)]
    return found


def gram_matrices() -> list[Sized]:
    """Return the seconds of the Gram matrix at one time, by the dimension of the input."""
    found: list[Sized] = []
    for d in (64, 128, 256, 512, 1024):
        problem = GramProblem.random(d, np.array([50.0]))
        cross = problem.cross
        (ours,) = seconds(lambda p=problem, c=cross: spectral_contrastive_gram(p.times, p.start, c), repeats=3)
        found += [Sized("gram", CLOSED, d, ours), Sized("gram", "DOP853", d, problem.cheapest()[0])]
    return found


def exponent(sized: Sequence[Sized]) -> float:
    """Return the exponent of a power law through the closed form's seconds."""
    ours = [(each.size, each.seconds) for each in sized if each.solver == CLOSED]
    size, took = np.log(np.array(ours).T)
    return float(np.polyfit(size, took, 1)[0])


def growth() -> tuple[list[Row], list[Sized]]:
    """Return the rows of the cost as sizes grow, and all that was measured for them."""
    many, matrices = modes(), gram_matrices()
    power, other = exponent(many), exponent(matrices)
    what = "balanced_jepa, modes × times from 1e4 to 1e8: exponent"
    rows = [Row(what, f"{power:.3f}", "", power, "1.0 ± 0.1", abs(power - 1) / 0.1)]
    rows.append(
        Row("Gram matrix at one time, d from 64 to 1024: exponent", f"{other:.2f}", "", other, *at_most(other, 3.0))
    )
    cross, decay = np.linspace(-1, 1, 1000)[:, None], np.linspace(0, 0.5, 1000)
    (took,) = seconds(lambda: equilibria(cross, 1.0, decay), repeats=3)
    rows.append(Row("equilibria at 1000 × 1000 values of (λ, η)", shown(took), "", took, *at_most(took, 1.0, " s")))
    return rows, many + matrices
