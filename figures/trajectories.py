"""Trajectories in closed form (chapter 5): aligned modes of one to four layers, the order of learning, and deep encoders."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, number, plot
from jepalign.figures.style import COLOURS, FAINT
from jepalign.figures.trajectory_series import (
    ALIGNED,
    AUTOENCODER,
    DEEP,
    JEPA,
    ROLES,
    aligned,
    deep,
    order,
    random_starts,
    summary,
)


class Trajectories(FromMeasurements):
    """Closed forms over training, aligned and not, linear and deep, and in which order modes are learnt.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "trajectories"

    def compute(self) -> FigureData:
        """Evaluate the closed forms, integrate the same flows, and read the measurement.

        Raises
        ------
        InputError
            If the measurement is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("trajectories")
        series = [*aligned(measured), *order(measured), *random_starts(measured), *deep(measured)]
        return FigureData(tuple(series), summary(measured, series), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw aligned modes and the order of learning above, random starts and deep encoders below."""
        with style.sheet(venue, 3.5, axes) as page:
            grid = page.add_gridspec(2, 4)
            first: Axes | None = None
            for column, panel in enumerate(ALIGNED):
                axes = page.add_subplot(grid[0, column], sharey=first)
                draw_aligned(axes, data, panel)
                first = first or shared(axes, "share of rest")
                unlabelled(axes, first)
            draw_order(page.add_subplot(grid[0, 3]), data)
            first = None
            for column, panel in enumerate(("random", *DEEP)):
                axes = page.add_subplot(grid[1, column], sharey=first)
                draw_variance(axes, data, panel)
                first = first or shared(axes, r"variance, $\mathrm{tr}\,\Phi$")
                unlabelled(axes, first)
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        misses = ", ".join(
            rf"${100 * numbers[f'{panel}, closed']:.0f}\%$ and ${100 * numbers[f'{panel}, frozen']:.0f}\%$"
            for panel in DEEP
        )
        drifts = ", ".join(rf"${100 * numbers[f'{panel}, drift']:.0f}\%$" for panel in DEEP)
        return (
            r"Trajectories in closed form, against gradient-flow time. Top: aligned modes in pairs of one $\lambda$, thick "
            rf"$\rho = {number(numbers['larger'], 1)}$ and thin $\rho = {number(numbers['smaller'], 1)}$, as shares of their rest; "
            r"lines: proved; crosses: computed, all layers integrated, within "
            rf"${number(numbers['integrated'], 1)}$ of the line; open: measured on trained linear encoders of one to four layers, "
            rf"at most ${number(100 * numbers['miss'], 2)}\%$ of the rest away. Top right: the time to half of the rest at the "
            r"smaller $\rho$ over that at the larger, for equal $\lambda$: a JEPA of two layers and more learns the better predicted "
            r"mode first, an autoencoder hardly tells them apart. Lines: proved; circles: measured, aligned; diamonds: from "
            rf"${numbers['starts']:.0f}$ orthogonal starts, means and ranges, where an autoencoder learns them in either order "
            rf"(least rank correlation with the exact times ${number(numbers[f'tau, {JEPA}'], 2)}$ for a JEPA, "
            rf"${number(numbers[f'tau, {AUTOENCODER}'], 2)}$ for an autoencoder; ${numbers['unlearnt']:.0f}$ modes that were not "
            r"learnt in the time have no ratio). Bottom: the variance of the embedding. Left: a JEPA of one layer from "
            rf"${numbers['random starts']:.0f}$ random starts, means and ranges; closed forms (solid) take modes to be uncoupled, the "
            r"flow of the whole matrix (dashed, computed) is met within "
            rf"${number(100 * numbers['flow'], 1)}\%$. Others: deep encoders of digits, one seed, from a balanced last layer; both "
            rf"are told from the features at the start, which move by {drifts}, and miss by {misses} of the largest variance in "
            r"the mean."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Eight panels over time. Above, six modes of linear JEPAs of one and three layers and of an autoencoder of three rise "
            "in steps along their closed forms, with measured markers on them; the JEPA of three layers separates modes of one "
            "cross-covariance, the autoencoder does not, and a last panel shows the ratio of their times over depth. Below, the variance "
            "of a JEPA from random starts follows the flow of the whole matrix, while tanh, ReLU and GELU networks leave both predictions."
        )


def shared(axes: Axes, label: str) -> Axes:
    """Label the axes that share their y with those to the right, and return them."""
    axes.set_ylabel(label)
    return axes


def unlabelled(axes: Axes, first: Axes) -> None:
    """Leave labels of y to the first axes of a row."""
    if axes is not first:
        axes.set_ylabel(" ")
        axes.tick_params(labelleft=False)


def draw_aligned(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw aligned modes as shares of their rest."""
    kind, depth = ALIGNED[panel]
    axes.set_title(f"{kind}, depth {depth}")
    shown = data.panel(panel)
    axes.set(ylim=(0, 1.2), yticks=(0, 0.5, 1), xlim=(0, shown[0].x[-1]), xlabel="time")
    axes.locator_params(axis="x", nbins=4)
    for series in shown:
        strong = "larger" in series.name
        if series.name.endswith("closed form"):
            plot(axes, series, ROLES[kind], linewidth=1.3 if strong else 0.5)
        elif series.name.endswith("integrated"):
            plot(axes, series, ROLES[kind], linestyle="none", marker="x", markersize=3.5)
        else:
            plot(axes, series, ROLES[kind], marker="o" if strong else "s", markersize=2.4, markeredgewidth=0.5)
    name_pairs(axes, data, panel)


def name_pairs(axes: Axes, data: FigureData, panel: str) -> None:
    """Write above every pair of modes its λ, between the times at which the two pass their half."""
    label = axes.xaxis.label.get_fontsize()
    axes.text(0.02, 0.9, r"$\lambda=$", transform=axes.transAxes, va="center", size=label)
    halves: dict[str, list[float]] = {}
    for series in data.panel(panel):
        if series.name.endswith("integrated"):
            halves.setdefault(series.name.split()[1].rstrip(","), []).append(float(series.x[0]))
    for cross, times in halves.items():
        axes.text(sum(times) / len(times), 1.08, cross, ha="center", va="center")


def draw_order(axes: Axes, data: FigureData) -> None:
    """Draw how much later the mode of smaller ρ is learnt, over depth."""
    axes.set_title("order of learning")
    axes.set(
        xlim=(0.6, 4.6), yscale="log", ylim=(0.4, 3.0), xlabel="depth", ylabel="ratio of times", xticks=(1, 2, 3, 4)
    )
    axes.set_yticks((0.5, 1, 2), ("0.5", "1", "2"))
    axes.minorticks_off()
    axes.axhline(1, color=FAINT, lw=0.5)
    for kind, role in ROLES.items():
        plot(axes, data[f"order/{kind}, exact"], role, linewidth=0.9)
        plot(axes, data[f"order/{kind}, aligned"], role, markersize=3.0)
        plot(axes, data[f"order/{kind}, orthogonal starts"], role, marker="D", markersize=3.0)
    axes.text(0.05, 0.96, JEPA, color=COLOURS[ROLES[JEPA]], transform=axes.transAxes, va="top")
    axes.text(0.05, 0.04, AUTOENCODER, color=COLOURS[ROLES[AUTOENCODER]], transform=axes.transAxes)


def draw_variance(axes: Axes, data: FigureData, panel: str) -> None:
    """Draw the variance of an embedding over time: closed forms, flow, and measured."""
    axes.set_title(DEEP.get(panel, "random starts"))
    closed, flow, measured = data.panel(panel)
    axes.set(xlim=(0, closed.x[-1]), ylim=(0, 6.5), yticks=(0, 2, 4, 6), xlabel="time")
    axes.locator_params(axis="x", nbins=4)
    plot(axes, closed, "jepa", linewidth=0.9, label=closed.name)
    plot(axes, flow, "jepa", linewidth=0.9, label=flow.name)
    plot(axes, measured, "jepa", markersize=3.0, label=measured.name)
    if panel == list(DEEP)[-1]:
        axes.legend(loc="upper right", handlelength=1.6, handletextpad=0.3, borderaxespad=0.0, labelspacing=0.3)
