"""Documents as a PDF, as a paper would look, by typst: the same bytes every time."""

import re
import shutil
import tempfile
from pathlib import Path

import typst

from jepalign import document as doc
from jepalign.errors import InputError
from jepalign.mathmarkup import to_typst
from jepalign.storage import written_whole

_STYLE = """
#set page(paper: "a4", margin: (x: 25mm, y: 25mm), numbering: "1")
#set text(font: "New Computer Modern", size: 10pt, lang: "en")
#set par(justify: true, leading: 0.62em)
#show math.equation: set text(font: "New Computer Modern Math")
#show math.equation.where(block: true): set block(above: 0.9em, below: 0.9em)
#show link: set text(fill: rgb("#1a4b7a"))
#show raw: set text(size: 8pt)
#show heading: set block(above: 1.6em, below: 0.8em)
#show heading: set par(justify: false)
#show figure.caption: set text(size: 9pt)
#show figure.caption: set align(left)
#show figure.where(kind: table): set figure.caption(position: top)
#set table(stroke: none, inset: (x: 4pt, y: 3pt))
#let statement(head, body) = block(
  width: 100%, inset: 9pt, above: 1.4em, radius: 2pt,
  stroke: (left: 2pt + rgb("#1a4b7a")), fill: rgb("#f4f7fa"), breakable: true,
)[*#head* #body]
#let proofblock(body) = block(width: 100%, above: 1em)[_Proof._ #body #h(1fr) $square$]
#let tag(n, body) = grid(columns: (1fr, auto), align: (center + horizon, right + horizon), body, [(#n)])
#let abstract(body) = pad(x: 12mm, y: 4mm)[#set text(size: 9pt); #align(center)[*Abstract*] #body]
#let entry(n, body) = grid(columns: (22pt, 1fr), [\\[#n\\]], body)
"""

_HYPHEN = "-\u200c"


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(text: str) -> str:
    """Return literal text: in a string typst reads no markup."""
    # The font joins two hyphens to a dash unless something without width stands between them.
    return f"#{_string(re.sub('-(?=-)', _HYPHEN, text))}"


class _Writer:
    """Writes a document as typst source."""

    def __init__(self, document: doc.Document) -> None:
        self.document = document
        self.names = doc.number(document)
        self.pictures: dict[str, Path] = {}

    def source(self) -> str:
        d = self.document
        title = self.inline(d.title)
        named = f"title: {_string(doc.plain(d.title))}, author: ({''.join(f'{_string(a)}, ' for a in d.authors)})"
        parts = [
            _STYLE,
            # Without "date: none" the time of writing ends up in the file.
            f"#set document({named}, date: none)",
            "#align(center)[#set par(justify: false)",
            f"#text(size: 17pt, weight: 700, hyphenate: false)[{title}] \\ #v(2pt) {_text(', '.join(d.authors))}]",
            f"#abstract[{self.inline(d.abstract)}]" if d.abstract else "",
            '#set heading(numbering: "1.1")',
            "#outline(depth: 1, title: none, indent: auto)" if len(d.blocks) > 12 else "",
            *map(self.block, d.blocks),
        ]
        if d.references:
            parts += ["#heading(numbering: none)[References]", "#set par(justify: false)", "#set text(size: 9pt)"]
            parts += [self.reference(i, r) for i, r in enumerate(d.references, start=1)]
        return "\n\n".join(filter(None, parts))

    def reference(self, number: int, r: doc.Reference) -> str:
        where = f"#link({_string(r.url)})[{_text(r.identifier)}]"
        words = f"{_text(f'{r.authors}. ')}#emph[{_text(f'{r.title}.')}]{_text(f' {r.venue}, {r.year}. ')}{where}"
        return f"#entry({number})[{words}] <cite-{r.key}>"

    def inline(self, markup: str) -> str:
        return "".join(map(self.span, doc.spans(markup)))

    def span(self, span: doc.Span) -> str:
        match span.kind:
            case "math":
                return f"${to_typst(span.text)}$"
            case "code":
                return f"#raw({_string(span.text)})"
            case "emphasis":
                return f"#emph[{''.join(map(self.span, span.inner))}]"
            case "cite":
                cites = (
                    f"#link(<cite-{key}>)[{self.names.cite(key)}]" + (_text(f", {words}") if words else "")
                    for key, words in span.cited
                )
                return f"{_text('[')}{_text('; ').join(cites)}{_text(']')}"
            case "link":
                return f"#link(<{span.text}>)[{_text(self.names.name(span.text))}]"
            case _:
                return _text(span.text)

    def blocks(self, blocks: tuple[doc.Block, ...]) -> str:
        return "\n\n".join(map(self.block, blocks))

    def block(self, block: doc.Block) -> str:
        match block:
            case doc.Heading():
                return f"#heading(level: {block.level})[{self.inline(block.text)}] <{block.label}>"
            case doc.Paragraph():
                return self.inline(block.text)
            case doc.Equation():
                formula = f"$ {to_typst(block.latex)} $"
                if not block.numbered:
                    return formula
                number = self.names.name(block.label).strip("()")
                return f"#tag({_string(number)})[{formula}] <{block.label}>"
            case doc.ItemList():
                return "\n".join(f"- {self.inline(item)}" for item in block.items)
            case doc.CodeBlock():
                return f"#raw({_string(block.text)}, block: true)"
            case doc.Table():
                return self.table(block)
            case doc.Picture():
                name = f"{len(self.pictures)}-{re.sub(r'[^A-Za-z0-9.]', '-', block.pdf.name)}"
                self.pictures[name] = block.pdf
                return (
                    f"#figure(image({_string(name)}, alt: {_string(block.alt)}), placement: auto,"
                    f" caption: [{self.inline(block.caption)}{self.origin(block)}]) <{block.label}>"
                )
            case doc.Statement():
                title = f"{_text(' (')}{self.inline(block.title)}{_text(')')}" if block.title else ""
                head = f"{_text(self.names.name(block.label))}{title}{_text('.')}"
                return f"#statement([{head}])[\n{self.blocks(block.blocks)}\n] <{block.label}>"
            case doc.Proof():
                return f"#proofblock[\n{self.blocks(block.blocks)}\n]"

    def origin(self, picture: doc.Picture) -> str:
        """Say under a picture where its numbers come from."""
        return f" #text(size: 7pt)[{self.inline(picture.origin)}]" if picture.origin else ""

    def table(self, table: doc.Table) -> str:
        head = ", ".join(f"[*{self.inline(cell)}*]" for cell in table.header)
        rows = ",\n".join(", ".join(f"[{self.inline(cell)}]" for cell in row) for row in table.rows)
        body = (
            f"table(columns: ({''.join(f'{w}fr, ' for w in table.weights())}), align: left,\n"
            f"table.hline(stroke: 0.8pt), table.header({head}), table.hline(stroke: 0.4pt),\n"
            f"{rows + ',' if rows else ''}\ntable.hline(stroke: 0.8pt))"
        )
        small = "set text(size: 8pt); set par(justify: false)"
        if not table.caption:
            return f"#[#{{{small}; {body}}}]"
        # Shorter ones stay on one page.
        long = len(table.rows) > 15 or sum(len(cell) for row in table.rows for cell in row) > 2500
        return (
            f"#[#show figure: set block(breakable: {str(long).lower()})\n#figure(kind: table, caption: [{self.inline(table.caption)}],"
            f" {{{small}; {body}}}) <{table.label}>]"
        )


def write_pdf(document: doc.Document, path: Path) -> Path:
    """Typeset a document as PDF at ``path``, whole or not at all.

    Raises ``InputError`` for formulas outside the subset, unknown labels, unknown citations and pictures that are missing.
    """
    writer = _Writer(document)
    source = writer.source()
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in writer.pictures.items():
            if not picture.is_file():
                raise InputError("pdf", str(picture), "must be the file of a picture")
            shutil.copyfile(picture, Path(folder) / name)
        main = Path(folder) / "main.typ"
        main.write_text(source, encoding="utf-8")
        data = typst.compile(str(main), format="pdf", ignore_system_fonts=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
    return path
