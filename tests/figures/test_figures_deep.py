"""The figure of all claims drops none: against the stored tables themselves, and an invented table of every kind of row."""

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.figures.deep import FALSE, LEAST, NOWHERE, OTHER, Deep, claims_in, layout
from jepalign.figures.publication import FigureData
from jepalign.measurements import COLUMNS, Measurement, save
from jepalign.simulations import EXPERIMENTS


@pytest.fixture(scope="module")
def deep() -> FigureData:
    return Deep().compute()


def test_every_row_of_every_experiment_is_drawn_once(deep: FigureData) -> None:
    folder = files("jepalign.simulations") / "measurements"
    expected: Counter[tuple[Any, ...]] = Counter()
    for name in EXPERIMENTS:
        for row in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["rows"]:
            key = (row["experiment"], row["architecture"], str(row["error"]), row["verdict"] == "holds")
            expected[key] += 1
    drawn: Counter[tuple[Any, ...]] = Counter()
    for series in deep.series:
        extra = {key: values.tolist() for key, values in series.extra.items()}
        for index in range(len(series.x)):
            error = extra["error"][index]
            drawn[
                f"{extra['experiment'][index]}: {extra['claim'][index]}",
                extra["architecture"][index],
                "None" if np.isnan(error) else str(error),
                extra["holds"][index],
            ] += 1
    assert drawn == expected
    assert {path.name.partition(".")[0] for path in deep.inputs} == set(EXPERIMENTS)
    assert deep.numbers["claims"] + deep.numbers[FALSE] == sum(expected.values())


def test_the_line_parts_what_holds_from_what_fails(deep: FigureData) -> None:
    for series in deep.series:
        # Places and errors are on the same side of both lines; on which side is the experiment's own verdict.
        right = series.x >= 1e3 if series.panel == FALSE else series.x > 1
        assert np.array_equal(right, np.full(len(right), (series.name == "holds") == (series.panel == FALSE)))


def test_no_two_families_share_a_line_nor_two_experiments_a_strip(deep: FigureData) -> None:
    lines, strips = layout(claims_in(deep))
    for false in (False, True):
        heights = [line for (_, other, _), line in lines.items() if other == false]
        assert len(set(heights)) == len(heights)
    for (experiment, _, _), line in lines.items():
        assert [name for name, (first, last) in strips.items() if first - 0.5 <= line <= last + 0.5] == [experiment]


def row(name: str, architecture: str, error: float | None, verdict: str) -> dict[str, Any]:
    values = (f"invented: {name}", architecture, 1.0, None, error, "", verdict, "invented.npz")
    return dict(zip(COLUMNS, values, strict=True))


def test_it_shows_the_measurement_it_is_given(tmp_path: Path) -> None:
    rows = [
        row("size", "linear 4-2", 0.0, "holds"),
        row("size, of another", "gelu 4-2; noisy", 1.5, "fails"),
        row("rank", "relu 4-2", None, "fails"),
        row("rank", "ViT 8x8/2, 16 wide", 0.25, "holds"),
        row("control, reversed", "tanh 4-2", 2e4, "holds"),
        row("control, reversed", "tanh 4-2", 20.0, "fails"),
    ]
    made = {"command": "jepalign simulate invented --out DIR"}
    save(Measurement("invented", {"x": np.zeros(1)}, rows, "", made), tmp_path)
    # What no experiment made is not one of the claims.
    save(Measurement("solvers", {"x": np.zeros(1)}, rows, "", {"command": "make bench"}), tmp_path)
    data = Deep(str(tmp_path)).compute()
    places = {series.gid: series.x.tolist() for series in data.series}
    assert places == {
        "linear/holds": [LEAST],
        "tanh, GELU/fails": [1.5],
        "ReLU/no number": [NOWHERE],
        f"{OTHER}/holds": [0.25],
        f"{FALSE}/holds": [2e4],
        f"{FALSE}/fails": [20.0],
    }
    assert data["linear/holds"].y == data["tanh, GELU/fails"].y
    assert data["linear/holds"].extra["error"].tolist() == [0.0]
    caption = Deep().caption(data)
    assert "Of $4$ claims $2$ hold: $1$ of $1$ (linear), $0$ of $1$ (tanh, GELU), $0$ of $1$ (ReLU)" in caption
    assert "$2$ false versions" in caption
    assert "$1$ are refused" in caption
    assert "$1$ rows of runs that diverged" in caption


def test_a_folder_without_measurements_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make simulate"):
        Deep(str(tmp_path)).compute()
