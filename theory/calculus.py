"""Matrix calculus for symbolic shapes: a canonical form, differentials, gradients, and rewriting by assumptions.

An expression is brought into the form Σ coefficient · tr(word)···tr(word) · word, where a *word* is a product of *letters*
(a matrix symbol or its transpose, an inverse, a spectral function) and a word under a trace is read up to rotation and
transposition. Equality is then comparison of dictionaries. It is *decided for the listed rules*:

* associativity, distributivity, transposition of products, symmetric letters, rotation and transposition under a trace;
* X·X⁻¹ = X⁻¹·X = 1 for a sum or product X (its leading word times the inverse is rewritten), inverses of scaled matrices;
* a spectral function commutes with its argument and with every other spectral function of it;
* the equations that a caller passes as rules, read from left to right, and their transposes.

The result "equal" is a proof. The result "different" is only a reason to look for a counterexample
(:mod:`jepalign.theory.exact`): other true identities, such as push-through (I+AB)⁻¹A = A(I+BA)⁻¹, need a named lemma.

Differentials follow the product rule on letters, dX⁻¹ = −X⁻¹ dX X⁻¹, d log det X = tr X⁻¹dX and d tr G(X) = tr g(X)dX;
letters under :class:`~jepalign.theory.expressions.StopGradient` are constants. The cost is linear in the number of words
and quadratic in their length: milliseconds for every identity of this package.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import sympy as sp

from jepalign.theory.canonical import canonical, freeze, substitute
from jepalign.theory.expressions import SymmetricSymbol
from jepalign.theory.forms import (
    CalculusError,
    Factor,
    Form,
    Letter,
    LogDet,
    Word,
    inverse,
    of_letter,
    of_word,
    scalar,
    spectral_letter,
    symbol_letter,
    transposed_word,
)
from jepalign.theory.rewriting import Rule, completed, reduced, rules_of

__all__ = [
    "CalculusError",
    "Form",
    "Rule",
    "canonical",
    "completed",
    "differential",
    "equal",
    "gradient",
    "normal",
    "reduced",
    "rules_of",
    "substitute",
]


def normal(expression: Any, rules: Sequence[Rule] = ()) -> Form:
    """Return the canonical form of an expression, stop-gradients dropped (they do not change values), fully rewritten."""
    form = expression if isinstance(expression, Form) else canonical(expression)
    return reduced(freeze(form, frozen=False), rules)


def differential(form: Form, directions: Mapping[sp.MatrixSymbol, Form]) -> Form:
    """Return the first-order change of a form when each given symbol moves in the given direction (a form of its shape)."""
    for symbol, direction in directions.items():
        if (direction.rows, direction.columns) != cast("tuple[Any, Any]", symbol.shape):
            raise CalculusError(f"{symbol} is {symbol.shape}, its direction {direction.rows} × {direction.columns}")
        if isinstance(symbol, SymmetricSymbol) and direction.transpose().key != direction.key:
            raise CalculusError(f"{symbol} is symmetric, its direction is not")
    total = Form(form.rows, form.columns)
    for (factors, word), c in form.terms.items():
        for position, factor in enumerate(factors):
            rest = (*factors[:position], *factors[position + 1 :])
            change = _differential_of_factor(factor, directions)
            part = Form(None, None, {(rest, ()): c}).times(change)
            total = total.plus(part if form.rows is None else part.times(of_word(word, form.rows, form.columns)))
        if word:
            change = _differential_of_word(word, form.rows, form.columns, directions)
            total = total.plus(Form(None, None, {(factors, ()): c}).times(change))
    return total


def _differential_of_factor(factor: Factor, directions: Mapping[sp.MatrixSymbol, Form]) -> Form:
    if isinstance(factor, LogDet):
        return inverse(factor.inner).times(differential(factor.inner, directions)).trace()
    if len(factor) == 1 and factor[0].spectral is not None:
        name, order = factor[0].spectral
        inner = cast("Form", factor[0].inner)
        change = differential(inner, directions)
        if not change.terms:
            return scalar(0)
        if order != -1:
            raise CalculusError(f"the derivative of {name} is not named; write tr G with g named instead")
        return of_letter(spectral_letter(name, 0, inner)).times(change).trace()
    rows = factor[0].rows
    return _differential_of_word(factor, rows, rows, directions).trace()


def _differential_of_word(word: Word, rows: Any, columns: Any, directions: Mapping[sp.MatrixSymbol, Form]) -> Form:
    total = Form(rows, columns)
    for position, letter in enumerate(word):
        change = _differential_of_letter(letter, directions)
        if change is not None:
            left = of_word(word[:position], rows, letter.rows)
            right = of_word(word[position + 1 :], letter.columns, columns)
            total = total.plus(left.times(change).times(right))
    return total


def _differential_of_letter(letter: Letter, directions: Mapping[sp.MatrixSymbol, Form]) -> Form | None:
    if letter.symbol is not None:
        if letter.frozen or letter.symbol not in directions:
            return None
        direction = directions[letter.symbol]
        return direction.transpose() if letter.transposed else direction
    inner = differential(cast("Form", letter.inner), directions)
    if not inner.terms:
        return None
    if letter.spectral is not None:
        raise CalculusError(f"the differential of {letter.key} inside a product is not a rule of the calculus")
    itself = of_letter(letter)
    return itself.times(inner).times(itself).scaled(sp.S.NegativeOne)


def gradient(function: Any, variable: sp.MatrixSymbol) -> Form:
    """Return ∇f for a scalar expression f: the matrix with df = tr(∇fᵀ dX). Stop-gradients are respected, then dropped.

    Raises ``CalculusError`` if ``function`` is not a scalar or ``variable`` is symmetric (its gradient is ambiguous).
    """
    if isinstance(variable, SymmetricSymbol):
        raise CalculusError(f"{variable} is symmetric: a gradient in its entries is not unique; use a differential")
    form = function if isinstance(function, Form) else canonical(function)
    if form.rows is not None:
        raise CalculusError(f"a gradient needs a scalar, not a {form.rows} × {form.columns} matrix")
    rows, columns = cast("tuple[Any, Any]", variable.shape)
    # Letters are recognised by name; no letter of a function is called this.
    direction = symbol_letter(sp.MatrixSymbol(f"direction of {variable.name}", rows, columns))
    change = differential(form, {variable: of_letter(direction)})
    total = Form(rows, columns)
    for (factors, _), c in change.terms.items():
        position = next(i for i, f in enumerate(factors) if not isinstance(f, LogDet) and _mentions(f, direction))
        word = cast("Word", factors[position])
        rest = (*factors[:position], *factors[position + 1 :])
        word = word if direction in word else transposed_word(word)
        at = word.index(direction)
        cofactor = transposed_word(word[at + 1 :] + word[:at])  # tr(dX·R) = ⟨dX, Rᵀ⟩
        total = total.plus(Form(rows, columns, {(rest, cofactor): c}))
    return freeze(total, frozen=False)


def _mentions(word: Word, direction: Letter) -> bool:
    return direction in word or direction.flip() in word


def equal(left: Any, right: Any, rules: Sequence[Rule] = (), values: Mapping[sp.Symbol, sp.Expr] | None = None) -> bool:
    """Decide left = right for the listed rules and the given ones. True is a proof; False is not a refutation.

    ``values`` are scalar equations, letter = expression, put into the coefficients at the end.
    """
    difference = reduced(normal(left, rules).minus(normal(right, rules)), rules)
    substitutions: Any = values or {}
    return all(sp.expand(sp.cancel(c.subs(substitutions))) == 0 for c in difference.terms.values())
