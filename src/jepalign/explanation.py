"""One result for the terminal: what it says, what it needs, what is falsely believed, and lines to run."""

import re
from typing import Any

from pylatexenc.latex2text import LatexNodes2Text

from jepalign.theory.literature import LITERATURE
from jepalign.theory.proof import Source, Theorem


def plain(markup: str) -> str:
    """Return the package's markup ($mathematics$, *emphasis*, [@citation]) as plain Unicode text."""
    text = re.sub(r"\[@([^\]]+)\]", lambda found: _citation(found.group(1)), markup)
    text = text.replace(r"\tfrac", r"\frac")
    converted = LatexNodes2Text(math_mode="text", strict_latex_spaces=True).latex_to_text(text)
    converted = (
        converted.replace("^⊤", "ᵀ").replace("^-1", "⁻¹").replace("^2", "²").replace("^3", "³").replace("^+", "⁺")
    )
    converted = re.sub(r"\s*([≼≽≥≤∈≠])\s*", r" \1 ", converted)
    converted = re.sub(r"(?<![\w*])\*([^*]+)\*(?![\w*])", r"\1", converted)
    return " ".join(converted.split())


def _citation(inside: str) -> str:
    parts: list[str] = []
    for part in inside.split(";"):
        key, _, rest = part.strip().removeprefix("@").partition(",")
        key, _, words = key.partition(" ")
        paper = LITERATURE.get(key)
        name = f"{paper.authors.split(',')[0].split('. ')[-1]} {paper.year}" if paper else key
        parts.append(" ".join(filter(None, (name, words.strip(), rest.strip()))))
    return "(" + "; ".join(parts) + ")"


def source_text(source: Source) -> str:
    """Return a source as one line of plain text."""
    if source.key == "ours":
        return "ours, as far as we know" + (f": {source.note}" if source.note else "")
    paper = LITERATURE[source.key]
    line = f"{paper.authors} ({paper.year}), {paper.title}, {paper.identifier}"
    return line + (f", {source.locator}" if source.locator else "") + (f" ({source.note})" if source.note else "")


def explain(theorem: Theorem) -> Any:
    """Return a Rich renderable that explains one result."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    def heading(text: str) -> Text:
        return Text(f"\n{text}", style="bold")

    def body(text: str) -> Padding:
        return Padding(Text(text), (0, 0, 0, 2))

    parts: list[Any] = [
        Text(f"{theorem.name}: {theorem.title}", style="bold cyan"),
        Padding(Text(plain(theorem.statement)), (1, 0, 0, 0)),
    ]
    if theorem.kind == "belief":
        parts += [heading("This is wrong. What holds instead"), body(plain(theorem.repair))]
    parts.append(heading("Assumptions"))
    if theorem.assumptions:
        parts += [body(f"• {a.name}: {plain(a.statement)}") for a in theorem.assumptions]
    else:
        parts.append(body("none beyond the shapes"))
    parts += [heading("The nearest false belief"), body(theorem.belief), heading("What the machinery refuses")]
    parts += [body(f"• {s.name}: {plain(s.change)}") for s in theorem.siblings]
    parts.append(heading("Source"))
    parts += [body(f"• {source_text(s)}") for s in theorem.sources]
    parts += [heading("Run it"), Text(theorem.example, no_wrap=True, overflow="ignore")]
    parts.append(Padding(Text(f"Prove it: jepalign verify {theorem.name}", style="dim"), (1, 0, 0, 0)))
    return Group(*parts)
