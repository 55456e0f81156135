"""Two families under one lens (2.2, 4.2, 4.5, 4.6): the forces of JEPA, contrastive loss, hybrid and EMA alone on one plane.

The plane is that of an encoder of one row W = (w₁, w₂) on white views with two modes, C = diag(λ₁, λ₂). The predictor is the
balanced one, P = (WWᵀ)^{1/2} = |w|, which a learnt one becomes (3.1) and DirectPred sets.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, Series, number, plot
from jepalign.figures.style import COLOURS, Evidence
from jepalign.linear_models.collapse import equilibria
from jepalign.linear_models.flow import State, integrate

CROSS = np.array([0.85, 0.7])
"""λ₁ and λ₂; σ = 1 for both, and α = 1."""

DECAY, STRENGTH, LAG = 0.11, 0.3, 0.3
"""η, below η_c = λ²/4 of both modes; γ of the hybrid's explicit term ¼‖Φ − I‖², above η; β of the EMA."""

EDGE = 1.1
RING = 0.45
"""Half the width of the plane, and the distance from the origin at which forces are drawn."""

# The title, the verdict, and which arrows are named there.
PANELS = {
    "jepa": ("JEPA", "origin attracts", ("attraction", "attraction")),
    "contrastive": ("contrastive", "origin repels", ("repulsion", "repulsion")),
    "hybrid": ("hybrid", "origin repels", None),
    "ema": ("EMA alone", "all collapse", ("friction", "ema")),
}
# The colour of what is added to plain alignment, and how it is called.
ADDED = {"jepa": "repulsion", "contrastive": "repulsion", "hybrid": "repulsion", "ema": "ema"}


def slow_rates() -> np.ndarray:
    """Return r(β) of both modes, at which they collapse without a predictor under an EMA target (4.1)."""
    rate = 1 + DECAY
    return (rate + LAG - np.sqrt((rate - LAG) ** 2 + 4 * LAG * CROSS)) / 2


def forces(panel: str, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return plain alignment's force (C − I)w and what the objective adds to it, without decay, for w of shape (n, 2).

    EMA's target is on the slow subspace, to which all starts tend: v = w(1 + η − r)/λ.
    """
    attraction = (CROSS - 1) * weight
    size = np.linalg.norm(weight, axis=1, keepdims=True)
    implicit = size * (CROSS - size) * weight - attraction
    explicit = (1 - size**2) * weight
    added = {
        "jepa": implicit,
        "contrastive": explicit,
        "hybrid": implicit + STRENGTH * explicit,
        "ema": (1 + DECAY - slow_rates() - CROSS) * weight,
    }
    return attraction, added[panel]


def velocity(panel: str, weight: np.ndarray) -> np.ndarray:
    """Return ẇ, (n, 2)."""
    attraction, added = forces(panel, weight)
    return attraction + added - DECAY * weight


def rests(panel: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rest points, (m, 2), and which of them are stable.

    All are the origin or lie on an axis. There the other weight grows on the axis of λ₂ and decays on that of λ₁, so that
    the sign of the origin's rate and the slope of the velocity along the axis of λ₁ decide.
    """
    if panel == "jepa":
        sizes = equilibria(CROSS, 1.0, DECAY).filled(np.nan)[:, 1:]
    elif panel == "contrastive":
        sizes = np.sqrt(CROSS - DECAY)[:, None]
    elif panel == "hybrid":
        surplus = STRENGTH - DECAY
        sizes = ((CROSS + np.sqrt(CROSS**2 + 4 * (1 + STRENGTH) * surplus)) / (2 * (1 + STRENGTH)))[:, None]
    else:
        sizes = np.empty((2, 0))
    repelled = {"jepa": -DECAY, "contrastive": CROSS[0] - DECAY, "hybrid": STRENGTH - DECAY, "ema": -slow_rates()[0]}
    points, stable = [np.zeros(2)], [repelled[panel] < 0]
    for axis, found in enumerate(sizes):
        for index, size in enumerate(found):
            for sign in (1, -1):
                points.append(sign * size * np.eye(2)[axis])
                stable.append(axis == 0 and index == len(found) - 1)
    return np.array(points), np.array(stable)


def collapse_boundary() -> np.ndarray:
    """Return the closed curve around the JEPA's starts that collapse, (n, 2), by integration.

    It joins the saddles at (±w₋, 0) to the sources at (0, ±w₋). With the size r and u = ln tan of the angle, du/dt = −(λ₁ −
    λ₂)r and ṙ = r(rc − r² − η), c the mean of λ₁, λ₂ on the way; so dr/du has no singularity, and towards the source, which is
    backwards in time, it is attracted by the curve.
    """
    gap = CROSS[0] - CROSS[1]

    def backwards(state: State) -> State:
        mean = CROSS[1] + gap / (1 + np.exp(2 * state["u"]))
        r = state["r"]
        return {"u": np.ones_like(r), "r": -(mean * r - r * r - DECAY) / gap}

    # At |u| = 8 the angle is e⁻⁸ from an axis, and its square from the curve there.
    inner = equilibria(CROSS[0], 1.0, DECAY).data[1]
    path = integrate(backwards, {"u": np.array(-8.0), "r": inner}, np.linspace(0.0, 16.0, 65))
    angle, r = np.arctan(np.exp(path.states["u"])), path.states["r"]
    quarter = np.column_stack((r * np.cos(angle), r * np.sin(angle)))
    half = np.concatenate((quarter, quarter[::-1] * [-1, 1]))
    return np.concatenate((half, -half, half[:1]))


class Lens:
    """The flow of JEPA, contrastive loss, hybrid and EMA alone on one plane, and which starts collapse."""

    name = "lens"

    def compute(self) -> FigureData:
        """Evaluate flows on a grid, forces on a ring, rest points, and the boundary of collapse."""
        x, y = (part.ravel() for part in np.meshgrid(*2 * [np.linspace(-EDGE, EDGE, 31)]))
        angles = np.pi / 4 + np.arange(4) * np.pi / 2
        ring = RING * np.column_stack((np.cos(angles), np.sin(angles)))
        series: list[Series] = []
        for panel in PANELS:
            flow = velocity(panel, np.column_stack((x, y)))
            points, stable = rests(panel)
            speed = {"w1_dot": flow[:, 0], "w2_dot": flow[:, 1]}
            series.append(Series(panel, "flow", Evidence.PROVED, x, y, speed))
            for name, force in zip(("attraction", ADDED[panel]), forces(panel, ring), strict=True):
                parts = {"force": force[:, 0], "force_up": force[:, 1]}
                series.append(Series(panel, name, Evidence.PROVED, ring[:, 0], ring[:, 1], parts))
            for name, chosen in (("stable", stable), ("unstable", ~stable)):
                if chosen.any():
                    series.append(Series(panel, name, Evidence.PROVED, *points[chosen].T))
        series.append(Series("jepa", "collapse", Evidence.COMPUTED, *collapse_boundary().T))
        low, high = equilibria(CROSS[0], 1.0, DECAY).data[1:]
        numbers = {
            "lambda1": CROSS[0],
            "lambda2": CROSS[1],
            "eta": DECAY,
            "gamma": STRENGTH,
            "beta": LAG,
            "lower": float(low),
            "upper": float(high),
            "contrastive": float(CROSS[0] - DECAY),
            "hybrid": STRENGTH - DECAY,
            "ema": float(slow_rates()[0]),
            "plain": float(1 + DECAY - CROSS[0]),
        }
        return FigureData(tuple(series), numbers)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw the four planes in a row, on the same axes."""
        found = style.venue_named(venue)
        # Square panels: their height follows the width of the page, that of the labels the type.
        with style.sheet(venue, 0.65 + 0.2 * found.text * 10 / found.body, axes) as page:
            for plane, panel in zip(page.subplots(1, len(PANELS)), PANELS, strict=True):
                draw_plane(plane, data, panel)
                plane.set_ylabel("weight $w_2$" if panel == "jepa" else " ")
                plane.tick_params(labelleft=panel == "jepa")
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        n = {key: number(value, 2) for key, value in data.numbers.items()}
        return (
            r"Two families under one lens: an encoder of one row $W = (w_1, w_2)$ on white views whose modes have "
            rf"$\lambda_1 = {n['lambda1']}$ and $\lambda_2 = {n['lambda2']}$, with weight decay $\eta = {n['eta']}$. Grey "
            r"lines: the flow. Blue arrows: the force $(C - I)w$ of plain alignment, inward and the same in all four. Orange "
            r"arrows: what is added to it by the balanced predictor $P = (WW^\top)^{1/2}$ and the stop-gradient, by the "
            r"negatives, or by both. Dots: stable rest points; open: unstable ones. Grey ground: starts that collapse. The "
            r"contrastive loss (a quarter of its gradient) repels the origin at the rate $\lambda_1 - \eta = "
            rf"{n['contrastive']}$. The JEPA's repulsion cancels alignment there to first order, decay is left, and the origin "
            rf"attracts what begins in the grey oval, up to $w_- = {n['lower']}$ on the axis of $\lambda_1$; almost all else reaches "
            rf"$w_+ = {n['upper']}$ on that axis. An explicit term $\frac{{\gamma}}{{4}}\|\Phi - I\|^2$ beside the JEPA, "
            rf"$\gamma = {n['gamma']}$, repels the origin at the rate $\gamma - \eta = {n['hybrid']}$ (it breaks the balance; "
            rf"here the predictor is set to $P$). A moving average of rate $\beta = {n['beta']}$ alone adds friction (violet, "
            rf"on its slow subspace): the mode of $\lambda_1$ collapses at ${n['ema']}$ instead of ${n['plain']}$. Flows, forces "
            r"and rest points are proved, the boundary of collapse is computed; nothing is measured here."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Four planes of two encoder weights with streamlines. JEPA: the origin attracts an oval around it, starts beyond "
            "flow to two stable points on the horizontal axis. Contrastive loss and hybrid: the origin repels, all starts "
            "flow to two such points. EMA alone: all starts flow into the origin. Blue arrows inward are alike in all four; "
            "the arrows outward are long for the contrastive loss and short for EMA."
        )


def draw_plane(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw one plane: what collapses, the flow, forces on a ring, and rest points."""
    axes.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal", xlabel="weight $w_1$")
    axes.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    title, verdict, named = PANELS[panel]
    axes.set_title(title)
    for name in ("top", "right"):
        axes.spines[name].set_visible(True)
    ground = style.COLLAPSE_TINT if panel == "ema" else "white"
    axes.set_facecolor(ground)
    backing = {"facecolor": ground, "edgecolor": "none", "pad": 0.4}
    axes.text(0, -0.95, verdict, ha="center", va="center", bbox=backing, zorder=3)
    if named is not None:
        axes.text(0, 0.95, named[0], color=COLOURS[named[1]], ha="center", va="center", bbox=backing, zorder=3)
    if panel == "jepa":
        boundary = data["jepa/collapse"]
        axes.fill(boundary.x, boundary.y, color=style.COLLAPSE_TINT, lw=0, zorder=0)
        plot(axes, boundary, "jepa", linewidth=0.9)
    flow = data[f"{panel}/flow"]
    shape = (len(np.unique(flow.y)), -1)
    x, y, u, v = (part.reshape(shape) for part in (flow.x, flow.y, flow.extra["w1_dot"], flow.extra["w2_dot"]))
    axes.streamplot(x, y, u, v, density=0.55, color="#A0A0A0", linewidth=0.5, arrowsize=0.5, zorder=1)
    for name in ("attraction", ADDED[panel]):
        arrows = data[f"{panel}/{name}"]
        axes.quiver(
            arrows.x,
            arrows.y,
            arrows.extra["force"],
            arrows.extra["force_up"],
            color=COLOURS[name],
            angles="xy",
            scale_units="xy",
            scale=0.62,
            width=0.02,
            headwidth=3.2,
            headlength=3.4,
            headaxislength=3.2,
            zorder=4,
            gid=arrows.gid,
        )
    for series in data.panel(panel):
        if series.name in ("stable", "unstable"):
            face = COLOURS["jepa"] if series.name == "stable" else "white"
            plot(axes, series, "jepa", linestyle="none", marker="o", markersize=3.0, markerfacecolor=face, zorder=5)
