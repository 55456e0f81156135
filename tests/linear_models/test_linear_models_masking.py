"""Masked views: their moments against the enumeration of every mask, and the two conventions for the target."""

from fractions import Fraction
from itertools import product
from typing import Any, Literal

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples
from sympy import lambdify

from jepalign.errors import InputError
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.masking.laws import (
    BlockMask,
    IndependentMasks,
    MaskLaw,
    Masks,
    MultiBlockMasks,
    exponential_tokens,
)
from jepalign.linear_models.masking.spectrum import mask_spectrum, rank_map, spectrum
from jepalign.linear_models.views import ViewPair
from jepalign.theory.masking import blocks as theory_blocks
from jepalign.theory.masking import conventions as theory_conventions
from jepalign.theory.masking import correlation as correlation_law
from jepalign.theory.masking import line as theory_line
from jepalign.theory.masking import spectrum as theory_spectrum

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


# -- what masks leave alive -----------------------------------------------------------------------------------------------

Target = Literal["output", "input"]
TARGETS: tuple[Target, Target] = ("output", "input")
EPS = np.finfo(float).eps


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize("visible", [0.2, 0.5, 0.9])
def test_scattered_masks_have_the_thresholds_of_the_theorem(visible: float, circular: bool) -> None:
    tokens = exponential_tokens(9, 0.7, circular=circular)
    theta = np.linalg.eigvalsh(tokens)
    for target, formula in (("output", theory_spectrum.FULL_THRESHOLD), ("input", theory_spectrum.HIDDEN_THRESHOLD)):
        expected = lambdify([theory_conventions.visible, theory_spectrum.theta], formula)(visible, theta)
        found = mask_spectrum(tokens, IndependentMasks(9, visible), target)  # pyright: ignore[reportArgumentType]
        assert found.aligned
        # θ − 1 is known to a few eps of the largest eigenvalue, which divides by itself at least once.
        assert np.abs(found.threshold - np.sort(expected)[::-1]).max() <= 50 * EPS * theta.max()
        sigma = visible**2 * theta + visible - visible**2
        lam = visible * theta if target == "output" else visible * (1 - visible) * (theta - 1)
        order = np.argsort(-np.abs(lam / sigma), kind="stable")
        assert np.allclose(np.abs(found.correlation), np.abs(lam / sigma)[order], rtol=0, atol=50 * EPS * theta.max())
        assert np.allclose(found.variance.sum(), sigma.sum(), rtol=1e-13)
        assert np.allclose(np.sort(found.cross), np.sort(lam), rtol=0, atol=50 * EPS * theta.max())
        # False sibling: the threshold of variance 1.
        assert np.abs(found.threshold - np.sort(lam**2 / 4)[::-1]).max() > 1e-3


def test_modes_of_a_line_are_waves_of_the_theorem() -> None:
    n, r = 8, 0.6
    found = mask_spectrum(exponential_tokens(n, r), IndependentMasks(n, 1.0))
    # Frequencies of waves with v₀ = rv₁ and v_{n+1} = rv_n: every θ of the theorem's formula must be an eigenvalue.
    cosine = (1 + r**2 - (1 - r**2) / found.variance) / (2 * r)
    theta = lambdify([theory_line.decay, theory_line.cosine], theory_line.THETA)(r, cosine)
    assert np.allclose(theta, found.cross, rtol=1e-12)
    phi = np.arccos(cosine)
    ends = np.sin((n + 1) * phi) - 2 * r * np.sin(n * phi) + r**2 * np.sin((n - 1) * phi)
    assert np.abs(ends).max() < 1e-12 * n


@given(st.integers(2, 14), st.integers(1, 13), st.floats(0.05, 0.95))
@examples(40)
def test_one_block_has_the_modes_of_the_theorem(count: int, length: int, correlation: float) -> None:
    b = min(length, count - 1)
    phases = np.exp(2j * np.pi * np.arange(count) / count)
    z, wrap = correlation * phases, correlation**count
    law = correlation_law
    edge = z * (1 - z**b) * (1 - z ** (count - b)) / (1 - z) ** 2
    letters = [law.count, law.wrap, law.edge, law.mirror_edge]
    hidden = np.real(lambdify(letters, law.HIDDEN)(count, wrap, edge, edge.conj()))
    theta = np.real(lambdify([law.z, law.mirror, law.wrap], law.THETA)(z, z.conj(), wrap))
    full = (1 - b / count) * theta
    sigma = full - hidden
    tokens = exponential_tokens(count, correlation, circular=True)
    for target, lam in zip(TARGETS, (full, hidden), strict=True):
        found = mask_spectrum(tokens, BlockMask(count, b), target)
        # Sums of n numbers of size at most 1, and 1/(1 − z)² in the formula.
        bound = 50 * count * EPS / (1 - correlation) ** 2
        assert found.aligned
        assert np.abs(np.sort(found.cross) - np.sort(lam)).max() <= bound
        assert np.abs(np.sort(found.variance) - np.sort(sigma)).max() <= bound
        rounding = bound * (1 + np.abs(lam / sigma).max()) ** 2
        assert np.abs(found.threshold - np.sort(lam**2 / (4 * sigma))[::-1]).max() <= rounding
    assert np.abs(hidden).max() <= 2 * correlation / (count * (1 - correlation) ** 2) * (1 + 1e-12)


def test_one_block_of_exchangeable_tokens_anticorrelates_all_but_the_mean() -> None:
    n, b, c = 12, 5, 0.5
    found = mask_spectrum(c + (1 - c) * np.eye(n), BlockMask(n, b), "input")
    phase = np.exp(2j * np.pi * np.arange(1, n) / n)
    kernel = lambdify([theory_blocks.phase, theory_blocks.end], theory_blocks.FEJER)(phase, phase**b)
    expected = np.append(-c / n * np.real(kernel), c * b * (n - b) / n)
    assert np.allclose(np.sort(found.cross), np.sort(expected), rtol=0, atol=1e-14)
    assert np.count_nonzero(found.correlation > 0) == 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("law", [BlockMask(6, 2, circular=False), MultiBlockMasks(7, 3, 2, circular=False)])
def test_a_line_is_a_generalised_problem(law: MultiBlockMasks, target: Target) -> None:
    tokens = exponential_tokens(law.count, 0.6)
    views = ViewPair.masked(tokens, law, target)
    found = mask_spectrum(tokens, law, target)
    assert not found.aligned
    # The pencil by QZ, which never inverts Σ_x.
    expected: Any = scipy.linalg.eigvals(views.cross.T, views.context)
    ordered = sorted(expected, key=abs, reverse=True)
    assert np.allclose(np.abs(found.correlation), np.abs(ordered), rtol=0, atol=1e-13 * np.linalg.cond(views.context))
    assert found.correlation.sum() == pytest.approx(np.sum(ordered), rel=1e-10)
    assert np.allclose(found.cross, found.correlation * found.variance)
    coupling = views.cross @ np.linalg.inv(views.context) @ views.cross.T / 4
    assert np.allclose(found.threshold, np.linalg.eigvalsh(coupling)[::-1], rtol=0, atol=1e-13)
    # The one problem contains the other: on a circle both ways give the same.
    circle = ViewPair.masked(exponential_tokens(6, 0.6, circular=True), BlockMask(6, 2), target)
    tilted = ViewPair(circle.context, circle.target, circle.cross + 1e-7 * np.triu(np.ones((6, 6)), 1))
    assert not spectrum(tilted).aligned
    assert np.allclose(spectrum(circle).threshold, spectrum(tilted).threshold, rtol=0, atol=1e-6)
    assert np.allclose(np.abs(spectrum(circle).correlation), np.abs(spectrum(tilted).correlation), rtol=0, atol=1e-3)


@pytest.mark.parametrize("target", TARGETS)
def test_no_equilibrium_exceeds_the_bound(target: Target) -> None:
    views = ViewPair.masked(exponential_tokens(4, 0.8), BlockMask(4, 2, circular=False), target)
    found, rng = spectrum(views), np.random.default_rng(0)
    for factor in (0.2, 0.7, 1.05):
        decay = factor * found.threshold[0]
        bound = int(found.surviving_rank(decay))
        for alpha in (1.0, 3.0):
            W, P = rng.normal(size=(2, 4, 4))
            jepa = LinearJEPA(views, weight_decay=decay, predictor_rate=alpha)
            end = jepa.solve(W, P, [0.0, 200 / decay]).encoder[-1]
            assert np.linalg.matrix_rank(end, tol=1e-3) <= bound
        assert (bound == 0) == (factor > 1)


def test_rank_over_ratio_and_length() -> None:
    n = 16
    tokens = exponential_tokens(n, 0.7, circular=True)
    rates = np.array([0.0, 1e-3, 1e-2, 0.05])
    ratios = np.linspace(0.5, 0.95, 7)
    scattered = {t: rank_map(tokens, [IndependentMasks(n, q) for q in ratios], rates, t) for t in TARGETS}
    assert scattered["input"].shape == (7, 4)
    # Full targets: to mask costs modes. Hidden ones: above one half every mode loses with what is visible.
    assert np.all(np.diff(scattered["output"], axis=0) >= 0)
    assert np.all(np.diff(scattered["input"], axis=0) <= 0)
    assert scattered["output"][-1, 2] > scattered["output"][0, 2]
    assert scattered["input"][-1, 1] < scattered["input"][0, 1]
    # False sibling: a third in place of one half. The weakest mode, the one of least λ, still gains there.
    below, above = (mask_spectrum(tokens, IndependentMasks(n, q), "input") for q in (0.34, 0.4))
    gain = [one.cross.min() ** 2 / one.variance[np.argmin(one.cross)] for one in (below, above)]
    assert gain[1] > gain[0]
    blocks = rank_map(tokens, [BlockMask(n, b) for b in range(1, n)], rates, "input")
    # Hiding b tokens couples as hiding n − b does, but leaves more variance to be decayed.
    assert np.all(blocks[: n // 2 - 1] <= blocks[::-1][: n // 2 - 1])
    assert np.all(np.diff(blocks, axis=1) <= 0)


def test_in_a_long_sequence_one_block_keeps_no_mode_alive() -> None:
    decay, r = 0.002, 0.5
    kappa, floor = 2 * r / (1 - r) ** 2, (1 - r) / (1 + r)
    ranks: list[int] = []
    for n in (8, 32, 96):
        found = mask_spectrum(exponential_tokens(n, r, circular=True), BlockMask(n, n // 4), "input")
        ranks.append(int(found.surviving_rank(decay)))
        assert np.abs(found.cross).max() * n <= kappa
        assert found.variance.min() >= floor * 0.75 * (1 - 1e-12)
        scattered = mask_spectrum(exponential_tokens(n, r, circular=True), IndependentMasks(n, 0.75), "input")
        assert scattered.surviving_rank(decay) >= n // 4
    assert ranks[0] > 0
    assert kappa**2 / (4 * decay * 0.75 * floor) < 96**2
    assert ranks[-1] == 0


@pytest.mark.parametrize("target", TARGETS)
def test_masks_that_hide_everything_or_nothing(target: Target) -> None:
    tokens = exponential_tokens(4, 0.5)
    nothing = mask_spectrum(tokens, IndependentMasks(4, 0.0), target)
    assert nothing.threshold.size == 0
    assert nothing.surviving_rank(0.1) == 0
    assert np.array_equal(nothing.surviving_rank([0.0, 1.0]), [0, 0])
    everything = mask_spectrum(tokens, IndependentMasks(4, 1.0), target)
    assert everything.surviving_rank(0.0) == (4 if target == "output" else 0)
    # Two tokens that are always hidden leave two modes, in a problem that has no symmetric Σ_yx.
    two = np.array([1.0, 1.0, 0.0, 0.0])
    half = mask_spectrum(tokens, MaskLaw(two, np.outer(two, two)), target)
    assert len(half.variance) == 2
    assert half.surviving_rank(1e-3) == (2 if target == "output" else 1)  # a Markov chain: one neighbour


def test_bad_maps_are_refused() -> None:
    with pytest.raises(InputError, match="laws"):
        rank_map(np.eye(2), [], 0.1)
    with pytest.raises(InputError, match="weight_decay"):
        rank_map(np.eye(2), [IndependentMasks(2, 0.5)], -0.1)
