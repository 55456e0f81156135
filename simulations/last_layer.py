"""The flow of the last layer on features that do not move: what the theory predicts from a moment of a training.

With the features h of both views as inputs, a deep encoder's last layer W, its predictor P and the target's last layer V obey the linear
flow of the theory as long as the features stay: their covariances, measured, are all that it needs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.errors import InputError
from jepalign.linear_models import LinearJEPA, Path, ViewPair
from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.simulations.results import numpy
from jepalign.simulations.training import Rates


@dataclass(frozen=True, eq=False)
class LastLayer:
    """Last layer, predictor and target layer of an encoder, and the covariances of the features below.

    Attributes
    ----------
    views : ViewPair
        Σ_x, Σ_y and Σ_yx of the features, (h, h), not centred: second moments are what the flow sees.
    weight : ndarray of shape (k, h)
        W.
    predictor : ndarray of shape (k, k)
        P.
    target : ndarray of shape (k, h)
        V; W itself without a target encoder.
    """

    views: ViewPair
    weight: np.ndarray
    predictor: np.ndarray
    target: np.ndarray

    def flow(self, rates: Rates) -> LinearJEPA:
        """Return the linear JEPA that the last layer obeys while the features stay."""
        return LinearJEPA(
            self.views, predictor_rate=rates.predictor, weight_decay=rates.weight_decay, ema_rate=rates.ema
        )

    def forecast(self, rates: Rates, times: np.ndarray) -> Path:
        """Return the path of W, P and V at ``times``, (T,), from now in flow time, integrated to four digits."""
        lagging = rates.ema is not None
        return self.flow(rates).solve(
            self.weight, self.predictor, times, self.target if lagging else None, method="LSODA", rtol=1e-5, atol=1e-8
        )

    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Return λ and σ of the features, (h,) each: of the generalised eigenvectors of C and Σ_x with unit length, by |λ²/σ|.

        Where C and Σ_x do not commute this is a reading along eigenvectors of C alone: λ its eigenvalues, σ = v·Σ_x v.
        """
        C = (self.views.cross + self.views.cross.T) / 2
        cross, vectors = np.linalg.eigh(C)
        variance = np.einsum("ij,jk,ki->i", vectors.T, self.views.context, vectors)
        order = np.argsort(-critical_weight_decay(cross, np.maximum(variance, 1e-30)))
        return cross[order], variance[order]

    def embedding(self) -> np.ndarray:
        """Return the embedding's second moment WΣ_xWᵀ, (k, k)."""
        return self.weight @ self.views.context @ self.weight.T


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
    return LastLayer(views, weights[0], numpy(predictor.weight).astype(np.float64), weights[1])


def effective_rank(moment: np.ndarray) -> float:
    """Return exp of the entropy of the normalised eigenvalues of a second moment, (k, k) (Roy & Vetterli 2007); 0 for none."""
    values = np.maximum(np.linalg.eigvalsh((moment + moment.T) / 2), 0.0)
    if values.sum() == 0:
        return 0.0
    share = values / values.sum()
    return float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum()))


def surviving(moment: np.ndarray, start: np.ndarray, *, fraction: float = 0.01) -> int:
    """Return how many eigenvalues of an embedding's second moment are above ``fraction`` of the largest one at the start."""
    return int((np.linalg.eigvalsh(moment) > fraction * np.linalg.eigvalsh(start)[-1]).sum())
