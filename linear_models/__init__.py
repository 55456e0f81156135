"""What the theory predicts for linear encoders: views, objectives, closed forms and a reference integrator."""

from jepalign.linear_models.autoencoder import MaskedAutoencoder
from jepalign.linear_models.conservation import balance, discrete_drift
from jepalign.linear_models.contrastive import BarlowTwins, InfoNCE, SpectralContrastive, VICReg, WhitenedAlignment
from jepalign.linear_models.deep import DeepEncoder
from jepalign.linear_models.dictionary import DICTIONARY, SpectralPredictor
from jepalign.linear_models.flow import Law, Path, Status, integrate
from jepalign.linear_models.hybrids import Hybrid
from jepalign.linear_models.implicit_uniformity import (
    ModeForces,
    PowerGap,
    effective_coefficient,
    mode_forces,
    power_gap,
)
from jepalign.linear_models.jepa import Gradient, LinearJEPA
from jepalign.linear_models.objectives import Forces, ImplicitUniformity
from jepalign.linear_models.rest import ModeEquilibria
from jepalign.linear_models.views import Modes, ViewPair

__all__ = [
    "DICTIONARY",
    "BarlowTwins",
    "DeepEncoder",
    "Forces",
    "Gradient",
    "Hybrid",
    "ImplicitUniformity",
    "InfoNCE",
    "Law",
    "LinearJEPA",
    "MaskedAutoencoder",
    "ModeEquilibria",
    "ModeForces",
    "Modes",
    "Path",
    "PowerGap",
    "SpectralContrastive",
    "SpectralPredictor",
    "Status",
    "VICReg",
    "ViewPair",
    "WhitenedAlignment",
    "balance",
    "discrete_drift",
    "effective_coefficient",
    "integrate",
    "mode_forces",
    "power_gap",
]
