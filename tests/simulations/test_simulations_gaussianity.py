"""InfoNCE against half the spectral contrastive loss: pieces against independent computations, and the quick run."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from jepalign.linear_models.losses import infonce, spectral_contrastive
from jepalign.simulations.gaussianity import (
    cumulants,
    extrapolated,
    gap_run,
    gaussianity,
    latent_encoder,
    log_mean_exp,
    sphere_repulsion,
    temperature_gaps,
)
from jepalign.simulations.gaussianity_rows import ENCODERS, RATIOS


def test_cumulants_of_known_laws() -> None:
    # κ₃ of an exponential law is 2 and κ₄ is 6; those of a sign 0 and −2.
    grid = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    signs = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    found = cumulants(-torch.log1p(-grid)[None])
    np.testing.assert_allclose([part.item() for part in found], [1, 1, 2, 6], rtol=5e-3)
    np.testing.assert_allclose([part.item() for part in cumulants(signs)], [0, 1, 0, -2], atol=1e-12)


def test_repulsion_and_gap_against_the_losses_of_a_batch() -> None:
    rng = np.random.default_rng(0)
    z1, z2 = rng.normal(size=(2, 40, 3)) / 2
    q = torch.as_tensor(z1 @ z2.T)
    positives = np.sum(z1 * z2) / 40
    expected = infonce(z1, z2, similarity="dot", convention="mean").value + positives
    assert abs(log_mean_exp(q).mean().item() - expected) < 1e-12
    half = spectral_contrastive(z1, z2, convention="all").value / 2 + positives
    assert abs(q.square().mean().item() / 2 - half) < 1e-12


def test_extrapolation_removes_the_leading_bias() -> None:
    # E ln mean e^q for q ~ N(0, 1/2) with infinitely many draws is 1/4.
    q = torch.as_tensor(np.random.default_rng(1).normal(size=(20_000, 64)) * np.sqrt(0.5))
    plain, better = log_mean_exp(q), extrapolated(q)
    assert abs(plain.mean() - 0.25) > 5 * plain.std() / 20_000**0.5
    assert abs(better.mean() - 0.25) < 5 * better.std() / 20_000**0.5


@pytest.mark.parametrize(("width", "tau"), [(3, 0.5), (4, 0.1), (16, 0.2), (16, 2.0)])
def test_repulsion_on_the_sphere_against_quadrature(width: int, tau: float) -> None:
    power = (width - 3) / 2
    mass = quad(lambda t: (1 - t * t) ** power, -1, 1)[0]
    mean = quad(lambda t: np.exp((t - 1) / tau) * (1 - t * t) ** power, -1, 1)[0]
    assert abs(sphere_repulsion(width, tau) - (np.log(mean / mass) + 1 / tau)) < 1e-9


def test_gap_of_a_discrete_law_is_the_logarithm_of_cosh() -> None:
    # All signs once: E e^{z·z′} = Π cosh(z_i w_i) exactly, whatever the anchor, so that every replicate finds it.
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 6)
    x = torch.cat((signs, signs, signs))[None].repeat(2, 1, 1)
    encoder = latent_encoder(ENCODERS[0], np.eye(6), np.eye(6), 0, torch.device("cpu"))
    with torch.no_grad():
        encoder.last.weight.mul_(0.5)
    found = gap_run(encoder, x, x, 64)
    # Halves of the negatives are the whole law again, and extrapolation adds nothing.
    expected = 4 * np.log(np.cosh(0.25)) - 4 * 0.25**2 / 2
    assert abs(found["gap"] - expected) < 1e-12
    assert abs(found["fourth"] - 4 * (-2 * 0.25**4) / 24) < 1e-12
    assert abs(found["kurtosis"] - (-2 / 4)) < 1e-12
    assert found["gap_error"] < 1e-12
    # ∂/∂w of ln cosh w² less w⁴/2, at w = ½, for each of four weights on the diagonal; the others' gradients vanish.
    slope = 2 * 0.5 * np.tanh(0.25) - 2 * 0.5**3
    assert abs(found["gradient_gap"] * found["gradient_size"] - 2 * abs(slope)) < 1e-12


def test_temperature_is_the_scale_of_dot_products_only() -> None:
    z, negative = torch.as_tensor(np.random.default_rng(2).normal(size=(2, 50, 4)))
    dot, normalised = temperature_gaps(z, negative)
    assert dot < 1e-12
    assert normalised > 1


def test_quick_run() -> None:
    found = gaussianity()
    verdicts = {(entry["experiment"], entry["architecture"]): entry["verdict"] for entry in found.rows}
    linear = [f"{name}; gaussian latents" for name in ENCODERS[:2]]
    for place in linear:
        assert verdicts["gaussianity: InfoNCE is ½ spectral, loss", place] == "holds"
        assert verdicts["gaussianity: InfoNCE is ½ spectral, gradient", place] == "holds"
    # Where negatives are not Gaussian the same test must notice.
    assert verdicts["gaussianity: InfoNCE is ½ spectral, loss", f"{ENCODERS[0]}; binary latents"] == "fails"
    assert verdicts["gaussianity: InfoNCE is ½ spectral, loss", f"{ENCODERS[2]}; gaussian latents"] == "fails"
    assert all(verdict == "holds" for (name, _), verdict in verdicts.items() if "control" in name)
    assert found.arrays["gap"].shape == (2, len(ENCODERS), len(RATIOS))
    assert all(np.isfinite(values).all() for values in found.arrays.values() if values.dtype.kind == "f")
