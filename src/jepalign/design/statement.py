"""A design in words, tables and JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jepalign.design.check import Checked
from jepalign.design.decay import DecayDesign
from jepalign.design.explicit import ExplicitDesign
from jepalign.design.masks import MaskDesign
from jepalign.linear_models.collapse import c_jepa_strength

SHOWN = 24
"""Modes that are printed; JSON has all."""


@dataclass(frozen=True)
class Answer:
    """Everything that was asked for.

    Attributes
    ----------
    decay : DecayDesign
        Weight decay, start, predictor rate, and what survivors pay.
    masks : sequence of MaskDesign
        For masked tokens.
    explicit : sequence of ExplicitDesign
        One for each term; none without weight decay.
    checked : Checked or None
        What the flow did, if it was asked.
    """

    decay: DecayDesign
    masks: Sequence[MaskDesign] = ()
    explicit: Sequence[ExplicitDesign] = ()
    checked: Checked | None = None


def sentence(answer: Answer) -> str:
    """Return the answer in one sentence."""
    d = answer.decay
    modes, about = d.spectra.cross.size, "about " if d.spectra.bound is not None else ""
    if d.start is not None:
        condition = f", from modes that start at {d.start:.3g}"
    elif d.least_start:
        some = "" if d.surviving == d.rank else f", {d.rank} of them"
        condition = f"{some} if their modes start above {d.least_start:.3g}, the predictor balanced"
    else:
        condition = ", from any start but 0"
    if d.surviving >= d.rank:
        return (
            f"Keep the weight decay below {about}{d.largest:.4g} and {d.rank} of {modes} dimensions can survive: "
            f"at {d.weight_decay:.4g}, {d.surviving} do{condition}."
        )
    ways = [f"a weight decay below {about}{d.largest:.4g}"]
    if d.least_rate is not None:
        ways.append(f"a predictor rate above {d.least_rate:.4g}")
    able = [e for e in answer.explicit if math.isfinite(e.needed.hold)]
    if able:
        weights = ", ".join(f"{e.name} above {e.needed.hold:.3g}" for e in able)
        ways.append(f"explicit uniformity ({weights})")
    left = f"leaves {'' if d.start is not None else 'at most '}{d.surviving} of {modes} dimensions"
    begun = "" if d.start is None else condition
    return f"A weight decay of {d.weight_decay:.4g} {left}{begun}; {d.rank} need {', or '.join(ways)}."


def notes(answer: Answer) -> list[str]:
    """Return what else there is to know, a line each."""
    d = answer.decay
    found = [f"Data: {d.spectra.source}."]
    if (bound := d.spectra.largest_bound(d.rank)) is not None:
        found.append(
            f"The modes are coupled, and thresholds estimates (--check integrates); what is proved is that no state of rank {d.rank} "
            f"withstands a weight decay above {bound:.4g}."
        )
    found.append(
        "Neither the predictor rate α nor an EMA rate moves a threshold: the start needed goes as 1/√α, variances at rest as 1/α."
    )
    if d.predictor_rate != 1:
        scaled = d.weight_decay / d.predictor_rate
        found.append(f"Where an optimiser scales decay by the learning rate, the predictor's is η/α = {scaled:.4g}.")
    if d.start is not None and d.least_start is not None:
        found.append(
            f"At this weight decay {d.rank} dimensions need a start above {d.least_start:.4g} at α = {d.predictor_rate:g}, or from "
            f"{d.start:g} a predictor rate above {d.least_rate:.4g}."
        )
    lost = int((~d.alive & (d.spectra.cross != 0)).sum())
    found.append(
        f"Cost against no decay: {lost} mode{'s' * (lost != 1)} lost"
        + (f", the strongest of correlation {d.strongest_lost:.3g}" if lost else "")
        + f"; the {d.rank} wanted keep "
        f"{d.variance_kept:.1%} of their embedding variance."
    )
    if d.rivals:
        found.append(
            f"With {d.width} dimensions for {int(d.alive.sum())} survivors {len({j for j, _ in d.rivals})} weaker modes, once learnt, "
            f"can keep one of the first {d.rank} out for good."
        )
    if any(e.name == "vicreg" for e in answer.explicit):
        size = d.spectra.cross.size if d.width is None else d.width
        found.append(
            f"C-JEPA's published weight of the hinge is γ = {c_jepa_strength(2 * size):.3g}, averaged over {size} dimensions beside a "
            "prediction loss without the ½."
        )
    if (c := answer.checked) is not None:
        ranks = f"at a weight decay of {c.below:.4g} {c.rank_below} dimensions survive, at {c.above:.4g} {c.rank_above}"
        ending = ", as told" if c.holds else f": not what {d.rank} below {d.largest:.4g} says"
        found.append(f"Integrated: {ranks}{'' if d.spectra.views is not None and c.holds else ending}.")
    return found


def print_answer(answer: Answer, console: Console) -> None:
    """Print the sentence, the tables and the notes."""
    console.print(f"[bold]{sentence(answer)}[/bold]\n", highlight=False)
    console.print(_modes(answer.decay))
    if answer.masks:
        console.print()
        console.print(_masks(answer))
    if answer.explicit:
        console.print()
        console.print(_explicit(answer))
    console.print()
    for line in notes(answer):
        console.print(line, highlight=False, markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}" if math.isfinite(value) else "never"


def _modes(d: DecayDesign) -> Table:
    table = _table("mode", "λ", "σ", "ρ", "η below", "start above", "s at rest", "s at η = 0", "prediction lost", "")
    order = np.argsort(-d.limit, kind="stable")
    for i in order[:SHOWN]:
        state = "kept" if d.alive[i] else "lost"
        if i in d.wanted:
            state += ", wanted"
        values = (
            d.spectra.cross,
            d.spectra.variance,
            d.spectra.correlation,
            d.limit,
            d.edge,
            d.variance,
            d.undecayed,
            d.excess,
        )
        table.add_row(str(i + 1), *(_cell(float(part[i])) for part in values), state)
    if len(order) > SHOWN:
        table.add_row("…", *[""] * 8, f"{len(order) - SHOWN} more")
    return table


def _masks(answer: Answer) -> Table:
    d = answer.decay
    at = f"at η = {d.weight_decay:.4g}"
    table = _table(
        "masks", "best share hidden", "block", "bears η below", f"keeps {d.rank} {at}", f"keeps the most {at}"
    )
    for m in answer.masks:
        most, where = m.most
        least = "the least, " if m.at_the_end else ""
        bound = "" if m.exact else "at most "
        table.add_row(
            m.family,
            f"{least}{m.best_ratio:.3g}",
            str(m.best_length or ""),
            f"{bound}{m.best_limit:.4g}",
            _shares(m.kept),
            f"{most}, {_shares(where)}",
        )
    return table


def _shares(ranges: Sequence[tuple[float, float]]) -> str:
    """Return ranges of the share hidden in words."""
    texts = [f"{low:.3g}" if low == high else f"{low:.3g}–{high:.3g}" for low, high in ranges]
    return f"hidden {', '.join(texts)}" if texts else "none"


def _explicit(answer: Answer) -> Table:
    d, lost = answer.decay, len(answer.explicit[0].lost)
    table = _table(
        "explicit term",
        "γ repels above",
        "rescues",
        "holds",
        "s at rest",
        "prediction lost",
        "others alive",
        "noise alive, σ above",
    )
    for e in answer.explicit:
        spread = f"{e.variance.min():.3g}–{e.variance.max():.3g}"
        cells = [_cell(value) for value in (e.needed.repel, e.needed.rescue, e.needed.hold)]
        table.add_row(e.name, *cells, spread, f"≤ {e.excess.max():.3g}", str(e.uninvited), f"{e.noise:.3g}")
    aim = f"bring back the {lost} lost of the {d.rank}" if lost else f"keep the {d.rank} from any start"
    table.title = f"To {aim}, at η = {d.weight_decay:.4g}; and what 1.01 times the last that there is does"
    table.title_justify, table.title_style = "left", ""
    return table


def _plain(value: Any) -> Any:
    """Return numbers and arrays as JSON has them; what is no finite number is null."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(answer: Answer) -> dict[str, Any]:
    """Return the whole answer with plain values."""
    d = answer.decay
    found: dict[str, Any] = {
        "answer": sentence(answer),
        "notes": notes(answer),
        "rank": d.rank,
        "largest_weight_decay": d.largest,
        "largest_weight_decay_bound": d.spectra.largest_bound(d.rank),
        "weight_decay": d.weight_decay,
        "predictor_rate": d.predictor_rate,
        "start": d.start,
        "least_start": d.least_start,
        "least_predictor_rate": d.least_rate,
        "surviving_rank": d.surviving,
        "strongest_lost": d.strongest_lost,
        "variance_kept": d.variance_kept,
        "wanted": d.wanted.tolist(),
        "rivals": d.rivals,
        "modes": {
            "cross": d.spectra.cross,
            "variance": d.spectra.variance,
            "correlation": d.spectra.correlation,
            "largest_weight_decay": d.limit,
            "alive": d.alive,
            "least_start": d.edge,
            "predictor": d.predictor,
            "embedding_variance": d.variance,
            "embedding_variance_undecayed": d.undecayed,
            "prediction_lost": d.excess,
            "rate": d.rate,
        },
        "masks": [
            {
                "family": m.family,
                "blocks": m.blocks,
                "best_ratio": m.best_ratio,
                "best_length": m.best_length,
                "largest_weight_decay": m.best_limit,
                "attained": m.exact,
                "kept": m.kept,
                "surviving_rank": m.surviving,
                "most": m.most[0],
                "ratio": m.ratio,
                "limit": m.limit,
            }
            for m in answer.masks
        ],
        "explicit": [
            {
                "term": e.name,
                "lost": e.lost,
                "returning": asdict(e.returning),
                "any_start": asdict(e.any_start),
                "strength": e.strength,
                "embedding_variance": e.variance,
                "predictor": e.predictor,
                "prediction_lost": e.excess,
                "uninvited": e.uninvited,
                "noise_variance": e.noise,
            }
            for e in answer.explicit
        ],
    }
    if (c := answer.checked) is not None:
        found["checked"] = {
            "below": c.below,
            "above": c.above,
            "rank_below": c.rank_below,
            "rank_above": c.rank_above,
            "holds": c.holds,
        }
    return {key: _nested(value) for key, value in found.items()}


def _nested(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nested(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nested(item) for item in value]
    return _plain(value)
