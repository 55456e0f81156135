"""Masks (7.2): how many dimensions a mask leaves alive, over mask ratio, block length and weight decay, for both targets."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from jepalign.figures import style
from jepalign.figures.publication import FigureData, FromMeasurements, Series, density, number, plot
from jepalign.figures.style import DENSITY, Evidence
from jepalign.linear_models.collapse.thresholds import surviving_rank
from jepalign.linear_models.masking.laws import BlockMask, exponential_tokens
from jepalign.measurements import Measurement

TARGETS = ("output", "input")
TOKENS, CORRELATION, DECAY = 48, 0.9, 0.01
"""Tokens of the ring over mask ratio and block length, the correlation of neighbours, and the weight decay."""

RATIOS = np.linspace(0.05, 0.95, 37)
LENGTHS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
MEASURED_TOKENS, MEASURED_CORRELATION = 12, 0.6
"""The ring of the experiment."""

DECAYS = np.geomspace(2e-3, 1.0, 46)
ELSEWHERE = {
    "line of tokens": "o",
    "digits": "s",
    "deep, after": "^",
    "deep, before": "x",
}
"""Markers of encoders whose modes are coupled, or whose features are learnt."""


class Masks(FromMeasurements):
    """Predicted fields of surviving rank, and measured ranks: on a ring, and where the prediction is a bound or from features.

    The measurement is read from ``measurements``, by default the package's.
    """

    name = "masks"

    def compute(self) -> FigureData:
        """Evaluate the surviving rank over masks, and read the measurement.

        Raises
        ------
        InputError
            If the measurement is missing; the message names the command that makes it.
        """
        measured, inputs = self.read("masks")
        series: list[Series] = []
        for target in TARGETS:
            series += [ratio_field(target), decay_field(target), *ring(measured, target), *elsewhere(measured, target)]
        return FigureData(tuple(series), summary(measured, series), inputs)

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw a row for each target: two fields and the ranks of coupled modes."""
        with style.sheet(venue, 4.3, axes) as page:
            grid = page.add_gridspec(2, 3, width_ratios=(1, 1, 0.9))
            fields: list[Axes] = []
            mesh: QuadMesh | None = None
            for row, target in enumerate(TARGETS):
                left, middle, right = (page.add_subplot(grid[row, column]) for column in range(3))
                draw_ratio(left, data, target)
                mesh = draw_decay(middle, data, target)
                draw_elsewhere(right, data, target)
                fields += [left, middle]
            assert mesh is not None
            bar = page.colorbar(mesh, ax=fields, location="bottom", aspect=45, fraction=0.06, pad=0.02)
            bar.set_label("share of dimensions that survive")
            bar.ax.set_ylabel(" ")
        return style.whole(page)

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        best = "; ".join(
            rf"${numbers[f'{target}, best']:.0f}$ of ${TOKENS}$, up to a ratio of ${number(numbers[f'{target}, ratio'], 2)}$ in "
            rf"blocks of ${numbers[f'{target}, length']:.0f}$, {target}-masked"
            for target in TARGETS
        )
        return (
            r"What masks leave alive. Above the target encoder sees all tokens (output-masked), below the hidden ones "
            r"(input-masked). Left: the share of dimensions with $\lambda^2 > 4\eta\sigma$, proved, on a ring of "
            rf"${TOKENS}$ tokens whose neighbours are correlated by ${number(CORRELATION, 1)}$, at $\eta = {number(DECAY, 1)}$, "
            r"over the share of hidden tokens and the length of blocks, whose number is Poisson distributed. The most that survive "
            rf"are {best}. Middle: one block on a ring of ${MEASURED_TOKENS}$ tokens, correlation "
            rf"${number(MEASURED_CORRELATION, 1)}$, over weight decay; field: proved; circles: measured on trained linear "
            rf"encoders, filled with what survives: ${numbers['ring wrong']:.0f}$ of ${numbers['ring']:.0f}$ differ from the "
            r"field. Right: measured ranks against what is told where modes are coupled or features learnt. On a line of tokens "
            r"and on digits with hidden pixels that is a bound, proved and computed from the eigenvalues of "
            r"$\frac{1}{4}\Sigma_{yx}\Sigma_x^{-1}\Sigma_{yx}^\top$: "
            rf"${numbers['bound passed']:.0f}$ of ${numbers['bound']:.0f}$ ranks are above it, and they are "
            rf"${100 * numbers['line share']:.0f}\%$ and ${100 * numbers['image share']:.0f}\%$ of it in sum. In tanh and ReLU "
            r"encoders, one seed, it is computed from the features before and after training: the mean distance is "
            rf"${number(numbers['before'], 2)}$ and ${number(numbers['after'], 2)}$ of ${numbers['width']:.0f}$ dimensions, as "
            r"weight decay shrinks features too. Many points coincide."
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            "Two rows of three panels, for targets that see all tokens and targets that see the hidden ones. Coloured fields of the "
            "surviving share over mask ratio and block length: above it falls with the ratio and grows with the length, below it is "
            "largest for short blocks and many hidden tokens, and nothing survives long blocks. Fields over block length and "
            "weight decay with measured circles of the same colours. Measured ranks on and below a diagonal of bounds."
        )


def poisson_blocks(tokens: int, length: int, ratio: float) -> np.ndarray:
    """Return the first row of E mmᵀ, (n,), if a Poisson number of blocks of a ring, placed independently, hides each token so often.

    Blocks that hide one of two tokens thin the Poisson process: none does with probability exp(−μ(1 − both visible to one)).
    """
    rate = -np.log1p(-ratio) * tokens / length
    return np.exp(-rate * (1 - BlockMask(tokens, length).second[0]))


def surviving_share(visible: np.ndarray, correlation: float, target: str, decay: np.ndarray) -> np.ndarray:
    """Return the share of dimensions that survive on a ring, of the shape of ``decay``, from the first row (n,) of E mmᵀ.

    On a ring modes are Fourier's whatever the mask: λ and σ are transforms of first rows.
    """
    tokens = exponential_tokens(len(visible), correlation, circular=True)[0]
    joint = visible[0] if target == "output" else visible[0] - visible
    cross, variance = (np.fft.fft(part * tokens).real for part in (joint, visible))
    return surviving_rank(cross, variance, decay) / len(visible)


def ratio_field(target: str) -> Series:
    """Return the surviving share over mask ratio and block length at one weight decay."""
    x, y = (part.ravel() for part in np.meshgrid(RATIOS, LENGTHS.astype(float)))
    rows = (poisson_blocks(TOKENS, int(length), ratio) for ratio, length in zip(x, y, strict=True))
    shares = [float(surviving_share(row, CORRELATION, target, np.array(DECAY))) for row in rows]
    return Series(f"{target} ratio", "share", Evidence.PROVED, x, y, {"value": np.array(shares)})


def decay_field(target: str) -> Series:
    """Return the surviving share over block length and weight decay, for one block on the ring of the experiment."""
    lengths = np.arange(1, MEASURED_TOKENS)
    rows = (BlockMask(MEASURED_TOKENS, int(length)).second[0] for length in lengths)
    shares = np.stack([surviving_share(row, MEASURED_CORRELATION, target, DECAYS) for row in rows], axis=1)
    x, y = (part.ravel() for part in np.meshgrid(lengths.astype(float), DECAYS))
    return Series(f"{target} decay", "share", Evidence.PROVED, x, y, {"value": shares.ravel()})


def ring(measured: Measurement, target: str) -> list[Series]:
    """Return where each rank was measured on the ring, over block length and weight decay."""
    arrays = measured.arrays
    ranks = arrays["ring_rank"][list(arrays["target"]).index(target)]
    lengths, decays = np.meshgrid(arrays["length"], arrays["weight_decay"], indexing="ij")
    series: list[Series] = []
    for rank in np.unique(ranks):
        at = ranks == rank
        value = {"value": np.full(int(at.sum()), rank / MEASURED_TOKENS)}
        series.append(Series(f"{target} decay", f"rank {rank:.0f}", Evidence.MEASURED, lengths[at], decays[at], value))
    return series


def elsewhere(measured: Measurement, target: str) -> list[Series]:
    """Return measured against told ranks where modes are coupled or features learnt, and the line on which they agree."""
    arrays = measured.arrays
    t = list(arrays["target"]).index(target)
    deep = arrays["deep_rank"][:, t]
    pairs = {
        "line of tokens": (arrays["line_bound"][t], arrays["line_rank"][t]),
        "digits": (arrays["image_bound"][t], arrays["image_rank"][t]),
        "deep, after": (arrays["deep_end"][:, t], deep),
        "deep, before": (arrays["deep_start"][:, t], deep),
    }
    largest = max(float(np.nanmax(told)) for told, _ in pairs.values())
    series = [Series(f"{target} told", "bound", Evidence.PROVED, np.array([0.0, largest]), np.array([0.0, largest]))]
    for name, (told, seen) in pairs.items():
        series.append(Series(f"{target} told", name, Evidence.MEASURED, told.ravel(), seen.ravel()))
    return series


def summary(measured: Measurement, series: list[Series]) -> dict[str, float]:
    """Return the numbers that the caption quotes."""
    arrays = measured.arrays
    numbers: dict[str, float] = {}
    for target in TARGETS:
        field = next(part for part in series if part.gid == f"{target} ratio/share")
        most = np.flatnonzero(field.extra["value"] == field.extra["value"].max())
        best = int(most[np.argmax(field.x[most])])
        numbers[f"{target}, best"] = float(np.round(TOKENS * field.extra["value"][best]))
        numbers |= {f"{target}, ratio": float(field.x[best]), f"{target}, length": float(field.y[best])}
    told, seen = arrays["ring_predicted"], arrays["ring_rank"]
    coupled = [(arrays[f"{place}_bound"], arrays[f"{place}_rank"]) for place in ("line", "image")]
    numbers |= {
        "ring": float(told.size),
        "ring wrong": float((told != seen).sum()),
        "bound": float(sum(bound.size for bound, _ in coupled)),
        "bound passed": float(sum((rank > bound).sum() for bound, rank in coupled)),
        "line share": float(coupled[0][1].sum() / coupled[0][0].sum()),
        "image share": float(coupled[1][1].sum() / coupled[1][0].sum()),
        "before": float(np.abs(arrays["deep_rank"] - arrays["deep_start"]).mean()),
        "after": float(np.abs(arrays["deep_rank"] - arrays["deep_end"]).mean()),
        "width": float(arrays["deep_start"].max()),
    }
    return numbers


def draw_ratio(axes: Axes, data: FigureData, target: str) -> None:
    """Draw the surviving share over mask ratio and block length."""
    axes.set_title(f"{target}-masked target")
    axes.set(yscale="log", ylabel="block length", yticks=(1, 2, 4, 8, 16, 32))
    axes.minorticks_off()
    density(axes, data[f"{target} ratio/share"], vmin=0, vmax=1)
    axes.set_yticklabels(("1", "2", "4", "8", "16", "32"))
    axes.set(xlabel="share of hidden tokens", xticks=(0.2, 0.5, 0.8))


def draw_decay(axes: Axes, data: FigureData, target: str) -> QuadMesh:
    """Draw the surviving share over block length and weight decay, and the measured ranks in the colours of the field."""
    axes.set_title("one block on a ring")
    axes.set(yscale="log", ylabel=r"weight decay $\eta$")
    field, *points = data.panel(f"{target} decay")
    mesh = density(axes, field, vmin=0, vmax=1)
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=axes.yaxis.label.get_fontsize())
    axes.set(xlabel="block length", xticks=(1, 4, 8, 11))
    for series in points:
        face = colormaps[DENSITY](float(series.extra["value"][0]))
        plot(axes, series, "jepa", color="white", markerfacecolor=face, markersize=4.5)
    return mesh


def draw_elsewhere(axes: Axes, data: FigureData, target: str) -> None:
    """Draw measured against told ranks."""
    axes.set_title("coupled modes")
    line, *points = data.panel(f"{target} told")
    axes.set(xlabel="rank told", ylabel="rank measured", xlim=(-1, 1.04 * line.x[1]), ylim=(-1, 1.5 * line.x[1]))
    plot(axes, line, "jepa", linewidth=0.8)
    for series in points:
        role = "no-predictor" if series.name.endswith("before") else "jepa"
        plot(axes, series, role, marker=ELSEWHERE[series.name], markersize=3.5, label=series.name)
    if target == TARGETS[0]:
        axes.legend(loc="upper left", handletextpad=0.1, borderaxespad=0.0, labelspacing=0.3)
