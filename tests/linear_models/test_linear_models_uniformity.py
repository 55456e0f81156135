"""Explicit uniformity: forces against the theory's formulas, matrices against finite differences and against modes."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples, orthogonal

from jepalign.errors import InputError
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge, VICReg
from jepalign.theory.collapse.hybrid_sigreg import SIGREG, SIGREG_SLOPE, STATISTIC, theta
from jepalign.theory.setting import s, variance

ALL: tuple[Uniformity, ...] = (
    Spectral(),
    VarianceHinge(),
    SIGReg(),
    SIGReg(0.01),
    LogDet(),
    VICReg(),
    VICReg(2, 3, 0.1),
)
NAMED = pytest.mark.parametrize("term", ALL, ids=repr)
# Losses as they are printed, per mode: the reference from which forces follow by φ/σ = −2U′.
PRINTED: dict[str, Callable[[Any], Any]] = {
    "Spectral()": lambda v: (v - 1) ** 2 / 4,
    "VarianceHinge(epsilon=0.0001)": lambda v: max(mp.mpf(0), 1 - mp.sqrt(v + mp.mpf(1e-4))),
    "LogDet()": lambda v: -mp.log(v) / 2,
    "VICReg(variance=25.0, covariance=1.0, epsilon=0.0001)": lambda v: (
        25 * max(mp.mpf(0), 1 - mp.sqrt(v + mp.mpf(1e-4)))
    ),
}


def _sigreg(weight: float) -> Callable[[Any], Any]:
    formula: Any = sp.lambdify((s, theta), STATISTIC, "mpmath")
    return lambda v: formula(v, mp.mpf(weight))


for each in (0.5, 0.01):
    PRINTED[f"SIGReg(theta={each})"] = _sigreg(each)


@pytest.mark.parametrize("name", PRINTED)
@given(exponent=st.floats(-12, 12))
@examples(60)
def test_modes_are_the_printed_losses_and_forces(name: str, exponent: float) -> None:
    term = next(term for term in ALL if repr(term) == name)
    at = 10.0**exponent
    with mp.workdps(60):
        value = PRINTED[name](mp.mpf(at))
        slope = -2 * mp.diff(PRINTED[name], mp.mpf(at), h=mp.mpf(10) ** -18 * at)
        # 1 − s is right to rounding; (1 − ε) − s only to that of 1 − ε, which counts a times in U. The difference
        # quotient of order h² has a relative error of about 1e-36, and at the hinge's kink it is none.
        hinge = term.variance if isinstance(term, VICReg) else 0.0
        assert abs(term.mode_value(at) - value) <= 4e-15 * abs(value) + 2e-16 * hinge
        assert abs(term.coefficient(at) - slope) <= 4e-15 * abs(slope) + 1e-20


@given(exponent=st.floats(-12, 12), weight=st.floats(-6, 3))
@examples(100)
def test_sigreg_is_the_theorem(exponent: float, weight: float) -> None:
    at, decay = 10.0**exponent, 10.0**weight
    with mp.workdps(60):
        given_at = {s: sp.Float(at, 60), theta: sp.Float(decay, 60), variance: 1}
        force, steepness = (float(sp.N(formula.subs(given_at), 50)) for formula in (SIGREG, SIGREG_SLOPE))
    term = SIGReg(decay)
    assert abs(term.coefficient(at) - force) <= 6e-15 * abs(force)
    # The slope is a difference of two terms, of which the second is at most 2.83 times the first at its zero.
    assert abs(term.slope(at) - steepness) <= 4e-15 * (abs(steepness) + 3 * np.sqrt(np.pi) * (at + decay) ** -2.5)
    false = np.sqrt(np.pi) * ((at + decay) ** -1.5 - (at + 1 + decay) ** -1.5)
    assert abs(false - force) > 1e-9 * abs(force)


def test_lejepa_trapezoid_is_the_integral() -> None:
    # Poisson: steps h = 5/8 miss 2√(π/(s+θ)) e^{−π²/(h²(s+θ))} of the widest Gaussian, 1e-4 at s = 2; the ends, 1e-6.
    t = np.linspace(-5, 5, 17)
    for at in (0.0, 0.1, 0.5, 2.0):
        values = (np.exp(-at * t * t / 2) - np.exp(-t * t / 2)) ** 2 * np.exp(-t * t / 2)
        missed = 2 * np.sqrt(np.pi / (at + 0.5)) * np.exp(-((np.pi * 8 / 5) ** 2) / (at + 0.5))
        assert abs(np.trapezoid(values, t) - SIGReg(0.5).mode_value(at)) <= missed + 5e-6


def _moment(seed: int, size: int, top: float = 2.0) -> Any:
    rng = np.random.default_rng(seed)
    axes = orthogonal(rng, size)
    return axes * rng.uniform(0.1, top, size=size) @ axes.T


@NAMED
@given(seed=st.integers(0, 2**32), size=st.integers(1, 6))
@examples(15)
def test_gradient_is_the_derivative(term: Uniformity, seed: int, size: int) -> None:
    phi = _moment(seed, size, 0.9)  # below the hinge's kink
    step = np.random.default_rng(seed + 1).normal(size=(size, size))
    step = (step + step.T) / 2 / np.linalg.norm(step)
    gradient = term.gradient(phi)
    assert np.array_equal(gradient, gradient.T)
    h = 1e-4
    found = (term.value(phi + h * step) - term.value(phi - h * step)) / (2 * h)
    # h²/6 = 2e-9 times third derivatives, at most about 1e3·25 at a smallest eigenvalue of 0.1; rounding 1e-15/h · 50.
    assert found == pytest.approx(np.sum(gradient * step), abs=1e-4)
    assert abs(2 * np.sum(gradient * step) - found) > 1e-3 or abs(found) < 2e-3


@NAMED
def test_on_aligned_modes_matrices_are_modes(term: Uniformity) -> None:
    modes = np.array([0.05, 0.3, 0.7, 1.0, 1.4])
    assert term.value(np.diag(modes)) == pytest.approx(float(term.mode_value(modes).sum()), rel=1e-14)
    gradient = term.gradient(np.diag(modes))
    np.testing.assert_allclose(-2 * np.diag(gradient), term.coefficient(modes), rtol=1e-13, atol=1e-15)
    assert np.count_nonzero(gradient - np.diag(np.diag(gradient))) == 0


@pytest.mark.parametrize("term", ALL[:1] + ALL[2:5], ids=repr)
def test_spectral_sums_turn_with_the_embedding(term: Uniformity) -> None:
    phi, turn = _moment(3, 5), orthogonal(np.random.default_rng(4), 5)
    assert term.value(turn @ phi @ turn.T) == pytest.approx(term.value(phi), rel=1e-12)
    np.testing.assert_allclose(term.gradient(turn @ phi @ turn.T), turn @ term.gradient(phi) @ turn.T, atol=1e-9)


def test_vicreg_does_not_turn_with_the_embedding() -> None:
    term, phi = VICReg(), np.diag([0.1, 0.9])
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)
    assert term.value(turn @ phi @ turn.T) != pytest.approx(term.value(phi), rel=0.01)


def test_sliced_sigreg_averages_and_repels_for_the_want_of_others() -> None:
    rng = np.random.default_rng(0)
    term, axes = SIGReg(), rng.normal(size=(400, 4))
    value, gradient = term.sliced(0.3 * np.eye(4), axes)
    assert value == pytest.approx(term.value(0.3 * np.eye(4)) / 4, rel=1e-13)
    assert np.trace(gradient) == pytest.approx(np.trace(term.gradient(0.3 * np.eye(4))) / 4, rel=1e-13)
    # A direction of variance 1.1 among small ones: 2·0.1 < k − tr Φ, so slices push it outward, principal axes do not.
    phi = np.diag([1.1, 0.3, 0.3, 0.3])
    assert term.sliced(phi, axes)[1][0, 0] < 0 < term.gradient(phi)[0, 0]
    step = np.diag(rng.normal(size=4)) * 1e-5
    change = term.sliced(phi + step, axes)[0] - term.sliced(phi - step, axes)[0]
    assert change / 2 == pytest.approx(np.sum(term.sliced(phi, axes)[1] * step), rel=1e-6)


@NAMED
def test_slope_is_the_derivative_and_zero_is_silent(term: Uniformity) -> None:
    at = np.array([0.05, 0.2, 0.6, 1.3])
    h = 1e-5
    found = (term.coefficient(at + h) - term.coefficient(at - h)) / (2 * h)
    np.testing.assert_allclose(term.slope(at), found, rtol=1e-4, atol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = np.array([term.coefficient(0.0), term.mode_value(0.0), term.slope(0.0)])
        assert not np.isnan(found).any()
        assert np.isfinite(term.coefficient(np.array([1e300]))).all()


@NAMED
def test_terms_are_values(term: Uniformity) -> None:
    for twin in (copy.copy(term), copy.deepcopy(term)):
        assert repr(twin) == repr(term)
        assert twin == term
        assert hash(twin) == hash(term)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SIGReg(-1.0),
        lambda: SIGReg(np.inf),
        lambda: VarianceHinge(1.0),
        lambda: VICReg(variance=-1),
        lambda: Spectral().coefficient(-1e-9),
        lambda: Spectral().coefficient(np.nan),
        lambda: Spectral().value([[1.0, 2.0], [0.0, 1.0]]),
        lambda: Spectral().gradient(-np.eye(2)),
        lambda: LogDet().gradient(np.diag([1.0, 0.0])),
        lambda: VarianceHinge(0.0).gradient(np.diag([1.0, 0.0])),
        lambda: SIGReg().value(np.ones((2, 3))),
        lambda: SIGReg().sliced(np.eye(2), np.zeros((3, 2))),
    ],
    ids=range(12),
)
def test_what_has_no_meaning_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        wrong()
