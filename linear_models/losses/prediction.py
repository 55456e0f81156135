"""The prediction loss of a JEPA on a batch, in the normalisations of its relatives."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jepalign.linear_models.losses.batch import LossGradient, choice, pair, through_unit_rows, unit_rows

CONVENTIONS = ("half", "sum", "mean", "byol", "simsiam")


def prediction(
    predicted: ArrayLike,
    target: ArrayLike,
    *,
    convention: Literal["half", "sum", "mean", "byol", "simsiam"] = "half",
    stop_gradient: bool = True,
) -> LossGradient:
    """Return the distance of predicted embeddings p from target embeddings z, a mean over the n samples.

    Parameters
    ----------
    predicted, target : array_like of shape (n, k)
        Row i of both is sample i.
    convention : {"half", "sum", "mean", "byol", "simsiam"}
        "half": ½‖p − z‖², that of :class:`jepalign.linear_models.LinearJEPA`. "sum": ‖p − z‖² (Assran et al. 2023, I-JEPA). "mean":
        ‖p − z‖²/k, what libraries call the mean squared error. "byol": ‖p/‖p‖ − z/‖z‖‖², in [0, 4] (Grill et al. 2020). "simsiam":
        minus the cosine (Chen & He 2021): half of BYOL's less 1.
    stop_gradient : bool
        Let the gradient with respect to the target be 0, as all of them do.

    Returns
    -------
    LossGradient
        The loss with its gradients with respect to the prediction and to the target, (n, k).

    Raises
    ------
    InputError
        If the batches are malformed, the convention unknown, or a row vanishes with "byol" or "simsiam".

    Notes
    -----
    A loss that is symmetric in the views is the mean of two calls (SimSiam) or their sum (BYOL). Cost O(nk).
    """
    first, second = pair(predicted, target, names=("predicted", "target"), least=1)
    choice("convention", convention, CONVENTIONS)
    n, k = first.shape
    if convention in ("byol", "simsiam"):
        units1, lengths1 = unit_rows("predicted", first)
        units2, lengths2 = unit_rows("target", second)
        factor = 1.0 if convention == "byol" else 0.5
        # A squared distance, not a difference from 1, which would lose the digits of a good prediction.
        apart = units1 - units2
        value = factor * float(np.square(apart).sum()) / n - (0.0 if convention == "byol" else 1.0)
        # apart, not −2·target alone: their parts along the row vanish, and small differences stay small.
        gradient1 = through_unit_rows(2 * factor / n * apart, units1, lengths1)
        gradient2 = through_unit_rows(-2 * factor / n * apart, units2, lengths2)
    else:
        factor = {"half": 0.5, "sum": 1.0, "mean": 1 / k}[convention]
        apart = first - second
        value = factor * float(np.square(apart).sum()) / n
        gradient1, gradient2 = 2 * factor / n * apart, -2 * factor / n * apart
    return LossGradient(value, gradient1, np.zeros_like(gradient2) if stop_gradient else gradient2)
