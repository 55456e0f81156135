"""One record of a training run: the moments of a window, the weights at its end, and the numbers that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jepalign.errors import InputError
from jepalign.simulations.probe import effective_rank, rankme
from jepalign.simulations.recording.sums import Moments
from jepalign.storage import output_directory, write_json, written_whole

Array = NDArray[np.float64]

PATTERN = "moments-*.npz"


@dataclass(frozen=True)
class Record:
    """What a window of training steps says.

    Attributes
    ----------
    step : int
        How many steps had been made when it was written.
    moments : Moments
        Means over the rows of the observed steps.
    weights : mapping of str to ndarray
        Where known, W as "encoder" (k, h), V as "target_encoder", P as "predictor" (k, k), as "below" the rates κ of the layers
        below W (m,), and as "biases" those of their biases, ν (m,), all at ``step``.
    effective_rank : float
        Of the centred covariance (Roy & Vetterli 2007).
    rankme : float
        Of the embeddings as they are (Garrido et al. 2023).
    """

    step: int
    moments: Moments
    weights: Mapping[str, Array]
    effective_rank: float
    rankme: float

    @classmethod
    def of(cls, step: int, moments: Moments, weights: Mapping[str, Array]) -> "Record":
        """Make a record; ranks are NaN where the training has diverged."""
        covariance, moment = (
            torch.from_numpy(value) for value in (moments.covariance, moments.arrays["context_moment"])
        )
        if not (torch.isfinite(covariance).all() and torch.isfinite(moment).all()):
            return cls(step, moments, weights, np.nan, np.nan)
        return cls(step, moments, weights, effective_rank(covariance), rankme(moment))

    @property
    def power_predictor(self) -> str:
        """Whose power :attr:`implicit_uniformity_power` is: that of the "predictor", or of "least-squares" where it is not linear."""
        return "least-squares" if np.isnan(self.moments.correction) else "predictor"

    @property
    def implicit_uniformity_power(self) -> float:
        """tr(F_uWᵀ) by the identity 2.4, averaged over the observed steps, of :attr:`power_predictor`.

        The correction of the least-squares predictor of the window is 0.
        """
        correction = 0.0 if np.isnan(self.moments.correction) else self.moments.correction
        return self.moments.alignment + correction + self.moments.asymmetry

    def summary(self) -> dict[str, float]:
        """Return the numbers of the record by name; NaN for what is not known."""
        return {
            "alignment": self.moments.alignment,
            "asymmetry": self.moments.asymmetry,
            "correction": self.moments.correction,
            "prediction_error": self.moments.prediction_error,
            "implicit_uniformity_power": self.implicit_uniformity_power,
            "uniformity": self.moments.uniformity,
            "context_fourth": self.moments.context_fourth,
            "effective_rank": self.effective_rank,
            "rankme": self.rankme,
        }

    def arrays(self) -> dict[str, Array]:
        """Return what is stored, by the names that ``jepalign diagnose`` reads.

        They are ``count`` and ``step``; the moments' ``*_mean`` and the names of ``PRODUCTS``, of the last layers' inputs
        with the prefix ``features_``; the weights; and the numbers of :meth:`summary`.
        """
        scalars = {"count": self.moments.count, "step": self.step, **self.summary()}
        return {name: np.asarray(value) for name, value in scalars.items()} | {**self.moments.arrays, **self.weights}

    def write(self, folder: Path) -> Path:
        """Write the record into ``folder``, whole or not at all, and return its path."""
        path = folder / f"moments-{self.step:08d}.npz"
        with written_whole(path) as temporary:
            np.savez(temporary, allow_pickle=False, **self.arrays())
        return path


def record_folder(out: str | Path, start: int) -> Path:
    """Return the folder of a run that begins, or goes on, after ``start`` steps.

    Raises
    ------
    InputError
        If it cannot be written to, or holds records of later steps: those of another run.
    """
    folder = output_directory(out)
    for path in folder.glob(PATTERN):
        if int(path.stem.removeprefix("moments-")) > start:
            raise InputError("out", str(folder), f"must hold no record after step {start}, and has {path.name}")
    return folder


def write_run(folder: Path, settings: Mapping[str, Any], note: Mapping[str, Any]) -> None:
    """Write the settings of the run, and a note on how it was recorded, as run.json."""
    write_json(folder / "run.json", {**settings, "note": note})
