"""LeJEPA: alignment and an explicit uniformity, no predictor, no stop-gradient, no averaged target (after 4.6).

Between exchangeable views alignment ¼E‖z − z⁺‖² is ½(σ − λ)w² in a mode, so that with γU and weight decay the flow is the gradient of a
loss, ẇ = −(σ − λ + η)w + γφ(s)w with φ(s) = σc(s), s = σw². What has to be overcome is q = 1 − ρ + η/σ, where a JEPA's hybrid has η/σ
alone: the origin repels iff γc(0) > q, a mode alone rests where γc(s) = q, and the two thresholds of 4.6 are one, since c decreases.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import roots_jacobi

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, rate
from jepalign.linear_models.modal import common_shape, cross_covariances, rates, variances
from jepalign.linear_models.uniformity import LogDet, Spectral, Uniformity, VICReg

Array = NDArray[np.float64]

_HALVINGS = 60
_NODES = 96  # of Gauss and Jacobi; the published θ = ½ needs a third of them


def lejepa_strength(weight: float = 0.05, *, batch: int = 1, width: int = 1, views: int = 2) -> float:
    """Return the γ of 4.6 beside ¼E‖z − z⁺‖² for LeJEPA's published trade-off (1 − weight)·prediction + weight·SIGReg.

    The prediction loss is the mean over views of ‖z_v − mean‖², (1 − 1/views)/2 of E‖z − z⁺‖², and the statistic is averaged over
    directions, which near collapse is its sum over k principal ones divided by k.

    Parameters
    ----------
    weight : float
        The trade-off, at least 0 and below 1.
    batch : int
        n, by which the published statistic is multiplied; 1: left out.
    width : int
        k where the prediction loss is a sum over the k dimensions, as in the paper; 1 where it is their average, as in the authors' code.
    views : int
        Global views of a sample, at least 2.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Notes
    -----
    Balestriero & LeCun 2025, (5)–(7).
    """
    if rate("weight", weight) >= 1:
        raise InputError("weight", weight, "must be below 1")
    n, k, several = count("batch", batch), count("width", width), count("views", views, least=2)
    return weight / (1 - weight) * n / k / (2 * (1 - 1 / several))


def lejepa_threshold(
    cross: ArrayLike, variance: ArrayLike, weight_decay: ArrayLike = 0.0, *, uniformity: Uniformity
) -> Array:
    """Return the weight γ = (σ − λ + η)/φ(0) of an explicit term beyond which a mode leaves collapse without a predictor.

    Without decay it is (1 − ρ)/c(0): LeJEPA keeps modes by their correlation, whatever their variance; beside a JEPA, whose prediction
    has no linear part at the origin, the threshold is η/φ(0), whatever their correlation.

    Parameters
    ----------
    cross, variance, weight_decay : array_like
        λ ≤ σ of either sign, σ > 0 and η ≥ 0; they broadcast. 0 or between 1e-30 and 1e30 in size.
    uniformity : Uniformity
        The term. ∞ is returned where it does not repel at s = 0 and there is something to overcome, 0 where there is nothing.

    Raises
    ------
    InputError
        If an argument leaves its range, shapes do not broadcast, or ``uniformity`` is not one.

    Notes
    -----
    Ours. Needs Σ_x = Σ_y and a symmetric Σ_yx.
    """
    need = _need(cross, variance, weight_decay)
    start = float(_checked(uniformity).coefficient(0.0))
    if start <= 0:
        return np.where(need > 0, np.inf, 0.0)
    return need / start


def lejepa_rest(
    cross: ArrayLike,
    variance: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    *,
    uniformity: Uniformity,
    strength: ArrayLike,
) -> Array:
    """Return the embedding variance s = σw² at which a mode alone rests, 0 up to the threshold.

    Spectral: s = 1 − q/γ. Log-det: γ/q. VICReg's hinge of weight a: (aγ/q)² − ε, at most 1 − ε where it closes. SIGReg, and terms of your
    own whose coefficient falls from s = 0 to a zero at 1: the root of γc(s) = q, bisected.

    Parameters
    ----------
    cross, variance, weight_decay, uniformity
        As for :func:`lejepa_threshold`.
    strength : array_like
        γ ≥ 0; broadcasts with the others.

    Returns
    -------
    ndarray
        Infinite for log-det where nothing is to be overcome, ρ = 1 and η = 0.

    Raises
    ------
    InputError
        As :func:`lejepa_threshold`, and for a strength out of its range.

    Notes
    -----
    Ours. Many modes under SIGReg as published, on random directions: :func:`lejepa_spectrum`.
    """
    need, gamma = _need(cross, variance, weight_decay), rates("strength", strength, zero=True)
    common_shape(need=need, strength=gamma)
    need, gamma = np.broadcast_arrays(need, gamma)
    term = _checked(uniformity)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(gamma > 0, need / gamma, np.inf)
        if isinstance(term, Spectral):
            return np.maximum(1 - ratio, 0.0)
        if isinstance(term, LogDet):
            return 1 / ratio
        if isinstance(term, VICReg):
            return np.clip((term.variance / ratio) ** 2 - term.epsilon, 0.0, 1 - term.epsilon)
    low, high = np.zeros(ratio.shape), np.ones(ratio.shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        beyond = term.coefficient(middle) > ratio
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return np.where(term.coefficient(np.zeros(ratio.shape)) > ratio, (low + high) / 2, 0.0)


def lejepa_spectrum(need: ArrayLike, strength: float, *, width: int, theta: float = 0.5) -> Array:
    """Return the variances of an embedding of k dimensions at rest under SIGReg on all directions of the sphere, (m,).

    They minimise ½ Σ q_i s_i + γk E_a u(v_a), v_a = Σ a_i² s_i, over s ≥ 0, where only the k modes of least q have any: each rests where
    γk E_a[c(v_a)a_i²] = q_i or at 0 where that is less. At s = 0 this is the threshold of a mode alone; once others have grown it is
    higher, and the largest variances pass 1 where others are missing.

    Parameters
    ----------
    need : array_like of shape (m,)
        q_i = 1 − ρ_i + η/σ_i ≥ 0; for Σ and C that do not commute, the generalised eigenvalues of Σ − C + ηI against Σ.
    strength : float
        γ ≥ 0, of k times the average of the statistic over directions, as :func:`lejepa_strength` has it.
    width : int
        k.
    theta : float
        θ of :class:`jepalign.linear_models.uniformity.SIGReg`, positive.

    Raises
    ------
    InputError
        If an argument is malformed or out of its range.

    Notes
    -----
    Ours. The average over the sphere is Carlson's R function, one integral for any k, here by Gauss–Jacobi quadrature; the minimum by
    L-BFGS-B from s = 0, unique while no v_a passes 1.94 + 0.94θ, up to which u is convex. About ten milliseconds for k = 16.
    """
    q = rates("need", need, zero=True)
    if q.ndim != 1:
        raise InputError("need", f"array of shape {q.shape}", "must be a vector")
    k, gamma = count("width", width), rate("strength", strength)
    rate("theta", theta, positive=True)
    order = np.argsort(q, kind="stable")[:k]
    chosen = q[order]

    def objective(s: Array) -> tuple[float, Array]:
        # Missing modes of a wide embedding have no variance, and directions along them none of the statistic's force.
        value, repulsion = sphere_average(np.concatenate((s, np.zeros(k - len(s)))), theta)
        return float(chosen @ s) / 2 + gamma * k * value, (chosen - gamma * k * repulsion[: len(s)]) / 2

    found = minimize(
        objective,
        np.zeros(len(chosen)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * len(chosen),
        options={"ftol": 1e-16, "gtol": 1e-11, "maxiter": 2000},
    )
    spectrum = np.zeros(len(q))
    spectrum[order] = found.x
    return spectrum


def sphere_average(spectrum: ArrayLike, theta: float) -> tuple[float, Array]:
    """Return E_a u(v_a) and E_a[c(v_a)a_i²], (k,), over unit vectors a in k dimensions, v_a = Σ a_i² s_i with s the ``spectrum``, (k,).

    E_a (Σ a_i² m_i)^{−1/2} = ∫ t^{(k−3)/2} Π(t + m_i)^{−1/2} dt / B(½, (k−1)/2) over t > 0 (Carlson 1977), and c is twice the derivative of
    −u; for k = 1 there is but one direction.
    """
    s = np.asarray(spectrum, dtype=np.float64)
    narrow, mixed = s + theta, (s + 1) / 2 + theta
    first, second = (_carlson(part) for part in (narrow, mixed))
    value = np.sqrt(np.pi) * (first[0] - 2 * second[0] + 1 / np.sqrt(1 + theta))
    return float(value), np.sqrt(np.pi) * (first[1] - second[1])


def _carlson(m: Array) -> tuple[float, Array]:
    """Return E_a v^{−1/2} and E_a[v^{−3/2} a_i²] with v = Σ a_i² m_i, m > 0."""
    k = len(m)
    if k == 1:
        return float(m[0] ** -0.5), m**-1.5
    x, scale = _rule(k)
    parts = x[:, None] + m * (1 - x)[:, None]
    root = scale * np.exp(-0.5 * np.log(parts).sum(axis=1))
    return float(root.sum()), (root * (1 - x)) @ (1 / parts)


@cache
def _rule(k: int) -> tuple[Array, Array]:
    """Return nodes x in (0, 1), t = x/(1 − x), and the weights of x^{(k−3)/2}(1 − x)^{−1/2}dx / B(½, (k−1)/2), which sum to 1."""
    nodes, weights = roots_jacobi(_NODES, -0.5, (k - 3) / 2)
    return (nodes + 1) / 2, weights / weights.sum()


def _checked(uniformity: Uniformity) -> Uniformity:
    if not isinstance(uniformity, Uniformity):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError("uniformity", type(uniformity).__name__, "must be a Uniformity")
    return uniformity


def _need(cross: ArrayLike, variance: ArrayLike, weight_decay: ArrayLike) -> Array:
    """Return q = 1 − ρ + η/σ."""
    lam, sigma, eta = cross_covariances(cross), variances(variance), rates("weight_decay", weight_decay, zero=True)
    common_shape(cross=lam, variance=sigma, weight_decay=eta)
    if (lam > sigma).any():
        raise InputError(
            "cross", float(lam.max()), "must not exceed the variance, as no covariance of equal views does"
        )
    return (sigma - lam + eta) / sigma
