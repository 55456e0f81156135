"""The Gram matrix of the spectral contrastive flow against the printed formula in balls of many digits, and an integrator."""

from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, ctx
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models.contrastive import SpectralContrastive
from jepalign.linear_models.flow import integrate
from jepalign.linear_models.trajectories import spectral_contrastive
from jepalign.linear_models.trajectories.gram import spectral_contrastive_gram
from jepalign.linear_models.views import ViewPair

Array = Any


def printed(t: float, W: Array, c: Array, digits: int, eight: int = 8) -> Array:
    """Return the printed formula for C = diag(c); the balls' radii say whether the digits were enough."""
    before, ctx.dps = ctx.dps, digits
    try:
        k, d = W.shape
        grown = [(4 * arb(float(x)) * arb(t)).exp() for x in c]
        integral = [((8 * arb(float(x)) * arb(t)).exp() - 1) / (8 * arb(float(x))) if x else arb(t) for x in c]
        start = arb_mat(k, d, [arb(float(x)) for x in W.ravel()])
        ends = arb_mat(k, d, [start[i, j] * grown[j] for i in range(k) for j in range(d)])
        crowd = arb_mat(k, d, [start[i, j] * integral[j] * eight for i in range(k) for j in range(d)])
        unit = arb_mat(k, k, [int(i == j) for i in range(k) for j in range(k)])
        M = ends.transpose() * (unit + crowd * start.transpose()).solve(ends)
        entries = [M[i, j] for i in range(d) for j in range(d)]
        size = max(abs(float(x.mid())) for x in entries)
        assert all(float(x.rad()) <= 1e-20 * size for x in entries)
        return np.array([float(x.mid()) for x in entries]).reshape(d, d)
    finally:
        ctx.dps = before


def symmetrised(values: Array) -> Array:
    return (values + values.T) / 2


def distance(found: Array, exact: Array) -> float:
    return float(np.abs(found - exact).max() / np.abs(exact).max())


@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["signed", "positive", "negative", "repeated", "close"]),
    st.floats(-3, 2.5),
    st.floats(-4, 2),
)
@examples(60)
def test_the_printed_formula(seed: int, k: int, d: int, kind: str, logarithm: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1, 1.5, d)
    if kind in ("positive", "negative"):
        c = np.abs(c) * (1 if kind == "positive" else -1)
    if kind in ("repeated", "close"):
        c[d // 2 :] = c[0] * (1 + (1e-9 * np.arange(d - d // 2) if kind == "close" else 0))
    W, t = rng.normal(size=(k, d)) * 10**scale, 10**logarithm
    found = spectral_contrastive_gram(t, W, np.diag(c))[0]
    exact = printed(t, W, c, 80 + int(12 * t))
    if np.abs(exact).max() < 1e-290:
        assert np.abs(found).max() < 1e-289
        return
    # ‖∂M/∂W‖ grows with the condition number of the pivoted part of W, the exponents' rounding with t|c|.
    sizes = np.linalg.svd(W, compute_uv=False)
    assert distance(found, exact) < 1e-14 * (1 + t) * (1 + sizes[0] / sizes[-1])


def test_when_the_exponentials_span_hundreds_of_digits() -> None:
    rng = np.random.default_rng(4)
    c, W = np.linspace(-1.5, 1.5, 10), rng.normal(size=(4, 10))
    exact = printed(60.0, W, c, 1400)
    assert distance(spectral_contrastive_gram([60.0], W, np.diag(c))[0], exact) < 1e-14
    # The printed formula in float64 has no digit left where the exponentials still fit.
    grown, integral = np.exp(4 * c * 15), np.expm1(8 * c * 15) / (8 * c)
    naive = (W * grown).T @ np.linalg.solve(np.eye(4) + 8 * W * integral @ W.T, W * grown)
    assert distance(naive, printed(15.0, W, c, 600)) > 1e-3
    assert distance(spectral_contrastive_gram([15.0], W, np.diag(c))[0], printed(15.0, W, c, 600)) < 1e-14
    # Another constant is another function.
    assert distance(spectral_contrastive_gram([0.5], W, np.diag(c))[0], printed(0.5, W, c, 60, eight=4)) > 1e-2


def test_equivariance_and_restart() -> None:
    rng = np.random.default_rng(1)
    c, W, turn, left = rng.uniform(-1, 1, 7), rng.normal(size=(3, 7)), orthogonal(rng, 7), orthogonal(rng, 3)
    C, times = symmetrised(turn * c @ turn.T), [0.1, 2.0, 9.0]
    plain = spectral_contrastive_gram(times, W, np.diag(c))
    assert np.allclose(spectral_contrastive_gram(times, left @ W @ turn.T, C), turn @ plain @ turn.T, atol=1e-13)
    values, axes = np.linalg.eigh(spectral_contrastive_gram(1.3, W, C)[0])
    middle = (axes * np.sqrt(np.maximum(values, 0))).T[-3:]
    whole = spectral_contrastive_gram(2.0, W, C)[0]
    assert np.allclose(spectral_contrastive_gram(0.7, middle, C)[0], whole, atol=1e-13)


def test_order_of_times_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    C, W = np.diag(rng.uniform(-1, 1, 9)), rng.normal(size=(4, 9))
    times = rng.permutation(np.concatenate([10 ** rng.uniform(-5, 5, 90), [0.0, np.inf]]))
    found = spectral_contrastive_gram(times, W, C)
    for index in (0, 17, 50, 91):
        assert np.allclose(found[index], spectral_contrastive_gram(times[index], W, C)[0], rtol=0, atol=1e-13)


def test_limits() -> None:
    rng = np.random.default_rng(2)
    c, W = np.array([0.9, 0.9, 0.4, 0.0, -0.5]), rng.normal(size=(2, 5))
    found = spectral_contrastive_gram([0.0, np.inf, 1e6, 1e300], W, np.diag(c))
    assert np.array_equal(found[0], W.T @ W)
    for gram in found[1:]:
        assert np.allclose(gram, np.diag([0.9, 0.9, 0, 0, 0]), atol=1e-14)
    one = spectral_contrastive_gram([np.inf, 1e300], W[:1], np.diag(c))
    row = W[0, :2]
    for gram in one:
        assert np.allclose(gram[:2, :2], 0.9 * np.outer(row, row) / (row @ row), atol=1e-14)
    assert not spectral_contrastive_gram(np.inf, W, -np.eye(5)).any()
    blind = W * [1, 1, 0, 1, 0]
    assert np.allclose(spectral_contrastive_gram([np.inf], np.vstack([blind, blind]), np.diag(c)), found[1], atol=1e-14)
    decayed = spectral_contrastive_gram(np.inf, rng.normal(size=(5, 5)), np.diag(c), weight_decay=1.0)[0]
    assert np.allclose(decayed, np.diag([0.65, 0.65, 0.15, 0, 0]), atol=1e-14)
    assert not spectral_contrastive_gram([1.0, np.inf], np.zeros((2, 5)), np.diag(c)).any()


def test_aligned_data_follow_their_modes() -> None:
    c, w, times = np.array([0.9, 0.3, -0.4, 0.0]), np.array([0.1, -2.0, 1.0, 0.7]), np.array([0.01, 1.0, 30.0, 1e4])
    found = spectral_contrastive_gram(times, np.diag(w), np.diag(c))
    modes = spectral_contrastive(times[:, None], w, c, 1.0) ** 2
    assert np.allclose(np.diagonal(found, axis1=1, axis2=2), modes, rtol=1e-13, atol=0)


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_it_is_the_flow_of_the_loss(decay: float) -> None:
    rng = np.random.default_rng(3)
    turn = orthogonal(rng, 5)
    C, W = symmetrised(turn * np.array([0.9, 0.5, 0.1, -0.3, -0.8]) @ turn.T), rng.normal(size=(3, 5))
    model = SpectralContrastive(ViewPair.from_covariances(np.eye(5), np.eye(5), C), weight_decay=decay)
    path = integrate(lambda s: {"encoder": model.forces(s["encoder"]).total}, {"encoder": W}, [0.3, 4.0], rtol=1e-12)
    found = spectral_contrastive_gram(path.times, W, C, weight_decay=decay)
    assert np.allclose(path.encoder.swapaxes(1, 2) @ path.encoder, found, rtol=0, atol=1e-10)


def test_what_leaves_the_domain_is_an_error() -> None:
    with pytest.raises(InputError, match="symmetric"):
        spectral_contrastive_gram(1.0, np.eye(2), [[1, 0.1], [0, 1]])
    with pytest.raises(InputError, match="times"):
        spectral_contrastive_gram(-1.0, np.eye(2), np.eye(2))
    with pytest.raises(InputError, match="cross"):
        spectral_contrastive_gram(1.0, np.eye(2), np.eye(3))
