"""Every sampled loss against a transcription of its paper in loops, its gradients against complex steps of it."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_linear_models_losses_transcriptions as loops

from jepalign.errors import InputError
from jepalign.linear_models import losses

# A loss adds at most n²k ≈ 300 terms, condition numbers of these batches are below 100, and both sides round: 300 ε·100
# would be 7e-12 in the worst case, √300 ε·100 ≈ 4e-13 is what happens.
TOLERANCE = 1e-12


class Case(NamedTuple):
    name: str
    options: dict[str, Any]
    transcribed: Callable[..., Any]

    @property
    def title(self) -> str:
        return "-".join([self.name, *(f"{value}".replace(" ", "_") for value in self.options.values())])


def grid(name: str, /, **options: list[Any]) -> list[Case]:
    return [
        Case(name, dict(zip(options, values, strict=True)), getattr(loops, name))
        for values in itertools.product(*options.values())
    ]


def renamed(*args: Any, covariance: float = 1.0, **options: Any) -> Any:
    return loops.vicreg(*args, covariance_weight=covariance, **options)


AXES = np.random.default_rng(7).standard_normal((5, 3))
CASES = [
    *grid("sigreg", directions=[AXES.tolist()], scaled=[True, False], convention=["paper", "official", "lightly"]),
    *grid("spectral_contrastive", convention=["others", "all"]),
    *grid(
        "infonce",
        similarity=["dot", "cosine", "gaussian"],
        negatives=["other view", "both views"],
        symmetrize=[False, True],
        temperature=[0.3],
        convention=["sum"],
    ),
    *grid("infonce", similarity=["cosine"], negatives=["other view", "both views"], convention=["mean"]),
    *grid("barlow_twins", off_diagonal=[0.005, 0.7], convention=["paper", "algorithm", "official", "lightly"]),
    *[
        Case("vicreg", case.options, renamed)
        for case in grid("vicreg", convention=["paper", "official", "lightly", "solo-learn"], epsilon=[1e-4, 0.0])
    ],
    Case("vicreg", {"invariance": 0.5, "variance": 2.0, "covariance": 3.0}, renamed),
    *grid("prediction", convention=["half", "sum", "mean", "byol", "simsiam"]),
    *grid("alignment", exponent=[0.5, 1.0, 2.0, 3.0], normalize=[False, True], convention=["paper", "half"]),
    *grid("uniformity", sharpness=[0.5, 2.0], normalize=[False, True], convention=["others", "all"]),
    *grid("log_det", epsilon=[0.0, 0.1], convention=["population", "sample"]),
]
NAMES = sorted({case.name for case in CASES})
# Directions would make an unreadable name.
TITLES = [case.title if case.name != "sigreg" else f"sigreg-{list(case.options.values())[1:]}" for case in CASES]


def batches(seed: int, n: int = 7, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return two correlated batches with a mean; the first dimension's deviation exceeds 1, where a hinge is off."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, k)) * [1.6, 0.7, 0.5] + [0.3, -0.2, 0.1]
    return common + 0.4 * rng.standard_normal((n, k)), common + 0.3 * rng.standard_normal((n, k))


def run(case: Case, z1: np.ndarray, z2: np.ndarray) -> losses.LossGradient:
    live = {"stop_gradient": False} if case.name == "prediction" else {}
    return getattr(losses, case.name)(z1, z2, **case.options, **live)


@pytest.mark.parametrize("case", CASES, ids=TITLES)
def test_is_the_papers_loss_with_its_gradient(case: Case) -> None:
    z1, z2 = batches(3)
    found = run(case, z1, z2)
    exact = complex(case.transcribed(z1.tolist(), z2.tolist(), **case.options)).real
    assert abs(found.value - exact) <= TOLERANCE * max(1.0, abs(exact))
    gradients = loops.complex_step(lambda a, b: case.transcribed(a, b, **case.options), z1, z2)
    for one, other in zip((found.first, found.second), gradients, strict=True):
        assert one.shape == z1.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize("name", ["vicreg", "barlow_twins", "spectral_contrastive", "log_det", "uniformity"])
def test_conventions_differ(name: str) -> None:
    # Two names for two things, but for those said to be the same.
    z1, z2 = batches(4)
    cases = {
        "vicreg": ["paper", "official", "solo-learn"],
        "barlow_twins": ["paper", "algorithm", "official"],
        "spectral_contrastive": ["others", "all"],
        "log_det": ["population", "sample"],
        "uniformity": ["others", "all"],
    }[name]
    values = [getattr(losses, name)(z1, z2, convention=convention).value for convention in cases]
    gaps = [abs(a - b) for a, b in itertools.combinations(values, 2)]
    assert min(gaps) > 1e4 * TOLERANCE


@pytest.mark.parametrize("name", ["spectral_contrastive", "infonce", "uniformity", "sigreg"])
def test_blocks_do_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    z1, z2 = batches(5, n=23)
    whole = getattr(losses, name)(z1, z2)
    monkeypatch.setattr("jepalign.linear_models.losses.batch.ELEMENTS", 60)
    parts = getattr(losses, name)(z1, z2)
    assert whole.value == pytest.approx(parts.value, rel=1e-13)
    np.testing.assert_allclose(whole.first, parts.first, rtol=0, atol=1e-14)
    np.testing.assert_allclose(whole.second, parts.second, rtol=0, atol=1e-14)


def test_every_loss_is_tested() -> None:
    assert {"LossGradient", *NAMES} == set(losses.__all__)


def test_a_target_without_gradient() -> None:
    z1, z2 = batches(6)
    found = losses.prediction(z1, z2)
    assert not found.second.any()
    assert found.first.any()


def test_a_seed_draws_the_same_directions() -> None:
    z1, z2 = batches(6)
    assert losses.sigreg(z1, z2, seed=1).value == losses.sigreg(z1, z2, seed=1).value
    assert losses.sigreg(z1, z2, seed=1).value != losses.sigreg(z1, z2, seed=2).value


def test_infonce_does_not_overflow_and_keeps_the_digits_of_a_small_loss() -> None:
    # Logits of ±1e4: exponentials overflow. With two samples the loss is ln(1 + e^{−2·size²/τ}) exactly.
    z = np.array([[1.0, 0.0], [-1.0, 0.0]])
    found = losses.infonce(z, z, similarity="dot", temperature=1e-4)
    assert found.value == 0.0
    assert np.isfinite(found.first).all()
    small = losses.infonce(z, z, similarity="dot", temperature=0.05)
    assert small.value == pytest.approx(np.log1p(np.exp(-40.0)), rel=1e-14)
    worst = losses.infonce(z, -z, similarity="dot", temperature=1e-4)
    assert worst.value == pytest.approx(2e4, rel=1e-15)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1e3, 1e12, 1e59])
@pytest.mark.parametrize("name", NAMES)
def test_is_finite_at_every_size(name: str, size: float) -> None:
    z1, z2 = batches(8)
    found = getattr(losses, name)(size * z1, size * z2)
    for part in found:
        assert np.isfinite(part).all()


def test_arguments() -> None:
    z1, z2 = batches(9)
    for name in NAMES:
        loss = getattr(losses, name)
        for wrong in (z2[:-1], z2[:, :-1], z2 * np.nan, z2[0], z2 * 1e61, z2.astype(complex), "z"):
            with pytest.raises(InputError):
                loss(z1, wrong)
        with pytest.raises(InputError, match="convention"):
            loss(z1, z2, convention="unknown")
    for call in (
        lambda: losses.infonce(z1, z2, temperature=0.0),
        lambda: losses.infonce(z1, z2, similarity="cosines"),  # pyright: ignore[reportArgumentType]
        lambda: losses.infonce(z1, z2, negatives="none"),  # pyright: ignore[reportArgumentType]
        lambda: losses.infonce(0 * z1, z2),
        lambda: losses.infonce(z1[:1], z2[:1]),
        lambda: losses.barlow_twins(z1, z2, off_diagonal=-1.0),
        lambda: losses.barlow_twins(z1 * [1, 0, 1] + 0.1, z2),
        lambda: losses.vicreg(z1, z2, variance=-1.0),
        lambda: losses.vicreg(z1 * [1, 0, 1] + 0.1, z2, epsilon=0.0),
        lambda: losses.alignment(z1, z2, exponent=0.0),
        lambda: losses.alignment(z1, z2, exponent=5.0),
        lambda: losses.uniformity(z1, z2, sharpness=-1.0),
        lambda: losses.log_det(z1[:3], z2[:3]),
        lambda: losses.log_det(z1[:, [0, 0]], z2[:, :2]),
        lambda: losses.sigreg(z1, z2, directions=0),
        lambda: losses.sigreg(z1, z2, directions=True),
        lambda: losses.sigreg(z1, z2, directions=np.eye(4)),
        lambda: losses.sigreg(z1, z2, directions=np.zeros((1, 3))),
        lambda: losses.sigreg(z1, z2, seed=-1),
        lambda: losses.prediction(0 * z1, z2, convention="byol"),
    ):
        with pytest.raises(InputError):
            call()


def test_losses_of_collapsed_batches() -> None:
    # Where the penalties have an ε, and where there is nothing to divide by.
    flat = np.full((5, 3), 0.1)
    assert losses.vicreg(flat, flat).value == pytest.approx(25 * 2 * (1 - 1e-2), rel=1e-12)
    assert losses.barlow_twins(flat, flat, convention="official").value == pytest.approx(3.0, rel=1e-12)
    assert losses.uniformity(flat, flat).value == pytest.approx(0.0, abs=1e-15)
    assert losses.alignment(flat, flat, exponent=0.5).value == 0.0
    assert not losses.alignment(flat, flat, exponent=0.5).first.any()
    assert losses.infonce(flat, flat).value == pytest.approx(np.log(5), rel=1e-15)
