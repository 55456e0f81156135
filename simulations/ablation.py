"""The ablation cube {predictor, stop-gradient, EMA} of 4.1 on digits: which corners collapse, where in the network, and how fast.

Every corner, with both readings of EMA without stop-gradient, is trained by linear and deep encoders on fresh views at
each step and on fixed ones. 4.1 says which collapse, and, from λ and σ of the features, how fast; only for features that stay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.datasets import digits
from jepalign.linear_models.forecast.baselines import effective_rank
from jepalign.measurements import Measurement
from jepalign.simulations.ablation_rows import CRITERIA, control_rows, cube_rows
from jepalign.simulations.corners import CORNERS, Corner, Cube, Moments, horizon, slow_rate
from jepalign.simulations.data import both_orders
from jepalign.simulations.encoders import MLP, Convolutional, linear_predictor
from jepalign.simulations.ensembles.stacks import stacked
from jepalign.simulations.results import Row, check_scale, measured, stated
from jepalign.simulations.training import Progress, device_named

COMPONENTS, WIDTH, LEFT = 24, 16, 1e-3
# Half of what ``COLLAPSE`` allows: no run ends before its own flow has passed that.
MOST = 5e-3
VIEWS = ("fresh views", "fixed views")
# Moments of a run at which tr Φ is recorded after its start, equally far apart; the sixth is half of it.
RECORDS = 12


@dataclass(frozen=True)
class AblationPlan:
    """One scale: architectures, seeds of each, pairs in a batch, pairs on which fresh views are measured, most steps of a run."""

    encoders: tuple[str, ...]
    channels: tuple[int, ...]  # of the convolutional one
    seeds: int
    pairs: int
    measured: int
    most: int
    rate: float = 0.25  # step times the features' largest second moment, of deep encoders
    fine: float = 0.05  # the same of linear ones and last layers alone, whose runs may be ten times as long


SCALES = {
    "quick": AblationPlan(("linear",), (3,), seeds=1, pairs=96, measured=800, most=700, fine=0.12),
    # Cut down for a CPU: linear encoders alone when quick; two seeds, small images and few channels.
    "paper": AblationPlan(
        ("linear", "tanh", "relu", "convolutional"), (4, 6), seeds=2, pairs=96, measured=1500, most=3400, fine=0.04
    ),
}


def ablation(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Train every corner of the cube and measure what is left of the embedding, where it went, and how fast.

    Returns
    -------
    Measurement
        With Q architectures × views and C corners: ``architecture``, ``views`` (Q,), ``corner``, ``survives`` by 4.1 (C,), ``horizon``,
        flow time of a run, and ``time``, how much of it the steps allowed (Q, C); of S seeds (Q, C, S): ``left``, tr Φ at the end over
        the start, ``share`` and ``flow_share``, the same at start and at every twelfth of a run and by the flow on the features at the
        start (Q, C, S, 13), ``rank``, effective rank of Φ at start, half and end (Q, C, S, 3), ``backbone``, the share of the logarithm of
        ``left`` that features lost under the first W, ``rate``, decay of tr Φ/2 over the second half, ``last_layer``, the part of it
        that W lost on the features at half, and ``from_start``, ``from_half``, both by the flow on frozen
        features, as is ``flow_left``. Of the controls
        with a frozen backbone on fixed views: ``frozen_rate``, ``frozen_flow`` (Q/2, C, S). NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    cases = [(kind, which) for kind in plan.encoders for which in VIEWS]
    rows: list[Row] = []
    found: list[dict[str, np.ndarray]] = []
    control: list[dict[str, np.ndarray]] = []
    names: list[str] = []
    total = (len(cases) + len(plan.encoders)) * len(CORNERS)

    def told(place: str) -> Callable[[str], None]:
        done = iter(range((len(found) + len(control)) * len(CORNERS), total))
        return lambda corner: None if progress is None else progress(next(done), total, f"{place}: {corner}")

    for kind, which in cases:
        data = Views(plan, kind, seed=seed, device=where)
        networks = [network(kind, seed * 1000 + 2 * s, plan.channels) for s in range(plan.seeds)]
        names.append(architecture(networks[0]))
        found.append(
            cube_run(plan, networks, data, fresh=which == VIEWS[0], seed=seed, told=told(f"{names[-1]}, {which}"))
        )
        rows += cube_rows(names[-1], which, found[-1])
        if which == VIEWS[1]:
            control.append(frozen_run(plan, networks, data, seed=seed, told=told(f"{names[-1]}, frozen backbone")))
            rows += control_rows(names[-1], kind, control[-1])
    if progress is not None:
        progress(total, total, "done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays |= {f"frozen_{key}": np.array([run[key] for run in control]) for key in ("rate", "flow")}
    arrays |= {"architecture": np.array(names), "views": np.array([which for _, which in cases])}
    arrays |= {"corner": np.array(list(CORNERS)), "survives": np.array([int(c.survives) for c in CORNERS.values()])}
    return measured("ablation", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


class Drawn(Protocol):
    """How many pairs a batch has, and the sample on which fresh views are measured."""

    @property
    def pairs(self) -> int: ...  # noqa: D102
    @property
    def measured(self) -> int: ...  # noqa: D102


class Views:
    """Views of digits for one kind of encoder: white leading components, or the pixels for a convolutional one."""

    def __init__(self, plan: Drawn, kind: str, *, seed: int, device: torch.device) -> None:
        self.images = torch.as_tensor(digits().images, dtype=torch.float64, device=device)
        self.seed, self.pairs = seed, plan.pairs
        raw = torch.Generator().manual_seed(seed)
        self.center = 0.75 * self.images.mean(0)  # of masked views, in law
        self.project = torch.eye(self.images.shape[1], dtype=torch.float64, device=device)
        x, _ = self.draw(plan.pairs, raw)
        if kind == "convolutional":
            self.project = self.project / x.square().mean().sqrt()
        else:
            values, vectors = torch.linalg.eigh(x.T @ x / len(x))
            self.project = vectors[:, -COMPONENTS:] / values[-COMPONENTS:].sqrt()
        raw.manual_seed(seed)
        self.fixed = self.draw(plan.pairs, raw)
        self.sample = self.draw(plan.measured, raw)

    def draw(self, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return views of random images in both orders, with noise 0.1 and a quarter of pixels masked, (2·pairs, d)."""
        chosen = self.images[torch.randint(len(self.images), (pairs,), generator=generator).to(self.images.device)]

        def view() -> Tensor:
            noise = 0.1 * torch.randn(chosen.shape, generator=generator, dtype=torch.float64)
            kept = torch.rand(chosen.shape, generator=generator, dtype=torch.float64) >= 0.25
            return ((chosen + noise.to(chosen)) * kept.to(chosen) - self.center) @ self.project

        return both_orders(view(), view())

    def batches(self, *, fresh: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches without end."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        while True:
            yield self.draw(self.pairs, generator) if fresh else self.fixed


def network(kind: str, seed: int, channels: tuple[int, ...] = ()) -> MLP | Convolutional:
    """Return a fresh encoder of one kind; only a convolutional one has ``channels``."""
    if kind == "convolutional":
        return Convolutional(8, channels, WIDTH, "tanh", seed=seed)
    widths = (COMPONENTS, WIDTH) if kind == "linear" else (COMPONENTS, 64, 64, WIDTH)
    return MLP(widths, kind, seed=seed)


def architecture(encoder: MLP | Convolutional) -> str:
    """Return the name of an encoder."""
    return encoder.architecture


def cube_run(
    plan: AblationPlan,
    networks: list[MLP | Convolutional],
    data: Views,
    *,
    fresh: bool,
    seed: int,
    told: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Train all corners of one architecture and return its arrays of :func:`ablation`."""
    trial, state = stacked("networks", list(networks), torch.float64, data.images.device)
    predictor = torch.stack([linear_predictor(WIDTH, seed=seed * 1000 + 2 * s + 1).weight for s in range(plan.seeds)])
    predictor = predictor.detach().to(data.images.device)
    sample = data.sample if fresh else data.fixed
    keys = ("left", "flow_left", "backbone", "rate", "last_layer", "from_start", "from_half")
    found = {key: np.full((len(CORNERS), plan.seeds), np.nan) for key in keys}
    found |= {"rank": np.full((len(CORNERS), plan.seeds, 3), np.nan)}
    found |= {key: np.full((len(CORNERS), plan.seeds, RECORDS + 1), np.nan) for key in ("share", "flow_share")}
    found |= {key: np.full(len(CORNERS), np.nan) for key in ("horizon", "time")}
    for c, (name, corner) in enumerate(CORNERS.items()):
        told(name)
        beta, step, longest, count = settings(plan, corner, trial, state, predictor, sample)
        found["horizon"][c], found["time"][c] = longest, count * step
        cube = Cube(corner, trial, state, predictor, step=step, beta=beta)
        looks = [cube.moments(*sample)]
        stream = data.batches(fresh=fresh)
        for _ in range(RECORDS):
            for batch in islice(stream, count // RECORDS):
                cube.step(*batch)
            looks.append(cube.moments(*sample))
        for s, states in enumerate(zip(*looks, strict=True)):
            values = decay(corner, states[:: RECORDS // 2], count // 2 * step, beta)
            if values:
                values |= course(corner, states, count * step, beta)
            for key, value in values.items():
                found[key][c, s] = value
    return found


def settings(
    plan: AblationPlan,
    corner: Corner,
    trial: nn.Module,
    state: dict[str, Tensor],
    predictor: Tensor,
    sample: tuple[Tensor, Tensor],
) -> tuple[float, float, float, int]:
    """Return β, the step, the horizon and a number of steps, a multiple of ``RECORDS``, for one corner, from the features at the start."""
    first = Cube(corner, trial, state, predictor, step=1.0, beta=1.0).moments(*sample)
    top = max(float(np.linalg.eigvalsh(part.context)[-1]) for part in first)
    single = not list(trial.get_submodule("backbone").parameters())
    beta, step = 0.3 * top, (plan.fine if single else plan.rate) / top
    longest = horizon(corner, first, beta, LEFT, MOST)
    return (
        beta,
        step,
        longest,
        RECORDS * int(min(plan.most * (10 if single else 1), longest / step + RECORDS) / RECORDS),
    )


def decay(corner: Corner, states: tuple[Moments, ...], half: float, beta: float) -> dict[str, float | np.ndarray]:
    """Return for one run what :func:`ablation` records, from its start, half and end, ``half`` flow time apart; NaN if it diverged."""
    start, middle, end = states
    finite = all(np.isfinite(part.context).all() and np.isfinite(part.weight).all() for part in states)
    if not finite or end.variance() > 1e10:
        return {}

    def rate(before: float, after: float) -> float:
        return float(np.log(before / after) / (2 * half))

    early = [start.variance(W) for W in start.flow(corner, np.array([half, 2 * half]), beta=beta)]
    late = [middle.variance(W) for W in middle.flow(corner, np.array([0.0, half]), beta=beta)]
    left = end.variance() / start.variance()
    return {
        "left": left,
        "rank": np.array(
            [float(effective_rank(np.linalg.eigvalsh(part.weight @ part.context @ part.weight.T))) for part in states]
        ),
        "backbone": float(np.log(end.variance(start.weight) / start.variance()) / np.log(left)),
        "rate": rate(middle.variance(), end.variance()),
        "last_layer": rate(middle.variance(), middle.variance(end.weight)),
        "from_start": rate(*early),
        "flow_left": early[1] / start.variance(),
        "from_half": rate(*late),
    }


def course(corner: Corner, states: tuple[Moments, ...], length: float, beta: float) -> dict[str, np.ndarray]:
    """Return tr Φ over that of the start at every record of a run, as it was and by the flow on the features at the start."""
    start = states[0]
    times = np.linspace(0.0, length, len(states))
    told = [start.variance(W) for W in start.flow(corner, times, beta=beta)]
    return {
        "share": np.array([state.variance() for state in states]) / start.variance(),
        "flow_share": np.array(told) / start.variance(),
    }


def frozen_run(
    plan: AblationPlan, networks: list[MLP | Convolutional], data: Views, *, seed: int, told: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Train last layers alone on the features at the start, and return ``rate``, ``flow`` (C, S) and a slowest ``mode``'s two rates."""
    with torch.no_grad():
        x, y = (torch.stack([own.backbone(part) for own in networks]) for part in data.fixed)
    heads: list[nn.Module] = []
    for own in networks:
        head = MLP((x.shape[2], WIDTH), "linear", seed=0)
        with torch.no_grad():
            head.last.weight.copy_(own.last.weight)
        heads.append(head)
    trial, state = stacked("networks", heads, torch.float64, x.device)
    predictor = torch.stack([linear_predictor(WIDTH, seed=seed * 1000 + 2 * s + 1).weight for s in range(plan.seeds)])
    predictor = predictor.detach().to(x)
    shape = (len(CORNERS), plan.seeds)
    found = {key: np.full(shape, np.nan) for key in ("rate", "flow", "mode", "formula")}
    for c, (name, corner) in enumerate(CORNERS.items()):
        told(name)
        beta, step, _, count = settings(plan, corner, trial, state, predictor, (x, y))
        cube = Cube(corner, trial, state, predictor, step=step, beta=beta)
        looks = [cube.moments(x, y)]
        for _ in range(2):
            for _ in range(count // 2):
                cube.step(x, y)
            looks.append(cube.moments(x, y))
        half = count // 2 * step
        for s, states in enumerate(zip(*looks, strict=True)):
            values = decay(corner, states, half, beta)
            found["rate"][c, s], found["flow"][c, s] = values.get("rate", np.nan), values.get("from_start", np.nan)
            lam, axes = np.linalg.eigh((states[0].cross + states[0].cross.T) / 2)
            sizes = [float(np.linalg.norm(part.weight @ axes[:, -1])) for part in states]
            found["mode"][c, s] = np.log(sizes[1] / sizes[2]) / half
            sigma = axes[:, -1] @ states[0].context @ axes[:, -1]
            found["formula"][c, s] = slow_rate(corner, lam[-1:], np.array([sigma]), beta)[0]
    return found
