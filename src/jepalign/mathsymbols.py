"""The vocabulary of the mathematics: what each LaTeX command of the subset is called in typst."""

_GREEK = (
    "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_OPERATORS = (
    "log ln exp det min max sup inf lim sin cos tan sinh cosh tanh arcsin arccos arctan arg dim ker"  # same names
)

SYMBOLS = {
    **{f"\\{name}": name for name in _GREEK.split()},
    **{f"\\{name}": name for name in _OPERATORS.split()},
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
    # A relation in LaTeX; typst's MathML keeps explicit space only.
    r"\mid": "thick bar.v thick",
    r"\vert": "bar.v",
    r"\prime": "prime",
    r"\quad": "quad",
    r"\qquad": "wide",
    r"\,": "thin",
    r"\:": "med",
    r"\;": "thick",
    r"\!": "#h(-0.1667em)",
    r"\ ": "#h(0.333em)",
    r"\%": "percent",
    r"\#": "hash",
    r"\&": "amp",
    r"\_": "\\_",
    r"\$": "dollar",
}

DELIMITERS = {
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

# Commands that enlarge the one delimiter after them, and by how much.
SIZES = {
    **dict.fromkeys((r"\big", r"\bigl", r"\bigr"), "1.2em"),
    **dict.fromkeys((r"\Big", r"\Bigl", r"\Bigr"), "1.8em"),
    **dict.fromkeys((r"\bigg", r"\biggl", r"\biggr"), "2.4em"),
}

# Commands in force until the end of the group.
STYLES = {r"\displaystyle": "display", r"\textstyle": "inline"}

CHARACTERS = {",": "comma", ";": "semi", ":": "colon", "/": "slash", "*": "ast.op", "~": "#h(0.333em)"}
LITERAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-=<>!?.")

# Commands of one argument that are a function of one argument in typst as well.
FUNCTIONS = {
    r"\dot": "dot",
    r"\ddot": "dot.double",
    r"\bar": "macron",
    r"\hat": "hat",
    r"\widehat": "hat",
    r"\tilde": "tilde",
    r"\widetilde": "tilde",
    r"\overline": "overline",
    r"\mathbb": "bb",
    r"\mathcal": "cal",
}

MATRICES = {"pmatrix": '"("', "bmatrix": '"["', "matrix": "#none", "vmatrix": '"|"'}
