"""Words and forms: what a matrix expression is to the calculus.

A *letter* is a matrix symbol or its transpose, an inverse, or a spectral function; a *word* is a product of letters; a
*form* is a sum of terms, each a coefficient times traces of words times one open word.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import sympy as sp

from jepalign.theory.expressions import SymmetricSymbol


class CalculusError(ValueError):
    """An expression or a rule outside what the calculus decides."""


@dataclass(frozen=True, eq=False)
class Letter:
    """One factor of a word. Two letters are equal iff their keys are."""

    key: str
    rows: sp.Expr
    columns: sp.Expr
    flip: Callable[[], "Letter"]  # the transposed letter
    symbol: sp.MatrixSymbol | None = None  # for a matrix symbol or its transpose
    transposed: bool = False
    frozen: bool = False
    inner: "Form | None" = None  # for an inverse or a spectral function
    spectral: tuple[str, int] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Letter) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return self.key


Word = tuple[Letter, ...]


def symbol_letter(symbol: sp.MatrixSymbol, *, transposed: bool = False, frozen: bool = False) -> Letter:
    """Return a matrix symbol, or its transpose, as a letter."""
    rows, columns = cast("tuple[sp.Expr, sp.Expr]", symbol.shape)
    if isinstance(symbol, SymmetricSymbol):
        transposed = False
    # A symmetric letter and a general one are different letters, even if somebody gives them one name.
    key = f"{symbol.name}[{rows},{columns}]" + ("=" if isinstance(symbol, SymmetricSymbol) else "")
    key += ("'" if transposed else "") + ("~" if frozen else "")
    if transposed:
        rows, columns = columns, rows
    flipped = not transposed and not isinstance(symbol, SymmetricSymbol)
    return Letter(
        key,
        rows,
        columns,
        flip=lambda: symbol_letter(symbol, transposed=flipped, frozen=frozen),
        symbol=symbol,
        transposed=transposed,
        frozen=frozen,
    )


def inverse_letter(inner: "Form") -> Letter:
    """Return the inverse of a form, whose leading coefficient is one, as a letter."""
    return Letter(
        f"inv({inner.key})", inner.rows, inner.rows, flip=lambda: inverse_letter(inner.transpose()), inner=inner
    )


def spectral_letter(name: str, order: int, inner: "Form") -> Letter:
    """Return a function of a symmetric form as a letter. Raises ``CalculusError`` if the form is not symmetric."""
    if inner.transpose().key != inner.key:
        raise CalculusError(f"{name} is applied to {inner.key}, which is not symmetric by the listed rules")
    letter = Letter(
        f"{name}^({order})({inner.key})",
        inner.rows,
        inner.rows,
        flip=lambda: letter,
        inner=inner,
        spectral=(name, order),
    )
    return letter


def transposed_word(word: Word) -> Word:
    """Return the transpose of a product."""
    return tuple(letter.flip() for letter in reversed(word))


def word_order(word: Word) -> tuple[int, tuple[str, ...]]:
    """Return a key that orders words by length, then by letters."""
    return len(word), tuple(letter.key for letter in word)


def rotations(word: Word) -> Iterator[Word]:
    """Yield a cyclic word from each of its starting points."""
    for start in range(len(word)):
        yield word[start:] + word[:start]


def cyclic_word(word: Word) -> Word:
    """Return the representative of a word under a trace: the least of its rotations and those of its transpose."""
    return min((*rotations(word), *rotations(transposed_word(word))), key=word_order)


@dataclass(frozen=True, eq=False)
class LogDet:
    """log det of a form: a scalar factor."""

    inner: "Form"

    @cached_property
    def key(self) -> str:
        """Two log-determinants are equal iff their keys are."""
        return f"logdet({self.inner.key})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogDet) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


Factor = Word | LogDet
Term = tuple[tuple[Factor, ...], Word]


def _factor_key(factor: Factor) -> str:
    return factor.key if isinstance(factor, LogDet) else "tr " + " ".join(letter.key for letter in factor)


@dataclass(frozen=True, eq=False)
class Form:
    """A canonical form: a map from (scalar factors, open word) to coefficients.

    ``rows`` and ``columns`` are None for a scalar, whose open words are empty.
    """

    rows: Any
    columns: Any
    terms: Mapping[Term, sp.Expr] = field(default_factory=dict[Term, sp.Expr])

    @classmethod
    def collect(cls, rows: Any, columns: Any, items: Iterable[tuple[Term, sp.Expr]]) -> "Form":
        """Add up coefficients of equal terms and drop those that cancel."""
        terms: dict[Term, sp.Expr] = {}
        for (factors, word), coefficient in items:
            # A trace over the empty word is the size of the identity it was taken over; it never reaches this point.
            term = (tuple(sorted(factors, key=_factor_key)), word)
            terms[term] = terms.get(term, sp.S.Zero) + coefficient
        return cls(rows, columns, {term: c for term, c in terms.items() if sp.expand(c) != 0})

    @cached_property
    def key(self) -> str:
        """A text that is the same for equal forms."""
        parts = sorted(
            f"{sp.expand(c)}*{'.'.join(map(_factor_key, factors))}|{' '.join(letter.key for letter in word)}"
            for (factors, word), c in self.terms.items()
        )
        return f"<{self.rows}x{self.columns}: {' + '.join(parts)}>"

    def scaled(self, factor: sp.Expr) -> "Form":
        """Multiply by a scalar."""
        return Form(self.rows, self.columns, {t: factor * c for t, c in self.terms.items()} if factor != 0 else {})

    def plus(self, other: "Form") -> "Form":
        """Add a form of the same shape."""
        if (self.rows, self.columns) != (other.rows, other.columns):
            raise CalculusError(f"cannot add {self.rows} × {self.columns} and {other.rows} × {other.columns}")
        return Form.collect(self.rows, self.columns, (*self.terms.items(), *other.terms.items()))

    def minus(self, other: "Form") -> "Form":
        """Subtract a form of the same shape."""
        return self.plus(other.scaled(sp.S.NegativeOne))

    def times(self, other: "Form") -> "Form":
        """Multiply; a scalar form multiplies anything."""
        if self.rows is not None and other.rows is not None and self.columns != other.rows:
            raise CalculusError(f"cannot multiply {self.rows} × {self.columns} by {other.rows} × {other.columns}")
        rows = other.rows if self.rows is None else self.rows
        columns = self.columns if other.columns is None else other.columns
        return Form.collect(
            rows,
            columns,
            (
                ((f1 + f2, w1 + w2), c1 * c2)
                for (f1, w1), c1 in self.terms.items()
                for (f2, w2), c2 in other.terms.items()
            ),
        )

    def transpose(self) -> "Form":
        """Transpose every word."""
        return Form.collect(self.columns, self.rows, (((f, transposed_word(w)), c) for (f, w), c in self.terms.items()))

    def trace(self) -> "Form":
        """Take the trace of a square form."""
        if self.rows is None or self.rows != self.columns:
            raise CalculusError(f"a {self.rows} × {self.columns} form has no trace")

        def items() -> Iterator[tuple[Term, sp.Expr]]:
            for (factors, word), c in self.terms.items():
                if word:
                    yield ((*factors, cyclic_word(word)), ()), c
                else:
                    yield (factors, ()), c * self.rows

        return Form.collect(None, None, items())

    def map_letters(self, image: Callable[[Letter], "Form | None"]) -> "Form":
        """Replace letters by forms (None keeps a letter); inverses and spectral functions are the caller's to descend into."""
        total = Form(self.rows, self.columns)
        for (factors, word), c in self.terms.items():
            product = scalar(c)
            for factor in factors:
                if isinstance(factor, LogDet):
                    product = product.times(logdet_form(factor.inner.map_letters(image)))
                else:
                    product = product.times(_image_of_word(factor, factor[0].rows, image).trace())
            part = product if self.rows is None else product.times(_image_of_word(word, self.rows, image))
            total = total.plus(part)
        return total


def _image_of_word(word: Word, rows: Any, image: Callable[[Letter], Form | None]) -> Form:
    result = identity_form(rows)
    for letter in word:
        replaced = image(letter)
        result = result.times(of_letter(letter) if replaced is None else replaced)
    return result


def scalar(value: Any) -> Form:
    """Return a scalar as a form."""
    return Form.collect(None, None, [(((), ()), cast("sp.Expr", sp.sympify(value)))])


def identity_form(size: Any) -> Form:
    """Return the identity of a size as a form."""
    return Form(size, size, {((), ()): sp.S.One})


def of_letter(letter: Letter) -> Form:
    """Return a letter as a form."""
    return Form(letter.rows, letter.columns, {((), (letter,)): sp.S.One})


def of_word(word: Word, rows: Any, columns: Any) -> Form:
    """Return a product of letters as a form of the given shape."""
    return Form(rows, columns, {((), word): sp.S.One})


def leading(form: Form) -> tuple[Word, sp.Expr, list[tuple[Word, sp.Expr]]]:
    """Split off the greatest word of a form without scalar factors: (word, coefficient, the rest)."""
    if any(factors for factors, _ in form.terms):
        raise CalculusError(f"{form.key} carries traces inside an inverse or a spectral function")
    ordered = sorted(((word, c) for (_, word), c in form.terms.items()), key=lambda item: word_order(item[0]))
    word, coefficient = ordered[-1]
    return word, coefficient, ordered[:-1]


def inverse(form: Form) -> Form:
    """Return the inverse of a square form. Raises ``CalculusError`` for others and for zero."""
    if form.rows is None or form.rows != form.columns:
        raise CalculusError(f"a {form.rows} × {form.columns} form has no inverse")
    if not form.terms:
        raise CalculusError("the zero matrix has no inverse")
    word, coefficient, _ = leading(form)
    if not word:
        return identity_form(form.rows).scaled(1 / coefficient)
    monic = form.scaled(1 / coefficient)
    if len(form.terms) == 1 and len(word) == 1 and (inner := word[0].inner) is not None and word[0].spectral is None:
        return inner.scaled(1 / coefficient)  # the inverse of an inverse
    return of_letter(inverse_letter(monic)).scaled(1 / coefficient)


def logdet_form(form: Form) -> Form:
    """Return log det of a square form as a scalar form."""
    if len(form.terms) == 1 and next(iter(form.terms)) == ((), ()):
        (coefficient,) = form.terms.values()
        return scalar(form.rows * sp.log(coefficient))
    return Form(None, None, {((LogDet(form),), ()): sp.S.One})
