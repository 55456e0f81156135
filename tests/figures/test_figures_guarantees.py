"""Turned subspaces against their definitions, the forecast of the probes against 6.2, and an invented measurement."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import eigh, expm, subspace_angles

from jepalign.datasets import digits, two_views
from jepalign.errors import InputError
from jepalign.figures import turned_subspaces as turned
from jepalign.figures.guarantees import KEPT, VACUOUS, Guarantees
from jepalign.figures.publication import FigureData
from jepalign.linear_models import LinearJEPA, ViewPair
from jepalign.linear_models.guarantees import probe_risk, whitened_cross
from jepalign.measurements import COLUMNS, Measurement, save


@pytest.fixture(scope="module")
def guarantees() -> FigureData:
    return Guarantees().compute()


def leading(matrix: np.ndarray, width: int) -> np.ndarray:
    return eigh(matrix, subset_by_index=(len(matrix) - width, len(matrix) - 1))[1]


def turn(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(np.sin(subspace_angles(first, second))))


def test_no_instance_exceeds_its_bound_and_some_come_near(guarantees: FigureData) -> None:
    for cause in turned.CAUSES:
        series = guarantees[f"turn/{cause}"]
        bound = series.extra["bound"]
        # Sines are right to the rounding of eigenvectors, 1e-15 by a gap of 1e-3 at least where there is a bound.
        assert (series.y <= bound + 1e-12).all()
        assert np.array_equal(series.x, np.minimum(bound, VACUOUS))
        ratio = (series.y / bound)[np.isfinite(bound)]
        assert guarantees.numbers[f"{cause}, tightness"] == pytest.approx(np.median(ratio), rel=1e-12)
    assert 0.5 < guarantees.numbers["worst"] <= 1
    assert guarantees.numbers["instances"] > guarantees.numbers["gapless"] > 0


@pytest.mark.parametrize("size", [1e-3, 0.3])
def test_what_is_not_white_is_turned_by_the_whitening(size: float) -> None:
    found = turned.not_white(np.random.default_rng(3), size)
    rng = np.random.default_rng(3)
    d = turned.DIMENSION
    white = turned.symmetric(rng.uniform(0, 1, d), turned.orthogonal(rng, d))
    root = turned.symmetric(np.sqrt(1 + size * rng.uniform(-1, 1, d)), turned.orthogonal(rng, d))
    width = int(rng.integers(1, d))
    variance, cross = root @ root, root @ white @ root
    # Both are formed by a few products of matrices of norm below 2.
    views = ViewPair.from_covariances(variance, variance, (cross + cross.T) / 2)
    assert np.abs(whitened_cross(views) - white).max() < 1e-13
    # What is learnt solves Cv = ρΣv; in the white coordinates Σ^(1/2)v it is told by the one and not by the other matrix.
    learnt = root @ eigh(cross, variance, subset_by_index=(d - width, d - 1))[1]
    assert found.sine == pytest.approx(turn(learnt, leading(cross, width)), rel=1e-9, abs=1e-12)


def test_what_is_not_aligned_is_told_by_coordinates() -> None:
    found = turned.not_aligned(np.random.default_rng(5), 0.2)
    rng = np.random.default_rng(5)
    d = turned.DIMENSION
    skew = rng.normal(size=(d, d)) / np.sqrt(2 * d)
    vectors = expm(0.2 * (skew - skew.T))
    cross = turned.symmetric(rng.uniform(0, 1, d), vectors)
    width = int(rng.integers(1, d))
    chosen = np.eye(d)[:, np.argsort(np.diag(cross))[-width:]]
    assert found.sine == pytest.approx(turn(chosen, leading(cross, width)), rel=1e-9)
    rest = cross - np.diag(np.diag(cross))
    assert found.bound * found.gap == pytest.approx(np.linalg.norm(rest), rel=1e-12)


def test_an_unbalanced_encoder_is_invariant_under_the_perturbed_operator() -> None:
    found = turned.unbalanced(np.random.default_rng(7), 1.0)
    rng = np.random.default_rng(7)
    d, k = 8, 3
    cross = turned.symmetric(np.linspace(0.9, 0.1, d), turned.orthogonal(rng, d))
    encoder = 0.3 * rng.normal(size=(k, d))
    predictor = np.eye(k) + rng.normal(size=(k, k)) / (2 * np.sqrt(k))
    views = ViewPair.from_covariances(np.eye(d), np.eye(d), cross)
    path = LinearJEPA(views).solve(encoder, predictor, np.geomspace(5, 120, 12), method="LSODA")
    for W, each in zip(path.encoder, found, strict=True):
        projector = np.linalg.pinv(W) @ W
        inside, outside = projector @ cross @ projector, cross - projector @ cross - cross @ projector
        perturbed = inside + outside + projector @ cross @ projector  # both blocks, without what couples them
        # Another integrator to 1e-10 and ours to 1e-8 a step; contraction keeps the sum of steps of that order.
        assert turn(np.linalg.svd(W)[2][:k].T, leading(cross, k)) == pytest.approx(each.sine, rel=1e-4, abs=1e-6)
        if np.isfinite(each.bound):
            error = float(np.linalg.norm(perturbed - cross))
            assert each.bound * each.gap == pytest.approx(error, rel=1e-4, abs=1e-6)
    assert found[-1].sine < found[0].sine


def test_digits_left_as_they_are_are_the_last_of_the_partly_whitened() -> None:
    views = ViewPair.from_samples(*two_views(digits().images), symmetrize=True)
    found = turned.partly_white()
    white, raw = whitened_cross(views), (views.cross + views.cross.T) / 2
    for width, each in zip((2, 4, 8), found[-3:], strict=True):
        assert each.sine == pytest.approx(turn(leading(white, width), leading(raw, width)), rel=1e-8)
    assert max(each.sine for each in found[:3]) < 0.05


def test_forecasts_are_the_risks_of_6_2(guarantees: FigureData) -> None:
    told = guarantees["linear/JEPA, predicted"].y
    rho = np.where(told < 1, 1 - told, 0.25)
    # x = √ρ u + n with Σ = I; a probe on the first k coordinates, for the labels u.
    found = probe_risk(np.eye(len(rho))[:KEPT], np.eye(len(rho)), np.diag(np.sqrt(rho)), np.ones(len(rho)))
    assert np.allclose(found.embedding, told, rtol=0, atol=1e-14)
    series = guarantees["tanh/JEPA, both signs, predicted"]
    rho = series.extra["correlation"]
    assert np.array_equal(series.y < 1, np.argsort(np.argsort(rho)) % (len(rho) - 2) < 2)


def invented() -> Measurement:
    rng = np.random.default_rng(0)
    objectives = ["JEPA", "InfoNCE"]
    arrays = {
        "objective": np.array(objectives),
        "views": np.array(["one", "two"]),
        "angle": rng.uniform(1e-9, 1, (2, 2)),
        "latent_risk": rng.uniform(0, 1, (2, 6)),
        "latent_risk_predicted": np.array([0.1, 0.2, 0.3, 0.4, 1.0, 1.0]),
        "latent_objective": np.array(["JEPA", "JEPA, both signs"]),
        "latent_correlation": np.array([0.9, 0.8, 0.7, 0.6, -0.7, -0.8]),
        "deep_latents": rng.uniform(0, 1, (2, 6)),
    }

    def row(experiment: str, objective: str, error: float) -> dict[str, Any]:
        values = (f"subspace: {experiment}", f"linear, {objective}; one views", 0.0, 0.1, error, "", "holds", "")
        return dict(zip(COLUMNS, values, strict=True)) | {"verdict": "holds" if error <= 1 else "fails"}

    rows = [row("leading canonical subspace", name, error) for name, error in zip(objectives, (2.0, 0.5), strict=True)]
    rows += [row("held-out probe risk of each latent", "JEPA", 0.5), row("latents kept", "JEPA", 3.0)]
    return Measurement("subspace", arrays, rows, "", {})


def test_it_shows_the_measurement_it_is_given(tmp_path: Path) -> None:
    measurement = invented()
    save(measurement, tmp_path)
    data, arrays = Guarantees(str(tmp_path)).compute(), measurement.arrays
    for index, name in enumerate(arrays["objective"]):
        assert np.array_equal(data[f"angles/{name}"].x, arrays["angle"][:, index])
        assert np.array_equal(data[f"linear/{name}"].y, arrays["latent_risk"][index])
    for index, name in enumerate(arrays["latent_objective"]):
        assert np.array_equal(data[f"tanh/{name}"].y, 1 - arrays["deep_latents"][index])
    assert data["tanh/JEPA, predicted"].y == pytest.approx([0.1, 0.2, 0.3, 0.4, 1, 1])
    assert data["tanh/JEPA, both signs, predicted"].y == pytest.approx([0.1, 0.2, 1, 1, 0.3, 0.2])
    assert (data.numbers["limit, JEPA"], data.numbers["limit, InfoNCE"]) == pytest.approx((0.05, 0.2))
    counts = [data.numbers[key] for key in ("angle, hold", "angle", "probe, hold", "probe", "latents, hold", "latents")]
    assert counts == [1, 2, 1, 1, 0, 1]


def test_a_missing_measurement_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it with: jepalign simulate subspace"):
        Guarantees(str(tmp_path)).compute()
