"""The recorder beside training loops: it sees what they do, says what it cannot see, and changes nothing."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jepalign.errors import InputError
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.probe import Probe
from jepalign.simulations.recording import Record, Recorder

# Means of at most a few hundred products of numbers of order one, in two orders.
CLOSE = 1e-13


class Model(nn.Module):
    """A small BYOL: whatever encoder and predictor, and a target that follows."""

    def __init__(self, encoder: nn.Module, predictor: nn.Module | None = None, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.encoder, self.predictor, self.momentum = encoder, predictor, momentum
        self.target = copy.deepcopy(encoder).requires_grad_(False)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.target(y)
        z = self.encoder(x)
        return ((z if self.predictor is None else self.predictor(z)) - target).square().sum(-1).mean() / 2

    def follow(self) -> None:
        with torch.no_grad():
            for mine, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                mine.lerp_(online, 1 - self.momentum)


def views(step: int, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(*(shape or (16, 6)), generator=generator, dtype=dtype)
    return x, x + 0.5 * torch.randn(x.shape, generator=generator, dtype=dtype) + 0.2


def plain() -> Model:
    return Model(MLP((6, 8, 4), "relu", seed=1), linear_predictor(4, seed=2))


def fit(
    model: Model, steps: int, recorder: Recorder | None = None, *, before: Callable[[int], None] | None = None
) -> list[Record]:
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.05)
    found: list[Record] = []
    for step in range(steps):
        if before is not None:
            before(step)
        loss = model.loss(*views(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.follow()
        if recorder is not None and (record := recorder.step()) is not None:
            found.append(record)
    return found


def watched(model: Model, **options: Any) -> Recorder:
    return Recorder(model.encoder, model.predictor, target=model.target, **options)


def moments(z: Tensor, target: Tensor) -> dict[str, Any]:
    return {
        "context_moment": (z.T @ z / len(z)).numpy(),
        "target_moment": (target.T @ target / len(z)).numpy(),
        "cross_moment": (target.T @ z / len(z)).numpy(),
    }


def test_records_hold_every_observed_step_and_no_other(tmp_path: Path) -> None:
    model = plain()
    seen: list[list[Tensor]] = []

    def look(step: int) -> None:
        """What the step is about to give, from a copy: copies are not watched."""
        still = copy.deepcopy(model).requires_grad_(False)
        x, y = views(step)
        z = still.encoder(x)
        assert still.predictor is not None
        features = [still.get_submodule(f"{name}.backbone") for name in ("encoder", "target")]
        seen.append([z, still.target(y), still.predictor(z), features[0](x), features[1](y)])

    recorder = watched(model, every=3, window=2, out=tmp_path)
    records = fit(model, 14, recorder, before=look)
    last = recorder.close()
    # Steps 0 3, 6 9 and, when it is closed, 12.
    assert last is not None
    assert [record.step for record in (*records, last)] == [4, 10, 14]
    stored: dict[str, Any] = {}
    for record, steps in zip([*records, last], ((0, 3), (6, 9), (12,)), strict=True):
        z, goal, guess, below, target_below = (torch.cat([seen[step][part] for step in steps]) for part in range(5))
        stored = dict(np.load(tmp_path / f"moments-{record.step:08d}.npz"))
        expected = moments(z, goal) | {
            "context_mean": z.mean(0).numpy(),
            "target_mean": goal.mean(0).numpy(),
            "prediction_moment": (guess.T @ guess / len(z)).numpy(),
            "prediction_context_moment": (guess.T @ z / len(z)).numpy(),
            "count": 16 * len(steps),
            "step": record.step,
        }
        expected |= {f"features_{name}": value for name, value in moments(below, target_below).items()}
        for name, value in expected.items():
            assert stored[name] == pytest.approx(value, abs=CLOSE), name
        assert stored.keys() == record.arrays().keys()
    for name, part in (("encoder", "encoder.last"), ("target_encoder", "target.last"), ("predictor", "predictor")):
        assert np.array_equal(stored[name], model.get_parameter(f"{part}.weight").detach().numpy())


def test_the_power_of_a_step_is_the_probes() -> None:
    """Moments and the identity 2.4 against forces by automatic differentiation."""
    model = plain()
    recorder = watched(model, every=1, window=1)
    for step in range(3):
        still = copy.deepcopy(model)
        seen = Probe(still.encoder, still.predictor, target=still.target).observe(*views(step))
        model.loss(*views(step))
        record = recorder.step()
        assert record is not None
        assert record.implicit_uniformity_power == pytest.approx(seen.power, abs=1e-12)
        assert abs(seen.power) > 1e-3


class Tokens(nn.Module):
    """A transformer with dropout, whose last layer is linear."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.3, batch_first=True)
        self.last = nn.Linear(6, 4, bias=False)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.last(self.layer(x, src_key_padding_mask=padding))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 4, bias=False))


@pytest.mark.parametrize("build", [normalised, Tokens], ids=["batch-norm", "transformer"])
def test_training_is_bit_for_bit_the_same(build: Callable[[], nn.Module]) -> None:
    """Weights, gradients, running statistics, the optimiser's state and the generator."""
    states: list[list[Tensor]] = []
    for record in (False, True):
        torch.manual_seed(4)
        model = Model(build(), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 4)))
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        recorder = watched(model, every=2, window=3, optimizer=optimizer) if record else None
        for step in range(12):
            x, y = views(step, *((8, 5, 6) if build is Tokens else (16, 6)), dtype=torch.float32)
            optimizer.zero_grad()
            model.loss(x, y).backward()
            optimizer.step()
            model.follow()
            if recorder is not None:
                recorder.step()
        if recorder is not None:
            assert recorder.latest is not None
        grads = [p.grad.clone() for p in parameters if p.grad is not None]
        moments = [value for p in parameters for value in optimizer.state[p].values()]
        states.append([*model.state_dict().values(), *grads, *moments, torch.get_rng_state()])
    assert len(states[0]) == len(states[1]) > 40
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def symmetrised(model: Model, x: Tensor, y: Tensor) -> None:
    assert model.predictor is not None
    for view in (x, y):
        model.predictor(model.encoder(view))
    for view in (x, y):
        model.target(view)


def test_pairs_of_a_symmetrised_step_are_crossed() -> None:
    model = plain()
    x, y = views(0)
    with torch.no_grad():
        z, goal = torch.cat([model.encoder(x), model.encoder(y)]), torch.cat([model.target(y), model.target(x)])
    found: dict[str, Record] = {}
    for name, pairs in {"crossed": ((0, 1), (1, 0)), "ordered": ((0, 0), (1, 1))}.items():
        recorder = watched(model, every=1, window=1, pairs=pairs)
        symmetrised(model, x, y)
        record = recorder.close() if (seen := recorder.step()) is None else seen
        assert record is not None
        found[name] = record
        recorder.detach()
    for name, value in moments(z, goal).items():
        assert found["crossed"].moments.arrays[name] == pytest.approx(value, abs=CLOSE)
    assert found["crossed"].moments.count == 32
    # False sibling: the target starts as a copy, so that a view agrees with itself.
    assert found["ordered"].moments.alignment == 0
    assert found["crossed"].moments.alignment > 0.01
    recorder = watched(model, every=1)
    symmetrised(model, x, y)
    with pytest.raises(InputError, match="2 calls of the encoder, 2 of the target: must say which"):
        recorder.step()


def test_an_encoder_that_is_its_own_target_is_paired_in_both_orders() -> None:
    encoder, predictor = MLP((6, 8, 4), "relu", seed=1), linear_predictor(4, seed=2)
    recorder = Recorder(encoder, predictor, every=1, window=1)
    x, y = views(0)
    first, second = encoder(x), encoder(y)
    predictor(first)
    predictor(second)
    record = recorder.step()
    assert record is not None
    z, goal = torch.cat([first, second]).detach(), torch.cat([second, first]).detach()
    for name, value in moments(z, goal).items():
        assert record.moments.arrays[name] == pytest.approx(value, abs=CLOSE)
    # A symmetrised batch: nothing is asymmetric, and V = W.
    assert abs(record.moments.asymmetry) < CLOSE
    assert np.array_equal(record.weights["target_encoder"], record.weights["encoder"])
    encoder(x)
    with pytest.raises(InputError, match="pairs = 1 calls of the encoder"):
        recorder.step()


def test_without_a_predictor_nothing_repels() -> None:
    model = Model(MLP((6, 8, 4), "relu", seed=1))
    (record,) = fit(model, 2, watched(model, every=1, window=2))
    assert abs(record.implicit_uniformity_power) < CLOSE
    assert record.moments.alignment > 0.1
    assert np.array_equal(record.weights["predictor"], np.eye(4))
    assert "prediction_moment" not in record.moments.arrays


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    model = Model(Tokens().double().eval(), linear_predictor(4, seed=2))
    model.target.eval()
    recorder = watched(model, every=1, window=1)
    x, y = views(0, 5, 7, 6)
    padding = torch.arange(7) >= torch.tensor([7, 3, 1, 5, 0])[:, None]
    with torch.no_grad(), recorder.paused():
        z, goal = model.encoder(x), model.target(y)
    model.loss(x, y)
    record = recorder.step(mask=~padding)
    assert record is not None
    assert record.moments.count == 16
    for name, value in moments(z[~padding], goal[~padding]).items():
        assert record.moments.arrays[name] == pytest.approx(value, abs=CLOSE)
    # As numbers, and one for each pair.
    model.loss(x, y)
    again = recorder.step(mask=[(~padding).long()])
    assert again is not None
    assert np.array_equal(again.moments.arrays["cross_moment"], record.moments.arrays["cross_moment"])
    for mask, message in (
        (padding[:, :6], r"mask = array of shape \(5, 6\): must have the shape \(5, 7\)"),
        ([padding, padding], "mask = 2 masks: must be one"),
    ):
        model.loss(x, y)
        with pytest.raises(InputError, match=message):
            recorder.step(mask=mask)
    model.loss(x, y)
    with pytest.raises(InputError, match="mask = no row in 1 observed steps"):
        recorder.step(mask=torch.zeros(5, 7))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_summed_in_double(dtype: torch.dtype) -> None:
    """The embeddings are rounded; what is computed from them is not."""
    model = plain().float()
    recorder = watched(model, every=1, window=1)
    x, y = views(0, 64, 6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        model.loss(x, y)
        with recorder.paused():
            z, goal = model.encoder(x).detach(), model.target(y)
        record = recorder.step()  # inside the region, which would round products again
    assert z.dtype == dtype
    assert record is not None
    for name, value in moments(z.double(), goal.double()).items():
        assert record.moments.arrays[name] == pytest.approx(value, abs=CLOSE)
        rounded = moments(z, goal)[name] if dtype is torch.float16 else None
        assert rounded is None or np.abs(rounded - value).max() > 1e-5
    assert recorder.measures.startswith("last layer")


# The compiler looks at .grad of what is no leaf, and warns of it itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_modules_are_seen() -> None:
    """Hooks are part of the graph, which stays whole; a graph made before they came lacks the inner one, and that is said."""
    reference = plain()
    (expected,) = fit(reference, 3, watched(reference, every=2, window=2))
    model = plain()
    model.encoder.compile(backend="aot_eager", fullgraph=True)
    recorder = watched(model, every=2, window=2)
    (record,) = fit(model, 3, recorder)
    fit(model, 1)  # what is recorded does not move with the training
    assert recorder.measures.startswith("last layer")
    # Which layers made an embedding is hidden in the graph.
    assert "it is compiled" in str(recorder.why_not_below)
    for name, value in expected.arrays().items():
        if name in ("below", "biases"):
            continue
        # Three steps whose gradients are summed in another order: some 1e-15 each.
        assert record.arrays()[name] == pytest.approx(value, abs=1e-11), name
    torch._dynamo.reset()  # pyright: ignore[reportPrivateUsage]
    model = plain()
    compiled = torch.compile(model.encoder, backend="aot_eager")
    assert isinstance(compiled, nn.Module)
    model.encoder = compiled
    fit(model, 1)
    late = watched(model, every=1, window=1)
    (blind,) = fit(model, 1, late)
    torch._dynamo.reset()  # pyright: ignore[reportPrivateUsage]
    assert late.measures == "embeddings of the encoder: inputs of its last layer were not seen"
    assert blind.moments.count == 16


def test_copies_of_a_watched_module_are_not_watched() -> None:
    model = plain()
    x, y = views(0)
    recorder = watched(model, every=1, window=1)
    copies = copy.deepcopy(model.encoder), pickle.loads(pickle.dumps(model.encoder))  # noqa: S301
    first, second = (module(x) for module in copies)
    assert torch.equal(first, second)
    model.loss(x, y)
    # More than one call could not be paired.
    record = recorder.step()
    assert record is not None
    assert record.moments.arrays["context_mean"] == pytest.approx(first.detach().mean(0).numpy(), abs=CLOSE)


def test_layers_called_again_in_the_backward_pass_are_not_counted() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = MLP((6, 8, 4), "relu", seed=1)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)  # pyright: ignore[reportReturnType]

    model, direct = Model(Checkpointed(), linear_predictor(4, seed=2)), plain()
    (found,) = fit(model, 4, watched(model, every=2, window=2))
    (expected,) = fit(direct, 4, watched(direct, every=2, window=2))
    assert np.array_equal(
        found.moments.arrays["features_context_moment"], expected.moments.arrays["features_context_moment"]
    )


def test_what_happens_to_embeddings_later_is_not_recorded() -> None:
    model = plain()
    recorder = watched(model, every=1, window=1)
    x, y = views(0)
    with torch.no_grad():
        z, goal = model.encoder(x), model.target(y)
        assert model.predictor is not None
        model.predictor(z)
        expected = moments(z.clone(), goal.clone())
        z.zero_()
        goal.relu_()
    record = recorder.step()
    assert record is not None
    for name, value in expected.items():
        assert record.moments.arrays[name] == pytest.approx(value, abs=CLOSE)


def test_validation_between_steps_is_not_seen() -> None:
    model = plain()
    recorder = watched(model, every=1, window=4)
    (record,) = fit(model, 4, recorder, before=lambda step: validate(model, recorder, step))
    still = plain()
    (expected,) = fit(still, 4, watched(still, every=1, window=4))
    assert np.array_equal(record.moments.arrays["cross_moment"], expected.moments.arrays["cross_moment"])


def validate(model: Model, recorder: Recorder, step: int) -> None:
    with recorder.paused():
        model.loss(*views(100 + step))


def test_tokens_picked_by_position_are_handed_over() -> None:
    """I-JEPA: the target is read where the predictor was asked, and nobody's rows are the encoder's."""
    torch.manual_seed(1)
    encoder, predictor, where = Tokens().double().eval(), nn.Linear(4, 4, bias=False).double(), torch.tensor([1, 4])
    recorder = Recorder(encoder, predictor, every=2, window=1, pairs=(), features=False)
    with torch.no_grad():
        z, goal = encoder(views(0, 3, 6, 6)[0])[:, where], encoder(views(0, 3, 6, 6)[1])[:, where]
        assert recorder.due
        recorder.observe(z, goal, predictor(z))
        with pytest.raises(InputError, match="prediction = NoneType: must be given"):
            recorder.observe(z, goal)
        with pytest.raises(
            InputError, match=r"target = embeddings \(3, 1, 4\): must be those of the context, \(3, 2, 4\)"
        ):
            recorder.observe(z, goal[:, :1], predictor(z))
    record = recorder.step()
    assert record is not None
    assert not recorder.due
    flat = moments(z.reshape(-1, 4), goal.reshape(-1, 4))
    assert record.moments.arrays["cross_moment"] == pytest.approx(flat["cross_moment"], abs=CLOSE)
    assert recorder.measures.startswith("embeddings")


def test_only_some_rows_of_a_large_batch() -> None:
    model = plain()
    recorder = watched(model, every=1, window=1, rows=6)
    model.loss(*views(0))
    record = recorder.step()
    assert record is not None
    with torch.no_grad():
        z = model.encoder(views(0)[0])[::3]
    assert record.moments.count == 6
    assert record.moments.arrays["context_moment"] == pytest.approx((z.T @ z / 6).numpy(), abs=CLOSE)
