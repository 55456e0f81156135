"""The contrastive side: what the map of chapter 2 maps to (results 1.1 to 1.5)."""
