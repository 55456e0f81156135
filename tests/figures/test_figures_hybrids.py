"""What the figure of hybrids shows is true: thresholds and rests by another way, and the measurement that it is given."""

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures.hybrid_series import DEEP, NARROW, TERMS, WIDE, runs
from jepalign.figures.hybrids import Hybrids
from jepalign.figures.publication import FigureData
from jepalign.linear_models.collapse import hybrid_equilibria
from jepalign.linear_models.uniformity import VarianceHinge
from jepalign.measurements import Measurement, load, save


@pytest.fixture(scope="module")
def data() -> FigureData:
    return Hybrids().compute()


def test_repel_thresholds_have_their_closed_forms(data: FigureData) -> None:
    # γσ/η = 1/c(0): 1 for the spectral term, √ε for the hinge, and SIGReg's √π[θ^(−3/2) − (½+θ)^(−3/2)] at θ = ½.
    expected = {
        "spectral": 1.0,
        "variance hinge": np.sqrt(WIDE),
        "VICReg": np.sqrt(NARROW),
        "SIGReg": 1 / (np.sqrt(np.pi) * (2**1.5 - 1)),
    }
    for name, level in expected.items():
        assert data[f"thresholds/{name}, repel"].y == pytest.approx(level, rel=1e-14)
    assert "log-det, repel" not in {series.name for series in data.panel("thresholds")}


def test_log_dets_rescue_threshold_has_its_closed_form(data: FigureData) -> None:
    curve = data["thresholds/log-det, rescue"]
    # Of a double root, at κ = 27/8, rounding leaves the square root: away from it the cosine is as good as the iteration.
    kappa, y = curve.x[curve.x > 3.5], curve.y[curve.x > 3.5]
    angle = np.arccos(-1.5 * np.sqrt(1.5 / kappa)) / 3 - 2 * np.pi / 3
    X = 2 * np.sqrt(2 * kappa / 3) * np.cos(angle) - 1
    assert X.min() > 0
    decay = data.numbers["decay"]
    assert y == pytest.approx(decay * X * (1 - kappa * X / (1 + X) ** 2), rel=1e-11)
    assert curve.x.min() == pytest.approx(27 / 8, rel=0.02)  # a point of the grid is 1.4%


def test_the_hinges_window_is_the_largest_maximum_of_the_weight_curve(data: FigureData) -> None:
    curve, decay = data["thresholds/VICReg, rescue"], data.numbers["decay"]
    X = np.geomspace(1e-8, 1, 200_001)
    for kappa, y in list(zip(curve.x, curve.y, strict=True))[::40]:
        weight = np.sqrt(decay * X + NARROW) * (1 - kappa * X / (1 + X) ** 2)
        inner = weight[1:-1]
        peaks = inner[(inner > weight[:-2]) & (inner > weight[2:])]
        # Near a maximum a step of the grid, 1e-4 of X, changes a function of order-one curvature in ln X by 1e-8.
        assert y == pytest.approx(peaks.max(), rel=1e-7)


@pytest.mark.parametrize("name", TERMS)
def test_the_weight_curve_passes_through_the_rests(name: str, data: FigureData) -> None:
    arrays = load("hybrid").arrays
    decay, cross, variance = arrays["weight_decay"], arrays["cross"][0], arrays["variance"][0]
    pieces = [
        series for series in data.panel("rests") if series.name.startswith(f"{name}, ") and "stable" in series.name
    ]
    assert len(pieces) >= 2
    checked = 0
    for piece in pieces:
        for index in range(1, len(piece.x) - 1, max(1, len(piece.x) // 3)):
            gamma = piece.x[index] * decay / variance
            term = TERMS[name].uniformity
            found = hybrid_equilibria(cross, variance, decay, uniformity=term, strength=gamma)
            weights, stable = found.weight.compressed(), found.stable.compressed()
            nearest = int(np.argmin(np.abs(weights - piece.y[index])))
            # Γ is flat at its ends: there rounding of γ is the square root of that in w.
            assert weights[nearest] == pytest.approx(piece.y[index], rel=1e-7)
            assert bool(stable[nearest]) == ("unstable" not in piece.name)
            checked += 1
    assert checked >= 4


def test_runs_are_longest_and_of_one_direction() -> None:
    inside = np.array([True, True, False, True, True, True])
    rising = np.array([True, True, True, False, False, True])
    assert runs(inside, rising) == [(0, 2), (3, 5), (5, 6)]
    assert runs(~inside, rising) == [(2, 3)]


def test_the_published_terms_are_placed_where_they_stand(data: FigureData) -> None:
    arrays = load("hybrid").arrays
    for name, curve, gamma in (
        ("C-JEPA", np.sqrt(NARROW), 0.001 * 25),
        ("LeJEPA", data["thresholds/SIGReg, repel"].y[0], 0.05 / 0.95),
    ):
        line = data[f"published/{name}, repel"]
        # γ over √ε η/σ and over SIGReg's, by hand.
        assert line.y == pytest.approx(gamma * arrays["variance"][0] / (curve * line.x), rel=1e-14)
        assert data.numbers[name] == pytest.approx(gamma, rel=1e-15)
        grew, not_grown = (data[f"published/{name}, {end}"] for end in ("grew", "did not"))
        assert len(grew.x) + len(not_grown.x) == arrays["published_grown"][0].size
    assert data.numbers["C-JEPA, low"] == pytest.approx(0.025 / np.sqrt(NARROW) / 0.04, rel=1e-14)


def invented() -> Measurement:
    """Return a measurement of the shape that the experiment writes: two terms, two modes, and deep thresholds off by known factors."""
    decay, cross, variance = 0.1, np.array([0.9, 0.8]), np.array([1.0, 2.0])
    strength = np.array([[0.01, 0.02, 0.04], [0.001, 0.002, 0.004]])
    told = np.full((2, 3, 2), 0.5)
    predicted = np.arange(1.0, 19.0).reshape(1, 3, 2, 3)
    seen = 1.1 * predicted
    seen[0, 2, 0, 0] = np.inf
    seen[0, 1, 1, 1] *= 2
    arrays = {
        "term": np.array(["spectral", "VICReg"]),
        "strength": strength,
        "rest": told * 1.01,
        "rest_predicted": told,
        "repel": np.array([[0.03, 0.015], [0.0015, 0.0]]),
        "rescue": np.array([[0.03, 0.015], [0.003, np.inf]]),
        "repel_predicted": np.full((2, 2), 1.0),
        "rescue_predicted": np.full((2, 2), 1.0),
        "deep_term": np.array(DEEP),
        "deep_repel": seen,
        "deep_predicted": predicted,
        "deep_other": 1.2 * predicted,
        "deep_corrected": predicted,
        "published": np.array([0.025, 0.05]),
        "published_decay": np.array([0.01, 0.1]),
        "published_ratio": np.arange(16.0).reshape(2, 2, 2, 2),
        "published_grown": np.array([[[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]]),
        "cross": cross,
        "variance": variance,
        "weight_decay": np.array(decay),
    }
    return Measurement("hybrid", arrays, [], "", {})


def test_the_figure_shows_the_measurement_it_is_given(tmp_path: object) -> None:
    save(invented(), str(tmp_path))
    data = Hybrids(str(tmp_path)).compute()
    spectral = data["thresholds/spectral, measured repel"]
    assert spectral.x == pytest.approx([8.1, 3.2], rel=1e-14)
    assert spectral.y == pytest.approx([0.3, 0.3], rel=1e-14)  # γσ/η = 0.03·1/0.1 and 0.015·2/0.1
    assert spectral.extra["low"] == pytest.approx([0.2, 0.2], rel=1e-14)
    assert spectral.extra["high"] == pytest.approx([0.4, 0.4], rel=1e-14)
    # VICReg's hinge has the weight 25, and a threshold outside the sweep is not shown.
    hinge = data["thresholds/VICReg, measured rescue"]
    assert (hinge.x.tolist(), hinge.y.tolist()) == ([pytest.approx(8.1)], [pytest.approx(0.003 * 25 / 0.1)])
    assert data["rests/VICReg, measured"].x == pytest.approx(np.array([0.001, 0.002, 0.004]) * 250, rel=1e-14)
    assert data["rests/VICReg, measured"].y == pytest.approx(0.505, rel=1e-14)
    assert data.numbers["rest"] == pytest.approx(0.01, rel=1e-12)
    assert len(data["deep/SIGReg"].x) == 5
    assert data["deep/spectral"].y == pytest.approx(1.1, rel=1e-14)
    assert data["deep/spectral, mean and motion known"].y == pytest.approx(1.2, rel=1e-14)
    numbers = [data.numbers[key] for key in ("deep", "deep within", "deep known within", "deep none")]
    assert numbers == [18.0, 16.0, 0.0, 1.0]
    assert data["published/C-JEPA, grew"].y.tolist() == [0.0, 4.0, 5.0]
    assert data["published/C-JEPA, did not"].y.tolist() == [1.0]
    assert data["published/LeJEPA, grew"].x.tolist() == [0.1]


def test_the_hinge_of_the_published_term_is_vicregs() -> None:
    assert isinstance(TERMS["VICReg"].uniformity, VarianceHinge)
    s = np.linspace(0, 0.9, 10)
    measured = 25 / np.sqrt(s + 1e-4)  # the experiment's term, VICReg as published
    assert TERMS["VICReg"].scale * TERMS["VICReg"].uniformity.coefficient(s) == pytest.approx(measured, rel=1e-14)


def test_a_missing_measurement_names_the_command(tmp_path: object) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate hybrid"):
        Hybrids(str(tmp_path)).compute()
