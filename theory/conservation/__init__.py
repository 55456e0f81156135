"""What training conserves (results 3.1 to 3.7)."""

from jepalign.theory.conservation import balance, biased, initial, leak, optimisers

THEOREMS = (*balance.THEOREMS, *biased.THEOREMS, *initial.THEOREMS, *leak.THEOREMS, *optimisers.THEOREMS)
