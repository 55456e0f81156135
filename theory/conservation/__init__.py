"""What training conserves (results 3.1 to 3.7)."""
