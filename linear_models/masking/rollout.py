"""World models: what survives of the dynamics, and the error of predictions over many steps (7.4)."""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, matrix, rate, real
from jepalign.linear_models.masking.world_model import stationary_covariance
from jepalign.linear_models.views import ViewPair, covariance

Array = NDArray[np.float64]

# Moduli of two eigenvalues that differ by less, relatively, are those of a pair.
TIE = 1e-10


class Rollout(NamedTuple):
    """The error e = Wx_{t+n} − ẑ_n of a rollout over n = 0…N steps, ẑ_{n+1} = P_zẑ_n + P_a a_{t+n} from ẑ_0 = Wx_t.

    Attributes
    ----------
    bias : ndarray of shape (N+1, k, d)
        B_n = WFⁿ − P_zⁿW: what the rollout misses of the conditional mean B_n x.
    avoidable : ndarray of shape (N+1, k, k)
        Covariance of what a better predictor would not miss: B_nΣB_nᵀ, and the same of the actions.
    unavoidable : ndarray of shape (N+1, k, k)
        Covariance of what the noise has brought since, W(Σ_{j<n} FʲQFʲᵀ)Wᵀ. The two add up to that of e.
    """

    bias: Array
    avoidable: Array
    unavoidable: Array

    @property
    def squared(self) -> Array:
        """E‖e‖² after each number of steps, (N+1,)."""
        return np.trace(self.avoidable + self.unavoidable, axis1=1, axis2=2)


def rollout_error(
    encoder: ArrayLike,
    predictor: ArrayLike,
    dynamics: ArrayLike,
    noise: ArrayLike,
    steps: int,
    *,
    actions: ArrayLike | None = None,
    action_predictor: ArrayLike | None = None,
) -> Rollout:
    """Return the error of predicting embeddings over 0…N steps in the stationary state of x′ = Fx + Ba + ξ.

    Where the rows of W span a left-invariant subspace of F and P acts on it as F does, WF = PW, there is no bias at any
    number of steps. Otherwise it is carried on from the defect WF − PW by B_{n+1} = PB_n + (WF − PW)Fⁿ, which is how
    it is computed here: a small bias is not the difference of two large powers.

    Parameters
    ----------
    encoder : array_like of shape (k, d)
        W.
    predictor : array_like of shape (k, k)
        P_z, the predictor's part on the embedding.
    dynamics, noise : array_like of shape (d, d)
        F, of spectral radius below 1, and Q = Cov ξ.
    steps : int
        N ≥ 1.
    actions, action_predictor : array_like of shape (d, m) and (k, m), optional
        B and P_a, both or neither. Actions are white, of covariance I and independent of the state, and known to the
        rollout as they are taken.

    Raises
    ------
    InputError
        If a shape does not fit, F is not stable, Q is no covariance, or one of the last two is missing.

    Notes
    -----
    Ours; invariant subspaces of self-prediction: Tang et al. 2023. Cost Nd³.
    """
    F = _dynamics(dynamics)
    d = len(F)
    W = matrix("encoder", encoder)
    if W.shape[1] != d:
        raise InputError("encoder", f"array of shape {W.shape}", f"must have {d} columns")
    P = matrix("predictor", predictor, (len(W), len(W)))
    Q = covariance("noise", matrix("noise", noise, F.shape))
    B, N = _actions(actions, action_predictor, len(W), d)
    state, number = stationary_covariance(F, Q + B @ B.T), count("steps", steps)
    bias, avoidable, unavoidable = np.zeros((number + 1, *W.shape)), *np.zeros((2, number + 1, len(W), len(W)))
    power, rolled, brought = np.eye(d), np.eye(len(W)), np.zeros((d, d))
    defect, missed, driven = W @ F - P @ W, W @ B - N, np.zeros((len(W), len(W)))
    for n in range(number):
        # Of an action n steps ago, WFⁿB − PⁿP_a = B_nB + Pⁿ(WB − P_a).
        late = bias[n] @ B + rolled @ missed
        driven = driven + late @ late.T
        brought = brought + power @ Q @ power.T
        bias[n + 1] = P @ bias[n] + defect @ power
        power, rolled = power @ F, rolled @ P
        avoidable[n + 1] = bias[n + 1] @ state @ bias[n + 1].T + driven
        unavoidable[n + 1] = W @ brought @ W.T
    return Rollout(bias, avoidable, unavoidable)


def invariant_encoder(dynamics: ArrayLike, width: int) -> tuple[Array, Array]:
    """Return W with orthonormal rows, (k, d), and P, (k, k), with WF = PW, on the k slowest modes of F.

    The rows span the left-invariant subspace of the eigenvalues of largest modulus, by an ordered Schur form: planes
    that turn stay whole. Without weight decay a JEPA of the views (x_t, x_{t+1}) is at rest there, as on every other
    left-invariant subspace. Cost O(d³).

    Raises
    ------
    InputError
        If F is no square matrix, ``width`` is not between 1 and d, or it parts eigenvalues of equal modulus.
    """
    F, k = _dynamics(dynamics), count("width", width)
    if k > len(F):
        raise InputError("width", k, f"must be at most {len(F)}, the dimension of the state")
    moduli = np.sort(np.abs(np.linalg.eigvals(F)))[::-1]
    if k == len(F):
        return np.eye(k), F.copy()
    if moduli[k - 1] - moduli[k] <= TIE * moduli[0]:
        raise InputError("width", k, f"parts eigenvalues of equal modulus {moduli[k]:.6g}")
    cut = (moduli[k - 1] + moduli[k]) / 2
    # SciPy passes a complex number or its two parts, depending on its version.
    found: Any = scipy.linalg.schur(F.T, sort=lambda a, b=0.0: abs(a + 1j * b) > cut)
    W: Array = np.asarray(found[1], dtype=float)[:, :k].T
    return W, W @ F @ W.T


class RotationModes(NamedTuple):
    """What two objectives see of states that turn.

    Attributes
    ----------
    threshold : ndarray
        ρ²/4 in units of the state's variance: a JEPA keeps the plane below this weight decay, whatever the angle.
    contrast : ndarray
        The eigenvalue that a contrast over time sees, ρ cos θ; where it is not positive it drops the plane.
    """

    threshold: Array
    contrast: Array


def rotation_modes(shrinkage: ArrayLike, angle: ArrayLike, *, lag: int = 1) -> RotationModes:
    """Return what a JEPA and a contrastive loss see of x′ = γR_θx + ξ in a plane, Σ_x = I, ``lag`` steps apart.

    The views have Σ_yx = ρR_φ with ρ = γ^lag and φ = lag·θ.

    Parameters
    ----------
    shrinkage, angle : array_like
        γ in [0, 1] and θ in radians; they broadcast.
    lag : int
        Steps between the views, at least 1.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    Ours. The JEPA's statement is about W = wQ and P = pγQR_θQᵀ with orthogonal Q, where ẇ = p(1−p)γ²w − ηw.
    """
    gamma, theta = real("shrinkage", shrinkage), real("angle", angle)
    if gamma.size and (gamma.min() < 0 or gamma.max() > 1):
        raise InputError("shrinkage", "array with an entry outside [0, 1]", "must be between 0 and 1")
    try:
        gamma, theta = np.broadcast_arrays(gamma, theta)
    except ValueError as problem:
        raise InputError("angle", f"array of shape {theta.shape}", "must broadcast with the shrinkage") from problem
    with np.errstate(under="ignore"):
        strength = gamma ** count("lag", lag)
        return RotationModes(np.asarray(strength**2 / 4), np.asarray(strength * np.cos(lag * theta)))


def rotation_views(shrinkage: float, angle: float, *, lag: int = 1) -> ViewPair:
    """Return the views of a state in a plane that turns by θ and shrinks by γ a step: Σ_x = Σ_y = I, Σ_yx = γ^lag R_{lag·θ}.

    Raises
    ------
    InputError
        If γ is not in [0, 1], θ not a finite number, or ``lag`` not a positive integer.
    """
    if (gamma := rate("shrinkage", shrinkage)) > 1:
        raise InputError("shrinkage", gamma, "must be at most 1")
    turned = float(real("angle", angle)) * count("lag", lag)
    c, s = np.cos(turned), np.sin(turned)
    return ViewPair(np.eye(2), np.eye(2), gamma**lag * np.array([[c, -s], [s, c]]))


def _dynamics(value: ArrayLike) -> Array:
    F = matrix("dynamics", value)
    if F.shape[0] != F.shape[1]:
        raise InputError("dynamics", f"array of shape {F.shape}", "must be square")
    return F


def _actions(actions: ArrayLike | None, predictor: ArrayLike | None, rows: int, d: int) -> tuple[Array, Array]:
    if (actions is None) != (predictor is None):
        name = "actions" if actions is None else "action_predictor"
        raise InputError(name, "None", "must be given with the other of actions and action_predictor")
    if actions is None or predictor is None:
        return np.zeros((d, 0)), np.zeros((rows, 0))
    B = matrix("actions", actions)
    if len(B) != d:
        raise InputError("actions", f"array of shape {B.shape}", f"must have {d} rows")
    return B, matrix("action_predictor", predictor, (rows, B.shape[1]))
