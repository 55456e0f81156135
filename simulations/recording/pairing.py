"""Which embedding belongs to which target: calls of a step paired, and their rows held against each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from jepalign.errors import InputError
from jepalign.simulations.recording.sums import Rows
from jepalign.simulations.recording.taps import Call, Guess

# (call of the encoder, call of the target), counted from 0 within a step.
Pairs = Sequence[tuple[int, int]]
Mask = Tensor | Sequence[Tensor] | None


@dataclass(frozen=True)
class Pair:
    """A call of the encoder, the one of the target that it is to predict, and the prediction, if there is a predictor."""

    context: Call
    target: Call
    prediction: Guess | None = None


def paired(
    contexts: Sequence[Call], targets: Sequence[Call] | None, predictions: Sequence[Guess] | None, pairs: Pairs | None
) -> list[Pair]:
    """Pair the calls of one step.

    Parameters
    ----------
    contexts : sequence of Call
        Of the encoder, in their order.
    targets : sequence of Call or None
        Of the target encoder; None: the encoder is its own target.
    predictions : sequence of Guess or None
        Of the predictor, one for each pair in its order; None: there is no predictor.
    pairs : sequence of (int, int) or None
        Which calls belong together. None: the only ones there are, or both orders of an encoder's two calls.

    Raises
    ------
    InputError
        If a module was not called, or its calls do not say what belongs together.
    """
    if not contexts:
        raise InputError("encoder", "no call", "must be called in an observed step, and watched before it is compiled")
    if targets is not None and not targets:
        raise InputError("target", "no call", "must be called in an observed step, and watched before it is compiled")
    own = targets is None
    second = contexts if targets is None else targets
    if pairs is None:
        if own and len(contexts) == 2:
            pairs = ((0, 1), (1, 0))
        elif not own and len(contexts) == len(second) == 1:
            pairs = ((0, 0),)
        else:
            counts = f"{len(contexts)} calls of the encoder" + ("" if own else f", {len(second)} of the target")
            raise InputError("pairs", counts, "must say which of them belong together, as (call, call) counted from 0")
    if any(not (0 <= first < len(contexts) and 0 <= other < len(second)) for first, other in pairs):
        raise InputError("pairs", list(pairs), f"must be of {len(contexts)} encoder and {len(second)} target calls")
    if predictions is not None and len(predictions) != len(pairs):
        raise InputError(
            "predictor", f"{len(predictions)} calls in a step", f"must be one for each of {len(pairs)} pairs"
        )
    return [
        Pair(contexts[first], second[other], None if predictions is None else predictions[index])
        for index, (first, other) in enumerate(pairs)
    ]


def masks_of(mask: Mask, count: int) -> Sequence[Tensor | None]:
    """Return a mask for each of ``count`` pairs: one of each, or the same for all."""
    if mask is None or isinstance(mask, Tensor):
        return [mask] * count
    if len(mask) != count:
        raise InputError("mask", f"{len(mask)} masks", f"must be one, or one for each of {count} pairs")
    return mask


def rows_of(pair: Pair, mask: Tensor | None, *, limit: int | None = None) -> Rows:
    """Return the rows of a pair.

    Parameters
    ----------
    pair : Pair
        Embeddings (n, ..., k); every axis but the last is counted as rows.
    mask : Tensor or None
        Of the shape (n, ...); rows count where it is not 0.
    limit : int or None
        At most so many rows, taken at equal distances.

    Raises
    ------
    InputError
        If shapes do not match.
    """
    z, target = pair.context.embedding, pair.target.embedding
    if z.shape != target.shape:
        raise InputError(
            "target", f"embeddings {tuple(target.shape)}", f"must be those of the context, {tuple(z.shape)}, row by row"
        )
    guess = Guess(z, z) if pair.prediction is None else pair.prediction
    prediction = guess.prediction
    if prediction.shape != target.shape:
        raise InputError(
            "predictor", f"predictions {tuple(prediction.shape)}", f"must be those of the target, {tuple(target.shape)}"
        )
    if mask is not None and mask.shape != z.shape[:-1]:
        raise InputError("mask", f"array of shape {tuple(mask.shape)}", f"must have the shape {tuple(z.shape[:-1])}")
    count = z[..., 0].numel()
    stride = 1 if limit is None else -(-count // limit)

    def rows(value: Tensor) -> Tensor:
        return value.reshape(count, -1)[::stride]

    streams = {"context": rows(z), "target": rows(target)}
    if pair.prediction is not None:
        streams["prediction"] = rows(prediction)
    for name, call in (("features_context", pair.context), ("features_target", pair.target)):
        if call.features is not None:
            streams[name] = rows(call.features)
    counted = None if mask is None else (mask != 0).to(z.device).reshape(-1)[::stride]
    return Rows(streams, counted, image=None if guess.image is None else rows(guess.image))
