"""What the README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(code: str, directory: Path) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_code_to_copy_runs_from_anywhere(tmp_path: Path) -> None:
    out = run(BLOCKS[0], tmp_path)
    (difference,) = re.findall(r"largest difference (\S+)", out)
    assert float(difference) < 1e-14
    power, alignment, correction = map(float, re.findall(r"[\d.]+(?:e-\d+)?", out.splitlines()[-1]))
    assert power == pytest.approx(alignment + correction, rel=1e-3)  # four digits are printed


def test_the_module_to_train_with_gives_every_layer_a_force(tmp_path: Path) -> None:
    module = BLOCKS[1]
    out = run(module + "\nprint(min(p.grad.norm().item() for p in encoder.parameters()))", tmp_path)
    assert float(out) > 0


def test_a_figure_goes_into_ones_own(tmp_path: Path) -> None:
    run(BLOCKS[2], tmp_path)
    (made,) = tmp_path.iterdir()
    assert made.name == "mine.pdf"
    (page,) = PdfReader(made).pages
    assert "time to escape" in " ".join(page.extract_text().split())
    assert len(BLOCKS) == 3


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
