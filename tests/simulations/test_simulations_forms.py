"""The two forms of the dictionary on any encoder and any data, and the versions of it that are false."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.simulations.data import PairedViews, both_orders, other_view
from jepalign.simulations.encoders import ACTIVATIONS, MLP, scale_embedding
from jepalign.simulations.forms import compare_forms, train_forms
from jepalign.simulations.objectives import EXPLICIT, alignment, second_moment, spectral_matrix

NAMES = list(EXPLICIT)
# A false version misses the rounding bound by the ratio of its error, of order one, to rounding: far more than this.
REFUSED = 1e3


def heavy_tailed_views(seed: int, samples: int = 60, dimension: int = 7) -> PairedViews:
    """Neither Gaussian nor centred, and not exchangeable: only the batch is symmetrised."""
    generator = np.random.default_rng(seed)
    signal = generator.standard_t(5, (samples, dimension)) + 1
    x, y = (
        signal + 0.5 * generator.standard_normal(signal.shape),
        0.7 * signal + generator.exponential(size=signal.shape),
    )
    return PairedViews(torch.as_tensor(x), torch.as_tensor(y))


def encoder_for(views: PairedViews, activation: str, seed: int) -> MLP:
    encoder = MLP((views.x.shape[1], 9, 4), activation, seed=seed)
    scale_embedding(encoder, torch.cat((views.x, views.y)), 0.5)
    return encoder


def test_every_entry_of_the_dictionary_has_an_explicit_objective() -> None:
    assert set(EXPLICIT) == set(DICTIONARY)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**16), activation=st.sampled_from(list(ACTIVATIONS)))
def test_both_forms_have_the_same_gradient(name: str, seed: int, activation: str) -> None:
    views = heavy_tailed_views(seed)
    seen = compare_forms(encoder_for(views, activation, seed), views.x, views.y, name)
    assert seen.error.max() <= 1
    # The bound must not be vacuous: far below the gradients it is about.
    assert np.allclose(seen.observed, seen.predicted, rtol=1e-8, atol=0)
    assert np.allclose(seen.cosine, 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "other"), list(permutations(NAMES, 2)))
def test_the_predictor_of_another_entry_is_refused(name: str, other: str) -> None:
    views = heavy_tailed_views(0)
    seen = compare_forms(encoder_for(views, "tanh", 0), views.x, views.y, name, predictor=DICTIONARY[other])
    assert seen.error.min() > REFUSED


def without_self_pairs(z: Tensor, z_plus: Tensor) -> Tensor:
    """Spectral contrastive with n(n−1) pairs: a U-statistic, which the dictionary meets only up to order 1/n."""
    products = (z @ z.T).square()
    negatives = (products.sum() - products.diagonal().sum()) / (len(z) * (len(z) - 1))
    return (negatives - 2 * (z * z_plus).sum(1).mean()) / 4


def doubled_repulsion(z: Tensor, z_plus: Tensor) -> Tensor:
    return EXPLICIT["spectral-contrastive"](z, z_plus) + (z @ z.T).square().mean() / 4


def full_alignment(z: Tensor, z_plus: Tensor) -> Tensor:
    """½E‖z − z⁺‖² where the dictionary has ¼."""
    return EXPLICIT["log-det"](z, z_plus) + alignment(z, z_plus)


def centred_log_det(z: Tensor, z_plus: Tensor) -> Tensor:
    """Log-determinant of the centred covariance, Φ being the second moment."""
    return alignment(z, z_plus) - torch.linalg.slogdet(second_moment(z - z.mean(0))).logabsdet / 2


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("spectral-contrastive", without_self_pairs),
        ("spectral-contrastive", doubled_repulsion),
        ("log-det", full_alignment),
        ("log-det", centred_log_det),
    ],
)
def test_a_changed_objective_is_refused(name: str, objective: object) -> None:
    views = heavy_tailed_views(1)
    seen = compare_forms(encoder_for(views, "gelu", 1), views.x, views.y, name, objective=objective)  # pyright: ignore[reportArgumentType]
    assert seen.error[:-1].min() > REFUSED


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_one_order_is_refused(name: str) -> None:
    views = heavy_tailed_views(2)
    seen = compare_forms(encoder_for(views, "tanh", 2), views.x, views.y, name, symmetric=False)
    assert seen.error.min() > REFUSED


def test_the_byol_form_is_not_the_residual_form() -> None:
    """P(z⁺ − Pz) is preconditioned: its norm at the embeddings is not that of ∇U_g, only that of P∇U_g."""
    views = heavy_tailed_views(3)
    encoder = encoder_for(views, "tanh", 3)
    seen = compare_forms(encoder, views.x, views.y, "spectral-contrastive")
    z = encoder(both_orders(views.x, views.y)[0])
    plain = torch.autograd.grad(EXPLICIT["spectral-contrastive"](z, other_view(z)), z)[0].norm().item()
    assert abs(seen.observed[-1] / plain - 1) > 1e-2


def test_the_spectral_predictor_follows_a_rotation_of_the_embedding() -> None:
    """g(QΦQᵀ) = Qg(Φ)Qᵀ: a matrix function, not one of entries."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    for name, entry in DICTIONARY.items():
        here, there = (spectral_matrix(entry, second_moment(rows)) for rows in (z, z @ rotation.T))
        # Rounding of two eigendecompositions, amplified by at most κ(Φ) < 100 here: below 1e-12 by two decades.
        assert torch.allclose(there, rotation @ here @ rotation.T, rtol=0, atol=1e-12), name


def test_trainings_agree_and_false_ones_part() -> None:
    """From one start the two forms stay within rounding of each other; two entries do not end alike."""
    views = heavy_tailed_views(4, samples=80)
    start = encoder_for(views, "tanh", 4)
    records = np.array([0, 5, 20])
    run = train_forms(start, views, "spectral-contrastive", step_size=0.05, batch=40, records=records, seed=0)
    assert run["error"].max() <= 1
    assert run["travelled"][0, -1] > 0.1
    # As in the experiment: at most a hundred times what reordered sums do to the same training.
    assert (run["separation"] <= 100 * run["twin_separation"]).all()
    assert run["separation"][-1] > 0  # two programs, not one compared with itself
    other = train_forms(start, views, "directpred", step_size=0.05, batch=40, records=records, seed=0)
    assert np.linalg.norm(run["covariance"][0, -1] - other["covariance"][0, -1]) > 1e-3


def test_a_diverged_training_is_kept_up_to_there() -> None:
    views = heavy_tailed_views(5)
    records = np.array([0, 1, 30])
    start = encoder_for(views, "relu", 5)
    run = train_forms(start, views, "spectral-contrastive", step_size=20.0, batch=30, records=records, seed=0)
    assert np.isfinite(run["error"][0]).all()
    assert np.isnan(run["error"][-1]).all()
    assert np.isnan(run["separation"][-1])
