"""The map: how a predictor and a stop-gradient repel (results 2.0 to 2.5).

``dictionary`` holds the correspondence between predictors and uniformity functionals, ``entries`` its lines one by one,
``learnt`` what training makes of them; ``force`` the split of the force and its sign, ``negatives`` what the repulsion is
equivalent to, ``power`` what it delivers.
"""

from jepalign.theory.implicit_uniformity import dictionary, entries, force, learnt, negatives, power

THEOREMS = (
    *dictionary.THEOREMS,
    *entries.THEOREMS,
    *learnt.THEOREMS,
    *force.THEOREMS,
    *negatives.THEOREMS,
    *power.THEOREMS,
)
