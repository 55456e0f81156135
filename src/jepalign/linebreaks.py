"""Breaking long displayed formulas: before relations first, then before signs of a sum, never inside a fraction."""

import re

LINE = 62.0  # a line of the narrowest page, in widths of a digit
_TOKEN = re.compile(r"\\(?:left|right|bigl|bigr)\s*(?:\\[a-zA-Z{}|]+|.)|\\[a-zA-Z]+|\\.|[{}]|\s+|.", re.DOTALL)
_LEVELS = (
    {r"\Longrightarrow", r"\Longleftrightarrow", r"\iff", r"\text"},
    {r"\wedge", r"\vee", r"\Leftrightarrow", r"\Rightarrow"},
    {"=", "<", ">", r"\succeq", r"\preceq", r"\le", r"\ge", r"\leq", r"\geq", r"\neq"},
    {"+", "-"},
)
_BARE = ("( ", ") ")  # with a space, so that they do not count as a group
_OPEN, _CLOSE = {"{", "(", "["}, {"}", ")", "]"}
_LEFT, _RIGHT = (
    (r"\left(", r"\left[", r"\left\\", r"\left|", r"\bigl"),
    (r"\right)", r"\right]", r"\right\\", r"\right|", r"\bigr"),
)
_ENDS = re.compile(r"^(?:\s|\\quad\b|\\qquad\b|\\;)+|(?:\s|\\quad\b|\\qquad\b|\\;)+$")
_SPACES = {r"\quad": 2.0, r"\qquad": 4.0, r"\,": 0.35, r"\;": 0.55, r"\:": 0.45, r"\!": -0.35, r"\ ": 0.5}
_WORDS = {r"\operatorname", r"\text", r"\mathrm", r"\mathbb", r"\mathbf", r"\mathcal"}
_WIDE = {
    r"\sum": 2.2,
    r"\int": 1.6,
    r"\prod": 2.2,
    r"\Longrightarrow": 4.5,
    r"\Longleftrightarrow": 4.5,
    r"\Leftrightarrow": 3.5,
}
_NOTHING = {r"\limits", r"\displaystyle", r"\textstyle", r"\nolimits"}


def _group(tokens: list[str], at: int) -> tuple[list[str], int]:
    """Return the tokens of the argument that starts at ``at``, without its braces, and where it ends."""
    while at < len(tokens) and tokens[at].isspace():
        at += 1
    if at >= len(tokens) or tokens[at] != "{":
        return tokens[at : at + 1], at + 1
    depth, end = 0, at
    while end < len(tokens):
        depth += (tokens[end] == "{") - (tokens[end] == "}")
        end += 1
        if depth == 0:
            break
    return tokens[at + 1 : end - 1], end


def _width(tokens: list[str]) -> float:
    total, at = 0.0, 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token in {r"\frac", r"\dfrac", r"\tfrac", r"\binom"}:
            upper, at = _group(tokens, at)
            lower, at = _group(tokens, at)
            total += max(_width(upper), _width(lower)) * (0.75 if token == r"\tfrac" else 1.0) + 0.5
        elif token in {"^", "_"}:
            inner, at = _group(tokens, at)
            total += 0.7 * _width(inner)
        elif token == r"\sqrt":
            inner, at = _group(tokens, at)
            total += _width(inner) + 1.5
        elif token in _WORDS:
            inner, at = _group(tokens, at)
            total += len("".join(inner)) * 0.95 + 0.3
        elif token.startswith((r"\left", r"\right", r"\bigl", r"\bigr")) and len(token) > 5:
            total += 0.9
        elif any(token in marks for marks in _LEVELS[1:]):
            total += _WIDE.get(token, 2.2)
        elif (
            token.startswith("\\")
            and len(token) > 2
            and token[1:].isalpha()
            and token[1:] in {"log", "exp", "det", "max", "min", "sin", "cos"}
        ):
            total += len(token) - 1 + 0.3
        elif token in _SPACES:
            total += _SPACES[token]
        elif token not in "{}" and not token.isspace() and token not in _NOTHING:
            total += _WIDE.get(token, 1.1 if token[0] != "," else 0.9)
    return total


def width(latex: str) -> float:
    """Return about how wide a formula is, in widths of a digit."""
    return _width(_TOKEN.findall(latex))


def _pieces(tokens: list[str], level: int) -> list[list[str]]:
    """Cut at the marks of a level that stand outside every group and every pair of delimiters; a comma stays before the cut."""
    pieces: list[list[str]] = [[]]
    depth = 0
    operand = False  # whether something stands before, so that a sign is no prefix
    after_comma = False
    for token in tokens:
        blank = token.isspace() or token in _SPACES
        if depth == 0 and not blank and (after_comma or (operand and token in _LEVELS[level])):
            pieces.append([])
        after_comma = depth == 0 and ((level == 0 and token == ",") or (after_comma and blank))
        pieces[-1].append(token)
        depth += token in _OPEN or token.startswith(_LEFT)
        depth -= token in _CLOSE or token.startswith(_RIGHT)
        if not blank:
            operand = not any(token in marks for marks in _LEVELS) and token != ","
    return [piece for piece in pieces if piece]


def _opened(piece: list[str]) -> list[str]:
    """Take the widest outer pair of stretching parentheses for plain characters, between which a line may end."""
    stack: list[int] = []
    pairs: list[tuple[int, int]] = []
    depth = 0
    for at, token in enumerate(piece):
        depth += (token == "{") - (token == "}")
        if re.fullmatch(r"\\left\s*[(\[]", token):
            stack.append(at if depth == 0 else -1)
        elif token.startswith(r"\left"):
            stack.append(-1)
        elif token.startswith(r"\right") and stack:
            start = stack.pop()
            if start >= 0 and not stack:
                pairs.append((start, at))
    if not pairs:
        return piece
    start, end = max(pairs, key=lambda pair: _width(piece[pair[0] : pair[1]]))
    opened = list(piece)
    opened[start : start + 1], opened[end : end + 1] = [_BARE[0]], [_BARE[1]]
    return opened


def _lines(tokens: list[str], room: float, level: int = 0) -> list[list[str]]:
    """Break at the strongest marks there are, and what is still too long at weaker ones."""
    if _width(tokens) <= room:
        return [tokens]
    if level == len(_LEVELS):
        opened = _opened(tokens)
        return [tokens] if opened == tokens else _lines(opened, room, level - 1)
    lines: list[list[str]] = [[]]
    for piece in _pieces(tokens, level):
        if _width(lines[-1]) + _width(piece) <= room:
            lines[-1] = lines[-1] + piece
            continue
        parts = _lines(piece, room, level + 1)
        if lines[-1] and _width(lines[-1]) + _width(parts[0]) <= room:
            lines[-1] = lines[-1] + parts.pop(0)
        lines += parts
    return [line for line in lines if line]


def broken(latex: str, line: float = LINE) -> str:
    """Return the formula, as an ``aligned`` block of several lines if one line would not hold it.

    A formula that has its own environment is left alone.
    """
    if r"\begin" in latex or width(latex) <= line:
        return latex
    rows = [_ENDS.sub("", "".join(row)) for row in _lines(_TOKEN.findall(latex), line - 3)]
    first, *others = filter(None, rows)
    if not others:
        return latex
    return r"\begin{aligned} & " + first + "".join(rf" \\ & \qquad {row}" for row in others) + r" \end{aligned}"
