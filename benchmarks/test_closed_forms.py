"""Seconds of every closed form, by pytest-benchmark; off by default: ``make bench``. To compare two states, --benchmark-autosave."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jepalign.linear_models.collapse import equilibria
from jepalign.linear_models.trajectories import (
    balanced_jepa,
    barlow_twins,
    deep_jepa,
    ema_without_predictor,
    masked_autoencoder,
    spectral_contrastive,
    unbalanced_jepa,
)
from jepalign.linear_models.trajectories.wright import wright

CROSS = np.linspace(0.2, 1, 1000)[:, None]
TIMES = np.linspace(0, 200, 200)
CASES: dict[str, Callable[[], Any]] = {
    "exp": lambda: np.exp(-CROSS * TIMES),
    "wright": lambda: wright(20 - CROSS * TIMES),
    "balanced_jepa": lambda: balanced_jepa(TIMES, 0.1, CROSS, 1.0),
    "balanced_jepa, decayed": lambda: balanced_jepa(TIMES, 0.1, CROSS, 1.0, weight_decay=0.001),
    "balanced_jepa, beyond the threshold": lambda: balanced_jepa(TIMES, 0.1, CROSS, 1.0, weight_decay=0.3),
    "unbalanced_jepa": lambda: unbalanced_jepa(TIMES, 0.1, 0.2, CROSS, 1.0),
    "spectral_contrastive": lambda: spectral_contrastive(TIMES, 0.1, CROSS, 1.0),
    "barlow_twins": lambda: barlow_twins(TIMES, 0.1, CROSS),
    "deep_jepa": lambda: deep_jepa(TIMES, 0.1, CROSS, 1.0, depth=2),
    "masked_autoencoder": lambda: masked_autoencoder(TIMES, 0.1, CROSS, 1.0, depth=2),
    "ema_without_predictor": lambda: ema_without_predictor(TIMES, 0.1, 0.1, CROSS, 1.0, ema_rate=0.1),
    "equilibria": lambda: equilibria(CROSS, 1.0, TIMES / 1000),
}


@pytest.mark.benchmark(group="200,000 elements", warmup=True)
@pytest.mark.parametrize("name", CASES)
def test_seconds(name: str, benchmark: Any) -> None:
    """Time one closed form."""
    benchmark(CASES[name])
