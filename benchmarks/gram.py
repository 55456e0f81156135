"""The Gram matrix of a spectral contrastive encoder by its closed form and by DOP853, at the same true accuracy."""

from dataclasses import dataclass

import numpy as np
from measure import ACCURACY, TOLERANCES, Array, Row, at_least, once, seconds, shown
from scipy.integrate import solve_ivp

from jepalign.linear_models.trajectories import spectral_contrastive_gram

WIDTH = 32


@dataclass(frozen=True)
class GramProblem:
    """A random start, the eigenvalues and eigenvectors of a random C, and the times at which WᵀW is wanted."""

    start: Array
    values: Array
    axes: Array
    times: Array

    @classmethod
    def random(cls, dimension: int, times: Array) -> "GramProblem":
        """Return a problem with ``WIDTH`` embedding dimensions."""
        rng = np.random.default_rng(2)
        values = rng.uniform(-0.2, 1.5, dimension)
        axes = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]
        return cls(0.01 * rng.normal(size=(WIDTH, dimension)), values, axes, times)

    @property
    def cross(self) -> Array:
        """C, (d, d)."""
        found = (self.axes * self.values) @ self.axes.T
        return (found + found.T) / 2

    def closed(self) -> Array:
        """Return the closed form, (times, d, d)."""
        return spectral_contrastive_gram(self.times, self.start, self.cross)

    def integrated(self, rtol: float) -> Array:
        """Return what DOP853 finds in the eigenbasis of C, which is given to it."""
        shape = self.start.shape

        def field(_: float, x: Array) -> Array:
            w = x.reshape(shape)
            return (4 * (w * self.values - (w @ w.T) @ w)).ravel()

        start, span = (self.start @ self.axes).ravel(), (0, self.times[-1])
        done = solve_ivp(field, span, start, method="DOP853", t_eval=self.times, rtol=rtol, atol=rtol * 1e-2)
        turned = done.y.T.reshape(-1, *shape) @ self.axes.T
        return turned.swapaxes(1, 2) @ turned

    def cheapest(self) -> tuple[float, float]:
        """Return the least seconds of the cheapest tolerance that is truly right to ``ACCURACY``, and the tolerance."""
        exact = self.closed()
        for rtol in TOLERANCES:
            took, found = once(lambda r=rtol: self.integrated(float(r)))
            off = np.abs(found - exact).max(axis=(1, 2)) / np.abs(exact).max(axis=(1, 2))
            if off.max() <= ACCURACY:
                again = (once(lambda r=rtol: self.integrated(float(r)))[0] for _ in range(2))
                return min(took, *again), float(rtol)
        return np.inf, np.nan


def gram() -> list[Row]:
    """Return the rows of the Gram matrix, at many times and at one."""
    rows: list[Row] = []
    for times, bound in ((np.linspace(0.5, 50, 100), 5.0), (np.array([50.0]), 30.0)):
        problem = GramProblem.random(256, times)
        cross = problem.cross
        (ours,) = seconds(lambda p=problem, c=cross: spectral_contrastive_gram(p.times, p.start, c), repeats=5)
        best, rtol = problem.cheapest()
        setting = f"{shown(best)} (rtol {rtol:.1g})" if np.isfinite(best) else f"never right to {ACCURACY:g}"
        what = f"Gram matrix, d = 256, k = {WIDTH}, {len(times)} time{'s' if len(times) > 1 else ''} to 50"
        against = f"DOP853 in the eigenbasis {setting}"
        rows.append(Row(what, shown(ours), against, best / ours, *at_least(best / ours, bound)))
    return rows
