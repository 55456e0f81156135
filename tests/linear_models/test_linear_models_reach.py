"""Thresholds solved for the settings: against the decision of survival itself, a scan of all rests, and the flow."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from linear_models_strategies import examples, make_views
from scipy.integrate import solve_ivp

from jepalign.errors import InputError
from jepalign.linear_models.collapse import (
    coupled_modes,
    critical_weight_decay,
    holding_weight,
    hybrid_equilibria,
    largest_weight_decay,
    rescue_weight,
    survives,
)
from jepalign.linear_models.masking.spectrum import spectrum
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge
from jepalign.theory.collapse.hybrid_terms import X
from jepalign.theory.collapse.reach import BEARS, DECAYED
from jepalign.theory.setting import cross, eta, p, variance

DECADES = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)
TERMS = (Spectral(), VarianceHinge(), LogDet(), SIGReg())
# Between η and p₋ a few roundings, amplified where p₋ meets the threshold; decisions 1e-9 off it are clear.
OFF = 1e-9


@examples(400)
@given(lam=DECADES, sign=st.sampled_from((-1, 1)), sigma=DECADES, weight=DECADES, alpha=DECADES)
def test_below_it_the_start_survives_and_above_it_does_not(
    lam: float, sign: int, sigma: float, weight: float, alpha: float
) -> None:
    largest = float(largest_weight_decay(sign * lam, sigma, weight, predictor_rate=alpha))
    # The balanced start is on the side of λ: a weight of the sign of the predictor.
    below, above = (
        bool(survives(sign * weight, None, sign * lam, sigma, largest * factor, predictor_rate=alpha))
        for factor in (1 - OFF, 1 + OFF)
    )
    assert below
    assert not above


@examples(100)
@given(lam=DECADES, sigma=DECADES, weight=DECADES, alpha=DECADES)
def test_no_start_bears_more_than_the_threshold(lam: float, sigma: float, weight: float, alpha: float) -> None:
    threshold = critical_weight_decay(lam, sigma)
    assert largest_weight_decay(lam, sigma) == threshold
    found = largest_weight_decay(lam, sigma, weight, predictor_rate=alpha)
    assert found <= threshold * (1 + 1e-14)
    # Enough of a start bears as much, and a larger predictor rate is as good as a larger start.
    assert largest_weight_decay(lam, sigma, lam / sigma / np.sqrt(alpha), predictor_rate=alpha) == pytest.approx(
        threshold, rel=1e-14
    )
    assert largest_weight_decay(lam, sigma, 2 * weight, predictor_rate=alpha) == pytest.approx(
        float(largest_weight_decay(lam, sigma, weight, predictor_rate=4 * alpha)), rel=1e-14
    )


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
@examples(25)
@given(
    sigma=st.floats(-1, 1).map(lambda e: 10.0**e),
    bend=st.floats(-0.7, 1.5).map(lambda e: 10.0**e),
    alpha=st.floats(-1.5, 1.5).map(lambda e: 10.0**e),
    eta=st.floats(-2, -0.5).map(lambda e: 10.0**e),
)
def test_beyond_it_every_stable_state_is_one_that_a_jepa_would_keep(
    term: Uniformity, sigma: float, bend: float, alpha: float, eta: float
) -> None:
    lam = float(np.sqrt(bend * eta * sigma))  # κ = λ²/(ησ)
    weight = float(holding_weight(lam, sigma, eta, uniformity=term, predictor_rate=alpha))
    assume(0 < weight < np.inf)

    def weakest(strength: float) -> float:
        """Return the least X = αs/η of the stable states: p = ρX/(1 + X)."""
        rests = hybrid_equilibria(lam, sigma, eta, uniformity=term, strength=strength, predictor_rate=alpha)
        steady = rests.weight.compressed()[np.ma.filled(rests.stable, False)[: rests.weight.count()]]
        return float((alpha * sigma * steady**2 / eta).min())

    # 1 % beyond a simple rest moves X by 1 %/(d ln Γ/d ln X); a hinge holds what it can at its target, X = (1 − ε)/e ≥ 1.
    assert weakest(1.01 * weight) >= 1 - 1e-9
    assert weakest(0.99 * weight) < 1


@examples(100)
@given(lam=DECADES, sigma=DECADES, eta=DECADES, alpha=DECADES, factor=st.floats(1.001, 10))
@pytest.mark.parametrize("term", TERMS[:3], ids=lambda term: type(term).__name__)
def test_more_decay_never_takes_less(
    term: Uniformity, lam: float, sigma: float, eta: float, alpha: float, factor: float
) -> None:
    low, high = (
        float(holding_weight(lam, sigma, e, uniformity=term, predictor_rate=alpha)) for e in (eta, factor * eta)
    )
    # Γ rises with η at every X, and so does its maximum; where the difference η − η_c is small it has its rounding.
    assert low <= high * (1 + 1e-9)


def test_what_rescues_can_fall_with_decay_as_the_small_state_merges_with_the_large() -> None:
    """Why there is a third weight: log-det at κ on both sides of 27/8."""
    lam, sigma = 0.5, 1.0
    decays = lam**2 / sigma / np.array([27 / 8 + 0.01, 27 / 8 - 0.01])
    rescue = rescue_weight(lam, sigma, decays, uniformity=LogDet()).rescue
    hold = holding_weight(lam, sigma, decays, uniformity=LogDet())
    assert rescue[0] == pytest.approx(decays[0] ** 2 / 8, rel=0.05)  # X = ½, B = ¼
    assert rescue[1] == 0
    assert hold[1] >= hold[0] >= rescue[0]


@examples(50)
@given(lam=DECADES, sigma=DECADES, alpha=DECADES, share=st.floats(0.01, 1), bend=st.floats(0.1, 3.3))
def test_both_are_what_the_theory_derives(lam: float, sigma: float, alpha: float, share: float, bend: float) -> None:
    start = share * lam / (2 * sigma)
    bears = BEARS.subs({p: start, cross: lam, variance: sigma})
    found = largest_weight_decay(lam, sigma, start / np.sqrt(alpha), predictor_rate=alpha)
    assert float(found) == pytest.approx(float(bears), rel=1e-13)  # λ − σp is at least half of λ: nothing cancels
    decay = lam**2 / sigma / bend  # κ below 27/8, where log-det has no fold, and c = 1/s = α/η at X = 1
    needed = DECAYED.subs({X: 1, eta: decay, cross: lam, variance: sigma}) / (sigma * alpha / decay)
    found = holding_weight(lam, sigma, decay, uniformity=LogDet(), predictor_rate=alpha)
    assert float(found) == pytest.approx(float(needed), rel=1e-12)  # η − η_c keeps a sixth of η


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_the_flow_of_a_small_start_ends_where_it_says(factor: float) -> None:
    """A lost mode, η = 0.1 > η_c = 0.0625, with VICReg's hinge: p reaches λ/(2σ) beyond the weight and not before."""
    lam, sigma, eta, alpha = 0.5, 1.0, 0.1, 2.0
    term = VarianceHinge()
    gamma = factor * float(holding_weight(lam, sigma, eta, uniformity=term, predictor_rate=alpha))

    def field(_time: float, state: np.ndarray) -> list[float]:
        w, p = state
        push = gamma * sigma * float(term.coefficient(sigma * w * w)) * w
        return [p * (lam - sigma * p) * w - eta * w + push, alpha * (lam - sigma * p) * w * w - eta * p]

    end = solve_ivp(field, (0, 4000), [1e-4, 1e-6], method="LSODA", rtol=1e-9, atol=1e-13).y[1, -1]
    assert (end > lam / (2 * sigma)) == (factor > 1)


@pytest.mark.parametrize("seed", range(12))
def test_coupled_modes_are_the_modes_where_views_are_aligned_and_below_the_bound_elsewhere(seed: int) -> None:
    views = make_views(seed, 2 + seed % 5, 1.0 + 9 * (seed % 3), exchangeable=seed % 2 == 0).views
    found, bound = coupled_modes(views), spectrum(views).threshold
    threshold = found.cross**2 / (4 * found.variance)
    assert (threshold <= bound[: len(threshold)] * (1 + 1e-12)).all()
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(len(threshold)), atol=1e-12)
    white = make_views(seed, 2 + seed % 5, 1.0, exchangeable=True).views
    np.testing.assert_allclose(
        coupled_modes(white).cross ** 2 / 4, np.sort(white.modes().cross ** 2 / 4)[::-1], atol=1e-12
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([0.5], [0.0], [1.0]), "variance"),
        (([0.5], [1.0], [np.inf]), "weight"),
        (([0.5, 0.4], [1.0, 1.0, 1.0], [1.0]), "shapes"),
    ],
)
def test_bad_input_is_named(arguments: tuple[list[float], ...], name: str) -> None:
    with pytest.raises(InputError) as caught:
        largest_weight_decay(*arguments)
    assert caught.value.argument == name
