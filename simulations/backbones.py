"""Encoders of digits, one of each kind, for laws that hold whatever is below the last layer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from jepalign.simulations.encoders import DEEP, LINEAR, MLP, Convolutional, PooledTransformer

EMBEDDING = DEEP[-1]

# From a seed; 8 × 8 digits to 16 dimensions, the last layer linear and without bias.
BACKBONES: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "linear": lambda seed: MLP(LINEAR, "linear", seed=seed),
        "deep linear": lambda seed: MLP(DEEP, "linear", seed=seed),
        "tanh": lambda seed: MLP(DEEP, "tanh", seed=seed),
        "relu": lambda seed: MLP(DEEP, "relu", seed=seed),
        "gelu": lambda seed: MLP(DEEP, "gelu", seed=seed),
        "convolutional": lambda seed: Convolutional(8, (8, 16), EMBEDDING, "relu", seed=seed),
        "batch-normalised": lambda seed: Convolutional(8, (8, 16), EMBEDDING, "relu", seed=seed, normalize=True),
        "transformer": lambda seed: PooledTransformer(8, 2, EMBEDDING, depth=2, heads=2, seed=seed).double(),
    }
)
