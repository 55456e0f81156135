"""What a mask leaves alive: modes, thresholds and surviving rank of masked views (7.2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.canonical import ROUNDINGS, whitening
from jepalign.linear_models.checks import count
from jepalign.linear_models.collapse.thresholds import surviving_rank
from jepalign.linear_models.masking.laws import Masks
from jepalign.linear_models.modal import rates
from jepalign.linear_models.views import Array, ViewPair


@dataclass(frozen=True, eq=False)
class MaskSpectrum:
    """The modes of views, and the weight decay that each of them survives.

    Attributes
    ----------
    aligned : bool
        Whether Σ_x and Σ_yx are symmetric and commute, as under masks of a circle: the modes are then independent.
    correlation : ndarray of shape (r,)
        ρ of vΣ_yx = ρvΣ_x, ordered by descending size, complex where a pair of them is; r is the rank of Σ_x. Not
        bounded by 1, as Σ_y is another matrix than Σ_x. Aligned: λ/σ.
    cross, variance : ndarray of shape (r,)
        λ = ρσ and σ = vΣ_xv*, the moments along v of length 1, in the same order.
    threshold : ndarray of shape (r,)
        Descending. Aligned: λ²/(4σ), the weight decay η at which a mode dies. Otherwise the eigenvalues of
        Σ_yxΣ_x⁻¹Σ_yxᵀ/4, which are these numbers where the views are aligned and bound the rank elsewhere.
    """

    aligned: bool
    correlation: NDArray[np.inexact[Any]]
    cross: NDArray[np.inexact[Any]]
    variance: Array
    threshold: Array

    def surviving_rank(self, weight_decay: ArrayLike) -> NDArray[np.int64]:
        """Return how many dimensions a JEPA with a learnt predictor and V = W can keep at rest.

        Parameters
        ----------
        weight_decay : array_like
            η ≥ 0, of encoder and predictor.

        Returns
        -------
        ndarray of int, of the shape of ``weight_decay``
            Aligned: the number of modes with λ² > 4ησ, each by itself; attained where each starts large enough.
            Otherwise the largest k such that the product of the k largest thresholds is at least ηᵏ, which no
            equilibrium exceeds in rank; 0 says that all of them are collapsed. It need not be attained.

        Raises
        ------
        InputError
            If a weight decay is negative, not finite, or neither 0 nor between 1e-30 and 1e30.

        Notes
        -----
        Ours. At rest PᵀR = ηW and αRWᵀ = ηP with R = WΣ_yx − PWΣ_x, so that WWᵀ = PᵀP/α. With W = UDQᵀ and
        P = √αVDUᵀ the first reads A = B + E, A = VᵀWΣ_yxΣ_x^{−1/2}, B = √αD²QᵀΣ_x^{1/2}, E = ηQᵀΣ_x^{−1/2}/√α. As
        BEᵀ = ηD² is symmetric, AAᵀ = (B−E)(B−E)ᵀ + 4ηD² ⪰ 4ηD². The determinants of both sides, with that of a
        compression of Σ_yxΣ_x⁻¹Σ_yxᵀ at most the product of its largest eigenvalues, are the bound.
        """
        decay = rates("weight_decay", weight_decay, zero=True)
        if self.aligned:
            return surviving_rank(*self._real_modes(), decay)
        kept = self.threshold[self.threshold > 0]
        if not kept.size:
            return np.zeros(decay.shape, dtype=np.int64)
        with np.errstate(divide="ignore"):
            level = np.log(decay)[..., None]
        # The mean of the k largest logarithms falls with k: those at least log η are the first ones.
        mean = np.cumsum(np.log(kept)) / np.arange(1, len(kept) + 1)
        # Rounding of a sum of logarithms: an equilibrium at the bound must not be excluded.
        return np.count_nonzero(mean + 1e-12 * (1 + np.abs(mean)) >= level, axis=-1).astype(np.int64)

    def largest_weight_decay(self, rank: int) -> float:
        """Return the weight decay from which on fewer than ``rank`` K ≥ 1 dimensions can be kept; 0 if there are fewer.

        Aligned: the K-th largest threshold. Otherwise the geometric mean of the K largest, which no equilibrium of rank K exceeds and
        none need attain; see ``surviving_rank``. Raises ``InputError`` unless ``rank`` is a positive integer.
        """
        leading = self.threshold[: count("rank", rank)]
        if len(leading) < rank or leading[-1] <= 0:
            return 0.0
        return float(leading[-1] if self.aligned else np.exp(np.log(leading).mean()))

    def _real_modes(self) -> tuple[Array, Array]:
        """Return λ and σ with one dead mode in place of none."""
        if not self.variance.size:
            return np.zeros(1), np.ones(1)
        return np.real(self.cross).astype(float), self.variance


def spectrum(views: ViewPair) -> MaskSpectrum:
    """Return the modes of any views, masked or not; raises nothing of its own. Cost O(d³).

    Aligned views have their modes by an orthogonal eigenproblem; all others by the generalised one vΣ_yx = ρvΣ_x, whose
    complex pairs are planes that turn. Directions without variance are left out.
    """
    try:
        found = views.modes()
    except InputError:
        return _generalised(views)
    kept = found.variance > ROUNDINGS * views.dimension * np.finfo(float).eps * found.variance.max()
    cross, sigma = found.cross[kept], found.variance[kept]
    order = np.argsort(-np.abs(cross / sigma), kind="stable")
    cross, sigma = cross[order], sigma[order]
    return MaskSpectrum(True, cross / sigma, cross, sigma, np.sort(cross / sigma * cross / 4)[::-1])


def mask_spectrum(tokens: ArrayLike, masks: Masks, target: Literal["output", "input"] = "output") -> MaskSpectrum:
    """Return what masks make of tokens: the modes and thresholds of ``ViewPair.masked(tokens, masks, target)``.

    On a circle, where every token is masked alike, and under masks that treat all pairs alike the modes are those of the
    tokens: Kac, Murdock & Szegő 1953 for exponential correlation on a line. A block on a line has others.

    Parameters
    ----------
    tokens : array_like of shape (n, n)
        The covariance of the tokens, for example ``exponential_tokens``.
    masks : MaskLaw, IndependentMasks, MultiBlockMasks or BlockMask
        The law of the masks over n tokens.
    target : "output" or "input"
        Whether the target encoder sees all tokens or the hidden ones.

    Raises
    ------
    InputError
        As ``ViewPair.masked`` does.
    """
    return spectrum(ViewPair.masked(tokens, masks, target))


def rank_map(
    tokens: ArrayLike, laws: Iterable[Masks], weight_decay: ArrayLike, target: Literal["output", "input"] = "output"
) -> NDArray[np.int64]:
    """Return the surviving rank over masks and weight decays, of shape (number of laws, *shape of ``weight_decay``).

    Parameters
    ----------
    tokens : array_like of shape (n, n)
        The covariance of the tokens.
    laws : iterable of masks
        For example ``[BlockMask(n, b) for b in range(1, n)]``, or ``IndependentMasks(n, q)`` over ratios q.
    weight_decay : array_like
        η ≥ 0.
    target : "output" or "input"
        As in ``mask_spectrum``.

    Returns
    -------
    ndarray of int
        ``MaskSpectrum.surviving_rank``: a bound where a mask leaves the modes coupled.

    Raises
    ------
    InputError
        As ``ViewPair.masked`` and ``MaskSpectrum.surviving_rank`` do, or if there is no law.
    """
    ranks = [mask_spectrum(tokens, law, target).surviving_rank(weight_decay) for law in laws]
    if not ranks:
        raise InputError("laws", "no masks", "must have at least one")
    return np.stack(ranks)


def _generalised(views: ViewPair) -> MaskSpectrum:
    units, inverse = whitening(views.context)
    root = inverse / units[:, None]  # RᵀΣ_xR = I
    coupling = views.cross @ root
    threshold = (np.linalg.svd(coupling, compute_uv=False) / 2) ** 2
    # v = aRᵀ solves vΣ_yx = ρvΣ_x on what has variance if a is a left eigenvector of RᵀΣ_yxR.
    whitened = root.T @ coupling
    if np.array_equal(views.cross, views.cross.T):
        values, vectors = np.linalg.eigh((whitened + whitened.T) / 2)
    else:
        values, vectors = np.linalg.eig(whitened.T)
    rows = root @ vectors
    rows = rows / np.linalg.norm(rows, axis=0)
    variance = np.einsum("ij,ij->j", rows.conj(), views.context @ rows).real
    order = np.argsort(-np.abs(values), kind="stable")
    values, variance = values[order], variance[order]
    return MaskSpectrum(False, values, values * variance, variance, threshold[: len(values)])
