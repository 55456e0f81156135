"""The forecast of collapse, put to trainings it has not seen: which dimensions are alive at the end, told at 2, 5 and 10% of it (4.3).

Networks of several architectures train on mini-batches under settings drawn at random. From the last layer measured on one batch the
end is told by the static threshold, by its flow on features that stay, by its flow with the layers below taken for linear ones and
for affine ones, and by a logistic regression on the first and the last. Beside them stand RankMe, the effective rank extrapolated,
every eigenvalue's logarithm extrapolated, and scores that know weight decay and dimension index alone. What is fitted is fitted to
some architectures, and all are judged on the others. Dimensions are matched by order.
"""

import numpy as np

from jepalign.linear_models.forecast.intervals import beyond, conformal, interval, rank_range
from jepalign.measurements import Measurement
from jepalign.simulations.forecast_rows import (
    CRITERIA,
    FAR,
    LEVEL,
    RANKS,
    add_fitted,
    forecast_rows,
    judged,
    pooled,
    told_rank,
)
from jepalign.simulations.forecast_runs import MEASURED, SAMPLED, ForecastPlan, forecast_run
from jepalign.simulations.results import check_scale, measured, stated
from jepalign.simulations.training import Progress, device_named

SCALES = {
    "quick": ForecastPlan(
        fitted=(((64, 24, 8), "tanh"),),
        held=(((64, 24, 8), "relu"),),
        members=6,
        batch=32,
        measured=64,
        steps=400,
        blocks=4,
        sampled=3,
        replicates=3,
    ),
    "paper": ForecastPlan(
        fitted=(
            ((64, 64, 16), "tanh"),
            ((64, 64, 16), "relu"),
            ((64, 48, 48, 16), "gelu"),
            ((64, 32, 16), "linear"),
        ),
        # On none of these was anything fitted or chosen.
        held=(
            ((64, 128, 16), "relu"),
            ((64, 80, 40, 16), "tanh"),
            ((64, 40, 40, 40, 16), "gelu"),
            ((64, 64, 16), "silu"),
            ((64, 96, 48, 16), "silu"),
            ((64, 48, 48, 16), "elu"),
        ),
        members=10,
        batch=64,
        measured=256,
        steps=2500,
        blocks=8,
        sampled=3,
        replicates=5,
    ),
}


def forecast(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Tell which embedding dimensions are alive at the end of a training, early in it, and compare.

    Returns
    -------
    Measurement
            With Q architectures, M members each, 3 fractions of the training at which is told, and k dimensions: ``architecture`` (Q,),
        ``held``, 1 where nothing was fitted, ``fraction`` (3,); ``weight_decay``, ``predictor_rate``, ``ema_rate``, ``step``,
        ``diverged`` and ``floor``, the eigenvalue above which a dimension is alive (Q, M); ``survived`` and ``end``, log₁₀ of the
        eigenvalues at the end over the floor, on all views (Q, M, k). Scores positive where survival is told (Q, M, 3, k): ``static``,
        log₁₀(η_c/η), ``flow``, ``moving``, ``affine`` and ``extrapolation``, log₁₀ of the eigenvalue over the floor by the last layer's
        flow on features that stay, on features that weights below move, and biases too, and by extrapolation, ``fitted`` and
        ``trivial``, log-odds; ranks ``rankme`` and ``effective_rank`` (Q, M, 3); ``grown`` and ``grown_told``, log₁₀ of what the
        features' second moment grows by to the end (Q, M, 3). At the second fraction of some members ``resampled``, what moments of
        resampled blocks tell (Q, M, replicates, k), and ends of intervals around ``affine``, ``low`` and ``high`` from sampling and
        drift, and with ``_drift`` or ``_sampling`` behind from one of them, or ``_widened``, from drift and what other architectures'
        ends lay beyond (Q, M, k), in decades over the floor. At every fraction ``rank_low_NAME`` and ``rank_high_NAME`` (Q, M, 3), the
        rank's interval by the signed errors of a way of telling it on the architectures that are not held. By architecture
        ``auroc_NAME`` and ``rank_error_NAME`` (Q, 3), ``auroc_decay`` and ``auroc_index`` (Q,). NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    runs: list[dict[str, np.ndarray]] = []
    names: list[str] = []
    encoders = (*plan.fitted, *plan.held)
    for done, encoder in enumerate(encoders):

        def tell(made: int, of: int, _message: str, done: int = done, name: str = encoder[1]) -> None:
            if progress is not None:
                progress(done * of + made, len(encoders) * of, name)

        # Networks of two architectures share neither settings nor initial weights.
        name, run = forecast_run(encoder, plan, 1000 * seed + 100 * done, where, tell)
        names.append(name)
        runs.append(run)
    fitted, held = runs[: len(plan.fitted)], runs[len(plan.fitted) :]
    add_fitted(runs, [pooled([run]) for run in fitted])
    add_intervals(runs, len(fitted))
    add_rank_intervals(runs, len(fitted))
    rows = forecast_rows(f"{len(held)} unseen architectures{lost(held)}", pooled(held))
    for run in runs:
        run.update(judged(pooled([run])))
    arrays = {key: np.array([run[key] for run in runs]) for key in runs[0]}
    arrays = {key: value.astype(np.float32) if value.dtype.kind == "f" else value for key, value in arrays.items()}
    arrays |= {
        "architecture": np.array(names),
        "held": np.repeat([0, 1], [len(fitted), len(held)]),
        "fraction": np.array(MEASURED),
    }
    return measured("forecast", arrays, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


def lost(runs: list[dict[str, np.ndarray]]) -> str:
    """Return how many members diverged, in words, or nothing."""
    diverged = sum(int(run["diverged"].sum()) for run in runs)
    return f" ({diverged} members diverged, left out)" if diverged else ""


def add_intervals(runs: list[dict[str, np.ndarray]], fitted: int) -> None:
    """Write the intervals of the forecast with biases at the second fraction into runs, in decades over the floor; NaN where none is.

    Those called ``widened`` are from drift, and by what the ends of the first ``fitted`` runs lie beyond theirs.
    """
    least = 10.0**-FAR
    known = pooled(runs[:fitted])
    centre, earlier = (10.0 ** known["affine"][:, at] for at in (SAMPLED, SAMPLED - 1))
    more = beyond(
        interval(centre, None, earlier, floor=least, level=LEVEL), 10.0 ** known["end"], floor=least, level=LEVEL
    )
    for run in runs:
        centre, earlier = (np.nan_to_num(10.0 ** run["affine"][:, at]) for at in (SAMPLED, SAMPLED - 1))
        replicates = np.nan_to_num(10.0 ** np.moveaxis(run["resampled"], 1, 0))
        drawn, fine = np.isfinite(run["resampled"]).all(axis=(1, 2)), run["diverged"] == 0
        for name, parts, extra, there in (
            ("", (replicates, earlier), 0.0, drawn),
            ("_drift", (None, earlier), 0.0, fine),
            ("_sampling", (replicates, None), 0.0, drawn),
            ("_widened", (None, earlier), more, fine),
        ):
            found = interval(centre, *parts, floor=least, level=LEVEL, beyond=extra)
            for side, values in (("low", found.low), ("high", found.high)):
                run[f"{side}{name}"] = np.where(np.asarray(there)[:, None], np.log10(values), np.nan)


def add_rank_intervals(runs: list[dict[str, np.ndarray]], fitted: int) -> None:
    """Write the conformal intervals of the rank into runs, from the signed errors of the first ``fitted`` ones at the same fraction."""
    known = pooled(runs[:fitted])
    width = known["survived"].shape[1]
    for name in RANKS:
        for run in runs:
            run[f"rank_low_{name}"], run[f"rank_high_{name}"] = (
                np.full((len(run["floor"]), len(MEASURED)), np.nan) for _ in range(2)
            )
        for at in range(len(MEASURED)):
            errors = (known["survived"].sum(1) - told_rank(known, name, at)) / width
            bounds = conformal(errors, level=LEVEL)
            for run in runs:
                fine = run["diverged"] == 0
                low, high = rank_range(told_rank(run, name, at)[fine], bounds, width)
                run[f"rank_low_{name}"][fine, at], run[f"rank_high_{name}"][fine, at] = low, high
