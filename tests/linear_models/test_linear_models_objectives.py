"""Losses against sums over samples, gradients against losses, forces against gradients; what is refused."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import Drawn, drawn_views, examples, with_singular_values
from numpy.typing import NDArray

from jepalign.errors import InputError
from jepalign.linear_models import DICTIONARY, Forces, ImplicitUniformity, LinearJEPA, SpectralContrastive, ViewPair
from jepalign.linear_models.objectives import Descent

Array = NDArray[np.float64]
SAMPLES = 25


def sampled(seed: int, dimension: int, *, symmetrize: bool = False) -> tuple[Array, Array, ViewPair]:
    """Return pairs and their views, uncentred: expectations are then means over these very samples."""
    x, y = np.random.default_rng(seed).normal(size=(2, SAMPLES, dimension))
    y = 0.6 * x + 0.5 * y
    views = ViewPair.from_samples(x, y, center=False, symmetrize=symmetrize)
    return (np.vstack((x, y)), np.vstack((y, x)), views) if symmetrize else (x, y, views)


def differenced(loss: Callable[[Array], float], at: Array) -> Array:
    """Return the gradient of a loss by central differences."""
    gradient, step = np.zeros_like(at), 1e-5
    for index in np.ndindex(*at.shape):
        move = np.zeros_like(at)
        move[index] = step
        gradient[index] = (loss(at + move) - loss(at - move)) / (2 * step)
    return gradient


# Central differences at h = 1e-5: h²/6 of a third derivative (below 1e4 here) is 2e-7, and the rounding of a loss of
# size 10 divided by h another 1e-10.
DIFFERENCE = 1e-6

seeds = st.integers(0, 2**32)
sizes = st.integers(1, 5)


@given(seeds, sizes, sizes)
@examples(20)
def test_prediction_loss_is_a_mean_over_samples(seed: int, dimension: int, width: int) -> None:
    x, y, views = sampled(seed, dimension)
    generator = np.random.default_rng(seed)
    W, V = generator.normal(size=(2, width, dimension))
    P = generator.normal(size=(width, width))
    expected = sum(np.sum((P @ W @ a - V @ b) ** 2) for a, b in zip(x, y, strict=True)) / (2 * SAMPLES)
    assert LinearJEPA(views, ema_rate=1.0).loss(W, P, V) == pytest.approx(expected, rel=1e-12)
    simsiam = sum(np.sum((P @ W @ a - W @ b) ** 2) for a, b in zip(x, y, strict=True)) / (2 * SAMPLES)
    assert LinearJEPA(views).loss(W, P) == pytest.approx(simsiam, rel=1e-12)


def test_a_perfect_prediction_has_no_negative_loss() -> None:
    # y = 2x: a difference of traces of size 10 would be of either sign.
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(SAMPLES, 3))
        views = ViewPair.from_samples(x, 2 * x, center=False)
        assert 0 <= LinearJEPA(views).loss(np.eye(3), 2 * np.eye(3)) < 1e-13


@given(seeds, sizes, sizes)
@examples(20)
def test_spectral_contrastive_loss_is_a_mean_over_pairs(seed: int, dimension: int, width: int) -> None:
    x, y, views = sampled(seed, dimension)
    W = np.random.default_rng(seed).normal(size=(width, dimension))
    z, z_plus = x @ W.T, y @ W.T
    positives = np.mean([a @ b for a, b in zip(z, z_plus, strict=True)])
    negatives = np.mean([(a @ b) ** 2 for a in z for b in z_plus])
    assert SpectralContrastive(views).loss(W) == pytest.approx(negatives - 2 * positives, rel=1e-11, abs=1e-11)


@given(seeds, sizes)
@examples(10)
def test_spectral_split(seed: int, dimension: int) -> None:
    # 1.2, Σ_x = Σ_y: L = E‖z − z⁺‖² + ‖Φ − I‖² − k.
    x, y, views = sampled(seed, dimension, symmetrize=True)
    W = np.random.default_rng(seed).normal(size=(2, dimension))
    phi = W @ views.context @ W.T
    split = np.square((x - y) @ W.T).sum() / (2 * SAMPLES) + np.square(phi - np.eye(2)).sum() - 2
    assert SpectralContrastive(views).loss(W) == pytest.approx(split, rel=1e-11, abs=1e-11)


@given(drawn_views(dimensions=(1, 5), conditions=(0, 2), exchangeable=True))
@examples(15)
def test_minimum_of_spectral_contrastive(drawn: Drawn) -> None:
    # min L = −Σ_{i≤k} max(ρ_i, 0)² at W = diag(√max(ρ, 0)) Q_kᵀ Σ^{−1/2}.
    views, width = drawn.views, drawn.width()
    inverse = np.linalg.inv(views.context_root)
    values, vectors = np.linalg.eigh(inverse @ views.cross @ inverse)
    rho, leading = np.maximum(values[::-1][:width], 0), vectors[:, ::-1][:, :width]
    W = np.sqrt(rho)[:, None] * leading.T @ inverse
    scl = SpectralContrastive(views)
    assert scl.loss(W) == pytest.approx(-np.sum(rho**2), abs=1e-12)
    # Velocities are as large as 4‖W‖ ≤ 40 before they cancel.
    assert np.abs(scl.gradient(W)).max() < 1e-12
    generator = drawn.rng
    for _ in range(5):
        assert scl.loss(W + 0.3 * generator.normal(size=W.shape)) > scl.loss(W)


@pytest.mark.parametrize("name", DICTIONARY)
@given(seeds, st.integers(1, 4))
@examples(8)
def test_functional_is_a_mean_over_samples(name: str, seed: int, dimension: int) -> None:
    # 2.0: U_g = ¼E‖z − z⁺‖² + ½ tr u(Φ), with Φ the second moment over both views.
    x, y, views = sampled(seed, dimension, symmetrize=True)
    W = np.random.default_rng(seed).normal(size=(min(2, dimension), dimension))
    z, z_plus = x @ W.T, y @ W.T
    entry = DICTIONARY[name]
    uniformity = entry.uniformity(np.linalg.eigvalsh(z.T @ z / len(z))).sum() / 2
    expected = np.square(z - z_plus).sum() / (4 * len(z)) + uniformity
    assert ImplicitUniformity(views, predictor=entry).loss(W) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def descents(views: ViewPair) -> dict[str, Descent]:
    named: dict[str, Descent] = {
        f"U of {name}": ImplicitUniformity(views, predictor=entry) for name, entry in DICTIONARY.items()
    }
    return named | {"spectral contrastive": SpectralContrastive(views)}


@given(drawn_views(dimensions=(1, 4), conditions=(0, 1), exchangeable=True))
@examples(10)
def test_gradients_of_explicit_losses(drawn: Drawn) -> None:
    W = with_singular_values(drawn.rng, np.linspace(0.8, 1.5, drawn.width()), drawn.views.dimension)
    for objective in descents(drawn.views).values():
        assert np.allclose(objective.gradient(W), differenced(objective.loss, W), atol=DIFFERENCE)


@given(drawn_views(dimensions=(1, 4), conditions=(0, 1), exchangeable=False))
@examples(10)
def test_gradient_of_spectral_contrastive_on_any_views(drawn: Drawn) -> None:
    W = drawn.rng.normal(size=(drawn.width(), drawn.views.dimension))
    objective = SpectralContrastive(drawn.views)
    # Third derivatives of a quartic at weights of a few units.
    assert np.allclose(objective.gradient(W), differenced(objective.loss, W), atol=10 * DIFFERENCE)


@given(drawn_views(dimensions=(1, 4), conditions=(0, 1)))
@examples(15)
def test_gradient_of_the_prediction_loss_holds_the_target_still(drawn: Drawn) -> None:
    generator, width = drawn.rng, drawn.width()
    W, V = generator.normal(size=(2, width, drawn.views.dimension))
    P = generator.normal(size=(width, width))
    jepa = LinearJEPA(drawn.views, ema_rate=1.0)
    found = jepa.gradient(W, P, V)
    assert np.allclose(found.encoder, differenced(lambda at: jepa.loss(at, P, V), W), atol=DIFFERENCE)
    assert np.allclose(found.predictor, differenced(lambda at: jepa.loss(W, at, V), P), atol=DIFFERENCE)
    # With V = W the derivative through the target is left out.
    simsiam = LinearJEPA(drawn.views)
    assert np.array_equal(simsiam.gradient(W, P).encoder, jepa.gradient(W, P, W).encoder)


@given(drawn_views(dimensions=(1, 5), conditions=(0, 1)))
@examples(15)
def test_forces_are_minus_the_gradient_and_the_decay(drawn: Drawn) -> None:
    generator, width, views = drawn.rng, drawn.width(), drawn.views
    W, V = generator.normal(size=(2, width, views.dimension))
    P = generator.normal(size=(width, width))
    jepa = LinearJEPA(views, ema_rate=1.0, weight_decay=0.3)
    forces = jepa.forces(W, P, V)
    assert np.allclose(forces.total, -jepa.gradient(W, P, V).encoder - 0.3 * W, atol=1e-12)
    assert np.allclose(forces.attraction, P.T @ V @ views.cross, atol=1e-12)
    # The second term is minus the gradient of ½ tr(PᵀPΦ) at frozen P (2.1).
    barrier = differenced(lambda at: float(np.trace(P.T @ P @ at @ views.context @ at.T)) / 2, W)
    assert np.allclose(forces.implicit_repulsion, -barrier, atol=DIFFERENCE)
    assert not forces.explicit_repulsion.any()
    residual = LinearJEPA(views, ema_rate=1.0, weight_decay=0.3, force="residual").forces(W, P, V)
    assert np.allclose(P.T @ (residual.total + 0.3 * W), forces.total + 0.3 * W, atol=1e-12)


def test_balanced_repulsion_is_that_of_negatives() -> None:
    # 2.2 at Σ = I, V = W: −PᵀPWΣ = −(α/4)∇E(z·z')² = −(α/4) of the gradient of tr Φ².
    generator, alpha = np.random.default_rng(3), 1.7
    W = generator.normal(size=(3, 4))
    values, vectors = np.linalg.eigh(W @ W.T)
    P = np.sqrt(alpha) * (vectors * np.sqrt(values)) @ vectors.T
    views = ViewPair.from_covariances(np.eye(4), np.eye(4), np.zeros((4, 4)))
    implicit = LinearJEPA(views, predictor_rate=alpha).forces(W, P).implicit_repulsion
    explicit = SpectralContrastive(views).forces(W).explicit_repulsion
    assert np.allclose(implicit, alpha / 4 * explicit, atol=1e-13)


@pytest.mark.parametrize("name", DICTIONARY)
@given(drawn_views(dimensions=(1, 5), conditions=(0, 1), exchangeable=True))
@examples(8)
def test_the_dictionary(name: str, drawn: Drawn) -> None:
    # The residual form of a JEPA is the descent of U_g, the BYOL form P times that.
    entry, views = DICTIONARY[name], drawn.views
    W = with_singular_values(drawn.rng, np.linspace(0.8, 1.5, drawn.width()), views.dimension)
    gradient = ImplicitUniformity(views, predictor=entry).gradient(W)
    residual = LinearJEPA(views, predictor=entry, force="residual").forces(W).total
    byol = LinearJEPA(views, predictor=entry).forces(W).total
    assert np.allclose(residual, -gradient, atol=1e-12)
    # P from an eigendecomposition of Φ: ‖P‖ up to 1/0.06 (log-det at s = 0.8²/10), its error 100 times that of Φ.
    assert np.allclose(byol, -entry.matrix(W @ views.context @ W.T) @ gradient, atol=1e-11)


def test_spectral_contrastive_is_four_times_its_entry() -> None:
    _, _, views = sampled(1, 4, symmetrize=True)
    W = np.random.default_rng(1).normal(size=(3, 4))
    entry = ImplicitUniformity(views, predictor=DICTIONARY["spectral-contrastive"])
    assert SpectralContrastive(views).loss(W) == pytest.approx(4 * entry.loss(W), rel=1e-12)
    assert np.allclose(SpectralContrastive(views).forces(W).total, 4 * entry.forces(W).total, atol=1e-12)


def test_energy_counts_the_decay() -> None:
    _, _, views = sampled(2, 3, symmetrize=True)
    W = np.random.default_rng(2).normal(size=(2, 3))
    for objective in (
        SpectralContrastive(views, 0.3),
        ImplicitUniformity(views, 0.3, predictor=DICTIONARY["directpred"]),
    ):
        assert objective.energy(W) == pytest.approx(objective.loss(W) + 0.15 * np.square(W).sum())
        assert np.allclose(objective.forces(W).total, -differenced(objective.energy, W), atol=DIFFERENCE)


@given(drawn_views(dimensions=(1, 6), conditions=(0, 4)))
@examples(25)
def test_optimal_predictor_solves_the_normal_equations(drawn: Drawn) -> None:
    generator, views = drawn.rng, drawn.views
    W = with_singular_values(generator, np.ones(drawn.width()), views.dimension)
    V = generator.normal(size=W.shape)
    jepa = LinearJEPA(views, predictor_rate=np.inf, ema_rate=1.0)
    P = jepa.optimal_predictor(W, V)
    # Backward stable: the residual is rounding of ‖P‖‖Φ‖, times the condition of a factor, √κ ≤ 100, for not iterating.
    scale = np.abs(P).max() * 100 * len(W) * np.finfo(float).eps * np.sqrt(drawn.condition)
    assert np.abs((V @ views.cross - P @ W @ views.context) @ W.T).max() < scale + 1e-14
    worse = LinearJEPA(views, ema_rate=1.0)
    for _ in range(3):
        shift = generator.normal(size=P.shape)
        assert worse.loss(W, P + shift, V) > worse.loss(W, P, V)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"predictor_rate": 0.0}, "predictor_rate"),
        ({"predictor_rate": -1.0}, "predictor_rate"),
        ({"predictor_rate": np.nan}, "predictor_rate"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"weight_decay": np.inf}, "weight_decay"),
        ({"ema_rate": -0.1}, "ema_rate"),
        ({"ema_rate": np.nan}, "ema_rate"),
        ({"force": "newton"}, "force"),
        ({"predictor": DICTIONARY["directpred"], "predictor_rate": 2.0}, "predictor_rate"),
        ({"predictor": DICTIONARY["directpred"], "predictor_rate": np.inf}, "predictor_rate"),
        ({"predictor": "directpred"}, "predictor"),
        ({"predictor": np.eye(2)}, "predictor"),
    ],
)
def test_bad_jepas_are_refused(arguments: dict[str, object], name: str) -> None:
    with pytest.raises(InputError) as caught:
        LinearJEPA(sampled(0, 2)[2], **arguments)  # type: ignore[arg-type]
    assert caught.value.argument == name


def test_bad_descents_are_refused() -> None:
    _, _, uneven = sampled(0, 2)
    _, _, even = sampled(0, 2, symmetrize=True)
    for build, name in (
        (lambda: SpectralContrastive(uneven, -1.0), "weight_decay"),
        (lambda: ImplicitUniformity(even, np.nan, predictor=DICTIONARY["directpred"]), "weight_decay"),
        (lambda: ImplicitUniformity(uneven, predictor=DICTIONARY["directpred"]), "views"),
        (lambda: ImplicitUniformity(even, predictor="log-det"), "predictor"),  # type: ignore[arg-type]
        (lambda: SpectralContrastive(even).loss(np.ones((2, 3))), "encoder"),
        (lambda: SpectralContrastive(even).solve(np.full((1, 2), np.nan), [1.0]), "encoder"),
        (lambda: SpectralContrastive(even).solve(np.ones((1, 2)), [2.0, 1.0]), "times"),
        # Three embedding dimensions of two inputs: log det Φ is infinite.
        (lambda: ImplicitUniformity(even, predictor=DICTIONARY["log-det"]).solve(np.ones((3, 2)), [1.0]), "encoder"),
    ):
        with pytest.raises(InputError) as caught:
            build()
        assert caught.value.argument == name


@pytest.mark.parametrize("encoder", [np.zeros((2, 2)), np.ones((2, 2)), np.ones((3, 2))])
def test_forces_of_log_det_are_refused_where_they_are_infinite(encoder: Array) -> None:
    views, entry = sampled(0, 2, symmetrize=True)[2], DICTIONARY["log-det"]
    jepa, functional = LinearJEPA(views, predictor=entry), ImplicitUniformity(views, predictor=entry)
    for function in (functional.forces, functional.gradient, jepa.loss, jepa.gradient, jepa.forces, jepa.power):
        with pytest.raises(InputError, match="full rank for log-det"):
            function(encoder)
    assert functional.loss(np.zeros((2, 2))) == np.inf


W22, P22 = np.array([[1.0, 0.2], [0.1, 0.8]]), np.eye(2)
LEARNT, OPTIMAL, FIXED, EMA = (
    {},
    {"predictor_rate": np.inf},
    {"predictor": DICTIONARY["log-det"]},
    {"ema_rate": 1.0},
)


@pytest.mark.parametrize(
    ("model", "encoder", "predictor", "target", "name"),
    [
        (LEARNT, np.ones((2, 3)), P22, None, "encoder"),
        (LEARNT, np.ones(2), P22, None, "encoder"),
        (LEARNT, np.full((2, 2), np.inf), P22, None, "encoder"),
        (LEARNT, W22, None, None, "predictor"),
        (LEARNT, W22, np.eye(3), None, "predictor"),
        (LEARNT, W22, P22, 2 * W22, "target"),
        (EMA, W22, P22, np.ones((3, 2)), "target"),
        (EMA, W22, P22, np.ones((2, 3)), "target"),
        (EMA, W22, P22, np.full((2, 2), np.nan), "target"),
        (OPTIMAL, W22, P22, None, "predictor"),
        (OPTIMAL, np.ones((2, 2)), None, None, "encoder"),
        (OPTIMAL, np.zeros((1, 2)), None, None, "encoder"),
        (OPTIMAL, np.vstack((W22, W22)), None, None, "encoder"),
        (FIXED, W22, P22, None, "predictor"),
        (FIXED, np.ones((2, 2)), None, None, "encoder"),
    ],
)
def test_bad_states_are_refused(
    model: dict[str, object], encoder: Array, predictor: Array | None, target: Array | None, name: str
) -> None:
    jepa = LinearJEPA(sampled(0, 2)[2], **model)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        jepa.solve(encoder, predictor, [0.0, 1.0], target)
    assert caught.value.argument == name


def test_total_is_the_sum_of_the_parts() -> None:
    assert Forces(*(np.full((1, 1), 10.0**i) for i in range(4))).total == 1111
