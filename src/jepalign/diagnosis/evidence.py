"""Everything known of one record: moments of embeddings and features, weights, and a predictor, given, fitted or optimal."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from jepalign.diagnosis.gathering import RowBlocks, gather
from jepalign.diagnosis.moments import Moments, from_pairs, from_record
from jepalign.diagnosis.records import BELOW, BIASES, FEATURE_MEANS, Record
from jepalign.diagnosis.stored import Array
from jepalign.errors import InputError

LINEAR = 0.01  # share of a prediction that a matrix may leave unexplained and still stand for the predictor


class Basis(Enum):
    """What the weight w of each dimension rests on, and with it λ = κ/w², σ = s/w² and every margin."""

    FEATURES = "features"
    MEASURED = "measured"
    BALANCE = "balance"
    REST = "rest"

    @property
    def sentence(self) -> str:
        """What this means and what to save to do better."""
        return {
            Basis.FEATURES: (
                "Measured: λ, σ and w, along the eigenvectors of the features' cross-moment, which are what learns. The last "
                "layer's weight and its input features are there."
            ),
            Basis.MEASURED: (
                "Measured: w, and λ and σ with it, along the axes that the embedding has now: what it does not hold yet is not "
                "seen. Save context_features and target_features (the inputs of the last layer), to see all that it could learn."
            ),
            Basis.BALANCE: (
                "Inferred from the predictor: w, by the balance PᵀP = αWWᵀ, which weight decay enforces and Adam breaks. "
                "Save encoder (the last layer, k × h), context_features and target_features (its inputs), to measure it."
            ),
            Basis.REST: (
                "Embeddings alone tell ρ and the variance s, not w: margins assume that the run is at rest, where "
                "η_c/η = (1+x)²/(4x) with x = αs/η is never below 1, so that survivors have s > η/α and a dimension "
                "already lost cannot be seen. Save predictor, or better encoder, context_features and target_features."
            ),
        }[self]


class PredictorSource(Enum):
    """Where the predictor matrix comes from."""

    GIVEN = "given"
    FITTED = "fitted to the predictions"
    OPTIMAL = "least squares (none was given)"


@dataclass(frozen=True, eq=False)
class Evidence:
    """One record, read.

    Attributes
    ----------
    embeddings : Moments
        Of (z, z̄).
    features : Moments or None
        Of the last layer's inputs.
    encoder, target_encoder : ndarray of shape (k, h) or None
        W and V.
    predictor : ndarray of shape (k, k)
        P.
    predictor_source : PredictorSource
        Where it comes from.
    unexplained : float or None
        E‖ẑ − Pz‖²/E‖ẑ‖² about the mean, where predictions are known.
    blocks, feature_blocks : RowBlocks or None
        For the bootstrap, of embeddings and of features, where rows are known.
    uniformity : float or None
        log E exp(−2‖u − u′‖²) of different unit rows of z (Wang & Isola 2020); None where only moments are known.
    dropped, repeated : int
        Rows left out, and rows that repeat others.
    below : tuple of float or None
        Rates of the layers below the last, empty if none is trained; None if they are not known.
    biases : tuple of float or None
        Rates of the biases of these layers; None if they are not known.
    correction : float or None
        E⟨Jz, z̄ − ẑ⟩ by the predictor of every step, as a recorder adds it up, with biases about the mean; None if it was not recorded.
    """

    embeddings: Moments
    features: Moments | None
    encoder: Array | None
    target_encoder: Array | None
    predictor: Array
    predictor_source: PredictorSource
    unexplained: float | None
    blocks: RowBlocks | None
    feature_blocks: RowBlocks | None
    uniformity: float | None
    dropped: int
    repeated: int
    below: tuple[float, ...] | None
    biases: tuple[float, ...] | None
    correction: float | None

    @property
    def basis(self) -> Basis:
        """What w rests on."""
        if self.encoder is not None:
            return Basis.MEASURED if self.features is None else Basis.FEATURES
        return Basis.REST if self.predictor_source is PredictorSource.OPTIMAL else Basis.BALANCE


def read_evidence(record: Record, *, bias: bool = False, drop_nonfinite: bool = False, seed: int = 0) -> Evidence:
    """Read a record: one pass over its rows, or its moments.

    Raises
    ------
    InputError
        For everything that ``gather`` and ``from_record`` refuse.
    """
    blocks, feature_blocks, features, sample, dropped, repeated = None, None, None, None, 0, 0
    fitted: tuple[Array, Array, Array] | None = None
    if record.has_rows:
        rows = gather(record, drop_nonfinite=drop_nonfinite, seed=seed)
        embeddings, blocks, sample = from_pairs(rows.embeddings), rows.blocks, rows.sample
        features = None if rows.features is None else from_pairs(rows.features)
        feature_blocks, dropped, repeated = rows.feature_blocks, rows.dropped, rows.repeated
        if rows.predictions is not None:
            fitted = rows.predictions.covariances(center=bias)
    else:
        embeddings = from_record(record)
        if set(FEATURE_MEANS) <= set(record.arrays):
            features = from_record(record, "features_")
        if {"prediction_moment", "prediction_context_moment"} <= set(record.arrays) and not bias:
            parts = record.read("prediction_moment"), record.read("prediction_context_moment")
            fitted = (embeddings.context, *parts)
    weights = {name: record.read(name) if name in record.arrays else None for name in ("encoder", "target_encoder")}
    predictor, source, unexplained = _predictor(record, embeddings, fitted, bias=bias)
    return Evidence(
        embeddings,
        features,
        weights["encoder"],
        weights["target_encoder"],
        predictor,
        source,
        unexplained,
        blocks,
        feature_blocks,
        _uniformity(record, sample),
        dropped,
        repeated,
        _rates(record, BELOW),
        _rates(record, BIASES),
        _correction(record, embeddings, predictor, bias=bias),
    )


def _correction(record: Record, embeddings: Moments, predictor: Array, *, bias: bool) -> float | None:
    """Return the recorded correction, of whose mean part the last predictor stands for all: it is a product with E(z̄ − ẑ)."""
    found = record.number("correction")
    if found is None or not bias:
        return found
    if "prediction_mean" not in record.arrays:
        return None
    missed = embeddings.target_mean - record.read("prediction_mean")
    return found - float(predictor @ embeddings.context_mean @ missed)


def _rates(record: Record, name: str) -> tuple[float, ...] | None:
    if name not in record.arrays:
        return None
    found = record.read(name)
    if found.size and not (found.min() >= 0 and found.max() <= 1e12):
        raise InputError(name, f"{found.min():.3g} to {found.max():.3g}", "must be between 0 and 1e12")
    return tuple(map(float, found))


def _predictor(
    record: Record, embeddings: Moments, fitted: tuple[Array, Array, Array] | None, *, bias: bool
) -> tuple[Array, PredictorSource, float | None]:
    if "predictor" in record.arrays:
        matrix, source = record.read("predictor"), PredictorSource.GIVEN
    elif fitted is not None:
        matrix, source = _least_squares(fitted[0], fitted[2]), PredictorSource.FITTED
    else:
        context, _, cross = embeddings.about(mean=bias)
        return _least_squares(context, cross), PredictorSource.OPTIMAL, None
    if fitted is None:
        return matrix, source, None
    context, moment, crossed = fitted
    left = float(np.trace(moment) - 2 * np.sum(matrix * crossed) + np.sum(matrix * (matrix @ context)))
    size = float(np.trace(moment))
    return matrix, source, max(left, 0.0) / size if size > 0 else 0.0


def _least_squares(context: Array, cross: Array) -> Array:
    """Return cross·context⁻¹, of the smallest norm where context is singular."""
    values, vectors = np.linalg.eigh(context)
    kept = values > 1e-12 * values[-1]
    return (cross @ vectors[:, kept] / values[kept]) @ vectors[:, kept].T


def _uniformity(record: Record, sample: Array | None) -> float | None:
    if sample is None:
        return record.number("uniformity")
    lengths = np.linalg.norm(sample, axis=1)
    directed = sample[lengths > 1e-20 * lengths.max()]
    if len(directed) < 2:
        raise InputError("context", f"{len(directed)} rows that are not 0", "must be at least 2")
    units = directed / np.linalg.norm(directed, axis=1, keepdims=True)
    # −2‖u − u′‖² = 4u·u′ − 4, between −8 and 0: nothing overflows, and equal rows cost no digits that are missed.
    potential = np.exp(4 * (units @ units.T) - 4)
    np.fill_diagonal(potential, 0.0)
    return float(np.log(potential.sum() / (len(units) * (len(units) - 1))))
