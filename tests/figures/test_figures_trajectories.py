"""What the figure of trajectories shows is true: curves by the flow's own slope, times by quadrature, and the measurement given."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad

from jepalign.errors import InputError
from jepalign.figures.publication import FigureData
from jepalign.figures.trajectories import Trajectories
from jepalign.figures.trajectory_series import ALIGNED, AUTOENCODER, DEEP, JEPA, SHIFTS
from jepalign.measurements import Measurement, load, save


@pytest.fixture(scope="module")
def data() -> FigureData:
    return Trajectories().compute()


def flow(kind: str, depth: int, cross: float, variance: float) -> Callable[[float], float]:
    """Return u ↦ u̇ of one layer's weight u: of L layers and a predictor, or a decoder, that are all u."""
    if kind == JEPA:
        return lambda u: u**depth * (cross * u**depth - variance * u ** (depth + 1))
    return lambda u: u**depth * (cross - variance * u ** (depth + 1))


def names(mode: int) -> str:
    arrays = load("trajectories").arrays
    return f"cross {arrays['cross'][mode]:g}, {'larger' if mode % 2 == 0 else 'smaller'} correlation"


@pytest.mark.parametrize("panel", ALIGNED)
def test_times_to_half_are_the_integrals_of_the_flow(panel: str, data: FigureData) -> None:
    arrays = load("trajectories").arrays
    kind, depth = ALIGNED[panel]
    run = [(str(k), int(d)) for k, d in zip(arrays["run"], arrays["depth"], strict=True)].index((kind, depth))
    for mode, (cross, variance) in enumerate(zip(arrays["cross"], arrays["variance"], strict=True)):
        speed = flow(kind, depth, cross, variance)
        rest = (cross / variance) ** (1 if kind == JEPA else 1 / (depth + 1))  # of u
        start, end = arrays["observed"][run, 0, mode] ** (1 / depth), rest * 0.5 ** (1 / depth)
        expected = quad(lambda u, speed=speed: 1 / speed(u), start, end, epsabs=0, epsrel=1e-10)[0]
        point = data[f"{panel}/{names(mode)}, integrated"]
        # The start is read from float64 weights that were set in one step: exact to rounding.
        assert point.x[0] == pytest.approx(expected, rel=1e-8)
        # Integrated to a local error of 1e-8, over some hundred steps.
        assert point.y[0] == pytest.approx(0.5, abs=1e-5)
        curve = data[f"{panel}/{names(mode)}, closed form"]
        assert np.interp(point.x[0], curve.x, curve.y) == pytest.approx(0.5, abs=0.02)  # between points of the line


@pytest.mark.parametrize("panel", ALIGNED)
def test_curves_have_the_slope_of_the_flow(panel: str, data: FigureData) -> None:
    arrays = load("trajectories").arrays
    kind, depth = ALIGNED[panel]
    for mode, (cross, variance) in enumerate(zip(arrays["cross"], arrays["variance"], strict=True)):
        curve = data[f"{panel}/{names(mode)}, closed form"]
        speed = flow(kind, depth, cross, variance)
        rest = (cross / variance) ** (depth if kind == JEPA else depth / (depth + 1))
        u = (curve.y * rest) ** (1 / depth)
        # Over two steps Simpson's rule is nearer to ∫u̇dt than the trapezoidal rule, whose distance from it is of second order
        # in the steps: 1e-4 of the rise for most modes.
        rises = u[2::2] - u[:-2:2]
        h = curve.x[1] - curve.x[0]
        v = np.array([speed(float(value)) for value in u])
        simpson = h / 3 * (v[:-2:2] + 4 * v[1:-1:2] + v[2::2])
        trapezoid = h * (v[:-2:2] + v[2::2])
        assert np.abs(rises - simpson).max() <= np.abs(simpson - trapezoid).max()
        assert np.abs(rises - simpson).max() <= 0.01 * rises.max()


def test_the_order_is_by_correlation_for_a_jepa_alone(data: FigureData) -> None:
    jepa, autoencoder = data[f"order/{JEPA}, exact"], data[f"order/{AUTOENCODER}, exact"]
    assert jepa.x.tolist() == autoencoder.x.tolist() == [1, 2, 3, 4]
    assert np.all(np.diff(jepa.y) > 0)
    assert np.all(jepa.y[1:] > 1.05)
    assert np.all(np.abs(autoencoder.y - 1) < 0.06)


def invented() -> Measurement:
    """Return a measurement of the shape that the experiment writes: a pair of modes."""
    generator = np.random.default_rng(0)
    cross, variance = np.array([1.0, 1.0]), np.array([1.25, 2.0])
    kinds = [(JEPA, 1), (JEPA, 3), (AUTOENCODER, 3)]
    time = np.linspace(0, 30, 41)
    observed = 0.1 + generator.random((3, 41, 2))
    observed[:, 0] = 0.1
    rests = [np.array([0.8, 0.5]), np.array([0.8, 0.5]) ** 3, np.array([0.8, 0.5]) ** 0.75]
    predicted = observed.copy()
    predicted[1, 7, 1] += 0.3 * rests[1][1]
    arrays = {
        "run": np.array([kind for kind, _ in kinds]),
        "depth": np.array([float(depth) for _, depth in kinds]),
        "time": np.tile(time, (3, 1)),
        "observed": observed,
        "predicted": predicted,
        "half": np.array([[2.0, 3.0], [4.0, 10.0], [5.0, 4.0]]),
        "cross": cross,
        "variance": variance,
        "random_time": np.stack([np.stack([time, 2 * time])] * 2),
        "random_observed": np.ones((2, 2, 41, 2)) * np.array([1.0, 2.0])[None, :, None, None],
        "random_predicted": np.ones((2, 2, 41, 2)),
        "random_exact": np.ones((2, 2, 41, 2)) * np.array([1.0, 2.0])[None, :, None, None],
        "order_objective": np.array([JEPA, AUTOENCODER]),
        "order_depth": np.array([1.0, 1.0]),
        "order_half": np.array([[[1.0, 2.0], [1.0, 4.0]], [[1.0, np.inf], [2.0, 1.0]]]),
        "order_predicted": np.ones((2, 2)),
        "order_tau": np.array([[1.0, 0.5], [-1.0, 0.0]]),
        "architecture": np.array([f"{name} 4-2" for name in reversed(DEEP)]),
        "deep_time": np.tile(time, (3, 1)),
        "deep_observed": generator.random((3, 41)),
        "deep_closed": generator.random((3, 41)),
        "deep_frozen": generator.random((3, 41)),
        "feature_drift": generator.random((3, 41)),
    }
    return Measurement("trajectories", arrays, [], "", {})


def test_the_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    measurement = invented()
    save(measurement, str(tmp_path))
    data = Trajectories(str(tmp_path)).compute()
    arrays = measurement.arrays
    deep = data["JEPA 3/cross 1, smaller correlation"]
    assert np.array_equal(deep.x, arrays["time"][1, ::20])
    assert deep.y == pytest.approx(arrays["observed"][1, ::20, 1] / 0.5**3, rel=1e-14)
    assert data.numbers["miss"] == pytest.approx(0.3, rel=1e-12)
    assert data[f"order/{JEPA}, aligned"].y == pytest.approx([1.5, 2.5], rel=1e-15)
    starts = data[f"order/{JEPA}, orthogonal starts"]
    assert (starts.y.tolist(), starts.extra["low"].tolist(), starts.extra["high"].tolist()) == ([3.0], [2.0], [4.0])
    assert np.array_equal(starts.x, starts.extra["depth"] + SHIFTS[JEPA])
    assert data[f"order/{AUTOENCODER}, orthogonal starts"].y.tolist() == [0.5]  # the other has no ratio, and is counted
    assert data.numbers["unlearnt"] == 1
    assert (data.numbers[f"tau, {JEPA}"], data.numbers[f"tau, {AUTOENCODER}"]) == (0.5, -1.0)
    # tr Φ is Σσw² = 3.25 of the one start and four times that of the other.
    random = data["random/measured"]
    assert random.y == pytest.approx(2.5 * 3.25, rel=1e-14)
    assert random.extra["low"] == pytest.approx(3.25, rel=1e-14)
    assert random.extra["high"] == pytest.approx(13, rel=1e-14)
    assert random.x[-1] == 30  # as long as the shorter of the two
    for index, name in enumerate(reversed(DEEP)):
        assert np.array_equal(data[f"{name}/closed forms"].y, arrays["deep_closed"][index])
        assert np.array_equal(data[f"{name}/whole flow"].y, arrays["deep_frozen"][index])
        assert np.array_equal(data[f"{name}/measured"].y, arrays["deep_observed"][index, ::20])


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate trajectories"):
        Trajectories(str(tmp_path)).compute()
