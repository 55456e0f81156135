"""Hooks that see what a module is given and gives in the steps that are observed, and never touch it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jepalign.errors import InputError
from jepalign.simulations.recording.below import Stack, stack_below
from jepalign.simulations.recording.replay import Replay, replay, some

# Terms hW rounded to bfloat16, at random, move their sum by 2⁻⁸ of the root of the sum of their squares. Anything that
# is not rounding moves it by more than this.
ROUNDING = 2.0**-5


@dataclass
class Switch:
    """Whether calls are being taken. Hooks stay registered: a compiled module does not notice later ones."""

    on: bool = False


@dataclass(frozen=True)
class Call:
    """One call of an encoder.

    Attributes
    ----------
    embedding : Tensor of shape (n, ..., k)
        What it gave.
    features : Tensor of shape (n, ..., h) or None
        Inputs of its last layer, if that was seen.
    parameters : tuple of Tensor
        Weight and, if there is one, bias of that layer in this call; empty once it is known whether it gives the embedding.
    inputs : Tensor of shape (n', d) or None
        Some rows of the inputs of the first layer below, where the layers below are a stack that can be called again.
    """

    embedding: Tensor
    features: Tensor | None
    parameters: tuple[Tensor, ...] = ()
    inputs: Tensor | None = None


def silent(*_arguments: object) -> None:
    """Do nothing: the hook of a copy."""


def _silence() -> Callable[..., None]:
    return silent


class Hook:
    """A hook that stays behind: where its module is copied or pickled, the copy has a ``silent`` one.

    An averaged target is often a deep copy of the encoder, and must not be taken for it.
    """

    def __init__(self, action: Callable[..., None]) -> None:
        self.action = action

    def __call__(self, *arguments: Any) -> None:
        """Act; what a module is given and gives stays as it is."""
        self.action(*arguments)

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _silence, ()


def embeddings(output: Any, read: Callable[[Any], object] | None) -> Tensor:
    """Return the embeddings in what a module gives: itself if it is a tensor, else what ``read`` picks out of it."""
    found = output if isinstance(output, Tensor) or read is None else read(output)
    if not isinstance(found, Tensor):
        raise InputError("read", type(found).__name__, "must pick a tensor out of what the module gives")
    if found.ndim < 2 or not found.is_floating_point():
        raise InputError("read", f"{found.dtype} of shape {tuple(found.shape)}", "must pick embeddings (n, ..., k)")
    return found


def kept(value: Tensor) -> Tensor:
    """Return a copy outside the graph: what follows may overwrite a tensor in place."""
    return value.detach().clone()


def parameters_of(layer: nn.Linear) -> tuple[Tensor, ...]:
    """Return the weight of a layer and, if there is one, its bias, as they are now."""
    bias: Tensor | None = getattr(layer, "bias", None)
    return (kept(layer.weight),) if bias is None else (kept(layer.weight), kept(bias))


class EncoderTap:
    """Take the embeddings of an encoder, and the inputs of its last layer.

    Parameters
    ----------
    module : nn.Module
        The encoder.
    last : nn.Linear or None
        Its last layer; None: embeddings only.
    read : callable or None
        Picks the embeddings out of what the module gives, where that is no tensor.
    switch : Switch
        Calls are taken while it is on.
    below : bool
        Whether to look what lies below the last layer.
    """

    def __init__(
        self,
        module: nn.Module,
        last: nn.Linear | None,
        read: Callable[[Any], object] | None,
        switch: Switch,
        *,
        below: bool = False,
    ) -> None:
        self.calls: list[Call] = []
        # Until it is judged whether the last layer gives the embedding, its weight is kept as well; then, if so, its inputs.
        self.judging, self.trusted = True, True
        self._read, self._switch = read, switch
        self._inside = False
        self._features: Tensor | None = None
        self._parameters: tuple[Tensor, ...] = ()
        #: What lies below the last layer, once a call with gradients was seen.
        self.stack: Stack | None = None
        #: The same as layers that can be called again, if that gives the features.
        self.replay: Replay | None = None
        # Inputs of every linear layer below, until it is known which is the first.
        self._inputs: dict[int, Tensor] = {}
        self._last = last if below else None
        self._handles = [
            module.register_forward_pre_hook(Hook(self._enter)),
            module.register_forward_hook(Hook(self._leave)),
        ]
        if last is not None:
            self._handles.append(last.register_forward_pre_hook(Hook(self._collect)))
        if self._last is not None:
            others = [part for part in module.modules() if isinstance(part, nn.Linear) and part is not last]
            self._handles += [part.register_forward_pre_hook(Hook(self._collect_below)) for part in others]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, *_arguments: object) -> None:
        self._inside, self._features, self._parameters = True, None, ()
        self._inputs.clear()

    def _collect(self, module: nn.Linear, arguments: tuple[Any, ...]) -> None:
        # Checkpointing calls layers again in the backward pass, outside of the encoder's own call.
        if self._switch.on and self._inside and self.trusted and arguments:
            self._features = kept(arguments[0])
            if self.judging:
                # By the time that it is judged, the optimiser has moved them.
                self._parameters = parameters_of(module)

    def _collect_below(self, module: nn.Linear, arguments: tuple[Any, ...]) -> None:
        if not (self._switch.on and self._inside and self.trusted and arguments) or torch.compiler.is_compiling():
            return
        first = self.judging if self.replay is None else module is self.replay.layers[0]
        if first:
            self._inputs[id(module)] = kept(some(arguments[0]))

    def _leave(self, module: nn.Module, _arguments: object, output: object) -> None:
        self._inside = False
        if self._switch.on:
            embedding = embeddings(output, self._read)
            # A compiler has no graph of gradients yet, and would break its own here.
            if self.judging and self._last is not None and self.stack is None and not torch.compiler.is_compiling():
                self._look_below(embedding, module, self._last)
            inputs = None if self.replay is None else self._inputs.get(id(self.replay.layers[0]))
            self.calls.append(Call(kept(embedding), self._features, self._parameters, inputs))
            self._features, self._parameters = None, ()
        self._inputs.clear()

    def _look_below(self, embedding: Tensor, module: nn.Module, last: nn.Linear) -> None:
        if embedding.grad_fn is None:
            return
        self.stack = stack_below(embedding, module, last.weight)
        again = replay(self.stack, module)
        if again is not None and self._features is not None:
            inputs = self._inputs.get(id(again.layers[0]))
            self.replay = again if inputs is not None and again.gives(inputs, some(self._features)) else None


@dataclass(frozen=True)
class Guess:
    """One call of a predictor: its predictions (n, ..., k) and, if it is linear but for a bias, Jz, else None."""

    prediction: Tensor
    image: Tensor | None = None


@torch.no_grad()
def guessed(predictor: nn.Module, prediction: Tensor) -> Guess:
    """Return a call of ``predictor`` with its present bias."""
    layer = unwrapped(predictor)
    if not isinstance(layer, nn.Linear):
        return Guess(prediction)
    bias: Tensor | None = getattr(layer, "bias", None)
    return Guess(prediction, prediction if bias is None else prediction - bias)


class PredictorTap:
    """Take the predictions of a predictor; arguments as for ``EncoderTap``."""

    def __init__(self, module: nn.Module, read: Callable[[Any], object] | None, switch: Switch) -> None:
        self.calls: list[Guess] = []
        self._module, self._read, self._switch = module, read, switch
        self._handle = module.register_forward_hook(Hook(self._leave))

    def remove(self) -> None:
        """Take the hook off."""
        self._handle.remove()

    def _leave(self, _module: nn.Module, _arguments: object, output: object) -> None:
        if self._switch.on:
            self.calls.append(guessed(self._module, kept(embeddings(output, self._read))))


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module within the wrappers of compilation and of distributed training."""
    module = getattr(module, "_orig_mod", module)
    return module.module if isinstance(module, DistributedDataParallel) else module


def last_linear(module: nn.Module) -> nn.Linear | None:
    """Return the last linear layer that a module registers; None if it has none."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return layers[-1] if layers else None


@torch.no_grad()
def explained(call: Call) -> bool:
    """Return whether the embeddings of a call are what the last layer makes of the features, to rounding.

    The last linear layer that a module registers need not be the last thing it does: a normalisation, a pooling or a
    residual connection may follow.
    """
    z, h = call.embedding, call.features
    if h is None or h.shape[:-1] != z.shape[:-1] or not call.parameters:
        return False
    # Some rows tell it.
    z, h = z.reshape(-1, z.shape[-1])[:64].double(), h.reshape(-1, h.shape[-1])[:64].double()
    weight, *bias = (parameter.double() for parameter in call.parameters)
    if weight.shape != (z.shape[1], h.shape[1]):
        return False
    spread = h.square() @ weight.square().T
    found = h @ weight.T
    for shift in bias:
        spread, found = spread + shift.square(), found + shift
    return bool((found - z).norm() <= ROUNDING * spread.sum().sqrt())
