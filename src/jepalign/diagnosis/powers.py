"""Forces on the last layer, contracted with it: attraction, repulsion, the implicit uniformity, and the friction of an EMA target."""

from dataclasses import dataclass

import numpy as np

from jepalign.diagnosis.evidence import Evidence


@dataclass(frozen=True)
class Powers:
    """Powers tr(FWᵀ) of forces F, half the rate at which they change ‖W‖²; all but friction need embeddings and P alone.

    Attributes
    ----------
    attraction : float
        tr PᵀK of the positive pairs, K = E z̄zᵀ (2.1).
    repulsion : float
        −tr PᵀPΦ, which equals explicit negatives on balanced modes (2.1, 2.2).
    uniformity : float
        tr F_uWᵀ = alignment + correction + asymmetry: what predictor and stop-gradient add to plain alignment (2.4).
    alignment : float
        ½E‖z − z̄‖².
    correction : float
        tr Pᵀ(K − PΦ), 0 at the least-squares predictor.
    exact : bool
        Whether the correction was added up step by step, each with its own predictor; otherwise the predictor is the record's, and its sum
        with attraction and repulsion is off by what it moved in the window of the moments.
    asymmetry : float
        ½(E‖z‖² − E‖z̄‖²), 0 on a symmetrised batch.
    friction : float or None
        tr Pᵀ(V − W)Σ_yxWᵀ = −β⁻¹ tr PᵀV̇Σ_yxWᵀ of a target that lags (2.8); None without features, W and V.
    """

    attraction: float
    repulsion: float
    uniformity: float
    alignment: float
    correction: float
    asymmetry: float
    friction: float | None
    exact: bool


def powers(evidence: Evidence, *, bias: bool) -> Powers:
    """Return the powers of a record's forces; with biases the moments are those about the mean, but for ``alignment``'s own."""
    context, target, cross = evidence.embeddings.about(mean=bias)
    P = evidence.predictor
    attraction, repulsion = float(np.sum(P * cross)), -float(np.sum(P * (P @ context)))
    alignment = float(np.trace(context) + np.trace(target)) / 2 - float(np.trace(cross))
    asymmetry = float(np.trace(context) - np.trace(target)) / 2
    exact = evidence.correction is not None
    correction = attraction + repulsion if evidence.correction is None else evidence.correction
    friction = None
    W, V = evidence.encoder, evidence.target_encoder
    if evidence.features is not None and W is not None and V is not None:
        crossed = evidence.features.about(mean=bias)[2]
        friction = float(np.sum(P * ((V - W) @ crossed @ W.T)))
    uniformity = alignment + correction + asymmetry
    return Powers(attraction, repulsion, uniformity, alignment, correction, asymmetry, friction, exact)
