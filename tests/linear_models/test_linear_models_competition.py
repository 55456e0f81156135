"""Which of two directions an embedding too narrow for both keeps (6.3): the law against the flow of matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, ViewPair
from jepalign.linear_models.collapse import competition, critical_weight_decay, equilibria


def _end(cross: np.ndarray, sigma: np.ndarray, decay: float, first: int) -> np.ndarray:
    """Return the weights at which an encoder of one row rests that starts in one direction, with 1e-3 of the other."""
    views = ViewPair.from_covariances(np.diag(sigma), np.diag(sigma), np.diag(cross))
    weight = float(equilibria(cross, sigma, decay)[first, 2])
    start = np.full(2, 1e-3)
    start[first] = weight
    return LinearJEPA(views, weight_decay=decay).solve(start[None], [[weight]], [0.0, 2000.0]).encoder[-1, 0]


def test_the_weaker_correlation_can_win() -> None:
    cross, sigma = np.array([1.56, 0.9]), np.array([4.0, 1.0])  # ρ = 0.39 and 0.9
    stable = competition(cross, sigma, 0.15)
    # p₊ of the first is 0.2 by 4p² − 1.56p + 0.15 = 0 (roots 0.17, 0.22); of the second 0.68, its edge 0.22.
    for first in (0, 1):
        stays = np.abs(_end(cross, sigma, 0.15, first)).argmax() == first
        assert bool(stable[first, 1 - first]) == stays
    assert bool(stable[0, 1])
    # Without decay the larger ρ wins always.
    assert competition(cross, sigma, 0.0)[1, 0]
    assert not competition(cross, sigma, 0.0)[0, 1]


@pytest.mark.parametrize("seed", range(12))
def test_the_flow_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(0.5, 4, size=2)
    cross = rng.uniform(0.4, 1, size=2) * sigma
    decay = rng.uniform(0.3, 0.95) * float(critical_weight_decay(cross, sigma).min())
    stable = competition(cross, sigma, decay)
    for first in (0, 1):
        p = equilibria(cross, sigma, decay)[first, 2]
        rate = p * (cross[1 - first] - p * sigma[1 - first]) - decay
        if abs(rate) > 0.01:  # enough for 2000 units of time to decide
            end = np.abs(_end(cross, sigma, decay, first))
            # An admixture that dies leaves nothing.
            assert bool(stable[first, 1 - first]) == (end[1 - first] < 1e-6)


@given(
    rho=st.lists(st.floats(-0.95, 0.95), min_size=1, max_size=6),
    logarithms=st.lists(st.floats(-6, 6), min_size=6, max_size=6),
    fraction=st.floats(0, 1.2),
)
@examples(200)
def test_the_law_is_the_sign_of_the_rate(rho: list[float], logarithms: list[float], fraction: float) -> None:
    rho = [value if abs(value) > 1e-3 else 0.0 for value in rho]
    sigma = 10.0 ** np.array(logarithms[: len(rho)])
    cross = np.array(rho) * sigma
    decay = fraction * float(critical_weight_decay(cross, sigma)[0])
    if decay < 1e-30:
        decay = 0.0
    stable, rests = competition(cross, sigma, decay), equilibria(cross, sigma, decay)
    for i in range(len(rho)):
        for j in range(len(rho)):
            if i == j or rests[i, 2] is np.ma.masked or rests[i, 1] == rests[i, 2]:
                assert stable[i, j] is np.ma.masked
                continue
            p = float(rests[i, 2])
            terms = p * cross[j], -p * p * sigma[j], -decay
            # Three terms, and p from a root that may lie next to the threshold: a few units of each.
            if abs(sum(terms)) > 1e-13 * sum(map(abs, terms)):
                assert bool(stable[i, j]) == (sum(terms) < 0)


def test_twins_are_neutral_and_shapes_are_checked() -> None:
    twins = competition([0.5, 0.5], [1.0, 1.0], 0.01)
    assert not twins[0, 1]
    assert not twins[1, 0]
    with pytest.raises(InputError):
        competition([0.5, 0.5], [1.0], 0.01)
    with pytest.raises(InputError):
        competition([0.5, 0.5], [1.0, 1.0], -0.01)
