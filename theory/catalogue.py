"""The list of all results. Everything that enumerates them walks this list."""

import difflib
from collections.abc import Iterable

from jepalign.errors import InputError
from jepalign.theory import (
    beliefs,
    collapse,
    conservation,
    contrastive,
    guarantees,
    implicit_uniformity,
    masking,
    trajectories,
)
from jepalign.theory.proof import Theorem

CATALOGUE: tuple[Theorem, ...] = (
    *contrastive.THEOREMS,
    *implicit_uniformity.THEOREMS,
    *conservation.THEOREMS,
    *collapse.THEOREMS,
    *trajectories.THEOREMS,
    *guarantees.THEOREMS,
    *masking.THEOREMS,
    *beliefs.THEOREMS,
)


def find(name: str) -> Theorem:
    """Return the result of that name. Raises ``InputError`` for an unknown one, naming the nearest."""
    for theorem in CATALOGUE:
        if theorem.name == name:
            return theorem
    names = [theorem.name for theorem in CATALOGUE]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"the results are {', '.join(names)}"
    raise InputError("name", name, f"is not a result; {hint}")


def select(names: Iterable[str]) -> tuple[Theorem, ...]:
    """Return the named results in catalogue order, all of them if none is named."""
    wanted = [find(name) for name in names]
    return tuple(t for t in CATALOGUE if t in wanted) if wanted else CATALOGUE
