"""What an explicit term rescues: closed forms in sixty digits, a scan that knows none of them, and the flow itself."""

from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st
from linear_models_strategies import examples
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.collapse import c_jepa_strength, equilibria, hybrid_equilibria, rescue_weight
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge, VICReg
from jepalign.theory.collapse.hybrid_hinge import SLOPE_AT, offset
from jepalign.theory.collapse.hybrid_terms import NEEDED, X, kappa

SIZES = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)
BENDS = st.floats(-1, 8).map(lambda exponent: 10.0**exponent)  # κ = 4η_c/η
TERMS = (Spectral(), VarianceHinge(), VarianceHinge(1e-9), LogDet(), SIGReg(), SIGReg(1e-3), VICReg())


@dataclass(frozen=True)
class Plain(Uniformity):
    """A term of which nothing is known but its force, so that no closed form applies."""

    term: Uniformity

    def value(self, moment: Any) -> float:
        return self.term.value(moment)

    def gradient(self, moment: Any) -> Any:
        return self.term.gradient(moment)

    def _coefficient(self, s: Any) -> Any:
        return self.term.coefficient(s)

    def _slope(self, s: Any) -> Any:
        return self.term.slope(s)

    def _mode_value(self, s: Any) -> Any:
        return self.term.mode_value(s)


@dataclass(frozen=True)
class Late(Plain):
    """The theorem's example of a window without a supercritical origin: φ ∝ 1/(1 + 36X²), for e = 1."""

    def _coefficient(self, s: Any) -> Any:
        return 1 / (1 + 36 * s * s)

    def _slope(self, s: Any) -> Any:
        return -72 * s / (1 + 36 * s * s) ** 2


def _smallest(coefficients: list[Any]) -> Any:
    """Return the smallest positive root of a cubic, or None."""
    roots = mp.polyroots(coefficients, maxsteps=500, extraprec=400)
    real = [mp.re(root) for root in roots if abs(mp.im(root)) < mp.mpf(10) ** -25 and mp.re(root) > 0]
    return min(real) if real else None


def _hinge(k: Any, e: Any, epsilon: Any) -> Any:
    """Return γ_rescue σ/η of the hinge, from 4.6 and the theorem's cubic."""
    o = epsilon / e
    repel = mp.sqrt(epsilon)
    if 2 * k * o >= 1:
        return repel
    # (1+X)³ = κ[X(3−X) + 2o(1−X)]
    x = _smallest([1, 3 + k, 3 - 3 * k + 2 * k * o, 1 - 2 * k * o])
    if x is None or x >= 1 or e * x + epsilon >= 1:
        return repel
    return max(repel, mp.sqrt(e * x + epsilon) * (1 - k * x / (1 + x) ** 2))


def _logdet(k: Any, e: Any) -> Any:
    if k < mp.mpf(27) / 8:
        return mp.mpf(0)
    angle = mp.acos(-mp.mpf(3) / 2 * mp.sqrt(3 / (2 * k))) / 3 - 2 * mp.pi / 3
    x = 2 * mp.sqrt(2 * k / 3) * mp.cos(angle) - 1
    return e * x * (1 - x) / 2


@given(bend=BENDS, sigma=SIZES, eta=SIZES, alpha=SIZES, epsilon=st.sampled_from([0.0, 1e-12, 1e-4, 1e-2, 0.5]))
@examples(150)
def test_hinge_and_log_det_are_the_closed_forms(
    bend: float, sigma: float, eta: float, alpha: float, epsilon: float
) -> None:
    # Γ is flat in X at its maximum, B at least a quarter there, and the arguments enter through a few products: what
    # is left is some ten roundings. Next to a fold, or to the end of the hinge, whether there is one is ill-posed.
    cross = float(np.sqrt(bend * eta * sigma))
    with mp.workdps(60):
        k = mp.mpf(cross) ** 2 / mp.mpf(eta) / mp.mpf(sigma)
        e = mp.mpf(eta) / mp.mpf(alpha)
        unit = mp.mpf(eta) / mp.mpf(sigma)
        found = rescue_weight(cross, sigma, eta, uniformity=LogDet(), predictor_rate=alpha)
        assert float(found.repel) == 0
        if abs(k - mp.mpf(27) / 8) > 1e-12:
            exact = unit * _logdet(k, e)
            assert abs(float(found.rescue) - exact) <= 1e-14 * exact
        exact = [
            unit * _hinge(k * (1 + d), e * (1 + d), mp.mpf(epsilon))
            for d in (0, mp.mpf(10) ** -12, -(mp.mpf(10) ** -12))
        ]
        found = rescue_weight(cross, sigma, eta, uniformity=VarianceHinge(epsilon), predictor_rate=alpha)
        assert abs(float(found.repel) - unit * mp.sqrt(mp.mpf(epsilon))) <= 1e-15 * unit
        if max(exact) - min(exact) <= 1e-10 * max(exact):
            assert abs(float(found.rescue) - exact[0]) <= 1e-14 * exact[0]
        doubled = rescue_weight(cross, sigma, eta, uniformity=VICReg(2, 1, epsilon), predictor_rate=alpha)
        np.testing.assert_allclose(doubled.rescue * 2, found.rescue, rtol=1e-15)


@pytest.mark.parametrize("term", [Spectral(), VarianceHinge(), VarianceHinge(1e-9), LogDet()], ids=repr)
def test_a_scan_that_knows_no_closed_form_agrees(term: Uniformity) -> None:
    rng = np.random.default_rng(2)
    bend, e = 10 ** rng.uniform(0, 5, 60), 10 ** rng.uniform(-5, 0.5, 60)
    cross, decay, alpha = np.sqrt(bend * 0.3), 0.3, 0.3 / e
    known = rescue_weight(cross, 1.0, decay, uniformity=term, predictor_rate=alpha)
    plain = rescue_weight(cross, 1.0, decay, uniformity=Plain(term), predictor_rate=alpha)
    # Bisected in ln X to its rounding, 55 units, which count in second order.
    np.testing.assert_allclose(known.repel, plain.repel, rtol=1e-14)
    np.testing.assert_allclose(known.rescue, plain.rescue, rtol=1e-12)


@given(bend=BENDS, ratio=st.floats(-6, 0.3), weight=st.floats(-6, 0))
@examples(100)
def test_sigreg_is_the_largest_maximum_on_a_fine_grid(bend: float, ratio: float, weight: float) -> None:
    e, term = 10.0**ratio, SIGReg(10.0**weight)
    found = rescue_weight(np.sqrt(bend), 1.0, 1.0, uniformity=term, predictor_rate=1 / e)
    x = np.logspace(-18, 0, 40_001)
    x = x[e * x < 1 - 1e-9]
    formula: Any = sp.lambdify((X, kappa), NEEDED, "numpy")
    curve = formula(x, bend) / term.coefficient(e * x)
    tops = np.nonzero((curve[1:-1] > curve[:-2]) & (curve[1:-1] >= curve[2:]))[0] + 1
    best = max(float(found.repel), curve[tops].max(initial=0.0))
    # Steps of 1e-3 in ln X: flat at a maximum to 1e-6 times the curvature of ln Γ, of order ten.
    assert float(found.rescue) == pytest.approx(best, rel=1e-4)
    assert found.rescue >= found.repel


def test_a_window_without_a_supercritical_origin() -> None:
    found = rescue_weight(2.0, 1.0, 1.0, uniformity=Late(Spectral()))  # κ = 4, e = 1
    assert float(found.repel) == 1
    assert found.rescue > 1.2


def _field(lam: float, sigma: float, eta: float, alpha: float, term: Uniformity, gamma: float) -> Any:
    def field(_: float, y: Any) -> Any:
        w, p = y
        push = gamma * sigma * float(term.coefficient(sigma * w * w))
        return [p * (lam - sigma * p) * w - eta * w + push * w, alpha * (lam - sigma * p) * w * w - eta * p]

    return field


@pytest.mark.parametrize("term", [VarianceHinge(), SIGReg(1e-3), SIGReg(), Spectral(), LogDet()], ids=repr)
def test_the_flow_turns_at_both_weights(term: Uniformity) -> None:
    lam, sigma, eta, alpha = 0.5, 1.2, 0.04, 1.0  # κ = 5.2
    found = rescue_weight(lam, sigma, eta, uniformity=term, predictor_rate=alpha)
    half = lam / sigma / 2
    for factor, rescued in ((0.97, False), (1.03, True)):
        gamma = float(found.rescue) * factor
        start = [1e-3, 1e-3]
        end = solve_ivp(
            _field(lam, sigma, eta, alpha, term, gamma), (0, 3e4), start, method="LSODA", rtol=1e-9, atol=1e-13
        ).y[:, -1]
        assert (end[1] > half) == rescued
        rests = hybrid_equilibria(lam, sigma, eta, uniformity=term, strength=gamma, predictor_rate=alpha)
        stable = rests.weight.data[rests.stable.filled(False)]
        assert np.abs(stable - end[0]).min() < 1e-5
        assert rescued == (stable.size == 1)
    if found.repel > 0:
        gamma = 0.97 * float(found.repel)
        end = solve_ivp(_field(lam, sigma, eta, alpha, term, gamma), (0, 3e4), [1e-3, 1e-3], method="LSODA").y[:, -1]
        assert abs(end[0]) < 1e-6


@pytest.mark.parametrize("term", TERMS, ids=repr)
@given(
    bend=st.floats(0, 4),
    sigma=SIZES,
    eta=SIZES,
    ratio=st.floats(-4, 1),
    part=st.floats(-2, 1.5),
    sign=st.sampled_from([-1, 1]),
)
@examples(12)
def test_rests_rest_and_are_as_stable_as_said(
    term: Uniformity, bend: float, sigma: float, eta: float, ratio: float, part: float, sign: int
) -> None:
    lam, alpha = float(sign * np.sqrt(10.0**bend * eta * sigma)), eta / 10.0**ratio
    weights = rescue_weight(lam, sigma, eta, uniformity=term, predictor_rate=alpha)
    gamma = float(weights.rescue) * 10.0**part
    assume(gamma > 1e-20)
    rests = hybrid_equilibria(lam, sigma, eta, uniformity=term, strength=gamma, predictor_rate=alpha)
    assert np.all(np.diff(rests.weight.compressed()) > 0)
    for w, p, stable in zip(
        rests.weight.compressed(), rests.predictor.compressed(), rests.stable.compressed(), strict=True
    ):
        s = sigma * w * w
        if w == 0:
            if abs(gamma - float(weights.repel)) > 1e-12 * gamma:
                assert bool(stable) == (gamma < weights.repel)
            continue
        if isinstance(term, VICReg) and abs(s + term.epsilon - 1) < 1e-9:
            continue  # held at the kink, where the velocity only changes its sign
        push = gamma * sigma * float(term.coefficient(s))
        terms = p * lam, -p * p * sigma, -eta, push
        # ln X is right to some 55 units, X and every term to 1e-13 with room.
        assert abs(sum(terms)) <= 1e-12 * sum(map(abs, terms))
        assert alpha * (lam - sigma * p) * w * w == pytest.approx(eta * p, rel=1e-9)
        bending = gamma * sigma * sigma * float(term.slope(s)) * 2 * w * w
        jacobian = np.array(
            [[bending, (lam - 2 * sigma * p) * w], [2 * alpha * (lam - sigma * p) * w, -alpha * sigma * w * w - eta]]
        )
        largest = np.linalg.eigvals(jacobian).real.max()
        if abs(largest) > 1e-9 * np.abs(jacobian).max():
            assert bool(stable) == (largest < 0)


@given(bend=st.floats(0, 8), sigma=SIZES, eta=SIZES, alpha=SIZES)
@examples(60)
def test_without_weight_a_hybrid_is_a_jepa(bend: float, sigma: float, eta: float, alpha: float) -> None:
    lam = float(np.sqrt(10.0**bend * eta * sigma))
    rests = hybrid_equilibria(lam, sigma, eta, uniformity=SIGReg(), strength=0.0, predictor_rate=alpha)
    known = equilibria(lam, sigma, eta, predictor_rate=alpha).compressed()
    if 10.0**bend > 4 * (1 + 1e-9):
        # Each rest moves by 1/√(1 − 4/κ) times a change of κ, here of rounding.
        np.testing.assert_allclose(rests.weight.compressed(), known, rtol=1e-13 / np.sqrt(1 - 4 / 10.0**bend))
        assert rests.stable.compressed().tolist() == [True, False, True]
    elif 10.0**bend < 4 * (1 - 1e-9):
        assert rests.weight.compressed().tolist() == [0.0]


def test_limits_shapes_and_published_weights() -> None:
    found = rescue_weight([[0.5], [0.0]], 1.0, [0.0, 0.05, 10.0], uniformity=VarianceHinge())
    assert found.repel.shape == found.rescue.shape == (2, 3)
    assert found.rescue[:, 0].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(found.rescue[1], found.repel[1])
    none = rescue_weight(0.5, 1.0, 0.05, uniformity=VICReg(0, 1))
    assert np.isinf(none.repel)
    assert np.isinf(none.rescue)
    # λ and −λ alike.
    for term in TERMS:
        assert rescue_weight(0.5, 1.0, 0.05, uniformity=term) == rescue_weight(-0.5, 1.0, 0.05, uniformity=term)
    assert c_jepa_strength() == pytest.approx(1 / 40)
    assert c_jepa_strength(2 * 384) == pytest.approx(1 / 40 / 768)
    # 137 N²η³ ≤ ασ² rescues (ε → 0), 10Nη < 25σ repels (ε = 1e-4).
    rng = np.random.default_rng(0)
    for n in (1, 50):
        sigma, alpha = rng.uniform(0.1, 3, 100), rng.uniform(0.1, 3, 100)
        eta = 0.999 * (alpha * sigma**2 / 137 / n**2) ** (1 / 3)
        lam = np.sqrt(4 * eta * sigma) * rng.uniform(0.82, 8, 100)
        hinge = rescue_weight(lam, sigma, eta, uniformity=VarianceHinge(1e-14), predictor_rate=alpha)
        assert (hinge.rescue <= c_jepa_strength(n)).all()
        eta = 2.5 * sigma / n * np.array([0.999, 1.001])[:, None]
        repelled = rescue_weight(lam, sigma, eta, uniformity=VarianceHinge()).repel < c_jepa_strength(n)
        assert repelled.tolist() == [[True] * 100, [False] * 100]


def test_the_cubic_of_the_theorem_vanishes_at_the_maximum() -> None:
    slope: Any = sp.lambdify((X, kappa, offset), SLOPE_AT)
    k, e, epsilon = 6.0, 0.01, 1e-6
    rests = rescue_weight(np.sqrt(k), 1.0, 1.0, uniformity=VarianceHinge(epsilon), predictor_rate=1 / e)
    # At the fold two rests meet: just below the weight they lie on both sides of the theorem's zero.
    pair = hybrid_equilibria(
        np.sqrt(k),
        1.0,
        1.0,
        uniformity=VarianceHinge(epsilon),
        strength=float(rests.rescue) * (1 - 1e-6),
        predictor_rate=1 / e,
    ).weight.compressed()[1:3]
    places = pair**2 / e
    assert slope(places[0], k, epsilon / e) > 0 > slope(places[1], k, epsilon / e)
    assert places[1] / places[0] < 1.02
    # The sibling κX(4 − X) has its zero elsewhere.
    false = [(1 + x) ** 3 - k * (x * (4 - x) + 2 * epsilon / e * (1 - x)) for x in places]
    assert not false[0] > 0 > false[1]


def test_what_has_no_meaning_is_refused() -> None:
    for wrong in (
        lambda: rescue_weight(0.5, 1.0, -0.1, uniformity=Spectral()),
        lambda: rescue_weight(0.5, 1.0, 0.1, uniformity="spectral"),  # type: ignore[arg-type]
        lambda: hybrid_equilibria(0.5, 1.0, 0.0, uniformity=Spectral(), strength=0.1),
        lambda: hybrid_equilibria(0.5, 1.0, 0.1, uniformity=Spectral(), strength=-0.1),
        lambda: hybrid_equilibria([0.5, 0.4], [1.0, 1.0, 1.0], 0.1, uniformity=Spectral(), strength=0.1),
        lambda: c_jepa_strength(0),
    ):
        with pytest.raises(InputError):
            wrong()


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_sixty_decades_leave_no_nan(term: Uniformity) -> None:
    # pytest turns every warning into an error.
    rng = np.random.default_rng(0)
    lam, sigma, eta, alpha = 10 ** rng.uniform(-30, 30, (4, 500))
    found = rescue_weight(lam, sigma, eta, uniformity=term, predictor_rate=alpha)
    assert not np.isnan(found.rescue).any()
    assert (found.rescue >= found.repel).all()
    gamma = np.clip(1.1 * found.rescue, 1e-30, 1e30)[:20]
    rests = hybrid_equilibria(
        lam[:20], sigma[:20], eta[:20], uniformity=term, strength=gamma, predictor_rate=alpha[:20]
    )
    assert np.isfinite(rests.weight.compressed()).all()
    assert np.isfinite(rests.predictor.compressed()).all()
