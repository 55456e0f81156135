"""The layers below a last layer: whether an encoder is a plain stack of linear ones, and the rates at which these move its features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from jepalign.errors import InputError

Array = NDArray[np.float64]
Function = Callable[[Tensor], Tensor]

# Operations by the names under which autograd undoes them. A linear layer, in two axes, in more, and fused:
LINEAR = frozenset(("AddmmBackward0", "MmBackward0", "LinearBackward0"))
# Functions of one entry alone, without parameters or chance, with the constants that autograd keeps of them; elu is also selu, and
# hardtanh relu6.
FUNCTIONS: Mapping[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "ReluBackward0": (torch.relu, ()),
    "TanhBackward0": (torch.tanh, ()),
    "GeluBackward0": (functional.gelu, ("approximate",)),
    "SiluBackward0": (functional.silu, ()),
    "MishBackward0": (functional.mish, ()),
    "EluBackward0": (torch.ops.aten.elu, ("alpha", "scale", "input_scale")),
    "CeluBackward0": (functional.celu, ("alpha",)),
    "LeakyReluBackward0": (functional.leaky_relu, ("negative_slope",)),
    "SigmoidBackward0": (torch.sigmoid, ()),
    "LogSigmoidBackward0": (functional.logsigmoid, ()),
    "SoftplusBackward0": (functional.softplus, ("beta", "threshold")),
    "HardtanhBackward0": (functional.hardtanh, ("min_val", "max_val")),
    "HardsigmoidBackward0": (functional.hardsigmoid, ()),
    "HardswishBackward0": (functional.hardswish, ()),
    "ErfBackward0": (torch.erf, ()),
    "SinBackward0": (torch.sin, ()),
    "CosBackward0": (torch.cos, ()),
}
# What changes neither entries nor their order.
NOTHING = frozenset(f"{name}Backward0" for name in ("View", "UnsafeView", "ReshapeAlias", "ToCopy", "Clone"))
# Between a weight and its product.
TURNS = frozenset(("TBackward0", "TransposeBackward0", "ToCopyBackward0"))
# What a forecast reads: a layer that has all but vanished has no rate.
LARGEST = 1e12


@dataclass(frozen=True, eq=False)
class Stack:
    """What lies below a last layer.

    Attributes
    ----------
    weights : tuple of Tensor or None
        The weights that are trained, of linear layers called one after the other with elementwise functions between, from the first to the
        last; empty if nothing below is trained. None: it is no such stack, or it was not seen whether it is.
    functions : tuple of tuple of callable
        Behind each of them, the functions that its outputs pass, in their order; empty where layers were named and not seen.
    why : str
        Why there are none; empty otherwise.
    """

    weights: tuple[Tensor, ...] | None
    why: str = ""
    functions: tuple[tuple[Function, ...], ...] = ()


def stack_below(embedding: Tensor, encoder: nn.Module, last: Tensor) -> Stack:
    """Return what made an embedding, as far as gradients go: frozen layers make no part of it, whatever they are.

    Parameters
    ----------
    embedding : Tensor
        With the graph of its gradient, which is walked and left as it is.
    encoder : nn.Module
        What gave it.
    last : Tensor
        The weight of its last layer.
    """
    own = {id(parameter) for parameter in encoder.parameters()}
    found: list[Tensor] = []
    # Behind every layer found, and last those before the first of all.
    passed: list[list[Function]] = [[]]
    node: Any = embedding.grad_fn
    while node is not None:
        name = node.name()
        leaves: list[Tensor] = []
        paths: list[Any] = []
        for parent, _ in node.next_functions:
            leaf = _leaf(parent)
            if isinstance(leaf, Tensor):
                # An input that asks for gradients is no layer.
                leaves += [leaf] if id(leaf) in own else []
            elif leaf is not None:
                paths.append(leaf)
        matrices = [leaf for leaf in leaves if leaf.ndim == 2]
        if name in LINEAR:
            if len(matrices) != 1 or len(paths) > 1:
                return Stack(None, "a product in it is not that of one layer's weight with its inputs")
            if found and matrices[0].shape[0] != found[-1].shape[1]:
                return Stack(None, "its layers do not read the outputs of those before, entry by entry")
            found += matrices
            passed.append([])
        elif leaves or len(paths) > 1 or not (name in FUNCTIONS or name in NOTHING):
            what = name.removesuffix("0").removesuffix("Backward")
            return Stack(None, f"{what} is neither a linear layer nor a function of each entry")
        elif name in FUNCTIONS:
            function, constants = FUNCTIONS[name]
            passed[-1].append(partial(function, **{key: getattr(node, f"_saved_{key}") for key in constants}))
        node = paths[0] if paths else None
    if not found or found[0] is not last:
        return Stack(None, "no gradient was seen that goes through its last layer")
    if len({id(weight) for weight in found}) < len(found):
        return Stack(None, "a weight is used twice")
    functions = tuple(tuple(reversed(part)) for part in reversed(passed[1:-1]))
    return Stack(tuple(reversed(found[1:])), functions=functions)


def given_stack(modules: Sequence[nn.Module]) -> Stack:
    """Return as a stack the layers that a user names, first to last.

    Raises
    ------
    InputError
        If one of them has no weight of two axes or more.
    """
    weights: list[Tensor] = []
    for module in modules:
        weight: Any = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2:
            raise InputError("below", type(module).__name__, "must be modules with a weight of two axes or more")
        weights.append(weight)
    return Stack(tuple(weights))


class Training:
    """Which parameters a training moves, and how fast.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        Of the training; a parameter that none of them has stays. Without any, all are taken to be trained alike.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._rates = {
            id(parameter): (float(group["lr"]), float(group.get("weight_decay", 0.0)))
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    def moves(self, parameter: Tensor) -> bool:
        """Return whether it is trained."""
        return parameter.requires_grad and (not self._rates or id(parameter) in self._rates)

    def alike(self, parameter: Tensor, other: Tensor) -> bool:
        """Return whether both have one learning rate and weight decay."""
        return self._rates.get(id(parameter)) == self._rates.get(id(other))


def rates(stack: Stack, last: Tensor, training: Training) -> tuple[Array | None, str]:
    """Return κ = inputs/‖θ‖² of every layer of a stack that is trained as its last layer is, (m,), or None and why there are none.

    Parameters
    ----------
    stack : Stack
        The layers; of a weight with more than two axes all but the first count as inputs.
    last : Tensor
        The weight of the last layer.
    training : Training
        A weight that it does not move has no rate.

    Notes
    -----
    See :func:`jepalign.linear_models.forecast.layer_rate`. In the forecast's flow layers below learn and decay as the last one does.
    """
    if stack.weights is None:
        return None, stack.why
    moving = [weight for weight in stack.weights if training.moves(weight)]
    if not all(training.alike(weight, last) for weight in moving):
        return None, "its layers are trained at another learning rate or weight decay than its last one"
    lengths = [float(torch.linalg.vector_norm(weight.detach(), dtype=torch.float64)) for weight in moving]
    squares = np.square(lengths)
    inputs = np.array([weight[0].numel() for weight in moving], dtype=np.float64)
    if not (np.isfinite(squares).all() and (LARGEST * squares >= inputs).all()):
        return None, "a layer of it is 0 or not finite"
    return inputs / squares, ""


def _leaf(node: Any) -> Any:
    """Return the tensor that a node accumulates gradients of, through transposes, or the node itself; None for none."""
    end = node
    while end is not None and end.name() in TURNS and len(end.next_functions) == 1:
        end = end.next_functions[0][0]
    variable: Any = getattr(end, "variable", None)
    if isinstance(variable, Tensor):
        return variable
    return node if end is not None else None
