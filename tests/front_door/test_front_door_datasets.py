"""The digits and their views: the numbers promised, and the randomness promised."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from jepalign.datasets import digits, two_views
from jepalign.errors import InputError
from jepalign.linear_models.views import ViewPair


def test_digits_are_grey_levels_with_labels() -> None:
    found = digits()
    assert found.images.shape == (1797, 64)
    assert found.images.dtype == np.float64
    assert found.labels.shape == (1797,)
    assert (found.images.min(), found.images.max()) == (0, 1)
    assert np.array_equal(np.unique(found.labels), np.arange(10))
    # The file's grey levels are whole sixteenths.
    assert np.array_equal(found.images * 16, np.round(found.images * 16))


def test_views_have_no_mean_together_though_each_has_one() -> None:
    x, y = two_views(digits().images)
    assert x.shape == y.shape == (1797, 64)
    # A mean of 3594 numbers of size about 1: a few units of rounding.
    assert np.abs(x.mean(axis=0) + y.mean(axis=0)).max() < 1e-14
    assert np.abs(x.mean(axis=0)).max() > 1e-4
    ViewPair.from_samples(x, y)  # they satisfy Cauchy–Schwarz, as all samples do


def test_noise_and_mask_have_the_prescribed_strength() -> None:
    samples, noise, mask = 40_000, 0.2, 0.3
    level = np.array([0.8, 0.4])
    x, y = two_views(np.tile(level, (samples, 1)), noise=noise, mask=mask, seed=1)
    # A pixel is b(c + noise·ξ), b = 0 with probability m: variance (1−m)(noise² + m c²), and independent views. Five
    # standard errors; a fourth moment of at most 3 variances squared bounds the error of a variance by √(2/n).
    variance = (1 - mask) * (noise**2 + mask * level**2)
    assert np.allclose(x.var(axis=0), variance, rtol=5 * np.sqrt(2 / samples))
    assert np.allclose(y.var(axis=0), variance, rtol=5 * np.sqrt(2 / samples))
    assert np.abs((x * y).mean(axis=0)).max() < 5 * variance.max() / np.sqrt(samples)
    zero = np.sort(x[:, 0])  # the masked pixels, all at minus the mean
    value = -(1 - mask) * level[0]
    masked = np.isclose(zero, value, atol=0.01).mean()
    # Unmasked pixels come within 0.01 of it with probability about 0.02·density(−4 deviations) < 1e-4.
    assert masked == pytest.approx(mask, abs=5 * np.sqrt(mask * (1 - mask) / samples) + 1e-4)


def test_views_depend_on_the_seed_alone() -> None:
    images = digits().images[:50]
    first, again, other = two_views(images, seed=3), two_views(images, seed=3), two_views(images, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])


def test_without_noise_and_mask_both_views_are_the_centred_image() -> None:
    images = digits().images[:20]
    x, y = two_views(images, noise=0, mask=0)
    assert np.array_equal(x, y)
    assert np.allclose(x, images - images.mean(axis=0), atol=1e-15)


@pytest.mark.parametrize(
    ("images", "arguments", "name"),
    [
        (np.ones(3), {}, "images"),
        (np.ones((0, 3)), {}, "images"),
        (np.full((2, 2), np.nan), {}, "images"),
        (np.ones((2, 2)), {"noise": -0.1}, "noise"),
        (np.ones((2, 2)), {"noise": np.nan}, "noise"),
        (np.ones((2, 2)), {"noise": np.inf}, "noise"),
        (np.ones((2, 2)), {"mask": -0.1}, "mask"),
        (np.ones((2, 2)), {"mask": 1.1}, "mask"),
        (np.ones((2, 2)), {"seed": -1}, "seed"),
        (np.ones((2, 2)), {"seed": 0.5}, "seed"),
        (np.array([["a"]]), {}, "images"),
        (np.eye(2) * 1j, {}, "images"),
        ([[1.0], [1.0, 2.0]], {}, "images"),
    ],
)
def test_bad_arguments_are_refused_by_name(images: ArrayLike, arguments: dict[str, float], name: str) -> None:
    with pytest.raises(InputError) as caught:
        two_views(images, **arguments)  # type: ignore[arg-type]
    assert caught.value.argument == name
