"""The map (2.1-2.3, 2.6): the force on one mode in the (w, p) plane, and along the balanced line."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from jepalign.figures import style
from jepalign.figures.publication import FigureData, Series, number, plot
from jepalign.figures.style import COLOURS, FAINT, Evidence
from jepalign.linear_models.flow import State, integrate
from jepalign.linear_models.implicit_uniformity import effective_coefficient, mode_forces

CROSS, VARIANCE, DECAY, RATE = 0.6, 1.0, 0.05, 1.0
"""λ, σ, η and α of the mode that is drawn: η is below η_c = λ²/(4σ) = 0.09, so that the mode can survive."""

SLOWER = 0.5
"""A second α, below σ, for which the coefficient has a pole."""

WIDEST, LOWEST, HIGHEST = 1.15, -0.65, 1.25


def velocity(w: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (ẇ, ṗ) of the JEPA flow of the drawn mode, with V = W."""
    residual = CROSS - VARIANCE * p
    return p * w * residual - DECAY * w, RATE * w**2 * residual - DECAY * p


def basin_boundary(w: float, p: float) -> np.ndarray:
    """Return the stable curve of the saddle (w, p) in the drawn part of the plane, (n, 2), by integrating backwards.

    It separates the starts from which the mode survives from those from which it dies.
    """
    residual = CROSS - VARIANCE * p
    jacobian = np.array(
        [
            [p * residual - DECAY, w * (residual - VARIANCE * p)],
            [2 * RATE * w * residual, -RATE * VARIANCE * w**2 - DECAY],
        ]
    )
    rates, directions = np.linalg.eig(jacobian)
    stable = directions[:, np.argmin(rates)]

    def backwards(state: State) -> State:
        w_dot, p_dot = velocity(state["w"], state["p"])
        speed = np.hypot(w_dot, p_dot)  # at unit speed times are lengths, and points of the curve evenly spaced
        return {"w": -w_dot / speed, "p": -p_dot / speed}

    halves: list[np.ndarray] = []
    for side in (-1, 1):
        # 1e-5 along the tangent is 1e-10 off the curve.
        start = np.array([w, p]) + side * 1e-5 * stable
        path = integrate(backwards, {"w": start[0], "p": start[1]}, np.arange(0.0, 3.0, 0.01))
        half = np.column_stack((path.states["w"], path.states["p"]))
        outside = (half[:, 0] > WIDEST) | (half[:, 1] < LOWEST) | (half[:, 1] > HIGHEST)
        halves.append(half[: np.argmax(outside) + 1 if outside.any() else len(half)])
    return np.concatenate((halves[0][::-1], [[w, p]], halves[1]))


def coefficients() -> list[Series]:
    """Return the effective coefficient along the balanced line for both rates, its values at rest, and the explicit constant."""
    w, pole = np.linspace(0, WIDEST, 231), 1 / np.sqrt(VARIANCE)
    found = [Series("coefficient", "explicit", Evidence.PROVED, np.array([0.0, WIDEST]), np.ones(2))]
    rests: list[tuple[float, float]] = []
    for rate in (RATE, SLOWER):
        rho, root = CROSS / VARIANCE, np.sqrt(rate)
        # With α = σ the pole at s = 1 cancels, and at that point itself nothing is defined.
        pieces = {"": w[w != pole]} if rate == VARIANCE else {"": w[w < pole], ", beyond the pole": w[w > pole]}
        for name, part in pieces.items():
            value = effective_coefficient(part, root * part, CROSS, VARIANCE)
            found.append(Series("coefficient", f"rate {rate:g}{name}", Evidence.PROVED, part, value))
        rests.append((rho / root, rate * (1 - rho) / (rate - rho**2 * VARIANCE)))
    found.append(Series("coefficient", "at rest", Evidence.PROVED, *np.array(rests).T))
    return found


class Map:
    """The flow of one JEPA mode in its plane, where it repels, and its forces beside those of spectral contrastive."""

    name = "map"

    def compute(self) -> FigureData:
        """Evaluate the flow on a grid, its nullclines, rest points and basin boundary, and the forces."""
        grid = np.meshgrid(np.linspace(0, WIDEST, 47), np.linspace(LOWEST, HIGHEST, 77))
        w, p = (part.ravel() for part in grid)
        w_dot, p_dot = velocity(w, p)
        root = float(np.sqrt(CROSS**2 - 4 * DECAY * VARIANCE))
        lower, upper = (CROSS - root) / (2 * VARIANCE), (CROSS + root) / (2 * VARIANCE)
        balance = float(np.sqrt(RATE))
        width, ends = np.linspace(0, WIDEST, 231), np.array([0.0, WIDEST])
        predictor = RATE * CROSS * width**2 / (RATE * VARIANCE * width**2 + DECAY)
        boundary = basin_boundary(lower / balance, lower)
        heights = np.array([-0.52, -0.14, 0.3, 0.74, 1.12])
        column = np.full(len(heights), 0.8)
        series = [
            Series("plane", "flow", Evidence.PROVED, w, p, {"w_dot": w_dot, "p_dot": p_dot}),
            Series("plane", "encoder at rest, upper", Evidence.PROVED, ends, np.full(2, upper)),
            Series("plane", "encoder at rest, lower", Evidence.PROVED, ends, np.full(2, lower)),
            Series("plane", "predictor at rest", Evidence.PROVED, width, predictor),
            Series("plane", "balanced", Evidence.PROVED, ends, balance * ends),
            Series("plane", "basin boundary", Evidence.COMPUTED, *boundary.T),
            Series("plane", "stable", Evidence.PROVED, np.array([0, upper / balance]), np.array([0, upper])),
            Series("plane", "saddle", Evidence.PROVED, np.array([lower / balance]), np.array([lower])),
        ]
        for name, force in (
            ("attraction", (CROSS - VARIANCE) * column),
            ("repulsion", mode_forces(column, heights, CROSS, VARIANCE).surplus),
        ):
            series.append(Series("plane", name, Evidence.PROVED, column, heights, {"force": force}))
        attraction = (CROSS - VARIANCE) * width
        implicit = mode_forces(width, balance * width, CROSS, VARIANCE).surplus
        explicit = VARIANCE * width * (1 - VARIANCE * width**2)
        for panel, repulsion in (("jepa", implicit), ("spectral-contrastive", explicit)):
            series += [
                Series(panel, "attraction", Evidence.PROVED, width, attraction),
                Series(panel, "repulsion", Evidence.PROVED, width, repulsion),
                Series(panel, "sum", Evidence.PROVED, width, attraction + repulsion),
            ]
        series += coefficients()
        rests = series[-1].y
        numbers = {
            "lambda": CROSS,
            "sigma": VARIANCE,
            "eta": DECAY,
            "alpha": RATE,
            "rho": CROSS / VARIANCE,
            "critical": CROSS**2 / (4 * VARIANCE),
            "lower": lower,
            "upper": upper,
            "rest, jepa": CROSS / VARIANCE / balance,
            "rest, spectral-contrastive": float(np.sqrt(CROSS)) / VARIANCE,
            "slower": SLOWER,
            "coefficient at rest": float(rests[0]),
            "coefficient at rest, slower": float(rests[1]),
        }
        return FigureData(tuple(series), numbers)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the plane and, beside it, the two objectives' forces."""
        with style.sheet(venue, 4.0, axes) as page:
            grid = page.add_gridspec(3, 2, width_ratios=(1.35, 1), height_ratios=(1, 1, 1.1))
            draw_plane(page.add_subplot(grid[:, 0]), data)
            upper, middle, lower = (page.add_subplot(grid[row, 1]) for row in range(3))
            draw_forces(upper, data, "jepa")
            draw_forces(middle, data, "spectral-contrastive")
            draw_coefficients(lower, data)
            for above in (upper, middle):
                above.tick_params(labelbottom=False)
            lower.set_xlabel("encoder weight $w$")
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        given = ", ".join(
            rf"$\{letter} = {number(numbers[letter], 1)}$" for letter in ("lambda", "sigma", "alpha", "eta")
        )
        return (
            r"A predictor repels because it shrinks. Left: the flow of one JEPA mode, "
            r"$\dot w = pw(\lambda - \sigma p) - \eta w$ and $\dot p = \alpha w^2(\lambda - \sigma p) - \eta p$, at "
            rf"{given}, below the threshold $\eta_c = \lambda^2/(4\sigma) = {number(numbers['critical'], 1)}$. "
            r"Arrows, at one $w$ and without decay: the attraction $(\lambda - \sigma)w$ of plain alignment and the "
            r"repulsion $F_u = w(1 - p)(\sigma(1 + p) - \lambda)$ that the predictor adds, outward in the tinted band "
            r"$\rho - 1 < p < 1$ and inward beyond. Grey lines: nullclines. Dots: stable rest points; open: the "
            rf"saddle at $p_- = {number(numbers['lower'], 1)}$, below $p_+ = {number(numbers['upper'], 1)}$; black "
            r"line: the balanced $p = \sqrt{\alpha}\,w$; dashed: the basin boundary. Right: attraction, repulsion "
            r"and their sum along the balanced line, and for a quarter of the spectral contrastive gradient, whose "
            r"repulsion is $(1 - \sigma w^2)\sigma w$. The attraction is the same. At small $w$ the JEPA's "
            r"repulsion only cancels it, the sum being $\sqrt{\alpha}\lambda w^2$, where the explicit one wins, the "
            rf"sum being $\lambda w$. The sums vanish at $w = \rho/\sqrt{{\alpha}} = "
            rf"{number(numbers['rest, jepa'], 2)}$ and at $w = \sqrt{{\lambda}}/\sigma = "
            rf"{number(numbers['rest, spectral-contrastive'], 2)}$. Bottom: the coefficient $\lambda_{{\mathrm{{eff}}}}$ that "
            r"would give an explicit $(1 - \sigma w^2)\sigma w$ the JEPA's repulsion, beside the constant $1$ of the spectral "
            rf"contrastive loss. It starts from $1 - \rho = {number(1 - numbers['rho'], 1)}$, at which an explicit mode would be "
            r"marginal, is $\alpha(1 - \rho)/(\alpha - \rho^2\sigma) = "
            rf"{number(numbers['coefficient at rest'], 2)}$ at rest (dots; ${number(numbers['coefficient at rest, slower'], 2)}$ "
            rf"at $\alpha = {number(numbers['slower'], 1)}$), and unless $\alpha = \sigma$ has a pole at "
            r"$p = \sqrt{\alpha/\sigma}$, between which and $p = 1$ it is negative. Everything here is proved "
            r"but the basin boundary, which is computed; nothing is measured."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Left: streamlines of one mode in the plane of encoder weight and predictor weight, with a band between "
            "p = rho - 1 and p = 1 in which the repulsion points outward, two stable rest points, a saddle between "
            "them and the boundary of their basins. Right: along the balanced line the JEPA's repulsion only "
            "cancels the attraction near zero weight, while that of the spectral contrastive loss exceeds it; and the effective "
            "coefficient of the JEPA's repulsion, which rises with the weight and may have a pole, beside a constant."
        )


def draw_plane(axes: Axes, data: FigureData) -> None:
    """Draw the flow, its nullclines and rest points, the balanced line, and the band in which the predictor repels."""
    numbers = data.numbers
    axes.set(xlim=(0, WIDEST), ylim=(LOWEST, HIGHEST), xlabel="encoder weight $w$", ylabel="predictor weight $p$")
    axes.set(xticks=(0, 0.5, 1), yticks=(-0.5, 0, 0.5, 1))
    axes.axhspan(numbers["rho"] - 1, 1, color=style.REPULSION_TINT, lw=0)
    flow = data["plane/flow"]
    shape = (-1, len(np.unique(flow.x)))
    x, y, u, v = (part.reshape(shape) for part in (flow.x, flow.y, flow.extra["w_dot"], flow.extra["p_dot"]))
    axes.streamplot(x, y, u, v, density=1.1, color="#ADADAD", linewidth=0.45, arrowsize=0.5, zorder=1)
    for name in ("encoder at rest, upper", "encoder at rest, lower", "predictor at rest"):
        plot(axes, data[f"plane/{name}"], "no-predictor", linewidth=0.9)
    plot(axes, data["plane/balanced"], "jepa", linewidth=1.0)
    plot(axes, data["plane/basin boundary"], "jepa", linewidth=1.0)
    label = axes.xaxis.label.get_fontsize()
    for name, shift in (("attraction", -1.6), ("repulsion", 1.6)):
        arrows = data[f"plane/{name}"]
        apart = ScaledTranslation(0, shift / 72, axes.figure.dpi_scale_trans)
        axes.quiver(
            arrows.x,
            arrows.y,
            arrows.extra["force"],
            np.zeros_like(arrows.x),
            color=COLOURS[name],
            angles="xy",
            scale_units="xy",
            scale=1.4,
            width=0.009,
            headwidth=3.2,
            headlength=3.4,
            headaxislength=3.2,
            zorder=4,
            gid=arrows.gid,
            transform=axes.transData + apart,
        )
    plot(axes, data["plane/stable"], "jepa", linestyle="none", marker="o", clip_on=False, zorder=5)
    plot(axes, data["plane/saddle"], "jepa", linestyle="none", marker="o", markerfacecolor="white", zorder=5)
    for text, p, alignment in (
        (" balanced", data["plane/balanced"].y[-1], "center"),
        (r" $\dot p=0$", data["plane/predictor at rest"].y[-1], "bottom"),
        (r" $\dot w=0$", numbers["upper"], "top"),
        (r" $\dot w=0$", numbers["lower"], "center"),
    ):
        axes.text(WIDEST, p, text, va=alignment, size=label if "$" in text else None)
    for text, w, p, ground in (
        ("$F_u<0$", 0.95, 1.09, "white"),
        ("$F_u>0$", 0.97, -0.31, style.REPULSION_TINT),
        ("$F_u<0$", 0.97, -0.5, "white"),
        ("dies", 0.1, -0.28, style.REPULSION_TINT),
        ("survives", 0.53, -0.28, style.REPULSION_TINT),
    ):
        backing = {"facecolor": ground, "edgecolor": "none", "pad": 1.0}
        size = label if "$" in text else None
        axes.text(w, p, text, ha="center", va="center", size=size, bbox=backing, zorder=3)


def draw_forces(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw attraction, repulsion and their sum along the balanced line."""
    axes.set(xlim=(0, WIDEST), ylim=(-0.78, 0.52), xticks=(0, 0.5, 1), yticks=(-0.5, 0), ylabel="force on $w$")
    axes.axhline(0, color=FAINT, lw=0.5)
    roles = {"attraction": "attraction", "repulsion": "repulsion", "sum": panel}
    for series in data.panel(panel):
        plot(axes, series, roles[series.name])
    for name in ("repulsion", "sum"):
        curve = data[f"{panel}/{name}"]
        top = int(np.argmax(curve.y))
        axes.text(curve.x[top], curve.y[top] + 0.03, name, ha="center", color=COLOURS[roles[name]])
    axes.text(0.42, (CROSS - VARIANCE) * 0.42 - 0.04, "attraction", ha="right", va="top", color=COLOURS["attraction"])
    axes.text(0.03, -0.75, "JEPA, balanced" if panel == "jepa" else "spectral contrastive", color=COLOURS[panel])


def draw_coefficients(axes: Axes, data: FigureData) -> None:
    """Draw the effective coefficient of both rates beside the constant one."""
    start = 1 - data.numbers["rho"]
    axes.set(xlim=(0, WIDEST), ylim=(-1.9, 2.6), xticks=(0, 0.5, 1), ylabel=r"$\lambda_{\mathrm{eff}}$")
    axes.set_yticks((-1, start, 2), ["$-1$", r"$1-\rho$", "$2$"])
    axes.axhline(0, color=FAINT, lw=0.5)
    for series in data.panel("coefficient"):
        if series.name == "explicit":
            plot(axes, series, "spectral-contrastive")
        elif series.name == "at rest":
            plot(axes, series, "jepa", linestyle="none", marker="o", zorder=4)
        else:
            plot(axes, series, "jepa")
    label = axes.yaxis.label.get_fontsize()
    axes.text(0.03, 1.08, "spectral contrastive", color=COLOURS["spectral-contrastive"])
    axes.text(0.8, 1.7, rf"JEPA, $\alpha={SLOWER:g}$", ha="right", size=label)
    axes.text(0.94, -0.1, rf"JEPA, $\alpha={RATE:g}$", ha="right", va="top", size=label)
