"""The losses as their papers write them: loops over samples and dimensions, in numbers that may be complex.

A complex step, Im L(z + ih)/h, then gives their gradients without differences: nothing here conjugates or takes a modulus.
"""

import cmath
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Sequence[Any]]


def dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return sum(x * y for x, y in zip(a, b, strict=True))


def apart(a: Sequence[Any], b: Sequence[Any]) -> Any:
    return sum((x - y) * (x - y) for x, y in zip(a, b, strict=True))


def unit(a: Sequence[Any]) -> list[Any]:
    length = cmath.sqrt(dot(a, a))
    return [x / length for x in a]


def mean(values: Sequence[Any]) -> Any:
    return sum(values) / len(values)


def column(z: Rows, j: int) -> list[Any]:
    return [row[j] for row in z]


def covariance(a: Sequence[Any], b: Sequence[Any], divisor: int) -> Any:
    u, v = mean(a), mean(b)
    return sum((x - u) * (y - v) for x, y in zip(a, b, strict=True)) / divisor


def spectral_contrastive(z1: Rows, z2: Rows, convention: str = "others") -> Any:
    n = len(z1)
    pairs = [(i, j) for i in range(n) for j in range(n) if convention == "all" or i != j]
    return -2 * mean([dot(a, b) for a, b in zip(z1, z2, strict=True)]) + mean(
        [dot(z1[i], z2[j]) ** 2 for i, j in pairs]
    )


def infonce(
    z1: Rows,
    z2: Rows,
    temperature: float = 1.0,
    similarity: str = "cosine",
    negatives: str = "other view",
    symmetrize: bool = False,
    convention: str = "sum",
) -> Any:
    n = len(z1)

    def logit(a: Sequence[Any], b: Sequence[Any]) -> Any:
        if similarity == "gaussian":
            return -apart(a, b) / (2 * temperature)
        return (dot(unit(a), unit(b)) if similarity == "cosine" else dot(a, b)) / temperature

    def anchor(a: Sequence[Any], positive: Sequence[Any], candidates: list[Sequence[Any]]) -> Any:
        total = sum(cmath.exp(logit(a, b)) for b in candidates)
        return -logit(a, positive) + cmath.log(total / (len(candidates) if convention == "mean" else 1))

    if negatives == "both views":
        both = [*z1, *z2]
        return mean([anchor(both[i], both[(i + n) % (2 * n)], both[:i] + both[i + 1 :]) for i in range(2 * n)])
    forth = mean([anchor(z1[i], z2[i], list(z2)) for i in range(n)])
    if not symmetrize:
        return forth
    return (forth + mean([anchor(z2[i], z1[i], list(z1)) for i in range(n)])) / 2


def barlow_twins(z1: Rows, z2: Rows, off_diagonal: float = 0.005, convention: str = "paper") -> Any:
    n, k = len(z1), len(z1[0])
    divisor = n - 1 if convention == "algorithm" else n
    epsilon = 1e-5 if convention in ("official", "lightly") else 0.0
    loss: Any = 0.0
    for i in range(k):
        for j in range(k):
            a, b = column(z1, i), column(z2, j)
            scale = cmath.sqrt(covariance(a, a, divisor) + epsilon) * cmath.sqrt(covariance(b, b, divisor) + epsilon)
            r = covariance(a, b, n) / scale
            loss += (1 - r) ** 2 if i == j else off_diagonal * r**2
    return loss


def vicreg(
    z1: Rows,
    z2: Rows,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance_weight: float = 1.0,
    epsilon: float = 1e-4,
    convention: str = "paper",
) -> Any:
    n, k = len(z1), len(z1[0])
    distance = mean([apart(a, b) for a, b in zip(z1, z2, strict=True)])
    hinges: list[Any] = []
    spill: Any = 0.0
    for z in (z1, z2):
        hinge: Any = 0.0
        for i in range(k):
            a = column(z, i)
            slack = 1 - cmath.sqrt(covariance(a, a, n - 1) + epsilon)
            hinge += slack if slack.real > 0 else 0.0
            spill += sum(covariance(a, column(z, j), n - 1) ** 2 for j in range(k) if j != i) / k
        hinges.append(hinge / k)
    if convention != "paper":
        distance /= k  # torch's mse_loss
    both = sum(hinges) / 2 if convention in ("official", "lightly") else sum(hinges)
    return invariance * distance + variance * both + covariance_weight * spill


def sigreg(z1: Rows, z2: Rows, directions: Rows, scaled: bool = True, convention: str = "paper") -> Any:
    if convention == "paper":
        times = np.linspace(-5, 5, 17).tolist()
        weights = [10 / 16 * (0.5 if i in (0, 16) else 1.0) for i in range(17)]
    else:
        times = np.linspace(0, 3, 17).tolist()
        weights = [2 * 3 / 16 * (0.5 if i in (0, 16) else 1.0) for i in range(17)]
    n = len(z1)
    statistics: list[Any] = []
    for z in (z1, z2):
        for direction in directions:
            a = unit(direction)
            statistic: Any = 0.0
            for t, weight in zip(times, weights, strict=True):
                # |φ_n − φ|² in real and imaginary part: a modulus would not be analytic.
                real = mean([cmath.cos(t * dot(a, row)) for row in z]) - math.exp(-t * t / 2)
                imaginary = mean([cmath.sin(t * dot(a, row)) for row in z])
                statistic += weight * math.exp(-t * t / 2) * (real**2 + imaginary**2)
            statistics.append(statistic * (n if scaled else 1))
    return mean(statistics)


def prediction(p: Rows, z: Rows, convention: str = "half") -> Any:
    k = len(p[0])
    if convention == "simsiam":
        return -mean([dot(unit(a), unit(b)) for a, b in zip(p, z, strict=True)])
    if convention == "byol":
        return mean([2 - 2 * dot(unit(a), unit(b)) for a, b in zip(p, z, strict=True)])
    return {"half": 0.5, "sum": 1.0, "mean": 1 / k}[convention] * mean([apart(a, b) for a, b in zip(p, z, strict=True)])


def alignment(z1: Rows, z2: Rows, exponent: float = 2.0, normalize: bool = True, convention: str = "paper") -> Any:
    on: Callable[[Sequence[Any]], Sequence[Any]] = unit if normalize else list
    loss = mean([cmath.sqrt(apart(on(a), on(b))) ** exponent for a, b in zip(z1, z2, strict=True)])
    return loss / 2 if convention == "half" else loss


def uniformity(z1: Rows, z2: Rows, sharpness: float = 2.0, normalize: bool = True, convention: str = "others") -> Any:
    on: Callable[[Sequence[Any]], Sequence[Any]] = unit if normalize else list
    n = len(z1)
    pairs = [(i, j) for i in range(n) for j in range(n) if convention == "all" or i != j]
    return mean(
        [cmath.log(mean([cmath.exp(-sharpness * apart(on(z[i]), on(z[j]))) for i, j in pairs])) for z in (z1, z2)]
    )


def log_det(z1: Rows, z2: Rows, epsilon: float = 0.0, convention: str = "population") -> Any:
    k = len(z1[0])
    divisor = len(z1) - (convention == "sample")
    halves: list[Any] = []
    for z in (z1, z2):
        entries = [[covariance(column(z, i), column(z, j), divisor) for j in range(k)] for i in range(k)]
        for i in range(k):
            entries[i][i] += epsilon
        determinant: Any = 1.0
        for i in range(k):  # Gaussian elimination: pivots of a definite matrix are positive
            determinant *= entries[i][i]
            for r in range(i + 1, k):
                ratio = entries[r][i] / entries[i][i]
                entries[r] = [x - ratio * y for x, y in zip(entries[r], entries[i], strict=True)]
        halves.append(-cmath.log(determinant) / 2)
    return mean(halves)


def complex_step(loss: Callable[[Rows, Rows], Any], z1: np.ndarray, z2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of a transcription, exact to rounding: a step of 1e-30 leaves no difference to cancel."""
    gradients = np.zeros_like(z1), np.zeros_like(z2)
    for which in range(2):
        for place in np.ndindex(z1.shape):
            both = [z1.astype(complex), z2.astype(complex)]
            both[which][place] += 1e-30j
            gradients[which][place] = complex(loss(both[0].tolist(), both[1].tolist())).imag / 1e-30
    return gradients


def test_by_hand() -> None:
    # Two samples on an axis: every sum has one or two terms.
    z, other = [[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]
    assert spectral_contrastive(z, z) == -1.0
    assert spectral_contrastive(z, other, "all") == 1.0
    assert abs(infonce(z, z) - math.log(1 + math.exp(-2))) < 1e-15
    assert abs(infonce(z, z, negatives="both views") - math.log(1 + 2 * math.exp(-2))) < 1e-15
    assert abs(uniformity(z, z) + 8.0) < 1e-14
    assert alignment(z, other) == 2.0
    assert prediction(z, other) == 1.0
    assert prediction(z, other, "byol") == 2.0
    # Variance 2 over n − 1 closes the hinge of the first dimension; the second has deviation 0.01 from ε alone.
    assert abs(vicreg(z, z) - 25 * 0.99) < 1e-12
    assert abs(log_det(z, z, 1.0) + math.log(2) / 2) < 1e-15
    assert abs(sigreg(z, z, [[0.0, 2.0]]) - 2 * rule(lambda t: (1 - math.exp(-t * t / 2)) ** 2)) < 1e-14
    square = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    assert barlow_twins(square, square) == 0.0
    assert abs(barlow_twins(square, square, convention="algorithm") - 2 / 16) < 1e-15


def rule(error: Callable[[float], float]) -> float:
    times = [-5 + 0.625 * i for i in range(17)]
    values = [error(t) * math.exp(-t * t / 2) for t in times]
    return sum((a + b) / 2 * 0.625 for a, b in itertools.pairwise(values))


def test_the_complex_step_is_a_derivative() -> None:
    z1, z2 = np.array([[0.3, 1.0], [-0.5, 0.2], [0.1, -0.7]]), np.array([[0.2, 0.8], [-0.4, 0.1], [0.6, -0.3]])
    first, second = complex_step(infonce, z1, z2)
    for gradient, direction in ((first, (1.0, 0.0)), (second, (0.0, 1.0))):
        # Central differences: 1e-10 by the step squared, 1e-11 by rounding.
        moved = [
            complex(infonce((z1 + direction[0] * h).tolist(), (z2 + direction[1] * h * z2**2).tolist())).real
            for h in (1e-5, -1e-5)
        ]
        along = gradient.sum() if direction[0] else (gradient * z2**2).sum()
        assert abs((moved[0] - moved[1]) / 2e-5 - along) < 1e-9
