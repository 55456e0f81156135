"""Alignment of a batch of positive pairs."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jepalign.errors import InputError
from jepalign.linear_models.losses.batch import LossGradient, choice, factor, pair, through_unit_rows, unit_rows


def alignment(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    exponent: float = 2.0,
    normalize: bool = True,
    convention: Literal["paper", "half"] = "paper",
) -> LossGradient:
    """Return the mean over pairs of ‖z1_i − z2_i‖^α.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views; row i of both is sample i.
    exponent : float
        α, above 0 and at most 4.
    normalize : bool
        Divide every row by its length first, as the paper does.
    convention : {"paper", "half"}
        "half" is half of it: with α = 2 and without normalising the alignment ½E‖z − z⁺‖² of linear models.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k); of equal pairs 0, where α ≤ 1 has no gradient.

    Raises
    ------
    InputError
        If an argument is malformed or out of range, or a row to be normalised vanishes.

    Notes
    -----
    Wang & Isola 2020, section 4.1.1, and their code. Cost O(nk).
    """
    first, second = pair(z1, z2, least=1)
    alpha = factor("exponent", exponent)
    if alpha > 4:
        raise InputError("exponent", alpha, "must be at most 4")
    choice("convention", convention, ("paper", "half"))
    scale = (0.5 if convention == "half" else 1.0) / len(first)
    a, length1 = unit_rows("z1", first) if normalize else (first, None)
    b, length2 = unit_rows("z2", second) if normalize else (second, None)
    apart = a - b
    largest = np.abs(apart).max(axis=1, keepdims=True)
    equal = largest < 1e-300
    scaled = apart / np.where(equal, 1.0, largest)
    relative = np.where(equal, 1.0, np.sqrt(np.square(scaled).sum(axis=1, keepdims=True)))
    distance = np.where(equal, 0.0, largest * relative)
    with np.errstate(divide="ignore", under="ignore"):
        slope = np.where(equal, 0.0, np.power(np.where(equal, 1.0, distance), alpha - 1))
    gradient = scale * alpha * slope * scaled / relative
    value = scale * float(np.power(distance, alpha).sum())
    if length1 is not None and length2 is not None:
        return LossGradient(value, through_unit_rows(gradient, a, length1), through_unit_rows(-gradient, b, length2))
    return LossGradient(value, gradient, -gradient)
