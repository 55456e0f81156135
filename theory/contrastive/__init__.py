"""The contrastive side: what the map of chapter 2 maps to (results 1.1 to 1.5)."""

from jepalign.theory.contrastive import (
    decayed,
    decorrelation,
    duality,
    eigenproblem,
    euclidean,
    infonce,
    minimum,
    uniformity,
)

THEOREMS = (
    *duality.THEOREMS,
    *infonce.THEOREMS,
    *euclidean.THEOREMS,
    *uniformity.THEOREMS,
    *minimum.THEOREMS,
    *eigenproblem.THEOREMS,
    *decorrelation.THEOREMS,
    *decayed.THEOREMS,
)
