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

    def __post_init__(self) -> None:
        if self.level not in {1, 2}:
            raise InputError("level", self.level, "is 1 for a section or 2 for a subsection")


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

    def __post_init__(self) -> None:
        if self.numbered and not self.label:
            raise InputError("label", repr(self.label), "a numbered equation carries a label")


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

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise InputError("rows", row, f"must have as many cells as the header ({len(self.header)})")

    def weights(self) -> list[int]:
        """Give each column room in proportion to its longest cell, within bounds that keep short columns readable."""
        found: list[int] = []
        for column in range(len(self.header)):
            cells = [row[column] for row in (self.header, *self.rows)]
            words = [word for cell in cells for word in re.split(r"[\s/-]", cell) if not set(word) & set("$\\`[]")]
            least = 2 * max(map(len, words), default=4)  # a word of a narrow column must not reach into the next
            found.append(min(max(*map(len, cells), least, 8), 60))
        return found


@dataclass(frozen=True)
class Picture:
    """A numbered figure: the PDF for print, the PNG for the page, and a description for those who cannot see it.

    ``origin`` says in markup how it was made and from what; ``files`` lie beside the document, as paths relative to it.
    """

    pdf: Path
    png: Path
    caption: str
    alt: str
    label: str
    origin: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A numbered, boxed statement: ``kind`` is Theorem, Lemma, Common belief; all kinds share one count."""

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

    def __post_init__(self) -> None:
        if not self.identifier.startswith(("arXiv:", "doi:")):
            raise InputError("identifier", self.identifier, "reads arXiv:NUMBER or doi:NUMBER")

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


# Emphasis holds whole formulas and whole code, and its first asterisk touches a word: "2 * 3 * 4" has none.
_MARK = re.compile(
    r"\$(?P<math>[^$]+)\$|`(?P<code>[^`]+)`|\[(?P<bracket>[@#][^\]]+)\]"
    r"|\*(?=\S)(?P<emphasis>(?:\$[^$]+\$|`[^`]+`|[^*$`])+)\*"
)
_LABEL = re.compile(r"(?!cite-)[A-Za-z][A-Za-z0-9_-]*")


def spans(markup: str) -> tuple[Span, ...]:
    """Parse a text in markup. Raises ``InputError`` for a formula that is not closed and for a malformed citation."""
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


def plain(markup: str) -> str:
    """Return the words of a text without markup, for a window title or a description."""

    def words(parts: tuple[Span, ...]) -> Iterator[str]:
        for span in parts:
            yield from words(span.inner) if span.inner else (span.text,)

    return "".join(words(spans(markup)))


def _literal(text: str) -> Iterator[Span]:
    if "$" in text:
        raise InputError("markup", text[:60], "has a formula that is not closed")
    if text:
        text = re.sub(r"\s+", " ", text)  # lines of a source are not lines of the document
        yield Span("text", re.sub(r"(?<=\w)'", "’", re.sub(r'"([^"]*)"', r"“\1”", text)))


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

    Raises ``InputError`` if two things carry one label, for a label that is not letters, digits and hyphens, and if two
    references carry one key.
    """
    names: dict[str, str] = {}
    counts = dict.fromkeys(("section", "subsection", "statement", "equation", "table", "figure"), 0)

    def give(label: str, name: str) -> None:
        if _LABEL.fullmatch(label) is None:
            raise InputError("label", repr(label), "is a letter, then letters, digits, hyphens; cite- is taken")
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
                    give(block.label, f"({counts['equation']})")
                case Table() if block.caption:
                    counts["table"] += 1
                    give(block.label, f"Table {counts['table']}")
                case Picture():
                    counts["figure"] += 1
                    give(block.label, f"Figure {counts['figure']}")
                case _:
                    pass

    walk(document.blocks)
    cites: dict[str, int] = {}
    for i, reference in enumerate(document.references, start=1):
        if cites.setdefault(reference.key, i) != i:
            raise InputError("key", reference.key, "is carried by two references")
    return Numbering(names, cites)
