"""Steps per second of an ensemble against a Python loop over its networks. Printed, never asserted: machines differ."""

import argparse
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from jepalign.simulations.encoders import DEEP, MLP, linear_predictor
from jepalign.simulations.ensembles import Members, train_ensemble
from jepalign.simulations.training import JEPA, Rates, device_named

RUNS = 3
BATCHES = (64, 256, 1024)
SHALLOW = (64, 64, 16)
NETWORKS = (SHALLOW, DEEP)
STEP, DECAY, RATE, EMA = 0.05, 0.01, 2.0, 0.5


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the least time of a call, after a warm-up: whatever else runs only adds.

    On one thread of a CPU these are seconds of the processor, which other programs do not count in; else of the clock.
    """
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times: list[float] = []
    for _ in range(RUNS + 1):
        started = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - started)
    return min(times[1:])


def per_step(work: Callable[[int], Callable[[], object]], few: int, many: int, device: torch.device) -> float:
    """Return the seconds of one step of ``work(steps)``, from two numbers of steps: what is done once cancels."""
    return (seconds(work(many), device) - seconds(work(few), device)) / (many - few)


def loop(networks: list[JEPA], x: Tensor, y: Tensor, steps: int) -> Callable[[], None]:
    """Return a call that makes ``steps`` steps of every network, one network after the other."""

    def work() -> None:
        for jepa in networks:
            for _ in range(steps):
                jepa.step(x, y)

    return work


def compared(
    widths: tuple[int, ...], count: int, batch: int, dtype: torch.dtype, device: torch.device
) -> tuple[float, float]:
    """Return the milliseconds that a step of ``count`` networks of these widths takes in a loop and as an ensemble."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, widths[0], generator=generator).to(dtype=dtype, device=device)
    y = x + 0.1 * torch.randn(batch, widths[0], generator=generator).to(dtype=dtype, device=device)
    members = Members(
        seed=np.arange(count), step=STEP, weight_decay=DECAY, predictor_rate=RATE, ema_rate=EMA, scale=0.1
    )

    def build(seed: int) -> MLP:
        return MLP(widths, "relu", seed=seed)

    def networks() -> list[JEPA]:
        found: list[JEPA] = []
        for seed in range(count):
            predictor = linear_predictor(widths[-1], seed=seed + 1).to(device=device, dtype=dtype)
            encoder = build(seed).to(device=device, dtype=dtype)
            found.append(JEPA(encoder, predictor, Rates(STEP, RATE, DECAY, EMA)))
        return found

    def ensemble(steps: int) -> Callable[[], object]:
        def batches(_seed: int) -> Iterable[tuple[Tensor, Tensor]]:
            return ((x, y) for _ in range(max(steps, 1)))

        return lambda: train_ensemble(members, build, batches, steps=steps, dtype=dtype, device=device)

    lone = networks()
    return (
        1e3 * per_step(lambda steps: loop(lone, x, y, steps), 0, 2, device),
        1e3 * per_step(ensemble, 2, 12, device),
    )


def main() -> None:
    """Print a table of milliseconds per step of all networks, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--float64", action="store_true", help="float64 as well")
    options = parser.parse_args()
    device = device_named(options.device)
    if device.type == "cpu":
        where = f"CPU, {torch.get_num_threads()} threads"
    else:
        where = torch.cuda.get_device_name(device)
    title = f"{options.members} MLPs, one step of all, {where}"
    table = Table("widths", "type", "batch", "loop ms", "ensemble ms", "ratio", box=None, title=title)
    for widths in NETWORKS:
        for dtype in (torch.float32, torch.float64)[: 2 if options.float64 else 1]:
            for batch in options.batch:
                alone, together = compared(widths, options.members, batch, dtype, device)
                row = ("-".join(map(str, widths)), str(dtype).removeprefix("torch."), str(batch))
                table.add_row(*row, f"{alone:.1f}", f"{together:.1f}", f"{alone / together:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
