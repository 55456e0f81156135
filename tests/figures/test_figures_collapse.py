"""What the collapse figure shows is true: branches and sweep against the flow, markers against an invented measurement."""

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures import collapse
from jepalign.figures.collapse import Collapse
from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair
from jepalign.linear_models.collapse import equilibria
from jepalign.measurements import Measurement, save

VIEWS = ViewPair.from_covariances([[1.0]], [[1.0]], [[collapse.CROSS]])


def jepa_velocity(state: np.ndarray, decay: float) -> np.ndarray:
    w, p = state
    gradient = LinearJEPA(VIEWS).gradient([[w]], [[p]])
    return np.array([-gradient.encoder[0, 0] - decay * w, -gradient.predictor[0, 0] - decay * p])


def test_every_branch_of_the_fold_rests_and_is_as_stable_as_drawn() -> None:
    for series in collapse.fold():
        for decay, w in list(zip(series.x, series.y, strict=True))[1:-1:6]:
            state = np.array([w, abs(w)])
            assert jepa_velocity(state, decay) == pytest.approx([0, 0], abs=1e-15)
            # Central differences over 1e-6 are exact to 1e-9; away from the fold no rate is below 1e-4.
            steps = 1e-6 * np.eye(2)
            columns = [(jepa_velocity(state + h, decay) - jepa_velocity(state - h, decay)) / 2e-6 for h in steps]
            rates = np.linalg.eigvals(np.column_stack(columns)).real
            assert (rates < 0).all() == series.name.startswith("stable"), (series.name, decay)


def test_the_branches_are_the_equilibria_and_meet_at_the_threshold() -> None:
    upper = {kind: next(s for s in collapse.fold() if s.name == f"{kind}, upper") for kind in ("stable", "unstable")}
    for kind, place in (("stable", 2), ("unstable", 1)):
        # Next to the fold a rounding u of η moves the rest by √u.
        found = equilibria(collapse.CROSS, 1.0, upper[kind].x[:-1]).data[:, place]
        assert upper[kind].y[:-1] == pytest.approx(found, abs=4e-8)
    assert upper["stable"].x[-1] == upper["unstable"].x[-1] == pytest.approx(0.16, rel=1e-15)


def test_the_pitchfork_is_that_of_the_contrastive_loss() -> None:
    loss = SpectralContrastive(VIEWS)

    def velocity(w: float, decay: float) -> float:
        return -loss.gradient([[w]])[0, 0] / 4 - decay * w

    for series in collapse.pitchfork():
        for decay, w in list(zip(series.x, series.y, strict=True))[:-1:6]:
            assert velocity(w, decay) == pytest.approx(0, abs=1e-15)
            rate = (velocity(w + 1e-6, decay) - velocity(w - 1e-6, decay)) / 2e-6
            at_threshold = decay == collapse.CROSS
            assert at_threshold or (rate < 0) == series.name.startswith("stable")


def test_the_sweep_follows_the_branch_falls_and_does_not_return() -> None:
    raised, lowered = collapse.sweep()
    before = raised.x < 0.7 * 0.16
    # Swept in 1500, η changes by 1.4e-4 a unit of time; the branch moves at most 2.1 times as fast, and rates are above 0.1.
    branch = equilibria(collapse.CROSS, 1.0, raised.x[before]).data[:, 2]
    assert raised.y[before] == pytest.approx(branch, abs=2 * 1.4e-4 * 2.1 / 0.1)
    assert raised.x[-1] == pytest.approx(1.3 * 0.16)
    assert lowered.x[-1] == pytest.approx(0, abs=1e-12)
    # From the fall on w decays at about η, for more than 1500 times 0.1.
    assert np.abs(lowered.y[10:]).max() < 1e-6


def invented() -> Measurement:
    """Return a measurement of the experiment's shape: two settings by three rates, two dimensions, six records."""
    names = ["tanh 8-4", "relu 8-4", "linear 8-4"]
    generator = np.random.default_rng(0)
    shape = (3, 6)
    variance = generator.uniform(0.1, 2.0, (*shape, 6, 2))
    cross = generator.uniform(-1, 1, variance.shape) * variance
    decay = np.repeat(generator.uniform(0.01, 0.2, (3, 2)), 3, axis=1)
    survived = (generator.uniform(size=(*shape, 2)) > 0.5).astype(float)
    arrays = {
        "architecture": np.array(names),
        "ema_rate": np.tile([2.0, 0.2, 0.04], (3, 2)),
        "weight_decay": decay,
        "cross": cross,
        "variance": variance,
        "survived": survived,
        "diverged": np.zeros(shape, dtype=int),
        "rank": generator.integers(0, 9, shape).astype(float),
        "rank_half": generator.integers(0, 9, shape).astype(float),
    }
    return Measurement("phase", arrays, [], "", {})


def test_the_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    save(invented(), str(tmp_path))
    arrays = invented().arrays
    cross, variance = arrays["cross"], arrays["variance"]
    data = Collapse(str(tmp_path)).compute()
    for panel, run in (("linear", 2), ("tanh", 0), ("relu", 1)):
        points = {
            (
                abs(cross[run, member, 4, k]) / variance[run, member, 4, k],
                arrays["weight_decay"][run, member] / variance[run, member, 4, k],
                alive,
            )
            for member in (0, 3)
            for k, alive in enumerate(arrays["survived"][run, member] == 1)
        }
        shown = {
            (y, x, name == "survived")
            for name in ("survived", "died")
            for x, y in zip(data[f"{panel}/{name}"].x, data[f"{panel}/{name}"].y, strict=True)
        }
        assert shown == points
        told = cross[run, :, 0] ** 2 > 4 * variance[run, :, 0] * arrays["weight_decay"][run, :, None]
        # A dimension lies above the line where, and only where, the threshold lets it live.
        edge = data[f"{panel}/boundary"]
        assert edge.y**2 == pytest.approx(4 * edge.x, rel=1e-15)
        at_half = cross[run, [0, 3], 4] ** 2 > 4 * variance[run, [0, 3], 4] * arrays["weight_decay"][run, [0, 3], None]
        assert sorted(y**2 > 4 * x for y, x, _ in points) == sorted(at_half.ravel().tolist())
        assert data.numbers[f"start, {panel}"] == np.mean(told == (arrays["survived"][run] == 1))
    for key in ("rank", "rank_half"):
        change = data[f"lagging/{key}"]
        # Of tanh encoders, drawn second, with the slowest target.
        seen = arrays[key][0, [2, 5]] - arrays[key][0, [0, 3]]
        assert (change.y[3], change.extra["low"][3], change.extra["high"][3]) == (seen.mean(), seen.min(), seen.max())
        assert change.extra["lag in steps"].tolist() == [10, 50] * 3
    assert data.numbers["settings"] == 2
    assert [path.name for path in data.inputs] == ["phase.npz", "phase.json"]


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate phase"):
        Collapse(str(tmp_path)).compute()
