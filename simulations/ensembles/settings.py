"""What an ensemble is made of: constants of every member, and the method that all of them share."""

import math
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from jepalign.errors import InputError
from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.linear_models.uniformity import Uniformity


class Predictor(StrEnum):
    """Where predictions come from."""

    LEARNT = "learnt"  # a module trained by descent, linear or not
    LEAST_SQUARES = "least-squares"  # of every batch
    SPECTRAL = "spectral"  # P = g(Φ) of every batch
    NONE = "none"  # ẑ = z


@dataclass(frozen=True)
class Members:
    """The constants of M networks. Arrays of shape (M,); a number stands for M equal ones, M being the length of ``seed``.

    Attributes
    ----------
    seed : ndarray of int
        Handed to the functions that build encoder and predictor.
    step : ndarray
        ε, the length of a gradient step in units of flow time (learning rate).
    weight_decay : ndarray
        η, per unit of flow time, on encoder and predictor alike.
    predictor_rate : ndarray
        α, the predictor's learning rate relative to the encoder's.
    ema_rate : ndarray or None
        β, the rate at which the target encoder follows, its momentum being 1 − εβ. None: no member has a target encoder
        of its own, V = W (SimSiam).
    explicit_strength : ndarray
        γ, the weight of the explicit uniformity.
    scale : ndarray
        Factor on the last layer W of the encoder as built.
    batch_seed : ndarray of int
        Seeds the order of the batches; equal seeds see equal batches, and if all are equal these are shared, which is
        faster.

    Raises
    ------
    InputError
        If a length is not M, a number is out of its range (``step``, ``predictor_rate`` positive; the others not
        negative; εη < 1, εβ ≤ 1) or not finite, or a seed is not a whole number ≥ 0.
    """

    seed: ArrayLike
    step: ArrayLike
    weight_decay: ArrayLike = 0.0
    predictor_rate: ArrayLike = 1.0
    ema_rate: ArrayLike | None = None
    explicit_strength: ArrayLike = 0.0
    scale: ArrayLike = 1.0
    batch_seed: ArrayLike = 0

    def __post_init__(self) -> None:
        seeds = np.atleast_1d(np.asarray(self.seed))
        if seeds.ndim != 1 or len(seeds) == 0:
            raise InputError("seed", f"array of shape {seeds.shape}", "must be one whole number for every member")
        for field in fields(self):
            given = getattr(self, field.name)
            if given is None:
                continue
            values = np.asarray(given)
            if values.shape not in ((), seeds.shape):
                raise InputError(
                    field.name, f"array of shape {values.shape}", f"must be a number or {len(seeds)} of them"
                )
            if field.name.endswith("seed"):
                if values.dtype.kind not in "iu" or (values < 0).any():
                    raise InputError(field.name, given, "must be whole numbers, not negative")
                values = values.astype(np.int64)
            else:
                values = values.astype(np.float64)
                positive = field.name in ("step", "predictor_rate")
                if not (np.isfinite(values).all() and ((values > 0) if positive else (values >= 0)).all()):
                    raise InputError(
                        field.name, given, f"must be finite and {'positive' if positive else 'not negative'}"
                    )
            full = np.broadcast_to(values, seeds.shape).copy()
            full.setflags(write=False)
            object.__setattr__(self, field.name, full)
        if (self.array("step") * self.array("weight_decay") >= 1).any():
            raise InputError("weight_decay", self.weight_decay, "must keep step · weight_decay below 1")
        if self.ema_rate is not None and (self.array("step") * self.array("ema_rate") > 1).any():
            raise InputError("ema_rate", self.ema_rate, "must keep step · ema_rate at most 1")

    def __len__(self) -> int:
        return len(self.array("seed"))

    def array(self, name: str) -> NDArray[np.float64]:
        """Return the attribute ``name``, (M,), which must not be None."""
        return np.asarray(getattr(self, name))


@dataclass(frozen=True)
class Method:
    """What all members share.

    Attributes
    ----------
    predictor : Predictor or str
        "learnt" (a module trained by descent, linear or not), "least-squares" or "spectral" (set from every batch and not
        differentiated), or "none".
    entry : str or None
        For "spectral", the entry of ``DICTIONARY`` whose g gives P = g(Φ).
    residual : bool
        Whether the force on z is the residual z⁺ − ẑ itself (the residual form) rather than the gradient of
        ½E‖ẑ − z⁺‖². Not with a learnt predictor, which the residual form does not train.
    stop_gradient : bool
        False: the gradient flows through the target as well; only without a target encoder of its own.
    explicit : Uniformity or None
        Explicit uniformity U of the context embeddings, added to the loss as γU.
    slices : int
        For SIGReg, the number of random directions, drawn anew for every step.
    optimizer : str
        "sgd", plain if ``momentum`` is 0 (the theory's), or "adamw". Learning rates are ε for the encoder and αε for the
        predictor, weight decay η and η/α.
    momentum : float
        Of "sgd", in [0, 1).
    betas : tuple of two floats
        Of "adamw", both in [0, 1).

    Raises
    ------
    InputError
        For an unknown name, a number out of its range, or a combination that makes no sense.
    """

    predictor: str = Predictor.LEARNT
    entry: str | None = None
    residual: bool = False
    stop_gradient: bool = True
    explicit: Uniformity | None = None
    slices: int = 64
    optimizer: str = "sgd"
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.predictor not in list(Predictor):
            raise InputError("predictor", self.predictor, f"must be one of {', '.join(Predictor)}")
        if (self.predictor == Predictor.SPECTRAL) != (self.entry is not None):
            raise InputError("entry", self.entry, "must be given for a spectral predictor and for no other")
        if self.entry is not None and self.entry not in DICTIONARY:
            raise InputError("entry", self.entry, f"must be one of {', '.join(DICTIONARY)}")
        if self.residual and self.predictor == Predictor.LEARNT:
            raise InputError("residual", True, "needs a predictor that is not learnt")
        if self.residual and not self.stop_gradient:
            raise InputError("stop_gradient", False, "cannot be combined with the residual form")
        if self.slices < 1:
            raise InputError("slices", self.slices, "must be positive")
        if self.optimizer not in ("sgd", "adamw"):
            raise InputError("optimizer", self.optimizer, "must be sgd or adamw")
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", self.momentum, "must be at least 0 and below 1")
        if self.momentum and self.optimizer != "sgd":
            raise InputError("momentum", self.momentum, "must be 0 for adamw, whose momenta are betas")
        if not all(math.isfinite(beta) and 0 <= beta < 1 for beta in self.betas):
            raise InputError("betas", self.betas, "must be at least 0 and below 1")


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ``InputError`` unless ``dtype`` is float32 or float64."""
    if dtype not in (torch.float32, torch.float64):
        raise InputError("dtype", dtype, "must be torch.float32 or torch.float64")
