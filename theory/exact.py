"""Exact values: expressions evaluated in rational arithmetic, with exact directional derivatives.

An :class:`Instance` gives every letter a value; shapes become numbers and matrices of rationals (python-flint). Values
are dual numbers A + t·A' with t² = 0, so the derivative of an expression along a direction is computed by arithmetic
alone, sharing no code with :mod:`jepalign.theory.calculus`, which it is used to check. Counterexamples to false
statements, and the instances that show an assumption to be necessary, are found and verified here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, cast

import sympy as sp
from flint import fmpq, fmpq_mat
from sympy.matrices.expressions.matexpr import MatrixExpr

from jepalign.errors import InputError
from jepalign.theory.expressions import Named, SpectralFunction, StopGradient, SymmetricSymbol


class NotExactError(ValueError):
    """An expression has no rational value here (a logarithm, an irrational root, a missing letter, a singular matrix)."""


@dataclass(frozen=True)
class Instance:
    """Values for the letters of a statement.

    Attributes
    ----------
    sizes : maps a symbolic dimension to an int ≥ 1.
    matrices : maps a matrix symbol to an ``fmpq_mat`` of its shape.
    scalars : maps a scalar symbol to an ``fmpq``.
    spectra : maps the name of a spectral function g to the coefficients (c₀, c₁, …) of a polynomial g(s) = Σ c_n sⁿ.

    Raises ``InputError`` for a matrix that has not the shape of its symbol, or not its symmetry: an instance must not
    break a convention where it is meant to break an assumption.
    """

    sizes: Mapping[Any, int] = field(default_factory=dict[Any, int])
    matrices: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    scalars: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    spectra: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])

    def __post_init__(self) -> None:
        for symbol, value in self.matrices.items():
            shape = tuple(sp.sympify(size).subs(dict(self.sizes)) for size in symbol.shape)
            if shape != (value.nrows(), value.ncols()):
                given = f"{value.nrows()} × {value.ncols()}"
                raise InputError(plain_name(symbol), given, f"must be {shape[0]} × {shape[1]}")
            if isinstance(symbol, SymmetricSymbol) and value != value.transpose():
                raise InputError(plain_name(symbol), matrix_text(value), "must be symmetric")

    def with_(
        self,
        matrices: Mapping[Any, Any] | None = None,
        scalars: Mapping[Any, Any] | None = None,
    ) -> "Instance":
        """Return a copy with some values replaced."""
        return replace(
            self, matrices={**self.matrices, **(matrices or {})}, scalars={**self.scalars, **(scalars or {})}
        )

    def __str__(self) -> str:
        parts = [f"{symbol}={size}" for symbol, size in self.sizes.items()]
        parts += [f"{plain_name(symbol)}={value}" for symbol, value in self.scalars.items()]
        parts += [f"{plain_name(symbol)}={matrix_text(value)}" for symbol, value in self.matrices.items()]
        for name, polynomial in self.spectra.items():
            terms = [f"{c}" if n == 0 else f"{c}·s^{n}" for n, c in enumerate(polynomial) if c != 0]
            parts.append(f"{name}(s)={' + '.join(terms) or '0'}")
        return ", ".join(parts)


def rational(value: Any) -> Any:
    """Return ``value`` (int, Fraction, text 'p/q', SymPy rational, fmpq) as an ``fmpq``."""
    if isinstance(value, sp.Rational):
        return fmpq(int(value.p), int(value.q))
    if isinstance(value, (str, Fraction)):
        fraction = Fraction(value)
        return fmpq(fraction.numerator, fraction.denominator)
    return fmpq(value)


def matrix(rows: list[list[Any]]) -> Any:
    """Return a rational matrix from nested lists."""
    return fmpq_mat([[rational(x) for x in row] for row in rows])


def eye(size: int) -> Any:
    """Return the identity of the given size."""
    return fmpq_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])


_GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "epsilon": "ε",
    "eta": "η",
    "theta": "θ",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "rho": "ρ",
    "sigma": "σ",
    "Lambda": "Λ",
    "Phi": "Φ",
    "Sigma": "Σ",
    "Xi": "Ξ",
}
_ACCENTS = {r"\dot": "\u0307", r"\bar": "\u0304", r"\tilde": "\u0303"}


def plain_name(symbol: Any) -> str:
    """Return a letter's name as plain text, its LaTeX turned into Unicode: Σ_yx, Ż."""
    return plain_text(str(symbol.name))


def plain_text(name: str) -> str:
    """Turn the LaTeX of a name into Unicode."""
    for accent, mark in _ACCENTS.items():
        if name.startswith(accent):
            return name[len(accent) :].strip("{}") + mark
    name = name.replace("{", "").replace("}", "").replace("\\", "")
    stem, _, index = name.partition("_")
    return "_".join(filter(None, (_GREEK.get(stem, stem), index)))


def matrix_text(value: Any) -> str:
    """Write a rational matrix on one line; a 1 × 1 matrix as its entry."""
    rows = [[str(x) for x in row] for row in value.tolist()]
    if len(rows) == 1 and len(rows[0]) == 1:
        return rows[0][0]
    return "[" + "; ".join(" ".join(row) for row in rows) + "]"


def _zeros(like: Any) -> Any:
    return fmpq_mat(like.nrows(), like.ncols())


def matrix_trace(value: Any) -> Any:
    """Return the trace of a square rational matrix."""
    return sum((value[i, i] for i in range(value.nrows())), fmpq(0))


def largest_entry(value: Any) -> Any:
    """Return the largest absolute value of the entries (of a scalar, its own)."""
    if isinstance(value, fmpq_mat):
        return max((abs(x) for x in value.entries()), default=fmpq(0))
    return abs(value)


def is_positive_semidefinite(value: Any) -> bool:
    """Decide exactly whether a symmetric rational matrix is positive semidefinite (outer-product elimination)."""
    if value != value.transpose():
        return False
    work = [list(row) for row in value.tolist()]
    alive = list(range(len(work)))
    while alive:
        pivot = next((i for i in alive if work[i][i] != 0), None)
        if pivot is None:
            return all(work[i][j] == 0 for i in alive for j in alive)
        if work[pivot][pivot] < 0:
            return False
        alive.remove(pivot)
        for i in alive:
            for j in alive:
                work[i][j] -= work[i][pivot] * work[pivot][j] / work[pivot][pivot]
    return True


@dataclass(frozen=True)
class Dual:
    """A value and its first-order change: both ``fmpq`` or both ``fmpq_mat``."""

    value: Any
    change: Any


class Evaluator:
    """Evaluates SymPy expressions at an instance, to first order along ``directions`` (letters that move)."""

    def __init__(self, instance: Instance, directions: Mapping[sp.MatrixSymbol, Any] | None = None) -> None:
        self.instance = instance
        self.directions = directions or {}

    def __call__(self, expression: Any) -> Dual:
        """Return value and change of a scalar or matrix expression; raises ``NotExactError`` where there is none."""
        if isinstance(expression, MatrixExpr):
            return self._matrix(expression)
        return self._scalar(cast("sp.Expr", sp.sympify(expression)))

    def _size(self, size: Any) -> int:
        value = sp.sympify(size).subs(dict(self.instance.sizes))
        if not value.is_Integer:
            raise NotExactError(f"the size {size} has no value")
        return int(value)

    def _matrix(self, node: Any) -> Dual:
        match node:
            case sp.MatrixSymbol():
                if node not in self.instance.matrices:
                    raise NotExactError(f"{node} has no value")
                value = self.instance.matrices[node]
                return Dual(value, self.directions.get(node, _zeros(value)))
            case Named():
                return self._matrix(node.body)
            case StopGradient():
                value = self._matrix(node.body).value
                return Dual(value, _zeros(value))
            case SpectralFunction():
                return self._spectral(node)
            case sp.Identity():
                value = eye(self._size(node.shape[0]))
                return Dual(value, _zeros(value))
            case sp.ZeroMatrix():
                value = fmpq_mat(self._size(node.shape[0]), self._size(node.shape[1]))
                return Dual(value, value)
            case sp.Transpose():
                inner = self._matrix(node.arg)
                return Dual(inner.value.transpose(), inner.change.transpose())
            case sp.Inverse():
                return _inverted(self._matrix(node.arg))
            case sp.MatPow():
                base: Any = node.args[0]
                exponent: Any = node.args[1]
                if not exponent.is_Integer:
                    raise NotExactError(f"{node} is not an integer power")
                inner = self._matrix(base)
                inner = _inverted(inner) if exponent < 0 else inner
                result = Dual(eye(inner.value.nrows()), _zeros(inner.value))
                for _ in range(abs(int(exponent))):
                    result = _product(result, inner)
                return result
            case sp.MatAdd():
                parts = [self._matrix(part) for part in node.args]
                return Dual(_sum(p.value for p in parts), _sum(p.change for p in parts))
            case sp.MatMul():
                result = self(node.args[0])
                for part in node.args[1:]:
                    result = _product(result, self(part))
                return result
            case _:
                raise NotExactError(f"{type(node).__name__} is not evaluated")

    def _spectral(self, node: SpectralFunction) -> Dual:
        """Evaluate a polynomial, or its antiderivative, at a matrix; powers are differentiated one factor at a time."""
        if node.name not in self.instance.spectra:
            raise NotExactError(f"{node.name} has no polynomial")
        coefficients = [rational(c) for c in self.instance.spectra[node.name]]
        if node.order == -1:
            coefficients = [fmpq(0), *(c / (n + 1) for n, c in enumerate(coefficients))]
        argument = self._matrix(node.argument)
        power = Dual(eye(argument.value.nrows()), _zeros(argument.value))
        value, change = _zeros(argument.value), _zeros(argument.value)
        for c in coefficients:
            value, change = value + power.value * c, change + power.change * c
            power = _product(power, argument)
        return Dual(value, change)

    def _scalar(self, node: Any) -> Dual:
        zero = fmpq(0)
        match node:
            case sp.Trace():
                inner = self._matrix(node.arg)
                return Dual(matrix_trace(inner.value), matrix_trace(inner.change))
            case sp.Rational():
                return Dual(rational(node), zero)
            case sp.Symbol():
                if node in self.instance.sizes:
                    return Dual(fmpq(self.instance.sizes[node]), zero)
                if node in self.instance.scalars:
                    return Dual(rational(self.instance.scalars[node]), zero)
                raise NotExactError(f"{node} has no value")
            case sp.Add():
                parts = [self._scalar(part) for part in node.args]
                return Dual(sum((p.value for p in parts), zero), sum((p.change for p in parts), zero))
            case sp.Mul():
                result = Dual(fmpq(1), zero)
                for part in node.args:
                    result = _product(result, self._scalar(part))
                return result
            case sp.Pow():
                return self._power(node)
            case sp.log() if isinstance(node.args[0], sp.Determinant):
                return self._logdet(node.args[0].arg)
            case _:
                raise NotExactError(f"{node} has no rational value")

    def _power(self, node: Any) -> Dual:
        base, exponent = self._scalar(node.args[0]), node.args[1]
        if exponent.is_Rational and exponent.q == 2 and base.change == 0:
            root = _rational_root(base.value)
            return Dual(root ** int(exponent.p), fmpq(0))
        if not exponent.is_Integer or (base.value == 0 and exponent < 0):
            raise NotExactError(f"{node} has no rational value")
        n = int(exponent)
        return Dual(base.value**n, fmpq(n) * base.value ** (n - 1) * base.change if n and base.change != 0 else fmpq(0))

    def _logdet(self, argument: Any) -> Dual:
        """Give log det its exact derivative; its value is rational only at determinant 1, and no check asks for it."""
        inner = self._matrix(argument)
        inverse = _inverted(inner).value
        value = fmpq(0) if inner.value.det() == 1 else _Unavailable()
        return Dual(value, matrix_trace(inverse * inner.change))


class _Unavailable:
    """A value that is not rational: arithmetic spreads it, and asking for it is refused by whoever compares."""

    def _spread(self, _other: object) -> "_Unavailable":
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __pow__ = _spread


def available(value: Any) -> Any:
    """Return ``value``, or raise ``NotExactError`` if it is not rational."""
    if isinstance(value, _Unavailable):
        raise NotExactError("a logarithm has no rational value")
    return value


def _rational_root(value: Any) -> Any:
    root = sp.sqrt(sp.Rational(int(value.p), int(value.q)))
    if not root.is_Rational:
        raise NotExactError(f"√{value} is irrational")
    return rational(root)


def _inverted(inner: Dual) -> Dual:
    if inner.value.nrows() != inner.value.ncols() or inner.value.det() == 0:
        raise NotExactError("a singular matrix has no inverse")
    inverse = inner.value.inv()
    return Dual(inverse, -(inverse * inner.change * inverse))


def _product(left: Dual, right: Dual) -> Dual:
    # Constants are skipped, so that a logarithm without a rational value does not spoil the derivative it still has.
    product = left.value * right.value
    changes = []
    if not _is_zero(left.change):
        changes.append(left.change * right.value)
    if not _is_zero(right.change):
        changes.append(left.value * right.change)
    return Dual(product, _sum(changes) if changes else (_zeros(product) if isinstance(product, fmpq_mat) else fmpq(0)))


def _is_zero(change: Any) -> bool:
    return not isinstance(change, (fmpq_mat, _Unavailable)) and change == 0


def _sum(values: Any) -> Any:
    items = list(values)
    total = items[0]
    for item in items[1:]:
        total = total + item
    return total


def value_of(expression: Any, instance: Instance) -> Any:
    """Return the exact value of an expression: ``fmpq`` for a scalar, ``fmpq_mat`` for a matrix."""
    return available(Evaluator(instance)(expression).value)


def derivative_of(expression: Any, instance: Instance, directions: Mapping[sp.MatrixSymbol, Any]) -> Any:
    """Return the exact derivative of an expression along the given directions of its letters."""
    return available(Evaluator(instance, directions)(expression).change)


def gradient_at(function: Any, variable: sp.MatrixSymbol, instance: Instance) -> Any:
    """Return ∇f at an instance, entry by entry along the unit matrices."""
    here = instance.matrices[variable]
    rows, columns = here.nrows(), here.ncols()

    def entry(i: int, j: int) -> Any:
        unit = fmpq_mat(rows, columns)
        unit[i, j] = 1
        return derivative_of(function, instance, {variable: unit})

    return fmpq_mat(rows, columns, [entry(i, j) for i in range(rows) for j in range(columns)])


Sampler = Callable[
    [Any, int], Instance
]  # (a random.Random, a size ≥ 1) -> an admissible instance, larger with the size
