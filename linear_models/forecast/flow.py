"""The flow of a measured last layer, on features that stay or that layers below move, and the steps a training makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import exprel

from jepalign.errors import InputError
from jepalign.linear_models.flow import Path, State, integrate
from jepalign.linear_models.forecast.layer import LastLayer
from jepalign.linear_models.forecast.settings import RunSettings
from jepalign.linear_models.rest import inverse_root

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matrices:
    """Everything that moves. Arrays of NumPy or tensors of PyTorch alike, with any leading axes.

    Attributes
    ----------
    encoder, predictor, target : array
        W and V, (..., k, h), and P, (..., k, k).
    below, below_target : tuple of array
        A_1, …, A_m, (..., h, h): linear layers between today's features h and W, I at first, that stand for the layers which made
        them; and the target's. Without them features stay.
    """

    encoder: Any
    predictor: Any
    target: Any
    below: tuple[Any, ...] = ()
    below_target: tuple[Any, ...] = ()

    @property
    def acting(self) -> Any:
        """WA_m…A_1, (..., k, h): the encoder as it acts on the features of the start."""
        return _through(self.encoder, self.below)


def velocity(
    now: Matrices,
    context: Any,
    cross: Any,
    *,
    rate: Any,
    decay: Any,
    predictor_decay: Any,
    below: Sequence[Any] = (),
    constant: bool = False,
) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return Ẇ, Ṗ and every Ȧ of the JEPA flow, without an explicit term.

    Ẇ = PᵀRXᵀ − ηW, Ṗ = αR(WX)ᵀ − η_P P and Ȧ_l = κ_l(WA_m…A_{l+1})ᵀPᵀR(A_{l−1}…A_1)ᵀ − ηA_l, with X = A_m…A_1 and the residual
    R = VYΣ_yx − PWXΣ_x, Y being the target's X. ``below`` are the κ_l; all rates broadcast.

    ``constant``: the last feature is the constant 1, on which biases act. W does not read it and no layer changes it, and the last of
    the rates that a layer has for each column, (..., 1, h + 1), is its bias's, ν_l. With the last row (0, 1) the A_l are affine maps.
    """
    acting = now.acting
    residual = _through(now.target, now.below_target) @ cross - now.predictor @ acting @ context
    pull = now.predictor.mT @ residual
    answer = rate * residual @ acting.mT - predictor_decay * now.predictor
    moved: list[Any] = []
    back = now.encoder
    for index in reversed(range(len(now.below))):
        change = back.mT @ _behind(pull, now.below[:index]) * below[index] - decay * now.below[index]
        if constant:
            change[..., -1, :] = 0
        moved.append(change)
        back = back @ now.below[index]
    force = _behind(pull, now.below) - decay * now.encoder
    if constant:
        force[..., -1] = 0
    return force, answer, tuple(reversed(moved))


def descend(
    now: Matrices,
    context: Any,
    cross: Any,
    *,
    steps: int,
    step: Any,
    rate: Any,
    decay: Any,
    follow: Any,
    below: Sequence[Any] = (),
    constant: bool = False,
) -> Matrices:
    """Return what moves after ``steps`` steps ε of simultaneous descent, of many layers at once.

    Arguments as of :func:`velocity`; ``follow`` is εβ, at most 1, and the target follows the encoder of the same step, as in a training.
    """
    for _ in range(steps):
        force, answer, moved = velocity(
            now, context, cross, rate=rate, decay=decay, predictor_decay=decay, below=below, constant=constant
        )
        encoder, predictor = now.encoder + step * force, now.predictor + step * answer
        layers = tuple(part + step * change for part, change in zip(now.below, moved, strict=True))
        now = Matrices(
            encoder,
            predictor,
            now.target + follow * (encoder - now.target),
            layers,
            tuple(part + follow * (lead - part) for part, lead in zip(now.below_target, layers, strict=True)),
        )
    return now


def solve(
    layer: LastLayer,
    settings: RunSettings,
    times: ArrayLike,
    *,
    moving: bool = False,
    method: str = "DOP853",
    evaluations: int = 200_000,
) -> Path:
    """Integrate the last layer's flow from now, to four digits.

    While features stay, directions in which none of either view varies are left out: there W only decays, and no moment sees it.

    Parameters
    ----------
    layer : LastLayer
        W, P, V now, and the features' moments.
    settings : RunSettings
        Constants.
    times : array_like of shape (T,)
        Increasing from at least 0, in flow time from now.
    moving : bool
        Let the layers below move the features, at the rates ``layer.below`` and, where known, ``layer.biases``; otherwise they stay.
    method : "DOP853" or "LSODA"
        The latter only for a few dozen numbers in W and P: its Jacobian is dense.
    evaluations : int
        Of the velocity, at most: modes that grow without bound below a nonlinearity that would hold them make the flow stiff.

    Returns
    -------
    Path
        ``encoder`` (T, k, h), ``predictor`` (T, k, k) and ``target`` (T, k, h), all as they act on the features of now; its status says
        whether the end was reached. With biases moving, W and V have one more column, which acts on a constant 1.
    """
    views, eta, beta = layer.views, settings.weight_decay, settings.ema_rate
    rates: tuple[Any, ...] = layer.below if moving else ()
    constant = bool(rates and layer.biases)
    whole, leading = layer.encoder, layer.leading
    if constant:
        context, cross = layer.with_constant()
        basis = np.eye(len(context))
        whole, leading = (np.pad(part, ((0, 0), (0, 1))) for part in (whole, leading))
        rates = tuple(
            np.append(np.full(views.dimension, own), bias) for own, bias in zip(rates, layer.biases, strict=True)
        )
    else:
        # Layers below may turn features into any direction that W reads.
        basis = np.eye(views.dimension) if rates else _varying(views.context + views.target)
        context, cross = (basis.T @ part @ basis for part in (views.context, views.cross))
    W, V = whole @ basis, leading @ basis
    names = [f"below {index}" for index in range(len(rates))]
    unit = np.eye(basis.shape[1])
    start = {"encoder": W, "predictor": layer.predictor} | dict.fromkeys(names, unit)
    if beta is not None:
        start |= {"target": V} | {f"target {name}": unit for name in names}

    def field(state: State) -> State:
        now = _matrices(state, names, lagging=beta is not None)
        force, answer, moved = velocity(
            now,
            context,
            cross,
            rate=settings.predictor_rate,
            decay=eta,
            predictor_decay=settings.decay_of_predictor,
            below=rates,
            constant=constant,
        )
        found = {"encoder": force, "predictor": answer} | dict(zip(names, moved, strict=True))
        if settings.uniformity is not None and settings.strength:
            _add_explicit(found, now, context, rates, names, settings, constant=constant)
        if beta is not None:
            found["target"] = beta * (now.encoder - now.target)
            for name in names:
                found[f"target {name}"] = beta * (state[name] - state[f"target {name}"])
        return found

    found = integrate(field, start, times, method=method, rtol=1e-5, atol=1e-8, max_evaluations=evaluations)
    acting = [
        _matrices({name: part[i] for name, part in found.states.items()}, names, lagging=beta is not None)
        for i in range(len(found.times))
    ]
    shape = (len(found.times), *W.shape)
    encoder = np.array([part.acting for part in acting]).reshape(shape) @ basis.T
    target = np.array([_through(part.target, part.below_target) for part in acting]).reshape(shape) @ basis.T
    still, ahead = whole - W @ basis.T, leading - V @ basis.T
    t = found.times[:, None, None]
    encoder += np.exp(-eta * t) * still
    if beta is None:
        target = encoder
    else:
        slow, fast = sorted((eta, beta))
        # V̇ = β(We^{−ηt} − V): (e^{−ηt} − e^{−βt})/(β − η) without cancellation.
        led = beta * t * np.exp(-slow * t) * exprel(-(fast - slow) * t)
        target += np.exp(-beta * t) * ahead + led * still
    states = {"encoder": encoder, "predictor": found.states["predictor"], "target": target}
    return Path(found.times, states, found.status, found.method, evaluations=found.evaluations)


def _matrices(state: State, names: Sequence[str], *, lagging: bool) -> Matrices:
    below = tuple(state[name] for name in names)
    if not lagging:
        return Matrices(state["encoder"], state["predictor"], state["encoder"], below, below)
    led = tuple(state[f"target {name}"] for name in names)
    return Matrices(state["encoder"], state["predictor"], state["target"], below, led)


def _add_explicit(
    found: dict[str, Array],
    now: Matrices,
    context: Array,
    rates: Sequence[Any],
    names: Sequence[str],
    settings: RunSettings,
    *,
    constant: bool,
) -> None:
    """Add −γ∇U to the velocities of W and of the layers below."""
    acting = now.acting
    Phi = acting @ context @ acting.T
    assert settings.uniformity is not None
    try:
        slope = settings.uniformity.gradient((Phi + Phi.T) / 2)
    except InputError as problem:
        # A flow that runs into a singularity ends with a status, not an error.
        raise np.linalg.LinAlgError(str(problem)) from problem
    # The force on WX passes on to its factors as PᵀR does.
    pull, back = -2 * settings.strength * slope @ acting @ context, now.encoder
    for index in reversed(range(len(names))):
        change = back.T @ _behind(pull, now.below[:index]) * rates[index]
        if constant:
            change[-1] = 0
        found[names[index]] = found[names[index]] + change
        back = back @ now.below[index]
    force = _behind(pull, now.below)
    if constant:
        force[:, -1] = 0
    found["encoder"] = found["encoder"] + force


def _through(last: Any, layers: Sequence[Any]) -> Any:
    """Return the product of a last layer and those below it, the first of which comes first."""
    for part in reversed(layers):
        last = last @ part
    return last


def _behind(pull: Any, layers: Sequence[Any]) -> Any:
    """Return a force on WX as it acts behind the layers A_1, …: pull · (… A_1)ᵀ."""
    for part in layers:
        pull = pull @ part.mT
    return pull


def _varying(moment: Array) -> Array:
    """Return an orthonormal basis of the directions in which features vary, (h, r)."""
    return np.linalg.qr(moment @ inverse_root(moment))[0]
