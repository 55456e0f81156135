"""Publication figures, drawn from predictions and stored measurements; no torch needed."""
