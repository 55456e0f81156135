"""A diagnosis for the terminal."""

import math
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jepalign.diagnosis.diagnosis import Diagnosis
from jepalign.diagnosis.modes import ModeTable, State

SHOWN = 20  # dimensions in the table; of more, those in the middle of a stretch of one state are left out
TOLD = 12  # eigenvalues of the end that are shown
STYLES = {
    State.SURVIVING: "green",
    State.ABOVE: "green",
    State.BELOW: "yellow",
    State.UNSETTLED: "yellow",
    State.LOST: "red",
    State.GONE: "red",
    State.MEAN: "dim",
    State.UNKNOWN: "dim",
}


def terminal(found: Diagnosis) -> Group:
    """Return a diagnosis as something Rich prints: the verdict first."""
    parts: list[Any] = [
        Text(found.verdict, style="bold"),
        Text(f"Trust: {found.trust}."),
        Text(found.table.basis.sentence),
    ]
    parts += [_heading("The embedding"), *map(_line, facts(found))]
    parts += [_heading("Dimension by dimension, each taken alone, ± half of a 95 % interval")]
    parts += [*map(_line, together(found)), _dimensions(found.table)]
    parts += [_heading("What would keep them"), *_remedies(found)]
    parts += [_heading("Assumptions"), _assumptions(found), *map(_line, found.rates.remarks)]
    if found.past:
        parts += [_heading("The run so far"), _past(found)]
    return Group(*parts)


def facts(found: Diagnosis) -> list[str]:
    """Return what is measured, a line each."""
    moments, powers, reading = found.evidence.embeddings, found.powers, found.reading
    uniformity = "not recorded" if found.evidence.uniformity is None else f"{found.evidence.uniformity:.4g}"
    lines = [
        f"surviving rank {found.outlook.rank} by {found.outlook.words}",
        found.outlook.intervals,
        f"{moments.count} rows of {moments.width} dimensions; effective rank {found.spectrum.effective_rank:.2f}, of embeddings about"
        f" their mean; RankMe {found.spectrum.rankme:.2f}, of embeddings as they are",
        f"alignment ½E‖z−z̄‖² {moments.alignment:.4g}, uniformity log E e^(−2‖u−u′‖²) {uniformity}",
        f"forces on the last layer, as powers: attraction {powers.attraction:.4g}, repulsion {powers.repulsion:.4g};"
        f" implicit uniformity {powers.uniformity:.4g}"
        f" = alignment {powers.alignment:.4g} + correction {powers.correction:.4g} + asymmetry {powers.asymmetry:.4g}"
        + (", the correction added up step by step" if powers.exact else ""),
    ]
    if powers.friction is not None:
        lines.append(f"friction of the lagging target {powers.friction:.4g}: zero at every rest")
    nearest, second = reading.likenesses[:2]
    lines.append(
        f"predictor ({found.evidence.predictor_source.value}): nearest entry of the dictionary {nearest.label}, off by"
        f" {nearest.distance:.0%}; then {second.label}, {second.distance:.0%}; from the correlations {reading.to_correlation:.0%}"
    )
    if found.spectrum.shrinkage:
        lines.append(
            f"rows are fewer than 2k = {2 * moments.width}: covariances are shrunk by {found.spectrum.shrinkage:.2g}"
            " towards a multiple of I for the correlations"
        )
    if found.evidence.dropped:
        lines.append(f"{found.evidence.dropped} rows with NaN or infinity left out")
    if found.evidence.repeated:
        lines.append(f"{found.evidence.repeated} rows repeat others: intervals are too narrow by as much")
    if not found.table.uncertainty.rows:
        lines.append("intervals take rows for independent and Gaussian, as only their moments are there")
    return lines


def together(found: Diagnosis) -> list[str]:
    """Return what the flow makes of dimensions that the table takes alone; nothing where no flow was integrated."""
    told = found.outlook.told
    if told is None or found.outlook.flow is None:
        return []
    alone = found.outlook.static
    lines: list[str] = []
    if alone != found.outlook.rank:
        lines.append(
            f"Alone {alone} would survive, together {found.outlook.rank} do: states are no verdict on a dimension here."
        )
    last = min(len(told), int((told > found.outlook.flow.floor).sum()) + 2, TOLD)
    numbers = ", ".join(f"{value:.2g}" for value in told[:last]) + (", …" if last < len(told) else ".")
    mean = ", the mean's among them" if found.table.counted(State.MEAN).size else ""
    lines.append(f"Eigenvalues of the second moment that the flow tells for the end{mean}: {numbers}")
    return lines


def shown(table: ModeTable) -> list[int | None]:
    """Return the places of the dimensions to show, None for a gap: all of a few, the ends of every stretch of a state of many."""
    width = len(table.states)
    if width <= SHOWN:
        return list(range(width))
    borders = [i for i in range(1, width) if table.states[i] is not table.states[i - 1]]
    near = {j for i in (0, *borders, width) for j in (i - 2, i - 1, i, i + 1) if 0 <= j < width}
    kept = sorted(near)[: SHOWN - 2]
    kept = sorted({*kept, width - 2, width - 1})
    found: list[int | None] = []
    for place in kept:
        last = found[-1] if found else -1
        if last is not None and place > last + 1:
            found.append(None)
        found.append(place)
    return found


def with_interval(value: float, low: float, high: float) -> str:
    """Return a number to three digits with half of its interval, or a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:.3g} ±{(high - low) / 2:.2g}"


def cells(table: ModeTable, places: list[int | None]) -> list[tuple[str, ...]]:
    """Return rows of the dimensions' table: place, s, ρ, p, λ, σ, η_c/η and state."""
    bounds = table.intervals()
    told = table.values
    rows: list[tuple[str, ...]] = []
    for place in places:
        if place is None:
            rows.append(("⋮", *([""] * 7)))
            continue
        s, rho, margin = (
            with_interval(float(told.items()[name][place]), *(float(bound[place]) for bound in bounds[name]))
            for name in ("embedding", "correlation", "margin")
        )
        values = (table.predictor[place], told.cross[place], told.variance[place])
        plain = [f"{value:.3g}" if math.isfinite(value) else "–" for value in values]
        rows.append((str(place + 1), s, rho, *plain, margin, table.states[place].value))
    return rows


HEADER = ("", "s", "ρ", "p", "λ", "σ", "η_c/η", "alone")


def _dimensions(table: ModeTable) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in HEADER:
        drawn.add_column(column, justify="left" if column == HEADER[-1] else "right", overflow="fold")
    for place, row in zip(places := shown(table), cells(table, places), strict=True):
        style = "" if place is None else STYLES[table.states[place]]
        drawn.add_row(*row[:-1], Text(row[-1], style=style))
    return drawn


def _remedies(found: Diagnosis) -> list[Any]:
    remedies = found.remedies
    if not remedies.terms:
        return [_line(f"No remedy is computed: {remedies.why_none}.")]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in REMEDY_HEADER:
        table.add_column(column, overflow="fold")
    for row in remedy_rows(found):
        table.add_row(*row)
    lines: list[Any] = [table]
    lines.append(_line(explained(found)))
    if remedies.weight_decay is not None:
        scale = (found.settings.weight_decay or 0.0) / found.rates.decay if found.rates.decay else 1.0
        lines.append(
            _line(
                f"Or a weight decay below {remedies.weight_decay * scale:.3g}: η below each one's η_c. It saves who is beyond the edge."
            )
        )
    return lines


TOGETHER = " All are of dimensions taken alone: what the flow loses beyond these is in no weight."
REMEDY_HEADER = ("term", "repel", "rescue", "hold", "repel now", "survivors' s", "what is added to the loss")


def remedy_rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """Return rows of the remedies' table, weights in units of the loss as trained."""
    rows: list[tuple[str, ...]] = []
    for each in found.remedies.terms:
        weights = (each.repel.max(), each.rescue.max(), each.weight, each.repel_now)
        numbers = [f"{value * found.rates.scale:.3g}" if math.isfinite(value) else "never" for value in weights]
        rows.append((each.name, *numbers, change(each.cost), each.formula))
    return rows


def explained(found: Diagnosis) -> str:
    """Return what the columns of the remedies' table are."""
    count = len(found.remedies.endangered)
    more = "" if found.outlook.rank >= found.outlook.static else TOGETHER
    return (
        f"Weights γ for {count} endangered dimension{'s' if count > 1 else ''}, in units of the loss as trained: beyond repel collapse is"
        " unstable, beyond rescue no small state is left, at hold each rests above s = η/α. These are for dimensions along what a term"
        " sees; vicreg sees coordinates, and sigreg as published random directions, in which a lost dimension hides behind the others:"
        f" repel now is what it takes in the embedding as it lies.{more}"
    )


def change(cost: tuple[float, float]) -> str:
    """Return a range of relative changes in words."""
    low, high = cost
    if not math.isfinite(low):
        return "–"
    first, last = (f"{round(each, 2) + 0.0:+.0%}".replace("-", "−") for each in (low, high))  # + 0.0: no negative zero
    return first if first == last else f"{first} to {last}"


def _assumptions(found: Diagnosis) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("assumption", "distance", "", "what it is, and what needs it"):
        table.add_column(column, overflow="fold")
    for each in found.assumptions:
        mark = Text("holds", style="green") if each.holds else Text("off", style="yellow")
        table.add_row(each.name, f"{each.distance:.2g}", mark, each.words)
    return table


def _past(found: Diagnosis) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in PAST_HEADER:
        table.add_column(column, justify="left" if column == "record" else "right", overflow="fold")
    for row in past_rows(found):
        # The name of a file is no markup.
        table.add_row(Text(row[0]), *row[1:])
    return table


PAST_HEADER = ("record", "step", "effective rank", "alignment", "uniformity", "implicit power")


def past_rows(found: Diagnosis) -> list[tuple[str, ...]]:
    """Return rows of the table of records, in order of step; letters of names that a terminal would act on are left out."""
    return [
        (
            "".join(letter for letter in each.name if letter.isprintable()),
            "–" if each.step is None else str(each.step),
            f"{each.effective_rank:.2f}",
            f"{each.alignment:.4g}",
            "–" if each.uniformity is None else f"{each.uniformity:.4g}",
            f"{each.power:.4g}",
        )
        for each in found.past
    ]


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold cyan")


def _line(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, 2))
