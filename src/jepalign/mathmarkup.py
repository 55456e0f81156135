"""LaTeX mathematics to typst: a recursive-descent translator of the subset that this package writes.

Anything outside the subset is an ``InputError`` that names it: nothing is dropped silently. What is accepted also
compiles in LaTeX with amsmath and amssymb, so that one source serves the paper, the PDF and the page.
"""

import re

from jepalign.errors import InputError
from jepalign.mathsymbols import CHARACTERS, DELIMITERS, FUNCTIONS, LITERAL, MATRICES, SIZES, STYLES, SYMBOLS

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)
_DEPTH = 60  # groups within groups; formulas stay in single digits, and typst and Python have limits of their own
_EMPTY = "#none"


def to_typst(latex: str) -> str:
    """Translate a LaTeX formula (without dollars) to typst mathematics (without dollars).

    Raises ``InputError`` naming the first command, environment, character or brace that is not understood.
    """
    return _Parser(latex).whole()


def _joined(parts: list[str]) -> str:
    """Put spaces between parts, except beside quoted text: there typst would typeset them, and LaTeX does not."""
    text = ""
    for part in filter(None, parts):
        text += part if not text or text.endswith('"') or part.startswith('"') else f" {part}"
    return text or _EMPTY


def _quoted(text: str) -> str:
    if not text:
        return _EMPTY
    # Browsers trim the ends of MathML text, so that spaces there must not be ordinary ones.
    text = re.sub("^ +| +$", lambda ends: "\u00a0" * len(ends.group()), text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens: list[str] = _TOKEN.findall(source)
        self.at = 0
        self.depth = 0

    # -- tokens -----------------------------------------------------------------------------------------------------------

    def fail(self, what: str) -> InputError:
        return InputError("latex", self.source, what)

    def peek(self) -> str:
        """Return the next token that is not space, or "" at the end."""
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
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

    # -- sequences and scripts --------------------------------------------------------------------------------------------

    def whole(self) -> str:
        if self.peek() == r"\begin":  # only here does "aligned" spread over the lines of the display
            start = self.at
            self.take()
            if self.words() == "aligned":
                rows = self.rows("aligned")
                if not self.peek():
                    return r" \ ".join(" & ".join(row) for row in rows)
            self.at = start
        return self.sequence("")

    def sequence(self, *stops: str) -> str:
        """Translate items until one of ``stops`` is next, which is left standing."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise self.fail(f"is nested more than {_DEPTH} deep")
        parts: list[str] = []
        while (token := self.peek()) not in stops:
            if token in {"", "}", r"\right", r"\end"}:
                raise self.fail(f"has an unexpected {token or 'end'}")
            if token in STYLES:
                self.take()
                parts.append(f"{STYLES[token]}({self.sequence(*stops)})")
            else:
                parts.append(self.item())
        self.depth -= 1
        return _joined(parts)

    def item(self) -> str:
        """Translate an atom with its scripts."""
        base = _EMPTY if self.peek() in {"^", "_", "'"} else self.atom()
        scripts: dict[str, str] = {}
        primes = 0
        while self.peek() in {"^", "_", "'", r"\limits"}:
            token = self.take()
            if token == r"\limits":
                if scripts or primes:
                    raise self.fail(r"has \limits after a script")
                base = f"limits({base})"
                continue
            place = "b" if token == "_" else "t"
            if place in scripts:
                raise self.fail("has a double script")
            if token == "'":
                primes += 1
            else:
                scripts[place] = self.argument()
        if primes:
            scripts["t"] = _joined([*["prime"] * primes, scripts.get("t", "")])
        if not scripts:
            return base
        placed = ", ".join(f"{place}: {script}" for place, script in sorted(scripts.items()))
        return f"attach({base}, {placed})"

    def argument(self) -> str:
        """Translate a braced group, or a single atom: of an unbraced number only the first digit, as in LaTeX."""
        token = self.peek()
        if token == "{":
            return self.group()
        if token[:1].isdigit() and len(token) > 1:
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        if token in {"", "^", "_", "'", "&", r"\\", r"\limits"}:
            raise self.fail(f"has {token or 'the end'} where an argument must stand")
        return self.atom()

    def group(self) -> str:
        self.expect("{")
        text = self.sequence("}")
        self.expect("}")
        return text

    def words(self) -> str:
        """Return the literal text of a braced group, spaces kept."""
        self.expect("{")
        text = ""
        while True:
            if self.at == len(self.tokens):
                raise self.fail("has a text that is not closed")
            token = self.tokens[self.at]
            self.at += 1
            if token == "}":
                return text
            escaped = re.fullmatch(r"\\([%#&_$, ])", token)
            if escaped is None and (token[0] in "\\{$#%&_^~`" or not token.isascii()):
                raise self.fail(f"has {token} inside a text")
            text += escaped.group(1).replace(",", " ") if escaped else token

    # -- atoms ------------------------------------------------------------------------------------------------------------

    def atom(self) -> str:
        token = self.take()
        if token == "{":
            self.at -= 1
            return self.group()
        if token in {r"\lVert", r"\|"}:
            closing = r"\rVert" if token == r"\lVert" else token
            inside = self.sequence(closing)
            self.expect(closing)
            return f"norm({inside})"
        for table in (SYMBOLS, DELIMITERS, CHARACTERS):
            if token in table:
                return table[token]
        if token in LITERAL or (token.isascii() and token[0].isdigit()):
            return token
        if token.startswith("\\"):
            return self.command(token)
        raise self.fail(f"has an unexpected {token}")

    def fence(self) -> str:
        token = self.take()
        if token not in DELIMITERS:
            raise self.fail(f"has no delimiter {token}")
        return DELIMITERS[token]

    def side(self) -> str:
        r"""Translate what follows ``\left`` or ``\right``: a delimiter, or a dot for none."""
        if self.peek() == ".":
            self.take()
            return ""
        return self.fence()

    def command(self, token: str) -> str:
        if token in FUNCTIONS:
            return f"{FUNCTIONS[token]}({self.argument()})"
        if token in SIZES:
            return f"lr(size: #{SIZES[token]}, {self.fence()})"
        match token:
            case r"\frac":
                return f"frac({self.argument()}, {self.argument()})"
            case r"\dfrac":
                return f"display(frac({self.argument()}, {self.argument()}))"
            case r"\tfrac":
                return f"inline(frac({self.argument()}, {self.argument()}))"
            case r"\sqrt":
                if self.peek() != "[":
                    return f"sqrt({self.argument()})"
                self.expect("[")
                index = self.sequence("]")
                self.expect("]")
                return f"root({index}, {self.argument()})"
            case r"\left":
                opening, inside = self.side(), self.sequence(r"\right")
                self.expect(r"\right")
                return f"lr({_joined([opening, inside, self.side()])})"
            case r"\operatorname":
                limits = self.peek() == "*"
                if limits:
                    self.take()
                return f"op({_quoted(self.words())}{', limits: #true' if limits else ''})"
            case r"\mathrm" | r"\text":
                return _quoted(self.words())
            case r"\mathbf":
                return f"bold(upright({self.argument()}))"
            case r"\underbrace":
                body = self.argument()
                if self.peek() != "_":
                    return f"underbrace({body})"
                self.take()
                return f"underbrace({body}, {self.argument()})"
            case r"\begin":
                return self.environment(self.words())
            case _:
                raise self.fail(f"uses {token}, which is not part of the subset")

    # -- environments -----------------------------------------------------------------------------------------------------

    def environment(self, name: str) -> str:
        # typst shrinks the cells of a matrix within a text; LaTeX does not.
        style = "display" if name == "aligned" else "inline"
        rows = [[f"{style}({cell})" for cell in row] for row in self.rows(name)]
        if name == "cases":
            return f"cases({', '.join(' quad & '.join(row) for row in rows)})"
        if name == "aligned":
            return f"mat(delim: #none, {'; '.join(' & '.join(row) for row in rows)})"
        return f"mat(delim: {MATRICES[name]}, {'; '.join(', '.join(row) for row in rows)})"

    def rows(self, name: str) -> list[list[str]]:
        r"""Translate the cells of an environment up to and with its ``\end``."""
        if name not in {*MATRICES, "cases", "aligned"}:
            raise self.fail(f"uses the environment {name}, which is not part of the subset")
        rows: list[list[str]] = [[]]
        while True:
            rows[-1].append(self.sequence("&", r"\\", r"\end"))
            token = self.take()
            if token == r"\\" and self.peek() == "[":
                raise self.fail(r"has an optional argument after \\, which is not part of the subset")
            if token == r"\\" and self.peek() != r"\end":
                rows.append([])
            elif token != "&":
                if token == r"\\":
                    self.take()
                break
        if self.words() != name:
            raise self.fail(f"does not close the environment {name}")
        return rows
