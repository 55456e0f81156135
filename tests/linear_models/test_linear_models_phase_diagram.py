"""Phase diagrams: every point against its own computation, resumed after any interruption, and linear in their size."""

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from jepalign.errors import InputError
from jepalign.linear_models import Modes, ViewPair
from jepalign.linear_models.collapse import critical_weight_decay, equilibria, phase_diagram, surviving_rank
from jepalign.linear_models.collapse import phase_diagram as function

MODULE = __import__("sys").modules[function.__module__]
CROSS, SIGMA = np.array([0.9, 0.5, 0.1, 0.0, -0.7]), np.array([1.0, 0.6, 2.0, 1.0, 1.0])
MODES = Modes(CROSS, SIGMA, np.eye(5))
AXES: dict[str, Any] = {
    "weight_decay": [0.0, 0.001, 0.05, 0.15, 0.5],
    "predictor_rate": [0.5, 1.0, 4.0],
    "ema_rate": [0.01, 1.0, np.inf],
}


def _jacobian(lam: float, sigma: float, eta: float, alpha: float, beta: float, w: float, p: float) -> np.ndarray:
    """Return the derivative of the flow of (w, p, v), or of (w, p) without EMA, by hand."""
    own = -sigma * p * p - eta
    if beta == np.inf:
        return np.array(
            [
                [own + lam * p, (lam - 2 * sigma * p) * w],
                [2 * alpha * (lam - sigma * p) * w, -alpha * sigma * w * w - eta],
            ]
        )
    return np.array(
        [
            [own, (lam - 2 * sigma * p) * w, lam * p],
            [alpha * (lam - 2 * sigma * p) * w, -alpha * sigma * w * w - eta, alpha * lam * w],
            [beta, 0.0, -beta],
        ]
    )


def test_every_point_is_its_own_computation() -> None:
    data = phase_diagram(MODES, **AXES)
    assert data.weight.dims == ("weight_decay", "predictor_rate", "mode")
    assert data.slowest_rate.dims == ("weight_decay", "ema_rate")
    for eta in AXES["weight_decay"]:
        here = data.sel(weight_decay=eta)
        assert int(here.surviving_rank) == surviving_rank(CROSS, SIGMA, eta)
        assert (here.margin > 1).sum() == here.surviving_rank
        if eta:
            np.testing.assert_array_equal(here.margin, critical_weight_decay(CROSS, SIGMA) / eta)
        for alpha in AXES["predictor_rate"]:
            rest = equilibria(CROSS, SIGMA, eta, predictor_rate=alpha)[:, 2].filled(0.0)
            np.testing.assert_allclose(here.weight.sel(predictor_rate=alpha), rest, rtol=1e-15)
            for beta in AXES["ema_rate"]:
                slowest = np.inf
                for lam, sigma, w, p in zip(CROSS, SIGMA, rest, here.predictor.to_numpy(), strict=True):
                    values = np.linalg.eigvals(_jacobian(lam, sigma, eta, alpha, beta, w, p))
                    assert np.abs(values.imag).max() < 1e-6
                    returns = np.sort(-values.real)
                    if eta == 0 and lam != 0:
                        returns = returns[1:]  # the conserved imbalance
                    slowest = min(slowest, returns[0])
                # Eigenvalues of matrices of size up to ten, some of them close to double.
                assert float(here.slowest_rate.sel(ema_rate=beta)) == pytest.approx(slowest, rel=1e-6, abs=1e-12)


def test_numbers_are_coordinates_and_views_may_depend_on_masks() -> None:
    data = phase_diagram(MODES, weight_decay=0.05, width=1)
    assert dict(data.sizes) == {"mode": 5}
    assert float(data.weight_decay) == 0.05
    assert int(data.surviving_rank) == 1

    def masked(ratio: float) -> ViewPair:
        return ViewPair.additive_noise(np.diag([0.8, 0.3]) * (1 - ratio), np.diag([0.2, 0.2]))

    ratios = [0.1, 0.5, 0.9]
    data = phase_diagram(masked, weight_decay=[0.02, 0.1], mask_ratio=ratios)
    assert data.surviving_rank.dims == ("mask_ratio", "weight_decay")
    # η_c = 0.14 and 0.039; 0.067 and 0.016; 0.0057 and 0.0008.
    assert data.surviving_rank.sel(weight_decay=0.02).to_numpy().tolist() == [2, 1, 0]
    given = phase_diagram([masked(ratio) for ratio in ratios], weight_decay=[0.02, 0.1], mask_ratio=ratios)
    xr.testing.assert_identical(data.drop_attrs(), given.drop_attrs())
    alone = phase_diagram(masked(0.5), weight_decay=[0.02, 0.1])
    xr.testing.assert_equal(data.sel(mask_ratio=0.5, drop=True), alone)


def test_an_interrupted_diagram_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "CHUNK", 5)  # one decay per chunk
    calls: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        phase_diagram(MODES, **AXES, directory=tmp_path, progress=stop)
    assert calls == [(1, 5), (2, 5), (3, 5)]
    chunks = sorted(tmp_path.glob("phase-*.nc"))
    assert len(chunks) == 3
    chunks[1].write_bytes(chunks[1].read_bytes()[:100])  # damaged: computed again
    original, computed = MODULE._values, []

    def counted(*given: Any) -> Any:
        computed.append(1)
        return original(*given)

    monkeypatch.setattr(MODULE, "_values", counted)
    data = phase_diagram(MODES, **AXES, directory=tmp_path)
    assert len(computed) == 3
    xr.testing.assert_identical(data.drop_attrs(), phase_diagram(MODES, **AXES).drop_attrs())
    (stored,) = tmp_path.iterdir()  # chunks are gone, nothing half-written is left
    xr.testing.assert_identical(xr.load_dataset(stored, engine="scipy").drop_attrs(), data.drop_attrs())
    made = json.loads(data.attrs["provenance"])
    assert made["command"] == "phase_diagram"
    assert {"numpy", "scipy", "xarray"} <= set(made["versions"])
    computed.clear()
    again = phase_diagram(MODES, **AXES, directory=tmp_path)
    assert not computed
    xr.testing.assert_equal(again, data)
    # Another diagram in the same folder is another file.
    phase_diagram(MODES, **dict(AXES, weight_decay=0.1), directory=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_million_points_take_their_own_memory() -> None:
    lam, decay = np.linspace(0.01, 1, 1000), np.linspace(1e-4, 0.3, 1000)
    start = time.process_time()
    found = equilibria(lam, 1.0, decay[:, None])
    assert time.process_time() - start < 1  # a tenth of it on an idle core
    assert found.shape == (1000, 1000, 3)
    del found
    modes = Modes(lam, np.ones(1000), np.eye(1000))
    tracemalloc.start()
    data = phase_diagram(modes, weight_decay=decay)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Beside the result: arrays of one chunk of 2¹⁸ points, a few dozen of 2 MB, and the identity of the modes.
    assert peak < data.nbytes + 40 * 8 * MODULE.CHUNK
    np.testing.assert_array_equal(data.surviving_rank, (lam**2 > 4 * decay[:, None] * (1 + 1e-15)).sum(axis=1))


def test_what_has_no_meaning_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    views = ViewPair.additive_noise(np.eye(2), np.eye(2))
    for wrong in (
        lambda: phase_diagram(MODES, weight_decay=-1.0),
        lambda: phase_diagram(MODES, weight_decay=[]),
        lambda: phase_diagram(MODES, weight_decay=[[0.1]]),
        lambda: phase_diagram(MODES, weight_decay=0.1, ema_rate=0.0),
        lambda: phase_diagram(MODES, weight_decay=0.1, mask_ratio=[0.5]),
        lambda: phase_diagram([MODES], weight_decay=0.1),
        lambda: phase_diagram([MODES], weight_decay=0.1, mask_ratio=[0.5, 0.6]),
        lambda: phase_diagram([MODES, views], weight_decay=0.1, mask_ratio=[0.5, 0.6]),
        lambda: phase_diagram([MODES], weight_decay=0.1, mask_ratio=[1.5]),
        lambda: phase_diagram(MODES, weight_decay=0.1, width=0),
        lambda: phase_diagram(MODES, weight_decay=0.1, directory=tmp_path / "file"),
    ):
        with pytest.raises(InputError):
            wrong()
