"""What keeps a wanted rank: survivors against weight decay, the explicit term or mask it takes, and what is paid (4.3, 4.6, 7.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jepalign.figures import style
from jepalign.figures.publication import FigureData, Series, number, plot
from jepalign.figures.style import COLOURS, DENSITY, FAINT, Evidence
from jepalign.linear_models.collapse import equilibria, holding_weight, largest_weight_decay
from jepalign.linear_models.uniformity import SIGReg, Uniformity

RANK, NEEDED, PAID = "rank", "needed", "paid"
ROLES = {"spectral": "spectral-contrastive", "vicreg": "vicreg", "log-det": "log-det", "sigreg": "sigreg"}
BEYOND = (1.5, 4.0, 12.0)
"""Weight decays, in units of the largest that needs no term, at which the strengths drawn begin to keep the rank."""
POINTS = 160
ETA = r"weight decay $\eta$"


@dataclass(frozen=True, eq=False)
class MaskCurve:
    """How much weight decay the rank bears under one family of masks.

    Attributes
    ----------
    name, role : str
        In print, and a key of ``COLOURS``.
    ratio, limit : ndarray of shape (m,)
        The share of hidden tokens, and that weight decay.
    discrete, exact : bool
        Whether there is nothing between the points, and whether the limit is attained, not a bound.
    """

    name: str
    role: str
    ratio: np.ndarray
    limit: np.ndarray
    discrete: bool = False
    exact: bool = True


@dataclass(frozen=True, eq=False)
class TradeOff:
    """The trade-off of one design.

    Parameters
    ----------
    cross, variance : ndarray of shape (d,)
        λ and σ.
    rank : int
        K.
    weight_decay : float
        η chosen, marked.
    predictor_rate : float
        α.
    start : float or None
        |w(0)|, or None: as large as need be.
    terms : mapping of str to Uniformity
        Explicit terms by the names in ``ROLES``; the first is drawn in the panel of ranks.
    masks : sequence of MaskCurve
        Of masked tokens: drawn in place of the terms.
    masked : mapping of str to (ndarray, ndarray)
        Modes λ, σ under some masks by their label, drawn in the panel of ranks.
    estimated : bool
        Whether modes are coupled, so that what follows from them is an estimate.
    """

    cross: np.ndarray
    variance: np.ndarray
    rank: int
    weight_decay: float
    predictor_rate: float = 1.0
    start: float | None = None
    terms: Mapping[str, Uniformity] = field(default_factory=dict[str, Uniformity])
    masks: Sequence[MaskCurve] = ()
    masked: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict[str, tuple[np.ndarray, np.ndarray]]
    )
    estimated: bool = False

    name = "design"

    @property
    def evidence(self) -> Evidence:
        """How thresholds and rests are known."""
        return Evidence.COMPUTED if self.estimated else Evidence.PROVED

    def compute(self) -> FigureData:
        """Compute all curves from closed forms, SIGReg's by a scan."""
        limit = largest_weight_decay(self.cross, self.variance, self.start, predictor_rate=self.predictor_rate)
        order = np.argsort(-limit, kind="stable")
        largest, wanted = float(limit[order[self.rank - 1]]), order[: self.rank]
        top = 2 * max(float(limit.max()), largest * BEYOND[-1], self.weight_decay)
        low = min(largest / 30, self.weight_decay / 2) if self.weight_decay > 0 else largest / 30
        decay = np.geomspace(low, top, POINTS)
        decay = np.sort(np.concatenate((decay, *(limit[limit > decay[0]] * (1 + shift) for shift in (-1e-9, 1e-9)))))
        own = "mask chosen" if self.masks else r"$\gamma = 0$"
        found = [Series(RANK, own, self.evidence, decay, _count(limit > decay[:, None]))]
        numbers = {"rank": self.rank, "largest": largest, "weight decay": self.weight_decay, "modes": self.cross.size}
        if self.masks:
            for label, (cross, variance) in self.masked.items():
                bears = largest_weight_decay(cross, variance, self.start, predictor_rate=self.predictor_rate)
                found.append(Series(RANK, label, Evidence.PROVED, decay, _count(bears > decay[:, None])))
            found += [
                Series(NEEDED, m.name, Evidence.PROVED if m.exact else Evidence.COMPUTED, m.ratio, m.limit)
                for m in self.masks
            ]
        else:
            found += self._explicit(decay, wanted, largest)
        found += self._paid(decay, wanted, limit)
        return FigureData(tuple(found), numbers)

    def _explicit(self, decay: np.ndarray, wanted: np.ndarray, largest: float) -> list[Series]:
        found: list[Series] = []
        for index, (name, term) in enumerate(self.terms.items()):
            evidence = Evidence.COMPUTED if isinstance(term, SIGReg) else self.evidence
            weights = holding_weight(
                self.cross, self.variance, decay[:, None], uniformity=term, predictor_rate=self.predictor_rate
            )
            needed = weights[:, wanted].max(axis=1)
            if index == 0:
                for factor in BEYOND:
                    strength = float(f"{np.interp(factor * largest, decay, needed):.2g}")
                    if not np.isfinite(strength):
                        continue  # the term aims lower
                    label = rf"$\gamma = {number(strength, 2)}$"
                    found.append(Series(RANK, label, evidence, decay, _count(weights < strength)))
            shown = (needed > 0) & (needed < np.inf)
            found.append(Series(NEEDED, name, evidence, decay[shown], needed[shown]))
        return found

    def _paid(self, decay: np.ndarray, wanted: np.ndarray, limit: np.ndarray) -> list[Series]:
        """Return the shares of the wanted modes' variance, and of what they predict, that decay leaves: s and s(2ρp − p²)."""
        cross, variance = self.cross[wanted], self.variance[wanted]
        rests = equilibria(cross, variance, decay[:, None], predictor_rate=self.predictor_rate)
        alive = limit[wanted] > decay[:, None]
        rho = cross / variance
        share = np.where(alive, np.ma.filled(rests[..., 2], 0.0) * np.sqrt(self.predictor_rate) / rho, 0.0)
        whole = rho * rho * variance
        kept = (share**2 * whole).sum(axis=1) / whole.sum()
        known = (np.where(alive, 1 - (1 - share) ** 2, 0.0) * rho**2).sum(axis=1) / (rho**2).sum()
        return [
            Series(PAID, "variance", self.evidence, decay, kept),
            Series(PAID, "predicted share", self.evidence, decay, known),
        ]

    def draw(self, data: FigureData, *, venue: str = "neurips", axes: Axes | None = None) -> Figure:
        """Draw three panels side by side."""
        with style.sheet(venue, 2.35, axes) as page:
            parts = [page.add_subplot(place) for place in page.add_gridspec(1, 3)]
            self._draw_rank(parts[0], data)
            (self._draw_masks if self.masks else self._draw_terms)(parts[1], data)
            self._draw_paid(parts[2], data)
            for each in (parts[0], parts[2], *(() if self.masks else (parts[1],))):
                each.set_xscale("log")
                if self.weight_decay > 0:
                    each.axvline(self.weight_decay, color=FAINT, linewidth=0.6, linestyle=":")
                each.set_xlabel(ETA)
                each.minorticks_off()
                each.tick_params(axis="x", labelsize=style.venue_named(venue).label)
        return style.whole(page)

    def _draw_rank(self, axes: Axes, data: FigureData) -> None:
        series = data.panel(RANK)
        shades = colormaps[DENSITY](np.linspace(0.05, 0.75, max(len(series) - 1, 1)))
        for index, each in enumerate(series):
            colour = COLOURS["jepa"] if index == 0 else shades[index - 1]
            first = (
                {"zorder": 3} if index == 0 else {"drawstyle": "steps-post"}
            )  # the grid has the jumps of the first only
            plot(axes, each, "jepa", color=colour, label=each.name, **first)
        axes.axhline(self.rank, color=FAINT, linewidth=0.6)
        highest = max(float(each.y.max()) for each in series)
        ticks = np.asarray(MaxNLocator(4, integer=True).tick_values(0, highest))
        axes.set(title="dimensions kept", ylim=(0, highest * 1.6), yticks=ticks[ticks <= highest])
        _name_curves(axes, "upper right")

    def _draw_terms(self, axes: Axes, data: FigureData) -> None:
        for each in data.panel(NEEDED):
            plot(axes, each, ROLES[each.name], label=each.name)
        axes.set(yscale="log", title=rf"$\gamma$ that keeps {self.rank}")
        _name_curves(axes, "lower right")

    def _draw_masks(self, axes: Axes, data: FigureData) -> None:
        for curve, each in zip(self.masks, data.panel(NEEDED), strict=True):
            marked = {"marker": ".", "markersize": 3.0, "linewidth": 0.6} if curve.discrete else {}
            plot(axes, each, curve.role, label=curve.name, **marked)
        axes.axhline(self.weight_decay, color=FAINT, linewidth=0.6, linestyle=":")
        axes.set(xlim=(0, 1), xlabel="share hidden", title=rf"$\eta$ that {self.rank} can bear")
        highest = max(float(each.y.max()) for each in data.panel(NEEDED))
        axes.set_ylim(0, 1.4 * max(highest, self.weight_decay))
        _name_curves(axes, "upper left")

    def _draw_paid(self, axes: Axes, data: FigureData) -> None:
        for each, role in zip(data.panel(PAID), ("jepa", "attraction"), strict=True):
            plot(axes, each, role, label=each.name)
        axes.set(ylim=(0, 1.45), yticks=(0, 0.25, 0.5, 0.75, 1), title="share left")
        _name_curves(axes, "upper right")

    def caption(self, data: FigureData) -> str:
        """Return the caption."""
        numbers = data.numbers
        first = next(iter(self.terms), "")
        middle = (
            rf"Middle: the weight decay that ${self.rank}$ dimensions can bear, against the share of tokens hidden. "
            if self.masks
            else rf"Middle: the weight $\gamma$ of an explicit term beyond which ${self.rank}$ dimensions are kept from any start, with "
            r"an embedding variance of $\eta/\alpha$ at least. "
        )
        lines = (
            "coloured: under other masks of independent tokens"
            if self.masks
            else rf"coloured: with {first} uniformity of weight $\gamma$ as well, from any start"
        )
        start = "large enough a start" if self.start is None else rf"the start ${number(self.start)}$"
        known = (
            "Estimates from coupled modes." if self.estimated else "Closed forms, proved; dashed: computed, or a bound."
        )
        return (
            rf"What keeps ${self.rank}$ of ${numbers['modes']:.0f}$ dimensions. Left: dimensions that survive weight decay "
            rf"$\eta$ in a JEPA (black) from {start}; ${self.rank}$ do below $\eta = {number(numbers['largest'])}$; {lines}. {middle}"
            r"Right: of the embedding variance of the wanted dimensions without decay, and of the share of their variance that is "
            rf"predicted, what is left. Dotted: the weight decay chosen, ${number(self.weight_decay)}$. {known}"
        )

    def alt(self, data: FigureData) -> str:
        """Return the description for those who cannot see it."""
        return (
            f"Three panels. Left: the number of surviving dimensions falls in steps as weight decay grows, through {self.rank} at "
            f"{data.numbers['largest']:.3g}. Middle: what has to be chosen to keep {self.rank}. Right: what the survivors keep of "
            "variance and prediction falls to a quarter and three quarters at their own thresholds, and to nothing beyond."
        )


def _count(alive: np.ndarray) -> np.ndarray:
    return alive.sum(axis=-1).astype(float)


def _name_curves(axes: Axes, place: Literal["upper left", "upper right", "lower right"]) -> None:
    """Say what the curves are, on white: the weight decay chosen may lie anywhere."""
    axes.legend(
        loc=place, borderaxespad=0.3, handlelength=1.2, labelspacing=0.15, frameon=True, framealpha=1, edgecolor="none"
    )
