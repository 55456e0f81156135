"""What the README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_to_copy_runs_from_anywhere(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (difference,) = re.findall(r"largest difference (\S+)", done.stdout)
    assert float(difference) < 1e-14
    power, alignment, correction = map(float, re.findall(r"[\d.]+(?:e-\d+)?", done.stdout.splitlines()[-1]))
    assert power == pytest.approx(alignment + correction, rel=1e-3)  # four digits are printed


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"^    jepalign (\w+)", README, re.MULTILINE))
    assert named
    for command in named:
        assert (
            subprocess.run([sys.executable, "-m", "jepalign", command, "--help"], capture_output=True).returncode == 0
        )
    for target in set(re.findall(r"^    make (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_file_it_links_to_exists() -> None:
    for place in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / place).is_file()
