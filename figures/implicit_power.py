"""The power identity (2.4) on digits: the implicit repulsive power tr(F_uWᵀ) against the alignment loss ½E‖z − z⁺‖²."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.datasets import digits, two_views
from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.views import ViewPair
from jepalign.measurements import Measurement

UNIT = np.finfo(float).eps / 2
MARKERS = ("x", "s", "o", "^", "D", "v", "p")
"""One per encoder, in the order of the measurement; the first is the linear model."""

SIDES = ("alignment", "observed")
NAMES = {"linear": "linear encoder", "tanh": "tanh MLP", "relu": "ReLU MLP", "gelu": "GELU MLP"}
"""In print, by the first word of the architecture."""


class Power(FromMeasurements):
    """Power against alignment loss, linear and deep, and both over the training of a JEPA that learns its predictor.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "power"

    def compute(self) -> FigureData:
        """Read the measurement and evaluate the linear model on the covariances of digits.

        Raises
        ------
        InputError
            If the measurement is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("power")
        linear, linear_error = linear_model()
        low, high = linear.x.min() / 1.6, linear.x.max() * 1.6
        ends = np.array([low, high])
        series = [Series("identity", "power = alignment", Evidence.PROVED, ends, ends), linear, linear_error]
        series += optimal_runs(measured)
        series += learnt_runs(measured)
        return FigureData(tuple(series), summary(measured, len(linear.x)), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the identity with its error beneath, and the two trainings beside it."""
        with style.sheet(venue, 3.2, axes) as page:
            left, right = (page.add_gridspec(1, 2, width_ratios=(1.15, 1))[0, column] for column in range(2))
            heights = left.subgridspec(2, 1, height_ratios=(3, 1))
            upper = page.add_subplot(heights[0])
            draw_identity(upper, data)
            draw_error(page.add_subplot(heights[1], sharex=upper), data)
            rows = right.subgridspec(2, 1)
            first, second = page.add_subplot(rows[0]), page.add_subplot(rows[1])
            draw_training(first, data, "linear")
            draw_training(second, data, "deep")
            second.set_xlabel("gradient step")
            for above in (upper, first):
                above.tick_params(labelbottom=False)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        runs, records, encoders = (f"${numbers[key]:.0f}$" for key in ("runs", "records", "linear encoders"))
        encoder = data["deep/power"].extra["encoder"][0]
        return (
            r"The implicit repulsive power equals the alignment loss. Left: the power $\mathrm{tr}(F_u W^\top)$ of "
            r"what predictor and stop-gradient add to plain alignment, against the alignment loss "
            r"$\frac{1}{2}E\|z - z^+\|^2$, with the least-squares predictor and every pair in both orders. Line: "
            rf"predicted, proved for every encoder. Crosses: computed for {encoders} random linear encoders from "
            r"the covariances of two noisy, masked views of the digits. Open markers: measured on the same views "
            rf"while linear and deep encoders train. Below: the relative error in units of rounding, $u = "
            rf"2^{{-53}}$. Right: a linear encoder and a {encoder} that learn their predictor. Orange line: the "
            r"power predicted for any predictor, $\frac{1}{2}E\|z - z^+\|^2 + \mathrm{tr}[P^\top(K - P\Phi)]$; "
            r"circles: measured; squares: the alignment loss, measured. A random predictor contracts; as it learns, "
            rf"its power meets the loss. In all {runs} runs and {records} records, also with pairs in one order and "
            r"an EMA target, where the prediction includes the asymmetry $\frac{1}{2}(E\|z\|^2 - E\|\bar z\|^2)$, "
            rf"the largest difference between measured and predicted power is ${number(numbers['worst'], 2)}\,u$ of "
            rf"the sum of the terms' sizes, or ${number(numbers['worst of the bound'], 1)}$ of the rounding bound."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Left: on logarithmic axes, implicit repulsive power against alignment loss for linear models, a linear "
            "encoder and deep encoders of digits; all points lie on the identity line, with errors of a few units "
            "of rounding. Right: over two trainings the power starts negative, rises as predicted and meets the "
            "falling alignment loss."
        )


def linear_model() -> tuple[Series, Series]:
    """Return power against alignment, and the error, of random linear encoders on digits, P optimal."""
    views = ViewPair.from_samples(*two_views(digits().images), symmetrize=True)
    jepa = LinearJEPA(views, predictor_rate=np.inf)
    generator = np.random.default_rng(0)
    scales = np.geomspace(0.2, 3, 9)
    gaps = [jepa.power(scale * generator.standard_normal((16, views.dimension)) / 8) for scale in scales]
    alignment, power, gap = (np.array([getattr(each, key) for each in gaps]) for key in ("alignment", "power", "gap"))
    return (
        Series("identity", "linear model", Evidence.COMPUTED, alignment, power),
        Series("error", "linear model", Evidence.COMPUTED, alignment, gap / (UNIT * alignment)),
    )


def chosen(measured: Measurement, predictor: str) -> np.ndarray:
    """Return the indices of the runs with this predictor on symmetrised batches."""
    arrays = measured.arrays
    return np.flatnonzero((arrays["predictor"] == predictor) & (arrays["setting"] == "both orders"))


def optimal_runs(measured: Measurement) -> list[Series]:
    """Return power against alignment, and the error, of every run with the least-squares predictor, thinned."""
    arrays = measured.arrays
    series: list[Series] = []
    for run in chosen(measured, "least squares"):
        name = printed(str(arrays["architecture"][run]))
        step, alignment, power = (values[::5] for values in (arrays["step"], *(arrays[k][run] for k in SIDES)))
        error = (power - alignment) / (UNIT * alignment)
        series.append(Series("identity", name, Evidence.MEASURED, alignment, power, {"step": step}))
        series.append(Series("error", name, Evidence.MEASURED, alignment, error, {"step": step}))
    return series


def learnt_runs(measured: Measurement) -> list[Series]:
    """Return predicted and observed power, and the alignment loss, as a linear and a deep encoder train."""
    arrays = measured.arrays
    series: list[Series] = []
    runs = chosen(measured, "learnt")
    linear = [str(name).startswith("linear") for name in arrays["architecture"][runs]]
    for panel, run in (("linear", runs[linear.index(True)]), ("deep", runs[linear.index(False)])):
        label = {"encoder": np.full(len(arrays["step"]), printed(str(arrays["architecture"][run])))}
        for name, key, evidence in (
            ("predicted power", "predicted", Evidence.PROVED),
            ("power", "observed", Evidence.MEASURED),
            ("alignment loss", "alignment", Evidence.MEASURED),
        ):
            thinned = slice(None, None, 1 if evidence is Evidence.PROVED else 2)
            columns = (values[thinned] for values in (arrays["step"], arrays[key][run], label["encoder"]))
            x, y, encoder = columns
            series.append(Series(panel, name, evidence, x, y, {"encoder": encoder}))
    return series


def printed(architecture: str) -> str:
    """Return an architecture's name in print."""
    first = architecture.partition(" ")[0]
    return NAMES.get(first, first)


def summary(measured: Measurement, encoders: int) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    error = np.abs(arrays["observed"] - arrays["predicted"])
    size = arrays["alignment"] + np.abs(arrays["correction"]) + np.abs(arrays["asymmetry"])
    return {
        "runs": float(len(error)),
        "records": float(error.size),
        "worst": float((error / (UNIT * size)).max()),
        "worst of the bound": float((error / arrays["bound"]).max()),
        "linear encoders": float(encoders),
    }


def draw_identity(axes: Axes, data: FigureData) -> None:
    """Draw power against alignment loss, both logarithmic, on the identity line."""
    identity, *rest = data.panel("identity")
    axes.set(xscale="log", yscale="log", ylabel=r"power $\mathrm{tr}(F_u W^\top)$")
    axes.set(xlim=identity.x, ylim=identity.y)
    axes.tick_params(labelsize=axes.yaxis.label.get_fontsize())  # powers of ten have exponents
    plot(axes, identity, "jepa", linewidth=0.8)
    for series, marker in zip(rest, MARKERS, strict=False):
        draw_points(axes, series, marker)
    axes.legend(loc="upper left", handletextpad=0.2, borderaxespad=0.2, labelspacing=0.3)


def draw_points(axes: Axes, series: Series, marker: str) -> None:
    """Draw the points of one encoder."""
    role = "jepa" if series.evidence is Evidence.COMPUTED else "repulsion"
    plot(axes, series, role, linestyle="none", marker=marker, label=series.name)


def draw_error(axes: Axes, data: FigureData) -> None:
    """Draw the error of the identity in units of rounding."""
    axes.axhline(0, color=style.INK, lw=0.8)
    for series, marker in zip(data.panel("error"), MARKERS, strict=False):
        draw_points(axes, series, marker)
    axes.tick_params(axis="x", labelsize=axes.xaxis.label.get_fontsize())
    axes.set(xlabel=r"alignment loss $E\|z-z^+\|^2/2$", ylabel="error / $u$")


def draw_training(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw predicted and observed power and the alignment loss over a training."""
    axes.axhline(0, color=FAINT, lw=0.5)
    power, loss = data[f"{panel}/power"], data[f"{panel}/alignment loss"]
    plot(axes, data[f"{panel}/predicted power"], "repulsion")
    plot(axes, power, "repulsion")
    plot(axes, loss, "attraction", marker="s", markersize=2.5)
    axes.set(ylabel="power and loss", ylim=(-1.25, 1.15), yticks=(-1, 0, 1))
    near = power.x.max() / 7
    above = float(np.interp(near, loss.x, loss.y)) + 0.12
    axes.text(near, above, loss.name, color=COLOURS["attraction"])
    axes.text(near, -0.4, power.name, color=COLOURS["repulsion"])
    axes.text(0.98, 0.06, power.extra["encoder"][0], ha="right", transform=axes.transAxes)
