"""One source, three outputs: nothing is dropped, nothing is read as markup that is not, and bad input is refused."""

import base64
import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typst
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from jepalign import document as doc
from jepalign.errors import InputError
from jepalign.latex import escaped, latex_fragment, render_latex
from jepalign.mathmarkup import to_typst
from jepalign.mathsymbols import CHARACTERS, DELIMITERS, FUNCTIONS, MATRICES, SIZES, STYLES, SYMBOLS
from jepalign.pages import mathml, write_html, write_pdf

SPECIAL = r"100% #1 a_b & <tag> \ ~ ^ {x} @y // -- ... = - + 1. it is; (then) [0, 1] |v|"
# The smallest PNG: one transparent pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "hr", "mspace"}


def page_of(*formulas: str) -> list[str]:
    """Return LaTeX formulas as MathML, displayed."""
    return mathml([f"$ {to_typst(formula)} $" for formula in formulas])[1]


def visible(formula: str) -> str:
    """Return the characters of a formula in MathML, with mathematical alphabets folded to plain letters."""
    return unicodedata.normalize("NFKC", re.sub(r"<[^>]*>", "", formula)).replace("&lt;", "<").replace("&gt;", ">")


# -- the mathematics ------------------------------------------------------------------------------------------------------


def test_every_symbol_is_shown_in_mathml_and_in_pdf() -> None:
    symbols = [f"a {symbol} b" for symbol in (*SYMBOLS, *DELIMITERS, *CHARACTERS) if symbol not in {r"\lVert", r"\|"}]
    for source, found in zip(symbols, page_of(*symbols), strict=True):
        # Between a and b stands the symbol, or a space for those that are one.
        assert len(visible(found)) > 2 or "<mspace" in found, source
    assert len(symbols) > 120
    typst.compile("\n".join(f"$ {to_typst(s)} $" for s in symbols).encode(), format="pdf", ignore_system_fonts=True)


@pytest.mark.parametrize("command", [*FUNCTIONS, r"\sqrt", r"\mathbf", r"\overline", r"\underbrace"])
def test_functions_change_what_they_are_applied_to(command: str) -> None:
    plain, changed = page_of("x", f"{command}{{x}}")
    assert plain != changed
    assert "x" in visible(changed)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_keep_their_delimiters(size: str) -> None:
    (found,) = page_of(f"{size}( x {size})")
    assert visible(found) == "(x)"
    assert found.count("minsize") == 2


def test_delimiters_grow_in_pairs() -> None:
    pairs = [rf"\left{mark} x \right{mark}" for mark in DELIMITERS] + [
        r"\left. x \right|",
        r"\lVert x \rVert",
        r"\| x \|",
    ]
    for source, found in zip(pairs, page_of(*pairs), strict=True):
        assert len(visible(found)) == (2 if "." in source else 3), source


@pytest.mark.parametrize("name", [*MATRICES, "cases", "aligned"])
def test_environments_keep_rows_and_columns(name: str) -> None:
    whole, inside = page_of(*(rf"{before}\begin{{{name}}} a & b \\ c & d \end{{{name}}}" for before in ("", "z = ")))
    for found in (whole, inside):
        assert found.count("<mtr") == 2
        assert found.count("<mtd") == 4
        assert visible(found).strip("z=(){}[]| ") == "abcd"


def test_cases_keep_their_conditions_apart() -> None:
    (found,) = page_of(r"\begin{cases} a & b \\ c & d \end{cases}")
    assert found.count('<mspace width="1em"/>') == 2


def test_accents_are_spacing_characters_and_grow_over_groups() -> None:
    # A combining character in an operator of its own is placed beside the letter, not above it.
    for command, mark in ((r"\dot", "˙"), (r"\ddot", "¨"), (r"\bar", "ˉ"), (r"\hat", "ˆ"), (r"\tilde", "˜")):
        (found,) = page_of(f"{command}{{x}}")
        assert f'<mo stretchy="false">{mark}</mo></mover>' in found
    wide, line = page_of(r"\widehat{ab}", r"\overline{ab}")
    assert "<mo>^</mo></mover>" in wide
    assert '</mrow><mo class="bar">‾</mo></mover>' in line


def test_styles_reach_to_the_end_of_the_group() -> None:
    assert to_typst(r"{\displaystyle \sum x} y") == "display(sum x) y"
    assert STYLES


def test_letters_side_by_side_stay_single_letters() -> None:
    (found,) = page_of(r"WCW^\top")
    assert found.count("<mi") == 4
    assert visible(found) == "WCW⊤"


def test_words_are_words_without_added_space() -> None:
    fused, worded, spaced = page_of(r"L_{\mathrm{SCL}} x", r"x \operatorname{tr} A", r"x \text{ if } y")
    assert "<mtext>SCL</mtext>" in fused
    assert ">tr</mo>" in worded
    # Browsers trim ordinary spaces at the ends of an mtext; typst would add others around it.
    assert "<mtext>\u00a0if\u00a0</mtext>" in spaced
    assert "<mspace" not in spaced


def test_arguments_are_what_latex_takes() -> None:
    assert to_typst(r"\frac12 x") == to_typst(r"\frac{1}{2} x")
    assert to_typst("x^12") == to_typst("x^{1} 2")
    assert to_typst(r"x_ 12^3") == to_typst(r"x_{1} 2^{3}")
    assert to_typst("f''_2") == to_typst(r"f^{\prime\prime}_{2}")
    assert to_typst(r"z'^{\top}") == to_typst(r"z^{\prime\top}")
    assert to_typst(r"\sqrt[3]{x}") == "root(3, x)"


SYMPY = (
    r"\frac{e^{- \frac{x^{2}}{2 + 2 s}}}{\sqrt{1 + s}} - \left|{\frac{\sqrt{2} \int\limits_{-60}^{60}"
    r" e^{- \frac{y^{2}}{2 s}}\, dy}{2 \sqrt{\pi}}}\right|"
)


def test_what_sympy_prints_is_read() -> None:
    found, log, power, rate = page_of(
        SYMPY, r"\log{\left(s \right)}", r"s^{\frac{3}{2}}", r"\frac{\partial}{\partial s}"
    )
    assert "<munderover" in found
    assert visible(found) == "e−x22+2s1+s−|2∫−6060e−y22sdy2π|"
    assert visible(log) == "log(s)"
    assert visible(power) == "s32"
    assert visible(rate) == "∂∂s"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (r"a + \unknown{b}", r"\unknown"),
        (r"\begin{tikz} a \end{tikz}", "tikz"),
        (r"\begin{pmatrix} a \end{cases}", "does not close"),
        (r"\begin{pmatrix} a \\[2pt] b \end{pmatrix}", "optional argument"),
        ("x^", "the end"),
        ("x^^2", "argument"),
        ("x^2^3", "double script"),
        ("x^2'", "double script"),
        ("{x", "unexpected end"),
        ("x}", "}"),
        (r"\left( x", "unexpected end"),
        (r"\left< x \right>", "<"),
        (r"\lVert x", "unexpected end"),
        (r"\bigl x", "x"),
        (r"\frac{1}", "the end"),
        (r"\sqrt[3", "unexpected end"),
        (r"\text{a", "not closed"),
        (r"\text{$x$}", "$"),
        ("a & b", "&"),
        (r"a \\ b", r"\\"),
        ("α", "α"),
        ("x²", "²"),
        ("#x", "#"),
        ('"x"', '"'),
        ("{" * 500 + "x" + "}" * 500, "nested"),
    ],
)
def test_what_is_outside_the_subset_is_named(formula: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        to_typst(formula)


letters = st.sampled_from("abcdfgxyzABCKPRSTWZ")
leaves = st.one_of(letters, st.integers(0, 99).map(str), st.decimals(0, 9, places=2).map(str))


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda p: f"{p[0]} {p[1]}"),
        st.tuples(inner, st.sampled_from((" + ", " - ", r" \cdot ", " = ", r" \le ", r" \to ")), inner).map("".join),
        two.map(lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}"),
        st.tuples(letters, inner, inner).map(lambda p: f"{p[0]}_{{{p[1]}}}^{{{p[2]}}}"),
        two.map(lambda p: f"{{{p[0]}}}^{{{p[1]}}}"),
        two.map(lambda p: rf"\sum_{{{p[0]}}} {p[1]}"),
        two.map(lambda p: rf"\underbrace{{{p[0]}}}_{{{p[1]}}}"),
        st.tuples(st.sampled_from([*FUNCTIONS, r"\sqrt", r"\mathbf"]), inner).map(lambda p: f"{p[0]}{{{p[1]}}}"),
        st.tuples(st.sampled_from(["()", "[]", "||", (r"\{", r"\}"), (r"\langle", r"\rangle")]), inner).map(
            lambda p: rf"\left{p[0][0]} {p[1]} \right{p[0][1]}"
        ),
        inner.map(lambda e: rf"\lVert {e} \rVert"),
        st.tuples(st.sampled_from([*MATRICES, "cases", "aligned"]), two, two).map(
            lambda p: rf"\begin{{{p[0]}}} {p[1][0]} & {p[1][1]} \\ {p[2][0]} & {p[2][1]} \end{{{p[0]}}}"
        ),
    )


@settings(max_examples=80, deadline=None)
@given(st.recursive(leaves, _larger, max_leaves=12))
def test_no_letter_and_no_digit_is_lost(formula: str) -> None:
    words = re.sub(r"\\(?:begin|end)\{[a-z]+\}|\\[a-zA-Z]+", "", formula)
    (found,) = page_of(formula)
    assert Counter(re.findall("[A-Za-z0-9]", words)) == Counter(re.findall("[A-Za-z0-9]", visible(found)))


pieces = st.sampled_from(
    [
        *(*SYMBOLS, *DELIMITERS, *CHARACTERS, *FUNCTIONS, *SIZES, *STYLES, *"ab12{}^_'&$#%\"@é"),
        *(r"\\", r"\frac", r"\left", r"\right", r"\text{a}", r"\limits", r"\sqrt[", "]", " "),
        *(r"\begin{cases}", r"\end{cases}", r"\begin{aligned}", r"\end{aligned}"),
    ]
)


@settings(max_examples=250, deadline=None)
@given(st.lists(pieces, max_size=8).map(" ".join))
def test_whatever_is_accepted_is_valid_typst(formula: str) -> None:
    try:
        translated = to_typst(formula)
    except InputError:
        return
    assert len(mathml([f"$ {translated} $", f"${translated}$"])[1]) == 2


# -- documents ------------------------------------------------------------------------------------------------------------


def sample(folder: Path) -> doc.Document:
    """Return a document with one of everything; its picture is written to ``folder``."""
    png, pdf = folder / "a.png", folder / "a.pdf"
    png.write_bytes(PIXEL)
    pdf.write_bytes(typst.compile(b"#set page(width: 60pt, height: 20pt)\nA", format="pdf", timestamp=0))
    return doc.Document(
        "A *sample* with $P = g(\\Phi)$",
        ("Ada Example", "Emmy Sample"),
        f"{SPECIAL} `{SPECIAL}` and *{SPECIAL}*.",
        (
            doc.Heading(1, "Setting", "setting"),
            doc.Paragraph(
                "See [@first, Theorem 1 & 2], [@first; @second is a relative], [#thm-main], [#eq-main], [#views]."
            ),
            doc.Heading(2, "Two views, after [@first]", "views"),
            doc.ItemList(("[0, 1] is an interval", "`code`.attribute; `code`(call)", "*paired*: $T T^{\\top} = I$")),
            doc.Statement(
                "Theorem",
                "Power on [0, 1]",
                "thm-main",
                (
                    doc.Paragraph("Then"),
                    doc.Equation(r"\operatorname{tr}(F W^{\top}) = \tfrac12", "eq-main", numbered=True),
                ),
            ),
            doc.Proof(
                (
                    doc.Paragraph("By"),
                    doc.Equation(r"\begin{aligned} a &= b \\ &= c \end{aligned}"),
                    doc.Equation(SYMPY),
                )
            ),
            doc.Statement(
                "Common belief", "", "thm-belief", (doc.Paragraph('It\'s a "metaphor". See [#tab] and [#fig].'),)
            ),
            doc.Table(("name", "$g(s)$"), (("[0] a_b & 50%", "$s$"), ("*", "$\\sqrt{s}$")), "The dictionary.", "tab"),
            doc.Table(("plain",), (("row",),), "", "untitled"),
            doc.Picture(pdf, png, "A pixel, $1 \\times 1$.", 'One pixel & "nothing" else', "fig"),
            doc.CodeBlock("if a < b:  # <exactly>\n    pass"),
        ),
        (
            doc.Reference("first", "Ex, A.", 2021, "First & foremost", "ICML", "arXiv:2102.06810"),
            doc.Reference("second", "Ey, B.", 2020, "Second", "JMLR", "doi:10.1000/x_y"),
        ),
    )


class Page(HTMLParser):
    """Collects elements, links and words, and fails on unbalanced elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "a" or "a" not in self.open
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(write_html(sample(tmp_path), tmp_path / "a.html").read_text(encoding="utf-8"))


def test_the_page_stands_alone(page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("src") or "data:").startswith("data:image/png;base64,") or tag != "img"
    style = "".join(page.words)
    assert "@import" not in style
    assert "url(" not in style


def test_the_page_is_navigable(page: Page) -> None:
    names = [str(a["id"]) for _, a in page.tags if "id" in a]
    assert len(names) == len(set(names))
    targets = [str(a["href"]) for tag, a in page.tags if tag == "a"]
    assert {t[1:] for t in targets if t.startswith("#")} <= set(names)
    assert {t for t in targets if not t.startswith("#")} == {
        "https://arxiv.org/abs/2102.06810",
        "https://doi.org/10.1000/x_y",
    }
    contents = "".join(page.words).split("Contents")[1].split("A sample")[0]
    for words in ("1 Setting", "1.1 Two views", "Power on [0, 1]", "References"):
        assert words in contents
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == ['One pixel & "nothing" else']
    assert sum(tag == "details" for tag, _ in page.tags) == 2  # the contents and the proof


def test_text_is_literal_on_the_page_and_in_the_pdf(page: Page, tmp_path: Path) -> None:
    assert " ".join(page.words).count(SPECIAL) == 3
    path = write_pdf(sample(tmp_path), tmp_path / "a.pdf")
    pages = PdfReader(path).pages
    # Lines break where they must, and a joiner without width keeps two hyphens two.
    text = "".join(p.extract_text() for p in pages)
    assert text.count("-\u200c-") == 2  # in code the font has no such ligature
    text = re.sub(r"\s|\u200c", "", text)
    assert text.count(re.sub(r"\s", "", SPECIAL)) == 3
    for words in (
        "[1,Theorem1&2]",
        "[1;2,isarelative]",
        "Theorem1,(1),Section1.1",
        "code.attribute;code(call)",
        "“metaphor”",
    ):
        assert words in text, words


@given(st.text(st.sampled_from("ab \\{}%#&_~^<>|-,'\"`!?$@/"), max_size=12))
def test_latex_text_is_escaped(text: str) -> None:
    latex = escaped(text)
    # What is left after all escapes and all breaks of ligatures must be free of special characters.
    left = re.sub(r"\\(?:text[a-z]+|[{}%#&_$])(?:\{\})?|\{\}", "", latex)
    assert not set(left) & set(r"\{}%#&_~^<>|$")
    assert not re.search(r"--|,,|''|``|[!?]`", latex)


def test_latex_spells_what_it_can_and_refuses_the_rest() -> None:
    assert escaped("<|>") == r"\textless{}\textbar{}\textgreater{}"
    assert escaped("<|>", code=True) == "<|>"
    assert escaped("Ṡ ≤ é") == r"\.{S} $\le$ é"
    with pytest.raises(InputError, match=r"U\+6F22"):
        escaped("漢")


def test_latex_names_what_it_refers_to(tmp_path: Path) -> None:
    text = render_latex(sample(tmp_path))
    assert r"\item {}[0, 1] is" in text
    assert r"\cite[{Theorem 1 \& 2}]{first}" in text
    assert r"Theorem~\ref{thm-main}, \eqref{eq-main}, Section~\ref{views}" in text
    assert r"\newtheorem{commonbelief}[theorem]{Common belief}" in text
    packages = set(re.findall(r"\\usepackage(?:\[.*?\])?\{(.*?)\}", text))
    assert packages == {"amsmath,amssymb,amsthm,graphicx"}


def test_a_fragment_says_what_it_needs(tmp_path: Path) -> None:
    text = latex_fragment(sample(tmp_path).blocks)
    assert text.startswith("% needs the packages amsmath, amssymb, amsthm, graphicx\n")
    assert "% \\newtheorem{theorem}{Theorem}" in text
    assert r"\documentclass" not in text
    assert r"see \ref{elsewhere}" in latex_fragment((doc.Paragraph("see [#elsewhere]"),))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles_with_the_plain_packages(tmp_path: Path) -> None:
    (tmp_path / tmp_path.name).symlink_to(tmp_path)  # pictures are named by their folder and file
    (tmp_path / "a.tex").write_text(render_latex(sample(tmp_path)), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-jobname=typeset", "a.tex"]
    said = ""
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, errors="replace")
        said = done.stdout
        assert done.returncode == 0, said[-2000:]
    assert not re.search("Warning: (?:Citation|Reference|There were undefined)|Overfull", said)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    for folder in (one, two):
        write_html(sample(tmp_path), folder / "d.html")
        write_pdf(sample(tmp_path), folder / "d.pdf")
    assert (one / "d.html").read_bytes() == (two / "d.html").read_bytes()
    data = (one / "d.pdf").read_bytes()
    assert data == (two / "d.pdf").read_bytes()
    assert not re.search(rb"(?:Creation|Create|Mod|Modify)Date", data)  # two dates in one second are equal
    assert render_latex(sample(tmp_path)) == render_latex(sample(tmp_path))


@pytest.mark.parametrize(
    ("markup", "said"),
    [
        ("[#nowhere]", "nowhere"),
        ("[@nobody]", "nobody"),
        ("$x", "not closed"),
        (r"$\foo$", "foo"),
        ("[@a; b]", "[@a; b]"),
    ],
)
def test_bad_text_is_refused_and_nothing_is_written(markup: str, said: str, tmp_path: Path) -> None:
    document = doc.Document("t", (), "", (doc.Paragraph(markup),), ())
    for write in (write_html, write_pdf):
        with pytest.raises(InputError, match=re.escape(said)):
            write(document, tmp_path / "d")
    with pytest.raises(InputError, match=re.escape(said)):
        render_latex(document)
    assert list(tmp_path.iterdir()) == []


def test_bad_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 for a section"):
        doc.Heading(3, "t", "a")
    with pytest.raises(InputError, match="as many cells"):
        doc.Table(("a", "b"), (("1",),), "", "t")
    with pytest.raises(InputError, match="carries a label"):
        doc.Equation("x", numbered=True)
    with pytest.raises(InputError, match="arXiv:NUMBER"):
        doc.Reference("k", "A", 2020, "T", "V", "isbn:1")
    twice = (doc.Heading(1, "t", "a"), doc.Heading(1, "u", "a"))
    with pytest.raises(InputError, match="two things"):
        doc.number(doc.Document("t", (), "", twice, ()))
    with pytest.raises(InputError, match="a letter"):
        doc.number(doc.Document("t", (), "", (doc.Heading(1, "t", "a b"),), ()))
    reference = doc.Reference("k", "A", 2020, "T", "V", "arXiv:1")
    with pytest.raises(InputError, match="two references"):
        doc.number(doc.Document("t", (), "", (), (reference, reference)))
    missing = doc.Picture(tmp_path / "no.pdf", tmp_path / "no.png", "c", "a", "fig")
    for write in (write_html, write_pdf):
        with pytest.raises(InputError, match="must be the file of a picture"):
            write(doc.Document("t", (), "", (missing,), ()), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_long_formulas_in_a_text_can_break_and_signs_stay() -> None:
    long = to_typst(r"- \log s + \sum_{i} (s_i - \rho_i s_i) = a - b")
    text, display = mathml([f"${long}$", f"$ {long} $"])[1]
    assert visible(text).replace("\u200b", "") == visible(display)
    assert text.count("<math>") == 5  # after +, the inner −, =, and the last −; not after the sign
    assert display.count("<math") == 1


def test_asterisks_that_touch_no_word_are_literal() -> None:
    assert [s.kind for s in doc.spans("2 * 3 * 4 and *words with $a*b$ and `c*d`* end")] == ["text", "emphasis", "text"]


# -- the catalogue --------------------------------------------------------------------------------------------------------


def test_every_formula_of_the_catalogue_renders_three_times(tmp_path: Path) -> None:
    from jepalign.derivations import references
    from jepalign.theory.catalogue import NAMES, find

    blocks: list[doc.Block] = []
    for theorem in map(find, NAMES):
        texts = [theorem.title, theorem.statement, theorem.belief, *filter(None, [theorem.repair])]
        texts += [a.statement for a in theorem.assumptions]
        texts += [s.reason for s in (*theorem.proof, *theorem.said)] + [s.change for s in theorem.siblings]
        blocks.append(doc.Statement("Theorem", theorem.title, f"thm-{theorem.name}", tuple(map(doc.Paragraph, texts))))
        blocks += [doc.Equation(s.claim.latex()) for s in (*theorem.proof, *theorem.siblings, *theorem.said)]
        blocks += [doc.Equation(a.condition.latex()) for a in theorem.assumptions]
    document = doc.Document("All", (), "", tuple(blocks), references())
    displayed = sum(isinstance(block, doc.Equation) for block in blocks)
    assert displayed > 100
    text = write_html(document, tmp_path / "all.html").read_text(encoding="utf-8")
    Page(text)
    assert text.count('<math display="block">') == displayed
    assert write_pdf(document, tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")
    latex = render_latex(document)
    assert latex.count(r"\begin{equation*}") == latex.count(r"\end{equation*}") == displayed
