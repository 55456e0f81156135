"""Escape times: pieces of the experiment against the flows of the linear theory, and its rows at quick scale."""

import math

import numpy as np
import pytest
import torch

from jepalign.linear_models import LinearJEPA
from jepalign.linear_models.contrastive import SpectralContrastive
from jepalign.linear_models.forecast import LastLayer, RunSettings
from jepalign.linear_models.forecast.flow import solve
from jepalign.linear_models.trajectories.arrival import deep_jepa_time
from jepalign.simulations.data import digit_views
from jepalign.simulations.encoders import linear_predictor
from jepalign.simulations.escape import escape, slopes
from jepalign.simulations.near_collapse import (
    KINDS,
    WIDTH,
    crossing,
    forecast,
    linear_rate,
    near_collapse,
    network,
    whitened,
)


def start(kind: str, size: float) -> tuple[LastLayer, float]:
    views = whitened(digit_views(device=torch.device("cpu"), seed=3), 40)
    return near_collapse(network((12,), "tanh", 5), linear_predictor(WIDTH, seed=6), kind, size, views)


def test_components_are_white_and_exchangeable_on_the_sample() -> None:
    x, y = whitened(digit_views(device=torch.device("cpu"), seed=0), 40)
    assert torch.allclose(x.T @ x / len(x), torch.eye(x.shape[1], dtype=x.dtype), atol=1e-12)
    assert torch.allclose(y.T @ x, x.T @ y, atol=1e-10)


def test_a_balanced_start_is_balanced_and_as_small_as_asked() -> None:
    layer, rest = start(KINDS[0], 0.01)
    W, P = layer.encoder, layer.predictor
    assert np.allclose(P.T @ P, W @ W.T, atol=1e-15)
    assert np.isclose(np.linalg.norm(W, 2), 0.01 * rest)
    modes = layer.modes()
    assert np.isclose(rest, modes.cross[0] / modes.variance[0])


@pytest.mark.parametrize("kind", KINDS)
def test_forecast_is_when_the_flow_of_the_linear_theory_escapes(kind: str) -> None:
    layer, rest = start(kind, 0.1)
    time = forecast(layer, kind, rest)
    # At that time the flow, integrated by other code, is at the level.
    if kind == KINDS[2]:
        found = SpectralContrastive(layer.views).solve(layer.encoder, [0.0, time / 4]).encoder[-1]
    else:
        found = solve(layer, RunSettings(), [time]).encoder[-1]
    assert np.isclose(np.linalg.norm(found, 2), rest / 2, rtol=2e-3)


def test_growth_rate_is_that_of_the_flow_from_almost_nothing() -> None:
    layer, _ = start(KINDS[1], 1e-5)
    rate = linear_rate(layer)
    jepa = LinearJEPA(layer.views)
    late = jepa.solve(layer.encoder, layer.predictor, [0.0, 4 / rate, 5 / rate], rtol=1e-9).encoder
    late = np.linalg.norm(late, axis=(1, 2))
    assert np.isclose(math.log(late[2] / late[1]), 1.0, atol=0.1)


def test_crossing_is_exact_for_an_exponential() -> None:
    times = np.linspace(0, 5, 11)
    assert np.isclose(crossing(times, np.exp(times), 20.0), math.log(20))
    assert crossing(times, np.exp(-times), 20.0) == math.inf
    assert crossing(times, np.exp(times), 0.5) == 0


def test_slopes_of_both_laws() -> None:
    starts = np.array([1e-1, 1e-2, 1e-3])
    all_of = np.zeros((3, 2))
    exact = slopes(np.outer(1 / starts, [1.0, 3.0]), all_of, starts, 100, 0)
    assert np.isclose(exact["slope"], 1)
    assert np.allclose(exact["interval"], 1)
    # The closed form of a balanced mode with λ = σ bends the law a little, a logarithm far below the criterion.
    mode = deep_jepa_time(0.5, starts, 1.0, 1.0, depth=1)[:, None]
    assert 0.95 < slopes(mode, all_of[:, :1], starts, 100, 0)["slope"] < 1
    assert slopes(np.log(0.5 / starts)[:, None], all_of[:, :1], starts, 100, 0)["slope"] < 0.35
    assert np.isnan(slopes(np.full((3, 2), np.nan), all_of, starts, 10, 0)["slope"])
    # A seed that stays, whose times are the lengths of its runs, is not part of the law; if all stay there is none.
    staying = np.array([[0, 0], [0, 1], [0, 0]])
    some = slopes(np.stack((1 / starts, np.full(3, 50.0)), axis=1), staying, starts, 10, 0)
    assert np.isclose(some["slope"], 1)
    assert np.array_equal(some["escaped"], [1, 0])
    assert np.isnan(slopes(np.ones((3, 2)), np.ones((3, 2)), starts, 10, 0)["slope"])


def test_quick_run() -> None:
    found = escape()
    assert np.isfinite(found.arrays["time"]).all()
    assert not found.arrays["censored"].any()
    held = {entry["experiment"] for entry in found.rows if entry["verdict"] == "holds"}
    assert {"escape: time ~ 1/ε", "escape: time ~ log 1/ε", "escape: closed-form time"} <= held
    assert all(entry["verdict"] == "holds" for entry in found.rows if "control" in entry["experiment"])
    assert found.arrays["time"].shape == found.arrays["forecast"].shape == (6, 3, 2)
