"""The last layer of an encoder in training, measured on a batch: what the theory forecasts its run from.

The measurement itself and what is told from it are :mod:`jepalign.linear_models.forecast`.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.forecast import LastLayer, layer_rate
from jepalign.simulations.results import numpy


@torch.no_grad()
def last_layer(
    encoder: nn.Module,
    predictor: nn.Linear,
    x: Tensor,
    y: Tensor,
    *,
    target: nn.Module | None = None,
    symmetrize: bool = False,
) -> LastLayer:
    """Measure the last layer of a trained or untrained encoder on two views, (n, d) each.

    Parameters
    ----------
    encoder : nn.Module
        With ``backbone`` and ``last``, as the encoders of this package have them.
    predictor : nn.Linear
        Without bias.
    x, y : Tensor
        Context and target views.
    target : nn.Module, optional
        Target encoder; None: the encoder.
    symmetrize : bool
        Use every pair in both orders; only without a target encoder.

    Returns
    -------
    LastLayer
        With the rates of the layers below and of their biases where the backbone has them, see :func:`rates_below` and
        :func:`rates_of_biases`.

    Raises
    ------
    InputError
        If an encoder has no ``backbone`` and ``last``.
    """
    for module in (encoder, target or encoder):
        if not (
            isinstance(getattr(module, "backbone", None), nn.Module)
            and isinstance(getattr(module, "last", None), nn.Linear)
        ):
            raise InputError("encoder", type(module).__name__, "must have a backbone and a last linear layer")
    features = numpy(encoder.backbone(x)), numpy((target or encoder).backbone(y))  # type: ignore[operator]
    first, second = (part.astype(np.float64) for part in features)
    views = ViewPair.from_samples(first, second, symmetrize=symmetrize, center=False)
    weights = [numpy(module.last.weight).astype(np.float64) for module in (encoder, target or encoder)]  # type: ignore[union-attr]
    P = numpy(predictor.weight).astype(np.float64)
    backbone: nn.Module = encoder.backbone  # type: ignore[assignment]
    below = rates_below(backbone)
    biases: tuple[float, ...] = ()
    means = first.mean(0), second.mean(0)
    if symmetrize:
        means = (means[0] + means[1]) / 2, (means[0] + means[1]) / 2
    if below:
        batch = torch.cat((x, y)) if symmetrize else x
        found = rates_of_biases(backbone, dict(backbone.named_parameters()), batch)
        biases = tuple(float(value) for value in found) if found.any() else ()
    return LastLayer(views, weights[0], P, weights[1], below, biases, means)


def rates_below(backbone: nn.Module) -> tuple[float, ...]:
    """Return the rates κ at which the layers of a backbone move its features, from the first to the last.

    Empty unless it is a sequence of linear layers and pointwise nonlinearities: behind a normalisation features do not shrink with the
    weights, and what a convolution or an attention is worth as a linear layer is not known.
    """
    if not isinstance(backbone, nn.Sequential):
        return ()
    if not all(isinstance(part, nn.Linear | nn.Identity | nn.Tanh | nn.ReLU | nn.GELU) for part in backbone):
        return ()
    return tuple(layer_rate(numpy(part.weight)) for part in backbone if isinstance(part, nn.Linear))


def rates_of_biases(backbone: nn.Module, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the rates ν at which the biases of the layers of a backbone move its mean feature, (layers,), from the first to the last.

    ν = ‖∂E h/∂b‖²/h over the entries of the (h, outputs) matrix, on inputs ``x``, (n, d); 0 for a layer without a bias. ``state`` are the
    backbone's parameters; may be mapped over with ``torch.func.vmap``.
    """
    layers = [name.removesuffix("weight") for name in state if name.endswith("weight")]
    biases = {name: value for name, value in state.items() if name.endswith("bias")}

    def mean(own: dict[str, Tensor]) -> Tensor:
        return functional_call(backbone, {**state, **own}, (x,)).mean(0)

    slopes: dict[str, Tensor] = jacrev(mean)(biases) if biases else {}  # pyright: ignore[reportAssignmentType]
    none = x.new_zeros(())
    found = [slopes[f"{own}bias"].square().sum(1).mean() if f"{own}bias" in slopes else none for own in layers]
    return torch.stack(found)
