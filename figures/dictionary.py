"""The dictionary (2.0): predictors beside the uniformity they implement, and the predictors that encoders learn."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.datasets import digits, two_views
from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.linear_models.dictionary import DICTIONARY
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.views import ViewPair
from jepalign.measurements import Measurement

LARGEST = 3.4
EXAMPLE = 0.6
"""The ρ whose optimum is shown."""

WIDTH, DECAY, TIME = 8, 0.02, 300.0
"""Embedding dimensions and η of the linear JEPA whose predictor is shown, and how long it learnt."""

LEARNT = {"learnt": ("linear", "x"), "tanh": ("tanh", "s"), "relu": ("ReLU", "^"), "gelu": ("GELU", "D")}
"""Learnt predictors: of the linear model, and by the first word of a deep architecture; name in print and marker."""

VARIANCE = "embedding variance of a mode, $s$"
SPECTRA, UNIFORMITIES = "spectra", "uniformities"
# Where a curve is named: (s, points to the right, points up, horizontal alignment) in each panel.
NAMED = {
    "spectral-contrastive": ((1.66, -3.0, 0.0, "right"), (2.55, -4.0, 0.0, "right")),
    "directpred": ((3.38, 0.0, -33.0, "right"), (2.05, 4.0, -11.0, "left")),
    "no-predictor": ((3.38, 0.0, 2.5, "right"), (1.48, 0.0, 2.5, "center")),
    "gaussian-infonce": ((2.85, 0.0, 3.0, "right"), (2.25, 0.0, -13.0, "right")),
    "log-det": ((0.75, 4.0, -4.0, "left"), (0.64, 4.0, 0.0, "left")),
}


def crossing(increasing: Callable[[np.ndarray], np.ndarray], level: float, low: float, high: float) -> float:
    """Return where an increasing function takes the value ``level`` in [low, high], to rounding, by bisection.

    NaN if it does not.
    """
    if not increasing(np.array(low)) <= level <= increasing(np.array(high)):
        return float("nan")
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if increasing(np.array(middle)) < level else (low, middle)
    return low


def learnt_predictor() -> tuple[np.ndarray, np.ndarray]:
    """Return s and g(s), (k,), of the predictor that a linear JEPA learns on whitened digits (Σ = I), from random.

    s are the eigenvalues of Φ and g(s) the predictor's diagonal in its eigenvectors.
    """
    views = ViewPair.from_samples(*two_views(digits().images), symmetrize=True)
    values, vectors = np.linalg.eigh(views.context)
    whitener = (vectors / np.sqrt(values)) @ vectors.T
    cross = whitener @ views.cross @ whitener
    identity = np.eye(views.dimension)
    white = ViewPair.from_covariances(identity, identity, (cross + cross.T) / 2)
    generator = np.random.default_rng(0)
    encoder = 0.1 * generator.standard_normal((WIDTH, views.dimension))
    predictor = generator.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)
    path = LinearJEPA(white, weight_decay=DECAY).solve(encoder, predictor, [TIME])
    W, P = path.encoder[-1], path.predictor[-1]
    s, directions = np.linalg.eigh(W @ W.T)
    return np.maximum(s, 0.0), np.diag(directions.T @ P @ directions)


def deep_predictors(measured: Measurement) -> tuple[list[Series], float]:
    """Return s and p on the axes of Φ at the end of every deep training without weight decay, and how far p is from ρ.

    The distance is the mean of |p − ρ| over axes with the weight s, in the run where it is largest.
    """
    arrays = measured.arrays
    found: list[Series] = []
    distances: list[float] = []
    for run, (architecture, setting) in enumerate(zip(arrays["architecture"], arrays["setting"], strict=True)):
        name = str(architecture).partition(" ")[0]
        if name not in LEARNT or setting != "no decay":
            continue
        s, p, rho = (arrays[key][run, -1] for key in ("moment", "predictor", "correlation"))
        found.append(Series(SPECTRA, name, Evidence.MEASURED, s, p, {"correlation": rho}))
        distances.append(float(np.average(np.abs(p - rho), weights=s)))
    return found, max(distances)


class Dictionary(FromMeasurements):
    """Five predictor spectra g(s) and, beside them, the uniformity functionals u(s) that they implement, g = 1 + u'.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "dictionary"

    def compute(self) -> FigureData:
        """Evaluate every entry, find the optimum g(s) = ρ of the example, learn a predictor, and read those of deep encoders.

        Raises
        ------
        InputError
            If the measurement is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("wiener")
        deep, distance = deep_predictors(measured)
        s = np.linspace(0.0, np.sqrt(LARGEST), 201)[1:] ** 2  # dense at 0, where √s is steep
        series: list[Series] = []
        optima: dict[str, float] = {}
        for key, entry in DICTIONARY.items():
            series.append(Series(SPECTRA, key, Evidence.PROVED, s, entry.spectrum(s)))
            series.append(Series(UNIFORMITIES, key, Evidence.PROVED, s, entry.uniformity(s)))
            optima[key] = crossing(entry.spectrum, EXAMPLE, 1e-12, 1e3)
        found = {key: value for key, value in optima.items() if np.isfinite(value)}
        at = np.array(list(found.values()))
        names = {"entry": np.array(list(found))}
        heights = np.array([float(DICTIONARY[key].uniformity(value)) for key, value in found.items()])
        series.append(Series(SPECTRA, "optimum", Evidence.COMPUTED, at, np.full(len(at), EXAMPLE), names))
        series.append(Series(UNIFORMITIES, "optimum", Evidence.COMPUTED, at, heights, names))
        learnt_s, learnt_g = learnt_predictor()
        series.append(Series(SPECTRA, "learnt", Evidence.COMPUTED, learnt_s, learnt_g))
        series += deep
        alive = learnt_s > DECAY**2  # p₊ is above λ/(2σ), far above; a lost mode is below e^{−2ηt}
        numbers = optima | {
            "rho": EXAMPLE,
            "learnt, distance": float(np.abs(learnt_g - np.sqrt(learnt_s)).max()),
            "learnt, surviving": float(alive.sum()),
            "deep, distance": distance,
            "deep, largest": max(float(each.y.max()) for each in deep),
        }
        return FigureData(tuple(series), numbers, inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the two panels."""
        with style.sheet(venue, 2.9, axes) as page:
            left, right = page.subplots(1, 2)
            draw_spectra(left, data)
            draw_uniformities(right, data)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        found = [key for key in DICTIONARY if np.isfinite(numbers[key])]
        optima = ", ".join(f"${number(numbers[key])}$ for {DICTIONARY[key].label}" for key in found)
        rho = number(numbers["rho"], 1)
        return (
            r"A predictor is the derivative of a uniformity functional. Left: the spectrum $g(s)$ of "
            r"predictors $P = g(\Phi)$ at a mode of embedding variance $s$. Right: the uniformity $u$ that each "
            r"implements without negatives, $g = 1 + u'$ (shown with $u(0) = 0$; log-det with $u(1) = 0$): the "
            r"residual force $z^+ - Pz$ is the negative gradient of $\frac{1}{2}\mathrm{tr}(\Phi - K) + "
            r"\frac{1}{2}\mathrm{tr}\,u(\Phi)$. A predictor repels where $g < 1$ (tinted) and contracts where $g > "
            r"1$; where $g < 0$ (darker) the BYOL form $P^\top(z^+ - Pz)$ is reversed and kills the mode, which the "
            rf"residual form does not. Dots: the optimum $g(s) = \rho$ for $\rho = {rho}$, at $s$ = {optima}; "
            rf"the tangents of $u$ there are parallel, of slope $\rho - 1$. Without a predictor there is no "
            rf"optimum. Crosses: a predictor learnt by a linear JEPA on whitened digits ($\alpha = 1$, $\eta = "
            rf"{number(DECAY, 1)}$, ${WIDTH}$ dimensions, ${number(numbers['learnt, surviving'], 1)}$ of them alive "
            rf"at time ${number(TIME, 3)}$) is DirectPred's $g = \sqrt{{s}}$, the largest "
            rf"difference being ${number(numbers['learnt, distance'], 1)}$. Open markers: measured, the predictors of tanh, ReLU "
            r"and GELU encoders of digits on the principal axes of their embeddings, at the end of training without weight "
            r"decay; their features are not white, and $g(s)$ is the correlation $\rho$ of each axis, to "
            rf"${number(numbers['deep, distance'], 1)}$ in the mean over the embedding's variance and at most "
            rf"${number(numbers['deep, largest'])}$: they repel throughout. The curves are proved, dots and crosses computed."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Two panels over the embedding variance s of a mode. Left, predictor spectra: s for spectral "
            "contrastive, the root of s for DirectPred, 1 for no predictor, a curve rising from 0 to 1 for Gaussian "
            "InfoNCE and one rising from minus infinity to 1 for log-det. Right, the uniformity functionals whose "
            "derivatives they are, up to 1: each falls where its predictor is below 1."
        )


def name_curves(axes: Axes, data: FigureData, panel: str) -> None:
    """Write each entry's name beside its curve."""
    for key, places in NAMED.items():
        s, right, up, alignment = places[0 if panel == SPECTRA else 1]
        curve = data[f"{panel}/{key}"]
        axes.annotate(
            DICTIONARY[key].label,
            (s, float(np.interp(s, curve.x, curve.y))),
            xytext=(right, up),
            textcoords="offset points",
            ha=alignment,
            color=COLOURS[key],
        )


def draw_spectra(axes: Axes, data: FigureData) -> None:
    """Draw the predictor spectra, where they repel and contract, and the optimum of the example."""
    low, high = -0.6, 1.85
    axes.set(xlim=(0, LARGEST), ylim=(low, high), xlabel=VARIANCE, ylabel="predictor $g(s)$")
    axes.axhspan(low, 1, color=style.REPULSION_TINT, lw=0)
    axes.axhspan(low, 0, color=style.REVERSED_TINT, lw=0)
    for series in data.panel(SPECTRA):
        if series.name in DICTIONARY:
            plot(axes, series, series.name)
    axes.axhline(EXAMPLE, color=FAINT, lw=0.6)
    plot(axes, data[f"{SPECTRA}/optimum"], "jepa", linestyle="none", marker="o", zorder=4)
    for name, (label, marker) in LEARNT.items():
        if name in {series.name for series in data.panel(SPECTRA)}:
            size = 3.5 if name == "learnt" else 2.5
            points = data[f"{SPECTRA}/{name}"]
            plot(
                axes,
                points,
                "jepa",
                linestyle="none",
                marker=marker,
                markersize=size,
                zorder=4,
                clip_on=False,
                label=label,
            )
    tight = {
        "borderaxespad": 0.2,
        "handletextpad": 0.0,
        "columnspacing": 0.3,
        "labelspacing": 0.15,
        "handlelength": 1.4,
    }
    axes.legend(title="learnt by", loc="upper right", bbox_to_anchor=(1.0, 0.48), ncols=2, **tight)
    name_curves(axes, data, SPECTRA)
    axes.text(0.08, 1.2, "contraction", color=FAINT)
    axes.text(1.35, 0.05, "repulsion", color=FAINT)
    axes.text(3.38, -0.3, "BYOL form reversed", color=FAINT, ha="right", va="center")
    axes.text(LARGEST, EXAMPLE, r" $\rho$", va="center", size=axes.yaxis.label.get_fontsize())


def draw_uniformities(axes: Axes, data: FigureData) -> None:
    """Draw the uniformity functionals and their parallel tangents at the optima."""
    axes.set(xlim=(0, LARGEST), ylim=(-1.3, 1.3), xlabel=VARIANCE, ylabel="uniformity $u(s)$")
    for series in data.panel(UNIFORMITIES):
        if series.name in DICTIONARY:
            plot(axes, series, series.name)
    optimum = data[f"{UNIFORMITIES}/optimum"]
    for s, u in zip(optimum.x, optimum.y, strict=True):
        reach = np.array([-0.4, 0.4])
        axes.plot(s + reach, u + (EXAMPLE - 1) * reach, color=style.INK, lw=0.6, zorder=3)
    plot(axes, optimum, "jepa", linestyle="none", marker="o", zorder=4)
    name_curves(axes, data, UNIFORMITIES)
