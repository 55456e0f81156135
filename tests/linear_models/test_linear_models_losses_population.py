"""What sampled losses of linear encoders tend to: the population formulas, exactly where a loss is one of second moments."""

from typing import Literal

import numpy as np
import pytest

from jepalign.linear_models import BarlowTwins, InfoNCE, LinearJEPA, SpectralContrastive, VICReg, ViewPair, losses
from jepalign.linear_models.uniformity import LogDet, SIGReg

Array = np.ndarray


def problem(seed: int) -> tuple[ViewPair, Array]:
    """Return views that are not exchangeable, of dimension 4, and an encoder of 3 dimensions."""
    rng = np.random.default_rng(seed)
    joint = rng.standard_normal((8, 12))
    covariance = joint @ joint.T / 12
    covariance[:4, 4:] += 0.2 * np.eye(4)
    covariance[4:, :4] += 0.2 * np.eye(4)
    covariance += 0.3 * np.eye(8)
    views = ViewPair.from_covariances(covariance[:4, :4], covariance[4:, 4:], covariance[4:, :4])
    return views, 0.5 * rng.standard_normal((3, 4))


def matched(views: ViewPair, n: int, seed: int) -> tuple[Array, Array]:
    """Return n samples with mean 0 whose second moments over n are those of the views, to rounding."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal((n, 8))
    draw -= draw.mean(axis=0)
    joint = np.block([[views.context, views.cross.T], [views.cross, views.target]])
    white = draw @ np.linalg.inv(np.linalg.cholesky(draw.T @ draw / n)).T
    both = white @ np.linalg.cholesky(joint).T
    return both[:, :4], both[:, 4:]


def gaussian(views: ViewPair, n: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    joint = np.block([[views.context, views.cross.T], [views.cross, views.target]])
    both = rng.standard_normal((n, 8)) @ np.linalg.cholesky(joint).T
    return both[:, :4], both[:, 4:]


def pulled_back(found: losses.LossGradient, x: Array, y: Array) -> Array:
    """Return the gradient with respect to the encoder."""
    return found.first.T @ x + found.second.T @ y


# Sums of 40 products with moments of condition below 100: a few hundred ε.
EXACT = 1e-13


@pytest.mark.parametrize("seed", range(6))
def test_losses_of_second_moments_are_the_population_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 4)) + 0.3, rng.standard_normal((40, 4))
    y += x
    W, n = 0.4 * rng.standard_normal((3, 4)), 40
    raw, central = ViewPair.from_samples(x, y, center=False), ViewPair.from_samples(x, y)
    z1, z2 = x @ W.T, y @ W.T
    spectral = losses.spectral_contrastive(z1, z2, convention="all")
    model = SpectralContrastive(raw)
    assert spectral.value == pytest.approx(model.loss(W), rel=EXACT, abs=EXACT)
    np.testing.assert_allclose(pulled_back(spectral, x, y), model.gradient(W), atol=10 * EXACT)

    P = rng.standard_normal((3, 3))
    predicted = losses.prediction(z1 @ P.T, z2)
    assert predicted.value == pytest.approx(LinearJEPA(raw).loss(W, P), rel=EXACT, abs=EXACT)

    barlow = losses.barlow_twins(z1, z2)
    twins = BarlowTwins(central, form="published")
    assert barlow.value == pytest.approx(twins.loss(W), rel=EXACT, abs=EXACT)
    np.testing.assert_allclose(pulled_back(barlow, x, y), twins.gradient(W), atol=10 * EXACT)

    both = [LogDet().value(W @ moment @ W.T) for moment in (central.context, central.target)]
    assert losses.log_det(z1, z2).value == pytest.approx(np.mean(both), rel=EXACT, abs=EXACT)

    for convention in ("paper", "lightly", "solo-learn"):
        # Moments over n − 1 throughout; the invariance, of raw differences over n, is held apart.
        options = {"variance": 25.0, "covariance": 1.0, "convention": convention}
        wide = ViewPair.from_covariances(
            *(part * n / (n - 1) for part in (central.context, central.target, central.cross))
        )
        found = losses.vicreg(z1, z2, invariance=0.0, **options)  # pyright: ignore[reportArgumentType]
        vicreg = VICReg(wide, invariance=0.0, **options)  # pyright: ignore[reportArgumentType]
        assert found.value == pytest.approx(vicreg.loss(W), rel=EXACT, abs=EXACT)
        np.testing.assert_allclose(pulled_back(found, x, y), vicreg.gradient(W), atol=100 * EXACT)
        found = losses.vicreg(z1, z2, variance=0.0, covariance=0.0, convention=convention)
        vicreg = VICReg(raw, variance=0.0, covariance=0.0, convention=convention)
        assert found.value == pytest.approx(vicreg.loss(W), rel=EXACT)


def test_matched_samples_have_the_moments() -> None:
    views, W = problem(1)
    x, y = matched(views, 50, 2)
    found = losses.spectral_contrastive(x @ W.T, y @ W.T, convention="all").value
    assert found == pytest.approx(SpectralContrastive(views).loss(W), rel=1e-12)


def test_other_pairs_are_unbiased() -> None:
    # "all" has a share 1/n of positives: E(z·z⁺)² − E(z·z⁻)² = (tr K)² + tr K² by Isserlis, K = WΣ_yxWᵀ. Five standard errors
    # of 5000 batches of 8; seeded, so that the one chance in a million is taken once.
    views, W = problem(2)
    exact, n, many = SpectralContrastive(views).loss(W), 8, 5000
    K = W @ views.cross @ W.T
    bias = (np.trace(K) ** 2 + np.trace(K @ K)) / n
    x, y = gaussian(views, n * many, 8)
    draws = np.array(
        [
            [losses.spectral_contrastive(z1, z2, convention=name).value for name in ("others", "all")]
            for z1, z2 in zip((x @ W.T).reshape(many, n, 3), (y @ W.T).reshape(many, n, 3), strict=True)
        ]
    )
    others, everyone = draws.mean(axis=0) - exact
    noise = 5 * draws.std(axis=0) / np.sqrt(many)
    assert abs(others) < noise[0]
    assert abs(everyone - bias) < noise[1]
    assert bias > noise.max()


@pytest.mark.parametrize("kernel", ["dot", "gaussian"])
@pytest.mark.parametrize("symmetrize", [False, True])
def test_infonce_tends_to_its_limit(kernel: Literal["dot", "gaussian"], symmetrize: bool) -> None:
    # Moments are matched, so that what remains is the negatives' 1/n bias and 1/√n noise of the logarithm: with
    # n = 4000 and e^{s} of relative variance of order 1, about 1e-2 of the loss's spread over anchors.
    views, full = problem(3)
    W = 0.6 * full
    x, y = matched(views, 4000, 4)
    found = losses.infonce(
        x @ W.T,
        y @ W.T,
        similarity=kernel,
        symmetrize=symmetrize,
        convention="mean",
    )
    swapped = ViewPair.from_covariances(views.target, views.context, views.cross.T)
    exact = InfoNCE(views, kernel=kernel).loss(W)
    if symmetrize:
        exact = (exact + InfoNCE(swapped, kernel=kernel).loss(W)) / 2
    assert abs(found.value - exact) < 1e-2
    # The wrong sign of the repulsion, or a factor 2 in it, is further away.
    attraction = -np.sum(W @ views.cross * W)
    if kernel == "dot":
        assert abs(2 * (exact - attraction) + attraction - exact) > 5e-2


def test_uniformity_tends_to_its_limit() -> None:
    views, W = problem(4)
    x, y = gaussian(views, 6000, 5)
    t = 0.3
    found = losses.uniformity(x @ W.T, y @ W.T, sharpness=t, normalize=False).value
    limits = [
        -np.linalg.slogdet(np.eye(3) + 4 * t * W @ moment @ W.T)[1] / 2 for moment in (views.context, views.target)
    ]
    # A U-statistic: the standard error is below 2/√n times the spread of the potential around its mean, at most 1.
    assert abs(found - np.mean(limits)) < 3 / np.sqrt(6000)
    assert abs(np.mean(limits)) > 10 / np.sqrt(6000)


def test_sigreg_tends_to_its_limit() -> None:
    views, W = problem(5)
    n = 40_000
    x, y = matched(views, n, 6)
    axes = np.random.default_rng(7).standard_normal((6, 3))
    found = losses.sigreg(x @ W.T, y @ W.T, directions=axes, scaled=False).value
    limits = [SIGReg(theta=0.5).sliced(W @ moment @ W.T, axes)[0] for moment in (views.context, views.target)]
    # The bias is ∫(1 − |φ|²)w/n < 2.6/n, the noise of φ_n at most 1/√n times the distance of the characteristic functions.
    assert abs(found - np.mean(limits)) < 3 / np.sqrt(n)
    assert np.mean(limits) > 10 / np.sqrt(n)
