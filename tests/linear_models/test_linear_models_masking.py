"""Masked views: their moments against the enumeration of every mask, and the two conventions for the target."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.masking.laws import (
    BlockMask,
    IndependentMasks,
    MaskLaw,
    Masks,
    MultiBlockMasks,
    exponential_tokens,
)
from jepalign.linear_models.views import ViewPair

Weighted = list[tuple[Fraction, tuple[int, ...]]]


def all_placements(law: MultiBlockMasks) -> Weighted:
    """Every placement of every block, with its probability."""
    n = law.count
    starts = range(n if law.circular else n - law.length + 1)
    placed = list(product(starts, repeat=law.blocks))
    hidden = [{(start + k) % n for start in one for k in range(law.length)} for one in placed]
    return [(Fraction(1, len(placed)), tuple(int(i not in one) for i in range(n))) for one in hidden]


def all_masks(law: IndependentMasks) -> Weighted:
    q = Fraction(law.visible)
    masks = list(product((0, 1), repeat=law.count))
    return [(q ** sum(m) * (1 - q) ** (law.count - sum(m)), m) for m in masks]


def enumerated(weighted: Weighted, tokens: np.ndarray, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(tokens)
    moments = np.zeros((3, n, n), dtype=object)
    for weight, mask in weighted:
        seen = np.array(mask, dtype=object)
        other = seen * 0 + 1 if target == "output" else 1 - seen
        pairs = ((seen, seen), (other, other), (other, seen))
        moments += np.array([weight * np.outer(a, b) for a, b in pairs], dtype=object)
    context, other_view, cross = moments.astype(float) * tokens
    return context, other_view, cross


LAWS: list[MultiBlockMasks | IndependentMasks] = [
    *(MultiBlockMasks(n, k, b, c) for n, k, b in ((5, 2, 1), (5, 2, 3), (4, 4, 2), (6, 1, 2)) for c in (True, False)),
    *(BlockMask(6, 3, c) for c in (True, False)),
    *(IndependentMasks(4, q) for q in (0.0, 0.25, 0.7, 1.0)),
]


@pytest.mark.parametrize("target", ["output", "input"])
@pytest.mark.parametrize("index", range(len(LAWS)))
def test_moments_are_those_of_all_masks(index: int, target: str) -> None:
    law = LAWS[index]
    weighted = all_masks(law) if isinstance(law, IndependentMasks) else all_placements(law)
    tokens = exponential_tokens(law.count, 0.6)
    views = ViewPair.masked(tokens, law, target)  # pyright: ignore[reportArgumentType]
    # Probabilities of size 1 with a handful of roundings each.
    for found, expected in zip(
        (views.context, views.target, views.cross), enumerated(weighted, tokens, target), strict=True
    ):
        assert np.allclose(found, expected, rtol=0, atol=4e-15)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.booleans(), st.floats(0, 0.99))
@examples(60)
def test_input_masks_have_no_trace_and_output_masks_are_symmetric_only_if_fair(
    count: int, length: int, blocks: int, circular: bool, correlation: float
) -> None:
    law = MultiBlockMasks(count, min(length, count), blocks, circular)
    tokens = exponential_tokens(count, correlation, circular=circular)
    views = ViewPair.masked(tokens, law, "input")
    assert np.array_equal(np.diag(views.cross), np.zeros(count))
    cross = ViewPair.masked(tokens, law).cross
    if circular:
        assert np.allclose(cross, cross.T, rtol=0, atol=1e-15)
        assert np.allclose(tokens[0], np.roll(tokens, -1, axis=(0, 1))[0], rtol=0, atol=1e-15)


def test_a_block_on_a_line_is_not_symmetric() -> None:
    cross = ViewPair.masked(exponential_tokens(5, 0.5), BlockMask(5, 2, circular=False)).cross
    assert np.abs(cross - cross.T).max() > 0.1
    # Rows belong to the target: column j carries the probability that token j is visible.
    assert np.allclose(np.diag(cross), [3 / 4, 1 / 2, 1 / 2, 1 / 2, 3 / 4])


def test_given_masks_are_a_law() -> None:
    rows = [mask for _, mask in all_placements(BlockMask(5, 2))]
    law = MaskLaw.from_masks(rows)
    assert np.allclose(law.second, BlockMask(5, 2).second, rtol=0, atol=1e-15)
    assert not law.second.flags.writeable


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: IndependentMasks(0, 0.5), "count"),
        (lambda: IndependentMasks(3, 1.5), "visible"),
        (lambda: BlockMask(3, 4), "length"),
        (lambda: MultiBlockMasks(3, 1, 0), "blocks"),
        (lambda: MaskLaw(np.array([0.5, 0.5]), np.eye(2)), "second"),
        (lambda: MaskLaw(np.array([1.5]), np.eye(1)), "mean"),
        (lambda: MaskLaw.from_masks([[0.5]]), "masks"),
        (lambda: exponential_tokens(3, 1.0), "correlation"),
        (lambda: ViewPair.masked(np.eye(2), IndependentMasks(3, 0.5)), "tokens"),
        (lambda: ViewPair.masked(np.eye(3), IndependentMasks(3, 0.5), "both"), "target"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_bad_masks_are_refused(make: object, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        make()  # pyright: ignore
    assert caught.value.argument == argument


def test_laws_are_interchangeable() -> None:
    laws: list[Masks] = [IndependentMasks(3, 1.0), MaskLaw(np.ones(3), np.ones((3, 3)))]
    assert np.array_equal(laws[0].second, laws[1].second)
