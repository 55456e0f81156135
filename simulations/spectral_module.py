"""A uniformity without negatives, to train with: the predictor P = g(Φ) of the dictionary (2.0) as a module.

Φ is a moving average of the second moment of the embeddings of both views; the encoder follows z⁺ − Pz (the residual form) or
Pᵀ(z⁺ − Pz) (BYOL's), and no gradient reaches P.
"""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.distributed
from torch import Tensor, nn
from torch.func import functional_call

from jepalign.errors import InputError
from jepalign.linear_models.checks import count, rate
from jepalign.simulations.objectives import prediction_loss, residual_loss
from jepalign.simulations.practice_forces import ringing

Spectrum = Callable[[Tensor], Tensor]

# The dictionary's g in PyTorch, in the forms of linear_models.dictionary, which lose no digits.
SPECTRA: Mapping[str, Spectrum] = MappingProxyType(
    {
        "spectral-contrastive": lambda s: s.clone(),
        "gaussian-infonce": lambda s: s / (1 + s) * ((s + 1.5) / (1 + s)),
        "log-det": lambda s: (s - 1) / s,
        "directpred": torch.sqrt,
        "no-predictor": torch.ones_like,
    }
)


class Averaging(NamedTuple):
    """What a moving average of Φ makes of a training's steps.

    Attributes
    ----------
    product : float
        h, the step times the largest curvature of the uniformity's objective: a mode at rest returns by 1 − h a step with Φ of
        the batch itself.
    limit : float
        The h above which it rings with this average, (1 − √(1−a))²/a, about a/4.
    rings : bool
        Whether h exceeds it; a deviation is then damped only within about 2/a steps.
    """

    product: float
    limit: float
    rings: bool


def derivative(uniformity: Spectrum) -> Spectrum:
    """Return u′ of a uniformity u(s), a differentiable function that acts on every entry by itself."""

    def slope(s: Tensor) -> Tensor:
        with torch.enable_grad():
            at = s.detach().requires_grad_()
            return torch.autograd.grad(uniformity(at).sum(), at)[0]

    return slope


class SpectralPredictorModule(nn.Module):
    """The predictor P = g(Φ) that implements a uniformity without negatives (2.0).

    On a batch in both orders with its own Φ (``averaging`` = 1) the gradient of the residual form is that of alignment and uniformity,
    ½ tr(Φ − K) + ½ tr u(Φ), u′ = g − 1, for any encoder: with P = Φ a quarter of the spectral contrastive loss.

    Parameters
    ----------
    width : int
        k, the embedding's dimension.
    spectrum : str or callable
        g: a name of the dictionary ("spectral-contrastive", "gaussian-infonce", "log-det", "directpred", "no-predictor"), or a function
        of the eigenvalues s ≥ 0 of Φ, a tensor (k,), to one of the same shape.
    averaging : float
        a in (0, 1], the share of the newest batch in Φ; 1: its own Φ alone.
    form : "residual" or "byol"
        The force. BYOL's is the residual one times Pᵀ: it descends only where g ≥ 0, and kills a mode where g < 0.
    floor : float
        Eigenvalues below it are taken for it, so that log-det stays finite: below, u continues as a straight line.
    negative : "raise" or "warn"
        What happens in the BYOL form where g < 0.

    Raises
    ------
    InputError
        If an argument is out of its range or a name unknown; in use, if embeddings have another width or are not finite, if g is not
        finite at an eigenvalue or has another shape, and in the BYOL form where g < 0.

    Notes
    -----
    Ours; the residual form is IsoLoss (Halvagal, Laborieux & Zenke 2023), and g = √s DirectPred's predictor (Tian, Chen & Ganguli 2021).
    Φ is not centred. Under ``torch.distributed`` it is that of the batches of all processes, one all-reduce of k² + 1 numbers, so that P is
    the same in all of them. Φ, P and losses are computed in float32 at least, under autocast, too. Φ is in ``state_dict``. A step costs
    O(nk² + k³).

    Examples
    --------
    >>> uniform = SpectralPredictorModule(64, "gaussian-infonce", averaging=0.05)
    >>> loss = uniform.loss(encoder(x), encoder(y))  # doctest: +SKIP
    """

    moment: Tensor
    batches: Tensor

    def __init__(
        self,
        width: int,
        spectrum: str | Spectrum,
        *,
        averaging: float = 1.0,
        form: Literal["residual", "byol"] = "residual",
        floor: float = 0.0,
        negative: Literal["raise", "warn"] = "raise",
    ) -> None:
        super().__init__()
        self.width = count("width", width)
        if isinstance(spectrum, str) and spectrum not in SPECTRA:
            raise InputError("spectrum", repr(spectrum), f"must be one of {', '.join(SPECTRA)}, or a function")
        self._given = spectrum
        self.averaging = rate("averaging", averaging, positive=True)
        if self.averaging > 1:
            raise InputError("averaging", averaging, "must be at most 1, the whole of the newest batch")
        if form not in ("residual", "byol"):
            raise InputError("form", repr(form), "must be 'residual' or 'byol'")
        if negative not in ("raise", "warn"):
            raise InputError("negative", repr(negative), "must be 'raise' or 'warn'")
        self.form, self.negative, self.floor = form, negative, rate("floor", floor)
        self.register_buffer("moment", torch.zeros(self.width, self.width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @classmethod
    def from_uniformity(cls, width: int, slope: Spectrum, **options: Any) -> Self:
        """Return the predictor g = 1 + u′ of a wanted uniformity, given u′(s); of u(s) itself, ``derivative(u)`` is one.

        ``options`` are those of the class, and it raises as the class does.
        """
        return cls(width, lambda s: 1 + slope(s), **options)

    @property
    def spectrum(self) -> Spectrum:
        """The function g."""
        return SPECTRA[self._given] if isinstance(self._given, str) else self._given

    def forward(self, z: Tensor) -> Tensor:
        """Return Pz for every row of ``z`` (..., k), with the Φ of so far."""
        return z @ self.matrix().to(z.dtype).T

    @torch.no_grad()
    def matrix(self) -> Tensor:
        """Return P = g(Φ), (k, k), with the Φ of so far; raises ``InputError`` as the class says."""
        if not self.batches:
            raise InputError("moment", "no batch", "must have been observed before there is a predictor")
        with torch.autocast(device_type=self.moment.device.type, enabled=False):
            values, vectors = torch.linalg.eigh(self.moment)
            spectrum = self._spectrum(values)
            return (vectors * spectrum) @ vectors.T

    @torch.no_grad()
    def observe(self, *embeddings: Tensor) -> None:
        """Take the embeddings of a batch, each (n, k), into the average; the first batch makes it. All processes must call it together."""
        total = torch.zeros(self.width * self.width + 1, dtype=self.moment.dtype, device=self.moment.device)
        for z in embeddings:
            self._check(z)
            part = z.to(self.moment.dtype)
            with torch.autocast(device_type=z.device.type, enabled=False):
                total[:-1] += (part.T @ part).flatten()
            total[-1] += len(z)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        newest = (total[:-1] / total[-1]).view(self.width, self.width)
        if not newest.isfinite().all():
            raise InputError("embeddings", "NaN, infinity or no rows", "must be finite")
        # Copied, so that the buffer stays the tensor that others may hold.
        self.moment.copy_(torch.lerp(self.moment, newest, self.averaging) if self.batches else newest)
        self.batches += 1

    def loss(self, first: Tensor, second: Tensor, targets: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the loss whose gradient is the force, for a batch used in both orders.

        Parameters
        ----------
        first, second : Tensor of shape (n, k)
            Embeddings of the two views, from the encoder that learns.
        targets : pair of Tensor of shape (n, k), optional
            Those of a target encoder (EMA) for the first and the second view; by default the embeddings themselves.

        Returns
        -------
        Tensor
            In the BYOL form ½E‖Pz − sg(z⁺)‖². In the residual form −E z·sg(z⁺ − Pz), of which only the gradient has a meaning.

        Notes
        -----
        In training mode Φ is averaged with this batch first. Processes whose batches differ in size weigh their samples as
        DistributedDataParallel averages their gradients.
        """
        others = (first, second) if targets is None else targets
        for z in (first, second, *others):
            self._check(z)
            if z.shape != first.shape:
                raise InputError("embeddings", f"shape {tuple(z.shape)}", f"must have the shape {tuple(first.shape)}")
        if self.training:
            self.observe(first, second)
        P = self.matrix()
        with torch.autocast(device_type=first.device.type, enabled=False):
            z = torch.cat((first, second)).to(P.dtype)
            z_plus = torch.cat((others[1], others[0])).to(P.dtype)
            return prediction_loss(z @ P.T, z_plus) if self.form == "byol" else residual_loss(z, z_plus, P)

    def check_averaging(
        self, encoder: nn.Module, x: Tensor, y: Tensor, step: float, *, iterations: int = 20, seed: int = 0
    ) -> Averaging:
        """Say whether gradient steps of this size ring with the moving average; warn if they do.

        Parameters
        ----------
        encoder : Module
            As trained, in a mode in which samples do not depend on each other. It is not changed.
        x, y : Tensor of shape (n, ...)
            Both views of as many samples as fit.
        step : float
            The learning rate of plain gradient descent.
        iterations, seed : int
            Power iterations, and the seed of their first vector.

        Notes
        -----
        The largest curvature of the residual form's objective in all parameters of the encoder, from below: its gradient is the
        residual force with Φ of all samples, and the curvature along a vector a central difference of gradients. That a mode rings
        above the limit holds near rest, where Φ alone restores it.
        """
        step = rate("step", step)
        parameters = {name: value for name, value in encoder.named_parameters() if value.requires_grad}
        start = nn.utils.parameters_to_vector(parameters.values()).detach()
        vector = torch.randn(len(start), generator=torch.Generator().manual_seed(seed), dtype=start.dtype)
        vector = vector.to(start.device)
        whole = SpectralPredictorModule(self.width, self._given, floor=self.floor).to(self.moment)
        # The third root of the rounding unit balances what a central difference rounds and what it leaves out.
        width = torch.finfo(start.dtype).eps ** (1 / 3) * max(start.norm().item(), 1.0)

        def gradient(at: Tensor) -> Tensor:
            parts = at.split([value.numel() for value in parameters.values()])
            own = {
                name: part.view_as(value).requires_grad_()
                for (name, value), part in zip(parameters.items(), parts, strict=True)
            }
            loss = whole.loss(*(functional_call(encoder, own, (view,)) for view in (x, y)))
            return nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(own.values())))

        curvature = 0.0
        for _ in range(count("iterations", iterations)):
            ahead = vector * (width / vector.norm())
            vector = (gradient(start + ahead) - gradient(start - ahead)) / (2 * width)
            curvature = vector.norm().item()
        limit = ringing(self.averaging)
        found = Averaging(step * curvature, limit, step * curvature > limit)
        if found.rings:
            warnings.warn(
                f"step times curvature is {found.product:.3g}, above {limit:.3g}: the moving average of the embedding covariance "
                f"(averaging = {self.averaging:g}) rings; average faster or make smaller steps",
                RuntimeWarning,
                stacklevel=2,
            )
        return found

    def extra_repr(self) -> str:
        """Say what is implemented."""
        what = self._given if isinstance(self._given, str) else getattr(self._given, "__name__", "function")
        return f"{self.width}, {what}, averaging={self.averaging:g}, form={self.form}"

    def _check(self, z: Tensor) -> None:
        if z.ndim != 2 or z.shape[1] != self.width:
            raise InputError("embeddings", f"shape {tuple(z.shape)}", f"must be (n, {self.width})")

    def _spectrum(self, values: Tensor) -> Tensor:
        s = values.clamp(min=self.floor)  # also what rounding puts below 0
        found = self.spectrum(s)
        if found.shape != s.shape:
            raise InputError(
                "spectrum", f"function to shape {tuple(found.shape)}", f"must keep the shape {tuple(s.shape)}"
            )
        if not found.isfinite().all():
            worst = s[~found.isfinite()][0].item()
            raise InputError("spectrum", f"not finite at s = {worst:.3g}", "must be finite: give a floor above 0")
        if self.form == "byol" and (negative := found < 0).any():
            lost = int(negative.sum())
            why = f"g < 0 in {lost} of {self.width} dimensions, up to s = {s[negative].max().item():.3g}"
            if self.negative == "raise":
                raise InputError("form", "byol", f"must be 'residual': {why}, and BYOL's form kills them")
            warnings.warn(f"{why}: BYOL's form kills them", RuntimeWarning, stacklevel=3)
        return found

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the module, but keep Φ in float32 at least: half precision would lose a slow average."""
        kept = self.moment
        super()._apply(fn, recurse)
        if self.moment.dtype in (torch.float16, torch.bfloat16):
            self.moment = kept.to(self.moment.device)
        return self
