"""Mode strengths over training against the closed forms of chapter 5: aligned, from random starts, and on moving features.

What is exact for aligned modes of linear encoders is asked of linear encoders that start anywhere, and of the last layer of deep ones
from the spectrum of their features at the start; where it misses, the flow that couples the modes, or keeps the features, is asked again.
"""

from dataclasses import dataclass

import numpy as np

from jepalign.linear_models.trajectories.arrival import learning_order
from jepalign.measurements import Measurement
from jepalign.simulations.encoders import DEEP
from jepalign.simulations.mode_strengths import (
    Modes,
    exact_modes,
    passing,
)
from jepalign.simulations.results import REFUSAL, Row, Series, check_scale, counter, measured, row, stated
from jepalign.simulations.training import Progress, device_named
from jepalign.simulations.trajectory_runs import aligned_run, closed, deep_run, order_run, random_starts, rest

# Modes in pairs of one λ and two ρ: a JEPA tells the two apart, an autoencoder does not.
CORRELATION = np.array([0.9, 0.7, 0.9, 0.7, 0.9, 0.7])
CROSS = np.array([1.2, 1.2, 0.8, 0.8, 0.55, 0.55])
ALIGNED = "in every mode at every time |observed − predicted| ≤ 2% of the mode's strength at rest; error is the worst over that"
HALFWAY = (
    "the median over modes and starts of time to half of the rest, observed over predicted, is 1 to 25%; error in these"
)
EXACT = (
    "at every time the strengths of all modes differ by at most 2% of their norm at rest; error is the worst over that"
)
ORDER = "modes pass half of their rest in the order of the exact times; error is 2 for each pair that does not"
RANDOM = (
    "Kendall's τ between the exact times of aligned modes and the times observed is at least 0.8; error is (1 − τ)/0.2"
)
LAST = (
    "the mean over the run of |observed − predicted| of tr Φ is at most 20% of its largest value; error is it over that"
)
FALSE = "a false version put to the same test: its worst miss ≥ 20% of the strength at rest"


@dataclass(frozen=True)
class TrajectoryPlan:
    """One scale of the experiment.

    Attributes
    ----------
    layers : tuple of float
        Every layer's weight at the start, by depth from 1 on.
    start : float
        ε of random starts of one layer.
    seeds : int
        Random starts of each kind.
    activations : tuple of str
        Of deep encoders; ``span`` is their flow time and ``pairs`` their pairs of views.
    """

    layers: tuple[float, ...]
    start: float
    seeds: int
    activations: tuple[str, ...]
    span: float
    pairs: int


SCALES = {
    "quick": TrajectoryPlan((0.1, 0.3), start=0.05, seeds=1, activations=("tanh",), span=20.0, pairs=64),
    "paper": TrajectoryPlan(
        (0.05, 0.15, 0.25, 0.35), start=0.01, seeds=3, activations=("tanh", "relu", "gelu"), span=120.0, pairs=256
    ),
}


def trajectories(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure mode strengths of linear, deep linear and deep encoders over training against closed forms.

    Returns
    -------
    Measurement
        Aligned modes, for Q runs with ``run`` (Q,) and their depth ``depth`` (Q,): ``time`` (Q, T), ``observed`` and ``predicted``
        (Q, T, d), ‖Wv‖ in raw flow time; ``half`` and ``half_predicted`` (Q, d), when a mode passes half of its rest; ``cross``,
        ``variance`` (d,). Random starts of depth one, S seeds: ``random_time`` (2, S, T) for a JEPA and the spectral contrastive loss,
        ``random_observed``, ``random_predicted`` by aligned closed forms and ``random_exact`` by the flow of the whole matrix
        (2, S, T, d). Order from random starts, by ``order_objective`` and ``order_depth`` (R,): ``order_half`` (R, S, d),
        ``order_predicted`` (R, d), ``order_tau`` (R, S). Deep encoders of digits, ``architecture`` (A,): ``deep_time`` (A, T), tr Φ as
        ``deep_observed``, ``deep_closed`` by 5.1 in every mode of the features at the start, ``deep_frozen`` by the whole flow on these
        features (A, T); ``feature_drift`` (A, T), how far the features' second moment is from its start, relatively. NaN after a
        divergence, ∞ for a level that is never passed.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    modes = exact_modes(CORRELATION, CROSS / CORRELATION, seed=seed, device=where)
    white = exact_modes(CORRELATION * 0.9, np.ones(len(CROSS)), seed=seed, device=where)
    depths = range(1, len(plan.layers) + 1)
    kinds = [(kind, depth) for kind in ("JEPA", "autoencoder") for depth in depths]
    kinds += [("spectral contrastive", 1), ("Barlow Twins, covariance form", 1)]
    orders = [(kind, depth) for kind in ("JEPA", "autoencoder") for depth in depths[:3]]
    total = len(kinds) + 1 + len(orders) + len(plan.activations)
    tell = counter(progress, total)
    rows: list[Row] = []
    aligned: list[dict[str, np.ndarray]] = []
    for kind, depth in kinds:
        tell(f"{kind}, depth {depth}, aligned modes")
        own = white if kind.startswith("Barlow") else modes
        aligned.append(aligned_run(kind, depth, own, plan.layers[depth - 1]))
        rows += aligned_rows(kind, depth, own, aligned[-1])
    rows += order_rows([(*kind, run) for kind, run in zip(kinds, aligned, strict=True)], modes, plan.layers)
    tell("random starts")
    random = random_starts(modes, white, plan.start, plan.seeds, seed)
    rows += random_rows(random, (modes, white))
    found: list[dict[str, np.ndarray]] = []
    for kind, depth in orders:
        tell(f"{kind}, depth {depth}, random starts")
        found.append(order_run(kind, depth, modes, plan.layers[depth - 1], plan.seeds, seed))
        rows.append(order_row(kind, depth, found[-1]))
    deep: list[dict[str, np.ndarray]] = []
    for activation in plan.activations:
        tell(f"{activation} encoder of digits")
        deep.append(deep_run(activation, plan.span, plan.pairs, seed, where))
        rows += deep_rows(f"{activation} {'-'.join(map(str, DEEP))}", deep[-1])
    tell("done")
    arrays = {key: np.array([run[key] for run in aligned]) for key in aligned[0]}
    arrays |= random | {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays |= {key: np.array([run[key] for run in deep]) for key in deep[0]}
    arrays |= {
        "run": np.array([kind for kind, _ in kinds]),
        "depth": np.array([depth for _, depth in kinds], dtype=float),
        "order_objective": np.array([kind for kind, _ in orders]),
        "order_depth": np.array([depth for _, depth in orders], dtype=float),
        "architecture": np.array([f"{a} {'-'.join(map(str, DEEP))}" for a in plan.activations]),
        "cross": modes.cross,
        "variance": modes.variance,
    }
    criteria = {
        "aligned": ALIGNED,
        "halfway": HALFWAY,
        "exact": EXACT,
        "order": ORDER,
        "random order": RANDOM,
        "last layer": LAST,
        "control": FALSE,
    }
    return measured("trajectories", arrays, rows, stated(criteria), device=where, scale=scale, seed=seed)


def aligned_rows(kind: str, depth: int, modes: Modes, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of one objective in aligned modes: its closed form, and another's that it must not follow."""
    place = f"linear, {depth} layer{'s' * (depth > 1)}, {kind}"
    end = rest(kind, depth, modes)
    miss = np.abs(run["observed"] - run["predicted"]) / end
    other = {"JEPA": "autoencoder", "autoencoder": "JEPA", "spectral contrastive": "JEPA"}.get(
        kind, "spectral contrastive"
    )
    start = run["predicted"][0]
    false = closed(other, depth)(run["time"][:, None], modes, start)
    wrong = np.abs(run["observed"] - false) / end / 0.2 * REFUSAL
    return [
        row(
            "trajectories: aligned modes",
            place,
            Series(run["predicted"], run["observed"], miss / 0.02),
            criterion=ALIGNED,
        ),
        row(
            "trajectories: control, another objective's closed form",
            place,
            Series(false, run["observed"], wrong),
            criterion=FALSE,
            at_least=REFUSAL,
        ),
    ]


def random_rows(random: dict[str, np.ndarray], modes: tuple[Modes, Modes]) -> list[Row]:
    """Return the rows of random starts of one layer: aligned closed forms, and the flow of the whole matrix."""
    rows: list[Row] = []
    for index, (kind, own) in enumerate(zip(("JEPA", "spectral contrastive"), modes, strict=True)):
        time, observed, predicted, exact = (
            random[f"random_{key}"][index] for key in ("time", "observed", "predicted", "exact")
        )
        place = f"linear, {kind}, {len(time)} random starts"
        end = rest(kind, 1, own)
        seen, told = (
            np.array([passing(t, w, end / 2) for t, w in zip(time, part, strict=True)])
            for part in (observed, predicted)
        )
        ratio = np.atleast_1d(np.median(seen / told))
        series = Series(np.ones(1), ratio, np.abs(ratio - 1) / 0.25)
        rows.append(row("trajectories: aligned forms, time to half", place, series, criterion=HALFWAY))
        error = np.linalg.norm(observed - exact, axis=2) / np.linalg.norm(end) / 0.02
        series = Series(np.linalg.norm(exact, axis=2), np.linalg.norm(observed, axis=2), error)
        rows.append(row("trajectories: flow of the whole matrix", place, series, criterion=EXACT))
    return rows


def order_row(kind: str, depth: int, run: dict[str, np.ndarray]) -> Row:
    """Return the row of the order in which modes are learnt from starts that are not aligned."""
    tau = run["order_tau"]
    place = f"linear, {depth} layer{'s' * (depth > 1)}, {kind}, {len(tau)} orthogonal starts"
    series = Series(np.ones(len(tau)), tau, (1 - tau) / 0.2)
    return row("trajectories: order from starts that are not aligned", place, series, criterion=RANDOM)


def order_rows(
    aligned: list[tuple[str, int, dict[str, np.ndarray]]], modes: Modes, layers: tuple[float, ...]
) -> list[Row]:
    """Return the rows of the order from aligned starts: each objective's own, and for a JEPA the autoencoder's for a control."""
    rows: list[Row] = []
    for kind, depth, run in aligned:
        if kind not in ("JEPA", "autoencoder"):
            continue
        own, other = ("jepa", "autoencoder") if kind == "JEPA" else ("autoencoder", "jepa")
        place = f"linear, {depth} layer{'s' * (depth > 1)}, {kind}, aligned"
        given = modes.cross, modes.variance, layers[depth - 1] ** depth
        order = learning_order(*given, depth=depth, objective=own)  # type: ignore[arg-type]
        wrong = inversions(run["half"], order)
        series = Series(np.zeros(1), np.array([wrong]), np.array([2 * wrong]))
        rows.append(row("trajectories: learning order", place, series, criterion=ORDER))
        if kind == "JEPA" and depth > 1:
            false = inversions(run["half"], learning_order(*given, depth=depth, objective=other)[::-1])  # type: ignore[arg-type]
            series = Series(np.zeros(1), np.array([false]), np.array([false * REFUSAL]))
            text = "a false version put to the same test, the order reversed: at least one pair is wrong"
            rows.append(row("trajectories: control, order reversed", place, series, criterion=text, at_least=REFUSAL))
    return rows


def inversions(half: np.ndarray, order: np.ndarray) -> float:
    """Return how many pairs of modes pass their half in another order than ``order``; ties are none."""
    times = half[order]
    return float(sum(times[j] < times[i] * (1 - 1e-9) for j in range(len(times)) for i in range(j)))


def deep_rows(place: str, run: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of a deep encoder: closed forms and the whole flow on the features at the start."""
    rows: list[Row] = []
    observed = run["deep_observed"]
    most = np.nanmax(observed)
    for name, key in (
        ("closed forms of the features at the start", "deep_closed"),
        ("flow on the features at the start", "deep_frozen"),
    ):
        miss = np.atleast_1d(np.abs(observed - run[key]).mean() / most)
        moved = f"; features move by {np.nanmax(run['feature_drift']):.0%}"
        series = Series(run[key][-1:], observed[-1:], miss / 0.2)
        rows.append(row(f"trajectories: {name}", place + moved, series, criterion=LAST))
    return rows
