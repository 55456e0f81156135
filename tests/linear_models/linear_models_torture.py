"""Random arguments at and beyond every edge of the trajectories' domains, and the error of each against 50-digit arithmetic."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import linear_models_oracles as oracles
import mpmath as mp
import numpy as np
from linear_models_precision import error_per_condition
from mpmath.libmp import NoConvergence

from jepalign.linear_models.trajectories import (
    balanced_jepa,
    barlow_twins,
    deep_jepa,
    ema_without_predictor,
    masked_autoencoder,
    spectral_contrastive,
    unbalanced_jepa,
)

BOUND = 1e-14  # relative error per unit of the problem's own condition number
TIMES_A_ROW = 64  # a case is also computed as a row of equal times, which takes another path through the code

Case = tuple[float, ...]
Rng = np.random.Generator


@dataclass
class Result:
    """What a function's cases showed: the worst error over condition with its case, and what must not occur at all."""

    cases: int = 0
    worst: float = 0.0
    where: Case = ()
    nans: int = 0
    warned: int = 0
    unheld: list[Case] = field(default_factory=list[Case])

    @property
    def holds(self) -> bool:
        """Whether every bound is kept."""
        return self.worst <= BOUND and not (self.nans or self.warned or self.unheld)


def size(rng: Rng, decades: float) -> float:
    """Return a positive number, log-uniform over 2 · ``decades`` decades."""
    return float(10 ** rng.uniform(-decades, decades))


def sign(rng: Rng) -> float:
    """Return 1 or −1."""
    return float(rng.choice([-1.0, 1.0]))


def time(rng: Rng) -> float:
    """Return 0, or a time up to 1e300."""
    return 0.0 if rng.random() < 0.03 else size(rng, float(rng.choice([300, 8])))


def weight(rng: Rng, decades: float = 150) -> float:
    """Return a weight of either sign."""
    return sign(rng) * size(rng, float(rng.choice([decades, 4])))


def beside(rng: Rng, number: float) -> float:
    """Return the number, its neighbours, numbers 1e-12 of it away, or ones at a random small distance."""
    choice = int(rng.integers(6))
    if choice == 0:
        return number
    if choice == 1:
        return float(np.nextafter(number, 2 * number))
    if choice == 2:
        return float(np.nextafter(number, 0))
    if choice == 3:
        return number * (1 + 1e-12)
    if choice == 4:
        return number * (1 - 1e-12)
    return number * (1 + sign(rng) * float(10 ** rng.uniform(-16, 0.5)))


def dyadic(rng: Rng) -> float:
    """Return a power of two, of which products and squares are exact."""
    return float(2.0 ** int(rng.integers(-20, 21)))


def balanced_cases(rng: Rng) -> Iterator[Case]:
    """Draw t, w, λ, σ, α without weight decay: everywhere, at λ = 0, while the mode moves, and around the equilibrium."""
    while True:
        cross, variance, rate = sign(rng) * size(rng, 6), size(rng, 6), size(rng, 6)
        yield time(rng), weight(rng), cross, variance, rate
        yield time(rng), weight(rng), 0.0, variance, rate
        rest = cross / variance / np.sqrt(rate)
        clock = size(rng, 3) * variance / cross**2
        yield clock, rest * weight(rng, 6), cross, variance, rate
        yield clock, beside(rng, rest), cross, variance, rate
        a, b = dyadic(rng), dyadic(rng)  # the equilibrium is a/b exactly
        yield size(rng, 4) * b / a**2, beside(rng, a / b), a, b, 1.0
        yield clock, beside(rng, -rest), cross, variance, rate


def decayed_cases(rng: Rng) -> Iterator[Case]:
    """Draw the same with weight decay: below, beside and exactly at the threshold, and above, around every equilibrium."""
    while True:
        cross, variance, rate = sign(rng) * size(rng, 6), size(rng, 6), size(rng, 6)
        yield time(rng), weight(rng), cross, variance, rate, size(rng, 6)
        yield time(rng), weight(rng), 0.0, variance, rate, size(rng, 6)
        for pressure in (size(rng, 12), beside(rng, 1.0), min(size(rng, 3), 1.0)):
            decay = abs(pressure) * cross**2 / (4 * variance)
            root = np.sqrt(max(0.0, 1 - abs(pressure)))
            top, saddle = (1 + root) * cross / (2 * variance), 2 * decay / (cross * (1 + root))
            start = [top, saddle, (top + saddle) / 2, -saddle, -top, saddle / 2][int(rng.integers(6))] / np.sqrt(rate)
            t = size(rng, 3) / (cross**2 / variance * max(root, 1e-4))
            yield t, beside(rng, float(start)), cross, variance, rate, decay
        a, b = dyadic(rng), dyadic(rng)  # λ = 2a, σ = b: the threshold is a²/b and the double equilibrium a/b, exactly
        for decay in (a * a / b, np.nextafter(a * a / b, 0), np.nextafter(a * a / b, 1e300)):
            yield size(rng, 3) * b / a**2, beside(rng, a / b), 2 * a, b, 1.0, float(decay)


def logistic_cases(rng: Rng) -> Iterator[Case]:
    """Draw t, w, λ, σ of the spectral contrastive mode."""
    while True:
        cross, variance = sign(rng) * size(rng, 6), size(rng, 6)
        yield time(rng), weight(rng), cross, variance
        yield time(rng), weight(rng), 0.0, variance
        yield size(rng, 3) / abs(cross), weight(rng), cross, variance
        yield size(rng, 3) / abs(cross), sign(rng) * beside(rng, np.sqrt(abs(cross)) / variance), cross, variance


def barlow_cases(rng: Rng) -> Iterator[Case]:
    """Draw t, w, λ of Barlow Twins."""
    while True:
        cross = sign(rng) * size(rng, 6)
        yield time(rng), weight(rng), cross
        yield time(rng), weight(rng), 0.0
        yield size(rng, 3) / abs(cross), weight(rng), cross
        yield size(rng, 3) / abs(cross), sign(rng) * beside(rng, 1 / np.sqrt(abs(cross))), cross


def unbalanced_cases(rng: Rng) -> Iterator[Case]:
    """Draw t, w, p, λ, σ, α: everywhere, at and beside c = 0, around λ/σ and ±√c, and with λ = 0."""
    while True:
        cross, variance, rate = sign(rng) * size(rng, 6), size(rng, 6), size(rng, 6)
        w, p = weight(rng), weight(rng)
        speed = variance * max(rate * w * w, p * p, (cross / variance) ** 2)
        yield min(max(size(rng, 6) / speed, 1e-300), 1e300), w, p, cross, variance, rate
        end = cross / variance
        clock = size(rng, 3) * variance / cross**2
        yield clock, weight(rng, 2) * end / np.sqrt(rate), weight(rng, 2) * end, cross, variance, rate
        yield clock, weight(rng, 2) * end / np.sqrt(rate), beside(rng, end), cross, variance, rate
        height = sign(rng) * size(rng, 4) * end
        yield clock, height, sign(rng) * beside(rng, height), cross, variance, 1.0  # c = 0±
        yield clock, height, sign(rng) * height, 0.0, variance, 1.0
        yield clock, 1e-9 * height, beside(rng, height), cross, variance, rate  # √c = |p| almost
        yield clock, height, beside(rng, height) * 2, 0.0, variance, rate


def deep_cases(rng: Rng, depth: int) -> Iterator[Case]:
    """Draw t, w, λ, σ of a deep JEPA."""
    while True:
        cross, variance = sign(rng) * size(rng, 6), size(rng, 6)
        yield time(rng), abs(weight(rng)), cross, variance
        yield time(rng), abs(weight(rng)), 0.0, variance
        rest = abs(cross) / variance
        place = float(rng.choice([size(rng, 2), beside(rng, 1.0)]))
        clock = size(rng, 3) / (abs(cross) * (rest * place) ** (2 * depth - 1) * (1 + place))
        start = (rest * place) ** depth
        if start > 0 and 1e-300 < clock < 1e300:
            yield clock, start, cross, variance


def autoencoder_cases(rng: Rng, depth: int) -> Iterator[Case]:
    """Draw t, w, λ, σ of a deep masked autoencoder, within two decades of the equilibrium: beyond, the oracle's series fails."""
    while True:
        cross, variance = sign(rng) * size(rng, 6), size(rng, 6)
        rest = (abs(cross) / variance) ** (1 / (depth + 1))
        place = float(rng.choice([size(rng, 2), beside(rng, 1.0)]))
        start = (rest * place) ** depth
        if start > 0:
            yield size(rng, 3) / (abs(cross) * (rest * place) ** (depth - 1) * (1 + place)), start, cross, variance


def averaged_cases(rng: Rng) -> Iterator[Case]:
    """Draw t, w, v, λ, σ, β, η without a predictor: slow and fast targets, oscillation, and rates that meet."""
    while True:
        variance, lag = size(rng, 6), size(rng, 6)
        decay = float(rng.choice([0.0, size(rng, 6)]))
        share = size(rng, 12)
        cross = sign(rng) * min(share, 1 / share) * variance
        yield size(rng, 4) / (variance + lag), weight(rng, 100), weight(rng, 100), cross, variance, lag, decay
        yield size(rng, 4) / (variance + lag), weight(rng, 2), weight(rng, 2), 0.0, variance, lag, decay
        ratio = float(rng.uniform(0.05, 0.95))
        yield (
            size(rng, 2),
            weight(rng, 1),
            weight(rng, 1),
            beside(rng, -((1 - ratio) ** 2) / (4 * ratio)),
            1.0,
            ratio,
            0.0,
        )


@dataclass(frozen=True)
class Subject:
    """A function, which of its values is held, the oracle of that value, and the cases."""

    solve: Callable[..., Any]
    oracle: Callable[..., Any]
    draw: Callable[[Rng], Iterator[Case]]
    share: float = 1.0  # of the cases asked for: slow oracles get fewer


def _decayed(t: Any, w: Any, cross: Any, variance: Any, rate: Any, decay: Any) -> Any:
    return balanced_jepa(t, w, cross, variance, predictor_rate=rate, weight_decay=decay)


def _part(function: Callable[..., Any], index: int) -> Callable[..., Any]:
    return lambda *given: function(*given)[index]


def _unbalanced(t: Any, w: Any, p: Any, cross: Any, variance: Any, rate: Any) -> Any:
    return unbalanced_jepa(t, w, p, cross, variance, predictor_rate=rate)


def _averaged(t: Any, w: Any, v: Any, cross: Any, variance: Any, lag: Any, decay: Any) -> Any:
    return ema_without_predictor(t, w, v, cross, variance, ema_rate=lag, weight_decay=decay)


def _unbalanced_oracle(index: int) -> Callable[..., Any]:
    def solve(t: Any, w: Any, p: Any, cross: Any, variance: Any, rate: Any) -> Any:
        with mp.workdps(700):
            level = p**2 == rate * w**2
        if not level:
            return oracles.unbalanced(t, w, p, cross, variance, rate)[index]
        turn = mp.sign(p * w)
        encoder = turn * oracles.balanced(t, turn * w, cross, variance, rate)
        return encoder if index == 0 else turn * mp.sqrt(rate) * encoder

    return solve


SUBJECTS: dict[str, Subject] = {
    "balanced_jepa, η = 0": Subject(
        lambda t, w, a, s, r: balanced_jepa(t, w, a, s, predictor_rate=r), oracles.balanced, balanced_cases
    ),
    "balanced_jepa, η > 0": Subject(_decayed, oracles.decayed, decayed_cases),
    "unbalanced_jepa, encoder": Subject(_part(_unbalanced, 0), _unbalanced_oracle(0), unbalanced_cases),
    "unbalanced_jepa, predictor": Subject(_part(_unbalanced, 1), _unbalanced_oracle(1), unbalanced_cases),
    "spectral_contrastive": Subject(spectral_contrastive, oracles.contrastive, logistic_cases),
    "barlow_twins": Subject(barlow_twins, oracles.barlow, barlow_cases),
    "deep_jepa, 2 layers": Subject(partial(deep_jepa, depth=2), oracles.deep("deep_jepa", 2), partial(deep_cases, depth=2)),
    "deep_jepa, 3 layers": Subject(partial(deep_jepa, depth=3), oracles.deep("deep_jepa", 3), partial(deep_cases, depth=3)),
    "masked_autoencoder, 2 layers": Subject(
        partial(masked_autoencoder, depth=2), oracles.deep("masked_autoencoder", 2),
        partial(autoencoder_cases, depth=2), share=0.25,
    ),
    "ema_without_predictor, encoder": Subject(_part(_averaged, 0), oracles.averaged(0), averaged_cases),
    "ema_without_predictor, target": Subject(_part(_averaged, 1), oracles.averaged(1), averaged_cases),
}  # fmt: skip


def torture(name: str, count: int, seed: int = 0, step: Callable[[], None] = lambda: None) -> Result:
    """Return what ``count`` cases of a subject show, the same for the same seed; ``step`` is called after each."""
    subject = SUBJECTS[name]
    count = max(1, int(subject.share * count))
    rng = np.random.default_rng([seed, *name.encode()])
    cases = [tuple(map(float, case)) for case, _ in zip(subject.draw(rng), range(count), strict=False)]
    result = Result(len(cases))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        together = np.asarray(subject.solve(*np.array(cases).T))
        rows = [np.asarray(subject.solve(np.full(TIMES_A_ROW, case[0]), *case[1:])) for case in cases]
    result.warned = len(caught)
    for case, value, row in zip(cases, together, rows, strict=True):
        result.nans += int(np.isnan(value)) + int(np.isnan(row).any())
        for found in {float(value), float(row[0])}:
            try:
                error = error_per_condition(found, subject.oracle, *case)
            except (AssertionError, ValueError, ZeroDivisionError, NoConvergence):
                result.unheld.append(case)
                continue
            if not error <= result.worst:
                result.worst, result.where = error, case
        step()
    return result
