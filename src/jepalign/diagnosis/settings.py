"""A run's settings as they are handed to an optimiser, and what they are in the theory's time."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from jepalign.errors import InputError

LARGEST = 2**20  # bytes of a JSON file of settings
LOSSES = ("half", "sum", "mean")
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Settings:
    """What a run was trained with; None is what is not known.

    Attributes
    ----------
    learning_rate, predictor_learning_rate : float
        Of the encoder and of the predictor; that of the predictor is the encoder's if it is not given.
    weight_decay, predictor_weight_decay : float
        As the optimiser has them; that of the predictor is the encoder's if it is not given.
    decoupled : bool
        Whether the decay is taken off beside the gradient step, lr·wd·w (PyTorch's AdamW), and not added to the gradient.
    optimizer : {"sgd", "adam"}
        With Adam the flow is not that of a gradient; see ``gradient_rms``.
    momentum : float
        Of SGD.
    ema_momentum : float
        m, with which the target encoder follows: V ← mV + (1−m)W in every step. None: no target encoder of its own.
    batch_size, steps : int
        Of the run; ``steps`` is all that are planned.
    loss : {"half", "sum", "mean"}
        Half the squared distance ½E‖ẑ − z̄‖², E‖ẑ − z̄‖², or that averaged over the k dimensions too (PyTorch's MSELoss).
    bias : bool
        Whether the encoder's last layer and the predictor have biases: their flow then sees moments about the mean.
    gradient_rms : float
        Root mean square of the gradient of the last layer's entries under Adam (√v), which scales its step.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    learning_rate: float | None = None
    predictor_learning_rate: float | None = None
    weight_decay: float | None = None
    predictor_weight_decay: float | None = None
    decoupled: bool = False
    optimizer: str = "sgd"
    momentum: float = 0.0
    ema_momentum: float | None = None
    batch_size: int | None = None
    steps: int | None = None
    loss: str = "half"
    bias: bool = False
    gradient_rms: float | None = None

    def __post_init__(self) -> None:
        for name in ("learning_rate", "predictor_learning_rate", "gradient_rms"):
            self._check(name, "must be between 1e-12 and 1e12", lambda value: 1e-12 <= value <= 1e12)
        for name in ("weight_decay", "predictor_weight_decay"):
            self._check(name, "must be 0 or between 1e-12 and 1e12", lambda value: value == 0 or 1e-12 <= value <= 1e12)
        for name in ("momentum", "ema_momentum"):
            self._check(name, "must be at least 0 and below 1", lambda value: 0 <= value < 1)
        for name in ("batch_size", "steps"):
            self._check(name, "must be an integer, at least 1", lambda value: value == int(value) >= 1)
        for name in ("decoupled", "bias"):
            if type(getattr(self, name)) is not bool:
                raise InputError(name, repr(getattr(self, name)), "must be true or false")
        for name, known in (("loss", LOSSES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise InputError(name, repr(getattr(self, name)), f"must be one of {', '.join(known)}")

    def _check(self, name: str, condition: str, holds: Any) -> None:
        value = getattr(self, name)
        if value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not holds(value):
            raise InputError(name, repr(value), condition)

    @classmethod
    def read(cls, path: Path, flags: Mapping[str, Any]) -> Self:
        """Return the settings of the JSON beside a file or in a folder, if there is one, with ``flags`` over them.

        ``flags`` maps names to values; None is none. A key ``note`` of the JSON is for people.

        Raises
        ------
        InputError
            If the JSON is damaged or has an unknown key.
        """
        known = {field.name for field in fields(cls)}
        name, found = _beside(path)
        found.pop("note", None)
        for key in found:
            if key not in known:
                raise InputError(name, repr(key), f"must be one of {', '.join(sorted(known))}")
        plain = cls()
        found = {key: getattr(plain, key) if value is None else value for key, value in found.items()}
        return replace(plain, **{**found, **{key: value for key, value in flags.items() if value is not None}})


def why_not_below(path: Path) -> str:
    """Return what the note of the JSON beside a file or in a folder says on why rates of layers below are missing; empty for nothing.

    Of somebody's text one line of at most 200 printable characters is taken.
    """
    note = _beside(path)[1].get("note")
    said = note.get("why_not_below") if isinstance(note, dict) else None
    line = " ".join(said.split())[:200] if isinstance(said, str) else ""
    return "".join(letter for letter in line if letter.isprintable())


def _beside(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the name and the content of the JSON beside a file or in a folder; empty if there is none."""
    beside = path / "run.json" if path.is_dir() else path.with_suffix(".json")
    if path.suffix == ".npy" or (path.is_file() and not beside.is_file()):
        beside = path.parent / "run.json"
    return beside.name, _object(beside) if beside.is_file() else {}


def _object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST:
        raise InputError(path.name, f"{path.stat().st_size} bytes", f"must have at most {LARGEST}")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise InputError(path.name, " ".join(str(problem).split())[:100], "must be JSON") from problem
    if not isinstance(found, dict):
        raise InputError(path.name, type(found).__name__, "must be an object: names and values")
    return found


@dataclass(frozen=True)
class FlowRates:
    """Settings in the theory's time, of which a step of plain descent on ½E‖ẑ − sg(z̄)‖² takes its learning rate.

    Attributes
    ----------
    step : float or None
        Flow time of one optimiser step.
    decay : float or None
        η of the encoder; None if it is not known.
    predictor_rate : float
        α.
    predictor_decay : float or None
        Rate at which the predictor's weights decay, η where the theorems hold.
    ema_rate : float or None
        β; None without a target encoder, or where the time of a step is not known.
    scale : float
        c, the loss as trained over ½E‖ẑ − z̄‖².
    remarks : tuple of str
        How these were read, and what is not known.

    Notes
    -----
    One step changes W by −εg − lr·wd·W where g is the gradient of c·½E‖·‖², so that time passes by lr·c/(1−m) with momentum m, and
    η = wd/c; a decoupled decay is not amplified by momentum: η = wd(1−m)/c. Under Adam the step is lr/rms times the gradient of
    the loss as trained: time passes by lr·c/rms, and a decoupled decay is η = wd·rms/c. This is an effective rate at best: Adam's
    flow has no gradient, and the balance of 3.1 does not hold.
    """

    step: float | None
    decay: float | None
    predictor_rate: float
    predictor_decay: float | None
    ema_rate: float | None
    scale: float
    remarks: tuple[str, ...]

    @property
    def rest_rate(self) -> float:
        """The α for which a mode at rest is balanced, w² = p²/α: with a decay η_P of the predictor's own, αη/η_P.

        At rest p(λ − σp)w = ηw and α(λ − σp)w² = η_P p, so that αηw² = η_P p²; the rests p± do not depend on η_P. ∞ for a
        predictor that does not decay beside an encoder that does: no mode of it rests but at w = 0.
        """
        if not self.decay or self.predictor_decay is None:
            return self.predictor_rate
        return self.predictor_rate * self.decay / self.predictor_decay if self.predictor_decay else math.inf


def flow_rates(settings: Settings, width: int) -> FlowRates:
    """Return what settings are in the theory's time, for embeddings of ``width`` k dimensions."""
    scale = {"half": 1.0, "sum": 2.0, "mean": 2.0 / width}[settings.loss]
    words = {"half": "½E‖ẑ−z̄‖²", "sum": "E‖ẑ−z̄‖²", "mean": "E‖ẑ−z̄‖²/k"}[settings.loss]
    adam = settings.optimizer == "adam"
    remarks = [f"loss {words}: {scale:g} times the theory's"]
    lr, rms = settings.learning_rate, settings.gradient_rms
    alpha = settings.predictor_learning_rate / lr if settings.predictor_learning_rate and lr else 1.0
    if settings.predictor_learning_rate and not lr:
        remarks.append("a predictor learning rate says nothing without the encoder's: the two are taken to be equal")
    amplified = 1 / rms if adam and rms else 1 / (1 - settings.momentum)
    step = None if lr is None or (adam and not rms) else lr * scale * amplified
    if not settings.decoupled:
        unit: float | None = 1 / scale
    else:
        unit = None if adam and not rms else 1 / (scale * amplified)
    decay = None if settings.weight_decay is None or unit is None else settings.weight_decay * unit
    own = settings.weight_decay if settings.predictor_weight_decay is None else settings.predictor_weight_decay
    predictor_decay = None if own is None or unit is None else alpha * own * unit
    if settings.weight_decay is None:
        remarks.append("weight decay not given: nothing can be said of what it will take")
    elif decay is None:
        remarks.append("under Adam a decoupled decay acts in units of the gradient's size: give gradient_rms")
    else:
        remarks.append(f"weight decay {settings.weight_decay:g} is η = {decay:.4g} per unit of flow time")
    if adam:
        remarks.append("Adam follows no gradient: rates are effective ones at best, and balance does not hold")
    if decay and predictor_decay is not None and not math.isclose(decay, predictor_decay):
        remarks.append(
            f"the predictor decays at {predictor_decay:.4g}, not at η: thresholds stay, and at rest w² = p²η_P/(αη)"
        )
    m = settings.ema_momentum
    beta = None if m is None or step is None else (1 - m) / step
    return FlowRates(step, decay, alpha, predictor_decay, beta, scale, tuple(remarks))
