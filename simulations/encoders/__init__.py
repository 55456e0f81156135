"""Encoders with a bias-free linear last layer, z = W h(x), initialised from a generator of their own."""

from jepalign.simulations.encoders.convolutional import Convolutional
from jepalign.simulations.encoders.multilayer import (
    ACTIVATIONS,
    DEEP,
    GAINS,
    LINEAR,
    MLP,
    digit_encoder,
    linear,
    linear_predictor,
    scale_embedding,
)
from jepalign.simulations.encoders.vision_transformer import PatchPredictor, PooledTransformer, VisionTransformer
from jepalign.simulations.encoders.world_model import ActionPredictor

__all__ = [
    "ACTIVATIONS",
    "DEEP",
    "GAINS",
    "LINEAR",
    "MLP",
    "ActionPredictor",
    "Convolutional",
    "PatchPredictor",
    "PooledTransformer",
    "VisionTransformer",
    "digit_encoder",
    "linear",
    "linear_predictor",
    "scale_embedding",
]
