"""Chapter 4, collapse: thresholds, equilibria and their stability, what an explicit term rescues, and LeJEPA."""

from jepalign.linear_models.collapse.lejepa import lejepa_rest, lejepa_spectrum, lejepa_strength, lejepa_threshold
from jepalign.linear_models.collapse.phase_diagram import phase_diagram
from jepalign.linear_models.collapse.reach import coupled_modes, holding_weight, largest_weight_decay
from jepalign.linear_models.collapse.rescue import (
    HybridEquilibria,
    Rescue,
    c_jepa_strength,
    hybrid_equilibria,
    rescue_weight,
)
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
    "HybridEquilibria",
    "Rescue",
    "basin_edge",
    "c_jepa_strength",
    "competition",
    "coupled_modes",
    "critical_weight_decay",
    "equilibria",
    "growth",
    "holding_weight",
    "hybrid_equilibria",
    "largest_weight_decay",
    "lejepa_rest",
    "lejepa_spectrum",
    "lejepa_strength",
    "lejepa_threshold",
    "phase_diagram",
    "rank_bound",
    "rescue_weight",
    "survives",
    "surviving_rank",
]
