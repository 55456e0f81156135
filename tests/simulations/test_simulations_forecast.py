"""Forecast: a linear network against its own training, the batch against its blocks, scores by hand, and the quick run."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jepalign.linear_models.forecast import forecast as told_of
from jepalign.linear_models.forecast import layer_rate
from jepalign.measurements import Measurement, load
from jepalign.simulations.data import both_orders, digit_views
from jepalign.simulations.encoders import MLP, digit_encoder, linear_predictor
from jepalign.simulations.ensembles import Members, Snapshot, train_ensemble
from jepalign.simulations.forecast import SCALES, add_rank_intervals, forecast
from jepalign.simulations.forecast_rows import (
    OTHERS,
    add_fitted,
    coverage_rows,
    pooled,
    rank_rows,
    reliability,
    scores,
    told_rank,
)
from jepalign.simulations.forecast_runs import Watch, random_settings
from jepalign.simulations.last_layer import last_layer
from jepalign.simulations.phase_layers import Layers, frozen, with_constant
from jepalign.simulations.training import JEPA, Rates, train

CPU = torch.device("cpu")


@functools.cache
def quick() -> Measurement:
    return forecast()


@pytest.mark.parametrize("beta", [10.0, 0.4])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_network_with_orthogonal_columns_trains_as_the_moving_last_layer_steps(
    beta: float, bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = both_orders(*(torch.randn(30, 4, generator=generator, dtype=torch.float64) for _ in range(2)))
    x, y = x + 0.5, 0.8 * x + 0.4 * y + 0.5
    encoder, predictor = MLP((4, 6, 3), "linear", seed=1, hidden_bias=bias), linear_predictor(3, seed=2)
    theta = encoder.backbone.get_parameter("0.weight")
    with torch.no_grad():
        theta.copy_(1.4 * torch.linalg.qr(torch.randn(6, 4, generator=generator, dtype=torch.float64))[0])
    layer = last_layer(encoder, predictor, x, y)
    parts = (layer.views.context, layer.views.cross, layer.encoder, layer.predictor, layer.leading)
    start = Layers(*(torch.tensor(part)[None] for part in parts))
    biases: list[torch.Tensor] = []
    assert layer.means is not None
    assert layer.biases == pytest.approx((1.0,) if bias else ())
    if bias:
        start = with_constant(start, *(torch.tensor(part)[None] for part in layer.means))
        biases = [torch.tensor(layer.biases, dtype=torch.float64)]
    kappa = layer_rate(theta.detach().numpy())
    rates = Rates(step=0.1, predictor=2.0, weight_decay=0.05, ema=beta)
    members = Members(seed=[0], step=0.1, weight_decay=0.05, predictor_rate=2.0, ema_rate=beta)
    moved = frozen(start, members, 80, below=[torch.tensor([kappa], dtype=torch.float64)], biases=biases)
    train(JEPA(encoder, predictor, rates), [(x, y)] * 80)
    seen = last_layer(encoder, predictor, x, y)
    # The steps are the same up to rounding, of 80 of them.
    assert moved.context[0, :6, :6].numpy() == pytest.approx(seen.views.context, rel=1e-9, abs=1e-11)
    assert moved.moments()[0] == pytest.approx(seen.eigenvalues(), rel=1e-9, abs=1e-11)
    stays = frozen(start, members, 80).moments()[0]
    assert np.abs(np.log(stays / seen.eigenvalues())).max() > 0.3
    # And the flow is where they tend to as the step does to 0, at first order.
    flowing = told_of(replace(layer, below=(kappa,)), rates.settings, 8.0).moving
    assert flowing is not None
    errors: list[float] = []
    for parts in (20, 40):
        finer = Members(seed=[0], step=0.1 / parts, weight_decay=0.05, predictor_rate=2.0, ema_rate=beta)
        end = frozen(
            start, finer, 80 * parts, below=[torch.tensor([kappa], dtype=torch.float64)], biases=biases
        ).moments()[0]
        errors.append(float(np.abs(end - flowing).max()))
    assert errors[0] < 0.05 * flowing[0]
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.15)


def test_blocks_average_to_the_batch_and_hold_both_orders_of_a_pair() -> None:
    plan = replace(SCALES["quick"], measured=12, blocks=3, sampled=1)
    views = digit_views(device=CPU, seed=0)
    x, y = both_orders(views.x[:12], views.y[:12])
    watch = Watch(x, y, torch.cat((views.x, views.y)), plan, 0)
    members = Members(seed=[0, 1], step=0.1, ema_rate=0.5)
    found = train_ensemble(
        members,
        lambda drawn: digit_encoder((64, 6, 3), "tanh", views, drawn),
        lambda _seed: iter([(x, y)]),
        steps=1,
        record=watch,
        record_steps=[0],
    ).records
    assert list(watch.blocks) == [0]
    context, cross = watch.blocks[0]
    for blocks, name, mean in ((context, "context", "mean"), (cross, "cross", "ahead")):
        # With the constant last: the features' means are its moments with them.
        whole = blocks.mean(0).numpy()
        assert whole[:-1, :-1] == pytest.approx(found[name][0, 0])
        assert whole[:-1, -1] == pytest.approx(found[mean][0, 0])
        assert whole[-1] == pytest.approx([*found["mean"][0, 0], 1])
    # Both orders of every pair: the cross-moment of a block is symmetric as long as the target is the encoder.
    assert cross[0, :-1, :-1].numpy() == pytest.approx(cross[0, :-1, :-1].T.numpy())
    encoder = digit_encoder((64, 6, 3), "tanh", views, 0)
    assert found["below"][0, 0] == pytest.approx(
        layer_rate(encoder.backbone.get_parameter("0.weight").detach().numpy())
    )
    with torch.no_grad():
        assert found["mean"][0, 0] == pytest.approx(encoder.backbone(x).mean(0).numpy())
        assert found["ahead"][0, 0] == pytest.approx(encoder.backbone(y).mean(0).numpy())
    alone = last_layer(encoder, linear_predictor(3, seed=0), x, y)
    assert found["biases"][0, 0] == pytest.approx(alone.biases)
    z = encoder(torch.cat((views.x, views.y))).detach().numpy()
    assert found["moment"][0, 0] == pytest.approx(z.T @ z / len(z))
    linear = MLP((64, 3), "linear", seed=0)
    state = {"last.weight": linear.last.weight.detach()[None]}
    bare = watch(Snapshot(1, np.arange(1), state, {"weight": torch.eye(3)[None]}, state, state["last.weight"], linear))
    assert bare["below"].shape == bare["biases"].shape == (1, 0)


def test_settings_lie_where_they_are_said_to() -> None:
    critical = np.geomspace(1.0, 1e-3, 16)
    members = random_settings(critical, replace(SCALES["quick"], members=500), 3)
    for name, low, high in (
        ("weight_decay", 0.07 * critical[7], critical[1] / 4),
        ("step", 0.2, 0.4),
        ("predictor_rate", 0.7, 4.0),
    ):
        values = members.array(name)
        assert low <= values.min() < 1.1 * low
        assert high / 1.1 < values.max() <= high
        # Log-uniform: the median is the geometric mean, to the error of 500 draws.
        assert np.log(np.median(values)) == pytest.approx(np.log(low * high) / 2, abs=0.1 * np.log(high / low))
    momentum = 1 - members.array("ema_rate") * members.array("step")
    assert 0 <= momentum.min() < momentum.max() <= 0.99


def test_scores_ranks_and_reliability_by_hand() -> None:
    run = {
        "survived": np.array([[1.0, 1.0, 0.0]]),
        "rankme": np.array([[2.2, 1.0, 3.0]]),
        "affine": np.array([[[1.0, 0.5, -2.0], [1.0, -1.0, -2.0], [1.0, 1.0, 1.0]]]),
    }
    assert scores(run, "rankme", 0)[0] == pytest.approx([1.7, 0.7, -0.3])  # positive for the ranks it rounds to
    assert told_rank(run, "rankme", 0) == pytest.approx([2.2])
    assert [told_rank(run, "affine", at)[0] for at in range(3)] == [2, 1, 3]
    # Two bins: told 0.05 with a quarter alive, and 0.95 with all of them.
    told, came = np.array([[0.05] * 4 + [0.95] * 4]), np.array([[1.0, 0, 0, 0, 1, 1, 1, 1]])
    assert reliability(came, told) == pytest.approx((0.2 + 0.05) / 2)


def test_what_is_fitted_comes_from_the_architectures_it_is_fitted_to() -> None:
    rng = np.random.default_rng(0)

    def run(members: int, sign: float) -> dict[str, np.ndarray]:
        static, moving = rng.normal(size=(2, members, 3, 4))
        survived = (sign * (static + moving)[:, 1] > 0).astype(float)
        decay = np.exp(rng.normal(size=members))
        return {
            "survived": survived,
            "static": static,
            "affine": moving,
            "weight_decay": decay,
            "diverged": np.zeros(members, int),
        }

    known, other = run(60, 1.0), run(60, -1.0)
    other["diverged"][0] = 1
    add_fitted([known, other], [pooled([known])])
    assert ((known["fitted"][:, 1] > 0) == (known["survived"] == 1)).mean() > 0.95
    # On the opposite law it is wrong, as what was not fitted to it must be; and a diverged member is left alone.
    assert ((other["fitted"][1:, 1] > 0) == (other["survived"][1:] == 1)).mean() < 0.1
    assert np.isnan(other["fitted"][0]).all()
    alone = run(5, 1.0)
    alone["survived"][:] = 1
    add_fitted([alone], [pooled([alone])])
    assert not alone["fitted"].any()  # one outcome tells nothing


def test_coverage_counts_eigenvalues_and_ranks() -> None:
    run = {"end": np.array([[1.0, -0.5], [2.0, -9.0]])}
    for part in ("", "_drift", "_sampling", "_widened"):
        run[f"low{part}"] = np.array([[0.5, -1.0], [0.0, -3.0]])
        run[f"high{part}"] = np.array([[1.5, 1.0], [1.0, -3.0]])
    rows = coverage_rows("", run)
    # Of four eigenvalues one lies outside, 2 above 1; the dead one counts as at −3. Ranks are 1 and 1, told 1 to 2 and 0 to 1.
    assert [entry["observed"] for entry in rows[:2]] == [0.75, 1.0]
    assert [entry["verdict"] for entry in rows[:2]] == ["fails", "holds"]


def test_intervals_of_the_rank_come_from_errors_on_other_architectures() -> None:
    rng = np.random.default_rng(4)
    k = 20

    def run(members: int, lean: int) -> dict[str, np.ndarray]:
        """Ranks that are told ``lean`` too low, or up to two more."""
        rank = rng.integers(5, 15, members)
        told = rank[:, None] - lean - rng.integers(0, 3, (members, 3))
        index = np.arange(k)
        scores = np.where(index < told[:, :, None], 1.0, -1.0)
        found = {
            "survived": (index < rank[:, None]).astype(float),
            "affine": scores,
            "moving": scores,
            "floor": np.ones(members),
        }
        found |= {"extrapolation": np.ones((members, 3, k)), "trivial": -np.ones((members, 3, k))}
        found |= {"rankme": np.full((members, 3), 10.0), "effective_rank": np.full((members, 3), 10.0)}
        return found | {"diverged": np.zeros(members, int)}

    known, alike, other = run(60, 1), run(200, 1), run(50, -3)
    alike["diverged"][0] = 1
    add_rank_intervals([known, alike, other], 1)
    assert np.isnan(alike["rank_low_affine"][0]).all()
    rows = rank_rows("", pooled([alike]))
    # Errors of 1, 2 and 3 dimensions are in the interval, and nothing else.
    assert [row["observed"] for row in rows] == [1.0, 2.0] * 3
    # A constant rank is off by anything between 5 and 14 less itself; the third of 60 from either end is near these.
    assert all(row["predicted"] > 6 for row in rows[1::2])
    # Architectures on which the error leans the other way are not covered: nothing of theirs was fitted.
    assert [row["observed"] for row in rank_rows("", pooled([other]))[::2]] == [0.0] * 3
    assert {f"rank_low_{name}" for name in OTHERS} <= set(alike)


def test_what_is_said_of_the_committed_run_is_in_it() -> None:
    rows = {row["experiment"].partition(": ")[2]: row for row in load("forecast").rows}
    fractions = ("2%", "5%", "10%")
    page = (Path(__file__).parents[2] / "docs" / "deep_encoders.md").read_text(encoding="utf-8").replace("\n ", "")
    biases, without = "flow on features that move, by biases too", "flow on features that move"
    # Ranks to a tenth and AUROCs to three digits, of the flow and of the best without a theory.
    for words, claim, digits in (
        ("surviving rank", biases, 1),
        ("surviving rank", without, 1),
        ("survival", biases, 3),
    ):
        for side in ("observed", "predicted"):
            said = [f"{rows[f'{words}, {claim} at {part}'][side]:.{digits}f}" for part in fractions]
            text = f"{said[0]}, {said[1]} and {said[2]}"
            assert (text if digits == 1 else text.replace("0.", ".")) in page
    for method in (without, biases, "threshold and flow, fitted"):
        for part in fractions:
            assert rows[f"survival, {method} at {part}"]["verdict"] == "holds"
            assert rows[f"surviving rank, {method} at {part}"]["verdict"] == "holds"
    # Two trainings diverged, whose end nothing can be compared with. Had the flow missed every one of their 16 dimensions, and the best
    # without a theory none, it would still be ahead.
    arrays = load("forecast").arrays
    lost, width = arrays["diverged"][arrays["held"] == 1], arrays["survived"].shape[-1]
    kept = lost.size - lost.sum()
    for part in fractions:
        row = rows[f"surviving rank, {biases} at {part}"]
        assert row["observed"] * kept + width * lost.sum() < row["predicted"] * kept
    shares = [
        rows[f"interval of the rank, conformal on other architectures at {part}"]["observed"] for part in fractions
    ]
    assert "{:.0f}, {:.0f} and {:.0f}%".format(*(100 * share for share in shares)) in page
    runs = [str(name) for name in arrays["architecture"]]
    behind = {
        (name, at)
        for q, name in enumerate(runs)
        for at in range(3)
        if arrays["held"][q] and arrays["auroc_affine"][q, at] < arrays["auroc_extrapolation"][q, at]
    }
    assert behind == {("tanh 64-80-40-16", 1), ("tanh 64-80-40-16", 2), ("elu 64-48-48-16", 2)}


def test_quick_run() -> None:
    found = quick()
    arrays = found.arrays
    assert arrays["diverged"].sum() == 0
    for key, values in arrays.items():
        if values.dtype.kind == "f" and not key.startswith(("low", "high", "resampled")):
            assert np.isfinite(values).all(), key
    drawn = np.isfinite(arrays["low"]).all(-1).sum(1)
    assert drawn.tolist() == [SCALES["quick"].sampled] * 2
    assert (arrays["low_widened"] <= arrays["low_drift"]).all()
    # Six errors are too few for a level of 0.9: the interval is every rank there is, and says so.
    assert (arrays["rank_low_affine"] == 0).all()
    assert (arrays["rank_high_affine"] == 8).all()
    assert 0.1 < arrays["survived"].mean() < 0.9
    held = {row["experiment"]: row["verdict"] for row in found.rows}
    assert held["forecast: control, survival told by the member of mirrored weight decay"] == "holds"
    # Features that move tell the rank of the architecture that nothing was fitted to, ahead of all who know no theory, from a fiftieth on.
    for fraction in ("2%", "5%", "10%"):
        assert held[f"forecast: surviving rank, flow on features that move at {fraction}"] == "holds"
    assert (arrays["rank_error_affine"][1] < arrays["rank_error_flow"][1]).all()
