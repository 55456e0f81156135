"""Documents as LaTeX: a file for plain article with amsmath, amssymb, amsthm and graphicx, to compile or to paste from."""

from jepalign import document as doc
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
}
# Characters outside ASCII that texts of this package contain, for engines without Unicode fonts.
_UNICODE = {
    "…": r"\dots{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "√": r"$\surd$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "±": r"$\pm$",
    "∂": r"$\partial$",
    "∇": r"$\nabla$",
    "‖": r"$\Vert$",
    "→": r"$\to$",
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
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "κ": r"$\kappa$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "Σ": r"$\Sigma$",
    "Φ": r"$\Phi$",
}

_PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{amsmath,amssymb,amsthm,graphicx}
\usepackage[margin=1in]{geometry}
\theoremstyle{plain}
\newtheorem{theorem}{Theorem}
\newtheorem{lemma}[theorem]{Lemma}
\newtheorem{belief}[theorem]{Common belief}
"""

_ENVIRONMENTS = {"Theorem": "theorem", "Lemma": "lemma", "Common belief": "belief"}


_MARKS = {"\u0307": r"\.", "\u0304": r"\=", "\u0303": r"\~"}  # combining accents


def escaped(text: str) -> str:
    """Return literal text for LaTeX."""
    found: list[str] = []
    for c in text:
        if c in _MARKS and found:
            found[-1] = f"{_MARKS[c]}{{{found[-1]}}}"
        else:
            found.append(_ESCAPES.get(c) or _UNICODE.get(c) or c)
    return "".join(found)


def _inline(markup: str) -> str:
    return "".join(_span(span) for span in doc.spans(markup))


def _span(span: doc.Span) -> str:
    match span.kind:
        case "math":
            to_typst(span.text)  # what the other outputs cannot show is refused here as well
            return f"${span.text}$"
        case "code":
            return rf"\texttt{{{escaped(span.text)}}}"
        case "emphasis":
            return rf"\emph{{{''.join(map(_span, span.inner))}}}"
        case "cite":
            return " ".join(
                rf"\cite[{escaped(words)}]{{{key}}}" if words else rf"\cite{{{key}}}" for key, words in span.cited
            )
        case "link":
            return rf"\eqref{{{span.text}}}" if span.text.startswith("eq-") else rf"\ref{{{span.text}}}"
        case _:
            return escaped(span.text)


def _block(block: doc.Block, names: doc.Numbering) -> str:
    match block:
        case doc.Heading():
            command = "section" if block.level == 1 else "subsection"
            return rf"\{command}{{{_inline(block.text)}}}\label{{{block.label}}}"
        case doc.Paragraph():
            return _inline(block.text) + "\n"
        case doc.Equation():
            to_typst(block.latex)
            if block.numbered:
                return f"\\begin{{equation}}\\label{{{block.label}}}\n{block.latex}\n\\end{{equation}}"
            return f"\\begin{{equation*}}\n{block.latex}\n\\end{{equation*}}"
        case doc.ItemList():
            items = "\n".join(rf"\item {_inline(item)}" for item in block.items)
            return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
        case doc.CodeBlock():
            return f"\\begin{{verbatim}}\n{block.text}\n\\end{{verbatim}}"
        case doc.Table():
            return _table(block)
        case doc.Picture():
            return (
                "\\begin{figure}\n\\centering\n"
                f"\\includegraphics[width=\\linewidth]{{{block.pdf.parent.name}/{block.pdf.name}}}\n"
                f"\\caption{{{_inline(block.caption)}}}\\label{{{block.label}}}\n\\end{{figure}}"
            )
        case doc.Statement():
            inside = "\n".join(_block(b, names) for b in block.blocks)
            environment = _ENVIRONMENTS[block.kind]
            return f"\\begin{{{environment}}}[{_inline(block.title)}]\\label{{{block.label}}}\n{inside}\n\\end{{{environment}}}"
        case doc.Proof():
            inside = "\n".join(_block(b, names) for b in block.blocks)
            return f"\\begin{{proof}}\n{inside}\n\\end{{proof}}"


def _table(table: doc.Table) -> str:
    width = f"{0.94 / len(table.header):.3f}"
    columns = rf"p{{{width}\linewidth}}" * len(table.header)
    head = " & ".join(rf"\textbf{{{_inline(cell)}}}" for cell in table.header)
    rows = " \\\\\n".join(" & ".join(map(_inline, row)) for row in table.rows)
    body = f"\\begin{{tabular}}{{{columns}}}\n\\hline\n{head} \\\\\n\\hline\n{rows} \\\\\n\\hline\n\\end{{tabular}}"
    if not table.caption:
        return f"\\begin{{center}}\\small\n{body}\n\\end{{center}}"
    return f"\\begin{{table}}\n\\centering\\small\n\\caption{{{_inline(table.caption)}}}\\label{{{table.label}}}\n{body}\n\\end{{table}}"


def latex_fragment(blocks: tuple[doc.Block, ...], names: doc.Numbering) -> str:
    """Return blocks as LaTeX without a preamble."""
    return "\n".join(_block(block, names) for block in blocks)


def render_latex(document: doc.Document) -> str:
    """Return a document as one LaTeX file. Raises ``InputError`` for formulas outside the subset and unknown labels."""
    names = doc.number(document)
    references = "\n".join(
        rf"\bibitem{{{r.key}}} {escaped(r.authors)}. {escaped(r.title)}. {escaped(r.venue)}, {r.year}. {escaped(r.identifier)}."
        for r in document.references
    )
    return "\n".join(
        (
            "% Compiles as it stands; to paste a part, load amsmath, amssymb, amsthm and graphicx and copy the theorem styles.",
            _PREAMBLE,
            rf"\title{{{_inline(document.title)}}}",
            _author(document),
            r"\date{}",
            r"\begin{document}",
            r"\maketitle",
            rf"\begin{{abstract}}{_inline(document.abstract)}\end{{abstract}}",
            latex_fragment(document.blocks, names),
            r"\begin{thebibliography}{99}",
            references,
            r"\end{thebibliography}",
            r"\end{document}",
            "",
        )
    )


def _author(document: doc.Document) -> str:
    together = r" \and ".join(map(escaped, document.authors))
    return rf"\author{{{together}}}"
