"""Balance and its exact drift in one gradient step, against the steps themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models import balance, discrete_drift

EPS = np.finfo(float).eps


@given(
    seed=st.integers(0, 2**32),
    width=st.integers(1, 6),
    logarithm=st.floats(-8, 0),
    alpha=st.floats(0.1, 10),
    eta=st.floats(0, 0.5),
)
@examples(60)
def test_drift_is_that_of_a_simultaneous_step(
    seed: int, width: int, logarithm: float, alpha: float, eta: float
) -> None:
    generator, step = np.random.default_rng(seed), 10.0**logarithm
    W, R = generator.normal(size=(2, width, 7))
    P = generator.normal(size=(width, width))
    after_W = (1 - step * eta) * W + step * P.T @ R
    after_P = (1 - step * eta) * P + step * alpha * R @ W.T
    before = balance(W, P, predictor_rate=alpha)
    observed = balance(after_W, after_P, predictor_rate=alpha) - before
    predicted = discrete_drift(W, P, R, step, predictor_rate=alpha, weight_decay=eta)
    # The drift sinks under the rounding of what it is a difference of: the balance before and after, sums of up to 7
    # and 6 products.
    scale = sum(np.square(a).sum() for a in (W, after_W)) + sum(np.square(a).sum() for a in (P, after_P)) / alpha
    assert np.abs(observed - predicted).max() <= 16 * EPS * scale


def test_alternating_updates_drift_otherwise() -> None:
    generator, step = np.random.default_rng(0), 0.1
    W, R = generator.normal(size=(2, 3, 5))
    P = generator.normal(size=(3, 3))
    moved = W + step * P.T @ R
    observed = balance(moved, P + step * R @ moved.T) - balance(W, P)
    assert np.abs(observed - discrete_drift(W, P, R, step)).max() > 1e-3


def test_balance_by_hand() -> None:
    assert balance([[1.0, 2.0]], [[3.0]], predictor_rate=2.0) == 5 - 4.5
    assert balance([[1.0, 2.0]], [[3.0]], predictor_rate=np.inf) == 5


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((np.ones(3), np.eye(2)), "encoder"),
        ((np.ones((2, 3)), np.eye(3)), "predictor"),
        ((np.full((2, 3), np.nan), np.eye(2)), "encoder"),
        ((np.ones((2, 3)), np.full((2, 2), np.inf)), "predictor"),
    ],
)
def test_bad_matrices_are_refused(arguments: tuple[np.ndarray, np.ndarray], name: str) -> None:
    for function in (balance, lambda W, P: discrete_drift(W, P, np.ones((2, 3)), 0.1)):
        with pytest.raises(InputError) as caught:
            function(*arguments)
        assert caught.value.argument == name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"residual": np.ones((2, 2))}, "residual"),
        ({"step_size": -0.1}, "step_size"),
        ({"step_size": np.nan}, "step_size"),
        ({"predictor_rate": 0.0}, "predictor_rate"),
        ({"predictor_rate": np.inf}, "predictor_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"weight_decay": "much"}, "weight_decay"),
    ],
)
def test_bad_steps_are_refused(changes: dict[str, object], name: str) -> None:
    arguments = {"encoder": np.ones((2, 3)), "predictor": np.eye(2), "residual": np.ones((2, 3)), "step_size": 0.1}
    with pytest.raises(InputError) as caught:
        discrete_drift(**(arguments | changes))  # type: ignore[arg-type]
    assert caught.value.argument == name
