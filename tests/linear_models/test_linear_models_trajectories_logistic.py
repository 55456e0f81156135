"""Modes of the spectral contrastive loss and of Barlow Twins against their logistic in high precision."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import barlow as barlow_oracle
from linear_models_oracles import contrastive as contrastive_oracle
from linear_models_precision import error_per_condition
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.contrastive import SpectralContrastive
from jepalign.linear_models.flow import integrate
from jepalign.linear_models.trajectories import barlow_twins, spectral_contrastive
from jepalign.linear_models.views import ViewPair

TOLERANCE = 1e-14


def signed(decades: float) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from([-1.0, 1.0]), st.floats(-decades, decades).map(lambda x: 10.0**x)).map(math.prod)


TIMES = st.one_of(signed(300), signed(8)).map(abs)
WEIGHTS = st.one_of(signed(150), signed(4))
CROSS = st.one_of(signed(6), st.just(0.0))
VARIANCE = signed(6).map(abs)


@given(TIMES, WEIGHTS, CROSS, VARIANCE)
@examples(300)
def test_the_contrastive_mode(t: float, w: float, cross: float, variance: float) -> None:
    found = float(spectral_contrastive(t, w, cross, variance))
    assert error_per_condition(found, contrastive_oracle, t, w, cross, variance) < TOLERANCE


@given(TIMES, WEIGHTS, CROSS)
@examples(300)
def test_the_mode_of_barlow_twins(t: float, w: float, cross: float) -> None:
    found = float(barlow_twins(t, w, cross))
    assert error_per_condition(found, barlow_oracle, t, w, cross) < TOLERANCE


@given(signed(3).map(abs), WEIGHTS, signed(6), VARIANCE)
@examples(200)
def test_the_contrastive_mode_while_it_moves(clock: float, w: float, cross: float, variance: float) -> None:
    t = clock / abs(cross)
    found = float(spectral_contrastive(t, w, cross, variance))
    assert error_per_condition(found, contrastive_oracle, t, w, cross, variance) < TOLERANCE


@given(WEIGHTS, CROSS, VARIANCE)
@examples(200)
def test_limits_are_exact(w: float, cross: float, variance: float) -> None:
    start, end = spectral_contrastive([0.0, np.inf], w, cross, variance)
    assert start == w
    assert end == pytest.approx(np.sign(w) * np.sqrt(max(cross, 0)) / variance, rel=4e-16)
    start, end = barlow_twins([0.0, np.inf], w, cross)
    assert start == w
    assert end == pytest.approx(w if cross == 0 else np.sign(w) / np.sqrt(cross) if cross > 0 else 0, rel=4e-16)


def test_an_equilibrium_and_its_neighbours() -> None:
    around = np.array([np.nextafter(0.5, 0), 0.5, np.nextafter(0.5, 1)])
    for t in (0.0, 1e-300, 1.0, 1e300, np.inf):
        assert np.allclose(spectral_contrastive(t, around, 1.0, 2.0), 0.5, rtol=4e-16)
        assert np.allclose(barlow_twins(t, -around, 4.0), -0.5, rtol=4e-16)
    assert spectral_contrastive(3.0, 0.0, 1.0, 1.0) == 0


def test_restart_and_sign() -> None:
    rng = np.random.default_rng(5)
    w, cross = rng.normal(size=(2, 400))
    first, second = rng.uniform(0, 2, (2, 400))
    for solve in (lambda t, x: spectral_contrastive(t, x, cross, 0.7), lambda t, x: barlow_twins(t, x, cross)):
        assert np.allclose(solve(second, solve(first, w)), solve(first + second, w), rtol=1e-12, atol=0)
        assert np.array_equal(solve(first, -w), -solve(first, w))


def test_it_is_the_flow_of_the_loss() -> None:
    cross, variance, w = np.array([0.8, 0.3, -0.2]), np.array([1.0, 0.5, 0.7]), np.array([0.1, 1.5, 0.4])
    model = SpectralContrastive(ViewPair.from_covariances(np.diag(variance), np.diag(variance), np.diag(cross)))
    path = integrate(
        lambda state: {"encoder": model.forces(state["encoder"]).total}, {"encoder": np.diag(w)}, [0.5, 2.0], rtol=1e-12
    )
    found = spectral_contrastive(path.times[:, None], w, cross, variance)
    assert np.allclose(np.diagonal(path.encoder, axis1=1, axis2=2), found, rtol=1e-9)


def test_what_leaves_the_domain_is_an_error() -> None:
    with pytest.raises(InputError, match="times = -1"):
        barlow_twins(-1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="cross = nan"):
        barlow_twins(1.0, 1.0, np.nan)
    with pytest.raises(InputError, match="variance = 0"):
        spectral_contrastive(1.0, 1.0, 1.0, 0.0)
