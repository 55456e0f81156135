"""Gradient descent, least squares and divergence."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from jepalign.errors import InputError
from jepalign.simulations.data import PairedViews
from jepalign.simulations.encoders import ACTIVATIONS, GAINS, MLP, linear_predictor, scale_embedding
from jepalign.simulations.training import JEPA, Rates, Status, least_squares_predictor, train, within


@pytest.fixture
def views() -> PairedViews:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    return PairedViews(x, x + 0.3 * torch.randn(40, 6, generator=generator, dtype=torch.float64))


def moved(after: Tensor, before: Tensor, rate: Tensor, step: float) -> bool:
    """Whether after = before + step·rate: each entry is stored with one rounding of at most 2⁻⁵³ |after|."""
    return torch.allclose(after, before + step * rate, rtol=1e-14, atol=1e-14)


def test_one_step_is_the_flow_as_it_is_written(views: PairedViews) -> None:
    """Ẇ = Pᵀ(VΣ_yx − PWΣ_x) − ηW, Ṗ = α(VΣ_yx − PWΣ_x)Wᵀ − ηP, V̇ = β(W − V), in moments, for a linear encoder."""
    encoder, predictor = MLP((6, 3), "linear", seed=1), linear_predictor(3, seed=2)
    rates = Rates(step=0.03, predictor=2.5, weight_decay=0.7, ema=1.5)
    jepa = JEPA(encoder, predictor, rates)
    with torch.no_grad():
        target = jepa.target.get_parameter("last.weight")
        target.mul_(1.3)
    weight, matrix, lagging = (t.detach().clone() for t in (encoder.last.weight, predictor.weight, target))
    x, y = views.x, views.y
    force = lagging @ (y.T @ x) / len(x) - matrix @ weight @ (x.T @ x) / len(x)
    jepa.step(x, y)
    assert moved(encoder.last.weight, weight, matrix.T @ force - 0.7 * weight, 0.03)
    assert moved(predictor.weight, matrix, 2.5 * force @ weight.T - 0.7 * matrix, 0.03)
    # The target moves after the step, towards the new W: V + εβ(W − V).
    assert moved(target, lagging, 1.5 * (encoder.last.weight.detach() - lagging), 0.03)


def test_without_ema_the_target_is_the_encoder_and_gets_no_gradient(views: PairedViews) -> None:
    encoder = MLP((6, 3), "linear", seed=1)
    jepa = JEPA(encoder, linear_predictor(3, seed=2), Rates(step=0.1))
    assert jepa.target is encoder
    weight, matrix = encoder.last.weight.detach().clone(), jepa.predictor.get_parameter("weight").detach().clone()
    force = weight @ (views.y.T @ views.x) / 40 - matrix @ weight @ (views.x.T @ views.x) / 40
    jepa.step(views.x, views.y)
    assert moved(encoder.last.weight, weight, matrix.T @ force, 0.1)


def test_the_least_squares_predictor_leaves_no_covariance_with_the_embedding(views: PairedViews) -> None:
    z, target = views.x[:, :3], views.y[:, :4]
    residual = target - z @ least_squares_predictor(z, target).T
    # QR is backward stable: Zᵀ residual is a small multiple of u ‖Z‖ ‖target‖, here 2⁻⁵³ · 11 · 12 · O(10).
    assert (z.T @ residual).abs().max() < 1e-12
    assert (z.T @ target).abs().max() > 1


def test_a_least_squares_jepa_refits_its_predictor_on_every_batch(views: PairedViews) -> None:
    jepa = JEPA(MLP((6, 5, 3), "tanh", seed=1), None, Rates(step=0.1, ema=0.5))
    seen: list[Tensor] = []
    expected: list[Tensor] = []

    def look(_step: int, x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            expected.append(least_squares_predictor(jepa.encoder(x), jepa.target(y)))

    train(
        jepa,
        views.batches(20, 6, seed=0),
        before=look,
        after=lambda _: seen.append(jepa.predictor.get_parameter("weight").clone()),
    )
    assert len(seen) == 6
    # LAPACK may round by the alignment of its arguments: u κ(Z)² with κ below 10 here.
    assert all(torch.allclose(a, b, rtol=0, atol=1e-13) for a, b in zip(seen, expected, strict=True))
    assert not torch.allclose(seen[0], seen[1], rtol=0, atol=1e-3)


def test_a_run_that_diverges_stops_says_so_and_keeps_what_it_had(views: PairedViews) -> None:
    jepa = JEPA(MLP((6, 5, 3), "relu", seed=1), linear_predictor(3, seed=2), Rates(step=30.0))
    kept: list[int] = []
    run = train(jepa, views.batches(20, 100, seed=0), after=kept.append)
    assert run.status is Status.DIVERGED
    assert 0 < len(run.losses) < 100
    assert kept == list(range(len(run.losses)))
    assert all(map(math.isfinite, run.losses))


@pytest.mark.parametrize(("value", "expected"), [(1e9, True), (1e11, False), (math.inf, False), (math.nan, False)])
def test_what_is_lost(value: float, expected: bool) -> None:
    assert within(torch.zeros(2), torch.tensor([1.0, value])) is expected


@pytest.mark.parametrize(
    "arguments",
    [
        {"step": 0.0},
        {"step": math.nan},
        {"step": 0.1, "predictor": -1.0},
        {"step": 0.1, "predictor": math.inf},
        {"step": 0.1, "weight_decay": -0.1},
        {"step": 0.1, "weight_decay": 10.0},
        {"step": 0.1, "ema": 11.0},
        {"step": 0.1, "ema": -1.0},
    ],
)
def test_impossible_rates_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Rates(**arguments)


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(0)
    first = MLP((6, 5, 3), "relu", seed=4).state_dict()
    state = torch.get_rng_state()
    second = MLP((6, 5, 3), "relu", seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["last.weight"], MLP((6, 5, 3), "relu", seed=5).state_dict()["last.weight"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_encoders_are_float64_with_a_bare_last_layer(activation: str) -> None:
    encoder = MLP((6, 5, 3), activation, seed=0)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float64}
    assert "last.bias" not in dict(encoder.named_parameters())
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale_embedding(encoder, x, 0.25)
    # Mean of k n squares after one multiplication by a square root: a few roundings relatively.
    assert encoder(x).square().mean().item() == pytest.approx(0.25, rel=1e-13)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_gains_keep_the_second_moment_of_a_gaussian(activation: str) -> None:
    # Gauss-Hermite sums of smooth activations are exact to far more than two digits, of a kink to 1/200 of its weight.
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    out = ACTIVATIONS[activation]()(torch.as_tensor(nodes)).square().numpy() @ weights / weights.sum()
    # A tanh's 5/3 is for weights that saturate it a little (LeCun et al. 2012): it is not this moment's.
    assert GAINS[activation] ** 2 * out == pytest.approx(1, abs=0.1 if activation == "tanh" else 0.01)


def test_impossible_encoders_are_refused() -> None:
    with pytest.raises(InputError, match="activation = sine"):
        MLP((6, 3), "sine", seed=0)
    with pytest.raises(InputError, match="widths"):
        MLP((6,), "relu", seed=0)
    with pytest.raises(InputError, match="must contain a linear layer"):
        JEPA(torch.nn.Sequential(torch.nn.Conv1d(1, 1, 1)), None, Rates(step=0.1))


def test_copies_train_alike(views: PairedViews) -> None:
    """Training is a function of start and batches: nothing hidden in modules, optimiser or generator state."""
    start = MLP((6, 5, 3), "gelu", seed=1)
    ends: list[Tensor] = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        encoder = copy.deepcopy(start)
        run = train(JEPA(encoder, linear_predictor(3, seed=2), Rates(step=0.1, ema=0.5)), views.batches(20, 9, seed=0))
        assert run.status is Status.FINISHED
        ends.append(torch.nn.utils.parameters_to_vector(encoder.parameters()).detach())
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], torch.nn.utils.parameters_to_vector(start.parameters()))
