"""The reference integrator: exact solutions, order, agreement of the two methods, and how it says that it failed."""

import copy
import pickle

import numpy as np
import pytest
from scipy.linalg import expm

from jepalign.errors import InputError
from jepalign.linear_models import Law, LinearJEPA, Path, SpectralContrastive, Status, ViewPair, integrate
from jepalign.linear_models.flow import State

METHODS = ("DOP853", "LSODA")


def one_mode(variance: float, cross: float) -> ViewPair:
    return ViewPair.from_covariances([[variance]], [[variance]], [[cross]])


def logistic(times: np.ndarray, weight: float, cross: float, variance: float) -> np.ndarray:
    """Return a mode of spectral contrastive: w² is logistic at rate 8λ towards λ/σ²."""
    limit = cross / variance**2
    return np.sign(weight) * np.sqrt(limit / (1 + (limit / weight**2 - 1) * np.exp(-8 * cross * times)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weight", [1e-3, 0.4, -0.4, 3.0])
def test_spectral_contrastive_mode_is_logistic(method: str, weight: float) -> None:
    cross, variance = 0.7, 0.8
    times = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 5.0])
    path = SpectralContrastive(one_mode(variance, cross)).solve([[weight]], times, method=method)
    assert path.status is Status.FINISHED
    assert np.array_equal(path.times, times)
    # Local errors of 1e-10 a step, a few hundred steps, none of them amplified beyond the growth of the solution
    # itself; LSODA controls an estimate over several steps, which may be off by another factor of some tens.
    tolerance = 1e-8 if method == "DOP853" else 1e-6
    assert np.allclose(path.encoder[:, 0, 0], logistic(times, weight, cross, variance), rtol=tolerance)


def test_the_wrong_rate_is_told_apart() -> None:
    path = SpectralContrastive(one_mode(1.0, 0.7)).solve([[0.1]], [0.5])
    half_rate = np.sqrt(0.7 / (1 + (70 - 1) * np.exp(-4 * 0.7 * 0.5)))
    assert abs(path.encoder[0, 0, 0] - half_rate) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_linear_flow_is_a_matrix_exponential(method: str) -> None:
    # P = I, no decay, EMA: ẋ = Ax with x = (w, v), the slow rate ½[(σ+β) − √((σ−β)² + 4βλ)].
    A = np.array([[-1.0, 0.8], [0.3, -0.3]])

    def field(state: State) -> State:
        w, v = state["w"], state["v"]
        return {"w": A[0, 0] * w + A[0, 1] * v, "v": A[1, 0] * w + A[1, 1] * v}

    times = np.array([0.0, 1.0, 10.0])
    path = integrate(field, {"w": np.array([[1.0]]), "v": np.array(0.5)}, times, method=method)
    assert path.states["w"].shape == (3, 1, 1)
    assert path.states["v"].shape == (3,)
    exact = np.array([expm(A * t) @ [1.0, 0.5] for t in times])
    assert np.allclose(path.states["w"].ravel(), exact[:, 0], atol=1e-8)
    assert np.allclose(path.states["v"], exact[:, 1], atol=1e-8)


def rotation(state: State) -> State:
    return {"x": np.array([-state["x"][1], state["x"][0]])}


def work_and_error(method: str, tolerances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return evaluations and error after one turn of the unit circle, whose exact end is its start."""
    paths = [
        integrate(rotation, {"x": [1.0, 0.0]}, [8 * np.pi], method=method, rtol=rtol, atol=rtol) for rtol in tolerances
    ]
    errors = [np.abs(path.states["x"][0] - [1.0, 0.0]).max() for path in paths]
    return np.array([path.evaluations for path in paths]), np.array(errors)


def test_dop853_converges_at_its_order() -> None:
    work, error = work_and_error("DOP853", 10.0 ** -np.arange(5, 12))
    order = -np.polyfit(np.log(work), np.log(error), 1)[0]
    # Order 8, measured by evaluations. Below 6 it would be another method, above 10 no method.
    assert 6 < order < 10


@pytest.mark.parametrize("method", METHODS)
def test_error_follows_the_tolerance(method: str) -> None:
    tolerances = 10.0 ** -np.arange(5, 12)
    _, error = work_and_error(method, tolerances)
    # Error per step control: the global error is proportional to the tolerance, with a factor of the number of steps,
    # up to about 1000 here.
    assert (error < 1000 * tolerances).all()
    slope = np.polyfit(np.log(tolerances), np.log(error), 1)[0]
    assert 0.7 < slope < 1.3


def test_methods_agree_on_a_jepa_with_a_target_encoder() -> None:
    generator = np.random.default_rng(0)
    views = ViewPair.from_samples(*generator.normal(size=(2, 30, 4)) / 2)
    W, V = generator.normal(size=(2, 3, 4)) / 2
    P = generator.normal(size=(3, 3)) / 2
    jepa = LinearJEPA(views, predictor_rate=2.0, weight_decay=0.05, ema_rate=0.7)
    first, second = (jepa.solve(W, P, [0.5, 4.0], V, method=method) for method in METHODS)
    for name in ("encoder", "predictor", "target"):
        assert np.allclose(first.states[name], second.states[name], atol=1e-7)
    assert "DOP853" in first.method
    assert "LSODA" in second.method


@pytest.mark.parametrize("method", METHODS)
def test_blow_up_is_reported_and_cut_off(method: str) -> None:
    # ẋ = x² from 1 is 1/(1 − t): infinite at t = 1.
    path = integrate(lambda state: {"x": state["x"] ** 2}, {"x": [1.0]}, [0.0, 0.5, 2.0, 3.0], method=method)
    assert path.status is Status.DIVERGED
    assert np.array_equal(path.times, [0, 0.5])
    assert np.allclose(path.states["x"].ravel(), [1, 2])


@pytest.mark.parametrize("method", METHODS)
def test_exponential_growth_beyond_all_bounds_is_divergence(method: str) -> None:
    path = integrate(lambda state: {"x": 3 * state["x"]}, {"x": [1.0]}, [1.0, 400.0], method=method)
    assert path.status is Status.DIVERGED
    assert path.times.tolist() == [1.0]


@pytest.mark.parametrize("method", METHODS)
def test_a_singular_field_is_a_step_limit(method: str) -> None:
    # ẋ = −1/x from 1 is √(1 − 2t): it reaches the singularity at t = ½, without growing.
    path = integrate(
        lambda state: {"x": -1 / state["x"]}, {"x": [1.0]}, [0.25, 1.0], method=method, max_evaluations=20_000
    )
    assert path.status is Status.STEP_LIMIT
    assert path.times.tolist() == [0.25]
    assert np.allclose(path.states["x"], np.sqrt(0.5))


def test_a_field_that_is_never_finite_leaves_no_states() -> None:
    for method in METHODS:
        path = integrate(lambda state: {"x": state["x"] * np.nan}, {"x": [[1.0, 2.0]]}, [1.0], method=method)
        assert path.status is not Status.FINISHED
        assert path.times.size == 0
        assert path.states["x"].shape == (0, 1, 2)


def test_evaluations_are_limited() -> None:
    stiff = integrate(lambda state: {"x": -1e7 * state["x"]}, {"x": [1.0]}, [0.0, 10.0], max_evaluations=500)
    assert stiff.status is Status.STEP_LIMIT
    assert stiff.times.tolist() == [0.0]
    easy = integrate(lambda state: {"x": -1e7 * state["x"]}, {"x": [1.0]}, [0.0, 10.0], method="LSODA")
    assert easy.status is Status.FINISHED
    assert easy.evaluations < 2000


def test_drift_is_measured_against_the_law() -> None:
    laws = {
        "kept": Law(lambda state: state["x"] @ state["x"]),
        "wrong rate": Law(lambda state: state["x"] @ state["x"], 0.1),
        "first": Law(lambda state: state["x"][0]),
    }
    path = integrate(rotation, {"x": [1.0, 0.0]}, [1.0, np.pi], conserved=laws)
    assert path.drift["kept"] < 1e-8
    assert path.drift["wrong rate"] == pytest.approx(1 - np.exp(-0.1 * np.pi), abs=1e-8)
    assert path.drift["first"] == pytest.approx(2, abs=1e-8)


def test_times_within_a_path_do_not_depend_on_each_other() -> None:
    # Every time is the end of a step: asking for more of them changes the steps, not the solution.
    few = integrate(rotation, {"x": [1.0, 0.0]}, [10.0])
    many = integrate(rotation, {"x": [1.0, 0.0]}, np.linspace(0, 10, 201))
    exact = np.stack((np.cos(many.times), np.sin(many.times)), axis=1)
    assert np.abs(many.states["x"] - exact).max() < 1e-8
    assert np.abs(few.states["x"][0] - exact[-1]).max() < 1e-8


def test_a_path_names_the_parts_it_does_not_have() -> None:
    path = SpectralContrastive(one_mode(1, 0.5)).solve([[0.1]], [1.0])
    assert isinstance(path, Path)
    with pytest.raises(AttributeError, match="no predictor: its parts are encoder"):
        _ = path.predictor
    jepa = LinearJEPA(one_mode(1, 0.5)).solve([[0.1]], [[0.2]], [1.0])
    for found in (path, jepa):
        with pytest.raises(TypeError):
            found.states["encoder"] = np.zeros(1)  # type: ignore[index]


def test_a_path_travels_to_other_processes() -> None:
    path = LinearJEPA(one_mode(1, 0.5)).solve([[0.1]], [[0.2]], [1.0, 2.0])
    for found in (pickle.loads(pickle.dumps(path)), copy.deepcopy(path)):  # noqa: S301
        assert found.status is Status.FINISHED
        assert (found.method, found.drift, found.evaluations) == (path.method, path.drift, path.evaluations)
        assert np.array_equal(found.times, path.times)
        assert all(np.array_equal(found.states[name], part) for name, part in path.states.items())


@pytest.mark.parametrize(
    ("changes", "name", "condition"),
    [
        ({"times": [0.0, 2.0, 1.0]}, "times", "increase"),
        ({"times": [0.0, 1.0, 1.0]}, "times", "increase"),
        ({"times": [-1.0, 1.0]}, "times", "at least 0"),
        ({"times": []}, "times", "at least one"),
        ({"times": 1.0}, "times", "sequence"),
        ({"times": [0.0, np.nan]}, "times", "finite"),
        ({"times": [0.0, np.inf]}, "times", "finite"),
        ({"method": "Euler"}, "method", "DOP853"),
        ({"rtol": 1e-16}, "rtol", "rounding"),
        ({"rtol": np.nan}, "rtol", "rounding"),
        ({"atol": 0.0}, "atol", "above 0"),
        ({"start": {"x": [np.nan]}}, "x", "finite"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, object], name: str, condition: str) -> None:
    arguments: dict[str, object] = {"start": {"x": [1.0, 0.0]}, "times": [1.0]}
    with pytest.raises(InputError, match=condition) as caught:
        integrate(rotation, **(arguments | changes))  # type: ignore[arg-type]
    assert caught.value.argument == name
