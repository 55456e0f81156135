"""What the ablation figure shows is true: modes against descent of the loss itself, markers against an invented measurement."""

from itertools import product

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures import ablation
from jepalign.figures.ablation import Ablation
from jepalign.figures.publication import FigureData
from jepalign.measurements import Measurement, save

CORNERS = list(product(ablation.PREDICTORS, ablation.TARGETS))


def slopes(w: float, p: float, v: float) -> tuple[float, float, float]:
    """Return the derivatives in w, p and v of ½E(pwx − vy)² = ½(p²w² + v²) − λpwv."""
    return p * (p * w - ablation.CROSS * v), w * (p * w - ablation.CROSS * v), v - ablation.CROSS * p * w


def descended(predictor: str, target: str, step: float, until: float) -> float:
    """Return w after plain descent, as an implementation would do it: simultaneous, the average taken before the loss or after."""
    w = p = v = 1.0
    for _ in range(round(until / step)):
        through = 0.0
        if target == "EMA, gradient through the average":
            v += step * ablation.LAG * (w - v)
            through = step * ablation.LAG
        by_w, by_p, by_v = slopes(w, p, v)
        if target == "no stop-gradient":
            through = 1.0
        own = w - step * (by_w + through * by_v)
        p -= step * by_p if predictor == "predictor" else 0.0
        if target == "EMA, target trained and pulled":
            v -= step * by_v
        if target in ("stop-gradient, EMA", "EMA, target trained and pulled"):
            v += step * ablation.LAG * (own - v)
        w = own
        if "EMA" not in target:
            v = w
    return w


@pytest.mark.parametrize(("predictor", "target"), CORNERS)
def test_every_mode_is_the_limit_of_descent(predictor: str, target: str) -> None:
    _, times, weight = ablation.mode(predictor, target)
    until = float(times[20])
    found = [descended(predictor, target, step, until) for step in (until / 8000, until / 16000)]
    # Descent is off by a multiple of the step; extrapolated from two of them by its square times curvatures of order ten.
    assert weight[20] == pytest.approx(2 * found[1] - found[0], abs=2e-4)
    # The multiple itself is at most the time times the largest curvature, squared, that is met.
    assert abs(found[0] - found[1]) <= until / 16000 * until


@pytest.mark.parametrize(("predictor", "target"), CORNERS)
def test_the_words_in_a_panel_are_those_of_its_curve(predictor: str, target: str) -> None:
    data = FigureData((), {"rest": ablation.CROSS, "trained": 4 / 11})  # 0.8 · 0.3/(0.3 + 0.36)
    said = ablation.told(predictor, target, dict(data.numbers))
    _, times, weight = ablation.mode(predictor, target, units=3)
    value = float(said.split(" ")[-1].strip("$"))
    rate = -np.log(weight[-1] / weight[-2]) / (times[-1] - times[-2])
    # Two digits are printed; other terms of a collapsing solution have decayed by e^{−10} and more.
    if "geq" in said:
        assert rate >= value - 0.005
    elif "rate" in said:
        assert rate == pytest.approx(value, rel=0.02)
    else:
        # A tenth of the slowest collapse; what is left of the approach at this rate is below the 0.02 of the next line.
        assert abs(rate) < 0.0048
        # Balanced from p = w = 1: the predictor rests where the weight does.
        assert weight[-1] == pytest.approx(value, abs=0.02)


def invented() -> Measurement:
    """Return a measurement of the experiment's shape in which every number tells where it belongs."""
    names = [f"{kind} 9-9" for kind in ("relu", "linear", "tanh", "convolutional") for _ in range(2)]
    views = ["fixed views", "fresh views"] * 4
    corners = [f"{predictor}, {target}" for predictor, target in reversed(CORNERS)]
    shape = (8, 10, 2)
    left = 1e-3 * (1 + np.arange(160.0).reshape(shape))
    told = np.ones(shape)
    share = left[..., None] * np.array([1.0, 2.0, 5.0])
    arrays = {
        "architecture": np.array(names),
        "views": np.array(views),
        "corner": np.array(corners),
        "survives": np.arange(10) % 2,
        "left": left,
        "share": share,
        "flow_share": share * 3,
        "time": np.full((8, 10), 3.0) + np.arange(8.0)[:, None],
        "horizon": np.full((8, 10), 10.0),
        "rate": left / 7,
        "from_start": told / 7,
        "frozen_rate": left[:4] * 3,
        "frozen_flow": told[:4] * 3,
    }
    return Measurement("ablation", arrays, [], "", {})


def test_the_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    save(invented(), str(tmp_path))
    arrays = invented().arrays
    data = Ablation(str(tmp_path)).compute()
    # relu, linear, tanh, convolutional as stored, fixed before fresh: shown as linear, tanh, relu, convolutional.
    for views, runs in (("fixed views", [2, 4, 0, 6]), ("fresh views", [3, 5, 1, 7])):
        for corner, (predictor, target) in enumerate(reversed(CORNERS)):
            for name, run in zip(ablation.ARCHITECTURES, runs, strict=True):
                shown = data[f"{predictor}, {target}/{name}, {views}"]
                seeds = arrays["share"][run, corner]
                assert shown.y == pytest.approx(np.sqrt(seeds.prod(axis=0))[[0, 2]], rel=1e-14)
                assert shown.x == pytest.approx(np.array([0.0, 1.0]) * (3 + run) / 10, rel=1e-14)
                if views == "fresh views":
                    flow = data[f"{predictor}, {target}/{name}, told"]
                    assert flow.y == pytest.approx(3 * np.sqrt(seeds.prod(axis=0)), rel=1e-14)
                    assert flow.x[[0, 2]] == pytest.approx(shown.x, rel=0)
        rates = data[f"rates/{views}"]
        # The first corner drawn is the last that is stored.
        assert rates.extra["low"][:4] == pytest.approx(arrays["left"][runs, 9, 0], rel=1e-14)
    # With a predictor and no stop-gradient, the last one drawn.
    frozen = data["rates/frozen features"].extra["high"][20:]
    assert frozen == pytest.approx(arrays["left"][[1, 2, 0, 3], 4, 1], rel=1e-14)
    assert data.numbers["least"] == pytest.approx(arrays["left"][0, 1, 0], rel=0)
    assert data.numbers["most, fresh views"] == pytest.approx(arrays["left"][7, 8, 1], rel=0)
    assert [path.name for path in data.inputs] == ["ablation.npz", "ablation.json"]


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate ablation"):
        Ablation(str(tmp_path)).compute()
