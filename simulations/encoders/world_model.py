"""A linear predictor of the next embedding from this one and an action (7.4)."""

import torch
from torch import Tensor, nn

from jepalign.simulations.encoders.multilayer import linear


class ActionPredictor(nn.Module):
    """Predicts ẑ = P_z z + P_a a, without biases.

    Parameters
    ----------
    width, actions : int
        k, the width of the embedding, and m, the number of actions; 0: none.
    seed : int
        Seeds this predictor's own generator.

    Attributes
    ----------
    state : nn.Linear
        P_z, (k, k): the part that balance is about.
    action : nn.Linear or None
        P_a, (k, m), 0 at first.
    """

    def __init__(self, width: int, actions: int = 0, *, seed: int, device: torch.device | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.state = linear(width, width, generator)
        self.action = linear(actions, width, generator) if actions else None
        if self.action is not None:
            nn.init.zeros_(self.action.weight)
        self.to(device)

    def forward(self, z: Tensor, action: Tensor | None = None) -> Tensor:
        """Return the predictions, (n, k), from embeddings (n, k) and actions (n, m)."""
        found = self.state(z)
        return found if self.action is None or action is None else found + self.action(action)
