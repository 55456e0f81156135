"""The command line: what it prints, its exit codes, and one line for every kind of bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jepalign.simulations import EXPERIMENTS


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "jepalign", *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def findings() -> dict[str, Any]:
    done = run("verify", "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_verify_proves_everything_and_refuses_every_sibling(findings: dict[str, Any]) -> None:
    names = [t["name"] for t in findings["theorems"]]
    assert {
        "dictionary",
        "force-split",
        "repulsion-equivalence",
        "sign",
        "power-identity",
        "stop-gradient-repulsion",
    } < set(names)
    assert {"balance", "gram-conservation", "exact-discrete-drift"} < set(names)
    for theorem in findings["theorems"]:
        belief = theorem["kind"] == "belief"
        assert theorem["verdict"] in ({"refuted"} if belief else {"proved", "proved-with-citations"})
        assert all(s["outcome"] == "proved" for s in theorem["steps"])
        if not belief:
            cited = "cited" in {s["method"] for s in theorem["steps"]}
            assert cited == (theorem["verdict"] == "proved-with-citations")
        assert bool(theorem["said"]) == belief
        assert all(s["refuted"] and s["counterexample"] for s in theorem["said"])
        assert len(theorem["siblings"]) >= 2
        assert all(s["refused"] and s["counterexample"] for s in theorem["siblings"])
        assert {n["assumption"] for n in theorem["necessity"]} == set(theorem["assumptions"])
        assert all(n["amount"] and n["instance"] for n in theorem["necessity"])


def test_verify_json_has_the_public_fields(findings: dict[str, Any]) -> None:
    for theorem in findings["theorems"]:
        assert {"name", "title", "chapter", "kind", "statement", "assumptions", "verdict", "sources", "seconds"} <= set(
            theorem
        )
        for step in theorem["steps"]:
            assert {"claim", "method", "tool", "version"} <= set(step)
            assert step["method"] in {"symbolic", "per-mode", "smt", "ball", "cited", "numerical"}
            assert step["version"] or step["method"] == "cited"


def test_verify_is_deterministic_but_for_the_clock(findings: dict[str, Any]) -> None:
    again = json.loads(run("verify", "--json", "-", "--jobs", "2").stdout)
    for theorem in (*findings["theorems"], *again["theorems"]):
        theorem.pop("seconds")
    assert again == findings


def test_verify_examples_evaluates_random_instances() -> None:
    done = run("verify", "power-identity", "--examples", "20", "--seed", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["examples"]
    assert found == {"name": "power-identity", "evaluated": 20, "failure": None}


def test_verify_writes_json_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "found.json"
    done = run("verify", "duality", "--json", str(target))
    assert done.returncode == 0
    assert [t["name"] for t in json.loads(target.read_text())["theorems"]] == ["duality"]
    assert [p.name for p in target.parent.iterdir()] == ["found.json"]
    assert f"wrote {target}" in done.stderr


def test_explain_says_what_a_reader_needs() -> None:
    done = run("explain", "power-identity")
    assert done.returncode == 0
    for part in (
        "Assumptions",
        "The nearest false belief",
        "What the machinery refuses",
        "Source",
        "Run it",
        "optimal-predictor",
    ):
        assert part in done.stdout
    assert "\\" not in done.stdout.split("Run it")[0]  # no LaTeX is left in the prose


def test_help_teaches() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("verify", "explain", "derive", "figures", "simulate", "report"):
        assert command in done.stdout
        assert run(command, "--help").returncode == 0


def test_derive_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    for place in ("a", "b"):
        done = run("derive", "duality", "sign", "--out", str(tmp_path / place))
        assert done.returncode == 0, done.stderr
    for name in ("derivations.tex", "derivations.html", "derivations.pdf"):
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes()
        assert len(first) > 1000
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "derivations.html",
        "derivations.pdf",
        "derivations.tex",
    ]


def test_simulation_summary_reads_the_committed_measurements() -> None:
    done = run("simulate", "--summary", "--json", "-")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["experiment"].split(":")[0] for row in rows} == set(EXPERIMENTS)
    keys = {"experiment", "architecture", "predicted", "observed", "error", "criterion", "verdict", "file"}
    assert all(keys <= set(row) for row in rows)


BAD = [
    (("verify", "dictionnary"), "did you mean dictionary?"),
    (("verify", "--jobs", "0"), "jobs = 0"),
    (("verify", "sign", "--examples", "0"), "count = 0"),
    (("explain", "blance"), "did you mean balance?"),
    (("derive", "nothing-like-it", "--out", "{tmp}/x"), "is not a result"),
    (("derive", "sign", "--out", "{file}"), "must be a directory"),
    (("figures", "dictionary", "--out", "{file}"), "must be a directory"),
    (("figures", "dictionary", "--out", "{file}/below"), "must be a directory"),
    (("figures", "dictionery", "--out", "{tmp}/x"), "dictionary"),
    (("figures", "dictionary", "--out", "{tmp}/x", "--venue", "nature"), "venue = nature"),
    (("simulate", "pwer", "--out", "{tmp}/x"), "power"),
    (("simulate", "power", "--out", "{tmp}/x", "--device", "abacus"), "device = abacus"),
    (("simulate", "power", "--out", "{tmp}/x", "--scale", "cosmic"), "scale = cosmic"),
    (("report", "--out", "{file}"), "must be a directory"),
    (("verify", "sign", "--json", "{tmp}"), "must be a file"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.write_text("mine")
    done = run(*(a.format(tmp=tmp_path, file=file) for a in arguments))
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert file.read_text() == "mine"
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != file]


def test_an_unknown_option_exits_with_two() -> None:
    assert run("verify", "--no-such-option").returncode == 2
