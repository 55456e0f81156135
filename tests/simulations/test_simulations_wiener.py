"""The predictor's spectrum: quantities of the experiment against definitions, and the ridge regression at a real rest."""

import numpy as np

from jepalign.linear_models import LinearJEPA, ViewPair
from jepalign.simulations.training import Rates
from jepalign.simulations.wiener import SETTINGS, spectra, wiener


def test_spectra_of_a_linear_jepa_at_rest() -> None:
    # A linear JEPA at its equilibrium: P is the ridge regression exactly, and ρs/(s + η/α) its spectrum in aligned modes.
    rates = Rates(step=0.1, predictor=2.0, weight_decay=0.02)
    views = ViewPair.from_covariances(np.eye(3), np.eye(3), np.diag([0.9, 0.7, 0.5]))
    path = LinearJEPA(views, predictor_rate=2.0, weight_decay=0.02).solve(np.eye(3), np.sqrt(2) * np.eye(3), [np.inf])
    W, P = path.encoder[0], path.predictor[0]
    rng = np.random.default_rng(0)
    # Samples with exactly these moments: an orthogonal design.
    basis = np.linalg.qr(rng.normal(size=(60, 6)))[0] * np.sqrt(60)
    rho = np.array([0.9, 0.7, 0.5])
    x = basis[:, :3]
    y = rho * x + np.sqrt(1 - rho**2) * basis[:, 3:]
    found = spectra(np.concatenate((x, y)) @ W.T, np.concatenate((y, x)) @ W.T, P, rates)
    assert found["ridge"] < 1e-12
    s = np.sort(np.diag(W) ** 2)
    assert np.allclose(found["moment"], s)
    assert np.allclose(np.sort(found["correlation"]), np.sort(rho))
    assert np.allclose(found["predictor"], found["correlation"] * s / (s + 0.01))
    # Aligned modes: the measured surplus is the formula's, and expands as p < 1.
    assert np.allclose(found["surplus"], found["predicted"], atol=1e-12)
    assert (np.asarray(found["surplus"]) > 0).all()


def test_surplus_is_that_of_the_forces_on_embeddings() -> None:
    rng = np.random.default_rng(1)
    z, z_plus, P = rng.normal(size=(50, 4)), rng.normal(size=(50, 4)), rng.normal(size=(4, 4))
    found = spectra(z, z_plus, P, Rates(step=0.1))
    axes = np.linalg.eigh(z.T @ z / 50)[1]
    force = (z_plus - z @ P.T) @ P - (z_plus - z)
    K = z_plus.T @ z / 50
    expected = np.einsum("ni,ni->i", z @ axes, force @ axes) / 50
    # The experiment's batches have both orders, so that K may be symmetrised; here it is not symmetric.
    assert np.allclose(found["surplus"], expected)
    assert np.allclose(found["correlation"], np.diag(axes.T @ K @ axes) / found["moment"])


def test_quick_run() -> None:
    found = wiener()
    assert len(found.rows) == 5 * len(SETTINGS) * 2
    assert all(np.isfinite(found.arrays[key]).all() for key in ("moment", "correlation", "predictor", "surplus"))
