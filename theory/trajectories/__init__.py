"""Trajectories in closed form (results 5.1 to 5.9)."""
