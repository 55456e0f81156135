"""An ensemble member is the network that plain PyTorch trains alone."""

import copy
import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jepalign.errors import InputError
from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge, VICReg
from jepalign.simulations.data import PairedViews, both_orders
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.ensembles import (
    Ensemble,
    Members,
    Method,
    Snapshot,
    epps_pulley,
    explicit_uniformity,
    train_ensemble,
)
from jepalign.simulations.ensembles.explicit import slicing_directions
from jepalign.simulations.objectives import residual_loss, second_moment, spectral_matrix
from jepalign.simulations.training import JEPA, Rates, Status, train

STEPS, WIDTHS = 30, (6, 10, 4)
# Sums of some fifty products in another order: 1e-15 a step, carried by thirty steps that multiply errors by O(1).
ROUNDING = 1e-10


def views(seed: int = 5) -> PairedViews:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 6, generator=generator, dtype=torch.float64)
    return PairedViews(x, x + 0.3 * torch.randn(80, 6, generator=generator, dtype=torch.float64))


def batches(seed: int) -> Iterable[tuple[Tensor, Tensor]]:
    for x, y in views().batches(16, STEPS, seed=seed):
        yield both_orders(x, y)


def build(seed: int) -> MLP:
    return MLP(WIDTHS, "tanh", seed=seed)


def members(count: int = 5, *, ema: bool = True, **changes: object) -> Members:
    draw = np.random.default_rng(3)
    constants: dict[str, object] = {
        "seed": np.arange(count),
        "step": draw.uniform(0.02, 0.1, count),
        "weight_decay": draw.uniform(0, 0.3, count),
        "predictor_rate": draw.uniform(0.5, 4, count),
        "ema_rate": draw.uniform(0, 5, count) if ema else None,
        "scale": draw.uniform(0.5, 1.5, count),
    }
    return Members(**(constants | changes))  # pyright: ignore[reportArgumentType]


def distance(ensemble: Ensemble, member: int, encoder: nn.Module, predictor: nn.Module | None = None) -> float:
    """Return the largest difference between the parameters of a member and those of a network trained alone."""
    gaps = [(ensemble.encoder[name][member] - value).abs().max() for name, value in encoder.named_parameters()]
    if predictor is not None:
        gaps += [(ensemble.predictor[name][member] - value).abs().max() for name, value in predictor.named_parameters()]
    return torch.stack(gaps).max().item()


def alone(constants: Members, member: int, least_squares: bool) -> tuple[JEPA, tuple[float, ...]]:
    """Train one member as ``simulations.training`` does."""
    encoder = build(member)
    with torch.no_grad():
        encoder.last.weight.mul_(float(constants.array("scale")[member]))
    step, decay, rate = (float(constants.array(n)[member]) for n in ("step", "weight_decay", "predictor_rate"))
    ema = None if constants.ema_rate is None else float(constants.array("ema_rate")[member])
    predictor = None if least_squares else linear_predictor(4, seed=member + 1)
    jepa = JEPA(encoder, predictor, Rates(step, rate, decay, ema))
    return jepa, train(jepa, batches(int(constants.array("batch_seed")[member]))).losses


@pytest.mark.parametrize("least_squares", [False, True], ids=["learnt", "least-squares"])
@pytest.mark.parametrize("ema", [False, True], ids=["simsiam", "ema"])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own-batches"])
def test_a_member_is_the_network_trained_alone(least_squares: bool, ema: bool, own: bool) -> None:
    constants = members(ema=ema, batch_seed=np.arange(5) if own else 0)
    method = Method(predictor="least-squares" if least_squares else "learnt")
    ensemble = train_ensemble(constants, build, batches, steps=STEPS, method=method)
    assert ensemble.status == (Status.FINISHED,) * 5
    for member in range(5):
        jepa, losses = alone(constants, member, least_squares)
        assert distance(ensemble, member, jepa.encoder, None if least_squares else jepa.predictor) < ROUNDING
        assert np.abs(ensemble.losses[member] - losses).max() < ROUNDING
        if ema:
            for name, value in jepa.target.named_parameters():
                assert (ensemble.target[name][member] - value).abs().max() < ROUNDING
    # False sibling: another member's constants are not those.
    jepa, _ = alone(members(ema=ema, step=0.11), 0, least_squares)
    assert distance(ensemble, 0, jepa.encoder) > 1e6 * ROUNDING


@pytest.mark.parametrize(
    "method",
    [
        Method(momentum=0.9),
        Method(optimizer="adamw"),
        Method(stop_gradient=False),
        Method(predictor="none", explicit=Spectral()),
        Method(predictor="spectral", entry="directpred"),
        Method(predictor="spectral", entry="gaussian-infonce", residual=True),
        Method(explicit=VICReg(variance=2.0, covariance=0.5)),
        Method(explicit=SIGReg(), slices=8),
        Method(explicit=LogDet(), optimizer="adamw"),
    ],
    ids=["momentum", "adamw", "leak", "spectral", "directpred", "residual", "vicreg", "sigreg", "log-det"],
)
@pytest.mark.parametrize("mlp", [False, True], ids=["linear", "mlp"])  # read only where the predictor is learnt
def test_every_method_is_what_pytorch_does_one_network_at_a_time(method: Method, mlp: bool) -> None:
    """The reference uses PyTorch's own optimisers and the losses of single networks."""
    ema = method.stop_gradient
    constants = members(2, ema=ema, explicit_strength=np.array([0.3, 0.1]), step=0.01)

    def build_predictor(seed: int) -> nn.Module:
        return MLP((4, 7, 4), "gelu", seed=seed + 9) if mlp else linear_predictor(4, seed=seed + 9)

    ensemble = train_ensemble(constants, build, batches, steps=STEPS, method=method, build_predictor=build_predictor)
    for member in range(2):
        encoder, predictor = build(member), build_predictor(member)
        eta, alpha, scale, gamma = (
            float(constants.array(name)[member])
            for name in ("weight_decay", "predictor_rate", "scale", "explicit_strength")
        )
        with torch.no_grad():
            encoder.last.weight.mul_(scale)
        target = copy.deepcopy(encoder) if ema else encoder
        groups = [
            {"params": list(encoder.parameters()), "lr": 0.01, "weight_decay": eta},
            {"params": list(predictor.parameters()), "lr": 0.01 * alpha, "weight_decay": eta / alpha},
        ]
        if method.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups)
        else:
            optimizer = torch.optim.SGD(groups, momentum=method.momentum)
        learnt = method.predictor == "learnt"
        for step, (x, y) in enumerate(batches(0)):
            z, aim = encoder(x), target(y)
            if method.stop_gradient:
                aim = aim.detach()
            prediction = z
            if method.entry is not None:
                matrix = spectral_matrix(DICTIONARY[method.entry], second_moment(z))
                prediction = z @ matrix.T
            elif learnt:
                prediction = predictor(z)
            loss = (prediction - aim).square().sum(1).mean() / 2
            if method.residual:
                loss = residual_loss(z, aim, matrix)  # pyright: ignore[reportPossiblyUnboundVariable]
            if method.explicit is not None:
                axes = slicing_directions(step, method.slices, 4, dtype=torch.float64, device=torch.device("cpu"))
                loss = loss + gamma * explicit_uniformity(z, method.explicit, axes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if ema:
                with torch.no_grad():
                    for mine, online in zip(target.parameters(), encoder.parameters(), strict=True):
                        mine.lerp_(online, 0.01 * float(constants.array("ema_rate")[member]))
        assert distance(ensemble, member, encoder, predictor if learnt else None) < ROUNDING
    assert ensemble.diverged == 0


@pytest.mark.parametrize(
    "term",
    [Spectral(), LogDet(), VICReg(), VarianceHinge(0.01)],
    ids=["spectral", "log-det", "vicreg", "hinge"],
)
def test_explicit_terms_are_those_of_linear_models(term: Uniformity) -> None:
    """U as a number, and its gradient −force: ∂U/∂Z = 2ZG/n with G = ∂U/∂Φ."""
    z = (views().x[:, :4] * 0.4).requires_grad_()
    value = explicit_uniformity(z, term)
    (gradient,) = torch.autograd.grad(value, z)
    moment = second_moment(z.detach()).numpy()
    assert value.item() == pytest.approx(term.value(moment), rel=1e-13)
    expected = 2 * z.detach().numpy() @ term.gradient(moment) / len(z)
    assert np.abs(gradient.numpy() - expected).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("theta", [0.25, 0.5, 1.0, 3.0])
def test_sigreg_is_its_closed_form(theta: float) -> None:
    """∫|φ_n − e^{−t²/2}|²e^{−θt²} is a double sum of Gaussians in the differences of the sample."""
    x = views().x[:, :3] * torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    gaps = x[:, None] - x[None]
    own = torch.exp(-gaps.square() / (4 * theta)).mean((0, 1)) / math.sqrt(theta)
    cross = torch.exp(-x.square() / (4 * theta + 2)).mean(0) / math.sqrt(theta + 0.5)
    closed = math.sqrt(math.pi) * (own - 2 * cross + 1 / math.sqrt(1 + theta))
    # Three terms of order one cancel: an absolute error of a few units in the last place.
    assert (epps_pulley(x, theta) - closed).abs().max() < 1e-14
    z = views().x[:, :4]
    axes = torch.eye(4, dtype=torch.float64)
    gaussian = SIGReg(theta).value(np.eye(4))
    # A standard normal sample of 80 in each of four directions: the statistic is its sampling error, of order 1/80.
    assert 0 < explicit_uniformity(z, SIGReg(theta), axes).item() - gaussian < 4 * 0.2


def test_chunks_and_neighbours_change_nothing() -> None:
    constants = members(5, batch_seed=np.array([0, 1, 0, 2, 1]))
    whole = train_ensemble(constants, build, batches, steps=STEPS)
    again = train_ensemble(constants, build, batches, steps=STEPS)
    single = train_ensemble(constants, build, batches, steps=STEPS, memory=1.0)
    for name, value in whole.encoder.items():
        assert torch.equal(value, again.encoder[name])
        assert (value - single.encoder[name]).abs().max() < ROUNDING
    assert np.abs(whole.losses - single.losses).max() < ROUNDING


def test_diverged_members_are_kept_counted_and_leave_the_others_alone() -> None:
    steps = np.array([0.05, 80.0, 0.05, 30.0])

    def record(now: Snapshot) -> dict[str, Tensor]:
        x = views().x
        assert torch.allclose(now.weight, now.encoder["last.weight"])
        return {"weight": now.weight, "moment": now.embeddings(x).square().mean((1, 2))}

    for memory in (1e9, 1.0):
        constants = members(4, ema=False, step=steps, weight_decay=0.0)
        ensemble = train_ensemble(
            constants, build, batches, steps=STEPS, record=record, record_steps=[0, 7, STEPS], memory=memory
        )
        assert ensemble.status == tuple(Status.DIVERGED if step > 1 else Status.FINISHED for step in steps)
        assert ensemble.diverged == 2
        for member in range(4):
            jepa, losses = alone(constants, member, least_squares=False)
            made = len(losses)
            assert ensemble.steps[member] == made
            assert np.isnan(ensemble.losses[member, made:]).all()
            assert np.allclose(ensemble.losses[member, :made], losses, rtol=1e-8, atol=0)
            if made == STEPS:
                assert distance(ensemble, member, jepa.encoder, jepa.predictor) < ROUNDING
            assert all(value[member].isfinite().all() for value in ensemble.encoder.values())
            # Recorded before steps 0, 7 and after the last, as far as the member came.
            seen = np.isfinite(ensemble.records["moment"][member])
            assert (seen == [True, made >= 7, made == STEPS]).all()
        assert torch.equal(torch.as_tensor(ensemble.records["weight"][0, 2]), ensemble.encoder["last.weight"][0])


def test_a_collapsed_member_with_a_least_squares_predictor_is_diverged_not_an_error() -> None:
    """Embeddings that are 0 determine no predictor."""
    constants = members(2, ema=False, scale=np.array([0.0, 1.0]))
    ensemble = train_ensemble(constants, build, batches, steps=3, method=Method(predictor="least-squares"))
    assert ensemble.status == (Status.DIVERGED, Status.FINISHED)
    assert ensemble.steps.tolist() == [0, 3]


def test_float32_follows_float64() -> None:
    constants = members(3)
    double, single = (
        train_ensemble(constants, build, batches, steps=STEPS, dtype=dtype) for dtype in (torch.float64, torch.float32)
    )
    assert single.encoder["last.weight"].dtype == torch.float32
    # Thirty steps of size 0.1: 2⁻²⁴ on parameters of order one, amplified by O(10).
    assert np.abs(single.losses - double.losses).max() < 1e-5


def test_prepare_and_progress() -> None:
    def balanced(member: int, encoder: nn.Module, predictor: nn.Module | None) -> None:
        assert predictor is not None
        with torch.no_grad():
            predictor.get_parameter("weight").fill_(member)

    seen: list[tuple[int, int]] = []
    ensemble = train_ensemble(
        members(2, scale=2.0), build, batches, steps=1, prepare=balanced, memory=1.0,
        record=lambda now: {"P": now.predictor["weight"], "W": now.weight}, record_steps=[0],
        progress=lambda done, total, message: seen.append((done, total)),
    )  # fmt: skip
    assert ensemble.records["P"][:, 0, 0, 0].tolist() == [0, 1]
    assert np.array_equal(ensemble.records["W"][1, 0], 2 * build(1).last.weight.detach().numpy())
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"seed": [0.5]}, "seed"),
        ({"seed": [[1]]}, "seed"),
        ({"step": 0.0}, "step"),
        ({"step": [0.1, 0.2]}, "step"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"weight_decay": 10.0}, "weight_decay"),
        ({"ema_rate": 11.0}, "ema_rate"),
        ({"explicit_strength": math.nan}, "explicit_strength"),
        ({"batch_seed": -1}, "batch_seed"),
    ],
)
def test_bad_constants_are_refused(changes: dict[str, object], argument: str) -> None:
    given: dict[str, object] = {"seed": [1], "step": 0.1}
    with pytest.raises(InputError) as refused:
        Members(**(given | changes))  # pyright: ignore[reportArgumentType]
    assert refused.value.argument == argument


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"predictor": "no"}, "predictor"),
        ({"predictor": "spectral"}, "entry"),
        ({"entry": "log-det"}, "entry"),
        ({"predictor": "spectral", "entry": "no"}, "entry"),
        ({"residual": True}, "residual"),
        ({"predictor": "none", "residual": True, "stop_gradient": False}, "stop_gradient"),
        ({"slices": 0}, "slices"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": 0.5, "optimizer": "adamw"}, "momentum"),
        ({"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_bad_methods_are_refused(changes: dict[str, object], argument: str) -> None:
    with pytest.raises(InputError) as refused:
        Method(**changes)  # pyright: ignore[reportArgumentType]
    assert refused.value.argument == argument


def test_bad_networks_and_calls_are_refused() -> None:
    constants = members(2)

    def refused(**changes: object) -> str:
        given: dict[str, object] = {"build": build, "batches": batches, "steps": 2}
        with pytest.raises(InputError) as found:
            train_ensemble(constants, **(given | changes))  # pyright: ignore[reportArgumentType, reportCallIssue]
        return found.value.argument

    assert refused(build=lambda _: nn.Linear(6, 4)) == "build"
    assert refused(build=lambda _: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4, bias=False))) == "build"
    assert refused(build=lambda seed: MLP((6, 3 + seed, 4), "tanh", seed=0)) == "build"
    assert refused(steps=STEPS + 1) == "batches"
    assert refused(steps=-1) == "steps"
    assert refused(record_steps=[1, 1]) == "record_steps"
    assert refused(dtype=torch.float16) == "dtype"
    assert refused(memory=0.0) == "memory"
    assert refused(method=Method(stop_gradient=False)) == "stop_gradient"
    assert refused(record=lambda _: {"x": torch.zeros(7)}, record_steps=[0]) == "record"
