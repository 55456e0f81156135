"""The solvers' figure shows the measurement it is given, and the committed one is what the page of documentation prints."""

from pathlib import Path

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures.solvers import CLOSED, WORST, Solvers
from jepalign.measurements import COLUMNS, Measurement, load, save

ROOT = Path(__file__).resolve().parents[2]


def invented() -> Measurement:
    """Return two problems: on one LSODA is right at its second tolerance, on the other nothing is but the closed form."""
    work = [
        ("one", "LSODA", 1e-9, 3.0, "rtol 1e-09"),
        ("one", "LSODA", 1e-11, 4.0, "rtol 1e-10"),
        ("one", "DOP853", 1e-11, 6.0, "rtol 1e-10"),
        ("one", CLOSED, 1e-16, 2.0, ""),
        ("two", "BDF", np.inf, 9.0, "rtol 1e-09"),
        ("two", "DOP853", 1e-12, 1.0, "rtol 1e-12"),
        ("two", CLOSED, 1e-16, 0.125, ""),
    ]
    sizes = [("modes", CLOSED, 10, 1.0), ("modes", CLOSED, 1000, 100.0), ("gram", CLOSED, 2, 1.0)]
    sizes += [("gram", CLOSED, 4, 8.0), ("gram", "DOP853", 4, 64.0)]
    arrays = {
        f"work_{key}": np.array(column)
        for key, column in zip(
            ("problem", "method", "error", "seconds", "setting"), zip(*work, strict=True), strict=True
        )
    }
    names = ("size_task", "size_solver", "size", "size_seconds")
    arrays |= {key: np.array(column) for key, column in zip(names, zip(*sizes, strict=True), strict=True)}
    row = dict.fromkeys(COLUMNS, "")
    rows = [row | {"verdict": "holds"}, row | {"verdict": "fails"}, row | {"verdict": "holds"}]
    return Measurement("solvers", arrays | {"accuracy": np.array(1e-10)}, rows, "", {})


def test_it_shows_the_measurement_it_is_given(tmp_path: Path) -> None:
    save(invented(), tmp_path)
    data = Solvers(str(tmp_path)).compute()
    assert data["one/LSODA"].x.tolist() == [3.0, 4.0]
    assert data["one/LSODA"].y.tolist() == [1e-9, 1e-11]
    assert data["two/BDF"].y.tolist() == [WORST]
    assert data["two/BDF"].extra["error"].tolist() == [np.inf]
    assert data["gram/DOP853"].y.tolist() == [64.0]
    # The quickest that is right, not the quickest; the exponents are those of t = n/10 and t = n³/8.
    expected = {"ratio, one": 2.0, "ratio, two": 8.0, "integrators": 4, "short": 1, "bounds": 3, "held": 2}
    expected |= {"exponent, modes": 1.0, "exponent, gram": 3.0}
    assert {key: data.numbers[key] for key in expected} == pytest.approx(expected)


def test_a_missing_measurement_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it with: make bench"):
        Solvers(str(tmp_path)).compute()


def test_the_page_prints_the_committed_measurement() -> None:
    page = (ROOT / "docs" / "solvers.md").read_text(encoding="utf-8").splitlines()
    measured = load("solvers")
    lines = ["| " + " | ".join(cells) + " |" for cells in measured.arrays["table"].tolist()]
    start = page.index(lines[0])
    assert page[start : start + len(lines)] == lines
    verdicts = [cells[-1] for cells in measured.arrays["table"].tolist() if cells[-1]]
    assert verdicts == [{"holds": "holds", "fails": "MISSED"}[row["verdict"]] for row in measured.rows]
