"""Instances of the sin-theta bound (6.3): operators that assumptions would have, and those that the data have."""

import numpy as np

from jepalign.datasets import digits, two_views
from jepalign.linear_models.guarantees import SubspaceBound, subspace_bound, whitened_cross
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.views import ViewPair

CAUSES = ("not white", "not aligned", "unbalanced", "digits")
DIMENSION, INSTANCES = 12, 40
"""Dimension and number of the random instances of the first two causes."""

Array = np.ndarray


def turned_subspaces() -> dict[str, list[SubspaceBound]]:
    """Return instances by cause, from one seed."""
    rng = np.random.default_rng(0)
    sizes = np.geomspace(1e-3, 0.9, INSTANCES)
    return dict(
        zip(
            CAUSES,
            (
                [not_white(rng, size) for size in sizes],
                [not_aligned(rng, size) for size in sizes],
                [each for size in (0.3, 1.0, 3.0) for each in unbalanced(rng, size)],
                partly_white(),
            ),
            strict=True,
        )
    )


def orthogonal(rng: np.random.Generator, size: int) -> Array:
    """Return a random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def symmetric(values: Array, axes: Array) -> Array:
    """Return the matrix with these eigenvalues and eigenvectors (columns)."""
    found = (axes * values) @ axes.T
    return (found + found.T) / 2


def rotation(skew: Array) -> Array:
    """Return the exponential of an antisymmetric matrix, by the eigenvectors of i times it."""
    values, vectors = np.linalg.eigh(1j * skew)
    return np.real((vectors * np.exp(-1j * values)) @ vectors.conj().T)


def not_white(rng: np.random.Generator, size: float) -> SubspaceBound:
    """Return what Σ ≠ I does, its eigenvalues within ``size`` of 1: Σ^{−1/2}CΣ^{−1/2} selects, and C is taken for it."""
    cross = symmetric(rng.uniform(0, 1, DIMENSION), orthogonal(rng, DIMENSION))
    root = symmetric(np.sqrt(1 + size * rng.uniform(-1, 1, DIMENSION)), orthogonal(rng, DIMENSION))
    turned = root @ cross @ root
    return subspace_bound(cross, (turned + turned.T) / 2, int(rng.integers(1, DIMENSION)))


def not_aligned(rng: np.random.Generator, size: float) -> SubspaceBound:
    """Return what misalignment does, axes turned by angles of order ``size``: coordinates are taken for eigenvectors."""
    skew = rng.normal(size=(DIMENSION, DIMENSION)) / np.sqrt(2 * DIMENSION)
    cross = symmetric(rng.uniform(0, 1, DIMENSION), rotation(size * (skew - skew.T)))
    return subspace_bound(np.diag(np.diag(cross)), cross, int(rng.integers(1, DIMENSION)))


def unbalanced(rng: np.random.Generator, size: float, d: int = 8, k: int = 3) -> list[SubspaceBound]:
    """Return how far the encoder of a JEPA with a random predictor of this size is turned, along its way.

    E is the residual of its row space, −(RQᵀ + QRᵀ), R = CQ − Q(QᵀCQ): C + E has the row space for an invariant one.
    """
    cross = symmetric(np.linspace(0.9, 0.1, d), orthogonal(rng, d))
    views = ViewPair.from_covariances(np.eye(d), np.eye(d), cross)
    encoder, predictor = 0.3 * rng.normal(size=(k, d)), size * (np.eye(k) + rng.normal(size=(k, k)) / (2 * np.sqrt(k)))
    path = LinearJEPA(views).solve(encoder, predictor, np.geomspace(5, 120, 12), rtol=1e-8)
    values, vectors = np.linalg.eigh(cross)
    found: list[SubspaceBound] = []
    for W in path.encoder:
        basis = np.linalg.qr(W.T, mode="complete")[0]
        Q, rest = basis[:, :k], basis[:, k:]
        residual = cross @ Q - Q @ (Q.T @ cross @ Q)
        gap = float(values[-k] - np.linalg.eigvalsh(rest.T @ cross @ rest)[-1])
        # ‖RQᵀ + QRᵀ‖² = 2‖R‖², since QᵀR = 0.
        error = float(np.sqrt(2) * np.linalg.norm(residual))
        sine = float(np.linalg.norm(rest.T @ vectors[:, -k:]))
        found.append(SubspaceBound(sine, error / gap if gap > 0 else np.inf, gap))
    return found


def partly_white() -> list[SubspaceBound]:
    """Return what is left of Σ ≠ I on digits whose whitening Σ^{−γ/2} stops short of γ = 1."""
    views = ViewPair.from_samples(*two_views(digits().images), symmetrize=True)
    values, vectors = np.linalg.eigh(views.context)
    white = whitened_cross(views)
    found: list[SubspaceBound] = []
    for missing in np.geomspace(1e-3, 1, 13):  # 1 − γ
        root = symmetric((values / np.exp(np.log(values).mean())) ** (missing / 2), vectors)
        turned = root @ white @ root
        found += [subspace_bound(white, (turned + turned.T) / 2, width) for width in (2, 4, 8)]
    return found
