"""Where trajectories end: each model comes to rest at the optimum that the theory gives it."""

import numpy as np
import pytest
from linear_models_catalogue import DECAY, Array, Objective, at, solve, velocity

from jepalign.linear_models import DICTIONARY, ImplicitUniformity, LinearJEPA, SpectralContrastive, Status, ViewPair

SIGMA, LAMBDA = np.array([1.0, 1.5]), np.array([0.9, 0.7])
RHO = LAMBDA / SIGMA
ALIGNED = ViewPair.from_covariances(np.diag(SIGMA), np.diag(SIGMA), np.diag(LAMBDA))
SURVIVING = (LAMBDA + np.sqrt(LAMBDA**2 - 4 * DECAY * SIGMA)) / (2 * SIGMA)
INFONCE = 2 / (np.sqrt(9 - 8 * RHO) - 1) - 1
# Per mode, the embedding variance s and where the model rests: optima of chapter 1 and g(s) = ρ of the dictionary.
AT_REST: dict[str, tuple[Objective, Array, Array | None]] = {
    "spectral contrastive": (SpectralContrastive(ALIGNED), np.sqrt(LAMBDA) / SIGMA, None),
    "spectral contrastive with decay": (
        SpectralContrastive(ALIGNED, DECAY),
        np.sqrt(LAMBDA - DECAY / 4) / SIGMA,
        None,
    ),
    "U of log-det": (
        ImplicitUniformity(ALIGNED, predictor=DICTIONARY["log-det"]),
        np.sqrt(1 / (1 - RHO) / SIGMA),
        None,
    ),
    "U of gaussian-infonce": (
        ImplicitUniformity(ALIGNED, predictor=DICTIONARY["gaussian-infonce"]),
        np.sqrt(INFONCE / SIGMA),
        None,
    ),
    "U of directpred": (ImplicitUniformity(ALIGNED, predictor=DICTIONARY["directpred"]), RHO / np.sqrt(SIGMA), None),
    "U of no-predictor": (ImplicitUniformity(ALIGNED, predictor=DICTIONARY["no-predictor"]), np.zeros(2), None),
    "JEPA, P = Φ": (
        LinearJEPA(ALIGNED, predictor=DICTIONARY["spectral-contrastive"]),
        np.sqrt(RHO / SIGMA),
        None,
    ),
    "JEPA, P = √Φ, EMA": (
        LinearJEPA(ALIGNED, predictor=DICTIONARY["directpred"], ema_rate=1.0),
        RHO / np.sqrt(SIGMA),
        None,
    ),
    "JEPA with decay": (LinearJEPA(ALIGNED, weight_decay=DECAY), SURVIVING, SURVIVING),
    "JEPA with decay and a fast predictor": (
        LinearJEPA(ALIGNED, weight_decay=DECAY, predictor_rate=4.0),
        SURVIVING / 2,
        SURVIVING,
    ),
    "JEPA with decay and EMA": (LinearJEPA(ALIGNED, weight_decay=DECAY, ema_rate=0.3), SURVIVING, SURVIVING),
}


@pytest.mark.parametrize("name", AT_REST)
def test_rest_at_infinity(name: str) -> None:
    objective, weights, predictor = AT_REST[name]
    generator = np.random.default_rng(0)
    # Both modes a tenth off, in every direction: a rotated embedding rests as well, so that what must return is WᵀW.
    start = {"encoder": np.diag(weights) + 0.1 * generator.normal(size=(2, 2))}
    if predictor is not None:
        start["predictor"] = np.diag(predictor) + 0.1 * generator.normal(size=(2, 2))
    if isinstance(objective, LinearJEPA) and objective.lagging:
        start["target"] = start["encoder"]
    path = solve(objective, start, [400.0])
    assert path.status is Status.FINISHED
    W = path.encoder[0]
    # The slowest rates (decay, and alignment's 2(σ−λ) = 0.2 of the first mode) leave e^{−40} of the perturbation.
    assert np.allclose(W.T @ W, np.diag(weights**2), atol=1e-8)
    assert max(np.abs(part).max() for part in velocity(objective, at(path, 0, start)).values()) < 1e-8


def test_optimal_predictor_turns_one_embedding_to_the_most_correlated_mode() -> None:
    # k = 1: |w| is conserved, and the direction is that of the largest ρ.
    path = LinearJEPA(ALIGNED, predictor_rate=np.inf).solve([[0.3, 0.4]], None, [400.0])
    assert np.allclose(path.encoder[0], [[0.5, 0.0]], atol=1e-8)
    assert path.predictor[0, 0, 0] == pytest.approx(0.9, rel=1e-9)
