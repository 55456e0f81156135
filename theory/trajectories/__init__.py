"""Trajectories in closed form (results 5.1 to 5.9)."""

from jepalign.theory.trajectories import (
    balanced,
    double_bracket,
    hyperplane,
    linear_flow,
    modes,
    oja,
    riccati,
    spectral_predictor,
    stiefel,
)

THEOREMS = (
    *balanced.THEOREMS,
    *double_bracket.THEOREMS,
    *hyperplane.THEOREMS,
    *linear_flow.THEOREMS,
    *modes.THEOREMS,
    *oja.THEOREMS,
    *riccati.THEOREMS,
    *stiefel.THEOREMS,
    *spectral_predictor.THEOREMS,
)
