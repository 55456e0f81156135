"""Broken formulas: nothing lost, no line too long where there is a mark to break at, stronger marks first."""

import re

import pytest

from jepalign.linebreaks import LINE, broken, width
from jepalign.mathmarkup import to_typst
from jepalign.theory.catalogue import NAMES, find

FORMULAS = sorted({step.claim.latex() for theorem in map(find, NAMES) for step in (*theorem.proof, *theorem.said)})
LONG = [formula for formula in FORMULAS if broken(formula) != formula]


def rows(formula: str) -> list[str]:
    inside = formula.removeprefix(r"\begin{aligned} & ").removesuffix(r" \end{aligned}")
    return inside.split(r" \\ & \qquad ")


def bare(formula: str) -> str:
    return re.sub(r"\\left(?=[(\[])|\\right(?=[)\]])|\\quad|\\qquad|\\;|\s", "", formula)


def test_there_are_long_formulas_to_break() -> None:
    assert len(LONG) > 10


@pytest.mark.parametrize("formula", LONG, ids=range(len(LONG)))
def test_nothing_is_lost_and_every_line_fits(formula: str) -> None:
    lines = rows(broken(formula))
    assert len(lines) > 1
    assert bare("".join(lines)) == bare(formula)
    assert all(width(line) <= LINE or broken(line, LINE - 3) == line for line in lines)  # or there is no mark left
    assert to_typst(broken(formula))


def test_short_formulas_and_environments_are_left_alone() -> None:
    assert broken("a = b") == "a = b"
    matrix = r"\begin{pmatrix} " + " + ".join("a" * 40) + r" \end{pmatrix}"
    assert broken(matrix) == matrix
    assert broken("a" * 100) == "a" * 100  # no mark to break at


@pytest.mark.parametrize(
    ("formula", "second"),
    [
        (r"aaaaaaaa = bbbb, \; cccc + dddd \quad\Longrightarrow\quad eeee = ffff", r"\Longrightarrow\quad eeee = ffff"),
        (r"aaaaaaaaaaaaaa + bbbbbbb = cccccccccc - ddddddddd", "= cccccccccc - ddddddddd"),
        (r"aaaaaaaaaaaaaaaaaaaaa - \frac{b + c}{d = e} + ffffffff", "+ ffffffff"),
        (r"aaaaaaaaaaaa > 0, \; bbbbbbbbbbbbb = 0, \; cc", r"bbbbbbbbbbbbb = 0, \; cc"),
        (r"aaaaaaaaaaaaaaaaaaaaaaaaa = -bbb - ccccccccccc", "= -bbb - ccccccccccc"),
        (r"a = \left(bbbbbbbbbbbbbbbbbbbb + cccccccccccccccccccc\right)", "+ cccccccccccccccccccc)"),
    ],
    ids=[
        "implication",
        "relation before sum",
        "not in a fraction",
        "after a comma",
        "a prefix is no sum",
        "in parentheses",
    ],
)
def test_where_lines_end(formula: str, second: str) -> None:
    assert rows(broken(formula, 34))[1].strip() == second


def test_width_grows_with_what_is_seen() -> None:
    assert width(r"\frac{a}{b}") < width("a b c d")
    assert width("x^{2}") < width("x 2")
    assert width(r"\operatorname{tr} A") < width(r"\operatorname{diagonal} A")
    assert width("") == 0
