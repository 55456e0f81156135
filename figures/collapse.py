"""Collapse (4.3-4.5): a fold with hysteresis against the contrastive pitchfork, and which dimensions of trained encoders survive."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.linear_models.collapse import critical_weight_decay
from jepalign.linear_models.contrastive import SpectralContrastive
from jepalign.linear_models.flow import State, integrate
from jepalign.linear_models.views import ViewPair
from jepalign.measurements import Measurement

CROSS, LAG = 0.8, 0.3
"""λ of the mode that is drawn, σ = 1, α = 1, and β of the target while the decay is swept."""

SWEEP = 1500.0
"""Time in which η is raised from 0 to 1.3 η_c, and again lowered."""

HALF = 4  # the record at half of the training
FOLD, PITCHFORK, LAGGING = "fold", "pitchfork", "lagging"
ARCHITECTURES = {"linear": "linear encoder", "tanh": "tanh MLP", "relu": "ReLU MLP"}
# Measured surviving ranks by length of the steps: how they are called, and their marker.
STEPS = {"rank": (r"steps $\epsilon$", "s"), "rank_half": (r"steps $\epsilon/2$", "o")}
DECAYS = (3e-3, 30.0)
"""What is shown of η/σ."""
OUTSIDE = ("outside", "outside, alive")


class Collapse(FromMeasurements):
    """Where a mode rests over weight decay, in a JEPA and under a contrastive loss; the phase diagram; what EMA does to it.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "collapse"

    def compute(self) -> FigureData:
        """Find the branches, sweep the decay, and read the measurement.

        Raises
        ------
        InputError
            If it is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("phase")
        swept = sweep()
        lagged = lagging(measured)
        series = [*fold(), *swept, *pitchfork(), *lagged]
        for panel in ARCHITECTURES:
            series += dimensions(measured, panel)
        return FigureData(tuple(series), summary(measured, swept[0], lagged[1].extra["lag in steps"]), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the two bifurcations and the lagging target above three phase diagrams."""
        with style.sheet(venue, 3.7, axes) as page:
            grid = page.add_gridspec(2, 3)
            draw_branches(page.add_subplot(grid[0, 0]), data, FOLD)
            draw_branches(page.add_subplot(grid[0, 1]), data, PITCHFORK)
            draw_lagging(page.add_subplot(grid[0, 2]), data)
            for column, panel in enumerate(ARCHITECTURES):
                axes = page.add_subplot(grid[1, column])
                draw_phase(axes, data, panel)
                axes.set_ylabel(r"correlation $\rho = |\lambda|/\sigma$" if column == 0 else " ")
                axes.tick_params(labelleft=column == 0)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        n = {key: number(value, 2) for key, value in data.numbers.items()}
        right = {
            key: f"${number(100 * data.numbers[key], 3)}\\%$"
            for key in data.numbers
            if key.startswith(("start", "half"))
        }
        count = {key: f"${data.numbers[key]:.0f}$" for key in ("settings", "width", "lag", "longer lag", *OUTSIDE)}
        return (
            r"Collapse. Above: rests of one mode over the weight decay, thick where they are stable, proved; $\lambda = "
            rf"{n['lambda']}$, $\sigma = \alpha = 1$. The JEPA's surviving state ends in a fold at $\eta_c = "
            rf"\lambda^2/(4\sigma) = {n['critical']}$, and collapse is stable at every $\eta > 0$. Dashed: computed, $\eta$ "
            rf"slowly raised and lowered again, with an EMA target of $\beta = {n['beta']}$: the mode falls beyond $\eta_c$ (at "
            rf"this speed, at ${number(data.numbers['fall'], 3)}\,\eta_c$) and does not come back. Under the contrastive loss "
            r"(a quarter of its gradient) it vanishes and returns continuously at $\eta = \lambda$. Right: change of the "
            rf"surviving rank (of {count['width']}) when the target lags by {count['lag']} and {count['longer lag']} steps, "
            rf"predicted to be none; measured, means over {count['settings']} random settings with least and greatest, at two "
            r"lengths of steps: what goes with the step is not the flow's. Below: phase diagrams of linear and deep encoders of "
            r"digits that were trained at random $\eta$ without a lag. Each marker is a dimension, at $\lambda$ and $\sigma$ of "
            r"the features at half of the training; circles: survived, measured at the end; crosses: died. Line: $\rho^2 = "
            r"4\eta/\sigma$, where $\lambda^2 = 4\eta\sigma$, the boundary of what is predicted to die (grey ground), proved for "
            r"features that stay. It is right for "
            rf"{right['half, linear']}, {right['half, tanh']} and {right['half, relu']} of the dimensions (linear, tanh, ReLU, "
            rf"with every lag); at the features before training, which weight decay still shrinks, for {right['start, linear']}, "
            rf"{right['start, tanh']} and {right['start, relu']}. {count['outside']} dimensions lie outside the axes, "
            rf"their features all but gone; {count['outside, alive']} of them survived."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Upper row: rest weights of a mode against weight decay. For the JEPA two branches meet in folds and zero is stable "
            "throughout; a sweep falls off the fold and stays at zero. For the contrastive loss one pitchfork. Beside them, "
            "changes of surviving rank by a lagging target scatter around zero. Lower row: for linear, tanh and ReLU encoders, "
            "dimensions in the plane of weight decay and feature strength; survivors lie above the predicted line, dead ones "
            "below it, with exceptions next to it."
        )


def fold() -> list[Series]:
    """Return the rests of a JEPA's mode, of either sign of w, over η up to beyond η_c."""
    ends = np.array([0.0, 1.3 * float(critical_weight_decay(CROSS, 1.0))])
    found = [Series(FOLD, "stable, collapsed", Evidence.PROVED, ends, np.zeros(2))]
    for kind, first, last in (("stable", CROSS, CROSS / 2), ("unstable", 0.0, CROSS / 2)):
        weight = np.linspace(first, last, 61)
        # A mode with p = w rests where η = w(λ − w), which has no root to lose at the fold.
        decay = weight * (CROSS - weight)
        for sign, side in ((1, "upper"), (-1, "lower")):
            found.append(Series(FOLD, f"{kind}, {side}", Evidence.PROVED, decay, sign * weight))
    return found


def pitchfork() -> list[Series]:
    """Return the rests of a contrastive mode over η, for a quarter of the loss's gradient."""
    one = ViewPair.from_covariances([[1.0]], [[1.0]], [[CROSS]])
    decay = CROSS * (1 - np.linspace(1, 0, 61) ** 2)
    weight = [SpectralContrastive(one, weight_decay=4 * eta).equilibria().weight.filled(0)[0, 1] for eta in decay]
    found = [
        Series(PITCHFORK, "stable, collapsed", Evidence.PROVED, np.array([CROSS, 1.3 * CROSS]), np.zeros(2)),
        Series(PITCHFORK, "unstable, collapsed", Evidence.PROVED, np.array([0.0, CROSS]), np.zeros(2)),
    ]
    for sign, side in ((1, "upper"), (-1, "lower")):
        found.append(Series(PITCHFORK, f"stable, {side}", Evidence.PROVED, decay, sign * np.array(weight)))
    return found


def sweep() -> list[Series]:
    """Return w while η is raised slowly from a surviving mode, and lowered again from what that left, with a lagging target."""
    top = 1.3 * float(critical_weight_decay(CROSS, 1.0))
    times = np.linspace(0.0, SWEEP, 51)
    state: State = {"w": np.array(CROSS), "v": np.array(CROSS), "p": np.array(CROSS), "eta": np.array(0.0)}
    found: list[Series] = []
    for name, speed in (("raised", top / SWEEP), ("lowered", -top / SWEEP)):

        def velocity(now: State, speed: float = speed) -> State:
            w, v, p, eta = (now[key] for key in ("w", "v", "p", "eta"))
            residual = CROSS * v - p * w
            return {
                "w": p * residual - eta * w,
                "v": LAG * (w - v),
                "p": w * residual - eta * p,
                "eta": np.full_like(eta, speed),
            }

        path = integrate(velocity, state, times, method="LSODA", rtol=1e-7, atol=1e-9)
        found.append(Series(FOLD, name, Evidence.COMPUTED, path.states["eta"], path.states["w"]))
        state = {key: part[-1] for key, part in path.states.items()}
    return found


def run_of(measured: Measurement, panel: str) -> int:
    """Return the place of an architecture in the measurement."""
    return [str(name).startswith(panel) for name in measured.arrays["architecture"]].index(True)


def lagging(measured: Measurement) -> list[Series]:
    """Return by how much surviving ranks change when the target lags, against the same setting without, over settings."""
    arrays = measured.arrays
    found = [Series(LAGGING, "predicted", Evidence.PROVED, np.array([-0.5, len(ARCHITECTURES) - 0.5]), np.zeros(2))]
    for shift, key in zip((-0.08, 0.08), STEPS, strict=True):
        columns: list[tuple[float, ...]] = []
        for place, panel in enumerate(ARCHITECTURES):
            run = run_of(measured, panel)
            rates = arrays["ema_rate"][run]
            slower = np.sort(np.unique(rates))[::-1]
            ranks = [arrays[key][run][rates == rate] for rate in slower]
            for index, rank in enumerate(ranks[1:]):
                change = rank - ranks[0]
                change = change[np.isfinite(change)]
                steps = round(slower[0] / slower[index + 1])
                x = place + (index - 0.5) * 0.5 + shift
                columns.append((x, change.mean(), change.min(), change.max(), steps))
        x, mean, low, high, steps = np.array(columns, dtype=float).T
        extra = {"low": low, "high": high, "lag in steps": steps}
        found.append(Series(LAGGING, key, Evidence.MEASURED, x, mean, extra))
    return found


def thresholds_at(measured: Measurement, run: int, kept: np.ndarray, record: int) -> np.ndarray:
    """Return η_c of the features' modes at a record of the runs that are kept, (M, k)."""
    lam, sigma = (measured.arrays[name][run][kept, record].astype(float) for name in ("cross", "variance"))
    return critical_weight_decay(lam, sigma)


def dimensions(measured: Measurement, panel: str) -> list[Series]:
    """Return the dimensions that survived and that died, in runs without a lag, over η/σ and ρ = |λ|/σ; and the boundary.

    Both views of a pair take either place and the target is the encoder itself, so that σ is the target's variance too.
    """
    arrays, run = measured.arrays, run_of(measured, panel)
    kept = (arrays["ema_rate"][run] == arrays["ema_rate"][run].max()) & (arrays["diverged"][run] == 0)
    lam, sigma = (arrays[name][run][kept, HALF].astype(float) for name in ("cross", "variance"))
    decay, rho = arrays["weight_decay"][run][kept, None].astype(float) / sigma, np.abs(lam) / sigma
    alive = arrays["survived"][run][kept] == 1
    edge = np.linspace(0.0, 1.0, 41)
    return [
        Series(panel, "boundary", Evidence.PROVED, edge**2 / 4, edge),
        Series(panel, "died", Evidence.MEASURED, decay[~alive], rho[~alive]),
        Series(panel, "survived", Evidence.MEASURED, decay[alive], rho[alive]),
    ]


def summary(measured: Measurement, raised: Series, lags: np.ndarray) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    critical = float(critical_weight_decay(CROSS, 1.0))
    # Where the sweep is steepest.
    steepest = int(np.argmin(np.diff(raised.y)))
    numbers = {
        "lambda": CROSS,
        "beta": LAG,
        "critical": critical,
        "fall": float(raised.x[steepest : steepest + 2].mean()) / critical,
        "settings": float(len(np.unique(arrays["weight_decay"][0]))),
        "width": float(arrays["survived"].shape[2]),
        "lag": float(lags[0]),
        "longer lag": float(lags[1]),
    }
    outside = lasting = 0.0
    for panel in ARCHITECTURES:
        run = run_of(measured, panel)
        fine = arrays["diverged"][run] == 0
        alive = arrays["survived"][run][fine] == 1
        for moment, record in (("start", 0), ("half", HALF)):
            told = thresholds_at(measured, run, fine, record) > arrays["weight_decay"][run][fine, None]
            numbers[f"{moment}, {panel}"] = float((told == alive).mean())
        for series in dimensions(measured, panel)[1:]:
            beyond = float(((series.x < DECAYS[0]) | (series.x > DECAYS[1])).sum())
            outside += beyond
            lasting += beyond if series.name == "survived" else 0.0
    return numbers | dict(zip(OUTSIDE, (outside, lasting), strict=True))


def draw_branches(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw the rests of a mode, the stable ones thick, and the sweep of the decay."""
    role = "jepa" if panel == FOLD else "spectral-contrastive"
    top = data.numbers["critical"] if panel == FOLD else data.numbers["lambda"]
    axes.set(xlim=(0, 1.32 * top), ylim=(-1.05, 1.05), yticks=(-1, 0, 1), xlabel=r"weight decay $\eta$")
    axes.set_title("JEPA" if panel == FOLD else "contrastive")
    axes.set_ylabel("weight $w$ at rest" if panel == FOLD else " ")
    axes.tick_params(labelleft=panel == FOLD)
    threshold = r"$\lambda^2/4\sigma$" if panel == FOLD else r"$\lambda$"
    axes.set_xticks((0, top), ("0", threshold), size=axes.xaxis.label.get_fontsize())
    for series in data.panel(panel):
        width = 1.0 if series.evidence is Evidence.COMPUTED else 1.8 if series.name.startswith("stable") else 0.6
        plot(axes, series, role, linewidth=width)
    if panel == FOLD:
        raised, lowered = data[f"{FOLD}/raised"], data[f"{FOLD}/lowered"]
        fallen = int(np.argmin(np.diff(raised.y)))
        arrow(axes, (raised.x[fallen], raised.y[fallen]), (raised.x[fallen + 1], 0.12), role)
        half = len(lowered.x) // 2
        arrow(axes, (lowered.x[half], 0.0), (lowered.x[half + 6], 0.0), role)
        axes.text(0.3 * top, 0.3, "unstable", color=FAINT, va="center")
        axes.text(1.3 * top, -0.9, "collapse is stable", ha="right")
    else:
        axes.text(0.3 * top, 0.12, "unstable", color=FAINT, va="center")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], role: str) -> None:
    """Draw the head of an arrow at ``end``, from the direction of ``start``."""
    head = FancyArrowPatch(start, end, arrowstyle="-|>", color=COLOURS[role], lw=0.8, mutation_scale=8)
    axes.add_patch(head)


def draw_lagging(axes: Axes, data: FigureData) -> None:
    """Draw changes of the surviving rank by a lagging target."""
    series = data[f"{LAGGING}/rank"]
    places = series.x - series.x[0] - 0.25
    axes.set_xticks(places, [f"{lag:.0f}" for lag in series.extra["lag in steps"]])
    names = ["ReLU" if panel == "relu" else panel for panel in ARCHITECTURES]
    axes.set_xticks(range(len(names)), names, minor=True)
    axes.tick_params(axis="x", which="minor", length=0, pad=14)
    axes.set(xlim=(-0.6, len(ARCHITECTURES) - 0.4), ylabel="change of rank", xlabel="lag of the target, steps")
    axes.set_title("with an EMA target")
    plot(axes, data[f"{LAGGING}/predicted"], "ema", linewidth=0.8)
    for key, (label, marker) in STEPS.items():
        plot(axes, data[f"{LAGGING}/{key}"], "ema", marker=marker, markersize=3.0, label=label)
    axes.legend(loc="upper left", handletextpad=0.1, borderaxespad=0.1, labelspacing=0.2)


def draw_phase(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw dimensions over weight decay and correlation, and the boundary."""
    axes.set(xscale="log", ylim=(0, 1.04), yticks=(0, 0.5, 1), xlim=DECAYS, xlabel=r"weight decay $\eta/\sigma$")
    axes.set_xticks((1e-2, 1e-1, 1, 10))
    axes.set_title(ARCHITECTURES[panel])
    axes.tick_params(labelsize=axes.xaxis.label.get_fontsize())
    boundary = data[f"{panel}/boundary"]
    # Right of the last point, at η = σ/4, nothing can live whatever its correlation.
    x, y = np.append(boundary.x[1:], DECAYS[1]), np.append(boundary.y[1:], 1.04)
    axes.fill_between(x, 0, np.where(y == 1.0, 1.04, y), color=style.COLLAPSE_TINT, lw=0)
    plot(axes, boundary, "jepa", linewidth=1.0)
    plot(axes, data[f"{panel}/died"], "no-predictor", marker="x", markersize=2.5)
    plot(axes, data[f"{panel}/survived"], "jepa", markersize=2.5)
    if panel == "relu":
        axes.text(5e-3, 0.55, "survive")
        axes.text(3.0, 0.15, "die", color=FAINT, ha="center")
