"""What recording costs: a training step of a transformer, plain and watched. Printed, never asserted: machines differ."""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from jepalign.simulations.recording import Recorder
from jepalign.simulations.training import device_named


class Training:
    """A JEPA on one batch of tokens: a transformer that ends in a linear layer, a linear predictor, an averaged target."""

    def __init__(self, width: int, layers: int, tokens: int, batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        block = nn.TransformerEncoderLayer(width, width // 64, 4 * width, dropout=0.0, batch_first=True)
        body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.encoder = nn.Sequential(body, nn.Linear(width, width, bias=False)).to(device)
        self.predictor = nn.Linear(width, width, bias=False).to(device)
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.optimizer = torch.optim.AdamW([*self.encoder.parameters(), *self.predictor.parameters()], lr=1e-4)
        self.x = torch.randn(batch, tokens, width, device=device)
        self.y = self.x + 0.1 * torch.randn(batch, tokens, width, device=device)

    def step(self) -> None:
        """Make one step."""
        with torch.no_grad():
            target = self.target(self.y)
        loss = (self.predictor(self.encoder(self.x)) - target).square().sum(-1).mean() / 2
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for mine, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                mine.lerp_(online, 0.01)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call; on a CPU those of the processor, whatever else runs."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    """Print the seconds of a plain step, of an observed one and of writing a record, and the ratio over a window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = device_named(options.device)
    training = Training(options.width, options.layers, options.tokens, options.batch, device)

    with tempfile.TemporaryDirectory() as folder:
        # Each step in turn is plain and observed: what drifts, drifts for both. Hooks alone must cost nothing.
        recorder = Recorder(
            training.encoder, training.predictor, target=training.target, out=folder, every=1, window=10**6,
            optimizer=training.optimizer,
        )  # fmt: skip

        sums: list[float] = []

        def observed() -> None:
            training.step()
            sums.append(timed(recorder.step, device))

        observed()
        sums.clear()
        plain: list[float] = []
        watched: list[float] = []
        for _ in range(options.repeats):
            with recorder.paused():
                plain.append(timed(training.step, device))
            watched.append(timed(observed, device))
        write = timed(recorder.close, device)
    step, seen = min(plain), min(watched)
    # A difference of steps is uncertain by more than what the sums take.
    observing = max(seen - step, min(sums))
    mean = step + (observing + write / options.window) / options.every
    threads = torch.get_num_threads()
    cpu = f"CPU, {threads} thread{'s' * (threads > 1)}"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    title = (
        f"{options.layers} layers, {options.width} wide, {options.batch} × {options.tokens} tokens, {where}: "
        f"every {options.every} steps, a record of {options.window}"
    )
    table = Table("", "seconds", "of a plain step", box=None)
    rows = {
        "plain step": step,
        "observed step": seen,
        "sums of it": min(sums),
        "writing a record": write,
        "step, recorded": mean,
    }
    for name, value in rows.items():
        table.add_row(name, f"{value:.3f}", f"{value / step:.4f}")
    console = Console()
    console.print(title)
    console.print(table)


if __name__ == "__main__":
    main()
