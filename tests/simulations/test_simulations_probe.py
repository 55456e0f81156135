"""The probe on encoders and predictors that are nobody's in particular, against NumPy and against the chain rule."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jepalign.errors import InputError
from jepalign.linear_models.implicit_uniformity import power_gap
from jepalign.simulations.data import both_orders
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.objectives import prediction_loss
from jepalign.simulations.probe import Probe, covariance, effective_rank
from jepalign.simulations.training import least_squares_predictor

# Two ways of computing one mean of 48 or fewer products of numbers of order ten: 48 u · 10² ≈ 5e-13, and a little more.
CLOSE = 2e-12


def sequence(*layers: nn.Module) -> nn.Sequential:
    """Any modules in float64 with weights from a generator of their own."""
    module = nn.Sequential(*layers).double()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return module


def views(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return x, x + 0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.2


PREDICTORS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: linear_predictor(4, seed=2),
    "affine": lambda: sequence(nn.Linear(4, 4)),
    "mlp": lambda: sequence(nn.Linear(4, 9), nn.GELU(), nn.Linear(9, 4)),
    "batch-norm": lambda: sequence(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4)),
}
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: MLP((6, 8, 4), "relu", seed=1),
    "batch-norm": lambda: sequence(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4, bias=False)),
    "residual": lambda: sequence(nn.LayerNorm(6), nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 4, bias=False)),
}


@pytest.mark.parametrize("encoder", list(ENCODERS))
@pytest.mark.parametrize("predictor", list(PREDICTORS))
@pytest.mark.parametrize("lagging", [False, True])
def test_the_power_identity_holds_for_any_encoder_predictor_and_target(
    encoder: str, predictor: str, lagging: bool
) -> None:
    online = ENCODERS[encoder]()
    target = MLP((6, 3, 4), "tanh", seed=7) if lagging else None
    probe = Probe(online, PREDICTORS[predictor](), target=target)
    x, y = views(24, 6)
    seen = probe.observe(x, y)
    assert seen.power == pytest.approx(seen.predicted_power, abs=CLOSE)
    # Each term is far above rounding: none could be left out.
    for term in (seen.power, seen.alignment, seen.correction, seen.asymmetry):
        assert abs(term) > 1e-6
    assert probe.layer_powers(x, y)["embedding"] == pytest.approx(seen.power, abs=CLOSE)


def test_for_a_predictor_that_is_not_linear_its_output_is_not_its_derivative() -> None:
    """False sibling: tr[Pᵀ(K − PΦ)] read as E⟨ẑ, z̄ − ẑ⟩, right for a linear predictor and wrong for others."""
    x, y = views(24, 6)
    gaps: dict[str, float] = {}
    for name in ("linear", "mlp"):
        seen = Probe(ENCODERS["mlp"](), PREDICTORS[name]()).observe(x, y)
        correction = (seen.prediction * (seen.target - seen.prediction)).sum(1).mean().item()
        gaps[name] = abs(correction - seen.correction)
    assert gaps["linear"] < CLOSE
    assert gaps["mlp"] > 1e-2


@pytest.mark.parametrize("symmetrize", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
def test_torch_and_numpy_agree_on_every_term(symmetrize: bool, fitted: bool) -> None:
    x, y = views(24, 6)
    if symmetrize:
        x, y = both_orders(x, y)
    encoder, predictor = MLP((6, 8, 4), "gelu", seed=1), linear_predictor(4, seed=2)
    with torch.no_grad():
        z, z_plus = encoder(x), encoder(y)
        if fitted:
            predictor.weight.copy_(least_squares_predictor(z, z_plus))
    seen = Probe(encoder, predictor).observe(x, y)
    matrix = None if fitted else predictor.weight.detach().numpy()
    gap = power_gap(z.numpy(), z_plus.numpy(), matrix)
    assert seen.power == pytest.approx(gap.power, abs=CLOSE)
    assert seen.alignment == pytest.approx(gap.alignment, abs=CLOSE)
    assert seen.correction == pytest.approx(gap.correction, abs=CLOSE)
    assert seen.asymmetry == pytest.approx(gap.asymmetry, abs=CLOSE)
    assert seen.moment.numpy() == pytest.approx(z.numpy().T @ z.numpy() / len(z), abs=CLOSE)
    assert seen.cross.numpy() == pytest.approx(z_plus.numpy().T @ z.numpy() / len(z), abs=CLOSE)
    if symmetrize and fitted:
        assert seen.power == pytest.approx(seen.alignment, abs=CLOSE)
    if not symmetrize:
        assert abs(gap.asymmetry) > 1e-3


def test_forces_are_those_of_the_linear_formulas_in_features() -> None:
    """2.1 in the features h: attraction PᵀE z̄hᵀ, repulsion −PᵀP W E hhᵀ, their sum −∂L/∂W; and R = E(ẑ − z̄)hᵀ."""
    x, y = views(24, 6)
    encoder, predictor = MLP((6, 8, 4), "tanh", seed=1), linear_predictor(4, seed=2)
    seen = Probe(encoder, predictor).observe(x, y)
    matrix, weight, features = predictor.weight.detach(), encoder.last.weight.detach(), seen.features
    assert torch.equal(features, encoder.backbone(x).detach())
    assert torch.allclose(seen.attraction, matrix.T @ (seen.target.T @ features) / 24, rtol=0, atol=CLOSE)
    moment = features.T @ features / 24
    assert torch.allclose(seen.repulsion, -matrix.T @ matrix @ weight @ moment, rtol=0, atol=CLOSE)
    assert torch.allclose(seen.residual, (seen.prediction - seen.target).T @ features / 24, rtol=0, atol=CLOSE)
    loss = prediction_loss(predictor(encoder(x)), encoder(y))
    for_weight, for_matrix = torch.autograd.grad(loss, (encoder.last.weight, predictor.weight))
    assert torch.allclose(seen.attraction + seen.repulsion, -for_weight, rtol=0, atol=CLOSE)
    assert torch.allclose(for_weight, matrix.T @ seen.residual, rtol=0, atol=CLOSE)
    assert torch.allclose(for_matrix, seen.residual @ weight.T, rtol=0, atol=CLOSE)
    # The transposed readings are other matrices.
    assert not torch.allclose(for_weight, matrix @ seen.residual, rtol=0, atol=1e-3)


def test_without_a_predictor_nothing_repels() -> None:
    seen = Probe(MLP((6, 8, 4), "tanh", seed=1)).observe(*views(24, 6))
    assert seen.surplus.abs().max() < CLOSE
    assert seen.pull.abs().max() > 1e-2


def test_in_a_homogeneous_network_every_layer_has_the_same_power() -> None:
    x, y = views(24, 6)
    powers = {
        hidden_bias: Probe(
            MLP((6, 8, 5, 4), activation, seed=1, hidden_bias=hidden_bias), linear_predictor(4, seed=2)
        ).layer_powers(x, y)
        for activation, hidden_bias in (("relu", False), ("tanh", True))
    }
    assert len(powers[False]) == 4
    assert np.ptp(list(powers[False].values())) < CLOSE
    weights = [value for name, value in powers[True].items() if name.endswith("weight")]
    assert np.ptp(weights) > 1e-2


def test_axes_between_batch_and_embedding_count_as_rows() -> None:
    x, y = views(8, 3, 6)
    encoder, predictor = sequence(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4, bias=False)), linear_predictor(4, seed=2)
    tokens = Probe(encoder, predictor).observe(x, y)
    rows = Probe(encoder, predictor).observe(x.reshape(24, 6), y.reshape(24, 6))
    assert tokens.embedding.shape == (24, 4)
    assert tokens.power == pytest.approx(rows.power, abs=CLOSE)
    assert tokens.correction == pytest.approx(rows.correction, abs=CLOSE)
    assert torch.allclose(tokens.residual, rows.residual, rtol=0, atol=CLOSE)


def test_looking_changes_nothing() -> None:
    """Parameters, gradients, running statistics and hooks are as before."""
    encoder = sequence(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4, bias=False))
    predictor = sequence(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4))
    before = {key: value.clone() for module in (encoder, predictor) for key, value in module.state_dict().items()}
    probe = Probe(encoder, predictor)
    x, y = views(24, 6)
    probe.observe(x, y)
    probe.layer_powers(x, y)
    after = {key: value for module in (encoder, predictor) for key, value in module.state_dict().items()}
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(parameter.grad is None for module in (encoder, predictor) for parameter in module.parameters())
    assert not probe.last._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    encoder(x)  # what would have changed them
    assert not torch.equal(before["1.running_mean"], encoder.state_dict()["1.running_mean"])


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(InputError, match="must contain a linear layer"):
        Probe(nn.Sequential(nn.Tanh()))
    with pytest.raises(InputError, match="linear layer without bias"):
        Probe(nn.Sequential(nn.Linear(6, 4)))
    with pytest.raises(InputError, match="linear without bias"):
        Probe(MLP((6, 4), "linear", seed=0), nn.Sequential(nn.Linear(4, 4))).balance(1.0)


def test_balance_and_gram_are_what_they_are_called() -> None:
    encoder, predictor = MLP((6, 8, 4), "tanh", seed=1), linear_predictor(4, seed=2)
    probe = Probe(encoder, predictor)
    weight, matrix = encoder.last.weight.detach(), predictor.weight.detach()
    assert torch.equal(probe.gram(), weight @ weight.T)
    assert torch.equal(probe.balance(2.5), weight @ weight.T - matrix.T @ matrix / 2.5)
    assert not torch.allclose(probe.balance(2.5), weight @ weight.T - matrix @ matrix.T / 2.5)
    assert torch.equal(Probe(encoder).matrix, torch.eye(4, dtype=torch.float64))


def test_effective_rank_counts_directions_whatever_their_scale() -> None:
    identity = torch.eye(5, dtype=torch.float64)
    assert effective_rank(identity) == pytest.approx(5, rel=1e-14)
    assert effective_rank(1e-9 * identity) == pytest.approx(5, rel=1e-14)
    # The other eigenvalues come out of rounding as at most a few u: entropy below 5 · 1e-15 · log 1e15.
    assert effective_rank(torch.ones(5, 5, dtype=torch.float64)) == pytest.approx(1, abs=1e-12)
    assert effective_rank(0 * identity) == 0
    z = views(24, 6)[0] + 100
    assert torch.allclose(covariance(z), torch.cov(z.T, correction=0), rtol=0, atol=1e-11)
