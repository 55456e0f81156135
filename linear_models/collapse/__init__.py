"""Chapter 4, collapse: thresholds, equilibria and their stability, and what an explicit term rescues."""
