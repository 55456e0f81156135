"""Chapter 4, collapse: thresholds, equilibria and their stability, and what an explicit term rescues."""

from jepalign.linear_models.collapse.thresholds import (
    basin_edge,
    competition,
    critical_weight_decay,
    equilibria,
    growth,
    rank_bound,
    survives,
    surviving_rank,
)

__all__ = [
    "basin_edge",
    "competition",
    "critical_weight_decay",
    "equilibria",
    "growth",
    "rank_bound",
    "survives",
    "surviving_rank",
]
