"""The constants of a training run in the units of the flow."""

from dataclasses import dataclass
from typing import Self

from jepalign.errors import InputError
from jepalign.linear_models.checks import rate
from jepalign.linear_models.uniformity import Uniformity


@dataclass(frozen=True)
class RunSettings:
    """What drives a last layer. The unit of time is the flow's: t is the sum of learning rates, steps times their length.

    Attributes
    ----------
    weight_decay : float
        η ≥ 0 of the encoder, per unit of flow time.
    predictor_rate : float
        α > 0, the predictor's learning rate relative to the encoder's.
    ema_rate : float, optional
        β ≥ 0, at which the target follows, its momentum being 1 − εβ for steps of length ε. None: V = W (SimSiam).
    predictor_decay : float, optional
        Weight decay of the predictor per unit of flow time; None: η, as the theory has it.
    uniformity : Uniformity, optional
        An explicit term of :mod:`jepalign.linear_models.uniformity` on the embedding.
    strength : float
        γ ≥ 0, its weight.

    Raises
    ------
    InputError
        If a number is out of its range, or there is a strength and no term.
    """

    weight_decay: float = 0.0
    predictor_rate: float = 1.0
    ema_rate: float | None = None
    predictor_decay: float | None = None
    uniformity: Uniformity | None = None
    strength: float = 0.0

    def __post_init__(self) -> None:
        rate("weight_decay", self.weight_decay)
        rate("predictor_rate", self.predictor_rate, positive=True)
        if self.ema_rate is not None:
            rate("ema_rate", self.ema_rate)
        if self.predictor_decay is not None:
            rate("predictor_decay", self.predictor_decay)
        if self.uniformity is not None and not isinstance(self.uniformity, Uniformity):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("uniformity", type(self.uniformity).__name__, "must be a Uniformity")
        if rate("strength", self.strength) and self.uniformity is None:
            raise InputError("strength", self.strength, "must be 0 without an explicit uniformity")

    @classmethod
    def from_descent(
        cls,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        predictor_learning_rate: float | None = None,
        predictor_weight_decay: float | None = None,
        ema_momentum: float | None = None,
        momentum: float = 0.0,
        uniformity: Uniformity | None = None,
        strength: float = 0.0,
    ) -> tuple[Self, float]:
        """Return the settings of a run by gradient descent and the flow time of one of its steps.

        Weight decay is multiplied by the learning rate in every step, as ``torch.optim.SGD`` has it and decoupled decay too, so that
        η is the optimiser's number itself; at a learning rate α times the encoder's a predictor with the same number decays α
        times as fast. Momentum μ makes the flow of steps 1/(1−μ) as long, decay included.

        AdamW is *not* a gradient flow: it divides the gradient by its running root mean square s and leaves decay alone, so that
        the last layer obeys the flow only as far as s is one constant, with η = s · weight_decay and time Σ ε/s. Pass such effective
        rates, and trust the forecast as little as that is true.

        Parameters
        ----------
        learning_rate : float
            ε, of the encoder.
        weight_decay : float
            The optimiser's number for the encoder's last layer.
        predictor_learning_rate, predictor_weight_decay : float, optional
            Of the predictor; None: as the encoder's.
        ema_momentum : float, optional
            m of V ← mV + (1−m)W in every step, in [0, 1]; None: no target encoder of its own.
        momentum : float
            μ of the optimiser, in [0, 1).
        uniformity, strength
            As of the class.

        Raises
        ------
        InputError
            If a number is out of its range.
        """
        step = rate("learning_rate", learning_rate, positive=True)
        if not 0 <= rate("momentum", momentum) < 1:
            raise InputError("momentum", momentum, "must be below 1")
        if ema_momentum is not None and rate("ema_momentum", ema_momentum) > 1:
            raise InputError("ema_momentum", ema_momentum, "must be at most 1")
        own = step if predictor_learning_rate is None else rate("predictor_learning_rate", predictor_learning_rate)
        alpha = own / step
        decay = weight_decay if predictor_weight_decay is None else predictor_weight_decay
        length = step / (1 - momentum)
        found = cls(
            weight_decay=weight_decay,
            predictor_rate=alpha,
            ema_rate=None if ema_momentum is None else (1 - ema_momentum) / length,
            predictor_decay=None if alpha * decay == weight_decay else alpha * rate("predictor_weight_decay", decay),
            uniformity=uniformity,
            strength=strength,
        )
        return found, length

    @property
    def decay_of_predictor(self) -> float:
        """The predictor's weight decay, η unless it has its own."""
        return self.weight_decay if self.predictor_decay is None else self.predictor_decay
