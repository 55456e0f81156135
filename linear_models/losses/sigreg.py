"""SIGReg of a batch: the Epps–Pulley statistic of its projections on random or given directions."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, matrix
from jepalign.linear_models.losses.batch import LossGradient, blocks, choice, pair, unit_rows

Array = NDArray[np.float64]

# The largest frequency. All have 17 points over [−t, t] ("paper") or, folded, over [0, t].
CONVENTIONS = {"paper": 5.0, "official": 3.0, "lightly": 3.0}


def sigreg(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    directions: ArrayLike | int = 256,
    seed: int = 0,
    scaled: bool = True,
    convention: Literal["paper", "official", "lightly"] = "paper",
) -> LossGradient:
    """Return n ∫ |φ_n(t) − e^{−t²/2}|² e^{−t²/2} dt, averaged over directions and over the two views.

    φ_n(t) is the mean of e^{itx} over the projections x of a batch on a unit vector; the integral is the trapezoidal rule's.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views, n at least 2. The views do not interact. Not centred: the mean is part of the test.
    directions : array_like of shape (m, k) or int
        Directions of any length but 0, or how many to draw uniformly.
    seed : int
        Of the drawn directions.
    scaled : bool
        Multiply by n, as published. Without, the loss has a limit for large n.
    convention : {"paper", "official", "lightly"}
        The frequencies. "paper": 17 from −5 to 5. "official", the code of the authors, and "lightly": 17 from 0 to 3, counted twice, which
        is the rule with 33 from −3 to 3.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k).

    Raises
    ------
    InputError
        If an argument is malformed, or a direction vanishes.

    Notes
    -----
    Balestriero & LeCun 2025 (LeJEPA); the statistic is Epps & Pulley's of 1983, without standardising the sample. For Gaussian
    embeddings the limit is :meth:`jepalign.linear_models.uniformity.SIGReg.sliced` with θ = ½, up to the rule's error. Cost O(nmk),
    in blocks of directions.
    """
    first, second = pair(z1, z2)
    choice("convention", convention, CONVENTIONS)
    n, k = first.shape
    units = _directions(directions, k, seed)
    last = CONVENTIONS[convention]
    # Even in t and 0 at t = 0: positive frequencies, counted twice but for the trapezoidal rule's half at the end.
    steps = 8 if convention == "paper" else 16
    frequencies = last / steps * np.arange(1, steps + 1)
    normal = np.exp(-np.square(frequencies) / 2)
    weights = 2 * last / steps * normal
    weights[-1] /= 2
    scale = (n if scaled else 1.0) / (2 * len(units))
    value = 0.0
    gradients = [np.zeros_like(first), np.zeros_like(second)]
    for index, z in enumerate((first, second)):
        for rows in blocks(len(units), n):
            chosen = units[rows]
            projections = z @ chosen.T
            slopes = np.zeros_like(projections)
            for t, target, weight in zip(frequencies, normal, weights, strict=True):
                angles = t * projections
                cosines, sines = np.cos(angles), np.sin(angles)
                real, imaginary = cosines.mean(axis=0) - target, sines.mean(axis=0)
                value += scale * weight * float((np.square(real) + np.square(imaginary)).sum())
                slopes += 2 * weight * t / n * (imaginary * cosines - real * sines)
            gradients[index] += scale * slopes @ chosen
    return LossGradient(value, gradients[0], gradients[1])


def _directions(directions: ArrayLike | int, k: int, seed: int) -> Array:
    if isinstance(directions, int | np.integer) and not isinstance(directions, bool):
        number = count("directions", int(directions))
        drawn = np.random.default_rng(count("seed", seed, least=0)).standard_normal((number, k))
        return unit_rows("directions", drawn)[0]
    given = matrix("directions", directions)
    if given.shape[1] != k:
        raise InputError("directions", f"array of shape {given.shape}", f"must have {k} columns")
    return unit_rows("directions", given)[0]
