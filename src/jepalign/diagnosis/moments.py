"""Second moments of a pair of arrays, from rows or as somebody recorded them."""

from dataclasses import dataclass

import numpy as np

from jepalign.diagnosis.records import Record
from jepalign.diagnosis.stored import Array
from jepalign.errors import InputError
from jepalign.linear_models import ViewPair
from jepalign.linear_models.moments import PairMoments
from jepalign.linear_models.shrinkage import ledoit_wolf, oas

# Second moments recorded in single precision are off by a few of its units, of the product of two root mean squares.
SINGLE = 1e-5


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and second moments of n pairs of rows (z, z̄), both of k dimensions.

    Attributes
    ----------
    count : int
        n.
    context, target, cross : ndarray of shape (k, k)
        E zzᵀ, E z̄z̄ᵀ and E z̄zᵀ, about 0.
    context_mean, target_mean : ndarray of shape (k,)
        E z and E z̄.
    fourth : float or None
        E‖(z, z̄) − mean‖⁴ over what it is for Gaussian pairs of the same covariance: 1 for these, above 1 for heavy tails.
    """

    count: int
    context: Array
    target: Array
    cross: Array
    context_mean: Array
    target_mean: Array
    fourth: float | None

    @property
    def width(self) -> int:
        """The dimension k."""
        return len(self.context)

    def about(self, *, mean: bool) -> tuple[Array, Array, Array]:
        """Return E zzᵀ, E z̄z̄ᵀ and E z̄zᵀ about the means, or about 0."""
        if not mean:
            return self.context, self.target, self.cross
        z, target = self.context_mean, self.target_mean
        return self.context - np.outer(z, z), self.target - np.outer(target, target), self.cross - np.outer(target, z)

    @property
    def alignment(self) -> float:
        """½E‖z − z̄‖²."""
        return float(np.trace(self.context) + np.trace(self.target)) / 2 - float(np.trace(self.cross))

    @property
    def mean_share(self) -> float:
        """The share of E‖z‖² that is the mean's: 0 for centred embeddings, 1 for a point."""
        return float(self.context_mean @ self.context_mean / np.trace(self.context))

    def shrinkage(self) -> float:
        """Return how much the covariance of (z, z̄) is to shrink towards a multiple of I: 0 unless rows are fewer than its dimensions."""
        if self.count >= 2 * self.width:
            return 0.0
        context, target, cross = self.about(mean=True)
        joint = np.block([[context, cross.T], [cross, target]])
        if self.fourth is None:
            return oas(joint, self.count)
        return ledoit_wolf(joint, self.fourth * _gaussian_fourth(context, target, cross), self.count)

    def covariances(self) -> tuple[Array, Array, Array]:
        """Return the moments about the means, shrunk by ``shrinkage``."""
        amount, (context, target, cross) = self.shrinkage(), self.about(mean=True)
        if not amount:
            return context, target, cross
        ridge = amount * float(np.trace(context) + np.trace(target)) / (2 * self.width) * np.eye(self.width)
        return (1 - amount) * context + ridge, (1 - amount) * target + ridge, (1 - amount) * cross

    def views(self, *, mean: bool) -> ViewPair:
        """Return the moments as views, with what rounding has made indefinite mended."""
        context, target, cross = self.about(mean=mean)
        try:
            return ViewPair.from_covariances(context, target, cross)
        except InputError:
            joint = np.block([[context, cross.T], [cross, target]])
            values, vectors = np.linalg.eigh(joint)
            joint = (vectors * np.maximum(values, 0.0)) @ vectors.T
            k = self.width
            return ViewPair.from_covariances(joint[:k, :k], joint[k:, k:], joint[k:, :k])


def _gaussian_fourth(context: Array, target: Array, cross: Array) -> float:
    """Return E‖(z, z̄)‖⁴ = (tr J)² + 2‖J‖² of centred Gaussian pairs with the covariance J."""
    square = float(np.sum(context**2) + np.sum(target**2) + 2 * np.sum(cross**2))
    return float(np.trace(context) + np.trace(target)) ** 2 + 2 * square


def from_pairs(pairs: PairMoments) -> Moments:
    """Return the moments of rows that were counted."""
    context, target, cross = pairs.covariances(center=False)
    about = pairs.covariances(center=True)
    return Moments(pairs.count, context, target, cross, *pairs.means(), pairs.fourth() / _gaussian_fourth(*about))


def from_record(record: Record, prefix: str = "") -> Moments:
    """Return the moments that a record holds instead of rows, those of the features with ``prefix`` "features_".

    Raises
    ------
    InputError
        If they are not finite, not symmetric, or no covariance beyond the rounding of single precision; if the views do
        not vary or are the same.
    """
    count = float(record.read("count").ravel()[0])
    if not (count >= 4 and count == int(count)):
        raise InputError("count", count, "must be an integer, at least 4")

    def read(name: str) -> Array:
        return record.read(prefix + name)

    context, target = (_symmetric(prefix + name, read(name)) for name in ("context_moment", "target_moment"))
    means = read("context_mean"), read("target_mean")
    cross = read("cross_moment")
    fourth = None
    if not prefix and (seen := record.number("context_fourth")) is not None:
        about = context - np.outer(means[0], means[0])
        gaussian = float(np.trace(about)) ** 2 + 2 * float(np.sum(about**2))
        fourth = seen / gaussian if gaussian > 0 and seen > 0 else None
    found = Moments(int(count), context, target, cross, *means, fourth)
    _check(found, prefix)
    return found


def _symmetric(name: str, value: Array) -> Array:
    defect, size = np.abs(value - value.T).max(), np.abs(value).max()
    if defect > SINGLE * size:
        raise InputError(name, f"matrix with an asymmetry of {defect:.3g}", "must be symmetric")
    return (value + value.T) / 2


def _check(moments: Moments, prefix: str) -> None:
    context, target, cross = moments.about(mean=True)
    for name, spread, size in (("context", context, moments.context), ("target", target, moments.target)):
        if np.trace(spread) <= 1e-10 * np.trace(size):
            raise InputError(f"{prefix}{name}_moment", "that of a point", "must vary: the embeddings have collapsed")
        if not 1e-24 <= np.trace(spread) <= 1e24:
            raise InputError(
                f"{prefix}{name}_moment", f"trace {np.trace(spread):.3g}", "must be between 1e-24 and 1e24"
            )
    joint = np.block([[context, cross.T], [cross, target]])
    squares = np.concatenate((np.diag(moments.context), np.diag(moments.target)))
    units = np.sqrt(np.where(squares > 0, squares, 1.0))
    least = float(np.linalg.eigvalsh(joint / np.outer(units, units))[0])
    if least < -SINGLE * len(joint):
        value = f"moments with the eigenvalue {least:.3g} in units of standard deviations"
        raise InputError(f"{prefix}cross_moment", value, "must be those of some pair of views: positive semidefinite")
    if not prefix and moments.alignment <= 1e-12 * np.trace(moments.context):
        raise InputError("target_moment", "those of the context", "must be those of another view of the sample")
