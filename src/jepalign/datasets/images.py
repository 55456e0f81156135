"""Real data as arrays: handwritten digits, and two random views of each image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Digits:
    """Handwritten digits.

    Attributes
    ----------
    images : ndarray of shape (n, 64), float64
        The 8 × 8 grey levels, row by row, in [0, 1].
    labels : ndarray of shape (n,), int
        The digit shown, 0 to 9.
    """

    images: Array
    labels: NDArray[np.int64]


def digits() -> Digits:
    """Return the 1797 digits of 8 × 8 pixels that ship with scikit-learn, grey levels in [0, 1].

    They are the test part of Alpaydin & Kaynak's 1998 set at the UCI repository; nothing is downloaded.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # The file holds integers 0 to 16; dividing by a power of two is exact.
    return Digits(images=np.asarray(images, dtype=np.float64) / 16, labels=np.asarray(labels, dtype=np.int64))


def two_views(images: ArrayLike, *, noise: float = 0.1, mask: float = 0.25, seed: int = 0) -> tuple[Array, Array]:
    """Return two independent random views of every image.

    To each view Gaussian noise is added, and then every pixel is set to 0 with probability ``mask``, all independently:
    (x, y) and (y, x) have the same law. The views are exchangeable in law, though not on a sample.

    Parameters
    ----------
    images : array_like of shape (n, d)
        One image per row.
    noise : float
        Standard deviation of the noise, in the unit of the grey levels; at least 0.
    mask : float
        Probability that a pixel is set to 0, in [0, 1].
    seed : int
        Seeds NumPy's default generator; at least 0.

    Returns
    -------
    x, y : ndarray of shape (n, d)
        The views, less one common mean: that over the rows of both.

    Raises
    ------
    InputError
        If ``images`` is not two-dimensional, empty or not finite, or if another argument is outside its range.
    """
    try:
        given = np.asarray(images)
    except ValueError as problem:
        raise InputError("images", type(images).__name__, "must be a matrix, with rows of one length") from problem
    if given.dtype.kind not in "fiub":
        raise InputError("images", f"array of {given.dtype}", "must hold real numbers")
    values = given.astype(np.float64)
    if values.ndim != 2 or values.size == 0:
        raise InputError("images", f"array of shape {values.shape}", "must be (n, d) with n and d at least 1")
    if not np.isfinite(values).all():
        raise InputError("images", "array with NaN or infinity", "must be finite")
    if not 0 <= noise < np.inf:
        raise InputError("noise", noise, "must be a finite standard deviation, at least 0")
    if not 0 <= mask <= 1:
        raise InputError("mask", mask, "must be a probability between 0 and 1")
    if not isinstance(seed, int | np.integer) or seed < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError("seed", seed, "must be an integer, at least 0")
    generator = np.random.default_rng(seed)

    def view() -> Array:
        noisy = values + noise * generator.standard_normal(values.shape)
        return np.where(generator.random(values.shape) < mask, 0.0, noisy)

    x, y = view(), view()
    mean = (x.mean(axis=0) + y.mean(axis=0)) / 2
    return x - mean, y - mean
