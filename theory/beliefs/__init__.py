"""What is commonly said and is wrong: each belief as it is stated, refuted, and repaired."""
