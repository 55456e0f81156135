"""The registry of experiments: what it imports, what it refuses."""

import importlib
import subprocess
import sys

import pytest

from jepalign.errors import InputError
from jepalign.simulations import EXPERIMENTS, find, run


def test_the_registry_imports_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import jepalign.simulations as s; print(*s.EXPERIMENTS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(EXPERIMENTS)


def test_without_torch_running_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"needs PyTorch.*jepalign\[torch\]"):
        run("power")


def test_every_entry_names_a_function_and_says_what_it_does() -> None:
    for name, experiment in EXPERIMENTS.items():
        module, function = experiment.entry.split(":")
        assert function == name.replace("-", "_")
        assert callable(getattr(importlib.import_module(module), function))
        assert experiment.description
        assert "\n" not in experiment.description


@pytest.mark.parametrize(
    ("typed", "meant"), [("conservaton", "conservation"), ("POWER", "power"), ("dict", "dictionary")]
)
def test_an_unknown_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    for ask in (find, run):
        with pytest.raises(InputError, match=f"the nearest is {meant}$"):
            ask(typed)


@pytest.mark.parametrize("name", list(EXPERIMENTS))
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "huge"}, "scale = huge: must be one of quick, paper"),
        ({"device": "tpu"}, "device = tpu: must be cpu or cuda"),
        ({"seed": -1}, "seed = -1: must not be negative"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name: str, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as refused:
        run(name, **arguments)  # pyright: ignore[reportArgumentType]
    assert str(refused.value) == message


def test_an_absent_cuda_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="device = cuda: needs a CUDA device"):
        run("power", device="cuda")
