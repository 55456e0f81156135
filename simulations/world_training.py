"""A system whose planes turn, and plain descent of a world model and of its contrastive twin on it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.linear_models import ViewPair
from jepalign.simulations.encoders import MLP, ActionPredictor
from jepalign.simulations.masks import with_moments
from jepalign.simulations.objectives import prediction_loss, second_moment
from jepalign.simulations.training import LOST
from jepalign.simulations.world_rows import ANGLE, SHRINKAGE

ACTIONS = 3


@dataclass(frozen=True)
class System:
    """x′ = Fx + Ba + ξ of planes, Σ_x = I.

    Attributes
    ----------
    dynamics, noise : ndarray of shape (d, d)
        F and Q.
    actions : ndarray of shape (d, m)
        B; actions are white.
    """

    dynamics: np.ndarray
    noise: np.ndarray
    actions: np.ndarray


def planes() -> System:
    """Return the system of ``SHRINKAGE`` and ``ANGLE``, three of whose coordinates actions drive by half of their noise."""
    d = 2 * len(ANGLE)
    F = np.zeros((d, d))
    for index, (radius, angle) in enumerate(zip(SHRINKAGE, ANGLE, strict=True)):
        c, s = radius * np.cos(angle), radius * np.sin(angle)
        F[2 * index : 2 * index + 2, 2 * index : 2 * index + 2] = [[c, -s], [s, c]]
    spread = np.repeat(1 - SHRINKAGE**2, 2)
    B = np.zeros((d, ACTIONS))
    for index in range(ACTIONS):
        B[3 * index, index] = np.sqrt(spread[3 * index] / 2)
    return System(F, np.diag(spread) - B @ B.T, B)


def pairs(system: System, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, the next ones and actions, whose second moments are the stationary law's, to rounding."""
    d, m = system.actions.shape
    # One sample of (x, a) beside x′ with the joint moments of the law.
    first = np.eye(d + m)
    cross = np.hstack((system.dynamics, system.actions))
    context = ViewPair.from_covariances(first, np.eye(d + m), np.vstack((cross, np.zeros((m, d + m)))))
    given, following = with_moments(context, device)
    return given[:, :d].contiguous(), following[:, :d].contiguous(), given[:, d:].contiguous()


def descend(
    encoder: MLP,
    predictor: ActionPredictor,
    x: Tensor,
    y: Tensor,
    actions: Tensor | None,
    *,
    step: float,
    count: int,
    decay: float = 0.0,
    ema: float | None = None,
) -> bool:
    """Train a world model by plain descent on ½E‖P_z Wx + P_a a − sg(Vy)‖², in place; return whether it stayed finite."""
    optimizer = torch.optim.SGD([*encoder.parameters(), *predictor.parameters()], lr=step, weight_decay=decay)
    target = [parameter.detach().clone() for parameter in encoder.parameters()]
    names = [name for name, _ in encoder.named_parameters()]
    for _ in range(count):
        with torch.no_grad():
            if ema is None:
                ahead = encoder(y)
            else:
                ahead = torch.func.functional_call(encoder, dict(zip(names, target, strict=True)), (y,))
        loss = prediction_loss(predictor(encoder(x), actions), ahead)
        if not bool(torch.isfinite(loss)) or loss.item() > LOST:
            return False
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if ema is not None:
            with torch.no_grad():
                for mine, online in zip(target, encoder.parameters(), strict=True):
                    mine.lerp_(online, step * ema)
    return True


def contrast(encoder: nn.Module, x: Tensor, y: Tensor, *, step: float, count: int, decay: float = 0.0) -> bool:
    """Train by plain descent on ¼L_SCL of states and the next ones, every embedding of both for a negative; in place."""
    optimizer = torch.optim.SGD(encoder.parameters(), lr=step, weight_decay=decay)
    for _ in range(count):
        z, ahead = encoder(x), encoder(y)
        moment = second_moment(torch.cat((z, ahead)))
        loss = moment.square().sum() / 4 - (z * ahead).sum(1).mean() / 2
        if not bool(torch.isfinite(loss)) or abs(loss.item()) > LOST:
            return False
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return True
