"""LeJEPA's thresholds and rests against its published loss on samples, the integrated flow, and averages by other rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples
from scipy.integrate import solve_ivp
from scipy.special import ndtri

from jepalign.errors import InputError
from jepalign.linear_models import DICTIONARY, Hybrid, LinearJEPA, ViewPair
from jepalign.linear_models.collapse import lejepa_rest, lejepa_spectrum, lejepa_strength, lejepa_threshold
from jepalign.linear_models.collapse.lejepa import sphere_average
from jepalign.linear_models.losses import sigreg
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge, VICReg

TERMS = (Spectral(), VarianceHinge(1e-2), VICReg(), LogDet(), SIGReg(), SIGReg(1e-3))
CORRELATION, SIZE = (
    st.floats(-1, 0.99).map(lambda rho: round(rho, 9)),
    st.floats(-3, 3).map(lambda exponent: 10.0**exponent),
)


def gaussian_pair(rho: float, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch in both orders with these moments exactly, (n,) each."""
    grids = [ndtri((np.arange(count) + 0.5) / count) for count in (40, 10)]
    x, noise = (part.ravel() for part in np.meshgrid(*grids))
    x, noise = (part / np.sqrt(np.mean(part**2)) for part in (x, noise))
    y = rho * x + np.sqrt(1 - rho**2) * noise
    return np.sqrt(variance) * np.concatenate((x, y)), np.sqrt(variance) * np.concatenate((y, x))


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("rho", [-0.4, 0.7])
def test_threshold_of_the_published_loss(rho: float, averaged: bool) -> None:
    # The loss of a collapsing mode is A w² + O(w⁴): at which trade-off A changes its sign, from two losses on a sample.
    variance, width, w = 1.7, 3, 1e-3
    x, y = gaussian_pair(rho, variance)
    z, z_plus = (np.outer(w * part, np.eye(width)[0]) for part in (x, y))
    center = (z + z_plus) / 2
    spread = (np.square(z - center) + np.square(z_plus - center)).sum(1).mean() / 2
    prediction = spread / width if averaged else spread
    axes = np.eye(width)
    gain = sigreg(0 * z, 0 * z, directions=axes).value - sigreg(z, z_plus, directions=axes).value
    trade_off = prediction / (prediction + gain)
    told = lejepa_threshold(rho * variance, variance, uniformity=SIGReg())
    strength = lejepa_strength(trade_off, batch=len(x), width=1 if averaged else width)
    # The rule stops at t = 5, where e^{−t²/2}t² is 1e-4 and its tail, 2·5·e^{−12.5} of a c(0) of 3.2, 1e-5; the loss is even: w² = 1e-6.
    assert strength == pytest.approx(told, rel=5e-5)


def test_published_strengths() -> None:
    assert lejepa_strength() == pytest.approx(0.05 / 0.95)
    assert lejepa_strength(0.02, batch=256, width=1, views=4) == pytest.approx(0.02 / 0.98 * 256 / 1.5)
    # As four global views spread: three quarters of E‖z − z⁺‖²/2.
    views = np.random.default_rng(0).standard_normal((4, 50000))
    spread = np.square(views - views.mean(0)).mean()
    assert lejepa_strength(0.5, views=4) == pytest.approx(np.square(views[0] - views[1]).mean() / 4 / spread, rel=0.02)


@examples(60)
@given(CORRELATION, SIZE, SIZE, SIZE, st.sampled_from(TERMS))
def test_rests_are_where_forces_balance(
    rho: float, variance: float, decay: float, strength: float, term: Uniformity
) -> None:
    s = float(lejepa_rest(rho * variance, variance, decay, uniformity=term, strength=strength))
    need = 1 - rho + decay / variance
    threshold = float(lejepa_threshold(rho * variance, variance, decay, uniformity=term))
    assert (s > 0) == (strength > threshold)
    if s == 0:
        assert strength * term.coefficient(0.0) <= need * (1 + 1e-12)
    elif isinstance(term, VICReg) and s == 1 - term.epsilon:  # held at the kink
        assert strength * term.coefficient(s * (1 - 1e-9)) >= need * (1 - 1e-6)
        assert term.coefficient(s * (1 + 1e-9)) == 0
    else:
        # s is right to a rounding of 1, and the coefficient's relative slope is at most 3/(2(s + θ)) or 1/(1 - s): compare in s.
        nudge = 4e-16 * max(1.0, s)
        around = strength * term.coefficient(np.array([max(s - nudge, 0.0), s + nudge]))
        assert around[0] >= need * (1 - 1e-9)
        assert around[1] <= need * (1 + 1e-9)


@pytest.mark.parametrize(
    ("term", "strength"),
    [
        (Spectral(), 0.15),
        (Spectral(), 0.4),
        (VarianceHinge(1e-2), 0.15),  # a closing hinge would hold the integrator at its kink
        (LogDet(), 0.1),
        (SIGReg(), 0.05),
        (SIGReg(), 0.15),
    ],
    ids=repr,
)
def test_the_linear_flow_comes_to_rest_there(term: Uniformity, strength: float) -> None:
    cross, variance, decay = 1.2, 1.5, 0.01
    views = ViewPair.from_covariances(*(np.array([[part]]) for part in (variance, variance, cross)))
    flow = Hybrid(LinearJEPA(views, predictor=DICTIONARY["no-predictor"], weight_decay=decay), term, strength)
    path = flow.solve(np.array([[0.01]]), None, np.array([0.0, 400.0]))
    told = lejepa_rest(cross, variance, decay, uniformity=term, strength=strength)
    # The slowest, below the threshold, decays at (q − γc(0))σ = 0.067: e^{−2·27} of what it was.
    assert variance * path.encoder[-1, 0, 0] ** 2 == pytest.approx(float(told), abs=1e-8)


@pytest.mark.parametrize("theta", [0.05, 0.5, 2.0])
def test_averages_over_the_circle_and_the_sphere(theta: float) -> None:
    term = SIGReg(theta)
    # On the circle the rule of equal angles converges geometrically.
    angle = 2 * np.pi * np.arange(4096) / 4096
    axes = np.column_stack((np.cos(angle), np.sin(angle)))
    s = np.array([1.7, 0.02])
    value, gradient = term.sliced(np.diag(s), axes)
    found = sphere_average(s, theta)
    assert found[0] == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(found[1], -2 * np.diag(gradient), rtol=1e-10)
    # In three dimensions a₁ is uniform and the rest a circle.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    ring = np.sqrt(1 - nodes**2)
    axes = np.stack([np.broadcast_to(nodes[:, None], (200, 400)), *(ring[:, None] * part[::1] for part in _ring())], -1)
    s = np.array([0.4, 2.1, 0.0])
    v = axes**2 @ s
    share = np.broadcast_to(weights[:, None] / 2 / 400, v.shape)
    found = sphere_average(s, theta)
    assert found[0] == pytest.approx(float((share * term.mode_value(v)).sum()), rel=1e-9)
    expected = np.einsum("ij,ijk->k", share * term.coefficient(v), axes**2)
    np.testing.assert_allclose(found[1], expected, rtol=1e-9)
    assert sphere_average([0.3], theta)[1][0] == pytest.approx(term.coefficient(0.3))


def _ring() -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * np.arange(400) / 400
    return np.cos(angle), np.sin(angle)


@examples(30)
@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=7), st.floats(0.01, 2.0), st.integers(1, 5))
def test_spectra_are_minima(need: list[float], strength: float, width: int) -> None:
    q = np.array(need)
    s = lejepa_spectrum(q, strength, width=width)
    assert (s >= 0).all()
    chosen = np.argsort(q, kind="stable")[:width]
    assert not np.delete(s, chosen).any()
    padded = np.concatenate((s[chosen], np.zeros(width - len(chosen))))
    push = strength * width * sphere_average(padded, 0.5)[1][: len(chosen)]
    # A gradient of 1e-6 in units of q: what a minimum found in values of 1e-16 leaves.
    kept = s[chosen] > 0
    assert np.abs(push - q[chosen])[kept].max(initial=0.0) < 2e-6
    assert (push - q[chosen])[~kept].max(initial=-1.0) < 2e-6
    # No more of them than leave the origin alone.
    assert kept.sum() <= (lejepa_threshold(1 - q[chosen], 1.0, uniformity=SIGReg()) < strength).sum()


def test_equal_modes_are_modes_alone() -> None:
    told = lejepa_rest(0.6, 1.0, uniformity=SIGReg(), strength=0.3)
    np.testing.assert_allclose(lejepa_spectrum([0.4] * 4, 0.3, width=4), told, rtol=1e-6)
    np.testing.assert_allclose(lejepa_spectrum([0.4, 0.9], 0.3, width=1), [float(told), 0.0], rtol=1e-6)


def test_a_random_start_comes_to_the_spectrum() -> None:
    # Three inputs whose Σ and C do not commute, two dimensions: the flow on many directions of the circle, integrated.
    rng = np.random.default_rng(3)
    first, noise = rng.standard_normal((2, 3, 9))
    shared = first @ first.T / 9
    context = shared + 0.1 * noise @ noise.T / 9
    angle = np.pi * np.arange(64) / 64
    axes, term, gamma = np.column_stack((np.cos(angle), np.sin(angle))), SIGReg(), 0.2

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        W = state.reshape(2, 3)
        push = term.sliced(W @ context @ W.T, axes)[1]
        return (-W @ (context - shared) - 2 * gamma * 2 * push @ W @ context).ravel()

    end = solve_ivp(velocity, (0, 400), 0.05 * rng.standard_normal(6), method="LSODA", rtol=1e-9, atol=1e-11).y[:, -1]
    W = end.reshape(2, 3)
    need = np.linalg.eigvals(np.linalg.solve(context, context - shared)).real
    seen = np.linalg.eigvalsh(W @ context @ W.T)
    np.testing.assert_allclose(seen, np.sort(lejepa_spectrum(need, gamma, width=2))[-2:], atol=1e-5)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="cross"):
        lejepa_threshold(1.1, 1.0, uniformity=Spectral())
    with pytest.raises(InputError, match="uniformity"):
        lejepa_rest(0.5, 1.0, uniformity="spectral", strength=1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="weight"):
        lejepa_strength(1.0)
    with pytest.raises(InputError, match="views"):
        lejepa_strength(views=1)
    with pytest.raises(InputError, match="need"):
        lejepa_spectrum([[0.1]], 1.0, width=1)
    assert np.isinf(lejepa_threshold(0.5, 1.0, uniformity=VICReg(variance=0.0)))
    assert lejepa_threshold(1.0, 1.0, uniformity=VICReg(variance=0.0)) == 0
    assert np.isinf(lejepa_rest(1.0, 1.0, uniformity=LogDet(), strength=0.1))
