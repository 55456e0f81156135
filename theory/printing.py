"""LaTeX of expressions, as the field writes them: transposes as ⊤, traces as tr, repulsion after attraction."""

from typing import Any, cast

import sympy as sp
from sympy.matrices.expressions.matexpr import MatrixExpr
from sympy.printing.latex import LatexPrinter

from jepalign.theory.expressions import Named, SpectralFunction, StopGradient


class _Printer(LatexPrinter):
    """SymPy's printer with this package's nodes and the field's notation."""

    def _print_SymmetricSymbol(self, node: Any) -> str:
        return self._print_MatrixSymbol(node)

    def _print_MatrixSymbol(self, expr: Any) -> str:
        return sp.latex(sp.Symbol(expr.name)) if "\\" not in expr.name else cast("str", expr.name)

    def _print_StopGradient(self, node: StopGradient) -> str:
        return rf"\operatorname{{sg}}({self._print(node.body)})"

    def _print_Named(self, node: Named) -> str:
        return node.name

    def _print_SpectralFunction(self, node: SpectralFunction) -> str:
        name = node.name if node.order == 0 else node.name.upper()
        return rf"{name}({self._print(node.argument)})"

    def _print_Identity(self, I: Any) -> Any:  # noqa: E741 (the parameter's name in SymPy)
        return "I"

    def _print_ZeroMatrix(self, Z: Any) -> Any:
        return "0"

    def _print_Transpose(self, expr: Any) -> str:
        inner = self._print(expr.arg)
        simple = isinstance(expr.arg, (sp.MatrixSymbol, StopGradient, Named))
        return rf"{inner}^{{\top}}" if simple else rf"\left({inner}\right)^{{\top}}"

    def _print_Inverse(self, node: Any) -> str:
        inner = self._print(node.arg)
        return rf"{inner}^{{-1}}" if isinstance(node.arg, (sp.MatrixSymbol, Named)) else rf"\left({inner}\right)^{{-1}}"

    def _print_MatPow(self, expr: Any) -> str:
        inner = self._print(expr.base)
        simple = isinstance(expr.base, (sp.MatrixSymbol, Named))
        power = self._print(expr.exp)
        return rf"{inner}^{{{power}}}" if simple else rf"\left({inner}\right)^{{{power}}}"

    def _print_Trace(self, expr: Any) -> str:
        coefficient, factors = expr.arg.as_coeff_mmul() if isinstance(expr.arg, sp.MatMul) else (sp.S.One, expr.arg)
        if coefficient != 1:
            return self._print_Mul(sp.Mul(coefficient, sp.Trace(factors), evaluate=False))
        norm = _frobenius(expr.arg)
        if norm is not None:
            return rf"\lVert {self._print(norm)} \rVert^{{2}}"
        inner = self._print(expr.arg)
        simple = r"\left(" not in inner and not isinstance(expr.arg, sp.MatAdd) and not inner.startswith("-")
        return rf"\operatorname{{tr}} {inner}" if simple else rf"\operatorname{{tr}}\left({inner}\right)"

    def _print_Determinant(self, expr: Any) -> str:
        inner = self._print(expr.arg)
        return rf"\det {inner}" if isinstance(expr.arg, (sp.MatrixSymbol, Named)) else rf"\det\left({inner}\right)"

    def _print_log(self, expr: Any, exp: Any = None) -> str:
        if isinstance(expr.args[0], sp.Determinant):
            text = rf"\log {self._print(expr.args[0])}"
            return text if exp is None else rf"\left({text}\right)^{{{exp}}}"
        return super()._print_log(expr, exp=exp)

    def _print_WrightOmega(self, expr: Any) -> str:
        return rf"\omega\left({self._print(expr.args[0])}\right)"

    def _print_LambertUpper(self, expr: Any) -> str:
        return rf"W_{{0}}\left({self._print(expr.args[0])}\right)"

    def _print_LambertLower(self, expr: Any) -> str:
        return rf"W_{{-1}}\left({self._print(expr.args[0])}\right)"

    def _print_MatMul(self, expr: Any) -> str:
        coefficient, factors = expr.as_coeff_mmul()
        sign, coefficient = ("-", -coefficient) if coefficient.could_extract_minus_sign() else ("", coefficient)
        shown = factors.args if isinstance(factors, sp.MatMul) else (factors,)
        words = [rf"\left({self._print(f)}\right)" if isinstance(f, sp.MatAdd) else self._print(f) for f in shown]
        if coefficient != 1:
            scalar = self._print(coefficient)
            words.insert(0, rf"\left({scalar}\right)" if isinstance(coefficient, sp.Add) else scalar)
        return sign + " ".join(words)

    def _print_MatAdd(self, node: Any) -> str:
        return self._sum(node.args)

    def _print_Add(self, expr: Any, order: Any = None) -> str:
        if expr.has(MatrixExpr):
            return self._sum(expr.args)
        return self._sum(self._as_ordered_terms(expr, order="rev-lex"))

    def _print_Rational(self, expr: Any) -> str:
        digits = str(expr.q)
        if expr.p == 1 and len(digits) > 6 and digits == "1" + "0" * (len(digits) - 1):
            return rf"10^{{-{len(digits) - 1}}}"
        return super()._print_Rational(expr)

    def _print_Pow(self, expr: Any) -> str:
        if not expr.has(MatrixExpr):
            return super()._print_Pow(expr)
        return rf"\left({self._print(expr.base)}\right)^{{{self._print(expr.exp)}}}"

    def _print_Mul(self, expr: Any) -> str:
        if not expr.has(MatrixExpr):
            return super()._print_Mul(expr)
        scalars = sp.Mul(*(part for part in expr.args if not part.has(MatrixExpr)))
        sign, scalars = ("-", -scalars) if scalars.could_extract_minus_sign() else ("", scalars)
        factors = [part for part in expr.args if part.has(MatrixExpr)]
        words = [
            rf"\left({self._print(part)}\right)" if isinstance(part, sp.Add) else self._print(part) for part in factors
        ]
        if scalars != 1:
            words.insert(0, self._print(scalars))
        return sign + r" \, ".join(words)

    def _sum(self, terms: Any) -> str:
        """Write positive terms before negative ones: attraction minus repulsion."""
        texts = [self._print(term) for term in terms]
        ordered = [t for t in texts if not t.startswith("-")] + [t for t in texts if t.startswith("-")]
        return "".join(
            t if i == 0 else (f" - {t[1:].lstrip()}" if t.startswith("-") else f" + {t}") for i, t in enumerate(ordered)
        )


def _frobenius(argument: Any) -> Any:
    """Return X if the argument of a trace is a product XᵀX, or XXᵀ (then the untransposed factor)."""
    if not isinstance(argument, sp.MatMul) or len(argument.args) % 2:
        return None
    half = len(argument.args) // 2
    left: Any = sp.MatMul(*argument.args[:half])
    right: Any = sp.MatMul(*argument.args[half:])
    if left.doit() != right.T.doit():
        return None
    first = right.doit()
    return left.doit() if isinstance(first, sp.Transpose) else first


_PRINTER = _Printer({"mul_symbol": None, "fold_short_frac": False})


def latex(expression: Any) -> str:
    """Return LaTeX for a SymPy scalar, matrix expression, comparison or connective."""
    return _PRINTER.doprint(expression)
