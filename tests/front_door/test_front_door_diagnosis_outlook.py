"""What a diagnosis says of the end: intervals by other trainings, one verdict that its table does not contradict, recorded numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from jepalign.diagnosis import Diagnosis, as_json, diagnose
from jepalign.diagnosis.page import write_page
from jepalign.diagnosis.precedents import WAYS, Way, between, precedent
from jepalign.diagnosis.text import facts, terminal
from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.forecast import LastLayer, forecast
from jepalign.measurements import load
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.recording import Record, Recorder
from jepalign.simulations.training import JEPA, Rates

FLAGS = {"weight_decay": 0.05, "learning_rate": 0.1, "steps": 1000}


def save(path: Path, **changes: Any) -> Path:
    """Save six aligned dimensions with the last layer and its inputs, at the tenth of a run; a change to None leaves an array out."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(400, 6))
    h_plus = 0.8 * h + 0.6 * rng.normal(size=h.shape)
    W = np.diag([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    arrays: dict[str, Any] = {
        "context": h @ W,
        "target": h_plus @ W,
        "predictor": W,
        "encoder": W,
        "step": np.array(100),
    }
    arrays |= {"context_features": h, "target_features": h_plus} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def printed(found: Diagnosis) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal(found), highlight=False)
    return " ".join(capture.get().split())


# -- intervals by the errors of other trainings -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in WAYS if way in load("forecast").arrays])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_interval_holds_the_trainings_that_it_is_made_of(way: Way, at: int) -> None:
    arrays = load("forecast").arrays
    fine = arrays["diverged"] == 0
    survived = (arrays["survived"] > 0).sum(-1)[fine]
    told = (arrays[way][:, :, at] > 0).sum(-1)[fine]
    found = [precedent(int(rank), 16, way, float(arrays["fraction"][at])) for rank in told]
    inside = [each is not None and each.low <= end <= each.high for each, end in zip(found, survived, strict=True)]
    # Of n known ones at most ⌊(n+1)/40⌋ − 1 lie beyond each end, and no interval is one of all ranks, which would hold any.
    assert sum(inside) >= len(inside) - 2 * (len(inside) + 1) // 40
    widths = [each.high - each.low for each in found if each is not None]
    assert np.mean(widths) < 14
    assert {each.trainings for each in found if each is not None} == {int(fine.sum())}


def test_the_nearest_measured_fraction_at_or_before_the_record_is_taken() -> None:
    def told(here: float | None) -> float:
        found = precedent(3, 6, "moving", here)
        assert found is not None
        return found.fraction

    assert [told(here) for here in (None, 0.001, 0.02, 0.03, 0.05, 0.1, 0.7)] == [
        0.02,
        0.02,
        0.02,
        0.02,
        0.05,
        0.1,
        0.1,
    ]
    early = precedent(3, 6, "moving", 0.001)
    assert early is not None
    assert "earlier than any" in early.words


def test_both_intervals_are_told_apart_and_what_is_not_known_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "run.npz", below=np.array([0.3]))
    told = {**FLAGS, "weight_decay": 0.03}
    outlook = diagnose(path, told).outlook
    expected = precedent(outlook.rank, 6, "moving", 0.1)
    assert expected is not None
    assert outlook.precedent == expected
    own, others = (between(each.low, each.high) for each in (outlook, expected))
    assert 0 < outlook.rank < 6
    assert f"rows alone: {own}; {others} with" in outlook.intervals
    assert any(outlook.intervals in line for line in facts(diagnose(path, told)))
    data = as_json(diagnose(path, told))
    assert data["surviving_rank_interval"] == [outlook.low, outlook.high]
    assert data["surviving_rank_errors"]["low"] == expected.low
    for changes, flags, words in (
        ({}, {**FLAGS, "optimizer": "adam"}, "not of Adam"),
        ({"encoder": None}, FLAGS, "last layer and its inputs"),
        ({}, {**FLAGS, "predictor_weight_decay": 0.0}, "encoder and predictor alike"),
        ({}, {**FLAGS, "steps": 100}, "the run is over"),
    ):
        unlike = diagnose(save(tmp_path / "unlike.npz", **changes), flags).outlook
        assert unlike.precedent is None
        assert words in unlike.intervals
    stays = diagnose(save(tmp_path / "stays.npz"), FLAGS).outlook.precedent
    linear = diagnose(save(tmp_path / "linear.npz", below=np.zeros(0)), FLAGS).outlook
    assert stays is not None
    assert stays.method == "flow"
    assert linear.precedent is not None
    assert linear.precedent.method == "moving"
    assert "nothing below is trained" in linear.words


# -- one verdict ------------------------------------------------------------------------------------------------------------


def test_a_table_of_single_dimensions_does_not_contradict_the_verdict(tmp_path: Path) -> None:
    """Alone all six survive; layers below that decay take some of them."""
    flags = {**FLAGS, "weight_decay": 0.1, "steps": 10_000}
    alone = diagnose(save(tmp_path / "alone.npz", below=np.zeros(0)), flags)
    found = diagnose(save(tmp_path / "below.npz", below=np.array([0.05, 0.05])), flags)
    assert found.outlook.rank < found.outlook.static == alone.outlook.rank
    assert found.outlook.now == 6
    head = (
        f"{found.outlook.rank} of 6 dimensions survive by the measured flow, where 6 are alive now and {alone.outlook.rank} would"
        " survive if each were alone"
    )
    assert found.verdict.startswith(head)
    assert "decay shrinks their features" in found.verdict
    shown = printed(found)
    assert shown.startswith(found.verdict.split(";")[0])
    assert "states are no verdict on a dimension" in shown
    assert "states are no verdict" not in printed(alone)
    assert found.outlook.told is not None
    assert f"{found.outlook.told[0]:.2g}" in shown
    write_page(found, tmp_path)
    text = (tmp_path / "diagnosis.html").read_text()
    assert "each taken alone" in text
    assert "states are no verdict" in text


def test_features_that_ask_for_too_many_steps_are_taken_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jepalign.diagnosis import outlook

    path = save(tmp_path / "run.npz", below=np.array([0.05, 0.05]))
    moved, still = diagnose(path, FLAGS), diagnose(save(tmp_path / "still.npz"), FLAGS)
    # Some 900 evaluations of 432 multiplications for W alone, and of 1728 more with two layers.
    monkeypatch.setattr(outlook, "WORK", 8e5)
    found = diagnose(path, FLAGS)
    assert moved.outlook.moved
    assert not found.outlook.moved
    assert "too many steps" in found.outlook.words
    assert found.outlook.rank == still.outlook.rank
    assert found.outlook.precedent is not None
    assert found.outlook.precedent.method == "flow"
    assert "taken to stay" in found.trust


def test_biases_below_keep_a_mean_that_linear_layers_would_lose(tmp_path: Path) -> None:
    """One dimension is mostly a mean, and is not counted: where it is told to die as the layers below decay, another goes with it."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(400, 6))
    ahead = 0.8 * h + 0.6 * rng.normal(size=h.shape)
    scale, mean = np.array([2.5, 2.5, 2.5, 2.5, 2.5, 0.3]), np.array([0, 0, 0, 0, 0, 0.6])
    h, ahead = scale * h + mean, scale * ahead + mean
    W = np.diag([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    rows: dict[str, Any] = {"context_features": h, "target_features": ahead, "context": h @ W, "target": ahead @ W}
    rows["below"], biases, flags = np.array([0.5, 0.4]), np.array([0.7, 1.0]), {**FLAGS, "weight_decay": 0.03}
    found = diagnose(save(tmp_path / "affine.npz", **rows, biases=biases), flags)
    linear = diagnose(save(tmp_path / "linear.npz", **rows), flags)
    flow = found.outlook.flow
    assert flow is not None
    means = h.mean(axis=0), ahead.mean(axis=0)
    views = ViewPair.from_samples(h, ahead, center=False)
    expected = forecast(LastLayer(views, W, W, None, (0.5, 0.4), (0.7, 1.0), means), flow.settings, flow.time)
    # Moments of the same rows, added in another order, through a flow that is integrated to four digits.
    assert flow.moving == pytest.approx(expected.moving, rel=1e-3, abs=1e-6)
    assert found.outlook.rank == linear.outlook.rank + 1 > 1
    assert found.outlook.affine
    assert "the 2 layers below move, taken for affine ones" in found.outlook.words
    assert linear.outlook.moved
    assert not linear.outlook.affine
    assert ("affine ones" in found.trust, "linear ones" in linear.trust) == (True, True)
    # About the mean there is none that biases could move, and where there are no biases none does.
    centred = diagnose(save(tmp_path / "centred.npz", **rows, biases=biases), {**flags, "bias": True})
    none = diagnose(save(tmp_path / "none.npz", **rows, biases=np.zeros(2)), flags)
    assert not centred.outlook.affine
    assert none.outlook.rank == linear.outlook.rank


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"biases": np.ones(2)}, "must stand beside below"),
        ({"below": np.ones(1), "biases": np.ones(2)}, "must be 1 numbers, one for each of below"),
        ({"below": np.ones(1), "biases": np.ones((1, 1))}, "one for each of below"),
        ({"below": np.ones(1), "biases": -np.ones(1)}, "between 0 and"),
        ({"below": np.ones(1), "biases": np.full(1, np.nan)}, "must be finite"),
    ],
)
def test_rates_of_biases_that_are_none_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=rf"^biases.*{words}"):
        diagnose(save(tmp_path / "run.npz", **changes), FLAGS)


def test_names_of_files_are_neither_markup_nor_commands_of_a_terminal(tmp_path: Path) -> None:
    for place, name in enumerate(("a[red]1", "b\x1b[31m2", "c[@click=x(]3")):
        save(tmp_path / f"{name}.npz", step=np.array(place))
    shown = printed(diagnose(tmp_path, FLAGS))
    assert "a[red]1.npz" in shown
    assert "c[@click=x(]3.npz" in shown
    assert "\x1b" not in shown
    (tmp_path / "run.json").write_text('{"note": {"why_not_below": "\\u001b[2J it\\n is ' + 300 * "x" + '"}}')
    why = diagnose(tmp_path, FLAGS).outlook.words
    assert "[2J it is xxx" in why
    assert "\x1b" not in why
    assert len(why) < 600
    for note in ("[]", '{"why_not_below": 3}', '"text"'):
        (tmp_path / "run.json").write_text(f'{{"note": {note}}}')
        assert "were not recorded" in diagnose(tmp_path, FLAGS).outlook.words


# -- recorded numbers -------------------------------------------------------------------------------------------------------


def record(tmp_path: Path, *, bias: bool, window: int = 30) -> Record:
    """Record windows of a run whose predictor moves much in it, with means that are not 0."""
    torch.manual_seed(0)
    predictor = linear_predictor(4, seed=2)
    if bias:
        predictor = torch.nn.Linear(4, 4).double()
    encoder = MLP((6, 8, 4), "relu", seed=1)
    jepa = JEPA(encoder, predictor, Rates(step=0.3, weight_decay=0.01, ema=0.3))
    generator = torch.Generator().manual_seed(0)
    with Recorder(encoder, predictor, target=jepa.target, out=tmp_path, every=1, window=window) as recorder:
        for _ in range(30):
            x = torch.randn(64, 6, generator=generator, dtype=torch.float64) + 0.5
            jepa.step(x, x + 0.5 * torch.randn(x.shape, generator=generator, dtype=torch.float64) + 0.2)
            recorder.step()
    assert recorder.latest is not None
    return recorder.latest


def test_power_and_ranks_are_those_that_the_record_has(tmp_path: Path) -> None:
    seen = record(tmp_path, bias=False)
    found = diagnose(tmp_path)
    assert found.powers.exact
    # The recorder sums the alignment over rows, a diagnosis from traces: a few thousand roundings of E‖z‖².
    assert found.powers.uniformity == pytest.approx(seen.implicit_uniformity_power, rel=1e-10)
    # The last predictor on the window's moments says something else.
    assert abs(found.powers.attraction + found.powers.repulsion - found.powers.correction) > 0.05 * abs(
        found.powers.correction
    )
    assert "added up step by step" in " ".join(facts(found))
    assert found.spectrum.effective_rank == pytest.approx(seen.effective_rank, rel=1e-9)
    # The paper's 1e-7 in every share, which the recorder leaves out, adds 1e-7·|log 1e-7| a dimension at most.
    assert found.spectrum.rankme == pytest.approx(seen.rankme, rel=1e-5)
    assert abs(found.spectrum.rankme / found.spectrum.effective_rank - 1) > 0.05


def test_motion_within_a_window_is_not_taken_for_a_layer_that_is_not_linear(tmp_path: Path) -> None:
    record(tmp_path, bias=False, window=15)
    flags = {"weight_decay": 0.01, "learning_rate": 0.3}
    seen = {each.name: each for each in diagnose(tmp_path, flags).assumptions}
    for name in ("linear last layer", "linear predictor"):
        assert seen[name].distance > 0.01
        assert seen[name].holds
    first, last = sorted(tmp_path.glob("*.npz"))
    # A single record does not tell how much moved, and a layer that is another one moved by less.
    assert not {each.name: each for each in diagnose(first, flags).assumptions}["linear last layer"].holds
    arrays: dict[str, Any] = dict(np.load(last))
    np.savez(last, **{**arrays, "encoder": 3 * arrays["encoder"]})
    assert not {each.name: each for each in diagnose(tmp_path, flags).assumptions}["linear last layer"].holds
    arrays["correction"] = np.array(np.nan)
    np.savez(last, **arrays)
    assert not {each.name: each for each in diagnose(tmp_path, flags).assumptions}["linear predictor"].holds


def test_with_biases_a_recorded_correction_is_taken_about_the_mean(tmp_path: Path) -> None:
    """One step alone, whose predictor is known: tr Pᵀ(K − PΦ) about the mean is then exact from moments as well."""
    seen = record(tmp_path, bias=True)
    path = next(tmp_path.glob("*.npz"))
    arrays = dict(np.load(path))
    mean, target, P = arrays["context_mean"], arrays["target_mean"], arrays["predictor"]
    context = arrays["context_moment"] - np.outer(mean, mean)
    cross = arrays["cross_moment"] - np.outer(target, mean)
    exact = float(np.sum(P * (cross - P @ context)))
    # What a recorder would have added up with this predictor in every step.
    missed = target - arrays["prediction_mean"]
    arrays["correction"] = np.array(exact + P @ mean @ missed)
    np.savez(path, **arrays)
    assert diagnose(tmp_path).powers.correction == pytest.approx(exact, abs=1e-12)
    assert not np.isnan(seen.moments.correction)
    del arrays["prediction_mean"]
    np.savez(path, **arrays)
    assert not diagnose(tmp_path).powers.exact
