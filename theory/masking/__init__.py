"""Masks, views that are not exchangeable, and world models: what makes it a JEPA (results 7.1 to 7.4)."""
