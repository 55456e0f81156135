"""A document as data: one source for the LaTeX, the PDF and the page.

Text is written in a small markup: ``$latex mathematics$``, ``*emphasis*``, `` `code` ``, ``[@key, locator; @other]`` for
citations and ``[#label]`` for a reference to something numbered. Everything else is literal, in all three outputs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jepalign.errors import InputError


@dataclass(frozen=True)
class Heading:
    """A section (level 1) or subsection (level 2)."""

    level: int
    text: str
    label: str


@dataclass(frozen=True)
class Paragraph:
    """Text in markup."""

    text: str


@dataclass(frozen=True)
class Equation:
    """A displayed formula in LaTeX; numbered ones can be referred to by their label."""

    latex: str
    label: str = ""
    numbered: bool = False


@dataclass(frozen=True)
class ItemList:
    """A bulleted list of texts in markup."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class CodeBlock:
    """Literal text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of markup under a header; numbered if it has a caption."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    label: str


@dataclass(frozen=True)
class Picture:
    """A numbered figure: the PDF for print, the PNG for the page, and a description for those who cannot see it."""

    pdf: Path
    png: Path
    caption: str
    alt: str
    label: str


@dataclass(frozen=True)
class Statement:
    """A numbered, boxed statement: ``kind`` is Theorem, Lemma, Common belief."""

    kind: str
    title: str
    label: str
    blocks: tuple["Block", ...]


@dataclass(frozen=True)
class Proof:
    """A proof; the page folds it."""

    blocks: tuple["Block", ...]


Block = Heading | Paragraph | Equation | ItemList | CodeBlock | Table | Picture | Statement | Proof


@dataclass(frozen=True)
class Reference:
    """A bibliographic entry; ``identifier`` is ``arXiv:NUMBER`` or ``doi:NUMBER``."""

    key: str
    authors: str
    year: int
    title: str
    venue: str
    identifier: str

    @property
    def url(self) -> str:
        """Where the paper is."""
        scheme, _, number = self.identifier.partition(":")
        return f"https://arxiv.org/abs/{number}" if scheme == "arXiv" else f"https://doi.org/{number}"


@dataclass(frozen=True)
class Document:
    """A whole document."""

    title: str
    authors: tuple[str, ...]
    abstract: str
    blocks: tuple[Block, ...]
    references: tuple[Reference, ...]


# -- markup ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """A piece of a text: ``kind`` is text, math, emphasis, code, cite or link.

    Emphasis holds spans in ``inner``; a citation holds (key, words) pairs in ``cited``.
    """

    kind: str
    text: str = ""
    inner: tuple["Span", ...] = ()
    cited: tuple[tuple[str, str], ...] = ()


_MARK = re.compile(r"\$(?P<math>[^$]+)\$|`(?P<code>[^`]+)`|\*(?P<emphasis>[^*]+)\*|\[(?P<bracket>[@#][^\]]+)\]")


def spans(markup: str) -> tuple[Span, ...]:
    """Parse a text in markup. Raises ``InputError`` for a formula that is not closed."""
    return tuple(_spans(markup))


def _spans(markup: str) -> Iterator[Span]:
    at = 0
    for found in _MARK.finditer(markup):
        yield from _literal(markup[at : found.start()])
        at = found.end()
        if (math := found.group("math")) is not None:
            yield Span("math", math)
        elif (code := found.group("code")) is not None:
            yield Span("code", code)
        elif (emphasis := found.group("emphasis")) is not None:
            yield Span("emphasis", inner=spans(emphasis))
        else:
            inside = found.group("bracket")
            yield Span("link", inside[1:].strip()) if inside[0] == "#" else Span("cite", cited=_cited(inside))
    yield from _literal(markup[at:])


def _literal(text: str) -> Iterator[Span]:
    if "$" in text:
        raise InputError("markup", text[:60], "has a formula that is not closed")
    if text:
        yield Span("text", text)


def _cited(inside: str) -> tuple[tuple[str, str], ...]:
    parts: list[tuple[str, str]] = []
    for part in inside.split(";"):
        found = re.fullmatch(r"\s*@([\w-]+)\s*,?\s*(.*?)\s*", part, re.DOTALL)
        if found is None:
            raise InputError("markup", f"[{inside}]", "a citation reads [@key, locator; @key]")
        parts.append((found.group(1), found.group(2)))
    return tuple(parts)


# -- numbers --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbering:
    """What every label is called: ``names`` maps a label to its text ("Theorem 2.3"), ``cites`` a key to its number."""

    names: dict[str, str]
    cites: dict[str, int]

    def name(self, label: str) -> str:
        """Return the text of a reference. Raises ``InputError`` for an unknown label."""
        if label not in self.names:
            raise InputError("label", label, "is referred to but nothing carries it")
        return self.names[label]

    def cite(self, key: str) -> int:
        """Return the number of a citation. Raises ``InputError`` for an unknown key."""
        if key not in self.cites:
            raise InputError("citation", key, "is not among the references")
        return self.cites[key]


def number(document: Document) -> Numbering:
    """Give numbers to headings, statements, equations, tables and pictures in order, and to references as listed.

    Raises ``InputError`` if two things carry one label.
    """
    names: dict[str, str] = {}
    counts = dict.fromkeys(("section", "subsection", "statement", "equation", "table", "figure"), 0)

    def give(label: str, name: str) -> None:
        if label in names:
            raise InputError("label", label, "is carried by two things")
        names[label] = name

    def walk(blocks: tuple[Block, ...]) -> None:
        for block in blocks:
            match block:
                case Heading(level=1):
                    counts["section"] += 1
                    counts["subsection"] = 0
                    give(block.label, f"Section {counts['section']}")
                case Heading():
                    counts["subsection"] += 1
                    give(block.label, f"Section {counts['section']}.{counts['subsection']}")
                case Statement():
                    counts["statement"] += 1
                    give(block.label, f"{block.kind} {counts['statement']}")
                    walk(block.blocks)
                case Proof():
                    walk(block.blocks)
                case Equation() if block.numbered:
                    counts["equation"] += 1
                    give(block.label or f"eq-{counts['equation']}", f"({counts['equation']})")
                case Table() if block.caption:
                    counts["table"] += 1
                    give(block.label, f"Table {counts['table']}")
                case Picture():
                    counts["figure"] += 1
                    give(block.label, f"Figure {counts['figure']}")
                case _:
                    pass

    walk(document.blocks)
    return Numbering(names, {reference.key: i for i, reference in enumerate(document.references, start=1)})
