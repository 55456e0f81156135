"""What a joint-embedding model does on a batch, measured by automatic differentiation: moments, forces, power, balance.

A :class:`Probe` attaches to any encoder and predictor that are PyTorch modules, during anybody's training loop; it
reads and never changes them. The encoder must end in a linear layer without bias: the forces of 2.1 and 2.4 and the
balance of 3.1 are those of its weight W. What a whole training does, without a second pass and for any last layer, is
recorded by :class:`jepalign.simulations.recording.Recorder`.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from jepalign.errors import InputError
from jepalign.linear_models.conservation import discrete_drift
from jepalign.simulations.objectives import prediction_loss, second_moment
from jepalign.simulations.training import Rates


@dataclass(frozen=True)
class Observation:
    """One batch seen through a JEPA; E is the mean over its n rows, and the loss in the forces is ½E‖ẑ − sg(z̄)‖².

    Attributes
    ----------
    features : Tensor of shape (n, h)
        Inputs of the last layer.
    embedding, target, prediction : Tensor of shape (n, k)
        z, z̄ (never differentiated) and ẑ.
    moment, cross : Tensor of shape (k, k)
        Φ = E zzᵀ and K = E z̄zᵀ, not centred.
    weight : Tensor of shape (k, h)
        W, the last layer of the encoder.
    attraction, repulsion : Tensor of shape (k, h)
        The two terms of −∂L/∂W (2.1): ∇E⟨ẑ, z̄⟩ and −∇½E‖ẑ‖², for a linear predictor PᵀVΣ_yx and −PᵀPWΣ_x in features.
    pull : Tensor of shape (k, h)
        The force of plain alignment ½E‖z − sg(z̄)‖² in the same place.
    residual : Tensor of shape (m, h)
        R = ∂ℓ/∂(PW) of the loss ℓ that :meth:`Probe.observe` was given, from its gradient at ẑ and the features.
    alignment, correction, asymmetry : float
        The three terms of 2.4: ½E‖z − z̄‖², E⟨Jz, z̄ − ẑ⟩ with J the predictor's Jacobian at z (tr[Pᵀ(K − PΦ)] if it is
        linear) and ½(E‖z‖² − E‖z̄‖²).
    """

    features: Tensor
    embedding: Tensor
    target: Tensor
    prediction: Tensor
    moment: Tensor
    cross: Tensor
    weight: Tensor
    attraction: Tensor
    repulsion: Tensor
    pull: Tensor
    residual: Tensor
    alignment: float
    correction: float
    asymmetry: float

    @property
    def surplus(self) -> Tensor:
        """F_u, (k, h): what the JEPA's force on W has beyond plain alignment's."""
        return self.attraction + self.repulsion - self.pull

    @property
    def power(self) -> float:
        """tr(F_uWᵀ) as it acts: the implicit repulsive power."""
        return (self.surplus * self.weight).sum().item()

    @property
    def predicted_power(self) -> float:
        """tr(F_uWᵀ) as 2.4 has it, from embeddings alone."""
        return self.alignment + self.correction + self.asymmetry


class Probe:
    """Attach to an encoder, its predictor and its target encoder.

    Parameters
    ----------
    encoder : nn.Module
        Maps a batch (n, ...) to embeddings (n, ..., k); the axes between are counted as rows.
    predictor : nn.Module, optional
        Maps embeddings to predictions of the target, differentiably. None: no predictor.
    target : nn.Module, optional
        Target encoder; None: the encoder itself under stop-gradient.
    last : nn.Linear, optional
        The last layer of the encoder; by default the last linear module it registers.

    Raises
    ------
    InputError
        If the encoder has no linear layer, or its last one has a bias.
    """

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module | None = None,
        *,
        target: nn.Module | None = None,
        last: nn.Linear | None = None,
    ) -> None:
        self.encoder = encoder
        self.predictor = nn.Identity() if predictor is None else predictor
        self.target = encoder if target is None else target
        layers = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
        if last is None and not layers:
            raise InputError("encoder", type(encoder).__name__, "must contain a linear layer")
        self.last = layers[-1] if last is None else last
        # Typed Tensor by PyTorch, None in a layer built without one.
        if getattr(self.last, "bias", None) is not None:
            raise InputError("encoder", type(encoder).__name__, "must end in a linear layer without bias")

    @property
    def matrix(self) -> Tensor:
        """P, (k, k), without gradient; raises ``InputError`` unless the predictor is linear without bias."""
        if isinstance(self.predictor, nn.Linear) and getattr(self.predictor, "bias", None) is None:
            return self.predictor.weight.detach()
        if isinstance(self.predictor, nn.Identity):
            weight = self.last.weight.detach()
            return torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        raise InputError("predictor", type(self.predictor).__name__, "must be linear without bias to have a matrix")

    @contextmanager
    def _untouched(self) -> Generator[None, None, None]:
        """Put back whatever buffers a forward pass changes (the running statistics of batch-norm)."""
        modules = (self.encoder, self.predictor, self.target)
        saved = [(buffer, buffer.detach().clone()) for module in modules for buffer in module.buffers()]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in saved:
                    buffer.copy_(value)

    @contextmanager
    def _features(self) -> Generator[list[Tensor], None, None]:
        """Collect the inputs of the last layer while the context lasts."""
        seen: list[Tensor] = []

        def collect(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            seen.append(arguments[0])

        hook = self.last.register_forward_pre_hook(collect)
        try:
            yield seen
        finally:
            hook.remove()

    def observe(
        self, x: Tensor, y: Tensor, *, loss: Callable[[Tensor, Tensor], Tensor] = prediction_loss
    ) -> Observation:
        """Measure a batch of contexts ``x`` and targets ``y``; ``loss`` is only that of ``residual``."""
        with self._untouched():
            return self._observe(x, y, loss)

    def _observe(self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Observation:
        with torch.no_grad():
            target = _rows(self.target(y))
        with self._features() as seen:
            z = self.encoder(x)
        features = _rows(seen[-1]).detach()
        prediction = self.predictor(z)
        rows, predicted = _rows(z), _rows(prediction)
        weight = self.last.weight

        def force(potential: Tensor) -> Tensor:
            # 0·ΣW keeps W in the graph of a potential that does not depend on it (a predictor that is constant).
            return torch.autograd.grad(potential + 0 * weight.sum(), weight, retain_graph=True)[0]

        attraction = force((predicted * target).sum(1).mean())
        repulsion = force(-predicted.square().sum(1).mean() / 2)
        pull = force(-(rows - target).square().sum(1).mean() / 2)
        cotangent = torch.autograd.grad(loss(predicted, target), predicted)[0]

        z, rows, predicted = z.detach(), rows.detach(), predicted.detach()
        # J z by differentiating twice in reverse: PyTorch's forward mode warns of its own deprecated parts.
        moved = _rows(cast("Tensor", torch.autograd.functional.jvp(self.predictor, z, z)[1]))
        return Observation(
            features=features,
            embedding=rows,
            target=target,
            prediction=predicted,
            moment=second_moment(rows),
            cross=target.T @ rows / len(rows),
            weight=weight.detach().clone(),
            attraction=attraction,
            repulsion=repulsion,
            pull=pull,
            residual=cotangent.T @ features,
            alignment=(rows - target).square().sum(1).mean().item() / 2,
            correction=(moved * (target - predicted)).sum(1).mean().item(),
            asymmetry=(rows.square().sum(1).mean() - target.square().sum(1).mean()).item() / 2,
        )

    def layer_powers(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Return ⟨F_u, θ⟩ for every parameter θ of the encoder, and under "embedding" E⟨f_u, z⟩ at its output.

        F_u is the JEPA's force on θ minus plain alignment's. By Euler's theorem all weights of a network that is
        homogeneous of degree one in each of them (ReLU, no biases) have the same power as the last.
        """
        named = dict(self.encoder.named_parameters())
        with self._untouched():
            with torch.no_grad():
                target = _rows(self.target(y))
            z = self.encoder(x)
            prediction = _rows(self.predictor(z))
            surplus = ((_rows(z) - target).square().sum(1) - (prediction - target).square().sum(1)).mean() / 2
            forces = torch.autograd.grad(surplus, [*named.values(), z])
        points = [*named.values(), z]
        names = [*named, "embedding"]
        return {
            name: (force * point.detach()).sum().item()
            for name, force, point in zip(names, forces, points, strict=True)
        }

    def balance(self, predictor_rate: float) -> Tensor:
        """Return WWᵀ − PᵀP/α, (k, k), the quantity that 3.1 conserves; the predictor must be linear without bias."""
        weight, predictor = self.last.weight.detach(), self.matrix
        return weight @ weight.T - predictor.T @ predictor / predictor_rate

    def balance_drift(self, seen: Observation, rates: Rates) -> Tensor:
        """Return the exact change of :meth:`balance`, beyond its decay by (1 − εη)², in a gradient step (3.3), (k, k).

        The step is that of the batch and loss of ``seen``, with the rates of encoder and predictor in ``rates``; to be
        called before it is made.
        """
        known = (part.cpu().numpy() for part in (seen.weight, self.matrix, seen.residual))
        drift = discrete_drift(*known, step_size=rates.step, predictor_rate=rates.predictor)
        return torch.as_tensor(drift, dtype=seen.weight.dtype, device=seen.weight.device)

    def gram_drift(self, seen: Observation, rates: Rates) -> Tensor:
        """Return ε²GGᵀ, (k, k), G = PᵀR = ∂L/∂W: the change of :meth:`gram` beyond its decay (3.2).

        Exact in a step under the least-squares predictor of the batch of ``seen``; to be called before it is made.
        """
        gradient = self.matrix.T @ seen.residual
        return rates.step**2 * gradient @ gradient.T

    def gram(self) -> Tensor:
        """Return WWᵀ, (k, k), the quantity that 3.2 conserves under the least-squares predictor."""
        weight = self.last.weight.detach()
        return weight @ weight.T


def _rows(tensor: Tensor) -> Tensor:
    """Count every axis but the last as rows: (n, ..., k) → (n·..., k)."""
    return tensor.reshape(-1, tensor.shape[-1])


def effective_rank(moment: Tensor) -> float:
    """Return exp of the entropy of the normalised eigenvalues of a covariance (Roy & Vetterli 2007); 0 if it is 0."""
    eigenvalues = torch.linalg.eigvalsh(moment).clamp(min=0)
    total = eigenvalues.sum()
    if total == 0:
        return 0.0
    share = eigenvalues / total
    return torch.exp(-torch.special.xlogy(share, share).sum()).item()


def rankme(moment: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of the embeddings (RankMe, Garrido et al. 2023).

    ``moment`` is their second moment E zzᵀ, not centred, (k, k), whose eigenvalues are the squares; 0 if it is 0. The
    constant 1e-7 that the paper adds to every share is left out.
    """
    singular = torch.linalg.eigvalsh(moment).clamp(min=0).sqrt()
    total = singular.sum()
    if total == 0:
        return 0.0
    share = singular / total
    return torch.exp(-torch.special.xlogy(share, share).sum()).item()


def covariance(z: Tensor) -> Tensor:
    """Return the centred second moment of embeddings, (k, k)."""
    return second_moment(z - z.mean(0))
