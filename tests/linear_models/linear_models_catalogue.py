"""Every model of the room with what the laws of trajectories need to know of it: a new model joins by a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from linear_models_strategies import Drawn, with_singular_values
from numpy.typing import ArrayLike, NDArray

from jepalign.linear_models import (
    DICTIONARY,
    BarlowTwins,
    Hybrid,
    ImplicitUniformity,
    InfoNCE,
    LinearJEPA,
    Path,
    SpectralContrastive,
    ViewPair,
    WhitenedAlignment,
)
from jepalign.linear_models.objectives import Descent
from jepalign.linear_models.uniformity import LogDet, SIGReg, Spectral

Array = NDArray[np.float64]
State = dict[str, Array]
Objective = LinearJEPA | Descent | Hybrid

DECAY = 0.05
# The steps' errors of 1e-10, about a hundred of them, grow by at most e⁴ ≈ 55 over a horizon of four time constants (a
# constant is the inverse of the largest rate with ‖Σ‖ = 1, ‖W‖ ≤ 1); at a Σ of condition 10 predictors may triple it.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Model:
    """A model of the room, with what the laws need to know of it.

    ``build`` makes it from views, ``rate`` is its largest expansion rate, ``exchangeable`` says which views it needs.
    """

    build: Callable[[ViewPair], Objective]
    rate: float = 1.0
    exchangeable: bool | None = None

    @property
    def horizon(self) -> float:
        return 4 / self.rate

    def start(self, drawn: Drawn) -> State:
        """Return a generic start of full rank, with weights and predictors of size at most 1."""
        generator, k, d = drawn.rng, drawn.width(), drawn.views.dimension
        objective = self.build(drawn.views)
        state = {"encoder": with_singular_values(generator, generator.uniform(0.5, 1, size=k), d)}
        jepa = objective.jepa if isinstance(objective, Hybrid) else objective
        if isinstance(objective, WhitenedAlignment):
            state["encoder"] = objective.whiten(state["encoder"])
        if isinstance(jepa, LinearJEPA) and jepa.learnt:
            state["predictor"] = with_singular_values(generator, generator.uniform(0.2, 1, size=k), k)
        if isinstance(jepa, LinearJEPA) and jepa.lagging:
            state["target"] = with_singular_values(generator, generator.uniform(0.5, 1, size=k), d)
        return state


def solve(objective: Objective, state: Mapping[str, Array], times: ArrayLike) -> Path:
    """Solve from a state, whatever it consists of."""
    if isinstance(objective, LinearJEPA | Hybrid):
        return objective.solve(state["encoder"], state.get("predictor"), times, state.get("target"))
    return objective.solve(state["encoder"], times)


def at(path: Path, index: int, state: State) -> State:
    """Return the state at one time, with the parts of the start."""
    return {name: path.states[name][index] for name in state}


def velocity(objective: Objective, state: State) -> State:
    """Return the flow as it is printed, from the forces and the definition of the EMA."""
    W = state["encoder"]
    if isinstance(objective, Descent):
        return {"encoder": objective.forces(W).total}
    P, V = state.get("predictor"), state.get("target")
    found = {"encoder": objective.forces(W, P, V).total}
    target = W if V is None else V
    jepa = objective.jepa if isinstance(objective, Hybrid) else objective
    if P is not None:
        R = target @ objective.views.cross - P @ W @ objective.views.context
        found["predictor"] = jepa.predictor_rate * R @ W.T - jepa.weight_decay * P
    if V is not None:
        assert jepa.ema_rate is not None
        found["target"] = jepa.ema_rate * (W - V)
    return found


MODELS = {
    "JEPA": Model(LinearJEPA),
    "JEPA with decay and a fast predictor": Model(lambda v: LinearJEPA(v, predictor_rate=4.0, weight_decay=DECAY), 4.0),
    "JEPA with EMA": Model(lambda v: LinearJEPA(v, weight_decay=DECAY, ema_rate=0.5)),
    "JEPA with a fixed target": Model(lambda v: LinearJEPA(v, ema_rate=0.0)),
    "JEPA, residual form": Model(lambda v: LinearJEPA(v, force="residual")),
    "JEPA, optimal predictor": Model(lambda v: LinearJEPA(v, predictor_rate=np.inf)),
    "JEPA, optimal predictor, decay, EMA": Model(
        lambda v: LinearJEPA(v, predictor_rate=np.inf, weight_decay=DECAY, ema_rate=1.0)
    ),
    "JEPA, P = Φ": Model(lambda v: LinearJEPA(v, predictor=DICTIONARY["spectral-contrastive"])),
    "JEPA, P = √Φ, EMA": Model(lambda v: LinearJEPA(v, predictor=DICTIONARY["directpred"], ema_rate=1.0)),
    "JEPA, InfoNCE's predictor": Model(lambda v: LinearJEPA(v, predictor=DICTIONARY["gaussian-infonce"])),
    "JEPA, no predictor, decay": Model(
        lambda v: LinearJEPA(v, predictor=DICTIONARY["no-predictor"], weight_decay=DECAY)
    ),
    "JEPA, log-det's predictor, residual form": Model(
        lambda v: LinearJEPA(v, predictor=DICTIONARY["log-det"], force="residual"), exchangeable=True
    ),
    "spectral contrastive": Model(SpectralContrastive, 4.0),
    "spectral contrastive with decay": Model(lambda v: SpectralContrastive(v, DECAY), 4.0),
    "InfoNCE": Model(lambda v: InfoNCE(v, DECAY, temperature=0.5), 16.0),
    "Euclidean InfoNCE": Model(lambda v: InfoNCE(v, temperature=0.5, kernel="gaussian"), 4.0),
    "Barlow Twins": Model(lambda v: BarlowTwins(v, DECAY), 4.0),
    "whitened alignment": Model(WhitenedAlignment, 8.0),
    "hybrid with spectral uniformity": Model(lambda v: Hybrid(LinearJEPA(v, weight_decay=DECAY), Spectral(), 0.5), 2.0),
    "hybrid with SIGReg and EMA": Model(lambda v: Hybrid(LinearJEPA(v, ema_rate=0.5), SIGReg(), 0.2), 2.0),
    "hybrid with log-det, optimal predictor": Model(
        lambda v: Hybrid(LinearJEPA(v, predictor_rate=np.inf), LogDet(), 0.1), 2.0
    ),
} | {
    f"U of {name}": Model(
        lambda v, entry=entry: ImplicitUniformity(v, DECAY, predictor=entry),  # type: ignore[misc]
        exchangeable=True,
    )
    for name, entry in DICTIONARY.items()
}
