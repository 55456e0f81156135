"""The examples of the documentation run, with nothing but what is installed, and record what they say."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jepalign.simulations.recording import Record, Recorder

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def main(name: str) -> Callable[..., Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def diagnosed(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "jepalign", "diagnose", str(folder), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_example_is_tested_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("an example wants the network")

    monkeypatch.setattr("socket.socket.connect", refuse)


# Lightning's own: a deprecated function of PyTorch that it calls, and advice on speed.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.usefixtures("offline")
def test_lightning_byol(tmp_path: Path) -> None:
    last: Record = main("lightning_byol")(str(tmp_path), steps=130)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 2
    stored = [np.load(file) for file in files]
    # Ten steps of 256 digits in both orders, then the three that were left.
    assert [int(record["count"]) for record in stored] == [5120, 3 * 512]
    assert {"encoder", "target_encoder", "predictor", "features_cross_moment"} <= stored[-1].keys()
    assert last.power_predictor == "predictor"
    # A target that lags learns what the encoder has learnt.
    assert last.moments.prediction_error < float(stored[0]["prediction_error"])
    assert 1 < last.effective_rank < 16
    found = diagnosed(tmp_path)
    assert found["verdict"]
    assert found["alignment"] == pytest.approx(last.moments.alignment, rel=1e-9)
    assert found["uniformity"] == pytest.approx(last.moments.uniformity, rel=1e-9)
    assert 1 <= found["surviving_rank"] <= 16


@pytest.mark.usefixtures("offline")
def test_ijepa_transformers(tmp_path: Path) -> None:
    recorder: Recorder = main("ijepa_transformers")(str(tmp_path), steps=31)
    (file,) = tmp_path.glob("*.npz")
    stored = np.load(file)
    # Steps 0, 10, 20 and 30; four of sixteen tokens are masked in each of 128 images.
    assert int(stored["count"]) == 4 * 128 * 4
    assert recorder.measures.startswith("embeddings of the encoder: it goes on after its last linear layer")
    assert not {"encoder", "predictor", "features_context_moment"} & stored.keys()
    assert stored["prediction_moment"].shape == (48, 48)
    # Its layer norm has gain 1 and shift 0 at first: every embedding has a square of nearly 48.
    assert 30 < np.trace(stored["context_moment"]) < 60
    assert diagnosed(tmp_path)["alignment"] == pytest.approx(float(stored["alignment"]), rel=1e-9)
