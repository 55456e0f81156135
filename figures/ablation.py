"""The ablation cube (4.1): predictor, stop-gradient and EMA, alone and together; what lives, and at what rate the rest dies."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import Evidence
from jepalign.linear_models.jepa import LinearJEPA
from jepalign.linear_models.trajectories import balanced_jepa, ema_without_predictor
from jepalign.linear_models.views import ViewPair
from jepalign.measurements import Measurement

CROSS, LAG = 0.8, 0.3
"""λ and β of the mode that is drawn; σ = 1, α = 1, no decay, and w = v = p = 1 at the start."""

LEFT = 1e-3
"""The share of w² or tr Φ of which the time at which it is left, where the corner collapses at 4.1's rates, is the unit of time."""

# What happens to the target, as the measurement names it: how a column is headed.
TARGETS = {
    "no stop-gradient": "gradient passes",
    "stop-gradient": "stop-gradient",
    "stop-gradient, EMA": "with EMA",
    "EMA, gradient through the average": "through average",
    "EMA, target trained and pulled": "target trained",
}
PREDICTORS = {"no predictor": "without predictor", "predictor": "with predictor"}
COLLAPSING = [("no predictor", target) for target in TARGETS] + [("predictor", "no stop-gradient")]
VIEWS = {"fresh views": "o", "fixed views": "s"}
TOLD = "told"
FROZEN = "frozen features"
ARCHITECTURES = ("linear", "tanh", "relu", "convolutional")
RATES = "rates"


class Ablation(FromMeasurements):
    """Every corner of the cube, both readings of EMA without stop-gradient: a mode, trained encoders, and rates of collapse.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "ablation"

    def compute(self) -> FigureData:
        """Solve the mode of every corner and read the measurement.

        Raises
        ------
        InputError
            If it is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("ablation")
        series = [*modes(), *courses(measured), *rates(measured)]
        return FigureData(tuple(series), summary(measured), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw two rows of corners and, beneath them, rates of collapse."""
        with style.sheet(venue, 4.5, axes) as page:
            grid = page.add_gridspec(3, len(TARGETS), height_ratios=(1, 1, 0.75))
            for row, predictor in enumerate(PREDICTORS):
                for column, target in enumerate(TARGETS):
                    axes = page.add_subplot(grid[row, column])
                    draw_corner(axes, data, predictor, target)
                    if row == 0:
                        axes.set_title(TARGETS[target], size=style.venue_named(venue).note)
                        axes.tick_params(labelbottom=False)
                    else:
                        axes.set_xlabel("time")
                    axes.set_ylabel(f"{PREDICTORS[predictor]}\nshare left" if column == 0 else " ")
                    axes.tick_params(labelleft=column == 0)
            draw_rates(page.add_subplot(grid[2, :]), data)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        n = {key: number(value, 2) for key, value in data.numbers.items()}
        return (
            r"The ablation cube. Above: the share of $\mathrm{tr}\,\Phi$ that is left. Thick lines: one mode with $\lambda = "
            rf"{n['lambda']}$, $\sigma = \alpha = 1$, no decay and, where the target lags, $\beta = {n['beta']}$; solid: closed "
            r"form, proved; dashed: computed, by integration; its rate of collapse in $w$, or where it rests, is written. "
            r"Markers: measured in trainings of linear, tanh, ReLU and convolutional tanh encoders of digits, on views drawn "
            rf"afresh (circles) or fixed (squares), each the mean of ${data.numbers['seeds']:.0f}$ seeds; thin dashes: what the flow on "
            r"the features at their start tells of those on fresh views. The unit of time is that in which modes collapsing at "
            r"the rates of the "
            rf"corner leave ${n['left']}$ (longer where modes without common axes are slower), for survivors those of the corner "
            r"without predictor. Without a predictor everything "
            r"collapses, with stop-gradient at half the rate, and EMA only delays it; a "
            r"predictor through whose target the gradient passes collapses at $1 - \rho^2$ or faster. With predictor and "
            rf"stop-gradient the mode rests at $p^* = \rho = {n['rest']}$, with EMA too. The two readings of EMA without "
            r"stop-gradient: a gradient through the average, in the flow the same as stop-gradient and EMA, though a step of "
            r"length $\varepsilon$ lets $\varepsilon\beta$ of it pass, by which these trainings still fall; and a target that "
            rf"is trained and pulled, which survives at $p^* = {n['trained']}$. At least ${n['least']}$ is left in every "
            rf"training that is told to survive, and at most ${n['most, fresh views']}$ (fresh views) or "
            rf"${n['most, fixed views']}$ (fixed) in the others. Below: measured rates of collapse over the second half, by "
            rf"those of the flow on the features at the start. On features that stay (triangles) they agree to "
            rf"${number(100 * data.numbers['frozen'], 1)}\%$, in trainings on fresh views to "
            rf"${number(100 * data.numbers['fresh'], 2)}\%$; deep encoders fit fixed views, and collapse down to "
            rf"${number(1 / data.numbers['slowest'], 2)}$ times more slowly."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Ten small panels of the share of embedding variance left over time, in two rows without and with predictor, five "
            "columns of what happens to the target. All curves of the upper row and the first of the lower one fall without "
            "end, more slowly with an averaged target; the other four level off. Markers of trained encoders do the same, but for "
            "deep ones on fixed views, some of which stall on the way down. Below, "
            "measured over predicted rates of six collapsing corners: near one for frozen features and fresh views, far below "
            "one for deep encoders on fixed views."
        )


def slow_rate(predictor: str, target: str) -> float:
    """Return the rate at which w collapses in a corner by 4.1; of survivors, that of the same target without predictor."""
    if "EMA" in target and not target.endswith("pulled"):
        return float((1 + LAG - np.sqrt((1 - LAG) ** 2 + 4 * LAG * CROSS)) / 2)
    if target == "no stop-gradient":
        return 1 - CROSS**2 if predictor == "predictor" else 2 * (1 - CROSS)
    return 1 - CROSS


def mode(predictor: str, target: str, units: float = 1.0) -> tuple[Evidence, np.ndarray, np.ndarray]:
    """Return how the mode of a corner is known, flow times up to so many units of the corner, and its weight at them."""
    times = units * np.linspace(0.0, -np.log(LEFT) / (2 * slow_rate(predictor, target)), 41)
    if predictor == "no predictor":
        if "EMA" not in target or target.endswith("pulled"):
            # From v = w the trained target stays the encoder itself.
            return Evidence.PROVED, times, np.exp(-slow_rate(predictor, target) * times)
        return Evidence.PROVED, times, ema_without_predictor(times, 1.0, 1.0, CROSS, 1.0, ema_rate=LAG)[0]
    if target == "stop-gradient":
        return Evidence.PROVED, times, balanced_jepa(times, 1.0, CROSS, 1.0)
    views = ViewPair.from_covariances([[1.0]], [[1.0]], [[CROSS]])
    passes = target in ("no stop-gradient", "EMA, target trained and pulled")
    jepa = LinearJEPA(views, ema_rate=LAG if "EMA" in target else None, leak=float(passes))
    return Evidence.COMPUTED, times, jepa.solve([[1.0]], [[1.0]], times).encoder[:, 0, 0]


def modes() -> list[Series]:
    """Return w² over time in every corner."""
    found: list[Series] = []
    for predictor in PREDICTORS:
        for target in TARGETS:
            evidence, times, weight = mode(predictor, target)
            found.append(Series(f"{predictor}, {target}", "mode", evidence, times / times[-1], weight**2))
    return found


def cases(measured: Measurement, views: str) -> list[int]:
    """Return the run of every architecture on such views, in order."""
    names, kinds = measured.arrays["architecture"], measured.arrays["views"]
    return [
        next(q for q in range(len(names)) if str(names[q]).startswith(first) and str(kinds[q]) == views)
        for first in ARCHITECTURES
    ]


def corner_of(measured: Measurement, predictor: str, target: str) -> int:
    """Return the place of a corner in the measurement."""
    return [str(name) for name in measured.arrays["corner"]].index(f"{predictor}, {target}")


def between_seeds(panel: str, name: str, x: np.ndarray, values: np.ndarray) -> Series:
    """Return geometric means over seeds, (n, S), as measured, with the least and the greatest."""
    extra = {"low": values.min(axis=1), "high": values.max(axis=1)}
    return Series(panel, name, Evidence.MEASURED, x, np.exp(np.log(values).mean(axis=1)), extra)


def courses(measured: Measurement) -> list[Series]:
    """Return the share of tr Φ over time, geometric means over seeds: every second record, and as told at the start on fresh views."""
    found: list[Series] = []
    arrays = measured.arrays
    for predictor in PREDICTORS:
        for target in TARGETS:
            panel, corner = f"{predictor}, {target}", corner_of(measured, predictor, target)
            for views in VIEWS:
                for name, run in zip(ARCHITECTURES, cases(measured, views), strict=True):
                    share, flow = (
                        np.exp(np.log(arrays[key][run, corner]).mean(axis=0)) for key in ("share", "flow_share")
                    )
                    x = np.linspace(0.0, arrays["time"][run, corner] / arrays["horizon"][run, corner], len(share))
                    found.append(Series(panel, f"{name}, {views}", Evidence.MEASURED, x[::-2][::-1], share[::-2][::-1]))
                    if views == "fresh views":
                        found.append(Series(panel, f"{name}, {TOLD}", Evidence.COMPUTED, x, flow))
    return found


def quotients(measured: Measurement, views: str) -> np.ndarray:
    """Return measured over predicted rates of the collapsing corners, (6, architectures, seeds)."""
    arrays = measured.arrays
    corners = [corner_of(measured, *corner) for corner in COLLAPSING]
    if views == FROZEN:
        fixed = np.flatnonzero(arrays["views"] == "fixed views").tolist()
        order = [fixed.index(run) for run in cases(measured, "fixed views")]
        seen, told = arrays["frozen_rate"][order], arrays["frozen_flow"][order]
    else:
        seen, told = (arrays[key][cases(measured, views)] for key in ("rate", "from_start"))
    return (seen / told)[:, corners].transpose(1, 0, 2)


def rates(measured: Measurement) -> list[Series]:
    """Return measured over predicted rates of collapse, by corner, and the line on which they agree."""
    found = [Series(RATES, "predicted", Evidence.COMPUTED, np.array([-0.5, len(COLLAPSING) - 0.5]), np.ones(2))]
    for group, views in enumerate((FROZEN, *VIEWS)):
        values = quotients(measured, views)
        apart = 0.06 * (np.arange(len(ARCHITECTURES)) - (len(ARCHITECTURES) - 1) / 2)
        x = np.arange(len(COLLAPSING))[:, None] + (group - 1) * 0.3 + apart
        found.append(between_seeds(RATES, views, x.ravel(), values.reshape(-1, values.shape[2])))
    return found


def summary(measured: Measurement) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    lives = arrays["survives"].astype(bool)
    left = {views: arrays["left"][cases(measured, views)] for views in VIEWS}
    rho = CROSS
    fixed = quotients(measured, "fixed views")
    return {
        "lambda": CROSS,
        "beta": LAG,
        "left": LEFT,
        "seeds": float(arrays["left"].shape[-1]),
        "rest": rho,
        "trained": rho * LAG / (LAG + 1 - rho**2),
        "least": min(float(part[:, lives].min()) for part in left.values()),
        **{f"most, {views}": float(part[:, ~lives].max()) for views, part in left.items()},
        "frozen": float(np.abs(quotients(measured, FROZEN) - 1).max()),
        "fresh": float(np.abs(quotients(measured, "fresh views") - 1).max()),
        "slowest": float(fixed.min()),
    }


def role(predictor: str, target: str) -> str:
    """Return the colour of a corner."""
    if predictor == "predictor":
        return "jepa"
    return "ema" if "EMA" in target else "no-predictor"


def told(predictor: str, target: str, numbers: dict[str, float]) -> str:
    """Return what 4.1 says of the mode that is drawn: its rate of collapse, or where the predictor rests."""
    if predictor == "predictor":
        if target == "no stop-gradient":
            return rf"rate $\geq {slow_rate(predictor, target):.2f}$"
        return rf"$p^* = {numbers['trained' if target.endswith('pulled') else 'rest']:.2f}$"
    return f"rate {number(slow_rate(predictor, target), 2)}"


def draw_corner(axes: Axes, data: FigureData, predictor: str, target: str) -> None:
    """Draw one corner: its mode, and trained encoders, over time."""
    panel = f"{predictor}, {target}"
    colour = role(predictor, target)
    axes.set(yscale="log", xlim=(-0.03, 1.06), ylim=(1e-4, 60), yticks=(1e-4, 1e-2, 1))
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=axes.yaxis.label.get_fontsize())
    for series in data.panel(panel):
        if series.name == "mode":
            plot(axes, series, colour, linewidth=1.6)
        elif series.name.endswith(TOLD):
            plot(axes, series, colour, linewidth=0.5)
        else:
            marker = next(VIEWS[views] for views in VIEWS if series.name.endswith(views))
            plot(axes, series, colour, marker=marker, markersize=1.8, markeredgewidth=0.45)
    said = told(predictor, target, dict(data.numbers))
    size = axes.yaxis.label.get_fontsize() if "$" in said else None
    axes.text(0.04, 0.98, said, va="top", size=size, transform=axes.transAxes)


def draw_rates(axes: Axes, data: FigureData) -> None:
    """Draw measured over predicted rates of the corners that collapse."""
    axes.set(yscale="log", xlim=(-0.55, len(COLLAPSING) - 0.45), ylim=(0.009, 2.2), ylabel="rate\nmeasured / predicted")
    names = [TARGETS[target].replace(" ", "\n") for _, target in COLLAPSING[:-1]] + ["predictor,\ngradient passes"]
    axes.set_xticks(range(len(COLLAPSING)), names)
    axes.set_xlabel("corners that collapse")
    axes.set_yticks((0.01, 0.1, 1.0), ("0.01", "0.1", "1"))
    plot(axes, data[f"{RATES}/predicted"], "jepa", linewidth=0.8)
    for views, marker in ((FROZEN, "^"), *VIEWS.items()):
        plot(axes, data[f"{RATES}/{views}"], "jepa", marker=marker, markersize=3.0, label=views)
    axes.legend(loc="lower left", handletextpad=0.1, borderaxespad=0.1, labelspacing=0.2, ncols=3, columnspacing=1.0)
