"""Guarantees of contrastive learning that carry over to prediction (results 6.1 to 6.3)."""
