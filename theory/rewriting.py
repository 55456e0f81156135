"""Rewriting forms by rules: the built-in ones of inverses and spectral functions, and equations that a caller assumes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from jepalign.theory.canonical import canonical
from jepalign.theory.forms import (
    CalculusError,
    Form,
    Letter,
    LogDet,
    Term,
    Word,
    cyclic_word,
    identity_form,
    inverse,
    leading,
    logdet_form,
    of_letter,
    of_word,
    rotations,
    spectral_letter,
    transposed_word,
    word_order,
)

# Rules given by a caller need not terminate. No identity of the catalogue comes near these bounds.
REWRITE_LIMIT = 20_000
WORD_LIMIT = 200


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
    if not coefficient.is_nonzero:
        raise CalculusError(f"{left} = {right} cannot be read as a rule: the coefficient {coefficient} may vanish")
    target = target.scaled(1 / coefficient)
    rule, mirrored = Rule(word, target), Rule(transposed_word(word), target.transpose())
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
    word, coefficient, rest = leading(letter.inner)
    if not word:
        return []
    size = letter.rows
    one = of_letter(letter)
    others = Form.collect(size, size, (((((), w)), c / coefficient) for w, c in rest))
    if letter.spectral is not None:
        swapped = of_word((letter, *word), size, size).plus(one.times(others)).minus(others.times(one))
        inward, outward = Rule((*word, letter), swapped), of_word((*word, letter), size, size)
        back = outward.minus(one.times(others)).plus(others.times(one))
        return [(inward, True), (Rule((letter, *word), back), True)]
    unit = identity_form(size).scaled(1 / coefficient)
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
                found.append((Rule((first, second), of_word((second, first), first.rows, first.rows)), True))
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
            for turned in rotations(word):
                if turned[:span] != rule.pattern:
                    continue
                rest = of_word(turned[span:], rule.replacement.columns, turned[0].rows)
                result = rule.replacement.times(rest).trace()
                if exchange and not all(word_order(_only(t)) < word_order(cyclic_word(word)) for t in result.terms):
                    continue  # under a trace an exchange can lead back to where it came from
                if set(result.terms) == {((cyclic_word(word),), ())}:
                    continue  # an exchange that a rotation or a transposition undoes
                return result
        elif (at := _find(rule.pattern, word)) >= 0:
            if exchange and _is_spectral(rule.pattern[0]) and not _is_spectral(rule.pattern[-1]):
                continue  # in an open word spectral functions move to the left only
            span = len(rule.pattern)
            left = of_word(word[:at], rows, rule.replacement.rows)
            right = of_word(word[at + span :], rule.replacement.columns, columns)
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
        return inverse(inner) if letter.spectral is None else of_letter(spectral_letter(*letter.spectral, inner))

    def renew_factors(terms: Mapping[Term, sp.Expr]) -> Iterator[tuple[Term, sp.Expr]]:
        for (factors, word), c in terms.items():
            product = Form(None, None, {(tuple(f for f in factors if not isinstance(f, LogDet)), ()): c})
            for factor in factors:
                if isinstance(factor, LogDet):
                    product = product.times(logdet_form(reduced(factor.inner, rules)))
            yield from product.times(of_word(word, form.rows, form.columns)).terms.items()

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
                rest = of_word(word, form.rows, form.columns)
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
