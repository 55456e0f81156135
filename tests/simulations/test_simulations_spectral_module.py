"""The dictionary as a module to train with: force for force the explicit objective, in every process and after every reload."""

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations_processes import leave
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jepalign.errors import InputError
from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.simulations.data import PairedViews, both_orders, other_view
from jepalign.simulations.encoders import ACTIVATIONS, MLP, scale_embedding
from jepalign.simulations.objectives import EXPLICIT, alignment, second_moment, spectral_matrix
from jepalign.simulations.rounding import cotangent_sizes, gradient_bounds, linear_layers, spectral_size
from jepalign.simulations.spectral_module import SPECTRA, SpectralPredictorModule, derivative

NAMES = list(SPECTRA)
WIDTH = 4


def heavy_tailed_views(seed: int, samples: int = 60, dimension: int = 7) -> PairedViews:
    """Neither Gaussian nor centred, and not exchangeable: only the batch is symmetrised."""
    generator = np.random.default_rng(seed)
    signal = generator.standard_t(5, (samples, dimension)) + 1
    x = signal + 0.5 * generator.standard_normal(signal.shape)
    y = 0.7 * signal + generator.exponential(size=signal.shape)
    return PairedViews(torch.as_tensor(x), torch.as_tensor(y))


def encoder_for(views: PairedViews, activation: str = "tanh", seed: int = 0) -> MLP:
    encoder = MLP((views.x.shape[1], 9, WIDTH), activation, seed=seed)
    scale_embedding(encoder, torch.cat((views.x, views.y)), 0.5)
    return encoder


def gradients(loss: Tensor, encoder: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(encoder.parameters()), retain_graph=True))


def layers_of(parts: list[Tensor], encoder: MLP) -> list[Tensor]:
    """Return the gradient of each linear layer, weight and bias together."""
    left = iter(parts)
    return [torch.cat([next(left).flatten() for _ in layer.parameters()]) for layer in linear_layers(encoder)]


def misses(name: str, explicit: Callable[[Tensor, Tensor], Tensor], activation: str, seed: int) -> list[float]:
    """Return, for each layer, the distance of the module's gradient from an explicit objective's, in rounding bounds."""
    views = heavy_tailed_views(seed)
    encoder = encoder_for(views, activation, seed)
    contexts = both_orders(views.x, views.y)[0]
    z = encoder(contexts)
    module = SpectralPredictorModule(WIDTH, name).double()
    found = layers_of(gradients(module.loss(encoder(views.x), encoder(views.y)), encoder), encoder)
    wanted = layers_of(gradients(explicit(z, other_view(z)), encoder), encoder)
    size = spectral_size(DICTIONARY[name], torch.linalg.eigvalsh(second_moment(z.detach())))
    bounds = gradient_bounds(encoder, contexts, cotangent_sizes(z, other_view(z), size))
    return [(a - b).norm().item() / bound for a, b, bound in zip(found, wanted, bounds, strict=True)]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**16), activation=st.sampled_from(list(ACTIVATIONS)))
def test_the_force_is_the_explicit_gradient_in_every_layer(name: str, seed: int, activation: str) -> None:
    # First-order bounds on two float64 computations of one gradient: jepalign.simulations.rounding.
    assert max(misses(name, EXPLICIT[name], activation, seed)) <= 1


@pytest.mark.parametrize(("name", "other"), list(permutations(NAMES, 2)))
def test_the_objective_of_another_entry_is_refused(name: str, other: str) -> None:
    # Its error is of order one, a rounding bound some 1e-12.
    assert min(misses(name, EXPLICIT[other], "tanh", 0)) > 1e3


@pytest.mark.parametrize("name", NAMES)
def test_each_spectrum_is_the_dictionarys(name: str) -> None:
    s = np.logspace(-12, 6, 400)
    # Both are the same three or four roundings of float64, in an order that may differ.
    np.testing.assert_allclose(SPECTRA[name](torch.as_tensor(s)).numpy(), DICTIONARY[name].spectrum(s), rtol=1e-15)


def test_a_wanted_uniformity_is_implemented_from_itself_or_its_slope() -> None:
    """U(s) = −2 ln(1 + s) is no entry: its objective is alignment − log det(I + Φ)."""
    views = heavy_tailed_views(3)
    encoder = encoder_for(views)
    z = encoder(both_orders(views.x, views.y)[0])
    eye = torch.eye(WIDTH, dtype=z.dtype)
    objective = alignment(z, other_view(z)) - torch.logdet(eye + second_moment(z))
    wanted = gradients(objective, encoder)
    for slope in (derivative(lambda s: -2 * torch.log1p(s)), lambda s: -2 / (1 + s)):
        module = SpectralPredictorModule.from_uniformity(WIDTH, slope).double()
        for found, expected in zip(gradients(module.loss(*z.chunk(2)), encoder), wanted, strict=True):
            # A hundred terms at float64 rounding, amplified by three layers: far below what another slope misses.
            assert (found - expected).norm() < 1e-12 * expected.norm()
    wrong = SpectralPredictorModule.from_uniformity(WIDTH, lambda s: -1 / (1 + s)).double()
    distance = [
        (a - b).norm() / b.norm() for a, b in zip(gradients(wrong.loss(*z.chunk(2)), encoder), wanted, strict=True)
    ]
    assert min(distance) > 1e-2


def test_below_the_floor_uniformity_goes_on_as_a_straight_line() -> None:
    floor = 0.3
    module = SpectralPredictorModule(2, "log-det", floor=floor).double()
    module.observe(torch.tensor([[2.0, 0.0], [0.0, 0.1]], dtype=torch.float64))
    np.testing.assert_allclose(module.matrix().numpy(), np.diag([1 - 1 / 2, 1 - 1 / floor]), rtol=1e-15)


def test_the_byol_form_is_the_residual_form_times_the_predictor() -> None:
    views = heavy_tailed_views(1)
    z = encoder_for(views)(both_orders(views.x, views.y)[0]).detach().requires_grad_()
    forces: dict[str, Tensor] = {}
    for form in ("residual", "byol"):
        module = SpectralPredictorModule(WIDTH, "directpred", form=form).double()
        (forces[form],) = torch.autograd.grad(module.loss(*z.chunk(2)), z)
    np.testing.assert_allclose(forces["byol"], forces["residual"] @ module.matrix(), rtol=0, atol=1e-15)
    assert not torch.allclose(forces["byol"], forces["residual"], rtol=1e-2)


def test_a_target_encoder_takes_the_place_of_the_other_view() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second, slow_first, slow_second = (
        torch.randn(30, WIDTH, generator=generator, dtype=torch.float64) for _ in range(4)
    )
    first.requires_grad_()
    module = SpectralPredictorModule(WIDTH, "spectral-contrastive").double()
    (found,) = torch.autograd.grad(module.loss(first, second, (slow_first, slow_second)), first)
    moment = second_moment(torch.cat((first, second))).detach()
    np.testing.assert_allclose(found, -(slow_second - first.detach() @ moment) / 60, rtol=0, atol=1e-15)


def test_where_g_is_negative_the_byol_form_is_refused_and_says_what_dies() -> None:
    z = torch.cat((2.0 * torch.eye(WIDTH)[:2], 0.5 * torch.eye(WIDTH)[2:]))  # Φ = diag(1, 1, 1/16, 1/16)
    with pytest.raises(InputError, match=r"must be 'residual': g < 0 in 2 of 4 dimensions, up to s = 0\.06"):
        SpectralPredictorModule(WIDTH, "log-det", form="byol").loss(z, z)
    with pytest.warns(RuntimeWarning, match="kills them"):
        SpectralPredictorModule(WIDTH, "log-det", form="byol", negative="warn").loss(z, z)
    SpectralPredictorModule(WIDTH, "log-det").loss(z, z)


@pytest.mark.filterwarnings("ignore:g < 0:RuntimeWarning")
def test_it_does_kill_them() -> None:
    """One log-det mode from s = 0.23 < 1, σ = 0.625, λ = 0.5: the residual form raises it, the BYOL form drives it to 0."""
    ends: dict[str, float] = {}
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    for form in ("residual", "byol"):
        module = SpectralPredictorModule(1, "log-det", form=form, negative="warn").double()
        w = torch.tensor(0.6, dtype=torch.float64)
        while 0.3 < w < 0.9:  # steps small enough for both: the BYOL force, ∝ w⁻³, makes one of 0.06 at 0.3
            w.requires_grad_()
            (slope,) = torch.autograd.grad(module.loss(w * x, w * x / 2), w)
            w = (w - 1e-3 * slope).detach()
        ends[form] = w.item()
    assert ends["byol"] < 0.3
    assert ends["residual"] > 0.9


def test_the_average_is_the_geometric_one_of_both_views() -> None:
    share = 0.25
    generator = torch.Generator().manual_seed(1)
    module = SpectralPredictorModule(WIDTH, "spectral-contrastive", averaging=share).double()
    expected = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    draws = torch.randn(6, 2, 20, WIDTH, generator=generator, dtype=torch.float64)
    for step, (first, second) in enumerate(draws):
        newest = second_moment(torch.cat((first, second)))
        expected = newest if step == 0 else (1 - share) * expected + share * newest
        module.loss(first, second)
    # P = Φ: six sums of positive parts, each within a few units of rounding.
    np.testing.assert_allclose(module.matrix(), expected, rtol=0, atol=1e-14)
    module.eval()
    module.loss(draws[0, 0], draws[0, 1])  # evaluated, not averaged
    np.testing.assert_allclose(module.moment, expected, rtol=0, atol=1e-14)


def test_state_dict_keeps_the_average() -> None:
    views = heavy_tailed_views(2)
    encoder = encoder_for(views)
    pair = encoder(views.x), encoder(views.y)
    module = SpectralPredictorModule(WIDTH, "gaussian-infonce", averaging=0.1).double()
    for part in (slice(0, 20), slice(20, 40)):
        module.loss(pair[0][part], pair[1][part])
    again = SpectralPredictorModule(WIDTH, "gaussian-infonce", averaging=0.1).double()
    again.load_state_dict(module.state_dict())
    copies = [again, copy.deepcopy(module), pickle.loads(pickle.dumps(module))]  # noqa: S301 - our own bytes
    last = pair[0][40:].detach(), pair[1][40:].detach()
    wanted = module.loss(*last)
    for each in copies:
        assert each.loss(*last) == wanted
        assert torch.equal(each.moment, module.moment)
    fresh = SpectralPredictorModule(WIDTH, "gaussian-infonce", averaging=0.1).double()
    assert fresh.loss(*last) != wanted  # without the average it is another predictor


def test_half_precision_embeddings_are_averaged_in_float32() -> None:
    generator = torch.Generator().manual_seed(4)
    first, second = (torch.randn(64, WIDTH, generator=generator).bfloat16() for _ in range(2))
    module = SpectralPredictorModule(WIDTH, "directpred").to(torch.bfloat16)
    assert module.moment.dtype == torch.float32
    first.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module.loss(first, second)
        (found,) = torch.autograd.grad(loss, first)
        assert module(first).dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    z = torch.cat((first, second)).detach().double()
    P = spectral_matrix(DICTIONARY["directpred"], second_moment(z))
    exact = -(other_view(z) - z @ P)[:64] / 128
    # The gradient comes back in bfloat16, of unit roundoff 2⁻⁹: one rounding of each entry, beside which float32 is exact.
    np.testing.assert_allclose(found.double(), exact, rtol=2.0**-8, atol=2.0**-8 * 1e-3)
    np.testing.assert_allclose(module.moment.double(), second_moment(z), rtol=1e-5, atol=1e-6)


def _half(rank: int, meeting: str, out: str) -> None:
    """Train on half of the batch, as one of two processes, and store Φ and the gradient."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(minutes=2)
    )
    views = heavy_tailed_views(5)
    encoder = DistributedDataParallel(encoder_for(views))
    module = SpectralPredictorModule(WIDTH, "gaussian-infonce", averaging=0.2).double()
    half = slice(30 * rank, 30 * rank + 30)
    for step in range(2):
        encoder.zero_grad()
        both = encoder(torch.cat((views.x[half], views.y[half])) * (1 + step))
        module.loss(*both.chunk(2)).backward()
    parts = [p.grad for p in encoder.parameters() if p.grad is not None]
    torch.save({"moment": module.moment, "gradient": parts}, f"{out}/{rank}.pt")
    leave(out, rank, 2)


def test_two_processes_have_the_predictor_and_the_force_of_one(tmp_path: Path) -> None:
    places = str(tmp_path / "meeting"), str(tmp_path)
    torch.multiprocessing.spawn(_half, places, nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    views = heavy_tailed_views(5)
    encoder = encoder_for(views)
    module = SpectralPredictorModule(WIDTH, "gaussian-infonce", averaging=0.2).double()
    for step in range(2):
        encoder.zero_grad()
        module.loss(encoder(views.x * (1 + step)), encoder(views.y * (1 + step))).backward()
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert torch.equal(found[0]["moment"], found[1]["moment"])
    # Sums of 120 products in another order: 120 · 1.1e-16 of their size, with room for the layers behind.
    np.testing.assert_allclose(found[0]["moment"], module.moment, rtol=0, atol=1e-13)
    for part, parameter in zip(found[0]["gradient"], encoder.parameters(), strict=True):
        assert parameter.grad is not None
        assert (part - parameter.grad).norm() <= 1e-12 * parameter.grad.norm()


def test_steps_too_large_for_the_average_are_told() -> None:
    """One weight, P = Φ, x = y of variance 1: U = ¼(w⁴ − 2w²), of curvature 3w² − 1 = 2 at rest w = 1."""
    encoder = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        encoder.weight.fill_(1.0)
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    module = SpectralPredictorModule(1, "spectral-contrastive", averaging=0.2).double()
    limit = (1 - 0.8**0.5) ** 2 / 0.2
    calm = module.check_averaging(encoder, x, x, 0.49 * limit)
    # The central difference leaves out a sixth of the third derivative (6) times a width squared of 4e-11.
    assert calm.product == pytest.approx(0.98 * limit, rel=1e-8)
    assert calm.limit == pytest.approx(limit, rel=1e-14)
    assert not calm.rings
    with pytest.warns(RuntimeWarning, match="rings; average faster"):
        assert module.check_averaging(encoder, x, x, 0.51 * limit).rings
    assert encoder.weight.item() == 1.0

    # And it rings there: with steps beyond the limit the weight overshoots its rest, before it creeps up to it.
    for factor, overshoots in ((0.8, False), (1.5, True)):
        weight, average, highest = 0.97, 0.97**2, 0.0
        for _ in range(4000):
            average += 0.2 * (weight**2 - average)
            weight += factor * limit / 2 * (1 - average) * weight
            highest = max(highest, weight - 1)
        assert (highest > 1e-12) == overshoots


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: SpectralPredictorModule(0, "log-det"), "width"),
        (lambda: SpectralPredictorModule(3, "infonce"), "spectrum"),
        (lambda: SpectralPredictorModule(3, "log-det", averaging=0.0), "averaging"),
        (lambda: SpectralPredictorModule(3, "log-det", averaging=1.5), "averaging"),
        (lambda: SpectralPredictorModule(3, "log-det", floor=-1.0), "floor"),
        (lambda: SpectralPredictorModule(3, "log-det", form="IsoLoss"), "form"),  # type: ignore[arg-type]
        (lambda: SpectralPredictorModule(3, "log-det", negative="ignore"), "negative"),  # type: ignore[arg-type]
        (lambda: SpectralPredictorModule(3, "log-det").matrix(), "moment"),
        (lambda: SpectralPredictorModule(3, "log-det").loss(torch.ones(4, 2), torch.ones(4, 2)), "embeddings"),
        (lambda: SpectralPredictorModule(3, "log-det").loss(torch.ones(4, 3), torch.ones(5, 3)), "embeddings"),
        (lambda: SpectralPredictorModule(3, "log-det").observe(torch.full((4, 3), torch.nan)), "embeddings"),
        (lambda: SpectralPredictorModule(3, "log-det").loss(torch.zeros(4, 3), torch.zeros(4, 3)), "spectrum"),
        (lambda: SpectralPredictorModule(3, lambda s: s[:1]).loss(torch.eye(3), torch.eye(3)), "spectrum"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.argument == argument
