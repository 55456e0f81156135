"""Sampled losses of embeddings (n, k), in the conventions of their papers and of the public implementations, by name."""

from jepalign.linear_models.losses.alignment import alignment
from jepalign.linear_models.losses.barlow_twins import barlow_twins
from jepalign.linear_models.losses.batch import LossGradient
from jepalign.linear_models.losses.infonce import infonce
from jepalign.linear_models.losses.log_det import log_det
from jepalign.linear_models.losses.prediction import prediction
from jepalign.linear_models.losses.sigreg import sigreg
from jepalign.linear_models.losses.spectral_contrastive import spectral_contrastive
from jepalign.linear_models.losses.uniformity import uniformity
from jepalign.linear_models.losses.vicreg import vicreg

__all__ = [
    "LossGradient",
    "alignment",
    "barlow_twins",
    "infonce",
    "log_det",
    "prediction",
    "sigreg",
    "spectral_contrastive",
    "uniformity",
    "vicreg",
]
