"""Chapter 1, the contrastive side and its relatives: objectives that say explicitly what embeddings are kept apart by."""

from jepalign.linear_models.contrastive.barlow_twins import BarlowTwins
from jepalign.linear_models.contrastive.infonce import InfoNCE
from jepalign.linear_models.contrastive.spectral import SpectralContrastive
from jepalign.linear_models.contrastive.vicreg import VICReg
from jepalign.linear_models.contrastive.whitened import WhitenedAlignment

__all__ = ["BarlowTwins", "InfoNCE", "SpectralContrastive", "VICReg", "WhitenedAlignment"]
