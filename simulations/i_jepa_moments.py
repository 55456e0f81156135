"""What the theory asks of a masked JEPA on images: implicit power, the modes of its last layer, which of them weight decay takes."""

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.simulations.encoders import PatchPredictor, VisionTransformer
from jepalign.simulations.masked_images import Moment
from jepalign.simulations.patch_masks import BlockSampler
from jepalign.simulations.probe import Probe
from jepalign.simulations.results import numpy

# The published weight of C-JEPA's variance hinge inside its VICReg term, and the ε in its root.
VARIANCE, EPSILON = 25.0, 1e-4
TINY = 1e-30


class Seen(nn.Module):
    """An encoder that shows the same patches of every batch: images (n, side²) to (n, t, k)."""

    def __init__(self, encoder: VisionTransformer, visible: Tensor) -> None:
        super().__init__()
        self.encoder, self.visible = encoder, visible

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings of the visible patches."""
        return self.encoder(x, self.visible)


class Asked(nn.Module):
    """A predictor that is asked for the same patches of every batch: (n, t, k) to (n, t, k)."""

    def __init__(self, predictor: PatchPredictor, visible: Tensor, hidden: Tensor) -> None:
        super().__init__()
        self.predictor, self.visible, self.hidden = predictor, visible, hidden

    def forward(self, z: Tensor) -> Tensor:
        """Return the predicted embeddings of the hidden patches."""
        return self.predictor(z, self.visible, self.hidden)


class Whole(nn.Module):
    """A target encoder that sees whole images and gives the hidden patches: (n, side²) to (n, t, k)."""

    def __init__(self, encoder: VisionTransformer, hidden: Tensor, *, normalize: bool) -> None:
        super().__init__()
        self.encoder, self.hidden, self.normalize = encoder, hidden, normalize

    def forward(self, x: Tensor) -> Tensor:
        """Return the target embeddings of the hidden patches, after a layer norm where training has one."""
        z = self.encoder(x)
        if self.normalize:
            z = functional.layer_norm(z, (z.shape[-1],))
        return z.gather(1, self.hidden[..., None].expand(-1, -1, z.shape[-1]))


def implicit_power(moment: Moment, *, images: int = 32) -> dict[str, float]:
    """Return the terms of the power identity 2.4 for one target block, in float64.

    Plain alignment pairs patches, so the context is cut to as many patches as the block has, evenly over those visible.

    Returns
    -------
    dict
        ``observed``, tr(F_uWᵀ) by gradients on the last layer; ``predicted``, the sum of ``alignment``, ``correction`` and ``asymmetry``;
        ``size``, of what was added up, for tolerances.
    """
    encoder, target, predictor = (
        copy.deepcopy(module).double().requires_grad_(module is not moment.target)
        for module in (moment.encoder, moment.target, moment.predictor)
    )
    visible, hidden = moment.masks.visible[:images], moment.masks.hidden[:images, 0]
    pairs = min(visible.shape[1], hidden.shape[1])
    even = torch.linspace(0, visible.shape[1] - 1, pairs, device=visible.device).round().long()
    visible, hidden = visible[:, even], hidden[:, :pairs]
    x = moment.images[:images].double()
    probe = Probe(
        Seen(cast("VisionTransformer", encoder), visible),
        Asked(cast("PatchPredictor", predictor), visible, hidden),
        target=Whole(cast("VisionTransformer", target), hidden, normalize=moment.normalize_targets),
        last=cast("VisionTransformer", encoder).last,
    )
    # J z is differentiated twice, which fused attention is not.
    with sdpa_kernel(SDPBackend.MATH):
        seen = probe.observe(x, x)
    size = sum(part.square().sum(1).mean().item() for part in (seen.embedding, seen.target, seen.prediction))
    return {
        "observed": seen.power,
        "predicted": seen.predicted_power,
        "alignment": seen.alignment,
        "correction": seen.correction,
        "asymmetry": seen.asymmetry,
        "size": size,
    }


@dataclass(frozen=True)
class Modes:
    """The last layer's modes, (h,) each, largest η_c = λ²/(4σ) first.

    Attributes
    ----------
    cross : ndarray
        λ: eigenvalues of the symmetrised second moment of features of the context with those of the hidden patches.
    variance : ndarray
        σ: second moment of the context's features along each.
    centred : ndarray
        Their variance along each, which is what a variance hinge sees.
    """

    cross: np.ndarray
    variance: np.ndarray
    centred: np.ndarray

    @property
    def critical(self) -> np.ndarray:
        """η_c of each mode."""
        return critical_weight_decay(self.cross, self.variance)


@torch.no_grad()
def last_layer_modes(moment: Moment, images: Tensor, *, seed: int) -> Modes:
    """Measure the modes on ``images`` with masks drawn anew; features are averaged over the visible and over the hidden patches."""
    masks = BlockSampler(moment.encoder.grid).draw(len(images), torch.Generator().manual_seed(seed))
    visible, hidden = masks.visible.to(images.device), masks.hidden.flatten(1).to(images.device)
    context = moment.encoder.features(images, visible).mean(1)
    whole = moment.target.features(images)
    asked = whole.gather(1, hidden[..., None].expand(-1, -1, whole.shape[-1])).mean(1)
    h, other = (numpy(part).astype(np.float64) for part in (context, asked))
    cross = other.T @ h / len(h)
    values, vectors = np.linalg.eigh((cross + cross.T) / 2)
    along = h @ vectors
    variance, centred = (along**2).mean(0).clip(TINY), along.var(0).clip(TINY)
    order = np.argsort(-critical_weight_decay(values, variance))
    return Modes(values[order], variance[order], centred[order])


def flow_decay(weight_decay: float, scale: float, width: int) -> float:
    """Return the weight decay η of the gradient flow that AdamW's decoupled one amounts to at the last layer.

    AdamW moves W by −ε(G/s + ηW), s the root mean square of past gradients: at rest G = −sηW. The trained loss is a mean over the
    ``width`` dimensions, the theory's a sum.
    """
    return width * scale * weight_decay


def survivors(
    modes: Modes, decay: float, retained: float, *, explicit: float = 0.0, floor: float = EPSILON, lost: float = 0.1
) -> int:
    """Return how many modes the theory keeps alive under the weight decay ``decay`` of the flow.

    A mode with λ² > 4ησ can survive (4.3; that it starts beyond its p₋ is taken for granted), and one that an explicit variance
    hinge of weight γ repels from 0 must: γσ > η√ε (4.6). The others are lost if the training is long enough for decay alone to take them
    below ``lost``.

    Parameters
    ----------
    modes : Modes
        λ and σ of the features.
    decay : float
        η, as :func:`flow_decay` gives it.
    retained : float
        What decay alone leaves of a matrix over the training.
    explicit : float
        γ of the hinge: ``VARIANCE`` times the weight of the VICReg term; 0: none.
    floor : float
        The variance of a coordinate of the embedding where the mode is at 0: ε if, as 4.6 has it, each mode has a coordinate of its own; of
        coordinates that other modes share, their variance.
    lost : float
        Share of its start below which a mode counts as lost.
    """
    if retained >= lost:
        return len(modes.cross)
    return int(((modes.critical > decay) | (explicit * modes.centred > decay * np.sqrt(floor))).sum())


def kept_dimensions(weight: np.ndarray, start: np.ndarray, *, lost: float = 0.1) -> int:
    """Return how many singular values of the last layer are above ``lost`` times the median one at the start."""
    found, first = (np.linalg.svd(matrix, compute_uv=False) for matrix in (weight, start))
    return int((found > lost * np.median(first)).sum())


def participation(z: np.ndarray) -> float:
    """Return over how many coordinates the first principal direction of embeddings (n, k) spreads: 1/Σvᵢ⁴, between 1 and k."""
    centred = z - z.mean(0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return float(1 / (direction**4).sum())
