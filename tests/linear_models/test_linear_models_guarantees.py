"""What probes lose and how far subspaces turn: against least squares on samples, the formula of 6.2 and random instances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair
from jepalign.linear_models.guarantees import probe_risk, subspace_angles, subspace_bound, whitened_cross


@given(drawn_views(dimensions=(1, 12), conditions=(0.0, 8.0), exchangeable=True), st.integers(1, 3))
@examples(40)
def test_risk_of_canonical_directions_is_that_of_6_2(drawn: Drawn, labels: int) -> None:
    # x = u + n with Cov u = C needs C ⪰ 0: correlations are made positive; G is a root of C.
    rng, d, k = drawn.rng, drawn.views.dimension, drawn.width()
    rho = np.sort(np.abs(drawn.correlations))[::-1]
    root = drawn.views.context_root
    Q, O = orthogonal(rng, d), orthogonal(rng, d)  # noqa: E741
    G = root @ (Q * np.sqrt(rho)) @ O.T
    theta = rng.normal(size=(labels, d))
    turned = theta @ O
    # W = Q_kᵀΣ^(−1/2), up to the rounding of the inverse, which the condition number of the root bounds.
    W = np.linalg.solve(root, Q).T[:k]
    found = probe_risk(W, drawn.views.context, theta @ G.T, np.square(theta).sum(axis=1))
    kept, lost = turned[:, :k], turned[:, k:]
    expected = ((1 - rho[:k]) * kept**2).sum(axis=1) + np.square(lost).sum(axis=1)
    tolerance = 1e-13 * np.sqrt(drawn.condition) * np.square(theta).sum(axis=1)
    assert (np.abs(found.embedding - expected) < tolerance).all()
    next_rho = rho[k] if k < d else 0.0
    assert (found.excess <= next_rho * np.square(theta).sum(axis=1) + tolerance).all()
    assert (found.excess > -tolerance).all()
    # The formula with ρ² for ρ, as if one view were to be predicted from the other, is another number.
    wrong = ((1 - rho[:k] ** 2) * kept**2).sum(axis=1) + np.square(lost).sum(axis=1)
    assert (np.abs(found.embedding - wrong) > tolerance).all()


def test_risk_is_what_least_squares_finds() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    y = x @ rng.normal(size=(6, 2)) + rng.normal(size=(500, 2))
    W = rng.normal(size=(3, 6))
    found = probe_risk(W, x.T @ x / 500, y.T @ x / 500, np.square(y).mean(axis=0))
    for data, risk in ((x @ W.T, found.embedding), (x, found.view)):
        residual = y - data @ np.linalg.lstsq(data, y, rcond=None)[0]
        assert np.allclose(np.square(residual).mean(axis=0), risk, rtol=1e-11)


def test_jepa_and_contrast_read_the_same_off_data() -> None:
    rng = np.random.default_rng(1)
    Q = orthogonal(rng, 5)
    C = (Q * [0.9, 0.7, 0.5, 0.3, 0.1]) @ Q.T
    views = ViewPair.from_covariances(np.eye(5), np.eye(5), C)
    W = rng.normal(size=(3, 5)) / 3
    jepa = LinearJEPA(views).solve(W, 0.5 * np.eye(3), [3000.0], method="LSODA").encoder[0]
    contrast = SpectralContrastive(views).solve(W, [300.0], method="LSODA").encoder[0]
    assert subspace_angles(jepa, contrast).max() < 1e-6
    # A quadratic form of a projection: the square of the angle.
    labels, variances = rng.normal(size=(4, 5)) / 5, np.full(4, 9.0)
    assert np.allclose(*(probe_risk(W, np.eye(5), labels, variances).embedding for W in (jepa, contrast)), atol=1e-9)


@given(drawn_views(dimensions=(2, 12), conditions=(0.0, 1.0), exchangeable=True), st.floats(-6, -0.5))
@examples(60)
def test_sine_theorem_on_random_instances(drawn: Drawn, size: float) -> None:
    rng, d = drawn.rng, drawn.views.dimension
    width = 1 + drawn.seed % (d - 1)
    A = whitened_cross(drawn.views)
    E = rng.normal(size=(d, d)) * 10**size
    found = subspace_bound(A, A + E + E.T, width)
    assert found.sine <= found.bound * (1 + 1e-9) + 1e-12
    # First order: the angle by perturbation theory, far from a gap that closes.
    if found.gap > 30 * np.linalg.norm(E):
        values, vectors = np.linalg.eigh(A)
        driven = vectors.T @ (E + E.T) @ vectors
        ratio = driven[:-width, -width:] / (values[-width:] - values[:-width, None])
        assert found.sine == pytest.approx(np.linalg.norm(ratio), rel=0.3)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="labels"):
        probe_risk(np.eye(2), np.eye(2), [[1.0, 1.0]], [1.0])
    with pytest.raises(InputError, match="width"):
        subspace_bound(np.eye(2), np.eye(2), 2)
    with pytest.raises(InputError, match="symmetric"):
        subspace_bound([[0.0, 1.0], [0.0, 0.0]], np.eye(2), 1)
    with pytest.raises(InputError, match="full rank"):
        whitened_cross(ViewPair.from_covariances(np.diag([1.0, 0.0]), np.eye(2), np.zeros((2, 2))))
    with pytest.raises(InputError, match="second"):
        subspace_angles(np.eye(2), np.eye(3))
