"""Modes that share an encoder: whether their rests, each stable alone, are stable together (4.6 and 6.3)."""

import numpy as np

from jepalign.linear_models import Hybrid, LinearJEPA, ViewPair
from jepalign.linear_models.uniformity import Uniformity

DIFFERENCE = 1e-6


def aligned_growth(
    cross: np.ndarray, variance: np.ndarray, decay: float, term: Uniformity, gamma: float, weight: np.ndarray
) -> float:
    """Return the largest rate at which a perturbation of W and P grows about modes that rest in one encoder, each as it would alone.

    Perturbations are all of W and P, (m, m) each: among them the entry of a mode into the row of another, which a mode alone cannot do.

    Parameters
    ----------
    cross, variance : ndarray of shape (m,)
        λ and σ.
    decay, gamma : float
        η and γ.
    term : Uniformity
        The explicit term; it has a gradient where all modes rest.
    weight : ndarray of shape (m,)
        w of every mode; its predictor is that of a rest.
    """
    m = len(weight)
    jepa = LinearJEPA(
        ViewPair.from_covariances(np.diag(variance), np.diag(variance), np.diag(cross)), weight_decay=decay
    )
    flow = Hybrid(jepa, term, gamma)

    def velocity(state: np.ndarray) -> np.ndarray:
        W, P = state.reshape(2, m, m)
        return np.concatenate((flow.forces(W, P).total, -jepa.gradient(W, P).predictor - decay * P)).ravel()

    predictor = cross * weight**2 / (variance * weight**2 + decay)
    rest = np.concatenate((np.diag(weight), np.diag(predictor))).ravel()
    shifts = DIFFERENCE * np.eye(2 * m * m)
    slopes = [(velocity(rest + shift) - velocity(rest - shift)) / (2 * DIFFERENCE) for shift in shifts]
    return float(np.linalg.eigvals(np.array(slopes).T).real.max())
