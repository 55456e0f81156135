"""Times to reach a level against their own integrals, the trajectories that they invert, and the order that theory states."""

import itertools
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_models_oracles import balanced as balanced_path
from linear_models_oracles import decayed as decayed_path
from linear_models_precision import UNIT, error_per_condition, follow
from linear_models_strategies import examples

from jepalign.errors import InputError
from jepalign.linear_models.trajectories.arrival import (
    barlow_twins_time,
    critical_time,
    deep_jepa_time,
    learning_order,
    masked_autoencoder_time,
    spectral_contrastive_time,
    step_time,
)
from jepalign.linear_models.trajectories.arrival_jepa import balanced_jepa_time, unbalanced_jepa_time
from jepalign.linear_models.trajectories.balanced import balanced_jepa
from jepalign.linear_models.trajectories.depth import deep_jepa, masked_autoencoder
from jepalign.linear_models.trajectories.logistic import barlow_twins, spectral_contrastive
from jepalign.linear_models.trajectories.power_predictor import power_predictor
from jepalign.linear_models.trajectories.unbalanced import unbalanced_jepa

PAIRS = {"jepa": (deep_jepa, deep_jepa_time), "autoencoder": (masked_autoencoder, masked_autoencoder_time)}


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", PAIRS)
def test_the_trajectory_is_at_the_level_then(kind: str, depth: int) -> None:
    solve, time = PAIRS[kind]
    rng = np.random.default_rng(depth)
    n = 2000
    w, s = 10 ** rng.uniform(-3, 3, n), 10 ** rng.uniform(-2, 2, n)
    cross = 10 ** rng.uniform(-2, 2, n) * rng.choice([-1, 0, 1, 1], n)
    end = np.where(cross > 0, (np.abs(cross) / s) ** (depth if kind == "jepa" else depth / (depth + 1)), 1e-3 * w)
    # A layer starts within a factor 2 of a rest: from far below, w(t) leaps and no digit of it follows from t.
    w = np.where(cross > 0, end * 2 ** rng.uniform(-depth, depth, n), w)
    level = w * (end / w) ** rng.uniform(0.01, 0.95, n)
    t = time(level, w, cross, s, depth=depth)
    assert np.isfinite(t).all()
    # The level moves by d ln w/d ln t for a relative error of t: found from a neighbour in time.
    slope = np.abs(np.log(solve(t * 1.000001, w, cross, s, depth=depth) / solve(t, w, cross, s, depth=depth))) * 1e6
    error = np.abs(np.log(solve(t, w, cross, s, depth=depth) / level))
    assert (error < 1e-13 * (1 + depth + slope)).all()


@pytest.mark.parametrize("kind", PAIRS)
def test_start_limit_and_beyond(kind: str) -> None:
    time = PAIRS[kind][1]
    for depth in (1, 2, 5):
        assert np.array_equal(
            time([0.5, 2.0, 0.2, 1.0, 0.0], 0.5, 3.0, 3.0, depth=depth), [0, np.inf, np.inf, np.inf, np.inf]
        )
        assert np.array_equal(time([0.0, 1.0], 0.0, 3.0, 3.0, depth=depth), [0, np.inf])
        assert np.isfinite(time(1e-3, 0.5, [-1.0, 0.0], 3.0, depth=depth)).all()


def test_the_order_of_littwin() -> None:
    # Equal λ: the JEPA learns the larger ρ first. A larger λ comes first in both.
    cross, variance = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.6, 1.2])
    for kind in PAIRS:
        found = learning_order(cross, variance, 1e-6, depth=2, objective=kind)  # type: ignore[arg-type]
        assert found[0] == 2
    assert list(learning_order(cross, variance, 1e-6, depth=2)) == [2, 1, 0]
    assert list(learning_order([-1.0, 0.5], 1.0, 1e-3, depth=3)) == [1, 0]


def test_the_first_terms_of_littwin() -> None:
    # Raw time: their sum over L; what it leaves out is of the order of ln ε against ε^{-3/2}.
    cross, rho, start, depth = 0.7, 0.6, 1e-8, 2
    terms = sum(1 / (n * rho ** (2 * depth - n - 1) * start ** (n / depth)) for n in range(1, 2 * depth)) / cross
    found = float(deep_jepa_time(0.9 * rho**depth, start, cross, cross / rho, depth=depth))
    assert found == pytest.approx(terms, rel=1e-9)


@pytest.mark.parametrize(
    "change", [{"level": -1.0}, {"weight": -1.0}, {"depth": 0}, {"cross": np.nan}, {"variance": 0.0}]
)
def test_what_leaves_the_domain_is_an_error(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"level": 1.0, "weight": 1.0, "cross": 1.0, "variance": 1.0, "depth": 2, **change}
    with pytest.raises(InputError, match=next(iter(change))):
        deep_jepa_time(**given)
    with pytest.raises(InputError, match="objective"):
        learning_order([1.0], 1.0, 0.1, depth=1, objective="other")  # type: ignore[arg-type]


def test_contrastive_times_and_the_steps_of_simon() -> None:
    rng = np.random.default_rng(8)
    w, cross, s = 10 ** rng.uniform(-1, 1, 500), rng.uniform(-1, 1, 500), rng.uniform(0.5, 2, 500)
    t = rng.uniform(0.1, 1, 500)
    # At 8λt < 8 and a start within 1/1000 of the end, a rounding of the level moves the time by some 1e6 roundings.
    assert np.allclose(spectral_contrastive_time(spectral_contrastive(t, w, cross, s), w, cross, s), t, rtol=1e-9)
    assert np.allclose(barlow_twins_time(barlow_twins(t, w, cross), w, cross), t, rtol=1e-9)
    step = barlow_twins_time(np.sqrt(0.5 / 0.3), 1e-3, 0.3)
    assert step == pytest.approx(np.log(1 / (0.3 * 1e-6) - 1) / (8 * 0.3), rel=1e-14)
    assert barlow_twins_time([1e-3, 2.0], 1e-3, 0.0)[1] == np.inf


TOLERANCE = 1e-14  # relative, per unit of the problem's own condition number


def sizes(decades: float) -> st.SearchStrategy[float]:
    return st.floats(-decades, decades).map(lambda x: 10.0**x)


def signed(decades: float) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from([-1.0, 1.0]), sizes(decades)).map(math.prod)


def balanced_reference(level: Any, w: Any, cross: Any, variance: Any, rate: Any, decay: Any) -> Any:
    """Return ∫ dp/ṗ, ṗ = p²(λ − σp) − ηp, by residues at its roots, with digits to spare."""
    if level == w:
        return mp.mpf(0)
    with mp.workdps(700):
        start, stop = mp.sqrt(rate) * w, mp.sqrt(rate) * level
        if start * stop <= 0:
            return mp.inf

        def field(p: Any) -> Any:
            return p * (p * (cross - variance * p) - decay)

        discriminant = cross**2 - 4 * decay * variance
        middle, half = cross / (2 * variance), mp.sqrt(mp.mpc(discriminant)) / (2 * variance)
        roots = [middle - half, middle + half]
        rests = [root.real for root in roots if root.imag == 0]
        if (stop - start) * field(start) <= 0 or any(min(start, stop) <= rest <= max(start, stop) for rest in rests):
            return mp.inf

        def logs(root: Any) -> Any:  # along the real axis, so that the branch is that of the quotient
            return mp.log(stop - root) - mp.log(start - root) if mp.im(root) else mp.log((stop - root) / (start - root))

        if cross == 0 and decay == 0:
            return (1 / stop**2 - 1 / start**2) / (2 * variance)
        if decay == 0:  # 0 is a double root, λ/σ the other
            rest = cross / variance
            return (1 / start - 1 / stop) / cross + variance / cross**2 * (logs(mp.mpf(0)) - logs(rest))
        if discriminant == 0:
            pole = 1 / (stop - middle) - 1 / (start - middle)
            return -((logs(mp.mpf(0)) - logs(middle)) / middle**2 - pole / middle) / variance
        found = logs(mp.mpf(0)) / (roots[0] * roots[1])
        found += (logs(roots[0]) / roots[0] - logs(roots[1]) / roots[1]) / (roots[0] - roots[1])
        return -mp.re(found) / variance


def check_balanced(level: float, w: float, cross: float, variance: float, rate: float, decay: float) -> None:
    found = float(balanced_jepa_time(level, w, cross, variance, predictor_rate=rate, weight_decay=decay))
    with mp.workdps(60):
        exact = balanced_reference(*map(mp.mpf, (level, w, cross, variance, rate, decay)))
    if exact == mp.inf or found == math.inf:
        # Beside an equilibrium, that of the rounded parameters may be on the other side: no digit of time is left there.
        if exact != found:
            assert (
                error_per_condition(2.0 * float(exact), balanced_reference, level, w, cross, variance, rate, decay)
                < TOLERANCE
            )
        return
    assert error_per_condition(found, balanced_reference, level, w, cross, variance, rate, decay) < TOLERANCE


@given(
    signed(150), st.one_of(sizes(150), sizes(3)), st.one_of(signed(6), st.just(0.0)), sizes(6), sizes(6),
    st.one_of(sizes(6), st.just(0.0)),
)  # fmt: skip
@examples(200)
def test_the_balanced_time_over_the_whole_range(
    w: float, ratio: float, cross: float, variance: float, rate: float, decay: float
) -> None:
    level = w * ratio
    if 1e-150 < abs(level) < 1e150:
        check_balanced(level, w, cross, variance, rate, decay)


PRESSURES = st.one_of(
    st.just(0.0),
    st.floats(-12, 0).map(lambda x: 10.0**x),
    st.floats(-14, -1).map(lambda x: 1 - 10.0**x),
    st.floats(-14, -1).map(lambda x: 1 + 10.0**x),
    st.floats(0, 6).map(lambda x: 10.0**x),
)


@given(
    PRESSURES, st.integers(0, 6), st.floats(-13, 3), st.floats(-13, 3), st.sampled_from([-1.0, 1.0]), signed(6), sizes(6),
    sizes(6), st.booleans(),
)  # fmt: skip
@examples(250)
def test_the_balanced_time_on_every_side_of_every_rest(
    pressure: float,
    place: int,
    near: float,
    step: float,
    side: float,
    cross: float,
    variance: float,
    rate: float,
    inward: bool,
) -> None:
    decay = pressure * cross**2 / (4 * variance)
    root = math.sqrt(max(0.0, 1 - pressure))
    top, saddle = (1 + root) * cross / (2 * variance), 2 * decay / (cross * (1 + root))
    rests = [top, saddle, 0.0]
    rest = [top, saddle, (top + saddle) / 2, -saddle, -top, saddle / 2, top / 2][place] / math.sqrt(rate)
    w = rest * (1 + side * 10.0**near)
    if w == 0:
        return
    rests = [x / math.sqrt(rate) for x in rests]
    # Towards the limit, by a share of the way or by a factor from the start.
    p = math.sqrt(rate) * w
    field = p * (cross - variance * p) - decay
    rising = field * 1.0 > 0
    ends = [x for x in rests if (abs(x) > abs(w)) == rising and (x * w > 0 or x == 0)]
    if not ends:
        return
    end = min(ends, key=lambda x: abs(x - w))
    share = 1 / (1 + 10.0**step)
    level = end + (w - end) * share if inward else w + (end - w) * share
    check_balanced(level, w, cross, variance, rate, decay)


HARD = [
    (0.9, 0.1, 1.0, 1.0, 1.0, 0.0), (1.01, 30.0, 1.0, 1.0, 4.0, 0.0), (-0.001, -0.5, 1.0, 2.0, 0.3, 0.0),
    (0.1, 2.0, -1.0, 1.0, 1.0, 0.0), (0.1, 2.0, 0.0, 1.0, 1.0, 0.0), (0.1, 2.0, 0.0, 1.0, 1.0, 0.7),
    (1.9, 1.1, 3.0, 1.0, 1.0, 2.0), (2.001, 40.0, 3.0, 1.0, 1.0, 2.0), (0.01, 0.999, 3.0, 1.0, 1.0, 2.0),
    (-0.01, -5.0, 3.0, 1.0, 1.0, 2.0), (1.5, 3.0, 2.0, 1.0, 1.0, 1.0), (0.01, 0.99, 2.0, 1.0, 1.0, 1.0),
    (0.01, 5.0, 2.0, 1.0, 1.0, 1.0001), (0.01, 5.0, 2.0, 1.0, 1.0, 30.0), (-0.3, -0.4, 2.0, 1.0, 2.0, 1.0001),
    (1e-3, 1.00001, 2.0, 1.0, 1.0, 1.000000001),
]  # fmt: skip


@pytest.mark.parametrize("case", HARD, ids=str)
def test_the_balanced_time_is_the_integral_of_the_reciprocal_field(case: tuple[float, ...]) -> None:
    level, w, cross, variance, rate, decay = case
    with mp.workdps(50):
        speed = mp.sqrt(mp.mpf(rate))

        def slowness(y: Any) -> Any:  # dt/d ln|w|
            p = speed * mp.sign(w) * mp.exp(y)
            return 1 / (p * (mp.mpf(cross) - mp.mpf(variance) * p) - mp.mpf(decay))

        lower, upper = mp.log(abs(mp.mpf(w))), mp.log(abs(mp.mpf(level)))
        # The slowest place is close to the start or to √(η/σ): parts that shrink towards both.
        slow = mp.log(mp.sqrt(mp.mpf(decay) / variance) / speed) if decay else lower
        parts = {lower, upper}
        for centre in (lower, slow):
            for n in range(24):
                for sign in (-1, 1):
                    at = centre + sign * mp.mpf(2) ** (3 - n)
                    if min(lower, upper) < at < max(lower, upper):
                        parts.add(at)
        ordered = sorted(parts, reverse=bool(upper < lower))
        exact: Any = mp.quad(slowness, ordered)
    found = float(balanced_jepa_time(level, w, cross, variance, predictor_rate=rate, weight_decay=decay))
    if level == 1.5:  # a double equilibrium, where condition numbers are infinite; the parameters are exact
        assert found == pytest.approx(float(exact), rel=1e-14)
    else:
        cond_error = error_per_condition(found, balanced_reference, *case)
        assert cond_error < TOLERANCE
        assert abs(balanced_reference(*map(mp.mpf, case)) / exact - 1) < 1e-25  # the reference is that integral


def test_the_balanced_trajectory_is_at_the_level_then() -> None:
    rng = np.random.default_rng(3)
    w, cross = rng.normal(size=(2, 3000))
    rate = 10.0 ** rng.uniform(-1, 1, 3000)
    for decay in (0.0, 10.0 ** rng.uniform(-3, 0, 3000)):
        keywords: dict[str, Any] = {"predictor_rate": rate, "weight_decay": decay}
        t = 10.0 ** rng.uniform(-2, 1, 3000)
        level = balanced_jepa(t, w, cross, 0.8, **keywords)
        growth, start = (np.sqrt(rate) * x * (cross - 0.8 * np.sqrt(rate) * x) - decay for x in (level, w))
        moving = np.abs(growth) > 1e-6  # elsewhere no digit of t is left in the level
        assert moving.sum() > 2000
        given = w[moving], cross[moving], 0.8
        keywords = {name: value if np.ndim(value) == 0 else value[moving] for name, value in keywords.items()}
        t, level, growth, start = (x[moving] for x in (t, level, growth, start))
        again = balanced_jepa_time(level, *given, **keywords)
        # Relative sensitivities of t to the level and to the start, and some to the other arguments.
        condition = 3 + 1 / np.abs(growth * t) + 1 / np.abs(start * t)
        assert (np.abs(again / t - 1) < 1e-13 * condition).all()
        back = balanced_jepa(again, *given, **keywords)
        assert (np.abs(back / level - 1) < 1e-13 * (1 + np.abs(growth) * t * condition)).all()


def test_balanced_starts_rests_and_what_is_never_reached() -> None:
    inf = np.inf
    # λ = 3, σ = 1, η = 2: 0, 1 and 2 are rests.
    for sign in (1.0, -1.0):
        for start, never in (
            (1.5, [2.0, 1.0, 1.4, 2.1, 0.0, -1.0]), (3.0, [2.0, 3.1, 1.5, -1.0]), (0.5, [0.6, 1.0, 0.0, -0.1]),
            (1.0, [0.9, 1.1]), (2.0, [1.9, 2.1]), (-1.0, [0.0, -1.1, 0.5]), (0.0, [0.1, -0.1]),
        ):  # fmt: skip
            found = balanced_jepa_time(
                sign * np.array([*never, start]), sign * start, sign * 3.0, 1.0, weight_decay=2.0
            )
            assert np.array_equal(found, [inf] * len(never) + [0.0])
    for start, never in ((0.5, [1.0, 1.1, 0.4, 0.0, -1.0]), (2.0, [1.0, 0.5, 2.1]), (1.0, [0.5, 2.0])):
        assert np.array_equal(balanced_jepa_time([*never, start], start, 3.0, 3.0), [inf] * len(never) + [0.0])
    # An end that is reached only in the limit, and the neighbours of the saddle.
    assert balanced_jepa_time(0.5, np.nextafter(1, 0), 3.0, 1.0, weight_decay=2.0) < 40
    assert balanced_jepa_time(1.5, np.nextafter(1, 2), 3.0, 1.0, weight_decay=2.0) < 40
    assert balanced_jepa_time(1.5, np.nextafter(1, 0), 3.0, 1.0, weight_decay=2.0) == inf


def test_balanced_symmetry_depth_one_and_shapes() -> None:
    rng = np.random.default_rng(9)
    w, cross = rng.uniform(0.01, 2, 400), rng.uniform(-1, 1, 400)
    level = w * rng.uniform(0.3, 3, 400)
    for decay in (0.0, 0.1):
        found = balanced_jepa_time(level, w, cross, 0.7, weight_decay=decay)
        assert np.array_equal(balanced_jepa_time(-level, -w, -cross, 0.7, weight_decay=decay), found)
    expected = deep_jepa_time(level, w, cross, 0.7, depth=1)
    found = balanced_jepa_time(level, w, cross, 0.7)
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    assert np.allclose(found, expected, rtol=1e-10)
    scaled = balanced_jepa_time(level / 2, w / 2, cross, 0.7, predictor_rate=4.0)
    assert np.allclose(scaled, found, rtol=1e-13)
    assert balanced_jepa_time(np.ones((3, 1)), np.ones(4), 1.0, 1.0, weight_decay=0.1).shape == (3, 4)


def test_balanced_extremes_are_numbers() -> None:
    corner = np.array([1e-150, 1e-30, 1.0, 1e30, 1e150])
    level, w, lam, sig, rate, decay = np.meshgrid(
        [0.0, *corner, -1.0],
        [0.0, *corner, -1e-150],
        [-1e30, -1e-30, 0, 1e-30, 1e30],
        [1e-30, 1, 1e30],
        [1e-30, 1, 1e30],
        [0, 1e-30, 1, 1e30],
    )
    found = balanced_jepa_time(level, w, lam, sig, predictor_rate=rate, weight_decay=decay)
    assert not np.isnan(found).any()
    assert (found >= 0).all()


def test_what_leaves_the_balanced_domain_is_an_error() -> None:
    with pytest.raises(InputError, match=r"level = inf"):
        balanced_jepa_time(np.inf, 1.0, 1.0, 1.0)
    with pytest.raises(InputError, match=r"weight_decay = -1\.0"):
        balanced_jepa_time(1.0, 1.0, 1.0, 1.0, weight_decay=-1.0)


def arrival_predictor(level: Any, w: Any, p: Any, cross: Any, variance: Any, rate: Any) -> Any:
    """Return p where |w| is first |level|, or None."""
    c, rest = p * p - rate * w * w, cross / variance
    square = rate * level * level + c
    if square < 0 or level * w <= 0 or p == rest:
        return None
    limit = rest
    if c > 0:
        k = mp.sqrt(c)
        limit = max(rest, k) if p > 0 else min(rest, -k)
    there = [x for x in (-mp.sqrt(square), mp.sqrt(square)) if min(p, limit) < x < max(p, limit)]
    return min(there, key=lambda x: abs(x - p)) if there else None


def unbalanced_reference(level: Any, w: Any, p: Any, cross: Any, variance: Any, rate: Any) -> Any:
    """Return ∫ dp/ṗ, ṗ = (p² − c)(λ − σp), by residues at its roots, with digits to spare."""
    if level == w:
        return mp.mpf(0)
    with mp.workdps(900):
        stop = arrival_predictor(level, w, p, cross, variance, rate)
        if stop is None:
            return mp.inf
        rest, k = cross / variance, mp.sqrt(mp.mpc(p * p - rate * w * w))
        roots = [rest, k, -k] if k.imag else [rest, k.real, -k.real]
        found = mp.mpf(0)
        for n, root in enumerate(roots):
            others = [root - other for m, other in enumerate(roots) if m != n]
            part = mp.log(stop - root) - mp.log(p - root) if mp.im(root) else mp.log(abs((stop - root) / (p - root)))
            found += part / (others[0] * others[1])
        return -mp.re(found) / variance


def check_unbalanced(*case: float) -> None:
    level, w, p, cross, variance, rate = case
    found = float(unbalanced_jepa_time(level, w, p, cross, variance, predictor_rate=rate))
    with mp.workdps(400):
        if mp.mpf(p) ** 2 == rate * mp.mpf(w) ** 2 or p == mp.mpf(cross) / variance:
            return  # balanced: another test; or at rest
    with mp.workdps(60):
        exact = unbalanced_reference(*map(mp.mpf, case))
    if exact == mp.inf and found < math.inf:
        # The level is the end, or where the encoder turns, but for roundings: those of one argument put it on the way.
        with mp.workdps(60):
            for index, side in itertools.product(range(6), (-8, 8)):
                moved = [mp.mpf(x) * (1 + (side * UNIT if n == index else 0)) for n, x in enumerate(case)]
                if unbalanced_reference(*moved) < mp.inf:
                    return
        raise AssertionError(f"{case} is said to arrive")
    if exact < mp.inf:
        value = 2 * float(exact) if found == math.inf else found  # as for the balanced mode
        assert error_per_condition(value, unbalanced_reference, *case) < TOLERANCE


@given(
    signed(140), st.one_of(signed(140), sizes(3)), st.booleans(), st.one_of(sizes(150), sizes(3)),
    st.one_of(signed(6), st.just(0.0)), sizes(6), sizes(6),
)  # fmt: skip
@examples(200)
def test_the_unbalanced_time_over_the_whole_range(
    w: float, p: float, relative: bool, ratio: float, cross: float, variance: float, rate: float
) -> None:
    predictor, level = p * w if relative else p, w * ratio
    if 1e-150 < abs(level) < 1e150 and 1e-150 < abs(predictor) < 1e150:
        check_unbalanced(level, w, predictor, cross, variance, rate)


@given(
    st.integers(0, 5), st.floats(-14, 3), st.sampled_from([-1.0, 1.0]), st.floats(-6, 4), st.floats(-12, 12), signed(6), sizes(6),
    sizes(6),
)  # fmt: skip
@examples(100)
def test_the_unbalanced_time_on_every_side_of_every_rest(
    place: int, near: float, side: float, height: float, step: float, cross: float, variance: float, rate: float
) -> None:
    end = cross / variance
    w = abs(end) * 10.0**height / math.sqrt(rate)
    close = 1 + side * 10.0**near
    q = math.sqrt(rate) * w
    p = [end * close, q * close, -q * close, -end * close, end * 10.0**near, -end * 10.0**near][place]
    c = (p - q) * (p + q)
    k = math.sqrt(max(c, 0.0))
    limit = end if c <= 0 or (p * end > 0 and abs(end) > k) else math.copysign(k, p)
    share = 1 / (1 + 10.0**step)
    stop = p * share + limit * (1 - share)
    level = math.sqrt(max(stop * stop - c, 0.0) / rate)
    if level > 0 and p != 0:
        check_unbalanced(level, w, p, cross, variance, rate)


UNBALANCED = [
    (0.9, 0.1, 0.3, 1.0, 1.0, 1.0), (0.9, 0.1, -0.01, 1.0, 1.0, 1.0), (0.06, 0.1, -0.09, 1.0, 1.0, 1.0),
    (0.01, 0.3, -1.0, 1.0, 1.0, 2.0), (3.0, 4.0, 5.0, 1.0, 1.0, 1.0), (0.1, 4.0, 5.0, 1.0, 1.0, 1.0), (5.0, 4.0, -3.0, 6.0, 1.0, 1.0),
    (2.0, 4.0, 3.9, 1.0, 1.0, 1.0), (0.1, 0.5, 0.6, -1.0, 1.0, 1.0), (0.45, 0.5, 0.4, 0.0, 1.0, 1.0), (0.02, 0.01, 0.3, 1.0, 1.0, 0.3),
    (0.02, 0.01, 0.0100001, 1.0, 1.0, 1.0), (0.02, 0.01, 0.0099999, 1.0, 1.0, 1.0), (-0.02, -0.01, -0.5, -1.0, 1.0, 1.0),
    (-0.1, -1.0, -1.0, 0.0, 1.0, 1.009), (0.5, 1.0, -1.2, 0.0, 1.0, 1.5),
]  # fmt: skip


@pytest.mark.parametrize("case", UNBALANCED, ids=str)
def test_the_unbalanced_time_is_the_integral_of_the_reciprocal_field(case: tuple[float, ...]) -> None:
    with mp.workdps(50):
        level, w, p, cross, variance, rate = map(mp.mpf, case)
        c = p * p - rate * w * w
        stop = arrival_predictor(level, w, p, cross, variance, rate)
        assert stop is not None
        # In parts that shrink towards the ends and towards 0, where ṗ is smallest.
        inside = [
            centre + sign * mp.mpf(2) ** (2 - n) for centre in (p, stop, 0) for sign in (-1, 1) for n in range(24)
        ]
        parts = sorted({x for x in inside if min(p, stop) < x < max(p, stop)} | {p, stop}, reverse=bool(stop < p))
        exact: Any = mp.quad(lambda x: 1 / ((x * x - c) * (cross - variance * x)), parts)
    assert abs(unbalanced_reference(*map(mp.mpf, case)) / exact - 1) < 1e-25  # the reference is that integral
    found = float(unbalanced_jepa_time(*case[:5], predictor_rate=case[5]))
    assert error_per_condition(found, unbalanced_reference, *case) < TOLERANCE


def test_the_unbalanced_trajectory_is_first_at_the_level_then() -> None:
    rng = np.random.default_rng(4)
    w, p, cross = rng.normal(size=(3, 4000))
    t = 10.0 ** rng.uniform(-2, 0.7, 4000)
    level, there = unbalanced_jepa(t, w, p, cross, 0.8, predictor_rate=0.6)
    growth, start = there * (cross - 0.8 * there), p * (cross - 0.8 * p)
    moving = np.abs(growth) > 1e-6  # elsewhere no digit of t is left in the level
    w, p, cross, t, level, there, growth, start = (x[moving] for x in (w, p, cross, t, level, there, growth, start))
    again = unbalanced_jepa_time(level, w, p, cross, 0.8, predictor_rate=0.6)
    condition = 6 + (1 + np.abs(p / w) ** 2 + np.abs(w / p) ** 2) * (1 / np.abs(growth * t) + 1 / np.abs(start * t))
    # Where the encoder turns between and is not yet back at its start, the level was met before t.
    twice = (p * there < 0) & (np.abs(level) < np.abs(w))
    assert np.count_nonzero(twice) > 50
    assert np.count_nonzero(~twice) > 3000
    assert (np.abs(again / t - 1) < 1e-13 * condition)[~twice].all()
    assert (again < t)[twice].all()
    back, before = unbalanced_jepa(again, w, p, cross, 0.8, predictor_rate=0.6)
    bound = 1e-13 * (3 + np.abs(growth) * t * condition)
    assert (np.abs(back / level - 1) < bound).all()
    assert (p * before >= 0)[twice].all()


def test_unbalanced_rests_signs_and_extremes() -> None:
    inf = np.inf
    # λ = σ = 1: p = 1 is a rest at any w; p₀ = −2 with c = 3 ends at −√3, p₀ = −1 with c = −3 turns at √3.
    cases = [(2.0, 1.0, 1.0), (0.0, 1.0, 0.5), (-1.0, 1.0, 0.5), (1.1, 1.0, -2.0), (1.7, 2.0, -1.0), (2.0, 0.0, 1.0)]
    for level, w, p in cases:
        assert unbalanced_jepa_time(level, w, p, 1.0, 1.0) == inf
        assert unbalanced_jepa_time(w, w, p, 1.0, 1.0) == 0
    assert unbalanced_jepa_time(1.99, 2.0, -1.0, 1.0, 1.0) < unbalanced_jepa_time(1.74, 2.0, -1.0, 1.0, 1.0) < inf
    rng = np.random.default_rng(6)
    level, w, p, cross = rng.normal(size=(4, 500))
    level = np.copysign(level, w)
    found = unbalanced_jepa_time(level, w, p, cross, 0.8)
    assert np.array_equal(unbalanced_jepa_time(-level, -w, p, cross, 0.8), found)
    assert np.array_equal(unbalanced_jepa_time(level, w, -p, -cross, 0.8), found)
    for turn in (1.0, -1.0):
        same = unbalanced_jepa_time(level, w, 2 * turn * w, turn * cross, 0.8, predictor_rate=4.0)
        assert np.array_equal(same, balanced_jepa_time(level, w, cross, 0.8, predictor_rate=4.0))
    # An encoder that faint grows or dies at the rate p(λ − σp).
    faint = unbalanced_jepa_time([1e-140, 1e-149], 1e-145, 0.5, [1.0, -1.0], 1.0)
    assert np.allclose(faint, np.log([1e5, 1e-4]) / [0.25, -0.75], rtol=1e-14)
    corner = np.array([1e-150, 1.0, 1e150])
    grid = np.meshgrid(
        corner, corner, [0.0, *corner, *-corner], [-1e30, 0.0, 1e-30, 1e30], [1e-30, 1.0, 1e30], [1e-30, 1.0, 1e30]
    )
    times = unbalanced_jepa_time(*grid[:5], predictor_rate=grid[5])
    assert not np.isnan(times).any()
    assert (times >= 0).all()
    with pytest.raises(InputError, match="predictor = nan"):
        unbalanced_jepa_time(1.0, 1.0, np.nan, 1.0, 1.0)


def deep_reference(kind: str, depth: int) -> Any:
    """Return the time function of u̇ = uᵐ(λ − σuᵏ), w = u^depth, as an integral in closed form with digits to spare."""
    m, k = {"jepa": (2 * depth, 1), "autoencoder": (depth, depth + 1), "logistic": (1, 2)}[kind]

    def solve(level: Any, w: Any, cross: Any, variance: Any) -> Any:
        if level == w:
            return mp.mpf(0)
        with mp.workdps(500):
            start, stop = (mp.root(x, depth) for x in (w, level))
            rest = mp.root(cross / variance, k) if cross > 0 else mp.mpf(0)
            if (stop - start) * (rest - start) <= 0 or abs(stop - start) >= abs(rest - start):
                return mp.inf
            if cross == 0:
                return (1 / stop ** (m + k - 1) - 1 / start ** (m + k - 1)) / ((m + k - 1) * variance)

            # 1/(uᵐ(λ − σuᵏ)) by powers of 1/u and residues at the roots of λ − σuᵏ.
            found, power = mp.mpf(0), m
            while power > 0:
                factor = variance ** ((m - power) // k) / cross ** ((m - power) // k + 1)
                log = mp.log(stop / start)
                found += factor * (log if power == 1 else (start ** (1 - power) - stop ** (1 - power)) / (power - 1))
                power -= k
            root = mp.root(mp.mpc(cross / variance), k)
            for n in range(k):
                r = root * mp.expjpi(mp.mpf(2 * n) / k)
                far = mp.im(r) ** 2 > abs(r) ** 2 * mp.mpf(10) ** -400 or mp.re(r) < 0
                part = mp.log(stop - r) - mp.log(start - r) if far else mp.log(abs((stop - r) / (start - r)))
                found -= part / (k * variance * r ** (m + k - 1))
            return mp.re(found)

    return solve


def check_deep(kind: str, depth: int, level: float, w: float, cross: float, variance: float) -> None:
    found = float(PAIRS[kind][1](level, w, cross, variance, depth=depth))
    solve = deep_reference(kind, depth)
    with mp.workdps(60):
        exact = solve(*map(mp.mpf, (level, w, cross, variance)))
    if exact == mp.inf or exact > 1e300 or exact < 1e-300:
        assert found > 0.99e300 if exact > 1e300 else found < 1.01e-300
        return
    value = 2 * float(exact) if found == math.inf else found  # beside an equilibrium, on whose side roundings decide
    assert error_per_condition(value, solve, level, w, cross, variance) < TOLERANCE


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", PAIRS)
@given(
    st.one_of(sizes(30), sizes(2)), st.floats(-9, 2), st.sampled_from([-1.0, 1.0]), st.booleans(), st.floats(-12, 12),
    st.booleans(), signed(6), sizes(6),
)  # fmt: skip
@examples(60)
def test_deep_times_over_the_whole_range(
    kind: str,
    depth: int,
    place: float,
    near: float,
    side: float,
    beside: bool,
    step: float,
    inward: bool,
    cross: float,
    variance: float,
) -> None:
    rest = (abs(cross) / variance) ** (depth if kind == "jepa" else depth / (depth + 1))
    w = rest * (abs(1 + side * 10.0**near) if beside else place)
    share = 1 / (1 + 10.0**step)
    if cross < 0:
        level = w * 10.0 ** -abs(step)
    elif inward:
        level = rest + (w - rest) * share
    else:
        level = w + (rest - w) * share
    if 1e-150 < level < 1e150 and w > 1e-150:
        check_deep(kind, depth, level, w, cross, variance)


@given(
    signed(150), sizes(150), st.floats(-12, 2), st.sampled_from([-1.0, 1.0]), st.booleans(), st.floats(-12, 12),
    st.one_of(signed(6), st.just(0.0)), sizes(6),
)  # fmt: skip
@examples(300)
def test_contrastive_times_over_the_whole_range(
    w: float, ratio: float, near: float, side: float, beside: bool, step: float, cross: float, variance: float
) -> None:
    rest = math.sqrt(abs(cross)) / variance
    level = w * ratio
    if beside and cross:
        w = rest * (1 + side * 10.0**near) or w
        end = math.copysign(rest, w) if cross > 0 else 0.0
        level = end + (w - end) / (1 + 10.0**step)
    if not 1e-150 < abs(level) < 1e150:
        return
    reference = deep_reference("logistic", 1)

    def spectral(level: Any, w: Any, cross: Any, variance: Any) -> Any:
        return reference(abs(level), abs(w), cross, variance**2) / 4

    def barlow(level: Any, w: Any, cross: Any) -> Any:
        return reference(abs(level), abs(w), cross, cross**2) / 4 if cross else mp.inf

    cases: list[tuple[Any, Any, tuple[float, ...]]] = [
        (spectral_contrastive_time, spectral, (level, w, cross, variance)), (barlow_twins_time, barlow, (level, w, cross)),
    ]  # fmt: skip
    for time, solve, given_ in cases:
        if level == w:
            assert time(*given_) == 0
            continue
        found = float(time(*given_))
        assert time(-given_[0], -given_[1], *given_[2:]) == found
        assert time(-given_[0], *given_[1:]) == math.inf
        with mp.workdps(60):
            exact = solve(*map(mp.mpf, given_))
        if 1e-300 < exact < 1e300:
            value = 2 * float(exact) if found == math.inf else found
            assert error_per_condition(value, solve, *given_) < TOLERANCE
        else:
            assert found > 0.99e300 if exact > 1e300 else found < 1.01e-300


def test_the_critical_times_of_littwin() -> None:
    # L times raw time, from 0.01 to 0.9 of the equilibrium for λ = 0.7, ρ = 0.6: integrated to the digits that are given.
    for depth, printed in ((1, 155.15), (2, 1303.3), (3, 3519.0)):
        found = depth * critical_time(0.7, 0.7 / 0.6, 0.01, depth=depth, fraction=0.9)
        assert abs(found - printed) < 0.5 * 10.0 ** (-2 if depth == 1 else -1)
        rho = 0.6
        terms = [depth / (n * rho ** (2 * depth - n - 1) * 1e-9 ** (n / depth)) for n in range(1, 2 * depth)]
        small = depth * critical_time(0.7, 0.7 / 0.6, 1e-9, depth=depth, fraction=0.9)
        # Θ(ln w₀), with ρ^{1−2L}/λ times L before it.
        assert abs(small - math.fsum(terms) / 0.7) < 40 * depth / 0.7 * rho ** (1 - 2 * depth) + 1e-14 * small
    for depth in (2, 3, 5):
        leading = 1 / ((depth - 1) * 0.7 * 1e-9 ** ((depth - 1) / depth))
        small = critical_time(0.7, 1.1, 1e-9, depth=depth, objective="autoencoder", fraction=0.9)
        assert abs(small - leading) < 10 + 1e-14 * small
    assert np.array_equal(
        critical_time([1.0, 1.0, 1.0, 0.0, -1.0], 1.0, [0.5, 0.6, 0.0, 0.1, 0.1], depth=1), [0, 0, *[np.inf] * 3]
    )
    parts = np.array([0.1, 0.5, 0.99])
    for kind, power in (("jepa", 2), ("autoencoder", 2 / 3)):
        found = critical_time(0.7, 1.1, 1e-3, depth=2, objective=kind, fraction=parts)  # type: ignore[arg-type]
        expected = PAIRS[kind][1](parts * (0.7 / 1.1) ** power, 1e-3, 0.7, 1.1, depth=2)
        assert np.allclose(found, expected, rtol=1e-12)
    for wrong in (0.0, 1.0, -0.5, np.nan):
        with pytest.raises(InputError, match="fraction"):
            critical_time(1.0, 1.0, 0.1, depth=1, fraction=wrong)


@given(sizes(6), st.one_of(signed(150), st.floats(-14, 1).map(lambda x: -(10.0**x))))
@examples(100)
def test_the_steps_of_simon(cross: float, place: float) -> None:
    w = place if abs(place) > 20 or abs(place) < 1e-20 else math.sqrt(0.5 / cross) * (1 + place)
    if w == 0:
        return
    found = float(step_time(cross, w))

    def solve(cross: Any, w: Any) -> Any:
        return mp.log(1 / (cross * w * w) - 1) / (8 * cross)

    with mp.workdps(60):
        share = mp.mpf(cross) * mp.mpf(w) ** 2
        if share >= 0.5:
            # From half the end on; the last rounding may still be before it.
            assert found < 1e-15 / cross
            return
        printed = -mp.log(share) / (8 * cross)
    assert error_per_condition(found, solve, cross, w) < TOLERANCE
    assert found <= printed * (1 + 1e-15)
    # w² is half its end then.
    if share > 1e-200:
        assert barlow_twins(found, w, cross) ** 2 * cross == pytest.approx(0.5, rel=1e-12)


def test_steps_that_never_come() -> None:
    assert np.array_equal(step_time([1.0, 0.0, -1.0], [0.0, 1.0, 1.0]), [np.inf] * 3)
    assert step_time(1.0, -1e-3) == step_time(1.0, 1e-3)
    assert step_time(2.0, 0.5) == 0
    with pytest.raises(InputError, match="cross = nan"):
        step_time(np.nan, 1.0)


@pytest.mark.parametrize("depth", [1, 2, 3])
@given(
    st.one_of(sizes(60), sizes(6)), st.one_of(sizes(40), sizes(2)), st.one_of(signed(6), st.just(0.0)), sizes(6),
)  # fmt: skip
@examples(40)
def test_the_masked_autoencoder_over_the_whole_range(
    depth: int, clock: float, place: float, cross: float, variance: float
) -> None:
    w = (abs(cross or 1.0) / variance) ** (depth / (depth + 1)) * place
    t = clock / ((abs(cross) or 1.0) * w ** ((depth - 1) / depth) * (1 + place ** ((depth + 1) / depth)))
    leap = (
        place < 1e-4 and abs(clock * (depth - 1) - 1) < 1e-4 and cross > 0
    )  # from nought to the end: no digit of w is left in t
    if leap or not (1e-150 < w < 1e150 and t < 1e300):
        return

    def path(t: Any, w: Any, cross: Any, variance: Any) -> Any:
        if cross == 0:
            return w / mp.sqrt(1 + 2 * depth * variance * w**2 * t)
        with mp.workdps(400):
            rest = mp.root(cross / variance, depth + 1) ** depth if cross > 0 else mp.mpf(0)
            reached = deep_reference("autoencoder", depth)

            def field(x: Any) -> Any:
                u = mp.root(x, depth)
                return depth * u ** (2 * depth - 1) * (cross - variance * u ** (depth + 1))

            # As high a precision as the oracle's far ends take: what is nearer to the rest than it has digits is there.
            return follow(lambda x: reached(x, w, cross, variance), field, w, rest, t)

    found = float(masked_autoencoder(t, w, cross, variance, depth=depth))
    assert error_per_condition(found, path, t, w, cross, variance) < TOLERANCE


@pytest.mark.parametrize("force", ["byol", "residual"])
@given(
    st.one_of(sizes(100), sizes(6)), st.one_of(signed(60), signed(3)), st.one_of(signed(6), st.just(0.0)), sizes(6),
    st.sampled_from([0.25, 0.5, 1.0, 2.0]), st.one_of(sizes(6), st.just(0.0)),
)  # fmt: skip
@examples(120)
def test_the_power_predictor_over_the_whole_range(
    force: Any, t: float, w: float, cross: float, variance: float, exponent: float, decay: float
) -> None:
    if not 1e-150 < (variance * w * w) ** exponent < 1e150:
        return

    def path(t: Any, w: Any, cross: Any, variance: Any, exponent: Any, decay: Any) -> Any:
        start, clock = (variance * w * w) ** exponent, 2 * exponent * t
        if force == "byol":
            given_ = clock, start, cross, variance, mp.mpf(1)
            now = decayed_path(*given_, decay) if decay else balanced_path(*given_)
        else:
            rate = cross - decay
            with mp.workdps(800):
                if rate * clock < -100000:
                    now = mp.mpf(0)
                elif rate == 0:
                    now = start / (1 + variance * start * clock)
                else:
                    shrink = mp.exp(-rate * clock)
                    now = start / (shrink + variance * start * (1 - shrink) / rate)
        return w * (now / start) ** (1 / (2 * exponent))

    found = float(power_predictor(t, w, cross, variance, exponent=exponent, weight_decay=decay, force=force))
    assert error_per_condition(found, path, t, w, cross, variance, exponent, decay) < TOLERANCE


def test_false_siblings_are_told_apart() -> None:
    # A wrong constant, sign or branch by as little as 1e-11 leaves the bound of every test above.
    balanced = 1.1, 0.4, 1.7, 0.9, 2.0, 0.2
    mode = 0.7, 0.4, -0.5, 1.7, 0.9, 2.0
    assert (
        error_per_condition(
            float(balanced_jepa_time(*balanced[:4], predictor_rate=2.0)), balanced_reference, *balanced[:5], 0.0
        )
        < TOLERANCE
    )
    for factor in (1 + 1e-11, 2.0, -1.0):
        found = float(balanced_jepa_time(*balanced[:4], predictor_rate=2.0, weight_decay=0.2))
        assert error_per_condition(found * factor, balanced_reference, *balanced) > TOLERANCE
        found = float(unbalanced_jepa_time(*mode[:5], predictor_rate=2.0))
        assert error_per_condition(found * factor, unbalanced_reference, *mode) > TOLERANCE
    # Without α, and with the predictor's sign lost.
    wrong = float(balanced_jepa_time(*balanced[:4], weight_decay=0.2))
    assert error_per_condition(wrong, balanced_reference, *balanced) > TOLERANCE
    other = float(unbalanced_jepa_time(0.35, 0.4, 0.2, 1.7, 0.9))
    assert other == math.inf
    assert float(unbalanced_jepa_time(0.35, 0.4, -0.2, 1.7, 0.9)) < math.inf
