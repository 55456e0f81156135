"""Record somebody's training run, so that ``jepalign diagnose`` reads it: a :class:`Recorder` beside any training loop.

    recorder = Recorder(encoder, predictor, target=target, out="run", optimizer=optimizer)
    for x, y in batches:
        ...  # one training step
        recorder.step()
    recorder.close()

A record holds the first and second moments of embeddings, targets, predictions and the inputs of the last layers over
a window of steps, the weights at its end, and the quantities of :class:`jepalign.simulations.probe.Probe` that follow
from them. An encoder whose last layer is not linear, because a normalisation follows, say, is recorded by its
embeddings alone, and ``Recorder.measures`` says so. Below a linear last layer, the rates at which the layers of a plain
stack and their biases move its inputs are recorded as well; of anything else they are not, and ``Recorder.why_not_below`` says why. With
Lightning, :mod:`jepalign.simulations.lightning` does it as a callback.
"""

from jepalign.simulations.recording.recorder import Recorder
from jepalign.simulations.recording.records import Record
from jepalign.simulations.recording.sums import Moments

__all__ = ["Moments", "Record", "Recorder"]
