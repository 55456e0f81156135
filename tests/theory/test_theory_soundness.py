"""Ways in which a theorem could come to stand without being true, each closed: ill-formed instances, circular steps,
factors that are not real, letters that share a name, conclusions nobody evaluates; and what a belief has to show."""

import random
import time
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
import sympy as sp
from flint import fmpq

from jepalign.errors import InputError
from jepalign.theory import smt
from jepalign.theory.calculus import CalculusError, canonical, equal, gradient, normal, substitute
from jepalign.theory.claims import Context, Dominates, Equality, Implication, ModeRate, Outcome, Positive
from jepalign.theory.exact import Instance, NotExactError, eye, matrix, value_of
from jepalign.theory.expressions import SpectralFunction, SymmetricSymbol, squared_norm, tr
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
from jepalign.theory.setting import Draw, P, Q, Sigma_x, W, d, k, p, s, w

SYMMETRIC = Assumption("symmetric", "$P$ is symmetric", Equation(P.T, P))


def drawn(rng: random.Random, size: int) -> Instance:
    draw = Draw(rng)
    return Instance(
        {k: size}, {P: draw.symmetric(size), Q: draw.matrix(size, size)}, {w: draw.positive() + 1, p: draw.number()}
    )


SQUARE = Step(Equality(P * P.T, P * P), "By symmetry.", uses=("symmetric",), name="square", conclusion=True)

SOUND = Theorem(
    name="sound",
    title="A small fact",
    chapter=2,
    statement="$P P^{\\top} = P^2$.",
    assumptions=(SYMMETRIC,),
    proof=(SQUARE,),
    siblings=(FalseSibling("minus", "sign", "minus", Equality(P * P.T, -P * P), uses=("symmetric",)),),
    witnesses=(Witness("symmetric", Instance({k: 2}, {P: matrix([[0, 1], [0, 0]]), Q: eye(2)}, {w: 2, p: 0})),),
    instances=drawn,
    sources=(Source("ours"),),
    belief="None.",
    example="assert True",
)

BELIEF = replace(
    SOUND,
    kind="belief",
    statement="Matrices commute.",
    repair="$P P^{\\top} = P^2$.",
    said=(Step(Equality(P * Q, Q * P), "As numbers do."),),
)

# -- beliefs --------------------------------------------------------------------------------------------------------------


def test_a_belief_is_refuted_and_its_repair_proved() -> None:
    report = verify(BELIEF)
    assert report.stands
    assert report.verdict == "refuted"
    (said,) = report.said
    assert said.refuted
    assert "the sides differ by" in said.counterexample
    assert said.claim == "P Q = Q P"
    assert verify(SOUND).said == ()


def test_a_belief_that_is_true_does_not_stand() -> None:
    report = verify(replace(BELIEF, said=(Step(Equality(tr(P * Q), tr(Q * P)), "Cyclic."),)))
    assert report.verdict == "unknown"
    assert not report.stands
    assert not report.said[0].refuted


def test_every_claim_of_a_belief_must_be_refuted() -> None:
    true = Step(Equality(P * P.T, P * P), "True after all.", uses=("symmetric",))
    assert not verify(replace(BELIEF, said=(*BELIEF.said, true))).stands


def test_a_belief_that_is_only_undecided_does_not_stand() -> None:
    left, right = (sp.Identity(k) + P * Q).I * P, P * (sp.Identity(k) + Q * P).I
    assert not verify(replace(BELIEF, said=(Step(Equality(left, right), "Push-through."),))).stands


def test_a_belief_may_use_assumptions_in_its_claims() -> None:
    said = Step(Equality(P * P.T, -P * P), "Wrong even for symmetric ones.", uses=("symmetric",))
    assert verify(replace(BELIEF, said=(said,))).stands


def test_a_repair_that_is_not_proved_is_a_problem() -> None:
    wishful = Step(Equality(P * P.T, P * P), "Symmetry forgotten.", conclusion=True)
    report = verify(replace(BELIEF, proof=(wishful,)))
    assert report.verdict == "refuted"
    assert not report.stands
    assert "the repair is unknown" in report.problems


@pytest.mark.parametrize(
    "change",
    [
        {"said": ()},
        {"repair": ""},
        {"kind": "theorem"},
        {"kind": "theorem", "repair": ""},
        {"kind": "theorem", "said": ()},
    ],
    ids=["nothing said", "no repair", "a theorem with both", "a theorem with a saying", "a theorem with a repair"],
)
def test_a_belief_and_nothing_else_has_sayings_and_a_repair(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"kind = \w+: a belief, and nothing else"):
        replace(BELIEF, **change)


# -- theorems -------------------------------------------------------------------------------------------------------------


def test_a_step_may_use_neither_itself_nor_what_follows() -> None:
    circular = Step(Equality(P * Q, Q * P), "By itself.", uses=("circle",), name="circle", conclusion=True)
    with pytest.raises(InputError, match="uses = circle: is neither an assumption nor an earlier equality"):
        verify(replace(SOUND, proof=(circular,)))
    early = Step(Equality(Q * P * P.T, Q * P * P), "By what follows.", uses=("square",))
    with pytest.raises(InputError, match="uses = square"):
        verify(replace(SOUND, proof=(early, SQUARE)))
    assert verify(replace(SOUND, proof=(SQUARE, early))).stands


def test_a_theorem_needs_a_conclusion_and_a_sibling() -> None:
    report = verify(replace(SOUND, proof=(replace(SQUARE, conclusion=False),), siblings=()))
    assert "no step of the proof is a conclusion" in report.problems
    assert "there is no false sibling" in report.problems
    assert not report.stands


def test_a_conclusion_that_no_instance_evaluates_is_a_problem() -> None:
    away = Step(Implication(w > 1, given=(w > 100,)), "True, and about nothing drawn.", conclusion=True)
    report = verify(replace(SOUND, proof=(SQUARE, away)))
    assert report.verdict == "proved"
    assert any("evaluated at no instance" in problem for problem in report.problems)
    assert report.exact_evaluations == 3


def test_a_semidefinite_assumption_says_no_more_than_its_factor() -> None:
    half = sp.MatrixSymbol("L", k, k)
    Semidefinite(P, half, (P, half * half.T))
    with pytest.raises(InputError, match=r"factor = 2\*L"):
        Semidefinite(P, 2 * half, (P, 4 * half * half.T))
    with pytest.raises(InputError, match="letter not in the matrix"):
        Semidefinite(P + half, half, (P, half * half.T - half))
    with pytest.raises(InputError, match="must be a k × k letter"):
        Semidefinite(P, sp.MatrixSymbol("L", k, d), (P, half * half.T))
    with pytest.raises(InputError, match="must be a d × d letter"):
        Semidefinite(Sigma_x, half, (Sigma_x, Sigma_x))
    with pytest.raises(InputError, match="solved for one product"):
        Semidefinite(P, half, (P, sp.ZeroMatrix(k, k)))


PARTS: list[Any] = [
    SOUND,
    SYMMETRIC,
    SQUARE,
    SOUND.siblings[0],
    SOUND.witnesses[0],
    SYMMETRIC.condition,
    Inequality(w > 1),
    Semidefinite(P, sp.MatrixSymbol("L", k, k), (P, sp.MatrixSymbol("L", k, k) * sp.MatrixSymbol("L", k, k).T)),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_the_parts_of_a_theorem_cannot_be_changed_and_are_themselves_only(part: Any) -> None:
    """A proof that was checked must stay the one that was checked; comparing formulas is the checkers' task, not ==."""
    name = fields(part)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(part, name, None)
    assert part != replace(part)
    assert part in {part}


def test_reports_are_values() -> None:
    report = verify(BELIEF)
    for part in (report, report.steps[0], report.siblings[0], report.necessity[0], report.said[0], SOUND.sources[0]):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)
        assert part == replace(part)


def test_instances_grow_from_the_smallest() -> None:
    sizes: list[int] = []

    def recorded(rng: random.Random, size: int) -> Instance:
        sizes.append(size)
        return drawn(rng, size)

    examples(replace(SOUND, instances=recorded), 8)
    assert sizes == [1, 2, 3, 4, 5, 6, 1, 2]
    sizes.clear()
    verify(replace(SOUND, instances=recorded, siblings=()))
    assert sizes == [1, 2, 3]


def test_the_seed_decides_the_instances() -> None:
    def found(**seed: int) -> str:
        return verify(BELIEF, **seed).said[0].counterexample

    assert found() == found(seed=0) != found(seed=1)
    assert verify(SOUND).siblings == verify(SOUND, seed=0).siblings != verify(SOUND, seed=5).siblings


def test_a_report_says_how_long_it_took() -> None:
    before = time.perf_counter()
    seconds = verify(SOUND).seconds
    assert 0 < seconds < time.perf_counter() - before


AWAY = Step(Implication(w > 1, given=(w > 100,)), "True, and about nothing drawn.", conclusion=True)


def test_a_conclusion_that_is_silent_does_not_silence_the_others() -> None:
    wrong = Step(Equality(P * Q, Q * P), "Wishful.", conclusion=True)
    report = verify(replace(SOUND, proof=(AWAY, wrong)))
    assert any("fails at an admissible instance" in problem for problem in report.problems)
    found = examples(replace(SOUND, proof=(AWAY, wrong)), 12)
    assert "the sides differ by" in found["failure"]
    assert examples(replace(SOUND, proof=(AWAY, SQUARE)), 12) == {"evaluated": 12, "failure": None}
    # The witness is judged by the conclusion that can be evaluated there.
    assert not verify(replace(SOUND, proof=(AWAY, SQUARE))).necessity[0].problem


def test_one_example_is_enough_to_ask_for() -> None:
    assert examples(SOUND, 1) == {"evaluated": 1, "failure": None}


def test_a_failure_that_no_small_instance_shows_is_reported_where_it_was_met() -> None:
    def late(rng: random.Random, size: int) -> Instance:
        return drawn(rng, size).with_(scalars={w: 5 if size < 4 else 200})

    bounded = Step(Implication(w < 100), "Only for the small ones.", conclusion=True)
    found = examples(replace(SOUND, proof=(bounded,), instances=late), 12)
    assert found["evaluated"] == 4
    assert found["failure"].startswith("false: w − (100) = 100 at k=4")


@pytest.mark.parametrize("order", [("symmetric", "big"), ("big", "symmetric")], ids=["first", "second"])
def test_a_witness_breaks_its_own_assumption_and_no_other(order: tuple[str, str]) -> None:
    big = Assumption("big", "$w > 1$", Inequality(w > 1))
    both = Instance({k: 2}, {P: matrix([[0, 1], [0, 0]]), Q: eye(2)}, {w: 0, p: 0})
    own, other = order
    report = verify(replace(SOUND, assumptions=(SYMMETRIC, big), witnesses=(Witness(own, both),)))
    assert report.necessity[0].problem == f"the instance also breaks {other}"


# -- claims ---------------------------------------------------------------------------------------------------------------


def test_a_gram_factor_must_be_real() -> None:
    """Q Qᵀ ⪰ w Q Qᵀ holds for w ≤ 1 only; with the factor √(1−w) Q it must be refused until w ≤ 1 is assumed."""
    gram = Q * Q.T
    claim = Dominates(gram, w * gram, sp.sqrt(1 - w) * Q)
    assert claim.check(Context()).outcome is Outcome.UNKNOWN
    assert claim.check(Context(hypotheses=(w <= 1,))).outcome is Outcome.PROVED
    assert claim.check(Context(hypotheses=(w <= 2,))).outcome is Outcome.UNKNOWN
    assert Dominates(gram, sp.ZeroMatrix(k, k), Q).check(Context()).outcome is Outcome.PROVED
    imaginary = Dominates(-gram, sp.ZeroMatrix(k, k), sp.I * Q)
    assert imaginary.check(Context()).outcome is Outcome.UNKNOWN


def test_roots_of_quotients_count_as_real_where_they_are() -> None:
    claim = Dominates(Q * Q.T / w, sp.ZeroMatrix(k, k), Q / sp.sqrt(w))
    assert claim.check(Context(hypotheses=(w > 0,))).outcome is Outcome.PROVED
    assert claim.check(Context()).outcome is Outcome.UNKNOWN


def test_claims_are_silent_where_they_do_not_speak() -> None:
    at = Instance({}, {}, {w: 1, p: 5})
    with pytest.raises(NotExactError, match="does not speak"):
        Implication(p < 0, given=(w > 2,)).failure(at)
    assert Implication(p < 0, given=(w > 0,)).failure(at) is not None
    with pytest.raises(NotExactError, match="w lies outside the box"):
        Positive(w - 10, {w: (2, 3)}).failure(at)
    with pytest.raises(NotExactError, match="s lies outside the box"):
        Positive(s, {s: (0, 1)}).failure(at)
    assert Positive(w - 10, {w: (0, 3)}).failure(at) is not None
    assert Positive(w, {w: (1, 1)}).failure(at) is None


def test_letters_that_share_a_name_are_not_confused_by_z3() -> None:
    with pytest.raises(smt.NotPolynomialError, match="share a name"):
        smt.decide([w > 1], sp.Symbol("w", positive=True) > 1)


def test_rate_of_a_mode() -> None:
    flow = {w: p * w, p: -p}
    assert ModeRate(w * p, flow, p * w * p - w * p).check(Context()).outcome is Outcome.PROVED
    wrong = ModeRate(w * p, flow, p * w * p).check(Context(instances=drawn))
    assert wrong.outcome is Outcome.REFUTED
    assert wrong.detail.startswith("the sides differ by")
    assert ModeRate(w * p, flow, s).check(Context(instances=drawn)).outcome is Outcome.UNKNOWN
    assert ModeRate(w * p, flow, p).latex() == r"\frac{d}{dt} \left(p w\right) = p"
    assert ModeRate(w * p, flow, p, named="E").latex() == r"\frac{d}{dt} E = p"
    shown = ModeRate(w, {w: p}, p, with_flow=True).latex()
    assert shown == r"\frac{d}{dt} \left(w\right) = p \quad\text{for}\quad \dot{w} = p"


# -- instances and expressions --------------------------------------------------------------------------------------------


def test_an_instance_fits_its_letters() -> None:
    with pytest.raises(InputError, match=r"W = 1 × 2: must be 2 × 2"):
        Instance({k: 2, d: 2}, {W: matrix([[1, 2]])})
    with pytest.raises(InputError, match=r"Σ_x = \[1 2; 0 1\]: must be symmetric"):
        Instance({d: 2}, {Sigma_x: matrix([[1, 2], [0, 1]])})
    with pytest.raises(InputError, match="must be 2 × 2"):
        Instance({k: 2}, {P: eye(2)}).with_({P: eye(3)})


def test_only_integer_powers_have_exact_values() -> None:
    at = Instance({k: 1}, {P: matrix([[4]])})
    with pytest.raises(NotExactError, match="integer power"):
        value_of(sp.MatPow(P, sp.Rational(1, 2)), at)
    assert value_of(P**-2, at)[0, 0] == fmpq(1, 16)


def test_a_spectral_function_has_two_orders() -> None:
    with pytest.raises(InputError, match=r"order = 1: a spectral function is"):
        SpectralFunction("g", Sigma_x, 1)
    assert SpectralFunction("g", Sigma_x, -1).order == -1


def test_a_symmetric_letter_is_not_a_general_one_of_the_same_name() -> None:
    general, symmetric = sp.MatrixSymbol("S", k, k), SymmetricSymbol("S", k)
    assert not equal(general, symmetric)
    assert not equal(general.T, symmetric)
    assert equal(symmetric.T, symmetric)


def test_a_symmetric_letter_takes_symmetric_images() -> None:
    symmetric = SymmetricSymbol("S", k)
    with pytest.raises(CalculusError, match="is symmetric, its image is not"):
        substitute(canonical(symmetric * P), {symmetric: normal(Q)})
    assert equal(substitute(canonical(symmetric * P), {symmetric: normal(Q + Q.T)}), (Q + Q.T) * P)


def test_a_letter_may_have_the_name_of_a_direction() -> None:
    """df once was written with a letter dX; a function of X and of a letter called dX was then differentiated wrongly."""
    other = sp.MatrixSymbol("dP", k, k)
    assert equal(gradient(tr(other.T * P) + squared_norm(P), P), other + 2 * P)


@pytest.mark.parametrize("formula", [Inequality(w > 1), Equation(w, p)], ids=["inequality", "equation"])
def test_scalar_conditions_say_by_how_much_they_fail(formula: Any) -> None:
    failed = formula.failure(Instance({}, {}, {w: 1, p: 3}))
    assert failed in {"false: w − (1) = 0", "the sides differ by 2"}
