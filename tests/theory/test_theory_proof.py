"""verify() must notice every way in which a theorem can be broken."""

import random
from dataclasses import replace
from typing import Any

import pytest
import sympy as sp

from jepalign.errors import InputError
from jepalign.theory.claims import Cited, Dominates, Equality, Implication
from jepalign.theory.exact import Instance, eye, matrix
from jepalign.theory.expressions import tr
from jepalign.theory.printing import latex
from jepalign.theory.proof import (
    Assumption,
    Equation,
    FalseSibling,
    Inequality,
    Semidefinite,
    Source,
    Step,
    Theorem,
    Witness,
    examples,
    verify,
)
from jepalign.theory.setting import Draw, P, Q, W, alpha, d, k, w

SYMMETRIC = Assumption("symmetric", "$P$ is symmetric", Equation(P.T, P))
BIG = Assumption("big", "$w > 1$", Inequality(w > 1))


def admissible(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    return Instance({k: size}, {P: draw.symmetric(size), Q: draw.matrix(size, size)}, {w: draw.positive() + 1})


SOUND = Theorem(
    name="sound",
    title="Two small facts",
    chapter=2,
    statement="$P P^{\\top} = P^2$, and $w^2 > w$.",
    assumptions=(SYMMETRIC, BIG),
    proof=(
        Step(Equality(P * P.T, P * P), "By symmetry.", uses=("symmetric",), conclusion=True),
        Step(Implication(w**2 > w), "Multiply by $w$.", uses=("big",), conclusion=True),
    ),
    siblings=(
        FalseSibling("sign", "sign", "minus", Equality(P * P.T, -P * P), uses=("symmetric",)),
        FalseSibling("order", "exchange", "less", Implication(w**2 < w), uses=("big",)),
    ),
    witnesses=(
        Witness("symmetric", Instance({k: 2}, {P: matrix([[0, 1], [0, 0]]), Q: eye(2)}, {w: 2})),
        Witness("big", Instance({k: 1}, {P: eye(1), Q: eye(1)}, {w: 1})),
    ),
    instances=admissible,
    sources=(Source("ours"),),
    belief="None.",
    example="assert True",
)


def test_a_sound_theorem_stands() -> None:
    report = verify(SOUND)
    assert report.stands
    assert report.verdict == "proved"
    assert report.exact_evaluations == 6
    assert [n.amount for n in report.necessity] == ["the sides differ by 1", "false: w**2 − (w) = 0"]


def broken(**changes: Any) -> Any:
    report = verify(replace(SOUND, **changes))
    assert not report.stands
    return report


def test_a_false_step_is_refuted() -> None:
    step = Step(Equality(P * Q, Q * P), "Wishful.", conclusion=True)
    assert broken(proof=(*SOUND.proof, step)).verdict == "refuted"


def test_a_step_that_needs_an_assumption_it_does_not_name_is_not_proved() -> None:
    steps = (Step(Equality(P * P.T, P * P), "By symmetry, unnamed.", conclusion=True), SOUND.proof[1])
    assert broken(proof=steps).verdict == "unknown"


def test_an_undecided_step_is_not_success() -> None:
    left = (sp.Identity(k) + P * Q).I * P
    step = Step(Equality(left, P * (sp.Identity(k) + Q * P).I), "Push-through.")
    assert broken(proof=(*SOUND.proof, step)).verdict == "unknown"


def test_contradictory_hypotheses_prove_nothing() -> None:
    never = Assumption("never", "$w < 0$", Inequality(w < 0))
    step = Step(Implication(w > 5), "Anything follows.", uses=("big", "never"))
    assert broken(assumptions=(*SOUND.assumptions, never), proof=(*SOUND.proof, step)).verdict == "unknown"


def test_a_citation_shows_in_the_verdict() -> None:
    report = verify(replace(SOUND, proof=(*SOUND.proof, Step(Cited("x = x", "somebody"), "Elsewhere."))))
    assert report.stands
    assert report.verdict == "proved-with-citations"


def test_a_theorem_without_steps_is_not_proved() -> None:
    assert broken(proof=()).verdict == "unknown"


def test_a_true_sibling_is_not_refused() -> None:
    true = FalseSibling("true", "exchange", "nothing", Equality(tr(P * Q), tr(Q * P)))
    report = broken(siblings=(true,))
    assert [s.refused for s in report.siblings] == [False]


def test_a_sibling_that_is_only_undecided_is_not_refused() -> None:
    left, right = (sp.Identity(k) + P * Q).I * P, P * (sp.Identity(k) + Q * P).I
    report = broken(siblings=(FalseSibling("undecided", "exchange", "push-through", Equality(left, right)),))
    assert not report.siblings[0].refused


@pytest.mark.parametrize(
    ("witness", "problem"),
    [
        (Witness("symmetric", Instance({k: 1}, {P: eye(1), Q: eye(1)}, {w: 2})), "does not break"),
        (Witness("symmetric", Instance({k: 2}, {P: matrix([[0, 1], [0, 0]]), Q: eye(2)}, {w: 1})), "also breaks big"),
        # w = −1 breaks w > 1, and w² > w holds all the same.
        (Witness("big", Instance({k: 1}, {P: eye(1), Q: eye(1)}, {w: -1})), "may not be needed"),
    ],
    ids=["breaks nothing", "breaks two", "conclusion survives"],
)
def test_a_witness_must_show_what_it_should(witness: Witness, problem: str) -> None:
    others = tuple(w for w in SOUND.witnesses if w.assumption != witness.assumption)
    report = broken(witnesses=(witness, *others))
    assert problem in report.necessity[0].problem


def test_every_assumption_needs_a_witness() -> None:
    assert "assumption big has no witness" in broken(witnesses=SOUND.witnesses[:1]).problems


def test_a_sampler_that_draws_the_inadmissible_is_found_out() -> None:
    def careless(rng: random.Random, size: int) -> Instance:
        return admissible(rng, size).with_(scalars={w: 0})

    problems = broken(instances=careless).problems
    assert any("breaks big" in p for p in problems)


def test_a_checker_that_proves_too_much_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact instances are a second path: a calculus that called everything equal would not get away with it."""
    monkeypatch.setattr("jepalign.theory.checking.equal", lambda *_: True)
    step = Step(Equality(P * Q, Q * P), "Wishful.", conclusion=True)
    report = broken(proof=(step,))
    assert report.verdict == "proved"
    assert any("fails at an admissible instance" in p for p in report.problems)
    assert not report.siblings[0].refused


def test_a_misspelt_assumption_is_an_error() -> None:
    with pytest.raises(InputError, match=r"uses = symetric: is neither an assumption nor an earlier equality of sound"):
        verify(replace(SOUND, proof=(Step(Equality(P * P.T, P * P), "", uses=("symetric",)),)))


def test_an_earlier_step_can_be_used_as_a_rule() -> None:
    steps = (
        Step(Equality(P * P.T, P * P), "By symmetry.", uses=("symmetric",), name="square"),
        Step(Equality(Q * P * P.T, Q * P * P), "By the first step.", uses=("square",), conclusion=True),
    )
    assert verify(replace(SOUND, proof=steps, siblings=SOUND.siblings[:1])).verdict == "proved"


def test_a_semidefinite_assumption_needs_a_factor_that_fits() -> None:
    with pytest.raises(InputError, match="factor"):
        Semidefinite(P, Q, (P, Q * Q))
    fits = Semidefinite(P, Q, (P, Q * Q.T))
    assert fits.failure(Instance({k: 1}, {P: matrix([[-1]])})) == "not positive semidefinite"
    assert fits.failure(Instance({k: 1}, {P: eye(1)})) is None


def test_examples_report_and_shrink_a_failure() -> None:
    wrong = replace(SOUND, proof=(Step(Equality(P * Q, Q * P), "", conclusion=True),))
    found = examples(wrong, 30, seed=1)
    assert "k=2" in found["failure"]  # the smallest shape in which matrices do not commute
    assert examples(SOUND, 30)["failure"] is None
    with pytest.raises(InputError, match="count = 0"):
        examples(SOUND, 0)


# -- print ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (P.T * W * W.T - P.T * P, r"P^{\top} W W^{\top} - P^{\top} P"),
        (tr(W.T * W) / 2, r"\frac{1}{2} \, \lVert W \rVert^{2}"),
        (tr(P - Q), r"\operatorname{tr}\left(P - Q\right)"),
        (alpha * tr(P * Q), r"\alpha \, \operatorname{tr} P Q"),
        (sp.Rational(1, 10**30), "10^{-30}"),
        ((1 - w) ** 2, r"\left(1 - w\right)^{2}"),
    ],
    ids=str,
)
def test_formulas_are_printed_as_the_field_writes_them(expression: Any, expected: str) -> None:
    assert latex(expression) == expected


def test_loewner_order_is_not_symmetric() -> None:
    assert Dominates(P * P.T, sp.ZeroMatrix(k, k), P).latex() == r"P P^{\top} \succeq 0"
    assert d != k
