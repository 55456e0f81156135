"""LeJEPA: its loss against the sampled one of another room, its step against the flow, thresholds of features, and rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jepalign.linear_models.collapse import lejepa_strength, lejepa_threshold
from jepalign.linear_models.losses import sigreg
from jepalign.linear_models.uniformity import SIGReg
from jepalign.measurements import load
from jepalign.simulations.ablation import Views
from jepalign.simulations.encoders import MLP
from jepalign.simulations.ensembles.stacks import stacked
from jepalign.simulations.hybrid_deep import repulsion
from jepalign.simulations.lejepa import (
    SCALES,
    WIDTH,
    collapsed,
    embedded,
    gaussian_points,
    halves,
    modes_alone,
    network,
    trained,
)
from jepalign.simulations.lejepa_rows import alone_rows, ranks, spectra
from jepalign.simulations.lejepa_training import lejepa_losses, needs, spectrum, statistic, train_lejepa
from jepalign.simulations.mode_strengths import exact_modes
from jepalign.simulations.results import numpy

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


def test_statistic_is_that_of_the_sampled_loss() -> None:
    first, second = RNG.standard_normal((2, 30, 3)) * [0.2, 1.0, 2.5] + [0.0, 0.3, 0.0]
    axes = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    told = sigreg(first, second, directions=axes, scaled=False, convention="paper")
    z = torch.tensor(first, requires_grad=True)
    own, other = (statistic(part @ torch.tensor(axes).T).mean() / 2 for part in (z, torch.tensor(second)))
    assert (own + other).item() == pytest.approx(told.value, rel=1e-12)
    (gradient,) = torch.autograd.grad(own, z)
    np.testing.assert_allclose(numpy(gradient), told.first, atol=1e-15)


@pytest.mark.parametrize("trade_off", [0.02, 0.5])
def test_loss_is_the_published_one(trade_off: float) -> None:
    n, k = 20, 4
    views = RNG.standard_normal((2, n, k))
    axes = np.linalg.qr(RNG.standard_normal((k, k)))[0]
    center = views.mean(0)
    prediction = sum(np.square(view - center).sum(1).mean() for view in views) / 2
    published = (1 - trade_off) * prediction + trade_off * sigreg(*views, directions=axes, convention="paper").value
    gamma = lejepa_strength(trade_off, batch=n, width=k)
    z, z_plus, directions = (torch.tensor(part) for part in (*views, axes))
    found = lejepa_losses(z[None], z_plus[None], torch.tensor([gamma], dtype=z.dtype), directions)
    assert found.item() == pytest.approx(published / (1 - trade_off), rel=1e-12)


def test_a_step_of_a_collapsed_layer_is_that_of_the_flow() -> None:
    h = torch.tensor(RNG.standard_normal((40, 3)) + np.array([1.0, 0.0, 0.5]))
    other = h + 0.3 * torch.tensor(RNG.standard_normal((40, 3)))
    encoder = MLP((3, 2), "linear", seed=0)
    with torch.no_grad():
        encoder.last.weight.mul_(1e-5)
    W = numpy(encoder.last.weight).copy()
    trial, state = stacked("encoder", [encoder], torch.float64, CPU)
    gamma, step, decay = 0.4, 0.1, 0.03
    axes = torch.eye(2, dtype=torch.float64)
    end = train_lejepa(trial, state, np.array([gamma]), [(h, other)], step=step, decay=decay, slices=axes)
    x, y = (numpy(torch.cat(part)) for part in ((h, other), (other, h)))
    context, cross = x.T @ x / 80, y.T @ x / 80
    # SIGReg of each view has that view's mean.
    push = (repulsion(numpy(h), SIGReg()) + repulsion(numpy(other), SIGReg())) / 2
    told = W + step * (W @ (gamma * push - context + cross) - decay * W)
    # The statistic's next order is (1e-5)² of this one; the published rule is right to 1e-5 of it.
    np.testing.assert_allclose(numpy(end["last.weight"])[0], told, atol=2e-5 * np.abs(W).max())


def test_needs_of_aligned_modes_and_of_dead_features() -> None:
    rho, variance = np.array([0.9, 0.2, -0.4]), np.array([0.5, 2.0, 1.0])
    modes = exact_modes(rho, variance, seed=0, device=CPU)
    x, y = halves((modes.x, modes.y))
    x, y = x - x.mean(0), y - y.mean(0)  # which changes the moments: compare with themselves, put in another basis
    turn = torch.tensor(RNG.standard_normal((3, 3)))
    found = needs(x, y, 0.0)
    np.testing.assert_allclose(needs(x @ turn + 3.0, y @ turn + 3.0, 0.0), found, rtol=1e-8)
    dead = torch.cat((x, 0 * x[:, :1]), dim=1), torch.cat((y, 0 * y[:, :1]), dim=1)
    np.testing.assert_allclose(needs(*dead), found, rtol=1e-8)
    scalar = needs(x[:, :1], y[:, :1], 0.3)[0]
    both = numpy(torch.cat((x[:, 0], y[:, 0])))
    sigma, lam = np.mean(both**2), np.mean(numpy(x[:, 0] * y[:, 0]))
    assert scalar == pytest.approx(1 - lam / sigma + 0.3 / sigma, rel=1e-12)


def test_points_of_one_gaussian_dimension() -> None:
    x, y = gaussian_points(0.6, 0.8)
    assert np.mean(x * x) == pytest.approx(0.8, rel=1e-12)
    assert np.mean(y * y) == pytest.approx(0.8, rel=1e-12)
    assert np.mean(x * y) == pytest.approx(0.48, rel=1e-12)
    assert 2.85 < np.mean(x**4) / 0.64 < 3.05


def test_modes_alone_leave_collapse_at_their_threshold() -> None:
    rows = alone_rows(modes_alone(SCALES["quick"], CPU))
    assert [entry["verdict"] for entry in rows] == ["holds"] * 4
    assert sum("control" in entry["experiment"] for entry in rows) == 2


def test_a_collapsed_layer_stands_still_at_the_threshold_of_its_features() -> None:
    data = Views(SCALES["quick"], "tanh", seed=1, device=CPU)
    _, told, seen, known, hybrid = collapsed(network("tanh", 1, CPU), *halves(data.fixed))
    # A push of 0.2 in time moves features by η times that and by a step's order.
    assert (np.abs(seen / known - 1) < 0.05).all()
    # Second moments alone are a lower bound: the mean is attracted besides.
    assert (told <= known * (1 + 1e-9)).all()
    assert (told > lejepa_threshold(0.999, 1.0, uniformity=SIGReg())).all()
    # Without alignment there is less to overcome.
    assert (hybrid < known).all()


def test_what_a_training_returns() -> None:
    plan = replace(SCALES["quick"], deep_steps=3)
    found = trained(plan, network("relu", 2, CPU), Views(plan, "relu", seed=2, device=CPU))
    members = len(plan.strengths) + 1
    for key in ("deep", "deep_start", "deep_end", "frozen"):
        assert found[key].shape == (members, WIDTH)
        assert (np.diff(found[key], axis=1) <= 1e-12).all(), key
    # A few steps leave features nearly where they were, and the last layers of both runs alike.
    np.testing.assert_allclose(found["deep"], found["frozen"], rtol=0.2, atol=1e-3)
    assert found["deep_mean"].shape == (members,)


def test_a_diverged_encoder_has_no_variances() -> None:
    encoder = MLP((3, WIDTH), "linear", seed=0)
    x = torch.tensor(RNG.standard_normal((10, 3)))
    z = encoder(x).detach()
    np.testing.assert_allclose(embedded(encoder, x, x), spectrum(z, z))
    with torch.no_grad():
        encoder.last.weight[0, 0] = torch.inf
    assert np.isnan(embedded(encoder, x, x)).all()


def test_rows_of_spectra() -> None:
    told = np.array([[2.0, 0.5, 0.0], [0.2, 0.0, 0.0]])
    seen = np.array([[1.9, 0.6, 0.05], [0.3, 0.0, 0.0]])
    np.testing.assert_allclose(spectra(seen, told, 0.1).error, [[0.5, 0.5, 0.25], [1.0, 0.0, 0.0]])
    found = ranks(np.array([[1.9, 0.6, 0.5], [np.nan, 0.0, 0.0]]), told)
    np.testing.assert_array_equal(found.observed, [3.0, np.nan])
    np.testing.assert_array_equal(found.predicted, [2.0, 1.0])
    assert found.error[0] == pytest.approx(2 / 3)
    assert np.isnan(found.error[1])


def test_what_the_page_on_deep_encoders_says_of_the_committed_run() -> None:
    found = load("lejepa").arrays
    quotient = found["repel_predicted"] / found["repel_jepa"]
    assert 3 < quotient.min() < 4
    assert 17 < quotient.max() < 18
    at = found["shared_strength"].tolist().index(0.3)
    assert (found["shared_alone"][at] > 0).sum() == 10
    assert (found["shared_predicted"][at] > 0).sum() == (found["shared"][at] > 0.02).sum() == 3
    assert 3 < found["shared"][at].max() < 3.3
    assert spectra(found["shared"], found["shared_predicted"], 0.06).error.max() < 1
    without, with_batch = found["shared"][-2:]
    assert without.max() < 0.01
    assert (with_batch > 0.1).sum() == 6
    # Seen and told by second moments along the mean of ReLU features, in the first seed.
    assert np.isinf(found["collapsed"][found["architecture"].tolist().index("relu 24-64-32-8"), 0, :, 0]).any()
    alive = found["deep"].max(-1) > 0.1
    assert (found["deep_start"].max(-1) < found["deep"].max(-1))[alive].all()
    counts = [(found[key] > 0.1).sum(-1) for key in ("deep_start", "deep", "deep_end")]
    assert (counts[0] >= counts[1])[..., -2:].all()
    assert (counts[0] > counts[1])[..., -1].all()
    assert np.abs(counts[2] - counts[1]).max() == 1
    assert spectra(found["deep"], found["deep_end"], 0.2).error.max() < 1
