"""Two views of one sample, as everything that a linear encoder sees of them: three covariances."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.canonical import pairs_of, standard_deviations
from jepalign.linear_models.checks import matrix
from jepalign.linear_models.masking.laws import Masks
from jepalign.linear_models.masking.world_model import stationary_covariance
from jepalign.linear_models.moments import PairMoments, gathered
from jepalign.linear_models.shrinkage import Estimator, shrunk

Array = NDArray[np.float64]

# Relative size of what is taken for rounding: a moment summed over n samples in float64 is off by at most n·1.1e-16 of
# the product of the two standard deviations, usually √n·1.1e-16. float32 moments (6e-8) are refused: symmetrise them.
ROUNDING = 1e-10


class Modes(NamedTuple):
    """Views whose Σ_x and Σ_yx share eigenvectors, mode by mode, in descending order of λ.

    Attributes
    ----------
    cross, variance : ndarray of shape (d,)
        λ and σ, eigenvalues of Σ_yx and Σ_x.
    directions : ndarray of shape (d, d)
        The shared eigenvectors, one per column.
    """

    cross: Array
    variance: Array
    directions: Array


@dataclass(frozen=True, eq=False)
class ViewPair:
    """The second moments of a context view x and a target view y of one sample, both centred.

    Attributes
    ----------
    context, target : ndarray of shape (d, d)
        Σ_x = E xxᵀ and Σ_y = E yyᵀ, read-only.
    cross : ndarray of shape (d, d)
        Σ_yx = E yxᵀ: rows belong to the target. Read-only.

    Raises
    ------
    InputError
        If a matrix is not finite, not square, or of another size than the context's; if a covariance is not symmetric
        or not positive semidefinite; if the joint covariance of (x, y) is not, which is to say that two directions
        violate Cauchy–Schwarz. Violations below 1e-10, relative to standard deviations, are taken for rounding.
    """

    context: Array
    target: Array
    cross: Array

    def __post_init__(self) -> None:
        context = _square("context", self.context)
        target = _square("target", self.target, len(context))
        cross = _square("cross", self.cross, len(context))
        context, target = covariance("context", context), covariance("target", target)
        _check_joint(context, target, cross)
        for name, value in (("context", context), ("target", target), ("cross", cross.copy())):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[type[Self], tuple[Array, Array, Array]]:
        # Built anew by whoever unpickles or copies: read-only arrays would come back writeable.
        return type(self), (self.context, self.target, self.cross)

    @classmethod
    def from_covariances(cls, context: ArrayLike, target: ArrayLike, cross: ArrayLike) -> Self:
        """Return the views with these Σ_x, Σ_y and Σ_yx = E yxᵀ, each (d, d); raises as the class does."""
        return cls(matrix("context", context), matrix("target", target), matrix("cross", cross))

    @classmethod
    def from_samples(
        cls,
        x: ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]],
        y: ArrayLike | None = None,
        *,
        symmetrize: bool = False,
        center: bool = True,
        shrinkage: Estimator | None = None,
    ) -> Self:
        """Estimate the views from n pairs, as means over n (no correction for the estimated mean).

        Samples are read once, in chunks: a memory map, or batches that are made as they are asked for, never sit in
        memory as a whole. A mean far above the standard deviation costs no digits. Cost nd².

        Parameters
        ----------
        x, y : array_like of shape (n, d)
            Row i of both is sample i; n at least 2. Without ``y``, x is an iterable of batches: pairs (x, y) of
            arrays of shape (b, d), where b may differ from batch to batch.
        symmetrize : bool
            Use every pair in both orders: the views are then exchangeable, whatever the sample.
        center : bool
            Remove the mean of each view first; with ``symmetrize`` that of both together.
        shrinkage : "ledoit-wolf", "oas" or None
            Shrink the covariance of (x, y) towards a multiple of I: Ledoit & Wolf 2004, or the oracle approximating
            shrinkage of Chen et al. 2010. See ``jepalign.linear_models.shrinkage.shrunk``.

        Raises
        ------
        InputError
            If the samples are not paired, not finite or fewer than two, or the estimator is unknown.
        """
        return cls.from_moments(gathered(x, y), symmetrize=symmetrize, center=center, shrinkage=shrinkage)

    @classmethod
    def from_moments(
        cls,
        moments: PairMoments,
        *,
        symmetrize: bool = False,
        center: bool = True,
        shrinkage: Estimator | None = None,
    ) -> Self:
        """Return the views of pairs counted elsewhere, with the options of ``from_samples``.

        Workers may each count their share and merge; raises ``InputError`` with fewer than two pairs.
        """
        return cls(*shrunk(moments, shrinkage, symmetrize=symmetrize, center=center))

    @classmethod
    def additive_noise(cls, signal: ArrayLike, noise: ArrayLike) -> Self:
        """Return x = u + ξ, y = u + ξ′: independent parts, Cov u = ``signal`` and Cov ξ = Cov ξ′ = ``noise``, (d, d).

        Raises
        ------
        InputError
            If one of the two is not a covariance or they differ in size.
        """
        C = covariance("signal", _square("signal", signal))
        N = covariance("noise", _square("noise", noise, len(C)))
        return cls(C + N, C + N, C)

    @classmethod
    def masked(cls, tokens: ArrayLike, masks: Masks, target: Literal["output", "input"] = "output") -> Self:
        """Return the views of tokens u under random masks m independent of them, x = m∘u.

        Parameters
        ----------
        tokens : array_like of shape (n, n)
            The covariance S of u.
        masks : MaskLaw, IndependentMasks, MultiBlockMasks or BlockMask
            The law of m, 1 for visible, over n tokens.
        target : "output" or "input"
            What the target encoder sees. "output": the whole input, y = u (only its output is masked, as in I-JEPA,
            Assran et al. 2023): Σ_y = S and Σ_yx = S diag(E m). "input": the hidden tokens, y = (1−m)∘u:
            Σ_yx = E[(1−m)mᵀ]∘S, of trace 0, and Σ_y = E[(1−m)(1−m)ᵀ]∘S.

        Raises
        ------
        InputError
            If ``tokens`` is no covariance or of another size than the masks, or ``target`` is neither.
        """
        mean, second = masks.mean, masks.second
        S = covariance("tokens", _square("tokens", tokens, len(mean)))
        if target == "output":
            return cls(second * S, S, S * mean)
        if target != "input":
            raise InputError("target", repr(target), "must be 'output' or 'input'")
        hidden = 1 - mean[:, None] - mean + second
        return cls(second * S, hidden * S, (mean - second) * S)

    @classmethod
    def next_state(cls, dynamics: ArrayLike, noise: ArrayLike, actions: ArrayLike | None = None) -> Self:
        """Return a stationary state x and its successor y = Fx + Ba + ξ: Σ_x = Σ_y = FΣFᵀ + BBᵀ + Q, Σ_yx = FΣ_x.

        Parameters
        ----------
        dynamics, noise : array_like of shape (d, d)
            F, of spectral radius below 1, and Q = Cov ξ.
        actions : array_like of shape (d, k), optional
            B. Actions a are white, of covariance I and independent of x and ξ; the context stays x.

        Raises
        ------
        InputError
            If F is not stable, Q is no covariance, or a shape does not fit.
        """
        F = _square("dynamics", dynamics)
        driving = covariance("noise", _square("noise", noise, len(F)))
        if actions is not None:
            B = matrix("actions", actions)
            if len(B) != len(F):
                raise InputError("actions", f"array of shape {B.shape}", f"must have {len(F)} rows")
            driving = driving + B @ B.T
        state = stationary_covariance(F, driving)
        return cls(state, state, F @ state)

    @property
    def dimension(self) -> int:
        """The dimension d of a view."""
        return len(self.context)

    @property
    def exchangeable(self) -> bool:
        """Whether Σ_x = Σ_y and Σ_yx is symmetric, up to rounding: (x, y) and (y, x) then have the same moments."""
        scale = ROUNDING * np.sqrt(np.diag(self.context).max()) * np.sqrt(np.diag(self.target).max())
        return bool(
            np.abs(self.context - self.target).max() <= scale and np.abs(self.cross - self.cross.T).max() <= scale
        )

    @cached_property
    def joint(self) -> Array:
        """The covariance of (x, y), (2d, 2d), read-only."""
        joint = np.block([[self.context, self.cross.T], [self.cross, self.target]])
        joint.setflags(write=False)
        return joint

    @cached_property
    def joint_root(self) -> Array:
        """A symmetric root of the covariance of (x, y), (2d, 2d), read-only."""
        return symmetric_root(self.joint)

    @cached_property
    def context_root(self) -> Array:
        """The symmetric root of Σ_x, (d, d), read-only."""
        return symmetric_root(self.context)

    def correlations(self) -> Array:
        """Return the canonical correlations of x and y (Hotelling 1936), (d,), descending.

        They are the singular values of Σ_y^{−1/2}Σ_yxΣ_x^{−1/2}. Directions without variance are left out of the
        inverse and have correlation 0; rounding above 1 is cut off. See ``jepalign.linear_models.canonical``.
        """
        found = pairs_of(self.context, self.target, self.cross).correlation
        return np.concatenate((found, np.zeros(self.dimension - len(found))))

    def modes(self) -> Modes:
        """Return the modes of aligned views: Σ_yx symmetric and with the eigenvectors of Σ_x.

        Raises
        ------
        InputError
            If Σ_yx is not symmetric or does not commute with Σ_x, up to rounding.
        """
        # A generic combination has simple eigenvalues wherever one of the two matrices tells two eigenvectors apart.
        scale = np.abs(self.context).max()
        if np.abs(self.cross - self.cross.T).max() > ROUNDING * scale:
            raise InputError("cross", "matrix that is not symmetric", "must be symmetric for views to have modes")
        symmetric = (self.cross + self.cross.T) / 2
        directions = np.linalg.eigh(self.context + (np.sqrt(5) - 1) / 2 * symmetric)[1]
        variance, cross = (directions.T @ part @ directions for part in (self.context, symmetric))
        for rotated in (variance, cross):
            if np.abs(rotated - np.diag(np.diag(rotated))).max() > 100 * self.dimension * ROUNDING * scale:
                raise InputError(
                    "cross", "matrix that does not commute with the context's covariance", "must be aligned"
                )
        order = np.argsort(-np.diag(cross), kind="stable")
        return Modes(np.diag(cross)[order], np.diag(variance)[order], directions[:, order])


def covariance(name: str, value: Array) -> Array:
    """Return the symmetric part of a covariance, (d, d); raise ``InputError`` if it is none, beyond rounding."""
    scale = np.abs(value).max()
    if (defect := np.abs(value - value.T).max()) > ROUNDING * scale:
        raise InputError(name, f"matrix with an asymmetry of {defect:.3g}", "must be symmetric")
    symmetric = (value + value.T) / 2
    smallest = np.linalg.eigvalsh(_correlation(name, symmetric))[0]
    if smallest < -ROUNDING * len(value):
        least = np.linalg.eigvalsh(symmetric)[0]
        raise InputError(name, f"matrix with the eigenvalue {least:.3g}", "must be positive semidefinite")
    return symmetric


def symmetric_root(value: Array) -> Array:
    """Return the positive semidefinite square root of a covariance, read-only."""
    values, vectors = np.linalg.eigh(value)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    root.setflags(write=False)
    return root


def _square(name: str, value: ArrayLike, size: int | None = None) -> Array:
    found = matrix(name, value, None if size is None else (size, size))
    if found.shape[0] != found.shape[1]:
        raise InputError(name, f"array of shape {found.shape}", "must be square")
    return found


def _correlation(name: str, value: Array) -> Array:
    """Return the matrix in units of standard deviations, so that what counts as rounding does not depend on units."""
    variances = np.diag(value)
    if variances.min() < 0:
        raise InputError(name, f"matrix with the variance {variances.min():.3g}", "must be positive semidefinite")
    if (np.abs(value[variances == 0]) > ROUNDING * np.abs(value).max()).any():
        raise InputError(name, "matrix with the variance 0 beside a covariance", "must be positive semidefinite")
    units = standard_deviations(variances)
    return value / np.outer(units, units)


def _check_joint(context: Array, target: Array, cross: Array) -> None:
    """Refuse a cross-covariance that no pair of views with these covariances can have."""
    units = [standard_deviations(np.diag(value)) for value in (context, target)]
    # Roots before products: the product of two variances leaves the range of float64 long before they do.
    bound = np.outer(np.sqrt(np.diag(target)), np.sqrt(np.diag(context)))
    scale = ROUNDING * np.abs(cross).max(initial=0.0)
    if (np.abs(cross) > bound * (1 + ROUNDING) + scale * (bound == 0)).any():
        i, j = np.unravel_index(np.argmax(np.abs(cross) - bound), cross.shape)
        _refuse(cross[i, j], context[j, j], target[i, i])
    joint = np.block([[context, cross.T], [cross, target]]) / np.outer(np.concatenate(units), np.concatenate(units))
    values, vectors = np.linalg.eigh(joint)
    if values[0] < -ROUNDING * len(joint):
        # For the eigenvector (a, b): a·Σ_x a + b·Σ_y b < −2 b·Σ_yx a, so that |b·Σ_yx a|² > (a·Σ_x a)(b·Σ_y b).
        a, b = vectors[: len(context), 0] / units[0], vectors[len(context) :, 0] / units[1]
        _refuse(float(b @ cross @ a), float(a @ context @ a), float(b @ target @ b))


def _refuse(cross: float, context: float, target: float) -> None:
    value = f"matrix with a mode of covariance {cross:.3g} between variances {context:.3g} and {target:.3g}"
    raise InputError(
        "cross", value, "violates Cauchy–Schwarz: the square of a covariance is at most the product of variances"
    )
