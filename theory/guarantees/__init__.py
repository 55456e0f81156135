"""Guarantees of contrastive learning that carry over to prediction (results 6.1 to 6.3)."""

from jepalign.theory.guarantees import competition, probe, robustness, signature

THEOREMS = (*competition.THEOREMS, *signature.THEOREMS, *probe.THEOREMS, *robustness.THEOREMS)
