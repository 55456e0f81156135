"""The formulas written by hand here against those that the theory proves, in exact arithmetic wherever it can."""

import random
from typing import Any

import numpy as np
import pytest
import sympy as sp

from jepalign.linear_models import (
    DICTIONARY,
    LinearJEPA,
    SpectralContrastive,
    ViewPair,
    balance,
    discrete_drift,
    mode_forces,
    power_gap,
)
from jepalign.theory import setting
from jepalign.theory.catalogue import find
from jepalign.theory.claims import ScalarIdentity
from jepalign.theory.conservation import balance as balance_law
from jepalign.theory.exact import Instance, gradient_at, value_of
from jepalign.theory.implicit_uniformity import entries, force, power

EPS = np.finfo(float).eps
SEEDS = pytest.mark.parametrize("seed", range(12))


def number(value: Any) -> float:
    """Return the float64 nearest to an exact rational."""
    return int(value.p) / int(value.q)


def array(value: Any) -> np.ndarray:
    """Return an exact matrix in float64."""
    rows = [[number(value[i, j]) for j in range(value.ncols())] for i in range(value.nrows())]
    return np.array(rows)


def drawn(name: str, seed: int) -> Instance:
    """Return a random instance of the assumptions of a theorem."""
    return find(name).instances(random.Random(seed), 3)


def letters(instance: Instance, *symbols: Any) -> list[np.ndarray]:
    return [array(instance.matrices[symbol]) for symbol in symbols]


def near(found: Any, exact: Any) -> bool:
    """Whether two values agree to rounding: entries are sums of a few tens of products of numbers below 100."""
    return np.allclose(found, exact, rtol=1e-12, atol=1e4 * EPS)


# "no-predictor" has nothing to differentiate: its theorem is about collapse.
@pytest.mark.parametrize("name", [name for name in DICTIONARY if name != "no-predictor"])
def test_spectra_are_those_of_the_theorems(name: str) -> None:
    # Each entry's theorem proves dG/ds = g for its own functional.
    claims = [step.claim for step in find(f"{name}-entry").proof if isinstance(step.claim, ScalarIdentity)]
    derivative = next(claim for claim in claims if claim.left.has(sp.Derivative))
    assert isinstance(derivative.left, sp.Derivative)
    for s in (sp.Rational(1, 7), sp.Integer(1), sp.Rational(9, 4), sp.Integer(30)):
        point = {setting.s: s}
        G, g = (sp.N(part.subs(point), 30) for part in (derivative.left.expr, derivative.right))
        entry = DICTIONARY[name]
        assert entry.antiderivative(float(s)) == pytest.approx(float(G), rel=1e-14, abs=0)
        assert entry.spectrum(float(s)) == pytest.approx(float(g), rel=1e-14, abs=0)
        assert entry.uniformity(float(s)) == pytest.approx(float(G - s), rel=1e-13, abs=1e-15)


@SEEDS
def test_surplus_is_that_of_the_theorem(seed: int) -> None:
    values = drawn("sign", seed).scalars
    exact = {symbol: sp.Rational(int(value.p), int(value.q)) for symbol, value in values.items()}
    expected = float(force.SURPLUS.subs(exact))
    arguments = [number(values[symbol]) for symbol in (setting.w, setting.p, setting.cross, setting.variance)]
    found = mode_forces(*arguments)
    assert near(found.surplus, expected)
    assert near(found.power, arguments[0] * expected)


@SEEDS
def test_balance_and_its_drift_are_those_of_the_theorem(seed: int) -> None:
    instance = drawn("exact-discrete-drift", seed)
    W, P, R = letters(instance, setting.W, setting.P, setting.R)
    alpha, eta, step = (number(instance.scalars[symbol]) for symbol in (setting.alpha, setting.eta, setting.epsilon))
    before, drift = (array(value_of(part, instance)) for part in (balance_law.BALANCE, balance_law.DRIFT))
    assert near(balance(W, P, predictor_rate=alpha), before)
    expected = ((1 - step * eta) ** 2 - 1) * before + step**2 * drift
    assert near(discrete_drift(W, P, R, step, predictor_rate=alpha, weight_decay=eta), expected)


@SEEDS
def test_power_identity_has_the_terms_of_the_theorem(seed: int) -> None:
    instance = drawn("power-identity-any-predictor", seed)
    Z, target, P = letters(instance, setting.Z, setting.Zbar, setting.P)
    found = power_gap(Z.T, target.T, P)  # the theory's samples are columns
    terms = {"power": power.surplus_power(setting.Zbar), "alignment": power.ALIGNMENT}
    terms |= {"correction": power.CORRECTION, "asymmetry": power.ASYMMETRY}
    for name, expression in terms.items():
        assert near(getattr(found, name), number(value_of(expression, instance)))


@SEEDS
def test_prediction_loss_and_force_are_those_of_the_theorem(seed: int) -> None:
    instance = drawn("force-split", seed)
    W, V, P = letters(instance, setting.W, setting.V, setting.P)
    views = ViewPair.from_covariances(*letters(instance, setting.Sigma_x, setting.Sigma_y, setting.Sigma_yx))
    jepa = LinearJEPA(views, ema_rate=1.0)
    assert near(jepa.loss(W, P, V), number(value_of(force.LOSS, instance)))
    assert near(jepa.forces(W, P, V).total, -array(gradient_at(force.LOSS, setting.W, instance)))
    penalty = -array(gradient_at(force.FROZEN_PENALTY, setting.W, instance))
    assert near(jepa.forces(W, P, V).implicit_repulsion, penalty)


@SEEDS
def test_spectral_contrastive_is_the_batch_with_its_negatives(seed: int) -> None:
    # Sample i is the unit vector e_i, so that the encoder's columns are the embeddings and T maps a sample to its pair.
    instance = drawn("spectral-contrastive-entry", seed)
    Z, pairing = letters(instance, setting.Z, setting.T)
    samples = Z.shape[1]
    views = ViewPair.from_covariances(np.eye(samples) / samples, np.eye(samples) / samples, pairing / samples)
    scl = SpectralContrastive(views)
    assert near(scl.loss(Z), 4 * number(value_of(entries.NEGATIVES, instance)))
    assert near(scl.gradient(Z), 4 * array(gradient_at(entries.NEGATIVES, setting.Z, instance)))


def test_the_oracle_tells_false_siblings_apart() -> None:
    instance = drawn("spectral-contrastive-entry", 1)
    Z, pairing = letters(instance, setting.Z, setting.T)
    samples = Z.shape[1]
    views = ViewPair.from_covariances(np.eye(samples) / samples, np.eye(samples) / samples, pairing / samples)
    assert not near(SpectralContrastive(views).loss(Z), 2 * number(value_of(entries.NEGATIVES, instance)))
    instance = drawn("exact-discrete-drift", 1)
    W, P, R = letters(instance, setting.W, setting.P, setting.R)
    alpha, step = (number(instance.scalars[symbol]) for symbol in (setting.alpha, setting.epsilon))
    drift = step**2 * array(value_of(balance_law.DRIFT, instance))
    assert not near(discrete_drift(W, P, R, step, predictor_rate=alpha), -drift)
