"""The flow of a measured last layer on features that stay, and the steps of descent that a training makes of it."""

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


def velocity(
    encoder: Any, predictor: Any, target: Any, context: Any, cross: Any, *, rate: Any, decay: Any, predictor_decay: Any
) -> tuple[Any, Any]:
    """Return Ẇ and Ṗ of the JEPA flow, without an explicit term.

    Arrays of NumPy or tensors of PyTorch alike: W, V (..., k, h), P (..., k, k), Σ_x, Σ_yx (..., h, h); α and the decays broadcast.
    """
    residual = target @ cross - predictor @ encoder @ context
    return predictor.mT @ residual - decay * encoder, rate * residual @ encoder.mT - predictor_decay * predictor


def descend(
    encoder: Any,
    predictor: Any,
    target: Any,
    context: Any,
    cross: Any,
    *,
    steps: int,
    step: Any,
    rate: Any,
    decay: Any,
    follow: Any,
) -> tuple[Any, Any, Any]:
    """Return W, P and V after ``steps`` steps ε of simultaneous descent on features that stay, many layers at once.

    Arguments as of :func:`velocity`; ``follow`` is εβ, at most 1, and the target follows the encoder of the same step, as in a training.
    """
    for _ in range(steps):
        force, answer = velocity(
            encoder, predictor, target, context, cross, rate=rate, decay=decay, predictor_decay=decay
        )
        encoder, predictor = encoder + step * force, predictor + step * answer
        target = target + follow * (encoder - target)
    return encoder, predictor, target


def solve(layer: LastLayer, settings: RunSettings, times: ArrayLike, *, method: str = "DOP853") -> Path:
    """Integrate the last layer's flow from now, to four digits.

    Directions in which no feature of either view varies are left out: there W only decays, and no moment sees it.

    Parameters
    ----------
    layer : LastLayer
        W, P, V now, and the features' moments.
    settings : RunSettings
        Constants.
    times : array_like of shape (T,)
        Increasing from at least 0, in flow time from now.
    method : "DOP853" or "LSODA"
        The latter only for a few dozen numbers in W and P: its Jacobian is dense.

    Returns
    -------
    Path
        ``encoder`` (T, k, h), ``predictor`` (T, k, k) and ``target`` (T, k, h); its status says whether the end was reached.
    """
    views, eta, beta = layer.views, settings.weight_decay, settings.ema_rate
    basis = _varying(views.context + views.target)
    context, cross = (basis.T @ part @ basis for part in (views.context, views.cross))
    W, V = layer.encoder @ basis, layer.leading @ basis
    start = {"encoder": W, "predictor": layer.predictor} | ({"target": V} if beta is not None else {})

    def field(state: State) -> State:
        W, P = state["encoder"], state["predictor"]
        V = W if beta is None else state["target"]
        force, answer = velocity(
            W,
            P,
            V,
            context,
            cross,
            rate=settings.predictor_rate,
            decay=eta,
            predictor_decay=settings.decay_of_predictor,
        )
        if settings.uniformity is not None and settings.strength:
            Phi = W @ context @ W.T
            try:
                slope = settings.uniformity.gradient((Phi + Phi.T) / 2)
            except InputError as problem:
                # A flow that runs into a singularity ends with a status, not an error.
                raise np.linalg.LinAlgError(str(problem)) from problem
            force = force - 2 * settings.strength * slope @ W @ context
        found = {"encoder": force, "predictor": answer}
        if beta is not None:
            found["target"] = beta * (W - V)
        return found

    found = integrate(field, start, times, method=method, rtol=1e-5, atol=1e-8)
    still, ahead = layer.encoder - W @ basis.T, layer.leading - V @ basis.T
    t = found.times[:, None, None]
    states = dict(found.states)
    states["encoder"] = states["encoder"] @ basis.T + np.exp(-eta * t) * still
    if beta is None:
        states["target"] = states["encoder"]
    else:
        slow, fast = sorted((eta, beta))
        # V̇ = β(We^{−ηt} − V): (e^{−ηt} − e^{−βt})/(β − η) without cancellation.
        led = beta * t * np.exp(-slow * t) * exprel(-(fast - slow) * t)
        states["target"] = states["target"] @ basis.T + np.exp(-beta * t) * ahead + led * still
    return Path(found.times, states, found.status, found.method, evaluations=found.evaluations)


def _varying(moment: Array) -> Array:
    """Return an orthonormal basis of the directions in which features vary, (h, r)."""
    return np.linalg.qr(moment @ inverse_root(moment))[0]
