"""One row with the optimal predictor on white inputs: Oja's flow in a clock of its own (5.8, one row)."""

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.checks import matrix, real
from jepalign.linear_models.modal import moments

Array = NDArray[np.float64]

EPS = float(np.finfo(float).eps)
NODES = 24
UNIT = 1e-9


def _predictor(clock: Array, values: Array, start: Array) -> Array:
    """Return κ = Σ c w² at clock times ≥ 0; the exponentials are those of c − max c ≤ 0."""
    shares = (np.exp(clock[:, None] * (values - values.max())) * start) ** 2
    found: Array = (shares @ values) / shares.sum(axis=1)
    return found


def _panels(values: Array, start: Array) -> tuple[Array, Array, Array]:
    """Return where panels of τ start (and the last ends), t there, and the coefficients of t within each, (panels, n).

    Panels are halved until the Chebyshev interpolant of 1/κ has converged; after the last only the top direction is left.
    """
    top = values.max()
    below = values < top
    first = float(np.abs(start[~below]).max())
    gaps = top - values[below]
    ends = (np.log(np.maximum(np.abs(start[below]) / first, 1e-300)) + 40) / gaps
    end = max(float(ends.max(initial=0.0)), 0.0)
    nodes = chebyshev.chebpts1(NODES)
    fit = np.linalg.inv(chebyshev.chebvander(nodes, NODES - 1))
    edges, hours, parts = [0.0], [0.0], list[Array]()
    width = end
    while edges[-1] < end:
        width = min(width, end - edges[-1])
        slowness = 1 / _predictor(edges[-1] + width / 2 * (1 + nodes), values, start)
        coefficients = fit @ slowness
        # What rounding does to 1/κ, whose κ is a sum of both signs.
        slowest = float(slowness.max())
        noise = 4 * EPS * slowest * (2 + float(np.abs(values).max()) * slowest)
        if float(np.abs(coefficients[-3:]).max()) > noise and width > 8 * EPS * (edges[-1] + width):
            width /= 2
            continue
        integral = np.asarray(width / 2 * chebyshev.chebint(coefficients, lbnd=-1), dtype=np.float64)
        parts.append(integral)
        edges.append(edges[-1] + width if edges[-1] + width < end * (1 - EPS) else end)
        hours.append(hours[-1] + float(chebyshev.chebval(1.0, integral)))
        width *= 2
    return np.array(edges), np.array(hours), np.array(parts).reshape(-1, NODES + 1)


def _clock(times: Array, values: Array, start: Array) -> Array:
    """Return τ(t), by Newton's method on the panel's polynomial, guarded by bisection."""
    edges, hours, parts = _panels(values, start)
    clock = edges[-1] + (times - hours[-1]) * values.max()
    inside = times < hours[-1]
    if inside.any():
        sought = times[inside]
        place = np.searchsorted(hours, sought, side="right") - 1
        low, width = edges[place], np.diff(edges)[place]
        target, coefficients = sought - hours[place], parts[place].T
        slopes = chebyshev.chebder(coefficients)
        left, right = np.full_like(sought, -1.0), np.full_like(sought, 1.0)
        x = -1 + 2 * target / np.diff(hours)[place]
        for _ in range(60):
            miss = chebyshev.chebval(x, coefficients, tensor=False) - target
            left, right = np.where(miss <= 0, x, left), np.where(miss >= 0, x, right)
            step = x - miss / chebyshev.chebval(x, slopes, tensor=False)
            new = np.where((step < left) | (step > right), (left + right) / 2, step)
            moved, x = np.abs(new - x).max(), new
            if moved <= 2 * EPS:
                break
        clock[inside] = low + width * (1 + x) / 2
    return clock


def optimal_predictor_direction(times: ArrayLike, encoder: ArrayLike, cross: ArrayLike) -> Array:
    """Return the one row w of an encoder with the optimal predictor κ = wCwᵀ on white inputs, ẇ = κ(wC − κw), |w| = 1.

    Parameters
    ----------
    times : array_like of shape (T,) or ()
        Times t ≥ 0 in raw gradient-flow time of L = ½E‖κWx − sg(Wy)‖², in any order; ∞ gives the limit.
    encoder : array_like of shape (d,) or (1, d)
        w at time 0, of norm 1 (to 1e-9; it is normalised).
    cross : array_like of shape (d, d)
        C, the symmetric cross-covariance of the two views, whose variances are the identity.

    Returns
    -------
    ndarray of shape (T, d)
        w(t), of norm 1.

    Raises
    ------
    InputError
        If a shape or number is wrong, the row is not of norm 1, or ``cross`` is not symmetric.

    Notes
    -----
    The flow is that of Oja 1982 in the clock dτ = κ dt, so w ∝ w₀e^{Cτ} (ours; the setting is that of Tang et al. 2023). t(τ)
    = ∫dτ/κ is elementary for two eigenvalues only; here 1/κ is interpolated to rounding on panels of τ, integrated exactly,
    and inverted by Newton's method. κ keeps its sign and w ends at the most positive eigenvalue it sees, or the most
    negative if κ < 0, whatever their sizes; a part of w that only rounding puts on a direction counts. Where κ = 0 exactly,
    the row rests. Cost: an eigendecomposition, tens of panels of 24 d exponentials, and d² operations a time.
    """
    given = np.atleast_1d(moments(times))
    if given.ndim != 1:
        raise InputError("times", f"array of shape {given.shape}", "must be one row of times")
    row = np.atleast_2d(real("encoder", encoder))
    if row.ndim != 2 or row.shape[0] != 1 or row.shape[1] == 0:
        raise InputError("encoder", f"array of shape {row.shape}", "must be one row")
    d = row.shape[1]
    C = matrix("cross", cross, (d, d))
    if float(np.abs(C - C.T).max()) > 8 * d * EPS * float(np.abs(C).max()):
        raise InputError("cross", "a matrix", "must be symmetric")
    size = float(np.linalg.norm(row))
    if abs(size - 1) > UNIT:
        raise InputError("encoder", size, "must have the norm 1")
    values, axes = np.linalg.eigh((C + C.T) / 2)
    start = (row[0] / size) @ axes
    level = float(row[0] @ C @ row[0])
    sees = start != 0
    with np.errstate(all="ignore"):
        kappa = float(_predictor(np.zeros(1), values, start)[0])
        if level == 0 or kappa == 0:
            return np.tile(row[0] / size, (len(given), 1))
        # The flow does not change with the sign of C, so the predictor may be taken as positive.
        rates, begin = np.copysign(1.0, kappa) * values[sees], start[sees]
        found = np.zeros((len(given), d))
        clock = np.full(len(given), np.inf)
        finite = given < np.inf
        clock[finite] = _clock(given[finite], rates, begin)
        exponent = np.where(rates == rates.max(), 0.0, (rates - rates.max()) * clock[:, None])
        parts = np.exp(exponent + np.log(np.abs(begin) / np.abs(begin[rates == rates.max()]).max()))
        parts *= np.sign(begin) / np.linalg.norm(parts, axis=1, keepdims=True)
    found[:, sees] = parts
    found = found @ axes.T
    found[given == 0] = row[0] / size
    return found
