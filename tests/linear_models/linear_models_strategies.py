"""Views with prescribed dimension, condition number and canonical correlations, for property tests."""

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jepalign.linear_models.views import ViewPair

Array = NDArray[np.float64]

LARGEST_CORRELATION = 0.95


def examples(count: int) -> settings:
    """Return settings for ``count`` examples, the same in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Drawn:
    """Views and what they were made from: the condition number of each covariance and the signed correlations."""

    views: ViewPair
    condition: float
    correlations: Array
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed + 1)

    def width(self) -> int:
        """Return an embedding dimension between 1 and d."""
        return 1 + self.seed % self.views.dimension


def orthogonal(rng: np.random.Generator, size: int) -> Array:
    """Return a random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def with_singular_values(rng: np.random.Generator, values: Array, columns: int) -> Array:
    """Return a random matrix of len(values) rows with these singular values."""
    return orthogonal(rng, len(values)) * values @ orthogonal(rng, columns)[: len(values)]


def spectrum(rng: np.random.Generator, size: int, condition: float) -> Array:
    """Return ``size`` variances from 1 to 1/condition, both attained if there are two."""
    inside = rng.uniform(size=size)
    inside[: min(size, 2)] = [0.0, 1.0][: min(size, 2)]
    return condition**-inside


def make_views(seed: int, dimension: int, condition: float, *, exchangeable: bool) -> Drawn:
    """Return views whose covariances have the largest eigenvalue 1 and the given condition number."""
    rng = np.random.default_rng(seed)
    rho = rng.uniform(-LARGEST_CORRELATION, LARGEST_CORRELATION, size=dimension)
    rho[0] = LARGEST_CORRELATION
    roots: list[Array] = []
    for _ in range(1 if exchangeable else 2):
        axes = orthogonal(rng, dimension)
        roots.append(axes * np.sqrt(spectrum(rng, dimension, condition)) @ axes.T)
    left, right = orthogonal(rng, dimension), orthogonal(rng, dimension)
    cross = roots[-1] @ (left * rho @ (left if exchangeable else right).T) @ roots[0]
    if exchangeable:
        cross = (cross + cross.T) / 2
    views = ViewPair.from_covariances(roots[0] @ roots[0], roots[-1] @ roots[-1], cross)
    reached = condition if dimension > 1 else 1.0
    return Drawn(views, reached, rho, seed)


def drawn_views(
    *,
    dimensions: tuple[int, int] = (1, 8),
    conditions: tuple[float, float] = (0.0, 6.0),
    exchangeable: bool | None = None,
) -> st.SearchStrategy[Drawn]:
    """Return a strategy for views; ``conditions`` are decimal logarithms, ``exchangeable`` None for either kind."""
    return st.builds(
        lambda seed, dimension, logarithm, same: make_views(seed, dimension, 10.0**logarithm, exchangeable=same),
        st.integers(0, 2**32),
        st.integers(*dimensions),
        st.floats(*conditions),
        st.booleans() if exchangeable is None else st.just(exchangeable),
    )
