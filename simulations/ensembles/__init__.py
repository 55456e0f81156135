"""Ensembles of small networks trained at once with ``torch.func``."""

from jepalign.simulations.ensembles.explicit import epps_pulley, explicit_uniformity, slicing_directions
from jepalign.simulations.ensembles.results import Ensemble, Snapshot
from jepalign.simulations.ensembles.settings import Members, Method, Predictor
from jepalign.simulations.ensembles.stacks import least_squares_predictors, spectral_predictors
from jepalign.simulations.ensembles.training import train_ensemble

__all__ = [
    "Ensemble",
    "Members",
    "Method",
    "Predictor",
    "Snapshot",
    "epps_pulley",
    "explicit_uniformity",
    "least_squares_predictors",
    "slicing_directions",
    "spectral_predictors",
    "train_ensemble",
]
