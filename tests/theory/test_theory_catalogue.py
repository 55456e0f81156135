"""Every result of the catalogue: it stands, on any admissible instance, with its sources and an example that runs."""

import importlib
import pkgutil
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jepalign.theory
from jepalign.errors import InputError
from jepalign.theory.catalogue import CONTENTS, NAMES, find, select
from jepalign.theory.exact import NotExactError
from jepalign.theory.literature import LITERATURE
from jepalign.theory.proof import verify


@pytest.mark.parametrize("name", NAMES)
def test_every_result_stands(name: str) -> None:
    theorem = find(name)
    report = verify(theorem)
    assert report.stands, (
        report.verdict,
        report.problems,
        [s for s in report.siblings if not s.refused],
        report.necessity,
    )
    assert len({s.name for s in report.siblings}) == len(report.siblings) >= 2
    assert len({s.kind for s in report.siblings}) >= 2, "the false siblings are all of one kind"
    assert all(s.counterexample for s in report.siblings)
    assert {n.assumption for n in report.necessity} == set(report.assumptions)
    assert all(n.amount for n in report.necessity)
    assert report.exact_evaluations >= 3
    assert any(step.conclusion for step in theorem.proof)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_every_conclusion_holds_on_random_admissible_instances(name: str, seed: int, size: int) -> None:
    """Exactly: rational arithmetic has no tolerance."""
    theorem = find(name)
    instance = theorem.instances(random.Random(seed), size)
    for assumption in theorem.assumptions:
        assert assumption.condition.failure(instance) is None
    for step in theorem.proof:
        try:
            assert step.claim.failure(instance) is None
        except NotExactError:
            # Cited theorems, and scalar steps whose letters an instance does not carry, are not evaluated.
            assert not step.conclusion or step.claim.method != "symbolic"


@pytest.mark.parametrize("name", NAMES)
def test_every_result_is_documented(name: str) -> None:
    theorem = find(name)
    assert theorem.sources
    assert all(source.key == "ours" or source.key in LITERATURE for source in theorem.sources)
    assert all(step.reason for step in theorem.proof)
    assert all(step.claim.latex() for step in theorem.proof)
    assert theorem.belief.endswith(".")
    assert name == name.lower()
    assert " " not in name


@pytest.mark.parametrize("name", NAMES)
def test_every_example_runs(name: str) -> None:
    code = find(name).example
    assert "assert " in code
    assert len(code.splitlines()) <= 6  # two imports and a thought
    exec(compile(code, name, "exec"), {})  # noqa: S102


@pytest.mark.parametrize("name", NAMES)
def test_no_sibling_is_the_truth_reworded(name: str) -> None:
    """A sibling differs in print from every step of the proof."""
    theorem = find(name)
    steps = {(step.claim.latex(), step.uses) for step in theorem.proof}
    assert not steps & {
        (sibling.claim.latex(), sibling.uses) for sibling in theorem.siblings if sibling.instances is None
    }


def test_the_contents_list_every_result_of_every_module_in_the_order_of_the_chapters() -> None:
    chapters = jepalign.theory.__path__
    found = {
        module.name.removeprefix("jepalign.theory.")
        for module in pkgutil.walk_packages(chapters, "jepalign.theory.")
        if hasattr(importlib.import_module(module.name), "THEOREMS")
    }
    assert found == set(CONTENTS)
    for path, names in CONTENTS.items():
        theorems = importlib.import_module(f"jepalign.theory.{path}").THEOREMS
        assert tuple(theorem.name for theorem in theorems) == names
    assert [find(name).chapter for name in NAMES] == sorted(find(name).chapter for name in NAMES)


def test_one_result_does_not_import_the_others() -> None:
    code = (
        "import sys; from jepalign.theory.catalogue import find; find('duality');"
        "print(*(name for name in sys.modules if name.startswith('jepalign.theory.') and name.count('.') > 2))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["jepalign.theory.contrastive.duality"]


def test_names_are_unique_and_found() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert select() == select([]) == NAMES
    assert select(["sign", "duality"]) == ("duality", "sign")
    with pytest.raises(InputError, match="is not a result"):
        select(["sign", "sing"])
    with pytest.raises(InputError, match="did you mean power-identity"):
        find("power-identiti")
    with pytest.raises(InputError, match="the results are duality"):
        find("zzzzzzzz")
