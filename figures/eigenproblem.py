"""One eigenproblem, different scales (1.3, 1.5, 6.1): what every objective selects, and how large it makes it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.linear_models.collapse import critical_weight_decay, equilibria
from jepalign.linear_models.contrastive import BarlowTwins, InfoNCE, SpectralContrastive, VICReg, WhitenedAlignment
from jepalign.linear_models.guarantees import subspace_angles
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.rest import Separable
from jepalign.linear_models.views import ViewPair
from jepalign.measurements import Measurement

TEMPERATURE, WIDTH = 0.5, 4
"""τ of InfoNCE with dot products (1 with the Gaussian kernel), and VICReg's k, over which it averages."""

RHO = np.array([0.85, 0.6, 0.35, -0.4])
"""Canonical correlations of the views on which objectives are descended, of which three are kept."""

OPTIMA, DECAYED, POSITIVE, INDEFINITE = "optima", "decayed", "positive", "indefinite"
# Of each curve its colour, and where it is named: (ρ, points to the right, points up, alignment across and along).
CURVES = {
    "Barlow Twins": ("barlow-twins", (0.53, -3.0, 0.0, "right", "center")),
    "InfoNCE, Gaussian": ("gaussian-infonce", (0.67, -3.0, 0.0, "right", "center")),
    "whitened": ("whitened", (-0.95, 0.0, 3.0, "left", "bottom")),
    "JEPA": ("jepa", (-0.72, 3.0, 1.0, "left", "bottom")),
    "contrastive": ("spectral-contrastive", (0.48, -10.0, 1.0, "right", "center")),
    "InfoNCE,\ndot": ("gaussian-infonce", (0.99, 3.0, 0.0, "left", "center")),
    "VICReg": ("vicreg", (0.6, 6.0, -5.0, "center", "top")),
}
# Of each objective in the measurement its colour, marker and size: what agrees shows as nested circles.
TRAINED = {
    "JEPA": ("jepa", "o", 8.0),
    "spectral contrastive": ("spectral-contrastive", "o", 6.4),
    "InfoNCE": ("gaussian-infonce", "o", 4.8),
    "Barlow Twins, covariance form": ("barlow-twins", "o", 3.2),
    "VICReg, equal weights": ("vicreg", "o", 1.6),
    "Barlow Twins, published": ("barlow-twins", "x", 3.2),
    "VICReg, published weights": ("vicreg", "+", 4.0),
}
BOTH_SIGNS = "JEPA, both signs"
DECAYS = (0.03, 0.13)
TOP = 2.0


class Eigenproblem(FromMeasurements):
    """Optima of seven objectives over the correlation of a mode, and what five of them learn.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "eigenproblem"

    def compute(self) -> FigureData:
        """Evaluate the optima, descend to them from random starts, and read the measurement.

        Raises
        ------
        InputError
            If it is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("subspace")
        found, angle = descended()
        series = [*optima(), *found, *decayed(measured)]
        for panel in (POSITIVE, INDEFINITE):
            series += kept(measured, panel)
        return FigureData(tuple(series), summary(measured) | {"computed": angle}, inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw scales above and directions below."""
        with style.sheet(venue, 4.1, axes) as page:
            grid = page.add_gridspec(2, 2)
            draw_optima(page.add_subplot(grid[0, 0]), data)
            draw_decayed(page.add_subplot(grid[0, 1]), data)
            for column, panel in enumerate((POSITIVE, INDEFINITE)):
                draw_kept(page.add_subplot(grid[1, column]), data, panel)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        n = {key: number(value, 2) for key, value in data.numbers.items()}
        low, high = (rf"{eta:g}" for eta in DECAYS)
        return (
            r"One eigenproblem, $Cv = \rho\Sigma v$, at different scales. Upper left: the embedding variance $s = \sigma w^2$ of "
            r"a mode of correlation $\rho$ at the optimum of each objective, proved: spectral contrastive $\max(\rho, 0)$, InfoNCE "
            rf"with dot products $\tau$ times that ($\tau = {n['tau']}$) and with a Gaussian kernel, Barlow Twins in covariance "
            rf"form $1/\rho$, VICReg at the published weights in ${data.numbers['width']:.0f}$ dimensions, whitened alignment "
            r"$1$, and the balanced JEPA $\rho^2$ for either sign of $\rho$. Crosses: computed, by descent from random starts on "
            r"views with three correlations to keep and one to drop (white views for JEPA and Barlow Twins, which prefers no "
            r"direction and is started small); they end in the span of the leading solutions to "
            rf"${n['computed']}$ rad. Upper right: weights under decay, $\eta = {low}$ (circles) and ${high}$ (squares); lines "
            r"predicted, proved; markers measured in linear encoders of full width. The contrastive modes are $\lambda - \eta$; "
            r"the JEPA's vanish at a jump where $\lambda^2 = 4\eta$, and it keeps anticorrelated modes. Below: the "
            r"share of each direction in the row space of linear encoders of four dimensions, measured (markers, in the "
            r"colours above) and predicted (line, the four largest $\rho$), on views of latents with positive correlations (left) "
            r"and with anticorrelated ones (right). JEPA, spectral contrastive, InfoNCE with dot products, Barlow Twins in "
            r"covariance form and VICReg at equal weights (nested circles) are within "
            rf"${n['angle']}$ rad of the leading subspace; at their published weights Barlow Twins and VICReg need not be (up to "
            rf"${n['angle, published']}$ rad). Black squares: a JEPA whose predictor starts with two positive and two negative "
            r"modes."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Upper left: seven curves of optimal embedding variance over correlation, zero or small for negative correlations "
            "but for the JEPA's parabola and whitening's constant; computed crosses lie on them. Upper right: weights of JEPA "
            "and contrastive modes over lambda at two decays; markers lie on the lines, the JEPA's with jumps on both sides. "
            "Lower row: share of each direction in the learnt row space, one for the four leading and zero for the others in "
            "five objectives; two at published weights deviate."
        )


def objectives(views: ViewPair) -> dict[str, Separable]:
    """Return the objectives with a loss, by the names of their curves."""
    return {
        "Barlow Twins": BarlowTwins(views),
        "InfoNCE, Gaussian": InfoNCE(views, kernel="gaussian"),
        "whitened": WhitenedAlignment(views),
        "contrastive": SpectralContrastive(views),
        "InfoNCE, dot": InfoNCE(views, temperature=TEMPERATURE),
        "VICReg": VICReg(views),
    }


def optima() -> list[Series]:
    """Return the embedding variance at the optimum over ρ."""
    rho = np.linspace(-1.0, 0.99, 100)
    white = ViewPair.from_covariances(np.eye(len(rho)), np.eye(len(rho)), np.diag(rho))
    found: list[Series] = []
    for name, objective in objectives(white).items():
        rests = objective.equilibria(WIDTH)
        # Modes come in descending order.
        variance = (rests.weight.filled(0)[:, -1] ** 2)[::-1]
        chosen = slice(None)
        if name == "Barlow Twins":
            chosen = rho > 1 / TOP / 2
        found.append(Series(OPTIMA, name, Evidence.PROVED, rho[chosen], variance[chosen]))
    return [*found, Series(OPTIMA, "JEPA", Evidence.PROVED, rho, equilibria(rho, 1.0, 0.0).data[:, 2] ** 2)]


def descended() -> tuple[list[Series], float]:
    """Return the variances that descent reaches, and the largest angle to the span of the leading three directions, rad.

    Views have a common covariance that does not commute with C; for the JEPA and Barlow Twins, of whose scales only the white
    case is told by ρ alone, they are white.
    """
    generator = np.random.default_rng(0)
    size, width = len(RHO), 3
    mixing = np.eye(size) + 0.5 * generator.standard_normal((size, size))
    covariance = mixing @ mixing.T
    general = ViewPair.from_covariances(covariance, covariance, (mixing * RHO) @ mixing.T)
    white = ViewPair.from_covariances(np.eye(size), np.eye(size), np.diag(RHO))
    start = 0.5 * np.linalg.qr(generator.standard_normal((size, width)))[0].T
    times = [60.0]
    found: list[Series] = []
    angles: list[float] = []
    for name in ("contrastive", "InfoNCE, dot", "InfoNCE, Gaussian", "whitened", "Barlow Twins", "JEPA"):
        views = white if name in ("JEPA", "Barlow Twins") else general
        if name == "JEPA":
            encoder = LinearJEPA(views).solve(start, 0.5 * np.eye(width), [400.0], method="LSODA").encoder[-1]
        else:
            objective = objectives(views)[name]
            # Barlow Twins prefers no direction; from a small start the strongest are learnt first, and all others too late.
            first = 1e-4 * start if name == "Barlow Twins" else start
            if isinstance(objective, WhitenedAlignment):
                first = objective.whiten(start)
            encoder = objective.solve(first, times, method="LSODA", rtol=1e-8).encoder[-1]
        # In the solutions U of Cv = ρΣv, UᵀΣU = I, as columns: W = AUᵀ, and A = WΣU.
        solutions = np.eye(size) if views is white else np.linalg.inv(mixing).T
        parts = encoder @ views.context @ solutions
        found.append(Series(OPTIMA, f"{name}, descended", Evidence.COMPUTED, RHO, np.square(parts).sum(axis=0)))
        angles.append(float(subspace_angles(parts, np.eye(size)[:width]).max()))
    return found, max(angles)


def decayed(measured: Measurement) -> list[Series]:
    """Return w² by mode under weight decay: predicted over λ, and measured, of JEPA and spectral contrastive."""
    arrays = measured.arrays
    lam = np.linspace(-1.0, 1.0, 201)
    found: list[Series] = []
    for eta in DECAYS:
        edge = np.sqrt(eta / float(critical_weight_decay(1.0, 1.0)))
        strength = np.linspace(edge, 1.0, 101)
        weight = equilibria(strength, 1.0, eta).filled(edge / 2)[:, 2] ** 2
        found += [
            Series(DECAYED, f"JEPA, {side}, {eta:g}", Evidence.PROVED, sign * strength, weight)
            for sign, side in ((1, "correlated"), (-1, "anticorrelated"))
        ]
        found.append(Series(DECAYED, f"contrastive, {eta:g}", Evidence.PROVED, lam, np.maximum(lam - eta, 0.0)))
        row = int(np.flatnonzero(np.isclose(arrays["weight_decay"], eta))[0])
        for name, key in (("JEPA", "jepa_moment"), ("contrastive", "spectral_moment")):
            seen = arrays[key][row]
            found.append(Series(DECAYED, f"{name}, {eta:g}, seen", Evidence.MEASURED, arrays["decay_spectrum"], seen))
    return found


def kept(measured: Measurement, panel: str) -> list[Series]:
    """Return the share of every direction in the row space, over its ρ, predicted and by objective."""
    arrays = measured.arrays
    run = [str(name) for name in arrays["views"]].index(panel)
    rho = arrays["spectrum"][run]
    width = round(float(arrays["energy"][run, 0].sum()))
    edge = (rho[width - 1] + rho[width]) / 2
    line = Series(
        panel, "predicted", Evidence.PROVED, np.array([-1.0, edge, edge, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    )
    names = [str(name) for name in arrays["objective"]]
    found = [Series(panel, n, Evidence.MEASURED, rho, arrays["energy"][run, names.index(n)]) for n in TRAINED]
    if panel == INDEFINITE:
        found.append(Series(panel, BOTH_SIGNS, Evidence.MEASURED, rho, arrays["both_signs_energy"]))
    return [line, *found]


def summary(measured: Measurement) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    published = np.array(["published" in str(name) for name in arrays["objective"]])
    return {
        "tau": TEMPERATURE,
        "width": float(WIDTH),
        "angle": float(arrays["angle"][:, ~published].max()),
        "angle, published": float(arrays["angle"][:, published].max()),
    }


def draw_optima(axes: Axes, data: FigureData) -> None:
    """Draw the optimal variances over ρ, what descent reaches, and the names of the objectives."""
    axes.set(xlim=(-1, 1), ylim=(-0.25, TOP), xticks=(-1, 0, 1), yticks=(0, 1, 2))
    axes.set(xlabel=r"correlation $\rho$", ylabel="variance $s$ at the optimum")
    for label, (role, (rho, right, up, across, along)) in CURVES.items():
        name = label.replace("\n", " ")
        curve = data[f"{OPTIMA}/{name}"]
        plot(axes, curve, role, linewidth=1.1)
        axes.annotate(
            label,
            (rho, float(np.interp(rho, curve.x, curve.y))),
            xytext=(right, up),
            textcoords="offset points",
            ha=across,
            va=along,
            color=COLOURS[role],
        )
        if name != "VICReg":
            points = data[f"{OPTIMA}/{name}, descended"]
            plot(axes, points, role, linestyle="none", marker="x", markersize=4.0, zorder=4)


def draw_decayed(axes: Axes, data: FigureData) -> None:
    """Draw weights under two decays."""
    axes.set(xlim=(-1, 1), ylim=(-0.03, 1.0), xticks=(-1, 0, 1), yticks=(0, 0.5, 1))
    axes.set(xlabel=r"cross-covariance $\lambda$", ylabel="$w^2$ at rest")
    for series in data.panel(DECAYED):
        role = "jepa" if series.name.startswith("JEPA") else "spectral-contrastive"
        if series.evidence is Evidence.MEASURED:
            marker = "o" if f"{DECAYS[0]:g}" in series.name else "s"
            plot(axes, series, role, marker=marker, markersize=3.0)
        else:
            plot(axes, series, role, linewidth=0.9)
    size = axes.xaxis.label.get_fontsize()
    axes.text(-0.53, 0.33, rf"$\eta={DECAYS[0]:g}$", size=size, va="center")
    axes.text(-0.97, 0.13, f"${DECAYS[1]:g}$", size=size, va="center")
    axes.text(-0.5, 0.8, "JEPA", color=COLOURS["jepa"], ha="center")
    axes.text(0.5, 0.8, "contrastive", color=COLOURS["spectral-contrastive"], ha="right")


def draw_kept(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw which directions were learnt."""
    axes.set(xlim=(-1, 1), ylim=(-0.1, 1.1), xticks=(-1, 0, 1), yticks=(0, 0.5, 1), xlabel=r"correlation $\rho$")
    axes.set_ylabel("share in the row space" if panel == POSITIVE else " ")
    axes.tick_params(labelleft=panel == POSITIVE)
    plot(axes, data[f"{panel}/predicted"], "jepa", linewidth=0.8)
    for name, (role, marker, size) in TRAINED.items():
        label = name.replace(" weights", "") if "published" in name and panel == POSITIVE else None
        plot(axes, data[f"{panel}/{name}"], role, marker=marker, markersize=size, label=label)
    if panel == POSITIVE:
        axes.legend(loc="center left", handlelength=1.0, handletextpad=0.1, borderaxespad=0.1, labelspacing=0.3)
        axes.text(-0.95, 1.0, "positive correlations", color=FAINT, va="center")
    else:
        plot(axes, data[f"{panel}/{BOTH_SIGNS}"], "jepa", marker="s", markersize=5.0)
        axes.text(-0.95, 0.75, "JEPA from both signs", va="center")
