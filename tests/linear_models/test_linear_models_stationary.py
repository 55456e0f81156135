"""Closed forms of masked tokens against the covariances themselves."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.masking.laws import BlockMask, IndependentMasks, MultiBlockMasks, exponential_tokens
from jepalign.linear_models.masking.spectrum import mask_spectrum, rank_map
from jepalign.linear_models.masking.stationary import circular_modes, independent_modes

TARGETS = st.sampled_from(("output", "input"))
Target = Literal["output", "input"]


def thresholds(cross: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.sort(cross / variance * cross / 4)[::-1]


@examples(40)
@given(
    tokens=st.integers(2, 12),
    correlation=st.floats(0, 0.95),
    ratio=st.floats(0.02, 0.98),
    target=TARGETS,
    circular=st.booleans(),
)
def test_independent_masks_have_the_modes_of_their_covariances(
    tokens: int, correlation: float, ratio: float, target: Target, circular: bool
) -> None:
    covariance = exponential_tokens(tokens, correlation, circular=circular)
    found = independent_modes(np.linalg.eigvalsh(covariance), [ratio], target)
    masks = IndependentMasks(tokens, 1 - ratio)
    exact = mask_spectrum(covariance, masks, target)
    # λ and σ are of order one, with the rounding of an eigenvalue each; σ ≥ q(1−q) > 0.019, over which λ² is divided.
    np.testing.assert_allclose(thresholds(found.cross[0], found.variance[0]), exact.threshold, rtol=0, atol=1e-12)
    assert found.ratio[0] == ratio


@examples(40)
@given(
    tokens=st.integers(3, 12),
    correlation=st.floats(0, 0.9),
    length=st.integers(1, 11),
    blocks=st.integers(1, 3),
    target=TARGETS,
)
def test_blocks_on_a_circle_have_the_modes_of_their_covariances(
    tokens: int, correlation: float, length: int, blocks: int, target: Target
) -> None:
    length = min(length, tokens - 1)
    masks = MultiBlockMasks(tokens, length, blocks)
    found = circular_modes(tokens, correlation, [length], blocks=blocks, target=target)
    exact = mask_spectrum(exponential_tokens(tokens, correlation, circular=True), masks, target)
    assert found.ratio[0] == pytest.approx(1 - masks.mean[0], abs=1e-14)
    # As above; the least σ, of one token seen in twelve cubed, is 6e-4 · 0.05.
    wanted = np.zeros(tokens)
    wanted[: len(exact.threshold)] = exact.threshold
    np.testing.assert_allclose(thresholds(found.cross[0], found.variance[0]), wanted, rtol=0, atol=1e-9)


@examples(60)
@given(tokens=st.integers(2, 30), correlation=st.floats(0.01, 0.95))
def test_input_masked_modes_are_best_hidden_at_the_root_of_a_quadratic(tokens: int, correlation: float) -> None:
    s = np.linalg.eigvalsh(exponential_tokens(tokens, correlation))
    a = s[np.abs(s - 1) > 1e-3] - 1
    best = 1 - (np.sqrt(9 + 8 * a) - 3) / (4 * a)  # share hidden
    at = independent_modes(1 + a, best, "input")
    for shift in (-1e-3, 1e-3):
        moved = independent_modes(1 + a, np.clip(best + shift, 1e-6, 1 - 1e-6), "input")
        # Row i has the best ratio of mode i.
        assert (np.diag(moved.cross**2 / moved.variance) < np.diag(at.cross**2 / at.variance)).all()


def test_nothing_hidden_is_best_where_the_target_sees_all() -> None:
    s = np.linalg.eigvalsh(exponential_tokens(16, 0.7))
    found = independent_modes(s, np.linspace(0.01, 0.99, 99))
    assert (np.diff(found.cross**2 / found.variance, axis=0) < 0).all()


@pytest.mark.parametrize("target", ["output", "input"])
@pytest.mark.parametrize("circular", [True, False])
def test_the_largest_weight_decay_of_a_rank_is_where_the_rank_is_lost(target: Target, circular: bool) -> None:
    covariance = exponential_tokens(9, 0.6, circular=circular)
    law = BlockMask(9, 3, circular)
    found = mask_spectrum(covariance, law, target)
    for rank in (1, 2, 4):
        limit = found.largest_weight_decay(rank)
        below, above = rank_map(covariance, [law], [limit * (1 - 1e-9), limit * (1 + 1e-9)], target)[0]
        assert below >= rank > above
    assert found.largest_weight_decay(10) == 0


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: independent_modes([-1.0], [0.5]), "eigenvalues"),
        (lambda: independent_modes([1.0], [0.0]), "ratio"),
        (lambda: independent_modes([1.0], [0.5], "both"), "target"),  # type: ignore[arg-type]
        (lambda: circular_modes(8, 0.5, [8]), "lengths"),
        (lambda: circular_modes(8, 0.5, [1.5]), "lengths"),
        (lambda: circular_modes(8, 0.5, [1], blocks=0), "blocks"),
        (lambda: circular_modes(8, 1.0, [1]), "correlation"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.argument == argument
