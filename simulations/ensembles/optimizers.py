"""The updates of PyTorch's SGD and AdamW for stacked parameters, every member with its own learning rate and decay."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from jepalign.simulations.ensembles.settings import Method

ADAM_EPSILON = 1e-8  # PyTorch's default
State = dict[str, Tensor]


@dataclass
class Optimizer:
    """Updates of one group of stacked parameters: learning rates and decays are tensors of shape (M,)."""

    method: Method
    rate: Tensor
    decay: Tensor
    first: State = field(default_factory=dict[str, Tensor])
    second: State = field(default_factory=dict[str, Tensor])
    spare: State = field(default_factory=dict[str, Tensor])
    steps: int = 0

    def updated(self, parameters: State, gradients: State) -> State:
        """Return the parameters after one step; these are overwritten two steps later, ``parameters`` one step later."""
        self.steps += 1
        found: State = {}
        for name, value in parameters.items():
            rate, decay = (x.view(-1, *[1] * (value.ndim - 1)) for x in (self.rate, self.decay))
            gradient = gradients[name]
            if self.method.optimizer == "sgd" and not self.method.momentum:
                # Two sets of parameters take turns: fresh memory would cost as much as the arithmetic.
                new = self.spare.get(name)
                new = value * (1 - rate * decay) if new is None else torch.mul(value, 1 - rate * decay, out=new)
                found[name] = new.addcmul_(gradient, rate, value=-1)
            elif self.method.optimizer == "sgd":
                direction = gradient.addcmul(value, decay)
                if name in self.first:
                    direction = direction.add(self.first[name], alpha=self.method.momentum)
                self.first[name] = direction
                found[name] = value.addcmul(direction, rate, value=-1)
            else:
                found[name] = self._adamw(name, value, gradient, rate, decay)
        self.spare = parameters
        return found

    def _adamw(self, name: str, value: Tensor, gradient: Tensor, rate: Tensor, decay: Tensor) -> Tensor:
        """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as ``torch.optim.AdamW`` has it."""
        slow, slower = self.method.betas
        before = self.first.get(name), self.second.get(name)
        first = gradient * (1 - slow)
        second = gradient.square() * (1 - slower)
        if before[0] is not None and before[1] is not None:
            first, second = first.add(before[0], alpha=slow), second.add(before[1], alpha=slower)
        self.first[name], self.second[name] = first, second
        size = (second / (1 - slower**self.steps)).sqrt() + ADAM_EPSILON
        return value * (1 - rate * decay) - rate / (1 - slow**self.steps) * (first / size)

    def only(self, kept: Tensor) -> Self:
        """Keep the members with these indices."""
        self.rate, self.decay = self.rate[kept], self.decay[kept]
        self.first = {name: value[kept] for name, value in self.first.items()}
        self.second = {name: value[kept] for name, value in self.second.items()}
        self.spare = {}
        return self
