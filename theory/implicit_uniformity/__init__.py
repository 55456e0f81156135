"""The map: how a predictor and a stop-gradient repel (results 2.0 to 2.9).

``dictionary`` holds the correspondence between predictors and uniformity functionals, ``entries`` its lines one by one,
``learnt`` what training makes of them, ``further`` SIGReg and cosine losses; ``force`` the split of the force and its sign,
``negatives`` what the repulsion is equivalent to, ``power`` what it delivers, ``coefficient`` its weight; ``potential`` says
what the flow descends, ``target`` what an averaged target adds.

``slices`` and ``cosine`` say what those two are after all; ``decay`` says what weight decay adds to the
potential, ``lyapunov`` what is descended off balance, ``captured`` what any forward predictor does to the subspace.
"""
