"""A design put back into the flow: W and P are integrated just below and above the largest weight decay, and survivors counted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepalign.design.decay import DecayDesign
from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, Status, ViewPair
from jepalign.linear_models.collapse import coupled_modes

Array = NDArray[np.float64]

BESIDE = 0.05
"""How far below and above the largest weight decay the flow is integrated, relatively."""
RANGE = 0.02
"""The width to which the loss of a rank is narrowed down where it can only be estimated, and what the count leaves undecided."""
PASSAGE = 50.0
"""Flow time in which a mode that far off decides, in units of 1/η."""
DEAD = 1e-3
"""A mode whose weight has fallen below this share of its start has collapsed."""


@dataclass(frozen=True)
class Checked:
    """What the flow did at two weight decays.

    Attributes
    ----------
    below, above : float
        The weight decays: 5 % off the largest of a design or, where modes are coupled and that is an estimate, ends of a range of 2 % in
        which the rank was found to be lost.
    rank_below, rank_above : int
        Dimensions that survived.
    holds : bool
        Whether at least K did below, and fewer above; for coupled modes, whether such a range lies below the bound.
    """

    below: float
    above: float
    rank_below: int
    rank_above: int
    holds: bool


def aligned_views(cross: Array, variance: Array) -> ViewPair:
    """Return views with these modes: λ and σ on the axes, the target with no more variance than it needs."""
    target = np.maximum(variance, cross / variance * cross)
    return ViewPair.from_covariances(np.diag(variance), np.diag(target), np.diag(cross))


def check(design: DecayDesign) -> Checked:
    """Integrate the JEPA with the design's settings on its data, 5 % below and above the largest weight decay.

    Coupled modes, for which that is an estimate, are integrated until a range of 2 % is left in which the rank is lost.

    Every mode starts, balanced, at the start given or, without one, at λ/(2σ√α), beyond which none starts better at the threshold. The
    dimension of the embedding is the number of modes.

    Raises
    ------
    InputError
        If the integrator gives up.
    """
    if (bound := design.spectra.largest_bound(design.rank)) is not None:
        return _bisected(design, bound)
    below, above = (1 - BESIDE) * design.largest, (1 + BESIDE) * design.largest
    ranks = [surviving(design, eta) for eta in (below, above)]
    return Checked(below, above, *ranks, holds=ranks[0] >= design.rank > ranks[1])


def _bisected(design: DecayDesign, bound: float) -> Checked:
    """Return where coupled modes lose the rank, between half of the estimate and a little beyond what no state withstands."""
    below, above = min(design.largest, bound) / 2, bound * (1 + BESIDE)
    ranks = [surviving(design, eta) for eta in (below, above)]
    if not ranks[0] >= design.rank > ranks[1]:
        return Checked(below, above, *ranks, holds=False)
    while above > (1 + RANGE) * below:
        middle = float(np.sqrt(below * above))
        rank = surviving(design, middle)
        if rank >= design.rank:
            below, ranks[0] = middle, rank
        else:
            above, ranks[1] = middle, rank
    return Checked(below, above, *ranks, holds=below <= (1 + RANGE) * bound)


def surviving(design: DecayDesign, weight_decay: float) -> int:
    """Return how many modes are alive after a flow long enough for every mode to have decided, from the design's start."""
    # Time to decide 5 % off the threshold and then to decay, both at rates of the order of η.
    end = (PASSAGE + 2 * np.log(1 / DEAD)) / weight_decay
    if (views := design.spectra.views) is not None:
        coupled = coupled_modes(views)
        W = coupled.directions.T * _begin(design, coupled.cross, coupled.variance)[:, None]
        left = np.linalg.svd(_flow(views, W, coupled.cross, design, weight_decay, end), compute_uv=False)
        return int(np.count_nonzero(left > DEAD * np.linalg.norm(W, axis=1).max()))
    alive = 0
    # Aligned modes decouple, and each takes steps of its own.
    modes = design.spectra.cross, design.spectra.variance, _begin(design, design.spectra.cross, design.spectra.variance)
    for lam, sig, w in zip(*modes, strict=True):
        if lam != 0:
            pair = aligned_views(np.array([lam]), np.array([sig]))
            left = _flow(pair, np.array([[w]]), np.array([lam]), design, weight_decay, end)
            alive += int(abs(left[0, 0]) > DEAD * w)
    return alive


def _begin(design: DecayDesign, cross: Array, variance: Array) -> Array:
    """Return |w(0)| of every mode."""
    if design.start is not None:
        return np.full(cross.size, design.start)
    return np.abs(cross) / variance / (2 * np.sqrt(design.predictor_rate))


def _flow(views: ViewPair, W: Array, side: Array, design: DecayDesign, weight_decay: float, end: float) -> Array:
    """Return the encoder at the end, from orthogonal rows W and the balanced predictor with the signs of ``side``."""
    size, alpha = np.linalg.norm(W, axis=1), design.predictor_rate
    jepa = LinearJEPA(views, predictor_rate=alpha, weight_decay=weight_decay)
    start = np.diag(np.where(side < 0, -1.0, 1.0) * np.sqrt(alpha) * size)
    path = jepa.solve(W, start, [0.0, end], method="DOP853", rtol=1e-8, atol=1e-9 * float(size.max()))
    if path.status is not Status.FINISHED:
        raise InputError("check", path.status.value, "must be integrable")
    return path.encoder[-1]
