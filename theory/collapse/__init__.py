"""When a dimension collapses and when it survives (results 4.1 to 4.8)."""

from jepalign.theory.collapse import gauge, mean

THEOREMS = (*gauge.THEOREMS, *mean.THEOREMS)
