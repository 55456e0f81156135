"""Documents as one HTML page with native MathML: no script, no network, the same bytes every time."""

import base64
import html
import re
from pathlib import Path

import typst

from jepalign import document as doc
from jepalign.errors import InputError
from jepalign.mathmarkup import to_typst
from jepalign.pagestyle import PAGE_STYLE
from jepalign.pdf import write_pdf
from jepalign.storage import write_text

__all__ = ["write_html", "write_pdf"]

_FORMULA = re.compile(r'<div class="f">(.*?)</div>', re.DOTALL)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
# typst's overline has no MathML; as an accent it has.
_FORMULAS = '#let overline(body) = math.accent(body, "\\u{305}")\n'
# typst writes accents as combining characters, which browsers put beside the letter; MathML asks for the spacing ones.
_ACCENT = re.compile(r"(</mrow>)?<mo>([\u0302\u0303\u0304\u0305\u0307\u0308])</mo></mover>")
_NARROW = dict(zip("\u0302\u0303\u0304\u0307\u0308", "ˆ˜ˉ˙¨", strict=True))
_WIDE = dict(zip("\u0302\u0303\u0304\u0307\u0308", "^~‾˙¨", strict=True))
# An operator that typst marked as prefix or postfix is none to break after.
_BREAK = re.compile("<mo(?![^>]*form=)[^>]*>(?:&lt;|&gt;|[=<>≤≥≠≈∼≡∝≺≻≼≽⪯⪰∈∉⊂→↦←⇒⇔⟹⟺+−±∓])")
_SHORT = 14  # characters of a formula that fits on a line of a phone


class _Writer:
    """Writes a document as HTML; formulas are typeset together, in one call."""

    def __init__(self, document: doc.Document) -> None:
        self.document = document
        self.names = doc.number(document)
        self.formulas: list[str] = []

    def whole(self) -> str:
        d = self.document
        abstract = f'<p class="abstract">{self.inline(d.abstract)}</p>' if d.abstract else ""
        parts = (
            self.outline(),
            "<main>",
            f"<h1>{self.inline(d.title)}</h1>",
            f'<p class="byline">{_text(", ".join(d.authors))}</p>' if d.authors else "",
            abstract,
            self.blocks(d.blocks),
            self.references(),
            "</main>",
        )
        body = "\n".join(filter(None, parts))
        style, typeset = mathml(self.formulas)
        body = re.sub("\0([0-9]+)\0", lambda found: typeset[int(found.group(1))], body)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(doc.plain(d.title))}</title>\n<style>{style}{PAGE_STYLE}</style>\n</head>\n"
            f"<body>\n{body}\n</body>\n</html>\n"
        )

    def references(self) -> str:
        if not self.document.references:
            return ""
        items = "\n".join(
            f'<li id="cite-{r.key}">{_text(r.authors)}. <em>{_text(r.title)}.</em> {_text(r.venue)}, {r.year}.'
            f' <a href="{_text(r.url)}">{_text(r.identifier)}</a></li>'
            for r in self.document.references
        )
        return f'<h2 id="cite-list">References</h2>\n<ol class="references">\n{items}\n</ol>'

    def outline(self) -> str:
        """Link to sections, subsections and statements, in order."""
        items: list[str] = []
        for block in self.document.blocks:
            match block:
                case doc.Heading():
                    number = self.names.name(block.label).removeprefix("Section ")
                    words, level = f"{number} {self.inline(block.text)}", block.level
                case doc.Statement():
                    words, level = self.inline(block.title) or _text(self.names.name(block.label)), 3
                case _:
                    continue
            items.append(f'<li class="level-{level}"><a href="#{block.label}">{_unlinked(words)}</a></li>')
        if self.document.references:
            items.append('<li class="level-1"><a href="#cite-list">References</a></li>')
        if not items:
            return ""
        return (
            f'<nav aria-label="Contents"><details><summary>Contents</summary><ol>{"".join(items)}</ol></details></nav>'
        )

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

    def blocks(self, blocks: tuple[doc.Block, ...]) -> str:
        return "\n".join(map(self.block, blocks))

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
                return self.picture(block)
            case doc.Statement():
                title = f" {self.inline(block.title)}" if block.title else ""
                kind = f'<p class="kind">{_text(self.names.name(block.label))}.{title}</p>'
                return f'<section class="statement" id="{block.label}">{kind}\n{self.blocks(block.blocks)}</section>'
            case doc.Proof():
                return f'<details class="proof"><summary>Proof</summary>\n{self.blocks(block.blocks)}</details>'

    def picture(self, picture: doc.Picture) -> str:
        if not picture.png.is_file():
            raise InputError("png", str(picture.png), "must be the file of a picture")
        data = base64.b64encode(picture.png.read_bytes()).decode("ascii")
        return (
            f'<figure id="{picture.label}"><img src="data:image/png;base64,{data}" alt="{_text(picture.alt)}">'
            f"<figcaption><strong>{self.names.name(picture.label)}.</strong> {self.inline(picture.caption)}"
            f"{self.origin(picture)}</figcaption></figure>"
        )

    def origin(self, picture: doc.Picture) -> str:
        """Say under a picture where its numbers come from, and link the files that lie beside the page."""
        links = [f'<a href="{_text(file)}">{_text(file.rpartition("/")[2])}</a>' for file in picture.files]
        parts = [self.inline(picture.origin), f"Files: {', '.join(links)}." if links else ""]
        told = " ".join(filter(None, parts))
        return f'<span class="origin">{told}</span>' if told else ""

    def table(self, table: doc.Table) -> str:
        head = "".join(f'<th scope="col">{self.inline(cell)}</th>' for cell in table.header)
        rows = "\n".join(
            "<tr>" + "".join(f"<td>{self.inline(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
        )
        kind = ' class="wide"' if len(table.header) > 3 else ""  # scrolls on a phone instead of breaking words
        body = f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        if not table.caption:
            return body
        caption = (
            f"<figcaption><strong>{self.names.name(table.label)}.</strong> {self.inline(table.caption)}</figcaption>"
        )
        return f'<figure id="{table.label}">{caption}{body}</figure>'


def _text(text: str) -> str:
    return html.escape(text.replace("\0", ""), quote=True)


def _unlinked(text: str) -> str:
    """Drop links inside a link, which HTML forbids, and keep their words."""
    return re.sub(r"</?a\b[^>]*>", "", text)


def mathml(formulas: list[str]) -> tuple[str, list[str]]:
    """Typeset typst formulas (with their dollars) in one call; return the style that MathML needs, and the formulas as MathML."""
    source = _FORMULAS + "\n".join(f'#html.elem("div", attrs: (class: "f"))[{formula}]' for formula in formulas)
    page = typst.compile(source.encode(), format="html", ignore_system_fonts=True).decode()
    found = [_mended(inside) for inside in _FORMULA.findall(page)]
    if len(found) != len(formulas):
        raise RuntimeError(f"typst returned {len(found)} formulas for {len(formulas)}")
    return "".join(_STYLE.findall(page)), found


def _mended(inside: str) -> str:
    """Return typst's MathML without the paragraph around it, with accents and calligraphic letters browsers can place."""

    def accent(found: re.Match[str]) -> str:
        wide, mark = found.groups()
        if mark == "\u0305":  # browsers stretch no bar; the style draws it
            return f'{wide or ""}<mo class="bar">‾</mo></mover>'
        if wide:
            return f"{wide}<mo>{_WIDE[mark]}</mo></mover>"
        return f'<mo stretchy="false">{_NARROW[mark]}</mo></mover>'

    formula = re.sub(r"^\s*<p>(.*)</p>\s*$", r"\1", inside.strip(), flags=re.DOTALL)
    formula = _ACCENT.sub(accent, formula).replace("\ufe00", "")
    return formula if "<math display" in formula else _breakable(formula)


def _breakable(formula: str) -> str:
    """Let a long formula in a text break after relations and binary operators, as TeX does; browsers break none.

    It becomes several ``math`` elements. The operator would take the spacing of a postfix at the end of one.
    """
    if len(re.sub(r"<[^>]*>", "", formula)) <= _SHORT:
        return formula
    parts: list[str] = []
    depth = 0
    for part in re.split(r"(<[^>]*>)", formula):
        if part.startswith("</"):
            depth -= 1
            operator = "".join(parts[-2:])
            parts.append(part)
            first = parts[-5].endswith("math>")  # what comes first is a sign
            if depth == 1 and part == "</mo>" and not first and _BREAK.fullmatch(operator):
                parts[-3] = parts[-3].replace("<mo", '<mo form="infix"')
                parts.append("</math>\u200b<math>")
        else:
            depth += part.startswith("<") and not part.endswith("/>")
            parts.append(part)
    return "".join(parts).replace("<math></math>", "").removesuffix("\u200b")


def write_html(document: doc.Document, path: Path) -> Path:
    """Write a document as one self-contained page at ``path``, whole or not at all.

    Raises ``InputError`` for formulas outside the subset, unknown labels, unknown citations and pictures that are missing.
    """
    return write_text(path, _Writer(document).whole())
