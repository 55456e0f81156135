"""The dictionary's numbers against multiple precision and quadrature; the map's numbers against their definitions."""

import pickle
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from linear_models_strategies import Drawn, drawn_views, examples, orthogonal, with_singular_values

from jepalign.errors import InputError
from jepalign.linear_models import DICTIONARY, LinearJEPA, ViewPair, effective_coefficient, mode_forces, power_gap
from jepalign.linear_models.dictionary import SpectralPredictor

EPS = np.finfo(float).eps

# u(s) of every entry as its authors' functional has it, per eigenvalue; g and G follow from it by definition.
UNIFORMITY: dict[str, Callable[[Any], Any]] = {
    "spectral-contrastive": lambda s: (s - 1) ** 2 / 2 - mpmath.mpf(1) / 2,
    "gaussian-infonce": lambda s: -mpmath.log(1 + s) / 2 - s / (1 + s) / 2,
    "log-det": lambda s: -mpmath.log(s),
    "directpred": lambda s: 2 * s ** mpmath.mpf("1.5") / 3 - s,
    "no-predictor": lambda s: mpmath.mpf(0),
}
DECADES = 10.0 ** np.arange(-20.0, 21.0)
# Where a formula could cancel: zeros of u and of g, the changes of method, and their neighbours in float64.
AWKWARD = np.concatenate([np.nextafter(x, [0, x, 10]) for x in (0.5, 1.0, 2.0, 2.25)])


def close(found: Any, expected: list[Any]) -> bool:
    """Whether float64 values agree with multiple precision to eight units of rounding each."""
    pairs = zip(np.ravel(found), expected, strict=True)
    return all(abs(mpmath.mpf(float(a)) - b) <= 8 * EPS * abs(b) for a, b in pairs)


@pytest.mark.parametrize("name", DICTIONARY)
def test_spectra_over_forty_decades(name: str) -> None:
    entry, u = DICTIONARY[name], UNIFORMITY[name]
    points = np.concatenate((DECADES, AWKWARD))
    with mpmath.workdps(90):
        exact = [mpmath.mpf(float(s)) for s in points]
        assert close(entry.uniformity(points), [u(s) for s in exact])
        assert close(entry.antiderivative(points), [s + u(s) for s in exact])
        # A central difference of relative width 1e-25 in 90 digits: g to 50 digits (1 + u' cancels up to 20 more).
        step = mpmath.mpf(10) ** -25
        slope = [1 + (u(s * (1 + step)) - u(s * (1 - step))) / (2 * s * step) for s in exact]
        slope = [mpmath.mpf(0) if abs(g) < mpmath.mpf(10) ** -40 else g for g in slope]
        assert close(entry.spectrum(points), slope)


@pytest.mark.parametrize("name", DICTIONARY)
def test_spectra_at_zero_and_of_scalars(name: str) -> None:
    entry = DICTIONARY[name]
    assert entry.name == name
    limits = {"log-det": (-np.inf, np.inf, np.inf), "no-predictor": (1, 0, 0)}.get(name, (0, 0, 0))
    assert (entry.spectrum(0.0), entry.antiderivative(0.0), entry.uniformity(0.0)) == limits
    for function in (entry.spectrum, entry.antiderivative, entry.uniformity):
        assert np.shape(function(np.ones((2, 3)))) == (2, 3)
        for bad in (-1e-300, np.nan, [1.0, -1.0], np.inf):
            with pytest.raises(InputError, match="at least 0"):
                function(bad)


@pytest.mark.parametrize("name", DICTIONARY)
def test_spectra_at_the_ends_of_the_range(name: str) -> None:
    entry, points = DICTIONARY[name], np.array([5e-324, 1e-310, 1e-300, 1.5e154, 1e300, 1.7e308])
    # As 1 ≪ s or s ≪ 1 leaves one term standing; values beyond float64 are infinite, and nothing is a NaN or a warning.
    tiny, huge = points[:3], points[3:]
    with np.errstate(over="ignore"):
        small, large = {
            "spectral-contrastive": (tiny, huge),
            "gaussian-infonce": (1.5 * tiny, 1 + 0 * huge),
            "log-det": (-1 / tiny, 1 + 0 * huge),
            "directpred": (np.sqrt(tiny), np.sqrt(huge)),
            "no-predictor": (1 + 0 * tiny, 1 + 0 * huge),
        }[name]
    assert np.allclose(entry.spectrum(points), np.concatenate((small, large)), rtol=1e-15, atol=0)
    assert not np.isnan(entry.antiderivative(points)).any()
    assert not np.isnan(entry.uniformity(points)).any()
    # s²/2 where s² is too large.
    assert np.isfinite(entry.antiderivative(1.5e154))


def test_spectra_are_new_arrays() -> None:
    s = np.ones(3)
    for entry in DICTIONARY.values():
        for function in (entry.spectrum, entry.antiderivative, entry.uniformity):
            assert not np.shares_memory(function(s), s)
            assert isinstance(function(1.0), float)


def test_entries_travel_to_other_processes() -> None:
    for entry in DICTIONARY.values():
        assert pickle.loads(pickle.dumps(entry)) == entry  # noqa: S301


@pytest.mark.parametrize("variance", [0.3, 1.7])
@pytest.mark.parametrize("rho", [0.2, 0.8])
def test_gaussian_infonce_is_half_the_loss_by_quadrature(variance: float, rho: float) -> None:
    # ½ E(z−z⁺)² + E_z log E_z' exp(−½(z−z')²) at one dimension. Gauss–Hermite with 80 nodes is exact to rounding for
    # these analytic integrands of width one.
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z, weights = nodes * np.sqrt(variance), weights / weights.sum()
    negatives = weights @ np.log(np.exp(-((z[:, None] - z) ** 2) / 2) @ weights)
    loss = variance * (1 - rho) + negatives
    entry = DICTIONARY["gaussian-infonce"]
    assert np.isclose(entry.antiderivative(variance) - rho * variance, loss, rtol=1e-12)


def test_optimum_of_gaussian_infonce_is_where_the_predictor_is_the_correlation() -> None:
    rho = np.linspace(0.01, 0.99, 99)
    v = (np.sqrt(9 - 8 * rho) - 1) / 2
    # s = 1/v − 1 loses a digit or two near ρ = 0, where v is near 1.
    assert np.allclose(DICTIONARY["gaussian-infonce"].spectrum(1 / v - 1), rho, rtol=0, atol=10 * EPS)


@pytest.mark.parametrize("name", DICTIONARY)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 8))
@examples(10)
def test_matrix_function_and_trace(name: str, seed: int, size: int) -> None:
    entry, generator = DICTIONARY[name], np.random.default_rng(seed)
    variances, axes = generator.uniform(0.1, 3, size=size), orthogonal(generator, size)
    phi = axes * variances @ axes.T
    # |g'| ≤ 100 on this spectrum (log-det at 0.1); eigh and the products are off by some units of size 3 per dimension.
    tolerance = 100 * 30 * size * EPS
    assert np.allclose(entry.matrix(phi), axes * entry.spectrum(variances) @ axes.T, atol=tolerance)
    assert np.isclose(entry.trace_antiderivative(phi), entry.antiderivative(variances).sum(), atol=tolerance)


def test_matrix_of_a_singular_moment() -> None:
    z = np.array([[1.0, 2.0, -1.0], [0.5, 1.0, 3.0]])  # two samples in three dimensions
    phi = z.T @ z / 2
    assert np.allclose(DICTIONARY["directpred"].matrix(phi) @ DICTIONARY["directpred"].matrix(phi), phi, atol=1e-14)
    with pytest.raises(InputError, match="positive definite for log-det"):
        DICTIONARY["log-det"].matrix(np.diag([1.0, 0.0]))
    assert DICTIONARY["log-det"].trace_antiderivative(np.diag([1.0, 0.0])) == np.inf


@pytest.mark.parametrize(
    ("moment", "condition"),
    [
        (np.ones((2, 3)), "square"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (np.diag([1.0, -0.1]), "positive semidefinite"),
        (np.full((2, 2), np.nan), "finite"),
        (np.ones(2), "matrix"),
    ],
)
def test_bad_moments_are_refused(moment: np.ndarray, condition: str) -> None:
    for method in (DICTIONARY["directpred"].matrix, DICTIONARY["directpred"].trace_antiderivative):
        with pytest.raises(InputError, match=condition) as caught:
            method(moment)
        assert caught.value.argument == "moment"


def test_one_can_add_an_entry() -> None:
    half = SpectralPredictor(
        "half", "½", lambda s: 0.5 + 0 * np.asarray(s), lambda s: np.asarray(s) / 2, lambda s: -np.asarray(s) / 2, ""
    )
    assert np.allclose(half.matrix(np.diag([1.0, 4.0])), np.eye(2) / 2)
    assert half.trace_antiderivative(np.diag([1.0, 4.0])) == 2.5


finite = st.floats(-3, 3, allow_nan=False)


@given(finite, finite, finite, st.floats(0.01, 3))
@examples(50)
def test_mode_forces_are_the_forces_of_a_one_dimensional_jepa(w: float, p: float, rho: float, sigma: float) -> None:
    lam = rho / 3 * sigma  # |λ| ≤ σ, as views of one variance allow
    views = ViewPair.from_covariances([[sigma]], [[sigma]], [[lam]])
    jepa, arguments = LinearJEPA(views), ([[w]], [[p]])
    parts, forces = jepa.forces(*arguments), mode_forces(w, p, lam, sigma)

    def close_enough(a: np.ndarray, b: np.ndarray | float) -> bool:
        # At most ten products of numbers up to 3: a few units of rounding of 3⁵.
        return np.allclose(a, b, rtol=1e-13, atol=1e-13)

    assert close_enough(forces.attraction, parts.attraction)
    assert close_enough(forces.repulsion, parts.implicit_repulsion)
    assert close_enough(forces.total, parts.total)
    assert close_enough(forces.total, (lam - sigma) * w + forces.surplus)
    assert close_enough(forces.power, jepa.power(*arguments).power)
    if p > lam / sigma - 1 and w != 0 and abs(forces.surplus) > 1e-12:
        assert (forces.surplus * w > 0) == (p < 1)


@given(st.floats(0.1, 2), st.floats(-1.5, 1.5), st.floats(-0.99, 0.99), st.floats(0.1, 3))
@examples(50)
def test_effective_coefficient_gives_the_force_of_the_jepa(w: float, p: float, rho: float, sigma: float) -> None:
    lam = rho * sigma
    s = w * w * sigma
    assume(abs(1 - s) > 1e-3)  # near the pole the force below is a product of a large and a small number
    explicit = w * (lam - sigma) + effective_coefficient(w, p, lam, sigma) * (1 - s) * w * sigma
    # 1 − s loses up to three digits.
    assert np.isclose(explicit, mode_forces(w, p, lam, sigma).total, rtol=0, atol=1e-11)


def test_effective_coefficient_at_its_landmarks() -> None:
    lam, sigma, alpha = 0.6, 0.8, 1.3
    rho = lam / sigma
    w = 1e-9
    assert np.isclose(effective_coefficient(w, np.sqrt(alpha) * w, lam, sigma), 1 - rho, atol=1e-8)
    w = rho / np.sqrt(alpha)
    assert np.isclose(effective_coefficient(w, rho, lam, sigma), alpha * (1 - rho) / (alpha - rho**2 * sigma))
    # With σ = α the balanced coefficient has no pole: 1 − ρ/(1+p).
    p = np.array([0.3, 0.9, 1.2])
    assert np.allclose(effective_coefficient(p / np.sqrt(sigma), p, lam, sigma), 1 - rho / (1 + p))
    assert np.isinf(effective_coefficient(1.0, 0.5, 0.5, 1.0))
    assert np.isnan(effective_coefficient(1.0, 1.0, 0.5, 1.0))


def test_mode_arguments_broadcast_or_are_refused() -> None:
    assert mode_forces(np.ones((4, 1)), np.ones(3), 0.5, 1.0).total.shape == (4, 3)
    for bad, argument in (
        ((np.ones(2), np.ones(3), 1, 1), "weight, predictor, cross, variance"),
        ((1, np.nan, 1, 1), "predictor"),
        ((1, 1, 1, -1), "variance"),
    ):
        with pytest.raises(InputError) as caught:
            mode_forces(*bad)
        assert caught.value.argument == argument
    with pytest.raises(InputError, match="above 0"):
        effective_coefficient(1, 1, 0, 0)


def looped(z: np.ndarray, z_plus: np.ndarray, P: np.ndarray) -> dict[str, float]:
    """Return the terms of 2.4 sample by sample, as the identity is stated."""
    n = len(z)
    power = sum(a @ P.T @ (b - P @ a) - a @ (b - a) for a, b in zip(z, z_plus, strict=True)) / n
    alignment = sum((a - b) @ (a - b) for a, b in zip(z, z_plus, strict=True)) / (2 * n)
    correction = sum((P @ a) @ (b - P @ a) for a, b in zip(z, z_plus, strict=True)) / n
    asymmetry = sum(a @ a - b @ b for a, b in zip(z, z_plus, strict=True)) / (2 * n)
    return {"power": power, "alignment": alignment, "correction": correction, "asymmetry": asymmetry}


@pytest.mark.parametrize("learnt", [True, False])
@given(seed=st.integers(0, 2**32), width=st.integers(1, 6))
@examples(15)
def test_power_gap_is_the_identity_sample_by_sample(learnt: bool, seed: int, width: int) -> None:
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(20, width)) + 1  # neither centred
    z_plus = z**2 + generator.normal(size=(20, width))  # nor linearly related
    P = generator.normal(size=(width, width)) if learnt else np.linalg.lstsq(z, z_plus, rcond=None)[0].T
    found = power_gap(z, z_plus, P if learnt else None)
    # 20 products of sizes up to 10²·|P|²: 200 units of rounding of 10⁴.
    tolerance = 200 * EPS * 1e4
    for name, value in looped(z, z_plus, P).items():
        assert getattr(found, name) == pytest.approx(value, abs=tolerance)
    assert abs(found.gap) < tolerance
    if not learnt:
        assert abs(found.correction) < tolerance
    both = power_gap(z, z_plus, symmetrize=True)
    assert both.power == pytest.approx(both.alignment, abs=tolerance)
    assert abs(both.asymmetry) < tolerance


def test_the_special_identity_fails_without_its_assumptions() -> None:
    generator = np.random.default_rng(5)
    z = generator.normal(size=(30, 3))
    z_plus = 2 * z
    # y = 2x is predicted perfectly, P = 2I: no residual, but the views differ in variance.
    one_order = power_gap(z, z_plus)
    assert one_order.power < -0.5 < 0.5 < one_order.alignment
    wrong = power_gap(z, z_plus, np.eye(3), symmetrize=True)  # not the least-squares predictor: no surplus at all
    assert abs(wrong.power) < 1e-13
    assert wrong.alignment > 0.5


@given(drawn_views(dimensions=(1, 5), conditions=(0, 2)))
@examples(15)
def test_power_of_a_jepa_is_that_of_its_samples(drawn: Drawn) -> None:
    generator, d = drawn.rng, drawn.views.dimension
    x, y = generator.normal(size=(2, 40, d))
    W = with_singular_values(generator, np.ones(drawn.width()), d)
    V = generator.normal(size=W.shape)
    views = ViewPair.from_samples(x, y, center=False)
    expected = power_gap(x @ W.T, y @ V.T)
    found = LinearJEPA(views, predictor_rate=np.inf, ema_rate=1.0).power(W, None, V)
    for name in ("power", "alignment", "correction", "asymmetry", "gap"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-11)
    assert abs(found.gap) < 1e-11


def test_power_at_a_decayed_equilibrium_pays_for_the_decay() -> None:
    sigma, lam, eta = np.array([1.0, 1.5]), np.array([0.9, 0.7]), 0.03
    p = (lam + np.sqrt(lam**2 - 4 * eta * sigma)) / (2 * sigma)
    views = ViewPair.from_covariances(np.diag(sigma), np.diag(sigma), np.diag(lam))
    jepa = LinearJEPA(views, weight_decay=eta)
    assert np.abs(jepa.forces(np.diag(p), np.diag(p)).total).max() < 1e-15
    found = jepa.power(np.diag(p), np.diag(p))
    assert found.correction == pytest.approx(eta * (p**2).sum(), rel=1e-12)
    assert found.power == pytest.approx(found.alignment + eta * (p**2).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("z", "z_plus", "predictor", "argument"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), None, "z_plus"),
        (np.ones((3, 2)), np.ones((3, 1)), None, "z_plus"),
        (np.ones((1, 2)), np.ones((1, 2)), None, "z"),
        (np.ones((3, 2)), np.ones((3, 2)), np.eye(3), "predictor"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), None, "z"),
        (np.ones(3), np.ones(3), None, "z"),
    ],
)
def test_bad_embeddings_are_refused(
    z: np.ndarray, z_plus: np.ndarray, predictor: np.ndarray | None, argument: str
) -> None:
    with pytest.raises(InputError) as caught:
        power_gap(z, z_plus, predictor)
    assert caught.value.argument == argument
