"""Trajectories in closed form (results 5.1 to 5.9)."""

from jepalign.theory.trajectories import linear_flow, oja, riccati, stiefel

THEOREMS = (*linear_flow.THEOREMS, *oja.THEOREMS, *riccati.THEOREMS, *stiefel.THEOREMS)
