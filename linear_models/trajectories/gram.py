"""The Gram matrix of a spectral contrastive encoder for any start, from a Riccati equation (5.5)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, rate
from jepalign.linear_models.modal import moments

Array = NDArray[np.float64]

EPS = float(np.finfo(float).eps)
# A row may exceed its pivot by this factor before the rows are pivoted anew.
SLACK = 50.0
BATCH = 32  # times at once, to keep the temporaries small


def _integral(half: Array, times: Array) -> Array:
    """Return the root of 8∫₀ᵗe^{8cs}ds without its growth e^{8ct} where c > 0, of shape (T, d)."""
    exponent = 8 * np.abs(half) * times[:, None]
    safe = np.where(exponent < 1e-300, 1.0, exponent)
    early = np.sqrt(8.0) * np.sqrt(times)[:, None] * np.sqrt(np.where(exponent < 1e-300, 1.0, -np.expm1(-safe) / safe))
    found: Array = np.where(exponent > 50, 1 / np.sqrt(np.where(half == 0, 1.0, np.abs(half))), early)
    return found


def _staircase(start: Array, rising: Array, base: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return R of W = QR, whose rows each lack the columns of the pivots before, and the pivots' columns.

    The pivot of a row is the column with the largest ln(norm) + base + rising. Columns are not exchanged; what is left
    of one at the size of rounding is taken as 0.
    """
    rest = start.copy()
    rows, columns = rest.shape
    noise = 4 * max(rows, columns) * EPS * np.linalg.norm(start, axis=0)
    pivots: list[int] = []
    for row in range(min(rows, columns)):
        block = rest[row:]
        norms = np.sqrt(np.einsum("ij,ij->j", block, block))
        lost = norms <= noise
        block[:, lost] = 0.0
        scores = np.where(lost, -np.inf, np.log(np.where(lost, 1.0, norms)) + base)
        pivot = int(np.argmax(scores + rising))
        if scores[pivot] == -np.inf:
            break
        # Once more, relative to the winner: sums of large exponents hide the norms.
        pivot = int(np.argmax(scores - scores[pivot] + (rising - rising[pivot])))
        normal = block[:, pivot].copy()
        normal[0] += np.copysign(norms[pivot], normal[0])
        normal /= np.linalg.norm(normal)
        block -= np.outer(2 * normal, normal @ block)
        block[1:, pivot] = 0.0
        pivots.append(pivot)
    return rest[: len(pivots)], np.array(pivots, dtype=np.intp)


def _factors(stairs: Array, pivots: NDArray[np.intp], half: Array, times: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return F with M = FᵀF, of shape (T, r, d), for the times at which every row's pivot still dominates it, and which.

    Each row is divided by its pivot's growth, so that I + BBᵀ, B = W(8Q)^½, keeps a moderate condition number.
    """
    rows = np.arange(len(pivots))
    rising = 4 * np.maximum(half, 0.0)
    integral = _integral(half, times)
    exponent = rising[pivots] * times[:, None]
    scale = np.log(np.abs(stairs[rows, pivots])) + np.log(integral[:, pivots])
    scale = np.maximum(scale, -exponent)  # a row not yet above the identity needs no scaling
    grown = np.exp((rising - rising[pivots][:, None]) * times[:, None, None] - scale[:, :, None])
    grown *= stairs
    grown[:, stairs == 0] = 0.0
    both = grown * integral[:, None, :]
    fine = np.abs(both).max(axis=(1, 2), initial=0.0) <= SLACK
    both, grown, scale, exponent = both[fine], grown[fine], scale[fine], exponent[fine]
    square = both @ both.swapaxes(1, 2)
    square[:, rows, rows] += np.exp(-2 * (scale + exponent))
    grown *= np.exp(4 * np.minimum(half, 0.0) * times[fine][:, None])[:, None, :]
    factors: Array = np.asarray(np.linalg.inv(np.linalg.cholesky(square)) @ grown, dtype=np.float64)
    return factors, fine


def _at(times: Array, start: Array, half: Array, axes: Array, into: Array, places: NDArray[np.intp]) -> None:
    """Write M at increasing times in (0, ∞) into ``into[places]``; the rows are pivoted for the one in the middle."""
    waiting = [(times, places)]
    while waiting:
        now, put = waiting.pop()
        if not len(now):
            continue
        middle = len(now) // 2
        latest = 1e300 / (1 + 4 * np.abs(half).max())
        base = np.log(_integral(half, now[middle : middle + 1])[0])
        stairs, pivots = _staircase(start, 4 * np.maximum(half, 0.0) * min(now[middle], latest), base)
        done = np.zeros(len(now), dtype=bool)
        for first in range(0, len(now), BATCH):
            block = slice(first, first + BATCH)
            factors, fine = _factors(stairs, pivots, half, now[block])
            done[block] = fine
            turned = factors @ axes.T
            into[put[block][fine]] = turned.swapaxes(1, 2) @ turned
        before = np.arange(len(now)) < middle
        done[middle] = True
        waiting += [(now[part], put[part]) for part in (~done & before, ~done & ~before)]


def _limit(start: Array, half: Array) -> Array:
    """Return M at t = ∞ in the eigenbasis: c on what the rows reach, from the largest eigenvalue down."""
    found = np.zeros((len(half), len(half)))
    rest, tolerance = start, 8 * len(half) * EPS * float(np.abs(half).max())
    noise = 4 * max(start.shape) * EPS * float(np.linalg.norm(start))
    left = half > tolerance
    while left.any() and len(rest):
        top = left & (half >= half[left].max() - tolerance)
        turn, sizes, reached = np.linalg.svd(rest[:, top])
        rank = int((sizes > noise).sum())
        found[np.ix_(top, top)] = float(half[top].mean()) * reached[:rank].T @ reached[:rank]
        rest = turn.T[rank:] @ rest
        left &= ~top
    return found


def spectral_contrastive_gram(
    times: ArrayLike, encoder: ArrayLike, cross: ArrayLike, *, weight_decay: float = 0.0
) -> Array:
    """Return M = WᵀW under the gradient flow of the spectral contrastive loss on white inputs, Ẇ = 4(WC − WWᵀW) − ηW.

    Parameters
    ----------
    times : array_like of shape (T,) or ()
        Times t ≥ 0 in raw gradient-flow time of L = −2 E z·z⁺ + E(z·z⁻)², in any order; ∞ gives the limit.
    encoder : array_like of shape (k, d)
        W at time 0, of any k.
    cross : array_like of shape (d, d)
        C, the symmetric cross-covariance of the two views, whose variances are the identity.
    weight_decay : float
        η ≥ 0; it shifts C by −η/4.

    Returns
    -------
    ndarray of shape (T, d, d)
        M(t), symmetric.

    Raises
    ------
    InputError
        If a shape or number is wrong or ``cross`` is not symmetric.

    Notes
    -----
    Ours: with A = 4C − ηI, M = e^{At}Wᵀ[I + 8W(∫₀ᵗe^{2As}ds)Wᵀ]⁻¹We^{At}, which as printed loses every digit once e^{2At}
    spans more than sixteen. Here the rows are turned so that each has the growth of one direction of its own (Householder
    reflections, pivoted on what each direction has grown to) and divided by it, and no digit is lost. Times that share
    their pivots share the reflections. Parts of a direction of W that are only rounding count as 0; at t = ∞ eigenvalues
    equal to rounding count as equal. Cost: an eigendecomposition, and k d² + k² d operations a time.
    """
    given = np.atleast_1d(moments(times))
    if given.ndim != 1:
        raise InputError("times", f"array of shape {given.shape}", "must be one row of times")
    W = matrix("encoder", encoder)
    d = W.shape[1]
    C = matrix("cross", cross, (d, d))
    if float(np.abs(C - C.T).max()) > 8 * d * EPS * float(np.abs(C).max()):
        raise InputError("cross", "a matrix", "must be symmetric")
    values, axes = np.linalg.eigh((C + C.T) / 2)
    half = values - rate("weight_decay", weight_decay) / 4
    found = np.empty((len(given), d, d))
    found[given == 0] = W.T @ W
    start = W @ axes
    if (given == np.inf).any():
        found[given == np.inf] = axes @ _limit(start, half) @ axes.T
    order = np.argsort(given, kind="stable")
    inside = order[(given[order] > 0) & (given[order] < np.inf)]
    with np.errstate(all="ignore"):
        _at(given[inside], start, half, axes, found, inside)
    return found
