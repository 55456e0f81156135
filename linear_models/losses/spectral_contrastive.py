"""The spectral contrastive loss of a batch."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jepalign.linear_models.losses.batch import LossGradient, blocks, choice, pair


def spectral_contrastive(
    z1: ArrayLike, z2: ArrayLike, *, convention: Literal["others", "all"] = "others"
) -> LossGradient:
    """Return −(2/n) Σ_i z1_i·z2_i plus the mean of (z1_i·z2_j)² over the negative pairs.

    Parameters
    ----------
    z1, z2 : array_like of shape (n, k)
        Embeddings of the two views; row i of both is sample i, n at least 2.
    convention : {"others", "all"}
        The negative pairs. "others": i ≠ j, divided by n(n − 1), without bias, as in the code of the authors. "all": every pair, its own
        positive included, divided by n²: the population formula at the second moments of the batch, exactly.

    Returns
    -------
    LossGradient
        The loss with its gradients, (n, k).

    Raises
    ------
    InputError
        If the batches are malformed or the convention unknown.

    Notes
    -----
    HaoChen, Wei, Gaidon & Ma 2021, without the bound that their code puts on the norms. Embeddings are not centred. Cost O(nk²) with
    "all"; O(n²k) with "others", in blocks of rows.
    """
    first, second = pair(z1, z2)
    choice("convention", convention, ("others", "all"))
    n = len(first)
    value = -2 * float((first * second).sum()) / n
    gradient1, gradient2 = -2 / n * second, -2 / n * first
    if convention == "all":
        # Divided before multiplying: a mean of products, never a large sum.
        moment1, moment2 = first.T @ first / n, second.T @ second / n
        return LossGradient(
            value + float((moment1 * moment2).sum()),
            gradient1 + 2 / n * first @ moment2,
            gradient2 + 2 / n * second @ moment1,
        )
    pairs = n * (n - 1.0)
    for rows in blocks(n, n):
        products = first[rows] @ second.T
        # Left out, not subtracted: the positives may be by far the largest.
        products[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = 0.0
        value += float(np.square(products).sum()) / pairs
        gradient1[rows] += 2 / pairs * products @ second
        gradient2 += 2 / pairs * products.T @ first[rows]
    return LossGradient(value, gradient1, gradient2)
