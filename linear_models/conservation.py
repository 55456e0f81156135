"""Chapter 3: the balance of encoder and predictor, and how far one gradient step moves it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models.checks import matrix, rate

Array = NDArray[np.float64]


def balance(encoder: ArrayLike, predictor: ArrayLike, *, predictor_rate: float = 1.0) -> Array:
    """Return WWᵀ − PᵀP/α, which the JEPA flow multiplies by e^{−2ηt} (3.1).

    Parameters
    ----------
    encoder : array_like of shape (k, d)
        W, the last linear layer of any backbone.
    predictor : array_like of shape (k, k)
        P.
    predictor_rate : float
        α > 0, the predictor's learning rate relative to the encoder's. With α = ∞ the second term is absent; what is
        left, WWᵀ, is conserved by the optimal predictor (3.2).

    Returns
    -------
    ndarray of shape (k, k)

    Raises
    ------
    InputError
        If the shapes disagree, an entry is not finite or the rate is not positive.

    Notes
    -----
    Tian, Chen & Ganguli 2021, Theorem 1, for a linear encoder and the squared loss.
    """
    W = matrix("encoder", encoder)
    P = matrix("predictor", predictor, (len(W), len(W)))
    alpha = rate("predictor_rate", predictor_rate, positive=True, infinite=True)
    return W @ W.T - P.T @ P / alpha


def discrete_drift(
    encoder: ArrayLike,
    predictor: ArrayLike,
    residual: ArrayLike,
    step_size: float,
    *,
    predictor_rate: float = 1.0,
    weight_decay: float = 0.0,
) -> Array:
    """Return the exact change of the balance in one simultaneous gradient step (3.3).

    The step is W ← (1 − εη)W + εPᵀR, P ← (1 − εη)P + εαRWᵀ, both from the old values, and the change
    ((1 − εη)² − 1)(WWᵀ − PᵀP/α) + ε²(PᵀRRᵀP − αWRᵀRWᵀ). It holds for every mini-batch and any loss on the prediction.

    Parameters
    ----------
    encoder : array_like of shape (k, d)
        W before the step.
    predictor : array_like of shape (k, k)
        P before the step.
    residual : array_like of shape (k, d)
        R = −∂L/∂(PW), with L the loss of this batch; for the squared loss E(z̄ − ẑ)xᵀ.
    step_size : float
        ε, at least 0.
    predictor_rate : float
        α, positive and finite.
    weight_decay : float
        η, at least 0, of both layers in the flow's time: an optimiser with learning rate αε on P needs the decay
        η/α there.

    Returns
    -------
    ndarray of shape (k, k)

    Raises
    ------
    InputError
        If the shapes disagree, an entry is not finite or a rate is out of range.

    Notes
    -----
    Ours.
    """
    W = matrix("encoder", encoder)
    P = matrix("predictor", predictor, (len(W), len(W)))
    R = matrix("residual", residual, W.shape)
    step = rate("step_size", step_size)
    alpha = rate("predictor_rate", predictor_rate, positive=True)
    eta = rate("weight_decay", weight_decay)
    moved, shifted = P.T @ R, R @ W.T
    # (1 − εη)² − 1 without cancellation.
    shrinkage = step * eta * (step * eta - 2)
    return shrinkage * (W @ W.T - P.T @ P / alpha) + step**2 * (moved @ moved.T - alpha * shifted.T @ shifted)
