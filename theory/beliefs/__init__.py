"""What is commonly said and is wrong: each belief as it is stated, refuted, and repaired."""

from jepalign.theory.beliefs import averaging, features, masks

THEOREMS = (*averaging.THEOREMS, *features.THEOREMS, *masks.THEOREMS)
