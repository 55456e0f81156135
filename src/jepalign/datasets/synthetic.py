"""Synthetic data whose spectra are known: views of common latents, stationary tokens, a rotating dynamical system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError

Array = NDArray[np.float64]

# Latents of mean 0 and variance 1.
_LATENTS: dict[str, Callable[[np.random.Generator, Any], Array]] = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "laplace": lambda rng, shape: rng.laplace(0, np.sqrt(0.5), shape),
    "binary": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
}
_MIXINGS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda s: s,
    "tanh": np.tanh,
    "cubic": lambda s: s + 0.1 * s**3,
}


@dataclass(frozen=True)
class LatentViews:
    """Pairs of views of common latents.

    Attributes
    ----------
    x, y : ndarray of shape (n, d)
        The views, centred by their common mean.
    latents : ndarray of shape (n, m)
        What the two views share, mean 0 and variance 1 each.
    correlations : ndarray of shape (m,)
        The correlation of the two views' readings of each latent: the canonical correlations of linearly mixed Gaussian latents.
    """

    x: Array
    y: Array
    latents: Array
    correlations: Array


def latent_views(
    samples: int,
    dimension: int,
    correlations: ArrayLike,
    *,
    latents: str = "gaussian",
    mixing: str = "linear",
    seed: int = 0,
) -> LatentViews:
    """Return views x = f(Q s), y = f(Q s′) of latents u, with s_i = √|ρ_i| u_i + √(1−|ρ_i|) ξ_i and independent Gaussian ξ, ξ′.

    For ρ_i < 0 the second view reads −u_i. Q is a random orthogonal matrix, and f acts on each coordinate.

    Parameters
    ----------
    samples, dimension : int
        n and d.
    correlations : array_like of shape (m,)
        ρ_i between −1 and 1, for m ≤ d latents; the other d − m coordinates are noise of variance 1.
    latents : {"gaussian", "uniform", "laplace", "binary"}
        The law of every u_i, with mean 0 and variance 1.
    mixing : {"linear", "tanh", "cubic"}
        f: s, tanh s or s + s³/10.
    seed : int
        At least 0.

    Raises
    ------
    InputError
        If an argument is out of range or unknown.
    """
    rho = np.atleast_1d(np.asarray(correlations, dtype=np.float64))
    _positive("samples", samples)
    _positive("dimension", dimension)
    if rho.ndim != 1 or len(rho) > dimension or not (np.abs(rho) <= 1).all():
        raise InputError(
            "correlations", f"array of shape {rho.shape}", f"must be at most {dimension} numbers between -1 and 1"
        )
    _known("latents", latents, _LATENTS)
    _known("mixing", mixing, _MIXINGS)
    rng = _generator(seed)
    shared = np.zeros(dimension)
    shared[: len(rho)] = rho
    common = np.zeros((samples, dimension))
    common[:, : len(rho)] = _LATENTS[latents](rng, (samples, len(rho)))
    turn = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    sides = (np.ones(dimension), np.where(shared < 0, -1.0, 1.0))
    x, y = (
        _MIXINGS[mixing](
            (side * np.sqrt(np.abs(shared)) * common + np.sqrt(1 - np.abs(shared)) * rng.standard_normal(common.shape))
            @ turn.T
        )
        for side in sides
    )
    mean = (x.mean(axis=0) + y.mean(axis=0)) / 2
    return LatentViews(x - mean, y - mean, common[:, : len(rho)], rho)


def token_sequences(
    samples: int, count: int, *, correlation: float, width: int = 1, circular: bool = False, seed: int = 0
) -> Array:
    """Return stationary Gaussian sequences of tokens, (n, count, width), independent along ``width``, variance 1.

    Parameters
    ----------
    samples, count, width : int
        n sequences of ``count`` tokens of ``width`` numbers each.
    correlation : float
        r in [0, 1): two tokens at distance j have the covariance r^j.
    circular : bool
        Measure distances around a ring: r^j is then summed over all ways around and divided by its value at j = 0.
    seed : int
        At least 0.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    for name, value in (("samples", samples), ("count", count), ("width", width)):
        _positive(name, value)
    if not 0 <= correlation < 1:
        raise InputError("correlation", correlation, "must be at least 0 and below 1")
    rng = _generator(seed)
    noise = rng.standard_normal((samples, count, width))
    if circular:
        # Σ_m r^|j+mN| = (r^j + r^(N−j))/(1 − r^N): the ring is the line wound up.
        distance = np.arange(count)
        row = (
            correlation**distance
            + correlation ** (count - distance) * (distance > 0)
            + correlation**count * (distance == 0)
        )
        spectrum = np.maximum(np.fft.rfft(row / row[0]).real, 0.0)
        return np.fft.irfft(np.fft.rfft(noise, axis=1) * np.sqrt(spectrum)[:, None], n=count, axis=1)
    found = np.empty_like(noise)
    found[:, 0] = noise[:, 0]
    for index in range(1, count):
        found[:, index] = correlation * found[:, index - 1] + np.sqrt(1 - correlation**2) * noise[:, index]
    return found


@dataclass(frozen=True)
class Transitions:
    """Steps of a stationary dynamical system x′ = Fx + Ba + ξ, seen through a fixed nonlinear reading.

    Attributes
    ----------
    state, following : ndarray of shape (n, d)
        Readings of x and x′.
    actions : ndarray of shape (n, m)
        a, independent standard normals; m = 0 without actions.
    dynamics : ndarray of shape (d, d)
        F: blocks ρR_θ.
    """

    state: Array
    following: Array
    actions: Array
    dynamics: Array


def rotating_transitions(
    samples: int,
    radii: ArrayLike,
    angles: ArrayLike,
    *,
    actions: int = 0,
    reading: str = "linear",
    seed: int = 0,
) -> Transitions:
    """Return pairs of consecutive states of independent planes that rotate by θ and shrink by ρ, with variance 1 each.

    Parameters
    ----------
    samples : int
        n independent pairs from the stationary law.
    radii, angles : array_like of shape (m,)
        ρ in [0, 1) and θ in radians of every plane; d = 2m.
    actions : int
        Number of independent actions, which drive the state through a random B; at most d. They take half of the noise's variance.
    reading : {"linear", "tanh", "cubic"}
        What an observer sees of every coordinate, in a random orthogonal basis.
    seed : int
        At least 0.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    rho, theta = np.broadcast_arrays(np.atleast_1d(np.asarray(radii, float)), np.atleast_1d(np.asarray(angles, float)))
    _positive("samples", samples)
    _known("reading", reading, _MIXINGS)
    if rho.ndim != 1 or not ((rho >= 0) & (rho < 1)).all():
        raise InputError("radii", f"array of shape {rho.shape}", "must be numbers at least 0 and below 1")
    d = 2 * len(rho)
    if not 0 <= actions <= d:
        raise InputError("actions", actions, f"must be between 0 and {d}")
    rng = _generator(seed)
    F, driven = np.zeros((d, d)), np.zeros((d, actions))
    for index, (radius, angle) in enumerate(zip(rho, theta, strict=True)):
        place = slice(2 * index, 2 * index + 2)
        F[place, place] = radius * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    spread = np.repeat(1 - rho**2, 2)
    if actions:
        # One action a coordinate, on as many coordinates as there are actions, drawn at random.
        reached = rng.permutation(d)[:actions]
        driven[reached, np.arange(actions)] = np.sqrt(spread[reached] / 2)
        spread = spread.copy()
        spread[reached] /= 2
    state, given = rng.standard_normal((samples, d)), rng.standard_normal((samples, actions))
    following = state @ F.T + given @ driven.T + np.sqrt(spread) * rng.standard_normal((samples, d))
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    seen = [_MIXINGS[reading](part @ turn.T) for part in (state, following)]
    return Transitions(seen[0], seen[1], given, turn @ F @ turn.T)


def _positive(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(name, value, "must be an integer, at least 1")


def _known(name: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise InputError(name, repr(value), f"must be one of {', '.join(known)}")


def _generator(seed: int) -> np.random.Generator:
    if not isinstance(seed, int | np.integer) or seed < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError("seed", seed, "must be an integer, at least 0")
    return np.random.default_rng(seed)
