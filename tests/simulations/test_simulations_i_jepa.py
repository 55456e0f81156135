"""The experiment on I-JEPA piece by piece, each against an independent computation, and false versions refused."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from jepalign.datasets import digits
from jepalign.datasets.fashion_mnist import VARIABLE, FashionMNIST
from jepalign.errors import InputError
from jepalign.simulations import i_jepa as experiment
from jepalign.simulations.i_jepa import FULL, SCALES, image_run, load_images, noisy_accuracy, probe_accuracy
from jepalign.simulations.i_jepa_moments import (
    EPSILON,
    Modes,
    flow_decay,
    implicit_power,
    kept_dimensions,
    last_layer_modes,
    participation,
    survivors,
)
from jepalign.simulations.i_jepa_rows import better, decay_rows, helping_rows, power_rows, same
from jepalign.simulations.masked_images import Architecture, Moment, Schedule, train_masked, vicreg_terms, warm_cosine
from jepalign.simulations.patch_masks import BlockSampler

SMALL = Architecture(side=8, patch=2, width=16, depth=1, heads=2, predictor_width=8, predictor_depth=1)
SHORT = Schedule(steps=12, batch=16, learning_rate=3e-3, momentum=0.9)


def images(count: int = 64) -> Tensor:
    return torch.as_tensor(digits().images[:count] * 3 - 1, dtype=torch.float32)


def moments(schedule: Schedule = SHORT, records: int = 3) -> list[Moment]:
    found: list[Moment] = []

    def look(moment: Moment) -> None:
        parts = {name: copy.deepcopy(getattr(moment, name)) for name in ("encoder", "target", "predictor")}
        found.append(dataclasses.replace(moment, **parts))

    train_masked(images(), SMALL, schedule, seed=0, records=records, look=look)
    return found


@pytest.mark.parametrize("normalize", [False, True])
def test_implicit_power_is_the_slope_of_two_losses_as_the_last_layer_is_scaled(normalize: bool) -> None:
    moment = moments(dataclasses.replace(SHORT, normalize_targets=normalize))[-1]
    found = implicit_power(moment, images=8)
    visible, hidden = moment.masks.visible[:8], moment.masks.hidden[:8, 0]
    pairs = min(visible.shape[1], hidden.shape[1])
    even = torch.linspace(0, visible.shape[1] - 1, pairs).round().long()
    visible, hidden, x = visible[:, even], hidden[:, :pairs], moment.images[:8].double()
    encoder, target, predictor = (
        copy.deepcopy(part).double() for part in (moment.encoder, moment.target, moment.predictor)
    )
    weight = encoder.get_parameter("last.weight")
    start = weight.detach().clone()

    @torch.no_grad()
    def surplus(scale: float) -> float:
        weight.copy_(scale * start)
        z, whole = encoder(x, visible), target(x)
        if normalize:
            whole = (whole - whole.mean(2, keepdim=True)) / torch.sqrt(whole.var(2, correction=0, keepdim=True) + 1e-5)
        wanted = torch.stack([whole[row, hidden[row]] for row in range(len(x))])
        predicted = predictor(z, visible, hidden)
        return (((z - wanted) ** 2).sum(2).mean() - ((predicted - wanted) ** 2).sum(2).mean()).item() / 2

    with sdpa_kernel(SDPBackend.MATH):
        slope = (surplus(1 + 1e-5) - surplus(1 - 1e-5)) / 2e-5
    assert found["observed"] == pytest.approx(slope, rel=1e-6)
    assert found["predicted"] == pytest.approx(found["observed"], rel=1e-11)
    assert abs(found["predicted"] + found["alignment"] - slope) > 0.1
    terms = found["alignment"] + found["correction"] + found["asymmetry"]
    assert terms == pytest.approx(found["predicted"], abs=1e-12)


def test_modes_are_those_of_features_counted_one_by_one() -> None:
    moment, x = moments()[-1], images(20)
    modes = last_layer_modes(moment, x, seed=5)
    masks = BlockSampler(4).draw(20, torch.Generator().manual_seed(5))
    cross, variance, rows = np.zeros((16, 16)), np.zeros((16, 16)), []
    for index in range(20):
        one = x[index : index + 1]
        with torch.no_grad():
            h = moment.encoder.features(one, masks.visible[index : index + 1])[0].numpy().astype(float).mean(0)
            whole = moment.target.features(one)[0].numpy().astype(float)
        other = np.mean([whole[patch] for block in masks.hidden[index].tolist() for patch in block], axis=0)
        cross += np.outer(other, h) / 20
        variance += np.outer(h, h) / 20
        rows.append(h)
    symmetric = (cross + cross.T) / 2
    np.testing.assert_allclose(np.sort(modes.cross), np.linalg.eigvalsh(symmetric), atol=1e-5)
    assert modes.variance.sum() == pytest.approx(np.trace(variance), rel=1e-5)
    assert modes.centred.sum() == pytest.approx(np.trace(np.cov(np.array(rows).T, bias=True)), rel=1e-4)
    assert (np.diff(modes.critical) <= 0).all()
    np.testing.assert_allclose(modes.critical, modes.cross**2 / (4 * modes.variance), rtol=1e-12)


def test_survivors_by_threshold_by_hinge_and_by_time() -> None:
    modes = Modes(np.array([2.0, -2.0, 0.4, 0.1]), np.ones(4), np.array([1.0, 1.0, 0.5, 0.01]))
    # η_c = 1, 1, 0.04, 0.0025; a mode of negative λ survives as well (4.7).
    assert [survivors(modes, decay, 0.0) for decay in (2.0, 0.5, 0.03, 0.001)] == [0, 2, 3, 4]
    # A hinge repels from 0 beyond γ = η√ε/σ (4.6): with ε = 1e-4 and η = 2, beyond 0.02, 0.04 and 2.
    assert [survivors(modes, 2.0, 0.0, explicit=weight) for weight in (0.019, 0.021, 0.041, 2.1)] == [0, 2, 3, 4]
    # Where the coordinates already vary as the hinge wants, it needs a weight 1/√ε times as large.
    assert [survivors(modes, 2.0, 0.0, explicit=w, floor=1.0) for w in (1.9, 2.1, 4.1)] == [0, 2, 3]
    assert EPSILON == 1e-4
    # Nothing is lost in a training in which decay alone leaves half.
    assert survivors(modes, 2.0, 0.5) == 4


def test_decoupled_decay_rests_where_the_flow_with_its_decay_does() -> None:
    """Thousands of weights with noisy gradients of 0.1 (w − 1)²/2 under AdamW: the flow with decay sη rests at 0.1/(0.1 + sη)."""
    generator = torch.Generator().manual_seed(0)
    w = torch.ones(4000, requires_grad=True)
    optimizer = torch.optim.AdamW([w], lr=0.01, weight_decay=0.2)
    late = []
    for step in range(2500):
        w.grad = 0.1 * (w.detach() - 1) + 0.5 * torch.randn(4000, generator=generator)
        optimizer.step()
        if step >= 2000:
            late.append(w.detach().mean().item())
    scale = (optimizer.state[w]["exp_avg_sq"] / (1 - 0.999**2500)).sqrt().median().item()
    eta = flow_decay(0.2, scale, 1)
    assert np.mean(late) == pytest.approx(0.1 / (0.1 + eta), rel=0.03)
    assert abs(np.mean(late) - 0.1 / (0.1 + 0.2)) > 0.1  # η itself is not the flow's
    assert flow_decay(0.2, scale, 64) == 64 * eta


def test_counts_of_dimensions() -> None:
    start = np.diag([4.0, 3.0, 2.0, 1.0])
    assert kept_dimensions(start, start) == 4
    assert kept_dimensions(np.diag([5.0, 0.26, 0.24, 0.0]), start) == 2  # the median is 2.5
    generator = np.random.default_rng(1)
    along = np.array([[5.0], [1.0]]) * generator.standard_normal((2, 3000))
    assert participation(along.T) == pytest.approx(1.0, abs=0.01)
    spread = generator.standard_normal((3000, 1)) * np.ones(8) + 0.01 * generator.standard_normal((3000, 8))
    assert participation(spread) == pytest.approx(8.0, abs=0.1)


def test_probe_is_ridge_regression_and_blind_to_scale_unless_it_reads_with_noise() -> None:
    loaded = digits()
    fit, test, labels, wanted = loaded.images[:900], loaded.images[900:], loaded.labels[:900], loaded.labels[900:]
    used = fit.std(0) > 1e-6 * fit.std(0).max()
    a, b = ((part[:, used] - fit[:, used].mean(0)) / fit[:, used].std(0) for part in (fit, test))
    ridge = Ridge(alpha=0.9).fit(a, np.eye(10)[labels])
    found = probe_accuracy(fit, labels, test, wanted)
    assert found == pytest.approx((ridge.predict(b).argmax(1) == wanted).mean(), abs=1e-12)
    assert probe_accuracy(1e-6 * fit, labels, 1e-6 * test, wanted) == pytest.approx(found, abs=2e-3)
    assert noisy_accuracy(fit, labels, test, wanted, 1e-6) == pytest.approx(found, abs=0.01)  # constant pixels
    assert noisy_accuracy(1e-6 * fit, labels, 1e-6 * test, wanted, 0.01) < 0.2


def test_vicreg_terms_one_by_one() -> None:
    generator = np.random.default_rng(2)
    z, other = 0.7 * generator.standard_normal((12, 3)), generator.standard_normal((12, 3))
    covariance = np.cov(z.T)
    hinge = np.mean([max(0.0, 1 - math.sqrt(covariance[i, i] + 1e-4)) for i in range(3)])
    outside = sum(covariance[i, j] ** 2 for i in range(3) for j in range(3) if i != j) / 3
    expected = 25 * ((z - other) ** 2).mean() + 25 * hinge + outside
    assert vicreg_terms(torch.as_tensor(z), torch.as_tensor(other)).item() == pytest.approx(expected, rel=1e-12)


def test_training_is_looked_at_without_being_changed() -> None:
    found = moments()
    assert [moment.step for moment in found] == [0, 6, 11]
    assert math.isnan(found[0].scale)
    assert all(moment.scale > 0 for moment in found[1:])
    assert torch.equal(found[0].encoder.last.weight, found[0].target.last.weight)
    assert not torch.equal(found[1].encoder.last.weight, found[1].target.last.weight)

    def look(moment: Moment) -> None:
        implicit_power(moment, images=4)

    runs = [train_masked(images(), SMALL, SHORT, seed=0, records=3, look=each) for each in (None, look)]
    first, second = (run.encoder.last.weight for run in runs)
    assert torch.equal(first, second)
    product = math.prod(1 - 3e-3 * 5.0 * warm_cosine(step, 40) for step in range(40))
    retained = Schedule(40, 16, learning_rate=3e-3, weight_decay=5.0).retained
    assert retained == pytest.approx(product, rel=0.01)


def test_a_diverged_run_is_kept() -> None:
    plan = dataclasses.replace(SCALES["quick"], schedule=SHORT, records=3, probed=200, test=100, train=200)
    data = load_images(plan, torch.device("cpu"))
    found = image_run(data, plan, dataclasses.replace(SHORT, learning_rate=1e30), seed=0, progress=None)
    assert found["diverged"] == 1
    assert np.isnan(found["accuracy"])
    assert np.isnan(found["kept"])
    assert found["observed"].shape == (3,)
    assert np.isfinite(found["observed"][0])
    assert np.isnan(found["observed"][-1])
    rows = power_rows("x", {key: values[None] for key, values in found.items()})
    assert rows[0]["verdict"] == "fails"
    assert "diverged" in rows[0]["architecture"]


def test_images_are_standardised_and_padded_with_black(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    small = load_images(SCALES["quick"], torch.device("cpu"))  # needs no Fashion-MNIST
    assert small.train.mean().item() == pytest.approx(0, abs=1e-5)
    assert small.train.std().item() == pytest.approx(1, abs=1e-4)
    assert (small.train.shape, small.test.shape) == ((1200, 64), (597, 64))
    with pytest.raises(InputError, match="path"):
        load_images(FULL, torch.device("cpu"))
    grey = np.random.default_rng(3).random((6, 784), dtype=np.float32)
    grey[0, 0] = 0
    monkeypatch.setattr(experiment, "fashion_mnist", lambda part: FashionMNIST(grey, np.arange(6)))
    padded = load_images(FULL, torch.device("cpu")).train.reshape(6, 32, 32)
    # The corner of the first image is black as well.
    assert torch.allclose(padded[:, :2], padded[0, 2, 2])
    assert torch.allclose(padded[:, :, 30:], padded[0, 2, 2])
    expected = (grey - grey.mean()) / grey.std()
    np.testing.assert_allclose(padded[:, 2:30, 2:30].reshape(6, 784).numpy(), expected, atol=1e-5)
    wrong = dataclasses.replace(FULL, architecture=Architecture(side=24))
    with pytest.raises(InputError, match="side"):
        load_images(wrong, torch.device("cpu"))


def test_verdicts_on_help() -> None:
    plain = np.array([0.60, 0.62, 0.61])
    gain, none, noise = plain + np.array([0.03, 0.031, 0.029]), plain + 0.005, plain + np.array([0.05, -0.05, 0.03])
    assert better(gain, plain).error[0] < 1
    assert same(gain, plain).error[0] > 1
    assert same(none, plain).error[0] == pytest.approx(0.5)
    assert better(noise, plain).error[0] > 1  # within two standard errors
    assert same(noise, plain).error[0] < 1
    for needed in (True, False):
        claim, control = helping_rows("x", needed, gain, plain)
        assert (claim["verdict"] == "holds") is needed
        assert (control["verdict"] == "holds") is needed
        assert "control" in control["experiment"]
        assert ("helps, as it must" in claim["experiment"]) is needed


def test_rows_of_one_weight_decay() -> None:
    objective = np.array(["I-JEPA"] * 2 + ["C-JEPA"] * 2)
    arrays = {
        "objective": objective,
        "weight_decay": np.full(4, 9.0),
        "step": np.arange(3),
        "singular": np.zeros((4, 16)),
        "kept": np.array([2.0, 3.0, 9.0, 8.0]),
        "predicted_I": np.full((4, 3), 2.0),
        "predicted_C": np.full((4, 3), 12.0),
        "predicted_held": np.full((4, 3), 9.0),
        "participation": np.array([1.0, 1.0, 8.0, 12.0]),
        "training_effective_rank": np.array([[4.0, 1.0, 9.0], [4.0, 1.0, 9.0], [4.0, 4.0, 1.0], [4.0, 4.0, 1.0]]),
        "accuracy": np.array([0.5, 0.52, 0.6, 0.61]),
        "noisy_accuracy": np.array([0.5, 0.52, 0.3, 0.31]),
    }
    found = {(row["experiment"], row["architecture"].split("; ")[-1]): row for row in decay_rows("x", arrays, 9.0)}
    verdicts = {name.removeprefix("i-jepa: "): (row["error"], row["verdict"]) for (name, _), row in found.items()}
    assert verdicts["surviving dimensions, I-JEPA"] == (0.25, "holds")  # half a dimension of the two allowed
    assert verdicts["surviving dimensions, C-JEPA"] == (1.75, "fails")
    assert verdicts["surviving dimensions, C-JEPA, the hinge as measured variances hold it"] == (0.25, "holds")
    assert verdicts["assumption, a mode has a coordinate of its own, C-JEPA"] == (5.0, "fails")
    # The last record is behind half of the training.
    assert verdicts["assumption, features that stay: no effective rank is lost in them, I-JEPA"] == (2.0, "fails")
    assert verdicts["assumption, features that stay: no effective rank is lost in them, C-JEPA"] == (0.5, "holds")
    assert verdicts["control, no dimension is lost, I-JEPA"] == (6750.0, "holds")
    claim = "i-jepa: the explicit term helps, as it must"
    assert found[claim, "linear probe"]["verdict"] == "holds"
    assert found[claim, "linear probe under noise"]["verdict"] == "fails"
