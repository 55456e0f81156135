"""Views: what is accepted, what is refused and how, and what they report about themselves."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from linear_models_strategies import Drawn, drawn_views, examples

from jepalign.errors import InputError
from jepalign.linear_models.views import ViewPair

EYE = np.eye(2)
SKEW = np.array([[1.0, 0.3], [0.0, 1.0]])
INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])

REFUSED = {
    "context not square": (np.ones((2, 3)), EYE, EYE, "context", "square"),
    "context not a matrix": (np.ones(2), EYE, EYE, "context", "matrix"),
    "context empty": (np.ones((0, 0)), EYE, EYE, "context", "matrix"),
    "context of text": (np.array([["a"]]), EYE, EYE, "context", "real numbers"),
    "context complex": (EYE * 1j, EYE, EYE, "context", "real numbers"),
    "context ragged": ([[1.0], [1.0, 2.0]], EYE, EYE, "context", "real numbers"),
    "context NaN": (EYE * np.nan, EYE, EYE, "context", "finite"),
    "target infinite": (EYE, np.full((2, 2), np.inf), EYE, "target", "finite"),
    "target of another size": (EYE, np.eye(3), EYE, "target", "(2, 2)"),
    "cross of another size": (EYE, EYE, np.eye(3), "cross", "(2, 2)"),
    "context not symmetric": (SKEW, EYE, 0 * EYE, "context", "symmetric"),
    "target not symmetric": (EYE, SKEW, 0 * EYE, "target", "symmetric"),
    "context indefinite": (INDEFINITE, EYE, 0 * EYE, "context", "positive semidefinite"),
    "target of negative variance": (EYE, np.diag([1.0, -1.0]), 0 * EYE, "target", "positive semidefinite"),
    "no variance but covariance": (np.array([[0.0, 1.0], [1.0, 1.0]]), EYE, 0 * EYE, "context", "semidefinite"),
    "an entry too large": (EYE, EYE, np.diag([1.1, 0.0]), "cross", "Cauchy–Schwarz"),
    "a direction too large": (EYE, EYE, np.full((2, 2), 0.9), "cross", "Cauchy–Schwarz"),
    "covariance without variance": (np.diag([1.0, 0.0]), EYE, np.full((2, 2), 0.1), "cross", "Cauchy–Schwarz"),
    # A violation in a direction of small variance, which an absolute tolerance would take for rounding.
    "small units": (np.diag([1.0, 1e-14]), np.diag([1.0, 1e-14]), np.diag([0.5, 2e-14]), "cross", "Cauchy–Schwarz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_covariances_are_refused_by_name(case: str) -> None:
    context, target, cross, argument, condition = REFUSED[case]
    with pytest.raises(InputError) as caught:
        ViewPair.from_covariances(context, target, cross)
    assert caught.value.argument == argument
    assert condition in caught.value.condition
    assert "\n" not in str(caught.value)


def test_the_reported_mode_does_violate_cauchy_schwarz() -> None:
    with pytest.raises(InputError, match=r"covariance (\S+) between variances (\S+) and (\S+):") as caught:
        ViewPair.from_covariances(EYE, EYE, np.full((2, 2), 0.9))
    words = str(caught.value).replace(":", "").split()
    cross, context, target = (float(words[words.index(word) + 1]) for word in ("covariance", "variances", "and"))
    assert cross**2 > context * target


def test_rounding_is_not_refused() -> None:
    # ρ = 1 exactly: the joint covariance is singular, and its smallest eigenvalue is rounding of either sign. In units
    # of its own standard deviations this sample has a condition number below 10, whatever the units of its columns.
    generator = np.random.default_rng(0)
    for size in range(1, 9):
        x = generator.normal(size=(50, size)) * 10.0 ** np.arange(size)
        assert np.allclose(ViewPair.from_samples(x, x).correlations(), 1, rtol=1e-11)


def test_views_are_frozen_copies() -> None:
    given_matrix = np.eye(2)
    views = ViewPair.from_covariances(given_matrix, given_matrix, 0.5 * given_matrix)
    given_matrix[0, 0] = 7
    assert views.context[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        views.cross[0, 0] = 2
    with pytest.raises(ValueError, match="read-only"):
        views.joint_root[0, 0] = 2


@pytest.mark.parametrize("unit", [1e-200, 1e-160, 1e160, 1e300])
def test_units_do_not_matter(unit: float) -> None:
    # The product of two such variances is 0 or infinite in float64, which must neither refuse views nor pass for them.
    views = ViewPair.from_covariances(unit * EYE, unit * EYE, 0.5 * unit * EYE)
    assert views.exchangeable
    assert np.allclose(views.correlations(), 0.5, rtol=1e-14)
    assert not ViewPair.from_covariances(unit * EYE, 2 * unit * EYE, 0.5 * unit * EYE).exchangeable
    with pytest.raises(InputError, match="Cauchy–Schwarz"):
        ViewPair.from_covariances(unit * EYE, unit * EYE, 1.1 * unit * EYE)


def test_views_survive_pickling_and_stay_read_only() -> None:
    views = ViewPair.from_covariances(EYE, 2 * EYE, SKEW / 2)
    for copied in (pickle.loads(pickle.dumps(views)), copy.deepcopy(views)):  # noqa: S301
        assert np.array_equal(copied.joint, views.joint)
        assert not copied.cross.flags.writeable


@given(drawn_views())
@examples(60)
def test_correlations_are_those_prescribed(drawn: Drawn) -> None:
    # Whitening by an eigendecomposition amplifies the rounding of Σ by its condition number.
    tolerance = 50 * drawn.views.dimension * drawn.condition * np.finfo(float).eps
    expected = np.sort(np.abs(drawn.correlations))[::-1]
    assert np.allclose(drawn.views.correlations(), expected, atol=tolerance, rtol=0)


@given(drawn_views())
@examples(40)
def test_prescribed_condition_is_met(drawn: Drawn) -> None:
    values = np.linalg.eigvalsh(drawn.views.context)
    assert np.isclose(values[-1] / values[0], drawn.condition, rtol=100 * drawn.condition * np.finfo(float).eps)


def test_strategy_reaches_every_kind_of_views() -> None:
    kinds = {
        "one dimension": lambda one: one.views.dimension == 1,
        "eight dimensions": lambda one: one.views.dimension == 8,
        "ill-conditioned": lambda one: one.condition > 1e5,
        "well-conditioned": lambda one: one.views.dimension > 2 and one.condition < 2,
        "exchangeable": lambda one: one.views.dimension > 1 and one.views.exchangeable,
        "not exchangeable": lambda one: not one.views.exchangeable,
        "anticorrelated": lambda one: one.correlations.min() < -0.2,
    }
    for holds in kinds.values():
        find(drawn_views(), holds, settings=settings(examples(300), phases=[Phase.generate]))


@given(drawn_views(dimensions=(2, 6), conditions=(0, 4)))
@examples(20)
def test_a_stretched_cross_covariance_is_refused(drawn: Drawn) -> None:
    views = drawn.views
    # The largest correlation is 0.95: stretched to 1.045 it breaks Cauchy–Schwarz in one direction, usually no entry's.
    with pytest.raises(InputError, match="Cauchy–Schwarz"):
        ViewPair.from_covariances(views.context, views.target, 1.1 * views.cross)


def test_samples_give_their_second_moments() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.normal(loc=3, size=(2, 40, 3))
    views = ViewPair.from_samples(x, y)
    joint = np.cov(np.hstack((x, y)).T, bias=True)
    # Sums of 40 products of size at most 40: 40 units of rounding, and the centring as many again.
    assert np.allclose(views.joint, joint, rtol=0, atol=1e-13)
    raw = ViewPair.from_samples(x, y, center=False)
    assert np.allclose(raw.cross, np.mean([np.outer(b, a) for a, b in zip(x, y, strict=True)], axis=0), atol=1e-12)
    assert not views.exchangeable


def test_symmetrized_samples_are_exchangeable() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 30, 4))
    y += 5
    views = ViewPair.from_samples(x, y, symmetrize=True)
    pooled = np.concatenate((x, y))
    assert views.exchangeable
    assert np.array_equal(views.cross, views.cross.T)
    assert np.allclose(views.context, np.cov(pooled.T, bias=True), atol=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "argument", "condition"),
    [
        (np.ones((1, 2)), np.ones((1, 2)), "x", "at least 2 samples"),
        (np.ones((3, 2)), np.ones((4, 2)), "y", "(3, 2)"),
        (np.ones((3, 2)), np.ones((3, 1)), "y", "(3, 2)"),
        (np.ones(3), np.ones(3), "x", "matrix"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "x", "finite"),
    ],
)
def test_bad_samples_are_refused(x: np.ndarray, y: np.ndarray, argument: str, condition: str) -> None:
    with pytest.raises(InputError) as caught:
        ViewPair.from_samples(x, y)
    assert caught.value.argument == argument
    assert condition in caught.value.condition


def test_additive_noise() -> None:
    signal, noise = np.diag([2.0, 0.0]), np.diag([1.0, 3.0])
    views = ViewPair.additive_noise(signal, noise)
    assert np.array_equal(views.context, signal + noise)
    assert np.array_equal(views.cross, signal)
    assert np.allclose(views.correlations(), [2 / 3, 0])
    for name, arguments in {"signal": (-signal, noise), "noise": (signal, SKEW)}.items():
        with pytest.raises(InputError) as caught:
            ViewPair.additive_noise(*arguments)
        assert caught.value.argument == name
    with pytest.raises(InputError, match=r"noise = .*\(2, 2\)"):
        ViewPair.additive_noise(signal, np.eye(3))


def test_modes_of_aligned_views() -> None:
    generator = np.random.default_rng(3)
    axes = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    # Repeated eigenvalues in either matrix, and in both at once: only together do they tell the directions apart.
    variance, cross = np.array([2.0, 2.0, 1.0, 1.0, 1.0]), np.array([0.7, -0.4, 0.7, 0.1, 0.1])
    sigma, c = (axes * values @ axes.T for values in (variance, cross))
    modes = ViewPair.from_covariances(sigma, sigma + np.eye(5), c).modes()
    order = np.argsort(-cross, kind="stable")
    assert np.allclose(modes.cross, cross[order], atol=1e-14)
    assert np.allclose(np.sort(modes.variance[:2]), [1, 2])
    assert np.allclose(modes.variance[2:], variance[order][2:])
    assert np.allclose(modes.directions * modes.cross @ modes.directions.T, c, atol=1e-14)
    assert np.allclose(modes.directions * modes.variance @ modes.directions.T, sigma, atol=1e-14)


@pytest.mark.parametrize("cross", [np.array([[0.0, 0.5], [-0.5, 0.0]]), np.full((2, 2), 0.3)])
def test_views_that_are_not_aligned_have_no_modes(cross: np.ndarray) -> None:
    with pytest.raises(InputError, match="cross"):
        ViewPair.from_covariances(np.diag([1.0, 2.0]), np.diag([1.0, 2.0]), cross).modes()
