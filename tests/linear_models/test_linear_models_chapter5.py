"""Every closed form of a mode against the field it solves and against false siblings of that field, and descent in small steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jepalign.linear_models import LinearJEPA, SpectralContrastive, ViewPair
from jepalign.linear_models.trajectories import (
    balanced_jepa,
    barlow_twins,
    deep_jepa,
    ema_without_predictor,
    masked_autoencoder,
    power_predictor,
    spectral_contrastive,
    unbalanced_jepa,
)

Array = NDArray[np.float64]
Field = Callable[..., Array]

L, S, A, ETA = 0.6, 1.3, 1.7, 0.04  # λ, σ, α, η
START, FIRST = np.array([0.25, 0.4, 0.9]), np.array([0.5, 0.2, -0.3])


def balanced(w: Array, *, rate: float = 1.0, decay: float = 1.0, repulsion: float = 1.0) -> Array:
    return rate * np.sqrt(A) * L * w**2 - repulsion * A * S * w**3 - decay * ETA * w


def deep(w: Array, *, depth: int = 3, objective: str = "jepa", factor: float = 1.0, power: int = 0) -> Array:
    u = w ** (1 / depth)
    slope = u ** (2 * depth + power) * (L - S * u)
    if objective == "autoencoder":
        slope = u ** (depth + power) * (L - S * u ** (depth + 1))
    return factor * depth * u ** (depth - 1) * slope


# Each closed form with its field, and siblings with a constant, a sign or a power changed.
CASES: dict[str, tuple[Callable[[Array], Array], Field, list[Field]]] = {
    "balanced JEPA": (
        lambda t: balanced_jepa(t, START, L, S, predictor_rate=A, weight_decay=ETA),
        balanced,
        [partial(balanced, decay=-1.0), partial(balanced, rate=2.0), partial(balanced, repulsion=0.5)],
    ),
    "spectral contrastive": (
        lambda t: spectral_contrastive(t, START, L, S),
        lambda w: 4 * L * w - 4 * S**2 * w**3,
        [lambda w: L * w - S**2 * w**3, lambda w: 4 * L * w - 4 * S * w**3, lambda w: 8 * L * w - 4 * S**2 * w**3],
    ),
    "Barlow Twins": (
        lambda t: barlow_twins(t, START, L),
        lambda w: 4 * L * w * (1 - L * w**2),
        [lambda w: 4 * L * w * (1 - w**2), lambda w: 8 * L * w * (1 - L * w**2)],
    ),
    "deep JEPA": (
        lambda t: deep_jepa(t, START, L, S, depth=3),
        deep,
        [partial(deep, factor=3.0), partial(deep, factor=1 / 3), partial(deep, power=-1), partial(deep, depth=2)],
    ),
    "masked autoencoder": (
        lambda t: masked_autoencoder(t, START, L, S, depth=3),
        partial(deep, objective="autoencoder"),
        [deep, partial(deep, objective="autoencoder", power=1)],
    ),
    "power predictor": (
        lambda t: power_predictor(t, START, L, S, exponent=0.7, weight_decay=ETA),
        lambda w: (S * w * w) ** 0.7 * (L - S * (S * w * w) ** 0.7) * w - ETA * w,
        [lambda w: (S * w * w) ** 0.7 * (L - S * (S * w * w) ** 0.7) * w - 1.4 * ETA * w],
    ),
}


def slope(solve: Callable[[Array], Array], time: float, step: float = 1e-3) -> Array:
    """Return the derivative by a central difference of order 8: off by step⁸ ≈ 1e-24 and by rounding, 1e-16/step."""
    weights = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
    return (
        np.asarray(sum(c * solve(np.asarray(time + j * step)) for c, j in zip(weights, range(-4, 5), strict=True)))
        / step
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("time", [0.01, 0.7, 3.0])
def test_closed_forms_solve_their_field_and_no_sibling(name: str, time: float) -> None:
    solve, field, siblings = CASES[name]
    now, moved = solve(np.asarray(time)), slope(solve, time)
    assert np.abs(moved - field(now)).max() < 1e-11
    for sibling in siblings:
        assert np.abs(moved - sibling(now)).max() > 1e-7  # near rest only little is left to tell rates apart


def test_pairs_of_weights_solve_their_fields_and_no_sibling() -> None:
    def unbalanced(t: Array) -> Array:
        return np.stack(unbalanced_jepa(t, START, FIRST, L, S, predictor_rate=A))

    def averaged(t: Array) -> Array:
        return np.stack(ema_without_predictor(t, START, FIRST, L, S, ema_rate=0.7, weight_decay=ETA))

    w, p = unbalanced(np.asarray(0.8))
    moved = slope(unbalanced, 0.8)
    assert np.abs(moved - [p * w * (L - S * p), A * w * w * (L - S * p)]).max() < 1e-11
    assert np.abs(moved - [p * w * (L - S * p), w * w * (L - S * p)]).max() > 1e-3
    # c = p² − αw² is kept; p² − w²/α is not.
    kept = unbalanced(np.asarray(2.0))
    assert np.allclose(kept[1] ** 2 - A * kept[0] ** 2, FIRST**2 - A * START**2, atol=1e-14)
    assert not np.allclose(kept[1] ** 2 - kept[0] ** 2 / A, FIRST**2 - START**2 / A, atol=1e-3)
    w, v = averaged(np.asarray(0.8))
    moved = slope(averaged, 0.8)
    assert np.abs(moved - [L * v - (S + ETA) * w, 0.7 * (w - v)]).max() < 1e-11
    assert np.abs(moved - [L * v - (S + ETA) * w, 0.7 * w - v]).max() > 1e-3


@pytest.mark.parametrize("model", ["JEPA", "spectral contrastive"])
def test_descent_in_steps_converges_to_the_closed_form_at_first_order(model: str) -> None:
    views = ViewPair.from_covariances(np.eye(2), np.eye(2), np.diag([0.9, 0.5]))
    W, P, total = np.diag([0.4, 0.5]), np.diag([0.7, 0.3]), 2.0
    objective: Any = LinearJEPA(views) if model == "JEPA" else SpectralContrastive(views)
    exact = (objective.solve(W, P, [total]) if model == "JEPA" else objective.solve(W, [total])).encoder[0]
    errors: list[float] = []
    for steps in (200, 400, 800, 1600):
        size, w, p = total / steps, W.copy(), P.copy()
        for _ in range(steps):
            if model == "JEPA":
                gradient = objective.gradient(w, p)
                w, p = w - size * gradient.encoder, p - size * gradient.predictor
            else:
                w = w - size * objective.gradient(w)
        errors.append(float(np.abs(w - exact).max()))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    # The second term of the expansion is a step smaller: 2 % of the first at the coarsest.
    assert np.abs(orders - 1).max() < 0.05
