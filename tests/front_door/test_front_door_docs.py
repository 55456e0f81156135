"""The scripts of the documentation run as they stand, and say what the text says they do."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jepalign.simulations import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "learning_curves.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(script: str, extra: str, folder: Path) -> list[float]:
    code = f"import matplotlib\nmatplotlib.use('agg')\n{script}\n{extra}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [float(value) for value in done.stdout.split()]


def test_there_are_two_scripts_of_ten_lines_or_so() -> None:
    assert len(SCRIPTS) == 2
    for script in SCRIPTS:
        lines = [line for line in script.splitlines() if line and not line.startswith(("import", "from"))]
        assert len(lines) <= 11


def test_steps(tmp_path: Path) -> None:
    extra = "print(*np.concatenate([times[np.argmax(curves > 0.5, axis=0)] for curves in (trained, closed)]))"
    found = run(SCRIPTS[0], extra, tmp_path)
    trained, closed = np.array(found[:6]), np.array(found[6:])[::-1]
    assert (np.diff(trained) > 0).all()
    # A tenth for the first steps; later ones are farther off, as the text says.
    assert np.abs(trained / closed - 1)[:2].max() < 0.1
    assert (tmp_path / "steps.png").stat().st_size > 10_000


def test_order(tmp_path: Path) -> None:
    half = "times[np.argmax(weights / weights[-1] > 0.5, axis=0)]"
    extra = f"print(*learning_order(cross, variance, start, depth=2), np.ptp(np.log({half})))"
    *order, spread = run(SCRIPTS[1], extra, tmp_path)
    assert order == [3, 2, 1, 0]
    assert spread < 0.2  # the autoencoder's modes come together
    assert (tmp_path / "order.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_pictures_of_every_page_exist(page: Path) -> None:
    for place in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / place).is_file()


def test_every_experiment_is_spoken_of() -> None:
    page = (ROOT / "docs" / "deep_encoders.md").read_text(encoding="utf-8")
    # What is named as an experiment is one.
    assert set(re.findall(r"^- \*([a-z-]+)\*[ .]", page, re.M)) <= set(EXPERIMENTS)
    assert all(f"*{name}*" in page for name in EXPERIMENTS)
