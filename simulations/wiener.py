"""The learnt predictor as a Wiener filter, in every mode of linear and deep encoders of digits (2.3, 4.3, 1.5).

At rest the predictor's own equation, αRWᵀ = ηP, makes it the ridge regression P = K(Φ + (η/α)I)⁻¹ of one view's embedding on the
other's, for any encoder below; without weight decay it is the least-squares predictor, whose spectrum are the correlations ρ of the
embedding's modes. And at any moment of any run the surplus force of a mode expands it iff p < 1, as long as p > ρ − 1 (2.3).
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from jepalign.linear_models.implicit_uniformity import mode_forces
from jepalign.measurements import Measurement
from jepalign.simulations.data import PairedViews, both_orders, digit_views
from jepalign.simulations.encoders import DEEP, LINEAR, MLP, digit_encoder, linear_predictor
from jepalign.simulations.results import REFUSAL, Row, Series, check_scale, measured, numpy, row, stated
from jepalign.simulations.training import JEPA, Progress, Rates, device_named, train


@dataclass(frozen=True)
class WienerPlan:
    """One scale: encoders as (widths, activation), full-batch training steps and records of each run."""

    encoders: tuple[tuple[tuple[int, ...], str], ...]
    steps: int
    records: int


SCALES = {
    "quick": WienerPlan(((LINEAR, "linear"), (DEEP, "tanh")), steps=60, records=4),
    "paper": WienerPlan(((LINEAR, "linear"), (DEEP, "tanh"), (DEEP, "relu"), (DEEP, "gelu")), steps=1000, records=26),
}
SETTINGS = {
    "no decay": Rates(step=0.1, predictor=8.0),
    "decay": Rates(step=0.1, predictor=8.0, weight_decay=0.003),
}
SIGN = (
    "the measured surplus power u·F_uWᵀu along each axis u of the embedding with p > ρ − 1 is positive iff p < 1, in all records but one"
    " in fifty of axes and records (or of the second half of the records); error is the share of exceptions over 0.02"
)
RIDGE = "‖P − K(Φ + (η/α)I)⁻¹‖ at the end ≤ 0.05 ‖P‖; error is the ratio"
CLOSE = "|p − ρs/(s + η/α)| at the end, averaged over the embedding's axes with the share of variance s as weight, ≤ 0.05; error in these"


def wiener(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure the spectrum of the learnt predictor against the correlations of the embedding's modes along trainings on digits.

    Returns
    -------
    Measurement
        With Q runs, R records and k axes, the principal axes u of the embedding by ascending moment: ``architecture``, ``setting``
        (Q,), ``step`` (R,); ``moment``, s, ``correlation``, ρ = u·Ku/s, ``predictor``, p = u·Pu, ``surplus``, the measured power
        u·F_uWᵀu, and ``predicted``, s(1−p)(1+p−ρ) (Q, R, k); ``ridge``, ‖P − K(Φ + (η/α)I)⁻¹‖ by ‖P‖ (Q, R).

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    views = digit_views(device=where, seed=seed)
    records = np.unique(np.linspace(0, plan.steps - 1, plan.records).round().astype(int))
    cases = [(*encoder, setting) for encoder in plan.encoders for setting in SETTINGS]
    found: list[dict[str, np.ndarray]] = []
    rows: list[Row] = []
    labels: list[tuple[str, str]] = []
    for done, (widths, activation, setting) in enumerate(cases):
        encoder = digit_encoder(widths, activation, views, seed, hidden_bias=activation != "relu")
        labels.append((encoder.architecture, setting))
        if progress is not None:
            progress(done, len(cases), ", ".join(labels[-1]))
        run = wiener_run(encoder, views, SETTINGS[setting], records, seed=seed)
        found.append(run)
        rows += wiener_rows(labels[-1], run, SETTINGS[setting])
    if progress is not None:
        progress(len(cases), len(cases), "done")
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays |= {
        key: np.array(values)
        for key, values in zip(("architecture", "setting"), zip(*labels, strict=True), strict=True)
    }
    arrays["step"] = records
    criteria = {"sign": SIGN, "ridge": RIDGE, "spectrum": CLOSE}
    return measured("wiener", arrays, rows, stated(criteria), device=where, scale=scale, seed=seed)


def wiener_run(
    encoder: MLP, views: PairedViews, rates: Rates, records: np.ndarray, *, seed: int
) -> dict[str, np.ndarray]:
    """Train one JEPA on all pairs in both orders, and return the per-record arrays of :func:`wiener`; NaN after a divergence."""
    width = encoder.last.out_features
    jepa = JEPA(encoder, linear_predictor(width, seed=seed + 1, device=views.x.device), rates)
    axes = ("moment", "correlation", "predictor", "surplus", "predicted")
    found = {key: np.full((len(records), width), np.nan) for key in axes} | {"ridge": np.full(len(records), np.nan)}

    def look(step: int, x: Tensor, y: Tensor) -> None:
        for index in np.flatnonzero(records == step):
            z, z_plus = (numpy(encoder(part).detach()) for part in (x, y))
            P = numpy(jepa.predictor.get_parameter("weight"))
            for key, value in spectra(z, z_plus, P, rates).items():
                found[key][index] = value

    x, y = both_orders(views.x, views.y)
    train(jepa, ((x, y) for _ in range(int(records[-1]) + 1)), before=look)
    return found


def spectra(z: np.ndarray, z_plus: np.ndarray, P: np.ndarray, rates: Rates) -> dict[str, np.ndarray | float]:
    """Return what :func:`wiener_run` records of embeddings of a batch in both orders, (n, k), and the predictor (k, k)."""
    phi, K = z.T @ z / len(z), z_plus.T @ z / len(z)
    ridge = np.linalg.solve(phi + rates.weight_decay / rates.predictor * np.eye(len(phi)), K.T).T
    s, axes = np.linalg.eigh(phi)
    s = np.maximum(s, np.finfo(float).tiny)
    surplus = P.T @ (K - P @ phi) - (K - phi)
    rho, p, power = (np.einsum("ij,jk,ki->i", axes.T, part, axes) for part in (K, P, surplus))
    rho = rho / s
    predicted = mode_forces(np.sqrt(s), p, rho, np.ones_like(rho)).power  # of a mode with σ = 1, w = √s
    gap = float(np.linalg.norm(P - ridge) / np.linalg.norm(P))
    return {"moment": s, "correlation": rho, "predictor": p, "surplus": power, "predicted": predicted, "ridge": gap}


def wiener_rows(labels: tuple[str, str], run: dict[str, np.ndarray], rates: Rates) -> list[Row]:
    """Return the rows of one run: sign of every mode, the ridge regression, the spectrum, and a control."""
    place = ", ".join(labels)
    rho, p, s = run["correlation"], run["predictor"], run["moment"]
    lost = np.isnan(rho).any()
    decided = (p > rho - 1) & (np.abs(1 - p) > 1e-10)

    def share(expands: np.ndarray, first: int = 0) -> np.ndarray:
        wrong = (decided & ((run["surplus"] > 0) != expands))[first:].sum() / max(1, decided[first:].sum())
        return np.array([np.nan if lost else wrong])

    right, reverse = share(p < 1), share(p > 1)
    late = share(p < 1, len(p) // 2)
    size = run["ridge"][-1:]
    weight = s[-1] / s[-1].sum()
    shrunk = rho[-1] * s[-1] / (s[-1] + rates.weight_decay / rates.predictor)
    off = (weight * np.abs(p[-1] - shrunk)).sum(keepdims=True)
    expected, seen = ((weight * value).sum(keepdims=True) for value in (shrunk, p[-1]))
    return [
        row("wiener: sign on every axis", place, Series(0 * right, right, right / 0.02), criterion=SIGN),
        row("wiener: sign on every axis, second half", place, Series(0 * late, late, late / 0.02), criterion=SIGN),
        row("wiener: ridge regression at rest", place, Series(0 * size, size, size / 0.05), criterion=RIDGE),
        row("wiener: predictor against correlations", place, Series(expected, seen, off / 0.05), criterion=CLOSE),
        row(
            "wiener: control, expands iff p > 1",
            place,
            Series(0 * reverse, reverse, reverse / 0.02 * REFUSAL / 40),
            criterion=f"a false version put to the same test: its share of exceptions ≥ {40 * 0.02:g}",
            at_least=REFUSAL,
        ),
    ]
