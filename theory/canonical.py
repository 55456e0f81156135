"""From SymPy's expressions to forms: the one place that knows which nodes there are."""

from collections.abc import Mapping
from typing import Any, cast

import sympy as sp
from sympy.matrices.expressions.matexpr import MatrixExpr

from jepalign.theory.expressions import Named, SpectralFunction, StopGradient, SymmetricSymbol
from jepalign.theory.forms import (
    CalculusError,
    Form,
    Letter,
    identity_form,
    inverse,
    logdet_form,
    of_letter,
    scalar,
    spectral_letter,
    symbol_letter,
)


def canonical(expression: Any) -> Form:
    """Bring a SymPy scalar or matrix expression into canonical form.

    Raises ``CalculusError`` for nodes the calculus does not know and for shapes that do not fit.
    """
    if isinstance(expression, MatrixExpr):
        return _canonical_matrix(expression)
    return _canonical_scalar(cast("sp.Expr", sp.sympify(expression)))


def _canonical_matrix(node: Any) -> Form:
    rows, columns = cast("tuple[Any, Any]", node.shape)
    match node:
        case sp.MatrixSymbol():
            return of_letter(symbol_letter(node))
        case Named():
            return _canonical_matrix(node.body)
        case StopGradient():
            return freeze(_canonical_matrix(node.body), frozen=True)
        case SpectralFunction():
            return of_letter(spectral_letter(node.name, node.order, _canonical_matrix(node.argument)))
        case sp.Identity():
            return identity_form(rows)
        case sp.ZeroMatrix():
            return Form(rows, columns)
        case sp.Transpose():
            return _canonical_matrix(node.arg).transpose()
        case sp.Inverse():
            return inverse(_canonical_matrix(node.arg))
        case sp.MatPow():
            base, exponent = cast("tuple[MatrixExpr, sp.Expr]", node.args)
            if not exponent.is_Integer:
                raise CalculusError(f"{node}: only integer powers")
            form = _canonical_matrix(base)
            form = inverse(form) if int(cast("sp.Integer", exponent)) < 0 else form
            result = identity_form(rows)
            for _ in range(abs(int(cast("sp.Integer", exponent)))):
                result = result.times(form)
            return result
        case sp.MatAdd():
            total = Form(rows, columns)
            for part in node.args:
                total = total.plus(_canonical_matrix(part))
            return total
        case sp.MatMul():
            product = scalar(1)
            for part in node.args:
                product = product.times(canonical(part))
            return product
        case _:
            raise CalculusError(f"{type(node).__name__} is not part of the calculus: {node}")


def _canonical_scalar(node: Any) -> Form:
    match node:
        case sp.Trace():
            return _canonical_matrix(node.arg).trace()
        case sp.Add():
            total = scalar(0)
            for part in node.args:
                total = total.plus(_canonical_scalar(part))
            return total
        case sp.Mul():
            product = scalar(1)
            for part in node.args:
                product = product.times(_canonical_scalar(part))
            return product
        case sp.Pow() if node.has(MatrixExpr):
            base, exponent = node.args
            if not (exponent.is_Integer and exponent.is_positive):
                raise CalculusError(f"{node}: a trace may only be raised to a positive integer power")
            factor, result = _canonical_scalar(base), scalar(1)
            for _ in range(int(cast("sp.Integer", exponent))):
                result = result.times(factor)
            return result
        case sp.log() if isinstance(node.args[0], sp.Determinant):
            return logdet_form(_canonical_matrix(node.args[0].arg))
        case _ if node.has(MatrixExpr):
            raise CalculusError(f"{type(node).__name__} is not part of the calculus: {node}")
        case _:
            return scalar(node)


def freeze(form: Form, *, frozen: bool) -> Form:
    """Put every letter of a form under a stop-gradient, or take all of them out."""

    def image(letter: Letter) -> Form | None:
        if letter.symbol is not None:
            return of_letter(symbol_letter(letter.symbol, transposed=letter.transposed, frozen=frozen))
        inner = freeze(cast("Form", letter.inner), frozen=frozen)
        return inverse(inner) if letter.spectral is None else of_letter(spectral_letter(*letter.spectral, inner))

    return form.map_letters(image)


def substitute(form: Form, images: Mapping[sp.MatrixSymbol, Form]) -> Form:
    """Replace matrix symbols by forms of the same shape, frozen or not; symmetric ones by symmetric forms."""

    def image(letter: Letter) -> Form | None:
        if letter.symbol is None:
            inner = substitute(cast("Form", letter.inner), images)
            return inverse(inner) if letter.spectral is None else of_letter(spectral_letter(*letter.spectral, inner))
        new = images.get(letter.symbol)
        if new is None:
            return None
        if (new.rows, new.columns) != cast("tuple[Any, Any]", letter.symbol.shape):
            raise CalculusError(f"{letter.symbol} is {letter.symbol.shape}, its image {new.rows} × {new.columns}")
        if isinstance(letter.symbol, SymmetricSymbol) and new.transpose().key != new.key:
            raise CalculusError(f"{letter.symbol} is symmetric, its image is not")
        return new.transpose() if letter.transposed else new

    return form.map_letters(image)
