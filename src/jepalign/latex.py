"""Documents as LaTeX: a file for plain article with amsmath, amssymb, amsthm and graphicx, to compile or to paste from."""

import re
import unicodedata
from collections.abc import Iterator

from jepalign import document as doc
from jepalign.errors import InputError
from jepalign.mathmarkup import to_typst

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "#": r"\#",
    "&": r"\&",
    "_": r"\_",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
# Characters without a letter in the default fonts that texts of this package contain.
_UNICODE = {
    "…": r"\dots{}",
    "–": "--",
    "—": "---",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
    "−": "$-$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "√": r"$\surd$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "∂": r"$\partial$",
    "∇": r"$\nabla$",
    "‖": r"$\Vert$",
    "→": r"$\to$",
    "⇔": r"$\Leftrightarrow$",
    "∞": r"$\infty$",
    "½": r"$\frac12$",
    "¼": r"$\frac14$",
    "²": "$^2$",
    "³": "$^3$",
    "⁺": "$^+$",
    "ᵀ": r"$^{\top}$",
    "⁻": "$^{-}$",
    "¹": "$^1$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "θ": r"$\theta$",
    "μ": r"$\mu$",
    "Λ": r"$\Lambda$",
    "Ξ": r"$\Xi$",
    "ω": r"$\omega$",
    "τ": r"$\tau$",
    "Π": r"$\Pi$",
    "Ω": r"$\Omega$",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "κ": r"$\kappa$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "Σ": r"$\Sigma$",
    "Φ": r"$\Phi$",
}
_MARKS = {"\u0307": r"\.", "\u0304": r"\=", "\u0303": r"\~", "\u0302": r"\^", "\u0308": r"\""}  # combining accents
_LIGATURE = re.compile(r"([-,'`!?])(?=[-,'`])")  # -- ,, '' `` !` ?` are ligatures

_PACKAGES = "amsmath, amssymb, amsthm, graphicx"
# Margins by lengths, since a file to paste from should load no package for its looks.
_PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath,amssymb,amsthm,graphicx}
\setlength{\textwidth}{6.5in}
\setlength{\textheight}{9in}
\setlength{\oddsidemargin}{0pt}
\setlength{\topmargin}{-0.5in}
\emergencystretch=2em
"""


def escaped(text: str, *, code: bool = False) -> str:
    """Return literal text for LaTeX, or literal code, whose font has < > | as they are.

    Raises ``InputError`` for a character that plain LaTeX has no glyph for.
    """
    found: list[str] = []
    composed = unicodedata.normalize("NFC", _LIGATURE.sub("\\1\ue000", text))
    # Letters beyond Latin Extended-A are spelt as a letter and its accent, as Ṡ.
    spelt = (c if c <= "\u017f" or c in _UNICODE else unicodedata.normalize("NFD", c) for c in composed)
    for c in "".join(spelt):
        if c == "\ue000":
            found.append("{}")
        elif c in _MARKS and found:
            found[-1] = f"{_MARKS[c]}{{{found[-1]}}}"
        elif code and c in "<>|":
            found.append(c)
        elif c in _ESCAPES or c in _UNICODE:
            found.append(_ESCAPES.get(c) or _UNICODE[c])
        elif c.isspace() or (c.isprintable() and c <= "\u017f"):  # LaTeX composes Latin letters
            found.append(c)
        else:
            raise InputError("text", f"U+{ord(c):04X}", "is not a character that the LaTeX output can show")
    return "".join(found)


def _formula(latex: str) -> str:
    to_typst(latex)  # what the other outputs cannot show is refused here as well
    return latex


class _Writer:
    """Writes blocks. ``names`` gives references their words; a fragment (``whole`` false) may refer to what is elsewhere."""

    def __init__(self, names: doc.Numbering, *, whole: bool) -> None:
        self.names = names
        self.whole = whole

    def inline(self, markup: str) -> str:
        return "".join(map(self.span, doc.spans(markup)))

    def span(self, span: doc.Span) -> str:
        match span.kind:
            case "math":
                return f"${_formula(span.text)}$"
            case "code":
                return rf"\texttt{{{escaped(span.text, code=True)}}}"
            case "emphasis":
                return rf"\emph{{{''.join(map(self.span, span.inner))}}}"
            case "cite":
                return "; ".join(self.cite(key, words) for key, words in span.cited)
            case "link":
                return self.link(span.text)
            case _:
                return escaped(span.text)

    def cite(self, key: str, words: str) -> str:
        if self.whole:
            self.names.cite(key)
        return rf"\cite[{{{escaped(words)}}}]{{{key}}}" if words else rf"\cite{{{key}}}"

    def link(self, label: str) -> str:
        name = self.names.name(label) if self.whole else self.names.names.get(label, "")
        if name.startswith("("):
            return rf"\eqref{{{label}}}"
        kind = name.rpartition(" ")[0]
        return rf"{kind}~\ref{{{label}}}" if kind else rf"\ref{{{label}}}"

    def blocks(self, blocks: tuple[doc.Block, ...]) -> str:
        return "\n".join(map(self.block, blocks))

    def block(self, block: doc.Block) -> str:
        match block:
            case doc.Heading():
                command = "section" if block.level == 1 else "subsection"
                return rf"\{command}{{{self.inline(block.text)}}}\label{{{block.label}}}"
            case doc.Paragraph():
                return self.inline(block.text) + "\n"
            case doc.Equation():
                if block.numbered:
                    return f"\\begin{{equation}}\\label{{{block.label}}}\n{_formula(block.latex)}\n\\end{{equation}}"
                return f"\\begin{{equation*}}\n{_formula(block.latex)}\n\\end{{equation*}}"
            case doc.ItemList():
                items = "\n".join(rf"\item {_guarded(self.inline(item))}" for item in block.items)
                return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
            case doc.CodeBlock():
                if r"\end{verbatim}" in block.text or not block.text.isascii():
                    raise InputError("code", block.text[:60], r"must be ASCII and must not contain \end{verbatim}")
                return f"\\begin{{verbatim}}\n{block.text}\n\\end{{verbatim}}"
            case doc.Table():
                return self.table(block)
            case doc.Picture():
                return (
                    "\\begin{figure}\n\\centering\n"
                    f"\\includegraphics[width=\\linewidth]{{{block.pdf.parent.name}/{block.pdf.name}}}\n"
                    f"\\caption{{{self.inline(block.caption)}}}\\label{{{block.label}}}\n\\end{{figure}}"
                )
            case doc.Statement():
                title = f"[{{{self.inline(block.title)}}}]" if block.title else ""
                inside = self.blocks(block.blocks)
                kind = _environment(block.kind)
                return f"\\begin{{{kind}}}{title}\\label{{{block.label}}}\n{inside}\n\\end{{{kind}}}"
            case doc.Proof():
                return f"\\begin{{proof}}\n{self.blocks(block.blocks)}\n\\end{{proof}}"

    def table(self, table: doc.Table) -> str:
        weights = table.weights()
        # Each column costs two \tabcolsep of 6pt, out of a line of 6.5in = 470pt.
        room = 0.998 - len(weights) * 12 / 470
        columns = "".join(rf"p{{{room * weight / sum(weights):.3f}\linewidth}}" for weight in weights)
        head = " & ".join(rf"\raggedright\textbf{{{self.inline(cell)}}}" for cell in table.header)
        rows = [
            " & ".join(rf"\raggedright {_guarded(self.inline(cell))}" for cell in row) + " \\tabularnewline"
            for row in table.rows
        ]
        if table.caption and len(rows) <= _FLOATING:
            caption = rf"\caption{{{self.inline(table.caption)}}}\label{{{table.label}}}"
            whole = _tabular(columns, [r"\hline", head + r" \tabularnewline", r"\hline", *rows, r"\hline"])
            return f"\\begin{{table}}\n\\centering\\small\n{caption}\n{whole}\n\\end{{table}}"
        # A page may end between two tabulars and in no tabular; article has no other table that breaks.
        lines = [_tabular(columns, [r"\hline", head + r" \tabularnewline", r"\hline"]) + r"\par\nopagebreak"]
        lines += [_tabular(columns, [row]) + r"\par" for row in rows]
        if table.caption:
            named = rf"\refstepcounter{{table}}\label{{{table.label}}}Table~\thetable: {self.inline(table.caption)}\par"
            lines.insert(0, named + r"\nopagebreak\smallskip")
        inside = "\n".join(lines)
        return (
            "\\medskip\n{\\small\\setlength{\\parindent}{0pt}\\setlength{\\parskip}{0pt}\\raggedbottom\n"
            + inside
            + "\n\\noindent\\hrulefill\\par}\n\\medskip"
        )


_FLOATING = 20  # rows of a table that surely fit on one page


def _tabular(columns: str, lines: list[str]) -> str:
    return "\n".join((f"\\begin{{tabular}}{{{columns}}}", *lines, r"\end{tabular}"))


def _guarded(text: str) -> str:
    r"""Keep a bracket from being read as the optional argument of the ``\item`` before it."""
    return f"{{}}{text}" if text.startswith("[") else text


def _environment(kind: str) -> str:
    return re.sub(r"[^a-z]", "", kind.lower())


def _kinds(blocks: tuple[doc.Block, ...]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, doc.Statement):
            yield block.kind
        if isinstance(block, doc.Statement | doc.Proof):
            yield from _kinds(block.blocks)


def _theorem_styles(blocks: tuple[doc.Block, ...]) -> str:
    """Declare the kinds of statement that occur, all on one count."""
    lines = [r"\theoremstyle{plain}"]
    for kind in dict.fromkeys(_kinds(blocks)):
        shared = rf"[{lines[1].split('{')[1][:-1]}]" if len(lines) > 1 else ""
        lines.append(rf"\newtheorem{{{_environment(kind)}}}{shared}{{{escaped(kind)}}}")
    return "\n".join(lines)


def latex_fragment(blocks: tuple[doc.Block, ...]) -> str:
    r"""Return blocks as LaTeX to paste; a comment at the top lists the packages and the theorem styles they need.

    References to labels outside the blocks become a bare ``\ref``. Raises ``InputError`` for formulas outside the subset.
    """
    names = doc.number(doc.Document("", (), "", blocks, ()))
    needs = [f"needs the packages {_PACKAGES}"]
    styles = _theorem_styles(blocks)
    if r"\newtheorem" in styles:
        needs += ["and in the preamble", *styles.splitlines()]
    return "\n".join((*(f"% {line}" for line in needs), _Writer(names, whole=False).blocks(blocks), ""))


def render_latex(document: doc.Document) -> str:
    """Return a document as one LaTeX file.

    Raises ``InputError`` for formulas outside the subset, unknown labels and unknown citations.
    """
    writer = _Writer(doc.number(document), whole=True)
    references = "\n".join(
        rf"\bibitem{{{r.key}}} {escaped(r.authors)}. {escaped(r.title)}. {escaped(r.venue)}, {r.year}. {escaped(r.identifier)}."
        for r in document.references
    )
    authors = r" \and ".join(map(escaped, document.authors))
    bibliography = f"\\begin{{thebibliography}}{{99}}\n{references}\n\\end{{thebibliography}}" if references else ""
    return "\n".join(
        (
            f"% Compiles as it stands. To paste a part, load {_PACKAGES} and copy the theorem styles.",
            _PREAMBLE + _theorem_styles(document.blocks),
            rf"\title{{{writer.inline(document.title)}}}",
            rf"\author{{{authors}}}",
            r"\date{}",
            r"\begin{document}",
            r"\maketitle",
            rf"\begin{{abstract}}{writer.inline(document.abstract)}\end{{abstract}}",
            writer.blocks(document.blocks),
            bibliography,
            r"\end{document}",
            "",
        )
    )
