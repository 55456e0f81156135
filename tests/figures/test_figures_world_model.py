"""What the figure of world models shows is true: thresholds by another way, and the measurement that it is given."""

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures import world_model as shown
from jepalign.figures.publication import FigureData
from jepalign.figures.world_model import WorldModel
from jepalign.linear_models.masking.rollout import rotation_views
from jepalign.measurements import Measurement, load, save


@pytest.fixture(scope="module")
def data() -> FigureData:
    return WorldModel().compute()


def test_the_thresholds_are_those_of_the_flows_on_the_plane(data: FigureData) -> None:
    p = np.linspace(0, 1, 1001)
    for index in range(0, 181, 20):
        angle = data["angle/JEPA"].x[index]
        C = rotation_views(shown.SHRINKAGE, angle).cross
        # P = pCW/|..| has the largest growth max p(1 − p) |C|², |C| its norm; at p = ½ the grid has that point.
        norm = np.linalg.norm(C, 2)
        assert data["angle/JEPA"].y[index] == pytest.approx((p * (1 - p)).max() * norm**2, rel=1e-14)
        # The contrastive force at W = 0 is W(C + Cᵀ)/2.
        top = np.linalg.eigvalsh((C + C.T) / 2)[-1]
        assert data["angle/contrastive"].y[index] == pytest.approx(max(top, 0.0), abs=1e-15)


def test_flows_die_beyond_the_lines_and_survive_below(data: FigureData) -> None:
    for name in (shown.JEPA, shown.TWIN):
        line = data[f"angle/{name}"]
        for end, sign in (("kept", -1), ("lost", 1)):
            points = data[f"angle/{name} {end}"]
            assert len(points.x) >= 3
            # The lines are drawn at every degree; between two of them they are chords, off by less than 1e-4.
            assert np.all(sign * (points.y - np.interp(points.x, line.x, line.y)) > 1e-3)
    both = [len(data[f"angle/{name} {end}"].x) for name in (shown.JEPA, shown.TWIN) for end in ("kept", "lost")]
    assert both == [6, 6, 3, 6]


def test_the_staircases_count_planes(data: FigureData) -> None:
    for name in (shown.JEPA, shown.TWIN):
        stairs = data[f"rank/{name}, told"]
        edges = np.unique(stairs.x)
        middles = (edges[1:] + edges[:-1]) / 2
        told = [stairs.y[np.flatnonzero(stairs.x < middle)[-1]] for middle in middles]
        C = [rotation_views(*plane).cross for plane in zip(*system(), strict=True)]
        limits = [
            np.linalg.norm(c, 2) ** 2 / 4 if name == shown.JEPA else np.linalg.eigvalsh(c + c.T)[-1] / 2 for c in C
        ]
        assert told == [2 * sum(limit > middle for limit in limits) for middle in middles]


def system() -> tuple[np.ndarray, np.ndarray]:
    arrays = load("world-model").arrays
    return arrays["shrinkage"], arrays["angle"]


def invented() -> Measurement:
    """Return a measurement of the shape that the experiment writes: three planes, a mode more at one decay, one NaN run."""
    generator = np.random.default_rng(0)
    told = np.array([[6.0, 4.0], [6.0, 4.0], [6.0, 4.0]])
    deep = generator.random((2, 3, 2, 3))
    deep[1, :2] = np.nan
    rollout = generator.random((3, 4, 6))
    arrays = {
        "angle": np.array([0.2, 2.0, 3.0]),
        "threshold": np.array([0.2, 0.1, 0.05]),
        "contrast": np.array([0.8, -0.3, -0.4]),
        "weight_decay": np.array([0.04, 0.07]),
        "setting": np.array(["V = W", "EMA target", "actions given"]),
        "rolled": np.array(["JEPA", "JEPA, predictor from the identity", "contrastive twin"]),
        "rank": told + np.array([[0.0, 2.0], [0.0, 0.0], [0.0, 0.0]]),
        "predicted": told,
        "twin_rank": np.array([2.0, 2.0]),
        "twin_predicted": np.array([2.0, 2.0]),
        "architecture": np.array(["relu 6-6", "tanh 6-6"])[::-1].copy(),
        "recovered": deep,
        "rollout": rollout,
        "rollout_predicted": rollout + 1,
    }
    return Measurement("world-model", arrays, [], "", {})


def test_the_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    measurement = invented()
    save(measurement, str(tmp_path))
    data = WorldModel(str(tmp_path)).compute()
    arrays = measurement.arrays
    for index, setting in enumerate(arrays["setting"]):
        series = data[f"rank/JEPA, {setting}"]
        assert (series.x.tolist(), series.y.tolist()) == ([0.04, 0.07], arrays["rank"][index].tolist())
    assert data["rank/contrastive"].y.tolist() == [2.0, 2.0]
    for index, name in enumerate(shown.ENCODERS):
        series = data[f"deep/{name}"]
        one, two = arrays["recovered"][0, index]
        assert series.y == pytest.approx((one + two) / 2, rel=1e-15)
        assert np.array_equal(series.extra["low"], np.minimum(one, two))
        assert np.array_equal(series.extra["high"], np.maximum(one, two))
    for index, (name, _, _, shift) in enumerate(shown.ROLLED.values()):
        series, told = data[f"rollout/{name}"], data[f"rollout/{name}, told"]
        middle = np.sort(arrays["rollout"][index], axis=0)[1:3].mean(0)
        assert series.y == pytest.approx(middle, rel=1e-15)
        assert told.y == pytest.approx(middle + 1, rel=1e-15)
        assert np.array_equal(series.extra["low"], arrays["rollout"][index].min(0))
        assert np.array_equal(series.x, series.extra["steps"] + shift)
    assert (data.numbers["wrong"], data.numbers["cases"], data.numbers["diverged"]) == (1.0, 8.0, 4.0)
    # The case that differs is at 0.07, whose nearest threshold is 0.05.
    assert data.numbers["nearest"] == pytest.approx(1 - 0.05 / 0.07, rel=1e-14)
    assert [path.name for path in data.inputs] == ["world-model.npz", "world-model.json"]


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate world-model"):
        WorldModel(str(tmp_path)).compute()
