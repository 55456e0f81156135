"""The language in which results are written: SymPy's matrix expressions, and four nodes they lack.

SymPy checks shapes and prints LaTeX; what an expression *means* (equality, differential, value) is decided by
:mod:`jepalign.theory.calculus` and :mod:`jepalign.theory.exact`, never by SymPy's own simplifier, whose derivative of a
scaled sum of traces is silently wrong in 1.14.
"""

from typing import Any, cast

import sympy as sp
from sympy.core.symbol import Str
from sympy.matrices.expressions.matexpr import MatrixExpr

from jepalign.errors import InputError


class SymmetricSymbol(sp.MatrixSymbol):
    """A square matrix symbol that equals its transpose."""

    def __new__(cls, name: str, size: Any) -> "SymmetricSymbol":
        return cast("SymmetricSymbol", super().__new__(cls, name, size, size))

    @property
    def func(self) -> Any:
        # SymPy rebuilds a node from its args, of which a MatrixSymbol has three.
        return lambda name, rows, _columns: SymmetricSymbol(str(name), rows)

    def _eval_transpose(self) -> Any:
        return self


class StopGradient(MatrixExpr):
    """sg(X): the value of X, with differential zero."""

    def __new__(cls, body: MatrixExpr) -> "StopGradient":
        return cast("StopGradient", sp.Basic.__new__(cls, body))

    @property
    def body(self) -> MatrixExpr:
        """The expression whose differential is suppressed."""
        return cast("MatrixExpr", self.args[0])

    @property
    def shape(self) -> tuple[Any, Any]:
        """Rows and columns of the body."""
        return self.body.shape


class Named(MatrixExpr):
    """An abbreviation: printed as its name, computed as its body (Φ for WΣWᵀ)."""

    def __new__(cls, name: Any, body: MatrixExpr) -> "Named":
        return cast("Named", sp.Basic.__new__(cls, Str(str(name)), body))

    @property
    def name(self) -> str:
        """LaTeX of the abbreviation."""
        return cast("Str", self.args[0]).name

    @property
    def body(self) -> MatrixExpr:
        """What the name stands for."""
        return cast("MatrixExpr", self.args[1])

    @property
    def shape(self) -> tuple[Any, Any]:
        """Rows and columns of the body."""
        return self.body.shape


class SpectralFunction(MatrixExpr):
    """g(X) for a symmetric X: the same eigenvectors, g applied to the eigenvalues.

    ``order`` 0 is g itself; −1 is an antiderivative G, which may only stand alone in a trace: its one rule is
    d tr G(X) = tr(g(X) dX), proved as ``trace-derivative``.
    """

    def __new__(cls, name: Any, argument: MatrixExpr, order: Any = 0) -> "SpectralFunction":
        rows, columns = argument.shape
        if rows != columns:
            raise InputError("argument", f"{rows} × {columns}", "a spectral function needs a square matrix")
        if order not in {0, -1}:
            raise InputError("order", order, "a spectral function is g itself (0) or its antiderivative (-1)")
        return cast("SpectralFunction", sp.Basic.__new__(cls, Str(str(name)), argument, sp.Integer(order)))

    @property
    def name(self) -> str:
        """The letter of g."""
        return cast("Str", self.args[0]).name

    @property
    def argument(self) -> MatrixExpr:
        """The symmetric matrix g is applied to."""
        return cast("MatrixExpr", self.args[1])

    @property
    def order(self) -> int:
        """0 for g, −1 for its antiderivative."""
        return int(cast("sp.Integer", self.args[2]))

    @property
    def shape(self) -> tuple[Any, Any]:
        """Rows and columns of the argument."""
        return self.argument.shape

    def _eval_transpose(self) -> Any:
        return self


def tr(matrix: Any) -> Any:
    """Return the trace of a square matrix expression, unevaluated."""
    rows, columns = matrix.shape
    if rows != columns:
        raise InputError("matrix", f"{rows} × {columns}", "only a square matrix has a trace")
    return sp.Trace(matrix)


def squared_norm(matrix: Any) -> Any:
    """Return ‖X‖² = tr XᵀX (Frobenius)."""
    return tr(matrix.T * matrix)


def logdet(matrix: Any) -> Any:
    """Return log det X, unevaluated."""
    rows, columns = matrix.shape
    if rows != columns:
        raise InputError("matrix", f"{rows} × {columns}", "only a square matrix has a determinant")
    return sp.log(sp.Determinant(matrix))


def identity(size: Any) -> Any:
    """Return the identity of the given size."""
    return sp.Identity(size)
