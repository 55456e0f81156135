"""The map: how a predictor and a stop-gradient repel (results 2.0 to 2.9).

``dictionary`` holds the correspondence between predictors and uniformity functionals, ``entries`` its lines one by one,
``learnt`` what training makes of them; ``force`` the split of the force and its sign, ``negatives`` what the repulsion is
equivalent to, ``power`` what it delivers, ``coefficient`` its weight; ``potential`` says what the flow descends, ``target``
what an averaged target adds.
"""

from jepalign.theory.implicit_uniformity import (
    coefficient,
    dictionary,
    entries,
    force,
    learnt,
    negatives,
    potential,
    power,
    target,
)

THEOREMS = (
    *dictionary.THEOREMS,
    *entries.THEOREMS,
    *learnt.THEOREMS,
    *force.THEOREMS,
    *negatives.THEOREMS,
    *power.THEOREMS,
    *coefficient.THEOREMS,
    *potential.THEOREMS,
    *target.THEOREMS,
)
