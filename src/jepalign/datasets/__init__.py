"""Data as arrays, without PyTorch: images, pairs of views of known spectra, token sequences and a dynamical system."""

from jepalign.datasets.fashion_mnist import FashionMNIST, fashion_mnist
from jepalign.datasets.images import Digits, digits, two_views
from jepalign.datasets.synthetic import (
    LatentViews,
    Transitions,
    latent_views,
    rotating_transitions,
    token_sequences,
)

__all__ = [
    "Digits",
    "FashionMNIST",
    "LatentViews",
    "Transitions",
    "digits",
    "fashion_mnist",
    "latent_views",
    "rotating_transitions",
    "token_sequences",
    "two_views",
]
