"""What the lens figure shows is true: its flows against the models, its rest points and its boundary against the flow."""

import numpy as np
import pytest

from jepalign.figures import lens
from jepalign.figures.publication import FigureData
from jepalign.linear_models import DICTIONARY, Hybrid, LinearJEPA, SpectralContrastive, ViewPair
from jepalign.linear_models.trajectories import ema_without_predictor
from jepalign.linear_models.uniformity import Spectral

VIEWS = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag(lens.CROSS))
JEPA = LinearJEPA(VIEWS, weight_decay=lens.DECAY)


@pytest.fixture(scope="module")
def data() -> FigureData:
    return lens.Lens().compute()


def total(panel: str, w: np.ndarray) -> np.ndarray:
    """Return ẇ of the model that a panel is of."""
    W = w[None]
    if panel == "jepa":
        return JEPA.forces(W, [[np.linalg.norm(w)]]).total[0]
    if panel == "contrastive":
        return (-SpectralContrastive(VIEWS).gradient(W) / 4 - lens.DECAY * W)[0]
    if panel == "hybrid":
        set_ = LinearJEPA(VIEWS, predictor=DICTIONARY["directpred"], weight_decay=lens.DECAY)
        return Hybrid(set_, Spectral(), lens.STRENGTH).forces(W).total[0]
    alone = LinearJEPA(VIEWS, weight_decay=lens.DECAY, ema_rate=lens.LAG)
    V = W * (1 + lens.DECAY - lens.slow_rates()) / lens.CROSS
    return alone.forces(W, [[1.0]], V).total[0]


@pytest.mark.parametrize("panel", lens.PANELS)
def test_every_flow_is_that_of_its_model(panel: str, data: FigureData) -> None:
    flow = data[f"{panel}/flow"]
    for index in range(0, len(flow.x), 37):
        w = np.array([flow.x[index], flow.y[index]])
        shown = flow.extra["w1_dot"][index], flow.extra["w2_dot"][index]
        # At most five products and sums of numbers up to |w|³ < 4, and a root.
        assert shown == pytest.approx(total(panel, w), abs=40 * 2.0**-52)


@pytest.mark.parametrize("panel", lens.PANELS)
def test_arrows_are_plain_alignment_and_the_rest(panel: str, data: FigureData) -> None:
    plain = LinearJEPA(VIEWS)
    attraction, added = data[f"{panel}/attraction"], data[f"{panel}/{lens.ADDED[panel]}"]
    for index in range(4):
        w = np.array([attraction.x[index], attraction.y[index]])
        pulled = plain.forces(w[None], [[1.0]]).total[0]
        pushed = total(panel, w) + lens.DECAY * w - pulled
        for arrows, force in ((attraction, pulled), (added, pushed)):
            shown = arrows.extra["force"][index], arrows.extra["force_up"][index]
            assert shown == pytest.approx(force, abs=40 * 2.0**-52)
        assert pulled @ w < 0 < pushed @ w


def test_ema_stays_on_its_slow_subspace() -> None:
    rates = lens.slow_rates()
    v = (1 + lens.DECAY - rates) / lens.CROSS
    found = ema_without_predictor(5.0, 1.0, v, lens.CROSS, 1.0, ema_rate=lens.LAG, weight_decay=lens.DECAY)[0]
    # The fast rate, of order one, multiplies what rounding puts beside the subspace by less than one.
    assert found == pytest.approx(np.exp(-5 * rates), rel=1e-14)


@pytest.mark.parametrize("panel", lens.PANELS)
def test_rest_points_rest_and_are_as_stable_as_shown(panel: str) -> None:
    points, stable = lens.rests(panel)
    for point, holds in zip(points, stable, strict=True):
        assert lens.velocity(panel, point[None])[0] == pytest.approx([0, 0], abs=1e-15)
        # Central differences over 1e-6 are exact to 1e-10 here; no eigenvalue is below 0.03 in size.
        step = 1e-6 * np.eye(2)
        sides = [lens.velocity(panel, point + sign * step) for sign in (1, -1)]
        rates = np.linalg.eigvals((sides[0] - sides[1]).T / 2e-6).real
        assert np.abs(rates).min() > 0.01
        assert (rates < 0).all() == holds


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.5, 4.0])
def test_the_boundary_parts_collapse_from_survival(angle: float, data: FigureData) -> None:
    boundary = np.column_stack((data["jepa/collapse"].x, data["jepa/collapse"].y))
    angles = np.arctan2(boundary[:, 1], boundary[:, 0]) % (2 * np.pi)
    start = boundary[np.argmin(np.abs(angles - angle))]
    ends = []
    for factor in (0.99, 1.01):
        w = factor * start
        path = JEPA.solve(w[None], [[np.linalg.norm(w)]], [400.0])
        ends.append(float(np.linalg.norm(path.encoder[-1])))
    # The distance 1e-3 grows at a rate of 0.09 and the rest points are reached at 0.1 and more: e^{−20} is left at 400.
    assert ends == pytest.approx([0.0, data.numbers["upper"]], abs=1e-6)
