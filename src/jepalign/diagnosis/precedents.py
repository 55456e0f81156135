"""What forecasts like the one of a diagnosis were off by, in trainings whose end is known: the committed measurement of ``forecast``."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jepalign.diagnosis.stored import Array
from jepalign.errors import InputError
from jepalign.linear_models.forecast.intervals import conformal, rank_range
from jepalign.measurements import load

LEVEL = 0.95
Way = Literal["affine", "moving", "flow", "static"]
WAYS: Mapping[Way, str] = {
    "affine": "the flow with features that layers and their biases move",
    "moving": "the flow with features that move",
    "flow": "the flow with features that stay",
    "static": "thresholds alone",
}


@dataclass(frozen=True)
class Precedent:
    """The surviving rank by the signed errors of other trainings, conformally at 95 %; their own sampling of rows is in them.

    Attributes
    ----------
    low, high : int
        It holds the end of a training that is one more of these, and says nothing sure of one that is not.
    level : float
        0.95.
    method : {"affine", "moving", "flow", "static"}
        How these were told, as the diagnosis is.
    trainings, architectures : int
        How many there are.
    fraction : float
        Of their steps, at which these were told: the nearest measured one at or before the record's, the earliest if there is none.
    here : float or None
        Of its steps, at which the record lies; None if that is not known.
    """

    low: int
    high: int
    level: float
    method: Way
    trainings: int
    architectures: int
    fraction: float
    here: float | None

    @property
    def words(self) -> str:
        """The interval and where it is from."""
        told = f"told at {self.fraction:.0%}"
        if self.here is None:
            told += " (of this one it is not known how far it is)"
        elif self.here < self.fraction:
            told += f" (this one at {self.here:.2g} of its steps, earlier than any of them)"
        elif self.here > 2 * self.fraction:
            told += f" (this one at {self.here:.2g} of its steps, later than any of them)"
        return (
            f"{between(self.low, self.high)} with the errors of {self.trainings} trainings of {self.architectures} other architectures,"
            f" small networks under gradient descent, {told} by {WAYS[self.method]}"
        )


def between(low: int, high: int) -> str:
    """Return an interval of integers in words."""
    return f"{low}" if low == high else f"{low} to {high}"


def precedent(rank: int, width: int, method: Way, fraction: float | None) -> Precedent | None:
    """Return the interval of a ``rank`` of ``width`` dimensions told at a ``fraction`` of its steps; None if no measurement is there."""
    known = _errors()
    if known is None:
        return None
    fractions, errors, architectures = known
    at = 0 if fraction is None else max(int(np.searchsorted(fractions, fraction + 1e-9)) - 1, 0)
    mine = errors[method][:, at]
    low, high = rank_range(rank, conformal(mine, level=LEVEL), width)
    return Precedent(int(low), int(high), LEVEL, method, len(mine), architectures, float(fractions[at]), fraction)


@functools.cache
def _errors() -> tuple[Array, Mapping[str, Array], int] | None:
    """Return the fractions (3,), by way survived less told rank as shares of the width (N, 3), and how many architectures they are of."""
    try:
        arrays = load("forecast").arrays
        alive = arrays["survived"] > 0
        fine = arrays["diverged"] == 0
        share = {way: (alive.sum(-1)[..., None] - (arrays[way] > 0).sum(-1))[fine] / alive.shape[-1] for way in WAYS}
        return arrays["fraction"], share, int(fine.any(1).sum())
    except InputError:
        return None
