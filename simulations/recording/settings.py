"""The settings of a training run, read from its optimiser, in the words that ``jepalign diagnose`` reads."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from jepalign.errors import InputError

# What run.json may say besides ``note``.
KNOWN = (
    "batch_size",
    "bias",
    "decoupled",
    "ema_momentum",
    "gradient_rms",
    "learning_rate",
    "loss",
    "momentum",
    "optimizer",
    "predictor_learning_rate",
    "predictor_weight_decay",
    "steps",
    "weight_decay",
)


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that a user states, or raise ``InputError`` for a name that nothing reads."""
    for name in settings:
        if name not in KNOWN:
            raise InputError("settings", name, f"must be of {', '.join(KNOWN)}")
    return dict(settings)


def optimizer_settings(
    optimizers: Sequence[Optimizer], encoder: Tensor | None, predictor: Tensor | None
) -> dict[str, Any]:
    """Return what the optimisers do to a weight of the encoder and to one of the predictor.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        All that train the model.
    encoder, predictor : Tensor or None
        The weights; what is said of a weight that no optimiser has is left out.

    Returns
    -------
    dict
        ``learning_rate``, ``weight_decay``, ``predictor_learning_rate``, ``predictor_weight_decay`` (as the optimiser
        was given them), ``optimizer`` ("sgd", or "adam" for any other), ``momentum``, ``decoupled``, and for Adam ``gradient_rms``, the
        root of the mean over the encoder's weight of what the optimiser keeps for the squared gradient.
    """
    found: dict[str, Any] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            members = {id(parameter) for parameter in group["params"]}
            if encoder is not None and id(encoder) in members:
                found |= {"learning_rate": float(group["lr"]), "weight_decay": float(group.get("weight_decay", 0.0))}
                found |= _kind(optimizer, group)
                rms = _gradient_rms(optimizer.state.get(encoder, {}), group)
                found |= {} if rms is None else {"gradient_rms": rms}
            if predictor is not None and id(predictor) in members:
                found["predictor_learning_rate"] = float(group["lr"])
                found["predictor_weight_decay"] = float(group.get("weight_decay", 0.0))
    return found


def ends_in_bias(module: nn.Module) -> bool:
    """Return whether the last module with parameters that ``module`` registers has a bias."""
    owners = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    return bool(owners) and getattr(owners[-1], "bias", None) is not None


def _kind(optimizer: Optimizer, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method and its own settings: "sgd", or else "adam", whose steps are not those of the gradient either."""
    name = type(optimizer).__name__.lower()
    if name == "sgd":
        return {"optimizer": "sgd", "momentum": float(group.get("momentum", 0.0)), "decoupled": False}
    # AdamW is Adam with this flag; other implementations have no flag, and a W in their names.
    return {"optimizer": "adam", "decoupled": bool(group.get("decoupled_weight_decay", "adamw" in name))}


def _gradient_rms(state: Mapping[str, Any], group: Mapping[str, Any]) -> float | None:
    squares, step, betas = state.get("exp_avg_sq"), state.get("step"), group.get("betas")
    if not isinstance(squares, Tensor) or step is None or betas is None or float(step) < 1:
        return None
    return math.sqrt(float(squares.float().mean()) / (1 - float(betas[1]) ** float(step)))
