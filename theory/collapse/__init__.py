"""When a dimension collapses and when it survives (results 4.1 to 4.8)."""

from jepalign.theory.collapse import blindness, escape, gauge, mean, off_balance, threshold

THEOREMS = (
    *threshold.THEOREMS,
    *off_balance.THEOREMS,
    *escape.THEOREMS,
    *blindness.THEOREMS,
    *gauge.THEOREMS,
    *mean.THEOREMS,
)
