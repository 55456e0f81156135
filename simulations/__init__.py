"""Deep encoders against the predictions. Importing this package does not import torch; running an experiment does."""
