"""What training conserves (results 3.1 to 3.7)."""

from jepalign.theory.conservation import balance, initial

THEOREMS = (*balance.THEOREMS, *initial.THEOREMS)
