"""Chapter 1, the contrastive side and its relatives: objectives that say explicitly what embeddings are kept apart by."""

from jepalign.linear_models.contrastive.infonce import InfoNCE
from jepalign.linear_models.contrastive.spectral import SpectralContrastive

__all__ = ["InfoNCE", "SpectralContrastive"]
