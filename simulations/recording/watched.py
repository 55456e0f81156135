"""The modules that a recorder watches: their calls in a step, and which of their layers tell the embedding."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from jepalign.errors import InputError
from jepalign.simulations.recording.below import Stack, Training, given_stack, rates
from jepalign.simulations.recording.pairing import Pair, Pairs, paired
from jepalign.simulations.recording.replay import rates_of_biases, some
from jepalign.simulations.recording.taps import (
    Call,
    EncoderTap,
    Guess,
    PredictorTap,
    Switch,
    embeddings,
    explained,
    guessed,
    last_linear,
    parameters_of,
    unwrapped,
)
from jepalign.simulations.results import numpy

Array = NDArray[np.float64]

LAST_LAYER = "last layer: W, its inputs and the embeddings"
# Layers below a last layer: those that the recorder finds, those that are named, or none that is known.
Below = Sequence[nn.Module] | Literal["found"] | None


class Watched:
    """Encoder, predictor and target of a run, with hooks on them.

    Parameters
    ----------
    encoder, predictor, target, last, features, read, below
        As for :class:`jepalign.simulations.recording.Recorder`.

    Attributes
    ----------
    measures : str
        What is recorded of the encoder, and if it is not all, why.
    why_not_below : str or None
        Why the rates of the layers below the last are not recorded; None if they are.
    why_not_biases : str or None
        The same of the rates of their biases.

    Raises
    ------
    InputError
        If the encoder has no linear layer, and its features are wanted, or a layer that is named has no weight.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module | None,
        target: nn.Module | None,
        *,
        last: nn.Linear | None,
        features: bool,
        read: Callable[[Any], object] | None,
        below: Below = None,
    ) -> None:
        self.encoder, self.predictor, self.target = encoder, predictor, None if target is encoder else target
        self.measures = LAST_LAYER if features else "embeddings: features are not wanted"
        self._read, self._demanded, self._judged = read, last is not None, not features
        self._below = below
        self._stack = Stack(None, "nothing was observed yet" if below == "found" else "they are not wanted")
        if isinstance(below, str) and below != "found":  # pyright: ignore[reportUnnecessaryComparison]
            raise InputError("below", repr(below), 'must be "found", modules, or None')
        if below is not None and not isinstance(below, str):
            self._stack = given_stack(below)
        self.why_not_below: str | None = None if self._stack.weights is not None else self._stack.why
        self.why_not_biases: str | None = self.why_not_below
        self._inputs: Tensor | None = None
        self._switch = Switch()
        self._online: EncoderTap | None = None
        self._goal: EncoderTap | None = None
        self._guess: PredictorTap | None = None
        #: The last layers, W and V, while they are believed to give the embedding.
        self.layer = self.target_layer = None
        if features:
            self.layer = last or last_linear(encoder)
            if self.layer is None:
                condition = "must contain a linear layer (or features=False: embeddings only)"
                raise InputError("encoder", type(encoder).__name__, condition)
            self.target_layer = self.layer if self.target is None else last_linear(self.target)

    @property
    def on(self) -> bool:
        """Whether calls are taken now."""
        return self._switch.on

    @on.setter
    def on(self, value: bool) -> None:
        self._switch.on = value and self._online is not None

    def attach(self) -> None:
        """Put the hooks on."""
        self._online = EncoderTap(self.encoder, self.layer, self._read, self._switch, below=self._below == "found")
        if self.target is not None:
            self._goal = EncoderTap(self.target, self.target_layer, self._read, self._switch)
        if self.predictor is not None:
            self._guess = PredictorTap(self.predictor, self._read, self._switch)

    def detach(self) -> None:
        """Take the hooks off."""
        for tap in self._taps:
            tap.remove()
        self._online = self._goal = self._guess = None
        self.on = False

    def forget(self) -> None:
        """Drop what was kept of this step."""
        for tap in self._taps:
            tap.calls.clear()

    def taken(self, pairs: Pairs | None) -> list[Pair]:
        """Return the calls of this step in pairs; raises ``InputError`` as ``paired`` does."""
        assert self._online is not None
        goals = None if self._goal is None else self._goal.calls
        guesses = None if self._guess is None else self._guess.calls
        found = paired(self._online.calls, goals, guesses, pairs)
        self._judge(found[0])
        return [self._believed(pair) for pair in found]

    def remember(self, pair: Pair, mask: Tensor | None) -> None:
        """Keep the inputs of the layers below in a pair that was taken, of rows that count, until others come."""
        inputs = pair.context.inputs
        if inputs is not None and mask is not None:
            inputs = inputs[some((mask != 0)[..., None])[:, 0].to(inputs.device)]
        self._inputs = inputs

    def given(
        self,
        context: Tensor,
        target: Tensor,
        prediction: Tensor | None,
        features: Tensor | None,
        target_features: Tensor | None,
    ) -> Pair:
        """Return as a pair what the user hands over."""

        def call(rows: Tensor, inputs: Tensor | None, layer: nn.Linear | None) -> Call:
            return Call(embeddings(rows, None), inputs, () if layer is None else parameters_of(layer))

        guess: Guess | None = None
        if prediction is not None and self.predictor is not None:
            guess = guessed(self.predictor, embeddings(prediction, None))
        pair = Pair(call(context, features, self.layer), call(target, target_features, self.target_layer), guess)
        self._judge(pair)
        return self._believed(pair)

    def weights(self, width: int, optimizers: Sequence[Optimizer] = ()) -> dict[str, Array]:
        """Return W, V, P and the rates below W and of biases as far as they are known, P = I of this width where there is no predictor.

        ``optimizers`` are those of the training: layers below that learn otherwise than the last have no rates.
        """
        found = {
            name: _stored(layer.weight)
            for name, layer in (("encoder", self.layer), ("target_encoder", self.target_layer))
            if layer is not None
        }
        if self.predictor is None:
            found["predictor"] = np.eye(width)
        elif isinstance(predictor := unwrapped(self.predictor), nn.Linear):
            found["predictor"] = _stored(predictor.weight)
        if self.layer is None:
            self.why_not_below = self.why_not_biases = "the last layer is not recorded"
            return found
        training = Training(optimizers)
        moved, why = rates(self._stack, self.layer.weight, training)
        self.why_not_below = self.why_not_biases = why or None
        if moved is None or not len(moved):
            return found if moved is None else {**found, "below": moved}
        again = None if self._online is None else self._online.replay
        biases, why = rates_of_biases(again, self._inputs, self.layer.weight, training)
        self.why_not_biases = why or None
        return {**found, "below": moved} | ({} if biases is None else {"biases": biases})

    @property
    def _taps(self) -> list[EncoderTap | PredictorTap]:
        return [tap for tap in (self._online, self._goal, self._guess) if tap is not None]

    def _judge(self, pair: Pair) -> None:
        """See, once, whether the last layers are what gives the embeddings."""
        if self._judged:
            return
        if self.layer is not None and not explained(pair.context):
            if self._demanded:
                raise InputError("last", str(self.layer), "must be the layer whose output is the embedding")
            unseen = pair.context.features is None
            reason = "inputs of its last layer were not seen" if unseen else "it goes on after its last linear layer"
            self.measures = f"embeddings of the encoder: {reason}"
            self.layer = None
        if self.target_layer is not None and not explained(pair.target):
            self.target_layer = None
        self._judged = True
        if self._below == "found":
            seen = None if self._online is None else self._online.stack
            why = "no gradients of the encoder were seen: it is compiled, or its calls were handed over"
            self._stack = seen or Stack(None, why)
        for tap, layer in ((self._online, self.layer), (self._goal, self.target_layer)):
            if tap is not None:
                tap.judging, tap.trusted = False, layer is not None

    def _believed(self, pair: Pair) -> Pair:
        """Return the pair without inputs of layers that do not give its embeddings."""

        def call(found: Call, layer: nn.Linear | None) -> Call:
            known = layer is not None
            return Call(found.embedding, found.features if known else None, inputs=found.inputs if known else None)

        return Pair(call(pair.context, self.layer), call(pair.target, self.target_layer), pair.prediction)


def _stored(weight: Tensor) -> Array:
    """Return a weight as it is now, whatever training makes of it."""
    return numpy(weight.double()).copy()
