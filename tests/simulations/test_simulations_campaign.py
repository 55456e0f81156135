"""Experiments run as shards measure what they measure alone, and a stopped campaign goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_simulations_sweeps import cluster
from typer.testing import CliRunner

from jepalign.cli import app
from jepalign.errors import InputError
from jepalign.measurements import COLUMNS, Measurement, load
from jepalign.simulations import campaign, run
from jepalign.simulations.campaign import run_campaign


def test_a_cluster_measures_what_one_process_does(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    alone = run("conservation", seed=3)
    with cluster(tmp_path) as address:
        out = tmp_path / "out"
        said = CliRunner().invoke(
            app, ["simulate", "conservation", "--seed", "3", "--scheduler", address, "--out", str(out)]
        )
    assert said.exit_code == 0, said.output
    assert [path.name for path in sorted(out.iterdir())] == ["conservation.json", "conservation.npz"]
    found = load("conservation", out)
    # A worker has its own number of threads, with it another order of sums, and of roundings another is the worst.
    for row, same in zip(found.rows, alone.rows, strict=True):
        assert [row[key] for key in ("experiment", "architecture", "verdict")] == [
            same[key] for key in ("experiment", "architecture", "verdict")
        ]
    assert found.criterion == alone.criterion
    assert found.provenance["seed"] == 3
    assert set(found.arrays) == set(alone.arrays)
    assert all(values.shape == alone.arrays[name].shape for name, values in found.arrays.items())


def test_a_stopped_campaign_goes_on_and_several_seeds_have_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, int]] = []

    def fake(name: str, *, seed: int, **_given: Any) -> Measurement:
        ran.append((name, seed))
        if len(ran) == 3:
            raise KeyboardInterrupt
        row = dict.fromkeys(COLUMNS, "") | {"experiment": name, "error": float("nan"), "verdict": "fails"}
        return Measurement(name, {"seed": np.array(seed)}, [row], "one", {"seed": seed})

    monkeypatch.setattr(campaign, "run", fake)
    with pytest.raises(KeyboardInterrupt):
        run_campaign(["wiener", "power"], [4, 5], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]
    found = run_campaign(["wiener", "power"], [4, 5], tmp_path)
    assert ran == [("wiener", 4), ("wiener", 5), ("power", 4), ("power", 4), ("power", 5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-4", "seed-5"]
    assert [(each.name, int(each.arrays["seed"])) for each, _ in found] == [
        ("wiener", 4), ("wiener", 5), ("power", 4), ("power", 5),
    ]  # fmt: skip
    assert load("power", tmp_path / "seed-5").provenance == {"seed": 5}
    assert found[0][1] == (tmp_path / "seed-4" / "wiener.npz", tmp_path / "seed-4" / "wiener.json")


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for names, seeds, argument in ((["winer"], [0], "name"), (["power"], [], "seeds"), (["power"], [1, 1], "seeds")):
        with pytest.raises(InputError) as found:
            run_campaign(names, seeds, tmp_path / "out")
        assert found.value.argument == argument
    with pytest.raises(InputError, match="seeds"):
        run_campaign(["power"], [-1], tmp_path / "out")
    assert not (tmp_path / "out").exists()
