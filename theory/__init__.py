"""Derivations: every result as a theorem that is proved, with false siblings that the same machinery refuses."""
