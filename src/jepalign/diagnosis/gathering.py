"""One pass over the rows of a record: moments of all of it and of its blocks, in memory that does not grow with the rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepalign.diagnosis.formats import reading
from jepalign.diagnosis.records import EMBEDDINGS, FEATURES, Record
from jepalign.diagnosis.stored import BLOCK, Array
from jepalign.errors import InputError
from jepalign.linear_models.moments import PairMoments

SAMPLE = 2048  # rows kept for what needs pairs of rows
BLOCKS, FEWEST, MEMORY = (
    128,
    32,
    2**28,
)  # blocks of rows for the bootstrap: how many, at least, and bytes of their moments
LARGEST = 1e15  # of an entry, so that second moments fit into single precision

Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RowBlocks:
    """Moments of B blocks of neighbouring rows of the context z and the target z̄: what a bootstrap draws.

    Rows that belong together, such as the patches of an image, mostly fall into one block, so that what is drawn is nearly independent.

    Attributes
    ----------
    count : ndarray of shape (B,)
        Rows.
    context_mean, target_mean : ndarray of shape (B, k)
        Means.
    context, target, cross : ndarray of shape (B, k, k)
        Moments about the block's own means, rows of ``cross`` belonging to the target; single precision.
    """

    count: Array
    context_mean: Array
    target_mean: Array
    context: Single
    target: Single
    cross: Single


@dataclass(frozen=True, eq=False)
class Rows:
    """What one pass over the rows keeps.

    Attributes
    ----------
    embeddings : PairMoments
        Of (z, z̄), k dimensions.
    features : PairMoments or None
        Of the inputs of the last layer for both views, h dimensions.
    predictions : PairMoments or None
        Of (z, ẑ).
    blocks, feature_blocks : RowBlocks, RowBlocks or None
        Of (z, z̄), and of the features of both views.
    sample : ndarray of shape (m, k)
        Rows of z, drawn without replacement.
    dropped : int
        Rows left out because they hold NaN or infinity.
    repeated : int
        Rows of z that have been there before, bit by bit.
    """

    embeddings: PairMoments
    features: PairMoments | None
    predictions: PairMoments | None
    blocks: RowBlocks
    feature_blocks: RowBlocks | None
    sample: Array
    dropped: int
    repeated: int


def gather(record: Record, *, drop_nonfinite: bool = False, seed: int = 0) -> Rows:
    """Read the rows of a record once.

    Raises
    ------
    InputError
        If rows hold NaN or infinity and are not to be dropped; if one view does not vary, is the other one, or repeats
        most of its rows; for an entry beyond 1e15.
    """
    stored = record.rows((*EMBEDDINGS, *FEATURES))
    count, width = stored["context"].shape
    widest = max(array.shape[1] for array in stored.values())
    step = max(1, BLOCK // widest)
    predictions = PairMoments(width) if "prediction" in stored else None
    groups = Blocks(count, width)
    features = Blocks(count, stored[FEATURES[0]].shape[1]) if set(FEATURES) <= set(stored) else None
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(SAMPLE, count), replace=False))
    sample: list[Array] = []
    marks = np.empty(count, dtype=np.uint64)
    kept, seen, bad, overflown = 0, 0, 0, False
    identical = True
    with reading(record.path):
        for parts in zip(*(array.blocks(step) for array in stored.values()), strict=True):
            batch = dict(zip(stored, parts, strict=True))
            fine = np.ones(len(parts[0]), dtype=bool)
            for name, values in batch.items():
                here = np.isfinite(values).all(axis=1)
                overflown |= stored[name].kind == "float16" and bool(np.isinf(values).any())
                fine &= here
            mine = chosen[(chosen >= seen) & (chosen < seen + len(fine))] - seen
            seen += len(fine)
            bad += int(len(fine) - fine.sum())
            if bad and not drop_nonfinite:
                continue
            sample.append(batch["context"][mine[fine[mine]]])
            if not fine.all():
                batch = {name: values[fine] for name, values in batch.items()}
            if not fine.any():
                continue
            for name, values in batch.items():
                if (largest := np.abs(values).max()) > LARGEST:
                    raise InputError(name, f"entry of size {largest:.3g}", f"must not exceed {LARGEST:g}")
            z, target = batch["context"], batch["target"]
            marks[kept : kept + len(z)] = _marks(z)
            kept += len(z)
            identical &= bool((z == target).all())
            groups.add(z, target)
            if predictions is not None:
                predictions.update(z, batch["prediction"])
            if features is not None:
                features.add(batch[FEATURES[0]], batch[FEATURES[1]])
    if bad and not drop_nonfinite:
        why = (
            "float16 has overflowed: save float32 or bfloat16, or --drop-nonfinite" if overflown else "--drop-nonfinite"
        )
        raise InputError("rows", f"{bad} of {count} with NaN or infinity", f"must be finite; to leave them out: {why}")
    if kept < 4:
        raise InputError("rows", f"{kept} of {count} finite", "must be at least 4")
    repeated = kept - len(np.unique(marks[:kept]))
    blocks, feature_blocks = groups.done(), None if features is None else features.done()
    _check(groups.whole, identical=identical, repeated=repeated, kept=kept)
    return Rows(
        groups.whole,
        None if features is None else features.whole,
        predictions,
        blocks,
        feature_blocks,
        np.concatenate(sample),
        bad,
        repeated,
    )


def _check(moments: PairMoments, *, identical: bool, repeated: int, kept: int) -> None:
    found = moments.covariances(center=True)
    mean = moments.covariances(center=False)
    for name, spread, size in (("context", found.context, mean.context), ("target", found.target, mean.target)):
        # Rounding of the mean leaves each entry a variance of at most (4 units)² of its square.
        if np.trace(spread) <= 1e-30 * np.trace(size):
            raise InputError(
                name, "the same row again and again", "must vary: it has collapsed to a point, or one row was saved"
            )
        if not 1e-24 <= np.trace(spread) <= 1e24:
            value = f"embeddings of total variance {np.trace(spread):.3g}"
            raise InputError(name, value, "must have one between 1e-24 and 1e24: rescale them")
    if identical:
        raise InputError(
            "target", "equal to context in every row", "must be the embedding of another view of the sample"
        )
    if 2 * repeated >= kept:
        raise InputError(
            "context",
            f"{repeated} of {kept} rows repeat others",
            "must be different samples: duplicates count nothing twice",
        )


def _marks(rows: Array) -> NDArray[np.uint64]:
    """Return a number per row that equal rows share, and different ones with a probability of about 2⁻⁶⁴."""
    words = np.ascontiguousarray(rows).view(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64) * 2 + 1
    mixed = (words ^ (words >> np.uint64(29))) * factors
    return (mixed ^ (mixed >> np.uint64(32))).sum(axis=1, dtype=np.uint64)


class Blocks:
    """Collects rows of pairs, in their order, into blocks of at least two, and reduces each to its moments.

    Attributes
    ----------
    whole : PairMoments
        Of all rows, complete once ``done`` has been called.

    Parameters
    ----------
    rows, width : int
        How many rows there will be, and of how many dimensions.
    """

    def __init__(self, rows: int, width: int) -> None:
        affordable = max(FEWEST, MEMORY // (12 * width * width))
        self.size = max(2, -(-rows // min(BLOCKS, affordable)))
        self.width = width
        self.open = PairMoments(width)
        self.whole = PairMoments(width)
        self.parts: list[tuple[int, Array, Array, Single, Single, Single]] = []

    def add(self, z: Array, target: Array) -> None:
        """Add rows (n, k) of both views."""
        start = 0
        while start < len(z):
            taken = min(self.size - self.open.count, len(z) - start)
            self.open.update(z[start : start + taken], target[start : start + taken])
            start += taken
            if self.open.count == self.size:
                self._close()

    def _close(self) -> None:
        mean, moments = self.open.means(), self.open.covariances()
        context, target, cross = (part.astype(np.float32) for part in moments)
        self.parts.append((self.open.count, *mean, context, target, cross))
        self.whole.merge(self.open)
        self.open = PairMoments(self.width)

    def done(self) -> RowBlocks:
        """Return the blocks."""
        # A last block of a single row, or of much fewer than the others, would be drawn as often as they are.
        if self.open.count >= max(2, self.size // 2) or not self.parts:
            self._close()
        self.whole.merge(self.open)
        columns = list(zip(*self.parts, strict=True))
        self.parts = []
        return RowBlocks(np.array(columns[0], dtype=np.float64), *(np.array(column) for column in columns[1:]))
