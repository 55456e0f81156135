"""LaTeX mathematics to typst: a recursive-descent translator of the subset that this package writes.

Anything outside the subset is an ``InputError`` that names it: nothing is dropped silently.
"""

import re
from collections.abc import Callable

from jepalign.errors import InputError

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\\\|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)

_GREEK = (
    "alpha beta gamma delta zeta eta iota kappa lambda mu nu xi pi rho sigma tau upsilon chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega theta"
)
_OPERATORS = (
    "log",
    "ln",
    "exp",
    "det",
    "min",
    "max",
    "sup",
    "inf",
    "lim",
    "sin",
    "cos",
    "tan",
    "arctan",
    "arccos",
    "arg",
    "dim",
    "ker",
)
_SYMBOLS = {f"\\{name}": name for name in _GREEK.split()} | {
    r"\epsilon": "epsilon.alt",
    r"\varepsilon": "epsilon",
    r"\phi": "phi.alt",
    r"\varphi": "phi",
    r"\top": "top",
    r"\nabla": "nabla",
    r"\partial": "partial",
    r"\infty": "infinity",
    r"\ell": "ell",
    r"\cdot": "dot.op",
    r"\circ": "compose",
    r"\odot": "dot.o",
    r"\otimes": "times.o",
    r"\times": "times",
    r"\star": "star.op",
    r"\pm": "plus.minus",
    r"\mp": "minus.plus",
    r"\le": "lt.eq",
    r"\leq": "lt.eq",
    r"\ge": "gt.eq",
    r"\geq": "gt.eq",
    r"\ne": "eq.not",
    r"\neq": "eq.not",
    r"\approx": "approx",
    r"\sim": "tilde.op",
    r"\equiv": "equiv",
    r"\propto": "prop",
    r"\prec": "prec",
    r"\succ": "succ",
    r"\preceq": "prec.eq",
    r"\succeq": "succ.eq",
    r"\in": "in",
    r"\notin": "in.not",
    r"\subset": "subset",
    r"\cup": "union",
    r"\cap": "inter",
    r"\forall": "forall",
    r"\exists": "exists",
    r"\wedge": "and",
    r"\vee": "or",
    r"\neg": "not",
    r"\to": "arrow.r",
    r"\mapsto": "arrow.r.bar",
    r"\leftarrow": "arrow.l",
    r"\rightarrow": "arrow.r",
    r"\Rightarrow": "arrow.r.double",
    r"\Leftrightarrow": "arrow.l.r.double",
    r"\iff": "arrow.l.r.double.long",
    r"\implies": "arrow.r.double.long",
    r"\Longrightarrow": "arrow.r.double.long",
    r"\sum": "sum",
    r"\prod": "product",
    r"\int": "integral",
    r"\ldots": "dots.h",
    r"\cdots": "dots.h.c",
    r"\dots": "dots.h",
    r"\mid": "bar.v",
    r"\vert": "bar.v",
    r"\lvert": "bar.v",
    r"\rvert": "bar.v",
    r"\prime": "prime",
    r"\quad": "quad",
    r"\qquad": "wide",
    r"\,": "thin",
    r"\:": "med",
    r"\;": "thick",
    r"\!": "#h(-0.1667em)",
    r"\ ": "space",
    **{f"\\{name}": name for name in _OPERATORS},
}
_DELIMITERS = {
    "(": "paren.l",
    ")": "paren.r",
    "[": "bracket.l",
    "]": "bracket.r",
    r"\{": "brace.l",
    r"\}": "brace.r",
    "|": "bar.v",
    r"\lvert": "bar.v",
    r"\rvert": "bar.v",
    r"\lVert": "bar.v.double",
    r"\rVert": "bar.v.double",
    r"\|": "bar.v.double",
    r"\langle": "chevron.l",
    r"\rangle": "chevron.r",
    r"\lfloor": "floor.l",
    r"\rfloor": "floor.r",
}
_CHARACTERS = {",": "comma", ";": "semi", ":": "colon", "/": "slash", "*": "ast.op", "~": "space", "'": "prime"}
_ACCENTS = {
    r"\dot": "dot",
    r"\ddot": "dot.double",
    r"\bar": "macron",
    r"\hat": "hat",
    r"\widehat": "hat",
    r"\tilde": "tilde",
    r"\widetilde": "tilde",
    r"\overline": "overline",
    r"\sqrt": "sqrt",
    r"\mathbb": "bb",
    r"\mathcal": "cal",
}
_MATRICES = {"pmatrix": '"("', "bmatrix": '"["', "matrix": "#none", "vmatrix": '"|"'}
_SIZES = {r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr", r"\biggl", r"\biggr"}
_STYLES = {r"\displaystyle", r"\textstyle"}


_EMPTY = '""'


def to_typst(latex: str) -> str:
    """Translate a LaTeX formula (without dollars) to typst mathematics (without dollars).

    Raises ``InputError`` naming the first command, environment or brace that is not understood.
    """
    return _Parser(latex).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = [token for token in _TOKEN.findall(source) if not token.isspace()]
        self.raw = _TOKEN.findall(source)
        self.at = 0

    def fail(self, what: str) -> InputError:
        return InputError("latex", self.source, what)

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise self.fail("ends too early")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.peek() != token:
            raise self.fail(f"expected {token} but found {self.peek() or 'the end'}")
        self.at += 1

    def whole(self) -> str:
        text = self.sequence(lambda token: token == "")
        if self.at != len(self.tokens):
            raise self.fail(f"has a stray {self.peek()}")
        return text

    def sequence(self, stop: Callable[[str], bool]) -> str:
        """Translate items until ``stop`` accepts the next token, which is left standing."""
        parts: list[str] = []
        while not stop(self.peek()):
            if self.peek() in {"", "}", r"\right", r"\end"}:
                raise self.fail(f"has an unexpected {self.peek() or 'end'}")
            parts.append(self.item())
        return " ".join(filter(None, parts)) or '""'

    def item(self) -> str:
        """Translate an atom with its scripts."""
        base = self.atom()
        scripts: dict[str, str] = {}
        primes = 0
        while self.peek() in {"^", "_", "'", r"\limits"}:
            token = self.take()
            if token == r"\limits":
                base = f"limits({base})"
            elif token == "'":
                primes += 1
            else:
                place = "t" if token == "^" else "b"
                if place in scripts:
                    raise self.fail("has a double script")
                scripts[place] = self.argument()
        if primes:
            scripts["t"] = " ".join(["prime"] * primes + ([scripts["t"]] if "t" in scripts else []))
        if not scripts:
            return base
        placed = ", ".join(f"{place}: {script}" for place, script in sorted(scripts.items()))
        return f"attach({base or _EMPTY}, {placed})"

    def argument(self) -> str:
        """Translate a braced group, or a single atom: of an unbraced number only the first digit, as in LaTeX."""
        if self.peek() == "{":
            return self.group()
        number = self.peek()
        if number[:1].isdigit() and len(number) > 1:
            self.raw[self._raw_index()] = number[1:]
            self.tokens[self.at] = number[1:]
            return number[0]
        return self.atom()

    def group(self) -> str:
        self.expect("{")
        text = self.sequence(lambda token: token == "}")
        self.expect("}")
        return text

    def words(self) -> str:
        """Return the literal text of a braced group, spaces kept."""
        self.expect("{")
        # Spaces matter here and nowhere else: read them off the raw tokens between the braces.
        start = self._raw_index()
        end = start
        while end < len(self.raw) and self.raw[end] != "}":
            if self.raw[end] == "{":
                raise self.fail("has braces inside text")
            end += 1
        if end == len(self.raw):
            raise self.fail("has an unclosed text")
        inside = self.raw[start:end]
        self.at += sum(not token.isspace() for token in inside)
        self.expect("}")
        return "".join(token[1:] if re.fullmatch(r"\\[^a-zA-Z]", token) else token for token in inside)

    def _raw_index(self) -> int:
        seen = 0
        for index, token in enumerate(self.raw):
            if seen == self.at:
                return index
            seen += not token.isspace()
        return len(self.raw)

    def atom(self) -> str:
        token = self.take()
        if token == "{":
            self.at -= 1
            return f"{self.group()}"
        if token in {r"\lVert", r"\|"}:
            closing = r"\rVert" if token == r"\lVert" else r"\|"
            inside = self.sequence(lambda following: following == closing)
            self.expect(closing)
            return f"norm({inside})"
        if token == r"\left":
            return self.delimited()
        if token in _SYMBOLS:
            return _SYMBOLS[token]
        if token in _SIZES or token in _STYLES:
            return self.atom() if token in _SIZES else ""
        if token in _DELIMITERS:
            return _DELIMITERS[token]
        if token in _CHARACTERS:
            return _CHARACTERS[token]
        if token.startswith("\\"):
            return self.command(token)
        if token in {"^", "_"}:
            self.at -= 1
            return ""
        if token in {"}", "&", "#", "$", "%", '"', "`"}:
            raise self.fail(f"has an unexpected {token}")
        return token

    def delimited(self) -> str:
        opening = self.fence()
        inside = self.sequence(lambda token: token == r"\right")
        self.expect(r"\right")
        closing = self.fence()
        return f"lr({opening} {inside} {closing})"

    def fence(self) -> str:
        token = self.take()
        if token == ".":
            return ""
        if token not in _DELIMITERS:
            raise self.fail(f"has no delimiter {token}")
        return _DELIMITERS[token]

    def command(self, token: str) -> str:
        if token in _ACCENTS:
            return f"{_ACCENTS[token]}({self.argument()})"
        match token:
            case r"\frac" | r"\dfrac":
                return f"frac({self.argument()}, {self.argument()})"
            case r"\tfrac":
                return f"inline(frac({self.argument()}, {self.argument()}))"
            case r"\operatorname":
                return f"op({_quoted(self.words())})"
            case r"\mathrm":
                return f"upright({_quoted(self.words())})"
            case r"\mathbf":
                return f"bold(upright({self.argument()}))"
            case r"\text":
                return _quoted(self.words())
            case r"\underbrace":
                body = self.argument()
                if self.peek() != "_":
                    return f"underbrace({body})"
                self.expect("_")
                return f"underbrace({body}, {self.argument()})"
            case r"\begin":
                return self.environment(self.words())
            case _:
                raise self.fail(f"uses {token}, which is not part of the subset")

    def environment(self, name: str) -> str:
        if name not in {*_MATRICES, "cases", "aligned"}:
            raise self.fail(f"uses the environment {name}, which is not part of the subset")
        rows: list[list[str]] = [[]]
        while True:
            rows[-1].append(self.sequence(lambda token: token in {"&", r"\\", r"\end"}))
            match self.take():
                case "&":
                    continue
                case r"\\":
                    if self.peek() == r"\end":
                        self.take()
                        break
                    rows.append([])
                case _:
                    break
        if self.words() != name:
            raise self.fail(f"does not close the environment {name}")
        if name == "aligned":
            return r" \ ".join(" & ".join(row) for row in rows)
        if name == "cases":
            return f"cases({', '.join(' & '.join(row) for row in rows)})"
        return f"mat(delim: {_MATRICES[name]}, {'; '.join(', '.join(row) for row in rows)})"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
