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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import sympy as sp
from sympy.matrices.expressions.matexpr import MatrixExpr

from jepalign.theory.expressions import Named, SpectralFunction, StopGradient, SymmetricSymbol

# Rules given by a caller need not terminate. No identity of the catalogue comes near these bounds.
REWRITE_LIMIT = 20_000
WORD_LIMIT = 200


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


def _symbol_letter(symbol: sp.MatrixSymbol, *, transposed: bool = False, frozen: bool = False) -> Letter:
    rows, columns = cast("tuple[sp.Expr, sp.Expr]", symbol.shape)
    if isinstance(symbol, SymmetricSymbol):
        transposed = False
    key = f"{symbol.name}[{rows},{columns}]" + ("'" if transposed else "") + ("~" if frozen else "")
    if transposed:
        rows, columns = columns, rows
    flipped = not transposed and not isinstance(symbol, SymmetricSymbol)
    return Letter(
        key,
        rows,
        columns,
        flip=lambda: _symbol_letter(symbol, transposed=flipped, frozen=frozen),
        symbol=symbol,
        transposed=transposed,
        frozen=frozen,
    )


def _inverse_letter(inner: "Form") -> Letter:
    return Letter(
        f"inv({inner.key})", inner.rows, inner.rows, flip=lambda: _inverse_letter(inner.transpose()), inner=inner
    )


def _spectral_letter(name: str, order: int, inner: "Form") -> Letter:
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


def _transposed(word: Word) -> Word:
    return tuple(letter.flip() for letter in reversed(word))


def _word_order(word: Word) -> tuple[int, tuple[str, ...]]:
    return len(word), tuple(letter.key for letter in word)


def _rotations(word: Word) -> Iterator[Word]:
    for start in range(len(word)):
        yield word[start:] + word[:start]


def _cyclic(word: Word) -> Word:
    """Return the representative of a word under a trace: the least of its rotations and those of its transpose."""
    return min((*_rotations(word), *_rotations(_transposed(word))), key=_word_order)


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
        return Form.collect(self.columns, self.rows, (((f, _transposed(w)), c) for (f, w), c in self.terms.items()))

    def trace(self) -> "Form":
        """Take the trace of a square form."""
        if self.rows is None or self.rows != self.columns:
            raise CalculusError(f"a {self.rows} × {self.columns} form has no trace")

        def items() -> Iterator[tuple[Term, sp.Expr]]:
            for (factors, word), c in self.terms.items():
                if word:
                    yield ((*factors, _cyclic(word)), ()), c
                else:
                    yield (factors, ()), c * self.rows

        return Form.collect(None, None, items())

    def map_letters(self, image: Callable[[Letter], "Form | None"]) -> "Form":
        """Replace letters by forms (None keeps a letter); inverses and spectral functions are the caller's to descend into."""
        total = Form(self.rows, self.columns)
        for (factors, word), c in self.terms.items():
            product = _scalar(c)
            for factor in factors:
                if isinstance(factor, LogDet):
                    product = product.times(_logdet(factor.inner.map_letters(image)))
                else:
                    product = product.times(_image_of_word(factor, factor[0].rows, image).trace())
            part = product if self.rows is None else product.times(_image_of_word(word, self.rows, image))
            total = total.plus(part)
        return total


def _image_of_word(word: Word, rows: Any, image: Callable[[Letter], Form | None]) -> Form:
    result = _identity(rows)
    for letter in word:
        replaced = image(letter)
        result = result.times(_of_letter(letter) if replaced is None else replaced)
    return result


def _scalar(value: Any) -> Form:
    return Form.collect(None, None, [(((), ()), cast("sp.Expr", sp.sympify(value)))])


def _identity(size: Any) -> Form:
    return Form(size, size, {((), ()): sp.S.One})


def _of_letter(letter: Letter) -> Form:
    return Form(letter.rows, letter.columns, {((), (letter,)): sp.S.One})


def _of_word(word: Word, rows: Any, columns: Any) -> Form:
    return Form(rows, columns, {((), word): sp.S.One})


def _leading(form: Form) -> tuple[Word, sp.Expr, list[tuple[Word, sp.Expr]]]:
    """Split off the greatest word of a form without scalar factors: (word, coefficient, the rest)."""
    if any(factors for factors, _ in form.terms):
        raise CalculusError(f"{form.key} carries traces inside an inverse or a spectral function")
    ordered = sorted(((word, c) for (_, word), c in form.terms.items()), key=lambda item: _word_order(item[0]))
    word, coefficient = ordered[-1]
    return word, coefficient, ordered[:-1]


def _inverse(form: Form) -> Form:
    if form.rows is None or form.rows != form.columns:
        raise CalculusError(f"a {form.rows} × {form.columns} form has no inverse")
    if not form.terms:
        raise CalculusError("the zero matrix has no inverse")
    word, coefficient, _ = _leading(form)
    if not word:
        return _identity(form.rows).scaled(1 / coefficient)
    monic = form.scaled(1 / coefficient)
    if len(form.terms) == 1 and len(word) == 1 and (inner := word[0].inner) is not None and word[0].spectral is None:
        return inner.scaled(1 / coefficient)  # the inverse of an inverse
    return _of_letter(_inverse_letter(monic)).scaled(1 / coefficient)


def _logdet(form: Form) -> Form:
    if len(form.terms) == 1 and next(iter(form.terms)) == ((), ()):
        (coefficient,) = form.terms.values()
        return _scalar(form.rows * sp.log(coefficient))
    return Form(None, None, {((LogDet(form),), ()): sp.S.One})


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
            return _of_letter(_symbol_letter(node))
        case Named():
            return _canonical_matrix(node.body)
        case StopGradient():
            return _frozen(_canonical_matrix(node.body), frozen=True)
        case SpectralFunction():
            return _of_letter(_spectral_letter(node.name, node.order, _canonical_matrix(node.argument)))
        case sp.Identity():
            return _identity(rows)
        case sp.ZeroMatrix():
            return Form(rows, columns)
        case sp.Transpose():
            return _canonical_matrix(node.arg).transpose()
        case sp.Inverse():
            return _inverse(_canonical_matrix(node.arg))
        case sp.MatPow():
            base, exponent = cast("tuple[MatrixExpr, sp.Expr]", node.args)
            if not exponent.is_Integer:
                raise CalculusError(f"{node}: only integer powers")
            form = _canonical_matrix(base)
            form = _inverse(form) if int(cast("sp.Integer", exponent)) < 0 else form
            result = _identity(rows)
            for _ in range(abs(int(cast("sp.Integer", exponent)))):
                result = result.times(form)
            return result
        case sp.MatAdd():
            total = Form(rows, columns)
            for part in node.args:
                total = total.plus(_canonical_matrix(part))
            return total
        case sp.MatMul():
            product = _scalar(1)
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
            total = _scalar(0)
            for part in node.args:
                total = total.plus(_canonical_scalar(part))
            return total
        case sp.Mul():
            product = _scalar(1)
            for part in node.args:
                product = product.times(_canonical_scalar(part))
            return product
        case sp.Pow() if node.has(MatrixExpr):
            base, exponent = node.args
            if not (exponent.is_Integer and exponent.is_positive):
                raise CalculusError(f"{node}: a trace may only be raised to a positive integer power")
            factor, result = _canonical_scalar(base), _scalar(1)
            for _ in range(int(cast("sp.Integer", exponent))):
                result = result.times(factor)
            return result
        case sp.log() if isinstance(node.args[0], sp.Determinant):
            return _logdet(_canonical_matrix(node.args[0].arg))
        case _ if node.has(MatrixExpr):
            raise CalculusError(f"{type(node).__name__} is not part of the calculus: {node}")
        case _:
            return _scalar(node)


def _frozen(form: Form, *, frozen: bool) -> Form:
    def image(letter: Letter) -> Form | None:
        if letter.symbol is not None:
            return _of_letter(_symbol_letter(letter.symbol, transposed=letter.transposed, frozen=frozen))
        inner = _frozen(cast("Form", letter.inner), frozen=frozen)
        return _inverse(inner) if letter.spectral is None else _of_letter(_spectral_letter(*letter.spectral, inner))

    return form.map_letters(image)


def substitute(form: Form, images: Mapping[sp.MatrixSymbol, Form]) -> Form:
    """Replace matrix symbols by forms of the same shape, frozen or not."""

    def image(letter: Letter) -> Form | None:
        if letter.symbol is None:
            inner = substitute(cast("Form", letter.inner), images)
            return _inverse(inner) if letter.spectral is None else _of_letter(_spectral_letter(*letter.spectral, inner))
        new = images.get(letter.symbol)
        if new is None:
            return None
        if (new.rows, new.columns) != cast("tuple[Any, Any]", letter.symbol.shape):
            raise CalculusError(f"{letter.symbol} is {letter.symbol.shape}, its image {new.rows} × {new.columns}")
        return new.transpose() if letter.transposed else new

    return form.map_letters(image)


# -- rewriting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """An equation read from left to right: the word ``pattern`` becomes ``replacement``."""

    pattern: Word
    replacement: Form


def rules_of(left: Any, right: Any) -> tuple[Rule, ...]:
    """Read left = right as a rewriting rule, and its transpose as another. The left side must be a single product."""
    source, target = canonical(left), canonical(right)
    if len(source.terms) != 1 or (source.rows, source.columns) != (target.rows, target.columns):
        raise CalculusError(
            f"{left} = {right} cannot be read as a rule: the left side must be one product of that shape"
        )
    ((factors, word), coefficient), *_ = source.terms.items()
    if factors or not word:
        raise CalculusError(f"{left} = {right} cannot be read as a rule: its left side is a scalar")
    target = target.scaled(1 / coefficient)
    rule, mirrored = Rule(word, target), Rule(_transposed(word), target.transpose())
    # The transpose of AB = BA for symmetric letters is BA = AB, which would undo it.
    undoes = set(target.terms) == {((), mirrored.pattern)}
    return (rule,) if undoes or mirrored.pattern == rule.pattern else (rule, mirrored)


def completed(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Add what rules say once the letters in them are themselves rewritten.

    Σ = I turns PWΣWᵀ = K into PWWᵀ = K, and Pᵀ = P turns PᵀP = αWWᵀ into P² = αWWᵀ; without the second form a word that
    was rewritten by the first rule would no longer match the second.
    """
    images: dict[Letter, Word] = {}
    for rule in rules:
        words = list(rule.replacement.terms.items())
        if len(rule.pattern) == 1 and len(words) == 1 and words[0][1] == 1 and not words[0][0][0]:
            images[rule.pattern[0]] = words[0][0][1]
    found = list(rules)
    for rule in rules:
        pattern = tuple(new for letter in rule.pattern for new in images.get(letter, (letter,)))
        if pattern and pattern != rule.pattern and len(rule.pattern) > 1:
            found.append(Rule(pattern, rule.replacement))
    return tuple(found)


def _find(pattern: Word, word: Word) -> int:
    span = len(pattern)
    return next((i for i in range(len(word) - span + 1) if word[i : i + span] == pattern), -1)


def _letter_rules(letter: Letter) -> list[tuple[Rule, bool]]:
    """Return the built-in rules of an inverse or a spectral function; the flag marks mere exchanges of order."""
    if letter.inner is None:
        return []
    if letter.spectral is not None and letter.spectral[1] != 0:
        return []
    word, coefficient, rest = _leading(letter.inner)
    if not word:
        return []
    size = letter.rows
    one = _of_letter(letter)
    others = Form.collect(size, size, (((((), w)), c / coefficient) for w, c in rest))
    if letter.spectral is not None:
        swapped = _of_word((letter, *word), size, size).plus(one.times(others)).minus(others.times(one))
        inward, outward = Rule((*word, letter), swapped), _of_word((*word, letter), size, size)
        back = outward.minus(one.times(others)).plus(others.times(one))
        return [(inward, True), (Rule((letter, *word), back), True)]
    unit = _identity(size).scaled(1 / coefficient)
    return [
        (Rule((*word, letter), unit.minus(others.times(one))), False),
        (Rule((letter, *word), unit.minus(one.times(others))), False),
    ]


def _exchange_rules(word: Word) -> list[tuple[Rule, bool]]:
    """Sort neighbouring spectral functions of one argument."""
    found: list[tuple[Rule, bool]] = []
    for first, second in zip(word, word[1:] + word[:1], strict=True):
        if first.spectral and second.spectral and first.inner is not None and second.inner is not None:
            same = first.inner.key == second.inner.key
            if same and second.key < first.key:
                found.append((Rule((first, second), _of_word((second, first), first.rows, first.rows)), True))
    return found


def _rewrite_word(word: Word, rows: Any, columns: Any, rules: Sequence[Rule], *, cyclic: bool) -> Form | None:
    """Apply one rule to a word, or return None. For a cyclic word the result is a scalar form."""
    candidates: list[tuple[Rule, bool]] = [(rule, False) for rule in rules]
    for letter in dict.fromkeys(word):
        candidates += _letter_rules(letter)
    candidates += _exchange_rules(word)
    for rule, exchange in candidates:
        if cyclic:
            span = len(rule.pattern)
            for turned in _rotations(word):
                if turned[:span] != rule.pattern:
                    continue
                rest = _of_word(turned[span:], rule.replacement.columns, turned[0].rows)
                result = rule.replacement.times(rest).trace()
                if exchange and not all(_word_order(_only(t)) < _word_order(_cyclic(word)) for t in result.terms):
                    continue  # under a trace an exchange can lead back to where it came from
                if set(result.terms) == {((_cyclic(word),), ())}:
                    continue  # an exchange that a rotation or a transposition undoes
                return result
        elif (at := _find(rule.pattern, word)) >= 0:
            if exchange and _is_spectral(rule.pattern[0]) and not _is_spectral(rule.pattern[-1]):
                continue  # in an open word spectral functions move to the left only
            span = len(rule.pattern)
            left = _of_word(word[:at], rows, rule.replacement.rows)
            right = _of_word(word[at + span :], rule.replacement.columns, columns)
            return left.times(rule.replacement).times(right)
    return None


def _is_spectral(letter: Letter) -> bool:
    return letter.spectral is not None


def _only(term: Term) -> Word:
    factors, word = term
    return next((f for f in factors if not isinstance(f, LogDet)), word)


def reduced(form: Form, rules: Sequence[Rule] = ()) -> Form:
    """Rewrite until no rule applies. Raises ``CalculusError`` if the given rules do not come to rest."""

    def renew(letter: Letter) -> Form | None:
        if letter.inner is None:
            return None
        inner = reduced(letter.inner, rules)
        return _inverse(inner) if letter.spectral is None else _of_letter(_spectral_letter(*letter.spectral, inner))

    def renew_factors(terms: Mapping[Term, sp.Expr]) -> Iterator[tuple[Term, sp.Expr]]:
        for (factors, word), c in terms.items():
            product = Form(None, None, {(tuple(f for f in factors if not isinstance(f, LogDet)), ()): c})
            for factor in factors:
                if isinstance(factor, LogDet):
                    product = product.times(_logdet(reduced(factor.inner, rules)))
            yield from product.times(_of_word(word, form.rows, form.columns)).terms.items()

    settled: list[tuple[Term, sp.Expr]] = []
    pending = list(renew_factors(form.map_letters(renew).terms)) if rules else list(form.terms.items())
    for _ in range(REWRITE_LIMIT):
        if not pending:
            return Form.collect(form.rows, form.columns, settled)
        (factors, word), coefficient = pending.pop()
        if max((len(w) for w in (word, *factors) if not isinstance(w, LogDet)), default=0) > WORD_LIMIT:
            break
        rewritten = None
        for position, factor in enumerate(factors):
            if isinstance(factor, LogDet):
                continue
            rewritten = _rewrite_word(factor, None, None, rules, cyclic=True)
            if rewritten is not None:
                others = Form(None, None, {((*factors[:position], *factors[position + 1 :]), ()): coefficient})
                rest = _of_word(word, form.rows, form.columns)
                rewritten = rewritten.times(others).times(rest)
                break
        else:
            if word:
                rewritten = _rewrite_word(word, form.rows, form.columns, rules, cyclic=False)
                if rewritten is not None:
                    rewritten = rewritten.times(Form(None, None, {(factors, ()): coefficient}))
        if rewritten is None:
            settled.append(((factors, word), coefficient))
        else:
            pending += rewritten.terms.items()
    raise CalculusError(f"the rules do not come to rest on {form.key}")


def normal(expression: Any, rules: Sequence[Rule] = ()) -> Form:
    """Return the canonical form of an expression, stop-gradients dropped (they do not change values), fully rewritten."""
    form = expression if isinstance(expression, Form) else canonical(expression)
    return reduced(_frozen(form, frozen=False), rules)


# -- differentials -----------------------------------------------------------------------------------------------------


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
            total = total.plus(part if form.rows is None else part.times(_of_word(word, form.rows, form.columns)))
        if word:
            change = _differential_of_word(word, form.rows, form.columns, directions)
            total = total.plus(Form(None, None, {(factors, ()): c}).times(change))
    return total


def _differential_of_factor(factor: Factor, directions: Mapping[sp.MatrixSymbol, Form]) -> Form:
    if isinstance(factor, LogDet):
        return _inverse(factor.inner).times(differential(factor.inner, directions)).trace()
    if len(factor) == 1 and factor[0].spectral is not None:
        name, order = factor[0].spectral
        inner = cast("Form", factor[0].inner)
        change = differential(inner, directions)
        if not change.terms:
            return _scalar(0)
        if order != -1:
            raise CalculusError(f"the derivative of {name} is not named; write tr G with g named instead")
        return _of_letter(_spectral_letter(name, 0, inner)).times(change).trace()
    rows = factor[0].rows
    return _differential_of_word(factor, rows, rows, directions).trace()


def _differential_of_word(word: Word, rows: Any, columns: Any, directions: Mapping[sp.MatrixSymbol, Form]) -> Form:
    total = Form(rows, columns)
    for position, letter in enumerate(word):
        change = _differential_of_letter(letter, directions)
        if change is not None:
            left = _of_word(word[:position], rows, letter.rows)
            right = _of_word(word[position + 1 :], letter.columns, columns)
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
    itself = _of_letter(letter)
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
    direction = _symbol_letter(sp.MatrixSymbol(f"d{variable.name}", rows, columns))
    change = differential(form, {variable: _of_letter(direction)})
    total = Form(rows, columns)
    for (factors, _), c in change.terms.items():
        position = next(i for i, f in enumerate(factors) if not isinstance(f, LogDet) and _mentions(f, direction))
        word = cast("Word", factors[position])
        rest = (*factors[:position], *factors[position + 1 :])
        word = word if direction in word else _transposed(word)
        at = word.index(direction)
        cofactor = _transposed(word[at + 1 :] + word[:at])  # tr(dX·R) = ⟨dX, Rᵀ⟩
        total = total.plus(Form(rows, columns, {(rest, cofactor): c}))
    return _frozen(total, frozen=False)


def _mentions(word: Word, direction: Letter) -> bool:
    return direction in word or direction.flip() in word


def equal(left: Any, right: Any, rules: Sequence[Rule] = (), values: Mapping[sp.Symbol, sp.Expr] | None = None) -> bool:
    """Decide left = right for the listed rules and the given ones. True is a proof; False is not a refutation.

    ``values`` are scalar equations, letter = expression, put into the coefficients at the end.
    """
    difference = reduced(normal(left, rules).minus(normal(right, rules)), rules)
    substitutions: Any = values or {}
    return all(sp.expand(sp.cancel(c.subs(substitutions))) == 0 for c in difference.terms.values())
