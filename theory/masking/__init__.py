"""Masks, views that are not exchangeable, and world models: what makes it a JEPA (results 7.1 to 7.4)."""

from jepalign.theory.masking import conventions, correlation, hadamard, spectrum, symmetry, world_model

THEOREMS = (
    *hadamard.THEOREMS,
    *conventions.THEOREMS,
    *symmetry.THEOREMS,
    *spectrum.THEOREMS,
    *correlation.THEOREMS,
    *world_model.THEOREMS,
)
