"""The map: how a predictor and a stop-gradient repel (results 2.0 to 2.9).

``dictionary`` holds the correspondence between predictors and uniformity functionals, ``entries`` its lines one by one,
``learnt`` what training makes of them, ``further`` SIGReg and cosine losses; ``force`` the split of the force and its sign,
``negatives`` what the repulsion is equivalent to, ``power`` what it delivers, ``coefficient`` its weight; ``potential`` says
what the flow descends, ``target`` what an averaged target adds.
"""
