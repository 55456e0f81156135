"""What carries over (chapter 6): how far subspaces turn against their bound, and the risk of linear probes by objective."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.figures.turned_subspaces import CAUSES, turned_subspaces
from jepalign.linear_models.guarantees import SubspaceBound
from jepalign.measurements import Measurement

# By the name in the measurement: name in print, colour, marker.
OBJECTIVES = {
    "JEPA": ("JEPA", "jepa", "o"),
    "JEPA, both signs": ("JEPA, both signs", "jepa", "p"),
    "spectral contrastive": ("contrastive", "spectral-contrastive", "s"),
    "InfoNCE": ("InfoNCE", "gaussian-infonce", "D"),
    "Barlow Twins, covariance form": ("Barlow Twins", "barlow-twins", "^"),
    "VICReg, equal weights": ("VICReg", "vicreg", "v"),
    "Barlow Twins, published": ("Barlow, published", "barlow-twins", ">"),
    "VICReg, published weights": ("VICReg, published", "vicreg", "<"),
}
TURN, ANGLES, LINEAR, TANH = "turn", "angles", "linear", "tanh"
CAUSE_MARKERS: dict[str, str] = dict(zip(CAUSES, ("o", "s", "^", "x"), strict=True))
KEPT = 4
"""Embedding dimensions of the encoders of the measurement."""

VACUOUS = 30.0
"""Bounds from here on, and where the gap is closed, are drawn at the edge: sines of the spaces that are shown are at most √k."""


class Guarantees(FromMeasurements):
    """The sin-theta bound on random and real instances; subspaces and probes of encoders trained with every objective.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "guarantees"

    def compute(self) -> FigureData:
        """Turn subspaces, and read the measurement.

        Raises
        ------
        InputError
            If it is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("subspace")
        turned = turned_subspaces()
        series = [*turns(turned), *angles(measured), *linear_risks(measured), *tanh_risks(measured)]
        return FigureData(tuple(series), tightness(turned) | summary(measured), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw bound and angles above, the probes of linear and of tanh encoders below."""
        with style.sheet(venue, 4.4, axes) as page:
            rows = page.add_gridspec(2, 1)
            upper = rows[0].subgridspec(1, 2)
            draw_turns(page.add_subplot(upper[0, 0]), data)
            draw_angles(page.add_subplot(upper[0, 1]), data)
            lower = rows[1].subgridspec(1, 2, width_ratios=(6, 9))
            draw_risks(page.add_subplot(lower[0, 0]), data, LINEAR)
            draw_risks(page.add_subplot(lower[0, 1]), data, TANH)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        tight = ", ".join(f"${number(numbers[f'{cause}, tightness'], 2)}$ ({cause})" for cause in CAUSES)
        return (
            r"What carries over from one objective to another. Top left: the sine of the angle by which the $k$ leading "
            r"eigendirections turn, against the Davis--Kahan bound $\|E\|/\mathrm{gap}$ (line, proved), computed on "
            rf"${numbers['instances']:.0f}$ instances: inputs that are not white ($\Sigma \neq I$), modes that are not "
            r"aligned, a JEPA with an unbalanced predictor on its way (at rest $E = 0$), and digits that are whitened in part. "
            rf"Median of sine by bound where there is one: {tight}. At the right edge: bounds of ${VACUOUS:.0f}$ and more, and "
            rf"${numbers['gapless']:.0f}$ instances whose gap is closed, for which it says nothing. Top right: the largest angle "
            r"between the subspace that a linear encoder learns and the leading canonical one, measured on views of "
            r"two spectra; bars: the bound of the criterion. Bottom: what a linear probe leaves of each latent, predicted (bars; "
            r"$1 - \rho$ for those kept and 1 for those lost, proved for linear encoders) and measured on held-out samples, for "
            r"linear encoders and for tanh networks on views with negative $\rho$, where it is the computed forecast "
            rf"$1 - |\rho|$. Within the criterion: ${numbers['angle, hold']:.0f}$ of ${numbers['angle']:.0f}$ angles, "
            rf"${numbers['probe, hold']:.0f}$ of ${numbers['probe']:.0f}$ linear encoders and "
            rf"${numbers['latents, hold']:.0f}$ of ${numbers['latents']:.0f}$ networks, in all latents; Barlow Twins and VICReg at "
            r"their published weights choose other subspaces."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Top left: points of sine against bound on logarithmic axes, all on or below the identity line, typically by a "
            "factor of about ten. Top right: angles to the leading subspace by objective, tiny for JEPA, contrastive, InfoNCE, "
            "Barlow Twins and VICReg, large at published weights. Bottom: probe risks by latent, predicted and measured, for "
            "linear encoders and tanh networks."
        )


def turns(turned: dict[str, list[SubspaceBound]]) -> list[Series]:
    """Return sine against bound of every cause, and the bound itself."""
    found: list[Series] = []
    for cause, instances in turned.items():
        bound, sine = (np.array([getattr(each, key) for each in instances]) for key in ("bound", "sine"))
        found.append(Series(TURN, cause, Evidence.COMPUTED, np.minimum(bound, VACUOUS), sine, {"bound": bound}))
    ends = np.array([min(float(series.y.min()) for series in found) / 2, VACUOUS])
    return [Series(TURN, "bound", Evidence.PROVED, ends, ends), *found]


def angles(measured: Measurement) -> list[Series]:
    """Return the largest angle to the leading subspace, a row for each objective, on both pairs of views."""
    arrays = measured.arrays
    found: list[Series] = []
    for row, objective in enumerate(arrays["objective"].tolist()):
        places = row + np.linspace(-0.17, 0.17, len(arrays["views"]))
        extra = {"views": arrays["views"]}
        found.append(Series(ANGLES, objective, Evidence.MEASURED, arrays["angle"][:, row], places, extra))
    return found


def pair(gid: str, place: float, told: np.ndarray, seen: np.ndarray, rho: np.ndarray) -> list[Series]:
    """Return the risk of every latent, predicted and measured, of the panel and objective "panel/objective"."""
    panel, _, objective = gid.partition("/")
    x, extra = np.arange(len(told)) + place, {"correlation": rho}
    evidence = Evidence.PROVED if panel == LINEAR else Evidence.COMPUTED
    return [
        Series(panel, f"{objective}, predicted", evidence, x, told, extra),
        Series(panel, objective, Evidence.MEASURED, x, seen, extra),
    ]


def linear_risks(measured: Measurement) -> list[Series]:
    """Return the risks of probes on linear encoders."""
    arrays = measured.arrays
    told = arrays["latent_risk_predicted"]
    rho = np.where(told < 1, 1 - told, np.nan)  # of those kept: of others the risk is 1 whatever their correlation
    names = arrays["objective"].tolist()
    places = np.linspace(-0.36, 0.36, len(names))
    return [
        series
        for name, place, seen in zip(names, places, arrays["latent_risk"], strict=True)
        for series in pair(f"{LINEAR}/{name}", place, told, seen, rho)
    ]


def tanh_risks(measured: Measurement) -> list[Series]:
    """Return the risks of probes on tanh encoders: 1 − |ρ| is told for latents that the linear theory keeps, 1 for others."""
    arrays = measured.arrays
    rho = arrays["latent_correlation"]
    names = arrays["latent_objective"].tolist()
    order = np.argsort(-rho)
    found: list[Series] = []
    for name, place, seen in zip(names, np.linspace(-0.36, 0.36, len(names)), arrays["deep_latents"], strict=True):
        both = np.concatenate((order[: KEPT // 2], order[-KEPT // 2 :]))
        kept = both if "both signs" in name else order[:KEPT]
        told = np.ones(len(rho))
        told[kept] = 1 - np.abs(rho[kept])
        found += pair(f"{TANH}/{name}", place, told, 1 - seen, rho)
    return found


def tightness(turned: dict[str, list[SubspaceBound]]) -> dict[str, float]:
    """Return the median of sine by bound of every cause, and how many instances there are."""
    numbers = {
        f"{cause}, tightness": float(np.median([each.sine / each.bound for each in group if np.isfinite(each.bound)]))
        for cause, group in turned.items()
    }
    every = [each for group in turned.values() for each in group]
    return numbers | {
        "instances": float(len(every)),
        "gapless": float(sum(not np.isfinite(each.bound) for each in every)),
        "worst": max(each.sine / each.bound for each in every),
    }


def summary(measured: Measurement) -> dict[str, float]:
    """Return how many claims of the measurement there are and hold, of the three kinds that are shown."""
    kinds = {
        "angle": "subspace: leading canonical subspace",
        "probe": "subspace: held-out probe risk of each latent",
        "latents": "subspace: latents kept",
    }
    numbers: dict[str, float] = {}
    for key, name in kinds.items():
        verdicts = [row["verdict"] for row in measured.rows if row["experiment"] == name]
        numbers |= {key: float(len(verdicts)), f"{key}, hold": float(verdicts.count("holds"))}
    for row in measured.rows:
        if row["experiment"] == kinds["angle"]:
            objective = row["architecture"].removeprefix("linear, ").partition(";")[0]
            numbers[f"limit, {objective}"] = row["observed"] / row["error"]
    return numbers


def draw_turns(axes: Axes, data: FigureData) -> None:
    """Draw sines against their bounds."""
    axes.set(xscale="log", yscale="log", xlabel=r"bound $\|E\|$ / gap", ylabel=r"turn $\|\sin\angle\|$")
    bound, *rest = data.panel(TURN)
    plot(axes, bound, "jepa", linewidth=0.9)
    axes.text(8e-4, 2.2e-3, "bound", ha="right")
    for series in rest:
        role = "attraction" if series.name == "digits" else "no-predictor"
        marker = CAUSE_MARKERS[series.name]
        plot(
            axes,
            series,
            role,
            linestyle="none",
            marker=marker,
            markersize=3,
            markerfacecolor="none",
            markeredgewidth=0.6,
            label=series.name,
            clip_on=False,
        )
    axes.set(xlim=(bound.x[0], VACUOUS), ylim=(bound.x[0], 3 * max(float(series.y.max()) for series in rest)))
    axes.minorticks_off()
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())
    axes.legend(loc="upper left", handletextpad=0.1, borderaxespad=0.1, labelspacing=0.25)


def draw_angles(axes: Axes, data: FigureData) -> None:
    """Draw the angle of every objective in a row of its own, named in its colour."""
    rows = data.panel(ANGLES)
    axes.set(xscale="log", xlabel="angle to leading subspace", ylabel=" ", ylim=(len(rows) - 0.5, -0.5))
    for row, series in enumerate(rows):
        _, role, marker = OBJECTIVES[series.name]
        plot(axes, series, role, marker=marker)
        axes.vlines(data.numbers[f"limit, {series.name}"], row - 0.4, row + 0.4, color=FAINT, lw=0.9)
    axes.set_yticks(range(len(rows)), [OBJECTIVES[series.name][0] for series in rows])
    for label, series in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(COLOURS[OBJECTIVES[series.name][1]])
    axes.set(xlim=(1e-16, 10), xticks=(1e-15, 1e-10, 1e-5, 1.0))
    axes.minorticks_off()
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=axes.xaxis.label.get_fontsize())


def draw_risks(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw the risk of every latent by objective, measured on what is predicted."""
    axes.set(
        xlabel=r"latent, by falling $\rho$",
        ylabel="probe risk" if panel == LINEAR else " ",
        ylim=(0, 1.15),
        yticks=(0, 0.5, 1),
    )
    axes.set_title("linear encoders" if panel == LINEAR else "tanh networks")
    for series in data.panel(panel):
        name = series.name.removesuffix(", predicted")
        _, role, marker = OBJECTIVES[name]
        if name != series.name:
            plot(axes, series, role, linestyle="none", marker="_", markersize=4.5, markeredgewidth=1.2)
        else:
            plot(axes, series, role, marker=marker, markersize=3)
    rho = data.panel(panel)[0].extra["correlation"]
    axes.set_xticks(range(len(rho)), ["lost" if np.isnan(value) else f"${value:.3g}$" for value in rho])
    axes.tick_params(axis="x", length=0)
    if panel == TANH:
        axes.tick_params(labelleft=False)
        axes.text(len(rho) - 0.6, 0.39, "JEPA, both signs", ha="right", color=COLOURS["jepa"])
