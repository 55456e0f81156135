"""How much of an explicit uniformity a wanted rank needs beside a weight decay, and what that does to the others (4.6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from jepalign.design.decay import DecayDesign
from jepalign.errors import InputError
from jepalign.linear_models.collapse import holding_weight, hybrid_equilibria, rescue_weight
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral, Uniformity, VarianceHinge

Array = NDArray[np.float64]

TERMS: Mapping[str, Uniformity] = MappingProxyType(
    {"spectral": Spectral(), "vicreg": VarianceHinge(), "log-det": LogDet(), "sigreg": SIGReg()}
)
"""The explicit terms by name, as losses beside ½E‖PWx − sg(Vy)‖², summed over dimensions; vicreg is its variance hinge."""

BEYOND = 1.01
"""What is done with a weight is told at this multiple of it: at the weight itself two states meet."""


@dataclass(frozen=True)
class Weights:
    """Weights γ that do something for all of some modes; 0 for none.

    Attributes
    ----------
    repel : float
        Beyond it none of them can stay at 0.
    rescue : float
        Beyond it none can stay at a small state beside a large one.
    hold : float
        Beyond it each has a predictor of at least ρ/2, and an embedding variance of at least η/α, as survivors of a JEPA have; ∞ where
        the term aims lower than that.
    """

    repel: float
    rescue: float
    hold: float


@dataclass(frozen=True, eq=False)
class ExplicitDesign:
    """The weights γ of one explicit term that keep K dimensions at η, and what they cost.

    Attributes
    ----------
    name : str
        A key of ``TERMS``.
    decay : DecayDesign
        K, η, α and the data.
    lost : tuple of int
        The wanted modes that η takes, without the term, from the start assumed.
    returning : Weights
        For the lost modes: all K are kept from that start.
    any_start : Weights
        For all wanted modes: all K are kept from any start, however small.
    strength : float
        γ at which the rest is told: 1.01 times the largest finite weight, of ``returning`` if a mode is lost, else of ``any_start``.
    variance, predictor : ndarray of shape (K,)
        s and p of the wanted modes in their largest stable state.
    excess : ndarray of shape (K,)
        (ρ − p)² there.
    uninvited : int
        Modes beside the wanted ones, and not alive without it, that γ brings to life: none of them can stay at 0.
    noise : float
        The variance σ of a mode without any cross-covariance above which γ brings it to life, too.
    """

    name: str
    decay: DecayDesign
    lost: tuple[int, ...]
    returning: Weights
    any_start: Weights
    strength: float
    variance: Array
    predictor: Array
    excess: Array
    uninvited: int
    noise: float

    @property
    def needed(self) -> Weights:
        """What brings back the lost or, if none is, what keeps the wanted from any start."""
        return self.returning if self.lost else self.any_start


def explicit_design(decay: DecayDesign, name: str) -> ExplicitDesign:
    """Return how much of the explicit term ``name`` keeps the wanted dimensions at the design's weight decay.

    Parameters
    ----------
    decay : DecayDesign
        With a weight decay above 0.
    name : str
        A key of ``TERMS``.

    Raises
    ------
    InputError
        For an unknown name, or without weight decay, where nothing has to be rescued.

    Notes
    -----
    Ours. A term is blind to what can be predicted: a mode repels from 0 at γ = η/φ(0), whatever its λ, so that noise of enough variance
    comes to life with it.
    """
    if name not in TERMS:
        raise InputError("uniformity", repr(name), f"must be one of {', '.join(TERMS)}")
    eta, alpha, term = decay.weight_decay, decay.predictor_rate, TERMS[name]
    if eta == 0:
        raise InputError("weight_decay", 0.0, "must be above 0 for an explicit term: nothing has to be rescued")
    cross, sigma, wanted = decay.spectra.cross, decay.spectra.variance, decay.wanted
    repel, rescue = rescue_weight(cross, sigma, eta, uniformity=term, predictor_rate=alpha)
    hold = holding_weight(cross, sigma, eta, uniformity=term, predictor_rate=alpha)
    lost = wanted[~decay.alive[wanted]]
    returning, any_start = (
        Weights(*(float(part[modes].max(initial=0.0)) for part in (repel, rescue, hold))) for modes in (lost, wanted)
    )
    needed = returning if lost.size else any_start
    strength = BEYOND * (needed.hold if np.isfinite(needed.hold) else needed.rescue)
    rests = hybrid_equilibria(
        cross[wanted], sigma[wanted], eta, uniformity=term, strength=strength, predictor_rate=alpha
    )
    weight, predictor = (
        np.array([row[stable][-1] for row, stable in zip(part, np.ma.filled(rests.stable, False), strict=True)])
        for part in (rests.weight.data, rests.predictor.data)
    )
    others = np.setdiff1d(np.arange(cross.size), wanted)
    start = float(term.coefficient(0.0))
    return ExplicitDesign(
        name,
        decay,
        tuple(int(i) for i in lost),
        returning,
        any_start,
        strength,
        sigma[wanted] * weight**2,
        predictor,
        (decay.spectra.correlation[wanted] - predictor) ** 2,
        int(np.count_nonzero((repel[others] < strength) & ~decay.alive[others])),
        float(eta / (strength * start)),
    )
