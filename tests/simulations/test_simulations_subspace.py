"""What objectives learn from the same views: losses against the library's own, measures against definitions, and the quick run."""

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

from jepalign.linear_models import losses
from jepalign.linear_models.guarantees import subspace_angles
from jepalign.simulations.deep_subspace import (
    accuracy,
    canonical,
    correlations,
    feature_moment,
    kept_share,
    signed_predictor,
)
from jepalign.simulations.encoders import MLP
from jepalign.simulations.subspace import (
    DIMENSION,
    INDEFINITE,
    POSITIVE,
    WIDTH,
    basis_rows,
    eigenbasis,
    exact_sample,
    held_out_risk,
    subspace,
    whitened,
)
from jepalign.simulations.subspace_rows import OBJECTIVES, decay_rows
from jepalign.simulations.view_losses import VIEW_LOSSES, barlow_twins, covariance_twins, dot_infonce, spectral, vicreg

CPU = torch.device("cpu")


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    first, second = np.random.default_rng(0).normal(size=(2, 30, 4))
    return torch.as_tensor(np.concatenate((first, second))), torch.as_tensor(np.concatenate((second, first)))


def test_losses_are_the_librarys_up_to_their_factors() -> None:
    z, z_plus = batch()
    a, b = z.numpy(), z_plus.numpy()
    expected = losses.spectral_contrastive(a, b, convention="all").value / 4
    assert abs(spectral(z, z_plus).item() - expected) < 1e-12
    expected = losses.infonce(a[:30], b[:30], similarity="dot", temperature=0.7).value / 2
    assert abs(dot_infonce(z, z_plus, temperature=0.7).item() - expected) < 1e-12
    expected = losses.barlow_twins(a, b, off_diagonal=0.005, convention="paper").value
    assert abs(barlow_twins(z, z_plus).item() - expected) < 1e-12
    expected = 4 * losses.vicreg(a, b, convention="official").value
    assert abs(vicreg(z, z_plus).item() - expected) < 1e-10
    cross = b.T @ a / 60
    assert abs(covariance_twins(z, z_plus).item() - np.linalg.norm(cross - np.eye(4)) ** 2 / 4) < 1e-12


@pytest.mark.parametrize("name", VIEW_LOSSES)
def test_every_loss_has_a_gradient(name: str) -> None:
    z, z_plus = batch()
    z.requires_grad_()
    VIEW_LOSSES[name](z, z_plus).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert z.grad.abs().max() > 0


def test_whitened_views_have_the_identity_and_their_correlations() -> None:
    views = whitened(POSITIVE, 2000, 0, CPU)
    assert torch.allclose(views.x.T @ views.x / len(views.x), torch.eye(DIMENSION, dtype=torch.float64))
    assert torch.allclose(views.y.T @ views.y / len(views.y), torch.eye(DIMENSION, dtype=torch.float64))
    spectrum, basis = eigenbasis(views.x, views.y)
    np.testing.assert_allclose(spectrum[: len(POSITIVE)], POSITIVE, atol=0.06)
    cross = (views.y.T @ views.x / len(views.x)).numpy()
    np.testing.assert_allclose(basis @ cross @ basis.T, np.diag(spectrum), atol=1e-12)
    # Samples held out, on the canonical subspace of the law: 6.2.
    risk = held_out_risk(basis[None, :WIDTH], views)
    np.testing.assert_allclose(risk["latent_risk"][0], risk["latent_risk_predicted"], atol=0.05)


def test_exact_sample_has_exactly_its_moments() -> None:
    spectrum, basis = eigenbasis(*whitened(INDEFINITE, 300, 0, CPU)[:2])
    x, y = exact_sample(spectrum, basis, CPU)
    assert torch.allclose(x.T @ x / len(x), torch.eye(DIMENSION, dtype=torch.float64))
    found = basis @ (y.T @ x / len(x)).numpy() @ basis.T
    np.testing.assert_allclose(found, np.diag(spectrum), atol=1e-12)


def test_signed_predictor_is_balanced() -> None:
    encoder = MLP((6, 4), "linear", seed=0)
    P = signed_predictor(encoder, 3, 2.0).weight.detach()
    W = encoder.last.weight.detach()
    assert torch.allclose(P.T @ P, 2 * W @ W.T)
    assert (torch.linalg.eigvalsh(P) > 0).sum() == 3
    assert list(basis_rows(3)) == [0, 1, 2, 9]
    assert list(basis_rows(4)) == [0, 1, 2, 3]


def test_canonical_correlations_against_another_implementation() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(size=(4000, 3))
    second = first @ rng.normal(size=(3, 3)) + rng.normal(size=(4000, 3))
    half = 2000
    seen = canonical(first[:half], first[half:], second[:half], second[half:])
    one, two = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit_transform(first, second)
    expected = np.mean([np.corrcoef(one[:, i], two[:, i])[0, 1] ** 2 for i in range(3)])
    assert abs(seen - expected) < 0.03
    # The same span in other coordinates, and a direction that is not there.
    turned = first @ rng.normal(size=(3, 3))
    assert abs(canonical(first[:half], first[half:], turned[:half], turned[half:]) - 1) < 1e-9
    lacking = first * [1, 1, 0]
    assert abs(canonical(lacking[:half], lacking[half:], first[:half], first[half:]) - 2 / 3) < 1e-3


def test_kept_share_of_a_known_subspace() -> None:
    rho = np.array([0.9, 0.8, 0.6, 0.3])
    x, y = exact_sample(rho, np.eye(4), CPU)
    # Of a sample without a mean: each pair beside its mirror image.
    x, y = torch.cat((x, -x)), torch.cat((y, -y))
    encoder = MLP((4, 2), "linear", seed=0)
    with torch.no_grad():
        encoder.last.weight.copy_(torch.eye(4, dtype=torch.float64)[[0, 2]])
    np.testing.assert_allclose(correlations(x.numpy(), y.numpy()), rho, atol=1e-9)
    assert abs(kept_share(encoder, x, y) - (0.81 + 0.36) / (0.81 + 0.64)) < 1e-9


def test_a_diverged_encoder_is_kept_as_nan() -> None:
    good = np.random.default_rng(5).normal(size=(40, 3))
    for lost in (good * np.inf, good * 1e200, good * np.nan):
        assert np.isnan(canonical(lost[:20], lost[20:], good[:20], good[20:]))
        assert np.isnan(canonical(good[:20], good[20:], lost[:20], lost[20:]))
        assert np.isnan(accuracy(lost, lost, np.arange(40) % 2, np.arange(40) % 2))
    encoder = MLP((3, 2), "linear", seed=0)
    with torch.no_grad():
        encoder.last.weight.fill_(np.inf)
    x = torch.as_tensor(np.abs(good))
    assert np.isnan(kept_share(encoder, x, x))


def test_features_that_are_silent() -> None:
    encoder = MLP((3, 4, 2), "relu", seed=0)
    x = torch.as_tensor(np.random.default_rng(6).normal(size=(50, 3)))
    with torch.no_grad():
        encoder.backbone.get_parameter("0.bias")[:3] = torch.tensor([-100.0, 100.0, -100.0]).double()
        h = encoder.backbone(x).numpy()
    variance, silent = feature_moment(encoder, x)
    assert silent == 0.5
    assert variance == pytest.approx(h.var(axis=0).sum())


def test_accuracy_of_separable_classes() -> None:
    labels = np.arange(60) % 3
    z = np.eye(3)[labels] + 0.01 * np.random.default_rng(4).normal(size=(60, 3))
    assert accuracy(z[:30], z[30:], labels[:30], labels[30:]) == 1.0
    assert accuracy(z[:30], z[30:], labels[:30], (labels[30:] + 1) % 3) == 0.0


def test_survivors_are_judged_by_the_threshold() -> None:
    spectrum, decay = np.array([0.9, -0.8, 0.1]), np.array([0.05])
    run = {
        "decay_spectrum": spectrum,
        "weight_decay": decay,
        "jepa_moment": np.array([[0.7, 0.5, 0.0]]),
        "jepa_predicted": np.array([[0.7, 0.5, 0.0]]),
        "spectral_moment": np.array([[0.85, 0.0, 0.05]]),
        "spectral_predicted": np.array([[0.85, 0.0, 0.05]]),
    }
    right = {(entry["experiment"], entry["architecture"]): entry["error"] for entry in decay_rows(run)}
    assert right["subspace: survivors of weight decay", "linear, JEPA; λ < 0"] == 0
    run["jepa_moment"] = np.array([[0.7, 0.0, 0.0]])
    wrong = {(entry["experiment"], entry["architecture"]): entry["error"] for entry in decay_rows(run)}
    assert wrong["subspace: survivors of weight decay", "linear, JEPA; λ < 0"] == 2


def test_quick_run() -> None:
    found = subspace()
    verdicts = {(entry["experiment"], entry["architecture"]): entry["verdict"] for entry in found.rows}
    # What is proved for linear encoders must hold, and every false version be refused.
    for views in ("positive", "indefinite"):
        for name in OBJECTIVES[:2]:
            place = f"linear, {name}; {views} views"
            assert verdicts["subspace: leading canonical subspace", place] == "holds"
            assert verdicts["subspace: probe risk", place] == "holds"
    assert all(verdict == "holds" for (name, _), verdict in verdicts.items() if "control" in name)
    assert all(verdict == "holds" for (name, _), verdict in verdicts.items() if name.endswith("signature law"))
    assert all(
        verdict == "holds" for (name, _), verdict in verdicts.items() if "survivors" in name and "control" not in name
    )
    # The JEPA of both signs and spectral contrastive end in subspaces at right angles to each other in half of their directions.
    assert found.arrays["both_signs_contrastive_angle"][0] > 1.5
    assert found.arrays["both_signs_angle"][0] < 0.01
    assert all(np.isfinite(values).all() for values in found.arrays.values() if values.dtype.kind == "f")
    assert subspace_angles(np.eye(3)[:2], np.eye(3)[1:]).max() == pytest.approx(np.pi / 2)
