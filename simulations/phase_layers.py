"""Last layers of many networks on features that stay: their thresholds, and training them alone (4.3, 4.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.linear_models.forecast.flow import Matrices, descend
from jepalign.simulations.ensembles import Members
from jepalign.simulations.results import numpy
from jepalign.simulations.training import LOST

TINY = 1e-30
# Moments of features below this are rounding: their λ is taken as 0.
NOTHING = 1e-12


@dataclass(frozen=True)
class Layers:
    """The last layers of M networks: second moments of the features, Σ and Σ_yx (M, h, h), and W, P, V."""

    context: Tensor
    cross: Tensor
    weight: Tensor
    predictor: Tensor
    target: Tensor

    def modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return λ and σ, (M, h) each, by η_c descending, read as :meth:`jepalign.linear_models.forecast.LastLayer.modes` does."""
        values, vectors = torch.linalg.eigh((self.cross + self.cross.mT) / 2)
        variance = torch.einsum("mji,mjk,mki->mi", vectors, self.context, vectors).clamp(min=NOTHING)
        values = torch.where(values.abs() > NOTHING, values, torch.zeros_like(values))
        lam, sigma = numpy(values), numpy(variance)
        order = np.argsort(-critical_weight_decay(lam, sigma), axis=1, kind="stable")
        return np.take_along_axis(lam, order, 1), np.take_along_axis(sigma, order, 1)

    def critical(self) -> np.ndarray:
        """Return η_c = λ²/(4σ) of :meth:`modes`, (M, h), descending."""
        return critical_weight_decay(*self.modes())

    def curvature(self, members: Members) -> np.ndarray:
        """Return the largest curvature σ(p² + αw²) of ½E(pwh − vh⁺)², p at rate α, of last layers of width 1 on one feature, (M,)."""
        alpha = members.array("predictor_rate")
        sigma, w, p = (numpy(part.flatten()) for part in (self.context, self.weight, self.predictor))
        return sigma * (p**2 + alpha * w**2)

    def moments(self) -> np.ndarray:
        """Return the eigenvalues of the embedding's second moment WΣWᵀ, (M, k), descending."""
        values = torch.linalg.eigvalsh(self.weight @ self.context @ self.weight.mT)
        return numpy(values.flip(1).clamp(min=TINY))


def frozen(
    layers: Layers,
    members: Members,
    steps: int,
    *,
    below: Sequence[Tensor] = (),
    biases: Sequence[Tensor] = (),
    halvings: int = 4,
) -> Layers:
    """Train last layers by ``steps`` steps of descent on features that stay, or that the layers below move.

    They are the Euler steps of the flow that :func:`jepalign.linear_models.forecast.flow.solve` integrates. ``below`` are the rates κ of
    the layers below, (M,) each; without them moments of features come back as they were. A member that diverges, as trainings whose
    features give way do not, is integrated anew with steps half as long, up to ``halvings`` times. ``biases`` are the rates ν of these
    layers' biases, (M,) each, for layers :func:`with_constant`.
    """

    def column(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=layers.weight.dtype, device=layers.weight.device)[:, None, None]

    rates = [part[:, None, None] for part in below]
    if biases:
        width = layers.context.shape[-1]
        rates = [
            torch.cat((own.expand(-1, 1, width - 1), bias[:, None, None]), 2)
            for own, bias in zip(rates, biases, strict=True)
        ]
    step, alpha, eta, beta = (
        column(members.array(name)) for name in ("step", "predictor_rate", "weight_decay", "ema_rate")
    )
    found = Layers(*(part.clone() for part in vars(layers).values()))
    left = torch.arange(len(members), device=layers.weight.device)
    for halving in range(halvings + 1):
        now = Layers(*(part[left] for part in vars(layers).values()))
        length = step[left] / 2**halving
        unit = torch.eye(now.context.shape[-1]).to(now.context).expand_as(now.context)
        end = descend(
            Matrices(now.weight, now.predictor, now.target, (unit,) * len(below), (unit,) * len(below)),
            now.context,
            now.cross,
            steps=steps * 2**halving,
            step=length,
            rate=alpha[left],
            decay=eta[left],
            follow=length * beta[left],
            below=[part[left] for part in rates],
            constant=bool(biases),
        )
        moved, led = unit, unit
        for own, other in zip(end.below, end.below_target, strict=True):
            moved, led = own @ moved, other @ led
        context, cross = now.context, now.cross
        if below:
            context, cross = moved @ context @ moved.mT, led @ cross @ moved.mT
        parts = Layers(context, cross, end.encoder, end.predictor, end.target)
        fine = torch.stack([part.flatten(1).abs().amax(1) <= LOST for part in vars(parts).values()]).all(0)
        for mine, part in zip(vars(found).values(), vars(parts).values(), strict=True):
            # What diverges at the shortest step as well is kept as it was.
            mine[left[fine]] = part[fine]
        left = left[~fine]
        if len(left) == 0:
            break
    return found


def with_constant(layers: Layers, mean: Tensor, ahead: Tensor) -> Layers:
    """Return the layers with a constant 1 behind the features, which no W reads; the features' means are given, (M, h) each."""

    def block(moment: Tensor, rows: Tensor) -> Tensor:
        upper = torch.cat((moment, rows[:, :, None]), 2)
        lower = torch.cat((mean, torch.ones_like(mean[:, :1])), 1)
        return torch.cat((upper, lower[:, None]), 1)

    weight, target = (pad(part, (0, 1)) for part in (layers.weight, layers.target))
    return Layers(block(layers.context, mean), block(layers.cross, ahead), weight, layers.predictor, target)


def balanced(layers: Layers, members: Members) -> Layers:
    """Return the same last layers with V = W and the balanced predictor P = √α(WWᵀ)^{1/2}."""
    values, vectors = torch.linalg.eigh(layers.weight @ layers.weight.mT)
    root = vectors @ torch.diag_embed(values.clamp(min=0).sqrt()) @ vectors.mT
    alpha = torch.tensor(members.array("predictor_rate")).to(root)[:, None, None]
    return Layers(layers.context, layers.cross, layers.weight, alpha.sqrt() * root, layers.weight)


def aligned(layers: Layers, members: Members) -> Layers:
    """Return the k strongest modes as 4.4 covers them, last layers of width 1, M·k of them: λ, σ as they are, balanced, V = W.

    w is the root mean square of the singular values of W.
    """
    values, axes = torch.linalg.eigh((layers.cross + layers.cross.mT) / 2)
    variance = torch.einsum("mji,mjk,mki->mi", axes, layers.context, axes)
    width = layers.weight.shape[1]
    order = (values.square() / variance).argsort(dim=1, descending=True)[:, :width]
    cross, context = (torch.take_along_dim(part, order, 1) for part in (values, variance))
    size = layers.weight.square().sum((1, 2)).div(width).sqrt()[:, None].expand_as(cross)
    alpha = torch.tensor(members.array("predictor_rate")).to(size)[:, None]
    parts = (context, cross, size, alpha.sqrt() * size * cross.sign(), size)
    return Layers(*(part.reshape(-1, 1, 1) for part in parts))


def members_at(members: Members, chosen: np.ndarray) -> Members:
    """Return the members chosen by a mask."""
    names = ("seed", "step", "weight_decay", "predictor_rate", "ema_rate")
    return Members(**{name: members.array(name)[chosen] for name in names})


def shorter(members: Members, times: int) -> Members:
    """Return the members with steps ``times`` as short."""
    found = {name: members.array(name) for name in ("seed", "step", "weight_decay", "predictor_rate", "ema_rate")}
    return Members(**{**found, "step": found["step"] / times})
