"""Sampled losses of embeddings (n, k), in the conventions of their papers and of the public implementations, by name."""
