"""The dictionary in practice: losses and forces against the library's and enumeration, and the quick run."""

import itertools
from typing import Literal

import numpy as np
import pytest
import torch

from jepalign.linear_models import losses
from jepalign.simulations import practice_forces
from jepalign.simulations.data import PairedViews, digit_views, other_view
from jepalign.simulations.encoders import DEEP, MLP, digit_encoder
from jepalign.simulations.objectives import EXPLICIT, second_moment
from jepalign.simulations.practice import PRACTICES, PracticePlan, practice, trained
from jepalign.simulations.practice_forces import (
    BATCH,
    Practice,
    cosine,
    explicit,
    look,
    own_surplus,
    predictor,
    ringing,
    sampled_infonce,
    sharpness,
)
from jepalign.simulations.practice_rows import entry_rows

CPU = torch.device("cpu")


def batch(pairs: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.as_tensor(np.random.default_rng(0).normal(size=(2 * pairs, 4)))
    return z, other_view(z)


@pytest.mark.parametrize("kernel", ["dot", "gaussian"])
def test_sampled_infonce_is_the_librarys_in_both_directions(kernel: Literal["dot", "gaussian"]) -> None:
    z, z_plus = batch()
    first, second = z.numpy()[:20], z.numpy()[20:]
    one, two = (
        losses.infonce(*pair, similarity=kernel, temperature=0.7).value for pair in ((first, second), (second, first))
    )
    seen = sampled_infonce(z, z_plus, kernel=kernel, temperature=0.7).item()
    assert seen == pytest.approx(0.7 * (one + two) / 4, abs=1e-12)


@pytest.mark.parametrize("name", ["spectral-contrastive", "gaussian-infonce"])
@pytest.mark.parametrize("pairs", [20, 2 * BATCH])
def test_gradient_of_the_explicit_objective_at_a_temperature(name: str, pairs: int) -> None:
    z, _ = batch(pairs)
    leaf = z.clone().requires_grad_()
    (seen,) = torch.autograd.grad(explicit(name, leaf, other_view(leaf), 0.5), leaf)
    expected = (z @ predictor(name, second_moment(z), 0.5) - other_view(z)) / len(z)
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(explicit(name, z, other_view(z), 1.0), EXPLICIT[name](z, other_view(z)))


def test_surplus_of_a_batchs_own_moment_against_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice_forces, "BATCH", 2)
    z, _ = batch(5)
    squares = []
    for chosen in itertools.combinations(range(5), 2):
        rows = [*chosen, *(index + 5 for index in chosen)]
        squares.append(second_moment(z[rows]).square().sum())
    expected = (torch.stack(squares).mean() - second_moment(z).square().sum()) / 4
    torch.testing.assert_close(own_surplus(z), expected, rtol=1e-12, atol=0)


def test_lag_and_cosine() -> None:
    assert Practice("residual", average=0.05).lag == 19
    assert Practice("residual").lag == 0
    one, two = torch.tensor([3.0, 0.0]).double(), torch.tensor([1.0, 1.0]).double()
    assert cosine(one, two) == pytest.approx(0.5**0.5)
    assert cosine(one, -one) == pytest.approx(-1)
    # A steady Φ_t = t: the average is behind by so many steps.
    average = 0.0
    for step in range(1000):
        average += 0.05 * (step - average)
    assert 999 - average == pytest.approx(19)


def test_where_a_moving_average_rings() -> None:
    for share in (0.05, 0.25):
        for h in (0.9 * ringing(share), 1.1 * ringing(share)):
            step = np.array([[1 - share * h, share - 1], [share * h, 1 - share]])
            values = np.linalg.eigvals(step)
            assert np.iscomplexobj(values) is (h > ringing(share))
            assert np.prod(values) == pytest.approx(1 - share)


def test_sharpness_of_one_linear_mode() -> None:
    # U = ¼σ²w⁴ − ½λw² of one linear mode, whose curvature is 3σ²w² − λ.
    x = torch.tensor([[1.0], [-1.0]] * BATCH).double()
    encoder = MLP((1, 1), "linear", seed=0)
    with torch.no_grad():
        encoder.last.weight.fill_(1.3)
    assert sharpness(encoder, PairedViews(x, 0.5 * x), "spectral-contrastive", 3) == pytest.approx(
        3 * 0.625**2 * 1.69 - 0.5
    )


def tiny() -> tuple[MLP, PairedViews]:
    views = digit_views(device=CPU, seed=0)
    return digit_encoder(DEEP, "tanh", views, 0), PairedViews(views.x[: 2 * BATCH], views.y[: 2 * BATCH])


def test_what_is_predicted_is_followed_where_nothing_departs() -> None:
    encoder, views = tiny()
    moment = torch.eye(DEEP[-1], dtype=torch.float64)
    for form in ("residual", "BYOL"):
        found = look(encoder, encoder, views, "gaussian-infonce", Practice(form, batches=False), moment, None)
        assert found["followed"] == pytest.approx(1, abs=1e-14)
        assert found["cosine"] == pytest.approx(found["cosine_predicted"], abs=1e-14)
        assert (found["cosine"] < 0.999) is (form == "BYOL")
    # P = g(Φ̄) of another Φ̄ is not followed.
    found = look(encoder, encoder, views, "gaussian-infonce", Practice("residual", average=0.05), 5 * moment, None)
    assert found["followed"] < 0.9
    # The step before, as it was: the correction is then the update itself.
    how = Practice("residual", average=0.05)
    found = look(encoder, encoder, views, "gaussian-infonce", how, 5 * moment, 5 * moment)
    assert found["cosine_corrected"] == pytest.approx(found["cosine"], abs=1e-14)


def test_a_diverged_training_is_kept_as_missing() -> None:
    encoder, views = tiny()
    with torch.no_grad():
        encoder.last.weight.mul_(1e3)
    plan = PracticePlan((), steps=30, records=3, partitions=1)
    found = trained(encoder, PairedViews(views.x, views.y), "spectral-contrastive", Practice("residual"), plan, 0)
    assert np.isfinite(found["cosine"][0])
    assert np.isnan(found["cosine"][1:]).all()


def test_quick_run() -> None:
    found = practice()
    verdicts = {(entry["experiment"], entry["architecture"]): entry["verdict"] for entry in found.rows}
    for (name, place), verdict in verdicts.items():
        proved = "own gradient" in name or "average to the whole" in name or "bias" in name or "control" in name
        if proved or place.endswith(", exact"):
            assert verdict == "holds", (name, place)
    # The two forms on the same mini-batches are one training.
    names = list(found.arrays["practice"])
    assert names == list(PRACTICES)
    forms = [names.index("explicit, mini-batches"), names.index("mini-batches")]
    np.testing.assert_allclose(*found.arrays["moment"][0, forms], rtol=1e-9)
    np.testing.assert_allclose(*found.arrays["effective_rank"][0, forms], rtol=1e-6)
    # A run that is lost fails its rows.
    run = {key: values[0] for key, values in found.arrays.items() if key not in ("practice", "entry", "architecture")}
    run["cosine"] = run["cosine"] + np.nan
    lost = [row for row in entry_rows(("e", "a"), PRACTICES, run) if "direction" in row["experiment"]]
    assert {row["verdict"] for row in lost if "control" not in row["experiment"]} == {"fails"}
