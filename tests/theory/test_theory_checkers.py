"""Every checker must be able to say no: to what is false, to what it cannot know, and to what would follow from anything."""

import random
from typing import Any

import mpmath
import pytest
import sympy as sp
from flint import ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from jepalign.theory import balls, smt
from jepalign.theory.claims import (
    AfterStep,
    Cited,
    Claim,
    Context,
    Dominates,
    Equality,
    Gradient,
    Implication,
    Outcome,
    Positive,
    Rate,
    ScalarIdentity,
    SolvesODE,
    formula_failure,
)
from jepalign.theory.exact import Instance, NotExactError, eye, is_positive_semidefinite, matrix, rational, value_of
from jepalign.theory.expressions import squared_norm, tr
from jepalign.theory.setting import Draw, P, Q, Sigma_x, W, alpha, d, k

x, y, t = sp.symbols("x y t", real=True)


def somewhere(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    rows, columns = draw.sizes(size)
    values = {
        W: draw.matrix(rows, columns),
        P: draw.matrix(rows, rows),
        Q: draw.matrix(rows, rows),
        Sigma_x: draw.positive_definite(columns),
    }
    return Instance(
        {k: rows, d: columns},
        values,
        {x: draw.positive(), y: draw.positive(), t: draw.positive(), alpha: draw.positive()},
    )


CONTEXT = Context(instances=somewhere)

TRUE: list[Claim] = [
    Equality(tr(P * Q), tr(Q * P)),
    Gradient(squared_norm(P * W) / 2, W, -P.T * P * W),
    Rate(W * W.T, {W: P * W}, P * W * W.T + W * W.T * P.T),
    AfterStep(P * W, {W: W + P * W}, P * W + P * P * W),
    Dominates(P * P.T + Q * Q.T, Q * Q.T, P),
    Dominates(squared_norm(P) + squared_norm(Q), squared_norm(Q), P),
    ScalarIdentity((x + y) ** 2, x**2 + 2 * x * y + y**2),
    ScalarIdentity(sp.Derivative(sp.log(x), x), 1 / x),
    SolvesODE(y / (1 + x * y * t), x * 0 + sp.Symbol("u"), t, -x * sp.Symbol("u") ** 2, y),
    Implication(x**2 + y**2 >= 2 * x * y),
    Positive(sp.exp(x) - 1 - x, {x: (sp.Rational(1, 10), 2)}),
]
FALSE: list[Claim] = [
    Equality(tr(P * Q), tr(P) * tr(Q)),
    Gradient(squared_norm(P * W) / 2, W, -P * P.T * W),
    Gradient(squared_norm(P * W) / 2, W, P.T * P * W),
    Rate(W * W.T, {W: P * W}, 2 * P * W * W.T),
    AfterStep(P * W, {W: W + P * W}, P * W),
    Dominates(Q * Q.T, P * P.T + Q * Q.T, P),
    Dominates(P * Q, Q * P, P),
    Dominates(squared_norm(Q), squared_norm(P) + squared_norm(Q), P),
    ScalarIdentity((x + y) ** 2, x**2 + y**2),
    ScalarIdentity(sp.log(x * y), sp.log(x) * sp.log(y)),
    SolvesODE(y * sp.exp(-x * t), sp.Symbol("u"), t, -x * sp.Symbol("u") ** 2, y),
    SolvesODE(sp.exp(-x * t), sp.Symbol("u"), t, -x * sp.Symbol("u"), y),
    Implication(x > 0),
    Implication(x * y > 0, given=(x > 0,)),
    Positive(sp.exp(x) - 2 - x, {x: (sp.Rational(1, 10), 2)}),
]
UNDECIDED: list[Claim] = [
    # True, and outside the rules of the calculus (push-through).
    Equality((sp.Identity(k) + W * W.T).I * W, W * (sp.Identity(d) + W.T * W).I),
    # True, but a factor is needed to see it, and this one is wrong.
    Dominates(P * P.T + Q * Q.T, Q * Q.T, Q),
    # True, but not a rational identity.
    ScalarIdentity(sp.sqrt(x**2 * y), x * sp.sqrt(y) * sp.sign(x)),
    # An equality is never proved by balls, and a strict inequality not where the sides touch.
    Positive(sp.exp(x) - 1 - x, {x: (-1, 2)}),
    # Everything follows from a contradiction; it is not accepted.
    Implication(x > 1, given=(x > 0, x < 0)),
]


@pytest.mark.parametrize("claim", TRUE, ids=lambda c: c.latex())
def test_the_truth_is_proved(claim: Claim) -> None:
    finding = claim.check(CONTEXT)
    assert finding.outcome is Outcome.PROVED
    assert finding.tool
    assert finding.version
    rng = random.Random(1)
    for size in (1, 2, 3):
        assert claim.failure(somewhere(rng, size).with_(scalars={x: rational("1/2")})) is None


@pytest.mark.parametrize("claim", FALSE, ids=lambda c: c.latex())
def test_falsehood_is_refuted_with_a_counterexample(claim: Claim) -> None:
    finding = claim.check(CONTEXT)
    assert finding.outcome is Outcome.REFUTED
    assert "=" in finding.detail


@pytest.mark.parametrize("claim", UNDECIDED, ids=lambda c: c.latex())
def test_what_is_not_known_is_unknown(claim: Claim) -> None:
    finding = claim.check(CONTEXT)
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.detail


@pytest.mark.parametrize("claim", FALSE, ids=lambda c: c.latex())
def test_without_instances_a_matrix_falsehood_is_at_best_unknown(claim: Claim) -> None:
    assert claim.check(Context()).outcome is not Outcome.PROVED


def test_a_cited_theorem_is_counted_as_cited() -> None:
    finding = Cited("a = b", "somebody, Theorem 1").check(CONTEXT)
    assert (finding.outcome, finding.method) == (Outcome.PROVED, "cited")
    with pytest.raises(NotExactError):
        Cited("a = b", "somebody").failure(somewhere(random.Random(0), 1))


# -- z3 -------------------------------------------------------------------------------------------------------------------

POLYNOMIALS = st.lists(st.integers(-3, 3), min_size=1, max_size=4)


@given(POLYNOMIALS, POLYNOMIALS)
@settings(max_examples=80, deadline=None)
def test_z3_agrees_with_exact_evaluation(first: list[int], second: list[int]) -> None:
    left = sum((c * x**i for i, c in enumerate(first)), sp.Integer(0))
    right = sum((c * x**i for i, c in enumerate(second)), sp.Integer(0))
    claim = sp.Ge(left, right, evaluate=False)
    answer = smt.decide([sp.Ge(x, -2), sp.Le(x, 2)], claim)
    grid = [Instance(scalars={x: fmpq(i, 5)}) for i in range(-10, 11)]
    if answer.status == "proved":
        assert all(formula_failure(claim, where) is None for where in grid)
    else:
        assert answer.status == "refuted"
        # z3's model, put back: a rational one must fail exactly.
        value = answer.model.removeprefix("x = ")
        if "?" not in value:
            assert formula_failure(claim, Instance(scalars={x: rational(value)})) is not None


def test_z3_names_contradictory_hypotheses() -> None:
    assert smt.decide([x > 0, x < 0], x > 5).status == "vacuous"


def test_z3_that_runs_out_does_not_prove(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smt, "RESOURCES", 1)
    hard = sp.Eq(x**5 + y**7 + x**3 * y**2, 3) & (x * y > 1) & (x**4 + y**4 < 5)
    assert smt.decide([hard], x**9 * y > 17).status == "unknown"


@pytest.mark.parametrize("formula", [1 / x > 0, sp.sqrt(x) > 1, sp.log(x) > 0, x, sp.Xor(x > 0, y > 0)], ids=str)
def test_z3_is_asked_polynomials_only(formula: Any) -> None:
    with pytest.raises(smt.NotPolynomialError):
        smt.decide([], formula)


def test_connectives_mean_what_they_say() -> None:
    formulas = [
        sp.And(x > 0, y > 0),
        sp.Or(x > 0, y > 0),
        sp.Not(sp.And(x > 0, y > 0)),
        sp.Implies(x > 0, y > 0),
        sp.Equivalent(x > 0, y > 0),
        sp.Ne(x, y),
        sp.Eq(x, y),
    ]
    for formula in formulas:
        for one in (-1, 0, 1):
            for two in (-1, 0, 1):
                here = [sp.Eq(x, one), sp.Eq(y, two)]
                proved = smt.decide(here, formula).status == "proved"
                assert proved == (formula_failure(formula, Instance(scalars={x: one, y: two})) is None)
                assert proved == bool(formula.subs({x: one, y: two}))


# -- ball arithmetic ------------------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "exp and log": (sp.exp(-(x**2)) + sp.log(1 + x), lambda v: mpmath.exp(-(v**2)) + mpmath.log(1 + v)),
    "square root": (sp.sqrt(x) / (1 + x) ** 3, lambda v: mpmath.sqrt(v) / (1 + v) ** 3),
    "Lambert W": (sp.LambertW(x), mpmath.lambertw),
    "integral": (sp.Integral(sp.exp(-y * x), (y, 0, 1)), lambda v: (1 - mpmath.exp(-v)) / v),
    "cube root": (sp.Abs(x - 3) ** sp.Rational(1, 3) * sp.pi, lambda v: mpmath.pi * mpmath.cbrt(abs(v - 3))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("value", ["1/7", "2", "40/3"])
def test_a_ball_contains_the_value(name: str, value: str) -> None:
    expression, reference = FUNCTIONS[name]
    before = ctx.prec
    ball = balls.enclosure(expression, {x: value})
    assert ctx.prec == before
    with mpmath.workdps(90):
        point = fmpq(*map(int, value.split("/")))
        exact = reference(mpmath.mpf(int(point.p)) / int(point.q))
        middle, radius = (
            mpmath.mpf(str(ball.mid().str(80, radius=False))),
            mpmath.mpf(str(ball.rad().str(20, radius=False))),
        )
        # The ball's middle is printed to eighty digits, which adds at most 1e-79 of it.
        assert abs(mpmath.re(exact) - middle) <= radius + abs(middle) * mpmath.mpf("1e-70")
        # Integrals are asked for to half the bits, everything else to nearly all.
        assert radius <= mpmath.mpf("1e-30") * max(1, abs(middle))


@pytest.mark.parametrize("expression", [1 / t, sp.log(t), sp.gamma(x), y, sp.sqrt(-x)], ids=str)
def test_what_has_no_enclosure_is_refused(expression: Any) -> None:
    with pytest.raises(balls.NotEnclosedError):
        balls.enclosure(expression, {x: 1, t: 0})


def test_the_sign_over_a_box() -> None:
    bump = x * sp.exp(-x)  # at most 1/e
    assert balls.sign_over(sp.Rational(37, 100) - bump, {x: (0, 3)})[0] is balls.Sign.POSITIVE
    sign, where = balls.sign_over(sp.Rational(36, 100) - bump, {x: (0, 3)})
    assert sign is balls.Sign.NOT_POSITIVE
    assert "x = " in where
    assert balls.sign_over(sp.exp(-1) - bump, {x: (0, 3)})[0] is balls.Sign.UNKNOWN
    # Zero is not positive, and a claim that holds up to the boundary is not proved there.
    assert balls.sign_over(x**2, {x: (-1, 1)})[0] is balls.Sign.NOT_POSITIVE
    assert balls.sign_over(x * y, {x: (1, 2), y: (-1, 1)})[0] is balls.Sign.NOT_POSITIVE
    assert balls.sign_over(sp.log(x), {x: (2, 2)})[0] is balls.Sign.POSITIVE


# -- exact arithmetic -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_semidefiniteness_is_decided_exactly(seed: int, size: int) -> None:
    draw = Draw(random.Random(seed))
    half = draw.matrix(size, max(1, size - 1))
    gram = half * half.transpose()
    assert is_positive_semidefinite(gram)
    for candidate in (gram, gram - eye(size) * fmpq(1, 7), draw.symmetric(size)):
        found = sp.Matrix(size, size, [sp.Rational(int(e.p), int(e.q)) for e in candidate.entries()])
        assert is_positive_semidefinite(candidate) == bool(found.is_positive_semidefinite)
    assert not is_positive_semidefinite(gram - gram - eye(size))


def test_an_asymmetric_matrix_is_not_semidefinite() -> None:
    assert not is_positive_semidefinite(matrix([[1, 1], [0, 1]]))


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_draws_are_what_they_are_called(seed: int, size: int) -> None:
    draw = Draw(random.Random(seed))
    assert draw.positive() > 0
    assert draw.invertible(size).det() != 0
    assert is_positive_semidefinite(draw.positive_definite(size))
    whole = draw.orthogonal(size)
    assert whole * whole.transpose() == eye(size)
    rows = draw.orthonormal_rows(max(1, size - 1), size)
    assert rows * rows.transpose() == eye(max(1, size - 1))
    pairing = draw.pairing(size)
    assert pairing * pairing == eye(2 * size)
    assert pairing == pairing.transpose()
    assert all(pairing[i, i] == 0 for i in range(2 * size))
    encoder, predictor, rate = draw.balanced(max(1, size - 1), size)
    assert predictor.transpose() * predictor == encoder * encoder.transpose() * rate
    context, target, both = draw.moments(size)
    joint = [[context[i, j] for j in range(size)] + [both[j, i] for j in range(size)] for i in range(size)]
    joint += [[both[i, j] for j in range(size)] + [target[i, j] for j in range(size)] for i in range(size)]
    assert is_positive_semidefinite(matrix(joint))


@pytest.mark.parametrize(
    "expression",
    [sp.log(x), sp.sqrt(x + 1), 1 / (x - 2), sp.MatrixSymbol("M", 2, 2), P.I, sp.Symbol("nowhere"), sp.exp(x)],
    ids=str,
)
def test_what_is_not_rational_is_not_evaluated(expression: Any) -> None:
    where = Instance({k: 1, d: 1}, {P: matrix([[0]])}, {x: 2})
    with pytest.raises(NotExactError):
        value_of(expression, where)


def test_roots_of_squares_are_exact() -> None:
    assert value_of(sp.sqrt(x), Instance(scalars={x: rational("9/4")})) == fmpq(3, 2)
