"""What a recorder stores is what the whole recorded data give at once: by NumPy, by pairs, and however they were split."""

import pickle
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jepalign.linear_models.implicit_uniformity import power_gap
from jepalign.simulations.probe import effective_rank, rankme
from jepalign.simulations.recording import Moments, Record
from jepalign.simulations.recording.sums import PRODUCTS, UNIFORMITY_ROWS, Rows, Sums

Array = NDArray[np.float64]
EPSILON = np.finfo(float).eps


@dataclass(frozen=True)
class Data:
    """Rows of every stream, where to cut them into batches, and which of them count."""

    streams: dict[str, Array]
    cuts: list[int]
    counted: NDArray[np.bool_]


@st.composite
def data(draw: st.DrawFn) -> Data:
    rows, width, inputs = draw(st.integers(2, 40)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Means up to a thousand deviations, scales over eight decades.
    scale, offset = 10.0 ** draw(st.integers(-4, 4)), draw(st.sampled_from([0.0, 1.0, 1e3]))
    widths = {
        "context": width,
        "target": width,
        "prediction": width,
        "features_context": inputs,
        "features_target": inputs,
    }
    streams = {name: scale * (rng.normal(size=(rows, size)) + offset) for name, size in widths.items()}
    counted = rng.random(rows) < draw(st.sampled_from([0.5, 1.0]))
    counted[:2] = True
    return Data(streams, sorted(draw(st.sets(st.integers(1, rows - 1), max_size=4))), counted)


def recorded(values: Data, *, precision: torch.dtype = torch.float64) -> Moments:
    sums = Sums(precision)
    bounds = [0, *values.cuts, len(values.counted)]
    for first, last in pairwise(bounds):
        streams = {name: torch.from_numpy(value[first:last]) for name, value in values.streams.items()}
        sums.add(Rows(streams, torch.from_numpy(values.counted[first:last]), image=streams["prediction"]))
    return sums.moments()


@given(data())
@settings(deadline=None, max_examples=40)
def test_moments_are_those_of_all_rows_however_they_are_split(values: Data) -> None:
    found = recorded(values)
    kept = {name: value[values.counted] for name, value in values.streams.items()}
    count = len(kept["context"])
    assert found.count == count
    # A mean of n products ab, in two orders and about two origins: errors of at most a few (n + 4)u of the mean of |a||b|.
    unit = 8 * (count + 4) * EPSILON
    for name, (left, right) in PRODUCTS.items():
        a, b = kept[left], kept[right]
        bound = unit * (np.abs(a).T @ np.abs(b) / count)
        assert (np.abs(found.arrays[name] - a.T @ b / count) <= bound).all(), name
    for name, value in kept.items():
        assert (np.abs(found.arrays[f"{name}_mean"] - value.mean(0)) <= unit * np.abs(value).mean(0)).all(), name

    z, target, guess = kept["context"], kept["target"], kept["prediction"]
    size = unit * z.shape[1] * (np.square(z).sum() + np.square(target).sum() + np.square(guess).sum()) / count
    assert abs(found.alignment - np.square(z - target).sum(1).mean() / 2) <= size
    assert abs(found.asymmetry - (np.square(z).sum() - np.square(target).sum()) / count / 2) <= size
    assert abs(found.prediction_error - np.square(guess - target).sum(1).mean() / 2) <= size
    assert abs(found.correction - (guess * (target - guess)).sum(1).mean()) <= size
    # Expanded about 0 on the way: rounding of the largest fourth power.
    fourth = (np.square(z - z.mean(0)).sum(1) ** 2).mean()
    assert abs(found.context_fourth - fourth) <= 64 * unit * (np.square(z).sum(1) ** 2).mean()


@given(data())
@settings(deadline=None, max_examples=30)
def test_differences_of_nearly_equal_rows_keep_their_digits(values: Data) -> None:
    """½E‖z − z̄‖² by tr Φ + tr Φ̄ − 2 tr K has no digit left where the rows have millions."""
    streams = dict(values.streams)
    streams["target"] = streams["context"] * (1 + 1e-9)
    kept = Data(streams, values.cuts, values.counted)
    z, target = (streams[name][values.counted] for name in ("context", "target"))
    expected = np.square(z - target).sum(1).mean() / 2
    assert recorded(kept).alignment == pytest.approx(expected, rel=(len(z) + 8) * EPSILON)


def test_covariance_keeps_its_digits_under_a_large_mean_in_single_precision() -> None:
    """Moments about 0 in float32 would lose (mean/deviation)²·u = 1e8·6e-8: everything."""
    rng = np.random.default_rng(3)
    z = (rng.normal(size=(400, 3)) + 1e4).astype(np.float32)
    streams = dict.fromkeys(("context", "target"), torch.from_numpy(z))
    sums = Sums(torch.float32)
    for part in range(4):
        sums.add(Rows({name: value[100 * part : 100 * part + 100] for name, value in streams.items()}))
    # Rows about a mean that is rounded to half of 1e-3: their products are exact to n u; the rest is float64.
    exact = np.cov(z.astype(float).T, bias=True)
    assert np.abs(sums.moments().covariance - exact).max() < 400 * 6e-8
    naive = z.T @ z / np.float32(400) - np.outer(z.mean(0), z.mean(0))
    assert np.abs(naive - exact).max() > 0.1


def test_memory_does_not_grow_with_the_rows() -> None:
    z = torch.randn(32, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums, sizes = Sums(), list[int]()
    for _ in range(40):
        sums.add(Rows({"context": z, "target": z, "prediction": z, "features_context": z, "features_target": z}))
        sizes.append(len(pickle.dumps(sums)))
    assert max(sizes) == sizes[0]
    # Eight second moments and as many vectors, and half a kilobyte of names for each.
    assert sizes[0] < 8 * (8 * 6 * 6 + 16 * 6) + 16_000


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=20)
def test_uniformity_is_the_mean_over_pairs_of_one_batch(seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(11, 3))
    counted = rng.random(11) < 0.6 if masked else np.ones(11, dtype=bool)
    counted[[0, 1, 7, 8]] = True
    sums, values = Sums(), []
    for part in (slice(0, 6), slice(6, 11)):
        rows = torch.from_numpy(z[part])
        sums.add(Rows({"context": rows, "target": rows}, torch.from_numpy(counted[part])))
        unit = [row / np.linalg.norm(row) for row in z[part][counted[part]]]
        values += [
            np.exp(-2 * np.square(a - b).sum()) for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j
        ]
    # Exponents of rounding u at most 8 times: relative to the mean, which is at least e^-8 as all terms are.
    assert sums.moments().uniformity == pytest.approx(np.log(np.mean(values)), abs=1e-13)


def test_uniformity_of_many_rows_is_estimated_from_some() -> None:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(4 * UNIFORMITY_ROWS, 5, generator=generator, dtype=torch.float64)
    sums, some = Sums(), Sums()
    sums.add(Rows({"context": z, "target": z}))
    some.add(Rows({"context": z[::4], "target": z[::4]}))
    assert sums.moments().uniformity == some.moments().uniformity
    # Directions in five dimensions: the mean of a million kernels of spread 0.15 is within a per cent.
    full = torch.nn.functional.normalize(z)
    kernel = torch.exp(-4 + 4 * full @ full.T)
    exact = float(torch.log((kernel.sum() - len(z)) / (len(z) * (len(z) - 1))))
    assert sums.moments().uniformity == pytest.approx(exact, abs=0.02)


def test_what_does_not_count_may_hold_anything() -> None:
    rng = np.random.default_rng(2)
    z, counted = rng.normal(size=(8, 3)), np.arange(8) < 5
    clean = recorded(Data(dict.fromkeys(("context", "target", "prediction"), z[:5]), [], np.ones(5, dtype=bool)))
    z[5:] = [[np.nan] * 3, [np.inf] * 3, [1e300] * 3]
    found = recorded(Data(dict.fromkeys(("context", "target", "prediction"), z), [], counted))
    assert found.count == 5
    assert np.array_equal(found.arrays["context_moment"], clean.arrays["context_moment"])
    assert found.uniformity == pytest.approx(clean.uniformity, abs=1e-14)


@given(data())
@settings(deadline=None, max_examples=30)
def test_power_is_that_of_the_whole_batch(values: Data) -> None:
    """Against ``power_gap``, which computes the force of every row."""
    width = values.streams["context"].shape[1]
    matrix = np.random.default_rng(width).normal(size=(width, width))
    streams = {name: values.streams[name] for name in ("context", "target")}
    streams["prediction"] = streams["context"] @ matrix.T
    found = Record.of(1, recorded(Data(streams, values.cuts, values.counted)), {})
    z, target = (streams[name][values.counted] for name in ("context", "target"))
    # Three terms of this size are added, each exact to (n + k)u.
    size = (np.square(z).sum() + np.square(target).sum()) * (1 + np.square(matrix).sum()) / len(z)
    bound = 16 * (len(z) + width) * EPSILON * size
    assert found.power_predictor == "predictor"
    assert abs(found.implicit_uniformity_power - power_gap(z, target, matrix).power) <= bound
    unknown = Sums()
    unknown.add(Rows({name: torch.from_numpy(streams[name][values.counted]) for name in ("context", "target")}))
    fitted = Record.of(1, unknown.moments(), {})
    assert fitted.power_predictor == "least-squares"
    if len(z) > width and np.linalg.cond(z) < 1e6:
        # The residual of the fit is orthogonal to z up to its condition number.
        assert abs(fitted.implicit_uniformity_power - power_gap(z, target).power) <= bound * np.linalg.cond(z)


def test_ranks_are_those_of_the_embeddings() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=(300, 4)) * [3.0, 1.0, 0.1, 0.0] + 2.0
    found = Record.of(
        1, recorded(Data(dict.fromkeys(("context", "target", "prediction"), z), [100], np.ones(300, bool))), {}
    )

    def spread(values: Array) -> float:
        share = values[values > 0] / values.sum()
        return float(np.exp(-(share * np.log(share)).sum()))

    centred, plain = (np.linalg.svd(value, compute_uv=False).astype(float) for value in (z - z.mean(0), z))
    # Squares of singular values that are 0 come out as rounding: sqrt(1e-16) of the largest at most, times its logarithm.
    assert found.effective_rank == pytest.approx(spread(centred**2), abs=1e-12)
    assert found.rankme == pytest.approx(spread(plain), abs=1e-6)
    # They are not each other, nor exchanged.
    assert abs(found.effective_rank - found.rankme) > 0.1
    assert rankme(torch.eye(5)) == pytest.approx(effective_rank(torch.eye(5))) == pytest.approx(5)
    assert rankme(torch.zeros(3, 3)) == 0


def test_a_diverged_training_is_recorded_as_such() -> None:
    z = np.full((4, 2), np.nan)
    found = Record.of(
        1, recorded(Data(dict.fromkeys(("context", "target", "prediction"), z), [], np.ones(4, bool))), {}
    )
    assert np.isnan(found.effective_rank)
    assert np.isnan(found.arrays()["alignment"])
