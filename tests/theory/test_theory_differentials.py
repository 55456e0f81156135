"""The product rule on forms, held to exact dual numbers: products of traces, matrices with trace factors, spectral traces."""

import random
from typing import Any

import pytest
import sympy as sp

from jepalign.theory.calculus import CalculusError, canonical, differential, equal, gradient, normal
from jepalign.theory.claims import Rate
from jepalign.theory.exact import Instance
from jepalign.theory.expressions import SpectralFunction, StopGradient, SymmetricSymbol, logdet, squared_norm, tr
from jepalign.theory.setting import Draw, P, Q, k

S: Any = SymmetricSymbol("S", k)
R: Any = SymmetricSymbol("R", k)


def drawn(seed: int) -> Instance:
    draw = Draw(random.Random(seed))
    size = 1 + seed % 3
    return Instance({k: size}, {P: draw.matrix(size, size), Q: draw.matrix(size, size), S: draw.symmetric(size)})


V: Any = Q * P - P.T
one, two, third = tr(Q * V), 2 * tr(P * V), tr(V * P * Q) + tr(P * V * Q)
a, b, c = tr(P * Q), tr(P * P), tr(P * P * Q)

# A quantity, and its derivative along Ṗ = QP − Pᵀ by the product rule, written out.
RATES: dict[str, tuple[Any, Any]] = {
    "two traces": (a * b, one * b + a * two),
    "three traces": (a * b * c, one * b * c + a * two * c + a * b * third),
    "four traces": (
        tr(P) * a * b * c,
        tr(V) * a * b * c + tr(P) * (one * b * c + a * two * c + a * b * third),
    ),
    "square of a trace": (tr(P * P * P) ** 2, 6 * tr(P * P * P) * tr(P * P * V)),
    "trace times matrix": (b * (P * Q * P), two * (P * Q * P) + b * (V * Q * P + P * Q * V)),
    "two traces times matrix": (b * a * P.T, two * a * P.T + b * one * P.T + b * a * V.T),
    "sum of unlike terms": (
        tr(P) * P + a * Q + P * P,
        tr(V) * P + tr(P) * V + one * Q + V * P + P * V,
    ),
    "trace times identity": (tr(P * P.T) * sp.Identity(k), 2 * tr(P.T * V) * sp.Identity(k)),
}


@pytest.mark.parametrize("name", RATES)
def test_the_differential_of_a_product_is_the_product_rule(name: str) -> None:
    quantity, rate = RATES[name]
    assert equal(differential(canonical(quantity), {P: canonical(V)}), rate)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", RATES)
def test_the_product_rule_is_that_of_exact_arithmetic(name: str, seed: int) -> None:
    """Dual numbers share no code with the calculus: what is written out above is not taken on trust."""
    quantity, rate = RATES[name]
    assert Rate(quantity, {P: V}, rate).failure(drawn(seed)) is None


def test_the_gradient_of_a_product_of_traces_keeps_the_other_factors() -> None:
    assert equal(gradient(tr(P * Q) * squared_norm(P), P), squared_norm(P) * Q.T + 2 * tr(P * Q) * P)
    cubic = tr(Q * P) * tr(P) * squared_norm(P)
    written = tr(P) * squared_norm(P) * Q.T + tr(Q * P) * squared_norm(P) * sp.Identity(k) + 2 * tr(Q * P) * tr(P) * P
    assert equal(gradient(cubic, P), written)


def test_what_does_not_move_has_no_differential() -> None:
    potential = tr(SpectralFunction("g", S, -1))
    assert not differential(canonical(potential), {P: canonical(Q)}).terms
    assert not differential(canonical(potential * tr(Q)), {P: canonical(Q)}).terms
    assert equal(differential(canonical(potential * tr(P)), {P: canonical(Q)}), potential * tr(Q))
    assert not differential(canonical(logdet(S)), {P: canonical(Q)}).terms
    assert not differential(canonical(S * S), {P: canonical(Q)}).terms


def test_an_antiderivative_has_its_function_for_derivative() -> None:
    form = differential(canonical(tr(SpectralFunction("g", S, -1))), {S: canonical(R)})
    assert equal(form, tr(SpectralFunction("g", S) * R))


def test_a_function_has_no_derivative_that_is_named() -> None:
    with pytest.raises(CalculusError, match="the derivative of g is not named"):
        differential(canonical(tr(SpectralFunction("g", S))), {S: canonical(R)})
    with pytest.raises(CalculusError, match="inside a product"):
        differential(canonical(SpectralFunction("g", S) * P), {S: canonical(R)})
    # Where nothing moves there is nothing to name.
    assert not differential(canonical(tr(SpectralFunction("g", S))), {P: canonical(Q)}).terms


def test_a_function_in_a_product_has_no_differential() -> None:
    with pytest.raises(CalculusError, match="inside a product is not a rule"):
        differential(canonical(tr(SpectralFunction("g", S) * P)), {S: canonical(R)})
    assert equal(
        differential(canonical(tr(SpectralFunction("g", S) * P)), {P: canonical(Q)}), tr(SpectralFunction("g", S) * Q)
    )


def test_a_gradient_has_no_stopped_letters_left() -> None:
    """Stopping decides what moves; afterwards a stopped letter is the letter."""
    found = gradient(tr(StopGradient(P) * Q * P.T), P)
    assert found.key == canonical(P * Q).key


def test_directions_have_the_shape_and_the_symmetry_of_their_letters() -> None:
    with pytest.raises(CalculusError, match="its direction"):
        differential(canonical(P), {P: canonical(sp.MatrixSymbol("U", k, 2))})
    for skewed in (P, P.T, Q * P, P - R, R - P.T):
        with pytest.raises(CalculusError, match="is symmetric, its direction is not"):
            differential(canonical(S), {S: canonical(skewed)})
    with pytest.raises(CalculusError, match=r"is \(k, k\), its direction"):
        differential(canonical(tr(P)), {P: canonical(sp.MatrixSymbol("U", 2, k))})
    with pytest.raises(CalculusError, match="a gradient needs a scalar"):
        gradient(P * Q, P)
    with pytest.raises(CalculusError, match="is symmetric: a gradient in its entries is not unique"):
        gradient(tr(S * S), S)


def test_values_are_put_into_coefficients_at_the_end() -> None:
    a, b = sp.symbols("a b")
    assert not equal(a * P, b * P)
    assert equal(a * P, b * P, values={a: b})
    assert not equal(a * P, 2 * b * P, values={a: b})
    assert not normal(a * P - a * P).terms
