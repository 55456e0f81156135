"""Documents as a PDF (typst) and as one HTML page with native MathML: no script, no network, the same bytes every time."""

import base64
import html
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import typst

from jepalign import document as doc
from jepalign.mathmarkup import to_typst
from jepalign.storage import write_text, written_whole

_TYPST_SPECIAL = re.compile(r"([\\#$*_`<>@\[\]~=+/\-\"'{}^])")


def _typst_text(text: str) -> str:
    return _TYPST_SPECIAL.sub(r"\\\1", text)


def _typst_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -- PDF ------------------------------------------------------------------------------------------------------------------

_PDF_STYLE = """
#set page(paper: "a4", margin: (x: 25mm, y: 25mm), numbering: "1")
#set text(font: "New Computer Modern", size: 10pt, lang: "en")
#set par(justify: true, leading: 0.62em)
#show math.equation: set text(font: "New Computer Modern Math")
#show math.equation.where(block: true): set block(above: 0.9em, below: 0.9em)
#show link: set text(fill: rgb("#1a4b7a"))
#show raw: set text(size: 7.5pt)
#set table(stroke: none, inset: (x: 4pt, y: 3pt))
#let statement(kind, title, body) = block(
  width: 100%, inset: 9pt, above: 1.4em, radius: 2pt,
  stroke: (left: 2pt + rgb("#1a4b7a")), fill: rgb("#f4f7fa"), breakable: true,
)[*#kind* (#title)*.* #body]
#let proofblock(body) = block(width: 100%, above: 1em)[_Proof._ #body #h(1fr) $square$]
#let tag(n, body) = grid(columns: (1fr, auto), align: (center + horizon, right + horizon), body, [(#n)])
"""


class _Pdf:
    """Writes a document as typst source."""

    def __init__(self, document: doc.Document) -> None:
        self.document = document
        self.names = doc.number(document)
        self.pictures: dict[str, Path] = {}
        self.sections = itertools.count(1)

    def source(self) -> str:
        d = self.document
        title, authors = self.inline(d.title), ", ".join(map(_typst_text, d.authors))
        outline = "#outline(depth: 1, title: none, indent: auto)" if len(d.blocks) > 12 else ""
        parts = [
            _PDF_STYLE,
            f"#set document(title: {_typst_string(d.title)}, author: ({', '.join(map(_typst_string, d.authors))},), date: none)",
            f"#align(center)[#text(size: 17pt, weight: 700, hyphenate: false)[{title}] \\ #v(2pt) {authors}]",
            f"#pad(x: 12mm, y: 4mm)[#text(size: 9pt)[{self.inline(d.abstract)}]]",
            '#set heading(numbering: "1.1")',
            outline,
            *(self.block(b) for b in d.blocks),
            "#heading(numbering: none)[References]",
            "#set par(justify: false)",
            *(
                f"#grid(columns: (22pt, 1fr), [\\[{i}\\]], [{_typst_text(r.authors)}. _{_typst_text(r.title)}._"
                f" {_typst_text(r.venue)}, {r.year}. #link({_typst_string(r.url)})[{_typst_text(r.identifier)}] <cite-{r.key}>])"
                for i, r in enumerate(d.references, start=1)
            ),
        ]
        return "\n\n".join(filter(None, parts))

    def inline(self, markup: str) -> str:
        return "".join(map(self.span, doc.spans(markup)))

    def span(self, span: doc.Span) -> str:
        match span.kind:
            case "math":
                return f"${to_typst(span.text)}$"
            case "code":
                return f"#raw({_typst_string(span.text)})"
            case "emphasis":
                return f"#emph[{''.join(map(self.span, span.inner))}]"
            case "cite":
                cites = (
                    f"#link(<cite-{key}>)[{self.names.cite(key)}]" + (f", {_typst_text(words)}" if words else "")
                    for key, words in span.cited
                )
                return f"\\[{'; '.join(cites)}\\]"
            case "link":
                return f"#link(<{span.text}>)[{_typst_text(self.names.name(span.text))}]"
            case _:
                return _typst_text(span.text)

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
                return f'#tag("{number}")[{formula}] <{block.label}>'
            case doc.ItemList():
                return "\n".join(f"- {self.inline(item)}" for item in block.items)
            case doc.CodeBlock():
                return f"#raw({_typst_string(block.text)}, block: true)"
            case doc.Table():
                return self.table(block)
            case doc.Picture():
                name = f"{len(self.pictures)}-{block.pdf.name}"
                self.pictures[name] = block.pdf
                return (
                    f"#figure(image({_typst_string(name)}, alt: {_typst_string(block.alt)}), placement: auto,"
                    f" caption: [{self.inline(block.caption)}]) <{block.label}>"
                )
            case doc.Statement():
                inside = "\n\n".join(map(self.block, block.blocks))
                kind = _typst_text(self.names.name(block.label))
                return f"#statement([{kind}], [{self.inline(block.title)}])[\n{inside}\n] <{block.label}>"
            case doc.Proof():
                inside = "\n\n".join(map(self.block, block.blocks))
                return f"#proofblock[\n{inside}\n]"

    def table(self, table: doc.Table) -> str:
        head = ", ".join(f"[*{self.inline(cell)}*]" for cell in table.header)
        rows = ",\n".join(", ".join(f"[{self.inline(cell)}]" for cell in row) for row in table.rows)
        weights = _column_weights(table)
        body = (
            f"table(columns: ({', '.join(f'{w}fr' for w in weights)},), align: left,\n"
            f"table.hline(stroke: 0.8pt), table.header({head}), table.hline(stroke: 0.4pt),\n{rows},\ntable.hline(stroke: 0.8pt))"
        )
        small = "set text(size: 8pt); set par(justify: false)"
        if not table.caption:
            return f"#[#{{{small}; {body}}}]"
        return (
            f"#[#show figure: set block(breakable: true)\n#figure(kind: table, caption: [{self.inline(table.caption)}],"
            f" {{{small}; {body}}}) <{table.label}>]"
        )


def _column_weights(table: doc.Table) -> list[int]:
    """Give each column room in proportion to its longest cell, within bounds that keep short columns readable."""
    longest = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
    return [min(max(length, 8), 60) for length in longest]


def write_pdf(document: doc.Document, path: Path) -> Path:
    """Typeset a document as PDF at ``path``, whole or not at all.

    Raises ``InputError`` for formulas outside the subset, unknown labels and unknown citations.
    """
    writer = _Pdf(document)
    source = writer.source()
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in writer.pictures.items():
            shutil.copyfile(picture, Path(folder) / name)
        main = Path(folder) / "main.typ"
        main.write_text(source, encoding="utf-8")
        # The timestamp is fixed, since it would otherwise end up in the file.
        data = typst.compile(str(main), format="pdf", ignore_system_fonts=True, timestamp=0)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
    return path


# -- HTML -----------------------------------------------------------------------------------------------------------------

_FORMULA = re.compile(r'<(?:div|span) class="f">(.*?)</(?:div|span)>', re.DOTALL)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)

_PAGE_STYLE = """
:root { --ink: #1c1e21; --quiet: #5b6470; --rule: #d9dee4; --accent: #1a4b7a; --wash: #f4f7fa; }
* { box-sizing: border-box; }
html { font-size: 17px; scroll-padding-top: 1rem; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.6;
  font-family: "Charter", "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1.1rem 5rem; }
nav { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-size: .82rem; line-height: 1.45; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav ol ol { padding-left: 1rem; }
nav a { display: block; padding: .12rem 0; color: var(--quiet); text-decoration: none; }
nav a:hover, nav a:focus { color: var(--accent); }
nav details { max-width: 46rem; margin: 0 auto; padding: .8rem 1.1rem; border-bottom: 1px solid var(--rule); }
nav summary { cursor: pointer; color: var(--accent); }
h1, h2, h3, summary, figcaption, table, .kind, .number, .byline {
  font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 1.2rem 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; line-height: 1.25; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.byline { color: var(--quiet); font-size: .85rem; }
.abstract { margin: 1.2rem 0 2rem; padding-left: 1rem; border-left: 3px solid var(--rule); color: #363b42; }
a { color: var(--accent); }
p { margin: .7rem 0; overflow-wrap: break-word; }
.statement { margin: 2.2rem 0 .8rem; padding: .7rem 1rem; background: var(--wash); border-left: 3px solid var(--accent);
  border-radius: 2px; }
.kind { font-weight: 650; font-size: .95rem; margin: .1rem 0 .4rem; }
.equation { display: flex; align-items: center; gap: 1rem; margin: .8rem 0; }
.equation > .scroll { flex: 1; min-width: 0; text-align: center; }
.number { color: var(--quiet); font-size: .85rem; }
.scroll { overflow-x: auto; overflow-y: hidden; padding: .15rem 0; }
math { font-size: 1.12em; font-family: "STIX Two Math", "Latin Modern Math", "New Computer Modern Math", "Cambria Math", math; }
p math, li math, td math, figcaption math { white-space: nowrap; }
details.proof { margin: .6rem 0 1rem; padding-left: 1rem; border-left: 1px solid var(--rule); }
details.proof > summary { cursor: pointer; font-size: .88rem; color: var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .8rem; line-height: 1.4; }
th { text-align: left; font-weight: 650; border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--rule); }
th, td { padding: .3rem .5rem .3rem 0; vertical-align: top; }
td { border-bottom: 1px solid #eef1f4; overflow-wrap: anywhere; min-width: 4.2rem; }
table.wide { min-width: 38rem; }
figure { margin: 1.8rem 0; }
figure img { width: 100%; height: auto; }
figcaption { font-size: .84rem; line-height: 1.5; color: #363b42; margin: .4rem 0; }
code { font: .86em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--wash); padding: .8rem; font-size: .85rem; }
.references { padding-left: 1.6rem; font-size: .9rem; }
@media (min-width: 80rem) {
  body { display: grid; grid-template-columns: 19rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; border-right: 1px solid var(--rule); }
  nav details { border: 0; padding: 1.4rem 1.2rem; }
  nav details::details-content { content-visibility: visible; block-size: auto; }
  main { margin-left: max(2rem, calc((100vw - 19rem - 46rem) / 2 - 6rem)); }
}
@media print {
  nav { display: none; } html { font-size: 11pt; } main { max-width: none; padding: 0; }
  details.proof::details-content { content-visibility: visible; display: block; }
  .statement, figure, tr { break-inside: avoid; }
}
"""


class _Page:
    """Writes a document as HTML; formulas are typeset together, in one call."""

    def __init__(self, document: doc.Document) -> None:
        self.document = document
        self.names = doc.number(document)
        self.formulas: list[str] = []

    def whole(self) -> str:
        d = self.document
        body = "\n".join(map(self.block, d.blocks))
        title, abstract = self.inline(d.title), self.inline(d.abstract)
        items = "\n".join(
            f'<li id="cite-{r.key}">{_text(r.authors)}. <em>{_text(r.title)}.</em> {_text(r.venue)}, {r.year}.'
            f' <a href="{_text(r.url)}">{_text(r.identifier)}</a></li>'
            for r in d.references
        )
        page = (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(_plain(d.title))}</title>\n<style>{{style}}{_PAGE_STYLE}</style>\n</head>\n<body>\n"
            f'{self.outline}\n<main>\n<h1>{title}</h1>\n<p class="byline">{_text(", ".join(d.authors))}</p>\n'
            f'<p class="abstract">{abstract}</p>\n{body}\n'
            f'<h2 id="references">References</h2>\n<ol class="references">\n{items}\n</ol>\n</main>\n</body>\n</html>\n'
        )
        style, typeset = _mathml(self.formulas)
        page = page.replace("{style}", style, 1)
        return re.sub("\0([0-9]+)\0", lambda found: typeset[int(found.group(1))], page)

    @cached_property
    def outline(self) -> str:
        entries: list[str] = []
        inner: list[str] = []
        count = 0

        def close() -> None:
            if inner and entries:
                entries[-1] += f"<ol>{''.join(inner)}</ol>"
                inner.clear()

        for block in self.document.blocks:
            if isinstance(block, doc.Heading) and block.level == 1:
                close()
                count += 1
                entries.append(f'<a href="#{block.label}">{count} {self.inline(block.text)}</a>')
            elif isinstance(block, doc.Statement):
                inner.append(f'<li><a href="#{block.label}">{self.inline(block.title)}</a></li>')
        close()
        items = "".join(f"<li>{entry}</li>" for entry in entries)
        return f'<nav aria-label="Contents"><details><summary>Contents</summary><ol>{items}</ol></details></nav>'

    def formula(self, latex: str, *, block: bool) -> str:
        translated = to_typst(latex)
        self.formulas.append(f"$ {translated} $" if block else f"${translated}$")
        return f"\0{len(self.formulas) - 1}\0"

    def inline(self, markup: str) -> str:
        return "".join(map(self.span, doc.spans(markup)))

    def span(self, span: doc.Span) -> str:
        match span.kind:
            case "math":
                return self.formula(span.text, block=False)
            case "code":
                return f"<code>{_text(span.text)}</code>"
            case "emphasis":
                return f"<em>{''.join(map(self.span, span.inner))}</em>"
            case "cite":
                cites = (
                    f'<a href="#cite-{key}">{self.names.cite(key)}</a>' + (f", {_text(words)}" if words else "")
                    for key, words in span.cited
                )
                return f"[{'; '.join(cites)}]"
            case "link":
                return f'<a href="#{span.text}">{_text(self.names.name(span.text))}</a>'
            case _:
                return _text(span.text)

    def block(self, block: doc.Block) -> str:
        match block:
            case doc.Heading():
                level = block.level + 1
                number = self.names.name(block.label).removeprefix("Section ")
                return f'<h{level} id="{block.label}">{number} {self.inline(block.text)}</h{level}>'
            case doc.Paragraph():
                return f"<p>{self.inline(block.text)}</p>"
            case doc.Equation():
                formula = f'<div class="scroll">{self.formula(block.latex, block=True)}</div>'
                if not block.numbered:
                    return f'<div class="equation">{formula}</div>'
                number = _text(self.names.name(block.label))
                return f'<div class="equation" id="{block.label}">{formula}<span class="number">{number}</span></div>'
            case doc.ItemList():
                return "<ul>" + "".join(f"<li>{self.inline(item)}</li>" for item in block.items) + "</ul>"
            case doc.CodeBlock():
                return f"<pre><code>{_text(block.text)}</code></pre>"
            case doc.Table():
                return self.table(block)
            case doc.Picture():
                data = base64.b64encode(block.png.read_bytes()).decode("ascii")
                return (
                    f'<figure id="{block.label}"><img src="data:image/png;base64,{data}" alt="{_text(block.alt)}">'
                    f"<figcaption><strong>{self.names.name(block.label)}.</strong> {self.inline(block.caption)}</figcaption></figure>"
                )
            case doc.Statement():
                inside = "\n".join(map(self.block, block.blocks))
                kind = f'<p class="kind">{_text(self.names.name(block.label))}. {self.inline(block.title)}</p>'
                return f'<section class="statement" id="{block.label}">{kind}\n{inside}</section>'
            case doc.Proof():
                inside = "\n".join(map(self.block, block.blocks))
                return f'<details class="proof"><summary>Proof</summary>\n{inside}</details>'

    def table(self, table: doc.Table) -> str:
        head = "".join(f"<th>{self.inline(cell)}</th>" for cell in table.header)
        rows = "\n".join(
            "<tr>" + "".join(f"<td>{self.inline(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
        )
        kind = ' class="wide"' if len(table.header) > 3 else ""  # scrolls on a phone instead of breaking words
        body = f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        if not table.caption:
            return body
        name = self.names.name(table.label)
        return f'<figure id="{table.label}"><figcaption><strong>{name}.</strong> {self.inline(table.caption)}</figcaption>{body}</figure>'


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _plain(markup: str) -> str:
    def words(spans: tuple[doc.Span, ...]) -> Iterator[str]:
        for span in spans:
            yield from words(span.inner) if span.inner else (span.text,)

    return "".join(words(doc.spans(markup)))


def _mathml(formulas: list[str]) -> tuple[str, list[str]]:
    """Typeset formulas in one call; return typst's style for MathML and the formulas as MathML."""
    source = "\n".join(f'#html.elem("div", attrs: (class: "f"))[{formula}]' for formula in formulas)
    page = typst.compile(source.encode(), format="html", ignore_system_fonts=True).decode()
    style = "".join(_STYLE.findall(page))
    found = [_without_paragraph(inside) for inside in _FORMULA.findall(page)]
    if len(found) != len(formulas):
        raise RuntimeError(f"typst returned {len(found)} formulas for {len(formulas)}")
    return style, found


def _without_paragraph(inside: str) -> str:
    return re.sub(r"^\s*<p>(.*)</p>\s*$", r"\1", inside.strip(), flags=re.DOTALL)


def write_html(document: doc.Document, path: Path) -> Path:
    """Write a document as one self-contained page at ``path``, whole or not at all.

    Raises ``InputError`` for formulas outside the subset, unknown labels and unknown citations.
    """
    return write_text(path, _Page(document).whole())
