"""Closed forms of the modes' trajectories (chapter 5), one function an objective; all broadcast like NumPy's ufuncs.

A mode is a direction that the data and the weights share. ``weight`` is the encoder's weight on it at time 0, ``cross`` is λ, the
cross-covariance of the two views, ``variance`` is σ; times are raw gradient-flow time, of the losses as chapter 1 to 5 state them.
"""

from jepalign.linear_models.trajectories.arrival import (
    barlow_twins_time,
    critical_time,
    deep_jepa_time,
    learning_order,
    masked_autoencoder_time,
    spectral_contrastive_time,
    step_time,
)
from jepalign.linear_models.trajectories.arrival_jepa import balanced_jepa_time, unbalanced_jepa_time
from jepalign.linear_models.trajectories.balanced import balanced_jepa
from jepalign.linear_models.trajectories.depth import deep_jepa, masked_autoencoder
from jepalign.linear_models.trajectories.ema import ema_without_predictor, ema_without_predictor_matrices
from jepalign.linear_models.trajectories.gram import spectral_contrastive_gram
from jepalign.linear_models.trajectories.logistic import barlow_twins, spectral_contrastive
from jepalign.linear_models.trajectories.power_predictor import power_predictor
from jepalign.linear_models.trajectories.stiefel import optimal_predictor_direction
from jepalign.linear_models.trajectories.unbalanced import unbalanced_jepa

__all__ = [
    "balanced_jepa",
    "balanced_jepa_time",
    "barlow_twins",
    "barlow_twins_time",
    "critical_time",
    "deep_jepa",
    "deep_jepa_time",
    "ema_without_predictor",
    "ema_without_predictor_matrices",
    "learning_order",
    "masked_autoencoder",
    "masked_autoencoder_time",
    "optimal_predictor_direction",
    "power_predictor",
    "spectral_contrastive",
    "spectral_contrastive_gram",
    "spectral_contrastive_time",
    "step_time",
    "unbalanced_jepa",
    "unbalanced_jepa_time",
]
