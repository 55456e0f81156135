"""When a dimension collapses and when it survives (results 4.1 to 4.8)."""
