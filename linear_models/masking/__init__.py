"""Chapter 7, masks and world models: the exact covariances of views that hide parts of one sample."""
