"""When a dimension collapses and when it survives (results 4.1 to 4.8)."""

from jepalign.theory.collapse import (
    ablation,
    blindness,
    ema,
    ema_basin,
    escape,
    gauge,
    hybrid_terms,
    hybrids,
    mean,
    off_balance,
    threshold,
)

THEOREMS = (
    *ablation.THEOREMS,
    *ema.THEOREMS,
    *threshold.THEOREMS,
    *off_balance.THEOREMS,
    *ema_basin.THEOREMS,
    *escape.THEOREMS,
    *hybrids.THEOREMS,
    *hybrid_terms.THEOREMS,
    *blindness.THEOREMS,
    *gauge.THEOREMS,
    *mean.THEOREMS,
)
