"""What the figures of chapter 2 show is true: their data against the models and closed forms, by another way."""

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures import implicit_uniformity as mode_map
from jepalign.figures.dictionary import Dictionary, crossing
from jepalign.figures.implicit_power import Power
from jepalign.figures.publication import FigureData
from jepalign.figures.style import Evidence
from jepalign.linear_models import DICTIONARY, LinearJEPA, SpectralContrastive, ViewPair
from jepalign.measurements import Measurement, save


@pytest.fixture(scope="module")
def dictionary() -> FigureData:
    return Dictionary().compute()


@pytest.fixture(scope="module")
def mode() -> FigureData:
    return mode_map.Map().compute()


@pytest.mark.parametrize("key", DICTIONARY)
def test_the_right_panel_is_the_integral_of_the_left(key: str, dictionary: FigureData) -> None:
    g, u = dictionary[f"spectra/{key}"], dictionary[f"uniformities/{key}"]
    # The trapezoidal rule on steps h is off by h²|g''|/12 a unit of length; away from 0, |g''| ≤ 2s⁻³ for every entry.
    far = g.x >= 0.2
    s, slope = g.x[far], g.y[far] - 1
    steps = np.diff(s)
    rise = np.cumsum(steps * (slope[1:] + slope[:-1]) / 2)
    error = np.cumsum(steps**3 * 2 / s[:-1] ** 3 / 12)
    assert np.all(np.abs(u.y[far][1:] - u.y[far][0] - rise) <= error + 1e-13)


def test_the_optima_have_their_closed_forms(dictionary: FigureData) -> None:
    rho = dictionary.numbers["rho"]
    v = (np.sqrt(9 - 8 * rho) - 1) / 2
    expected = {
        "spectral-contrastive": rho,
        "gaussian-infonce": 1 / v - 1,
        "log-det": 1 / (1 - rho),
        "directpred": rho**2,
    }
    for key, s in expected.items():
        # Bisection ends at neighbouring floats; g is evaluated to a few units and its slope is at least 0.1 at these.
        assert dictionary.numbers[key] == pytest.approx(s, rel=1e-13)
    assert np.isnan(dictionary.numbers["no-predictor"])


def test_crossing_finds_the_ends_of_its_interval() -> None:
    assert crossing(lambda s: s, 0.25, 0.0, 1.0) == pytest.approx(0.25, rel=1e-15)
    assert np.isnan(crossing(lambda s: s, 2.0, 0.0, 1.0))
    assert np.isnan(crossing(lambda s: s, -1.0, 0.0, 1.0))


def test_the_learnt_predictor_is_directpreds(dictionary: FigureData) -> None:
    learnt = dictionary["spectra/learnt"]
    # 3.1: the imbalance WWᵀ − PᵀP has decayed by e^{−2ηt} = e^{−12} from a norm below 10, so that s and g² differ by
    # 6e-5; where both are small the difference of the roots is at most the root of that, 8e-3.
    assert np.abs(learnt.x - learnt.y**2).max() <= 10 * np.exp(-2 * 0.02 * 300.0)
    assert dictionary.numbers["learnt, distance"] <= 8e-3
    assert dictionary.numbers["learnt, surviving"] >= 2


def test_deep_predictors_are_the_last_records_of_the_measurement(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    arrays = {key: rng.uniform(0.1, 0.9, (4, 3, 5)) for key in ("moment", "predictor", "correlation")}
    arrays["architecture"] = np.array(["linear 4-5", "tanh 4-3-5", "tanh 4-3-5", "relu 4-3-5, no biases"])
    arrays["setting"] = np.array(["no decay", "no decay", "decay", "no decay"])
    save(Measurement("wiener", arrays, [], "", {}), str(tmp_path))
    data = Dictionary(str(tmp_path)).compute()
    measured = [series.name for series in data.series if series.evidence is Evidence.MEASURED]
    assert measured == ["tanh", "relu"]  # the linear model has its own crosses
    worst = 0.0
    for name, run in (("tanh", 1), ("relu", 3)):
        assert np.array_equal(data[f"spectra/{name}"].x, arrays["moment"][run, -1])
        assert np.array_equal(data[f"spectra/{name}"].y, arrays["predictor"][run, -1])
        s, p, rho = (arrays[key][run, -1] for key in ("moment", "predictor", "correlation"))
        worst = max(worst, float((np.abs(p - rho) * s).sum() / s.sum()))
    assert data.numbers["deep, distance"] == pytest.approx(worst, rel=1e-12)


def one_mode(weight_decay: float = 0.0, rate: float = mode_map.RATE) -> LinearJEPA:
    views = ViewPair.from_covariances([[mode_map.VARIANCE]], [[mode_map.VARIANCE]], [[mode_map.CROSS]])
    return LinearJEPA(views, predictor_rate=rate, weight_decay=weight_decay)


def test_the_flow_is_that_of_the_linear_jepa(mode: FigureData) -> None:
    flow, jepa = mode["plane/flow"], one_mode()
    for index in range(0, len(flow.x), 97):
        w, p = flow.x[index], flow.y[index]
        gradient = jepa.gradient([[w]], [[p]])
        expected = (
            -gradient.encoder[0, 0] - mode_map.DECAY * w,
            -mode_map.RATE * gradient.predictor[0, 0] - mode_map.DECAY * p,
        )
        # Three products and two sums of numbers of order one.
        assert np.allclose((flow.extra["w_dot"][index], flow.extra["p_dot"][index]), expected, rtol=0, atol=1e-15)


def test_rest_points_rest_and_nullclines_are_null(mode: FigureData) -> None:
    for name in ("stable", "saddle"):
        points = mode[f"plane/{name}"]
        assert np.allclose(mode_map.velocity(points.x, points.y), 0, atol=1e-16)
    for name, part in (("encoder at rest, upper", 0), ("encoder at rest, lower", 0), ("predictor at rest", 1)):
        curve = mode[f"plane/{name}"]
        assert np.allclose(mode_map.velocity(curve.x, curve.y)[part], 0, atol=1e-15)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.95])
def test_the_basin_boundary_parts_survival_from_collapse(fraction: float, mode: FigureData) -> None:
    boundary = mode["plane/basin boundary"]
    index = int(fraction * (len(boundary.x) - 1))
    jepa = one_mode(weight_decay=mode_map.DECAY)
    ends = []
    for step in (-1e-3, 1e-3):
        path = jepa.solve([[boundary.x[index] + step]], [[boundary.y[index]]], [800.0])
        ends.append(path.encoder[-1, 0, 0])
    # At the saddle the distance 1e-3 grows at a rate near 0.1: by time 800 each start is e^{−0.05·500} from rest.
    assert ends == pytest.approx([0.0, mode.numbers["upper"] / np.sqrt(mode_map.RATE)], abs=1e-6)


def test_repulsion_points_outward_in_the_band_alone(mode: FigureData) -> None:
    arrows = mode["plane/repulsion"]
    band = (arrows.y > mode.numbers["rho"] - 1) & (arrows.y < 1)
    assert np.array_equal(arrows.extra["force"] > 0, band)
    assert band.any()
    assert not band.all()
    assert (arrows.x > 0).all()


def test_the_sums_are_the_two_objectives_forces(mode: FigureData) -> None:
    jepa = one_mode()
    contrastive = SpectralContrastive(jepa.views)
    for index in range(0, 231, 23):
        w = mode["jepa/sum"].x[index]
        whole = jepa.forces([[w]], [[np.sqrt(mode_map.RATE) * w]]).total[0, 0]
        assert mode["jepa/sum"].y[index] == pytest.approx(whole, abs=1e-15)
        quarter = -contrastive.gradient([[w]])[0, 0] / 4
        assert mode["spectral-contrastive/sum"].y[index] == pytest.approx(quarter, abs=1e-15)
    assert np.array_equal(mode["jepa/attraction"].y, mode["spectral-contrastive/attraction"].y)


@pytest.mark.parametrize("rate", [mode_map.RATE, mode_map.SLOWER])
def test_the_coefficient_gives_an_explicit_repulsion_the_jepas_force(rate: float, mode: FigureData) -> None:
    jepa = one_mode(rate=rate)
    rho, variance = mode_map.CROSS / mode_map.VARIANCE, mode_map.VARIANCE
    pieces = [series for series in mode.panel("coefficient") if series.name.startswith(f"rate {rate:g}")]
    # Where α = σ the pole cancels, and the coefficient is 1 − ρ/(1 + p) on both sides of s = 1.
    assert len(pieces) == (1 if rate == variance else 2)
    for piece in pieces:
        for w, coefficient in list(zip(piece.x, piece.y, strict=True))[::20]:
            whole = jepa.forces([[w]], [[np.sqrt(rate) * w]]).total[0, 0]
            repulsion = variance * w * (1 - variance * w**2)
            # The coefficient divides by 1 − s, at least 0.01 here, and is multiplied by it again.
            assert (mode_map.CROSS - variance) * w + coefficient * repulsion == pytest.approx(whole, abs=1e-13)
    near, rest = pieces[0], mode["coefficient/at rest"]
    assert near.y[0] == pytest.approx(1 - rho, rel=1e-15)
    at, value = next((w, v) for w, v in zip(rest.x, rest.y, strict=True) if abs(w * np.sqrt(rate) - rho) < 1e-12)
    assert abs(jepa.forces([[at]], [[rho]]).total[0, 0]) < 1e-15
    # Linear interpolation on steps h = 1/200 errs by h²|λ_eff''|/8, and that derivative is below 100 at both rests.
    assert np.interp(at, near.x, near.y) == pytest.approx(value, abs=100 / 200**2 / 8)


def test_the_coefficient_changes_sign_at_the_pole(mode: FigureData) -> None:
    name = f"coefficient/rate {mode_map.SLOWER:g}"
    inside, beyond = mode[name], mode[f"{name}, beyond the pole"]
    assert (inside.y > 0).all()
    assert (beyond.y < 0).all()
    pole = np.sqrt(mode_map.SLOWER / mode_map.VARIANCE)
    assert np.sqrt(mode_map.SLOWER) * inside.x[-1] < pole < np.sqrt(mode_map.SLOWER) * beyond.x[0]
    assert np.sqrt(mode_map.SLOWER) * beyond.x[-1] < 1


def invented(noise: float) -> Measurement:
    """Return a measurement of the shape that the experiment writes, with a known error."""
    architectures = ["linear 4-2"] * 2 + ["tanh 4-3-2"] * 2
    runs, steps = len(architectures), np.arange(11) * 3
    alignment = np.linspace(0.1, 1.0, runs * len(steps)).reshape(runs, -1)
    correction = np.where(np.arange(runs) % 2 == 0, -1.5, 0.0)[:, None] * np.ones_like(alignment)
    arrays = {
        "architecture": np.array(architectures),
        "predictor": np.array(["learnt", "least squares"] * 2),
        "setting": np.array(["both orders"] * runs),
        "step": steps,
        "alignment": alignment,
        "correction": correction,
        "asymmetry": np.zeros_like(alignment),
        "predicted": alignment + correction,
        "observed": (alignment + correction) * (1 + noise),
        "bound": np.ones_like(alignment),
    }
    return Measurement("power", arrays, [], "", {})


def test_the_power_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    noise = 2.0**-40
    measurement = invented(noise)
    save(measurement, str(tmp_path))
    data = Power(str(tmp_path)).compute()
    arrays = measurement.arrays
    for panel, run in (("linear", 0), ("deep", 2)):
        assert np.array_equal(data[f"{panel}/predicted power"].y, arrays["predicted"][run])
        assert np.array_equal(data[f"{panel}/power"].y, arrays["observed"][run][::2])
        assert np.array_equal(data[f"{panel}/alignment loss"].x, arrays["step"][::2])
    for name, run in (("linear encoder", 1), ("tanh MLP", 3)):
        assert np.array_equal(data[f"identity/{name}"].x, arrays["alignment"][run][::5])
        assert np.array_equal(data[f"identity/{name}"].y, arrays["observed"][run][::5])
        # The invented error is 2⁻⁴⁰ of the power, 2¹³ units of rounding; forming it rounds twice.
        assert data[f"error/{name}"].y == pytest.approx(np.full(3, 2.0**13), abs=2)
    assert data.numbers["worst"] <= 2.0**13 + 2
    assert data.numbers["worst"] >= 2.0**12
    assert "2 " not in Power().alt(data)
    assert [path.name for path in data.inputs] == ["power.npz", "power.json"]


def test_the_linear_model_lies_on_the_identity() -> None:
    data = Power().compute()
    model = data["identity/linear model"]
    # Both sides are sums over 16 x 64 products of one size: √1024 units of rounding, and a factor 4 for chance.
    assert np.abs(model.y / model.x - 1).max() <= 128 * 2.0**-53
    assert np.abs(data["error/linear model"].y).max() <= 128


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate power"):
        Power(str(tmp_path)).compute()
    with pytest.raises(InputError, match="make it with: jepalign simulate wiener"):
        Dictionary(str(tmp_path)).compute()
