"""World models that see actions: the predictor by least squares, and the views that its encoder learns from (7.4)."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.canonical import whitening
from jepalign.linear_models.checks import matrix
from jepalign.linear_models.masking.world_model import stationary_covariance
from jepalign.linear_models.views import ViewPair, covariance

Array = NDArray[np.float64]


class ActionPredictor(NamedTuple):
    """The best linear prediction P_z z + P_a a of the next embedding.

    Attributes
    ----------
    state : ndarray of shape (k, k)
        P_z, the part on the embedding.
    action : ndarray of shape (k, m)
        P_a, the part on the action.
    """

    state: Array
    action: Array


@dataclass(frozen=True, eq=False)
class ControlledSystem:
    """The stationary state of x′ = Fx + Ba + ξ under the policy a = Gx + ν.

    Attributes
    ----------
    dynamics : ndarray of shape (d, d)
        F.
    actions : ndarray of shape (d, m)
        B.
    noise : ndarray of shape (d, d)
        Q = Cov ξ.
    policy : ndarray of shape (m, d)
        G.
    exploration : ndarray of shape (m, m)
        Cov ν; ν is independent of the state. All arrays are copied and read-only.

    Raises
    ------
    InputError
        If a shape does not fit, a covariance is none, or the closed loop F + BG is not stable.
    """

    dynamics: Array
    actions: Array
    noise: Array
    policy: Array
    exploration: Array

    def __post_init__(self) -> None:
        F, B = matrix("dynamics", self.dynamics), matrix("actions", self.actions)
        if F.shape[0] != F.shape[1]:
            raise InputError("dynamics", f"array of shape {F.shape}", "must be square")
        if len(B) != len(F):
            raise InputError("actions", f"array of shape {B.shape}", f"must have {len(F)} rows")
        G = matrix("policy", self.policy, B.shape[::-1])
        Q = covariance("noise", matrix("noise", self.noise, F.shape))
        N = covariance("exploration", matrix("exploration", self.exploration, (B.shape[1], B.shape[1])))
        names = ("dynamics", "actions", "noise", "policy", "exploration")
        for name, value in zip(names, (F, B, Q, G, N), strict=True):
            kept = value.copy()
            kept.setflags(write=False)
            object.__setattr__(self, name, kept)
        self.state.setflags(write=False)

    @cached_property
    def state(self) -> Array:
        """Σ_x = (F + BG)Σ_x(F + BG)ᵀ + B Cov ν Bᵀ + Q, (d, d)."""
        driving = self.noise + self.actions @ self.exploration @ self.actions.T
        return stationary_covariance(self.dynamics + self.actions @ self.policy, driving)

    @cached_property
    def given_actions(self) -> Array:
        """Σ_{x|a} = Σ_x − Σ_xa Σ_a⁻¹ Σ_ax, what the action leaves open about the state, (d, d)."""
        mixed = self.policy @ self.state
        taken = mixed @ self.policy.T + self.exploration
        units, inverse = whitening((taken + taken.T) / 2)
        seen = (inverse / units[:, None]).T @ mixed
        rest = self.state - seen.T @ seen
        values, vectors = np.linalg.eigh((rest + rest.T) / 2)
        return (vectors * np.maximum(values, 0.0)) @ vectors.T

    def views(self, *, actions: bool) -> ViewPair:
        """Return the views that drive the encoder: with actions the dynamics, without them the closed loop.

        With ``actions`` and the predictor's part on them at its optimum, a JEPA follows (F, Σ_{x|a}): Σ_x is Σ_{x|a} and
        Σ_yx = FΣ_{x|a}; B does not enter. Actions independent of the state change nothing about its modes. Without, it
        follows Σ_x and (F + BG)Σ_x. Ours.

        Parameters
        ----------
        actions : bool
            Whether the predictor sees the action.
        """
        if not actions:
            return ViewPair(self.state, self.state, (self.dynamics + self.actions @ self.policy) @ self.state)
        given = self.given_actions
        cross = self.dynamics @ given
        return ViewPair(given, cross @ self.dynamics.T + self.noise, cross)

    def predictor(self, encoder: ArrayLike) -> ActionPredictor:
        """Return the predictor (P_z, P_a) of least E‖Wx′ − P_z Wx − P_a a‖²; of several one (cost O((k + m)³ + d²k)).

        Parameters
        ----------
        encoder : array_like of shape (k, d)
            W, of both embeddings.

        Raises
        ------
        InputError
            If ``encoder`` is no finite matrix of d columns.
        """
        W = matrix("encoder", encoder)
        if W.shape[1] != len(self.dynamics):
            raise InputError("encoder", f"array of shape {W.shape}", f"must have {len(self.dynamics)} columns")
        k = len(W)
        # What is seen is (z, a) = [W; G]x + (0, ν); what is to come is W((F + BG)x + Bν).
        seen = np.vstack((W, self.policy))
        explored = np.vstack((np.zeros((k, len(self.policy))), np.eye(len(self.policy))))
        moment = seen @ self.state @ seen.T + explored @ self.exploration @ explored.T
        units, inverse = whitening((moment + moment.T) / 2)
        root = inverse / units[:, None]
        loop = self.dynamics + self.actions @ self.policy
        future = W @ (loop @ self.state @ seen.T + self.actions @ self.exploration @ explored.T)
        both = (future @ root) @ root.T
        return ActionPredictor(both[:, :k], both[:, k:])
