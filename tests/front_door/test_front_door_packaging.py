"""The house stands: every module ships, imports go one way, torch and the network stay out, the wheel works anywhere."""

import ast
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLACES: dict[str, Path] = {name: ROOT / place for name, place in PROJECT["tool"]["setuptools"]["package-dir"].items()}
MODULES = sorted(
    f"{package}.{file.stem}".removesuffix(".__init__")
    for package, place in PLACES.items()
    for file in place.glob("*.py")
    if file.stem != "__main__"
)

# What each room may import, besides the standard library and itself.
SHARED = {"jepalign.errors", "jepalign.storage", "jepalign.datasets", "jepalign.measurements"}
MAY_IMPORT = {
    "theory": {"sympy", "z3", "flint", "jepalign.errors"},
    "linear_models": {"numpy", "scipy", "xarray"} | SHARED,
    "simulations": {
        "numpy",
        "scipy",
        "sklearn",
        "torch",
        "joblib",
        "distributed",
        "lightning",
        "jepalign.linear_models",
    }
    | SHARED,
    "figures": {"numpy", "matplotlib", "jepalign.linear_models"} | SHARED,
}


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found.add(node.module or "")
    return found


def _allowed(module: str, room: str) -> bool:
    head = module.split(".", maxsplit=1)[0]
    if head in sys.stdlib_module_names or module == f"jepalign.{room}" or module.startswith(f"jepalign.{room}."):
        return True
    return any(module == name or module.startswith(f"{name}.") for name in MAY_IMPORT[room])


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room: str) -> None:
    wrong = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in (ROOT / room).rglob("*.py")
        for module in _imports(file)
        if not _allowed(module, room)
    }
    assert not wrong


def test_import_rule_can_say_no(tmp_path: Path) -> None:
    file = tmp_path / "intruder.py"
    file.write_text("import torch\nfrom jepalign.simulations import probe\nimport sympy.matrices\n")
    refused = {module for module in _imports(file) if not _allowed(module, "theory")}
    assert refused == {"torch", "jepalign.simulations"}


def test_only_simulations_imports_torch() -> None:
    importers = {
        file.relative_to(ROOT).parts[0]
        for place in PLACES.values()
        for file in place.glob("*.py")
        if any(m.split(".")[0] == "torch" for m in _imports(file))
    }
    assert importers == {"simulations"}


def test_every_folder_with_modules_is_in_the_package_list() -> None:
    """A sub-package missing from the list is silently missing from the wheel."""
    listed = {place.resolve() for place in PLACES.values()}
    on_disk = {
        file.parent.resolve()
        for top in ("src/jepalign", "theory", "linear_models", "simulations", "figures")
        for file in (ROOT / top).rglob("*.py")
    }
    assert on_disk == listed
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == set(PLACES)


def test_every_direct_dependency_is_pinned() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {r.split("[")[0].split("<")[0].split(">")[0].split("=")[0].strip() for r in requirements}

    project = PROJECT["project"]
    wanted = names(project["dependencies"]).union(*map(names, project["optional-dependencies"].values()))
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert wanted <= names(lines)
    assert "torch==2.13.0" in lines


def _run(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _needs_torch(file: Path) -> bool:
    """Whether a module of the experiments imports torch, itself or through another of them."""
    imported = _imports(file)
    if any(module.split(".")[0] == "torch" for module in imported):
        return True
    inside = {m for m in imported if m.startswith("jepalign.simulations.")}
    if file.parent.name != "simulations":
        inside.add(f"jepalign.simulations.{file.parent.name}")
    for module in inside:
        place = ROOT / Path(*module.split(".")[1:])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if candidate.is_file() and candidate != file and _needs_torch(candidate):
                return True
    return False


BLOCK_TORCH = """
import importlib, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked")
sys.meta_path.insert(0, Block())
"""


def test_everything_outside_the_experiments_imports_without_torch() -> None:
    needs = {
        f"{package}.{file.stem}".removesuffix(".__init__")
        for package, place in PLACES.items()
        for file in place.glob("*.py")
        if package.startswith("jepalign.simulations") and _needs_torch(file)
    }
    assert "jepalign.simulations.training" in needs
    free = [module for module in MODULES if module not in needs]
    assert "jepalign.simulations" in free
    code = BLOCK_TORCH + "for name in sys.argv[1:]: importlib.import_module(name)\nprint('torch' in sys.modules)"
    assert _run(code, *free).strip() == "False"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import jepalign", {"numpy", "sympy", "torch", "matplotlib", "typer", "rich", "scipy", "z3", "sklearn"}),
        (
            "import sys\nsys.argv = ['jepalign', '--help']\nfrom jepalign.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass",
            {"numpy", "sympy", "torch", "matplotlib", "scipy", "z3", "sklearn", "typst"},
        ),
        ("import jepalign.theory.catalogue", {"torch", "matplotlib", "scipy", "sklearn", "jepalign.linear_models"}),
        ("import jepalign.linear_models", {"torch", "sympy", "matplotlib", "sklearn", "z3"}),
        ("import jepalign.simulations", {"torch", "sympy", "matplotlib"}),
    ],
    ids=["package", "help", "theory", "linear-models", "simulations"],
)
def test_a_room_is_imported_only_when_needed(code: str, absent: set[str]) -> None:
    out = _run(code + "\nimport sys\nprint('MODULES', *sys.modules)")
    loaded = set(out.rsplit("MODULES", 1)[1].split())
    assert not loaded & absent


def test_the_wheel_works_from_an_empty_directory(tmp_path: Path) -> None:
    """Build the wheel, install it alone into a bare environment that sees this one's libraries, and use it elsewhere."""
    build = tmp_path / "wheels"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(build), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = build.glob("jepalign-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for module in MODULES:
        path = module.replace(".", "/")
        assert f"{path}.py" in names or f"{path}/__init__.py" in names, module
    stored = {
        f"jepalign/simulations/measurements/{p.name}" for p in (ROOT / "simulations/measurements").glob("*.[nj]*")
    }
    assert stored <= names
    assert {name.split("/")[0] for name in names} == {"jepalign", wheel.name.rsplit("-", 3)[0] + ".dist-info"}

    home = tmp_path / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    site = next(home.glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    import numpy as np

    libraries = Path(np.__file__).parents[1]
    # After the wheel's own directory, so that the package under test is the wheel's.
    (site / "libraries.pth").write_text(f"{libraries}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for arguments in (["--version"], ["verify", "sign"], ["explain", "dictionary"]):
        done = subprocess.run(
            [str(home / "bin" / "python"), "-m", "jepalign", *arguments],
            cwd=elsewhere,
            env=clean,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [str(home / "bin" / "python"), "-c", "import jepalign; print(jepalign.__file__)"],
        cwd=elsewhere,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    assert not list(elsewhere.iterdir())
