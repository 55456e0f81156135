"""The two forms of an entry of the dictionary (2.0), compared on a batch and trained side by side.

The residual form has a predictor P = g(Φ) and no negatives; the explicit form descends U_g and has no predictor.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.linear_models.dictionary import DICTIONARY, SpectralPredictor
from jepalign.simulations.data import PairedViews, both_orders, other_view
from jepalign.simulations.encoders import MLP
from jepalign.simulations.objectives import (
    EXPLICIT,
    Objective,
    prediction_loss,
    residual_loss,
    second_moment,
    spectral_matrix,
)
from jepalign.simulations.probe import covariance
from jepalign.simulations.rounding import UNIT, cotangent_sizes, gradient_bounds, linear_layers, spectral_size
from jepalign.simulations.training import within


@dataclass(frozen=True)
class Comparison:
    """Both forms' gradients on one batch: in each of L layers, first to last, and at the embeddings in the BYOL form.

    Attributes
    ----------
    predicted, observed : ndarray of shape (L + 1,)
        In a layer, the norms of the gradient of U_g and of the residual form's. At the embeddings, those of P times the
        gradient of U_g and of the gradient of ½E‖Pz − sg(z⁺)‖².
    cosine : ndarray of shape (L + 1,)
        Between the two.
    error : ndarray of shape (L + 1,)
        Norm of their difference over its rounding bound.
    """

    predicted: np.ndarray
    observed: np.ndarray
    cosine: np.ndarray
    error: np.ndarray


def compare_forms(
    encoder: MLP,
    x: Tensor,
    y: Tensor,
    name: str,
    *,
    predictor: SpectralPredictor | None = None,
    objective: Objective | None = None,
    symmetric: bool = True,
) -> Comparison:
    """Compare the two forms of the entry ``name`` on the parameters and embeddings of ``encoder``.

    Parameters
    ----------
    encoder : MLP
        Any network with a linear last layer.
    x, y : Tensor of shape (n, d)
        The two views.
    name : str
        A key of ``DICTIONARY``.
    predictor : SpectralPredictor, optional
        The residual form's g; by default that of the entry. Another one is a false sibling.
    objective : callable, optional
        The explicit form's U_g; by default that of the entry. Another one is a false sibling.
    symmetric : bool
        Whether the batch is used in both orders, as the dictionary asks; False breaks its assumption.
    """
    explicit_loss = EXPLICIT[name] if objective is None else objective
    entry = DICTIONARY[name] if predictor is None else predictor
    contexts, targets = both_orders(x, y) if symmetric else (x, y)
    z = encoder(contexts)
    z_plus = other_view(z) if symmetric else encoder(targets)
    moment = second_moment(z.detach())
    matrix = spectral_matrix(entry, moment)
    layers = linear_layers(encoder)
    groups = [list(layer.parameters()) for layer in layers]
    flat = [parameter for group in groups for parameter in group]

    def gradients(loss: Tensor) -> tuple[list[Tensor], Tensor]:
        found = torch.autograd.grad(loss, [*flat, z], retain_graph=True)
        parts = iter(found)
        return [torch.cat([next(parts).flatten() for _ in group]) for group in groups], found[-1]

    explicit, at_embedding = gradients(explicit_loss(z, z_plus))
    residual, _ = gradients(residual_loss(z, z_plus, matrix))
    byol = torch.autograd.grad(prediction_loss(z @ matrix.T, z_plus), z)[0]

    size = spectral_size(entry, torch.linalg.eigvalsh(moment))
    cotangents = cotangent_sizes(z, z_plus, size)
    terms = len(z) + 2 * z.shape[1]
    bounds = [*gradient_bounds(encoder, contexts, cotangents), 2 * terms * UNIT * size * cotangents.norm().item()]
    pairs = [*zip(explicit, residual, strict=True), ((at_embedding @ matrix).flatten(), byol.flatten())]
    return Comparison(
        predicted=np.array([a.norm().item() for a, _ in pairs]),
        observed=np.array([b.norm().item() for _, b in pairs]),
        cosine=np.array([nn.functional.cosine_similarity(a, b, dim=0).item() for a, b in pairs]),
        error=np.array([(a - b).norm().item() / bound for (a, b), bound in zip(pairs, bounds, strict=True)]),
    )


def train_forms(
    start: MLP, views: PairedViews, name: str, *, step_size: float, batch: int, records: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Train both forms of an entry, and a twin of the residual form, from one start on the same batches.

    The twin sees every batch in another order, so that its sums round differently and nothing else does: how far it
    strays is what this training makes of rounding.

    Parameters
    ----------
    start : MLP
        Not changed.
    views : PairedViews
        The data; every batch is used in both orders.
    name : str
        A key of ``DICTIONARY``.
    step_size, batch : float, int
        Gradient step, and pairs per batch.
    records : ndarray of int, shape (R,)
        The steps, ascending, before which to compare; the last is the number of steps made.
    seed : int
        Seeds the batches and the twin's orders.

    Returns
    -------
    dict
        ``predicted``, ``observed``, ``cosine``, ``error`` (R, L + 1) of :class:`Comparison`, on the residual form's
        network; ``separation`` and ``twin_separation`` (R,), distances in parameters of the explicit training and of
        the twin from the residual form's; ``travelled`` (2, R), distances of the residual and the explicit form from
        the start; ``covariance`` (2, R, k, k), that of their embeddings of all views. NaN from a divergence on.
    """
    entry, explicit_loss = DICTIONARY[name], EXPLICIT[name]
    pooled = torch.cat((views.x, views.y))
    residual, explicit, twin = (copy.deepcopy(start) for _ in range(3))
    shuffler = torch.Generator().manual_seed(seed)
    layers, width = len(linear_layers(start)), start.last.out_features
    compared = ("predicted", "observed", "cosine", "error")
    found: dict[str, np.ndarray] = {key: np.full((len(records), layers + 1), np.nan) for key in compared}
    found |= {key: np.full(len(records), np.nan) for key in ("separation", "twin_separation")}
    found["travelled"] = np.full((2, len(records)), np.nan)
    found["covariance"] = np.full((2, len(records), width, width), np.nan)

    def flat(encoder: MLP) -> Tensor:
        return nn.utils.parameters_to_vector(encoder.parameters()).detach()

    def residual_form(z: Tensor) -> Tensor:
        return residual_loss(z, other_view(z), spectral_matrix(entry, second_moment(z)))

    def descend(encoder: MLP, loss: Tensor) -> None:
        parameters = list(encoder.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(step_size * gradient)

    # One batch more than there are steps: the last is only looked at.
    for step, (x, y) in enumerate(views.batches(batch, int(records[-1]) + 1, seed=seed)):
        contexts = both_orders(x, y)[0]
        order = torch.randperm(len(x), generator=shuffler).to(x.device)
        reordered = both_orders(x[order], y[order])[0]
        embeddings = residual(contexts), twin(reordered), explicit(contexts)
        if not within(*embeddings):
            break  # diverged: what was recorded stays, the rest is NaN
        for index in np.flatnonzero(records == step):
            comparison = compare_forms(residual, x, y, name)
            for key in compared:
                found[key][index] = getattr(comparison, key)
            found["separation"][index] = (flat(residual) - flat(explicit)).norm().item()
            found["twin_separation"][index] = (flat(residual) - flat(twin)).norm().item()
            for form, encoder in enumerate((residual, explicit)):
                found["travelled"][form, index] = (flat(encoder) - flat(start)).norm().item()
                with torch.no_grad():
                    found["covariance"][form, index] = covariance(encoder(pooled)).cpu().numpy()
        if step < records[-1]:
            descend(residual, residual_form(embeddings[0]))
            descend(twin, residual_form(embeddings[1]))
            descend(explicit, explicit_loss(embeddings[2], other_view(embeddings[2])))
    return found
