"""Training by plain gradient descent, as the theory has it: simultaneous updates, decay in its place, EMA as a rate."""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from jepalign.errors import InputError
from jepalign.linear_models.forecast import RunSettings
from jepalign.simulations.encoders import linear_predictor
from jepalign.simulations.objectives import prediction_loss

# A run whose parameters or embeddings pass this is lost, and its measurements (up to the eighth power) still finite.
LOST = 1e10

Loss = Callable[[Tensor, Tensor], Tensor]
Progress = Callable[[int, int, str], None]


def device_named(name: str) -> torch.device:
    """Return the device ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        For another name, or if PyTorch finds no CUDA device.
    """
    if name not in ("cpu", "cuda"):
        raise InputError("device", name, "must be cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device", name, "needs a CUDA device, and PyTorch finds none here")
    return torch.device(name)


@dataclass(frozen=True)
class Rates:
    """The constants of the flow and the size of one step.

    Attributes
    ----------
    step : float
        ε, the length of a gradient step in units of flow time.
    predictor : float
        α, the predictor's learning rate relative to the encoder's.
    weight_decay : float
        η, per unit of flow time, on encoder and predictor alike.
    ema : float or None
        β, the rate at which the target encoder follows, so that its momentum is 1 − εβ; None: no target encoder of its
        own, V = W (SimSiam).
    """

    step: float
    predictor: float = 1.0
    weight_decay: float = 0.0
    ema: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("step", self.step), ("predictor", self.predictor)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(name, value, "must be positive and finite")
        if not 0 <= self.weight_decay * self.step < 1:
            raise InputError("weight_decay", self.weight_decay, "must not be negative, and step · weight_decay below 1")
        if self.ema is not None and not 0 <= self.ema * self.step <= 1:
            raise InputError("ema", self.ema, "must not be negative, and step · ema at most 1")

    @property
    def settings(self) -> RunSettings:
        """The constants of the flow, without the step."""
        return RunSettings(self.weight_decay, self.predictor, self.ema)

    @property
    def retained(self) -> float:
        """(1 − εη)²: the factor by which decay multiplies a quadratic invariant in one step."""
        return (1 - self.step * self.weight_decay) ** 2


class JEPA:
    """An encoder, a predictor and a target that learn together.

    Parameters
    ----------
    encoder : nn.Module
        Online encoder, changed in place.
    predictor : nn.Module or None
        Changed in place by descent, (n, k) → (n, k); the theory's is linear without bias. None: the least-squares
        predictor of every batch (``ema_rate`` aside, the limit α → ∞), which this object then owns.
    rates : Rates
        Constants and step.
    loss : callable, optional
        Of prediction and target embeddings; by default ½E‖ẑ − sg(z̄)‖².
    predictor_decay : float, optional
        What the predictor's parameter group gets as ``weight_decay`` at its learning rate αε. Default η/α, which decays
        P at rate η; giving every group the same η, as optimisers do by default, decays P α times too fast.
    optimizer : callable, optional
        From parameter groups with ``lr`` and ``weight_decay``; by default plain gradient descent, the theory's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module | None,
        rates: Rates,
        *,
        loss: Loss = prediction_loss,
        predictor_decay: float | None = None,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] = torch.optim.SGD,
    ) -> None:
        self.encoder = encoder
        self.rates = rates
        self.loss = loss
        self.target = encoder if rates.ema is None else copy.deepcopy(encoder).requires_grad_(False)
        self.least_squares = predictor is None
        first = {"params": list(encoder.parameters()), "lr": rates.step, "weight_decay": rates.weight_decay}
        groups: list[dict[str, Any]] = [first]
        if predictor is None:
            # Its weights at first are of no account: every batch sets them before they are used.
            device = next(encoder.parameters()).device
            self.predictor: nn.Module = linear_predictor(_last_width(encoder), seed=0, device=device)
            self.predictor.requires_grad_(False)
        else:
            self.predictor = predictor
            decay = rates.weight_decay / rates.predictor if predictor_decay is None else predictor_decay
            step = rates.predictor * rates.step
            groups.append({"params": list(predictor.parameters()), "lr": step, "weight_decay": decay})
        self.optimizer = optimizer(groups)

    @torch.no_grad()
    def fit_predictor(self, x: Tensor, y: Tensor) -> None:
        """Set P to the least-squares predictor of a batch, if this JEPA uses that one; otherwise do nothing."""
        if self.least_squares:
            self.predictor.get_parameter("weight").copy_(least_squares_predictor(self.encoder(x), self.target(y)))

    def step(self, x: Tensor, y: Tensor) -> float:
        """Make one simultaneous step of encoder and predictor, then of the target; return the loss before it."""
        self.fit_predictor(x, y)
        with torch.no_grad():
            target = self.target(y)
        value = self.loss(self.predictor(self.encoder(x)), target)
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        if self.rates.ema is not None:
            with torch.no_grad():
                for mine, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                    mine.lerp_(online, self.rates.step * self.rates.ema)
        return value.item()

    def lost(self) -> bool:
        """Whether some parameter is NaN or larger than ``LOST``."""
        return not within(*self.encoder.parameters(), *self.predictor.parameters())


def within(*tensors: Tensor) -> bool:
    """Return whether every entry of every tensor is a number of modulus at most ``LOST``."""
    return all(bool((tensor.abs() <= LOST).all()) for tensor in tensors)


def _last_width(encoder: nn.Module) -> int:
    layers = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError("encoder", type(encoder).__name__, "must contain a linear layer")
    return layers[-1].out_features


def least_squares_predictor(z: Tensor, target: Tensor) -> Tensor:
    """Return the P that minimises Σ‖target − Pz‖², (k, k), by QR factorisation; the embeddings must span all k axes."""
    # The default driver, gelsy, rounds differently from call to call.
    return torch.linalg.lstsq(z, target, driver="gels").solution.T


class Status(StrEnum):
    """How a training run ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Run:
    """How far a training run came.

    Attributes
    ----------
    status : Status
        Whether all parameters and losses stayed finite, and parameters below ``LOST``.
    losses : tuple of float
        The finite losses, one per completed step.
    """

    status: Status
    losses: tuple[float, ...]


def train(
    jepa: JEPA,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    before: Callable[[int, Tensor, Tensor], None] | None = None,
    after: Callable[[int], None] | None = None,
) -> Run:
    """Train on ``batches``, calling ``before(step, x, y)`` and ``after(step)`` around each step; stop at divergence.

    A step after which the loss is not finite or a parameter is lost ends the run as ``DIVERGED``; ``after`` is not
    called for it.
    """
    losses: list[float] = []
    for step, (x, y) in enumerate(batches):
        if before is not None:
            before(step, x, y)
        loss = jepa.step(x, y)
        if jepa.lost() or not math.isfinite(loss):
            return Run(Status.DIVERGED, tuple(losses))
        losses.append(loss)
        if after is not None:
            after(step)
    return Run(Status.FINISHED, tuple(losses))
