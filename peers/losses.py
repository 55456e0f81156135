"""The sampled losses and their gradients against public implementations, in float64: a table, and exit code 1 if one differs.

What no peer has is compared with the loops of the tests, and the table says so. Nothing is skipped: a peer that cannot be loaded
gives way to the loops, with the reason printed.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from jepalign.linear_models import losses

TOLERANCE = 1e-10
SHAPES = ((8, 3), (64, 16), (33, 40))
TAU = 0.4
LOOPS = Path(__file__).parent.parent / "tests" / "linear_models" / "test_linear_models_losses_transcriptions.py"

Tensors = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Ours = Callable[[np.ndarray, np.ndarray], losses.LossGradient]


class Comparison(NamedTuple):
    """One loss, who else computes it, and both computations."""

    loss: str
    peer: str
    ours: Ours
    theirs: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray, np.ndarray]]


def by_autograd(loss: Tensors) -> Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray, np.ndarray]]:
    """Return a function of arrays that gives a torch loss and its gradients."""

    def evaluate(z1: np.ndarray, z2: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        a, b = torch.tensor(z1, requires_grad=True), torch.tensor(z2, requires_grad=True)
        value = loss(a, b)
        value.backward()
        gradients = [np.zeros(z1.shape) if t.grad is None else t.grad.numpy() for t in (a, b)]
        return value.item(), gradients[0], gradients[1]

    return evaluate


def transcriptions() -> ModuleType:
    """Return the module of the tests that holds the loops."""
    specification = importlib.util.spec_from_file_location("transcriptions", LOOPS)
    if specification is None or specification.loader is None:
        raise ImportError(f"no loops at {LOOPS}")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def by_loops(loops: ModuleType, name: str, **options: Any) -> Callable[..., tuple[float, np.ndarray, np.ndarray]]:
    """Return a function of arrays that gives a transcribed loss and its gradients by complex steps."""

    def evaluate(z1: np.ndarray, z2: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss = getattr(loops, name)
        gradients = loops.complex_step(lambda a, b: loss(a, b, **options), z1, z2)
        return complex(loss(z1.tolist(), z2.tolist(), **options)).real, *gradients

    return evaluate


def lightly_losses() -> str:
    """Let modules of lightly be imported without the ``__init__`` of its packages, which ask for torchvision; return the version."""
    distribution = importlib.metadata.distribution("lightly")
    for name in ("lightly", "lightly.loss", "lightly.utils"):
        package = ModuleType(name)
        package.__path__ = [str(distribution.locate_file(name.replace(".", "/")))]
        sys.modules[name] = package
    return distribution.version


def ntxent(distance: Any = None, temperature: float = TAU, cross: bool = False) -> Tensors:
    """Return pytorch-metric-learning's loss of pairs, with negatives of both views or of the other alone."""
    module = importlib.import_module("pytorch_metric_learning.losses")
    loss = module.NTXentLoss(temperature, distance=distance)

    def evaluate(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        labels = torch.arange(len(a))
        if cross:
            # Another object: given the labels themselves it takes b for a, and leaves pairs (i, i) out.
            return loss(a, labels, ref_emb=b, ref_labels=labels.clone())
        return loss(torch.cat((a, b)), labels.repeat(2))

    return evaluate


def sigreg(module: ModuleType, directions: int) -> Tensors:
    """Return lightly's SIGReg, averaged over the views, with its grid in float64 and the same random directions for both."""
    loss = module.SIGReg(num_vectors=directions)
    steps = loss.t.numel() - 1
    # The buffers are float32, good to 6e-8: the same numbers, to the last digit of float64.
    loss.t = torch.linspace(0, 3, steps + 1, dtype=torch.float64)
    loss.phi = torch.exp(-loss.t.square() / 2)
    loss.weights = torch.full((steps + 1,), 2 * 3 / steps, dtype=torch.float64)
    loss.weights[[0, -1]] /= 2
    loss.weights *= loss.phi

    def evaluate(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor] = []
        for z in (a, b):
            torch.manual_seed(0)
            values.append(loss(z))
        return (values[0] + values[1]) / 2

    return evaluate


def drawn(k: int, directions: int) -> np.ndarray:
    """Return the directions that lightly's SIGReg draws with seed 0, (directions, k)."""
    torch.manual_seed(0)
    return torch.randn(k, directions, dtype=torch.float64).numpy().T


def metric_learning() -> list[Comparison]:
    """Return the comparisons with pytorch-metric-learning."""
    name = f"pytorch-metric-learning {importlib.metadata.version('pytorch-metric-learning')}"
    distances = importlib.import_module("pytorch_metric_learning.distances")
    plain = {"normalize_embeddings": False}
    kinds: list[tuple[Any, Any, float]] = [
        ("cosine", None, TAU),
        ("dot", distances.DotProductSimilarity(**plain), TAU),
        ("gaussian", distances.LpDistance(p=2, power=2, **plain), 2 * TAU),  # −‖a − b‖²/T there, −‖a − b‖²/(2τ) here
    ]
    found: list[Comparison] = []
    for similarity, distance, temperature in kinds:
        for negatives in ("both views", "other view"):

            def ours(a: np.ndarray, b: np.ndarray, s: Any = similarity, kind: Any = negatives) -> losses.LossGradient:
                return losses.infonce(a, b, temperature=TAU, similarity=s, negatives=kind)

            theirs = by_autograd(ntxent(distance, temperature, negatives == "other view"))
            found.append(Comparison(f"infonce, {similarity}, {negatives}", f"{name} NTXentLoss", ours, theirs))
    return found


def lightly(loops: ModuleType, console: Console) -> list[Comparison]:
    """Return the comparisons with lightly, or with the loops where a file of lightly cannot be loaded."""
    version = lightly_losses()
    m = 32

    def make(file: str, loss: str, ours: Ours, build: Callable[[ModuleType], Tensors], instead: Any) -> Comparison:
        try:
            module = importlib.import_module(f"lightly.loss.{file}")
        except ImportError as problem:
            console.print(f"lightly.loss.{file} cannot be loaded ({problem}): compared with the loops of the tests")
            return Comparison(loss, "loops (lightly not loadable)", ours, instead)
        return Comparison(loss, f"lightly {version} {file}", ours, by_autograd(build(module)))

    def hypersphere(a: np.ndarray, b: np.ndarray) -> losses.LossGradient:
        one, other = losses.alignment(a, b), losses.uniformity(a, b)
        return losses.LossGradient(one.value + other.value, one.first + other.first, one.second + other.second)

    def loop_sigreg(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        return by_loops(loops, "sigreg", directions=drawn(a.shape[1], m).tolist(), convention="lightly")(a, b)

    def loop_hypersphere(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        one, other = by_loops(loops, "alignment")(a, b), by_loops(loops, "uniformity")(a, b)
        return one[0] + other[0], one[1] + other[1], one[2] + other[2]

    def frozen(module: ModuleType) -> Tensors:
        loss = module.NegativeCosineSimilarity()
        return lambda a, b: loss(a, b.detach())

    return [
        make(
            "vicreg_loss",
            "vicreg, lightly",
            lambda a, b: losses.vicreg(a, b, convention="lightly"),
            lambda module: module.VICRegLoss(),
            by_loops(loops, "vicreg", convention="lightly"),
        ),
        make(
            "barlow_twins_loss",
            "barlow_twins, lightly",
            lambda a, b: losses.barlow_twins(a, b, convention="lightly"),
            lambda module: module.BarlowTwinsLoss(),
            by_loops(loops, "barlow_twins", convention="lightly"),
        ),
        make(
            "lejepa_loss",
            "sigreg, lightly",
            lambda a, b: losses.sigreg(a, b, convention="lightly", directions=drawn(a.shape[1], m)),
            lambda module: sigreg(module, m),
            loop_sigreg,
        ),
        make(
            "hypersphere_loss",
            "alignment + uniformity",
            hypersphere,
            lambda module: module.HypersphereLoss(t=2.0),  # its own default is 1
            loop_hypersphere,
        ),
        make(
            "negative_cosine_similarity",
            "prediction, simsiam",
            lambda a, b: losses.prediction(a, b, convention="simsiam"),
            frozen,
            by_loops(loops, "prediction", convention="simsiam"),
        ),
    ]


def others(loops: ModuleType) -> list[Comparison]:
    """Return the comparisons with PyTorch itself, and with the loops where nobody else has the loss."""

    def clip(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        logits, labels = functional.normalize(a) @ functional.normalize(b).T / TAU, torch.arange(len(a))
        return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2

    version = f"torch {importlib.metadata.version('torch')}"
    return [
        Comparison(
            "infonce, cosine, symmetrised",
            f"{version} cross_entropy",
            lambda a, b: losses.infonce(a, b, temperature=TAU, symmetrize=True),
            by_autograd(clip),
        ),
        Comparison(
            "prediction, mean",
            f"{version} mse_loss",
            lambda a, b: losses.prediction(a, b, convention="mean", stop_gradient=False),
            by_autograd(functional.mse_loss),
        ),
        Comparison(
            "spectral_contrastive, others",
            "loops",
            losses.spectral_contrastive,
            by_loops(loops, "spectral_contrastive"),
        ),
        Comparison(
            "log_det, ε = 0.1",
            "loops",
            lambda a, b: losses.log_det(a, b, epsilon=0.1),
            by_loops(loops, "log_det", epsilon=0.1),
        ),
    ]


def batches(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two correlated batches, (n, k), with means, and deviations on either side of 1."""
    rng = np.random.default_rng([n, k])
    common = rng.standard_normal((n, k)) * rng.uniform(0.2, 1.8, k) + rng.standard_normal(k) / 2
    return common + 0.4 * rng.standard_normal((n, k)), common + 0.3 * rng.standard_normal((n, k))


def difference(found: np.ndarray | float, expected: np.ndarray | float) -> float:
    """Return the largest difference in units of the largest expected entry, or of 1 if that is smaller."""
    return float(np.abs(np.subtract(found, expected)).max() / max(1.0, float(np.abs(expected).max())))


def main() -> int:
    """Print the table; return 1 if a difference exceeds the tolerance."""
    console = Console(width=120)
    loops = transcriptions()
    table = Table("loss", "peer", "loss differs by", "gradient differs by", "", box=None)
    wrong = 0
    for loss, peer, ours, theirs in [*metric_learning(), *lightly(loops, console), *others(loops)]:
        # Loops take minutes for large batches.
        shapes = SHAPES[:1] if peer.startswith("loops") else SHAPES
        value = gradient = 0.0
        for n, k in shapes:
            z1, z2 = batches(n, k)
            found, expected = ours(z1, z2), theirs(z1, z2)
            value = max(value, difference(found.value, expected[0]))
            gradient = max(gradient, difference(found.first, expected[1]), difference(found.second, expected[2]))
        # Written so that a NaN is wrong.
        right = value <= TOLERANCE and gradient <= TOLERANCE
        wrong += not right
        table.add_row(loss, peer, f"{value:.1e}", f"{gradient:.1e}", "" if right else "DIFFERS")
    console.print(table)
    console.print(f"{table.row_count} comparisons in float64, {wrong} beyond {TOLERANCE:g}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
