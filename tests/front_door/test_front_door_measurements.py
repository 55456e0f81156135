"""Measurements survive the way to disk and back, and nothing else gets in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jepalign.errors import InputError
from jepalign.measurements import COLUMNS, Measurement, load, save

ROW: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"predicted": 1.0, "observed": None, "verdict": "holds"}


def example(**changes: Any) -> Measurement:
    parts: dict[str, Any] = {
        "name": "an-example",
        "arrays": {"values": np.arange(6.0).reshape(2, 3), "labels": np.array(["a", "bc"]), "gaps": np.array([np.nan])},
        "rows": [ROW],
        "criterion": "≤ 1",
        "provenance": {"seed": 0, "commit": None},
    }
    return Measurement(**(parts | changes))


def test_round_trip(tmp_path: Path) -> None:
    arrays, table = save(example(), tmp_path)
    assert (arrays.name, table.name) == ("an-example.npz", "an-example.json")
    found = load("an-example", tmp_path)
    assert found.name == "an-example"
    assert found.rows == [ROW]
    assert found.criterion == "≤ 1"
    assert found.provenance == {"seed": 0, "commit": None}
    assert set(found.arrays) == {"values", "labels", "gaps"}
    for key, values in example().arrays.items():
        assert found.arrays[key].dtype == values.dtype
        assert np.array_equal(found.arrays[key], values, equal_nan=key == "gaps")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["an-example.json", "an-example.npz"]


def test_numbers_of_numpy_and_numbers_that_are_none_are_written_as_plain_json(tmp_path: Path) -> None:
    row = ROW | {"predicted": np.float64(0.5), "observed": np.inf, "error": np.float32(np.nan)}
    _, table = save(example(rows=[row], provenance={"sizes": np.array([1, 2]), 3: (True,)}), tmp_path)
    written = json.loads(table.read_text(encoding="utf-8"))
    assert written["rows"][0]["predicted"] == 0.5
    assert written["rows"][0]["observed"] is None
    assert written["rows"][0]["error"] is None
    assert written["provenance"] == {"sizes": [1, 2], "3": [True]}


@pytest.mark.parametrize("directory", [True, False])
def test_a_missing_measurement_names_the_command_that_makes_it(tmp_path: Path, directory: bool) -> None:
    with pytest.raises(InputError, match="jepalign simulate not-there ") as caught:
        load("not-there", tmp_path if directory else None)
    assert caught.value.argument == "name"


def test_a_measurement_that_no_experiment_makes_names_its_own_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it with: make bench"):
        load("not-there", tmp_path, command="make bench")
    _, table = save(example(), tmp_path)
    table.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="make them with: make bench"):
        load("an-example", tmp_path, command="make bench")


def test_an_array_of_another_version_names_the_command(tmp_path: Path) -> None:
    save(Measurement("power", {"left": np.ones(2)}, [], "", {}), tmp_path)
    found = load("power", tmp_path)
    assert found.arrays["left"].tolist() == [1, 1]
    with pytest.raises(InputError, match=r"no array 'right'.*make it with: jepalign simulate power"):
        found.arrays["right"]


def test_half_a_measurement_is_missing(tmp_path: Path) -> None:
    _, table = save(example(), tmp_path)
    table.unlink()
    with pytest.raises(InputError, match=r"no file an-example\.json"):
        load("an-example", tmp_path)


@pytest.mark.parametrize("damage", ["{", "[]", '{"name": "an-example"}'])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: str) -> None:
    _, table = save(example(), tmp_path)
    table.write_text(damage, encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        load("an-example", tmp_path)


@pytest.mark.parametrize("size", [0, 100, -30])
def test_a_damaged_archive_is_refused(tmp_path: Path, size: int) -> None:
    arrays, _ = save(example(), tmp_path)
    arrays.write_bytes(arrays.read_bytes()[:size])
    with pytest.raises(InputError, match="damaged"):
        load("an-example", tmp_path)


def test_no_flipped_bit_escapes_as_another_error(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for file in save(example(), tmp_path):
        whole = file.read_bytes()
        messages: list[str] = []
        for place, bit in zip(generator.integers(len(whole), size=400), generator.integers(8, size=400), strict=True):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            try:
                load("an-example", tmp_path)
            except InputError as problem:
                messages.append(str(problem))
        file.write_bytes(whole)
        # Dates, redundant headers and letters inside a text may change unnoticed; every other bit is noticed.
        assert len(messages) > 100
        assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("part", ["rows", "provenance"])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, part: str) -> None:
    changes = {"rows": [ROW | {"observed": 1j}], "provenance": {"path": tmp_path}}
    with pytest.raises(InputError, match="must be numbers, text") as caught:
        save(example(**{part: changes[part]}), tmp_path)
    assert caught.value.argument.startswith(part)
    assert not list(tmp_path.iterdir())


def test_a_pair_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("jepalign.measurements.write_json", full_disk)
    with pytest.raises(OSError, match="no space"):
        save(example(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_pickles_are_not_read(tmp_path: Path) -> None:
    arrays, _ = save(example(), tmp_path)
    np.savez(arrays, harmful=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        load("an-example", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "../escape"},
        {"name": "a b"},
        {"arrays": {"x": np.array([{}], dtype=object)}},
        {"arrays": {"x": [1.0]}},
        {"arrays": {"file": np.ones(1)}},
        {"arrays": {"a/b": np.ones(1)}},
        {"rows": [{"experiment": ""}]},
        {"rows": [ROW | {"extra": 1}]},
        {"rows": [ROW | {"verdict": "maybe"}]},
    ],
)
def test_malformed_measurements_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        example(**changes)
    assert caught.value.argument.split("[")[0] == next(iter(changes))


def test_a_name_cannot_leave_the_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hyphens"):
        load("../secret", tmp_path)


def test_saving_under_a_file_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="directory"):
        save(example(), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
