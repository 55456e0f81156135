"""Two processes that train one model together record what one process records of all rows."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from simulations_processes import leave
from torch import Tensor, distributed, nn
from torch import multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.recording import Recorder

STEPS, WORLD = 7, 2


class Online(nn.Module):
    """What is trained together: an encoder and its predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.predictor = MLP((6, 8, 4), "relu", seed=1), linear_predictor(4, seed=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.predictor(self.encoder(x))


def views(step: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    # A mean that differs between the halves, and a mask that leaves them different numbers of rows.
    x = torch.randn(16, 6, generator=generator, dtype=torch.float64) + torch.arange(16)[:, None] / 8
    return x, x + 0.3 * torch.randn(16, 6, generator=generator, dtype=torch.float64), torch.arange(16) % 5 != 0


def train(out: str, rank: int, world: int) -> list[Tensor]:
    """Train, record, and return the embeddings that count of the observed steps of this process."""
    online = Online()
    target = copy.deepcopy(online.encoder).requires_grad_(False)
    model = DistributedDataParallel(online) if world > 1 else online
    optimizer = torch.optim.SGD(online.parameters(), lr=0.05)
    rows = slice(rank * 16 // world, (rank + 1) * 16 // world)
    seen: list[Tensor] = []
    with Recorder(
        online.encoder, online.predictor, target=target, every=2, window=2, out=out, optimizer=optimizer
    ) as recorder:
        for step in range(STEPS):
            x, y, mask = (value[rows] for value in views(step))
            if recorder.due:
                with recorder.paused(), torch.no_grad():
                    seen.append(online.encoder(x)[mask])
            # Halves are equally long: the mean over processes of their means is that of all rows.
            loss = (model(x) - target(y)).square().sum(1).mean() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            record = recorder.step(mask=mask)
            assert (record is not None) == (step in (2, 6))
        assert recorder.latest is not None
        # Every process has the record of all.
        assert recorder.latest.moments.count == 2 * 12
    return seen


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    torch.save(train(f"{folder}/two", rank, WORLD), f"{folder}/seen{rank}.pt")
    leave(folder, rank, WORLD)


def uniformity(batches: list[Tensor]) -> float:
    """log E e^{−2‖u − u'‖²} over pairs within a batch."""
    kernels: list[float] = []
    for batch in batches:
        unit = batch / batch.norm(dim=1, keepdim=True)
        kernels += torch.exp(-2 * torch.pdist(unit).square()).tolist()
    return float(np.log(np.mean(kernels)))


@pytest.mark.slow
def test_two_processes_record_as_one(tmp_path: Path) -> None:
    mp.spawn(process, (str(tmp_path),), nprocs=WORLD)  # pyright: ignore[reportPrivateImportUsage]
    seen = train(str(tmp_path / "one"), 0, 1)
    names = [path.name for path in sorted((tmp_path / "one").iterdir())]
    assert names == ["moments-00000003.npz", "moments-00000007.npz", "run.json"]
    assert [path.name for path in sorted((tmp_path / "two").iterdir())] == names
    settings = [json.loads((tmp_path / run / "run.json").read_text()) for run in ("one", "two")]
    assert settings[0] == settings[1]
    assert settings[0]["batch_size"] == 16
    for name in names[:2]:
        one, two = (np.load(tmp_path / run / name) for run in ("one", "two"))
        assert one.keys() == two.keys()
        # Rates of biases are told by rows of the first process.
        for key in one.keys() - {"uniformity", "biases"}:
            # Seven steps in which a mean is taken of halves, and sums of 24 rows of order ten about two origins.
            assert two[key] == pytest.approx(one[key], rel=1e-11, abs=1e-11), key
    # Pairs are those of a batch, and a process has its own batches.
    halves = [torch.load(tmp_path / f"seen{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for run, batches in (("one", seen[:2]), ("two", halves[0][:2] + halves[1][:2])):
        stored = float(np.load(tmp_path / run / names[0])["uniformity"])
        assert stored == pytest.approx(uniformity(batches), abs=1e-11)
