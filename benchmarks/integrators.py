"""The balanced flow of many modes at once, by SciPy and diffrax at the cheapest setting that reaches a true accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
from measure import ACCURACY, TOLERANCES, UNBOUNDED, Array, Row, at_least, at_most, error, once, seconds, shown
from rich.console import Console
from rich.progress import track
from scipy.integrate import solve_ivp
from scipy.sparse import diags

from jepalign.linear_models.trajectories import balanced_jepa


@dataclass(frozen=True)
class Problem:
    """Modes that start at one weight, and the times at which they are wanted."""

    cross: Array
    start: float
    times: Array

    def closed(self) -> Array:
        """Return the closed form, of shape (modes, times)."""
        return balanced_jepa(self.times, self.start, self.cross[:, None], 1.0)

    def scipy(self, method: str, rtol: float, *, logarithm: bool, bounded: bool) -> Array | None:
        """Return SciPy's solution in w or in ln w; ``bounded`` steps end at every output, and nothing is interpolated."""
        cross, n = self.cross, len(self.cross)

        def field(_: float, x: Array) -> Array:
            w = np.exp(x) if logarithm else x
            rest = cross - w
            rest *= w
            return rest if logarithm else rest * w

        def slope(x: Array) -> Array:
            w = np.exp(x) if logarithm else x
            return w * (cross - 2 * w) if logarithm else w * (2 * cross - 3 * w)

        extra: dict[str, Any] = {}
        if method == "LSODA":
            extra = {"lband": 0, "uband": 0, "jac": lambda _, x: slope(x)[None, :]}
        elif method in ("BDF", "Radau"):
            extra = {"jac": lambda _, x: diags(slope(x), format="csc")}
        state = np.full(n, np.log(self.start) if logarithm else self.start)
        absolute = rtol if logarithm else rtol * min(self.start, float(cross.min()))
        if not bounded:
            span = (0.0, float(self.times[-1]))
            done = solve_ivp(field, span, state, method=method, t_eval=self.times, rtol=rtol, atol=absolute, **extra)
            return (np.exp(done.y) if logarithm else done.y) if done.success else None
        found, now = np.empty((n, len(self.times))), 0.0
        for index, then in enumerate(self.times):
            if then > now:
                done = solve_ivp(
                    field, (now, then), state, method=method, t_eval=[then], rtol=rtol, atol=absolute, **extra
                )
                if not done.success:
                    return None
                state, now = done.y[:, -1], float(then)
            found[:, index] = state
        return np.exp(found) if logarithm else found


def held_to_many_digits(problem: Problem, exact: Array) -> float:
    """Return the closed form's largest relative error at a sample of modes and times, against 50 digits."""
    worst = 0.0
    rng = np.random.default_rng(1)
    with mp.workdps(50):
        for _ in range(60):
            i, j = int(rng.integers(len(problem.cross))), int(rng.integers(len(problem.times)))
            cross, start, t = mp.mpf(problem.cross[i]), mp.mpf(problem.start), mp.mpf(problem.times[j])
            u = cross / start - 1
            if u > 0:
                x = u + mp.log(u) - cross**2 * t
                value = cross / (1 + mp.lambertw(mp.exp(x)).real)
            else:  # −ln(1−v) − v grows by λ²t
                level = mp.log(-u) + (1 + u) + -(cross**2) * t
                value = cross / (1 + mp.lambertw(-mp.exp(level - 1)).real)
            worst = max(worst, abs(float(mp.mpf(float(exact[i, j])) / value - 1)))
    return worst


def diffrax_calls(problem: Problem) -> dict[str, Callable[[float], Callable[[], Array | None]]]:
    """Return compiled solvers of diffrax by name, or none where it is not installed."""
    try:
        import diffrax  # pyright: ignore[reportMissingImports]
        import jax  # pyright: ignore[reportMissingImports]
        import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {}
    jax.config.update("jax_enable_x64", True)
    cross, times = jnp.asarray(problem.cross), jnp.asarray(problem.times)

    def made(solver: Any, *, logarithm: bool) -> Callable[[float], Callable[[], Array | None]]:
        def field(_: Any, x: Any, __: Any) -> Any:
            w = jnp.exp(x) if logarithm else x
            return w * (cross - w) * (1 if logarithm else w)

        def integrate(rtol: Any, atol: Any, initial: Any) -> Any:
            done = diffrax.diffeqsolve(
                diffrax.ODETerm(field), solver, 0.0, float(problem.times[-1]), 1e-3 / float(problem.cross.max()) ** 2,
                initial, saveat=diffrax.SaveAt(ts=times), max_steps=200_000, throw=False,
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            )  # fmt: skip
            states: Any = done.ys
            return (jnp.exp(states) if logarithm else states).T

        solve = jax.jit(integrate)

        def at(rtol: float) -> Callable[[], Array | None]:
            initial = jnp.full(len(problem.cross), np.log(problem.start) if logarithm else problem.start)
            atol = rtol if logarithm else rtol * min(problem.start, float(problem.cross.min()))
            return lambda: np.asarray(solve(rtol, atol, initial).block_until_ready())

        return at

    found = {
        "diffrax Tsit5": made(diffrax.Tsit5(), logarithm=False),
        "diffrax Dopri8": made(diffrax.Dopri8(), logarithm=False),
    }
    return found


Measured = list[tuple[float, float, str]]  # error, seconds, setting


def cheapest(
    problem: Problem, exact: Array, methods: Sequence[str], limit: float
) -> tuple[dict[str, tuple[float, str]], dict[str, Measured]]:
    """Return the least seconds with a true error of at most ``ACCURACY`` of every opponent, and all that was tried."""
    best: dict[str, tuple[float, str]] = {}
    tried: dict[str, Measured] = {}
    choices = [(method, log, bounded) for method in methods for log in (False, True) for bounded in (False, True)]
    for method, log, bounded in track(choices, description="SciPy", console=Console(stderr=True)):
        if bounded and method in ("BDF", "Radau", "LSODA"):
            continue  # each restart begins at first order again
        for rtol in TOLERANCES:
            took, found = once(
                lambda m=method, r=rtol, a=log, b=bounded: problem.scipy(m, float(r), logarithm=a, bounded=b)
            )
            setting = f"rtol {rtol:.1g}, {'ln w' if log else 'w'}{', a step to each output' if bounded else ''}"
            off = error(found, exact)
            tried.setdefault(method, []).append((off, took, setting))
            if off <= ACCURACY:
                again = (
                    min(
                        took,
                        *(
                            once(
                                lambda m=method, r=rtol, a=log, b=bounded: problem.scipy(
                                    m, float(r), logarithm=a, bounded=b
                                )
                            )[0]
                            for _ in range(2)
                        ),
                    )
                    if took < limit
                    else took
                )
                if again < best.get(method, (np.inf, ""))[0]:
                    best[method] = again, setting
                break
            if took > limit:
                break
    for name, at in diffrax_calls(problem).items():
        for rtol in TOLERANCES:
            call = at(float(rtol))
            call()  # compiles
            took = min(once(call)[0] for _ in range(3))
            off = error(call(), exact)
            tried.setdefault(name, []).append((off, took, f"rtol {rtol:.1g}"))
            if off <= ACCURACY:
                best[name] = took, f"rtol {rtol:.1g}"
                break
            if took > limit:
                break
    return best, tried


def against_integrators(
    what: str, problem: Problem, methods: Sequence[str], bound: float, limit: float = 6.0
) -> tuple[list[Row], dict[str, Measured]]:
    """Return the rows of one problem: SciPy's best against the bound, and everything else that reached the accuracy."""
    exact = problem.closed()
    right = held_to_many_digits(problem, exact)
    best, tried = cheapest(problem, exact, methods, limit)
    (ours,) = seconds(problem.closed)
    rows = [Row(f"{what}: error against 50 digits", f"{right:.1e}", "", right, *at_most(right, ACCURACY))]
    scipy = {name: value for name, value in best.items() if name in methods}
    winner = min(scipy, key=lambda name: scipy[name][0], default=None)
    for method in methods:
        if method not in best:
            closest = min(tried[method])
            rows.append(
                Row(
                    what,
                    shown(ours),
                    f"{method}: nearest {closest[0]:.0e}, in {shown(closest[1])}; not right within {limit:g} s a run",
                    np.inf,
                )
            )
    for name, (took, setting) in sorted(best.items(), key=lambda item: item[1][0]):
        held = at_least(took / ours, bound) if name == winner else UNBOUNDED
        rows.append(Row(what, shown(ours), f"{name} {shown(took)} ({setting})", took / ours, *held))
    if winner is None:
        rows.append(Row(what, shown(ours), "none of SciPy's reached the accuracy", np.inf, *at_least(np.inf, bound)))
    tried["closed form"] = [(max(right, 1e-17), ours, "")]
    return rows, tried
