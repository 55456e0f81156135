"""InfoNCE of a batch: CPC's and MoCo's with negatives of the other view, and SimCLR's NT-Xent with those of both."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from jepalign.linear_models.losses.batch import (
    LossGradient,
    blocks,
    choice,
    factor,
    pair,
    through_unit_rows,
    unit_rows,
)

Array = NDArray[np.float64]


def infonce(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    temperature: float = 1.0,
    similarity: Literal["dot", "cosine", "gaussian"] = "cosine",
    negatives: Literal["other view", "both views"] = "other view",
    symmetrize: bool = False,
    convention: Literal["sum", "mean"] = "sum",
) -> LossGradient:
    """Return the mean over anchors of −ln of the softmax weight that an anchor gives to its positive.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views; row i of both is sample i, n at least 2.
    temperature : float
        τ, between 1e-30 and 1e30.
    similarity : {"dot", "cosine", "gaussian"}
        The logit of two embeddings: a·b/τ, the same of rows of unit length, or −‖a − b‖²/(2τ).
    negatives : {"other view", "both views"}
        "other view": anchors z1_i, candidates all z2_j (van den Oord et al. 2018; He et al. 2020 with a batch for a queue).
        "both views": 2n anchors, each with the 2n − 1 embeddings other than itself (NT-Xent, Chen et al. 2020).
    symmetrize : bool
        Half the loss with z1 as anchors and half with z2, as in CLIP. NT-Xent is symmetric already.
    convention : {"sum", "mean"}
        Whether the softmax divides by the sum over candidates, as published, or by their mean, less ln of their number: then the loss
        has a limit for large n (Wang & Isola 2020, Theorem 1), that of :class:`jepalign.linear_models.InfoNCE`.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k).

    Raises
    ------
    InputError
        If an argument is malformed or out of range, or a row vanishes with "cosine".

    Notes
    -----
    The positive is among the candidates. "both views" with "cosine" is lightly's and pytorch-metric-learning's ``NTXentLoss``; the latter's
    squared distances have the temperature 2τ. Cost O(n²k), in blocks of rows.
    """
    first, second = pair(z1, z2)
    tau = factor("temperature", temperature)
    choice("similarity", similarity, ("dot", "cosine", "gaussian"))
    choice("negatives", negatives, ("other view", "both views"))
    choice("convention", convention, ("sum", "mean"))
    n = len(first)
    a, b = first, second
    lengths: tuple[Array, Array] | None = None
    if similarity == "cosine":
        (a, length1), (b, length2) = unit_rows("z1", first), unit_rows("z2", second)
        lengths = length1, length2
    elif similarity == "gaussian":
        # Distances ignore a common shift; the differences in the gradient are then of small numbers.
        shift = (a.mean(axis=0) + b.mean(axis=0)) / 2
        a, b = a - shift, b - shift
    gaussian = similarity == "gaussian"
    if negatives == "both views":
        both = np.concatenate((a, b))
        value, anchors, candidates = _cross_entropy(both, both, np.roll(np.arange(2 * n), n), tau, gaussian, own=True)
        gradient = anchors + candidates
        gradient1, gradient2 = gradient[:n], gradient[n:]
        number = 2 * n - 1
    else:
        value, gradient1, gradient2 = _cross_entropy(a, b, np.arange(n), tau, gaussian, own=False)
        number = n
        if symmetrize:
            other, back2, back1 = _cross_entropy(b, a, np.arange(n), tau, gaussian, own=False)
            value, gradient1, gradient2 = (value + other) / 2, (gradient1 + back1) / 2, (gradient2 + back2) / 2
    if lengths is not None:
        gradient1 = through_unit_rows(gradient1, a, lengths[0])
        gradient2 = through_unit_rows(gradient2, b, lengths[1])
    return LossGradient(value - (float(np.log(number)) if convention == "mean" else 0.0), gradient1, gradient2)


def _cross_entropy(
    anchors: Array, candidates: Array, positive: NDArray[np.intp], tau: float, gaussian: bool, *, own: bool
) -> tuple[float, Array, Array]:
    """Return the mean cross entropy with its gradients; with ``own`` anchor i is no candidate of itself."""
    n = len(anchors)
    total = 0.0
    gradient1, gradient2 = np.zeros_like(anchors), np.zeros_like(candidates)
    for rows in blocks(n, len(candidates)):
        local, chosen = np.arange(rows.stop - rows.start), positive[rows]
        block = anchors[rows]
        if gaussian:
            logits = cdist(block, candidates, "sqeuclidean") / (-2 * tau)
        else:
            logits = block @ candidates.T / tau
        # Relative to the positive, which is left out: a loss near 0 keeps its digits.
        logits -= logits[local, chosen][:, None]
        logits[local, chosen] = -np.inf
        if own:
            logits[local, np.arange(rows.start, rows.stop)] = -np.inf
        largest = logits.max(axis=1)
        with np.errstate(under="ignore"):
            others = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
            loss = np.logaddexp(0.0, others)
            weights = np.exp(logits - loss[:, None])
            total += float(loss.sum())
            weights[local, chosen] = -weights.sum(axis=1)
            gradient1[rows] += weights @ candidates
            gradient2 += weights.T @ block
            if gaussian:  # the row sums of the weights vanish, those of the columns do not
                gradient2 -= weights.sum(axis=0)[:, None] * candidates
    return total / n, gradient1 / (n * tau), gradient2 / (n * tau)
